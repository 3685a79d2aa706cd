"""Every cell and its networks written anew in PyTorch, of which nothing but the forward pass is written.

A stranger to `lstm_ref`: the gates are packed, X and h are one product, samples of several lengths are run together and
masked, activation functions are PyTorch's own, and every gradient is PyTorch's autograd's. `calibrate_cells.py` judges
it as one right implementation of each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lstm_checks.cases import Arrays
from lstm_ref.cell import Cell
from lstm_ref.slots import USUAL, Activation

Tensors = Mapping[str, Any]

torch.set_num_threads(1)


def _softplus(x: Any) -> Any:
    """Return log(1 + e^x); PyTorch's own is x itself above 20, which is 2e-9 off."""
    return torch.logaddexp(x, torch.zeros_like(x))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "affine": lambda x, a, b: a * x + b,
    "relu": torch.relu,
    "leakyrelu": functional.leaky_relu,
    "thresholdedrelu": lambda x, a: functional.threshold(x, a, 0.0),
    "scaledtanh": lambda x, a, b: a * torch.tanh(b * x),
    "hardsigmoid": lambda x, a, b: torch.clamp(a * x + b, 0, 1),
    "hardsigmoid6": lambda x: torch.clamp(x / 6 + 0.5, 0, 1),  # PyTorch's own has a sixth of single precision
    "clippedsigmoid": lambda x, a: torch.sigmoid(torch.clamp(x, -a, a)),
    "clippedtanh": lambda x, a: torch.tanh(torch.clamp(x, -a, a)),
    "elu": functional.elu,
    "softsign": functional.softsign,
    "softplus": _softplus,
    "relu6": lambda x: torch.clamp(x, 0, 6),
    "hardtanh": functional.hardtanh,
    "selu": torch.selu,
    "exponential": torch.exp,
    "swish": functional.silu,
    "hardswish": lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
    "gelutanh": lambda x: functional.gelu(x, approximate="tanh"),
    "mish": functional.mish,
}
"""PyTorch's functions, by their names in `lstm_ref.slots.KINDS`."""


def slots_of(cell: Cell) -> dict[str, Callable[[Any], Any]]:
    """Return the function of each slot, and what cuts off a memory where the cell has a limit."""
    chosen = {slot: cell.activations.get(slot, Activation(kind)) for slot, kind in USUAL.items()}
    found = {slot: lambda x, a=a: FUNCTIONS[a.kind](x, *a.numbers) for slot, a in chosen.items()}
    return found | {name: lambda x, a=a: torch.clamp(x, -a, a) for name, a in cell.numbers.items()}


def gates_of(p: Tensors, gates: str, x: Any, h: Any) -> tuple[Any, ...]:
    """Return the linear activations of some gates, in one product of x and h with all their weights."""
    weights = torch.cat([torch.cat([p[f"U{k}"], p[f"V{k}"]]) for k in gates], 1)
    product = torch.cat((x, h), 1) @ weights
    if f"b{gates[0]}" in p:
        product = product + torch.cat([p[f"b{k}"] for k in gates], 1)
    return product.chunk(len(gates), 1)


def _plain(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    i, f, o, g = gates_of(p, "ifog", x, h)
    C = act["f"](f) * C + act["f"](i) * act["g"](g)
    return act["f"](o) * act["h"](C), C


def _clipped(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    i, f, o, g = gates_of(p, "ifog", x, h)
    C = act["LIMIT"](act["f"](f) * C + act["f"](i) * act["g"](g))
    return act["f"](o) * act["h"](C), C


def _coupled(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    f, o, g = gates_of(p, "fog", x, h)
    C = torch.lerp(act["g"](g), C, act["f"](f))
    return act["f"](o) * act["h"](C), C


def _peephole(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    i, f, o, g = gates_of(p, "ifog", x, h)
    C_ = act["f"](f + p["pf"] * C) * C + act["f"](i + p["pi"] * C) * act["g"](g)
    return act["f"](o + p["po"] * C_) * act["h"](C_), C_


def _projected(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    whole, C = _plain({name: value for name, value in p.items() if name != "P"}, act, x, h, C)
    return whole @ p["P"], C


def _layernorm(p: Tensors, act: Any, x: Any, h: Any, C: Any) -> tuple[Any, ...]:
    def normed(value: Any, k: str) -> Any:
        return functional.layer_norm(value, value.shape[-1:], p[f"n{k}"][0], p[f"b{k}"][0], eps=1e-12)

    bare = {name: value for name, value in p.items() if name[0] in "UV"}
    i, f, o, g = (normed(value, k) for k, value in zip("ifog", gates_of(bare, "ifog", x, h), strict=True))
    C = normed(torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g), "C")
    return torch.sigmoid(o) * torch.tanh(C), C


def _gru(p: Tensors, act: Any, x: Any, h: Any) -> tuple[Any, ...]:
    r, z = gates_of(p, "rz", x, h)
    (g,) = gates_of(p, "g", x, act["f"](r) * h)
    return (torch.lerp(act["g"](g), h, act["f"](z)),)


def _gru_reset_after(p: Tensors, act: Any, x: Any, h: Any) -> tuple[Any, ...]:
    r, z = gates_of(p, "rz", x, h)
    g = torch.addmm(p["bg"], x, p["Ug"]) + act["f"](r) * torch.addmm(p["cg"], h, p["Vg"])
    return (torch.lerp(act["g"](g), h, act["f"](z)),)


def _rnn(p: Tensors, act: Any, x: Any, h: Any) -> tuple[Any, ...]:
    return tuple(map(act["g"], gates_of(p, "g", x, h)))


STEPS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "plain": _plain,
    "coupled": _coupled,
    "peephole": _peephole,
    "projected": _projected,
    "layernorm": _layernorm,
    "clipped": _clipped,
    "gru": _gru,
    "gru_reset_after": _gru_reset_after,
    "rnn": _rnn,
}
"""One step of each cell: from the parameters, the activations, x and the states to the states."""


def run(cell: Cell, p: Tensors, X: Any, states: list[Any], lengths: Any, reverse: bool) -> tuple[Any, list[Any]]:
    """Return the output of every step of one cell over a padded batch, and its final states."""
    step, act = STEPS[(cell.written_as or cell).name], slots_of(cell)
    s = X.shape[1]
    hs: list[Any] = [None] * s
    for t in reversed(range(s)) if reverse else range(s):
        on = (lengths > t)[:, None]
        after = step(p, act, X[:, t], *states)
        states = [torch.where(on, new, old) for new, old in zip(after, states, strict=True)]
        hs[t] = torch.where(on, after[0], torch.zeros_like(after[0]))
    return torch.stack(hs, 1), states


def outputs(cell: Cell, given: Tensors, lengths: Any) -> dict[str, Any]:
    """Return the outputs of a cell or a network, from tensors by name."""
    if not cell.places:
        h, final = run(cell, given, given["X"], [given[name] for name in cell.initial], lengths, False)
        return dict(zip(cell.outputs, (h, *final[1:]), strict=True))
    found, x = {}, given["X"]
    for layer in cell.by_layer:  # type: ignore[attr-defined]
        hs = []
        for place in layer:
            p = {name: given[name + place.suffix] for name in place.cell.parameters}
            h, final = run(place.cell, p, x, [given[name] for name in place.initial], lengths, place.reverse)
            hs.append(h)
            found |= dict(zip(place.finals, final, strict=True))
        x = torch.cat(hs, 2) if cell.join == "concat" else sum(hs)  # type: ignore[attr-defined]
    return {"h": x} | found


def evaluate(arrays: Arrays) -> dict[str, Any]:
    """Return the outputs and all gradients, as NumPy arrays by name, in the arrays' dtype."""
    cell = arrays.cell
    given = {name: torch.tensor(value, requires_grad=True) for name, value in arrays.inputs.items()}
    m, s = arrays["X"].shape[:2]
    lengths = torch.tensor([s] * m if cell.lengths is None else cell.lengths)
    found = outputs(cell, given, lengths)
    due = {name: torch.tensor(value) for name, value in arrays.cotangents.items()}
    if cell.folded:
        due["dh"] = torch.tensor(arrays.dh_total)
    pulled = torch.autograd.grad(
        list(found.values()), list(given.values()), [due[f"d{name}"] for name in found], allow_unused=True
    )
    gradients = {
        f"d{name}": np.zeros(value.shape, value.dtype) if grad is None else grad.numpy()
        for (name, value), grad in zip(arrays.inputs.items(), pulled, strict=True)
    }
    return {name: value.detach().numpy() for name, value in found.items()} | gradients
