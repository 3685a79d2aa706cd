"""Each operation returns its value and how to go back: a small tape of closures."""

import numpy as np


def linear(x, h, U, V, b):
    def back(d):
        return d @ U.T, d @ V.T, x.T @ d, h.T @ d, d.sum(axis=0, keepdims=True)

    return x @ U + h @ V + b, back


def sigmoid(z):
    y = 1 / (1 + np.exp(-z))
    return y, lambda d: d * y * (1 - y)


def tanh(z):
    y = np.tanh(z)
    return y, lambda d: d * (1 - y * y)


def cell(p, x, h, c):
    lf, back_lf = linear(x, h, p["Uf"], p["Vf"], p["bf"])
    li, back_li = linear(x, h, p["Ui"], p["Vi"], p["bi"])
    lg, back_lg = linear(x, h, p["Ug"], p["Vg"], p["bg"])
    lo, back_lo = linear(x, h, p["Uo"], p["Vo"], p["bo"])
    f, back_f = sigmoid(lf)
    i, back_i = sigmoid(li)
    g, back_g = tanh(lg)
    o, back_o = sigmoid(lo)
    new = f * c + i * g
    bent, back_bent = tanh(new)

    def back(dh, dc):
        dnew = dc + back_bent(dh * o)
        parts = {
            "f": back_lf(back_f(dnew * c)),
            "i": back_li(back_i(dnew * g)),
            "g": back_lg(back_g(dnew * i)),
            "o": back_lo(back_o(dh * bent)),
        }
        dx = sum(part[0] for part in parts.values())
        dh_before = sum(part[1] for part in parts.values())
        weights = {f"d{name}{k}": part[2 + n] for k, part in parts.items() for n, name in enumerate("UVb")}
        return dx, dh_before, dnew * f, weights

    return o * bent, new, back


def lstm(p, X, h0, C0):
    h, c, out, tape = h0, C0, [], []
    for t in range(X.shape[1]):
        h, c, back = cell(p, X[:, t], h, c)
        out.append(h)
        tape.append(back)

    def pullback(dout, dc):
        total, dxs, dh = {}, [], np.zeros_like(h0)
        for t in reversed(range(len(tape))):
            dx, dh, dc, weights = tape[t](dh + dout[:, t], dc)
            dxs.append(dx)
            total = {name: total.get(name, 0) + value for name, value in weights.items()}
        return {**total, "dX": np.stack(dxs[::-1], axis=1), "dh0": dh, "dC0": dc}

    return (np.stack(out, axis=1), c), pullback
