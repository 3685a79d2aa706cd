"""Which catalogued faults together give what came, where neither one nor two do.

With several faults in a target each spoils some tensors, and few spoil all. So faults are added one by one, each
time one with which more tensors are what came, and none fewer, than without it: the outputs come first by themselves,
since no gradient is what came where the forward pass is not, and of the gradients each is explained by itself. A case
of a single step is looked at, too: nothing comes back there from the step before, so that one fault does not hide
another. What the rest can do without is left out again.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

import numpy as np

from lstm_checks import tolerance
from lstm_checks.diagnosis.observe import Observation, Values
from lstm_checks.diagnosis.statement import Trial, try_values
from lstm_checks.diagnosis.work import Spare
from lstm_checks.faults.model import Fault, evaluate

Faults = tuple[Fault, ...]

Wrong = frozenset[tuple[int, str]]
"""The tensors of each case that are not what came."""


def sets_of_faults(seen: Sequence[Observation], known: Sequence[Fault], spare: Spare) -> list[Faults]:
    """Return sets of faults that together give what came in some cases; none of a set can be left out.

    Parameters
    ----------
    seen : sequence of Observation
        The cases, on one of which something is wrong at least.
    known : sequence of Fault
        The faults that may be in it.
    spare : callable
        Whether one more patched reference may be tried.
    """
    values: list[Values] = [one.expected.values for one in seen]
    wrong = frozenset((k, name) for k, one in enumerate(seen) for name in one.wrong)
    for steps in _steps(seen, _possible(seen, known, spare, wrong), spare, (), values, wrong):
        sets = islice(product(*steps), tolerance.FAULTS_ALIKE)
        return list(dict.fromkeys(_needed(faults, seen) for faults in sets if _left(faults, seen) == frozenset()))
    return []


def _steps(
    seen: Sequence[Observation],
    known: Mapping[Fault, tuple[Wrong, list[Values]]],
    spare: Spare,
    held: Faults,
    values: Sequence[Values],
    wrong: Wrong,
) -> Iterator[list[list[Fault]]]:
    """Yield what may be added step by step until all is what came: at each step faults that are alike."""
    if not wrong:
        yield []
        return
    if len(held) == tolerance.FAULTS_TOGETHER:
        return
    options: list[tuple[Wrong, int, list[Fault], list[Values]]] = []
    for fault, (changes, alone) in known.items():
        if fault in held or not changes & wrong:
            continue
        if held and not spare():
            return
        now = _values((*held, fault), seen) if held else alone
        left = None if now is None else _wrong(seen, now, values, wrong)
        if now is None or left is None or not left < wrong:
            continue
        alike = next((faults for other, _, faults, given in options if other == left and _same(now, given)), None)
        if alike is not None:
            alike.append(fault)
        else:
            options.append((left, _entries(seen, now), [fault], now))
    best = sorted(options, key=lambda option: (len(option[0]), option[1]))
    for left, _, alike, now in best[: tolerance.FAULTS_FOLLOWED]:
        for rest in _steps(seen, known, spare, (*held, alike[0]), now, left):
            yield [alike, *rest]


def _same(one: Sequence[Values], other: Sequence[Values]) -> bool:
    """Return whether two faults give the same on all cases."""
    pairs = ((a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)
    return all(np.allclose(a, b, rtol=tolerance.TOLD_APART, atol=0, equal_nan=True) for a, b in pairs)


def _entries(seen: Sequence[Observation], now: Sequence[Values]) -> int:
    """Return about how many entries are not what came: of two ways to explain as many tensors the better has fewer."""
    count = 0
    for one, values in zip(seen, now, strict=True):
        for name, came in one.came.items():
            value = one.shaped(name, values[name])
            apart = np.abs(came - value) > tolerance.TOLD_APART * np.max(np.abs(came), initial=0)
            count += int(np.sum(apart))
    return count


def _possible(
    seen: Sequence[Observation], known: Sequence[Fault], spare: Spare, wrong: Wrong
) -> dict[Fault, tuple[Wrong, list[Values]]]:
    """Return the faults that change nothing but what is wrong, with what they change and give: none hides another."""
    found: dict[Fault, tuple[Wrong, list[Values]]] = {}
    for fault in known:
        now = _values((fault,), seen) if spare() else None
        changes = frozenset[tuple[int, str]]() if now is None else _changes(now, seen)
        if now is not None and changes and changes <= wrong:
            found[fault] = changes, now
    return found


def _changes(values: Sequence[Values], seen: Sequence[Observation]) -> Wrong:
    """Return the tensors in which values are clearly not what is due."""
    return frozenset(
        (k, name)
        for k, (one, now) in enumerate(zip(seen, values, strict=True))
        for name in one.came
        if not np.max(np.abs(now[name] - (due := one.expected.values[name])), initial=0)
        <= tolerance.TOLD_APART * np.max(np.abs(due), initial=0)
    )


def _values(faults: Faults, seen: Sequence[Observation]) -> list[Values] | None:
    """Return what the reference gives with faults on each case; None where they cannot be put together."""
    try:
        with np.errstate(all="ignore"):
            return [evaluate(faults, one.case.arrays.astype(np.float64)) for one in seen]
    except (ValueError, ArithmeticError, KeyError, IndexError, TypeError):
        return None


def _wrong(seen: Sequence[Observation], now: Sequence[Values], before: Sequence[Values], wrong: Wrong) -> Wrong:
    """Return which tensors are not what came, where it is known which were not with other values."""
    found = set()
    for k, (one, values, others) in enumerate(zip(seen, now, before, strict=True)):
        for name in one.came:
            if np.array_equal(values[name], others[name], equal_nan=True):
                if (k, name) in wrong:
                    found.add((k, name))
            elif try_values(one, values, [name]) is Trial.REFUTED:
                found.add((k, name))
    return frozenset(found)


def _left(faults: Faults, seen: Sequence[Observation]) -> Wrong | None:
    """Return which tensors are not what came with faults; None where they cannot be put together."""
    now = _values(faults, seen) if len(set(faults)) == len(faults) else None
    if now is None:
        return None
    refuted = (
        (k, name)
        for k, (one, values) in enumerate(zip(seen, now, strict=True))
        for name in one.came
        if try_values(one, values, [name]) is Trial.REFUTED
    )
    return frozenset(refuted)


def _needed(faults: Faults, seen: Sequence[Observation]) -> Faults:
    """Return the faults without those that the others can do without."""
    for fault in faults:
        others = tuple(other for other in faults if other is not fault)
        if len(others) and _left(others, seen) == frozenset():
            return _needed(others, seen)
    return faults
