"""A cell of one step with its cache handed out, packed arrays with the gates along rows, gradients returned."""

import numpy as np


class LSTMCell:
    def __init__(self, input_dim, hidden_dim, seed=0):
        rng = np.random.default_rng(seed)
        self.weight_ih = rng.normal(0, 0.1, (4 * hidden_dim, input_dim))
        self.weight_hh = rng.normal(0, 0.1, (4 * hidden_dim, hidden_dim))
        self.bias = np.zeros(4 * hidden_dim)

    def __call__(self, x, state):
        h, c = state
        a = x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias
        o, f, i, g = np.split(a, 4, axis=1)
        o, f, i, g = 1 / (1 + np.exp(-o)), 1 / (1 + np.exp(-f)), 1 / (1 + np.exp(-i)), np.tanh(g)
        c_new = f * c + i * g
        h_new = o * np.tanh(c_new)
        return (h_new, c_new), (x, h, c, o, f, i, g, c_new)

    def backward(self, dh, dc, ctx):
        x, h, c, o, f, i, g, c_new = ctx
        t = np.tanh(c_new)
        dc = dc + dh * o * (1 - t * t)
        da = np.concatenate(
            [dh * t * o * (1 - o), dc * c * f * (1 - f), dc * g * i * (1 - i), dc * i * (1 - g * g)], axis=1
        )
        grads = {"weight_ih": da.T @ x, "weight_hh": da.T @ h, "bias": da.sum(axis=0)}
        return da @ self.weight_ih, da @ self.weight_hh, dc * f, grads
