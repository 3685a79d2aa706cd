"""Dual numbers x + ε d, ε² = 0: the complex step in one direction, over whatever arithmetic x and d are of.

`complex_step.ComplexStepArray` keeps many directions beside one value. Here there is one, and both parts are arrays of
one kind, such as Monte Carlo arrays: so a derivative along a direction comes with the noise of its rounding, that of
``1 - y * y`` where a unit is saturated, which complex numbers, whose tanh knows better, do not show. Run on a backward
pass, the derivative along v is the product of the Hessian with v, and no equation of it is written anywhere.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Dual(NDArrayOperatorsMixin):
    """Numbers `value` and their derivatives along one direction, `tangent`, of the same shape.

    An operation that is not known here is refused.
    """

    def __init__(self, value: Any, tangent: Any) -> None:
        self.value, self.tangent = value, tangent

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        found: tuple[int, ...] = self.value.shape
        return found

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        found: np.dtype[Any] = self.value.dtype
        return found

    @property
    def mT(self) -> "Dual":
        """With the last two axes swapped."""
        return Dual(self.value.mT, self.tangent.mT)

    def __getitem__(self, index: Any) -> "Dual":
        return Dual(self.value[index], self.tangent[index])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and ufunc in _RULES:
            return _RULES[ufunc](*inputs)
        raise TypeError(f"{ufunc.__name__} ({method}) is not known to dual numbers")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> "Dual":
        if function not in _LINEAR:
            raise TypeError(f"np.{function.__name__} is not known to dual numbers")
        values, tangents = (_each(args, part) for part in (_value, _tangent))
        return Dual(function(*values, **kwargs), function(*tangents, **kwargs))


_LINEAR = {np.stack, np.concatenate, np.sum, np.swapaxes, np.broadcast_to}
"""The functions of arrays that do to a tangent what they do to a value."""


def _each(argument: Any, part: Callable[[Any], Any]) -> Any:
    """Return an argument with one part of each dual number in it."""
    if isinstance(argument, tuple | list):
        return type(argument)(_each(item, part) for item in argument)
    return part(argument) if isinstance(argument, Dual) else argument


def _value(x: Dual) -> Any:
    return x.value


def _tangent(x: Dual) -> Any:
    return x.tangent


def _parts(x: Any) -> tuple[Any, Any]:
    """Return value and tangent; of a plain number no tangent."""
    return (x.value, x.tangent) if isinstance(x, Dual) else (x, None)


def _sum(*terms: Any) -> Any:
    """Return the sum of the terms that are there."""
    first, *others = (term for term in terms if term is not None)
    return first + others[0] if others else first


def _add(x: Any, y: Any) -> Dual:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x + y, _sum(dx, dy))


def _subtract(x: Any, y: Any) -> Dual:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x - y, -dy if dx is None else dx if dy is None else dx - dy)


def _multiply(x: Any, y: Any) -> Dual:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x * y, _sum(None if dx is None else dx * y, None if dy is None else x * dy))


def _matmul(x: Any, y: Any) -> Dual:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return Dual(x @ y, _sum(None if dx is None else dx @ y, None if dy is None else x @ dy))


def _divide(x: Any, y: Any) -> Dual:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    ratio = x / y
    return _whole(ratio, dx / y if dy is None else -ratio * dy / y if dx is None else (dx - ratio * dy) / y)


def _tanh(x: Dual) -> Dual:
    y = np.tanh(x.value)
    return Dual(y, x.tangent * (1 - y * y))


def _larger(x: Any, y: Any) -> Dual:
    (a, _), (b, _) = _parts(x), _parts(y)
    return _chosen(np.maximum(a, b), a >= b, a < b, x, y)


def _smaller(x: Any, y: Any) -> Dual:
    # Of two equal ones the other than the larger, as in the complex step.
    (a, _), (b, _) = _parts(x), _parts(y)
    return _chosen(np.minimum(a, b), a < b, a >= b, x, y)


def _chosen(value: Any, first: Any, second: Any, x: Any, y: Any) -> Dual:
    """Return a value with the tangent of x where `first` is true, and that of y where `second` is."""
    (_, dx), (_, dy) = _parts(x), _parts(y)
    return _whole(value, _sum(None if dx is None else first * dx, None if dy is None else second * dy))


def _whole(value: Any, tangent: Any) -> Dual:
    """Return the two as one, the tangent spread over the shape of the value where that is larger."""
    if tangent.shape[1:] != value.shape[1:]:
        tangent = np.broadcast_to(tangent, (len(tangent), *value.shape[1:]))
    return Dual(value, tangent)


def _of_one(value: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Callable[[Dual], Dual]:
    """Return the rule of a function of one number, whose derivative is `slope` of that number and of the value."""

    def rule(x: Dual) -> Dual:
        found = value(x.value)
        return Dual(found, x.tangent * slope(x.value, found))

    return rule


def _compared(compare: np.ufunc) -> Callable[[Any, Any], Dual]:
    """Return the rule of a comparison, whose truth does not move."""

    def rule(x: Any, y: Any) -> Dual:
        (a, da), (b, db) = _parts(x), _parts(y)
        return _whole(compare(a, b), 0 * _sum(da, db))

    return rule


_RULES: dict[np.ufunc, Callable[..., Any]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.matmul: _matmul,
    np.true_divide: _divide,
    np.negative: lambda x: Dual(-x.value, -x.tangent),
    np.tanh: _tanh,
    np.exp: _of_one(np.exp, lambda x, y: y),
    np.expm1: _of_one(np.expm1, lambda x, y: y + 1),
    np.log1p: _of_one(np.log1p, lambda x, y: 1 / (1 + x)),
    np.sqrt: _of_one(np.sqrt, lambda x, y: 0.5 / y),
    np.maximum: _larger,
    np.minimum: _smaller,
    **{compare: _compared(compare) for compare in (np.greater, np.greater_equal, np.less, np.less_equal)},
}


def along(values: Mapping[str, Any], direction: Mapping[str, Any]) -> dict[str, Dual]:
    """Return arrays by name as dual numbers; what has no direction does not move."""
    return {name: Dual(value, direction[name] if name in direction else 0 * value) for name, value in values.items()}
