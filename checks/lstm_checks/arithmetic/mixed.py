"""Monte Carlo arithmetic of a precision contract: each rounding as large as the format in which it happens.

A program in low precision rounds in several formats: products are summed in one, gates computed in another, a state is
stored in a third. `MixedArray` holds noisy copies as `MonteCarloArray` does, and perturbs a sum of products by the
roundoff of sums, other results by that of gates, and what is stored (`Mixed.stored`) by that of its storage, as an
operation of its own. Besides the random sign of each entry there is one for each kind of operation in a whole copy, of
an eighth of the size (`tolerance.BIAS`; where something is stored, less): what a library's function may lean to, which
sums over entries show.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic.monte_carlo import (
    EXACT,
    JOINS,
    MOVES_DATA,
    MonteCarloArray,
    Rounding,
    size_of_error,
    with_equal_copies,
)
from lstm_checks.formats import Arithmetic, Format, to_short

Array = NDArray[Any]


class Mixed(Rounding):
    """How operations are perturbed under a contract.

    Parameters
    ----------
    form : Format
        With its contract.
    magnification : float
        Factor on all noise.
    rng : numpy.random.Generator
        Source of the noise of entries.
    copies : int
        Number of noisy copies.

    Attributes
    ----------
    overflows : bool
        Whether anything so far was too large for the format it was computed in.
    """

    def __init__(self, form: Format, magnification: float, rng: np.random.Generator, copies: int) -> None:
        super().__init__(1.0, 0.0, 1.0, rng, copies)
        self.form, self.magnification, self.overflows = form, magnification, False
        self.sums, self.gates, self.operands = form.of("sums"), form.of("gates"), form.of("operands")
        self._leans: dict[Any, Array] = {}

    def exact(self, array: Array) -> "MixedArray":
        """Return `array` as an input without noise, which all copies share."""
        return _wrapped(array[np.newaxis], self, short=True)

    def rounded(
        self, result: Array, sizes: list[tuple[Arithmetic, Array]], kind: Any, largest: Array | None = None
    ) -> Array:
        """Return `result` with the noise of roundings, each of an arithmetic and of a size over its rho.

        The first copy is left as it is. `result` is written to where it has one for each already. `largest` bounds what
        the first of the arithmetics meets on the way, where that is not its size.
        """
        if len(result) == 1:
            result = np.repeat(result, self.copies + 1, axis=0)
        noisy, step = result[1:], np.zeros(())
        for how, size in sizes:
            if np.isfinite(how.overflow):
                met = size if largest is None else largest
                self.overflows |= not np.max(met, initial=0) <= how.overflow
            largest = None
            step = step + (size[1:] if len(size) > 1 else size) * (self.magnification * how.rho)
        # One sign for all of them, as if they always went the same way.
        step = step + self.magnification * max(how.underflow for how, _ in sizes)
        noisy += step * (self.steps(noisy) + self._leaning(kind, result.ndim))
        return result

    def _leaning(self, kind: Any, axes: int) -> Array:
        """Return, for each noisy copy, which way and how much a kind of operation leans: the same in all examples."""
        if kind not in self._leans:
            signs = np.random.default_rng((_LEANING, *str(kind).encode())).integers(0, 2, self.copies)
            lean = tolerance.STORED_BIAS if isinstance(kind, str) else tolerance.BIAS
            self._leans[kind] = lean * (2.0 * signs - 1)
        return self._leans[kind].reshape(-1, *(1,) * (axes - 1))

    def result(self, ufunc: np.ufunc, method: str, plain: list[Any], kwargs: dict[str, Any]) -> Array:
        """Return what an operation gives."""
        result = ufunc(*plain, **kwargs) if method == "__call__" else getattr(ufunc, method)(*plain, **kwargs)
        if ufunc in EXACT or result.dtype.kind == "b":
            return result
        size, largest = size_of_error(ufunc, method, plain, result, kwargs), None
        sizes = [(self.gates, size)]
        if ufunc is np.matmul or method == "reduce":
            # Summed in one format, and then a number of the other. The error of a sum is the root of its terms' number
            # times the sum of their sizes, and none of its partial sums is larger than that.
            terms = plain[0].shape[-1] if ufunc is np.matmul else plain[0].size / max(result.size, 1)
            sizes, largest = [(self.sums, size), (self.gates, np.abs(result))], size / math.sqrt(max(terms, 1))
        return self.rounded(result, sizes, ufunc, largest)

    def stored(self, part: str, value: Any) -> Any:
        """Return a value as it is stored in the format of a part of the contract."""
        if part not in self.form.parts or not isinstance(value, MixedArray):
            return value
        plain = value.view(np.ndarray)
        return _wrapped(self.rounded(plain.copy(), [(self.form.of(part), np.abs(plain))], part), self, short=True)

    def returned(self, value: Any) -> Any:
        """Return an output or a gradient as it comes back."""
        how = self.form.returned
        if how is None:
            return value
        plain = value.view(np.ndarray)
        return _wrapped(self.rounded(plain.copy(), [(how, np.abs(plain))], "returned"), self, short=True)

    @contextmanager
    def summing(self, part: str) -> Iterator[None]:
        """Let sums of products be those of a part of the contract."""
        before, self.sums = self.sums, self.form.of(part)
        try:
            yield
        finally:
            self.sums = before


class Emulated(Mixed):
    """A contract carried out: every result is rounded to the nearest number of the format that it is in.

    There are no copies, and what is in float32 is computed in float64: it is a program that keeps the contract and no
    more, as good as any, to be judged like one. Sums run from the first term to the last.

    Parameters
    ----------
    form : Format
        With its contract.
    to_format : callable
        ``to_format(values, short)`` returns values as numbers of the short format; to the nearest by default.
    """

    def __init__(self, form: Format, to_format: Callable[[Array, str], Array] = to_short) -> None:
        super().__init__(form, 1.0, np.random.default_rng(0), 0)
        self.to_format = to_format

    def rounded(
        self, result: Array, sizes: list[tuple[Arithmetic, Array]], kind: Any, largest: Array | None = None
    ) -> Array:
        """Return `result`, rounded if any of these is short."""
        short = any(how.rho == tolerance.UNIT_ROUNDOFF[self.form.short] for how, _ in sizes)
        return self.to_format(result, self.form.short) if short else result

    def result(self, ufunc: np.ufunc, method: str, plain: list[Any], kwargs: dict[str, Any]) -> Array:
        """Return what an operation gives, whichever it is; no error model is needed where nothing is noisy."""
        summed = ufunc is np.matmul or (ufunc is np.add and method == "reduce")
        if summed and self.sums.rho == tolerance.UNIT_ROUNDOFF[self.form.short]:
            return self.summed_short(ufunc, plain, kwargs)
        call = ufunc if method == "__call__" else getattr(ufunc, method)
        result = np.asarray(call(*plain, **kwargs))
        if ufunc in EXACT or result.dtype.kind != "f":
            return result
        sizes = [(self.gates, result), *([(self.sums, result)] if summed else [])]
        return self.rounded(result, sizes, ufunc)

    def summed_short(self, ufunc: np.ufunc, plain: list[Any], kwargs: dict[str, Any]) -> Array:
        """Return a product or a sum of which each term and each partial sum is a number of the short format."""
        if ufunc is np.matmul:
            x, y = plain
            terms = np.swapaxes(x, -2, -1)[..., :, :, np.newaxis] * y[..., :, np.newaxis, :]
            axes: tuple[int, ...] = (-3,)
        else:
            terms, axis = plain[0], kwargs["axis"]
            axes = tuple(range(terms.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        moved = np.moveaxis(self.to_format(terms, self.form.short), axes, range(len(axes)))
        terms = moved.reshape(math.prod(moved.shape[: len(axes)]), *moved.shape[len(axes) :])
        # Of no terms, as a fault that leaves out steps may make it, the sum is zero.
        total = terms[0] if len(terms) else np.zeros(terms.shape[1:])
        for term in terms[1:]:
            total = self.to_format(total + term, self.form.short)
        return np.expand_dims(total, axes) if kwargs.get("keepdims") else np.asarray(total)


_LEANING = 20
"""Seed of the ways in which operations lean."""


class MixedArray(MonteCarloArray):
    """An array whose first axis runs over noisy copies of one computation under a contract.

    `short` says that its entries are numbers of the short format already, as inputs are and what is stored so.
    """

    rounding: Mixed
    short: bool

    def __array_finalize__(self, obj: Any) -> None:
        if obj is not None:
            self.rounding = getattr(obj, "rounding", None)  # type: ignore[assignment]
            self.short = getattr(obj, "short", False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            raise TypeError(f"{ufunc.__name__} into an existing array has no noise model")
        mixed = self.rounding
        plain = [_operand(x, mixed) if ufunc is np.matmul else _bare(x) for x in inputs]
        return _wrapped(mixed.result(ufunc, method, plain, kwargs), mixed)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in MOVES_DATA:
            parts: list[MixedArray] = []
            plain = _stripped(args, parts)
            if function in JOINS:
                plain = (with_equal_copies(plain[0]), *plain[1:])
            result = function(*plain, **_stripped(kwargs, parts))
            return _wrapped(result, parts[0].rounding, short=all(part.short for part in parts))
        if isinstance(self.rounding, Emulated) and function is not np.sum:  # a wrong program may call whatever there is
            result = function(*_stripped(args, []), **_stripped(kwargs, []))
            return _wrapped(result, self.rounding) if isinstance(result, np.ndarray) else result
        return super().__array_function__(function, types, args, kwargs)


def _operand(x: Any, mixed: Mixed) -> Array:
    """Return an operand of a product as it is read: rounded, where it is longer than what products take."""
    plain = _bare(x)
    if "operands" not in mixed.form.parts or not isinstance(x, MixedArray) or x.short:
        return plain
    if mixed.gates.rho >= mixed.operands.rho:
        return plain  # no longer than that
    return mixed.rounded(plain.copy(), [(mixed.operands, np.abs(plain))], "operands")


def _bare(x: Any) -> Any:
    """Return an array without what it knows of noise."""
    return x.view(np.ndarray) if isinstance(x, MixedArray) else x


def _stripped(value: Any, parts: list[MixedArray]) -> Any:
    """Return `value` with bare arrays in place of mixed ones, which are noted."""
    if isinstance(value, MixedArray):
        parts.append(value)
        return _bare(value)
    if isinstance(value, tuple | list):
        return type(value)(_stripped(item, parts) for item in value)
    if isinstance(value, dict):
        return {key: _stripped(item, parts) for key, item in value.items()}
    return value


def _wrapped(result: Array, mixed: Mixed, short: bool = False) -> MixedArray:
    """Return `result` as a mixed array."""
    wrapped = result.view(MixedArray)
    wrapped.rounding, wrapped.short = mixed, short
    return wrapped
