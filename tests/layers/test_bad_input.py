"""What the layers refuse, and in which words; that a refusal changes nothing; and odd input that is welcome.

Every row of `REFUSALS` is one call: where the layer stands before it, the call, the exception, and words that the
message must hold: the argument's name, what came, and what was expected.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_fast
import lstm_ref
from lstm_checks.cases import DTYPES, Case
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.expected import expect
from lstm_checks.tolerance import accepted

both_packages = pytest.mark.parametrize("package", [lstm_ref, lstm_fast], ids=lambda package: package.__name__)

M, S, E, U = 4, 5, 3, 2
X, STATE, DA = np.full((M, S, E), 0.5), np.full((M, U), 0.25), np.full((M, S, U), 0.125)

NEW, SHAPED, READY, AFTER_FORWARD, AFTER_BACKWARD, DONE = range(6)


def layer_at(package, stage):
    """Return a layer that has come as far as `stage`."""
    layer = package.LSTM(U, sequences=True, rng=0)
    steps = (
        lambda: layer.compute_shapes(X),
        layer.initialize_parameters,
        lambda: layer.forward(X, STATE, STATE),
        lambda: layer.backward(DA),
        layer.compute_gradients,
    )
    for step in steps[:stage]:
        step()
    return layer


def snapshot(layer):
    """Return copies of everything a user can see of a layer."""
    dicts = {name: {k: np.array(v) for k, v in getattr(layer, name).items()} for name in ("p", "fc", "bc", "g")}
    plain = {name: getattr(layer, name) for name in ("sequences", "initialization", "clip_gradients", "dtype", "lrate")}
    return (
        dicts | plain | {"d": dict(layer.d), "fs": dict(layer.fs), "e": layer.e, "rng": layer.rng.bit_generator.state}
    )


def assert_same(before, after):
    """Assert that two snapshots agree in every key, shape, dtype and bit."""
    assert before.keys() == after.keys()
    for name, value in before.items():
        if name not in ("p", "fc", "bc", "g"):
            assert value == after[name], name
            continue
        assert value.keys() == after[name].keys(), name
        for key, array in value.items():
            other = after[name][key]
            assert (array.shape, array.dtype, array.tobytes()) == (other.shape, other.dtype, other.tobytes()), key


class Refusal(NamedTuple):
    """One call that must be refused."""

    what: str
    stage: int
    call: Callable
    error: type[Exception]
    words: tuple[str, ...]


def both(what, error, bad, *words):
    """Return the rows for an X that neither compute_shapes nor forward takes."""
    return [
        Refusal(f"compute_shapes, {what}", NEW, lambda layer: layer.compute_shapes(bad), error, ("X", *words)),
        Refusal(f"forward, {what}", READY, lambda layer: layer.forward(bad), error, ("X", *words)),
    ]


def refused_forward(what, error, arguments, *words):
    """Return the rows for a forward pass that is refused before, and after, a complete pass."""
    return [
        Refusal(f"forward, {what}, {stage}", stage, lambda y: y.forward(*arguments), error, words) for stage in (2, 5)
    ]


def refused_backward(what, error, arguments, *words):
    """Return the rows for a backward pass that is refused after a forward pass, and after a complete pass."""
    return [
        Refusal(f"backward, {what}, {stage}", stage, lambda y: y.backward(*arguments), error, words) for stage in (3, 5)
    ]


REFUSALS = [
    # X
    *both("2 axes", ValueError, X[0], r"\(5, 3\)", "m"),
    *both("4 axes", ValueError, X[None], r"\(1, 4, 5, 3\)"),
    *both("no axes", ValueError, np.float64(1), r"\(\)"),
    *both("no samples", ValueError, X[:0], r"\(0, 5, 3\)", "expected"),
    *both("no steps", ValueError, X[:, :0], r"\(4, 0, 3\)", "expected"),
    *both("no elements", ValueError, X[..., :0], r"\(4, 5, 0\)", "expected"),
    *refused_forward("wrong e", ValueError, (X[..., :2],), "X", r"\(4, 5, 2\)", "expected", "3"),
    *refused_forward("float32", TypeError, (X.astype("f4"),), "X", "float32", "expected float64", "astype"),
    *refused_forward("int", TypeError, (X.astype(int),), "X", "int64", "expected float64"),
    *refused_forward("bool", TypeError, (X.astype(bool),), "X", "bool", "expected float64"),
    *refused_forward("complex", TypeError, (X.astype(complex),), "X", "complex128", "expected float64"),
    *refused_forward("object", TypeError, (X.astype(object),), "X", "object", "expected float64"),
    *refused_forward("text", TypeError, ("X",), "X", "expected float64"),
    *refused_forward("None", TypeError, (None,), "X", "object", "expected float64"),
    # Initial states
    *refused_forward("h0 of one sample", ValueError, (X, STATE[:1]), "h0", r"\(1, 2\)", r"\(4, 2\)"),
    *refused_forward("h0 without samples", ValueError, (X, STATE[0]), "h0", r"\(2,\)", r"\(4, 2\)"),
    *refused_forward("C0 of one unit", ValueError, (X, None, STATE[:, :1]), "C0", r"\(4, 1\)", r"\(4, 2\)"),
    *refused_forward("h0 with an axis more", ValueError, (X, STATE[None]), "h0", r"\(1, 4, 2\)", r"\(4, 2\)"),
    *refused_forward("C0 float32", TypeError, (X, STATE, STATE.astype("f4")), "C0", "float32", "float64"),
    # Cotangents
    *refused_backward("last step only", ValueError, (DA[:, -1],), "dA", r"\(4, 2\)", r"\(4, 5, 2\)"),
    *refused_backward("one sample", ValueError, (DA[:1],), "dA", r"\(1, 5, 2\)", r"\(4, 5, 2\)"),
    *refused_backward("one step", ValueError, (DA[:, :1],), "dA", r"\(4, 1, 2\)", r"\(4, 5, 2\)"),
    *refused_backward("one unit", ValueError, (DA[..., :1],), "dA", r"\(4, 5, 1\)", r"\(4, 5, 2\)"),
    *refused_backward("a number", ValueError, (1.0,), "dA", r"\(\)", r"\(4, 5, 2\)"),
    *refused_backward("float32", TypeError, (DA.astype("f4"),), "dA", "float32", "expected float64"),
    *refused_backward("None", TypeError, (None,), "dA", "object", "expected float64"),
    *refused_backward("dhn of one sample", ValueError, (DA, STATE[:1]), "dhn", r"\(1, 2\)", r"\(4, 2\)"),
    *refused_backward("dCn of one unit", ValueError, (DA, None, STATE[:, :1]), "dCn", r"\(4, 1\)", r"\(4, 2\)"),
    *refused_backward("dCn int", TypeError, (DA, None, STATE.astype(int)), "dCn", "int64", "float64"),
    # Out of order
    *(
        Refusal(f"forward at {stage}", stage, lambda layer: layer.forward(X), RuntimeError, ("parameters", "call"))
        for stage in (NEW, SHAPED)
    ),
    *(
        Refusal(f"backward at {stage}", stage, lambda layer: layer.backward(DA), RuntimeError, ("backward", "forward"))
        for stage in (NEW, SHAPED, READY)
    ),
    *(
        Refusal(f"gradients at {stage}", stage, lambda layer: layer.compute_gradients(), RuntimeError, ("backward",))
        for stage in (NEW, READY, AFTER_FORWARD)
    ),
    Refusal(
        "parameters first", NEW, lambda y: y.initialize_parameters(), RuntimeError, (r"compute_shapes\(X\) first",)
    ),
    Refusal("update without rate", DONE, lambda y: y.update_parameters(), RuntimeError, ("lrate",)),
]


@both_packages
@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.what)
def test_a_refusal_says_why_and_changes_nothing(package, row):
    layer = layer_at(package, row.stage)
    before = snapshot(layer)
    with pytest.raises(row.error) as caught:
        row.call(layer)
    for word in row.words:
        caught.match(word)
    assert_same(before, snapshot(layer))


@both_packages
@given(stage=st.sampled_from([AFTER_FORWARD, AFTER_BACKWARD]), row=st.sampled_from(REFUSALS))
def test_after_a_refusal_the_layer_goes_on_as_if_nothing_had_been(package, stage, row):
    refused, untouched = layer_at(package, stage), layer_at(package, stage)
    if row.what.startswith(("forward", "backward,", "compute_shapes")) and "at " not in row.what:
        with pytest.raises(row.error):
            row.call(refused)
    for layer in (refused, untouched):
        layer.backward(DA, STATE, STATE)
        layer.compute_gradients()
    assert_same(snapshot(untouched), snapshot(refused))


# The constructor

CONSTRUCTIONS = [
    ({"unit_cells": 0}, ValueError, ("unit_cells", "0", "at least 1")),
    ({"unit_cells": -3}, ValueError, ("unit_cells", "-3", "at least 1")),
    ({"unit_cells": 2.5}, TypeError, ("unit_cells", r"2\.5", "expected an int")),
    ({"unit_cells": "4"}, TypeError, ("unit_cells", "4", "expected an int")),
    ({"unit_cells": True}, TypeError, ("unit_cells", "True", "expected an int")),
    ({"initialization": 3}, TypeError, ("initialization", "3", r"expected a function of \(shape, rng\)")),
    ({"clip_gradients": 0}, ValueError, ("clip_gradients", "0", "positive")),
    ({"clip_gradients": -1.5}, ValueError, ("clip_gradients", r"-1\.5", "positive")),
    ({"clip_gradients": float("nan")}, ValueError, ("clip_gradients", "nan", "positive")),
    ({"clip_gradients": "0.25"}, (TypeError, ValueError), ("clip_gradients", "'0.25'", "positive")),
    ({"clip_gradients": None}, (TypeError, ValueError), ("clip_gradients", "None", "positive")),
    ({"dtype": np.float16}, TypeError, ("dtype", "float16", "expected np.float32 or np.float64")),
    ({"dtype": int}, TypeError, ("dtype", "int", "expected np.float32 or np.float64")),
    ({"dtype": complex}, TypeError, ("dtype", "complex", "expected np.float32 or np.float64")),
    ({"dtype": "no dtype"}, TypeError, ("dtype", "no dtype", "expected np.float32 or np.float64")),
    ({"rng": "seed"}, TypeError, ("rng", "'seed'", "expected None, an int")),
    ({"rng": 1.5}, TypeError, ("rng", r"1\.5", "expected None, an int")),
    ({"rng": True}, TypeError, ("rng", "True", "expected None, an int")),
    ({"rng": -1}, ValueError, ("rng", "-1", "expected")),
    ({"sequences": "yes"}, TypeError, ("sequences", "'yes'", "expected True or False")),
    ({"dtype": None}, TypeError, ("dtype", "None", "expected np.float32 or np.float64")),
    ({"clip_gradients": float("inf")}, ValueError, ("clip_gradients", "inf", "positive")),
]


@both_packages
@pytest.mark.parametrize(
    ("options", "error", "words"), CONSTRUCTIONS, ids=lambda x: str(x) if isinstance(x, dict) else ""
)
def test_the_constructor_refuses_what_it_cannot_mean(package, options, error, words):
    with pytest.raises(error) as caught:
        package.LSTM(**options)
    for word in words:
        caught.match(word)


# Parameters, initializations, learning rates


@both_packages
@pytest.mark.parametrize("name", PLAIN.parameters)
@pytest.mark.parametrize("kind", ["transposed", "flat", "dtype"])
def test_a_parameter_that_does_not_fit_is_refused_when_set_or_at_the_next_forward(package, name, kind):
    """lstm_fast copies and checks when it is set; lstm_ref's dict takes anything and its forward pass looks."""
    layer = layer_at(package, DONE)
    good = layer.p[name]
    bad, error, words = {
        "transposed": (np.ones(good.shape[::-1]), ValueError, (r"\d, \d",)),
        "flat": (np.ones(good.size), ValueError, (rf"\({good.size},\)",)),
        "dtype": (good.astype("f4"), TypeError, ("float32", "expected float64")),
    }[kind]
    if bad.shape == good.shape and kind == "transposed":
        bad, words = np.ones((U, U, 1)), (r"\(2, 2, 1\)",)
    before = snapshot(layer)

    def set_and_run():
        layer.p[name] = bad
        before["p"][name] = bad
        layer.forward(X)

    with pytest.raises(error) as caught:
        set_and_run()
    for word in (*words, "expected"):
        caught.match(word)
    if name != "Uf":  # whose rows say what e is, so that with a wrong Uf it is another that does not fit
        caught.match(name)
    assert_same(before, snapshot(layer))


@both_packages
def test_parameters_of_another_e_between_the_passes_are_refused(package):
    layer = layer_at(package, AFTER_FORWARD)

    def replace_and_run():
        for gate in "figo":
            layer.p[f"U{gate}"] = np.ones((E + 2, U))
        layer.backward(DA)

    with pytest.raises(ValueError, match=r"Uf.*\(5, 2\).*expected"):
        replace_and_run()


INITIALIZATIONS = [
    (lambda shape, rng: rng.standard_normal(shape[::-1]), ValueError, (r"\(2, 3\)", r"\(3, 2\)", "Uf")),
    (lambda shape, rng: rng.standard_normal(shape) * np.inf, ValueError, ("finite", "Uf")),
    (lambda shape, rng: rng.standard_normal(shape) * np.nan, ValueError, ("finite", "Uf")),
]


@both_packages
@pytest.mark.parametrize("stage", [SHAPED, DONE])
@pytest.mark.parametrize(("initialization", "error", "words"), INITIALIZATIONS, ids=["shape", "inf", "nan"])
def test_an_initialization_that_does_not_fit_changes_no_parameter_and_no_generator(
    package, stage, initialization, error, words
):
    layer = layer_at(package, stage)
    layer.initialization = initialization
    before = snapshot(layer)
    with pytest.raises(error, match="initialization") as caught:
        layer.initialize_parameters()
    for word in words:
        caught.match(word)
    assert_same(before, snapshot(layer))


@both_packages
@pytest.mark.parametrize(
    ("gradient", "error"),
    [(np.zeros((1, U)), ValueError), (np.zeros((U, E)), ValueError)],
    ids=["broadcastable", "transposed"],
)
def test_a_gradient_of_wrong_shape_moves_no_parameter(package, gradient, error):
    layer = layer_at(package, DONE)
    layer.lrate, layer.g["dUo"] = [0.5], gradient
    before = snapshot(layer)
    with pytest.raises(error, match="dUo"):
        layer.update_parameters()
    assert_same(before, snapshot(layer))


@both_packages
def test_an_epoch_beyond_the_schedule_is_named(package):
    layer = layer_at(package, DONE)
    layer.lrate, layer.e = [0.1], 1
    before = snapshot(layer)
    with pytest.raises(IndexError, match=r"lrate.*1"):
        layer.update_parameters()
    assert_same(before, snapshot(layer))
    layer.lrate = 0.1
    before = snapshot(layer)
    with pytest.raises(TypeError, match=r"layer.lrate is 0.1.*such as|layer.lrate is 0.1.*e.g."):
        layer.update_parameters()
    assert_same(before, snapshot(layer))


# Odd, and welcome


def with_gaps(a):
    """Return `a` as every other entry of a larger array."""
    larger = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    larger[tuple(slice(None, None, 2) for _ in a.shape)] = a
    return larger[tuple(slice(None, None, 2) for _ in a.shape)]


def backwards(a):
    """Return `a` with a negative stride along every axis."""
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    return np.ascontiguousarray(a[flip])[flip]


def read_only(a):
    """Return a copy that cannot be written to."""
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    """Return `a` at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


ODD = {
    "non-contiguous": with_gaps,
    "Fortran-ordered": np.asfortranarray,
    "negatively strided": backwards,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "nested lists": lambda a: a.tolist() if a.dtype == np.float64 else read_only(a),
}


@both_packages
@pytest.mark.parametrize("kind", ODD)
@given(dims=st.tuples(*[st.integers(1, 5)] * 4), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_odd_arrays_give_the_right_answer_and_stay_as_they_were(package, kind, dims, dtype, seed):
    case, make = Case(*dims, dtype=dtype, seed=seed), ODD[kind]
    arrays = {name: make(value.copy()) for name, value in case.arrays.items()}
    layer = package.LSTM(case.u, sequences=True, dtype=dtype)
    layer.compute_shapes(arrays["X"])
    layer.p.update({name: arrays[name] for name in PLAIN.parameters})
    h = layer.forward(arrays["X"], arrays["h0"], arrays["C0"])
    values = {"h": h, "Cn": layer.fc["C_"][:, -1]}
    values["dX"] = layer.backward(arrays["dh"], arrays["dhn"], arrays["dCn"])
    layer.compute_gradients()
    values |= dict(layer.g) | {name: layer.bc[name] for name in ("dh0", "dC0")}
    expected = expect(case)
    for name, due in expected.values.items():
        assert values[name].shape == due.shape, name
        assert values[name].dtype == dtype, name
        assert values[name].dtype.isnative, name
        assert np.all(np.abs(values[name] - due) <= accepted(expected.sd[name], dtype)), name
    for name, value in case.arrays.items():
        assert np.array_equal(arrays[name], value), name


@both_packages
def test_input_may_change_between_forward_and_backward(package):
    X_mine, h0, C0 = X.copy(), STATE.copy(), STATE.copy()
    layer, other = layer_at(package, READY), layer_at(package, AFTER_BACKWARD)
    layer.forward(X_mine, h0, C0)
    X_mine[...] = h0[...] = C0[...] = np.nan
    layer.backward(DA)
    layer.compute_gradients()
    other.compute_gradients()
    assert_same(snapshot(other), snapshot(layer))


@both_packages
@given(
    dims=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    weight=st.sampled_from([0.0, 1.0, -1.0]),
    sign=st.sampled_from([1, -1, 0]),
    dtype=st.sampled_from(DTYPES),
)
def test_huge_input_neither_overflows_nor_makes_nan(package, dims, weight, sign, dtype):
    m, s, e, u = dims
    huge = np.dtype(dtype).type({"float64": 1e300, "float32": 1e36}[dtype])
    values = np.full((m, s, e), huge)
    values *= np.resize([1, -1], s)[:, np.newaxis] if sign == 0 else sign
    layer = package.LSTM(u, sequences=True, dtype=dtype)
    layer.compute_shapes(values)
    layer.initialize_parameters()
    for parameter in layer.p.values():
        parameter[...] = weight
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        A = layer.forward(values)
        dX = layer.backward(np.ones_like(A))
        layer.compute_gradients()
        caches = [*layer.fc.values(), *layer.bc.values()]
    assert all(np.isfinite(value).all() for value in (A, dX, *layer.g.values(), *caches))
    assert np.all(np.abs(A) <= 1)
    if weight == 0:
        assert not A.any()


@both_packages
def test_nan_and_infinity_in_X_come_out_as_nan_and_not_as_numbers(package):
    layer = layer_at(package, READY)
    values = X.copy()
    values[1, 2, 0] = np.nan
    A = layer.forward(values)
    assert np.isfinite(A[[0, 2, 3]]).all()
    assert np.isfinite(A[1, :2]).all()
    assert np.isnan(A[1, 2:]).all()
