"""Run all steps of a pass in one compiled call, where Numba is installed; an optional extra.

NumPy makes one pass over memory, and one call, for each operation of a step; with few samples the calls cost more
than the arithmetic. Here the loop over the steps is compiled: a step's element-wise operations are a few loops, its
product is SciPy's BLAS (``scipy.linalg.cython_blas``), and its tanh is NumPy's own inner loop, both called by their
address. Each operation is the same one as in NumPy's code, in the same order, and none is contracted: the results
differ by the order in which BLAS adds up a product, if at all.

This module imports Numba, so it is imported at the first pass (:func:`lstm_fast.workspace.kernels_for`); the machine
code is kept on disk. The loops hold no lock on the interpreter, and ``np.errstate`` does not reach into them.

LLVM makes vector code of a loop only if few arrays are in it (all might overlap, as far as it
knows); hence several short loops, each with at most two outputs, and slices without arithmetic in
their index.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.extending import get_cython_function_address, intrinsic

__all__ = ["Kernels", "compile_kernels", "plan_products"]


class Kernels(NamedTuple):
    """The compiled passes over some steps, and the sum of gradients, for one dtype; `plan` makes the passes' plans."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    add_up: Callable[..., None]
    plan: Callable[..., np.ndarray]


#: How many cells are taken through a forward step at a time, such that they stay in the L1 cache.
PIECE = 1024

#: Rows and columns of a block of the gradients, and how many terms one product sums up: below `SMALL_PRODUCT` together,
#: a multiple of the kernel's 6 rows and four registers of float32. The last block has up to half as many rows more.
ROWS, COLUMNS, TERMS = 48, 64, 128


@cache
def compile_kernels(char: str) -> Kernels | None:
    """Compile, or load from disk, the passes for float32 ('f') or float64 ('d'); None where that cannot be done."""
    tanh = _ufunc_loop(np.tanh, f"{char}->{char}")
    if tanh is None or sys.byteorder != "little" or getattr(numba.config, "DISABLE_JIT", False):
        return None  # without the compiler the loops would run in Python, at its speed
    gemm = get_cython_function_address("scipy.linalg.cython_blas", "sgemm" if char == "f" else "dgemm")
    scalar, integer = (numba.float32 if char == "f" else numba.float64), numba.int64
    array, any_strides = scalar[::1], numba.types.Array(scalar, 3, "A", readonly=True)

    def compiled(function: Callable[..., None], *arguments: Any) -> Any:
        try:
            return numba.njit(numba.void(*arguments), nogil=True, cache=True)(function)
        except (OSError, RuntimeError):  # nowhere to keep the machine code
            return numba.njit(numba.void(*arguments), nogil=True)(function)

    addresses = [integer] * 3
    forward = compiled(run_forward, *addresses, integer[::1], *[array] * 6, any_strides, *[integer] * 7)
    backward = compiled(run_backward, *addresses, integer[::1], *[array] * 10, *[integer] * 8)
    add_up = compiled(run_sum, integer, *[array] * 4, *[integer] * 4)
    return Kernels(partial(forward, gemm, *tanh), partial(backward, gemm, *tanh), partial(add_up, gemm), plan_products)


class _UFunc(ctypes.Structure):
    """The beginning of NumPy's PyUFuncObject, which its C interface keeps as it is."""

    _fields_ = (
        ("head", ctypes.c_char * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    )


def _ufunc_loop(ufunc: np.ufunc, signature: str) -> tuple[int, int] | None:
    """Return the address of a ufunc's inner loop and of its data; None if this is not the NumPy that we know."""
    if sys.implementation.name != "cpython" or signature not in ufunc.types:
        return None
    # Where the fields that Python shows, too, are where they are expected, so is the table of loops behind them.
    found, index = _UFunc.from_address(id(ufunc)), ufunc.types.index(signature)
    if (found.nin, found.nout, found.nargs, found.ntypes) != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes):
        return None
    address = found.functions[index]
    return None if address is None else (address, found.data[index] or 0)


def _call(typing: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of 64-bit arguments; it returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        count = len(arguments)
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * count)
        pointer = builder.inttoptr(values[0], function.as_pointer())
        builder.call(pointer, [builder.extract_value(values[1], k) for k in range(count)])
        return context.get_dummy_value()

    return numba.void(numba.int64, arguments), generate


call: Any = intrinsic(_call)

# The product of a step is a stack of `blocks` products A B, written to C. BLAS reads columns first: it makes
# C^T = B^T A^T, and takes what is stored row by row for transposed already. It takes every argument by its address,
# and so the numbers stand in the plan.
_OPTION_B, _OPTION_A, _COLUMNS, _ROWS, _INNER, _LEAD_B, _LEAD_A, _LEAD_C = range(8)
_BLOCKS, _B, _A, _C, _NEXT_B, _NEXT_A, _NEXT_C, _STEP_B, _STEP_A, _STEP_C = range(8, 18)


def plan_products(steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return where the products of all steps are, from the (A, B, C) of the first two, or of the only one.

    A (..., rows, inner), B (..., inner, columns), C (blocks, rows, columns) or (rows, columns); A, B with or without
    blocks, and each stored row by row or column by column. The plan holds addresses: it lives no longer than they do.
    """
    A, B, C = steps[0]
    plan = np.zeros(18, np.int64)
    plan[[_COLUMNS, _ROWS, _INNER]] = C.shape[-1], C.shape[-2], A.shape[-1]
    plan[_BLOCKS] = C.shape[0] if C.ndim == 3 else 1
    for option, lead, array in ((_OPTION_A, _LEAD_A, A), (_OPTION_B, _LEAD_B, B), (None, _LEAD_C, C)):
        row, column = (stride // array.itemsize for stride in array.strides[-2:])
        by_row = column == 1 or array.shape[-1] == 1
        if option is not None:
            plan[option] = ord("N") if by_row else ord("T")
        plan[lead] = max(row, array.shape[-1]) if by_row else max(column, array.shape[-2])
    for k, array in enumerate((B, A, C)):
        plan[_B + k] = array.ctypes.data
        plan[_NEXT_B + k] = array.strides[0] if array.ndim == 3 else 0
    # Steps lie evenly in their buffers: the first two say where all are, and the plan does not grow with their number.
    if len(steps) > 1:
        A, B, C = steps[1]
        plan[_STEP_B : _STEP_C + 1] = [x.ctypes.data - plan[_B + k] for k, x in enumerate((B, A, C))]
    return plan


@numba.njit(inline="always")
def multiply(gemm: int, plan: np.ndarray, one: Any, zero: Any, step: int) -> None:
    """Make the product of a step; `one` and `zero` are the addresses of these numbers."""
    numbers = np.int64(plan.ctypes.data)
    B = plan[_B] + step * plan[_STEP_B]
    A = plan[_A] + step * plan[_STEP_A]
    C = plan[_C] + step * plan[_STEP_C]
    for _ in range(plan[_BLOCKS]):
        call(
            gemm,
            (
                numbers + 8 * _OPTION_B,
                numbers + 8 * _OPTION_A,
                numbers + 8 * _COLUMNS,
                numbers + 8 * _ROWS,
                numbers + 8 * _INNER,
                one,
                B,
                numbers + 8 * _LEAD_B,
                A,
                numbers + 8 * _LEAD_A,
                zero,
                C,
                numbers + 8 * _LEAD_C,
            ),
        )
        B += plan[_NEXT_B]
        A += plan[_NEXT_A]
        C += plan[_NEXT_C]


@numba.njit(inline="always")
def take_tanh(loop: int, data: int, source: np.ndarray, target: np.ndarray, given: np.ndarray) -> None:
    """Write tanh of one array to another; `given` (5 integers) holds what a ufunc's loop takes."""
    given[0], given[1] = np.int64(source.ctypes.data), np.int64(target.ctypes.data)
    given[2], given[3], given[4] = source.size, source.itemsize, source.itemsize
    where = np.int64(given.ctypes.data)
    call(loop, (where, where + 16, where + 24, data))


# All arrays are flat. n, w, r is the shape of a unit where it is to be taken out of its order: n blocks of r
# features, for w samples.


def run_forward(
    gemm: int,
    tanh: int,
    tanh_data: int,
    plan: np.ndarray,
    slots: np.ndarray,
    C: np.ndarray,
    states: np.ndarray,
    linear: np.ndarray,
    A: np.ndarray,
    factors: np.ndarray,
    X: np.ndarray,
    first: int,
    last: int,
    keep: int,
    n: int,
    w: int,
    r: int,
    row: int,
) -> None:
    """Run steps `first` to `last` - 1 as :mod:`lstm_fast.forward` has them, x_t taken from X and h_t written to A.

    X (samples, s, e) of any strides. States are w rows of `row` numbers for each step, the first n r of a row h; w is 1
    where samples run fastest. `keep` is 1, or 0 if all steps share the buffers of one, and then leave their end in its
    beginning. A is empty if h of every step is not wanted. `factors` are 1 and 0.
    """
    samples, s, e = X.shape
    size = n * w * r
    u = size // samples
    by_sample = w == samples
    piece = PIECE if r > PIECE else PIECE // r * r
    half = slots.dtype.type(0.5)
    one, zero = np.int64(factors.ctypes.data), np.int64(factors.ctypes.data) + np.int64(factors.itemsize)
    given = np.empty(5, np.int64)
    for t in range(first, last):
        at = t * keep
        state = states[at * w * row : (at + 1) * w * row]
        if by_sample:
            for b in range(w):
                x, into = X[b, t], b * row + u
                target = state[into : into + e]
                for k in range(e):
                    target[k] = x[k]
        else:
            for b in range(samples):
                x = X[b, t]
                for k in range(e):
                    state[(u + k) * samples + b] = x[k]
        multiply(gemm, plan, one, zero, at)
        slot = slots[5 * at * size : (5 * at + 6) * size]
        C_t = C[at * size : (at + 1) * size]
        after = states[(at + keep) * w * row : (at + keep + 1) * w * row]
        for start in range(0, size, piece):
            stop = min(start + piece, size)
            Cp, g, f, i, o, C_ = (
                slot[start:stop],
                slot[start + size : stop + size],
                slot[start + 2 * size : stop + 2 * size],
                slot[start + 3 * size : stop + 3 * size],
                slot[start + 4 * size : stop + 4 * size],
                slot[start + 5 * size : stop + 5 * size],
            )
            C_piece = C_t[start:stop]
            take_tanh(tanh, tanh_data, linear[start:stop], g, given)
            take_tanh(tanh, tanh_data, linear[start + size : stop + size], f, given)
            take_tanh(tanh, tanh_data, linear[start + 2 * size : stop + 2 * size], i, given)
            take_tanh(tanh, tanh_data, linear[start + 3 * size : stop + 3 * size], o, given)
            for k in range(stop - start):
                f[k] = f[k] * half + half
                i[k] = i[k] * half + half
            for k in range(stop - start):
                C_[k] = f[k] * Cp[k] + i[k] * g[k]
            take_tanh(tanh, tanh_data, C_, C_piece, given)
            for k in range(stop - start):
                o[k] = o[k] * half + half
            for q in range(start // r, (stop - 1) // r + 1):
                low, high = max(start, q * r), min(stop, (q + 1) * r)
                into = (q % w) * row + (q // w) * r + low - q * r
                h = after[into : into + high - low]
                o_row, C_row = slot[low + 4 * size : high + 4 * size], C_t[low:high]
                for k in range(high - low):
                    h[k] = o_row[k] * C_row[k]
                if A.size and by_sample:
                    into = ((q % w) * s + t) * u + (q // w) * r + low - q * r
                    h_out = A[into : into + high - low]
                    for k in range(high - low):
                        h_out[k] = h[k]
        if A.size and not by_sample:
            transpose_out(after, A, t, samples, s, u)
        if not keep:
            # The memory goes to where the next step, in the same buffers, looks for the one before.
            slot[:size] = slot[5 * size :]


@numba.njit
def transpose_out(state: np.ndarray, A: np.ndarray, t: int, samples: int, s: int, u: int) -> None:
    """Copy h (u, samples) of a step to A (samples, s, u), both flat, by rows that stay in the L1 cache meanwhile."""
    block = 64
    for start in range(0, u, block):
        for b in range(samples):
            into = (b * s + t) * u
            target = A[into + start : into + min(start + block, u)]
            h = state[start * samples + b : u * samples : samples]
            for k in range(target.size):
                target[k] = h[k]


def run_backward(
    gemm: int,
    tanh: int,
    tanh_data: int,
    plan: np.ndarray,
    slots: np.ndarray,
    C: np.ndarray,
    dA: np.ndarray,
    nothing: np.ndarray,
    dh: np.ndarray,
    dC: np.ndarray,
    local: np.ndarray,
    rows: np.ndarray,
    passed: np.ndarray,
    factors: np.ndarray,
    first: int,
    last: int,
    without: int,
    shift: int,
    stride: int,
    n: int,
    w: int,
    r: int,
) -> None:
    """Run steps `last` - 1 to `first` as :mod:`lstm_fast.backward` has them.

    Step first + k has its dk in local[k], and its product, number `shift` + k of the plan, writes dh to
    passed[k stride]. dA lacks the first `without` steps, and `nothing` takes their place. If n is not 0, dk is
    copied to `rows`, one for each sample, before the product.
    """
    size = nothing.size
    one, zero = np.int64(factors.ctypes.data), np.int64(factors.ctypes.data) + np.int64(factors.itemsize)
    for k in range(last - first - 1, -1, -1):
        t = first + k
        slot = slots[5 * t * size : 5 * (t + 1) * size]
        at = t - without
        dA_t = dA[at * size : (at + 1) * size] if at >= 0 else nothing
        dk = local[(6 * k + 1) * size : (6 * k + 5) * size]
        step_back(slot, C[t * size : (t + 1) * size], dA_t, dh, dC, dk)
        for a in range(4 * n):
            for b in range(w):
                into, start = ((k * w + b) * 4 * n + a) * r, (a * w + b) * r
                target, source = rows[into : into + r], dk[start : start + r]
                for j in range(r):
                    target[j] = source[j]
        multiply(gemm, plan, one, zero, shift + k)
        dh = passed[k * stride : k * stride + size]


def run_sum(
    gemm: int,
    rows: np.ndarray,
    dK: np.ndarray,
    dW: np.ndarray,
    factors: np.ndarray,
    count: int,
    first: int,
    last: int,
    add: int,
) -> None:
    """Fill columns `first` to `last` - 1 of dW with rows^T dK, by products of small blocks; or add that, if `add`.

    rows (count, K), dK (count, columns), dW (K, columns). `factors` are 1 and 0.
    """
    K, columns = rows.size // count, dK.size // count
    item = np.int64(factors.itemsize)
    one, zero = np.int64(factors.ctypes.data), np.int64(factors.ctypes.data) + item
    numbers = np.array([ord("N"), ord("T"), 0, 0, 0, columns, K], np.int64)
    where = np.int64(numbers.ctypes.data)
    for start in range(0, count, TERMS):
        numbers[4] = min(TERMS, count - start)
        before = one if add or start else zero
        for column in range(first, last, COLUMNS):
            numbers[2] = min(COLUMNS, last - column)
            row = 0
            while row < K:
                numbers[3] = ROWS if K - row >= ROWS + ROWS // 2 else K - row
                call(
                    gemm,
                    (
                        where,
                        where + 8,
                        where + 16,
                        where + 24,
                        where + 32,
                        one,
                        np.int64(dK.ctypes.data) + (start * columns + column) * item,
                        where + 40,
                        np.int64(rows.ctypes.data) + (start * K + row) * item,
                        where + 48,
                        before,
                        np.int64(dW.ctypes.data) + (row * columns + column) * item,
                        where + 40,
                    ),
                )
                row += numbers[3]


@numba.njit
def step_back(slot: np.ndarray, C: np.ndarray, dA: np.ndarray, dh: np.ndarray, dC: np.ndarray, dk: np.ndarray) -> None:
    """Fill dk = dg_, df_, di_, do_ of one step, and take dC to the step before; adds dA to dh in place."""
    size, one = C.size, C.dtype.type(1)
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
