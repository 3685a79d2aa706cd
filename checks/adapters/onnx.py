"""ONNX as a target: an LSTM node run by ONNX Runtime, forward only and in float32.

A model file is judged by its one LSTM node: the node with all its attributes is put in a graph of its own, with the
sizes and the parameters of each case in place of the file's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from checks.adapters.common import AdapterError
from checks.contract import DHN, GRADIENTS, LAST, Target
from checks.layouts import to_framework

_INPUTS = ("X", "W", "R", "B", "", "h0", "C0")
_OUTPUTS = ("Y", "Yh", "Yc")
_PEEPHOLES = 7
_OPSET = 14


def framework_target() -> Target:
    """Return the target of a plain LSTM node."""
    return _target(f"onnx {onnx.__version__}", "ONNX LSTM node", {}, _OPSET)


def file_target(path: str) -> Target:
    """Return the target of the one LSTM node in a model file.

    Raises
    ------
    AdapterError
        When the file is no model, or has none or several such nodes, or one that is more than a plain LSTM.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise AdapterError(f"{path} cannot be read as an ONNX model: {type(error).__name__}: {error}") from error
    nodes = [node for node in model.graph.node if node.op_type == "LSTM" and node.domain in ("", "ai.onnx")]
    if len(nodes) != 1:
        others = sorted({node.op_type for node in model.graph.node})
        raise AdapterError(
            f"{path} has {len(nodes)} LSTM nodes, expected exactly one; its operators are {', '.join(others) or 'none'}"
        )
    attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute if a.name != "hidden_size"}
    direction = attributes.get("direction", b"forward").decode()
    if direction != "forward":
        raise AdapterError(f"the LSTM node of {path} has direction {direction}, expected forward")
    if len(nodes[0].input) > _PEEPHOLES and nodes[0].input[_PEEPHOLES]:
        raise AdapterError(f"the LSTM node of {path} has peephole weights, which a plain LSTM has not")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), _OPSET)
    count = len(model.graph.node)
    which = f"LSTM node {nodes[0].name!r}" + (f", one of {count} nodes" if count > 1 else "")
    return _target(path, which, attributes, opset)


def _target(name: str, kind: str, attributes: Mapping[str, Any], opset: int) -> Target:
    """Return the target of an LSTM node with these attributes."""
    sessions: dict[int, Any] = {}
    layout = attributes.get("layout", 0)

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        u = h0.shape[-1]
        if u not in sessions:
            sessions[u] = _session(u, attributes, opset)
        axis = 1 if layout else 0
        time_major = X if layout else X.swapaxes(0, 1)
        feed = to_framework(p, "onnx") | {
            "X": time_major,
            "h0": np.expand_dims(h0, axis),
            "C0": np.expand_dims(C0, axis),
        }
        Y, _, Yc = sessions[u].run(None, {key: np.ascontiguousarray(value) for key, value in feed.items()})
        # Y is (s, directions, m, u), or (m, s, directions, u) with layout 1.
        h = Y[:, :, 0] if layout else Y[:, 0].swapaxes(0, 1)
        return (np.ascontiguousarray(h), Yc.squeeze(axis).copy()), lambda dh, dCn, dhn=None: {}

    lacks = frozenset({DHN, LAST, *GRADIENTS})
    return Target(name, f"{kind}, by onnxruntime {onnxruntime.__version__}", call, lacks, ("float32",))


def _session(u: int, attributes: Mapping[str, Any], opset: int) -> Any:
    """Return ONNX Runtime's session for a graph of the node alone."""
    node = helper.make_node("LSTM", _INPUTS, _OUTPUTS, hidden_size=u, **attributes)

    def values(names: tuple[str, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name]

    graph = helper.make_graph([node], "lstm", values(_INPUTS), values(_OUTPUTS))
    # The oldest version of the file format with these operators: any ONNX Runtime of today reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
