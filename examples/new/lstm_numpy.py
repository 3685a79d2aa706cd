"""An LSTM in NumPy with its backward pass by hand. It is right as it stands; put your own lines in place of these.

lstm-checks verify lstm_numpy.py:lstm
"""

import numpy as np


def sigmoid(x):
    """Return the logistic function, which overflows nowhere when it is written so."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def lstm(p, X, h0, C0):
    """Return h of every step and the final memory, and the function that goes back.

    X is (m, s, e): samples, steps, elements; h0 and C0 are (m, u). p holds Uf (e, u), Vf (u, u), bf (1, u) of the
    gate f, and the same of i, g and o.
    """
    h, C, kept = h0, C0, []
    for t in range(X.shape[1]):
        x, hp, Cp = X[:, t], h, C
        f = sigmoid(x @ p["Uf"] + hp @ p["Vf"] + p["bf"])
        i = sigmoid(x @ p["Ui"] + hp @ p["Vi"] + p["bi"])
        g = np.tanh(x @ p["Ug"] + hp @ p["Vg"] + p["bg"])
        o = sigmoid(x @ p["Uo"] + hp @ p["Vo"] + p["bo"])
        C = f * Cp + i * g
        h = o * np.tanh(C)
        kept.append((x, hp, Cp, f, i, g, o, C, h))

    def pullback(dh, dCn):
        """Return the gradients by name: dh (m, s, u) arrives at every step's h, dCn (m, u) at the final memory."""
        gradients = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dX, dh_next, dC_next = np.zeros_like(X), np.zeros_like(h0), dCn
        for t in reversed(range(X.shape[1])):
            x, hp, Cp, f, i, g, o, C, _ = kept[t]
            dht = dh[:, t] + dh_next
            dC = dC_next + dht * o * (1 - np.tanh(C) ** 2)
            # Of each gate before its activation.
            df = dC * Cp * f * (1 - f)
            di = dC * g * i * (1 - i)
            dg = dC * i * (1 - g**2)
            do = dht * np.tanh(C) * o * (1 - o)
            dh_next = np.zeros_like(h0)
            for gate, d in (("f", df), ("i", di), ("g", dg), ("o", do)):
                gradients["dU" + gate] += x.T @ d
                gradients["dV" + gate] += hp.T @ d
                gradients["db" + gate] += d.sum(axis=0, keepdims=True)
                dX[:, t] += d @ p["U" + gate].T
                dh_next += d @ p["V" + gate].T
            dC_next = dC * f
        return {**gradients, "dX": dX, "dh0": dh_next, "dC0": dC_next}

    return (np.stack([step[-1] for step in kept], axis=1), C), pullback
