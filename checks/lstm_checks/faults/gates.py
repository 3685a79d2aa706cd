"""Faults of the four gates: their order, and which of them a term, a weight or a gradient belongs to."""

from functools import partial
from itertools import combinations, permutations

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="gates")
_FORWARD = "    trace = []\n    h, C_ = h0, C0\n"
_BACKWARD = "    trace = []\n    for s in reversed"
_RETURN = "    return g\n"
_LOOP = 'for gate in GATES:\n        dk_ = _steps_first(bc[f"d{gate}_"])'
_UPDATE = "C_ = f * Cp_ + i * g  # (6)"
_GATES = {"f": "forget", "i": "input", "g": "candidate", "o": "output"}
_ORDERS = {
    "EpyNN or OpenVINO": "figo",
    "PyTorch or Keras": "ifgo",
    "ONNX": "iofg",
    "Haiku or TensorFlow 1": "igfo",
}
_SEEN = {
    "giof": "CrispStrobe/CrispASR#106 (ONNX's weights in the order of PyTorch)",
    "ifgo": "NX-AI/xlstm#98 (i and f, in an sLSTM)",
    "fiog": "apple/coremltools#93 (documented in one order, coded in the other)",
}


def _read_as(stored: str, read: str) -> str:
    """Return the order as which f, i, g, o are read where weights stored in one order are read in another."""
    meaning = dict(zip(stored, read, strict=True))
    return "".join(meaning[gate] for gate in "figo")


def _origin(order: str) -> str:
    """Return which frameworks' weights and readers lead to an order."""
    pairs = [
        f"{owner}'s weights in the order of {reader}"
        for owner, stored in _ORDERS.items()
        for reader, read in _ORDERS.items()
        if _read_as(stored, read) == order
    ]
    return f" So read: {'; '.join(pairs)}." if pairs else ""


def _gate_order(order: str) -> Fault:
    """Return the fault of weights packed as f, i, g, o and read in another order."""
    rename = f'    p = {{k + read: p[k + gate] for gate, read in zip("figo", "{order}") for k in "UVb"}}\n'
    return _fault(
        id=f"gate-order-{order}",
        title=f"Weights packed in the order f, i, g, o are read as {', '.join(order)}.",
        explanation="(1): every framework packs its four gates in an order of its own. Forward, backward and"
        " gradients agree with each other, so that no check against the layer's own forward pass can tell; constant"
        f" weights hide it, too.{_origin(order)}",
        patches=(
            in_forward(_FORWARD, rename + _FORWARD),
            in_backward(_BACKWARD, rename + _BACKWARD),
            in_gradients(
                _LOOP, f'for gate, read in zip(GATES, "{order}"):\n        dk_ = _steps_first(bc[f"d{{read}}_"])'
            ),
        ),
        seen=_SEEN.get(order, ""),
    )


FAULTS = (
    *(_gate_order("".join(order)) for order in permutations("figo") if "".join(order) != "figo"),
    *(
        _fault(
            id=f"gradients-swapped-{one}-{other}",
            title=f"The gradients of the {_GATES[one]} and the {_GATES[other]} gate are swapped.",
            explanation=f"(1{one}), (1{other}): the gradients are packed in another order than the weights.",
            patches=(
                in_gradients(
                    _LOOP,
                    f'for gate in GATES:\n        dk_ = _steps_first(bc[f"d{{dict({one}={other!r},'
                    f' {other}={one!r}).get(gate, gate)}}_"])',
                ),
            ),
        )
        for one, other in combinations("figo", 2)
    ),
    _fault(
        id="bias-gradients-swapped-f-i",
        title="dbf and dbi are swapped.",
        explanation="(1f), (1i): the biases are unpacked apart from the matrices, in another order.",
        patches=(in_gradients(_RETURN, '    g["dbf"], g["dbi"] = g["dbi"], g["dbf"]\n' + _RETURN),),
    ),
    *(
        _fault(
            id=f"bias-gradient-of-{other}-copied-from-f",
            title=f"db{other} is a copy of dbf.",
            explanation=f"(1{other}): the forget gate's line was copied and one letter not changed.",
            patches=(in_gradients(_RETURN, f'    g["db{other}"] = g["dbf"].copy()\n{_RETURN}'),),
            seen="hanbt/learn_dl#53 (bi and bo copied from f)" if other in "io" else "",
        )
        for other in "igo"
    ),
    _fault(
        id="recurrent-gradient-of-i-copied-from-f",
        title="dVi is a copy of dVf.",
        explanation="(1i): the forget gate's line was copied and one letter not changed.",
        patches=(in_gradients(_RETURN, '    g["dVi"] = g["dVf"].copy()\n' + _RETURN),),
    ),
    _fault(
        id="input-gradient-of-o-copied-from-i",
        title="dUo is a copy of dUi.",
        explanation="(1o): the input gate's line was copied and one letter not changed.",
        patches=(in_gradients(_RETURN, '    g["dUo"] = g["dUi"].copy()\n' + _RETURN),),
    ),
    _fault(
        id="one-delta-for-three-gates",
        title="dU, dV and db of f, i and g are all made of the forget gate's cotangent.",
        explanation="(1): one buffer for dk_ is not refilled between the gates.",
        patches=(
            in_gradients(
                _LOOP, 'for gate in GATES:\n        dk_ = _steps_first(bc["do_"] if gate == "o" else bc["df_"])'
            ),
        ),
    ),
    *(
        _fault(
            id=f"bias-shared-{one}-{other}",
            title=f"The forward pass adds b{other} to the {_GATES[one]} gate, too.",
            explanation=f"(1{one}): b{other} for b{one}; zero biases hide it, and layers start from zero biases.",
            patches=(in_forward(f'+ p["b{one}"]', f'+ p["b{other}"]'),),
        )
        for one, other in (("i", "f"), ("o", "i"), ("g", "o"))
    ),
    _fault(
        id="bias-of-o-for-f-and-i",
        title="The forward pass adds bo to the forget and the input gate.",
        explanation="(1f), (1i): a line copied twice; zero biases hide it, and layers start from zero biases.",
        patches=(in_forward('+ p["bf"]', '+ p["bo"]'), in_forward('+ p["bi"]', '+ p["bo"]')),
        seen="ddbourgin/numpy-ml#42",
    ),
    _fault(
        id="biases-swapped-f-i",
        title="The forward pass adds bi to the forget gate and bf to the input gate.",
        explanation="(1f), (1i): the biases are packed in another order than the matrices; zero biases hide it.",
        patches=(in_forward('+ p["bf"]', '+ p["bi"]'), in_forward('+ p["bi"]', '+ p["bf"]')),
    ),
    *(
        _fault(
            id=f"bias-missing-{gate}",
            title=f"The forward pass leaves out b{gate}.",
            explanation=f"(1{gate}): one of twelve terms was forgotten; zero biases hide it.",
            patches=(in_forward(f' + p["b{gate}"]', ""),),
        )
        for gate in "fo"
    ),
    *(
        _fault(
            id=f"recurrence-missing-{gate}",
            title=f"The {_GATES[gate]} gate does not see the hidden state.",
            explanation=f"(1{gate}): one of twelve terms was forgotten. Hidden at one step from zero states.",
            patches=(in_forward(f' + hp @ p["V{gate}"]', ""),),
        )
        for gate in "ig"
    ),
    _fault(
        id="recurrent-weights-shared-g-i",
        title="The forward pass multiplies by Vi for the candidate gate, too.",
        explanation="(1g): one letter not changed in a copied line. Hidden at one step from zero states.",
        patches=(in_forward('hp @ p["Vg"]', 'hp @ p["Vi"]'),),
    ),
    _fault(
        id="input-weights-shared-o-f",
        title="The forward pass multiplies by Uf for the output gate, too.",
        explanation="(1o): one letter not changed in a copied line.",
        patches=(in_forward('X_s @ p["Uo"]', 'X_s @ p["Uf"]'),),
    ),
    _fault(
        id="recurrence-through-wrong-gate",
        title="dh takes df_ through Vi and di_ through Vf.",
        explanation="(1f), (1i): the cotangents are stacked in another order than the weights.",
        patches=(in_backward('df_ @ p["Vf"]', 'di_ @ p["Vf"]'), in_backward('di_ @ p["Vi"]', 'df_ @ p["Vi"]')),
    ),
    _fault(
        id="input-gradient-through-wrong-gate",
        title="dX takes dg_ through Uo and do_ through Ug.",
        explanation="(1g), (1o): the cotangents are stacked in another order than the weights.",
        patches=(in_backward('dg_ @ p["Ug"]', 'do_ @ p["Ug"]'), in_backward('do_ @ p["Uo"]', 'dg_ @ p["Uo"]')),
    ),
    _fault(
        id="forget-gate-activated-twice",
        title="The forget gate is sigmoid(sigmoid(f_)) in the forward pass.",
        explanation="(2): the function that makes the linear activation applies the sigmoid already.",
        patches=(in_forward("f = sigmoid(f_)  # (2)", "f = sigmoid(sigmoid(f_))  # (2)"),),
    ),
    _fault(
        id="output-gate-by-tanh",
        title="The output gate is tanh(o_) in the forward pass.",
        explanation="(5): the output is taken for a candidate; the backward pass does not know.",
        patches=(in_forward("o = sigmoid(o_)  # (5)", "o = tanh(o_)  # (5)"),),
    ),
    _fault(
        id="output-gate-not-activated",
        title="The output gate is o_ in the forward pass.",
        explanation="(5): one of four activations was forgotten.",
        patches=(in_forward("o = sigmoid(o_)  # (5)", "o = o_ * 1  # (5)"),),
    ),
    _fault(
        id="hidden-of-linear-memory",
        title="h is o * C_ in the forward pass.",
        explanation="(8): the memory before its activation; the backward pass does not know.",
        patches=(in_forward("h = o * C  # (8)", "h = o * C_  # (8)"),),
    ),
    _fault(
        id="output-gate-inside-tanh",
        title="h is tanh(o * C_) in the forward pass.",
        explanation="(7), (8): the output gate multiplies before the activation and not after it.",
        patches=(in_forward("h = o * C  # (8)", "h = tanh(o * C_)  # (8)"),),
    ),
    _fault(
        id="memory-activated-twice",
        title="h is o * tanh(C) in the forward pass.",
        explanation="(7), (8): C is activated already.",
        patches=(in_forward("h = o * C  # (8)", "h = o * tanh(C)  # (8)"),),
    ),
    _fault(
        id="products-crossed",
        title="The memory is updated as i * Cp_ + f * g.",
        explanation="(6): input and forget gate are swapped in the update alone; the backward pass does not know.",
        patches=(in_forward(_UPDATE, "C_ = i * Cp_ + f * g  # (6)"),),
    ),
    _fault(
        id="plus-for-times",
        title="The memory is updated as f * Cp_ + (i + g).",
        explanation="(6): a + for a *; the backward pass does not know.",
        patches=(in_forward(_UPDATE, "C_ = f * Cp_ + (i + g)  # (6)"),),
        seen="MartinuzziFrancesco/torchrecurrent#22",
    ),
    _fault(
        id="forget-gate-complemented",
        title="The memory is updated as (1 - f) * Cp_ + i * g.",
        explanation="(6): read as how much is to be forgotten, as GRUs of two schools do; the backward pass does not"
        " know.",
        patches=(in_forward(_UPDATE, "C_ = (1 - f) * Cp_ + i * g  # (6)"),),
    ),
    _fault(
        id="df-and-di-crossed",
        title="df is made of g, and di of Cp_.",
        explanation="(6): the factors of the two products are confused.",
        patches=(
            in_backward("df = dC_ * Cp_", "df = dC_ * g"),
            in_backward("di = dC_ * g", "di = dC_ * Cp_"),
        ),
    ),
    _fault(
        id="di-and-dg-crossed",
        title="di is made of i, and dg of g.",
        explanation="(6): the derivative of i * g by the one is the other, and not itself.",
        patches=(
            in_backward("di = dC_ * g", "di = dC_ * i"),
            in_backward("dg = dC_ * i", "dg = dC_ * g"),
        ),
    ),
    _fault(
        id="df-without-memory",
        title="df lacks the factor Cp_.",
        explanation="(6): the derivative of f * Cp_ by f is Cp_.",
        patches=(in_backward("df = dC_ * Cp_", "df = dC_"),),
    ),
    _fault(
        id="di-without-candidate",
        title="di lacks the factor g.",
        explanation="(6): the derivative of i * g by i is g.",
        patches=(in_backward("di = dC_ * g", "di = dC_"),),
    ),
    _fault(
        id="di-of-linear-candidate",
        title="di is made of g_ and not of g.",
        explanation="(6): the candidate before its activation.",
        patches=(in_backward("di = dC_ * g", 'di = dC_ * fc["g_"][..., s, :]'),),
    ),
    _fault(
        id="dg-without-input-gate",
        title="dg lacks the factor i.",
        explanation="(6): the derivative of i * g by g is i.",
        patches=(in_backward("dg = dC_ * i", "dg = dC_"),),
    ),
    _fault(
        id="dg-by-forget-gate",
        title="dg is made of f and not of i.",
        explanation="(6): one letter.",
        patches=(in_backward("dg = dC_ * i", "dg = dC_ * f"),),
    ),
    _fault(
        id="do-without-memory",
        title="do lacks the factor C.",
        explanation="(8): the derivative of o * C by o is C.",
        patches=(in_backward("do = dh_ * C  # (8)", "do = dh_  # (8)"),),
    ),
    _fault(
        id="do-of-linear-memory",
        title="do is made of C_ and not of C.",
        explanation="(8): the memory before its activation.",
        patches=(in_backward("do = dh_ * C  # (8)", 'do = dh_ * fc["C_"][..., s, :]  # (8)'),),
    ),
    _fault(
        id="do-of-whole-memory-cotangent",
        title="do is made of dC_ and not of dh_.",
        explanation="(8): the output gate stands between C and h, and the carry does not pass it.",
        patches=(
            in_backward("        do = dh_ * C  # (8)\n", ""),
            in_backward("        df = dC_", "        do = dC_ * C  # (8)\n        df = dC_"),
        ),
    ),
)
