"""A converter and the model that it writes: an ONNX LSTM node with its weights in ONNX's order, run by ONNX Runtime."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ORDER = "iofg"


def converted(p, e, u):
    """The weights of the node, one matrix a kind, gates below one another."""
    W = np.concatenate([p["U" + gate].T for gate in ORDER])[None]
    R = np.concatenate([p["V" + gate].T for gate in ORDER])[None]
    B = np.concatenate([p["b" + gate][0] for gate in ORDER])
    return {"W": W, "R": R, "B": np.concatenate([B, np.zeros_like(B)])[None]}


def model(weights, u):
    inputs = ["X", "W", "R", "B", "", "H", "C"]
    node = helper.make_node("LSTM", inputs, ["Y", "", "Yc"], hidden_size=u)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("X", "H", "C")]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("Y", "Yc")]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in weights.items()]
    graph = helper.make_graph([node], "converted", values, results, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def lstm(p, X, h0, C0):
    if X.dtype != np.float32:
        raise TypeError(f"float32 alone, not {X.dtype}")
    weights = converted(p, X.shape[2], h0.shape[1])
    written = model(weights, h0.shape[1]).SerializeToString()
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    given = {"X": X.swapaxes(0, 1), "H": h0[None], "C": C0[None]}
    known = {value.name for value in session.get_inputs()}
    fed = {name: np.ascontiguousarray(value) for name, value in given.items() if name in known}
    Y, Yc = session.run(["Y", "Yc"], fed)
    return (Y[:, 0].swapaxes(0, 1).copy(), Yc[0]), lambda dh, dCn: {}
