"""A cell with other activation functions: its own source once more, with others in the three slots.

The slots are ONNX's: f the gates' logistic function, g the candidate's tanh, h the tanh of the memory. A cell's lines
say `sigmoid` for f and `tanh` for g and h; the calls for h are told apart by what they are of, the memory. So the
functions of such a cell are those of the cell that it is written as, compiled once more with these three names bound to
others, and nothing is written anew: a fault of the one is a fault of the other. A derivative is given the activated
value, as it stands in the lines; where a function's value does not say its slope, it is given the linear activation.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import CodeType
from typing import Any

import numpy as np

from lstm_ref import activations as usual_activations
from lstm_ref import other_activations
from lstm_ref.cell import Cell, Kink

USUAL = {"f": "sigmoid", "g": "tanh", "h": "tanh"}
"""What is in each slot where nobody says another."""

_CALLED = {"f": "sigmoid", "g": "tanh", "h": "squash"}
"""By what name a cell's lines, as compiled here, call the function in a slot; its derivative's has an ending more."""

_OF_THE_MEMORY = {
    "tanh(C_)": "squash(C_)",
    "tanh(cC)": "squash(cC)",
    "tanh_derivative(C)": "squash_derivative(C)",
}
"""The calls for slot h as they stand, and as they are compiled."""

MODULES = {module.__name__: module for module in (usual_activations, other_activations)}
"""Where the functions are: the usual ones, the others."""


@dataclass(frozen=True)
class _Kind:
    """An activation function: its numbers by name, usual ones, what they must be, and where it has kinks.

    `of_argument` is where its derivative takes the linear activation, as no other's does; `power` is to which one it
    raises that on the way.
    """

    parameters: tuple[str, ...] = ()
    usual: tuple[float, ...] | None = ()
    expected: str = ""
    right: Callable[..., bool] = lambda *numbers: True
    kinks: Callable[..., tuple[Kink, ...]] = lambda *numbers: ()
    of_argument: bool = False
    power: int = 1


def _ends(alpha: float, beta: float) -> tuple[Kink, ...]:
    """Return the kinks of a line that is cut off at 0 and 1."""
    # A product of at most 1 + |beta|, a sum of at most 1 and two constants are rounded, and divided by the slope.
    rounded = 4 * (1 + abs(beta)) / alpha
    return tuple(Kink((end - beta) / alpha, rounded=rounded) for end in (0, 1))


def _limits(limit: float, top: float, slope: float) -> tuple[Kink, ...]:
    """Return the kinks of a function that is cut off at a limit and minus it, where it is `top` and has that slope."""
    width = 2 * other_activations.clip_room(top) / slope if slope > 0 else 0.0
    return tuple(Kink(end, width=width) for end in (-limit, limit))


_AT_0 = (Kink(0),)


KINDS = {
    "sigmoid": _Kind(),
    "tanh": _Kind(),
    "affine": _Kind(("alpha", "beta"), (1.0, 0.0), "alpha other than 0", lambda alpha, beta: alpha != 0),
    "relu": _Kind(kinks=lambda: _AT_0),
    # With a slope below 0 or above 1 the value does not say the side, or the pieces change places.
    "leakyrelu": _Kind(
        ("alpha",), (0.01,), "alpha above 0", lambda alpha: alpha > 0, lambda alpha: _AT_0 if alpha != 1 else ()
    ),
    "thresholdedrelu": _Kind(
        ("alpha",),
        (1.0,),
        "alpha above 0",
        lambda alpha: alpha > 0,
        lambda alpha: (Kink(alpha, jumps=True, rounded=alpha),),
    ),
    "scaledtanh": _Kind(("alpha", "beta"), None, "alpha and beta other than 0", lambda alpha, beta: alpha * beta != 0),
    "hardsigmoid": _Kind(
        ("alpha", "beta"),
        (0.2, 0.5),
        "alpha above 0",
        lambda alpha, beta: alpha > 0,
        _ends,
    ),
    "hardsigmoid6": _Kind(kinks=lambda: (Kink(-3, rounded=36), Kink(3, rounded=36))),
    "clippedsigmoid": _Kind(
        ("limit",),
        None,
        "a limit above 0",
        lambda limit: limit > 0,
        lambda limit: _limits(limit, 1 / (1 + np.exp(-limit)), 0.25 / np.cosh(limit / 2) ** 2),
    ),
    "clippedtanh": _Kind(
        ("limit",),
        None,
        "a limit above 0",
        lambda limit: limit > 0,
        lambda limit: _limits(limit, np.tanh(limit), 1 / np.cosh(limit) ** 2),
    ),
    "elu": _Kind(
        ("alpha",), (1.0,), "alpha above 0", lambda alpha: alpha > 0, lambda alpha: _AT_0 if alpha != 1 else ()
    ),
    "softsign": _Kind(),
    "softplus": _Kind(),
    "relu6": _Kind(kinks=lambda: (Kink(0), Kink(6))),
    "hardtanh": _Kind(kinks=lambda: (Kink(-1), Kink(1))),
    "selu": _Kind(kinks=lambda: _AT_0),
    "exponential": _Kind(),
    "swish": _Kind(of_argument=True),
    "hardswish": _Kind(kinks=lambda: (Kink(-3, rounded=36), Kink(3, rounded=36)), of_argument=True),
    "gelutanh": _Kind(of_argument=True, power=3),
    "mish": _Kind(of_argument=True),
}
"""The activation functions by name, with the usual numbers of ONNX where it has any."""


@dataclass(frozen=True)
class Activation:
    """An activation function with its numbers.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    numbers : tuple of float
        Its parameters.
    """

    kind: str
    numbers: tuple[float, ...] = ()

    @classmethod
    def parse(cls, word: str) -> "Activation":
        """Return the activation of a word such as "relu" or "hardsigmoid:0.2:0.5".

        Raises
        ------
        ValueError
            "'rely', expected one of sigmoid, tanh, affine, ..."
        """
        kind, *numbers = word.split(":")
        if kind not in KINDS:
            raise ValueError(f"{kind!r}, expected one of {', '.join(KINDS)}")
        known = KINDS[kind]
        if not numbers and known.usual is not None:
            return cls(kind, known.usual)
        form = ":".join([kind, *(name.upper() for name in known.parameters)])
        try:
            found = tuple(_number(text) for text in numbers)
        except ValueError:
            found = ()
        if len(found) != len(known.parameters) or not np.isfinite(found).all() or len(numbers) != len(found):
            raise ValueError(f"{word!r}, expected {form}")
        if not known.right(*found):
            raise ValueError(f"{word!r}, expected {form} with {known.expected}")
        return cls(kind, found)

    @property
    def word(self) -> str:
        """The activation as one word, its numbers left out where they are the usual ones; n stands for minus."""
        if self.numbers == KINDS[self.kind].usual:
            return self.kind
        return ":".join([self.kind, *map(number_in_words, self.numbers)])

    @property
    def kinks(self) -> tuple[Kink, ...]:
        """Where its derivative, or its value, is not continuous."""
        return KINDS[self.kind].kinks(*self.numbers)

    @property
    def of_argument(self) -> bool:
        """Whether its derivative takes the linear activation, since the activated value does not say the slope."""
        return KINDS[self.kind].of_argument

    @property
    def power(self) -> int:
        """To which power it raises its argument on the way, so that it overflows where its value need not."""
        return KINDS[self.kind].power

    def functions(self, modules: Mapping[str, Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Return the function and its derivative, from the modules by name that `MODULES` names."""
        usual, other = MODULES
        home = modules[usual if self.kind in USUAL.values() else other]
        numbers = dict(zip(KINDS[self.kind].parameters, self.numbers, strict=True))
        value, derivative = (getattr(home, f"{self.kind}{ending}") for ending in ("", "_derivative"))
        return partial(value, **numbers), partial(derivative, **numbers)


def _number(text: str) -> float:
    """Return the number of a word: -1 is n1 in a descriptor, whose words "-" separates."""
    return float(re.sub("^n", "-", text))


def number_in_words(number: float) -> str:
    """Return a number without exponent or minus."""
    return np.format_float_positional(number, trim="-").replace("-", "n")


def text_with_slots(text: str, cell: Cell) -> str:
    """Return a text of a cell's source as it is compiled: as it stands, but with other activations.

    There the calls for slot h are told apart from those for g. A derivative that takes the linear activation is given
    that, as the forward pass kept it: ``tanh_derivative(g)`` becomes ``tanh_derivative(fc["g_"][..., s, :])``.
    """
    if not cell.activations:
        return text
    written = cell.written_as or cell
    return _with_slots(text, written.forward, _by_argument(cell.activations))


def _by_argument(activations: Mapping[str, Activation]) -> frozenset[str]:
    """Return the slots whose function's derivative takes the linear activation."""
    return frozenset(slot for slot, found in activations.items() if found.of_argument)


def _with_slots(text: str, forward: Callable[..., Any], by_argument: frozenset[str]) -> str:
    """Return the text as `text_with_slots` does, from the cell's own forward pass and the slots."""
    for old, new in _OF_THE_MEMORY.items():
        text = re.sub(rf"(?<![\w.]){re.escape(old)}", new, text)
    linear = _linear(forward) if by_argument else {}
    for slot in by_argument:
        call = f"{_CALLED[slot]}_derivative"
        for value, kept in linear.items():
            text = re.sub(rf"(?<![\w.]){call}\({value}\)", f'{call}(fc["{kept}"][..., s, :])', text)
    return text


@cache
def _linear(forward: Callable[..., Any]) -> dict[str, str]:
    """Return of which linear activation each activated value of a forward pass is, by name."""
    found = re.findall(r"^\s+(\w+) = (?:sigmoid|tanh)\((\w+)\)", inspect.getsource(forward), re.MULTILINE)
    return dict(found)


def names_bound(activations: Mapping[str, Activation], modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the names in a cell's lines stand for, by slot, with functions from these modules."""
    bound = {}
    for slot, name in _CALLED.items():
        bound[name], bound[f"{name}_derivative"] = activations[slot].functions(modules)
    return bound


def with_activations(cell: Cell, **chosen: Activation) -> Cell:
    """Return a cell with other activations.

    Parameters
    ----------
    cell : Cell
        One with slots.
    **chosen : Activation
        By slot: f, g, h.

    Examples
    --------
    >>> from lstm_ref.cells import CELLS
    >>> with_activations(CELLS["plain"], g=Activation.parse("relu")).name
    'plain,g=relu'
    """
    activations = {slot: chosen.get(slot, Activation(kind)) for slot, kind in USUAL.items()}
    others = {slot: found for slot, found in activations.items() if found != Activation(USUAL[slot])}
    if not others:
        return cell
    by_argument = _by_argument(activations)
    more = tuple(linear for slot in by_argument for linear in cell.slots[slot] if linear not in (cell.needed or ()))
    places = {"f": "the gates", "g": "the candidate", "h": "the memory's output"}
    told = ", ".join(f"{found.word} for {places[slot]}" for slot, found in others.items())
    return replace(
        cell,
        name=",".join([cell.name, *(f"{slot}={found.word}" for slot, found in others.items())]),
        title=f"{cell.title} with {told}",
        forward=compiled(cell.forward, names_bound(activations, MODULES), cell.forward, by_argument),
        backward=compiled(cell.backward, names_bound(activations, MODULES), cell.forward, by_argument),
        needed=None if cell.needed is None else (*cell.needed, *more),
        written_as=cell.written_as or cell,
        activations=activations,
        kinks={**cell.kinks}
        | {linear: found.kinks for slot, found in others.items() if found.kinks for linear in cell.slots[slot]},
    )


def compiled(
    function: Callable[..., Any],
    names: Mapping[str, Any],
    forward: Callable[..., Any] | None = None,
    by_argument: frozenset[str] = frozenset(),
) -> Callable[..., Any]:
    """Return a function of a cell compiled once more, with some of its module's names bound to others.

    Where the cell's forward pass is given, as its slots ask for it.
    """
    namespace = {**function.__globals__, **names}
    exec(_code(function, forward, by_argument), namespace)
    found: Callable[..., Any] = namespace[function.__name__]
    return found


@cache
def _code(function: Callable[..., Any], forward: Callable[..., Any] | None, by_argument: frozenset[str]) -> CodeType:
    """Return the code that defines a function of a cell, with other activations where its forward pass is given."""
    # As many empty lines before it as there are lines: a traceback and `inspect` find it where it is written.
    padding = "\n" * (function.__code__.co_firstlineno - 1)
    text = inspect.getsource(function)
    text = padding + (text if forward is None else _with_slots(text, forward, by_argument))
    return compile(text, function.__code__.co_filename, "exec")
