"""Whether a target is in the form of a target at all, by a few tiny calls before any example is drawn.

What gives the same formal error at every size tried is not a wrong LSTM but another thing: nothing can be judged. What
crashes or has wrong shapes at some sizes only is in the form, and wrong. So is what hangs, ends its process, or raises
anything but what a call with other names or arguments than its own raises.
"""

import re
from typing import Any

from lstm_checks.calling import Outcome, asked_of, call_target
from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN, STATES, Target, pullback_form, vjp_form
from lstm_checks.words import first_of, series
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS

_COUNTS = {9: "nine", 12: "twelve", 13: "thirteen", 15: "fifteen"}

SIZES = ((2, 3, 4, 5), (1, 2, 3, 4), (3, 1, 2, 4))
"""The sizes (m, s, e, u) tried; within each no two are the same, so that a shape tells its axes."""

OF_THE_CALL = ("TypeError", "KeyError", "AttributeError")
"""The exceptions of a call with other names or arguments than the callee's own."""


def not_in_form(target: Target) -> str:
    """Return in what a target differs from the form at every size tried, and what to do; empty if it is in the form.

    Parameters
    ----------
    target : Target
        It is called once for each size, and no further than the first that is in the form.
    """
    said = ""
    for dims in SIZES:
        cotangents = "every" if target.without_finals else "every+h+C"
        states = STATES not in target.lacks
        case = asked_of(target, Case(*dims, dtype=target.dtypes[0], cotangents=cotangents, states=states))
        found = _formal_error(target, case, call_target(target, case.arrays.copy(), case.sequences))
        if not found or (said and found != said):
            return ""
        said = found
    return said


def _formal_error(target: Target, case: Case, outcome: Outcome) -> str:
    """Return in what an answer is of another form, in words that are the same for all sizes."""
    # What hangs or ends its process is no answer of another form.
    if outcome.kind != "error":
        return ""
    if outcome.error and not outcome.stage:
        return outcome.error
    cell = target.cell
    hidden = cell.outputs[0]
    if hidden in outcome.values.keys() - target.lacks and (shape := _wrong_shape_of_h(case, outcome.values[hidden])):
        return shape
    if outcome.error:
        kind = outcome.error.partition(":")[0].partition(" (")[0]
        if kind not in OF_THE_CALL:
            return ""
        hint = _hint_for_call(outcome.error, outcome.stage, cell)
        return f"in every call the {outcome.stage} raised {outcome.error}; {hint}"
    wanted = [name for name in cell.gradients if name not in target.lacks]
    came = [name for name, value in outcome.values.items() if name not in cell.outputs and value is not None]
    if wanted and came and not set(came) & set(wanted):
        return (
            f"the pullback's gradients are named {first_of(came, 4)}, expected {wanted[0]}, {wanted[1]} ... by the "
            f"names of the inputs{_hint_for_names(came, cell)}"
        )
    return ""


def _hint_for_call(error: str, stage: str, cell: Cell) -> str:
    """Return what the call is given, in which a name or an argument was not found."""
    match = re.match(r"KeyError: .*?'(\w+)'", error)
    sought = match[1] if match else ""
    if cell.places:
        suffix = next((place.suffix for place in cell.places if sought.endswith(place.suffix)), "")
        of = _cells_with(sought.removesuffix(suffix), cell.places[0].cell)
        return f"p and states hold arrays by the names of {cell.name}, such as {', '.join(cell.inputs[:2])}{of}"
    if stage == "pullback":
        every, _, *finals = cell.cotangents
        shapes = " and ".join(f"({', '.join(cell.axes[name])})" for name in (every, *finals))
        return f"it is called pullback{pullback_form(cell)} with NumPy arrays of {shapes}"
    names = [*cell.parameters]
    listed = f"{' '.join(names[:3])} ... {names[-1]}"
    keys = _cells_with(sought, cell)
    if not keys and error.startswith("KeyError") and cell is PLAIN:
        keys = "; lstm_checks.to_framework(p, ...) makes a framework's own arrays of them"
    count = _COUNTS.get(len(names), len(names))
    return f"p holds the {count} arrays {listed} by name, and {series(('X', *cell.initial))} are NumPy arrays{keys}"


def _cells_with(name: str, cell: Cell) -> str:
    """Return that a parameter is of other cells than one, where it is of some and not of this."""
    cells = [other.name for other in CELLS.values() if name in other.parameters.keys() - cell.parameters.keys()]
    return f"; {name} is of the cell {series(cells, 'or')}: see --cell" if cells else ""


def _wrong_shape_of_h(case: Case, h: Any) -> str:
    """Return what axes the output h has, where they are not (m, s, u)."""
    hidden = case.cell.outputs[0]
    due, letters_due = case.cell.shape(hidden, *case.dims), f"({', '.join(case.cell.axes[hidden])})"
    shape = getattr(h, "shape", None)
    if shape is None:
        kind = "None" if h is None else f"of type {type(h).__name__}"
        return f"the output h is {kind}, expected an array {letters_due}"
    if tuple(shape) == due:
        return ""
    letters = {size: name for name, size in case.sizes.items()}
    axes = f"({', '.join(letters.get(size, str(size)) for size in shape)}{',' * (len(shape) == 1)})"
    early = "".join(f", or {name} before h" for name in case.cell.finals)
    hints = {
        "(s, m, u)": "the steps come first: give np.swapaxes(h, 0, 1), and take X and dh so",
        "(u, s, m)": "features come first: give h.T",
        "(m, u)": f"this is the last step's{early}: give every step's, as {vjp_form(case.cell)}",
    }
    hint = hints.get(axes, "")
    return f"the output h has the shape {axes}, expected {letters_due}" + (f"; {hint}" if hint else "")


def _hint_for_names(came: list[str], cell: Cell) -> str:
    """Return the nearest right form of some names of gradients."""
    if set(came) & set(cell.inputs):
        return ", each after a d: dUf for Uf"
    return "; lstm_checks.gradients_from_framework(gradients, ...) makes them of a framework's own"
