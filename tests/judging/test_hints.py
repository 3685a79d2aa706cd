"""What a report says to whoever is stuck: the option under which a target is judged as it may be meant."""

from dataclasses import replace

import numpy as np
import plain_lstm
import pytest

from lstm_checks.cases import Case
from lstm_checks.cli import main
from lstm_checks.contract import LIKE_CELLS, PLAIN, SizeLimits
from lstm_checks.diagnosis.other_cells import _others, find_cell
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.hints import find_hints
from lstm_checks.judging.text import render_case, render_report, rerun_command
from lstm_checks.judging.verify import verify
from lstm_checks.strategies import draw_cases, draw_options, reachable_strata
from lstm_checks.targets.function import from_function
from lstm_ref.cells import cell_named

CASE = Case(1, 2, 1, 1)


def lstm(p, X, h0, C0):
    outputs, pullback = plain_lstm.plain_lstm(p, X, h0, C0)
    return outputs, lambda dh, dCn: pullback(dh, dCn, np.zeros_like(h0))


def hints(function, case=CASE):
    target = from_function(function)
    return find_hints(target, verify_case(target, case))


@pytest.fixture
def hard(monkeypatch):
    monkeypatch.setattr(plain_lstm, "logistic", lambda x: np.clip(x / 6 + 0.5, 0, 1))
    monkeypatch.setattr(plain_lstm, "slope_of_logistic", lambda y: ((y > 0) & (y < 1)) / 6)


@pytest.fixture
def squared(monkeypatch):
    monkeypatch.setattr(plain_lstm, "logistic", lambda x: (1 / (1 + np.exp(-x))) ** 2)
    monkeypatch.setattr(plain_lstm, "slope_of_logistic", lambda y: 2 * y * (1 - np.sqrt(y)))


@pytest.mark.usefixtures("hard")
def test_the_cell_whose_forward_pass_it_is_is_named():
    assert hints(lstm) == ("consistent, but another cell: its forward pass is that of --cell plain,f=hardsigmoid6",)
    target = from_function(lstm, cell=cell_named("plain,f=hardsigmoid6"))
    assert verify(target, examples=5).exit_code == 0, "what is hinted at is right"


@pytest.mark.usefixtures("hard")
def test_of_a_cell_with_other_activations_another_choice_of_them_is_named():
    other = cell_named("plain,f=hardsigmoid")
    target = from_function(lstm, cell=other)
    (said,) = find_hints(target, verify_case(target, replace(CASE, cell=other)))
    assert said.endswith("its forward pass is that of --cell plain,f=hardsigmoid6")


@pytest.mark.usefixtures("hard")
def test_what_takes_cells_of_its_own_arrays_alone_is_told_of_no_others():
    target = replace(from_function(lstm), can=frozenset({LIKE_CELLS}))
    (said,) = find_hints(target, verify_case(target, CASE))
    assert said.endswith("its forward pass is that of --cell plain,f=hardsigmoid6")


@pytest.mark.usefixtures("hard")
def test_what_takes_no_other_cell_is_told_of_no_reference():
    target = replace(from_function(lstm), can=frozenset())
    (said,) = find_hints(target, verify_case(target, CASE))
    assert "--cell plain,f=hardsigmoid6, which is for a function in the vjp form" in said
    assert said.endswith("--no-reference judges it so")


@pytest.mark.usefixtures("hard")
def test_in_low_precision_there_are_no_hints():
    pytest.importorskip("ml_dtypes")
    case = replace(CASE, dtype="bfloat16")
    assert verify_case(from_function(lstm), case).failures
    assert hints(lstm, case) == ()


@pytest.mark.usefixtures("squared")
def test_of_no_known_cell_the_two_ways_are_named():
    assert find_cell(from_function(lstm)) is None
    said = "if it is meant so, try --cell NAME, where it is one that is known, or --no-reference"
    assert hints(lstm) == (f"consistent, but another forward pass: {said}",)


def test_a_wrong_pullback_of_a_wrong_forward_pass_is_not_called_consistent(squared, monkeypatch):
    monkeypatch.setattr(plain_lstm, "slope_of_logistic", lambda y: y * (1 - y))
    assert hints(lstm) == ()


@pytest.mark.parametrize("fault", ["carry-dropped", "mean-over-samples", "dh0-dc0-swapped"])
def test_a_wrong_pullback_alone_has_no_hint(fault):
    found = find(fault)
    target = fault_target(found)
    report = verify_case(target, Case.parse(found.example))
    assert report.failures
    assert find_hints(target, report) == ()


@pytest.mark.parametrize("name", ["gru", "gru_reset_after", "rnn"])
def test_of_a_cell_without_a_memory_its_own_activations_alone_are_tried(name):
    """A wrong forward pass whose gradient fits it is told as such, and nothing is lost of what else is known."""
    cell = cell_named(name)
    told = {other.name for other in _others(cell)}
    assert f"{name},g=relu" in told
    assert (f"{name},f=hardsigmoid6" in told) is (name != "rnn")
    assert not [other for other in told if "h=" in other]
    fault = "state-residual" if name == "rnn" else "update-gate-the-other-way"
    assert find_cell(fault_target(find(fault, cell), cell=cell)) is None


def test_coupled_gates_are_found_where_three_arrays_are_of_no_use():
    found = find_cell(fault_target(find("coupled-gates")))
    assert found is not None
    assert found.name == "coupled"
    assert find_cell(fault_target(cell=PLAIN)) is None


def test_what_is_right_in_float32_alone_is_told_the_dtype():
    def single(p, X, h0, C0):
        inputs = [array.astype(np.float32) for array in (X, h0, C0)]
        return lstm({name: array.astype(np.float32) for name, array in p.items()}, *inputs)

    said = ("right in float32: if it computes in that alone, --dtype float32",)
    assert hints(single) == said
    target = from_function(single)
    assert find_hints(target, verify_case(target, CASE, reference=False)) == said


def test_what_is_right_in_float64_alone_is_told_the_dtype():
    def double(p, X, h0, C0):
        outputs, pullback = lstm(p, X, h0, C0)
        # As where a comparison times a number of Python's is a factor of it.
        return outputs, lambda dh, dCn: {name: np.float64(1) * value for name, value in pullback(dh, dCn).items()}

    said = ("right in float64: if it computes in that alone, --dtype float64",)
    assert hints(double, replace(CASE, dtype="float32")) == said
    assert hints(double) == ()


def test_what_is_asked_for_in_a_dtype_that_it_refuses_is_told_the_other():
    def refuses(p, X, h0, C0):
        if X.dtype != np.float32:
            raise TypeError("single precision only")
        return lstm(p, X, h0, C0)

    target = from_function(refuses)
    *_, hint, last = render_report(verify(target, examples=2, dtypes=("float64",))).splitlines()
    assert hint == "  hint      it computes in float32 alone: --dtype float32"
    assert last.startswith("NOTHING JUDGED")
    assert "  hint  " not in render_report(verify(target, examples=2))


@pytest.mark.parametrize(
    ("axes", "least", "words"),
    [
        ("m", "2,1,1,1", "m = 1"),
        ("eu", "1,1,2,2", "e = 1 or u = 1"),
        ("mseu", "2,2,2,2", "m = 1, s = 1, e = 1 or u = 1"),
    ],
)
def test_what_breaks_at_a_size_of_1_is_told_the_least_sizes(axes, least, words):
    def breaks(p, X, h0, C0):
        sizes = dict(zip("mseu", (*X.shape, h0.shape[1]), strict=True))
        if any(sizes[letter] == 1 for letter in axes):
            raise ValueError("cannot squeeze")
        return lstm(p, X, h0, C0)

    (said,) = hints(breaks, Case(1, 1, 1, 1))
    assert said == f"right without {words}: if no such sizes are meant, --min-dims {least}"


def test_a_hint_stands_before_the_command_that_reruns():
    def breaks(p, X, h0, C0):
        return (lstm(p, X, h0, C0)[0][0][:, :, 0], None), None

    def of_one(p, X, h0, C0):
        if len(X) == 1:
            raise ValueError("a batch of one")
        return lstm(p, X, h0, C0)

    target = from_function(of_one)
    lines = render_case("mine:lstm", explain(target, verify_case(target, CASE))).splitlines()
    assert lines[-2].startswith("  hint      right without m = 1")
    assert lines[-1].startswith("  rerun     lstm-checks verify mine:lstm --case ")
    assert hints(breaks) == (), "what is wrong at all sizes is not helped by larger ones"


LEAST = SizeLimits(least=(("m", 2), ("u", 3)))


def test_no_example_is_below_the_least_sizes_and_none_is_missed_for_it():
    target = replace(from_function(lstm), limits=LEAST)
    options = draw_options(target, dtypes=("float64",), max_dims=(4, 5, 4, 4))
    drawn = draw_cases(30, 0, **options)
    assert len(drawn) == 30
    assert {case.m for case in drawn} <= {2, 3, 4}
    assert {case.u for case in drawn} <= {3, 4}
    assert 1 in {case.s for case in drawn}
    assert not {"m = 1"} & {*reachable_strata(**options)}
    assert {"s = 1", "m = u", "e > u"} <= {*reachable_strata(**options)}


def test_a_target_that_breaks_below_the_least_sizes_passes_with_them():
    def of_two(p, X, h0, C0):
        if len(X) < 2 or h0.shape[1] < 3:
            raise ValueError("too small")
        return lstm(p, X, h0, C0)

    assert verify(replace(from_function(of_two), limits=LEAST), examples=12, max_dims=(4, 5, 4, 4)).exit_code == 0


def test_the_command_that_reruns_a_case_says_the_least_sizes():
    target = replace(fault_target(find("carry-dropped")), limits=LEAST)
    report = verify_case(target, Case(2, 2, 1, 3))
    assert rerun_command("mine:lstm", report).endswith("--case m2s2e1u3-float64-seed0 --min-dims 2,1,1,3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--min-dims", "2,1,1,1", "--max-dims", "1,3,3,3"),
            "--min-dims has m = 2, expected at most that of --max-dims",
        ),
        (("--min-dims", "2,1,1,1,1"), "--min-dims has 5 sizes, expected M,S,E,U"),
        (
            ("--case", "m1s1e1u1-float64-seed0", "--min-dims", "2,1,1,1"),
            "has a size m of 1, which --min-dims leaves out",
        ),
        (("--min-dims", "2,1,1,1", "--executor", "processes"), "--executor does not go with --min-dims"),
    ],
)
def test_least_sizes_that_make_no_sense_are_refused(arguments, words, capsys):
    assert main(("verify", *arguments, *(["--in-process"] if "--executor" not in arguments else []))) == 2
    assert words in capsys.readouterr().err


def test_least_sizes_are_those_of_the_examples(capsys):
    assert (
        main(("verify", "lstm_ref:LSTM", "--in-process", "--examples", "3", "--min-dims", "2,2,2,2", "--json", "-"))
        == 0
    )
    assert '"case": "m1' not in capsys.readouterr().out


def test_what_goes_on_from_call_to_call_is_no_other_cell():
    last = {}

    def stateful(p, X, h0, C0):
        given = (h0, C0) if h0.any() or C0.any() else last.get(h0.shape, (h0, C0))
        outputs, pullback = plain_lstm.plain_lstm(p, X, *given)
        last[h0.shape] = outputs[0][:, -1].copy(), outputs[1].copy()
        return outputs, lambda dh, dCn: pullback(dh, dCn, np.zeros_like(h0))

    target, case = from_function(stateful), Case(1, 2, 1, 1, states=False)
    said = render_case("stateful", explain(target, verify_case(target, case)))
    assert "suspect   states-carried-over" in said
    assert "consistent, but another" not in said
    assert "fits its own forward pass" not in said
