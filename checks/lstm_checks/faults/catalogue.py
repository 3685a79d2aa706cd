"""The catalogue: every known fault by its id, in the order of the families."""

import difflib

from lstm_checks.faults import (
    accumulation,
    blocks,
    calls,
    carry,
    clipping,
    conventions,
    derivatives,
    gates,
    numerics,
    precision,
    states,
    steps,
    transposition,
)
from lstm_checks.faults.mixups import mixups
from lstm_checks.faults.model import Fault
from lstm_checks.faults.slips import ID as SLIP

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
)
"""The modules of the families, each with its faults in `FAULTS`."""

FAULTS: dict[str, Fault] = {fault.id: fault for family in FAMILIES for fault in family.FAULTS}
"""Every known fault by its id, in the order of the families."""


def find(id: str) -> Fault:
    """Return the fault, or the mix-up, of that id.

    Raises
    ------
    ValueError
        "no fault 'cary-dropped', did you mean carry-dropped, carry-doubled?".
    """
    known = FAULTS | mixups()
    if id in known:
        return known[id]
    near = difflib.get_close_matches(id, known)
    hint = f"did you mean {', '.join(near)}?" if near else f"expected one of the {len(FAULTS)} ids in the catalogue"
    if id == SLIP:
        hint = "which is a wrong word in an equation and in no catalogue; verify --case shows it as a diff"
    raise ValueError(f"no fault {id!r}, {hint}")
