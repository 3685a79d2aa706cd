"""Kinks of activation functions: where a derivative is a convention, and what is not asked there.

At the kink of a relu each framework may have the slope of the one side or of the other, and within rounding of it an
implementation may be on either. So a case one of whose linear activations lies there is judged by its outputs alone,
and not at all where the function jumps; and a finite difference is no derivative where its step leads across a kink.
Which linear activations are put through what is asked of the cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.arithmetic.monte_carlo import Rounding, exact, spread
from lstm_checks.cases import Arrays, Case
from lstm_ref.cell import Cell, run_forward

AT_A_KINK = "at a kink: "
"""How the reason begins for which a tensor is not judged."""

CROSSED = "a step of the finite difference leads across a kink"


def unjudged_at_kinks(case: Case, rounding: Rounding, given: Arrays | None = None) -> dict[str, str]:
    """Return the tensors of which nothing can be said since a linear activation lies at a kink, each with the reason.

    Parameters
    ----------
    case : Case
    rounding : Rounding
        That of the case's dtype.
    given : Arrays, optional
        Other values than the case's own.

    Returns
    -------
    dict
        "at a kink: C_[0, 2, 1] = 0 lies within rounding of 0, where its activation bends" for every gradient; where it
        jumps, for the outputs as well.
    """
    cell = case.arrays.cell
    found: dict[str, str] = {}
    if not cell.kinks:
        return {}
    arrays = (case.arrays if given is None else given).astype(np.float64)
    with np.errstate(all="ignore"):
        fc = run_forward(cell, arrays.each(lambda value: exact(value, rounding)), {*cell.kinks})
        kept = [(*named, kinks) for linear, kinks in cell.kinks.items() for named in cell.kept(fc, linear)]
        for linear, noisy, kinks in kept:
            values, sd = spread(noisy)
            for at, jumps, rounded, width, cut in kinks:
                near = np.abs(values - at) <= np.maximum(tolerance.kink_room(sd, rounded, case.dtype), width)
                if not near.any():
                    continue
                index = tuple(int(k) for k in np.argwhere(near)[0])
                count = int(near.sum())
                there = "it is cut off" if cut else f"its activation {'jumps' if jumps else 'bends'}"
                others = f", and {count - 1} more of {near.size} do" if count > 1 else ""
                reason = (
                    f"{AT_A_KINK}{linear}{list(index)} = {values[index]:.3g} lies within rounding of {at:.4g}, where "
                    f"{there}{others}"
                )
                found |= dict.fromkeys(cell.tensors if jumps else cell.gradients, reason)
    return found


def crosses_a_kink(cell: Cell, start: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether any linear activation is on another side of a kink at one of the ends than it is at the start.

    Parameters
    ----------
    cell : Cell
    start : mapping
        The cell's inputs by name, in float64.
    ends : sequence of mapping
        Inputs of the same shapes.
    """
    if not cell.kinks:
        return False
    before = _sides(cell, start)
    return any(not np.array_equal(before, _sides(cell, end)) for end in ends)


@np.errstate(all="ignore")
def _sides(cell: Cell, inputs: Mapping[str, Any]) -> Any:
    """Return, of each linear activation and each kink of its function, whether it is above it."""
    fc = run_forward(cell, inputs, {*cell.kinks})
    kept = [
        (values, kink) for linear, kinks in cell.kinks.items() for _, values in cell.kept(fc, linear) for kink in kinks
    ]
    # Where no sample has any step there is no activation at all.
    return np.concatenate([np.zeros(0, bool), *(np.ravel(values > kink.at) for values, kink in kept)])
