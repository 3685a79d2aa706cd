"""A fault as data, and the reference with faults planted in it.

A fault is a patch to the source of `lstm_ref`: the text as it stands and the text as it goes wrong. The reference stays
clean; what is patched is a private copy of its modules, compiled in memory when it is first asked for. Faults that
live between calls (stale buffers, written inputs) are planted in a wrapper round the target instead.
"""

import builtins
import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

import lstm_ref
from lstm_checks.cases import LENGTHS, Arrays, Case
from lstm_checks.contract import CHANGE, EMPTY, KEEPS, LAST, PLAIN, SEVERAL, STILL, STRIDES, Target
from lstm_checks.faults.differentiated import WAYS, answer_in
from lstm_ref.cell import Cell, evaluate_gradients, run_backward, run_forward
from lstm_ref.cell import evaluate as evaluate_cell
from lstm_ref.network import PASSES, Network, Passes, Place
from lstm_ref.slots import names_bound, text_with_slots

_ACTIVATIONS = {"activations": "lstm_ref.activations", "other_activations": "lstm_ref.other_activations"}
"""The parts that many cells share, and their modules; the second is a part of cells with other activations alone."""

PARTS = (*_ACTIVATIONS, "forward", "backward", "gradients")
"""The parts of a cell's source that compute, each after those it needs."""

_FUNCTIONS = {"forward": "forward", "backward": "backward", "gradients": "parameter_gradients"}
"""What a cell calls the function that a part is or ends in."""

COMPOSITION = "composition"
"""The part in which cells are made a network; a cell alone has none."""

TRIED = 8
"""On how many draws of values a fault of one cell may show that it is one of another."""

KIND = "lstm_ref with a planted fault"


@dataclass(frozen=True)
class Patch:
    """A change to one part of a cell's source: `old`, which occurs in it exactly once, becomes `new`."""

    part: str
    old: str
    new: str


def in_activations(old: str, new: str) -> Patch:
    """Return a patch to the activation functions, which all cells share."""
    return Patch("activations", old, new)


def in_other_activations(old: str, new: str) -> Patch:
    """Return a patch to the activation functions besides the logistic function and tanh."""
    return Patch("other_activations", old, new)


def in_forward(old: str, new: str) -> Patch:
    """Return a patch to the forward pass."""
    return Patch("forward", old, new)


def in_backward(old: str, new: str) -> Patch:
    """Return a patch to the backward pass."""
    return Patch("backward", old, new)


def in_gradients(old: str, new: str) -> Patch:
    """Return a patch to the parameters' gradients."""
    return Patch("gradients", old, new)


def in_composition(old: str, new: str) -> Patch:
    """Return a patch to how cells are made a network."""
    return Patch(COMPOSITION, old, new)


@dataclass(frozen=True)
class Fault:
    """A known bug of LSTMs.

    Parameters
    ----------
    id : str
        Its name in kebab case.
    family : str
        The family it belongs to.
    title : str
        What goes wrong, in one sentence.
    explanation : str
        Which equation of `lstm_ref/README.md` is violated, and why people write it.
    patches : tuple of Patch
        The fault as a change of the reference's source.
    wrap : callable or None
        ``wrap(target)`` returns the target with the fault, for those that are no patch.
    needs : tuple of str
        The inputs and cotangents without which nothing can go wrong; a cell that has not all of them cannot have it.
    seen : str
        Where it was met in public, if that is known: "owner/repository#number".
    example : str
        The descriptor of a case of the smallest sizes that shows it, as `lstm_checks.trials.search` found it.
    place : str
        The suffix of the one place of a network at which it is; at all of them where empty.
    """

    id: str
    family: str
    title: str
    explanation: str
    patches: tuple[Patch, ...] = ()
    wrap: Callable[[Target], Target] | None = None
    needs: tuple[str, ...] = ()
    seen: str = ""
    example: str = "m1s1e1u1-float64-seed0"
    place: str = ""

    @property
    def dims(self) -> tuple[int, ...]:
        """The sizes (m, s, e, u) of `example`, the smallest that it takes to show the fault."""
        return Case.parse(self.example).dims


def placed(fault: Fault, place: Place) -> Fault:
    """Return a fault of a cell at one place of a network alone, which its id and its title name."""
    words = f"{place.words[0].upper()}{place.words[1:]}: {fault.title}"
    return replace(fault, id=f"{place.words}: {fault.id}", title=words, place=place.suffix)


def fault_target(*faults: Fault, cell: Cell = PLAIN) -> Target:
    """Return the reference of a cell with faults planted in it, as a target.

    State that a fault keeps between calls belongs to the target returned: another call gives a fresh one.

    Raises
    ------
    ValueError
        "faults carry-dropped and carry-halved change the same text of lstm_ref/backward.py, expected faults ..."
    """
    as_planted = planted(faults, cell)

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        # What the caller does to the arrays later is no business of the pullback's.
        inputs = {name: value.copy() if type(value) is np.ndarray else value for name, value in inputs.items()}
        wrong = at_lengths_of(inputs, as_planted)
        fc = run_forward(wrong, inputs)
        outputs = wrong.outputs_of(fc)

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            given = {name: value for name, value in cotangents.items() if value is not None}
            left = [name for name in cell.cotangents if name not in given]
            none = {name: np.zeros(cell.shape(name, *cell.sizes_of(inputs)), inputs["X"].dtype) for name in left}
            return evaluate_gradients(wrong, fc, run_backward(wrong, {**inputs, **none, **given}, fc))

        hidden, *others = outputs
        return {hidden: outputs[hidden], **{name: outputs[name].copy() for name in others}}, pullback

    def call_as(inputs: Mapping[str, Any], sequences: bool, how: Mapping[str, Any]) -> Any:
        outputs, pullback = call(inputs, sequences)
        if "way" in how:
            return outputs, answer_in(how["way"], as_planted, call, inputs, how.get("each", ()))
        still = {f"d{name}" for name in how.get("still", ())}
        return outputs, lambda cotangents: {n: v for n, v in pullback(cotangents).items() if n not in still}

    target = Target(
        "+".join(fault.id for fault in faults),
        KIND,
        call,
        frozenset({LAST}),
        cell=cell,
        lengths=LENGTHS if cell.places else (),
        can=frozenset({SEVERAL, CHANGE, KEEPS, STILL, STRIDES, EMPTY}.union(() if cell.places else WAYS)),
        optional=frozenset(cell.cotangents),
        parts=tuple((name,) for name in cell.inputs),
        call_as=call_as,
    )
    for fault in faults:
        target = fault.wrap(target) if fault.wrap else target
    return target


def at_lengths_of(given: Mapping[str, Any], cell: Cell) -> Cell:
    """Return a cell as it computes with what is given: a network at the lengths of its samples, where these are."""
    return cell.at_lengths(given.get("lengths")) if isinstance(cell, Network) else cell


def leaves_forward(faults: tuple[Fault, ...]) -> bool:
    """Return whether faults leave the forward pass as it is."""
    return not any(
        fault.wrap or {patch.part for patch in fault.patches} & {*_ACTIVATIONS, "forward", COMPOSITION}
        for fault in faults
    )


def backward_with(faults: tuple[Fault, ...], cell: Cell) -> Callable[[dict[str, Any], Arrays], dict[str, Any]]:
    """Return what gives the gradients, from a forward pass, of a cell with faults that leave that as it is.

    Raises
    ------
    ValueError
        When two faults change the same text.
    """
    wrong = planted(faults, cell)
    return lambda fc, arrays: evaluate_gradients(wrong, fc, run_backward(wrong, arrays, fc))


def evaluate(faults: Fault | tuple[Fault, ...], arrays: Arrays) -> dict[str, Any]:
    """Return the outputs and gradients of the arrays' cell with one fault or several planted in it.

    Parameters
    ----------
    faults : Fault or tuple of Fault
        Faults that change different pieces of text; of those that live between calls, this is the first call.
    arrays : Arrays
        Of one case, in whatever arithmetic the faults allow.

    Raises
    ------
    ValueError
        When two faults change the same text.
    """
    faults = faults if isinstance(faults, tuple) else (faults,)
    cell = arrays.cell
    with np.errstate(all="ignore"):
        if not any(fault.wrap for fault in faults):
            return evaluate_cell(planted(faults, cell), arrays)
        arrays = arrays.copy()  # those that live between calls may write to what they are given
        outputs, pullback = fault_target(*faults, cell=cell).call(arrays.given)
        values = {**outputs, **pullback(arrays.cotangents)}
    return {name: values[name] for name in cell.tensors}


def diff(fault: Fault, cell: Cell = PLAIN) -> str:
    """Return the fault as a unified diff of `lstm_ref`, or as the added source of its wrapper."""
    if isinstance(cell, Network):
        return _diff_of_network(fault, cell)
    found: list[str] = []
    patches = tuple((fault.id, patch) for patch in fault.patches)
    texts = {part: _patched(part, patches, cell) for part in PARTS}
    for module, parts in _modules(cell).items():
        before = _text_of(module)
        old, new = (text.splitlines(keepends=True) for text in (before, _with_parts(before, parts, texts, cell)))
        name = _file_name(module)
        found += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    if fault.wrap:
        new = inspect.getsource(fault.wrap).splitlines(keepends=True)
        found += difflib.unified_diff([], new, "/dev/null", "b/the call of lstm_ref")
    return "".join(found)


def _diff_of_network(fault: Fault, net: Network) -> str:
    """Return the fault as a diff of how cells are composed, and of the cell, with where that one stands."""
    own = tuple(patch for patch in fault.patches if patch.part != COMPOSITION)
    found: list[str] = []
    if len(own) < len(fault.patches):
        name = _file_name(_COMPOSITION)
        composed = _composition_with(_of_composition((fault,)))
        old, new = (text.splitlines(keepends=True) for text in (_text_of(_COMPOSITION), composed))
        found += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    if own or fault.wrap:
        where = [f"at {place.words} alone:\n" for place in net.places if place.suffix == fault.place]
        found += [*where, diff(replace(fault, patches=own), net.cell)]
    return "".join(found)


def patched_source(fault: Fault | None, part: str, cell: Cell = PLAIN) -> str:
    """Return the text of a part of the reference with a fault in it, or as it stands."""
    return _patched(part, tuple((fault.id, patch) for patch in fault.patches) if fault else (), cell)


def fits(fault: Fault, cell: Cell) -> bool:
    """Return whether a fault can be planted in a cell: what it changes stands there once, runs, and makes a difference.

    So a fault of one cell is another's wherever the two have the same lines.
    """
    if isinstance(cell, Network) and not any(patch.part == COMPOSITION for patch in fault.patches):
        return fits(fault, cell.cell)
    if not {*fault.needs} <= {*cell.inputs, *cell.cotangents}:
        return False
    patches = (*fault.patches, *getattr(fault.wrap, "patches", ()))
    if any(source(patch.part, cell).count(patch.old) != 1 for patch in patches):
        return False
    example = replace(Case.parse(fault.example), cell=cell)
    try:
        if fault.wrap:
            evaluate(fault, example.arrays)
            return True
        # Of what hangs on values a few are asked.
        differs = any(_differs(fault, replace(example, seed=example.seed + k)) for k in range(TRIED))
    except (KeyError, NameError, ValueError):
        return False  # it puts in what this cell has not
    return differs and runs_at_all_sizes(fault, cell)


def runs_at_all_sizes(fault: Fault, cell: Cell) -> bool:
    """Return whether what a fault puts in has the shapes that are due where no two sizes are equal, as most are.

    It is so in a cell of the plain one's sizes: there the catalogue's faults have been run.
    """
    if not cell.further:
        return True
    arrays = _all_different(cell).arrays
    try:
        values = evaluate(fault, arrays)
    except (KeyError, NameError, ValueError, IndexError, TypeError):
        return False
    return all(np.shape(values[name]) == cell.shape(name, *cell.sizes_of(arrays)) for name in cell.tensors)


@cache
def _all_different(cell: Cell) -> Case:
    """Return a case in which no two sizes are equal."""
    return Case.of(range(2, 2 + len(cell.letters)), cell=cell)


def _differs(fault: Fault, case: Case) -> bool:
    """Return whether a fault makes a difference on a case."""
    values, due = evaluate(fault, case.arrays), _due_on(case)
    return any(not np.array_equal(values[name], due[name], equal_nan=True) for name in due)


@lru_cache(maxsize=TRIED)
def _due_on(case: Case) -> dict[str, Any]:
    """Return what is due on a case; hundreds of faults are tried on the same few."""
    with np.errstate(all="ignore"):
        return evaluate_cell(case.arrays.cell, case.arrays)


@cache
def source(part: str, cell: Cell = PLAIN) -> str:
    """Return the text of a part of a cell's source: of its file, or of one function of it where that holds more.

    Of a network it is that of its cell, and the part that composes cells.
    """
    if isinstance(cell, Network):
        return _text_of(_COMPOSITION) if part == COMPOSITION else source(part, cell.cell)
    module, function = _home(part, cell)
    text = _text_of(module)
    if function is None or _modules(cell)[module] == (part,):
        return text
    return inspect.getsource(function)


def _home(part: str, cell: Cell) -> tuple[str, Any]:
    """Return the module that a part is in, and its function, None where it is no cell's own."""
    if part in _ACTIVATIONS:
        return _ACTIVATIONS[part], None
    function = function_of(part, cell)
    return function.__module__, function


def function_of(part: str, cell: Cell) -> Callable[..., Any]:
    """Return the function of a cell that a part ends in."""
    function: Callable[..., Any] = getattr(cell.cell if isinstance(cell, Network) else cell, _FUNCTIONS[part])
    return function


@cache
def _modules(cell: Cell) -> dict[str, tuple[str, ...]]:
    """Return the parts that are in each of a cell's modules."""
    found: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        if part == "other_activations" and not cell.activations:
            continue
        module, _ = _home(part, cell)
        found[module] = (*found.get(module, ()), part)
    return found


@cache
def _text_of(module: str) -> str:
    """Return the text of a module's file."""
    return Path(inspect.getfile(sys.modules[module])).read_text(encoding="utf-8")


@cache
def _file_name(module: str) -> str:
    """Return the path of a module's file from the folder that its package is in."""
    root = Path(inspect.getfile(lstm_ref)).parent.parent
    return Path(inspect.getfile(sys.modules[module])).relative_to(root).as_posix()


def _with_parts(text: str, parts: tuple[str, ...], texts: Mapping[str, str], cell: Cell) -> str:
    """Return the text of a module with its parts as in `texts`."""
    for part in parts:
        text = text.replace(source(part, cell), texts[part])
    return text


def _patched(part: str, patches: tuple[tuple[str, Patch], ...], cell: Cell) -> str:
    """Return the text of a part with those of the patches that are its own, each given with the id of its fault."""
    own = tuple(found for found in patches if found[1].part == part)
    return _with_patches(source(part, cell), _file_name(_home(part, cell)[0]), own)


def _with_patches(text: str, file: str, patches: tuple[tuple[str, Patch], ...]) -> str:
    """Return a text of a file with patches in it, each given with the id of its fault."""
    # All patches are looked for in the text as it stands, and put in from its end on, so that no one moves another. Two
    # of the same text are refused: what came of them would hang on their order.
    spans = []
    for owner, patch in patches:
        count = text.count(patch.old)
        if count != 1:
            raise ValueError(f"fault {owner}: {patch.old!r} occurs {count} times in {file}, expected once")
        start = text.index(patch.old)
        spans.append((start, start + len(patch.old), patch.new, owner))
    spans.sort()
    for (_, stop, _, one), (start, _, _, other) in pairwise(spans):
        if start < stop:
            raise ValueError(
                f"faults {one} and {other} change the same text of {file}, expected faults that can be planted together"
            )
    for start, stop, new, _ in reversed(spans):
        text = text[:start] + new + text[stop:]
    return text


@lru_cache(maxsize=4096)
def _compiled(file: str, text: str) -> CodeType:
    """Return the code of a file."""
    return compile(text, f"{file} (patched)", "exec")


def planted(faults: tuple[Fault, ...], cell: Cell = PLAIN) -> Cell:
    """Return a cell with what faults change in its source; of those that live between calls, the cell as it is."""
    if isinstance(cell, Network):
        return _planted_in_network(faults, cell)
    return _planted(tuple((fault.id, patch) for fault in faults for patch in fault.patches), cell)


_COMPOSITION = "lstm_ref.composition"
"""The module that makes cells a network."""


def _planted_in_network(faults: tuple[Fault, ...], net: Network) -> Network:
    """Return a network with faults in its cells, at the places at which they are, and in how they are composed."""
    others = {}
    for place in net.places:
        here = tuple(
            (fault.id, patch)
            for fault in faults
            if fault.place in ("", place.suffix)
            for patch in fault.patches
            if patch.part != COMPOSITION
        )
        others[place.suffix] = _planted(here, place.cell)
    composed = _of_composition(faults)
    passes = _passes_of(_composition_with(composed)) if composed else net.passes
    return replace(net, others=others, passes=passes)


def _of_composition(faults: tuple[Fault, ...]) -> tuple[tuple[str, Patch], ...]:
    """Return the patches to how cells are composed, each with the id of its fault."""
    return tuple((fault.id, patch) for fault in faults for patch in fault.patches if patch.part == COMPOSITION)


def _composition_with(patches: tuple[tuple[str, Patch], ...]) -> str:
    """Return the text of the module that composes cells with patches in it."""
    return _with_patches(_text_of(_COMPOSITION), _file_name(_COMPOSITION), patches)


@lru_cache(maxsize=4096)
def _passes_of(text: str) -> Passes:
    """Return the three passes of a text of the module that composes cells."""
    module = ModuleType(_COMPOSITION)
    exec(_compiled(_file_name(_COMPOSITION), text), vars(module))
    names = (function.__name__ for function in PASSES)
    forward, backward, gradients = (vars(module)[name] for name in names)
    return forward, backward, gradients


@cache
def _as_it_stands(cell: Cell) -> dict[str, ModuleType]:
    """Return a private copy of a cell's modules."""
    return _copied((), cell)


def _copied(patches: tuple[tuple[str, Patch], ...], cell: Cell) -> dict[str, ModuleType]:
    """Return a private copy of a cell's modules with the patches; of those without any, the one that all have.

    Nothing enters `sys.modules`.
    """
    modules: dict[str, ModuleType] = {}

    # The copies import one another through this, and never the modules that the rest of the process has.
    def import_patched(name: str, *args: Any, **kwargs: Any) -> Any:
        return modules[name] if name in modules else builtins.__import__(name, *args, **kwargs)

    changed = {patch.part for _, patch in patches}
    for name, parts in _modules(cell).items():
        if patches and not changed & {*parts, *_ACTIVATIONS}:  # all others import the activations
            modules[name] = _as_it_stands(cell)[name]
            continue
        texts = {part: _patched(part, patches, cell) for part in parts}
        module = ModuleType(name)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_patched}
        text = _with_parts(_text_of(name), parts, texts, cell)
        exec(_compiled(_file_name(name), text_with_slots(text, cell)), vars(module))
        # A cell with other activations is the source of the cell that it is written as, with names bound to others.
        if cell.activations and not {*parts} & {*_ACTIVATIONS}:
            vars(module).update(names_bound(cell.activations, modules))
        if cell.numbers and not {*parts} & {*_ACTIVATIONS}:
            vars(module).update(cell.numbers)
        modules[name] = module
    return modules


@lru_cache(maxsize=4096)
def _planted(patches: tuple[tuple[str, Patch], ...], cell: Cell) -> Cell:
    """Return the cell of a private copy of its modules, whose backward pass may ask for whatever was kept."""
    _refuse_unknown(patches)
    modules = _copied(patches, cell)
    homes = {name: _home(part, cell) for part, name in _FUNCTIONS.items()}
    functions = {name: getattr(modules[module], function.__name__) for name, (module, function) in homes.items()}
    return replace(cell, needed=None, **functions)


def _refuse_unknown(patches: tuple[tuple[str, Patch], ...]) -> None:
    """Raise for a patch to no part."""
    unknown = {patch.part for _, patch in patches} - set(PARTS)
    if unknown:
        raise ValueError(f"patch to {', '.join(sorted(unknown))}, expected one of {', '.join(PARTS)}")
