"""Asked again, in part, of arrays laid out otherwise: silent on what is right, and each sees what it is for."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from asking_cases import CASE, OF_DERIVED, claim, plain
from hypothesis import given
from hypothesis import strategies as st

import lstm_ref
from lstm_checks import tolerance
from lstm_checks.arrangement import ARRANGEMENTS, REORDERED, arrange, expand
from lstm_checks.asking.claims import ALL, LEARNING, NAMES, REPEATABLE, ROTATED, rotation, why_not
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.faults import asked
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.strategies import cases, draw_cases
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer
from lstm_checks.workers.remote import Loading
from lstm_checks.workers.worker import _Given
from lstm_ref.cells import cell_named

OF_A_PULLBACK = tuple(name for name in ROTATED if name not in OF_DERIVED.values())
"""The questions of this file."""

EACH = {"C": Case(3, 4, 2, 3, cotangents="C", seed=7), "every": Case(3, 4, 2, 3, cotangents="every", seed=7)}


def question_of(fault):
    """The question that is to see a fault."""
    words = {
        "pullback": "second pullback" if "first-pullback" in fault.id or "overwritten" in fault.id else None,
        "remembered": "second pullback",
        "pass": "two passes alive",
        "by-pullback": "parameters changed",
        "absent": "absent cotangents",
        "frozen": "inputs without gradient",
        "buffer": "memory layout",
        "pointer": "memory layout",
        "expanded": "expanded cotangents",
        "no-samples": "empty batch",
    }
    if "overwritten" in fault.id or "first-pullback" in fault.id:
        return "second pullback"
    return next((question for word, question in words.items() if question and word in fault.id), REPEATABLE)


@pytest.mark.parametrize("fault", asked.FAULTS, ids=lambda fault: fault.id)
def test_a_fault_is_seen_by_its_question_alone(fault):
    question = question_of(fault)
    if question == REPEATABLE:
        target = fault_target(fault)
        case = replace(CASE, seed=1)
        claims = [verify_case(target, case, properties=()).claim(REPEATABLE) for _ in range(3)]
        assert any(one is not None and ("calls differ" in one.reason or one.discrepancy) for one in claims)
        found = verify_case(fault_target(fault), case, properties=(), repeat=1500)
        assert found.failures
        return
    case = EACH["C" if "-dh-" in fault.id else "every"] if question == "absent cotangents" else CASE
    others = tuple(name for name in OF_A_PULLBACK if name != question)
    assert not verify_case(fault_target(fault), case, properties=()).failures
    seen = [claim(fault_target(fault), question, replace(case, seed=seed)) for seed in range(8)]
    failed = [one for one in seen if one.verdict is Verdict.FAIL]
    assert failed
    assert failed[0].discrepancy.kind == "asked"
    if fault.id != "forward-run-again-by-pullback":
        assert not {c.name for c in verify_case(fault_target(fault), case, properties=others).failures} - {question}


def test_each_item_has_five_faults_of_its_own():
    of = [question_of(fault) for fault in asked.FAULTS]
    again = {"second pullback", "two passes alive", "parameters changed"}
    part, laid = (
        {"absent cotangents", "inputs without gradient"},
        {"memory layout", "expanded cotangents", "empty batch"},
    )
    for group in (again, part, laid, {REPEATABLE}):
        assert sum(question in group for question in of) >= 5, group
    assert {*of} == {*ROTATED, REPEATABLE} - {*OF_DERIVED.values()}


@given(cases())
def test_what_is_right_answers_every_question(case):
    report = verify_case(fault_target(), case, properties=OF_A_PULLBACK)
    assert not report.failures


def test_a_right_layer_and_a_right_function_answer_what_they_can_be_asked():
    layer = verify_case(from_layer(lstm_ref.LSTM), EACH["every"], properties=ROTATED)
    verdicts = {name: layer.claim(name).verdict for name in ROTATED}
    assert not layer.failures
    for name in ("second pullback", "two passes alive", "absent cotangents", "memory layout", "expanded cotangents"):
        assert verdicts[name] is Verdict.PASS, name
    for name in ("parameters changed", "inputs without gradient", "empty batch"):
        assert verdicts[name] is Verdict.UNSUPPORTED, name
        assert layer.claim(name).reason
    function = verify_case(from_function(plain), EACH["every"], properties=ROTATED)
    assert not function.failures
    assert function.claim("absent cotangents").verdict is Verdict.PASS
    assert function.claim("parameters changed").reason.startswith("its pullback reads the parameters' arrays")


def test_a_network_is_asked_again_and_of_arrays_laid_out_otherwise_at_the_lengths_of_its_samples():
    net = cell_named("plain@2xboth")
    case = Case(3, 4, 2, 3, cell=net, lengths="ragged", cotangents="every+C", seed=7)
    right = verify_case(fault_target(cell=net), case, properties=ROTATED)
    verdicts = {name: right.claim(name).verdict for name in ROTATED}
    asked_so = ("second pullback", "two passes alive", "parameters changed", "memory layout", "training")
    assert not right.failures
    assert {verdicts[name] for name in asked_so} == {Verdict.PASS}
    assert right.claim("second order").reason == "it is a network, of which this is not asked"
    wrong = verify_case(fault_target(find("input-weights-read-by-pullback"), cell=net), case, properties=ROTATED)
    assert {one.name for one in wrong.failures} == {"parameters changed"}


def test_a_function_that_says_it_keeps_its_parameters_must():
    def keeps(p, X, h0, C0):
        return plain({name: value.copy() for name, value in p.items()}, X, h0, C0)

    def says(p, X, h0, C0):
        return plain(p, X, h0, C0)

    says.keeps_parameters = True
    assert claim(from_function(keeps), "parameters changed").verdict is Verdict.PASS
    found = claim(from_function(says), "parameters changed")
    assert found.verdict is Verdict.FAIL
    assert found.discrepancy.message.startswith("with the parameters changed in place between the forward pass and its")


def test_who_refuses_is_not_passed_or_has_refused_rightly():
    def once(p, X, h0, C0):
        outputs, pullback = plain(p, X, h0, C0)
        kept = [{name: value.copy() for name, value in p.items()}]

        def pull(dh, dCn):
            before = kept.pop()
            if any(not np.array_equal(p[name], value) for name, value in before.items()):
                raise RuntimeError("the parameters were changed in place")
            return pullback(dh, dCn)

        return outputs, pull

    second = claim(from_function(once), "second pullback")
    assert second.verdict is Verdict.UNSUPPORTED
    assert "there is no second pullback of a forward pass: the pullback raised IndexError" in second.reason
    changed = claim(from_function(once), "parameters changed")
    assert changed.verdict is Verdict.PASS
    assert changed.reason.startswith("refused: the pullback raised RuntimeError: the parameters were changed in place")


def test_an_array_that_cannot_be_viewed_flat_fails_where_its_cotangent_is_expanded():
    def views(p, X, h0, C0):
        outputs, pullback = plain(p, X, h0, C0)

        def pull(dh, dCn):
            if not dh.flags.c_contiguous:
                raise ValueError("view size is not compatible with strides")
            return pullback(dh, dCn)

        return outputs, pull

    for question in ("memory layout", "expanded cotangents"):
        message = claim(from_function(views), question).discrepancy.message
        assert "the pullback raised ValueError: view size is not compatible" in message


def test_of_an_array_laid_out_otherwise_the_one_that_fails_is_named():
    message = claim(fault_target(find("buffer-of-x-taken")), "memory layout").discrepancy.message
    assert message.startswith(tuple(f"with X {how}, " for how in REORDERED))


@given(st.sampled_from([*ARRANGEMENTS]), st.lists(st.integers(0, 4), max_size=3).map(tuple))
def test_an_arrangement_has_the_same_numbers_elsewhere(how, shape):
    array = np.array(np.random.default_rng(shape).standard_normal(shape))
    laid = arrange(array, how)
    assert laid.tobytes() == array.tobytes()
    assert (laid.shape, laid.dtype) == (array.shape, array.dtype)
    if len(shape) == 3 and min(shape) > 1:
        flags = laid.flags
        assert not (flags.c_contiguous and flags.writeable and flags.aligned)
        assert expand(array).strides == (0, 0, 0)


@pytest.mark.parametrize("how", [*ARRANGEMENTS, "expanded"])
def test_an_array_lies_in_the_other_process_as_it_does_here(how):
    array = np.arange(24.0).reshape(2, 3, 4)
    laid = expand(array) if how == "expanded" else arrange(array, how)
    flags = laid.flags
    there = _Given(laid.dtype, laid.shape, None if flags.c_contiguous else laid.strides, flags.writeable, flags.aligned)
    assert there.array.strides == laid.strides
    assert there.array.flags.aligned == laid.flags.aligned


def test_all_questions_are_asked_in_another_process_alike(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from lstm_checks.faults.catalogue import find\nfrom lstm_checks.faults.model import fault_target\n"
        "right = fault_target()\n"
        + "".join(f"f{k} = fault_target(find({f.id!r}))\n" for k, f in enumerate(asked.FAULTS[::4]))
    )
    names = ["right", *(f"f{k}" for k in range(len(asked.FAULTS[::4])))]
    for name, fault in zip(names, [None, *asked.FAULTS[::4]], strict=True):
        with Loading(f"{path}:{name}") as loading:
            there = verify_case(loading.target(), EACH["every"], properties=OF_A_PULLBACK)
        here = verify_case(fault_target(*([fault] if fault else [])), EACH["every"], properties=OF_A_PULLBACK)
        told = ([(c.name, c.verdict, c.discrepancy and c.discrepancy.message) for c in r.claims] for r in (there, here))
        one, other = told
        assert one == other, name


def test_every_question_comes_in_turn_and_none_that_cannot_be_asked():
    drawn = [*draw_cases(100, 0)]
    target = fault_target()
    found = [name for case in drawn for name in rotation(target, case)]
    assert len(found) <= tolerance.QUESTIONS * len(drawn)
    assert all(found.count(name) >= 5 for name in ROTATED), {name: found.count(name) for name in ROTATED}
    layer = from_layer(lstm_ref.LSTM)
    assert not any(why_not(layer, name) for case in drawn for name in rotation(layer, case))
    compiled = replace(target, compiles=True)
    of_shapes = {}
    for case in drawn:
        asked_new = {name for name in rotation(compiled, case) if ALL[name].new_program}
        of_shapes.setdefault(case.dims, set()).update(asked_new)
    assert all(len(names) <= tolerance.ASKED_OF_COMPILED for names in of_shapes.values())
    assert set().union(*of_shapes.values()) == {name for name in ROTATED if ALL[name].new_program}


def test_calls_that_differ_are_repeated_and_their_spread_is_said():
    rng = np.random.default_rng(0)

    def unsteady(p, X, h0, C0):
        outputs, pullback = plain(p, X, h0, C0)

        def pull(dh, dCn):
            gradients = pullback(dh, dCn)
            gradients["dUf"] = gradients["dUf"] * (1 + 2e-16 * rng.standard_normal(gradients["dUf"].shape))
            return gradients

        return outputs, pull

    found = claim(from_function(unsteady), REPEATABLE)
    assert found.verdict is Verdict.PASS
    assert f"of {2 + tolerance.REPEATS} calls differ" in found.reason
    assert claim(from_function(plain), REPEATABLE) == replace(found, use=0.0, reason="")
    report = verify(from_function(unsteady), examples=5, max_dims=(2, 3, 2, 2), dtypes=("float64",))
    assert "of the tolerance at most" in render_report(report)


def test_a_rare_wrong_value_is_met_by_repetition_with_its_figure():
    calls = [0]

    def rare(p, X, h0, C0):
        outputs, pullback = plain(p, X, h0, C0)

        def pull(dh, dCn):
            calls[0] += 1
            gradients = pullback(dh, dCn)
            return gradients | {"dX": 0 * gradients["dX"]} if calls[0] % 30 == 0 else gradients

        return outputs, pull

    target = from_function(rare)
    assert not verify_case(target, CASE, properties=()).failures
    message = claim(target, REPEATABLE, repeat=40).discrepancy.message
    assert message.startswith("of 40 calls with the same inputs 1 gave another answer than the first: dX[")
    assert "times what rounding explains" in message


def test_a_failure_says_what_was_asked_and_what_cannot_be():
    target = fault_target(find("gates-overwritten-by-pullback"))
    report = verify(target, examples=30, max_dims=(2, 3, 2, 2))
    text = render_report(report)
    assert report.exit_code == 1
    assert "at the second pullback of one forward pass, after one of other cotangents, d" in text
    assert report.failure.signature == {"second pullback"}
    one = explain(target, verify_case(target, CASE, properties=ROTATED))
    assert "rerun" in render_failure("it", one)
    right = render_report(verify(from_layer(lstm_ref.LSTM), examples=12, max_dims=(2, 3, 2, 2)))
    assert "  not asked parameters changed: its arrays cannot be changed by who calls it" in right.splitlines()
    assert "  asked     second pullback " in right
    assert not set(NAMES) - {*ROTATED, LEARNING, REPEATABLE}


def test_the_command_asks_by_name_and_says_what_it_cannot(tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "lstm_checks", "verify", "lstm_ref:LSTM", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("--case", "m1s1e1u1-float64-seed0", "--properties", "second-pullback", "--repeat", "3")
    assert done.returncode == 0
    assert "second pullback               pass" in done.stdout
    refused = run("--examples", "1", "--frozen", "bias")
    assert refused.returncode == 2
    assert (
        "--frozen 'bias' is no array that does not learn, expected none, since all its arrays learn" in refused.stderr
    )
