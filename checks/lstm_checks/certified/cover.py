"""As few cases as will do: those of many that expose most known faults of a forward pass, one after the other."""

from collections.abc import Mapping, Sequence

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.model import Fault, evaluate, leaves_forward
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.tolerance import EXPOSING
from lstm_ref.cell import Cell
from lstm_ref.network import Network


def forward_faults(cell: Cell) -> dict[str, Fault]:
    """Return the known faults of a cell that change its forward pass; of a network those of its composition."""
    known = composition_faults(cell) if isinstance(cell, Network) else faults_of(cell)
    return {id: fault for id, fault in known.items() if fault.patches and not leaves_forward((fault,))}


def exposes(fault: Fault, arrays: Arrays, rtol: float, atol: float) -> bool:
    """Return whether a fault takes an output clearly beyond what a test accepts: by twice the tolerance, or to NaN."""
    with np.errstate(all="ignore"):
        due = evaluate_reference(arrays)
        try:
            came = evaluate(fault, arrays)
        except (ValueError, IndexError):
            return False  # these sizes give it away by a shape
        for name in arrays.cell.outputs:
            accepted = EXPOSING * (atol + rtol * np.abs(due[name]))
            if came[name].shape == due[name].shape and not np.all(np.abs(came[name] - due[name]) <= accepted):
                return True
    return False


def cover(
    cell: Cell, tries: Sequence[Arrays], rtol: float, atol: float, most: int
) -> tuple[list[int], dict[int, tuple[str, ...]]]:
    """Return which of some arrays to take, in their order of use, and what each of them exposes.

    Parameters
    ----------
    cell : Cell
    tries : sequence of Arrays
    rtol, atol : float
        What a test accepts: abs(a - b) <= atol + rtol * abs(b).
    most : int
        How many are taken at most; fewer, where those expose all that any does.
    """
    table = {k: _exposed(forward_faults(cell), arrays, rtol, atol) for k, arrays in enumerate(tries)}
    chosen = fewest(table, most)
    return chosen, {k: tuple(sorted(table[k])) for k in chosen}


def fewest(table: Mapping[int, set[str]], most: int) -> list[int]:
    """Return which of some sets to take, at most so many, each the one that adds most to those before it."""
    left, chosen = set().union(*table.values()), list[int]()
    while left and len(chosen) < most:
        best = max(table, key=lambda k: (len(table[k] & left), -k))
        chosen.append(best)
        left -= table[best]
    return chosen


def _exposed(faults: dict[str, Fault], arrays: Arrays, rtol: float, atol: float) -> set[str]:
    """Return the ids of the faults that some arrays expose."""
    return {id for id, fault in faults.items() if exposes(fault, arrays, rtol, atol)}
