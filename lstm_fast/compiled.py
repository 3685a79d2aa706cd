"""Run all steps of a pass in one compiled call, where Numba is installed; an optional extra.

A step goes panel by panel: some units of all four gates at a time, as many as a register holds. The panel's product
lands in a buffer of a few kilobytes, and its cells are computed there before the next panel's product begins; backward,
a step's cells come first, and then one product. Both are of :mod:`lstm_fast.vectors`, which says how; how everything
lies in memory is drawn in :mod:`lstm_fast.panels`.

This module imports Numba, so it is imported at the first pass (:func:`lstm_fast.workspace.kernels_for`); the machine
code is kept on disk. The loops hold no lock on the interpreter, and ``np.errstate`` does not reach into them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numba
import numpy as np

from lstm_fast.caches import L1_BYTES
from lstm_fast.vectors import FUSED, REGISTER, ROWS, VECTORS, multiply, multiply_narrow, step_back, step_forward

__all__ = ["Kernels", "compile_kernels"]


class Kernels(NamedTuple):
    """The compiled functions for one dtype, and how many of its numbers are in a register."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    add_up: Callable[..., None]
    pack: Callable[..., None]
    pack_back: Callable[..., None]
    lanes: int
    rows: int


#: Terms that a product sums up at a time: four registers of each take two thirds of an L1 cache.
TERMS = L1_BYTES * 2 // 3 // (VECTORS * REGISTER)

#: Samples whose product lies in the buffer at a time: with four registers each, a part of the L1 cache.
BUFFERED = 8 * ROWS


def compiled(function: Callable[..., None], *arguments: Any) -> Any:
    """Compile a function of arguments of these types, or load it from disk."""
    try:
        return numba.njit(numba.void(*arguments), nogil=True, cache=True)(function)
    except (OSError, RuntimeError):  # nowhere to keep the machine code
        return numba.njit(numba.void(*arguments), nogil=True)(function)


@cache
def compile_kernels(char: str) -> Kernels | None:
    """Compile, or load from disk, the passes for float32 ('f') or float64 ('d'); None where that cannot be done."""
    if sys.byteorder != "little" or not FUSED or getattr(numba.config, "DISABLE_JIT", False):
        return None  # without the compiler the loops would run in Python, at its speed
    scalar, integer = (numba.float32 if char == "f" else numba.float64), numba.int64
    array, cube = scalar[::1], scalar[:, :, ::1]
    any_strides = numba.types.Array(scalar, 3, "A", readonly=True)

    zero = np.dtype(char).type(0)
    forward = compiled(run_forward, scalar, *[array] * 5, any_strides, *[integer] * 8)
    backward = compiled(run_backward, scalar, *[array] * 7, *[integer] * 2, cube, *[integer] * 5)
    add_up = compiled(run_sum, scalar, *[array] * 3, *[integer] * 7)
    pack = compiled(pack_forward, *[array] * 2, *[integer] * 3)
    pack_back = compiled(pack_backward, *[array] * 2, *[integer] * 2)
    return Kernels(
        partial(forward, zero),
        partial(backward, zero),
        partial(add_up, zero),
        pack,
        pack_back,
        REGISTER // np.dtype(char).itemsize,
        ROWS,
    )


@numba.njit(inline="always")
def product(
    kind: Any, a: Any, a_row: Any, b: Any, c: Any, c_row: Any, rows: Any, vectors: Any, terms: Any, item: Any
) -> None:
    """Write the product of `rows` rows at `a` and one panel at `b` to `c`, in blocks of rows as equal as can be.

    The terms are summed up in pieces of which the panel's part stays in the L1 cache while all rows pass.
    """
    done, pieces = 0, (terms + TERMS - 1) // TERMS
    while pieces > 0:
        number = (terms - done + pieces - 1) // pieces
        left, to, remaining = a + done * item, c, rows
        while remaining > 0:
            blocks = (remaining + ROWS - 1) // ROWS
            height = (remaining + blocks - 1) // blocks
            where = (left, a_row, item, b, vectors * REGISTER, to, c_row, REGISTER, height, vectors, number, done)
            if vectors == VECTORS:
                multiply(kind, where)
            else:
                multiply_narrow(kind, where)
            left += height * a_row
            to += height * c_row
            remaining -= height
        b += number * vectors * REGISTER
        done += number
        pieces -= 1


# All arrays but X and dX are flat. Sizes: w samples, u units, e elements; `row` numbers lie from one row to the next.


def run_forward(
    kind: Any,
    weights: np.ndarray,
    rows: np.ndarray,
    gates: np.ndarray,
    memory: np.ndarray,
    linear: np.ndarray,
    X: np.ndarray,
    first: int,
    last: int,
    keep: int,
    u: int,
    row: int,
    out: int,
    out_row: int,
    out_step: int,
) -> None:
    """Run steps `first` to `last` - 1 as :mod:`lstm_fast.forward` has them, x_t taken from X and h_t written to `out`.

    X (w, s, e) of any strides. `keep` is 1, or 0 if steps take turns with two sets of rows and share all else. `out` is
    the address of h of step `first`, with `out_row` bytes from sample to sample and `out_step` from step to step, or 0.
    """
    w, _, e = X.shape
    item: Any = np.int64(rows.itemsize)
    panels, terms = u * item // REGISTER, u + e + 1
    for t in range(first, last):
        at, then = (t, t + 1) if keep else (t % 2, (t + 1) % 2)
        for b in range(w):
            x, into = X[b, t], (at * w + b) * row + u
            target = rows[into : into + e]
            for k in range(e):
                target[k] = x[k]
        state = np.int64(rows.ctypes.data) + at * w * row * item
        after = np.int64(rows.ctypes.data) + then * w * row * item
        for p in range(panels):
            panel = np.int64(weights.ctypes.data) + p * terms * VECTORS * REGISTER
            for start in range(0, w, BUFFERED):
                count = min(BUFFERED, w - start)
                buffer = np.int64(linear.ctypes.data)
                product(
                    kind,
                    state + start * row * item,
                    row * item,
                    panel,
                    buffer,
                    VECTORS * REGISTER,
                    count,
                    VECTORS,
                    terms,
                    item,
                )
                here = (keep * t * panels + p) * w + start
                before = np.int64(memory.ctypes.data) + here * REGISTER
                h = after + start * row * item + p * REGISTER
                step_forward(
                    kind,
                    (
                        buffer,
                        before,
                        np.int64(gates.ctypes.data) + here * VECTORS * REGISTER if keep else buffer,
                        before + keep * panels * w * REGISTER,
                        h,
                        row * item,
                        out + start * out_row + (t - first) * out_step + p * REGISTER if out else h,
                        out_row if out else row * item,
                        count,
                    ),
                )


def run_backward(
    kind: Any,
    weights: np.ndarray,
    gates: np.ndarray,
    memory: np.ndarray,
    dA: np.ndarray,
    back: np.ndarray,
    dC: np.ndarray,
    dK: np.ndarray,
    dA_row: int,
    dA_step: int,
    dX: np.ndarray,
    first: int,
    last: int,
    u: int,
    row: int,
    dk_row: int,
) -> None:
    """Run steps `last` - 1 to `first` as :mod:`lstm_fast.backward` has them.

    dX (w, s, e). dA lies with `dA_row` numbers from sample to sample and `dA_step` from step to step; both are 0 for
    steps whose h was not returned, and it is zeros. `back` holds dh, and what the product adds behind it is dx.
    """
    w, _, e = dX.shape
    item: Any = np.int64(gates.itemsize)
    panels, vectors = u * item // REGISTER, row * item // REGISTER
    for t in range(last - 1, first - 1, -1):
        dk = np.int64(dK.ctypes.data) + t * w * dk_row * item
        dh = np.int64(back.ctypes.data)
        for p in range(panels):
            here = (t * panels + p) * w
            before = np.int64(memory.ctypes.data) + here * REGISTER
            step_back(
                kind,
                (
                    np.int64(gates.ctypes.data) + here * VECTORS * REGISTER,
                    before,
                    before + panels * w * REGISTER,
                    np.int64(dA.ctypes.data) + t * dA_step * item + p * REGISTER,
                    dA_row * item,
                    dh + p * REGISTER,
                    row * item,
                    np.int64(dC.ctypes.data) + p * w * REGISTER,
                    dk + p * VECTORS * REGISTER,
                    dk_row * item,
                    w,
                ),
            )
        for p in range(0, vectors, VECTORS):
            panel = np.int64(weights.ctypes.data) + p * REGISTER * 4 * u
            product(
                kind,
                dk,
                dk_row * item,
                panel,
                dh + p * REGISTER,
                row * item,
                w,
                min(VECTORS, vectors - p),
                4 * u,
                item,
            )
        for b in range(w):
            source, target = back[b * row + u : b * row + u + e], dX[b, t]
            for k in range(e):
                target[k] = source[k]


def run_sum(
    kind: Any,
    rows: np.ndarray,
    dK: np.ndarray,
    dW: np.ndarray,
    count: int,
    inner: int,
    row: int,
    dk_row: int,
    first: int,
    last: int,
    add: int,
) -> None:
    """Fill panels `first` to `last` - 1 of dW with the sum over `count` rows of c_t dk_t^T; or add that, if `add`.

    dW (inner, 4, u) should stay in the L2 cache, and then the terms of a panel that are summed up at a time in the L1.
    """
    item: Any = np.int64(rows.itemsize)
    u = dW.size // (4 * inner)
    for start in range(0, count, TERMS):
        number = min(TERMS, count - start)
        for p in range(first, last):
            k = 0
            while k < inner:
                height = min(ROWS, inner - k)
                multiply(
                    kind,
                    (
                        np.int64(rows.ctypes.data) + (start * row + k) * item,
                        item,
                        row * item,
                        np.int64(dK.ctypes.data) + start * dk_row * item + p * VECTORS * REGISTER,
                        dk_row * item,
                        np.int64(dW.ctypes.data) + k * 4 * u * item + p * REGISTER,
                        4 * u * item,
                        u * item,
                        height,
                        VECTORS,
                        number,
                        add + start,
                    ),
                )
                k += height


def pack_forward(W: np.ndarray, weights: np.ndarray, units: int, u: int, e: int) -> None:
    """Copy W (units + e + 1, 4 units) into panels (panels, u + e + 1, 4, lanes), f, i, o halved; u: `units`, padded."""
    lanes, half = REGISTER // W.itemsize, W.dtype.type(0.5)
    terms = u + e + 1
    for p in range(u // lanes):
        width = min(lanes, units - p * lanes)
        for k in range(units + e + 1):
            line = k if k < units else k + u - units
            for gate in range(4):
                start, into = (k * 4 + gate) * units + p * lanes, ((p * terms + line) * 4 + gate) * lanes
                source, target = W[start : start + width], weights[into : into + width]
                factor = half if gate else W.dtype.type(1)
                for j in range(width):
                    target[j] = source[j] * factor


def pack_backward(weights: np.ndarray, back: np.ndarray, u: int, e: int) -> None:
    """Copy [V; U], from the forward pass's panels, to those of the backward product, each number as it was in W."""
    lanes = REGISTER // weights.itemsize
    panels, terms = u // lanes, u + e + 1
    two = weights.dtype.type(2)
    columns = (u + e + lanes - 1) // lanes * lanes
    for left in range(0, u + e, 4 * lanes):
        stride = min(4 * lanes, columns - left)
        for p in range(panels):
            for gate in range(4):
                factor = two if gate else weights.dtype.type(1)
                for k in range(left, min(left + stride, u + e)):
                    start = ((p * terms + k) * 4 + gate) * lanes
                    into = left * 4 * u + (p * 4 + gate) * lanes * stride + k - left
                    source, target = (
                        weights[start : start + lanes],
                        back[into : into + (lanes - 1) * stride + 1 : stride],
                    )
                    for j in range(lanes):
                        target[j] = source[j] * factor
