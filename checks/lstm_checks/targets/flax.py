"""Flax as a target: its own `flax.nnx.OptimizedLSTMCell`, and anybody's nnx cell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax
import jax
from flax import nnx

from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, Form
from lstm_checks.targets.flax_modules import (
    Modules,
    cell_of,
    framework_network,
    is_module,
    layers_in,
    network_target,
    seeds_for,
)
from lstm_checks.targets.function import called_with
from lstm_checks.targets.jax import VJP, scan_cell, scan_one
from lstm_checks.targets.one_state import NO_STATE, OneStateForm, Untold, kept_or_untold, one_state_target
from lstm_checks.weights.recurrent import Kept
from lstm_ref.cell import Cell

__all__ = [
    "framework_network",
    "framework_target",
    "is_module",
    "layers_in",
    "network_target",
    "recognize",
    "seeds_for",
]


def framework_target() -> Target:
    """Return the target of `flax.nnx.OptimizedLSTMCell`."""
    return _from_module(
        lambda e, u: nnx.OptimizedLSTMCell(e, u, rngs=nnx.Rngs(0)),
        f"flax {flax.__version__}",
        "flax.nnx.OptimizedLSTMCell",
    )


def recognize(found: Any, name: str, cell: Cell = PLAIN) -> Target | None:
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
    return _from_module(make, name, f"Flax nnx module {type(module).__name__}", cell)


def _from_module(make: Any, name: str, kind: str, asked: Cell = PLAIN) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes."""
    modules = Modules(make, name)
    module, shapes = modules.first, modules.shapes()
    its_cell = cell_of(module, name)
    kept = kept_or_untold(shapes, name, asked)
    if kept is not None and not modules.held:
        return _of_one_state(modules, name, kind, replace(kept, held=modules.dtype))
    besides = {key: (leaf.shape, "no nnx.Param") for key, leaf in modules.held.items()}
    weights = common.weights_of(shapes, name, besides, at_sizes=modules.at_sizes)
    weights = replace(weights, recurrence=its_cell, held=modules.dtype)

    def filled(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        still = {key: jax.lax.stop_gradient(value) if key in weights.frozen else value for key, value in given.items()}
        return modules.filled(still, X, h0.shape[-1])

    def cell(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        def step(x: Any, h: Any, C: Any) -> Any:
            # Flax keeps (C, h).
            (C, h), _ = filled(given, X, h0)((C, h), x)
            return h, C

        return scan_cell(step, X, h0, C0)

    def with_states(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return called_with(filled(given, X, h0), X, (h0, C0))

    def without(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return filled(given, X, h0)(X)

    forms = [Form(cell), Form(with_states), Form(without, NO_STATES)]
    takes = common.call_in_words(module.__call__, "((C, h), x) of one step, or (X, (h0, C0)) or (X) of all")
    return common.target_of(
        name, kind, weights, forms, VJP(), takes=takes, notes=common.lengths_not_given(module.__call__)
    )


def _of_one_state(modules: Modules, name: str, kind: str, kept: Kept | Untold) -> Target:
    """Return the target of modules with the weights of a GRU or an RNN."""

    def cell(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        module = modules.filled(given, X, h0.shape[-1])
        return scan_one(lambda x, h: module(h, x)[0], X, h0)

    def whole(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        return called_with(modules.filled(given, X, h0.shape[-1]), X, h0)

    def without(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        return modules.filled(given, X, h0.shape[-1])(X)

    forms = [OneStateForm(cell), OneStateForm(whole), OneStateForm(without, NO_STATE)]
    takes = common.call_in_words(modules.first.__call__, "(h, x) of one step, or (X, h0) or (X) of all")
    notes = common.lengths_not_given(modules.first.__call__)
    return one_state_target(name, kind, kept, forms, VJP(), takes, notes=notes)
