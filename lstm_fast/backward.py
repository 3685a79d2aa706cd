"""Run backpropagation through time: the local derivatives in bulk, then five NumPy calls a step.

With dh_ the whole cotangent of h_t and dC_ that of the memory C_t (both include what comes from
step t + 1), differentiating :mod:`lstm_fast.forward` gives::

    dh_ = dA_t + dh                                dh from step t + 1
    dC_ = dC + dh_ [o (1 - C^2)]                   dC from step t + 1
    do_ = dh_ [C o (1 - o)]
    df_ = dC_ [C_{t-1} f (1 - f)]
    di_ = dC_ [g i (1 - i)]
    dg_ = dC_ [i (1 - g^2)]
    dC  = dC_ [f]                                  to step t - 1
    [dh; dx_t] = [V; U] dk_t                       to step t - 1, and the input's

What stands in brackets depends on the forward pass alone, so it is computed for a whole chunk of
steps before the loop runs over them. The parameters' gradients are one product over all steps,
dW = sum_t c_t dk_t^T.
"""

from __future__ import annotations

import numpy as np

from lstm_fast.workspace import Tile, Workspace

__all__ = ["local_derivatives", "run_backward"]


def local_derivatives(tile: Tile, first: int, last: int, out: np.ndarray) -> None:
    """Fill out (last - first, 6, u, w) with the brackets of this module's heading.

    Neighbouring blocks share a call, h = o C is at hand from the forward pass, and the first two
    slots of the result hold f C_{t-1} and i g on the way.
    """
    one = np.array(1.0, out.dtype)
    slots, C, h = tile.step_slots[first:last], tile.C[first:last], tile.h[first:last]
    np.subtract(one, slots[:, 2:5], out[:, 2:5])  # 1 - f, 1 - i, 1 - o
    np.multiply(out[:, 4], h, out[:, 4])  # do_/dh_: C o (1 - o)
    np.multiply(slots[:, 2:4], slots[:, 0:2], out[:, 0:2])  # f C_{t-1}, i g
    np.multiply(out[:, 2:4], out[:, 0:2], out[:, 2:4])  # df_/dC_, di_/dC_
    np.multiply(out[:, 1], slots[:, 1], out[:, 1])
    np.subtract(slots[:, 3], out[:, 1], out[:, 1])  # dg_/dC_: i - (i g) g
    np.multiply(h, C, out[:, 5])
    np.subtract(slots[:, 4], out[:, 5], out[:, 5])  # dC_/dh_: o - h C
    out[:, 0] = slots[:, 2]  # dC/dC_: f


def run_backward(
    workspace: Workspace,
    dA: np.ndarray,
    dhn: np.ndarray | None,
    dCn: np.ndarray | None,
    dX: np.ndarray,
    dh0: np.ndarray,
    dC0: np.ndarray,
) -> None:
    """Run every tile backwards; fill dX, dh0, dC0 and the workspace's dK.

    Parameters
    ----------
    workspace : Workspace
        As the forward pass left it, with its backward weights packed. Only the backward buffers
        change, so a second call with other cotangents is as good as the first.
    dA : numpy.ndarray
        (m, s, u), or (m, u) for the last step alone.
    dhn, dCn : numpy.ndarray or None
        (m, u), further cotangents of the last h and memory; None means zeros.
    dX : numpy.ndarray
        (m, s, e), filled.
    dh0, dC0 : numpy.ndarray
        (m, u), filled.
    """

    def run(tile: Tile) -> None:
        """Load the cotangents and run the steps."""
        part = slice(tile.first, tile.last)
        tile.dA[...] = tile.fold(dA[part])
        tile.dh[...] = 0.0 if dhn is None else tile.fold(dhn[part])
        tile.scratch[2] = 0.0 if dCn is None else tile.fold(dCn[part])
        _run_tile(tile, dX[part])
        tile.fold(dh0[part])[...] = tile.dh
        tile.fold(dC0[part])[...] = tile.scratch[2]

    workspace.for_each_tile(run)


def _run_tile(tile: Tile, dX: np.ndarray) -> None:
    """Run one tile from the last step to the first, a chunk at a time; dX (w, s, e)."""
    assert tile.local is not None
    chunk = len(tile.local)
    for last in range(tile.steps, 0, -chunk):
        first = max(0, last - chunk)
        _run_chunk(tile, first, last)
        tile.finish_chunk(first, last, dX)


def _cotangents(tile: Tile, first: int, last: int) -> list[np.ndarray | None]:
    """Return dA of steps `first` to `last` - 1; None where A has no such step."""
    if len(tile.dA) == tile.steps:
        return [*tile.dA[first:last]]
    return [*[None] * (last - first - 1), tile.dA[0] if last == tile.steps else None]


def _run_chunk(tile: Tile, first: int, last: int) -> None:
    """Run the steps from `last` - 1 to `first`."""
    matmul, multiply, add, copyto = np.matmul, np.multiply, np.add, np.copyto
    dh_, dC_, dC_carried = tile.scratch
    count = last - first
    assert tile.local is not None
    local_derivatives(tile, first, last, tile.local[:count])
    # From the later chunk: tile.dh is overwritten at this chunk's first step; dC was set aside.
    dh, dC = tile.dh, dC_carried
    for dA, (do_dC, dC_part, brackets, dC_next), (dk, into, left, right, blocks, dh_next) in zip(
        reversed(_cotangents(tile, first, last)),
        reversed(tile.local_steps[:count]),
        reversed(tile.product_steps(first, last)),
        strict=True,
    ):
        total = dh if dA is None else add(dA, dh, dh_)
        multiply(do_dC, total, do_dC)
        add(dC, dC_part, dC_)
        multiply(brackets, dC_, brackets)
        if into is not None:
            copyto(into, dk)
        matmul(left, right, blocks)
        dh, dC = dh_next, dC_next
    dC_carried[...] = dC
