"""Every cell's vectors, and those of networks, are what they say; each is run on the target of its cell alone."""

import hashlib
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from command_line import run

from lstm_checks.cases import Case
from lstm_checks.certified.equations import equations
from lstm_checks.certified.errors import known_errors
from lstm_checks.certified.explain import explain_vectors
from lstm_checks.certified.read import (
    SHIPPED,
    VectorsError,
    _data,
    read_vectors,
    read_vectors_file,
    shipped_vectors,
    vectors_schema,
)
from lstm_checks.certified.run import run_vectors
from lstm_checks.certified.vectors import checksum, flags_of
from lstm_checks.certified.write import SHIPPED_NETWORKS, write_vectors
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.model import fault_target
from lstm_ref.cells import CELLS, cell_named

NAMES = (*(name for name in CELLS if name != "plain"), *SHIPPED_NETWORKS)
by_name = pytest.mark.parametrize("name", NAMES)
RELU = cell_named("plain,f=hardsigmoid,g=relu")


def able(cell):
    """Return the reference as a target, which takes all lengths."""
    target = fault_target(cell=cell)
    return replace(target, lengths=("whole", "ragged", "sorted", "short", "ones", "empty")) if cell.places else target


def test_there_is_a_file_for_every_cell_and_one_of_networks():
    assert set(SHIPPED) == {*CELLS, "networks"}
    for name, (file, sha256) in SHIPPED.items():
        data = _data(file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, name
        assert name == "plain" or len(data) <= (250_000 if name == "networks" else 110_000)


@by_name
def test_the_shipped_vectors_are_those_of_their_cases_and_the_reference_passes_them(name):
    cell = cell_named(name)
    report = run_vectors(able(cell))
    assert report.file.shipped
    assert report.counts == {"pass": len(report.results), "fail": 0, "unsupported": 0}
    assert {result.vector.dtype for result in report.results} == {"float64", "float32"}
    assert max(result.use for result in report.results) < 0.7
    for result in report.results:
        vector = result.vector
        case = Case.parse(vector.id)
        assert (case.cell.name, case.dims, case.sequences) == (name, vector.dims, vector.sequences)
        assert vector.cell.lengths == case.arrays.cell.lengths
        assert all((vector.arrays[k] == value).all() for k, value in case.arrays.items())
        assert vector.flags == tuple(flag for flag, (holds, _) in flags_of(cell).items() if holds(case))
        for k in cell.tensors:
            assert (vector.radii[k] <= np.spacing(np.abs(vector.values[k]))).all()


@pytest.mark.parametrize("name", NAMES[:-1])  # the larger network's faults take long to be made
def test_what_they_say_they_expose_they_do_and_it_is_all_but_nothing(name):
    cell = cell_named(name)
    vectors, errors = read_vectors(cell=cell), known_errors(cell)
    exposed = {error for vector in vectors for error in vector.exposes}
    assert exposed <= set(errors)
    # A bias has no place in a backward pass; what is catalogued later is not in a file that ships already.
    assert len(exposed) > 0.9 * len(errors)
    for vector in vectors:
        for error in vector.exposes[:: 1 + len(vector.exposes) // 3]:
            wrong = errors[error].evaluate(vector.arrays)
            deviations = (np.abs(wrong[k] - vector.values[k]) / vector.tolerances[k] for k in cell.tensors)
            assert any(not (deviation <= 1).all() for deviation in deviations), error


@pytest.mark.parametrize("name", SHIPPED_NETWORKS)
def test_those_of_a_network_expose_every_fault_of_its_composition(name):
    cell = cell_named(name)
    exposed = {error for vector in read_vectors(cell=cell) for error in vector.exposes}
    assert {*composition_faults(cell)} <= exposed


def test_the_files_are_of_the_schema_and_explain_themselves():
    schema = json.loads(vectors_schema(CELLS["gru"]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, (file, _) in SHIPPED.items():
        if name == "plain":
            continue
        content = json.loads(_data(file).read_text())
        jsonschema.validate(content, schema)
        notes, vectors = content["notes"], content["vectors"]
        assert set(notes["errors"]) == {error for vector in vectors for error in vector["exposes"]}
        assert set(notes["flags"]) == {flag for vector in vectors for flag in vector["flags"]}
        for vector in vectors:
            assert set(equations(cell_named(vector["cell"]))) <= set(notes["layer"])
            assert {*vector["inputs"], *vector["outputs"]} <= set(notes["shapes"][vector["cell"]])


def test_a_fault_fails_them_and_is_suspected():
    cell, id = CELLS["coupled"], "carry-dropped"
    target = replace(fault_target(find(id, cell), cell=cell), name="planted")
    report = run_vectors(target)
    assert report.counts["fail"] > 0
    assert id in [suspect.fault for suspect in explain_vectors(target, report).diagnosis.suspects]


def test_other_activations_have_vectors_that_are_written_when_asked_for(tmp_path):
    pytest.importorskip("flint")
    with pytest.raises(VectorsError, match=r"no vectors of the cell plain,f=hardsigmoid,g=relu came with lstm-checks"):
        shipped_vectors(RELU)
    cases = (Case(2, 3, 2, 2, seed=4, cell=RELU), Case(1, 2, 2, 3, "float32", seed=1, cell=RELU))
    path = tmp_path / "relu.json"
    assert write_vectors(path, cases) == tuple(case.descriptor for case in cases)
    report = run_vectors(able(RELU), read_vectors_file(path))
    assert report.counts["pass"] == 2
    assert not report.file.shipped
    assert run_vectors(able(CELLS["plain"]), read_vectors_file(path)).counts["unsupported"] == 2
    assert "act_g(x) = np.maximum(x, 0)" in json.loads(path.read_text())["notes"]["layer"]


@pytest.mark.parametrize(
    "case", [Case.parse("m2s3e2u2-gru-float64-seed5"), Case.parse("m2s2e1u1-rnn@1xboth-float64-ragged-seed2")]
)
def test_the_answers_are_those_of_balls(case, tmp_path):
    pytest.importorskip("flint")
    (written,) = (write_vectors(tmp_path / "v.json", [case]), read_vectors(tmp_path / "v.json"))[1]
    assert run_vectors(able(case.cell), [written]).passed


def forged(tmp_path, name, change):
    """Return a copy of a shipped file with something in its first vector changed, and the sums mended."""
    content = json.loads(_data(SHIPPED[name][0]).read_text())
    change(content["vectors"][0])
    for vector in content["vectors"]:
        vector["sha256"] = checksum({k: v for k, v in vector.items() if k != "sha256"})
    head = {"format": content["format"], "notes": content["notes"]}
    content["sha256"] = checksum(head | {"vectors": [vector["sha256"] for vector in content["vectors"]]})
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("gru", {"cell": "grue"}, "the cell is 'grue', expected a cell or a network of this version"),
        ("gru", {"cell": 3}, "the cell is 3, expected a cell or a network"),
        ("gru", {"cell": "rnn"}, "inputs has unknown Ur"),
        ("gru", {"lengths": [1]}, "lengths is [1], expected null of the cell gru"),
        ("networks", {"lengths": [1]}, "lengths is [1], expected 3 integers from 0 to 3"),
        ("networks", {"lengths": [1, 2, 4]}, "lengths is [1, 2, 4], expected 3 integers from 0 to 3"),
        ("networks", {"lengths": [1, 2, True]}, "lengths is [1, 2, True], expected 3 integers from 0 to 3"),
        ("projected", {"sizes": {"m": 1, "s": 1, "e": 1, "u": 1}}, "sizes lacks p"),
    ],
)
def test_a_file_that_does_not_fit_its_cell_is_refused_in_words(tmp_path, name, change, reason):
    with pytest.raises(VectorsError) as caught:
        read_vectors(forged(tmp_path, name, lambda vector: vector.update(change)))
    assert reason in str(caught.value)


def test_what_a_target_does_not_take_is_unsupported():
    net = cell_named("plain@1xboth")
    without = replace(able(net), lengths=())
    assert {result.reason for result in run_vectors(without).results} >= {"the target takes no lengths"}
    bare = replace(able(CELLS["gru"]), lacks=frozenset({"bz", "dbz"}))
    report = run_vectors(bare)
    assert {result.reason for result in report.results} == {"the target takes no bz"}
    assert not report.judged


def test_the_command_takes_the_file_of_the_cell(tmp_path):
    found = run("vectors", "run", "examples/gru_function.py:gru", "--cell", "gru_reset_after", "--in-process")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "PASS  examples/gru_function.py:gru: 5 of 5 certified vectors"
    none = run("vectors", "run", "examples/peephole_function.py:lstm", "--cell", "peephole,g=relu", "--in-process")
    assert (none.returncode, none.stdout) == (2, "")
    assert "`lstm-checks vectors write FILE --cell peephole,g=relu` makes some" in none.stderr
    csv = run("vectors", "write", "v.csv", "--format", "csv", "--cell", "gru", cwd=tmp_path)
    assert csv.returncode == 2
    assert "--format csv is of the plain cell's vectors, not of --cell gru" in csv.stderr
