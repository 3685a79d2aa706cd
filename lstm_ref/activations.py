"""The two activation functions and their derivatives, in operations every arithmetic knows.

The sigmoid is written through tanh: `1 / (1 + exp(-x))` overflows for large negative `x` and is NaN for a
complex step there, while tanh is bounded, holomorphic near the real axis, and known to balls. The
derivatives take the *activated* value, which the forward pass keeps anyway.
"""

from typing import Any

import numpy as np


def sigmoid(x: Any) -> Any:
    """Return the logistic function of `x`, as ``(1 + tanh(x / 2)) / 2``."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def sigmoid_derivative(y: Any) -> Any:
    """Return the sigmoid's derivative where it takes the value `y`."""
    return y * (1 - y)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of `x`."""
    return np.tanh(x)


def tanh_derivative(y: Any) -> Any:
    """Return the derivative of tanh where it takes the value `y`."""
    return 1 - y * y
