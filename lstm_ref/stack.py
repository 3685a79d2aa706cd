"""Layers above one another and in both directions, with the interface of a single layer.

A `Stack` and a `Bidirectional` hold LSTMs, each at a place: `_l0` is the first layer's, `_l1_reverse` the reverse
direction of the second. The names of all parameters and gradients end so. What is one array (m, u) of one layer, an
initial state or its cotangent, is a list here, with one for each place.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lstm_ref.layer import LSTM
from lstm_ref.parameters import PARAMETERS
from lstm_ref.validation import Array, check_lengths, check_names

States = Sequence[Any] | None


class Composite:
    """What stacks and both directions have in common: the LSTMs by their places, and what is done with all of them.

    Attributes
    ----------
    places : dict
        The LSTMs by place. Learning rates, clipping and the rest are set of each by itself.
    bc : dict
        After `backward` `dX`, and the lists `dh0` and `dC0`.
    """

    def __init__(self, places: dict[str, LSTM]) -> None:
        if len({id(lstm) for lstm in places.values()}) < len(places):
            raise ValueError("the same LSTM stands at two places, expected a layer of its own at each")
        dtypes = {str(lstm.dtype) for lstm in places.values()}
        if len(dtypes) > 1:
            raise ValueError(f"the layers are of {' and '.join(sorted(dtypes))}, expected one dtype")
        self.places = places
        self.bc: dict[str, Any] = {}

    @property
    def p(self) -> Mapping[str, Array]:
        """The parameters by name and place, `Uf_l0`: the layers' own arrays, to be written through."""
        return MappingProxyType({k + at: value for at, lstm in self.places.items() for k, value in lstm.p.items()})

    @property
    def g(self) -> Mapping[str, Array]:
        """The gradients by name and place, `dUf_l0`."""
        return MappingProxyType({k + at: value for at, lstm in self.places.items() for k, value in lstm.g.items()})

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters by name and place."""
        return {k + at: value for at, lstm in self.places.items() for k, value in lstm.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy in all parameters by name and place; errors as `LSTM.load_state_dict`'s."""
        check_names(state, [name + at for at in self.places for name in PARAMETERS])
        own = {at: {name: state[name + at] for name in PARAMETERS} for at in self.places}
        for at, lstm in self.places.items():
            LSTM(lstm.d["u"], dtype=lstm.dtype).load_state_dict(
                own[at]
            )  # what is refused is refused here, in all of them
        for at, lstm in self.places.items():
            lstm.load_state_dict(own[at])

    def compute_gradients(self, accumulate: bool = False) -> None:
        """Fill every layer's `g`; clipping is of each by itself."""
        for lstm in self.places.values():
            lstm.compute_gradients(accumulate)

    def update_parameters(self) -> None:
        """Take a step of gradient descent in every layer."""
        for lstm in self.places.values():
            lstm.update_parameters()

    def reset_states(self) -> None:
        """Have all stateful layers begin with zero states."""
        for lstm in self.places.values():
            lstm.reset_states()

    def _each(self, name: str, states: States) -> list[Any]:
        """Return one state for each place, None where there are none."""
        if states is None:
            return [None] * len(self.places)
        if len(states) != len(self.places):
            raise ValueError(
                f"{name} has {len(states)} arrays, expected {len(self.places)}: one each for {', '.join(self.places)}"
            )
        return list(states)

    def _returned(self, A: Array, return_states: bool) -> Any:
        """Return A, and the final states of every place where they are wanted."""
        if not return_states:
            return A
        return A, *([lstm.fc[name].copy() for lstm in self.places.values()] for name in ("hn", "Cn"))

    def _passed_back(self, dX: Array) -> Array:
        """Return dX, and fill `bc`."""
        cotangents = {name: [lstm.bc[name] for lstm in self.places.values()] for name in ("dh0", "dC0")}
        self.bc = {"dX": dX, **cotangents}
        return dX.copy()


class Bidirectional(Composite):
    """A layer in both directions.

    Parameters
    ----------
    layer : LSTM
        The forward direction. The reverse one is made like it, and draws from the same generator after it.
    join : str
        "concat", the two hidden states one beside the other (m, s, 2 u), or their "sum".

    Notes
    -----
    The reverse direction begins at each sample's own end. Without `sequences` its part of the result is what it has
    after the first step, where it ends.
    """

    def __init__(self, layer: LSTM, join: str = "concat") -> None:
        if not isinstance(layer, LSTM):
            raise TypeError(f"layer is a {type(layer).__name__}, expected an LSTM")
        if join not in ("concat", "sum"):
            raise ValueError(f"join is {join!r}, expected 'concat' or 'sum'")
        names = ("sequences", "initialization", "clip_gradients", "dtype", "rng", "stateful")
        reverse = LSTM(layer.d["u"], **{name: getattr(layer, name) for name in names})
        super().__init__({"_l0": layer, "_l0_reverse": reverse})
        self.join, self.width = join, layer.d["u"] * (2 if join == "concat" else 1)
        self._lengths: Array | None = None

    def __repr__(self) -> str:
        return f"Bidirectional({self.places['_l0']!r}, join={self.join!r})"

    def compute_shapes(self, X: Any) -> None:
        """Fill `d` and `fs` of both from the input sequences `X` (m, s, e)."""
        for lstm in self.places.values():
            lstm.compute_shapes(X)

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Draw the parameters of the forward direction, then those of the reverse."""
        for lstm in self.places.values():
            lstm.initialize_parameters(elements)

    def forward(
        self, X: Any, h0: States = None, C0: States = None, *, lengths: Any = None, return_states: bool = False
    ) -> Any:
        """Return the hidden states of both directions, joined; otherwise as `LSTM.forward`."""
        there, back = self.places.values()
        h0, C0 = self._each("h0", h0), self._each("C0", C0)
        A = there.forward(X, h0[0], C0[0], lengths=lengths)
        X = np.asarray(X)
        self._lengths = None if lengths is None else check_lengths(lengths, *X.shape[:2])
        reverse = back.forward(self._turned(X), h0[1], C0[1], lengths=lengths)
        if there.sequences:
            reverse = self._turned(reverse)
        return self._returned(
            np.concatenate([A, reverse], axis=-1) if self.join == "concat" else A + reverse, return_states
        )

    def backward(self, dA: Any, dhn: States = None, dCn: States = None) -> Array:
        """Return `dX` (m, s, e), and fill `bc`."""
        there, back = self.places.values()
        dhn, dCn = self._each("dhn", dhn), self._each("dCn", dCn)
        dA, u = np.asarray(dA), there.d["u"]
        if dA.shape[-1:] != (self.width,):
            raise ValueError(f"dA has shape {dA.shape}, expected (..., {self.width}), as what forward returned")
        first, second = (dA[..., :u], dA[..., u:]) if self.join == "concat" else (dA, dA)
        if there.sequences:
            second = self._turned(second)
        dX = there.backward(first, dhn[0], dCn[0]) + self._turned(back.backward(second, dhn[1], dCn[1]))
        return self._passed_back(dX)

    def _turned(self, k: Array) -> Array:
        """Return the steps of each sample in reverse, what is padding left where it is."""
        turned = k[:, ::-1].copy()
        for n, steps in enumerate(() if self._lengths is None else self._lengths):
            turned[n, :steps], turned[n, steps:] = k[n, :steps][::-1], k[n, steps:]
        return turned


class Stack(Composite):
    """Layers above one another, each taking the hidden states of the one below.

    Parameters
    ----------
    layers : sequence of LSTM or Bidirectional
        From the one that takes X; all but the last with ``sequences=True``.
    """

    def __init__(self, layers: Sequence[LSTM | Bidirectional]) -> None:
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("a stack of no layers, expected at least one")
        places: dict[str, LSTM] = {}
        for k, layer in enumerate(self.layers):
            if not isinstance(layer, LSTM | Bidirectional):
                raise TypeError(f"layer {k + 1} is a {type(layer).__name__}, expected an LSTM or a Bidirectional")
            parts = {"_l0": layer} if isinstance(layer, LSTM) else layer.places
            places |= {at.replace("_l0", f"_l{k}"): lstm for at, lstm in parts.items()}
            if k < len(self.layers) - 1 and not parts["_l0"].sequences:
                raise ValueError(
                    f"layer {k + 1} returns its last step alone, expected sequences=True below the last layer"
                )
        super().__init__(places)

    def __repr__(self) -> str:
        return f"Stack([{', '.join(map(repr, self.layers))}])"

    def compute_shapes(self, X: Any) -> None:
        """Fill every layer's `d` and `fs` from the input sequences `X` (m, s, e)."""
        for layer in self.layers:
            layer.compute_shapes(X)
            X = np.zeros_like(X, shape=(*np.shape(X)[:2], _width(layer)))

    def initialize_parameters(self, elements: int | None = None) -> None:
        """Draw the parameters, layer by layer; `elements`, the size e of X, spares `compute_shapes`."""
        for layer in self.layers:
            layer.initialize_parameters(elements)
            elements = None if elements is None else _width(layer)

    def forward(
        self, X: Any, h0: States = None, C0: States = None, *, lengths: Any = None, return_states: bool = False
    ) -> Any:
        """Return the hidden states of the last layer; otherwise as `LSTM.forward`."""
        for layer, own_h0, own_C0 in self._shares(self._each("h0", h0), self._each("C0", C0)):
            X = layer.forward(X, own_h0, own_C0, lengths=lengths)
        return self._returned(X, return_states)

    def backward(self, dA: Any, dhn: States = None, dCn: States = None) -> Array:
        """Return `dX` (m, s, e), and fill `bc`."""
        shares = [*self._shares(self._each("dhn", dhn), self._each("dCn", dCn))]
        for layer, own_dhn, own_dCn in reversed(shares):
            dA = layer.backward(dA, own_dhn, own_dCn)
        return self._passed_back(dA)

    def _shares(self, *states: list[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield each layer with its own of the states, in the form that it takes."""
        at = 0
        for layer in self.layers:
            if isinstance(layer, LSTM):
                yield layer, *(of[at] for of in states)
                at += 1
            else:
                yield layer, *(of[at : at + 2] for of in states)
                at += 2


def _width(layer: LSTM | Bidirectional) -> int:
    """Return how many values a step of a layer's result has."""
    return layer.d["u"] if isinstance(layer, LSTM) else layer.width
