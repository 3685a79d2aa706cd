"""A JAX function: a scan over the steps, differentiated by JAX."""

import jax
import jax.numpy as jnp


def lstm(p, X, h0, C0):
    def step(carry, x):
        h, c = carry
        f = jax.nn.sigmoid(x @ p["Uf"] + h @ p["Vf"] + p["bf"])
        i = jax.nn.sigmoid(x @ p["Ui"] + h @ p["Vi"] + p["bi"])
        g = jnp.tanh(x @ p["Ug"] + h @ p["Vg"] + p["bg"])
        o = jax.nn.sigmoid(x @ p["Uo"] + h @ p["Vo"] + p["bo"])
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), h

    (_, c), hs = jax.lax.scan(step, (h0, C0), X.swapaxes(0, 1))
    return hs.swapaxes(0, 1), c
