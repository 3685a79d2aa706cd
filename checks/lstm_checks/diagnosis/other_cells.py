"""Which other cell a target is, where its forward pass is not that of the cell it is judged as.

All that is known and takes no other arrays is tried: the cells whose parameters the target has, too, and its own cell
with other activations: one in the gates, and one in the candidate, the memory or both, as frameworks take them.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import DTYPES
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import observe_once, suited
from lstm_checks.diagnosis.reading import SHAPES
from lstm_ref.cell import Cell, evaluate_forward
from lstm_ref.cells import CELLS
from lstm_ref.network import Network
from lstm_ref.slots import KINDS, Activation, with_activations


def find_cell(target: Target) -> Cell | None:
    """Return the one other cell whose forward pass is the target's on cases of several shapes, if there is one."""
    if isinstance(target.cell, Network) or target.extras:
        return None
    left: list[Cell] | None = None
    for shape in SHAPES:
        asked = suited(target, shape)
        if asked is None:
            return None
        came = observe_once(target, asked).came
        due = {name: came.get(name) for name in target.cell.outputs if name not in target.lacks}
        if any(value is None for value in due.values()):
            return None
        left = [cell for cell in (_others(target.cell) if left is None else left) if _gives(cell, asked.arrays, due)]
        if not left:
            return None
    assert left is not None
    return left[0] if len(left) == 1 else None


def _gives(cell: Cell, arrays: Mapping[str, Any], came: Mapping[str, Any]) -> bool:
    """Return whether the forward pass of a cell gives these outputs, as nearly as is asked of a reading."""
    dtype = str(arrays["X"].dtype)
    if dtype not in DTYPES:
        return False  # so few digits tell no cells apart
    taken = {name: arrays[name].astype(np.float64) for name in (*cell.parameters, "X", *cell.initial)}
    with np.errstate(all="ignore"):
        found = evaluate_forward(cell, taken)
    return all(
        found[name].shape == value.shape
        and np.max(np.abs(found[name] - value)) <= tolerance.READING[dtype] * np.max(np.abs(value))
        for name, value in came.items()
    )


@cache
def _others(cell: Cell) -> tuple[Cell, ...]:
    """Return the other cells that take no other arrays than one, and give the same."""
    plain = [
        other
        for other in CELLS.values()
        if other is not cell and other.outputs == cell.outputs and {*other.parameters} <= {*cell.parameters}
    ]
    # By name, since what is chosen may be the usual one.
    return tuple({other.name: other for other in (*plain, *otherwise_activated(cell))}.values())


def otherwise_activated(cell: Cell) -> Iterator[Cell]:
    """Yield a cell with other activations, with the usual numbers."""
    own = cell.name
    cell = cell.written_as or cell if cell.activations else cell
    if not cell.slots:
        return
    known = [Activation(kind, found.usual) for kind, found in KINDS.items() if found.usual is not None]
    for gates, other in product((None, *known), repeat=2):
        for slots in ("gh", "g", "h") if other is not None else ("",):
            chosen = {"f": gates} | dict.fromkeys(slots, other)
            # A GRU has no memory, and an RNN no gates either.
            made = with_activations(cell, **{k: v for k, v in chosen.items() if v is not None and k in cell.slots})
            if made.name not in (own, cell.name):
                yield made
