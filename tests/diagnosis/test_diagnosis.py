"""The diagnosis names what is planted in a layer it has never seen, and says nothing that is not so.

The layer is `plain_lstm.py`, and what is planted stands in `planted_faults.py`, written apart from the catalogue.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from agreement import positional
from failure_texts import TEXTS
from plain_lstm import planted
from planted_faults import (
    ABOVE,
    ACTIVATE,
    BF,
    BI,
    BO,
    DW,
    EDITS,
    KAPPA,
    LOGISTIC,
    LOOP,
    PACK,
    WRAPPERS,
    H,
    after,
    before,
    finally_,
    returning,
)
from share import told

import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.contract import CN, DCN, LAST, STATES, Target, by_name
from lstm_checks.diagnosis.diagnose import Diagnosis, diagnose
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.json import case_to_json
from lstm_checks.judging.text import render_diff, render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.strategies import draw_cases, shrink
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer

CASE = Case(3, 4, 3, 3, seed=3)


def plant(id):
    return planted(id, EDITS.get(id, []), WRAPPERS.get(id))


def suspects(diagnosis):
    return [named.fault for named in diagnosis.suspects]


IN_A_CASE = [id for id, fault in FAULTS.items() if fault.family != "asked"]
"""The faults that the tensors of a case show; what only a further question shows is in tests/asking."""


def test_every_catalogued_fault_is_planted():
    assert set(EDITS) | set(WRAPPERS) == set(IN_A_CASE)
    assert not set(EDITS) & set(WRAPPERS)


def test_the_plain_layer_is_right_where_nothing_is_planted():
    target = planted("nothing", [])
    report = verify(target, examples=42, dtypes=("float64", "float32"))
    assert report.exit_code == 0
    assert diagnose(target, CASE) == Diagnosis()


LARGE = [id for id in IN_A_CASE if max(Case.parse(FAULTS[id].example).dims) > 24]
"""Those that show past a block's edge alone: each takes up to half a minute."""

# `make kills` has them all killed.
TOLD = [id for id in IN_A_CASE if id not in LARGE] + told(LARGE, ci=8, dev=4)


@pytest.mark.parametrize("id", TOLD)
def test_a_planted_fault_is_caught_and_named_first(id):
    # What is random shows on its smallest case by chance alone.
    target, case = plant(id), CASE if id == "dropout-left-on" else Case.parse(FAULTS[id].example)
    assert verify_case(target, case, thorough=id in WRAPPERS).failures
    assert suspects(diagnose(target, case))[:1] == [id]


@pytest.mark.parametrize("id", sorted(WRAPPERS))
def test_a_fault_between_calls_is_named_after_many_calls(id):
    report = verify(plant(id), examples=21, max_dims=(3, 5, 3, 3))
    assert report.failure is not None
    # Of what fails by chance that is said, and nothing of its values.
    assert report.failure.chance if id == "dropout-left-on" else id in suspects(report.failure.diagnosis)[:1]


@pytest.mark.parametrize("id", ["gradients-clipped-at-5", "hidden-cotangent-clipped"])
def test_a_wrong_tensor_is_explained_before_a_property_that_does_not_hold(id):
    """At the first example's sizes nothing is clipped until linearity asks with larger cotangents."""
    report = verify(plant(id), examples=42)
    assert [claim.name for claim in next(r for r in report.examples if r.failures).failures] == ["linearity"]
    assert suspects(report.failure.diagnosis)[:1] == [id]


@pytest.mark.parametrize(
    "pair",
    [
        ("carry-without-forget", "dh0-zero"),
        ("bias-gradient-of-o-copied-from-f", "input-gradient-backwards"),
        ("final-memory-cotangent-ignored", "dvo-transposed"),
        ("forget-bias-added", "gradients-negated"),
        ("derivative-missing-g", "two-biases"),
    ],
)
def test_two_faults_at_once_are_both_named(pair):
    target = planted("two", [edit for id in pair for edit in EDITS[id]])
    (first, *_) = diagnose(target, CASE).suspects
    assert set(first.fault.split(" and ")) == set(pair)
    assert first.certain


@pytest.mark.parametrize(
    "faults",
    [
        ("carry-without-forget", "derivative-missing-g", "dvo-transposed"),
        ("forget-bias-added", "dg-by-forget-gate", "dh0-dc0-swapped"),
        ("df-of-current-memory", "dvo-transposed", "input-gradient-backwards", "final-memory-cotangent-ignored"),
    ],
)
def test_three_faults_and_more_are_named_together(faults):
    target = planted("several", [edit for id in faults for edit in EDITS[id]])
    (first, *others) = diagnose(target, CASE).suspects
    assert set(first.fault.split(" and ")) == set(faults)
    assert first.certain
    assert all(set(other.fault.split(" and ")) <= set(faults) for other in others)


def test_of_three_faults_one_of_which_shows_at_other_sizes_alone_all_are_named():
    # On a single step the carry says nothing: two faults explain all there, and another case refutes them.
    faults = [FAULTS[id] for id in ("scaled-tanh", "gradients-negated", "carry-dropped")]
    (first, *_) = diagnose(fault_target(*faults), Case(1, 1, 1, 1)).suspects
    assert set(first.fault.split(" and ")) == {fault.id for fault in faults}
    assert first.certain


def test_of_a_catalogued_fault_beside_what_no_catalogue_has_no_set_is_named():
    # Numbers that nobody has: with them no set of faults gives what came.
    edits = [edit for id in ("carry-without-forget", "dh0-zero") for edit in EDITS[id]]
    right = planted("odd", edits)

    def call(inputs, sequences=True):
        outputs, pullback = right.call(inputs, sequences)
        return outputs, lambda given: {n: v * 1.37 if n == "dUg" else v for n, v in pullback(given).items()}

    assert not any(one.certain for one in diagnose(replace(right, call=call), CASE).suspects)


@pytest.mark.parametrize("lacks", [{STATES, "dh0", "dC0"}, {CN, DCN}, {"dX"}, {f"dU{k}" for k in "figo"}])
def test_a_target_that_lacks_something_is_diagnosed_by_the_rest(lacks):
    whole = plant("carry-without-forget")

    def call(p, X, h0, C0, sequences=True):
        (h, Cn), pullback = positional(whole)(p, X, h0, C0)

        def pull(dh, dCn, dhn):
            return {name: value for name, value in pullback(dh, dCn, dhn).items() if name not in lacks}

        return (h, None if CN in lacks else Cn), pull

    target = Target("it", "part", by_name(call), frozenset({LAST, *lacks}))
    case = Case(2, 3, 2, 3, states=STATES not in lacks, cotangents="every" if DCN in lacks else "every+h+C")
    assert suspects(diagnose(target, case))[:1] == ["carry-without-forget"]


def test_a_fault_is_named_where_dhn_is_given_in_the_last_step():
    whole = positional(planted("loop", [(LOOP, "for t in range(s):")]))

    def call(p, X, h0, C0):
        outputs, pullback = whole(p, X, h0, C0)
        return outputs, lambda dh, dCn: pullback(dh, dCn, np.zeros_like(h0))

    (first, *_) = diagnose(from_function(call), CASE).suspects
    assert first.fault == "backward-loop-not-reversed"
    assert first.certain


@pytest.mark.parametrize("id", ["dg-by-forget-gate", "gate-order-ifgo", "last-sample-left-out", "hard-sigmoid-fifth"])
def test_faults_are_named_in_float32(id):
    assert suspects(diagnose(plant(id), replace(CASE, dtype="float32")))[:1] == [id]


class Layer(lstm_ref.LSTM):
    """A layer in EpyNN's form, its carry multiplied by 0.9 in each step."""

    def backward(self, dA, dhn=None, dCn=None):
        super().backward(dA, dhn, dCn)
        call, p = positional(planted("carry-decays", [after(KAPPA, "kappa = 0.9 * kappa")])), self.p
        zeros = np.zeros_like(self.fc["h"][:, 0])
        _, pullback = call(p, self.fc["X"], self.fc["hp"][:, 0], self.fc["Cp_"][:, 0])
        self.bc["dC"][:, 1:] *= 0.9
        for t in range(dA.shape[1] - 2, -1, -1):
            self.bc["dCn"][:, t] = self.bc["dC"][:, t + 1]
        wrong = pullback(dA, zeros if dCn is None else dCn, zeros if dhn is None else dhn)
        self.wrong = {name: wrong[name] for name in wrong if name not in ("dX", "dh0", "dC0")}
        self.bc |= {name: wrong[name] for name in ("dh0", "dC0")}
        return wrong["dX"]

    def compute_gradients(self):
        self.g = self.wrong


def test_the_first_intermediate_that_departs_is_found_in_what_a_layer_keeps():
    (line,) = [line for line in diagnose(from_layer(Layer), CASE).where if "keeps" in line]
    assert line == "first to depart among what the layer keeps: bc['dC'] at step 4 of 4"


GATES_RIGHT = "df_ di_ dg_ do_, solved for from dU, are right at every step; "
MAP = " (a word an output step, a letter an input step of dX, x wrong)"

# Faults that are in no catalogue: what is planted, and all that is to be said of it.
HIDDEN = {
    "dVi made of h and not hp in every other sample": (
        [after(DW, "dW[e : e + u, 3 * u :] += ((k.out - k.z[e : e + u]) * (np.arange(m) % 2)) @ bi.T")],
        [],
        [
            "only dVi (gate i) is ever wrong in 9 cases",
            "wrong for cotangents of samples 2 and 4 of 4 alone, right for those of the others",
            GATES_RIGHT + "dVi, made from them, is not",
        ],
    ),
    "do_ halved at the last step but one": (
        [after(BO, "bo = bo * (0.5 if t == s - 2 else 1)")],
        [],
        [
            "wrong for cotangents of output steps 4 and 5 of 5 alone, right for those of the others",
            "dX goes wrong at input steps 1, 2, 3 and 4 of 5: . .. ... xxxx xxxx." + MAP,
            "going back in time, do_ departs first, at the last step but one, df_, di_ and dg_ right there (solved for "
            "from dU)",
        ],
    ),
    "di_ lost at the first step": (
        [after(BI, "bi = bi * (t > 0)")],
        ["dUi, dVi and dbi lack the part of the first step", "dh0 lacks the part of gate i"],
        [
            "dX goes wrong at input step 1 of 5: x x. x.. x... x...." + MAP,
            "di_ departs at the first step alone (solved for from dU)",
        ],
    ),
    "df_ of the last unit doubled": (
        [after(BF, "bf[-1] *= 2")],
        [],
        [
            "going back in time, df_ departs first, at the last step, the last unit, di_, dg_ and do_ right there "
            "(solved for from dU)"
        ],
    ),
    "the carry decays": (
        [after(KAPPA, "kappa = 0.9 * kappa")],
        [],
        [
            "credit goes wrong 1 step back and further: . x. xx. xxx. xxxx." + MAP,
            "going back in time, df_, di_ and dg_ depart first, at the last step but one, do_ right there (solved for "
            "from dU)",
        ],
    ),
    "dUf off by 1e-8": (
        [finally_('g["dUf"] *= 1.00000001')],
        ["dUf is 1.00000001 times what is due"],
        [
            "only dUf (gate f) is ever wrong in 9 cases",
            "right where X is zero",
            "dUf is wrong where dV or db, made from the same, is right",
        ],
    ),
    "dX a step late": (
        [finally_("dX[:, 1:] = dX[:, :-1].copy()\ndX[:, :1] = 0")],
        ["dX has its steps one place late, with zero at the end"],
        [
            "only dX is ever wrong in 9 cases",
            "dX is not zero at steps after the output whose cotangent is given: x xx xxx xxxx xxxxx" + MAP,
            GATES_RIGHT + "dX, made from them, is not",
        ],
    ),
    "h of the last step scaled": (
        [after(H, "H[:, -1] *= 1.01")],
        [],
        [
            "only h is ever wrong in 9 cases",
            "h is wrong at the last step",
            "Cn is right after a single step, and so are f, i and g; h, made of it and gate o, is not",
        ],
    ),
    "the candidate's tanh too steep": (
        [after(ACTIVATE, "gg = squash(1.1 * ag)")],
        ["h and Cn are as if Ug, Vg and bg were 1.1 times as large"],
        ["gate g is wrong by itself at a single step, f, i and o right"],
    ),
    "dbi and dbo swapped": (
        [finally_('g["dbi"], g["dbo"] = g["dbo"], g["dbi"]')],
        ["dbi holds the value of dbo", "dbo holds the value of dbi"],
        [
            "only dbi and dbo are ever wrong in 9 cases",
            GATES_RIGHT + "dbi and dbo, made from them, are not",
        ],
    ),
    "dC0 added to dh0": (
        [returning(dC0="(kappa + rho).T.copy()")],
        ["dC0 is what is due plus dh0"],
        [
            "only dC0 is ever wrong in 9 cases",
            "right where all V are zero",
            GATES_RIGHT + "dC0, made from them, is not",
        ],
    ),
    "dVo in bfloat16": (
        [finally_('g["dVo"] = (g["dVo"].astype("f4").view("u4") & np.uint32(0xFFFF0000)).view("f4").astype(X.dtype)')],
        ["dVo is right but for being in bfloat16 only"],
        ["only dVo (gate o) is ever wrong in 9 cases", GATES_RIGHT + "dVo, made from them, is not"],
    ),
    "the second sample given the first one's cotangent": (
        [after(ABOVE, "if m > 1:\n    above = np.hstack([above[:, :1], above[:, :1], above[:, 2:]])")],
        [],
        [
            "right where dh is zero",
            "wrong at sample 2 of 4 alone",
            "wrong for cotangents of samples 1 and 2 of 4 alone, right for those of the others",
            "going back in time, df_, di_, dg_ and do_ depart first, at the last step, sample 2 of 2 "
            "(solved for from dU)",
        ],
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_fault_in_no_catalogue_is_placed(name):
    edits, relations, where = HIDDEN[name]
    found = diagnose(planted("hidden", edits), CASE)
    assert not any(named.certain for named in found.suspects)
    assert list(found.relations) == relations
    assert list(found.where) == where


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("-g['dVg'].T", "dVg is transposed, with its sign reversed"),
        ("g['dVg'] * 2", "dVg is 2 times what is due"),
        ("g['dVg'] / m", "dVg is 1/m times what is due"),
        ("g['dVg'] / 4", "dVg is 1/4 times what is due"),
        ("g['dVg'] * s", "dVg is s times what is due"),
        ("g['dVg'] / (m * s)", "dVg is 1/(m s) times what is due"),
        ("g['dVg'] / m**2", "dVg is 1/m^2 times what is due"),
        ("g['dVg'] / m**3", "dVg is 0.01562 times what is due at m=4 s=5 e=3 u=3"),
        ("g['dVg'] * 0", "dVg is zero throughout"),
        ("g['dVg'][::-1] + 0", "dVg has its rows in reverse order"),
        ("g['dVg'][:, [1, 0, 2]] + 0", "dVg has its units in the order 2, 1, 3"),
        ("np.roll(g['dVg'], 1, 1)", "dVg has its units one place late, the one at the end moved to the other end"),
        ("g['dVf'].T + 0", "dVg holds the value of dVf, transposed"),
        ("g['dVg'] + g['dVo']", "dVg is what is due plus dVo"),
        ("g['dVg'] - 0.5", "dVg is what is due minus 0.5 in every entry"),
        ("np.clip(g['dVg'], -0.05, 0.05)", "dVg is cut off at ±0.05"),
        ("g['dVg'].astype('f4').astype('f8')", "dVg is right but for being in float32 only"),
        ("(1.1 * g['dVg']).astype('f4').astype('f8') / 1.1", "dVg is off by as much as float32 would be"),
        ("g['dVg'] * 1.000001", "dVg is 1.000001 times what is due"),
    ],
)
def test_a_simple_relation_is_recognised(change, said):
    assert diagnose(planted("related", [finally_(f'g["dVg"] = {change}')]), CASE).relations == (said,)


def test_no_relation_is_seen_where_there_is_none():
    noise = "g['dVg'] = g['dVg'] + np.sin(np.arange(9.0)).reshape(3, 3)"
    found = diagnose(planted("unrelated", [finally_(noise)]), CASE)
    assert found.suspects == ()
    assert found.relations == ()


def _read(order="figo", V="v", b="v"):
    gates = f'for n, r in zip("figo", "{order}")'
    parts = [f'{{"U" + n: p["U" + r] {gates}}}', f'{{"V" + n: (lambda v: {V})(p["V" + r]) {gates}}}']
    parts += [f'{{"b" + n: (lambda v: {b})(p["b" + r]) {gates}}}']
    return before(PACK, f"p = {' | '.join(parts)}")


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([_read("iofg", "v.T")], "you read the gates i,o,f,g where f,i,g,o was given; each V transposed"),
        ([_read("gofi", b="2 * v")], "you read the gates g,o,f,i where f,i,g,o was given; the biases added twice"),
        ([_read("figo", "v.T", "0 * v")], "each V transposed; the biases ignored"),
        (
            [_read("gfio"), (LOGISTIC, "return np.clip(0.2 * x + 0.5, 0, 1)")],
            "you read the gates g,f,i,o where f,i,g,o was given; in place of the logistic function, a hard sigmoid, "
            "clip(0.2 x + 0.5)",
        ),
        (
            [_read("ifgo"), ("hidden, cell = h0.T, C0.T", "hidden, cell = C0.T, h0.T")],
            "you read the gates i,f,g,o where f,i,g,o was given; of the initial states, h0 taken for C0 and C0 for h0",
        ),
    ],
)
def test_a_reading_of_the_parameters_is_found_out(edits, said):
    assert diagnose(planted("read", edits), CASE).reading == f"{said}: so read, h and Cn are right"


# Faults that show at one size and not below: what shrinking must come down to.
SHRINKS = [
    "carry-dropped", "carry-by-next-forget", "carry-halved", "carry-across-samples", "recurrence-dropped",
    "recurrence-assigned", "truncated-after-three", "truncated-in-windows", "carry-lost-after-eight",
    "final-hidden-cotangent-at-first-step", "states-of-first-sample", "inputs-read-backwards",
    "inputs-wrap-after-eight", "cotangent-one-step-early", "du-of-next-input", "recurrence-untransposed-f",
    "dv-transposed", "input-weights-reshaped", "du-reshaped", "mean-over-samples", "mean-over-steps",
    "db-of-first-sample", "last-sample-left-out", "tail-of-samples-lost", "tail-of-units-lost", "odd-unit-lost",
    "input-gradient-cut-to-units", "input-gradient-backwards",
]  # fmt: skip


@pytest.mark.parametrize("id", SHRINKS)
def test_shrinking_reaches_the_sizes_that_the_fault_needs(id):
    target, options = plant(id), {"max_dims": (6, 12, 6, 6), "regimes": ("normal",)}

    def fails(case):
        return bool(verify_case(target, case, thorough=False).failures)

    case, origin = next((case, origin) for case, origin in draw_cases(60, 1, **options).items() if fails(case))
    assert shrink(fails, origin, case, **options).dims == FAULTS[id].dims


def rounded(text):
    """The text with what depends on the last bits left open."""
    text = re.sub(r"in \d+ of \d+", "in ... of ...", re.sub(r"± [0-9.e-]+", "± ...", text))
    return re.sub(r"at most [0-9.e-]+ % of", "at most ... % of", text)


def failure(target, descriptor):
    return explain(target, verify_case(target, Case.parse(descriptor)))


@pytest.mark.parametrize("name", TEXTS)
def test_the_whole_text_of_a_failure(name):
    id, descriptor, text = TEXTS[name]
    edits = HIDDEN[id][0] if id in HIDDEN else EDITS.get(id, [])
    report = failure(planted(id, edits, WRAPPERS.get(id)), descriptor)
    assert rounded(render_failure("mylib:LSTM", report)) == text.strip("\n")


def test_the_diff_of_the_suspect_is_shown_where_it_is_asked_for():
    report = failure(plant("carry-without-forget"), "m1s2e1u1-float64-seed0")
    assert "-        dC = dC_ * f  # (6)\n+        dC = dC_  # (6)\n" in render_diff(report)
    assert "@@" not in render_failure("it", report)
    unnamed = failure(planted("hidden", HIDDEN["the carry decays"][0]), "m1s2e1u1-float64-seed0")
    assert render_diff(unnamed) == ""


def test_the_diagnosis_is_in_the_json():
    report = failure(plant("carry-without-forget"), "m1s2e1u1-float64-seed0")
    found = json.loads(json.dumps(case_to_json(report)))["diagnosis"]
    assert found["suspects"][0]["fault"] == "carry-without-forget"
    assert found["suspects"][0]["certain"] is True
    assert found["catalogue"] is True
    assert set(found) == {"suspects", "relations", "layout", "where", "catalogue"}
