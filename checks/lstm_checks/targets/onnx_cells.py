"""ONNX's recurrent operators: of which cell a node's attributes make it, and how it keeps that cell's parameters.

All numbers of a node are in four arrays, W, R, B and P, each with a row of its own for each direction. With
input_forget an LSTM is the one with coupled gates, read otherwise: ONNX Runtime has f = 1 - i, and no weights of f,
where the coupled cell has i = 1 - f. As sigmoid(-x) = 1 - sigmoid(x), that is the cell whose f has the weights of i,
their signs changed. `clip` is of the linear activations in ONNX Runtime, and not of the memory, which the specification
leaves open.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.slots import KINDS, MODULES, USUAL, Activation

GATES = {"LSTM": "iofg", "GRU": "zrg", "RNN": "g"}
"""The order of the gates in an operator's arrays; ONNX calls the candidate c in an LSTM, h in a GRU, i in an RNN."""

PEEPHOLES = "iof"
"""The order in P."""

_SLOTS = {"LSTM": "fgh", "GRU": "fg", "RNN": "g"}
"""Which of a cell's slots an operator's activations are for, in their order."""

_USUAL_NUMBERS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01,),
    "thresholdedrelu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0,),
}
"""The numbers that ONNX has where none are given; a scaled tanh has none, and has to say its own."""


def cells_of(operator: str, said: Mapping[str, Any], peepholes: bool, directions: int) -> tuple[Cell, ...]:
    """Return the cell of each direction that a node's attributes say.

    Parameters
    ----------
    operator : str
        "LSTM", "GRU" or "RNN".
    said : mapping
        The node's attributes by name.
    peepholes : bool
        Whether the node has P.
    directions : int

    Raises
    ------
    ValueError
        "it has the activation gelu, expected one of sigmoid, tanh, ...", and the like.
    """
    slots = _SLOTS[operator]
    usual = [USUAL[slot].encode() for slot in slots] * directions
    kinds = [_text(kind).lower() for kind in said.get("activations") or usual]
    if len(kinds) != len(slots) * directions:
        each = f", {len(slots)} for each direction" if directions > 1 else ""
        raise ValueError(f"its activations are {kinds}, expected {len(slots) * directions}{each}")
    words = _with_numbers(kinds, said)
    if "clip" in said:
        words = [
            word if slots[k % len(slots)] == "h" else _clipped(word, float(said["clip"]))
            for k, word in enumerate(words)
        ]
    base = _base(operator, said, peepholes)
    found = []
    for start in range(0, len(kinds), len(slots)):
        own = zip(slots, words[start : start + len(slots)], strict=True)
        found.append(cell_named(",".join([base, *(f"{slot}={word}" for slot, word in own)])))
    if base == "coupled" and not all(map(_is_odd_about_a_half, found)):
        raise ValueError(f"with input_forget its gates have {words[0]}, expected a sigmoid: f(-x) = 1 - f(x)")
    return tuple(found)


def _base(operator: str, said: Mapping[str, Any], peepholes: bool) -> str:
    """Return the name of a node's cell without its activations."""
    if operator == "RNN":
        return "rnn"
    if operator == "GRU":
        return "gru_reset_after" if said.get("linear_before_reset", 0) else "gru"
    if said.get("input_forget", 0) and peepholes:
        raise ValueError("it has both input_forget and P, expected one of them")
    return "coupled" if said.get("input_forget", 0) else "peephole" if peepholes else "plain"


def _with_numbers(kinds: Sequence[str], said: Mapping[str, Any]) -> list[str]:
    """Return each activation as a word with its numbers.

    Each takes what it needs of two lists, one after the other, in which the others have no place.
    """
    alphas, betas = (list(said.get(f"activation_{which}") or ()) for which in ("alpha", "beta"))
    words, known = [], ", ".join(kind for kind in KINDS if kind not in _OTHERS)
    for kind in kinds:
        needed = KINDS[kind].parameters if kind in KINDS and kind not in _OTHERS else None
        if needed is None:
            raise ValueError(f"it has the activation {kind}, expected one of {known}")
        given = [
            which.pop(0) if which else None for which, name in ((alphas, "alpha"), (betas, "beta")) if name in needed
        ]
        usual = _USUAL_NUMBERS.get(kind, (None,) * len(needed))
        numbers = [own if came is None else came for came, own in zip(given, usual, strict=True)]
        if None in numbers:
            raise ValueError(f"it has the activation {kind} without its {' and '.join(needed)}")
        # They are kept in float32, and are meant to be what they read as.
        words.append(":".join([kind, *(str(np.float32(number)) for number in numbers)]))
    if alphas or betas:
        raise ValueError(f"its activations {kinds} leave over activation_alpha {alphas} and activation_beta {betas}")
    return words


_CLIPPED = {"sigmoid": "clippedsigmoid", "tanh": "clippedtanh"}
"""The activations that a clip makes of others."""

_NO_NAME = ("hardsigmoid6", "relu6", "hardtanh", "selu", "exponential")
_OTHERS = (*_NO_NAME, *_CLIPPED.values())
"""The activations that ONNX does not have by a name."""


def _clipped(word: str, limit: float) -> str:
    """Return the activation of what is cut off at a limit."""
    if word not in _CLIPPED:
        raise ValueError(f"it has clip with the activation {word}, expected one of {', '.join(_CLIPPED)}")
    if not limit > 0:
        raise ValueError(f"its clip is {limit}, expected a number above 0")
    return f"{_CLIPPED[word]}:{np.float32(limit)}"


def _text(value: Any) -> str:
    """Return an attribute's text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _is_odd_about_a_half(cell: Cell) -> bool:
    """Return whether f(-x) = 1 - f(x) for the activation of a cell's gates."""
    value, _ = cell.activations.get("f", Activation(USUAL["f"])).functions(MODULES)
    x = np.linspace(-9, 9, 37)
    return bool(np.allclose(value(-x), 1 - value(x), atol=1e-12))


def attributes_of(cell: Cell) -> tuple[str, dict[str, Any]]:
    """Return the operator and the attributes of one direction that make a node this cell.

    Raises
    ------
    ValueError
        "ONNX has no LSTM with layer normalisation".
    """
    if cell.shared:
        raise ValueError(f"ONNX has no {cell.title}")
    base, operator = cell.name.partition(",")[0], "LSTM"
    said: dict[str, Any] = {}
    if base in ("gru", "gru_reset_after"):
        operator, said = "GRU", {"linear_before_reset": int(base == "gru_reset_after")}
    elif base == "rnn":
        operator = "RNN"
    elif base == "coupled":
        said = {"input_forget": 1}
    elif base not in ("plain", "peephole"):
        raise ValueError(f"ONNX has no {cell.title}")
    if cell.activations:
        chosen = [cell.activations[slot] for slot in _SLOTS[operator]]
        if clips := {found.numbers[0] for found in chosen if found.kind in _CLIPPED.values()}:
            said["clip"] = clips.pop()
            usual = {clipped: kind for kind, clipped in _CLIPPED.items()}
            chosen = [Activation(usual[found.kind]) if found.kind in usual else found for found in chosen]
        if unknown := [found.kind for found in chosen if found.kind in _NO_NAME]:
            other = "hardsigmoid:ALPHA:BETA" if unknown[0] == "hardsigmoid6" else "one that ONNX has a name for"
            raise ValueError(f"ONNX has no {unknown[0]}, expected {other}")
        said["activations"] = [_NAMES.get(found.kind, found.kind.capitalize()) for found in chosen]
        for k, name in enumerate(("alpha", "beta")):
            numbers = [
                value
                for found in chosen
                for own, value in zip(KINDS[found.kind].parameters, found.numbers, strict=True)
                if own == name
            ]
            said |= {f"activation_{('alpha', 'beta')[k]}": numbers} if numbers else {}
    made = cells_of(operator, said, base == "peephole", 1)
    if made != (cell,):
        raise ValueError(f"ONNX has no {cell.title}: its clip is of all gates and of the candidate")
    return operator, said


_NAMES = {
    "leakyrelu": "LeakyRelu",
    "thresholdedrelu": "ThresholdedRelu",
    "scaledtanh": "ScaledTanh",
    "hardsigmoid": "HardSigmoid",
}
"""How ONNX writes them, where that is more than a capital letter."""


def arrays_of(operator: str, cell: Cell, p: Mapping[str, Any], suffixes: Sequence[str]) -> dict[str, Any]:
    """Return W, R, B and P of a node.

    The second of two biases that are only added takes those of every other unit: the sums are exact, and a node that
    leaves out either is seen to.

    Parameters
    ----------
    operator : str
    cell : Cell
        What stands at each place.
    p : mapping
        The parameters by name, each with its place's ending.
    suffixes : sequence of str
        The places' endings: one for each direction of the node.
    """
    found: dict[str, list[Any]] = {}
    for suffix in suffixes:
        own = {name: np.asarray(p[name + suffix]) for name in cell.parameters}
        if "Ui" not in own and operator == "LSTM":
            own |= {f"{kind}i": -own[f"{kind}f"] for kind in "UVb"}  # f = 1 - i; those of f are not read
        gates = GATES[operator]
        found.setdefault("W", []).append(np.concatenate([own[f"U{gate}"].T for gate in gates]))
        found.setdefault("R", []).append(np.concatenate([own[f"V{gate}"].T for gate in gates]))
        pairs = [_two_biases(own, gate, k) for k, gate in enumerate(gates)]
        found.setdefault("B", []).append(np.concatenate([pair[which] for which in (0, 1) for pair in pairs]))
        if "pi" in own:
            found.setdefault("P", []).append(np.concatenate([own[f"p{gate}"][0] for gate in PEEPHOLES]))
    return {name: np.ascontiguousarray(np.stack(rows)) for name, rows in found.items()}


def _two_biases(own: Mapping[str, Any], gate: str, number: int) -> tuple[Any, Any]:
    """Return the biases of the input's and of the hidden state's product."""
    bias = own[f"b{gate}"][0]
    if f"c{gate}" in own:
        return bias, own[f"c{gate}"][0]
    first = (np.arange(len(bias)) + number) % 2 == 0
    return np.where(first, bias, bias.dtype.type(0)), np.where(first, bias.dtype.type(0), bias)
