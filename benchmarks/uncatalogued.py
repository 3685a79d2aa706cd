"""Faults that are in no catalogue, written as a stranger would make them, planted in the plain layer of the tests.

Each has what is changed in `tests/plain_lstm.py` and what is true of it, by hand: which tensors, gates, sizes and
conditions it is about. The naming campaign plants them, and tells by that truth which lines of a diagnosis are so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plain_lstm import planted
from planted_faults import (
    ABOVE,
    ACT,
    ACTIVATE,
    BF,
    BG,
    BI,
    BO,
    CN,
    DELTA,
    DW,
    DX,
    EF,
    EG,
    EI,
    EO,
    FINAL,
    GB,
    KAPPA,
    LOGISTIC,
    LOOP,
    MEMORY,
    OUT,
    PACK_BACK,
    RETURN,
    RHO,
    SQUASH,
    START,
    STEP,
    THROUGH,
    H,
    after,
    before,
    finally_,
    returning,
    samples,
    with_z,
)
from truth.evidence import PARAMETER_GRADIENTS, Truth

from lstm_checks.contract import PLAIN, Target

Edits = tuple[tuple[str, str], ...]

PRODUCT = "a = W.T @ z"
STACK = "z = np.vstack([x, hidden, one])"
LOST = "def squash(x):"
"""Before this line, things can be defined for the whole module."""

PARAMETERS = frozenset(PARAMETER_GRADIENTS)
BACKWARD = frozenset(PLAIN.gradients)


def of(*names: str) -> frozenset[str]:
    return frozenset(names)


def kind(letter: str) -> frozenset[str]:
    """Return the gradients of one kind of parameters, "U", "V" or "b", of all gates."""
    return frozenset(name for name in PARAMETER_GRADIENTS if name[1] == letter)


@dataclass(frozen=True)
class Own:
    """A fault in no catalogue: what is changed, what is true of it, and in which dtypes it is looked for.

    Without dtypes, in those that `verify` takes by itself.
    """

    id: str
    title: str
    edits: Edits
    truth: Truth
    dtypes: tuple[str, ...] = ()

    @property
    def make(self) -> Callable[[], Target]:
        """What gives a layer with the fault in it, anew."""
        return lambda: planted(self.id, list(self.edits))


_HELPERS = '''def cut(x, bits):
    """Return numbers with that many bits of significand, rounded."""
    significand, exponent = np.frexp(x)
    return np.ldexp(np.round(significand * 2.0**bits) / 2.0**bits, exponent).astype(x.dtype)


def tf32(x):
    return cut(x, 11)


def bfloat(x):
    return cut(x, 8)


def half(x):
    return x.astype(np.float16).astype(x.dtype)


state = {"calls": 0, "seen": {}}
dice = np.random.default_rng(0)


def squash(x):'''

_TOOLS = (LOST, _HELPERS)

OWN: dict[str, Own] = {}


def own(id: str, title: str, *edits: tuple[str, str], dtypes: tuple[str, ...] = (), **truth: object) -> None:
    """Enter a fault."""
    OWN[id] = Own(id, title, (_TOOLS, *edits), Truth(**truth), dtypes)  # type: ignore[arg-type]


# Accuracy.
own("h-plus-one", "h is (h + 1) - 1", after(OUT, "out = (out + 1) - 1"), forward="", rounding=True)
own("memory-plus-eight", "the memory is (C_ + 8) - 8", after(MEMORY, "new = (new + 8) - 8"), forward="", rounding=True)
own(
    "tanh-in-18-bits",
    "tanh is computed in float32 and six bits of it are cut",
    (SQUASH, "return cut(np.tanh(np.float32(x)).astype(np.float64), 18).astype(x.dtype)"),
    forward="g",
    rounding=True,
    near=("tanh-in-single",),
)
own(
    "sigmoid-two-ulp",
    "the sigmoid is two units in the last place too large",
    (LOGISTIC, "y = 1 / (1 + np.exp(-x))\nreturn np.nextafter(np.nextafter(y, 2 * y), 2 * y)"),
    forward="fio",
    rounding=True,
)
own(
    "exp-from-table",
    "exp is read from a table of 1024 steps a power of two, and interpolated",
    (
        LOGISTIC,
        "n = np.floor(-x / np.log(2))\nr = (-x / np.log(2) - n) * 1024\nk = np.floor(r)\n"
        "low, high = 2 ** (k / 1024), 2 ** ((k + 1) / 1024)\n"
        "return (1 / (1 + 2.0**n * (low + (r - k) * (high - low)))).astype(x.dtype)",
    ),
    forward="fio",
    rounding=True,
    near=("sigmoid-from-table",),
)
own(
    "reciprocal-by-newton",
    "the sigmoid's reciprocal is an approximate one of 12 bits and one Newton step",
    (LOGISTIC, "y = 1 + np.exp(-x)\nr = cut(1 / y, 12)\nreturn (r * (2 - y * r)).astype(x.dtype)"),
    forward="fio",
    rounding=True,
)
own(
    "reciprocal-of-12-bits",
    "the sigmoid's reciprocal is an approximate one of 12 bits",
    (LOGISTIC, "return cut(1 / (1 + np.exp(-x)), 12)"),
    forward="fio",
    rounding=True,
)
own(
    "kahan-assigned-early",
    "Kahan's compensation is worked out after the sum has been assigned",
    before(LOOP, "lost = np.zeros_like(W)"),
    (DW, "y = k.z @ delta.T - lost\ntotal = dW + y\ndW = total\nlost = (total - dW) - y"),
    tensors=PARAMETERS,
    deltas="",
)
own(
    "forward-product-in-tf32",
    "the forward products take operands in TF32",
    (PRODUCT, "a = tf32(W).T @ tf32(z)"),
    forward="figo",
    rounding=True,
)
own(
    "du-product-in-bfloat16",
    "dU is made of X in bfloat16",
    with_z("z[:e] = bfloat(z[:e])"),
    tensors=kind("U"),
    deltas="",
    rounding=True,
)
own(
    "weight-products-in-float16",
    "dU, dV and db are made of cotangents in float16",
    (DW, "dW += k.z @ half(delta).T"),
    tensors=PARAMETERS,
    deltas="",
    rounding=True,
)
own(
    "input-product-in-tf32",
    "dX is made of U and cotangents in TF32",
    (DX, "dX[:, t] = (tf32(R[:e]) @ tf32(delta)).T"),
    tensors=of("dX"),
    deltas="",
    rounding=True,
)
own(
    "db-summed-in-float16",
    "db is summed over the steps in float16",
    (DW, "dW += k.z @ delta.T\ndW[e + u :] = half(dW[e + u :])"),
    tensors=kind("b"),
    deltas="",
    rounding=True,
)
own(
    "dv-summed-in-bfloat16",
    "dV is summed over the steps in bfloat16",
    (DW, "dW += k.z @ delta.T\ndW[e : e + u] = bfloat(dW[e : e + u])"),
    tensors=kind("V"),
    deltas="",
    rounding=True,
)
own(
    "dh-passed-on-in-float16",
    "dh passed on is rounded to float16",
    (RHO, "rho = half(back[e : e + u])"),
    tensors=BACKWARD,
    deltas="figo",
    rounding=True,
    near=("carry-in-single",),
)
own(
    "memory-kept-in-float16",
    "the memory is kept in float16 for df",
    (EF, "ef = gamma * half(k.cell)"),
    tensors=BACKWARD,
    deltas="f",
    rounding=True,
)
own(
    "activated-memory-kept-in-bfloat16",
    "tanh(C_) is kept in bfloat16 for the backward pass",
    after(STEP, "k.act = bfloat(k.act)"),
    tensors=BACKWARD,
    deltas="figo",
    rounding=True,
)
own(
    "cn-in-float16",
    "Cn is returned in float16",
    (CN, "Cn = half(tape[-1].new.T)"),
    tensors=of("Cn"),
    forward="",
    rounding=True,
)
own(
    "float32-cotangents-in-float16",
    "in float32, the gates' cotangents are cut to float16",
    after(DELTA, "if X.dtype == np.float32:\n    delta = half(delta)"),
    dtypes=("float64", "float32"),
    tensors=BACKWARD,
    deltas="figo",
    rounding=True,
)
own(
    "float32-exp-of-16-bits",
    "in float32, exp is good to 16 bits",
    (LOGISTIC, "return 1 / (1 + (cut(np.exp(-x), 16) if x.dtype == np.float32 else np.exp(-x)))"),
    dtypes=("float64", "float32"),
    forward="fio",
    rounding=True,
)

# Conditions.
own(
    "dx-scaled-off-multiples-of-4",
    "where m is no multiple of 4, dX is scaled by m over the next multiple",
    finally_("if m % 4:\n    dX = dX * (m / (m + 4 - m % 4))"),
    tensors=of("dX"),
    deltas="",
    sizes="m",
    words=(r"m .*multiple of 4", r"m % 4"),
)
own(
    "rows-beyond-24-lost",
    "dU, dV and db take in the first 24 rows of (steps, samples) only",
    (DW, "dW += (k.z * (t * m + np.arange(m) < 24)) @ delta.T"),
    tensors=PARAMETERS,
    deltas="",
    sizes="ms",
    words=(r"m \*? ?s (>|is above|above)",),
)
own(
    "dx-by-v-where-square",
    "where e is u, dX is made of V",
    after(DX, "if e == u:\n    dX[:, t] = back[e : e + u].T"),
    tensors=of("dX"),
    deltas="",
    sizes="eu",
    words=(r"e (==|=|is|equals) u",),
)
own(
    "dx-transposed-where-m-is-e",
    "where m is e, dX of every step is transposed",
    after(DX, "if m == e:\n    dX[:, t] = back[:e]"),
    tensors=of("dX"),
    deltas="",
    sizes="me",
    words=(r"m (==|=|is|equals) e", r"e (==|=|is|equals) m"),
)
own(
    "nothing-without-dh",
    "where dh is zero throughout, all gradients are zero",
    (FINAL, "rho, kappa = (dhn.T, dCn.T) if dh.any() else (0 * dhn.T, 0 * dCn.T)"),
    tensors=BACKWARD,
    values=True,
    words=(r"dh (is )?(all )?zero",),
)
own(
    "dh0-halved-where-c0-given",
    "where C0 is given, dh0 is half of what it should be",
    returning(dh0="rho.T * (0.5 if C0.any() else 1)"),
    tensors=of("dh0"),
    deltas="",
    words=(r"C0 (is )?(given|zero)",),
)
own(
    "dvo-lacks-lower-triangle",
    "dVo is zero below the diagonal",
    finally_('g["dVo"] = np.triu(g["dVo"])'),
    tensors=of("dVo"),
    deltas="",
    sizes="u",
)
own(
    "bias-left-out-where-x-zero",
    "the biases are left out where a step's input is zero",
    after(PRODUCT, "a = a - W[-1:].T * ~x.any(axis=0)"),
    forward="figo",
    values=True,
    words=(r"X (is )?zero", r"padded"),
)
own(
    "dx-rectified",
    "dX is zero where it should be negative",
    finally_("dX = np.maximum(dX, 0)"),
    tensors=of("dX"),
    deltas="",
    values=True,
)
own(
    "negative-candidates-smaller",
    "the candidate is 1 % smaller where it is negative",
    after(ACTIVATE, "gg = np.where(gg < 0, 0.99 * gg, gg)"),
    forward="g",
    values=True,
)
own(
    "second-call-of-a-shape",
    "dX is doubled in the second call of a shape",
    finally_('n = state["seen"][X.shape] = state["seen"].get(X.shape, 0) + 1\nif n == 2:\n    dX = 2 * dX'),
    tensors=of("dX"),
    deltas="",
    calls=True,
)
own(
    "every-third-call",
    "in every third call dbg is lost",
    finally_('state["calls"] += 1\nif state["calls"] % 3 == 0:\n    g["dbg"] = 0 * g["dbg"]'),
    tensors=of("dbg"),
    deltas="",
    calls=True,
)
own(
    "db-lost-at-times",
    "in one call of five, by chance, dbf is lost",
    finally_('if dice.random() < 0.2:\n    g["dbf"] = 0 * g["dbf"]'),
    tensors=of("dbf"),
    deltas="",
    random=True,
)
own(
    "an-entry-lost-at-times",
    "in three calls of ten, by chance, an entry of dVi is lost",
    finally_('if dice.random() < 0.3:\n    g["dVi"].flat[dice.integers(u * u)] = 0'),
    tensors=of("dVi"),
    deltas="",
    random=True,
)
own(
    "forget-gate-floored",
    "the forget gate is never below 0.05",
    after(ACTIVATE, "gf = np.maximum(gf, 0.05)"),
    forward="f",
    values=True,
)
own(
    "memory-saturates-in-backward",
    "beyond a memory of 2, no gradient goes through its tanh",
    (THROUGH, "through = eta * k.go * slope_of_squash(k.act) * (abs(k.new) < 2)"),
    tensors=BACKWARD,
    deltas="fig",
    values=True,
)
own(
    "dc0-without-forget-at-one-step",
    "where s is 1, dC0 lacks the forget gate",
    returning(dC0="(gamma if s == 1 else kappa).T.copy()"),
    tensors=of("dC0"),
    deltas="",
    sizes="s",
)
own(
    "last-element-lost-where-even",
    "where e is even, dX of the last element is zero",
    finally_("if e % 2 == 0:\n    dX[..., -1] = 0"),
    tensors=of("dX"),
    deltas="",
    sizes="e",
)
own(
    "bias-of-f-missing-at-first",
    "the forget gate has no bias at the first step",
    after(PRODUCT, 'if t == 0:\n    a[2 * u : 3 * u] -= p["bf"].T'),
    forward="f",
)

# Structure.
own(
    "states-exchanged-on-return",
    "the memory is returned for h, and the last h for Cn",
    (H, "H = np.stack([k.new.T for k in tape], axis=1)"),
    (CN, "Cn = tape[-1].out.T.copy()"),
    forward="",
    words=(r"h and Cn .*exchanged", r"Cn and h .*exchanged", r"memory states? .* for h\b"),
)
own(
    "memory-returned-for-h",
    "the memory of every step is returned for h",
    (H, "H = np.stack([k.new.T for k in tape], axis=1)"),
    tensors=of("h"),
    forward="",
)
own(
    "every-sample-reads-the-first",
    "every sample reads the input of the first",
    after("x = X[:, t].T", "x = np.repeat(x[:, :1], m, axis=1)"),
    sizes="m",
    words=(r"first sample", r"sample 1"),
)
own(
    "stale-memory-cotangent",
    "df, di and dg are made of dC as it arrives, before h's part is added",
    (EF, "ef = kappa * k.cell"),
    (EI, "ei = kappa * k.gg"),
    (EG, "eg = kappa * k.gi"),
    tensors=BACKWARD,
    deltas="fig",
)
own(
    "gates-of-the-step-before",
    "the activations' derivatives are taken at the gates of the step before",
    (BO, "q = tape[max(t - 1, 0)]\nbo = eo * slope_of_logistic(q.go)"),
    (BG, "bg = eg * slope_of_squash(q.gg)"),
    (BF, "bf = ef * slope_of_logistic(q.gf)"),
    (BI, "bi = ei * slope_of_logistic(q.gi)"),
    tensors=BACKWARD,
    deltas="figo",
    sizes="s",
)
own(
    "reverse-missing",
    "the backward pass goes through the steps in forward order",
    (LOOP, "for t in range(s):"),
    tensors=BACKWARD,
    deltas="figo",
    sizes="s",
    words=(r"forward order", r"not reversed", r"missing reverse", r"without the reverse"),
)
own(
    "cotangents-exchanged",
    "the last step's cotangent of h and that of the memory are exchanged",
    (FINAL, "rho, kappa = dhn.T, dh[:, -1].T"),
    (ABOVE, "above = dCn.T if t == s - 1 else dh[:, t].T"),
    tensors=BACKWARD,
    deltas="figo",
)
own(
    "df-di-exchanged-in-backward",
    "df_ and di_ are exchanged in the backward pass alone",
    (DELTA, "delta = np.vstack([bo, bg, bi, bf])"),
    tensors=BACKWARD,
    deltas="fi",
    words=(r"df_ and di_ .*exchanged", r"exchanged.* f and i", r"backward.* order"),
)
own(
    "backward-reads-weights-of-other-gates",
    "the backward pass takes the weights of gates f and o for one another",
    (PACK_BACK, 'R = pack({**p, "Uf": p["Uo"], "Uo": p["Uf"], "Vf": p["Vo"], "Vo": p["Vf"]})'),
    tensors=BACKWARD,
    deltas="figo",
)
own(
    "dv-symmetrized",
    "each dV is (dV + its transpose) / 2",
    finally_('for n in "figo":\n    g["dV" + n] = (g["dV" + n] + g["dV" + n].T) / 2'),
    tensors=kind("V"),
    deltas="",
    sizes="u",
    words=(r"symmetri", r"transpose\)? ?/ 2", r"\+ .*\^T"),
)
own(
    "dh-summed-over-samples",
    "dh passed on is the sum over the samples, for each",
    (RHO, "rho = np.repeat(back[e : e + u].sum(axis=1, keepdims=True), m, axis=1)"),
    tensors=BACKWARD,
    deltas="figo",
    sizes="m",
)
own(
    "weight-decay-left-in",
    "0.01 V is added to each dV",
    finally_('for n in "figo":\n    g["dV" + n] = g["dV" + n] + 0.01 * p["V" + n]'),
    tensors=kind("V"),
    deltas="",
    words=(r"0\.01 (times )?(\* )?V",),
)
own(
    "small-decay-of-u",
    "1e-4 Uf is added to dUf",
    finally_('g["dUf"] = g["dUf"] + 1e-4 * p["Uf"]'),
    tensors=of("dUf"),
    deltas="",
    words=(r"(1e-0?4|0\.0001) (times )?(\* )?Uf",),
)
own(
    "tile-of-16-units",
    "above 16 units, dVi lacks the columns beyond a multiple of 16",
    finally_('if u > 16:\n    g["dVi"][:, u - u % 16 :] = 0'),
    tensors=of("dVi"),
    deltas="",
    sizes="u",
)
own(
    "last-block-of-units-missed",
    "dh passed on lacks the units beyond a multiple of 4, above 4",
    after(RHO, "if u > 4:\n    rho[u - u % 4 :] = 0"),
    tensors=BACKWARD,
    deltas="figo",
    sizes="u",
)
own(
    "odd-unit-not-activated",
    "where u is odd, the last unit's memory is not activated",
    after(ACT, "if u % 2:\n    act[-1] = new[-1]"),
    forward="",
    sizes="u",
)
own(
    "tail-of-elements-lost",
    "above 4 elements, dU lacks those beyond a multiple of 4",
    with_z("if e > 4:\n    z[e - e % 4 : e] = 0"),
    tensors=kind("U"),
    deltas="",
    sizes="e",
)
own(
    "dh0-summed-over-samples",
    "dh0 is the sum over the samples, for each",
    returning(dh0="np.repeat(rho.sum(axis=1)[None], m, axis=0)"),
    tensors=of("dh0"),
    deltas="",
    sizes="m",
)
own(
    "state-gradients-never-zeroed",
    "dh0 is added to that of the calls before of its shape",
    finally_('rho = rho + state["seen"].get(rho.shape, 0)\nstate["seen"][rho.shape] = rho'),
    tensors=of("dh0"),
    deltas="",
    calls=True,
)
own(
    "dx-clipped-by-norm",
    "dX of each sample is scaled down to a norm of 1",
    finally_("dX = dX / np.maximum(1, np.sqrt((dX**2).sum(axis=(1, 2), keepdims=True)))"),
    tensors=of("dX"),
    deltas="",
    values=True,
)
own(
    "dh-scaled-down-by-norm",
    "dh passed on is scaled down to a norm of 1 for each sample",
    after(RHO, "rho = rho / np.maximum(1, np.sqrt((rho**2).sum(axis=0)))"),
    tensors=BACKWARD,
    deltas="figo",
    values=True,
)
own(
    "dropout-in-backward",
    "a tenth of dh passed on is dropped by chance, the rest scaled",
    after(RHO, "rho = rho * (dice.random(rho.shape) < 0.9) / 0.9"),
    tensors=BACKWARD,
    deltas="figo",
    random=True,
)
own(
    "final-output-counted-twice",
    "the last output's cotangent arrives as the final state's, too",
    (FINAL, "rho, kappa = dhn.T + dh[:, -1].T, dCn.T"),
    tensors=BACKWARD,
    deltas="figo",
)
own(
    "hidden-scaled-by-root-of-units",
    "the forward products take h divided by the root of u",
    (STACK, "z = np.vstack([x, hidden / u**0.5, one])"),
    forward="figo",
)
own(
    "zoneout-left-on",
    "h is a tenth of the h before and nine tenths of its own",
    after(OUT, "out = 0.9 * out + 0.1 * hidden"),
    forward="",
)
own(
    "softened-activations",
    "every linear activation k is k / (1 + 0.001 |k|)",
    after(PRODUCT, "a = a / (1 + 1e-3 * abs(a))"),
    forward="figo",
)
own(
    "output-gate-sees-a-tenth",
    "the output gate sees a tenth of the memory before",
    after(ACTIVATE, "go = logistic(ao + 0.1 * cell)"),
    forward="o",
)
own(
    "cn-clipped",
    "Cn is clipped to [-1, 1] as it is returned",
    (CN, "Cn = np.clip(tape[-1].new.T, -1, 1)"),
    tensors=of("Cn"),
    forward="",
    values=True,
)
own(
    "odd-samples-counted-twice",
    "every other sample counts twice in dU, dV and db",
    samples("1 + np.arange(m) % 2"),
    tensors=PARAMETERS,
    deltas="",
    sizes="m",
)
own(
    "dv-detached-in-windows",
    "dV leaves out each fifth step, as if the state were new there",
    with_z("z[e : e + u] *= t % 5 > 0"),
    tensors=kind("V"),
    deltas="",
)
own(
    "last-unit-of-f-negated",
    "df_ of the last unit has the wrong sign",
    after(BF, "bf[-1] *= -1"),
    tensors=BACKWARD,
    deltas="f",
)
own(
    "do-of-clipped-memory",
    "do is made of the memory clipped to [-1, 1]",
    (EO, "eo = eta * np.clip(k.new, -1, 1)"),
    tensors=BACKWARD,
    deltas="o",
)
own(
    "states-start-at-half",
    "the layer starts from half of h0",
    (START, "hidden, cell = h0.T / 2, C0.T"),
)

# Several at once.
own(
    "triangle-and-multiple-of-4",
    "dVo is zero below the diagonal, and dX scaled where m is no multiple of 4",
    (RETURN, 'g["dVo"] = np.triu(g["dVo"])\nif m % 4:\n    dX = dX * (m / (m + 4 - m % 4))\n' + RETURN),
    tensors=of("dVo", "dX"),
    deltas="",
)
own(
    "three-at-once",
    "dbi counts 1.5 times, dUo lacks the second step, dC0 is halved",
    after(DW, "if t == 1:\n    dW[:e, :u] -= (k.z @ delta.T)[:e, :u]"),
    (GB, 'g["db" + gate] = block[e + u :] * (1.5 if gate == "i" else 1)'),
    returning(dC0="kappa.T / 2"),
    tensors=of("dbi", "dUo", "dC0"),
    deltas="",
)
own(
    "decay-and-carry",
    "the carry decays by 0.9 a step, and dh0 is summed over the samples",
    after(KAPPA, "kappa = 0.9 * kappa"),
    returning(dh0="np.repeat(rho.sum(axis=1)[None], m, axis=0)"),
    tensors=BACKWARD,
    deltas="fig",
)
