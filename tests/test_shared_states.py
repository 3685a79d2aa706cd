"""Initial states that all samples share, as where they are learned: (1, u), and their gradient a sum over samples."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.faults.catalogue import faults_of, find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.strategies import cases
from lstm_checks.targets.function import from_function
from lstm_ref.cell import sharing
from lstm_ref.cells import cell_named

right = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "vjp_function.py"))["lstm"]
SHARED = cell_named("plain+h0+C0")


def learned(p, X, h0, C0):
    """The right LSTM with initial states that are parameters, (1, u) each."""
    assert (len(h0), len(C0)) == (1, 1)
    outputs, pullback = right(p, X, np.repeat(h0, len(X), axis=0), np.repeat(C0, len(X), axis=0))

    def pull(dh, dCn):
        found = pullback(dh, dCn)
        return found | {name: found[name].sum(axis=0, keepdims=True) for name in ("dh0", "dC0")}

    return outputs, pull


def first_alone(p, X, h0, C0):
    outputs, _ = learned(p, X, h0, C0)
    _, pullback = right(p, X, np.repeat(h0, len(X), axis=0), np.repeat(C0, len(X), axis=0))

    def pull(dh, dCn):
        found = pullback(dh, dCn)
        return found | {name: found[name][:1] for name in ("dh0", "dC0")}

    return outputs, pull


def test_a_right_function_with_learned_states_passes():
    report = verify(from_function(learned, "it", SHARED), examples=30)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert report.claim_counts["dh0"][Verdict.PASS] > 10
    assert report.claim_counts["batch split"][Verdict.PASS] > 0


def test_a_function_that_takes_the_states_of_one_alone_is_found_out_and_one_that_sums_is_not():
    target = from_function(learned)
    assert target.cell is SHARED
    assert verify_case(target, Case(3, 2, 2, 3, seed=1)).verdict is Verdict.PASS

    def summed(p, X, h0, C0):
        outputs, pullback = right(p, X, h0, C0)
        return outputs, lambda *given: {
            n: v.sum(0, keepdims=True) if n == "dh0" else v for n, v in pullback(*given).items()
        }

    assert from_function(summed).cell is PLAIN
    assert {c.name for c in verify_case(from_function(summed), Case(3, 2, 2, 3, seed=1)).failures} >= {"dh0"}


def test_one_whose_gradient_is_the_first_samples_fails():
    wrong = verify_case(from_function(first_alone, "it", SHARED), Case(3, 2, 2, 3, seed=1))
    assert {claim.name for claim in wrong.failures} >= {"dh0", "dC0"}


@settings(max_examples=15)
@given(case=cases(cell=SHARED))
def test_the_complex_step_agrees_and_the_gradient_is_the_sum_over_samples(case):
    expected = expect(case)
    assert expected.chaotic(SHARED.gradients) or complex_step_disagreement(case, expected).use <= 1
    apart = {name: np.repeat(case.arrays[name], case.m, axis=0) for name in SHARED.initial}
    same = Case(*case.dims, case.dtype).arrays.replaced(**{**case.arrays, **apart})
    due, came = evaluate_reference(same), evaluate_reference(case.arrays)
    for name, value in came.items():
        wanted = due[name].sum(axis=0, keepdims=True) if name in ("dh0", "dC0") else due[name]
        assert value.shape == wanted.shape == SHARED.shape(name, *case.dims)
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * np.max(np.abs(wanted)))


def test_a_shared_cell_is_named_and_found_again():
    assert cell_named("plain+C0+h0") is SHARED
    assert cell_named("peephole+h0").axes["h0"] == "1u"
    case = Case(2, 3, 4, 5, cell=SHARED, seed=7)
    assert case.descriptor == "m2s3e4u5-plain+h0+C0-float64-seed7"
    assert Case.parse(case.descriptor) == case
    with pytest.raises(ValueError, match="'h1', expected some of h0, C0"):
        sharing(PLAIN, ["h1"])


def test_faults_carry_over_and_are_named():
    assert len(faults_of(SHARED)) > 280
    found = diagnose(fault_target(find("carry-dropped", SHARED), cell=SHARED), Case(2, 3, 2, 3, seed=5, cell=SHARED))
    assert found.suspects[0].fault == "carry-dropped"


@settings(max_examples=10)
@given(case=cases(cell=cell_named("plain+h0+C0@2xboth")))
def test_in_a_network_they_are_shared_at_every_place(case):
    net = case.cell
    assert net.shared == net.initial
    assert net.shape("h0_l1_reverse", *case.dims) == (1, case.u)
    expected = expect(case)
    assert expected.chaotic(net.gradients) or complex_step_disagreement(case, expected).use <= 1
    apart = cell_named("plain@2xboth")
    own = {name: np.repeat(case.arrays[name], case.m, axis=0) for name in net.initial}
    lengths = {} if case.lengths is None else {"lengths": case.lengths}
    same = Case(*case.dims, case.dtype, cell=apart, **lengths).arrays.replaced(**{**case.arrays, **own})
    due, came = evaluate_reference(same), evaluate_reference(case.arrays)
    for name, value in came.items():
        shared = name.removeprefix("d") in net.initial
        wanted = due[name].sum(axis=0, keepdims=True) if shared else due[name]
        assert value.shape == wanted.shape
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * max(np.max(np.abs(wanted), initial=0), 1e-30))
