"""A layer class in EpyNN's form, the least there is; and one whose gates f and i get each other's bias gradient.

lstm-checks verify examples/epynn_layer.py:LSTM
lstm-checks verify examples/epynn_layer.py:SwappedBiases
"""

import numpy as np
from vjp_function import lstm


class LSTM:
    """A layer that returns all its hidden states and starts from zero ones."""

    def __init__(self, unit_cells):
        self.u, self.p, self.g = unit_cells, {}, {}

    def compute_shapes(self, X):
        """Keep the sizes."""
        self.m, _, self.e = X.shape

    def initialize_parameters(self):
        """Draw the twelve parameters."""
        rng = np.random.default_rng(0)
        rows = {"U": self.e, "V": self.u, "b": 1}
        self.p = {kind + gate: rng.standard_normal((rows[kind], self.u)) for gate in "figo" for kind in rows}

    def forward(self, X):
        """Return the hidden state of every step."""
        zeros = np.zeros((self.m, self.u), X.dtype)
        (A, _), self.pullback = lstm(self.p, X, zeros, zeros)
        return A

    def backward(self, dA):
        """Return the gradient of the input."""
        self.bc = self.pullback(dA, np.zeros_like(dA[:, -1]))
        return self.bc["dX"]

    def compute_gradients(self):
        """Keep the parameters' gradients."""
        self.g = {"d" + name: self.bc["d" + name] for name in self.p}


class SwappedBiases(LSTM):
    """The same, but for a slip when the gradients are kept."""

    def compute_gradients(self):
        """Keep the parameters' gradients, two of them in the wrong place."""
        super().compute_gradients()
        self.g["dbf"], self.g["dbi"] = self.g["dbi"], self.g["dbf"]
