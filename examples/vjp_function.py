"""A function in the vjp form, in plain NumPy; and one whose backward pass forgets that the memory goes on.

lstm-checks verify examples/vjp_function.py:lstm
lstm-checks verify examples/vjp_function.py:lstm_without_carry
"""

import numpy as np


def sigmoid(x):
    """Return the logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def lstm(p, X, h0, C0, carry=1):
    """Return h (m, s, u) and the final memory state (m, u), and the pullback of both."""
    h, C, steps = h0, C0, []
    for x in X.swapaxes(0, 1):
        k = {gate: x @ p["U" + gate] + h @ p["V" + gate] + p["b" + gate] for gate in "figo"}
        f, i, o, g = sigmoid(k["f"]), sigmoid(k["i"]), sigmoid(k["o"]), np.tanh(k["g"])
        steps.append((x, h, C, f, i, g, o))
        C = f * C + i * g
        h = o * np.tanh(C)
        steps[-1] += (C, h)

    def pullback(dh, dCn):
        gradients = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        gradients["dX"] = np.zeros_like(X)
        dhn, dC = np.zeros_like(h0), dCn
        for t in reversed(range(len(steps))):
            x, hp, Cp, f, i, g, o, C, _ = steps[t]
            dht = dh[:, t] + dhn
            dC = dC + dht * o * (1 - np.tanh(C) ** 2)
            # Of the gates before their activation.
            dk = {
                "f": dC * Cp * f * (1 - f),
                "i": dC * g * i * (1 - i),
                "g": dC * i * (1 - g * g),
                "o": dht * np.tanh(C) * o * (1 - o),
            }
            for gate, d in dk.items():
                gradients["dU" + gate] += x.T @ d
                gradients["dV" + gate] += hp.T @ d
                gradients["db" + gate] += d.sum(axis=0, keepdims=True)
            gradients["dX"][:, t] = sum(d @ p["U" + gate].T for gate, d in dk.items())
            dhn = sum(d @ p["V" + gate].T for gate, d in dk.items())
            dC = carry * f * dC
        return gradients | {"dh0": dhn, "dC0": dC}

    return (np.stack([step[-1] for step in steps], axis=1), steps[-1][-2]), pullback


def lstm_without_carry(p, X, h0, C0):
    """Return the same, but no gradient through f * C of the step before."""
    return lstm(p, X, h0, C0, carry=0)
