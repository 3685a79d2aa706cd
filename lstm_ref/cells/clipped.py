"""The LSTM whose memory is cut off at a limit and handed on so, as TensorFlow's `cell_clip` has it.

Equations as in `README.md`, and the lines are the plain cell's word for word where they are the same. The memory is
cut off after its update and before its tanh, (6c), and what is left is what the next step takes and what comes out at
the end; the initial memory is taken as it is given. Where it is cut off it is a constant, through which no cotangent
goes: so have it TensorFlow's `clip_by_value`, PyTorch's `clamp` and JAX's `clip`. At the limit itself they differ, and
nothing hangs on what it is here.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from lstm_ref.cell import Cell, Kink
from lstm_ref.cells.plain import AXES, SLOTS, STATES
from lstm_ref.gradients import lstm_parameter_gradients
from lstm_ref.slots import compiled, number_in_words

LIMIT = 1.0
"""Where nobody says another."""

GATES = ("f", "i", "g", "o")

KEPT = ("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "cC", "C", "h")
"""The intermediates of every step."""


def clip(x: Any) -> Any:
    """Return `x` cut off at -`LIMIT` and `LIMIT`."""
    return np.minimum(np.maximum(x, 0 * x - LIMIT), 0 * x + LIMIT)


def clip_derivative(x: Any) -> Any:
    """Return the derivative of `clip` at `x`, and not at its value: 1, or 0 where it is cut off."""
    return (x > -LIMIT) * (x < LIMIT)


def clipped_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name.

    Parameters
    ----------
    p : mapping
        The twelve parameters of the plain cell.
    X : array (..., m, s, e)
    h0, C0 : array (..., m, u)
    keep : collection of str
        Which intermediates are wanted.

    Returns
    -------
    dict
        `X` as given and, each (..., m, s, u): `hp Cp_ f_ f i_ i g_ g o_ o C_ cC C h`.
    """
    trace = []
    h, cC = h0, C0
    for s in range(X.shape[-2]):
        X_s = X[..., s, :]
        hp, Cp_ = h, cC

        f_ = X_s @ p["Uf"] + hp @ p["Vf"] + p["bf"]  # (1f)
        i_ = X_s @ p["Ui"] + hp @ p["Vi"] + p["bi"]  # (1i)
        g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)
        o_ = X_s @ p["Uo"] + hp @ p["Vo"] + p["bo"]  # (1o)
        f = sigmoid(f_)  # (2)
        i = sigmoid(i_)  # (3)
        g = tanh(g_)  # (4)
        o = sigmoid(o_)  # (5)
        C_ = f * Cp_ + i * g  # (6)
        cC = clip(C_)  # (6c)
        C = tanh(cC)  # (7)
        h = o * C  # (8)

        trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, cC, C, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc


def clipped_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name; parameters and results as `lstm_backward` has them.

    `dcC` besides, that of the memory after it was cut off; `dCn` is of that one, too.
    """
    trace = []
    for s in reversed(range(dA.shape[-2])):
        dA_s = dA[..., s, :]
        Cp_, f, i, g, o, C_, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C_", "C"))

        dh_ = dA_s + dhn  # (9)
        do = dh_ * C  # (8)
        dcC = dh_ * o * tanh_derivative(C) + dCn  # (8), (7)
        dC_ = dcC * clip_derivative(C_)  # (6c)
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

        trace.append((dhn, dh_, dCn, dcC, dC_, do_, dg_, di_, df_, dX, dh, dC))
        dhn, dCn = dh, dC

    trace.reverse()
    names = ("dhn", "dh_", "dCn", "dcC", "dC_", "do_", "dg_", "di_", "df_", "dX", "dh", "dC")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}


def with_limit(limit: float) -> Cell:
    """Return the cell of another limit: its own source once more, with another number in it."""
    numbers = {"LIMIT": limit}
    names = {function.__name__: compiled(function, numbers) for function in (clip, clip_derivative)} | numbers
    return Cell(
        name="clipped" if limit == LIMIT else f"clipped,limit={number_in_words(limit)}",
        title=f"LSTM with its memory cut off at {number_in_words(limit)}",
        gates=GATES,
        parameters={kind + gate: axes for gate in GATES for kind, axes in AXES.items()},
        states=(STATES[0], STATES[1]._replace(kept_as="cC")),
        forward=clipped_forward if limit == LIMIT else compiled(clipped_forward, names),
        backward=clipped_backward if limit == LIMIT else compiled(clipped_backward, names),
        parameter_gradients=lstm_parameter_gradients,
        needed=("hp", "Cp_", *GATES, "C_", "cC", "C", "h"),
        slots=SLOTS | {"h": ("cC",)},
        written_as=None if limit == LIMIT else CELL,
        kinks={"C_": tuple(Kink(end, rounded=limit, cut=True) for end in (-limit, limit))},
        numbers=numbers,
        spread={"C0": 2 * limit},
    )


CELL = with_limit(LIMIT)
