"""The gradients of the twelve parameters: equation (1) once more, summed over samples and steps.

Apart from `backward.py` because it needs no recurrence: all steps at once, from what the two passes kept.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

GATES = ("f", "i", "g", "o")


def lstm_parameter_gradients(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients `dUf dVf dbf ... dUo dVo dbo` of one forward and backward pass.

    Parameters
    ----------
    fc : mapping
        `X` (..., m, s, e) and `hp` (..., m, s, u) of the forward pass.
    bc : mapping
        `df_ di_ dg_ do_` (..., m, s, u) of the backward pass.

    Returns
    -------
    dict
        `dU` (..., e, u), `dV` (..., u, u) and `db` (..., 1, u) of each gate.
    """
    X = _steps_first(fc["X"])
    hp = _steps_first(fc["hp"])
    g = {}
    for gate in GATES:
        dk_ = _steps_first(bc[f"d{gate}_"])
        g[f"dU{gate}"] = np.sum(X.mT @ dk_, axis=-3)  # (1)
        g[f"dV{gate}"] = np.sum(hp.mT @ dk_, axis=-3)  # (1)
        g[f"db{gate}"] = np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]  # (1)
    return g


def _steps_first(k: Any) -> Any:
    """Return `k` (..., m, s, n) as (..., s, m, n), so that one product serves all steps."""
    return np.swapaxes(k, -2, -3)
