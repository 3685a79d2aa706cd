"""A layer made of an object that holds its sizes, and a function that makes one of sizes."""

from dataclasses import dataclass

import numpy as np


def squash(z):
    return 1 / (1 + np.exp(-z))


@dataclass
class Config:
    input_size: int
    hidden_size: int
    seed: int = 0


class LSTM:
    def __init__(self, cfg):
        rng = np.random.default_rng(cfg.seed)
        n = cfg.hidden_size
        self.cfg = cfg
        shapes = {"kernel": (cfg.input_size, 4 * n), "recurrent_kernel": (n, 4 * n), "bias": (4 * n,)}
        self.params = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def forward(self, x, state=None):
        n = self.cfg.hidden_size
        zero = np.zeros((len(x), n), x.dtype)
        h, c = state if state is not None else (zero, zero)
        p, ys, self.tape = self.params, [], []
        for k in range(x.shape[1]):
            z = x[:, k] @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"]
            i, f, g, o = squash(z[:, :n]), squash(z[:, n : 2 * n]), np.tanh(z[:, 2 * n : 3 * n]), squash(z[:, 3 * n :])
            new = f * c + i * g
            self.tape.append((x[:, k], h, c, i, f, g, o, new))
            h, c = o * np.tanh(new), new
            ys.append(h)
        return np.stack(ys, 1), (h, c)

    def backward(self, dys, dstate=None):
        dh, dc = dstate if dstate is not None else (0, 0)
        grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        dxs = []
        for k in reversed(range(dys.shape[1])):
            x, h, c, i, f, g, o, new = self.tape[k]
            dh = dh + dys[:, k]
            t = np.tanh(new)
            dc = dc + dh * o * (1 - t**2)
            gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o)]
            dz = np.concatenate(gates, 1)
            grads["kernel"] += x.T @ dz
            grads["recurrent_kernel"] += h.T @ dz
            grads["bias"] += dz.sum(0)
            dxs.insert(0, dz @ self.params["kernel"].T)
            dh, dc = dz @ self.params["recurrent_kernel"].T, dc * f
        return np.stack(dxs, 1), (dh, dc), grads


def make(input_size, hidden_size):
    return LSTM(Config(input_size, hidden_size))


class Accumulating(LSTM):
    """Gradients are added up until somebody sets them to zero."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def zero_grad(self):
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def backward(self, dys, dstate=None):
        dx, states, grads = super().backward(dys, dstate)
        for name, value in grads.items():
            self.grads[name] += value
        return dx, states


class Stateful(LSTM):
    """Where no state is given it goes on from the call before, until it is reset."""

    last = None

    def reset_state(self):
        self.last = None

    def forward(self, x, state=None):
        fits = self.last is not None and len(self.last[0]) == len(x)
        hs, self.last = super().forward(x, self.last if state is None and fits else state)
        return hs, self.last
