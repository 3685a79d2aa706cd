"""The only orchestrator: a target and a case make a CaseReport, a target and a number of examples a Report.

For each case the target is called four times: over arrays that hold other values, so that nothing it remembers of them
can help; for its answer; with another shape; and again for its answer. Then come the properties' own calls. Without a
reference the target's own answer stands in for what is expected, and only the properties and check_grad judge it.

Called from Python, the target runs in this process, unless it is one of `checks.remote`: it can then end the process
with any exit code, hang in compiled code, or replace what judges it. The commands judge it from another process.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from checks import oracles, strategies, tolerance
from checks.calling import (
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
from checks.cases import COTANGENTS, REGIMES, STRATA, Arrays, Case, strata
from checks.compare import ENDED, TIMEOUT, Claim, Discrepancy, Verdict, compare
from checks.contract import (
    CN,
    DCN,
    GRADIENTS,
    INPUTS,
    OUTPUTS,
    STATES,
    Target,
)
from checks.diagnose import Diagnosis, describe_sizes, diagnose
from checks.properties import claims as properties_of
from checks.properties.noise import BrokenAnswerError, OwnExpected, answered, checked, misformed, own_expected

SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT = "second call", "inputs kept", "outputs kept"
CHECK_GRAD, CHECK_GRAD_ALL = "check_grad", "check_grad, every entry"
COMPLEX_STEP, CHECK_GRAD_REFERENCE = "lstm_ref against complex step", "lstm_ref against check_grad"
FORM = "form"
TENSORS = (*OUTPUTS, *GRADIENTS)
OF_HARNESS = (COMPLEX_STEP, CHECK_GRAD_REFERENCE)
PROPERTIES = properties_of.NAMES
CLAIMS = (
    *(*TENSORS, FORM, SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT),
    *(CHECK_GRAD, CHECK_GRAD_ALL, *OF_HARNESS, *PROPERTIES),
)


def is_tensor(name: str) -> bool:
    """Return whether a claim of that name is about the values of a tensor; whatever a target adds is one."""
    return name in TENSORS or name not in CLAIMS


@dataclass(frozen=True)
class CaseReport:
    """What is said of a target on one case.

    `pattern` says which sizes a failure takes and `diagnosis` what is wrong, where that was looked into; `reference` is
    whether one was used.
    """

    case: Case
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()
    pattern: str = ""
    reference: bool = True
    diagnosis: Diagnosis | None = None

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
        return any(c.discrepancy is not None and c.discrepancy.kind in (TIMEOUT, ENDED) for c in self.claims)

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
        return [Claim("h", Verdict.FAIL, np.inf, Discrepancy("h", outcome.kind, outcome.sentence))], None
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
    if outcome.error:
        found = Discrepancy("h", outcome.kind, outcome.sentence)
        return [Claim("h", Verdict.FAIL, np.inf, found)]
    return compare(outcome.values, expected, target, case.dtype)


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
    other = another_shape(case)
    calls = [begin(target, asked.arrays.copy(), case.sequences, more=asked is other) for asked in (other, case)]
    between, second = (call() for call in calls)
    formed = all(c.discrepancy is None or c.discrepancy.kind in ("value", "finite") for c in claims_before)
    for outcome, asked, words in ((earlier, case, "over other values"), (between, other, f"with {_sizes(other)}")):
        found = Discrepancy("h", outcome.kind, outcome.sentence) if outcome.error else None
        if found is None and formed:
            found = misformed(target, outcome.values, asked.arrays, case.sequences)
        if found is not None:
            message = f"called {words}, {found.message}"
            return [Claim(SECOND_CALL, Verdict.FAIL, np.inf, replace(found, message=message))], ()
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
    wanted = [name for name in GRADIENTS if name not in target.lacks]
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
    fixed = frozenset(name for name in INPUTS if "d" + name in target.lacks)
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


def default_dtypes(target: Target, reference: bool = True) -> tuple[str, ...]:
    """Return the dtypes that are judged where none is named: all that the target takes, by one tiny call in float32.

    What raises there or answers in another dtype computes in float64 alone. Without a reference it is the first alone:
    check_grad cannot be asked of a float32 forward pass.
    """
    if not reference or set(target.dtypes) != {"float64", "float32"}:
        return target.dtypes[:1] if not reference else target.dtypes
    cotangents = "every" if {CN, DCN} & target.lacks else "every+h+C"
    case = Case(1, 2, 1, 1, dtype="float32", cotangents=cotangents, states=STATES not in target.lacks)
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    single = not outcome.error and getattr(outcome.values.get("h"), "dtype", None) == np.float32
    return target.dtypes if single else ("float64",)


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
        Largest (m, s, e, u) drawn. By default `checks.strategies.MAX_DIMS`, and up to 129 past the edges of blocks.
    regimes : tuple of str
        The value regimes to draw from; without a reference those of `checks.properties.claims.OWN_REGIMES`. "large",
        which is not drawn unless it is named, is of more than 65536 rows.
    properties, reference
        See `verify_case`.
    progress : callable
        Called after each example.
    """
    start = time.perf_counter()
    if not reference:
        regimes = tuple(regime for regime in regimes if regime in properties_of.OWN_REGIMES)
    dtypes = default_dtypes(target, reference) if dtypes is None else dtypes
    options = draw_options(target, seed=seed, dtypes=dtypes, max_dims=max_dims, regimes=regimes)
    found: dict[Case, CaseReport] = {}
    origins = strategies.draw_cases(examples, seed, **options)
    for case in origins:
        found[case] = verify_case(target, case, properties=properties, reference=reference)
        progress()
        if found[case].timed_out:
            break
    failed = most_telling([report for report in found.values() if report.failures])
    failure = explain_simplest(target, failed, origins[failed.case], options) if failed else None
    reachable = strategies.reachable_strata(**options)
    unreachable = tuple(name for name in STRATA if name not in reachable)
    seconds = time.perf_counter() - start
    return Report(target, tuple(found.values()), failure, seed, seconds, unreachable, reference)


def most_telling(failed: list[CaseReport]) -> CaseReport | None:
    """Return the first report in which a tensor is wrong, since that says most of what is; else the first.

    One in float64 where there is one, since more digits tell more.
    """

    def rank(report: CaseReport) -> tuple[bool, bool]:
        return not is_tensor(report.failures[0].name), report.case.dtype != "float64"

    return min(failed, key=rank, default=None)


def explain_simplest(
    target: Target, failed: CaseReport, origin: strategies.Origin, options: Mapping[str, Any]
) -> CaseReport:
    """Return the report on the simplest case that fails as one did."""
    if failed.unanswered:
        return failed
    simplest = strategies.shrink(_fails_alike(target, failed), origin, failed.case, **options)
    report = verify_case(target, simplest, properties=_failed_properties(failed) or None, reference=failed.reference)
    return explain(target, report if report.failures else failed)


def explain(target: Target, report: CaseReport) -> CaseReport:
    """Return the report on a failed case with the sizes that matter and what is wrong; a large one is left as it is."""
    if report.unanswered or report.case.size > tolerance.LARGE:
        return report
    try:
        report = replace(report, pattern=describe_sizes(_fails_alike(target, report), report.case))
        return replace(report, diagnosis=diagnose(target, report.case)) if report.reference else report
    except Exception as error:
        # The failure stands, whatever becomes of its explanation.
        broken = f"not looked for to the end, by a fault of lstm-checks: {type(error).__name__}: {error}"
        return replace(report, diagnosis=Diagnosis(where=(broken,)))


def _fails_alike(target: Target, report: CaseReport) -> Callable[[Case], bool]:
    """Return whether another case fails, too; asked about the tensors alone where one of them is wrong."""
    # If none is, it takes the further calls to see the failure.
    thorough, properties = not is_tensor(report.failures[0].name), _failed_properties(report)

    def fails(case: Case) -> bool:
        found = verify_case(target, case, thorough, properties, report.reference)
        return bool(found.failures) and not found.unanswered

    return fails


def _failed_properties(report: CaseReport) -> tuple[str, ...]:
    """Return the names of the properties that do not hold."""
    return tuple(claim.name for claim in report.failures if claim.name in PROPERTIES)
