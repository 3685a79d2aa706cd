"""Each threshold is what the derivation beside it says, computed anew; each formula is what its docstring says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from lstm_checks import tolerance as t

DTYPES = ("float64", "float32")
sizes = st.floats(1e-3, 1e3)
dtypes = st.sampled_from(DTYPES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rho_is_half_the_spacing_at_1_and_the_smallest_normal_number_the_last_with_all_its_digits(dtype):
    of, rho, tiny = np.dtype(dtype).type, t.UNIT_ROUNDOFF[dtype], t.SMALLEST_NORMAL[dtype]
    assert of(1 + of(rho)) == 1
    assert of(1 + of(rho) * of(1.001)) == of(1 + 2 * rho)
    assert of(tiny) * of(1 + 2 * rho) != of(tiny)
    assert of(tiny / 2) * of(1 + 2 * rho) == of(tiny / 2)


def test_the_chances_of_a_false_alarm_are_as_said():
    """That an sd comes out below a third, that 6 sd are exceeded, that the few copies of a large case mislead."""
    assert stats.chi2.cdf(t.COPIES / 9, t.COPIES) == pytest.approx(1e-10, rel=0.2)
    assert 2 * stats.norm.sf(t.SIGMAS) == pytest.approx(2e-9, rel=0.05)
    assert 2 * stats.norm.sf(t.SIGMAS / 3) == pytest.approx(1 / 20, rel=0.1)
    few = stats.t(t.LARGE_COPIES)
    assert 2 * few.sf(t.LARGE_SIGMAS["direction"]) == pytest.approx(2e-6, rel=0.1)
    assert 2 * few.sf(t.LARGE_SIGMAS["entry"]) == pytest.approx(4e-12, rel=0.05)


def test_the_directions_are_as_many_as_said():
    small = 2 * stats.norm.cdf(0.17) - 1
    assert small**t.COMPLEX_STEP_DIRECTIONS == pytest.approx(1e-7, rel=0.15)
    rng = np.random.default_rng(0)
    # The error along an outer product of two directions: a product of two normal numbers.
    hidden = np.mean(np.abs(np.prod(rng.standard_normal((2, 10**5)), axis=0)) < 0.01)
    assert hidden == pytest.approx(1 / 28, rel=0.15)
    assert hidden**t.LARGE_DIRECTIONS < 1e-20


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_left_of_an_answer_fits_together(dtype):
    rho = t.UNIT_ROUNDOFF[dtype]
    assert t.RESOLUTION[dtype] == 2**22 * rho
    # Noise stands well above float64's own rounding, and at the share called chaotic is some percent of the answer.
    assert t.MAGNIFICATION[dtype] * rho >= 64 * t.UNIT_ROUNDOFF["float64"]
    assert 0.005 < t.MAGNIFICATION[dtype] * t.CHAOTIC[dtype] <= 0.05
    # Without a reference no less may be blurred than an input's own rounding does, and the answer stays linear.
    assert t.OWN_PERTURBATION[dtype] >= 2**6  # rounding a product of some tens of terms
    assert t.OWN_PERTURBATION[dtype] * rho <= t.GRADIENT_STEP[dtype] <= t.GRADIENT_STEP_LONGEST < 1
    assert rho ** (1 / 3) < t.GRADIENT_STEP[dtype] < 20 * rho ** (1 / 3)
    assert 0 < t.PROPERTY_RESOLUTION < t.OWN_CHAOTIC < t.GRADIENT_STEP_COARSE < 1
    assert 1 / t.COPIES < t.COMPLEX_STEP_DOUBT < 1


def test_the_steps_are_those_that_scipy_takes_and_the_multiples_show_curvature():
    steps = []
    optimize.check_grad(lambda x: steps.append(x[0]) or 0.0, lambda x: np.zeros(1), np.zeros(1))
    assert max(np.abs(steps)) == t.CHECK_GRAD_STEP
    assert 1 not in t.CHECK_GRAD_MULTIPLES
    assert min(t.CHECK_GRAD_MULTIPLES) < 0 < min(k for k in t.CHECK_GRAD_MULTIPLES if k > 0) < 1
    assert t.GRADIENT_STEPS[0] == 1
    assert 0 < min(t.GRADIENT_STEPS) < 1 < max(t.GRADIENT_STEPS)


def test_the_speed_and_accuracy_thresholds_fit_together():
    assert pytest.approx((t.SPEED_LIMIT - 1) / 2) == t.SPEED_MARGIN - 1
    assert t.SPEED_MARGIN > 1.14  # what neighbours were seen to do
    finest = 1 / math.comb(t.SPEED_BASELINE_ROUNDS + t.SPEED_LOOKS[0], t.SPEED_LOOKS[0])
    assert finest == 1 / 18564
    assert finest < t.SPEED_ALPHA / (len(t.SPEED_LOOKS) * 10 * 2)
    assert list(t.SPEED_LOOKS) == sorted(t.SPEED_LOOKS)
    assert t.SPEED_ALPHA <= 0.01
    assert 1 < t.SPEED_ELSEWHERE < 2
    assert t.ACCURACY_FACTOR > 1.7
    assert pytest.approx(0.12) == t.ACCURACY_FLOOR * t.SIGMAS
    assert 0.1 < t.MAX_UNJUDGED < 0.5


@given(sd=sizes, sigmas=sizes, dtype=dtypes, other=sizes)
def test_what_is_accepted_grows_with_the_noise_and_is_never_nothing(sd, sigmas, dtype, other):
    tiny = t.SMALLEST_NORMAL[dtype]
    zero = np.zeros(1)
    assert t.accepted(zero, dtype) == 4 * tiny
    assert t.accepted(np.array([sd]), dtype) == pytest.approx(6 * sd)
    assert t.accepted(np.array([sd]), dtype, sigmas) == pytest.approx(sigmas * sd)
    # Of two answers: the errors of both, independent.
    assert t.accepted_between(zero, zero, dtype) == 8 * tiny
    both = t.accepted_between(np.array([sd]), np.array([other]), dtype, sigmas)
    assert both == pytest.approx(sigmas * math.sqrt(sd**2 + other**2))


@given(roundings=st.integers(1, 100), size=sizes, dtype=dtypes)
def test_a_closed_form_is_accepted_to_a_bound_of_its_roundings(roundings, size, dtype):
    rho, tiny = t.UNIT_ROUNDOFF[dtype], t.SMALLEST_NORMAL[dtype]
    assert t.accepted_closed_form(np.array([size]), roundings, dtype) == pytest.approx(2 * roundings * rho * size)
    assert t.accepted_closed_form(np.zeros(1), roundings, dtype) == pytest.approx((4 + roundings) * tiny, abs=0)


@given(share=st.floats(1e-9, 1e3), largest=sizes, dtype=dtypes)
def test_chaotic_is_more_noise_than_the_share_of_the_largest_entry_and_nan(share, largest, dtype):
    values = {"a": np.array([0.1, -largest]) * 1.0, "b": np.array([0.05, 1e-6])}
    largest = max(0.1, largest)
    sds = {"a": np.array([0.0, 1e-30]), "b": np.array([1e-30, share * largest])}
    assert t.is_chaotic(values, sds, dtype) == (share > t.CHAOTIC[dtype])
    quiet = {name: np.zeros(2) for name in values}
    assert not t.is_chaotic(values, quiet, dtype)
    for name in values:
        for nothing in (np.nan, np.inf):
            assert t.is_chaotic(values, quiet | {name: np.array([0, nothing])}, dtype)
            assert t.is_chaotic(values | {name: np.array([0, nothing])}, quiet, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_of_the_smallest_numbers_is_not_chaotic_where_all_is_zero(dtype):
    zero, tiny = {"a": np.zeros(2)}, t.SMALLEST_NORMAL[dtype]
    assert not t.is_chaotic(zero, {"a": np.array([0, tiny])}, dtype)
    assert t.is_chaotic(zero, {"a": np.array([0, 1.01 * tiny])}, dtype)


@given(x=sizes, y=sizes, z=sizes, size=st.integers(1, 1000))
def test_check_grad_is_granted_its_rounding_its_curvature_and_the_gradients_noise(x, y, z, size):
    # Two values, each off by rho times its terms, over a step of 2^-26.
    assert t.check_grad_noise(x, -y, z) == pytest.approx(2 * 2.0**-53 / 2.0**-26 * (x + y + z))
    assert t.check_grad_random(x, y, z) == pytest.approx(2 * x + y + 6 * z)
    assert t.check_grad_all(x, y, size, z) == pytest.approx(2 * x + math.sqrt(size) * y + 6 * z)


@given(noise=st.floats(1e-12, 1), dtype=dtypes)
def test_a_step_along_the_gradient_is_the_usual_one_unless_noise_asks_for_a_longer(noise, dtype):
    step = t.gradient_step(noise, dtype)
    assert t.GRADIENT_STEP[dtype] <= step <= t.GRADIENT_STEP_LONGEST
    assert t.gradient_step(0.0, dtype) == t.GRADIENT_STEP[dtype]
    if t.GRADIENT_STEP[dtype] < step < t.GRADIENT_STEP_LONGEST:
        assert 6 * noise == pytest.approx(step / 200)
    elif step == t.GRADIENT_STEP_LONGEST:
        assert 6 * noise >= 0.999 * step / 200
    else:
        assert 6 * noise <= 1.001 * step / 200


@given(a=sizes, b=sizes, wrong=sizes, loss=sizes, gradient=sizes)
def test_a_step_along_a_right_gradient_is_accepted_and_a_wrong_one_gains_nothing_by_its_error(
    a, b, wrong, loss, gradient
):
    def granted(of_one, loss=0.0, gradient=0.0):
        return t.accepted_gradient_step([of_one(k) for k in t.GRADIENT_STEPS], loss, gradient)

    truncation = granted(lambda k: a * k**3 + b * k**5)
    assert truncation >= 1.99 * (a + b)
    assert granted(lambda k: a * k**3) == pytest.approx(2 * a)
    assert granted(lambda k: -a * k**3 - wrong * k) == pytest.approx(2 * a, rel=1e-6, abs=1e-9 * wrong)
    assert granted(lambda k: wrong * k) <= 1e-9 * wrong
    noisy = granted(lambda k: a * k**3, loss, gradient) - granted(lambda k: a * k**3)
    assert noisy == pytest.approx(6 * (math.sqrt(2) * loss + gradient), rel=1e-6, abs=1e-9 * a)


def bounded(sigmas):
    """Return a bound on how often a sum of roundings to nearest exceeds so many sd of its noise, of so many copies.

    Each rounding is uniform on up to a step either way, so that the sum is sub-Gaussian with a third of the noise's
    variance: exp(-3 t^2 / 2) on either side at t true sd. The mean over the chi-square of the estimated sd is its
    moment generating function.
    """
    return 2 * (1 + 2 * (1.5 * sigmas**2) / t.COPIES) ** (-t.COPIES / 2)


def test_the_bounds_of_low_precision_are_as_said():
    assert bounded(t.SIGMAS) == pytest.approx(1.1e-10, rel=0.05)
    assert bounded(t.PROJECTION_SIGMAS) == pytest.approx(2.3e-15, rel=0.05)
    assert 1e6 * 2300 * bounded(t.SIGMAS) == pytest.approx(1 / 4, rel=0.1)
    assert 1e6 * 75 * bounded(t.PROJECTION_SIGMAS) < 1e-6
    assert 2 * stats.t(t.COPIES).sf(t.PROJECTION_SIGMAS) == pytest.approx(3e-10, rel=0.1)
    assert math.exp(-t.SQUARES_LOGARITHM) == pytest.approx(6e-9, rel=0.1)
    assert pytest.approx(1 / 3 + t.BIAS**2, abs=0.003) == t.OF_NEAREST


@pytest.mark.parametrize("freedom", [1, 2, 10, 100, 1000])
def test_no_sum_of_squares_of_roundings_is_larger_than_accepted_as_often_as_that(freedom):
    accepted = t.accepted_squares(freedom, math.sqrt(2 * freedom))
    assert accepted >= t.OF_NEAREST * stats.chi2.isf(math.exp(-t.SQUARES_LOGARITHM), freedom)
