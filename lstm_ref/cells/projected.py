"""The LSTM with a recurrent projection, h = (o C) P (Sak, Senior and Beaufays 2014, "LSTMP").

Equations as in `README.md`, and the lines are the plain cell's word for word where they are the same. What the plain
cell calls h is q here, (m, u), and h is its projection, (m, p): what comes out, and what the gates see of the step
before.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell, State
from lstm_ref.cells.plain import SLOTS
from lstm_ref.gradients import _steps_first

GATES = ("f", "i", "g", "o")

AXES = {"U": "eu", "V": "pu", "b": "1u"}
"""The axes of a gate's parameters."""

NEEDED = ("hp", "Cp_", "f", "i", "g", "o", "C_", "C", "q", "h")
"""The intermediates that the backward pass and the gradients take, and the outputs."""

KEPT = ("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "q", "h")
"""The intermediates of every step."""


def projected_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Uf Ui Ug Uo` (..., e, u), `Vf Vi Vg Vo` (..., p, u), `bf bi bg bo` (..., 1, u), and the projection `P`
        (..., u, p).
    X : array (..., m, s, e)
    h0 : array (..., m, p)
    C0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given; `hp` and `h`, each (..., m, s, p); and, each (..., m, s, u): `Cp_ f_ f i_ i g_ g o_ o C_ C q`.
    """
    trace = []
    h, C_ = h0, C0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp, Cp_ = h, C_

        f_ = X_s @ p["Uf"] + hp @ p["Vf"] + p["bf"]  # (1f)
        i_ = X_s @ p["Ui"] + hp @ p["Vi"] + p["bi"]  # (1i)
        g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)
        o_ = X_s @ p["Uo"] + hp @ p["Vo"] + p["bo"]  # (1o)
        f = sigmoid(f_)  # (2)
        i = sigmoid(i_)  # (3)
        g = tanh(g_)  # (4)
        o = sigmoid(o_)  # (5)
        C_ = f * Cp_ + i * g  # (6)
        C = tanh(C_)  # (7)
        q = o * C  # (8)
        h = q @ p["P"]  # (8p)

        trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, C, q, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def projected_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name; parameters and results as `lstm_backward` has them.

    Besides there is `dq`, (..., m, s, u); `dA`, `dhn`, `dh_`, `dh` and `dh0` have the hidden state's p entries.
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))

        dh_ = dA_s + dhn  # (9)
        dq = dh_ @ p["P"].mT  # (8p)
        do = dq * C  # (8)
        dC_ = dq * o * tanh_derivative(C) + dCn  # (8), (7)
        df = dC_ * Cp_  # (6)
        di = dC_ * g  # (6)
        dg = dC_ * i  # (6)
        dC = dC_ * f  # (6)
        do_ = do * sigmoid_derivative(o)  # (5)
        dg_ = dg * tanh_derivative(g)  # (4)
        di_ = di * sigmoid_derivative(i)  # (3)
        df_ = df * sigmoid_derivative(f)  # (2)
        dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)
        dh = df_ @ p["Vf"].mT + di_ @ p["Vi"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)

        trace.append((dhn, dh_, dq, dCn, dC_, do_, dg_, di_, df_, dX, dh, dC))
        dhn, dCn = dh, dC

    trace.reverse()
    names = ("dhn", "dh_", "dq", "dCn", "dC_", "do_", "dg_", "di_", "df_", "dX", "dh", "dC")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}


def projected_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the thirteen parameters.

    From `X`, `hp` and `q` of the forward pass, the cotangents of the linear activations, and `dh_`.
    """
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
        g[f"db{gate}"] = np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]  # (1)
    g["dP"] = np.sum(_steps_first(fc["q"]).mT @ _steps_first(bc["dh_"]), axis=-3)  # (8p)
    return g


CELL = Cell(
    name="projected",
    title="LSTM with a recurrent projection",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()} | {"P": "up"},
    states=(State("h", "mp", "h"), State("C", "mu", "C_")),
    forward=projected_forward,
    backward=projected_backward,
    parameter_gradients=projected_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
