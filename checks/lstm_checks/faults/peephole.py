"""Faults of peepholes: which memory a gate sees, and what goes back through them to the memory and their weights."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="peephole", example="m1s1e1u1-peephole-float64-seed0")
_GATES = {"f": "forget", "i": "input", "o": "output"}
_SEES = {"f": 'Cp_ * p["pf"]', "i": 'Cp_ * p["pi"]', "o": 'C_ * p["po"]'}
_BACK = {"f": ' + df_ * p["pf"]', "i": ' + di_ * p["pi"]', "o": ' + do_ * p["po"]'}
_SUM = {
    "f": 'bc["df_"] * fc["Cp_"]',
    "i": 'bc["di_"] * fc["Cp_"]',
    "o": 'bc["do_"] * fc["C_"]',
}

FAULTS = (
    *(
        _fault(
            id=f"peephole-cotangent-missing-{gate}",
            title=f"No cotangent goes back to the memory through the {name} gate's peephole.",
            explanation=f"(1{gate}): the peephole is in the forward pass, and dC lacks d{gate}_ p{gate}.",
            patches=(in_backward(_BACK[gate], ""),),
        )
        for gate, name in _GATES.items()
    ),
    _fault(
        id="peephole-cotangents-missing-f-i",
        title="No cotangent goes back to the memory before through the peepholes of the forget and the input gate.",
        explanation="(1f), (1i): dC is dC_ * f alone, as of a plain LSTM; df_ pf and di_ pi are lacking.",
        patches=(in_backward(_BACK["f"], ""), in_backward(_BACK["i"], "")),
    ),
    _fault(
        id="peephole-cotangents-missing",
        title="No cotangent goes back to the memory through any peephole.",
        explanation="(1f), (1i), (1o): the peepholes are in the forward pass, and the backward pass is a plain LSTM's.",
        patches=tuple(in_backward(_BACK[gate], "") for gate in _GATES),
    ),
    *(
        _fault(
            id=f"peephole-ignored-{gate}",
            title=f"The {name} gate does not see the memory.",
            explanation=f"(1{gate}): the term with p{gate} is lacking in the forward pass; the gradient is as if it"
            " were there.",
            patches=(in_forward(f" + {_SEES[gate]}", ""),),
        )
        for gate, name in _GATES.items()
    ),
    _fault(
        id="peepholes-ignored",
        title="No gate sees the memory.",
        explanation="(1f), (1i), (1o): weights of peepholes are taken and not used; the gradient is right for that.",
        patches=(
            *(in_forward(f" + {_SEES[gate]}", "") for gate in _GATES),
            *(in_backward(_BACK[gate], "") for gate in _GATES),
            *(in_gradients(_SUM[gate], f"0 * {_SUM[gate]}") for gate in _GATES),
        ),
    ),
    _fault(
        id="peepholes-ignored-forward-only",
        title="No gate sees the memory in the forward pass.",
        explanation="(1f), (1i), (1o): the three terms are lacking; the gradient is as if they were there.",
        patches=tuple(in_forward(f" + {_SEES[gate]}", "") for gate in _GATES),
    ),
    _fault(
        id="peephole-output-sees-memory-before",
        title="The output gate sees the memory of the step before.",
        explanation="(1o): all four linear activations are computed at once, before C_ is there; the gradient is right"
        " for that.",
        patches=(
            in_forward(_SEES["o"], 'Cp_ * p["po"]'),
            in_backward(_BACK["o"], ""),
            in_backward(_BACK["f"], f"{_BACK['f']}{_BACK['o']}"),
            in_gradients(_SUM["o"], 'bc["do_"] * fc["Cp_"]'),
        ),
    ),
    _fault(
        id="peephole-output-sees-memory-before-forward-only",
        title="The output gate sees the memory of the step before, and the backward pass does not know.",
        explanation="(1o): Cp_ for C_, in the forward pass alone.",
        patches=(in_forward(_SEES["o"], 'Cp_ * p["po"]'),),
    ),
    _fault(
        id="peephole-sees-activated-memory",
        title="The output gate sees tanh of the memory.",
        explanation="(1o): C for C_, one letter, in the forward pass and in dpo; dC_ is as if it were C_.",
        patches=(in_forward(_SEES["o"], 'tanh(C_) * p["po"]'), in_gradients(_SUM["o"], 'bc["do_"] * fc["C"]')),
    ),
    _fault(
        id="peephole-output-after-the-sigmoid",
        title="The output gate sees the memory after its sigmoid: o = sigmoid(o_) + C_ po.",
        explanation="(1o), (5): the gate leaves 0 to 1; the gradient is right for that.",
        patches=(
            in_forward(f" + {_SEES['o']}", ""),
            in_forward("o = sigmoid(o_)  # (5)", f"o = sigmoid(o_) + {_SEES['o']}  # (5)"),
            in_backward("sigmoid_derivative(o)  # (5)", 'sigmoid_derivative(o - fc["C_"][..., s, :] * p["po"])  # (5)'),
            in_backward(_BACK["o"], ' + do * p["po"]'),
            in_gradients(_SUM["o"], 'bc["dh_"] * fc["C"] * fc["C_"]'),
        ),
        seen="Lasagne/Lasagne#448",
    ),
    _fault(
        id="peephole-weights-exchanged-f-i",
        title="The peepholes' weights of the forget and the input gate are exchanged.",
        explanation="(1f), (1i): they are stored one after the other, and read in another order; the gradient is right"
        " for that.",
        patches=(
            in_forward(_SEES["f"], 'Cp_ * p["pi"]'),
            in_forward(_SEES["i"], 'Cp_ * p["pf"]'),
            in_backward(_BACK["f"], ' + df_ * p["pi"]'),
            in_backward(_BACK["i"], ' + di_ * p["pf"]'),
            in_gradients(_SUM["f"], 'bc["di_"] * fc["Cp_"]'),
            in_gradients(_SUM["i"], 'bc["df_"] * fc["Cp_"]'),
        ),
    ),
    *(
        _fault(
            id=f"peephole-gradient-of-memory-after-{gate}",
            title=f"dp{gate} is made of the memory after the step, not before it.",
            explanation=f"(1{gate}): C_ for Cp_, which is kept no more.",
            patches=(in_gradients(_SUM[gate], f'bc["d{gate}_"] * fc["C_"]'),),
        )
        for gate in "fi"
    ),
    _fault(
        id="peephole-gradient-of-memory-before-o",
        title="dpo is made of the memory before the step, not after it.",
        explanation="(1o): Cp_ for C_, as for the two other gates.",
        patches=(in_gradients(_SUM["o"], 'bc["do_"] * fc["Cp_"]'),),
    ),
    *(
        _fault(
            id=f"peephole-gradient-of-last-step-{gate}",
            title=f"dp{gate} has the last step alone.",
            explanation=f"(1{gate}): = for +=, in the loop over steps.",
            patches=(in_gradients(_SUM[gate], f"({_SUM[gate]})[..., -1:, :]"),),
            example="m1s2e1u1-peephole-float64-seed0",
        )
        for gate in _GATES
    ),
    _fault(
        id="peephole-gradients-exchanged-f-i",
        title="dpf and dpi are exchanged.",
        explanation="(1f), (1i): the gradients are packed in another order than the weights.",
        patches=(in_gradients(_SUM["f"], 'bc["di_"] * fc["Cp_"]'), in_gradients(_SUM["i"], 'bc["df_"] * fc["Cp_"]')),
    ),
)
