"""The scalar whose gradient every oracle asks for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.oracles.expected import Array
from lstm_ref.cell import Cell, evaluate_forward


# A target may answer with the largest numbers there are; the comparison says so, and no warning need.
@np.errstate(over="ignore", invalid="ignore")
def objective(outputs: Mapping[str, Any], arrays: Arrays, last_step: bool = False) -> Any:
    """Return the scalar whose gradient the pullback gives: the cotangents' inner product with the outputs.

    With `last_step` the outputs have h of the last step alone.
    """
    axes = (-3, -2, -1)
    every, folded = arrays.cell.cotangents[0], arrays.cell.folded
    h, finals = outputs[arrays.cell.outputs[0]], arrays.cell.finals
    if last_step:
        memory = sum(np.sum(arrays[cotangent] * outputs[name]) for name, cotangent in finals.items())
        return np.sum(arrays.dh_total[:, -1] * h) + memory
    # States of one shape are added entry by entry first, as a state's entries lie side by side.
    last = {arrays.cell.axes[folded]: arrays[folded] * h[..., -1, :]} if folded else {}
    for name, cotangent in finals.items():
        letters, part = arrays.cell.axes[cotangent], arrays[cotangent] * outputs[name]
        last[letters] = last[letters] + part if letters in last else part
    found = np.sum(arrays[every] * h, axis=axes)
    for part in last.values():
        found = found + np.sum(part, axis=axes[1:])
    return found


Forward = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""From the inputs by name to the outputs by name."""


def reference_forward(cell: Cell) -> Forward:
    """Return the reference's forward pass."""
    return partial(evaluate_forward, cell)
