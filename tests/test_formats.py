"""Formats and contracts: how values are rounded, what a name says, and that examples are numbers of their format."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_checks import tolerance
from lstm_checks.cases import REGIMES, Case
from lstm_checks.formats import BASES, LOW, NAMED, PARTS, array_dtype, format_named, to_short

ml_dtypes = pytest.importorskip("ml_dtypes")


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_values_are_rounded_to_the_nearest_as_others_round_them(value):
    """From float32, since ml_dtypes goes through that and so rounds twice."""
    with np.errstate(all="ignore"):
        value = float(np.float32(value))
        theirs = np.array([value]).astype(ml_dtypes.bfloat16).astype(np.float64)
        half = np.array([value]).astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(to_short(np.array([value]), "bfloat16"), theirs)
    np.testing.assert_array_equal(to_short(np.array([value]), "float16"), half)


@given(value=st.floats(-1e30, 1e30), bits=st.sampled_from([("bfloat16", 8), ("tf32", 11)]))
def test_what_is_rounded_is_off_by_half_a_unit_of_its_last_bit_at_most_and_has_no_more_bits(value, bits):
    short, count = bits
    rounded = float(to_short(np.array([value]), short)[0])
    assert abs(rounded - value) <= tolerance.UNIT_ROUNDOFF[short] * abs(value) + 2.0**-134
    part = abs(np.frexp(rounded)[0]) * 2.0**count
    assert part == int(part)


@pytest.mark.parametrize("base", ["bfloat16", "float16", "autocastbfloat16"])
def test_a_tighter_contract_has_more_in_float32(base):
    parts = [set(format_named(f"{base}+{name}").parts) for name in NAMED]
    assert all(tighter < looser for looser, tighter in pairwise(parts))
    assert parts[0] == set(PARTS)
    assert format_named(f"{base}+all").name == base


def test_one_contract_has_one_name():
    for text in ("gates32", NAMED["gates32"], "kept=float32,gates=float32,dsums=float32,sums=float32,h=short"):
        assert format_named(f"bfloat16+{text}").name == "bfloat16+gates32"
    assert format_named("float16+h=float32,C=float32").name == "float16+C=float32,h=float32"
    assert format_named("float16+subnormals=flushed").of("h").underflow == 2.0**-14


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("half", "'half', expected one of float64, float32, bfloat16"),
        ("bfloat16+gates", "contract 'gates' with 'gates', expected one of all, accumulate32, gates32, state32"),
        ("bfloat16+C=double", "with 'C=double', expected one of"),
        ("tf32+gates32", "contract 'gates32' of tf32, which has none, expected tf32 alone"),
        ("float32+all", "contract 'all' of float32, which has none"),
    ],
)
def test_what_is_no_format_is_refused_in_words(name, words):
    with pytest.raises(ValueError, match="expected") as raised:
        format_named(name)
    assert words in str(raised.value)


@pytest.mark.parametrize("base", LOW)
@pytest.mark.parametrize("regime", REGIMES)
def test_examples_are_numbers_of_their_format_as_is_the_sum_of_the_last_cotangents(base, regime):
    case = Case(3, 4, 5, 6, base, regime, seed=3)
    form = format_named(base)
    assert Case.parse(case.descriptor) == case
    for name, value in case.arrays.items():
        assert value.dtype == array_dtype(base), name
        np.testing.assert_array_equal(to_short(value, form.short), value.astype(np.float64))
    total = case.arrays["dh"].astype(np.float64)[:, -1] + case.arrays["dhn"].astype(np.float64)
    np.testing.assert_array_equal(to_short(total, form.short), total)


def test_float64_and_float32_are_formats_of_which_nothing_is_short():
    for base in set(BASES) - set(LOW):
        assert format_named(base).parts == ()
        assert format_named(base).returned is None
