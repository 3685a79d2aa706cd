"""Faults of a memory that is cut off: where, when and at what, and which cotangents go through that they should not."""

from dataclasses import replace
from functools import partial

from lstm_checks.faults.model import Fault, Patch, in_backward, in_forward

_MIXED = "m1s1e1u1-clipped-float64-mixed-seed2"

_fault = partial(Fault, family="clipped memory", example=_MIXED)

_CUT = "cC = clip(C_)  # (6c)"
_BACK = "dC_ = dcC * clip_derivative(C_)  # (6c)"
_STARTS, _READS = "h, cC = h0, C0\n", "hp, Cp_ = h, cC\n"
_KEEPS = "C_, cC, C, h))\n"
_SUM = "C_ = f * Cp_ + i * g  # (6)"
_OUT = "C = tanh(cC)  # (7)"
_OF_C = "dcC = dh_ * o * tanh_derivative(C) + dCn  # (8), (7)"
_RETURN = '{"dA": dA, "dh0": dhn, "dC0": dCn}'
_NEXT = {"df": "dC_ * Cp_", "di": "dC_ * g", "dg": "dC_ * i", "dC": "dC_ * f"}
"""What a step makes of the memory's cotangent."""


def _clip(what: str, least: str = "-LIMIT", most: str = "LIMIT") -> str:
    """Return the text of something cut off at two ends."""
    return f"np.minimum(np.maximum({what}, {least}), {most})"


def _inside(what: str, least: str = "-LIMIT", most: str = "LIMIT") -> str:
    """Return the text of where something is not cut off."""
    return f"(({what} > {least}) * ({what} < {most}))"


def _cut(text: str) -> Patch:
    """Return the forward pass with another right side of (6c)."""
    return in_forward(_CUT, f"cC = {text}  # (6c)")


def _back(text: str) -> Patch:
    """Return the backward pass with another right side of (6c)."""
    return in_backward(_BACK, f"dC_ = {text}  # (6c)")


def _of_output(text: str) -> Patch:
    """Return the backward pass with another cotangent of what was cut off."""
    return in_backward(_OF_C, f"dcC = {text}  # (8), (7)")


def _kept(name: str, step: str) -> str:
    """Return the text of what was kept of a step."""
    return f'fc["{name}"][..., {step}, :]'


_THROUGH = _back("1 * dcC")
_READ_AS_IT_IS = (in_forward(_STARTS, "h, C_ = h0, C0\n"), in_forward(_READS, "hp, Cp_ = h, C_\n"))
_OUT_AS_IT_IS = in_forward(_KEEPS, "C_, C_, C, h))\n")

_FORWARD: tuple[tuple[str, str, str, tuple[Patch, ...], tuple[Patch, ...] | None], ...] = (
    (
        "cut-off-ignored",
        "The memory is never cut off",
        "the option is taken and used nowhere",
        (_cut("1 * C_"),),
        (_THROUGH,),
    ),
    (
        "cut-off-for-tanh-alone",
        "The memory is cut off for its tanh alone, and handed on as it is",
        "what is cut off has a name of its own, and the next step takes the old one",
        (*_READ_AS_IT_IS, _OUT_AS_IT_IS),
        (_of_output(f"dh_ * o * tanh_derivative(C) * {_inside('C_')} + dCn"), _THROUGH),
    ),
    (
        "cut-off-behind-tanh",
        "The memory is cut off after its tanh was taken, for the next step alone",
        "the clip stands behind the output's lines, as a part of handing on",
        (in_forward(_OUT, "C = tanh(C_)  # (7)"),),
        (_of_output(f"dh_ * o * tanh_derivative(C) + dCn * {_inside('C_')}"), _THROUGH),
    ),
    (
        "cut-off-before-the-sum",
        "What is kept of the memory is cut off before the new part is added",
        "clip(f Cp_) + i g, with a bracket one term too early",
        (_cut(f"{_clip('f * Cp_')} + i * g"),),
        (
            _THROUGH,
            in_backward("df = dC_ * Cp_", f"df = dC_ * Cp_ * {_inside('(f * Cp_)')}"),
            in_backward("dC = dC_ * f", f"dC = dC_ * f * {_inside('(f * Cp_)')}"),
        ),
    ),
    (
        "cut-off-when-it-is-read",
        "The memory is cut off when the next step reads it, and its tanh and the final state are of what it was",
        "the clip stands at the beginning of a step",
        (in_forward(_SUM, f"C_ = f * {_clip('Cp_')} + i * g  # (6)"), _cut("1 * C_")),
        (
            _THROUGH,
            in_backward("df = dC_ * Cp_", f"df = dC_ * {_clip('Cp_')}"),
            in_backward("dC = dC_ * f", f"dC = dC_ * f * {_inside('Cp_')}"),
        ),
    ),
    (
        "cut-off-at-the-start-too",
        "The initial memory is cut off, too",
        "the clip is a part of how a state is set, the given one's as well",
        (in_forward(_STARTS, f"h, cC = h0, {_clip('C0')}\n"),),
        (in_backward(_RETURN, _RETURN.replace("dCn", f"dCn * {_inside(_kept('Cp_', '0'))}")),),
    ),
    (
        "cut-off-above-alone",
        "The memory is cut off above alone",
        "a minimum without the maximum",
        (_cut("np.minimum(C_, 0 * C_ + LIMIT)"),),
        (_back("dcC * (C_ < LIMIT)"),),
    ),
    (
        "cut-off-below-alone",
        "The memory is cut off below alone",
        "a maximum without the minimum",
        (_cut("np.maximum(C_, 0 * C_ - LIMIT)"),),
        (_back("dcC * (C_ > -LIMIT)"),),
    ),
    (
        "cut-off-at-zero",
        "The memory is cut off at 0 and at the limit",
        "clip(0, limit) in place of clip(-limit, limit)",
        (_cut(_clip("C_", "0")),),
        (_back(f"dcC * {_inside('C_', '0')}"),),
    ),
    (
        "cut-off-at-half-the-limit",
        "The memory is cut off at half the limit",
        "the limit is taken for the width of what is let through",
        (_cut(_clip("C_", "-LIMIT / 2", "LIMIT / 2")),),
        (_back(f"dcC * {_inside('C_', '-LIMIT / 2', 'LIMIT / 2')}"),),
    ),
    (
        "cut-off-at-twice-the-limit",
        "The memory is cut off at twice the limit",
        "the width of what is let through is taken for the limit",
        (_cut(_clip("C_", "-2 * LIMIT", "2 * LIMIT")),),
        (_back(f"dcC * {_inside('C_', '-2 * LIMIT', '2 * LIMIT')}"),),
    ),
    (
        "cut-off-to-zero",
        "Where the memory is beyond the limit it is 0",
        "the mask of what is inside is multiplied by the memory",
        (_cut(f"C_ * {_inside('C_')}"),),
        (),
    ),
    (
        "cut-off-to-the-other-end",
        "Where the memory is above the limit it is minus the limit, and the other way round",
        "the ends are exchanged",
        (_cut(f"C_ * {_inside('C_')} - LIMIT * (C_ >= LIMIT) + LIMIT * (C_ <= -LIMIT)"),),
        (),
    ),
    (
        "cut-off-softly",
        "The memory is limited by a tanh, limit * tanh(C_ / limit)",
        "a soft limit in place of a clip",
        (_cut("LIMIT * np.tanh(C_ / LIMIT)"),),
        (_back("dcC * (1 - np.tanh(C_ / LIMIT) * np.tanh(C_ / LIMIT))"),),
    ),
    (
        "cut-off-by-norm",
        "A sample's memory is scaled down to a norm of the limit, and not cut off by entry",
        "clip_by_norm in place of clip_by_value",
        (_cut("C_ * (LIMIT / np.maximum(np.sqrt(np.sum(C_ * C_, axis=-1, keepdims=True)), LIMIT))"),),
        None,
    ),
    (
        "cut-off-but-for-the-last-step",
        "The memory of the last step is not cut off",
        "the clip is a part of what goes from step to step",
        (_cut(f"{_clip('C_')} if s < X.shape[-2] - 1 else 1 * C_"),),
        (_back(f"dcC * {_inside('C_')} if s < dA.shape[-2] - 1 else 1 * dcC"),),
    ),
    (
        "cut-off-at-the-last-step-alone",
        "The memory of the last step alone is cut off",
        "the clip stands behind the loop",
        (_cut(f"{_clip('C_')} if s == X.shape[-2] - 1 else 1 * C_"),),
        (_back(f"dcC * {_inside('C_')} if s == dA.shape[-2] - 1 else 1 * dcC"),),
    ),
    (
        "cut-off-but-for-the-first-step",
        "The memory of the first step is not cut off",
        "the loop begins behind a step of its own",
        (_cut(f"{_clip('C_')} if s else 1 * C_"),),
        (_back(f"dcC * {_inside('C_')} if s else 1 * dcC"),),
    ),
)
"""Its id, its title, why; what changes in the forward pass, and in the backward pass, None where that is not right for
it and nothing where it is so as it is."""

_MASKS = (
    ("ignored", "Cotangents go through a memory that was cut off.", "a clip that autograd is not told of", "1 * dcC"),
    ("above-ignored", "Cotangents go through where the memory was cut off above.", "one comparison is missing",
     "dcC * (C_ > -LIMIT)"),
    ("below-ignored", "Cotangents go through where the memory was cut off below.", "one comparison is missing",
     "dcC * (C_ < LIMIT)"),
    ("inverted", "Cotangents go through where the memory was cut off, and nowhere else.", "the comparisons are the"
     " wrong way round", f"dcC * (1 - {_inside('C_')})"),
    ("of-the-memory-before", "Cotangents go through by whether the memory of the step before was cut off.",
     "Cp_ for C_, which is at hand", f"dcC * {_inside('Cp_')}"),
    ("of-the-step-before", "The mask is that of the step before.", "an index off by one",
     f"dcC * {_inside(_kept('C_', 'max(s - 1, 0)'))}"),
    ("of-the-step-after", "The mask is that of the step after.", "an index off by one",
     f"dcC * {_inside(_kept('C_', 'min(s + 1, dA.shape[-2] - 1)'))}"),
    ("of-the-last-step", "The mask of all steps is that of the last.", "the name that the loop has left",
     f"dcC * {_inside(_kept('C_', '-1'))}"),
    ("of-the-first-sample", "The mask of all samples is the first one's.", "an index too many",
     f"dcC * {_inside('C_[..., :1, :]')}"),
    ("of-any-unit", "Where one unit of a sample was cut off no cotangent goes through any.",
     "np.all over the units", f"dcC * np.all({_inside('C_')}, axis=-1, keepdims=True)"),
    ("of-half-the-limit", "The mask is that of half the limit.", "two limits where there is one",
     f"dcC * {_inside('C_', '-LIMIT / 2', 'LIMIT / 2')}"),
    ("of-twice-the-limit", "The mask is that of twice the limit.", "two limits where there is one",
     f"dcC * {_inside('C_', '-2 * LIMIT', '2 * LIMIT')}"),
    ("of-the-square", "The mask is soft: 1 - (C_ / limit)^2, as of a tanh.", "the derivative of another squashing",
     f"dcC * {_inside('C_')} * (1 - C_ * C_ / (LIMIT * LIMIT))"),
    ("clips-the-cotangent", "The cotangent is cut off at the limit, and goes through everywhere.",
     "the clip is applied to the gradient as to the value", _clip("dcC")),
    ("leaks", "A hundredth of the cotangent goes through where the memory was cut off.", "a leak against dead units",
     f"dcC * ({_inside('C_')} + 0.01 * (1 - {_inside('C_')}))"),
    ("but-for-the-last-step", "At the last step cotangents go through what was cut off.",
     "the final state's cotangent is set behind the mask", f"dcC * {_inside('C_')} if s < dA.shape[-2] - 1 else dcC"),
    ("but-for-the-first-step", "At the first step cotangents go through what was cut off.",
     "a first step of its own", f"dcC * {_inside('C_')} if s else dcC"),
)  # fmt: skip
"""Of the mask in the backward pass: the end of its id, its title, why, and what (6c) is there."""

_WAYS = {"df": "the forget gate", "di": "the input gate", "dg": "the candidate", "dC": "the step before"}

_BACKWARD = (
    *(
        _fault(
            id=f"cut-off-mask-ignored-{name}",
            title=f"What goes to {where} goes through a memory that was cut off.",
            explanation=f"(6c), (6): dcC for dC_ in {name}; the others have the mask.",
            patches=(in_backward(f"{name} = {text}", f"{name} = {text.replace('dC_', 'dcC')}"),),
        )
        for name, text in _NEXT.items()
        for where in (_WAYS[name],)
    ),
    *(
        _fault(
            id=f"cut-off-mask-for-{name}-alone",
            title=f"What goes to {where} alone is stopped by a memory that was cut off.",
            explanation=f"(6c), (6): the mask stands in {name}, and not in the memory's cotangent.",
            patches=(_THROUGH, in_backward(f"{name} = {text}", f"{name} = {text} * {_inside('C_')}")),
        )
        for name, text in _NEXT.items()
        for where in (_WAYS[name],)
    ),
    _fault(
        id="cut-off-mask-of-the-output-alone",
        title="What comes from the step after goes through a memory that was cut off.",
        explanation="(6c): the mask stands on the way from h, and dCn is added behind it.",
        patches=(_of_output(f"dh_ * o * tanh_derivative(C) * {_inside('C_')} + dCn"), _THROUGH),
    ),
    _fault(
        id="cut-off-mask-of-the-carry-alone",
        title="What comes from the output goes through a memory that was cut off.",
        explanation="(6c): dCn is masked where it arrives, and the way from h is not.",
        patches=(_of_output(f"dh_ * o * tanh_derivative(C) + dCn * {_inside('C_')}"), _THROUGH),
    ),
    _fault(
        id="cut-off-mask-of-the-output-gate-too",
        title="The output gate has no gradient where the memory was cut off.",
        explanation="(6c), (8): do is masked, too, but o is used whether C_ was cut off or not.",
        patches=(in_backward("do = dh_ * C  # (8)", f"do = dh_ * C * {_inside('C_')}  # (8)"),),
    ),
    _fault(
        id="cut-off-memory-before-its-limit-in-df",
        title="df is made of the memory of the step before as it was before it was cut off.",
        explanation="(6): C_ of that step is kept, and cC is what was read.",
        patches=(in_backward("df = dC_ * Cp_", 'df = dC_ * (fc["C_"][..., s - 1, :] if s else Cp_)'),),
    ),
    _fault(
        id="cut-off-memory-before-its-limit-in-do",
        title="do is made of tanh of the memory before it was cut off.",
        explanation="(8): tanh is taken anew in the backward pass, of C_ for cC.",
        patches=(in_backward("do = dh_ * C  # (8)", "do = dh_ * np.tanh(C_)  # (8)"),),
    ),
    _fault(
        id="cut-off-memory-before-its-limit-in-the-derivative",
        title="The derivative of the memory's tanh is taken where it would be without the limit.",
        explanation="(7): 1 - tanh(C_)^2, of C_ for cC; it matters for nothing but what arrives where nothing goes on,"
        " and so the mask is missing, too.",
        patches=(_of_output("dh_ * o * (1 - np.tanh(C_) * np.tanh(C_)) + dCn"), _THROUGH),
    ),
    _fault(
        id="final-memory-not-cut-off",
        title="The final memory comes out as it was before it was cut off.",
        explanation="(6c): the state that is returned is the line above's; the steps hand on the right one.",
        patches=(_OUT_AS_IT_IS,),
    ),
)

_KNOWS = ("backward pass does not know", "gradient is right for that")

_EXAMPLES = {
    "cut-off-when-it-is-read": "m1s1e1u1-clipped-float64-seed1",
    "cut-off-at-the-start-too": "m1s1e1u1-clipped-float64-seed1",
    "cut-off-above-alone": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-at-zero": "m1s1e1u1-clipped-float64-seed2",
    "cut-off-at-half-the-limit": "m1s1e1u1-clipped-float64-x10-seed0",
    "cut-off-softly": "m1s1e1u1-clipped-float64-seed0",
    "cut-off-by-norm": "m1s1e1u2-clipped-float64-seed2",
    "cut-off-at-the-last-step-alone": "m1s2e1u1-clipped-float64-mixed-seed2",
    "cut-off-when-it-is-read-forward-only": "m1s1e1u1-clipped-float64-seed1",
    "cut-off-at-the-start-too-forward-only": "m1s1e1u1-clipped-float64-seed1",
    "cut-off-above-alone-forward-only": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-at-zero-forward-only": "m1s1e1u1-clipped-float64-seed2",
    "cut-off-at-half-the-limit-forward-only": "m1s1e1u1-clipped-float64-x10-seed0",
    "cut-off-softly-forward-only": "m1s1e1u1-clipped-float64-seed0",
    "cut-off-at-the-last-step-alone-forward-only": "m1s2e1u1-clipped-float64-mixed-seed2",
    "cut-off-mask-below-ignored": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-mask-inverted": "m1s1e1u1-clipped-float64-seed0",
    "cut-off-mask-of-the-memory-before": "m1s1e1u1-clipped-float64-seed1",
    "cut-off-mask-of-the-step-before": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-mask-of-the-step-after": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-mask-of-the-last-step": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-mask-of-the-first-sample": "m2s1e1u1-clipped-float64-seed2",
    "cut-off-mask-of-any-unit": "m1s1e1u2-clipped-float64-seed2",
    "cut-off-mask-of-half-the-limit": "m1s1e1u1-clipped-float64-x10-seed0",
    "cut-off-mask-of-twice-the-limit": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-mask-of-the-square": "m1s1e1u1-clipped-float64-seed0",
    "cut-off-mask-clips-the-cotangent": "m1s1e1u1-clipped-float64-seed0",
    "cut-off-mask-ignored-di": "m1s2e1u1-clipped-float64-x10-seed2",
    "cut-off-memory-before-its-limit-in-df": "m1s2e1u1-clipped-float64-mixed-seed2",
}
"""Which examples are other ones, as `lstm_checks.trials.search` found them."""

_MADE = (
    *(
        _fault(
            id=id,
            title=f"{title}.",
            explanation=f"(6c): {why}; the {_KNOWS[back is not None]}.",
            patches=(*forward, *(back or ())),
        )
        for id, title, why, forward, back in _FORWARD
    ),
    *(
        _fault(
            id=f"{id}-forward-only",
            title=f"{title}, and the backward pass does not know.",
            explanation=f"(6c): {why}, in the forward pass; the gradient is as if it were right.",
            patches=forward,
        )
        for id, title, why, forward, back in _FORWARD
        if back
    ),
    *(
        _fault(id=f"cut-off-mask-{id}", title=title, explanation=f"(6c): {why}.", patches=(_back(text),))
        for id, title, why, text in _MASKS
    ),
    *_BACKWARD,
)  # fmt: skip

FAULTS: tuple[Fault, ...] = tuple(replace(fault, example=_EXAMPLES.get(fault.id, _MIXED)) for fault in _MADE)
