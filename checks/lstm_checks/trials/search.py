"""The smallest case that shows a fault, found by growing all sizes until it shows and then taking away from each."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import PLAIN
from lstm_checks.faults.model import Fault, evaluate, fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.expected import Expected, expect
from lstm_ref.cell import Cell

REGIMES = ("normal", "x10", "x100", "x1e-3", "mixed", "padded")
SEEDS = 3
LARGEST = 16


def candidates(*dims: int, cell: Cell = PLAIN) -> Iterator[Case]:
    """Yield the cases of one size that are tried, the plainest first."""
    for regime, states, seed in product(REGIMES, (True, False), range(SEEDS)):
        yield Case.of(dims, regime=regime, states=states, seed=seed, cell=cell)


def shows(fault: Fault, case: Case, expected: Expected | None = None) -> bool:
    """Return whether a case shows a fault: a tensor beyond its tolerance, or a fault between calls noticed.

    `expected` is what is due for the case, where that is known already.
    """
    target = fault_target(fault, cell=case.cell)
    if fault.wrap:
        return bool(verify_case(target, case, expected=expected).failures)
    claims = compare(evaluate(fault, case.arrays), expected or _expect(case), target, case.dtype)
    return any(claim.verdict is Verdict.FAIL for claim in claims)


def find_example(fault: Fault, cell: Cell = PLAIN) -> Case:
    """Return a case of a cell that shows a fault, of sizes none of which can be less without growing another.

    Raises
    ------
    LookupError
        "no case of sizes up to 16 shows carry-dropped".

    Examples
    --------
    >>> from lstm_checks.faults.catalogue import find
    >>> find_example(find("carry-dropped")).descriptor
    'm1s2e1u1-float64-seed0'
    """
    more = cell.further
    grown = (
        (*dims, *(size,) * len(more))
        for n in range(1, LARGEST)
        for dims in ((n, n, n, n), (n, n, n + 1, n))
        for size in ((n, n + 1) if more else (n,))
    )
    case = next((found for dims in grown if (found := _first(fault, dims, cell))), None)
    if case is None:
        raise LookupError(f"no case of sizes up to {LARGEST} shows {fault.id}")
    while smaller := next((found for less in smaller_sizes(case) if (found := _first(fault, less, cell))), None):
        case = smaller
    return case


def smaller_sizes(case: Case) -> list[tuple[int, ...]]:
    """Return the sizes that differ from a case's by less of one of them, the least first."""
    orders = f"em{case.cell.further}us"
    return [case.resized({z: n}).dims for z in orders for n in range(1, case.sizes[z])]


def _first(fault: Fault, dims: tuple[int, ...], cell: Cell) -> Case | None:
    """Return the first candidate of some sizes that shows a fault."""
    return next((case for case in candidates(*dims, cell=cell) if shows(fault, case)), None)


@lru_cache(maxsize=4096)
def _expect(case: Case) -> Expected:
    """Return the values due for a case."""
    return expect(case)
