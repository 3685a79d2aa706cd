"""Parameters beyond the twelve: without a reference they get values and their gradients are judged; else it is said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import DHN, LAST, Extra, Target, by_name
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.json import report_to_json
from lstm_checks.judging.reports import CHECK_GRAD
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.properties.claims import OWN_REGIMES
from lstm_checks.strategies import cases
from lstm_checks.targets.function import from_function

GATES = "figo"
VECTOR, SCALAR = Extra("peep", ((0, 1, 0),)), Extra("gain", ())
STACKED = Extra("peeps", ((0, 3, 0),))
CASE = Case(3, 4, 2, 3, seed=7)


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def peephole(p, X, h0, C0, sequences=True, wrong=None):
    """An LSTM whose gates f, i and o look at the memory before the step, and whose h has a gain; `wrong` spoils one."""
    u = h0.shape[1]
    given_here = "gain" in p
    w = p["peeps"].reshape(3, u) if "peeps" in p else np.stack([p.get("peep", np.zeros(u, X.dtype))] * 3)
    w, gain = dict(zip("fio", w, strict=True)), p.get("gain", np.ones((), X.dtype))
    h, C, trace = h0, C0, []
    for x in X.swapaxes(0, 1):
        a = {k: x @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in GATES}
        y = {k: np.tanh(a[k]) if k == "g" else sigmoid(a[k] + w[k] * C) for k in GATES}
        new = y["f"] * C + y["i"] * y["g"]
        trace.append((x, h, C, y, new))
        h, C = gain * y["o"] * np.tanh(new), new
    hs = np.stack([gain * y["o"] * np.tanh(new) for *_, y, new in trace], 1)

    def pullback(dh, dCn, dhn=None):
        g = {"d" + name: np.zeros_like(value) for name, value in p.items()}
        dw, dgain = {k: np.zeros(u, X.dtype) for k in "fio"}, np.zeros((), X.dtype)
        dX, carried, dC = np.zeros_like(X), np.zeros_like(h0), dCn
        for t in reversed(range(len(trace))):
            x, hp, Cp, y, new = trace[t]
            dht, squashed = dh[:, t] + carried, np.tanh(new)
            dgain = dgain + np.sum(dht * y["o"] * squashed)
            dC = dC + dht * gain * y["o"] * (1 - squashed**2)
            d = {"f": dC * Cp, "i": dC * y["g"], "g": dC * y["i"], "o": dht * gain * squashed}
            d = {k: v * ((1 - y[k] ** 2) if k == "g" else y[k] * (1 - y[k])) for k, v in d.items()}
            dC = dC * y["f"] + sum(d[k] * w[k] for k in "fio")
            carried = sum(d[k] @ p["V" + k].T for k in GATES)
            dX[:, t] = sum(d[k] @ p["U" + k].T for k in GATES)
            for k in GATES:
                g["dU" + k] += x.T @ d[k]
                g["dV" + k] += hp.T @ d[k]
                g["db" + k] += d[k].sum(0, keepdims=True)
            dw = {k: dw[k] + np.sum(d[k] * Cp, 0) for k in "fio"}
        g |= {"dpeeps": np.concatenate([*dw.values()])} if "peeps" in p else {}
        g |= {"dpeep": sum(dw.values())} if "peep" in p else {}
        g |= {"dgain": np.asarray(dgain)} if given_here else {}
        g = {name: np.asarray(g[name] * 7) if name == wrong else g[name] for name in g}
        return g | {"dX": dX, "dh0": carried, "dC0": dC}

    return (hs, C), pullback


def target_of(*extras, wrong=None, **more):
    def call(p, X, h0, C0, sequences=True):
        return peephole(p, X, h0, C0, sequences, wrong)

    return Target("mine", "LSTM with more", by_name(call), frozenset({DHN, LAST}), extras=extras, **more)


@given(case=cases(regimes=OWN_REGIMES, max_dims=(4, 6, 3, 4), dtypes=("float64", "float32")))
def test_right_gradients_of_further_parameters_are_never_rejected(case):
    assert verify_case(target_of(VECTOR, SCALAR), case, reference=False).failures == ()
    assert verify_case(target_of(STACKED), case, reference=False).failures == ()


@pytest.mark.parametrize(("extra", "wrong"), [(VECTOR, "dpeep"), (SCALAR, "dgain"), (STACKED, "dpeeps")])
def test_a_wrong_gradient_of_a_further_parameter_is_rejected(extra, wrong):
    report = verify_case(target_of(extra, wrong=wrong), CASE, reference=False)
    assert {CHECK_GRAD, "gradient step"} <= {claim.name for claim in report.failures}
    assert verify_case(target_of(extra), CASE, reference=False).verdict is Verdict.PASS


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: v[np.newaxis], lambda v: v * np.nan, lambda v: None])
def test_a_gradient_of_another_form_is_said_by_its_name(change):
    def call(*arguments):
        outputs, pull = peephole(*arguments)
        return outputs, lambda *cotangents: (found := dict(pull(*cotangents))) | {"dpeep": change(found["dpeep"])}

    (claim, *_) = verify_case(replace(target_of(VECTOR), call=by_name(call)), CASE, reference=False).failures
    assert claim.name == "dpeep"
    assert claim.discrepancy.message.startswith("dpeep")


def test_units_in_another_order_take_a_vector_of_units_along():
    """And where nobody knows in which order the units stand, they are not asked, which is said."""
    asked = ("unit permutation",)
    assert verify_case(target_of(VECTOR), CASE, properties=asked, reference=False).claim(*asked).verdict is Verdict.PASS
    report = verify_case(target_of(STACKED), CASE, properties=asked, reference=False)
    assert report.claim(*asked).verdict is Verdict.UNSUPPORTED
    assert "in which order peeps holds the hidden units is not known" in report.claim(*asked).reason


def test_units_that_differ_in_the_forward_pass_say_nothing_of_the_gradients():
    """The peephole's weights are constants of the function: units are not alike, and yet nothing is wrong."""

    def lstm(p, X, h0, C0, wrong=None):
        more = {"peep": np.sin(1 + np.arange(h0.shape[1])).astype(X.dtype)}
        outputs, pull = peephole({**p, **more}, X, h0, C0, wrong=wrong)
        return outputs, lambda dh, dCn: {name: value for name, value in pull(dh, dCn).items() if name != "dpeep"}

    report = verify(from_function(lstm), examples=12, reference=False, max_dims=(3, 3, 3, 3))
    assert report.exit_code == 0
    assert "not asked unit permutation: its forward pass has units that are not alike" in render_report(report)
    wrong = from_function(lambda *inputs: lstm(*inputs, wrong="dVf"))
    assert verify(wrong, examples=12, reference=False, max_dims=(3, 3, 3, 3)).exit_code == 1


def test_with_a_reference_they_are_not_judged_and_that_is_said():
    target = target_of(VECTOR, SCALAR, wrong="dpeep", beside="peep (u,), held at zero")
    report = verify(target, examples=12, max_dims=(3, 3, 3, 3))
    assert report.exit_code == 0
    assert "  note      peep (u,), held at zero" in render_report(report).splitlines()
    assert report_to_json(report)["notes"] == ["peep (u,), held at zero"]
    judged = render_report(verify(target, examples=3, reference=False, max_dims=(3, 3, 3, 3)))
    assert "  note      judged, too: peep (u,) and gain ()" in judged.splitlines()


def test_what_the_reference_is_none_for_is_not_judged_by_it():
    target = target_of(VECTOR, foreign="it is no plain LSTM")
    report = verify(target, examples=3)
    assert report.exit_code == 2
    assert "  note      it is no plain LSTM" in render_report(report).splitlines()
    assert verify(target, examples=3, reference=False, max_dims=(3, 3, 3, 3)).exit_code == 0


def test_shapes_follow_from_the_sizes():
    extra = Extra("w", ((1, 1, 0), (0, 4, 0), (0, 0, 2), (0, 1, -1)))
    assert extra.formula == "(e+u, 4u, 2, u-1)"
    assert extra.shape(2, 3) == (5, 12, 2, 2)
    assert extra.units is None
    assert (VECTOR.formula, VECTOR.units, SCALAR.formula, SCALAR.units) == ("(u,)", (0,), "()", ())
    values = replace(CASE, extras=(extra, SCALAR)).arrays.p
    assert values["w"].shape == (5, 12, 2, 2)
    assert replace(CASE, extras=(extra,)) == CASE
