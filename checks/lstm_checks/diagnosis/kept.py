"""What a target keeps or shows of its way: the first of its intermediates that departs from the reference's."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.diagnosis.observe import intermediates
from lstm_checks.words import first_few
from lstm_ref.cell import Cell


def of_caches(caches: Mapping[str, Any], case: Case) -> Iterator[str]:
    """Yield the first intermediate that departs, of those that a layer keeps in `fc` and `bc` under EpyNN's names.

    Parameters
    ----------
    caches : mapping
        What the layer keeps, by name, of its last call.
    case : Case
        Of that call.
    """
    for which, name, step in _first_to_depart(caches, case):
        yield f"first to depart among what the layer keeps: {which}['{name}'] at step {step} of {case.s}"


def of_intermediates(shown: Sequence[tuple[Case, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield the first intermediate that departs, of those that a program shows by the reference's names; or that none.

    Parameters
    ----------
    shown : sequence of (Case, mapping)
        Of some cases that it fails what it shows, by name, (m, s, n) each. The first in which one departs is told.
    """
    of_cases = [(case, *_compared(case, found)) for case, found in shown if found]
    if not of_cases:
        return
    _, some, others = of_cases[0]
    beside = f"; not compared: {first_few(others, 3, 3)}, of other names or lengths" if others else ""
    for case, compared, _ in of_cases:
        for _, name, step in _first_to_depart(compared, case):
            numbers = _equations(case.cell).get(name, "")
            which = f"{name} of equation{'s' * (', ' in numbers)} {numbers}" if numbers else name
            on = "" if case is of_cases[0][0] else f" ({case.descriptor})"
            at = f"{which}, at step {step} of {case.s}{on}"
            yield f"first to depart of the {len(some)} intermediates shown: {at}{beside}"
            return
    none = f"of the {len(some)} intermediates shown none departs"
    yield (none if some else "none of the intermediates shown can be compared") + beside


def _compared(case: Case, shown: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what of what is shown has the name and shape of an intermediate, and the names of what has not."""
    fc, bc = intermediates(case.arrays)
    due = {name: value.shape for name, value in (*bc.items(), *fc.items()) if value.ndim == 3}
    found = {name: value for name, value in shown.items() if due.get(name) == value.shape}
    return found, sorted(set(shown) - set(found))


@cache
def _equations(cell: Cell) -> dict[str, str]:
    """Return by name of an intermediate the number at the end of the line of the reference that sets it."""
    cell = cell.written_as or cell
    lines = (inspect.getsource(cell.forward) + inspect.getsource(cell.backward)).splitlines()
    parts = (line.strip().partition("  # ") for line in lines)
    return {code.partition(" = ")[0]: numbers for code, _, numbers in parts if numbers.startswith("(")}


def _first_to_depart(caches: Mapping[str, Any], case: Case) -> Iterator[tuple[str, str, int]]:
    """Yield the first intermediate that departs, nothing where none does: of fc or bc, its name, its step from 1."""
    fc, bc = intermediates(case.arrays)
    share = tolerance.KEPT[case.dtype]
    arriving = {f"d{state.name}n" for state in case.cell.states}
    states = [name for name, value in bc.items() if name not in ("dA", "dX") and value.ndim == 3]
    back = sorted(states, key=lambda name: name not in arriving)
    orders = (
        # In the order in which they are computed: what departs first is the cause, all
        # later ones may be its consequence.
        ("fc", fc, range(case.s), [name for name in fc if name != "X"]),
        ("bc", bc, range(case.s - 1, -1, -1), back),
    )
    for which, due, steps, names in orders:
        for t in steps:
            for name in names:
                kept = caches.get(name)
                if not isinstance(kept, np.ndarray) or name not in due or kept.shape != due[name].shape:
                    continue
                came, wanted = kept[:, t].astype(np.float64), due[name][:, t]
                if not np.all(np.abs(came - wanted) <= share * np.max(np.abs(wanted)) + 1e-300):
                    yield which, name, t + 1
                    return
