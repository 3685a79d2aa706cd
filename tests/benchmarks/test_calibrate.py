"""The calibration measures what it says: its errors are the certified ones, its least errors are caught and no less."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flint")

from lstm_checks.arithmetic import balls
from lstm_checks.calling import call_target
from lstm_checks.cases import DTYPES, REGIMES
from lstm_checks.certified.certify import certified_gradient
from lstm_checks.compare import compare
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.expected import expect
from lstm_checks.targets.layer import from_layer
from lstm_checks.tolerance import accepted
from lstm_fast import LSTM

FILE = Path(__file__).parents[2] / "benchmarks" / "calibrate.py"
TARGET = from_layer(LSTM)


@pytest.fixture(scope="module")
def calibrate():
    spec = importlib.util.spec_from_file_location("calibrate", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def few(calibrate):
    cases = [calibrate.draw(k, 1) for k in range(80)]
    return [case for case in cases if case.m * case.s * case.u <= 100]


def test_cases_are_drawn_by_number_in_every_regime_and_dtype_and_some_are_long(calibrate):
    cases = [calibrate.draw(k, 0) for k in range(600)]
    assert cases == [calibrate.draw(k, 0) for k in range(600)]
    assert cases[0] != calibrate.draw(0, 1)
    every = {(regime, dtype) for regime in REGIMES for dtype in DTYPES}
    assert {(case.regime, case.dtype) for case in cases[: len(every)]} == every
    assert max(case.s for case in cases) == 200


def test_the_share_used_is_that_of_the_certified_error(calibrate, few):
    assert len(few) > 10
    for case in few:
        certified, expected = certified_gradient(case), expect(case)
        came = call_target(TARGET, case.arrays.copy(), case.sequences).values
        use, tensor = calibrate.use_of_tolerance(came, certified.values, *calibrate.below_rounding(certified), expected)
        uses = {}
        for names in (("h",), ("Cn",), PLAIN.gradients):
            for name in () if expected.chaotic(names) else names:
                last = (slice(None), -1) if name == "h" and came[name].ndim == 2 else ...
                with balls.precision(certified.bits):
                    errors = balls.distance(came[name], certified.enclosures[name][last])
                uses[name] = float(np.max(errors / accepted(expected.sd[name], case.dtype)[last]))
        assert use == pytest.approx(max(uses.values()), rel=1e-9)
        assert use == 0 or uses[tensor] == max(uses.values())


def test_the_least_error_is_caught_and_a_smaller_one_is_not(calibrate, few):
    tried = dict.fromkeys(calibrate.KINDS, 0)
    for case in few:
        expected = expect(case)
        # In float32, so that float64 holds the planted error to many digits.
        if case.dtype == "float64" or expected.chaotic(PLAIN.gradients):
            continue
        came = call_target(TARGET, case.arrays.copy(), case.sequences).values
        passed = [claim.name for claim in compare(came, expected, TARGET, case.dtype) if claim.verdict == "pass"]
        passed = [name for name in passed if name in PLAIN.gradients]
        for kind, least in calibrate.least_caught(case, came, expected, passed).items():
            for factor, caught in ((1.001, True), (0.999, False)):
                wrong = {name: came[name].astype(np.float64) for name in PLAIN.gradients}
                for name, change in calibrate.planted(case, came, passed)[kind].items():
                    wrong[name] += factor * least * change
                room = {name: accepted(expected.sd[name], case.dtype) for name in PLAIN.gradients}
                fails = any((np.abs(wrong[n] - expected.values[n]) > room[n]).any() for n in PLAIN.gradients)
                assert fails is caught, (case, kind, least, factor)
            tried[kind] += 1
    assert min(tried.values()) > 5


def test_the_contributions_of_all_steps_are_the_gradient(calibrate, few):
    for case in few:
        expected = expect(case)
        parts = [calibrate.contributions(case, step) for step in range(case.s)]
        for name in parts[0]:
            total = np.sum([part[name] for part in parts], axis=0)
            size = np.sum([np.abs(part[name]) for part in parts], axis=0)
            assert (np.abs(total - expected.values[name]) <= 1e-12 * size + 1e-300).all()


def test_an_interrupted_run_goes_on_and_another_seed_is_refused(calibrate, tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    monkeypatch.setattr(calibrate, "TARGETS", ("lstm_fast:LSTM",))
    header = '{"seed": 3, "targets": ["lstm_fast:LSTM"]}\n'
    path.write_text(header + '{"k": 0, "seconds": 1}\n{"k": 1, "sec')
    assert calibrate.read(path, 3) == {0: {"k": 0, "seconds": 1}}
    assert path.read_text().endswith("}\n")
    with pytest.raises(SystemExit, match="expected seed 4"):
        calibrate.read(path, 4)


def test_a_false_alarm_and_too_much_that_is_inconclusive_are_not_good(calibrate):
    def row(k, use=0.5, verdict="pass"):
        one = {"use": use, "tensor": "h", "judged": use, "verdict": verdict}
        caught = dict.fromkeys(calibrate.KINDS, 1e-12)
        return {
            **{"k": k, "case": calibrate.draw(k, 0).descriptor, "bits": 128, "seconds": 0.1},
            **{"targets": dict.fromkeys(calibrate.TARGETS, one), "caught": caught},
        }

    rows = [row(k) for k in range(24)]
    text, good = calibrate.figures(rows)
    assert good
    assert "| x10 | torch | 2 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.00 % |" in text
    assert not calibrate.figures([*rows[:-1], row(23, use=1.01)])[1]
    assert not calibrate.figures([row(0, verdict="inconclusive"), *rows[1:]])[1]
    x100 = REGIMES.index("x100")
    assert calibrate.figures([*rows[:x100], row(x100, verdict="inconclusive"), *rows[x100 + 1 :]])[1]
