"""PyTorch's own `torch.nn.LSTM` as a target: parameters in by name, gradients out by `torch.autograd`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from checks.contract import DHN, LAST, Target

# torch stacks the gates as rows of one matrix in this order (torch.nn.LSTM, "weight_ih_l[k]").
GATE_ORDER = ("i", "f", "g", "o")


def framework_target() -> Target:
    """Return the target of a one-layer, batch-first `torch.nn.LSTM` on the CPU."""
    twins = {f"db{gate} of bias_hh": f"db{gate}" for gate in GATE_ORDER}
    name = f"torch {torch.__version__}"
    return Target(name, "torch.nn.LSTM", _call, frozenset({DHN, LAST}), twins=twins)


def _call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
    """Return the outputs and the pullback of `torch.nn.LSTM` with the given parameters."""
    e, u = p["Uf"].shape
    module = torch.nn.LSTM(e, u, batch_first=True, dtype=torch.from_numpy(X.copy()).dtype)
    # The two biases are only ever added: all of it in one, so that the sum is exact; each has a gradient of its own.
    values = {
        "weight_ih_l0": np.concatenate([p[f"U{k}"].T for k in GATE_ORDER]),
        "weight_hh_l0": np.concatenate([p[f"V{k}"].T for k in GATE_ORDER]),
        "bias_ih_l0": np.concatenate([p[f"b{k}"][0] for k in GATE_ORDER]),
        "bias_hh_l0": np.zeros(4 * u, X.dtype),
    }
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.from_numpy(value))
    inputs = [torch.from_numpy(array.copy()).requires_grad_() for array in (X, h0[np.newaxis], C0[np.newaxis])]
    h, (_, Cn) = module(inputs[0], (inputs[1], inputs[2]))
    weights = [getattr(module, name) for name in values]

    def pullback(dh: Any, dCn: Any, dhn: Any = None) -> dict[str, Any]:
        found = torch.autograd.grad(
            (h, Cn),
            [*weights, *inputs],
            (torch.from_numpy(dh), torch.from_numpy(dCn[np.newaxis])),
            retain_graph=True,
        )
        dih, dhh, dbih, dbhh, dX, dh0, dC0 = (gradient.numpy().copy() for gradient in found)
        gradients = {"dX": dX, "dh0": dh0[0], "dC0": dC0[0]}
        for k, gate in enumerate(GATE_ORDER):
            rows = slice(k * u, (k + 1) * u)
            gradients[f"dU{gate}"] = np.ascontiguousarray(dih[rows].T)
            gradients[f"dV{gate}"] = np.ascontiguousarray(dhh[rows].T)
            gradients[f"db{gate}"] = dbih[np.newaxis, rows].copy()
            gradients[f"db{gate} of bias_hh"] = dbhh[np.newaxis, rows].copy()
        return gradients

    return (h.detach().numpy().copy(), Cn[0].detach().numpy().copy()), pullback
