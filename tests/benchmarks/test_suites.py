"""docs/suites.md: what is imitated of a suite has the suite's own numbers, and the page is what the command writes."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks/ is not installed

from benchmarks.suites import (
    DATA,
    FLA_RULE,
    FLA_RULE_IN_CI,
    PAGE,
    PICTURE,
    SUITES,
    PointRule,
    benchdnn_tries,
    flashrnn_tries,
    onnx_tries,
    page,
    webnn_tries,
)
from lstm_checks.faults.catalogue import FAULTS


def test_the_page_is_what_the_command_writes():
    found = json.loads(DATA.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(found)
    assert PICTURE.read_text(encoding="utf-8").startswith("<?xml")
    assert set(found) == {suite.name for suite in SUITES}
    for suite in SUITES:
        one = found[suite.name]
        assert set(one["left"]) <= set(one["alive"]) <= set(FAULTS)
        assert len(one["alive"]) <= one["judged"]
        assert len(one["mended_by"]) <= 7


def test_what_is_imitated_has_the_numbers_of_the_suite():
    # The numbers that stand in WebNN's lstmCell test.
    cell = webnn_tries()[0].due
    np.testing.assert_allclose(cell["h"][:, 0], [[1, 8], [27, 216]], rtol=1e-12)
    np.testing.assert_allclose(cell["Cn"], [[1, 4], [9, 36]], rtol=1e-12)


def test_a_suite_with_equal_gates_sees_no_order_of_them():
    orders = [fault for id, fault in FAULTS.items() if id.startswith("gate-order-")]
    found = json.loads(DATA.read_text(encoding="utf-8"))
    assert len(orders) == found["ONNX node tests"]["orders_alive"] == 23
    (one,) = webnn_tries()
    assert not any(one.kills(fault) for fault in orders)


@pytest.mark.peer
def test_the_onnx_tests_are_their_own():
    tries = onnx_tries()
    assert len(tries) >= 3
    for one in tries:
        weights = [one.arrays[name].ravel() for name in one.arrays if name[0] in "UV"]
        assert len(set(np.concatenate(weights))) == 1


def test_a_rule_accepts_what_its_suite_does():
    due = np.ones(100)
    few, all_a_little = due.copy(), due * 1.02
    few[3] += 0.04
    # Of fla's: 4 % off in one entry of a hundred is 0.4 % of the whole, and its CI takes 30 %.
    assert FLA_RULE.agrees(few, due)
    assert not FLA_RULE.agrees(all_a_little, due)
    assert FLA_RULE_IN_CI.agrees(due + 0.29, due)
    assert not FLA_RULE_IN_CI.agrees(due + 0.31, due)
    assert not FLA_RULE.agrees(due * np.nan, due)
    # Of benchdnn's: relative, or going back absolute.
    assert not PointRule(1e-3, absolute=False).agrees(few * 1e-2, due * 1e-2)
    assert PointRule(1e-3, absolute=True).agrees(few * 1e-2, due * 1e-2)


def test_what_is_imitated_of_kernels_has_the_data_of_their_tests():
    for one in benchdnn_tries():
        for name in one.arrays.cell.parameters:
            array = one.arrays[name]
            if name[0] in "UV":
                assert {tuple(np.sort(column)[-2:]) for column in array.T} == {(0.0, 0.25)}
        assert 0.4 < one.arrays["X"].min() <= one.arrays["X"].max() < 0.6
    # FlashRNN's states are zero, and what goes back to them and to U it does not compare.
    tries = flashrnn_tries()[:4]
    for one in tries:
        assert not one.arrays["h0"].any()
        assert not one.kills(FAULTS["dh0-zero"])
        assert not one.kills(FAULTS["final-memory-cotangent-ignored"])
    assert any(one.kills(FAULTS["carry-dropped"]) for one in tries)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # Keras's own, of its training
def test_kerass_own_tests_pass_with_the_reference_and_see_what_is_wrong_in_it():
    if not all(map(importlib.util.find_spec, ("torch", "keras", "absl"))):
        pytest.skip("needs Keras and PyTorch")
    if os.environ.get("KERAS_BACKEND", "torch") != "torch":
        pytest.skip("Keras computes with something else here")
    from benchmarks.suites_keras import failing

    assert failing(None) == []
    assert {"test_masking", "test_pass_initial_state", "test_statefulness"} <= set(failing(FAULTS["linear-memory"]))
    assert failing(FAULTS["carry-dropped"]) == []
