"""The catalogue: every known fault by its id, in the order of the families."""

import difflib
from functools import cache

from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN
from lstm_checks.faults import (
    accumulation,
    activation_functions,
    asked,
    blocks,
    calls,
    carry,
    clipped,
    clipping,
    conventions,
    coupled,
    derivatives,
    derived,
    gates,
    gru,
    layernorm,
    numerics,
    peephole,
    precision,
    projected,
    rnn,
    states,
    steps,
    transposition,
)
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.mixups import has_mixup, mixups
from lstm_checks.faults.model import Fault, fits, placed
from lstm_checks.faults.slips import ID as SLIP
from lstm_checks.words import series
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS
from lstm_ref.network import Network

FAMILIES = (
    carry,
    states,
    steps,
    transposition,
    derivatives,
    gates,
    accumulation,
    blocks,
    clipping,
    precision,
    conventions,
    numerics,
    calls,
    asked,
    derived,
)
"""The modules of the families, each with its faults in `FAULTS`."""

FAULTS: dict[str, Fault] = {fault.id: fault for family in FAMILIES for fault in family.FAULTS}
"""Every known fault by its id, in the order of the families."""


OWN: dict[str, tuple[Fault, ...]] = {
    "coupled": coupled.FAULTS,
    "layernorm": layernorm.FAULTS,
    "peephole": peephole.FAULTS,
    "projected": projected.FAULTS,
    "clipped": clipped.FAULTS,
    "gru": gru.faults_of_reset_before(),
    "gru_reset_after": gru.faults_of_reset_after(),
    "rnn": rnn.FAULTS,
}
"""What only one cell can have wrong, by its name."""


@cache
def faults_of(cell: Cell = PLAIN) -> dict[str, Fault]:
    """Return the known faults of a cell by their ids: the catalogue's that can be planted in it, and its own.

    Of a network they are those of composition, those of its cell at every place, and at each place by itself.
    """
    if isinstance(cell, Network):
        return _faults_of_network(cell)
    if cell is PLAIN:
        return FAULTS
    known = {id: fault for id, fault in FAULTS.items() if fits(fault, cell)}
    return known | {fault.id: fault for fault in own_faults(cell)}


@cache
def own_faults(cell: Cell) -> tuple[Fault, ...]:
    """Return what is known of a cell and not of the plain one; with other activations some of it may not fit."""
    if cell.written_as is None:
        return OWN.get(cell.name, ())
    of_the_functions = tuple(fault for fault in activation_functions.FAULTS if fits(fault, cell))
    return (*(fault for fault in OWN.get(cell.written_as.name, ()) if fits(fault, cell)), *of_the_functions)


def _faults_of_network(net: Network) -> dict[str, Fault]:
    """Return the known faults of a network by their ids."""
    of_cell = faults_of(net.cell)
    at_places = (
        placed(fault, place)
        for place in net.places
        for fault in of_cell.values()
        if len(net.places) > 1 and fault.patches
    )
    return composition_faults(net) | of_cell | {fault.id: fault for fault in at_places}


def find(id: str, cell: Cell = PLAIN) -> Fault:
    """Return the fault, or the mix-up, of that id, of those that a cell can have.

    Raises
    ------
    ValueError
        "no fault 'cary-dropped', did you mean carry-dropped, carry-doubled?".
    """
    catalogued = faults_of(cell)
    known = catalogued | mixups(cell)
    if id in known:
        return known[id]
    near = difflib.get_close_matches(id, known)
    others = [other.name for other in CELLS.values() if other is not cell and _has(other, id)]
    others += [Case.parse(fault.example).cell.name for fault in activation_functions.FAULTS if fault.id == id]
    if others:
        raise ValueError(f"no fault {id!r} of the cell {cell.name}, but of {series(others)}: see --cell")
    hint = f"did you mean {', '.join(near)}?" if near else f"expected one of the {len(catalogued)} ids in the catalogue"
    if id == SLIP:
        hint = "which is a wrong word in an equation and in no catalogue; verify --case shows it as a diff"
    raise ValueError(f"no fault {id!r}, {hint}")


def _has(cell: Cell, id: str) -> bool:
    """Return whether a cell can have the fault, or the mix-up, of that id; all of its faults are not made for that."""
    if id in FAULTS and (cell is PLAIN or fits(FAULTS[id], cell)):
        return True
    return any(fault.id == id for fault in own_faults(cell)) or has_mixup(cell, id)
