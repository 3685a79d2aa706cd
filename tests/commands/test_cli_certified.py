"""`lstm-checks certify` and `lstm-checks vectors`, run as a user runs them: by exit code and text."""

import json
import subprocess
import sys

import pytest
from command_line import WRONG, run

from lstm_checks.certified.read import SHIPPED_SHA256, shipped_vectors

RAISING = """
def lstm(p, X, h0, C0):
    raise RuntimeError("no memory")
"""
WITHOUT_FLINT = """
import sys
sys.modules["flint"] = None  # an import of it then raises ImportError
from lstm_checks.cli import main
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "raising.py").write_text(RAISING)
    return tmp_path


# certify


@pytest.fixture
def flint():
    return pytest.importorskip("flint")


def test_the_default_target_is_certified_in_a_table_that_ends_with_the_bound(flint):
    found = run("certify", "--examples", "3")
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert lines[0].startswith("lstm_fast:LSTM against certified truth: 3 examples in float64; 128 bits, ")
    assert lines[2].split() == ["tensor", "ulps", "at", "relative", "at", "of", "tolerance"]
    assert [line.split()[0] for line in lines[3:20]] == [
        *("h", "Cn", "dUf", "dVf", "dbf", "dUi", "dVi", "dbi", "dUg", "dVg", "dbg", "dUo", "dVo", "dbo"),
        *("dX", "dh0", "dC0"),
    ]
    assert all(line.endswith(" %") for line in lines[3:20])
    assert lines[-1].startswith("CERTIFIED  lstm_fast:LSTM: no entry is off by more than ")
    assert run("certify", "--examples", "1", "--quiet").stdout == ""


def test_a_certificate_of_one_case_is_the_same_in_text_and_json(flint):
    found = run("certify", "--case", "m2s3e4u5-float32-seed9", "--json", "-")
    assert found.returncode == 0
    report = json.loads(found.stdout)
    assert report["exit_code"] == 0
    assert [one["case"] for one in report["certificates"]] == ["m2s3e4u5-float32-seed9"]
    table = {line.split()[0]: line for line in found.stderr.splitlines() if line.endswith(" %")}
    for row in report["tensors"]:
        assert row["verdict"] == "pass"
        assert 0 < row["use"] < 1
        assert f"  {row['ulps_at']}  " in table[row["tensor"]]
        # What is shown is a bound as well: rounded up.
        shown = table[row["tensor"]].partition("]")[0].split()[1]
        assert row["ulps"] <= float(shown) <= 1.1 * row["ulps"] + 1


def test_both_dtypes_have_a_table_each(flint):
    found = run("certify", "--examples", "2", "--dtype", "both", "--regimes", "x10,mixed")
    assert found.returncode == 0
    assert found.stdout.count("2 examples in float64") == found.stdout.count("2 examples in float32") == 1


def test_an_error_beyond_rounding_is_exit_1_and_its_rerun_fails_too(flint, folder):
    found = run("certify", "wrong.py:LSTM", "--examples", "2", cwd=folder)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[-1] == "FAIL  wrong.py:LSTM: 1 of 17 tensors wrong beyond rounding or missing: dVi"
    assert [line.split()[0] for line in lines if line.endswith("  FAIL")] == ["dVi"]
    rerun = next(line for line in lines if "rerun" in line).split("lstm-checks ")[1]
    assert run(*rerun.split(), "--no-source", cwd=folder).returncode == 1


def test_a_target_that_raises_is_exit_1_with_what_it_raised(flint, folder):
    found = run("certify", "raising.py:lstm", "--examples", "1", cwd=folder)
    assert found.returncode == 1
    assert "  dX      fail: RuntimeError: no memory" in found.stdout


def test_a_case_that_rounding_drowns_is_exit_2(flint):
    found = run("certify", "--case", "m1s60e2u16-float32-x10-seed1")
    assert found.returncode == 2
    assert found.stdout.splitlines()[-1] == "NOTHING JUDGED  lstm_fast:LSTM: rounding drowns every gradient"
    assert "dUf" in found.stdout


def test_what_takes_long_says_so_beforehand(flint, folder):
    # The truth of these sizes takes half a minute; only the words are waited for.
    command = [
        sys.executable,
        "-m",
        "lstm_checks",
        "certify",
        "raising.py:lstm",
        "--case",
        "m8s100e64u64-float64-seed1",
    ]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.kill()
    assert said.startswith("lstm-checks: certifying m8s100e64u64-float64-seed1 will take about ")


@pytest.mark.parametrize("arguments", [("certify",), ("vectors", "write", "vectors.json")])
def test_without_the_extra_the_install_command_is_said(tmp_path, arguments):
    command = [sys.executable, "-c", WITHOUT_FLINT, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert found.returncode == 2
    words = "lstm-checks: certified gradients need python-flint: pip install python-flint\n"
    assert (found.stdout, found.stderr) == ("", words)
    assert list(tmp_path.iterdir()) == []


# vectors


def test_the_shipped_vectors_pass_and_are_counted_by_flag():
    found = run("vectors", "run", "--json", "-")
    assert found.returncode == 0
    report = json.loads(found.stdout)
    count = len(json.loads(shipped_vectors().read_text())["vectors"])
    assert len(report["vectors"]) == count
    assert report["counts"] == {"pass": count, "fail": 0, "unsupported": 0}
    lines = found.stderr.splitlines()
    assert lines[0] == f"lstm_fast:LSTM on {count} certified vectors: {count} pass"
    assert ["one-step", str(report["flags"]["one-step"]["pass"]), "0", "0"] in [line.split() for line in lines]
    assert lines[-1] == f"PASS  lstm_fast:LSTM: {count} of {count} certified vectors"
    assert lines[2] == f"  sha256    {SHIPPED_SHA256}: the certified file that came with lstm-checks"
    assert (report["sha256"], report["shipped"]) == (SHIPPED_SHA256, True)
    assert run("vectors", "run", "--quiet").stdout == ""


def test_vectors_that_fail_are_exit_1_told_one_by_one_with_a_rerun(folder):
    found = run("vectors", "run", "wrong.py:LSTM", "--json", "report.json", cwd=folder)
    assert found.returncode == 1
    report = json.loads((folder / "report.json").read_text())
    wrong = [row for row in report["vectors"] if row["verdict"] == "fail"]
    assert report["counts"]["fail"] == len(wrong) > 20
    assert all(row["reason"].startswith("dVi[") for row in wrong)
    lines = found.stdout.splitlines()
    assert lines[-1] == f"FAIL  wrong.py:LSTM: {len(wrong)} of {len(report['vectors'])} certified vectors"
    assert sum(line.startswith("  fail      m") for line in lines) == 5
    assert report["flags"]["float32"]["fail"] == report["flags"]["huge-scale"]["fail"] == 0
    assert report["flags"]["float64"]["fail"] == len(wrong)
    rerun = next(line for line in lines if "rerun" in line).split("lstm-checks ")[1]
    assert run(*rerun.split(), "--no-source", cwd=folder).returncode == 1


def test_an_error_that_is_known_is_among_the_suspects(folder):
    (folder / "turned.py").write_text(WRONG.replace("*= 1 + 1e-12", '= self.g["dVi"].T.copy()'))
    found = run("vectors", "run", "turned.py:LSTM", cwd=folder)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    suspect = next(line for line in lines if "suspect" in line)
    rerun = next(line for line in lines if "rerun" in line).split("lstm-checks ")[1]
    assert suspect in run(*rerun.split(), "--no-source", cwd=folder).stdout.splitlines()


def test_a_damaged_file_of_vectors_is_exit_2_with_the_reason(folder):
    text = shipped_vectors().read_text()
    (folder / "edited.json").write_text(text.replace('"m": 2', '"m": 3', 1))
    (folder / "cut.json").write_text(text[: len(text) // 2])
    for name, words in (("edited", "changed after it was written"), ("cut", "cut.json: ")):
        found = run("vectors", "run", "--file", f"{name}.json", cwd=folder)
        assert (found.returncode, found.stdout) == (2, "")
        assert words in found.stderr
        assert "Traceback" not in found.stderr


def test_vectors_are_written_anew_to_the_byte(flint, tmp_path):
    found = run("vectors", "write", "vectors.json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith(" MB: vectors.json\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["vectors.json"]
    again = run("vectors", "run", "--file", "vectors.json", cwd=tmp_path)
    assert again.returncode == 0
    assert "  file      vectors.json\n" in again.stdout
