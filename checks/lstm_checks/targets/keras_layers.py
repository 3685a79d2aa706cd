"""Keras's layers as functions of their weights: made in a dtype, their variables by path, and their cell."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError, Library
from lstm_ref.cell import Cell

WHOLE = {"return_sequences": True, "return_state": True}


def library_of() -> tuple[Library, Callable[[], Any]]:
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
def _policy(dtype: Any) -> Iterator[None]:
    """Make layers of a dtype, or of a policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Layers:
    """The layers that `make(e, u)` makes; one serves all calls of equal sizes and dtype.

    Attributes
    ----------
    first : Layer
        That of the sizes `PROBE`.
    dtype : str
        The dtype of low precision that all its variables are in, or "float32".
    paths : list of list of str
        The paths of its variables that learn, and of those that do not. By place and not by path elsewhere: the names
        that Keras gives count the layers.
    """

    def __init__(self, make: Callable[[int, int], Any], name: str) -> None:
        self.library, self._outside = library_of()
        self._make = make
        self._layers: dict[Any, Any] = {}
        self._own_policy = keras.config.dtype_policy()
        try:
            self.first = self.built(*PROBE[2:], "float32")
        except Exception as error:
            raise AdapterError(f"{name} cannot be called on (m, s, e): {type(error).__name__}: {error}") from error
        self.paths = [[variable.path for variable in part] for part in _variables(self.first)]
        held = {variable.path: variable.dtype for part in _variables(self.first) for variable in part}
        self.dtype = common.held_in(name, {path: word for path, word in held.items() if "float" in word})

    def built(self, e: int, u: int, dtype: str) -> Any:
        """Return the layer of some sizes and dtype."""
        if (e, u, dtype) not in self._layers:
            # A policy of low precision is one that somebody has set, and stays.
            low = self._own_policy.compute_dtype in common.LOW
            with self._outside(), _policy(self._own_policy if low else dtype):
                layer = self._make(e, u)
                # Layers in it are built by a call alone.
                layer(np.zeros((1, 2, e), "float32" if dtype in common.LOW else dtype))
            self._layers[e, u, dtype] = layer
        return self._layers[e, u, dtype]

    def shapes(self, e: int = PROBE[2], u: int = PROBE[3], *, learning: bool = True) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the variables that learn, or of those that do not, by the paths of the first."""
        k = 0 if learning else 1
        variables = _variables(self.built(e, u, "float32"))[k]
        return {path: tuple(v.shape) for path, v in zip(self.paths[k], variables, strict=True)}

    def call(self, given: Mapping[str, Any], X: Any, u: int, *arguments: Any, **named: Any) -> Any:
        """Return what a call of the layer of these sizes gives with other weights."""
        layer = self.built(X.shape[-1], u, keras.backend.standardize_dtype(X.dtype))
        values = [
            [given.get(path, variable.value) for path, variable in zip(names, part, strict=True)]
            for names, part in zip(self.paths, _variables(layer), strict=True)
        ]
        return layer.stateless_call(*values, X, *arguments, **named)[0]


def refuse_low(layer: Any, name: str) -> None:
    """Raise if anything in a layer is held, or computed, in low precision."""
    for inner in layer._flatten_layers():
        common.refuse_low(
            name, {f"its {type(inner).__name__}": inner.compute_dtype, f"{inner.name}": inner.variable_dtype}
        )


def _variables(layer: Any) -> tuple[Any, Any]:
    """Return the variables of a layer that learn, and those that do not."""
    return layer.trainable_variables, layer.non_trainable_variables


CELLS = keras.layers.LSTMCell | keras.layers.GRUCell | keras.layers.SimpleRNNCell

# What Keras's own layers and cells are made with, and what it has to be for them to be the cells judged here.
_PLAIN = {"stateful": False, "dropout": 0, "recurrent_dropout": 0}


def cell_of(layer: Any, name: str) -> Cell:
    """Return the LSTM cell of a layer by its activations, raising where it is random.

    Its own layers within it are looked at; what else there is has what activations it likes, and is to be plain.
    """
    cells: set[Cell] = set()
    for inner in layer._flatten_layers():
        what = f"{name}: its {type(inner).__name__}"
        if isinstance(inner, keras.layers.LSTM | keras.layers.LSTMCell):
            activation = ("activation", inner.activation)
            gates = ("recurrent_activation", inner.recurrent_activation)
            cells.add(common.cell_with(name, f=gates, g=activation, h=activation))
        elif isinstance(inner, CELLS):
            common.refuse_activation(name, "activation", inner.activation, "tanh")
            if hasattr(inner, "recurrent_activation"):
                common.refuse_activation(name, "recurrent_activation", inner.recurrent_activation, "sigmoid")
        elif isinstance(inner, keras.layers.Dropout) and inner.rate:
            raise AdapterError(f"{what} has rate={inner.rate:g}, which is random and not judged: set it to 0")
        for option, due in _PLAIN.items():
            came = getattr(inner, option, due)
            if isinstance(inner, keras.layers.RNN | CELLS) and came != due:
                raise AdapterError(f"{what} has {option}={came}, expected {due}: that is not judged")
    return common.the_one_of(cells, name)
