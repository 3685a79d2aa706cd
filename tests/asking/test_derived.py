"""Forwards, twice, sample by sample, trained, in threads: silent on what is right, and each sees what it is for."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from asking_cases import CASE, OF_DERIVED, claim, plain
from hypothesis import given, settings

import lstm_ref
from lstm_checks import tolerance
from lstm_checks.arithmetic.dual import along
from lstm_checks.asking.claims import ROTATED, asked_claims
from lstm_checks.calling import call_target
from lstm_checks.cases import Arrays, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN, TWICE
from lstm_checks.faults import derived
from lstm_checks.faults.differentiated import answer_in, tangent_of
from lstm_checks.faults.model import fault_target
from lstm_checks.faults.second_order import second_order_faults
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.derivatives import direction_of, expect_along
from lstm_checks.oracles.expected import expect
from lstm_checks.strategies import cases
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer
from lstm_checks.workers.remote import Loading
from lstm_ref.cell import evaluate, evaluate_forward
from lstm_ref.cells import CELLS, cell_named


def question_of(fault):
    """The question that is to see a fault."""
    return OF_DERIVED[fault.id.partition("-")[0]]


@pytest.mark.parametrize("fault", derived.FAULTS, ids=lambda fault: fault.id)
def test_a_fault_is_seen_by_its_question_alone(fault):
    assert not verify_case(fault_target(fault), CASE, properties=()).failures
    found = verify_case(fault_target(fault), CASE, properties=ROTATED)
    assert {one.name for one in found.failures} == {question_of(fault)}
    assert found.failures[0].discrepancy.kind == "asked"


def test_each_question_has_faults_of_its_own():
    of = [question_of(fault) for fault in derived.FAULTS]
    assert {*of} == {*OF_DERIVED.values()}
    assert all(of.count(name) >= 5 for name in OF_DERIVED.values())


@pytest.mark.parametrize("name", [*CELLS, "plain,f=hardsigmoid6,g=relu,h=softplus", "plain+h0+C0"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_due_along_a_direction_is_the_complex_step(name, dtype):
    cell = cell_named(name)
    case = Case.of(range(2, 2 + len(cell.letters)), cell=cell, seed=3, dtype=dtype)
    direction = direction_of(case)
    due = expect_along(case, direction, expect(case), backward=True)
    arrays = case.arrays.astype(np.float64)
    step = arrays.replaced(**{n: arrays[n] + 1e-30j * v.astype(np.float64) for n, v in direction.items()})
    for tensor, value in evaluate(cell, step).items():
        found = due.values[f"{'t' if tensor in cell.outputs else 'd'}{tensor}"]
        assert np.max(np.abs(np.imag(value) / 1e-30 - found)) <= 1e-12 * max(1, np.max(np.abs(found)))


@settings(max_examples=20)
@given(cases())
def test_what_is_right_answers_every_question(case):
    assert not verify_case(fault_target(), case, properties=tuple(OF_DERIVED.values())).failures


def test_faults_of_second_order_are_killed():
    faults = second_order_faults(slips_each=12)
    assert len(faults) >= 100
    assert sum("detached" in fault.title for fault in faults) >= 40
    seeds = [replace(CASE, seed=seed) for seed in range(3)]
    right = [(case, call_target(fault_target(), case.arrays, True), expect(case)) for case in seeds]
    alive = []
    for fault in faults:
        target = fault_target(fault)
        first = call_target(target, seeds[0].arrays, True).values
        assert all(value.tobytes() == right[0][1].values[name].tobytes() for name, value in first.items())
        for case, outcome, due in right:
            (found,) = asked_claims(target, case, outcome, due, ("second order",))
            if found.verdict is Verdict.FAIL:
                break
        else:
            alive.append(fault.title)
    assert not alive


def pushforward(primals, tangents):
    """Forward mode of the LSTM in the form of a rule of jax.custom_jvp."""
    (p, X, h0, C0), (tp, tX, th0, tC0) = primals, tangents
    values, moving = {**p, "X": X, "h0": h0, "C0": C0}, {**tp, "X": tX, "h0": th0, "C0": tC0}
    found = evaluate_forward(CELLS["plain"], Arrays(along(values, moving)))
    return tuple(v.value for v in found.values()), tuple(tangent_of(v) for v in found.values())


def with_pushforward(rule):
    """The function with a pushforward of its own."""

    def lstm(p, X, h0, C0):
        return plain(p, X, h0, C0)

    lstm.pushforward = rule
    return from_function(lstm)


def test_a_functions_own_pushforward_is_judged():
    assert claim(with_pushforward(pushforward), "forward mode").verdict is Verdict.PASS
    assert claim(from_function(plain), "forward mode").verdict is Verdict.UNSUPPORTED

    def told(rule):
        found = claim(with_pushforward(rule), "forward mode")
        assert found.verdict is Verdict.FAIL
        return found.discrepancy.message

    assert "differentiated forwards by pushforward, along a direction of all inputs, t" in told(
        lambda primals, tangents: pushforward(primals, ({**tangents[0], "bf": 0 * tangents[0]["bf"]}, *tangents[1:]))
    )
    assert "again h" in told(
        lambda p, t: ((pushforward(p, t)[0][0] + 1e-6, pushforward(p, t)[0][1]), pushforward(p, t)[1])
    )
    assert "the pushforward returned None, expected ((h, Cn), the tangents in the same form)" in told(lambda p, t: None)
    assert "raised ZeroDivisionError" in told(lambda p, t: 1 / 0)


def hessian_vector_product(primals, tangents, cotangents):
    """Second order of the LSTM, of its own backward pass in dual numbers."""
    (p, X, h0, C0), (tp, tX, th0, tC0) = primals, tangents
    along = {f"t{name}": value for name, value in {**tp, "X": tX, "h0": th0, "C0": tC0}.items()}
    given = dict(zip(("dh", "dCn"), cotangents, strict=True))
    found = answer_in(TWICE[1], PLAIN, plain, {**p, "X": X, "h0": h0, "C0": C0})(given | along)
    return {name[1:]: value for name, value in found.items()}


def test_a_functions_own_hessian_vector_product_is_judged():
    def with_product(product, flat=False):
        def lstm(p, X, h0, C0):
            if not flat:
                return plain(p, X, h0, C0)
            outputs, pullback = plain({n: v.reshape(1, -1) if v.ndim == 1 else v for n, v in p.items()}, X, h0, C0)
            return outputs, lambda dh, dCn: {n: v[0] if n[:2] == "db" else v for n, v in pullback(dh, dCn).items()}

        lstm.hessian_vector_product = product
        return from_function(lstm)

    right = with_product(hessian_vector_product)
    assert claim(right, "second order").verdict is Verdict.PASS
    assert claim(right, "second order", reference=False).verdict is Verdict.PASS
    assert claim(from_function(plain), "second order").verdict is Verdict.UNSUPPORTED

    def flat(primals, tangents, cotangents):
        def whole(p, *others):
            return {n: v.reshape(1, -1) if v.ndim == 1 else v for n, v in p.items()}, *others

        found = hessian_vector_product(whole(*primals), whole(*tangents), cotangents)
        return {n: v[0] if n[:2] == "db" else v for n, v in found.items()}

    assert claim(with_product(flat, flat=True), "second order").verdict is Verdict.PASS

    def told(product):
        found = claim(with_product(product), "second order")
        assert found.verdict is Verdict.FAIL
        return found.discrepancy.message

    done = "differentiated twice by Hessian-vector product, the gradients along a direction of all inputs, "
    lost = told(lambda *given: hessian_vector_product(*given) | {"dUf": np.zeros((2, 3))})
    assert lost.startswith(f"{done}ddUf[")
    assert told(lambda *given: 3).startswith(f"{done}hessian_vector_product returned an int, expected the derivative")
    assert "raised ZeroDivisionError" in told(lambda *given: 1 / 0)
    assert "ddX" in told(lambda *given: {n: v for n, v in hessian_vector_product(*given).items() if n != "dX"})


def test_samples_may_have_parameters_of_their_own():
    """A rule for `vmap` that takes the first sample's parameters for everybody's is right where all have the same."""
    fault = next(fault for fault in derived.FAULTS if fault.id == "mapped-biases-of-first")
    message = claim(fault_target(fault), "samples apart").discrepancy.message
    assert message.startswith("mapped over samples, each with parameters of its own, of sample 1 by itself, ")
    # Of what is compiled all cases of one shape ask for one program, and some shapes for that one.
    compiled, seen = replace(fault_target(fault), compiles=True), set()
    for m in range(2, 8):
        of_shape = {claim(compiled, "samples apart", Case(m, 2, 2, 2, seed=seed)).verdict for seed in range(3)}
        assert len(of_shape) == 1
        seen |= of_shape
    assert seen == {Verdict.PASS, Verdict.FAIL}


def test_without_a_reference_forward_and_backward_pass_judge_each_other():
    right = verify_case(fault_target(), CASE, properties=("forward mode", "second order"), reference=False)
    assert {right.claim(name).verdict for name in ("forward mode", "second order")} == {Verdict.PASS}
    seen = {}
    for fault in derived.FAULTS:
        if question_of(fault) in ("forward mode", "second order"):
            report = verify_case(fault_target(fault), CASE, properties=(question_of(fault),), reference=False)
            seen[fault.id] = report.claim(question_of(fault))
    messages = [one.discrepancy.message for one in seen.values() if one.verdict is Verdict.FAIL]
    assert len(messages) >= 10
    assert any("<w, Hv> of two of them is" in message for message in messages)
    assert any("the cotangents' product with it is" in message for message in messages)


def test_threads_are_asked_where_a_target_says_it_may_be():
    workspace = {}
    lock = threading.Lock()

    def shared(p, X, h0, C0):
        workspace["X"] = X
        time.sleep(1e-3)  # in which another thread comes
        return plain(p, workspace["X"], h0, C0)

    def locked(p, X, h0, C0):
        with lock:
            return shared(p, X, h0, C0)

    assert claim(from_function(shared), "several threads").verdict is Verdict.UNSUPPORTED
    shared.thread_safe = locked.thread_safe = True
    found = [claim(from_function(shared), "several threads", replace(CASE, seed=seed)) for seed in range(10)]
    failed = [one for one in found if one.verdict is Verdict.FAIL]
    assert failed
    assert "called from several threads at once, as it says it may be, " in failed[0].discrepancy.message
    assert claim(from_function(locked), "several threads").verdict is Verdict.PASS

    class Layer(lstm_ref.LSTM):
        thread_safe = True

    assert claim(from_layer(Layer), "several threads").verdict is Verdict.PASS


def test_a_layer_is_trained_with_its_own_step():
    class Stale(lstm_ref.LSTM):
        kept = None

        def update_parameters(self):
            self.kept = self.p["Vf"].copy()
            for name in self.p:
                self.p[name] -= self.lrate[self.e] * self.g[f"d{name}"]

        def forward(self, X, h0=None, C0=None):
            now = self.p["Vf"]
            self.p["Vf"] = now if self.kept is None else self.kept
            outputs = super().forward(X, h0, C0)
            self.p["Vf"] = now
            return outputs

    assert claim(from_layer(lstm_ref.LSTM), "training").verdict is Verdict.PASS
    found = claim(from_layer(Stale), "training")
    assert found.verdict is Verdict.FAIL
    assert "after" in found.discrepancy.message


def test_the_questions_are_asked_in_another_process_alike(tmp_path):
    path = tmp_path / "mine.py"
    faults = derived.FAULTS[::5]
    path.write_text(
        "from lstm_checks.faults.catalogue import find\nfrom lstm_checks.faults.model import fault_target\n"
        "right = fault_target()\n" + "".join(f"f{k} = fault_target(find({f.id!r}))\n" for k, f in enumerate(faults))
    )
    asked = tuple(OF_DERIVED.values())
    for name, fault in [("right", ()), *((f"f{k}", (f,)) for k, f in enumerate(faults))]:
        with Loading(f"{path}:{name}") as loading:
            there = verify_case(loading.target(), CASE, properties=asked)
        here = verify_case(fault_target(*fault), CASE, properties=asked)
        told = ([(c.name, c.verdict, c.discrepancy and c.discrepancy.message) for c in r.claims] for r in (there, here))
        one, other = told
        assert one == other, name


def test_the_noise_of_a_product_is_that_of_its_terms():
    for dtype in ("float64", "float32"):
        assert tolerance.accepted_products(1.0, 0.0, dtype) <= tolerance.PROPERTY_RESOLUTION
        assert tolerance.accepted_products(1.0, 1.0, dtype) > tolerance.PROPERTY_RESOLUTION
