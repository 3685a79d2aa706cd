"""How a layer is called, and where in what it returns or keeps the hidden states are: the forms of a forward pass."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.binding import roles
from lstm_checks.binding.places import Place, recast, walk
from lstm_checks.binding.problem import (
    BATCH,
    BOTH,
    SAMPLE,
    STEP,
    Array,
    Due,
    Output,
    Problem,
    Reading,
    dues,
    outputs_in,
    same,
)
from lstm_checks.binding.roles import Argument
from lstm_checks.binding.trial import Lab, Setup

INPUTS = {
    BATCH: ("mse", "sme", "ems", "esm", "sem", "mes"),
    STEP: ("me", "em"),
    SAMPLE: ("se", "es", "se1"),
    BOTH: ("e", "e1"),
}
"""The axes in which a call may take X."""

STATES = {BATCH: ("mu", "um", "1mu"), STEP: ("mu", "um"), SAMPLE: ("u", "u1", "1u"), BOTH: ("u", "u1")}
"""Those of the initial states."""


@dataclass(frozen=True)
class Call:
    """One way to call a layer forward.

    Attributes
    ----------
    over : str
        What one call runs over; see `problem.BATCH`.
    text : str
        The call.
    x_axes, state_axes : str
        How X and the states lie.
    given : tuple of str
        The initial states that it is given.
    before : tuple of str
        Lines that come before, such as states that are written into the layer.
    bare : str
        The call without initial states, where these need not be given; empty where they must be.
    again : callable
        ``again(over)`` yields the calls with the same arguments that run over something else.
    """

    over: str
    text: str
    x_axes: str
    state_axes: str
    given: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    bare: str = ""
    again: Callable[[str], Iterator["Call"]] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Forward:
    """A forward pass that was found: how the layer is set up and called, read, and where its outputs are."""

    setup: Setup
    call: Call
    reading: Reading
    hidden: Output
    memory: str = ""
    exact: bool = True
    distance: float = 0.0
    told: tuple[str, ...] = ()
    raw: Mapping[str, Array] = field(default_factory=dict)

    @property
    def memory_returned(self) -> bool:
        """Whether the memory is in what the call returns, at the top or one below, and not at a single step's place."""
        return bool(re.match(r"(np\.stack\()?out(\[[^\]]*\]){1,2}(?!\[\d)", self.memory)) and "][" not in self.memory

    @property
    def h(self) -> str:
        """The text of h (m, s, u)."""
        return recast(self.hidden.place.text, self.hidden.axes, "msu") + self.hidden.part


def calls(
    text: str, arguments: Sequence[Argument], weights: Mapping[str, str] | None = None, overs: Sequence[str] = ()
) -> Iterator[Call]:
    """Yield the ways to call a function; where `weights` are given each of them by its argument's name."""
    weights = dict(weights or {})
    free = [one for one in arguments if one.name not in weights]
    names = ["X", "h", "c", "hc", "ch", "s", "m", "e", "u"]
    for chosen in roles.assignments(free, names, ["X"], sizes_last=True):
        held = set(chosen.values())
        if len(held & {"h", "hc", "ch"}) > 1 or len(held & {"c", "hc", "ch"}) > 1:
            continue
        for over in overs or INPUTS:
            yield from _ways(text, arguments, chosen, weights, over)


def _ways(
    text: str, arguments: Sequence[Argument], chosen: Mapping[str, str], weights: dict[str, str], over: str
) -> Iterator[Call]:
    """Yield the calls with what each argument is, in all axes."""
    held = set(chosen.values())
    states = [state for state, words in (("h0", {"h", "hc", "ch"}), ("C0", {"c", "hc", "ch"})) if held & words]
    for x_axes, state_axes in roles.every(INPUTS[over], STATES[over] if states else STATES[over][:1]):
        h, c = (recast(name, "mu", state_axes) for name in ("h0", "C0"))
        given = {"X": recast("X", "mse", x_axes), "h": h, "c": c, "hc": f"({h}, {c})", "ch": f"({c}, {h})"}
        given |= {size: size for size in "mseu"}
        words = {name: given[role] for name, role in chosen.items()} | weights
        line = roles.called(text, arguments, words).replace(".__call__(", "(")
        of_states = {one for one, role in chosen.items() if role in ("h", "c", "hc", "ch")}
        needed = any(one.required for one in arguments if one.name in of_states)
        left = {name: word for name, word in words.items() if name not in of_states}
        bare = "" if needed else roles.called(text, arguments, left).replace(".__call__(", "(")
        again = partial(_ways, text, arguments, chosen, weights)
        yield Call(over, line, x_axes, state_axes, tuple(states), bare=bare, again=again)


def run_call(lab: Lab, setup: Setup, call: Call, problem: Problem, raw: Mapping[str, Array]) -> dict[str, Any]:
    """Return the names after a forward pass: `out` is what it returned."""
    names = lab.start(setup, problem, raw)
    lab.run(names, *call.before, f"out = {call.text}")
    return names


def places_after(lab: Lab, names: Mapping[str, Any]) -> list[Place]:
    """Return the arrays in what a call returned, and in what the layer keeps."""
    stack = "np.stack"
    found = walk("out", names["out"], stack)
    return found + (walk("layer", names["layer"], stack) if "layer" in names else [])


def candidates(places: Sequence[Place], problem: Problem) -> list[Output]:
    """Return where h may be: the shallowest place of that shape that is returned, or whatever the layer keeps so.

    What a layer returns is its answer; only where nothing of that shape is returned at the top h is looked for deeper,
    or a layer that returns a wrong h and keeps a right one would be found right.
    """
    found = outputs_in([one for one in places if one.root == "out"], problem, "msu")
    if found:
        return [one for one in found if one.place.depth <= 1] or found
    return outputs_in([one for one in places if one.root != "out"], problem, "msu")


def fits(
    lab: Lab, setup: Setup, call: Call, problem: Problem, raw: Mapping[str, Array], known: dict[Any, list[Due]]
) -> Iterator[Forward]:
    """Yield the readings under which a call's h is the reference's."""
    names = lab.attempt(run_call, lab, setup, call, problem, raw)
    if names is None:
        return
    places = places_after(lab, names)
    hidden = candidates(places, problem)
    if not hidden:
        return
    key = (setup.layouts, call.over, call.given)
    if key not in known:
        known[key] = list(dues(setup.layouts, raw, problem, call.given, lab.cell))
    for due in known[key]:
        for output in hidden:
            for k in np.flatnonzero(same(due.h, output.full)):
                memory = find_memory(places, output, due.C[k], due.h[k], problem)
                yield Forward(setup, call, due.reading(int(k)), output, memory, raw=raw)


def find_memory(places: Sequence[Place], hidden: Output, C: Array, h: Array, problem: Problem) -> str:
    """Return the text of the final memory state (m, u); empty where the layer gives none.

    Of what is returned beside h, one array of a state's shape that is neither is its memory, and wrong.
    """
    returned = [one for one in places if one.root == "out" and one.depth <= 1]
    others = [one for one in places if one not in returned]
    for some in (returned, others):
        for letters, due, last in (("mu", C[..., -1, :], ""), ("msu", C, "[:, -1]")):
            for output in outputs_in(some, problem, letters):
                if same(due[None], output.full)[0]:
                    return recast(output.place.text, output.axes, letters) + output.part + last
    odd = [
        one
        for one in outputs_in(returned, problem, "mu")
        if not same(h[None, ..., -1, :], one.full)[0] and one.place is not hidden.place
    ]
    return recast(odd[0].place.text, odd[0].axes, "mu") if len(odd) == 1 else ""


def nearest(
    lab: Lab, setup: Setup, call: Call, problem: Problem, raw: Mapping[str, Array], known: dict[Any, list[Due]]
) -> Forward | None:
    """Return the reading that is nearest to a call's h, though not its own: exact at the first step counts most."""
    names = lab.attempt(run_call, lab, setup, call, problem, raw)
    if names is None:
        return None
    places = places_after(lab, names)
    best: Forward | None = None
    key = (setup.layouts, call.over, call.given)
    if key not in known:
        known[key] = list(dues(setup.layouts, raw, problem, call.given, lab.cell))
    for output in candidates(places, problem):
        if not np.all(np.isfinite(output.full)):
            continue
        for due in known[key]:
            with np.errstate(all="ignore"):
                away = np.mean(np.abs(due.h - output.full), axis=(-3, -2, -1))
            first = same(due.h[..., :1, :], output.full[:, :1]) & (problem.called["s"] > 1)
            away = away / np.mean(np.abs(output.full))
            score = np.where(first, away * 1e-3, away)
            k = int(np.argmin(score))
            if best is None or score[k] < best.distance:
                memory = find_memory(places, output, due.C[k], due.h[k], problem)
                best = Forward(setup, call, due.reading(k), output, memory, False, float(score[k]), raw=raw)
    return best


def with_states_inside(lab: Lab, found: Forward, problem: Problem) -> Forward:
    """Return the forward pass with initial states written into the layer, where it takes them from there."""
    if found.call.given or not any("layer" in line for line in found.setup.make):
        return found
    names = lab.attempt(run_call, lab, found.setup, found.call, problem, found.raw)
    if names is None:
        return found
    kept = walk("layer", names["layer"])
    h, C = found.hidden.full[:, -1], lab.attempt(lab.value, names, found.memory) if found.memory else None
    texts: dict[str, list[tuple[str, str]]] = {"h0": [], "C0": []}
    for output in outputs_in([one for one in kept if one.owner], problem, "mu"):
        for name, value in (("h0", h), ("C0", C)):
            if value is not None and same(np.asarray(value)[None], output.full)[0]:
                texts[name].append((output.place.text, output.axes))
    for chosen in roles.every(texts["h0"][:3] or [None], texts["C0"][:3] or [None]):
        pairs = [(name, one) for name, one in zip(("h0", "C0"), chosen, strict=True) if one is not None]
        if not pairs:
            continue
        lines = tuple(f"{place} = {recast(name, 'mu', axes)}" for name, (place, axes) in pairs)
        call = replace(found.call, before=lines, given=tuple(name for name, _ in pairs))
        for again in fits(lab, found.setup, call, problem, found.raw, {}):
            if again.reading == found.reading:
                return again
    return found
