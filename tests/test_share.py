"""What CI asks of tests that take long: something of each of them, the same each time."""

import pytest
from share import shared


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12, 13, 41])
def test_each_test_is_asked_a_fifth_of_its_arguments_from_the_first_on(count):
    ids = [f"tests/gate/test_gate.py::test_it[{k}]" for k in range(count)]
    kept = [int(one.partition("[")[2][:-1]) for one in ids if one in shared(ids)]
    assert kept[0] == 0
    assert len(kept) == min(count, max(2, -(-count // 5)))
    assert max((b - a for a, b in zip(kept, [*kept[1:], count], strict=True))) <= 6


def test_what_does_not_take_long_is_asked_whole():
    ids = [f"tests/oracles/test_oracles.py::test_it[{k}]" for k in range(41)]
    assert shared(ids) == {*ids}
