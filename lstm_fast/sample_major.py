"""Sample-major tiles: features run fastest, products have the weights on the right. For narrow tiles.

With few samples side by side, features fill the registers of the processor better than samples do.
The features are cut into n blocks of r (about 64, so that a block of weights stays in cache while
all samples pass). A unit is (n, w, r), and with K = u + e + 1::

    rows     (s + 1, w, K)     rows[t] = c_t^T = [h_{t-1}, x_t, 1], one row a sample
    weights  (4n, K, r)        W, r columns a block:     k_t = c_t^T W,       one product a step
    dK       (s, w, 4u)        one row a sample, as the backward product wants it
    V^T      (n, 4u, r)        dh = dk_t V^T, blocks of r columns;           one product a step
    U^T      (n', 4u, r')      dx = dk_t U^T, likewise;                      one product a chunk

Nothing is ever transposed: X, A, dA and dX are in this order already, and dW = sum_t c_t dk_t^T is
one product of `rows` and `dK` as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_fast.workspace import (
    SMALL_PRODUCT,
    Tile,
    Workspace,
    aligned_empty,
)

__all__ = ["SampleMajor", "block_columns"]

#: Preferred columns of a block: four AVX-512 registers of float32, eight of float64.
BLOCK = 64


def block_columns(columns: int, inner: int, samples: int) -> int | None:
    """Return how many columns each block of weights should have: a divisor of `columns`.

    The one nearest to `BLOCK`, by ratio, with which the product is below `SMALL_PRODUCT`; None if
    all of them are too small to pay or too large.
    """
    limit = SMALL_PRODUCT // (inner * samples)
    divisors = [r for r in range(1, min(columns, limit) + 1) if columns % r == 0]
    best = min(divisors, key=lambda r: max(r / BLOCK, BLOCK / r), default=0)
    return best if best >= min(columns, BLOCK // 2) else None


class SampleTile(Tile):
    """A tile whose units are (n, w, r); see this module's heading."""

    _views = Tile._views | {"weights", "Vt", "Ut", "back_steps"}

    def __init__(self, first: int, last: int, steps: int, e: int, u: int, block: int, dtype: np.dtype) -> None:
        w = last - first
        super().__init__(first, last, steps, e, u, (u // block, w, block), dtype)
        self.rows = aligned_empty((steps + 1, w, u + e + 1), dtype)
        self.rows.fill(0.0)
        self.rows[:, :, -1] = 1.0

    def fold(self, array: np.ndarray) -> np.ndarray:
        n, _, r = self.unit
        return np.moveaxis(array.reshape(*array.shape[:-1], n, r), 0, -2)

    def unfold(self, units: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(units, -2, 0)
        return rows.reshape(*rows.shape[:-2], -1)

    def cut(self, weights: np.ndarray) -> None:
        u, rows = self.u, self.rows
        self.weights = weights
        self.x = rows[:-1, :, u:-1].transpose(1, 0, 2)
        states = self.fold(rows[:, :, :u].transpose(1, 0, 2))
        self.hp, self.h = states[:-1], states[1:]
        self.linear = aligned_empty((4, *self.unit), rows.dtype)
        blocks = self.linear.reshape(-1, *self.unit[1:])
        self._cut_steps([(row, weights, blocks) for row in rows[:-1]])

    def allocate_backward(self, sequences: bool) -> None:
        super().allocate_backward(sequences)
        self.dK = aligned_empty((self.steps, self.unit[1], 4 * self.u), self.C.dtype)

    def cut_backward(self, weights: tuple[np.ndarray, np.ndarray]) -> None:
        """Cut the views; the weights are V^T and U^T."""
        super().cut_backward(weights)
        self.Vt, self.Ut = weights
        n, w, r = self.unit
        self.dh = aligned_empty(self.unit, self.C.dtype)
        units = self.dK.reshape(self.steps, w, 4, n, r).transpose(0, 2, 3, 1, 4)
        self.back_steps = [(into, dk, self.Vt, self.dh, self.dh) for into, dk in zip(units, self.dK, strict=True)]

    def product_steps(self, first: int, last: int) -> Sequence[tuple[Any, ...]]:
        assert self.local is not None
        # The product wants its rows, over all gates, in one piece.
        return [(local[1:5], *step) for local, step in zip(self.local, self.back_steps[first:last], strict=False)]

    def finish_chunk(self, first: int, last: int, dX: np.ndarray) -> None:
        # (c, n', w, r'): the result's blocks, each written where it belongs
        n, _, r = self.Ut.shape
        into = dX[:, first:last].reshape(len(dX), last - first, n, r).transpose(1, 2, 0, 3)
        np.matmul(self.dK[first:last, None], self.Ut, out=into)

    def linear_activations(self, gate: int) -> np.ndarray:
        k = np.matmul(self.rows[:-1, None], self.weights)  # (s, 4n, w, r)
        return self.unfold(k.reshape(len(k), 4, *self.unit)[:, gate])

    def gate_cotangents(self, gate: int) -> np.ndarray:
        u = self.u
        return self.dK[:, :, gate * u : (gate + 1) * u].transpose(1, 0, 2)

    def passed_back(self) -> tuple[np.ndarray, np.ndarray]:
        dX = np.empty((self.unit[1], self.steps, self.e), self.C.dtype)
        self.finish_chunk(0, self.steps, dX)
        return self.unfold(np.matmul(self.dK[:, None], self.Vt)), dX


class SampleMajor(Workspace):
    """Sample-major tiles and their weights; see :class:`lstm_fast.workspace.Workspace`."""

    tiles: list[SampleTile]
    _views = frozenset()

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        dtype: np.dtype,
        keep: bool,
        bounds: list[tuple[int, int]],
        workers: int,
        block: int,
    ) -> None:
        super().__init__(shape, dtype, keep, bounds, workers)
        _, _, e, u = shape
        self.weights = aligned_empty((4 * u // block, u + e + 1, block), dtype)
        self.tiles = [SampleTile(first, last, self.steps, e, u, block, dtype) for first, last in bounds]
        self._cut()

    def _cut(self) -> None:
        for tile in self.tiles:
            tile.cut(self.weights)
            if self.sequences is not None:
                tile.cut_backward((self.Vt, self.Ut))

    def pack_weights(self, W: np.ndarray) -> None:
        """Copy W (K, 4u) into the forward product's blocks, with the columns of f, i, o halved."""
        blocks, K, r = self.weights.shape
        by_block = W.reshape(K, blocks, r).transpose(1, 0, 2)
        np.multiply(by_block, self.scale.reshape(blocks, 1, r), out=self.weights)
        self.back_packed = False

    def pack_weights_back(self) -> None:
        """Fill the backward product's blocks from the weights that the forward pass used."""
        if self.back_packed:
            return
        blocks, K, r = self.weights.shape
        u = self.shape[3]
        unscale = self.scale.reshape(blocks, 1, r)
        for target, rows in ((self.Vt, slice(0, u)), (self.Ut, slice(u, K - 1))):
            n, _, columns = target.shape
            source = self.weights[:, rows].reshape(blocks, n, columns, r)
            # Undoes the halving exactly: the weights are those of the forward pass to the bit.
            into = target.reshape(n, blocks, r, columns)
            np.divide(source.transpose(1, 0, 3, 2), unscale.transpose(1, 0, 2)[..., None], out=into)
        self.back_packed = True

    def _allocate_backward(self, sequences: bool) -> None:
        _, _, e, u = self.shape
        r = self.weights.shape[2]
        self.Vt = aligned_empty((u // r, 4 * u, r), self.dtype)
        r = block_columns(e, 4 * u, self.widest) or e
        self.Ut = aligned_empty((e // r, 4 * u, r), self.dtype)
        self.partial = aligned_empty((e + u + 1, 4 * u), self.dtype) if len(self.tiles) > 1 else None
        for tile in self.tiles:
            tile.allocate_backward(sequences)

    def sum_columns(self, columns: slice, worker: int, dW: np.ndarray) -> None:
        """Fill some columns of dW with the sum over samples and steps of c_t dk_t^T."""
        out = dW[:, columns]
        for k, tile in enumerate(self.tiles):
            rows = tile.rows[:-1].reshape(-1, len(dW))
            dk = tile.dK.reshape(len(rows), -1)
            if k == 0:
                np.matmul(rows.T, dk[:, columns], out=out)
            else:
                assert self.partial is not None
                out += np.matmul(rows.T, dk[:, columns], out=self.partial[:, columns])
