"""A GRU as PyTorch and Keras have it, in the vjp form: ``h, pullback = gru(p, X, h0)``.

    lstm-checks verify examples/gru_function.py:gru --cell gru_reset_after
    lstm-checks verify examples/gru_function.py:gru_without_reset --cell gru_reset_after

The second one is wrong: what goes back into the candidate's product with the state is not reset.
"""

import numpy as np


def sigmoid(x):
    """Return the logistic function, which overflows nowhere."""
    return np.where(x < 0, 0.5 * (1 + np.tanh(x / 2)), 1 / (1 + np.exp(-np.abs(x))))


def gru(p, X, h0, through=lambda r: r):
    """Return h (m, s, u) and the pullback; p holds Ur Vr br, Uz Vz bz, Ug Vg bg and the second bias cg."""
    h, kept = h0, []
    for x in X.swapaxes(0, 1):
        r = sigmoid(x @ p["Ur"] + h @ p["Vr"] + p["br"])
        z = sigmoid(x @ p["Uz"] + h @ p["Vz"] + p["bz"])
        a = h @ p["Vg"] + p["cg"]
        g = np.tanh(x @ p["Ug"] + p["bg"] + r * a)
        kept.append((x, h, r, z, a, g))
        h = g + z * (h - g)
    outputs = np.stack([*(before[1] for before in kept[1:]), h], 1)

    def pullback(dh):
        found = {f"d{name}": np.zeros_like(value) for name, value in p.items()}
        dX, back = np.zeros_like(X), np.zeros_like(h0)
        for t in reversed(range(len(kept))):
            x, before, r, z, a, g = kept[t]
            d = dh[:, t] + back
            dg = d * (1 - z) * (1 - g * g)
            deltas = {"r": dg * a * r * (1 - r), "z": d * (before - g) * z * (1 - z), "g": dg}
            recurrent = {**deltas, "g": dg * through(r)}
            for gate, delta in deltas.items():
                found[f"dU{gate}"] += x.T @ delta
                found[f"dV{gate}"] += before.T @ recurrent[gate]
                found[f"db{gate}"] += delta.sum(0, keepdims=True)
            found["dcg"] += recurrent["g"].sum(0, keepdims=True)
            dX[:, t] = sum(delta @ p[f"U{gate}"].T for gate, delta in deltas.items())
            back = d * z + sum(delta @ p[f"V{gate}"].T for gate, delta in recurrent.items())
        return {**found, "dX": dX, "dh0": back}

    return outputs, pullback


def gru_without_reset(p, X, h0):
    """Return the same with a fault: r is missing on the way back."""
    return gru(p, X, h0, through=np.ones_like)
