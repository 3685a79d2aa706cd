"""What another file of the same author has: activations, and a base class."""

import numpy as np


def logistic(x):
    return 1 / (1 + np.exp(-x))


def logistic_slope(y):
    return y * (1 - y)


def tanh_slope(y):
    return 1 - y * y


class Recurrent:
    """Sizes and parameters, as every layer of this author has them."""

    def __init__(self, unit_cells, sequences=True):
        self.u = unit_cells
        self.sequences = sequences
        self.p, self.g, self.fc, self.bc, self.d = {}, {}, {}, {}, {}

    def compute_shapes(self, X):
        m, s, e = X.shape
        self.d = {"m": m, "s": s, "e": e, "u": self.u}

    def initialize_parameters(self):
        e, u = self.d["e"], self.u
        rng = np.random.default_rng(0)
        for gate in "figo":
            self.p["U" + gate] = rng.standard_normal((e, u))
            self.p["V" + gate] = rng.standard_normal((u, u))
            self.p["b" + gate] = np.zeros((1, u))

    def accumulate(self, gate, delta):
        X, hp = self.fc["X"], self.fc["hp"]
        self.g["dU" + gate] = np.einsum("mse,msu->eu", X, delta)
        self.g["dV" + gate] = np.einsum("msv,msu->vu", hp, delta)
        self.g["db" + gate] = delta.sum(axis=(0, 1))[None]
