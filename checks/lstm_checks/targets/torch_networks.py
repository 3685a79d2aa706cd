"""PyTorch's stacks as targets: `torch.nn.LSTM` of several layers and directions, packed, and modules round one.

How many layers and directions a module has is read from the names of its parameters, `weight_ih_l1_reverse`. Whether it
is batch-first and in which form it takes states and lengths is found out by small calls. The states of all places come
stacked as (layer, direction).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import LAST, PLAIN, STATES, Target, signature_in_words, undisturbed
from lstm_checks.targets.common import PROBE, AdapterError, make_module
from lstm_checks.targets.network import with_conventions
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import FORWARD, REVERSE, Network

GATES = "ifgo"
"""The order of the gates in PyTorch's packed weights."""


def framework_network(net: Network) -> Target:
    """Return the target of a batch-first `torch.nn.LSTM` with a network's layers and directions, packed for lengths.

    Raises
    ------
    AdapterError
        "torch.nn.LSTM has no layers that run in reverse alone, expected a network of forward or both".
    """
    _expect_torchs(net, "torch.nn.LSTM")

    def make(e: int, u: int) -> Any:
        return torch.nn.LSTM(e, u, net.layers, batch_first=True, bidirectional=len(net.directions) > 1)

    return _of_torchs_own(make, net, f"torch {torch.__version__}")


def _expect_torchs(net: Network, name: str) -> None:
    """Raise where PyTorch has no such network."""
    if net.cell is not PLAIN:
        raise AdapterError(f"{name} has plain LSTM cells, the network {net.name} others")
    if net.directions == (REVERSE,) or net.join != "concat":
        what = "layers that run in reverse alone" if net.directions == (REVERSE,) else "directions that are added"
        raise AdapterError(f"{name} has no {what}, expected a network of forward or both")


def _of_torchs_own(make: Callable[[int, int], Any], net: Network, name: str, batch_first: bool = True) -> Target:
    """Return the target of modules of `torch.nn.LSTM` itself, whose batches are packed where lengths are said."""

    def run(module: Any, weights: Mapping[str, Any], X: Any, states: Any, lengths: Any) -> Any:
        if lengths is None:
            X = X if batch_first else X.transpose(0, 1)
            out, final = torch.func.functional_call(module, dict(weights), (X, states))
            return out if batch_first else out.transpose(0, 1), *final
        packed = pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
        out, final = torch.func.functional_call(module, dict(weights), (packed, states))
        return pad_packed_sequence(out, batch_first=True, total_length=X.shape[1])[0], *final

    return _target(make, net, name, "torch.nn.LSTM", _Form(run, True, True, True), "")


def network_target(found: Any, name: str, cell: Cell) -> Target | None:
    """Return the target of a module of several layers or directions, or with lengths; None for anything else.

    Parameters
    ----------
    found : object
        A `torch.nn.LSTM`, whose options are taken over; a module's class, or a function that makes modules of
        (input size, hidden size).
    name : str
    cell : Cell
        What was asked for: a network, or the plain cell where nobody said anything.

    Raises
    ------
    AdapterError
        Where it is such a module and cannot be judged.
    """
    if type(found) is torch.nn.LSTM:
        return _of_instance(found, name, cell)
    is_class = isinstance(found, type)
    if is_class and not issubclass(found, torch.nn.Module):
        return None
    if found is torch.nn.LSTM:
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
    prefix, net = _network_of(module, name)
    if net is None or (net.layers == 1 and net.directions == (FORWARD,) and not isinstance(cell, Network)):
        return None
    _refuse(module, name, prefix, net)
    if type(module) is torch.nn.LSTM:
        return _of_torchs_own(make, net, name, module.batch_first)
    form = _form_of(module, name, prefix, net)
    return _target(make, net, name, f"torch.nn.Module {type(module).__name__}", form, prefix)


def _of_instance(found: Any, name: str, cell: Cell) -> Target:
    """Return the target of a `torch.nn.LSTM` as it was made, of other sizes."""
    _, net = _network_of(found, name)
    assert net is not None
    _refuse(found, name, "", net)
    options = {"num_layers": found.num_layers, "bidirectional": found.bidirectional, "batch_first": found.batch_first}

    def make(e: int, u: int) -> Any:
        return torch.nn.LSTM(e, u, **options)

    return _of_torchs_own(make, net, name, found.batch_first)


def _network_of(module: Any, name: str) -> tuple[str, Network | None]:
    """Return what stands before the names of the one LSTM in a module, and its layers and directions."""
    held = [key for key, _ in module.named_parameters() if key.rpartition(".")[2].startswith("weight_ih_l")]
    prefixes = {key.rpartition(".")[0] for key in held}
    if len(prefixes) != 1:
        return "", None
    prefix = prefixes.pop()
    ends = {key.rpartition("weight_ih")[2] for key in held}
    both = any(end.endswith("_reverse") for end in ends)
    layers = len(ends) // (2 if both else 1)
    word = "both" if both else "forward"
    net = cell_named(f"{PLAIN.name}@{layers}x{word}")
    assert isinstance(net, Network)
    # A GRU and an RNN have the same names, and fewer rows a unit; a projection is an LSTM's alone.
    named = dict(module.named_parameters())
    rows = {named[key].shape[0] / _units(module, key) for key in held}
    whole = rows == {len(GATES)} or any(".weight_hr" in f".{key}" for key in named)
    if {place.suffix for place in net.places} != ends or not whole:
        return prefix, None
    return (f"{prefix}." if prefix else ""), net


def _units(module: Any, key: str) -> int:
    """Return how many units there are, by the weights of the hidden state beside some of the input."""
    return int(module.get_parameter(key.replace("weight_ih", "weight_hh")).shape[1])


def _names(net: Network, prefix: str) -> list[str]:
    """Return the names of a module's parameters."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [f"{prefix}{kind}{place.suffix}" for place in net.places for kind in kinds]


def _refuse(module: Any, name: str, prefix: str, net: Network) -> None:
    """Raise for a module whose parameters are not those of a stack of LSTMs, or whose dropout is on."""
    held, due = {key for key, _ in module.named_parameters()}, set(_names(net, prefix))
    if missing := sorted(due - held):
        raise AdapterError(
            f"{name} has no {missing[0]}, expected both biases of every place: bias=False is not judged yet"
        )
    if others := sorted(held - due):
        raise AdapterError(
            f"{name} has {', '.join(others[:3])}{' ...' if len(others) > 3 else ''} beside its LSTM's parameters, "
            "expected the LSTM alone: name a module that ends with it"
        )
    for _, inner in module.named_modules():
        p = (
            getattr(inner, "dropout", getattr(inner, "p", 0))
            if isinstance(inner, torch.nn.LSTM | torch.nn.Dropout)
            else 0
        )
        if p and inner.training:
            raise AdapterError(f"{name} has dropout {p:g}, which is random and not judged: set it to 0, or call eval()")


@dataclass(frozen=True)
class _Form:
    """How a module is called: ``run(module, weights, X, states, lengths)`` returns h, batch-first, and the finals."""

    run: Callable[..., Any]
    states: bool
    lengths: bool
    finals: bool


def _form_of(module: Any, name: str, prefix: str, net: Network) -> _Form:
    """Return how a module is called, found out by small calls.

    The arguments of its forward pass are told by their names: one with "len" in it takes the lengths; of the others
    behind the first, one takes (h0, C0) and two take h0 and C0.
    """
    arguments = list(inspect.signature(module.forward).parameters.values())[1:]
    fixed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [argument.name for argument in arguments if argument.kind not in fixed]
    of_lengths = [key for key in names if "len" in key]
    of_states = [key for key in names if key not in of_lengths]
    if len(of_lengths) > 1 or len(of_states) > 2:
        raise AdapterError(
            f"{name} takes {signature_in_words(module.forward)}, expected x, the lengths, and (h0, C0) or h0 and C0"
        )

    def runner(batch_first: bool, with_states: bool) -> Callable[..., Any]:
        def run(module: Any, weights: Mapping[str, Any], X: Any, states: Any, lengths: Any) -> Any:
            keywords: dict[str, Any] = {}
            if of_lengths:
                m, s = X.shape[:2]
                keywords[of_lengths[0]] = torch.full((m,), s) if lengths is None else lengths
            if with_states:
                keywords |= dict(zip(of_states, states if len(of_states) == 2 else (states,), strict=True))
            given = X if batch_first else X.transpose(0, 1)
            raw = torch.func.functional_call(module, dict(weights), (given,), keywords)
            out, *rest = _flat(raw)
            if isinstance(out, PackedSequence):
                out = pad_packed_sequence(out, batch_first=True, total_length=X.shape[1])[0]
            elif not batch_first:
                out = out.transpose(0, 1)
            return out, *rest

        return run

    said = ""
    tries = [(major, states) for states in ((True, False) if of_states else (False,)) for major in (True, False)]
    for batch_first, with_states in tries:
        run = runner(batch_first, with_states)
        try:
            finals = _try(module, net, prefix, run)
        except (Exception, SystemExit) as error:
            said = said or f"{type(error).__name__}: {error}"
            continue
        return _Form(run, with_states, bool(of_lengths), finals)
    raise AdapterError(f"{name} cannot be called with {', '.join(['x', *names])}: {said}")


def _flat(raw: Any) -> list[Any]:
    """Return the tensors that a call returned, however nested."""
    if isinstance(raw, PackedSequence) or not isinstance(raw, tuple | list):
        return [raw]
    return [tensor for part in raw for tensor in _flat(part)]


def _try(module: Any, net: Network, prefix: str, run: Callable[..., Any]) -> bool:
    """Return whether a call gives final states; raise where its outputs are not those of the samples by themselves."""
    m, s, e, u = PROBE
    rng = torch.Generator().manual_seed(0)
    X, other = (torch.randn(m, s, e, generator=rng) for _ in range(2))
    places = len(net.places)
    states = torch.randn(places, m, u, generator=rng), torch.randn(places, m, u, generator=rng)
    weights = {key: torch.randn(value.shape, generator=rng) for key, value in module.named_parameters()}
    with undisturbed(), torch.no_grad():
        out, *rest = run(module, weights, X, states, None)
        changed, *_ = run(module, weights, torch.cat([other[:1], X[1:]]), states, None)
    if tuple(out.shape) != (m, s, net.by_letter(*PROBE)["d"]):
        raise ValueError(f"it returned an output of shape {tuple(out.shape)}")
    if not torch.equal(out[1:], changed[1:]):
        raise ValueError("the output of one sample hangs on another")
    return [tuple(tensor.shape) for tensor in rest] == [(places, m, u)] * 2


def _target(make: Callable[[int, int], Any], net: Network, name: str, kind: str, form: _Form, prefix: str) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes and dtype."""
    modules: dict[Any, Any] = {}

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        leaves = {key: torch.from_numpy(np.array(inputs[key])).requires_grad_() for key in net.inputs}
        e, u = inputs["X"].shape[-1], inputs[net.initial[0]].shape[-1]
        key = (e, u, leaves["X"].dtype)
        if key not in modules:
            modules[key] = make(e, u).to(leaves["X"].dtype)
        weights, second = {}, {}
        for place in net.places:
            at = place.suffix
            for kind_, letter in (("weight_ih", "U"), ("weight_hh", "V")):
                weights[f"{prefix}{kind_}{at}"] = torch.cat([leaves[f"{letter}{g}{at}"].T for g in GATES])
            weights[f"{prefix}bias_ih{at}"] = torch.cat([leaves[f"b{g}{at}"][0] for g in GATES])
            second[at] = torch.zeros(4 * u, dtype=leaves["X"].dtype, requires_grad=True)
            weights[f"{prefix}bias_hh{at}"] = second[at]
        stacked = tuple(torch.stack([leaves[place.initial[k]] for place in net.places]) for k in (0, 1))
        lengths = torch.from_numpy(np.array(inputs["lengths"])) if "lengths" in inputs else None
        out, *rest = form.run(modules[key], weights, leaves["X"], stacked if form.states else None, lengths)
        found: dict[str, Any] = {"h": out}
        for k in (0, 1):
            found |= {p.finals[k]: rest[k][i] if form.finals else None for i, p in enumerate(net.places)}

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            pairs = [
                (value, torch.from_numpy(np.array(cotangents[f"d{n}"])))
                for n, value in found.items()
                if value is not None
            ]
            wanted = [*leaves.values(), *second.values()]
            outs, given = zip(*pairs, strict=True)
            came = torch.autograd.grad(outs, wanted, given, retain_graph=True, allow_unused=True)
            # The gradient of an input that no output hangs on is zero.
            values = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(wanted, came, strict=True)]
            arrays = [value.detach().numpy().copy() for value in values]
            gradients = {f"d{n}": value for n, value in zip(leaves, arrays, strict=False)}
            for (at, _), value in zip(second.items(), arrays[len(leaves) :], strict=True):
                gradients |= {_twin(g, at): part[np.newaxis] for g, part in zip(GATES, np.split(value, 4), strict=True)}
            kept = {n: v for n, v in gradients.items() if form.states or n.removeprefix("d") not in net.initial}
            return kept

        outputs = {n: None if value is None else value.detach().numpy().copy() for n, value in found.items()}
        return outputs, pullback

    lacks = {LAST}
    if not form.states:
        lacks |= {STATES, *(f"d{n}" for n in net.initial)}
    if not form.finals:
        lacks |= set(net.finals)
    twins = {_twin(g, place.suffix): f"db{g}{place.suffix}" for place in net.places for g in GATES}
    lengths = LENGTHS if form.lengths else ()
    notes = () if form.lengths else ("it takes no lengths: every sample has all steps",)
    target = Target(name, kind, call, frozenset(lacks), twins=twins, cell=net, lengths=lengths, notes=notes)
    return with_conventions(target)


def _twin(gate: str, suffix: str) -> str:
    """Return what the gradient of a second bias is called, which must be that of the first."""
    return f"db{gate}{suffix} of bias_hh{suffix}"
