"""Batches of samples of different lengths, at the cost of the steps that there are and not of the padding.

The samples are sorted, longest first. Between one length and the next longer one the same samples run: a *part*, which
is a pass of its own over the first k of them, begun with the states in which the part before it ended. Each part has
a layer of its own, with buffers of its own and the parameters of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstm_fast.cache import BackwardCache, Cache, ForwardCache

if TYPE_CHECKING:
    from lstm_fast.layer import LSTM

__all__ = ["PaddedPass"]


class Part(NamedTuple):
    """The steps from `begin` to `end`, of the samples `rows`, in the layer that ran them."""

    layer: LSTM
    rows: np.ndarray
    begin: int
    end: int


class PaddedPass:
    """One forward pass over a padded batch, and what goes back through it.

    Parameters
    ----------
    make : callable
        Returns a layer that returns every step and has the parameters.
    X, h0, C0 : array
        (m, s, e) and (m, u) twice.
    lengths : array of int
        (m,), from 0 to s.
    sequences : bool
        Whether h of every step is the result, or that of each sample's last one.
    keep : bool
        Whether there may be a backward pass.

    Attributes
    ----------
    A : array
        (m, s, u), zero in the padding, or (m, u).
    final : tuple of array
        The states (m, u) at each sample's own end.
    fc, bc : PaddedCache, optional
        What was kept, and what the last backward pass gave.
    """

    def __init__(
        self,
        make: Callable[[], LSTM],
        X: np.ndarray,
        h0: np.ndarray,
        C0: np.ndarray,
        lengths: np.ndarray,
        sequences: bool,
        keep: bool,
    ) -> None:
        self.shape, self.sequences = (*X.shape, h0.shape[1]), sequences
        self.parts: list[Part] = []
        self.final = h0.copy(), C0.copy()
        h = self.padding(h0.shape[1], h0.dtype)
        order = np.argsort(-lengths, kind="stable")
        begin = 0
        for end in sorted({int(n) for n in lengths} - {0}):
            rows = order[: np.count_nonzero(lengths >= end)]
            layer = make()
            h0s, C0s = (state[rows] for state in self.final)
            h[rows, begin:end] = layer._run_forward(X[rows, begin:end], h0s, C0s, None, keep)
            for state, last in zip(self.final, layer._final_states(), strict=True):
                state[rows] = last
            self.parts.append(Part(layer, rows, begin, end))
            begin = end
        self.A = h if sequences else self.final[0]
        ready = {"A": self.A, "h0": h0, "C0": C0, "hn": self.final[0], "Cn": self.final[1]}
        self.fc = PaddedCache("fc", self, ready) if keep else None
        self.bc: PaddedCache | None = None

    def padding(self, width: int, dtype: np.dtype) -> np.ndarray:
        """Return zeros (m, s, width)."""
        return np.zeros((*self.shape[:2], width), dtype)

    def backward(self, dA: np.ndarray, dhn: np.ndarray | None, dCn: np.ndarray | None) -> PaddedCache:
        """Return the cotangents of the pass; they are in `bc` as well."""
        m, _, e, u = self.shape
        passed = tuple(np.zeros((m, u), dA.dtype) if state is None else state.copy() for state in (dhn, dCn))
        dh = dA
        if not self.sequences:  # the result was the final hidden state
            dh = self.padding(u, dA.dtype)
            np.add(passed[0], dA, out=passed[0])
        dX = self.padding(e, dA.dtype)
        for layer, rows, begin, end in reversed(self.parts):
            arriving = (state[rows] for state in passed)
            dX[rows, begin:end] = layer._run_backward(dh[rows, begin:end], *arriving)
            for state, name in zip(passed, ("dh0", "dC0"), strict=True):
                state[rows] = layer.bc[name]
        self.bc = PaddedCache("bc", self, {"dX": dX, "dh0": passed[0], "dC0": passed[1]})
        return self.bc

    def sum_gradients(self) -> np.ndarray:
        """Return the gradient of the whole parameter matrix, laid out as that is."""
        _, _, e, u = self.shape
        zeros = np.zeros((u + e + 1, 4 * u), self.A.dtype)  # what it is where no sample has a step
        return sum((layer._backward._workspace.sum_gradients() for layer, *_ in self.parts if layer._backward), zeros)

    def gather(self, kind: str, name: str) -> np.ndarray:
        """Return an entry of the parts' `fc` or `bc` as (m, s, n), zero in the padding."""
        out = self.padding(self.shape[2] if name == "X" else self.shape[3], self.A.dtype)
        for layer, rows, begin, end in self.parts:
            out[rows, begin:end] = getattr(layer, kind)[name]
        return out


class PaddedCache(Cache):
    """The intermediates of a pass over a padded batch, by the names of any pass; zero in the padding."""

    def __init__(self, kind: str, padded: PaddedPass, ready: Mapping[str, Any]) -> None:
        self.names = ForwardCache.names if kind == "fc" else BackwardCache.names
        super().__init__(kind, dict(ready))
        self._padded = padded

    def _compute(self, key: str) -> np.ndarray:
        return self._padded.gather(self._name, key)
