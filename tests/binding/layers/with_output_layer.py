"""An LSTM with an output layer glued on: what comes out is y, the hidden states stay inside."""

import numpy as np


def sig(z):
    return 1 / (1 + np.exp(-z))


class LSTMNetwork:
    def __init__(self, input_size, hidden_size, output_size, lr=0.01):
        k = 1 / np.sqrt(hidden_size)
        rng = np.random.default_rng(1)
        self.lr = lr
        self.params = {
            "W": rng.uniform(-k, k, (input_size + hidden_size, 4 * hidden_size)),
            "b": np.zeros(4 * hidden_size),
            "Wy": rng.uniform(-k, k, (hidden_size, output_size)),
            "by": np.zeros(output_size),
        }
        self.hidden_size = hidden_size

    def forward(self, x):
        W, b, n = self.params["W"], self.params["b"], self.hidden_size
        h = np.zeros((x.shape[0], n))
        c = np.zeros((x.shape[0], n))
        self.x, self.hs, self.cs, self.gates = x, [h], [c], []
        ys = []
        for t in range(x.shape[1]):
            a = np.concatenate([x[:, t], h], axis=1) @ W + b
            f, i, g, o = sig(a[:, :n]), sig(a[:, n : 2 * n]), np.tanh(a[:, 2 * n : 3 * n]), sig(a[:, 3 * n :])
            c = f * c + i * g
            h = o * np.tanh(c)
            self.hs.append(h)
            self.cs.append(c)
            self.gates.append((f, i, g, o))
            ys.append(h @ self.params["Wy"] + self.params["by"])
        return np.stack(ys, axis=1)

    def backward(self, dy):
        W, n = self.params["W"], self.hidden_size
        e = self.x.shape[2]
        grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        dh_next = dc_next = np.zeros((self.x.shape[0], n))
        dx = np.zeros_like(self.x)
        for t in reversed(range(self.x.shape[1])):
            f, i, g, o = self.gates[t]
            h, c, c_before = self.hs[t + 1], self.cs[t + 1], self.cs[t]
            grads["Wy"] += h.T @ dy[:, t]
            grads["by"] += dy[:, t].sum(0)
            dh = dy[:, t] @ self.params["Wy"].T + dh_next
            dc = dc_next + dh * o * (1 - np.tanh(c) ** 2)
            da = np.concatenate(
                [
                    dc * c_before * f * (1 - f),
                    dc * g * i * (1 - i),
                    dc * i * (1 - g**2),
                    dh * np.tanh(c) * o * (1 - o),
                ],
                axis=1,
            )
            grads["W"] += np.concatenate([self.x[:, t], self.hs[t]], axis=1).T @ da
            grads["b"] += da.sum(0)
            both = da @ W.T
            dx[:, t], dh_next, dc_next = both[:, :e], both[:, e:], dc * f
        self.grads = grads
        return dx
