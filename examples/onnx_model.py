"""Write lstm.onnx, a model that is one LSTM node, and clipped.onnx, whose node clips what goes into its activations.

The second is judged as what its node makes it, an LSTM whose gates and candidate are clipped.

python examples/onnx_model.py
lstm-checks verify lstm.onnx
lstm-checks verify clipped.onnx
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write(path, e=4, u=3, **attributes):
    """Write a model of input size e with u units."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 4 * u, e), "R": (1, 4 * u, u), "B": (1, 8 * u)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype("float32"), n) for n, s in shapes.items()]
    node = helper.make_node("LSTM", ["X", *shapes], ["Y"], name="lstm", hidden_size=u, **attributes)
    X = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["steps", "samples", e])
    Y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["steps", 1, "samples", u])
    graph = helper.make_graph([node], "lstm", [X], [Y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    write(f"{folder}/lstm.onnx")
    write(f"{folder}/clipped.onnx", clip=1.0)
