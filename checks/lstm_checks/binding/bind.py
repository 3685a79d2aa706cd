"""From a class or a function that nobody wrote for us to a function in the vjp form, or why there is none."""

import contextlib
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.binding import composed, roles, source
from lstm_checks.binding.again import Kept, look_again
from lstm_checks.binding.backward import Backward, backward_calls, look, parts_with_values
from lstm_checks.binding.forward import (
    INPUTS,
    Call,
    Forward,
    calls,
    candidates,
    fits,
    nearest,
    places_after,
    run_call,
    with_states_inside,
)
from lstm_checks.binding.places import is_plain_object, walk
from lstm_checks.binding.problem import OTHER_SIZES, Array, Problem, dues, same
from lstm_checks.binding.setups import (
    BACKWARD,
    FORWARD,
    containers,
    methods_of,
    of_arguments,
    of_container,
    of_sizes,
    of_variables,
    returned_names,
    unpacked_names,
    weightlike,
    weights_inside,
)
from lstm_checks.binding.slots import by_letter
from lstm_checks.binding.told import describe
from lstm_checks.binding.trial import Lab, OutOfTimeError, Setup
from lstm_checks.contract import PLAIN, undisturbed
from lstm_checks.diagnosis.other_cells import otherwise_activated
from lstm_checks.weights.layouts import ROWS, VECTOR, Layout
from lstm_ref.cell import Cell, run_forward


class CannotBindError(Exception):
    """No reading makes the layer an LSTM; the message says what was tried and what came nearest.

    `draft` is the adapter of the nearest reading, half filled.
    """

    def __init__(self, message: str, draft: str = "") -> None:
        super().__init__(message)
        self.draft = draft


@dataclass(frozen=True)
class Bound:
    """A layer that was bound: its adapter as a function and as text, and what is to be said of it."""

    function: Callable[..., Any]
    text: str
    notes: tuple[str, ...]
    exact: bool
    library: str = "np"
    once: bool = False
    """Whether one layer serves all calls."""


@dataclass(frozen=True)
class Found:
    """What is to be bound: the object, what it is called, and the module it is in."""

    value: Any
    name: str
    module: Any
    folder: str = ""
    kind: type | None = None
    """The class of the layers: its own, or of what a function of sizes makes; None of a function that is the layer."""

    @property
    def names(self) -> dict[str, Any]:
        """The names of its module that an adapter may use."""
        found = {name: one for name, one in vars(self.module).items() if callable(one) and not name.startswith("__")}
        return found | {self.name.partition(".")[0]: getattr(self.module, self.name.partition(".")[0], self.value)}


Way = tuple[Setup, Call, dict[str, Array]]

Tried = tuple[Setup, Call, dict[str, Array], Lab]


def bind(found: Found, cell: Cell = PLAIN, seconds: float = tolerance.BINDING_SECONDS) -> Bound:
    """Return the adapter of a class or a function of somebody's.

    Parameters
    ----------
    found : Found
    cell : Cell
        The equations that it is to follow, with the plain cell's parameters.
    seconds : float
        How long to try.

    Raises
    ------
    CannotBindError
        With what was tried, and what came nearest.
    """
    tried: list[Tried] = []
    labs = [lab_of(found, library, cell, seconds) for library in libraries(found.module)]
    with undisturbed(), _in_time(), _uncompiled(labs):
        found = replace(found, kind=found.value if inspect.isclass(found.value) else _made_by(labs[-1], found))
        for lab in labs:
            if (best := _exact(lab, found, tried)) is not None:
                return _bound(found, *best, lab)
        for lab in labs:
            forward = _nearest(lab, [one for one in tried if one[3] is lab])
            if forward is not None:
                return _bound_as_nearest(found, forward, lab, _why_not(found, labs))
    raise CannotBindError(_why_not(found, labs), _skeleton(found))


def _bound_as_nearest(found: Found, forward: Forward, lab: Lab, why_not: str) -> Bound:
    """Return a layer as the reading that came nearest; raise where it is not near, or gives no gradients."""
    try:
        bound = _bound(found, forward, find_backward(lab, found, forward), lab)
        if forward.distance < tolerance.BINDING_NEAR:
            return bound
        raise CannotBindError(f"{why_not}; {_nearest_in_words(forward)}", bound.text)
    except CannotBindError as error:
        other = _activated_otherwise(lab, forward)
        raise CannotBindError(f"{error}; {other}" if other else str(error), error.draft) from error


def _made_by(lab: Lab, found: Found) -> type | None:
    """Return the class of what a function makes of sizes alone, where that is an object of somebody's with methods."""
    arguments = roles.arguments_of(found.value) or []
    if not 0 < sum(one.required for one in arguments) <= MOST_OF_A_MAKER:
        return None
    for _, layer in of_sizes(lab, found.name, found.value, Problem()):
        if is_plain_object(layer) and weightlike(walk("layer", layer), Problem()):
            return type(layer)
    return None


MOST_OF_A_MAKER = 3
"""Arguments of a function that makes a layer: sizes, and a seed."""


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Say that the time was over before anything was found."""
    try:
        yield
    except OutOfTimeError:
        raise CannotBindError("it could not be bound in the time that there is for it") from None


@contextlib.contextmanager
def _uncompiled(labs: Sequence[Lab]) -> Iterator[None]:
    """Have JAX compile nothing, where it is used: each try has other shapes, and to compile costs fifty times more."""
    if not any(lab.library == "jnp" for lab in labs):
        yield
        return
    with sys.modules["jax"].disable_jit():
        yield


def libraries(module: Any) -> tuple[str, ...]:
    """Return the libraries whose arrays a module's functions may take: the one that it imports goes first."""
    own = {getattr(one, "__name__", "").partition(".")[0] for one in vars(module).values() if inspect.ismodule(one)}
    used = [name for name in ("torch", "jax") if name in own and name in sys.modules]
    return (*used, "numpy")


def lab_of(found: Found, library: str, cell: Cell, seconds: float) -> Lab:
    """Return a lab whose arrays are those of a library."""
    lab = _lab(found, library)
    lab.cell = cell
    lab.allow(seconds)
    return lab


def _lab(found: Found, library: str) -> Lab:
    """Return a lab without any time."""
    if library == "torch":
        torch = sys.modules["torch"]
        return Lab({**OURS, **found.names, "torch": torch}, torch.tensor, "torch")
    if library == "jax":
        jnp = importlib.import_module("jax.numpy")
        return Lab({**OURS, **found.names, "jnp": jnp}, jnp.asarray, "jnp")
    return Lab({**OURS, **found.names})


OURS = {"np": np, "SimpleNamespace": SimpleNamespace}
"""The names that an adapter may use besides those of the layer's module."""


def _exact(lab: Lab, found: Found, tried: list[Tried]) -> tuple[Forward, Backward | None] | None:
    """Return the forward pass that is the reference's, with a backward pass; the first for which that is whole.

    A layer of one sample may go forward with several at once, and not back.
    """
    first = next(_forwards(lab, found, tried), None)
    if first is None:
        return None
    best: tuple[Forward, Backward | None] | None = None
    for forward in itertools.chain([first], _otherwise(lab, first)):
        lab.allow(tolerance.BINDING_SECONDS / 2)
        if forward.exact:
            forward = with_states_inside(lab, opened(lab, forward), Problem(forward.call.over))
            forward = holding_elsewhere(lab, forward)
        back = find_backward(lab, found, forward)
        if lab.library != "np" or (back is not None and len(back.found) == _due(forward)):
            if best is not None:
                forward = replace(forward, told=(*forward.told, NOT_IN_TIME if lab.late else ONE_BY_ONE))
            return forward, back
        if best is None or (back is not None and best[1] is None):
            best = forward, back
    return best


def _otherwise(lab: Lab, first: Forward) -> Iterator[Forward]:
    """Yield the forward passes of the same arguments that run over samples or steps alone."""
    again = first.call.again
    overs = [over for over in INPUTS if over != first.call.over and again is not None]
    for over, setup in itertools.product(overs, _flat_too(first.setup)):
        lab.allow(tolerance.BINDING_SECONDS / 4)
        raw = first.raw if setup is first.setup else Problem().weights(setup.shapes(Problem().sizes))
        several = (
            forward
            for call in (again(over) if again is not None else ())
            for forward in fits(lab, setup, call, Problem(over), raw, {})
        )
        with contextlib.suppress(OutOfTimeError):
            forward = next(several, None)
            if forward is not None:
                yield by_names(forward)


def _flat_too(setup: Setup) -> list[Setup]:
    """Return a setup whose arrays are given, and the same with flat biases where they are columns: (u,) for (u, 1)."""
    columns = {block.name for block in setup.layouts[0].blocks if block.is_bias and block.form == ROWS}
    if not columns or any(name.startswith("layer") for name in columns):
        return [setup]
    flat = tuple(
        replace(one, blocks=tuple(replace(b, form=VECTOR) if b.name in columns else b for b in one.blocks))
        for one in setup.layouts
    )
    return [setup, replace(setup, layouts=flat)]


def holding_elsewhere(lab: Lab, forward: Forward) -> Forward:
    """Return a forward pass without the place of its memory, where that is the memory at these sizes alone.

    What is returned itself is the layer's answer, right or wrong.
    """
    if not forward.memory or forward.memory_returned:
        return forward
    problem = Problem(forward.call.over, OTHER_SIZES, seed=7)
    raw = problem.weights(forward.setup.shapes(problem.sizes))
    names = lab.attempt(run_call, lab, forward.setup, forward.call, problem, raw)
    came = None if names is None else lab.attempt(lab.value, names, forward.memory)
    arrays = {**forward.reading.parameters(raw, problem.called), "X": problem.arrays["X"]}
    fc = run_forward(lab.cell, {**arrays, **problem.states(forward.call.given)})
    due = fc[lab.cell.states[-1].kept_as][..., -1, :]
    right = came is not None and np.shape(came) == due.shape and same(due[None], np.asarray(came))[0]
    return forward if right else replace(forward, memory="")


ONE_BY_ONE = "of several samples or steps at once it goes forward, not back"
NOT_IN_TIME = "of several samples or steps at once it goes forward; whether it goes back was not found out in the time"


def _due(forward: Forward) -> int:
    """Return how many gradients there ought to be."""
    return len(forward.reading.layout.blocks) + 1 + len(forward.call.given)


def _forwards(lab: Lab, found: Found, tried: list[Tried]) -> Iterator[Forward]:
    """Yield the forward passes that are the reference's; the calls that ran are added to `tried`."""
    known: dict[Any, Any] = {}
    ways = _of_class(lab, found, found.kind) if found.kind is not None else _of_function(lab, found)
    try:
        for setup, call, raw in ways:
            ran = lab.ran
            for forward in fits(lab, setup, call, Problem(call.over), raw, known):
                yield by_names(forward)
            if lab.ran > ran:
                tried.append((setup, call, raw, lab))
    except OutOfTimeError:
        pass


def opened(lab: Lab, forward: Forward) -> Forward:
    """Return the forward pass of a layer with an output layer, made of ones on the diagonal so that its y is h."""
    make = [re.sub(r"\bo\b", "u", line) for line in forward.setup.make]
    if forward.hidden.place.root == "out" or make == [*forward.setup.make]:
        return forward
    problem = Problem(forward.call.over)
    setup = replace(forward.setup, make=tuple(make))
    names = lab.attempt(run_call, lab, setup, forward.call, problem, forward.raw)
    if names is None:
        return forward
    u, own = problem.sizes["u"], {*setup.names, *(text for texts in setup.also.values() for text in texts)}
    fills: dict[str, str] = {}
    for place in walk("layer", lab.attempt(lab.start, setup, problem, forward.raw)["layer"]):
        if place.owner and place.text not in own:
            fills |= {place.text: "np.eye(u, dtype=X.dtype)"} if place.value.shape == (u, u) else {}
            vector = place.value.shape in ((u,), (1, u), (u, 1)) and not place.value.any()
            fills |= {place.text: f"np.zeros({_with_u(place.value.shape, u)}, dtype=X.dtype)"} if vector else {}
    for again in fits(lab, replace(setup, fills=fills), forward.call, problem, forward.raw, {}):
        if again.reading == forward.reading and again.hidden.place.root == "out":
            return replace(again, told=(OPENED,))
    return forward


OPENED = "its output layer is given ones on the diagonal and no bias, so that what comes out is h, and is not judged"


def _with_u(shape: tuple[int, ...], u: int) -> str:
    """Return a shape as text."""
    return "(" + ", ".join("u" if n == u else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def by_names(found: Forward) -> Forward:
    """Return a forward pass as the names of its arrays have it, where these tell the gates and it is another's.

    A layer whose Wf is used as its input gate's weights is not one in another order: it is wrong.
    """
    if found.reading.own_order or not by_letter(_in_places(found)):
        return found
    reading = replace(found.reading, layout=_in_places(found))
    return replace(found, reading=reading, exact=False, told=("by its names, which its forward pass does not follow",))


def _in_places(found: Forward) -> Layout:
    """Return the layout as it was before the forward pass told its order: each array where its name has it."""
    original = {block.name: block.gates for block in found.setup.layouts[0].blocks}
    blocks = [replace(block, gates=original[block.name]) for block in found.reading.layout.blocks]
    return replace(found.reading.layout, blocks=tuple(blocks))


def _of_class(lab: Lab, found: Found, kind: type) -> Iterator[Way]:
    """Yield the ways to make and to call a class's layer, with its weights drawn."""
    text = found.name
    problem = Problem()
    methods = [pair for pair in methods_of(kind, FORWARD, BACKWARD) if not re.search(BACKWARD[:-3], pair[0])]
    empty = []
    needed = [one.name for one in roles.arguments_of(found.value) or [] if one.required]
    weights_first = sum(roles.unlikely(n, "W", 9) for n in needed) < sum(roles.unlikely(n, "u", 9) for n in needed)
    if weights_first:
        yield from _of_weights(found, methods)
    for setup, likely in _plausible(lab, text, found.value, problem):
        seen = False
        for name, arguments in methods:
            for call in itertools.islice(calls(f"layer.{name}", arguments), MOST_CALLS):
                one = Problem(call.over)
                if lab.attempt(run_call, lab, setup, call, one, {}) is None:
                    continue
                for whole, raw in weights_inside(lab, setup, call, one):
                    seen = True
                    yield whole, call, raw
        empty += [] if seen or likely else [setup]
    if not weights_first:
        yield from _of_weights(found, methods)
    for setup in empty:
        for name, taken in methods:
            yield from _of_variables(f"layer.{name}", taken, setup.make)


def _plausible(lab: Lab, text: str, kind: Any, problem: Problem) -> list[tuple[Setup, bool]]:
    """Return how a layer is made of sizes so that it has arrays that may be weights, most of them first; or has none.

    Beside each is whether it has such arrays: a layer without any may make them when it is called first.
    """
    found = []
    for setup, layer in of_sizes(lab, text, kind, problem):
        places = walk("layer", layer)
        count = len(weightlike(places, problem))
        if count or not any(place.value.ndim > 1 for place in places):
            found.append((count, setup))
    return [(setup, count > 0) for count, setup in sorted(found, key=lambda pair: -pair[0])]


def _of_weights(found: Found, methods: Sequence[tuple[str, list[roles.Argument]]]) -> Iterator[Way]:
    """Yield the ways to call a layer that is made of its weights."""
    sizes = Problem().sizes
    setups = list(itertools.islice(of_arguments(found.name, roles.arguments_of(found.value) or [], sizes), MOST_SETUPS))
    for name, taken in methods:
        yield from _drawn(setups, list(itertools.islice(calls(f"layer.{name}", taken), MOST_CALLS)), sizes)


def _of_function(lab: Lab, found: Found) -> Iterator[Way]:
    """Yield the ways to call a function whose weights are among its arguments."""
    function, text = found.value, found.name
    arguments = roles.arguments_of(function) or []
    sizes = Problem().sizes
    beside = [one for one in vars(found.module).values() if inspect.isfunction(one) and one is not function]
    for container in containers(lab, function, arguments, beside):
        listed = unpacked_names(function, container.name)
        names = listed if listed and container.numbered else [*container.places]
        several = list(itertools.islice(of_container(container, names, sizes), MOST_SETUPS))
        ways = itertools.islice(calls(text, arguments, {container.name: container.name}), MOST_CALLS)
        yield from _drawn(several, list(ways), sizes)
    yield from _of_variables(text, arguments)


MOST_SETUPS, MOST_CALLS = 120, 300
"""Ways to hold weights, and to call, that are tried with one another."""


def _drawn(setups: Sequence[Setup], ways: Sequence[Call], sizes: Any) -> Iterator[Way]:
    """Yield all pairs of setups and calls, likely ones first, with weights drawn."""
    raw = [Problem().weights(setup.shapes(sizes)) for setup in setups]
    for (setup, drawn), call in roles.every(list(zip(setups, raw, strict=True)), ways):
        yield setup, call, drawn


def _of_variables(text: str, arguments: Sequence[roles.Argument], make: tuple[str, ...] = ()) -> Iterator[Way]:
    """Yield the ways to call a function that takes its weights one by one."""
    sizes = Problem().sizes
    for names in _weights_among([one.name for one in arguments if one.required]):
        setups = [replace(setup, make=make) for setup in itertools.islice(of_variables(names, sizes), MOST_SETUPS)]
        ways = itertools.islice(calls(text, arguments, {name: name for name in names}), MOST_CALLS)
        yield from _drawn(setups, list(ways), sizes)


def _weights_among(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which of some arguments may be the weights, likelier names first."""
    counts = (3, 12, 2, 8, 4, 1, 16)
    found = [
        chosen for count in counts if count < len(names) <= count + 4 for chosen in itertools.combinations(names, count)
    ]

    def cost(chosen: tuple[str, ...]) -> int:
        rest = [name for name in names if name not in chosen]
        of_rest = sum(min(roles.unlikely(name, role) for role in ("X", "h", "c")) for name in rest)
        # As most write it: x first, and the weights side by side.
        places = [names.index(name) for name in chosen]
        unusual = (places[0] == 0) + (places[-1] - places[0] >= len(places))
        return sum(roles.unlikely(name, "W", 9) for name in chosen) + of_rest + unusual

    return sorted(found, key=cost)


def _nearest(lab: Lab, tried: Sequence[Tried]) -> Forward | None:
    """Return the reading that came nearest, of the calls that ran."""
    lab.allow(tolerance.BINDING_SECONDS / 2)
    best: Forward | None = None
    known: dict[Any, Any] = {}
    try:
        for setup, call, raw, _ in tried[:MOST_NEAR]:
            one = nearest(lab, setup, call, Problem(call.over), raw, known)
            # They come with the likeliest first; other ways to call the same are as near but for the values drawn.
            if one is not None and (best is None or one.distance < best.distance / CLEARLY_NEARER):
                best = one
    except OutOfTimeError:
        pass
    if best is not None and by_letter(_in_places(best)):
        best = replace(best, reading=replace(best.reading, layout=_in_places(best)))
    return best


MOST_NEAR = 60
"""Calls that are compared to say which came nearest."""

CLEARLY_NEARER = 2
"""How many times as near a call must come to be preferred to a likelier one."""


def find_backward(lab: Lab, found: Found, forward: Forward) -> Backward | None:
    """Return the backward pass that gives most right gradients, and most of all that are due; None if there is none."""
    problem = Problem(forward.call.over)
    lab.allow(tolerance.BINDING_SECONDS / 2)
    names = lab.attempt(run_call, lab, forward.setup, forward.call, problem, forward.raw)
    if names is None or lab.library != "np":
        return None  # a library's own functions are differentiated by the library
    best: Backward | None = None
    left = MORE_CALLS
    try:
        for text, arguments, function in (*_returned(names["out"]), *_pullbacks(found, forward)):
            for back in backward_calls(text, arguments, forward, names, problem, returned_names(function)):
                left -= best is not None and best.right == _due(forward)
                seen = look(lab, forward, back, problem) if left else best
                if seen is not None and _is_backward(forward, seen) and (best is None or _worth(seen) > _worth(best)):
                    best = seen
                if not left or (best is not None and best.right == _due(forward) and len(best.takes) == 2):
                    return best
    except OutOfTimeError:
        lab.late = lab.late or best is None
    return best


MORE_CALLS = 40
"""Calls of a backward pass that are tried after one by which all is right, for one that takes dCn as well."""


def _returned(out: Any) -> Iterator[tuple[str, list[roles.Argument], Any]]:
    """Yield the functions in what a forward pass returns: its own pullback, which closes over what it keeps."""
    for text, value in parts_with_values("out", out):
        if inspect.isroutine(value):
            yield text, roles.arguments_of(value) or [], value


def _is_backward(forward: Forward, back: Backward) -> bool:
    """Return whether a call gave gradients: one of all its weights, or one that is right."""
    return bool(back.of_slots) and (back.right > 0 or len(back.of_slots) == len(forward.reading.layout.blocks))


def _worth(back: Backward) -> tuple[int, int, int]:
    """Return what speaks for a backward pass."""
    return back.right, len(back.found), len(back.takes)


def _pullbacks(found: Found, forward: Forward) -> Iterator[tuple[str, list[roles.Argument], Any]]:
    """Yield what may be the backward pass: the layer's methods, or the module's functions, likelier names first."""
    if found.kind is not None:
        for name, taken in methods_of(found.kind, BACKWARD, FORWARD):
            if f"layer.{name}(" not in forward.call.text:
                yield f"layer.{name}", taken, getattr(found.kind, name)
        return
    own = [name for name, one in vars(found.module).items() if inspect.isfunction(one) and name != found.name]
    own = [name for name in own if getattr(found.module, name).__module__ == found.module.__name__]
    stem = re.sub(r"forward|fwd|_f$", "", found.name)
    ranked = sorted(own, key=lambda name: (not re.search("back|grad|bwd|bptt|bprop", name), stem not in name, name))
    for name in ranked:
        yield name, roles.arguments_of(getattr(found.module, name)) or [], getattr(found.module, name)


def _bound(found: Found, forward: Forward, back: Backward | None, lab: Lab) -> Bound:
    """Return what was found as a function, as text and in words.

    Raises
    ------
    CannotBindError
        Where there is a backward pass by its name, or time was over before one was found, and no call of it gave
        gradients: forward only it would pass.
    """
    kept = Kept()
    if found.kind is not None and lab.library == "np":
        lab.allow(tolerance.BINDING_SECONDS / 4)
        with contextlib.suppress(OutOfTimeError):
            back, kept = look_again(lab, found.kind, forward, back)
    body = lab.translated(source.function(forward, back, lab.library, kept))
    names = {"by_step": composed.by_step, "by_sample": composed.by_sample, "lacks": _lacks, **lab.names}
    exec(compile(body, "<adapter>", "exec"), names)
    function = names[source.NAME]
    notes = [*describe(forward, back, lab.library), *([kept.told] if kept.told else [])]
    header = source.imports(body, [*found.names], found.module.__name__, found.folder, lab.library)
    told = "\n".join(f"# {line}" for line in notes)
    text = f"{told}\n\n{header}\n\n\n{body}\n"
    named = [words for words, _, _ in _pullbacks(found, forward) if re.search(BY_NAME, words)]
    if back is None and lab.library == "np":
        names = lab.attempt(run_call, lab, forward.setup, forward.call, Problem(forward.call.over), forward.raw)
        named = [*(text for text, _, _ in _returned(names["out"] if names is not None else None)), *named]
    if back is None and lab.late:
        raise CannotBindError("no backward pass of it was found in the time that there is for it", text)
    if back is None and named and lab.library == "np":
        raise CannotBindError(f"no call of {named[0]} that was tried gave gradients of its weights", text)
    return Bound(function, text, tuple(notes), forward.exact, lab.library, kept.once)


BY_NAME = r"back|bptt|bprop|bwd|grad"
"""What a backward pass says of itself."""


def _lacks(*words: str) -> Callable[[Any], Any]:
    """Say what a function lacks, as `lstm_checks.lacks` does, which is above this room."""

    def declare(function: Any) -> Any:
        function.unsupported = words
        return function

    return declare


def _nearest_in_words(forward: Forward) -> str:
    """Return what came nearest and what does not fit."""
    return (
        f"nearest is {forward.call.text}, X as ({', '.join(forward.call.x_axes)}), whose h differs from an LSTM's by "
        f"{forward.distance:.0%} of its size"
    )


def _activated_otherwise(lab: Lab, best: Forward) -> str:
    """Return with which other activations the nearest reading's h is that of an LSTM, and the option that says so."""
    problem = Problem(best.call.over)
    names = lab.attempt(run_call, lab, best.setup, best.call, problem, best.raw)
    if names is None:
        return ""
    hidden = candidates(places_after(lab, names), problem)
    for cell in otherwise_activated(lab.cell):
        for due in dues(best.setup.layouts, best.raw, problem, best.call.given, cell):
            if any(np.any(same(due.h, output.full)) for output in hidden):
                return f"its forward pass is that of --cell {cell.name}, which judges it so"
    return ""


def _skeleton(found: Found) -> str:
    """Return an adapter of which nothing is known but what it calls."""
    name, module = found.name, found.module.__name__
    return f"""# {name} could not be bound: fill in what stands in capitals
import numpy as np
from {module} import {name}


def target(p, X, h0, C0):  # p: Uf Vf bf ... Uo Vo bo by name; X (m, s, e); h0, C0 (m, u)
    W = np.vstack([np.hstack([p[n + k] for k in "ifgo"]) for n in "UV"])  # AS YOUR LAYER HOLDS THEM
    h, Cn = {name}(X, W)  # AS YOUR LAYER IS CALLED

    def pullback(dh, dCn):
        return {{"dX": None, "dUf": None}}  # YOUR GRADIENTS BY NAME

    return (h, Cn), pullback
"""


def _why_not(found: Found, labs: Sequence[Lab]) -> str:
    """Return what was tried and what did not fit."""
    what = "class" if inspect.isclass(found.value) else "function"
    tried, ran = sum(lab.tried for lab in labs), sum(lab.ran for lab in labs)
    last = next((f"; the last error was {lab.last_error}" for lab in labs if lab.last_error), "")
    told = f": {tried} ways to call it were tried, of which {ran} ran" if tried else ", and no way to call it was found"
    return f"this {what} could not be bound{told}{last}"
