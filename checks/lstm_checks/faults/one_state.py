"""Faults of the cells that hand on the hidden state alone: GRUs and the RNN.

What the families say of the memory can go wrong with the hidden state here, by texts that these cells share: how it
begins, what is passed back, and what is kept between calls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lstm_checks.contract import Target
from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

FAMILY = "one-state"

BEGIN = "    trace = []\n    h = h0\n"
BEFORE = "        hp = h\n"
KEPT = ", h))\n"
TRACE = "trace.append((hp, "
START = "    trace = []\n    for s in reversed"
DUE = "dA_s + dhn  # (9)"
PASS_ON = "        dhn = dh\n"
LEFT = '"dh0": dhn}'
RETURN = "    return g\n"

_ORDER = '    p = {{**p, **{{k + read: p[k + gate] for gate, read in zip("{gates}", "{order}") for k in "{kinds}"}}}}\n'
_RENAMED = (
    '    g |= {{f"d{{k}}{{gate}}": g[f"d{{k}}{{read}}"] for gate, read in zip("{gates}", "{order}") for k in "UVb"}}\n'
)


def of_order(cell: str, gates: str, order: str, explanation: str) -> Fault:
    """Return the fault of weights packed in one order of the gates and read in another, in all passes alike."""
    words = {"gates": gates, "order": order}
    rename = _ORDER.format(**words, kinds="UVb")
    return Fault(
        id=f"gates-read-as-{order}",
        family=FAMILY,
        title=f"Weights packed in the order {', '.join(gates)} are read as {', '.join(order)}.",
        explanation=explanation,
        patches=(
            in_forward(BEGIN, rename + BEGIN),
            in_backward(START, rename + START),
            in_gradients(RETURN, _RENAMED.format(**words) + RETURN),
        ),
        example=f"m1s1e1u1-{cell}-float64-seed0",
    )


def faults(cell: str) -> tuple[Fault, ...]:
    """Return the faults that every cell of one state can have, for one of them by its name."""
    return (*_passed_back(cell), *_begun(cell), *_between_calls(cell))


def _passed_back(cell: str) -> Iterator[Fault]:
    """Yield what goes wrong with the cotangent that a step passes to the step before."""
    fault = partial(Fault, family=FAMILY, example=f"m1s2e1u1-{cell}-float64-seed0")
    for how, words in (("doubled", "twice"), ("halved", "half of")):
        factor = {"doubled": "2", "halved": "0.5"}[how]
        yield fault(
            id=f"hidden-cotangent-{how}",
            title=f"What is passed back is {words} dh.",
            explanation="(9): it is added up twice, or taken for a mean of two paths.",
            patches=(in_backward(PASS_ON, f"        dhn = {factor} * dh\n"),),
            example=f"m1s1e1u1-{cell}-float64-seed0",
        )
    yield fault(
        id="hidden-cotangent-across-samples",
        title="What is passed back is dh of the sample before.",
        explanation="(9): an index over samples that is one off in the carry.",
        patches=(in_backward(PASS_ON, "        dhn = np.concatenate([dh[..., 1:, :], dh[..., :1, :]], axis=-2)\n"),),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-cotangent-mean-over-samples",
        title="What is passed back is the mean of dh over the samples.",
        explanation="(9): the mean that belongs to the loss, or to a bias, is taken of the carry.",
        patches=(in_backward(PASS_ON, "        dhn = dh * 0 + np.sum(dh, axis=-2)[..., None, :] / dh.shape[-2]\n"),),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-cotangent-truncated-after-three",
        title="Nothing is passed back further than three steps.",
        explanation="(9): truncated backpropagation, left on where the full gradient is expected.",
        patches=(in_backward(PASS_ON, "        dhn = dh if s == 0 or s > dA.shape[-2] - 4 else 0 * dh\n"),),
        example=f"m1s5e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-cotangent-truncated-in-windows",
        title="Nothing is passed back over the border of a window of four steps.",
        explanation="(9): truncated backpropagation in windows of fixed length.",
        patches=(in_backward(PASS_ON, "        dhn = 0 * dh if s and s % 4 == 0 else dh\n"),),
        example=f"m1s5e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-cotangent-lost-after-eight",
        title="What is passed back is lost beyond eight steps.",
        explanation="(9): a ring buffer of eight steps, too short for the sequence.",
        patches=(in_backward(PASS_ON, "        dhn = 0 * dh if s and s == dA.shape[-2] - 8 else dh\n"),),
        example=f"m1s9e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="backward-stops-before-first-step",
        title="The backward pass stops before the first step.",
        explanation="(1) to (9): a loop from s - 1 down to 1 and not to 0: `reversed(range(1, s))`.",
        patches=(in_backward(DUE, "(dA_s + dhn) * (s > 0)  # (9)"),),
        example=f"m1s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="backward-starts-at-last-step-but-one",
        title="The backward pass starts at the last step but one.",
        explanation="(1) to (9): a loop from s - 2 on; the final state's cotangent arrives a step too early.",
        patches=(
            in_backward(DUE, "(dA_s + dhn) * (s < dA.shape[-2] - 1)  # (9)"),
            in_backward(PASS_ON, "        dhn = dh if s < dA.shape[-2] - 1 else dhn\n"),
        ),
        example=f"m1s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="padded-steps-pass-nothing-back",
        title="Where X is zero in all elements, nothing is passed back.",
        explanation="(9): a mask made of X, as for padding, in the backward pass alone.",
        patches=(
            in_backward(
                PASS_ON,
                '        padded = np.sum(np.abs(fc["X"][..., s, :]), axis=-1)[..., None] == 0\n'
                "        dhn = dh * (1 - padded)\n",
            ),
        ),
        example=f"m1s1e1u1-{cell}-float64-padded-seed0",
    )


def _begun(cell: str) -> Iterator[Fault]:
    """Yield what goes wrong with the state before the first step and with the one that a step begins with."""
    fault = partial(Fault, family=FAMILY, example=f"m1s1e1u1-{cell}-float64-seed0")
    yield fault(
        id="initial-hidden-gradient-zero",
        title="dh0 is zero.",
        explanation="(9): what is left over when the loop ends is thrown away.",
        patches=(in_backward(LEFT, '"dh0": 0 * dhn}'),),
    )
    yield fault(
        id="initial-hidden-gradient-of-first-output",
        title="dh0 is the whole cotangent of the first step's h.",
        explanation="(9): read before the first step's equations have been gone back through.",
        patches=(in_backward(LEFT, '"dh0": bc["dh_"][..., 0, :]}'),),
    )
    yield fault(
        id="initial-hidden-gradient-of-last-step",
        title="dh0 is what the last step passes back.",
        explanation="(9): the first entry of a list that was filled from the last step on.",
        patches=(in_backward(LEFT, '"dh0": bc["dh"][..., -1, :]}'),),
        example=f"m1s2e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="initial-hidden-ignored",
        title="h0 is ignored: every sequence begins from zero.",
        explanation="(1): the state is made anew within the layer; the gradient is as if it had been used.",
        patches=(in_forward(BEGIN, "    trace = []\n    h = 0 * h0\n"),),
    )
    yield fault(
        id="initial-hidden-activated",
        title="h0 is activated once more before the first step.",
        explanation="(1): tanh of a state that is one already; hidden where h0 is zero.",
        patches=(in_forward(BEGIN, "    trace = []\n    h = tanh(h0)\n"),),
    )
    yield fault(
        id="initial-hidden-of-first-sample",
        title="All samples begin from the first one's h0.",
        explanation="(1): h0 is broadcast, as if it were one for the whole batch.",
        patches=(in_forward(BEGIN, "    trace = []\n    h = 0 * h0 + h0[..., :1, :]\n"),),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="initial-hidden-of-next-sample",
        title="Each sample begins from the next one's h0.",
        explanation="(1): samples are sorted and their states are not.",
        patches=(
            in_forward(BEGIN, "    trace = []\n    h = np.concatenate([h0[..., 1:, :], h0[..., :1, :]], axis=-2)\n"),
        ),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-from-h0-at-every-step",
        title="Every step begins from h0.",
        explanation="(1): hp is never set to h; each step stands alone.",
        patches=(in_forward(BEFORE, "        hp = h0\n"),),
        example=f"m1s2e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-two-steps-late",
        title="Every step begins from the state two steps before.",
        explanation="(1): a buffer that is read one slot too far back.",
        patches=(in_forward(BEFORE, "        hp = trace[-2][-1] if s > 1 else h0\n"),),
        example=f"m1s2e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-of-previous-sample",
        title="Each sample's step begins from another sample's state.",
        explanation="(1): a flat index over samples and units that is one row off, in the forward pass alone.",
        patches=(in_forward(BEFORE, "        hp = np.concatenate([h[..., 1:, :], h[..., :1, :]], axis=-2)\n"),),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-kept-after-the-step",
        title="The backward pass takes h for hp.",
        explanation="(1), (9): hp is kept after h was overwritten.",
        patches=(in_forward(TRACE, "trace.append((h, "),),
    )
    yield fault(
        id="hidden-returned-one-step-late",
        title="The output is the state before each step.",
        explanation="(9): h is stored before it is overwritten; the gradient is as if it were the state after.",
        patches=(in_forward(KEPT, ", hp))\n"),),
    )
    yield fault(
        id="hidden-forgotten-after-eight",
        title="The state is zero again after every eight steps.",
        explanation="(1): sequences are cut into chunks, and the state is not handed from chunk to chunk.",
        patches=(in_forward(BEFORE, "        hp = 0 * h if s and s % 8 == 0 else h\n"),),
        example=f"m1s9e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="hidden-clipped-at-half",
        title="The state is kept within 0.5 as it is handed on.",
        explanation="(1): a clip that was meant for gradients, or for exploding states; the gradient does not know.",
        patches=(in_forward(BEFORE, "        hp = np.clip(h, -0.5, 0.5)\n"),),
    )


def _between_calls(cell: str) -> Iterator[Fault]:
    """Yield the faults of calls that the catalogue has of the memory, or of the plain cell's first gate."""
    fault = partial(Fault, family=FAMILY, example=f"m1s1e1u1-{cell}-float64-seed0")
    yield fault(
        id="initial-hidden-written",
        title="The final state is written into h0.",
        explanation="No equation is violated; the state is updated in place, in the caller's array.",
        wrap=_write_state,
    )
    yield fault(
        id="final-hidden-cotangent-written",
        title="The backward pass works in the caller's cotangent of the final state.",
        explanation="No equation is violated; what is passed back is updated in place, in the caller's array.",
        wrap=_write_cotangent,
    )
    yield fault(
        id="hidden-carried-over",
        title="Given a zero h0, a call starts from the final state of the call before.",
        explanation="(1): a stateful layer where a stateless one is expected; right at the first call.",
        wrap=_carry_state,
        example=f"m1s1e1u1-{cell}-float64-nostates-seed0",
    )
    yield fault(
        id="weights-packed-once",
        title="The parameters of the first call of a shape are used ever after.",
        explanation="(1): they are packed for speed, and nothing unpacks the news; right at the first call.",
        wrap=_pack_once,
    )
    yield fault(
        id="weights-packed-by-identity",
        title="Parameters changed in place are not noticed.",
        explanation="(1): they are packed anew only where the array is another one; an optimizer writes in place.",
        wrap=_pack_by_identity,
    )
    yield fault(
        id="bias-tail-of-bigger-call",
        title="After a call of more samples, the first bias's gradient also sums what that call has left in the"
        " buffer.",
        explanation="(1): the buffer keeps its largest size, and the sum runs over all of it.",
        wrap=_keep_tail,
    )
    yield fault(
        id="initial-hidden-of-first-call",
        title="The backward pass uses h0 of the first call of that shape.",
        explanation="(1): the initial state is kept for the backward pass once and for all; right at the first call.",
        wrap=_keep_first_state,
    )


def _write_state(target: Target) -> Target:
    """Return the target that writes the final state into h0."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call({**inputs, "h0": inputs["h0"].copy()}, sequences)
        inputs["h0"][...] = outputs["h"][:, -1]
        return outputs, pullback

    return replace(target, call=call)


def _write_cotangent(target: Target) -> Target:
    """Return the target whose pullback leaves dh0 in the caller's cotangent of the final state."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback({**cotangents, "dhn": cotangents["dhn"].copy()}))
            cotangents["dhn"][...] = gradients["dh0"]
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _carry_state(target: Target) -> Target:
    """Return the target that starts from the last call's final state where it is given a zero one."""
    states: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        key = inputs["h0"].shape, inputs["h0"].dtype
        if key in states and not inputs["h0"].any():
            inputs = {**inputs, "h0": states[key]}
        outputs, pullback = target.call(inputs, sequences)
        states[key] = outputs["h"][:, -1].copy()
        return outputs, pullback

    return replace(target, call=call)


def _pack_once(target: Target) -> Target:
    """Return the target that packs its parameters at the first call of a shape and keeps the packed ones."""
    packed: dict[Any, Mapping[str, Any]] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        key = *(inputs[name].shape for name in target.cell.parameters), inputs["X"].dtype
        own = packed.setdefault(key, {name: inputs[name].copy() for name in target.cell.parameters})
        return target.call({**inputs, **own}, sequences)

    return replace(target, call=call)


def _pack_by_identity(target: Target) -> Target:
    """Return the target that packs its parameters anew only when it is given other arrays."""
    held: list[Any] = []
    first, *_ = target.cell.parameters

    def call(inputs: Any, sequences: bool = True) -> Any:
        if not held or held[0] is not inputs[first]:
            held[:] = [inputs[first], {name: inputs[name].copy() for name in target.cell.parameters}]
        return target.call({**inputs, **held[1]}, sequences)

    return replace(target, call=call)


def _keep_tail(target: Target) -> Target:
    """Return the target whose first bias's gradient also sums the samples that a bigger call before has left."""
    tails: dict[Any, Any] = {}
    bias = next(f"d{name}" for name, axes in target.cell.parameters.items() if axes == "1u")

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)

        def pull(cotangents: Any) -> dict[str, Any]:
            gradients = dict(pullback(cotangents))
            m, key = inputs["X"].shape[0], (inputs["X"].dtype, gradients[bias].shape)
            size, tail = tails.get(key, (0, 0))
            if size > m:
                gradients[bias] = gradients[bias] + tail
            else:
                tails[key] = m, gradients[bias].copy()
            return gradients

        return outputs, pull

    return replace(target, call=call)


def _keep_first_state(target: Target) -> Target:
    """Return the target whose backward pass starts from the first h0 that it met."""
    kept: dict[Any, Any] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        first = kept.setdefault((inputs["h0"].shape, inputs["h0"].dtype), inputs["h0"].copy())
        outputs, _ = target.call(inputs, sequences)
        _, pullback = target.call({**inputs, "h0": first}, sequences)
        return outputs, pullback

    return replace(target, call=call)
