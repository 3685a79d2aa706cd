"""Whether a target goes wrong where some value passes a limit: a branch, a clip or a saturation in no place of its own.

For several draws of values it is asked which entries are wrong before an error can spread: the outputs of a single
step, the gates' cotangents at the step where they depart first, or the entries of a gradient made from right ones. A
value of the reference's that is larger at all the wrong entries than at any right one, or smaller, is what decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lstm_checks.cases import Case
from lstm_checks.contract import GATES, GRADIENTS, OUTPUTS, Target
from lstm_checks.diagnosis.observe import Array, due_on, intermediates, suited, wrong_entries
from lstm_checks.diagnosis.places import DELTAS, departing, listed
from lstm_checks.diagnosis.work import Spare

BACKWARD = Case(3, 2, 8, 8, seed=161)
FORWARD = Case(6, 1, 4, 8, seed=161)
DRAWS = 8
"""For how many draws of values a target is asked."""

FEWEST = 5
"""How many entries must be wrong, and how many right, for a limit between them to be no chance."""

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
            draws = _draws(target, replace(case, regime=regime), look, spare)
            if lines := _lines(draws if look is _of_tensors else _where_first(draws)):
                return lines
    return []


def _draws(target: Target, case: Case, look: Callable[[Target, Case], Seen | None], spare: Spare) -> list[Seen]:
    """Return what is seen on a case with several draws of values."""
    asked = suited(target, case)
    cases = [replace(asked, seed=asked.seed + k) for k in range(DRAWS)] if asked is not None else []
    return [seen for case in cases if spare() and (seen := look(target, case)) is not None]


def _intermediates(case: Case) -> dict[str, Array]:
    """Return the values (m, s, u) of the reference that may decide, by name."""
    fc, bc = intermediates(case.arrays)
    return {name: (fc | bc)[name] for name in INTERMEDIATES}


def _of_outputs(target: Target, case: Case) -> Seen | None:
    """Return where the outputs of a single step are wrong."""
    wrong = wrong_entries(target, case)
    if wrong is None:
        return None
    shape = (case.m, 1, case.u)
    values = {name: value for name, value in _intermediates(case).items() if not name.startswith("d")}
    return {name: wrong.get(name, np.zeros(shape, bool)).reshape(shape) for name in OUTPUTS}, values


def _of_gates(target: Target, case: Case) -> Seen | None:
    """Return where the gates' cotangents depart."""
    wrong = wrong_entries(target, case)
    if wrong is None or any(f"dU{gate}" in target.lacks for gate in GATES):
        return None
    found = departing(target, case)
    return None if found is None else ({DELTAS[g]: mask for g, mask in found.items()}, _intermediates(case))


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
    return {n: wrong.get(n, np.zeros(due[n].shape, bool)) for n in GRADIENTS}, {n: due[n] for n in GRADIENTS}


def _lines(draws: Sequence[Seen]) -> list[str]:
    """Return what decides, in words, for all that goes wrong together."""
    if not draws:
        return []
    together: dict[bytes, list[str]] = {}
    masks: dict[str, Array] = {}
    for name in draws[0][0]:
        masks[name] = np.concatenate([wrong[name].ravel() for wrong, _ in draws])
        together.setdefault(masks[name].tobytes(), []).append(name)
    values = {name: np.concatenate([values[name].ravel() for _, values in draws]) for name in draws[0][1]}
    lines = []
    for names in together.values():
        mask = masks[names[0]]
        own = {"what is due": values[names[0]]} if names[0] in GRADIENTS else values
        found = list(_limits(mask, own))
        if 1 <= len(found) <= 2:
            verb, where = "goes" if len(names) == 1 else "go", " or where ".join(found)
            lines.append(f"{listed(names)} {verb} wrong where {where}, and nowhere else ({mask.sum()} of {mask.size})")
    return lines


def _limits(mask: Array, values: Mapping[str, Array]) -> Iterator[str]:
    """Yield the values that are all larger where the mask is set than where it is not, or all smaller."""
    if min(mask.sum(), (~mask).sum()) < FEWEST:
        return
    for name, value in values.items():
        for words, x in ((name, value), (f"|{name}|", np.abs(value))):
            wrong, right = x[mask], x[~mask]
            if right.max() < wrong.min():
                yield f"{words} is above a limit {_between(right.max(), wrong.min())}"
                break
            if wrong.max() < right.min():
                yield f"{words} is below a limit {_between(wrong.max(), right.min())}"
                break


def _between(low: float, high: float) -> str:
    """Return two numbers in words, in as few digits as tell them apart."""
    digits = next(d for d in range(3, 18) if f"{low:.{d}g}" != f"{high:.{d}g}")
    return f"between {low:.{digits}g} and {high:.{digits}g}"
