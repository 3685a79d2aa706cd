"""A third LSTM, plain and differently coded, with which the diagnosis is tested, and a way to plant faults in it.

Features come first here and samples last; each step is one product of a packed matrix [U; V; b] with a column of
[x; hidden; 1] a sample; the gates stand in an order of their own; the pullback is derived from that. It shares no line
with `lstm_ref`. Faults are planted by changing its text, in `planted_faults.py`.
"""

from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from lstm_checks.contract import LAST, Target, by_name

ORDER = "ogfi"


def logistic(x):
    return 1 / (1 + np.exp(-x))


def squash(x):
    return np.tanh(x)


def slope_of_logistic(y):
    return y * (1 - y)


def slope_of_squash(y):
    return 1 - y * y


def pack(p):
    return np.hstack([np.vstack([p["U" + gate], p["V" + gate], p["b" + gate]]) for gate in ORDER])


def plain_lstm(p, X, h0, C0, sequences=True):
    m, s, e = X.shape
    u = h0.shape[1]
    one = np.ones((1, m), X.dtype)
    tape = []
    W = pack(p)
    hidden, cell = h0.T, C0.T
    for t in range(s):
        x = X[:, t].T
        z = np.vstack([x, hidden, one])
        a = W.T @ z
        ao, ag, af, ai = np.split(a, 4)
        go, gg, gf, gi = logistic(ao), squash(ag), logistic(af), logistic(ai)
        new = gf * cell + gi * gg
        act = squash(new)
        out = go * act
        tape.append(
            SimpleNamespace(
                z=z, ao=ao, ag=ag, af=af, ai=ai, go=go, gg=gg, gf=gf, gi=gi, cell=cell, new=new, act=act, out=out
            )
        )
        hidden, cell = out, new
    H = np.stack([k.out.T for k in tape], axis=1)
    Cn = tape[-1].new.T.copy()

    def pullback(dh, dCn, dhn):
        R = pack(p)
        dW = np.zeros_like(W)
        dX = np.zeros_like(X)
        rho, kappa = dhn.T, dCn.T
        for t in range(s - 1, -1, -1):
            k = tape[t]
            above = dh[:, t].T
            eta = above + rho
            through = eta * k.go * slope_of_squash(k.act)
            gamma = kappa + through
            eo = eta * k.act
            eg = gamma * k.gi
            ef = gamma * k.cell
            ei = gamma * k.gg
            bo = eo * slope_of_logistic(k.go)
            bg = eg * slope_of_squash(k.gg)
            bf = ef * slope_of_logistic(k.gf)
            bi = ei * slope_of_logistic(k.gi)
            delta = np.vstack([bo, bg, bf, bi])
            dW += k.z @ delta.T
            back = R @ delta
            dX[:, t] = back[:e].T
            rho = back[e : e + u]
            kappa = gamma * k.gf
        g = {}
        for n, gate in enumerate(ORDER):
            block = dW[:, n * u : (n + 1) * u]
            g["dU" + gate] = block[:e].copy()
            g["dV" + gate] = block[e : e + u].copy()
            g["db" + gate] = block[e + u :].copy()
        return g | {"dX": dX, "dh0": rho.T.copy(), "dC0": kappa.T.copy()}

    return (H, Cn), pullback


@cache
def source():
    return Path(__file__).read_text(encoding="utf-8")


def planted(name, edits, wrap=None):
    """The target with each line `old` of `edits` made to `new`, and wrapped by `wrap`."""
    lines = source().splitlines()
    for old, new in edits:
        (at,) = (k for k, line in enumerate(lines) if line.strip() == old)
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines[at : at + 1] = [indent + line for line in new.splitlines()]
    module = ModuleType("plain_lstm_" + name.replace("-", "_"))
    module.__file__ = __file__
    exec(compile("\n".join(lines), f"plain_lstm.py ({name})", "exec"), vars(module))
    call = wrap(module.plain_lstm) if wrap else module.plain_lstm
    return Target(name, "plain LSTM", by_name(call), frozenset({LAST}))
