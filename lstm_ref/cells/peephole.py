"""The LSTM with peepholes: its gates see the memory (Gers, Schraudolph and Schmidhuber 2002; weights one a unit).

Equations as in `README.md`, and the lines are the plain cell's word for word where they are the same. (1f) and (1i)
have the memory of the step before with the weights pf and pi, (1o) that of the step itself with the weights po.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell
from lstm_ref.cells.plain import AXES, NEEDED, SLOTS, STATES
from lstm_ref.gradients import _steps_first

GATES = ("f", "i", "g", "o")

KEPT = ("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "h")
"""The intermediates of every step."""


def peephole_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        The twelve parameters of the plain cell, and the peepholes' weights `pf pi po` (..., 1, u).
    X : array (..., m, s, e)
    h0, C0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp Cp_ f_ f i_ i g_ g o_ o C_ C h`.
    """
    trace = []
    h, C_ = h0, C0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp, Cp_ = h, C_

        f_ = X_s @ p["Uf"] + hp @ p["Vf"] + p["bf"] + Cp_ * p["pf"]  # (1f)
        i_ = X_s @ p["Ui"] + hp @ p["Vi"] + p["bi"] + Cp_ * p["pi"]  # (1i)
        g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)
        f = sigmoid(f_)  # (2)
        i = sigmoid(i_)  # (3)
        g = tanh(g_)  # (4)
        C_ = f * Cp_ + i * g  # (6)
        o_ = X_s @ p["Uo"] + hp @ p["Vo"] + p["bo"] + C_ * p["po"]  # (1o)
        o = sigmoid(o_)  # (5)
        C = tanh(C_)  # (7)
        h = o * C  # (8)

        trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, C, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def peephole_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name; parameters and results as `lstm_backward` has them."""
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))

        dh_ = dA_s + dhn  # (9)
        do = dh_ * C  # (8)
        do_ = do * sigmoid_derivative(o)  # (5)
        dC_ = dh_ * o * tanh_derivative(C) + dCn + do_ * p["po"]  # (8), (7), (1o)
        df = dC_ * Cp_  # (6)
        di = dC_ * g  # (6)
        dg = dC_ * i  # (6)
        dg_ = dg * tanh_derivative(g)  # (4)
        di_ = di * sigmoid_derivative(i)  # (3)
        df_ = df * sigmoid_derivative(f)  # (2)
        dC = dC_ * f + df_ * p["pf"] + di_ * p["pi"]  # (6), (1f), (1i)
        dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)
        dh = df_ @ p["Vf"].mT + di_ @ p["Vi"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)

        trace.append((dhn, dh_, dCn, dC_, do_, dg_, di_, df_, dX, dh, dC))
        dhn, dCn = dh, dC

    trace.reverse()
    names = ("dhn", "dh_", "dCn", "dC_", "do_", "dg_", "di_", "df_", "dX", "dh", "dC")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}


def peephole_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the fifteen parameters.

    From `X`, `hp`, `Cp_` and `C_` of the forward pass, and the cotangents of the linear activations.
    """
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
        g[f"db{gate}"] = np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]  # (1)
    g["dpf"] = np.sum(np.sum(bc["df_"] * fc["Cp_"], axis=-2), axis=-2)[..., np.newaxis, :]  # (1f)
    g["dpi"] = np.sum(np.sum(bc["di_"] * fc["Cp_"], axis=-2), axis=-2)[..., np.newaxis, :]  # (1i)
    g["dpo"] = np.sum(np.sum(bc["do_"] * fc["C_"], axis=-2), axis=-2)[..., np.newaxis, :]  # (1o)
    return g


CELL = Cell(
    name="peephole",
    title="LSTM with peepholes",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()}
    | dict.fromkeys(("pf", "pi", "po"), "1u"),
    states=STATES,
    forward=peephole_forward,
    backward=peephole_backward,
    parameter_gradients=peephole_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
