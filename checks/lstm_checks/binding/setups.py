"""Where a layer's weights may be: in an object made of sizes, or among the arguments of a class or a function."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_checks.binding import roles
from lstm_checks.binding.forward import Call, places_after, run_call
from lstm_checks.binding.places import Place, walk
from lstm_checks.binding.problem import Array, Problem
from lstm_checks.binding.roles import Argument
from lstm_checks.binding.slots import arranged, has_shape_of_weights, layouts_of_names, layouts_of_shapes
from lstm_checks.binding.trial import Lab, Setup

SIZES = ("e", "u", "o", "s", "m", "1.0", "0")
"""What a class may be made of: sizes by letter, a number such as a learning rate, a seed."""

FORWARD = r"^forward|^__call__|fprop|^call$|^run|^step|predict|^f"
BACKWARD = r"back|bprop|bptt|grad|^b"
"""Words in the names of methods by which they are tried in an order."""


def methods_of(kind: type, words: str, last: str) -> list[tuple[str, list[Argument]]]:
    """Return the methods of a class with their arguments, likelier names first."""
    found = []
    for name in dir(kind):
        if (name.startswith("_") and name != "__call__") or not callable(getattr(kind, name, None)):
            continue
        if name == "__call__" and "__call__" not in vars(kind):
            continue
        arguments = roles.arguments_of(getattr(kind, name))
        if arguments is None:
            continue
        if not isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod):
            arguments = arguments[1:]
        found.append((name, arguments))
    key = lambda pair: (bool(re.search(last, pair[0])), not re.search(words, pair[0]), pair[0])  # noqa: E731
    return sorted(found, key=key)


def made(text: str, arguments: Sequence[Argument]) -> Iterator[str]:
    """Yield the texts that may make a layer of sizes."""
    yield from (roles.called(text, arguments, chosen) for chosen in roles.assignments(arguments, SIZES, ()))


def _made_of_objects(lab: Lab, text: str, arguments: Sequence[Argument]) -> Iterator[str]:
    """Yield the texts that make a layer of an object of another class, such as its configuration, made of sizes."""
    for one in [one for one in arguments if one.required]:
        rest = [other for other in arguments if other is not one]
        for name, kind in lab.names.items():
            if not inspect.isclass(kind) or name == text or kind.__module__ in ("builtins", "typing"):
                continue
            for inner in itertools.islice(made(name, roles.arguments_of(kind) or []), MOST_OBJECTS):
                for chosen in itertools.islice(roles.assignments(rest, SIZES, ()), MOST_BESIDE):
                    yield roles.called(text, arguments, {**chosen, one.name: inner})


MOST_OBJECTS, MOST_BESIDE = 24, 6
"""Ways to make such an object, and what is given beside it."""


def of_sizes(lab: Lab, text: str, kind: Any, problem: Problem) -> Iterator[tuple[Setup, Any]]:
    """Yield how a layer is made of sizes, each way that gives other arrays once, and the layer itself."""
    arguments = roles.arguments_of(kind) or []
    seen = set()
    for line in itertools.chain(made(text, arguments), _made_of_objects(lab, text, arguments)):
        setup = Setup(make=(f"layer = {line}",))
        names = lab.attempt(lab.start, setup, problem, {})
        if names is None:
            continue
        form = tuple(sorted((one.text, one.value.shape) for one in walk("layer", names["layer"])))
        numbers = tuple(sorted((k, v) for k, v in getattr(names["layer"], "__dict__", {}).items() if type(v) is int))
        if (form, numbers) in seen:
            continue
        seen.add((form, numbers))
        yield setup, names["layer"]


def of_arguments(text: str, arguments: Sequence[Argument], sizes: Mapping[str, int]) -> Iterator[Setup]:
    """Yield how a class is made of its weights, each an argument."""
    needed = [one for one in arguments if one.required]
    names = [one.name for one in needed]
    for layout in layouts_of_names(names, sizes["e"], sizes["u"]):
        yield Setup(tuple(arranged(layout)), make=(f"layer = {text}({', '.join(names)})",))


def weights_inside(lab: Lab, setup: Setup, call: Call, problem: Problem) -> Iterator[tuple[Setup, dict[str, Array]]]:
    """Yield the arrays in an object that its forward pass reads, as the layouts that their shapes allow.

    What reaches nothing when it is changed, such as gradients, caches and an optimiser's, is no weight.
    """
    names = lab.attempt(run_call, lab, setup, call, problem, {})
    if names is None:
        return
    first = lab.attempt(lab.start, setup, problem, {})
    lazy = not weightlike(walk("layer", first["layer"]), problem) if first is not None else False
    if lazy and weightlike(walk("layer", names["layer"]), problem):
        # It makes its weights when it is called first.
        setup = replace(setup, make=(*setup.make, call.text))
        first = lab.attempt(lab.start, setup, problem, {})
    if first is None:
        return
    for in_place in (False, True):
        live, also = _live(lab, replace(setup, in_place=in_place), call, problem, walk("layer", first["layer"]))
        if not live:
            continue
        raw = problem.weights(live)
        layouts = tuple(layouts_of_shapes(live, problem.sizes["e"], problem.sizes["u"]))
        if layouts:
            yield replace(setup, layouts=layouts, also=also, in_place=in_place), raw
            return


def weightlike(places: Sequence[Place], problem: Problem) -> list[Place]:
    """Return the arrays that have a shape of weights and can be written to."""
    e, u = problem.sizes["e"], problem.sizes["u"]
    return [one for one in places if one.owner and has_shape_of_weights(one.value.shape, e, u)]


def _live(
    lab: Lab, setup: Setup, call: Call, problem: Problem, places: Sequence[Place]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
    """Return the shapes of the arrays that a forward pass reads, by their texts; and further texts of each."""
    owners: dict[int, list[Place]] = {}
    for one in weightlike(places, problem):
        owners.setdefault(one.owner, []).append(one)
    several = {alike[0].text: tuple(one.text for one in alike[1:]) for alike in owners.values()}
    shapes = {alike[0].text: alike[0].value.shape for alike in owners.values()}
    drawn = problem.weights(shapes)

    def outputs(changed: str) -> list[Any]:
        write = "[...] = " if setup.in_place else " = "
        names = lab.start(replace(setup, layouts=()), problem, {})
        for text, value in drawn.items():
            names["_raw"] = lab.array(value + 0.1 if text == changed else value)
            lab.run(names, *(f"{place}{write}_raw" for place in (text, *several[text])))
        lab.run(names, *call.before, f"out = {call.text}")
        return [one.value for one in places_after(lab, names) if one.text not in shapes and one.root == "out"] or [
            one.value for one in places_after(lab, names)
        ]

    before = lab.attempt(outputs, "")
    if before is None:
        return {}, {}
    live = {}
    for text in shapes:
        after = lab.attempt(outputs, text)
        if after is None or len(after) != len(before):
            continue
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(after, before, strict=True)):
            live[text] = shapes[text]
    return live, {text: several[text] for text in live}


@dataclass(frozen=True)
class Container:
    """An argument that holds arrays: its name, the line that makes it, and the arrays' texts by what they are called.

    `numbered` says that they have numbers, and no names of their own.
    """

    name: str
    line: str
    places: Mapping[str, str]
    numbered: bool = False


def _of_keys(name: str, keys: Sequence[str]) -> Container:
    """Return a dict of arrays."""
    return Container(name, f"{name} = {{}}", {key: f"{name}[{key!r}]" for key in keys})


def _of_attributes(name: str, keys: Sequence[str]) -> Container:
    """Return an object with arrays for attributes."""
    return Container(name, f"{name} = SimpleNamespace()", {key: f"{name}.{key}" for key in keys})


def _of_dicts(name: str, keys: Sequence[tuple[str, str]]) -> Container:
    """Return a dict of dicts of arrays."""
    outer = ", ".join(f"{key!r}: {{}}" for key in dict.fromkeys(first for first, _ in keys))
    return Container(name, f"{name} = {{{outer}}}", {f"{a}.{b}": f"{name}[{a!r}][{b!r}]" for a, b in keys})


def _of_numbers(name: str, count: int) -> Container:
    """Return a list of arrays."""
    places = {str(k): f"{name}[{k}]" for k in range(count)}
    return Container(name, f"{name} = [None] * {count}", places, numbered=True)


class _Asked(dict[str, Any]):
    """A dict that notes what it is asked for, and has a number for all."""

    def __missing__(self, key: str) -> Any:
        self[key] = np.zeros((1, 1))
        return self[key]


_Asked.__name__ = _Asked.__qualname__ = "dict"  # what errors say that a function was given


def containers(
    lab: Lab, function: Callable[..., Any], arguments: Sequence[Argument], beside: Sequence[Callable[..., Any]] = ()
) -> Iterator[Container]:
    """Yield the arguments that hold the weights, found by giving a dict and seeing what is asked, or in the text.

    `beside` are further functions of the module, which may be given the same argument under the same name.
    """
    needed = [one for one in arguments if one.required]
    ranked = sorted(needed, key=lambda one: roles.unlikely(one.name, "W", 9))
    for one in ranked:
        asked = _Asked()
        given = {other.name: asked if other is one else lab.array(np.zeros((1, 1, 1))) for other in needed}
        lab.attempt(lambda given=given: function(**given))
        keys = tuple(key for key in asked if isinstance(key, str))
        deep = [pair for each in (function, *beside) for pair in _pairs_in(each, one.name)]
        own = [name for each in (function, *beside) for name in _attributes_in(each, one.name)]
        if len(deep) >= 2:
            yield _of_dicts(one.name, [*dict.fromkeys(deep)])
        elif len(keys) >= 2:
            yield _of_keys(one.name, [*dict.fromkeys([*keys, *_keys_in(function, one.name)])])
        elif len(own) >= 2:
            yield _of_attributes(one.name, [*dict.fromkeys(own)])
        elif count := _unpacked_to(function, one.name):
            yield _of_numbers(one.name, count)


def _keys_in(function: Callable[..., Any], name: str) -> list[str]:
    """Return the keys by which a function's own text reads an argument."""
    return [key for node in ast.walk(_tree(function)) if (key := _key(node)) and _is_name(_owner(node), name)]


def _pairs_in(function: Callable[..., Any], name: str) -> list[tuple[str, str]]:
    """Return the pairs of keys by which a function's own text reads what is in an argument of this name."""
    return [
        (first, second)
        for node in ast.walk(_tree(function))
        if (second := _key(node)) and (first := _key(_owner(node))) and _is_name(_owner(_owner(node)), name)
    ]


def _attributes_in(function: Callable[..., Any], name: str) -> list[str]:
    """Return the attributes of an argument that a function's own text reads, methods that are called left out."""
    nodes = [*ast.walk(_tree(function))]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and id(node) not in called and _is_name(node.value, name)
    ]


def _key(node: ast.AST | None) -> str:
    """Return the word in the brackets of a node; nothing where there is none."""
    found = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value
    return found if isinstance(found, str) else ""


def _owner(node: ast.AST | None) -> ast.AST | None:
    """Return what is before a node's brackets."""
    return node.value if isinstance(node, ast.Subscript) else None


def _is_name(node: ast.AST | None, name: str) -> bool:
    """Return whether a node is a name."""
    return isinstance(node, ast.Name) and node.id == name


def unpacked_names(function: Callable[..., Any], name: str) -> list[str]:
    """Return the names that a function's own text unpacks an argument into."""
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == name:
            target = node.targets[0]
            if isinstance(target, ast.Tuple | ast.List) and all(isinstance(one, ast.Name) for one in target.elts):
                return [one.id for one in target.elts if isinstance(one, ast.Name)]
    return []


def returned_names(function: Callable[..., Any]) -> list[str]:
    """Return what a function's own text calls what it returns, a tuple; empty words for what has no name."""
    several = [node.value for node in ast.walk(_tree(function)) if isinstance(node, ast.Return)]
    if not several or not isinstance(several[-1], ast.Tuple):
        return []
    return [one.id if isinstance(one, ast.Name) else "" for one in several[-1].elts]


def _unpacked_to(function: Callable[..., Any], name: str) -> int:
    """Return into how many names an argument is unpacked."""
    return len(unpacked_names(function, name))


def _tree(function: Callable[..., Any]) -> ast.AST:
    """Return a function's own text as a tree; an empty one where it has none."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def of_container(container: Container, names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Setup]:
    """Yield the layouts of what a dict or a list holds, the names of its arrays as given; what is left is filled."""
    places = dict(zip(names, container.places.values(), strict=True))
    for own in _of_weights(list(names)):
        others = [name for name in names if name not in own]
        for layout in layouts_of_names(own, sizes["e"], sizes["u"]):
            blocks = [replace(block, name=places[block.name]) for block in layout.blocks]
            moved = replace(layout, blocks=tuple(blocks))
            for fills in _filled([places[name] for name in others]):
                yield Setup(tuple(arranged(moved)), before=(container.line,), fills=fills)


def _of_weights(names: list[str]) -> Iterator[list[str]]:
    """Yield which of some arrays may be the cell's weights: all, or all but the last two or one, or by letters."""
    from lstm_checks.binding.slots import lettered

    told = lettered(names)
    if told:
        yield told
    for count in (0, 2, 1):
        if len(names) - count > 0:
            yield names[: len(names) - count]
    if len(names) > 2:
        yield names[2:]


def _filled(places: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield what may be written to the weights of an output layer: ones on the diagonal, and no bias."""
    if not places:
        yield {}
    elif len(places) == 1:
        yield {places[0]: "np.eye(u, dtype=X.dtype)"}
    elif len(places) == 2:
        for bias in [f"np.zeros({shape}, dtype=X.dtype)" for shape in ("(u,)", "(u, 1)", "(1, u)")]:
            for first in (0, 1):
                yield {places[first]: "np.eye(u, dtype=X.dtype)", places[1 - first]: bias}


def of_variables(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Setup]:
    """Yield the layouts of a function's arguments that are arrays."""
    for layout in layouts_of_names(names, sizes["e"], sizes["u"]):
        yield Setup(tuple(arranged(layout)))
