"""As if which input or cotangent were another: the one change of one array that makes all that came right.

Each array that a target is given is changed in the ways in which slips change it: transposed, moved by an index, taken
from another's place, scaled, its sign lost. Where the reference, given the changed array, gives in every tensor what
the target gave for the true one, that is what the target did with it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import Array, Observation, observe_once
from lstm_checks.diagnosis.statement import Trial, accounted, try_values
from lstm_checks.diagnosis.work import Spare
from lstm_checks.oracles.expected import evaluate_reference

AS_IF = "all is as if"
"""How the line begins."""

Changes = Iterator[tuple[str, Array]]


def find_change(target: Target, cases: list[Case], spare: Spare) -> str:
    """Return as if which array were another the target answers, in words; empty where no single change explains it.

    Parameters
    ----------
    target : Target
    cases : list of Case
        Ones that it fails; it must be so on each.
    spare : Spare
        Whether more may be tried.
    """
    first, *others = (observe_once(target, case) for case in cases)
    named = dict(_given(first))
    for name in named:
        for words, value in _changes(name, first):
            if not spare():
                return ""
            if not np.array_equal(value, named[name]) and _try(first, name, value) is Trial.SHOWN:
                again = [dict(_changes(name, o)).get(words) for o in others]
                if all(v is not None for v in again) and accounted(
                    _try(o, name, v) for v, o in zip(again, others, strict=True) if v is not None
                ):
                    return f"{AS_IF} {name} were {words}"
    return ""


def _try(observation: Observation, name: str, value: Array) -> Trial:
    """Return what a case says of the reference's giving what came if an array is another."""
    changed = _given(observation).replaced(**{name: value}).astype(np.float64)
    with np.errstate(all="ignore"):
        values = evaluate_reference(changed)
    return try_values(observation, values)


def _given(observation: Observation) -> Arrays:
    """Return the arrays of a case as the target is given them: what arrives at the last step's h may be in dh."""
    return observation.taken(observation.case.arrays)


def _changes(name: str, observation: Observation) -> Changes:
    """Yield what slips make of an array, with words that follow "were"."""
    named = dict(_given(observation))
    value, kind = named[name], name.partition("_")[0]
    if not value.any():
        return
    yield "zero", value * 0
    for factor, words in ((-1.0, "negated"), (2.0, "twice as large"), (0.5, "half as large")):
        yield words, value * factor
    yield "its absolute value", np.abs(value)
    yield "its tanh", np.tanh(value)
    if name[0] == "b":
        yield "larger by 1", value + 1
        yield "smaller by 1", value - 1
    for other, kept in named.items():
        if other != name and kept.shape == value.shape and other[0] == name[0] and (name[0] in "UVb" or name != "X"):
            yield other, kept
    yield from ((words, state) for words, state in _of_states(name, named, observation) if state.shape == value.shape)
    yield from _turned(name, value)
    if name in ("X", "dh"):
        yield from _along(value, 1, "steps")
    if kind in ("X", "h0", "C0", "dh", "dhn", "dCn") and len(value) > 1:
        yield from _along(value, 0, "samples")
        yield "that of its first sample for all", np.broadcast_to(value[:1], value.shape).copy()
    yield from _along(value, value.ndim - 1, "elements" if name == "X" else "units")


def _of_states(name: str, named: dict[str, Array], observation: Observation) -> Changes:
    """Yield what a state, or its cotangent, is taken for: the other of its cell, or what another place ends with.

    What a place ends with, its final state forward and the cotangent of its initial one back, lies at hand in a loop
    over the layers where the next one begins.
    """
    cell, due = observation.case.cell, observation.expected.values
    for place in cell.places or (cell,):
        if name in place.initial:
            yield from ((other, named[other]) for other in place.initial if other != name)
    for place in cell.places:
        ends = dict(zip(place.initial, place.finals, strict=True))
        ends |= dict(zip(place.cotangents, (f"d{first}" for first in place.initial), strict=True))
        # Of one kind, as "h0_l0" and "h0_l1" are.
        kinds = {begin.partition("_")[0]: end for begin, end in ends.items() if name not in ends}
        if (end := kinds.get(name.partition("_")[0])) is not None:
            yield end, due[end]


def _turned(name: str, value: Array) -> Changes:
    """Yield an array of two axes transposed, as it is where both are as long, or by its numbers in their order."""
    if value.ndim == 2 and min(value.shape) > 1:
        if value.shape[0] == value.shape[1]:
            yield "transposed", value.T.copy()
        else:
            yield "read row by row as if it were its transpose", _read(value)


def _read(value: Array) -> Array:
    """Return the transpose of an array's numbers taken as an array of the transpose's shape."""
    return value.reshape(value.shape[::-1]).T.copy()


def _along(value: Array, axis: int, words: str) -> Changes:
    """Yield an array with an axis reversed, or moved by one place."""
    if value.shape[axis] < 2:
        return
    yield f"given with its {words} in reverse order", np.flip(value, axis).copy()
    if value.shape[axis] > 2:
        for by, where in ((1, "late"), (-1, "early")):
            yield f"given with its {words} one place {where}, turning round", np.roll(value, by, axis)
            cut: Any = np.roll(value, by, axis)
            edge: list[Any] = [slice(None)] * value.ndim
            edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
            cut[tuple(edge)] = 0
            yield f"given with its {words} one place {where}, zero at the end", cut
