"""Monte Carlo arithmetic: the rounding noise of any NumPy program, measured by adding more of it.

`MonteCarloArray` holds copies of one computation along its first axis. Copy 0 is computed as usual; in every
other copy each operation's result is perturbed by `magnification * rho * scale * N(0, 1)`, where `scale` is the
size of the error that rounding can make in that operation. The spread of the copies, divided by the
magnification, is the standard deviation of the result's rounding error (Parker 1997, "Monte Carlo
arithmetic"; Denis, de Oliveira Castro and Petit 2016, "Verificarlo"). What the copies share they share exactly:
inputs carry no noise.

An operation without a noise model is refused, so nothing is ever silently exact.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
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
    """

    rho: float
    underflow: float
    magnification: float
    rng: np.random.Generator

    def perturb(self, result: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
        """Return `result` with noise in every copy but the first."""
        noisy = result + self._noise(result.shape) * self._size(scale.real)
        if np.iscomplexobj(result):
            noisy = noisy + 1j * (self._noise(result.shape) * self._size(scale.imag))
        return noisy

    def _noise(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return standard normal noise, none in the first copy."""
        noise = self.rng.standard_normal(shape, dtype=np.float32)
        noise[:1] = 0
        return noise

    def _size(self, scale: NDArray[Any]) -> NDArray[Any]:
        """Return the standard deviation of the noise for an error of size `scale` times rho."""
        return self.magnification * (scale * self.rho + self.underflow)


# An operation's rounding error over rho: the size of its result for one that is correctly rounded; twice that
# for a library's exponential or tanh (within two ulps), but for tanh at least 1, since one composed of
# exponentials, (e^x - e^-x) / (e^x + e^-x), is off by about rho however small its result; sqrt(n) times the sum of the
# terms' sizes for a sum of n terms in whatever order (n independent roundings, each of a partial sum no larger).
_PRODUCTS = {np.multiply, np.matmul}
_ROUNDED_ONCE = {np.add, np.subtract, np.true_divide, np.square, np.sqrt}
_ROUNDED_TWICE = {np.exp, np.expm1, np.log, np.log1p, np.cosh, np.sinh}
_EXACT = {np.negative, np.positive, np.absolute}
_MOVES_DATA = {np.stack, np.concatenate, np.swapaxes, np.moveaxis, np.zeros_like, np.copy, np.reshape, np.broadcast_to}


class MonteCarloArray(np.ndarray):
    """An array whose first axis runs over noisy copies of one computation."""

    rounding: Rounding

    def __array_finalize__(self, obj: Any) -> None:
        if obj is not None:
            self.rounding = getattr(obj, "rounding", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs.pop("out", None) is not None:
            raise TypeError(f"{ufunc.__name__} into an existing array has no noise model")
        rounding = next(x.rounding for x in inputs if isinstance(x, MonteCarloArray))
        plain = [x.view(np.ndarray) if isinstance(x, MonteCarloArray) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if method == "__call__" and ufunc in _EXACT:
            return _wrap(result, rounding)
        return _wrap(rounding.perturb(result, _scale(ufunc, method, plain, result, kwargs)), rounding)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _MOVES_DATA:
            found: list[Rounding] = []
            plain_args = _strip(args, found)
            return _wrap(function(*plain_args, **_strip(kwargs, found)), found[0])
        if function is np.sum:
            return super().__array_function__(function, types, args, kwargs)
        raise TypeError(f"np.{function.__name__} has no noise model")


def _scale(ufunc: np.ufunc, method: str, inputs: list[Any], result: Any, kwargs: dict[str, Any]) -> NDArray[Any]:
    """Return the size of an operation's rounding error over rho, entry by entry; complex for a complex result.

    The parts of a complex number are rounded apart, and a product's are sums of products themselves: with the
    imaginary part 30 powers of ten below the real one, its error has nothing to do with the number's modulus.
    """
    if method == "reduce" and ufunc is np.add:
        x = inputs[0]
        total = np.add.reduce(_parts(x), **kwargs)
        return total * np.sqrt(x.size / max(total.size, 1))
    if method == "__call__":
        if ufunc in _PRODUCTS:
            x, y = inputs
            terms = np.sqrt(x.shape[-1]) if ufunc is np.matmul else 1.0
            return terms * ufunc(_parts(x), _parts(y)) if not np.iscomplexobj(result) else terms * _crossed(ufunc, x, y)
        if ufunc in _ROUNDED_ONCE:
            return _parts(result)
        if ufunc in _ROUNDED_TWICE:
            return 2 * _parts(result)
        if ufunc is np.tanh:
            parts = 2 * _parts(result)
            return np.maximum(parts.real, 1) + 1j * parts.imag if np.iscomplexobj(parts) else np.maximum(parts, 1)
    raise TypeError(f"{ufunc.__name__} ({method}) has no noise model")


def _parts(x: Any) -> Any:
    """Return the absolute value, part by part."""
    return np.abs(np.real(x)) + 1j * np.abs(np.imag(x)) if np.iscomplexobj(x) else np.abs(x)


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


def noisy_copies(array: NDArray[Any], copies: int, rounding: Rounding) -> MonteCarloArray:
    """Return `array` as one exact and `copies` further copies, not yet noisy, along a new first axis."""
    return _wrap(np.repeat(array[np.newaxis], copies + 1, axis=0), rounding)


def spread(result: MonteCarloArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the exact copy and the standard deviation of its rounding error."""
    plain = result.view(np.ndarray)
    return plain[0], deviation(plain, result.rounding)


def deviation(copies: NDArray[Any], rounding: Rounding) -> NDArray[Any]:
    """Return the standard deviation of the rounding error of real copies, of which the first is exact."""
    size = np.abs(copies[1:] - copies[0])
    # Scaled by the largest, so that no square of a tiny deviation is lost to underflow.
    largest = np.max(size, axis=0)
    share = size / np.where(largest > 0, largest, 1)
    return largest * np.sqrt(np.mean(np.square(share), axis=0)) / rounding.magnification
