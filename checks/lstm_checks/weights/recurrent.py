"""How frameworks keep the weights of GRUs and RNNs: the layouts of `layouts.py` for cells of one state, and the way.

Where a framework has two biases for each gate, the second is zero, and its gradient is judged against the first's; but
a second bias that the cell has as a parameter of its own, the candidate's where r scales it, is that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lstm_checks.weights.guessing import common_prefix
from lstm_checks.weights.layouts import (
    COLUMNS,
    DOCUMENTED,
    PROVEN,
    ROWS,
    SECOND,
    VECTOR,
    Array,
    Block,
    Layout,
    without_biases,
)
from lstm_checks.weights.packing import pack, unpack_gradients
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS


def _torch(gates: str, ending: str = "") -> tuple[Block, ...]:
    """Return PyTorch's arrays of a layer or a cell."""
    return (
        Block(f"weight_ih{ending}", ("U",), gates, ROWS),
        Block(f"weight_hh{ending}", ("V",), gates, ROWS),
        Block(f"bias_ih{ending}", ("b",), gates, VECTOR),
        Block(f"bias_hh{ending}", (SECOND,), gates, VECTOR),
    )


def _keras(gates: str, bias: Block) -> tuple[Block, ...]:
    """Return Keras's arrays."""
    return Block("kernel", ("U",), gates, COLUMNS), Block("recurrent_kernel", ("V",), gates, COLUMNS), bias


def _flax(gates: str) -> tuple[Block, ...]:
    """Return the arrays of Flax's nnx cells of one state, whose only bias is beside the input."""
    return (
        Block("dense_i.kernel", ("U",), gates, COLUMNS),
        Block("dense_h.kernel", ("V",), gates, COLUMNS),
        Block("dense_i.bias", ("b",), gates, VECTOR),
    )


_EQUINOX_GRU = (
    Block("weight_ih", ("U",), "rzg", ROWS),
    Block("weight_hh", ("V",), "rzg", ROWS),
    Block("bias", ("b",), "rzg", VECTOR),
    Block("bias_n", (SECOND,), "g", VECTOR),
)

_LAYER, _CELL, _ONE = "h (layers * directions, m, u), even with batch_first", "h (m, u)", "h (m, u)"

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    name: tuple(replace(layout, cell=CELLS[name]) for layout in layouts)
    for name, layouts in {
        "gru": (
            Layout(
                "keras", "GRU(reset_after=False)", _keras("zrg", Block("bias", ("b",), "zrg", VECTOR)), _ONE, PROVEN
            ),
        ),
        "gru_reset_after": (
            Layout("torch", "torch.nn.GRU", _torch("rzg", "_l0"), _LAYER, PROVEN),
            Layout("torch-cell", "torch.nn.GRUCell", _torch("rzg"), _CELL, PROVEN),
            Layout("flax", "flax.nnx.GRUCell", _flax("rzg"), _CELL, PROVEN),
            Layout("equinox", "equinox.nn.GRUCell", _EQUINOX_GRU, "h (u,): one sample at a time", PROVEN),
            Layout(
                "keras", "keras.layers.GRU", _keras("zrg", Block("bias", ("b", SECOND), "zrg", COLUMNS)), _ONE, PROVEN
            ),
        ),
        "rnn": (
            Layout("torch", "torch.nn.RNN", _torch("g", "_l0"), _LAYER, PROVEN),
            Layout("torch-cell", "torch.nn.RNNCell", _torch("g"), _CELL, PROVEN),
            Layout("flax", "flax.nnx.SimpleCell", _flax("g"), _CELL, PROVEN),
            Layout("keras", "keras.layers.SimpleRNN", _keras("g", Block("bias", ("b",), "g", VECTOR)), _ONE, PROVEN),
        ),
    }.items()
}
"""By the name of the cell that a framework's weights are for, by their names and shapes."""


def _onnx(gates: str) -> Layout:
    """Return ONNX's layout of one direction; it does not say linear_before_reset."""
    blocks = (
        Block("W", ("U",), gates, ROWS, 1),
        Block("R", ("V",), gates, ROWS, 1),
        Block("B", ("b", SECOND), gates, VECTOR, 1),
    )
    return Layout(
        "onnx", "", blocks, "h (directions, m, u), or (m, directions, u) with layout=1", PROVEN, directions=True
    )


def _openvino(gates: str) -> Layout:
    """Return OpenVINO's layout of one direction."""
    blocks = tuple(
        Block(name, (kind,), gates, form, 1)
        for name, kind, form in (("W", "U", ROWS), ("R", "V", ROWS), ("B", "b", VECTOR))
    )
    return Layout("openvino", "", blocks, "h (m, directions, u)", DOCUMENTED, directions=True)


def _of(cell: str, layout: Layout, of: str) -> Layout:
    """Return a layout of a cell, used somewhere."""
    return replace(layout, of=of, cell=CELLS[cell])


_LINEN_GRU = (
    *(Block(f"i{name}.kernel", ("U",), gate, COLUMNS) for name, gate in zip("rzn", "rzg", strict=True)),
    *(Block(f"h{name}.kernel", ("V",), gate, COLUMNS) for name, gate in zip("rzn", "rzg", strict=True)),
    *(Block(f"i{name}.bias", ("b",), gate, VECTOR) for name, gate in zip("rzn", "rzg", strict=True)),
    Block("hn.bias", (SECOND,), "g", VECTOR),
)

_LINEN_RNN = (
    Block("i.kernel", ("U",), "g", COLUMNS),
    Block("h.kernel", ("V",), "g", COLUMNS),
    Block("i.bias", ("b",), "g", VECTOR),
)

_MLX_GRU = (
    Block("Wx", ("U",), "rzg", ROWS),
    Block("Wh", ("V",), "rzg", ROWS),
    Block("b", ("b",), "rzg", VECTOR),
    Block("bhn", (SECOND,), "g", VECTOR),
)

_MLX_RNN = (
    Block("Wxh", ("U",), "g", ROWS),
    Block("Whh", ("V",), "g", ROWS),
    Block("bias", ("b",), "g", VECTOR),
)

_HAIKU_GRU = (
    Block("w_i", ("U",), "zrg", COLUMNS),
    Block("w_h", ("V",), "zrg", COLUMNS),
    Block("b", ("b",), "zrg", VECTOR),
)

_HAIKU_RNN = (
    Block("linear.w", ("U",), "g", COLUMNS),
    Block("linear_1.w", ("V",), "g", COLUMNS),
    Block("linear.b", ("b",), "g", VECTOR),
    Block("linear_1.b", (SECOND,), "g", VECTOR),
)

CARRIED: tuple[Layout, ...] = (
    _of("gru", _onnx("zrg"), "ONNX operator GRU with linear_before_reset=0; one direction"),
    _of("gru_reset_after", _onnx("zrg"), "ONNX operator GRU with linear_before_reset=1; one direction"),
    _of("rnn", _onnx("g"), "ONNX operator RNN; one direction"),
    _of("gru", _openvino("zrg"), "OpenVINO GRUSequence with linear_before_reset=false; one direction"),
    _of("rnn", _openvino("g"), "OpenVINO RNNSequence; one direction"),
    _of("gru_reset_after", Layout("mlx", "", _MLX_GRU, "h; that of every step", PROVEN), "mlx.nn.GRU"),
    _of("rnn", Layout("mlx", "", _MLX_RNN, "h; that of every step", PROVEN), "mlx.nn.RNN"),
    _of("gru_reset_after", Layout("flax-linen", "", _LINEN_GRU, _ONE, PROVEN), "flax.linen.GRUCell"),
    _of("rnn", Layout("flax-linen", "", _LINEN_RNN, _ONE, PROVEN), "flax.linen.SimpleCell"),
    _of("gru", Layout("haiku", "", _HAIKU_GRU, _ONE, PROVEN, negated="z"), "haiku.GRU, whose z is 1 - z here"),
    _of("rnn", Layout("haiku", "", _HAIKU_RNN, _ONE, PROVEN), "haiku.VanillaRNN, whose activation is relu"),
)
"""Those of which no target here is made: they are carried over, and not recognised by their shapes."""


@dataclass(frozen=True)
class Kept:
    """The arrays of a cell's weights: the cell, their layout, what stands before all their names, and their dtype.

    `learned` is the name and the shape of a further array that is the initial state of all samples, "" where none is.
    """

    cell: Cell
    layout: Layout
    prefix: str = ""
    held: str = "float32"
    learned: tuple[str, tuple[int, ...]] = ("", ())

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of the arrays."""
        return tuple(self.prefix + name for name in self.layout.names)

    @property
    def twins(self) -> dict[str, str]:
        """The gradients of second biases that are only added, and the cell's gradient that each must equal."""
        return self.layout.twins

    def absent(self) -> tuple[str, ...]:
        """Return the cell's parameters that the arrays do not hold, such as biases."""
        return tuple(name for name in self.cell.parameters if name not in self.layout.parameters)

    def pack(self, p: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays by their full names, from the cell's parameters."""
        own = {name: p[name] for name in self.layout.parameters}
        return {self.prefix + name: value for name, value in pack(own, self.layout).items()}

    def gradients(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Return the cell's gradients, and those of second biases as `twins` names them, from those of the arrays."""
        return unpack_gradients({name: arrays[self.prefix + name] for name in self.layout.names}, self.layout)


def recognize_cell(
    shapes: Mapping[str, tuple[int, ...]], e: int, u: int, known: Mapping[str, tuple[Layout, ...]] = LAYOUTS
) -> Kept | None:
    """Return of which cell arrays are the weights, by their names and shapes; None where of none of these.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name; there may be others besides.
    e, u : int
        With e, u and 3 u different.
    known : mapping
        The layouts that may be, by the name of their cell.
    """
    for name, layouts in known.items():
        # Without biases Keras's two GRUs have the same weights.
        bare = [without_biases(layout) for layout in layouts if layout.name != "keras"]
        for layout in (*layouts, *bare):
            prefix = common_prefix(shapes, layout)
            due = {f"{prefix}{own}": shape for own, shape in layout.shapes(e, u).items()}
            if prefix is not None and due.items() <= shapes.items():
                return Kept(CELLS[name], layout, prefix)
    return None
