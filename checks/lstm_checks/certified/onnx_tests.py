"""Certified answers as ONNX's backend tests: a folder each, with model.onnx and test_data_set_0/*.pb.

Nodes LSTM, GRU and RNN in float32, with peepholes, both directions and lengths. Few of each: those that expose most
known faults of the forward pass within what ONNX's own runner accepts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lstm_checks.cases import Arrays, Case
from lstm_checks.certified.certify import certified_gradient
from lstm_checks.certified.cover import cover
from lstm_checks.strategies import draw_cases
from lstm_checks.tolerance import ONNX_ATOL, ONNX_RTOL
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import Network

Array = NDArray[Any]

OPSET = 14
DIMS = (3, 6, 4, 4)


@dataclass(frozen=True)
class Kind:
    """One operator with its options: the cell that it is, and in which order it has its gates and peepholes."""

    name: str
    cell: str
    operator: str
    gates: str
    most: int
    options: tuple[tuple[str, Any], ...] = ()
    peepholes: str = ""
    lengths: bool = False
    candidates: int = 24


KINDS = (
    Kind("lstm", "plain", "LSTM", "iofg", 7, candidates=72),
    Kind("lstm_peepholes", "peephole", "LSTM", "iofg", 3, peepholes="iof"),
    Kind("lstm_reverse", "plain@1xreverse", "LSTM", "iofg", 2, (("direction", "reverse"),), lengths=True),
    Kind("lstm_bidirectional", "plain@1xboth", "LSTM", "iofg", 4, (("direction", "bidirectional"),), lengths=True),
    Kind("gru", "gru", "GRU", "zrg", 3),
    Kind("gru_linear_before_reset", "gru_reset_after", "GRU", "zrg", 3, (("linear_before_reset", 1),)),
    Kind("rnn", "rnn", "RNN", "g", 2),
)
"""What is written. g is the candidate: c in ONNX's words for an LSTM, h for a GRU."""


def write_onnx_tests(folder: Path, kinds: tuple[Kind, ...] = KINDS) -> dict[str, dict[str, Any]]:
    """Write the tests, and notes.json beside them; return what each is and exposes, by its name.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    """
    notes: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        cases = candidates(kind)
        chosen, exposed = cover(cases[0].cell, [case.arrays for case in cases], ONNX_RTOL, ONNX_ATOL, kind.most)
        for number, k in enumerate(chosen):
            name = f"test_{kind.name}_certified_{number}"
            write_test(folder / name, kind, cases[k])
            notes[name] = {"case": cases[k].descriptor, "exposes": list(exposed[k])}
    (folder / "notes.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    return notes


def candidates(kind: Kind) -> list[Case]:
    """Return small cases in float32, of which every step's output and the final states are compared."""
    cell = cell_named(kind.cell)
    lengths = {"lengths": ("whole", "ragged")} if kind.lengths else {}
    options = {"dtypes": ("float32",), "max_dims": DIMS, "regimes": ("normal", "mixed", "x10"), "cell": cell, **lengths}
    return [case for case in draw_cases(kind.candidates, 0, **options) if case.sequences]


def write_test(folder: Path, kind: Kind, case: Case) -> None:
    """Write one test: the model of a node, what it is given, and the certified answers rounded to float32."""
    arrays, values = case.arrays, certified_gradient(case).values
    given, due = inputs_of(kind, arrays), outputs_of(kind, arrays.cell, values)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    node = helper.make_node(kind.operator, _with_gaps(kind, given), [*due], hidden_size=case.u, **dict(kind.options))
    types = {"sequence_lens": TensorProto.INT32}
    took, gives = (
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), v.shape) for n, v in named.items()]
        for named in (given, due)
    )
    graph = helper.make_graph([node], f"{kind.name} {case.descriptor}", took, gives)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    for word, named in (("input", given), ("output", due)):
        for number, (name, value) in enumerate(named.items()):
            (data / f"{word}_{number}.pb").write_bytes(numpy_helper.from_array(value, name).SerializeToString())


def inputs_of(kind: Kind, arrays: Arrays) -> dict[str, Array]:
    """Return a node's inputs by ONNX's names, steps first, directions in front."""
    ends = _ends(arrays.cell)
    weights = {
        "W": [_stacked(arrays, "U", kind.gates, end) for end in ends],
        "R": [_stacked(arrays, "V", kind.gates, end) for end in ends],
        "B": [_biases(kind, arrays, end) for end in ends],
    }
    found = {"X": arrays["X"].swapaxes(0, 1), **{name: np.stack(parts) for name, parts in weights.items()}}
    if kind.lengths:
        m, s = arrays["X"].shape[:2]
        found["sequence_lens"] = np.asarray(arrays.given.get("lengths", np.full(m, s)), np.int32)
    for name, own in (("initial_h", "h0"), ("initial_c", "C0")):
        if f"{own}{ends[0]}" in arrays:
            found[name] = np.stack([arrays[f"{own}{end}"] for end in ends])
    if kind.peepholes:
        found["P"] = np.concatenate([arrays[f"p{gate}"][0] for gate in kind.peepholes])[np.newaxis]
    order = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    as_float = {n: v if v.dtype == np.int32 else np.ascontiguousarray(v, np.float32) for n, v in found.items()}
    return {name: as_float[name] for name in order if name in as_float}


def outputs_of(kind: Kind, cell: Cell, values: Mapping[str, Array]) -> dict[str, Array]:
    """Return a node's outputs by ONNX's names: Y (s, directions, m, u), Y_h and Y_c."""
    ends, h = _ends(cell), values["h"].swapaxes(0, 1)
    s, m = h.shape[:2]
    found = {"Y": h.reshape(s, m, len(ends), -1).swapaxes(1, 2)}
    # A cell by itself has no final hidden state of its own: it is the last step's.
    found["Y_h"] = np.stack([values[f"hn{end}"] for end in ends]) if ends[0] else h[-1][np.newaxis]
    if f"Cn{ends[0]}" in values:
        found["Y_c"] = np.stack([values[f"Cn{end}"] for end in ends])
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def _ends(cell: Cell) -> list[str]:
    """Return the endings of a network's names, one a direction; of a cell by itself one that is empty."""
    return [place.suffix for place in cell.places] if isinstance(cell, Network) else [""]


def _stacked(arrays: Arrays, letter: str, gates: str, end: str) -> Array:
    """Return one kind of weights, gates below one another."""
    return np.concatenate([arrays[f"{letter}{gate}{end}"].T for gate in gates])


def _biases(kind: Kind, arrays: Arrays, end: str) -> Array:
    """Return both biases of all gates in a row: the second is zero but for the one that r scales."""
    first = np.concatenate([arrays[f"b{gate}{end}"][0] for gate in kind.gates])
    second = np.zeros_like(first)
    if "cg" in arrays:
        second[-arrays["cg"].shape[-1] :] = arrays["cg"][0]
    return np.concatenate([first, second])


def _with_gaps(kind: Kind, given: Mapping[str, Array]) -> list[str]:
    """Return the names of a node's inputs, an empty one for each that is not given before one that is."""
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if kind.operator == "LSTM" else [])]
    names = [name if name in given else "" for name in order]
    while names and not names[-1]:
        names.pop()
    return names
