"""What a layer keeps from one call to the next: whether one that has been called answers as a new one does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_checks.binding import roles
from lstm_checks.binding.backward import Backward, close
from lstm_checks.binding.forward import Call, Forward
from lstm_checks.binding.problem import BATCH, Array, Problem
from lstm_checks.binding.trial import Lab

CLEARS = r"(zero|reset|clear).*grad|^zero_"
RESETS = r"reset|clear|init.*(state|hidden|carry)|forget_state"
"""Words in the names of methods that set gradients, or states, to zero."""


@dataclass(frozen=True)
class Kept:
    """What goes on from one call to the next.

    Attributes
    ----------
    once : bool
        Whether the layer is to be made once, and judged as it goes on: a call before it changes what it answers.
    bare : bool
        Whether zero states are to be left out, since it goes on with its own then.
    told : str
        What is to be said.
    """

    once: bool = False
    bare: bool = False
    told: str = ""


ONCE = "a call before changes its answer: it is made once and judged as it goes on"
RESET = "without initial states it goes on with those of the call before; judged as it is after {}()"


def look_again(lab: Lab, kind: type, found: Forward, back: Backward | None) -> tuple[Backward | None, Kept]:
    """Return what a class's layer keeps between calls, and its backward pass, after what sets gradients to zero.

    A layer that is given its states has nothing to keep. What it adds up into its gradients until somebody sets them
    to zero is no fault where it has a method that does.
    """
    if found.call.over != BATCH or len(found.setup.make) != 1 or not found.exact:
        return back, Kept()
    if not all(name.startswith("layer") for name in found.setup.names):
        return back, Kept()  # made of its weights, it is another with others
    methods = [name for name in dir(kind) if not name.startswith("_") and _takes_nothing(kind, name)]
    changed = _changed(lab, found, found.call, back)
    if changed == {"gradients"} and back is not None:
        for name in (name for name in methods if re.search(CLEARS, name)):
            cleared = replace(back, before=(*back.before, f"layer.{name}()"))
            if not _changed(lab, found, found.call, cleared):
                back, changed = cleared, set()
                break
    if changed:
        return back, Kept(once=True, told=ONCE)
    if found.call.bare and _changed(lab, found, replace(found.call, text=found.call.bare), None):
        resets = [name for name in methods if re.search(RESETS, name) and not re.search(CLEARS, name)]
        if resets:
            return back, Kept(told=RESET.format(resets[0]))
        return back, Kept(once=True, bare=True, told=ONCE)
    return back, Kept()


def _takes_nothing(kind: type, name: str) -> bool:
    """Return whether a method needs no argument."""
    found = roles.arguments_of(getattr(kind, name)) if callable(getattr(kind, name, None)) else None
    return found is not None and not any(one.required for one in found[1:])


def _changed(lab: Lab, found: Forward, call: Call, back: Backward | None) -> set[str]:
    """Return which answers of a layer are others after another call than a new one's: its outputs, its gradients."""
    changed: set[str] = set()
    # Of other sizes, and of the same: what is kept may only be taken where it fits.
    for sizes in ({"m": 2, "s": 4}, {}):
        first, second = Problem(seed=5), Problem(sizes={**Problem().sizes, **sizes}, seed=6)
        new = lab.attempt(_answers, lab, found, call, back, [second])
        used = lab.attempt(_answers, lab, found, call, back, [first, second])
        if new is not None and used is not None and len(new) == len(used):
            changed |= {what for (what, one), (_, other) in zip(new, used, strict=True) if not _alike(one, other)}
    return changed


def _alike(one: Array, other: Array) -> bool:
    """Return whether two answers are the same, to rounding."""
    return np.shape(one) == np.shape(other) and close(np.asarray(other), np.asarray(one))


def _answers(
    lab: Lab, found: Forward, call: Call, back: Backward | None, problems: Sequence[Problem]
) -> list[tuple[str, Array]]:
    """Return what the last of some calls of one layer gives."""
    names: Mapping[str, Any] = {}
    answers: list[tuple[str, Array]] = []
    for problem in problems:
        own = replace(lab, names={**lab.names, "_used": names["layer"]}) if names else lab
        setup = replace(found.setup, make=("layer = _used",)) if names else found.setup
        raw = problem.weights(found.setup.shapes(problem.sizes))
        there = own.start(setup, problem, raw)
        own.run(there, *call.before, f"out = {call.text}")
        outputs = [found.h, *([found.memory] if found.memory else [])]
        answers = [("outputs", own.value(there, text)) for text in outputs]
        if back is not None:
            own.run(there, *back.before, f"got = {back.text}")
            answers += [("gradients", own.value(there, one.text)) for one in back.found]
        names = there
    return answers
