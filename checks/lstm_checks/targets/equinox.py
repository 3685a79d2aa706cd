"""Equinox as a target: its own `equinox.nn.LSTMCell`, and anybody's cell."""

from collections.abc import Mapping
from typing import Any

import equinox
import jax

from lstm_checks.contract import Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, Form
from lstm_checks.targets.jax import VJP, like, name_of, scan_cell


def framework_target() -> Target:
    """Return the target of `equinox.nn.LSTMCell`."""
    return _from_module(
        lambda e, u: equinox.nn.LSTMCell(e, u, key=jax.random.key(0)),
        f"equinox {equinox.__version__}",
        "equinox.nn.LSTMCell",
    )


def recognize(found: Any, name: str) -> Target | None:
    """Return the target of a module's class, or of a function that makes modules; None for anything else.

    Raises
    ------
    AdapterError
        When it is a module that cannot be judged.
    """
    if isinstance(found, equinox.Module) and not isinstance(found, type) and _weights(found):
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
    return _from_module(make, name, f"Equinox module {type(module).__name__}")


def _weights(module: Any) -> dict[str, Any]:
    """Return the arrays of a module by name."""
    leaves = jax.tree_util.tree_leaves_with_path(equinox.filter(module, equinox.is_inexact_array))
    return {name_of(path): leaf for path, leaf in leaves}


def _fields(module: Any, before: str = "") -> list[tuple[str, Any]]:
    """Return everything that a module and the modules in it hold, static fields too, by name."""
    found: list[tuple[str, Any]] = []
    for name, value in vars(module).items():
        inner = isinstance(value, equinox.Module)
        found += _fields(value, f"{before}{name}.") if inner else [(before + name, value)]
    return found


def _weights_of(module: Any, name: str, still: list[str], shapes: Any) -> common.Weights:
    """Return what a module's weights are; where biases lack, static fields that may be them are named."""
    told = f"; {' and '.join(still)} is static and does not learn: make it an array" if still else ""
    try:
        found = common.weights_of({k: v.shape for k, v in _weights(module).items()}, name, at_sizes=shapes)
    except common.AdapterError as error:
        raise common.AdapterError(f"{error}{told}") from error
    if told and found.absent():
        raise common.AdapterError(f"{name} is one LSTM, but it has no biases{told}")
    return found


def _from_module(make: Any, name: str, kind: str) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes."""
    first = common.make_module(make, name)
    common.refuse_low(name, {key: value.dtype for key, value in _weights(first).items()})

    def shapes(e: int, u: int) -> dict[str, tuple[int, ...]]:
        return {key: value.shape for key, value in _weights(make(e, u)).items()}

    still = [key for key, value in _fields(first) if equinox.is_inexact_array(value) and key not in _weights(first)]
    weights = _weights_of(first, name, still, shapes)
    modules: dict[Any, Any] = {}

    def filled(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        key = X.shape[-1], h0.shape[-1]
        if key not in modules:
            # Made outside of any trace, so that what it holds are numbers.
            with jax.ensure_compile_time_eval():
                modules[key] = make(*key)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: given.get(name_of(path), like(leaf, X)), modules[key]
        )

    def cell(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        # One sample at a time, as Equinox has it.
        step = jax.vmap(lambda x, h, C: filled(given, X, h0)(x, (h, C)))
        return scan_cell(step, X, h0, C0)

    def with_states(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return jax.vmap(lambda x, h, C: common.outputs(filled(given, X, h0)(x, (h, C))))(X, h0, C0)

    def without(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        return jax.vmap(lambda x: common.outputs(filled(given, X, h0)(x)))(X)

    forms = [Form(cell), Form(with_states), Form(without, NO_STATES)]
    takes = common.call_in_words(first.__call__, "(x, (h, C)) of one step, or (X, (h0, C0)) or (X) of all")
    return common.target_of(
        name, kind, weights, forms, VJP(), takes=takes, notes=common.lengths_not_given(first.__call__)
    )
