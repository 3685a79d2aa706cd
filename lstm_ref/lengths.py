"""Batches of samples of different lengths: each sample is run by itself, over its own steps alone.

So no equation knows of padding, and nothing that stands in it can do harm. What is kept is zero there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_ref.backward import lstm_backward
from lstm_ref.forward import KEPT, lstm_forward

PASSED_BACK = ("dhn", "dh_", "dCn", "dC_", "do_", "dg_", "di_", "df_", "dh", "dC")
"""The cotangents of every step that are as wide as the hidden state."""


def padded_forward(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, lengths: Any) -> dict[str, Any]:
    """Return what `lstm_forward` does, zero in the padding, with the final states `hn` and `Cn` at each sample's end.

    Parameters
    ----------
    p : mapping
        The twelve parameters.
    X : array (m, s, e)
        The input sequences, padded at their ends.
    h0, C0 : array (m, u)
        Initial hidden state and initial memory state.
    lengths : array of int (m,)
        How many steps each sample has, from 0 to s; one of none ends with the states that it began with.
    """
    hn, Cn = h0.copy(), C0.copy()
    fc = {name: _padding(X, X if name == "X" else h0) for name in (*KEPT, "X")}
    for n, steps in enumerate(lengths):
        if steps:
            own = slice(n, n + 1)
            _fill(fc, own, steps, lstm_forward(p, X[own, :steps], h0[own], C0[own]))
            hn[n], Cn[n] = fc["h"][n, steps - 1], fc["C_"][n, steps - 1]
    return fc | {"hn": hn, "Cn": Cn}


def padded_backward(
    p: Mapping[str, Any], fc: Mapping[str, Any], dA: Any, dhn: Any, dCn: Any, lengths: Any
) -> dict[str, Any]:
    """Return what `lstm_backward` does, zero in the padding; what `dA` is there is not looked at.

    Parameters
    ----------
    p, fc : mapping
        The twelve parameters, and what `padded_forward` returned.
    dA : array (m, s, u)
        Cotangent of the hidden state at every step.
    dhn, dCn : array (m, u)
        Cotangents of the final states at each sample's own end.
    lengths : array of int (m,)
        As `padded_forward` took them.
    """
    dh0, dC0 = dhn.copy(), dCn.copy()
    bc = {name: _padding(dA, fc["X"] if name == "dX" else dA) for name in (*PASSED_BACK, "dX", "dA")}
    for n, steps in enumerate(lengths):
        if steps:
            own = slice(n, n + 1)
            kept = {name: fc[name][own, :steps] for name in KEPT}
            found = lstm_backward(p, kept, dA[own, :steps], dhn[own], dCn[own])
            dh0[n], dC0[n] = found.pop("dh0")[0], found.pop("dC0")[0]
            _fill(bc, own, steps, found)
    return bc | {"dh0": dh0, "dC0": dC0}


def _padding(steps_of: Any, width_of: Any) -> Any:
    """Return zeros (m, s, n), with the m and s of one array and the n of the other."""
    return np.zeros_like(steps_of, shape=(*steps_of.shape[:2], width_of.shape[-1]))


def _fill(whole: dict[str, Any], own: slice, steps: int, found: Mapping[str, Any]) -> None:
    """Write one sample's steps where they belong."""
    for name, value in found.items():
        whole[name][own, :steps] = value
