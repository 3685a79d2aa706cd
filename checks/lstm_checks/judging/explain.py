"""What a run's failures have in common: they are grouped, the simplest case of each group is found and explained.

Shrinking keeps one thing: every simpler case must fail as the one that was met did, each time that it is run, and be
explained by no group that has been told. So what is shown is what was met, and chance is told before any value is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lstm_checks import strategies, tolerance
from lstm_checks.calling import (
    can_run,
)
from lstm_checks.cases import REGIMES, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import Target
from lstm_checks.diagnosis.chance import always, describe_chance
from lstm_checks.diagnosis.diagnose import Diagnosis, diagnose
from lstm_checks.diagnosis.fingerprint import Faults
from lstm_checks.diagnosis.groups import Signature, faults_behind, largest_first, predictor, together
from lstm_checks.diagnosis.observe import observe, observe_once, repeatable, suited
from lstm_checks.diagnosis.places import NORMAL_VALUES, PLACES, grown
from lstm_checks.diagnosis.rule import WHERE, Domain, describe_values, find_rule
from lstm_checks.diagnosis.work import Work
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import of_target, verify_case
from lstm_checks.judging.hints import find_hints
from lstm_checks.judging.reports import ASKED, INPUTS_KEPT, OUTPUTS_KEPT, PROPERTIES, CaseReport, is_tensor
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.properties import claims as properties_of
from lstm_checks.strategies import draw_options


def most_telling(failed: list[CaseReport]) -> CaseReport | None:
    """Return the first report in which a tensor is wrong, since that says most of what is; else the first.

    One in float64 where there is one, since more digits tell more.
    """

    def rank(report: CaseReport) -> tuple[bool, bool]:
        return not is_tensor(report.failures[0].name), report.case.dtype != "float64"

    return min(failed, key=rank, default=None)


NOTHING_AT_STAKE = ("the regime is not zero", "the regime is not zero or the initial states are given")
"""Rules that say no more than that something must be due to be wrong."""

LATER = "a property or a later call alone"


def explain_run(
    target: Target,
    reports: tuple[CaseReport, ...],
    origins: Mapping[Case, strategies.Origin],
    options: Mapping[str, Any],
) -> tuple[tuple[CaseReport, ...], tuple[tuple[Signature, int], ...]]:
    """Return the failures of a run explained, one case for each group of them, and what is left unexplained.

    Parameters
    ----------
    target : Target
    reports : tuple of CaseReport
        Of all examples, in the order in which they were judged.
    origins : mapping
        Where each case came from.
    options : mapping
        Those with which they were drawn.

    Returns
    -------
    groups : tuple of CaseReport
        The simplest case of each, the first failing example's first. One alone where a suspect explains all failures.
    unexplained : tuple of (frozenset of str, int)
        What is wrong in the failing examples of no group, and in how many of them; the most frequent first.
    """
    failed = [report for report in reports if report.failures]
    told: list[_Told] = []
    left = failed
    while left and len(told) < tolerance.GROUPS_EXPLAINED:
        telling = _next_to_explain(target, left, told)
        if telling is None:
            break
        report = explain_simplest(
            target, telling, origins[telling.case], options, reports, tuple(group.explains for group in told)
        )
        group = _counted(target, _news(report, told), telling, failed, told)
        if told and told[0].faults is not None and _says_nothing(group.report) and _few(left, failed):
            break
        if group.alone == len(failed):
            return (group.report,), ()
        named = _named(group.report)
        # What was named comes to this as well: no news, and nothing that is left over.
        if not named or named not in [_named(known.report) for known in told]:
            told.append(group)
        left = [other for other in left if other is not telling and not group.explains(other)]
        if len(told) > 1:
            # Where what is wrong is wrong in one group or another, they go together.
            shown = frozenset().union(*(known.report.signature for known in told))
            left = [other for other in left if not other.signature <= shown]
    return tuple(group.report for group in told), tuple(largest_first([_bucket(report) for report in left]))


def _few(left: list[CaseReport], failed: list[CaseReport]) -> bool:
    """Return whether what the first group leaves over is no more than rounding may leave of the same fault."""
    return len(left) <= max(1, len(failed) // tolerance.LEFT_OVER)


def _named(report: CaseReport) -> str:
    """Return the fault that a report names with certainty, by its id; empty for none."""
    suspects = report.diagnosis.suspects if report.diagnosis is not None else ()
    return suspects[0].fault if suspects and suspects[0].certain else ""


def _says_nothing(report: CaseReport) -> bool:
    """Return whether values are wrong of which nothing is known but the places: no fault, relation or other reading.

    What raises, comes in another form, or fails by chance says enough by itself.
    """
    found, first = report.diagnosis, report.failures[0].discrepancy
    of_values = first is not None and first.kind in ("value", "finite", "direction")
    return of_values and found is not None and not (found.suspects or found.relations or found.reading)


def _news(report: CaseReport, told: "list[_Told]") -> CaseReport:
    """Return a report without the lines that one before has: a place of the target is said once."""
    found = report.diagnosis
    if found is None:
        return report
    known = [group.report.diagnosis for group in told if group.report.diagnosis is not None]
    said = {_plain(line) for diagnosis in known for line in (*diagnosis.relations, *diagnosis.where)}
    news = (tuple(line for line in lines if _plain(line) not in said) for lines in (found.relations, found.where))
    relations, where = news
    return replace(report, diagnosis=replace(found, relations=relations, where=where))


def _plain(line: str) -> str:
    """Return a line without the values of which it is said."""
    return line.removeprefix(NORMAL_VALUES)


@dataclass(frozen=True)
class _Told:
    """A group of failures that is explained: by which case, by which faults, and what tells whether one is in it."""

    report: CaseReport
    explains: Callable[[CaseReport], bool]
    faults: tuple[Any, ...] | None = None
    alone: int = 0


def _bucket(report: CaseReport) -> Signature:
    """Return what is wrong in an example; all the properties that do not hold where the tensors are right are one.

    Not so the questions: each is of this very case, and is the only word for what fails by it.
    """
    return report.signature if _of_values(report) else report.signature & {*ASKED} or frozenset([LATER])


def _of_values(report: CaseReport) -> bool:
    """Return whether a tensor is wrong, or something was written to; the rest asks about other cases than this one."""
    return any(is_tensor(name) or name in (INPUTS_KEPT, OUTPUTS_KEPT) for name in report.signature)


def _next_to_explain(target: Target, left: list[CaseReport], told: list[_Told]) -> CaseReport | None:
    """Return the failing example to be explained next: first what says most, then what is most frequent of the rest."""
    if not told:
        return _steadiest(target, left) or most_telling(left)
    # What fails in further calls alone may be what is explained already, at other sizes.
    of_values = [report for report in left if _of_values(report)]
    shown = frozenset().union(*(group.report.signature for group in told))
    apart = [report for report in of_values if not report.signature & shown]
    if not of_values:
        # Where no value is wrong, each question that fails is something else.
        asked = [report for report in left if report.signature <= {*ASKED} and not report.signature & shown]
        return None if not asked or any(_of_values(group.report) for group in told) else asked[0]
    wanted = largest_first([report.signature for report in apart or of_values])[0][0]
    alike = [report for report in of_values if report.signature == wanted]
    return _steadiest(target, alike) or alike[0]


def _steadiest(target: Target, reports: list[CaseReport]) -> CaseReport | None:
    """Return the first telling report whose case fails each time that it is run again; None where none of a few does.

    Where one of the first three does not, chance is about: then another is believed after five times as many runs.
    """
    telling = [report for report in reports if any(map(is_tensor, report.signature))] or reports
    telling = sorted(telling, key=lambda report: report.case.dtype != "float64")
    if telling[0].unanswered:
        return telling[0]
    ways = [(report, _ways_to_ask(target, report)) for report in telling[: tolerance.CHANCE_TRIED]]
    steady = [any(always(ask, report.case) for ask in asks) for report, asks in ways]
    if all(steady):
        return telling[0]
    believed = (
        report
        for (report, asks), is_steady in zip(ways, steady, strict=True)
        if is_steady and any(always(ask, report.case, 5 * tolerance.RUNS) for ask in asks)
    )
    return next(believed, None)


def _counted(
    target: Target, report: CaseReport, origin: CaseReport, failed: list[CaseReport], told: list[_Told]
) -> _Told:
    """Return a failure with how many others are wrong in the same tensors, and how many its suspect explains."""
    shown, spread = report.signature, report.signature | origin.signature
    alike = sum(bool(other.signature & shown) for other in failed)
    report = replace(report, stands_for=(alike, len(failed)))
    found = report.diagnosis.suspects if report.diagnosis is not None and report.reference else ()
    tried = [
        failed[k] for k in sorted({k * len(failed) // tolerance.SUSPECT_TRIED for k in range(tolerance.SUSPECT_TRIED)})
    ]
    counted = []
    for named in found:
        faults = faults_behind(named, target.cell)
        explains = _by_faults(target, faults) if faults is not None else None
        count = sum(map(explains, tried)) if explains is not None else None
        # What another case refutes is told where it is what a quarter of those alike do; else it came so by chance.
        if not (named.refuted and count is not None and 4 * count < alike):
            counted.append((named, faults, explains, count))
    # The certain first, as they come; of those that do not fit everywhere, those that explain most.
    counted.sort(key=lambda one: (not one[0].certain, 0 if one[0].certain else -(one[3] or 0)))
    if counted and report.diagnosis is not None:
        named, faults, explains, count = counted[0]
        suspects = [one[0] for one in counted]
        every: list[Callable[[CaseReport], bool]] = []
        if faults is not None and explains is not None:
            of = f"of the {len(tried)} failing examples{' tried' if len(tried) < len(failed) else ''}"
            sure = f"{named.sure}; explains {count} {of}"
            others = [group.faults for group in told if group.faults is not None]
            every = [explains, *(_by_faults(target, (*faults, *other)) for other in others)]
            more = sum(not explains(report) and any(said(report) for said in every[1:]) for report in tried)
            if more:
                ids = " or ".join(" and ".join(fault.id for fault in other) for other in others)
                sure += f", and {more} more together with {ids}"
            suspects[0] = replace(named, sure=sure)
        known = replace(report.diagnosis, suspects=tuple(suspects))
        if count is not None and 2 <= count >= tolerance.EXPLAINS_ENOUGH * len(tried):
            # Of what explains the run the rest is a consequence, and at a size that is a limit no general one.
            known = replace(known, relations=(), where=())
        report = replace(report, diagnosis=known)
        if every and (named.certain or 4 * (count or 0) >= alike):
            alone = len(failed) if count == len(tried) else 0
            return _Told(report, lambda other: any(said(other) for said in every), faults, alone)
    elif report.diagnosis is not None:
        report = replace(report, diagnosis=replace(report.diagnosis, suspects=()))
    if report.chance:
        # What else fails by chance fails in whatever call it does.
        return _Told(report, lambda other: not _of_values(other) or bool(other.signature & shown))
    asked = grown(target, report.case) if report.reference and not report.unanswered else None
    if asked is not None and asked.size <= tolerance.LARGE:
        spread |= frozenset(observe_once(target, asked).wrong)
    # Without a reference what fails is which properties were asked.
    return _Told(report, lambda other: not other.reference or together(other.signature, shown, spread))


def _by_faults(target: Target, faults: Faults) -> Callable[[CaseReport], bool]:
    """Return what tells whether faults explain a failing example: by its values, or by which later calls fail."""
    predicts = predictor(target, faults)

    @cache
    def fails_so(case: Case, properties: tuple[str, ...], signature: Signature) -> bool:
        again = verify_case(fault_target(*faults, cell=target.cell), case, properties=properties)
        return signature <= {claim.name for claim in again.failures}

    def explains(report: CaseReport) -> bool:
        if any(map(is_tensor, report.signature)):
            return predicts(report.case)
        try:
            return fails_so(report.case, _failed_properties(report), report.signature)
        except ValueError:
            # Faults of the same text cannot be planted together.
            return False

    return explains


def explain_simplest(
    target: Target,
    failed: CaseReport,
    origin: strategies.Origin,
    options: Mapping[str, Any],
    evidence: tuple[CaseReport, ...] = (),
    told: tuple[Callable[[CaseReport], bool], ...] = (),
) -> CaseReport:
    """Return the report on the simplest case that fails as one did, explained.

    Parameters
    ----------
    target, failed, origin, options
        What failed, on what, and how that was drawn.
    evidence : tuple of CaseReport
        What is known of other cases.
    told : tuple of callable
        What tells whether a failure is explained already: the simplest is looked for among those that are not.
    """
    if failed.unanswered:
        return failed

    due, known = _kept_due(target, failed.reference), _failed_properties(failed)

    def asked(thorough: bool) -> Callable[[Case], CaseReport]:
        return lambda case: verify_case(target, case, thorough, known, failed.reference, expected=due(case))

    ways = _ways_to_ask(target, failed)
    steady = next((k for k, ask in enumerate(ways) if always(ask, failed.case)), None)
    if steady is None and (chance := _chance(target, failed, evidence)):
        return replace(failed, chance=chance)
    judged = asked(bool(steady) or len(ways) == 1)

    def fails(case: Case) -> bool:
        report = judged(case)
        # Of a further group the simplest case is one in which nothing else is wrong.
        alike = not told or report.signature <= failed.signature
        return (
            bool(report.failures) and not report.unanswered and alike and not any(explains(report) for explains in told)
        )

    simplest = strategies.shrink(fails, origin, failed.case, **options)
    if not always(fails, simplest):
        # A case that fails by chance is no simpler.
        simplest = strategies.shrink(lambda case: always(fails, case), origin, failed.case, **options)
    report = verify_case(target, simplest, properties=_failed_properties(failed) or None, reference=failed.reference)
    return explain(
        target,
        report if report.failures else failed,
        evidence,
        options,
        Work(calls=tolerance.CALLS_FURTHER) if told else None,
    )


def explain(
    target: Target,
    report: CaseReport,
    evidence: tuple[CaseReport, ...] = (),
    options: Mapping[str, Any] | None = None,
    work: Work | None = None,
) -> CaseReport:
    """Return the report on a failed case with which cases fail and what is wrong; a large one is left as it is.

    What does not fail each time that the case is run again is said to be so, and nothing else.

    Parameters
    ----------
    target : Target
    report : CaseReport
        Of a case that failed.
    evidence : tuple of CaseReport
        What is known of other cases.
    options : mapping, optional
        From where further cases may be drawn; see `draw_options`.
    work : Work, optional
        See `diagnose`.
    """
    if report.unanswered or report.case.size > tolerance.LARGE:
        return report
    try:
        ways = _ways_to_ask(target, report)
        if not any(always(ask, report.case) for ask in ways):
            chance = _chance(target, report, evidence)
            return replace(report, chance=chance) if chance else report
        wrong = tuple(frozenset(filter(is_tensor, other.signature)) for other in evidence)
        found = None
        steady = not report.reference or repeatable(observe(target, report.case))
        if not steady:
            # What a target keeps of its calls is told best before many more are made.
            found = diagnose(target, report.case, work, wrong)
        report = replace(report, pattern=_pattern(target, report, evidence, options, steady))
        ruled = report.pattern.startswith(WHERE)
        if not ruled and not any(always(ask, report.case, tolerance.RUNS_OF_NO_RULE) for ask in ways):
            # Verdicts that follow no rule may be chance, seldom though it be that the case passes.
            chance = _chance(target, report, evidence, tolerance.RUNS_OF_NO_RULE)
            return replace(report, chance=chance, pattern="") if chance else report
        if report.reference:
            found = found or diagnose(target, report.case, work, wrong, ruled)
        report = replace(report, diagnosis=found)
        if report.unsteady and not ruled:
            # What hangs on the calls is no matter of the values, though it is right for others of them.
            report = replace(report, pattern="")
        return replace(report, hints=find_hints(target, report))
    except Exception as error:
        # The failure stands, whatever becomes of its explanation.
        broken = f"not looked for to the end, by a fault of lstm-checks: {type(error).__name__}: {error}"
        known = report.diagnosis or Diagnosis(catalogue=False)
        return replace(report, diagnosis=replace(known, where=(*known.where, broken)))


def _pattern(
    target: Target,
    report: CaseReport,
    evidence: tuple[CaseReport, ...],
    options: Mapping[str, Any] | None,
    steady: bool = True,
) -> str:
    """Return by which rule cases fail, where one holds; else for how many other values this one passes."""
    thorough, properties = not is_tensor(report.failures[0].name), _failed_properties(report)
    known = {other.case: found for other in evidence if (found := _fails_so(other, report.signature)) is not None}

    def fails(case: Case) -> bool | None:
        again = verify_case(target, case, thorough, properties, report.reference)
        return _fails_so(again, report.signature)

    rule = find_rule(fails, report.case, known, _domain(target, report, tuple(known), options))

    def wrong(case: Case) -> bool | None:
        again = verify_case(target, case, thorough, properties, report.reference)
        undecided = {claim.name for claim in again.claims if claim.verdict is Verdict.INCONCLUSIVE}
        return True if again.failures else None if undecided & report.signature else False

    if rule is not None and rule.words in NOTHING_AT_STAKE:
        # Of nearly every fault it is so, and of none does it tell anything.
        return ""
    if rule is not None and rule.wrong < rule.inside and not (steady and _repeats(target, report)):
        # Of what is not the same twice, what passed may have passed by chance, and at other sizes as often as not.
        return ""
    # That what failed does not fail is no rule, but "right" is said of what is right in all.
    return str(rule) if rule is not None else describe_values(wrong, report.case)


def _repeats(target: Target, report: CaseReport) -> bool:
    """Return whether two calls agree on a case of some size, too: on few numbers they may by chance."""
    asked = suited(target, PLACES[0]) if report.reference else None
    return asked is None or repeatable(observe(target, asked))


def _fails_so(report: CaseReport, signature: Signature) -> bool | None:
    """Return whether any of the claims in question fails in a case; None where none of them is judged."""
    found = {claim.verdict for claim in report.claims if claim.name in signature}
    if Verdict.FAIL in found:
        return True
    if report.failures and all(c.discrepancy is not None and c.discrepancy.kind == "error" for c in report.failures):
        return None
    return False if Verdict.PASS in found else None


def _domain(target: Target, report: CaseReport, known: tuple[Case, ...], options: Mapping[str, Any] | None) -> Domain:
    """Return from where cases are drawn for a rule: from where the run's were, or from around a single case."""
    case = report.case
    drawn = draw_options(target) if options is None else options
    regimes = REGIMES if report.reference else properties_of.OWN_REGIMES
    dims = strategies.largest_dims(drawn.get("max_dims"), case.cell)
    largest = tuple(max(sizes) for sizes in zip(dims, *(c.dims for c in (case, *known)), strict=True))
    shapes: tuple[strategies.Dims, ...] = ()
    if target.compiles:
        smaller = {tuple(max(n - (k == axis), 1) for k, n in enumerate(case.dims)) for axis in range(len(case.dims))}
        shapes = tuple({c.dims for c in known} or smaller | {case.dims})
    return Domain(
        largest,
        tuple(sorted({c.dtype for c in (case, *known)})),
        tuple(dict.fromkeys((*drawn.get("regimes", regimes), case.regime))),
        tuple(drawn["cotangents"]),
        bool(drawn["states"]),
        shapes,
        target.limits,
        tuple(drawn.get("lengths", ())),
    )


def _chance(target: Target, report: CaseReport, evidence: tuple[CaseReport, ...], runs: int = tolerance.RUNS) -> str:
    """Return how often a failure is there when its case is run again, in words; empty if always."""
    sizes = [max(n, *(other.case.dims[k] for other in evidence), 1) + 1 for k, n in enumerate(report.case.dims)]
    unmet = replace(report.case, m=sizes[0], u=sizes[3]) if not target.compiles and evidence else None
    earlier = [bool(other.failures) for other in evidence]
    # First as `--case` runs it; what is wrong in every third call, say, always fails so and not in single calls.
    said = (describe_chance(ask, report.case, unmet, earlier, runs) for ask in reversed(_ways_to_ask(target, report)))
    return next(filter(None, said), "")


def _ways_to_ask(target: Target, report: CaseReport) -> list[Callable[[Case], bool]]:
    """Return whether another case fails, too: asked about the tensors alone where one of them is wrong, and of all."""
    properties, due = _failed_properties(report), _kept_due(target, report.reference)

    def asked(thorough: bool) -> Callable[[Case], bool]:
        def fails(case: Case) -> bool:
            again = verify_case(target, case, thorough, properties, report.reference, expected=due(case))
            return bool(again.failures) and not again.unanswered

        return fails

    # If no tensor is wrong, it takes the further calls to see the failure.
    return [asked(thorough) for thorough in ((False, True) if is_tensor(report.failures[0].name) else (True,))]


def _kept_due(target: Target, reference: bool) -> Callable[[Case], Expected | None]:
    """Return what is due of a case, and keep that of the last one: it takes long, and a case is asked ten times."""
    kept: dict[Case, Expected] = {}

    def due(case: Case) -> Expected | None:
        case = of_target(target, case, reference)
        if reference and case not in kept and target.takes(case.dtype) and not can_run(target, case.arrays):
            kept.clear()
            kept[case] = expect(case)
        return kept.get(case)

    return due


def _failed_properties(report: CaseReport) -> tuple[str, ...]:
    """Return the names of the properties that do not hold, and of the questions that were answered wrongly."""
    return tuple(claim.name for claim in report.failures if claim.name in (*PROPERTIES, *ASKED))
