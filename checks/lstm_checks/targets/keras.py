"""Keras 3 as a target: its own `keras.layers.LSTM`, and anybody's layer or cell, on PyTorch or on JAX.

Many of `keras.ops` compute in float32 whatever comes (keras-team/keras#23704): layers of them are judged in float32.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras

from lstm_checks.contract import PLAIN, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, Form
from lstm_checks.targets.keras_layers import WHOLE, Layers, cell_of
from lstm_checks.targets.keras_networks import (
    framework_network,
    holder_of,
    is_module,
    layers_in,
    network_target,
    seeds_for,
)
from lstm_checks.targets.one_state import NO_STATE, OneStateForm, kept_in, one_state_target
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
    """Return the target of `keras.layers.LSTM`."""
    return _from_layer(lambda e, u: keras.layers.LSTM(u, **WHOLE), f"keras {keras.__version__}", "keras.layers.LSTM")


def recognize(found: Any, name: str, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a class of layers or cells, or of a function that makes them; None for anything else.

    Raises
    ------
    AdapterError
        When it is a layer that cannot be judged.
    """
    if isinstance(found, keras.layers.Layer):
        raise common.of_fixed_sizes(found, name, "units")
    is_class = isinstance(found, type)
    if is_class and not issubclass(found, keras.layers.Layer):
        return None
    own = is_class and issubclass(found, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN)
    keywords = WHOLE if own else common.keywords_of(found, WHOLE)

    def make(e: int, u: int) -> Any:
        layer = found(u, **keywords)
        # A cell takes one step; Keras's own loop makes a layer of it.
        is_cell = hasattr(layer, "state_size") and not isinstance(layer, keras.layers.RNN)
        return keras.layers.RNN(layer, **WHOLE) if is_cell else layer

    layer = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(layer, keras.layers.Layer):
        return None
    # The loop itself is Keras's, unless the user has one of his own.
    inner = layer.cell if type(layer) is keras.layers.RNN else layer
    return _from_layer(make, name, f"Keras {'layer' if inner is layer else 'cell'} {type(inner).__name__}")


def _from_layer(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of the layers that `make(e, u)` makes; one serves all calls of equal sizes and dtype."""
    layers = Layers(make, name)
    first, library = layers.first, layers.library
    cell = cell_of(first, name)
    trained, others = layers.shapes(), layers.shapes(learning=False)
    kept = kept_in(trained, name)
    if kept is not None:
        return _of_one_state(replace(kept, held=layers.dtype), name, kind, layers)
    besides = {path: (shape, "it is not trainable") for path, shape in others.items()}
    weights = common.weights_of(trained, name, besides, at_sizes=layers.shapes)
    weights = replace(weights, recurrence=cell, held=layers.dtype)

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any, **named_states: Any) -> Any:
        still = {path: keras.ops.stop_gradient(value) for path, value in given.items() if path in weights.frozen}
        return layers.call({**given, **still}, X, u, *states, **named_states)

    forms = [Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1]), NO_STATES)]
    taken = [*inspect.signature(first.call).parameters]
    # A Sequential would take the states for whether it is in training, or take no notice of them.
    if taken[1:2] not in (["training"], ["mask"], []):
        forms.insert(0, Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], (h0, C0))))
    if "initial_state" in taken:
        forms.insert(0, Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], initial_state=[h0, C0])))
    takes = common.call_in_words(first.call, "(X), (X, (h0, C0)) or (X, initial_state=[h0, C0])")
    kind = f"{kind} on {keras.backend.backend()}"
    notes = common.lengths_not_given(first.call)
    holder = holder_of(first, weights.prefix)
    return common.target_of(name, kind, weights, forms, library, demotes=True, takes=takes, notes=notes, holder=holder)


def _of_one_state(kept: Kept, name: str, kind: str, layers: Layers) -> Target:
    """Return the target of layers with the weights of a GRU or an RNN."""
    first, library, call = layers.first, layers.library, layers.call
    forms = [OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1]), NO_STATE)]
    taken = [*inspect.signature(first.call).parameters]
    if taken[1:2] not in (["training"], ["mask"], []):
        forms.insert(0, OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1], h0)))
    if "initial_state" in taken:
        forms.insert(0, OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1], initial_state=[h0])))
    takes = common.call_in_words(first.call, "(X), (X, h0) or (X, initial_state=[h0])")
    kind = f"{kind} on {keras.backend.backend()}"
    notes = common.lengths_not_given(first.call)
    return one_state_target(name, kind, kept, forms, library, takes, demotes=True, notes=notes)
