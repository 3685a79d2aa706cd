"""A recurrent cell as a value, and the one function that says what is due of any of them.

A cell is its tensors, each with its axes in letters, and three functions written as the plain LSTM's are: forward,
backward, gradients. Every name and shape that the rest of the project uses follows from it. `cells/` has one file a
cell.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from lstm_ref.slots import Activation


class State(NamedTuple):
    """What a cell hands from step to step: its name, its axes in letters, and the intermediate that holds it.

    The initial one is named so with "0", the final one's cotangent with "d" and "n".
    """

    name: str
    axes: str
    kept_as: str


class Kink(NamedTuple):
    """Where an activation function bends, so that its derivative is a convention there, or jumps.

    `rounded` is by how many unit roundoffs the function itself may miss it: 0 where it compares what it is given.
    `width` is how far from it the derivative may still be that of the other side, whatever the roundoff.
    `cut` is whether the value itself is cut off there, and put through no function.
    """

    at: float
    jumps: bool = False
    rounded: float = 0.0
    width: float = 0.0
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Cell:
    """The equations of one step, and the names and axes of all that goes in and comes out.

    Attributes
    ----------
    name : str
        One lower-case word, what ``--cell`` takes; its file is named so.
    title : str
        What it is called in a sentence.
    gates : tuple of str
        The gates that have a linear activation, `k_`, of their own.
    parameters : mapping
        The axes of each parameter in letters: m samples, s steps, e elements, u units, "1", and any further letter,
        which is a size of its own.
    states : tuple of State
        The hidden state first: its value at every step is the output, and `dh` is that one's cotangent.
    forward : callable
        ``forward(p, X, *initial_states, keep=...)`` returns every intermediate by name, each (..., m, s, u), and X.
    backward : callable
        ``backward(p, fc, dh, *final_cotangents)`` returns every cotangent by name, `dX` and the initial states' among
        them.
    parameter_gradients : callable
        ``parameter_gradients(fc, bc)`` returns those of the parameters, each "d" before the name: sums over samples
        and steps.
    shared : tuple of str
        The initial states that are one for all samples, (1, u), as where they are learned; mostly none. The gradient of
        such a one is the sum over samples.
    needed : tuple of str or None
        The intermediates that these two take, and the outputs: all that `evaluate` has kept. All there are where None.
    slots : mapping
        Where other activation functions can be put, each with the linear activations that it is for; none where the
        cell takes no others.
    written_as : Cell or None
        Whose source this one has, where it is one with other activations (`slots.py`).
    activations : mapping
        These, by slot.
    kinks : mapping
        By linear activation, where the function that it is put through bends or jumps.
    numbers : mapping
        What its equations hold besides, such as a limit, by the name that it has in its source.
    spread : mapping
        By how much examples draw an initial state wider than all else, so that they reach what is done to large ones.
    normalised : mapping
        The linear activations that are normalised over the units, each with the intermediate that is 1 over its
        standard deviation; mostly none.
    """

    name: str
    title: str
    gates: tuple[str, ...]
    parameters: Mapping[str, str]
    states: tuple[State, ...]
    forward: Callable[..., dict[str, Any]]
    backward: Callable[..., dict[str, Any]]
    parameter_gradients: Callable[..., dict[str, Any]]
    needed: tuple[str, ...] | None = None
    shared: tuple[str, ...] = ()
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    written_as: "Cell | None" = None
    activations: Mapping[str, "Activation"] = field(default_factory=dict)
    kinks: Mapping[str, tuple[Kink, ...]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    normalised: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def initial(self) -> tuple[str, ...]:
        """The names of the initial states."""
        return tuple(f"{state.name}0" for state in self.states)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of all that is differentiated: the parameters, X and the initial states."""
        return (*self.parameters, "X", *self.initial)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of what comes out: the hidden state of every step, and the other states' final values."""
        hidden, *others = self.states
        return (hidden.name, *(f"{state.name}n" for state in others))

    @cached_property
    def cotangents(self) -> tuple[str, ...]:
        """The names of the cotangents: of every step's hidden state, and of each final state."""
        return (f"d{self.states[0].name}", *(f"d{state.name}n" for state in self.states))

    @cached_property
    def finals(self) -> Mapping[str, str]:
        """The cotangent of each final value that comes out, by that one's name; the last hidden state is in `h`."""
        _, *others = self.outputs
        return {name: f"d{name}" for name in others}

    @cached_property
    def folded(self) -> str:
        """The cotangent of the final hidden state where that is the last step of `h` and no output; else empty."""
        return f"d{self.states[0].name}n"

    @cached_property
    def of_hidden(self) -> frozenset[str]:
        """The cotangents of final hidden states; those of all other states are the memories'."""
        return frozenset({f"d{self.states[0].name}n"})

    @cached_property
    def of_memories(self) -> tuple[str, ...]:
        """The cotangents of the final states that are no hidden states."""
        return tuple(name for name in self.cotangents[1:] if name not in self.of_hidden)

    @cached_property
    def gradients(self) -> tuple[str, ...]:
        """The names of the gradients, in the order of the inputs."""
        return tuple(f"d{name}" for name in self.inputs)

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The names of all that is judged: outputs and gradients."""
        return (*self.outputs, *self.gradients)

    @cached_property
    def letters(self) -> str:
        """The sizes by letter, in the order in which they are given: "mseu", and then those that only this cell has."""
        return "".join(dict.fromkeys("mseu" + "".join(self.axes.values()).replace("1", "")))

    @cached_property
    def further(self) -> str:
        """The letters of the sizes that only this cell has, such as the p of a projection; mostly none."""
        return self.letters.removeprefix("mseu")

    @cached_property
    def recurrent(self) -> str:
        """The axes of what a gate multiplies the hidden state with: "uu", or "pu" where that is projected."""
        return f"{self.states[0].axes[-1]}u"

    @cached_property
    def axes(self) -> Mapping[str, str]:
        """The axes of every input, output, cotangent and gradient, in letters."""
        hidden, *others = self.states
        found = {**self.parameters, "X": "mse", hidden.name: f"ms{hidden.axes[1:]}"}
        for state in self.states:
            initial = f"{state.name}0"
            found |= {initial: f"1{state.axes[1:]}" if initial in self.shared else state.axes}
            found |= {f"d{state.name}n": state.axes}
        found |= {f"{state.name}n": state.axes for state in others}
        found |= {f"d{hidden.name}": found[hidden.name]}
        return found | {f"d{name}": found[name] for name in self.inputs}

    def by_letter(self, *sizes: int) -> dict[str, int]:
        """Return how long an axis is, by its letter, from the sizes in the order of `letters`."""
        return dict(zip(self.letters, sizes, strict=True)) | {"1": 1}

    def shape(self, name: str, *sizes: int) -> tuple[int, ...]:
        """Return the shape of an input, output, cotangent or gradient, from the sizes in the order of `letters`."""
        known = self.by_letter(*sizes)
        return tuple(known[letter] for letter in self.axes[name])

    def input_shapes(self, *sizes: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every input, from the sizes in the order of `letters`."""
        return {name: self.shape(name, *sizes) for name in self.inputs}

    def size(self, *sizes: int) -> int:
        """Return the number of entries of all gradients together, from the sizes in the order of `letters`."""
        return sum(math.prod(shape) for shape in self.input_shapes(*sizes).values())

    def sizes_of(self, arrays: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the sizes in the order of `letters`, read from the shapes of the inputs."""
        known: dict[str, int] = {}
        for name in self.inputs:
            known |= dict(zip(self.axes[name], np.shape(arrays[name])[-len(self.axes[name]) :], strict=True))
        return tuple(known[letter] for letter in self.letters)

    def along(self, letter: str) -> frozenset[str]:
        """Return the names of the inputs, outputs, cotangents and gradients that have this axis."""
        return frozenset(name for name, axes in self.axes.items() if letter in axes)

    @property
    def places(self) -> tuple[Any, ...]:
        """Where in a network a cell stands: nowhere, for what is a cell itself."""
        return ()

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """How many steps each sample has, where that is said; a cell alone knows nothing of it."""
        return None

    @cached_property
    def kept_for_outputs(self) -> frozenset[str]:
        """The intermediates that a forward pass has to keep for its outputs."""
        return frozenset(state.kept_as for state in self.states)

    def kept(self, fc: Mapping[str, Any], name: str) -> tuple[tuple[str, Any], ...]:
        """Return an intermediate of a forward pass, and what it is called: of a network one for each place and part."""
        return ((name, fc[name]),)

    def outputs_of(self, fc: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs among the intermediates of a forward pass."""
        hidden, *others = self.states
        final = {f"{state.name}n": fc[state.kept_as][..., -1, :] for state in others}
        return {hidden.name: fc[hidden.kept_as], **final}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def run_forward(cell: Cell, arrays: Mapping[str, Any], keep: Collection[str] | None = None) -> dict[str, Any]:
    """Return every intermediate of a forward pass by name, or those to be kept."""
    one_for_each = [0] * arrays["X"].shape[-3]
    initial = (arrays[name][..., one_for_each, :] if name in cell.shared else arrays[name] for name in cell.initial)
    return cell.forward(arrays, arrays["X"], *initial, **({} if keep is None else {"keep": keep}))


def run_backward(cell: Cell, arrays: Mapping[str, Any], fc: Mapping[str, Any]) -> dict[str, Any]:
    """Return every cotangent of a backward pass by name."""
    return cell.backward(arrays, fc, *(arrays[name] for name in cell.cotangents))


def evaluate_forward(cell: Cell, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of a cell by name, in whatever arithmetic the arrays are of."""
    return cell.outputs_of(run_forward(cell, arrays, cell.kept_for_outputs))


def evaluate(cell: Cell, arrays: Mapping[str, Any], steps_at_once: int | None = None) -> dict[str, Any]:
    """Return the outputs and gradients of a cell by name, in whatever arithmetic the arrays are of.

    Parameters
    ----------
    cell : Cell
    arrays : mapping
        Its inputs and cotangents by name, with any leading axes.
    steps_at_once : int, optional
        Over how many steps at a time the parameters' gradients are summed, to save memory; all where None, and in a
        network.

    Returns
    -------
    dict
        In the order of `cell.tensors`.
    """
    fc = run_forward(cell, arrays, cell.needed)
    bc = run_backward(cell, arrays, fc)
    s = arrays["X"].shape[-2]
    if steps_at_once is None or cell.places:
        return {**cell.outputs_of(fc), **evaluate_gradients(cell, fc, bc)}
    found: dict[str, Any] = {}
    for start in range(0, s, steps_at_once):
        chosen = np.s_[..., start : start + steps_at_once, :]
        part = cell.parameter_gradients(_Steps(fc, chosen), _Steps(bc, chosen))
        found = {name: found[name] + value for name, value in part.items()} if found else part
    return {**cell.outputs_of(fc), **_ordered(cell, found, bc)}


def evaluate_gradients(cell: Cell, fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of all inputs by name, from what the two passes gave."""
    return _ordered(cell, cell.parameter_gradients(fc, bc), bc)


def _ordered(cell: Cell, of_parameters: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of all inputs in their order: the backward pass has those that are no parameters'."""
    names = {name: f"d{name}" for name in cell.inputs}
    found = {d: of_parameters[d] if name in cell.parameters else bc[d] for name, d in names.items()}
    return found | {f"d{name}": np.sum(bc[f"d{name}"], axis=-2)[..., np.newaxis, :] for name in cell.shared}


def sharing(cell: Cell, names: Collection[str]) -> Cell:
    """Return a cell of which some initial states are one for all samples.

    Raises
    ------
    ValueError
        "'h1', expected some of h0, C0".
    """
    unknown = [name for name in names if name not in cell.initial]
    if unknown:
        raise ValueError(f"{unknown[0]!r}, expected some of {', '.join(cell.initial)}")
    shared = tuple(name for name in cell.initial if name in names)
    title = f"{cell.title} with {' and '.join(shared)} shared by all samples"
    return replace(cell, name="+".join((cell.name, *shared)), title=title, shared=shared)


class _Steps(Mapping[str, Any]):
    """Some of the steps of intermediates, each cut when it is asked for."""

    def __init__(self, of: Mapping[str, Any], chosen: Any) -> None:
        self.of, self.chosen = of, chosen

    def __getitem__(self, name: str) -> Any:
        return self.of[name][self.chosen]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)
