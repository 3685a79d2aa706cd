"""Every explanation is one that the right answer fails, and every form of sentence has its experiment in the docs."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_lstm import planted
from planted_faults import (
    ACTIVATE,
    BACK,
    CN,
    DELTA,
    DW,
    EF,
    EG,
    EI,
    FINAL,
    KAPPA,
    LOGISTIC,
    MEMORY,
    OUT,
    READ,
    RHO,
    SLOPE_SQUASH,
    SQUASH,
    STEP,
    H,
    after,
    before,
    finally_,
)

from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.diagnosis import diagnose as diagnosing
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.formats import short_formats, significant_bits
from lstm_checks.diagnosis.groups import predictor
from lstm_checks.diagnosis.limits import find_limits
from lstm_checks.diagnosis.observe import COUNTED, Observation, due_on, observe, observe_once
from lstm_checks.diagnosis.places import locate
from lstm_checks.diagnosis.relation import find_relations
from lstm_checks.diagnosis.statement import Trial, accounted, try_values
from lstm_checks.diagnosis.work import Work
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.mixups import mixups
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.faults.slips import slips
from lstm_checks.oracles.expected import evaluate_reference

ROOT = Path(diagnosing.__file__).parents[3]
DIAGNOSIS = ROOT / "checks" / "lstm_checks" / "diagnosis"
PATCHES = {id: fault for id, fault in (FAULTS | mixups()).items() if not fault.wrap}
CASE = Case(2, 3, 2, 3, seed=5)
TARGET = planted("right", [])

SIGNIFICANT = "q = np.frexp(y); b = {bits}; y = np.ldexp(np.round(np.ldexp(q[0], b)), q[1] - b).astype(x.dtype)"

# Right layers but for their accuracy: what each is, and what may be said of the bits in which things come.
INACCURATE = {
    "h through 1 + h": [after(OUT, "out = (out + 1) - 1")],
    "tanh of few bits": [(SQUASH, f"y = np.tanh(x)\n{SIGNIFICANT.format(bits=18)}\nreturn y")],
    "sigmoid one ulp off": [(LOGISTIC, "y = 1 / (1 + np.exp(-x))\nreturn np.nextafter(y, np.ones_like(y))")],
    "sigmoid a little too large": [(LOGISTIC, "y = 1 / (1 + np.exp(-x))\nreturn y * (1 + 9 * np.finfo(y.dtype).eps)")],
    "reciprocal by a Newton step": [
        (
            LOGISTIC,
            "d = 1 + np.exp(np.minimum(-x, 9))\nr = (1 / d).astype('f2').astype(x.dtype)\nreturn r * (2 - d * r)",
        )
    ],
    "tanh with a ripple": [(SQUASH, "return np.tanh(x) * (1 + 1e-6 * np.sin(30 * x))")],
    "dh summed in float32": [(BACK, "back = (R.astype('f4') @ delta.astype('f4')).astype(X.dtype)")],
    "memory that cancels": [(MEMORY, "new = ((gf * cell + 1e3) + gi * gg) - 1e3")],
    "a slope that cancels": [(SLOPE_SQUASH, "return ((1e6 + 1) - y * y) - 1e6")],
}


def test_the_right_answer_fails_what_changes_nothing():
    """A value that is what is due accounts for no error, however near to what came it is."""
    due = due_on(CASE)
    seen = observe_once(TARGET, CASE)
    off = {name: value + 7 * due.sd[name] * (name == "h") for name, value in due.values.items()}
    small = replace(seen, answer=replace(seen.answer, values=off), again=replace(seen.answer, values=off))
    assert small.wrong.keys() == {"h"}
    assert try_values(small, due.values) is Trial.REFUTED
    assert try_values(small, off) is Trial.SHOWN
    assert try_values(seen, due.values) is Trial.IDLE
    assert not accounted([Trial.IDLE, Trial.IDLE])
    assert not accounted([Trial.SHOWN, Trial.REFUTED])


@settings(suppress_health_check=list(HealthCheck))
@given(
    id=st.sampled_from(sorted(PATCHES)),
    seed=st.integers(0, 10**6),
    regime=st.sampled_from(["normal", "x10", "mixed"]),
    dtype=st.sampled_from(["float64", "float32"]),
    times=st.floats(1.5, 30),
)
def test_no_fault_accounts_for_noise(id, seed, regime, dtype, times):
    """Errors of some tolerances, of either sign in each entry of h and dVf, are no fault's doing."""
    case = Case(2, 3, 3, 4, seed=seed, regime=regime, dtype=dtype)
    due = due_on(case)
    rng = np.random.default_rng(seed)
    signs = {name: rng.choice([-1.0, 1.0], value.shape) for name, value in due.values.items()}
    came = {n: v + 6 * times * due.sd[n] * signs[n] * (n in ("h", "dVf")) for n, v in due.values.items()}
    seen = observe_once(TARGET, case)
    answer = replace(seen.answer, values=came)
    seen = Observation(case, due, answer, answer, (), (), frozenset())
    assert try_values(seen, evaluate(PATCHES[id], case.arrays.astype(np.float64))) is not Trial.SHOWN


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", INACCURATE)
def test_an_inaccuracy_gets_no_name(name, dtype):
    """No formula is named, and nothing is said to be something else, of what is only not accurate enough."""
    target = planted("inaccurate", INACCURATE[name])
    cases = (Case(2, 4, 3, 3, seed=seed, dtype=dtype) for seed in range(20))
    case = next((case for case in cases if observe_once(target, case).wrong), None)
    if case is None:
        return
    found = diagnose(target, case)
    assert not [named for named in found.suspects if named.certain]
    assert found.reading == ""
    for said in found.relations:
        assert re.search("less accurate than rounding|significant bits|as much as float32", said), said


def test_a_small_error_is_called_that():
    edits = [(LOGISTIC, "y = 1 / (1 + np.exp(-x))\nreturn y * (1 + 9 * np.finfo(y.dtype).eps)")]
    found = diagnose(planted("off", edits), Case(1, 1, 1, 1))
    (said, *_) = found.relations
    assert re.fullmatch(r"less accurate than rounding, [\d.]+ times the tolerance in \w+; too small to name", said)
    assert found.suspects == ()


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([(SQUASH, f"y = np.tanh(x)\n{SIGNIFICANT.format(bits=40)}\nreturn y")], {"g": 40, "C": 40}),
        ([after(ACTIVATE, "gf = gf.astype('f4').astype(x.dtype)")], {"f": 24}),
        ([after(MEMORY, "new = new.astype('f4').astype(x.dtype)")], {"Cn": 24}),
    ],
)
def test_bits_are_read_out(edits, said):
    assert short_formats(planted("short", edits)) == said


def test_sums_of_short_numbers_come_in_no_number_of_bits():
    """How many bits a sum of some tens of float16s has is luck; it is the summands that have eleven."""
    target = planted("short summands", [(DW, "dW += k.z @ delta.astype('f2').astype(x.dtype).T")])
    assert short_formats(target) == {}


def test_a_memory_in_the_place_of_h_is_no_gate_of_few_bits():
    target = planted("exchanged", [(H, "H = np.stack([k.new.T for k in tape], axis=1)"), (CN, "Cn = tape[-1].out.T")])
    assert short_formats(target) == {}


OF_SIZES = {
    "rows beyond 24 lost": (
        [(DW, "dW += (k.z * (t * m + np.arange(m) < 24)) @ delta.T")],
        Case(5, 5, 1, 1),
        r"output step|the part of",
    ),
    "nothing without dh": (
        [(FINAL, "rho, kappa = (dhn.T, dCn.T) if dh.any() else (0 * dhn.T, 0 * dCn.T)")],
        Case(1, 1, 1, 1, cotangents="h"),
        r"as if dhn were",
    ),
    "tanh in 18 bits": (
        [(SQUASH, f"y = np.tanh(x)\n{SIGNIFICANT.format(bits=18)}\nreturn y")],
        Case(1, 1, 1, 1),
        r"gates? .*o .*wrong by",
    ),
}


@pytest.mark.parametrize("name", OF_SIZES)
def test_what_holds_in_one_case_alone_is_not_said(name):
    """A place or a relation is one of other sizes, other values and all cotangents, too."""
    edits, case, said = OF_SIZES[name]
    found = diagnose(planted("of sizes", edits), case)
    assert not [line for line in (*found.relations, *found.where) if re.search(said, line)]


def test_a_fault_explains_only_what_it_reproduces():
    """Being wrong in the same tensors is not enough."""
    target, case = planted("tripled", [finally_("dX = 3 * dX")]), Case(2, 3, 2, 3)
    doubled = planted("doubled", [finally_("dX = 2 * dX")])
    fault = next(f for f in PATCHES.values() if set(observe_once(fault_target(f), case).wrong) == {"dX"})
    assert predictor(fault_target(fault), (fault,))(case)
    assert not predictor(target, (fault,))(case) or not predictor(doubled, (fault,))(case)


def test_a_limit_holds_of_other_draws():
    """Where every draw has a limit of its own there is none."""
    own = planted("own limit", [finally_("dX = np.where(abs(dX) > np.median(abs(dX)), 2 * dX, dX)")])
    one = planted("one limit", [finally_("dX = np.where(abs(dX) > 0.1, 2 * dX, dX)")])
    case, spare = Case(2, 2, 3, 3), Work().allows("limits")
    assert find_limits(own, case, spare) == []
    (said,) = find_limits(one, case, spare)
    assert said.startswith("dX goes wrong where |what is due| is above a limit between 0.09")


def test_a_limit_is_not_that_of_the_tolerance():
    """Where a gate is all but shut, or all but open, what is made of it errs by too little to be seen."""
    case, spare = Case(4, 2, 3, 3, dtype="float32", regime="x100", seed=1), Work().allows("limits")
    for edit in ((MEMORY, "new = gf * cell + gi * (0.5 * gg)"), (MEMORY, "new = gf * cell + gg")):
        assert find_limits(replace(planted("everywhere", [edit]), dtypes=("float32",)), case, spare) == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ((MEMORY, "new = gf * cell + gg"), "Cn is not C0 .* hold f open, i shut, g open and o open"),
        ((MEMORY, "new = gf * cell + gi"), "Cn is not C0 .* hold f open, i open and o open, g being 0"),
        ((MEMORY, "new = cell + gi * gg"), "Cn is not 0 .* hold f shut, i shut and o open, g being 0"),
        (
            (MEMORY, "new = gf * cell + gi * gg * go"),
            "gate f is right .* Cn is not 1 .* f shut, i open and g open",
        ),
        (after(OUT, "out = gf * act"), "Cn is right after a single step, .* and gate o, is not"),
        (after(READ, "x = 1.5 * x"), "each gate by itself is wrong at a single step"),
    ],
)
def test_no_gate_is_blamed_for_how_gates_are_put_together(edit, said):
    where = locate(planted("joined", [edit]), Case(3, 2, 2, 2), Work().allows("some places"))
    assert [line for line in where if re.fullmatch(said, line)]
    assert not any("wrong by" in line for line in where)


def test_a_place_is_of_the_values_of_which_it_is_so():
    """Of a failing case of other values it is said that what departs first was found among normal ones."""
    target, spare = planted("decayed", [(KAPPA, f"{KAPPA} * 0.9")]), Work().allows("some places")
    where = "at the last step but one, do_ right there (solved for from dU)"
    first = f"going back in time, df_, di_ and dg_ depart first, {where}"
    assert first in locate(target, Case(2, 4, 2, 2), spare)
    assert f"for normal values, {first}" in locate(target, Case(2, 4, 2, 2, regime="x10"), spare)


def test_cotangents_are_not_called_right_for_being_passed_on_nowhere():
    """Of five units the last is passed on wrongly; in a single step that shows in dh0 alone."""
    target = planted("tail", [after(RHO, "if u > 4: rho = rho * (np.arange(u) < 4)[:, None]")])
    where = locate(target, Case(1, 1, 1, 5), Work().allows("some places"))
    assert not any("are right at every step" in line for line in where)


def test_next_to_nothing_is_no_other_tensors_value():
    """dbo is zero to rounding but not quite, as is what is due of dbf, and of much else."""
    due = due_on(CASE)
    small = {"dbf": 1e-30 * np.ones_like(due.values["dbf"])}
    values = due.values | small | {"dbo": 2e-30 * np.ones_like(due.values["dbo"])}
    seen = observe_once(TARGET, CASE)
    answer = replace(seen.answer, values=values)
    due = replace(due, values=due.values | small)
    seen = Observation(CASE, due, answer, answer, (), (), frozenset())
    assert seen.wrong.keys() == {"dbo"}
    assert not any("dbf" in line for line in find_relations(seen, None))


def test_errors_of_float32_are_so_of_one_sample_too():
    few = "(1.1 * g['dVg']).astype('f4').astype(X.dtype) / 1.1"
    same = planted("same", [finally_(f"g['dVg'] = {few}")])
    other = planted("other", [finally_(f"g['dVg'] = {few} if m > 1 else 0.5 * g['dVg']")])
    said = "dVg is off by as much as float32 would be"
    assert said in diagnose(same, Case(3, 4, 3, 3, seed=3)).relations
    assert said not in diagnose(other, Case(3, 4, 3, 3, seed=3)).relations


def test_two_calls_that_agree_on_few_numbers_may_differ_on_more():
    dice = before("def squash(x):", "dice = np.random.default_rng(0)\n\n")
    target = planted("lots", [dice, finally_("dX = dX * (2 if m == 1 else dice.random())")])
    where = diagnose(target, Case(1, 1, 1, 1)).where
    assert where[0] == "two calls with the same inputs differ in dX"
    assert not any("cotangents" in line for line in where)


def test_numbers_that_no_other_size_tells_apart_name_the_size():
    """dX is scaled by m over the next multiple of 4: by a half, where m is 2."""
    edit = finally_('g["dVo"] = np.triu(g["dVo"])\nif m % 4:\n    dX = dX * (m / (m + 4 - m % 4))')
    relations = diagnose(planted("scaled", [edit]), Case(2, 2, 2, 2)).relations
    assert relations
    assert all(" times what is due at m=" in line for line in relations)


@pytest.mark.parametrize(
    ("title", "case"),
    [
        # The gradients drown in rounding, and are not judged.
        ("g = 0.5 * (tanh(g_)), not tanh(g_)", "m1s4e1u1-float32-x100-seed1"),
        # What is next to nothing is no more precise in the target than in the fault.
        (
            "dC_ = f * o * tanh_derivative(C) + dCn, not dh_ * o * tanh_derivative(C) + dCn",
            "m1s4e4u1-float32-x10-last-seed0",
        ),
        # The error is about as large as what is accepted, and the target's own rounding adds to it.
        (
            "dg_ = dg * tanh_derivative(do), not dg * tanh_derivative(g)",
            "m6s6e1u1-float32-x1e-3-last-nostates-seed1",
        ),
        # It grows until it is not finite.
        ("dg_ = dg * tanh_derivative(do), not dg * tanh_derivative(g)", "m5s10e5u2-float64-x100-h+C-seed190"),
    ],
)
def test_rounding_refutes_no_fault(title, case):
    (slip,) = (s for part in ("forward", "backward") for s in slips(part) if s.title == title)
    assert predictor(fault_target(slip), (slip,))(Case.parse(case))
    assert not predictor(TARGET, (slip,))(Case.parse(case))


def test_a_place_is_one_of_every_number_of_samples():
    """That the last sample is wrong where there are four is said of four; that the tail beyond 16 rows is, is not."""
    last = planted("last", [finally_("dX[3:4] = 0")])
    assert "wrong at sample 4 of 4 alone" in locate(last, Case(4, 2, 2, 2), Work().allows("some places"))
    tail = planted("tail", [finally_("dX.reshape(m * s, e)[16:] = 0")])
    assert not [line for line in locate(tail, Case(4, 3, 2, 2), Work().allows("some places")) if "sample" in line]


def test_a_right_layer_comes_in_all_its_bits():
    assert short_formats(TARGET) == {}
    assert short_formats(replace(TARGET, dtypes=("float32",))) == {}
    assert significant_bits(np.array([0.0, np.nan])) == 0


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([finally_("g = {n: v + 0.01 * p[n[1:]] for n, v in g.items()}")], "times what it is the gradient of"),
        ([finally_('g["dVf"] = (g["dVf"] + g["dVf"].T) / 2')], "dVf is the mean of what is due and its transpose"),
        ([finally_("dX = dX.sum(0, keepdims=True) + 0 * dX")], "dX holds in all samples the sum of what is due over"),
    ],
)
def test_further_relations_are_recognised(edits, said):
    assert any(said in line for line in diagnose(planted("related", edits), Case(3, 4, 3, 3, seed=3)).relations)


def test_sums_are_told_from_what_they_are_made_of():
    where = diagnose(planted("sums", [(DW, "dW += 0.9 ** t * k.z @ delta.T")]), Case(3, 4, 3, 3, seed=3)).where
    assert not any("depart" in line for line in where)
    assert "in dU it is the part of all steps but the first that is wrong (solved for from dU)" in where
    assert any(line.startswith("df_ di_ dg_ do_, solved for from dX, are right at every step; dUf") for line in where)


def test_the_first_sample_alone_is_right():
    """A state that the sample before left behind is no gate's fault."""
    edits = [after(READ, "if t == 0:\n    hidden = np.hstack([hidden[:, :1], 0.5 * hidden[:, 1:]])")]
    where = diagnose(planted("leak", edits), Case(3, 2, 2, 2)).where
    assert "of h, only the first sample is right" in where
    assert not any("wrong by" in line for line in where)


def test_a_gradient_that_is_missing_is_no_fault_of_ours():
    target = planted("less", [finally_('g["dVg"] *= 2\ng = {n: g[n] for n in g if n[1] != "U"}')])
    assert diagnose(target, CASE) == diagnose(target, CASE)


def test_the_calls_of_a_target_in_another_process_are_counted_as_those_of_one_here():
    target = fault_target()

    def answers(asked, *options):
        outcomes = [call_target(target, arrays, sequences, backward) for arrays, sequences, backward in asked]
        return lambda: outcomes

    there, here = Work(), Work()
    observe(there.counted(replace(target, answers=answers)), CASE)
    observe(here.counted(target), CASE)
    assert there.calls == here.calls < Work().calls


def test_the_same_failure_is_told_in_the_same_words_and_what_is_left_out_is_said():
    target = planted("two", [finally_('g["dVg"] *= 1.3\ng["dVf"] = g["dVf"] * np.abs(g["dVf"])')])
    assert diagnose(target, CASE) == diagnose(target, CASE)
    short = diagnose(target, CASE, Work(tries=50))
    assert short.where[-1].startswith("not looked for, since it would take too many calls or tries: some catalogued")
    none = diagnose(target, CASE, Work(calls=0))
    assert not none.suspects
    assert "some catalogued faults" in none.where[-1]


def test_the_diagnosis_looks_at_no_clock():
    for path in DIAGNOSIS.glob("*.py"):
        assert not re.search(r"^(import|from) time", path.read_text(), re.M), path.name


@pytest.mark.parametrize("id", mixups())
def test_a_mix_up_is_a_patch_that_shows_and_is_named_by_its_own_values(id):
    fault = mixups()[id]
    values, due = evaluate(fault, CASE.arrays), evaluate_reference(CASE.arrays)
    assert any(not np.array_equal(values[name], due[name]) for name in due)
    assert fault.title.endswith(".")
    assert try_values(observe_once(fault_target(fault), CASE), values) is Trial.SHOWN


IN_BITS = "(lambda v: (lambda q: np.ldexp(np.round(np.ldexp(q[0], {0})), q[1] - {0}).astype(v.dtype))(np.frexp(v)))"
MIXED_UP = {
    "final-states-exchanged": [(CN, "Cn = tape[-1].out.T.copy()"), (FINAL, "rho, kappa = dhn.T + dCn.T, 0 * dCn.T")],
    "last-cotangents-exchanged": [(FINAL, "rho, kappa = dCn.T - dh[:, -1].T, dhn.T + dh[:, -1].T")],
    "states-kept-after-the-step": [
        (STEP, "k = tape[t]\nk.z = np.vstack([k.z[:e], k.out, k.z[e + u :]])\nk.cell = k.new")
    ],
    "memory-cotangent-before-the-step": [
        (EG, "eg = kappa * k.gi"),
        (EF, "ef = kappa * k.cell"),
        (EI, "ei = kappa * k.gg"),
    ],
    "backward-cotangents-in-order-ifgo": [(DELTA, "delta = np.vstack([bo, bg, bi, bf])")],
    "backward-gates-in-order-ifgo": [after(STEP, "k.gf, k.gi = k.gi, k.gf")],
    "forward-products-in-tf32": [
        ("a = W.T @ z", f"r = {IN_BITS.format(11)}\na = r(W[: e + u]).T @ r(z[: e + u]) + W[e + u :].T")
    ],
    "hidden-operand-in-bfloat16": [
        ("a = W.T @ z", f"r = {IN_BITS.format(8)}\na = W.T @ np.vstack([x, r(hidden), one])")
    ],
    "gradient-products-in-half": [
        (
            DW,
            "r = lambda v: v.astype('f2').astype(v.dtype)\ndW[:-1] += r(k.z[:-1]) @ r(delta).T\ndW[-1] += delta.sum(1)",
        )
    ],
}


@pytest.mark.parametrize("id", MIXED_UP)
def test_a_mix_up_is_named_first(id):
    (first, *_) = diagnose(planted("mixed-up", MIXED_UP[id]), CASE).suspects
    assert (first.fault, first.certain) == (id, True)


def literals(path):
    """Yield the pieces of text of two words or more that a file's code holds, its docstrings left out."""
    tree = ast.parse(path.read_text())
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    docs = {
        id(s.value) for body in bodies for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
    }
    # The table of the searches and what it asks of are headings, for who reads the code.
    named = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    headings = [node for node in named if "EITHER" in ast.unparse(node)]
    docs |= {id(one) for node in headings for one in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            pieces = (piece.strip(" ,;:()'[]") for piece in node.value.split("{}"))
            yield from (piece for piece in pieces if len(piece.split()) >= 2)


def test_every_form_of_sentence_has_its_experiment():
    """Every piece of text in the code of the diagnosis stands in the table's first column, and every row is whole."""
    rows = [line for line in (ROOT / "docs" / "diagnosis.md").read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\) \| ", row.strip("| "))] for row in rows]
    assert all(len(row) == 3 and all(row) for row in cells)
    forms = " ".join(row[0] for row in cells)
    ours = {'fc["', "as given", "at once", "m s", "and b", "and others", "_Pair | None", "examples tried"}
    ours |= {COUNTED.pattern.strip(" ()"), "at [a-z]="}  # by which sentences are read
    missing = [
        (path.name, text)
        for path in sorted(DIAGNOSIS.glob("*.py"))
        for text in literals(path)
        if text not in forms and text not in ours
    ]
    assert not missing
