"""A target and a case make a CaseReport: the target is called, and each claim about it is judged.

It is called four times: over arrays that hold other values, so that nothing it remembers of them can help; for its
answer; with another shape; and again for its answer. Then come the properties' own calls. Without a reference the
target's own answer stands in for what is expected, and only the properties and check_grad judge it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking import claims as asking
from lstm_checks.calling import (
    FourCalls,
    Outcome,
    call_many,
    can_run,
    overwritten,
    same_bits,
)
from lstm_checks.cases import Case
from lstm_checks.compare import Claim, Discrepancy, Verdict, compare
from lstm_checks.contract import Target
from lstm_checks.formats import is_low
from lstm_checks.judging.reports import (
    CHECK_GRAD,
    CHECK_GRAD_ALL,
    CHECK_GRAD_REFERENCE,
    COMPLEX_STEP,
    FORM,
    INPUTS_KEPT,
    OF_HARNESS,
    OUTPUTS_KEPT,
    PROPERTIES,
    SECOND_CALL,
    TOGETHER,
    CaseReport,
    is_tensor,
    is_unanswered,
)
from lstm_checks.oracles.check_grad import check_grad, reference_check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.oracles.objective import Forward, reference_forward
from lstm_checks.oracles.together import Projection, Spread
from lstm_checks.properties import claims as properties_of
from lstm_checks.properties.noise import BrokenAnswerError, OwnExpected, answered, checked, misformed, own_expected

Due = Expected | Callable[[], Expected | None] | None
"""What is due for a case, or what says it later."""


# NumPy's own settings: np.seterr(all="raise") in the target's module would have the oracles' underflows raise.
@np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
def verify_case(
    target: Target,
    case: Case,
    thorough: bool = True,
    properties: tuple[str, ...] | None = None,
    reference: bool = True,
    progress: Callable[[], None] = lambda: None,
    expected: Due = None,
    repeat: int = 0,
) -> CaseReport:
    """Return the report on one case.

    Parameters
    ----------
    target, case
        What is judged, on what.
    thorough : bool
        False for the tensors alone.
    properties : tuple of str, optional
        Which properties and which questions of `lstm_checks.asking` are asked where the tensors are right. By default
        two of each, which depend on the case; without a reference all properties but those of the cell's own equations.
    reference : bool
        Whether the tensors are compared with the reference's.
    progress : callable
        Called after each round of copies of a large case.
    expected : Expected or callable, optional
        ``expect(case)``, where many targets are judged on one case; or what returns that, or None, once the target has
        been asked.
    repeat : int
        How many calls with the same inputs are compared at least; more than two where these differ.
    """
    case = of_target(target, case, reference)
    report = _verify_case(target, case, thorough, properties, reference, progress, expected, repeat)
    return replace(report, reference=reference, declared=target.declared, min_dims=target.limits.min_dims)


def of_target(target: Target, case: Case, reference: bool = True) -> Case:
    """Return the case of a target's cell, with what it lacks absent."""
    # With a reference further parameters are as the target has them: its answer is about a plain LSTM.
    extras = () if reference else target.extras
    if (case.extras, case.cell, case.absent) != (extras, target.cell, target.absent):
        case = replace(case, extras=extras, cell=target.cell, absent=target.absent)
    return case


def _verify_case(
    target: Target,
    case: Case,
    thorough: bool,
    properties: tuple[str, ...] | None,
    reference: bool,
    progress: Callable[[], None],
    expected: Due,
    repeat: int,
) -> CaseReport:
    """Return the report, which does not know yet whether there was a reference."""
    if not target.takes(case.dtype):
        return _unsupported(case, f"{case.dtype}: the target computes in {', '.join(target.dtypes)}")
    if is_low(case.dtype) and not reference:
        return _unsupported(case, f"{case.dtype}: without a reference the noise of low precision cannot be told")
    if reference and target.foreign:
        return _unsupported(case, target.foreign)
    lacking = can_run(target, case.arrays)
    if lacking:
        return _unsupported(case, f"{lacking}, which this case needs")
    calls = FourCalls(target, case, thorough)
    # A target elsewhere is at work from here on, and all that needs no answer of it is done meanwhile.
    if callable(expected):
        expected = expected()
    if reference and expected is None:
        expected = expect(case, progress)
    of_harness = list[Claim]()
    if reference and thorough and expected is not None and not expected.out_of_dtype:
        of_harness = _oracle_claims(case, expected)
    earlier, outcome = calls.earlier, calls.answer
    if expected is not None:
        expected = expected.as_returned(outcome.last_step, target.cell)
        if target.rounds != 1:
            expected = replace(expected, sigmas=expected.sigmas * target.rounds)
    if expected is None:
        claims, expected = _form_claims(target, case, outcome)
        if expected is None:
            return CaseReport(case, tuple(claims))
    else:
        claims = _tensor_claims(target, case, outcome, expected)
    notes, projections = tuple[str, ...](), tuple[Projection | Spread, ...]()
    if expected.together is not None and not outcome.error and not expected.out_of_dtype:
        claim, projections = _together(outcome.values, expected, claims)
        claims.append(claim)
    if thorough and not expected.out_of_dtype:
        claims.append(_inputs_kept(calls.written))
        more, notes = _after_another_call(calls, expected, claims)
        claims += [*more, _outputs_kept(overwritten(earlier, outcome))]
        if any(map(is_unanswered, claims)):
            return CaseReport(case, tuple(claims), notes)  # each further call might take as long
        wrong = any(c.verdict is Verdict.FAIL for c in claims if is_tensor(c.name))
        claims += [*_check_grads(target, case, outcome, expected, claims)]
        claims += of_harness
        if properties is None:
            properties = properties_of.rotation(case) if reference else properties_of.GENERAL
            properties += asking.rotation(target, case)
        # A large case's properties would take as many passes again as the case itself.
        if not wrong and case.size <= tolerance.LARGE:
            related = [name for name in properties if name in PROPERTIES]
            claims += properties_of.property_claims(target, case, outcome, expected, related)
            if reference or case.regime in properties_of.OWN_REGIMES:
                claims += asking.asked_claims(target, case, outcome, expected, properties)
                claims += asking.repeat_claims(target, case, outcome, calls.again[1], expected, repeat)
        claims += asking.learning_claims(target)
    return CaseReport(case, tuple(claims), notes, together=projections)


def judge_values(target: Target, case: Case, values: Mapping[str, Any], expected: Expected) -> CaseReport:
    """Return the report of what a target gave on a case, its values alone: of their form, entry by entry, together."""
    claims, projections = compare(values, expected, target, case.dtype), tuple[Projection | Spread, ...]()
    if expected.together is not None and not expected.out_of_dtype:
        claim, projections = _together(values, expected, claims)
        claims.append(claim)
    return CaseReport(case, tuple(claims), together=projections)


def _together(
    values: Mapping[str, Any], expected: Expected, claims: list[Claim]
) -> tuple[Claim, tuple[Projection | Spread, ...]]:
    """Return the claim about what many entries say together, and what can be added up over examples."""
    assert expected.together is not None
    judged = [
        claim.name
        for claim in claims
        if claim.verdict in (Verdict.PASS, Verdict.VACUOUS) or (claim.verdict is Verdict.INCONCLUSIVE and claim.use)
    ]
    of = expected.together
    found: list[Projection | Spread] = [*of.project(values, judged), *of.spreads(values, judged)]
    if not found:
        return Claim(TOGETHER, Verdict.INCONCLUSIVE, reason="no tensor is clear of rounding"), ()
    worst = max(found, key=lambda one: np.nan_to_num(one.use, nan=np.inf))
    kept = tuple(one for one in found if one.every)
    if worst.use <= 1:
        return Claim(TOGETHER, Verdict.PASS, worst.use), kept
    message = f"{worst.sentence}, by all entries together: {worst.accepted}"
    return Claim(TOGETHER, Verdict.FAIL, worst.use, Discrepancy(judged[0], "together", message)), kept


def _form_claims(target: Target, case: Case, outcome: Outcome) -> tuple[list[Claim], OwnExpected | None]:
    """Return the claim that all tensors have the right form, and the target's own answer as what is expected."""
    if outcome.error:
        return [no_answer(outcome)], None
    try:
        values = checked(target, outcome, case.arrays, outcome.last_step)
        expected = own_expected(target, case.arrays, values, case.sequences, case.seed, outcome.last_step)
    except BrokenAnswerError as error:
        message = f"called with a problem next to the case, {error}"
        return [*error.claims] or [Claim("h", Verdict.FAIL, np.inf, Discrepancy("h", error.kind, message))], None
    lacking = [Claim(name, Verdict.UNSUPPORTED) for name in target.cell.tensors if name in target.lacks]
    return [*lacking, Claim(FORM, Verdict.PASS)], expected


def _unsupported(case: Case, reason: str) -> CaseReport:
    """Return the report on a case that the target cannot be asked."""
    return CaseReport(case, tuple(Claim(name, Verdict.UNSUPPORTED, reason=reason) for name in case.cell.tensors))


def _tensor_claims(target: Target, case: Case, outcome: Outcome, expected: Expected) -> list[Claim]:
    """Return the claims about h, Cn and the gradients."""
    return [no_answer(outcome)] if outcome.error else compare(outcome.values, expected, target, case.dtype)


def no_answer(outcome: Outcome) -> Claim:
    """Return the claim about h, the first that was asked for, where nothing came but an error."""
    return Claim("h", Verdict.FAIL, np.inf, Discrepancy("h", outcome.kind, outcome.sentence))


def _inputs_kept(changed: tuple[str, ...]) -> Claim:
    """Return the claim that the target left its inputs and cotangents as they were."""
    if not changed:
        return Claim(INPUTS_KEPT, Verdict.PASS)
    message = f"the target wrote to its input {', '.join(changed)}, expected all inputs left as they were"
    return Claim(INPUTS_KEPT, Verdict.FAIL, np.inf, Discrepancy(changed[0], "inputs", message))


def _after_another_call(
    calls: FourCalls, expected: Expected, claims_before: list[Claim]
) -> tuple[list[Claim], tuple[str, ...]]:
    """Return the claims that a second call gives the same, with a call of another shape in between.

    Of that one, and of the `earlier` one over other values, nobody knows what is due; that they give something is.
    """
    target, case, first = calls.target, calls.case, calls.answer
    if first.error:
        return [], ()
    formed = all(c.discrepancy is None or c.discrepancy.kind in ("value", "finite") for c in claims_before)

    def given(outcome: Outcome, asked: Case, words: str) -> list[Claim]:
        found = Discrepancy("h", outcome.kind, outcome.sentence) if outcome.error else None
        if found is None and formed:
            found = misformed(target, outcome, asked.arrays)
            # Activations that are not bounded may lead out of the dtype from other values.
            if found is not None and found.kind == "finite" and case.cell.activations:
                return []
        if found is None:
            return []
        message = f"called {words}, {found.message}"
        return [Claim(SECOND_CALL, Verdict.FAIL, np.inf, replace(found, message=message))]

    if failed := given(calls.earlier, case, "over other values"):
        return failed, ()
    between, second = calls.again
    if failed := given(between, calls.between, f"with {calls.between.sizes_in_words}"):
        return failed, ()
    claims = [_repeats(_tensor_claims(target, case, second, expected), claims_before)]
    same = all(same_bits(second.values.get(k), v) for k, v in first.values.items() if isinstance(v, np.ndarray))
    return claims, () if same else ("not repeatable: two calls with the same inputs differ in their last bits",)


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


def _check_grads(target: Target, case: Case, outcome: Outcome, expected: Expected, claims: list[Claim]) -> list[Claim]:
    """Return SciPy's judgement of the target's gradient: on its own forward pass, or the reference's in float32."""
    wanted = [f"d{name}" for name in case.arrays.inputs if f"d{name}" not in target.lacks]
    formal = {c.name for c in claims if c.discrepancy is not None and c.discrepancy.kind != "value"}
    if not wanted or formal & {*wanted, *target.cell.outputs}:
        return []
    if expected.chaotic(tuple(wanted)):
        return [Claim(CHECK_GRAD, Verdict.INCONCLUSIVE)]
    if isinstance(expected, OwnExpected) and case.dtype != "float64":
        return []

    def together(many: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        asked = [case.arrays.replaced(**inputs) for inputs in many]
        outcomes = call_many(target, asked, case.sequences, backward=False)
        last_step, names = expected.last_step, target.cell.outputs
        return [answered(target, outcome, case.arrays, last_step, names) for outcome in outcomes]

    def forward(inputs: Mapping[str, Any]) -> Any:
        return together([inputs])[0]

    # A float32 function moves in steps larger than SciPy's difference: there the reference's forward pass is taken.
    passes = forward if case.dtype == "float64" else _reference(case, expected.last_step)
    fixed = frozenset(name for name in case.arrays.inputs if f"d{name}" in target.lacks)
    size = sum(outcome.values[name].size for name in wanted)
    directions = {CHECK_GRAD: "random"} | ({CHECK_GRAD_ALL: "all"} if size <= tolerance.CHECK_GRAD_ALL else {})
    found = []
    for name, direction in directions.items():
        try:
            at_once = together if passes is forward else None
            judged = check_grad(passes, outcome.values, case, expected, direction, fixed, at_once)
        except BrokenAnswerError as error:
            message = f"at inputs next to the case's, {error}"
            found.append(Claim(name, Verdict.FAIL, np.inf, Discrepancy(error.tensor, error.kind, message)))
            if error.kind != "error":
                break
            continue
        found.append(_oracle_claim(name, judged, "scipy.optimize.check_grad rejects the target's gradient"))
    return found


def _reference(case: Case, last_step: bool) -> Forward:
    """Return the reference's forward pass, with h of the last step alone where a target returned that."""
    whole, hidden = reference_forward(case.arrays.cell), case.cell.outputs[0]

    def last(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        outputs = whole(inputs)
        return {**outputs, hidden: outputs[hidden][..., -1, :]}

    return last if last_step else whole


def _oracle_claims(case: Case, expected: Expected) -> list[Claim]:
    """Return the claims about the harness itself: the reference's gradient against two oracles unrelated to it."""
    cell = case.cell
    if expected.chaotic(cell.gradients):
        return [Claim(name, Verdict.INCONCLUSIVE) for name in OF_HARNESS]
    by_complex_step = expected.by_complex_step or complex_step_disagreement(case, expected)
    by_check_grad = expected.by_check_grad or reference_check_grad(case, expected)
    return [
        _oracle_claim(COMPLEX_STEP, by_complex_step, "the complex step disagrees with lstm_ref"),
        _oracle_claim(CHECK_GRAD_REFERENCE, by_check_grad, "scipy.optimize.check_grad rejects lstm_ref's gradient"),
    ]


def _oracle_claim(name: str, judged: Disagreement, sentence: str) -> Claim:
    """Return the claim that an oracle agrees."""
    if judged.undecided:
        return Claim(name, Verdict.INCONCLUSIVE, reason=judged.undecided)
    if judged.agrees:
        return Claim(name, Verdict.PASS, judged.use)
    message = f"{sentence}: {judged.use:.3g} times what rounding and truncation explain ({judged.where})"
    return Claim(name, Verdict.FAIL, judged.use, Discrepancy(judged.where, "oracle", message))
