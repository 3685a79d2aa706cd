"""The forward pass: equations (1) to (8) of `README.md`, one statement each.

The function reads sizes from the last axes and allocates nothing itself, so it runs unchanged on float,
complex, ndarray subclasses, object arrays of numbers that know `tanh`, and with any leading axes.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lstm_ref.activations import sigmoid, tanh

KEPT = ("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "h")
"""The intermediates of every step."""


def lstm_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, keep: Collection[str] = KEPT) -> dict[str, Any]:
    """Return every intermediate of the forward pass by name, EpyNN's `fc`.

    Parameters
    ----------
    p : mapping
        The twelve parameters: `Uf Ui Ug Uo` (..., e, u), `Vf Vi Vg Vo` (..., u, u), `bf bi bg bo` (..., 1, u).
    X : array (..., m, s, e)
        The input sequences.
    h0, C0 : array (..., m, u)
        Initial hidden state and initial memory state.
    keep : collection of str
        Which intermediates are wanted; the backward pass takes all.

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
        h = o * C  # (8)

        trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, C, h))

    steps = zip(KEPT, zip(*trace, strict=True), strict=True)
    fc = {name: np.stack(values, axis=-2) for name, values in steps if name in keep}
    fc["X"] = X
    return fc
