"""Monte Carlo arithmetic: the rounding noise of any NumPy program, measured by adding more of it.

`MonteCarloArray` holds copies of one computation along its first axis. Copy 0 is computed as usual; in every
other copy each operation's result is perturbed by `magnification * rho * scale`, up or down at random, where `scale` is
the size of the error that rounding can make in that operation. The spread of the copies, divided by the
magnification, is the standard deviation of the result's rounding error (Parker 1997, "Monte Carlo
arithmetic"; Denis, de Oliveira Castro and Petit 2016, "Verificarlo"). Inputs carry no noise: an array whose first axis
has length 1 is what all copies share, and what is computed from such arrays alone is computed once.

An operation without a noise model is refused, so nothing is ever silently exact.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWN = 2**15
"""Random numbers drawn at a time: few enough to stay in the cache, enough to make the call worth while."""


class Rounding:
    """How operations are perturbed.

    Parameters
    ----------
    rho : float
        Unit roundoff of the arithmetic that is modelled, 2^-53 or 2^-24.
    underflow : float
        Absolute error an operation may make near zero: the smallest normal number, as on hardware that flushes.
    magnification : float
        Factor on the noise, so that it stands above the rounding of the arithmetic that carries it out.
    rng : numpy.random.Generator
        Source of the noise.
    copies : int
        Number of noisy copies.
    """

    def __init__(
        self, rho: float, underflow: float, magnification: float, rng: np.random.Generator, copies: int
    ) -> None:
        self.rho, self.underflow, self.magnification = rho, underflow, magnification
        self.rng, self.copies = rng, copies
        self._used = 0
        self._drawn: NDArray[Any] = np.empty(0)
        self._step = magnification * rho
        # Every scale is multiplied by rho later, so that what underflow adds is divided by it here.
        self._floor = np.array(underflow / rho)  # an array, since a number would be made one in every operation

    def perturb(self, result: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
        """Return `result` with noise of the size `scale` times rho in every copy but the first.

        Where the operands were exact there is one result, and from here on a copy for each. `result` and `scale`
        are written to.
        """
        if len(result) == 1:
            result = np.repeat(result, self.copies + 1, axis=0)
        # Copy 0 stays as it is: it is the value, and the others are measured against it.
        noisy = result[1:]
        if len(scale) > 1:
            scale = scale[1:]
        if result.dtype.kind == "c":
            # The two parts are rounded apart, each with a sign of its own.
            noise = self.steps(noisy) * (scale.real + self._floor)
            noisy += noise + 1j * (self.steps(noisy) * (scale.imag + self._floor))
        else:
            scale += self._floor
            steps = self.steps(noisy)
            if len(scale) == len(steps):
                scale *= steps
                noisy += scale
            else:
                noisy += steps * scale
        return result

    def exact(self, array: NDArray[Any]) -> "MonteCarloArray":
        """Return `array` as an input without noise, which all copies share."""
        return _wrap(array[np.newaxis], self)

    def steps(self, like: NDArray[Any]) -> NDArray[Any]:
        """Return one step of noise up or down, at random; drawn many at a time, since most operations are small."""
        start, size = self._used, like.size
        stop = start + size
        if stop > self._drawn.size:
            bits = np.frombuffer(self.rng.bytes(max(size, DRAWN) // 8 + 1), np.uint8)
            # take, since indexing by an array costs four times as much.
            self._drawn = (self._step * _SIGNS).take(bits, axis=0).ravel()
            start, stop = 0, size
        self._used = stop
        return self._drawn[start:stop].reshape(like.shape)


_SIGNS = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1)
"""The eight signs that a byte stands for."""


# An operation's rounding error over rho: the size of its result for one that is correctly rounded; twice that
# for a library's exponential or tanh (within two ulps), but for tanh at least 1, since one composed of
# exponentials, (e^x - e^-x) / (e^x + e^-x), is off by about rho however small its result; sqrt(n) times the sum of the
# terms' sizes for a sum of n terms in whatever order (n independent roundings, each of a partial sum no larger).
_ROUNDED_ONCE = {np.add, np.subtract, np.true_divide, np.square, np.sqrt}
_SIZE_OF_RESULT = _ROUNDED_ONCE | {np.multiply}  # of real numbers
_ROUNDED_TWICE = {np.exp, np.expm1, np.log, np.log1p, np.cosh, np.sinh}
# A comparison, too, and what hands on one of its arguments: each copy chooses by its own noise.
EXACT = {np.negative, np.positive, np.absolute, np.maximum, np.minimum}
EXACT |= {np.greater, np.greater_equal, np.less, np.less_equal}
JOINS = {np.stack, np.concatenate}
MOVES_DATA = {np.stack, np.concatenate, np.swapaxes, np.moveaxis, np.zeros_like, np.copy, np.reshape, np.broadcast_to}


class MonteCarloArray(np.ndarray):
    """An array whose first axis runs over noisy copies of one computation."""

    rounding: Rounding

    def __array_finalize__(self, obj: Any) -> None:
        if obj is not None:
            self.rounding = getattr(obj, "rounding", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            raise TypeError(f"{ufunc.__name__} into an existing array has no noise model")
        rounding = self.rounding
        plain = [x.view(np.ndarray) if isinstance(x, MonteCarloArray) else x for x in inputs]
        result = ufunc(*plain, **kwargs) if method == "__call__" else getattr(ufunc, method)(*plain, **kwargs)
        # What is true or false, as a product of comparisons is, was not rounded.
        if ufunc not in EXACT and result.dtype.kind != "b":
            result = rounding.perturb(result, size_of_error(ufunc, method, plain, result, kwargs))
        return _wrap(result, rounding)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in MOVES_DATA:
            found: list[Rounding] = []
            plain_args = _strip(args, found)
            if function in JOINS:
                plain_args = (with_equal_copies(plain_args[0]), *plain_args[1:])
            return _wrap(function(*plain_args, **_strip(kwargs, found)), found[0])
        # It comes back as np.add.reduce, which has a noise model.
        if function is np.sum:
            return super().__array_function__(function, types, args, kwargs)
        raise TypeError(f"np.{function.__name__} has no noise model")


def size_of_error(ufunc: np.ufunc, method: str, inputs: list[Any], result: Any, kwargs: dict[str, Any]) -> NDArray[Any]:
    """Return the size of an operation's rounding error over rho, entry by entry; complex for a complex result.

    The parts of a complex number are rounded apart, and a product's are sums of products themselves: with the
    imaginary part 30 powers of ten below the real one, its error has nothing to do with the number's modulus.
    """
    if method == "__call__":
        is_complex = result.dtype.kind == "c"
        if ufunc in _SIZE_OF_RESULT and not is_complex:
            return np.abs(result)
        if ufunc is np.matmul:
            x, y = inputs
            scale = _crossed(ufunc, x, y) if is_complex else _matmul(np.abs(x), np.abs(y))
            scale *= math.sqrt(x.shape[-1])
            return scale
        if ufunc is np.multiply:
            return _crossed(ufunc, *inputs)
        if ufunc in _ROUNDED_ONCE:
            return _parts(result)
        if ufunc in _ROUNDED_TWICE:
            return 2 * _parts(result)
        if ufunc is np.tanh:
            parts = 2 * _parts(result)
            return np.maximum(parts.real, 1) + 1j * parts.imag if is_complex else np.maximum(parts, 1)
    if method == "reduce" and ufunc is np.add:
        x = inputs[0]
        total = np.add.reduce(_parts(x), **kwargs)
        total *= math.sqrt(x.size / max(total.size, 1))
        return total
    raise TypeError(f"{ufunc.__name__} ({method}) has no noise model")


def _matmul(x: Any, y: Any) -> Any:
    """Return the product; in one where all copies share `y`, and not in one for each copy."""
    if not 3 <= y.ndim <= x.ndim or y.size != y.shape[-2] * y.shape[-1]:
        return x @ y
    return (x.reshape(-1, x.shape[-1]) @ y.reshape(y.shape[-2:])).reshape(*x.shape[:-1], y.shape[-1])


def _parts(x: Any) -> Any:
    """Return the absolute value, part by part."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        return np.abs(x.real) + 1j * np.abs(x.imag)
    return np.abs(x)


def _crossed(ufunc: np.ufunc, x: Any, y: Any) -> Any:
    """Return the sizes of what the two parts of a complex product are sums of."""
    xr, xi, yr, yi = (np.abs(part) for part in (np.real(x), np.imag(x), np.real(y), np.imag(y)))
    return ufunc(xr, yr) + ufunc(xi, yi) + 1j * (ufunc(xr, yi) + ufunc(xi, yr))


def _wrap(result: NDArray[Any], rounding: Rounding) -> "MonteCarloArray":
    """Return `result` as a Monte Carlo array."""
    wrapped = result.view(MonteCarloArray)
    wrapped.rounding = rounding
    return wrapped


def _strip(value: Any, found: list[Rounding]) -> Any:
    """Return `value` with plain arrays in place of Monte Carlo ones, however nested in tuples, lists and dicts."""
    if isinstance(value, MonteCarloArray):
        found.append(value.rounding)
        return value.view(np.ndarray)
    if isinstance(value, tuple | list):
        return type(value)(_strip(item, found) for item in value)
    if isinstance(value, dict):
        return {key: _strip(item, found) for key, item in value.items()}
    return value


def with_equal_copies(arrays: Any) -> Any:
    """Return arrays of equally many copies, what is shared repeated as a view."""
    copies = max(len(array) for array in arrays)
    return [a if len(a) == copies else np.broadcast_to(a, (copies, *a.shape[1:])) for a in arrays]


def exact(array: NDArray[Any], rounding: Rounding) -> MonteCarloArray:
    """Return `array` as an input without noise, which all copies share."""
    return rounding.exact(array)


def spread(result: MonteCarloArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the exact copy and the standard deviation of its rounding error."""
    plain = result.view(np.ndarray)
    return plain[0], deviation(plain, result.rounding)


def deviation(copies: NDArray[Any], rounding: Rounding) -> NDArray[Any]:
    """Return the standard deviation of the rounding error of real copies, of which the first is exact."""
    if len(copies) == 1:
        # An input that nothing was done to: all copies share it.
        return np.zeros(copies.shape[1:])
    size = np.abs(copies[1:] - copies[0])
    # Scaled by the largest, so that no square of a tiny deviation is lost to underflow.
    largest = np.max(size, axis=0)
    share = size / np.where(largest > 0, largest, 1)
    return largest * np.sqrt(np.mean(np.square(share), axis=0)) / rounding.magnification
