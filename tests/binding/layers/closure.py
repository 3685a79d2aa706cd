"""A function that returns its own backward pass, which takes the cotangent of the last hidden state apart."""

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def lstm(x, Wx, Wh, b, h0, c0):
    T, H = len(x), h0.shape[1]
    h, c, tape, ys = h0, c0, [], []
    for t in range(T):
        a = x[t] @ Wx + h @ Wh + b
        i, f, o, g = sigma(a[:, :H]), sigma(a[:, H : 2 * H]), sigma(a[:, 2 * H : 3 * H]), np.tanh(a[:, 3 * H :])
        new = f * c + i * g
        tape.append((h, c, i, f, o, g, new))
        c = new
        h = o * np.tanh(c)
        ys.append(h)

    def bwd(dys, dhT, dcT):
        dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
        dx, dh, dc = np.zeros_like(x), dhT, dcT
        for t in range(T)[::-1]:
            hp, cp, i, f, o, g, cn = tape[t]
            dh = dh + dys[t]
            tc = np.tanh(cn)
            dc = dc + dh * o * (1 - tc * tc)
            da = np.hstack([dc * g * i * (1 - i), dc * cp * f * (1 - f), dh * tc * o * (1 - o), dc * i * (1 - g * g)])
            dWx += x[t].T @ da
            dWh += hp.T @ da
            db += da.sum(0)
            dx[t] = da @ Wx.T
            dh, dc = da @ Wh.T, dc * f
        return dx, dWx, dWh, db, dh, dc

    return np.array(ys), (h, c), bwd
