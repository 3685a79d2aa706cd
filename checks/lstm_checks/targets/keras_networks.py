"""Keras's stacks as targets: several recurrent layers, Bidirectional, go_backwards, and masks.

Which layers there are, and which of them run in reverse, is read from the layers themselves. A padded batch goes in
with a mask; so half of these batches have their steps among masked ones, which are as good as not there. A Masking
layer in a model looks for a value that is put where steps are masked.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import PLAIN, Target, signature_in_words
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError
from lstm_checks.targets.keras_layers import WHOLE, Layers, cell_of, refuse_low
from lstm_checks.targets.stacks import StackForm, first_that_fits, list_of_finals, stack_target
from lstm_checks.weights.layouts import LAYOUTS, Layout, without_biases
from lstm_checks.weights.recurrent import LAYOUTS as OTHERS
from lstm_checks.weights.recurrent import Kept
from lstm_checks.weights.stacked import Stacked, StackError, as_stacks, find_places
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS
from lstm_ref.network import REVERSE, Network

MASKED = -987.25
"""What a Masking layer is told to look for: exact in every dtype, and not to be met in X."""

HOLES = "padded batches go in with a mask, half of them with masked steps among a sample's own, too"


class Chain(keras.layers.Layer):
    """Layers over one another, as a network has them, of which the states come and go place by place."""

    def __init__(self, parts: list[Any], count: int) -> None:
        super().__init__()
        self.parts, self.count = parts, count

    def call(self, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        """Return the last layer's output, and the final states of all."""
        final: list[Any] = []
        for k, part in enumerate(self.parts):
            own = None if initial_state is None else initial_state[k * self.count : (k + 1) * self.count]
            x, *states = part(x, initial_state=own, mask=mask)
            final += states
        return [x, *final]


def framework_network(net: Network) -> Target:
    """Return the target of Keras's own layers, with a network's layers and directions.

    Raises
    ------
    AdapterError
        "Keras has no layers of the cell peephole, expected plain, gru, gru_reset_after or rnn".
    """
    own: dict[Cell, Callable[[int], Any]] = {
        PLAIN: lambda u: keras.layers.LSTM(u, **WHOLE),
        CELLS["gru"]: lambda u: keras.layers.GRU(u, reset_after=False, **WHOLE),
        CELLS["gru_reset_after"]: lambda u: keras.layers.GRU(u, **WHOLE),
        CELLS["rnn"]: lambda u: keras.layers.SimpleRNN(u, **WHOLE),
    }
    if net.cell not in own:
        named = [cell.name for cell in own]
        raise AdapterError(f"Keras has no layers of the cell {net.cell.name}, expected {', '.join(named)}")
    if net.directions == (REVERSE,):
        # Keras's go_backwards alone hands its output on in the order in which it takes the steps.
        raise AdapterError("Keras's go_backwards does not turn its output back, expected both, sum or forward")

    def make(e: int, u: int) -> Any:
        both = len(net.directions) > 1
        layers = [own[net.cell](u) for _ in range(net.layers)]
        layers = [keras.layers.Bidirectional(one, merge_mode=net.join) for one in layers] if both else layers
        return Chain(layers, len(net.by_layer[0]) * len(net.places[0].states))

    target = _target_of(make, f"keras {keras.__version__}", f"stack of Keras's {own[net.cell](1).__class__.__name__}")
    assert target is not None
    return target


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return the target of a layer or model of several recurrent layers, directions, or with masks; None for others.

    Raises
    ------
    AdapterError
        Where it is such a one and cannot be judged.
    """
    is_class = isinstance(found, type)
    if isinstance(found, keras.layers.Layer) or not callable(found):
        return None
    if is_class and (not issubclass(found, keras.layers.Layer) or found.__module__.startswith("keras.")):
        return None

    def make(e: int, u: int) -> Any:
        return found(u, **common.keywords_of(found, WHOLE))

    layer = common.attempt(make, *PROBE[2:])
    if not isinstance(layer, keras.layers.Layer) or not _is_network(layer, isinstance(cell, Network)):
        return None
    return _target_of(make, name, f"Keras layer {type(layer).__name__}")


def is_module(found: Any) -> bool:
    """Return whether something is a layer or a model."""
    return isinstance(found, keras.layers.Layer)


def seeds_for(found: Any) -> dict[str, Any]:
    """Return the keywords of what is random in a model's making: Keras has one seed for all."""
    return {}


def layers_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the recurrent layers in a model by their names, each as something that makes others of its kind."""
    for name, part in named_parts(model):
        yield name, partial(_like, part)


def named_parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the recurrent layers in a model, by the names that they have where it is the first that is made.

    Keras counts the layers of a class that have no names of their own, "lstm", "lstm_1", over all models.
    """
    counts: Counter[str] = Counter()
    for part, _ in _parts(model):
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(part).__name__).lower()
        if re.fullmatch(rf"{kind}(_\d+)?", part.name):
            yield f"{kind}_{counts[kind]}" if counts[kind] else kind, part
            counts[kind] += 1
        else:
            yield part.name, part


def holder_of(model: Any, prefix: str) -> str:
    """Return the name of the recurrent layer whose variables' paths begin so, "" where there is none or it is it."""
    found = [
        name
        for name, part in named_parts(model)
        if part is not model and any(v.path.startswith(prefix) for v in part.trainable_variables)
    ]
    return found[0] if len(found) == 1 else ""


def _like(part: Any, units: int) -> Any:
    """Return a layer of a kind with other units, which gives all its steps and states."""
    config = part.get_config()
    inner = config["layer"]["config"] if isinstance(part, keras.layers.Bidirectional) else config
    for key in ("layer", "backward_layer") if inner is not config else ():
        if config.get(key):
            config[key]["config"] |= {"units": units, **WHOLE}
    if inner is config and "units" not in config:
        raise AdapterError(f"the layer {part.name} has no units of its own, expected one of Keras's own layers")
    return type(part).from_config(config if inner is not config else config | {"units": units, **WHOLE})


def _is_network(layer: Any, asked: bool) -> bool:
    """Return whether a layer is more than one that runs forward; where a network is asked for, one is enough."""
    parts = [part for part, _ in _parts(layer)]
    several = sum(len(holders) for _, holders in _parts(layer)) > 1
    masking = any(isinstance(inner, keras.layers.Masking) for inner in layer._flatten_layers())
    back = any(getattr(part, "go_backwards", False) for part in parts)
    # By its weights alone such a one does not tell which GRU it is.
    bare = any(isinstance(part, keras.layers.GRU) and not part.use_bias for part in parts)
    return bool(parts) and (asked or several or masking or back or bare)


def _parts(layer: Any) -> Iterator[tuple[Any, list[tuple[Any, bool]]]]:
    """Yield the recurrent layers in a layer, in their order, each with its cells' holders and whether these go back."""
    seen: set[int] = set()
    for inner in layer._flatten_layers():
        if id(inner) in seen:
            continue
        if isinstance(inner, keras.layers.Bidirectional):
            pair = [inner.forward_layer, inner.backward_layer]
            yield inner, [(one, bool(one.go_backwards)) for one in pair]
        elif isinstance(inner, keras.layers.RNN):
            several = isinstance(inner.cell, keras.layers.StackedRNNCells)
            yield inner, [(one, bool(inner.go_backwards)) for one in (inner.cell.cells if several else [inner])]
        else:
            continue
        seen |= {id(one) for one in inner._flatten_layers()}


def _layouts(holder: Any) -> list[Layout]:
    """Return how the weights of a recurrent layer or cell may be kept; a GRU without biases does not tell by them."""
    cell = getattr(holder, "cell", holder)
    named = {
        keras.layers.LSTMCell: "plain",
        keras.layers.GRUCell: "gru_reset_after" if getattr(cell, "reset_after", False) else "gru",
        keras.layers.SimpleRNNCell: "rnn",
    }
    name = next((known for kind, known in named.items() if isinstance(cell, kind)), "")
    every = {"plain": LAYOUTS["keras"], **{key: layouts[-1] for key, layouts in OTHERS.items()}}
    chosen = [every[name]] if name else list(every.values())
    return [one for layout in chosen for one in (layout, without_biases(layout))]


def _stacks_of(layer: Any, name: str, shapes: dict[str, tuple[int, ...]]) -> list[Stacked]:
    """Return the networks that a layer's recurrent layers may make; of Bidirectional ones it is known how they join."""
    kept: list[Kept] = []
    back: set[str] = set()
    join = ""
    for part, holders in _parts(layer):
        if isinstance(part, keras.layers.Bidirectional):
            join = part.merge_mode
            if join not in ("concat", "sum"):
                raise AdapterError(f"{name} joins directions by merge_mode={join!r}, expected 'concat' or 'sum'")
        for holder, reverse in holders:
            own = {v.path: tuple(v.shape) for v in holder.trainable_variables}
            found = find_places(own, PROBE[3], _layouts(holder))
            taken = {path for one in kept for path in one.names}
            if len(found) != 1 or {*found[0].names} != own.keys() or taken & own.keys():
                listed = ", ".join(f"{key} {shape}" for key, shape in own.items()) or "none that learn"
                raise AdapterError(f"{name}: the weights of {holder.name} are not those of one known cell: {listed}")
            kept += found
            back |= {found[0].names[0]} if reverse else set()
    lstm = cell_of(layer, name)
    cell = lstm if kept[0].cell is PLAIN else kept[0].cell
    if others := sorted(shapes.keys() - {n for one in kept for n in one.names}):
        raise common.beside(name, others, {own for own, _ in named_parts(layer)})
    try:
        stacks = as_stacks(kept, shapes, *PROBE[2:], cell, lambda one: one.names[0] in back)
    except StackError as error:
        raise AdapterError(f"{name} has the weights of {len(kept)} cells, but {error}") from error
    return [one for one in stacks if len(one.net.directions) == 1 or join in ("", one.net.join)]


def _target_of(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of layers of several recurrent layers."""

    def with_value(e: int, u: int) -> Any:
        layer = make(e, u)
        for inner in layer._flatten_layers():
            if isinstance(inner, keras.layers.Masking):
                inner.mask_value = MASKED
        return layer

    layers = Layers(with_value, name)
    first = layers.first
    refuse_low(first, name)
    # What a seed is kept in learns nothing, and is random in nothing that is judged.
    if still := [path for path in layers.shapes(learning=False) if "seed_generator" not in path]:
        raise AdapterError(f"{name}: {still[0]} is not trainable, expected weights all of which learn")
    takes = f"it takes {signature_in_words(first.call)}, expected (X), with initial_state or mask if it takes these"
    kind = f"{kind} on {keras.backend.backend()}"
    stacks = _stacks_of(first, name, layers.shapes())
    made = partial(stack_target, name, kind, library=layers.library, takes=takes, demotes=True)
    return first_that_fits(stacks, lambda stacked: made(stacked, _forms_of(first, layers, stacked.net)))


def _forms_of(first: Any, layers: Layers, net: Network) -> list[StackForm]:
    """Return the forms in which a layer may be called, with its states first."""
    taken = [*inspect.signature(first.call).parameters]
    masking = any(isinstance(inner, keras.layers.Masking) for inner in first._flatten_layers())
    count = len(net.places[0].states)
    # A layer by itself gives its output in the order in which it takes the steps; Bidirectional turns it back.
    turned = isinstance(first, keras.layers.RNN) and net.directions == (REVERSE,)
    nested = isinstance(first, keras.layers.RNN) and net.layers > 1
    notes = [HOLES] if masking or "mask" in taken else []
    notes += [f"its Masking looks for {MASKED} here, which stands at masked steps"] if masking else []
    notes += ["its output comes in the order in which it takes the steps, and is turned back"] if turned else []

    def form(with_states: bool, by_kind: bool) -> StackForm:
        def run(weights: Any, X: Any, states: Any, lengths: Any, mask: Any) -> Any:
            named: dict[str, Any] = {}
            if with_states:
                pairs = [[*states[k : k + count]] for k in range(0, len(states), count)]
                named["initial_state"] = pairs if nested else [*states]
            if mask is not None and masking:
                X = keras.ops.where(mask[..., None], X, keras.ops.cast(MASKED, X.dtype))
            elif mask is not None:
                named["mask"] = mask
            raw = layers.call(weights, X, states[count - 1].shape[-1], **named)
            h, *rest = raw if isinstance(raw, tuple | list) else (raw,)
            return (keras.ops.flip(h, axis=1) if turned else h), list_of_finals(rest, net, by_kind)

        lengths = LENGTHS if masking or "mask" in taken else ()
        return StackForm(run, with_states, lengths, tuple(notes), masks=True)

    kinds = (False, True) if len(net.places) > 1 < count else (False,)
    with_states = [True, False] if "initial_state" in taken else [False]
    return [form(states, by_kind) for states in with_states for by_kind in kinds]
