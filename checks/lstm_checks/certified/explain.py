"""What is wrong with a target that fails test vectors: what `verify` says of the simplest of them."""

from lstm_checks.calling import same_bits
from lstm_checks.cases import Case
from lstm_checks.certified.run import FAIL, VectorReport
from lstm_checks.certified.vectors import Vector
from lstm_checks.contract import Target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.reports import CaseReport


def explain_vectors(target: Target, report: VectorReport) -> CaseReport | None:
    """Return the report of `verify` on the smallest vector that failed and holds the very inputs of its case.

    It has no failures where `verify` finds nothing wrong, as where the answers in a file are not the right ones. None
    if no vector failed, or the inputs of those that did are not those that their ids stand for.
    """
    failed = [result.vector for result in report.results if result.verdict == FAIL]
    for vector in sorted(failed, key=lambda vector: (vector.dims[1], sum(vector.dims))):
        case = _case_of(vector)
        if case is not None:
            seen = verify_case(target, case)
            return explain(target, seen) if seen.failures else seen
    return None


def _case_of(vector: Vector) -> Case | None:
    """Return the case that a vector's id names, if it is the one that the vector holds."""
    try:
        case = Case.parse(vector.id)
    except ValueError:
        return None
    if (case.dims, case.dtype, case.sequences) != (vector.dims, vector.dtype, vector.sequences):
        return None
    cells = [(of.cell.name, of.cell.lengths) for of in (case.arrays, vector.arrays)]
    if cells[0] != cells[1]:
        return None
    ours, theirs = (dict(arrays) for arrays in (case.arrays, vector.arrays))
    return case if all(same_bits(ours[name], theirs[name]) for name in ours) else None
