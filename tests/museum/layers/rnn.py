"""An Elman RNN, its products and states in lists; the backward pass by hand."""

import numpy as np


def rnn(p, X, h0):
    states = [h0]
    for t in range(X.shape[1]):
        states.append(np.tanh(X[:, t] @ p["Ug"] + states[-1] @ p["Vg"] + p["bg"]))

    def pullback(dout):
        dU, dV, db = np.zeros_like(p["Ug"]), np.zeros_like(p["Vg"]), np.zeros_like(p["bg"])
        dX = np.zeros_like(X)
        dL = np.zeros_like(h0)
        for t in range(X.shape[1] - 1, -1, -1):
            dL = dL + dout[:, t]
            d = dL * (1 - states[t + 1] * states[t + 1])
            dU += X[:, t].T @ d
            dV += states[t].T @ d
            db += d.sum(axis=0, keepdims=True)
            dX[:, t] = d @ p["Ug"].T
            dL = d @ p["Vg"].T
        return {"dUg": dU, "dVg": dV, "dbg": db, "dX": dX, "dh0": dL}

    return np.stack(states[1:], axis=1), pullback
