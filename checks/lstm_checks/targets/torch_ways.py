"""The ways in which PyTorch differentiates besides one pullback."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from lstm_checks.contract import SAMPLES, TRAINING
from lstm_checks.targets.ways import Asked, Part, Way

Tensors = dict[str, Any]


def ways_of(run: Any) -> Mapping[str, Way]:
    """Return the ways of a function of tensors by name, to (h, Cn), by the words of `Target.can`."""
    ways = {
        "jvp": _jvp,
        "dual numbers": _dual_numbers,
        "reverse over reverse": _reverse_over_reverse,
        "forward over reverse": _forward_over_reverse,
        SAMPLES: _samples,
        TRAINING: _training,
    }
    return {word: partial(way, run) for word, way in ways.items()}


def _tensors(arrays: Mapping[str, Any]) -> Tensors:
    """Return tensors of their own."""
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def _numpy(tensor: Any) -> Any:
    """Return a tensor as an array of its own."""
    return None if tensor is None else tensor.detach().cpu().numpy().copy()


def _direction(asked: Asked) -> Tensors:
    """Return the direction, zero for arrays of which nobody gave one."""
    return _tensors({name: asked.direction.get(name, np.zeros_like(value)) for name, value in asked.arrays.items()})


def _jvp(run: Any, asked: Asked) -> Sequence[Part]:
    """Ask torch.func.jvp."""

    def given(tensors: Tensors) -> Any:
        return tuple(output for output in run(tensors) if output is not None)

    found, moved, *_ = torch.func.jvp(given, (_tensors(asked.arrays),), (_direction(asked),))
    none = (None,) * (2 - len(found))
    return [Part("t", (*map(_numpy, moved), *none)), Part("again ", (*map(_numpy, found), *none))]


def _dual_numbers(run: Any, asked: Asked) -> Sequence[Part]:
    """Ask forward mode by dual tensors."""
    with forward_ad.dual_level():
        moving = _direction(asked)
        duals = {n: forward_ad.make_dual(value, moving[n]) for n, value in _tensors(asked.arrays).items()}
        pairs = [None if output is None else forward_ad.unpack_dual(output) for output in run(duals)]
        found = [None if pair is None else _numpy(pair.primal) for pair in pairs]
        # An output without a tangent does not move.
        moved = [
            None if pair is None else np.zeros_like(value) if pair.tangent is None else _numpy(pair.tangent)
            for pair, value in zip(pairs, found, strict=True)
        ]
    return [Part("t", moved), Part("again ", found)]


def _used(run: Any, tensors: Tensors, asked: Asked) -> tuple[list[Any], list[Any]]:
    """Return the outputs that a cotangent is given of, and these."""
    pairs = [*zip(run(tensors), asked.cotangents, strict=True)]
    used = [(output, c) for output, c in pairs if output is not None and c is not None]
    return [output for output, _ in used], [c for _, c in used]


def _inner(ones: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return the sum of the inner products of pairs."""
    return sum(torch.sum(one * other) for one, other in zip(ones, others, strict=True))


def _reverse_over_reverse(run: Any, asked: Asked) -> Sequence[Part]:
    """Ask for the gradient of the gradient, with a graph made of it: of the inputs, and of the cotangents."""
    tensors = {name: tensor.requires_grad_() for name, tensor in _tensors(asked.arrays).items()}
    used, given = _used(run, tensors, asked)
    pairs = zip(used, given, strict=True)
    cotangents = [torch.from_numpy(np.array(value)).to(o.device).requires_grad_() for o, value in pairs]
    gradients = torch.autograd.grad(used, list(tensors.values()), cotangents, create_graph=True, allow_unused=True)
    direction = _direction(asked)
    reached = [(g, direction[name]) for name, g in zip(tensors, gradients, strict=True) if g is not None]
    of = [*tensors.values(), *cotangents]
    # By `backward`, which goes to the end of every path: `grad` leaves out what leads to none of its inputs, and there
    # is the error of a function that is marked as once differentiable, in whose place nothing would be added.
    _inner(*zip(*reached, strict=True)).backward()
    twice = [torch.zeros_like(one) if one.grad is None else one.grad for one in of]
    moved = iter(twice[len(tensors) :])
    pushed = [None if c is None else _numpy(next(moved)) for c in asked.cotangents]
    return [Part("d", gradients=dict(zip(tensors, map(_numpy, twice), strict=False))), Part("t", pushed)]


def _forward_over_reverse(run: Any, asked: Asked) -> Sequence[Part]:
    """Ask forward mode for the derivative of a pullback."""

    def gradients(tensors: Tensors) -> Any:
        return torch.func.vjp(lambda given: _used(run, given, asked)[0], tensors)[1](cotangents)[0]

    with torch.no_grad():
        _, given = _used(run, _tensors(asked.arrays), asked)
    cotangents = [torch.from_numpy(np.array(value)) for value in given]
    _, moved, *_ = torch.func.jvp(gradients, (_tensors(asked.arrays),), (_direction(asked),))
    return [Part("d", gradients={name: _numpy(tensor) for name, tensor in moved.items()})]


def _samples(run: Any, asked: Asked) -> Sequence[Part]:
    """Ask for forward pass and pullback of each sample, all of them by one torch.func.vmap."""
    tensors = _tensors(asked.arrays)
    apart = {name: tensors.pop(name)[:, None] for name in asked.apart}
    apart |= {name: tensors.pop(name) for name in asked.stacked}

    def of_one(own: Tensors, cotangents: list[Any]) -> Any:
        def outputs(given: Tensors) -> Any:
            return [output for output in run(given) if output is not None]

        found, pullback, *_ = torch.func.vjp(outputs, tensors | own)
        return found, pullback(cotangents)[0]

    given = [torch.from_numpy(np.array(value))[:, None] for value in asked.cotangents if value is not None]
    found, gradients = torch.func.vmap(of_one)(apart, given)
    none = (None,) * (len(asked.cotangents) - len(found))
    return [
        Part(f"{k}: ", [*(_numpy(o[k]) for o in found), *none], {n: _numpy(g[k]) for n, g in gradients.items()})
        for k in range(len(given[0]))
    ]


def _training(run: Any, asked: Asked) -> Sequence[Part]:
    """Train as people do: add up, set to zero in both ways, clip, take a step, and go on."""
    tensors = {name: tensor.requires_grad_() for name, tensor in _tensors(asked.arrays).items()}
    still = {*asked.apart, *asked.held}
    weights = [tensor for name, tensor in tensors.items() if name not in still]
    others = [tensor for name, tensor in tensors.items() if name in still]
    # X, the states and what is held get gradients, and no step.
    groups = [{"params": weights, "lr": asked.how["rate"]}, {"params": others, "lr": 0.0}]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], lr=0.0)

    def told(words: str, factor: float = 1.0, outputs: Any = None) -> Part:
        found = {n: torch.zeros_like(t) if t.grad is None else factor * t.grad for n, t in tensors.items()}
        return Part(f"{words}: ", outputs, {name: _numpy(value) for name, value in found.items()})

    def loss() -> Any:
        used, given = _used(run, tensors, asked)
        return _inner(used, [torch.from_numpy(np.array(c)).to(o.device) for o, c in zip(used, given, strict=True)])

    used, given = _used(run, tensors, asked)
    halves = [torch.from_numpy(np.array(c)).to(o.device) / 2 for o, c in zip(used, given, strict=True)]
    whole = _inner(used, halves) + _inner(used, halves)
    whole.backward(retain_graph=True)
    parts = [told("of a loss that uses each output twice")]
    whole.backward()
    parts.append(told("added up over two backward passes of one graph", 0.5))
    optimizer.zero_grad(set_to_none=False)
    loss().backward()
    parts.append(told("after the gradients were set to zero in place"))
    loss().backward()
    parts.append(told("added up over two forward passes", 0.5))
    optimizer.zero_grad(set_to_none=True)
    loss().backward()
    parts.append(told("after the gradients were set to None"))
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.grad is not None:
                tensor.grad.mul_(0.5)
    parts.append(told("with gradients halved in place, as clipping does", 2.0))
    optimizer.step()
    optimizer.zero_grad()
    parts.append(Part("stepped: ", inputs={name: _numpy(tensor) for name, tensor in tensors.items()}))
    loss().backward()
    with torch.no_grad():
        outputs = [None if output is None else _numpy(output) for output in run(tensors)]
    return [*parts, told("after", outputs=outputs)]
