"""ONNX as a target: an LSTM node run by ONNX Runtime, forward only and in float32.

A model file is judged by its LSTM node: the node is put in a graph of its own, with the sizes and the parameters of
each case in place of the file's. So the file may hold nothing else: what would be left out, be it a node around the
LSTM, a length or a clip, would pass unjudged, and is refused with its name. Its activations say of which cell it is.
With input_forget it is the LSTM with coupled gates, read otherwise: ONNX Runtime has f = 1 - i, and no weights of f,
where the coupled cell has i = 1 - f. As sigmoid(-x) = 1 - sigmoid(x), that is the cell whose f has the weights of i,
their signs changed.
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
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.cells.coupled import CELL as COUPLED
from lstm_ref.slots import KINDS, MODULES, USUAL, Activation

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_OUTPUTS = ("Y", "Y_h", "Y_c")
_STATES = ("initial_h", "initial_c")
_OPSET = 14

_SAID = {
    "direction": b"forward",
    "layout": 0,
}
"""What the attributes may say, beside hidden_size and those of the cell; any other makes it another one."""

_OF_THE_CELL = ("activations", "activation_alpha", "activation_beta", "input_forget")

_NUMBERS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01,),
    "thresholdedrelu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0,),
}
"""The numbers that ONNX has where none are given; a scaled tanh has none, and has to say its own."""


def framework_target() -> Target:
    """Return the target of a plain LSTM node."""
    return _target(f"onnx {onnx.__version__}", "ONNX LSTM node", _OPSET, frozenset(), {}, PLAIN)


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
    told = {attribute.name: helper.get_attribute_value(attribute) for attribute in nodes[0].attribute}
    said = {name: told[name] for name in _OF_THE_CELL if name in told}
    try:
        cell = _cell_of(said)
    except ValueError as error:
        raise AdapterError(f"{path} cannot be judged: {error}") from error
    return _target(path, f"LSTM node {nodes[0].name!r}", opset, lacks, said, cell)


def _cell_of(said: Mapping[str, Any]) -> Cell:
    """Return the cell that a node's attributes say; raises ValueError where there is none."""
    kinds = [_said(kind).lower() for kind in said.get("activations", (b"Sigmoid", b"Tanh", b"Tanh"))]
    if len(kinds) != len(USUAL):
        raise ValueError(f"its activations are {kinds}, expected three, of the gates, the candidate and the memory")
    # Each takes what it needs of two lists, one after the other, in which the others have no place.
    alphas, betas = (list(said.get(f"activation_{which}", ())) for which in ("alpha", "beta"))
    words = []
    for slot, kind in zip(USUAL, kinds, strict=True):
        needed = KINDS[kind].parameters if kind in KINDS and kind != "hardsigmoid6" else None
        if needed is None:
            raise ValueError(f"it has the activation {kind}, expected one of {', '.join(KINDS)}")
        given = [
            which.pop(0) if which else None for which, name in ((alphas, "alpha"), (betas, "beta")) if name in needed
        ]
        usual = _NUMBERS.get(kind, (None,) * len(needed))
        numbers = [own if came is None else came for came, own in zip(given, usual, strict=True)]
        if None in numbers:
            raise ValueError(f"it has the activation {kind} without its {' and '.join(needed)}")
        # They are kept in float32, and are meant to be what they read as.
        words.append(f"{slot}={':'.join([kind, *(str(np.float32(number)) for number in numbers)])}")
    if alphas or betas:
        raise ValueError(f"its activations {kinds} leave over activation_alpha {alphas} and activation_beta {betas}")
    coupled = bool(said.get("input_forget", 0))
    cell = cell_named(",".join([COUPLED.name if coupled else PLAIN.name, *words]))
    if coupled and not _is_odd_about_a_half(cell):
        raise ValueError(
            f"with input_forget its gates have {words[0].partition('=')[2]}, expected a sigmoid: f(-x) = 1 - f(x)"
        )
    return cell


def _is_odd_about_a_half(cell: Cell) -> bool:
    """Return whether f(-x) = 1 - f(x) for the activation of a cell's gates."""
    value, _ = cell.activations.get("f", Activation(USUAL["f"])).functions(MODULES)
    x = np.linspace(-9, 9, 37)
    return bool(np.allclose(value(-x), 1 - value(x), atol=1e-12))


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
    told = {
        name: value
        for name, value in found.items()
        if name not in _OF_THE_CELL and (name not in _SAID or value != _SAID[name])
    }
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


def _target(name: str, kind: str, opset: int, lacks: frozenset[str], said: Mapping[str, Any], cell: Cell) -> Target:
    """Return the target of an LSTM node with these attributes; one session serves all calls of equal units."""
    sessions: dict[int, Any] = {}
    states = () if STATES in lacks else _STATES

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        u = h0.shape[-1]
        if u not in sessions:
            sessions[u] = _session(u, states, opset, said)
        feed = to_framework(_as_fed(p), "onnx") | {"X": X.swapaxes(0, 1)}
        feed |= dict(zip(states, (h0[np.newaxis], C0[np.newaxis]), strict=False))
        Y, _, Yc = sessions[u].run(None, {key: np.ascontiguousarray(value) for key, value in feed.items()})
        # Y is (s, directions, m, u).
        Cn = None if CN in lacks else Yc[0].copy()
        return (np.ascontiguousarray(Y[:, 0].swapaxes(0, 1)), Cn), lambda dh, dCn, dhn=None: {}

    kind = f"{kind}, by onnxruntime {onnxruntime.__version__}"
    lacks |= {DHN, LAST, *cell.gradients}
    return Target(name, kind, by_name(call, cell), lacks, ("float32",), notes=_notes(cell), cell=cell)


def _as_fed(p: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the twelve parameters that a node is fed: of coupled gates i has those of f with their signs changed."""
    if set(p) == set(PLAIN.parameters):
        return p
    # The node does not read those of f.
    return {**p, **{f"{kind}i": -p[f"{kind}f"] for kind in "UVb"}}


def _notes(cell: Cell) -> tuple[str, ...]:
    """Return how a cell that is not the node's own reading is fed to it."""
    if set(cell.parameters) == set(PLAIN.parameters):
        return ()
    return ("input_forget is f = 1 - i: fed with the weights of f for those of i, their signs changed",)


def _session(u: int, states: tuple[str, ...], opset: int, said: Mapping[str, Any]) -> Any:
    """Return ONNX Runtime's session for a graph of the node alone."""
    fed = ("X", "W", "R", "B", *(("", *states) if states else ()))
    node = helper.make_node("LSTM", fed, _OUTPUTS, hidden_size=u, **said)

    def values(names: tuple[str, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name]

    graph = helper.make_graph([node], "lstm", values(fed), values(_OUTPUTS))
    # The oldest version of the file format with these operators: any ONNX Runtime of today reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
