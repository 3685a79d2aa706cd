"""Ball arithmetic: the reference run in it yields rigorous enclosures of what it computes.

A ball is a midpoint of arbitrary precision with a radius that bounds every rounding made on the way (Johansson 2017,
"Arb: efficient arbitrary-precision midpoint-radius interval arithmetic"). A float is an exact ball, so the inputs
of a case convert without error and the result encloses the exact value of the same program in real numbers. This is
the only door to python-flint, which is imported on first use: the extra `certify` brings it.
"""

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.extras import MissingExtra

Array = NDArray[Any]

FIRST_BITS = 128
LAST_BITS = 4096
GUARD_BITS = 10
"""A resolved entry's radius is below 2^-10 ulp: its nearest float64 is then known but for one entry in 500 or so, which
lies that near to the middle of two neighbours."""

_UNBOUNDED = 1 << 40
_BELOW_ALL = -(1 << 40)
_SMALL_PRODUCT = 100


def flint() -> Any:
    """Return the module python-flint.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    """
    try:
        import flint as module
    except ImportError as error:
        raise MissingExtra("certified gradients need python-flint: pip install python-flint") from error
    return module


@contextmanager
def precision(bits: int, terms: int | None = None) -> Iterator[None]:
    """Work at a precision of `bits`, with power series cut to `terms`; both are global and put back on the way out."""
    ctx = flint().ctx
    bits_before, terms_before = ctx.prec, ctx.cap
    try:
        ctx.prec = bits
        if terms is not None:
            ctx.cap = terms
        yield
    finally:
        ctx.prec, ctx.cap = bits_before, terms_before


class BallArray(np.ndarray):
    """An object array of balls, whose matrix products go through Arb's own, three to ten times as fast.

    The larger of two balls encloses the larger of any two numbers in them. A comparison is the ball 0 or 1, and where
    the balls overlap, so that it cannot be told, one that holds both: what is made of it is not resolved.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, BallArray) else x for x in inputs]
        if ufunc is np.matmul and method == "__call__" and not kwargs:
            result = _product(*plain)
        elif ufunc in _CHOOSING and method == "__call__" and not kwargs:
            result = _CHOOSING[ufunc](*plain)
        else:
            result = getattr(ufunc, method)(*plain, **kwargs)
        return result.view(BallArray) if isinstance(result, np.ndarray) else result


def _compared(compare: Callable[[Any, Any], bool], opposite: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    """Return what compares balls, one by one; the two are true only where they are certain."""

    def one(x: Any, y: Any) -> Any:
        arb = flint().arb
        return arb(1) if compare(x, y) else arb(0) if opposite(x, y) else arb(0.5, 0.5)

    return np.frompyfunc(one, 2, 1)


_CHOOSING: dict[np.ufunc, Callable[..., Any]] = {
    np.maximum: np.frompyfunc(lambda x, y: flint().arb(x).max(flint().arb(y)), 2, 1),
    np.minimum: np.frompyfunc(lambda x, y: flint().arb(x).min(flint().arb(y)), 2, 1),
    np.greater: _compared(operator.gt, operator.le),
    np.greater_equal: _compared(operator.ge, operator.lt),
    np.less: _compared(operator.lt, operator.ge),
    np.less_equal: _compared(operator.le, operator.gt),
}
"""What needs to know which of two numbers is larger."""


def _product(x: Array, y: Array) -> Array:
    """Return the matrix products of two stacks of object arrays of balls."""
    # Making Arb's matrices costs more than it saves where there are few products.
    if x.ndim < 2 or y.ndim < 2 or x.shape[-2] * x.shape[-1] * y.shape[-1] < _SMALL_PRODUCT:
        return np.matmul(x, y)
    leading = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = np.broadcast_to(x, leading + x.shape[-2:])
    y = np.broadcast_to(y, leading + y.shape[-2:])
    result = np.empty((*leading, x.shape[-2], y.shape[-1]), object)
    for index in np.ndindex(leading):
        product = _matrix(x[index]) * _matrix(y[index])
        result[index] = filled(product.entries(), result.shape[-2:])
    return result


def _matrix(x: Array) -> Any:
    """Return Arb's matrix of a two-dimensional object array."""
    return flint().arb_mat(*x.shape, x.ravel().tolist())


def filled(objects: list[Any], shape: tuple[int, ...]) -> Array:
    """Return an object array of `objects`, which are not looked into (np.array iterates over whatever can be)."""
    array = np.empty(len(objects), object)
    array[:] = objects
    return array.reshape(shape)


def to_balls(array: Array) -> BallArray:
    """Return a float array as exact balls."""
    arb = flint().arb
    return filled([arb(x) for x in _floats(array)], np.shape(array)).view(BallArray)


def _floats(array: Array) -> list[float]:
    """Return the entries as Python floats, which hold every float32 and float64."""
    if np.asarray(array).dtype not in (np.float32, np.float64):
        raise TypeError(f"the array has dtype {np.asarray(array).dtype}, expected float32 or float64")
    return np.asarray(array, np.float64).ravel().tolist()


def nearest(balls: Array) -> NDArray[np.float64]:
    """Return the float64 nearest to each midpoint, ties to even, subnormal numbers included; NaN for an unknown."""
    return _each(_float, balls)


def radius(balls: Array) -> NDArray[np.float64]:
    """Return each radius, rounded up."""
    return _each(lambda ball: _float_above(ball.rad()), balls)


def distance(values: Array, balls: Array) -> NDArray[np.float64]:
    """Return, rounded up, how far each value is at most from the number in the ball; inf where it is not finite.

    Parameters
    ----------
    values : array
        Float32 or float64.
    balls : BallArray
        Enclosures, of the same shape.
    """
    if np.shape(values) != balls.shape:
        raise ValueError(f"values of shape {np.shape(values)} for balls of shape {balls.shape}")
    arb = flint().arb
    pairs = zip(_floats(values), balls.ravel().tolist(), strict=True)
    found = [_float_above((arb(x) - b).abs_upper()) if math.isfinite(x) else math.inf for x, b in pairs]
    return np.array(found, np.float64).reshape(balls.shape)


def overlap(x: Array, y: Array) -> bool:
    """Return whether every ball of `x` has a number in common with its ball of `y`."""
    if x.shape != y.shape:
        raise ValueError(f"balls of shape {x.shape} and of shape {y.shape}")
    return all(a.overlaps(b) for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True))


def contains(outer: Array, inner: Array) -> bool:
    """Return whether every ball of `inner` lies within its ball of `outer`."""
    if outer.shape != inner.shape:
        raise ValueError(f"balls of shape {outer.shape} and of shape {inner.shape}")
    return all(a.contains(b) for a, b in zip(outer.ravel().tolist(), inner.ravel().tolist(), strict=True))


def _each(function: Callable[[Any], float], balls: Array) -> NDArray[np.float64]:
    """Return a float function of every ball."""
    return np.array([function(ball) for ball in balls.ravel().tolist()], np.float64).reshape(balls.shape)


_NO_FLOAT_BELOW, _NO_FLOAT_ABOVE = -1200, 1200
"""Binary exponents below which a number rounds to 0, and above which to infinity, in float64; with room."""


def _float(ball: Any) -> float:
    """Return the float64 nearest to a midpoint, by Python's correctly rounded division of integers."""
    if not ball.is_finite():
        return math.nan
    mantissa, exponent = (int(part) for part in ball.mid().man_exp())
    size = mantissa.bit_length() + exponent
    if size < _NO_FLOAT_BELOW or size > _NO_FLOAT_ABOVE:
        # The derivative of a softplus may be e^-1e10: an integer of so many bits is not to be written down.
        return 0.0 if size < 0 or not mantissa else math.inf if mantissa > 0 else -math.inf
    try:
        # Python's division of integers is correctly rounded, to subnormal numbers as well; a conversion by way of a
        # mantissa of 53 bits would round twice there.
        return float(mantissa << exponent) if exponent >= 0 else mantissa / (1 << -exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _float_above(bound: Any) -> float:
    """Return the least float64 not below a non-negative exact ball; inf for an unknown."""
    if not bound.is_finite():
        return math.inf
    value = _float(bound)
    return value if math.isinf(value) or bound <= flint().arb(value) else math.nextafter(value, math.inf)


def missing_bits(balls: Array) -> int:
    """Return the most bits by which any radius exceeds what is resolved; 0 or less when all are.

    An entry is resolved when its radius is below 2^-10 ulp. An ulp is that of the midpoint's nearest float64 and never
    below the least subnormal number, 2^-1074; so an entry that is zero, or too small for float64, is resolved
    by an absolute radius of 2^-1084, and an exact zero by its radius of 0.
    """
    spacing = np.spacing(np.abs(nearest(balls)))
    ulps = np.frexp(np.where(np.isfinite(spacing), spacing, 1.0))[1] - 1
    sizes = np.array([_size(ball) for ball in balls.ravel().tolist()], np.int64)
    return int(np.max(sizes - (ulps.ravel() - GUARD_BITS), initial=_BELOW_ALL))


def _size(ball: Any) -> int:
    """Return the k for which the radius is below 2^k and at least 2^(k-1)."""
    if not ball.is_finite():
        return _UNBOUNDED
    mantissa, exponent = (int(part) for part in ball.rad().man_exp())
    # An exponent may have more than 64 bits itself.
    return min(max(mantissa.bit_length() + exponent, _BELOW_ALL), _UNBOUNDED) if mantissa else _BELOW_ALL


@dataclass(frozen=True)
class Resolved:
    """Enclosures, the precision they took, and whether every entry of them is resolved (see `missing_bits`)."""

    values: dict[str, BallArray]
    bits: int
    resolved: bool


def resolve(
    program: Callable[[], Mapping[str, BallArray]], first_bits: int = FIRST_BITS, last_bits: int = LAST_BITS
) -> Resolved:
    """Return what `program` computes, run at twice the precision until every entry is resolved.

    Parameters
    ----------
    program : callable
        From nothing to arrays of balls by name; it makes its inputs anew or has them exact.
    first_bits, last_bits : int
        The first precision, and the one beyond which nothing is tried.
    """
    bits = first_bits
    while True:
        with precision(bits):
            values = dict(program())
            resolved = all(missing_bits(value) <= 0 for value in values.values())
        if resolved or 2 * bits > last_bits:
            return Resolved(values, bits, resolved)
        bits *= 2


class UndecidedError(ArithmeticError):
    """A ball lies on both sides of a number that it is compared with, at the precision in use."""


class Series:
    """A power series in balls, cut to the terms of `precision`; it lends python-flint's series the tanh they lack.

    Two are compared by their first coefficients, as the numbers next to which they are series.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __add__(self, other: Any) -> "Series":
        return Series(self.value + _bare(other))

    def __sub__(self, other: Any) -> "Series":
        return Series(self.value - _bare(other))

    def __mul__(self, other: Any) -> "Series":
        return Series(self.value * _bare(other))

    def __radd__(self, other: Any) -> "Series":
        return Series(_bare(other) + self.value)

    def __rsub__(self, other: Any) -> "Series":
        return Series(_bare(other) - self.value)

    def __rmul__(self, other: Any) -> "Series":
        return Series(_bare(other) * self.value)

    def __truediv__(self, other: Any) -> "Series":
        return Series(self.value / _bare(other))

    def __rtruediv__(self, other: Any) -> "Series":
        return Series(_bare(other) / self.value)

    def __neg__(self) -> "Series":
        return Series(-self.value)

    def __gt__(self, other: Any) -> bool:
        return _decided(self, other, operator.gt, operator.le)

    def __ge__(self, other: Any) -> bool:
        return _decided(self, other, operator.ge, operator.lt)

    def __lt__(self, other: Any) -> bool:
        return _decided(self, other, operator.lt, operator.ge)

    def __le__(self, other: Any) -> bool:
        return _decided(self, other, operator.le, operator.gt)

    def exp(self) -> "Series":
        """Return the exponential."""
        return Series(self.value.exp())

    def expm1(self) -> "Series":
        """Return the exponential less 1."""
        return Series(self.value.exp() - 1)

    def log1p(self) -> "Series":
        """Return the logarithm of 1 more."""
        return Series((1 + self.value).log())

    def sqrt(self) -> "Series":
        """Return the square root."""
        return Series(self.value.sqrt())

    def tanh(self) -> "Series":
        """Return the hyperbolic tangent, as ``1 - 2 / (exp(2 x) + 1)``: no derivative of tanh is written here."""
        return Series(1 - 2 / ((2 * self.value).exp() + 1))

    def coefficient(self, k: int) -> Any:
        """Return the ball that encloses the coefficient of the k-th power."""
        return self.value[k]


def _bare(value: Any) -> Any:
    """Return python-flint's own series of a `Series`, anything else as it is."""
    return value.value if isinstance(value, Series) else value


def _decided(x: Series, y: Any, compare: Callable[..., bool], opposite: Callable[..., bool]) -> bool:
    """Return whether a comparison holds of two first coefficients, raising where the balls cannot tell."""
    first, second = (value.coefficient(0) if isinstance(value, Series) else value for value in (x, y))
    holds = compare(first, second)
    if not holds and not opposite(first, second):
        raise UndecidedError(f"{first} may be above {second} or below it: a kink lies within what the balls enclose")
    return holds


def to_series(array: Array, direction: Array) -> Array:
    """Return an object array of ``array + t * direction``, series in t with exact coefficients."""
    if np.shape(array) != np.shape(direction):
        raise ValueError(f"a direction of shape {np.shape(direction)} for an array of shape {np.shape(array)}")
    arb, arb_series = flint().arb, flint().arb_series
    pairs = zip(_floats(array), _floats(direction), strict=True)
    return filled([Series(arb_series([arb(x), arb(v)])) for x, v in pairs], np.shape(array))
