"""Cases: a descriptor and back, arrays from the seed alone, and cotangents that add up exactly."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from lstm_checks import tolerance
from lstm_checks.cases import (
    COMPARED,
    COTANGENTS,
    DTYPES,
    EDGES,
    LARGE_REGIME,
    REGIMES,
    STRATA,
    Case,
    strata,
    strata_of,
)
from lstm_checks.contract import PLAIN, SizeLimits
from lstm_checks.judging.verify import verify
from lstm_checks.strategies import cases, draw_cases, explore, reachable_strata, shrink
from lstm_checks.targets.load import to_target
from lstm_ref import LSTM
from lstm_ref.cells import CELLS

GIVEN = SizeLimits(given=(("m", 0, 0, 2), ("s", 0, 0, 5)))


@given(cases(dtypes=("float64", "float32")))
def test_a_descriptor_names_its_case(case):
    assert Case.parse(case.descriptor) == case


@given(cases(dtypes=("float64", "float32")))
def test_arrays_come_from_the_seed_alone(case):
    again = Case.parse(case.descriptor).arrays
    for name, value in case.arrays.items():
        assert value.dtype == case.dtype
        assert value.tobytes() == (again.inputs | again.cotangents)[name].tobytes()


@given(cases(dtypes=("float64", "float32")))
def test_the_last_steps_two_cotangents_add_up_without_rounding(case):
    arrays = case.arrays
    exact = arrays["dh"][:, -1].astype(np.longdouble) + arrays["dhn"].astype(np.longdouble)
    assert np.array_equal(arrays.dh_total[:, -1].astype(np.longdouble), exact)


@given(cases())
def test_absent_cotangents_are_zero_and_present_ones_are_not(case):
    kinds = case.cotangents.split("+")
    arrays = case.arrays
    assert arrays["dh"][:, :-1].any() == ("every" in kinds and case.s > 1)
    assert arrays["dCn"].any() == ("C" in kinds)
    assert case.sequences == ("last" not in kinds)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("cotangents", COTANGENTS)
def test_every_regime_and_cotangent_has_a_word(regime, cotangents):
    case = Case(1, 2, 3, 4, regime=regime, cotangents=cotangents, states=False)
    assert Case.parse(case.descriptor) == case


@pytest.mark.parametrize(
    "descriptor",
    [
        "",
        "m1s2",
        "m0s1e1u1-float64-seed0",
        "m1s1e1u1-half-seed0",
        "m1s1e1u1-bfloat16+gates-seed0",
        "m1s1e1u1-tf32+gates32-seed0",
        "m1s1e1u1-float64-x10-x100-seed0",
        "m1s1e1u1-float64",
    ],
)
def test_a_bad_descriptor_is_refused_and_shown(descriptor):
    with pytest.raises(ValueError, match=r"expected|not of the form"):
        Case.parse(descriptor)


@pytest.mark.parametrize("stratum", STRATA)
def test_a_stratum_is_drawn_from(stratum):
    found = []
    options = {"regimes": (*REGIMES, LARGE_REGIME)} if stratum == LARGE_REGIME else {}

    @given(cases(stratum=stratum, cell=next(c for c in CELLS.values() if stratum in strata_of(c)), **options))
    def draw(case):
        found.append(stratum in strata(case))

    draw()
    # Past an edge also the sizes are drawn to which an example may shrink.
    assert sum(found) > len(found) / (4 if stratum in EDGES else 3 if stratum in COMPARED else 2)


def test_exploring_ends_when_the_visitor_has_enough():
    seen = []
    explore(lambda case: seen.append(case) or len(seen) < 3, cases(), 100, 0)
    assert len(seen) == 3


def test_every_stratum_is_met_in_any_hundred():
    for seed in range(10):
        drawn = draw_cases(100, seed)
        assert len(drawn) == 100
        counts = Counter(name for case in drawn for name in strata(case))
        assert min(counts[name] for name in strata_of(PLAIN) if name not in EDGES and name != LARGE_REGIME) >= 4, counts
        assert counts[LARGE_REGIME] == 0
        assert list(draw_cases(100, seed)) == list(drawn)


def test_every_size_past_a_block_is_met_in_any_hundred_with_all_that_may_be_wrong_there():
    for seed in range(10):
        drawn = draw_cases(100, seed, dtypes=DTYPES)
        for name, sizes in ((n, EDGES[n]) for n in EDGES if n in strata_of(PLAIN)):
            found = [case for case, origin in drawn.items() if origin.stratum == name]
            assert found
            for case in found:
                assert all(getattr(case, letter) == size for letter, size in sizes.items())
                assert (case.states, case.cotangents) == (True, "every+h+C")
                assert case.regime in ("init", "x1e-3")
        for letter in "mseu":
            met = {getattr(case, letter) for case in drawn}
            # A whole block and one short, beside the sizes past each.
            assert {15, 16, 17, 31, 33, 65, 129} <= met


def test_a_maximum_holds_past_the_edges_of_blocks_as_well():
    drawn = draw_cases(100, 0, max_dims=(40, 20, 6, 17))
    assert all(case.m <= 40 and case.s <= 20 and case.e <= 6 and case.u <= 17 for case in drawn)
    assert {"m = 17", "m = 33", "s = 17", "u = 17"} == {o.stratum for o in drawn.values()} & set(EDGES)


def test_a_failure_past_an_edge_shrinks_to_the_edge_that_matters():
    drawn = draw_cases(100, 0)
    case, origin = next((c, o) for c, o in drawn.items() if o.stratum == "m = 129")
    assert shrink(lambda c: c.m > 16, origin, case).dims == (17, 1, 1, 1)
    assert shrink(lambda c: c.m > 64 and c.u > 1, origin, case).dims == (65, 1, 1, 2)


def test_the_large_regime_is_more_rows_than_16_bits_count():
    drawn = draw_cases(8, 0, regimes=(LARGE_REGIME,))
    assert {case.m * case.s > 2**16 and case.regime == "init" for case in drawn} == {True}
    assert all(case.size > tolerance.LARGE for case in drawn)
    assert len({case.dims[:2] for case in drawn}) > 2


def test_the_examples_hang_on_the_seed_and_not_on_what_else_is_imported(tmp_path):
    # Hypothesis draws numbers that stand in the sources of the modules loaded, unless it is kept from it.
    (tmp_path / "numbers_of_mine.py").write_text("THESE = [3, 7, 11, 13, 4099, 5003, 6007, 70001, 800011]\n")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom lstm_checks.strategies import draw_cases\n"
    code += "print(*(case.descriptor for case in draw_cases(60, 5)))"
    said = [
        subprocess.run([sys.executable, "-c", more + code, str(tmp_path)], capture_output=True, text=True, check=True)
        for more in ("", "import sys; sys.path.insert(0, sys.argv[1]); import numbers_of_mine, lstm_checks.cli\n")
    ]
    assert said[0].stdout == said[1].stdout


def test_a_target_of_given_sizes_is_asked_for_no_others():
    # Neither by examples, nor by calls in between, nor by properties that cut a problem in two.
    right, seen = to_target(LSTM, "it"), set()

    def call(inputs, sequences=True):
        seen.add(inputs["X"].shape[:2])
        return right.call(inputs, sequences)

    report = verify(replace(right, call=call, limits=GIVEN), examples=15, max_dims=(4, 6, 3, 3))
    assert report.exit_code == 0
    assert seen == {(2, 5)}


@pytest.mark.parametrize(
    ("dtype", "rare"), [("bfloat16+gates32", {"x1e-3", "x10", "x100"}), ("float16", {"x1e-3", "x10", "x100", "mixed"})]
)
def test_in_low_precision_what_tells_little_is_drawn_for_its_own_stratum_alone(dtype, rare):
    pytest.importorskip("ml_dtypes")
    drawn = draw_cases(100, 0, dtypes=(dtype,))
    assert all(drawn[case].stratum == case.regime for case in drawn if case.regime in rare)
    assert {case.regime for case in drawn} >= rare
    assert sum(case.regime in rare for case in drawn) < 20
    assert {case.regime for case in draw_cases(5, 0, dtypes=(dtype,), regimes=("x10",))} == {"x10"}


def test_strata_that_given_sizes_leave_out_are_not_sought():
    reachable = reachable_strata(limits=GIVEN)
    assert {"s > 4", "m = u", "e = u", "odd u"} <= set(reachable)
    assert not {"s = 1", "m = 1", "m >= 5", "s >= 13", "m = s", LARGE_REGIME} & set(reachable)
    assert not any(set("ms") & EDGES[name].keys() for name in set(EDGES) & set(reachable))
