"""The calibration in low precision: each rule rejects what it is to reject, a run resumes, and right programs pass."""

import json

import numpy as np
import pytest

from benchmarks.calibrate_low import OURS, RULES, allclose, at_best, draw, ratio, run, summed, tables, twice
from lstm_checks.cases import Case
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import evaluate
from lstm_checks.formats import NAMED, base_of
from lstm_checks.oracles.expected import expect

pytest.importorskip("ml_dtypes")
pytest.importorskip("flint")


def of(*values):
    return {"h": np.array(values)}


def test_each_rule_draws_its_line_where_its_project_does():
    due = of(1.0, -2.0, 0.5)
    assert allclose(1e-2, 1e-5)(of(1.009, -2.0, 0.5), due, due)
    assert not allclose(1e-2, 1e-5)(of(1.02, -2.0, 0.5), due, due)
    assert ratio(0.005)(of(1.005, -2.0, 0.5), due, due)
    assert not ratio(0.005)(of(1.02, -2.0, 0.5), due, due)
    assert not ratio(0.005)(of(np.nan, -2.0, 0.5), due, due)
    assert twice(0.0)(of(1.019, -2.0, 0.5), due, of(1.01, -2.0, 0.5))
    assert not twice(0.0)(of(1.021, -2.0, 0.5), due, of(1.01, -2.0, 0.5))
    assert not twice(0.0)(of(np.nan, -2.0, 0.5), due, of(1.01, -2.0, 0.5))


def test_cases_are_of_both_formats_and_all_contracts():
    drawn = [draw(k, 0) for k in range(40)]
    assert {base_of(case.dtype) for case in drawn} == {"bfloat16", "float16"}
    assert len({case.dtype for case in drawn}) == 2 * len(NAMED)


def test_what_a_fault_can_show_at_best_is_nothing_where_it_changes_nothing_or_nothing_is_concluded():
    case = Case(2, 4, 3, 3, dtype="bfloat16+gates32", regime="init", seed=1)
    expected, arrays = expect(case), case.arrays.astype(np.float64)
    assert at_best(expected, evaluate(FAULTS["carry-dropped"], arrays)) > 50
    assert at_best(expected, expected.values) == 0
    small = {name: value * (1 + 1e-6) for name, value in expected.values.items()}
    assert 0 < at_best(expected, small) < 0.01
    chaotic = Case(6, 12, 5, 6, dtype="bfloat16", regime="x100", seed=1)
    assert at_best(expect(chaotic), evaluate(FAULTS["carry-dropped"], chaotic.arrays.astype(np.float64))) == 0


@pytest.mark.peer
def test_a_run_goes_on_where_it_was_and_no_right_program_is_rejected(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    path = tmp_path / "low.jsonl"
    rows = run(3, 0, 1, path)
    text = path.read_text()
    path.write_text(text + '{"k": 3, "case": "m1s')
    again = run(4, 0, 1, path)
    assert again[:3] == rows
    assert path.read_text().startswith(text)
    assert [json.loads(line)["k"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]
    words, good = tables(again)
    assert good
    assert "4 cases of right programs" in words
    found = summed(again)
    assert {rule for rule, _ in found} == {OURS, *RULES}
    assert all(one["alarms"] == 0 for (rule, _), one in found.items() if rule == OURS)
