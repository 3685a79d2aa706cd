"""Faults of the carry and the recurrence: what a step passes on to the step before it."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward

_fault = partial(Fault, family="carry")
_CARRY = "dC = dC_ * f  # (6)"
_PASS_ON = "        dhn, dCn = dh, dC\n"
_GATES = {"f": "forget", "i": "input", "g": "candidate", "o": "output"}


def _without(gate: str, weight: str) -> str:
    """Return the sum over gates of dk_ and a weight's transpose that lacks one gate."""
    return " + ".join(f'd{k}_ @ p["{weight}{k}"].mT' for k in "figo" if k != gate) + "  # (1)\n"


def _whole(weight: str) -> str:
    """Return the sum over gates as the reference has it."""
    return _without("", weight)


FAULTS = (
    _fault(
        id="carry-dropped",
        title="dC does not carry f * dC of the next step.",
        explanation="(6): the memory passes its cotangent on to the step before. Written when the memory is taken for"
        " a local of the step; the final state's cotangent is still used at the last step.",
        patches=(in_backward("+ dCn  # (8), (7)", "+ (dCn if s == dA.shape[-2] - 1 else 0 * dCn)  # (8), (7)"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="carry-assigned",
        title="dC_ is assigned from h and not added to what arrives from the next step.",
        explanation="(7), (8): dC_ is a sum of two, and an = for a += loses the one that was there first, the final"
        " state's cotangent included.",
        patches=(in_backward(" + dCn  # (8), (7)", "  # (8), (7)"),),
        seen="apache/mxnet#4057",
    ),
    _fault(
        id="carry-not-passed-on",
        title="dC passed on is zero.",
        explanation="(6): the memory passes its cotangent on to the step before, and at the first step to dC0. Written"
        " when dC is cleared for each step, as dh's sums are.",
        patches=(in_backward("dC = dC_ * f  # (6)", "dC = 0 * dC_  # (6)"),),
    ),
    _fault(
        id="carry-without-forget",
        title="dC passed on lacks the factor f.",
        explanation="(6): the derivative of f * Cp_ by Cp_ is f; without it the memory never forgets in reverse.",
        patches=(in_backward(_CARRY, "dC = dC_  # (6)"),),
    ),
    _fault(
        id="carry-by-input-gate",
        title="dC passed on is multiplied by i and not by f.",
        explanation="(6): the two products of the sum are confused.",
        patches=(in_backward(_CARRY, "dC = dC_ * i  # (6)"),),
    ),
    _fault(
        id="carry-by-output-gate",
        title="dC passed on is multiplied by o and not by f.",
        explanation="(6): one letter; the output gate has its part in what comes from h.",
        patches=(in_backward(_CARRY, "dC = dC_ * o  # (6)"),),
    ),
    _fault(
        id="carry-by-linear-forget",
        title="dC passed on is multiplied by f_, the forget gate before its activation.",
        explanation="(6) takes f, and a cache that holds both f_ and f is read at the wrong name.",
        patches=(in_backward(_CARRY, 'dC = dC_ * fc["f_"][..., s, :]  # (6)'),),
    ),
    _fault(
        id="carry-by-next-forget",
        title="dC passed on is multiplied by the forget gate of the next step.",
        explanation="(6): an index off by one, right at the last step where there is no next one.",
        patches=(in_backward(_CARRY, 'dC = dC_ * fc["f"][..., min(s + 1, dA.shape[-2] - 1), :]  # (6)'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="carry-by-previous-forget",
        title="dC passed on is multiplied by the forget gate of the step before.",
        explanation="(6): an index off by one, right at the first step where there is no step before.",
        patches=(in_backward(_CARRY, 'dC = dC_ * fc["f"][..., max(s - 1, 0), :]  # (6)'),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="carry-multiplied-late",
        title="What arrives at a step is multiplied by this step's f, not by that of the step it comes from.",
        explanation="(6): f belongs to the step that passes on. Written from papers that put f(t+1) into the formula"
        " for step t.",
        patches=(
            in_backward("+ dCn  # (8), (7)", "+ dCn * f  # (8), (7)"),
            in_backward(_CARRY, "dC = dC_  # (6)"),
        ),
    ),
    _fault(
        id="carry-one-step",
        title="The memory passes on only what came from its own step's h.",
        explanation="(6): dC is made from the cotangent before the carry was added, so that nothing gets further"
        " back through the memory than one step.",
        patches=(in_backward(_CARRY, "dC = (dC_ - dCn) * f  # (6)"),),
    ),
    _fault(
        id="carry-doubled",
        title="What arrives from the next step is passed on twice.",
        explanation="(6): added to dC_ and again to dC; typical of code where += meets a value already accumulated.",
        patches=(in_backward(_CARRY, "dC = (dC_ + dCn) * f  # (6)"),),
    ),
    _fault(
        id="carry-through-output",
        title="The carry is multiplied by o and the derivative of tanh.",
        explanation="(7), (8): the carry arrives at C_ itself and not at h; a bracket too wide.",
        patches=(
            in_backward(
                "dh_ * o * tanh_derivative(C) + dCn  # (8), (7)", "(dh_ + dCn) * o * tanh_derivative(C)  # (8), (7)"
            ),
        ),
    ),
    _fault(
        id="carry-through-tanh",
        title="The carry is multiplied by the derivative of tanh.",
        explanation="(7): the carry arrives behind the tanh, at C_, and not at C.",
        patches=(
            in_backward(
                "dh_ * o * tanh_derivative(C) + dCn  # (8), (7)", "(dh_ * o + dCn) * tanh_derivative(C)  # (8), (7)"
            ),
        ),
    ),
    _fault(
        id="carry-halved",
        title="From the second step back on, the carry is averaged with what comes from h.",
        explanation="(7), (8): the cotangents of two uses add up; a mean is taken for the sum.",
        patches=(in_backward("+ dCn  # (8), (7)", "+ (dCn if s == dA.shape[-2] - 1 else 0.5 * dCn)  # (8), (7)"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="carry-across-samples",
        title="The carry of each sample is the mean over the samples.",
        explanation="(6) holds for each sample apart; the carry was reduced with the loss. Hidden where m is 1.",
        patches=(
            in_backward(_PASS_ON, "        dhn, dCn = dh, dC * 0 + np.sum(dC, axis=-2)[..., None, :] / dC.shape[-2]\n"),
        ),
        example="m2s1e1u1-float64-seed0",
    ),
    _fault(
        id="recurrence-dropped",
        title="dh_ does not take in dh of the next step.",
        explanation="(9): h goes to the output and to the next step; only the output is seen. The final state's"
        " cotangent is still used at the last step.",
        patches=(in_backward("dA_s + dhn  # (9)", "dA_s + (dhn if s == dA.shape[-2] - 1 else 0 * dhn)  # (9)"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="recurrence-assigned",
        title="dh_ is what arrives from the next step; the output's own cotangent counts at the last step only.",
        explanation="(9): h goes to the output and to the next step; only the next step is seen before the last.",
        patches=(in_backward("dA_s + dhn  # (9)", "(dA_s if s == dA.shape[-2] - 1 else 0 * dA_s) + dhn  # (9)"),),
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="recurrence-where-no-output",
        title="dh_ takes in dh of the next step only where the output has no cotangent.",
        explanation="(9): assigned where it should be added, by code that was tried on losses of the last step alone.",
        patches=(in_backward("dh_ = dA_s + dhn  # (9)", "dh_ = dA_s + dhn * (dA_s == 0)  # (9)"),),
    ),
    *(
        _fault(
            id=f"recurrence-lacks-{gate}",
            title=f"dh passed on lacks the {name} gate.",
            explanation=f"(1{gate}): hp enters all four gates; dh is a sum of four products and one was forgotten.",
            patches=(in_backward("dh = " + _whole("V"), "dh = " + _without(gate, "V")),),
        )
        for gate, name in _GATES.items()
    ),
    *(
        _fault(
            id=f"input-gradient-lacks-{gate}",
            title=f"dX lacks the {name} gate.",
            explanation=f"(1{gate}): X_s enters all four gates; dX is a sum of four products and one was forgotten.",
            patches=(in_backward("dX = " + _whole("U"), "dX = " + _without(gate, "U")),),
        )
        for gate, name in _GATES.items()
    ),
    _fault(
        id="recurrence-overwritten",
        title="dh passed on comes from the last gate alone.",
        explanation="(1): dh is a sum over gates; a loop over the gates assigns where it should add.",
        patches=(in_backward("dh = " + _whole("V"), 'dh = do_ @ p["Vo"].mT  # (1)\n'),),
    ),
    _fault(
        id="nothing-passed-back",
        title="Nothing is passed back from step to step.",
        explanation="(6), (9): dh and dC are computed and never handed to the next round of the loop. Hidden at one"
        " step.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = (0 * dh, 0 * dC) if s else (dh, dC)\n"),),
        seen="CaptainE/RNN-LSTM-in-numpy#1",
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="carry-without-recurrence",
        title="dC_ takes in the output's cotangent without what arrives from the next step's gates; do has both.",
        explanation="(8), (9): h is used by the output gate and by the memory, and both need its whole cotangent."
        " Hidden at one step.",
        patches=(in_backward("dC_ = dh_ * o", "dC_ = (dA_s if s < dA.shape[-2] - 1 else dh_) * o"),),
        seen="lhnguyen102/cuTAGI#77 (f, i and g took another delta than o)",
        example="m1s2e1u1-float64-seed0",
    ),
    _fault(
        id="truncated-after-three",
        title="Nothing is passed back further than three steps.",
        explanation="(6), (9): truncated backpropagation, left on where the full gradient is expected. Hidden up to"
        " four steps.",
        patches=(
            in_backward(
                _PASS_ON,
                "        dhn, dCn = (dh, dC) if s == 0 or s > dA.shape[-2] - 4 else (0 * dh, 0 * dC)\n",
            ),
        ),
        example="m1s5e1u1-float64-seed0",
    ),
    _fault(
        id="truncated-in-windows",
        title="Nothing is passed back over the border of a window of four steps.",
        explanation="(6), (9): truncated backpropagation in windows of fixed length; hidden up to four steps.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = (0 * dh, 0 * dC) if s and s % 4 == 0 else (dh, dC)\n"),),
        example="m1s5e1u1-float64-seed0",
    ),
    _fault(
        id="carry-lost-after-eight",
        title="The memory's cotangent is lost beyond eight steps.",
        explanation="(6): a ring buffer of eight steps, too short for the sequence. Hidden up to eight steps.",
        patches=(in_backward(_PASS_ON, "        dhn, dCn = dh, 0 * dC if s and s == dA.shape[-2] - 8 else dC\n"),),
        example="m1s9e1u1-float64-seed0",
    ),
    _fault(
        id="first-step-skipped",
        title="The backward pass stops before the first step.",
        explanation="(1) to (9): a loop from s - 1 down to 1 and not to 0: `reversed(range(1, s))`.",
        patches=(
            in_backward("dA_s + dhn  # (9)", "(dA_s + dhn) * (s > 0)  # (9)"),
            in_backward("+ dCn  # (8), (7)", "+ dCn * (s > 0)  # (8), (7)"),
        ),
    ),
    _fault(
        id="last-step-skipped",
        title="The backward pass starts at the last step but one.",
        explanation="(1) to (9): a loop from s - 2 on; the final states' cotangents arrive a step too early.",
        patches=(
            in_backward("dA_s + dhn  # (9)", "(dA_s + dhn) * (s < dA.shape[-2] - 1)  # (9)"),
            in_backward("+ dCn  # (8), (7)", "+ dCn * (s < dA.shape[-2] - 1)  # (8), (7)"),
            in_backward(_PASS_ON, "        dhn, dCn = (dh, dC) if s < dA.shape[-2] - 1 else (dhn, dCn)\n"),
        ),
    ),
)
