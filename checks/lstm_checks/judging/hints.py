"""What somebody may do next who is stuck: the option under which a failing target is judged as it may be meant.

A hint is no verdict: the target fails as it did. Each is tried on the target before it is given.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from lstm_checks.calling import can_run
from lstm_checks.compare import Verdict
from lstm_checks.contract import ANY_CELL, LIKE_CELLS, Target, min_dims_in_words, of_plain_arrays
from lstm_checks.formats import is_low
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.reports import CHECK_GRAD, CHECK_GRAD_ALL, FORM, CaseReport, is_tensor
from lstm_checks.words import series

SECOND_ORDER = "second order"
"""The question of the derivatives of gradients."""

OF_VALUES = ("value", "finite", "direction", "together")
"""The kinds of what is wrong in an answer of the right form."""


def find_hints(target: Target, report: CaseReport) -> tuple[str, ...]:
    """Return which options may help with a failure that is there each time, in sentences; mostly none does."""
    if report.unanswered or report.chance or not report.failures or is_low(report.case.dtype):
        return ()
    wrong = [claim for claim in report.failures if is_tensor(claim.name) and claim.discrepancy is not None]
    formal = any(claim.discrepancy is not None and claim.discrepancy.kind not in OF_VALUES for claim in wrong)
    if {claim.name for claim in report.failures} == {SECOND_ORDER} and "reverse over reverse" in target.can:
        return _differentiated_once(target, report)
    if formal:
        return (*_another_dtype(target, report), *_larger_sizes(target, report))
    # What differs from call to call is no cell.
    return _another_cell(target, report) if report.reference and not report.unsteady else ()


def _differentiated_once(target: Target, report: CaseReport) -> tuple[str, ...]:
    """Return that a gradient is right which has a wrong derivative, and how PyTorch is told that it has none."""
    if verify_case(target, report.case, properties=(), reference=report.reference).failures:
        return ()
    return (
        "its gradients are right, and what PyTorch makes of them when they are differentiated again is not, as where a "
        "backward of its own takes what it kept for constants: if nobody is to, "
        "@torch.autograd.function.once_differentiable above that backward says so",
    )


def _another_cell(target: Target, report: CaseReport) -> tuple[str, ...]:
    """Return that the forward pass is another cell's than the reference's, and which one's where that is known."""
    from lstm_checks.diagnosis.other_cells import find_cell

    failed = {claim.name for claim in report.failures}
    if not failed & {*report.case.cell.outputs}:
        return ()
    found = [claim for name in (CHECK_GRAD, CHECK_GRAD_ALL) if (claim := report.claim(name)) is not None]
    # A float32 gradient is judged on the reference's forward pass, of which it says nothing.
    consistent = report.case.dtype == "float64" and {claim.verdict for claim in found} == {Verdict.PASS}
    cell, takes = find_cell(target), ANY_CELL in target.can
    if cell is None and not consistent:
        return ()
    if cell is not None:
        takes = takes or (LIKE_CELLS in target.can and of_plain_arrays(cell))
        start = "consistent, but another cell: " if consistent else ""
        own = f"its forward pass is that of --cell {cell.name}"
        for_others = "which is for a function in the vjp form, a layer class or a program; --no-reference judges it so"
        return (start + (own if takes else f"{own}, {for_others}"),)
    named = "--cell NAME, where it is one that is known, or " if takes else ""
    return (f"consistent, but another forward pass: if it is meant so, try {named}--no-reference",)


def _another_dtype(target: Target, report: CaseReport) -> tuple[str, ...]:
    """Return that what fails in float64 is right in float32, or the other way round."""
    other = {"float64": "float32", "float32": "float64"}[report.case.dtype]
    if not target.takes(other) or not _passes(target, report, dtype=other):
        return ()
    return (f"right in {other}: if it computes in that alone, --dtype {other}",)


def _larger_sizes(target: Target, report: CaseReport) -> tuple[str, ...]:
    """Return which sizes of 1 make a case fail that is right without them, and the option that draws none such."""
    ones = [letter for letter, size in report.case.sizes.items() if size == 1 and letter in "mseu"]
    for count in range(1, len(ones) + 1):
        for letters in combinations(ones, count):
            if _passes(target, report, **dict.fromkeys(letters, 2)):
                least = tuple(2 if letter in letters else 1 for letter in "mseu")
                where = series([f"{letter} = 1" for letter in letters], "or")
                return (f"right without {where}: if no such sizes are meant, --min-dims {min_dims_in_words(least)}",)
    return ()


def _passes(target: Target, report: CaseReport, **changed: object) -> bool:
    """Return whether a case is right with something changed."""
    case = replace(report.case, **changed)  # type: ignore[arg-type]
    if can_run(target, case.arrays):
        return False
    again = verify_case(target, case, thorough=False, reference=report.reference)
    # Without a reference nothing but the form is judged so far.
    right = again.verdict if report.reference else getattr(again.claim(FORM), "verdict", None)
    return right is Verdict.PASS and not again.failures


def hint_of_dtype(target: Target, dtypes: Iterable[str]) -> str:
    """Return the option that helps where a target computes in none of the dtypes that were asked for."""
    if not target.dtypes or any(map(target.takes, dtypes)):
        return ""
    return f"it computes in {series(target.dtypes)} alone: --dtype {target.dtypes[0]}"
