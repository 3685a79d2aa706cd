"""One product a gate, batch first; the backward pass mirrors it line by line."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm(p, X, h0, C0):
    batch, steps, _ = X.shape
    h, c = h0, C0
    cache = []
    hs = np.zeros((batch, steps, h0.shape[1]), X.dtype)
    for t in range(steps):
        x = X[:, t, :]
        f = sigmoid(x @ p["Uf"] + h @ p["Vf"] + p["bf"])
        i = sigmoid(x @ p["Ui"] + h @ p["Vi"] + p["bi"])
        g = np.tanh(x @ p["Ug"] + h @ p["Vg"] + p["bg"])
        o = sigmoid(x @ p["Uo"] + h @ p["Vo"] + p["bo"])
        c_next = f * c + i * g
        tc = np.tanh(c_next)
        h_next = o * tc
        cache.append((x, h, c, f, i, g, o, tc))
        h, c = h_next, c_next
        hs[:, t, :] = h

    def pullback(dhs, dc):
        grads = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dX = np.zeros_like(X)
        dh = np.zeros_like(h0)
        for t in reversed(range(steps)):
            x, h_prev, c_prev, f, i, g, o, tc = cache[t]
            dh = dh + dhs[:, t, :]
            do = dh * tc
            dc = dc + dh * o * (1 - tc**2)
            df = dc * c_prev
            di = dc * g
            dg = dc * i
            dzf = df * f * (1 - f)
            dzi = di * i * (1 - i)
            dzg = dg * (1 - g**2)
            dzo = do * o * (1 - o)
            dx = dzf @ p["Uf"].T + dzi @ p["Ui"].T + dzg @ p["Ug"].T + dzo @ p["Uo"].T
            dh = dzf @ p["Vf"].T + dzi @ p["Vi"].T + dzg @ p["Vg"].T + dzo @ p["Vo"].T
            dc = dc * f
            dX[:, t, :] = dx
            for gate, dz in (("f", dzf), ("i", dzi), ("g", dzg), ("o", dzo)):
                grads["dU" + gate] += x.T @ dz
                grads["dV" + gate] += h_prev.T @ dz
                grads["db" + gate] += dz.sum(axis=0, keepdims=True)
        return {**grads, "dX": dX, "dh0": dh, "dC0": dc}

    return (hs, c), pullback
