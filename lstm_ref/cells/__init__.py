"""The cells there are, one file each."""

from functools import cache

from lstm_ref.cell import Cell
from lstm_ref.cells import coupled, peephole, plain, projected

CELLS: dict[str, Cell] = {found.CELL.name: found.CELL for found in (plain, coupled, peephole, projected)}
"""By name, the plain LSTM first."""


@cache
def cell_named(name: str) -> Cell:
    """Return the cell of a name, always the same one.

    Raises
    ------
    ValueError
        "'peep', expected one of plain, coupled, peephole, projected"; whoever asks knows what to put before it.
    """
    if name not in CELLS:
        raise ValueError(f"{name!r}, expected one of {', '.join(CELLS)}")
    return CELLS[name]
