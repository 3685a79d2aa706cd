"""One sample of column vectors, a matrix a gate over [h; x], gradients in attributes: a blog's first LSTM."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


class LSTM:
    def __init__(self, hidden_size, input_size):
        self.hidden_size, self.input_size = hidden_size, input_size
        z = hidden_size + input_size
        self.W_f = np.random.randn(hidden_size, z) * 0.1
        self.W_i = np.random.randn(hidden_size, z) * 0.1
        self.W_c = np.random.randn(hidden_size, z) * 0.1
        self.W_o = np.random.randn(hidden_size, z) * 0.1
        self.b_f = np.zeros((hidden_size, 1))
        self.b_i = np.zeros((hidden_size, 1))
        self.b_c = np.zeros((hidden_size, 1))
        self.b_o = np.zeros((hidden_size, 1))

    def forward(self, xs, h_prev, c_prev):
        self.tape, hs = [], []
        h, c = h_prev, c_prev
        for x in xs:
            z = np.vstack((h, x))
            f = sigmoid(self.W_f @ z + self.b_f)
            i = sigmoid(self.W_i @ z + self.b_i)
            c_bar = np.tanh(self.W_c @ z + self.b_c)
            o = sigmoid(self.W_o @ z + self.b_o)
            self.tape.append((z, f, i, c_bar, o, c))
            c = f * c + i * c_bar
            h = o * np.tanh(c)
            self.tape[-1] += (c,)
            hs.append(h)
        return hs, c

    def backward(self, dhs, dc_next):
        for name in ("W_f", "W_i", "W_c", "W_o", "b_f", "b_i", "b_c", "b_o"):
            setattr(self, "d" + name, np.zeros_like(getattr(self, name)))
        dh_next = np.zeros((self.hidden_size, 1))
        dxs = []
        for (z, f, i, c_bar, o, c_old, c), dh in zip(reversed(self.tape), reversed(list(dhs)), strict=True):
            dh = dh + dh_next
            do = dh * np.tanh(c) * o * (1 - o)
            dc = dc_next + dh * o * (1 - np.tanh(c) ** 2)
            dc_bar = dc * i * (1 - c_bar**2)
            di = dc * c_bar * i * (1 - i)
            df = dc * c_old * f * (1 - f)
            dz = 0
            for gate, d in (("f", df), ("i", di), ("c", dc_bar), ("o", do)):
                setattr(self, f"dW_{gate}", getattr(self, f"dW_{gate}") + d @ z.T)
                setattr(self, f"db_{gate}", getattr(self, f"db_{gate}") + d)
                dz = dz + getattr(self, f"W_{gate}").T @ d
            dh_next, dc_next = dz[: self.hidden_size], dc * f
            dxs.insert(0, dz[self.hidden_size :])
        return dxs, dh_next, dc_next
