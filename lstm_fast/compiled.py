"""Compile the element-wise work between the products, where Numba is installed; an optional extra.

NumPy makes one pass over memory, and one call, for each operation; here a step's operations are a
few loops. Products and tanh stay NumPy's, each operation is the same one, in the same order, and
none is contracted: the results equal those of the NumPy code to the bit, and tests hold that.

Numba is imported at the first pass, not with the package (that takes about half a second), and the
machine code is kept on disk. Without Numba, or with ``LSTM_FAST_COMPILED=0`` in the environment
(read at every pass), everything runs in NumPy. ``np.errstate`` does not reach into these loops.

LLVM makes vector code of a loop only if few arrays are in it (all might overlap, as far as it
knows); hence several short loops, each with at most two outputs, and slices without arithmetic in
their index.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Kernels", "kernels_for"]


class Kernels(NamedTuple):
    """The two compiled functions for one dtype."""

    forward: Callable[..., None]
    backward: Callable[..., None]


def kernels_for(dtype: np.dtype) -> Kernels | None:
    """Return the compiled functions; None if there is no Numba or it is switched off."""
    if os.environ.get("LSTM_FAST_COMPILED", "") == "0":
        return None
    return _compile(dtype.char)


@cache
def _compile(char: str) -> Kernels | None:
    """Compile, or load from disk, both functions for float32 ('f') or float64 ('d')."""
    try:
        import numba
    except ImportError:
        return None
    array = (numba.float32 if char == "f" else numba.float64)[::1]

    def compiled(function: Callable[..., None], arrays: int) -> Any:
        signature = numba.void(*[array] * arrays, numba.int64)
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except RuntimeError:  # no directory to keep the machine code in
            return numba.njit(signature, nogil=True)(function)

    return Kernels(compiled(finish_gates, 2), compiled(step_back, 6))


def finish_gates(slots: np.ndarray, C: np.ndarray, t: int) -> None:
    """Make f, i, o sigmoids and write C_t = f C_{t-1} + i g, in the slots (5 s + 1 units) of step t.

    f, i, o come as tanh of half the linear activation; C (one unit) gives the size only.
    """
    n, half = C.size, C.dtype.type(0.5)
    slot = slots[5 * t * n : (5 * t + 6) * n]
    Cp, g, f, i, C_ = slot[:n], slot[n : 2 * n], slot[2 * n : 3 * n], slot[3 * n : 4 * n], slot[5 * n :]
    sigmoids = slot[2 * n : 5 * n]
    for k in range(3 * n):
        sigmoids[k] = sigmoids[k] * half + half
    for k in range(n):
        C_[k] = f[k] * Cp[k] + i[k] * g[k]


def step_back(
    slots: np.ndarray, C: np.ndarray, dA: np.ndarray, dh: np.ndarray, dC: np.ndarray, dk: np.ndarray, t: int
) -> None:
    """Fill dk = dg_, df_, di_, do_ of step t, and take dC to step t - 1; adds dA to dh in place.

    The equations stand in :mod:`lstm_fast.backward`. All arrays are flat units but slots and dk (4 units).
    """
    n, one = C.size, C.dtype.type(1)
    slot = slots[5 * t * n : 5 * (t + 1) * n]
    Cp, g, f, i, o = slot[:n], slot[n : 2 * n], slot[2 * n : 3 * n], slot[3 * n : 4 * n], slot[4 * n :]
    dg_, df_, di_, do_ = dk[:n], dk[n : 2 * n], dk[2 * n : 3 * n], dk[3 * n :]
    for k in range(n):
        dh[k] += dA[k]
    for k in range(n):
        h = o[k] * C[k]
        do_[k] = dh[k] * ((one - o[k]) * h)
        dC[k] += dh[k] * (o[k] - h * C[k])  # dC_, from here on
    for k in range(n):
        ig = i[k] * g[k]
        dg_[k] = dC[k] * (i[k] - ig * g[k])
        di_[k] = dC[k] * ((one - i[k]) * ig)
    for k in range(n):
        df_[k] = dC[k] * ((one - f[k]) * (f[k] * Cp[k]))
        dC[k] *= f[k]
