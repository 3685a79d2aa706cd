"""The plain RNN (Elman 1990): the hidden state is tanh of one linear activation, which is the LSTM's candidate.

As `torch.nn.RNN` with tanh and Keras's SimpleRNN have it. Equations as in `README.md`: no gates but g, and no memory.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import tanh, tanh_derivative
from lstm_ref.cell import Cell, State
from lstm_ref.cells.plain import AXES
from lstm_ref.gradients import _steps_first

GATES = ("g",)

KEPT = ("hp", "g_", "h")
"""The intermediates of every step."""

NEEDED = ("hp", "h")
"""The intermediates that the backward pass and the gradients take, and the output."""

STATES = (State("h", "mu", "h"),)

SLOTS = {"g": ("g_",)}
"""Which linear activations are put through which function, as `lstm_ref.slots` has them."""


def rnn_forward(p: Mapping[str, Any], X: Any, h0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        `Ug` (..., e, u), `Vg` (..., u, u), `bg` (..., 1, u).
    X : array (..., m, s, e)
    h0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp g_ h`.
    """
    trace = []
    h = h0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp = h

        g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)
        h = tanh(g_)  # (4)

        trace.append((hp, g_, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def rnn_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any) -> dict[str, Any]:
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
        Each (..., m, s, u): `dhn` arriving from the next step, `dh_` the whole cotangent of `h`, `dg_` of the
        linear activation, `dh` passed on to the step before. Then `dA` as given, `dX` (..., m, s, e), and `dh0`
        (..., m, u).
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        h = fc["h"][..., s, :]

        dh_ = dA_s + dhn  # (9)
        dg_ = dh_ * tanh_derivative(h)  # (4)
        dX = dg_ @ p["Ug"].mT  # (1)
        dh = dg_ @ p["Vg"].mT  # (1)

        trace.append((dhn, dh_, dg_, dX, dh))
        dhn = dh

    trace.reverse()
    names = ("dhn", "dh_", "dg_", "dX", "dh")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn}


def rnn_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of the three parameters, from `X`, `hp` and the cotangent of the linear activation."""
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
    name="rnn",
    title="plain RNN",
    gates=GATES,
    parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()},
    states=STATES,
    forward=rnn_forward,
    backward=rnn_backward,
    parameter_gradients=rnn_gradients,
    needed=NEEDED,
    slots=SLOTS,
)
