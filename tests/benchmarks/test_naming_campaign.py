"""The judges of the naming campaign: each says that a planted truth is so, and that a planted lie is not.

What is planted is a change of `plain_lstm.py`; of a line that is true of it, and of one of the same form that is not,
the judge is asked on cases of its own.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from failure_texts import TEXTS
from plain_lstm import planted
from planted_faults import (
    ABOVE,
    ACTIVATE,
    BI,
    BO,
    CN,
    DW,
    DX,
    EDITS,
    FINAL,
    KAPPA,
    LOGISTIC,
    MEMORY,
    OUT,
    PACK,
    READ,
    THROUGH,
    WRAPPERS,
    H,
    after,
    before,
    finally_,
    returning,
    with_z,
)
from test_diagnosis import HIDDEN

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # not installed

import naming_campaign
import uncatalogued
from truth import conditions
from truth import evidence as evidence_module
from truth.conditions import rule_of
from truth.evidence import Evidence, Said, Truth
from truth.gates import _recorded
from truth.lines import judge_line, lines_of
from truth.suspects import _are_one, named_faults

from lstm_checks.cases import Case
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import fault_target
from lstm_checks.faults.slips import slips
from lstm_checks.judging import case as judging_case
from lstm_checks.oracles import expected

CASE = Case(3, 4, 3, 3, seed=3)
NOT_SO = (Said.FALSE, Said.MISLEADING)


@pytest.fixture(autouse=True)
def _few_cases(monkeypatch):
    """A judge needs fewer cases where all of them tell."""
    monkeypatch.setattr(evidence_module, "ENOUGH", 8)
    monkeypatch.setattr(evidence_module, "SOUGHT", 160)
    monkeypatch.setattr(conditions, "RULED", 60)


def judged(edits, label, text, case=CASE, wrap=None, **truth):
    evidence = Evidence(lambda: planted("judged", list(edits), wrap), case, Truth(**truth))
    verdict = judge_line(evidence, label, text)
    return None if verdict is None else verdict.said


MAP = " (a word an output step, a letter an input step of dX, x wrong)"
DVG = 'g["dVg"] = '
TWICE = finally_(f'{DVG}2 * g["dVg"]')
CUT = '(lambda v: (v.astype("f4").view("u4") & np.uint32(0xFFFF0000)).view("f4").astype(v.dtype))'
CARRY = after(KAPPA, "kappa = 0.9 * kappa")
OTHER_STEP = after(BI, "bi = bi * (t > 0)")
ROOT_OF_E = after(READ, "x = x / e**0.5")
FORGET_OFF = after(ACTIVATE, "gf = logistic(1.1 * af)")

# What is planted; the label; a line that is so; one that is not.
LINES = {
    "zero": ([finally_(f"{DVG}0 * g['dVg']")], "relation", "dVg is zero throughout", "dVo is zero throughout"),
    "another's value": (
        [finally_(f"{DVG}g['dVf'] + 0")],
        "relation",
        "dVg holds the value of dVf",
        "dVg holds the value of dVi",
    ),
    "another's value, transposed": (
        [finally_(f"{DVG}g['dVf'].T + 0")],
        "relation",
        "dVg holds the value of dVf, transposed",
        "dVg holds the value of dVf",
    ),
    "a factor": ([TWICE], "relation", "dVg is 2 times what is due", "dVg is s times what is due"),
    "a factor of sizes": (
        [finally_(f"{DVG}g['dVg'] / (m * s)")],
        "relation",
        "dVg is 1/(m s) times what is due",
        "dVg is 1/m times what is due",
    ),
    "a small factor": (
        [finally_(f"{DVG}g['dVg'] * 1.000001")],
        "relation",
        "dVg is 1.000001 times what is due",
        "dVg is 1.000002 times what is due",
    ),
    "a factor of one size": (
        [finally_(f"{DVG}g['dVg'] / m**3")],
        "relation",
        "dVg is 0.01562 times what is due on m4s5e3u3-float64-seed131",
        "dVg is 0.01562 times what is due",
    ),
    "a factor at some sizes": (
        [finally_(f"{DVG}g['dVg'] / m**3")],
        "relation",
        "dVg is 0.01562 times what is due at m=4 s=5 e=3 u=3",
        "dVg is 0.01562 times what is due at m=3 s=5 e=3 u=3",
    ),
    "a factor of many": (
        [(DW, "dW += 2 * k.z @ delta.T")],
        "relation",
        "each of 12 tensors, dUf, dVf, dbf and others, is 2 times what is due",
        "each of 12 tensors, dUf, dVf, dbf and others, is 1/2 times what is due",
    ),
    "transposed": ([finally_(f"{DVG}g['dVg'].T + 0")], "relation", "dVg is transposed", "dVf is transposed"),
    "transposed, negated": (
        [finally_(f"{DVG}-g['dVg'].T")],
        "relation",
        "dVg is transposed, with its sign reversed",
        "dVg is transposed",
    ),
    "in the order of the transpose": (
        [finally_("g['dUg'] = g['dUg'].T.reshape(e, u)")],
        "relation",
        "dUg has its entries in the order of the transpose",
        "dUg has its units in reverse order",
    ),
    "reversed": (
        [finally_(f"{DVG}g['dVg'][::-1] + 0")],
        "relation",
        "dVg has its rows in reverse order",
        "dVg has its units in reverse order",
    ),
    "late": (
        [finally_("dX[:, 1:] = dX[:, :-1].copy()\ndX[:, :1] = 0")],
        "relation",
        "dX has its steps one place late, with zero at the end",
        "dX has its steps one place late, the one at the end moved to the other end",
    ),
    "permuted": (
        [finally_(f"{DVG}g['dVg'][:, [1, 0, *range(2, u)]] + 0 if u > 1 else g['dVg']")],
        "relation",
        "dVg has its units in the order 2, 1, 3",
        "dVg has its units in the order 3, 1, 2",
    ),
    "added": (
        [finally_(f"{DVG}g['dVg'] + g['dVo']")],
        "relation",
        "dVg is what is due plus dVo",
        "dVg is what is due minus dVo",
    ),
    "a constant": (
        [finally_(f"{DVG}g['dVg'] - 0.5")],
        "relation",
        "dVg is what is due minus 0.5 in every entry",
        "dVg is what is due plus 0.5 in every entry",
    ),
    "cut off": (
        [finally_(f"{DVG}np.clip(g['dVg'], -0.05, 0.05)")],
        "relation",
        "dVg is cut off at ±0.05",
        "dVg is cut off at ±0.07",
    ),
    "float32": (
        [finally_(f"{DVG}g['dVg'].astype('f4').astype('f8')")],
        "relation",
        "dVg is right but for being in float32 only",
        "dVg is right but for being in float16 only",
    ),
    "the call before": (
        [
            before("def squash(x):", "kept = {}\n\n"),
            finally_('n = X.shape\ng["dbo"], kept[n] = g["dbo"] + kept.get(n, 0), g["dbo"]'),
        ],
        "where",
        "two calls with the same inputs differ in dbo",
        "two calls with the same inputs differ in dbf",
    ),
    "in turn": (
        [
            before("def squash(x):", "kept = [0]\n\n"),
            finally_('kept[0] += 1\nif kept[0] % 3 == 0:\n    g["dbo"] = 0 * g["dbo"]'),
        ],
        "where",
        "every third call is wrong, in dbo, and those between are right",
        "every second call is wrong, in dbo, and those between are right",
    ),
    "clipped by norm": (
        EDITS["gradients-clipped-by-global-norm"],
        "relation",
        "the norm of all parameters' gradients together is 5: clipped",
        "the norm of all parameters' gradients together is 4: clipped",
    ),
    "gates in another order": (
        EDITS["gradients-swapped-f-i"],
        "relation",
        "the gradients come in the order i, f, g, o where f, i, g, o was due",
        "the gradients come in the order o, i, g, f where f, i, g, o was due",
    ),
    "as if": (
        [after(ABOVE, "above = 0.3 * above")],
        "relation",
        "all is as if dh were 0.3 times as large",
        "all is as if dh were half as large",
    ),
    "as if within": (
        [ROOT_OF_E, finally_("dX = dX / e**0.5")],
        "relation",
        "all is as if X were 1/sqrt(e) times as large within the layer",
        "all is as if X were 1/sqrt(e) times as large",
    ),
    "outputs as if": (
        [FORGET_OFF],
        "relation",
        "h and Cn are as if Uf, Vf and bf were 1.1 times as large",
        "h and Cn are as if Ui, Vi and bi were 1.1 times as large",
    ),
    "as if moved": (
        [before(PACK, "X = np.flip(X, 2)")],
        "relation",
        "h and Cn are as if X were given with its elements in reverse order",
        "h and Cn are as if X were given with its steps in reverse order",
    ),
    "outputs as with a slip": (
        [(MEMORY, "new = gf * cell + gi")],
        "relation",
        "h and Cn came as with a slip: C_ = f * Cp_ + i, not f * Cp_ + i * g",
        "h and Cn came as with a slip: C_ = f * Cp_, not f * Cp_ + i * g",
    ),
    "a part lacking": (
        [OTHER_STEP],
        "relation",
        "dUi, dVi and dbi lack the part of step 1 of 4",
        "dUi, dVi and dbi lack the part of step 2 of 4",
    ),
    "a part twice": (
        EDITS["first-step-counted-twice"],
        "relation",
        "dUi, dVi and dbi have the part of step 1 of 4 2 times",
        "dUi, dVi and dbi have the part of step 1 of 4 3 times",
    ),
    "a gate lacking": (
        EDITS["input-gradient-lacks-g"],
        "relation",
        "dX lacks the part of gate g",
        "dX lacks the part of gate o",
    ),
    "made with something moved": (
        [with_z("z[:e] = X[:, t - 1].T if t else 0 * z[:e]")],
        "relation",
        "dUf came as if made with X with its steps one place late, zero at the end",
        "dUf came as if made with X with its steps one place early, zero at the end",
    ),
    "made with other weights": (
        [(DX, 'dX[:, t] = (pack({**p, "Ug": p["Uo"]}) @ delta)[:e].T')],
        "relation",
        "dX came as if made with Uo in place of Ug",
        "dX came as if made with Ug in place of Uo",
    ),
    "of one cotangent": (
        [(FINAL, "rho, kappa = dhn.T, -dCn.T")],
        "relation",
        "for cotangents of the final memory state alone, dC0 is -1 times what is due",
        "for cotangents of the final h alone, dC0 is -1 times what is due",
    ),
    "bits": (
        [after(ACTIVATE, "gi = gi.astype(np.float32).astype(X.dtype)")],
        "relation",
        "gate i comes in 24 significant bits, as float32 has",
        "gate f comes in 24 significant bits, as float32 has",
    ),
    "bits of operands": (
        [(DW, "dW += trunc(k.z) @ trunc(delta).T".replace("trunc", CUT))],
        "relation",
        "X^T dk_ and h^T dk_ are wrong where operands have 9 significant bits, right where they have 8, as "
        "bfloat16 has",
        "X^T dk_ and h^T dk_ are wrong where operands have 12 significant bits, right where they have 11, as "
        "float16 has",
    ),
    "bits of other operands": (
        [(DW, "dW += trunc(k.z) @ trunc(delta).T".replace("trunc", CUT))],
        "relation",
        "X^T dk_ is wrong where operands have 9 significant bits, right where they have 8, as bfloat16 has",
        "dk_ U^T is wrong where operands have 9 significant bits, right where they have 8, as bfloat16 has",
    ),
    "a reading": (
        [before(PACK, 'p = {**p, **{"V" + k: p["V" + k].T for k in "figo"}}')],
        "layout",
        "each V transposed: so read, h and Cn are right",
        "the biases ignored: so read, h and Cn are right",
    ),
    "an order of gates": (
        EDITS["gate-order-ifgo"],
        "layout",
        "you read the gates i,f,g,o where f,i,g,o was given: so read, h and Cn are right",
        "you read the gates i,g,f,o where f,i,g,o was given: so read, h and Cn are right",
    ),
    "an activation": (
        [(LOGISTIC, "return np.clip(0.2 * x + 0.5, 0, 1)")],
        "layout",
        "in place of the logistic function, a hard sigmoid, clip(0.2 x + 0.5): so read, h and Cn are right",
        "in place of the logistic function, a hard sigmoid, clip(x / 6 + 0.5): so read, h and Cn are right",
    ),
    "sizes": (EDITS["dv-transposed"], "pattern", "right at u=1, wrong from u=3", "right at s=3, wrong from s=4"),
    "a tensor": (
        [TWICE],
        "where",
        "only dVg (gate g) is ever wrong in 4 cases of other shapes",
        "only dVo (gate o) is ever wrong in 4 cases of other shapes",
    ),
    "gates' gradients": (
        [finally_('g["dVg"], g["dUg"], g["dbg"], g["dbi"] = (2 * g[n] for n in ("dVg", "dUg", "dbg", "dbi"))')],
        "where",
        "only gradients of gates g and i are ever wrong in 4 cases of other shapes",
        "only gradients of gate g are ever wrong in 4 cases of other shapes",
    ),
    "a unit": (
        [finally_("for n in g: g[n][:, 1:2] *= 1.5")],
        "where",
        "wrong at unit 2 of 3 alone",
        "wrong at unit 1 of 3 alone",
    ),
    "steps' cotangents": (
        [after(BO, "bo = bo * (0.5 if t == s - 2 else 1)")],
        "where",
        "wrong for cotangents of output steps 4 and 5 of 5 alone, right for those of the others",
        "wrong for cotangents of output steps 3 and 4 of 5 alone, right for those of the others",
    ),
    "a map": (
        [CARRY],
        "where",
        "credit goes wrong 1 step back and further: . x. xx. xxx. xxxx." + MAP,
        "credit goes wrong 2 steps back and further: . .. x.. xx.. xxx.." + MAP,
    ),
    "final states' cotangents": (
        [(FINAL, "rho, kappa = dhn.T, -dCn.T")],
        "where",
        "right for cotangents of the outputs alone, wrong for the final memory state's",
        "right for cotangents of the outputs alone, wrong for the final hidden state's",
    ),
    "a sample's cotangents": (
        [after(BI, "bi = bi * (np.arange(m) != 1)")],
        "where",
        "wrong for cotangents of sample 2 of 4 alone, right for those of the others",
        "wrong for cotangents of sample 3 of 4 alone, right for those of the others",
    ),
    "the size of cotangents": (
        [(FINAL, "rho, kappa = np.clip(dhn.T, -0.1, 0.1), dCn.T")],
        "where",
        "right for cotangents 2^-20 times as large, so not linear in them",
        "right for cotangents of the other sign, so not linear in them",
    ),
    "where h is wrong": (
        [after(H, "H[:, -1] *= 1.01")],
        "where",
        "h is wrong at step 5 of 5 (case m4s5e3u3-float64-seed131)",
        "h is wrong at step 4 of 5 (case m4s5e3u3-float64-seed131)",
    ),
    "gates by themselves": (
        [FORGET_OFF],
        "where",
        "gate f is wrong by itself at a single step, i, g and o right",
        "gate i is wrong by itself at a single step, f, g and o right",
    ),
    "no gate": (
        [after(OUT, "out = 0.9 * out + 0.1 * hidden")],
        "where",
        "Cn is right after a single step, and so are f, i and g; h, made of it and gate o, is not",
        "gate f is wrong by itself at a single step, i, g and o right",
    ),
    "a gate that does not saturate": (
        [after(ACTIVATE, "gg = ag / (1 + abs(ag))")],
        "where",
        "gate f is right by itself at a single step; "
        "Cn is not 1 after one in which biases of 40 hold f shut, i open and g open",
        "gate f is wrong by itself at a single step; "
        "Cn is not 1 after one in which biases of 40 hold f shut, i open and g open",
    ),
    "cotangents right": (
        [TWICE],
        "where",
        "df_ di_ dg_ do_, solved for from dU, are right at every step; dVg, made from them, is not",
        "df_ di_ dg_ do_, solved for from dU, are right at every step; dVo, made from them, is not",
    ),
    "a sum alone": (
        [finally_('g["dUf"] *= 1.00000001')],
        "where",
        "dUf is wrong where dV or db, made from the same, is right",
        "dUo is wrong where dV or db, made from the same, is right",
    ),
    "departs first": (
        [CARRY],
        "where",
        "going back in time, df_, di_ and dg_ depart first, at step 3 of 4, do_ right there (solved for from dU)",
        "going back in time, df_, di_ and dg_ depart first, at step 4 of 4, do_ right there (solved for from dU)",
    ),
    "departs alone": (
        [OTHER_STEP],
        "where",
        "di_ departs at step 1 of 4 alone (solved for from dU)",
        "di_ departs at step 2 of 4 alone (solved for from dU)",
    ),
    "a limit": (
        [(THROUGH, f"{THROUGH} * (abs(k.new) < 1)")],
        "where",
        "df_, di_ and dg_ go wrong where |C_| is above a limit between 0.99 and 1.01, and nowhere else (37 of 192)",
        "df_, di_ and dg_ go wrong where |C_| is above a limit between 1.49 and 1.51, and nowhere else (37 of 192)",
    ),
    "an input's being zero": (
        EDITS["dv-without-h0"],
        "where",
        "right where h0 is zero",
        "right where C0 is zero",
    ),
    "a rule": (
        [finally_("if m % 4:\n    dX = 2 * dX")],
        "pattern",
        "wrong where m is no multiple of 4, in 61 of 61 examples tried; right elsewhere, in 20 of 20",
        "wrong where m is odd, in 61 of 61 examples tried; right elsewhere, in 20 of 20",
    ),
    "equal sizes": (
        [finally_("if m == e:\n    dX = 2 * dX")],
        "pattern",
        "wrong where m = e, at 2, 3 and 4; right where they differ by one",
        "wrong where m = u, at 2, 3 and 4; right where they differ by one",
    ),
    "h for Cn": (
        [(CN, "Cn = tape[-1].out.T.copy()")],
        "relation",
        "Cn holds the value of h of the last step",
        "Cn holds the value of dh0",
    ),
    "symmetrized": (
        [finally_(f"{DVG}(g['dVg'] + g['dVg'].T) / 2")],
        "relation",
        "dVg is the mean of what is due and its transpose",
        "dVg is transposed",
    ),
    "summed": (
        [returning(dh0="np.repeat(rho.sum(axis=1)[None], m, axis=0)")],
        "relation",
        "dh0 holds in all samples the sum of what is due over them",
        "dh0 holds in all samples the mean of what is due over them",
    ),
    "decayed": (
        [finally_(f"{DVG}g['dVg'] + 0.01 * p['Vg']")],
        "relation",
        "dVg is what is due plus 0.01 times what it is the gradient of",
        "dVg is what is due plus 0.02 times what it is the gradient of",
    ),
    "one sample right": (
        [after(H, "H[1:] = 0")],
        "where",
        "of h, only the first sample is right",
        "h is wrong at sample 1 of 4 (case m4s5e3u3-float64-seed131)",
    ),
    "a memory not kept": (
        [(MEMORY, "new = 0.9 * gf * cell + gi * gg")],
        "where",
        "Cn is not C0 after a single step in which biases of 40 hold f open and i shut",
        "only dX is ever wrong in 4 cases of other shapes",
    ),
    "gates put together": (
        [(MEMORY, "new = gf * cell + gg")],
        "where",
        "Cn is not C0 after a single step in which biases of 40 hold f open, i shut, g open and o open",
        "Cn is not C0 after a single step in which biases of 40 hold f open, i open and o open, g being 0",
    ),
    "every gate": (
        [after(READ, "x = 1.5 * x")],
        "where",
        "each gate by itself is wrong at a single step",
        "each gate by itself is right at a single step",
    ),
    "of normal values": (
        [CARRY],
        "where",
        "for normal values, going back in time, df_, di_ and dg_ depart first, at step 3 of 4, do_ right there (solved "
        "for from dU)",
        "for normal values, going back in time, df_, di_ and dg_ depart first, at step 2 of 4, do_ right there (solved "
        "for from dU)",
    ),
    "a number of one size": (
        [finally_("if m % 4:\n    dX = dX * (m / (m + 4 - m % 4))")],
        "relation",
        "dX is 1/2 = 1/m times what is due at m=2",
        "dX is 1/2 = 1/m times what is due",
    ),
    "a step in the middle": (
        [CARRY],
        "where",
        "going back in time, df_, di_ and dg_ depart first, at the last step but one, do_ right there (solved for from "
        "dU)",
        "going back in time, df_, di_ and dg_ depart first, at the last step, do_ right there (solved for from dU)",
    ),
    "a part at either end": (
        [(DW, "dW += k.z @ (delta * (t > 0)).T")],
        "relation",
        "dUf and dVf lack the part of the first step",
        "dUf and dVf lack the part of the last step",
    ),
    "sums alone": (
        [(DW, "dW += k.z @ (delta * (t > 0)).T")],
        "where",
        "df_ di_ dg_ do_, solved for from dX, are right at every step; dUf, dUi, dUg and 9 more, sums over samples "
        "and steps, are not",
        "going back in time, df_, di_, dg_ and do_ depart first, at step 1 of 4 (solved for from dU)",
    ),
    "a part of the sums": (
        [(DW, "dW += k.z @ (delta * (t > 0)).T")],
        "where",
        "in dU it is the part of step 1 of 4 that is wrong (solved for from dU)",
        "in dU it is the part of step 2 of 4 that is wrong (solved for from dU)",
    ),
    "too small": (
        [after(OUT, "out = (out + 1) - 1")],
        "relation",
        "less accurate than rounding, 2.2 times the tolerance in h; too small to name",
        "h is 1 times what is due",
    ),
}
HAND = {"sums alone": {"deltas": ""}}
"""What is known by hand, without which a lie may pass: solved for from dU alone, the sums' fault is the cotangents'."""
CASES = {
    "of normal values": Case(2, 4, 2, 2, regime="x100"),
    "clipped by norm": Case(3, 4, 3, 3, seed=3, regime="x10"),
    "too small": Case(4, 1, 3, 1),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_so_is_told_from_one_that_is_not(name):
    edits, label, true, lie = LINES[name]
    case = CASES.get(name, CASE)
    assert judged(edits, label, true, case) in (Said.HELPFUL, Said.NO_USE)
    assert judged(edits, label, lie, case, **HAND.get(name, {})) in NOT_SO


# Suspects. What is planted; the fault that is named; whether that is so.
SUSPECTS = [
    ("carry-dropped", "carry-dropped", True),
    ("carry-dropped", "carry-halved", False),
    ("gradients-never-zeroed", "gradients-never-zeroed", True),
    ("gradients-never-zeroed", "input-gradient-never-zeroed", False),
    ("dv-transposed", "dvo-transposed", False),
    ("relative-error-1e-12-dug", "relative-error-1e-12-dug", True),
    ("relative-error-1e-12-dug", "relative-error-1e-12-dbo", False),
]


def named(*ids, sure="reproduces all 9 entries to rounding, and those of 12 more cases"):
    titles = " and ".join(FAULTS[id].title.rstrip(".") for id in ids)
    return f"{' and '.join(ids)}: {titles}    ({sure})"


@pytest.mark.parametrize(("planted_id", "id", "so"), SUSPECTS)
def test_a_suspect_is_so_where_it_gives_the_targets_own_numbers(planted_id, id, so):
    """The judge is not told what is planted."""
    said = judged(EDITS.get(planted_id, []), "suspect", named(id), wrap=WRAPPERS.get(planted_id))
    assert said == (Said.HELPFUL if so else Said.FALSE)


def test_two_suspects_at_once_are_judged_together():
    edits = [*EDITS["carry-without-forget"], *EDITS["dh0-zero"]]
    assert judged(edits, "suspect", named("carry-without-forget", "dh0-zero")) == Said.HELPFUL
    assert judged(edits, "suspect", named("carry-without-forget", "dc0-zero")) == Said.FALSE


ULPS = (LOGISTIC, "y = 1 / (1 + np.exp(-x))\nreturn np.nextafter(np.nextafter(y, 2 * y), 2 * y)")


@pytest.mark.parametrize(
    ("edit", "id", "case"),
    [
        (after(OUT, "out = (out + 1) - 1"), "states-carried-over", "m4s1e3u1-float64-seed0"),
        (after(OUT, "out = (out + 1) - 1"), "relative-error-1e-12-dx", "m4s1e3u1-float64-seed0"),
        (ULPS, "relative-error-1e-12-forget", "m3s4e3u4-float64-x1e-3-h-seed1"),
    ],
)
def test_a_suspect_that_changes_nothing_is_false(edit, id, case):
    """Such a fault "reproduces" what the right answer reproduces as well."""
    assert judged([edit], "suspect", named(id), Case.parse(case)) in NOT_SO


def test_a_suspect_is_false_where_it_would_be_wrong_and_the_target_is_right():
    lost = finally_('if m % 3 == 0:\n    g["dbf"] = +g["dbi"]')
    unconditional = finally_('g["dbf"] = +g["dbi"]')
    text = "bias-gradient-of-i-copied-from-f: dbi is a copy of dbf    (reproduces all 3 entries to rounding)"
    copied = [(edit[0], edit[1].replace('"dbf"] = +g["dbi"', '"dbi"] = +g["dbf"')) for edit in (lost, unconditional)]
    assert judged([copied[1]], "suspect", text) == Said.HELPFUL
    assert judged([copied[0]], "suspect", text) == Said.FALSE


def test_that_no_fault_fits_is_false_where_a_catalogued_one_is_planted():
    fault = FAULTS["carry-dropped"]
    text = "no catalogued fault fits"
    assert judged(EDITS["carry-dropped"], "suspect", text, faults=(fault,)) == Said.FALSE
    assert judged([CARRY], "suspect", text) is None


def test_a_fault_of_the_like_is_misleading_unless_it_is_near():
    text = named("tanh-in-single", sure="fits the pattern of: errors of the same size in the same tensors")
    edits = [after(ACTIVATE, "gi = gi.astype(np.float32).astype(X.dtype)")]
    assert judged(edits, "suspect", text) == Said.MISLEADING
    assert judged(edits, "suspect", text, near=("tanh-in-single",)) == Said.HELPFUL


def test_two_ways_of_writing_one_fault_are_one():
    """In float32 a factor of 2 before a product and after it differ by rounding, which the judge allows once."""
    (slip,) = (s for s in slips("backward") if s.title.startswith("di_ = 2 * (di * sigmoid_derivative(i))"))
    (other,) = (s for s in slips("backward") if s.title.startswith("di = 2 * (dC_ * g)"))
    seen = Evidence(lambda: fault_target(slip), CASE, Truth(faults=(slip,))).failing(4)
    assert _are_one((other,), (slip,), seen)
    assert not _are_one((FAULTS["carry-dropped"],), (slip,), seen)


def test_a_rule_is_of_no_use_where_nothing_else_is_at_stake():
    """Where all parameters and states are zero, so is all that is wrong."""
    rule = "the regime is not zero or the initial states are given"
    text = f"wrong where {rule}, in 99 of 99 examples tried; right elsewhere, in 9 of 9"
    assert judged([(MEMORY, "new = 2 * (gf * cell + gi * gg)")], "pattern", text) == Said.NO_USE


def test_nothing_is_at_stake_in_what_is_next_to_nothing():
    """A fault of dh0 that vanishes in saturated gates follows its rule nonetheless."""
    make, truth, *_ = naming_campaign.planting("own", "decay-and-carry")
    evidence = Evidence(make, CASE, truth)
    vanishing = evidence.look(Case.parse("m3s8e9u9-float32-x100-last-seed770009"))
    assert "dh0" not in vanishing.wrong
    assert conditions._idle(vanishing, {"dh0"})
    assert not conditions._idle(evidence.look(CASE), {"dh0"})


def test_a_gate_that_is_nearly_shut_has_a_right_cotangent():
    """It is small, and rounding is that of the numbers it is made of."""
    make, truth, *_ = naming_campaign.planting("own", "dh-summed-over-samples")
    seen = Evidence(make, CASE, truth).look(Case.parse("m2s4e11u1-float64-seed740017"))
    wrong = _recorded(truth.recording(), seen)
    assert {gate: mask[:, 3].any() for gate, mask in wrong.items()} == dict.fromkeys("figo", False)
    assert all(mask[:, 2].any() for mask in wrong.values())


def test_a_slip_is_found_by_its_title():
    (faults,) = named_faults("slip: do = dh_, not dh_ * C")
    assert faults[0].title == "do = dh_, not dh_ * C"
    assert named_faults("slip: what nobody writes") == []


def test_what_hangs_on_another_size_is_misleading():
    """Literally so: at m = 3 and e = 2 it is right; and wrong wherever m is e."""
    edits = [finally_("if m == e:\n    dX = 2 * dX")]
    text = "right at m=1, at m=3, at e=1 and at e=3, wrong at m=2 e=2"
    assert judged(edits, "pattern", text, Case(2, 1, 2, 1)) == Said.MISLEADING


@pytest.mark.parametrize(("cond", "said"), [("dice.random() < 0.4", Said.HELPFUL), ("True", Said.FALSE)])
def test_chance_is_judged_by_running_the_case(cond, said):
    edits = [before("def squash(x):", "dice = np.random.default_rng(0)\n\n"), finally_(f"if {cond}:\n    dX = 2 * dX")]
    assert judged(edits, "chance", "fails in 7 of 10 runs of the same case", random=True) == said


def test_the_hand_written_truth_has_the_last_word():
    """Solved for from dU, cotangents depart that are right: the sums are wrong."""
    (own,) = [uncatalogued.OWN["weight-products-in-float16"]]
    text = "going back in time, df_, di_, dg_ and do_ depart first, at step 4 of 4 (solved for from dU)"
    assert judge_line(Evidence(own.make, CASE, own.truth), "where", text).said == Said.FALSE


@pytest.mark.parametrize(
    ("words", "holds", "not_of"),
    [
        ("m * s > 256", Case(2, 129, 1, 1), Case(2, 128, 1, 1)),
        ("m is no multiple of 4", Case(3, 1, 1, 1), Case(4, 1, 1, 1)),
        ("m = e and s >= 2", Case(3, 2, 3, 1), Case(3, 1, 3, 1)),
        ("u is odd or the dtype is float32", Case(1, 1, 1, 2, "float32"), Case(1, 1, 1, 2)),
        ("the regime is x10 or x100", Case(1, 1, 1, 1, regime="x100"), Case(1, 1, 1, 1)),
        ("dh is zero at every step", Case(1, 1, 1, 1, cotangents="C"), Case(1, 1, 1, 1)),
        ("the initial states are given", Case(1, 1, 1, 1), Case(1, 1, 1, 1, states=False)),
        ("e is above a limit between 15 and 16", Case(1, 1, 17, 1), Case(1, 1, 14, 1)),
    ],
)
def test_a_rule_is_read(words, holds, not_of):
    rule = rule_of(words)
    assert rule(holds)
    assert not rule(not_of)


def test_a_sentence_of_no_known_form_is_not_judged():
    assert judged([CARRY], "where", "all is well") == Said.UNJUDGED
    assert judged([CARRY], "relation", "dX is somewhat blue") == Said.UNJUDGED


class Touched(Exception):
    """The judge of a sentence has begun to ask the target."""


class Untouched(Evidence):
    def look(self, *arguments, **options):
        raise Touched

    def cases(self, **fixed):
        raise Touched


SAID = [line for text in TEXTS.values() for line in lines_of(text[2].strip())]
SAID += [("relation", line) for _, relations, _ in HIDDEN.values() for line in relations]
SAID += [("where", line) for _, _, where in HIDDEN.values() for line in where]


@pytest.mark.parametrize(("label", "text"), dict.fromkeys(SAID))
def test_each_sentence_that_the_tests_of_the_diagnosis_know_has_a_judge(label, text, monkeypatch):
    monkeypatch.setattr("truth.suspects._calls", lambda *ignored: Untouched.look(None))
    try:
        # The texts that are compared leave open what is counted.
        counted = text.replace("...", "30") if label == "pattern" else text
        verdict = judge_line(Untouched(lambda: planted("nothing", []), CASE, Truth()), label, counted)
    except Touched:
        return
    assert verdict is None or verdict.said != Said.UNJUDGED or "fresh" in verdict.why


def test_the_lines_of_a_failure_are_those_of_its_diagnosis():
    text = """dVo[1, 0] = 0, but should be -0.06988 ± 6.4e-16    [planted against lstm_ref]
  case      m1s1e1u2-float64-seed0
  pattern   right at u=1, wrong from u=2
  oracles   complex step agrees with lstm_ref
  suspect   one: One    (reproduces all 2 entries)
            or other: Other    (reproduces all 2 entries)
  rerun     lstm-checks verify planted"""
    assert lines_of(text) == [
        ("pattern", "right at u=1, wrong from u=2"),
        ("suspect", "one: One    (reproduces all 2 entries)"),
        ("suspect", "other: Other    (reproduces all 2 entries)"),
    ]


def test_at_least_sixty_faults_of_no_catalogue_can_be_planted():
    assert len(uncatalogued.OWN) >= 60
    assert not set(uncatalogued.OWN) & set(FAULTS)
    for own in uncatalogued.OWN.values():
        arrays = CASE.arrays
        outputs, pullback = own.make().call(arrays.inputs)
        assert np.isfinite(outputs["h"]).all()
        assert len(pullback(arrays.cotangents)) == 15


def test_a_set_of_faults_depends_on_its_seed_alone():
    for name in naming_campaign.SETS:
        drawn = [naming_campaign.members(name, 5, seed) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1]
        assert drawn[0] != drawn[2]


def told(set="own", helpful=1, false=0, unjudged=0, caught=True, suspects=("it",)):
    lines = [
        naming_campaign.Line("where", "so", said, "")
        for said, count in ((Said.HELPFUL, helpful), (Said.FALSE, false), (Said.UNJUDGED, unjudged))
        for _ in range(count)
    ]
    return naming_campaign.Told(set, "it", "It", 0, caught, "case", suspects, tuple(lines))


@pytest.mark.parametrize(
    ("results", "good"),
    [
        ([told(helpful=200, false=2)], True),
        ([told(helpful=100, false=2)], False),
        ([told(helpful=100, unjudged=2)], False),
        ([told()] * 8 + [told(helpful=0)] * 2, True),
        ([told()] * 7 + [told(helpful=0)] * 3, False),
        ([told(set="catalogue")], True),
        ([told(set="catalogue", suspects=("other", "it"))], False),
        ([told(), told(set="catalogue", caught=False, suspects=())], False),
        ([told(caught=False)], False),
        ([], False),
    ],
)
def test_the_exit_code_is_by_the_goals(results, good):
    assert naming_campaign.good_enough(results) == good


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_campaign_runs_and_says_what_is_not_so(processes, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # which other processes are given more in
    only = ["--sets", "catalogue", "--only", "dvo-transposed"]
    code = naming_campaign.main([*only, "--processes", processes, "--examples", "42"])
    said = capsys.readouterr().out
    # What it works out but once is for itself alone.
    assert judging_case.expect is expected.expect
    assert "1 planted, 1 caught, 1 named first, 1 among the first three" in said
    assert code == (1 if "FALSE" in said or "MISLEADING" in said else 0)
