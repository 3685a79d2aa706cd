"""Columns are samples; a dict for each step, and a loop over the gates in the backward pass."""

import numpy as np
from repair_helpers import logistic, logistic_slope, tanh_slope

GATES = ("f", "i", "g", "o")


def lstm(p, X, h0, C0):
    m, s, _ = X.shape
    hidden, memory = h0.T, C0.T
    steps = []
    for t in range(s):
        x = X[:, t].T
        pre = {k: p["U" + k].T @ x + p["V" + k].T @ hidden + p["b" + k].T for k in GATES}
        act = {k: np.tanh(v) if k == "g" else logistic(v) for k, v in pre.items()}
        new = act["f"] * memory + act["i"] * act["g"]
        bent = np.tanh(new)
        steps.append({"x": x, "hp": hidden, "cp": memory, "bent": bent, **act})
        hidden, memory = act["o"] * bent, new
    out = np.empty((m, s, h0.shape[1]), X.dtype)
    for t, kept in enumerate(steps):
        out[:, t] = (kept["o"] * kept["bent"]).T

    def pullback(dout, dlast):
        grads = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dX = np.zeros_like(X)
        delta_h = np.zeros_like(h0.T)
        delta_c = dlast.T
        for t in range(s)[::-1]:
            k = steps[t]
            delta_h = delta_h + dout[:, t].T
            delta_c = delta_c + delta_h * k["o"] * tanh_slope(k["bent"])
            delta = {
                "f": delta_c * k["cp"] * logistic_slope(k["f"]),
                "i": delta_c * k["g"] * logistic_slope(k["i"]),
                "g": delta_c * k["i"] * tanh_slope(k["g"]),
                "o": delta_h * k["bent"] * logistic_slope(k["o"]),
            }
            delta_c = delta_c * k["f"]
            delta_h = sum(p["V" + n] @ delta[n] for n in GATES)
            dX[:, t] = sum(p["U" + n] @ delta[n] for n in GATES).T
            for n in GATES:
                grads["dU" + n] += k["x"] @ delta[n].T
                grads["dV" + n] += k["hp"] @ delta[n].T
                grads["db" + n] += delta[n].sum(axis=1)[None, :]
        return {**grads, "dX": dX, "dh0": delta_h.T, "dC0": delta_c.T}

    return (out, memory.T.copy()), pullback
