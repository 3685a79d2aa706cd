"""Two reports next to each other: what is better, what is worse, and what cannot be compared."""

import copy

import pytest

from lstm_checks.cases import Case
from lstm_checks.html.page import page_of
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.changes import ComparisonError, compare_reports, render_changes
from lstm_checks.judging.look import case_in_full
from lstm_checks.targets.load import load_target


@pytest.fixture(scope="module")
def reports():
    """Of the case of a right layer and of one of a wrong one."""
    found = {}
    for name, code in (("lstm_ref:LSTM", 0), ("fault:du-assigned", 1)):
        target = load_target(name)
        found[code] = case_in_full(target, verify_case(target, Case(1, 3, 2, 2), thorough=False), code)
    return found


def changes(before, after):
    found = compare_reports(before, after)
    return found["exit_code"], {row["claim"]: row["change"] for row in found["claims"] if row["change"] != "as before"}


def test_what_fails_and_passed_is_worse_and_the_other_way_better(reports):
    names = {claim["claim"] for claim in reports[1]["claims"] if claim["verdict"] == "fail"}
    assert names
    assert changes(reports[0], reports[1]) == (1, dict.fromkeys(names, "worse"))
    assert changes(reports[1], reports[0]) == (0, dict.fromkeys(names, "better"))
    assert changes(reports[0], reports[0]) == (0, {})
    text = render_changes(compare_reports(reports[0], reports[1]))
    assert text.splitlines()[-1].startswith("WORSE  PASS -> FAIL: ")
    assert all(f"worse     {name} " in text for name in names)


@pytest.mark.parametrize("now", [None, "unsupported", "inconclusive", "vacuous"])
def test_what_is_not_judged_any_more_is_worse(reports, now):
    after = copy.deepcopy(reports[0])
    (claim,) = [claim for claim in after["claims"] if claim["claim"] == "dVf"]
    assert claim["verdict"] == "pass"
    if now is None:
        after["claims"].remove(claim)
    else:
        claim["verdict"] = now
    assert changes(reports[0], after) == (1, {"dVf": "worse"})


def test_a_report_that_judges_nothing_any_more_is_worse(reports):
    assert compare_reports(reports[0], {**reports[0], "exit_code": 2})["exit_code"] == 1


def test_what_cannot_be_compared_is_said(reports):
    for before, after, said in (
        (reports[0], {"schema": "lstm-checks/gate/1"}, "one is lstm-checks/case/1, the other lstm-checks/gate/1"),
        ({"schema": "x"}, {"schema": "x"}, "x is not compared, expected one of lstm-checks/verify/1"),
        (None, None, "None is not compared"),
        (reports[0], {**reports[0], "claims": None}, "not both are as lstm-checks/case/1 says"),
    ):
        with pytest.raises(ComparisonError, match=said):
            compare_reports(before, after)


def test_the_page_says_that_the_cases_are_others(reports):
    after = {**reports[1], "case": "m9s9e9u9-float64-seed9"}
    page = page_of(compare_reports(reports[0], after))
    assert page.word == "WORSE"
    words, table = page.sections[0].parts
    assert "not made of the same cases" in words.sentences[0]
    assert table.rows[0][1] == "worse"
    assert "not made of" not in str(page_of(compare_reports(reports[0], reports[1])).sections[0].parts[0])
