"""PyTorch's own nn.LSTM, a stranger in every way, through the same harness."""

import numpy as np
import pytest

pytest.importorskip("torch")

from checks.cases import Case
from checks.compare import Verdict
from checks.report.text import render_report
from checks.targets import load_target
from checks.verify import verify, verify_case

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nn_lstm_passes(dtype):
    report = verify(load_target("torch"), examples=100, seed=1, dtypes=(dtype,))
    assert report.exit_code == 0, render_report(report)


def test_the_gradients_of_both_biases_are_judged():
    report = verify_case(load_target("torch"), Case(2, 3, 4, 5))
    assert report.claim("dbf").verdict is Verdict.PASS
    assert report.claim("dbf of bias_hh").verdict is Verdict.PASS


def test_weights_in_another_gate_order_are_caught(monkeypatch):
    from checks.adapters import torch as adapter

    monkeypatch.setattr(adapter, "GATE_ORDER", ("i", "f", "o", "g"))
    report = verify_case(load_target("torch"), Case(2, 3, 4, 5))
    assert report.verdict is Verdict.FAIL
    assert np.isfinite(report.claim("h").use)
