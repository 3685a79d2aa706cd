"""Backpropagation through time: the forward equations of `README.md` in reverse, one statement each.

Every line carries the number of the forward equation whose cotangent it passes on. Like the forward pass
it runs under any arithmetic and with any leading axes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid_derivative, tanh_derivative


def lstm_backward(p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any) -> dict[str, Any]:
    """Return every cotangent of the backward pass by name, EpyNN's `bc`.

    Parameters
    ----------
    p : mapping
        The twelve parameters, as `lstm_forward` took them.
    fc : mapping
        What `lstm_forward` returned.
    dA : array (..., m, s, u)
        Cotangent of the hidden state at every step.
    dhn, dCn : array (..., m, u)
        Cotangents of the final hidden state and of the final memory state, in addition to `dA`.

    Returns
    -------
    dict
        Each (..., m, s, u): `dhn` and `dCn` arriving from the next step, `dh_` and `dC_` the whole cotangents
        of `h` and `C_`, `do_ dg_ di_ df_` of the linear activations, `dh` and `dC` passed on to the step before.
        Then `dA` as given, `dX` (..., m, s, e), and `dh0`, `dC0` (..., m, u).
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
        di_ = di * sigmoid_derivative(i)  # (3)
        df_ = df * sigmoid_derivative(f)  # (2)
        dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)
        dh = df_ @ p["Vf"].mT + di_ @ p["Vi"].mT + dg_ @ p["Vg"].mT + do_ @ p["Vo"].mT  # (1)

        trace.append((dhn, dh_, dCn, dC_, do_, dg_, di_, df_, dX, dh, dC))
        dhn, dCn = dh, dC

    trace.reverse()
    names = ("dhn", "dh_", "dCn", "dC_", "do_", "dg_", "di_", "df_", "dX", "dh", "dC")
    bc = {name: np.stack(values, axis=-2) for name, values in zip(names, zip(*trace, strict=True), strict=True)}
    return bc | {"dA": dA, "dh0": dhn, "dC0": dCn}
