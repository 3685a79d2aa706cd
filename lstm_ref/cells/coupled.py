"""The LSTM with coupled gates: it takes in as much as it forgets, i = 1 - f (Greff et al. 2017, "CIFG").

Equations as in `README.md`, and the lines are the plain cell's word for word where they are the same: (3) is i = 1 - f,
so that there is no i_ and there are no weights of it.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell
from lstm_ref.cells.plain import AXES, NEEDED, SLOTS, STATES
from lstm_ref.gradients import _steps_first

GATES = ("f", "g", "o")

KEPT = ("hp", "Cp_", "f_", "f", "i", "g_", "g", "o_", "o", "C_", "C", "h")
"""The intermediates of every step."""


def coupled_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Uf Ug Uo` (..., e, u), `Vf Vg Vo` (..., u, u), `bf bg bo` (..., 1, u).
    X : array (..., m, s, e)
    h0, C0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp Cp_ f_ f i g_ g o_ o C_ C h`.
    """
    trace = []
    h, C_ = h0, C0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp, Cp_ = h, C_

        f_ = X_s @ p["Uf"] + hp @ p["Vf"] + p["bf"]  # (1f)
        g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)
        o_ = X_s @ p["Uo"] + hp @ p["Vo"] + p["bo"]  # (1o)
        f = sigmoid(f_)  # (2)
        i = 1 - f  # (3)
        g = tanh(g_)  # (4)
        o = sigmoid(o_)  # (5)
        C_ = f * Cp_ + i * g  # (6)
        C = tanh(C_)  # (7)
        h = o * C  # (8)

        trace.append((hp, Cp_, f_, f, i, g_, g, o_, o, C_, C, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def coupled_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name; parameters and results as `lstm_backward` has them.

    There is no `di_`: what arrives at i arrives at f with its sign changed.
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))

        dh_ = dA_s + dhn  # (9)
        do = dh_ * C  # (8)
        dC_ = dh_ * o * tanh_derivative(C) + dCn  # (8), (7)
        df = dC_ * Cp_  # (6)
        di = dC_ * g  # (6)
        dg = dC_ * i  # (6)
        dC = dC_ * f  # (6)
        do_ = do * sigmoid_derivative(o)  # (5)
        dg_ = dg * tanh_derivative(g)  # (4)
        df_ = (df - di) * sigmoid_derivative(f)  # (2), (3)
        dX = df_ @ p["Uf"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)
        dh = df_ @ p["Vf"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)

        trace.append((dhn, dh_, dCn, dC_, do_, dg_, df_, dX, dh, dC))
        dhn, dCn = dh, dC

    trace.reverse()
    names = ("dhn", "dh_", "dCn", "dC_", "do_", "dg_", "df_", "dX", "dh", "dC")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}


def coupled_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the nine parameters, from `X`, `hp` and the cotangents of the linear activations."""
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
        g[f"db{gate}"] = np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]  # (1)
    return g


CELL = Cell(
    name="coupled",
    title="LSTM with coupled gates",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()},
    states=STATES,
    forward=coupled_forward,
    backward=coupled_backward,
    parameter_gradients=coupled_gradients,
    needed=NEEDED,
    slots=SLOTS | {"f": ("f_", "o_")},
    spread={"C0": 2.0},  # what it takes in it forgets, so that it does not grow large by itself
)
