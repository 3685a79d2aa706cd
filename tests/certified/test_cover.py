"""As few vectors as will do, and the formats of others that need nothing further."""

import csv
import json

import numpy as np
import pytest
from command_line import run

from lstm_checks.cases import Case
from lstm_checks.certified.cover import cover, exposes, forward_faults
from lstm_checks.certified.formats import GATES, parts, write_by_name, write_csv
from lstm_checks.certified.read import read_vectors_file
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import find
from lstm_checks.tolerance import ONNX_ATOL, ONNX_RTOL


def test_each_case_that_is_chosen_exposes_what_those_before_do_not():
    tries = [Case(m, s, 2, 2, seed=seed).arrays for m, s, seed in ((1, 1, 0), (2, 3, 1), (2, 3, 2), (1, 2, 3))]
    chosen, exposed = cover(PLAIN, tries, ONNX_RTOL, ONNX_ATOL, 3)
    assert 1 <= len(chosen) <= 3
    seen = set()
    for k in chosen:
        assert set(exposed[k]) - seen
        seen |= set(exposed[k])
    assert len(exposed[chosen[0]]) == max(map(len, exposed.values()))
    assert "gate-order-ifgo" in seen
    assert not seen & {id for id in forward_faults(PLAIN) if find(id, PLAIN).family == "carry"}


def test_what_is_within_the_rule_is_not_exposed():
    arrays = Case(2, 3, 2, 2, seed=1).arrays
    fault = find("gate-order-ifgo", PLAIN)
    assert exposes(fault, arrays, ONNX_RTOL, ONNX_ATOL)
    assert not exposes(fault, arrays, 0.0, 10.0)
    assert not exposes(find("dvo-transposed", PLAIN), arrays, ONNX_RTOL, ONNX_ATOL)


def test_npz_holds_every_array_by_name(tmp_path):
    vectors = read_vectors_file().vectors
    assert write_by_name(tmp_path / "v.npz") == len(vectors)
    with np.load(tmp_path / "v.npz") as found:
        for vector in vectors[::17]:
            for kind, name, array in parts(vector):
                np.testing.assert_array_equal(found[f"{vector.id}/{kind}/{name}"], array)


def test_a_line_of_csv_gives_the_same_numbers_back(tmp_path):
    vectors = read_vectors_file().vectors
    assert write_csv(tmp_path / "v.csv") == len(vectors)
    with open(tmp_path / "v.csv", encoding="ascii") as file:
        lines = {tuple(line[:3]): line[3:] for line in csv.reader(file)}
    for vector in vectors[::17]:
        for kind, name, array in parts(vector):
            line = lines[vector.id, kind, name]
            came = np.array([float(x) for x in line[3:]]).reshape([int(n) for n in line[:3]])
            np.testing.assert_array_equal(came.reshape(np.shape(array)), array)


def webnn(test, order):
    """Follow WebNN's description of `lstm`, with the gates in an order."""
    given = {n: np.reshape(t["data"], t["descriptor"]["shape"]) for n, t in test["graph"]["inputs"].items()}
    (operator,) = test["graph"]["operators"]
    arguments = {k: v for argument in operator["arguments"] for k, v in argument.items()}
    u = arguments["hiddenSize"]
    h, C = given["lstmInitialHiddenState"][0], given["lstmInitialCellState"][0]
    every = []
    for t in range(arguments["steps"]):
        a = given["lstmInput"][t] @ given["lstmWeight"][0].T + h @ given["lstmRecurrentWeight"][0].T
        a = dict(zip(order, np.split(a + given["lstmBias"][0], range(u, 4 * u, u), axis=1), strict=True))
        i, o, f = ((1 + np.tanh(a[gate] / 2)) / 2 for gate in "iof")
        C = f * C + i * np.tanh(a["g"])
        h = o * np.tanh(C)
        every.append(h)
    return {"lstmOutput1": h[None], "lstmOutput2": C[None], "lstmOutput3": np.stack(every)[:, None]}


def test_webnn_tests_are_right_and_see_an_order_of_gates(tmp_path):
    told = run("vectors", "write", "wpt.json", "--format", "wpt", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    tests = json.loads((tmp_path / "wpt.json").read_text())["tests"]
    assert 1 <= len(tests) <= 7
    failed = []
    for test in tests:
        due = {n: np.reshape(t["data"], t["descriptor"]["shape"]) for n, t in test["graph"]["expectedOutputs"].items()}
        right, wrong = webnn(test, GATES), webnn(test, "ifgo")
        for name, value in due.items():
            np.testing.assert_allclose(right[name], value, rtol=1e-4, atol=1e-7)
        failed.append(any(not np.allclose(wrong[n], due[n], ONNX_RTOL, ONNX_ATOL) for n in due))
    assert any(failed)


@pytest.mark.parametrize(
    ("name", "format", "said"),
    [("v.json", "npz", "ends in .npz, not v.json"), ("no/v.csv", "csv", "is in no folder that there is")],
)
def test_what_cannot_be_written_is_refused(name, format, said, tmp_path):
    told = run("vectors", "write", name, "--format", format, cwd=tmp_path)
    assert told.returncode == 2
    assert said in told.stderr
