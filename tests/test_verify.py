"""The harness finds what is planted and says which tensor; form never fools it; on what is right it is silent."""

from dataclasses import replace

import numpy as np
import pytest

import lstm_fast
import lstm_ref
from checks import oracles
from checks.cases import Case
from checks.compare import Verdict
from checks.contract import DHN, GATES, GRADIENTS, INPUTS, LAST, Target, from_function, from_layer
from checks.report.text import render_case, render_failure, render_report
from checks.verify import COMPLEX_STEP, INPUTS_KEPT, OUTPUTS_KEPT, SECOND_CALL, verify, verify_case

CASE = Case(2, 3, 4, 5, seed=1)


def right(p, X, h0, C0):
    """A plain target in the vjp form."""
    fc = lstm_ref.lstm_forward(p, X, h0, C0)

    def pullback(dh, dCn):
        bc = lstm_ref.lstm_backward(p, fc, dh, np.zeros_like(h0), dCn)
        g = lstm_ref.lstm_parameter_gradients(fc, bc)
        return g | {name: bc[name] for name in ("dX", "dh0", "dC0")}

    return (fc["h"], fc["C_"][:, -1].copy()), pullback


def spoilt(change):
    """The plain target with `change(gradients)` made to what its pullback returns."""

    def target(p, X, h0, C0):
        outputs, pullback = right(p, X, h0, C0)

        def spoilt_pullback(dh, dCn):
            gradients = pullback(dh, dCn)
            return change(gradients) or gradients

        return outputs, spoilt_pullback

    return from_function(target)


def scaled(name, factor):
    def change(gradients):
        gradients[name] = gradients[name] * factor

    return change


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layer", [lstm_ref.LSTM, lstm_fast.LSTM], ids=["lstm_ref", "lstm_fast"])
def test_right_layers_pass(layer, dtype):
    report = verify(from_layer(layer), examples=40, seed=3, dtypes=(dtype,))
    assert report.exit_code == 0, render_report(report)
    assert len(report.examples) == 40


class HandsOn(lstm_fast.LSTM):
    """A layer whose methods hand on whatever they are given."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class Plain:
    """A layer in EpyNN's form with the least there is: other names, no `sequences`, no states, no dtype."""

    def __init__(self, units):
        self.inner = lstm_ref.LSTM(units, sequences=True)
        self.p = self.inner.p

    def compute_shapes(self, X):
        self.inner.compute_shapes(X)

    def initialize_parameters(self):
        self.inner.initialize_parameters()

    def forward(self, X):
        return self.inner.forward(X)

    def backward(self, dA):
        return self.inner.backward(dA)

    def compute_gradients(self):
        self.inner.compute_gradients()
        self.g = self.inner.g


def test_a_layer_that_hands_on_its_arguments_is_judged_whole():
    report = verify(from_layer(HandsOn), examples=21)
    assert report.exit_code == 0, render_report(report)
    assert report.target.unsupported == ()
    assert report.stratum_counts["last"] > 0


def test_a_layer_with_the_least_there_is_passes_and_what_it_lacks_is_said():
    report = verify(from_layer(Plain), examples=21)
    assert report.exit_code == 0, render_report(report)
    assert set(report.target.unsupported) == {"initial states", "Cn", "dCn", "dh0", "dC0"}


def test_a_function_in_the_vjp_form_passes():
    report = verify(from_function(right), examples=30)
    assert report.exit_code == 0, render_report(report)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_relative_error_of_1e_12_is_caught_and_the_tensor_named(name):
    report = verify(spoilt(scaled(name, 1 + 1e-12)), examples=15)
    assert report.exit_code == 1
    assert report.failure is not None
    assert {claim.name for claim in report.failure.failures} <= {name, SECOND_CALL}
    assert render_failure("it", report.failure).startswith(f"{name}[")


@pytest.mark.parametrize("gate", GATES)
def test_a_relative_error_of_1e_9_is_caught_in_every_example_that_says_anything(gate):
    name = f"dU{gate}"
    report = verify(spoilt(scaled(name, 1 + 1e-9)), examples=40)
    found = report.claim_counts[name]
    assert found[Verdict.PASS] == 0
    assert found[Verdict.FAIL] > 20


def missing(g):
    del g["dUf"]


def extra(g):
    g["dWf"] = g["dUf"]


def row_for_matrix(g):
    g["dbf"] = g["dbf"][0]


def wide(g):
    g["dVo"] = g["dVo"].astype(np.longdouble)


def single(g):
    g["dVo"] = g["dVo"].astype(np.float32)


def of_lists(g):
    g["dX"] = g["dX"].tolist()


def not_a_number(g):
    g["dX"] = g["dX"].copy()
    g["dX"][1, 2, 0] = np.nan


def raises(g):
    raise RuntimeError("no memory left\nin two lines")


def leaves(g):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (missing, "dUf is missing, expected an array of shape (4, 5)"),
        (extra, "dWf is not a gradient of the contract"),
        (row_for_matrix, "dbf has shape (5,), expected (1, 5)"),
        (wide, "dVo has dtype"),
        (single, "dVo has dtype float32, expected float64"),
        (of_lists, "dX is a builtins.list, expected a NumPy array of float64"),
        (not_a_number, "dX[1, 2, 0] = nan, but should be finite; first non-finite value at step 3 of 3"),
        (lambda g: [1, 2], "the pullback returned a list, expected gradients by name"),
        (raises, "pullback raised RuntimeError: no memory left"),
        (leaves, "pullback raised SystemExit: 3"),
    ],
)
def test_wrong_form_is_failed_with_a_plain_sentence(change, words):
    report = verify_case(spoilt(change), CASE)
    assert report.verdict is Verdict.FAIL
    assert words in render_failure("it", report)
    assert "Traceback" not in render_failure("it", report)


@pytest.mark.parametrize("result", [None, 3, (1, 2), ((1, 2, 3), len), ((1, 2), 3)])
def test_a_call_of_another_form_is_failed(result):
    report = verify_case(from_function(lambda p, X, h0, C0: result), CASE)
    assert report.verdict is Verdict.FAIL


def test_a_target_that_writes_to_its_input_is_failed():
    def target(p, X, h0, C0):
        result = right(p, X.copy(), h0, C0)
        X[0, 0, 0] = 7.0
        return result

    claim = verify_case(from_function(target), CASE).claim(INPUTS_KEPT)
    assert claim.verdict is Verdict.FAIL
    assert "wrote to its input X" in claim.discrepancy.message


def test_a_target_that_hangs_on_to_its_inputs_is_failed():
    known = {}

    def target(p, X, h0, C0):
        if id(X) not in known:
            known[id(X)] = (X, right({k: v.copy() for k, v in p.items()}, X.copy(), h0.copy(), C0.copy()))
        return known[id(X)][1]

    assert verify_case(from_function(target), CASE).verdict is Verdict.FAIL


def test_a_target_that_adds_to_its_last_gradients_is_failed():
    total = {}

    def change(g):
        for name in ("dUf", "dbo"):
            last = total.get(name)
            g[name] = g[name] + last if last is not None and last.shape == g[name].shape else g[name]
            total[name] = g[name]

    report = verify_case(spoilt(change), CASE)
    assert {claim.name for claim in report.failures} >= {"dUf", "dbo"}


def test_a_result_in_a_buffer_that_a_later_call_overwrites_is_failed():
    buffer = np.zeros(10_000)

    def change(g):
        size = g["dX"].size
        buffer[:size] = g["dX"].ravel()
        g["dX"] = buffer[:size].reshape(g["dX"].shape)

    assert verify_case(spoilt(change), CASE).claim(OUTPUTS_KEPT).verdict is Verdict.FAIL


def test_state_kept_from_a_call_of_another_shape_is_failed():
    calls = []

    def target(p, X, h0, C0):
        calls.append(X.shape)
        h0 = h0 + 1e-3 * (len(calls) > 1 and calls[-2] != X.shape and len(set(calls)) > 1)
        return right(p, X, h0, C0)

    assert verify_case(from_function(target), CASE).claim(SECOND_CALL).verdict is Verdict.FAIL


def test_bits_that_differ_within_the_tolerance_are_noted():
    calls = []

    def change(g):
        calls.append(0)
        g["dX"] = g["dX"] * (1 + 2.0**-52 * (len(calls) % 3 == 0))

    report = verify_case(spoilt(change), CASE)
    assert report.verdict is Verdict.PASS
    assert "not repeatable" in report.notes[0]


def test_what_a_target_lacks_is_unsupported_and_not_passed():
    def target(p, X):
        zeros = np.zeros((X.shape[0], p["Vf"].shape[0]), X.dtype)
        (h, _), pullback = right(p, X, zeros, zeros)

        def pullback_of_h(dh):
            gradients = pullback(dh, zeros)
            return {n: None if n == "dX" else g for n, g in gradients.items() if n not in ("dh0", "dC0")}

        return (h, None), pullback_of_h

    found = from_function(target)
    assert set(found.unsupported) == {"initial states", "Cn", "dCn", "dX", "dh0", "dC0"}
    report = verify(found, examples=20)
    assert report.exit_code == 0, render_report(report)
    for name in ("Cn", "dX", "dh0", "dC0"):
        assert set(report.claim_counts[name]) == {Verdict.UNSUPPORTED}
    assert verify_case(found, CASE).verdict is Verdict.UNSUPPORTED
    assert "unsupported: initial states, Cn, dCn, dX, dh0, dC0" in render_report(report)


def test_nothing_at_stake_is_vacuous():
    report = verify_case(from_function(right), Case(2, 1, 3, 4, states=False))
    for name in ("dVf", "dVi", "dVg", "dVo", "dUf", "dbf"):
        assert report.claim(name).verdict is Verdict.VACUOUS
    assert report.claim("dUi").verdict is Verdict.PASS


def test_a_wrong_reference_blames_the_harness_and_not_the_target(monkeypatch):
    correct = oracles.lstm_parameter_gradients

    def wrong(fc, bc):
        g = correct(fc, bc)
        return g | {"dVi": g["dVi"] * (1 + 1e-9)}

    monkeypatch.setattr(oracles, "lstm_parameter_gradients", wrong)
    report = verify(from_function(right), examples=5)
    assert report.exit_code == 2
    assert "MISTRUSTED" in render_report(report)
    assert report.examples[-1].claim(COMPLEX_STEP) is not None


def test_a_failing_example_is_shrunk_to_what_the_bug_needs():
    def target(p, X, h0, C0):
        outputs, pullback = right(p, X, h0, C0)

        def wrong(dh, dCn):
            g = pullback(dh, dCn)
            if X.shape[1] > 3 and p["Uf"].shape[0] > p["Uf"].shape[1]:
                g["dVg"] = -g["dVg"]
            return g

        return outputs, wrong

    report = verify(from_function(target), examples=40)
    assert report.failure.case.dims == (1, 4, 2, 1)
    assert report.failure.case.regime == "normal"
    assert report.failure.pattern == "right at s=3 and at e=1, wrong from s=4 e=2"
    assert "  pattern   right at s=3 and at e=1, wrong from s=4 e=2\n" in render_failure("it", report.failure)


def test_the_failure_text():
    def change(g):
        g["dVf"] = g["dVf"].copy()
        g["dVf"][2] *= 1.25

    text = render_failure("mylib:LSTM", verify_case(spoilt(change), CASE)).splitlines()
    assert text[0].startswith("dVf[2, ")
    assert ", but should be " in text[0]
    assert " ± " in text[0]
    assert text[0].endswith("[mylib:LSTM against lstm_ref]")
    assert text[1] == "  case      m2s3e4u5-float64-seed1"
    assert text[2].startswith("  extent    dVf 5/25 entries (row 2); 1 of 17 tensors; the others use at most ")
    assert text[3] == "  oracles   complex step agrees with lstm_ref; check_grad rejects the target too"
    assert text[4] == "  rerun     lstm-checks verify mylib:LSTM --case m2s3e4u5-float64-seed1"


def test_the_text_of_a_case_that_passes_lists_every_claim():
    text = render_case("it", verify_case(from_function(right), CASE))
    for name in (*GRADIENTS, "h", "Cn"):
        assert f"  {name} " in text
    assert text.endswith("PASS  it: pass")


def test_a_forward_pass_with_two_gates_swapped_is_caught_though_its_own_gradients_fit():
    swap = {"f": "i", "i": "f", "g": "g", "o": "o"}

    def target(p, X, h0, C0):
        (h, Cn), pullback = right({k[0] + swap[k[1]]: v for k, v in p.items()}, X, h0, C0)

        def swapped(dh, dCn):
            g = pullback(dh, dCn)
            return {(n[:2] + swap[n[2]] if n[1:] in p else n): v for n, v in g.items()}

        return (h, Cn), swapped

    report = verify_case(from_function(target), CASE)
    assert report.verdict is Verdict.FAIL
    assert report.claim("h").verdict is Verdict.FAIL
    assert report.claim("check_grad").verdict is Verdict.PASS


def test_inputs_of_the_contract_are_fifteen():
    assert len(INPUTS) == len(GRADIENTS) == 15


def test_a_dtype_the_target_has_not_is_unsupported():
    only64 = replace(from_function(right), dtypes=("float64",))
    assert verify_case(only64, replace(CASE, dtype="float32")).verdict is Verdict.UNSUPPORTED


def forward_only(spoil=0.0):
    """A target without any gradient."""

    def call(p, X, h0, C0, sequences=True):
        (h, Cn), _ = right(p, X, h0, C0)
        return (h + spoil, Cn), lambda dh, dCn, dhn=None: {}

    return Target("forward", "forward pass", call, frozenset({DHN, LAST, *GRADIENTS}))


def test_of_a_target_without_gradients_the_forward_pass_is_judged():
    report = verify(forward_only(), examples=30)
    text = render_report(report)
    assert report.exit_code == 0, text
    assert "unsupported: all gradients, so only the forward pass is judged" in text
    assert "check_grad" not in text
    assert set(report.claim_counts["linearity"]) <= {Verdict.UNSUPPORTED}
    assert verify(forward_only(1e-9), examples=5).exit_code == 1


def test_a_target_that_compiles_is_asked_for_few_shapes_in_every_stratum():
    compiled = replace(from_function(right), compiles=True)
    report = verify(compiled, examples=60)
    assert report.exit_code == 0
    assert len({example.case.dims for example in report.examples}) <= 12
    assert all(report.stratum_counts.values()), report.stratum_counts
    assert "few because each is compiled" in render_report(report)
    assert verify(compiled, examples=4, max_dims=(1, 1, 1, 1)).exit_code == 0


class Elsewhere:
    """An array on a device, as PyTorch has it."""

    def __init__(self, array):
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    def detach(self):
        return self

    def cpu(self):
        return self.array


def test_arrays_of_other_libraries_and_devices_are_read():
    def target(p, X, h0, C0):
        (h, Cn), pullback = right(p, X, h0, C0)
        return (Elsewhere(h), Elsewhere(Cn)), lambda dh, dCn: {k: Elsewhere(v) for k, v in pullback(dh, dCn).items()}

    assert verify_case(from_function(target), CASE).verdict is Verdict.PASS
