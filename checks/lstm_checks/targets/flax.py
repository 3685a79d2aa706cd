"""Flax as a target: its own `flax.nnx.OptimizedLSTMCell`, and anybody's nnx cell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax
import jax
from flax import nnx

from lstm_checks.contract import Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, Form
from lstm_checks.targets.jax import VJP, like, name_of, scan_cell
from lstm_ref.cell import Cell


def framework_target() -> Target:
    """Return the target of `flax.nnx.OptimizedLSTMCell`."""
    return _from_module(
        lambda e, u: nnx.OptimizedLSTMCell(e, u, rngs=nnx.Rngs(0)),
        f"flax {flax.__version__}",
        "flax.nnx.OptimizedLSTMCell",
    )


def recognize(found: Any, name: str) -> Target | None:
    """Return the target of a module's class, or of a function that makes modules; None for anything else.

    Raises
    ------
    AdapterError
        When it is a module that cannot be judged.
    """
    if isinstance(found, nnx.Module):
        raise common.of_fixed_sizes(found, name, "in_features, hidden_features, rngs")
    is_class = isinstance(found, type)
    if is_class and not issubclass(found, nnx.Module):
        return None

    def make(e: int, u: int) -> Any:
        return found(e, u, **common.keywords_of(found, {"rngs": nnx.Rngs(0)}))

    module = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(module, nnx.Module):
        return None
    return _from_module(make, name, f"Flax nnx module {type(module).__name__}")


def _pure(state: Any) -> Any:
    """Return the arrays of a state, nested as it is."""
    return nnx.to_pure_dict(state)


def _named(state: Any) -> dict[str, Any]:
    """Return the arrays of a state by name."""
    leaves = jax.tree_util.tree_leaves_with_path(_pure(state))
    return {name_of(path): leaf for path, leaf in leaves if hasattr(leaf, "dtype")}


def _cell_of(module: Any, name: str) -> Cell:
    """Return the cell by the activations of Flax's own in a module; plain where there is none."""
    cells: set[Cell] = set()
    for _, inner in nnx.iter_graph(module):
        if isinstance(inner, nnx.LSTMCell | nnx.OptimizedLSTMCell):
            activation = ("activation_fn", inner.activation_fn)
            cells.add(common.cell_with(name, f=("gate_fn", inner.gate_fn), g=activation, h=activation))
    return common.the_one_of(cells, name)


def _from_module(make: Any, name: str, kind: str) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes."""
    module = common.make_module(make, name)
    its_cell = _cell_of(module, name)
    parts: Any = nnx.split(module, nnx.Param, ...)
    first, others = parts[1:]
    held = {key: leaf for key, leaf in _named(others).items() if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)}
    common.refuse_low(name, {key: leaf.dtype for key, leaf in (_named(first) | held).items()})

    def shapes(e: int, u: int) -> dict[str, tuple[int, ...]]:
        return {key: leaf.shape for key, leaf in _named(nnx.split(make(e, u), nnx.Param, ...)[1]).items()}

    besides = {key: (leaf.shape, "no nnx.Param") for key, leaf in held.items()}
    weights = common.weights_of({k: leaf.shape for k, leaf in _named(first).items()}, name, besides, at_sizes=shapes)
    weights = replace(weights, recurrence=its_cell)
    modules: dict[Any, Any] = {}

    def filled(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        key = X.shape[-1], h0.shape[-1]
        if key not in modules:
            # Made outside of any trace, so that what it holds are numbers.
            with jax.ensure_compile_time_eval():
                modules[key] = nnx.split(make(*key), nnx.Param, ...)
        graph, parameters, rest = modules[key]
        still = {key: jax.lax.stop_gradient(value) if key in weights.frozen else value for key, value in given.items()}

        def state(own: Any) -> Any:
            put = jax.tree_util.tree_map_with_path(
                lambda path, leaf: still.get(name_of(path), like(leaf, X)), _pure(own)
            )
            new = jax.tree.map(lambda leaf: leaf, own)
            nnx.replace_by_pure_dict(new, put)
            return new

        return nnx.merge(graph, state(parameters), state(rest))

    def cell(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        def step(x: Any, h: Any, C: Any) -> Any:
            # Flax keeps (C, h).
            (C, h), _ = filled(given, X, h0)((C, h), x)
            return h, C

        return scan_cell(step, X, h0, C0)

    def with_states(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return filled(given, X, h0)(X, (h0, C0))

    def without(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return filled(given, X, h0)(X)

    forms = [Form(cell), Form(with_states), Form(without, NO_STATES)]
    takes = common.call_in_words(module.__call__, "((C, h), x) of one step, or (X, (h0, C0)) or (X) of all")
    return common.target_of(
        name, kind, weights, forms, VJP(), takes=takes, notes=common.lengths_not_given(module.__call__)
    )
