"""docs/second-order.md: the page is what the command writes, and a fault is in the second derivative alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks/ is not installed

from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.faults.second_order import second_order_faults
from lstm_ref.cells import CELLS

bench = pytest.importorskip("benchmarks.second_order")
jax = pytest.importorskip("jax")
pytestmark = pytest.mark.peer
SMALL = bench.Posed(Case(1, 2, 1, 1, seed=1))


def test_the_page_is_what_the_command_writes_of_the_faults_that_there_are():
    found = json.loads(bench.DATA.read_text(encoding="utf-8"))
    assert bench.PAGE.read_text(encoding="utf-8") == bench.page(found)
    assert found["faults"] == [fault.title for fault in second_order_faults(slips_each=bench.SLIPS_EACH)]
    assert found["cases"] == {name: case.descriptor for name, case in bench.CASES.items()}
    assert len(found["faults"]) >= 100
    assert [*found["checkers"]] == [*bench.CHECKERS]
    assert bench.alive(found["checkers"][bench.OURS]) == found["default"]["alarms"] == 0
    assert all(found["default"]["needed"])


def test_a_fault_is_in_the_second_derivative_alone_and_each_checker_sees_it():
    detached = next(one for one in second_order_faults(slips_each=100) if one.title.endswith("dC_ * f, f is detached."))
    for fault in (None, detached):
        for name, (made, killed) in bench.CHECKERS.items():
            assert killed(made(fault), SMALL) is (fault is not None), (name, fault)
    values = [
        call_target(bench.target_of(bench.torch_function(one)), SMALL.case.arrays, True).values
        for one in (None, detached)
    ]
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])


def test_the_source_finds_another_library_in_place_of_numpy():
    cell = bench.in_library(CELLS["plain"], jax.numpy, jax.lax.stop_gradient)
    case = replace(SMALL.case, dtype="float32")
    given = {name: jax.numpy.asarray(value) for name, value in case.arrays.items()}
    assert all(isinstance(value, jax.Array) for value in bench.evaluate(cell, given).values())
    assert isinstance(bench.evaluate(CELLS["plain"], case.arrays)["h"], np.ndarray)
