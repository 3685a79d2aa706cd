"""The kill matrix: each method accepts what is right and sees what is grossly wrong, and the counts are right."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstm_checks.cases import Case
from lstm_checks.cli import main
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import FAULTS, OWN, faults_of, find
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.oracles.check_grad import check_grad
from lstm_checks.oracles.objective import reference_forward
from lstm_checks.trials.kill_matrix import (
    ALLCLOSE,
    CHECK_GRAD_AUTOMATIC,
    CHECK_GRAD_FIXED,
    COMPLEX_STEP,
    METHODS,
    TORCH,
    VERIFY,
    Judged,
    Matrix,
    Problem,
    RealGradcheck,
    check_grad_automatic,
    differentiate,
    forward_source,
    judge,
    kill_matrix,
)
from lstm_checks.trials.picture import BEGIN, END, draw_matrix, matrix_to_json, render_matrix, replace_figures
from lstm_ref.cells import CELLS

CALM = [Case(1, 2, 1, 1), Case(2, 3, 2, 3, seed=1), Case(3, 4, 3, 2, regime="x1e-3", seed=2)]
NAMES = list(METHODS)


def row(values):
    return np.concatenate([np.ravel(values["d" + name]) for name in PLAIN.inputs])


@pytest.mark.parametrize("case", CALM, ids=lambda case: case.descriptor)
def test_every_method_accepts_the_right_layer(case):
    _, alarms = judge(case, ())
    assert not alarms.any()


def test_every_method_kills_a_gross_fault():
    for case in CALM[:2]:
        kills, _ = judge(case, ("carry-doubled",))
        assert kills.tolist() == [[True] * len(NAMES)]


def killed_by(case, fault):
    """Return the names of the methods that kill a fault on a case."""
    kills, _ = judge(case, (fault,))
    return {name for name, killed in zip(NAMES, kills[0], strict=True) if killed}


def test_what_each_method_cannot_see():
    case = CALM[1]
    # Small errors: the peers' tolerances are wider.
    assert killed_by(case, "relative-error-1e-9-dvi") == {COMPLEX_STEP, VERIFY}
    # A wrong forward pass whose gradient is right: no method that asks the layer's own forward pass.
    assert killed_by(case, "gate-order-ifgo") == {ALLCLOSE, VERIFY}
    # State between calls shows in no single call.
    assert killed_by(case, "gradients-never-zeroed") == {VERIFY}


def test_the_complex_step_of_another_forward_pass_has_its_own_tolerance():
    """These gradients are right for what is computed: rejecting them would be a false alarm."""
    for case in (Case(3, 2, 3, 3, regime="x10", seed=3), Case(2, 4, 2, 3, regime="mixed", seed=5)):
        for fault in ("gate-order-ifgo", "gate-order-giof", "weights-stacked-the-other-way"):
            assert COMPLEX_STEP not in killed_by(case, fault), (case, fault)


def test_where_rounding_drowns_the_right_layer_a_rejection_is_no_kill():
    case = Case(3, 2, 3, 3, regime="x100", cotangents="every+h", seed=435)
    kills, alarms = judge(case, ("carry-doubled",))
    assert alarms[NAMES.index(CHECK_GRAD_FIXED)]
    assert not kills[0, NAMES.index(CHECK_GRAD_FIXED)]
    assert not alarms[NAMES.index(CHECK_GRAD_AUTOMATIC)]
    assert not alarms[NAMES.index(VERIFY)]


@pytest.mark.parametrize("fault", [None, "carry-dropped", "gate-order-ifgo"])
def test_differences_are_the_derivative_of_the_fault_s_own_forward_pass(fault):
    case, fault = CALM[1], fault and find(fault)
    found = differentiate(fault, case.arrays)
    source = fault if fault and fault.id == "gate-order-ifgo" else ()
    due = row(evaluate(source, case.arrays))
    assert np.allclose(found.complex, due, rtol=1e-12, atol=1e-13)
    assert np.allclose(found.central, due, rtol=1e-6, atol=1e-8)
    assert np.allclose(found.once, due, rtol=1e-4, atol=1e-6)
    assert np.allclose(found.twice, due, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(found.once, found.twice)
    along = np.random.RandomState(0).standard_normal(due.size)
    assert found.directional == pytest.approx(due @ along, rel=1e-5)


def test_check_grad_is_what_scipy_computes():
    """A growing error is rejected from where `check_grad`, which calls SciPy, rejects it, to a few percent."""
    case = CALM[0]
    problem, differences = Problem.of(case), differentiate(None, case.arrays)
    clean = evaluate((), case.arrays)

    def both(size):
        wrong = clean | {"dUf": clean["dUf"] * (1 + size)}
        gradient = {name: wrong[name] for name in PLAIN.gradients}
        theirs = check_grad(reference_forward(case.cell), gradient, case, problem.expected, "all").agrees
        return theirs, check_grad_automatic(Judged(None, wrong, row(wrong), differences), problem)

    theirs, ours = (sum(found) for found in zip(*map(both, np.geomspace(1e-9, 1e-3, 50)), strict=True))
    assert 5 < theirs < 45
    assert abs(theirs - ours) <= 1


def test_faults_of_the_backward_pass_share_one_forward_pass():
    clean = forward_source(None)
    assert forward_source(find("carry-dropped")) == clean
    assert forward_source(find("gate-order-ifgo")) != clean
    case = CALM[1]
    due = evaluate((), case.arrays)
    shared = [fault for fault in FAULTS.values() if fault.patches and forward_source(fault) == clean]
    assert len(shared) > 100
    for fault in shared:
        values = evaluate(fault, case.arrays)
        assert np.array_equal(values["h"], due["h"]), fault.id
        assert np.array_equal(values["Cn"], due["Cn"]), fault.id


def planted(kills):
    """Return a matrix of faults by examples in which only `verify` kills."""
    kills = np.array(kills, bool)
    whole = np.zeros((kills.shape[0], len(NAMES), kills.shape[1]), bool)
    whole[:, NAMES.index(VERIFY)] = kills
    ids = tuple(FAULTS)[: kills.shape[0]]
    cases = tuple(replace(CALM[0], seed=k) for k in range(kills.shape[1]))
    return Matrix(cases, 7, ids, whole, np.zeros((len(NAMES), kills.shape[1]), bool))


def test_survivors_are_counted_over_all_choices_of_examples():
    matrix = planted([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    k = NAMES.index(VERIFY)
    assert matrix.percent[:, k].tolist() == [25, 100, 0, 50]
    # Alive after 1: 3/4, 0, 1, 2/4; after 2: 3/6, 0, 1, 1/6; after all: the one that is never killed.
    assert matrix.survivors(1)[k] == pytest.approx(2.25)
    assert matrix.survivors(2)[k] == pytest.approx(1 + 3 / 6 + 1 / 6)
    assert matrix.survivors(4).tolist() == [4.0] * k + [1.0]
    assert matrix.alive(VERIFY) == (tuple(FAULTS)[2],)
    assert len(matrix.alive(TORCH)) == 4


def test_the_matrix_is_what_judging_each_case_gives_whoever_does_it():
    faults = ("carry-dropped", "gate-order-ifgo")
    seen = []
    alone = kill_matrix(3, 5, faults, progress=lambda: seen.append(1))
    assert len(seen) == len(alone.cases) == 3
    for k, case in enumerate(alone.cases):
        kills, alarms = judge(case, faults)
        assert np.array_equal(kills, alone.kills[..., k])
        assert np.array_equal(alarms, alone.alarms[..., k])
    shared = kill_matrix(3, 5, faults, processes=2)
    assert np.array_equal(shared.kills, alone.kills)
    assert shared.cases == alone.cases


def test_the_report_shows_the_figures():
    matrix = planted([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    lines = render_matrix(matrix).splitlines()
    assert lines[0] == "4 faults, 4 examples, seed 7"
    assert lines[2].split() == [
        "method",
        "kills,",
        "%",
        "alive",
        "after",
        "1",
        "alive",
        "after",
        "4",
        "false",
        "alarms,",
        "%",
    ]
    assert lines[-1].split() == ["verify", "44", "2", "1", "0"]
    assert lines[3].split()[-4:] == ["0", "4", "4", "0"]
    plain = matrix_to_json(matrix)
    assert plain["percent"]["carry-dropped"][VERIFY] == 25
    assert plain["methods"][VERIFY]["survivors"] == {"1": 2.25, "4": 1.0}
    real = replace(matrix, real=RealGradcheck((0, 2), np.array([[0, 1], [0, 0], [0, 0], [0, 0]], bool)))
    assert render_matrix(real).endswith(
        "note      PyTorch's own gradcheck on 2 of the examples kills 12 %, its tolerances as applied here 0 %, "
        "with one verdict in 88 % of all"
    )


def test_figures_are_replaced_and_the_words_around_them_kept():
    matrix = planted([[1, 0], [1, 1]])
    page = replace_figures(f"# Mine\n\nwords\n{BEGIN}\nold\n{END}\nmore\n", matrix, "x.svg")
    assert page.startswith("# Mine\n\nwords\n<!--")
    assert page.endswith("-->\nmore\n")
    assert "\nold\n" not in page
    assert "| `carry-dropped` | 0 | 0 | 0 | 0 | 0 | 0 | 50 |" in page
    assert "- **verify**, 0: none" in page
    assert "](x.svg)" in page
    assert replace_figures(page, matrix, "x.svg") == page
    assert replace_figures("", matrix, "x.svg").startswith("# The kill matrix\n")
    with pytest.raises(ValueError, match="between which the figures go"):
        replace_figures("# Mine\n", matrix, "x.svg")


def test_the_picture_is_the_same_each_time():
    pytest.importorskip("matplotlib")
    matrix = planted([[1, 0], [1, 1]])
    assert draw_matrix(matrix) == draw_matrix(matrix)
    assert "faults alive" in draw_matrix(matrix)


@pytest.mark.peer
def test_pytorch_s_own_gradcheck_judges_targets():
    from lstm_checks.targets.torch import gradcheck

    arrays = CALM[1].arrays
    assert gradcheck(fault_target(), arrays)
    assert not gradcheck(fault_target(find("carry-dropped")), arrays)
    assert gradcheck(fault_target(find("gate-order-ifgo")), arrays)
    matrix = kill_matrix(3, 5, ("carry-dropped",), torch_examples=2)
    assert matrix.real.examples == (0, 2)
    assert matrix.real.kills.shape == (1, 2)


@pytest.fixture
def campaign():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("kill_campaign")
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("cell", [cell for cell in CELLS.values() if cell is not PLAIN], ids=lambda cell: cell.name)
def test_the_campaign_kills_every_fault_of_another_cell(campaign, cell):
    found = campaign.run_seed(3, 100, right=(), cell=cell)
    assert set(found.needed) | set(found.survivors) == set(faults_of(cell))
    # With i = 1 - f the memory stays between its old value and 1: only a large C0 is ever clipped.
    assert set(found.survivors) <= {name for name in faults_of(cell) if name.startswith("cell-clipped")}
    with_its_reference = campaign.run_seed(3, 3, cell=cell)
    assert with_its_reference.passes
    assert with_its_reference.alarms == ()


def test_the_campaign_kills_every_fault_and_says_which_it_could_not(campaign):
    found = campaign.run_seed(11, 100, right=())
    assert set(found.needed) == set(FAULTS)
    assert (found.survivors, found.alarms) == ((), ())
    # One example has a size past one block's edge, not past each; what is wrong is blamed.
    few = campaign.run_seed(0, 1, right=("lstm_fast:LSTM", "fault:derivative-missing-o"))
    assert {"carry-lost-beyond-128-samples", "tail-of-steps-lost"} <= set(few.survivors)
    assert {*few.survivors, *few.needed} == set(FAULTS)
    assert [alarm.partition(" on ")[0] for alarm in few.alarms] == ["fault:derivative-missing-o"]


def test_the_campaign_runs_in_processes_as_make_kills_has_it():
    # One example leaves faults alive, and that is exit code 1; an exception would be, too, and say nothing of any seed.
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.kill_campaign", "--seeds", "2", "--examples", "1", "--processes", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    header, _, *lines = done.stdout.splitlines()
    assert header == f"{len(FAULTS)} faults, 1 examples a seed"
    assert [line.split()[0] for line in lines if ":" not in line] == ["0", "1", "FAIL"], done.stderr
    assert (done.returncode, done.stderr) == (1, "")


def test_the_matrix_is_of_any_cell(capsys):
    gru = CELLS["gru"]
    faults = tuple(fault.id for fault in OWN["gru"])[:3]
    matrix = kill_matrix(3, faults=faults, cell=gru)
    assert {case.cell for case in matrix.cases} == {gru}
    assert not matrix.alarms[NAMES.index(VERIFY)].any()
    assert matrix.kills[:, NAMES.index(VERIFY)].any(axis=-1).sum() >= 2
    assert f"{len(faults)} faults, 3 examples, seed 0, cell gru" in render_matrix(matrix)
    for arguments, words in (
        (["--layers", "2"], "expected no network, plain@2xforward was given"),
        (
            ["--cell", "gru", "--torch", "1"],
            "--torch asks PyTorch's gradcheck of the plain cell, expected no --cell gru",
        ),
    ):
        assert main(["faults", "--matrix", *arguments]) == 2
        assert words in capsys.readouterr().err
