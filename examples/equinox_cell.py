"""An Equinox cell, and one with the gates i and f swapped in forward and backward pass alike.

No check of a gradient against the cell's own forward pass can see the second one.

lstm-checks verify examples/equinox_cell.py:Cell
lstm-checks verify examples/equinox_cell.py:Swapped
"""

import equinox as eqx
import jax
import jax.numpy as jnp


class Cell(eqx.Module):
    """One step of an LSTM for one sample, with the weights of equinox.nn.LSTMCell."""

    weight_ih: jax.Array
    weight_hh: jax.Array
    bias: jax.Array

    def __init__(self, input_size, hidden_size, *, key):
        self.weight_ih, self.weight_hh = (
            jax.random.normal(k, (4 * hidden_size, size))
            for k, size in zip(jax.random.split(key), (input_size, hidden_size), strict=True)
        )
        self.bias = jnp.zeros(4 * hidden_size)

    def gates(self, k):
        """Return the gates i, f, g, o."""
        return jnp.split(k, 4)

    def __call__(self, x, states):
        """Return the states (h, C)."""
        h, C = states
        i, f, g, o = self.gates(self.weight_ih @ x + self.weight_hh @ h + self.bias)
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(C), C


class Swapped(Cell):
    """The same with two gates in each other's place, as when weights of another framework are read."""

    def gates(self, k):
        """Return the gates, i and f swapped."""
        f, i, g, o = jnp.split(k, 4)
        return i, f, g, o
