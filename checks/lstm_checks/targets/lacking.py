"""What a target does not take or return, as its author declares it; what is found out by trying needs no word.

What is declared is said in the report as unsupported and never passed. An input that is not taken is zero in all
examples, and its gradient is not judged.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from lstm_checks.contract import CN, DCN, STATES, Target
from lstm_ref.cell import Cell

BIASES, ALL_STATES, GRADIENTS = "biases", "states", "gradients"
"""Words for several names at once."""

F = TypeVar("F", bound=Callable[..., Any])


def lacks(*words: str) -> Callable[[F], F]:
    """Return a decorator for a function in the vjp form, or a layer class, that says what it does not take or return.

    Parameters
    ----------
    *words : str
        Any of the words of `known_words`, such as "C0", "biases", "Cn", "dCn", "dh0".

    Examples
    --------
    >>> @lacks("C0", "dCn")
    ... def lstm(p, X, h0, C0): ...
    >>> lstm.unsupported
    ('C0', 'dCn')
    """

    def declare(function: F) -> F:
        function.unsupported = (*getattr(function, "unsupported", ()), *words)  # type: ignore[attr-defined]
        return function

    return declare


def known_words(cell: Cell) -> tuple[str, ...]:
    """Return the words that say what a target of a cell may lack."""
    _, *finals = cell.outputs
    several = [BIASES] if _biases(cell) else []
    return (
        *cell.initial,
        ALL_STATES,
        *several,
        *finals,
        *(cell.finals[name] for name in finals),
        GRADIENTS,
        *cell.gradients,
    )


def without(cell: Cell, words: Iterable[str]) -> frozenset[str]:
    """Return what a target lacks, as `Target.lacks` has it, in words of `known_words`.

    Raises
    ------
    ValueError
        "'h1', expected some of h0, C0, states, biases, Cn, dCn, gradients, dUf, ...; did you mean 'h0'?"
    """
    found: set[str] = set()
    known = known_words(cell)
    for word in words:
        if word == STATES:
            word = ALL_STATES
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{word!r}, expected some of {', '.join(known)}{hint}")
        if word == ALL_STATES:
            found |= set(cell.initial)
        elif word == BIASES:
            found |= set(_biases(cell))
        elif word == GRADIENTS:
            found |= set(cell.gradients)
        elif word in cell.finals:
            found |= {CN, DCN}
        elif word in cell.finals.values():
            found |= {DCN}
        else:
            found |= {word}
    return frozenset(found | {f"d{name}" for name in cell.inputs if name in found})


def with_lacks(target: Target, words: Iterable[str]) -> Target:
    """Return a target that lacks more than it was seen to lack; raises as `without` does."""
    words = tuple(words)
    found = target.lacks | without(target.cell, words)
    initial = set(target.cell.initial)
    if initial <= found or STATES in found:
        found = (found - initial) | {STATES, *(f"d{name}" for name in initial)}
    return replace(target, lacks=frozenset(found))


def _biases(cell: Cell) -> tuple[str, ...]:
    """Return the biases of a cell."""
    return tuple(f"b{gate}" for gate in cell.gates if f"b{gate}" in cell.parameters)
