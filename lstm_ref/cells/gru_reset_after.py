"""The GRU whose reset gate comes after the product: it scales what the state gives the candidate.

As cuDNN, PyTorch and Keras (`reset_after=True`, its default) have it, and ONNX with `linear_before_reset`. Equations as
in `README.md`: there is no memory, z says how much of the state before stays, and the candidate's recurrent part has a
bias of its own, cg, since r scales it.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell, State
from lstm_ref.cells.plain import AXES
from lstm_ref.gradients import _steps_first

GATES = ("r", "z", "g")

KEPT = ("hp", "r_", "r", "z_", "z", "q_", "g_", "g", "h")
"""The intermediates of every step."""

NEEDED = ("hp", "r", "z", "q_", "g", "h")
"""The intermediates that the backward pass and the gradients take, and the output."""

STATES = (State("h", "mu", "h"),)

SLOTS = {"f": ("r_", "z_"), "g": ("g_",)}
"""Which linear activations are put through which function, as `lstm_ref.slots` has them."""


def gru_reset_after_forward(p: Mapping[str, Any], X: Any, h0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Ur Uz Ug` (..., e, u), `Vr Vz Vg` (..., u, u), `br bz bg` and `cg` (..., 1, u).
    X : array (..., m, s, e)
    h0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp r_ r z_ z q_ g_ g h`.
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
        q_ = hp @ p["Vg"] + p["cg"]  # (6)
        g_ = X_s @ p["Ug"] + r * q_ + p["bg"]  # (1g)
        g = tanh(g_)  # (4)
        h = z * hp + (1 - z) * g  # (8)

        trace.append((hp, r_, r, z_, z, q_, g_, g, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def gru_reset_after_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any) -> dict[str, Any]:
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
        Each (..., m, s, u): `dhn` arriving from the next step, `dh_` the whole cotangent of `h`, `dg_ dq_ dz_ dr_` of
        the linear activations, `dh` passed on to the step before. Then `dA` as given, `dX` (..., m, s, e), and `dh0`
        (..., m, u).
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        hp, r, z, q_, g = (fc[name][..., s, :] for name in ("hp", "r", "z", "q_", "g"))

        dh_ = dA_s + dhn  # (9)
        dz = dh_ * (hp - g)  # (8)
        # As autograd has it of g + z (hp - g): dh_ (1 - z) would spare a rounding that is nobody's mistake.
        dg = dh_ - dh_ * z  # (8)
        dg_ = dg * tanh_derivative(g)  # (4)
        dq_ = dg_ * r  # (1g)
        dr = dg_ * q_  # (1g)
        dz_ = dz * sigmoid_derivative(z)  # (3)
        dr_ = dr * sigmoid_derivative(r)  # (2)
        dX = dr_ @ p["Ur"].mT + dz_ @ p["Uz"].mT + dg_ @ p["Ug"].mT  # (1)
        dh = dr_ @ p["Vr"].mT + dz_ @ p["Vz"].mT + dq_ @ p["Vg"].mT + dh_ * z  # (1), (6), (8)

        trace.append((dhn, dh_, dg_, dq_, dz_, dr_, dX, dh))
        dhn = dh

    trace.reverse()
    names = ("dhn", "dh_", "dg_", "dq_", "dz_", "dr_", "dX", "dh")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn}


def gru_reset_after_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the ten parameters, from `X`, `hp` and the cotangents of the linear activations."""
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
    g["dVg"] = np.sum(_steps_first(fc["hp"]).mT @ _steps_first(bc["dq_"]), axis=-3)  # (6)
    g["dcg"] = np.sum(np.sum(bc["dq_"], axis=-2), axis=-2)[..., np.newaxis, :]  # (6)
    return g


CELL = Cell(
    name="gru_reset_after",
    title="GRU with reset after the product",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()} | {"cg": "1u"},
    states=STATES,
    forward=gru_reset_after_forward,
    backward=gru_reset_after_backward,
    parameter_gradients=gru_reset_after_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
