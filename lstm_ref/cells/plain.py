"""The plain LSTM cell: its equations are in `forward.py`, `backward.py` and `gradients.py` beside this folder."""

from lstm_ref.backward import lstm_backward
from lstm_ref.cell import Cell, State
from lstm_ref.forward import lstm_forward
from lstm_ref.gradients import GATES, lstm_parameter_gradients

AXES = {"U": "eu", "V": "uu", "b": "1u"}
"""The axes of a gate's parameters."""

NEEDED = ("hp", "Cp_", "f", "i", "g", "o", "C_", "C", "h")
"""The intermediates that the backward pass and the gradients take, and the outputs."""

STATES = (State("h", "mu", "h"), State("C", "mu", "C_"))

SLOTS = {"f": ("f_", "i_", "o_"), "g": ("g_",), "h": ("C_",)}
"""Which linear activations are put through the logistic function, the candidate's tanh, the memory's."""

CELL = Cell(
    name="plain",
    title="plain LSTM",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()},
    states=STATES,
    forward=lstm_forward,
    backward=lstm_backward,
    parameter_gradients=lstm_parameter_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
