"""The reference LSTM: one equation per statement, in nothing but array algebra.

Read `README.md` in this folder for the symbols and the numbered equations. Everything an oracle of the
harness says comes from this source run under another arithmetic; it shares no code with `lstm_fast`.
"""

from lstm_ref.backward import lstm_backward
from lstm_ref.forward import lstm_forward
from lstm_ref.gradients import lstm_parameter_gradients
from lstm_ref.initialization import orthogonal, xavier
from lstm_ref.layer import LSTM
from lstm_ref.optimizers import Adam
from lstm_ref.parameters import (
    lstm_compute_gradients,
    lstm_compute_shapes,
    lstm_initialize_parameters,
    lstm_update_parameters,
)
from lstm_ref.stack import Bidirectional, Stack

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "Adam",
    "Bidirectional",
    "Stack",
    "lstm_backward",
    "lstm_compute_gradients",
    "lstm_compute_shapes",
    "lstm_forward",
    "lstm_initialize_parameters",
    "lstm_parameter_gradients",
    "lstm_update_parameters",
    "orthogonal",
    "xavier",
]
