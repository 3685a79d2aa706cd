"""Faults of the plain RNN: of its one activation's derivative, and of the one product that goes back in time."""

from collections.abc import Iterator
from functools import partial

from lstm_checks.faults import one_state
from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients
from lstm_checks.faults.one_state import BEGIN, RETURN, START

FAMILY = "rnn"

_CELL = "rnn"
_LINEAR = 'g_ = X_s @ p["Ug"] + hp @ p["Vg"] + p["bg"]  # (1g)'
_ACTIVATED = "h = tanh(g_)  # (4)"
_LOCAL = "dg_ = dh_ * tanh_derivative(h)  # (4)"
_INPUT = 'dX = dg_ @ p["Ug"].mT  # (1)'
_BACK = 'dh = dg_ @ p["Vg"].mT  # (1)'
_ONE, _TWO_STEPS, _TWO_UNITS = (f"{sizes}-{_CELL}-float64-seed0" for sizes in ("m1s1e1u1", "m1s2e1u1", "m1s1e1u2"))

_fault = partial(Fault, family=FAMILY, example=_ONE)


def _of_the_activation() -> Iterator[Fault]:
    """Yield what is wrong with tanh and with its derivative."""
    linear = 'fc["g_"][..., s, :]'
    derivatives = (
        ("missing", "dh_", "left out", _ONE),
        ("of-linear", f"dh_ * tanh_derivative({linear})", "taken at the linear activation", _ONE),
        ("of-state-before", 'dh_ * tanh_derivative(fc["hp"][..., s, :])', "taken at hp", _ONE),
        ("twice", "dh_ * tanh_derivative(h) * tanh_derivative(h)", "multiplied twice", _ONE),
        ("of-sigmoid", "dh_ * h * (1 - h)", "a sigmoid's", _ONE),
        ("negated", "dh_ * (h * h - 1)", "of the other sign", _ONE),
        ("of-cotangent", "dh_ * tanh_derivative(dh_)", "taken at the cotangent", _ONE),
        ("of-a-ramp", "dh_ * (h > 0)", "a ramp's, 1 where h is positive", _ONE),
        ("cut-off", "0 * dh_", "zero, by a state that is detached", _ONE),
        (
            "of-next-step",
            'dh_ * tanh_derivative(fc["h"][..., min(s + 1, dA.shape[-2] - 1), :])',
            "taken at the next step's h",
            _TWO_STEPS,
        ),
        ("of-first-step", 'dh_ * tanh_derivative(fc["h"][..., 0, :])', "taken at the first step's h", _TWO_STEPS),
        ("of-last-step", 'dh_ * tanh_derivative(fc["h"][..., -1, :])', "taken at the last step's h", _TWO_STEPS),
        ("of-output-alone", "dA_s * tanh_derivative(h) + dhn", "not applied to what the next step passes back", _ONE),
        ("of-next-step-alone", "dA_s + dhn * tanh_derivative(h)", "not applied to the output's cotangent", _ONE),
    )
    for how, new, words, example in derivatives:
        yield _fault(
            id=f"state-derivative-{how}",
            title=f"The state's derivative is {words}.",
            explanation="(4): dg_ = dh_ (1 - h^2).",
            patches=(in_backward(_LOCAL, f"dg_ = {new}  # (4)"),),
            example=example,
        )
    others = (
        ("sigmoid", "0.5 * (1 + np.tanh(0.5 * g_))", "dh_ * h * (1 - h)", "a sigmoid"),
        ("linear", "g_", "dh_", "not activated"),
        ("softsign", "g_ / (1 + np.abs(g_))", "dh_ * (1 - np.abs(h)) * (1 - np.abs(h))", "softsign of it"),
        ("hard-tanh", "np.clip(g_, -1, 1)", "dh_ * (np.abs(h) < 1)", "clipped to -1 and 1"),
        ("ramp", "np.maximum(g_, 0)", "dh_ * (h > 0)", "a ramp, zero where it is negative"),
        (
            "tanh-twice",
            "tanh(tanh(g_))",
            "dh_ * tanh_derivative(h) * tanh_derivative(np.arctanh(h))",
            "activated twice",
        ),
    )
    for how, forward, backward, words in others:
        yield _fault(
            id=f"state-by-{how}",
            title=f"The linear activation is {words}.",
            explanation="(4): h = tanh(g_); the gradient is right for what is there.",
            patches=(in_forward(_ACTIVATED, f"h = {forward}  # (4)"), in_backward(_LOCAL, f"dg_ = {backward}  # (4)")),
        )
    for how, forward, words in (
        ("leaky", "0.5 * hp + 0.5 * tanh(g_)", "half of the state before and half of tanh"),
        ("residual", "hp + tanh(g_)", "the state before and tanh added"),
        ("of-sigmoid-alone", "0.5 * (1 + np.tanh(0.5 * g_))", "a sigmoid, in the forward pass alone"),
        ("clipped", "np.clip(tanh(g_), -0.25, 0.25)", "kept within 0.25, in the forward pass alone"),
    ):
        yield _fault(
            id=f"state-{how}",
            title=f"The state is {words}.",
            explanation="(4): another cell's update; the gradient is as if it were tanh alone.",
            patches=(in_forward(_ACTIVATED, f"h = {forward}  # (4)"),),
        )


def _of_the_products() -> Iterator[Fault]:
    """Yield what is wrong with what goes into the linear activation, and with what goes back from it."""
    for id, old, new, title in (
        ("bias-left-out", ' + p["bg"]', "", "The forward pass leaves out the bias"),
        ("bias-twice", '+ p["bg"]', '+ 2 * p["bg"]', "The forward pass adds the bias twice"),
        ("bias-subtracted", '+ p["bg"]', '- p["bg"]', "The forward pass subtracts the bias"),
        ("input-left-out", 'X_s @ p["Ug"]', '0 * (X_s @ p["Ug"])', "The forward pass leaves out the input"),
        ("state-halved", 'hp @ p["Vg"]', '0.5 * (hp @ p["Vg"])', "The forward pass counts the state by half"),
        ("state-subtracted", '+ hp @ p["Vg"]', '- hp @ p["Vg"]', "The forward pass subtracts the state's part"),
        (
            "input-scaled",
            'X_s @ p["Ug"]',
            '(X_s / X_s.shape[-1] ** 0.5) @ p["Ug"]',
            "The forward pass divides the input by the root of e",
        ),
    ):
        yield _fault(
            id=f"linear-{id}",
            title=f"{title}.",
            explanation="(1g): g_ = X_s Ug + hp Vg + bg; the gradient is as if it were so.",
            patches=(in_forward(old, new),),
            example=f"m1s1e2u1-{_CELL}-float64-seed0" if id == "input-scaled" else _ONE,
        )
    yield _fault(
        id="recurrent-weights-transposed-forward",
        title="The forward pass takes the transpose of Vg.",
        explanation="(1g): weights of another library, whose products run the other way; hidden where u = 1.",
        patches=(in_forward('hp @ p["Vg"]', 'hp @ p["Vg"].mT'),),
        example=_TWO_UNITS,
    )
    yield _fault(
        id="recurrent-weights-transposed-everywhere",
        title="Vg is the transpose of what it should be, in all passes.",
        explanation="(1g): weights of another library; the gradient is right for that.",
        patches=(
            in_forward(BEGIN, '    p = {**p, "Vg": p["Vg"].mT}\n' + BEGIN),
            in_backward(START, '    p = {**p, "Vg": p["Vg"].mT}\n' + START),
            in_gradients(RETURN, '    g["dVg"] = g["dVg"].mT\n' + RETURN),
        ),
        example=_TWO_UNITS,
    )
    for id, line, new, title in (
        ("input-of-state", _INPUT, 'dh_ @ p["Ug"].mT', "dX is made before tanh's derivative"),
        ("input-halved", _INPUT, '0.5 * (dg_ @ p["Ug"].mT)', "dX is halved"),
        (
            "input-of-output-alone",
            _INPUT,
            '(dA_s * tanh_derivative(h)) @ p["Ug"].mT',
            "dX lacks what the next step passes back",
        ),
        ("state-of-state", _BACK, 'dh_ @ p["Vg"].mT', "dh is passed back before tanh's derivative"),
        ("state-with-shortcut", _BACK, 'dg_ @ p["Vg"].mT + dh_', "dh has the state's own cotangent added"),
        ("state-without-weights", _BACK, "dg_", "dh is passed back without the recurrent weights"),
        (
            "state-of-output-alone",
            _BACK,
            '(dA_s * tanh_derivative(h)) @ p["Vg"].mT',
            "dh has the output's cotangent alone, and nothing goes further than a step",
        ),
        ("state-clipped", _BACK, 'np.clip(dg_ @ p["Vg"].mT, -0.5, 0.5)', "dh is kept within 0.5 at every step"),
        (
            "state-of-last-step-alone",
            _BACK,
            '(dg_ @ p["Vg"].mT) * (s == dA.shape[-2] - 1)',
            "dh is passed back from the last step alone",
        ),
    ):
        yield _fault(
            id=f"cotangent-of-{id}",
            title=f"{title}.",
            explanation="(1): dX_s = dg_ Ug^T, dh = dg_ Vg^T.",
            patches=(in_backward(line, f"{line.partition(' = ')[0]} = {new}  # (1)"),),
            example=_TWO_STEPS if id == "state-of-last-step-alone" else _ONE,
        )
    for name, made in (("dUg", "X"), ("dVg", "hp"), ("dbg", "")):
        one = f'_steps_first(fc["{made}"]).mT @ _steps_first(bc["dh_"])' if made else ""
        whole = (
            f"np.sum({one}, axis=-3)" if made else ('np.sum(np.sum(bc["dh_"], axis=-2), axis=-2)[..., np.newaxis, :]')
        )
        yield _fault(
            id=f"gradient-of-state-cotangent-{name[1:].lower()}",
            title=f"{name} is made of dh_, not dg_.",
            explanation="(1): tanh's derivative is in what is passed back, and not in the sum.",
            patches=(in_gradients(RETURN, f'    g["{name}"] = {whole}\n{RETURN}'),),
        )
        yield _fault(
            id=f"gradient-halved-{name[1:].lower()}",
            title=f"{name} is halved.",
            explanation="(1): the half of a squared error's derivative, taken twice.",
            patches=(in_gradients(RETURN, f'    g["{name}"] = 0.5 * g["{name}"]\n{RETURN}'),),
        )


FAULTS = (
    *_of_the_activation(),
    *_of_the_products(),
    # hp has no part in the backward pass but in dV, where the catalogue has it.
    *(fault for fault in one_state.faults(_CELL) if fault.id != "hidden-kept-after-the-step"),
)
