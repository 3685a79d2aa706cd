"""How frameworks keep an LSTM's weights, as data, and the way there and back.

Every framework stacks the four gates in an order of its own, along rows or columns, with one bias or two. A `Layout`
says how, array by array; `to_framework` and `from_framework` carry parameters over, `gradients_from_framework` what
comes back. The gates are f (forget), i (input), g (candidate, elsewhere c or j) and o (output).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.contract import PLAIN
from lstm_checks.weights.namespace import contiguous, namespace, own
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS

Array = NDArray[Any]


SECOND = "b2"  # the second of two biases that are only ever added

OWN_SECOND = "c"
"""How the name of a cell's own second bias begins, before its gate: that of a GRU's candidate where r scales it."""


PROVEN, DOCUMENTED = "proven", "from documentation"


COLUMNS, ROWS, VECTOR, SPLIT = "gates along columns", "gates along rows", "flat", "gates on an axis of their own"
STACKED = "a matrix for each gate, one after the other"


class LayoutError(ValueError):
    """Arrays do not fit a layout, or there is no such layout; the message names what came and what was expected."""


@dataclass(frozen=True)
class Block:
    """One array of a layout.

    Parameters
    ----------
    name : str
        What the framework calls it.
    kinds : tuple of str
        What it stacks along its input axis: "U" (e rows), "V" (u rows, or p where the hidden state is projected), "b",
        or "b2" for a second bias, "p" for the peepholes' weights (1 row each); "P", the projection, alone (u rows, p
        columns). Of a cell's own parameters what stands before the gate, or the whole name where there is none.
    gates : str
        The gates in it, in their order; none of a projection.
    form : str
        With G gates and r rows: gates along columns (r, G u), along rows (G u, r), flat (r G u,), or on an axis of
        their own (r, G, u), without r where that is a bias, or (G, r, u).
    lead : int
        Leading axes of length 1, for layers and directions.
    """

    name: str
    kinds: tuple[str, ...]
    gates: str
    form: str
    lead: int = 0

    def rows(self, e: int, u: int, p: int | None = None) -> list[int]:
        """Return the number of rows of each kind."""
        return [{"U": e, "V": u if p is None else p, "P": u}.get(kind, 1) for kind in self.kinds]

    def shape(self, e: int, u: int, p: int | None = None) -> tuple[int, ...]:
        """Return the shape of the array; of p where the hidden state is projected."""
        rows, wide = sum(self.rows(e, u, p)), len(self.gates) * u if self.gates else p or u
        inner = {
            COLUMNS: (rows, wide),
            ROWS: (wide, rows),
            VECTOR: (rows * wide,),
            SPLIT: (len(self.gates), u) if self.is_bias else (rows, len(self.gates), u),
            STACKED: (len(self.gates), rows, u),
        }[self.form]
        return (1,) * self.lead + inner

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that it holds; a second bias is a bias, and a projection is of no gate."""
        gates = self.gates or ("",)
        return frozenset(("b" if kind == SECOND else kind) + gate for kind in self.kinds for gate in gates)

    @property
    def is_bias(self) -> bool:
        """Whether there are only biases in it."""
        return set(self.kinds) <= {"b", SECOND}

    @property
    def formula(self) -> str:
        """The shape in letters."""
        return self.in_letters("u")

    def in_letters(self, hidden: str) -> str:
        """Return the shape in letters, of a hidden state that is so wide."""
        count = len(self.gates)
        if not count:
            return "(1, u)" if self.kinds != ("P",) else "(p, u)" if self.form == ROWS else "(u, p)"
        wide = f"{count}u" if count > 1 else "u"
        rows = "+".join({"U": "e", "V": hidden}.get(kind, "1") for kind in self.kinds)
        rows = "2" if rows == "1+1" else rows
        flat = wide if len(self.kinds) == 1 else f"{len(self.kinds) * count}u"
        split = f"{count}, u" if self.is_bias else f"{rows}, {count}, u"
        inner = {
            COLUMNS: f"{rows}, {wide}",
            ROWS: f"{wide}, {rows}",
            VECTOR: f"{flat},",
            SPLIT: split,
            STACKED: f"{count}, {rows}, u",
        }[self.form]
        return f"({'1, ' * self.lead}{inner})"

    def pack(self, values: Mapping[str, Array]) -> Array:
        """Return the array, from values by kind and gate: (e, u), (u, u) or (1, u) each."""
        gates = tuple(self.gates) or ("",)
        joined = namespace(next(iter(values.values()))).concatenate
        stacked = [joined([values[kind + gate] for gate in gates], axis=1) for kind in self.kinds]
        matrix = joined(stacked, axis=0)
        matrix = matrix.T if self.form == ROWS else matrix
        some = next(gate for gate in "figo" if f"U{gate}" in values)
        (e, u), p = values[f"U{some}"].shape, values[f"V{some}"].shape[0]
        if self.form == STACKED:
            return contiguous(matrix.reshape(-1, len(gates), u).swapaxes(0, 1))
        return contiguous(matrix).reshape(self.shape(e, u, p))

    def unpack(self, array: Array, e: int, u: int, p: int | None = None) -> dict[str, Array]:
        """Return the values by kind and gate."""
        rows = self.rows(e, u, p)
        if not self.gates:
            return {kind: own(array.T if self.form == ROWS else array) for kind in self.kinds}
        wide = len(self.gates) * u
        array = array.swapaxes(0, 1) if self.form == STACKED else array
        matrix = array.reshape(wide, sum(rows)).T if self.form == ROWS else array.reshape(sum(rows), wide)
        found, start = {}, 0
        for kind, count in zip(self.kinds, rows, strict=True):
            for k, gate in enumerate(self.gates):
                found[kind + gate] = own(matrix[start : start + count, k * u : (k + 1) * u])
            start += count
        return found

    def units(self, shape: tuple[int, ...]) -> int | None:
        """Return u as this array's shape has it, if it can be told."""
        inner, count = shape[self.lead :], len(self.gates)
        if not inner or len(shape) != len(self.shape(1, 1)):
            return None
        wide = {
            ROWS: inner[0],
            SPLIT: inner[-1] * count,
            STACKED: inner[-1] * count,
            VECTOR: inner[0] // len(self.kinds),
        }.get(self.form, inner[-1])
        return wide // count if wide >= count and wide % count == 0 else None


@dataclass(frozen=True)
class Layout:
    """How one framework keeps the weights of one LSTM, or of one of another cell.

    Attributes
    ----------
    name : str
        What it is called here.
    of : str
        Where it is used.
    blocks : tuple of Block
        Its arrays.
    state : str
        The order in which the framework takes and returns the states, and their shape.
    forget_bias : float
        What the framework adds to the forget gate at run time; it is not in the arrays.
    activations : str
        What the gates go through, and where the framework's other choices differ from it.
    refused : mapping
        Further arrays it may have, which have no counterpart, and what they are.
    evidence : str
        "proven": run against the framework itself, forward and gradient, in the peers' tests; or "from documentation".
    directions : bool
        Whether the first axis holds the directions of a bidirectional layer.
    flat : bool
        Whether the arrays follow each other in a single one, named `weights`.
    cell : Cell
        Whose parameters they are; activations are no matter here.
    negated : str
        The gates of which the framework holds the negative, since its gate is 1 less ours.
    """

    name: str
    of: str
    blocks: tuple[Block, ...]
    state: str
    evidence: str
    forget_bias: float = 0.0
    activations: str = "sigmoid f i o, tanh g and C"
    refused: Mapping[str, str] | None = None
    directions: bool = False
    flat: bool = False
    cell: Cell = PLAIN
    negated: str = ""

    @property
    def gates(self) -> str:
        """The order of the gates."""
        return self.blocks[0].gates if len(self.blocks[0].gates) == len(self.cell.gates) else "by name"

    @property
    def biases(self) -> str:
        """One, two (only ever added to each other), on h only, or none."""
        kinds = [kind for block in self.blocks for kind in block.kinds]
        if "b" not in kinds:
            return "none"
        if SECOND in kinds:
            return "two"
        return "one, on h" if any(b.is_bias and b.name.startswith(("h", "dense_h")) for b in self.blocks) else "one"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return ("weights",) if self.flat else tuple(block.name for block in self.blocks)

    @property
    def twins(self) -> dict[str, str]:
        """The gradients of the second bias, and the gradient of the contract that each must equal."""
        second = [(block, gate) for block in self.blocks if SECOND in block.kinds for gate in block.gates]
        return {twin(gate, block.name): f"db{gate}" for block, gate in second if not self.has_own_second(gate)}

    def has_own_second(self, gate: str) -> bool:
        """Return whether a gate's second bias is a parameter of the cell, and not only added to the first."""
        return OWN_SECOND + gate in self.cell.parameters

    @property
    def projects(self) -> bool:
        """Whether it holds a projection, so that the hidden state has a size of its own."""
        return any("P" in block.kinds for block in self.blocks)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it holds, by the names that this project gives them."""
        held = {
            (OWN_SECOND if kind == SECOND else kind) + gate
            for block in self.blocks
            for kind in block.kinds
            for gate in block.gates or ("",)
        }
        return tuple(name for name in self.cell.parameters if name in held)

    def shapes(self, e: int, u: int, p: int | None = None) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array; of p where the hidden state is projected."""
        shapes = {block.name: block.shape(e, u, p) for block in self.blocks}
        return {"weights": (sum(int(np.prod(s)) for s in shapes.values()),)} if self.flat else shapes


def twin(gate: str, name: str) -> str:
    """Return the name of a gate's gradient in the second bias."""
    return f"db{gate} of {name}"


def _stacked(gates: str, form: str, U: str, V: str, b: str = "", b2: str = "", lead: int = 0) -> tuple[Block, ...]:
    """Return the blocks of a layout with U and V apart, all gates in each."""
    bias = SPLIT if form == SPLIT else VECTOR
    blocks = [Block(U, ("U",), gates, form, lead), Block(V, ("V",), gates, form, lead)]
    blocks += [Block(b, ("b",), gates, bias, lead)] if b else []
    return (*blocks, *([Block(b2, (SECOND,), gates, bias, lead)] if b2 else []))


def _apart(forget: str) -> tuple[Block, ...]:
    """Return the blocks of Flax's cells that keep each gate apart; in one of them `if` may not be a name."""
    return (
        *(Block(f"{forget if gate == 'f' else 'i' + gate}.kernel", ("U",), gate, COLUMNS) for gate in "ifgo"),
        *(Block(f"h{gate}.kernel", ("V",), gate, COLUMNS) for gate in "ifgo"),
        *(Block(f"h{gate}.bias", ("b",), gate, VECTOR) for gate in "ifgo"),
    )


def without_biases(layout: Layout) -> Layout:
    """Return a layout without the arrays that hold biases alone."""
    return replace(layout, blocks=tuple(block for block in layout.blocks if not block.is_bias))


def with_projection(layout: Layout, name: str, form: str) -> Layout:
    """Return a layout with the array of a projection besides."""
    refused = {key: what for key, what in (layout.refused or {}).items() if key != name}
    return replace(
        layout, blocks=(*layout.blocks, Block(name, ("P",), "", form)), refused=refused, cell=CELLS["projected"]
    )


def with_peepholes(layout: Layout, blocks: tuple[Block, ...]) -> Layout:
    """Return a layout with the arrays of peepholes besides."""
    names = {block.name for block in blocks}
    refused = {key: what for key, what in (layout.refused or {}).items() if key not in names}
    return replace(layout, blocks=(*layout.blocks, *blocks), refused=refused, cell=CELLS["peephole"])


_PEEPHOLES = {"P": "peephole weights (order i o f)"}


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "named",
            "lstm_ref, lstm_fast, EpyNN",
            tuple(Block(kind + gate, (kind,), gate, COLUMNS) for gate in PLAIN.gates for kind in ("U", "V", "b")),
            "h (m, u), C (m, u)",
            PROVEN,
        ),
        Layout(
            "torch",
            "torch.nn.LSTM; one layer and direction",
            _stacked("ifgo", ROWS, "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
            "h, C: each (layers * directions, m, u), even with batch_first",
            PROVEN,
            refused={"weight_hr_l0": "a projection (proj_size)"},
        ),
        Layout(
            "torch-cell",
            "torch.nn.LSTMCell",
            _stacked("ifgo", ROWS, "weight_ih", "weight_hh", "bias_ih", "bias_hh"),
            "h (m, u), C (m, u)",
            PROVEN,
        ),
        Layout(
            "keras",
            "keras.layers.LSTM, LSTMCell (Keras 3)",
            _stacked("ifgo", COLUMNS, "kernel", "recurrent_kernel", "bias"),
            "h (m, u), C (m, u)",
            PROVEN,
            activations="sigmoid f i o, tanh g and C; hard_sigmoid there is clip(x/6 + 1/2, 0, 1)",
        ),
        Layout(
            "onnx",
            "ONNX operator LSTM; one direction",
            (
                Block("W", ("U",), "iofg", ROWS, 1),
                Block("R", ("V",), "iofg", ROWS, 1),
                Block("B", ("b", SECOND), "iofg", VECTOR, 1),
            ),
            "h, C: each (directions, m, u), or (m, directions, u) with layout=1; X time-major unless layout=1",
            PROVEN,
            activations="sigmoid f i o, tanh g and C; HardSigmoid there is clip(0.2 x + 1/2, 0, 1)",
            refused=_PEEPHOLES,
            directions=True,
        ),
        Layout("flax-linen", "flax.linen.LSTMCell, OptimizedLSTMCell", _apart("if"), "C (m, u), h (m, u)", PROVEN),
        Layout("flax-cell", "flax.nnx.LSTMCell", _apart("if_"), "C (m, u), h (m, u)", PROVEN),
        Layout(
            "flax",
            "flax.nnx.OptimizedLSTMCell",
            _stacked("ifgo", COLUMNS, "dense_i.kernel", "dense_h.kernel", "dense_h.bias"),
            "C (m, u), h (m, u)",
            PROVEN,
        ),
        Layout(
            "equinox",
            "equinox.nn.LSTMCell",
            _stacked("ifgo", ROWS, "weight_ih", "weight_hh", "bias"),
            "h (u,), C (u,): one sample at a time",
            PROVEN,
        ),
        Layout(
            "haiku",
            "haiku.LSTM",
            (Block("w", ("U", "V"), "igfo", COLUMNS), Block("b", ("b",), "igfo", VECTOR)),
            "h (m, u), C (m, u)",
            PROVEN,
            forget_bias=1.0,
        ),
        Layout(
            "mlx",
            "mlx.nn.LSTM",
            _stacked("ifgo", ROWS, "Wx", "Wh", "bias"),
            "h, C; it returns those of every step",
            PROVEN,
        ),
        Layout(
            "tinygrad",
            "tinygrad.nn.LSTMCell",
            _stacked("ifgo", ROWS, "weight_ih", "weight_hh", "bias_ih", "bias_hh"),
            "h (m, u), C (m, u)",
            PROVEN,
        ),
        Layout(
            "cudnn",
            "cuDNN, the weight space of one pseudo-layer",
            _stacked("ifgo", ROWS, "W_ih", "W_hh", "b_ih", "b_hh"),
            "h, C: each (layers * directions, m, u)",
            DOCUMENTED,
            flat=True,
        ),
        Layout(
            "onednn",
            "oneDNN, format ldigo; one layer and direction",
            _stacked("ifgo", SPLIT, "weights_layer", "weights_iter", "bias", lead=2),
            "h, C: each (layers, directions, m, u)",
            DOCUMENTED,
        ),
        Layout(
            "openvino",
            "OpenVINO LSTMSequence; one direction",
            _stacked("figo", ROWS, "W", "R", "B", lead=1),
            "h, C: each (m, directions, u)",
            DOCUMENTED,
            directions=True,
        ),
        Layout(
            "tf1",
            "tf.compat.v1.nn.rnn_cell.LSTMCell, with its default forget_bias=1.0",
            (Block("kernel", ("U", "V"), "igfo", COLUMNS), Block("bias", ("b",), "igfo", VECTOR)),
            "C (m, u), h (m, u)",
            DOCUMENTED,
            forget_bias=1.0,
            refused=dict.fromkeys(("w_f_diag", "w_i_diag", "w_o_diag"), "a peephole weight"),
        ),
    )
}


def find_layout(name: str) -> Layout:
    """Return the layout of that name.

    Raises
    ------
    LayoutError
        "there is no layout 'troch', expected one of named, torch, ...; did you mean 'torch'?"
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = difflib.get_close_matches(name, LAYOUTS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise LayoutError(f"there is no layout {name!r}, expected one of {', '.join(LAYOUTS)}{hint}")
