"""The promise at a glance: over shapes drawn by Hypothesis, two layers that share no code match each other.

And each agrees with scipy.optimize.check_grad and with the complex step of the forward pass.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_fast
import lstm_ref
from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import PLAIN, Target
from lstm_checks.oracles.check_grad import check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.oracles.objective import reference_forward
from lstm_checks.strategies import cases
from lstm_checks.targets.layer import from_layer

LAYERS = {"lstm_ref": from_layer(lstm_ref.LSTM), "lstm_fast": from_layer(lstm_fast.LSTM)}
CASES = cases(dtypes=("float64", "float32"))
both_layers = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


@settings(max_examples=100)
@given(case=CASES)
def test_the_two_layers_gradients_match_each_other(case: Case) -> None:
    expected = expect(case)
    ref, fast = (call_target(layer, case.arrays, case.sequences) for layer in LAYERS.values())
    assert not ref.error
    assert not fast.error
    due = expected.as_returned(ref.last_step, case.cell)
    for names in (PLAIN.outputs, PLAIN.gradients):
        if not expected.chaotic(names):
            for name in names:
                sd = due.sd[name]
                difference = np.abs(np.float64(ref.values[name]) - np.float64(fast.values[name]))
                assert np.all(difference <= tolerance.accepted(np.sqrt(2) * sd, case.dtype)), name


@both_layers
@settings(max_examples=40)
@given(case=CASES)
def test_each_layer_matches_the_reference_equations_under_monte_carlo_arithmetic(layer: Target, case: Case) -> None:
    expected = expect(case)
    outcome = call_target(layer, case.arrays, case.sequences)
    due = expected.as_returned(outcome.last_step, case.cell)
    for claim in compare(outcome.values, due, layer, case.dtype):
        assert claim.verdict is not Verdict.FAIL, claim.discrepancy


@both_layers
@settings(max_examples=40)
@given(case=cases(), direction=st.sampled_from(["random", "all"]))
def test_each_layer_agrees_with_scipy_check_grad(layer: Target, case: Case, direction: str) -> None:
    if direction == "all":
        case = Case(
            min(case.m, 3), min(case.s, 3), min(case.e, 3), min(case.u, 3), "float64", case.regime, seed=case.seed
        )
    expected = expect(case)
    if expected.chaotic(PLAIN.gradients):
        return

    def forward(inputs):  # type: ignore[no-untyped-def]
        return layer.call(inputs, case.sequences)[0]

    outcome = call_target(layer, case.arrays, case.sequences)
    due = expected.as_returned(outcome.last_step, case.cell)
    judged = check_grad(forward, outcome.values, case, due, direction)
    assert judged.agrees, judged


@both_layers
@settings(max_examples=40)
@given(case=cases())
def test_each_layer_agrees_with_the_complex_step(layer: Target, case: Case) -> None:
    expected = expect(case)
    if expected.chaotic(PLAIN.gradients):
        return
    outcome = call_target(layer, case.arrays, case.sequences)
    values = {name: np.float64(outcome.values[name]) for name in PLAIN.gradients}
    judged = complex_step_disagreement(case, Expected(values, expected.sd, case.dtype))
    # The layer's rounding and the reference's are each within their 6 sd.
    assert judged.use <= 1.5, judged


def test_where_gradients_explode_check_grad_does_not_blame_the_right_one():
    """Here the function bends within less than one of SciPy's steps; steps forward and longer than it missed that."""
    case = Case.parse("m7s58e2u9-float64-x10-every+h-nostates-seed27254")
    expected = expect(case)
    gradient = {name: expected.values[name] for name in PLAIN.gradients}
    assert check_grad(reference_forward(case.cell), gradient, case, expected, "random").agrees
