"""One matrix for all gates, in the order i, f, o, g, with x and h beside one another."""

import numpy as np

ORDER = ("i", "f", "o", "g")


def sigma(z):
    return 0.5 * (1 + np.tanh(z / 2))


def lstm(p, X, h0, C0):
    W = np.concatenate([np.concatenate([p["U" + k], p["V" + k]]) for k in ORDER], axis=1)
    b = np.concatenate([p["b" + k] for k in ORDER], axis=1)
    N, T, D = X.shape
    H = h0.shape[1]
    xh = np.empty((T, N, D + H), X.dtype)
    gates = np.empty((T, N, 4 * H), X.dtype)
    cells = np.empty((T + 1, N, H), X.dtype)
    out = np.empty((N, T, H), X.dtype)
    cells[0] = C0
    h = h0
    for t in range(T):
        xh[t] = np.hstack([X[:, t], h])
        z = xh[t] @ W + b
        gates[t, :, : 3 * H] = sigma(z[:, : 3 * H])
        gates[t, :, 3 * H :] = np.tanh(z[:, 3 * H :])
        i, f, o, g = np.split(gates[t], 4, axis=1)
        cells[t + 1] = f * cells[t] + i * g
        h = o * np.tanh(cells[t + 1])
        out[:, t] = h

    def pullback(dout, dcell):
        dW = np.zeros_like(W)
        db = np.zeros_like(b)
        dX = np.empty_like(X)
        dh = np.zeros_like(h0)
        for t in range(T - 1, -1, -1):
            i, f, o, g = np.split(gates[t], 4, axis=1)
            tanh_c = np.tanh(cells[t + 1])
            dh = dh + dout[:, t]
            dcell = dcell + dh * o * (1 - tanh_c * tanh_c)
            di = dcell * g * i * (1 - i)
            df = dcell * cells[t] * f * (1 - f)
            do = dh * tanh_c * o * (1 - o)
            dg = dcell * i * (1 - g * g)
            dz = np.hstack([di, df, do, dg])
            dW += xh[t].T @ dz
            db += dz.sum(axis=0, keepdims=True)
            dxh = dz @ W.T
            dX[:, t] = dxh[:, :D]
            dh = dxh[:, D:]
            dcell = dcell * f
        found = {"dX": dX, "dh0": dh, "dC0": dcell}
        for k, name in enumerate(ORDER):
            part = dW[:, k * H : (k + 1) * H]
            found["dU" + name] = part[:D].copy()
            found["dV" + name] = part[D:].copy()
            found["db" + name] = db[:, k * H : (k + 1) * H].copy()
        return found

    return (out, cells[T].copy()), pullback
