"""Whether a failure is there whenever its case is run again, or by chance, or at first alone.

What is looked for by experiment on a failing case takes for granted that the case fails. So it is run again, ten times,
before anything is said of its values; and where it does not fail each time, how often it does is all that is said.
"""

from collections.abc import Callable, Sequence

from lstm_checks import tolerance
from lstm_checks.cases import Case


def always(fails: Callable[[Case], bool | None], case: Case, runs: int = tolerance.RUNS) -> bool:
    """Return whether a case fails each time that it is run; the first run that passes is the last."""
    return all(fails(case) for _ in range(runs))


def describe_chance(
    fails: Callable[[Case], bool | None],
    case: Case,
    unmet: Case | None,
    earlier: Sequence[bool],
    runs: int = tolerance.RUNS,
) -> str:
    """Return how often a case that was seen to fail does so, in words; empty if it does each time.

    Parameters
    ----------
    fails : callable
        Whether the target fails a case, asked anew each time.
    case : Case
        One that failed once.
    unmet : Case or None
        One of sizes that the target was never asked for; for what is wrong at the first call of a size.
    earlier : sequence of bool
        Whether each example of the run failed, in the order in which they were judged.
    runs : int
        How often it is run again.

    Examples
    --------
    >>> verdicts = iter([True, False, True] * 4)
    >>> describe_chance(lambda case: next(verdicts), Case(1, 1, 1, 1), None, ())
    'fails in 7 of 10 runs of the same case'
    """
    failed = sum(bool(fails(case)) for _ in range(runs))
    if failed == runs:
        return ""
    if failed:
        return f"fails in {failed} of {runs} runs of the same case"
    first, *others = earlier or [False]
    if first and others and not any(others):
        return (
            f"fails in the first example alone: right in all {len(others)} others and in {runs} more runs of its case"
        )
    if unmet is not None and fails(unmet) and not any(fails(unmet) for _ in range(runs)):
        return f"fails the first time that it meets a size, and in none of {runs} more runs of the same case"
    return f"did not fail again in {runs} runs of the same case"
