"""Whether a target goes wrong where some value passes a limit: a branch, a clip or a saturation in no place of its own.

For several draws of values it is asked which entries are wrong before an error can spread: the outputs of a single
step, the gates' cotangents at the step where they depart first, or the entries of a gradient made from right ones. A
value of the reference's that is larger at all the wrong entries than at any right one, or smaller, is what decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import Array, due_on, intermediates, suited, wrong_entries
from lstm_checks.diagnosis.places import delta, departing, of_normal_values
from lstm_checks.diagnosis.work import Spare
from lstm_checks.words import series

BACKWARD = Case(3, 2, 8, 8, seed=161)
FORWARD = Case(6, 1, 4, 8, seed=161)
DRAWS = 8
"""For how many draws of values a target is asked."""

FEWEST = 5
"""How many entries must be wrong, and how many right, for a limit between them to be no chance."""

SATURATING = ("f", "i", "g", "o", "h", "hp")
"""The values that come near to 1 where they say nothing: there an error is lost in rounding, as it is near 0."""

DUE = "what is due"

INTERMEDIATES = ("f", "i", "g", "o", "C_", "h", "Cp_", "hp", "dh_", "dC_", "do_", "dg_", "di_", "df_")

Seen = tuple[Mapping[str, Array], Mapping[str, Array]]
"""Of one draw: which entries are wrong, by what they are entries of, and the values that may decide, by name."""


def find_limits(target: Target, failing: Case, spare: Spare) -> list[str]:
    """Return which value decides, and between which two numbers its limit lies, a line each; empty if none does.

    Parameters
    ----------
    target : Target
    failing : Case
        A case that fails.
    spare : Spare
        Whether more may be tried.
    """
    for regime in dict.fromkeys(("normal", failing.regime)):
        for case, look in ((FORWARD, _of_outputs), (BACKWARD, _of_gates), (BACKWARD, _of_tensors)):
            asked = replace(case, regime=regime)
            draws = _draws(target, asked, look, spare)
            if found := _found(draws if look is _of_tensors else _where_first(draws)):
                # A limit that lies between the values of some draws is one where it does so of others, too.
                fresh = _draws(target, replace(asked, seed=asked.seed + DRAWS), look, spare)
                fresh = fresh if look is _of_tensors else _where_first(fresh)
                lines = [line for names, limits, line in found if _holds(fresh, names, limits)]
                return [of_normal_values(line, asked, failing) for line in lines]
    return []


def _draws(target: Target, case: Case, look: Callable[[Target, Case], Seen | None], spare: Spare) -> list[Seen]:
    """Return what is seen on a case with several draws of values."""
    asked = suited(target, case)
    cases = [replace(asked, seed=asked.seed + k) for k in range(DRAWS)] if asked is not None else []
    return [seen for case in cases if spare() and (seen := look(target, case)) is not None]


def _intermediates(case: Case) -> dict[str, Array]:
    """Return the values (m, s, u) of the reference that may decide, by name."""
    fc, bc = intermediates(case.arrays)
    own = (name for gate in case.cell.gates for name in (gate, delta(gate)))
    found = {name: (fc | bc)[name] for name in dict.fromkeys((*INTERMEDIATES, *own)) if name in (fc | bc)}
    # A state of another length than the units has no entry for each of theirs.
    return {name: value for name, value in found.items() if value.shape[-1] == case.u}


def _of_outputs(target: Target, case: Case) -> Seen | None:
    """Return where the outputs of a single step are wrong."""
    wrong = wrong_entries(target, case)
    if wrong is None:
        return None
    shape = (case.m, 1, case.u)
    values = {name: value for name, value in _intermediates(case).items() if not name.startswith("d")}
    outputs = [name for name in case.cell.outputs if "u" in case.cell.axes[name]]
    return {name: wrong.get(name, np.zeros(shape, bool)).reshape(shape) for name in outputs}, values


def _of_gates(target: Target, case: Case) -> Seen | None:
    """Return where the gates' cotangents depart."""
    wrong = wrong_entries(target, case)
    if wrong is None or any(f"dU{gate}" in target.lacks for gate in target.cell.gates):
        return None
    found = departing(target, case)
    return None if found is None else ({delta(g): mask for g, mask in found.items()}, _intermediates(case))


def _where_first(draws: Sequence[Seen]) -> list[Seen]:
    """Return the last step at which anything is wrong, for going back in time it spreads from there."""
    hit = [np.flatnonzero(mask.any(axis=(0, 2))) for wrong, _ in draws for mask in wrong.values()]
    step = max((int(steps[-1]) for steps in hit if len(steps)), default=0)
    return [
        ({n: w[:, step] for n, w in wrong.items()}, {n: v[:, step] for n, v in values.items()})
        for wrong, values in draws
    ]


def _of_tensors(target: Target, case: Case) -> Seen | None:
    """Return where each gradient is wrong; its own value is what may decide."""
    wrong = wrong_entries(target, case)
    if wrong is None:
        return None
    due = due_on(case).values
    names = case.cell.gradients
    return {n: wrong.get(n, np.zeros(due[n].shape, bool)) for n in names}, {n: due[n] for n in names}


@dataclass(frozen=True)
class _Limit:
    """That entries are wrong where a value, or its size, is above a limit between two numbers, or below it."""

    name: str
    size: bool
    above: bool
    low: float
    high: float

    def __str__(self) -> str:
        name, side = f"|{self.name}|" if self.size else self.name, "above" if self.above else "below"
        return f"{name} is {side} a limit {_between(self.low, self.high)}"

    def splits(self, mask: Array, values: Mapping[str, Array]) -> bool:
        """Return whether wrong and right entries lie on either side of it, and enough of each do."""
        x = np.abs(values[self.name]) if self.size else values[self.name]
        wrong, right = (x[mask], x[~mask]) if self.above else (x[~mask], x[mask])
        return _enough(self.name, mask, values) and bool(wrong.min() > self.low and right.max() < self.high)


def _found(draws: Sequence[Seen]) -> list[tuple[list[str], list[_Limit], str]]:
    """Return what decides, and that in words, for all that goes wrong together."""
    # What goes wrong in the very same entries has one cause, and is said once.
    together: dict[bytes, list[str]] = {}
    masks = {name: _mask(draws, name) for name in (draws[0][0] if draws else ())}
    for name, mask in masks.items():
        together.setdefault(mask.tobytes(), []).append(name)
    found = []
    for names in together.values():
        mask = masks[names[0]]
        limits = list(_limits(mask, _values(draws, names[0])))
        # Where three values or more split the same entries, none is told from the others.
        if 1 <= len(limits) <= 2:
            verb, where = "goes" if len(names) == 1 else "go", " or where ".join(map(str, limits))
            line = f"{series(names)} {verb} wrong where {where}, and nowhere else ({mask.sum()} of {mask.size})"
            found.append((names, limits, line))
    return found


def _holds(draws: Sequence[Seen], names: Sequence[str], limits: Sequence[_Limit]) -> bool:
    """Return whether limits hold of other draws."""
    return bool(draws) and all(
        limit.splits(_mask(draws, name), _values(draws, name)) for name in names for limit in limits
    )


def _mask(draws: Sequence[Seen], name: str) -> Array:
    """Return which entries of something are wrong, in all draws."""
    return np.concatenate([wrong[name].ravel() for wrong, _ in draws])


def _values(draws: Sequence[Seen], name: str) -> dict[str, Array]:
    """Return the values that may decide for an entry of something, in all draws: of a tensor its own alone."""
    if set(draws[0][0]) == set(draws[0][1]):
        return {DUE: np.concatenate([values[name].ravel() for _, values in draws])}
    return {other: np.concatenate([values[other].ravel() for _, values in draws]) for other in draws[0][1]}


def _limits(mask: Array, values: Mapping[str, Array]) -> Iterator[_Limit]:
    """Yield the values that are all larger where the mask is set than where it is not, or all smaller."""
    for name, value in values.items():
        if not _enough(name, mask, values):
            continue
        for size, x in ((False, value), (True, np.abs(value))):
            wrong, right = x[mask], x[~mask]
            if right.max() < wrong.min():
                yield _Limit(name, size, True, float(right.max()), float(wrong.min()))
                break
            if wrong.max() < right.min():
                yield _Limit(name, size, False, float(wrong.max()), float(right.min()))
                break


def _enough(name: str, mask: Array, values: Mapping[str, Array]) -> bool:
    """Return whether enough entries are wrong, and enough right, of those in which any formula's error would show."""
    size = np.abs(values[name])
    shows = size >= tolerance.LIMIT_EDGE * np.max(size)
    if name in SATURATING:
        shows &= size <= 1 - tolerance.LIMIT_EDGE
    return bool(min(np.sum(mask & shows), np.sum(~mask & shows)) >= FEWEST)


def _between(low: float, high: float) -> str:
    """Return two numbers in words, in as few digits as tell them apart."""
    digits = next(d for d in range(3, 18) if f"{low:.{d}g}" != f"{high:.{d}g}")
    return f"between {low:.{digits}g} and {high:.{digits}g}"
