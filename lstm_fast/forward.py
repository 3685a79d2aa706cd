"""Run the forward pass over all steps of a tile: eight NumPy calls a step, one of them a product.

The equations, with c_t = [h_{t-1}; x_t; 1] and W as :mod:`lstm_fast.packing` draws it::

    k_t = W^T c_t                                  all four gates
    g = tanh(g_),  f, i, o = sigmoid(f_, i_, o_)
    C_t = f C_{t-1} + i g                          the memory
    h_t = o tanh(C_t)

Since sigmoid(x) = (1 + tanh(x / 2)) / 2, and halving is exact, the columns of f, i, o are halved in
the packed weights: one tanh then serves all four gates, and nothing can overflow.
"""

from __future__ import annotations

import numpy as np

from lstm_fast.workspace import CHUNK, Tile, Workspace

__all__ = ["run_forward"]


def run_forward(
    workspace: Workspace,
    X: np.ndarray,
    h0: np.ndarray | None,
    C0: np.ndarray | None,
    A: np.ndarray,
) -> None:
    """Run every tile and fill A.

    Parameters
    ----------
    workspace : Workspace
        With its weights packed.
    X : numpy.ndarray
        (m, s, e); any strides and byte order. It is copied in, so it may change afterwards.
    h0, C0 : numpy.ndarray or None
        (m, u); None means zeros.
    A : numpy.ndarray
        Filled with h: (m, s, u) for every step, or (m, u) for the last.
    """

    def run(tile: Tile) -> None:
        """Load the initial states and run the steps."""
        part = slice(tile.first, tile.last)
        tile.hp[0] = 0.0 if h0 is None else tile.fold(h0[part])
        tile.slots[0] = 0.0 if C0 is None else tile.fold(C0[part])
        _run_tile(tile, X[part], A[part])

    workspace.for_each_tile(run)


def _run_tile(tile: Tile, X: np.ndarray, A: np.ndarray) -> None:
    """Run the steps of one tile, a chunk at a time; X (w, s, e), A (w, s, u) or (w, u)."""
    s = X.shape[1]
    chunk = min(tile.steps, max(1, CHUNK // (tile.u * len(X))))
    for start in range(0, s, chunk):
        count = min(chunk, s - start)
        here = start if tile.steps == s else 0  # where in the buffers
        if here < start:  # they hold one chunk only: carry the state to their beginning
            tile.hp[0] = tile.h[chunk - 1]
            tile.slots[0] = tile.memory[chunk - 1]
        tile.x[:, here : here + count] = X[:, start : start + count]
        _run_steps(tile, here, here + count)
        if A.ndim == 3:
            tile.fold(A[:, start : start + count])[...] = tile.h[here : here + count]
    if A.ndim == 2:
        tile.fold(A)[...] = tile.h[here + count - 1]


def _run_steps(tile: Tile, first: int, last: int) -> None:
    """Run steps `first` to `last` - 1 of the tile's buffers."""
    matmul, tanh, multiply, add = np.matmul, np.tanh, np.multiply, np.add
    # A 0-d array spares each call the conversion of a Python float.
    half = np.array(0.5, tile.slots.dtype)
    products, linear = tile.products, tile.linear
    kept, written = products
    for left, right, blocks, gates, sigmoids, fi, Cg, memory, o, C, h in tile.forward_steps[first:last]:
        matmul(left, right, blocks)
        tanh(linear, gates)
        multiply(sigmoids, half, sigmoids)
        add(sigmoids, half, sigmoids)
        multiply(fi, Cg, products)
        add(kept, written, memory)
        tanh(memory, C)
        multiply(o, C, h)
