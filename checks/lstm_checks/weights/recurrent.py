"""How frameworks keep the weights of GRUs and RNNs: the layouts of `layouts.py` for cells of one state, and the way.

Where a framework has two biases for each gate, the second is zero, and its gradient is judged against the first's; but
a second bias that the cell has as a parameter of its own, the candidate's where r scales it, is that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lstm_checks.weights.guessing import common_prefix
from lstm_checks.weights.layouts import COLUMNS, PROVEN, ROWS, SECOND, VECTOR, Array, Block, Layout, without_biases
from lstm_checks.weights.packing import gradients_from_framework, to_framework
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


@dataclass(frozen=True)
class Kept:
    """The arrays of a cell's weights: the cell, their layout, what stands before all their names, and their dtype."""

    cell: Cell
    layout: Layout
    prefix: str = ""
    held: str = "float32"

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
        return {self.prefix + name: value for name, value in to_framework(own, self.layout).items()}

    def gradients(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Return the cell's gradients, and those of second biases as `twins` names them, from those of the arrays."""
        return gradients_from_framework({name: arrays[self.prefix + name] for name in self.layout.names}, self.layout)


def recognize_cell(shapes: Mapping[str, tuple[int, ...]], e: int, u: int) -> Kept | None:
    """Return of which cell arrays are the weights, by their names and shapes; None where of none of these.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name; there may be others besides.
    e, u : int
        With e, u and 3 u different.
    """
    for name, layouts in LAYOUTS.items():
        # Without biases Keras's two GRUs have the same weights.
        bare = [without_biases(layout) for layout in layouts if layout.name != "keras"]
        for layout in (*layouts, *bare):
            prefix = common_prefix(shapes, layout)
            due = {f"{prefix}{own}": shape for own, shape in layout.shapes(e, u).items()}
            if prefix is not None and due.items() <= shapes.items():
                return Kept(CELLS[name], layout, prefix)
    return None
