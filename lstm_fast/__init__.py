"""A fused LSTM in NumPy: two products a step, everything else in bulk; gradients by hand.

Import ``LSTM`` for the layer. The four ``lstm_*`` functions work on any layer with EpyNN's dicts.
How it is laid out: :mod:`lstm_fast.packing` (parameters), :mod:`lstm_fast.workspace` (buffers) with
:mod:`lstm_fast.feature_major` and :mod:`lstm_fast.sample_major` (products),
:mod:`lstm_fast.forward` and :mod:`lstm_fast.backward` (equations). Where Numba is installed, in place of these four:
:mod:`lstm_fast.panels` (buffers and products), :mod:`lstm_fast.compiled` (passes), :mod:`lstm_fast.vectors` (loops).
Which of them computes a shape: :mod:`lstm_fast.layouts`, with :mod:`lstm_fast.tuning`.
"""

from lstm_fast.initialization import orthogonal, xavier
from lstm_fast.layer import LSTM
from lstm_fast.optimizers import Adam
from lstm_fast.parameters import (
    lstm_compute_gradients,
    lstm_compute_shapes,
    lstm_initialize_parameters,
    lstm_update_parameters,
)
from lstm_fast.stack import Bidirectional, Stack

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "Adam",
    "Bidirectional",
    "Stack",
    "lstm_compute_gradients",
    "lstm_compute_shapes",
    "lstm_initialize_parameters",
    "lstm_update_parameters",
    "orthogonal",
    "xavier",
]
