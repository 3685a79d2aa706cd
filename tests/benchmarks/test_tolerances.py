"""The table of derived tolerances is what the command gives, and grows with the roundoff as it must."""

import re

import numpy as np
import pytest

from benchmarks.tolerances import COLUMNS, FORMATS, PAGE, SIZES, tolerances
from lstm_checks import tolerance


def rows():
    for line in PAGE.read_text().splitlines():
        form, *cells = re.split(r" *\| *", line.strip("| "))
        if form in FORMATS:
            yield form, tuple(map(int, cells[0].split(", "))), [float(c) if c != "-" else np.nan for c in cells[1:]]


def test_each_format_and_size_has_a_row():
    assert [(form, dims) for form, dims, _ in rows()] == [(form, dims) for form in FORMATS for dims in SIZES]


@pytest.mark.parametrize("form", ["float64", "float32", "bfloat16+gates32"])
def test_rows_are_what_the_command_gives(form):
    if form.startswith("bfloat16"):
        pytest.importorskip("ml_dtypes")
    told = {(one, dims): values for one, dims, values in rows()}
    found = tolerances(form, SIZES[0])
    np.testing.assert_allclose(list(found.values()), told[form, SIZES[0]], rtol=0.1)
    assert list(found) == list(COLUMNS)


def test_float32_is_accepted_to_be_off_by_as_much_more_as_its_roundoff_is_larger():
    double, single = (tolerances(form, SIZES[0])["h"] for form in ("float64", "float32"))
    ratio = tolerance.UNIT_ROUNDOFF["float32"] / tolerance.UNIT_ROUNDOFF["float64"]
    assert 0.8 < single / double / ratio < 1.25
