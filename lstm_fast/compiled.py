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

__all__ = ["SWITCH", "Kernels", "kernels_for"]

#: The environment variable that, set to 0, switches these loops off.
SWITCH = "LSTM_FAST_COMPILED"


class Kernels(NamedTuple):
    """The compiled functions for one dtype."""

    finish_gates: Callable[..., None]
    emit_state: Callable[..., None]
    step_back: Callable[..., None]


def kernels_for(dtype: np.dtype) -> Kernels | None:
    """Return the compiled functions; None if there is no Numba or it is switched off."""
    if os.environ.get(SWITCH) == "0":
        return None
    return _compile(dtype.char)


@cache
def _compile(char: str) -> Kernels | None:
    """Compile, or load from disk, the functions for float32 ('f') or float64 ('d')."""
    try:
        import numba
    except ImportError:
        return None
    if getattr(numba.config, "DISABLE_JIT", False):  # the loops would run in Python, at its speed
        return None
    array = (numba.float32 if char == "f" else numba.float64)[::1]

    def compiled(function: Callable[..., None], arrays: int, integers: int) -> Any:
        signature = numba.void(*[array] * arrays, *[numba.int64] * integers)
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except (OSError, RuntimeError):  # nowhere to keep the machine code
            return numba.njit(signature, nogil=True)(function)

    return Kernels(compiled(finish_gates, 1, 2), compiled(emit_state, 3, 5), compiled(step_back, 7, 4))


# All arrays are flat. `size` is that of a unit, u w; n, w, r is its shape where it is to be taken
# out of its order: n blocks of r features, for w samples.


def finish_gates(slots: np.ndarray, t: int, size: int) -> None:
    """Make f, i, o sigmoids and write C_t = f C_{t-1} + i g, in the slots (5 s + 1 units) of step t.

    f, i, o come as tanh of half the linear activation.
    """
    half = slots.dtype.type(0.5)
    slot = slots[5 * t * size : (5 * t + 6) * size]
    Cp, g, f, i, C_ = (
        slot[:size],
        slot[size : 2 * size],
        slot[2 * size : 3 * size],
        slot[3 * size : 4 * size],
        slot[5 * size :],
    )
    sigmoids = slot[2 * size : 5 * size]
    for k in range(3 * size):
        sigmoids[k] = sigmoids[k] * half + half
    for k in range(size):
        C_[k] = f[k] * Cp[k] + i[k] * g[k]


def emit_state(slots: np.ndarray, C: np.ndarray, states: np.ndarray, t: int, n: int, w: int, r: int, row: int) -> None:
    """Write h_t = o C to states[t + 1], which has w rows of `row` numbers, the first n r of them h."""
    size = n * w * r
    o = slots[(5 * t + 4) * size : (5 * t + 5) * size]
    C_t = C[t * size : (t + 1) * size]
    for a in range(n):
        for b in range(w):
            into = (t + 1) * w * row + b * row + a * r
            h, start = states[into : into + r], (a * w + b) * r
            o_row, C_row = o[start : start + r], C_t[start : start + r]
            for k in range(r):
                h[k] = o_row[k] * C_row[k]


def step_back(
    slots: np.ndarray,
    C: np.ndarray,
    dA: np.ndarray,
    dh: np.ndarray,
    dC: np.ndarray,
    dk: np.ndarray,
    rows: np.ndarray,
    t: int,
    n: int,
    w: int,
    r: int,
) -> None:
    """Fill dk = dg_, df_, di_, do_ of step t, and take dC to step t - 1; adds dA to dh in place.

    The equations stand in :mod:`lstm_fast.backward`. C and dA are those of step t. If n is not 0, dk (4 units) is
    then copied to `rows`, one for each sample.
    """
    size, one = C.size, C.dtype.type(1)
    slot = slots[5 * t * size : 5 * (t + 1) * size]
    Cp, g, f, i, o = (
        slot[:size],
        slot[size : 2 * size],
        slot[2 * size : 3 * size],
        slot[3 * size : 4 * size],
        slot[4 * size :],
    )
    dg_, df_, di_, do_ = dk[:size], dk[size : 2 * size], dk[2 * size : 3 * size], dk[3 * size :]
    for k in range(size):
        dh[k] += dA[k]
    for k in range(size):
        h = o[k] * C[k]
        do_[k] = dh[k] * ((one - o[k]) * h)
        dC[k] += dh[k] * (o[k] - h * C[k])  # dC_, from here on
    for k in range(size):
        ig = i[k] * g[k]
        dg_[k] = dC[k] * (i[k] - ig * g[k])
        di_[k] = dC[k] * ((one - i[k]) * ig)
    for k in range(size):
        df_[k] = dC[k] * ((one - f[k]) * (f[k] * Cp[k]))
        dC[k] *= f[k]
    for a in range(4 * n):
        for b in range(w):
            into, start = (b * 4 * n + a) * r, (a * w + b) * r
            target, source = rows[into : into + r], dk[start : start + r]
            for k in range(r):
                target[k] = source[k]
