"""A network of cells as a value: how many layers, which directions, how these are joined, and how long the samples are.

It offers all that a `Cell` does, by names that say the place: `Uf_l0` of the first layer, `Uf_l1_reverse` of the
second layer's reverse direction, as PyTorch has them. So whatever judges a cell judges a network of it. The passes
themselves are in `composition.py`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lstm_ref import composition
from lstm_ref.cell import Cell, Kink, State
from lstm_ref.slots import Activation

FORWARD, REVERSE = "forward", "reverse"

DIRECTIONS = {
    "forward": ((FORWARD,), "concat"),
    "reverse": ((REVERSE,), "concat"),
    "both": ((FORWARD, REVERSE), "concat"),
    "sum": ((FORWARD, REVERSE), "sum"),
}
"""By the word in a network's name: its directions, and how they are joined."""

Passes = tuple[Callable[..., dict[str, Any]], Callable[..., dict[str, Any]], Callable[..., dict[str, Any]]]

PASSES: Passes = (composition.network_forward, composition.network_backward, composition.network_gradients)


@dataclass(frozen=True)
class Place:
    """Where one cell of a network stands.

    Attributes
    ----------
    layer : int
        From 0, the one that takes X.
    reverse : bool
        Whether it runs from the last step to the first.
    cell : Cell
        What stands there.
    """

    layer: int
    reverse: bool
    cell: Cell

    @cached_property
    def suffix(self) -> str:
        """What its tensors end in: "_l0", "_l1_reverse"."""
        return f"_l{self.layer}{'_reverse' if self.reverse else ''}"

    @cached_property
    def words(self) -> str:
        """The place in words: "layer 2, reverse"."""
        return f"layer {self.layer + 1}, {REVERSE if self.reverse else FORWARD}"

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The states of its cell."""
        return self.cell.states

    @cached_property
    def initial(self) -> tuple[str, ...]:
        """The names of its initial states."""
        return tuple(f"{state.name}0{self.suffix}" for state in self.states)

    @cached_property
    def finals(self) -> tuple[str, ...]:
        """The names of its final states."""
        return tuple(f"{state.name}n{self.suffix}" for state in self.states)

    @cached_property
    def cotangents(self) -> tuple[str, ...]:
        """The names of their cotangents."""
        return tuple(f"d{name}" for name in self.finals)


@dataclass(frozen=True, eq=False, repr=False)
class Network(Cell):
    """Cells in layers and directions, and what that makes of their names and axes.

    The outputs are `h` of every step, (m, s, d), and the final states of every place, (m, u) each: with a direction
    that runs in reverse, or samples of several lengths, none of these is the last step of `h`.

    Parameters
    ----------
    cell : Cell
        What stands at every place. Initial states that all samples share are shared at every place.
    layers : int
    directions : tuple of str
        Of each layer: "forward", "reverse", or both in this order.
    join : str
        What a layer hands on of two directions: "concat", one beside the other, or their "sum".
    lengths : tuple of int, optional
        How many steps each sample has, where a batch is padded.
    others : mapping
        By its suffix, what stands at a place in place of `cell`, of the same tensors.
    passes : tuple of callable
        The forward pass, the backward pass and the parameters' gradients, as `composition` has them.
    """

    name: str = field(init=False)
    title: str = field(init=False)
    gates: tuple[str, ...] = field(init=False)
    parameters: Mapping[str, str] = field(init=False)
    states: tuple[State, ...] = field(init=False)
    forward: Callable[..., dict[str, Any]] = field(init=False)
    backward: Callable[..., dict[str, Any]] = field(init=False)
    parameter_gradients: Callable[..., dict[str, Any]] = field(init=False)
    needed: tuple[str, ...] | None = field(init=False)
    shared: tuple[str, ...] = field(init=False)
    slots: Mapping[str, tuple[str, ...]] = field(init=False)
    written_as: Cell | None = field(init=False)
    activations: Mapping[str, Activation] = field(init=False)
    kinks: Mapping[str, tuple[Kink, ...]] = field(init=False)
    numbers: Mapping[str, float] = field(init=False)
    spread: Mapping[str, float] = field(init=False)
    normalised: Mapping[str, str] = field(init=False)
    cell: Cell
    layers: int = 1
    directions: tuple[str, ...] = (FORWARD,)
    join: str = "concat"
    lengths: tuple[int, ...] | None = None
    others: Mapping[str, Cell] = field(default_factory=dict)
    passes: Passes = PASSES

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}, expected at least 1")
        word = next((w for w, known in DIRECTIONS.items() if known == (self.directions, self.join)), None)
        if word is None:
            known = "; ".join(f"{directions} and {join!r}" for directions, join in DIRECTIONS.values())
            raise ValueError(f"directions is {self.directions!r} and join {self.join!r}, expected {known}")
        for place in self.places:
            if place.cell.parameters.keys() != self.cell.parameters.keys():
                raise ValueError(f"at {place.words} stands {place.cell!r}, expected one of {self.cell.name}'s tensors")
        whole = {
            "name": f"{self.cell.name}@{self.layers}x{word}",
            "title": f"{self.cell.title} in {_in_words(self.layers, word)}",
            "gates": self.cell.gates,
            "parameters": {
                name + place.suffix: axes if place.layer == 0 else axes.replace("e", "d")
                for place in self.places
                for name, axes in self.cell.parameters.items()
            },
            "states": tuple(
                State(state.name + place.suffix, state.axes, state.kept_as + place.suffix)
                for place in self.places
                for state in self.cell.states
            ),
            "forward": self._forward,
            "backward": self._backward,
            "parameter_gradients": self._parameter_gradients,
            "needed": None if self.others else self.cell.needed,
            "shared": tuple(name + place.suffix for place in self.places for name in self.cell.shared),
            "slots": {},
            "written_as": None,
            "activations": self.cell.activations,
            "kinks": self.cell.kinks,
            "numbers": self.cell.numbers,
            "normalised": self.cell.normalised,
            "spread": {name + place.suffix: times for place in self.places for name, times in self.cell.spread.items()},
        }
        for key, value in whole.items():
            object.__setattr__(self, key, value)

    @cached_property
    def by_layer(self) -> tuple[tuple[Place, ...], ...]:
        """The places of each layer, from the one that takes X."""
        layers = (tuple(self._place(k, direction) for direction in self.directions) for k in range(self.layers))
        return tuple(layers)

    def _place(self, layer: int, direction: str) -> Place:
        """Return a place and what stands there."""
        place = Place(layer, direction == REVERSE, self.cell)
        return replace(place, cell=self.others[place.suffix]) if place.suffix in self.others else place

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where its cells stand, layer by layer."""
        return tuple(place for layer in self.by_layer for place in layer)

    @cached_property
    def initial(self) -> tuple[str, ...]:
        """The names of the initial states, place by place."""
        return tuple(name for place in self.places for name in place.initial)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of what comes out: the output of every step, and the final states of every place."""
        return ("h", *(name for place in self.places for name in place.finals))

    @cached_property
    def cotangents(self) -> tuple[str, ...]:
        """The names of the cotangents, one of each output."""
        return tuple(f"d{name}" for name in self.outputs)

    @cached_property
    def folded(self) -> str:
        """None: every final hidden state is an output of its own."""
        return ""

    @cached_property
    def of_hidden(self) -> frozenset[str]:
        """The cotangents of the final hidden states of all places."""
        return frozenset(place.cotangents[0] for place in self.places)

    @cached_property
    def axes(self) -> Mapping[str, str]:
        """The axes of every input, output, cotangent and gradient, in letters; "d" is what a layer hands on."""
        found = {**self.parameters, "X": "mse", "h": "msd", "dh": "msd"}
        for place in self.places:
            for state, first, last in zip(place.states, place.initial, place.finals, strict=True):
                own = f"1{state.axes[1:]}" if first in self.shared else state.axes
                found |= {first: own, last: state.axes, f"d{last}": state.axes}
        return found | {f"d{name}": found[name] for name in self.inputs}

    @cached_property
    def letters(self) -> str:
        """The sizes by letter: those of the cell, from which how wide a layer's output is follows."""
        return self.cell.letters

    @cached_property
    def recurrent(self) -> str:
        """The axes of what a gate multiplies the hidden state with."""
        return self.cell.recurrent

    def by_letter(self, *sizes: int) -> dict[str, int]:
        """Return how long an axis is, by its letter."""
        known = self.cell.by_letter(*sizes)
        wide = known[self.cell.states[0].axes[-1]]
        return known | {"d": wide * (len(self.directions) if self.join == "concat" else 1)}

    @cached_property
    def kept_for_outputs(self) -> frozenset[str]:
        """The intermediates that each place has to keep for the outputs."""
        return self.cell.kept_for_outputs

    def kept(self, fc: Mapping[str, Any], name: str) -> tuple[tuple[str, Any], ...]:
        """Return an intermediate of every place and part, and what it is called."""
        return tuple(
            (name + place.suffix, kept[name])
            for place in self.places
            for _, _, kept in fc["kept"][place.suffix]
            if name in kept
        )

    def outputs_of(self, fc: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of a forward pass."""
        return {name: fc[name] for name in self.outputs}

    def at_lengths(self, lengths: Any) -> "Network":
        """Return the network over a batch whose samples are so long, whole where None."""
        known = None if lengths is None else tuple(int(n) for n in lengths)
        return self if known == self.lengths else replace(self, lengths=known)

    def _forward(
        self, p: Mapping[str, Any], X: Any, *initial: Any, keep: Collection[str] | None = None
    ) -> dict[str, Any]:
        states = dict(zip(self.initial, initial, strict=True))
        wanted = None if keep is None else {*keep, *self.kept_for_outputs}
        return self.passes[0](self, p, X, states, wanted)

    def _backward(self, p: Mapping[str, Any], fc: Mapping[str, Any], dh: Any, *finals: Any) -> dict[str, Any]:
        cotangents = dict(zip(self.cotangents[1:], finals, strict=True))
        return self.passes[1](self, p, fc, dh, cotangents)

    def _parameter_gradients(self, fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
        found = self.passes[2](self, fc, bc)
        return {f"d{name}": found[f"d{name}"] for name in self.parameters}


def _in_words(layers: int, word: str) -> str:
    """Return how cells are composed: "2 layers, both directions"."""
    directions = {"both": "both directions", "sum": "both directions added"}.get(word, word)
    return f"{layers} layer{'s' if layers > 1 else ''}, {directions}"


FORM = "CELL@LAYERSxDIRECTIONS with DIRECTIONS one of " + ", ".join(DIRECTIONS)


def parse(suffix: str, cell: Cell) -> Network:
    """Return the network of a cell that the end of a name, "2xboth", says.

    Raises
    ------
    ValueError
        "2xup, expected CELL@LAYERSxDIRECTIONS with DIRECTIONS one of forward, reverse, both, sum".
    """
    layers, _, word = suffix.partition("x")
    if not (layers.isdecimal() and 1 <= int(layers) <= MOST_LAYERS) or word not in DIRECTIONS:
        raise ValueError(f"{suffix!r}, expected {FORM}, and 1 to {MOST_LAYERS} layers")
    directions, join = DIRECTIONS[word]
    return Network(cell, int(layers), directions, join)


MOST_LAYERS = 9
"""Layers that a name can say: one digit."""
