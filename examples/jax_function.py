"""A JAX function, and one with a jax.custom_vjp whose rule takes the derivative of tanh at the wrong place.

lstm-checks verify examples/jax_function.py:lstm
lstm-checks verify examples/jax_function.py:lstm_custom_vjp
"""

import jax
import jax.numpy as jnp


def lstm(p, X, h0, C0, squash=jnp.tanh):
    """Return h (m, s, u) and the final memory state (m, u)."""

    def step(states, x):
        h, C = states
        f, i, g, o = (x @ p["U" + gate] + h @ p["V" + gate] + p["b" + gate] for gate in "figo")
        C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * squash(C)
        return (h, C), h

    (_, Cn), h = jax.lax.scan(step, (h0, C0), X.swapaxes(0, 1))
    return h.swapaxes(0, 1), Cn


@jax.custom_vjp
def tanh(x):
    """Return the hyperbolic tangent, with a rule of our own for its gradient."""
    return jnp.tanh(x)


def _tanh_forward(x):
    """Return tanh, and what its gradient needs."""
    return jnp.tanh(x), x


def _tanh_backward(x, cotangent):
    """Return the gradient; here is the mistake: x is not yet tanh(x)."""
    return (cotangent * (1 - x * x),)


tanh.defvjp(_tanh_forward, _tanh_backward)


def lstm_custom_vjp(p, X, h0, C0):
    """Return the same, the memory squashed by the function with its own rule."""
    return lstm(p, X, h0, C0, squash=tanh)
