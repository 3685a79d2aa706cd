"""Initial states that a module has as parameters of its own, one for all samples: which arrays they are, and its form.

A recurrent module that is called with X alone may begin with arrays (u,), (1, u) or (1, 1, u) that it learns. They are
the initial states of a cell whose samples share them (`plain+h0+C0`), whose gradients are sums over samples.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_checks.contract import PLAIN, Extra
from lstm_checks.words import series
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

_UNSAID = re.compile(r"init(?:ial)?|start|learned|trainable|param|state|[_.0]")
"""What the name of an initial state has besides what says which it is."""

_WORDS = {"h": "h0", "hx": "h0", "hidden": "h0", "c": "C0", "cx": "C0", "cell": "C0", "memory": "C0"}


@dataclass(frozen=True)
class Learned:
    """Which parameters of a module are its initial states.

    Attributes
    ----------
    states : mapping
        By the name of an initial state, the array that is it.
    named : bool
        Whether the arrays' names say so; otherwise it is to be seen by trying.
    """

    states: Mapping[str, Extra]
    named: bool

    @property
    def names(self) -> frozenset[str]:
        """The arrays' full names."""
        return frozenset(extra.name for extra in self.states.values())

    def cell(self, cell: Cell) -> Cell:
        """Return a cell with these initial states shared by all samples."""
        return cell_named("+".join((cell.name, *self.states)))

    def arrays(self, e: int, u: int, **given: Any) -> dict[str, Any]:
        """Return the arrays by their full names, from initial states (1, u) by theirs."""
        return {extra.name: given[state].reshape(extra.shape(e, u)) for state, extra in self.states.items()}

    @property
    def note(self) -> str:
        """What is to be said of it."""
        told = series([f"{extra.name} {extra.formula} is {state}" for state, extra in self.states.items()])
        others = [state for state in PLAIN.initial if state not in self.states]
        zero = f", {series(others)} is zero in all examples" if others else ""
        return f"its initial states are its own parameters: {told}{zero}; it is called with none"


def learned_states(extras: Sequence[Extra], initial: Sequence[str] = PLAIN.initial) -> Iterator[Learned]:
    """Yield what parameters beside the weights may be as initial states, what their names say alone where they do.

    Parameters
    ----------
    extras : sequence of Extra
    initial : sequence of str
        The names of the cell's initial states.
    """
    found = [extra for extra in extras if is_state(extra)]
    roles = {extra.name: role(extra.name) for extra in found}
    said = {roles[extra.name]: extra for extra in found if roles[extra.name] in initial}
    if said and len(said) == sum(role in initial for role in roles.values()):
        yield Learned({state: said[state] for state in initial if state in said}, named=True)
        return
    # More of them are rather something else, such as peepholes.
    for count in range(min(len(found), 2), 0, -1) if len(found) <= 2 else ():
        for states in itertools.combinations(initial, count):
            for chosen in itertools.permutations(found, count):
                yield Learned(dict(zip(states, chosen, strict=True)), named=False)


def is_state(extra: Extra) -> bool:
    """Return whether a parameter has the shape of a state of one sample."""
    *lead, last = extra.axes or ((0, 0, 0),)
    return last == (0, 1, 0) and all(axis == (0, 0, 1) for axis in lead)


def role(name: str) -> str:
    """Return which initial state a parameter's name says, "" where none."""
    return _WORDS.get(_UNSAID.sub("", re.split(r"[./]", name)[-1].lower()), "")


def with_learned(apply: Callable[..., Any], learned: Learned) -> Callable[..., Any]:
    """Return a form's `apply(weights, X, h0, ...)`, called with no states, as one of the states that it learns."""

    def called(weights: Mapping[str, Any], X: Any, *states: Any) -> Any:
        given = dict(zip(PLAIN.initial, states, strict=False))
        own = learned.arrays(X.shape[-1], states[-1].shape[-1], **given)
        return apply({**weights, **own}, X, *states)

    return called
