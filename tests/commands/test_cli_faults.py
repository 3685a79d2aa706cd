"""`lstm-checks faults`, run as a user runs it: by exit code and text."""

import json
import re

import pytest
from command_line import run

from lstm_checks.faults.catalogue import FAULTS, find
from lstm_checks.faults.model import diff
from lstm_checks.trials.kill_matrix import shown


def test_all_are_listed_by_family():
    found = run("faults", "--json", "-")
    assert found.returncode == 0
    lines = found.stderr.splitlines()
    assert lines[0] == f"{len(FAULTS)} known faults of LSTMs; lstm-checks faults ID shows one"
    counts = {match[1]: int(match[2]) for line in lines if (match := re.fullmatch(r"(\w+) \((\d+)\)", line))}
    assert counts == {family: sum(f.family == family for f in FAULTS.values()) for family in counts}
    assert sum(counts.values()) == len(FAULTS)
    for fault in FAULTS.values():
        assert re.search(rf"(?m)^  {fault.id} +{re.escape(fault.title)}$", found.stderr)
    plain = json.loads(found.stdout)
    assert [fault["id"] for fault in plain["faults"]] == list(FAULTS)


def test_one_is_shown_with_its_diff_and_the_smallest_case():
    fault = find("carry-dropped")
    found = run("faults", "carry-dropped")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("carry-dropped: dC does not carry f * dC of the next step.    [carry]\n\n(6): ")
    assert diff(fault) in found.stdout
    assert "The smallest sizes that show it are m=1 s=2 e=1 u=1:\n" in found.stdout
    assert re.search(r"(?m)^dC0\[0, 0\] = -0\.21962, but should be -0\.54947 ± \S+    \[fault:carry-", found.stdout)
    assert "  pattern   wrong where s >= 2, in " in found.stdout
    assert found.stdout.endswith("  rerun     lstm-checks verify fault:carry-dropped --case m1s2e1u1-float64-seed0\n")
    plain = json.loads(run("faults", "carry-dropped", "--json", "-").stdout)
    assert (plain["id"], plain["diff"], plain["example"]) == (fault.id, diff(fault), fault.example)
    assert plain["shown"]["verdict"] == "fail"


def test_where_it_was_seen_is_said_and_a_wrapper_is_shown_as_its_source():
    seen = next(fault for fault in FAULTS.values() if fault.seen)
    assert f"\nSeen in {seen.seen}.\n" in run("faults", seen.id).stdout
    found = run("faults", "input-written").stdout
    assert "+++ b/the call of lstm_ref\n" in found
    assert "the target wrote to its input X" in found


def test_faults_of_low_precision_are_listed_and_shown_with_what_excuses_them():
    listed = run("faults", "--low-precision").stdout
    assert "memory-short" in listed
    assert "excused by all, accumulate32 and gates32" in listed
    found = run("faults", "du-accumulated-short").stdout
    assert '+        g[f"dU{gate}"] = short_sum(X.mT @ dk_, -3)  # (1)' in found
    assert "excused by all." in found
    assert "It is one in bfloat16 and float16, excused by no contract." in run("faults", "cut-everywhere").stdout


def test_the_command_that_reruns_it_does():
    found = run("verify", "fault:carry-dropped", "--case", "m1s2e1u1-float64-seed0")
    assert found.returncode == 1
    assert found.stdout.startswith("dC0[0, 0] = -0.21962, but should be -0.54947")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("faults", "cary-dropped"), "no fault 'cary-dropped', did you mean carry-dropped"),
        (
            ("faults", "slip"),
            "no fault 'slip', which is a wrong word in an equation and in no catalogue; verify --case",
        ),
        (("verify", "fault:cary-dropped"), "no fault 'cary-dropped', did you mean carry-dropped"),
        (("faults", "carry-dropped", "--matrix"), "--matrix is about all faults, expected no ID"),
        (("faults", "carry-dropped", "--low-precision"), "--low-precision lists what is known of the plain cell"),
        (("faults", "--examples", "3"), "--examples is for the matrix, expected --matrix with it"),
        (("faults", "--write", "a.md"), "--write is for the matrix"),
        (("faults", "--matrix", "--write", "nowhere/a.md"), "expected a file NAME.md in a folder there is"),
        (("faults", "--matrix", "--write", "a.txt"), "expected a file NAME.md"),
    ],
)
def test_bad_usage_is_refused_before_any_work(arguments, told):
    found = run(*arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert told in found.stderr
    assert "Traceback" not in found.stderr


def test_a_document_with_no_place_for_figures_is_left_as_it_is(tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "mine.md"
    page.write_text("# Mine\n")
    found = run("faults", "--matrix", "--examples", "1", "--write", str(page))
    assert found.returncode == 2
    assert "mine.md has no place for figures, expected the lines <!-- figures: begin -->" in found.stderr
    assert page.read_text() == "# Mine\n"
    assert list(tmp_path.iterdir()) == [page]


def test_the_matrix_is_printed_and_written(tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "kills.md"
    found = run("faults", "--matrix", "--examples", "2", "--write", str(page), "--json", str(tmp_path / "kills.json"))
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"{len(shown())} faults, 2 examples, seed 0\n")
    assert "check_grad, 1e-5" in found.stdout
    families = {FAULTS[id].family for id in shown()}
    assert page.read_text().count("\n| `") == len(shown()) + len(families)
    assert (tmp_path / "kills.svg").read_text().startswith("<?xml")
    plain = json.loads((tmp_path / "kills.json").read_text())
    assert set(plain["percent"]) == set(shown())
    assert len(plain["cases"]) == 2
