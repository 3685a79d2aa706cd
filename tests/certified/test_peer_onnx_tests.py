"""ONNX backend tests with certified answers: ONNX's reference and ONNX Runtime pass, a wrong order of gates fails."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.peer
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("flint")

from onnx import numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from lstm_checks.certified import onnx_tests  # noqa: E402
from lstm_checks.tolerance import ONNX_ATOL, ONNX_RTOL  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tests, of few candidates: what holds of those that are chosen holds of any."""
    found = tmp_path_factory.mktemp("onnx")
    onnx_tests.write_onnx_tests(found, tuple(replace(kind, candidates=8) for kind in onnx_tests.KINDS))
    return found


def read(folder, word):
    found = sorted((folder / "test_data_set_0").glob(f"{word}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    tensors = [onnx.TensorProto.FromString(path.read_bytes()) for path in found]
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def passes(answer, due):
    return all(
        came.shape == value.shape and np.allclose(came, value, ONNX_RTOL, ONNX_ATOL)
        for came, value in zip(answer, due.values(), strict=True)
    )


def ort(folder, given):
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, given)


def test_there_are_few_of_each_kind(folder):
    notes = json.loads((folder / "notes.json").read_text())
    for kind in onnx_tests.KINDS:
        names = [name for name in notes if name.startswith(f"test_{kind.name}_certified_")]
        assert 1 <= len(names) <= kind.most <= 7
        assert all((folder / name / "model.onnx").exists() for name in names)
    assert all(note["exposes"] for note in notes.values())


def test_onnx_runtime_passes_all_and_fails_with_two_gates_exchanged(folder):
    for path in sorted(folder.glob("test_*")):
        given, due = read(path, "input"), read(path, "output")
        assert passes(ort(path, given), due), path.name
        if "_rnn_" in path.name:
            continue
        # The first two gates of each direction: i and o of an LSTM, z and r of a GRU.
        u = given["R"].shape[-1]
        order = np.r_[u : 2 * u, :u, 2 * u : given["R"].shape[1]]
        wrong = given | {n: given[n][:, order] for n in "WR"}
        half = given["R"].shape[1]
        wrong["B"] = np.concatenate([given["B"][:, :half][:, order], given["B"][:, half:][:, order]], axis=1)
        assert not passes(ort(path, wrong), due), path.name


def test_onnx_own_reference_passes_what_it_takes(folder):
    taken = []
    for path in sorted(folder.glob("test_*")):
        given, due = read(path, "input"), read(path, "output")
        if "sequence_lens" in given:
            continue  # it takes no notice of lengths
        answer = ReferenceEvaluator(str(path / "model.onnx")).run(None, given)
        assert passes(answer, due), path.name
        taken.append(path.name.split("_certified")[0])
    assert {"test_lstm", "test_lstm_peepholes", "test_gru", "test_rnn"} <= set(taken)
