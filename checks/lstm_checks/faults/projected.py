"""Faults of a recurrent projection, h = q P with q = o C: where it stands, what goes back through it, and dP.

Many let only sizes through of which no shape tells one from the other: p = u, where P is square and h is as long as q.
"""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="projected", example="m1s1e1u1p1-projected-float64-seed0")
_square = partial(_fault, example="m1s1e1u2p2-projected-float64-seed0")
_later = partial(_fault, example="m1s2e1u1p1-projected-float64-seed0")

_WHERE = 'if p["P"].shape[-2] == p["P"].shape[-1] else'
_GATED = "q = o * C  # (8)"
_OUT = 'h = q @ p["P"]  # (8p)'
_STARTS = "h, C_ = h0, C0"
_KEPT = "trace.append((hp, Cp_, f_, f, i_, i, g_, g, o_, o, C_, C, q, h))"
_FETCH = 'Cp_, f, i, g, o, C = (fc[name][..., s, :] for name in ("Cp_", "f", "i", "g", "o", "C"))'
_BACK = 'dq = dh_ @ p["P"].mT  # (8p)'
_TO_O = "do = dq * C  # (8)"
_TO_C = "dC_ = dq * o * tanh_derivative(C) + dCn  # (8), (7)"
_DH0 = '"dh0": dhn,'
_HP = 'hp = _steps_first(fc["hp"])'
_Q, _DH = '_steps_first(fc["q"])', '_steps_first(bc["dh_"])'
_DP = f"np.sum({_Q}.mT @ {_DH}, axis=-3)"
_EQUAL = 'if fc["q"].shape[-1] == bc["dh_"].shape[-1] else'

FAULTS = (
    _square(
        id="projection-transposed-where-square",
        title="Where p is u, the forward pass multiplies by the transpose of P.",
        explanation="(8p): stored as (p, u) by another framework, and turned only where the shape asks for it.",
        patches=(in_forward(_OUT, f'h = q @ (p["P"].mT {_WHERE} p["P"])  # (8p)'),),
    ),
    _square(
        id="projection-transposed-throughout-where-square",
        title="Where p is u, P is read transposed, forward and backward alike.",
        explanation="(8p): stored as (p, u) by another framework; the gradient is right for that.",
        patches=(
            in_forward(_OUT, f'h = q @ (p["P"].mT {_WHERE} p["P"])  # (8p)'),
            in_backward(_BACK, f'dq = dh_ @ (p["P"] {_WHERE} p["P"].mT)  # (8p)'),
            in_gradients(_DP, f"({_DP}.mT {_EQUAL} {_DP})"),
        ),
    ),
    _fault(
        id="projection-reshaped",
        title="The forward pass multiplies by P^T reshaped to (u, p) and not transposed.",
        explanation="(8p): stored as (p, u); reshape keeps the order in memory. Hidden where p or u is 1.",
        patches=(in_forward(_OUT, 'h = q @ p["P"].mT.reshape(p["P"].shape)  # (8p)'),),
        example="m1s1e1u2p2-projected-float64-seed0",
    ),
    _square(
        id="projection-skipped-in-the-recurrence",
        title="Where p is u, what the gates see of the step before is q and not its projection.",
        explanation="(8p): P is taken for a layer on the output. The gradient is as if h went on.",
        patches=(in_forward(_KEPT, f"{_KEPT}\n        h = q {_WHERE} h"),),
        example="m1s2e1u2p2-projected-float64-seed0",
    ),
    _square(
        id="projection-of-the-output-alone",
        title="Where p is u, P is a layer on the output: the gates see q of the step before, and the gradient fits.",
        explanation="(8p): a linear layer put on the h of a plain LSTM is no projection in it.",
        patches=(
            in_forward(_KEPT, f"{_KEPT}\n        h = q {_WHERE} h"),
            in_backward(
                "dh_ = dA_s + dhn  # (9)",
                f"last = s == dA.shape[-2] - 1\n        dh_ = dA_s + (dhn if last else 0 * dhn {_WHERE} dhn)  # (9)",
            ),
            in_backward(_BACK, f'dq = dh_ @ p["P"].mT + (0 if last else dhn {_WHERE} 0)  # (8p)'),
        ),
        example="m1s2e1u2p2-projected-float64-seed0",
    ),
    _fault(
        id="projection-of-the-recurrence-alone",
        title="Where p is u, the output is q, and P stands in the recurrence alone.",
        explanation="(8p), (9): h is returned before it is projected. The gradient is as if it were returned after.",
        patches=(in_forward(_KEPT, _KEPT.replace("q, h))", f"q, (q {_WHERE} h)))")),),
    ),
    _square(
        id="projection-before-the-output-gate",
        title="Where p is u, it is the memory that is projected, and the output gate comes after: h = o * (C P).",
        explanation="(8), (8p): the two are exchanged. The gradient is as if they were not.",
        patches=(in_forward(_OUT, f'h = o * (C @ p["P"]) {_WHERE} q @ p["P"]  # (8p)'),),
    ),
    _fault(
        id="projection-of-the-linear-memory",
        title="What is projected is o times the linear memory.",
        explanation="(7), (8): C_ for C, one letter; the gradient is as if it were activated.",
        patches=(in_forward(_GATED, "q = o * C_  # (8)"),),
    ),
    _fault(
        id="projection-without-the-output-gate",
        title="What is projected is the memory, without its output gate.",
        explanation="(8): C for o * C; the gradient is as if the gate were there.",
        patches=(in_forward(_GATED, "q = C  # (8)"),),
    ),
    _fault(
        id="projection-activated",
        title="The projected h is activated by tanh, and the gradient does not know.",
        explanation="(8p): a projection is linear in Sak et al.",
        patches=(in_forward(_OUT, 'h = tanh(q @ p["P"])  # (8p)'),),
    ),
    _fault(
        id="projection-activated-throughout",
        title="The projected h is activated by tanh, and the gradient is right for that.",
        explanation="(8p): a projection is linear in Sak et al.",
        patches=(
            in_forward(_OUT, 'h = tanh(q @ p["P"])  # (8p)'),
            in_backward(_BACK, 'dh_ = dh_ * tanh_derivative(fc["h"][..., s, :])\n        ' + _BACK),
        ),
    ),
    _fault(
        id="projection-of-the-initial-state",
        title="Where p is u, h0 is projected, as if it were what comes before a projection.",
        explanation="(1), (8p): h0 is a hidden state, and already of its size.",
        patches=(in_forward(_STARTS, f'h, C_ = (h0 @ p["P"] {_WHERE} h0), C0'),),
    ),
    _square(
        id="projection-cotangent-untransposed-where-square",
        title="Where p is u, dq is made of P and not of its transpose.",
        explanation="(8p): the derivative of q P is dh P^T; a square P lets both through.",
        patches=(in_backward(_BACK, f'dq = dh_ @ (p["P"] {_WHERE} p["P"].mT)  # (8p)'),),
    ),
    _fault(
        id="projection-cotangent-reshaped",
        title="dq is made of P reshaped to (p, u) and not transposed.",
        explanation="(8p): reshape keeps the order in memory and transposes nothing. Hidden where p or u is 1.",
        patches=(in_backward(_BACK, 'dq = dh_ @ p["P"].reshape(p["P"].mT.shape)  # (8p)'),),
        example="m1s1e1u2p2-projected-float64-seed0",
    ),
    _fault(
        id="projection-cotangent-missing",
        title="Nothing goes back through the projection.",
        explanation="(8p): q is detached before it is projected; dP alone is right.",
        patches=(in_backward(_BACK, 'dq = 0 * (dh_ @ p["P"].mT)  # (8p)'),),
    ),
    _fault(
        id="projection-cotangent-as-it-came",
        title="Where p is u, dq is dh, as if nothing had been projected.",
        explanation="(8p): the plain cell's backward pass is left as it was.",
        patches=(in_backward(_BACK, f'dq = dh_ {_WHERE} dh_ @ p["P"].mT  # (8p)'),),
    ),
    _fault(
        id="projection-cotangent-without-the-recurrent-part",
        title="What comes from the step after does not go back through the projection.",
        explanation="(8p), (9): dq is made of dA alone; dP has both.",
        patches=(in_backward(_BACK, 'dq = dA_s @ p["P"].mT  # (8p)'),),
    ),
    _fault(
        id="projection-cotangent-of-the-recurrent-part-alone",
        title="Only what comes from the step after goes back through the projection.",
        explanation="(8p), (9): dq lacks dA; dP has both.",
        patches=(in_backward(_BACK, 'dq = dhn @ p["P"].mT  # (8p)'),),
    ),
    _fault(
        id="projection-recurrent-cotangent-past-it",
        title="Where p is u, what comes from the step after is added to dq past the projection.",
        explanation="(8p), (9): dhn is taken for a cotangent of q.",
        patches=(in_backward(_BACK, f'dq = (dA_s @ p["P"].mT + dhn) {_WHERE} dh_ @ p["P"].mT  # (8p)'),),
    ),
    _fault(
        id="projection-recurrent-cotangent-before-and-after",
        title="Where p is u, what comes from the step after is added before the projection and after it.",
        explanation="(8p), (9): dhn is counted twice, once as a cotangent of h and once as one of q.",
        patches=(in_backward(_BACK, f'dq = dh_ @ p["P"].mT + (dhn {_WHERE} 0)  # (8p)'),),
    ),
    _fault(
        id="projection-output-cotangent-before-and-after",
        title="Where p is u, the output's cotangent is added before the projection and after it.",
        explanation="(8p), (9): dA is counted twice, once as a cotangent of h and once as one of q.",
        patches=(in_backward(_BACK, f'dq = dh_ @ p["P"].mT + (dA_s {_WHERE} 0)  # (8p)'),),
    ),
    _fault(
        id="projection-not-undone-for-the-output-gate",
        title="Where p is u, do is made of dh in place of dq.",
        explanation="(8): do = dh * C is the plain cell's line, left standing.",
        patches=(in_backward(_TO_O, f"do = (dh_ {_WHERE} dq) * C  # (8)"),),
    ),
    _fault(
        id="projection-not-undone-for-the-memory",
        title="Where p is u, dC_ is made of dh in place of dq.",
        explanation="(7), (8): dh * o * (1 - C^2) is the plain cell's line, left standing.",
        patches=(in_backward(_TO_C, f"dC_ = (dh_ {_WHERE} dq) * o * tanh_derivative(C) + dCn  # (8), (7)"),),
    ),
    _fault(
        id="projection-dh0-through-it",
        title="Where p is u, dh0 goes through the projection once more.",
        explanation="(8p): h0 was not projected.",
        patches=(in_backward(_DH0, f'"dh0": (dhn @ p["P"].mT {_WHERE} dhn),'),),
    ),
    _square(
        id="projection-recurrent-gradient-of-q",
        title="Where p is u, dV is made of q of the step before in place of h.",
        explanation="(1): what was kept is what comes before the projection.",
        patches=(
            in_gradients(
                _HP,
                f"{_HP}\n"
                '    if fc["q"].shape[-1] == hp.shape[-1]:\n'
                f"        hp = np.concatenate([hp[..., :1, :, :], {_Q}[..., :-1, :, :]], axis=-3)",
            ),
        ),
        example="m1s2e1u2p2-projected-float64-seed0",
    ),
    _fault(
        id="projection-gradient-missing",
        title="dP is zero.",
        explanation="(8p): the projection is left out of what is trained.",
        patches=(in_gradients(_DP, f"0 * {_DP}"),),
    ),
    _fault(
        id="projection-gradient-sign",
        title="dP has the other sign.",
        explanation="(8p): the sign of a step of descent is put into one gradient.",
        patches=(in_gradients(_DP, f"-{_DP}"),),
    ),
    _square(
        id="projection-gradient-transposed-where-square",
        title="Where p is u, dP is transposed.",
        explanation="(8p): dh^T q for q^T dh; a square P lets both through.",
        patches=(in_gradients(_DP, f"({_DP}.mT {_EQUAL} {_DP})"),),
    ),
    _fault(
        id="projection-gradient-reshaped",
        title="dP is computed as (p, u) and reshaped to (u, p).",
        explanation="(8p): reshape keeps the order in memory and transposes nothing. Hidden where p or u is 1.",
        patches=(in_gradients(_DP, f"{_DP}.mT.copy().reshape({_DP}.shape)"),),
        example="m1s1e1u2p2-projected-float64-seed0",
    ),
    _fault(
        id="projection-gradient-of-the-projected",
        title="Where p is u, dP is made of h in place of q.",
        explanation="(8p): h^T dh; what was kept is what comes after the projection.",
        patches=(in_gradients(_DP, f'np.sum((_steps_first(fc["h"]) {_EQUAL} {_Q}).mT @ {_DH}, axis=-3)'),),
    ),
    _fault(
        id="projection-gradient-of-the-memory",
        title="dP is made of C in place of o * C.",
        explanation="(8), (8p): the output gate is forgotten in the sum alone.",
        patches=(in_gradients(_Q, '_steps_first(fc["C"])'),),
    ),
    _fault(
        id="projection-gradient-of-the-linear-memory",
        title="dP is made of C_ in place of o * C.",
        explanation="(7), (8): the memory state is kept, and what it gives is not.",
        patches=(in_gradients(_Q, '_steps_first(fc["C_"])'),),
    ),
    _fault(
        id="projection-gradient-of-the-output-gate",
        title="dP is made of o in place of o * C.",
        explanation="(8), (8p): a factor is lost in the sum alone.",
        patches=(in_gradients(_Q, '_steps_first(fc["o"])'),),
    ),
    _later(
        id="projection-gradient-of-the-step-before",
        title="dP is made of q of the step before.",
        explanation="(8p): a state off by one, as for dV, where it is right.",
        patches=(in_gradients(_Q, '_steps_first(np.roll(fc["q"], 1, axis=-2))'),),
    ),
    _later(
        id="projection-gradient-of-the-first-step",
        title="dP has the first step alone.",
        explanation="(8p): = for +=, in the loop over steps from the last to the first.",
        patches=(in_gradients(_DP, f"({_Q}.mT @ {_DH})[..., 0, :, :]"),),
    ),
    _later(
        id="projection-gradient-of-the-last-step",
        title="dP has the last step alone.",
        explanation="(8p): it is added up after the loop, of what is left of it.",
        patches=(in_gradients(_DP, f"({_Q}.mT @ {_DH})[..., -1, :, :]"),),
    ),
    _fault(
        id="projection-gradient-without-the-recurrent-part",
        title="dP is made of dA alone.",
        explanation="(8p), (9): what comes from the step after is in dq, and not in dP.",
        patches=(in_gradients(_DH, '_steps_first(bc["dA"])'),),
    ),
    _fault(
        id="projection-gradient-of-the-recurrent-part-alone",
        title="dP is made of dhn alone.",
        explanation="(8p), (9): the output's cotangent is in dq, and not in dP.",
        patches=(in_gradients(_DH, '_steps_first(bc["dhn"])'),),
    ),
    _fault(
        id="projection-gradient-of-one-sample",
        title="dP has the first sample alone.",
        explanation="(8p): not summed over samples.",
        patches=(in_gradients(_DP, f"np.sum({_Q}[..., :1, :].mT @ {_DH}[..., :1, :], axis=-3)"),),
        example="m2s1e1u1p1-projected-float64-seed0",
    ),
    _fault(
        id="projection-gradient-averaged",
        title="dP is the mean over the samples, all other gradients are sums.",
        explanation="(8p): divided by m in one place.",
        patches=(in_gradients(_DP, f'{_DP} / fc["q"].shape[-3]'),),
        example="m2s1e1u1p1-projected-float64-seed0",
    ),
)
