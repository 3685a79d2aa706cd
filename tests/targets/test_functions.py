"""The forms in which a function may come: found out by small calls, right ones pass, and what they lack is said."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import default_dtypes, verify
from lstm_checks.targets.function import from_function
from lstm_checks.targets.load import TargetError, load_target
from lstm_checks.weights.carrying import from_framework, gradients_from_framework, to_framework
from lstm_checks.weights.layouts import LAYOUTS

BIASES = tuple(f"db{gate}" for gate in "figo")
SMALL = {"examples": 12, "max_dims": (3, 3, 3, 3)}


def right(p, X, h0, C0):
    fc = lstm_ref.lstm_forward(p, X, h0, C0)

    def pullback(dh, dCn):
        bc = lstm_ref.lstm_backward(p, fc, dh, np.zeros_like(h0), dCn)
        return lstm_ref.lstm_parameter_gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}

    return (fc["h"], fc["C_"][:, -1].copy()), pullback


def of_form(takes=4, flat=False, flat_gradients=False, without=(), wrong="", breaks_at=None):
    """The right LSTM as somebody else may have written it; or with one gradient twice too large."""

    def function(p, X, h0, C0):
        if flat and any(p[name].ndim != 1 for name in PLAIN.parameters if name[0] == "b"):
            raise ValueError("a bias is a vector")
        if h0.shape[1] == breaks_at:
            raise ValueError("not enough values to unpack (expected 2, got 1)")
        outputs, pull = right({name: np.atleast_2d(value) for name, value in p.items()}, X, h0, C0)

        def pullback(dh, dCn):
            found = {name: None if name in without else value for name, value in pull(dh, dCn).items()}
            if wrong:
                found[wrong] = 2 * found[wrong]
            if flat_gradients:
                found |= {name: found[name][0] for name in BIASES if found[name] is not None}
            return found

        return outputs, pullback

    zeros = {2: lambda p, X: function(p, X, *2 * [np.zeros((X.shape[0], p["Vf"].shape[0]), X.dtype)])}
    zeros[3] = lambda p, X, h0: function(p, X, h0, np.zeros_like(h0))
    return zeros.get(takes, function)


@given(
    takes=st.sampled_from([2, 3, 4]),
    flat=st.booleans(),
    flat_gradients=st.booleans(),
    breaks_at=st.sampled_from([None, 1]),
    without=st.sets(st.sampled_from(PLAIN.gradients), max_size=3),
    wrong=st.sampled_from(["", "dbi", "dUo", "dX"]),
)
def test_however_a_function_comes_it_is_judged_by_what_it_gives(takes, flat, flat_gradients, breaks_at, without, wrong):
    without = frozenset(without) - {wrong}
    target = from_function(of_form(takes, flat, flat_gradients, without, wrong, breaks_at))
    lacking = {2: {"initial states", "dh0", "dC0"}, 3: {"C0", "dC0"}, 4: set()}[takes]
    assert set(target.unsupported) == lacking | without
    case = Case(2, 3, 3, 4, states=takes == 4)
    report = verify_case(target, case, thorough=False)
    assert {claim.name for claim in report.failures} == ({wrong} if wrong else set())


def test_where_a_function_breaks_at_one_size_that_alone_is_said():
    target = from_function(of_form(breaks_at=1))
    report = verify(target, **SMALL)
    assert {1} < {example.case.u for example in report.examples}
    for example in report.examples:
        messages = [claim.discrepancy.message for claim in example.failures]
        assert (example.case.u == 1) == bool(messages)
        assert all("not enough values to unpack" in message for message in messages)


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.biases == "two"])
def test_the_gradients_of_two_biases_that_our_own_helper_returns_are_judged(layout):
    def lstm(factor):
        def function(p, X, h0, C0):
            own = to_framework(p, layout)
            u = h0.shape[1]
            outputs, pull = right(from_framework(own, layout, units=u), X, h0, C0)

            def pullback(dh, dCn):
                found = pull(dh, dCn)
                arrays = to_framework({name: found["d" + name] for name in PLAIN.parameters}, layout)
                named = gradients_from_framework(arrays, layout, units=u)
                twins = {twin: factor * found[name] for twin, name in LAYOUTS[layout].twins.items()}
                return named | twins | {name: found[name] for name in ("dX", "dh0", "dC0")}

            return outputs, pullback

        return from_function(function)

    target = lstm(1)
    assert set(target.twins) == set(LAYOUTS[layout].twins)
    assert verify_case(target, Case(2, 3, 3, 4)).verdict is Verdict.PASS
    failed = {claim.name for claim in verify_case(lstm(2), Case(2, 3, 3, 4)).failures}
    assert set(LAYOUTS[layout].twins) <= failed
    assert not set(PLAIN.gradients) & failed


def test_a_function_that_computes_in_float32_whatever_comes_is_judged_in_float32():
    def lstm(p, X, h0, C0):
        single = [{name: value.astype("float32") for name, value in p.items()}]
        (h, Cn), pull = right(*single, *(value.astype("float32") for value in (X, h0, C0)))
        return (h, Cn), lambda dh, dCn: pull(dh.astype("float32"), dCn.astype("float32"))

    target = from_function(lstm)
    assert target.dtypes == ("float32",)
    assert target.kind == "function in the vjp form, in float32 whatever comes"
    assert verify(target, dtypes=target.dtypes, **SMALL).exit_code == 0


@pytest.mark.parametrize("error", [TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError, KeyError])
def test_a_function_that_raises_in_float64_alone_is_judged_in_float32_and_that_is_said(error):
    def lstm(p, X, h0, C0):
        if X.dtype != np.float32:
            raise error("single precision")
        return right(p, X, h0, C0)

    target = from_function(lstm)
    assert target.dtypes == ("float32",)
    assert target.kind.startswith(f"function in the vjp form, float32 alone: in float64 it raised {error.__name__}: ")
    assert verify(target, **SMALL).exit_code == 0


def test_what_raises_in_both_dtypes_is_in_none_alone():
    def lstm(p, X, h0, C0):
        raise RuntimeError("no device")

    assert from_function(lstm).dtypes == ("float64", "float32")


def test_one_that_breaks_at_u_1_is_judged_in_both_dtypes_all_the_same():
    assert default_dtypes(from_function(of_form(breaks_at=1)))[0] == ("float64", "float32")


def test_an_argument_for_lengths_or_a_mask_is_not_given_and_that_is_said():
    def lstm(p, X, h0, C0, lengths=None, mask=None):
        return right(p, X, h0, C0)

    assert from_function(lstm).notes == ("lengths and mask not given: lengths and masks are not judged",)
    assert from_function(right).notes == ()


@pytest.mark.parametrize("single", [("h",), ("Cn",), ("h", "Cn"), PLAIN.gradients, ("h", "Cn", *PLAIN.gradients[1:])])
def test_some_of_the_tensors_alone_in_float32_are_a_fault(single):
    def given(name, value):
        return value.astype("float32") if name in single else value

    def lstm(p, X, h0, C0):
        (h, Cn), pull = right(p, X, h0, C0)
        outputs = given("h", h), given("Cn", Cn)
        return outputs, lambda dh, dCn: {name: given(name, value) for name, value in pull(dh, dCn).items()}

    target = from_function(lstm)
    assert target.dtypes == ("float64", "float32")
    assert verify_case(target, Case(2, 3, 3, 4)).verdict is Verdict.FAIL


def test_an_empty_dict_of_gradients_is_a_forward_pass_alone():
    target = from_function(lambda p, X, h0, C0: (right(p, X, h0, C0)[0], lambda dh, dCn: {}))
    assert set(PLAIN.gradients) <= target.lacks
    report = verify(target, **SMALL)
    assert report.exit_code == 0
    assert "all gradients, so only the forward pass is judged" in render_report(report)


def test_h0_without_C0_is_said():
    report = verify(from_function(of_form(takes=3)), **SMALL)
    assert report.exit_code == 0
    assert "note      it takes h0 and no C0, zero in all examples" in render_report(report)
    assert report.claim_counts["dh0"][Verdict.PASS]


@pytest.mark.parametrize("takes", [0, 1, 5])
def test_other_numbers_of_arguments_are_refused(takes):
    names = ", ".join("abcde"[:takes])
    with pytest.raises(TypeError, match=r"expected \(p, X, h0, C0\), \(p, X, h0\) or \(p, X\)"):
        from_function(eval(f"lambda {names}: None"))


def test_a_library_without_an_lstm_is_no_suggestion():
    with pytest.raises(TargetError) as raised:
        load_target("jax")
    assert "did you mean" not in str(raised.value)
    assert "is a library without an LSTM of its own; name a function of yours, path/file.py:lstm" in str(raised.value)


def test_what_two_sizes_show_is_one():
    """Neither size that is tried first decides: where the one with all sizes apart works, so does the tiny one."""
    for flat, takes in itertools.product((False, True), (2, 3, 4)):
        whole, broken = (from_function(of_form(takes, flat, breaks_at=size)) for size in (None, 1))
        assert (whole.lacks, whole.dtypes, whole.twins) == (broken.lacks, broken.dtypes, broken.twins)
