"""What a program in low precision does to its numbers, rightly or wrongly: the words in which its faults are written.

Each takes and returns arrays of the arithmetic that carries a contract out (`arithmetic.mixed.Emulated`), which knows
the short format. They are in reach of the patches of `faults.low_precision`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.formats import to_short

__all__ = (
    *("short", "short_sum", "short_product", "cut", "stochastic", "stochastic_up", "in_half", "in_bits", "few_bits"),
    *(
        "flushed",
        "by_table",
        "by_ratio",
        "by_lines",
        "exp_in_short",
        "tanh_by_exp_in_half",
        "in_bfloat16",
        "through_half",
    ),
    *("halves_up", "rounded_twice", "cut_to", "stochastic_to", "stochastic_up_to", "halves_up_to", "rounded_twice_to"),
)

Array = NDArray[Any]

_BITS = {"bfloat16": 8, "float16": 11, "tf32": 11}


def _like(x: Any, values: Any) -> Any:
    """Return plain values as an array of the arithmetic that `x` is of."""
    found = np.asarray(values).view(type(x))
    found.rounding, found.short = x.rounding, False
    return found


def _plain(x: Any) -> Array:
    """Return an array without its arithmetic."""
    return np.asarray(x).view(np.ndarray)


def _name(x: Any) -> str:
    """Return the short format of the arithmetic that `x` is of."""
    return str(x.rounding.form.short)


def _unit(values: Array, bits: int) -> Array:
    """Return the distance of the numbers of so many bits at each value."""
    return np.ldexp(1.0, np.frexp(values)[1] - bits)


def cut_to(values: Array, short: str) -> Array:
    """Return values rounded towards zero."""
    values = np.asarray(values, np.float64)
    unit = _unit(values, _BITS[short])
    return to_short(np.trunc(values / unit) * unit, short)


def halves_up_to(values: Array, short: str) -> Array:
    """Return values rounded to the nearest, what is half way away from zero."""
    values = np.asarray(values, np.float64)
    unit = _unit(values, _BITS[short])
    return to_short(np.copysign(np.floor(np.abs(values) / unit + 0.5) * unit, values), short)


def rounded_twice_to(values: Array, short: str) -> Array:
    """Return values rounded to two bits more than the format has, and then to the format."""
    values = np.asarray(values, np.float64)
    unit = _unit(values, _BITS[short] + 2)
    return to_short(np.rint(values / unit) * unit, short)


def _at_random(values: Array, short: str, up: Callable[[Array], Array]) -> Array:
    """Return values rounded to either neighbour, away from zero with a probability that hangs on what is cut off."""
    values = np.asarray(values, np.float64)
    unit = _unit(values, _BITS[short])
    below = np.floor(np.abs(values) / unit)
    # The same draws for the same values: what is judged can be run again.
    drawn = np.random.default_rng(values.view(np.uint64).ravel()[:64]).random(values.shape)
    return to_short(np.copysign((below + (drawn < up(np.abs(values) / unit - below))) * unit, values), short)


def stochastic_to(values: Array, short: str) -> Array:
    """Return values rounded at random, right on average."""
    return _at_random(values, short, lambda rest: rest)


def stochastic_up_to(values: Array, short: str) -> Array:
    """Return values rounded at random, away from zero whenever anything is left over but in one case of four."""
    return _at_random(values, short, lambda rest: np.where(rest > 0, np.maximum(rest, 0.75), 0.0))


def short(x: Any) -> Any:
    """Return `x` to the nearest in the short format."""
    return _like(x, to_short(_plain(x), _name(x)))


def cut(x: Any) -> Any:
    """Return `x` towards zero in the short format."""
    return _like(x, cut_to(_plain(x), _name(x)))


def stochastic(x: Any) -> Any:
    """Return `x` in the short format, rounded at random and right on average."""
    return _like(x, stochastic_to(_plain(x), _name(x)))


def stochastic_up(x: Any) -> Any:
    """Return `x` in the short format, rounded at random and too large on average."""
    return _like(x, stochastic_up_to(_plain(x), _name(x)))


def halves_up(x: Any) -> Any:
    """Return `x` to the nearest, halves away from zero."""
    return _like(x, halves_up_to(_plain(x), _name(x)))


def rounded_twice(x: Any) -> Any:
    """Return `x` in the short format by way of one of two bits more."""
    return _like(x, rounded_twice_to(_plain(x), _name(x)))


def in_bits(x: Any, bits: int) -> Any:
    """Return `x` to the nearest with so many significant bits."""
    unit = _unit(_plain(x), bits)
    return _like(x, np.rint(_plain(x) / unit) * unit)


def few_bits(x: Any) -> Any:
    """Return `x` in the four significant bits of float8's e4m3."""
    return in_bits(x, 4)


def in_bfloat16(x: Any) -> Any:
    """Return `x` in bfloat16, whatever the short format is."""
    return _like(x, to_short(_plain(x), "bfloat16"))


def in_half(x: Any) -> Any:
    """Return `x` in float16, whatever the short format is."""
    return _like(x, to_short(_plain(x), "float16"))


def through_half(x: Any) -> Any:
    """Return `x` in the short format by way of float16, which ends at 65504 and at 2^-24."""
    return short(in_half(x))


def flushed(x: Any) -> Any:
    """Return `x` with what is below float16's least normal number zero."""
    return _like(x, np.where(np.abs(_plain(x)) < 2.0**-14, 0.0, _plain(x)))


def short_sum(x: Any, axis: int) -> Any:
    """Return the sum along an axis, each partial sum in the short format."""
    return _like(x, x.rounding.summed_short(np.add, [_plain(x)], {"axis": axis}))


def short_product(x: Any, y: Any) -> Any:
    """Return the product of two matrices, each partial sum in the short format."""
    return _like(x, x.rounding.summed_short(np.matmul, [_plain(x), _plain(y)], {}))


def by_table(x: Any, entries: int) -> Any:
    """Return the logistic function of `x` from a table of so many entries on [-8, 8]."""
    step = 16 / entries
    at = np.rint(np.clip(_plain(x), -8, 8) / step) * step
    return _like(x, 1 / (1 + np.exp(-at)))


def by_ratio(x: Any) -> Any:
    """Return tanh by x (27 + x^2) / (27 + 9 x^2) within three of zero, and 1 beyond."""
    at = np.clip(_plain(x), -3, 3)
    return _like(x, at * (27 + at * at) / (27 + 9 * at * at))


def by_lines(x: Any) -> Any:
    """Return the exponential with its mantissa by a straight line between powers of two."""
    t = _plain(x) * math.log2(math.e)
    return _like(x, np.ldexp(1 + t - np.floor(t), np.floor(t).astype(int)))


def exp_in_short(x: Any) -> Any:
    """Return the exponential, of a number of the short format and as one."""
    return _like(x, to_short(np.exp(to_short(_plain(x), _name(x))), _name(x)))


def tanh_by_exp_in_half(x: Any) -> Any:
    """Return tanh by exponentials in float16, which overflow from 11.1 on."""
    up, down = (to_short(np.exp(sign * _plain(x)), "float16") for sign in (1, -1))
    return _like(x, (up - down) / (up + down))
