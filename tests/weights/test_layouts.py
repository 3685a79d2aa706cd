"""Weight layouts: there and back for every one, and files converted or refused with the reason."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN
from lstm_checks.targets.common import AdapterError, weights_of
from lstm_checks.weights.carrying import from_framework, gradients_from_framework, to_framework
from lstm_checks.weights.files import WeightsError, convert, read_arrays, write_arrays
from lstm_checks.weights.guessing import from_shapes, recognize
from lstm_checks.weights.layouts import LAYOUTS, LayoutError, find_layout

every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
sizes = {"e": st.integers(1, 6), "u": st.integers(1, 6), "seed": st.integers(0, 2**16)}


def parameters(e, u, seed=0, dtype="float64"):
    return {name: array.copy() for name, array in Case(1, 1, e, u, dtype, seed=seed).arrays.p.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(**sizes)
def test_there_and_back(layout, e, u, seed):
    p = parameters(e, u, seed)
    arrays = to_framework(p, layout)
    assert {name: array.shape for name, array in arrays.items()} == LAYOUTS[layout].shapes(e, u)
    back = from_framework(arrays, layout, units=u)
    for name in PLAIN.parameters:
        # What is taken off the forget gate's bias and added again may round, once each way.
        slack = 2**-52 * (1 + np.abs(p[name])) if LAYOUTS[layout].forget_bias and name == "bf" else 0
        assert np.all(np.abs(back[name] - p[name]) <= slack), name


@pytest.mark.parametrize("layout", LAYOUTS)
@given(**sizes)
def test_back_and_there(layout, e, u, seed):
    """What a framework holds comes back as it was, but for what only sums tell: two biases."""
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[layout]
    arrays = {name: rng.standard_normal(shape) for name, shape in layout.shapes(e, u).items()}
    back = to_framework(from_framework(arrays, layout, units=u), layout)
    if layout.biases == "two":
        again = to_framework(from_framework(back, layout, units=u), layout)
        assert all(np.array_equal(again[name], back[name]) for name in arrays)
        kept = [name for name in arrays if name not in ("weights", "B") and "bias" not in name]
    else:
        kept = [name for name in arrays if not (layout.forget_bias and name in ("b", "bias"))]
    assert all(np.array_equal(back[name], arrays[name]) for name in kept)


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout.biases == "two"])
@given(**sizes)
def test_two_biases_are_summed_and_each_has_the_gradient_of_the_sum(layout, e, u, seed):
    layout = LAYOUTS[layout]
    first = to_framework(parameters(e, u, seed), layout)
    both = gradients_from_framework(first, layout, units=u)
    assert sorted(set(both) - set(PLAIN.gradients)) == sorted(layout.twins)
    assert all(not both[twin].any() for twin in layout.twins)
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal(array.shape) for name, array in first.items()}
    gradients = gradients_from_framework(arrays, layout, units=u)
    summed = from_framework(arrays, layout, units=u)
    for twin, name in layout.twins.items():
        assert np.array_equal(gradients[name] + gradients[twin], summed[name.removeprefix("d")])
        assert not np.array_equal(gradients[name], gradients[twin])


@every_layout
def test_a_layouts_gate_order_is_where_its_gates_are(layout):
    """One marked gate shows up in the u entries that the order says."""
    e, u = 2, 3
    for gate in PLAIN.gates:
        p = {name: np.full_like(value, float(name.endswith(gate))) for name, value in parameters(e, u).items()}
        p["bf"] = p["bf"] + layout.forget_bias
        arrays = to_framework(p, layout)
        if layout.gates == "by name" or layout.flat:
            continue
        block = layout.blocks[0]
        weights = arrays[block.name].reshape(block.shape(e, u)[block.lead :])
        axis = {"gates along rows": 0, "gates along columns": 1, "gates on an axis of their own": 1}[block.form]
        lines = np.moveaxis(weights, axis, 0).reshape(4, -1)
        assert [bool(line.all()) for line in lines] == [gate == g for g in layout.gates]


@every_layout
@given(e=st.integers(2, 6), u=st.integers(2, 6))
def test_a_layout_is_recognized_by_names_and_shapes(layout, e, u):
    shapes = layout.shapes(e, u)
    found, prefix = recognize({f"encoder.lstm.{name}": shape for name, shape in shapes.items()}, e, u)
    assert prefix == "encoder.lstm."
    # Some frameworks share all names and shapes; then it is the one that comes first.
    assert found.shapes(e, u) == shapes
    assert found.gates == layout.gates
    assert recognize({**shapes, "more.weight": (e, u)}, e, u)[0].shapes(e, u) == shapes


def test_unknown_names_are_told_by_shapes():
    e, u = 5, 7
    assert from_shapes({"i2h": (4 * u, e), "h2h": (4 * u, u), "c": (4 * u,)}, e, u, "figo").gates == "figo"
    apart = {f"{kind}_{gate}": shape for gate in "ifco" for kind, shape in (("W", (u, e)), ("R", (u, u)), ("b", (u,)))}
    layout = from_shapes(apart, e, u)
    assert {block.name: block.kinds[0] + block.gates for block in layout.blocks}["R_c"] == "Vg"
    assert {block.form for block in layout.blocks if block.name[0] in "WR"} == {"gates along rows"}
    assert from_shapes({"a": (4 * u, e), "b": (4 * u, u)}, e, u) is None
    joined = from_shapes({"w": (4 * u, e + u), "b": (4 * u,)}, e, u)
    assert [(block.name, block.kinds) for block in joined.blocks] == [("w", ("U", "V")), ("b", ("b",))]
    besides = from_shapes({"i2h": (4 * u, e), "h2h": (4 * u, u), "c": (4 * u,), "d": (3, 3)}, e, u)
    assert [block.name for block in besides.blocks] == ["i2h", "h2h", "c"]


def test_gates_are_told_by_the_letter_at_which_names_differ_and_two_biases_apart():
    e, u = 5, 7
    words = {"f": "forget_gate", "i": "input_gate", "g": "candidate", "o": "output_gate"}
    layout = from_shapes(
        {f"{w}.{k}": s for w in words.values() for k, s in (("weight", (u, e + u)), ("bias", (u,)))}, e, u
    )
    assert {block.name.partition(".")[0]: block.gates for block in layout.blocks} == {w: g for g, w in words.items()}
    shapes = {f"{k}_{g}.weight": (u, n) for g in "ifgo" for k, n in (("x", e), ("h", u))}
    layout = from_shapes(shapes | {f"{k}_{g}.bias": (u,) for g in "ifgo" for k in "xh"}, e, u)
    assert {block.name: block.kinds for block in layout.blocks if block.is_bias and block.gates == "f"} == {
        "x_f.bias": ("b",),
        "h_f.bias": ("b2",),
    }
    assert layout.twins == {f"db{g} of h_{g}.bias": f"db{g}" for g in "ifgo"}
    p = Case(1, 1, e, u).arrays.p
    gradients = gradients_from_framework(to_framework(p, layout), layout)
    assert set(gradients) == {f"d{name}" for name in p} | set(layout.twins)
    assert all(
        np.array_equal(value, p[name]) for name, value in from_framework(to_framework(p, layout), layout).items()
    )
    assert from_shapes({f"{k}_{g}": (u, e) for g in "xyzt" for k in "ab"}, e, u) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("weight_hh_l0"), "weight_hh_l0 is missing, expected (4u, u) = (12, 3)"),
        (
            lambda a: a.update(weight_hh_l0=np.ones((12, 5))),
            "weight_hh_l0 has shape (12, 5), expected (4u, u) = (12, 3)",
        ),
        (lambda a: a.update(bias_ih_l0=np.ones((1, 12))), "bias_ih_l0 has shape (1, 12), expected (4u,) = (12,)"),
        (lambda a: a.update(more=np.ones(2)), "more is none of layout torch's arrays, weight_ih_l0"),
        (
            lambda a: a.update(weight_ih_l0=np.ones((12, 2), int)),
            "weight_ih_l0 has dtype int64, expected floating point",
        ),
        (lambda a: a.update(weight_ih_l0=np.ones((12, 2), "f")), "arrays of one dtype expected"),
        (
            lambda a: a.update(weight_hr_l0=np.ones((1, 3))),
            "weight_hh_l0 has shape (12, 3), expected (4u, p) = (12, 1)",
        ),
        (lambda a: a.update(weight_ih_l0=np.ones(24)), "weight_ih_l0 has shape (24,), expected (4u, e)"),
    ],
)
def test_what_does_not_fit_is_named_with_what_is_expected(change, words):
    arrays = to_framework(parameters(2, 3), "torch")
    change(arrays)
    with pytest.raises(LayoutError) as raised:
        from_framework(arrays, "torch")
    assert words in str(raised.value)


def test_an_unknown_layout_and_a_flat_one_without_units():
    with pytest.raises(LayoutError, match=r"there is no layout 'troch'.*did you mean 'torch'"):
        find_layout("troch")
    flat = to_framework(parameters(2, 3), "cudnn")
    with pytest.raises(LayoutError, match="does not tell u"):
        from_framework(flat, "cudnn")
    with pytest.raises(LayoutError, match="weights has shape"):
        from_framework({"weights": flat["weights"][1:]}, "cudnn", units=3)


def stack(prefix="", layers=2, e=2, u=3):
    """Return the arrays of a bidirectional torch.nn.LSTM of some layers."""
    arrays = {}
    for layer in range(layers):
        for k, suffix in enumerate(("", "_reverse")):
            one = to_framework(parameters(e if layer == 0 else 2 * u, u, seed=2 * layer + k), "torch")
            arrays |= {f"{prefix}{n.removesuffix('_l0')}_l{layer}{suffix}": a for n, a in one.items()}
    return arrays


@pytest.mark.parametrize("prefix", ["", "encoder.lstm."])
@pytest.mark.parametrize("target", ["onnx", "keras", "flax", "torch", "openvino", "named"])
def test_layers_and_directions_are_converted_there_and_back(prefix, target):
    arrays = stack(prefix)
    there, told = convert(arrays, LAYOUTS["torch"], LAYOUTS[target])
    assert len(told) == 4
    back, _ = convert(there, LAYOUTS[target], LAYOUTS["torch"])
    assert sorted(back) == sorted(arrays)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    if target == "onnx":
        assert there[f"{prefix}W"].shape == (2, 12, 2)
        assert there[f"{prefix}l1.W"].shape == (2, 12, 6)


def test_one_module_of_a_model_is_converted_and_strangers_are_refused():
    model = stack("encoder.lstm.", 1) | {"embedding.weight": np.ones((4, 2)), "head.bias": np.ones(3)}
    with pytest.raises(WeightsError, match=r"no LSTM in layout torch: embedding.weight, head.bias; .*--module encoder"):
        convert(model, LAYOUTS["torch"], LAYOUTS["onnx"])
    arrays, _ = convert(model, LAYOUTS["torch"], LAYOUTS["onnx"], module="encoder.lstm")
    assert sorted(arrays) == ["encoder.lstm.B", "encoder.lstm.R", "encoder.lstm.W"]
    with pytest.raises(WeightsError, match=r"begins with decoder\., expected one of embedding, encoder.lstm, head"):
        convert(model, LAYOUTS["torch"], LAYOUTS["onnx"], module="decoder")
    with pytest.raises(WeightsError, match="no LSTM in layout keras here, expected arrays named kernel"):
        convert(stack(), LAYOUTS["keras"], LAYOUTS["onnx"])


def test_missing_biases_are_zero_only_where_that_is_said():
    arrays = {name: a for name, a in to_framework(parameters(2, 3), "torch").items() if "bias" not in name}
    with pytest.raises(WeightsError, match=r"bias_ih_l0 is missing, expected \(4u,\) = \(12,\).*--no-bias"):
        convert(arrays, LAYOUTS["torch"], LAYOUTS["onnx"])
    found, _ = convert(arrays, LAYOUTS["torch"], LAYOUTS["onnx"], bias=False)
    assert not found["B"].any()
    with pytest.raises(WeightsError, match="weight_hh_l0 is missing"):
        convert({"weight_ih_l0": arrays["weight_ih_l0"]}, LAYOUTS["torch"], LAYOUTS["onnx"], bias=False)


def run(*arguments, cwd):
    command = [sys.executable, "-W", "error", "-m", "lstm_checks", "convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)


@pytest.mark.parametrize(
    ("more", "gates", "said"),
    [
        (
            {"weight_hh_l0_reverse": (28, 7)},
            4,
            "it has two directions, give one, or a function of all by name, .* --bidirectional",
        ),
        (
            {"weight_ih_l1": (28, 7), "weight_hh_l1": (28, 7)},
            4,
            "it has several layers, give one, or a function of all by name, .* --layers N",
        ),
        ({}, 3, "it has three gates, as a GRU has"),
    ],
)
def test_why_weights_are_not_those_of_one_lstm_is_said(more, gates, said):
    rows = 7 * gates
    shapes = {"weight_ih_l0": (rows, 5), "weight_hh_l0": (rows, 7), "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}
    with pytest.raises(AdapterError, match=f"of mine are not those of one LSTM, in any layout known: {said}. "):
        weights_of(shapes | more, "mine")


@pytest.mark.parametrize("prefix", ["", "encoder.lstm."])
@pytest.mark.parametrize("biases", [True, False])
def test_a_projection_and_no_biases_are_seen_by_the_names(prefix, biases):
    shapes = {"weight_ih_l0": (28, 5), "weight_hh_l0": (28, 3), "weight_hr_l0": (3, 7)}
    shapes |= {"bias_ih_l0": (28,), "bias_hh_l0": (28,)} if biases else {}
    found = weights_of({prefix + name: shape for name, shape in shapes.items()}, "mine")
    assert (found.cell.name, found.projection, found.prefix) == ("projected", f"{prefix}weight_hr_l0", prefix)
    assert found.layout.shapes(5, 7, 3) == shapes
    assert found.absent() == set() if biases else {"bf", "dbo"} <= found.absent()
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    p = from_framework(arrays, found.layout)
    assert {name: value.shape for name, value in p.items() if name in ("P", "Vf")} == {"P": (7, 3), "Vf": (3, 7)}
    back = to_framework(p, found.layout)
    assert np.array_equal(back["weight_hr_l0"], arrays["weight_hr_l0"])
    assert np.array_equal(back["weight_hh_l0"], arrays["weight_hh_l0"])


def test_weights_of_unknown_names_may_be_without_biases():
    found = weights_of({"into": (5, 28), "again": (7, 28)}, "mine")
    assert (found.layout.of, found.layout.biases) == ("told by shapes", "none")
    assert found.absent() == {f"{d}b{gate}" for gate in "figo" for d in ("", "d")}


def shapes_at(e, u):
    """An LSTM with peepholes, as somebody's module may keep it."""
    names = {f"{kind}_{gate}": (u, {"W": e, "R": u}[kind]) for gate in "ifco" for kind in "WR"}
    return (
        names
        | {f"b_{gate}": (u,) for gate in "ifco"}
        | {f"p_{gate}": (u,) for gate in "ifo"}
        | {"gain": (3 * u, e + 2)}
    )


def test_parameters_besides_are_told_by_their_sizes():
    found = weights_of(shapes_at(5, 7), "mine", at_sizes=shapes_at)
    assert sorted(found.layout.names) == sorted(name for name in shapes_at(5, 7) if name[0] in "WRb")
    assert [(extra.name, extra.formula) for extra in found.extras] == [
        *((f"p_{gate}", "(u,)") for gate in "ifo"),
        ("gain", "(3u, e+2)"),
    ]
    assert found.lacks() == frozenset()


@pytest.mark.parametrize(
    "more", [lambda e, u: {"w": (u * e,)}, lambda e, u: {"w": (u,) * (e - 4)}, lambda e, u: {f"w{u}": (u,)}]
)
def test_parameters_besides_of_no_such_sizes_are_refused(more):
    with pytest.raises(AdapterError, match=r"mine has w7? besides, whose sizes do not follow from those of the LSTM"):
        weights_of(shapes_at(5, 7) | more(5, 7), "mine", at_sizes=lambda e, u: shapes_at(e, u) | more(e, u))


def test_biases_that_do_not_learn_are_found_and_their_gradients_left_out():
    weights = {"weight_ih": (28, 5), "weight_hh": (28, 7)}
    others = {"bias_ih": ((28,), "a buffer"), "bias_hh": ((28,), "a buffer"), "mask": ((28,), "a buffer")}
    found = weights_of(weights, "mine", others)
    assert (found.layout.name, found.twins(), found.extras) == ("torch-cell", {}, ())
    assert found.lacks() == {"dbf", "dbi", "dbg", "dbo"}
    assert found.notes()[0] == "bias_ih does not learn, a buffer: dbi, dbf, dbg, dbo not judged"
    both = weights | {"bias_ih": (28,), "bias_hh": (28,)}
    second = weights_of(both, "mine", frozen={"bias_hh": "its requires_grad is False"})
    assert (second.lacks(), second.twins()) == (frozenset(), {})
    first = weights_of(both, "mine", frozen={"bias_ih": "its requires_grad is False"})
    assert len(first.lacks()) == len(first.twins()) == 4


def test_the_command_converts_a_file(tmp_path):
    p = parameters(2, 3, dtype="float32")
    write_arrays(tmp_path / "weights.npz", to_framework(p, "torch"))
    found = run("--from", "torch", "--to", "onnx", "weights.npz", "out.npz", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "LSTM layer 0: input size 2, 3 units, float32\n  W (1, 12, 2)" in found.stdout
    back = from_framework(read_arrays(tmp_path / "out.npz"), "onnx")
    assert all(np.array_equal(back[name], p[name]) and back[name].dtype == "float32" for name in PLAIN.parameters)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "weights.npz"]
    assert "cudnn (from documentation)" in run("--layouts", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "troch", "--to", "onnx", "w.npz", "o.npz"), "there is no layout 'troch'"),
        (("--from", "keras", "--to", "onnx", "w.npz", "o.npz"), "there is no LSTM in layout keras here"),
        (("--from", "torch", "--to", "onnx", "no.npz", "o.npz"), "there is no file no.npz"),
        (("--from", "torch", "--to", "onnx", "w.npz", "o.txt"), "o.txt ends in '.txt', expected .npz or .safetensors"),
        (("--from", "torch", "--to", "onnx", "w.npz", "no/o.npz"), "cannot be written: No such file or directory"),
        (("--from", "torch", "--to", "onnx", "broken.npz", "o.npz"), "broken.npz is no npz file"),
        (("--from", "torch", "--to", "onnx", "cut.npz", "o.npz"), "cut.npz cannot be read as npz"),
        (("--from", "torch", "--to", "onnx", "pickled.npz", "o.npz"), "pickled.npz cannot be read as npz: ValueError"),
    ],
)
def test_what_cannot_be_converted_is_exit_2_and_leaves_all_as_it_was(tmp_path, arguments, words):
    write_arrays(tmp_path / "w.npz", to_framework(parameters(2, 3), "torch"))
    whole = (tmp_path / "w.npz").read_bytes()
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    (tmp_path / "cut.npz").write_bytes(whole[:100] + b"\xff" * 60 + whole[160:])
    np.savez(tmp_path / "pickled.npz", weight_ih_l0=np.array([print], dtype=object))
    (tmp_path / "o.npz").write_bytes(b"before")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found = run(*arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert words in found.stderr
    assert "Traceback" not in found.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.peer
def test_safetensors_there_and_back(tmp_path):
    pytest.importorskip("safetensors")
    p = parameters(2, 3)
    write_arrays(tmp_path / "w.safetensors", to_framework(p, "keras"))
    assert run("--from", "keras", "--to", "torch", "w.safetensors", "o.safetensors", cwd=tmp_path).returncode == 0
    back = from_framework(read_arrays(tmp_path / "o.safetensors"), "torch")
    assert all(np.array_equal(back[name], p[name]) for name in PLAIN.parameters)
    (tmp_path / "w.safetensors").write_bytes(b"nothing at all")
    found = run("--from", "keras", "--to", "torch", "w.safetensors", "o.safetensors", cwd=tmp_path)
    assert found.returncode == 2
    assert "w.safetensors cannot be read as safetensors" in found.stderr
