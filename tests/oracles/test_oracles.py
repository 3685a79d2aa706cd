"""The oracles' own figures, computed a second time: what check_grad and the complex step accept, and what they cost."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from lstm_checks import tolerance
from lstm_checks.arithmetic.monte_carlo import MonteCarloArray
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN
from lstm_checks.faults.model import fault_target
from lstm_checks.oracles import expected as expecting
from lstm_checks.oracles.check_grad import check_grad, objective_terms
from lstm_checks.oracles.complex_step import (
    _Directions,
    complex_step_disagreement,
    complex_step_gradient,
    complex_step_noise,
)
from lstm_checks.oracles.expected import Expected, _seconds, estimate_large, evaluate_reference, expect
from lstm_checks.oracles.objective import reference_forward
from lstm_checks.strategies import cases
from lstm_checks.targets.layer import from_layer
from lstm_ref import LSTM, lstm_forward

SMALL = cases(regimes=("normal", "init"), max_dims=(3, 4, 3, 3), dtypes=("float64", "float32"))
CASE = Case(2, 3, 2, 3, seed=4)
TINY = Case(1, 2, 1, 1, seed=4)
assert TINY.size <= tolerance.COMPLEX_STEP_ALL < CASE.size


@settings(max_examples=40)
@given(case=SMALL, data=st.data(), direction=st.sampled_from(["all", "random"]), error=st.sampled_from([0, 1e-7, 1e-3]))
def test_check_grad_is_scipys_over_its_threshold(case, data, direction, error):
    """Of what is fixed nothing is asked; a forward pass may give the last step alone."""
    case = replace(case, m=min(case.m, 2), s=min(case.s, 3), e=min(case.e, 2), u=min(case.u, 2))
    fixed = frozenset(data.draw(st.sets(st.sampled_from(PLAIN.inputs), max_size=10)))
    last, dtype = data.draw(st.booleans()), case.dtype
    names = [name for name in PLAIN.inputs if name not in fixed]
    expected = expect(case)
    a = case.arrays.astype(np.float64)
    dh_last = a["dh"][:, -1] + a["dhn"]
    if last:
        a["dh"][:, :-1] = 0
        expected = expected.as_returned(True, PLAIN)
    dh = np.concatenate([a["dh"][:, :-1], dh_last[:, np.newaxis]], axis=1)
    passes = []

    def forward(inputs):
        outputs = reference_forward(case.cell)(inputs)
        passes.append(1)
        return {**outputs, "h": outputs["h"][:, -1]} if last else outputs

    gradient = {name: value * (1 + error) for name, value in expected.values.items()}
    found = check_grad(forward, gradient, case, expected, direction, fixed)

    def f(x):
        inputs, start = dict(a.inputs), 0
        for name in names:
            inputs[name] = x[start : start + inputs[name].size].reshape(inputs[name].shape)
            start += inputs[name].size
        fc = lstm_forward({name: inputs[name] for name in PLAIN.parameters}, inputs["X"], inputs["h0"], inputs["C0"])
        return np.sum(dh * fc["h"]) + np.sum(a["dCn"] * fc["C_"][:, -1])

    def row(by, prefix):
        return np.concatenate([by[prefix + name].ravel() for name in names])

    x, g, sd, eps = row(a.inputs, ""), row(gradient, "d"), row(expected.sd, "d"), 2.0**-26
    h, Cn = reference_forward(case.cell)(a.inputs).values()
    blur_h, blur_Cn = (expected.sd[name] / tolerance.UNIT_ROUNDOFF[dtype] for name in ("h", "Cn"))
    if blur_h.ndim == 2:
        blur_h = np.concatenate([0 * h[:, :-1], blur_h[:, np.newaxis]], axis=1)
    terms = np.sum(np.abs(dh) * np.maximum(np.abs(h), blur_h)) + np.sum(
        np.abs(a["dCn"]) * np.maximum(np.abs(Cn), blur_Cn)
    )
    noise = 2 * 2.0**-53 / eps * (terms + abs(f(x)) + np.sum(np.abs(g * x)))

    def difference(k, v):
        return (f(x + k * eps * v) - f(x)) / (k * eps)

    if direction == "all":
        units = np.eye(x.size)
        once, twice = (np.array([difference(k, v) for v in units]) for k in (1, 2))
        error, noise = np.linalg.norm(once - g), np.sqrt(x.size) * noise
        limits = [2 * np.linalg.norm(twice - once) + noise + 6 * np.linalg.norm(sd)]
    else:
        v = np.random.default_rng(case.seed).standard_normal(x.size)
        error = abs(difference(1, v) - g @ v)
        bends = [abs(difference(k, v) - difference(1, v)) / abs(k - 1) for k in tolerance.CHECK_GRAD_MULTIPLES]
        limits = [2 * max(bends[: n + 1]) + noise + 6 * np.sum(np.abs(v) * sd) for n in range(len(bends))]
        assert error == pytest.approx(
            optimize.check_grad(f, lambda x: g, x, direction="random", rng=case.seed), rel=1e-3, abs=noise / 4
        )
    assert found.where == direction
    # The bends are looked at one by one, until the error is accepted, a pass each: SciPy's two, one at x and one a step
    # ahead, and the last bend's. Differences have rounding errors of their own: fractions of the noise, but where the
    # step is halved, and what it brings doubled again.
    slack = [0.02 * limit + noise * (1 if n == 0 else 2) for n, limit in enumerate(limits)]
    surely = [error < limit - by for limit, by in zip(limits, slack, strict=True)]
    last_bend = surely.index(True) if any(surely) else len(limits) - 1
    ends = [n for n in range(last_bend + 1) if error < limits[n] + slack[n] or n == len(limits) - 1]
    close = [n for n in ends if abs(found.use * limits[n] - error) <= (1 + found.use) * slack[n]]
    assert close
    assert direction == "all" or len(passes) <= 3 + last_bend + 1
    assert found.agrees == (found.use <= 1)


@pytest.mark.parametrize("direction", ["all", "random"])
def test_check_grad_is_granted_twice_what_the_function_bends(direction):
    """The outputs grow with the squared distance from the case: its gradient is zero, and a difference never is."""
    at = TINY.arrays.inputs
    sd = {name: np.zeros_like(value) for name, value in expect(TINY).values.items()}

    def forward(inputs):
        far = sum(np.sum(np.square(inputs[name] - at[name])) for name in PLAIN.inputs)
        return {"h": np.full((1, 2, 1), far), "Cn": np.zeros((1, 1))}

    found = check_grad(forward, sd, TINY, Expected({}, sd, "float64"), direction)
    assert found.use == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_terms_of_the_objective_are_its_outputs_sizes_or_their_noise_where_that_is_larger(last, dtype):
    a = CASE.arrays.astype(np.float64)
    rng = np.random.default_rng(0)
    h, Cn = rng.standard_normal((2, 3, 3)), rng.standard_normal((2, 3))
    rho = tolerance.UNIT_ROUNDOFF[dtype]
    blur = {"h": rng.uniform(0, 2, h.shape), "Cn": rng.uniform(0, 2, Cn.shape)}
    dh = a["dh"] + np.array([0, 0, 1])[:, np.newaxis] * a["dhn"][:, np.newaxis]
    steps = [2] if last else [0, 1, 2]
    due = sum(np.sum(np.abs(dh[:, t]) * np.maximum(np.abs(h[:, t]), blur["h"][:, t])) for t in steps)
    due += np.sum(np.abs(a["dCn"]) * np.maximum(np.abs(Cn), blur["Cn"]))
    sd = {name: rho * value for name, value in blur.items()}
    expected = Expected({"h": h, "Cn": Cn}, sd, dtype).as_returned(last, PLAIN)
    found = objective_terms(expected.values, a, expected)
    assert found == pytest.approx(due)


def test_a_gradient_of_nothing_is_right_only_if_it_is_zero():
    case = replace(CASE, seed=0)
    zero = {name: 0 * value for name, value in expect(case).values.items()}
    expected = Expected(zero, zero, "float64")
    nothing = {"h": np.zeros((2, 3, 3)), "Cn": np.zeros((2, 3))}

    def forward(inputs):
        return nothing

    for direction in ("all", "random"):
        assert check_grad(forward, zero, case, expected, direction).use == 0
        wrong = zero | {"dbf": zero["dbf"] + 1}
        assert check_grad(forward, wrong, case, expected, direction).use > 1
        assert not check_grad(forward, zero | {"dbf": zero["dbf"] * np.nan}, case, expected, direction).agrees


@settings(max_examples=25)
@given(
    data=st.data(),
    name=st.sampled_from(PLAIN.inputs),
    times=st.sampled_from([0.3, 0.8, 20.0, np.nan]),
    wide=st.booleans(),
)
def test_the_complex_step_finds_the_entry_that_is_off_and_by_how_much(data, name, times, wide):
    case = replace(TINY, seed=data.draw(st.integers(0, 9)))
    expected = expect(case)
    # With much noise granted, that of the complex step itself is nothing beside it.
    expected = replace(expected, sd={n: (1e6 if wide else 1) * sd + 1e-18 for n, sd in expected.sd.items()})
    at = tuple(data.draw(st.integers(0, k - 1)) for k in case.arrays.inputs[name].shape)
    value = expected.values["d" + name].copy()
    value[at] += times * 6 * expected.sd["d" + name][at]
    found = complex_step_disagreement(case, replace(expected, values=expected.values | {"d" + name: value}))
    if wide and not np.isnan(times):
        assert found.use == pytest.approx(times, rel=1e-3)
        assert found.where == f"d{name}{list(at)}"
    elif times == 20:
        # Less by the complex step's own noise, which is of the same order.
        assert 1 < found.use < 25
        assert found.where == f"d{name}{list(at)}"
    elif np.isnan(times):
        assert (found.use, found.where) == (np.inf, f"d{name}{list(at)}")
        assert not found.agrees


@settings(max_examples=15)
@given(name=st.sampled_from(PLAIN.inputs), seed=st.integers(0, 99), times=st.floats(2, 100))
def test_along_random_directions_every_tensors_error_counts(name, seed, times):
    case = replace(CASE, seed=seed)
    expected = expect(case)
    wide = replace(expected, sd={n: 1e6 * sd for n, sd in expected.sd.items()})
    wrong = expected.values | {"d" + name: expected.values["d" + name] + times * wide.sd["d" + name]}
    found = complex_step_disagreement(case, replace(wide, values=wrong))
    rng = np.random.default_rng((seed, 1))
    directions = {n: rng.standard_normal((8, *value.shape)) for n, value in case.arrays.inputs.items()}
    off, granted = np.zeros(8), np.zeros(8)
    for n, v in directions.items():
        axes = tuple(range(1, v.ndim))
        off += np.sum(v * times * wide.sd["d" + n], axis=axes) * (n == name)
        granted += 6 * np.sum(np.abs(v) * wide.sd["d" + n], axis=axes)
    assert found.use == pytest.approx(np.max(np.abs(off) / granted), rel=1e-3)
    assert found.where == f"random direction {np.argmax(np.abs(off) / granted)}"


@pytest.mark.parametrize("dims", [(1, 1, 1, 1), (1, 2, 1, 2), (2, 3, 2, 3)])
def test_what_is_exactly_zero_agrees(dims):
    """Without a state before the one step nothing arrives at the forget gate."""
    case = Case(*dims, states=False, cotangents="every")
    assert complex_step_disagreement(case, expect(case)).agrees
    zero = {name: 0 * value for name, value in expect(case).values.items()}
    assert not complex_step_disagreement(case, Expected(zero, zero, "float64")).agrees


def test_of_what_is_exactly_zero_next_to_nothing_is_too_much():
    case = Case(1, 1, 1, 1, states=False)
    expected = expect(case)
    tiny = replace(expected, values=expected.values | {"dVf": np.full((1, 1), 1e-200)})
    found = complex_step_disagreement(case, tiny)
    assert (found.where, found.agrees) == ("dVf[0, 0]", False)


def test_of_a_doubtful_entry_the_complex_steps_own_noise_is_measured(monkeypatch):
    """With little noise granted every entry is doubtful, and the own noise of the most doubtful ones is asked for."""
    monkeypatch.setattr(tolerance, "COMPLEX_STEP_ALL", CASE.size)
    expected = expect(CASE)
    assert TINY.size <= tolerance.COMPLEX_STEP_RETAKEN < CASE.size
    blind = replace(expect(TINY), sd={n: 1e-6 * sd for n, sd in expect(TINY).sd.items()})
    assert complex_step_disagreement(TINY, blind).agrees
    last = expected.sd | {name: 1e-6 * expected.sd[name] for name in ("dX", "dh0", "dC0")}
    assert sum(last[name].size for name in ("dX", "dh0", "dC0")) <= tolerance.COMPLEX_STEP_RETAKEN
    assert complex_step_disagreement(CASE, replace(expected, sd=last)).agrees


@pytest.mark.parametrize("more", [0, 1])
def test_a_limit_of_size_belongs_to_what_is_looked_at_entry_by_entry(monkeypatch, more):
    monkeypatch.setattr(tolerance, "LARGE", CASE.size - more)
    monkeypatch.setattr(tolerance, "COMPLEX_STEP_ALL", CASE.size - more)
    assert bool(expect(CASE).directions) == bool(more)
    directions = _Directions(CASE, CASE.arrays.astype(np.float64))
    assert directions.every_entry == (not more)
    assert {value.shape[0] for value in directions.random.values()} == {
        1 if more else tolerance.COMPLEX_STEP_DIRECTIONS
    }


def test_of_a_direction_as_many_standard_deviations_are_accepted_as_is_said(monkeypatch):
    monkeypatch.setattr(tolerance, "LARGE", 0)
    one = expect(CASE).directions
    monkeypatch.setitem(tolerance.LARGE_SIGMAS, "direction", 2 * tolerance.LARGE_SIGMAS["direction"])
    for name, (due, accepted) in expect(CASE).directions.items():
        assert np.array_equal(due, one[name][0])
        np.testing.assert_allclose(accepted, 2 * one[name][1])


def test_what_overflows_in_a_faulty_reference_is_not_warned_of():
    def overflowing(arrays):
        np.exp(np.full(1, 1e4))
        return evaluate_reference(arrays)

    assert set(expect(TINY, evaluate=overflowing).values) == {"h", "Cn", *PLAIN.gradients}


def test_the_complex_steps_noise_is_that_of_every_entry_and_about_that_of_reverse_mode():
    sd = expect(CASE).sd
    due = np.concatenate([sd["d" + name].ravel() for name in PLAIN.inputs])
    noise = complex_step_noise(CASE)
    assert noise.shape == due.shape
    assert np.all(noise > 0)
    ratio = noise / due
    assert 0.7 < np.exp(np.mean(np.log(ratio))) < 1.5
    assert 0.02 < ratio.min() < ratio.max() < 20
    chosen = np.array([70, 3, 90])
    some = complex_step_noise(CASE, chosen=chosen)
    assert np.all(np.abs(np.log(some / noise[chosen])) < np.log(2))
    twice = complex_step_noise(CASE, lambda inputs: {n: 2 * k for n, k in reference_forward(CASE.cell)(inputs).items()})
    assert 1.5 < np.exp(np.mean(np.log(twice / noise))) < 2.5


@pytest.mark.parametrize("cotangents", ["every", "last", "last+C", "every+h"])
def test_whether_h_is_that_of_the_last_step_is_told_where_the_target_is_called(cotangents):
    case = replace(TINY, cotangents=cotangents)
    outcome = call_target(from_layer(LSTM), case.arrays.copy(), case.sequences)
    assert outcome.last_step is ("last" in cotangents)
    whole = call_target(fault_target(), case.arrays.copy(), case.sequences)
    assert not whole.last_step
    due = expect(case)
    assert due.as_returned(outcome.last_step, PLAIN).values["h"].shape == outcome.values["h"].shape
    assert due.as_returned(whole.last_step, PLAIN) is due


@given(case=SMALL, steps=st.integers(1, 7))
def test_sums_over_a_few_steps_at_a_time_are_the_whole(case, steps):
    arrays = case.arrays.astype(np.float64)
    whole, parts = evaluate_reference(arrays), evaluate_reference(arrays, steps)
    assert tuple(whole) == tuple(parts)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-9, atol=1e-12)
    gradient = complex_step_gradient(case)
    for name in PLAIN.gradients:
        np.testing.assert_allclose(gradient[name[1:]], whole[name], rtol=1e-7, atol=1e-10)


def test_a_large_case_takes_about_the_memory_that_is_said(monkeypatch):
    monkeypatch.setattr(tolerance, "LARGE", 0)
    for case in (
        Case(1, 1, 200, 40),
        Case(1, 9, 20, 120),
        Case(20, 20, 3, 20),
        Case(90, 2, 150, 3),
        Case(1, 90, 9, 60),
    ):
        said = estimate_large(case)[1]
        tracemalloc.start()
        expect(case)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.2 < peak / said < 2


@settings(max_examples=8)
@given(dims=st.tuples(*[st.integers(1, 500)] * 4), product=st.floats(1e-4, 1), operation=st.floats(1e-4, 1))
def test_the_seconds_said_grow_with_what_there_is_to_do_and_with_the_time_it_takes(dims, product, operation):
    def seconds(dims, *taken):
        with pytest.MonkeyPatch.context() as patch:
            taken = iter(taken)
            patch.setattr(expecting, "_seconds", lambda call: next(taken))
            return estimate_large(Case(*dims))[0]

    m, s, e, u = dims
    products, entries = 4 * m * s * (e + u) * u / 256**3, 4 * s * (e + u) * u / 1024**2
    of_products, of_noise = seconds(dims, product, 0), seconds(dims, 0, operation)
    assert seconds(dims, product, operation) == pytest.approx(of_products + of_noise)
    assert of_products / seconds((1, 1, 1, 1), 1, 0) == pytest.approx(products * product / (4 * 2 / 256**3))
    assert of_noise / seconds((1, 1, 1, 1), 0, 1) == pytest.approx(entries * operation / (4 * 2 / 1024**2))
    # Four rounds of two copies and the noiseless one, forwards and backwards (twice as much), and the other oracles.
    assert 4 * 3 * 3 * products * product <= of_products <= 3 * 4 * 3 * 3 * products * product
    assert 4 * entries * operation <= of_noise <= 20 * 4 * 3 * entries * operation


def test_what_is_timed_is_a_matrix_product_and_an_operation_on_noisy_copies(monkeypatch):
    timed = []
    monkeypatch.setattr(expecting, "_seconds", lambda call: timed.append(call()) or 1.0)
    estimate_large(CASE)
    product, noisy = timed
    assert np.array_equal(product, np.full(product.shape, float(len(product))))
    assert isinstance(noisy, MonteCarloArray)
    assert len(np.unique(noisy.view(np.ndarray))) > 1


def test_of_an_operation_the_least_time_counts_and_not_the_first(monkeypatch):
    ticks, calls = iter(np.cumsum([0, 1, 0, 4, 0, 7, 0, 5])), []
    monkeypatch.setattr(expecting, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert _seconds(lambda: calls.append(1)) == 4
    assert len(calls) == 4
