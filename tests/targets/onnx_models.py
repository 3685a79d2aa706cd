"""ONNX models as exporters write them, each with what may be wrong of it as an option; a converter of parameters."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lstm_checks.targets.lacking import lacks

FLOAT = TensorProto.FLOAT
ROWS = {"LSTM": 4, "GRU": 3, "RNN": 1}


def value(name, *dims, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, dims or None)


def saved(path, nodes, inputs, outputs, constants, opset=14, ir=8):
    """Write a model, and return where."""
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)
    return str(path)


def weights(operator="LSTM", directions=1, e=4, u=3, at="", peepholes=False, bias=True):
    """The arrays of a node, all zero: they are set."""
    rows = ROWS[operator] * u
    shapes = {"W": (directions, rows, e), "R": (directions, rows, u)}
    shapes |= {"B": (directions, 2 * rows)} if bias else {}
    shapes |= {"P": (directions, 3 * u)} if peepholes else {}
    return {name + at: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def alone(
    path,
    operator="LSTM",
    directions=1,
    peepholes=False,
    bias=True,
    lengths="wired",
    states="wired",
    opset=14,
    ir=8,
    **attributes,
):
    """One node, with what goes in and comes out as it is."""
    finals = ["Y_h", "Y_c"] if operator == "LSTM" else ["Y_h"]
    names = ["initial_h", "initial_c"][: len(finals)]
    given = ["X", "W", "R", "B" if bias else "", "lens" if lengths == "wired" else ""]
    wired = {"wired": names, "crossed": names[::-1]}
    given += wired.get(states, [""] * len(names))
    given += ["P"] if peepholes else []
    node = helper.make_node(operator, given, ["Y", *finals], name="it", hidden_size=3, **attributes)
    inputs = [value("X", "s", "m", None)]
    inputs += [value("lens", "m", kind=TensorProto.INT32)] if lengths != "none" else []
    inputs += [value(name, directions, "m", None) for name in names] if states != "none" else []
    outputs = [value("Y", "s", directions, "m", None), *(value(name, directions, "m", None) for name in finals)]
    constants = weights(operator, directions, peepholes=peepholes, bias=bias)
    return saved(path, [node], inputs, outputs, constants, opset, ir)


def batch_major(path, transposed=True, dims=("batch", "seq", 4), back=True):
    """A node between two transposes, as for batch_first."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2] if transposed else [0, 1, 2]),
        helper.make_node("LSTM", ["xt", "W", "R", "B"], ["Y"], name="it", hidden_size=3),
        helper.make_node("Squeeze", ["Y", "one"], ["ys"]),
        helper.make_node("Transpose", ["ys"], ["y"], perm=[1, 0, 2] if transposed and back else [0, 1, 2]),
    ]
    out = [*dims[:2], 3] if back or not transposed else [dims[1], dims[0], 3]
    return saved(path, nodes, [value("x", *dims)], [value("y", *out)], {**weights(), "one": [1]})


def both_ways(path, order=(0, 1), turned_back=True, axis=3):
    """Two directions as two nodes of which one is given X turned round, joined by Concat."""
    turn = ["back", "least", "zero", "back"]
    nodes = [
        helper.make_node("Slice", ["x", *turn], ["turned"]),
        helper.make_node("LSTM", ["x", "Wf", "Rf", "Bf", "", "h0", "c0"], ["yf", "hf", "cf"], name="fw", hidden_size=3),
        helper.make_node(
            "LSTM", ["turned", "Wb", "Rb", "Bb", "", "h1", "c1"], ["yr", "hb", "cb"], name="bw", hidden_size=3
        ),
        helper.make_node("Slice", ["yr", *turn], ["yb"])
        if turned_back
        else helper.make_node("Identity", ["yr"], ["yb"]),
        helper.make_node("Concat", [["yf", "yb"][k] for k in order], ["joined"], axis=axis),
        helper.make_node("Squeeze", ["joined", "one"], ["y"]),
    ]
    states = [value(name, 1, "m", 3) for name in ("h0", "c0", "h1", "c1")]
    outputs = [value("y", "s", "m", 6), *(value(name, 1, "m", 3) for name in ("hf", "hb", "cf", "cb"))]
    constants = {**weights(at="f"), **weights(at="b"), "back": [-1], "least": [-(2**31)], "zero": [0], "one": [1]}
    return saved(path, nodes, [value("x", "s", "m", 4), *states], outputs, constants)


def stack(path, order=(0, 1), states=(0, 1), layers=2):
    """Layers of one bidirectional node each, the states of all places in one tensor, as PyTorch's exporter has it."""
    nodes, constants, below = [], {"shape": [0, 0, -1], "order": list(order), "none": [0]}, "x"
    for layer in range(layers):
        at = f"_{layer}"
        constants |= weights(directions=2, e=4 if layer == 0 else 6, at=at)
        place = states[layer]
        constants |= {f"from{at}": [2 * place], f"to{at}": [2 * place + 2]}
        nodes += [helper.make_node("Slice", [s, f"from{at}", f"to{at}", "none"], [f"{s}{at}"]) for s in ("h0", "c0")]
        given = [below, f"W{at}", f"R{at}", f"B{at}", "lens", f"h0{at}", f"c0{at}"]
        nodes += [
            helper.make_node("LSTM", given, [f"Y{at}", f"h{at}", f"c{at}"], direction="bidirectional", hidden_size=3),
            helper.make_node("Gather", [f"Y{at}", "order"], [f"o{at}"], axis=1),
            helper.make_node("Transpose", [f"o{at}"], [f"t{at}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"t{at}", "shape"], [f"x{at}"]),
        ]
        below = f"x{at}"
    nodes += [helper.make_node("Concat", [f"{s}_{k}" for k in range(layers)], [f"{s}n"], axis=0) for s in "hc"]
    nodes.append(helper.make_node("Identity", [below], ["y"]))
    inputs = [value("x", "s", "m", 4), *(value(s, 2 * layers, "m", 3) for s in ("h0", "c0"))]
    inputs.append(value("lens", "m", kind=TensorProto.INT64))
    # An exporter's lengths are of 64 bits, the node's of 32.
    nodes = [helper.make_node("Cast", ["lens"], ["lens32"], to=TensorProto.INT32), *nodes]
    for node in nodes:
        if node.op_type == "LSTM":
            node.input[4] = "lens32"
    outputs = [value("y", "s", "m", 6), value("hn", 2 * layers, "m", 3), value("cn", 2 * layers, "m", 3)]
    return saved(path, nodes, inputs, outputs, constants)


def converter(gates="iofc", peepholes=False, wired=True, doubled=False, states=True):
    """A function that makes a model of one node from parameters, with or without peepholes, and runs it."""
    own = {"i": "i", "o": "o", "f": "f", "c": "g"}

    @lacks("gradients")
    def convert(p, X, h0, C0):
        def stacked(kind):
            return np.concatenate([p[f"{kind}{own[gate]}"].T for gate in gates])[np.newaxis]

        b = np.concatenate([p[f"b{own[gate]}"][0] for gate in gates])
        arrays = {"W": stacked("U"), "R": stacked("V"), "B": np.concatenate([b, b if doubled else 0 * b])[np.newaxis]}
        arrays |= {"P": np.concatenate([p[f"p{gate}"][0] for gate in "iof"])[np.newaxis]} if peepholes else {}
        given = ["X", "W", "R", "B", "", *(("h0", "C0") if states else ("", "")), "P" if peepholes and wired else ""]
        node = helper.make_node("LSTM", given, ["Y", "", "Cn"], hidden_size=b.size // 4)
        inputs = [value(name) for name in ("X", "h0", "C0")]
        tensors = [numpy_helper.from_array(array.astype("float32"), name) for name, array in arrays.items()]
        graph = helper.make_graph([node], "g", inputs, [value(name) for name in ("Y", "Cn")], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        feed = {"X": X.swapaxes(0, 1), "h0": h0[np.newaxis], "C0": C0[np.newaxis]}
        Y, Cn = session.run(None, {name: np.ascontiguousarray(a, "float32") for name, a in feed.items()})
        return (Y[:, 0].swapaxes(0, 1).copy(), Cn[0]), lambda dh, dCn: {}

    return convert
