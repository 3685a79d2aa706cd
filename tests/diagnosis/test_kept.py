"""The first intermediate that departs, of those that a target shows by the reference's names."""

import numpy as np
import pytest

from lstm_checks.cases import Case
from lstm_checks.diagnosis.kept import of_intermediates
from lstm_checks.diagnosis.observe import intermediates

CASE = Case(2, 3, 4, 5)


def shown(*names):
    fc, bc = intermediates(CASE.arrays)
    return {name: ({**bc, **fc})[name].copy() for name in names}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        # The forward pass before the backward one, there the last step first; of a step in the equations' order.
        ([("C_", 1), ("dC_", 2), ("g", 2)], "C_ of equation (6), at step 2 of 3"),
        ([("C_", 2), ("g", 2)], "g of equation (4), at step 3 of 3"),
        ([("df_", 1), ("dC_", 1)], "dC_ of equations (8), (7), at step 2 of 3"),
        ([("df_", 2), ("dC_", 1)], "df_ of equation (2), at step 3 of 3"),
    ],
)
def test_the_first_that_departs_in_the_order_of_the_equations_is_named(wrong, said):
    found = shown("f", "g", "C_", "dC_", "df_")
    for name, step in wrong:
        found[name][:, step] *= 1.01
    assert list(of_intermediates([(CASE, found)])) == [f"first to depart of the 5 intermediates shown: {said}"]


def test_where_none_departs_another_case_is_looked_at_and_then_it_is_said():
    right, wrong = shown("f", "dC_"), shown("f", "dC_")
    wrong["dC_"][:, 0] = 0
    (said,) = of_intermediates([(CASE, right), (CASE, wrong)])
    assert said.startswith("first to depart of the 2 intermediates shown: dC_ of")
    assert list(of_intermediates([(CASE, right)])) == ["of the 2 intermediates shown none departs"]


def test_what_has_another_name_or_length_is_said_not_to_be_compared():
    found = {**shown("f"), "i": np.zeros((2, 3, 4)), "memory": np.zeros((2, 3, 5))}
    (said,) = of_intermediates([(CASE, found)])
    assert said.endswith("shown none departs; not compared: i, memory, of other names or lengths")
    assert list(of_intermediates([(CASE, {"i": np.zeros(3)})])) == [
        "none of the intermediates shown can be compared; not compared: i, of other names or lengths"
    ]
    assert list(of_intermediates([(CASE, {})])) == []
