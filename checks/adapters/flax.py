"""Flax as a target: its own `flax.nnx.OptimizedLSTMCell`, and anybody's nnx cell."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
from flax import nnx

from checks.adapters import common
from checks.adapters.common import NO_STATES, Form
from checks.adapters.jax import VJP, name_of, scan_cell
from checks.contract import Target


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


def _from_module(make: Any, name: str, kind: str) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes."""
    _, first = nnx.split(common.make_module(make, name), nnx.Param, ...)[:2]
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(first))
    weights = common.layout_of({name_of(path): leaf.shape for path, leaf in leaves}, name)
    modules: dict[Any, Any] = {}

    def filled(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        key = X.shape[-1], h0.shape[-1]
        if key not in modules:
            # Made outside of any trace, so that what it holds are numbers.
            with jax.ensure_compile_time_eval():
                modules[key] = nnx.split(make(*key), nnx.Param, ...)
        graph, parameters, rest = modules[key]
        values = jax.tree_util.tree_map_with_path(lambda path, _: given[name_of(path)], nnx.to_pure_dict(parameters))
        state = jax.tree.map(lambda leaf: leaf, parameters)
        nnx.replace_by_pure_dict(state, values)
        return nnx.merge(graph, state, rest)

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
    return common.target_of(name, kind, weights, forms, VJP())
