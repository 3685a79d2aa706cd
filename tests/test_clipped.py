"""The cell whose memory is cut off against one written anew: its limit, its names, and who is judged as one."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lstm_checks.cases import CUT_OFF, DTYPES, Case, falls_in, strata_of
from lstm_checks.certified.certify import certified_gradient, derivation_agrees
from lstm_checks.certified.equations import equations
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import faults_of, find
from lstm_checks.faults.clipped import FAULTS
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import evaluate_reference, rounding_of
from lstm_checks.oracles.kinks import AT_A_KINK, unjudged_at_kinks
from lstm_checks.strategies import draw_cases
from lstm_checks.targets.function import from_function
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_checks.trials.search import shows
from lstm_ref.cell import run_forward
from lstm_ref.cells import CELLS, cell_named

CELL, OF_3 = CELLS["clipped"], cell_named("clipped,limit=3")


def clipped_at(limit, through=False, handed_on=True):
    """An LSTM with a clipped memory, row by row in loops; `through` passes cotangents through what was cut off."""

    def layer(p, X, h0, C0):
        m, s, _ = X.shape
        one, most = X.dtype.type(1), X.dtype.type(limit)
        tape, H, final = [], np.zeros((m, s, h0.shape[1]), X.dtype), np.zeros_like(C0)
        for n in range(m):
            h, c = h0[n], C0[n]
            for t in range(s):
                at = {k: X[n, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k][0] for k in "figo"}
                f, i, o = (one / (one + np.exp(-at[k])) for k in "fio")
                g = np.tanh(at["g"])
                new = c * f + i * g
                held = np.where(new > most, most, np.where(new < -most, -most, new))
                tape.append((h, c, f, i, g, o, held, through | (np.abs(new) < most)))
                c, h = held if handed_on else new, o * np.tanh(held)
                H[n, t] = h
            final[n] = c

        def pullback(dh, dCn):
            found = {f"d{name}": np.zeros_like(value) for name, value in {**p, "X": X, "h0": h0, "C0": C0}.items()}
            for n in range(m):
                back, dc = np.zeros_like(h0[n]), dCn[n]
                for t in reversed(range(s)):
                    h, c, f, i, g, o, held, kept = tape[n * s + t]
                    whole = dh[n, t] + back
                    inner = (dc + whole * o / np.cosh(held) ** 2) * kept
                    slopes = {"f": inner * c * f * (1 - f), "i": inner * g * i * (1 - i), "g": inner * i * (1 - g * g)}
                    slopes["o"] = whole * np.tanh(held) * o * (1 - o)
                    back = np.zeros_like(h)
                    for k, slope in slopes.items():
                        found["db" + k][0] += slope
                        found["dU" + k] += np.outer(X[n, t], slope)
                        found["dV" + k] += np.outer(h, slope)
                        found["dX"][n, t] += p["U" + k] @ slope
                        back = back + p["V" + k] @ slope
                    dc = inner * f
                found["dh0"][n], found["dC0"][n] = back, dc
            return found

        return (H, final), pullback

    return layer


@pytest.mark.parametrize("limit", [1, 3])
def test_a_right_implementation_of_its_own_passes(limit):
    cell = cell_named(f"clipped,limit={limit}")
    report = verify(from_function(clipped_at(limit), cell=cell), examples=60, max_dims=(5, 7, 5, 5))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert {example.case.dtype for example in report.examples} == {*DTYPES}
    for gradient in CELL.gradients:
        assert report.claim_counts[gradient][Verdict.PASS] > 30, gradient


@pytest.mark.parametrize(("wrong", "named"), [({"through": True}, "cut-off-mask-ignored"), ({"handed_on": False}, "")])
def test_a_wrong_one_fails_and_is_named(wrong, named):
    report = verify(from_function(clipped_at(1, **wrong), cell=CELL), examples=12, max_dims=(3, 4, 3, 3))
    assert report.exit_code == 1
    suspects = [one.fault for one in report.failure.diagnosis.suspects if one.certain]
    assert suspects == [named] or not named


@pytest.mark.parametrize("name", ["clipped", "clipped,limit=3", "clipped,limit=50", "clipped,limit=0.25"])
def test_examples_reach_the_limit_whatever_it_is_and_stay_within_it_too(name):
    cell = cell_named(name)
    ((limit),) = cell.numbers.values()
    reached = judged = 0
    for case in draw_cases(50, 0, cell=cell, max_dims=(4, 6, 4, 4)):
        with np.errstate(all="ignore"):
            memory = run_forward(cell, case.arrays, {"C_"})["C_"]
        reached += bool((np.abs(memory) > limit).any() and (np.abs(memory) < limit).any())
        judged += not unjudged_at_kinks(case, rounding_of(case, case.dtype))
    assert reached >= 20
    assert judged >= 40


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["clipped", "clipped,limit=3", "clipped,limit=0.25"])
def test_past_the_edge_of_a_block_not_all_of_the_memory_is_cut_off(name, seed):
    cell = cell_named(name)
    ((limit),) = cell.numbers.values()
    past = {"m = 129": np.s_[128], "u = 129": np.s_[:, :, 128], "s = 129": np.s_[:, 128]}
    seen = set()
    for case, origin in draw_cases(100, seed, cell=cell).items():
        if origin.stratum in past:
            memory = run_forward(cell, case.arrays, {"C_"})["C_"]
            assert np.abs(memory[past[origin.stratum]]).min() < limit, case.descriptor
            seen.add(origin.stratum)
    assert seen == {*past}


def test_of_few_examples_some_reach_it():
    assert sum(falls_in(case, CUT_OFF) for case in draw_cases(8, 0, cell=OF_3, max_dims=(3, 4, 3, 3))) >= 2
    assert CUT_OFF not in strata_of(PLAIN)


def test_the_memory_is_cut_off_before_its_tanh_and_handed_on_so_and_the_initial_one_is_not():
    arrays = Case(4, 6, 3, 5, seed=3, cell=CELL).arrays
    fc = CELL.forward(arrays, *(arrays[name] for name in ("X", "h0", "C0")))
    assert np.abs(fc["C_"]).max() > 1 >= np.abs(fc["cC"]).max()
    assert np.array_equal(fc["cC"], np.clip(fc["C_"], -1, 1))
    assert np.array_equal(fc["C"], np.tanh(fc["cC"]))
    assert np.array_equal(fc["Cp_"][:, 1:], fc["cC"][:, :-1])
    assert np.array_equal(fc["Cp_"][:, 0], arrays["C0"])
    assert np.abs(arrays["C0"]).max() > 1


def test_a_limit_that_nothing_reaches_leaves_the_plain_cell():
    case = Case(3, 4, 2, 3, seed=2, cell=PLAIN)
    found = evaluate_reference(
        replace(case, cell=cell_named("clipped,limit=1000")).arrays.replaced(C0=case.arrays["C0"])
    )
    for name, due in evaluate_reference(case.arrays).items():
        assert np.array_equal(found[name], due), name


def test_at_the_limit_itself_the_outputs_alone_are_judged():
    arrays = dict(Case(1, 1, 1, 2, seed=0, cell=CELL).arrays)
    case = Case(1, 1, 1, 2, seed=0, cell=CELL)
    at_it = case.arrays.replaced(
        **{name: np.zeros_like(arrays[name]) for name in CELL.parameters}, C0=np.array([[2, 0.5]])
    )
    object.__setattr__(case, "arrays", at_it)
    found = unjudged_at_kinks(case, rounding_of(case, "float64"))
    assert {*found} == {*CELL.gradients}
    assert found["dUf"] == f"{AT_A_KINK}C_[0, 0, 0] = 1 lies within rounding of 1, where it is cut off"


def test_names():
    assert cell_named("clipped,limit=1") is cell_named("clipped") is CELL
    assert cell_named("clipped,limit=3.0") is OF_3
    assert cell_named("clipped,g=relu,f=hardsigmoid6").name == "clipped,f=hardsigmoid6,g=relu"
    assert cell_named("clipped,limit=0.001").name == "clipped,limit=0.001"
    both = cell_named("clipped,limit=3,h=relu")
    assert both.name == "clipped,limit=3,h=relu"
    assert {*both.kinks} == {"C_", "cC"}
    assert [kink.at for kink in both.kinks["C_"]] == [-3, 3]
    assert Case.parse("m1s2e1u3-clipped,limit=0.5-float64-x10-seed7").cell is cell_named("clipped,limit=0.5")
    net = cell_named("clipped,limit=3@2xboth")
    assert net.spread == {f"C0{place.suffix}": 6 for place in net.places}
    for wrong, expected in (
        ("clipped,limit=0", "'limit=0', expected limit=NUMBER with a number above 0"),
        ("clipped,limit=-3", "'limit=-3', expected limit=NUMBER with a number above 0"),
        ("clipped,limit=x", "'limit=x', expected limit=NUMBER with a number above 0"),
        ("clipped,g=relu,limit=3", "with 'limit=3', expected clipped and, each once after a comma, any of f=FUNCTION"),
        ("plain,limit=3", "with 'limit=3', expected plain and, each once after a comma, any of f=FUNCTION"),
    ):
        with pytest.raises(ValueError, match=re.escape(expected)):
            cell_named(wrong)


def test_its_equations_say_the_limit():
    assert "clip(x) = np.minimum(np.maximum(x, 0 * x - LIMIT), 0 * x + LIMIT); LIMIT = 3.0" in equations(OF_3)
    assert "C = tanh(cC)" in equations(OF_3)
    assert "C = act_h(cC)" in equations(cell_named("clipped,h=softsign"))


@pytest.mark.parametrize("cell", [CELL, OF_3, cell_named("clipped@1xboth")], ids=lambda cell: cell.name)
def test_balls_enclose_the_gradient_and_the_forward_pass_alone_gives_it(cell):
    pytest.importorskip("flint")
    certified = certified_gradient(Case(2, 3, 2, 3, seed=3, cell=cell))
    assert certified.resolved
    assert derivation_agrees(certified)


def test_own_faults_show_in_their_smallest_examples_and_are_one_of_another_limit_too():
    for fault in FAULTS:
        assert shows(fault, Case.parse(fault.example)), fault.id
    assert {fault.id for fault in FAULTS} <= set(faults_of(OF_3))
    assert len(faults_of(CELL)) >= 200
    fault = find("cut-off-mask-ignored", OF_3)
    case = Case(3, 4, 2, 5, seed=1, cell=OF_3)
    wrong, due = evaluate(fault, case.arrays), evaluate_reference(case.arrays)
    assert not np.array_equal(wrong["dUf"], due["dUf"])
    assert np.array_equal(wrong["h"], due["h"])
    assert verify_case(fault_target(fault, cell=OF_3), case).failures


# Modules of one's own


OWN_TORCH = """
import torch

class Own(torch.nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih = torch.nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias = torch.nn.Parameter(torch.randn(4 * hidden_size))

    def forward(self, x, state):
        h, c = state
        every = []
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ self.weight_ih.T + h @ self.weight_hh.T + self.bias).chunk(4, 1)
            c = CUT(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
            h = torch.sigmoid(o) * torch.tanh(c)
            every.append(h)
        return torch.stack(every, 1), (h, c)


class Data(Own):
    pass


def function(p, X, h, c):
    every = []
    for t in range(X.shape[1]):
        at = {k: X[:, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in "figo"}
        c = CUT(torch.sigmoid(at["f"]) * c + torch.sigmoid(at["i"]) * torch.tanh(at["g"]))
        h = torch.sigmoid(at["o"]) * torch.tanh(c)
        every.append(h)
    return torch.stack(every, 1), c
"""
CLAMP = "lambda value: torch.clamp(value, -3, 3)"
OF_DATA = "lambda value: value + (torch.clamp(value, -3, 3) - value).detach()"


@pytest.mark.peer
@pytest.mark.parametrize("name", ["Own", "function"])
@pytest.mark.parametrize(("cut", "code"), [(CLAMP, 0), (OF_DATA, 1)])
def test_what_is_written_in_torch_is_judged_as_one_where_that_is_asked(name, cut, code, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "own.py").write_text(OWN_TORCH.replace("CUT", f"({cut})"))
    target = load_target(f"{tmp_path / 'own.py'}:{name}", cell=OF_3)
    assert target.cell is OF_3
    report = verify(target, examples=16, max_dims=(3, 4, 3, 3))
    assert report.exit_code == code
    if code:
        assert [one.fault for one in report.failure.diagnosis.suspects if one.certain] == ["cut-off-mask-ignored"]
    else:
        assert "against lstm_ref's LSTM with its memory cut off at 3" in render_report(report)


KERAS = """
import keras
from keras import ops

@keras.saving.register_keras_serializable()
class Cell(keras.layers.LSTMCell):
    def call(self, inputs, states, training=False):
        h, c = states
        z = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias
        i, f, g, o = ops.split(z, 4, axis=1)
        c = ops.clip(ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g), -3, 3)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]
"""

FLAX = """
import jax, jax.numpy as jnp
from flax import nnx

class Cell(nnx.OptimizedLSTMCell):
    def __call__(self, carry, inputs):
        c, h = carry
        i, f, g, o = jnp.split(self.dense_i(inputs) + self.dense_h(h), 4, -1)
        c = jnp.clip(jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g), -3, 3)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h
"""


@pytest.mark.peer
@pytest.mark.parametrize(("framework", "text"), [("keras", KERAS), ("flax", FLAX)])
def test_cells_of_frameworks_with_a_clip_are_judged_as_one(framework, text, tmp_path):
    pytest.importorskip(framework)
    (tmp_path / f"own_{framework}.py").write_text(text)
    spec = f"{tmp_path / f'own_{framework}.py'}:Cell"
    report = verify(load_target(spec, cell=OF_3), examples=8, max_dims=(3, 4, 3, 3))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


@pytest.mark.peer
def test_frameworks_own_are_none_and_their_stacks_neither():
    torch = pytest.importorskip("torch")
    with pytest.raises(TargetError, match="torch is a framework's and judged as a plain LSTM"):
        load_target("torch", cell=OF_3)
    assert verify(to_target(torch.nn.LSTM, "it", OF_3), examples=8, max_dims=(3, 4, 3, 3)).exit_code == 1


@pytest.mark.parametrize("cell", [OF_3, cell_named("plain,g=relu")], ids=lambda cell: cell.name)
def test_a_step_of_training_is_asked_of_cells_with_kinks_and_what_is_stale_after_it_is_seen(cell):
    case = Case(3, 4, 2, 3, seed=1, cell=cell)
    for fault, verdict in ((None, Verdict.PASS), (find("stepped-biases-stale", cell), Verdict.FAIL)):
        target = fault_target(*([fault] if fault else []), cell=cell)
        assert verify_case(target, case, properties=("training",)).claim("training").verdict is verdict
