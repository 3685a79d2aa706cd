"""Keras 3 as a target: its own `keras.layers.LSTM`, and anybody's layer or cell, on PyTorch or on JAX.

Many of `keras.ops` compute in float32 whatever comes (keras-team/keras#23704): layers of them are judged in float32.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from checks.adapters import common
from checks.adapters.common import NO_STATES, AdapterError, Form, Library
from checks.contract import Target

_WHOLE = {"return_sequences": True, "return_state": True}


def framework_target() -> Target:
    """Return the target of `keras.layers.LSTM`."""
    return _from_layer(lambda e, u: keras.layers.LSTM(u, **_WHOLE), f"keras {keras.__version__}", "keras.layers.LSTM")


def recognize(found: Any, name: str) -> Target | None:
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
    own = is_class and issubclass(found, keras.layers.LSTM)
    keywords = _WHOLE if own else common.keywords_of(found, _WHOLE)

    def make(e: int, u: int) -> Any:
        layer = found(u, **keywords)
        # A cell takes one step; Keras's own loop makes a layer of it.
        is_cell = hasattr(layer, "state_size") and not isinstance(layer, keras.layers.RNN)
        return keras.layers.RNN(layer, **_WHOLE) if is_cell else layer

    layer = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(layer, keras.layers.Layer):
        return None
    # The loop itself is Keras's, unless the user has one of his own.
    inner = layer.cell if type(layer) is keras.layers.RNN else layer
    return _from_layer(make, name, f"Keras {'layer' if inner is layer else 'cell'} {type(inner).__name__}")


def _library() -> tuple[Library, Callable[[], Any]]:
    """Return what differentiates Keras's backend, and a context in which layers are made."""
    backend = keras.backend.backend()
    if backend == "torch":
        from checks.adapters.torch import Autograd

        return Autograd(), contextlib.nullcontext
    if backend == "jax":
        import jax

        from checks.adapters.jax import VJP

        # Made outside of any trace, so that what a layer holds are numbers.
        return VJP(), jax.ensure_compile_time_eval
    raise AdapterError(f"Keras runs on {backend} here, expected torch or jax: set KERAS_BACKEND to one of them")


@contextlib.contextmanager
def _policy(dtype: str) -> Iterator[None]:
    """Make layers of a dtype."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _from_layer(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of the layers that `make(e, u)` makes; one serves all calls of equal sizes and dtype."""
    library, outside = _library()
    layers: dict[Any, Any] = {}

    def built(e: int, u: int, dtype: str) -> Any:
        if (e, u, dtype) not in layers:
            with outside(), _policy(dtype):
                layer = make(e, u)
                # Layers in it are built by a call alone.
                layer(np.zeros((1, 2, e), dtype))
            layers[e, u, dtype] = layer
        return layers[e, u, dtype]

    try:
        first = built(*common.PROBE[2:], "float32")
    except Exception as error:
        raise AdapterError(f"{name} cannot be called on (m, s, e): {type(error).__name__}: {error}") from error
    paths = [variable.path for variable in first.trainable_variables]
    shapes = {path: tuple(v.shape) for path, v in zip(paths, first.trainable_variables, strict=True)}

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any, **named_states: Any) -> Any:
        layer = built(X.shape[-1], u, keras.backend.standardize_dtype(X.dtype))
        others = [variable.value for variable in layer.non_trainable_variables]
        # By place and not by path: the names that Keras gives count the layers.
        values = [given[path] for path in paths]
        return layer.stateless_call(values, others, X, *states, **named_states)[0]

    forms = [
        Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], initial_state=[h0, C0])),
        Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], (h0, C0))),
        Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1]), NO_STATES),
    ]
    weights = common.layout_of(shapes, name)
    return common.target_of(name, f"{kind} on {keras.backend.backend()}", weights, forms, library, demotes=True)
