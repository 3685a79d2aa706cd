"""Allocate and cut up the buffers of one problem shape; they are reused while the shape stays.

The batch is processed in tiles of w samples, at most 64. What a step computes for one tile, say one
gate, is u w numbers: a *unit*. It is stored in one of two orders, each with its own products, in
:mod:`lstm_fast.feature_major` (for wide tiles) and :mod:`lstm_fast.sample_major` (for narrow ones).
(What the compiled passes work on is another thing: :mod:`lstm_fast.panels`.)
Both stack their units in the same way::

    slots    (5 s + 1, unit)   step t owns slots 5t .. 5t + 4:

                               C_{t-1} | g_t | f_t | i_t | o_t || C_t | g_{t+1} ...

    C        (s, unit)         C = tanh(C_), where C_ is the memory in the slots

Every gate is one contiguous block, the memory of a step is written where the next step wants it,
and three groups of neighbours can each be handled by one NumPy call: the four gates (tanh), the
three sigmoids (scaling), and (f, i) against (C_{t-1}, g) in C_t = f C_{t-1} + i g.

The backward pass adds, for a chunk of c steps at a time::

    local    (c, 6, unit)      f | dg/dC | df/dC | di/dC | do/dh | dC/dh   local derivatives,
                               multiplied in place by the cotangents: then
                               dC to t-1 | dg_ | df_ | di_ | do_ | (part of dC_)

and, for all steps, ``dA (s, unit)`` and dK, the cotangents of the linear activations. Where a
step's column c_t = [h_{t-1}; x_t; 1] and dK are kept, and in which order, is the layout's own.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_fast.packing import GATES
from lstm_fast.threads import blas_in_one_thread, run_together

if TYPE_CHECKING:
    from lstm_fast.compiled import Kernels

__all__ = [
    "CHUNK",
    "SMALL_PRODUCT",
    "SWITCH",
    "Record",
    "Tile",
    "Workspace",
    "aligned_empty",
    "kernels_for",
    "small_products_pay",
]

#: OpenBLAS multiplies without packing its operands while rows * inner * columns is at most this.
SMALL_PRODUCT = 1_000_000

#: Elements of one unit times steps in a chunk: keeps a chunk in L2 cache.
CHUNK = 16384


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised C-ordered array that starts on a 64-byte boundary (a cache line)."""
    size = int(np.prod(shape)) * dtype.itemsize
    # NumPy itself promises 16 bytes or so; a vector register of 64 bytes would then lie across two lines at every load.
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


#: The environment variable that, set to 0, switches the compiled passes off.
SWITCH = "LSTM_FAST_COMPILED"


def kernels_for(dtype: np.dtype, whether_or_not: bool = False) -> Kernels | None:
    """Return the compiled passes; None if there is no Numba or they are switched off, which is asked at every pass.

    `whether_or_not` has them even so: a backward pass belongs to what its forward pass was.
    """
    return None if os.environ.get(SWITCH) == "0" and not whether_or_not else _load_kernels(dtype.char)


@cache
def _load_kernels(char: str) -> Kernels | None:
    """Import what takes half a second, and compile or load."""
    try:
        from lstm_fast.compiled import compile_kernels
    except ImportError:
        return None
    return compile_kernels(char)


class Record(ABC):
    """What is kept of the steps of samples `first` to `last` - 1, as the caches read it.

    Attributes
    ----------
    first, last, steps : int
    """

    first: int
    last: int
    steps: int

    #: What is cut anew from other buffers: views do not survive copying and pickling as views.
    _views: frozenset[str] = frozenset()

    @abstractmethod
    def values(self, name: str) -> np.ndarray:
        """Return an entry of `fc`, or dA, of every step that has one: (w, steps, u), or (w, steps, e) for X."""

    # What the passes did not keep is computed again, by the same products.

    @abstractmethod
    def linear_activations(self, gate: int) -> np.ndarray:
        """Return a gate's product of every step, (w, steps, u); f, i, o come halved."""

    @abstractmethod
    def gate_cotangents(self, gate: int) -> np.ndarray:
        """Return a gate's part of dK, (w, steps, u)."""

    @abstractmethod
    def passed_back(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the cotangents of h_{t-1}, (w, steps, u), and x_t, (w, steps, e), of every step."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in self._views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                # What was unpickled or copied starts where it happens to.
                copy = aligned_empty(value.shape, value.dtype)
                copy[...] = value
                setattr(self, name, copy)


class Tile(Record):
    """The buffers of samples `first` to `last` - 1 and the views that each step works on.

    A layout says what a unit is and how it is multiplied by the weights.

    Parameters
    ----------
    first, last : int
    steps : int
        How many steps the buffers hold: s, or fewer when nothing is kept for a backward pass.
    e, u : int
    unit : tuple of int
        The shape in which the u w numbers of one gate are stored.
    dtype : numpy.dtype

    Attributes
    ----------
    x : numpy.ndarray
        (w, steps, e): the inputs, seen as the caller passes them.
    hp, h, memory : numpy.ndarray
        (steps, *unit): h before and after each step, the memory after it.
    step_slots : numpy.ndarray
        (steps, 5, *unit): C_{t-1}, g, f, i, o.
    linear : numpy.ndarray
        (4, *unit): where a step's product lands, in cache; tanh moves it to the slots.
    dh : numpy.ndarray
        (*unit): the cotangent of h that enters the last step and, at the end, leaves the first.
    scratch : numpy.ndarray
        (3, *unit): dh_, dC_, and dC from chunk to chunk.
    """

    #: What `cut` and `cut_backward` make.
    _views: frozenset[str] = frozenset(
        ["x", "hp", "h", "memory", "step_slots", "linear", "products", "forward_steps", "dh", "local_steps"]
    )

    x: np.ndarray
    hp: np.ndarray
    h: np.ndarray
    linear: np.ndarray
    dh: np.ndarray

    def __init__(
        self, first: int, last: int, steps: int, e: int, u: int, unit: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.first, self.last, self.steps = first, last, steps
        self.e, self.u, self.unit = e, u, unit
        self.slots = aligned_empty((5 * steps + 1, *unit), dtype)
        self.C = aligned_empty((steps, *unit), dtype)
        self.local: np.ndarray | None = None

    @abstractmethod
    def fold(self, array: np.ndarray) -> np.ndarray:
        """Return a caller's array (w, ..., u) seen as units, (..., *unit); writing goes through."""

    @abstractmethod
    def cut(self, weights: np.ndarray) -> None:
        """Cut the forward pass's views once, so that the loop over steps does no slicing."""

    def _cut_steps(self, products: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Cut the forward steps; `products` has each step's left and right factor and its target."""
        slots = self.slots
        # (s, 5, unit): C_{t-1}, g, f, i, o; and the memory after each step
        self.step_slots = slots[:-1].reshape(self.steps, 5, *self.unit)
        self.memory = slots[5::5]
        self.products = aligned_empty((2, *self.unit), slots.dtype)  # f C_{t-1} and i g
        self.forward_steps = [
            (
                *products[t],
                slots[k + 1 : k + 5],  # g, f, i, o
                slots[k + 2 : k + 5],  # f, i, o
                slots[k + 2 : k + 4],  # f, i
                slots[k : k + 2],  # C_{t-1}, g
                slots[k + 5],  # C_t
                slots[k + 4],  # o
                self.C[t],
                self.h[t],
            )
            for t, k in ((t, 5 * t) for t in range(self.steps))
        ]

    def allocate_backward(self, sequences: bool) -> None:
        """Add the backward pass's buffers; a layout adds its own."""
        dtype = self.C.dtype
        chunk = max(1, min(self.steps, CHUNK // self.C[0].size))
        self.dA = aligned_empty((self.steps if sequences else 1, *self.unit), dtype)
        self.scratch = aligned_empty((3, *self.unit), dtype)
        self.local = aligned_empty((chunk, 6, *self.unit), dtype)

    def cut_backward(self, weights: Any) -> None:
        """Cut the backward pass's views; a layout adds its own."""
        assert self.local is not None
        self.local_steps = [
            (
                local[4:6],  # do/dh, dC/dh
                local[5],
                local[0:4],  # f, dg/dC, df/dC, di/dC
                local[0],  # cotangent of C_{t-1}
            )
            for local in self.local
        ]

    @abstractmethod
    def product_steps(self, first: int, last: int) -> Sequence[tuple[Any, ...]]:
        """Return what turns the dk of steps `first` to `last` - 1 into dh.

        Each step has: dk, where to copy it first (or None), the product's left and right factor
        and target, and the part of the target that is dh, a unit.
        """

    @abstractmethod
    def finish_chunk(self, first: int, last: int, dX: np.ndarray) -> None:
        """Store dk of steps `first` to `last` - 1 in dK if it is not there; fill their dX (w, s, e)."""

    @abstractmethod
    def unfold(self, units: np.ndarray) -> np.ndarray:
        """Return units (..., *unit) as (w, ..., u)."""

    def values(self, name: str) -> np.ndarray:
        """Return an entry of `fc`, or dA, by sample; see :class:`Record`."""
        if name == "X":
            return self.x
        if name == "Cp_" or name in GATES:
            return self.unfold(self.step_slots[:, 0 if name == "Cp_" else 1 + GATES.index(name)])
        return self.unfold(getattr(self, "memory" if name == "C_" else name))


class Workspace(ABC):
    """All buffers for one (m, s, e, u), and the packed weights; a layout fills in the rest.

    Parameters
    ----------
    m, s, e, u : int
    dtype : numpy.dtype
    keep : bool
        Whether every step is kept for a backward pass; if not, the buffers hold a chunk of steps.
    bounds : list of tuple
        The first sample of each tile, and the last + 1.
    workers : int
        How many threads share the tiles.

    Attributes
    ----------
    tiles : list of Record
    scale : numpy.ndarray
        (4u,): 1 for the columns of g, 0.5 for those of f, i, o; see :mod:`lstm_fast.forward`.
    """

    tiles: Sequence[Any]
    _views: frozenset[str] = frozenset()

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        dtype: np.dtype,
        keep: bool,
        bounds: list[tuple[int, int]],
        workers: int,
    ) -> None:
        _, s, _, u = self.shape = shape
        self.dtype, self.keep, self.workers = dtype, keep, workers
        self.widest = max(last - first for first, last in bounds)
        self.steps = s if keep else max(1, min(s, CHUNK // (u * self.widest)))
        self.scale = np.full(4 * u, 0.5, dtype)  # f, i, o
        self.scale[:u] = 1.0  # g
        self.sequences: bool | None = None  # of the backward buffers; None: there are none
        self.back_packed = False  # whether the backward weights are those of the forward pass
        self.readers: dict[str, Any] = {}  # the caches, fc and bc, that unpack these buffers

    def usable(self) -> bool:
        """Return whether this is how the next pass would be made."""
        return kernels_for(self.dtype) is None

    @abstractmethod
    def pack_weights(self, W: np.ndarray) -> None:
        """Copy W (K, 4u) into the forward product's blocks, with the columns of f, i, o halved."""

    @abstractmethod
    def pack_weights_back(self) -> None:
        """Fill the backward product's blocks from the weights that the forward pass used."""

    def sum_columns(self, columns: slice, worker: int, dW: np.ndarray) -> None:
        """Fill some columns of dW with the sum over samples and steps of c_t dk_t^T."""
        raise NotImplementedError

    @abstractmethod
    def _allocate_backward(self, sequences: bool) -> None:
        """Add the backward pass's buffers."""

    @abstractmethod
    def _cut(self) -> None:
        """Cut all views that do not survive copying."""

    def allocate_backward(self, sequences: bool) -> None:
        """Add the backward pass's buffers, if this is the first backward pass of the shape."""
        if self.sequences is not sequences:
            self.sequences = None  # as long as they are not complete
            self.back_packed = False
            self._allocate_backward(sequences)
            self.sequences = sequences
            self._cut()

    def expire_readers(self) -> None:
        """Tell the caches that read these buffers that a new forward pass begins."""
        for reader in self.readers.values():
            reader.expire()
        self.readers.clear()

    def for_each_tile(self, run: Callable[[Any], None]) -> None:
        """Call `run` for every tile, in as many threads as pay."""
        if self.workers == 1:
            for tile in self.tiles:
                run(tile)
            return

        def share(worker: int) -> None:
            """Run this worker's tiles."""
            # No tile writes where another reads or writes, and which thread runs one changes no bit of it.
            for tile in self.tiles[worker :: self.workers]:
                run(tile)

        run_together([partial(share, worker) for worker in range(self.workers)])

    def sum_gradients(self) -> np.ndarray:
        """Return a new dW (K, 4u) = sum over samples and steps of c_t dk_t^T."""
        _, _, e, u = self.shape
        dW = np.empty((u + e + 1, 4 * u), self.dtype)
        if self.workers == 1:
            self.sum_columns(slice(0, 4 * u), 0, dW)
            return dW
        # Each thread takes some columns over all samples, so that nothing is added up in an order that depends on
        # threads.
        with blas_in_one_thread() as single:  # or else the BLAS has threads of its own
            width = -(-4 * u // self.workers) if single else 4 * u
            shares = [slice(first, min(first + width, 4 * u)) for first in range(0, 4 * u, width)]
            run_together([partial(self.sum_columns, share, k, dW) for k, share in enumerate(shares)])
        return dW

    def final_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the last h and memory, (m, u) each."""
        m, s, _, u = self.shape
        hn, Cn = np.empty((2, m, u), self.dtype)
        for tile in self.tiles:
            last = (s - 1) % tile.steps
            tile.fold(hn[tile.first : tile.last])[...] = tile.h[last]
            tile.fold(Cn[tile.first : tile.last])[...] = tile.memory[last]
        return hn, Cn

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in self._views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cut()
