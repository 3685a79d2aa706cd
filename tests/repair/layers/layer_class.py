"""A layer class in EpyNN's form, whose base class and helpers are in another file."""

import numpy as np
from repair_helpers import Recurrent, logistic, logistic_slope, tanh_slope


class LSTM(Recurrent):
    """Keeps every intermediate in `fc` and `bc`."""

    def forward(self, X, h0=None, C0=None):
        m, s, u = X.shape[0], X.shape[1], self.u
        h = np.zeros((m, u), X.dtype) if h0 is None else h0
        C_ = np.zeros((m, u), X.dtype) if C0 is None else C0
        names = ("hp", "Cp", "f", "i", "g", "o", "C_", "C", "h")
        self.fc = {name: np.zeros((m, s, u), X.dtype) for name in names}
        self.fc["X"] = X
        for t in range(s):
            self.fc["hp"][:, t], self.fc["Cp"][:, t] = h, C_
            f = self.fc["f"][:, t] = logistic(self.linear("f", X[:, t], h))
            i = self.fc["i"][:, t] = logistic(self.linear("i", X[:, t], h))
            g = self.fc["g"][:, t] = np.tanh(self.linear("g", X[:, t], h))
            o = self.fc["o"][:, t] = logistic(self.linear("o", X[:, t], h))
            C_ = self.fc["C_"][:, t] = f * C_ + i * g
            C = self.fc["C"][:, t] = np.tanh(C_)
            h = self.fc["h"][:, t] = o * C
        return self.fc["h"].copy() if self.sequences else h

    def linear(self, gate, x, h):
        return x @ self.p["U" + gate] + h @ self.p["V" + gate] + self.p["b" + gate]

    def backward(self, dA, dhn=None, dCn=None):
        X = self.fc["X"]
        m, s, _ = X.shape
        dh = np.zeros((m, self.u), X.dtype) if dhn is None else dhn
        dC = np.zeros((m, self.u), X.dtype) if dCn is None else dCn
        self.bc = {k: np.zeros((m, s, self.u), X.dtype) for k in ("df", "di", "dg", "do")}
        dX = np.zeros_like(X)
        for t in range(s - 1, -1, -1):
            f, i, g, o, C, Cp = (self.fc[k][:, t] for k in ("f", "i", "g", "o", "C", "Cp"))
            given = dA[:, t] if self.sequences else dA * (t == s - 1)
            dht = dh + given
            dC = dC + dht * o * tanh_slope(C)
            do = dht * C * logistic_slope(o)
            df = dC * Cp * logistic_slope(f)
            di = dC * g * logistic_slope(i)
            dg = dC * i * tanh_slope(g)
            dh = np.zeros_like(dh)
            for gate, delta in zip("figo", (df, di, dg, do), strict=True):
                self.bc["d" + gate][:, t] = delta
                dh += delta @ self.p["V" + gate].T
                dX[:, t] += delta @ self.p["U" + gate].T
            dC = dC * f
        self.bc["dh0"], self.bc["dC0"] = dh, dC
        return dX

    def compute_gradients(self):
        for gate in "figo":
            self.accumulate(gate, self.bc["d" + gate])
