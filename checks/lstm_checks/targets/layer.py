"""A layer class in EpyNN's form as a target: one instance a size serves all calls, so that what it keeps is seen."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.calling import describe_error
from lstm_checks.contract import (
    ANY_CELL,
    CN,
    DCN,
    DHN,
    EMPTY,
    INSTANCES,
    LAST,
    PLAIN,
    STRIDES,
    TRAINING,
    ContractError,
    Target,
    by_name,
    describe_value,
    expect_cell,
    not_interrupted,
    signature_in_words,
    undisturbed,
)
from lstm_checks.targets.function import (
    SMALL_SIZES,
    all_in_single,
    lengths_not_given,
    small_inputs,
    whole_sizes,
    with_dtypes,
    without_states,
)
from lstm_checks.targets.lacking import with_lacks
from lstm_checks.targets.ways import Asked, Packing, Part, Way, as_they_are, in_ways, with_threads
from lstm_ref.cell import Cell

FORM = "layer class"


def _probe_layer(call: Callable[..., Any], cell: Cell) -> tuple[set[str], str, tuple[str, ...]]:
    """Return which states a layer keeps nowhere, what it is called, and its dtypes, by the first call that works.

    Float32 is tried where every call in float64 raises. What goes wrong in all calls is for the examples to find.
    """
    refused = ""
    for dtype in ("float64", "float32"):
        for sizes in SMALL_SIZES:
            try:
                with undisturbed():
                    outputs, pullback = call(*small_inputs(sizes, dtype, cell))
                    every, final, *finals = cell.cotangents
                    shapes = [cell.shape(name, *whole_sizes(sizes, cell)) for name in (every, *finals, final)]
                    found = pullback(*(np.ones(shape, dtype) for shape in shapes))
            except BaseException as error:
                not_interrupted(error)
                refused = refused or describe_error(error)
                continue
            lacks = {CN} if any(value is None for value in outputs[1:]) else set()
            lacks |= {f"d{name}" for name in cell.initial if f"d{name}" not in found}
            in_single = all_in_single(outputs, found, cell) and dtype == "float64"
            return lacks, *with_dtypes(FORM, in_single, refused if dtype == "float32" else "")
    return set(), *with_dtypes(FORM, False, "")


def from_layer(layer_class: type[Any], name: str | None = None, cell: Cell = PLAIN) -> Target:
    """Return the target of a layer class in EpyNN's form.

    One instance serves all calls of equal u, dtype and `sequences`, so that state left over between calls is
    caught. Parameters are written through the arrays in `layer.p` where these have the right shape, so that
    a layer whose `p` are views into bigger arrays is judged as it is used.

    Parameters
    ----------
    layer_class : class
        ``layer_class(unit_cells=u, sequences=True)`` returns a layer with `compute_shapes(X)`,
        `initialize_parameters()`, `forward(X[, h0, C0])`, `backward(dA[, dhn, dCn])`, `compute_gradients()`
        and the dicts `p`, `fc` and `g`. `forward` without h0 and C0, `backward` without dCn, or no
        `bc['dh0']`, `bc['dC0']`: these are unsupported. One that raises in float64 and not in float32, or computes in
        float32 whatever comes, is judged in float32 alone.
    cell : Cell
        The equations that it is to follow.

    A layer with `update_parameters`, which takes a step with `lrate[e]` as EpyNN's does, is trained with it, too. A
    class attribute `thread_safe = True` says that objects of it may be called from several threads, each from one.
    """
    expect_cell(cell)
    name = name or str(getattr(layer_class, "__name__", repr(layer_class)))
    constructor, forward, backward = (_parameters(layer_class, m) for m in ("__init__", "forward", "backward"))
    lacks: set[str] = set()
    of_states = tuple(f"d{name}" for name in cell.initial)
    taken = [name for name in cell.initial if name in forward]
    no_states, told = without_states(taken, cell)
    lacks |= no_states
    _, *memories = cell.states
    finals = dict(zip(cell.finals.values(), memories, strict=True))
    lacks |= {DHN} if DHN not in backward else set()
    lacks |= {DCN} if not finals.keys() <= backward else set()
    if "sequences" not in constructor:
        lacks.add(LAST)
    optional = {way: _optional(layer_class, way) for way in ("forward", "backward")}
    layers: dict[tuple[int, str, bool, int], Any] = {}
    last: list[Any] = []

    def call(p: Mapping[str, Any], X: Any, *rest: Any, instance: int = 0) -> Any:
        states = dict(zip(cell.initial, rest, strict=False))
        sequences = rest[len(states)] if len(rest) > len(states) else True
        u, dtype = states[cell.initial[-1]].shape[-1], X.dtype
        key = (u, str(dtype), sequences, instance)
        if key not in layers:
            positional, options = _constructor_arguments(constructor, u, sequences, dtype)
            layers[key] = layer_class(*positional, **options)
            _lend_epynn_needs(layers[key])
        layer = layers[key]
        last[:] = [layer]
        layer.compute_shapes(X)
        _write_parameters(layer, p)
        # What is zero is left out where that may be, as users do: what a layer takes in its place is judged, too.
        given = {name: states[name] for name in taken}
        A = layer.forward(X, **_needed(given, optional["forward"]))
        fc = getattr(layer, "fc", {})
        kept = tuple(np.array(fc[k.kept_as][:, -1]) if k.kept_as in fc else None for k in memories)

        def pullback(dh: Any, *final: Any) -> dict[str, Any]:
            # As `by_name` hands them on: those of the memories, then that of the last hidden state.
            named = dict(zip((*finals, DHN), (*final, None), strict=False))
            states = {key: named[key] for key in (DHN, *finals) if key not in lacks and named[key] is not None}
            gradients = {"dX": layer.backward(dh, **_needed(states, optional["backward"]))}
            layer.compute_gradients()
            gradients |= {key: np.array(value) for key, value in _dict_of(layer, "g", "compute_gradients").items()}
            if taken:
                bc = getattr(layer, "bc", {})
                if not {*of_states} - lacks <= set(bc) and not _needed(given, optional["forward"]):
                    # It may keep no gradient of states that it was not given.
                    layer.forward(X, **given)
                    layer.backward(dh, **states)
                    bc = layer.bc
                gradients |= {key: np.array(bc[key]) for key in of_states if key in bc}
            return gradients

        return (A, *kept), pullback

    def caches() -> dict[str, Any]:
        return {k: v for layer in last for kept in ("fc", "bc") for k, v in (getattr(layer, kept, None) or {}).items()}

    lacking, kind, dtypes = _probe_layer(call, cell)
    notes = (*lengths_not_given(layer_class.forward), *told)
    lacks |= lacking

    def call_as(inputs: Mapping[str, Any], sequences: bool, how: Mapping[str, Any]) -> Any:
        # A layer keeps its last forward pass alone; two of its class are alive at once all the same.
        return by_name(partial(call, instance=how.get("instance", 0)), cell)(inputs, sequences)

    def trained(asked: Asked) -> list[Part]:
        # The layer whose forward pass has just been run takes the step itself, and goes on with what it holds then.
        (layer,) = last
        arguments = [asked.arrays["X"], *(asked.arrays[name] for name in cell.initial), asked.sequences]
        cotangents = [asked.given[name] for name in (cell.cotangents[0], *finals)] + [asked.given.get(DHN)]
        _, pullback = call({name: asked.arrays[name] for name in cell.parameters}, *arguments)
        pullback(*cotangents)
        layer.lrate, layer.e = [asked.how["rate"]], 0
        layer.update_parameters()
        held = {name: np.array(layer.p[name]) for name in cell.parameters}
        outputs, pullback = call(held, *arguments)
        return [Part("stepped: ", inputs=held), Part("after: ", outputs, pullback(*cotangents))]

    ways: dict[str, Way] = {TRAINING: trained} if hasattr(layer_class, "update_parameters") else {}
    target = Target(
        name,
        kind,
        by_name(call, cell),
        frozenset(lacks),
        dtypes,
        caches=caches,
        notes=notes,
        cell=cell,
        can=frozenset({INSTANCES, STRIDES, EMPTY, ANY_CELL, *ways}),
        optional=frozenset({DHN, *finals} & optional["backward"] - lacks),
        call_as=in_ways(cell, call_as, ways, Packing(as_they_are)),
    )
    return with_threads(with_lacks(target, getattr(layer_class, "unsupported", ())), layer_class)


def _constructor_arguments(
    constructor: set[str], u: int, sequences: bool, dtype: Any
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments with which a layer is made."""
    options = {"sequences": sequences, "dtype": dtype, "rng": 0, "unit_cells": u}
    positional = () if "unit_cells" in constructor else (u,)
    return positional, {name: value for name, value in options.items() if name in constructor}


def not_constructible(layer_class: type[Any]) -> str:
    """Return why a layer class cannot be called as `from_layer` will; empty if it can, or if nobody can tell."""
    positional, options = _constructor_arguments(_parameters(layer_class, "__init__"), 1, True, np.dtype("float64"))
    try:
        inspect.signature(layer_class).bind(*positional, **options)
    except TypeError as error:
        return f"{layer_class.__name__}{signature_in_words(layer_class)}, {error}"
    except ValueError:
        pass
    return ""


def _needed(given: dict[str, Any], optional: set[str]) -> dict[str, Any]:
    """Return the arguments, none if all are optional and zero."""
    if set(given) <= optional and not any(np.any(value) for value in given.values()):
        return {}
    return given


def _optional(layer_class: Any, method: str) -> set[str]:
    """Return the parameters of a method whose default is None."""
    try:
        parameters = inspect.signature(getattr(layer_class, method)).parameters
    except (AttributeError, TypeError, ValueError):
        return set()
    return {name for name, parameter in parameters.items() if parameter.default is None}


def _parameters(layer_class: Any, method: str) -> set[str]:
    """Return the names of the parameters that a method takes, those it hands on to its base classes included."""
    names: set[str] = set()
    for base in layer_class.__mro__:
        if method not in vars(base):
            continue
        try:
            parameters = inspect.signature(vars(base)[method]).parameters
        except (TypeError, ValueError):
            break
        names |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def _lend_epynn_needs(layer: Any) -> None:
    """Give a layer in EpyNN's form what its network would give it: hyperparameters and a random generator."""
    if not hasattr(layer, "rng"):
        layer.np_rng = np.random.default_rng(0)
    if getattr(layer, "se_hPars", None) is None:
        layer.se_hPars = {}


def _write_parameters(layer: Any, p: Mapping[str, Any]) -> None:
    """Write the parameters into the layer's own arrays; `initialize_parameters` makes those that are not there."""
    own: Any = getattr(layer, "p", None) or {}
    if not all(np.shape(own.get(name)) == value.shape for name, value in p.items()):
        layer.initialize_parameters()
        own = _dict_of(layer, "p", "initialize_parameters")
    for name, value in p.items():
        there = own.get(name)
        if isinstance(there, np.ndarray) and there.shape == value.shape and there.dtype == value.dtype:
            there[...] = value
        else:
            own[name] = value.copy()


def _dict_of(layer: Any, name: str, after: str) -> Any:
    """Return one of a layer's dicts, or say that it has none."""
    found = getattr(layer, name, None)
    if not isinstance(found, Mapping):
        held = {"p": "the parameters Uf Vf bf ... bo", "g": "their gradients dUf dVf dbf ... dbo"}[name]
        raise ContractError(f"layer.{name} is {describe_value(found)} after {after}(), expected a dict of {held}")
    return found
