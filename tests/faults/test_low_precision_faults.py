"""The faults of low precision: each dies where no contract excuses it, and passes where one does."""

import re
from functools import cache

import numpy as np
import pytest

from lstm_checks.arithmetic.mixed import Emulated
from lstm_checks.cases import Case
from lstm_checks.faults import catalogue
from lstm_checks.faults.low_precision import FAULTS
from lstm_checks.faults.model import diff
from lstm_checks.faults.short import evaluate_short, short_target
from lstm_checks.formats import BASES, PARTS, format_named, to_short
from lstm_checks.judging.case import judge_values
from lstm_checks.judging.reports import Report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import expect
from lstm_checks.targets.load import load_target

pytest.importorskip("ml_dtypes")

ASKED = (
    Case(9, 40, 3, 3, regime="init", seed=1),
    Case(3, 12, 6, 8, regime="x10", seed=2),
    Case(5, 6, 9, 7, regime="normal", seed=3),
    Case(4, 9, 5, 6, regime="padded", seed=4),
    Case(129, 9, 2, 2, regime="init", seed=6),
    Case(9, 20, 2, 5, regime="x1e-3", seed=5),
)
NAMED = ("all", "accumulate32", "gates32", "state32")


@cache
def asked_in(name):
    """The examples in a format, with what is due."""
    cases = [Case.parse(case.descriptor.replace("float64", format_named(name).name)) for case in ASKED]
    return [(case, expect(case)) for case in cases]


def is_dead(id, name):
    """Return whether a few examples see a fault in a format, or all of them together do."""
    fault, target = (FAULTS[id] if id else None), short_target(None, name)
    reports = []
    for case, expected in asked_in(name):
        reports.append(judge_values(target, case, evaluate_short(fault, case), expected))
    return any(report.failures for report in reports) or bool(Report(target, tuple(reports), None, 0, 0.0).together)


def test_every_fault_is_described_and_fits_the_reference():
    assert len(FAULTS) >= 60
    assert sum("gates32" not in fault.excused for fault in FAULTS.values()) >= 40
    assert not set(FAULTS) & set(catalogue.FAULTS)
    for id, fault in FAULTS.items():
        assert id == fault.id
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id), id
        assert fault.title.endswith("."), id
        assert re.match(r"\([1-9][figo]?\)", fault.explanation), id
        assert fault.parts or fault.patches or fault.rounding is not to_short, id
        assert {*fault.parts} <= {*PARTS}
        assert {*fault.formats} <= {*BASES}
        assert bool(diff(fault.as_patch)) == bool(fault.patches), id
        for contract in fault.excused:
            assert fault.is_excused(f"{fault.formats[-1]}+{contract}"), id


def test_every_fault_changes_something_and_keeps_shapes_and_dtypes():
    for base in ("bfloat16", "float16"):
        case = Case(5, 20, 4, 6, dtype=f"{base}+state32,h=float32,operands=float32", regime="x10", seed=3)
        right = evaluate_short(None, case)
        for id, fault in FAULTS.items():
            if base not in fault.formats or id in ("subnormals-flushed", "cotangents-flushed"):
                continue
            came = evaluate_short(fault, case)
            assert {n: (v.shape, v.dtype) for n, v in came.items()} == {n: (v.shape, v.dtype) for n, v in right.items()}
            if id not in ("halves-away-from-zero",):  # half way lies hardly anything that was not rounded before
                assert any(not np.array_equal(came[n], right[n], equal_nan=True) for n in right), (base, id)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("sums-short", "bfloat16+gates32"),
        ("parameter-sums-short", "bfloat16+gates32"),
        ("gates-short", "float16+gates32"),
        ("logistic-function-short", "bfloat16+gates32"),
        ("tanh-by-ratio", "float16"),
        ("memory-short", "bfloat16+state32"),
        ("memory-in-bfloat16", "float16+gates32"),
        ("weights-in-float8", "bfloat16+accumulate32"),
        ("cut-everywhere", "bfloat16+gates32"),
        ("stochastic-rounding-biased", "bfloat16+gates32"),
        ("loss-scale-not-undone", "bfloat16"),
        ("loss-scale-overflows", "float16+gates32"),
        ("tanh-overflows-in-half", "bfloat16+gates32"),
    ],
)
def test_what_no_contract_excuses_dies(id, name):
    assert not FAULTS[id].is_excused(name)
    assert is_dead(id, name)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("sums-short", "bfloat16"),
        ("gates-short", "float16+accumulate32"),
        ("memory-short", "bfloat16+gates32"),
        ("cotangents-short", "bfloat16+accumulate32"),
        *((id, "bfloat16+gates32") for id in ("stochastic-rounding", "rounded-twice", "halves-away-from-zero")),
        ("hidden-state-short", "float16+state32"),
        ("subnormals-flushed", "float16+gates32,subnormals=flushed"),
    ],
)
def test_what_a_contract_excuses_passes(id, name):
    assert FAULTS[id].is_excused(name)
    assert not is_dead(id, name)


@pytest.mark.parametrize("contract", NAMED)
def test_a_program_without_a_fault_passes(contract):
    assert not is_dead(None, f"bfloat16+{contract}")


def test_a_fault_is_named_on_the_command_line_as_any_is():
    target = load_target("fault:loss-scale-not-undone")
    assert target.dtypes == ("bfloat16", "float16")
    report = verify(target, examples=4, dtypes=("bfloat16+gates32",), max_dims=(3, 3, 3, 3))
    assert report.exit_code == 1


def test_faults_of_the_catalogue_die_in_bfloat16_as_in_float64():
    name, alive = (
        "bfloat16+gates32",
        ["carry-dropped", "derivative-missing-o", "gate-order-ifgo", "last-sample-dropped"],
    )
    for asked, expected in asked_in(name):
        for id in [id for id in alive if id in catalogue.FAULTS]:
            came = evaluate_short(catalogue.FAULTS[id], asked)
            if judge_values(short_target(None, name), asked, came, expected).failures:
                alive.remove(id)
    assert not [id for id in alive if id in catalogue.FAULTS]


def test_a_fault_that_leaves_out_the_only_step_sums_nothing_in_bfloat16():
    case = Case(2, 1, 3, 2, dtype="bfloat16")
    found = evaluate_short(catalogue.FAULTS["first-step-left-out-of-du"], case)
    assert not found["dUf"].any()
    assert found["dVf"].any()


@pytest.mark.parametrize("axis", [None, -2, (-3, -1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_short_sum_goes_from_the_first_term_to_the_last_over_any_axes(axis, keepdims):
    program = Emulated(format_named("bfloat16+all"))
    given = to_short(np.random.default_rng(4).normal(size=(3, 4, 5)), "bfloat16")
    came = np.sum(program.exact(given), axis=axis, keepdims=keepdims)
    axes = (0, 1, 2) if axis is None else (axis,) if isinstance(axis, int) else axis
    terms = np.moveaxis(given, axes, range(len(axes)))
    total = 0.0
    for index in np.ndindex(terms.shape[: len(axes)]):
        total = to_short(total + terms[index], "bfloat16")
    assert np.array_equal(np.asarray(came).reshape(-1), np.ravel(total))
    shape = np.sum(given, axis=axis, keepdims=keepdims).shape
    assert np.shape(came)[int(axis is not None or keepdims) :] == shape
    # What is largest is no sum.
    assert np.max(np.asarray(np.max(program.exact(given)))) == given.max()


@pytest.mark.parametrize("contract", NAMED)
def test_every_fault_of_the_catalogue_is_computed_under_every_contract(contract):
    case = Case(2, 3, 2, 3, dtype=format_named(f"bfloat16+{contract}").name, seed=8)
    patches = [fault for fault in catalogue.FAULTS.values() if fault.patches]
    assert len(patches) > 300
    for fault in patches:
        assert {*evaluate_short(fault, case)} == {*case.cell.tensors}, fault.id
