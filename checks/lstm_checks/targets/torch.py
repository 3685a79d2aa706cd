"""PyTorch as a target: its own `torch.nn.LSTM`, anybody's module, and functions of tensors.

Parameters go in through `weights.layouts`, gradients come out by `torch.autograd`, whatever backward pass is in it.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lstm_checks.cases import Arrays
from lstm_checks.contract import ANY_SIZES, PLAIN, SizeLimits, Target
from lstm_checks.targets import common
from lstm_checks.targets.common import NO_STATES, AdapterError, Form
from lstm_checks.targets.function import states_by_name, without_states
from lstm_checks.targets.one_state import NO_STATE, OneStateForm, kept_or_untold, one_state_target
from lstm_checks.targets.stacks import function_network
from lstm_checks.targets.torch_autograd import Autograd, numpy_of
from lstm_checks.targets.torch_networks import framework_network, is_module, layers_in, network_target, seeds_for
from lstm_checks.weights.recurrent import Kept
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import Network

__all__ = [
    "framework_network",
    "framework_target",
    "function_target",
    "gradcheck",
    "is_module",
    "layers_in",
    "network_function",
    "network_target",
    "recognize",
    "seeds_for",
]


def framework_target(cell: Cell = PLAIN) -> Target:
    """Return the target of a one-layer, batch-first `torch.nn.LSTM` on the CPU, of any proj_size if that is asked."""
    name = f"torch {torch.__version__}"

    def make(e: int, u: int, p: int = 0) -> Any:
        return torch.nn.LSTM(e, u, batch_first=True, proj_size=p)

    if cell is PLAIN:
        return _from_module(make, name, "torch.nn.LSTM")
    # It takes a projection of fewer entries than it has units alone.
    below = SizeLimits(below=(("p", "u"),))
    sizes = common.whole_sizes(common.PROBE, cell)
    return _from_module(make, name, "torch.nn.LSTM with proj_size", sizes[4:], below)


def recognize(found: Any, name: str, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a module's class, or of a function that makes modules; None for anything else.

    Raises
    ------
    AdapterError
        When it is a module that cannot be judged.
    """
    if isinstance(found, torch.nn.Module):
        raise common.of_fixed_sizes(found, name, "input_size, hidden_size")
    is_class = isinstance(found, type)
    if is_class and issubclass(found, torch.autograd.Function):
        raise AdapterError(
            f"{name} is a torch.autograd.Function, expected a module that applies it, or a function of tensors, "
            "h, Cn = lstm(p, X, h0, C0)"
        )
    if is_class and not issubclass(found, torch.nn.Module):
        return None
    keywords = common.keywords_of(found, {"batch_first": True})
    if is_class and issubclass(found, torch.nn.RNNBase) and _hands_on(found):
        keywords = {"batch_first": True}

    def make(e: int, u: int) -> Any:
        return found(e, u, **keywords)

    module = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(module, torch.nn.Module):
        return None
    kind = f"torch.nn.Module {type(module).__name__}"
    return _of_one_state(make, name, kind, module, cell) or _from_module(make, name, kind)


def _hands_on(made: type[Any]) -> bool:
    """Return whether a class takes any keyword, as PyTorch's own layers do to hand it on."""
    parameters = inspect.signature(made.__init__).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def function_target(function: Callable[..., Any], name: str, taken: int, cell: Cell = PLAIN) -> Target | None:
    """Return the target of a function of tensors, of so many arguments, to h and Cn; None if it is none."""
    p, inputs = common.probe_arrays(cell=cell)
    tensors = {key: torch.from_numpy(value) for key, value in (p | inputs).items()}
    weights = {key: tensors[key] for key in p}
    arguments = [tensors[key] for key in inputs][: taken - 1]
    h, _ = common.outputs(common.attempt(function, weights, *arguments))
    if not isinstance(h, torch.Tensor):
        return None
    common.must_be_plain(name, "a function of torch tensors", cell, arrays=True)
    form = common.function_form(function, taken)
    return common.target_of(name, "function of torch tensors", common.NAMED, [form], Autograd(), named=True)


def network_function(function: Callable[..., Any], name: str, net: Network) -> Target | None:
    """Return the target of a function of tensors of a network, in the by-name form without a pullback; None if none."""
    return function_network(function, name, net, Autograd(), "torch tensors", torch.from_numpy)


def _from_module(
    make: Callable[..., Any], name: str, kind: str, projected: tuple[int, ...] = (), limits: SizeLimits = ANY_SIZES
) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes and dtype.

    Where p is free to choose, `make(e, u, p)` makes them, and `projected` is the p with which things are tried out.
    """
    first = common.make_module(lambda e, u: make(e, u, *projected), name)
    if isinstance(first, torch.jit.ScriptModule):
        raise AdapterError(
            f"{name} is a scripted module, whose weights cannot be replaced; expected the one before torch.jit.script"
        )
    parameters, others = dict(first.named_parameters()), _no_parameters(first)
    held = parameters | {key: value for key, (value, _) in others.items()}
    in_low = common.held_in(name, {key: value.dtype for key, value in held.items()})
    weights = common.weights_of(
        _shapes(first),
        name,
        {key: (tuple(value.shape), why) for key, (value, why) in others.items()},
        {key: "its requires_grad is False" for key, value in parameters.items() if not value.requires_grad},
        lambda e, u: _shapes(make(e, u, *projected)),
    )
    if weights.projection and not projected:
        limits = common.chosen_projection(name, weights, parameters, lambda e, u: _shapes(make(e, u)))
    weights = replace(weights, limits=limits, held=in_low)
    plain = {key for key, (_, why) in others.items() if why == _PLAIN}
    modules: dict[Any, Any] = {}

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any) -> Any:
        e = X.shape[-1]
        free = given[weights.projection].shape[:1] if projected else ()
        key = (e, u, *free, X.dtype)
        if key not in modules:
            modules[key] = make(e, u, *free).to(X.dtype)
        device = next((value.device for value in modules[key].parameters()), X.device)
        given = {name: value.detach() if name in weights.frozen else value for name, value in given.items()}
        names = states_by_name(first.forward, len(states))
        named, inputs, by_name = _moved(_given(given, X, states, names), device)
        with _replaced(modules[key], {name: named.pop(name) for name in plain & set(named)}):
            return torch.func.functional_call(modules[key], named, inputs, by_name)

    takes = common.call_in_words(first.forward, "(X), (X, (h0, C0)) or (X, h0, C0), of all steps or of one")
    notes = common.lengths_not_given(first.forward)
    return common.target_of(name, kind, weights, _forms(call), Autograd(), takes=takes, notes=notes)


def _of_one_state(make: Callable[[int, int], Any], name: str, kind: str, first: Any, cell: Cell) -> Target | None:
    """Return the target of modules with the weights of a GRU or an RNN; None where they are of neither."""
    kept = kept_or_untold(_shapes(first), name, cell)
    if kept is None or isinstance(first, torch.jit.ScriptModule):
        return None
    parameters, others = dict(first.named_parameters()), _no_parameters(first)
    kept = replace(kept, held=common.held_in(name, {key: value.dtype for key, value in parameters.items()}))
    still = [key for key, value in parameters.items() if not value.requires_grad]
    if still or others:
        what = f"{still[0]} does not learn" if still else f"{next(iter(others))} is no parameter"
        raise AdapterError(f"{name}: {what}, expected parameters alone, all of which learn, of the {kept.cell.title}")
    if isinstance(kept, Kept) and any(_has_relu(inner) for inner in first.modules()):
        kept = replace(kept, cell=cell_named(f"{kept.cell.name},g=relu"))
    modules: dict[Any, Any] = {}

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any) -> Any:
        key = (X.shape[-1], u, X.dtype)
        if key not in modules:
            modules[key] = make(*key[:2]).to(X.dtype)
        names = states_by_name(first.forward, len(states))
        found = _given(given, X, states, names)
        named, inputs, by_name = _moved(found, next(modules[key].parameters()).device)
        return torch.func.functional_call(modules[key], named, inputs, by_name)

    takes = common.call_in_words(first.forward, "(X, h0) or (X), of all steps or of one")
    notes = common.lengths_not_given(first.forward)
    return one_state_target(name, kind, kept, _one_state_forms(call), Autograd(), takes, notes=notes)


def _has_relu(module: Any) -> bool:
    """Return whether a module is PyTorch's own RNN, or cell of one, with relu."""
    return isinstance(module, torch.nn.RNN | torch.nn.RNNCell) and module.nonlinearity == "relu"


def _one_state_forms(call: Callable[..., Any]) -> list[OneStateForm]:
    """Return the forms in which a module of one state may be called, batch-first ones first, then cells."""

    def whole(join: Callable[[Any], tuple[Any, ...]], time_major: bool) -> Callable[..., Any]:
        def apply(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
            X = X.transpose(0, 1) if time_major else X
            h, _ = common.outputs(call(given, X, h0.shape[-1], *join(h0)))
            return h.transpose(0, 1) if time_major else h

        return apply

    def steps(given: Mapping[str, Any], X: Any, h: Any) -> Any:
        every = []
        for t in range(X.shape[1]):
            h, _ = common.outputs(call(given, X[:, t], h.shape[-1], h))
            every.append(h)
        return torch.stack(every, 1)

    layered, alone = (lambda h: (h[None],)), (lambda h: (h,))
    forms = [OneStateForm(whole(join, major)) for join in (layered, alone) for major in (False, True)]
    none = [OneStateForm(whole(lambda h: (), major), NO_STATE) for major in (False, True)]
    return [*forms, OneStateForm(steps), *none]


_PLAIN = "a tensor that is no parameter"


def _no_parameters(module: Any) -> dict[str, tuple[Any, str]]:
    """Return the tensors of floating point that a module holds and that are no parameters, and what they are."""
    found = {name: (value, "a buffer") for name, value in module.named_buffers()}
    for path, inner in module.named_modules():
        for name, value in vars(inner).items():
            if isinstance(value, torch.Tensor):
                found[f"{path}.{name}" if path else name] = (value, _PLAIN)
    return {name: (value, what) for name, (value, what) in found.items() if value.is_floating_point()}


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's parameters by name."""
    return {name: tuple(value.shape) for name, value in module.named_parameters()}


@contextlib.contextmanager
def _replaced(module: Any, plain: Mapping[str, Any]) -> Iterator[None]:
    """Put other tensors in the place of plain attributes, which `functional_call` knows nothing of."""
    places = [(vars(module.get_submodule(name.rpartition(".")[0])), name.rpartition(".")[2], name) for name in plain]
    before = [attributes[name] for attributes, name, _ in places]
    try:
        for attributes, name, full in places:
            attributes[name] = plain[full]
        yield
    finally:
        for (attributes, name, _), value in zip(places, before, strict=True):
            attributes[name] = value


def _given(
    weights: Mapping[str, Any], X: Any, states: tuple[Any, ...], names: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]:
    """Return what a module is given: its weights, what goes by place, and the states that go by name."""
    return {**weights}, (X, *(() if names else states)), dict(zip(names, states, strict=False))


def _moved(value: Any, device: Any) -> Any:
    """Return tensors, in whatever they are nested, on a device."""
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    return tuple(_moved(item, device) for item in value) if isinstance(value, tuple) else value.to(device)


def _forms(call: Callable[..., Any]) -> list[Form]:
    """Return the forms in which a module may be called, batch-first ones first, then time-major ones, then cells."""

    def steps(given: Mapping[str, Any], X: Any, h: Any, C: Any, join: Callable[..., Any]) -> Any:
        every = []
        for t in range(X.shape[1]):
            h, C = call(given, X[:, t], C.shape[-1], *join(h, C))
            every.append(h)
        return torch.stack(every, 1), C

    def apart(h: Any, C: Any) -> tuple[Any, ...]:
        return h, C

    def pair(h: Any, C: Any) -> tuple[Any, ...]:
        return ((h, C),)

    def layered(h: Any, C: Any) -> tuple[Any, ...]:
        return ((h[None], C[None]),)

    def hidden(h: Any, C: Any) -> tuple[Any, ...]:
        return (h,)

    def none(h: Any, C: Any) -> tuple[Any, ...]:
        return ()

    def whole(join: Callable[..., Any], time_major: bool) -> Callable[..., Any]:
        def apply(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
            X = X.transpose(0, 1) if time_major else X
            h, Cn = common.outputs(call(given, X, C0.shape[-1], *join(h0, C0)))
            return h.transpose(0, 1) if time_major else h, Cn

        return apply

    forms = [Form(whole(join, major)) for join in (layered, pair, apart) for major in (False, True)]
    for join in (pair, apart):
        forms.append(Form(lambda given, X, h, C, join=join: steps(given, X, h, C, join)))  # type: ignore[misc]
    no_memory = without_states(("h0",))
    forms += [Form(whole(hidden, major), *no_memory) for major in (False, True)]
    return [*forms, *(Form(whole(none, major), NO_STATES) for major in (False, True))]


def gradcheck(target: Target, arrays: Arrays) -> bool:
    """Return whether `torch.autograd.gradcheck`, with all its defaults, accepts a target's gradients.

    Every output is differentiated, whatever cotangents belong to the arrays. The target must not need PyTorch.
    """

    class Layer(torch.autograd.Function):
        """The target as an operation of PyTorch."""

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            """Return (h, Cn)."""
            given = dict(zip(PLAIN.inputs, (numpy_of(value) for value in inputs), strict=True))
            outputs, ctx.pullback = target.call(given, True)
            return tuple(torch.from_numpy(outputs[name].copy()) for name in PLAIN.outputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            """Return the gradients in the order of the inputs."""
            named = zip((f"d{name}" for name in PLAIN.outputs), map(numpy_of, cotangents), strict=True)
            found = ctx.pullback(dict(named))
            return tuple(torch.from_numpy(np.array(found["d" + name])) for name in PLAIN.inputs)

    inputs = tuple(torch.from_numpy(value.copy()).requires_grad_() for value in arrays.inputs.values())
    with np.errstate(all="ignore"):
        return bool(torch.autograd.gradcheck(Layer.apply, inputs, raise_exception=False))
