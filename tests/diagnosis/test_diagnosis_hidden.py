"""Faults that are in no catalogue, as people make them: what is said of each is so, and says most of what there is.

Planted in the plain layer of `plain_lstm.py`. Whole answers to other faults in no catalogue are in `test_diagnosis.py`.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
from plain_lstm import plain_lstm, planted
from planted_faults import (
    ABOVE,
    ACTIVATE,
    BI,
    BO,
    DW,
    DX,
    EDITS,
    EF,
    EG,
    EI,
    EO,
    FINAL,
    GAMMA,
    KAPPA,
    LOGISTIC,
    MEMORY,
    OUT,
    PACK,
    READ,
    RHO,
    THROUGH,
    after,
    finally_,
    returning,
)

from lstm_checks.cases import Case
from lstm_checks.diagnosis import calls
from lstm_checks.diagnosis.calls import CALLS_DIFFER
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.places import _departing_together, _of_steps, departing, of_tensors, wrong_in_cases
from lstm_checks.diagnosis.rule import Domain, describe_values, find_rule
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.targets.function import from_function

CASE = Case(3, 4, 3, 3, seed=3)
OF_MEMORY = "dh_ * o * tanh_derivative(C)"
START = "m, s, e = X.shape"


def found(*edits, case=CASE):
    diagnosis = diagnose(planted("hidden", list(edits)), case)
    assert not any(named.certain for named in diagnosis.suspects)
    return diagnosis


ONE_SAMPLE = returning(dh0="rho.T * (m > 1)")


def test_a_fault_that_only_the_failing_case_shows_is_diagnosed():
    where = found(ONE_SAMPLE, case=Case(1, 1, 1, 1)).where
    assert where[:2] == ("wrong at m=1, right at m=2", "only dh0 is ever wrong in 10 cases")


def test_what_arrives_at_the_last_step_is_in_dh_where_a_target_takes_it_there():
    def rolled(p, X, h0, C0):
        outputs, pullback = plain_lstm(p, X, h0, C0)
        return outputs, lambda dh, dCn: pullback(np.roll(dh, 1, axis=1), dCn, np.zeros_like(h0))

    seen = diagnose(from_function(rolled), Case(1, 2, 1, 1, seed=3))
    # Of two steps it is as if they came in reverse order, too, which says nothing beside what is always so.
    assert seen.relations == ("all is as if dh were given with its steps one place late, turning round",)
    assert not seen.suspects


def test_which_gates_are_wrong_is_no_place_where_it_hangs_on_the_values():
    def said(*evidence):
        target = planted("one gate", [finally_("g['dUf'], g['dVf'] = 1.3 * g['dUf'], 1.7 * g['dVf'].T")])
        found = of_tensors(target, *wrong_in_cases(target, CASE, evidence))
        return [line for line in found if line.startswith("only gradients of gate")]

    assert not said({"dUf", "dVf", "dUg", "dVg"})
    assert not said({"dUg", "dVg"}, {"dUf", "dVf", "dUg"})


def test_a_fault_that_only_the_failing_case_shows_is_reported_and_fails():
    report = verify(planted("one sample", [ONE_SAMPLE]), examples=42)
    assert report.exit_code == 1
    assert "suspect   no catalogued fault fits" in render_failure("it", report.failure)


def test_a_diagnosis_that_breaks_off_takes_nothing_from_the_failure(monkeypatch):
    def broken(*ignored):
        raise IndexError("list index out of range")

    monkeypatch.setattr("lstm_checks.judging.explain.diagnose", broken)
    target = planted("hidden", [returning(dh0="-rho.T")])
    report = explain(target, verify_case(target, CASE))
    assert report.failures
    text = render_failure("it", report)
    assert "dh0[" in text
    assert "not looked for to the end, by a fault of lstm-checks: IndexError: list index out of range" in text


def test_a_fault_of_the_last_output_alone_is_told():
    target = planted("hidden", [(RHO, f"{RHO}\nif not sequences: rho = 1.5 * rho")])
    found = diagnose(replace(target, lacks=frozenset()), Case(2, 3, 2, 3, cotangents="last+h+C"))
    line = "right where every step's output is asked for, wrong where the last one's is alone (sequences=False)"
    assert found.where[0] == line
    assert not any("output step" in line for line in found.where[1:])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ((EG, "eg = gamma * k.act"), "dg = dC_ * C, not dC_ * i"),
        ((EF, "ef = gamma * k.out"), "df = dC_ * h, not dC_ * Cp_"),
        ((EO, "eo = eta * tape[t - 1].act"), "do = dh_ * C[s - 1], not dh_ * C"),
        ((BO, "bo = eo * slope_of_logistic(k.gf)"), "do_ = do * sigmoid_derivative(f), not do * sigmoid_derivative(o)"),
        ((GAMMA, "gamma = through - kappa"), f"dC_ = {OF_MEMORY} - dCn, not {OF_MEMORY} + dCn"),
        ((DX, "dX[:, t] = (back[:e] + (p['Ug'] - p['Uo']) @ bo).T"), "in dX, do_ @ Ug.mT, not do_ @ Uo.mT"),
        ((DX, "dX[:, t] = (back[:e] - 2 * p['Ui'] @ bi).T"), "in dX, - di_ @ Ui.mT, not + di_ @ Ui.mT"),
        (after(DW, "dW[-1, u : 2 * u] += (gamma - bg).sum(axis=1)"), "dbg is made of dC_, not dg_"),
        ((MEMORY, "new = gf * cell + gi * gf"), "C_ = f * Cp_ + i * f, not f * Cp_ + i * g"),
        (after(ACTIVATE, "go = logistic(ag)"), "o = sigmoid(g_), not sigmoid(o_)"),
    ],
)
def test_one_wrong_word_is_named(edit, said):
    (named, *more) = diagnose(planted("hidden", [edit]), CASE).suspects
    assert (named.fault, named.title, named.certain, more) == ("slip", said, True, [])
    assert named.sure.startswith("reproduces all ")
    assert named.diff.startswith("--- a/lstm_ref/")


def test_one_wrong_word_that_is_differentiated_as_well_is_named_by_the_outputs():
    """As a framework does it: the gradients are those of what was written."""
    forward, backward = (MEMORY, "new = gf * cell + gi * go"), (EI, "ei = gamma * k.go")
    diagnosis = found(forward, backward, (EG, "eg = 0 * gamma"), (EO, f"{EO} + gamma * k.gi"))
    assert "h and Cn came as with a slip: C_ = f * Cp_ + i * o, not f * Cp_ + i * g" in diagnosis.relations


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ((FINAL, "rho, kappa = dhn.T, abs(dCn.T)"), "dCn were its absolute value"),
        ((FINAL, "rho, kappa = dhn.T, dCn.T / 2"), "dCn were half as large"),
        ((FINAL, "rho, kappa = dhn.T, dCn[:1].T + 0 * dCn.T"), "dCn were that of its first sample for all"),
        (after(START, "h0 = np.tanh(h0)"), "h0 were its tanh"),
        (after(START, "p = p | {'Vf': p['Vf'].T}"), "Vf were transposed"),
        (after(START, "p = p | {'bi': p['bi'] + 1}"), "bi were larger by 1"),
        (after(START, "p = p | {'Uo': p['Uo'][:, ::-1]}"), "Uo were given with its units in reverse order"),
    ],
)
def test_what_is_done_to_one_array_is_told(edit, said):
    assert f"all is as if {said}" in found(edit).relations


OF_ALL_U = "dUf, dUi, dUg and dUo"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (after(DW, "if t == 0: dW[:e] -= k.z[:e] @ delta.T"), f"{OF_ALL_U} lack the part of the first step"),
        (after(DW, "dW[:e] -= (k.z[:e, :1] @ delta[:, :1].T)"), f"{OF_ALL_U} lack the part of the first sample"),
        (after(DW, "dW[-1:] += delta[:, -1].T"), "dbf, dbi, dbg and dbo have the part of the last sample 2 times"),
        (
            after(DW, "dW[:e] += (tape[s - 1 - t].z - k.z)[:e] @ delta.T"),
            f"{OF_ALL_U} came as if made with X with its steps in reverse order",
        ),
        ((DX, "dX[:, t] = (back[:e] + 2 * p['Ui'] @ bi).T"), "dX has the part of gate i 3 times"),
    ],
)
def test_the_part_that_is_missing_in_a_sum_is_told(edit, said):
    assert said in found(edit).relations


def test_a_sum_with_no_weights_at_all_is_explained_by_none():
    assert found(finally_('g["dUf"] = g["dUf"] + np.sin(np.arange(e * u)).reshape(e, u)')).relations == ()


def test_a_formula_that_is_off_by_little_is_not_called_rounding():
    """The carry times 1 - 1e-9 is off by as much as the carry in float32, and as much everywhere."""
    diagnosis = found((KAPPA, "kappa = gamma * k.gf * (1 - 1e-9)"), case=Case(1, 2, 1, 1))
    assert diagnosis.suspects == ()
    assert not any("float32" in said for said in diagnosis.relations)


def test_rounding_that_no_fault_reproduces_is_named_by_the_bits_in_which_it_comes():
    """The carry as a product in float32: other numbers than those of a carry rounded to it, and as few bits."""
    single = "kappa = (gamma.astype('f4') * k.gf.astype('f4')).astype(X.dtype)"
    (named,) = diagnose(planted("hidden", [(KAPPA, single)]), CASE).suspects
    assert named.fault == "carry-in-single"
    assert named.sure == "dC0 comes in 24 significant bits, as float32 has, with errors as large"


def test_what_another_case_refutes_is_not_called_the_suspect():
    target = planted("hidden", [(THROUGH, f"{THROUGH}\nif t == s - 1: through = eta * k.go")])
    report = explain(target, verify_case(target, Case(1, 1, 1, 1)))
    (named, *_) = report.diagnosis.suspects
    assert named.refuted
    assert "suspect   no catalogued fault fits everywhere; here as with memory-derivative-missing" in render_failure(
        "it", report
    )


def test_one_number_that_another_case_refutes_is_no_suspect():
    lost = "rho = np.vstack([0 * back[e : e + 1], back[e + 1 : e + u]])"
    assert found((RHO, lost), case=Case(1, 1, 1, 1)).suspects == ()


def test_no_fault_is_named_where_it_shows_and_the_target_is_right():
    """Clipped below alone: the catalogue's clips above, too, which small cases do not show."""
    found((MEMORY, f"{MEMORY}\nnew = np.maximum(new, -3)"), case=Case(2, 5, 3, 3, regime="x10", seed=4))


def test_a_gate_looked_at_through_one_that_does_not_saturate_is_not_blamed():
    (line,) = [line for line in found((ACTIVATE, f"{ACTIVATE}\ngg = ag / (1 + abs(ag))")).where if "by itself" in line]
    held = "biases of 40 hold f shut, i open and g open"
    assert line == f"gate f is right by itself at a single step; Cn is not 1 after one in which {held}"


def test_gates_that_are_wrong_are_named_in_the_plural():
    (line,) = [line for line in found((LOGISTIC, "return np.clip(x / 4 + 0.5, 0, 1)")).where if "by them" in line]
    assert line == "gates f, i and o are wrong by themselves at a single step, g right"


def test_what_hangs_on_the_values_is_not_called_a_place():
    """di_ is lost where i is above 0.95, in whatever unit that is."""
    where = found((BI, f"{BI}\nbi = bi * (k.gi < 0.95)")).where
    assert where == ("di_ goes wrong where i is above a limit between 0.949 and 0.951, and nowhere else (37 of 192)",)


@pytest.mark.parametrize(
    ("edit", "said", "limit"),
    [
        ((THROUGH, f"{THROUGH} * (abs(k.new) < 1)"), r"df_, di_ and dg_ go wrong where \|C_\| is above a limit", 1),
        ((MEMORY, f"{MEMORY}\nnew = np.maximum(new, -1)"), "h and Cn go wrong where C_ is below a limit", -1),
        (finally_('g["dbo"] = abs(g["dbo"])'), "dbo goes wrong where what is due is below a limit", 0),
        (finally_('g["dVg"] *= abs(g["dVg"]) > 1'), r"dVg goes wrong where \|what is due\| is below a limit", 1),
    ],
)
def test_a_value_that_decides_is_named_with_its_limit(edit, said, limit):
    (line,) = [line for line in found(edit, case=Case(4, 5, 3, 3, seed=3)).where if "a limit" in line]
    words, low, high = re.fullmatch(r"(.*) between (\S+) and (\S+), and nowhere else \(\d+ of \d+\)", line).groups()
    assert re.fullmatch(said, words)
    assert float(low) <= limit <= float(high)


@pytest.mark.parametrize(
    "edit",
    [
        finally_("for n in g: g[n][:, 1] *= 1.5"),
        (BI, f"{BI}\nbi = bi * (np.arange(m) > 0)"),
        (KAPPA, f"{KAPPA} * 0.99"),
        (MEMORY, f"{MEMORY} * 1.01"),
    ],
)
def test_no_value_decides_where_a_place_does_or_nothing(edit):
    assert not any("a limit" in line for line in found(edit).where)


ROOT_OF_E = after(READ, "x = x / e**0.5")


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([ROOT_OF_E], "all is as if X were 1/sqrt(e) times as large"),
        ([ROOT_OF_E, finally_("dX = dX / e**0.5")], "all is as if X were 1/sqrt(e) times as large within the layer"),
        ([after(PACK, "W[e : e + u] *= 0.9")], "h and Cn are as if all V were 0.9 times as large"),
        ([after(ACTIVATE, "go = logistic(1.1 * ao)")], "h and Cn are as if Uo, Vo and bo were 1.1 times as large"),
        ([after(ABOVE, "above = 0.3 * above")], "all is as if dh were 0.3 times as large"),
        ([(FINAL, "rho, kappa = dhn.T, dCn.T / u")], "all is as if dCn were 1/u times as large"),
    ],
)
def test_what_is_scaled_is_named_with_its_factor(edits, said):
    assert found(*edits).relations == (said,)


@pytest.mark.parametrize(
    "edit",
    [
        after(OUT, "out = 0.9 * out + 0.1 * hidden"),
        after(ACTIVATE, "gf = np.where(t % 2, logistic(1.1 * af), gf)"),
        after(ABOVE, "above = 0.3 * above if t else above"),
    ],
)
def test_nothing_is_said_to_be_scaled_where_no_factor_explains_it(edit):
    assert not any("times as large" in said for said in found(edit).relations)


def test_a_gate_is_not_blamed_for_a_memory_that_is_cut_off():
    edit = (MEMORY, f"{MEMORY}\nnew = np.maximum(new, -3)")
    assert (
        "each gate by itself is right at a single step"
        in found(edit, case=Case.parse("m1s1e1u3-float64-mixed-seed1")).where
    )


def test_cotangents_that_are_cut_off_are_told():
    assert (
        "right for cotangents 2^-20 times as large, so not linear in them"
        in found((FINAL, f"{FINAL}\nrho = np.clip(rho, -0.1, 0.1)")).where
    )


def test_a_unit_that_is_wrong_is_told():
    assert "wrong at unit 2 of 3 alone" in found(finally_("for n in g: g[n][:, 1] *= 1.5")).where


def test_sizes_are_not_blamed_for_values():
    def fails(case):
        return (case.seed + case.u) % 3 == 0

    case = Case(1, 1, 1, 3)
    assert find_rule(fails, case, {}, Domain((9, 12, 9, 9))) is None
    assert describe_values(fails, case) == "right at these sizes for 3 of 4 other draws of values"
    # What is not judged is not right.
    assert describe_values(lambda case: None, case) == ""
    unjudged = {1: None, 2: None, 3: True, 4: False}
    assert describe_values(lambda case: unjudged[case.seed], case).startswith("right at these sizes for 1 of 2 other")


def test_a_fault_that_spreads_is_placed_where_most_is_wrong():
    """Cut more than five steps back: six steps show it in dh0 alone."""
    cut = after(RHO, "if s - t > 5: rho = 0 * rho")
    where = found(cut, case=Case(1, 6, 1, 1)).where
    assert not any("right at every step" in line for line in where)


def test_what_differs_between_two_calls_is_named():
    counter = "import itertools\ncalls = itertools.count()\n\n\ndef squash(x):"
    target = planted("hidden", [("def squash(x):", counter), finally_('g["dVg"] = g["dVg"] * next(calls)')])
    assert diagnose(target, CASE).where == ("two calls with the same inputs differ in dVg",)


def test_cotangents_are_solved_for_from_du_only_where_db_is_their_sum():
    """A dU of its own says nothing of what it was to be made of, though that is wrong as well."""
    case, carried = Case(2, 3, 8, 2, seed=3), EDITS["carry-through-output"]
    assert _departing_together(planted("hidden", carried), case) is not None
    both = planted("hidden", [*carried, *EDITS["du-assigned"]])
    assert departing(both, case) is not None
    assert _departing_together(both, case) is None


@pytest.mark.parametrize(("s", "mapped"), [(12, True), (13, False)])
def test_a_map_of_more_steps_than_anybody_reads_is_not_told(s, mapped):
    lost = planted("hidden", EDITS["carry-lost-after-eight"])
    where = [*_of_steps(lost, Case(1, s, 2, 3, cotangents="every", seed=3))]
    assert any("a word an output step" in line for line in where) is mapped


@pytest.mark.parametrize(("times", "word"), [(2, "second"), (3, "third"), (5, "fifth")])
def test_what_is_wrong_in_turn_is_told_with_how_often(times, word):
    """By call, and not by case: a right answer to each case is seen, too, and at times nothing else."""
    count = "import itertools\ncalls = itertools.count(1)\n\n\ndef squash(x):"
    lost = finally_(f'g["dbo"] = g["dbo"] * (next(calls) % {times} > 0)')
    where = diagnose(planted("hidden", [("def squash(x):", count), lost]), CASE).where
    assert f"every {word} call is wrong, in dbo, and those between are right" in where
    assert not [line for line in where if "samples" in line or "ever wrong" in line], "of a case, what is of a call"


@pytest.mark.parametrize(("between", "told"), [({}, 1), (None, 0)])
def test_calls_between_wrong_ones_of_which_nobody_knows_are_not_called_right(monkeypatch, between, told):
    """One raised, or rounding drowned its answer."""
    answers = iter([{"dbo": True} if k % 3 == 2 else between if k == 3 else {} for k in range(16)])
    monkeypatch.setattr(calls, "wrong_entries", lambda target, case: next(answers))
    assert len([*calls.wrong_in_turn(planted("right", []))]) == told


def test_what_differs_between_two_calls_is_said_of_a_case_where_much_is_at_stake():
    """By chance: of the few entries of a small case two calls mostly lose the same."""
    lost = [f'g["{name}"] = g["{name}"] * (dice.random(g["{name}"].shape) > 0.3)' for name in ("dVg", "dbo")]
    said = []
    for seed in range(4):
        dice = f"dice = np.random.default_rng({seed})\n\n\ndef squash(x):"
        target = planted("hidden", [("def squash(x):", dice), finally_("\n".join(lost))])
        said += diagnose(target, Case(1, 1, 1, 1)).where
    assert {line for line in said if line.startswith(CALLS_DIFFER)} == {f"{CALLS_DIFFER} dVg and dbo"}


def test_what_is_kept_and_not_there_at_first_is_told():
    kept = "kept = {}\n\n\ndef squash(x):"
    add = 'g["dVg"] = g["dVg"] + kept.get(X.shape, 0)\nkept[X.shape] = kept.get(X.shape, 0) + 1.0'
    assert diagnose(planted("hidden", [("def squash(x):", kept), finally_(add)]), CASE).where == (
        "two calls with the same inputs differ in dVg",
        "right at the first call of a size, wrong at later ones",
    )
