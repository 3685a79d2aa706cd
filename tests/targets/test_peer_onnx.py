"""ONNX Runtime's LSTM, through the same harness: forward only, and its gradients unsupported."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_model.py"


def save(path, *nodes):
    """Write a model of these nodes."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XY"]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)


def lstm(**attributes):
    return helper.make_node("LSTM", ["X", "W", "R", *attributes.pop("more", [])], ["Y"], hidden_size=3, **attributes)


def test_the_forward_pass_passes_and_the_gradients_are_unsupported():
    target = load_target("onnx")
    report = verify(target, examples=100, seed=1, dtypes=target.dtypes)
    text = render_report(report)
    assert report.exit_code == 0, text
    assert set(PLAIN.gradients) <= set(target.unsupported)
    assert "unsupported: all gradients, so only the forward pass is judged" in text
    assert "check_grad" not in text
    counts = report.claim_counts
    assert counts["h"]["pass"] > 80
    assert all(set(counts[name]) == {"unsupported"} for name in (*PLAIN.gradients, "linearity", "zero cotangent"))


def test_a_model_file_is_judged_by_its_node(tmp_path):
    subprocess.run([sys.executable, EXAMPLE, str(tmp_path)], check=True, timeout=600)
    command = [sys.executable, "-m", "lstm_checks", "verify", "--examples", "20", "--json", "-"]
    found = subprocess.run([*command, tmp_path / "lstm.onnx"], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["kind"].startswith("LSTM node 'lstm', by onnxruntime ")
    assert {"initial states", "Cn", "dCn"} <= set(report["unsupported"])
    found = subprocess.run(
        [*command, tmp_path / "clipped.onnx"], capture_output=True, text=True, timeout=600, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "plain,f=clippedsigmoid:1,g=clippedtanh:1" in json.loads(found.stdout)["examples"][0]["case"]


def plain(
    states="given", kind=TensorProto.FLOAT, outputs=("Y", "Yc"), inputs=None, more=(), R=(1, 12, 3), **attributes
):
    """A model of one LSTM node, by default a plain one with initial states."""
    weights = {"W": (1, 12, 4), "R": R, "B": (1, 24)}
    fed = {"X": "X", **{name: name for name in weights}, "lens": "", "h0": "h0", "C0": "C0", "P": ""} | dict(
        inputs or {}
    )
    fed |= {"h0": "", "C0": ""} if states == "none" else {}
    constants = {name: np.zeros(shape) for name, shape in weights.items()}
    if states in ("zeros", "ones"):
        constants |= dict.fromkeys(("h0", "C0"), np.full((1, 2, 3), float(states == "ones")))
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    values = [numpy_helper.from_array(value.astype(dtype), name) for name, value in constants.items()]
    names = [name for name in dict.fromkeys(fed.values()) if name and name not in constants and name != "made"]
    graph = helper.make_graph(
        [helper.make_node("LSTM", [*fed.values()], ["Y", "Yh", "Yc"], hidden_size=3, name="lstm", **attributes), *more],
        "g",
        [helper.make_tensor_value_info(name, kind, None) for name in names],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


STATES = {"initial states"}
MEMORY = {"Cn", "dCn"}


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        ({}, set()),
        ({"states": "none"}, STATES),
        ({"states": "zeros"}, STATES),
        ({"states": "ones"}, set()),
        ({"outputs": ("Y",)}, MEMORY),
        ({"inputs": {"C0": ""}}, {"C0"}),
        ({"inputs": {"B": ""}}, {"bf", "bi", "bg", "bo"}),
        ({"activations": ["Sigmoid", "Tanh", "Tanh"], "direction": "forward", "layout": 0, "input_forget": 0}, set()),
    ],
)
def test_a_plain_node_is_judged_with_what_is_wired(tmp_path, model, lacks):
    onnx.save(plain(**model), tmp_path / "m.onnx")
    target = load_target(str(tmp_path / "m.onnx"))
    assert set(target.unsupported) == lacks | set(PLAIN.gradients)
    assert any("X (s, m, e)" in note for note in target.notes)
    free = {"m", "s", "e", "u"} - {letter for letter, *_ in target.limits.given}
    assert free == ({"s", "e"} if model.get("states") in ("zeros", "ones") else {"m", "s", "e", "u"})
    report = verify(target, examples=10, dtypes=target.dtypes, max_dims=(3, 3, 3, 3))
    assert report.exit_code == 0, render_report(report)


HARD = ["HardSigmoid", "LeakyRelu", "Softsign"]


@pytest.mark.parametrize(
    ("attributes", "cell"),
    [
        ({"activations": HARD}, "plain,f=hardsigmoid,g=leakyrelu,h=softsign"),
        (
            {"activations": HARD, "activation_alpha": [0.25, 0.1], "activation_beta": [0.4]},
            "plain,f=hardsigmoid:0.25:0.4,g=leakyrelu:0.1,h=softsign",
        ),
        (
            {
                "activations": ["Affine", "ScaledTanh", "Elu"],
                "activation_alpha": [0.5, 1.5, 0.7],
                "activation_beta": [0.1, 0.8],
            },
            "plain,f=affine:0.5:0.1,g=scaledtanh:1.5:0.8,h=elu:0.7",
        ),
        (
            {"activations": ["Sigmoid", "ThresholdedRelu", "Relu"], "activation_alpha": [0.3]},
            "plain,g=thresholdedrelu:0.3,h=relu",
        ),
        ({"input_forget": 1}, "coupled"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"], "input_forget": 1}, "coupled,f=hardsigmoid"),
    ],
)
def test_a_node_is_judged_as_the_cell_that_its_attributes_make(tmp_path, attributes, cell):
    onnx.save(plain(**attributes), tmp_path / "m.onnx")
    target = load_target(str(tmp_path / "m.onnx"))
    assert target.cell is cell_named(cell)
    assert any("input_forget" in note for note in target.notes) == ("input_forget" in attributes)
    report = verify(target, examples=20, dtypes=target.dtypes, max_dims=(3, 5, 4, 4))
    assert report.exit_code == 0, render_report(report)
    assert report.claim_counts["h"][Verdict.PASS] > 8
    if target.cell.activations:
        wrong = replace(target, cell=target.cell.written_as)
        assert verify_case(wrong, Case(2, 3, 4, 5, dtype="float32"), thorough=False).failures


def test_a_model_in_float16_is_judged_in_it_and_the_contract_that_onnx_runtime_keeps_is_measured(tmp_path):
    onnx.save(plain(kind=TensorProto.FLOAT16), tmp_path / "m.onnx")
    target = load_target(str(tmp_path / "m.onnx"))
    assert target.dtypes == ("float16",)
    report = verify(target, examples=12, dtypes=target.dtypes, max_dims=(3, 5, 4, 4))
    assert report.exit_code == 0, render_report(report)
    assert "state32 is kept" in report.contract[0]
    other = replace(load_target(str(tmp_path / "m.onnx")), cell=cell_named("plain,g=softsign"))
    assert verify_case(other, Case(2, 3, 4, 3, dtype="float16", cell=other.cell), thorough=False).failures


def test_a_model_in_several_formats_and_one_without_a_kernel_are_refused_in_words(tmp_path):
    model = plain(kind=TensorProto.FLOAT16)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(TargetError, match="what is held in several formats is not judged"):
        load_target(str(tmp_path / "m.onnx"))
    pytest.importorskip("ml_dtypes")
    model = plain(kind=TensorProto.BFLOAT16)
    model.opset_import[0].version = 22
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(TargetError, match="Could not find an implementation for LSTM"):
        load_target(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"activations": ["HardSigmoid", "Tanh", "Gelu"]}, "it has the activation gelu, expected one of sigmoid,"),
        (
            {"activations": ["Sigmoid", "ScaledTanh", "Tanh"]},
            "it has the activation scaledtanh without its alpha and beta",
        ),
        ({"activations": ["Sigmoid", "Tanh"]}, "its activations are ['sigmoid', 'tanh'], expected 3"),
        ({"activation_alpha": [0.1]}, "leave over activation_alpha [0.10000000149011612] and activation_beta []"),
        (
            {"activations": ["Relu", "Tanh", "Tanh"], "input_forget": 1},
            "with input_forget its gates have relu, expected a",
        ),
        (
            {"clip": 0.5, "activations": ["Relu", "Tanh", "Tanh"]},
            "it has clip with the activation relu, expected one of",
        ),
        ({"clip": -1.0}, "its clip is -1.0, expected a number above 0"),
        ({"direction": "upwards"}, "has the direction 'upwards', expected one of forward, reverse, bidirectional"),
        ({"layout": 1}, "it has no LSTM with layout=1, expected layout 0"),
        ({"R": (1, 16, 4)}, "hidden_size=3, but R of shape (1, 16, 4), expected (1, 12, 3)"),
        ({"inputs": {"h0": "C0"}}, "'C0' is h0 and C0 at once, expected an input of its own for each"),
        ({"kind": TensorProto.DOUBLE}, "it has no LSTM of float64, expected float32"),
        (
            {"outputs": ("Z",), "more": (helper.make_node("Relu", ["Y"], ["Z"]),)},
            "Relu node of 'Z' computes something with 'Y'",
        ),
    ],
)
def test_whatever_is_not_plain_is_refused_with_its_name(tmp_path, model, words):
    onnx.save(plain(**model), tmp_path / "m.onnx")
    with pytest.raises(TargetError) as raised:
        load_target(str(tmp_path / "m.onnx"))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [helper.make_node("Relu", ["X"], ["Y"])],
            "it has no LSTM, GRU or RNN node, expected one at least; its operators are",
        ),
        ([lstm(name="one"), helper.make_node("LSTM", ["X", "W", "R"], ["Z"], name="two")], "'two' reaches no output"),
    ],
)
def test_what_is_no_single_plain_lstm_is_refused(tmp_path, nodes, words):
    save(tmp_path / "m.onnx", *nodes)
    with pytest.raises(TargetError) as raised:
        load_target(str(tmp_path / "m.onnx"))
    assert words in str(raised.value)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(TargetError, match="cannot be read as an ONNX model"):
        load_target(str(tmp_path / "m.onnx"))
    with pytest.raises(TargetError, match="there is no file"):
        load_target(str(tmp_path / "none.onnx"))
