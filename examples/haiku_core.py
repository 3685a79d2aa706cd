"""A Haiku core of one's own.

lstm-checks verify examples/haiku_core.py:Core

A class derived from `haiku.RNNCore`, made with the number of units, or a function that makes one. It is made and
unrolled inside of `haiku.transform`; parameters are found by their names and shapes, and gradients come by jax.vjp.
"""

import haiku as hk
import jax
import jax.numpy as jnp


class Core(hk.RNNCore):
    """An LSTM that keeps Haiku's order of gates, i g f o, and its forget bias."""

    def __init__(self, hidden_size, name=None):
        super().__init__(name=name)
        self.hidden_size = hidden_size

    def __call__(self, x, state):
        """Return the hidden state of the next step, and both states."""
        h, C = state
        i, g, f, o = jnp.split(hk.Linear(4 * self.hidden_size)(jnp.concatenate([x, h], -1)), 4, -1)
        C = jax.nn.sigmoid(f + 1) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(C)
        return h, (h, C)

    def initial_state(self, batch_size):
        """Return two states of zeros."""
        zeros = jnp.zeros([batch_size, self.hidden_size])
        return zeros, zeros
