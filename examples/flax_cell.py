"""A Flax nnx cell, and one through whose forget gate the gradient is lost.

lstm-checks verify examples/flax_cell.py:Cell
lstm-checks verify examples/flax_cell.py:LostGate
"""

import jax
import jax.numpy as jnp
from flax import nnx


class Cell(nnx.Module):
    """One step of an LSTM; the order of the gates in its own weights is found by trying."""

    def __init__(self, in_features, hidden_features, *, rngs):
        self.inside = nnx.Linear(in_features, 4 * hidden_features, rngs=rngs)
        self.again = nnx.Linear(hidden_features, 4 * hidden_features, use_bias=False, rngs=rngs)

    def forget(self, f):
        """Return the forget gate."""
        return jax.nn.sigmoid(f)

    def __call__(self, carry, x):
        """Return the carry (C, h), and h."""
        C, h = carry
        o, f, i, g = jnp.split(self.inside(x) + self.again(h), 4, axis=-1)
        C = self.forget(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(C)
        return (C, h), h


class LostGate(Cell):
    """The same, but the gradient stops at the forget gate."""

    def forget(self, f):
        """Return the forget gate, cut off."""
        return jax.lax.stop_gradient(jax.nn.sigmoid(f))
