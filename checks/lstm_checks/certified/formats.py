"""The certified vectors in the formats of others: arrays by name, lines of numbers for C, WebNN's conformance JSON."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.certified.cover import cover
from lstm_checks.certified.read import read_vectors_file
from lstm_checks.certified.vectors import COTANGENT_NAMES, Array, Vector
from lstm_checks.contract import PLAIN
from lstm_checks.files import replacing
from lstm_checks.tolerance import ONNX_ATOL, ONNX_RTOL
from lstm_checks.weights.files import write_arrays

GATES = "iofg"
"""WebNN's default order of the gates, which is ONNX's."""

WEBNN_MOST, WEBNN_SIZE = 7, 100
"""How many tests there are at most, and the largest product of sizes of which one is made."""


def parts(vector: Vector) -> Iterator[tuple[str, str, Array]]:
    """Yield every array of a vector, with what it is: input, cotangent, value, radius or tolerance; and its name."""
    for name in PLAIN.inputs:
        yield "input", name, vector.arrays[name]
    for name in COTANGENT_NAMES:
        yield "cotangent", name, vector.arrays[name]
    for kind, named in (("value", vector.values), ("radius", vector.radii), ("tolerance", vector.tolerances)):
        for name, array in named.items():
            yield kind, name, array


def write_by_name(path: str | Path) -> int:
    """Write .npz or .safetensors, arrays named "ID/value/dUf"; return how many vectors they are."""
    vectors = read_vectors_file().vectors
    named = {f"{v.id}/{kind}/{name}": np.ascontiguousarray(a) for v in vectors for kind, name, a in parts(v)}
    write_arrays(path, named)
    return len(vectors)


def write_csv(path: str | Path) -> int:
    """Write a line an array: vector, kind, name, its shape in three numbers, then its entries, the last axis fastest.

    Numbers have 17 digits, which give the same float64 back; `fgets` and `strtod` are enough to read them.
    """
    vectors = read_vectors_file().vectors
    with replacing(path) as made, open(made, "w", encoding="ascii", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        for vector in vectors:
            for kind, name, array in parts(vector):
                shape = (1,) * (3 - array.ndim) + array.shape
                out.writerow([vector.id, kind, name, *shape, *(f"{float(x):.17g}" for x in np.ravel(array))])
    return len(vectors)


def write_wpt(path: str | Path) -> int:
    """Write tests of WebNN's `lstm` in the form of its conformance tests: the few that expose most; return how many."""
    vectors = [v for v in read_vectors_file().vectors if v.dtype == "float32" and math.prod(v.dims) <= WEBNN_SIZE]
    chosen, _ = cover(PLAIN, [v.arrays for v in vectors], ONNX_RTOL, ONNX_ATOL, WEBNN_MOST)
    tests = [_webnn(vectors[k]) for k in chosen]
    with replacing(path) as made:
        Path(made).write_text(json.dumps({"tests": tests}, indent=1) + "\n", encoding="ascii")
    return len(tests)


def _webnn(vector: Vector) -> dict[str, Any]:
    """Return one vector as a test of WebNN's `lstm`: its graph, and what is expected of it."""
    m, s, _, u = vector.dims
    given, values = vector.arrays, vector.values
    packed = {letter: np.concatenate([given[letter + gate].T for gate in GATES])[None] for letter in "UV"}
    inputs = {
        "lstmInput": given["X"].swapaxes(0, 1),
        "lstmWeight": packed["U"],
        "lstmRecurrentWeight": packed["V"],
        "lstmBias": np.concatenate([given["b" + gate][0] for gate in GATES])[None],
        "lstmInitialHiddenState": given["h0"][None],
        "lstmInitialCellState": given["C0"][None],
    }
    options = {"bias": "lstmBias", "initialHiddenState": "lstmInitialHiddenState", "returnSequence": True}
    options |= {"initialCellState": "lstmInitialCellState", "layout": GATES}
    names = ("input", "weight", "recurrentWeight")
    arguments = [*({n: i} for n, i in zip(names, inputs, strict=False)), {"steps": s}, {"hiddenSize": u}]
    h = values["h"]
    due = {
        "lstmOutput1": h[:, -1][None],
        "lstmOutput2": values["Cn"][None],
        "lstmOutput3": h.swapaxes(0, 1)[:, None],
    }
    operator = {"name": "lstm", "arguments": [*arguments, {"options": options}], "outputs": [*due]}
    return {
        "name": f"lstm float32 {vector.id} of {m} samples",
        "graph": {
            "inputs": {name: _tensor(value, constant=n in (1, 2, 3)) for n, (name, value) in enumerate(inputs.items())},
            "operators": [operator],
            "expectedOutputs": {name: _tensor(value) for name, value in due.items()},
        },
    }


def _tensor(value: Array, constant: bool = False) -> dict[str, Any]:
    """Return an array as WebNN's tests write it, in float32."""
    flat = [float(x) for x in np.ravel(value).astype(np.float32)]
    found = {"data": flat, "descriptor": {"shape": list(value.shape), "dataType": "float32"}}
    return found | ({"constant": True} if constant else {})
