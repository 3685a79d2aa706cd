"""The cells there are, one file each."""

from lstm_ref.cell import Cell
from lstm_ref.cells import coupled, peephole, plain

CELLS: dict[str, Cell] = {found.CELL.name: found.CELL for found in (plain, coupled, peephole)}
"""By name, the plain LSTM first."""
