"""The reference's three pure functions run unchanged under other arithmetics, and its source keeps them able to.

Leading axes, complex numbers, ndarray subclasses, and object arrays of numbers that know `tanh`.
"""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_ref
from lstm_checks import tolerance
from lstm_checks.arithmetic.complex_step import STEP, ComplexStepArray, derivative
from lstm_checks.arithmetic.monte_carlo import MonteCarloArray, Rounding, exact, spread
from lstm_checks.cases import DTYPES, Arrays, Case
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.oracles.objective import objective, reference_forward
from lstm_checks.tolerance import accepted
from lstm_ref import lstm_backward, lstm_forward, lstm_parameter_gradients

EPS = np.finfo(np.float64).eps

size = st.integers(1, 4)
cases = st.builds(Case, size, size, size, size, seed=st.integers(0, 2**16))


def evaluate_everything(a):
    """Return every array that the three functions return, by name."""
    fc = lstm_forward(a.p, a["X"], a["h0"], a["C0"])
    bc = lstm_backward(a.p, fc, a["dh"], a["dhn"], a["dCn"])
    return fc | bc | lstm_parameter_gradients(fc, bc)


def named(case):
    """Return the case's inputs and cotangents by name."""
    return dict(case.arrays)


def assert_within_rounding(values, case):
    """Assert that outputs and gradients lie within the accepted deviation of the case's expectation."""
    expected = expect(case)
    for name, due in expected.values.items():
        assert values[name].shape == due.shape, name
        assert np.all(np.abs(values[name] - due) <= accepted(expected.sd[name], case.dtype)), name


# Leading axes


@given(case=cases, leading=st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple))
def test_leading_axes_equal_a_loop(case, leading):
    others = [Case(*case.dims, seed=case.seed + k) for k in range(math.prod(leading))]
    stacked = {
        name: np.stack([named(other)[name] for other in others]).reshape(*leading, *value.shape)
        for name, value in named(case).items()
    }
    together = evaluate_reference(Arrays(stacked))
    for k, index in enumerate(np.ndindex(*leading)):
        assert_within_rounding({name: value[index] for name, value in together.items()}, others[k])


# Complex numbers


@given(case=cases)
def test_the_complex_step_equals_bptt(case):
    assert complex_step_disagreement(case, expect(case)).agrees


@given(case=cases, some=st.sets(st.sampled_from(PLAIN.inputs), min_size=1), directions=st.integers(1, 3))
def test_the_real_part_taken_once_gives_what_complex_numbers_give(case, some, directions):
    """`ComplexStepArray` against NumPy's complex numbers, direction by direction, whichever inputs are moved."""
    rng = np.random.default_rng((case.seed, 6))
    inputs = case.arrays.inputs
    along = {name: rng.standard_normal((directions, *inputs[name].shape)) for name in sorted(some)}
    found = derivative(lambda moved: objective(reference_forward(case.cell)(moved), case.arrays), inputs, along)
    assert found.shape == (directions,)
    due = expect(case)
    for k, value in enumerate(found):
        moved = {name: inputs[name] + 1j * STEP * along[name][k] for name in along}
        in_complex_numbers = np.imag(objective(reference_forward(case.cell)({**inputs, **moved}), case.arrays)) / STEP
        sizes = sum(np.sum(np.abs(along[n][k] * due.values[f"d{n}"])) for n in along)
        noise = sum(np.sum(np.abs(along[n][k]) * due.sd[f"d{n}"]) for n in along)
        assert abs(value - in_complex_numbers) <= 2**6 * noise + 2**10 * EPS * sizes


@pytest.mark.parametrize(
    "operation",
    [
        np.log,
        np.sin,
        lambda x: x[0],
        lambda x: np.sum(x, axis=0),
        lambda x: np.add.reduce(x),
        lambda x: np.where(x, 1, 2),
    ],
)
def test_what_the_complex_step_does_not_know_it_refuses(operation):
    with pytest.raises(TypeError, match="not known to the complex step"):
        operation(ComplexStepArray(np.ones((2, 3)), np.ones((1, 2, 3))))


@given(case=cases)
def test_complex_numbers_on_the_real_axis_give_the_real_result(case):
    values = evaluate_everything(Arrays({name: value.astype(complex) for name, value in named(case).items()}))
    assert all(value.dtype == complex for value in values.values())
    assert all(not value.imag.any() for value in values.values())
    values |= {"Cn": values["C_"][:, -1]}
    assert_within_rounding({name: value.real for name, value in values.items()}, case)


@given(case=cases)
def test_the_hessian_is_symmetric(case):
    """The complex step through the backward pass is H v; it knows nothing of how the gradient came about."""
    step, arrays = 1e-30, case.arrays
    rng = np.random.default_rng((case.seed, 5))
    v, w = ({name: rng.standard_normal(value.shape) for name, value in arrays.inputs.items()} for _ in range(2))

    def hessian_times(direction):
        moved = {name: value + 1j * step * direction[name] for name, value in arrays.inputs.items()}
        gradient = evaluate_reference(Arrays(moved | arrays.cotangents))
        return {name: gradient[f"d{name}"].imag / step for name in PLAIN.inputs}

    Hv, Hw = hessian_times(v), hessian_times(w)
    wHv, vHw = (sum(np.sum(x[k] * y[k]) for k in PLAIN.inputs) for x, y in ((w, Hv), (v, Hw)))
    sizes = sum(np.sum(np.abs(w[k] * Hv[k]) + np.abs(v[k] * Hw[k])) for k in PLAIN.inputs)
    # Each entry of H v has gone through some 30 operations a step, with cancellation: 2^14 roundings of the sizes.
    assert abs(wHv - vHw) <= 2**14 * EPS * (sizes + 1)


# Subclasses of ndarray


class CountingArray(np.ndarray):
    """An array that counts the operations done on it and its descendants."""

    operations = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        type(self).operations += 1
        plain = [x.view(np.ndarray) if isinstance(x, CountingArray) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **kwargs).view(CountingArray)

    def __array_function__(self, function, types, args, kwargs):
        def strip(value):
            if isinstance(value, tuple | list):
                return type(value)(strip(item) for item in value)
            return value.view(np.ndarray) if isinstance(value, CountingArray) else value

        return function(*strip(args), **kwargs).view(CountingArray)


@given(case=cases)
def test_a_subclass_survives_to_every_output(case):
    before = CountingArray.operations
    values = evaluate_everything(Arrays({k: v.view(CountingArray) for k, v in named(case).items()}))
    assert {type(value) for value in values.values()} == {CountingArray}
    assert CountingArray.operations - before >= 60 * case.s
    plain = evaluate_everything(case.arrays)
    assert all(np.array_equal(values[name].view(np.ndarray), plain[name]) for name in plain)


@given(case=cases, dtype=st.sampled_from(DTYPES))
def test_monte_carlo_arrays_survive_to_every_output_and_leave_copy_0_exact(case, dtype):
    rounding = Rounding(tolerance.UNIT_ROUNDOFF[dtype], 0.0, 64.0, np.random.default_rng(case.seed), 3)
    values = evaluate_everything(Arrays({k: exact(v, rounding) for k, v in named(case).items()}))
    assert {type(value) for value in values.values()} == {MonteCarloArray}
    first = {name: value.view(np.ndarray)[0] for name, value in values.items()}
    assert_within_rounding(first | {"Cn": first["C_"][:, -1]}, case)
    h = values["h"].view(np.ndarray)
    assert not np.array_equal(h[0], h[1])


def test_the_noise_of_one_operation_has_the_size_of_its_rounding():
    rounding = Rounding(2.0**-53, 0.0, 64.0, np.random.default_rng(0), 8)
    x, y = (exact(np.random.default_rng(seed).standard_normal((3, 3)), rounding) for seed in (1, 2))
    a, b = (np.abs(v.view(np.ndarray)[0]) for v in (x, y))
    sizes = {
        "x + y": (spread(x + y), np.abs(x.view(np.ndarray)[0] + y.view(np.ndarray)[0])),
        "x * y": (spread(x * y), a * b),
        "x @ y": (spread(x @ y), np.sqrt(3) * (a @ b)),
        "tanh": (spread(np.tanh(x)), np.maximum(1, 2 * np.tanh(a))),
        "sum": (spread(np.sum(x, axis=-1)), np.sqrt(3) * a.sum(-1)),
    }
    for name, ((_, sd), size) in sizes.items():
        # A sign up or down: its square does not vary, so that even 8 copies give the very size.
        np.testing.assert_allclose(sd, 2.0**-53 * size, rtol=0.1, err_msg=name)


def test_what_all_copies_share_gets_noise_of_its_own_in_each():
    rounding = Rounding(2.0**-53, 0.0, 64.0, np.random.default_rng(0), 8)
    x = exact(np.ones((5, 5)), rounding)
    copies = (x + x).view(np.ndarray)
    assert copies.shape == (9, 5, 5)
    assert np.array_equal(copies[0], np.full((5, 5), 2.0))
    assert len({copy.tobytes() for copy in copies}) == 9


def test_what_is_handed_on_as_it_came_has_no_noise():
    rounding = Rounding(2.0**-53, 0.0, 64.0, np.random.default_rng(0), 8)
    value, sd = spread(exact(np.ones((2, 3)), rounding))
    assert np.array_equal(value, np.ones((2, 3)))
    assert np.array_equal(sd, np.zeros((2, 3)))


@given(case=cases, dtype=st.sampled_from(DTYPES))
def test_the_dtype_that_comes_is_the_dtype_that_goes(case, dtype):
    assert {value.dtype for value in evaluate_everything(case.arrays.astype(dtype)).values()} == {np.dtype(dtype)}


# Object arrays


class Dual:
    """A number x + x' d with d^2 = 0: forward-mode differentiation in a dozen lines."""

    def __init__(self, value, slope=0.0):
        self.value, self.slope = value, slope

    def __add__(self, other):
        other = as_dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        other = as_dual(other)
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __rsub__(self, other):
        return as_dual(other) + self * -1.0

    __radd__, __rmul__ = __add__, __mul__

    def tanh(self):
        value = math.tanh(self.value)
        return Dual(value, (1 - value * value) * self.slope)


def as_dual(x):
    """Return a number as a dual one."""
    return x if isinstance(x, Dual) else Dual(float(x))


@given(case=cases)
def test_object_arrays_of_dual_numbers_give_values_and_forward_derivatives(case):
    """A third derivative: forward mode along v equals the inner product of v with BPTT's gradient."""
    arrays = case.arrays
    rng = np.random.default_rng((case.seed, 9))
    v = {name: rng.standard_normal(value.shape) for name, value in arrays.inputs.items()}
    along = v | {name: np.zeros(value.shape) for name, value in arrays.cotangents.items()}
    dual = np.frompyfunc(Dual, 2, 1)
    values = evaluate_everything(Arrays({k: dual(x, along[k]) for k, x in named(case).items()}))
    values["Cn"] = values["C_"][:, -1]
    assert all(value.dtype == object for value in values.values())
    value_of = np.frompyfunc(lambda x: x.value, 1, 1)
    slope_of = np.frompyfunc(lambda x: x.slope, 1, 1)
    assert_within_rounding({name: value_of(x).astype(float) for name, x in values.items()}, case)

    h, Cn = (slope_of(values[name]).astype(float) for name in ("h", "Cn"))
    terms = [arrays["dh"] * h, arrays["dhn"] * h[:, -1], arrays["dCn"] * Cn]
    expected = expect(case)
    gradient = {name: expected.values[f"d{name}"] for name in PLAIN.inputs}
    due = sum(np.sum(v[name] * gradient[name]) for name in PLAIN.inputs)
    sd = sum(np.sum(np.abs(v[name]) * expected.sd[f"d{name}"]) for name in PLAIN.inputs)
    terms_size = sum(np.sum(np.abs(term)) for term in terms)
    products = sum(np.sum(np.abs(v[name] * gradient[name])) for name in PLAIN.inputs)
    # Both carry the forward pass's rounding, hence the root, and each the rounding of its own sums.
    limit = tolerance.SIGMAS * (np.sqrt(2) * sd + 4 * EPS * (terms_size + products))
    assert abs(sum(np.sum(term) for term in terms) - due) <= limit


# The source

SOURCES = [
    Path(lstm_ref.__file__).parent / f"{name}.py"
    for name in ("forward", "backward", "gradients", "activations", "other_activations")
]
ALLOCATIONS = {"zeros", "empty", "ones", "full", "array", "asarray"}


def offences(source):
    """Yield what in a source would tie it to one arithmetic."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.AugAssign):
            yield f"line {line}: augmented assignment"
        elif isinstance(node, ast.keyword) and node.arg in ("dtype", "out"):
            yield f"line {line}: {node.arg}="
        elif isinstance(node, ast.Attribute):
            is_numpy = isinstance(node.value, ast.Name) and node.value.id == "np"
            if node.attr == "astype" or (is_numpy and node.attr in {*ALLOCATIONS, "where", "float64", "float32"}):
                yield f"line {line}: {node.attr}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_source_names_no_dtype_allocates_nothing_and_hides_no_equation(path):
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    ["h += x", "np.sum(x, dtype=float)", "np.zeros(3)", "np.empty(3)", "np.where(x, 1, 0)", "x.astype(float)"],
)
def test_the_source_test_sees_an_offence(line):
    assert list(offences(line))


def test_every_forward_equation_is_cited_once():
    source = SOURCES[0].read_text()
    cited = ["(1f)", "(1i)", "(1g)", "(1o)", *(f"({k})" for k in range(2, 9))]
    assert all(source.count(f"# {number}") == 1 for number in cited)
