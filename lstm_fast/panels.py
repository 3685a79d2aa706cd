"""What the compiled passes work on: units in panels of one register, with their four gates side by side.

A register holds L numbers. u units are padded to q L, and a *panel* is L of them; what is padding stays zero. With
K = q L + e + 1, w samples and the gates in the order g, f, i, o::

    rows     (s + 1, w, K)       rows[t] = c_t^T = [h_{t-1}, x_t, 1], one row a sample
    weights  (q, K, 4, L)        a panel's columns of W:        k_t = c_t^T W,            one product a panel
    gates    (s, q, w, 4, L)     what the backward pass needs beside
    memory   (s + 1, q, w, L)    C_t, from C_0 on; its tanh is computed again
    dK       (s, w, q, 4, L)     one row a sample, as the backward product wants it
    back     (w, q L + e)        [dh, dx_t] = dk_t [V; U]^T, by panels of four registers

Nothing is transposed: features run fastest in X, A, dA and dX already, and dW = sum_t c_t dk_t^T is a product of `rows`
and `dK` as they stand.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lstm_fast.caches import L2_BYTES
from lstm_fast.packing import GATES
from lstm_fast.threads import blas_in_one_thread, run_together
from lstm_fast.workspace import CHUNK, Record, Workspace, aligned_empty, kernels_for

if TYPE_CHECKING:
    from lstm_fast.compiled import Kernels

__all__ = ["Panels", "run_backward", "run_forward"]

#: Multiplications in one compiled call, some 20 ms: an interrupt waits for its end.
LONGEST_CALL = 1 << 31


def whole(count: int, lanes: int) -> int:
    """Return the next multiple of `lanes`."""
    return -(-count // lanes) * lanes


def tile_bounds(m: int, bytes_of_sample: int, rows: int, workers: int) -> tuple[list[tuple[int, int]], int]:
    """Return the (first, last + 1) samples of each tile, and how many threads are to share them, at most `workers`.

    What a step reads and writes of a tile should stay in the L2 cache. The weights pass by, once for each tile.
    """
    width = max(16 * rows, L2_BYTES // bytes_of_sample // rows * rows)
    count = -(-m // width)
    if workers > 1:
        # As many tiles for each thread: one with a tile more would have all the others wait for it.
        count = -(-count // workers) * workers
    width = -(-m // count)
    if count > 1 and width > rows:
        width = -(-width // rows) * rows
    bounds = [(j, min(j + width, m)) for j in range(0, m, width)]
    return bounds, min(workers, len(bounds))


class PanelTile(Record):
    """The buffers of samples `first` to `last` - 1; see this module's heading."""

    _views = frozenset(["weights"])
    weights: np.ndarray

    def __init__(self, first: int, last: int, steps: int, e: int, u: int, lanes: int, dtype: np.dtype) -> None:
        w, q = last - first, -(-u // lanes)
        self.first, self.last, self.steps = first, last, steps
        self.e, self.u, self.lanes, self.padded = e, u, lanes, q * lanes
        # Without a cache, steps take turns with two sets of rows.
        self.rows = aligned_empty((max(steps, 1) + 1, w, whole(self.padded + e + 1, lanes)), dtype)
        self.rows.fill(0.0)
        self.rows[:, :, self.padded + e] = 1.0
        self.gates = aligned_empty((steps, q, w, 4, lanes), dtype)
        self.memory = aligned_empty((steps + 1, q, w, lanes), dtype)

    def allocate_backward(self, sequences: bool) -> None:
        """Add the backward pass's buffers."""
        w, dtype = self.last - self.first, self.rows.dtype
        self.dA = aligned_empty((w, self.steps if sequences else 1, self.padded), dtype)
        self.dA.fill(0.0)
        self.back = aligned_empty((w, whole(self.padded + self.e, self.lanes)), dtype)
        self.dC = aligned_empty((self.padded // self.lanes, w, self.lanes), dtype)
        # Rows a power of two apart would fall into the same few sets of the cache: a register more.
        self.dK = aligned_empty((self.steps, w, 4 * self.padded + self.lanes), dtype)

    def fold(self, target: np.ndarray, state: np.ndarray | None) -> None:
        """Write a caller's (w, u), or zeros, into panels (q, w, L)."""
        target.fill(0.0)
        if state is None:
            return
        for p, start in enumerate(range(0, self.u, self.lanes)):
            part = state[:, start : start + self.lanes]
            target[p, :, : part.shape[1]] = part

    def unfold(self, kept: np.ndarray) -> np.ndarray:
        """Return panels (..., q, w, L) as (w, ..., u)."""
        joined = np.moveaxis(kept, -2, 0)
        return joined.reshape(*joined.shape[:-2], -1)[..., : self.u]

    def values(self, name: str) -> np.ndarray:
        if name == "X":
            return self.rows[:-1, :, self.padded : self.padded + self.e].transpose(1, 0, 2)
        if name == "dA":
            return self.dA[..., : self.u]
        if name in ("h", "hp"):
            return (self.rows[1:] if name == "h" else self.rows[:-1])[..., : self.u].transpose(1, 0, 2)
        if name in ("C_", "Cp_"):
            return self.unfold(self.memory[1:] if name == "C_" else self.memory[:-1])
        if name == "C":
            return np.tanh(self.values("C_"))
        return self.unfold(self.gates[..., GATES.index(name), :])

    def linear_activations(self, gate: int) -> np.ndarray:
        K = self.padded + self.e + 1
        columns = self.weights[:, :, gate].transpose(1, 0, 2).reshape(K, -1)[:, : self.u]
        return np.matmul(self.rows[:-1, :, :K], columns).transpose(1, 0, 2)

    def gate_cotangents(self, gate: int) -> np.ndarray:
        w = self.last - self.first
        dk = self.dK[..., : 4 * self.padded].reshape(self.steps, w, -1, 4, self.lanes)[..., gate, :]
        return dk.reshape(self.steps, w, -1)[..., : self.u].transpose(1, 0, 2)

    def passed_back(self) -> tuple[np.ndarray, np.ndarray]:
        e, padded = self.e, self.padded
        scale = np.array([1, 2, 2, 2], self.rows.dtype)[:, np.newaxis]  # undoes the halving
        W = (self.weights[:, :-1] * scale).transpose(1, 0, 2, 3).reshape(padded + e, -1)
        back = np.matmul(self.dK[..., : 4 * padded], W.T).transpose(1, 0, 2)
        return back[..., : self.u], back[..., padded:]


class Panels(Workspace):
    """Tiles and weights of the compiled passes; see :class:`lstm_fast.workspace.Workspace`."""

    tiles: list[PanelTile]

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: np.dtype, keep: bool, kernels: Kernels, workers: int
    ) -> None:
        m, s, e, u = shape
        self.lanes = lanes = kernels.lanes
        padded = whole(u, lanes)
        # A row of c and of dK, what is passed back, and dC.
        bounds, workers = tile_bounds(m, (7 * padded + 2 * e) * dtype.itemsize, kernels.rows, workers)
        super().__init__(shape, dtype, keep, bounds, workers)
        self.steps = s if keep else 0
        K = padded + e + 1
        self.weights = aligned_empty((padded // lanes, K, 4, lanes), dtype)
        self.weights.fill(0.0)
        self.tiles = [PanelTile(first, last, self.steps, e, u, lanes, dtype) for first, last in bounds]
        self._cut()

    def usable(self) -> bool:
        """Return whether this is how the next pass would be made."""
        kernels = kernels_for(self.dtype)
        return kernels is not None and kernels.lanes == self.lanes

    def kernels(self) -> Kernels:
        """Return the compiled passes, also where they have been switched off since the forward pass."""
        kernels = kernels_for(self.dtype, whether_or_not=True)
        if kernels is None or kernels.lanes != self.lanes:
            raise RuntimeError(
                "the forward pass was one of compiled code that this machine has not: call forward(X) again"
            )
        return kernels

    def _cut(self) -> None:
        for tile in self.tiles:
            tile.weights = self.weights

    def pack_weights(self, W: np.ndarray) -> None:
        """Copy W (K, 4u) into panels, with the columns of f, i, o halved."""
        _, _, e, u = self.shape
        self.kernels().pack(W.reshape(-1), self.weights.reshape(-1), u, whole(u, self.lanes), e)
        self.back_packed = False

    def pack_weights_back(self) -> None:
        """Fill the backward product's panels from the weights that the forward pass used."""
        _, _, e, u = self.shape
        if not self.back_packed:
            weights, back = self.weights.reshape(-1), self.weights_back.reshape(-1)
            self.kernels().pack_back(weights, back, whole(u, self.lanes), e)
            self.back_packed = True

    def _allocate_backward(self, sequences: bool) -> None:
        _, _, e, u = self.shape
        padded = whole(u, self.lanes)
        self.weights_back = aligned_empty((4 * padded, whole(padded + e, self.lanes)), self.dtype)
        self.weights_back.fill(0.0)
        for tile in self.tiles:
            tile.allocate_backward(sequences)

    def sum_gradients(self) -> np.ndarray:
        """Return a new dW (K, 4u) = sum over samples and steps of c_t dk_t^T."""
        _, _, e, u = self.shape
        padded = whole(u, self.lanes)
        inner = padded + e + 1
        dW = np.empty((inner, 4 * padded), self.dtype)
        share = self._sum_panels if dW.nbytes <= L2_BYTES // 2 else self._multiply_panels
        # Each thread takes some panels over all samples: nothing is added up in an order that depends on threads.
        panels = padded // self.lanes
        with contextlib.nullcontext(True) if self.workers == 1 else blas_in_one_thread() as single:
            each = -(-panels // self.workers) if single else panels
            run_together([partial(share, first, min(first + each, panels), dW) for first in range(0, panels, each)])
        if padded == u:
            return dW
        kept = np.empty((u + e + 1, 4 * u), self.dtype)
        by_gate = dW.reshape(inner, 4, padded)[..., :u]
        kept[:u].reshape(u, 4, u)[...] = by_gate[:u]
        kept[u:].reshape(e + 1, 4, u)[...] = by_gate[padded:]
        return kept

    def _sum_panels(self, first: int, last: int, dW: np.ndarray) -> None:
        """Fill some panels of dW, which stays in the L2 cache meanwhile."""
        for k, tile in enumerate(self.tiles):
            flat = (array.reshape(-1) for array in (tile.rows, tile.dK, dW))
            count = tile.steps * (tile.last - tile.first)
            row, dk_row = tile.rows.shape[2], tile.dK.shape[2]
            self.kernels().add_up(*flat, count, len(dW), row, dk_row, first, last, k)

    def _multiply_panels(self, first: int, last: int, dW: np.ndarray) -> None:
        """Do the same by NumPy's BLAS, which copies its operands as it goes: where rows lie pages apart that pays."""
        inner, lanes = len(dW), self.lanes
        columns = slice(4 * lanes * first, 4 * lanes * last)
        total = None
        for tile in self.tiles:
            c, dk = tile.rows[:-1, :, :inner], tile.dK[:, :, columns]
            product = np.matmul(c.reshape(-1, c.shape[2]).T, dk.reshape(-1, dk.shape[2]))
            total = product if total is None else np.add(total, product, out=total)
        assert total is not None
        by_gate = total.reshape(inner, -1, 4, lanes).transpose(0, 2, 1, 3)
        dW.reshape(inner, 4, -1, lanes)[:, :, first:last] = by_gate

    def final_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the last h and memory, (m, u) each."""
        m, s, _, u = self.shape
        hn, Cn = np.empty((2, m, u), self.dtype)
        for tile in self.tiles:
            part = slice(tile.first, tile.last)
            hn[part] = tile.rows[s if self.keep else s % 2, :, :u]
            Cn[part] = tile.unfold(tile.memory[-1])
        return hn, Cn


def run_forward(workspace: Panels, X: np.ndarray, h0: np.ndarray | None, C0: np.ndarray | None, A: np.ndarray) -> None:
    """Run every tile and fill A; as :func:`lstm_fast.forward.run_forward`."""
    kernels = workspace.kernels()
    if not (X.flags.aligned and X.dtype.isnative):
        X = X.astype(workspace.dtype)

    def run(tile: PanelTile) -> None:
        """Load the initial states and run the steps."""
        part = slice(tile.first, tile.last)
        tile.rows[0, :, : tile.u] = 0.0 if h0 is None else h0[part]
        tile.fold(tile.memory[0], None if C0 is None else C0[part])
        _run_tile(tile, X[part], A[part], kernels)

    workspace.for_each_tile(run)


def _run_tile(tile: PanelTile, X: np.ndarray, A: np.ndarray, kernels: Kernels) -> None:
    """Run the steps of one tile, some at a time; X (w, s, e), A (w, s, u) or (w, u)."""
    w, s, e = X.shape
    padded, item, row = tile.padded, A.itemsize, tile.rows.shape[2]
    keep = int(tile.steps == s)
    steps = max(1, LONGEST_CALL // (4 * w * padded * (padded + e)))
    spare = None
    if A.ndim == 3 and tile.u < padded:  # h comes in whole registers
        steps = max(1, min(steps, CHUNK // (w * padded)))
        spare = np.empty((w, min(steps, s), padded), A.dtype)
    arrays = [array.reshape(-1) for array in (tile.weights, tile.rows, tile.gates, tile.memory)]
    linear = aligned_empty((8 * kernels.rows * 4 * tile.lanes,), A.dtype)
    for first in range(0, s, steps):
        last = min(first + steps, s)
        out = 0, 0, 0
        if spare is not None:
            out = spare.ctypes.data, spare[0].nbytes, padded * item
        elif A.ndim == 3:
            out = A.ctypes.data + first * padded * item, s * padded * item, padded * item
        kernels.forward(*arrays, linear, X, first, last, keep, padded, row, *out)
        if spare is not None:
            A[:, first:last] = spare[:, : last - first, : tile.u]
    if A.ndim == 2:
        A[...] = tile.rows[s if keep else s % 2, :, : tile.u]


def run_backward(
    workspace: Panels,
    dA: np.ndarray,
    dhn: np.ndarray | None,
    dCn: np.ndarray | None,
    dX: np.ndarray,
    dh0: np.ndarray,
    dC0: np.ndarray,
) -> None:
    """Run every tile backwards; fill dX, dh0, dC0 and dK; as :func:`lstm_fast.backward.run_backward`."""
    kernels = workspace.kernels()
    back_weights = workspace.weights_back.reshape(-1)

    def run(tile: PanelTile) -> None:
        """Load the cotangents and run the steps."""
        part, u, padded = slice(tile.first, tile.last), tile.u, tile.padded
        w, s, e = dX[part].shape
        tile.dA[..., :u] = dA[part].reshape(w, -1, u)
        tile.back.fill(0.0)
        if dhn is not None:
            tile.back[:, :u] = dhn[part]
        tile.fold(tile.dC, None if dCn is None else dCn[part])
        arrays = [
            array.reshape(-1) for array in (back_weights, tile.gates, tile.memory, tile.dA, tile.back, tile.dC, tile.dK)
        ]
        row, dk_row = tile.back.shape[1], tile.dK.shape[2]
        end = s
        if tile.dA.shape[1] < s:  # the last step alone has one
            kernels.backward(*arrays, padded, 0, dX[part], s - 1, s, padded, row, dk_row)
            arrays[3] = np.zeros(padded, dX.dtype)
            end = s - 1
        strides = (s * padded, padded) if end == s else (0, 0)
        steps = max(1, LONGEST_CALL // (4 * w * padded * (padded + e)))
        for last in range(end, 0, -steps):
            kernels.backward(*arrays, *strides, dX[part], max(0, last - steps), last, padded, row, dk_row)
        dh0[part] = tile.back[:, :u]
        dC0[part] = tile.unfold(tile.dC)

    workspace.for_each_tile(run)
