"""Twelve arrays one by one, one sample, steps as rows: a function pair by someone who spells everything out."""

import numpy as np


def s(z):
    return 1 / (1 + np.exp(-z))


def lstm_fwd(x, h0, c0, Wf, Uf, bf, Wi, Ui, bi, Wg, Ug, bg, Wo, Uo, bo):
    T = len(x)
    hs, cs, gates = [h0], [c0], []
    for t in range(T):
        f = s(Wf @ x[t] + Uf @ hs[-1] + bf)
        i = s(Wi @ x[t] + Ui @ hs[-1] + bi)
        g = np.tanh(Wg @ x[t] + Ug @ hs[-1] + bg)
        o = s(Wo @ x[t] + Uo @ hs[-1] + bo)
        cs.append(f * cs[-1] + i * g)
        hs.append(o * np.tanh(cs[-1]))
        gates.append((f, i, g, o))
    return np.array(hs[1:]), cs[-1], (x, hs, cs, gates)


def lstm_bwd(dh, dc, cache, Wf, Uf, Wi, Ui, Wg, Ug, Wo, Uo):
    x, hs, cs, gates = cache
    dWf, dWi, dWg, dWo = (np.zeros_like(W) for W in (Wf, Wi, Wg, Wo))
    dUf, dUi, dUg, dUo = (np.zeros_like(U) for U in (Uf, Ui, Ug, Uo))
    dbf, dbi, dbg, dbo = (np.zeros(len(Uf)) for _ in range(4))
    dx, dh_next = np.zeros_like(x), 0
    for t in range(len(x) - 1, -1, -1):
        f, i, g, o = gates[t]
        d = dh[t] + dh_next
        tc = np.tanh(cs[t + 1])
        dc = dc + d * o * (1 - tc**2)
        af, ai, ag, ao = dc * cs[t] * f * (1 - f), dc * g * i * (1 - i), dc * i * (1 - g**2), d * tc * o * (1 - o)
        for dW, dU, db, a in ((dWf, dUf, dbf, af), (dWi, dUi, dbi, ai), (dWg, dUg, dbg, ag), (dWo, dUo, dbo, ao)):
            dW += np.outer(a, x[t])
            dU += np.outer(a, hs[t])
            db += a
        dx[t] = Wf.T @ af + Wi.T @ ai + Wg.T @ ag + Wo.T @ ao
        dh_next = Uf.T @ af + Ui.T @ ai + Ug.T @ ag + Uo.T @ ao
        dc = dc * f
    return dx, dh_next, dc, dWf, dUf, dbf, dWi, dUi, dbi, dWg, dUg, dbg, dWo, dUo, dbo
