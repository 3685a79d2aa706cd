"""Faults that live between calls: state kept where there should be none, arrays shared or written to.

Each is a wrapper round a target; the state that it keeps belongs to the target that it returns.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.contract import Target
from lstm_checks.faults.model import Fault

_fault = partial(Fault, family="calls")


def _keep_buffers(target: Target) -> Target:
    """Return the target with one array a shape for h, written again by every call."""
    buffers: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)
        h = outputs["h"]
        buffer = buffers.setdefault((h.shape, h.dtype), np.empty_like(h))
        buffer[...] = h
        return {**outputs, "h": buffer}, pullback

    return replace(target, call=call)


def _keep_gradient_buffers(target: Target) -> Target:
    """Return the target with one array a shape for each gradient, written again by every call."""
    buffers: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            for name, value in gradients.items():
                gradients[name] = buffers.setdefault((name, value.shape, value.dtype), np.empty_like(value))
                gradients[name][...] = value
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _accumulate(target: Target) -> Target:
    """Return the target whose parameter gradients add up over the calls of one shape."""
    sums: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            for name in target.cell.parameters:
                value = gradients["d" + name]
                key = name, value.shape, value.dtype
                sums[key] = sums[key] + value if key in sums else value
                gradients["d" + name] = sums[key].copy()
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _accumulate_input_gradient(target: Target) -> Target:
    """Return the target whose dX adds up over the calls of one shape."""
    sums: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            key = inputs["X"].shape, inputs["X"].dtype
            sums[key] = sums[key] + gradients["dX"] if key in sums else gradients["dX"]
            gradients["dX"] = sums[key].copy()
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _write_input(target: Target) -> Target:
    """Return the target that leaves X scaled."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        X = inputs["X"]
        result = target.call({**inputs, "X": X.copy()}, sequences)
        X[...] = X / max(float(np.max(np.abs(X))), 1e-30)
        return result

    return replace(target, call=call)


def _write_states(target: Target) -> Target:
    """Return the target that writes the final memory state into C0."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        own = {name: inputs[name].copy() for name in target.cell.initial}
        outputs, pullback = target.call({**inputs, **own}, sequences)
        inputs["C0"][...] = outputs["Cn"]
        return outputs, pullback

    return replace(target, call=call)


def _write_parameters(target: Target) -> Target:
    """Return the target whose pullback takes a step of gradient descent."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            for name in target.cell.parameters:
                inputs[name][...] -= 0.01 * gradients["d" + name]
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _write_cotangents(target: Target) -> Target:
    """Return the target whose pullback leaves what it passes back in the caller's cotangent of Cn."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback({**cotangents, "dCn": cotangents["dCn"].copy()}))
            cotangents["dCn"][...] = gradients["dC0"]
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _write_output(target: Target) -> Target:
    """Return the target whose pullback leaves its own cotangent in h."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            outputs["h"][...] = cotangents["dh"]
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _carry_states(target: Target) -> Target:
    """Return the target that starts from the last call's final states where it is given zero ones."""
    states: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        key = inputs["h0"].shape, inputs["h0"].dtype
        if key in states and not any(inputs[name].any() for name in target.cell.initial):
            inputs = {**inputs, **states[key]}
        outputs, pullback = target.call(inputs, sequences)
        states[key] = {"h0": outputs["h"][:, -1].copy(), "C0": outputs["Cn"].copy()}
        return outputs, pullback

    return replace(target, call=call)


def _pack_once(target: Target) -> Target:
    """Return the target that packs its parameters at the first call of a shape and keeps the packed ones."""
    packed: dict[Any, Mapping[str, Any]] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        key = inputs["Uf"].shape, inputs["X"].dtype
        own = packed.setdefault(key, {name: inputs[name].copy() for name in target.cell.parameters})
        return target.call({**inputs, **own}, sequences)

    return replace(target, call=call)


def _pack_by_identity(target: Target) -> Target:
    """Return the target that packs its parameters anew only when it is given other arrays."""
    held: list[Any] = []

    def call(inputs: Any, sequences: bool = True) -> Any:
        if not held or held[0] is not inputs["Uf"]:
            held[:] = [inputs["Uf"], {name: inputs[name].copy() for name in target.cell.parameters}]
        return target.call({**inputs, **held[1]}, sequences)

    return replace(target, call=call)


def _remember_input(target: Target) -> Target:
    """Return the target that takes an X it has met for the X it was then, by the array and not its values."""
    held: list[Any] = []

    def call(inputs: Any, sequences: bool = True) -> Any:
        if not held or held[0] is not inputs["X"]:
            held[:] = [inputs["X"], inputs["X"].copy()]
        return target.call({**inputs, "X": held[1]}, sequences)

    return replace(target, call=call)


def _keep_tail(target: Target) -> Target:
    """Return the target whose db also sums the samples that a bigger call before has left in the buffer."""
    tails: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            m, key = inputs["X"].shape[0], (inputs["X"].dtype, gradients["dbf"].shape)
            size, tail = tails.get(key, (0, 0))
            if size > m:
                gradients["dbf"] = gradients["dbf"] + tail
            else:
                tails[key] = m, gradients["dbf"].copy()
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _keep_first_state(target: Target) -> Target:
    """Return the target whose backward pass starts from the first C0 that it met."""
    kept: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        C0 = inputs["C0"]
        first = kept.setdefault((C0.shape, C0.dtype), C0.copy())
        outputs, _ = target.call(inputs, sequences)
        _, pullback = target.call({**inputs, "C0": first}, sequences)
        return outputs, pullback

    return replace(target, call=call)


def _drop_out(target: Target) -> Target:
    """Return the target that sets half of h to zero, anew at every call."""
    rng = np.random.default_rng(0)

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)
        return {**outputs, "h": outputs["h"] * (rng.random(outputs["h"].shape) >= 0.5)}, pullback

    return replace(target, call=call)


def _start_cold(target: Target) -> Target:
    """Return the target whose dX is zero after a call of another shape."""
    shape: list[Any] = []

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            if shape and shape != [inputs["X"].shape]:
                gradients["dX"] = 0 * gradients["dX"]
            shape[:] = [inputs["X"].shape]
            return gradients

        return outputs, pull

    return replace(target, call=call)


FAULTS = (
    _fault(
        id="outputs-in-one-buffer",
        title="h is returned in a buffer that the next call of that shape writes again.",
        explanation="No equation is violated in any single call; buffers are reused to save time, and handed out.",
        wrap=_keep_buffers,
    ),
    _fault(
        id="gradients-in-one-buffer",
        title="The gradients are returned in buffers that the next call of those shapes writes again.",
        explanation="No equation is violated in any single call; buffers are reused to save time, and handed out.",
        wrap=_keep_gradient_buffers,
    ),
    _fault(
        id="gradients-never-zeroed",
        title="The parameters' gradients are added to those of the calls before.",
        explanation="(1): += into arrays that nobody sets to zero; right at the first call.",
        wrap=_accumulate,
    ),
    _fault(
        id="input-gradient-never-zeroed",
        title="dX is added to that of the calls before of the same shape.",
        explanation="(1): += into an array that nobody sets to zero; right at the first call.",
        wrap=_accumulate_input_gradient,
    ),
    _fault(
        id="input-written",
        title="X is scaled in place.",
        explanation="No equation is violated; a layer that prepares its input writes to the caller's array.",
        wrap=_write_input,
    ),
    _fault(
        id="initial-state-written",
        title="The final memory state is written into C0.",
        explanation="No equation is violated; the state is updated in place, in the caller's array.",
        wrap=_write_states,
    ),
    _fault(
        id="parameters-written",
        title="The backward pass takes a step of gradient descent.",
        explanation="No equation is violated; gradient and update are one function, and the caller's parameters move.",
        wrap=_write_parameters,
    ),
    _fault(
        id="cotangent-written",
        title="The backward pass works in the caller's cotangent of the final memory state.",
        explanation="No equation is violated; the carry is updated in place, in the caller's array.",
        wrap=_write_cotangents,
    ),
    _fault(
        id="output-written-by-pullback",
        title="The backward pass writes to h, which the forward pass has handed out.",
        explanation="No equation is violated; one buffer serves for h and for its cotangent.",
        wrap=_write_output,
    ),
    _fault(
        id="states-carried-over",
        title="Given zero initial states, a call starts from the final ones of the call before.",
        explanation="(1), (6): a stateful layer where a stateless one is expected; right at the first call.",
        wrap=_carry_states,
        example="m1s1e1u1-float64-nostates-seed0",
    ),
    _fault(
        id="parameters-packed-once",
        title="The parameters of the first call of a shape are used ever after.",
        explanation="(1): they are packed for speed, and nothing unpacks the news; right at the first call.",
        wrap=_pack_once,
        seen="pytorch/pytorch#95563 (a cache whose key left out some of the parameters)",
    ),
    _fault(
        id="parameters-packed-by-identity",
        title="Parameters changed in place are not noticed.",
        explanation="(1): they are packed for speed, anew only where the array is another one; an optimizer writes in"
        " place.",
        wrap=_pack_by_identity,
    ),
    _fault(
        id="input-remembered-by-identity",
        title="An X changed in place is not noticed.",
        explanation="(1): its copy on the device is made anew only where the array is another one; a data loader"
        " writes in place.",
        wrap=_remember_input,
    ),
    _fault(
        id="tail-of-bigger-call",
        title="After a call of more samples, dbf also sums what that call has left in the buffer.",
        explanation="(1f): the buffer keeps its largest size, and the sum runs over all of it.",
        wrap=_keep_tail,
    ),
    _fault(
        id="initial-state-of-first-call",
        title="The backward pass uses C0 of the first call of that shape.",
        explanation="(6): the initial state is kept for the backward pass once and for all; right at the first call.",
        wrap=_keep_first_state,
    ),
    _fault(
        id="dropout-left-on",
        title="Half of h is dropped at random.",
        explanation="(8): a layer in training mode; two calls with the same inputs differ.",
        wrap=_drop_out,
        example="m1s1e1u1-float64-seed0",
    ),
    _fault(
        id="zero-after-change-of-shape",
        title="After a call of another shape, dX is zero.",
        explanation="(1): the buffer is made anew and handed out before it is filled; right where shapes stay.",
        wrap=_start_cold,
    ),
)
