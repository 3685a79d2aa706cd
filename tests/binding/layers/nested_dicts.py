"""Functions whose weights are in a dict of dicts, one a gate."""

import numpy as np


def squash(z):
    return 1 / (1 + np.exp(-z))


def forward(params, x, state):
    h, c = state
    tape, hs = [], []
    for t in range(x.shape[1]):
        v = np.concatenate([x[:, t], h], axis=1)
        f = squash(v @ params["forget"]["W"] + params["forget"]["b"])
        i = squash(v @ params["input"]["W"] + params["input"]["b"])
        o = squash(v @ params["output"]["W"] + params["output"]["b"])
        g = np.tanh(v @ params["candidate"]["W"] + params["candidate"]["b"])
        new = f * c + i * g
        tape.append((v, c, f, i, o, g, new))
        h, c = o * np.tanh(new), new
        hs.append(h)
    return np.stack(hs, 1), (h, c), tape


def backward(params, tape, dhs, dstate):
    n = dhs.shape[2]
    grads = {k: {"W": np.zeros_like(w["W"]), "b": np.zeros_like(w["b"])} for k, w in params.items()}
    dh, dc = dstate
    dxs = []
    for t in reversed(range(len(tape))):
        v, c, f, i, o, g, new = tape[t]
        dh = dh + dhs[:, t]
        tc = np.tanh(new)
        dc = dc + dh * o * (1 - tc**2)
        d = {"forget": dc * c * f * (1 - f), "input": dc * g * i * (1 - i)}
        d |= {"output": dh * tc * o * (1 - o), "candidate": dc * i * (1 - g**2)}
        dv = 0
        for k, z in d.items():
            grads[k]["W"] += v.T @ z
            grads[k]["b"] += z.sum(0)
            dv = dv + z @ params[k]["W"].T
        dxs.append(dv[:, :-n])
        dh, dc = dv[:, -n:], dc * f
    return np.stack(dxs[::-1], 1), (dh, dc), grads
