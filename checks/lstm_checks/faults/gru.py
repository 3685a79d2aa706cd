"""Faults of GRUs: where the reset gate stands, which part the update gate keeps, and what of each goes back.

Both forms have most of them by the same texts; what differs is where r stands, before the product with the recurrent
weights (cell `gru`) or after it (cell `gru_reset_after`), and whether the candidate has a second bias.
"""

from collections.abc import Iterator
from functools import partial
from itertools import permutations

from lstm_checks.faults import one_state
from lstm_checks.faults.model import Fault, Patch, in_backward, in_forward, in_gradients
from lstm_checks.faults.one_state import BEGIN, DUE, RETURN, START

FAMILY = "gru"

_GATES = {"r": "reset", "z": "update"}
_NUMBERS = {"r": 2, "z": 3}
_LOCAL = {
    "r": "dr_ = dr * sigmoid_derivative(r)  # (2)",
    "z": "dz_ = dz * sigmoid_derivative(z)  # (3)",
}
_LINEAR = {gate: f'{gate}_ = X_s @ p["U{gate}"] + hp @ p["V{gate}"] + p["b{gate}"]  # (1{gate})' for gate in "rz"}
_ACTIVATED = {"r": "r = sigmoid(r_)  # (2)", "z": "z = sigmoid(z_)  # (3)"}
_UPDATE = "h = z * hp + (1 - z) * g  # (8)"
_TO_Z = "dz = dh_ * (hp - g)  # (8)"
_TO_G = "dg = dh_ - dh_ * z  # (8)"
_KEPT_PART = " + dh_ * z  # (1), (6), (8)"
# Of each form: what the candidate is made of, how that goes back, and its recurrent weights' gradient.
_AFTER = {
    "forward": 'q_ = hp @ p["Vg"] + p["cg"]  # (6)',
    "candidate": 'g_ = X_s @ p["Ug"] + r * q_ + p["bg"]  # (1g)',
    "to q": "dq_ = dg_ * r  # (1g)",
    "to r": "dr = dg_ * q_  # (1g)",
    "passed on": 'dq_ @ p["Vg"].mT',
    "weights": 'g["dVg"] = np.sum(_steps_first(fc["hp"]).mT @ _steps_first(bc["dq_"]), axis=-3)  # (6)',
    "bias": 'g["dcg"] = np.sum(np.sum(bc["dq_"], axis=-2), axis=-2)[..., np.newaxis, :]  # (6)',
}

_BEFORE = {
    "reset": "q = r * hp  # (6)",
    "candidate": 'g_ = X_s @ p["Ug"] + q @ p["Vg"] + p["bg"]  # (1g)',
    "to q": 'dq = dg_ @ p["Vg"].mT  # (1g)',
    "to r": "dr = dq * hp  # (6)",
    "passed on": " + dq * r + ",
    "weights": 'g["dVg"] = np.sum(_steps_first(fc["q"]).mT @ _steps_first(bc["dg_"]), axis=-3)  # (1g)',
}


def _instead(line: str, new: str) -> str:
    """Return a line with another right side, its number as it was."""
    left, number = line.partition(" = ")[0], line.rpartition("  # ")[2]
    return f"{left} = {new}  # {number}"


def _of_both(cell: str) -> Iterator[Fault]:
    """Yield what either form can have wrong: the update gate, the two gates' own lines, their order."""
    fault = partial(Fault, family=FAMILY, example=f"m1s1e1u1-{cell}-float64-seed0")
    other = "h = (1 - z) * hp + z * g  # (8)"
    right_for_that = (
        in_backward(_TO_Z, _instead(_TO_Z, "dh_ * (g - hp)")),
        in_backward(_TO_G, _instead(_TO_G, "dh_ * z")),
        in_backward(_KEPT_PART, _KEPT_PART.replace("* z", "* (1 - z)")),
    )
    yield fault(
        id="update-gate-the-other-way",
        title="z says how much of the candidate is taken, not how much of the state is kept.",
        explanation="(8): h = (1 - z) hp + z g, as in Chung et al. 2014 and Haiku; the gradient is right for that.",
        patches=(in_forward(_UPDATE, other), *right_for_that),
    )
    yield fault(
        id="update-gate-the-other-way-forward-only",
        title="The forward pass has z and 1 - z exchanged, the backward pass has not.",
        explanation="(8): one of the two passes was copied from a source of the other convention.",
        patches=(in_forward(_UPDATE, other),),
    )
    yield fault(
        id="update-gate-the-other-way-backward-only",
        title="The backward pass has z and 1 - z exchanged, the forward pass has not.",
        explanation="(8): one of the two passes was copied from a source of the other convention.",
        patches=right_for_that,
    )
    parts = (
        ("update-cotangent-negated", _TO_Z, "dh_ * (g - hp)", "dz has its sign changed", "h - g for g - h"),
        ("update-cotangent-without-candidate", _TO_Z, "dh_ * hp", "dz lacks the candidate", "z is in both terms"),
        ("update-cotangent-without-state", _TO_Z, "dh_ * (-g)", "dz lacks the state", "z is in both terms"),
        ("update-cotangent-of-new-state", _TO_Z, 'dh_ * (fc["h"][..., s, :] - g)', "dz takes h for hp", "h for hp"),
        ("update-cotangent-of-sum", _TO_Z, "dh_ * (hp + g)", "dz has the candidate added", "+ for -"),
        ("update-cotangent-of-output-alone", _TO_Z, "dA_s * (hp - g)", "dz lacks the next step's cotangent", "dA"),
        ("candidate-cotangent-by-z", _TO_G, "dh_ * z", "dg is weighted by z, not by 1 - z", "z for 1 - z"),
        ("candidate-cotangent-whole", _TO_G, "dh_", "dg is not weighted by 1 - z", "1 - z forgotten"),
        ("candidate-cotangent-of-output-alone", _TO_G, "dA_s * (1 - z)", "dg lacks the next step's cotangent", "dA"),
        ("candidate-cotangent-by-r", _TO_G, "dh_ * (1 - r)", "dg is weighted by 1 - r, not by 1 - z", "r for z"),
    )
    for id, line, new, title, why in parts:
        yield fault(
            id=id,
            title=f"{title}.",
            explanation=f"(8): h = z hp + (1 - z) g gives hp, g and z each a part of dh_; {why}.",
            patches=(in_backward(line, _instead(line, new)),),
        )
    kept = (
        ("state-cotangent-missing", "", "lacks what stays of the state, dh_ z"),
        ("state-cotangent-by-complement", "dh_ * (1 - z)", "has dh_ (1 - z) for dh_ z"),
        ("state-cotangent-whole", "dh_", "has dh_ for dh_ z"),
        ("state-cotangent-doubled", "2 * dh_ * z", "has dh_ z twice"),
        ("state-cotangent-by-r", "dh_ * r", "has dh_ r for dh_ z"),
        ("state-cotangent-of-output-alone", "dA_s * z", "has dA z for dh_ z"),
        ("state-cotangent-of-next-step-alone", "dhn * z", "has dhn z for dh_ z"),
        ("state-cotangent-by-linear-z", 'dh_ * fc["z_"][..., s, :]', "has dh_ z_ for dh_ z"),
    )
    for id, new, words in kept:
        yield fault(
            id=id,
            title=f"dh passed on {words}.",
            explanation="(8): the state before is in h directly, too, weighted by z.",
            patches=(in_backward(_KEPT_PART, f"{' + ' if new else ''}{new}  # (1), (6), (8)"),),
        )
    for gate, name in _GATES.items():
        yield from _of_gate(fault, gate, name, {"r": "z", "z": "r"}[gate])
    yield fault(
        id="update-gate-fixed-at-half",
        title="The update gate is one half, whatever its weights.",
        explanation="(3), (8): the state is averaged with the candidate; the gradient is right for that.",
        patches=(in_forward(_ACTIVATED["z"], "z = sigmoid(0 * z_)  # (3)"), in_backward(_LOCAL["z"], "dz_ = 0 * dz")),
    )
    yield fault(
        id="update-sees-reset-state",
        title="The update gate sees the state reset by r.",
        explanation="(1z): r * hp for hp in both products, in the forward pass alone.",
        patches=(
            in_forward(f"        {_LINEAR['z']}\n", ""),
            in_forward(
                _ACTIVATED["z"],
                'z_ = X_s @ p["Uz"] + (r * hp) @ p["Vz"] + p["bz"]\n        z = sigmoid(z_)  # (3)',
            ),
        ),
    )
    yield fault(
        id="recurrent-weights-exchanged-r-z",
        title="The recurrent weights of the two gates are exchanged in all passes, those of the input are not.",
        explanation="(1r), (1z): the input's matrix is packed r z g, the recurrent one z r g.",
        patches=(
            in_forward(BEGIN, '    p = {**p, "Vr": p["Vz"], "Vz": p["Vr"]}\n' + BEGIN),
            in_backward(START, '    p = {**p, "Vr": p["Vz"], "Vz": p["Vr"]}\n' + START),
            in_gradients(RETURN, '    g["dVr"], g["dVz"] = g["dVz"], g["dVr"]\n' + RETURN),
        ),
    )
    yield fault(
        id="gate-gradients-exchanged-r-z",
        title="The gradients of the reset and the update gate are exchanged.",
        explanation="(1r), (1z): the gradients are packed in another order than the weights.",
        patches=(
            in_gradients(
                RETURN,
                '    g |= {f"d{k}r": g[f"d{k}z"] for k in "UVb"} | {f"d{k}z": g[f"d{k}r"] for k in "UVb"}\n' + RETURN,
            ),
        ),
    )
    for kind in "UVb":
        yield fault(
            id=f"gradient-of-z-copied-from-r-{kind.lower()}",
            title=f"d{kind}z is a copy of d{kind}r.",
            explanation="(1z): the reset gate's line was copied and one letter not changed.",
            patches=(in_gradients(RETURN, f'    g["d{kind}z"] = g["d{kind}r"].copy()\n{RETURN}'),),
        )
    yield fault(
        id="backward-gates-exchanged-r-z",
        title="The backward pass takes r for z and z for r.",
        explanation="(2), (3): what the forward pass kept is unpacked in another order.",
        patches=(in_backward(DUE, f"{DUE}\n        r, z = z, r"),),
    )
    yield fault(
        id="backward-weights-exchanged-r-z",
        title="The backward pass has the reset and the update gate's weights exchanged.",
        explanation="(1r), (1z): dX and dh go through another order of blocks than the forward pass.",
        patches=(
            in_backward(START, '    p = {**p, "Ur": p["Uz"], "Uz": p["Ur"], "Vr": p["Vz"], "Vz": p["Vr"]}\n' + START),
        ),
    )
    for gate, name in {**_GATES, "g": "candidate"}.items():
        term = f'd{gate}_ @ p["U{gate}"].mT'
        yield fault(
            id=f"input-cotangent-lacks-{gate}",
            title=f"dX lacks the {name}{' gate' * (gate != 'g')}.",
            explanation=f"(1{gate}): X_s enters three sums, and dX has three products.",
            patches=(in_backward(term, f"0 * ({term})"),),
        )
    for order in permutations("rzg"):
        if (name := "".join(order)) != "rzg":
            yield one_state.of_order(
                cell,
                "rzg",
                name,
                "(1): PyTorch and cuDNN pack r z n, Keras and ONNX z r h. Forward, backward and gradients agree with"
                " each other, so that no check against the layer's own forward pass can tell.",
            )


def _of_gate(fault: partial[Fault], gate: str, name: str, other: str) -> Iterator[Fault]:
    """Yield what can be wrong with the lines of one of the two gates."""
    number, local = _NUMBERS[gate], _LOCAL[gate]
    derivatives = (
        ("derivative-missing", f"d{gate}", "its cotangent is passed on without sigmoid's derivative"),
        ("derivative-of-linear", f"d{gate} * {gate}_ * (1 - {gate}_)", "its derivative is of the linear activation"),
        ("derivative-unweighted", f"d{gate} * (1 - {gate})", f"its derivative is 1 - {gate}"),
        ("derivative-without-complement", f"d{gate} * {gate}", f"its derivative is {gate}"),
        ("derivative-of-tanh", f"d{gate} * tanh_derivative({gate})", "its derivative is tanh's"),
        ("derivative-of-the-other", f"d{gate} * sigmoid_derivative({other})", f"its derivative is taken at {other}"),
        ("cut-off", f"0 * d{gate}", "no gradient flows through it"),
    )
    for id, new, words in derivatives:
        linear = f'{gate}_ = fc["{gate}_"][..., s, :]\n        ' if f"{gate}_ *" in new else ""
        yield fault(
            id=f"{name}-gate-{id}",
            title=f"Of the {name} gate, {words}.",
            explanation=f"({number}): d{gate}_ = d{gate} {gate} (1 - {gate}).",
            patches=(in_backward(local, f"{linear}d{gate}_ = {new}  # ({number})"),),
        )
    yield fault(
        id=f"{name}-gate-by-tanh",
        title=f"The {name} gate is tanh of its linear activation.",
        explanation=f"({number}): the candidate's activation; the gradient is right for that.",
        patches=(
            in_forward(_ACTIVATED[gate], f"{gate} = tanh({gate}_)  # ({number})"),
            in_backward(local, f"d{gate}_ = d{gate} * tanh_derivative({gate})  # ({number})"),
        ),
    )
    yield fault(
        id=f"{name}-gate-not-activated",
        title=f"The {name} gate is its linear activation.",
        explanation=f"({number}): an activation forgotten; the gradient is right for that.",
        patches=(
            in_forward(_ACTIVATED[gate], f"{gate} = {gate}_  # ({number})"),
            in_backward(local, f"d{gate}_ = d{gate}  # ({number})"),
        ),
    )
    yield fault(
        id=f"{name}-gate-without-state",
        title=f"The {name} gate does not see the state.",
        explanation=f"(1{gate}): the product with V{gate} was forgotten; the gradient is as if it were there.",
        patches=(in_forward(f' + hp @ p["V{gate}"]', ""),),
    )
    yield fault(
        id=f"{name}-gate-without-bias",
        title=f"The forward pass leaves out b{gate}.",
        explanation=f"(1{gate}): a term forgotten; zero biases hide it.",
        patches=(in_forward(f' + p["b{gate}"]', ""),),
    )
    yield fault(
        id=f"{name}-gate-bias-of-the-other",
        title=f"The forward pass adds b{other} to the {name} gate.",
        explanation=f"(1{gate}): b{other} for b{gate}; zero biases hide it.",
        patches=(in_forward(f'p["b{gate}"]', f'p["b{other}"]'),),
    )
    yield fault(
        id=f"{name}-gate-bias-one-added",
        title=f"1 is added to the {name} gate's linear activation.",
        explanation=f"(1{gate}): a forget gate's trick at run time; the gradient is right for that.",
        patches=(in_forward(f'+ p["b{gate}"]', f'+ (p["b{gate}"] + 1)'),),
    )
    yield fault(
        id=f"recurrent-cotangent-lacks-{gate}",
        title=f"dh passed on lacks the {name} gate.",
        explanation=f"(1{gate}): hp enters the sum of every gate; one of the products was forgotten.",
        patches=(in_backward(f'd{gate}_ @ p["V{gate}"].mT', f'0 * (d{gate}_ @ p["V{gate}"].mT)'),),
    )
    yield fault(
        id=f"recurrent-weights-not-transposed-{gate}",
        title=f"dh goes back through V{gate}, not through its transpose.",
        explanation=f"(1{gate}): V is square, so that no shape gives it away; hidden where u = 1.",
        patches=(in_backward(f'd{gate}_ @ p["V{gate}"].mT', f'd{gate}_ @ p["V{gate}"]'),),
        example=fault.keywords["example"].replace("u1", "u2"),
    )
    yield fault(
        id=f"recurrent-gradient-of-reset-state-{gate}",
        title=f"dV{gate} is made of the reset state.",
        explanation=f"(1{gate}): r * hp for hp, as the candidate's.",
        patches=(
            in_gradients(
                RETURN,
                f'    g["dV{gate}"] = np.sum(_steps_first(fc["r"] * fc["hp"]).mT @ _steps_first(bc["d{gate}_"]),'
                f" axis=-3)\n{RETURN}",
            ),
        ),
    )


def _of_reset_after(cell: str) -> Iterator[Fault]:
    """Yield what is wrong with where the reset gate stands, where it is due after the product."""
    fault = partial(Fault, family=FAMILY, example=f"m1s1e1u1-{cell}-float64-seed0")
    line = _AFTER

    def back(part: str, new: str) -> Patch:
        return in_backward(line[part], _instead(line[part], new))

    before = in_forward(line["forward"], 'q_ = (r * hp) @ p["Vg"] + p["cg"]  # (6)')
    unscaled = in_forward(line["candidate"], _instead(line["candidate"], 'X_s @ p["Ug"] + q_ + p["bg"]'))
    through = in_backward(line["passed on"], f"r * ({line['passed on']})")
    of_reset = in_gradients('_steps_first(fc["hp"]).mT', '_steps_first(fc["r"] * fc["hp"]).mT')
    back_before = (back("to q", "dg_"), back("to r", 'hp * (dg_ @ p["Vg"].mT)'), through, of_reset)
    outside = in_forward(line["forward"], 'q_ = hp @ p["Vg"]  # (6)')
    added = in_forward(line["candidate"], _instead(line["candidate"], 'X_s @ p["Ug"] + r * q_ + p["bg"] + p["cg"]'))
    bias_unscaled = in_gradients(line["bias"], line["bias"].replace('bc["dq_"]', 'bc["dg_"]'))
    larger = f"m1s1e1u2-{cell}-float64-seed0"

    yield fault(
        id="reset-before-the-product",
        title="The reset gate scales the state, not the product with the recurrent weights.",
        explanation="(6), (1g): the form of Cho et al. 2014 and of Keras's reset_after=False, with two biases; the"
        " gradient is right for that.",
        patches=(before, unscaled, *back_before),
    )
    yield fault(
        id="reset-before-the-product-forward-only",
        title="The reset gate scales the state in the forward pass and the product in the backward pass.",
        explanation="(6), (1g): the two passes are of two forms.",
        patches=(before, unscaled),
    )
    yield fault(
        id="reset-before-the-product-backward-only",
        title="The reset gate scales the product in the forward pass and the state in the backward pass.",
        explanation="(6), (1g): the two passes are of two forms.",
        patches=back_before,
    )
    yield fault(
        id="second-bias-not-reset",
        title="The candidate's second bias is added outside of what r scales.",
        explanation="(6), (1g): the two biases are one sum, as in the other form; the gradient is right for that.",
        patches=(outside, added, bias_unscaled),
    )
    yield fault(
        id="second-bias-not-reset-forward-only",
        title="The second bias is added outside of what r scales, in the forward pass alone.",
        explanation="(6), (1g): the gradient is as if r scaled it.",
        patches=(in_forward(line["candidate"], line["candidate"].replace("r * q_", 'r * (q_ - p["cg"]) + p["cg"]')),),
    )
    yield fault(
        id="second-bias-not-reset-backward-only",
        title="dcg is that of the first bias.",
        explanation="(6): r scales the second bias, so that its gradient is the sum of dg_ r, not of dg_.",
        patches=(bias_unscaled,),
    )
    yield fault(
        id="second-bias-ignored",
        title="The forward pass leaves out the candidate's second bias.",
        explanation="(6): recurrent biases are zero where layers start, and zero biases hide it.",
        patches=(outside,),
    )
    yield fault(
        id="second-bias-missing-in-reset-cotangent",
        title="dr lacks the candidate's second bias.",
        explanation="(1g): r scales the product and the bias; only the product is in dr.",
        patches=(back("to r", 'dg_ * (q_ - p["cg"])'),),
    )
    yield fault(
        id="second-bias-gradient-zero",
        title="dcg is zero.",
        explanation="(6): one bias was thought of.",
        patches=(in_gradients(RETURN, f'    g["dcg"] = 0 * g["dcg"]\n{RETURN}'),),
    )
    yield fault(
        id="second-bias-gradient-of-last-step",
        title="dcg has the last step alone.",
        explanation="(6): = for +=, in the loop over steps.",
        patches=(in_gradients('np.sum(bc["dq_"], axis=-2)', 'bc["dq_"][..., -1, :]'),),
        example=f"m1s2e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="second-bias-gradient-of-first-sample",
        title="dcg has the first sample alone.",
        explanation="(6): the sum over samples is forgotten.",
        patches=(in_gradients('np.sum(np.sum(bc["dq_"], axis=-2), axis=-2)', 'np.sum(bc["dq_"], axis=-2)[..., 0, :]'),),
        example=f"m2s1e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="biases-of-candidate-exchanged",
        title="The candidate's two biases are exchanged in the forward pass.",
        explanation="(6), (1g): the input's bias stands with the state, the state's with the input.",
        patches=(
            in_forward(line["forward"], line["forward"].replace('"cg"', '"bg"')),
            in_forward(line["candidate"], line["candidate"].replace('"bg"', '"cg"')),
        ),
    )
    yield fault(
        id="bias-gradients-of-candidate-exchanged",
        title="dbg and dcg are exchanged.",
        explanation="(6), (1g): the two biases' gradients are packed in the other order.",
        patches=(in_gradients(RETURN, f'    g["dbg"], g["dcg"] = g["dcg"], g["dbg"]\n{RETURN}'),),
    )
    yield fault(
        id="reset-ignored",
        title="The reset gate scales nothing.",
        explanation="(1g): q_ for r * q_; the gradient is right for that.",
        patches=(unscaled, back("to q", "dg_"), back("to r", "0 * dg_")),
    )
    yield fault(
        id="reset-ignored-forward-only",
        title="The reset gate scales nothing in the forward pass.",
        explanation="(1g): q_ for r * q_; the gradient is as if r were there.",
        patches=(unscaled,),
    )
    yield fault(
        id="reset-scales-the-whole-candidate",
        title="The reset gate scales the input's part of the candidate, too.",
        explanation="(1g): brackets closed a term too late, in the forward pass alone.",
        patches=(in_forward(line["candidate"], _instead(line["candidate"], 'r * (X_s @ p["Ug"] + q_ + p["bg"])')),),
    )
    yield fault(
        id="reset-by-complement",
        title="The candidate sees 1 - r of the recurrent part.",
        explanation="(1g): r is read as how much is forgotten; the gradient is right for that.",
        patches=(
            in_forward(line["candidate"], line["candidate"].replace("r * q_", "(1 - r) * q_")),
            back("to q", "dg_ * (1 - r)"),
            back("to r", "-dg_ * q_"),
        ),
    )
    yield fault(
        id="reset-by-update-gate",
        title="The update gate scales the candidate's recurrent part, too.",
        explanation="(1g): z for r, in the forward pass alone.",
        patches=(in_forward(line["candidate"], line["candidate"].replace("r * q_", "z * q_")),),
    )
    yield fault(
        id="candidate-recurrent-cotangent-not-reset",
        title="dq_ lacks r: what goes back into the candidate's product, its weights and its bias is not reset.",
        explanation="(1g): r * q_ gives q_ the cotangent dg_ r.",
        patches=(back("to q", "dg_"),),
    )
    yield fault(
        id="candidate-state-cotangent-not-reset",
        title="What the candidate passes back to the state lacks r.",
        explanation="(1g), (6): dg_ for dq_ in dh alone.",
        patches=(in_backward(line["passed on"], 'dg_ @ p["Vg"].mT'),),
    )
    yield fault(
        id="candidate-recurrent-gradient-not-reset",
        title="dVg lacks r.",
        explanation="(6): dg_ for dq_, as for the two gates.",
        patches=(in_gradients('.mT @ _steps_first(bc["dq_"])', '.mT @ _steps_first(bc["dg_"])'),),
    )
    yield fault(
        id="candidate-recurrent-gradient-of-reset-state",
        title="dVg is made of the reset state and dg_.",
        explanation="(6): the gradient of the other form, hp^T (dg_ r) for (r hp)^T dg_; the two agree where u = 1.",
        patches=(
            in_gradients(
                '_steps_first(fc["hp"]).mT @ _steps_first(bc["dq_"])',
                '_steps_first(fc["r"] * fc["hp"]).mT @ _steps_first(bc["dg_"])',
            ),
        ),
        example=larger,
    )
    yield fault(
        id="candidate-recurrent-gradient-reset-twice",
        title="dVg is made of the reset state and of dq_, which r scales already.",
        explanation="(6): r is counted twice.",
        patches=(of_reset,),
    )
    yield fault(
        id="candidate-recurrent-gradient-of-new-state",
        title="dVg is made of h, not hp.",
        explanation="(6): the state is overwritten before it is used.",
        patches=(in_gradients('_steps_first(fc["hp"]).mT', '_steps_first(fc["h"]).mT'),),
    )
    yield fault(
        id="candidate-recurrent-gradient-of-last-step",
        title="dVg has the last step alone.",
        explanation="(6): = for +=, in the loop over steps.",
        patches=(
            in_gradients(
                line["weights"],
                'g["dVg"] = fc["hp"][..., -1, :].mT @ bc["dq_"][..., -1, :]  # (6)',
            ),
        ),
        example=f"m1s2e1u1-{cell}-float64-seed0",
    )
    yield fault(
        id="candidate-state-cotangent-missing",
        title="dh passed on lacks the candidate.",
        explanation="(6): hp enters all three products; one was forgotten.",
        patches=(in_backward(line["passed on"], f"0 * ({line['passed on']})"),),
    )
    yield fault(
        id="candidate-recurrent-weights-not-transposed",
        title="dh goes back through Vg, not through its transpose.",
        explanation="(6): V is square, so that no shape gives it away; hidden where u = 1.",
        patches=(in_backward(line["passed on"], 'dq_ @ p["Vg"]'),),
        example=larger,
    )
    yield fault(
        id="reset-cotangent-of-state",
        title="dr is made of hp, not of its product with the recurrent weights.",
        explanation="(1g): the line of the other form, half of it.",
        patches=(back("to r", "dg_ * hp"),),
    )
    yield fault(
        id="reset-cotangent-of-output",
        title="dr takes the candidate's cotangent before tanh's derivative.",
        explanation="(4), (1g): dg for dg_.",
        patches=(back("to r", "dg * q_"),),
    )
    yield fault(
        id="reset-cotangent-reset",
        title="dr has a factor r too many.",
        explanation="(1g): dq_ for dg_.",
        patches=(back("to r", "dq_ * q_"),),
    )
    yield fault(
        id="candidate-by-sigmoid",
        title="The candidate's recurrent part is activated before r scales it.",
        explanation="(6): tanh around the product, too, in the forward pass alone.",
        patches=(in_forward(line["candidate"], line["candidate"].replace("r * q_", "r * tanh(q_)")),),
    )


def _of_reset_before(cell: str) -> Iterator[Fault]:
    """Yield what is wrong with where the reset gate stands, where it is due before the product."""
    fault = partial(Fault, family=FAMILY, example=f"m1s1e1u1-{cell}-float64-seed0")
    line = _BEFORE

    def back(part: str, new: str) -> Patch:
        return in_backward(line[part], _instead(line[part], new))

    def made_of(new: str) -> Patch:
        return in_gradients(line["weights"], _instead(line["weights"], f"np.sum({new}, axis=-3)"))

    after = in_forward(line["candidate"], _instead(line["candidate"], 'X_s @ p["Ug"] + r * (hp @ p["Vg"]) + p["bg"]'))
    back_after = (
        back("to q", '(dg_ * r) @ p["Vg"].mT'),
        back("to r", 'dg_ * (hp @ p["Vg"])'),
        in_backward(line["passed on"], " + dq + "),
        made_of('_steps_first(fc["hp"]).mT @ _steps_first(bc["dg_"] * fc["r"])'),
    )
    unscaled = in_forward(line["reset"], "q = hp  # (6)")
    last_step = f"m1s2e1u1-{cell}-float64-seed0"
    larger = f"m1s1e1u2-{cell}-float64-seed0"

    yield fault(
        id="reset-after-the-product",
        title="The reset gate scales the product with the recurrent weights, not the state.",
        explanation="(6), (1g): the form of cuDNN, PyTorch and Keras's reset_after=True; the gradient is right for"
        " that, and the two forms agree where u = 1.",
        patches=(after, *back_after),
        example=larger,
    )
    yield fault(
        id="reset-after-the-product-forward-only",
        title="The reset gate scales the product in the forward pass and the state in the backward pass.",
        explanation="(6), (1g): the two passes are of two forms, which agree where u = 1.",
        patches=(after,),
        example=larger,
    )
    yield fault(
        id="reset-after-the-product-backward-only",
        title="The reset gate scales the state in the forward pass and the product in the backward pass.",
        explanation="(6), (1g): the two passes are of two forms, which agree where u = 1.",
        patches=back_after,
        example=larger,
    )
    yield fault(
        id="reset-ignored",
        title="The reset gate scales nothing.",
        explanation="(6): hp for r * hp; the gradient is right for that.",
        patches=(unscaled, back("to r", "0 * dq"), in_backward(line["passed on"], " + dq + ")),
    )
    yield fault(
        id="reset-ignored-forward-only",
        title="The reset gate scales nothing in the forward pass.",
        explanation="(6): hp for r * hp; the gradient is as if r were there.",
        patches=(in_forward(line["candidate"], line["candidate"].replace("q @", "hp @")),),
    )
    yield fault(
        id="reset-scales-the-whole-candidate",
        title="The reset gate scales the input's part of the candidate, too.",
        explanation="(1g): brackets closed a term too late, in the forward pass alone.",
        patches=(
            in_forward(line["candidate"], _instead(line["candidate"], 'r * (X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"])')),
        ),
    )
    yield fault(
        id="reset-by-complement",
        title="The candidate sees 1 - r of the state.",
        explanation="(6): r is read as how much is forgotten; the gradient is right for that.",
        patches=(
            in_forward(line["reset"], "q = (1 - r) * hp  # (6)"),
            back("to r", "-dq * hp"),
            in_backward(line["passed on"], " + dq * (1 - r) + "),
        ),
    )
    yield fault(
        id="reset-by-update-gate",
        title="The update gate scales the state that the candidate sees, too.",
        explanation="(6): z for r, in the forward pass alone.",
        patches=(in_forward(line["reset"], "q = z * hp  # (6)"),),
    )
    yield fault(
        id="reset-twice",
        title="The candidate sees the state reset twice.",
        explanation="(6): r is in the state already, in the forward pass alone.",
        patches=(in_forward(line["reset"], "q = r * (r * hp)  # (6)"),),
    )
    yield fault(
        id="reset-state-kept",
        title="z keeps the reset state, not the state.",
        explanation="(8): r * hp is written over hp, in the forward pass alone.",
        patches=(in_forward(_UPDATE, "h = z * q + (1 - z) * g  # (8)"),),
    )
    yield fault(
        id="candidate-state-cotangent-not-reset",
        title="What the candidate passes back to the state lacks r.",
        explanation="(6): q = r hp gives hp the cotangent dq r.",
        patches=(in_backward(line["passed on"], " + dq + "),),
    )
    yield fault(
        id="candidate-state-cotangent-missing",
        title="dh passed on lacks the candidate.",
        explanation="(6): hp enters the two gates and the candidate; one was forgotten.",
        patches=(in_backward(line["passed on"], " + "),),
    )
    yield fault(
        id="candidate-state-cotangent-by-z",
        title="What the candidate passes back to the state is weighted by z.",
        explanation="(6): z for r.",
        patches=(in_backward(line["passed on"], " + dq * z + "),),
    )
    parts = (
        ("reset-cotangent-of-candidate", "dg_ * hp", "dr lacks the candidate's recurrent weights", "dg_ for dq"),
        ("reset-cotangent-without-state", "dq", "dr lacks the state", "hp forgotten"),
        ("reset-cotangent-reset", "dq * q", "dr has a factor r too many", "q for hp"),
        ("reset-cotangent-of-new-state", 'dq * fc["h"][..., s, :]', "dr is made of h, not hp", "h for hp"),
        ("reset-cotangent-of-output", '(dg @ p["Vg"].mT) * hp', "dr lacks tanh's derivative", "dg for dg_"),
        (
            "reset-cotangent-of-output-alone",
            '(dA_s * (1 - z) * tanh_derivative(g)) @ p["Vg"].mT * hp',
            "dr lacks the next step's cotangent",
            "dA for dh_",
        ),
    )
    for id, new, title, why in parts:
        fetched = in_backward(DUE, f'{DUE}\n        q = fc["q"][..., s, :]')
        yield fault(
            id=id,
            title=f"{title}.",
            explanation=f"(6): dr = dq hp; {why}.",
            patches=(*([fetched] if new == "dq * q" else []), back("to r", new)),
            example=fault.keywords["example"],
        )
    gradients = (
        ("candidate-recurrent-gradient-not-reset", 'fc["hp"]', 'bc["dg_"]', "of hp, not of the reset state", None),
        ("candidate-recurrent-gradient-of-new-state", 'fc["h"]', 'bc["dg_"]', "of h", None),
        ("candidate-recurrent-gradient-of-new-reset-state", 'fc["r"] * fc["h"]', 'bc["dg_"]', "of r h", None),
        ("candidate-recurrent-gradient-reset-twice", 'fc["r"] * fc["q"]', 'bc["dg_"]', "of r q", None),
        ("candidate-recurrent-gradient-by-z", 'fc["z"] * fc["hp"]', 'bc["dg_"]', "of z hp", None),
        ("candidate-recurrent-gradient-after", 'fc["hp"]', 'bc["dg_"] * fc["r"]', "of hp and of dg_ r", larger),
        ("candidate-recurrent-gradient-of-state-cotangent", 'fc["q"]', 'bc["dq"]', "of q and dq", None),
    )
    for id, left, right, words, example in gradients:
        yield fault(
            id=id,
            title=f"dVg is made {words}.",
            explanation="(1g): the candidate sees q = r hp, and dVg is the sum of q^T dg_.",
            patches=(made_of(f"_steps_first({left}).mT @ _steps_first({right})"),),
            example=example or fault.keywords["example"],
        )
    yield fault(
        id="candidate-recurrent-gradient-of-last-step",
        title="dVg has the last step alone.",
        explanation="(1g): = for +=, in the loop over steps.",
        patches=(in_gradients(line["weights"], 'g["dVg"] = fc["q"][..., -1, :].mT @ bc["dg_"][..., -1, :]  # (1g)'),),
        example=last_step,
    )
    yield fault(
        id="candidate-without-bias",
        title="The forward pass leaves out bg.",
        explanation="(1g): a term forgotten; zero biases hide it.",
        patches=(in_forward(' + p["bg"]', ""),),
    )
    yield fault(
        id="candidate-without-state",
        title="The candidate does not see the state.",
        explanation="(1g): the product with Vg was forgotten; the gradient is as if it were there.",
        patches=(in_forward(' + q @ p["Vg"]', ""),),
    )


def faults_of_reset_after() -> tuple[Fault, ...]:
    """Return the faults of the cell `gru_reset_after` alone."""
    cell = "gru_reset_after"
    return (*_of_both(cell), *_of_reset_after(cell), *one_state.faults(cell))


def faults_of_reset_before() -> tuple[Fault, ...]:
    """Return the faults of the cell `gru` alone."""
    return (*_of_both("gru"), *_of_reset_before("gru"), *one_state.faults("gru"))
