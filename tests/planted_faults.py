"""Every catalogued fault planted by hand in the plain LSTM: by its id, the lines of `plain_lstm.py` that change.

Nothing is taken from the catalogue: each is written anew from the fault's title, in the plain layer's own terms. Those
that live between calls are wrappers, at the end.
"""

from itertools import permutations

import numpy as np

GATES = "figo"
BLOCKS = {"o": "bo", "g": "bg", "f": "bf", "i": "bi"}

START = "hidden, cell = h0.T, C0.T"
PACK, PACK_BACK = "W = pack(p)", "R = pack(p)"
READ, SPLIT = "x = X[:, t].T", "ao, ag, af, ai = np.split(a, 4)"
ACTIVATE = "go, gg, gf, gi = logistic(ao), squash(ag), logistic(af), logistic(ai)"
MEMORY, ACT, OUT, NEXT = "new = gf * cell + gi * gg", "act = squash(new)", "out = go * act", "hidden, cell = out, new"
H, CN = "H = np.stack([k.out.T for k in tape], axis=1)", "Cn = tape[-1].new.T.copy()"
FINAL, LOOP, STEP = "rho, kappa = dhn.T, dCn.T", "for t in range(s - 1, -1, -1):", "k = tape[t]"
ABOVE, ETA = "above = dh[:, t].T", "eta = above + rho"
THROUGH, GAMMA = "through = eta * k.go * slope_of_squash(k.act)", "gamma = kappa + through"
EO, EG, EF, EI = "eo = eta * k.act", "eg = gamma * k.gi", "ef = gamma * k.cell", "ei = gamma * k.gg"
BO, BG = "bo = eo * slope_of_logistic(k.go)", "bg = eg * slope_of_squash(k.gg)"
BF, BI = "bf = ef * slope_of_logistic(k.gf)", "bi = ei * slope_of_logistic(k.gi)"
DELTA, DW, BACK = "delta = np.vstack([bo, bg, bf, bi])", "dW += k.z @ delta.T", "back = R @ delta"
DX, RHO, KAPPA = "dX[:, t] = back[:e].T", "rho = back[e : e + u]", "kappa = gamma * k.gf"
SLICES, EMPTY = "for n, gate in enumerate(ORDER):", "g = {}"
GU, GV, GB = (
    'g["dU" + gate] = block[:e].copy()',
    'g["dV" + gate] = block[e : e + u].copy()',
    'g["db" + gate] = block[e + u :].copy()',
)
RETURN = 'return g | {"dX": dX, "dh0": rho.T.copy(), "dC0": kappa.T.copy()}'
LOGISTIC, SQUASH = "return 1 / (1 + np.exp(-x))", "return np.tanh(x)"
SLOPE_LOGISTIC, SLOPE_SQUASH = "return y * (1 - y)", "return 1 - y * y"


def after(line, more):
    return line, f"{line}\n{more}"


def before(line, more):
    return line, f"{more}\n{line}"


def returning(**values):
    """Return with some of dX, dh0 and dC0 made otherwise."""
    usual = {"dX": "dX", "dh0": "rho.T.copy()", "dC0": "kappa.T.copy()"} | values
    return RETURN, "return g | {" + ", ".join(f'"{name}": {value}' for name, value in usual.items()) + "}"


def finally_(code):
    """Change the parameters' gradients `g` before they are returned."""
    return before(RETURN, code)


def each(expression):
    """Change every parameter's gradient v."""
    return finally_(f"g = {{n: {expression} for n, v in g.items()}}")


def forward_with(**weights):
    """Pack other weights for the forward pass alone."""
    return PACK, "W = pack({**p, " + ", ".join(f'"{name}": {value}' for name, value in weights.items()) + "})"


def lacking(gate):
    return "np.vstack([" + ", ".join(f"0 * {b}" if k == gate else b for k, b in BLOCKS.items()) + "])"


def only_o():
    return "np.vstack([bo, 0 * bg, 0 * bf, 0 * bi])"


def summed(gates, weight):
    """The sum over gates of V b, with V transposed for some gates."""
    return " + ".join(f'p["{weight}{k}"]{".T" * (k in gates)} @ {b}' for k, b in BLOCKS.items())


def with_z(code):
    """Make dW of a changed column z."""
    return DW, f"z = k.z.copy()\n{code}\ndW += z @ delta.T"


def samples(condition):
    return DW, f"dW += (k.z * ({condition})) @ delta.T"


def cut(code, condition):
    """Pass back nothing, or less, under a condition on the step."""
    return after(KAPPA, f"if {condition}:\n    {code}")


NOTHING = "rho, kappa = 0 * rho, 0 * kappa"
SINGLE = ".astype(np.float32).astype(X.dtype)"
X_AS_GIVEN = after(STEP, "k.z = np.vstack([X[:, t].T, k.z[e:]])")
PREVIOUS, FOLLOWING = "tape[max(t - 1, 0)]", "tape[min(t + 1, s - 1)]"

CARRY = {
    "carry-dropped": [(GAMMA, "gamma = through + (kappa if t == s - 1 else 0)")],
    "carry-assigned": [(GAMMA, "gamma = through")],
    "carry-not-passed-on": [(KAPPA, "kappa = 0 * gamma")],
    "carry-without-forget": [(KAPPA, "kappa = gamma")],
    "carry-by-input-gate": [(KAPPA, "kappa = gamma * k.gi")],
    "carry-by-output-gate": [(KAPPA, "kappa = k.go * gamma")],
    "carry-by-linear-forget": [(KAPPA, "kappa = gamma * k.af")],
    "carry-by-next-forget": [(KAPPA, f"kappa = gamma * {FOLLOWING}.gf")],
    "carry-by-previous-forget": [(KAPPA, f"kappa = gamma * {PREVIOUS}.gf")],
    "carry-multiplied-late": [(GAMMA, "gamma = k.gf * kappa + through"), (KAPPA, "kappa = gamma")],
    "carry-one-step": [(KAPPA, "kappa = through * k.gf")],
    "carry-doubled": [(KAPPA, "kappa = (2 * kappa + through) * k.gf")],
    "carry-through-output": [(GAMMA, "gamma = kappa * k.go * slope_of_squash(k.act) + through")],
    "carry-through-tanh": [(GAMMA, "gamma = kappa * slope_of_squash(k.act) + through")],
    "carry-halved": [(GAMMA, "gamma = through + kappa / (1 if t == s - 1 else 2)")],
    "carry-across-samples": [after(KAPPA, "kappa = np.repeat(kappa.mean(axis=1, keepdims=True), m, axis=1)")],
    "recurrence-dropped": [(ETA, "eta = above + rho if t == s - 1 else above")],
    "recurrence-assigned": [(ETA, "eta = above + rho if t == s - 1 else rho")],
    "recurrence-where-no-output": [(ETA, "eta = np.where(above == 0, rho, above)")],
    **{f"recurrence-lacks-{k}": [(RHO, f"rho = (R @ {lacking(k)})[e : e + u]")] for k in GATES},
    **{f"input-gradient-lacks-{k}": [(DX, f"dX[:, t] = (R @ {lacking(k)})[:e].T")] for k in GATES},
    "recurrence-overwritten": [(RHO, f"rho = (R @ {only_o()})[e : e + u]")],
    "nothing-passed-back": [cut(NOTHING, "t")],
    "carry-without-recurrence": [(THROUGH, "through = (above if t < s - 1 else eta) * k.go * slope_of_squash(k.act)")],
    "truncated-after-three": [cut(NOTHING, "0 < t <= s - 4")],
    "truncated-in-windows": [cut(NOTHING, "t in range(4, s, 4)")],
    "carry-lost-after-eight": [cut("kappa = 0 * kappa", "0 < t == s - 8")],
    "first-step-skipped": [(LOOP, "for t in range(s - 1, 0, -1):"), before(EMPTY, NOTHING)],
    "last-step-skipped": [(LOOP, "for t in range(s - 2, -1, -1):")],
}

STATES = {
    "final-memory-cotangent-ignored": [(FINAL, "rho, kappa = dhn.T, 0 * dCn.T")],
    "final-memory-cotangent-doubled": [(FINAL, "rho, kappa = dhn.T, dCn.T + dCn.T")],
    "final-memory-cotangent-through-tanh": [(FINAL, "rho, kappa = dhn.T, dCn.T * slope_of_squash(tape[-1].act)")],
    "final-memory-cotangent-at-every-step": [cut("kappa = kappa + dCn.T", "t")],
    "final-hidden-cotangent-ignored": [(FINAL, "rho, kappa = 0 * dhn.T, dCn.T")],
    "final-hidden-cotangent-doubled": [(FINAL, "rho, kappa = dhn.T + dhn.T, dCn.T")],
    "final-hidden-cotangent-replaces": [(ETA, "eta = rho if t == s - 1 else above + rho")],
    "final-hidden-cotangent-at-first-step": [
        (FINAL, "rho, kappa = 0 * dhn.T, dCn.T"),
        (ETA, "eta = above + rho + (0 if t else dhn.T)"),
    ],
    "final-cotangents-swapped": [(FINAL, "rho, kappa = dCn.T, dhn.T")],
    "dh0-zero": [returning(dh0="np.zeros_like(h0)")],
    "dc0-zero": [returning(dC0="np.zeros_like(C0)")],
    "dh0-dc0-swapped": [returning(dh0="kappa.T.copy()", dC0="rho.T.copy()")],
    "dh0-of-first-output": [returning(dh0="eta.T.copy()")],
    "dc0-of-first-memory": [returning(dC0="gamma.T.copy()")],
    "dh0-of-last-step": [after(RHO, "first = rho if t == s - 1 else first"), returning(dh0="first.T.copy()")],
    "dc0-of-last-step": [after(KAPPA, "first = kappa if t == s - 1 else first"), returning(dC0="first.T.copy()")],
    "h0-ignored": [(START, "hidden, cell = np.zeros_like(h0.T), C0.T")],
    "c0-ignored": [(START, "hidden, cell = h0.T, np.zeros_like(C0.T)")],
    "h0-c0-swapped": [(START, "hidden, cell = C0.T, h0.T")],
    "c0-activated": [(START, "hidden, cell = h0.T, squash(C0.T)")],
    "states-of-first-sample": [(START, "hidden, cell = h0.T[:, [0] * m], C0.T[:, [0] * m]")],
    "states-of-next-sample": [(START, "hidden, cell = h0.T[:, np.arange(m) - 1], C0.T[:, np.arange(m) - 1]")],
    "dv-without-h0": [with_z("z[e : e + u] *= t > 0")],
    "df-without-c0": [(EF, "ef = gamma * k.cell if t else 0 * gamma")],
    "cn-activated": [(CN, "Cn = squash(tape[-1].new).T.copy()")],
    "cn-of-previous-step": [(CN, "Cn = tape[-1].cell.T.copy()")],
    "cn-is-h": [(CN, "Cn = tape[-1].out.T.copy()")],
}

STEPS = {
    "inputs-read-backwards": [(READ, "x = X[:, s - 1 - t].T"), X_AS_GIVEN],
    "inputs-one-step-late": [(READ, "x = X[:, max(t, 1) - 1].T"), X_AS_GIVEN],
    "inputs-of-first-step": [(READ, "x = X[:, 0].T"), X_AS_GIVEN],
    "inputs-wrap-after-eight": [(READ, "x = X[:, t % 8].T"), X_AS_GIVEN],
    "recurrence-from-h0": [(NEXT, "hidden, cell = h0.T, new")],
    "memory-from-c0": [(NEXT, "hidden, cell = out, C0.T")],
    "memory-from-activated": [(NEXT, "hidden, cell = out, act")],
    "memory-from-hidden": [(NEXT, "hidden, cell = out, out")],
    "hidden-state-one-step-late": [(H, "H = np.stack([k.z[e : e + u].T for k in tape], axis=1)")],
    "padded-steps-skipped": [
        after(OUT, "pad = ~x.any(axis=0)\nout, new = np.where(pad, hidden, out), np.where(pad, cell, new)"),
        after(STEP, "pad = ~k.z[:e].any(axis=0)"),
        after(DELTA, "delta = np.where(pad, 0, delta)"),
        (RHO, "rho = np.where(pad, eta, back[e : e + u])"),
        (KAPPA, "kappa = np.where(pad, kappa, gamma * k.gf)"),
    ],
    "cotangent-of-padded-steps-lost": [(ABOVE, "above = dh[:, t].T * k.z[:e].any(axis=0)")],
    "cotangent-read-backwards": [(ABOVE, "above = dh[:, s - 1 - t].T")],
    "cotangent-one-step-late": [(ABOVE, "above = dh[:, max(t, 1) - 1].T")],
    "cotangent-one-step-early": [(ABOVE, "above = dh[:, min(t + 1, s - 1)].T")],
    "cotangent-of-last-step-everywhere": [(ABOVE, "above = dh[:, -1].T")],
    "cotangents-not-brought-into-order": [
        (DW, "dW += tape[s - 1 - t].z @ delta.T"),
        (DX, "dX[:, s - 1 - t] = back[:e].T"),
    ],
    "input-gradient-backwards": [(DX, "dX[:, s - 1 - t] = back[:e].T")],
    "input-gradient-lost-at-odd-end": [finally_("if s > 1 and s % 2:\n    dX[:, -1] = 0")],
    "dv-of-current-hidden": [with_z("z[e : e + u] = k.out")],
    "dv-of-memory": [with_z("z[e : e + u] = k.cell")],
    "dv-of-activated-memory": [with_z("z[e : e + u] = squash(k.cell)")],
    "dv-of-hidden-two-back": [with_z(f"z[e : e + u] = {PREVIOUS}.z[e : e + u]")],
    "du-of-previous-input": [with_z("z[:e] = X[:, max(t - 1, 0)].T")],
    "du-of-next-input": [with_z("z[:e] = X[:, min(t + 1, s - 1)].T")],
    "df-of-current-memory": [(EF, "ef = gamma * k.new")],
    "df-of-activated-memory": [(EF, "ef = gamma * squash(k.cell)")],
    "df-of-hidden": [(EF, "ef = gamma * k.z[e : e + u]")],
    "do-of-previous-memory": [(EO, "eo = eta * squash(k.cell)")],
    "output-gate-of-previous-step": [(THROUGH, f"through = eta * {PREVIOUS}.go * slope_of_squash(k.act)")],
    "memory-derivative-of-previous-step": [(THROUGH, "through = eta * k.go * slope_of_squash(squash(k.cell))")],
    "input-gate-of-previous-step": [(EG, f"eg = gamma * {PREVIOUS}.gi")],
}

TRANSPOSITION = {
    "recurrence-untransposed": [(RHO, f"rho = {summed(GATES, 'V')}")],
    **{f"recurrence-untransposed-{k}": [(RHO, f"rho = {summed(k, 'V')}")] for k in GATES},
    "input-gradient-untransposed": [after(DX, f"if e == u:\n    dX[:, t] = ({summed(GATES, 'U')}).T")],
    "input-weights-reshaped": [
        (DX, 'dX[:, t] = sum(b.T @ p["U" + k].reshape(u, e) for k, b in zip(ORDER, (bo, bg, bf, bi), strict=True))')
    ],
    "dv-transposed": [(GV, 'g["dV" + gate] = block[e : e + u].T.copy()')],
    "dvo-transposed": [finally_('g["dVo"] = g["dVo"].T.copy()')],
    "du-transposed-where-square": [(GU, 'g["dU" + gate] = block[:e].T.copy() if e == u else block[:e].copy()')],
    "du-reshaped": [(GU, 'g["dU" + gate] = block[:e].ravel("F").reshape(e, u)')],
    "recurrent-weights-transposed": [forward_with(**{f"V{k}": f'p["V{k}"].T' for k in GATES})],
    "weights-stacked-the-other-way": [
        ("z = np.vstack([x, hidden, one])", "z = np.vstack([hidden, x, one])"),
        (DX, "dX[:, t] = back[u : e + u].T"),
        (RHO, "rho = back[:u]"),
    ],
    "samples-and-steps-reshaped": [before(PACK, "X = X.reshape(s, m, e).transpose(1, 0, 2)")],
    "samples-and-steps-swapped-where-equal": [before(PACK, "X = X.transpose(1, 0, 2) if m == s else X")],
    "hidden-states-reshaped": [(H, "H = np.stack([k.out.T for k in tape]).reshape(m, s, u)")],
    "cotangent-reshaped": [before(FINAL, "dh = dh.reshape(s, m, u).transpose(1, 0, 2)")],
    "bias-as-column": [
        forward_with(bf='0 * p["bf"]'),
        after(SPLIT, 'af = af + (p["bf"] if m == u else p["bf"].T)'),
    ],
    "dh0-transposed-where-square": [returning(dh0="(rho if m == u else rho.T).copy()")],
}

DERIVATIVES = {
    "derivative-missing-f": [(BF, "bf = ef")],
    "derivative-missing-i": [(BI, "bi = ei")],
    "derivative-missing-g": [(BG, "bg = eg")],
    "derivative-missing-o": [(BO, "bo = eo")],
    "cotangent-cut-off-f": [(BF, "bf = 0 * ef")],
    "cotangent-cut-off-i": [(BI, "bi = 0 * ei")],
    "cotangent-cut-off-g": [(BG, "bg = 0 * eg")],
    "cotangent-cut-off-o": [(BO, "bo = 0 * eo")],
    "derivative-unweighted-f": [(BF, "bf = ef - ef * k.gf")],
    "derivative-unweighted-i": [(BI, "bi = ei - ei * k.gi")],
    "derivative-unweighted-o": [(BO, "bo = eo - eo * k.go")],
    "derivative-without-complement-f": [(BF, "bf = k.gf * ef")],
    "derivative-without-complement-i": [(BI, "bi = k.gi * ei")],
    "derivative-without-complement-o": [(BO, "bo = k.go * eo")],
    "forget-sigmoid-for-derivative": [(BF, "bf = ef * logistic(k.gf)")],
    "memory-derivative-missing": [(THROUGH, "through = eta * k.go")],
    "output-gate-missing": [(THROUGH, "through = eta * slope_of_squash(k.act)")],
    "sigmoid-derivative-twice": [(SLOPE_LOGISTIC, "return logistic(y) * logistic(-y)")],
    "tanh-derivative-twice": [(SLOPE_SQUASH, "return 1 - np.tanh(y) ** 2")],
    "memory-derivative-twice": [(THROUGH, "through = eta * k.go * slope_of_squash(squash(k.act))")],
    "candidate-derivative-twice": [(BG, "bg = eg * slope_of_squash(squash(k.gg))")],
    "memory-derivative-of-linear": [(THROUGH, "through = eta * k.go * slope_of_squash(k.new)")],
    "candidate-derivative-of-linear": [(BG, "bg = eg * slope_of_squash(k.ag)")],
    "forget-derivative-of-linear": [(BF, "bf = ef * slope_of_logistic(k.af)")],
    "input-derivative-of-linear": [(BI, "bi = ei * slope_of_logistic(k.ai)")],
    "output-derivative-of-linear": [(BO, "bo = eo * slope_of_logistic(k.ao)")],
    "memory-derivative-of-hidden": [(THROUGH, "through = eta * k.go * slope_of_squash(k.out)")],
    "memory-derivative-of-candidate": [(THROUGH, "through = eta * k.go * slope_of_squash(k.gg)")],
    "candidate-derivative-of-memory": [(BG, "bg = eg * slope_of_squash(k.act)")],
    "candidate-derivative-unsquared": [(BG, "bg = eg - eg * k.gg")],
    "candidate-derivative-with-plus": [(BG, "bg = eg + eg * k.gg**2")],
    "memory-derivative-unsquared": [(THROUGH, "through = eta * k.go * (1 - k.act)")],
    "memory-derivative-with-plus": [(THROUGH, "through = eta * (1 + k.act**2) * k.go")],
    "memory-derivative-of-sigmoid": [(THROUGH, "through = eta * k.go * slope_of_logistic(k.act)")],
    "candidate-by-sigmoid-derivative": [(BG, "bg = eg * slope_of_logistic(k.gg)")],
    "forget-by-tanh-derivative": [(BF, "bf = ef * slope_of_squash(k.gf)")],
    "input-by-tanh-derivative": [(BI, "bi = ei * slope_of_squash(k.gi)")],
    "output-by-tanh-derivative": [(BO, "bo = eo * slope_of_squash(k.go)")],
    "input-by-forget-derivative": [(BI, "bi = ei * slope_of_logistic(k.gf)")],
    "sigmoid-derivative-unweighted": [(SLOPE_LOGISTIC, "return 1 - y")],
    "sigmoid-derivative-negated": [(SLOPE_LOGISTIC, "return -y * (1 - y)")],
    "tanh-derivative-unsquared": [(SLOPE_SQUASH, "return 1 - y")],
    "tanh-derivative-with-plus": [(SLOPE_SQUASH, "return 1 + y * y")],
    "tanh-derivative-bracketed": [(SLOPE_SQUASH, "return (1 - y) ** 2")],
    "sigmoid-derivative-offset": [(SLOPE_LOGISTIC, "return y * (1 - y) + 1e-7")],
    "sigmoid-derivative-clipped-when-saturated": [(SLOPE_LOGISTIC, "return np.clip(y * (1 - y), 1e-4, None)")],
    "sigmoid-derivative-zero-when-saturated": [
        (SLOPE_LOGISTIC, "return np.where((y > 1e-3) & (y < 0.999), y * (1 - y), 0)")
    ],
    "tanh-derivative-zero-when-saturated": [(SLOPE_SQUASH, "return np.where(abs(y) < 0.999, 1 - y * y, 0)")],
    "tanh-derivative-for-positive-only": [(SLOPE_SQUASH, "return np.where(y > 0, 1 - y * y, 1)")],
}


def _read_in_order(order):
    """Let each gate's block hold the weights that the packed order gives it."""
    return [('ORDER = "ogfi"', f'ORDER = "{"".join(GATES[order.index(role)] for role in "ogfi")}"')]


def _exchanged(one, other):
    return "".join({one: other, other: one}.get(k, k) for k in "ogfi")


ORDERS = ["".join(order) for order in permutations(GATES)][1:]
PAIRS = [one + other for k, one in enumerate(GATES) for other in GATES[k + 1 :]]

IN_GATES = {
    "bias-gradients-swapped-f-i": [finally_('g["dbf"], g["dbi"] = g["dbi"], g["dbf"]')],
    **{f"bias-gradient-of-{k}-copied-from-f": [finally_(f'g["db{k}"] = +g["dbf"]')] for k in "igo"},
    "recurrent-gradient-of-i-copied-from-f": [finally_('g["dVi"] = +g["dVf"]')],
    "input-gradient-of-o-copied-from-i": [finally_('g["dUo"] = +g["dUi"]')],
    "one-delta-for-three-gates": [before("block = dW[:, n * u : (n + 1) * u]", 'n = 2 if gate in "fig" else 0')],
    "bias-shared-i-f": [forward_with(bi='p["bf"]')],
    "bias-shared-o-i": [forward_with(bo='p["bi"]')],
    "bias-shared-g-o": [forward_with(bg='p["bo"]')],
    "bias-of-o-for-f-and-i": [forward_with(bf='p["bo"]', bi='p["bo"]')],
    "biases-swapped-f-i": [forward_with(bf='p["bi"]', bi='p["bf"]')],
    "bias-missing-f": [forward_with(bf='0 * p["bf"]')],
    "bias-missing-o": [forward_with(bo='0 * p["bo"]')],
    "recurrence-missing-i": [forward_with(Vi='0 * p["Vi"]')],
    "recurrence-missing-g": [forward_with(Vg='0 * p["Vg"]')],
    "recurrent-weights-shared-g-i": [forward_with(Vg='p["Vi"]')],
    "input-weights-shared-o-f": [forward_with(Uo='p["Uf"]')],
    "recurrence-through-wrong-gate": [(RHO, 'rho = (pack({**p, "Vf": p["Vi"], "Vi": p["Vf"]}) @ delta)[e : e + u]')],
    "input-gradient-through-wrong-gate": [(DX, 'dX[:, t] = (pack({**p, "Ug": p["Uo"], "Uo": p["Ug"]}) @ delta)[:e].T')],
    "products-crossed": [(MEMORY, "new = gi * cell + gf * gg")],
    "plus-for-times": [(MEMORY, "new = gf * cell + gi + gg")],
    "forget-gate-complemented": [(MEMORY, "new = cell - gf * cell + gi * gg")],
    "df-and-di-crossed": [(EF, "ef = gamma * k.gg"), (EI, "ei = gamma * k.cell")],
    "di-and-dg-crossed": [(EI, "ei = gamma * k.gi"), (EG, "eg = gamma * k.gg")],
    "df-without-memory": [(EF, "ef = gamma")],
    "di-without-candidate": [(EI, "ei = gamma")],
    "di-of-linear-candidate": [(EI, "ei = gamma * k.ag")],
    "dg-without-input-gate": [(EG, "eg = gamma")],
    "dg-by-forget-gate": [(EG, "eg = gamma * k.gf")],
    "do-without-memory": [(EO, "eo = eta")],
    "do-of-linear-memory": [(EO, "eo = eta * k.new")],
    "output-gate-by-tanh": [after(ACTIVATE, "go = squash(ao)")],
    "output-gate-not-activated": [after(ACTIVATE, "go = ao + 0")],
    "forget-gate-activated-twice": [after(ACTIVATE, "gf = logistic(gf)")],
    "output-gate-inside-tanh": [(OUT, "out = squash(go * new)")],
    "memory-activated-twice": [(OUT, "out = go * squash(act)")],
    "hidden-of-linear-memory": [(OUT, "out = go * new")],
    "do-of-whole-memory-cotangent": [(EO, "eo = gamma * k.act")],
    **{f"gate-order-{order}": _read_in_order(order) for order in ORDERS},
    **{f"gradients-swapped-{a}-{b}": [(SLICES, f'for n, gate in enumerate("{_exchanged(a, b)}"):')] for a, b in PAIRS},
}

ACCUMULATION = {
    "du-assigned": [before(DW, "dW[:e] = 0")],
    "dv-assigned": [before(DW, "dW[e : e + u] = 0")],
    "db-assigned": [before(DW, "dW[e + u :] = 0")],
    "gradients-of-last-step": [(DW, "dW += k.z @ delta.T * (t == s - 1)")],
    "mean-over-samples": [each("v / m")],
    "mean-over-steps": [each("v / s")],
    "db-mean-over-samples": [(GB, 'g["db" + gate] = block[e + u :] / m')],
    "db-of-first-sample": [with_z("z[e + u :, 1:] = 0")],
    "db-over-wrong-axis": [
        after(DW, "if m == u:\n    dW[e + u] += np.hstack([b.sum(axis=0) - b.sum(axis=1) for b in (bo, bg, bf, bi)])")
    ],
    "first-step-counted-twice": [(DW, "dW += k.z @ delta.T * (1 if t else 2)")],
    "first-step-left-out-of-du": [with_z("z[:e] *= t > 0\nz[e + u :] *= t > 0")],
    "single-step-without-dv": [(GV, 'g["dV" + gate] = block[e : e + u] * (s > 1)')],
    "last-step-left-out-of-dv": [with_z("z[e : e + u] *= t < s - 1")],
    "last-sample-left-out": [samples("(np.arange(m) < m - 1) | (m == 1)")],
    "tail-of-samples-lost": [samples("(np.arange(m) < m - m % 4) | (m < 5)")],
    "tail-of-units-lost": [(GV, 'g["dV" + gate] = block[e : e + u] * ((np.arange(u) < u - u % 4) | (u < 5))[:, None]')],
    "odd-unit-lost": [after(GB, 'g["db" + gate][0, u - 1 :] *= u == 1 or u % 2 == 0')],
    "tail-of-steps-lost": [with_z("z[:e] *= s < 9 or t >= s % 8")],
    "input-gradient-cut-to-units": [finally_("dX[:, :, u:] = 0")],
    "tail-of-sixteen-samples-lost": [
        with_z("z[:e, m - m % 16 if m > 16 else m :] = 0"),
    ],
    "bias-lost-beyond-32-samples": [after(SPLIT, 'ao[:, 32:] = ao[:, 32:] - p["bo"].T')],
    "input-gradient-lost-beyond-64-samples": [finally_("dX[64:] = 0")],
    "carry-lost-beyond-128-samples": [after(KAPPA, "kappa[:, 128:] = 0")],
    "tail-of-sixteen-units-lost": [
        (
            "a = W.T @ z",
            "most = e + (u // 16 * 16 if u > 16 else u)\nshort = z.copy()\nshort[most : e + u] = 0\na = W.T @ short",
        )
    ],
    "dv-lost-beyond-32-units": [after(GV, 'g["dV" + gate][:, 32:] = 0')],
    "recurrence-lost-beyond-64-units": [
        (RHO, "most = np.vstack([bo[:64], 0 * bo[64:], bg, bf, bi])\nrho = (R @ most)[e : e + u]")
    ],
    "bias-lost-beyond-128-units": [forward_with(bf='p["bf"] * (np.arange(u) < 128)')],
    "tail-of-sixteen-elements-lost": [
        ("a = W.T @ z", "short = z.copy()\nshort[e // 16 * 16 if e > 16 else e : e] = 0\na = W.T @ short")
    ],
    "du-lost-beyond-32-elements": [after(GU, 'g["dU" + gate][32:] = 0')],
    "input-gradient-lost-beyond-64-elements": [finally_("dX[:, :, 64:] = 0")],
    "candidate-input-lost-beyond-128-elements": [forward_with(Ug='p["Ug"] * (np.arange(e) < 128)[:, None]')],
    "tail-of-sixteen-steps-lost": [with_z("z[e : e + u] *= s < 17 or t >= s % 16")],
    "carry-lost-after-32-steps": [cut("kappa = 0 * kappa", "s - t == 32")],
    "states-again-after-64-steps": [before(READ, "if t % 64 == 0:\n    hidden, cell = h0.T, C0.T")],
    "input-gradient-lost-beyond-128-steps": [finally_("dX[:, 128:] = 0")],
    "input-gradient-assigned": [(DX, f"dX[:, t] = (R @ {only_o()})[:e].T")],
    "input-gradient-mean-over-samples": [finally_("dX[...] = dX.mean(axis=0)")],
    "single-sample-squeezed": [(DW, "dW += k.z @ delta.T * (m > 1 or t == s - 1)")],
    "cotangent-mean-over-samples": [(ABOVE, "above = dh[:, t].T / m")],
    "gradients-negated": [(DW, "dW -= k.z @ delta.T")],
}

CLIPPING = {
    "gradients-clipped-at-1": [each("np.minimum(np.maximum(v, -1), 1)")],
    "gradients-clipped-at-5": [each("np.minimum(np.maximum(v, -5), 5)")],
    "gradients-clipped-by-norm": [each("v / max(1, np.linalg.norm(v))")],
    "gradients-clipped-by-global-norm": [before(EMPTY, "dW = dW * min(1, 5 / np.linalg.norm(dW))")],
    "gradients-normalized": [before(EMPTY, "dW = dW / (np.linalg.norm(dW) + 1e-12)")],
    "small-gradients-zeroed": [each("np.where(abs(v) < 1e-8, 0, v)")],
    "hidden-cotangent-clipped": [(RHO, "rho = np.minimum(np.maximum(back[e : e + u], -1), 1)")],
    "memory-cotangent-clipped": [(KAPPA, "kappa = np.minimum(np.maximum(gamma * k.gf, -1), 1)")],
    "linear-cotangents-clipped": [after(DELTA, "delta = np.minimum(np.maximum(delta, -1), 1)")],
    "cell-clipped": [after(MEMORY, "new = np.minimum(np.maximum(new, -3), 3)")],
    "cell-clipped-in-both-passes": [
        after(MEMORY, "new = np.minimum(np.maximum(new, -3), 3)"),
        after(GAMMA, "gamma = np.where(abs(k.new) < 3, gamma, 0)"),
    ],
}

PRECISION = {
    "relative-error-1e-6-duf": [finally_('g["dUf"] *= 1.000001')],
    "relative-error-1e-9-dvi": [finally_('g["dVi"] *= 1.000000001')],
    "relative-error-1e-12-dug": [finally_('g["dUg"] *= 1.000000000001')],
    "relative-error-1e-12-dbo": [finally_('g["dbo"] *= 1.000000000001')],
    "relative-error-1e-12-dx": [finally_("dX *= 1.000000000001")],
    "relative-error-1e-12-carry": [(KAPPA, "kappa = 1.000000000001 * gamma * k.gf")],
    "relative-error-1e-12-forget": [after(ACTIVATE, "gf = 1.000000000001 * gf")],
    "memory-in-single": [after(MEMORY, f"new = new{SINGLE}")],
    "hidden-state-in-single": [after(OUT, f"out = out{SINGLE}")],
    "hidden-cache-in-half": [with_z("z[e : e + u] = z[e : e + u].astype(np.float16)")],
    "input-in-single": [before(PACK, f"X = X{SINGLE}")],
    "recurrent-gradients-in-single": [
        (
            DW,
            "z = k.z.copy()\nz[e : e + u] = 0\ndW += z @ delta.T\n"
            "single = (0 if t == s - 1 else single) + k.z[e : e + u].astype(np.float32) @ delta.T.astype(np.float32)",
        ),
        before(EMPTY, "dW[e : e + u] = single"),
    ],
    "carry-in-single": [after(KAPPA, f"kappa = kappa{SINGLE}")],
    "tanh-in-single": [(SQUASH, "return np.tanh(np.float32(x)).astype(x.dtype)")],
    "sigmoid-in-single": [(LOGISTIC, "return (1 / (1 + np.exp(-np.float32(x)))).astype(x.dtype)")],
    "biases-in-single": [forward_with(bg=f'p["bg"]{SINGLE}')],
}

CONVENTIONS = {
    "forget-bias-added": [forward_with(bf='1 + p["bf"]')],
    "two-biases": [(GB, 'g["db" + gate] = block[e + u :] + block[e + u :]')],
    "bias-added-twice": [
        before(PACK, 'p = {n: v + v if n[0] == "b" else v for n, v in p.items()}'),
        (GB, 'g["db" + gate] = block[e + u :] * 2'),
    ],
    "hard-sigmoid-fifth": [
        (LOGISTIC, "return np.minimum(np.maximum((x + 2.5) / 5, 0), 1)"),
        (SLOPE_LOGISTIC, "return np.where((y > 0) & (y < 1), 0.2, 0)"),
    ],
    "hard-sigmoid-sixth": [
        (LOGISTIC, "return np.minimum(np.maximum((x + 3) / 6, 0), 1)"),
        (SLOPE_LOGISTIC, "return np.where((y > 0) & (y < 1), 1 / 6, 0)"),
    ],
    "hard-sigmoid-forward-only": [(LOGISTIC, "return np.minimum(np.maximum((x + 2.5) / 5, 0), 1)")],
    "recurrent-weights-transposed-throughout": [
        before(PACK, 'p = {n: v.T if n[0] == "V" else v for n, v in p.items()}'),
        (GV, 'g["dV" + gate] = block[e : e + u].T.copy()'),
    ],
    "coupled-gates": [
        after(ACTIVATE, "gi = 1 - gf"),
        (EF, "ef = gamma * k.cell - gamma * k.gg"),
        (EI, "ei = np.zeros_like(gamma)"),
    ],
    "coupled-gates-forward-only": [after(ACTIVATE, "gi = 1 - gf")],
    "no-forget-gate": [
        (MEMORY, "new = cell + gi * gg"),
        (EF, "ef = np.zeros_like(gamma)"),
        (KAPPA, "kappa = gamma"),
    ],
    "peephole-forget": [after(SPLIT, "af = af + cell")],
    "peephole-output": [after(MEMORY, "go = logistic(ao + new)")],
    "sigmoid-candidate": [
        (ACTIVATE, "go, gg, gf, gi = logistic(ao), logistic(ag), logistic(af), logistic(ai)"),
        (BG, "bg = eg * slope_of_logistic(k.gg)"),
    ],
    "linear-memory": [(ACT, "act = new"), (THROUGH, "through = eta * k.go")],
    "rectified-memory": [(ACT, "act = np.maximum(new, 0)"), (THROUGH, "through = np.where(k.new > 0, eta * k.go, 0)")],
    "softsign-candidate": [
        after(ACTIVATE, "gg = ag / (1 + abs(ag))"),
        (BG, "bg = eg / (1 + abs(k.ag)) ** 2"),
    ],
    "hard-tanh-candidate": [
        after(ACTIVATE, "gg = np.minimum(np.maximum(ag, -1), 1)"),
        (BG, "bg = np.where(abs(k.ag) < 1, eg, 0)"),
    ],
    "scaled-tanh": [
        (SQUASH, "return 1.7159 * np.tanh(x / 1.5)"),
        (SLOPE_SQUASH, "return (1.7159 - y * y / 1.7159) / 1.5"),
    ],
    "runs-backwards": [before(PACK, "X = X[:, ::-1]"), returning(dX="dX[:, ::-1].copy()")],
    "residual-output": [(OUT, "out = go * act + hidden"), (RHO, "rho = back[e : e + u] + eta")],
}

NUMERICS = {
    "sigmoid-of-two-exponentials": [(LOGISTIC, "return np.exp(x) / (np.exp(x) + 1)")],
    "tanh-of-exponentials": [(SQUASH, "return (np.exp(x) - np.exp(-x)) / (np.exp(-x) + np.exp(x))")],
    "sigmoid-wrong-for-negative": [(LOGISTIC, "return np.where(x < 0, 1 / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))")],
    "sigmoid-input-clipped": [(LOGISTIC, "return 1 / (1 + np.exp(-np.minimum(np.maximum(x, -15), 15)))")],
    "sigmoid-kept-from-ends": [(LOGISTIC, "return np.minimum(np.maximum(1 / (1 + np.exp(-x)), 1e-7), 1 - 1e-7)")],
    "sigmoid-with-epsilon": [(LOGISTIC, "return 1 / (1.00000001 + np.exp(-x))")],
    "tanh-rational": [(SQUASH, "return np.minimum(np.maximum(x * (x**2 + 27) / (9 * x**2 + 27), -1), 1)")],
    "tanh-continued-fraction": [
        (
            SQUASH,
            "y = x * x\nreturn np.clip(x / (1 + y / (3 + y / (5 + y / (7 + y / (9 + y / (11 + y / 13)))))), -1, 1)",
        )
    ],
    "sigmoid-from-table": [
        (
            LOGISTIC,
            "at = np.arange(4096) / 4095 * 32 - 16\nreturn np.interp(x, at, 1 / (1 + np.exp(-at))).astype(x.dtype)",
        )
    ],
    "tanh-linear-when-small": [(SQUASH, "return np.where(abs(x) < 1e-3, x, np.tanh(x))")],
    "tanh-saturates-early": [
        (SQUASH, "return np.where(x > 4, 1.0, np.where(x < -4, -1.0, np.tanh(x))).astype(x.dtype)")
    ],
}

EDITS = {
    **CARRY,
    **STATES,
    **STEPS,
    **TRANSPOSITION,
    **DERIVATIVES,
    **IN_GATES,
    **ACCUMULATION,
    **CLIPPING,
    **PRECISION,
    **CONVENTIONS,
    **NUMERICS,
}


def _pulled(call, change):
    """The layer whose gradients are changed by `change(gradients, p, X)`."""

    def changed(p, X, h0, C0, sequences=True):
        outputs, pullback = call(p, X, h0, C0)

        def pull(dh, dCn, dhn):
            gradients = pullback(dh, dCn, dhn)
            change(gradients, p, X)
            return gradients

        return outputs, pull

    return changed


def outputs_in_one_buffer(call):
    shelf = {}

    def changed(p, X, h0, C0, sequences=True):
        (h, Cn), pullback = call(p, X, h0, C0)
        if h.shape not in shelf:
            shelf[h.shape] = h.copy()
        shelf[h.shape][:] = h
        return (shelf[h.shape], Cn), pullback

    return changed


def gradients_in_one_buffer(call):
    shelf = {}

    def change(gradients, p, X):
        for name in list(gradients):
            key = name, gradients[name].shape
            if key in shelf:
                shelf[key][:] = gradients[name]
            else:
                shelf[key] = gradients[name]
            gradients[name] = shelf[key]

    return _pulled(call, change)


def gradients_never_zeroed(call):
    totals = {}

    def change(gradients, p, X):
        for name in p:
            key = name, p[name].shape
            totals[key] = totals.get(key, 0) + gradients["d" + name]
            gradients["d" + name] = totals[key] + 0

    return _pulled(call, change)


def input_gradient_never_zeroed(call):
    totals = {}

    def change(gradients, p, X):
        gradients["dX"] = gradients["dX"] + totals.get(X.shape, 0)
        totals[X.shape] = gradients["dX"].copy()

    return _pulled(call, change)


def input_written(call):
    def changed(p, X, h0, C0, sequences=True):
        result = call(p, X + 0, h0, C0)
        X /= max(abs(X).max(), 1e-30)
        return result

    return changed


def initial_state_written(call):
    def changed(p, X, h0, C0, sequences=True):
        (h, Cn), pullback = call(p, X, h0 + 0, C0 + 0)
        np.copyto(C0, Cn)
        return (h, Cn), pullback

    return changed


def parameters_written(call):
    def change(gradients, p, X):
        for name in p:
            np.subtract(p[name], 0.01 * gradients["d" + name], out=p[name])

    return _pulled(call, change)


def cotangent_written(call):
    def changed(p, X, h0, C0, sequences=True):
        outputs, pullback = call(p, X, h0, C0)

        def pull(dh, dCn, dhn):
            gradients = pullback(dh, dCn + 0, dhn)
            np.copyto(dCn, gradients["dC0"])
            return gradients

        return outputs, pull

    return changed


def output_written_by_pullback(call):
    def changed(p, X, h0, C0, sequences=True):
        (h, Cn), pullback = call(p, X, h0, C0)

        def pull(dh, dCn, dhn):
            gradients = pullback(dh, dCn, dhn)
            np.copyto(h, dh)
            return gradients

        return (h, Cn), pull

    return changed


def states_carried_over(call):
    last = {}

    def changed(p, X, h0, C0, sequences=True):
        if not (h0.any() or C0.any()):
            h0, C0 = last.get(h0.shape, (h0, C0))
        (h, Cn), pullback = call(p, X, h0, C0)
        last[h0.shape] = h[:, -1] + 0, Cn + 0
        return (h, Cn), pullback

    return changed


def parameters_packed_once(call):
    first = {}

    def changed(p, X, h0, C0, sequences=True):
        if p["Uf"].shape not in first:
            first[p["Uf"].shape] = {name: value + 0 for name, value in p.items()}
        return call(first[p["Uf"].shape], X, h0, C0)

    return changed


def parameters_packed_by_identity(call):
    known = {"array": None}

    def changed(p, X, h0, C0, sequences=True):
        if known["array"] is not p["Uf"]:
            known.update(array=p["Uf"], packed={name: value + 0 for name, value in p.items()})
        return call(known["packed"], X, h0, C0)

    return changed


def input_remembered_by_identity(call):
    known = {"array": None}

    def changed(p, X, h0, C0, sequences=True):
        if known["array"] is not X:
            known.update(array=X, copy=X + 0)
        return call(p, known["copy"], h0, C0)

    return changed


def tail_of_bigger_call(call):
    largest = {}

    def change(gradients, p, X):
        u = p["Vf"].shape[0]
        m, rest = largest.get(u, (0, 0))
        if m > len(X):
            gradients["dbf"] = gradients["dbf"] + rest
        else:
            largest[u] = len(X), gradients["dbf"] + 0

    return _pulled(call, change)


def initial_state_of_first_call(call):
    first = {}

    def changed(p, X, h0, C0, sequences=True):
        if C0.shape not in first:
            first[C0.shape] = C0 + 0
        return call(p, X, h0, C0)[0], call(p, X, h0, first[C0.shape])[1]

    return changed


def dropout_left_on(call):
    rng = np.random.default_rng(7)

    def changed(p, X, h0, C0, sequences=True):
        (h, Cn), pullback = call(p, X, h0, C0)
        h[rng.random(h.shape) < 0.1] = 0
        return (h, Cn), pullback

    return changed


def zero_after_change_of_shape(call):
    last = {"shape": None}

    def change(gradients, p, X):
        if last["shape"] not in (None, X.shape):
            gradients["dX"] = np.zeros_like(X)
        last["shape"] = X.shape

    return _pulled(call, change)


WRAPPERS = {
    wrapper.__name__.replace("_", "-"): wrapper
    for wrapper in (
        outputs_in_one_buffer,
        gradients_in_one_buffer,
        gradients_never_zeroed,
        input_gradient_never_zeroed,
        input_written,
        initial_state_written,
        parameters_written,
        cotangent_written,
        output_written_by_pullback,
        states_carried_over,
        parameters_packed_once,
        parameters_packed_by_identity,
        input_remembered_by_identity,
        tail_of_bigger_call,
        initial_state_of_first_call,
        dropout_left_on,
        zero_after_change_of_shape,
    )
}
