"""Compose layers: one above another (`Stack`), or the same steps from both ends (`Bidirectional`).

Both have the methods of a layer. Their LSTMs are named by place, as PyTorch names them: ``_l0``, ``_l0_reverse``,
``_l1`` and so on; so are parameters (``Uf_l0``) and gradients (``dUf_l0``). States and their cotangents, one array
(m, u) of a single layer, are lists with an array or None for every place, in the order of `places`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lstm_fast.layer import LSTM
from lstm_fast.packing import PARAMETERS
from lstm_fast.validation import as_lengths, check_state_dict

__all__ = ["Bidirectional", "Stack"]


class _Composed:
    """The LSTMs at their places, and whatever is done to each of them alike.

    Attributes
    ----------
    places : dict
        Suffix to LSTM. `lrate`, `e` and `clip_gradients` are those of each LSTM.
    bc : dict
        After backward: `dX` (m, s, e), `dh0` and `dC0`, lists of (m, u).
    """

    def __init__(self, places: dict[str, LSTM]) -> None:
        if len(set(map(id, places.values()))) != len(places):
            raise ValueError("one LSTM object stands at several places; expected a different one at each")
        dtypes = sorted({lstm.dtype.name for lstm in places.values()})
        if len(dtypes) != 1:
            raise ValueError(f"layers of {' and '.join(dtypes)} are composed; expected a single dtype")
        self.places = places
        self.bc: dict[str, Any] = {}

    def _named(self, kind: str) -> Mapping[str, np.ndarray]:
        """Return every LSTM's `p` or `g` as one read-only mapping, of the same arrays."""
        found: dict[str, np.ndarray] = {}
        for suffix, lstm in self.places.items():
            found |= {name + suffix: array for name, array in getattr(lstm, kind).items()}
        return MappingProxyType(found)

    @property
    def p(self) -> Mapping[str, np.ndarray]:
        """All parameters; write through the arrays, or use load_state_dict: entries cannot be assigned."""
        return self._named("p")

    @property
    def g(self) -> Mapping[str, np.ndarray]:
        """All gradients."""
        return self._named("g")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters."""
        return {n + suffix: a for suffix, lstm in self.places.items() for n, a in lstm.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy all parameters in, or (on an error, as in `LSTM.load_state_dict`) none."""
        check_state_dict(state, [name + suffix for suffix in self.places for name in PARAMETERS])
        own = {at: {name: state[name + at] for name in PARAMETERS} for at in self.places}
        for suffix, lstm in self.places.items():  # refused by layers that nobody else has, if it is to be refused
            LSTM(lstm.d["u"], dtype=lstm.dtype, rng=0).load_state_dict(own[suffix])
        for suffix, lstm in self.places.items():
            lstm.load_state_dict(own[suffix])

    def compute_gradients(self, accumulate: bool = False) -> None:
        """Fill the `g` of every LSTM; each clips its own, if it clips."""
        for lstm in self.places.values():
            lstm.compute_gradients(accumulate)

    def update_parameters(self) -> None:
        """Take a step of gradient descent everywhere."""
        for lstm in self.places.values():
            lstm.update_parameters()

    def reset_states(self) -> None:
        """Have every stateful LSTM begin with zero states."""
        for lstm in self.places.values():
            lstm.reset_states()

    def _per_place(self, name: str, states: Sequence[Any] | None) -> list[Any]:
        """Return a list with an entry for every place."""
        found = [None] * len(self.places) if states is None else list(states)
        if len(found) != len(self.places):
            raise ValueError(f"{name} holds {len(found)} arrays; expected one each for {', '.join(self.places)}")
        return found

    def _run(self, X: Any, h0: list[Any], C0: list[Any], options: dict[str, Any]) -> tuple[np.ndarray, list[Any]]:
        """Return the result and, place by place, the final states (hn, Cn)."""
        raise NotImplementedError

    def _run_back(self, dA: Any, dhn: list[Any], dCn: list[Any]) -> np.ndarray:
        """Return dX."""
        raise NotImplementedError

    def forward(
        self,
        X: Any,
        h0: Sequence[Any] | None = None,
        C0: Sequence[Any] | None = None,
        *,
        lengths: Any = None,
        return_states: bool = False,
        keep_cache: bool = True,
    ) -> Any:
        """Return what the last LSTM gives; arguments as in `LSTM.forward`, states as lists.

        With `return_states` (A, hn, Cn), two lists with an array (m, u) for every place.
        """
        options = {"lengths": lengths, "keep_cache": keep_cache, "return_states": True}
        A, final = self._run(X, self._per_place("h0", h0), self._per_place("C0", C0), options)
        return (A, [hn for hn, _ in final], [Cn for _, Cn in final]) if return_states else A

    def backward(self, dA: Any, dhn: Sequence[Any] | None = None, dCn: Sequence[Any] | None = None) -> np.ndarray:
        """Return dX (m, s, e); the initial states' cotangents are in `bc`."""
        dX = self._run_back(dA, self._per_place("dhn", dhn), self._per_place("dCn", dCn))
        of_states = {name: [lstm.bc[name] for lstm in self.places.values()] for name in ("dh0", "dC0")}
        self.bc = {"dX": dX.copy(), **of_states}
        return dX


class Bidirectional(_Composed):
    """An LSTM from the first step to the last, and another from the last to the first.

    Parameters
    ----------
    layer : LSTM
        The first of the two; the other is made with the same options and draws after it from its `rng`.
    join : str
        'concat': h of both side by side, 2u wide. 'sum': added.

    Notes
    -----
    A padded sample is read backwards from its own last step. With ``sequences=False`` each direction
    contributes what it has where it ends, so the reverse one that of the first step.
    """

    def __init__(self, layer: LSTM, join: str = "concat") -> None:
        if not isinstance(layer, LSTM):
            raise TypeError(f"layer is {layer!r}; expected a lstm_fast.LSTM")
        if join not in ("concat", "sum"):
            raise ValueError(f"join is {join!r}; expected 'concat' or 'sum'")
        other = LSTM(
            layer.d["u"],
            sequences=layer.sequences,
            initialization=layer.initialization,
            clip_gradients=layer.clip_gradients,
            dtype=layer.dtype,
            rng=layer.rng,
            stateful=layer.stateful,
        )
        super().__init__({"_l0": layer, "_l0_reverse": other})
        self.join = join
        self._index: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Bidirectional({self.places['_l0']!r}, join={self.join!r})"

    @property
    def width(self) -> int:
        """Values in a step of the result."""
        return self.places["_l0"].d["u"] * (2 if self.join == "concat" else 1)

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` of both from X (m, s, e)."""
        for lstm in self.places.values():
            lstm.compute_shapes(X)

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Draw the parameters, those of the reverse direction after the others."""
        for lstm in self.places.values():
            lstm.initialize_parameters(elements)

    def _turn(self, array: np.ndarray) -> np.ndarray:
        """Return each sample's steps in the opposite order; padding stays where it is."""
        return array[:, ::-1] if self._index is None else np.take_along_axis(array, self._index, axis=1)

    def _run(self, X: Any, h0: list[Any], C0: list[Any], options: dict[str, Any]) -> tuple[np.ndarray, list[Any]]:
        first, second = self.places.values()
        A, *final = first.forward(X, h0[0], C0[0], **options)
        X = np.asarray(X)
        self._index = None
        if options["lengths"] is not None:
            m, s, _ = X.shape
            steps, ends = np.arange(s), as_lengths(options["lengths"], m, s)[:, np.newaxis]
            self._index = np.where(steps < ends, ends - 1 - steps, steps)[:, :, np.newaxis]
        A_reverse, *final_reverse = second.forward(self._turn(X), h0[1], C0[1], **options)
        if A.ndim == 3:
            A_reverse = self._turn(A_reverse)
        joined = np.concatenate((A, A_reverse), axis=-1) if self.join == "concat" else A + A_reverse
        return joined, [final, final_reverse]

    def _run_back(self, dA: Any, dhn: list[Any], dCn: list[Any]) -> np.ndarray:
        first, second = self.places.values()
        dA = np.asarray(dA)
        if dA.ndim == 0 or dA.shape[-1] != self.width:
            raise ValueError(f"dA has shape {dA.shape}; expected {self.width} values in its last axis, as forward gave")
        halves = np.split(dA, 2, axis=-1) if self.join == "concat" else (dA, dA)
        dX = first.backward(halves[0], dhn[0], dCn[0])
        dX_reverse = second.backward(self._turn(halves[1]) if dA.ndim == 3 else halves[1], dhn[1], dCn[1])
        return dX + self._turn(dX_reverse)


class Stack(_Composed):
    """Layers of which each reads the h of the one below.

    Parameters
    ----------
    layers : sequence of LSTM or Bidirectional
        The first reads X. All but the last need ``sequences=True``.
    """

    def __init__(self, layers: Sequence[LSTM | Bidirectional]) -> None:
        layers = list(layers)
        if not layers:
            raise ValueError("layers is empty; expected at least one LSTM or Bidirectional")
        places: dict[str, LSTM] = {}
        for k, layer in enumerate(layers):
            if not isinstance(layer, LSTM | Bidirectional):
                raise TypeError(f"layers[{k}] is {layer!r}; expected an LSTM or a Bidirectional")
            of_layer = {"_l0": layer} if isinstance(layer, LSTM) else layer.places
            if layer is not layers[-1] and not of_layer["_l0"].sequences:
                raise ValueError(
                    f"layers[{k}] gives its last step only; expected sequences=True but for the last layer"
                )
            places |= {f"_l{k}" + suffix.removeprefix("_l0"): lstm for suffix, lstm in of_layer.items()}
        super().__init__(places)
        self.layers = layers

    def __repr__(self) -> str:
        return f"Stack({self.layers!r})"

    def _widths(self) -> list[int]:
        """Return how many values a step of each layer's result has."""
        return [layer.d["u"] if isinstance(layer, LSTM) else layer.width for layer in self.layers]

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` of all from X (m, s, e)."""
        for layer, width in zip(self.layers, self._widths(), strict=True):
            layer.compute_shapes(X)
            X = np.broadcast_to(np.zeros((), np.asarray(X).dtype), (*np.shape(X)[:2], width))

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Draw the parameters from the first layer on; `elements` is the e of X."""
        for layer, width in zip(self.layers, self._widths(), strict=True):
            layer.initialize_parameters(elements)
            elements = None if elements is None else width

    def _cut(self, states: list[Any]) -> list[Any]:
        """Return each layer's own states, in the form that it takes them."""
        rest = iter(states)
        return [next(rest) if isinstance(layer, LSTM) else [next(rest), next(rest)] for layer in self.layers]

    def _run(self, X: Any, h0: list[Any], C0: list[Any], options: dict[str, Any]) -> tuple[np.ndarray, list[Any]]:
        final: list[Any] = []
        for layer, *states in zip(self.layers, self._cut(h0), self._cut(C0), strict=True):
            X, hn, Cn = layer.forward(X, *states, **options)
            final += [(hn, Cn)] if isinstance(layer, LSTM) else zip(hn, Cn, strict=True)
        return X, final

    def _run_back(self, dA: Any, dhn: list[Any], dCn: list[Any]) -> np.ndarray:
        for layer, *states in reversed(list(zip(self.layers, self._cut(dhn), self._cut(dCn), strict=True))):
            dA = layer.backward(dA, *states)
        return dA
