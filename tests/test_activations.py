"""Cells with other activation functions: their names, their arithmetics, their kinks, and their faults."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_checks.arithmetic.monte_carlo import Rounding, exact
from lstm_checks.cases import DTYPES, Case
from lstm_checks.certified.certify import certified_gradient, certify, derivation_agrees
from lstm_checks.compare import Verdict
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.other_cells import find_cell
from lstm_checks.faults.activation_functions import FAULTS
from lstm_checks.faults.catalogue import FAULTS as PLAIN_FAULTS
from lstm_checks.faults.catalogue import faults_of, find, own_faults
from lstm_checks.faults.mixups import mixups
from lstm_checks.faults.model import diff, evaluate, fault_target
from lstm_checks.faults.slips import PARTS, slips
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.reports import CHECK_GRAD
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect, rounding_of
from lstm_checks.oracles.kinks import AT_A_KINK, CROSSED, crosses_a_kink, unjudged_at_kinks
from lstm_checks.strategies import cases
from lstm_checks.suite import LayerSuite
from lstm_checks.targets.function import from_function
from lstm_checks.trials.search import shows
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.slots import KINDS, Activation

PLAIN = CELLS["plain"]
HARD, RELU, ALL = "plain,f=hardsigmoid6", "plain,g=relu", "plain,f=hardsigmoid,g=leakyrelu,h=elu:0.5"
SMOOTH = "plain,f=softsign,g=softplus,h=scaledtanh:1.5:0.7"
OF_ARGUMENT = ("plain,g=swish,h=mish", "rnn,g=swish", "gru_reset_after,g=gelutanh", "coupled,h=hardswish")
CLIPPED = "plain,f=clippedsigmoid:1.2,g=clippedtanh:0.9"
VARIANTS = (HARD, RELU, ALL, CLIPPED)
OF_OTHER_CELLS = ("coupled,f=hardsigmoid,h=relu", "peephole,g=elu,h=softsign")
NUMBERED = ("affine:0.5:n0.2", "scaledtanh:1.7159:0.6667", "clippedsigmoid:1.5", "clippedtanh:0.75")
WORDS = (*NUMBERED, *(kind for kind in KINDS if KINDS[kind].usual is not None))
by_variant = pytest.mark.parametrize("name", VARIANTS)


# Names


@given(data=st.data(), base=st.sampled_from([name for name, cell in CELLS.items() if cell.slots]))
def test_a_cell_is_named_by_its_activations_and_is_the_same_one_whatever_their_order(data, base):
    slots = st.sampled_from([*CELLS[base].slots])
    chosen = [*data.draw(st.dictionaries(slots, st.sampled_from(WORDS), min_size=1)).items()]
    cell = cell_named(",".join([base, *(f"{slot}={word}" for slot, word in chosen)]))
    assert cell_named(",".join([base, *(f"{slot}={word}" for slot, word in reversed(chosen))])) is cell
    assert cell_named(cell.name) is cell
    assert "-" not in cell.name
    case = Case(2, 3, 4, 5, "float32", "x1e-3", "last+C", False, 7, cell=cell)
    assert Case.parse(case.descriptor) == case
    assert Case.parse(case.descriptor).cell is cell


def test_what_is_usual_is_the_cell_itself_and_usual_numbers_are_left_out():
    assert cell_named("plain,f=sigmoid,g=tanh") is PLAIN
    assert cell_named("plain,f=hardsigmoid:0.2:0.5").name == "plain,f=hardsigmoid"
    assert cell_named("plain,g=affine:1e-3:-2").name == "plain,g=affine:0.001:n2"
    assert cell_named("peephole,h=relu").title == "LSTM with peepholes with relu for the memory's output"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pep,f=relu", "'pep', expected one of plain, coupled, peephole"),
        ("plain,k=relu", "with 'k=relu', expected plain and, each once after a comma, any of f=FUNCTION, g=FUNCTION"),
        ("plain,f=relu,f=relu", "with 'f=relu', expected plain and, each once"),
        ("plain,f=gelu", "with the activation 'gelu', expected one of sigmoid, tanh, affine, relu,"),
        ("plain,g=relu:1", "with the activation 'relu:1', expected relu"),
        ("plain,g=scaledtanh", "with the activation 'scaledtanh', expected scaledtanh:ALPHA:BETA"),
        ("plain,g=leakyrelu:-1", "'leakyrelu:-1', expected leakyrelu:ALPHA with alpha above 0"),
        ("plain,g=clippedtanh:0", "'clippedtanh:0', expected clippedtanh:LIMIT with a limit above 0"),
        ("plain,g=hardsigmoid:nan:1", "'hardsigmoid:nan:1', expected hardsigmoid:ALPHA:BETA"),
        ("plain,g=hardsigmoid:x:1", "'hardsigmoid:x:1', expected hardsigmoid:ALPHA:BETA"),
    ],
)
def test_a_name_that_is_none_is_said_to_be_none(name, words):
    with pytest.raises(ValueError, match=r"expected") as raised:
        cell_named(name)
    assert words in str(raised.value)


def test_a_cell_without_slots_takes_no_other_activations(monkeypatch):
    monkeypatch.setitem(CELLS, "bare", replace(PLAIN, name="bare", slots={}))
    with pytest.raises(ValueError, match="the cell bare takes no other activations, expected bare alone"):
        cell_named("bare,g=relu")


# The functions


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_derivative_is_that_of_the_function_in_its_dtype(word, dtype):
    activation = Activation.parse(word)
    value, derivative = activation.functions(_modules())
    x = np.linspace(-7.77, 7.31, 400, dtype=dtype)
    given = (lambda x: x) if activation.of_argument else value
    assert value(x).dtype == derivative(given(x)).dtype == np.dtype(dtype)
    step = value(x.astype(np.float64) + 1e-30j).imag / 1e-30
    assert np.max(np.abs(derivative(given(x.astype(np.float64))) - step)) < 1e-12
    # Between two kinks there is none: its second differences are small, but where one lies within.
    fine = np.linspace(-7, 7, 14001)
    slope = derivative(given(fine))
    bends = np.abs(np.diff(slope)) > 0.01 * np.maximum(1, np.abs(slope[1:]))
    places = [kink.at for kink in activation.kinks if abs(kink.at) < 7]
    assert all(any(abs(at - fine[k]) < 0.002 for at in places) for k in np.flatnonzero(bends))
    assert all(bends[np.abs(fine[:-1] - at) < 0.002].any() or word == "leakyrelu:1" for at in places)


def _modules():
    from lstm_ref.slots import MODULES

    return MODULES


def test_the_functions_are_what_others_have_them_for():
    def of(word, x):
        return float(Activation.parse(word).functions(_modules())[0](np.array([x]))[0])

    assert [of("hardsigmoid6", x) for x in (-4, 0, 1.5, 4)] == [0, 0.5, 0.75, 1]
    assert [of("hardsigmoid", x) for x in (-3, 0, 1, 3)] == [0, 0.5, 0.7, 1]
    assert [of("leakyrelu:0.1", x) for x in (-2, 2)] == [-0.2, 2]
    assert [of("thresholdedrelu", x) for x in (0.5, 1, 1.5)] == [0, 0, 1.5]
    assert of("elu:2", -1) == 2 * np.expm1(-1)
    assert [of("clippedtanh:1.5", x) for x in (-9, 0.5, 1.6)] == [-np.tanh(1.5), np.tanh(0.5), np.tanh(1.5)]
    assert of("clippedsigmoid:2", 2.5) == pytest.approx(1 - of("clippedsigmoid:2", -7), abs=1e-15)
    assert of("clippedsigmoid:2", 2.5) == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-15)
    assert of("softsign", -3) == -0.75
    assert of("softplus", 800) == 800
    assert abs(of("softplus", 0) - np.log(2)) < 1e-15
    assert of("affine:2:1", 3) == 7
    assert of("scaledtanh:2:0.5", 1) == 2 * np.tanh(0.5)
    assert of("swish", 2) == pytest.approx(2 / (1 + np.exp(-2)), abs=1e-15)
    assert [of("hardswish", x) for x in (-4, 0, 3, 5)] == [0, 0, 3, 5]
    assert of("mish", 1) == pytest.approx(np.tanh(np.log1p(np.e)), abs=1e-15)
    # Gelu itself is x times the normal distribution function, from which this is some 5e-4 off.
    normal = 0.5 * (1 + math.erf(1.5 / math.sqrt(2)))
    assert 1e-5 < abs(of("gelutanh", 1.5) - 1.5 * normal) < 5e-4


# Arithmetics


@pytest.mark.parametrize(
    "name", [*VARIANTS, SMOOTH, *OF_OTHER_CELLS, *OF_ARGUMENT, "plain,f=affine:0.5:0.1,h=thresholdedrelu:0.2"]
)
def test_the_complex_step_of_the_forward_pass_is_the_backward_pass(name):
    @settings(max_examples=8)
    @given(case=cases(cell=cell_named(name), max_dims=(5, 9, 5, 5)))
    def agrees(case):
        expected = expect(case)
        assert expected.chaotic(case.cell.gradients) or complex_step_disagreement(case, expected).use <= 1

    agrees()


@pytest.mark.parametrize("name", [*VARIANTS, SMOOTH, *OF_OTHER_CELLS, *OF_ARGUMENT, "plain,h=thresholdedrelu:0.2"])
def test_balls_enclose_the_gradient_and_the_forward_pass_alone_gives_it(name):
    pytest.importorskip("flint")
    case = Case(2, 3, 2, 2, seed=3, cell=cell_named(name))
    certified = certified_gradient(case)
    assert certified.resolved
    assert derivation_agrees(certified)
    assert certify(fault_target(cell=case.cell), case, certified).verdict is Verdict.PASS


def test_a_ball_that_straddles_a_kink_encloses_both_sides_and_is_not_resolved():
    flint = pytest.importorskip("flint")
    from lstm_checks.arithmetic import balls

    value, derivative = Activation.parse("leakyrelu:0.5").functions(_modules())
    x = balls.filled([flint.arb(0, 0.25), flint.arb(1, 0.25), flint.arb(-1, 0.25)], (3,)).view(balls.BallArray)
    y = value(x)
    assert all(y[0].contains(flint.arb(number)) for number in (0.25, 0, -0.125))
    slopes = derivative(y)
    assert slopes[0].contains(flint.arb(1))
    assert slopes[0].contains(flint.arb(0.5))
    assert (slopes[1], slopes[2]) == (1, 0.5)
    assert balls.missing_bits(slopes) > 0
    assert balls.missing_bits(slopes[1:]) <= 0
    series = balls.Series(flint.arb_series([flint.arb(0, 0.25), flint.arb(1)]))
    with pytest.raises(balls.UndecidedError, match="may be above 0 or below it: a kink lies within"):
        np.maximum(balls.filled([series], (1,)), 0)


def test_noisy_copies_choose_their_side_each_by_itself_and_a_comparison_has_no_noise():
    rounding = Rounding(2.0**-53, 0.0, 64.0, np.random.default_rng(0), 8)
    x = exact(np.array([1.0, -1.0, 0.0]), rounding) * 1.0
    assert np.array_equal(np.maximum(x, 0).view(np.ndarray)[:, 1:], np.zeros((9, 2)))
    sides = (x > 0).view(np.ndarray)
    assert sides.dtype == bool
    assert sides[:, 0].all()
    assert not sides[:, 1:].any()
    assert ((x > -2) * (x < 2)).view(np.ndarray).all()


# Kinks


def test_at_a_kink_the_outputs_are_judged_and_the_gradients_are_not():
    case = Case(2, 3, 4, 3, regime="zero", cell=cell_named(RELU))
    report = verify_case(fault_target(cell=case.cell), case)
    verdicts = {claim.name: claim.verdict for claim in report.claims}
    assert verdicts["h"] is Verdict.PASS
    assert {verdicts[name] for name in case.cell.gradients} == {Verdict.INCONCLUSIVE}
    assert report.verdict is Verdict.INCONCLUSIVE
    reason = report.claim("dUf").reason
    assert reason == (
        f"{AT_A_KINK}g_[0, 0, 0] = 0 lies within rounding of 0, where its activation bends, and 17 more of 18 do"
    )
    assert expect(replace(case, regime="normal")).withheld == {}


def test_what_a_power_on_the_way_leads_out_of_its_dtype_is_not_judged():
    case = Case.parse("m1s13e4u6-gru,g=gelutanh-float32-x100-every-seed1110687010")
    withheld = expect(case).withheld
    assert {*withheld} == {*case.cell.tensors}
    assert "are due, and a power of 3 on the way may be more than float32 has" in withheld["h"]
    assert not expect(replace(case, dtype="float64")).withheld


def test_where_a_function_jumps_its_outputs_are_not_judged_either():
    case = Case(1, 2, 1, 1, seed=4)
    memory = PLAIN.forward(case.arrays, *(case.arrays[name] for name in ("X", "h0", "C0")))["C_"]
    at = float(np.max(memory))
    assert at > 0
    jumping = replace(case, cell=cell_named(f"plain,h=thresholdedrelu:{np.format_float_positional(at)}"))
    # The first step's memory is what it was with tanh; a later one's hangs on h.
    first = replace(jumping, s=int(np.argmax(memory)) + 1)
    if first.s == 1:
        found = unjudged_at_kinks(first, rounding_of(first, "float64"))
        assert {*found} == {*first.cell.tensors}
        assert "jumps" in found["h"]


def beside_a_kink(distance, seed=0):
    """Return a case whose forget gate's linear activation lies that far from where its hard sigmoid begins."""
    case = Case(1, 1, 1, 1, seed=seed)
    at = float(PLAIN.forward(case.arrays, *(case.arrays[n] for n in ("X", "h0", "C0")))["f_"][0, 0, 0]) - distance
    numbers = (np.format_float_positional(number) for number in (0.25, -0.25 * at))
    return replace(case, cell=cell_named(f"plain,f=hardsigmoid:{':'.join(numbers)}"))


def test_a_finite_difference_that_leads_across_a_kink_decides_nothing():
    near, far = beside_a_kink(1e-11), beside_a_kink(1e-3)
    for case, verdict, reason in ((near, Verdict.INCONCLUSIVE, CROSSED), (far, Verdict.PASS, "")):
        assert expect(case).withheld == {}
        report = verify_case(fault_target(cell=case.cell), case)
        assert report.verdict is Verdict.PASS
        assert report.claim(CHECK_GRAD).verdict is verdict
        assert report.claim(CHECK_GRAD).reason == reason
    assert expect(beside_a_kink(1e-17)).withheld
    assert (
        verify_case(fault_target(cell=near.cell), near, properties=("gradient step",)).claim("gradient step").reason
        == "a step may lead across a kink of the cell's activations"
    )


def test_the_report_says_how_many_examples_lie_at_a_kink_and_shows_one():
    report = verify(fault_target(cell=cell_named("plain,g=relu,h=relu")), examples=12, max_dims=(3, 4, 3, 3))
    unjudged = [e for e in report.examples if any(c.reason.startswith(AT_A_KINK) for c in e.claims)]
    assert 0 < len(unjudged) < 12
    (line,) = [line for line in render_report(report).splitlines() if line.startswith("  kinks ")]
    assert f" {len(unjudged)} example" in line
    assert report.exit_code == 0


# An implementation of its own


LINEAR = {
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "hardsigmoid6": (lambda x: np.clip(x + 3, 0, 6) / 6, lambda x: np.where(np.abs(x) < 3, 1 / 6, 0)),
    "hardsigmoid": (lambda x: np.clip(x / 5 + 0.5, 0, 1), lambda x: np.where(np.abs(x) < 2.5, 0.2, 0)),
    "relu": (lambda x: x * (x > 0), lambda x: np.where(x > 0, 1, 0)),
    "leakyrelu": (lambda x: np.where(x > 0, x, x / 100), lambda x: np.where(x > 0, 1, 0.01)),
    "elu:0.5": (
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, 0.5 * np.exp(np.minimum(x, 0))),
    ),
    "clippedsigmoid:1.2": (
        lambda x: 1 / (1 + np.exp(-np.clip(x, -1.2, 1.2))),
        lambda x: (np.abs(x) < 1.2) / (4 * np.cosh(x / 2) ** 2),
    ),
    "clippedtanh:0.9": (lambda x: np.tanh(np.clip(x, -0.9, 0.9)), lambda x: (np.abs(x) < 0.9) / np.cosh(x) ** 2),
    "softsign": (lambda x: x / (np.abs(x) + 1), lambda x: (np.abs(x) + 1) ** -2),
    "softplus": (lambda x: np.logaddexp(x, 0), lambda x: 1 / (1 + np.exp(-x))),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: np.where((x > 0) & (x < 6), 1, 0)),
    "hardtanh": (lambda x: np.clip(x, -1, 1), lambda x: np.where(np.abs(x) < 1, 1, 0)),
    "selu": (
        lambda x: np.where(x > 0, 1.0507009873554805 * x, 1.7580993408473766 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1.0507009873554805, 1.7580993408473766 * np.exp(np.minimum(x, 0))),
    ),
    "exponential": (np.exp, np.exp),
    "swish": (
        lambda x: x / (1 + np.exp(-x)),
        lambda x: (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
    ),
    "hardswish": (
        lambda x: np.where(x >= 3, x, np.where(x <= -3, 0, x * (x + 3) / 6)),
        lambda x: np.where(x >= 3, 1, np.where(x <= -3, 0, (2 * x + 3) / 6)),
    ),
    "scaledtanh:1.5:0.7": (lambda x: 1.5 * np.tanh(0.7 * x), lambda x: 1.05 / np.cosh(0.7 * x) ** 2),
}
"""Activations and their derivatives, both of the linear activation."""


def implementation(f="sigmoid", g="tanh", h="tanh"):
    """An LSTM with these activations as others write it: one product for all gates, sample by sample."""
    (act_f, slope_f), (act_g, slope_g), (act_h, slope_h) = (LINEAR[word] for word in (f, g, h))

    def lstm(p, X, h0, C0):
        dtype = X.dtype
        W = np.block([[p[kind + gate] for gate in "ifog"] for kind in "UVb"])
        m, s, e = X.shape
        u = h0.shape[1]
        H, C, kept = np.zeros((m, s, u), dtype), np.zeros((m, u), dtype), []
        for n in range(m):
            ht, Ct = h0[n], C0[n]
            for t in range(s):
                z = np.concatenate([X[n, t], ht, np.ones(1, dtype)])
                k = z @ W
                i, fo, o = (act_f(part) for part in np.split(k[: 3 * u], 3))
                c = act_g(k[3 * u :])
                before, Ct = Ct, fo * Ct + i * c
                ht = o * act_h(Ct)
                kept.append((z, k, i, fo, o, c, before, Ct))
                H[n, t] = ht
            C[n] = Ct

        def pullback(dh, dCn):
            dW, dX, dh0, dC0 = np.zeros_like(W), np.zeros_like(X), np.zeros_like(h0), np.zeros_like(C0)
            for n in range(m):
                back, dC = np.zeros(u, dtype), dCn[n]
                for t in reversed(range(s)):
                    z, k, i, fo, o, c, before, after = kept[n * s + t]
                    dht = dh[n, t] + back
                    dC = dC + dht * o * slope_h(after)
                    gates = np.concatenate([dC * c, dC * before, dht * act_h(after)]) * slope_f(k[: 3 * u])
                    dk = np.concatenate([gates, dC * i * slope_g(k[3 * u :])]).astype(dtype)
                    dW += np.outer(z, dk)
                    dz = W @ dk
                    dX[n, t], back, dC = dz[:e], dz[e : e + u], (dC * fo).astype(dtype)
                dh0[n], dC0[n] = back, dC
            parts = np.split(dW, [e, e + u])
            found = {
                f"d{kind}{gate}": block.copy()
                for kind, part in zip("UVb", parts, strict=True)
                for gate, block in zip("ifog", np.split(part, 4, axis=1), strict=True)
            }
            return found | {"dX": dX, "dh0": dh0, "dC0": dC0}

        return (H, C), pullback

    return lstm


def of_the_cell(name):
    """The implementation with the activations of a cell."""
    _, *options = name.split(",")
    return implementation(**dict(option.split("=") for option in options))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_right_implementation_of_its_own_passes(name):
    target = from_function(of_the_cell(name), cell=cell_named(name))
    report = verify(target, examples=50, max_dims=(7, 9, 7, 7))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert {example.case.dtype for example in report.examples} == {*DTYPES}
    for gradient in report.target.cell.gradients:
        assert report.claim_counts[gradient][Verdict.PASS] > 10, gradient


def test_it_passes_with_smooth_ones_and_fails_where_its_functions_are_others():
    cell = cell_named(SMOOTH)
    assert verify(from_function(of_the_cell(SMOOTH), cell=cell), examples=20, max_dims=(5, 9, 5, 5)).exit_code == 0
    # Of these the value does not say the slope.
    for name in ("plain,g=swish,h=swish", "plain,g=hardswish"):
        target = from_function(of_the_cell(name), cell=cell_named(name))
        assert verify(target, examples=20, max_dims=(5, 9, 5, 5)).exit_code == 0
        assert find_cell(from_function(of_the_cell(name))).name == name
    for name, other in ((HARD, "plain,f=hardsigmoid"), (RELU, "plain,g=leakyrelu"), (ALL, HARD), (HARD, "plain")):
        case = Case(2, 3, 4, 5, seed=2, cell=cell_named(name))
        assert verify_case(from_function(of_the_cell(other), cell=case.cell), case).failures, name


# Faults


@by_variant
def test_a_cell_with_other_activations_has_the_faults_of_the_cell_and_of_its_functions(name):
    cell = cell_named(name)
    known, own = faults_of(cell), {fault.id for fault in own_faults(cell)}
    assert len(known) > 300
    assert own <= {*known}
    assert not own & {*PLAIN_FAULTS}
    assert "carry-dropped" in known
    assert {id for id in own if id.startswith("hard-sigmoid6")} == (
        {fault.id for fault in FAULTS if fault.id.startswith("hard-sigmoid6")} if name == HARD else set()
    )


def test_faults_of_peepholes_are_faults_with_other_activations():
    own = {fault.id for fault in own_faults(cell_named("peephole,g=elu,h=softsign"))}
    assert "peephole-cotangent-missing-o" in own
    assert "elu-derivative-missing" in own


def test_own_faults_show_in_their_smallest_examples():
    for fault in FAULTS:
        assert shows(fault, Case.parse(fault.example)), fault.id


def test_own_faults_are_named_by_their_smallest_examples():
    # Of the cells of which any fault has its example, so that no other catalogue has to be made.
    for fault in (fault for fault in FAULTS if Case.parse(fault.example).cell.name in (HARD, RELU)):
        case = Case.parse(fault.example)
        suspects = [
            named.fault for named in diagnose(fault_target(fault, cell=case.cell), case).suspects if named.certain
        ]
        assert fault.id in suspects, fault.id


def test_a_fault_of_a_function_is_shown_as_a_change_of_its_file():
    fault = faults_of(cell_named(RELU))["relu-leaky"]
    shown = diff(fault, cell_named(RELU))
    assert "+++ b/lstm_ref/other_activations.py" in shown
    assert shown.count("\n-    return") == 2


def test_a_fault_of_other_activations_is_said_to_be_of_a_cell_with_them():
    with pytest.raises(ValueError, match="no fault 'relu-leaky' of the cell plain, but of plain,g=relu: see --cell"):
        find("relu-leaky")


@by_variant
def test_slips_and_mixups_run(name):
    case = Case(3, 4, 3, 2, seed=1, cell=cell_named(name))
    due = evaluate_reference(case.arrays)
    made = [*(slip for part in PARTS for slip in slips(part, case.cell)), *mixups(case.cell).values()]
    assert len(made) > 800
    for fault in made[::31]:
        values = evaluate(fault, case.arrays)
        assert {key: value.shape for key, value in values.items()} == {key: value.shape for key, value in due.items()}


# The doors


def test_the_command_and_the_suite_take_the_cell_by_its_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom lstm_ref.cells import cell_named\nfrom lstm_checks.faults.model import fault_target\n"
        f"_call = fault_target(cell=cell_named({RELU!r})).call\n\n\n"
        "def lstm(p, X, h0, C0):\n"
        '    outputs, pullback = _call({**p, "X": X, "h0": h0, "C0": C0})\n'
        '    return tuple(outputs.values()), lambda dh, dCn: pullback({"dh": dh, "dCn": dCn})\n'
    )
    words = [sys.executable, "-m", "lstm_checks", "verify", "mine.py:lstm", "--examples", "8"]
    right = subprocess.run([*words, "--cell", RELU], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert right.returncode == 0, right.stdout + right.stderr
    assert "against lstm_ref's plain LSTM with relu for the candidate" in right.stdout
    unknown = subprocess.run([*words, "--cell", "plain,g=r"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "--cell is 'plain,g=r' with the activation 'r', expected one of" in unknown.stderr
    made = type("TestMine", (LayerSuite,), {"target": staticmethod(of_the_cell(RELU)), "cell": RELU, "examples": 5})
    made().test_dUf()


def test_what_grows_out_of_its_dtype_is_not_judged_and_not_blamed():
    case = Case(1, 4, 1, 3, "float32", "x10", "last+h+C", cell=cell_named("plain,f=affine:0.5:0.1,g=affine,h=affine"))
    assert np.max(np.abs(expect(case).values["h"])) > np.finfo(np.float32).max
    report = verify_case(fault_target(cell=case.cell), case)
    assert not report.failures
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.claim("h").reason.startswith("out of its dtype: values of ")
    again = verify_case(fault_target(cell=case.cell), replace(case, dtype="float64"))
    assert again.claim("h").verdict is Verdict.PASS


def test_a_network_over_samples_of_no_steps_is_at_no_kink():
    case = Case(1, 2, 2, 2, cell=cell_named("rnn,g=relu@1xreverse"), lengths="empty")
    assert case.arrays.cell.lengths == (0,)
    assert not crosses_a_kink(case.arrays.cell, case.arrays.inputs, [case.arrays.inputs])
