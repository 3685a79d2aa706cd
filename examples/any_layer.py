"""A layer that was never written for lstm-checks: time first, weights packed, names of its own; and a wrong one.

lstm-checks verify examples/any_layer.py:PackedLSTM
lstm-checks verify examples/any_layer.py:LostMemory
lstm-checks bind examples/any_layer.py:PackedLSTM
"""

import numpy as np


def sigmoid(x):
    """Return the logistic function."""
    return 1 / (1 + np.exp(-x))


class PackedLSTM:
    """Wx (inputs, 4 n), Wh (n, 4 n) and b (4 n,), gates in the order o i f g; x is (steps, batch, inputs)."""

    carry = 1

    def __init__(self, input_size, n):
        rng = np.random.default_rng(0)
        self.n = n
        self.Wx = rng.normal(0, 0.1, (input_size, 4 * n))
        self.Wh = rng.normal(0, 0.1, (n, 4 * n))
        self.b = np.zeros(4 * n)

    def forward(self, x, h, c):
        """Return the hidden states of all steps, and the last memory."""
        self.kept, hs = [], []
        for x_t in x:
            o, i, f, g = np.split(x_t @ self.Wx + h @ self.Wh + self.b, 4, axis=1)
            o, i, f, g = sigmoid(o), sigmoid(i), sigmoid(f), np.tanh(g)
            new = f * c + i * g
            self.kept.append((x_t, h, c, o, i, f, g, np.tanh(new)))
            c, h = new, o * np.tanh(new)
            hs.append(h)
        return np.stack(hs), c

    def backward(self, dhs, dc):
        """Return the gradients of x, h and c; those of the weights are in grads."""
        self.grads = {name: np.zeros_like(getattr(self, name)) for name in ("Wx", "Wh", "b")}
        dx, dh = [], 0
        for (x_t, h, c, o, i, f, g, t), dh_t in zip(self.kept[::-1], dhs[::-1], strict=True):
            dh = dh + dh_t
            dc = dc + dh * o * (1 - t**2)
            gates = [dh * t * o * (1 - o), dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)]
            da = np.concatenate(gates, axis=1)
            self.grads["Wx"] += x_t.T @ da
            self.grads["Wh"] += h.T @ da
            self.grads["b"] += da.sum(axis=0)
            dx.insert(0, da @ self.Wx.T)
            dh, dc = da @ self.Wh.T, self.carry * dc * f
        return np.stack(dx), dh, dc


class LostMemory(PackedLSTM):
    """Its memory passes no gradient on to the step before."""

    carry = 0
