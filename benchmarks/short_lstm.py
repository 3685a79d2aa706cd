"""An LSTM in low precision, written anew: what is short is rounded after each operation, the rest is in float32.

All gates are one product, the logistic function is by exp, and sums run over blocks: not as `lstm_ref` does.
"""

import numpy as np

from lstm_checks.contract import DHN, LAST, Target, by_name
from lstm_checks.formats import array_dtype, format_named, to_short

GATES = "ifgo"


def short_lstm(name, bug=None):
    """Return a target that keeps the contract of a format and no more; `bug` is a word of what is wrong in it."""
    form = format_named(name)

    def kept(part, x):
        return to_short(x, form.short) if part in form.parts else np.asarray(x, np.float32).astype(np.float64)

    def cut(part, x):
        # Towards zero: the next number below in size.
        rounded = to_short(x, form.short)
        step = np.abs(rounded) * 2.0 ** -(form.bits - 1)
        return np.where(
            np.abs(rounded) > np.abs(x), to_short(rounded - np.sign(rounded) * step / 2, form.short), rounded
        )

    store = cut if bug == "cut off" else kept

    def product(part, x, y):
        total = 0.0
        for start in range(0, x.shape[-1], 4):
            block = x[..., start : start + 4] @ y[start : start + 4]
            total = kept(part, total + kept(part, block))
        return kept("gates", total)

    def operand(x):
        return to_short(x, form.short) if "operands" in form.parts else x

    def call(p, X, h0, C0, sequences=True):
        p = {k: np.asarray(v, np.float64) for k, v in p.items()}
        X, h, C = (np.asarray(v, np.float64) for v in (X, h0, C0))
        W = np.concatenate([np.concatenate([p["U" + g], p["V" + g]]) for g in GATES], axis=1)
        b = np.concatenate([p["b" + g] for g in GATES], axis=1)
        r, past, u = (lambda x: kept("gates", x)), [], h.shape[-1]
        for t in range(X.shape[1]):
            joined = np.concatenate([operand(X[:, t]), operand(h)], axis=1)
            linear = kept("kept", r(product("sums", joined, W) + b))
            i, f, o = (kept("kept", r(1 / (1 + np.exp(-linear[:, k * u : (k + 1) * u])))) for k in (0, 1, 3))
            g = kept("kept", r(np.tanh(linear[:, 2 * u : 3 * u])))
            before, C = C, store("C", r(r(f * C) + r(i * g)))
            squashed = kept("kept", r(np.tanh(C)))
            h = store("h", r(o * squashed))
            past.append((joined, before, i, f, g, o, squashed, h))
        out = np.stack([step[-1] for step in past], axis=1)
        given = array_dtype(name)

        def pullback(dh, dCn, dhn=None):
            dh, dC = np.asarray(dh, np.float64), np.asarray(dCn, np.float64)
            arriving, dW, db = np.zeros_like(h), np.zeros_like(W), np.zeros_like(b)
            dX = np.zeros_like(X)
            for t in reversed(range(X.shape[1])):
                joined, before, i, f, g, o, squashed, _ = past[t]
                d = r(dh[:, t] + arriving)
                dC = r(r(r(d * o) * r(1 - r(squashed * squashed))) + dC)
                d_o = r(r(d * squashed) * r(o * r(1 - o)))
                d_f = r(r(dC * before) * r(f * r(1 - f)))
                d_i = r(r(dC * g) * r(i * r(1 - i)))
                d_g = r(r(dC * i) * r(1 - r(g * g)))
                if bug == "forget gate off by 1 %":
                    d_f = 1.01 * d_f
                if bug == "carry dropped":
                    dC = np.zeros_like(dC)
                dk = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
                back = product("sums", operand(dk), W.T)
                dX[:, t], arriving = back[:, : X.shape[-1]], kept("cotangents", back[:, X.shape[-1] :])
                dC = kept("cotangents", r(dC * f))
                add = joined.T @ operand(dk)
                dW = kept("dsums", dW + kept("dsums", add)) if bug != "dU in short" else to_short(dW + add, form.short)
                db = kept("dsums", db + kept("dsums", dk.sum(0, keepdims=True)))
            e = X.shape[-1]
            found = {}
            for k, gate in enumerate(GATES):
                at = slice(k * u, (k + 1) * u)
                found |= {f"dU{gate}": dW[:e, at], f"dV{gate}": dW[e:, at], f"db{gate}": db[:, at]}
            found |= {"dX": dX, "dh0": arriving, "dC0": dC}
            return {n: v.astype(given) for n, v in found.items()}

        return (out.astype(given), C.astype(given)), pullback

    return Target(name, "an LSTM in low precision", by_name(call), frozenset({DHN, LAST}), (form.base,), also=())
