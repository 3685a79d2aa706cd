"""Properties that need no oracle: silent on what is right, a variant included, and each sees what it is there for."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from agreement import positional
from hypothesis import given, settings

import lstm_fast
import lstm_ref
from lstm_checks.asking.claims import NAMES as QUESTIONS
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import by_name
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.reports import CHECK_GRAD
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import expect
from lstm_checks.properties.claims import (
    GENERAL,
    NAMES,
    OF_ITS_EQUATIONS,
    OWN_REGIMES,
    PER_EXAMPLE,
    property_claims,
    rotation,
)
from lstm_checks.properties.closed_form import zero_weights_answer
from lstm_checks.properties.noise import checked, own_expected
from lstm_checks.strategies import cases
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer
from lstm_checks.targets.load import load_target

CASE = Case(3, 4, 2, 3, seed=7)


def plain(p, X, h0, C0):
    """The LSTM in the vjp form."""
    fc = lstm_ref.lstm_forward(p, X, h0, C0)

    def pullback(dh, dCn):
        bc = lstm_ref.lstm_backward(p, fc, dh, np.zeros_like(h0), dCn)
        return lstm_ref.lstm_parameter_gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}

    return (fc["h"], fc["C_"][:, -1].copy()), pullback


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


PEEPHOLE = 0.5


def coupled(p, X, h0, C0):
    """An LSTM with coupled gates, i = 1 - f, and a peephole into f: no reference fits it; Ui, Vi and bi do nothing."""
    trace, h, C = [], h0, C0
    for t in range(X.shape[1]):
        x, hp, Cp = X[:, t], h, C
        f = sigmoid(x @ p["Uf"] + hp @ p["Vf"] + p["bf"] + PEEPHOLE * Cp)
        o = sigmoid(x @ p["Uo"] + hp @ p["Vo"] + p["bo"])
        g = np.tanh(x @ p["Ug"] + hp @ p["Vg"] + p["bg"])
        C = f * Cp + (1 - f) * g
        h = o * np.tanh(C)
        trace.append((x, hp, Cp, f, g, o, C))
    hs = np.stack([o * np.tanh(c) for *_, o, c in trace], axis=1)

    def pullback(dh, dCn):
        gradients = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dX, dhn, dC = np.zeros_like(X), np.zeros_like(h0), dCn
        for t in reversed(range(X.shape[1])):
            x, hp, Cp, f, g, o, c = trace[t]
            d = dh[:, t] + dhn
            dC = dC + d * o * (1 - np.tanh(c) ** 2)
            deltas = {
                "f": dC * (Cp - g) * f * (1 - f),
                "g": dC * (1 - f) * (1 - g**2),
                "o": d * np.tanh(c) * o * (1 - o),
            }
            dhn = np.zeros_like(h0)
            for k, delta in deltas.items():
                gradients["dU" + k] += x.T @ delta
                gradients["dV" + k] += hp.T @ delta
                gradients["db" + k] += delta.sum(0, keepdims=True)
                dX[:, t] += delta @ p["U" + k].T
                dhn = dhn + delta @ p["V" + k].T
            dC = dC * f + PEEPHOLE * deltas["f"]
        return gradients | {"dX": dX, "dh0": dhn, "dC0": dC}

    return (hs, C.copy()), pullback


def spoilt(change, base=coupled):
    """A target whose gradients `change(gradients, inputs, cotangents)` has spoilt."""

    def target(p, X, h0, C0):
        outputs, pullback = base(p, X, h0, C0)

        def spoilt_pullback(dh, dCn):
            gradients = pullback(dh, dCn)
            change(gradients, (p, X, h0, C0), (dh, dCn))
            return gradients

        return outputs, spoilt_pullback

    return from_function(target)


def mixes_samples(p, X, h0, C0):
    """Each sample's input is centred on the batch, forward and backward."""
    outputs, pullback = coupled(p, X - X.mean(axis=0), h0, C0)

    def mixed(dh, dCn):
        g = pullback(dh, dCn)
        return g | {"dX": g["dX"] - g["dX"].mean(axis=0)}

    return outputs, mixed


def looks_ahead(p, X, h0, C0):
    """Runs over the reversed input: step 1 sees the last."""
    outputs, pullback = coupled(p, X[:, ::-1], h0, C0)

    def ahead(dh, dCn):
        g = pullback(dh, dCn)
        return g | {"dX": np.ascontiguousarray(g["dX"][:, ::-1])}

    return outputs, ahead


def first_sample_is_special(g, inputs, cotangents):
    g["dX"][0] *= 1.001


def first_unit_is_special(g, inputs, cotangents):
    g["dbo"][0, 0] *= 1.001


def mean_over_samples(g, inputs, cotangents):
    for name in g:
        if name not in ("dX", "dh0", "dC0"):
            g[name] /= inputs[1].shape[0]


def clipped(g, inputs, cotangents):
    norm = np.sqrt(sum(float(np.sum(np.square(value))) for value in g.values()))
    for value in g.values():
        value /= max(1.0, norm / 100)


def rectified(g, inputs, cotangents):
    np.maximum(g["dX"], 0, out=g["dX"])


def one_cotangent_or_the_other(g, inputs, cotangents):
    # Homogeneous, also for negative numbers, but not additive.
    dh, dCn = cotangents
    if dh.any() and dCn.any():
        g["dUf"] *= 1.001


def constant_added(g, inputs, cotangents):
    g["dbf"] += 1e-6


def dX_of_the_step_before(g, inputs, cotangents):
    g["dX"][:, 1:] += 1e-3 * g["dX"][:, :-1]


def dC0_dropped(g, inputs, cotangents):
    g["dC0"] = np.zeros_like(g["dC0"])


def dh0_dropped(g, inputs, cotangents):
    g["dh0"] = np.zeros_like(g["dh0"])


def first_step_left_out(g, inputs, cotangents):
    # As if a state were the first one: its parameters' gradient is forgotten.
    g["dUg"] = g["dUg"] * (1 - 1e-3 / inputs[1].shape[1])


def adds_to_its_last(g, inputs, cotangents):
    last = TOTAL.get(inputs[1].shape, 0)
    TOTAL[inputs[1].shape] = g["dUg"].copy()
    g["dUg"] += 1e-3 * last


TOTAL = {}


def one_gate_too_large(g, inputs, cotangents):
    g["dUo"] *= 1.01


def all_twice(g, inputs, cotangents):
    for name in g:
        g[name] = 2 * g[name]


PLANTED = [
    (from_function(mixes_samples), "batch split"),
    (spoilt(first_sample_is_special), "batch permutation"),
    (spoilt(mean_over_samples), "batch split"),
    (spoilt(first_unit_is_special), "unit permutation"),
    (spoilt(clipped), "linearity"),
    (spoilt(rectified), "linearity"),
    (spoilt(one_cotangent_or_the_other), "linearity"),
    (spoilt(constant_added), "zero cotangent"),
    (from_function(looks_ahead), "causality"),
    (spoilt(adds_to_its_last), "linearity"),
    (spoilt(dX_of_the_step_before), "causality"),
    (spoilt(dC0_dropped), "sequence cut"),
    (spoilt(dh0_dropped), "sequence cut"),
    (spoilt(first_step_left_out), "sequence cut"),
    (spoilt(one_gate_too_large), "gradient step"),
    (spoilt(all_twice), "gradient step"),
]


def claims_of(target, case, reference, names):
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    if reference:
        return property_claims(target, case, outcome, expect(case), names)
    values = checked(target, outcome, case.arrays, outcome.last_step)
    expected = own_expected(target, case.arrays, values, case.sequences, case.seed, outcome.last_step)
    return property_claims(target, case, outcome, expected, names)


@pytest.mark.parametrize("layer", [lstm_ref.LSTM, lstm_fast.LSTM], ids=["lstm_ref", "lstm_fast"])
@given(case=cases(dtypes=("float64", "float32"), max_dims=(5, 14, 4, 5)))
@settings(max_examples=10)
def test_every_property_holds_of_the_layers(layer, case):
    for reference in (True, False):
        for claim in claims_of(from_layer(layer), case, reference, NAMES):
            assert claim.verdict is not Verdict.FAIL, claim.discrepancy.message


@given(case=cases(dtypes=("float64", "float32"), max_dims=(5, 14, 4, 5), regimes=OWN_REGIMES))
@settings(max_examples=10)
def test_the_general_properties_hold_of_a_variant_without_a_reference(case):
    for claim in claims_of(from_function(coupled), case, False, GENERAL):
        assert claim.verdict is not Verdict.FAIL, claim.discrepancy.message


@given(case=cases(max_dims=(4, 12, 4, 5), regimes=OWN_REGIMES))
@settings(max_examples=25)
def test_the_noise_a_target_shows_covers_that_of_monte_carlo_arithmetic(case):
    target = from_layer(lstm_ref.LSTM)
    expected = expect(case)
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    own = own_expected(target, case.arrays, outcome.values, case.sequences, case.seed, outcome.last_step)
    rounding = expected.as_returned(outcome.last_step, case.cell).sd
    for name, sd in own.sd.items():
        assert np.all(rounding[name] <= sd + 1e-300), name


@pytest.mark.parametrize("name", OF_ITS_EQUATIONS)
def test_what_holds_of_the_plain_cells_equations_fails_of_a_variant(name):
    claim = verify_case(from_function(coupled), CASE, properties=(name,), reference=False).claim(name)
    assert claim.verdict is Verdict.FAIL


@pytest.mark.parametrize(("target", "name"), PLANTED, ids=[f"{k} {name}" for k, (_, name) in enumerate(PLANTED)])
def test_each_property_sees_what_it_is_there_for_without_a_reference(target, name):
    for seed in range(3):
        case = Case(3, 4, 2, 3, seed=seed)
        claim = verify_case(target, case, properties=(name,), reference=False).claim(name)
        assert claim.verdict is Verdict.FAIL
        assert claim.discrepancy.message.startswith(f"{name}: with ")
        assert ", but should be " in claim.discrepancy.message


def test_every_property_is_planted_against():
    assert {name for _, name in PLANTED} | set(OF_ITS_EQUATIONS) == set(NAMES)


def test_the_sentence_of_a_property_that_does_not_hold():
    case = Case(3, 4, 2, 3, seed=1)
    text = render_failure("it", verify_case(spoilt(constant_added), case, reference=False)).splitlines()
    assert text[0].startswith(
        "zero cotangent: with all cotangents zero, dbf[0, 0] = 1e-06, but should be 0, exactly    "
    )
    assert text[0].endswith("[it, no reference used]")
    assert any(line.startswith("  also      linearity: with the cotangents ") for line in text)
    case = 'lstm_checks.cases.Case.parse("m3s4e2u3-float64-seed1")'
    assert text[-1] == f"  rerun     in Python: lstm_checks.judging.case.verify_case(target, {case}, reference=False)"
    by_command = render_failure(
        "it.py:f", verify_case(spoilt(constant_added), Case(3, 4, 2, 3, seed=1), reference=False)
    )
    assert by_command.endswith("rerun     lstm-checks verify it.py:f --case m3s4e2u3-float64-seed1 --no-reference")


def test_without_a_reference_the_report_says_so_and_what_is_not_asked():
    report = verify(from_function(coupled), examples=21, reference=False)
    assert report.exit_code == 0, render_report(report)
    text = render_report(report)
    assert "no reference used: 21 examples" in text
    assert "  not asked sign symmetry, zero weights: of the plain LSTM cell alone" in text
    assert "lstm_ref" not in text
    # Past the edges of blocks parameters are as layers are initialized.
    assert {example.case.regime for example in report.examples} <= {*OWN_REGIMES, "init"}
    for name in GENERAL:
        assert report.claim_counts[name][Verdict.PASS] >= 5, name
    assert report.claim_counts[CHECK_GRAD][Verdict.PASS] == 21


def test_a_failure_without_a_reference_is_shrunk_and_stays_one():
    def last_step_of_many(g, inputs, cotangents):
        if inputs[1].shape[1] > 3:
            g["dX"][:, -1] *= 1.001

    report = verify(spoilt(last_step_of_many), examples=21, reference=False)
    assert report.exit_code == 1
    assert report.failure.case.s == 4
    assert not report.failure.reference
    again = verify_case(report.target, report.failure.case, reference=False)
    assert {claim.name for claim in report.failure.failures} <= {claim.name for claim in again.failures}


def test_a_target_that_fits_the_reference_and_breaks_a_property_is_failed():
    def wrong_at_zero(g, inputs, cotangents):
        if not any(cotangent.any() for cotangent in cotangents):
            g["dX"] += 1

    report = verify(spoilt(wrong_at_zero, plain), examples=25)
    assert report.exit_code == 1
    # One part of the cotangents can be all zero, too.
    assert {claim.name for claim in report.failure.failures} <= {"zero cotangent", "linearity"}
    assert verify_case(report.target, report.failure.case, properties=NAMES).verdict is Verdict.FAIL
    # Other sizes are asked for the property that does not hold, and not for those whose turn it is: it never holds.
    failed = verify_case(report.target, CASE, properties=("zero cotangent",))
    assert explain(report.target, failed).pattern == ""


def test_no_property_is_asked_where_a_tensor_is_wrong():
    report = verify_case(spoilt(all_twice, plain), CASE, properties=NAMES)
    assert report.verdict is Verdict.FAIL
    assert not {claim.name for claim in report.claims} & set(NAMES)


def test_an_exception_at_a_derived_problem_is_a_failure():
    def target(p, X, h0, C0):
        if X.shape[0] == 1:
            raise ValueError("one sample is not enough")
        return coupled(p, X, h0, C0)

    claim = verify_case(from_function(target), Case(2, 4, 2, 3), reference=False).claim("batch split")
    assert claim.verdict is Verdict.FAIL
    assert "forward raised ValueError: one sample is not enough" in claim.discrepancy.message


@pytest.mark.parametrize("value", [np.nan, "wide", "wrong shape"])
def test_a_wrong_form_is_failed_without_a_reference(value):
    def change(g, inputs, cotangents):
        if value == "wide":
            g["dX"] = g["dX"].astype(np.longdouble)
        elif value == "wrong shape":
            g["dX"] = g["dX"][0]
        else:
            g["dX"][0, 0, 0] = value

    report = verify_case(spoilt(change), CASE, reference=False)
    assert report.failures[0].name == "dX"


def test_what_a_target_lacks_is_unsupported_and_what_is_not_at_stake_vacuous():
    def target(p, X):
        zeros = np.zeros((X.shape[0], p["Vf"].shape[0]), X.dtype)
        (h, _), pullback = coupled(p, X, zeros, zeros)
        return (h, None), lambda dh: {n: g for n, g in pullback(dh, zeros).items() if n not in ("dh0", "dC0")}

    report = verify(from_function(target), examples=21, reference=False)
    assert report.exit_code == 0, render_report(report)
    # Inconclusive where the problem is chaotic, whatever is asked.
    assert Verdict.UNSUPPORTED in (counts := report.claim_counts["sequence cut"])
    assert not {Verdict.PASS, Verdict.FAIL} & set(counts)
    one = verify_case(from_function(coupled), Case(1, 1, 2, 1, cotangents="every"), reference=False)
    for name in ("batch permutation", "batch split", "unit permutation", "causality", "sequence cut"):
        assert one.claim(name).verdict is Verdict.VACUOUS


def test_a_chaotic_case_is_inconclusive():
    report = verify_case(from_function(plain), Case(2, 3, 2, 2, regime="x100"), reference=False)
    assert {claim.verdict for claim in report.claims if claim.name in NAMES} == {Verdict.INCONCLUSIVE}
    assert report.verdict is Verdict.INCONCLUSIVE


def test_each_example_is_asked_a_few_properties_and_a_hundred_all_of_them():
    report = verify(from_function(plain), examples=25, seed=2)
    for example in report.examples:
        asked = tuple(claim.name for claim in example.claims if claim.name in NAMES)
        assert asked == rotation(example.case)
        assert len(asked) == PER_EXAMPLE
    turns = [name for seed in range(100) for name in rotation(Case(3, 4, 2, 3, seed=seed))]
    assert min(turns.count(name) for name in NAMES) >= 8


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("dims", [(2, 3, 4, 5), (3, 3, 4, 5), (2, 1, 3, 3)])
def test_h_of_the_last_step_now_and_of_every_step_then_is_failed_for_its_shape(dims, reference):
    """Either form will do where the last step's output alone counts, but not by turns."""
    layer, calls = from_layer(lstm_ref.LSTM), itertools.count()

    def call(p, X, h0, C0, sequences):
        return positional(layer)(p, X, h0, C0, sequences or next(calls) % 2 == 1)

    report = verify_case(
        replace(layer, call=by_name(call)), Case(*dims, cotangents="last", seed=1), reference=reference
    )
    # What autograd asks besides may be refused by the layer itself, whose form is then another one.
    told = [failed.discrepancy.message for failed in report.failures if failed.name not in QUESTIONS]
    assert told
    assert all(", h has shape (" in message for message in told)
    assert any(", and that of the case has (" in message for message in told)


def test_the_closed_form_is_the_reference_at_zero_weights():
    case = Case(3, 5, 2, 4, regime="zero", seed=3)
    due, _ = zero_weights_answer(case.arrays)
    expected = expect(case)
    for name, value in due.items():
        assert value.shape == expected.values[name].shape
        np.testing.assert_allclose(value, expected.values[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_the_command_line(tmp_path):
    (tmp_path / "variant.py").write_text(
        "import numpy as np\n"
        "from lstm_ref import LSTM as Plain\n"
        "class LSTM(Plain):\n"
        "    def forward(self, X, h0=None, C0=None):\n"
        "        self.p['bf'] += 1\n"
        "        try:\n"
        "            return super().forward(X, h0, C0)\n"
        "        finally:\n"
        "            self.p['bf'] -= 1\n"
    )

    def run(*more):
        command = [sys.executable, "-m", "lstm_checks", "verify", "variant.py:LSTM", *more]
        found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
        assert "Traceback" not in found.stderr
        return found

    alone = run("--examples", "8", "--no-reference", "--json", "report.json")
    assert alone.returncode == 0, alone.stdout
    assert "no reference used" in alone.stdout
    assert json.loads((tmp_path / "report.json").read_text())["reference"] is None
    asked = run("--case", "m1s2e1u1-float64-seed0", "--no-reference", "--properties", "causality,zero-weights")
    assert asked.returncode == 1
    assert asked.stdout.startswith("zero weights: with all weights and biases zero, ")
    assert asked.stdout.rstrip().endswith("--no-reference --properties all")
    for wrong in (("--properties", "fairness"), ("--no-reference", "--regimes", "x100")):
        assert run(*wrong).returncode == 2


@pytest.mark.parametrize("spec", ["lstm_ref:LSTM", "lstm_fast:LSTM"])
def test_a_loss_that_turns_within_the_usual_step_along_the_gradient_blames_nobody(spec):
    """Over 54 steps of mixed scales the usual step brings a ten-thousandth of the fall that is due."""
    case = Case.parse("m1s54e7u9-float64-mixed-seed31174")
    assert not verify_case(load_target(spec), case, properties=("gradient step",)).failures
