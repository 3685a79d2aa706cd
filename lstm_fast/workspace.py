"""Allocate and cut up the buffers of one problem shape; they are reused while the shape stays.

The batch is processed in tiles of at most 64 samples. All arrays of a tile are feature-major: the
w samples of the tile run fastest, then the features, then the steps. With K = u + e + 1::

    columns  (s + 1, K, w)     columns[t] = [h_{t-1}; x_t; 1], the right-hand side of step t
    slots    (5 s + 1, u, w)   step t owns slots 5t .. 5t + 4:

                               C_{t-1} | g_t | f_t | i_t | o_t || C_t | g_{t+1} ...

    C        (s, u, w)         C = tanh(C_), where C_ is the memory in the slots

In the slots every gate is one contiguous block, the memory of a step is written where the next
step wants it, and three groups of neighbours can each be handled by one NumPy call: the four gates
(tanh), the three sigmoids (scaling), and (f, i) against (C_{t-1}, g) in C_t = f C_{t-1} + i g.

The backward pass adds, for a chunk of c steps at a time::

    local    (c, 6, u, w)      f | dg/dC | df/dC | di/dC | do/dh | dC/dh   local derivatives,
                               multiplied in place by the cotangents: then
                               dC to t-1 | dg_ | df_ | di_ | do_ | (part of dC_)
    back     (c, R, w)         [V; U] dk_t: cotangents of h_{t-1} (u rows) and x_t (e rows), padded

and, for all steps, ``dA (s, u, w)`` and ``dK (4u, s m)``, the cotangents of the linear activations,
laid out for the one product that gives all parameter gradients; a tile owns adjacent columns of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from lstm_fast.threads import run_together, workers_for

__all__ = ["Tile", "Workspace", "aligned_empty"]

#: Samples per tile: the columns of one product. More would not fit the fast path of `block_rows`.
TILE = 64

#: OpenBLAS multiplies without packing its operands while rows * inner * columns is at most this.
SMALL_PRODUCT = 1_000_000

#: Elements of one feature-major (u, w) array times steps in a chunk: keeps a chunk in L2 cache.
CHUNK = 16384

#: Columns of dK, that is samples times steps, per product in the parameters' gradients.
GRADIENT_COLUMNS = 1024


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised C-ordered array that starts on a 64-byte boundary (a cache line)."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


@cache
def small_products_pay() -> bool:
    """Return whether OpenBLAS has its fast path for small products here: with AVX-512 only.

    Elsewhere small blocks cost a quarter of the speed or more, and whole products are used.
    """
    try:
        from numpy.lib.introspect import opt_func_info

        target = opt_func_info(func_name="^tanh$", signature="float32")["tanh"]
        features = " ".join(str(entry["current"]) for entry in target.values())
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    except (ImportError, KeyError, TypeError, AttributeError):
        return False
    return ("AVX512" in features or "X86_V4" in features) and "openblas" in blas


def block_rows(rows: int, inner: int, columns: int) -> int:
    """Return how many output rows each block of a stacked product should have.

    A product (rows, inner) @ (inner, columns) runs as a stack of small ones, each below
    `SMALL_PRODUCT`, where OpenBLAS skips the packing that would cost as much as the arithmetic.
    Its AVX-512 kernel computes 6 rows at a time where there are many columns, and does narrow ones
    best by 8; hence the preferred sizes. Where even 4 rows are too many, or there is no such path,
    the whole product in one call is best. The answer need not divide `rows`: blocks are padded.
    """
    if columns == 1 or not small_products_pay():
        return rows
    limit = SMALL_PRODUCT // (inner * columns)
    sizes = (12, 6, 4) if columns >= 24 else (8, 6, 4) if columns >= 12 else (32, 16, 8, 4)
    return next((min(size, rows) for size in sizes if size <= limit), rows)


def tile_bounds(m: int, u: int, inner: int) -> tuple[list[tuple[int, int]], int]:
    """Return the (first, last + 1) samples of each tile, and how many threads should share them.

    Tiles have equal widths, multiples of 16 if there are several. The longer the product's inner
    dimension, the narrower they are, so that blocks of 6 rows still fit the fast path; beyond its
    reach there is one tile of all samples, and without it they are wider.
    """
    fitting = [w for w in (TILE, 32, 16) if 6 * inner * w <= SMALL_PRODUCT]
    if fitting and small_products_pay():
        width, workers = fitting[0], workers_for(m, u)
    else:  # whole products, to which the BLAS brings its own threads
        width, workers = (2 * TILE if fitting else m), 1
    count = -(-m // width)
    if workers > 1:
        count = -(-count // workers) * workers
    width = -(-m // count)
    if count > 1:
        width = -(-width // 16) * 16
    bounds = [(j, min(j + width, m)) for j in range(0, m, width)]
    return bounds, min(workers, len(bounds))


class Tile:
    """The buffers of samples `first` to `last` - 1 and the views that each step works on.

    Parameters
    ----------
    first, last : int
    steps : int
        How many steps the buffers hold: s, or fewer when nothing is kept for a backward pass.
    e, u : int
    rows : int
        Rows of a block in the forward product.
    dtype : numpy.dtype
    """

    def __init__(self, first: int, last: int, steps: int, e: int, u: int, rows: int, dtype: np.dtype) -> None:
        w = last - first
        self.first, self.last, self.steps = first, last, steps
        self.e, self.u, self.rows = e, u, rows
        self.columns = aligned_empty((steps + 1, u + e + 1, w), dtype)
        self.columns.fill(0.0)
        self.columns[:, -1] = 1.0
        self.slots = aligned_empty((5 * steps + 1, u, w), dtype)
        self.C = aligned_empty((steps, u, w), dtype)
        self.local: np.ndarray | None = None
        self._cut_forward()

    def _cut_forward(self) -> None:
        """Cut the views once, so that the loop over steps does no slicing."""
        u, w, columns, slots = self.u, self.last - self.first, self.columns, self.slots
        # Every step's product lands in one small buffer that stays in cache, padding included.
        self.linear_blocks = aligned_empty((-(-4 * u // self.rows), self.rows, w), slots.dtype)
        self.linear = self.linear_blocks.reshape(-1, w)[: 4 * u].reshape(4, u, w)
        self.products = aligned_empty((2, u, w), slots.dtype)  # f C_{t-1} and i g
        self.forward_steps = [
            (
                columns[t],
                slots[k + 1 : k + 5],  # g, f, i, o
                slots[k + 2 : k + 5],  # f, i, o
                slots[k + 2 : k + 4],  # f, i
                slots[k : k + 2],  # C_{t-1}, g
                slots[k + 5],  # C_t
                slots[k + 4],  # o
                self.C[t],
                columns[t + 1, :u],  # h_t
            )
            for t, k in ((t, 5 * t) for t in range(self.steps))
        ]
        self.x = columns[:-1, u:-1]  # (s, e, w)
        self.hp = columns[:-1, :u]  # (s, u, w)
        self.h = columns[1:, :u]  # (s, u, w)
        # (s, 5, u, w): C_{t-1}, g, f, i, o; and the memory after each step
        self.step_slots = slots[:-1].reshape(self.steps, 5, u, w)
        self.memory = slots[5::5]

    def allocate_backward(self, dK: np.ndarray, padded: int, rows: int, sequences: bool) -> None:
        """Add the backward pass's buffers; dK is this tile's part, (4u, steps, w)."""
        u, w, dtype = self.u, self.last - self.first, self.C.dtype
        self.back_rows, self.padded = rows, padded
        chunk = max(1, min(self.steps, CHUNK // (u * w)))
        self.dA = aligned_empty((self.steps if sequences else 1, u, w), dtype)
        self.back = aligned_empty((chunk, padded, w), dtype)
        self.scratch = aligned_empty((3, u, w), dtype)  # dh_, dC_, dC across chunks
        self.dK = dK
        self.local = aligned_empty((chunk, 6, u, w), dtype)
        self._cut_backward()

    def _cut_backward(self) -> None:
        """Cut the backward pass's views."""
        assert self.local is not None
        u, w = self.u, self.last - self.first
        chunk = self.local.shape[0]
        self.local_dK = self.local.reshape(chunk, 6 * u, w)[:, u : 5 * u]  # (c, 4u, w)
        self.backward_steps = [
            (
                self.local[k, 4:6],  # do/dh, dC/dh
                self.local[k, 5],
                self.local[k, 0:4],  # f, dg/dC, df/dC, di/dC
                self.local_dK[k],  # dk, (4u, w)
                self.back[k].reshape(-1, self.back_rows, w),  # the product's blocks
                self.back[k, :u],  # cotangent of h_{t-1}
                self.local[k, 0],  # cotangent of C_{t-1}
            )
            for k in range(chunk)
        ]

    #: What __setstate__ makes anew.
    _cut_names = frozenset(
        [
            "linear",
            "linear_blocks",
            "products",
            "forward_steps",
            "x",
            "hp",
            "h",
            "step_slots",
            "memory",
            "dK",
            "local_dK",
            "backward_steps",
        ]
    )

    def __getstate__(self) -> dict[str, Any]:
        # Views do not survive pickling as views: leave them out and cut them again.
        return {k: v for k, v in self.__dict__.items() if k not in self._cut_names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                copy = aligned_empty(value.shape, value.dtype)
                copy[...] = value
                setattr(self, name, copy)
        self._cut_forward()
        if self.local is not None:
            self._cut_backward()


class Workspace:
    """All buffers for one (m, s, e, u), and the packed weights.

    Parameters
    ----------
    m, s, e, u : int
    dtype : numpy.dtype
    keep : bool
        Whether every step is kept for a backward pass; if not, the buffers hold a chunk of steps.

    Attributes
    ----------
    tiles : list of Tile
    workers : int
        How many threads share the tiles.
    weights : numpy.ndarray
        (blocks, r, K): W^T with the columns of f, i, o halved, refreshed by every forward pass;
        see :func:`lstm_fast.forward.pack_weights`.
    scaled : numpy.ndarray
        (K, 4u, padded to whole blocks): the same in W's own order.
    weights_back : numpy.ndarray
        (blocks, r, 4u): the rows of [V; U], padded with zeros.
    """

    def __init__(self, m: int, s: int, e: int, u: int, dtype: np.dtype, keep: bool) -> None:
        self.shape = (m, s, e, u)
        self.dtype, self.keep = dtype, keep
        K = u + e + 1
        bounds, self.workers = tile_bounds(m, u, max(K, 4 * u))
        widest = max(last - first for first, last in bounds)
        steps = s if keep else max(1, min(s, CHUNK // (u * widest)))
        rows = block_rows(4 * u, K, widest)
        self.tiles = [Tile(first, last, steps, e, u, rows, dtype) for first, last in bounds]
        self.scale = np.full(4 * u, 0.5, dtype)  # f, i, o
        self.scale[:u] = 1.0  # g
        # Stored (blocks, K, r): OpenBLAS reads a transposed left operand in order.
        blocks = -(-4 * u // rows)
        self.scaled = aligned_empty((K, blocks * rows), dtype)
        self.scaled.fill(0.0)
        self._weights = aligned_empty((blocks, K, rows), dtype)
        self._weights_back: np.ndarray | None = None
        self.dK: np.ndarray | None = None
        self.back_packed = False  # whether the backward weights are those of the forward pass
        self.readers: dict[str, Any] = {}  # the caches, fc and bc, that unpack these buffers
        self._transpose()

    def _transpose(self) -> None:
        self.weights = self._weights.transpose(0, 2, 1)
        if self._weights_back is not None:
            self.weights_back = self._weights_back.transpose(0, 2, 1)

    def allocate_backward(self, sequences: bool) -> None:
        """Add the backward pass's buffers, if this is the first backward pass of the shape."""
        m, s, e, u = self.shape
        K = u + e + 1
        if self.dK is not None and len(self.tiles[0].dA) == (s if sequences else 1):
            return
        widest = max(tile.last - tile.first for tile in self.tiles)
        rows = block_rows(u + e, 4 * u, widest)
        padded = -(-(u + e) // rows) * rows
        self._weights_back = aligned_empty((padded // rows, 4 * u, rows), self.dtype)
        self._weights_back.fill(0.0)
        # Rows a power of two apart would fall into the same few cache sets: pad them.
        self.dK = aligned_empty((4 * u, s * m + 16), self.dtype)[:, : s * m]
        segments = self.gradient_segments()
        self.gathered = aligned_empty((K, max(n for *_, n in segments)), self.dtype)
        self.partial = aligned_empty((K, 4 * u), self.dtype) if len(segments) > 1 else None
        try:
            for tile, part in zip(self.tiles, self._dK_parts(), strict=True):
                tile.allocate_backward(part, padded, rows, sequences)
        except BaseException:
            self.dK = None  # as if nothing had been added
            raise
        self._transpose()

    def expire_readers(self) -> None:
        """Tell the caches that read these buffers that a new forward pass begins."""
        for reader in self.readers.values():
            reader.expire()
        self.readers.clear()

    def for_each_tile(self, run: Callable[[Tile], None]) -> None:
        """Call `run` for every tile, in as many threads as pay."""
        if self.workers == 1:
            for tile in self.tiles:
                run(tile)
            return

        def share(worker: int) -> None:
            """Run this worker's tiles."""
            for tile in self.tiles[worker :: self.workers]:
                run(tile)

        run_together([partial(share, worker) for worker in range(self.workers)])

    def final_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the last h and memory, (m, u) each."""
        m, s, _, u = self.shape
        hn, Cn = np.empty((2, m, u), self.dtype)
        for tile in self.tiles:
            last = (s - 1) % tile.steps
            hn[tile.first : tile.last] = tile.h[last].T
            Cn[tile.first : tile.last] = tile.memory[last].T
        return hn, Cn

    def gradient_segments(self) -> list[tuple[Tile, int, int, int]]:
        """Return the (tile, first step, last + 1, columns) of each product that makes up dW."""
        segments = []
        for tile in self.tiles:
            w = tile.last - tile.first
            chunk = max(1, GRADIENT_COLUMNS // w)
            for first in range(0, tile.steps, chunk):
                last = min(first + chunk, tile.steps)
                segments.append((tile, first, last, (last - first) * w))
        return segments

    def _dK_parts(self) -> list[np.ndarray]:
        """Return each tile's columns of dK as (4u, s, w)."""
        _, s, _, u = self.shape
        assert self.dK is not None
        return [self.dK[:, s * tile.first : s * tile.last].reshape(4 * u, s, -1) for tile in self.tiles]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("weights", "weights_back")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.dK is not None:
            for tile, part in zip(self.tiles, self._dK_parts(), strict=True):
                tile.dK = part
        self._transpose()
