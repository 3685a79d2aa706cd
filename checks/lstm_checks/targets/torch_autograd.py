"""`torch.autograd` as what differentiates: tensors of arrays, as they lie in memory, and arrays of tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch._functorch.config
from torch.utils._python_dispatch import TorchDispatchMode

from lstm_checks.contract import CHANGE, EMPTY, KEEPS, SEVERAL, STILL, STRIDES
from lstm_checks.formats import array_dtype, is_floating
from lstm_checks.targets import common
from lstm_checks.targets.common import Run
from lstm_checks.targets.torch_ways import ways_of
from lstm_checks.targets.ways import Way

# A pullback is asked for more than once, and what torch.compile makes would give its buffers away in the first.
torch._functorch.config.donated_buffer = False


class Autograd:
    """`torch.autograd`, as a `lstm_checks.targets.common.Library`."""

    compiles = False
    can = frozenset({SEVERAL, CHANGE, KEEPS, STILL, STRIDES, EMPTY})

    def evaluator(self, run: Run) -> common.Evaluate:
        """Return a function of named arrays that gives the outputs of `run`, and its pullback."""

        def evaluate(arrays: Mapping[str, Any], still: frozenset[str] = frozenset()) -> Any:
            still = still | {k for k, v in arrays.items() if not is_floating(v.dtype)}
            tensors = {k: tensor_of(v).requires_grad_(k not in still) for k, v in arrays.items()}
            moving = {k: tensor for k, tensor in tensors.items() if k not in still}
            found = run(tensors)

            def pullback(cotangents: Any, moved: Mapping[str, Any] | None = None) -> dict[str, Any]:
                with torch.no_grad():
                    # Into the tensors themselves, as an optimizer's step writes.
                    for name, value in (moved or {}).items():
                        tensors[name].copy_(tensor_of(value))
                # An output whose cotangent is absent is not used: autograd gives its operation none, or zero.
                pairs = zip(found, cotangents, strict=True)
                used = [(output, c) for output, c in pairs if output is not None and c is not None]
                given = [_like(tensor_of(c), output) for output, c in used]
                gradients = torch.autograd.grad(
                    [output for output, _ in used], list(moving.values()), given, retain_graph=True, allow_unused=True
                )
                # The gradient of an input that no output hangs on is zero.
                named = zip(moving, gradients, strict=True)
                return {k: np.zeros(arrays[k].shape, arrays[k].dtype) if g is None else numpy_of(g) for k, g in named}

            X = arrays["X"]
            return tuple(None if o is None else common.as_given(numpy_of(o), X) for o in found), pullback

        return evaluate

    @staticmethod
    def ways(run: Run) -> Mapping[str, Way]:
        """Return the ways in which PyTorch differentiates besides."""
        return ways_of(run)

    def look(self, run: Run, arrays: Mapping[str, Any]) -> Any:
        """Return the outputs."""
        return self.evaluator(run)(arrays)[0]

    def low_precision(self, run: Run, arrays: Mapping[str, Any]) -> str:
        """Return the dtype of low precision that an operation of the forward pass gives, such as under autocast."""
        with _Dtypes() as seen:
            run({name: tensor_of(value) for name, value in arrays.items()})
        return next((low for low in common.LOW if f"torch.{low}" in seen.given), "")

    def unreached(self, run: Run, arrays: Mapping[str, Any]) -> set[str]:
        """Return the arrays that no output hangs on by autograd, though one does when their numbers change."""
        tensors = {name: tensor_of(value).requires_grad_() for name, value in arrays.items()}
        found = [output.sum() for output in run(tensors) if output is not None]
        gradients = torch.autograd.grad(found, list(tensors.values()), allow_unused=True)
        return {name for name, gradient in zip(tensors, gradients, strict=True) if gradient is None}


class _Dtypes(TorchDispatchMode):
    """Sees the dtypes of what all operations give, those that autocast puts in among them."""

    def __init__(self) -> None:
        super().__init__()
        self.given: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what an operation gives."""
        result = function(*args, **(kwargs or {}))
        found = result if isinstance(result, tuple | list) else (result,)
        self.given |= {str(value.dtype) for value in found if isinstance(value, torch.Tensor)}
        return result


def tensor_of(array: Any) -> Any:
    """Return a tensor of an array's numbers, in memory as they are there where a tensor can be so."""
    if array.dtype.name == "bfloat16":
        # Bit by bit: neither knows the other's, and both know 16 bits.
        return tensor_of(array.view(np.int16)).view(torch.bfloat16)
    strides, item = array.strides, array.dtype.itemsize
    if array.flags.c_contiguous or any(stride < 0 or stride % item for stride in strides) or not array.size:
        return torch.from_numpy(np.array(array, order="C"))
    reach = 1 + sum((n - 1) * stride // item for n, stride in zip(array.shape, strides, strict=True))
    laid = torch.zeros(reach, dtype=torch.from_numpy(np.zeros(1, array.dtype)).dtype)
    laid = laid.as_strided(array.shape, [stride // item for stride in strides])
    if 0 in strides:  # a number that stands for many is written once
        at = tuple(slice(None, 1) if stride == 0 else slice(None) for stride in strides)
        laid[at].copy_(torch.from_numpy(np.array(array[at])))
        return laid
    return laid.copy_(torch.from_numpy(np.array(array)))


def numpy_of(tensor: Any) -> Any:
    """Return a tensor, wherever it is, as an array of its own."""
    there = tensor.detach().cpu()
    if there.dtype == torch.bfloat16:
        return there.contiguous().view(torch.int16).numpy().copy().view(array_dtype("bfloat16"))
    return there.numpy().copy()


def _like(cotangent: Any, output: Any) -> Any:
    """Return a cotangent where its output is, and in its dtype where that is a shorter one, as after autocast."""
    shorter = output.dtype in (torch.float16, torch.bfloat16) and cotangent.dtype == torch.float32
    return cotangent.to(output.device, output.dtype if shorter else cotangent.dtype)
