"""What the default examples see: errors of float32 alone; and what the regime `large` is for."""

from dataclasses import replace

import pytest
from single_faults import FAULTS

from lstm_checks.cases import DTYPES, LARGE_REGIME, Case
from lstm_checks.faults.model import Fault, fault_target, in_forward
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.strategies import draw_cases
from lstm_checks.trials.search import shows

ROWS = Fault(
    id="bias-dropped-above-65536-rows",
    family="large",
    title="Above 65536 rows the forget gate's bias is not added.",
    explanation="(1f): rows are counted in 16 bits. ROCm/MIOpen has had it.",
    patches=(in_forward('+ p["bf"]', '+ p["bf"] * (X.shape[-3] * X.shape[-2] <= 65536)'),),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_of_float32_alone_is_killed_by_the_default_examples(fault):
    assert not shows(fault, Case(3, 4, 3, 3))
    assert any(shows(fault, case) for case in draw_cases(100, 0, dtypes=DTYPES) if case.dtype == "float32")


def test_a_failure_in_float32_alone_says_so():
    report = verify(fault_target(FAULTS[0]), examples=21, max_dims=(3, 5, 3, 3))
    assert report.exit_code == 1
    assert report.failure.case.dtype == "float32"
    words = render_report(report).splitlines()
    assert words[0].split(", seed")[0].endswith("in float32")
    assert ", 0 of " in words[-1]
    assert words[-1].endswith("in float32")


def test_a_target_of_one_dtype_is_judged_in_that_and_no_other():
    report = verify(replace(fault_target(), dtypes=("float32",)), examples=7, max_dims=(3, 5, 3, 3))
    assert {example.case.dtype for example in report.examples} == {"float32"}
    assert "7 examples in float32, seed 0" in render_report(report)


def test_a_bias_that_is_dropped_above_65536_rows_takes_the_large_regime():
    target = fault_target(ROWS)
    assert not any(verify_case(target, case, thorough=False).failures for case in draw_cases(25, 0))
    (case,) = draw_cases(1, 0, regimes=(LARGE_REGIME,))
    assert [claim.name for claim in verify_case(target, case, thorough=False).failures if claim.name == "h"] == ["h"]
    assert verify_case(target, replace(case, m=256, s=256), thorough=False).failures == ()
