"""Faults of clipping: right for gradients to train with, wrong for gradients to check."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="clipping")
_RETURN = "    return g\n"
_PASS_ON = "        dhn, dCn = dh, dC\n"
_UPDATE = "C_ = f * Cp_ + i * g  # (6)"
_NORM = "np.sqrt(sum(np.sum(v * v, axis=(-2, -1), keepdims=True) for v in g.values()))"

FAULTS = (
    *(
        _fault(
            id=f"gradients-clipped-at-{limit}",
            title=f"dU, dV and db are clipped to [-{limit}, {limit}] by entry.",
            explanation="(1): a training aid inside the layer, which cannot be turned off. Hidden by small gradients.",
            patches=(
                in_gradients(_RETURN, f"    return {{k: np.clip(v, -{limit}, {limit}) for k, v in g.items()}}\n"),
            ),
            example=example,
        )
        for limit, example in ((1, "m1s1e1u1-float64-seed0"), (5, "m1s1e2u1-float64-mixed-nostates-seed2"))
    ),
    _fault(
        id="gradients-clipped-by-norm",
        title="dU, dV and db are scaled down to a norm of 1 each.",
        explanation="(1): a training aid inside the layer, and tensor by tensor, so that even the direction changes."
        " Hidden by small gradients.",
        patches=(
            in_gradients(
                _RETURN,
                "    norms = {k: np.sqrt(np.sum(v * v, axis=(-2, -1), keepdims=True)) for k, v in g.items()}\n"
                "    return {k: v / np.maximum(norms[k], 1) for k, v in g.items()}\n",
            ),
        ),
    ),
    _fault(
        id="gradients-clipped-by-global-norm",
        title="dU, dV and db are scaled down to a norm of 5 together.",
        explanation="(1): a training aid inside the layer, which cannot be turned off. Hidden by small gradients.",
        patches=(
            in_gradients(
                _RETURN, f"    norm = {_NORM}\n    return {{k: v / np.maximum(norm / 5, 1) for k, v in g.items()}}\n"
            ),
        ),
        example="m1s1e1u1-float64-mixed-nostates-seed2",
    ),
    _fault(
        id="gradients-normalized",
        title="dU, dV and db are scaled to a norm of 1 together, be it more or less.",
        explanation="(1): clipping by the norm without its condition, so that small gradients grow.",
        patches=(
            in_gradients(_RETURN, f"    norm = {_NORM} + 1e-12\n    return {{k: v / norm for k, v in g.items()}}\n"),
        ),
    ),
    _fault(
        id="small-gradients-zeroed",
        title="Entries of dU, dV and db below 1e-8 are set to zero.",
        explanation="(1): taken for noise. Hidden by gradients of usual size.",
        patches=(in_gradients(_RETURN, "    return {k: v * (abs(v) >= 1e-8) for k, v in g.items()}\n"),),
        example="m1s1e1u1-float64-x100-seed0",
    ),
    _fault(
        id="hidden-cotangent-clipped",
        title="dh passed on is clipped to [-1, 1].",
        explanation="(1), (9): against exploding gradients, within the recurrence (Graves 2013). Hidden by small"
        " cotangents.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = np.clip(dh, -1, 1), dC\n"),),
        example="m1s1e1u1-float64-nostates-seed0",
    ),
    _fault(
        id="memory-cotangent-clipped",
        title="dC passed on is clipped to [-1, 1].",
        explanation="(6): against exploding gradients, within the recurrence. Hidden by small cotangents.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = dh, np.clip(dC, -1, 1)\n"),),
    ),
    _fault(
        id="linear-cotangents-clipped",
        title="The cotangents of the linear activations are clipped to [-1, 1].",
        explanation="(2) to (5): against exploding gradients, at the gates (Graves 2013). Hidden by small cotangents.",
        patches=(
            in_backward(
                "        dX = ",
                "        df_, di_, dg_, do_ = (np.clip(k, -1, 1) for k in (df_, di_, dg_, do_))\n        dX = ",
            ),
        ),
    ),
    _fault(
        id="cell-clipped",
        title="The memory is clipped to [-3, 3].",
        explanation="(6): cell_clip of TensorFlow, cell_clip of projected LSTMs; the backward pass does not know."
        " Hidden until the memory has grown.",
        patches=(in_forward(_UPDATE, "C_ = np.clip(f * Cp_ + i * g, -3, 3)  # (6)"),),
        example="m1s1e1u2-float64-mixed-seed1",
    ),
    _fault(
        id="cell-clipped-in-both-passes",
        title="The memory is clipped to [-3, 3], and the backward pass knows.",
        explanation="(6): as before, with a gradient that is right for what the layer computes, so that no check"
        " against its own forward pass can tell.",
        patches=(
            in_forward(_UPDATE, "C_ = np.clip(f * Cp_ + i * g, -3, 3)  # (6)"),
            in_backward("        df = dC_", '        dC_ = dC_ * (abs(fc["C_"][..., s, :]) < 3)\n        df = dC_'),
        ),
        example="m1s1e1u2-float64-mixed-seed1",
    ),
)
