"""Faults of indexing in time: a right formula with the value of another step."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="steps")
_PADDED = "(np.asarray(X_s) == 0).all(axis=-1, keepdims=True)"
_INPUT = "X_s = X[..., s, :]"
_COTANGENT = "dA_s = dA[..., s, :]"
_BEFORE = "hp, Cp_ = h, C_"
_X = 'X = _steps_first(fc["X"])'
_HP = 'hp = _steps_first(fc["hp"])'
_DF = "df = dC_ * Cp_  # (6)"
_DC = "dh_ * o * tanh_derivative(C)"
_H = "h = o * C  # (8)"
_DC_PASSED = "dC = dC_ * f  # (6)"
_KEPT = "trace.append((dhn"
_DH = "dh_ = dA_s + dhn  # (9)"
_DX = 'dX = df_ @ p["Uf"].mT + di_ @ p["Ui"].mT + dg_ @ p["Ug"].mT + do_ @ p["Uo"].mT  # (1)'

FAULTS = (
    _fault(
        id="inputs-read-backwards",
        title="The forward pass reads the steps from the last to the first.",
        explanation="(1): a loop over reversed steps, from the backward direction of a bidirectional layer; the"
        " backward pass does not know. Hidden at one step.",
        patches=(in_forward(_INPUT, "X_s = X[..., -1 - s, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="inputs-one-step-late",
        title="Each step reads the input of the step before, the first one its own.",
        explanation="(1): X is shifted for next-step prediction, once too often. Hidden at one step.",
        patches=(in_forward(_INPUT, "X_s = X[..., max(s - 1, 0), :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="inputs-of-first-step",
        title="Every step reads the input of the first.",
        explanation="(1): a decoder's constant input, or a loop variable that is not used. Hidden at one step.",
        patches=(in_forward(_INPUT, "X_s = X[..., 0, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="inputs-wrap-after-eight",
        title="From the ninth step on, the inputs of the first eight are read again.",
        explanation="(1): an index modulo the size of a buffer of eight steps. Hidden up to eight steps.",
        patches=(in_forward(_INPUT, "X_s = X[..., s % 8, :]"),),
        example="m1s9e1u1-float64-seed0",
    ),
    _fault(
        id="recurrence-from-h0",
        title="Every step takes h0 for the hidden state of the step before.",
        explanation="(1): h is not carried over to the next round of the loop. Hidden at one step.",
        patches=(in_forward(_BEFORE, "hp, Cp_ = h0, C_"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="memory-from-c0",
        title="Every step takes C0 for the memory of the step before.",
        explanation="(6): C_ is not carried over to the next round of the loop. Hidden at one step.",
        patches=(in_forward(_BEFORE, "hp, Cp_ = h, C0"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="memory-from-activated",
        title="From the second step on, the memory continues from tanh(C_).",
        explanation="(6) takes C_ of the step before and not C. Hidden at one step.",
        patches=(in_forward(_BEFORE, "hp, Cp_ = h, tanh(C_) if s else C_"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="memory-from-hidden",
        title="From the second step on, the memory continues from h.",
        explanation="(6) takes C_ of the step before and not h; the pair is unpacked wrongly. Hidden at one step.",
        patches=(in_forward(_BEFORE, "hp, Cp_ = h, h if s else C_"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="hidden-state-one-step-late",
        title="The hidden state returned for each step is that of the step before.",
        explanation="(8): h is stored before it is updated.",
        patches=(in_forward("C_, C, h))\n", "C_, C, hp))\n"),),
    ),
    _fault(
        id="padded-steps-skipped",
        title="A step whose input is zero throughout hands on the states of the step before.",
        explanation="(1) to (8) hold for an input of zeros, too; a layer that takes those for padding, as Keras does"
        " after Masking(0.0), computes something else. Its backward pass knows. Hidden where no step of X is zero.",
        patches=(
            in_forward(
                _H,
                f"{_H}\n        padded = {_PADDED}\n        h = h * ~padded + hp * padded\n"
                "        C_ = C_ * ~padded + Cp_ * padded",
            ),
            in_backward(_COTANGENT, f'{_COTANGENT}\n        X_s = fc["X"][..., s, :]\n        padded = {_PADDED}'),
            in_backward(
                _DC_PASSED,
                "dC = dC_ * f * ~padded + dCn * padded  # (6)\n"
                "        do, di, dg, df = do * ~padded, di * ~padded, dg * ~padded, df * ~padded",
            ),
            in_backward(_KEPT, f"dh = dh * ~padded + dh_ * padded\n        {_KEPT}"),
        ),
        example="m1s1e1u1-float64-padded-seed0",
    ),
    _fault(
        id="cotangent-of-padded-steps-lost",
        title="The output's cotangent is dropped where a step's input is zero throughout.",
        explanation="(9): a mask made of X, which belongs into the loss, is applied in the layer. Hidden where no step"
        " of X is zero.",
        patches=(in_backward(_DH, f'X_s = fc["X"][..., s, :]\n        dh_ = dA_s * ~{_PADDED} + dhn  # (9)'),),
        example="m1s1e1u1-float64-padded-seed0",
    ),
    _fault(
        id="cotangent-read-backwards",
        title="The backward pass reads the outputs' cotangents from the wrong end.",
        explanation="(9): the loop counts up while time runs back. Hidden by a cotangent of ones, and at one step.",
        patches=(in_backward(_COTANGENT, "dA_s = dA[..., -1 - s, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="cotangent-one-step-late",
        title="Each step takes the cotangent of the step before, the first one its own.",
        explanation="(9): an index off by one. Hidden by a cotangent of ones, and at one step.",
        patches=(in_backward(_COTANGENT, "dA_s = dA[..., max(s - 1, 0), :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="cotangent-one-step-early",
        title="Each step takes the cotangent of the step after, the last one its own.",
        explanation="(9): an index off by one. Hidden by a cotangent of ones, and at one step.",
        patches=(in_backward(_COTANGENT, "dA_s = dA[..., min(s + 1, dA.shape[-2] - 1), :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="cotangent-of-last-step-everywhere",
        title="Every step takes the cotangent of the last.",
        explanation="(9): a broadcast. Hidden by a cotangent of ones, and at one step.",
        patches=(in_backward(_COTANGENT, "dA_s = dA[..., -1, :]"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="cotangents-not-brought-into-order",
        title="The cotangents of the steps are left in the order of the backward pass.",
        explanation="(1): they were collected from the last step to the first, and are paired with inputs from the"
        " first to the last. Hidden at one step.",
        patches=(in_backward("    trace.reverse()\n", ""),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-backwards",
        title="dX is returned from the last step to the first.",
        explanation="(1): collected in the order of the backward pass and not turned round, dX alone. Hidden at one"
        " step.",
        patches=(in_backward('{"dA": dA, ', '{"dA": dA, "dX": bc["dX"][..., ::-1, :], '),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="input-gradient-lost-at-odd-end",
        title="Where s is odd and above 1, dX of the last step is zero.",
        explanation="(1): two steps at a time, and the odd one is forgotten. Hidden where s is even or 1.",
        patches=(in_backward(_DX, _DX + "\n        dX = 0 * dX if 0 < s == dA.shape[-2] - 1 and s % 2 == 0 else dX"),),
        example="m1s3e1u1-float64-seed0",
    ),
    _fault(
        id="dv-of-current-hidden",
        title="dV is made of h and not of hp.",
        explanation="(1): the recurrence takes h of the step before; the array of all h is at hand, unshifted.",
        patches=(in_gradients(_HP, 'hp = _steps_first(fc["h"])'),),
    ),
    _fault(
        id="dv-of-memory",
        title="dV is made of Cp_ and not of hp.",
        explanation="(1): the recurrence takes the hidden state; the two states of the step before are confused.",
        patches=(in_gradients(_HP, 'hp = _steps_first(fc["Cp_"])'),),
    ),
    _fault(
        id="dv-of-activated-memory",
        title="dV is made of tanh(Cp_) and not of hp.",
        explanation="(1): the recurrence takes the hidden state, tanh(Cp_) times the output gate.",
        patches=(in_gradients(_HP, 'hp = _steps_first(np.tanh(fc["Cp_"]))'),),
    ),
    _fault(
        id="dv-of-hidden-two-back",
        title="dV is made of the hidden state two steps back.",
        explanation="(1): hp is shifted once more. Hidden at one step.",
        patches=(
            in_gradients(
                _HP,
                'hp = np.concatenate([fc["hp"][..., :1, :], fc["hp"][..., :-1, :]], axis=-2)\n'
                "    hp = _steps_first(hp)",
            ),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="du-of-previous-input",
        title="dU is made of the input of the step before.",
        explanation="(1): X is shifted like hp. Hidden at one step.",
        patches=(
            in_gradients(
                _X,
                'X = np.concatenate([fc["X"][..., :1, :], fc["X"][..., :-1, :]], axis=-2)\n    X = _steps_first(X)',
            ),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="du-of-next-input",
        title="dU is made of the input of the step after.",
        explanation="(1): X is shifted the wrong way. Hidden at one step.",
        patches=(
            in_gradients(
                _X,
                'X = np.concatenate([fc["X"][..., 1:, :], fc["X"][..., -1:, :]], axis=-2)\n    X = _steps_first(X)',
            ),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="df-of-current-memory",
        title="df is made of C_ and not of Cp_.",
        explanation="(6): the forget gate multiplies the memory of the step before.",
        patches=(in_backward(_DF, 'df = dC_ * fc["C_"][..., s, :]  # (6)'),),
    ),
    _fault(
        id="df-of-activated-memory",
        title="df is made of tanh(Cp_).",
        explanation="(6): the forget gate multiplies the memory before its activation.",
        patches=(in_backward(_DF, "df = dC_ * np.tanh(Cp_)  # (6)"),),
    ),
    _fault(
        id="df-of-hidden",
        title="df is made of hp and not of Cp_.",
        explanation="(6): the two states of the step before are confused.",
        patches=(in_backward(_DF, 'df = dC_ * fc["hp"][..., s, :]  # (6)'),),
    ),
    _fault(
        id="do-of-previous-memory",
        title="do is made of tanh(Cp_) and not of tanh(C_).",
        explanation="(8): the output gate multiplies the memory after its update.",
        patches=(in_backward("do = dh_ * C  # (8)", "do = dh_ * np.tanh(Cp_)  # (8)"),),
    ),
    _fault(
        id="output-gate-of-previous-step",
        title="dC_ is made of the output gate of the step before.",
        explanation="(8): an index off by one. Hidden at the first step.",
        patches=(in_backward(_DC, 'dh_ * fc["o"][..., max(s - 1, 0), :] * tanh_derivative(C)'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="memory-derivative-of-previous-step",
        title="dC_ is made of the derivative of tanh at the memory of the step before.",
        explanation="(7): an index off by one.",
        patches=(in_backward(_DC, "dh_ * o * tanh_derivative(np.tanh(Cp_))"),),
    ),
    _fault(
        id="input-gate-of-previous-step",
        title="dg is made of the input gate of the step before.",
        explanation="(6): an index off by one. Hidden at one step.",
        patches=(in_backward("dg = dC_ * i  # (6)", 'dg = dC_ * fc["i"][..., max(s - 1, 0), :]  # (6)'),),
        example="m1s2e1u1-float64-seed0",
    ),
)
