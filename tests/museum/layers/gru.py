"""A GRU that resets the state before the product, as Cho et al. 2014 have it; the backward pass by hand."""

import numpy as np


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def gru(p, X, h0):
    m, steps, _ = X.shape
    h = h0
    kept = []
    out = np.zeros((m, steps, h0.shape[1]), X.dtype)
    for t in range(steps):
        x = X[:, t]
        r = sigmoid(x @ p["Ur"] + h @ p["Vr"] + p["br"])
        z = sigmoid(x @ p["Uz"] + h @ p["Vz"] + p["bz"])
        q = r * h
        n = np.tanh(x @ p["Ug"] + q @ p["Vg"] + p["bg"])
        kept.append((x, h, r, z, q, n))
        h = z * h + (1 - z) * n
        out[:, t] = h

    def pullback(dout):
        grads = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dX = np.zeros_like(X)
        dh = np.zeros_like(h0)
        for t in reversed(range(steps)):
            x, h_prev, r, z, q, n = kept[t]
            dh = dh + dout[:, t]
            dn = dh * (1 - z) * (1 - n * n)
            dz = dh * (h_prev - n) * z * (1 - z)
            dq = dn @ p["Vg"].T
            dr = dq * h_prev * r * (1 - r)
            for gate, d, state in (("r", dr, h_prev), ("z", dz, h_prev), ("g", dn, q)):
                grads["dU" + gate] += x.T @ d
                grads["dV" + gate] += state.T @ d
                grads["db" + gate] += d.sum(axis=0, keepdims=True)
            dX[:, t] = dr @ p["Ur"].T + dz @ p["Uz"].T + dn @ p["Ug"].T
            dh = dh * z + dq * r + dr @ p["Vr"].T + dz @ p["Vz"].T
        return {**grads, "dX": dX, "dh0": dh}

    return out, pullback
