"""Steps first: transposed at the door, and the gradients of the weights made of all steps at once."""

import numpy as np


def act(z):
    return 1 / (1 + np.exp(-z))


def forward(p, xs, h, c):
    trace = {k: [] for k in ("h_in", "c_in", "f", "i", "g", "o", "tc", "h")}
    for x in xs:
        trace["h_in"].append(h)
        trace["c_in"].append(c)
        f = act(x @ p["Uf"] + h @ p["Vf"] + p["bf"])
        i = act(x @ p["Ui"] + h @ p["Vi"] + p["bi"])
        g = np.tanh(x @ p["Ug"] + h @ p["Vg"] + p["bg"])
        o = act(x @ p["Uo"] + h @ p["Vo"] + p["bo"])
        c = f * c + i * g
        tc = np.tanh(c)
        h = o * tc
        for name, value in (("f", f), ("i", i), ("g", g), ("o", o), ("tc", tc), ("h", h)):
            trace[name].append(value)
    return {name: np.array(values) for name, values in trace.items()}, c


def backward(p, xs, k, dhs, dc):
    steps = len(xs)
    dz = {gate: np.zeros_like(k["f"]) for gate in "figo"}
    dxs = np.zeros_like(xs)
    dh = np.zeros_like(k["h"][0])
    for t in range(steps - 1, -1, -1):
        dh = dh + dhs[t]
        dc = dc + dh * k["o"][t] * (1 - k["tc"][t] ** 2)
        dz["o"][t] = dh * k["tc"][t] * k["o"][t] * (1 - k["o"][t])
        dz["f"][t] = dc * k["c_in"][t] * k["f"][t] * (1 - k["f"][t])
        dz["i"][t] = dc * k["g"][t] * k["i"][t] * (1 - k["i"][t])
        dz["g"][t] = dc * k["i"][t] * (1 - k["g"][t] ** 2)
        dh = sum(dz[gate][t] @ p["V" + gate].T for gate in "figo")
        dxs[t] = sum(dz[gate][t] @ p["U" + gate].T for gate in "figo")
        dc = dc * k["f"][t]
    grads = {}
    for gate in "figo":
        grads["dU" + gate] = np.einsum("tne,tnu->eu", xs, dz[gate])
        grads["dV" + gate] = np.einsum("tnv,tnu->vu", k["h_in"], dz[gate])
        grads["db" + gate] = dz[gate].sum(axis=(0, 1))[None, :]
    return grads, dxs, dh, dc


def lstm(p, X, h0, C0):
    xs = X.transpose(1, 0, 2)
    k, c = forward(p, xs, h0, C0)

    def pullback(dh, dCn):
        grads, dxs, dh0, dC0 = backward(p, xs, k, dh.transpose(1, 0, 2), dCn)
        return {**grads, "dX": dxs.transpose(1, 0, 2).copy(), "dh0": dh0, "dC0": dC0}

    return (k["h"].transpose(1, 0, 2).copy(), c), pullback
