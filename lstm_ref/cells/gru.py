"""The GRU whose reset gate comes before the product: it scales the state that the candidate sees (Cho et al. 2014).

As Keras (`reset_after=False`), Haiku and ONNX (`linear_before_reset` 0, its default) have it. Equations as in
`README.md`: there is no memory, and z says how much of the state before stays.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell, State
from lstm_ref.cells.plain import AXES
from lstm_ref.gradients import _steps_first

GATES = ("r", "z", "g")

KEPT = ("hp", "r_", "r", "z_", "z", "q", "g_", "g", "h")
"""The intermediates of every step."""

NEEDED = ("hp", "r", "z", "q", "g", "h")
"""The intermediates that the backward pass and the gradients take, and the output."""

STATES = (State("h", "mu", "h"),)

SLOTS = {"f": ("r_", "z_"), "g": ("g_",)}
"""Which linear activations are put through which function, as `lstm_ref.slots` has them."""


def gru_forward(p: Mapping[str, Any], X: Any, h0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Ur Uz Ug` (..., e, u), `Vr Vz Vg` (..., u, u), `br bz bg` (..., 1, u).
    X : array (..., m, s, e)
    h0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp r_ r z_ z q g_ g h`.
    """
    trace = []
    h = h0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp = h

        r_ = X_s @ p["Ur"] + hp @ p["Vr"] + p["br"]  # (1r)
        z_ = X_s @ p["Uz"] + hp @ p["Vz"] + p["bz"]  # (1z)
        r = sigmoid(r_)  # (2)
        z = sigmoid(z_)  # (3)
        q = r * hp  # (6)
        g_ = X_s @ p["Ug"] + q @ p["Vg"] + p["bg"]  # (1g)
        g = tanh(g_)  # (4)
        h = z * hp + (1 - z) * g  # (8)

        trace.append((hp, r_, r, z_, z, q, g_, g, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def gru_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name.

    Parameters
    ----------
    p : mapping
        The parameters, as the forward pass took them.
    fc : mapping
        What the forward pass returned.
    dA : array (..., m, s, u)
        Cotangent of the hidden state at every step.
    dhn : array (..., m, u)
        Cotangent of the final hidden state, in addition to `dA`.

    Returns
    -------
    dict
        Each (..., m, s, u): `dhn` arriving from the next step, `dh_` the whole cotangent of `h`, `dg_ dz_ dr_` of
        the linear activations, `dq` of the reset state, `dh` passed on to the step before. Then `dA` as given, `dX`
        (..., m, s, e), and `dh0` (..., m, u).
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        hp, r, z, g = (fc[name][..., s, :] for name in ("hp", "r", "z", "g"))

        dh_ = dA_s + dhn  # (9)
        dz = dh_ * (hp - g)  # (8)
        # As autograd has it of g + z (hp - g): dh_ (1 - z) would spare a rounding that is nobody's mistake.
        dg = dh_ - dh_ * z  # (8)
        dg_ = dg * tanh_derivative(g)  # (4)
        dq = dg_ @ p["Vg"].mT  # (1g)
        dr = dq * hp  # (6)
        dz_ = dz * sigmoid_derivative(z)  # (3)
        dr_ = dr * sigmoid_derivative(r)  # (2)
        dX = dr_ @ p["Ur"].mT + dz_ @ p["Uz"].mT + dg_ @ p["Ug"].mT  # (1)
        dh = dr_ @ p["Vr"].mT + dz_ @ p["Vz"].mT + dq * r + dh_ * z  # (1), (6), (8)

        trace.append((dhn, dh_, dg_, dq, dz_, dr_, dX, dh))
        dhn = dh

    trace.reverse()
    names = ("dhn", "dh_", "dg_", "dq", "dz_", "dr_", "dX", "dh")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn}


def gru_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the nine parameters, from `X`, `hp`, `q` and the cotangents of the linear activations."""
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"db{gate}"] = np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]  # (1)
    for gate in GATES[:2]:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
    g["dVg"] = np.sum(_steps_first(fc["q"]).mT @ _steps_first(bc["dg_"]), axis=-3)  # (1g)
    return g


CELL = Cell(
    name="gru",
    title="GRU with reset before the product",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()},
    states=STATES,
    forward=gru_forward,
    backward=gru_backward,
    parameter_gradients=gru_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
