"""What a layer offers to whoever trains with it, of both packages: lengths, stacks, state dicts, carried states."""

import io
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_checks
import lstm_fast
import lstm_ref
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import to_target
from lstm_ref.cells import cell_named

both_packages = pytest.mark.parametrize("package", [lstm_ref, lstm_fast], ids=lambda package: package.__name__)
NAMES = [kind + gate for gate in "figo" for kind in "UVb"]


def composed(package, dtype, u, layers, word):
    """Return a stack of so many layers in the directions of a network's word."""
    rng = np.random.default_rng(0)

    def layer():
        lstm = package.LSTM(u, sequences=True, dtype=dtype, rng=rng)
        both = {"both": "concat", "sum": "sum"}
        return package.Bidirectional(lstm, both[word]) if word in both else lstm

    return package.Stack([layer() for _ in range(layers)])


def network_function(package, layers, word):
    """Return a function by name, as docs/networks.md has it, that runs a stack."""

    def lstm(p, X, states, lengths):
        stack = composed(package, X.dtype, p["Vf_l0"].shape[0], layers, word)
        stack.load_state_dict(p)
        h0, C0 = ([states[f"{name}0{at}"] for at in stack.places] for name in "hC")
        A, hn, Cn = stack.forward(X, h0, C0, lengths=lengths, return_states=True)

        def pullback(cotangents):
            dhn, dCn = ([cotangents[f"d{name}n{at}"] for at in stack.places] for name in "hC")
            dX = stack.backward(cotangents["dh"], dhn, dCn)
            stack.compute_gradients()
            initial = [(f"dh0{at}", dh0) for at, dh0 in zip(stack.places, stack.bc["dh0"], strict=True)]
            initial += [(f"dC0{at}", dC0) for at, dC0 in zip(stack.places, stack.bc["dC0"], strict=True)]
            return {**stack.g, "dX": dX, **dict(initial)}

        finals = [(f"hn{at}", a) for at, a in zip(stack.places, hn, strict=True)]
        finals += [(f"Cn{at}", a) for at, a in zip(stack.places, Cn, strict=True)]
        return {"h": A, **dict(finals)}, pullback

    return lstm


@both_packages
@pytest.mark.parametrize("name", ["plain@1xforward", "plain@2xboth"])
def test_stacks_directions_and_lengths_are_judged_right(package, name):
    layers, word = name.removeprefix("plain@").split("x")
    target = to_target(network_function(package, int(layers), word), "stack", cell=cell_named(name))
    report = verify(target, examples=8, max_dims=(4, 5, 3, 3))
    assert report.exit_code == 0, report
    assert any(case.lengths != "all" for case in (example.case for example in report.examples))


def run(package, X, lengths, dA, sequences, dtype):
    layer = package.LSTM(3, sequences=sequences, dtype=dtype, rng=0)
    layer.initialize_parameters(X.shape[2])
    A, hn, Cn = layer.forward(X, lengths=lengths, return_states=True)
    dX = layer.backward(dA, hn, Cn)
    layer.compute_gradients()
    found = {"A": A, "hn": hn, "Cn": Cn, "dX": dX, **layer.g}
    found |= {f"fc {name}": layer.fc[name] for name in ("X", "hp", "Cp_", "f_", "o", "C_", "C", "h", "hn", "Cn", "A")}
    return found | {
        f"bc {name}": layer.bc[name] for name in ("dhn", "dh_", "dCn", "dC_", "df_", "dg_", "dh0", "dC0", "dX")
    }


@settings(max_examples=25)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_both_packages_keep_the_same_of_samples_of_different_lengths(lengths, sequences, dtype):
    rng = np.random.default_rng(len(lengths))
    m, s = len(lengths), 6
    X = rng.standard_normal((m, s, 2)).astype(dtype)
    dA = rng.standard_normal((m, s, 3) if sequences else (m, 3)).astype(dtype)
    ref, fast = (run(package, X, lengths, dA, sequences, dtype) for package in (lstm_ref, lstm_fast))
    for name, value in ref.items():
        assert np.allclose(value, fast[name], rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12), name
    padding = np.arange(s) >= np.array(lengths)[:, np.newaxis]
    for name in ("dX", "fc h", "bc df_", *(["A"] if sequences else [])):
        assert not fast[name][padding].any(), name


@both_packages
def test_what_stands_in_the_padding_does_no_harm(package):
    X = np.ones((2, 4, 2))
    dA = np.ones((2, 4, 3))
    X[1, 2:] = dA[1, 2:] = np.nan
    found = run(package, X, [4, 2], dA, True, np.float64)
    assert all(np.isfinite(value).all() for name, value in found.items())


def test_the_fast_layer_runs_the_steps_that_there_are_and_no_more(monkeypatch):
    steps = []
    inner = lstm_fast.LSTM._run_forward

    def counted(layer, X, h0, C0, lengths, keep):
        if lengths is None:
            steps.append(X.shape[0] * X.shape[1])
        return inner(layer, X, h0, C0, lengths, keep)

    monkeypatch.setattr(lstm_fast.LSTM, "_run_forward", counted)
    layer = lstm_fast.LSTM(3, rng=0)
    layer.initialize_parameters(2)
    lengths = [7, 1, 0, 100, 7, 3]
    layer.forward(np.ones((6, 100, 2)), lengths=lengths)
    assert sum(steps) == sum(lengths)


@both_packages
def test_a_state_dict_goes_to_a_file_and_back(package):
    layer = package.LSTM(3, rng=0)
    layer.initialize_parameters(elements=2)
    state = layer.state_dict()
    assert list(state) == NAMES
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    other = package.LSTM(3)
    other.load_state_dict(np.load(file))
    assert all(np.array_equal(other.p[name], layer.p[name]) for name in NAMES)
    other.p["Uf"][...] = 0
    assert state["Uf"].any()
    assert layer.p["Uf"].any()
    assert other.forward(np.ones((1, 2, 2))).shape == (1, 3)


@both_packages
def test_a_state_dict_of_another_framework_is_carried_over(package):
    p = lstm_ref.LSTM(3, rng=0)
    p.initialize_parameters(elements=2)
    layer = package.LSTM(3)
    layer.load_state_dict(lstm_checks.from_framework(lstm_checks.to_framework(p.p, "torch"), "torch"))
    assert all(np.allclose(layer.p[name], p.p[name]) for name in NAMES)


@both_packages
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda state: state.pop("bo"), ValueError, "lacks bo"),
        (lambda state: state.update(Uz=state["Uf"]), ValueError, "Uz"),
        (lambda state: state.update(Vo=np.ones((2, 3))), ValueError, r"\(2, 3\)"),
        (lambda state: state.update(Vo=np.ones((3, 3), np.float32)), TypeError, "float32"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(package, change, error, said):
    layer = package.LSTM(3, rng=0)
    layer.initialize_parameters(elements=2)
    before = layer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(error, match=said):
        layer.load_state_dict(state)
    with pytest.raises(TypeError, match="mapping"):
        layer.load_state_dict([1, 2])
    assert all(np.array_equal(layer.p[name], before[name]) for name in NAMES)
    stack = package.Stack([layer])
    with pytest.raises(error, match=said):
        stack.load_state_dict({f"{name}_l0": value for name, value in state.items()})
    assert all(np.array_equal(layer.p[name], before[name]) for name in NAMES)


@both_packages
def test_a_stateful_layer_goes_on_where_it_stopped(package):
    X = np.random.default_rng(0).standard_normal((2, 6, 3))
    whole, parts = (package.LSTM(4, sequences=True, stateful=stateful, rng=0) for stateful in (False, True))
    for layer in (whole, parts):
        layer.initialize_parameters(elements=3)
    due = whole.forward(X)
    assert np.allclose(np.concatenate([parts.forward(X[:, :2]), parts.forward(X[:, 2:])], axis=1), due)
    with pytest.raises(ValueError, match=r"X has 1 samples.*expected 2.*reset_states"):
        parts.forward(X[:1])
    parts.reset_states()
    assert np.allclose(parts.forward(X), due)
    given = np.ones((2, 4))
    assert np.allclose(parts.forward(X, given, given), whole.forward(X, given, given)), "what is given counts"
    with pytest.raises(TypeError, match="stateful is 'yes'"):
        package.LSTM(4, stateful="yes")


@both_packages
def test_the_final_states_are_returned_on_request_and_are_the_callers_own(package):
    layer = package.LSTM(4, sequences=True, stateful=True, rng=0)
    layer.initialize_parameters(elements=3)
    X = np.ones((2, 5, 3))
    A, hn, Cn = layer.forward(X, return_states=True)
    assert np.array_equal(hn, A[:, -1])
    assert np.array_equal(Cn, layer.fc["C_"][:, -1])
    hn[...] = Cn[...] = np.nan
    assert np.isfinite(layer.forward(X)).all()
    assert np.isfinite(layer.fc["hn"]).all()


@both_packages
@pytest.mark.parametrize("clip", [False, 0.1])
def test_gradients_of_two_batches_accumulate(package, clip):
    layer = package.LSTM(4, clip_gradients=clip, rng=0)
    layer.initialize_parameters(elements=3)
    rng = np.random.default_rng(1)
    for accumulate in (False, True):
        A = layer.forward(rng.standard_normal((2, 5, 3)))
        layer.backward(np.ones_like(A))
        layer.compute_gradients(accumulate)
        if not accumulate:
            first = {name: value.copy() for name, value in layer.g.items()}
    found = {name: value.copy() for name, value in layer.g.items()}
    layer.clip_gradients = False
    layer.compute_gradients()
    total = {name: first[name] + layer.g[name] for name in first}
    norm = np.sqrt(sum(np.sum(np.square(value)) for value in total.values()))
    factor = 0.1 / norm if clip else 1
    assert all(np.allclose(found[name], factor * total[name], rtol=1e-12, atol=1e-15) for name in total)


@both_packages
def test_what_is_composed_wrongly_is_refused(package):
    layer = package.LSTM(3, rng=0)
    every = package.LSTM(3, sequences=True, rng=0)
    for wrong, said in (
        (lambda: package.Stack([]), "at least one"),
        (lambda: package.Stack([layer, every]), "sequences=True"),
        (lambda: package.Stack([every, package.LSTM(3, dtype=np.float32)]), "dtype"),
        (lambda: package.Bidirectional(layer, "product"), "product"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(TypeError, match="expected an LSTM"):
        package.Stack([every, "LSTM"])
    stack = package.Stack([every, layer])
    stack.initialize_parameters(elements=2)
    X = np.ones((2, 4, 2))
    for h0, said in (([None], "h0.*expected"), ([np.ones((2, 2)), None], r"h0 has shape \(2, 2\)")):
        with pytest.raises(ValueError, match=said):
            stack.forward(X, h0)
    for lengths, said in (([4], "lengths has shape"), ([4.0, 4.0], "float64"), ([4, 5], "0 to"), ([-1, 4], "0 to")):
        with pytest.raises(ValueError, match=said):
            stack.forward(X, lengths=lengths)
    with pytest.raises(TypeError, match="item assignment"):
        stack.p["Uf_l0"] = 1


@both_packages
def test_a_stack_learns(package):
    rng = np.random.default_rng(0)
    stack = package.Stack(
        [package.Bidirectional(package.LSTM(6, sequences=True, rng=1)), package.LSTM(1, sequences=False, rng=2)]
    )
    stack.initialize_parameters(elements=1)
    for lstm in stack.places.values():
        lstm.lrate = [0.5]
    X = rng.standard_normal((32, 5, 1))
    due = np.tanh(X.mean(axis=1))
    losses = []
    for _ in range(40):
        error = stack.forward(X) - due
        losses.append(np.mean(np.square(error)))
        stack.backward(2 * error / error.size)
        stack.compute_gradients()
        stack.update_parameters()
    assert losses[-1] < 0.3 * losses[0]


@both_packages
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam_takes_the_steps_of_its_paper(package, dtype):
    layer = package.LSTM(2, dtype=dtype, rng=0)
    layer.initialize_parameters(elements=3)
    optimizer, before = package.Adam(layer.p, rate=0.01), layer.state_dict()
    rng = np.random.default_rng(0)
    mean, square = (dict.fromkeys(NAMES, 0.0) for _ in range(2))
    for t in range(1, 6):
        g = {f"d{name}": rng.standard_normal(value.shape).astype(dtype) for name, value in before.items()}
        optimizer.step(g)
        for name in NAMES:
            mean[name] = 0.9 * mean[name] + 0.1 * g[f"d{name}"].astype(float)
            square[name] = 0.999 * square[name] + 0.001 * g[f"d{name}"].astype(float) ** 2
            corrected = mean[name] / (1 - 0.9**t), square[name] / (1 - 0.999**t)
            before[name] = before[name] - 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    assert all(np.allclose(layer.p[name], before[name], rtol=1e-4 if dtype == np.float32 else 1e-12) for name in NAMES)
    assert {value.dtype for value in layer.p.values()} == {np.dtype(dtype)}


def test_the_training_script_learns():
    script = (Path(__file__).parents[2] / "examples/train.py").read_text()
    assert "range(1500)" in script
    found = {}
    exec(script.split("# The picture")[0].replace("range(1500)", "range(120)"), found)
    assert np.mean(found["losses"][-20:]) < 0.7 * np.mean(found["losses"][:5])


@both_packages
def test_a_layer_says_what_it_is(package):
    layer = package.LSTM(3, sequences=True, dtype=np.float32)
    assert repr(layer) == "LSTM(3, sequences=True, dtype=float32)"
    layer.initialize_parameters(elements=2)
    assert repr(package.Bidirectional(layer, "sum")).startswith("Bidirectional(LSTM(3, e=2, sequences=True")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert package.__version__ == project["version"]
    assert repr(package.Stack([layer])) == "Stack([LSTM(3, e=2, sequences=True, dtype=float32)])"


@both_packages
def test_a_layer_needs_numpy_alone(package):
    allowed = {"numpy", package.__name__}
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] not in {allowed!r} | set(sys.stdlib_module_names):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import numpy as np, {package.__name__} as package\n"
        "layer = package.LSTM(2, rng=0)\n"
        "layer.initialize_parameters(elements=3)\n"
        "print(layer.forward(np.ones((1, 4, 3))).shape, package.__version__)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert ran.stdout.split() == ["(1,", "2)", package.__version__], ran.stderr
