"""The only orchestrator: a target and a case make a CaseReport, a target and a number of examples a Report.

For each case the target is called four times: over arrays that hold other values, so that nothing it remembers of them
can help; for its answer; with another shape; and again for its answer. Then come the properties' own calls. Without a
reference the target's own answer stands in for what is expected, and only the properties and check_grad judge it.

Called from Python, the target runs in this process, unless it is one of `workers.remote`: it can then end the process
with any exit code, hang in compiled code, or replace what judges it. The commands judge it from another process.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from lstm_checks import strategies, tolerance
from lstm_checks.calling import (
    Outcome,
    another_shape,
    begin,
    begin_over_other_values,
    call_forward,
    call_target,
    can_run,
    overwritten,
    same_bits,
)
from lstm_checks.cases import COTANGENTS, REGIMES, STRATA, Arrays, Case, strata
from lstm_checks.compare import ENDED, TIMEOUT, Claim, Discrepancy, Verdict, compare
from lstm_checks.contract import CN, DCN, GRADIENTS, OUTPUTS, STATES, Target
from lstm_checks.diagnosis.chance import always, describe_chance
from lstm_checks.diagnosis.diagnose import Diagnosis, diagnose
from lstm_checks.diagnosis.fingerprint import Faults
from lstm_checks.diagnosis.groups import Signature, faults_of, largest_first, predictor, together
from lstm_checks.diagnosis.observe import observe, observe_once, repeatable
from lstm_checks.diagnosis.places import grown
from lstm_checks.diagnosis.rule import WHERE, Domain, describe_values, find_rule
from lstm_checks.diagnosis.work import Work
from lstm_checks.faults.model import fault_target
from lstm_checks.oracles import oracles
from lstm_checks.properties import claims as properties_of
from lstm_checks.properties.noise import BrokenAnswerError, OwnExpected, answered, checked, misformed, own_expected

SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT = "second call", "inputs kept", "outputs kept"
CHECK_GRAD, CHECK_GRAD_ALL = "check_grad", "check_grad of every entry"
COMPLEX_STEP, CHECK_GRAD_REFERENCE = "lstm_ref against complex step", "lstm_ref against check_grad"
FORM = "form"
TENSORS = (*OUTPUTS, *GRADIENTS)
OF_HARNESS = (COMPLEX_STEP, CHECK_GRAD_REFERENCE)
PROPERTIES = properties_of.NAMES
CLAIMS = (
    *(*TENSORS, FORM, SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT),
    *(CHECK_GRAD, CHECK_GRAD_ALL, *OF_HARNESS, *PROPERTIES),
)


def _unanswered(claim: Claim) -> bool:
    """Return whether a claim failed for want of an answer."""
    return claim.discrepancy is not None and claim.discrepancy.kind in (TIMEOUT, ENDED)


def is_tensor(name: str) -> bool:
    """Return whether a claim of that name is about the values of a tensor; whatever a target adds is one."""
    return name in TENSORS or name not in CLAIMS


@dataclass(frozen=True)
class CaseReport:
    """What is said of a target on one case.

    `chance` says how often a failure is there, if not always; `pattern` which cases fail and `diagnosis` what is wrong,
    where that was looked into. `stands_for` is how many failing examples of a run this one explains, and of how many.
    `reference` is whether one was used.
    """

    case: Case
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()
    pattern: str = ""
    reference: bool = True
    diagnosis: Diagnosis | None = None
    chance: str = ""
    stands_for: tuple[int, int] | None = None

    @property
    def signature(self) -> Signature:
        """What is wrong: the tensors that failed, or the other claims where none did."""
        failed = [claim.name for claim in self.failures]
        return frozenset(n for n in failed if is_tensor(n)) or frozenset(failed)

    @property
    def failures(self) -> tuple[Claim, ...]:
        """The failed claims about the target, the tensors first, worst first."""
        failed = [c for c in self.claims if c.verdict is Verdict.FAIL and c.name not in OF_HARNESS]
        return tuple(sorted(failed, key=lambda c: (not is_tensor(c.name), -c.use)))

    @property
    def mistrusted(self) -> tuple[Claim, ...]:
        """The failed claims about the harness itself: its oracles disagree."""
        return tuple(c for c in self.claims if c.verdict is Verdict.FAIL and c.name in OF_HARNESS)

    @property
    def verdict(self) -> Verdict:
        """Fail if anything failed; pass if a gradient passed; else what they were.

        An output, where no gradient is supported; a property, where there is no reference.
        """
        if self.failures:
            return Verdict.FAIL
        gradients = {c.name for c in self.claims if c.name in GRADIENTS and c.verdict is not Verdict.UNSUPPORTED}
        # Of a target that goes forward only, its outputs are all there is to judge.
        judged = (gradients or OUTPUTS) if self.reference else PROPERTIES
        found = Counter(c.verdict for c in self.claims if c.name in judged)
        for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.VACUOUS):
            if found[verdict]:
                return verdict
        return Verdict.UNSUPPORTED

    @property
    def worst(self) -> Claim | None:
        """The claim about a tensor that used most of its tolerance."""
        judged = [c for c in self.claims if is_tensor(c.name) and c.verdict in (Verdict.PASS, Verdict.FAIL)]
        return max(judged, key=lambda c: c.use, default=None)

    @property
    def timed_out(self) -> bool:
        """Whether the target gave no answer in time."""
        return any(c.discrepancy is not None and c.discrepancy.kind == TIMEOUT for c in self.claims)

    @property
    def unanswered(self) -> bool:
        """Whether the target ended its process, or gave no answer in time: then nothing simpler is looked for."""
        return any(map(_unanswered, self.claims))

    def claim(self, name: str) -> Claim | None:
        """Return the claim of that name, if it was made."""
        return next((c for c in self.claims if c.name == name), None)


@dataclass(frozen=True)
class Report:
    """What is said of a target on all its examples.

    Attributes
    ----------
    target : Target
    examples : tuple of CaseReport
    failure : CaseReport or None
        The simplest failing example that was found.
    further : tuple of CaseReport
        The same of failing examples that go wrong in another way; at most two.
    unexplained : tuple of (frozenset of str, int)
        What is wrong in the failing examples that none of these explains, and in how many.
    seed : int
    seconds : float
    reference : bool
        Whether one was used.
    """

    target: Target
    examples: tuple[CaseReport, ...]
    failure: CaseReport | None
    seed: int
    seconds: float
    unreachable: tuple[str, ...] = field(default=())
    reference: bool = True
    further: tuple[CaseReport, ...] = ()
    unexplained: tuple[tuple[Signature, int], ...] = ()

    @cached_property
    def counts(self) -> Mapping[Verdict, int]:
        """Number of examples by verdict."""
        return Counter(example.verdict for example in self.examples)

    @cached_property
    def claim_counts(self) -> dict[str, Counter[Verdict]]:
        """Number of verdicts by claim."""
        counts: dict[str, Counter[Verdict]] = {name: Counter() for name in CLAIMS}
        for example in self.examples:
            for claim in example.claims:
                counts.setdefault(claim.name, Counter())[claim.verdict] += 1
        return {name: count for name, count in counts.items() if count}

    @property
    def stratum_counts(self) -> dict[str, int]:
        """Number of examples by stratum."""
        found = Counter(name for example in self.examples for name in strata(example.case))
        return {name: found[name] for name in STRATA}

    @property
    def mistrusted(self) -> tuple[CaseReport, ...]:
        """The examples on which the oracles disagree."""
        return tuple(example for example in self.examples if example.mistrusted)

    @property
    def worst(self) -> tuple[CaseReport, Claim] | None:
        """The example and the claim that used most of its tolerance and passed."""
        found = [(e, c) for e in self.examples if (c := e.worst) is not None and c.verdict is Verdict.PASS]
        return max(found, key=lambda pair: pair[1].use, default=None)

    @property
    def exit_code(self) -> int:
        """0 if something was judged and all of it passed; 1 if something failed; 2 if nothing could be judged."""
        if self.mistrusted:
            return 2
        if self.failure is not None:
            return 1
        return 0 if self.counts[Verdict.PASS] else 2


# NumPy's own settings: np.seterr(all="raise") in the target's module would have the oracles' underflows raise.
@np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
def verify_case(
    target: Target,
    case: Case,
    thorough: bool = True,
    properties: tuple[str, ...] | None = None,
    reference: bool = True,
    progress: Callable[[], None] = lambda: None,
    expected: oracles.Expected | None = None,
) -> CaseReport:
    """Return the report on one case.

    Parameters
    ----------
    target, case
        What is judged, on what.
    thorough : bool
        False for the tensors alone.
    properties : tuple of str, optional
        Which properties are asked where the tensors are right. By default two, which depend on the case; without a
        reference all but those of the plain LSTM cell alone.
    reference : bool
        Whether the tensors are compared with the reference's.
    progress : callable
        Called after each round of copies of a large case.
    expected : Expected, optional
        ``oracles.expect(case)``, where many targets are judged on one case.
    """
    # With a reference further parameters are as the target has them: its answer is about a plain LSTM.
    extras = () if reference else target.extras
    case = case if case.extras == extras else replace(case, extras=extras)
    report = _verify_case(target, case, thorough, properties, reference, progress, expected)
    return replace(report, reference=reference)


def _verify_case(
    target: Target,
    case: Case,
    thorough: bool,
    properties: tuple[str, ...] | None,
    reference: bool,
    progress: Callable[[], None],
    expected: oracles.Expected | None,
) -> CaseReport:
    """Return the report, which does not know yet whether there was a reference."""
    if case.dtype not in target.dtypes:
        return _unsupported(case, f"{case.dtype}: the target computes in {', '.join(target.dtypes)}")
    if reference and target.foreign:
        return _unsupported(case, target.foreign)
    lacking = can_run(target, case.arrays)
    if lacking:
        return _unsupported(case, f"{lacking}, which this case needs")
    arrays = case.arrays.copy()
    # A target in another process is at work while the reference is.
    over_other_values = begin_over_other_values(target, arrays, case) if thorough else Outcome
    call = begin(target, arrays, case.sequences)
    if reference and expected is None:
        expected = oracles.expect(case, progress)
    earlier, outcome = over_other_values(), call()
    if expected is None:
        claims, expected = _form_claims(target, case, outcome)
        if expected is None:
            return CaseReport(case, tuple(claims))
    else:
        claims = _tensor_claims(target, case, outcome, expected)
    notes: tuple[str, ...] = ()
    if thorough:
        claims.append(_inputs_kept(arrays, case, outcome))
        more, notes = _after_another_call(target, case, outcome, expected, claims, earlier)
        claims += [*more, _outputs_kept(overwritten(earlier, outcome))]
        if any(map(_unanswered, claims)):
            return CaseReport(case, tuple(claims), notes)  # each further call might take as long
        wrong = any(c.verdict is Verdict.FAIL for c in claims if is_tensor(c.name))
        claims += [*_check_grads(target, case, outcome, expected, claims)]
        claims += _oracle_claims(case, expected) if reference else []
        if properties is None:
            properties = properties_of.rotation(case) if reference else properties_of.GENERAL
        # A large case's properties would take as many passes again as the case itself.
        claims += (
            []
            if wrong or case.size > tolerance.LARGE
            else properties_of.property_claims(target, case, outcome, expected, properties)
        )
    return CaseReport(case, tuple(claims), notes)


def _form_claims(target: Target, case: Case, outcome: Outcome) -> tuple[list[Claim], OwnExpected | None]:
    """Return the claim that all tensors have the right form, and the target's own answer as what is expected."""
    if outcome.error:
        return [_no_answer(outcome)], None
    try:
        values = checked(target, outcome.values, case.arrays, case.sequences)
        expected = own_expected(target, case.arrays, values, case.sequences, case.seed)
    except BrokenAnswerError as error:
        message = f"called with a problem next to the case, {error}"
        return [*error.claims] or [Claim("h", Verdict.FAIL, np.inf, Discrepancy("h", error.kind, message))], None
    lacking = [Claim(name, Verdict.UNSUPPORTED) for name in TENSORS if name in target.lacks]
    return [*lacking, Claim(FORM, Verdict.PASS)], expected


def _unsupported(case: Case, reason: str) -> CaseReport:
    """Return the report on a case that the target cannot be asked."""
    return CaseReport(case, tuple(Claim(name, Verdict.UNSUPPORTED, reason=reason) for name in TENSORS))


def _tensor_claims(target: Target, case: Case, outcome: Outcome, expected: oracles.Expected) -> list[Claim]:
    """Return the claims about h, Cn and the gradients."""
    return [_no_answer(outcome)] if outcome.error else compare(outcome.values, expected, target, case.dtype)


def _no_answer(outcome: Outcome) -> Claim:
    """Return the claim about h, the first that was asked for, where nothing came but an error."""
    return Claim("h", Verdict.FAIL, np.inf, Discrepancy("h", outcome.kind, outcome.sentence))


def _inputs_kept(arrays: Arrays, case: Case, outcome: Outcome) -> Claim:
    """Return the claim that the target left its inputs and cotangents as they were."""
    before = case.arrays.inputs
    changed = [k for k, value in arrays.inputs.items() if not same_bits(value, before[k])] + list(outcome.written)
    if not changed:
        return Claim(INPUTS_KEPT, Verdict.PASS)
    message = f"the target wrote to its input {', '.join(changed)}, expected all inputs left as they were"
    return Claim(INPUTS_KEPT, Verdict.FAIL, np.inf, Discrepancy(changed[0], "inputs", message))


def _after_another_call(
    target: Target,
    case: Case,
    first: Outcome,
    expected: oracles.Expected,
    claims_before: list[Claim],
    earlier: Outcome,
) -> tuple[list[Claim], tuple[str, ...]]:
    """Return the claims that a second call gives the same, with a call of another shape in between.

    Of that one, and of the `earlier` one over other values, nobody knows what is due; that they give something is.
    """
    if first.error:
        return [], ()
    formed = all(c.discrepancy is None or c.discrepancy.kind in ("value", "finite") for c in claims_before)

    def given(outcome: Outcome, asked: Case, words: str) -> list[Claim]:
        found = Discrepancy("h", outcome.kind, outcome.sentence) if outcome.error else None
        if found is None and formed:
            found = misformed(target, outcome.values, asked.arrays, case.sequences)
        if found is None:
            return []
        message = f"called {words}, {found.message}"
        return [Claim(SECOND_CALL, Verdict.FAIL, np.inf, replace(found, message=message))]

    if failed := given(earlier, case, "over other values"):
        return failed, ()
    other = another_shape(case)
    calls = [begin(target, asked.arrays.copy(), case.sequences, more=asked is other) for asked in (other, case)]
    between, second = (call() for call in calls)
    if failed := given(between, other, f"with {_sizes(other)}"):
        return failed, ()
    claims = [_repeats(_tensor_claims(target, case, second, expected), claims_before)]
    same = all(same_bits(second.values.get(k), v) for k, v in first.values.items() if isinstance(v, np.ndarray))
    return claims, () if same else ("not repeatable: two calls with the same inputs differ in their last bits",)


def _sizes(case: Case) -> str:
    """Return the sizes of a case in words."""
    return " ".join(f"{name}={size}" for name, size in zip("mseu", case.dims, strict=True))


def _outputs_kept(written_to: list[str]) -> Claim:
    """Return the claim that no later call writes to what an earlier one returned."""
    if not written_to:
        return Claim(OUTPUTS_KEPT, Verdict.PASS)
    message = f"a later call wrote to {', '.join(written_to)} returned by an earlier one, expected a fresh array"
    return Claim(OUTPUTS_KEPT, Verdict.FAIL, np.inf, Discrepancy(written_to[0], "outputs", message))


def _repeats(again: list[Claim], before: list[Claim]) -> Claim:
    """Return the claim that a second call is as right as the first."""
    was_right = {claim.name for claim in before if claim.verdict is not Verdict.FAIL}
    wrong = [c for c in again if c.verdict is Verdict.FAIL and c.name in was_right]
    if wrong:
        worst = max(wrong, key=lambda claim: claim.use)
        assert worst.discrepancy is not None
        message = f"after a call of another shape, {worst.discrepancy.message}"
        return replace(worst, name=SECOND_CALL, discrepancy=replace(worst.discrepancy, message=message))
    use = max((c.use for c in again if c.verdict is Verdict.PASS), default=0.0)
    return Claim(SECOND_CALL, Verdict.PASS, use)


def _check_grads(
    target: Target, case: Case, outcome: Outcome, expected: oracles.Expected, claims: list[Claim]
) -> list[Claim]:
    """Return SciPy's judgement of the target's gradient: on its own forward pass, or the reference's in float32."""
    wanted = [f"d{name}" for name in case.arrays.inputs if f"d{name}" not in target.lacks]
    formal = {c.name for c in claims if c.discrepancy is not None and c.discrepancy.kind != "value"}
    if not wanted or formal & {*wanted, *OUTPUTS}:
        return []
    if expected.chaotic(tuple(wanted)):
        return [Claim(CHECK_GRAD, Verdict.INCONCLUSIVE)]
    if isinstance(expected, OwnExpected) and case.dtype != "float64":
        return []

    def together(many: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
        asked = [case.arrays.replaced(**inputs) for inputs in many]
        outcomes = call_forward(target, asked, case.sequences)
        found = [answered(target, outcome, case.arrays, case.sequences, OUTPUTS) for outcome in outcomes]
        return [(values["h"], values["Cn"]) for values in found]

    def forward(inputs: Mapping[str, Any]) -> Any:
        return together([inputs])[0]

    # A float32 function moves in steps larger than SciPy's difference: there the reference's forward pass is taken.
    passes = forward if case.dtype == "float64" else oracles.reference_forward
    fixed = frozenset(name for name in case.arrays.inputs if f"d{name}" in target.lacks)
    size = sum(outcome.values[name].size for name in wanted)
    directions = {CHECK_GRAD: "random"} | ({CHECK_GRAD_ALL: "all"} if size <= tolerance.CHECK_GRAD_ALL else {})
    found = []
    for name, direction in directions.items():
        try:
            at_once = together if passes is forward else None
            judged = oracles.check_grad(passes, outcome.values, case, expected, direction, fixed, at_once)
        except BrokenAnswerError as error:
            message = f"at inputs next to the case's, {error}"
            found.append(Claim(name, Verdict.FAIL, np.inf, Discrepancy(error.tensor, error.kind, message)))
            if error.kind != "error":
                break
            continue
        found.append(_oracle_claim(name, judged, "scipy.optimize.check_grad rejects the target's gradient"))
    return found


def _oracle_claims(case: Case, expected: oracles.Expected) -> list[Claim]:
    """Return the claims about the harness itself: the reference's gradient against two oracles unrelated to it."""
    if expected.chaotic(GRADIENTS):
        return [Claim(name, Verdict.INCONCLUSIVE) for name in OF_HARNESS]
    gradient = {name: expected.values[name] for name in GRADIENTS}
    by_complex_step = oracles.complex_step_disagreement(case, expected)
    by_check_grad = oracles.check_grad(oracles.reference_forward, gradient, case, expected, "random")
    return [
        _oracle_claim(COMPLEX_STEP, by_complex_step, "the complex step disagrees with lstm_ref"),
        _oracle_claim(CHECK_GRAD_REFERENCE, by_check_grad, "scipy.optimize.check_grad rejects lstm_ref's gradient"),
    ]


def _oracle_claim(name: str, judged: oracles.Disagreement, sentence: str) -> Claim:
    """Return the claim that an oracle agrees."""
    if judged.agrees:
        return Claim(name, Verdict.PASS, judged.use)
    message = f"{sentence}: {judged.use:.3g} times what rounding and truncation explain ({judged.where})"
    return Claim(name, Verdict.FAIL, judged.use, Discrepancy(judged.where, "oracle", message))


def draw_options(target: Target, *, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return the options for drawing cases, with what the target lacks left out; few shapes if it compiles for each."""
    if target.compiles:
        options["shapes"] = strategies.few_shapes(options.get("max_dims"), seed)
    cotangents = [c for c in COTANGENTS if not ({CN, DCN} & target.lacks and "C" in c.split("+"))]
    return {**options, "states": STATES not in target.lacks, "cotangents": cotangents}


def default_dtypes(target: Target, reference: bool = True) -> tuple[tuple[str, ...], CaseReport | None]:
    """Return the dtypes that are judged where none is named, and the report on the call that shows them if it failed.

    They are all that the target takes, by one tiny call in float32: what raises there or answers in another dtype
    computes in float64 alone. What ends its process there, or gives no answer in time, has failed. Without a reference
    it is the first dtype alone: check_grad cannot be asked of a float32 forward pass.
    """
    if not reference or set(target.dtypes) != {"float64", "float32"}:
        return (target.dtypes[:1] if not reference else target.dtypes), None
    cotangents = "every" if {CN, DCN} & target.lacks else "every+h+C"
    case = Case(1, 2, 1, 1, dtype="float32", cotangents=cotangents, states=STATES not in target.lacks)
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    if outcome.kind in (TIMEOUT, ENDED):
        return target.dtypes, CaseReport(case, (_no_answer(outcome),))
    single = not outcome.error and getattr(outcome.values.get("h"), "dtype", None) == np.float32
    return (target.dtypes if single else ("float64",)), None


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
    progress: Callable[[], None] = lambda: None,
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
    properties, reference
        See `verify_case`.
    progress : callable
        Called after each example.
    """
    start = time.perf_counter()
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
    for case in origins:
        found[case] = found.get(case) or verify_case(target, case, properties=properties, reference=reference)
        progress()
        if found[case].timed_out:
            break
    groups, unexplained = explain_run(target, tuple(found.values()), origins, options)
    reachable = strategies.reachable_strata(**options)
    unreachable = tuple(name for name in STRATA if name not in reachable)
    seconds = time.perf_counter() - start
    failure = groups[0] if groups else None
    return Report(
        target, tuple(found.values()), failure, seed, seconds, unreachable, reference, groups[1:], unexplained
    )


def most_telling(failed: list[CaseReport]) -> CaseReport | None:
    """Return the first report in which a tensor is wrong, since that says most of what is; else the first.

    One in float64 where there is one, since more digits tell more.
    """

    def rank(report: CaseReport) -> tuple[bool, bool]:
        return not is_tensor(report.failures[0].name), report.case.dtype != "float64"

    return min(failed, key=rank, default=None)


LATER = "a property or a later call alone"

GROUPS = 3
"""How many groups of failures are explained; what more there is, is said."""

COUNTED = 100
"""On how many failing examples a suspect is tried, at most."""


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
    while left and len(told) < GROUPS:
        telling = _next_to_explain(target, left, told)
        if telling is None:
            break
        report = explain_simplest(
            target, telling, origins[telling.case], options, reports, tuple(group.explains for group in told)
        )
        group = _counted(target, report, telling, failed, told)
        if group.alone == len(failed):
            return (group.report,), ()
        told.append(group)
        left = [other for other in left if other is not telling and not group.explains(other)]
        if len(told) > 1:
            # Where what is wrong is wrong in one group or another, they go together.
            shown = frozenset().union(*(known.report.signature for known in told))
            left = [other for other in left if not other.signature <= shown]
    return tuple(group.report for group in told), tuple(largest_first([_bucket(report) for report in left]))


@dataclass(frozen=True)
class _Told:
    """A group of failures that is explained: by which case, by which faults, and what tells whether one is in it."""

    report: CaseReport
    explains: Callable[[CaseReport], bool]
    faults: tuple[Any, ...] | None = None
    alone: int = 0


def _bucket(report: CaseReport) -> Signature:
    """Return what is wrong in an example; all the properties that do not hold where the tensors are right are one."""
    return report.signature if _of_values(report) else frozenset([LATER])


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
        return None
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
    ways = [(report, _ways_to_ask(target, report)) for report in telling[:TRIED_FOR_CHANCE]]
    steady = [any(always(ask, report.case) for ask in asks) for report, asks in ways]
    if all(steady):
        return telling[0]
    believed = (
        report
        for (report, asks), is_steady in zip(ways, steady, strict=True)
        if is_steady and any(always(ask, report.case, 5 * tolerance.RUNS) for ask in asks)
    )
    return next(believed, None)


TRIED_FOR_CHANCE = 3
"""How many failing examples are run again before one is explained."""


def _counted(
    target: Target, report: CaseReport, origin: CaseReport, failed: list[CaseReport], told: list[_Told]
) -> _Told:
    """Return a failure with how many others are wrong in the same tensors, and how many its suspect explains."""
    shown, spread = report.signature, report.signature | origin.signature
    alike = sum(bool(other.signature & shown) for other in failed)
    report = replace(report, stands_for=(alike, len(failed)))
    found = report.diagnosis.suspects if report.diagnosis is not None and report.reference else ()
    tried = [failed[k] for k in sorted({k * len(failed) // COUNTED for k in range(COUNTED)})]
    counted = []
    for named in found:
        faults = faults_of(named)
        explains = _by_faults(target, faults) if faults is not None else None
        count = sum(map(explains, tried)) if explains is not None else None
        # What another case refutes, and no failing example confirms, came so by chance.
        if not (named.refuted and count == 0):
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
        report = replace(report, diagnosis=replace(report.diagnosis, suspects=tuple(suspects)))
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
        again = verify_case(fault_target(*faults), case, properties=properties)
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

    def asked(thorough: bool) -> Callable[[Case], CaseReport]:
        return lambda case: verify_case(target, case, thorough, _failed_properties(failed), failed.reference)

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
        if report.reference and not repeatable(observe(target, report.case)):
            # What a target keeps of its calls is told best before many more are made.
            found = diagnose(target, report.case, work, wrong)
        report = replace(report, pattern=_pattern(target, report, evidence, options))
        ruled = report.pattern.startswith(WHERE)
        if not ruled and not any(always(ask, report.case, tolerance.RUNS_OF_NO_RULE) for ask in ways):
            # Verdicts that follow no rule may be chance, seldom though it be that the case passes.
            chance = _chance(target, report, evidence, tolerance.RUNS_OF_NO_RULE)
            return replace(report, chance=chance, pattern="") if chance else report
        if report.reference:
            found = found or diagnose(target, report.case, work, wrong, ruled)
        return replace(report, diagnosis=found)
    except Exception as error:
        # The failure stands, whatever becomes of its explanation.
        broken = f"not looked for to the end, by a fault of lstm-checks: {type(error).__name__}: {error}"
        return replace(report, diagnosis=Diagnosis(where=(broken,)))


def _pattern(
    target: Target, report: CaseReport, evidence: tuple[CaseReport, ...], options: Mapping[str, Any] | None
) -> str:
    """Return by which rule cases fail, where one holds; else for how many other values this one passes."""
    thorough, properties = not is_tensor(report.failures[0].name), _failed_properties(report)
    known = {other.case: found for other in evidence if (found := _fails_so(other, report.signature)) is not None}

    def fails(case: Case) -> bool | None:
        again = verify_case(target, case, thorough, properties, report.reference)
        return _fails_so(again, report.signature)

    rule = find_rule(fails, report.case, known, _domain(target, report, tuple(known), options))
    return str(rule) if rule is not None else describe_values(fails, report.case)


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
    dims = drawn.get("max_dims") or strategies.MAX_DIMS
    largest = tuple(max(sizes) for sizes in zip(dims, *(c.dims for c in (case, *known)), strict=True))
    shapes: tuple[tuple[int, int, int, int], ...] = ()
    if target.compiles:
        smaller = {tuple(max(n - (k == axis), 1) for k, n in enumerate(case.dims)) for axis in range(4)}
        shapes = tuple({c.dims for c in known} or smaller | {case.dims})  # type: ignore[arg-type]
    return Domain(
        largest,
        tuple(sorted({c.dtype for c in (case, *known)})),
        tuple(dict.fromkeys((*drawn.get("regimes", regimes), case.regime))),
        tuple(drawn["cotangents"]),
        bool(drawn["states"]),
        shapes,
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
    properties = _failed_properties(report)
    expected: dict[Case, oracles.Expected] = {}

    def asked(thorough: bool) -> Callable[[Case], bool]:
        def fails(case: Case) -> bool:
            if report.reference and case not in expected and not can_run(target, case.arrays):
                expected.clear()
                expected[case] = oracles.expect(case)
            again = verify_case(target, case, thorough, properties, report.reference, expected=expected.get(case))
            return bool(again.failures) and not again.unanswered

        return fails

    # If no tensor is wrong, it takes the further calls to see the failure.
    return [asked(thorough) for thorough in ((False, True) if is_tensor(report.failures[0].name) else (True,))]


def _failed_properties(report: CaseReport) -> tuple[str, ...]:
    """Return the names of the properties that do not hold."""
    return tuple(claim.name for claim in report.failures if claim.name in PROPERTIES)
