"""Faults of the initial and final states and of their cotangents."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients

_fault = partial(Fault, family="states")
_START = "    trace = []\n    for s in reversed"
_RETURN = '{"dA": dA, "dh0": dhn, "dC0": dCn}'
_FIRST = "h, C_ = h0, C0"
_KEPT = "o_, o, C_, C, h))"


def _at_start(line: str) -> str:
    """Return the start of the backward pass with a line before it."""
    return f"    {line}\n{_START}"


FAULTS = (
    _fault(
        id="final-memory-cotangent-ignored",
        title="The cotangent of the final memory state is ignored.",
        explanation="(6): Cn is an output like h, and a loss may depend on it: encoder and decoder, or the next chunk"
        " of a long sequence. Hidden as long as only h is used.",
        patches=(in_backward(_START, _at_start("dCn = 0 * dCn")),),
        seen="deeplearning4j/deeplearning4j#8838",
    ),
    _fault(
        id="final-memory-cotangent-doubled",
        title="The cotangent of the final memory state counts twice.",
        explanation="(6): added before the loop and again at the last step.",
        patches=(in_backward(_START, _at_start("dCn = 2 * dCn")),),
    ),
    _fault(
        id="final-memory-cotangent-through-tanh",
        title="The final memory state's cotangent is taken for that of its tanh.",
        explanation="(7): Cn is C_ and not C.",
        patches=(in_backward(_START, _at_start('dCn = dCn * tanh_derivative(fc["C"][..., -1, :])')),),
    ),
    _fault(
        id="final-memory-cotangent-at-every-step",
        title="The cotangent of the final memory state is added at every step.",
        explanation="(6): it belongs to the last step alone; a broadcast over all steps.",
        patches=(
            in_backward(_START, _at_start("final = dCn")),
            in_backward("        dhn, dCn = dh, dC\n", "        dhn, dCn = dh, dC + final if s else dC\n"),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="final-hidden-cotangent-ignored",
        title="The cotangent of the final hidden state is ignored.",
        explanation="(9): hn is h of the last step once more, and its cotangent adds to that step's.",
        patches=(in_backward(_START, _at_start("dhn = 0 * dhn")),),
    ),
    _fault(
        id="final-hidden-cotangent-doubled",
        title="The cotangent of the final hidden state counts twice.",
        explanation="(9): folded into dA by the caller and added again by the layer.",
        patches=(in_backward(_START, _at_start("dhn = 2 * dhn")),),
    ),
    _fault(
        id="final-hidden-cotangent-replaces",
        title="At the last step the final hidden state's cotangent replaces the output's.",
        explanation="(9): the two add up, the final state being the last output.",
        patches=(in_backward("dA_s + dhn  # (9)", "dA_s * (s < dA.shape[-2] - 1) + dhn  # (9)"),),
    ),
    _fault(
        id="final-hidden-cotangent-at-first-step",
        title="The cotangent of the final hidden state arrives at the first step.",
        explanation="(9): the backward direction of a bidirectional layer ends at the first step, the forward one does"
        " not.",
        patches=(
            in_backward(_START, _at_start("final, dhn = dhn, 0 * dhn")),
            in_backward("dA_s + dhn  # (9)", "dA_s + dhn + final * (s == 0)  # (9)"),
        ),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="final-cotangents-swapped",
        title="The cotangents of the final hidden and memory state are swapped.",
        explanation="(6), (9): some frameworks have the state as (h, C), others as (C, h).",
        patches=(in_backward(_START, _at_start("dhn, dCn = dCn, dhn")),),
    ),
    _fault(
        id="dh0-zero",
        title="dh0 is zero.",
        explanation="(1): h0 enters the first step's gates; layers that start from zero states forget that it may be"
        " learned.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": 0 * dhn, "dC0": dCn}'),),
    ),
    _fault(
        id="dc0-zero",
        title="dC0 is zero.",
        explanation="(6): C0 enters the first step's memory.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": dhn, "dC0": 0 * dCn}'),),
    ),
    _fault(
        id="dh0-dc0-swapped",
        title="dh0 and dC0 are swapped.",
        explanation="(1), (6): both are (m, u), so that no shape gives it away; (h, C) against (C, h).",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": dCn, "dC0": dhn}'),),
    ),
    _fault(
        id="dh0-of-first-output",
        title="dh0 is the cotangent of the first step's h.",
        explanation="(1): dh0 lies one step further back than the first step's h; an index off by one.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": bc["dh_"][..., 0, :], "dC0": dCn}'),),
    ),
    _fault(
        id="dc0-of-first-memory",
        title="dC0 is the cotangent of the first step's C_, without the factor f.",
        explanation="(6): dC0 lies one step further back than the first step's C_; an index off by one.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": dhn, "dC0": bc["dC_"][..., 0, :]}'),),
    ),
    _fault(
        id="dh0-of-last-step",
        title="dh0 is what the last step passes on.",
        explanation="(1): the list of steps runs backwards in time, and its wrong end is taken. Hidden at one step.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": bc["dh"][..., -1, :], "dC0": dCn}'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="dc0-of-last-step",
        title="dC0 is what the last step passes on.",
        explanation="(6): the list of steps runs backwards in time, and its wrong end is taken. Hidden at one step.",
        patches=(in_backward(_RETURN, '{"dA": dA, "dh0": dhn, "dC0": bc["dC"][..., -1, :]}'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="h0-ignored",
        title="The forward pass starts from a zero hidden state whatever it is given.",
        explanation="(1): h0 is taken as an argument and never used. Hidden by zero states.",
        patches=(in_forward(_FIRST, "h, C_ = 0 * h0, C0"),),
    ),
    _fault(
        id="c0-ignored",
        title="The forward pass starts from a zero memory state whatever it is given.",
        explanation="(6): C0 is taken as an argument and never used. Hidden by zero states.",
        patches=(in_forward(_FIRST, "h, C_ = h0, 0 * C0"),),
    ),
    _fault(
        id="h0-c0-swapped",
        title="The forward pass takes h0 for C0 and C0 for h0.",
        explanation="(1), (6): both are (m, u); (h, C) in some frameworks, (C, h) in others. Hidden by zero states.",
        patches=(in_forward(_FIRST, "h, C_ = C0, h0"),),
    ),
    _fault(
        id="c0-activated",
        title="The forward pass takes tanh(C0) for C0.",
        explanation="(6) takes the memory before its activation, C_.",
        patches=(in_forward(_FIRST, "h, C_ = h0, tanh(C0)"),),
    ),
    _fault(
        id="states-of-first-sample",
        title="Every sample starts from the first sample's states.",
        explanation="(1), (6): a state slice of the wrong size is broadcast. Hidden where m is 1 and by zero states.",
        patches=(in_forward(_FIRST, "h, C_ = h0 * 0 + h0[..., :1, :], C0 * 0 + C0[..., :1, :]"),),
        seen="pytorch/pytorch#95137 (wrong slices of several layers' states, hidden by zero states)",
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="states-of-next-sample",
        title="Every sample starts from the next sample's states.",
        explanation="(1), (6): the states are not reordered with the samples. Hidden where m is 1 and by zero states.",
        patches=(in_forward(_FIRST, "h, C_ = np.roll(h0, 1, axis=-2), np.roll(C0, 1, axis=-2)"),),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="dv-without-h0",
        title="dV leaves out the first step, as if h0 were zero.",
        explanation="(1): a sum over steps 1 to s - 1 of h(t-1) and dk_(t) forgets the pair of h0 and the first dk_."
        " Hidden by zero states.",
        patches=(
            in_gradients(
                'hp = _steps_first(fc["hp"])\n',
                'hp = _steps_first(np.concatenate([0 * fc["hp"][..., :1, :], fc["hp"][..., 1:, :]], axis=-2))\n',
            ),
        ),
    ),
    _fault(
        id="df-without-c0",
        title="The first step's df is made as if C0 were zero.",
        explanation="(6): the first step is a special case in the code, and C0 was forgotten there. Hidden by zero"
        " states.",
        patches=(in_backward("df = dC_ * Cp_  # (6)", "df = dC_ * Cp_ * (s > 0)  # (6)"),),
    ),
    _fault(
        id="cn-activated",
        title="The final memory state returned is activated, tanh(C_).",
        explanation="(7): the state is C_; C is there for h alone.",
        patches=(in_forward(_KEPT, "o_, o, C, C, h))"),),
    ),
    _fault(
        id="cn-of-previous-step",
        title="The final memory state returned is that of the last step but one.",
        explanation="(6): the state is read before the last update.",
        patches=(in_forward(_KEPT, "o_, o, Cp_, C, h))"),),
    ),
    _fault(
        id="cn-is-h",
        title="The final memory state returned is the hidden state.",
        explanation="(6), (8): the pair (h, C) is filled twice from h; no shape gives it away.",
        patches=(in_forward(_KEPT, "o_, o, h, C, h))"),),
    ),
)
