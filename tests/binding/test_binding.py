"""Layers that nobody wrote for us are bound by trying: right ones pass, and wrong ones fail as what they are."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_checks.binding.composed import by_sample, by_step
from lstm_checks.binding.places import axes_of, recast
from lstm_checks.cases import Case
from lstm_checks.contract import STATES
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

LAYERS = Path(__file__).parent / "layers"
CASES = (Case(2, 3, 4, 5, seed=3), Case(1, 2, 3, 3, seed=4), Case(3, 1, 2, 1, seed=5))

RIGHT = {
    "affine_pair.py:lstm_forward": "gates in the order i f o g, which is this layer's own",
    "affine_pair.py:lstm_step_forward": "one step a call",
    "features_first_dict.py:lstm_forward": "X as (e, m, s)",
    "bias_row.py:LSTM": "WLSTM holds the bias, those of x then those of h",
    "columns_one_sample.py:LSTM": "one sample a call",
    "lazy_layer.py:LSTMLayer": "layer.parameters['Wu'] (gate i)",
    "from_weights.py:TimeLSTM": "gates in the order f g i o",
    "from_weights.py:LSTMStep": "one step a call",
    "step_cell.py:LSTMCell": "gates in the order o f i g",
    "step_forward_only.py:lstm_step": "no backward pass was found; judged forward only",
    "with_output_layer.py:LSTMNetwork": "its output layer is given ones on the diagonal",
    "single_precision.py:LstmLayer": "its gradients by layer.gradient(dh)",
    "forget_plus_one.py:run_forward": "it adds 1 to the forget gate at run time",
    "twelve_arguments.py:lstm_fwd": "one sample a call",
    "closure.py:lstm": "its gradients by out[2](dh.transpose(1, 0, 2), dh[:, -1], dCn)",
    "nested_dicts.py:forward": "params['forget']['W'] holds those of x then those of h",
    "from_config.py:LSTM": "its gradients by layer.backward(dh, (dh[:, -1], dCn))",
    "from_config.py:make": "gates in the order i f g o",
    "from_config.py:Accumulating": "its gradients by layer.backward(dh, (dh[:, -1], dCn))",
    "from_config.py:Stateful": "it goes on with those of the call before; judged as it is after reset_state()",
}
"""Strangers' layers, and what is said of them."""


def judged(target, cases=CASES):
    """Return the claims on a few cases."""
    states = STATES not in target.lacks
    cases = [Case(*case.dims, dtype=target.dtypes[0], states=states, seed=case.seed) for case in cases]
    cases.append(replace(cases[0], states=False, seed=6))
    cases = [case if not target.without_finals else replace(case, cotangents="every") for case in cases]
    return [claim for case in cases for claim in verify_case(target, case, properties=()).claims]


def worst(target):
    return {str(claim.verdict) for claim in judged(target)}


@pytest.mark.parametrize("spec", RIGHT)
def test_a_strangers_layer_is_bound_with_nothing_written_and_passes(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(LAYERS)
    target = load_target(spec)
    assert RIGHT[spec] in "; ".join(target.notes)
    # No stranger has said that a cotangent may be left out.
    assert not target.optional
    found = worst(target)
    assert "pass" in found
    assert "fail" not in found
    # What is printed is what was judged, and runs by itself.
    (tmp_path / "mine.py").write_text(target.adapter)
    monkeypatch.syspath_prepend(str(LAYERS))
    again = load_target(f"{tmp_path / 'mine.py'}:target")
    assert again.kind.startswith("function in the vjp form")
    if len(target.dtypes) == 1:
        assert f"--dtype {target.dtypes[0]}" in target.adapter
        again = replace(again, dtypes=target.dtypes)
    assert "fail" not in {str(claim.verdict) for claim in judged(again, CASES[:1])}
    assert len(target.adapter.splitlines()) < 60


WRONG = {
    "a term missing": ("affine_pair.py:lstm_forward", "dprev_h, dprev_c, dWx_t", "dprev_h, _, dWx_t"),
    "a gate order of its own in the backward pass": (
        "affine_pair.py:lstm_forward",
        "            dc * g * i * (1 - i),\n            dc * prev_c * f * (1 - f),\n",
        "            dc * prev_c * f * (1 - f),\n            dc * g * i * (1 - i),\n",
    ),
    "a gradient doubled": ("affine_pair.py:lstm_forward", "        dWh += dWh_t\n", "        dWh += 2 * dWh_t\n"),
    "a sum forgotten": ("affine_pair.py:lstm_forward", "        db += db_t\n", "        db = db_t\n"),
    "the hidden state of the step before": (
        "affine_pair.py:lstm_forward",
        "h[:, t] = prev_h",
        "h[:, t] = prev_h * 0.99",
    ),
    "two gradients of one shape changed over": (
        "twelve_arguments.py:lstm_fwd",
        "return dx, dh_next, dc, dWf, dUf, dbf, dWi, dUi, dbi,",
        "dWf, dWi = dWi, dWf\n    return dx, dh_next, dc, dWf, dUf, dbf, dWi, dUi, dbi,",
    ),
    "gradients under each other's names": (
        "lazy_layer.py:LSTMLayer",
        'g["W" + gate] += Zt.T @ d[gate]',
        'g["W" + {"f": "o", "o": "f"}.get(gate, gate)] += Zt.T @ d[gate]',
    ),
    "arrays read under each other's names": (
        "features_first_dict.py:lstm_forward",
        'Wf, bf = parameters["Wf"], parameters["bf"]\n    Wi, bi = parameters["Wi"], parameters["bi"]',
        'Wf, bf = parameters["Wi"], parameters["bi"]\n    Wi, bi = parameters["Wf"], parameters["bf"]',
    ),
    "the memory is squashed": ("from_weights.py:TimeLSTM", "h_next = o * np.tanh(c_next)", "h_next = o * c_next"),
    "a carry dropped": ("from_weights.py:TimeLSTM", "dc_prev = ds * f\n", "dc_prev = ds * f * 0\n"),
    "a derivative of the wrong value": ("step_cell.py:LSTMCell", "dh * t * o * (1 - o)", "dh * t * o * (1 - t)"),
    "a transpose": (
        "with_output_layer.py:LSTMNetwork",
        "dx[:, t], dh_next, dc_next = both[:, :e], both[:, e:]",
        "dx[:, t], dh_next, dc_next = both[:, :e], both[:, e:] * 0",
    ),
    "a bias left out": ("forget_plus_one.py:run_forward", 'grads["bias"] += dz.sum(axis=0)', 'grads["bias"] += dz[0]'),
    "the backward pass that is returned": ("closure.py:lstm", "da @ Wh.T, dc * f", "da @ Wh.T, dc"),
    "the last hidden state's cotangent": (
        "closure.py:lstm",
        "dx, dh, dc = np.zeros_like(x), dhT",
        "dx, dh, dc = 0 * x, 0",
    ),
    "one dict's gradient for another's": (
        "nested_dicts.py:forward",
        'd = {"forget": dc * c * f * (1 - f), "input": dc * g * i * (1 - i)}',
        'd = {"input": dc * c * f * (1 - f), "forget": dc * g * i * (1 - i)}',
    ),
    "a state that goes on": ("from_config.py:Stateful", "    def reset_state(self)", "    def _unused(self)"),
    "gradients added up": ("from_config.py:Accumulating", "    def zero_grad(self)", "    def _unused(self)"),
    "a right array kept beside a wrong one that is returned": (
        "step_cell.py:LSTMCell",
        '        grads = {"weight_ih": da.T @ x,',
        '        self.right = da.T @ x\n        grads = {"weight_ih": 0.5 * da.T @ x,',
    ),
}
"""Slips in these layers: where, what stood there, what stands there now."""


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_layer_fails_as_what_it_is(what, tmp_path, monkeypatch):
    spec, old, new = WRONG[what]
    file, name = spec.split(":")
    text = (LAYERS / file).read_text()
    assert text.count(old) == 1
    monkeypatch.chdir(tmp_path)
    module = re.sub(r"\W", "_", what)
    Path(f"{module}.py").write_text(text.replace(old, new))
    target = load_target(f"{module}.py:{name}")
    sys.modules.pop(module, None)
    assert "fail" in worst(target)
    assert target.adapter


def activated(text):
    """A layer's source with relu for tanh, here and on the way back."""
    text = text.replace("np.tanh(", "np.maximum(0, ")
    return text.replace("(1 - tc * tc)", "(tc > 0)").replace("(1 - g * g)", "(g > 0)")


def test_a_layer_with_other_activations_is_bound_as_the_cell_that_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell = cell_named("plain,g=relu,h=relu")
    right = activated((LAYERS / "closure.py").read_text())
    Path("relus.py").write_text(right)
    Path("lost.py").write_text(right.replace("da @ Wh.T, dc * f", "da @ Wh.T, dc"))
    cases = [replace(case, cell=cell) for case in CASES]
    target = load_target("relus.py:lstm", cell=cell)
    assert target.cell is cell
    assert "gates in the order i f o g" in "; ".join(target.notes)
    claims = [claim for case in cases for claim in verify_case(target, case, properties=()).claims]
    assert {"pass"} <= {str(claim.verdict) for claim in claims} <= {"pass", "vacuous", "inconclusive"}
    wrong = load_target("lost.py:lstm", cell=cell)
    assert verify_case(wrong, cases[0], properties=()).failures
    Path("far.py").write_text((LAYERS / "step_cell.py").read_text().replace("np.tanh(", "np.maximum(0, "))
    with pytest.raises(TargetError, match=r"; its forward pass is that of --cell plain,g=relu,h=relu, which judges"):
        load_target("far.py:LSTMCell")
    with pytest.raises(
        TargetError, match=r"as gru a function .* h, pullback = target\(p, X, h0\), p with Ur, .* and bg"
    ):
        load_target("relus.py:lstm", cell=cell_named("gru"))


RENAMED = {
    "lstm_forward": "aa", "lstm_backward": "bb", "lstm_step_forward": "cc", "lstm_step_backward": "dd",
    "Wx": "k1", "Wh": "k2", "h0": "k3", "dWx": "q1", "dWh": "q2", "db": "q3", "x": "k0", "b": "k4",
    "dx": "q4", "dh": "q5", "cache": "q6", "dprev_h": "q7",
}  # fmt: skip


def test_names_only_order_what_is_tried(tmp_path, monkeypatch):
    text = (LAYERS / "affine_pair.py").read_text()
    for old, new in RENAMED.items():
        text = re.sub(rf"\b{old}\b", new, text)
    monkeypatch.chdir(tmp_path)
    Path("renamed.py").write_text(text)
    target = load_target("renamed.py:aa")
    found = worst(target)
    assert "pass" in found
    assert "fail" not in found


def test_what_cannot_be_bound_is_refused_with_what_was_tried_and_an_adapter_to_fill_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.py").write_text("def product(a, b, c, d, f):\n    return a * b\n")
    with pytest.raises(TargetError, match=r"could not be bound: \d+ ways to call it were tried") as caught:
        load_target("other.py:product")
    assert "def target(p, X, h0, C0):" in caught.value.draft


def test_axes_are_told_and_turned():
    assert axes_of((5, 3), {"m": 3, "u": 5}) == "um"
    assert axes_of((5, 4), {"m": 3, "u": 5}) == ""
    assert recast("h", "smu", "msu") == "h.transpose(1, 0, 2)"


def test_one_step_or_one_sample_composes():
    spec = importlib.util.spec_from_file_location("steps_of_a_reference", LAYERS / "affine_pair.py")
    assert spec is not None
    from lstm_checks.faults.model import fault_target
    from lstm_checks.targets.function import from_function

    right = fault_target()

    def whole(p, X, h0, C0):
        outputs, pull = right.call({**p, "X": X, "h0": h0, "C0": C0})

        def pullback(dh, dCn):
            return pull({"dh": dh, "dCn": dCn})

        return (outputs["h"], outputs["Cn"]), pullback

    def composed(p, X, h0, C0):
        return by_sample(by_step(whole))(p, X, h0, C0)

    assert worst(from_function(composed)) <= {"pass", "vacuous"}
