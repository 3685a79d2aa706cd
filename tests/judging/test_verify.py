"""The harness finds what is planted and says which tensor; form never fools it; on what is right it is silent."""

import re
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from agreement import positional
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_fast
import lstm_ref
from lstm_checks import strategies, tolerance
from lstm_checks.calling import other_values
from lstm_checks.cases import COTANGENTS, REGIMES, Case, strata, strata_of
from lstm_checks.compare import TIMEOUT, Claim, Discrepancy, Verdict
from lstm_checks.contract import CN, DCN, DHN, LAST, PLAIN, STATES, Target, TimeLimitError, by_name
from lstm_checks.diagnosis.diagnose import Diagnosis
from lstm_checks.diagnosis.observe import due_on
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain, explain_simplest, most_telling
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
    CaseReport,
    Report,
    claims_about,
)
from lstm_checks.judging.text import render_case, render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles import expected as expecting
from lstm_checks.oracles.check_grad import check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import expect
from lstm_checks.oracles.objective import reference_forward
from lstm_checks.properties.claims import OF_ITS_EQUATIONS, OWN_REGIMES, rotation
from lstm_checks.strategies import draw_options
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer

ALL_CLAIMS = claims_about(PLAIN)
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
    report = verify(from_layer(HandsOn), examples=40)
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


@pytest.fixture
def unexplained(monkeypatch):
    """Failures are told as they were met: to explain them takes longer than to judge all examples."""
    first = "lstm_checks.judging.explain.explain_run"
    monkeypatch.setattr(first, lambda target, reports, *_: (tuple(r for r in reports if r.failures)[:1], ()))


@pytest.mark.parametrize("name", PLAIN.gradients)
def test_a_relative_error_of_1e_12_is_caught_and_the_tensor_named(name, unexplained):
    report = verify(spoilt(scaled(name, 1 + 1e-12)), examples=15)
    assert report.exit_code == 1
    failed = [example for example in report.examples if example.failures]
    assert {claim.name for example in failed for claim in example.failures} <= {name, SECOND_CALL}
    assert all(render_failure("it", example).startswith(f"{name}[") for example in failed)


@pytest.mark.parametrize("gate", PLAIN.gates)
def test_a_relative_error_of_1e_9_is_caught_in_every_example_that_says_anything(gate, unexplained):
    name = f"dU{gate}"
    report = verify(spoilt(scaled(name, 1 + 1e-9)), examples=40, dtypes=("float64",))
    found = report.claim_counts[name]
    assert found[Verdict.PASS] == 0
    assert found[Verdict.FAIL] > 20


def missing(g):
    del g["dUf"]


def extra(g):
    g["dWf"] = g["dUf"]


def row_for_matrix(g):
    g["dUf"] = g["dUf"][0]


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
        (missing, "dUf is missing, expected an array of shape (e, u) = (4, 5)"),
        (extra, "dWf is not a gradient of the contract"),
        (row_for_matrix, "dUf has shape (5,), expected (e, u) = (4, 5)"),
        (wide, "dVo has dtype"),
        (single, "dVo has dtype float32, expected float64"),
        (of_lists, "dX is a list, expected a NumPy array of float64"),
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


def under_a_mask(gradients):
    mask = np.zeros(gradients["dVi"].shape, bool)
    mask[0] = True
    gradients["dVi"] = np.ma.masked_array(np.where(mask, 2, 1) * gradients["dVi"], mask)


def test_check_grad_does_not_see_nothing_where_it_is_what_fails():
    """The gradient in every entry may be off where a random direction of it is not, by chance."""
    report = verify_case(from_layer(lstm_ref.LSTM), CASE)
    failed = Claim(CHECK_GRAD_ALL, Verdict.FAIL, 2.0, Discrepancy("all", "oracle", "rejected in every entry"))
    text = render_failure("it", replace(report, claims=(*report.claims, failed)))
    assert text.startswith("rejected in every entry")
    assert "check_grad" not in text.partition("\n")[2]


def test_what_is_wrong_under_a_mask_is_wrong():
    report = verify_case(spoilt(under_a_mask), CASE)
    claim = report.claim("dVi")
    assert (claim.verdict, claim.discrepancy.wrong, claim.discrepancy.where) == (Verdict.FAIL, 5, "row 1 of 5")
    assert "dVi 5/25 entries" in render_failure("it", explain(spoilt(under_a_mask), report))


def test_numpy_errors_that_the_user_has_raise_do_not_raise_in_the_oracles():
    case = Case.parse("m1s1e1u1-float64-nostates-seed0")
    with np.errstate(all="raise"):
        assert verify_case(from_function(right), case).verdict is Verdict.PASS


@pytest.mark.parametrize("result", [None, 3, (1, 2), ((1, 2, 3), len), ((1, 2), 3)])
def test_a_call_of_another_form_is_failed(result):
    report = verify_case(from_function(lambda p, X, h0, C0: result), CASE)
    (claim,) = (c for c in report.claims if c.verdict is Verdict.FAIL)
    assert (claim.name, claim.use, claim.discrepancy.tensor, claim.discrepancy.kind) == ("h", np.inf, "h", "error")


def layer_with(**methods):
    return type("Layer", (lstm_ref.LSTM,), methods)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            layer_with(initialize_parameters=lambda self: setattr(self, "p", None)),
            "layer.p is None after initialize_parameters(), expected a dict of the parameters Uf Vf bf ... bo",
        ),
        (
            layer_with(compute_gradients=lambda self: setattr(self, "g", [])),
            "layer.g is a list of 0 after compute_gradients(), expected a dict of their gradients dUf dVf dbf ... dbo",
        ),
        (
            layer_with(forward=lambda self, X, h0, C0: (lstm_ref.LSTM.forward(self, X, h0, C0), 1)),
            "h is a tuple, expected a NumPy array",
        ),
        (layer_with(forward=lambda self, X, h0, C0: {}["h"]), "forward raised KeyError: 'h' (test_verify.py, line "),
        (
            layer_with(forward=lambda self, X, h0, C0: np.linalg.inv(X[0])),
            "LinAlgError: Last 2 dimensions of the array",
        ),
    ],
)
def test_what_a_layer_does_amiss_is_told_with_the_line_where_it_does(layer, words, recwarn, capsys):
    text = render_failure("it", verify_case(from_layer(layer), CASE))
    assert words in text.splitlines()[0]
    assert ("test_verify.py, line " in text) == ("raised" in text)
    assert len(recwarn) == 0


def test_a_target_may_print_and_warn(capsys, recwarn):
    def noisy(p, X, h0, C0):
        print("here")
        warnings.warn("there", stacklevel=1)
        return right(p, X, h0, C0)

    assert verify_case(from_function(noisy), CASE).verdict is Verdict.PASS
    assert len(recwarn) == 0
    assert capsys.readouterr().out == ""


def test_a_target_that_writes_to_its_input_is_failed():
    def target(p, X, h0, C0):
        result = right(p, X.copy(), h0, C0.copy())
        X[0, 0, 0] = C0[0, 0] = 7.0
        return result

    report = verify_case(from_function(target), CASE)
    claim = report.claim(INPUTS_KEPT)
    assert claim.verdict is Verdict.FAIL
    assert "wrote to its input X, C0" in claim.discrepancy.message
    # Its values are right, and so the properties are asked all the same.
    assert [c.name for c in report.claims if c.name in PROPERTIES] == list(rotation(CASE))
    assert (claim.use, claim.discrepancy.tensor, claim.discrepancy.kind) == (np.inf, "X", "inputs")


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


def test_results_in_a_buffer_that_a_later_call_overwrites_are_failed():
    buffers = {"dX": np.zeros(10_000), "dbo": np.zeros(10_000)}

    def change(g):
        for name, buffer in buffers.items():
            size = g[name].size
            buffer[:size] = g[name].ravel()
            g[name] = buffer[:size].reshape(g[name].shape)

    claim = verify_case(spoilt(change), CASE).claim(OUTPUTS_KEPT)
    assert (claim.verdict, claim.use) == (Verdict.FAIL, np.inf)
    assert claim.discrepancy.message.startswith("a later call wrote to dbo, dX returned")
    assert (claim.discrepancy.tensor, claim.discrepancy.kind) == ("dbo", "outputs")


class Stateful(lstm_ref.LSTM):
    """Goes on from its last memory state where it is given none."""

    def forward(self, X, h0=None, C0=None):
        before = self.fc.get("C_")
        if C0 is None and before is not None and before.shape[0] == X.shape[0]:
            C0 = before[:, -1]
        return super().forward(X, h0, C0)


def test_states_that_are_not_given_are_zero():
    report = verify(from_layer(Stateful), examples=21)
    assert report.exit_code == 1
    assert not report.failure.case.states
    assert verify(from_layer(lstm_ref.LSTM), examples=21).exit_code == 0


class WithoutGivenStates(lstm_ref.LSTM):
    """Keeps no gradients of states that it was not given."""

    def forward(self, X, h0=None, C0=None):
        self.given = h0 is not None
        return super().forward(X, h0, C0)

    def backward(self, dA, dhn=None, dCn=None):
        dX = super().backward(dA, dhn, dCn)
        if not self.given:
            del self.bc["dh0"], self.bc["dC0"]
        return dX


def test_gradients_of_states_that_are_not_given_need_not_be_kept():
    assert verify(from_layer(WithoutGivenStates), examples=21).exit_code == 0


def test_a_target_of_float32_alone_is_judged_in_that():
    def single(p, X, h0, C0):
        if X.dtype != np.float32:
            raise TypeError("float32 only")
        return right(p, X, h0, C0)

    assert from_function(single).dtypes == ("float32",)
    assert from_function(right).dtypes == ("float64", "float32")


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
    assert report.notes == ("not repeatable: two calls with the same inputs differ in their last bits",)
    assert verify_case(from_function(right), CASE).notes == ()
    assert verify_case(from_function(right), CASE, thorough=False).notes == ()


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
    report_of_one = verify_case(found, CASE)
    reason = "initial states, which this case needs"
    assert report_of_one.case.descriptor == CASE.descriptor
    assert report_of_one.verdict is Verdict.UNSUPPORTED
    assert report_of_one.claims == tuple(Claim(n, Verdict.UNSUPPORTED, reason=reason) for n in PLAIN.tensors)
    assert "unsupported: initial states, Cn, dCn, dX, dh0, dC0" in render_report(report)


def test_nothing_at_stake_is_vacuous():
    report = verify_case(from_function(right), Case(2, 1, 3, 4, states=False))
    for name in ("dVf", "dVi", "dVg", "dVo", "dUf", "dbf"):
        assert report.claim(name).verdict is Verdict.VACUOUS
    assert report.claim("dUi").verdict is Verdict.PASS


@pytest.fixture
def forgetful():
    """Nothing that the reference gave before the test is remembered in it, and nothing of the test's after it."""
    due_on.cache_clear()
    yield
    due_on.cache_clear()


def test_a_wrong_reference_blames_the_harness_and_not_the_target(monkeypatch, forgetful):
    correct = expecting.evaluate

    def wrong(*arguments):
        values = correct(*arguments)
        return values | {"dVi": values["dVi"] * (1 + 1e-9)}

    monkeypatch.setattr(expecting, "evaluate", wrong)
    report = verify(from_function(right), examples=5)
    assert report.exit_code == 2
    assert "MISTRUSTED" in render_report(report)
    assert report.examples[-1].claim(COMPLEX_STEP) is not None


def test_which_oracle_the_reference_fails_by_is_told(monkeypatch, forgetful):
    correct = expecting.evaluate

    def doubled(cell, *arguments):
        values = correct(cell, *arguments)
        return values | {f"d{name}": 2 * values[f"d{name}"] for name in cell.parameters}

    monkeypatch.setattr(expecting, "evaluate", doubled)
    report = verify_case(from_function(right), Case(1, 2, 1, 1, seed=1))
    by_complex_step, by_check_grad = report.mistrusted
    for claim, sentence, where in (
        (by_complex_step, "the complex step disagrees with lstm_ref", r"d[UVb][figo]\[\d, \d\]"),
        (by_check_grad, "scipy.optimize.check_grad rejects lstm_ref's gradient", "random"),
    ):
        pattern = rf"{re.escape(sentence)}: \S+ times what rounding and truncation explain \(({where})\)"
        found = re.fullmatch(pattern, claim.discrepancy.message)
        assert found
        assert (claim.discrepancy.tensor, claim.discrepancy.kind) == (found[1], "oracle")
        assert claim.use > 1


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
    assert report.failure.reference is True
    assert report.failure.claim("dVg").verdict is Verdict.FAIL
    assert report.failure.pattern.startswith("wrong where s >= 4 and e > u, in ")
    assert "  pattern   wrong where s >= 4 and e > u, in " in render_failure("it", report.failure)


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
    assert text[2].startswith("  extent    dVf 5/25 entries (row 3 of 5); 1 of 17 tensors; the others use at most ")
    assert text[3] == "  oracles   complex step agrees with lstm_ref; check_grad rejects the target too"
    assert text[4] == "  rerun     lstm-checks verify mylib:LSTM --case m2s3e4u5-float64-seed1"


def test_the_text_of_a_case_that_passes_lists_every_claim():
    text = render_case("it", verify_case(from_function(right), CASE))
    for name in (*PLAIN.gradients, "h", "Cn"):
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
    assert len(PLAIN.inputs) == len(PLAIN.gradients) == 15


def test_a_dtype_the_target_has_not_is_unsupported():
    never_single = replace(from_function(right), dtypes=("float16", "float64"))
    case = replace(CASE, dtype="float32")
    report = verify_case(never_single, case)
    assert report.verdict is Verdict.UNSUPPORTED
    assert report.case is case
    reason = "float32: the target computes in float16, float64"
    assert report.claims == tuple(Claim(n, Verdict.UNSUPPORTED, reason=reason) for n in PLAIN.tensors)


def forward_only(spoil=0.0):
    """A target without any gradient."""

    def call(p, X, h0, C0, sequences=True):
        (h, Cn), _ = right(p, X, h0, C0)
        return (h + spoil, Cn), lambda dh, dCn, dhn=None: {}

    return Target("forward", "forward pass", by_name(call), frozenset({DHN, LAST, *PLAIN.gradients}))


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
    assert len({example.case.dims for example in report.examples}) <= 18
    assert {name for name, count in report.stratum_counts.items() if not count} == set(report.unreachable)
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


VERDICTS = st.sampled_from(
    [tuple(Verdict), (Verdict.FAIL, Verdict.PASS), tuple(v for v in Verdict if v is not Verdict.FAIL)]
)
KINDS = st.sampled_from(["", "value", "error", TIMEOUT, "unheard of"])
USES = st.floats(0, 100)


@st.composite
def reports(draw):
    names = draw(st.lists(st.sampled_from([*ALL_CLAIMS, "dWf"]), max_size=8, unique=True))
    claims, verdicts = [], st.sampled_from(draw(VERDICTS))
    for name in names:
        verdict = draw(verdicts)
        kind = draw(KINDS) if verdict is Verdict.FAIL else ""
        claims.append(Claim(name, verdict, draw(USES), Discrepancy(name, kind, "") if kind else None))
    case = draw(st.sampled_from([CASE, Case(1, 1, 1, 1), Case(3, 3, 3, 3, "float32", "x10", states=False)]))
    return CaseReport(case, tuple(claims), reference=draw(st.booleans()))


@settings(max_examples=200)
@given(report=reports())
def test_the_verdict_on_a_case_follows_from_its_claims(report):
    of_target = [c for c in report.claims if c.name not in OF_HARNESS]
    tensors = [c for c in of_target if c.name in (*PLAIN.outputs, *PLAIN.gradients, "dWf")]
    failed = [c for c in of_target if c.verdict is Verdict.FAIL]
    assert set(report.failures) == set(failed)
    assert report.mistrusted == tuple(c for c in report.claims if c.verdict is Verdict.FAIL and c not in of_target)
    # A forward pass that is off is told first: the gradients are off for that.
    outputs = {name: k for k, name in enumerate(PLAIN.outputs)}
    order = [(c not in tensors, outputs.get(c.name, len(outputs)), -c.use) for c in report.failures]
    assert order == sorted(order)
    used = [c.use for c in tensors if c.verdict in (Verdict.PASS, Verdict.FAIL)]
    assert (report.worst.use if report.worst else None) == max(used, default=None)
    assert report.worst is None or report.worst in tensors
    assert report.timed_out == (TIMEOUT in {c.discrepancy.kind for c in report.claims if c.discrepancy})
    assert all(report.claim(c.name) is c for c in report.claims)
    assert report.claim("unheard of") is None
    if failed:
        assert report.verdict is Verdict.FAIL
        return
    gradients = [c for c in of_target if c.name in PLAIN.gradients and c.verdict is not Verdict.UNSUPPORTED]
    asked = gradients or [c for c in of_target if c.name in PLAIN.outputs]
    if not report.reference:
        asked = [c for c in of_target if c.name in PROPERTIES]
    found = {c.verdict for c in asked} - {Verdict.UNSUPPORTED}
    # Of what was asked, the most that can be said.
    assert report.verdict in (found or {Verdict.UNSUPPORTED})
    assert Verdict.PASS not in found or report.verdict is Verdict.PASS
    assert report.verdict is not Verdict.VACUOUS or Verdict.INCONCLUSIVE not in found


@given(examples=st.lists(reports(), max_size=5))
def test_a_report_adds_its_examples_up(examples):
    failure = next((e for e in examples if e.failures), None)
    report = Report(from_function(right), tuple(examples), failure, 0, 0.0)
    for verdict in Verdict:
        assert report.counts[verdict] == sum(e.verdict is verdict for e in examples)
    every = [c for e in examples for c in e.claims]
    assert {k: dict(v) for k, v in report.claim_counts.items()} == {
        name: {v: n for v in Verdict if (n := sum(c.name == name and c.verdict is v for c in every))}
        for name in {c.name for c in every}
    }
    assert [k for k in report.claim_counts if k in ALL_CLAIMS] == [k for k in ALL_CLAIMS if k in report.claim_counts]
    assert report.stratum_counts == {k: sum(k in strata(e.case) for e in examples) for k in strata_of(PLAIN)}
    passed = [(e.worst.use, id(e)) for e in examples if e.worst and e.worst.verdict is Verdict.PASS]
    assert (report.worst[1].use if report.worst else None) == max((use for use, _ in passed), default=None)
    assert report.worst is None or report.worst[0].worst is report.worst[1]
    mistrusted = any(e.mistrusted for e in examples)
    assert bool(report.mistrusted) == mistrusted
    judged = Verdict.PASS in {e.verdict for e in examples}
    assert report.exit_code == (2 if mistrusted else 1 if failure else 0 if judged else 2)


def hangs_in(number):
    """A target that gives no answer in time the `number`th time it is called."""
    calls = []

    def target(p, X, h0, C0):
        calls.append(X.shape)
        if len(calls) == number:
            raise TimeLimitError("no answer within 1 s")
        return right(p, X, h0, C0)

    found = from_function(target)
    calls.clear()
    return found, calls


def test_a_target_that_hangs_is_failed_by_that_and_not_called_again():
    target, calls = hangs_in(2)
    report = verify_case(target, CASE, thorough=False)
    assert not report.timed_out
    report = verify_case(target, CASE, thorough=False)
    assert report.timed_out
    assert [(c.name, c.discrepancy.kind) for c in report.failures] == [("h", TIMEOUT)]
    assert not verify_case(spoilt(raises), CASE, thorough=False).timed_out
    for number in (1, 2, 3):  # to see what dtypes it has, over other values, for its answer
        target, calls = hangs_in(number)
        start = time.perf_counter()
        report = verify(target, examples=5)
        assert 0 < report.seconds <= time.perf_counter() - start
        assert len(report.examples) == 1
        assert report.failure.case == report.examples[0].case
        assert report.failure.timed_out
        # Nor is a simpler case tried; in one process the next call has begun before the answer of one is looked at.
        assert len(calls) <= number + 1


@pytest.mark.parametrize("number", range(2, 8))
def test_whichever_call_gets_no_answer_is_a_failure(number):
    target, _ = hangs_in(number)
    report = verify(target, examples=1, dtypes=("float64",))
    assert report.exit_code == 1
    assert report.failure.timed_out


@pytest.mark.parametrize("error", [TimeLimitError("late"), ValueError("wrong")])
def test_an_exception_next_to_the_case_is_a_failure_of_check_grad(error):
    # 16 entries: both directions are asked.
    case = Case(1, 1, 1, 1, seed=1)
    calls = []

    def target(p, X, h0, C0):
        calls.append(X.shape)
        if X.shape == (1, 1, 1) and not np.array_equal(X, case.arrays["X"]) and len(calls) > 4:
            raise error
        return right(p, X, h0, C0)

    report = verify_case(from_function(target), case)
    found = {c.name: c.discrepancy.kind for c in report.failures if c.name in (CHECK_GRAD, CHECK_GRAD_ALL)}
    assert {c.discrepancy.tensor for c in report.failures if c.name in found} == {"h"}
    late = isinstance(error, TimeLimitError)
    message = (
        f"at inputs next to the case's, {'late' if late else 'forward raised ValueError: wrong (test_verify.py, line'}"
    )
    assert all(c.discrepancy.message.startswith(message) for c in report.failures if c.name in found)
    assert found == ({CHECK_GRAD: TIMEOUT} if late else {CHECK_GRAD: "error", CHECK_GRAD_ALL: "error"})
    assert report.timed_out == late


def rounds_to_single(p, X, h0, C0):
    return right({n: v.astype("float32") for n, v in p.items()}, *(v.astype("float32") for v in (X, h0, C0)))


def test_check_grad_is_asked_only_where_it_can_answer(monkeypatch):
    def asked(target, case, **more):
        return {c.name: c.verdict for c in verify_case(target, case, **more).claims if c.name.startswith("check_grad")}

    small, more = Case(1, 1, 1, 1, seed=1), Case(1, 2, 1, 1, seed=1)
    assert small.size <= tolerance.CHECK_GRAD_ALL
    target = from_function(right)
    both = {CHECK_GRAD: Verdict.PASS, CHECK_GRAD_ALL: Verdict.PASS}
    assert asked(target, small) == asked(target, replace(small, dtype="float32")) == both
    assert asked(target, more) == asked(target, small) == both
    assert asked(target, CASE) == {CHECK_GRAD: Verdict.PASS}
    assert asked(target, small, reference=False) == both
    # What computes in float32 whatever it is given moves in steps larger than SciPy's difference.
    for seed in range(5):
        assert asked(from_function(rounds_to_single), replace(small, dtype="float32", seed=seed)) == both
    # In float32 it takes the reference's forward pass.
    assert asked(target, replace(small, dtype="float32"), reference=False) == {}
    assert asked(target, small, thorough=False) == {}
    # Where the form of an output or a gradient is wrong there is nothing to ask about; a value's is asked.
    assert asked(spoilt(missing), CASE) == {}
    assert asked(spoilt(scaled("dUi", 2)), CASE) == {CHECK_GRAD: Verdict.FAIL}
    report = verify_case(spoilt(scaled("dUi", 2)), small)
    for name, direction in ((CHECK_GRAD, "random"), (CHECK_GRAD_ALL, "all")):
        message = report.claim(name).discrepancy.message
        assert message.startswith("scipy.optimize.check_grad rejects the target's gradient: ")
        assert message.endswith(f" times what rounding and truncation explain ({direction})")
    chaotic = Case(1, 2, 1, 1, regime="x100", seed=8)
    assert expect(chaotic).chaotic(PLAIN.gradients)
    assert asked(target, chaotic) == {CHECK_GRAD: Verdict.INCONCLUSIVE}
    monkeypatch.setattr(tolerance, "CHECK_GRAD_ALL", small.size)
    assert asked(target, small) == both
    monkeypatch.setattr(tolerance, "CHECK_GRAD_ALL", small.size - 1)
    assert asked(target, small) == {CHECK_GRAD: Verdict.PASS}


def test_how_far_the_oracles_are_from_disagreeing_is_told_and_of_what_is_chaotic_they_say_nothing():
    case = Case(1, 2, 1, 1, seed=1)
    expected = expect(case)
    gradient = {name: expected.values[name] for name in PLAIN.gradients}
    report = verify_case(from_function(right), case)
    uses = {
        COMPLEX_STEP: complex_step_disagreement(case, expected).use,
        CHECK_GRAD_REFERENCE: check_grad(reference_forward(case.cell), gradient, case, expected, "random").use,
    }
    assert all(0 < use < 1 for use in uses.values())
    assert [report.claim(name) for name in OF_HARNESS] == [Claim(n, Verdict.PASS, uses[n]) for n in OF_HARNESS]
    chaotic = verify_case(from_function(right), Case(1, 2, 1, 1, regime="x100", seed=8))
    assert [chaotic.claim(name) for name in OF_HARNESS] == [Claim(n, Verdict.INCONCLUSIVE) for n in OF_HARNESS]


@pytest.mark.parametrize("reference", [True, False])
def test_what_verify_draws_is_what_was_asked_for(monkeypatch, reference):
    asked = []

    def drawn(*args, **options):
        asked.append((*args, options))
        return {}

    monkeypatch.setattr(strategies, "draw_cases", drawn)
    target = replace(from_function(right), compiles=True)
    verify(target, reference=reference)
    report = verify(
        target,
        examples=7,
        seed=5,
        dtypes=("float32",),
        max_dims=(1, 2, 2, 3),
        regimes=("x100", "zero"),
        reference=reference,
    )
    assert (report.seed, report.examples, report.failure, report.exit_code) == (5, (), None, 2)
    (examples, seed, options), (few, other_seed, narrow) = asked
    assert (examples, seed, few, other_seed) == (100, 0, 7, 5)
    # In float32 check_grad cannot be asked, without which nothing is judged there.
    assert options["dtypes"] == (("float64", "float32") if reference else ("float64",))
    assert options["max_dims"] is None
    assert options["shapes"] == strategies.few_shapes(None, 0)
    # Without a reference what is chaotic by design is not drawn.
    assert options["regimes"] == (REGIMES if reference else OWN_REGIMES)
    assert narrow["dtypes"] == ("float32",)
    assert narrow["max_dims"] == (1, 2, 2, 3)
    assert narrow["shapes"] == strategies.few_shapes((1, 2, 2, 3), 5)
    assert narrow["regimes"] == (("x100", "zero") if reference else ("zero",))
    reachable = strategies.reachable_strata(**narrow)
    assert report.unreachable == tuple(name for name in strata_of(PLAIN) if name not in reachable) != ()


def test_every_example_is_asked_the_properties_that_were_chosen():
    seen = []
    report = verify(from_function(right), examples=3, properties=("causality",), progress=lambda: seen.append(1))
    assert len(seen) == len(report.examples) == 3
    for example in report.examples:
        assert [c.name for c in example.claims if c.name in PROPERTIES] == ["causality"]
        assert example.reference
    assert report.reference


@pytest.mark.parametrize("lacks", [set(), {STATES}, {CN}, {DCN}, {CN, DCN, STATES}])
def test_only_what_a_target_has_is_drawn(lacks):
    target = replace(from_function(right), lacks=frozenset(lacks))
    options = draw_options(target, dtypes=("float32",))
    assert options["states"] == (STATES not in lacks)
    assert options["dtypes"] == ("float32",)
    assert "shapes" not in options
    # Where no seed is given a target that compiles gets the same few shapes every time.
    assert draw_options(replace(target, compiles=True))["shapes"] == strategies.few_shapes(None, 0)
    without = [c for c in COTANGENTS if "C" not in c.split("+")]
    assert options["cotangents"] == (without if lacks & {CN, DCN} else list(COTANGENTS))
    assert len(without) < len(COTANGENTS)


def test_the_worst_of_a_second_call_is_told_and_what_was_wrong_before_is_not():
    calls = []

    def change(g):
        calls.append(0)
        g["dUf"] = g["dUf"] * 2
        if len(calls) == 4:
            g["dVi"], g["dbo"] = g["dVi"] * (1 + 1e-9), g["dbo"] * 3

    target = spoilt(change)
    calls.clear()
    claim = verify_case(target, CASE).claim(SECOND_CALL)
    assert claim.verdict is Verdict.FAIL
    assert claim.discrepancy.tensor == "dbo"
    assert claim.discrepancy.message.startswith("after a call of another shape, dbo[")
    assert verify_case(spoilt(scaled("dUf", 2)), CASE).claim(SECOND_CALL) == Claim(SECOND_CALL, Verdict.PASS)
    report = verify_case(spoilt(scaled("dUf", 1 + 2.0**-50)), CASE)
    assert 0 < report.claim(SECOND_CALL).use == report.claim("dUf").use < 1
    assert verify_case(spoilt(raises), CASE).claim(SECOND_CALL) is None
    # With weights of zero and no states both outputs are zero: nothing is at stake, and nothing of a tolerance used.
    nothing = verify_case(forward_only(), Case(1, 2, 1, 1, regime="zero", states=False))
    assert Verdict.PASS not in {claim.verdict for claim in nothing.claims if claim.name in PLAIN.outputs}
    assert nothing.claim(SECOND_CALL) == Claim(SECOND_CALL, Verdict.PASS, 0.0)


def test_a_failure_is_explained_where_a_reference_and_the_size_allow_it(monkeypatch):
    def change(g):
        if g["dX"].shape[1] > 1:
            g["dUf"] = g["dUf"] * 2

    target = spoilt(change)
    case = Case(1, 2, 1, 1, seed=1)
    for reference in (True, False):
        failed = verify_case(target, case, reference=reference)
        report = explain(target, failed)
        assert report.pattern.startswith("wrong where s >= 2, in ")
        assert bool(report.diagnosis and report.diagnosis.relations) == reference
    monkeypatch.setattr(tolerance, "LARGE", case.size)
    assert explain(target, failed) is not failed
    monkeypatch.setattr(tolerance, "LARGE", case.size - 1)
    assert explain(target, failed) is failed
    late = replace(failed, claims=(Claim("h", Verdict.FAIL, 1.0, Discrepancy("h", TIMEOUT, "")),))
    assert explain(target, late) is late
    assert explain_simplest(target, late, None, {}) is late


def test_a_failure_stands_though_the_diagnosis_breaks_off(monkeypatch):
    def breaks_off(*ignored):
        raise ZeroDivisionError("half way")

    monkeypatch.setattr("lstm_checks.judging.explain.diagnose", breaks_off)
    target = spoilt(scaled("dUf", 2))
    failed = verify_case(target, Case(1, 1, 1, 1, seed=1), thorough=False)
    where = ("not looked for to the end, by a fault of lstm-checks: ZeroDivisionError: half way",)
    assert explain(target, failed) == replace(failed, diagnosis=Diagnosis(where=where, catalogue=False))


def test_what_says_most_is_a_wrong_tensor_and_else_the_first_failure():
    of_a_tensor, of_a_property, of_inputs = (
        CaseReport(CASE, (Claim(name, Verdict.FAIL),)) for name in ("dUf", "causality", INPUTS_KEPT)
    )
    assert most_telling([of_a_property, of_inputs, of_a_tensor]) is of_a_tensor
    assert most_telling([of_inputs, of_a_property]) is of_inputs
    assert most_telling([]) is None


def test_the_simplest_case_is_looked_for_among_what_was_drawn_and_asked_the_property_that_failed():
    def forgets_less(p, X, h0, C0):
        return right(p | {"bf": p["bf"] + 1}, X, h0, C0)

    # It is asked only where it is chosen: it holds of the plain cell alone.
    asked = "zero weights"
    assert asked in OF_ITS_EQUATIONS
    target = from_function(forgets_less)
    report = verify(target, examples=3, seed=1, dtypes=("float32",), properties=(asked,), reference=False)
    assert any(example.case.dims > (1, 1, 1, 1) for example in report.examples if example.failures)
    assert (report.failure.case.dims, report.failure.case.dtype) == ((1, 1, 1, 1), "float32")
    assert [claim.name for claim in report.failure.failures] == [asked]


def test_where_the_target_is_right_after_all_the_failure_that_was_seen_is_kept():
    """It failed once and never again: nothing simpler fails, and neither does the same case."""
    calls = []

    def change(g):
        calls.append(0)
        if len(calls) == 3:  # after one for the dtype and one over other values: the first example's answer
            g["dUf"] = g["dUf"] * 2

    target = spoilt(change)
    calls.clear()  # of those that tried it out
    report = verify(target, examples=5)
    assert report.exit_code == 1
    (failed,) = (example for example in report.examples if example.failures)
    assert (report.failure.case, report.failure.claims) == (failed.case, failed.claims)


def test_without_a_reference_the_form_is_a_claim_and_what_is_lacking_is_said():
    report = verify_case(replace(from_function(right), lacks=frozenset({"dX"})), CASE, reference=False)
    assert report.reference is False
    assert report.claim(FORM).verdict is Verdict.PASS
    assert report.claim("dX").verdict is Verdict.UNSUPPORTED
    assert not [c for c in report.claims if c.name in OF_HARNESS]
    for cotangents in ("every+h+C", "last"):
        report = verify_case(
            from_layer(lstm_fast.LSTM), replace(CASE, cotangents=cotangents), properties=("linearity",), reference=False
        )
        assert report.claim(FORM) == Claim(FORM, Verdict.PASS)
        assert report.verdict is Verdict.PASS


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_exception_without_a_reference_is_told_with_where_it_was_raised(at):
    """The target is called for its answer, and then at inputs and cotangents next to the case's."""
    calls = []

    def change(g):
        calls.append(0)
        if len(calls) == at:
            raises(g)

    target = spoilt(change)
    calls.clear()
    report = verify_case(target, CASE, thorough=False, reference=False)
    assert report.case is CASE
    (claim,) = report.claims
    assert (claim.name, claim.verdict, claim.use) == ("h", Verdict.FAIL, np.inf)
    assert (claim.discrepancy.tensor, claim.discrepancy.kind) == ("h", "error")
    where = "" if at == 1 else "called with a problem next to the case, "
    assert claim.discrepancy.message.startswith(f"{where}pullback raised RuntimeError: no memory left")


def test_without_a_reference_all_steps_are_due_where_all_are_asked_for():
    calls = []

    def target(p, X, h0, C0):
        calls.append(0)
        (h, Cn), pullback = right(p, X, h0, C0)
        return (h[:, -1] if len(calls) == 1 else h, Cn), pullback

    target = from_function(target)
    calls.clear()
    (claim,) = verify_case(target, CASE, thorough=False, reference=False).claims
    assert claim.discrepancy.message == "h has shape (2, 5), expected (m, s, u) = (2, 3, 5)"


@pytest.mark.parametrize("cotangents", ["every", "last"])
def test_a_target_is_called_over_other_values_for_its_answer_with_another_shape_and_again(cotangents):
    case, layer, calls = replace(CASE, cotangents=cotangents), from_layer(lstm_ref.LSTM), []

    def call(p, X, h0, C0, sequences):
        calls.append((X.copy(), sequences))
        return positional(layer)(p, X, h0, C0, sequences)

    assert verify_case(replace(layer, call=by_name(call)), case, properties=()).verdict is Verdict.PASS
    inputs, all_steps = zip(*calls[:4], strict=True)
    assert all_steps == (case.sequences,) * 4
    assert [np.array_equal(X, case.arrays["X"]) for X in inputs] == [False, True, False, True]
    assert [X.shape == case.arrays["X"].shape for X in inputs] == [True, True, False, True]


def test_the_properties_of_a_large_case_are_not_asked(monkeypatch):
    case = Case(1, 2, 1, 1, seed=1)
    for limit, asked in ((case.size, 1), (case.size - 1, 0)):
        monkeypatch.setattr(tolerance, "LARGE", limit)
        report = verify_case(from_function(right), case, properties=("linearity",))
        assert report.verdict is Verdict.PASS
        assert len([c for c in report.claims if c.name in PROPERTIES]) == asked


# Whatever a target does in this very process


class NoText(BaseException):
    def __str__(self):
        raise ValueError("no text")


def within(what):
    """The plain target that does something with what it is given first, and may raise."""

    def target(p, X, h0, C0):
        kept = dict(p), X.copy(), h0.copy(), C0.copy()
        what(p=p, X=X)
        return right(*kept)

    return from_function(target)


def throw(error):
    def raising(**given):
        raise error

    return raising


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoText(), "NoText: its text cannot be had"),
        (pytest.skip.Exception("not today"), "Skipped: not today"),
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (ValueError("\x1b[2J\ud800"), r"ValueError: \x1b[2J\ud800"),
        (ValueError("x" * 10**6), "ValueError: " + "x" * 300),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_target_raises_is_told_of_the_target(error, words):
    report = verify_case(within(throw(error)), CASE)
    assert report.failures[0].discrepancy.message.startswith(f"forward raised {words} (test_verify.py, line")


def test_only_an_interrupt_is_not_the_targets():
    with pytest.raises(KeyboardInterrupt):
        verify_case(within(throw(KeyboardInterrupt())), CASE)


@pytest.mark.parametrize(
    "what",
    [
        lambda X, **_: X.setflags(write=False),
        lambda p, **_: p.update(seen=True),
        lambda p, **_: p.pop("Uf"),
        lambda **_: sys.setrecursionlimit(sys.getrecursionlimit() + 1000),
        lambda **_: np.seterr(all="raise"),
    ],
    ids=["locked", "one more", "one less", "recursion", "seterr"],
)
def test_what_harms_nobody_fails_nothing(what):
    before = sys.getrecursionlimit(), np.geterr()
    assert verify_case(within(what), CASE).verdict is Verdict.PASS
    assert (sys.getrecursionlimit(), np.geterr()) == before


def flatten(X, **_):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X.shape = (X.size,)


def as_bytes(X, **_):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X.dtype = np.uint8


@pytest.mark.parametrize("what", [flatten, as_bytes, lambda X, **_: X.resize((99,), refcheck=False)])
def test_an_input_of_another_form_was_written_to(what):
    found = verify_case(within(what), CASE)
    # Of a view, which it may be given next to the case, the size cannot be changed: then it raises.
    assert {c.name for c in found.failures} - {CHECK_GRAD, "training"} == {INPUTS_KEPT}
    assert "X (its shape or dtype)" in found.claim(INPUTS_KEPT).discrepancy.message


@pytest.mark.parametrize("key", [0, None, ("dUf",), b"dUf", *ALL_CLAIMS])
def test_a_gradient_too_many_is_none_of_our_claims(key):
    if key in PLAIN.tensors:
        return
    report = verify_case(spoilt(lambda g: {**g, key: g["dX"]}), CASE)
    assert not report.mistrusted
    kinds = {c.discrepancy.kind for c in report.failures}
    assert kinds == {"extra"}
    known = [c.name for c in report.claims if c.name in ALL_CLAIMS]
    assert len(known) == len(set(known))


@pytest.mark.parametrize("at", ["over other values", "with m=3 s=1 e=2 u=5"])
@pytest.mark.parametrize("spoil", [throw(MemoryError("full")), None], ids=["raises", "another form"])
def test_the_calls_between_are_judged(at, spoil):
    others = CASE.arrays.copy()
    other_values(others)

    def target(p, X, h0, C0):
        asked = X.shape == (3, 1, 2) if "m=3" in at else np.array_equal(X, others["X"])
        if not asked:
            return right(p, X, h0, C0)
        if spoil is not None:
            spoil()
        (h, Cn), pullback = right(p, X, h0, C0)
        return (h, Cn[None]), pullback

    report = verify_case(from_function(target), CASE, properties=())
    assert [c.name for c in report.failures] == [SECOND_CALL]
    said = report.failures[0].discrepancy.message
    assert said.startswith(f"called {at}, ")
    assert ("MemoryError: full" in said) == (spoil is not None)
