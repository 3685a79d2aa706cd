"""The smallest case that shows a fault, found by trying all sizes from 1 upwards."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count, product

from checks import oracles
from checks.cases import Case
from checks.compare import Verdict, compare
from checks.faults.model import Fault, evaluate, fault_target
from checks.verify import verify_case

REGIMES = ("normal", "x10", "x100", "x1e-3", "mixed")
SEEDS = 3


def sizes(total: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield every (m, s, e, u) whose sum is `total`; few steps first, then few samples."""
    for s, m, u in product(range(1, total - 2), repeat=3):
        if (e := total - s - m - u) >= 1:
            yield m, s, e, u


def candidates(dims: tuple[int, int, int, int]) -> Iterator[Case]:
    """Yield the cases of one size that are tried, the plainest first."""
    for regime, states, seed in product(REGIMES, (True, False), range(SEEDS)):
        yield Case(*dims, regime=regime, states=states, seed=seed)


def shows(fault: Fault, case: Case) -> bool:
    """Return whether a case shows a fault: a tensor beyond its tolerance, or a fault between calls noticed."""
    if fault.wrap:
        return bool(verify_case(fault_target(fault), case).failures)
    claims = compare(evaluate(fault, case.arrays), _expect(case), fault_target(fault), case.dtype)
    return any(claim.verdict is Verdict.FAIL for claim in claims)


def find_examples(faults: Iterable[Fault], largest: int = 16) -> dict[str, str]:
    """Return, by fault id, the descriptor of the smallest case among the candidates that shows the fault.

    Parameters
    ----------
    faults : iterable of Fault
    largest : int
        Largest m + s + e + u that is tried.

    Raises
    ------
    LookupError
        "no case of m + s + e + u <= 16 shows carry-dropped".

    Examples
    --------
    >>> from checks.faults.catalogue import find
    >>> find_examples([find("carry-dropped")])
    {'carry-dropped': 'm1s2e1u1-float64-seed0'}
    """
    found: dict[str, str] = {}
    left = list(faults)
    for total in count(4):
        if not left:
            return found
        if total > largest:
            raise LookupError(f"no case of m + s + e + u <= {largest} shows {', '.join(f.id for f in left)}")
        for dims in sizes(total):
            for case in candidates(dims):
                shown = [fault for fault in left if shows(fault, case)]
                found |= {fault.id: case.descriptor for fault in shown}
                left = [fault for fault in left if fault not in shown]
    raise AssertionError("unreachable")


@lru_cache(maxsize=4096)
def _expect(case: Case) -> oracles.Expected:
    """Return the values due for a case."""
    return oracles.expect(case)
