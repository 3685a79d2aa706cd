"""What is particular to `lstm_fast`: views, reused buffers, tiles of the batch, lazy caches, copies and threads.

Every test runs with the compiled passes (where Numba is installed) and without; and then with the layouts as they are
chosen for a shape, and with sample-major tiles wherever they are possible.
"""

import copy
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from agreement import assert_as_expected
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_checks.cases import COTANGENTS, DTYPES, Case
from lstm_checks.contract import PLAIN
from lstm_fast import LSTM, caches, layouts, panels, threads
from lstm_fast.feature_major import FeatureMajor
from lstm_fast.packing import GATES
from lstm_fast.sample_major import SampleMajor
from lstm_fast.workspace import SWITCH, kernels_for

cases = st.builds(
    Case,
    *[st.integers(1, 9)] * 4,
    dtype=st.sampled_from(DTYPES),
    regime=st.sampled_from(["normal", "x1e-3", "mixed", "zero"]),
    cotangents=st.sampled_from(COTANGENTS),
    states=st.booleans(),
    seed=st.integers(0, 2**16),
)


@pytest.fixture(scope="module", params=["feature-major", "sample-major", "panels"], autouse=True)
def layout(request):
    """Switch the compiled passes on or off; without, use sample-major tiles for every shape that can have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1" if request.param == "panels" else "0")
        if request.param == "panels" and kernels_for(np.dtype(float)) is None:
            pytest.skip("Numba is not installed")
        if request.param == "sample-major":
            patch.setattr(layouts, "NARROW", layouts.TILE)
            patch.setattr(layouts, "SMALLEST", 1)
            patch.setattr(layouts, "small_products_pay", lambda: True)
        yield request.param


def make_layer(case, **options):
    """Return a layer with the case's parameters."""
    layer = LSTM(case.u, sequences=case.sequences, dtype=case.dtype, rng=0, **options)
    layer.compute_shapes(case.arrays["X"])
    layer.p = case.arrays.p
    return layer


def run(layer, case):
    """Return outputs and gradients by the contract's names, as the layer returned them (not copied)."""
    a = case.arrays
    h = layer.forward(a["X"], a["h0"], a["C0"])
    dX = layer.backward(a["dh"] if case.sequences else a["dh"][:, -1], a["dhn"], a["dCn"])
    layer.compute_gradients()
    return {
        "h": h,
        "Cn": layer.fc["Cn"],
        "dX": dX,
        "dh0": layer.bc["dh0"],
        "dC0": layer.bc["dC0"],
        **{f"d{name}": layer.g[f"d{name}"] for name in PLAIN.parameters},
    }


def assert_equal(values, others):
    """Assert that two dicts of arrays agree in every bit."""
    assert values.keys() == others.keys()
    for name in values:
        assert np.array_equal(values[name], others[name]), name


def copied(values):
    """Return copies by name."""
    return {name: value.copy() for name, value in values.items()}


# The same numbers as the reference


@given(case=cases)
def test_it_agrees_with_the_reference(case):
    assert_as_expected(run(make_layer(case), case), case)


@given(
    m=st.sampled_from([63, 64, 65, 127, 128, 130]),
    s=st.integers(1, 3),
    e=st.integers(1, 3),
    u=st.sampled_from([1, 2, 5]),
    cotangents=st.sampled_from(["every+h+C", "last+C"]),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=20)
def test_it_agrees_at_the_edges_of_a_batch_tile(m, s, e, u, cotangents, dtype):
    case = Case(m, s, e, u, dtype=dtype, cotangents=cotangents)
    assert_as_expected(run(make_layer(case), case), case)


@pytest.mark.parametrize("dims", [(2, 60, 3, 4), (1, 300, 1, 2), (70, 130, 2, 2), (3, 2, 40, 33), (1030, 1, 1, 16)])
def test_it_agrees_where_steps_and_rows_are_cut_into_chunks(dims):
    """The last is large enough for its tiles to be spread over threads."""
    case = Case(*dims, regime="x1e-3")
    assert_as_expected(run(make_layer(case), case), case)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_share_the_gradients_and_give_the_same_each_time(workers, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(workers))
    monkeypatch.setattr(layouts, "small_products_pay", lambda: True)
    case = Case(1030, 2, 1, 16, regime="x1e-3")
    layer = make_layer(case)
    values = copied(run(layer, case))
    assert layer._workspace.workers == workers
    assert_as_expected(values, case)
    assert_equal(run(layer, case), values)
    # Without threadpoolctl the BLAS is left to itself.
    monkeypatch.setattr(threads, "_controller", lambda: None)
    assert_as_expected(run(layer, case), case)


@given(
    case=cases,
    kind=st.sampled_from(["strided", "reversed", "read-only", "big-endian", "unaligned"]),
    keep_cache=st.booleans(),
)
def test_an_input_of_any_form_gives_the_same(case, kind, keep_cache):
    X = case.arrays["X"]
    if kind == "strided":
        given_X = np.ascontiguousarray(np.repeat(X, 2, axis=2).transpose(2, 0, 1))[::2].transpose(1, 2, 0)
    elif kind == "reversed":
        given_X = np.ascontiguousarray(X[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]
    elif kind == "big-endian":
        given_X = X.astype(X.dtype.newbyteorder(">"))
    else:
        start = int(kind == "unaligned")
        given_X = np.frombuffer(b"x" * start + X.tobytes(), X.dtype, offset=start).reshape(X.shape)
        assert not given_X.flags.writeable
    assert np.array_equal(given_X, X)
    layer = make_layer(case)
    due = layer.forward(X, keep_cache=keep_cache)
    assert np.array_equal(layer.forward(given_X, keep_cache=keep_cache), due)


@given(case=cases, steps=st.integers(1, 4))
def test_a_pass_may_be_cut_into_calls_of_few_steps(case, steps):
    layer = make_layer(case)
    due = copied(run(layer, case))
    lean = make_layer(case).forward(case.arrays["X"], keep_cache=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "LONGEST_CALL", steps * 4 * case.m * 16 * (case.e + 16))
        assert_equal(run(layer, case), due)
        assert np.array_equal(make_layer(case).forward(case.arrays["X"], keep_cache=False), lean)


def test_the_blas_has_one_thread_meanwhile_and_what_it_had_afterwards():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    # NumPy's, and not another that SciPy has loaded since: no layer computes with that.
    blas = threads._controller().lib_controllers

    def counts():
        return {library.num_threads for library in blas}

    def elsewhere(call):
        """Return what a call gives in another thread."""
        found = []
        thread = threading.Thread(target=lambda: found.append(call()))
        thread.start()
        thread.join()
        return found[0]

    def inside():
        with threads.blas_in_one_thread() as single:
            return single, counts()

    for library in blas:
        library.set_num_threads(2)
    threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)
    with pytest.raises(ZeroDivisionError), threads.blas_in_one_thread() as single:  # noqa: PT012
        assert single
        assert counts() == {1}
        assert elsewhere(inside) == (True, {1})
        assert counts() == {1}
        _ = 1 / 0
    assert counts() == {2}
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert elsewhere(inside) == (False, {2})  # somebody else has said how many


def test_all_layouts_are_tested(layout):
    layer = make_layer(Case(3, 2, 2, 4))
    layer.forward(np.zeros((3, 2, 2)))
    kinds = {"feature-major": FeatureMajor, "sample-major": SampleMajor, "panels": panels.Panels}
    assert type(layer._workspace) is kinds[layout]


@pytest.fixture(scope="module")
def compiled(layout):
    """Have the test run once, with the compiled passes."""
    if layout != "panels":
        pytest.skip("of the compiled passes")


@pytest.fixture(scope="module")
def product():
    """Return a function that makes a product by compiled code."""
    numba = pytest.importorskip("numba")
    from lstm_fast.vectors import VECTORS, multiply, multiply_narrow

    @numba.njit
    def make(kind, given, vectors):
        if vectors == VECTORS:
            multiply(kind, given)
        else:
            multiply_narrow(kind, given)

    return make


@given(data=st.data())
@settings(max_examples=100)
def test_a_compiled_product_is_the_product(compiled, product, data):
    """Of whatever sizes, with whatever lies between rows, terms and vectors, and nothing else is touched."""
    from lstm_fast.vectors import REGISTER, ROWS, VECTORS

    rows, vectors = data.draw(st.integers(1, ROWS)), data.draw(st.integers(1, VECTORS))
    terms, spare = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 2))
    transposed, add = data.draw(st.booleans()), data.draw(st.booleans())
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    item, lanes = dtype.itemsize, REGISTER // dtype.itemsize
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    A = rng.standard_normal((rows, terms + spare) if not transposed else (terms, rows + spare)).astype(dtype)
    B = rng.standard_normal((terms, vectors + spare, lanes)).astype(dtype)
    C = rng.standard_normal((rows + 1, vectors + spare, 2, lanes)).astype(dtype)
    left = A[:, :rows].T if transposed else A[:, :terms]
    due = C.copy()
    by = left.astype(float) @ B[:, :vectors].astype(float).reshape(terms, -1)
    due[:rows, :vectors, 0] = due[:rows, :vectors, 0] * add + by.reshape(rows, vectors, lanes)
    a_row, a_term = (item, A.strides[0]) if transposed else (A.strides[0], item)
    where = (A.ctypes.data, a_row, a_term, B.ctypes.data, B.strides[0], C.ctypes.data, *C.strides[:2])
    before = C.copy()
    product(dtype.type(0), tuple(np.int64(x) for x in (*where, rows, vectors, terms, add)), vectors)
    sizes = np.abs(left).astype(float) @ np.abs(B[:, :vectors]).astype(float).reshape(terms, -1)
    bound = (
        (terms + 1) * np.finfo(dtype).eps * (sizes.reshape(rows, vectors, lanes) + np.abs(before[:rows, :vectors, 0]))
    )
    assert np.all(np.abs(C[:rows, :vectors, 0].astype(float) - due[:rows, :vectors, 0]) <= bound)
    C[:rows, :vectors, 0] = before[:rows, :vectors, 0]
    assert np.array_equal(C, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_compiled_tanh_is_within_three_units_in_the_last_place(compiled, dtype):
    """Seen as the g of many samples: also where it is as small as numbers are, or next to 1, or there is no number."""
    dtype = np.dtype(dtype)
    sizes = np.concatenate([np.geomspace(np.finfo(dtype).tiny, 0.5, 2000), np.linspace(0.5, 25, 4000), [1e30, np.inf]])
    x = np.concatenate([sizes, -sizes, [0.0, np.nan]]).astype(dtype)
    layer = LSTM(1, dtype=dtype)
    layer.compute_shapes(x[:, None, None])
    layer.p = {name: np.zeros(shape, dtype) for name, shape in layer.fs.items() if name in PLAIN.parameters}
    layer.p["Ug"][...] = 1
    layer.forward(x[:, None, None])
    found, due = layer.fc["g"][:, 0, 0], np.tanh(x.astype(np.longdouble))
    assert np.array_equal(np.isnan(found), np.isnan(x))
    number = ~np.isnan(x)
    assert np.all(np.abs(found - due)[number] <= 3 * np.spacing(np.abs(due[number]).astype(dtype)))
    assert np.all(np.abs(found[number]) <= 1)


def test_a_backward_pass_belongs_to_its_forward_pass_whatever_is_switched_meanwhile(compiled, monkeypatch):
    case = Case(3, 4, 2, 5)
    layer, a = make_layer(case), case.arrays
    due = copied(run(layer, case))
    layer.forward(a["X"], a["h0"], a["C0"])
    monkeypatch.setenv(SWITCH, "0")
    dX = layer.backward(a["dh"], a["dhn"], a["dCn"])
    assert np.array_equal(dX, due["dX"])
    assert_as_expected(run(layer, case), case)
    assert type(layer._workspace) is not panels.Panels
    monkeypatch.setenv(SWITCH, "1")
    assert_equal(run(layer, case), due)
    monkeypatch.setattr("lstm_fast.workspace._load_kernels", lambda char: None)  # as where a copy was unpickled
    with pytest.raises(RuntimeError, match=r"call forward\(X\) again"):
        layer.backward(a["dh"])
    assert_as_expected(run(layer, case), case)


def test_registers_are_those_of_the_processor_that_numba_compiles_for(compiled, monkeypatch):
    from lstm_fast import vectors

    assert vectors._registers({"avx512f": True, "avx": True, "fma": True}) == (64, 32)
    assert vectors._registers({"avx512f": False, "avx": True}) == (32, 16)
    monkeypatch.setattr(vectors.platform, "machine", lambda: "arm64")
    assert vectors._registers({}) == (16, 32)
    monkeypatch.setattr(vectors.numba.config, "CPU_FEATURES", "+avx,-avx512f,+fma")
    assert vectors._features() == {"avx": True, "avx512f": False, "fma": True}
    monkeypatch.setattr(vectors.numba.config, "CPU_FEATURES", None)
    monkeypatch.setattr(vectors.numba.config, "CPU_NAME", "generic")
    assert vectors._features() == {}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_that_do_not_stay_in_the_cache_are_multiplied_by_numpy(compiled, workers, dtype, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(workers))
    monkeypatch.setattr(threads, "LARGE_STEP", 1)
    case = Case(250, 2, 3, 21, dtype=dtype, regime="x1e-3")
    layer = make_layer(case)
    by_panels = copied(run(layer, case))
    monkeypatch.setattr(panels, "L2_BYTES", 0)
    asked = []
    monkeypatch.setattr(panels.Panels, "_sum_panels", lambda *given: asked.append(given))
    values = copied(run(make_layer(case), case))
    assert not asked
    assert_as_expected(values, case)
    assert_equal({k: values[k] for k in ("h", "dX", "dh0")}, {k: by_panels[k] for k in ("h", "dX", "dh0")})
    # Without threadpoolctl one thread has all of it.
    monkeypatch.setattr(threads, "_controller", lambda: None)
    assert_as_expected(run(layer, case), case)


@pytest.mark.parametrize("said", [{}, {"SC_LEVEL1_DCACHE_SIZE": 0}])
def test_caches_have_a_usual_size_where_nobody_says(said, monkeypatch, tmp_path):
    monkeypatch.setattr(caches, "SYSTEM", tmp_path)
    monkeypatch.setattr(caches.os, "sysconf", lambda name: said.get(name, -1), raising=False)
    assert caches._bytes_of(1, 1 << 15) == 1 << 15
    (tmp_path / "index2").mkdir()
    (tmp_path / "index2" / "size").write_text("2M\n")
    assert caches._bytes_of(2, 1 << 19) == 1 << 21
    (tmp_path / "index2" / "size").write_text("512K\n")
    assert caches._bytes_of(2, 1 << 10) == 1 << 19


def test_numba_is_neither_imported_with_the_package_nor_needed():
    code = """if True:
        import sys
        import lstm_fast, numpy as np
        assert "numba" not in sys.modules
        sys.modules["numba"] = None  # an import fails
        layer = lstm_fast.LSTM(2, rng=0)
        layer.compute_shapes(np.zeros((1, 1, 2)))
        layer.initialize_parameters()
        layer.forward(np.zeros((1, 1, 2)))
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numba_told_not_to_compile_is_not_used():
    pytest.importorskip("numba")
    code = "from lstm_fast.workspace import kernels_for as k; import numpy as np; assert k(np.dtype(float)) is None"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"NUMBA_DISABLE_JIT": "1"})


def test_the_loops_are_compiled_where_they_cannot_be_kept(monkeypatch):
    numba = pytest.importorskip("numba")
    real = numba.njit

    def njit(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)
    from lstm_fast.compiled import compiled as compile_for

    def set_first(x, to):
        x[0] = to

    x = np.zeros(1)
    compile_for(set_first, numba.float64[::1], numba.float64)(x, 7.0)
    assert x == 7.0


@pytest.mark.parametrize("dims", [(16, 40, 24, 64), (64, 40, 24, 64), (40, 60, 5, 48)])
@pytest.mark.parametrize("sequences", [True, False])
def test_a_pass_allocates_what_it_returns_and_little_else(dims, sequences):
    m, s, e, u = dims
    case = Case(m, s, e, u, regime="x1e-3", cotangents="every" if sequences else "last")
    layer, a = make_layer(case), case.arrays
    dA = a["dh"] if sequences else a["dh"][:, -1]

    def passes():
        layer.forward(a["X"])
        layer.backward(dA)
        layer.compute_gradients()

    passes()
    passes()
    results = dA.nbytes + a["X"].nbytes + layer._dW.nbytes + 4 * layer.bc["dh0"].nbytes
    tracemalloc.start()
    try:
        held = tracemalloc.get_traced_memory()[0]
        passes()
        allocated = tracemalloc.get_traced_memory()[1] - held
    finally:
        tracemalloc.stop()
    # Python's own objects are views and lists: some kilobytes a step of a chunk. One array of all steps would be
    # m s u numbers.
    assert allocated <= results + 2**16 + 1000 * s


# Views


def test_parameters_and_gradients_are_views_of_the_big_arrays():
    case = Case(3, 4, 2, 5)
    layer = make_layer(case)
    run(layer, case)
    assert (layer.U.shape, layer.V.shape, layer.b.shape) == ((2, 20), (5, 20), (20,))
    assert (layer.dU.shape, layer.dV.shape, layer.db.shape) == ((2, 20), (5, 20), (20,))
    for name in PLAIN.parameters:
        kind, columns = name[0], slice(5 * GATES.index(name[1]), 5 * GATES.index(name[1]) + 5)
        for own, big in ((layer.p[name], getattr(layer, kind)), (layer.g[f"d{name}"], getattr(layer, f"d{kind}"))):
            assert np.shares_memory(own, big)
            assert np.array_equal(own, np.atleast_2d(big[..., columns]))


def write_through_view(layer, name, value):
    layer.p[name][...] = value


def rebind_entry(layer, name, value):
    layer.p[name] = value


def update_dict(layer, name, value):
    layer.p.update({name: value})


def assign_dict(layer, name, value):
    layer.p = {name: value}


def multiply_entry(layer, name, value):
    layer.p[name] *= 0
    layer.p[name] += value


def write_into_big(layer, name, value):
    u, big = layer.d["u"], getattr(layer, name[0])
    big[..., u * GATES.index(name[1]) : u * (GATES.index(name[1]) + 1)] = value


@pytest.mark.parametrize(
    "write", [write_through_view, rebind_entry, update_dict, assign_dict, multiply_entry, write_into_big]
)
@given(name=st.sampled_from([*PLAIN.parameters]), case=cases)
@settings(max_examples=25)
def test_however_a_parameter_is_written_the_next_forward_sees_it(write, name, case):
    layer = make_layer(case)
    run(layer, case)
    value = np.random.default_rng(case.seed).standard_normal(layer.p[name].shape).astype(case.dtype)
    write(layer, name, value)
    fresh = make_layer(case)
    fresh.p = {**case.arrays.p, name: value}
    assert_equal(run(layer, case), run(fresh, case))
    assert np.shares_memory(layer.p[name], getattr(layer, name[0]))


def test_assigning_copies_and_all_or_nothing_is_assigned():
    layer = make_layer(Case(1, 1, 2, 3))
    mine = np.ones((2, 3))
    layer.p["Uf"] = mine
    mine[...] = 7
    assert layer.p["Uf"].max() == 1
    layer.p.update({"Ui": layer.p["Uf"], "Uf": layer.p["Ui"]})
    assert np.all(layer.p["Ui"] == 1)
    before = copied(layer.p)
    for bad, error in (
        ({"Uf": np.zeros((2, 3)), "Vf": np.zeros((2, 2))}, ValueError),
        ({"Uf": np.zeros((2, 3)), "bf": np.zeros((1, 3), "f4")}, TypeError),
        ({"Uf": np.zeros((2, 3)), "Uz": np.zeros((2, 3))}, KeyError),
    ):
        with pytest.raises(error, match=list(bad)[1]):
            layer.p.update(bad)
        assert_equal(copied(layer.p), before)
    with pytest.raises(TypeError, match="cannot be deleted"):
        del layer.p["Uf"]


@pytest.mark.parametrize("big", ["U", "V", "b"])
def test_a_big_array_can_be_assigned_whole(big):
    layer = make_layer(Case(1, 1, 2, 3))
    value = np.arange(getattr(layer, big).size, dtype=float).reshape(getattr(layer, big).shape)
    setattr(layer, big, value)
    for k, gate in enumerate(GATES):
        assert np.array_equal(layer.p[big + gate], np.atleast_2d(value[..., 3 * k : 3 * k + 3]))
    with pytest.raises(ValueError, match=rf"{big} has shape"):
        setattr(layer, big, value.ravel()[:-1])


# Buffers


@given(case=cases, others=st.lists(cases, min_size=1, max_size=3))
def test_what_was_returned_keeps_its_value_whatever_comes_later(case, others):
    """Also with other shapes and `keep_cache=False` in between, and the first example gives the same bits again."""
    layer = make_layer(case)
    returned = run(layer, case)
    returned |= {f"fc {name}": layer.fc[name] for name in layer.fc} | {
        f"bc {name}": layer.bc[name] for name in layer.bc
    }
    kept = copied(returned)
    first_fc, first_bc = layer.fc, layer.bc
    for k, other in enumerate(others):
        X = np.resize(other.arrays["X"], (other.m, other.s, case.e)).astype(case.dtype)
        A = layer.forward(X, keep_cache=bool(k % 2))
        if k % 2:
            layer.backward(A)
            layer.compute_gradients()
    assert_equal(returned, kept)
    assert all(np.array_equal(first_fc[name], kept[f"fc {name}"]) for name in first_fc)
    assert all(np.array_equal(first_bc[name], kept[f"bc {name}"]) for name in first_bc)
    assert_equal(run(layer, case), {name: kept[name] for name in kept if " " not in name})


@given(case=cases)
def test_writing_to_what_was_returned_harms_nothing(case):
    layer, other = make_layer(case), make_layer(case)
    a, dA = case.arrays, case.arrays["dh"] if case.sequences else case.arrays["dh"][:, -1]
    layer.forward(a["X"], a["h0"], a["C0"])[...] = np.nan
    layer.backward(dA, a["dhn"], a["dCn"])[...] = np.nan
    layer.compute_gradients()
    run(other, case)
    assert_equal(dict(layer.g), dict(other.g))


@given(case=cases, factor=st.sampled_from([-1.0, 0.0, 0.5]))
def test_backward_may_be_repeated_and_differentiates_at_the_parameters_of_its_forward(case, factor):
    layer = make_layer(case)
    due = copied(run(layer, case))
    a, dA = case.arrays, case.arrays["dh"] if case.sequences else case.arrays["dh"][:, -1]
    layer.U *= factor
    scaled = layer.backward(dA * dA.dtype.type(2), 2 * a["dhn"], 2 * a["dCn"])
    # Doubling is exact, unless it lifts a value out of the subnormal numbers.
    assert np.all(np.abs(scaled - 2 * due["dX"]) <= 8 * np.finfo(case.dtype).tiny)
    assert np.array_equal(layer.backward(dA, a["dhn"], a["dCn"]), due["dX"])
    layer.compute_gradients()
    layer.compute_gradients()
    assert all(np.array_equal(layer.g[f"d{name}"], due[f"d{name}"]) for name in PLAIN.parameters)


@given(case=cases)
def test_without_cache_forward_gives_the_same_and_backward_says_why_it_cannot(case):
    layer, a = make_layer(case), case.arrays
    A = layer.forward(a["X"], a["h0"], a["C0"])
    hn, Cn = layer.fc["hn"], layer.fc["Cn"]
    assert_equal(
        {"A": layer.forward(a["X"], a["h0"], a["C0"], keep_cache=False), **layer.fc}, {"A": A, "hn": hn, "Cn": Cn}
    )
    with pytest.raises(RuntimeError, match="keep_cache=True"):
        layer.backward(A)


def test_a_cache_s_entry_must_be_read_before_the_next_pass():
    case = Case(2, 3, 2, 2)
    layer = make_layer(case)
    run(layer, case)
    fc, bc, f = layer.fc, layer.bc, layer.fc["f"].copy()
    layer.forward(2 * case.arrays["X"])
    assert np.array_equal(fc["f"], f)
    for cache, name in ((fc, "i"), (bc, "df_")):
        with pytest.raises(RuntimeError, match=f"'{name}'.*is gone"):
            cache[name]
    with pytest.raises(KeyError):
        fc["no such entry"]
    with pytest.raises(RuntimeError, match="backward"):
        layer.compute_gradients()


def test_what_is_put_into_a_cache_counts():
    case = Case(2, 3, 2, 2)
    layer = make_layer(case)
    due = copied(run(layer, case))
    layer.bc["df_"] = np.zeros_like(layer.bc["df_"])
    layer.compute_gradients()
    assert not layer.g["dUf"].any()
    assert not layer.dU[:, 2 * GATES.index("f") :][:, :2].any()
    assert np.allclose(layer.g["dUi"], due["dUi"], rtol=1e-12, atol=0)


def test_other_elements_need_other_parameters():
    layer = make_layer(Case(2, 3, 2, 2))
    kept = layer.p["Uf"]
    layer.compute_shapes(np.zeros((1, 1, 2)))
    assert layer.p["Uf"] is kept
    layer.compute_shapes(np.zeros((1, 1, 4)))
    with pytest.raises(RuntimeError, match="parameters not set"):
        layer.forward(np.zeros((1, 1, 4)))
    layer.initialize_parameters()
    assert layer.forward(np.zeros((3, 2, 4))).shape == (3, 2, 2)


# Copies and threads


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("m", [2, 65])
@pytest.mark.parametrize("stage", range(4))
def test_a_copy_goes_on_where_the_layer_stood_and_on_its_own(duplicate, m, stage):
    case = Case(m, 3, 2, 4)
    layer, a = make_layer(case), case.arrays
    steps = (
        lambda y: y.forward(a["X"], a["h0"], a["C0"]),
        lambda y: y.backward(a["dh"], a["dhn"], a["dCn"]),
        lambda y: y.compute_gradients(),
    )
    for step in steps[:stage]:
        step(layer)
    twin = duplicate(layer)
    for step in steps[stage:]:
        step(layer)
        step(twin)
    for name in ("fc", "bc", "g"):
        assert_equal(dict(getattr(layer, name)), dict(getattr(twin, name)))
    for name in PLAIN.parameters:
        assert np.shares_memory(twin.p[name], getattr(twin, name[0]))
        assert np.shares_memory(twin.g[f"d{name}"], getattr(twin, f"d{name[0]}"))
        assert not np.shares_memory(twin.p[name], layer.p[name])
    due = layer.forward(a["X"])
    twin.p["Vo"] *= 2
    twin.forward(2 * a["X"])
    assert np.array_equal(layer.forward(a["X"]), due)
    layer.p["Vo"] *= 2
    assert_equal(run(layer, case), run(twin, case))


def test_layers_in_different_threads_do_not_interfere():
    some = [
        Case(5, 9, 3, 6),
        Case(64, 4, 8, 32, regime="x1e-3"),
        Case(70, 5, 9, 17, regime="x1e-3"),
        Case(8, 20, 4, 16),
    ]
    due = [copied(run(make_layer(case), case)) for case in some]
    wrong = []

    def work(k):
        layer = make_layer(some[k])
        for _ in range(15):
            try:
                assert_equal(run(layer, some[k]), due[k])
            except BaseException as error:
                wrong.append(error)

    running = [threading.Thread(target=work, args=(k,)) for k in range(len(some))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert wrong == []


def test_one_layer_in_two_threads_is_refused_and_usable_afterwards():
    inside, leave = threading.Event(), threading.Event()

    def initialization(shape, rng):
        inside.set()
        assert leave.wait(timeout=600)
        return np.zeros(shape)

    layer = LSTM(2, initialization=initialization)
    layer.compute_shapes(np.zeros((1, 1, 2)))
    thread = threading.Thread(target=layer.initialize_parameters)
    thread.start()
    assert inside.wait(timeout=600)
    try:
        with pytest.raises(RuntimeError, match="one layer per thread"):
            layer.forward(np.zeros((1, 1, 2)))
    finally:
        leave.set()
        thread.join()
    assert layer.forward(np.zeros((1, 1, 2))).shape == (1, 2)
