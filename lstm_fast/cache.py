"""Give every intermediate of a pass by EpyNN's name, computed from the buffers when first read.

The passes keep packed buffers only. ``layer.fc`` and ``layer.bc`` are mappings that unpack an entry
into a fresh (m, s, u) array when it is asked for, and remember it. An entry must be read before the
next forward pass (for `bc`: the next forward or backward pass) overwrites the buffers; later, only
entries already read are left, and asking for another raises RuntimeError instead of giving values
of another pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np

from lstm_fast.packing import GATES
from lstm_fast.workspace import Record, Workspace

__all__ = ["BackwardCache", "Cache", "ForwardCache"]


class Cache(MutableMapping):
    """A mapping whose entries are computed on first access.

    Parameters
    ----------
    name : str
        'fc' or 'bc', for messages.
    ready : dict
        Entries that need no computing.
    """

    names: tuple[str, ...] = ()

    def __init__(self, name: str, ready: dict[str, Any] | None = None) -> None:
        self._name = name
        self._ready = dict(ready or {})
        self._names = dict.fromkeys((*self.names, *self._ready))
        self._live = bool(self.names)
        self.edited = False

    def expire(self) -> None:
        """Note that the buffers are about to be overwritten."""
        self._live = False

    def _compute(self, key: str) -> np.ndarray:
        """Compute an entry from the buffers."""
        raise NotImplementedError

    def __getitem__(self, key: str) -> np.ndarray:
        if key in self._ready:
            return self._ready[key]
        if key not in self._names:
            raise KeyError(key)
        value = self._compute(key) if self._live else None
        if value is None or not self._live:  # or overwritten meanwhile, by another thread
            raise RuntimeError(
                f"{self._name}[{key!r}] is gone: it was not read before a later pass reused the "
                "layer's buffers. Read it between the pass it belongs to and the next one"
            )
        return self._ready.setdefault(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.edited = True
        self._names[key] = None
        self._ready[key] = value

    def __delitem__(self, key: str) -> None:
        del self._names[key]
        self._ready.pop(key, None)
        self.edited = True

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{self._name}: {', '.join(self._names)}>"


def _gather(workspace: Workspace, pick: Callable[[Record], np.ndarray]) -> np.ndarray:
    """Return a new (m, s, n) from each tile's (w, s, n)."""
    return np.concatenate([pick(tile) for tile in workspace.tiles])


def _values(workspace: Workspace, name: str) -> np.ndarray:
    """Return what the tiles keep under a name, (m, s, n)."""
    return _gather(workspace, lambda tile: tile.values(name))


class ForwardCache(Cache):
    """The intermediates of one forward pass.

    X (m, s, e); A as returned; h0, C0 and the final states hn, Cn (m, u); all others (m, s, u).
    """

    names = ("X", "hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "h", "A", "h0", "C0", "hn", "Cn")

    def __init__(self, workspace: Workspace, sequences: bool) -> None:
        super().__init__("fc")
        self._workspace, self._sequences = workspace, sequences

    def _compute(self, key: str) -> np.ndarray:
        workspace = self._workspace
        if key == "A":
            return self["h"].copy() if self._sequences else self["h"][:, -1].copy()
        if key in ("h0", "C0", "hn", "Cn"):
            source = {"h0": "hp", "C0": "Cp_", "hn": "h", "Cn": "C_"}[key]
            return self[source][:, 0 if key.endswith("0") else -1].copy()
        if key.endswith("_") and key[0] in GATES:
            gate = GATES.index(key[0])
            scale = workspace.scale[gate * workspace.shape[3]]
            return _gather(workspace, lambda tile: tile.linear_activations(gate) / scale)
        return _values(workspace, key)


class BackwardCache(Cache):
    """The intermediates of one backward pass.

    dX (m, s, e); dh0 and dC0 (m, u); all others (m, s, u). dhn and dCn arrive at a step from the
    next one (at the last step they are what the caller passed in); dh_ and dC_ are the whole
    cotangents of h and of the memory; dh and dC are what the step passes back. dA is zero at the
    steps that are not part of A.
    """

    names = ("dA", "dhn", "dh_", "dh", "dCn", "dC_", "dC", "df_", "di_", "dg_", "do_", "dX")

    def __init__(self, workspace: Workspace, sequences: bool, ready: dict[str, np.ndarray | None]) -> None:
        # The cotangents of the final states that came in are kept under names of no entry.
        self._final = {name: ready.pop(name) for name in ("dhn", "dCn")}
        super().__init__("bc", ready)
        self._workspace, self._sequences = workspace, sequences

    def _compute(self, key: str) -> np.ndarray:
        workspace = self._workspace
        if key[1] in GATES:  # df_ and its sisters
            return _gather(workspace, lambda tile: tile.gate_cotangents(GATES.index(key[1])))
        if key == "dA":
            given = _values(workspace, "dA")
            m, s, _, u = workspace.shape
            dA = np.zeros((m, s, u), workspace.dtype)
            dA[:, s - given.shape[1] :] = given  # every step, or the last
            return dA
        if key == "dX":
            return _gather(workspace, lambda tile: tile.passed_back()[1])
        if key == "dh":
            return _gather(workspace, lambda tile: tile.passed_back()[0])
        if key in ("dhn", "dCn"):
            passed = self["dh" if key == "dhn" else "dC"]
            arriving = np.zeros_like(passed)
            arriving[:, :-1] = passed[:, 1:]
            final = self._final[key]
            if final is not None:
                arriving[:, -1] = final
            return arriving
        if key == "dh_":
            return self["dA"] + self["dhn"]
        if key == "dC_":
            return self._memory_cotangents()
        return self["dC_"] * _values(workspace, "f")  # dC

    def _memory_cotangents(self) -> np.ndarray:
        """Return dC_: its recursion once more, given dh_."""
        dh_, workspace = self["dh_"], self._workspace
        o, C, f = (_values(workspace, name) for name in "oCf")
        dC_, final = dh_ * (o * (1 - C * C)), self._final["dCn"]
        dC = np.zeros_like(dC_[:, 0]) if final is None else final
        for t in reversed(range(dC_.shape[1])):
            dC_[:, t] += dC
            dC = dC_[:, t] * f[:, t]
        return dC_
