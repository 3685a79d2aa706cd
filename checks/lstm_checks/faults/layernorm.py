"""Faults of layer normalisation: of the statistics, of what goes back through them, of gains, biases and places."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from lstm_checks.faults.model import Fault, Patch, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="layer normalisation", example="m1s1e1u2-layernorm-float64-seed0")
_NORMS = {"f": "forget gate", "i": "input gate", "g": "candidate", "o": "output gate", "C": "memory"}


def _r(k: str) -> str:
    """Return the line of an inverse deviation."""
    return f"r{k} = inverse_deviation({k}_ - mean({k}_))  # (10{k})"


def _z(k: str) -> str:
    """Return the line of what is normalised."""
    return f"z{k} = ({k}_ - mean({k}_)) * r{k}  # (11{k})"


def _l(k: str) -> str:
    """Return the line of that with its gain and bias."""
    return f'l{k} = z{k} * p["n{k}"] + p["b{k}"]  # (12{k})'


def _dz(k: str) -> str:
    """Return the line of the cotangent of what is normalised."""
    return f'dz{k} = dl{k} * p["n{k}"]  # (12{k})'


def _d(k: str) -> str:
    """Return the line of the cotangent of what is to be normalised."""
    return f"d{k}_ = (dz{k} - mean(dz{k}) - z{k} * mean(dz{k} * z{k})) * r{k}  # (11{k}), (10{k})"


_DZ_SUM = "np.sum(np.sum(dl * z, axis=-2), axis=-2)"
_DB_SUM = "np.sum(np.sum(dl, axis=-2), axis=-2)"

_Row = tuple[str, str, str, Callable[[str], tuple[Patch, ...]]]

_ONE_BY_ONE: tuple[_Row, ...] = (
    (
        "mean-cotangent-missing",
        "No cotangent goes back through the mean of the {}.",
        "the mean is taken for a constant.",
        lambda k: (in_backward(_d(k), f"d{k}_ = (dz{k} - z{k} * mean(dz{k} * z{k})) * r{k}"),),
    ),
    (
        "variance-cotangent-missing",
        "No cotangent goes back through the variance of the {}.",
        "the deviation is taken for a constant.",
        lambda k: (in_backward(_d(k), f"d{k}_ = (dz{k} - mean(dz{k})) * r{k}"),),
    ),
    (
        "statistics-detached",
        "No cotangent goes back through mean and variance of the {}.",
        "both are taken for constants, by stop_gradient, detach, or statistics that are kept.",
        lambda k: (in_backward(_d(k), f"d{k}_ = dz{k} * r{k}"),),
    ),
    (
        "deviation-missing",
        "The cotangent of the {} is not divided by its deviation.",
        "the last factor is missing.",
        lambda k: (in_backward(_d(k), f"d{k}_ = dz{k} - mean(dz{k}) - z{k} * mean(dz{k} * z{k})"),),
    ),
    (
        "cotangent-sums-for-means",
        "In the cotangent of the {} sums over the units stand for means.",
        "the 1/u is forgotten.",
        lambda k: (
            in_backward(
                _d(k),
                f"d{k}_ = (dz{k} - np.sum(dz{k}, axis=-1, keepdims=True)"
                f" - z{k} * np.sum(dz{k} * z{k}, axis=-1, keepdims=True)) * r{k}",
            ),
        ),
    ),
    (
        "gain-missing-backward",
        "The cotangent of the {} lacks its gain.",
        "the gain is in the forward pass alone.",
        lambda k: (in_backward(_dz(k), f"dz{k} = dl{k}"),),
    ),
    (
        "gain-after-statistics",
        "The cotangent of the {} is multiplied with its gain after the norm's backward pass.",
        "gain and norm go back in the order in which they went forth.",
        lambda k: (
            in_backward(_dz(k), f"dz{k} = dl{k}"),
            in_backward(_d(k), f'd{k}_ = (dz{k} - mean(dz{k}) - z{k} * mean(dz{k} * z{k})) * r{k} * p["n{k}"]'),
        ),
    ),
    (
        "gain-before",
        "The gain of the {} is applied before it is normalised.",
        "what is normalised has lost all that one gain for all would do; the gradient is as if it came after.",
        lambda k: (
            in_forward(_r(k), f'r{k} = inverse_deviation({k}_ * p["n{k}"] - mean({k}_ * p["n{k}"]))'),
            in_forward(_z(k), f'z{k} = ({k}_ * p["n{k}"] - mean({k}_ * p["n{k}"])) * r{k}'),
            in_forward(_l(k), f'l{k} = z{k} + p["b{k}"]'),
        ),
    ),
    (
        "gain-missing",
        "The {} has no gain.",
        "normalised, and its bias added; the gradient is as if there were one.",
        lambda k: (in_forward(_l(k), f'l{k} = z{k} + p["b{k}"]'),),
    ),
    (
        "bias-missing",
        "The {} has no bias.",
        "normalised, times its gain; the gradient is as if there were one.",
        lambda k: (in_forward(_l(k), f'l{k} = z{k} * p["n{k}"]'),),
    ),
    (
        "missing",
        "The {} is not normalised.",
        "a gain and a bias of what came; the gradient is right for that.",
        lambda k: (in_forward(_z(k), f"z{k} = {k}_"), in_backward(_d(k), f"d{k}_ = dz{k}")),
    ),
    (
        "mean-kept",
        "The {} is normalised without its mean taken off.",
        "the norm of the root mean square; the gradient is right for that.",
        lambda k: (
            in_forward(_r(k), f"r{k} = inverse_deviation({k}_)"),
            in_forward(_z(k), f"z{k} = {k}_ * r{k}"),
            in_backward(_d(k), f"d{k}_ = (dz{k} - z{k} * mean(dz{k} * z{k})) * r{k}"),
        ),
    ),
)
"""What goes wrong in one norm: id, title, why, and the patches by its letter."""

_OF_ALL = (
    (
        "epsilon-outside-root",
        "The small number is added to the deviation, outside of the root.",
        "1 / (sqrt(v) + epsilon).",
        "1 / (np.sqrt(mean({x} * {x})) + EPSILON)",
    ),
    (
        "epsilon-1e-5",
        "The small number is 1e-5.",
        "that of PyTorch and haste; TensorFlow's cell has 1e-12.",
        "1 / np.sqrt(mean({x} * {x}) + 1e-5)",
    ),
    (
        "epsilon-1e-3",
        "The small number is 1e-3.",
        "that of Keras's LayerNormalization.",
        "1 / np.sqrt(mean({x} * {x}) + 1e-3)",
    ),
    (
        "variance-of-one-less",
        "The variance is divided by u - 1.",
        "the sample's variance, as std() has it in PyTorch; the gradient is as if it were by u.",
        "1 / np.sqrt(np.sum({x} * {x}, axis=-1, keepdims=True) / max(f_.shape[-1] - 1, 1) + EPSILON)",
    ),
    (
        "divided-by-variance",
        "What is normalised is divided by its variance.",
        "the root is forgotten.",
        "1 / (mean({x} * {x}) + EPSILON)",
    ),
    (
        "deviation-of-sizes",
        "What is normalised is divided by the mean of its sizes.",
        "the mean absolute deviation.",
        "1 / (mean(abs({x})) + EPSILON)",
    ),
    (
        "over-samples",
        "The deviation is taken over the samples.",
        "the wrong axis, as in a batch norm.",
        "1 / np.sqrt(np.sum({x} * {x}, axis=-2, keepdims=True) / f_.shape[-2] + EPSILON)",
    ),
    (
        "over-all-samples-and-units",
        "The deviation is taken over samples and units together.",
        "no axis is said.",
        "1 / np.sqrt(np.sum({x} * {x}, axis=(-2, -1), keepdims=True) / (f_.shape[-2] * f_.shape[-1]) + EPSILON)",
    ),
)
"""What goes wrong in all norms alike: id, title, why, and the inverse deviation of x, whose mean is 0."""

_GATES_TOGETHER = "(mean(f_) + mean(i_) + mean(g_) + mean(o_)) / 4"


def _square(k: str) -> str:
    """Return the mean square of a gate's distance from the mean of all four."""
    return f"mean(({k}_ - {_GATES_TOGETHER}) * ({k}_ - {_GATES_TOGETHER}))"


_GRADIENTS = (
    (
        "gain-gradient-of-unnormalised",
        "The gains' gradients are made of what is not yet normalised.",
        "k_ for z.",
        'fc[f"z{gate}"]',
        'fc[f"{gate}_"]',
    ),
    (
        "gain-gradient-of-result",
        "The gains' gradients are made of what has its gain and bias already.",
        "l for z.",
        'fc[f"z{gate}"]',
        'fc[f"l{gate}"]',
    ),
    (
        "gain-and-bias-gradient-of-linear-cotangents",
        "The gains' and biases' gradients are made of the cotangents before the norms.",
        "dk_, what has gone back through the norm, for dl.",
        'bc[f"dl{gate}"]',
        'bc[f"d{gate}_"]',
    ),
    ("gain-gradient-without-value", "The gains' gradients are the biases'.", "z is forgotten.", _DZ_SUM, _DB_SUM),
    (
        "gain-gradient-of-last-step",
        "The gains' gradients have the last step alone.",
        "= for +=, in the loop over steps.",
        _DZ_SUM,
        "np.sum(dl * z, axis=-2)[..., -1, :]",
    ),
    (
        "bias-gradient-of-last-step",
        "The biases' gradients have the last step alone.",
        "= for +=, in the loop over steps.",
        _DB_SUM,
        "np.sum(dl, axis=-2)[..., -1, :]",
    ),
    (
        "gain-gradient-mean-over-samples",
        "The gains' gradients are means over the samples.",
        "each gradient is a sum.",
        _DZ_SUM,
        f"({_DZ_SUM} / z.shape[-2])",
    ),
    (
        "gain-gradient-sum-over-units",
        "The gains' gradients are each the sum over all units.",
        "one gain for all units.",
        _DZ_SUM,
        f"(0 * {_DZ_SUM} + np.sum({_DZ_SUM}, axis=-1, keepdims=True))",
    ),
)

_SMALLEST = {
    "layernorm-gain-gradient-mean-over-samples": "m2s1e1u2-layernorm-float64-seed0",
    "layernorm-mean-cotangent-missing-o": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-mean-cotangent-missing-C": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-statistics-detached-o": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-statistics-detached-C": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-bias-missing-C": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-missing-o": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-missing-C": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-mean-kept-o": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-mean-kept-C": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-over-samples": "m2s1e1u2-layernorm-float64-seed0",
    "layernorm-over-all-samples-and-units": "m2s1e1u2-layernorm-float64-seed0",
    "layernorm-of-all-gates-together": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-memory-handed-on-before": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-final-memory-cotangent-after-norm": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-memory-cotangent-past-norm": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-gain-gradient-of-unnormalised": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-gain-gradient-of-result": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-gain-and-bias-gradient-of-linear-cotangents": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-gain-gradient-without-value": "m1s1e1u1-layernorm-float64-seed0",
    "layernorm-gain-gradient-of-last-step": "m1s2e1u2-layernorm-float64-seed0",
    "layernorm-bias-gradient-of-last-step": "m1s2e1u1-layernorm-float64-seed0",
}
"""The smallest examples of those that the usual one does not show."""

_FAULTS = (
    *(
        _fault(
            id=f"layernorm-{id}-{k}",
            title=title.format(name),
            explanation=f"(10{k}) to (12{k}): {why}",
            patches=patches(k),
        )
        for id, title, why, patches in _ONE_BY_ONE
        for k, name in _NORMS.items()
        if (id, k) != ("bias-missing", "o")  # which is in the catalogue, as the plain cell's
    ),
    *(
        _fault(
            id=f"layernorm-{id}",
            title=title,
            explanation=f"(10): {why}",
            patches=tuple(
                in_forward(_r(k), f"r{k} = {deviation.format(x=f'({k}_ - mean({k}_))')}  # (10{k})") for k in _NORMS
            ),
        )
        for id, title, why, deviation in _OF_ALL
    ),
    _fault(
        id="layernorm-of-all-gates-together",
        title="The four gates are normalised together.",
        explanation="(10), (11): one norm over 4 u values, before they are parted; the gradient is as if each had its"
        " own.",
        patches=(
            *(in_forward(_z(k), f"z{k} = ({k}_ - {_GATES_TOGETHER}) * r{k}") for k in "figo"),
            *(
                in_forward(_r(k), f"r{k} = 1 / np.sqrt(({' + '.join(_square(j) for j in 'figo')}) / 4 + EPSILON)")
                for k in "figo"
            ),
        ),
    ),
    _fault(
        id="layernorm-memory-handed-on-before",
        title="The memory is handed on as it was before it was normalised.",
        explanation="(6), (12C): as haste has it; the gradient is right for that.",
        patches=(
            in_forward("h, lC = h0, C0", "h, C_ = h0, C0"),
            in_forward("hp, Cp_ = h, lC", "hp, Cp_ = h, C_"),
            in_forward("rC, zC, lC)", "rC, zC, C_)"),
            in_backward("o * tanh_derivative(C) + dCn", "o * tanh_derivative(C)"),
            in_backward(_d("C"), f"{_d('C').partition('  #')[0]} + dCn"),
        ),
    ),
    _fault(
        id="layernorm-final-memory-cotangent-after-norm",
        title="dCn joins after the norm's backward pass.",
        explanation="(12C): what is handed on is the normalised memory, and its cotangent goes through the norm.",
        patches=(
            in_backward("o * tanh_derivative(C) + dCn", "o * tanh_derivative(C)"),
            in_backward(_d("C"), f"{_d('C').partition('  #')[0]} + dCn"),
        ),
    ),
    _fault(
        id="layernorm-memory-cotangent-past-norm",
        title="The memory's cotangent goes past its norm.",
        explanation="(10C), (11C): the gates' norms are differentiated and the memory's is not.",
        patches=(in_backward(_d("C"), "dC_ = dlC"),),
    ),
    *(
        _fault(id=f"layernorm-{id}", title=title, explanation=f"(12): {why}", patches=(in_gradients(old, new),))
        for id, title, why, old, new in _GRADIENTS
    ),
    *(
        _fault(
            id=f"layernorm-{what}-exchanged-f-i",
            title=f"The {what} of forget and input gate are exchanged.",
            explanation="(12f), (12i): they are stored one after the other, and read in another order; the gradient is"
            " as if they were not.",
            patches=(
                in_forward(_l("f"), _l("f").replace(f'"{letter}f"', f'"{letter}i"')),
                in_forward(_l("i"), _l("i").replace(f'"{letter}i"', f'"{letter}f"')),
            ),
        )
        for what, letter in (("gains", "n"), ("biases", "b"))
    ),
    _fault(
        id="layernorm-gains-begin-at-0",
        title="A gain is what is added to 1.",
        explanation="(12): z (1 + n) + b, as where gains are initialised with zeros; the gradient is right for that.",
        patches=(
            *(in_forward(_l(k), f'l{k} = z{k} * (1 + p["n{k}"]) + p["b{k}"]') for k in _NORMS),
            *(in_backward(_dz(k), f'dz{k} = dl{k} * (1 + p["n{k}"])') for k in _NORMS),
        ),
    ),
    _fault(
        id="layernorm-forget-bias-added",
        title="1 is added to the forget gate's normalised value.",
        explanation="(12f): TensorFlow's forget_bias, left at its default beside the norm's own bias.",
        patches=(in_forward(_l("f"), 'lf = zf * p["nf"] + p["bf"] + 1'),),
    ),
)

FAULTS = tuple(replace(fault, example=_SMALLEST.get(fault.id, fault.example)) for fault in _FAULTS)
