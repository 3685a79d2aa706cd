"""The layer inside a model that is judged in its place: "model.py:Net[encoder.lstm]", or the option --layer.

The model is made as little as that takes, the layer is found by its path, and what is judged is another of its kind, of
any sizes: what makes it the layer that it is are its class and its options, which an adapter takes over.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from lstm_checks.calling import describe_error
from lstm_checks.contract import signature_in_words, undisturbed
from lstm_checks.targets.adapters import Adapter, in_use
from lstm_checks.targets.common import PROBE, AdapterError, alone_of, make_module

_SPEC = re.compile(r"(.+:[^\[\]]+)\[([\w.]+)\]")


def with_layer(spec: str, layer: str) -> str:
    """Return the name of a target that is a layer inside another: "model.py:Net[encoder.lstm]"."""
    return f"{spec}[{layer}]"


def parted(spec: str) -> tuple[str, str]:
    """Return the target of a name and the path of the layer inside it, which is mostly empty.

    Examples
    --------
    >>> parted("model.py:Net[encoder.lstm]")
    ('model.py:Net', 'encoder.lstm')
    >>> parted("model.py:Net")
    ('model.py:Net', '')
    """
    found = _SPEC.fullmatch(spec)
    return (found[1], found[2]) if found else (spec, "")


def layer_in(found: Any, path: str, name: str) -> Any:
    """Return something that an adapter recognizes, which makes layers of the kind that stands in a model.

    Parameters
    ----------
    found : object
        The model, its class, or a function that makes one.
    path : str
        Where in it the layer is, "encoder.lstm" or "layers.0".
    name : str
        What the user called the model.

    Raises
    ------
    AdapterError
        "model.py:Net has no layer 'encoder.lst'; did you mean 'encoder.lstm'?", and the like.
    """
    model, adapter = _model_of(found, name)
    layers = dict(adapter.ask("layers_in", model))
    if path not in layers:
        near = difflib.get_close_matches(path, layers, n=1)
        listed = ", ".join(layers) or "none"
        hint = f"; did you mean {near[0]!r}?" if near else f", expected one of {listed}"
        raise AdapterError(f"{name} has no recurrent layer {path!r}{hint}")
    if inspect.isroutine(layers[path]):
        # One that is made so, and is another than the one inside, says so now.
        make_module(layers[path], with_layer(name, path))
    return layers[path]


def judged_alone(found: Any, name: str) -> str:
    """Return which layers inside something `--layer` judges, in words; nothing where it is no model with any."""
    try:
        model, adapter = _model_of(found, name)
        paths = [path for path, _ in adapter.ask("layers_in", model) if path]
    except Exception:
        return ""
    return alone_of(paths) if paths else ""


def _model_of(found: Any, name: str) -> tuple[Any, Adapter]:
    """Return a model and the adapter that knows it, made with no arguments or with sizes where it has to be made."""
    said, made_one = "", False
    adapters = _with_layers()
    for made in _tried(found):
        try:
            with undisturbed():
                model = made()
        except Exception as error:
            said = said or describe_error(error)
            continue
        made_one |= model is not found
        for adapter in adapters:
            if adapter.ask("is_module", model):
                return model, adapter
    cannot = said and not made_one
    reason = f"it cannot be made without arguments: {said}" if cannot else "makes no model of a framework in use"
    raise AdapterError(
        f"{name} takes {signature_in_words(found) if callable(found) else 'nothing'}, and {reason}; expected a model, "
        "or a function () that makes one"
    )


def _tried(found: Any) -> Iterator[Callable[[], Any]]:
    """Yield ways to a model: what is there, what a call makes, and what one with sizes makes."""
    yield lambda: found
    if not callable(found) or (not inspect.isclass(found) and not inspect.isroutine(found)):
        return
    for arguments in ((), PROBE[2:], PROBE[3:]):
        for adapter in _with_layers():
            yield lambda arguments=arguments, adapter=adapter: found(  # type: ignore[misc]
                *arguments, **adapter.ask("seeds_for", found)
            )


def _with_layers() -> list[Adapter]:
    """Return the adapters in use that know of layers inside models."""
    return [adapter for adapter in in_use("objects") if adapter.inside]
