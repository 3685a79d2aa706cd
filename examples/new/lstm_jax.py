"""An LSTM as a JAX function. It is right as it stands; put your own lines in place of these.

lstm-checks verify lstm_jax.py:lstm
"""

import jax
import jax.numpy as jnp


def lstm(p, X, h0, C0):
    """Return h (m, s, u) and the final memory (m, u); p holds Uf, Vf, bf of the gate f, and the same of i, g and o."""

    def step(states, x):
        h, C = states
        f, i, g, o = (x @ p["U" + gate] + h @ p["V" + gate] + p["b" + gate] for gate in "figo")
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(C)
        return (h, C), h

    (_, Cn), h = jax.lax.scan(step, (h0, C0), X.swapaxes(0, 1))
    return h.swapaxes(0, 1), Cn
