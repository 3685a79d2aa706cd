"""Feature-major tiles: samples run fastest, products have the weights on the left. For wide tiles.

A unit is (u, w), and with K = u + e + 1::

    columns  (s + 1, K, w)     columns[t] = [h_{t-1}; x_t; 1], the right-hand side of step t
    weights  (blocks, r, K)    W^T, r rows a block:    k_t = W^T c_t,        one product a step
    back     (c, R, w)         [V; U] dk_t: cotangents of h_{t-1} (u rows) and x_t (e rows), padded
    dK       (4u, s m)         laid out for dW = c dK^T; a tile owns adjacent columns of it

The blocks of a product are stored transposed, (blocks, K, r): OpenBLAS reads them in order then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstm_fast.workspace import SMALL_PRODUCT, Tile, Workspace, aligned_empty, small_products_pay

__all__ = ["FeatureMajor"]

#: Columns of dK, that is samples times steps, per product in the parameters' gradients.
GRADIENT_COLUMNS = 1024


def block_rows(rows: int, inner: int, columns: int, itemsize: int) -> int:
    """Return how many output rows each block of a stacked product should have.

    A product (rows, inner) @ (inner, columns) runs as a stack of small ones, each below
    `SMALL_PRODUCT`, where OpenBLAS skips the packing that would cost as much as the arithmetic.
    Its AVX-512 kernel computes 6 rows of 4 registers at a time, and fewer columns best by 8 rows, or
    by 16 where they do not fill registers; hence the preferred sizes. Where even 4 rows are too many,
    or there is no such path, the whole product in one call is best. The answer need not divide
    `rows`: blocks are padded.
    """
    if columns == 1 or not small_products_pay():
        return rows
    limit, row = SMALL_PRODUCT // (inner * columns), columns * itemsize
    if row % 256 == 0:
        sizes: tuple[int, ...] = (12, 6, 4)
    elif row % 64 == 0 or 48 <= row < 64:
        sizes = (8, 6, 4)
    else:
        sizes = (16, 8, 4) if row >= 64 else (32, 16, 8, 4)
    return next((min(size, rows) for size in sizes if size <= limit), rows)


class FeatureTile(Tile):
    """A tile whose units are (u, w); see this module's heading."""

    _views = Tile._views | {"weights", "weights_back", "linear_blocks", "dK", "local_dK", "back_steps"}

    def __init__(self, first: int, last: int, steps: int, e: int, u: int, dtype: np.dtype) -> None:
        w = last - first
        super().__init__(first, last, steps, e, u, (u, w), dtype)
        self.columns = aligned_empty((steps + 1, u + e + 1, w), dtype)
        self.columns.fill(0.0)
        self.columns[:, -1] = 1.0

    def fold(self, array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, 0, -1)

    def unfold(self, units: np.ndarray) -> np.ndarray:
        return np.moveaxis(units, -1, 0)

    def cut(self, weights: np.ndarray) -> None:
        u, columns = self.u, self.columns
        self.weights = weights
        self.x = columns[:-1, u:-1].transpose(2, 0, 1)
        self.hp, self.h = columns[:-1, :u], columns[1:, :u]
        # The product's last block may be padded.
        w = columns.shape[2]
        self.linear_blocks = aligned_empty((*weights.shape[:2], w), columns.dtype)
        self.linear = self.linear_blocks.reshape(-1, w)[: 4 * u].reshape(4, u, w)
        self._cut_steps([(weights, column, self.linear_blocks) for column in columns[:-1]])

    def allocate_backward(self, sequences: bool, padded: int = 0) -> None:
        super().allocate_backward(sequences)
        assert self.local is not None
        self.back = aligned_empty((len(self.local), padded, self.unit[1]), self.C.dtype)

    def cut_backward(self, weights: np.ndarray, dK: np.ndarray | None = None) -> None:
        """Cut the views; dK is this tile's part, (4u, steps, w)."""
        assert self.local is not None
        assert dK is not None
        super().cut_backward(weights)
        u, w = self.unit
        self.weights_back, self.dK = weights, dK
        self.local_dK = self.local.reshape(-1, 6 * u, w)[:, u : 5 * u]  # (c, 4u, w)
        self.dh = self.back[0, :u]
        self.back_steps = [
            (dk, None, weights, dk, back.reshape(-1, weights.shape[1], w), back[:u])
            for dk, back in zip(self.local_dK, self.back, strict=True)
        ]

    def product_steps(self, first: int, last: int) -> Sequence[tuple[Any, ...]]:
        return self.back_steps[: last - first]

    def finish_chunk(self, first: int, last: int, dX: np.ndarray) -> None:
        count, u = last - first, self.u
        self.dK[:, first:last] = self.local_dK[:count].transpose(1, 0, 2)
        dX[:, first:last] = self.back[:count, u : u + self.e].transpose(2, 0, 1)

    def linear_activations(self, gate: int) -> np.ndarray:
        u, w = self.unit
        k = np.matmul(self.weights, self.columns[:-1, None])  # (s, blocks, r, w)
        return self.unfold(k.reshape(len(k), -1, w)[:, gate * u : (gate + 1) * u])

    def gate_cotangents(self, gate: int) -> np.ndarray:
        return self.unfold(self.dK[gate * self.u : (gate + 1) * self.u].transpose(1, 0, 2))

    def passed_back(self) -> tuple[np.ndarray, np.ndarray]:
        dk = np.ascontiguousarray(self.dK.transpose(1, 0, 2))[:, None]
        back = np.matmul(self.weights_back, dk).reshape(self.steps, -1, self.unit[1])
        return self.unfold(back[:, : self.u]), self.unfold(back[:, self.u : self.u + self.e])


class FeatureMajor(Workspace):
    """Feature-major tiles and their weights; see :class:`lstm_fast.workspace.Workspace`."""

    tiles: list[FeatureTile]
    _views = frozenset(["weights", "weights_back"])

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        dtype: np.dtype,
        keep: bool,
        bounds: list[tuple[int, int]],
        workers: int,
    ) -> None:
        super().__init__(shape, dtype, keep, bounds, workers)
        _, _, e, u = shape
        K = u + e + 1
        rows = block_rows(4 * u, K, self.widest, dtype.itemsize)
        blocks = -(-4 * u // rows)
        self.scaled = aligned_empty((K, blocks * rows), dtype)  # W, padded to whole blocks
        self.scaled.fill(0.0)
        self._weights = aligned_empty((blocks, K, rows), dtype)
        self._weights_back: np.ndarray | None = None
        self.dK: np.ndarray | None = None
        self.tiles = [FeatureTile(first, last, self.steps, e, u, dtype) for first, last in bounds]
        self._cut()

    def _cut(self) -> None:
        self.weights = self._weights.transpose(0, 2, 1)
        for tile in self.tiles:
            tile.cut(self.weights)
        if self.sequences is not None:
            assert self._weights_back is not None
            assert self.dK is not None
            self.weights_back = self._weights_back.transpose(0, 2, 1)
            _, s, _, u = self.shape
            for tile in self.tiles:
                part = self.dK[:, s * tile.first : s * tile.last]
                tile.cut_backward(self.weights_back, part.reshape(4 * u, s, -1))

    def pack_weights(self, W: np.ndarray) -> None:
        """Copy W (K, 4u) into the forward product's blocks, with the columns of f, i, o halved."""
        scaled, packed = self.scaled, self._weights
        np.multiply(W, self.scale, out=scaled[:, : W.shape[1]])
        # Moved as pieces of r numbers: a few times faster than number by number.
        piece = np.dtype((np.void, packed.shape[2] * packed.itemsize))
        packed.view(piece)[..., 0] = scaled.view(piece).T
        self.back_packed = False

    def pack_weights_back(self) -> None:
        """Fill the backward product's blocks from the weights that the forward pass used."""
        back, scaled = self._weights_back, self.scaled
        if self.back_packed:
            return
        assert back is not None
        columns, rows = back.shape[1:]  # 4u, r
        for j in range(rows):  # row j of every block
            source = scaled[j:-1:rows, :columns]
            # From the forward product's copy, so that a W changed in between is no matter;
            # doubling what was halved is exact.
            np.divide(source, self.scale, out=back[: len(source), :, j])
        self.back_packed = True

    def _allocate_backward(self, sequences: bool) -> None:
        m, s, e, u = self.shape
        rows = block_rows(u + e, 4 * u, self.widest, self.dtype.itemsize)
        padded = -(-(u + e) // rows) * rows
        self._weights_back = aligned_empty((padded // rows, 4 * u, rows), self.dtype)
        self._weights_back.fill(0.0)
        # Rows a power of two apart would fall into the same few cache sets: pad them.
        self.dK = aligned_empty((4 * u, s * m + 16), self.dtype)[:, : s * m]
        segments = self._segments()
        self.gathered = aligned_empty((self.workers, u + e + 1, max(n for *_, n in segments)), self.dtype)
        self.partial = aligned_empty((u + e + 1, 4 * u), self.dtype) if len(segments) > 1 else None
        for tile in self.tiles:
            tile.allocate_backward(sequences, padded)

    def _segments(self) -> list[tuple[FeatureTile, int, int, int]]:
        """Return the (tile, first step, last + 1, columns) of each product that makes up dW."""
        segments = []
        for tile in self.tiles:
            w = tile.last - tile.first
            chunk = max(1, GRADIENT_COLUMNS // w)
            for first in range(0, tile.steps, chunk):
                last = min(first + chunk, tile.steps)
                segments.append((tile, first, last, (last - first) * w))
        return segments

    def sum_columns(self, columns: slice, worker: int, dW: np.ndarray) -> None:
        """Fill some columns of dW with the sum over samples and steps of c_t dk_t^T."""
        assert self.dK is not None
        out, done = dW[:, columns], 0
        for tile, first, last, count in self._segments():
            # The columns c_t side by side, (K, steps w), as dK has them.
            gathered = self.gathered[worker, :, :count]
            c = tile.columns[first:last].transpose(1, 0, 2)
            gathered.reshape(c.shape)[...] = c
            dk = self.dK[columns, done : done + count].T
            if done == 0:
                np.matmul(gathered, dk, out=out)
            else:
                assert self.partial is not None
                out += np.matmul(gathered, dk, out=self.partial[:, columns])
            done += count
