"""PyTorch as a target: its own `torch.nn.LSTM`, anybody's module, and functions of tensors.

Parameters go in through `checks.layouts`, gradients come out by `torch.autograd`, whatever backward pass is in it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from checks.adapters import common
from checks.adapters.common import NO_STATES, AdapterError, Form, Run
from checks.cases import Arrays
from checks.contract import INPUTS, PARAMETERS, Target
from checks.layouts import LAYOUTS


class Autograd:
    """`torch.autograd`, as a `checks.adapters.common.Library`."""

    compiles = False

    def evaluator(self, run: Run) -> common.Evaluate:
        """Return a function of named arrays that gives the outputs of `run`, and its pullback."""

        def evaluate(arrays: Mapping[str, Any]) -> Any:
            tensors = {k: torch.from_numpy(np.array(v)).requires_grad_() for k, v in arrays.items()}
            found = run(tensors)
            present = [output for output in found if output is not None]

            def pullback(*cotangents: Any) -> dict[str, Any]:
                given = [torch.from_numpy(c.copy()).to(o.device) for c, o in zip(cotangents, present, strict=False)]
                gradients = torch.autograd.grad(
                    present, list(tensors.values()), given, retain_graph=True, allow_unused=True
                )
                # The gradient of an input that no output hangs on is zero.
                pairs = zip(tensors, gradients, strict=True)
                return {k: np.zeros_like(arrays[k]) if g is None else _numpy(g) for k, g in pairs}

            return tuple(None if output is None else _numpy(output) for output in found), pullback

        return evaluate

    def look(self, run: Run, arrays: Mapping[str, Any]) -> Any:
        """Return the outputs."""
        return self.evaluator(run)(arrays)[0]


def _numpy(tensor: Any) -> Any:
    """Return a tensor, wherever it is, as an array of its own."""
    return tensor.detach().cpu().numpy().copy()


def framework_target() -> Target:
    """Return the target of a one-layer, batch-first `torch.nn.LSTM` on the CPU."""
    return _from_module(
        lambda e, u: torch.nn.LSTM(e, u, batch_first=True), f"torch {torch.__version__}", "torch.nn.LSTM"
    )


def recognize(found: Any, name: str) -> Target | None:
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
    if is_class and issubclass(found, torch.nn.LSTM):
        keywords = {"batch_first": True}

    def make(e: int, u: int) -> Any:
        return found(e, u, **keywords)

    module = common.make_module(make, name) if is_class else common.attempt(make, *common.PROBE[2:])
    if not isinstance(module, torch.nn.Module):
        return None
    return _from_module(make, name, f"torch.nn.Module {type(module).__name__}")


def function_target(function: Callable[..., Any], name: str, states: bool) -> Target | None:
    """Return the target of a function of tensors, (p, X, h0, C0) or (p, X) to h and Cn; None if it is none."""
    p, inputs = common.probe_arrays()
    tensors = {key: torch.from_numpy(value) for key, value in (p | inputs).items()}
    weights = {key: tensors[key] for key in p}
    arguments = [tensors[key] for key in inputs] if states else [tensors["X"]]
    h, _ = common.outputs(common.attempt(function, weights, *arguments))
    if not isinstance(h, torch.Tensor):
        return None
    form = Form(function) if states else Form(lambda weights, X, h0, C0: function(weights, X), NO_STATES)
    return common.target_of(name, "function of torch tensors", (LAYOUTS["named"], ""), [form], Autograd(), named=True)


def _from_module(make: Callable[[int, int], Any], name: str, kind: str) -> Target:
    """Return the target of the modules that `make(e, u)` makes; one serves all calls of equal sizes and dtype."""
    first = common.make_module(make, name)
    if isinstance(first, torch.jit.ScriptModule):
        raise AdapterError(
            f"{name} is a scripted module, whose weights cannot be replaced; expected the one before torch.jit.script"
        )
    weights = common.layout_of({key: tuple(value.shape) for key, value in first.named_parameters()}, name)
    modules: dict[Any, Any] = {}

    def call(given: Mapping[str, Any], X: Any, u: int, *states: Any) -> Any:
        e = X.shape[-1]
        key = (e, u, X.dtype)
        if key not in modules:
            modules[key] = make(e, u).to(X.dtype)
        device = next(modules[key].parameters()).device
        return torch.func.functional_call(modules[key], *_moved((dict(given), (X, *states)), device))

    return common.target_of(name, kind, weights, _forms(call), Autograd())


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
            h, C = call(given, X[:, t], h.shape[-1], *join(h, C))
            every.append(h)
        return torch.stack(every, 1), C

    def apart(h: Any, C: Any) -> tuple[Any, ...]:
        return h, C

    def pair(h: Any, C: Any) -> tuple[Any, ...]:
        return ((h, C),)

    def layered(h: Any, C: Any) -> tuple[Any, ...]:
        return ((h[None], C[None]),)

    def none(h: Any, C: Any) -> tuple[Any, ...]:
        return ()

    def whole(join: Callable[..., Any], time_major: bool) -> Callable[..., Any]:
        def apply(given: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
            X = X.transpose(0, 1) if time_major else X
            h, Cn = common.outputs(call(given, X, h0.shape[-1], *join(h0, C0)))
            return h.transpose(0, 1) if time_major else h, Cn

        return apply

    forms = [Form(whole(join, major)) for join in (layered, pair, apart) for major in (False, True)]
    for join in (pair, apart):
        forms.append(Form(lambda given, X, h, C, join=join: steps(given, X, h, C, join)))  # type: ignore[misc]
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
            given = dict(zip(INPUTS, (_numpy(value) for value in inputs), strict=True))
            p = {name: given[name] for name in PARAMETERS}
            (h, Cn), ctx.pullback = target.call(p, given["X"], given["h0"], given["C0"], True)
            return torch.from_numpy(h.copy()), torch.from_numpy(Cn.copy())

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            """Return the gradients in the order of the inputs."""
            found = ctx.pullback(*(_numpy(value) for value in cotangents))
            return tuple(torch.from_numpy(np.array(found["d" + name])) for name in INPUTS)

    inputs = tuple(torch.from_numpy(value.copy()).requires_grad_() for value in arrays.inputs.values())
    with np.errstate(all="ignore"):
        return bool(torch.autograd.gradcheck(Layer.apply, inputs, raise_exception=False))
