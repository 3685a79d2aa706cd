"""Timing two targets against each other, and what can be said of the ratio for certain.

One round is one process: the targets take turns within it, and the median over the pairs of the logarithm of
their times' ratio is one number. A process fixes where code and buffers lie in memory, which alone moves a ratio by
some percent (Mytkowicz and others, ASPLOS 2009); so rounds, not pairs, are the independent observations (Georges,
Buytaert, Eeckhout, OOPSLA 2007; Kalibera, Jones, ISMM 2013). Two sets of rounds are compared by the Hodges-Lehmann
estimate of their shift with its exact distribution-free bounds (Hodges, Lehmann, Ann. Math. Stat. 34, 1963), which
invert the Wilcoxon-Mann-Whitney test (Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 2014, section
4.3). One round that another process disturbed moves neither.

A call's time is that of the processor, as long as the call never waits of its own accord: on a machine with more work
than cores, the clock on the wall measures the neighbours. A call that waits (it sleeps, or has threads of its own)
gives the processor up voluntarily, which the system counts; its time is that on the wall.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import can_run, cotangents_for
from lstm_checks.cases import Case
from lstm_checks.contract import LAST, Target

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
THREADS = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES} | {"VECLIB_MAXIMUM_THREADS": "1"}
"""Environment of every process that judges: one thread, whoever the BLAS is."""

WARM_UP = 3
LEAST_PAIRS = 5


class NotPassedError(Exception):
    """What is to be timed is wrong or cannot run; correctness comes before timing."""


def time_round(target: Target, than: Target, case: Case, seconds: float) -> float:
    """Return the median over interleaved pairs of log(time of `target` / time of `than`), forward and backward.

    Raises
    ------
    NotPassedError
        When a call raises.
    """
    calls = [_call(one, case) for one in (target, than)]
    for call in calls * WARM_UP:
        call()
    ratios: list[float] = []
    end = time.perf_counter() + seconds
    while len(ratios) < LEAST_PAIRS or time.perf_counter() < end:
        # Each goes first every other time, so that what a call leaves in the caches favours neither.
        first, second = calls if len(ratios) % 2 else calls[::-1]
        times = taken(first), taken(second)
        mine, theirs = times if len(ratios) % 2 else times[::-1]
        # In logarithms, in which twice as slow and twice as fast are equally far from equal.
        ratios.append(math.log(mine / theirs))
    return float(np.median(ratios))


def taken(call: Callable[[], None]) -> float:
    """Return the seconds that a call takes: of the processor, or on the wall if it waits."""
    waits, wall, used = _voluntary_waits(), time.perf_counter(), time.process_time()
    call()
    used, wall = time.process_time() - used, time.perf_counter() - wall
    return wall if waits < 0 or _voluntary_waits() != waits else used


def _voluntary_waits() -> int:
    """Return how often this process has given up the processor of its own accord; -1 where nobody can tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw if resource is not None else -1


def _call(target: Target, case: Case) -> Callable[[], None]:
    """Return one forward and backward pass, with nothing of the harness round it."""
    arrays = case.arrays.copy()
    lacking = can_run(target, arrays)
    if lacking:
        raise NotPassedError(f"{target.name} cannot be timed on {case.descriptor}, which needs {lacking}")
    sequences = case.sequences or LAST in target.lacks
    inputs, taken = arrays.inputs, cotangents_for(target, arrays, last_step=not sequences)
    cotangents = {name: np.ascontiguousarray(value) for name, value in taken.items()}

    def call() -> None:
        try:
            _, pullback = target.call(inputs, sequences)
            pullback(cotangents)
        except (Exception, SystemExit) as error:
            raise NotPassedError(f"{target.name} raised {type(error).__name__} while timed: {error}") from error

    return call


@dataclass(frozen=True)
class Shift:
    """How much slower than before: an estimate and its bounds, as factors."""

    estimate: float
    low: float
    high: float


def shift_between(now: Sequence[float], before: Sequence[float], alpha: float) -> Shift:
    """Return the Hodges-Lehmann shift from the rounds `before` to those of `now`, each bound wrong with chance `alpha`.

    A bound that so few rounds cannot give is 0 or infinite.

    Examples
    --------
    >>> shift_between([0.1, 0.2], [0.0, 0.1], 0.2)
    Shift(estimate=1.1051709180756477, low=1.0, high=1.2214027581601699)
    """
    # With c = `_below`, the shift is below the (c + 1)-th least of all differences of two rounds with the chance that
    # the Mann-Whitney statistic is at most c, whatever the distribution; and as seldom above the (c + 1)-th largest.
    differences = np.sort(np.subtract.outer(np.asarray(now), np.asarray(before)), axis=None)
    estimate = math.exp(float(np.median(differences)))
    count = _below(len(now), len(before), alpha)
    if count < 0:
        return Shift(estimate, 0.0, math.inf)
    return Shift(estimate, math.exp(differences[count]), math.exp(differences[-1 - count]))


@cache
def _below(n: int, m: int, alpha: float) -> int:
    """Return the largest c for which the Mann-Whitney statistic is at most c with chance <= `alpha`, or -1."""
    ways = mann_whitney_counts(n, m)
    total, threshold = 0, alpha * math.comb(n + m, n)
    for c, count in enumerate(ways):
        total += count
        if total > threshold:
            return c - 1
    return len(ways) - 1


@cache
def mann_whitney_counts(n: int, m: int) -> tuple[int, ...]:
    """Return in how many orders of n and m values the Mann-Whitney statistic is 0, 1, ..., n m."""
    # The coefficients of the Gaussian binomial: product of (1 - q^(m + k)) / (1 - q^k), k = 1 ... n.
    ways = [1] + [0] * (n * m)
    for k in range(1, n + 1):
        for c in range(n * m, m + k - 1, -1):
            ways[c] -= ways[c - m - k]
        for c in range(k, n * m + 1):
            ways[c] += ways[c - k]
    return tuple(ways)


def looks_alpha(cases: int) -> float:
    """Return the chance of error of each bound: SPEED_ALPHA shared among the looks and the cases."""
    return tolerance.SPEED_ALPHA / (len(tolerance.SPEED_LOOKS) * cases)
