"""PyTorch's stacks as targets: `torch.nn.LSTM`, GRU and RNN of several layers and directions, packed, and modules.

These are round one of them, several, or cells. How many layers and directions a module has is read from the names of
its parameters, `weight_ih_l1_reverse`. Whether it is batch-first and in which form it takes states and lengths is found
out by small calls. PyTorch's own take the states of all places stacked as (layer, direction).
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import ANY_SIZES, PLAIN, SizeLimits, Target, signature_in_words
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError, make_module
from lstm_checks.targets.stacks import (
    StackForm,
    asked_in_reverse,
    first_that_fits,
    list_of_finals,
    shared_in,
    stack_target,
    with_learned,
)
from lstm_checks.targets.torch_autograd import Autograd
from lstm_checks.weights.layouts import LAYOUTS, ROWS, Layout, with_projection, without_biases
from lstm_checks.weights.recurrent import LAYOUTS as OTHERS
from lstm_checks.weights.recurrent import Kept
from lstm_checks.weights.stacked import BACKWARDS, FIRST, Stacked, StackError, as_stacks, at_place, find_places
from lstm_checks.words import series
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.network import FORWARD, REVERSE, Network

OWN = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
"""PyTorch's own layers."""

BELOW = SizeLimits(below=(("p", "u"),))
"""It takes a projection of fewer entries than it has units alone."""


def framework_network(net: Network) -> Target:
    """Return the target of a batch-first `torch.nn.LSTM`, GRU or RNN with a network's layers and directions.

    Where lengths are said, its batches are packed.

    Raises
    ------
    AdapterError
        "torch.nn.LSTM has no layers that run in reverse alone, expected a network of forward or both".
    """
    kinds: dict[Cell, tuple[type[Any], dict[str, Any]]] = {
        PLAIN: (torch.nn.LSTM, {}),
        CELLS["projected"]: (torch.nn.LSTM, {}),
        CELLS["gru_reset_after"]: (torch.nn.GRU, {}),
        CELLS["rnn"]: (torch.nn.RNN, {}),
        cell_named("rnn,g=relu"): (torch.nn.RNN, {"nonlinearity": "relu"}),
    }
    if net.cell not in kinds:
        named = ", ".join(cell.name for cell in kinds)
        raise AdapterError(f"torch.nn has stacks of the cells {named}, the network {net.name} is of others")
    made, options = kinds[net.cell]
    title = f"torch.nn.{made.__name__}"
    if net.directions == (REVERSE,) or net.join != "concat":
        what = "layers that run in reverse alone" if net.directions == (REVERSE,) else "directions that are added"
        raise AdapterError(f"{title} has no {what}, expected a network of forward or both")
    options |= {"num_layers": net.layers, "batch_first": True, "bidirectional": len(net.directions) > 1}

    def make(e: int, u: int, *p: int) -> Any:
        return made(e, u, **options, **({"proj_size": p[0]} if p else {}))

    limits = BELOW if net.cell is CELLS["projected"] else ANY_SIZES
    return _of_torchs_own(make, f"torch {torch.__version__}", title, net, limits)


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return the target of a module of several layers or directions, or with lengths; None for anything else.

    Parameters
    ----------
    found : object
        A `torch.nn.LSTM`, GRU or RNN, whose options are taken over; a module's class, or a function that makes modules
        of (input size, hidden size).
    name : str
    cell : Cell
        What was asked for: a network, or the plain cell where nobody said anything.

    Raises
    ------
    AdapterError
        Where it is such a module and cannot be judged.
    """
    if type(found) in OWN:
        return _of_instance(found, name)
    is_class = isinstance(found, type)
    if is_class and not issubclass(found, torch.nn.Module):
        return None
    if found in OWN:
        return framework_network(cell) if isinstance(cell, Network) else None
    if isinstance(found, torch.nn.Module) or not callable(found):
        return None

    def make(e: int, u: int) -> Any:
        return found(e, u)

    try:
        module = make_module(make, name)
    except AdapterError:
        return None
    if not isinstance(module, torch.nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return None
    stacks = _stacks_of(module, name, asked_in_reverse(cell))
    if not stacks:
        return None
    net = stacks[0].net
    if net.layers == 1 and net.directions == (FORWARD,) and not isinstance(cell, Network):
        return None
    if still := [key for key, value in module.named_parameters() if not value.requires_grad]:
        raise AdapterError(f"{name}: {still[0]} does not learn, expected parameters all of which learn, in a stack")
    _refuse_low(module, name)
    limits = _limits(make, module, stacks[0], name)
    if type(module) in OWN:
        return _of_torchs_own(make, name, f"torch.nn.{type(module).__name__}", net, limits, bool(module.batch_first))
    return _of_a_module(make, module, name, [s for s in stacks if cell in (PLAIN, s.net)] or stacks, limits)


def _of_instance(found: Any, name: str) -> Target:
    """Return the target of a layer of PyTorch's own as it was made, of other sizes."""
    _refuse_low(found, name)
    options = _options_of(found)

    def make(e: int, u: int) -> Any:
        return type(found)(e, u, **options).train(found.training)

    module = make_module(make, name)
    (stacked, *_) = _stacks_of(module, name)
    limits = _limits(make, module, stacked, name)
    return _of_torchs_own(make, name, f"torch.nn.{type(found).__name__}", stacked.net, limits, found.batch_first)


def _options_of(found: Any) -> dict[str, Any]:
    """Return the options with which a layer of PyTorch's own was made."""
    kept = ("num_layers", "bidirectional", "batch_first", "bias", "dropout")
    options = {key: getattr(found, key) for key in kept}
    options |= {"proj_size": found.proj_size} if found.proj_size else {}
    return options | ({"nonlinearity": found.nonlinearity} if isinstance(found, torch.nn.RNN) else {})


def _refuse_low(module: Any, name: str) -> None:
    """Raise for a stack, or an instance, that holds its weights in low precision."""
    common.refuse_low(name, {key: value.dtype for key, value in module.named_parameters()})


def is_module(found: Any) -> bool:
    """Return whether something is a module."""
    return isinstance(found, torch.nn.Module)


def seeds_for(found: Any) -> dict[str, Any]:
    """Return the keywords of what is random in a model's making: PyTorch has one generator for all."""
    return {}


def layers_in(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the recurrent layers in a model by their paths, each as something that makes others of its kind."""
    cells = {torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell}
    for path, inner in model.named_modules():
        if type(inner) in OWN:
            yield path, inner
        elif type(inner) in cells:
            yield path, _cells_like(inner)
        elif any(_PLACE.search(key) for key, _ in inner.named_parameters()) and path:
            yield path, _modules_like(inner)


def _modules_like(inner: Any) -> Callable[[int, int], Any]:
    """Return what makes modules of somebody's own class, of other sizes, with the options that PyTorch's own have."""
    kind: Any = type(inner)
    options = _options_of(inner) if isinstance(inner, OWN) else {}

    def make(e: int, u: int) -> Any:
        found = common.attempt(partial(kind, e, u, **options)) if options else None
        made = kind(e, u) if found is None else found
        if said := _unlike(made, inner):
            raise ValueError(f"made so it is another than the one inside: {said}")
        return made

    return make


def _unlike(made: Any, inner: Any) -> str:
    """Return in what a module differs from one in whose place it is judged, whatever their sizes; mostly in nothing."""
    names, due = (dict(one.named_parameters()).keys() for one in (made, inner))
    if names != due:
        return f"it has the parameters {series([*names])}, expected {series([*due])}"
    for key, value in vars(inner).items():
        # What is no number is no size.
        is_option = isinstance(value, bool | str) and key != "training"
        if is_option and getattr(made, key, None) != value:
            return f"its {key} is {getattr(made, key, None)!r}, expected {value!r}"
    return ""


def _cells_like(cell: Any) -> Callable[[int, int], Any]:
    """Return what makes cells of a kind, of other sizes."""
    more = {"nonlinearity": cell.nonlinearity} if isinstance(cell, torch.nn.RNNCell) else {}

    def make(e: int, u: int) -> Any:
        return type(cell)(e, u, bias=cell.bias, **more)

    return make


def _layouts(suffixes: set[str]) -> list[Layout]:
    """Return how PyTorch's own layers keep what stands at places, and its cells."""
    found = []
    for layout in (LAYOUTS["torch"], LAYOUTS["torch-cell"], *(one for of in OTHERS.values() for one in of)):
        if not layout.name.startswith("torch"):
            continue
        own = [layout, without_biases(layout)]
        if layout.name == "torch" and layout.cell is PLAIN:
            own += [with_projection(one, f"weight_hr{FIRST}", ROWS) for one in own]
        placed = suffixes if layout.name == "torch" else {""}
        found += [at_place(one, suffix) if suffix else one for one in own for suffix in placed]
    return found


_PLACE = re.compile(r"(?:^|[._])weight_ih(_l\d+(?:_reverse)?)?$")


def _stacks_of(module: Any, name: str, back: bool = False) -> list[Stacked]:
    """Return the networks that a module may be, by the names of its parameters; none where it is no network."""
    held = dict(module.named_parameters())
    shapes = {key: tuple(value.shape) for key, value in held.items()}
    matches = [found for found in map(_PLACE.search, shapes) if found]
    e, u = PROBE[2:]
    places = find_places(shapes, u, _layouts({found[1] for found in matches if found[1]}))
    if not places or len(places) != len(matches):
        return []
    cell = places[0].cell
    if any(getattr(inner, "nonlinearity", "tanh") == "relu" for inner in module.modules()):
        cell = cell_named(f"{cell.name},g=relu")
    if len(places) == 1 and not (isinstance(module, OWN) or places[0].layout.name == "torch"):
        return []  # a single cell is judged as such
    try:
        stacks = as_stacks(places, shapes, e, u, cell, lambda kept: back or _is_reverse(kept))
    except StackError as error:
        raise AdapterError(f"{name} has the weights of {len(places)} cells, but {error}") from error
    _refuse(module, name, stacks[0])
    return stacks


def _is_reverse(kept: Kept) -> bool:
    """Return whether what stands at a place runs in reverse, by its names."""
    return bool(BACKWARDS.search(kept.names[0]))


def _refuse(module: Any, name: str, stacked: Stacked) -> None:
    """Raise for a module with parameters beside those of the stack, or whose dropout is on."""
    held = dict(module.named_parameters())
    others = sorted(held.keys() - {*stacked.names})
    if others and not _are_states(stacked.net, [held[key] for key in others]):
        raise common.beside(name, others, {key.rpartition(".")[0] for key in stacked.names})
    for _, inner in module.named_modules():
        p = getattr(inner, "dropout", getattr(inner, "p", 0)) if isinstance(inner, (*OWN, torch.nn.Dropout)) else 0
        if p and inner.training:
            raise AdapterError(f"{name} has dropout {p:g}, which is random and not judged: set it to 0, or call eval()")


def _are_states(net: Network, held: Sequence[Any]) -> bool:
    """Return whether parameters have the shapes of initial states that all samples share: (1, u), or for each place."""
    wide = PROBE[3]
    return all(value.shape[-1:] == (wide,) and value.numel() in (wide, wide * len(net.places)) for value in held)


def _limits(make: Callable[..., Any], module: Any, stacked: Stacked, name: str) -> SizeLimits:
    """Return which sizes a stack takes whose maker has chosen the projection; any where there is none."""
    if not stacked.layout.projects:
        return ANY_SIZES
    held = next(key for key in stacked.names if "weight_hr" in key)

    def size(made: Any) -> int:
        return int(made.get_parameter(held).shape[0])

    return common.chosen_size(name, size(module), lambda e, u: size(make(e, u)))


def _modules(make: Callable[..., Any], net: Network, free: bool) -> Callable[..., Any]:
    """Return ``called(weights, X, states, *arguments)``, which calls a module of the sizes of its arguments."""
    modules: dict[Any, Any] = {}

    def called(weights: Mapping[str, Any], X: Any, states: Any, /, *arguments: Any, **keywords: Any) -> Any:
        u = states[len(net.places[0].states) - 1].shape[-1]
        key = (X.shape[-1], u, *((states[0].shape[-1],) if free else ()))
        if (*key, X.dtype) not in modules:
            modules[*key, X.dtype] = make(*key).to(X.dtype)
        return torch.func.functional_call(modules[*key, X.dtype], dict(weights), arguments, keywords)

    return called


def _joined(net: Network, states: Any) -> tuple[Any, ...]:
    """Return the states of all places stacked, one tensor for each state of a cell."""
    count = len(net.places[0].states)
    return tuple(torch.stack(states[k::count]) for k in range(count))


def _of_torchs_own(
    make: Callable[..., Any], name: str, kind: str, net: Network, limits: SizeLimits, batch_first: bool = True
) -> Target:
    """Return the target of layers of PyTorch's own, whose batches are packed where lengths are said."""
    free = limits is BELOW
    module = make_module(lambda e, u: make(e, u, *((common.whole_sizes(PROBE, net)[4],) if free else ())), name)
    (stacked, *_) = _stacks_of(module, name)
    called = _modules(make, net, free)

    def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        joined = _joined(net, states)
        given = joined if len(joined) > 1 else joined[0]
        if lengths is None:
            out, final = called(weights, X, states, X if batch_first else X.transpose(0, 1), given)
            return (out if batch_first else out.transpose(0, 1)), list_of_finals([final], net)
        packed = pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
        out, final = called(weights, X, states, packed, given)
        out = pad_packed_sequence(out, batch_first=True, total_length=X.shape[1])[0]
        return out, list_of_finals([final], net)

    return stack_target(name, kind, stacked, [StackForm(run, lengths=LENGTHS)], Autograd(), limits=limits)


def _of_a_module(make: Callable[..., Any], module: Any, name: str, stacks: list[Stacked], limits: SizeLimits) -> Target:
    """Return the target of modules of somebody's own, in the first of the ways to join directions that fits."""
    kind = f"torch.nn.Module {type(module).__name__}"
    takes = common.call_in_words(module.forward, "(x, ...) with the lengths, and (h0, C0) or h0 and C0")
    made = partial(stack_target, name, kind, library=Autograd(), takes=takes, limits=limits)
    held = dict(module.named_parameters())
    besides = {key: tuple(held[key].shape) for key in sorted(held.keys() - {*stacks[0].names})}

    def target(stacked: Stacked) -> Target:
        forms = _forms_of(make, module, name, stacked.net)
        if not besides:
            return made(stacked, forms)
        found = shared_in(stacked, besides)
        if found is None:
            raise common.beside(name, [*besides], {key.rpartition(".")[0] for key in stacked.names})
        shared, arrays = found
        learning = [with_learned(form, shared.net, arrays, besides) for form in forms if not form.states]
        return made(shared, learning)

    return first_that_fits(stacks, target)


def _forms_of(make: Callable[..., Any], module: Any, name: str, net: Network) -> list[StackForm]:
    """Return the forms in which a module may be called.

    The arguments of its forward pass are told by their names: one with "len" in it takes the lengths; of the others
    behind the first, one takes all states and two take those of each kind.
    """
    arguments = list(inspect.signature(module.forward).parameters.values())[1:]
    fixed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    every = [argument.name for argument in arguments if argument.kind not in fixed]
    names = [key for key in every if "mask" not in key]
    of_lengths = [key for key in names if "len" in key]
    of_states = [key for key in names if key not in of_lengths]
    if len(of_lengths) > 1 or len(of_states) > 2:
        raise AdapterError(
            f"{name} takes {signature_in_words(module.forward)}, expected x, the lengths, and (h0, C0) or h0 and C0"
        )
    called = _modules(make, net, free=False)

    def form(batch_first: bool, given: Callable[[Any], Any] | None, by_kind: bool) -> StackForm:
        def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
            keywords: dict[str, Any] = {}
            if of_lengths:
                m, s = X.shape[:2]
                keywords[of_lengths[0]] = torch.full((m,), s) if lengths is None else lengths
            if given is not None:
                own = given(states)
                keywords |= dict(zip(of_states, own if len(of_states) == 2 else (own,), strict=True))
            raw = called(weights, X, states, X if batch_first else X.transpose(0, 1), **keywords)
            out, *rest = raw if isinstance(raw, tuple | list) and not isinstance(raw, PackedSequence) else (raw,)
            if isinstance(out, PackedSequence):
                out = pad_packed_sequence(out, batch_first=True, total_length=X.shape[1])[0]
            elif not batch_first:
                out = out.transpose(0, 1)
            return out, list_of_finals(rest, net, by_kind)

        masks = tuple(f"{key} not given: it takes no mask here" for key in every if key not in names)
        return StackForm(run, given is not None, LENGTHS if of_lengths else (), masks)

    ways: list[Any] = [*_ways_of_states(net, len(of_states)), None]
    kinds = (False, True) if len(net.places) > 1 < len(net.places[0].states) else (False,)
    return [form(major, given, by_kind) for given in ways for major in (True, False) for by_kind in kinds]


def _ways_of_states(net: Network, arguments: int) -> list[Callable[[Any], Any]]:
    """Return the forms in which states may be given, from all of them place by place, to so many arguments."""
    count = len(net.places[0].states)
    if not arguments or (arguments == 2 and count == 1):
        return []

    def stacked(states: Any) -> Any:
        joined = _joined(net, states)
        return joined if count > 1 else joined[0]

    def by_place(states: Any) -> Any:
        pairs = [tuple(states[k : k + count]) for k in range(0, len(states), count)]
        return [pair if count > 1 else pair[0] for pair in pairs]

    def by_kind(states: Any) -> Any:
        return tuple([*states[k::count]] for k in range(count)) if count > 1 else [*states]

    return [stacked, by_kind] if arguments == 2 else [stacked, by_place, by_kind]
