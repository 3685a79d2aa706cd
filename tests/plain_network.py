"""A bidirectional stack of plain LSTMs with lengths, written anew: a mask at every step, packed gates, by-name form.

A stranger to lstm_ref's way: it runs the padded batch as a whole, keeps the state where a sample has ended, and packs
the gates. Each bug of `WRONG` is one option of it.
"""

import numpy as np

GATES = "ifgo"


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


class Direction:
    """One layer in one direction over a padded batch."""

    def __init__(self, p, suffix, dtype, lost=False):
        self.suffix = suffix
        self.lost = lost  # whether what arrives at the final state of a sample that ends before the batch is lost
        self.W = np.concatenate([p[f"U{k}{suffix}"] for k in GATES], axis=1)
        self.R = np.concatenate([p[f"V{k}{suffix}"] for k in GATES], axis=1)
        self.b = np.concatenate([p[f"b{k}{suffix}"] for k in GATES], axis=1)

    def forward(self, x, h, C, order, there):
        """Return the outputs; `order` are the steps, (m, s), and `there` whether each sample has that many."""
        m, s, _ = x.shape
        rows = np.arange(m)
        out = np.zeros((m, s, h.shape[1]), x.dtype)
        self.kept, self.x, self.order, self.there = [], x, order, there
        for t in range(s):
            at, on = order[:, t], there[:, t][:, None]
            i, f, g, o = np.split(x[rows, at] @ self.W + h @ self.R + self.b, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            after = f * C + i * g
            self.kept.append((h, C, i, f, g, o, np.tanh(after)))
            new = o * np.tanh(after)
            out[rows, at] = np.where(on, new, out[rows, at])
            h, C = np.where(on, new, h), np.where(on, after, C)
        return out, h, C

    def backward(self, dout, dh, dC):
        """Return the cotangents of the input and the initial states, and the gradients."""
        m, s, _ = self.x.shape
        rows, dx = np.arange(m), np.zeros_like(self.x)
        dW, dR, db = np.zeros_like(self.W), np.zeros_like(self.R), np.zeros_like(self.b)
        if self.lost:
            dh, dC = np.where(self.there[:, -1:], dh, 0), np.where(self.there[:, -1:], dC, 0)
        for t in reversed(range(s)):
            at, on = self.order[:, t], self.there[:, t][:, None]
            h, C, i, f, g, o, tanh_C = self.kept[t]
            whole = np.where(on, dh + dout[rows, at], 0)
            into = whole * o * (1 - tanh_C**2) + np.where(on, dC, 0)
            parts = (
                into * g * i * (1 - i),
                into * C * f * (1 - f),
                into * i * (1 - g**2),
                whole * tanh_C * o * (1 - o),
            )
            delta = np.concatenate(parts, axis=1)
            dW += self.x[rows, at].T @ delta
            dR += h.T @ delta
            db += delta.sum(0, keepdims=True)
            dx[rows, at] += delta @ self.W.T
            dh = np.where(on, delta @ self.R.T, dh)
            dC = np.where(on, into * f, dC)
        gradients = {}
        for letter, packed in (("U", dW), ("V", dR), ("b", db)):
            for k, part in zip(GATES, np.split(packed, 4, axis=1), strict=True):
                gradients[f"d{letter}{k}{self.suffix}"] = part
        return dx, dh, dC, gradients


def orders(lengths, s, reverse, bug=""):
    """Return in which order each sample's steps are run, and which of them there are."""
    count = np.arange(s)
    there = count < lengths[:, None]
    order = np.broadcast_to(count, there.shape).copy()
    if reverse:
        # A sample begins at its own end; what is left over is its padding.
        order = np.where(there, lengths[:, None] - 1 - count, count)
        if bug == "reverse begins in the padding":
            order = np.broadcast_to(count[::-1], there.shape)
            there = np.broadcast_to(lengths[:, None] > 0, there.shape)
    if bug == "lengths ignored":
        there = np.ones_like(there)
        order = np.broadcast_to(count[::-1] if reverse else count, there.shape)
    return order, there


def network(layers=2, both=True, bug=""):
    """Return the function by name, with lengths; right, or with one bug."""
    places = [[""] + (["_reverse"] if both else []) for _ in range(layers)]

    def lstm(p, X, states, lengths):
        s, dtype = X.shape[1], X.dtype
        x, run, outputs = X, [], {}
        for k, directions in enumerate(places):
            outs = []
            for end in directions:
                suffix = f"_l{k}{end}"
                begin = f"_l0{end}" if bug == "one initial state for all layers" else suffix
                if bug == "both directions begin with the same states":
                    begin = f"_l{k}"
                if bug == "states by direction first":
                    n = 2 * k + bool(end)
                    begin = f"_l{n % layers}{'_reverse' if n // layers else ''}"
                one = Direction(p, suffix, dtype, bug == "final cotangents at the padded end")
                order, there = orders(lengths, s, bool(end), bug)
                if bug == "reverse runs over the elements" and end:
                    order, there = orders(np.minimum(lengths, x.shape[2]), s, True)
                out, hn, Cn = one.forward(x, states["h0" + begin], states["C0" + begin], order, there)
                if bug == "reverse not turned back" and end:
                    out = np.take_along_axis(out, order[..., None], 1)
                if bug == "reverse begins in the padding" and end:
                    out = np.where((np.arange(s) < lengths[:, None])[..., None], out, 0)
                if bug == "layer 2 fed with C" and k == 0:
                    C = np.stack([f * C + i * g for _, C, i, f, g, _, _ in one.kept], 1)
                    back = np.zeros_like(out)
                    back[np.arange(len(X))[:, None], order] = C
                    outs.append(np.where((np.arange(s) < lengths[:, None])[..., None], back, 0))
                else:
                    outs.append(out)
                if bug == "last state at the padded end" and not end:
                    hn = out[:, -1]
                if bug == "final state of the last step" and end:
                    hn = np.where(lengths[:, None] > 0, out[np.arange(len(X)), np.maximum(lengths - 1, 0)], hn)
                outputs["hn" + suffix], outputs["Cn" + suffix] = hn, Cn
                run.append((k, suffix, begin, one))
            if bug == "directions joined in the other order":
                outs = outs[::-1]
            if bug == "layer 2 fed with one direction" and k == 0:
                outs = [outs[0]] * len(outs)
            x = np.concatenate(outs, axis=2)
        outputs["h"] = x
        if bug == "final states not unsorted":
            order = np.argsort(-lengths, kind="stable")
            outputs |= {name: value[order] for name, value in outputs.items() if name != "h"}
        if bug in ("output not unsorted", "output sorted again"):
            order = np.argsort(-lengths, kind="stable")
            outputs["h"] = x[order] if bug == "output not unsorted" else x[order][order]

        def pullback(cotangents):
            found, dx = {}, cotangents["dh"]
            for k in reversed(range(layers)):
                mine = [one for one in run if one[0] == k]
                pieces = np.split(dx, len(mine), axis=2)
                total = None
                for (_, suffix, begin, one), dout in zip(mine, pieces, strict=True):
                    if bug == "reverse begins in the padding":
                        dout = np.where((np.arange(s) < lengths[:, None])[..., None], dout, 0)
                    back, dh, dC, own = one.backward(dout, cotangents["dhn" + suffix], cotangents["dCn" + suffix])
                    found |= own
                    begin = suffix if bug == "one initial state for all layers" else begin
                    if bug == "both directions begin with the same states" and begin != suffix:
                        found |= {"dh0" + suffix: 0 * dh, "dC0" + suffix: 0 * dC}
                        dh, dC = dh + found["dh0" + begin], dC + found["dC0" + begin]
                    found |= {"dh0" + begin: dh, "dC0" + begin: dC}
                    alone = total is None or bug == "gradients of the directions not added"
                    total = back if alone else total + back
                if bug == "dx written over dy" and k and total.shape == dx.shape:
                    total = dx
                dx = total
            found["dX"] = dx
            return found

        return {name: value.copy() for name, value in outputs.items()}, pullback

    return lstm
