"""Equinox as a target: its own `equinox.nn.LSTMCell`, and anybody's cell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import equinox
import jax

from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, Form
from lstm_checks.targets.equinox_modules import (
    Modules,
    fields_of,
    framework_network,
    is_module,
    layers_in,
    network_target,
    seeds_for,
    weights_in,
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
    """Return the target of `equinox.nn.LSTMCell`."""
    return _from_module(
        lambda e, u: equinox.nn.LSTMCell(e, u, key=jax.random.key(0)),
        f"equinox {equinox.__version__}",
        "equinox.nn.LSTMCell",
    )


def recognize(found: Any, name: str, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a module's class, or of a function that makes modules; None for anything else.

    Raises
    ------
    AdapterError
        When it is a module that cannot be judged.
    """
    if isinstance(found, equinox.Module) and not isinstance(found, type) and weights_in(found):
        raise common.of_fixed_sizes(found, name, "input_size, hidden_size, key")
    is_class = isinstance(found, type)
    if is_class and not issubclass(found, equinox.Module):
        return None
    keywords = common.keywords_of(found, {"key": jax.random.key(0)})

    def make(e: int, u: int) -> Any:
        return found(e, u, **keywords)

    module = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(module, equinox.Module):
        return None
    return _from_module(make, name, f"Equinox module {type(module).__name__}", cell)


def _weights_of(module: Any, name: str, still: list[str], shapes: Any) -> common.Weights:
    """Return what a module's weights are; where biases lack, static fields that may be them are named."""
    told = f"; {' and '.join(still)} is static and does not learn: make it an array" if still else ""
    try:
        found = common.weights_of({k: v.shape for k, v in weights_in(module).items()}, name, at_sizes=shapes)
    except common.AdapterError as error:
        raise common.AdapterError(f"{error}{told}") from error
    if told and found.absent():
        raise common.AdapterError(f"{name} is one LSTM, but it has no biases{told}")
    return found


def _from_module(make: Any, name: str, kind: str, asked: Cell = PLAIN) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes."""
    modules = Modules(make, name)
    first, shapes = modules.first, modules.shapes()
    kept = kept_or_untold(shapes, name, asked)
    if kept is not None:
        return _of_one_state(modules, name, kind, replace(kept, held=modules.dtype))
    still = [key for key, value in fields_of(first) if equinox.is_inexact_array(value) and key not in shapes]
    weights = replace(_weights_of(first, name, still, modules.at_sizes), held=modules.dtype)

    def filled(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        return modules.filled(given, X, h0.shape[-1])

    def cell(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        # One sample at a time, as Equinox has it.
        step = jax.vmap(lambda x, h, C: filled(given, X, h0)(x, (h, C)))
        return scan_cell(step, X, h0, C0)

    def with_states(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return jax.vmap(lambda x, h, C: common.outputs(called_with(filled(given, X, h0), x, (h, C))))(X, h0, C0)

    def without(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return jax.vmap(lambda x: common.outputs(filled(given, X, h0)(x)))(X)

    forms = [Form(cell), Form(with_states), Form(without, NO_STATES)]
    takes = common.call_in_words(first.__call__, "(x, (h, C)) of one step, or (X, (h0, C0)) or (X) of all")
    return common.target_of(
        name, kind, weights, forms, VJP(), takes=takes, notes=common.lengths_not_given(first.__call__)
    )


def _of_one_state(modules: Modules, name: str, kind: str, kept: Kept | Untold) -> Target:
    """Return the target of modules with the weights of a GRU, or of a plain RNN."""

    def cell(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        module = modules.filled(given, X, h0.shape[-1])
        # One sample at a time, as Equinox has it.
        return scan_one(jax.vmap(lambda x, h: module(x, h)), X, h0)

    def whole(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        return jax.vmap(lambda x, h: called_with(modules.filled(given, X, h0.shape[-1]), x, h))(X, h0)

    def without(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        return jax.vmap(lambda x: modules.filled(given, X, h0.shape[-1])(x))(X)

    forms = [OneStateForm(cell), OneStateForm(whole), OneStateForm(without, NO_STATE)]
    takes = common.call_in_words(modules.first.__call__, "(x, h) of one step, or (X, h0) or (X) of all")
    notes = common.lengths_not_given(modules.first.__call__)
    return one_state_target(name, kind, kept, forms, VJP(), takes, notes=notes)
