"""Vectors and certificates in low precision: inputs of the format, proven answers, a tolerance for each contract."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from lstm_checks.cases import Case
from lstm_checks.certified.certify import certify
from lstm_checks.certified.read import VectorsError, read_vectors, vectors_schema
from lstm_checks.certified.run import run_vectors
from lstm_checks.certified.vectors import checksum
from lstm_checks.certified.write import low_cases, write_vectors
from lstm_checks.compare import Verdict
from lstm_checks.faults.low_precision import FAULTS
from lstm_checks.faults.short import short_target
from lstm_checks.formats import NAMED, to_short

pytest.importorskip("flint")
pytest.importorskip("ml_dtypes")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("low") / "vectors.json"
    cases = [case for case in low_cases("bfloat16") if case.dims in ((2, 3, 2, 3), (1, 5, 2, 4))]
    assert len(cases) == 2 * len(NAMED)
    write_vectors(path, cases)
    return path


def test_the_file_is_as_the_schema_has_it_and_its_inputs_are_numbers_of_the_format(file):
    content = json.loads(file.read_text())
    jsonschema.validate(content, json.loads(vectors_schema().read_text()))
    assert {"bfloat16", *NAMED} <= set(content["notes"]["flags"])
    for vector in read_vectors(file):
        for name, value in vector.arrays.items():
            numbers = value.astype(np.float64)
            np.testing.assert_array_equal(numbers, to_short(numbers, "bfloat16"), err_msg=name)


def test_the_tighter_the_contract_the_smaller_the_tolerance_of_the_same_answer(file):
    vectors = read_vectors(file)
    for loose, tight in ((vectors[0], vectors[3]), (vectors[4], vectors[7])):
        assert (loose.dtype, tight.dtype) == ("bfloat16", "bfloat16+state32")
        assert np.array_equal(loose.values["dUf"], tight.values["dUf"])
        assert np.mean(tight.tolerances["dUf"]) < 0.6 * np.mean(loose.tolerances["dUf"])


def test_who_keeps_a_contract_passes_and_who_does_not_fails_where_it_is_asked(file):
    for vector in read_vectors(file):
        assert run_vectors(short_target(None, vector.dtype), [vector]).passed, vector.id
    wrong = run_vectors(short_target(FAULTS["weights-in-float8"], ""), read_vectors(file))
    assert wrong.counts["fail"] > 0


def test_a_number_of_another_format_is_refused(file, tmp_path):
    content = json.loads(file.read_text())
    vector = content["vectors"][0]
    vector["inputs"]["X"][0] = "0x1.001p+0"
    vector["sha256"] = checksum({key: value for key, value in vector.items() if key != "sha256"})
    (tmp_path / "v.json").write_text(json.dumps(content))
    with pytest.raises(VectorsError, match="X holds a number that is not a bfloat16"):
        read_vectors(tmp_path / "v.json")
    vector["dtype"] = "bfloat16+gates33"
    vector["sha256"] = checksum({key: value for key, value in vector.items() if key != "sha256"})
    (tmp_path / "v.json").write_text(json.dumps(content))
    with pytest.raises(VectorsError, match=r"the dtype is 'bfloat16.gates33', expected one of float64"):
        read_vectors(tmp_path / "v.json")


@pytest.mark.parametrize("dtype", ["bfloat16+gates32", "float16", "autocastbfloat16"])
def test_certificates_in_low_precision(dtype):
    case = Case(3, 4, 3, 4, dtype=dtype, seed=2)
    found = certify(short_target(None, dtype), case)
    assert found.verdict is Verdict.PASS
    assert 0 < max(tensor.use for tensor in found.tensors) < 0.6
    bad = certify(replace(short_target(FAULTS["loss-scale-not-undone"], dtype), dtypes=(dtype,)), case)
    assert bad.verdict is Verdict.FAIL
