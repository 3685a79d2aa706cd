"""ONNX Runtime's LSTM, through the same harness: forward only, and its gradients unsupported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper

from checks.contract import GRADIENTS
from checks.report.text import render_report
from checks.targets import TargetError, load_target
from checks.verify import verify

pytestmark = pytest.mark.peer
EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_model.py"


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
    assert set(GRADIENTS) <= set(target.unsupported)
    assert "unsupported: all gradients, so only the forward pass is judged" in text
    assert "check_grad" not in text
    counts = report.claim_counts
    assert counts["h"]["pass"] > 80
    assert all(set(counts[name]) == {"unsupported"} for name in (*GRADIENTS, "linearity", "zero cotangent"))


def test_a_model_file_is_judged_by_its_node(tmp_path):
    subprocess.run([sys.executable, EXAMPLE, str(tmp_path)], check=True, timeout=120)
    command = [sys.executable, "-m", "checks", "verify", "--examples", "20", "--json", "-"]
    for name, code in (("lstm.onnx", 0), ("clipped.onnx", 1)):
        found = subprocess.run([*command, tmp_path / name], capture_output=True, text=True, timeout=120, check=False)
        assert found.returncode == code, found.stderr
        report = json.loads(found.stdout)
        assert report["kind"].startswith("LSTM node 'lstm', by onnxruntime ")
    assert report["failure"]["claims"][0]["claim"] in ("h", "Cn")


def test_among_other_nodes_it_is_found(tmp_path):
    save(tmp_path / "m.onnx", lstm(), helper.make_node("Relu", ["Y"], ["Z"]))
    assert "one of 2 nodes" in load_target(str(tmp_path / "m.onnx")).kind


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([helper.make_node("Relu", ["X"], ["Y"])], "has 0 LSTM nodes, expected exactly one; its operators are Relu"),
        ([lstm(), lstm()], "has 2 LSTM nodes"),
        ([lstm(direction="reverse")], "has direction reverse, expected forward"),
        ([lstm(more=["", "", "", "", "P"])], "has peephole weights"),
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
