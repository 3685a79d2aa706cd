"""How frameworks keep an LSTM's weights, as data, and the way there and back.

Every framework stacks the four gates in an order of its own, along rows or columns, with one bias or two. A `Layout`
says how, array by array; `to_framework` and `from_framework` carry parameters over, `gradients_from_framework` what
comes back. The gates are f (forget), i (input), g (candidate, elsewhere c or j) and o (output).
"""

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.contract import GATES, PARAMETERS

Array = NDArray[Any]

SECOND = "b2"  # the second of two biases that are only ever added
PROVEN, DOCUMENTED = "proven", "from documentation"
COLUMNS, ROWS, VECTOR, SPLIT = "gates along columns", "gates along rows", "flat", "gates on an axis of their own"


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
        What it stacks along its input axis: "U" (e rows), "V" (u rows), "b", or "b2" for a second bias (1 row each).
    gates : str
        The gates in it, in their order.
    form : str
        With G gates and r rows: gates along columns (r, G u), along rows (G u, r), flat (r G u,), or on an axis of
        their own (r, G, u), without r where that is a bias.
    lead : int
        Leading axes of length 1, for layers and directions.
    """

    name: str
    kinds: tuple[str, ...]
    gates: str
    form: str
    lead: int = 0

    def rows(self, e: int, u: int) -> list[int]:
        """Return the number of rows of each kind."""
        return [{"U": e, "V": u}.get(kind, 1) for kind in self.kinds]

    def shape(self, e: int, u: int) -> tuple[int, ...]:
        """Return the shape of the array."""
        rows, wide = sum(self.rows(e, u)), len(self.gates) * u
        inner = {
            COLUMNS: (rows, wide),
            ROWS: (wide, rows),
            VECTOR: (rows * wide,),
            SPLIT: (len(self.gates), u) if self.is_bias else (rows, len(self.gates), u),
        }[self.form]
        return (1,) * self.lead + inner

    @property
    def is_bias(self) -> bool:
        """Whether there are only biases in it."""
        return set(self.kinds) <= {"b", SECOND}

    @property
    def formula(self) -> str:
        """The shape in letters."""
        count = len(self.gates)
        wide = f"{count}u" if count > 1 else "u"
        rows = "+".join({"U": "e", "V": "u"}.get(kind, "1") for kind in self.kinds)
        rows = "2" if rows == "1+1" else rows
        flat = wide if len(self.kinds) == 1 else f"{len(self.kinds) * count}u"
        split = f"{count}, u" if self.is_bias else f"{rows}, {count}, u"
        inner = {COLUMNS: f"{rows}, {wide}", ROWS: f"{wide}, {rows}", VECTOR: f"{flat},", SPLIT: split}[self.form]
        return f"({'1, ' * self.lead}{inner})"

    def pack(self, values: Mapping[str, Array]) -> Array:
        """Return the array, from values by kind and gate: (e, u), (u, u) or (1, u) each."""
        stacked = [np.concatenate([values[kind + gate] for gate in self.gates], axis=1) for kind in self.kinds]
        matrix = np.concatenate(stacked)
        matrix = matrix.T if self.form == ROWS else matrix
        e, u = values["U" + self.gates[0]].shape
        return np.ascontiguousarray(matrix).reshape(self.shape(e, u))

    def unpack(self, array: Array, e: int, u: int) -> dict[str, Array]:
        """Return the values by kind and gate."""
        rows, wide = self.rows(e, u), len(self.gates) * u
        matrix = array.reshape(wide, sum(rows)).T if self.form == ROWS else array.reshape(sum(rows), wide)
        found, start = {}, 0
        for kind, count in zip(self.kinds, rows, strict=True):
            for k, gate in enumerate(self.gates):
                found[kind + gate] = matrix[start : start + count, k * u : (k + 1) * u].copy()
            start += count
        return found

    def units(self, shape: tuple[int, ...]) -> int | None:
        """Return u as this array's shape has it, if it can be told."""
        inner, count = shape[self.lead :], len(self.gates)
        if not inner or len(shape) != len(self.shape(1, 1)):
            return None
        wide = {ROWS: inner[0], SPLIT: inner[-1] * count, VECTOR: inner[0] // len(self.kinds)}.get(self.form, inner[-1])
        return wide // count if wide >= count and wide % count == 0 else None


@dataclass(frozen=True)
class Layout:
    """How one framework keeps the weights of one LSTM.

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

    @property
    def gates(self) -> str:
        """The order of the gates."""
        return self.blocks[0].gates if len(self.blocks[0].gates) == len(GATES) else "by name"

    @property
    def biases(self) -> str:
        """One, two (only ever added to each other), or on h only."""
        kinds = [kind for block in self.blocks for kind in block.kinds]
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
        second = (block for block in self.blocks if SECOND in block.kinds)
        return {_twin(gate, block.name): f"db{gate}" for block in second for gate in block.gates}

    def shapes(self, e: int, u: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array."""
        shapes = {block.name: block.shape(e, u) for block in self.blocks}
        return {"weights": (sum(int(np.prod(s)) for s in shapes.values()),)} if self.flat else shapes


def _twin(gate: str, name: str) -> str:
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


_PEEPHOLES = {"P": "peephole weights (order i o f)"}

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "named",
            "lstm_ref, lstm_fast, EpyNN",
            tuple(Block(kind + gate, (kind,), gate, COLUMNS) for gate in GATES for kind in ("U", "V", "b")),
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
            DOCUMENTED,
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


def to_framework(p: Mapping[str, Any], layout: str | Layout) -> dict[str, Array]:
    """Return the arrays in a framework's layout.

    Where there are two biases the first holds all of it and the second is zero, so that the sum is exact. Where the
    framework adds to the forget gate at run time, that is taken off first (which may round).

    Parameters
    ----------
    p : mapping
        The twelve parameters by name: U (e, u), V (u, u), b (1, u).
    layout : str or Layout

    Raises
    ------
    LayoutError
        "Vf has shape (3, 2), expected (u, u) = (3, 3)".

    Examples
    --------
    >>> p = {kind + gate: np.ones({"U": (2, 3), "V": (3, 3), "b": (1, 3)}[kind]) for gate in "figo" for kind in "UVb"}
    >>> {name: array.shape for name, array in to_framework(p, "torch").items()}
    {'weight_ih_l0': (12, 2), 'weight_hh_l0': (12, 3), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    """
    layout = find_layout(layout) if isinstance(layout, str) else layout
    values = {name: np.asarray(value) for name, value in p.items()}
    check_arrays(values, LAYOUTS["named"])
    for gate in GATES:
        values[SECOND + gate] = np.zeros_like(values["b" + gate])
    if layout.forget_bias:
        values["bf"] = values["bf"] - values["bf"].dtype.type(layout.forget_bias)
    arrays = {block.name: block.pack(values) for block in layout.blocks}
    return {"weights": np.concatenate([a.ravel() for a in arrays.values()])} if layout.flat else arrays


def from_framework(arrays: Mapping[str, Any], layout: str | Layout, *, units: int | None = None) -> dict[str, Array]:
    """Return the twelve parameters by name, from a framework's arrays.

    Two biases are added, which rounds once; what the framework adds to the forget gate at run time is added, too.

    Parameters
    ----------
    arrays : mapping
        The layout's arrays by name, no more and no fewer.
    layout : str or Layout
    units : int, optional
        u, needed where all is one flat array that does not tell.

    Raises
    ------
    LayoutError
        "weight_hh_l0 is missing, expected (4u, u) = (12, 3)"; or what is too many, or ill-shaped.
    """
    layout = find_layout(layout) if isinstance(layout, str) else layout
    values = _unpack(arrays, layout, units)
    for gate in GATES:
        second = values.get(SECOND + gate)
        if second is not None:
            values["b" + gate] = values["b" + gate] + second
    if layout.forget_bias:
        values["bf"] = values["bf"] + values["bf"].dtype.type(layout.forget_bias)
    return {name: values[name] for name in PARAMETERS}


def gradients_from_framework(
    arrays: Mapping[str, Any], layout: str | Layout, *, units: int | None = None
) -> dict[str, Array]:
    """Return the gradients dUf ... dbo from those of a framework's arrays.

    The gradient of each of two biases is that of their sum: the first is db, the second comes by its own name, a key of
    `Layout.twins`, and must equal it.
    """
    layout = find_layout(layout) if isinstance(layout, str) else layout
    values = _unpack(arrays, layout, units)
    found = {f"d{name}": values[name] for name in PARAMETERS}
    second = [block for block in layout.blocks if SECOND in block.kinds]
    return found | {_twin(gate, block.name): values[SECOND + gate] for block in second for gate in block.gates}


def _unpack(arrays: Mapping[str, Any], layout: Layout, units: int | None) -> dict[str, Array]:
    """Return the values by kind and gate, once the arrays are seen to fit."""
    found = {name: np.asarray(value) for name, value in arrays.items()}
    e, u = check_arrays(found, layout, units)
    if layout.flat:
        found = _cut(found["weights"], layout, e, u)
    values: dict[str, Array] = {}
    for block in layout.blocks:
        values |= block.unpack(found[block.name], e, u)
    return values


def _cut(flat: Array, layout: Layout, e: int, u: int) -> dict[str, Array]:
    """Return the arrays that follow each other in one."""
    found, start = {}, 0
    for block in layout.blocks:
        shape = block.shape(e, u)
        size = int(np.prod(shape))
        found[block.name] = flat[start : start + size].reshape(shape)
        start += size
    return found


def check_arrays(arrays: Mapping[str, Array], layout: Layout, units: int | None = None) -> tuple[int, int]:
    """Return (e, u) if the arrays are those of the layout.

    Raises
    ------
    LayoutError
        Naming every array that is missing, too many, of a wrong shape, or not of real numbers.
    """
    for name, what in (layout.refused or {}).items():
        if name in arrays and np.any(arrays[name]):
            raise LayoutError(
                f"{name} holds {what}, which a plain LSTM has not; layout {layout.name} without it is expected"
            )
    arrays = {name: array for name, array in arrays.items() if name not in (layout.refused or {})}
    wrong = [
        f"{name} has dtype {a.dtype}, expected floating point" for name, a in arrays.items() if a.dtype.kind != "f"
    ]
    if len({a.dtype for a in arrays.values()}) > 1:
        wrong.append("arrays of one dtype expected, got " + ", ".join(f"{n} {a.dtype}" for n, a in arrays.items()))
    e, u = _sizes(arrays, layout, units)
    formulas = {block.name: block.formula for block in layout.blocks}
    for name, shape in layout.shapes(e or 1, u or 1).items():
        due = formulas.get(name, "(size,)") + (f" = {shape}" if e and u else "")
        if name not in arrays:
            wrong.append(f"{name} is missing, expected {due}")
        elif not (e and u) or arrays[name].shape != shape:
            wrong.append(f"{name} has shape {arrays[name].shape}, expected {due}")
    extra = sorted(set(arrays) - set(layout.names))
    wrong += [f"{name} is none of layout {layout.name}'s arrays, {', '.join(layout.names)}" for name in extra]
    if wrong:
        raise LayoutError("; ".join(wrong))
    assert e
    assert u
    return e, u


def _sizes(arrays: Mapping[str, Array], layout: Layout, units: int | None) -> tuple[int | None, int | None]:
    """Return e and u as the arrays have them; None where they do not tell."""
    if layout.flat:
        return _flat_sizes(arrays, layout, units)
    u = units
    for kind in ("V", "b", "U"):
        for block in layout.blocks:
            if u is None and kind in block.kinds and block.name in arrays:
                u = block.units(arrays[block.name].shape)
    block = next(block for block in layout.blocks if "U" in block.kinds)
    if u is None or block.name not in arrays or len(arrays[block.name].shape) != len(block.shape(1, 1)):
        return None, u
    rows = arrays[block.name].shape[block.lead :][1 if block.form == ROWS else 0]
    e = rows - u if "V" in block.kinds else rows
    return (e if e > 0 else None), u


def _flat_sizes(arrays: Mapping[str, Array], layout: Layout, units: int | None) -> tuple[int | None, int | None]:
    """Return e and u of a single flat array, whose size leaves u open."""
    if units is None:
        raise LayoutError(f"layout {layout.name} is one flat array, which does not tell u: say units")
    if "weights" not in arrays:
        return None, units
    (size_1,), (size_2,) = layout.shapes(1, units)["weights"], layout.shapes(2, units)["weights"]
    e, rest = divmod(arrays["weights"].size - size_1, size_2 - size_1)
    return (e + 1 if rest == 0 and e >= 0 else None), units


def recognize(shapes: Mapping[str, tuple[int, ...]], e: int, u: int) -> tuple[Layout, str] | None:
    """Return the layout that arrays are in, by their names and shapes, and the prefix of their names.

    There may be other arrays besides; of several layouts that fit it is the one that leaves the fewest.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name, such as ``encoder.lstm.weight_ih_l0``.
    e, u : int
    """
    found: list[tuple[Layout, str]] = []
    for layout in LAYOUTS.values():
        due = layout.shapes(e, u)
        prefix = common_prefix(shapes, layout)
        if prefix is not None and {prefix + name: shape for name, shape in due.items()}.items() <= shapes.items():
            found.append((layout, prefix))
    return max(found, key=lambda one: len(one[0].names), default=None)


def common_prefix(names: Iterable[str], layout: Layout) -> str | None:
    """Return what stands before the first array's name, if it is there: "" or "encoder.lstm."."""
    first = layout.names[0]
    found = [name.removesuffix(first) for name in names if name.endswith(first)]
    found = [prefix for prefix in found if not prefix or prefix[-1] in "./"]
    return found[0] if found else None


def from_shapes(shapes: Mapping[str, tuple[int, ...]], e: int, u: int, gates: str = "ifgo") -> Layout | None:
    """Return a layout for arrays of unknown names, by their shapes; None where these do not tell.

    There may be other arrays besides, of which it has none. Either all gates are in each array, in the order `gates`;
    or each gate has its own, told by the letter at which the names differ (f; i; g, c or j; o). U and V may be one
    matrix, then taken for [U; V]. `e`, `u`, e + u, 4 e and 4 u should all differ.
    """

    def forms(wide: int) -> dict[tuple[int, ...], tuple[tuple[str, ...], str]]:
        found: dict[tuple[int, ...], tuple[tuple[str, ...], str]] = {}
        for kinds, rows in ((("U",), e), (("V",), u), (("U", "V"), e + u)):
            found |= {(wide, rows): (kinds, ROWS), (rows, wide): (kinds, COLUMNS)}
        return found | {(wide,): (("b",), VECTOR), (1, wide): (("b",), COLUMNS)}

    stacked, single = forms(4 * u), forms(u)
    blocks: list[Block] = []
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, shape in shapes.items():
        groups.setdefault(shape, []).append(name)
    # A square V alone does not tell which way it lies: the way U does.
    single[u, u] = (("V",), ROWS if (u, e) in groups else COLUMNS)
    for shape, names in groups.items():
        if shape in stacked:
            kinds, form = stacked[shape]
            if len(names) > (2 if kinds == ("b",) else 1):
                return None
            blocks += [Block(name, kinds if k == 0 else (SECOND,), gates, form) for k, name in enumerate(names)]
        elif shape in single:
            kinds, form = single[shape]
            told = _four_of(names, 2 if kinds == ("b",) else 1)
            blocks += [
                Block(name, kinds if k == 0 else (SECOND,), g, form)
                for k, one in enumerate(told)
                for name, g in one.items()
            ]
    held = sorted(kind + gate for block in blocks for kind in block.kinds if kind != SECOND for gate in block.gates)
    if held != sorted(PARAMETERS):
        return None
    return Layout("its own", "told by shapes", tuple(blocks), "", DOCUMENTED)


def _four_of(names: Sequence[str], most: int) -> list[dict[str, str]]:
    """Return the gate of each name as `_gates_by_letter` does; among others, where only four of them can be it."""
    told = _gates_by_letter(names, most)
    if told or not len(GATES) < len(names) <= _MOST_OF_A_SHAPE:
        return told
    fours = [found for four in itertools.combinations(names, len(GATES)) for found in _gates_by_letter(four)]
    return fours if len(fours) == 1 else []


_MOST_OF_A_SHAPE = 12
"""Of so many arrays of one shape, fours are tried: 495."""


def _gates_by_letter(names: Sequence[str], most: int = 1) -> list[dict[str, str]]:
    """Return the gate of each name, in sets of four that differ from one letter on; nothing if they are not such."""
    count = len(GATES)
    if most > 1 and len(names) == 2 * count:
        for four in itertools.combinations(names[1:], count - 1):
            halves = ([names[0], *four], [name for name in names[1:] if name not in four])
            told = [found for half in halves for found in _gates_by_letter(half)]
            if len(told) == 2:
                return told
    if len(names) != count:
        return []
    # Where the four first differ there is the letter, be it W_f or forget_gate.
    start = next((k for k, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    letter = {"f": "f", "i": "i", "g": "g", "c": "g", "j": "g", "o": "o"}
    found = {name: letter.get(name[start : start + 1].lower(), "") for name in names}
    return [found] if sorted(found.values()) == sorted(GATES) else []
