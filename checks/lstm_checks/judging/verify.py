"""A target and a number of examples make a Report: cases are drawn, each is judged, and what fails is explained.

Called from Python, the target runs in this process, unless it is one of `workers.remote`: it can then end the process
with any exit code, hang in compiled code, or replace what judges it. The commands judge it from another process.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lstm_checks import strategies
from lstm_checks.asking import claims as asking
from lstm_checks.calling import (
    asked_of,
    call_target,
)
from lstm_checks.cases import REGIMES, Case, strata_of
from lstm_checks.compare import ENDED, TIMEOUT
from lstm_checks.contract import STATES, Target
from lstm_checks.formats import is_low
from lstm_checks.judging.ahead import Ahead
from lstm_checks.judging.case import no_answer, of_target, verify_case
from lstm_checks.judging.contracts import measure
from lstm_checks.judging.reports import CaseReport, Report
from lstm_checks.progress import NOBODY, Progress, heard_by
from lstm_checks.properties import claims as properties_of
from lstm_checks.strategies import draw_options
from lstm_checks.targets.function import SMALL_SIZES


def default_dtypes(target: Target, reference: bool = True) -> tuple[tuple[str, ...], CaseReport | None]:
    """Return the dtypes that are judged where none is named, and the report on the call that shows them if it failed.

    They are all that the target takes, by tiny calls in float32: what raises in each or answers in another dtype
    computes in float64 alone. What ends its process there, or gives no answer in time, has failed. Without a reference
    it is the first dtype alone: check_grad cannot be asked of a float32 forward pass.
    """
    if not reference or set(target.dtypes) != {"float64", "float32"}:
        return (target.dtypes[:1] if not reference else target.dtypes), None
    cotangents = "every" if target.without_finals else "every+h+C"
    for sizes in SMALL_SIZES:
        states = STATES not in target.lacks
        case = asked_of(target, Case(*sizes, dtype="float32", cotangents=cotangents, states=states))
        outcome = call_target(target, case.arrays.copy(), case.sequences)
        if outcome.kind in (TIMEOUT, ENDED):
            return target.dtypes, CaseReport(case, (no_answer(outcome),))
        if not outcome.error:
            single = getattr(outcome.values.get(target.cell.outputs[0]), "dtype", None) == np.float32
            return (target.dtypes if single else ("float64",)), None
    return ("float64",), None


def verify(
    target: Target,
    *,
    examples: int = 100,
    seed: int = 0,
    dtypes: tuple[str, ...] | None = None,
    max_dims: strategies.Dims | None = None,
    regimes: tuple[str, ...] = REGIMES,
    properties: tuple[str, ...] | None = None,
    reference: bool = True,
    progress: Progress | Callable[[], None] = NOBODY,
    repeat: int = 0,
    ahead: Ahead | None = None,
) -> Report:
    """Return the report on a target over examples drawn by Hypothesis.

    Where a target gives no answer in time that is its last example, and no simpler one is looked for.

    Parameters
    ----------
    target : Target
    examples : int
        Number of different cases; every reachable stratum gets its share of them.
    seed : int
        Seed of the draws.
    dtypes : tuple of str, optional
        The dtypes to draw from; by default all that the target computes in, in one run.
    max_dims : tuple of int, optional
        Largest (m, s, e, u) drawn. By default `strategies.MAX_DIMS`, and up to 129 past the edges of blocks.
    regimes : tuple of str
        The value regimes to draw from; without a reference those of `properties.claims.OWN_REGIMES`. "large",
        which is not drawn unless it is named, is of more than 65536 rows.
    properties, reference, repeat
        See `verify_case`.
    progress : callable
        Called after each example. A `Progress` hears of the first failing example at once, and what is done after it.
    ahead : Ahead, optional
        Works out what is due for the next cases meanwhile.
    """
    start, heard = time.perf_counter(), heard_by(progress)
    if not reference:
        regimes = tuple(regime for regime in regimes if regime in properties_of.OWN_REGIMES)
    failed = None
    if dtypes is None:
        dtypes, failed = default_dtypes(target, reference)
    options = draw_options(target, seed=seed, dtypes=dtypes, max_dims=max_dims, regimes=regimes)
    found: dict[Case, CaseReport] = {}
    origins = strategies.draw_cases(examples, seed, **options)
    if failed is not None:
        found[failed.case] = failed
        origins = {failed.case: strategies.Origin("", 0, seed)} | ({} if failed.timed_out else origins)
    failing = False
    asked = {case: of_target(target, case, reference) for case in origins if case not in found}
    if not reference:
        ahead = None
    if ahead is not None:
        ahead.begin([*asked.values()], lambda case: asking.stepped_by(target, case, properties))
    for case in origins:
        if case in asked:
            due = None if ahead is None else partial(ahead.expected, asked[case])
            found[case] = verify_case(
                target, asked[case], properties=properties, reference=reference, expected=due, repeat=repeat
            )
        if not failing and found[case].failures:
            failing = True
            heard.failed(_first_failure(found[case]))
        heard()
        if found[case].timed_out:
            break
    groups: tuple[CaseReport, ...] = ()
    unexplained: tuple[Any, ...] = ()
    if failing:
        from lstm_checks.judging.explain import explain_run

        heard.doing(f"finding out what is wrong with {target.name}")
        groups, unexplained = explain_run(target, tuple(found.values()), origins, options)
    reachable = strategies.reachable_strata(**options)
    unreachable = tuple(name for name in strata_of(target.cell) if name not in reachable)
    seconds = time.perf_counter() - start
    failure = groups[0] if groups else None
    contract = _contract(target, tuple(found.values())) if failure is None else ()
    rest = (groups[1:], unexplained, contract)
    return Report(target, tuple(found.values()), failure, seed, seconds, unreachable, reference, *rest)


def _first_failure(report: CaseReport) -> str:
    """Return what is said of the first failing example before anything is known of the others."""
    said = report.failures[0].discrepancy
    words = said.message if said is not None else report.failures[0].name
    return f"the first failing example, {report.case.descriptor}: {words}; the others go on"


def _contract(target: Target, reports: tuple[CaseReport, ...]) -> tuple[str, ...]:
    """Return which contract a target keeps in each format of low precision that its examples are in, in sentences."""
    lines: list[str] = []
    for dtype in dict.fromkeys(report.case.dtype for report in reports):
        measured = measure(target, [one for one in reports if one.case.dtype == dtype]) if is_low(dtype) else None
        lines += measured.lines if measured is not None else ()
    return tuple(lines)
