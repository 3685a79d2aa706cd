"""docs/suites.md: what is imitated of a suite has the suite's own numbers, and the page is what the command writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks/ is not installed

from benchmarks.suites import DATA, PAGE, PICTURE, SUITES, keras_tries, onnx_tries, page, webnn_tries
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
    # The numbers that stand in Keras's lstm_test.py, and in WebNN's lstmCell test.
    first = keras_tries()[0].due["h"][:, -1, 0]
    np.testing.assert_allclose(first, [0.6288687, 0.86899155, 0.9460773], atol=1e-6)
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
