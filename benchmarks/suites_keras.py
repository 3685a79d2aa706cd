"""Keras's own tests of its LSTM, run in their own code, where what computes the layer is the reference with a fault.

Keras ships `keras/src/layers/rnn/lstm_test.py` in its wheel and its source distribution. The tests are run as they
stand; `LSTM.inner_loop`, which is what a backend's own implementation takes the place of, is replaced: h, the states
and the gradients of X, the states and the weights are those of `lstm_ref` in float64, with or without a fault. Masks,
directions, states between calls, training and all else is Keras's; dropout, with which no number is compared, is left
out. Needs the extra `keras` and PyTorch.
"""

import contextlib
import io
import os
import unittest
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.contract import PLAIN
from lstm_checks.faults.model import Fault, evaluate
from lstm_checks.oracles.expected import evaluate_reference

ORDER = "ifgo"
"""The gates in the columns of Keras's kernels."""


def failing(fault: Fault | None) -> list[str]:
    """Return which of Keras's own tests fail where its LSTM has a fault; none of them where it has None."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras.src.layers.rnn import lstm_test

    if keras.backend.backend() != "torch":
        raise RuntimeError(f"Keras computes with {keras.backend.backend()} here, expected torch: set KERAS_BACKEND")
    cases = unittest.TestLoader().loadTestsFromTestCase(lstm_test.LSTMTest)
    result = unittest.TestResult()
    with _planted(fault), contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        cases.run(result)
    if result.testsRun < 6 or result.skipped:
        raise RuntimeError(f"{result.testsRun} of Keras's tests were run, expected at least 6: {lstm_test.__file__}")
    return sorted(case.id().rpartition(".")[2] for case, _ in (*result.failures, *result.errors))


@contextlib.contextmanager
def _planted(fault: Fault | None) -> Iterator[None]:
    """Have Keras's LSTM computed by the reference with a fault."""
    from keras.src.layers import LSTM

    def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        return _computed(self, sequences, initial_state, mask, fault)

    own, LSTM.inner_loop = LSTM.inner_loop, inner_loop
    try:
        yield
    finally:
        LSTM.inner_loop = own


def _computed(layer: Any, X: Any, states: Any, mask: Any, fault: Fault | None) -> Any:
    """Return what `inner_loop` does: the last output, all of them, and the states."""
    import torch

    weights = [layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias]
    kernel, recurrent, bias = (None if one is None else getattr(one, "value", one) for one in weights)
    if X.is_meta:  # Keras asks for the shape alone
        h = X.new_zeros((*X.shape[:2], layer.units))
        return h[:, -1], h, [h[:, -1], h[:, -1]]
    bias = torch.zeros(4 * layer.units, dtype=kernel.dtype) if bias is None else bias
    if layer.go_backwards:
        X, mask = X.flip(1), None if mask is None else mask.flip(1)
    if mask is None:
        h, C = _step(fault)(X, *states, kernel, recurrent, bias)
        return h[:, -1], h, [h[:, -1], C]
    # A step that is masked leaves its sample's states as they are.
    outputs, finals = [], []
    for k, kept in enumerate(mask.bool()):
        h, C = _step(fault)(X[k : k + 1][:, kept], *(one[k : k + 1] for one in states), kernel, recurrent, bias)
        before = torch.zeros_like(h[:, :1])
        place = kept.cumsum(0)
        shown = torch.cat([before, h], 1)[:, place]
        outputs.append(shown * kept[None, :, None] if layer.zero_output_for_mask else shown)
        finals.append((h[:, -1], C))
    h, last, C = torch.cat(outputs), torch.cat([one for one, _ in finals]), torch.cat([one for _, one in finals])
    return h[:, -1], h, [last, C]


def _step(fault: Fault | None) -> Any:
    """Return the layer as a function of torch tensors, with the fault's own gradients."""
    import torch

    def arrays_of(X: Any, h0: Any, C0: Any, kernel: Any, recurrent: Any, bias: Any, **cotangents: Any) -> Arrays:
        X, h0, C0, kernel, recurrent, bias = (
            one.detach().double().numpy() for one in (X, h0, C0, kernel, recurrent, bias)
        )
        u = h0.shape[-1]
        named = {"X": X, "h0": h0, "C0": C0}
        for k, gate in enumerate(ORDER):
            columns = slice(k * u, (k + 1) * u)
            named |= {
                f"U{gate}": kernel[:, columns],
                f"V{gate}": recurrent[:, columns],
                f"b{gate}": bias[None, columns],
            }
        given = {name: one.detach().double().numpy() for name, one in cotangents.items()}
        zeros = {name: np.zeros(PLAIN.shape(name, *X.shape, u)) for name in PLAIN.cotangents}
        return Arrays({name: np.ascontiguousarray(one) for name, one in {**zeros, **named, **given}.items()}, PLAIN)

    def values_of(arrays: Arrays) -> Any:
        return evaluate_reference(arrays) if fault is None else evaluate(fault, arrays)

    class Computed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            values = values_of(arrays_of(*inputs))
            return tuple(torch.from_numpy(np.array(values[name])).to(inputs[0].dtype) for name in ("h", "Cn"))

        @staticmethod
        def backward(ctx: Any, dh: Any, dCn: Any) -> Any:
            values = values_of(arrays_of(*ctx.saved_tensors, dh=dh, dCn=dCn))
            packed = [np.concatenate([values[f"d{kind}{gate}"] for gate in ORDER], -1) for kind in "UVb"]
            found = [values["dX"], values["dh0"], values["dC0"], *packed[:2], packed[2][0]]
            return tuple(
                torch.from_numpy(np.array(one)).to(given.dtype)
                for one, given in zip(found, ctx.saved_tensors, strict=True)
            )

    return Computed.apply
