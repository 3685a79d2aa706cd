"""The projected cell: a size letter of its own, p, and all that has to follow from it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from lstm_checks.cases import Case, strata, strata_of
from lstm_checks.compare import Verdict
from lstm_checks.contract import ANY_SIZES, DHN, LAST, PLAIN, SizeLimits, Target
from lstm_checks.diagnosis.as_if import find_change
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.faults import projected
from lstm_checks.faults.catalogue import FAULTS, faults_of, find
from lstm_checks.faults.model import fault_target, runs_at_all_sizes
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.strategies import cases, draw_cases
from lstm_checks.targets.function import from_function
from lstm_ref.cells import CELLS

PROJECTED = CELLS["projected"]


def lstmp(p, X, h0, C0):
    """LSTMP written independently: gates stacked as i, f, o, g, features first, one running sum a gradient."""
    order = "ifog"
    W = np.concatenate([np.concatenate([p["U" + k], p["V" + k], p["b" + k]]) for k in order], axis=1).T
    P, (m, s, e), u = p["P"].T, X.shape, C0.shape[1]
    one, h, c, kept = np.ones((1, m), X.dtype), h0.T, C0.T, []
    for t in range(s):
        z = np.concatenate([X[:, t].T, h, one])
        a = W @ z
        i, f, o = (1 / (1 + np.exp(-a[k * u : (k + 1) * u])) for k in range(3))
        g = np.tanh(a[3 * u :])
        old, c = c, i * g + f * c
        y = np.tanh(c)
        h = P @ (o * y)
        kept.append((z, i, f, o, g, old, y, h))

    def pullback(dh, dCn):
        dW, dP, dX = np.zeros_like(W), np.zeros_like(P), np.zeros_like(X)
        dhidden, dc = np.zeros_like(h0.T), dCn.T
        for t in range(s - 1, -1, -1):
            z, i, f, o, g, old, y, _ = kept[t]
            whole = dh[:, t].T + dhidden
            dP += whole @ (o * y).T
            dq = P.T @ whole
            dc = dc + dq * o * (1 - y) * (1 + y)
            da = np.concatenate(
                [dc * g * i * (1 - i), dc * old * f * (1 - f), dq * y * o * (1 - o), dc * i * (1 - g * g)]
            )
            dW += da @ z.T
            dz = W.T @ da
            dX[:, t], dhidden, dc = dz[:e].T, dz[e:-1], dc * f
        found = {"dX": dX, "dh0": dhidden.T, "dC0": dc.T, "dP": dP.T}
        for k, gate in enumerate(order):
            rows = dW[k * u : (k + 1) * u].T
            found |= {f"dU{gate}": rows[:e], f"dV{gate}": rows[e:-1], f"db{gate}": rows[-1:]}
        return found

    return (np.stack([one[-1].T for one in kept], axis=1), c.T), pullback


@np.errstate(over="ignore")
def test_a_right_lstmp_written_independently_passes_in_both_dtypes():
    report = verify(from_function(lstmp, cell=PROJECTED))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert {example.case.dtype for example in report.examples} == {"float64", "float32"}
    for name in PROJECTED.gradients:
        assert report.claim_counts[name][Verdict.PASS] > 40, name
    reached = {name for example in report.examples for name in strata(example.case)}
    assert reached >= {"p = 1", "p = u", "p = e", "p < u", "p > u"}


def test_a_right_lstmp_passes_by_properties_alone_and_a_wrong_one_fails():
    right = verify(from_function(lstmp, cell=PROJECTED), examples=25, reference=False)
    assert right.exit_code == 0, right.failure and render_failure("it", right.failure)
    assert right.claim_counts["unit permutation"][Verdict.PASS] > 5
    wrong = fault_target(projected.FAULTS[-1], cell=PROJECTED)  # dP is averaged
    assert verify(wrong, examples=25, reference=False).exit_code == 1


def test_the_letters_of_a_cell_are_those_of_its_axes():
    assert [cell.letters for cell in CELLS.values() if cell is not PROJECTED] == ["mseu"] * (len(CELLS) - 1)
    assert (PROJECTED.letters, PROJECTED.further, PROJECTED.recurrent, PLAIN.recurrent) == ("mseup", "p", "pu", "uu")
    sizes = (2, 3, 4, 5, 6)
    shapes = {name: PROJECTED.shape(name, *sizes) for name in ("P", "Vf", "h", "dh0", "Cn", "dhn")}
    assert shapes == {"P": (5, 6), "Vf": (6, 5), "h": (2, 3, 6), "dh0": (2, 6), "Cn": (2, 5), "dhn": (2, 6)}
    assert PROJECTED.sizes_of(Case.of(sizes, cell=PROJECTED).arrays) == sizes
    with pytest.raises(ValueError, match="argument"):
        PROJECTED.shape("P", 2, 3, 4, 5)


@given(case=cases(cell=PROJECTED))
def test_a_case_has_the_sizes_of_its_cell_and_only_these(case):
    assert Case.parse(case.descriptor) == case
    assert list(case.sizes) == list("mseup")
    assert case.dims == (case.m, case.s, case.e, case.u, case.sizes["p"])
    plain = replace(case, cell=PLAIN)
    assert plain == Case(
        case.m, case.s, case.e, case.u, case.dtype, case.regime, case.cotangents, case.states, case.seed
    )
    assert "p" not in plain.sizes
    assert set(strata(case)) <= set(strata_of(PROJECTED))
    assert case.resized({"p": 7}).sizes == {**case.sizes, "p": 7}


@pytest.mark.parametrize(
    "descriptor",
    ["m1s1e1u1-projected-float64-seed0", "m1s1e1u1p2-float64-seed0", "m1s1e1u1p1z1-projected-float64-seed0"],
)
def test_a_descriptor_of_other_sizes_than_the_cells_is_refused(descriptor):
    form = "m1s1e1u1p1" if "projected" in descriptor else "m1s1e1u1"
    with pytest.raises(ValueError, match=rf"case {re.escape(repr(descriptor))} of the .* has other sizes than {form}$"):
        Case.parse(descriptor)


def test_a_size_below_one_is_refused_by_its_letter():
    with pytest.raises(ValueError, match="p is 0, expected at least 1"):
        Case.of((1, 1, 1, 1, 0), cell=PROJECTED)


@settings(max_examples=25)
@given(case=cases(cell=PROJECTED, stratum="p = u"))
def test_a_projection_by_one_is_the_plain_cell(case):
    case = case.resized({"p": case.u})
    came = evaluate_reference(case.arrays.replaced(P=np.eye(case.u, dtype=case.dtype)))
    due = evaluate_reference(replace(case, cell=PLAIN).arrays)
    for name, value in due.items():
        # One times a number and nothing added: only what BLAS adds up in another order may differ.
        np.testing.assert_allclose(came[name], value, rtol=1e-4, atol=1e-6 * np.max(np.abs(value)), err_msg=name)


def test_zero_projection_has_its_closed_form():
    case = Case.of((2, 3, 2, 3, 2), seed=5, cell=PROJECTED)
    found = evaluate_reference(case.arrays.replaced(P=np.zeros((3, 2))))
    assert not found["h"].any()
    # No cotangent of h reaches past P, and only that of the final memory is left.
    alone = evaluate_reference(case.arrays.replaced(P=np.zeros((3, 2)), dCn=np.zeros((2, 3))))
    assert not any(alone[name].any() for name in PROJECTED.gradients if name != "dP")
    assert alone["dP"].any()


def test_there_are_more_faults_than_asked_for_and_each_runs_at_all_sizes():
    found = faults_of(PROJECTED)
    carried = [id for id in found if id in FAULTS]
    assert (len(projected.FAULTS), len(carried) > 250) == (40, True)
    assert all(runs_at_all_sizes(fault, PROJECTED) for fault in projected.FAULTS)
    # V is not square here: what that alone lets through is no fault that one could make.
    assert "recurrence-untransposed" not in found


@pytest.mark.parametrize("fault", projected.FAULTS[::3], ids=lambda fault: fault.id)
def test_an_own_fault_is_named_in_its_smallest_example(fault):
    first = diagnose(fault_target(fault, cell=PROJECTED), Case.parse(fault.example)).suspects[0]
    assert (first.fault, first.certain) == (fault.id, True)


LIMITS = {
    "p < u": (SizeLimits(below=(("p", "u"),)), lambda sizes: sizes["p"] < sizes["u"]),
    "p = 3": (SizeLimits((("p", "u"),), (("p", 0, 0, 3),)), lambda sizes: sizes["p"] == 3 < sizes["u"]),
    "p = u + 1": (SizeLimits(given=(("p", 0, 1, 1),)), lambda sizes: sizes["p"] == sizes["u"] + 1),
    "any": (ANY_SIZES, lambda sizes: True),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_target_is_drawn_the_sizes_that_it_takes_and_no_others(name):
    limits, holds = LIMITS[name]
    drawn = draw_cases(100, 3, cell=PROJECTED, limits=limits)
    assert len(drawn) == 100
    assert all(holds(case.sizes) for case in drawn)


def taking_less(limits):
    """The reference, which raises at sizes that it does not take."""
    right = fault_target(cell=PROJECTED)

    def call(inputs, sequences=True):
        sizes = dict(zip("mseup", PROJECTED.sizes_of(inputs), strict=True))
        if limits.refused(sizes):
            raise ValueError(f"called with {sizes}")
        return right.call(inputs, sequences)

    return Target("it", "function", call, frozenset({DHN, LAST}), cell=PROJECTED, limits=limits)


@pytest.mark.parametrize("name", ["p < u", "p = 3"])
def test_a_target_that_takes_some_sizes_alone_passes_and_is_asked_no_others(name):
    target = taking_less(LIMITS[name][0])
    report = verify(target, examples=20)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    refused = verify_case(target, Case.of((2, 3, 2, 3, 3), cell=PROJECTED))
    assert refused.verdict is Verdict.UNSUPPORTED
    assert re.fullmatch(r"a size [pu] of 3, which this case needs", refused.claims[0].reason)


def test_a_rule_may_be_about_p():
    right = from_function(lstmp, cell=PROJECTED)

    def call(inputs, sequences=True):
        outputs, pullback = right.call(inputs, sequences)
        wrong = inputs["P"].shape[1] % 4 == 0
        return outputs, lambda c: {n: v * (1 + (n == "dP" and wrong)) for n, v in pullback(c).items()}

    report = verify(replace(right, call=call), examples=40, max_dims=(3, 4, 3, 5, 9))
    assert report.failure.pattern.startswith("wrong where p is a multiple of 4")


def test_a_hidden_state_of_another_size_is_not_taken_for_the_memory():
    target = fault_target(find("carry-dropped", PROJECTED), cell=PROJECTED)
    case = Case.of((2, 3, 2, 3, 2), seed=1, cell=PROJECTED)
    assert find_change(target, [case], lambda: True) == ""
