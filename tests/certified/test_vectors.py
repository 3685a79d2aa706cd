"""The shipped vectors are what they say; damaged files are refused with the reason; C can read and use them."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_checks import files
from lstm_checks.cases import DTYPES, EDGES, LARGE_REGIME, STRATA, Arrays, Case, strata_of
from lstm_checks.certified import read as reading
from lstm_checks.certified.errors import KnownError, known_errors
from lstm_checks.certified.explain import explain_vectors
from lstm_checks.certified.read import (
    _HEX,
    _VECTOR_KEYS,
    SHIPPED_SHA256,
    VectorsError,
    read_vectors,
    read_vectors_file,
    shipped_vectors,
    vectors_schema,
)
from lstm_checks.certified.run import run_vectors
from lstm_checks.certified.text import render_vectors
from lstm_checks.certified.vectors import COTANGENT_NAMES, FLAGS, FORMAT, checksum
from lstm_checks.certified.write import _up_to_bits, make_vectors, vector_cases, write_vectors
from lstm_checks.contract import PLAIN, Target, by_name
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.targets.layer import from_layer
from lstm_ref import LSTM

EXAMPLES = Path(__file__).parents[2] / "examples"
FEW = tuple(vector_cases()[k] for k in (2, 11, 30))


@pytest.fixture(scope="module")
def shipped():
    return read_vectors()


@pytest.fixture
def copied(tmp_path):
    """Return a copy of the shipped file, to be damaged."""
    return Path(shutil.copy(shipped_vectors(), tmp_path / "vectors.json"))


def a_target(error, lacks=(), dtypes=DTYPES):
    """Return a target that computes with one of the known errors."""

    def call(p, X, h0, C0, sequences):
        arrays = {**p, "X": X, "h0": h0, "C0": C0, "dh": np.zeros_like(X, shape=(*X.shape[:2], h0.shape[1]))}
        arrays |= {"dhn": np.zeros_like(h0), "dCn": np.zeros_like(C0)}
        outputs = error(Arrays(arrays))

        def pullback(dh, dCn, dhn):
            return error(Arrays(arrays | {"dh": dh, "dCn": dCn, "dhn": dhn}))

        return (outputs["h"], outputs["Cn"]), lambda dh, dCn, dhn: {
            name: value for name, value in pullback(dh, dCn, dhn).items() if name in PLAIN.gradients
        }

    return Target("planted", "function", by_name(call), frozenset(lacks), tuple(dtypes))


# What ships


def test_there_are_enough_vectors_of_every_kind_in_little_space(shipped):
    assert len(shipped) >= 80
    assert shipped_vectors().stat().st_size <= 3_000_000
    assert [vector.id for vector in shipped] == [case.descriptor for case in vector_cases()]
    for dtype in DTYPES:
        cases = [Case.parse(vector.id) for vector in shipped if vector.dtype == dtype]
        edges = [name for name in EDGES if name in strata_of(PLAIN)]
        none = [name for name in strata_of(PLAIN) if not any(map(STRATA[name], cases))]
        assert none == [*edges, LARGE_REGIME]
        seen = {flag for vector in shipped if vector.dtype == dtype for flag in vector.flags}
        assert seen == set(FLAGS) - {other for other in DTYPES if other != dtype}


def test_every_vector_exposes_something_and_the_set_everything(shipped):
    assert all(vector.exposes for vector in shipped)
    exposed = {name for vector in shipped for name in vector.exposes}
    assert exposed == set(known_errors())
    assert sum(name.startswith("gate-order-") for name in exposed) == 23


def test_the_inputs_are_those_of_the_case(shipped):
    for vector in shipped:
        case = Case.parse(vector.id)
        assert (case.dims, case.dtype, case.sequences) == (vector.dims, vector.dtype, vector.sequences)
        for name, value in case.arrays.items():
            ours = (dict(vector.arrays))[name]
            assert ours.dtype == vector.dtype
            assert (ours == value).all(), (vector.id, name)


def test_values_are_the_nearest_and_radii_say_so(shipped):
    for vector in shipped:
        for name in (*PLAIN.outputs, *PLAIN.gradients):
            spacing = np.spacing(np.abs(vector.values[name]))
            assert (vector.radii[name] <= spacing).all()  # half of it, rounded up to a power of two
            assert (vector.tolerances[name] >= 4 * np.finfo(vector.dtype).smallest_normal).all()


def test_what_a_vector_says_it_exposes_it_does(shipped):
    errors = known_errors()
    for vector in shipped[::7]:
        for name in vector.exposes:
            report = run_vectors(a_target(errors[name].evaluate), [vector])
            assert report.counts["fail"] == 1, (vector.id, name)


def test_the_notes_explain_every_flag_and_every_error(shipped):
    notes = json.loads(shipped_vectors().read_text())["notes"]
    assert set(notes["flags"]) == set(FLAGS)
    assert set(notes["errors"]) == {name for vector in shipped for name in vector.exposes}
    assert all(notes["errors"].values())


def test_the_schema_names_what_the_reader_expects():
    schema = json.loads(vectors_schema().read_text())
    assert schema["properties"]["format"]["const"] == FORMAT
    vector = schema["$defs"]["vector"]
    assert vector["required"] == list(vector["properties"]) == list(_VECTOR_KEYS)
    for group, names in (("inputs", PLAIN.inputs), ("cotangents", COTANGENT_NAMES), ("gradients", PLAIN.gradients)):
        assert vector["properties"][group]["required"] == list(names)
    assert schema["$defs"]["numbers"]["items"]["pattern"] == f"^{_HEX.pattern}$"


def test_the_schema_holds_for_the_file():
    schema = json.loads(vectors_schema().read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(shipped_vectors().read_text()), schema)


def test_the_documentation_says_what_is_so(shipped, capsys):
    text = (EXAMPLES.parent / "docs" / "vectors.md").read_text()
    assert f"{len(shipped)} small problems" in text
    assert f"one JSON file of {shipped_vectors().stat().st_size / 1e6:.1f} MB" in text
    assert f"{len(shipped)} of {len(shipped)} vectors pass, 0 not run" in text
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out.splitlines()[0] == str({"pass": len(shipped), "fail": 0, "unsupported": 0})
    for flag in re.findall(r"`([a-z]+-[a-z]+-?[a-z]*)`", text):
        assert flag in FLAGS or flag.startswith("gate-order"), flag


# The known errors


def test_a_wrong_gate_order_is_named_by_how_the_pack_is_read():
    arrays = FEW[1].arrays
    wrong = known_errors()["gate-order-igfo"].evaluate(arrays)
    # f's block is read as i's, i's as g's, g's as f's
    p = {kind + read: arrays.p[kind + true] for kind in "UVb" for read, true in zip("igfo", PLAIN.gates, strict=True)}
    right = evaluate_reference(Arrays(arrays.inputs | arrays.cotangents | p))
    assert (wrong["h"] == right["h"]).all()
    assert (wrong["dUf"] == right["dUi"]).all()
    assert (wrong["dVg"] == right["dVf"]).all()


def test_every_known_error_says_what_it_is_and_changes_something():
    case = Case(3, 3, 3, 3, seed=1)
    right = evaluate_reference(case.arrays)
    for name, error in known_errors().items():
        assert error.summary.endswith("."), name
        wrong = error.evaluate(case.arrays)
        assert any((wrong[k] != right[k]).any() for k in right), name


# Writing


def test_the_same_bytes_come_out_again_and_shipped_values_with_them(tmp_path, shipped):
    pytest.importorskip("flint")
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert write_vectors(first, FEW) == write_vectors(second, FEW) == tuple(case.descriptor for case in FEW)
    assert first.read_bytes() == second.read_bytes()
    by_id = {vector.id: vector for vector in shipped}
    for vector in read_vectors(first):
        same = by_id[vector.id]
        for name in (*PLAIN.outputs, *PLAIN.gradients):
            assert (vector.values[name] == same.values[name]).all()
            assert (vector.radii[name] == same.radii[name]).all()
            np.testing.assert_allclose(vector.tolerances[name], same.tolerances[name], rtol=0.1)


def test_a_case_that_exposes_nothing_is_left_out():
    pytest.importorskip("flint")
    harmless = {"none": KnownError("Nothing.", evaluate_reference)}
    assert make_vectors(FEW[:1], harmless) == []


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.0, "0x0p+0"), (1.0, "0x1p+0"), (-0.1, "-0x1.999999999999ap-4"), (5e-324, "0x0.0000000000001p-1022")],
)
def test_hexadecimal_floats_are_short_and_exact(x, text):
    assert files._hex(x) == text
    assert float.fromhex(text) == x
    assert _HEX.fullmatch(text)


def test_rounding_up_never_rounds_down():
    x = np.array([0.0, 1.0, 1.001, 3.3e-310, 5e-324, 1e300])
    for bits in (1, 8):
        up = _up_to_bits(x, bits)
        assert (up >= x).all()
        assert (up <= x * (1 + 2.0 ** (1 - bits)) + 5e-324).all()


# Refusing


def damaged(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def resum(content):
    """Mend the sums, as a careful forger would."""
    for vector in content["vectors"]:
        vector["sha256"] = checksum({k: v for k, v in vector.items() if k != "sha256"})
    head = {"format": content["format"], "notes": content["notes"]}
    content["sha256"] = checksum(head | {"vectors": [vector["sha256"] for vector in content["vectors"]]})


def test_another_layout_of_the_same_content_is_read(copied, shipped):
    damaged(copied, lambda content: None)
    assert [vector.id for vector in read_vectors(copied)] == [vector.id for vector in shipped]


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(VectorsError, match=r"none\.json: No such file"):
        read_vectors(tmp_path / "none.json")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(copied, share):
    data = copied.read_bytes()
    copied.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VectorsError, match=r"vectors\.json: not JSON: .*"):
        read_vectors(copied)


def test_a_file_cut_at_a_token_is_said_to_be_cut_short(copied):
    data = copied.read_text()
    copied.write_text(data[: data.index('"vectors"')])
    with pytest.raises(VectorsError, match="where the file ends: it was cut short"):
        read_vectors(copied)


def test_bytes_that_are_not_ascii_are_refused(copied):
    data = bytearray(copied.read_bytes())
    data[1000] = 0xFF
    copied.write_bytes(bytes(data))
    with pytest.raises(VectorsError, match="byte 1000 is not ASCII: the file is damaged"):
        read_vectors(copied)


def edit_value(c):
    c["vectors"][3]["gradients"]["dVf"]["value"][0] = "0x1p+0"


def edit_tolerance(c):
    c["vectors"][3]["gradients"]["dVf"]["tolerance"][0] = "0x1p+9"


def edit_exposes(c):
    c["vectors"][3]["exposes"].pop()


@pytest.mark.parametrize("change", [edit_value, edit_tolerance, edit_exposes])
def test_a_hand_edit_of_a_vector_is_refused_by_its_sum(copied, change, shipped):
    damaged(copied, change)
    with pytest.raises(VectorsError, match="it was changed after it was written") as caught:
        read_vectors(copied)
    assert shipped[3].id in str(caught.value)


def remove_vector(c):
    del c["vectors"][5]


def edit_notes(c):
    c["notes"]["flags"]["long"] = "short"


@pytest.mark.parametrize("change", [remove_vector, edit_notes])
def test_a_change_of_the_whole_is_refused_by_the_files_sum(copied, change):
    damaged(copied, change)
    with pytest.raises(VectorsError, match="vectors were removed, added or reordered, or the notes changed"):
        read_vectors(copied)


def set_in(*path, to):
    def change(content):
        *inner, last = path
        at = content["vectors"][0]
        for key in inner:
            at = at[key]
        at[last] = to

    return change


FORGERIES = [
    (set_in("gradients", "dUf", "value", 0, to="1.5"), "dUf value[0] is '1.5', not a hexadecimal float"),
    (set_in("gradients", "dUf", "value", 0, to=1.5), "dUf value[0] is 1.5, not a hexadecimal float"),
    (set_in("gradients", "dUf", "value", 0, to="nan"), "dUf value[0] is 'nan', not a hexadecimal float"),
    (set_in("gradients", "dUf", "value", 0, to="0x1p+9999"), "dUf value[0] is '0x1p+9999', not a hexadecimal float"),
    (set_in("gradients", "dUf", "value", to=[]), "dUf value is not a list of 1 numbers"),
    (set_in("gradients", "dUf", "tolerance", 0, to="-0x1p+0"), "dUf has a negative radius or tolerance"),
    (set_in("sizes", "u", to=2), "Uf is not a list of 2 numbers"),
    (set_in("sizes", "s", to=2**64), "X is not a list of 18446744073709551616 numbers"),
    (set_in("gradients", "dUf", "value", 0, to=[["0x1p+0"]]), "dUf value[0] is [['0x1p+0']], not a hexadecimal float"),
    (set_in("gradients", "dUf", "value", to=["0x1p+0", "0x1p+0"]), "dUf value is not a list of 1 numbers"),
    (set_in("flags", to=["\x1b[2J"]), "flags is not a list of words"),
    (set_in("sizes", "u", to=0), "u is 0, expected an integer of at least 1"),
    (set_in("sizes", "u", to=True), "u is True, expected an integer of at least 1"),
    (set_in("sizes", to=[1, 1, 1, 1]), "sizes is not an object"),
    (set_in("dtype", to="float80"), "the dtype is 'float80', expected one of float64, float32"),
    (set_in("dtype", to="float32"), "holds a number that is not a float32"),
    (set_in("sequences", to=1), "sequences is 1, expected true or false"),
    (set_in("flags", to="long"), "flags is not a list of words"),
    (set_in("extra", to=1), "has unknown extra"),
    (set_in("inputs", "Uz", to=[]), "inputs has unknown Uz"),
    (set_in("id", to=None), "vector 0: the id is None, expected a word such as"),
    (lambda c: c["vectors"][0]["outputs"].pop("Cn"), "outputs lacks Cn"),
    (lambda c: c["vectors"].append(c["vectors"][0]), "is there twice"),
    (lambda c: c["vectors"].clear(), "there are no vectors"),
    (lambda c: c.update(format="wycheproof"), "the format is 'wycheproof', expected 'lstm-checks certified vectors 1'"),
    (lambda c: c.pop("notes") and c.update(more=1), "the file lacks notes and has unknown more"),
]


@pytest.mark.parametrize(("change", "reason"), FORGERIES)
def test_what_sums_do_not_catch_the_form_does(copied, change, reason):
    def forge(content):
        change(content)
        if "notes" in content:
            resum(content)

    damaged(copied, forge)
    with pytest.raises(VectorsError) as caught:
        read_vectors(copied)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "the file is not an object"),
        ('{"format": NaN}', "line 1: not JSON: NaN"),
        ('{"format": 1,\n"format": 2}', "line 2: the key 'format' is there twice in one object"),
        (
            '{"format":\n\n' + "9" * 5000 + "}",
            "line 3: a number of 5,000 characters is beyond float64, the largest of which is 1.8e308",
        ),
        ('{"format": 1e400}', "line 1: 1e400 is beyond float64, the largest of which is 1.8e308"),
        ("[" * 10_000 + "]" * 10_000, "line 1: brackets stand more than 64 deep in brackets"),
    ],
)
def test_other_json_is_refused(tmp_path, text, reason):
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(VectorsError) as caught:
        read_vectors(path)
    assert str(caught.value) == f"{path}: {reason}"


# Running


def test_the_reference_passes_every_vector(shipped):
    report = run_vectors(from_layer(LSTM))
    assert report.counts == {"pass": len(shipped), "fail": 0, "unsupported": 0}
    assert report.passed
    assert report.judged
    assert report.file.shipped
    assert report.file.sha256 == hashlib.sha256(shipped_vectors().read_bytes()).hexdigest() == SHIPPED_SHA256
    assert max(result.use for result in report.results) < 0.7
    assert set(report.by_flag()) == set(FLAGS)


@pytest.mark.parametrize("name", ["dropped-carry-of-dC", "gate-order-igfo", "transposed-dVf", "dropped-dhn"])
def test_an_error_fails_the_vectors_that_expose_it_and_is_suspected(shipped, name):
    target = a_target(known_errors()[name].evaluate)
    report = run_vectors(target, shipped)
    assert not report.passed
    failed = {result.vector.id for result in report.results if result.verdict == "fail"}
    assert failed >= {vector.id for vector in shipped if name in vector.exposes}
    # What `verify` says of the smallest of them, in the same words: there is one way of naming.
    explained = explain_vectors(target, report)
    assert explained.case.descriptor in failed
    again = explain(target, verify_case(target, explained.case))
    assert explained.diagnosis.suspects == again.diagnosis.suspects
    assert explained.diagnosis.suspects or explained.diagnosis.relations
    json.dumps(report.to_json(), allow_nan=False)
    row = next(row for row in report.rows() if row["verdict"] == "fail")
    assert row["use"] > 1
    assert "should be" in row["reason"] or "shape" in row["reason"]


def test_what_a_target_cannot_do_is_unsupported_and_never_a_pass(shipped):
    right = evaluate_reference
    report = run_vectors(a_target(right, lacks=("initial states",)), shipped)
    assert report.counts["unsupported"] == sum("initial-states" in vector.flags for vector in shipped)
    report = run_vectors(a_target(right, lacks=("dCn",)), shipped)
    assert report.counts["unsupported"] == sum("final-C" in vector.flags for vector in shipped)
    report = run_vectors(a_target(right, dtypes=("float64",)), shipped)
    assert report.by_flag()["float32"]["pass"] == 0
    nothing = run_vectors(a_target(right, dtypes=()), shipped)
    assert not nothing.passed
    assert not nothing.judged
    silent = run_vectors(a_target(right, lacks=(*PLAIN.outputs, *PLAIN.gradients)), shipped)
    assert silent.counts["unsupported"] == len(shipped)
    assert silent.lacking == (*PLAIN.outputs, *PLAIN.gradients)


def test_nan_wrong_shape_wrong_dtype_and_exceptions_fail(shipped):
    def with_dX(change):
        return a_target(lambda arrays: (r := evaluate_reference(arrays)) | {"dX": change(r["dX"])})

    def raising(arrays):
        raise RuntimeError("no memory")

    vector = next(v for v in shipped if v.id.startswith("m2s3e2u3-float64"))
    cases = [
        (with_dX(lambda x: x * np.nan), "dX[0, 2, 0] = nan, but should be finite"),
        (with_dX(lambda x: x[:, :1]), "dX has shape (2, 1, 2), expected (m, s, e) = (2, 3, 2)"),
        (with_dX(lambda x: x.astype(np.float32)), "dX has dtype float32, expected float64"),
        (a_target(raising), "forward raised RuntimeError: no memory"),
        (with_dX(lambda x: x.tolist()), "dX is a list, expected a NumPy array of float64"),
        (with_dX(lambda x: [[1], [1, 2]]), "dX is a list, expected a NumPy array of float64"),
    ]
    for target, reason in cases:
        (result,) = run_vectors(target, [vector]).results
        assert (result.verdict, result.use) == ("fail", np.inf)
        assert reason in result.reason
    assert run_vectors(replace(cases[0][0], lacks=frozenset({"dX"})), [vector]).passed


def test_a_forged_file_is_not_taken_for_the_certified_one(copied, monkeypatch):
    def forge(content):
        for vector in content["vectors"]:
            for tensor in (vector["outputs"] | vector["gradients"]).values():
                tensor["tolerance"] = ["0x1p+1000"] * len(tensor["tolerance"])
        resum(content)

    damaged(copied, forge)
    report = run_vectors(a_target(known_errors()["dropped-dhn"].evaluate), read_vectors_file(copied))
    assert report.passed
    assert not report.file.shipped
    text = render_vectors("mine", report)
    assert f"{report.file.sha256}: NOT the certified file" in text
    assert text.splitlines()[-1].endswith(f"vectors of {copied}, whose answers nobody has certified")
    # Nor may it lie where the certified one belongs.
    monkeypatch.setattr(reading, "shipped_vectors", lambda cell: copied)
    with pytest.raises(VectorsError, match=f"expected {SHIPPED_SHA256}: it is not the file that came with"):
        read_vectors()


def test_answers_that_are_wrong_in_the_file_are_not_explained_as_faults_of_the_target(copied):
    damaged(copied, lambda content: (set_in("gradients", "dUf", "value", 0, to="0x1p+0")(content), resum(content)))
    target = from_layer(LSTM)
    report = run_vectors(target, read_vectors_file(copied))
    explained = explain_vectors(target, report)
    assert explained.failures == ()
    assert "verify    finds nothing wrong with m1s1e1u1" in render_vectors("mine", report, explained)


def mutated(draw, value):
    """A value of a file with something somewhere in it replaced, removed or doubled."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        if not draw(st.integers(0, 9)):
            return {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else [*value, value[key]]
        changed = dict(value) if isinstance(value, dict) else list(value)
        changed[key] = mutated(draw, value[key])
        return changed
    return draw(ODD)


ODD = st.one_of(
    *(st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)),
    st.sampled_from([2**64, 10**400, 0, -1, 1e308]),
    st.sampled_from(["nan", "inf", "0x1p+9999", "-0x1p+0", "0x0p+0", "\ud800", "float32"]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)),
)
SMALL = json.loads(shipped_vectors().read_bytes())
SMALL["vectors"] = SMALL["vectors"][:2]
RIGHT = from_layer(LSTM)


@given(st.data())
@settings(max_examples=150)
def test_whatever_stands_in_a_file_it_is_run_or_refused_in_words(tmp_path_factory, data):
    content = mutated(data.draw, SMALL)
    if data.draw(st.booleans()):
        with contextlib.suppress(Exception):  # not of a file that holds something else altogether
            resum(content)
    path = tmp_path_factory.mktemp("vectors") / "v.json"
    path.write_text(json.dumps(content))
    try:
        file = read_vectors_file(path)
    except VectorsError as error:
        refused = str(error)
    else:
        report = run_vectors(RIGHT, file)
        refused = f"{path}: not the file that ships"
        assert not file.shipped
        json.dumps(report.to_json(), allow_nan=False)
    assert refused.startswith(f"{path}: ")
    assert len(refused) < 1000


@given(st.data())
@settings(max_examples=150)
def test_whatever_bytes_a_file_has_it_is_run_or_refused_in_words(tmp_path_factory, data):
    text = bytearray(json.dumps(SMALL).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        piece = data.draw(st.sampled_from([b"", b"[" * 5000, b"9" * 5000, b"e999", b"NaN", b'"', b"{", b"\xff", b"-"]))
        text[at : at + data.draw(st.integers(0, 3))] = piece
    path = tmp_path_factory.mktemp("vectors") / "v.json"
    path.write_bytes(bytes(text))
    with contextlib.suppress(VectorsError):
        read_vectors_file(path)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "is a pipe"), (tmp_path, "Is a directory"), ("/dev/zero", "is a device")):
        with pytest.raises(VectorsError, match=words):
            read_vectors(path)


# C


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return a function that compiles the reader with the small LSTM and runs it on a file."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("c")

    def run(path, *defines):
        program = folder / "-".join(("reader", *(d.strip("-").replace("=", "") for d in defines)))
        if not program.exists():
            sources = [EXAMPLES / "vectors_reader.c", EXAMPLES / "lstm.c"]
            options = ["-std=c99", "-pedantic", "-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run([*compiler.split(), *options, *defines, "-o", program, *sources, "-lm"], check=True)
        return subprocess.run([program, path], capture_output=True, text=True, timeout=600)

    return run


def test_a_correct_lstm_in_c_passes_every_vector(compiled, shipped):
    done = compiled(shipped_vectors())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(shipped)} of {len(shipped)} vectors pass, 0 not run\n"


def test_in_single_precision_it_passes_the_float32_vectors(compiled, shipped):
    done = compiled(shipped_vectors(), "-DREAL=float")
    single = sum(vector.dtype == "float32" for vector in shipped)
    assert done.stdout == f"{single} of {single} vectors pass, {len(shipped) - single} not run\n"
    assert done.returncode == 0


def test_a_broken_gradient_in_c_fails_the_vectors_that_expose_it(compiled, shipped):
    done = compiled(shipped_vectors(), "-DBROKEN")
    assert done.returncode == 1
    failed = {line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert failed >= {vector.id for vector in shipped if "dropped-carry-of-dC" in vector.exposes}
    assert "dVf[" in done.stdout


def test_the_c_reader_refuses_what_it_cannot_read(compiled, copied):
    data = copied.read_text()
    for text in ("", data[: len(data) // 2], data.replace('"value": ["0x1', '"value": ["zero'), data + "]"):
        copied.write_text(text)
        done = compiled(copied)
        assert done.returncode == 2
        assert done.stderr.startswith("vectors_reader: ")
    assert compiled(copied.with_name("none.json")).returncode == 2


def test_each_vector_that_was_run_is_told():
    told = []
    report = run_vectors(from_layer(LSTM), read_vectors_file().vectors[:5], lambda: told.append(1))
    assert len(told) == len(report.results) == 5
