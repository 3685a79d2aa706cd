"""The complex step: derivatives of an analytic program, exact to rounding, from its forward pass alone.

f(x + ih) = f(x) + ih f'(x) - O(h^2): with h = 1e-30 the neglected term is below every rounding error, and no
difference of near numbers is taken (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003). Many directions go
through at once along a leading axis. As h^2 is lost in the real part, that is the same in all of them:
`ComplexStepArray` computes it once, and keeps the imaginary part, over h, of each direction beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

STEP = 1e-30
CHUNK = 128
"""Directions that go through at once: enough to make the calls worth while, few enough to stay in the cache."""

Array = NDArray[Any]


class ComplexStepArray(NDArrayOperatorsMixin):
    """Complex numbers x + ih d for n directions d, as x (...) and d (n, ...); to a program they have the shape of x.

    Products leave out h^2; numbers are compared by their real parts. An operation that is not known here is refused.
    """

    def __init__(self, real: Array, imag: Array) -> None:
        self.real, self.imag = real, imag

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the real part."""
        return self.real.shape

    def __getitem__(self, index: Any) -> "ComplexStepArray":
        # The two parts differ in their leading axis: only what counts axes from the end means the same for both.
        if not isinstance(index, tuple) or index[0] is not Ellipsis:
            raise TypeError(f"the index {index} is not known to the complex step, expected [..., and more]")
        return ComplexStepArray(self.real[index], self.imag[index])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and ufunc in _RULES:
            return _RULES[ufunc](*inputs)
        raise TypeError(f"{ufunc.__name__} ({method}) is not known to the complex step")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> "ComplexStepArray":
        if function is np.stack and kwargs["axis"] < 0:
            reals, imags = zip(*map(_parts, args[0]), strict=True)
            none = np.zeros_like(next(imag for imag in imags if imag is not None))
            imags = tuple(none if imag is None else imag for imag in imags)
            return ComplexStepArray(np.stack(reals, **kwargs), np.stack(imags, **kwargs))
        if function is np.concatenate and kwargs["axis"] < 0:
            reals, imags = zip(*map(_parts, args[0]), strict=True)
            count = next(len(imag) for imag in imags if imag is not None)
            imags = tuple(
                np.zeros((count, *real.shape)) if imag is None else imag
                for real, imag in zip(reals, imags, strict=True)
            )
            return ComplexStepArray(np.concatenate(reals, **kwargs), np.concatenate(imags, **kwargs))
        if function is np.sum and np.max(kwargs["axis"]) < 0:
            x = args[0]
            return ComplexStepArray(np.sum(x.real, **kwargs), np.sum(x.imag, **kwargs))
        raise TypeError(f"np.{function.__name__} is not known to the complex step, or not along such axes")


def _parts(x: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part."""
    return (x.real, x.imag) if isinstance(x, ComplexStepArray) else (x, None)


def _whole(real: Any, imag: Any) -> ComplexStepArray:
    """Return the two as one, the imaginary part spread over the shape of the real one where they differ."""
    # Where a bias, say, is all that varies, the sum has the shape of the larger term and its derivative not yet.
    if imag.shape[1:] != real.shape:
        imag = np.broadcast_to(imag, (len(imag), *real.shape))
    return ComplexStepArray(real, imag)


def _add(x: Any, y: Any) -> ComplexStepArray:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x + y, dy if dx is None else dx if dy is None else dx + dy)


def _subtract(x: Any, y: Any) -> ComplexStepArray:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x - y, -dy if dx is None else dx if dy is None else dx - dy)


def _multiply(x: Any, y: Any) -> ComplexStepArray:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    return _whole(x * y, x * dy if dx is None else dx * y if dy is None else dx * y + x * dy)


def _matmul(x: Any, y: Any) -> ComplexStepArray:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    # What is shared by all directions is multiplied by all at once.
    left: Any = 0 if dx is None else (dx.reshape(-1, dx.shape[-1]) @ y).reshape(*dx.shape[:-1], y.shape[-1])
    right = 0 if dy is None else x @ dy
    return ComplexStepArray(x @ y, left + right)


def _tanh(x: Any) -> ComplexStepArray:
    # The addition theorem: tanh(x + iy) = (t + i tan y) / (1 + i t tan y) with t = tanh x, where tan y = y.
    t = np.tanh(x.real)
    return ComplexStepArray(t, x.imag * (1 - t * t))


def _divide(x: Any, y: Any) -> ComplexStepArray:
    (x, dx), (y, dy) = _parts(x), _parts(y)
    ratio = x / y
    return _whole(ratio, dx / y if dy is None else -ratio * dy / y if dx is None else (dx - ratio * dy) / y)


def _larger(x: Any, y: Any) -> ComplexStepArray:
    return _choose(_real(x) >= _real(y), x, y)


def _smaller(x: Any, y: Any) -> ComplexStepArray:
    # Of two equal ones the other than the larger: max(x, 0) + f(min(x, 0)) is smooth where it can be.
    return _choose(_real(x) < _real(y), x, y)


def _choose(first: Any, x: Any, y: Any) -> ComplexStepArray:
    """Return x, the imaginary part as well, where `first` is true, and y elsewhere."""
    (x, dx), (y, dy) = _parts(x), _parts(y)
    # An operand without directions does not move.
    return _whole(np.where(first, x, y), (0 if dx is None else dx) * first + (0 if dy is None else dy) * ~first)


def _real(x: Any) -> Any:
    """Return what numbers are compared by."""
    return _parts(x)[0]


def _of_one(value: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Callable[..., ComplexStepArray]:
    """Return the rule of a function of one number, whose derivative is `slope` of that number and of the value."""

    def rule(x: Any) -> ComplexStepArray:
        found = value(x.real)
        return ComplexStepArray(found, x.imag * slope(x.real, found))

    return rule


_RULES: dict[np.ufunc, Callable[..., Any]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.matmul: _matmul,
    np.tanh: _tanh,
    np.true_divide: _divide,
    np.negative: lambda x: ComplexStepArray(-x.real, -x.imag),
    np.exp: _of_one(np.exp, lambda x, y: y),
    np.expm1: _of_one(np.expm1, lambda x, y: y + 1),
    np.log1p: _of_one(np.log1p, lambda x, y: 1 / (1 + x)),
    np.sqrt: _of_one(np.sqrt, lambda x, y: 0.5 / y),
    np.maximum: _larger,
    np.minimum: _smaller,
    # The truth of a comparison does not move.
    np.greater: lambda x, y: _real(x) > _real(y),
    np.greater_equal: lambda x, y: _real(x) >= _real(y),
    np.less: lambda x, y: _real(x) < _real(y),
    np.less_equal: lambda x, y: _real(x) <= _real(y),
}


def derivative(f: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, Array], along: Mapping[str, Array]) -> Array:
    """Return the derivative of `f` at `inputs` along each direction.

    Parameters
    ----------
    f : callable
        From inputs by name, some of them complex-step arrays, to one number.
    inputs : mapping
        Float64 arrays by name.
    along : mapping
        For some of the names, n directions: arrays with one leading axis of length n.

    Returns
    -------
    array (n,)
    """
    perturbed = {name: ComplexStepArray(inputs[name], direction) for name, direction in along.items()}
    return f({**inputs, **perturbed}).imag


def gradient(f: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the derivative of `f` with respect to every entry of every input, by the input's name."""
    size = sum(value.size for value in inputs.values())
    found = np.concatenate(
        [derivative(f, inputs, _units(inputs, k, min(k + CHUNK, size))) for k in range(0, size, CHUNK)]
    )
    ends = np.cumsum([value.size for value in inputs.values()])
    parts = np.split(found, ends[:-1])
    return {name: part.reshape(inputs[name].shape) for name, part in zip(inputs, parts, strict=True)}


def _units(inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """Return the unit directions of entries `start` to `stop`, all inputs counted through, by the inputs they touch."""
    along, offset = {}, 0
    for name, value in inputs.items():
        first, last = max(start - offset, 0), min(stop - offset, value.size)
        if first < last:
            units = np.zeros((stop - start, value.size))
            units[np.arange(first, last) + offset - start, np.arange(first, last)] = 1
            along[name] = units.reshape(-1, *value.shape)
        offset += value.size
    return along
