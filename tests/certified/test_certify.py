"""Balls enclose the truth, two derivations of it overlap, and what a target's error is measured as is what it is."""

import builtins
import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

flint = pytest.importorskip("flint")

from lstm_checks.arithmetic import balls  # noqa: E402
from lstm_checks.calling import Outcome  # noqa: E402
from lstm_checks.cases import COTANGENTS, DTYPES, REGIMES, Case  # noqa: E402
from lstm_checks.certified import certify as certifying  # noqa: E402
from lstm_checks.certified.certify import (  # noqa: E402
    case_for,
    certified_derivative,
    certified_gradient,
    certify,
    derivation_agrees,
    directional_derivative,
    estimate_seconds,
    example_cases,
    summarize,
    ulp,
)
from lstm_checks.contract import PLAIN  # noqa: E402
from lstm_checks.oracles.expected import evaluate_reference, expect  # noqa: E402
from lstm_checks.targets.function import from_function  # noqa: E402
from lstm_checks.targets.layer import from_layer  # noqa: E402
from lstm_checks.tolerance import accepted  # noqa: E402
from lstm_ref import LSTM, lstm_backward, lstm_forward, lstm_parameter_gradients  # noqa: E402

cases = st.builds(
    Case,
    m=st.integers(1, 3),
    s=st.integers(1, 5),
    e=st.integers(1, 4),
    u=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    regime=st.sampled_from(REGIMES),
    cotangents=st.sampled_from(COTANGENTS),
    states=st.booleans(),
    seed=st.integers(0, 999),
)
some = settings(max_examples=25, deadline=None, derandomize=True)


def a_function(scale=1.0, dtype=None):
    """Return the reference as a function of the contract, with dUg off by a factor."""

    def target(p, X, h0, C0):
        fc = lstm_forward(p, X, h0, C0)

        def pullback(dh, dCn):
            bc = lstm_backward(p, fc, dh, np.zeros_like(h0), dCn)
            gradients = lstm_parameter_gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}
            gradients["dUg"] = gradients["dUg"] * X.dtype.type(scale)
            return gradients if dtype is None else {k: v.astype(dtype) for k, v in gradients.items()}

        return (fc["h"], fc["C_"][:, -1]), pullback

    return from_function(target)


def tensor(certificate, name):
    return next(t for t in certificate.tensors if t.name == name)


# Balls


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
@some
def test_float64_goes_to_a_ball_and_back_unchanged(values):
    x = np.array(values)
    b = balls.to_balls(x)
    assert balls.nearest(b).tobytes() == (x + 0.0).tobytes()  # a ball has no negative zero
    assert not balls.radius(b).any()
    assert not balls.distance(x, b).any()


def test_float32_goes_to_a_ball_exactly():
    x = np.float32([0.1, 1e-45, 3e38, -0.0])
    assert (balls.nearest(balls.to_balls(x)) == x.astype(np.float64)).all()


@pytest.mark.parametrize("array", [np.arange(3), np.ones(2, complex), np.ones(2, np.longdouble)])
def test_other_dtypes_are_refused(array):
    with pytest.raises(TypeError, match=r"has dtype .*, expected float32 or float64"):
        balls.to_balls(array)


@given(st.integers(-(2**80), 2**80), st.integers(-1120, 900))
@some
def test_the_nearest_float_is_the_nearest_even_among_subnormals(mantissa, exponent):
    with balls.precision(200):
        ball = flint.arb(mantissa) * flint.arb(2) ** exponent
        exact = Fraction(mantissa) * Fraction(2) ** exponent
        found = balls.nearest(balls.filled([ball], (1,)))[0]
        assert found == float(exact)
        assert not balls.radius(balls.filled([ball], (1,)))[0]


def test_a_radius_and_a_distance_are_rounded_up():
    with balls.precision(64):
        third = flint.arb(1) / 3
        tiny = third * flint.arb(2) ** -1200
        array = balls.filled([third, tiny], (2,))
        radius = balls.radius(array)
        distance = balls.distance(np.array([1 / 3, 0.0]), array)
    assert Fraction(radius[0]) >= Fraction(1, 2**66) > 0
    assert radius[1] == distance[1] == 5e-324
    assert Fraction(distance[0]) >= abs(Fraction(1 / 3) - Fraction(1, 3))


def test_an_unbounded_ball_has_no_value_and_is_never_resolved():
    array = balls.filled([flint.arb("nan"), flint.arb(1)], (2,))
    assert math.isnan(balls.nearest(array)[0])
    assert balls.radius(array)[0] == math.inf
    assert balls.distance(np.ones(2), array)[0] == math.inf
    assert balls.missing_bits(array) > 0


def test_what_is_not_finite_is_infinitely_far():
    array = balls.to_balls(np.ones(3))
    assert balls.distance(np.array([np.nan, np.inf, 1.0]), array).tolist() == [math.inf, math.inf, 0.0]


@pytest.mark.parametrize(("value", "missing"), [(1.0, False), (0.0, False), (5e-324, False)])
def test_exact_entries_are_resolved(value, missing):
    assert (balls.missing_bits(balls.to_balls(np.array([value]))) > 0) is missing


def test_an_entry_is_resolved_below_a_1024th_of_its_ulp():
    for size in (1.0, 2.0**-1074, 0.0):
        step = max(np.spacing(size), 5e-324)
        for factor, missing in ((2**-11, False), (2**-9, True)):
            ball = flint.arb(size, flint.arb(2) ** (int(np.log2(step)) + int(np.log2(factor))))
            assert (balls.missing_bits(balls.filled([ball], (1,))) > 0) is missing, (size, factor)


def test_precision_is_put_back_even_after_an_exception():
    before = flint.ctx.prec, flint.ctx.cap
    found = []
    with pytest.raises(ZeroDivisionError), balls.precision(777, terms=2):
        found.append((flint.ctx.prec, flint.ctx.cap, 1 / 0))
    with balls.precision(777, terms=2):
        found.append((flint.ctx.prec, flint.ctx.cap))
    assert found == [(777, 2)]
    assert (flint.ctx.prec, flint.ctx.cap) == before


def test_precision_is_put_back_by_everything_here(monkeypatch):
    before = flint.ctx.prec, flint.ctx.cap
    case = Case(2, 2, 2, 2, seed=1)
    certified_gradient(case)
    certified_derivative(case, {"X": case.arrays["X"]})
    certify(from_layer(LSTM), case)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(certifying, "evaluate_reference", fail)
    with pytest.raises(KeyboardInterrupt):
        certified_gradient(case)
    assert (flint.ctx.prec, flint.ctx.cap) == before


@pytest.mark.parametrize(
    "shapes", [((5, 6), (6, 7)), ((3, 5, 6), (3, 6, 7)), ((2, 1, 5, 6), (4, 6, 7)), ((1, 2), (2, 1))]
)
def test_products_through_arbs_matrices_are_numpys(shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape) for shape in shapes)
    with balls.precision(300):
        ours = balls.to_balls(x) @ balls.to_balls(y)
        plain = np.matmul(balls.to_balls(x).view(np.ndarray), balls.to_balls(y).view(np.ndarray))
        assert isinstance(ours, balls.BallArray)
        assert balls.overlap(ours, plain)
        assert balls.missing_bits(ours) <= 0


def test_a_missing_extra_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "flint":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(balls.MissingExtra, match="pip install python-flint"):
        certified_gradient(Case(1, 1, 1, 1))


# Certified gradients


@given(cases)
@some
def test_backward_and_forward_certify_the_same_derivative(case):
    certified = certified_gradient(case)
    rng = np.random.default_rng(case.seed)
    direction = {name: rng.standard_normal(case.arrays.inputs[name].shape) for name in PLAIN.inputs}
    forward = certified_derivative(case, direction, bits=certified.bits)
    backward = directional_derivative(certified, direction)
    assert forward.overlaps(backward)
    assert derivation_agrees(certified)
    # Both are narrow, so that overlapping says something.
    scale = sum(np.sum(np.abs(certified.values["d" + n] * v)) for n, v in direction.items()) + 1e-300
    assert float(forward.rad()) + float(backward.rad()) <= 1e-13 * scale


@given(cases)
@some
def test_enclosures_nest_and_each_entry_rounds_to_one_float(case):
    certified = certified_gradient(case)
    assert certified.resolved
    finer = certified_gradient(case, first_bits=4 * certified.bits, last_bits=4 * certified.bits)
    exact = evaluate_in_fractions(case) if case.regime == "zero" and case.s == 1 else {}
    for name in (*PLAIN.outputs, *PLAIN.gradients):
        assert balls.overlap(certified.enclosures[name], finer.enclosures[name]), name
        with balls.precision(4 * certified.bits):
            for ball, inner in zip(certified.enclosures[name].flat, finer.enclosures[name].flat, strict=True):
                assert ball.contains(inner.mid()), name
        middle = np.abs(certified.values[name] - finer.values[name])
        assert (middle <= ulp(finer.values[name], "float64")).all(), name
        if name in exact:
            assert (certified.values[name] == exact[name]).all(), name


def evaluate_in_fractions(case):
    """Return what one step of a layer of zeros gives: every gate is a half and the candidate 0."""
    a = case.arrays.astype(np.float64)
    return {"Cn": a["C0"] / 2, "dX": np.zeros_like(a["X"]), "dh0": np.zeros_like(a["h0"])}


@given(cases)
@some
def test_the_references_float_errors_are_within_the_tolerance(case):
    certified, expected = certified_gradient(case), expect(case)
    names = (*PLAIN.outputs, *PLAIN.gradients)
    if expected.chaotic(names):
        return
    values = evaluate_reference(case.arrays)
    with balls.precision(certified.bits):
        for name in names:
            errors = balls.distance(values[name], certified.enclosures[name])
            assert (errors <= accepted(expected.sd[name], case.dtype)).all(), name


def test_a_wrong_derivation_is_found_out():
    certified = certified_gradient(Case(2, 2, 2, 2, seed=1))
    wrong = certified.enclosures | {"dh0": certified.enclosures["dh0"] * (1 + 2.0**-50)}
    assert not derivation_agrees(replace(certified, enclosures=wrong))


def test_a_direction_must_name_inputs_of_their_shape():
    case = Case(1, 1, 1, 1)
    with pytest.raises(ValueError, match="direction names 'dX', expected names of inputs: Uf"):
        certified_derivative(case, {"dX": case.arrays["X"]})
    with pytest.raises(ValueError, match=r"direction of shape \(2,\)"):
        certified_derivative(case, {"X": np.ones(2)})


def test_a_cap_that_is_too_low_is_said():
    certified = certified_gradient(Case(2, 3, 2, 3, regime="x100", seed=1), last_bits=128)
    assert (certified.bits, certified.resolved) == (128, False)


# Certificates of targets


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cotangents", COTANGENTS)
def test_the_reference_is_certified_in_every_tensor(dtype, cotangents):
    certificate = certify(from_layer(LSTM), Case(2, 3, 2, 3, dtype=dtype, cotangents=cotangents, seed=4))
    assert {t.status for t in certificate.tensors} == {"certified"}
    assert not certificate.failed
    assert certificate.worst.relative < {"float64": 1e-14, "float32": 1e-5}[dtype]


def test_an_error_of_one_part_in_a_million_million_shows_in_ulps():
    case = Case(2, 4, 3, 4, seed=2)
    good, bad = certify(a_function(), case), certify(a_function(1 + 1e-12), case)
    assert tensor(bad, "dUg").relative == pytest.approx(1e-12, rel=1e-2)
    # 1e-12 of an entry are 4504 to 9007 of its ulps
    assert tensor(bad, "dUg").ulps > 4000
    assert tensor(bad, "dUg").use > 1 > tensor(good, "dUg").use
    assert bad.worst.name == "dUg"
    assert tensor(good, "dUg").relative < 1e-14
    for name in (*PLAIN.outputs, *PLAIN.gradients):
        if name != "dUg":
            assert tensor(bad, name) == tensor(good, name)


def test_the_verdict_is_that_of_the_worst_and_rounding_that_drowns_a_case_leaves_none():
    case = Case(2, 4, 3, 4, seed=2)
    good, bad = certify(a_function(), case), certify(a_function(1 + 1e-12), case)
    assert good.verdict == "pass"
    assert bad.verdict == "fail"
    assert [t.name for t in bad.tensors if t.verdict == "fail"] == ["dUg"]
    drowned = certify(a_function(1.5), Case(1, 60, 2, 16, dtype="float32", regime="x10", seed=1))
    assert drowned.verdict == tensor(drowned, "dUg").verdict == "inconclusive"
    # h does not say anything of gradients, and NaN is wrong even there.
    assert certify(a_function(np.nan), drowned.case).verdict == "fail"
    # In this one a single gradient is lost.
    lost = certify(a_function(), Case(2, 9, 7, 7, dtype="float32", regime="x100", seed=11))
    assert [t.name for t in lost.tensors if t.verdict == "inconclusive"] == ["dh0"]
    assert lost.verdict == "pass"


def test_an_error_that_ends_with_precision_is_no_failure():
    case = Case(2, 3, 2, 3, seed=1)
    found = certify(a_function(), case, certified_gradient(case, first_bits=32, last_bits=32))
    assert not found.resolved
    assert "fail" not in {t.verdict for t in found.tensors}
    assert any(t.use > 1 and t.verdict == "inconclusive" for t in found.tensors)


def test_an_error_of_a_known_number_of_ulps_is_measured_as_that():
    case = Case(1, 2, 2, 3, seed=3)
    certified = certified_gradient(case)
    value = certified.values["dVf"].copy()
    value[1, 2] += 100 * np.spacing(abs(value[1, 2]))
    came = {"dVf": value}
    found = certifying._certify_tensor("dVf", a_function(), certified, np.ones((3, 3)), Outcome(came))
    assert found.ulps_index == (1, 2)
    assert 99.4 < found.ulps < 100.6
    assert found.value == value[1, 2]
    assert found.truth == certified.values["dVf"][1, 2]


def test_ulps_are_those_of_the_dtype():
    assert ulp(np.array([1.0, 1.999, 2.0, 0.0]), "float32").tolist() == [2.0**-23, 2.0**-23, 2.0**-22, 2.0**-149]
    assert ulp(np.array([1.0, 0.75, 0.0]), "float64").tolist() == [2.0**-52, 2.0**-53, 2.0**-1074]


def test_what_a_target_lacks_is_unsupported_and_left_out_of_the_case():
    def target(p, X):
        zero = np.zeros_like(X, shape=(X.shape[0], p["Vf"].shape[0]))
        fc = lstm_forward(p, X, zero, zero)

        def pullback(dh):
            bc = lstm_backward(p, fc, dh, zero, zero)
            return lstm_parameter_gradients(fc, bc) | {"dX": bc["dX"]}

        return (fc["h"], None), pullback

    target = from_function(target)
    certificate = certify(target, Case(2, 3, 2, 2, seed=1))
    left = Case(2, 3, 2, 2, states=False, cotangents="every+h", seed=1)
    assert certificate.case == replace(left, absent=("dCn",))
    unsupported = {t.name for t in certificate.tensors if t.status == "unsupported"}
    assert unsupported == {"Cn", "dh0", "dC0"}
    assert not certificate.failed
    assert certificate.worst.relative < 1e-14


@pytest.mark.parametrize(("given", "left"), [("C", "h"), ("last+C", "last"), ("h+C", "h"), ("every+h+C", "every+h")])
def test_a_cotangent_that_cannot_be_passed_is_dropped(given, left):
    target = replace(a_function(), lacks=frozenset({"dCn"}))
    assert case_for(target, Case(1, 1, 1, 1, cotangents=given)).cotangents == left


def test_wrong_forms_fail_and_are_described():
    case = Case(2, 3, 2, 2, seed=1)
    certificate = certify(a_function(dtype=np.float32), case)
    assert tensor(certificate, "dX").reason == "dtype float32, expected float64"
    assert certificate.failed

    def raising(p, X, h0, C0):
        raise RuntimeError("no memory")

    certificate = certify(from_function(raising), case)
    (reason,) = {t.reason for t in certificate.tensors}
    assert re.fullmatch(r"RuntimeError: no memory \(test_certify.py, line \d+\)", reason)
    assert certificate.worst is None

    def thin(p, X, h0, C0):
        return (X, C0 * np.nan), lambda dh, dCn: {"dh0": 0 * h0}

    certificate = certify(from_function(thin), Case(2, 3, 4, 2, seed=1))
    assert tensor(certificate, "h").reason == "shape (2, 3, 4), expected (2, 3, 2)"
    assert tensor(certificate, "Cn").ulps == math.inf
    assert tensor(certificate, "dX").reason == "the target did not return it"


def test_a_dtype_the_target_has_not_is_refused():
    target = replace(a_function(), dtypes=("float64",))
    with pytest.raises(ValueError, match="computes in float64, the case asks for float32"):
        certify(target, Case(1, 1, 1, 1, dtype="float32"))


def test_a_certificate_goes_to_json_and_to_rows():
    certificate = certify(a_function(), Case(1, 2, 1, 2, seed=1))
    rows = certificate.rows()
    assert [row["tensor"] for row in rows] == [*PLAIN.outputs, *PLAIN.gradients]
    assert rows[2]["ulps_at"].startswith("dUf[")
    said = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert said["case"] == "m1s2e1u2-float64-seed1"
    assert said["bits"] == 128
    assert said["tensors"][0]["status"] == "certified"


def test_many_certificates_are_summed_up_by_their_worst():
    cases = example_cases(8, "float32", seed=3, regimes=REGIMES)
    assert cases == example_cases(8, "float32", seed=3, regimes=REGIMES)
    assert {case.regime for case in cases} == set(REGIMES)
    certificates = [certify(from_layer(LSTM), case) for case in cases]
    for k, row in enumerate(summarize(certificates)):
        errors = [c.tensors[k] for c in certificates]
        assert row["ulps"] == max(t.ulps for t in errors)
        assert row["relative"] == max(t.relative for t in errors)
        assert row["use"] == max(t.use for t in errors) < 0.7
        assert row["ulps_case"] in {case.descriptor for case in cases}

    def raising(p, X, h0, C0):
        raise RuntimeError("no memory")

    rows = summarize([certify(from_function(raising), case) for case in cases[:2]])
    assert rows[0]["status"] == "failed"
    assert re.sub(r"line \d+", "line N", rows[0]["reason"]) == (
        f"RuntimeError: no memory (test_certify.py, line N) ({cases[0].descriptor})"
    )


def test_the_cost_is_foretold_within_a_small_factor():
    case = Case(8, 20, 16, 16, seed=1)
    certified = certified_gradient(case)
    assert certified.resolved
    assert certified.seconds < 10
    assert certified.seconds / 20 < estimate_seconds(case) < certified.seconds * 5
    assert estimate_seconds(Case(8, 100, 64, 64)) > 20 * estimate_seconds(case)


def test_a_number_far_out_of_float64_is_0_or_infinite_and_takes_no_memory():
    # Such is the derivative of a softplus where what it is of is some 1e10: e^-1e10.
    array = balls.filled(
        [(-(flint.arb(10) ** 12)).exp(), (flint.arb(10) ** 12).exp(), -(flint.arb(10) ** 12).exp()], (3,)
    )
    assert balls.nearest(array).tolist() == [0.0, math.inf, -math.inf]
    assert balls.radius(array)[0] == math.ulp(0.0)
    assert balls.missing_bits(array[:1]) <= 0
