"""ONNX models as a whole, by what enters and leaves them, in ONNX Runtime: right ones pass, wrong ones are named."""

from dataclasses import replace

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import numpy as np
import onnx
import onnx_models as models
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import _NodeTestCases as NODE_TESTS
from onnx.backend.test.case.node import gru, lstm, rnn

from lstm_checks.cases import LENGTHS, Case
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer

FEW = {"examples": 6, "max_dims": (3, 4, 3, 3)}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "m.onnx")


def passes(target, **options):
    report = verify(target, dtypes=target.dtypes, **{**FEW, **options})
    assert report.exit_code == 0, render_report(report)


RIGHT = {
    "alone": (models.alone, "plain@1xforward"),
    "opset 7": (lambda path: models.alone(path, opset=7), "plain@1xforward"),
    "opset 22": (lambda path: models.alone(path, opset=22, ir=10), "plain@1xforward"),
    "reverse": (lambda path: models.alone(path, "GRU", direction="reverse"), "gru@1xreverse"),
    "peepholes": (
        lambda path: models.alone(path, directions=2, peepholes=True, direction="bidirectional"),
        "peephole@1xboth",
    ),
    "GRU": (lambda path: models.alone(path, "GRU", linear_before_reset=1), "gru_reset_after@1xforward"),
    "RNN": (
        lambda path: models.alone(path, "RNN", 2, direction="bidirectional", activations=["Relu", "Relu"]),
        "rnn,g=relu@1xboth",
    ),
    "clip": (
        lambda path: models.alone(path, directions=2, direction="bidirectional", clip=0.75),
        "plain,f=clippedsigmoid:0.75,g=clippedtanh:0.75@1xboth",
    ),
    "clip with peepholes": (
        lambda path: models.alone(path, peepholes=True, clip=1.5),
        "peephole,f=clippedsigmoid:1.5,g=clippedtanh:1.5@1xforward",
    ),
    "clip of a GRU": (
        lambda path: models.alone(path, "GRU", clip=0.5),
        "gru,f=clippedsigmoid:0.5,g=clippedtanh:0.5@1xforward",
    ),
    "clip of an RNN": (lambda path: models.alone(path, "RNN", clip=0.5), "rnn,g=clippedtanh:0.5@1xforward"),
    "no biases": (lambda path: models.alone(path, bias=False, lengths="none"), "plain@1xforward"),
    "no states": (lambda path: models.alone(path, "GRU", states="none"), "gru@1xforward"),
    "two transposes": (models.batch_major, "plain"),
    "two transposes, no names": (lambda path: models.batch_major(path, dims=(None, None, None)), "plain"),
    "time first outside": (lambda path: models.batch_major(path, back=False), "plain"),
    "two nodes": (models.both_ways, "plain@1xboth"),
    "stack": (models.stack, "plain@2xboth"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_passes_as_what_it_is(path, name):
    make, cell = RIGHT[name]
    target = load_target(make(path))
    assert target.cell is cell_named(cell)
    lengths = "no states" not in name and "none" not in name
    if target.lengths:
        # ONNX Runtime gives zero for the final states of a sample of no steps, which is said.
        assert ("empty" in target.lengths) == (name == "no states")
        assert set(target.lengths) | {"empty"} == set(LENGTHS)
    assert set(target.cell.gradients) <= set(target.unsupported)
    assert ("initial states" in target.unsupported) == (not lengths or "transposes" in name or "outside" in name)
    assert ("bf_l0" in target.unsupported) == (name == "no biases")
    passes(target)


def test_the_axes_are_found_out_and_said(path):
    said = {
        name: next(note for note in load_target(RIGHT[name][0](path)).notes if note.startswith("its axes: "))
        for name in ("two transposes", "two transposes, no names", "time first outside", "stack")
    }
    assert said["two transposes"] == "its axes: x (m, s, e), y (m, s, u)"
    assert said["two transposes, no names"] == said["two transposes"]
    assert said["time first outside"] == "its axes: x (m, s, e), y (s, m, u)"
    assert "h0 (places, m, u)" in said["stack"]
    assert "y (s, m, directions u)" in said["stack"]


def test_sizes_that_a_model_declares_are_kept(path):
    target = load_target(models.batch_major(path, dims=(2, 5, 4)))
    assert {z: size for z, _, _, size in target.limits.given} == {"m": 2, "s": 5, "e": 4, "u": 3}
    assert "judged at its own sizes alone: m=2 s=5 e=4 u=3" in target.notes
    report = verify(target, examples=30, dtypes=target.dtypes)
    assert report.exit_code == 0, render_report(report)
    assert {entry.case.dims for entry in report.examples} == {(2, 5, 4, 3)}
    assert load_target(models.alone(path)).limits.given == ()


def test_a_model_whose_lengths_are_a_constant(path):
    model = onnx.load(models.alone(path))
    model.graph.initializer.append(numpy_helper.from_array(np.array([4, 2], np.int32), "lens"))
    del model.graph.input[1]
    onnx.save(model, path)
    target = load_target(path)
    assert "its lengths 'lens' are an initialiser, and set as its weights are" in target.notes
    assert ("m", 0, 0, 2) in target.limits.given
    assert target.lengths
    passes(target)


def test_the_rough_tanh_of_onnx_runtimes_gru_is_granted_to_the_model_and_a_wrong_model_fails(path):
    target = load_target(models.alone(path, "GRU", lengths="none", states="none", linear_before_reset=1))
    assert "accepted is 4 times the usual error: ONNX Runtime's GRU has a tanh that rough" in target.notes
    case = Case(6, 9, 4, 3, "float32", "mixed", states=False, seed=723, cell=target.cell)
    use = verify_case(target, case, properties=()).claim("h").use
    assert use < 1 < use * target.rounds
    other = replace(target, cell=cell_named("gru@1xforward"))
    assert verify_case(other, replace(case, cell=other.cell), properties=()).failures
    assert load_target(models.alone(path)).rounds == 1


WRONG = {
    "sequence_lens ignored": (lambda path: models.alone(path, lengths="unwired"), "lengths-ignored"),
    "initial states dropped": (
        lambda path: models.alone(path, states="unwired"),
        "layer 1, forward: initial-states-ignored-forward-only",
    ),
    "directions in the other order": (
        lambda path: models.both_ways(path, order=(1, 0)),
        "layer 1: directions-joined-in-the-other-order-forward-only",
    ),
    "initial states for each other": (
        lambda path: models.alone(path, states="crossed"),
        "h0-c0-swapped",
    ),
    "reverse not turned back": (
        lambda path: models.both_ways(path, turned_back=False),
        "layer 1, reverse: not-turned-back-forward-only",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_is_caught_and_named(path, name):
    make, due = WRONG[name]
    target = load_target(make(path))
    sizes = target.limits.fit({"m": 3, "s": 4, "e": 4, "u": 3})
    kind = "ragged" if target.lengths else ""
    case = Case(*sizes.values(), dtype="float32", seed=4, cell=target.cell, lengths=kind)
    assert verify_case(target, case, thorough=False).failures
    assert due in [suspect.fault for suspect in diagnose(target, case).suspects if suspect.certain]


def test_states_of_the_layers_swapped_are_caught(path):
    target = load_target(models.stack(path, states=(1, 0)))
    case = Case(3, 4, 4, 3, dtype="float32", seed=4, cell=target.cell, lengths="ragged")
    assert {claim.name for claim in verify_case(target, case, thorough=False).failures} >= {"h", "hn_l0", "Cn_l1"}


def test_the_batch_taken_for_the_time_is_caught_and_said(path):
    target = load_target(models.batch_major(path, transposed=False))
    assert "by what hangs on what its axes are rather x (s, m, e), y (s, m, u)" in target.notes
    assert verify_case(target, Case(3, 4, 4, 3, dtype="float32", states=False), thorough=False).failures
    # With nothing declared it is a right model that has the time first.
    passes(load_target(models.batch_major(path, transposed=False, dims=(None, None, None))))


CONVERTERS = {
    "gates in another order": ({"gates": "ifoc"}, "gate-order-oigf"),
    "bias doubled": ({"doubled": True}, "bias-added-twice"),
    "P missing": ({"peepholes": True, "wired": False}, "peepholes-ignored-forward-only"),
}


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_wrong_converter_is_caught_and_named(name):
    options, due = CONVERTERS[name]
    cell = cell_named("peephole" if "peepholes" in options else "plain")
    right = {"peepholes": True} if "peepholes" in options else {}
    case = Case(3, 4, 4, 3, dtype="float32", seed=4, cell=cell)
    assert not verify_case(_converted(cell, **right), case, thorough=False).failures
    wrong = _converted(cell, **options)
    assert verify_case(wrong, case, thorough=False).failures
    found = diagnose(wrong, case)
    assert due in [found.reading.partition(":")[0], *(s.fault for s in found.suspects if s.certain)], found


def _converted(cell, **options):
    return replace(to_target(models.converter(**options), "it", cell), dtypes=("float32",))


def refused(path):
    with pytest.raises(TargetError) as raised:
        load_target(path)
    return str(raised.value)


def changed(path, make, change):
    """Write a model of which something is changed."""
    model = onnx.load(make(path))
    change(model.graph)
    onnx.save(model, path)
    return path


def with_head(graph):
    graph.initializer.append(numpy_helper.from_array(np.ones((3, 2), np.float32), "fc.weight"))
    graph.node.append(helper.make_node("MatMul", ["y", "fc.weight"], ["z"], name="fc"))
    graph.output[0].CopyFrom(models.value("z", "batch", "seq", 2))


def with_relu(graph):
    graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="act"))
    graph.output[0].name = "z"


def with_made_weights(graph):
    graph.node.insert(0, helper.make_node("Neg", ["W"], ["W2"], name="neg"))
    graph.node[2].input[1] = "W2"


def with_half(graph):
    graph.node.append(helper.make_node("Cast", ["y"], ["y16"], to=TensorProto.FLOAT16, name="down"))
    graph.node.append(helper.make_node("Cast", ["y16"], ["z"], to=TensorProto.FLOAT))
    graph.output[0].name = "z"


def all_in_half(graph):
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def with_mask(graph):
    graph.input.append(models.value("mask", "batch", "seq"))


def with_another_cell(graph):
    graph.initializer.extend([numpy_helper.from_array(a, k) for k, a in models.weights("GRU", e=3, at="2").items()])
    graph.node.insert(3, helper.make_node("GRU", ["ys", "W2", "R2", "B2"], ["Y2"], name="gru", hidden_size=3))
    graph.node[4].input[0] = "Y2"


def with_one_direction(graph):
    graph.node[4].CopyFrom(helper.make_node("Identity", ["yf"], ["joined"]))


def with_one_in_reverse(graph):
    graph.initializer.extend([numpy_helper.from_array(a, k) for k, a in models.weights(e=3, at="2").items()])
    back = {"direction": "reverse", "hidden_size": 3, "name": "back"}
    graph.node.insert(3, helper.make_node("LSTM", ["ys", "W2", "R2", "B2"], ["Y2"], **back))
    graph.node[4].input[0] = "Y2"


REFUSED = {
    "different directions, LSTM node 'it' forward; LSTM node 'back' reverse, expected the same in each: cut it": (
        models.batch_major,
        with_one_in_reverse,
    ),
    "MatMul node 'fc' takes the weights 'fc.weight'": (models.batch_major, with_head),
    "Relu node 'act' computes something with 'Y'": (models.batch_major, with_relu),
    "W of LSTM node 'it' is made by Neg node 'neg'": (models.batch_major, with_made_weights),
    "Cast node 'down' makes it float16": (models.batch_major, with_half),
    "its input 'mask' reaches no LSTM, GRU or RNN node": (models.batch_major, with_mask),
    "two different cells, LSTM node 'it' and GRU node 'gru'": (models.batch_major, with_another_cell),
    "it is in float16: low precision is not judged of several layers or directions": (models.both_ways, all_in_half),
    "its output 'y' is of one direction, expected both": (models.both_ways, with_one_direction),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_judged_is_refused_with_its_name(path, words):
    assert words in refused(changed(path, *REFUSED[words]))


def test_what_onnx_runtime_has_no_kernel_for_is_refused_in_its_words(path):
    assert "it has no LSTM with layout=1, expected layout 0" in refused(models.alone(path, layout=1, lengths="none"))
    two = {"direction": "bidirectional", "activations": ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]}
    assert "expected one cell everywhere" in refused(models.alone(path, directions=2, **two))
    model = onnx.load(models.alone(path, lengths="none"))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(model, path)
    assert "it has no LSTM of float64, expected float32" in refused(path)


@pytest.mark.parametrize(
    "name", ["peephole", "coupled", "gru,g=softsign", "rnn", "plain@1xboth", "gru@2xsum", "rnn,g=clippedtanh:1"]
)
def test_a_cell_and_a_network_by_name_have_a_model_made_for_them(name):
    target = load_target("onnx", cell=cell_named(name))
    assert target.cell is cell_named(name)
    assert bool(target.lengths) == ("@" in name)
    passes(target)


def test_what_onnx_has_not_is_said():
    for name, words in (
        ("layernorm@1xboth", "ONNX has no LSTM with layer"),
        ("plain,f=hardsigmoid6", "hardsigmoid6"),
        ("plain,g=clippedtanh:1", "its clip is of all gates"),
    ):
        with pytest.raises(TargetError, match=words):
            load_target("onnx", cell=cell_named(name))


def test_every_node_test_of_onnx_is_judged_or_refused_in_words(tmp_path):
    # To import them is to have them made; all others of ONNX would take half a minute.
    assert gru
    assert lstm
    assert rnn
    judged, refusals = [], {}
    for test in (
        test for test in NODE_TESTS if {node.op_type for node in test.model.graph.node} & {"LSTM", "GRU", "RNN"}
    ):
        path = str(tmp_path / f"{test.name}.onnx")
        onnx.save(test.model, path)
        try:
            target = load_target(path)
        except TargetError as error:
            refusals[test.name] = str(error)
            continue
        judged.append(test.name)
        passes(target, examples=3)
    assert len(judged) >= 7
    # The one thing that ONNX Runtime has no kernel for.
    assert all("with layout=1" in words for words in refusals.values()), refusals
    assert {name.rpartition("_")[2] for name in refusals} == {"batchwise"}


def test_the_right_twin_of_every_option_runs_as_the_file_says(path):
    """What the adapter feeds is what a user would feed: the file by itself gives the same with the same weights."""
    target = load_target(models.alone(path))
    case = Case(3, 4, 2, 3, dtype="float32", seed=1, cell=target.cell, lengths="ragged")
    outputs, _ = target.call(case.arrays.given)
    model = onnx.load(path)
    p = case.arrays.p
    stacked = {
        "W": [p[f"U{k}_l0"].T for k in "iofg"],
        "R": [p[f"V{k}_l0"].T for k in "iofg"],
        "B": [p[f"b{k}_l0"][0] for k in "iofg"] + [np.zeros(3, np.float32)] * 4,
    }
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.concatenate(stacked[tensor.name])[np.newaxis], tensor.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = case.arrays.given
    states = {"initial_h": given["h0_l0"][np.newaxis], "initial_c": given["C0_l0"][np.newaxis]}
    feed = {"X": given["X"].swapaxes(0, 1), "lens": given["lengths"].astype(np.int32), **states}
    Y, hn, Cn = session.run(None, {name: np.ascontiguousarray(array) for name, array in feed.items()})
    np.testing.assert_allclose(outputs["h"], Y[:, 0].swapaxes(0, 1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs["hn_l0"], hn[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs["Cn_l0"], Cn[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("opset", [7, 8, 9, 11, 13, 14, 17, 19, 21, 22])
def test_every_operator_is_judged_at_every_opset(path, operator, opset):
    ir = 3 if opset == 7 else 8 if opset < 20 else 10
    target = load_target(models.alone(path, operator, opset=opset, ir=ir))
    cell = {"LSTM": "plain", "GRU": "gru", "RNN": "rnn"}[operator]
    assert target.cell.name == f"{cell}@1xforward"
    passes(target, examples=4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": 1}, "it has no LSTM with layout=1, expected layout 0 between transposes"),
        ({"peepholes": True, "input_forget": 1}, "it has both input_forget and P, expected one of them"),
        ({"activations": ["Gelu", "Tanh", "Tanh"]}, "it has the activation gelu, expected one of sigmoid, tanh"),
        ({"direction": "sideways"}, "has the direction 'sideways', expected one of forward, reverse, bidirectional"),
        (
            {"directions": 2, "direction": "bidirectional", "activations": [*"STT", *"HTT"]},
            "it has the activation s, expected one of",
        ),
    ],
)
def test_an_attribute_that_cannot_be_judged_is_refused_in_words(path, options, words):
    with pytest.raises(TargetError, match=words):
        load_target(models.alone(path, **options))
