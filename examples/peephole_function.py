"""An LSTM with peepholes in the vjp form, in plain NumPy; and one in which nothing goes back through the output's.

lstm-checks verify examples/peephole_function.py:lstm --cell peephole
lstm-checks verify examples/peephole_function.py:lstm_without_cotangent --cell peephole
"""

import numpy as np


def logistic(x):
    """Return the logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def lstm(p, X, h0, C0, through=1):
    """Return h (m, s, u) and the final memory state (m, u), and the pullback of both."""
    steps, kept, h, c = X.shape[1], [], h0, C0
    outputs = []
    for t in range(steps):
        x, before, memory = X[:, t], h, c
        forget = logistic(x @ p["Uf"] + before @ p["Vf"] + p["bf"] + p["pf"] * memory)
        take = logistic(x @ p["Ui"] + before @ p["Vi"] + p["bi"] + p["pi"] * memory)
        new = np.tanh(x @ p["Ug"] + before @ p["Vg"] + p["bg"])
        c = forget * memory + take * new
        show = logistic(x @ p["Uo"] + before @ p["Vo"] + p["bo"] + p["po"] * c)
        squashed = np.tanh(c)
        h = show * squashed
        outputs.append(h)
        kept.append((x, before, memory, forget, take, new, c, show, squashed))

    def pullback(dh, dCn):
        found = {f"d{name}": np.zeros_like(value) for name, value in p.items()}
        dX, back, carried = np.zeros_like(X), np.zeros_like(h0), dCn
        for t in reversed(range(steps)):
            x, before, memory, forget, take, new, after, show, squashed = kept[t]
            arriving = dh[:, t] + back
            at = {"o": arriving * squashed * show * (1 - show)}
            whole = carried + arriving * show * (1 - squashed**2) + through * at["o"] * p["po"]
            at |= {"f": whole * memory * forget * (1 - forget), "i": whole * new * take * (1 - take)}
            at["g"] = whole * take * (1 - new**2)
            carried = whole * forget + at["f"] * p["pf"] + at["i"] * p["pi"]
            back = sum(at[k] @ p["V" + k].T for k in "figo")
            dX[:, t] = sum(at[k] @ p["U" + k].T for k in "figo")
            for k in "figo":
                found["dU" + k] += x.T @ at[k]
                found["dV" + k] += before.T @ at[k]
                found["db" + k] += at[k].sum(0, keepdims=True)
            for k, seen in (("f", memory), ("i", memory), ("o", after)):
                found["dp" + k] += (at[k] * seen).sum(0, keepdims=True)
        return {**found, "dX": dX, "dh0": back, "dC0": carried}

    return (np.stack(outputs, axis=1), c), pullback


def lstm_without_cotangent(p, X, h0, C0):
    """As above, but that the memory's cotangent lacks what the output gate's peephole passes back."""
    return lstm(p, X, h0, C0, through=0)
