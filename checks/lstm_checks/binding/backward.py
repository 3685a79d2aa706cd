"""How a layer is pulled back, and where its gradients are: in what that returns, or in what the layer keeps then."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.binding import roles
from lstm_checks.binding.forward import Forward, run_call
from lstm_checks.binding.places import Place, axes_of, recast, walk
from lstm_checks.binding.problem import Array, Problem, as_full, gradients_due
from lstm_checks.binding.roles import Argument
from lstm_checks.binding.trial import Lab
from lstm_checks.contract import PLAIN
from lstm_checks.weights.layouts import SECOND


@dataclass(frozen=True)
class Gradient:
    """Where a gradient lies: the text of it, in the shape of the layer's own array or with its own axes."""

    text: str
    right: bool
    told: str = ""


@dataclass(frozen=True)
class Backward:
    """A pullback that was found.

    Attributes
    ----------
    text : str
        The call; with `dh` and `dCn` in it.
    takes : tuple of str
        The cotangents that it takes.
    of_slots : mapping
        The gradient of each of the layer's own arrays, by the text of that array.
    of_inputs : mapping
        The gradients of X and the states, by name.
    before : tuple of str
        Lines that come before.
    labels : mapping
        What the function itself calls what it returns, by the text of each.
    """

    text: str
    takes: tuple[str, ...]
    of_slots: Mapping[str, Gradient] = field(default_factory=dict)
    of_inputs: Mapping[str, Gradient] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_got(self) -> bool:
        """Whether what it returns is used."""
        return any(re.match(r"(np\.stack\()?got\b", one.text) for one in self.found)

    @property
    def found(self) -> list[Gradient]:
        """All gradients that there are."""
        return [*self.of_slots.values(), *self.of_inputs.values()]

    @property
    def right(self) -> int:
        """How many of them are the reference's."""
        return sum(one.right for one in self.found)


HALVED = "dh = np.concatenate([dh[:, :-1], dh[:, -1:] / 2], axis=1)"
"""The cotangents of every step's h with half of the last one's, where a backward pass takes that one beside them."""


def parts_with_values(text: str, value: Any, deepest: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield a value and what is in it, that may be a cache or a function, each with its text: arrays or not."""
    yield text, value
    if isinstance(value, tuple | list) and len(value) <= 12 and deepest:
        for k, one in enumerate(value):
            yield from parts_with_values(f"{text}[{k}]", one, deepest - 1)
    elif isinstance(value, Mapping) and len(value) <= 12 and deepest:
        for key in value:
            if isinstance(key, str):
                yield from parts_with_values(f"{text}[{key!r}]", value[key], deepest - 1)


def backward_calls(
    text: str,
    arguments: Sequence[Argument],
    found: Forward,
    names: Mapping[str, Any],
    problem: Problem,
    returned: Sequence[str] = (),
) -> Iterator[Backward]:
    """Yield the ways to call a backward pass after a forward pass has been run."""
    caches = {f"cache{k}": part for k, (part, _) in enumerate(parts_with_values("out", names["out"]))}
    weights = {f"W{k}": name for k, name in enumerate(found.setup.names) if not name.startswith("layer")}
    containers = {line.partition(" = ")[0] for line in found.setup.before}
    others = {f"P{k}": name for k, name in enumerate(sorted(containers))}
    given = {"X": recast("X", "mse", found.call.x_axes)}
    given |= {state: recast(state, "mu", found.call.state_axes) for state in found.call.given}
    sizes = {size: size for size in "mseu"}
    for dh_axes, dC_axes in _cotangent_axes(found, problem):
        dh, dC = recast("dh", "msu", dh_axes), recast("dCn", "mu", dC_axes)
        dhn = recast("dh[:, -1]", "mu", dC_axes)
        texts = {"dh": dh, "dC": dC, "both": f"({dh}, {dC})", "dhn": dhn, "finals": f"({dhn}, {dC})"}
        texts |= {**caches, **given, **weights, **others, **sizes}
        order = ["dh", "dC", "both", "dhn", "finals", *reversed(caches), *given, *others, *weights, *sizes]
        for chosen in _assigned(arguments, order, weights, others):
            held = set(chosen.values())
            if ("both" in held and held & {"dh", "dC", "dhn", "finals"}) or not held & {"both", "dh"}:
                continue
            if "finals" in held and held & {"dC", "dhn"}:
                continue
            named = [role for name, role in chosen.items() if re.search(roles.WORDS["dhn"], name.lower())]
            if not {*named} <= {"dh", "dC", "both", "dhn", "finals"}:
                continue  # a layer that forgets this cotangent would be right with anything in its place
            takes = ("dh", "dCn") if held & {"both", "dC", "finals"} else ("dh",)
            # What arrives at the last step's h comes half by half, so that either way in is judged.
            before = (HALVED,) if held & {"dhn", "finals"} else ()
            words = roles.called(text, arguments, {name: texts[role] for name, role in chosen.items()})
            labels = {f"got[{k}]": name for k, name in enumerate(returned) if name}
            yield Backward(words.replace(".__call__(", "("), takes, before=before, labels=labels)


def _assigned(
    arguments: Sequence[Argument], order: list[str], weights: Mapping[str, str], others: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield what the arguments of a backward pass may be; those named as the forward pass's are the same first."""
    known = {name: key for key, name in (*weights.items(), *others.items())}
    fixed = {one.name: known[one.name] for one in arguments if one.name in known}
    free = [one for one in arguments if one.name not in fixed]
    listed = set(fixed.values()) & set(weights)
    left = [role for role in order if role not in fixed.values() and not (listed and role in weights)]
    for chosen in roles.assignments(free, left, (), sizes_last=True):
        yield {one.name: (fixed | chosen)[one.name] for one in arguments if one.name in fixed | chosen}


def _cotangent_axes(found: Forward, problem: Problem) -> list[tuple[str, str]]:
    """Return the axes in which the cotangents of h and of the memory may be taken: as h and the states lie, first."""
    own = found.hidden.axes
    states = found.call.state_axes
    if found.hidden.part and "1" not in own:
        own = "".join(letter for letter in own)
    many = [own]
    if problem.called["s"] > 1:
        many += [axes for axes in ("msu", "smu", "ums", "usm") if sorted(axes) == sorted(own) and axes != own]
    flat = {"mu": ("mu", "um"), "u": ("u", "u1", "1u")}["mu" if problem.called["m"] > 1 else "u"]
    return [(axes, state) for axes in many for state in dict.fromkeys([states, *flat])]


def look(lab: Lab, found: Forward, back: Backward, problem: Problem) -> Backward | None:
    """Return a backward pass with the gradients that it returns or leaves in the layer; None if it raises."""
    names = lab.attempt(run_call, lab, found.setup, found.call, problem, found.raw)
    if names is None:
        return None
    stack = "np.stack"
    kept = {one.text: one.value for one in walk("layer", names["layer"], stack)} if "layer" in names else {}
    if lab.attempt(_pulled, lab, names, back) is None:
        return None
    places = walk("got", names["got"], stack)
    changed = walk("layer", names["layer"], stack) if "layer" in names else []
    own = {*found.setup.names, *(text for texts in found.setup.also.values() for text in texts)}
    changed = [one for one in changed if one.text not in own and not _as_before(kept.get(one.text), one.value)]
    p = found.reading.parameters(found.raw, problem.called)
    due = gradients_due(p, problem, found.call.given, lab.cell, "dCn" in back.takes)
    return _matched(found, back, [places, changed], due, problem)


def _as_before(before: Array | None, now: Array) -> bool:
    """Return whether an array holds what it held."""
    return before is not None and np.array_equal(before, now, equal_nan=True)


def _pulled(lab: Lab, names: dict[str, Any], back: Backward) -> bool:
    """Run the backward pass; `got` is what it returned."""
    lab.run(names, *back.before, f"got = {back.text}")
    return True


def _matched(
    found: Forward, back: Backward, groups: Sequence[Sequence[Place]], due: Mapping[str, Array], problem: Problem
) -> Backward:
    """Return the backward pass with each gradient in its place: by name, by shape, by value where these leave it open.

    What is returned goes before what is left in the layer, whatever its numbers: else a right array that is kept
    somewhere would stand for a wrong one that is returned.
    """
    values = {name[1:]: value for name, value in due.items()}
    values |= {f"{SECOND}{gate}": values[f"b{gate}"] for gate in PLAIN.gates}
    wanted = {block.name: block.pack(values) for block in found.reading.layout.blocks}
    slots: dict[str, Gradient] = {}
    for places in groups:
        slots |= _named(back, places, {name: value for name, value in wanted.items() if name not in slots})
    taken = {_bare(one.text) for one in slots.values()}
    states = [due[f"d{name}"] for name in found.call.given]
    for places in groups:
        # A state's gradient may have the shape of a bias's.
        free = [one for one in places if one.text not in taken and not _is_any(one.value, states)]
        alike: dict[tuple[int, ...], list[str]] = {}
        for name in wanted:
            if name not in slots:
                alike.setdefault(wanted[name].shape, []).append(name)
        for shape, names in alike.items():
            left = [one for one in free if one.text not in taken]
            slots |= (chosen := _of_shape(shape, names, left, wanted))
            taken |= {_bare(one.text) for one in chosen.values()}
    inputs: dict[str, Gradient] = {}
    for places in groups:
        free = [one for one in places if one.text not in taken]
        inputs |= {k: v for k, v in _of_inputs(back, free, due, problem, found).items() if k not in inputs}
    return replace(back, of_slots=slots, of_inputs=inputs)


def _is_any(value: Array, states: Sequence[Array]) -> bool:
    """Return whether an array is a state's gradient, however it lies."""
    return any(
        value.size == state.size and (close(value.ravel(), state.ravel()) or close(value.T.ravel(), state.ravel()))
        for state in states
    )


def _named(back: Backward, places: Sequence[Place], wanted: Mapping[str, Array]) -> dict[str, Gradient]:
    """Return the gradients whose places say by their names which array they are of, where all of a shape do."""
    found: dict[str, Gradient] = {}
    for shape in dict.fromkeys(value.shape for value in wanted.values()):
        names = [name for name, value in wanted.items() if value.shape == shape]
        fitting = {one.text: pair for one in places if (pair := _fitting(one, shape))}
        for name, text in _by_name(names, {text: back.labels.get(text, text) for text in fitting}).items():
            found[name] = _gradient(*fitting[text], wanted[name])
    return found


def _fitting(place: Place, shape: tuple[int, ...]) -> tuple[Place, str] | None:
    """Return a place with what gives it a shape: nothing, a transpose, or, of a vector, another number of axes."""
    own = place.value.shape
    if own == shape:
        return place, ""
    long, due = ([n for n in one if n > 1] for one in (own, shape))
    if long == due and len(due) == 1:
        return place, f".reshape({', '.join('1' if n == 1 else '-1' for n in shape)})"
    return (place, ".T") if len(shape) == 2 and own == shape[::-1] else None


def _bare(text: str) -> str:
    """Return the text of an array without what changes its shape."""
    return re.sub(r"(\.T|\.reshape\(.*\))$", "", text)


def _of_shape(
    shape: tuple[int, ...], names: Sequence[str], places: Sequence[Place], wanted: Mapping[str, Array]
) -> dict[str, Gradient]:
    """Return the places of the gradients of arrays that have the same shape: by value, and else as they come."""
    fitting = [pair for one in places if (pair := _fitting(one, shape))]
    exact = [pair for pair in fitting if not pair[1]]
    free = [pair for pair in exact or fitting if pair[0].depth == min(one.depth for one, _ in exact or fitting)]
    chosen: dict[str, Gradient] = {}
    for name in names:
        right = [pair for pair in free if _gradient(*pair, wanted[name]).right]
        if right:
            chosen[name] = _gradient(*right[0], wanted[name])
            free.remove(right[0])
    for name in [name for name in names if name not in chosen]:
        if free:
            chosen[name] = _gradient(*free.pop(0), wanted[name])
    return {name: chosen[name] for name in names if name in chosen}


def _gradient(place: Place, change: str, due: Array) -> Gradient:
    """Return a place as the gradient of an array, and whether it is the one due."""
    value = place.value.T if change == ".T" else place.value.reshape(due.shape)
    return Gradient(place.text + change, close(value, due), "transposed" if change == ".T" else "")


def close(came: Array, due: Array) -> bool:
    """Return whether an array is the one due, for telling what it is: judged it is later."""
    limit = tolerance.BINDING[str(came.dtype)] if str(came.dtype) in tolerance.BINDING else tolerance.BINDING["float32"]
    with np.errstate(all="ignore"):
        return bool(np.max(np.abs(came - due), initial=0.0) <= limit * float(np.max(np.abs(due), initial=0.0)))


def _by_name(names: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return the place of each array's gradient whose name is the array's own, or that with a d or grad to it.

    Names count where they tell all of these arrays from one another.
    """
    return _by_words(names, labels, 1) or _by_words(names, labels, 2)


def _by_words(names: Sequence[str], labels: Mapping[str, str], words: int) -> dict[str, str]:
    """Return these places by the last word of each text, or the last two."""
    stems = {text: _stem(label, words) for text, label in labels.items()}
    chosen = {}
    for name in names:
        own = _stem(name, words)
        same = [text for text, stem in stems.items() if stem == own]
        same = same or [text for text, stem in stems.items() if _without_d(stem) == own]
        if len(same) != 1 or own.isdigit():
            return {}
        chosen[name] = same[0]
    return chosen if len(set(chosen.values())) == len(names) else {}


def _stem(text: str, words: int = 1) -> str:
    """Return the last name in a text, or the last two, in lower case: of "layer.params['Wf']" wf."""
    found = re.findall(r"[A-Za-z_]\w*|\d+", text)
    return ".".join(found[-words:]).lower() if found else text


def _without_d(stem: str) -> str:
    """Return a name without what says that it is a gradient."""
    return re.sub(r"^(d_?|grad_?|g_)|(_?grad|_d)$", "", stem)


def _of_inputs(
    back: Backward, places: Sequence[Place], due: Mapping[str, Array], problem: Problem, found: Forward
) -> dict[str, Gradient]:
    """Return the places of the gradients of X and of the states."""
    inputs: dict[str, Gradient] = {}
    sizes = problem.called
    of_X = [(one, axes) for one in places if (axes := axes_of(one.value.shape, {k: sizes[k] for k in "mse"}))]
    if of_X:
        first = min(one.depth for one, _ in of_X)
        several = [(one, axes) for one, axes in of_X if one.depth == first]
        several.sort(key=lambda pair: not close(as_full(pair[0].value, pair[1], "mse"), due["dX"]))
        one, axes = several[0]
        inputs["dX"] = Gradient(recast(one.text, axes, "mse"), close(as_full(one.value, axes, "mse"), due["dX"]))
    of_states = [(one, axes) for one in places if (axes := axes_of(one.value.shape, {k: sizes[k] for k in "mu"}))]
    shallow = min((one.depth for one, _ in of_states), default=0)
    free = [pair for pair in of_states if pair[0].depth == shallow]
    wanted = [f"d{state}" for state in found.call.given]
    named = _states_by_name(wanted, {one.text: back.labels.get(one.text, one.text) for one, _ in free})
    for name in wanted:
        right = [pair for pair in free if close(as_full(pair[0].value, pair[1], "mu"), due[name])]
        right = [pair for pair in free if pair[0].text == named.get(name)] or right
        if right:
            free.remove(right[0])
            inputs[name] = _state_gradient(right[0], due[name])
    for name in [name for name in wanted if name not in inputs]:
        if free:
            inputs[name] = _state_gradient(free.pop(0), due[name])
    return inputs


def _states_by_name(wanted: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return the places of states' gradients that say by their names which they are."""
    found = {}
    for name in wanted:
        letter = name[1].lower()
        words = {"h": "^d_?(prev_?|next_?)?[ha]", "c": "^d_?(prev_?|next_?)?(c|mem)"}[letter]
        said = [text for text, label in labels.items() if re.search(words, _stem(label))]
        if len(said) == 1:
            found[name] = said[0]
    return found if len(found) == len(wanted) else {}


def _state_gradient(pair: tuple[Place, str], due: Array) -> Gradient:
    """Return a place as the gradient of a state."""
    one, axes = pair
    return Gradient(recast(one.text, axes, "mu"), close(as_full(one.value, axes, "mu"), due))
