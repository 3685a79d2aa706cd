"""Every row of docs/museum.md: each bug is planted, fails as the page says, and its right twin passes."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks.museum import exhibits, planted, read_said  # noqa: E402
from benchmarks.museum_page import PAGE, figures, page  # noqa: E402
from lstm_checks.calling import asked_of, call_target  # noqa: E402
from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.contract import DHN  # noqa: E402
from lstm_checks.faults.catalogue import find  # noqa: E402
from lstm_checks.faults.model import evaluate  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.judging.explain import explain  # noqa: E402
from lstm_checks.judging.reports import ASKED, PROPERTIES  # noqa: E402

EXHIBITS = {exhibit.id: exhibit for exhibit in exhibits()}
SAID = read_said()
PLAIN = [id for id, exhibit in EXHIBITS.items() if not exhibit.framework]


def test_there_are_enough_and_each_is_described():
    assert len(EXHIBITS) >= 40
    assert set(SAID) == set(EXHIBITS), "python -m benchmarks.museum_page --missing"
    assert len({exhibit.title for exhibit in EXHIBITS.values()}) == len(EXHIBITS)
    assert len({exhibit.project for exhibit in EXHIBITS.values()}) >= 30
    for exhibit in EXHIBITS.values():
        assert re.fullmatch(r"https://github\.com/[^/]+/[^/]+/(issues|pull|commit)/\w+", exhibit.link)
        assert 2010 < exhibit.year < 2030
        assert all((exhibit.wrong, exhibit.lived, exhibit.unseen)), exhibit.id
        assert all(find(fault, exhibit.judged_as) for fault in exhibit.faults if fault != "slip"), exhibit.id
        assert exhibit.diff, exhibit.id


def test_what_once_could_not_be_said_is_told_by_its_kinds():
    from benchmarks.museum_page import ONCE_UNSAID

    listed = [name for names in ONCE_UNSAID.values() for name in names]
    assert len(set(listed)) == len(listed)
    # Every network and every other cell among the exhibits is of one of these kinds.
    forms = ("network", "GRU", "RNN", "peephole", "float16", "second order", "clipped")
    assert len(listed) >= 25
    assert set(listed) == {id for id, exhibit in EXHIBITS.items() if any(form in exhibit.form for form in forms)}


def test_the_forms_are_those_in_which_people_write():
    forms = ", ".join(exhibit.form for exhibit in EXHIBITS.values())
    for form in (
        "NumPy class",
        "NumPy function",
        "torch module",
        "torch Function",
        "JAX",
        "C",
        "ONNX",
        "network",
        "RNN",
    ):
        assert form in forms
    assert sum(len(exhibit.faults) > 1 for exhibit in EXHIBITS.values()) >= 3, "several faults at once"


def test_the_page_is_what_the_command_writes_and_says_what_is_required():
    assert PAGE.read_text(encoding="utf-8") == page()
    count = figures()
    assert count["caught"] == count["total"] == len(EXHIBITS)
    assert count["told"] >= 0.8 * count["total"]
    assert count["untrue"] == 0


def holds(exhibit, folder):
    """Judge an exhibit and its right twin on the page's case, and compare it with the faults that are named."""
    said = SAID[exhibit.id]
    case, wrong, right = Case.parse(said["case"]), folder / "wrong", folder / "right"
    wrong.mkdir()
    right.mkdir()
    questions = tuple(name for name in said["failed"] if name in (*PROPERTIES, *ASKED))
    target = planted(exhibit, wrong)
    found = verify_case(target, case, properties=questions)
    assert {claim.name for claim in found.failures} == set(said["failed"])
    twin = verify_case(planted(exhibit, right, wrong=False), case, properties=questions)
    assert not twin.failures, twin.failures
    assert not twin.mistrusted
    for suspect in said["suspects"]:
        parts = suspect.split(" and ")
        if set(parts) <= set(exhibit.faults) - {"slip"}:
            as_planted(target, case, parts)
    return found, target


def as_planted(target, case, ids):
    """Compare a target with the reference that has faults, on the page's case and on a larger one."""
    faults = [find(id, case.cell) for id in ids]
    if any(fault.wrap for fault in faults):
        return
    for one in (case, Case(3, 4, 2, 3, seed=5, cell=case.cell, dtype=case.dtype)):
        asked = asked_of(target, one)
        came = call_target(target, asked.arrays.copy(), asked.sequences).values
        due = evaluate(tuple(faults), asked.arrays.with_folded if DHN in target.lacks else asked.arrays)
        compared = [name for name in due if np.shape(came.get(name)) == due[name].shape]
        assert len(compared) > 1
        for name in compared:
            np.testing.assert_allclose(came[name], due[name], rtol=1e-3 if one.dtype == "float32" else 1e-6, atol=1e-6)


@pytest.mark.parametrize("id", PLAIN)
def test_a_row_holds(id, tmp_path):
    holds(EXHIBITS[id], tmp_path)


def test_what_is_named_is_named_anew(tmp_path):
    found, target = holds(EXHIBITS["mxnet-4057"], tmp_path)
    explained = explain(target, found)
    assert [one.fault for one in explained.diagnosis.suspects if one.certain] == ["carry-assigned"]
