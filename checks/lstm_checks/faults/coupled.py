"""Faults of coupled gates, i = 1 - f: of the one and the sign in it, and of what f has to take over of i."""

from functools import partial

from lstm_checks.faults.model import Fault, in_backward, in_forward

_fault = partial(Fault, family="coupled", example="m1s1e1u1-coupled-float64-seed0")
_INPUT = "i = 1 - f  # (3)"
_TO_FORGET = "df_ = (df - di) * sigmoid_derivative(f)  # (2), (3)"

FAULTS = (
    _fault(
        id="coupling-cotangent-missing",
        title="What arrives at i is not passed on to f.",
        explanation="(3): i = 1 - f is taken for a constant, by stop_gradient, detach, or an equation forgotten.",
        patches=(in_backward(_TO_FORGET, "df_ = df * sigmoid_derivative(f)  # (2)"),),
    ),
    _fault(
        id="coupling-cotangent-sign",
        title="What arrives at i is added to f's cotangent in place of taken from it.",
        explanation="(3): the derivative of 1 - f is -1.",
        patches=(in_backward(_TO_FORGET, "df_ = (df + di) * sigmoid_derivative(f)  # (2), (3)"),),
    ),
    _fault(
        id="coupling-own-derivative",
        title="i's cotangent has the derivative of a sigmoid of i, before it is passed on to f.",
        explanation="(3): the line of the plain cell, di_ = di i (1 - i), is left standing.",
        patches=(in_backward(_TO_FORGET, "df_ = (df - di * sigmoid_derivative(i)) * sigmoid_derivative(f)"),),
    ),
    _fault(
        id="coupling-without-complement",
        title="The input gate is f.",
        explanation="(3): i = f, and the gradient is right for that.",
        patches=(
            in_forward(_INPUT, "i = f  # (3)"),
            in_backward(_TO_FORGET, "df_ = (df + di) * sigmoid_derivative(f)"),
        ),
    ),
    _fault(
        id="coupling-of-the-linear-activation",
        title="The input gate is 1 - f_, of the linear activation.",
        explanation="(3): f_ for f, one letter; the gradient is right for that.",
        patches=(
            in_forward(_INPUT, "i = 1 - f_  # (3)"),
            in_backward(_TO_FORGET, "df_ = df * sigmoid_derivative(f) - di"),
        ),
    ),
    _fault(
        id="coupling-the-other-way",
        title="f and i are exchanged: what is remembered is 1 - f of the memory.",
        explanation="(3), (6): as in a GRU, whose update gate is read the other way round in half of the papers; the"
        " gradient is right for that.",
        patches=(
            in_forward("C_ = f * Cp_ + i * g  # (6)", "C_ = i * Cp_ + f * g  # (6)"),
            in_backward("df = dC_ * Cp_  # (6)", "df = dC_ * g  # (6)"),
            in_backward("di = dC_ * g  # (6)", "di = dC_ * Cp_  # (6)"),
            in_backward("dg = dC_ * i  # (6)", "dg = dC_ * f  # (6)"),
            in_backward("dC = dC_ * f  # (6)", "dC = dC_ * i  # (6)"),
        ),
    ),
)
