"""What a layer promises, of both packages alike: values, the meaning of every entry of fc and bc, and the rest.

Values are compared with the reference's own equations under Monte Carlo arithmetic (`expect`);
single equations with themselves in float64, evaluated on the operands that the layer says it used.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from agreement import assert_as_expected
from hypothesis import assume, example, given
from hypothesis import strategies as st

import lstm_fast
import lstm_ref
from lstm_checks.cases import COTANGENTS, DTYPES, Case
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.expected import expect

both_packages = pytest.mark.parametrize("package", [lstm_ref, lstm_fast], ids=lambda package: package.__name__)

FORWARD = ("hp", "Cp_", "f_", "f", "i_", "i", "g_", "g", "o_", "o", "C_", "C", "h")
BACKWARD = ("dhn", "dh_", "dCn", "dC_", "do_", "dg_", "di_", "df_", "dh", "dC")


def cases(regimes=("normal", "x1e-3", "x10", "mixed", "zero"), dtypes=DTYPES):
    """Return the strategy of small cases."""
    size = st.integers(1, 5)
    return st.builds(
        Case,
        size,
        size,
        size,
        size,
        dtype=st.sampled_from(dtypes),
        regime=st.sampled_from(regimes),
        cotangents=st.sampled_from(COTANGENTS),
        states=st.booleans(),
        seed=st.integers(0, 2**16),
    )


def make_layer(package, case, **options):
    """Return a layer that holds the case's parameters."""
    layer = package.LSTM(case.u, sequences=case.sequences, dtype=case.dtype, rng=0, **options)
    layer.compute_shapes(case.arrays["X"])
    layer.initialize_parameters()
    layer.p.update({name: value.copy() for name, value in case.arrays.p.items()})
    return layer


def run_layer(layer, case):
    """Return what forward, backward and compute_gradients give, by the contract's names."""
    arrays = case.arrays
    h = layer.forward(arrays["X"], arrays["h0"], arrays["C0"])
    Cn = layer.fc["C_"][:, -1]
    dX = layer.backward(arrays["dh"] if case.sequences else arrays["dh"][:, -1], arrays["dhn"], arrays["dCn"])
    layer.compute_gradients()
    return {"h": h, "Cn": Cn, "dX": dX, "dh0": layer.bc["dh0"], "dC0": layer.bc["dC0"], **layer.g}


@both_packages
@given(case=cases())
def test_forward_and_backward_give_what_is_due(package, case):
    assert_as_expected(run_layer(make_layer(package, case), case), case)


@both_packages
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sequences_and_dtype_decide_the_form_of_the_output(package, sequences, dtype):
    case = Case(2, 4, 3, 5, dtype=dtype, cotangents="every" if sequences else "last")
    layer = make_layer(package, case)
    values = run_layer(layer, case)
    assert values["h"].shape == ((2, 4, 5) if sequences else (2, 5))
    assert {value.dtype for value in (*values.values(), *layer.p.values())} == {np.dtype(dtype)}
    assert np.array_equal(layer.fc["A"], values["h"])
    assert np.array_equal(values["h"], layer.fc["h"] if sequences else layer.fc["h"][:, -1])


@both_packages
@given(case=cases(regimes=("normal",)))
def test_states_and_their_cotangents_are_zero_when_left_out(package, case):
    layer, zero = make_layer(package, case), np.zeros((case.m, case.u), case.dtype)
    A = layer.forward(case.arrays["X"])
    dX = layer.backward(A)
    dh0, dC0 = layer.bc["dh0"], layer.bc["dC0"]
    assert np.array_equal(A, layer.forward(case.arrays["X"], zero, zero))
    assert np.array_equal(dX, layer.backward(A, zero, zero))
    assert np.array_equal(dh0, layer.bc["dh0"])
    assert np.array_equal(dC0, layer.bc["dC0"])


@both_packages
@given(case=cases(regimes=("normal",), dtypes=("float64",)))
def test_a_final_state_passed_on_continues_the_sequence(package, case):
    """Two halves with the state handed over are the whole, forward and backward."""
    assume(case.s > 1)
    arrays, half = case.arrays, case.s // 2
    layer = make_layer(package, Case(case.m, case.s, case.e, case.u, seed=case.seed))
    first, second = arrays["X"][:, :half], arrays["X"][:, half:]
    layer.forward(first, arrays["h0"], arrays["C0"])
    state = layer.fc["h"][:, -1].copy(), layer.fc["C_"][:, -1].copy()
    h2 = layer.forward(second, *state)
    dX2 = layer.backward(arrays["dh"][:, half:], arrays["dhn"], arrays["dCn"])
    layer.compute_gradients()
    g2 = {name: value.copy() for name, value in layer.g.items()}
    passed = layer.bc["dh0"].copy(), layer.bc["dC0"].copy()
    h1 = layer.forward(first, arrays["h0"], arrays["C0"])
    dX1 = layer.backward(arrays["dh"][:, :half], *passed)
    layer.compute_gradients()
    values = {name: value + g2[name] for name, value in layer.g.items()}
    values |= {"h": np.concatenate([h1, h2], 1), "Cn": expect(case).values["Cn"], "dX": np.concatenate([dX1, dX2], 1)}
    values |= {"dh0": layer.bc["dh0"], "dC0": layer.bc["dC0"]}
    values["h"] = values["h"] if case.sequences else values["h"][:, -1]
    assert_as_expected(values, case)


def shift_to_previous_step(passed, final):
    """Return what arrives at each step from the next one, and `final` at the last."""
    return np.concatenate([passed[:, 1:], final[:, np.newaxis]], axis=1)


def equations(p, v, case):
    """Yield (name, what its equation gives on the layer's own operands, size of the terms that were added up)."""
    for k in "figo":
        U, V, b = (p[kind + k] for kind in "UVb")
        size = abs(v["X"]) @ abs(U) + abs(v["hp"]) @ abs(V) + abs(b)
        yield f"{k}_", v["X"] @ U + v["hp"] @ V + b, size
    for k in "fio":
        yield k, 1 / (1 + np.exp(-v[f"{k}_"])), 1 + abs(v[f"{k}_"])  # what rounding the argument costs: sigmoid' < 1
    yield "g", np.tanh(v["g_"]), 1 + abs(v["g_"])
    yield "C_", v["f"] * v["Cp_"] + v["i"] * v["g"], abs(v["f"] * v["Cp_"]) + abs(v["i"] * v["g"])
    yield "C", np.tanh(v["C_"]), 1 + abs(v["C_"])
    yield "h", v["o"] * v["C"], abs(v["o"] * v["C"])
    for name, state in (("hp", "h"), ("Cp_", "C_")):
        first = {"hp": case.arrays["h0"], "Cp_": case.arrays["C0"]}[name][:, np.newaxis]
        yield name, np.concatenate([first, v[state][:, :-1]], axis=1), 0

    dA = case.arrays["dh"]  # without the part that arrives as dhn
    yield "dA", dA, 0
    yield "dh_", v["dA"] + v["dhn"], abs(v["dA"]) + abs(v["dhn"])
    yield "dC_", v["dh_"] * v["o"] * (1 - v["C"] ** 2) + v["dCn"], abs(v["dh_"] * v["o"]) + abs(v["dCn"])
    yield "dC", v["dC_"] * v["f"], abs(v["dC_"] * v["f"])
    terms = {name: [(v[f"d{k}_"], p[kind + k].T) for k in "figo"] for name, kind in (("dX", "U"), ("dh", "V"))}
    sizes = {name: sum(abs(x) @ abs(y) for x, y in pairs) for name, pairs in terms.items()}
    # What the cotangents on their way back were added up from: dh_ and dC_ may cancel to far less than their terms,
    # and a layer may keep them of another rounding (BLAS sums in another order) than it used. The factors on the way,
    # o, 1 - C^2 and f, enlarge no error.
    drift = (sizes["dh"] + abs(v["dA"]) + abs(v["dhn"]) + abs(v["dCn"])).sum(axis=1, keepdims=True)
    for k, factor in (("o", v["C"]), ("i", v["g"]), ("f", v["Cp_"])):
        by = v["dh_" if k == "o" else "dC_"]
        yield f"d{k}_", by * factor * v[k] * (1 - v[k]), abs(factor) * v[k] * (abs(by) + (1 - v[k]) * drift)
    yield "dg_", v["dC_"] * v["i"] * (1 - v["g"] ** 2), v["i"] * (abs(v["dC_"]) + (1 - v["g"] ** 2) * drift)
    for name, pairs in terms.items():
        yield name, sum(x @ y for x, y in pairs), sizes[name]
    yield "dhn", shift_to_previous_step(v["dh"], case.arrays["dhn"]), 0
    yield "dCn", shift_to_previous_step(v["dC"], case.arrays["dCn"]), 0
    yield "dh0", v["dh"][:, 0], sizes["dh"][:, 0]
    yield "dC0", v["dC"][:, 0], drift[:, 0]


@both_packages
@given(case=cases())
@example(case=Case(1, 4, 1, 3, cotangents="every+h", states=True))  # dC_ cancels to 0.5 % of its terms
def test_every_entry_of_fc_and_bc_satisfies_its_equation(package, case):
    """Each entry is its equation's value up to the roundings of that one equation.

    A sum of n products is off by at most n + 1 roundings of the sum of sizes; n <= 4 u + 2 e <= 30 here, and
    twice that because the layer may keep an operand of another rounding than it used itself.
    """
    layer = make_layer(package, case)
    run_layer(layer, case)
    caches = {**layer.fc, **layer.bc}
    assert {*FORWARD, "X", "A"} <= set(layer.fc)
    assert {*BACKWARD, "dA", "dX", "dh0", "dC0"} <= set(layer.bc)
    assert all(value.dtype == case.dtype for value in caches.values())
    assert all(caches[name].shape == (case.m, case.s, case.u) for name in (*FORWARD, *BACKWARD))
    v = {name: value.astype(np.float64) for name, value in caches.items()}
    p = {name: value.astype(np.float64) for name, value in layer.p.items()}
    assert np.array_equal(v["X"], case.arrays["X"])
    eps, tiny = np.finfo(case.dtype).eps, np.finfo(case.dtype).tiny
    with np.errstate(over="ignore"):
        for name, due, size in equations(p, v, case):
            assert np.all(np.abs(v[name] - due) <= 64 * eps * size + 64 * tiny), name


@both_packages
def test_shapes_follow_the_input(package):
    layer = package.LSTM(4)
    layer.compute_shapes(np.zeros((2, 5, 3)))
    assert layer.d == {"m": 2, "s": 5, "e": 3, "u": 4}
    due = {"X": (2, 5, 3), "Ug": (3, 4), "Vg": (4, 4), "bg": (1, 4), "h": (2, 5, 4), "C": (2, 5, 4)}
    assert {name: layer.fs[name] for name in due} == due
    layer.initialize_parameters()
    layer.forward(np.zeros((7, 1, 3)))
    assert layer.d == {"m": 7, "s": 1, "e": 3, "u": 4}
    assert layer.fs["h"] == (7, 1, 4)


def ones_over_row(shape, rng):
    """Return a user's own initialization, which draws from the generator."""
    return np.arange(1, shape[0] + 1)[:, np.newaxis] * rng.uniform(size=shape[1])


@given(
    e=st.integers(1, 9),
    u=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(["orthogonal", "xavier", "user's"]),
)
def test_equal_seeds_give_equal_parameters_in_both_packages(e, u, seed, dtype, name):
    found = []
    for package in (lstm_ref, lstm_fast):
        initialization = getattr(package, name, ones_over_row)
        for rng in (seed, np.random.default_rng(seed)):
            layer = package.LSTM(u, initialization=initialization, dtype=dtype, rng=rng)
            layer.compute_shapes(np.zeros((1, 1, e), dtype))
            layer.initialize_parameters()
            found.append({name: np.array(layer.p[name]) for name in PLAIN.parameters})
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in PLAIN.parameters)
    assert all(value.dtype == dtype for value in found[0].values())
    assert all(not found[0][f"b{gate}"].any() for gate in "figo")


@both_packages
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_orthogonal_has_orthonormal_rows_or_columns_and_xavier_its_variance(package, rows, columns, seed):
    q = package.orthogonal((rows, columns), np.random.default_rng(seed))
    gram = q @ q.T if rows < columns else q.T @ q
    # Householder QR: off by at most about n^(3/2) roundings in norm (Higham 2002, section 19.3), n <= 12.
    assert np.abs(gram - np.eye(min(rows, columns))).max() <= 12**1.5 * 8 * np.finfo(float).eps
    x = package.xavier((rows, columns), np.random.default_rng(seed))
    due = np.random.default_rng(seed).standard_normal((rows, columns)) * np.sqrt(2 / (rows + columns))
    assert np.array_equal(x, due)


@both_packages
def test_initialization_is_asked_for_U_then_V_of_f_i_g_o(package):
    asked, rng = [], np.random.default_rng(3)

    def initialization(shape, generator):
        asked.append(shape)
        assert generator is rng
        return np.full(shape, len(asked))

    layer = package.LSTM(2, initialization=initialization, rng=rng)
    layer.compute_shapes(np.zeros((1, 1, 3)))
    layer.initialize_parameters()
    assert asked == [(3, 2), (2, 2)] * 4
    order = [kind + gate for gate in "figo" for kind in "UV"]
    assert [int(layer.p[name][0, 0]) for name in order] == list(range(1, 9))


@both_packages
@given(
    dtype=st.sampled_from(DTYPES),
    clip=st.sampled_from([False, True, 1e-3, 0.5, 1, 1e9]),
    exponent=st.integers(-300, 300),
    seed=st.integers(0, 99),
)
def test_clipping_limits_the_global_norm_and_keeps_the_direction(package, dtype, clip, exponent, seed):
    if dtype == "float32":
        exponent //= 8.34  # to 1e36: the gradients themselves stay finite
    case = Case(2, 3, 2, 3, dtype=dtype, cotangents="every", seed=seed)
    layer = make_layer(package, case)
    layer.forward(case.arrays["X"])
    layer.backward(case.arrays["dh"] * np.dtype(dtype).type(10.0**exponent))
    layer.compute_gradients()
    free = {name: value.astype(np.longdouble) for name, value in layer.g.items()}
    layer.clip_gradients = clip
    layer.compute_gradients()
    norm = np.sqrt(sum(np.sum(value * value) for value in free.values()))
    limit = {False: np.inf, True: 0.25}.get(clip, clip) if isinstance(clip, bool) else clip
    factor = min(np.longdouble(1), limit / norm)
    # Some ten roundings, and some fifty in the sum of squares, of which the root takes half.
    rtol, atol = 64 * np.finfo(dtype).eps, 4 * np.finfo(dtype).tiny
    for name, value in free.items():
        assert layer.g[name].dtype == dtype
        assert np.all(np.abs(layer.g[name] - value * factor) <= rtol * np.abs(value * factor) + atol), name
    if factor == 1:
        assert all(np.array_equal(layer.g[name], value) for name, value in free.items())


@both_packages
@pytest.mark.parametrize(("dtype", "size", "limit"), [("float32", 1e37, 1e-6), ("float64", 1e307, 1e-6)])
def test_clipping_is_exact_where_limit_over_norm_is_subnormal(package, dtype, size, limit):
    case = Case(2, 3, 2, 3, dtype=dtype, cotangents="every", seed=1)
    layer = make_layer(package, case)
    A = layer.forward(case.arrays["X"])
    layer.backward(np.full_like(A, size))
    layer.compute_gradients()
    free = {name: value.astype(np.longdouble) for name, value in layer.g.items()}
    layer.clip_gradients = limit
    layer.compute_gradients()
    norm = np.sqrt(sum(np.sum(value * value) for value in free.values()))
    for name, value in free.items():
        due = value * (limit / norm)
        assert np.all(np.abs(layer.g[name] - due) <= 64 * np.finfo(dtype).eps * np.abs(due)), name


@both_packages
@given(case=cases(regimes=("normal",)), epoch=st.integers(0, 2))
def test_update_takes_the_rate_of_the_epoch(package, case, epoch):
    layer = make_layer(package, case)
    run_layer(layer, case)
    before = {name: np.array(layer.p[name]) for name in PLAIN.parameters}
    layer.lrate, layer.e = [0.1, 0.02, 0.003], epoch
    layer.update_parameters()
    rate = np.dtype(case.dtype).type(layer.lrate[epoch])
    for name in PLAIN.parameters:
        assert np.array_equal(layer.p[name], before[name] - rate * layer.g[f"d{name}"]), name
        assert layer.p[name].dtype == case.dtype


@both_packages
@given(case=cases(regimes=("normal",), dtypes=("float64",)))
def test_the_four_functions_work_on_any_object_with_the_dicts(package, case):
    worked = make_layer(lstm_ref, case)
    due = run_layer(worked, case)
    plain = SimpleNamespace(d={"u": case.u}, fs={}, p={}, fc=dict(worked.fc), bc=dict(worked.bc), g={})
    plain.initialization, plain.np_rng = package.xavier, np.random.default_rng(5)
    package.lstm_compute_shapes(plain, case.arrays["X"])
    assert plain.d == worked.d
    package.lstm_initialize_parameters(plain)
    rng = np.random.default_rng(5)
    for name in (kind + gate for gate in "figo" for kind in "UV"):
        assert np.array_equal(plain.p[name], package.xavier(plain.fs[name], rng)), name
    package.lstm_compute_gradients(plain)
    assert_as_expected(due | plain.g, case)
    plain.lrate, plain.e, before = {7: 0.5}, 7, {name: value.copy() for name, value in plain.p.items()}
    package.lstm_update_parameters(plain)
    assert all(np.array_equal(plain.p[name], before[name] - 0.5 * plain.g[f"d{name}"]) for name in PLAIN.parameters)
    plain.clip_gradients = 1e-3
    package.lstm_compute_gradients(plain)
    norm = np.sqrt(sum(np.sum(value * value) for value in plain.g.values()))
    assert norm <= 1e-3 * (1 + 64 * np.finfo(float).eps)
