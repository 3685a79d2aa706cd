"""The activation functions besides the logistic function and tanh, each with its derivative.

As in `activations.py`, a derivative takes the *activated* value y, so that a cell's lines need not change: these
functions say by their value on which side of a kink they are. The last four, swish and its like, do not: they fall
and rise again, and their derivatives take the linear activation x (`slots.py`). At a kink the derivative is a
convention, and here it is 0, or that of the left.

A piece is chosen by `np.maximum` and `np.minimum`, which hand on one of their arguments as it is, and by the truth of a
comparison, 0 or 1, as a factor: both are known to every arithmetic. Complex numbers choose by their real part. `0 * x`
is a zero of the numbers that x is of, where one is needed: of a dtype, or a ball.
"""

import math
from typing import Any

import numpy as np


def affine(x: Any, alpha: float, beta: float) -> Any:
    """Return ``alpha x + beta``; "linear" is that of 1 and 0."""
    return alpha * x + beta


def affine_derivative(y: Any, alpha: float, beta: float) -> Any:
    """Return the derivative of `affine`, in the numbers of `y`."""
    return 0 * y + alpha


def relu(x: Any) -> Any:
    """Return `x` where it is positive, else 0."""
    return np.maximum(x, 0)


def relu_derivative(y: Any) -> Any:
    """Return the derivative of `relu` where it takes the value `y`: 1 or 0."""
    return (y > 0) * (0 * y + 1)


def leakyrelu(x: Any, alpha: float) -> Any:
    """Return `x` where it is positive, else ``alpha x``."""
    return np.maximum(x, 0) + alpha * np.minimum(x, 0)


def leakyrelu_derivative(y: Any, alpha: float) -> Any:
    """Return the derivative of `leakyrelu` where it takes the value `y`: 1 or `alpha`."""
    return (y > 0) + (y <= 0) * (0 * y + alpha)


def thresholdedrelu(x: Any, alpha: float) -> Any:
    """Return `x` where it is above `alpha`, else 0: it jumps there."""
    return (x > alpha) * x


def thresholdedrelu_derivative(y: Any, alpha: float) -> Any:
    """Return the derivative of `thresholdedrelu` where it takes the value `y`: 1 or 0."""
    return (y > alpha) * (0 * y + 1)


def scaledtanh(x: Any, alpha: float, beta: float) -> Any:
    """Return ``alpha tanh(beta x)``."""
    return alpha * np.tanh(beta * x)


def scaledtanh_derivative(y: Any, alpha: float, beta: float) -> Any:
    """Return the derivative of `scaledtanh` where it takes the value `y`."""
    return beta * (alpha - y * y / alpha)


def hardsigmoid(x: Any, alpha: float, beta: float) -> Any:
    """Return ``alpha x + beta``, cut off below 0 and above 1: as ONNX has it, and Keras 2 with 0.2 and 0.5."""
    return np.minimum(np.maximum(alpha * x + beta, 0), 1)


def hardsigmoid_derivative(y: Any, alpha: float, beta: float) -> Any:
    """Return the derivative of `hardsigmoid` where it takes the value `y`: `alpha`, or 0 where it is cut off."""
    return (y > 0) * (y < 1) * (0 * y + alpha)


def hardsigmoid6(x: Any) -> Any:
    """Return ``x / 6 + 1/2``, cut off below 0 and above 1: as Keras 3, PyTorch and JAX have it."""
    return np.minimum(np.maximum(x / 6 + 0.5, 0), 1)


def hardsigmoid6_derivative(y: Any) -> Any:
    """Return the derivative of `hardsigmoid6` where it takes the value `y`: a sixth, or 0 where it is cut off."""
    return (y > 0) * (y < 1) * (0 * y + 1) / 6


def clippedsigmoid(x: Any, limit: float) -> Any:
    """Return the logistic function of `x` cut off at -`limit` and `limit`: ONNX's `clip`."""
    return 0.5 * (1 + np.tanh(0.5 * np.minimum(np.maximum(x, 0 * x - limit), 0 * x + limit)))


def clippedsigmoid_derivative(y: Any, limit: float) -> Any:
    """Return the derivative of `clippedsigmoid` where it takes the value `y`: 0 where it was cut off."""
    top = 1 / (1 + math.exp(-limit))
    room = clip_room(top)
    return (y > 1 - top + room) * (y < top - room) * (y * (1 - y))


def clippedtanh(x: Any, limit: float) -> Any:
    """Return tanh of `x` cut off at -`limit` and `limit`."""
    return np.tanh(np.minimum(np.maximum(x, 0 * x - limit), 0 * x + limit))


def clippedtanh_derivative(y: Any, limit: float) -> Any:
    """Return the derivative of `clippedtanh` where it takes the value `y`: 0 where it was cut off."""
    top = math.tanh(limit)
    room = clip_room(top)
    return (y > room - top) * (y < top - room) * (1 - y * y)


def clip_room(top: float) -> float:
    """Return by how much a value may lie below that of the limit and be taken for it: more than float32's rounding.

    Next to 1 it is less: what is cut off there has a slope below any rounding that would hide it.
    """
    return min(2.0**-20, (1 - top) / 4)


def elu(x: Any, alpha: float) -> Any:
    """Return `x` where it is positive, else ``alpha (e^x - 1)``."""
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0 * x))


def elu_derivative(y: Any, alpha: float) -> Any:
    """Return the derivative of `elu` where it takes the value `y`: 1, or ``alpha e^x``, which is ``y + alpha``."""
    return (y > 0) + (y <= 0) * (y + alpha)


def softsign(x: Any) -> Any:
    """Return ``x / (1 + |x|)``."""
    return x / (1 + np.maximum(x, -x))


def softsign_derivative(y: Any) -> Any:
    """Return the derivative of `softsign` where it takes the value `y`: ``1 / (1 + |x|)^2``."""
    return (1 - np.maximum(y, -y)) * (1 - np.maximum(y, -y))


def softplus(x: Any) -> Any:
    """Return ``log(1 + e^x)``, in a form that does not overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.maximum(x, -x)))


def softplus_derivative(y: Any) -> Any:
    """Return the derivative of `softplus` where it takes the value `y`: the logistic function of x, ``1 - e^-y``."""
    return -np.expm1(-y)


def relu6(x: Any) -> Any:
    """Return `x` cut off at 0 and 6."""
    return np.minimum(np.maximum(x, 0), 6)


def relu6_derivative(y: Any) -> Any:
    """Return the derivative of `relu6` where it takes the value `y`: 1, or 0 where it is cut off."""
    return (y > 0) * (y < 6) * (0 * y + 1)


def hardtanh(x: Any) -> Any:
    """Return `x` cut off at -1 and 1: Keras's hard_tanh."""
    return np.minimum(np.maximum(x, -1), 1)


def hardtanh_derivative(y: Any) -> Any:
    """Return the derivative of `hardtanh` where it takes the value `y`: 1, or 0 where it is cut off."""
    return (y > -1) * (y < 1) * (0 * y + 1)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""Of Klambauer and others (2017), to the digits of float64."""


def selu(x: Any) -> Any:
    """Return `x` where it is positive, else ``alpha (e^x - 1)``, both times the scale that keeps mean and variance."""
    return SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0 * x)))


def selu_derivative(y: Any) -> Any:
    """Return the derivative of `selu` where it takes the value `y`: the scale, or ``y + scale alpha``."""
    return (y > 0) * (0 * y + SELU_SCALE) + (y <= 0) * (y + SELU_SCALE * SELU_ALPHA)


def exponential(x: Any) -> Any:
    """Return e^x."""
    return np.exp(x)


def exponential_derivative(y: Any) -> Any:
    """Return the derivative of `exponential` where it takes the value `y`, which is that value."""
    return y


def swish(x: Any) -> Any:
    """Return `x` times its logistic function; silu is another name of it."""
    return x * (0.5 * (1 + np.tanh(0.5 * x)))


def swish_derivative(x: Any) -> Any:
    """Return the derivative of `swish` at the linear activation `x`."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y + x * y * (1 - y)


def hardswish(x: Any) -> Any:
    """Return ``x (x + 3) / 6``, 0 below -3 and `x` above 3: `x` times `hardsigmoid6`."""
    return x * hardsigmoid6(x)


def hardswish_derivative(x: Any) -> Any:
    """Return the derivative of `hardswish` at the linear activation `x`: 0, ``x / 3 + 1/2``, or 1."""
    return (x > -3) * (x < 3) * (x / 3 + 0.5) + (x >= 3) * (0 * x + 1)


GELU_SCALE, GELU_CUBE = 0.7978845608028654, 0.044715
"""sqrt(2 / pi), to the digits of float64, and the factor of the cube of Hendrycks and Gimpel (2016)."""


def gelutanh(x: Any) -> Any:
    """Return ``x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``: gelu as it is approximated."""
    return 0.5 * x * (1 + np.tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x)))


def gelutanh_derivative(x: Any) -> Any:
    """Return the derivative of `gelutanh` at the linear activation `x`."""
    y = np.tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x))
    return 0.5 * (1 + y) + 0.5 * x * (1 - y * y) * (GELU_SCALE * (1 + 3 * (GELU_CUBE * x * x)))


def mish(x: Any) -> Any:
    """Return `x` times the tanh of its `softplus` (Misra 2019)."""
    return x * np.tanh(softplus(x))


def mish_derivative(x: Any) -> Any:
    """Return the derivative of `mish` at the linear activation `x`."""
    y = np.tanh(softplus(x))
    return y + x * (1 - y * y) * (0.5 * (1 + np.tanh(0.5 * x)))
