"""The frameworks whose LSTMs are judged: a row each, which is all that the rest of the harness knows of them.

A framework is one file here and one row of `ADAPTERS`. Nothing imports the file, and with it the framework, before
somebody names the framework or has imported it.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lstm_checks.targets.common import AdapterError
from lstm_ref.cell import Cell


def _choose_keras_backend() -> None:
    """Let Keras, should anybody import it, run on what is here: it would ask for TensorFlow, which is not supported."""
    if "KERAS_BACKEND" in os.environ or "keras" in sys.modules or importlib.util.find_spec("keras") is None:
        return
    os.environ["KERAS_BACKEND"] = "torch" if importlib.util.find_spec("torch") is not None else "jax"


@dataclass(frozen=True)
class Adapter:
    """How a framework's LSTMs become targets.

    Attributes
    ----------
    name : str
        What one types, the name that the framework is imported by, and its file here.
    packages : str
        What pip installs for it, by their own names: lstm-checks itself is on no index, of which its extras could be
        had.
    title : str
        What its name stands for, the framework's own LSTM; empty where it has none. The file then has
        ``framework_target()``.
    objects : bool
        Whether classes, objects, and functions that make them are recognised: by ``recognize(found, name, cell)``,
        which returns a Target, or None where they are somebody else's.
    functions : bool
        Whether functions of the framework's arrays are: by ``function_target(function, name, taken, cell)``, and of a
        network by ``network_function(function, name, net)``, likewise.
    networks : bool
        Whether its networks of several layers and directions are: by ``framework_network(net)`` for its own, and by
        ``network_target(found, name, cell)`` likewise.
    inside : bool
        Whether a layer inside one of its models can be named: by ``is_module(found)``; ``seeds_for(found)``, the
        keywords of what is random in a model's making; and ``layers_in(model)``, the recurrent layers by their paths,
        each as something that is recognized.
    suffix : str
        How the name of a model's file ends; empty where there is none. The file then has ``file_target(path)``.
    runs_on : str
        The distribution whose version its results hang on, where that is not `name`.
    cells : tuple of str
        Of which cells its own LSTM is: ``framework_target(cell)`` takes them where there are more than the plain one.
    activations : bool
        Whether it takes them with other activations, too.
    prepare : callable
        Called before any module of a user's is imported.
    """

    name: str
    packages: str
    title: str = ""
    objects: bool = False
    functions: bool = False
    networks: bool = False
    inside: bool = False
    suffix: str = ""
    runs_on: str = ""
    cells: tuple[str, ...] = ("plain",)
    activations: bool = False
    prepare: Callable[[], None] = lambda: None

    def has(self, cell: Cell) -> bool:
        """Return whether its own LSTM can be of a cell."""
        name, options, _ = cell.name.partition(",")
        return name in self.cells and (not options or self.activations)

    def ask(self, function: str, *arguments: Any) -> Any:
        """Return what a function of the adapter's file returns.

        Raises
        ------
        AdapterError
            "target 'onnx' needs onnxruntime, which is not here: pip install onnx onnxruntime"; or the file's own.
        """
        try:
            adapter = importlib.import_module(f"lstm_checks.targets.{self.name}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "lstm_checks":
                raise
            missing = error.name.partition(".")[0]
            raise AdapterError(
                f"target {self.name!r} needs {missing}, which is not here: pip install {self.packages}"
            ) from None
        return getattr(adapter, function)(*arguments)


ADAPTERS = (
    Adapter(
        "torch",
        "torch",
        "torch.nn.LSTM",
        objects=True,
        functions=True,
        networks=True,
        inside=True,
        cells=("plain", "projected"),
    ),
    Adapter("jax", "jax", functions=True),
    Adapter("flax", "flax jax", "flax.nnx.OptimizedLSTMCell", objects=True, networks=True, inside=True),
    Adapter("equinox", "equinox jax", "equinox.nn.LSTMCell", objects=True, networks=True, inside=True),
    Adapter(
        "haiku",
        "dm-haiku jax",
        "haiku.LSTM",
        objects=True,
        networks=True,
        cells=("plain", "gru", "rnn"),
        activations=True,
    ),
    Adapter(
        "keras",
        "keras jax",
        "keras.layers.LSTM",
        objects=True,
        networks=True,
        inside=True,
        prepare=_choose_keras_backend,
    ),
    Adapter(
        "onnx",
        "onnx onnxruntime",
        "ONNX Runtime's LSTM, forward only",
        networks=True,
        suffix=".onnx",
        runs_on="onnxruntime",
        cells=("plain", "coupled", "peephole", "gru", "gru_reset_after", "rnn"),
        activations=True,
    ),
)
"""In the order in which they are listed. What somebody wrote is offered to the last one first: to Keras before PyTorch,
of whose modules Keras's layers may be, and to JAX before it."""

FRAMEWORKS = {adapter.name: adapter for adapter in ADAPTERS if adapter.title}
"""Those that can be named by themselves."""

SUFFIXES = tuple(adapter.suffix for adapter in ADAPTERS if adapter.suffix)


def of_file(spec: str) -> Adapter | None:
    """Return the adapter whose models' files are named so."""
    return next((adapter for adapter in ADAPTERS if adapter.suffix and spec.endswith(adapter.suffix)), None)


def in_use(what: str) -> Iterator[Adapter]:
    """Yield the adapters for "objects" or "functions" whose frameworks somebody has imported."""
    for adapter in reversed(ADAPTERS):
        if getattr(adapter, what) and adapter.name in sys.modules:
            yield adapter
