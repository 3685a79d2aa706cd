"""Keras 3 as a target: its own `keras.layers.LSTM`, and anybody's layer or cell, on PyTorch or on JAX.

Many of `keras.ops` compute in float32 whatever comes (keras-team/keras#23704): layers of them are judged in float32.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lstm_checks.contract import Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, AdapterError, Form, Library
from lstm_checks.targets.one_state import NO_STATE, OneStateForm, kept_in, one_state_target
from lstm_checks.weights.recurrent import Kept
from lstm_ref.cell import Cell

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
    own = is_class and issubclass(found, keras.layers.LSTM | keras.layers.GRU | keras.layers.SimpleRNN)
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
        from lstm_checks.targets.torch_autograd import Autograd

        return Autograd(), contextlib.nullcontext
    if backend == "jax":
        import jax

        from lstm_checks.targets.jax import VJP

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


def _variables(layer: Any) -> tuple[Any, Any]:
    """Return the variables of a layer that learn, and those that do not."""
    return layer.trainable_variables, layer.non_trainable_variables


_CELLS = keras.layers.LSTMCell | keras.layers.GRUCell | keras.layers.SimpleRNNCell

# What Keras's own layers and cells are made with, and what it has to be for them to be the cells judged here.
_PLAIN = {"go_backwards": False, "stateful": False, "dropout": 0, "recurrent_dropout": 0}


def _cell_of(layer: Any, name: str) -> Cell:
    """Return the cell of a layer by its activations, raising where it is of low precision, or is more than an LSTM.

    Its own layers within it are looked at; what else there is has what activations it likes, and is to be plain.
    """
    cells: set[Cell] = set()
    for inner in layer._flatten_layers():
        what = f"{name}: its {type(inner).__name__}"
        common.refuse_low(
            name, {f"its {type(inner).__name__}": inner.compute_dtype, f"{inner.name}": inner.variable_dtype}
        )
        if isinstance(inner, keras.layers.Bidirectional):
            raise AdapterError(f"{name} has two directions, expected one")
        if isinstance(inner, keras.layers.Masking):
            raise AdapterError(f"{name} masks steps, which is not judged; expected a layer without Masking")
        if isinstance(inner, keras.layers.LSTM | keras.layers.LSTMCell):
            activation = ("activation", inner.activation)
            gates = ("recurrent_activation", inner.recurrent_activation)
            cells.add(common.cell_with(name, f=gates, g=activation, h=activation))
        elif isinstance(inner, _CELLS):
            common.refuse_activation(name, "activation", inner.activation, "tanh")
            if hasattr(inner, "recurrent_activation"):
                common.refuse_activation(name, "recurrent_activation", inner.recurrent_activation, "sigmoid")
        for option, due in _PLAIN.items():
            came = getattr(inner, option, due)
            if isinstance(inner, keras.layers.RNN | _CELLS) and came != due:
                raise AdapterError(f"{what} has {option}={came}, expected {due}: that is not judged")
    return common.the_one_of(cells, name)


def _from_layer(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of the layers that `make(e, u)` makes; one serves all calls of equal sizes and dtype."""
    library, outside = _library()
    common.refuse_low(name, {"the dtype policy of keras.config": keras.config.dtype_policy().compute_dtype})
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
    cell = _cell_of(first, name)
    # By place and not by path from here on: the names that Keras gives count the layers.
    paths = [[variable.path for variable in part] for part in _variables(first)]
    trained, others = (
        {p: tuple(v.shape) for p, v in zip(*pair, strict=True)} for pair in zip(paths, _variables(first), strict=True)
    )

    def at_sizes(e: int, u: int) -> dict[str, tuple[int, ...]]:
        learning, _ = _variables(built(e, u, "float32"))
        return {path: tuple(v.shape) for path, v in zip(paths[0], learning, strict=True)}

    kept = kept_in(trained, name)
    if kept is not None:
        return _of_one_state(kept, name, kind, built, paths, library)
    besides = {path: (shape, "it is not trainable") for path, shape in others.items()}
    weights = replace(common.weights_of(trained, name, besides, at_sizes=at_sizes), recurrence=cell)

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any, **named_states: Any) -> Any:
        layer = built(X.shape[-1], u, keras.backend.standardize_dtype(X.dtype))
        still = {path: keras.ops.stop_gradient(value) for path, value in given.items() if path in weights.frozen}
        values = [
            [{**given, **still}.get(path, variable.value) for path, variable in zip(names, part, strict=True)]
            for names, part in zip(paths, _variables(layer), strict=True)
        ]
        return layer.stateless_call(*values, X, *states, **named_states)[0]

    forms = [Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1]), NO_STATES)]
    taken = [*inspect.signature(first.call).parameters]
    # A Sequential would take the states for whether it is in training, or take no notice of them.
    if taken[1:2] not in (["training"], ["mask"], []):
        forms.insert(0, Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], (h0, C0))))
    if "initial_state" in taken:
        forms.insert(0, Form(lambda given, X, h0, C0: call(given, X, h0.shape[-1], initial_state=[h0, C0])))
    takes = common.call_in_words(first.call, "(X), (X, (h0, C0)) or (X, initial_state=[h0, C0])")
    kind = f"{kind} on {keras.backend.backend()}"
    return common.target_of(name, kind, weights, forms, library, demotes=True, takes=takes)


def _of_one_state(
    kept: Kept, name: str, kind: str, built: Callable[[int, int, str], Any], paths: list[list[str]], library: Library
) -> Target:
    """Return the target of layers with the weights of a GRU or an RNN, `paths` those of what learns and of the rest."""
    first = built(*common.PROBE[2:], "float32")

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any, **named_states: Any) -> Any:
        layer = built(X.shape[-1], u, keras.backend.standardize_dtype(X.dtype))
        values = [
            [given.get(path, variable.value) for path, variable in zip(names, part, strict=True)]
            for names, part in zip(paths, _variables(layer), strict=True)
        ]
        return layer.stateless_call(*values, X, *states, **named_states)[0]

    forms = [OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1]), NO_STATE)]
    taken = [*inspect.signature(first.call).parameters]
    if taken[1:2] not in (["training"], ["mask"], []):
        forms.insert(0, OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1], h0)))
    if "initial_state" in taken:
        forms.insert(0, OneStateForm(lambda given, X, h0: call(given, X, h0.shape[-1], initial_state=[h0])))
    takes = common.call_in_words(first.call, "(X), (X, h0) or (X, initial_state=[h0])")
    kind = f"{kind} on {keras.backend.backend()}"
    return one_state_target(name, kind, kept, forms, library, takes, demotes=True)
