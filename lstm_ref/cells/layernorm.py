"""The LSTM with layer normalisation, as TensorFlow's LayerNormBasicLSTMCell has it (Ba, Kiros and Hinton 2016).

Equations as in `README.md`, and the lines are the plain cell's word for word where they are the same. The products of
each gate, and the memory, are normalised over the units, each with a gain and a bias of its own; the gates have no
further bias. What is handed on is the normalised memory. (haste normalises X U and hp V apart, and hands the memory
on as it is.) The small number that keeps the variance from 0 stands within the root.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell
from lstm_ref.cells.plain import STATES
from lstm_ref.gradients import _steps_first

GATES = ("f", "i", "g", "o")

EPSILON = 1e-12
"""TensorFlow's; others have 1e-5, which is a fault of this cell."""

KEPT = (
    *("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "h"),
    *("rf", "zf", "lf", "ri", "zi", "li", "rg", "zg", "lg", "ro", "zo", "lo", "rC", "zC", "lC"),
)
"""The intermediates of every step; of each gate and of the memory r the inverse deviation, z what is normalised, and l
that with its gain and bias."""


def mean(x: Any) -> Any:
    """Return the mean over the units, one for each sample."""
    return np.sum(x, axis=-1, keepdims=True) / x.shape[-1]


def inverse_deviation(x: Any) -> Any:
    """Return the inverse of the standard deviation over the units, of what has the mean 0."""
    return 1 / np.sqrt(mean(x * x) + EPSILON)


def layernorm_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Uf Ui Ug Uo` (..., e, u), `Vf Vi Vg Vo` (..., u, u), and the gains `nf ni ng no nC` and biases
        `bf bi bg bo bC` (..., 1, u) of what is normalised.
    X : array (..., m, s, e)
    h0, C0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u), what `KEPT` names; rf and its like are (..., m, s, 1).
    """
    trace = []
    h, lC = h0, C0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp, Cp_ = h, lC

        f_ = X_s @ p["Uf"] + hp @ p["Vf"]  # (1f)
        i_ = X_s @ p["Ui"] + hp @ p["Vi"]  # (1i)
        g_ = X_s @ p["Ug"] + hp @ p["Vg"]  # (1g)
        o_ = X_s @ p["Uo"] + hp @ p["Vo"]  # (1o)
        rf = inverse_deviation(f_ - mean(f_))  # (10f)
        ri = inverse_deviation(i_ - mean(i_))  # (10i)
        rg = inverse_deviation(g_ - mean(g_))  # (10g)
        ro = inverse_deviation(o_ - mean(o_))  # (10o)
        zf = (f_ - mean(f_)) * rf  # (11f)
        zi = (i_ - mean(i_)) * ri  # (11i)
        zg = (g_ - mean(g_)) * rg  # (11g)
        zo = (o_ - mean(o_)) * ro  # (11o)
        lf = zf * p["nf"] + p["bf"]  # (12f)
        li = zi * p["ni"] + p["bi"]  # (12i)
        lg = zg * p["ng"] + p["bg"]  # (12g)
        lo = zo * p["no"] + p["bo"]  # (12o)
        f = sigmoid(lf)  # (2)
        i = sigmoid(li)  # (3)
        g = tanh(lg)  # (4)
        o = sigmoid(lo)  # (5)
        C_ = f * Cp_ + i * g  # (6)
        rC = inverse_deviation(C_ - mean(C_))  # (10C)
        zC = (C_ - mean(C_)) * rC  # (11C)
        lC = zC * p["nC"] + p["bC"]  # (12C)
        C = tanh(lC)  # (7)
        h = o * C  # (8)

        of_the_norms = (rf, zf, lf, ri, zi, li, rg, zg, lg, ro, zo, lo, rC, zC, lC)
        trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, C, h, *of_the_norms))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def layernorm_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name; parameters and results as `lstm_backward` has them."""
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))
        zf, zi, zg, zo, zC = (fc[name][..., s, :] for name in ("zf", "zi", "zg", "zo", "zC"))
        rf, ri, rg, ro, rC = (fc[name][..., s, :] for name in ("rf", "ri", "rg", "ro", "rC"))

        dh_ = dA_s + dhn  # (9)
        do = dh_ * C  # (8)
        dlC = dh_ * o * tanh_derivative(C) + dCn  # (8), (7)
        dzC = dlC * p["nC"]  # (12C)
        dC_ = (dzC - mean(dzC) - zC * mean(dzC * zC)) * rC  # (11C), (10C)
        df = dC_ * Cp_  # (6)
        di = dC_ * g  # (6)
        dg = dC_ * i  # (6)
        dC = dC_ * f  # (6)
        dlo = do * sigmoid_derivative(o)  # (5)
        dlg = dg * tanh_derivative(g)  # (4)
        dli = di * sigmoid_derivative(i)  # (3)
        dlf = df * sigmoid_derivative(f)  # (2)
        dzo = dlo * p["no"]  # (12o)
        dzg = dlg * p["ng"]  # (12g)
        dzi = dli * p["ni"]  # (12i)
        dzf = dlf * p["nf"]  # (12f)
        do_ = (dzo - mean(dzo) - zo * mean(dzo * zo)) * ro  # (11o), (10o)
        dg_ = (dzg - mean(dzg) - zg * mean(dzg * zg)) * rg  # (11g), (10g)
        di_ = (dzi - mean(dzi) - zi * mean(dzi * zi)) * ri  # (11i), (10i)
        df_ = (dzf - mean(dzf) - zf * mean(dzf * zf)) * rf  # (11f), (10f)
        dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)
        dh = df_ @ p["Vf"].mT + di_ @ p["Vi"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)

        of_the_norms = (dlC, dlo, dlg, dli, dlf)
        trace.append((dhn, dh_, dCn, dC_, do_, dg_, di_, df_, dX, dh, dC, *of_the_norms))
        dhn, dCn = dh, dC

    trace.reverse()
    names = (
        "dhn",
        "dh_",
        "dCn",
        "dC_",
        "do_",
        "dg_",
        "di_",
        "df_",
        "dX",
        "dh",
        "dC",
        "dlC",
        "dlo",
        "dlg",
        "dli",
        "dlf",
    )
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}


def layernorm_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the eighteen parameters.

    From `X`, `hp` and the cotangents of the linear activations; and from the normalised values and the cotangents of
    what their gains and biases make of them.
    """
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
    for gate in (*GATES, "C"):
        z, dl = _steps_first(fc[f"z{gate}"]), _steps_first(bc[f"dl{gate}"])
        g[f"dn{gate}"] = np.sum(np.sum(dl * z, axis=-2), axis=-2)[..., np.newaxis, :]  # (12)
        g[f"db{gate}"] = np.sum(np.sum(dl, axis=-2), axis=-2)[..., np.newaxis, :]  # (12)
    return g


_NORMS = (*GATES, "C")

CELL = Cell(
    name="layernorm",
    title="LSTM with layer normalisation",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in (("U", "eu"), ("V", "uu"))}
    | {kind + norm: "1u" for norm in _NORMS for kind in "nb"},
    states=(STATES[0], STATES[1]._replace(kept_as="lC")),
    forward=layernorm_forward,
    backward=layernorm_backward,
    parameter_gradients=layernorm_gradients,
    needed=("hp", "Cp_", *GATES, "C", "h", "lC", *(kind + norm for norm in _NORMS for kind in "zr")),
    normalised={f"{norm}_": f"r{norm}" for norm in _NORMS},
)
