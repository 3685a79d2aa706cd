"""Low precision: right programs pass under their contract, wrong ones do not, and the contract kept is measured."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.short_lstm import short_lstm
from lstm_checks.cases import Case
from lstm_checks.compare import Claim, Verdict
from lstm_checks.faults.short import evaluate_short, short_target
from lstm_checks.formats import NAMED
from lstm_checks.judging.case import judge_values, verify_case
from lstm_checks.judging.contracts import measure
from lstm_checks.judging.reports import TOGETHER, CaseReport, Report
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import expect
from lstm_checks.targets.load import load_target

pytest.importorskip("ml_dtypes")
TAME = ("normal", "init", "x1e-3", "padded")


def examples(dtype, count=12, regimes=TAME, most=8):
    for k in range(count):
        sizes = np.random.default_rng(k).integers(1, most, 4)
        yield Case(*map(int, sizes), dtype=dtype, regime=regimes[k % len(regimes)], seed=k)


@pytest.mark.parametrize("contract", NAMED)
@pytest.mark.parametrize("base", ["bfloat16", "float16"])
def test_a_program_that_keeps_a_contract_and_no_more_is_never_rejected(base, contract):
    name = f"{base}+{contract}"
    reports = [
        verify_case(short_lstm(name), c, thorough=False) for c in examples(name, regimes=(*TAME, "x10", "mixed"))
    ]
    assert not any(report.failures for report in reports)
    assert sum(report.verdict is Verdict.PASS for report in reports) >= 6
    assert max(claim.use for report in reports for claim in report.claims if np.isfinite(claim.use)) < 0.6


@pytest.mark.parametrize(("base", "tighter"), [("bfloat16", "gates32"), ("bfloat16+gates32", "state32")])
def test_a_looser_program_is_rejected_under_a_tighter_contract(base, tighter):
    name = f"bfloat16+{tighter}"
    assert any(verify_case(short_lstm(base), c, thorough=False).failures for c in examples(name))


@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat16+gates32", "float16"])
def test_a_dropped_carry_is_rejected_whatever_the_contract(dtype):
    wrong = short_lstm(dtype, "carry dropped")
    assert any(verify_case(wrong, case, thorough=False).failures for case in examples(dtype))


def test_one_percent_in_one_gate_shows_in_all_entries_together_and_in_none_by_itself():
    target = short_lstm("bfloat16+gates32", "forget gate off by 1 %")
    reports = tuple(verify_case(target, c, thorough=False) for c in examples("bfloat16+gates32", 24))
    tensors = [claim for one in reports for claim in one.failures if claim.name != TOGETHER]
    assert tensors == []
    report = Report(target, reports, None, 0, 0.0)
    assert report.together[0].words == "gradients of gate f are {} times what is due"
    assert 0.008 < report.together[0].estimate < 0.012
    assert report.exit_code == 1
    assert "FAIL" in render_report(report)
    right = short_lstm("bfloat16+gates32")
    reports = tuple(verify_case(right, c, thorough=False) for c in examples("bfloat16+gates32", 24))
    assert Report(right, reports, None, 0, 0.0).together == ()


def test_sums_in_bfloat16_show_in_how_large_errors_are_altogether():
    name = "bfloat16+state32"
    cases = [Case(4, 90, 4, 6, dtype=name, regime=TAME[k % 4], seed=k) for k in (0, 1)]
    right, short = (
        Report(t, tuple(verify_case(t, case, thorough=False) for case in cases), None, 0, 0.0)
        for t in (short_lstm(name), short_lstm(name, "dU in short"))
    )
    assert right.exit_code == 0
    assert right.together == ()
    said = [one.sentence for one in short.together]
    assert any("errors of dU are" in words and "in root mean square" in words for words in said), said
    assert not any(words.startswith("dU") for words in said)
    assert short.exit_code == 1
    assert "are accepted" in render_report(short)


PROGRAM = """
import json, sys
import numpy as np
from lstm_checks.faults.model import fault_target
target = fault_target()
for line in sys.stdin:
    case = json.loads(line)
    z, kind = case["sizes"], case["dtype"]
    shape = lambda n: target.cell.shape(n, z["m"], z["s"], z["e"], z["u"])
    read = lambda of: {n: np.array([float.fromhex(x) for x in v]).reshape(shape(n)) for n, v in of.items()}
    if kind not in ("float64", "float32", "bfloat16"):
        print(json.dumps({"id": case["id"], "error": "not in " + kind}), flush=True)
        continue
    outputs, pullback = target.call(read(case["inputs"]))
    def told(values):
        rounded = {n: v.astype(np.float32) for n, v in values.items()}
        if kind == "bfloat16":
            import ml_dtypes
            rounded = {n: v.astype(ml_dtypes.bfloat16) for n, v in values.items()}
        rounded = values if kind == "float64" else rounded
        return {n: [float(x).hex() for x in v.ravel()] for n, v in rounded.items()}
    answer = {"id": case["id"], "outputs": told(outputs)}
    if "cotangents" in case:
        answer["gradients"] = told(pullback(read(case["cotangents"])))
    print(json.dumps(answer), flush=True)
"""


def test_a_program_is_asked_in_bfloat16(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    target = load_target(f"exec:{sys.executable} {tmp_path / 'program.py'}")
    report = verify(target, examples=4, dtypes=("bfloat16",), max_dims=(3, 4, 3, 3))
    assert report.exit_code == 0, render_report(report)
    refused = verify_case(target, Case(2, 2, 2, 2, dtype="float16"))
    assert "not in float16" in refused.failures[0].discrepancy.message


def kept(target, dtype):
    """What is measured of a target on six examples."""
    cases = [Case(3, 10, 3, 3, dtype=dtype, regime=TAME[k % 4], seed=k) for k in range(6)]
    return measure(target, [CaseReport(case, (Claim("dUf", Verdict.PASS),)) for case in cases])


@pytest.mark.parametrize("contract", ["accumulate32", "gates32", "state32"])
def test_the_contract_that_is_kept_is_measured(contract):
    assert kept(short_lstm(f"bfloat16+{contract}"), "bfloat16").name == contract


def test_gradients_accumulated_in_bfloat16_are_told_from_those_that_are_not():
    right, short = (kept(short_lstm("bfloat16+state32", bug), "bfloat16") for bug in (None, "dU in short"))
    assert "dsums" in right.wide
    assert "dsums" not in short.wide
    assert "dsums" in short.short
    assert short.beyond["dsums"][0].startswith(("dU", "dV"))


def test_where_float16_ends_nothing_is_judged():
    case = Case(4, 6, 60, 60, "float16", "x100", seed=1)
    expected = expect(case)
    assert expected.out_of_dtype
    assert "may be no number of float16" in expected.unjudged(("dUf",))
    assert "no number" not in expect(replace(case, dtype="bfloat16")).unjudged(("dUf",))


@pytest.mark.parametrize(
    "descriptor",
    [
        "m2s10e1u9-bfloat16+gates32-x100-last+h+C-seed908001",
        "m3s9e5u6-bfloat16+accumulate32-x100-last+h+C-seed16098",
        "m2s12e3u4-bfloat16+gates32-mixed-C-nostates-seed969352",
    ],
)
def test_where_a_rounding_leads_to_another_answer_altogether_nothing_is_judged(descriptor):
    """Right programs went over an edge here at which none of the copies with little noise did."""
    case = Case.parse(descriptor)
    assert expect(case).unjudged(("Cn",)).startswith("unstable in its dtype: ")
    for name in ("reference", "written anew"):
        right = short_target(None, case.dtype) if name == "reference" else short_lstm(case.dtype)
        assert verify_case(right, case, thorough=False).verdict is Verdict.INCONCLUSIVE
    assert not expect(replace(case, regime="normal")).out_of_dtype


def test_without_a_reference_low_precision_is_not_judged():
    report = verify(short_lstm("bfloat16"), examples=2, reference=False)
    assert report.exit_code == 2
    assert "without a reference the noise of low precision cannot be told" in report.examples[0].claims[0].reason


def test_a_run_says_the_contract_and_asks_all_that_can_be_asked():
    report = verify(short_lstm("bfloat16+gates32"), examples=20, max_dims=(4, 6, 4, 4))
    assert report.exit_code == 0, render_report(report)
    text = render_report(report)
    assert "  contract  gates32 is kept" in text
    assert "20 examples in bfloat16" in text
    assert report.claim_counts[TOGETHER][Verdict.PASS] > 5
    assert not {"linearity", "gradient step", "sequence cut"} & set(report.claim_counts)


def test_the_planted_faults_are_seen_in_float16():
    # Of fewer all have one step, and nothing is carried.
    report = verify(load_target("fault:carry-dropped"), examples=12, dtypes=("float16",), max_dims=(2, 3, 2, 2))
    assert report.exit_code == 1
    text = render_report(report)
    assert "where     not looked for in low precision" in text
    assert "no catalogued fault fits" not in text


@pytest.mark.parametrize(
    "descriptor",
    [
        "m3s50e2u8-bfloat16+gates32-x1e-3-h+C-seed179972",
        "m3s59e3u8-bfloat16+gates32-x1e-3-C-seed593965",
        "m3s30e1u8-float16+gates32-mixed-last+h+C-seed185688",
    ],
)
def test_where_roundings_go_the_same_way_step_after_step_nothing_is_said(descriptor):
    case = Case.parse(descriptor)
    expected = expect(case)
    assert {*expected.withheld} == {*case.cell.tensors}
    assert "roundings are not independent: the contract carried out to the nearest takes 1." in expected.withheld["h"]
    # Unlike what leads out of the dtype, this says nothing of the form: what is not finite fails.
    assert not expected.out_of_dtype
    report = judge_values(short_target(None), case, evaluate_short(None, case), expected)
    assert report.verdict is Verdict.INCONCLUSIVE
    few = expect(case.resized(case.sizes | {"s": 11}))
    assert not any(reason.startswith("roundings are not independent") for reason in few.withheld.values())
