"""Faults of other activations: an option ignored, the derivative of another function, pieces put together wrong.

Those of one function are faults of each cell that has it in a slot; those of an option are faults of each cell with
anything unusual in that slot.
"""

from dataclasses import replace
from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_other_activations

_fault = partial(Fault, family="activation functions")


def _example(activations: str, seed: int = 0, regime: str = "") -> str:
    """Return the descriptor of a case of one entry of everything, of the plain cell with other activations."""
    return f"m1s1e1u1-plain,{activations}-float64-{regime}seed{seed}"


_LARGE = "x10-"

# Options ignored

_SIGMOIDS = {"f": ("forget", 2), "i": ("input", 3), "o": ("output", 5)}
_USUAL = {
    **{
        gate: (
            f"the {name} gate",
            number,
            f"{gate} = sigmoid({gate}_)  # ({number})",
            f"{gate} = 0.5 * (1 + np.tanh(0.5 * {gate}_))  # ({number})",
            f"d{gate} * sigmoid_derivative({gate})  # ({number})",
            f"d{gate} * ({gate} * (1 - {gate}))  # ({number})",
            "f=hardsigmoid6",
        )
        for gate, (name, number) in _SIGMOIDS.items()
    },
    "g": (
        "the candidate",
        4,
        "g = tanh(g_)  # (4)",
        "g = np.tanh(g_)  # (4)",
        "dg * tanh_derivative(g)  # (4)",
        "dg * (1 - g * g)  # (4)",
        "g=leakyrelu",
    ),
    "C": (
        "the memory's output",
        7,
        "C = tanh(C_)  # (7)",
        "C = np.tanh(C_)  # (7)",
        "dh_ * o * tanh_derivative(C)",
        "dh_ * o * (1 - C * C)",
        "h=leakyrelu",
    ),
}
"""By gate and for the memory: its name, its equation, the two lines as they stand and with the usual function."""

_OPTIONS = tuple(
    _fault(
        id=f"activation-ignored-{key}{where}",
        title=f"{name[0].upper()}{name[1:]} has the usual activation{words}.",
        explanation=f"({number}): the option is taken and used nowhere, or in one of the passes; sigmoid and tanh stand"
        " there for good.",
        patches=patches,
        example=_example(activations),
    )
    for key, (name, number, line, usual, back, usual_back, activations) in _USUAL.items()
    for where, words, patches in (
        ("", ", whatever was asked for", (in_forward(line, usual), in_backward(back, usual_back))),
        ("-forward", " in the forward pass", (in_forward(line, usual),)),
        ("-backward", "'s derivative in the backward pass", (in_backward(back, usual_back),)),
    )
)

_SLOTS = (
    _fault(
        id="activation-of-memory-for-candidate",
        title="The candidate has the activation of the memory.",
        explanation="(4), (7): one option for both, where each has its own.",
        patches=(
            in_forward("g = tanh(g_)  # (4)", "g = squash(g_)  # (4)"),
            in_backward("dg * tanh_derivative(g)  # (4)", "dg * squash_derivative(g)  # (4)"),
        ),
        example=_example("g=leakyrelu"),
    ),
    _fault(
        id="activation-derivative-of-memory-for-candidate",
        title="dg_ has the derivative of the memory's activation.",
        explanation="(4), (7): two functions, and one derivative for both.",
        patches=(in_backward("dg * tanh_derivative(g)  # (4)", "dg * squash_derivative(g)  # (4)"),),
        example=_example("g=leakyrelu"),
    ),
    *(
        _fault(
            id=f"activation-derivative-of-gates-for-{name}",
            title=f"{title} has the derivative of the gates' activation.",
            explanation=f"({number}): two functions, and one derivative for both.",
            patches=(in_backward(old, new),),
            example=_example(activations),
        )
        for name, title, number, old, new, activations in (
            ("candidate", "dg_", 4, "dg * tanh_derivative(g)", "dg * sigmoid_derivative(g)", "f=hardsigmoid6"),
            ("memory", "dC_", 7, "o * tanh_derivative(C)", "o * sigmoid_derivative(C)", "f=hardsigmoid6"),
        )
    ),
)

# Hard sigmoids, both of them by the same faults

_SIX, _SIX_BACK = "np.minimum(np.maximum(x / 6 + 0.5, 0), 1)", "(y > 0) * (y < 1) * (0 * y + 1) / 6"
_LINE, _LINE_BACK = "np.minimum(np.maximum(alpha * x + beta, 0), 1)", "(y > 0) * (y < 1) * (0 * y + alpha)"
_HARD = {
    "hard-sigmoid6": ("f=hardsigmoid6", "x / 6 + 0.5", _SIX, "(0 * y + 1) / 6", _SIX_BACK),
    "hard-sigmoid": ("f=hardsigmoid", "alpha * x + beta", _LINE, "(0 * y + alpha)", _LINE_BACK),
}

_HARD_SIGMOIDS = tuple(
    _fault(
        id=f"{id}-{name}",
        title=title,
        explanation=f"(2), (3), (5): {why}",
        patches=tuple(
            patch(old, new)
            for patch, old, new in (
                (in_other_activations, value, forward),
                (in_other_activations, derivative, backward),
            )
            if new
        ),
        example=_example(activations, 1, _LARGE if large else ""),
    )
    for id, (activations, line, value, slope, derivative) in _HARD.items()
    for name, title, why, forward, backward, large in (
        (
            "derivative-of-sigmoid",
            "The hard sigmoid's derivative is that of the logistic function, y (1 - y).",
            "the forward pass was exchanged and the backward pass was not.",
            "",
            "y * (1 - y)",
            False,
        ),
        (
            "derivative-not-cut-off",
            "The hard sigmoid's derivative is its slope everywhere.",
            "where a gate is cut off it is a constant.",
            "",
            slope,
            True,
        ),
        (
            "derivative-not-cut-off-above",
            "The hard sigmoid's derivative is its slope where the gate is 1.",
            "one of the two comparisons is missing.",
            "",
            f"(y > 0) * {slope}",
            True,
        ),
        (
            "derivative-not-cut-off-below",
            "The hard sigmoid's derivative is its slope where the gate is 0.",
            "one of the two comparisons is missing.",
            "",
            f"(y < 1) * {slope}",
            True,
        ),
        (
            "derivative-of-slope-1",
            "The hard sigmoid's derivative is 1 between its kinks.",
            "the derivative of clip alone, without that of what is clipped.",
            "",
            "(y > 0) * (y < 1) * (0 * y + 1)",
            False,
        ),
        (
            "ends-swapped",
            "The hard sigmoid's derivative is its slope where it is cut off, and 0 between.",
            "the comparisons are the wrong way round.",
            "",
            f"((y <= 0) + (y >= 1)) * {slope}",
            False,
        ),
        (
            "not-cut-off-above",
            "The hard sigmoid is not cut off above.",
            "the minimum with 1 is missing; the derivative is right for a gate that is cut off.",
            f"np.maximum({line}, 0)",
            "",
            True,
        ),
        (
            "not-cut-off-below",
            "The hard sigmoid is not cut off below.",
            "the maximum with 0 is missing; the derivative is right for a gate that is cut off.",
            f"np.minimum({line}, 1)",
            "",
            True,
        ),
        (
            "not-cut-off",
            "The hard sigmoid is a straight line.",
            "nothing is cut off; the gradient is right for that.",
            line,
            slope,
            True,
        ),
        (
            "cut-off-as-tanh",
            "The hard sigmoid is cut off at -1, as a hard tanh.",
            "clip(-1, 1) in place of clip(0, 1); the derivative is right for that.",
            f"np.minimum(np.maximum({line}, -1), 1)",
            f"(y > -1) * (y < 1) * {slope}",
            True,
        ),
    )
)

_CONVENTIONS = (
    _fault(
        id="hard-sigmoid6-of-slope-a-fifth",
        title="The hard sigmoid is clip(0.2 x + 1/2), as in Keras 2 and ONNX.",
        explanation="(2), (3), (5): two functions have the one name; the gradient is right for that.",
        patches=(
            in_other_activations("x / 6 + 0.5", "x / 5 + 0.5"),
            in_other_activations(_SIX_BACK, "(y > 0) * (y < 1) * (0 * y + 1) / 5"),
        ),
        example=_example("f=hardsigmoid6"),
    ),
    _fault(
        id="hard-sigmoid6-derivative-of-slope-a-fifth",
        title="The hard sigmoid's derivative is 0.2, that of Keras 2 and ONNX.",
        explanation="(2), (3), (5): the forward pass has a sixth, the backward pass the slope of the other convention.",
        patches=(in_other_activations(_SIX_BACK, "(y > 0) * (y < 1) * (0 * y + 1) / 5"),),
        example=_example("f=hardsigmoid6"),
    ),
    _fault(
        id="hard-sigmoid6-without-offset",
        title="The hard sigmoid is clip(x / 6), without the half.",
        explanation="(2), (3), (5): the gradient is right for that.",
        patches=(in_other_activations("x / 6 + 0.5", "x / 6"),),
        example=_example("f=hardsigmoid6"),
    ),
    _fault(
        id="hard-sigmoid6-of-clipped-input",
        title="The hard sigmoid is clip(x, -2.5, 2.5) / 6 + 1/2.",
        explanation="(2), (3), (5): the kinks of the one convention and the slope of the other; the derivative is"
        " never cut off.",
        patches=(in_other_activations(_SIX, "np.minimum(np.maximum(x, -2.5), 2.5) / 6 + 0.5"),),
        example=_example("f=hardsigmoid6", 1, _LARGE),
    ),
    _fault(
        id="hard-sigmoid-of-slope-a-sixth",
        title="The hard sigmoid is clip(x / 6 + 1/2), as in Keras 3 and PyTorch.",
        explanation="(2), (3), (5): two functions have the one name; the gradient is right for that.",
        patches=(
            in_other_activations("alpha * x + beta, 0), 1)", "x / 6 + 0.5, 0), 1)"),
            in_other_activations(_LINE_BACK, "(y > 0) * (y < 1) * (0 * y + 1) * (1 / 6)"),
        ),
        example=_example("f=hardsigmoid"),
    ),
    _fault(
        id="hard-sigmoid-derivative-of-slope-a-sixth",
        title="The hard sigmoid's derivative is a sixth, that of Keras 3 and PyTorch.",
        explanation="(2), (3), (5): the backward pass has the slope of the other convention.",
        patches=(in_other_activations(_LINE_BACK, "(y > 0) * (y < 1) * (0 * y + 1) * (1 / 6)"),),
        example=_example("f=hardsigmoid"),
    ),
    _fault(
        id="hard-sigmoid-without-offset",
        title="The hard sigmoid is clip(alpha x), without beta.",
        explanation="(2), (3), (5): the gradient is right for that.",
        patches=(in_other_activations("alpha * x + beta, 0), 1)", "alpha * x, 0), 1)"),),
        example=_example("f=hardsigmoid"),
    ),
    _fault(
        id="hard-sigmoid-numbers-exchanged",
        title="The hard sigmoid's alpha and beta are exchanged.",
        explanation="(2), (3), (5): activation_alpha and activation_beta are lists, read in the other order; the"
        " gradient is right for that.",
        patches=(
            in_other_activations("alpha * x + beta, 0), 1)", "beta * x + alpha, 0), 1)"),
            in_other_activations(_LINE_BACK, "(y > 0) * (y < 1) * (0 * y + beta)"),
        ),
        example=_example("f=hardsigmoid"),
    ),
)

# The others, each by its two lines

_RELU, _RELU_BACK = "    return np.maximum(x, 0)\n", "    return (y > 0) * (0 * y + 1)\n"
_LEAKY, _LEAKY_BACK = "np.maximum(x, 0) + alpha * np.minimum(x, 0)\n", "(y > 0) + (y <= 0) * (0 * y + alpha)"
_ELU, _ELU_BACK = "alpha * np.expm1(np.minimum(x, 0 * x))", "(y > 0) + (y <= 0) * (y + alpha)"
_SOFTSIGN, _SOFTSIGN_BACK = "x / (1 + np.maximum(x, -x))", "(1 - np.maximum(y, -y)) * (1 - np.maximum(y, -y))"
_SOFTPLUS, _SOFTPLUS_BACK = "np.maximum(x, 0) + np.log1p(np.exp(-np.maximum(x, -x)))", "-np.expm1(-y)"
_SCALED, _SCALED_BACK = "alpha * np.tanh(beta * x)", "beta * (alpha - y * y / alpha)"
_AFFINE, _AFFINE_BACK = "    return alpha * x + beta\n", "    return 0 * y + alpha\n"
_THRESHOLDED, _THRESHOLDED_BACK = "(x > alpha) * x", "(y > alpha) * (0 * y + 1)"

_RELU6, _RELU6_BACK = "np.minimum(np.maximum(x, 0), 6)", "(y > 0) * (y < 6) * (0 * y + 1)"
_HARDTANH, _HARDTANH_BACK = "np.minimum(np.maximum(x, -1), 1)", "(y > -1) * (y < 1) * (0 * y + 1)"
_SELU = "SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0 * x)))"
_SELU_BACK = "(y > 0) * (0 * y + SELU_SCALE) + (y <= 0) * (y + SELU_SCALE * SELU_ALPHA)"
_EXPONENTIAL_BACK = (
    '"""Return the derivative of `exponential` where it takes the value `y`, which is that value."""\n    return y'
)

_CUT_SIGMOID = "0.5 * (1 + np.tanh(0.5 * np.minimum(np.maximum(x, 0 * x - limit), 0 * x + limit)))"
_CUT_SIGMOID_BACK = "(y > 1 - top + room) * (y < top - room) * (y * (1 - y))"
_CUT_TANH = "np.tanh(np.minimum(np.maximum(x, 0 * x - limit), 0 * x + limit))"
_CUT_TANH_BACK = "(y > room - top) * (y < top - room) * (1 - y * y)"


def _of(
    function: str, activations: str, *rows: tuple[str, str, str, str, str, str, str], seed: int = 0
) -> tuple[Fault, ...]:
    """Return the faults of one function: id, title, explanation, and old and new of the forward and backward pass."""
    return tuple(
        _fault(
            id=f"{function}-{id}",
            title=title,
            explanation=f"(2) to (5), (7): {why}",
            patches=tuple(in_other_activations(old, new) for old, new in ((value, forward), (slope, backward)) if new),
            example=_example(activations, seed),
        )
        for id, title, why, value, forward, slope, backward in rows
    )


def _backward(id: str, title: str, why: str, slope: str, backward: str) -> tuple[str, str, str, str, str, str, str]:
    """Return the row of a fault of the derivative alone."""
    return id, title, why, "", "", slope, backward


def _forward(id: str, title: str, why: str, value: str, forward: str) -> tuple[str, str, str, str, str, str, str]:
    """Return the row of a fault of the forward pass alone."""
    return id, title, why, value, forward, "", ""


_RELUS = _of(
    "relu",
    "g=relu",
    _backward(
        "derivative-missing",
        "The derivative of relu is 1 everywhere.",
        "what is cut off is differentiated as if it were not; y >= 0 for y > 0 does that, too.",
        _RELU_BACK,
        "    return 0 * y + 1\n",
    ),
    _backward(
        "derivative-of-tanh",
        "The derivative of relu is that of tanh, 1 - y^2.",
        "the forward pass was exchanged and the backward pass was not.",
        _RELU_BACK,
        "    return 1 - y * y\n",
    ),
    _backward(
        "derivative-of-tanh-where-positive",
        "The derivative of relu is 1 - y^2 where it is positive.",
        "both derivatives, one after the other.",
        _RELU_BACK,
        "    return (y > 0) * (1 - y * y)\n",
    ),
    _backward(
        "derivative-of-the-other-side",
        "The derivative of relu is 1 where it is 0, and 0 where it is positive.",
        "the comparison is the wrong way round.",
        _RELU_BACK,
        "    return (y <= 0) * (0 * y + 1)\n",
    ),
    _backward(
        "derivative-is-the-value",
        "The derivative of relu is its value.",
        "the mask is multiplied with what is masked.",
        _RELU_BACK,
        "    return y\n",
    ),
    _backward(
        "leak-backward",
        "The derivative of relu has a slope of 0.01 where it is 0.",
        "a leaky relu's, against dead units.",
        _RELU_BACK,
        "    return (y > 0) + (y <= 0) * (0 * y + 0.01)\n",
    ),
    _forward(
        "leak-forward",
        "Below 0 relu has a slope of 0.01.",
        "a leaky relu; the derivative is that of relu.",
        _RELU,
        "    return np.maximum(x, 0) + 0.01 * np.minimum(x, 0)\n",
    ),
    (
        "leaky",
        "Below 0 relu has a slope of 0.01.",
        "a leaky relu in its place; the gradient is right for that.",
        _RELU,
        "    return np.maximum(x, 0) + 0.01 * np.minimum(x, 0)\n",
        _RELU_BACK,
        "    return (y > 0) + (y <= 0) * (0 * y + 0.01)\n",
    ),
    _forward(
        "of-the-size",
        "relu is |x|.",
        "abs for the maximum with 0; the derivative is that of relu.",
        _RELU,
        "    return np.maximum(x, -x)\n",
    ),
    _forward(
        "missing-forward",
        "relu is x.",
        "the mask is applied in the backward pass alone.",
        _RELU,
        "    return x\n",
    ),
    (
        "missing",
        "relu is x, and its derivative 1.",
        "the name of the option is not known, and nothing is done for it.",
        _RELU,
        "    return x\n",
        _RELU_BACK,
        "    return 0 * y + 1\n",
    ),
)

_LEAKY_RELUS = _of(
    "leaky-relu",
    "g=leakyrelu",
    _backward(
        "derivative-without-leak",
        "The derivative of the leaky relu is 0 below 0.",
        "that of relu: the leak is in the forward pass alone.",
        _LEAKY_BACK,
        "(y > 0) * (0 * y + 1)",
    ),
    _forward(
        "without-leak-forward",
        "The leaky relu is 0 below 0.",
        "the leak is in the backward pass alone.",
        _LEAKY,
        "np.maximum(x, 0) + 0 * np.minimum(x, 0)\n",
    ),
    (
        "without-leak",
        "The leaky relu is a relu.",
        "alpha is dropped; the gradient is right for that.",
        _LEAKY,
        "np.maximum(x, 0) + 0 * np.minimum(x, 0)\n",
        _LEAKY_BACK,
        "(y > 0) * (0 * y + 1)",
    ),
    (
        "of-slope-0.2",
        "The leaky relu's slope is 0.2 below 0.",
        "frameworks have 0.01, 0.2 and 0.3 where nothing is said; the gradient is right for that.",
        _LEAKY,
        "np.maximum(x, 0) + 0.2 * np.minimum(x, 0)\n",
        _LEAKY_BACK,
        "(y > 0) + (y <= 0) * (0 * y + 0.2)",
    ),
    _backward(
        "derivative-of-the-other-side",
        "The derivative of the leaky relu is alpha above 0, and 1 below.",
        "the comparison is the wrong way round.",
        _LEAKY_BACK,
        "(y <= 0) + (y > 0) * (0 * y + alpha)",
    ),
    _backward(
        "derivative-1-everywhere",
        "The derivative of the leaky relu is 1 everywhere.",
        "the slope of the leak is in the forward pass alone.",
        _LEAKY_BACK,
        "0 * y + 1",
    ),
    _backward(
        "derivative-of-tanh",
        "The derivative of the leaky relu is that of tanh, 1 - y^2.",
        "the forward pass was exchanged and the backward pass was not.",
        _LEAKY_BACK,
        "1 - y * y",
    ),
)

_CLIPPED = (
    *_of(
        "clipped-sigmoid",
        "f=clippedsigmoid:1",
        _backward(
            "derivative-not-cut-off",
            "The derivative of the clipped sigmoid is y (1 - y) where it is cut off, too.",
            "the clip is passed through, as a straight-through estimator does.",
            _CUT_SIGMOID_BACK,
            "y * (1 - y)",
        ),
        (
            "ignored",
            "The gates are not clipped.",
            "the attribute is read and used nowhere; the gradient is right for that.",
            _CUT_SIGMOID,
            "0.5 * (1 + np.tanh(0.5 * x))",
            _CUT_SIGMOID_BACK,
            "y * (1 - y)",
        ),
        (
            "at-the-top-alone",
            "The gates are clipped at the limit, and not at minus it.",
            "min for clip; the gradient is right for that.",
            _CUT_SIGMOID,
            "0.5 * (1 + np.tanh(0.5 * np.minimum(x, 0 * x + limit)))",
            _CUT_SIGMOID_BACK,
            "(y < top - room) * (y * (1 - y))",
        ),
        _forward(
            "ignored-in-the-forward-pass",
            "The gates are not clipped in the forward pass.",
            "the derivative is zero beyond the limit all the same.",
            _CUT_SIGMOID,
            "0.5 * (1 + np.tanh(0.5 * x))",
        ),
        seed=1,
    ),
    *_of(
        "clipped-tanh",
        "g=clippedtanh:0.5",
        _backward(
            "derivative-not-cut-off",
            "The derivative of the clipped tanh is 1 - y^2 where it is cut off, too.",
            "the clip is passed through, as a straight-through estimator does.",
            _CUT_TANH_BACK,
            "1 - y * y",
        ),
        (
            "ignored",
            "The candidate is not clipped.",
            "the gates are, and the candidate is forgotten; the gradient is right for that.",
            _CUT_TANH,
            "np.tanh(x)",
            _CUT_TANH_BACK,
            "1 - y * y",
        ),
        (
            "after-the-activation",
            "The candidate is clipped after the tanh, at the limit itself.",
            "the limit is one of what goes in; the gradient is right for that.",
            _CUT_TANH,
            "np.minimum(np.maximum(np.tanh(x), -limit), limit)",
            _CUT_TANH_BACK,
            "(y > -limit) * (y < limit) * (1 - y * y)",
        ),
        _forward(
            "ignored-in-the-forward-pass",
            "The candidate is not clipped in the forward pass.",
            "the derivative is zero beyond the limit all the same.",
            _CUT_TANH,
            "np.tanh(x)",
        ),
        seed=2,
    ),
)

_ELUS = _of(
    "elu",
    "h=elu:0.5",
    _backward(
        "derivative-of-activated",
        "The derivative of elu is alpha e^y below 0.",
        "a derivative written for the linear activation is given the activated one.",
        _ELU_BACK,
        "(y > 0) + (y <= 0) * alpha * np.exp(y)",
    ),
    _backward(
        "derivative-of-alpha-1",
        "The derivative of elu is y + 1 below 0.",
        "alpha is taken for 1.",
        _ELU_BACK,
        "(y > 0) + (y <= 0) * (y + 1)",
    ),
    _backward(
        "derivative-is-the-value",
        "The derivative of elu is its value below 0.",
        "that of alpha e^x, forgetting that alpha is taken from it.",
        _ELU_BACK,
        "(y > 0) + (y <= 0) * y",
    ),
    _backward(
        "derivative-of-relu",
        "The derivative of elu is 0 below 0.",
        "that of relu.",
        _ELU_BACK,
        "(y > 0) * (0 * y + 1)",
    ),
    _backward(
        "derivative-missing",
        "The derivative of elu is 1 everywhere.",
        "the branch below 0 is forgotten.",
        _ELU_BACK,
        "0 * y + 1",
    ),
    _forward(
        "of-alpha-1",
        "elu is e^x - 1 below 0.",
        "alpha is taken for 1, in the forward pass.",
        _ELU,
        "np.expm1(np.minimum(x, 0 * x))",
    ),
    _forward(
        "without-the-one",
        "elu is alpha e^x below 0, and alpha more above.",
        "the -1 of e^x - 1 is forgotten; its derivative is not.",
        _ELU,
        "alpha * np.exp(np.minimum(x, 0 * x))",
    ),
)

_SMOOTH = (
    *_of(
        "softsign",
        "g=softsign",
        _backward(
            "derivative-of-activated",
            "The derivative of softsign is 1 / (1 + |y|)^2.",
            "a derivative written for the linear activation is given the activated one.",
            _SOFTSIGN_BACK,
            "1 / ((1 + np.maximum(y, -y)) * (1 + np.maximum(y, -y)))",
        ),
        _backward(
            "derivative-not-squared",
            "The derivative of softsign is 1 - |y|.",
            "the square is missing.",
            _SOFTSIGN_BACK,
            "1 - np.maximum(y, -y)",
        ),
        _backward(
            "derivative-without-size",
            "The derivative of softsign is (1 - y)^2.",
            "right above 0 alone: the absolute value is missing.",
            _SOFTSIGN_BACK,
            "(1 - y) * (1 - y)",
        ),
        _backward(
            "derivative-of-tanh",
            "The derivative of softsign is that of tanh, 1 - y^2.",
            "the forward pass was exchanged and the backward pass was not.",
            _SOFTSIGN_BACK,
            "1 - y * y",
        ),
    ),
    *_of(
        "softplus",
        "g=softplus",
        _backward(
            "derivative-of-activated",
            "The derivative of softplus is the logistic function of y.",
            "a derivative written for the linear activation is given the activated one.",
            _SOFTPLUS_BACK,
            "1 / (1 + np.exp(-y))",
        ),
        _backward(
            "derivative-of-complement",
            "The derivative of softplus is e^-y.",
            "1 - sigmoid(x) for sigmoid(x).",
            _SOFTPLUS_BACK,
            "np.exp(-y)",
        ),
        _backward(
            "derivative-missing",
            "The derivative of softplus is 1.",
            "taken for a relu that is never 0.",
            _SOFTPLUS_BACK,
            "0 * y + 1",
        ),
        _forward(
            "hard",
            "softplus is relu.",
            "the smooth part is left out, in the forward pass.",
            _SOFTPLUS,
            "np.maximum(x, 0)",
        ),
    ),
    *_of(
        "relu6",
        "g=relu6",
        _backward(
            "derivative-not-cut-off",
            "The derivative of relu6 is 1 everywhere.",
            "nothing goes through where it is cut off.",
            _RELU6_BACK,
            "0 * y + 1",
        ),
        _backward(
            "derivative-of-value",
            "The derivative of relu6 is the value itself where it is not cut off.",
            "the value stands where its slope is due.",
            _RELU6_BACK,
            "(y > 0) * (y < 6) * y",
        ),
        _forward(
            "cut-off-at-1",
            "relu6 is cut off at 1.",
            "the limit of a hard sigmoid; the derivative is that of relu6.",
            _RELU6,
            "np.minimum(np.maximum(x, 0), 1)",
        ),
        seed=3,
    ),
    *_of(
        "hard-tanh",
        "g=hardtanh",
        _backward(
            "derivative-not-cut-off",
            "The derivative of the hard tanh is 1 everywhere.",
            "nothing goes through where it is cut off.",
            _HARDTANH_BACK,
            "0 * y + 1",
        ),
        _backward(
            "derivative-of-tanh",
            "The derivative of the hard tanh is 1 - y^2.",
            "the forward pass was exchanged and the backward pass was not.",
            _HARDTANH_BACK,
            "1 - y * y",
        ),
        _forward(
            "cut-off-at-0",
            "The hard tanh is cut off at 0.",
            "the limits of a hard sigmoid; the derivative is that of the hard tanh.",
            _HARDTANH,
            "np.minimum(np.maximum(x, 0), 1)",
        ),
        seed=2,
    ),
    *_of(
        "selu",
        "g=selu",
        _backward(
            "derivative-without-scale",
            "The derivative of selu is 1 where it is positive.",
            "that of elu with another alpha: the scale is forgotten on one side.",
            _SELU_BACK,
            "(y > 0) * (0 * y + 1) + (y <= 0) * (y + SELU_SCALE * SELU_ALPHA)",
        ),
        _backward(
            "derivative-of-alpha-alone",
            "The derivative of selu is y + alpha where it is negative.",
            "y holds the scale, and so must what is added.",
            _SELU_BACK,
            "(y > 0) * (0 * y + SELU_SCALE) + (y <= 0) * (y + SELU_ALPHA)",
        ),
        _forward(
            "without-scale",
            "selu lacks its scale.",
            "the derivative has it.",
            _SELU,
            "np.maximum(x, 0) + SELU_ALPHA * np.expm1(np.minimum(x, 0 * x))",
        ),
    ),
    *_of(
        "exponential",
        "g=exponential",
        _backward(
            "derivative-of-activated",
            "The derivative of the exponential is e^y.",
            "a derivative written for the linear activation is given the activated one.",
            _EXPONENTIAL_BACK,
            '"""Return the derivative of `exponential` where it takes the value `y`, which is that value."""\n'
            "    return np.exp(y)",
        ),
        _backward(
            "derivative-missing",
            "The derivative of the exponential is 1.",
            "it is left out.",
            _EXPONENTIAL_BACK,
            '"""Return the derivative of `exponential` where it takes the value `y`, which is that value."""\n'
            "    return 0 * y + 1",
        ),
        _forward(
            "less-1",
            "The exponential is e^x - 1.",
            "expm1 for exp; the derivative is the value all the same.",
            "    return np.exp(x)\n",
            "    return np.expm1(x)\n",
        ),
    ),
    *_of(
        "scaled-tanh",
        "h=scaledtanh:1.5:0.7",
        _backward(
            "derivative-of-tanh",
            "The derivative of the scaled tanh is 1 - y^2.",
            "without its two factors.",
            _SCALED_BACK,
            "1 - y * y",
        ),
        _backward(
            "derivative-of-scaled-value",
            "The derivative of the scaled tanh is alpha beta (1 - y^2).",
            "y is alpha times the tanh whose square is due.",
            _SCALED_BACK,
            "alpha * beta * (1 - y * y)",
        ),
        _backward(
            "derivative-without-beta",
            "The derivative of the scaled tanh lacks the factor beta.",
            "the inner derivative is forgotten.",
            _SCALED_BACK,
            "alpha - y * y / alpha",
        ),
        (
            "numbers-exchanged",
            "The scaled tanh's alpha and beta are exchanged.",
            "they are read in the other order; the gradient is right for that.",
            _SCALED,
            "beta * np.tanh(alpha * x)",
            _SCALED_BACK,
            "alpha * (beta - y * y / beta)",
        ),
    ),
    *_of(
        "affine",
        "g=affine:0.5:0.3",
        _backward(
            "derivative-missing",
            "The derivative of the affine activation is 1.",
            "its slope is forgotten.",
            _AFFINE_BACK,
            "    return 0 * y + 1\n",
        ),
        _backward(
            "for-derivative",
            "The affine activation is taken for its own derivative.",
            "one function for both.",
            _AFFINE_BACK,
            "    return alpha * y + beta\n",
        ),
        _forward(
            "without-offset",
            "The affine activation is alpha x.",
            "beta is forgotten; the gradient is right for that.",
            _AFFINE,
            "    return alpha * x\n",
        ),
        (
            "missing",
            "The affine activation is x.",
            "taken for no activation at all; the gradient is right for that.",
            _AFFINE,
            "    return x\n",
            _AFFINE_BACK,
            "    return 0 * y + 1\n",
        ),
    ),
    *_of(
        "thresholded-relu",
        "g=thresholdedrelu:0.3",
        _backward(
            "derivative-missing",
            "The derivative of the thresholded relu is 1 everywhere.",
            "what is cut off is differentiated as if it were not.",
            _THRESHOLDED_BACK,
            "0 * y + 1",
        ),
        _forward(
            "shifted",
            "The thresholded relu begins with 0 at its threshold.",
            "relu(x - alpha), which does not jump; the derivative is right for values above alpha.",
            _THRESHOLDED,
            "np.maximum(x - alpha, 0)",
        ),
        (
            "without-threshold",
            "The thresholded relu is a relu.",
            "alpha is dropped; the gradient is right for that.",
            _THRESHOLDED,
            "(x > 0) * x",
            _THRESHOLDED_BACK,
            "(y > 0) * (0 * y + 1)",
        ),
    ),
)

# Those whose derivative takes the linear activation

_SWISH, _SWISH_BACK = "x * (0.5 * (1 + np.tanh(0.5 * x)))", "return y + x * y * (1 - y)"
_HARDSWISH_BACK = "(x > -3) * (x < 3) * (x / 3 + 0.5) + (x >= 3) * (0 * x + 1)"
_GELU_BACK = "0.5 * (1 + y) + 0.5 * x * (1 - y * y) * (GELU_SCALE * (1 + 3 * (GELU_CUBE * x * x)))"
_MISH, _MISH_BACK = "x * np.tanh(softplus(x))", "return y + x * (1 - y * y) * (0.5 * (1 + np.tanh(0.5 * x)))"

_OF_ARGUMENT = (
    *(
        _fault(
            id=f"{name}-derivative-of-activated",
            title=f"The derivative of {called} is taken at the activated value.",
            explanation="(4): every other derivative here is had from the activated value; this one's is not, for two"
            " linear activations have the one value.",
            patches=(in_backward("dg * tanh_derivative(g)  # (4)", "dg * tanh_derivative(1 * g)  # (4)"),),
            example=_example(f"g={kind}"),
        )
        for name, called, kind in (
            ("swish", "swish", "swish"),
            ("hard-swish", "the hard swish", "hardswish"),
            ("gelu", "gelu", "gelutanh"),
            ("mish", "mish", "mish"),
        )
    ),
    *_of(
        "swish",
        "g=swish",
        _backward(
            "derivative-of-sigmoid",
            "The derivative of swish is that of the logistic function.",
            "of the product x sigmoid(x) one factor is differentiated, and the other is left out.",
            _SWISH_BACK,
            "return y * (1 - y)",
        ),
        _backward(
            "derivative-without-inner",
            "The derivative of swish is sigmoid(x).",
            "the product's second part, x times the derivative of sigmoid, is left out.",
            _SWISH_BACK,
            "return y",
        ),
        _backward(
            "derivative-without-outer",
            "The derivative of swish is x times that of sigmoid.",
            "the product's first part, sigmoid(x), is left out.",
            _SWISH_BACK,
            "return x * y * (1 - y)",
        ),
        (
            "is-sigmoid",
            "Swish is the logistic function.",
            "the factor x is left out; the gradient is right for that.",
            _SWISH,
            "0.5 * (1 + np.tanh(0.5 * x))",
            _SWISH_BACK,
            "return y * (1 - y)",
        ),
        _forward(
            "of-1.702",
            "Swish is x sigmoid(1.702 x), in the forward pass.",
            "the number by which it comes near gelu; the derivative is that of swish.",
            _SWISH,
            "x * (0.5 * (1 + np.tanh(0.851 * x)))",
        ),
    ),
    *_of(
        "hard-swish",
        "g=hardswish",
        _backward(
            "derivative-of-hard-sigmoid",
            "The derivative of the hard swish is a sixth between its kinks.",
            "that of the hard sigmoid alone, without the factor x.",
            _HARDSWISH_BACK,
            "(x > -3) * (x < 3) * (0 * x + 1) / 6 + (x >= 3) * (0 * x + 1)",
        ),
        _backward(
            "derivative-halved",
            "The derivative of the hard swish is x / 6 + 1/2 between its kinks.",
            "x (x + 3) / 6 is differentiated as if one x were a number.",
            _HARDSWISH_BACK,
            "(x > -3) * (x < 3) * (x / 6 + 0.5) + (x >= 3) * (0 * x + 1)",
        ),
    ),
    *_of(
        "gelu",
        "g=gelutanh",
        _backward(
            "derivative-without-cube",
            "The derivative of gelu lacks that of the cube.",
            "what is in the tanh is x + 0.044715 x^3; its derivative is taken for 1.",
            _GELU_BACK,
            "0.5 * (1 + y) + 0.5 * x * (1 - y * y) * GELU_SCALE",
        ),
        _backward(
            "derivative-without-inner",
            "The derivative of gelu is (1 + tanh) / 2.",
            "the product's second part, x times the derivative of the tanh, is left out.",
            _GELU_BACK,
            "0.5 * (1 + y)",
        ),
        _backward(
            "derivative-without-scale",
            "The derivative of gelu lacks the factor sqrt(2 / pi).",
            "the inner derivative is forgotten in part.",
            _GELU_BACK,
            "0.5 * (1 + y) + 0.5 * x * (1 - y * y) * (1 + 3 * (GELU_CUBE * x * x))",
        ),
    ),
    *_of(
        "mish",
        "g=mish",
        _backward(
            "derivative-without-inner",
            "The derivative of mish is tanh(softplus(x)).",
            "the product's second part is left out.",
            _MISH_BACK,
            "return y",
        ),
        _backward(
            "derivative-without-softplus",
            "The derivative of mish lacks that of softplus.",
            "the innermost derivative, sigmoid(x), is forgotten.",
            _MISH_BACK,
            "return y + x * (1 - y * y)",
        ),
        _forward(
            "without-softplus",
            "Mish is x tanh(x), in the forward pass.",
            "the softplus is left out; the derivative is that of mish.",
            _MISH,
            "x * np.tanh(x)",
        ),
    ),
)

_ON_THE_OTHER_SIDE = {
    "relu-derivative-of-tanh-where-positive": "m1s1e1u1-plain,g=relu-float64-nostates-seed0",
    "relu-derivative-is-the-value": "m1s1e1u1-plain,g=relu-float64-nostates-seed0",
    "thresholded-relu-shifted": "m1s1e1u1-plain,g=thresholdedrelu:0.3-float64-x10-nostates-seed0",
    "thresholded-relu-without-threshold": "m1s1e1u1-plain,g=thresholdedrelu:0.3-float64-nostates-seed0",
    "relu6-derivative-not-cut-off": "m1s1e1u1-plain,g=relu6-float64-seed0",
    "hard-tanh-derivative-of-tanh": "m1s1e1u1-plain,g=hardtanh-float64-seed0",
    "selu-derivative-without-scale": "m1s1e1u1-plain,g=selu-float64-seed3",
}
"""The examples of those that do not show where the usual one lies, on the one side of a kink."""

FAULTS = tuple(
    replace(fault, example=_ON_THE_OTHER_SIDE.get(fault.id, fault.example))
    for family in (
        *(_OPTIONS, _SLOTS, _HARD_SIGMOIDS, _CONVENTIONS, _RELUS, _LEAKY_RELUS, _CLIPPED, _ELUS, _SMOOTH),
        _OF_ARGUMENT,
    )
    for fault in family
)
