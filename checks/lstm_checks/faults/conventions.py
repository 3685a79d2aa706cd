"""Faults that are another framework's convention: right there, another function here."""

from functools import partial

from lstm_checks.faults.model import Fault, in_activations, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="conventions")
_SIGMOID = "return 0.5 * (1 + np.tanh(0.5 * x))"
_SIGMOID_DERIVATIVE = "return y * (1 - y)"
_DB = "np.sum(np.sum(dk_, axis=-2), axis=-2)[..., np.newaxis, :]"
_DV = "np.sum(hp.mT @ dk_, axis=-3)"
_CANDIDATE = ("g = tanh(g_)  # (4)", "dg_ = dg * tanh_derivative(g)  # (4)")
_MEMORY = ("C = tanh(C_)  # (7)", "tanh_derivative(C)")
_FIRST = "    h, C_ = h0, C0\n"

FAULTS = (
    _fault(
        id="forget-bias-added",
        title="1 is added to the forget gate's linear activation at run time.",
        explanation="(1f): Haiku and TensorFlow 1 do; elsewhere the 1 is in the initial bias. The gradient is right"
        " for what is computed.",
        patches=(in_forward('p["bf"]  # (1f)', 'p["bf"] + 1  # (1f)'),),
    ),
    _fault(
        id="two-biases",
        title="db counts twice, as with two biases of one value.",
        explanation="(1): PyTorch and ONNX have two biases a gate; merged into one and each trained, they move at"
        " twice the rate.",
        patches=(in_gradients(_DB, f"2 * {_DB}"),),
        seen="onnx/onnx#1127",
    ),
    _fault(
        id="bias-added-twice",
        title="The bias is added twice.",
        explanation="(1): to the input's product of all steps, and again in each step; the gradient is right for that.",
        patches=(
            *(in_forward(f'p["b{k}"]  # (1{k})', f'2 * p["b{k}"]  # (1{k})') for k in "figo"),
            in_gradients(_DB, f"2 * {_DB}"),
        ),
        seen="lisa-lab/DeepLearningTutorials#81",
    ),
    *(
        _fault(
            id=f"hard-sigmoid-{name}",
            title=f"The sigmoid is hard: {formula} clipped to [0, 1].",
            explanation=f"(2), (3), (5): {whose}. The derivative is right for what is computed.",
            patches=(
                in_activations(_SIGMOID, f"return np.clip({formula}, 0, 1)"),
                in_activations(_SIGMOID_DERIVATIVE, f"return (0 * y + {slope}) * ((y > 0) & (y < 1))"),
            ),
        )
        for name, formula, slope, whose in (
            ("fifth", "0.2 * x + 0.5", "0.2", "the HardSigmoid of ONNX and the recurrent activation of early Keras"),
            ("sixth", "x / 6 + 0.5", "1 / 6", "the hard_sigmoid of Keras 3 and PyTorch"),
        )
    ),
    _fault(
        id="hard-sigmoid-forward-only",
        title="The sigmoid is hard, 0.2 x + 0.5 clipped to [0, 1], and its derivative is the soft one's.",
        explanation="(2), (3), (5): the activation was exchanged and its derivative was not.",
        patches=(in_activations(_SIGMOID, "return np.clip(0.2 * x + 0.5, 0, 1)"),),
    ),
    _fault(
        id="recurrent-weights-transposed-throughout",
        title="V is stored as (out, in): forward, backward and gradients take it transposed.",
        explanation="(1): most C libraries and PyTorch store weights so. Everything agrees with itself; V is square,"
        " so that no shape gives it away. Hidden at u = 1.",
        patches=(
            *(in_forward(f'hp @ p["V{k}"]', f'hp @ p["V{k}"].mT') for k in "figo"),
            *(in_backward(f'p["V{k}"].mT', f'p["V{k}"]') for k in "figo"),
            in_gradients(_DV, "np.sum(dk_.mT @ hp, axis=-3)"),
        ),
        example="m1s1e1u2-float64-seed0",
    ),
    _fault(
        id="coupled-gates",
        title="The input gate is 1 - f.",
        explanation="(3): the coupled variant (Greff et al. 2017), which has no weights of its own for i; the"
        " gradient is right for what is computed.",
        patches=(
            in_forward("i = sigmoid(i_)  # (3)", "i = 1 - f  # (3)"),
            in_backward("df = dC_ * Cp_  # (6)", "df = dC_ * (Cp_ - g)  # (6)"),
            in_backward("di = dC_ * g  # (6)", "di = 0 * dC_  # (6)"),
        ),
    ),
    _fault(
        id="coupled-gates-forward-only",
        title="The input gate is 1 - f, and the backward pass does not know.",
        explanation="(3): the coupled variant without its gradient.",
        patches=(in_forward("i = sigmoid(i_)  # (3)", "i = 1 - f  # (3)"),),
    ),
    _fault(
        id="no-forget-gate",
        title="The memory is never forgotten: C_ = Cp_ + i * g.",
        explanation="(6): the LSTM of 1997, before Gers et al. 2000; the gradient is right for what is computed.",
        patches=(
            in_forward("C_ = f * Cp_ + i * g  # (6)", "C_ = Cp_ + i * g  # (6)"),
            in_backward("df = dC_ * Cp_  # (6)", "df = 0 * dC_  # (6)"),
            in_backward("dC = dC_ * f  # (6)", "dC = dC_  # (6)"),
        ),
    ),
    _fault(
        id="peephole-forget",
        title="The forget gate sees the memory: Cp_ is added to f_.",
        explanation="(1f): a peephole (Gers and Schmidhuber 2000) of weight 1; the backward pass does not know."
        " Hidden at one step from zero states.",
        patches=(in_forward('p["bf"]  # (1f)', 'p["bf"] + Cp_  # (1f)'),),
    ),
    _fault(
        id="peephole-output",
        title="The output gate sees the memory: C_ is added to o_.",
        explanation="(1o): a peephole of weight 1; the backward pass does not know.",
        patches=(
            in_forward("        o = sigmoid(o_)  # (5)\n", ""),
            in_forward("        h = o * C", "        o = sigmoid(o_ + C_)  # (5)\n        h = o * C"),
        ),
    ),
    _fault(
        id="sigmoid-candidate",
        title="The candidate is a sigmoid.",
        explanation="(4): one activation for all four gates; the gradient is right for what is computed.",
        patches=(
            in_forward(_CANDIDATE[0], "g = sigmoid(g_)  # (4)"),
            in_backward(_CANDIDATE[1], "dg_ = dg * sigmoid_derivative(g)  # (4)"),
        ),
    ),
    _fault(
        id="linear-memory",
        title="The output is o * C_: the memory is not activated.",
        explanation="(7): the identity for the second tanh, as with `activation=linear`; the gradient is right for"
        " what is computed.",
        patches=(in_forward(_MEMORY[0], "C = C_ * 1  # (7)"), in_backward(_MEMORY[1], "1")),
    ),
    _fault(
        id="rectified-memory",
        title="The second tanh is a rectifier: C = max(C_, 0).",
        explanation="(7): `activation='relu'` copied from an example; the gradient is right for what is computed.",
        patches=(in_forward(_MEMORY[0], "C = C_ * (C_ > 0)  # (7)"), in_backward(_MEMORY[1], "(C > 0)")),
    ),
    _fault(
        id="softsign-candidate",
        title="The candidate is a softsign, x / (1 + |x|).",
        explanation="(4): a cheap substitute of tanh; the gradient is right for what is computed.",
        patches=(
            in_forward(_CANDIDATE[0], "g = g_ / (1 + abs(g_))  # (4)"),
            in_backward(_CANDIDATE[1], "dg_ = dg * (1 - abs(g)) * (1 - abs(g))  # (4)"),
        ),
    ),
    _fault(
        id="hard-tanh-candidate",
        title="The candidate is a hard tanh: g_ clipped to [-1, 1].",
        explanation="(4): a cheap substitute of tanh; the gradient is right for what is computed.",
        patches=(
            in_forward(_CANDIDATE[0], "g = np.clip(g_, -1, 1)  # (4)"),
            in_backward(_CANDIDATE[1], "dg_ = dg * (abs(g) < 1)  # (4)"),
        ),
    ),
    _fault(
        id="scaled-tanh",
        title="tanh is 1.7159 tanh(2/3 x).",
        explanation="(4), (7): LeCun's tanh; the derivative is right for what is computed.",
        patches=(
            in_activations("    return np.tanh(x)\n", "    return 1.7159 * np.tanh(2 / 3 * x)\n"),
            in_activations("return 1 - y * y", "return 1.7159 * 2 / 3 * (1 - (y / 1.7159) * (y / 1.7159))"),
        ),
    ),
    _fault(
        id="runs-backwards",
        title="The layer reads the steps from the last to the first, in all its parts.",
        explanation="(1): `go_backwards`, or the second direction of a bidirectional layer; forward, dU and dX agree"
        " with each other. Hidden at one step.",
        patches=(
            in_forward(_FIRST, _FIRST + "    X = X[..., ::-1, :]\n"),
            in_backward('{"dA": dA, ', '{"dA": dA, "dX": bc["dX"][..., ::-1, :], '),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="residual-output",
        title="hp is added to h.",
        explanation="(8): a residual connection within the recurrence; the gradient is right for what is computed.",
        patches=(
            in_forward("h = o * C  # (8)", "h = o * C + hp  # (8)"),
            in_backward('do_ @ p["Vo"].mT  # (1)\n', 'do_ @ p["Vo"].mT + dh_  # (1)\n'),
        ),
    ),
)
