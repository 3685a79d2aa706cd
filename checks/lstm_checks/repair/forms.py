"""The forms in which a quantity may stand in somebody's program: how a site's values are read as a quantity's.

A site is passed once, once a step, once a step and gate, or once a step and sample; its value may hold one step or all
of them, samples or features first, gates packed in any order, with rows of x, h and a bias below one another. A `View`
brings all that to one form, an array (steps, rows, columns), and back; a `Form` says which quantity each block of rows
and columns is to hold. Both speak of sizes by letters, so that they can be taken to a case of other sizes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.repair.due import ZERO, Due

Array = NDArray[Any]
Sizes = Mapping[str, int]

CALLS, ONCE, SAMPLES, STEPS_OF_SAMPLES, WHOLE, FLAT, FLAT_LAST = (
    "once a step",
    "once",
    "a sample after the other",
    "a step's samples after one another",
    "all steps in one",
    "all steps and samples in one",
    "all steps and samples in one, last",
)


class NoFormError(Exception):
    """A value of a case has not the form that it had on another."""


@dataclass(frozen=True)
class View:
    """How the values of a site are read: how often it is passed, and what each value holds.

    Parameters
    ----------
    kind : str
        One of the constants above.
    slots, slot : int
        Where a site is passed so often within a step, one gate after the other, which of these passes it is about.
    axis : int
        Of what holds all steps, their axis; of what is flattened, 0 where samples come first and 1 where steps do.
    """

    kind: str
    slots: int = 1
    slot: int = 0
    axis: int = 0

    def steps(self, values: Sequence[Array], sizes: Sizes, gates: int) -> Array:
        """Return the values of a slot's passes as (steps, rows, columns).

        Raises
        ------
        NoFormError
            Where they have not this form.
        """
        m, s = sizes["m"], sizes["s"]
        if self.kind in (CALLS, ONCE):
            if len(values) != (s if self.kind == CALLS else 1):
                raise NoFormError
            return np.stack([_flat(value, gates) for value in values])
        if self.kind in (SAMPLES, STEPS_OF_SAMPLES):
            if len(values) != m * s:
                raise NoFormError
            rows = np.stack([value.reshape(-1) for value in values])
            if self.kind == SAMPLES:
                return rows.reshape(m, s, -1).swapaxes(0, 1)
            return rows.reshape(s, m, -1)
        if len(values) != 1:
            raise NoFormError
        (value,) = values
        if self.kind == WHOLE:
            if value.ndim not in (3, 4) or value.shape[self.axis] != s:
                raise NoFormError
            return np.stack([_flat(one, gates) for one in np.moveaxis(value, self.axis, 0)])
        value = value.T if self.kind == FLAT_LAST else value
        if value.ndim != 2 or len(value) != m * s:
            raise NoFormError
        found = value.reshape(s, m, -1) if self.axis else value.reshape(m, s, -1).swapaxes(0, 1)
        return found.swapaxes(1, 2) if self.kind == FLAT_LAST else found

    def back(self, steps: Array, shape: tuple[int, ...], sizes: Sizes, gates: int) -> list[Array]:
        """Return what each pass is to give, of (steps, rows, columns), in a value's own shape.

        Raises
        ------
        NoFormError
            Where it does not fit that shape.
        """
        m, s = sizes["m"], sizes["s"]
        try:
            if self.kind in (CALLS, ONCE):
                return [one.reshape(shape) for one in steps]
            if self.kind == SAMPLES:
                return [one.reshape(shape) for one in steps.swapaxes(0, 1).reshape(m * s, -1)]
            if self.kind == STEPS_OF_SAMPLES:
                return [one.reshape(shape) for one in steps.reshape(m * s, -1)]
            if self.kind == WHOLE:
                inner = shape[: self.axis] + shape[self.axis + 1 :]
                return [np.moveaxis(np.stack([one.reshape(inner) for one in steps]), 0, self.axis).reshape(shape)]
            steps = steps.swapaxes(1, 2) if self.kind == FLAT_LAST else steps
            found = steps.reshape(s * m, -1) if self.axis else steps.swapaxes(0, 1).reshape(m * s, -1)
            return [(found.T if self.kind == FLAT_LAST else found).reshape(shape)]
        except ValueError:
            raise NoFormError from None


def _flat(value: Array, gates: int) -> Array:
    """Return a step's value as rows and columns: an axis of gates is laid beside the one after it."""
    if value.ndim == 1:
        return value.reshape(1, -1)
    if value.ndim == 2:
        return value
    if value.ndim == 3 and 1 in value.shape:
        kept = list(value.shape)
        kept.remove(1)
        return value.reshape(kept)
    if value.ndim == 3 and value.shape[0] <= gates:
        return value.reshape(-1, value.shape[2])
    if value.ndim == 3 and value.shape[1] <= gates:
        return value.reshape(value.shape[0], -1)
    raise NoFormError


def views(count: int, shape: tuple[int, ...], sizes: Sizes, gates: int) -> Iterator[tuple[str, int, int]]:
    """Yield the kind, number of slots and axis of the views that fit a site's number of passes and its values."""
    m, s = sizes["m"], sizes["s"]
    own = len(shape) == 1 or (len(shape) == 2 and 1 in shape)
    for slots in range(1, gates + 1):
        if own and m > 1 and count == m * s * slots:
            yield SAMPLES, slots, 0
            yield STEPS_OF_SAMPLES, slots, 0
        if count == slots:
            for axis, size in enumerate(shape):
                if len(shape) in (3, 4) and size == s:
                    yield WHOLE, slots, axis
            if len(shape) == 2 and shape[0] == m * s:
                yield FLAT, slots, 0
                yield FLAT, slots, 1
            if len(shape) == 2 and shape[1] == m * s:
                yield FLAT_LAST, slots, 0
                yield FLAT_LAST, slots, 1
        if count == s * slots and 1 <= len(shape) <= 3:
            yield CALLS, slots, 0
        # As often as there are steps is once a step.
        if count == slots and 1 <= len(shape) <= 3 and not 1 < slots == s:
            yield ONCE, slots, 0


@dataclass(frozen=True)
class Block:
    """What a block of rows and columns holds: a quantity by name, as it is or transposed, its steps forwards or back.

    Of what is the same at all steps, `at` says which of a quantity's steps it is: 0 the first, -1 the last.
    """

    name: str
    transposed: bool = False
    backwards: bool = False
    at: int | None = None

    def of(self, due: Due, steps: int) -> Array:
        """Return its values on a case, (steps, rows, columns)."""
        if self.name == ZERO:
            return np.zeros((1, 1, 1))
        quantity = due.quantities.get(self.name)
        if quantity is None:
            raise NoFormError
        values = quantity.values.mT if self.transposed else quantity.values
        if self.at is not None:
            values = values[[self.at]]
        elif quantity.of_steps and len(values) != steps:
            raise NoFormError
        values = values[::-1] if self.backwards else values
        return values if len(values) == steps else np.broadcast_to(values, (steps, *values.shape[1:]))


@dataclass(frozen=True)
class Form:
    """What a site's values ought to be: a view of them, and a block for each part of rows and of columns.

    A block that is None stays as it is.
    """

    view: View
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    blocks: tuple[tuple[Block | None, ...], ...]

    @property
    def names(self) -> list[str]:
        """The quantities in it, each once."""
        return list(dict.fromkeys(one.name for row in self.blocks for one in row if one is not None))

    @property
    def is_single(self) -> bool:
        """Whether it is of one block alone."""
        return len(self.rows) == len(self.columns) == 1

    def values(self, due: Due) -> Array:
        """Return (steps, rows, columns) on a case; NaN for what stays as it is."""
        steps = 1 if self.view.kind == ONCE else due.sizes["s"]
        whole = []
        for letter, row in zip(self.rows, self.blocks, strict=True):
            parts = []
            for other, block in zip(self.columns, row, strict=True):
                shape = steps, due.sizes[letter], due.sizes[other]
                part = np.full(shape, np.nan) if block is None else block.of(due, steps)
                part = np.zeros(shape) if block is not None and block.name == ZERO else part
                if part.shape != shape:
                    raise NoFormError
                parts.append(part)
            whole.append(np.concatenate(parts, axis=2))
        return np.concatenate(whole, axis=1)


@lru_cache(maxsize=1024)
def _partitions(length: int, sizes: tuple[tuple[str, int], ...], gates: int) -> tuple[tuple[str, ...], ...]:
    """Return the ways in which an axis may be made up of samples, elements, units and ones."""
    known = dict(sizes)
    found: list[tuple[str, ...]] = [(letter,) for letter in "meu1" if known[letter] == length]
    found += [(letter,) * k for k in range(2, gates + 1) for letter in "ume" if k * known[letter] == length]
    for letters in ("eu", "eu1", "e1", "u1"):
        if sum(known[letter] for letter in letters) == length:
            found += list(permutations(letters))
    return tuple(dict.fromkeys(found))


def partitions(shape: tuple[int, int], due: Due) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield the ways to divide rows and columns into parts, the simplest first."""
    sizes, gates = tuple(due.sizes.items()), len(due.cell.gates)
    every = product(_partitions(shape[0], sizes, gates), _partitions(shape[1], sizes, gates))
    yield from sorted(every, key=lambda parts: len(parts[0]) * len(parts[1]))[:12]


def near(came: Array, value: Array, dtype: str) -> Array:
    """Return for each leading entry whether two arrays agree to rounding."""
    axes = (-2, -1)
    size = np.max(np.abs(value), axis=axes)
    allowed = tolerance.SAME_QUANTITY[dtype] * size
    return np.max(np.abs(came - value), axis=axes) <= allowed


def best_block(part: Array, letters: str, due: Due, dtype: str) -> tuple[int, Block | None]:
    """Return how many steps of a part, the first ones passed, are a quantity, and which; (0, None) for none."""
    best: tuple[int, Block | None] = (0, None)
    steps = len(part)
    if not part.any():
        return steps, Block(ZERO)
    for transposed in (False, True):
        axes = letters[::-1] if transposed else letters
        came = part.mT if transposed else part
        for of_steps in (True, False):
            stacked = due.stacked.get((axes, of_steps))
            if stacked is None or stacked.shape[2:] != came.shape[1:]:
                continue
            many = due.by_axes[axes, of_steps]
            options: list[tuple[Array, bool, int | None]]
            if of_steps and steps != due.sizes["s"]:
                # What is passed once may hold the first or the last step's.
                options = [(stacked[:, [at]], False, at) for at in (0, -1)]
            elif of_steps:
                options = [(stacked, False, None), (stacked[:, ::-1], True, None)]
            else:
                options = [(stacked, False, None)]
            for values, backwards, at in options:
                agrees = near(came, values, dtype)
                leading = np.where(agrees.all(axis=1), steps, np.argmin(agrees, axis=1))
                k = int(np.argmax(leading))
                if leading[k] > best[0]:
                    best = int(leading[k]), Block(many[k].name, transposed, backwards, at)
                if best[0] == steps:
                    return best
    return best
