"""A function in the vjp form as a target: how it is called, and what it lacks, found out by a few small calls."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstm_checks.calling import describe_error
from lstm_checks.contract import (
    ANY_CELL,
    CHANGE,
    CN,
    DCN,
    DHN,
    EMPTY,
    FORWARDS,
    KEEPS,
    LAST,
    PLAIN,
    SEVERAL,
    STATES,
    STRIDES,
    TWICE,
    ContractError,
    Target,
    by_name,
    describe_value,
    expect_cell,
    not_interrupted,
    output_form,
    signature_in_words,
    undisturbed,
    unpack,
)
from lstm_checks.targets.lacking import with_lacks
from lstm_checks.targets.ways import Asked, Packing, Part, Way, as_they_are, in_ways, with_threads
from lstm_checks.words import series
from lstm_ref.cell import Cell, sharing
from lstm_ref.cells import cell_named

FORM = "function in the vjp form"


def _takes(cell: Cell) -> dict[int, str]:
    """Return what a function in the vjp form may take, by the number of its arguments: "(p, X, h0, C0)" and fewer."""
    counts = range(len(cell.initial), -1, -1)
    return {2 + count: f"({', '.join(('p', 'X', *cell.initial[:count]))})" for count in counts}


def states_taken(function: Callable[..., Any], taken: int, cell: Cell = PLAIN) -> tuple[str, ...]:
    """Return the initial states that a function of so many arguments takes: the first ones, unless it names others."""
    count = taken - 2
    if 0 < count < len(cell.initial):
        named = [name.lower() for name in list(inspect.signature(function).parameters)[2:taken]]
        by_name = [name for name in cell.initial if {name.lower(), name[:-1].lower()} & set(named)]
        if len(by_name) == count:
            return tuple(by_name)
    return cell.initial[:count]


def of_arguments(
    function: Callable[..., Any], taken: int, cell: Cell = PLAIN
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return what a function of so many arguments lacks, and what is to be said of that."""
    return without_states(states_taken(function, taken, cell), cell)


def without_states(given: Collection[str], cell: Cell = PLAIN) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return what a target lacks that takes some of the initial states, and what is to be said of that."""
    missing = [name for name in cell.initial if name not in given]
    gradients = {f"d{name}" for name in missing}
    if not given or not missing:
        return frozenset(gradients | ({STATES} if missing else set())), ()
    told = f"it takes {series([*given])} and no {series(missing, 'or')}, zero in all examples"
    return frozenset(gradients.union(missing)), (told,)


def from_function(function: Callable[..., Any], name: str | None = None, cell: Cell = PLAIN) -> Target:
    """Return the target of a function in the vjp form.

    Parameters
    ----------
    function : callable
        ``(h, Cn), pullback = function(p, X, h0, C0)`` and ``gradients = pullback(dh, dCn)``, with `p` the cell's
        parameters by name, h (m, s, u), Cn (m, u), and gradients named dUf ... dbo, dX, dh0, dC0. It may take
        only `(p, X)`, `(p, X, h0)` or `(p, X, C0)`, return None for Cn or for a gradient, or have a pullback of `dh`
        alone or one that returns an empty dict: what is lacking is reported as unsupported. The decorator
        `lstm_checks.lacks` says the same. The biases and their gradients may be (u,) in place of (1, u).
    cell : Cell
        The equations that it is to follow, and with them the names of what it takes and returns: of one that has no
        memory ``h, pullback = function(p, X, h0)``, or ``(h,), pullback``, and ``pullback(dh)``.

    A cotangent whose default is None, as in ``pullback(dh, dCn=None)``, is also left out where it is zero. With an
    attribute ``function.keeps_parameters = True`` the pullback is to be of the parameters as they were at the call,
    whatever is written into their arrays since.

    An attribute ``function.pushforward`` is forward mode, in the form of a rule of `jax.custom_jvp`:
    ``(h, Cn), (th, tCn) = pushforward(primals, tangents)``, both tuples of what the function takes, the tangents of p a
    mapping by the parameters' names. An attribute ``function.hessian_vector_product`` is second order:
    ``derivatives = function.hessian_vector_product(primals, tangents, cotangents)`` with the same two and the tuple of
    what the pullback takes: the derivative of each gradient along the tangents, under that gradient's name.
    ``function.thread_safe = True`` says that several threads may call it at once.

    Raises
    ------
    TypeError
        When `function` cannot be called with two, three or four arguments, or `cell` is no Cell.
    ValueError
        "'h1', expected some of h0, C0, ...": what `function.unsupported` says is no word of `lacking.known_words`.
    """
    expect_cell(cell)
    name = name or str(getattr(function, "__name__", repr(function)))
    taken = arguments_of(function, cell)
    if not taken:
        raise TypeError(expected_form(function, name, cell))
    seen = _look_at(function, taken, cell)
    cell = _sharing(function, taken, cell, seen)
    ways = _ways_of(function, taken, seen, cell)
    not_taken, notes = of_arguments(function, taken, cell)
    lacks = {DHN, LAST, *not_taken, *seen.lacks}
    kind, dtypes = with_dtypes(FORM, seen.single, seen.refuses_double)
    call = by_name(_called(function, taken, seen.flat, cell), cell)
    notes = (*notes, *lengths_not_given(function))
    can = {SEVERAL, CHANGE, STRIDES, EMPTY, ANY_CELL, *ways}
    can |= {KEEPS} if getattr(function, "keeps_parameters", False) else set()
    target = Target(
        name,
        kind,
        call,
        frozenset(lacks),
        dtypes,
        seen.twins,
        notes=notes,
        cell=cell,
        can=frozenset(can),
        optional=seen.absent - lacks,
        call_as=in_ways(cell, lambda inputs, sequences, how: call(inputs, sequences), ways, Packing(as_they_are)),
    )
    return with_threads(with_lacks(target, getattr(function, "unsupported", ())), function)


def _ways_of(function: Callable[..., Any], taken: int, seen: "_Seen", cell: Cell) -> dict[str, Way]:
    """Return the ways in which a function is differentiated besides by its pullback: what its author has written."""
    pushforward: Any = getattr(function, "pushforward", None)
    product: Any = getattr(function, "hessian_vector_product", None)
    names = states_taken(function, taken, cell)

    def argument(arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        p = {name: np.array(arrays[name]) for name in cell.parameters}
        return _flattened(p, cell) if seen.flat else p, *(np.array(arrays[name]) for name in ("X", *names))

    def forwards(asked: Asked) -> Sequence[Part]:
        result = pushforward(argument(asked.arrays), argument(asked.direction))
        form = f"expected ({output_form(cell)}, the tangents in the same form)"
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ContractError(f"the pushforward returned {describe_value(result)}, {form}")
        several = [part if isinstance(part, tuple | list) else (part,) for part in result]
        if any(len(part) != len(cell.outputs) for part in several):
            raise ContractError(f"the pushforward returned {describe_value(several[1])} as tangents, {form}")
        found, moved = several
        return [Part("t", moved), Part("again ", found)]

    def twice(asked: Asked) -> Sequence[Part]:
        arriving = asked.cotangents[:1] if DCN in seen.lacks else asked.cotangents
        cotangents = tuple(np.array(value) for value in arriving)
        found = product(argument(asked.arrays), argument(asked.direction), cotangents)
        if not isinstance(found, Mapping):
            form = "expected the derivative of each gradient under its name: {'dUf': ..., ...}"
            raise ContractError(f"hessian_vector_product returned {describe_value(found)}, {form}")
        return [Part("d", gradients=_with_rows(found, asked.arrays[cell.initial[-1]].shape[-1], cell))]

    ways = {FORWARDS[0]: (pushforward, forwards), TWICE[-1]: (product, twice)}
    return {word: way for word, (written, way) in ways.items() if written is not None}


def with_dtypes(kind: str, single: bool, refuses_double: str) -> tuple[str, tuple[str, ...]]:
    """Return the kind of a target with what is to be said of its dtypes, and these."""
    if single:
        return f"{kind}, in float32 whatever comes", ("float32",)
    if refuses_double:
        return f"{kind}, float32 alone: in float64 it raised {refuses_double}", ("float32",)
    return kind, ("float64", "float32")


def expected_form(function: Callable[..., Any], name: str, cell: Cell = PLAIN) -> str:
    """Return what a function takes and what one in the vjp form may take, in a sentence."""
    *others, last = _takes(cell).values()
    return f"{name} takes {signature_in_words(function)}, expected {', '.join(others)} or {last}"


def arguments_of(function: Callable[..., Any], cell: Cell = PLAIN) -> int:
    """Return with how many arguments a function in the vjp form is called; 0 if with none of these numbers."""
    return next((count for count in _takes(cell) if _accepts(function, count)), 0)


_OF_LENGTHS = re.compile(r"len|mask")


def lengths_not_given(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return that arguments for the lengths of samples or for masks, if a call takes some, are not given."""
    try:
        names = [name for name in inspect.signature(function).parameters if _OF_LENGTHS.search(name)]
    except (TypeError, ValueError):
        return ()
    return (f"{' and '.join(names)} not given: lengths and masks are not judged",) if names else ()


_OF_STATES = re.compile(r"^(?!return).*(state|carry|init|hid|hx|mem)|^[hc]_?0?$")


def states_by_name(function: Callable[..., Any], count: int) -> tuple[str, ...]:
    """Return by which names a call takes so many states, where those after X are for lengths or a mask; else none.

    Raises
    ------
    TypeError
        Where states would be taken for lengths or for a mask, as a framework's layer takes whatever it is given.
    """
    try:
        _, *names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()
    if not any(_OF_LENGTHS.search(name) for name in names[:count]):
        return ()
    found = tuple(filter(_OF_STATES.search, names))
    if len(found) < count:
        raise TypeError(f"it takes {signature_in_words(function)}, and no states")
    return found[:count]


def called_with(function: Callable[..., Any], X: Any, *states: Any) -> Any:
    """Return what a call of X and the states returns, no argument for lengths or a mask being given a state."""
    names = states_by_name(function, len(states))
    return function(X, **dict(zip(names, states, strict=True))) if names else function(X, *states)


def _called(function: Callable[..., Any], taken: int, flat: bool, cell: Cell = PLAIN) -> Callable[..., Any]:
    """Return the `call` of a function that takes so many arguments, and biases (u,) where they are `flat`."""
    names = states_taken(function, taken, cell)

    def call(p: Mapping[str, Any], X: Any, *rest: Any) -> Any:
        states = dict(zip(cell.initial, rest, strict=False))  # and then whether every step is asked for
        given = (states[name] for name in names)
        outputs, pullback = unpack(function(_flattened(p, cell) if flat else p, X, *given), cell)

        def pull(dh: Any, *others: Any) -> Any:
            finals = others[: len(cell.finals)]  # and then the last hidden state's, which is in dh
            taken = finals if _accepts(pullback, 1 + len(finals)) else ()
            return _with_rows(pullback(dh, *taken), states[cell.initial[-1]].shape[-1], cell)

        return outputs, pull

    return call


def _rows(cell: Cell) -> tuple[str, ...]:
    """Return the parameters of a cell that are a number a unit: its biases, and peepholes."""
    return tuple(name for name, axes in cell.parameters.items() if axes == "1u")


def _flattened(p: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """Return parameters with those (u,) that are (1, u)."""
    return {**p, **{name: p[name].reshape(-1) for name in _rows(cell)}}


def _with_rows(gradients: Any, u: int, cell: Cell) -> Any:
    """Return gradients that are (1, u) where they should be and came as (u,)."""
    if not isinstance(gradients, Mapping):
        return gradients
    names = [f"d{name}" for name in _rows(cell) if getattr(gradients.get(f"d{name}"), "shape", None) == (u,)]
    return {**gradients, **{name: gradients[name].reshape(1, -1) for name in names}} if names else gradients


@dataclass(frozen=True)
class _Seen:
    """What calls of a function show: what it lacks, its second biases' gradients, flat biases, and its dtype.

    `refuses_double` is what it raised in float64, where it computes in float32 alone.
    """

    lacks: frozenset[str] = frozenset()
    twins: Mapping[str, str] = field(default_factory=dict)
    flat: bool = False
    single: bool = False
    refuses_double: str = ""
    absent: frozenset[str] = frozenset()


# The smallest problem with a recurrence; and sizes that all differ, none of them 1, since there are functions that
# break where a size is 1, or where two are equal; once with a number of units that whole vectors fit.
SMALL_SIZES = ((1, 2, 1, 1), (2, 3, 4, 5), (3, 2, 5, 8))


def _look_at(function: Callable[..., Any], taken: int, cell: Cell) -> _Seen:
    """Return what the first call that raises nothing shows; what goes wrong in all is for the examples to find.

    Biases (u,) are tried where (1, u) does not work, and float32 where every call in float64 raises: what raises in
    float64 alone computes in float32.
    """
    refused = ""
    for dtype in ("float64", "float32"):
        for flat in (False, True):
            for sizes in SMALL_SIZES:
                try:
                    seen = _see(function, taken, flat, sizes, dtype, cell)
                except Exception as error:
                    refused = refused or describe_error(error)
                    continue
                except BaseException as error:
                    not_interrupted(error)
                    return _Seen()
                return replace(seen, refuses_double=refused if dtype == "float32" else "")
    return _Seen()


def _sharing(function: Callable[..., Any], taken: int, cell: Cell, seen: _Seen) -> Cell:
    """Return the cell, of which the initial states are shared if a function takes them for one sample alone.

    One that takes them for each sample and returns the gradient of one is no such function, but wrong.
    """
    states = [name for name in states_taken(function, taken, cell) if f"d{name}" not in seen.lacks]
    if cell.shared or not states:
        return cell
    shared, dtype = sharing(cell, states), "float32" if seen.single or seen.refuses_double else "float64"
    for tried in (cell, shared):
        try:
            gradients = _asked(function, taken, seen.flat, dtype, tried)
            shapes = [getattr(gradients.get(f"d{name}"), "shape", ()) for name in states]
        except BaseException as error:
            not_interrupted(error)
            continue
        return cell_named(shared.name) if tried is shared and all(shape[:1] == (1,) for shape in shapes) else cell
    return cell


def _asked(function: Callable[..., Any], taken: int, flat: bool, dtype: str, cell: Cell) -> Any:
    """Return the gradients that a small call of several samples gives."""
    p, X, *states = small_inputs(SMALL_SIZES[1], dtype, cell)
    every, _, *finals = cell.cotangents
    sizes = whole_sizes(SMALL_SIZES[1], cell)
    given = [np.ones(cell.shape(name, *sizes), dtype) for name in (every, *finals)]
    with undisturbed():
        _, pullback = _called(function, taken, flat, cell)(p, X, *states)
        return pullback(*given)


def _see(
    function: Callable[..., Any],
    taken: int,
    flat: bool,
    sizes: tuple[int, int, int, int],
    dtype: str,
    cell: Cell,
) -> _Seen:
    """Return what one small call shows."""
    p, X, *states = small_inputs(sizes, dtype, cell)
    named = dict(zip(cell.initial, states, strict=True))
    others = [X, *(named[name] for name in states_taken(function, taken, cell))]
    every, _, *finals = cell.cotangents
    apart = {name: np.ones(cell.shape(name, *whole_sizes(sizes, cell)), dtype) for name in (every, *finals)}
    with undisturbed():
        outputs, pullback = unpack(function(_flattened(p, cell) if flat else p, *others), cell)
        both = _accepts(pullback, len(apart))
        gradients = pullback(*apart.values()) if both else pullback(apart[every])
    lacks = {CN, DCN} if any(value is None for value in outputs[1:]) else set()
    lacks |= set() if both else {DCN}
    # Nothing at all comes of a function that goes forward only.
    lacks |= {name for name in cell.gradients if not len(gradients) or (name in gradients and gradients[name] is None)}
    twins = {n: n[:3] for n in map(str, gradients) if n[:3] in cell.gradients and n[1:2] == "b" and n[3:7] == " of "}
    # Asked in either dtype: what is no dict of gradients is wrong in both.
    single = all_in_single(tuple(outputs), gradients, cell) and dtype == "float64"
    return _Seen(frozenset(lacks), twins, flat, single, absent=_may_be_absent(pullback, cell))


def all_in_single(outputs: tuple[Any, ...], gradients: Mapping[str, Any], cell: Cell) -> bool:
    """Return whether all that came is in float32: one tensor alone is an error of what computes in float64."""
    found = (*outputs, *(gradients.get(name) for name in cell.gradients))
    came = [getattr(value, "dtype", np.float32) for value in found]
    return hasattr(outputs[0], "dtype") and all(kind == np.float32 for kind in came)


def _may_be_absent(pullback: Callable[..., Any], cell: Cell) -> frozenset[str]:
    """Return the cotangents that a pullback may be called without: those whose default is None."""
    try:
        parameters = [*inspect.signature(pullback).parameters.values()]
    except (TypeError, ValueError):
        return frozenset()
    taken = (cell.cotangents[0], *cell.finals.values())
    return frozenset(name for name, own in zip(taken, parameters, strict=False) if own.default is None)


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Return whether `function` can be called with `count` positional arguments (True where nobody can tell)."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def returns_pullback(function: Callable[..., Any], cell: Cell = PLAIN) -> bool:
    """Return whether a function is seen to be in the vjp form, by a small call."""
    taken = arguments_of(function, cell)
    for dtype in ("float64", "float32"):
        for flat in (False, True):
            for sizes in SMALL_SIZES:
                try:
                    with undisturbed():
                        _called(function, taken, flat, cell)(*small_inputs(sizes, dtype, cell))
                except BaseException as error:
                    not_interrupted(error)
                    continue
                return True
    return False


def whole_sizes(sizes: tuple[int, ...], cell: Cell) -> tuple[int, ...]:
    """Return (m, s, e, u) with the sizes that only the cell has: other ones than these, less than u where that can be.

    Examples
    --------
    >>> from lstm_ref.cells import CELLS
    >>> whole_sizes((2, 3, 5, 7), CELLS["projected"])
    (2, 3, 5, 7, 4)
    """
    found = list(sizes)
    for _ in cell.further:
        free = [n for n in range(2, max(found) + 2) if n not in found] if max(found) > 2 else [1]
        found.append(min(free))
    return tuple(found)


def small_inputs(
    sizes: tuple[int, int, int, int] = SMALL_SIZES[0], dtype: str = "float64", cell: Cell = PLAIN
) -> tuple[Any, ...]:
    """Return p, X and the initial states of a small problem, to see what a target can do."""
    shapes = cell.input_shapes(*whole_sizes(sizes, cell))
    arrays = {name: np.full(shape, 0.25, dtype) for name, shape in shapes.items()}
    return {name: arrays[name] for name in cell.parameters}, arrays["X"], *(arrays[name] for name in cell.initial)
