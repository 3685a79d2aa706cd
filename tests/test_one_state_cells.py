"""Cells that hand on the hidden state alone, GRUs and the RNN: no C in any case, every form of target without it."""

import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from lstm_checks.cases import COTANGENTS, Case, cotangents_of
from lstm_checks.certified.certify import case_for, certify
from lstm_checks.compare import Verdict
from lstm_checks.contract import CN, DCN, PLAIN, ContractError, unpack
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.observe import gate_sums
from lstm_checks.diagnosis.rule import Domain, find_rule
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.faults.slips import slips
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.properties.claims import NAMES
from lstm_checks.strategies import cases
from lstm_checks.targets.form import not_in_form
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer
from lstm_checks.targets.program import program_target
from lstm_ref.cells import CELLS, cell_named

EXAMPLE = Path(__file__).parents[1] / "examples" / "gru_function.py"
written = runpy.run_path(str(EXAMPLE))

BEFORE, AFTER, RNN = CELLS["gru"], CELLS["gru_reset_after"], CELLS["rnn"]
ONE_STATE = [cell for cell in CELLS.values() if len(cell.states) == 1]
by_cell = pytest.mark.parametrize("cell", ONE_STATE, ids=lambda cell: cell.name)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def gru_before(p, X, h0):
    """With packed gates, samples one by one and the state in one vector with the input; `h, pullback`."""
    W = {k: np.concatenate([p["U" + k], p["V" + k]]) for k in "rzg"}
    (m, s, e), u = X.shape, h0.shape[1]
    h, kept = np.zeros((m, s, u), X.dtype), {}
    for n in range(m):
        state = h0[n]
        for t in range(s):
            r, z = (sigmoid(np.concatenate([X[n, t], state]) @ W[k] + p["b" + k][0]) for k in "rz")
            g = np.tanh(np.concatenate([X[n, t], r * state]) @ W["g"] + p["bg"][0])
            kept[n, t] = state, r, z, g
            state = h[n, t] = state - (1 - z) * (state - g)

    def pullback(dh):
        dW, db = {k: np.zeros_like(w) for k, w in W.items()}, {k: np.zeros_like(p["b" + k]) for k in W}
        dX, dh0 = np.zeros_like(X), np.zeros_like(h0)
        for n in range(m):
            back = np.zeros_like(h0[n])
            for t in reversed(range(s)):
                state, r, z, g = kept[n, t]
                d = dh[n, t] + back
                delta = {"z": d * (state - g) * z * (1 - z), "g": d * (1 - z) * (1 + g) * (1 - g)}
                through = W["g"] @ delta["g"]
                delta["r"] = through[e:] * state * r * (1 - r)
                for k in W:
                    seen = np.concatenate([X[n, t], r * state if k == "g" else state])
                    dW[k] += np.outer(seen, delta[k])
                    db[k] += delta[k]
                gates = W["r"] @ delta["r"] + W["z"] @ delta["z"]
                dX[n, t] = gates[:e] + through[:e]
                back = gates[e:] + through[e:] * r + d * z
            dh0[n] = back
        found = {f"dU{k}": w[:e] for k, w in dW.items()} | {f"dV{k}": w[e:] for k, w in dW.items()}
        return {**found, **{f"db{k}": b for k, b in db.items()}, "dX": dX, "dh0": dh0}

    return h, pullback


def rnn(p, X, h0):
    """With the products of the input in one, and the output in a tuple; `(h,), pullback`."""
    inputs, h = X @ p["Ug"] + p["bg"], [h0]
    for t in range(X.shape[1]):
        h.append(np.tanh(inputs[:, t] + h[-1] @ p["Vg"]))

    def pullback(dh):
        back, deltas = np.zeros_like(h0), np.zeros_like(dh)
        for t in reversed(range(X.shape[1])):
            deltas[:, t] = (dh[:, t] + back) * (1 - h[t + 1]) * (1 + h[t + 1])
            back = deltas[:, t] @ p["Vg"].T
        before = np.stack(h[:-1], 1)
        dU, dV = (np.tensordot(value, deltas, ([0, 1], [0, 1])) for value in (X, before))
        bias = deltas.sum((0, 1))[np.newaxis]
        return {"dUg": dU, "dVg": dV, "dbg": bias, "dX": deltas @ p["Ug"].T, "dh0": back}

    return (np.stack(h[1:], 1),), pullback


RIGHT = {"gru": gru_before, "gru_reset_after": written["gru"], "rnn": rnn}


# Cases


def test_a_cell_without_a_memory_has_no_final_state_of_its_own():
    for cell in ONE_STATE:
        assert cell.outputs == ("h",)
        assert cell.cotangents == ("dh", "dhn")
        assert not cell.finals
        assert {"C0", "Cn", "dCn", "dC0"} & set(cell.axes) == set()
    assert set(AFTER.parameters) - set(BEFORE.parameters) == {"cg"}


@by_cell
def test_the_words_for_cotangents_are_those_of_a_cell_that_has_no_memory(cell):
    assert cotangents_of(cell) == ("every+h", "every", "last", "h", "last+h")
    assert cotangents_of(PLAIN) == COTANGENTS
    for kinds in COTANGENTS:
        case = replace(Case(1, 2, 1, 1, cotangents=kinds), cell=cell)
        assert case.cotangents in cotangents_of(cell)
        assert Case.parse(case.descriptor) == case
        assert any(value.any() for value in case.arrays.cotangents.values())
    assert Case(1, 2, 1, 1, cell=cell).descriptor == f"m1s2e1u1-{cell.name}-float64-seed0"
    with pytest.raises(
        ValueError, match=rf"'last\+C' is not of the cell {cell.name}, expected one of every\+h, every,"
    ):
        Case.parse(f"m1s1e1u1-{cell.name}-float64-last+C-seed0")


@by_cell
def test_a_report_has_no_word_of_a_memory(cell):
    report = verify(fault_target(cell=cell), examples=12, reference=False)
    assert "C" not in {name.split()[-1] for name in report.stratum_counts}
    text = render_report(report)
    assert "final C" not in text
    assert "LSTM" not in text
    assert f"zero weights: of the {cell.title} alone; --properties all asks them" in text


# Right ones pass


@by_cell
def test_a_right_one_of_another_hand_passes_in_both_dtypes(cell):
    report = verify(from_function(RIGHT[cell.name], cell=cell), examples=100, dtypes=("float64", "float32"))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert not report.target.lacks & {CN, DCN}
    for name in cell.gradients:
        assert report.claim_counts[name][Verdict.PASS] > 50, name


@by_cell
def test_properties_hold_of_it_and_its_own_equations_are_asked(cell):
    @settings(max_examples=10)
    @given(case=cases(cell=cell))
    def holds(case):
        report = verify_case(from_function(RIGHT[cell.name], cell=cell), case, properties=NAMES)
        assert not report.failures
        for name in ("sign symmetry", "zero weights"):
            assert report.claim(name).verdict in (Verdict.PASS, Verdict.VACUOUS, Verdict.INCONCLUSIVE)

    holds()
    one = verify_case(from_function(RIGHT[cell.name], cell=cell), Case(2, 3, 2, 3, cell=cell), properties=NAMES)
    assert {one.claim(name).verdict for name in ("sign symmetry", "zero weights")} == {Verdict.PASS}


def test_an_rnn_with_relu_is_the_rnn_with_another_activation():
    cell = cell_named("rnn,g=relu")

    def with_relu(p, X, h0):
        inputs, h = X @ p["Ug"] + p["bg"], [h0]
        for t in range(X.shape[1]):
            h.append(np.maximum(inputs[:, t] + h[-1] @ p["Vg"], 0))

        def pullback(dh):
            back, deltas = np.zeros_like(h0), np.zeros_like(dh)
            for t in reversed(range(X.shape[1])):
                deltas[:, t] = (dh[:, t] + back) * (h[t + 1] > 0)
                back = deltas[:, t] @ p["Vg"].T
            before = np.stack(h[:-1], 1)
            dU, dV = (np.tensordot(value, deltas, ([0, 1], [0, 1])) for value in (X, before))
            bias = deltas.sum((0, 1))[np.newaxis]
            return {"dUg": dU, "dVg": dV, "dbg": bias, "dX": deltas @ p["Ug"].T, "dh0": back}

        return np.stack(h[1:], 1), pullback

    report = verify(from_function(with_relu, cell=cell), examples=40, dtypes=("float64", "float32"))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert verify(from_function(rnn, cell=cell), examples=5).exit_code == 1


def test_the_two_forms_of_a_gru_are_one_where_there_is_one_unit():
    case = Case(3, 4, 2, 1, seed=3, cell=AFTER)
    after = evaluate_reference(case.arrays.replaced(cg=np.zeros((1, 1))))
    before = evaluate_reference(replace(case, cell=BEFORE).arrays)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-12, atol=1e-14)
    wide = Case(3, 4, 2, 3, seed=3, cell=AFTER)
    other = evaluate_reference(replace(wide, cell=BEFORE).arrays)["h"]
    assert np.max(np.abs(evaluate_reference(wide.arrays.replaced(cg=np.zeros((1, 3))))["h"] - other)) > 1e-3


def test_the_fault_of_the_other_form_is_the_other_form():
    case = Case(2, 3, 2, 3, seed=1, cell=BEFORE)
    came = evaluate(find("reset-after-the-product", BEFORE), case.arrays)
    due = expect(replace(case, cell=AFTER)).values
    without = evaluate_reference(replace(case, cell=AFTER).arrays.replaced(cg=np.zeros((1, 3))))
    assert set(due) - set(came) == {"dcg"}
    for name, value in came.items():
        np.testing.assert_allclose(value, without[name], rtol=1e-10, atol=1e-13)


# Forms of targets


def test_an_output_alone_may_come_by_itself_or_in_a_tuple_and_two_are_refused():
    h, pull = np.zeros((1, 1, 1)), dict
    assert unpack((h, pull), RNN)[0] == (h,)
    assert unpack(((h,), pull), RNN)[0] == (h,)
    for wrong in (((h, h), pull), (h, pull, pull), h):
        with pytest.raises(ContractError, match=r"expected \(h, pullback\)"):
            unpack(wrong, RNN)
    with pytest.raises(ContractError, match=r"expected a function of \(dh\)"):
        unpack((h, h), RNN)
    with pytest.raises(ContractError, match=r"expected \(\(h, Cn\), pullback\)"):
        unpack((h, pull))


def test_a_function_may_take_no_state_and_one_of_two_states_is_told_what_is_due():
    alone = from_function(lambda p, X: rnn(p, X, np.zeros((len(X), p["Vg"].shape[0]), X.dtype)), "it", RNN)
    assert alone.lacks >= {"initial states", "dh0"}
    assert alone.notes == ()
    assert verify(alone, examples=10).exit_code == 0
    with pytest.raises(TypeError, match=r"takes \(p, X, h0, C0\), expected \(p, X, h0\) or \(p, X\)"):
        from_function(lambda p, X, h0, C0: rnn(p, X, h0), "it", RNN)

    def of_an_lstm(p, X, h0):
        raise KeyError("Uf")

    assert "p holds the 3 arrays Ug Vg bg ... bg by name, and X and h0 are NumPy arrays; Uf is of" in not_in_form(
        from_function(of_an_lstm, cell=RNN)
    )


class Layer:
    """An RNN as a layer class in EpyNN's form."""

    def __init__(self, unit_cells, sequences=True):
        self.u, self.sequences, self.p, self.fc, self.bc = unit_cells, sequences, {}, {}, {}

    def compute_shapes(self, X):
        self.X = X

    def initialize_parameters(self):
        e, u = self.X.shape[2], self.u
        self.p = {"Ug": np.zeros((e, u)), "Vg": np.zeros((u, u)), "bg": np.zeros((1, u))}

    def forward(self, X, h0=None):
        (h,), self.pull = rnn(self.p, X, np.zeros((len(X), self.u), X.dtype) if h0 is None else h0)
        return h if self.sequences else h[:, -1]

    def backward(self, dA, dhn=None):
        dh = np.zeros((*self.X.shape[:2], self.u), dA.dtype)
        if self.sequences:
            dh += dA
        else:
            dh[:, -1] = dA
        dh[:, -1] += 0 if dhn is None else dhn
        self.bc = self.pull(dh)
        return self.bc["dX"]

    def compute_gradients(self):
        self.g = {name: value for name, value in self.bc.items() if name[1:] in self.p}


def test_a_layer_class_keeps_no_memory():
    target = from_layer(Layer, cell=RNN)
    assert not target.lacks
    report = verify(target, examples=25)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


PROGRAM = """
import json, sys
import numpy as np
sys.path.insert(0, {folder!r})
from gru_function import gru

for line in sys.stdin:
    request = json.loads(line)
    m, s, e, u = (request["sizes"][k] for k in "mseu")
    shapes = {{"U": (e, u), "V": (u, u), "b": (1, u), "c": (1, u), "X": (m, s, e), "h": (m, u)}}
    read = lambda v, shape: np.array([float.fromhex(x) for x in v], request["dtype"]).reshape(shape)
    write = lambda v: [float(x).hex() for x in np.ravel(v)]
    given = {{name: read(v, shapes[name[0]]) for name, v in request["inputs"].items()}}
    X, h0 = given.pop("X"), given.pop("h0")
    h, pullback = gru(given, X, h0)
    answer = {{"id": request["id"], "outputs": {{"h": write(h)}}}}
    if "cotangents" in request:
        dh = read(request["cotangents"]["dh"], (m, s, u))
        dh[:, -1] += read(request["cotangents"]["dhn"], (m, u))
        answer["gradients"] = {{name: write(v) for name, v in pullback(dh).items()}}
    print(json.dumps(answer), flush=True)
"""


def test_a_program_is_sent_and_returns_no_memory(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM.format(folder=str(EXAMPLE.parent)))
    target = program_target("it", shlex.join([sys.executable, str(tmp_path / "program.py")]), 20.0, AFTER)
    assert not target.unsupported
    report = verify(target, examples=6, max_dims=(3, 4, 3, 3))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


def test_a_certificate_encloses_the_gradient_of_each():
    pytest.importorskip("flint")
    for cell in ONE_STATE:
        target = from_function(RIGHT[cell.name], cell=cell)
        certificate = certify(target, case_for(target, Case(2, 3, 2, 2, seed=3)))
        assert certificate.verdict is Verdict.PASS
        assert [tensor.name for tensor in certificate.tensors] == [*cell.tensors]


# Faults and what is said


def test_the_cases_that_a_rule_is_found_from_are_of_the_cell():
    seen = set()
    first = Case(1, 1, 1, 1, cell=AFTER)
    find_rule(lambda case: seen.add(case.cell) or case.m % 4 != 0, first, {}, Domain((9, 12, 9, 9)))
    assert seen == {AFTER}


def test_slips_are_of_the_gates_that_a_gradient_is_made_of():
    titles = {slip.title for cell in ONE_STATE for slip in slips("gradients", cell)}
    # dVg of a GRU is in no loop, and made of other things than dk_ and hp.
    assert {"dVg is made of dg_, not dq_", "dVg is made of hp, not q", "dcg is made of dg_, not dq_"} <= titles
    assert not any("C_" in title or "dC" in title for title in titles)


def test_which_gradients_are_sums_of_the_gates_cotangents_is_found_out():
    assert gate_sums(PLAIN) == {f"d{kind}{gate}" for gate in "figo" for kind in "UVb"} | {"dX", "dh0"}
    assert gate_sums(AFTER) == {f"d{kind}{gate}" for gate in "rzg" for kind in "Ub"} | {"dVr", "dVz", "dX"}
    assert gate_sums(RNN) == {"dUg", "dVg", "dbg", "dX", "dh0"}


@pytest.mark.parametrize(
    ("cell", "name", "old", "new"),
    [
        (AFTER, "candidate-recurrent-cotangent-not-reset", "through=lambda r: r", "through=np.ones_like"),
        (AFTER, "update-cotangent-negated", "d * (before - g)", "d * (g - before)"),
        (AFTER, "state-cotangent-missing", "back = d * z + ", "back = "),
        (
            AFTER,
            "hidden-cotangent-truncated-after-three",
            "d = dh[:, t] + back",
            "d = dh[:, t] + back * (t > len(kept) - 5)",
        ),
    ],
)
def test_a_fault_in_another_hands_gru_is_named(cell, name, old, new, tmp_path):
    source = EXAMPLE.read_text()
    assert source.count(old) == 1
    (tmp_path / "mine.py").write_text(source.replace(old, new))
    target = from_function(runpy.run_path(str(tmp_path / "mine.py"))["gru"], cell=cell)
    found = diagnose(target, Case(2, 6, 2, 3, seed=5, cell=cell))
    assert found.suspects[0].fault == name
    assert found.suspects[0].certain


@by_cell
def test_a_fault_that_nobody_knows_is_told_without_a_word_of_gates_or_states_that_there_are_not(cell):
    def odd(p, X, h0):
        (h,), pullback = unpack(RIGHT[cell.name](p, X, h0), cell)
        return h, lambda dh: {
            name: v * (1.25 if name == "dbg" else 1) + 0.1 * (name == "dX") for name, v in pullback(dh).items()
        }

    found = diagnose(from_function(odd, cell=cell), Case(2, 4, 3, 3, seed=2, cell=cell))
    said = " ".join((*found.relations, *found.where))
    assert said
    assert not {"C0", "Cn", "dCn", "df_", "di_", "do_", "memory"} & set(said.replace(",", " ").split())


def command(*arguments, cwd):
    words = [sys.executable, "-m", "lstm_checks", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_judges_a_gru_and_names_what_is_wrong(tmp_path):
    right = command("verify", f"{EXAMPLE}:gru", "--cell", "gru_reset_after", "--examples", 8, cwd=tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    assert "against lstm_ref's GRU with reset after the product" in right.stdout
    wrong = command(
        "verify", f"{EXAMPLE}:gru_without_reset", "--cell", "gru_reset_after", "--examples", 8, cwd=tmp_path
    )
    assert wrong.returncode == 1
    assert "candidate-recurrent-cotangent-not-reset" in wrong.stdout
    other = command("verify", f"{EXAMPLE}:gru", "--cell", "gru", "--examples", 4, cwd=tmp_path)
    assert other.returncode == 2
    assert "; p holds the nine arrays Ur Vr br ... bg by name, and X and h0 are NumPy arrays" in other.stderr
    assert "; cg is of the cell gru_reset_after: see --cell" in other.stderr
