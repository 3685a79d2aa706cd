"""Faults of the activations' derivatives: missing, of another function, or taken at another value."""

from functools import partial

from lstm_checks.faults.model import Fault, in_activations, in_backward

_fault = partial(Fault, family="derivatives")
_SIGMOID = "return y * (1 - y)"
_TANH = "return 1 - y * y"
_LOCAL = {
    "f": "df_ = df * sigmoid_derivative(f)  # (2)",
    "i": "di_ = di * sigmoid_derivative(i)  # (3)",
    "g": "dg_ = dg * tanh_derivative(g)  # (4)",
    "o": "do_ = do * sigmoid_derivative(o)  # (5)",
}
_GATES = {"f": "forget", "i": "input", "g": "candidate", "o": "output"}
_SIGMOIDS = {"f": 2, "i": 3, "o": 5}
_MEMORY = "tanh_derivative(C) + dCn  # (8), (7)"

FAULTS = (
    *(
        _fault(
            id=f"derivative-missing-{gate}",
            title=f"The {name} gate's cotangent is passed on without its activation's derivative.",
            explanation=f"({number}): d{gate}_ = d{gate}; one of four lines was forgotten, or the activation was left"
            " to another function.",
            patches=(in_backward(_LOCAL[gate], f"d{gate}_ = d{gate}  # ({number})"),),
        )
        for number, (gate, name) in enumerate(_GATES.items(), 2)
    ),
    *(
        _fault(
            id=f"cotangent-cut-off-{gate}",
            title=f"d{gate}_ is zero: no gradient flows through the {name} gate.",
            explanation=f"({number}): the gate is cut off from the graph, by stop_gradient, detach, a copy to another"
            " array or a buffer that is never written.",
            patches=(in_backward(_LOCAL[gate], f"d{gate}_ = 0 * d{gate}  # ({number})"),),
        )
        for number, (gate, name) in enumerate(_GATES.items(), 2)
    ),
    *(
        _fault(
            id=f"derivative-unweighted-{gate}",
            title=f"The {_GATES[gate]} gate's derivative is 1 - {gate}.",
            explanation=f"({number}): {gate} (1 - {gate}) without its first factor, in one of the gates' lines.",
            patches=(in_backward(_LOCAL[gate], f"d{gate}_ = d{gate} * (1 - {gate})  # ({number})"),),
        )
        for gate, number in _SIGMOIDS.items()
    ),
    *(
        _fault(
            id=f"derivative-without-complement-{gate}",
            title=f"The {_GATES[gate]} gate's derivative is {gate}.",
            explanation=f"({number}): {gate} (1 - {gate}) without its second factor.",
            patches=(in_backward(_LOCAL[gate], f"d{gate}_ = d{gate} * {gate}  # ({number})"),),
        )
        for gate, number in _SIGMOIDS.items()
    ),
    _fault(
        id="forget-sigmoid-for-derivative",
        title="df_ takes sigmoid(f) for the sigmoid's derivative.",
        explanation="(2): one function for the sigmoid and its derivative, and the flag that says which is forgotten.",
        patches=(in_backward(_LOCAL["f"], "df_ = df * 0.5 * (1 + np.tanh(0.5 * f))  # (2)"),),
        seen="CaptainE/RNN-LSTM-in-numpy#1",
    ),
    _fault(
        id="memory-derivative-missing",
        title="dC_ lacks the derivative of tanh.",
        explanation="(7): h = o * C is differentiated as if C were the memory itself.",
        patches=(in_backward(f"o * {_MEMORY}", "o + dCn  # (8), (7)"),),
    ),
    _fault(
        id="output-gate-missing",
        title="dC_ lacks the factor o.",
        explanation="(8): h = o * C is differentiated as if it were C.",
        patches=(in_backward(f"dh_ * o * {_MEMORY}", f"dh_ * {_MEMORY}"),),
    ),
    _fault(
        id="sigmoid-derivative-twice",
        title="The sigmoid's derivative is taken at sigmoid(k), k being activated already.",
        explanation="(2), (3), (5): a derivative written for the linear activation is given the activated one.",
        patches=(in_activations(_SIGMOID, "return sigmoid(y) * (1 - sigmoid(y))"),),
    ),
    _fault(
        id="tanh-derivative-twice",
        title="The derivative of tanh is taken at tanh(k), k being activated already.",
        explanation="(4), (7): a derivative written for the linear activation is given the activated one.",
        patches=(in_activations(_TANH, "return 1 - tanh(y) * tanh(y)"),),
    ),
    _fault(
        id="memory-derivative-twice",
        title="dC_ takes the derivative of tanh at tanh(C).",
        explanation="(7): C is activated already; 1 - tanh(C)^2 with the name C meaning another thing.",
        patches=(in_backward(_MEMORY, "tanh_derivative(np.tanh(C)) + dCn  # (8), (7)"),),
    ),
    _fault(
        id="candidate-derivative-twice",
        title="dg_ takes the derivative of tanh at tanh(g).",
        explanation="(4): g is activated already.",
        patches=(in_backward(_LOCAL["g"], "dg_ = dg * tanh_derivative(np.tanh(g))  # (4)"),),
    ),
    _fault(
        id="memory-derivative-of-linear",
        title="dC_ takes 1 - C_^2 for the derivative of tanh.",
        explanation="(7): the formula wants the activated value and is given the linear one.",
        patches=(in_backward(_MEMORY, 'tanh_derivative(fc["C_"][..., s, :]) + dCn  # (8), (7)'),),
    ),
    _fault(
        id="candidate-derivative-of-linear",
        title="dg_ takes 1 - g_^2 for the derivative of tanh.",
        explanation="(4): the formula wants the activated value and is given the linear one.",
        patches=(in_backward(_LOCAL["g"], 'dg_ = dg * tanh_derivative(fc["g_"][..., s, :])  # (4)'),),
    ),
    *(
        _fault(
            id=f"{_GATES[gate]}-derivative-of-linear",
            title=f"d{gate}_ takes {gate}_ (1 - {gate}_) for the sigmoid's derivative.",
            explanation=f"({number}): the formula wants the activated value and is given the linear one.",
            patches=(
                in_backward(
                    _LOCAL[gate], f'd{gate}_ = d{gate} * sigmoid_derivative(fc["{gate}_"][..., s, :])  # ({number})'
                ),
            ),
        )
        for gate, number in _SIGMOIDS.items()
    ),
    _fault(
        id="memory-derivative-of-hidden",
        title="dC_ takes 1 - h^2 for the derivative of tanh.",
        explanation="(7): written as for a plain recurrent layer, whose output is the tanh.",
        patches=(in_backward(_MEMORY, 'tanh_derivative(fc["h"][..., s, :]) + dCn  # (8), (7)'),),
    ),
    _fault(
        id="memory-derivative-of-candidate",
        title="dC_ takes 1 - g^2 for the derivative of tanh.",
        explanation="(7): the two tanh of a step are confused.",
        patches=(in_backward(_MEMORY, "tanh_derivative(g) + dCn  # (8), (7)"),),
    ),
    _fault(
        id="candidate-derivative-of-memory",
        title="dg_ takes 1 - C^2 for the derivative of tanh.",
        explanation="(4): the two tanh of a step are confused.",
        patches=(in_backward(_LOCAL["g"], "dg_ = dg * tanh_derivative(C)  # (4)"),),
    ),
    *(
        _fault(
            id=f"candidate-derivative-{how}",
            title=f"dg_ takes {words} for the derivative of tanh.",
            explanation=f"(4): {why}, in this line alone.",
            patches=(in_backward(_LOCAL["g"], f"dg_ = dg * ({form})  # (4)"),),
        )
        for how, words, form, why in (
            ("unsquared", "1 - g", "1 - g", "1 - g^2 without its square"),
            ("with-plus", "1 + g^2", "1 + g * g", "the derivative of tan"),
        )
    ),
    *(
        _fault(
            id=f"memory-derivative-{how}",
            title=f"dC_ takes {words} for the derivative of tanh.",
            explanation=f"(7): {why}, in this line alone.",
            patches=(in_backward(_MEMORY, f"({form}) + dCn  # (8), (7)"),),
        )
        for how, words, form, why in (
            ("unsquared", "1 - C", "1 - C", "1 - C^2 without its square"),
            ("with-plus", "1 + C^2", "1 + C * C", "the derivative of tan"),
            ("of-sigmoid", "C (1 - C)", "C * (1 - C)", "a gate's line, copied"),
        )
    ),
    _fault(
        id="candidate-by-sigmoid-derivative",
        title="dg_ takes the sigmoid's derivative for that of tanh.",
        explanation="(4): three gates of four are sigmoids, and the fourth was copied.",
        patches=(in_backward(_LOCAL["g"], "dg_ = dg * sigmoid_derivative(g)  # (4)"),),
    ),
    *(
        _fault(
            id=f"{_GATES[gate]}-by-tanh-derivative",
            title=f"d{gate}_ takes the derivative of tanh for the sigmoid's.",
            explanation=f"({number}): the candidate's line, copied.",
            patches=(in_backward(_LOCAL[gate], f"d{gate}_ = d{gate} * tanh_derivative({gate})  # ({number})"),),
        )
        for gate, number in _SIGMOIDS.items()
    ),
    _fault(
        id="input-by-forget-derivative",
        title="di_ takes the sigmoid's derivative at f.",
        explanation="(3): the forget gate's line was copied and one letter not changed.",
        patches=(in_backward(_LOCAL["i"], "di_ = di * sigmoid_derivative(f)  # (3)"),),
    ),
    _fault(
        id="sigmoid-derivative-unweighted",
        title="The sigmoid's derivative is 1 - k.",
        explanation="(2), (3), (5): k (1 - k) without its first factor.",
        patches=(in_activations(_SIGMOID, "return 1 - y"),),
    ),
    _fault(
        id="sigmoid-derivative-negated",
        title="The sigmoid's derivative is k (k - 1).",
        explanation="(2), (3), (5): the sign of exp(-x) is differentiated once too often.",
        patches=(in_activations(_SIGMOID, "return y * (y - 1)"),),
    ),
    _fault(
        id="tanh-derivative-unsquared",
        title="The derivative of tanh is 1 - k.",
        explanation="(4), (7): 1 - k^2 without its square.",
        patches=(in_activations(_TANH, "return 1 - y"),),
    ),
    _fault(
        id="tanh-derivative-with-plus",
        title="The derivative of tanh is 1 + k^2.",
        explanation="(4), (7): the derivative of tan.",
        patches=(in_activations(_TANH, "return 1 + y * y"),),
    ),
    _fault(
        id="tanh-derivative-bracketed",
        title="The derivative of tanh is (1 - k)^2.",
        explanation="(4), (7): a bracket in the wrong place.",
        patches=(in_activations(_TANH, "return (1 - y) * (1 - y)"),),
    ),
    _fault(
        id="sigmoid-derivative-offset",
        title="The sigmoid's derivative is k (1 - k) + 1e-7.",
        explanation="(2), (3), (5): a small number against vanishing gradients, left in.",
        patches=(in_activations(_SIGMOID, "return y * (1 - y) + 1e-7"),),
    ),
    _fault(
        id="sigmoid-derivative-clipped-when-saturated",
        title="The sigmoid's derivative is at least 1e-4.",
        explanation="(2), (3), (5): against vanishing gradients. Hidden where no gate saturates.",
        patches=(in_activations(_SIGMOID, "return np.maximum(y * (1 - y), 1e-4)"),),
        example="m1s1e1u1-float64-x10-seed1",
    ),
    _fault(
        id="sigmoid-derivative-zero-when-saturated",
        title="The sigmoid's derivative is zero where a gate is within 1e-3 of 0 or 1.",
        explanation="(2), (3), (5): saturated gates are taken for constants. Hidden where no gate saturates.",
        patches=(in_activations(_SIGMOID, "return y * (1 - y) * (abs(y - 0.5) < 0.499)"),),
        example="m1s1e1u1-float64-x10-seed1",
    ),
    _fault(
        id="tanh-derivative-zero-when-saturated",
        title="The derivative of tanh is zero where its value is within 1e-3 of 1 or -1.",
        explanation="(4), (7): saturated units are taken for constants. Hidden where nothing saturates.",
        patches=(in_activations(_TANH, "return (1 - y * y) * (abs(y) < 0.999)"),),
        example="m1s1e1u1-float64-seed2",
    ),
    _fault(
        id="tanh-derivative-for-positive-only",
        title="The derivative of tanh is 1 where its value is negative.",
        explanation="(4), (7): a branch by sign, one side of which is another function's.",
        patches=(in_activations(_TANH, "return 1 - y * y * (y > 0)"),),
    ),
)
