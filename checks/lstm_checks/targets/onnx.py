"""ONNX as a target: an LSTM node run by ONNX Runtime, forward only and in float32.

A model file is judged by its LSTM node: the node is put in a graph of its own, with the sizes and the parameters of
each case in place of the file's. So the file may hold nothing else: what would be left out, be it a node around the
LSTM, a length or a clip, would pass unjudged, and is refused with its name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lstm_checks.contract import CN, DCN, DHN, LAST, PLAIN, STATES, Target, by_name
from lstm_checks.targets.common import NO_STATES, AdapterError
from lstm_checks.weights.packing import to_framework

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_OUTPUTS = ("Y", "Y_h", "Y_c")
_STATES = ("initial_h", "initial_c")
_OPSET = 14

_SAID = {
    "direction": b"forward",
    "activations": [b"Sigmoid", b"Tanh", b"Tanh"],
    "input_forget": 0,
    "layout": 0,
}
"""What a plain LSTM's attributes may say; any other attribute but hidden_size makes it another one."""


def framework_target() -> Target:
    """Return the target of a plain LSTM node."""
    return _target(f"onnx {onnx.__version__}", "ONNX LSTM node", _OPSET, frozenset())


def file_target(path: str) -> Target:
    """Return the target of a model file that is one plain LSTM node.

    Raises
    ------
    AdapterError
        When the file is no model, or has none or several such nodes, or more than a plain LSTM.
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
    more = _more_than_plain(model, nodes[0])
    if more:
        raise AdapterError(
            f"{path} is more than a plain LSTM node, and would be judged without what is more: {'; '.join(more)}. "
            "Expected one node alone; or name a function in the vjp form that runs the whole model"
        )
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), _OPSET)
    given = _inputs_of(nodes[0])
    lacks = frozenset() if "initial_h" in given and _is_fed(model, given["initial_h"]) else NO_STATES
    returned = {output.name for output in model.graph.output}
    lacks |= frozenset() if [*nodes[0].output, "", ""][2] in returned - {""} else {CN, DCN}
    return _target(path, f"LSTM node {nodes[0].name!r}", opset, lacks)


def _inputs_of(node: Any) -> dict[str, str]:
    """Return what is wired to a node, by ONNX's names."""
    return {name: wired for name, wired in zip(_INPUTS, node.input, strict=False) if wired}


def _is_fed(model: Any, name: str) -> bool:
    """Return whether something is an input of a model, and not a constant."""
    return name in {value.name for value in model.graph.input} - {value.name for value in model.graph.initializer}


def _more_than_plain(model: Any, node: Any) -> list[str]:
    """Return in words what a model has that a plain LSTM node of its own would not have."""
    around = _around(model)
    # Where the node stands among others, theirs are the names that it is wired to.
    wiring = [] if around else _wiring(model, node)
    return [*around, *_attributes(model, node), *_refused_inputs(node), *wiring, *_precision(model)]


def _around(model: Any) -> list[str]:
    """Return the other nodes."""
    others = sorted({node.op_type for node in model.graph.node} - {"LSTM"})
    return [f"other nodes around it, {', '.join(others)}"] if others else []


def _attributes(model: Any, node: Any) -> list[str]:
    """Return the attributes that say something else than a plain LSTM's."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    units = found.pop("hidden_size", None)
    told = {name: value for name, value in found.items() if name not in _SAID or value != _SAID[name]}
    more = [f"{name}={_said(value)}" for name, value in told.items()]
    weights = {value.name: tuple(value.dims) for value in model.graph.initializer}
    recurrent = weights.get(_inputs_of(node).get("R", ""))
    if units is not None and recurrent is not None and recurrent != (1, 4 * units, units):
        more.append(f"hidden_size={units}, but R of shape {recurrent}, expected {(1, 4 * units, units)}")
    return more


def _said(value: Any) -> Any:
    """Return an attribute's value as one would write it."""
    if isinstance(value, list):
        return [_said(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _refused_inputs(node: Any) -> list[str]:
    """Return the inputs that a plain LSTM has not."""
    given = _inputs_of(node)
    return [f"{name} is wired to {given[name]}" for name in ("sequence_lens", "P") if name in given]


def _wiring(model: Any, node: Any) -> list[str]:
    """Return the inputs and outputs that are wired otherwise than a plain LSTM's."""
    given = _inputs_of(node)
    more = [f"{name} is missing" for name in ("X", "W", "R", "B") if name not in given]
    if "X" in given and not _is_fed(model, given["X"]):
        more.append(f"X is {given['X']}, no input of the model")
    states = [given[name] for name in _STATES if name in given]
    constants = {value.name: value for value in model.graph.initializer}
    fed = [name for name in states if _is_fed(model, name)]
    zero = [name for name in states if name in constants and not _values(constants[name]).any()]
    if states and not (len(set(fed)) == len(_STATES) or len(zero) == len(states)):
        wired = " and ".join(f"{name} {given.get(name, 'nowhere')}" for name in _STATES)
        more.append(f"the initial states are wired to {wired}, expected two inputs of the model, or zeros")
    outputs = {output.name for output in model.graph.output}
    if node.output[0] not in outputs - {""}:
        more.append("Y, h of every step, is no output of the model")
    return more


def _values(constant: Any) -> Any:
    """Return a constant's values; NaN where they lie in a file of their own."""
    return np.array(np.nan) if constant.external_data else numpy_helper.to_array(constant)


def _precision(model: Any) -> list[str]:
    """Return the arrays that are not float32, in which ONNX Runtime is run here."""
    words = {number: name for name, number in TensorProto.DataType.items()}
    types = {value.name: value.data_type for value in model.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    others = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    return [f"{name} in {words[kind]}, expected FLOAT" for name, kind in types.items() if kind in others][:1]


def _target(name: str, kind: str, opset: int, lacks: frozenset[str]) -> Target:
    """Return the target of a plain LSTM node; one session serves all calls of equal units."""
    sessions: dict[int, Any] = {}
    states = () if STATES in lacks else _STATES

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        u = h0.shape[-1]
        if u not in sessions:
            sessions[u] = _session(u, states, opset)
        feed = to_framework(p, "onnx") | {"X": X.swapaxes(0, 1)}
        feed |= dict(zip(states, (h0[np.newaxis], C0[np.newaxis]), strict=False))
        Y, _, Yc = sessions[u].run(None, {key: np.ascontiguousarray(value) for key, value in feed.items()})
        # Y is (s, directions, m, u).
        Cn = None if CN in lacks else Yc[0].copy()
        return (np.ascontiguousarray(Y[:, 0].swapaxes(0, 1)), Cn), lambda dh, dCn, dhn=None: {}

    kind = f"{kind}, by onnxruntime {onnxruntime.__version__}"
    return Target(name, kind, by_name(call), lacks | {DHN, LAST, *PLAIN.gradients}, ("float32",))


def _session(u: int, states: tuple[str, ...], opset: int) -> Any:
    """Return ONNX Runtime's session for a graph of the node alone."""
    fed = ("X", "W", "R", "B", *(("", *states) if states else ()))
    node = helper.make_node("LSTM", fed, _OUTPUTS, hidden_size=u)

    def values(names: tuple[str, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name]

    graph = helper.make_graph([node], "lstm", values(fed), values(_OUTPUTS))
    # The oldest version of the file format with these operators: any ONNX Runtime of today reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
