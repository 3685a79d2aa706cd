"""Faults of a gradient that is right, in what is asked besides: forwards, twice, sample by sample, trained, in threads.

Each is a wrapper round a target, as in `asked.py`: only who asks that question sees it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.contract import FORWARDS, SAMPLES, THREADS, TWICE, Target
from lstm_checks.faults.model import Fault, in_backward, in_forward, in_gradients
from lstm_checks.faults.second_order import patched_in

_fault = partial(Fault, family="asked")


def _still(wanted: Callable[[str], bool]) -> Callable[[Target], Target]:
    """Return a wrapper that takes some inputs for still where the target is differentiated forwards."""

    def wrap(target: Target) -> Target:
        def call_as(inputs: Any, sequences: bool, how: Mapping[str, Any]) -> Any:
            assert target.call_as is not None
            outputs, answer = target.call_as(inputs, sequences, how)
            if how.get("way") not in FORWARDS:
                return outputs, answer
            return outputs, lambda given: answer({n: 0 * v if wanted(n[1:]) else v for n, v in given.items()})

        return replace(target, call_as=call_as)

    return wrap


def _in_way(
    way: str, spoil: Callable[[Target, dict[str, Any], Any, Any], dict[str, Any]]
) -> Callable[[Target], Target]:
    """Return a wrapper that gives `spoil(target, answer, inputs, given)` where it is asked in one way."""

    def wrap(target: Target) -> Target:
        def call_as(inputs: Any, sequences: bool, how: Mapping[str, Any]) -> Any:
            assert target.call_as is not None
            kept = {name: np.array(value) for name, value in inputs.items()}
            outputs, answer = target.call_as(inputs, sequences, how)
            if how.get("way") != way:
                return outputs, answer
            return outputs, lambda given: spoil(target, dict(answer(given)), kept, given)

        return replace(target, call_as=call_as)

    return wrap


def _of_batch(share: Callable[[int], float]) -> Callable[..., dict[str, Any]]:
    """Return what gives each sample the parameters' gradients of the whole batch, times a share of the samples."""

    def spoil(target: Target, answer: dict[str, Any], inputs: Any, given: Any) -> dict[str, Any]:
        whole = target.call(inputs)[1](given)
        parameters = {f"d{name}" for name in target.cell.parameters}
        own = ((key, key.partition(": ")[2]) for key in answer)
        return answer | {key: share(len(inputs["X"])) * whole[name] for key, name in own if name in parameters}

    return spoil


def _first_for_all(wanted: Callable[[str], bool]) -> Callable[[Target], Target]:
    """Return a wrapper that maps over samples with some inputs, cotangents or parameters of the first one for all."""

    def held(of: Any) -> dict[str, Any]:
        return {n: np.repeat(v[:1], len(v), 0) if wanted(n) else v for n, v in of.items()}

    def wrap(target: Target) -> Target:
        def call_as(inputs: Any, sequences: bool, how: Mapping[str, Any]) -> Any:
            assert target.call_as is not None
            if how.get("way") != SAMPLES:
                return target.call_as(inputs, sequences, how)
            outputs, _ = target.call_as(inputs, sequences, {})
            of_samples = {n: v for n, v in inputs.items() if n not in target.cell.parameters}
            each = [name for name in how.get("each", ()) if not wanted(name)]
            _, answer = target.call_as({**inputs, **held(of_samples)}, sequences, {**how, "each": each})
            return outputs, lambda given: answer(held(given))

        return replace(target, call_as=call_as)

    return wrap


def _turned(target: Target, answer: dict[str, Any], inputs: Any, given: Any) -> dict[str, Any]:
    """Return the parameters' gradients of the samples in the reverse order."""
    last, parameters = len(inputs["X"]) - 1, {f"d{name}" for name in target.cell.parameters}
    other = {key: key.partition(": ") for key in answer}
    return {
        key: answer[f"{last - int(number)}: {name}"] if name in parameters else answer[key]
        for key, (number, _, name) in other.items()
    }


def _kept_while_x_is(wanted: Callable[[str], bool], in_pullback: bool = False) -> Callable[[Target], Target]:
    """Return a wrapper that keeps some parameters, packed, while it is given the same arrays with the same X."""

    def wrap(target: Target) -> Target:
        kept: dict[str, Any] = {}

        def call(inputs: Any, sequences: bool = True) -> Any:
            names = [name for name in target.cell.parameters if wanted(name)]
            same = kept and all(kept["of"][name] is inputs[name] for name in ("X", *names))
            if not same or not np.array_equal(kept["X"], inputs["X"]):
                kept.update(of=dict(inputs), X=np.array(inputs["X"]), packed={n: np.array(inputs[n]) for n in names})
            stale = {**inputs, **kept["packed"]}
            if not in_pullback:
                return target.call(stale, sequences)
            return target.call(inputs, sequences)[0], target.call(stale, sequences)[1]

        return replace(target, call=call)

    return wrap


def _of_other_thread(names: Callable[[str], bool], added: bool = False) -> Callable[..., dict[str, Any]]:
    """Return what gives a thread some values that another has meanwhile written into one workspace, or added there."""

    def spoil(target: Target, answer: dict[str, Any], inputs: Any, given: Any) -> dict[str, Any]:
        outputs, pullback = target.call({name: -value for name, value in inputs.items()})
        found = {**outputs, **pullback(given)}
        own = ((key, key.partition(": ")[2]) for key in answer)
        return answer | {key: found[name] + (answer[key] if added else 0) for key, name in own if names(name)}

    return spoil


_FORWARDS = "No equation is violated in the gradient; forward mode, written apart,"
_TWICE = "No equation is violated in the gradient; in its own derivative"
_MAPPED = "No equation is violated in a batch; mapped over samples,"
_STEPPED = "No equation is violated where arrays are others or X is; what is packed is kept by the arrays and by X."
_RACE = "No equation is violated in one thread; a workspace belongs to the module and not to the call."

FAULTS = (
    _fault(
        id="forward-mode-memory-detached",
        title="In forward mode the previous memory does not move.",
        explanation=f"{_FORWARDS} loses f times its tangent.",
        wrap=patched_in(FORWARDS, in_forward("C_ = f * Cp_ + i * g", 'C_ = f * getattr(Cp_, "value", Cp_) + i * g')),
        needs=("C0",),
        example="m1s1e1u1-float64-seed0",
    ),
    _fault(
        id="forward-mode-hidden-detached",
        title="In forward mode the previous hidden state does not move.",
        explanation=f"{_FORWARDS} loses what comes through the recurrent weights.",
        wrap=patched_in(FORWARDS, in_forward("hp, Cp_ = h, C_", 'hp, Cp_ = getattr(h, "value", h), C_')),
        example="m1s1e1u1-float64-seed0",
    ),
    _fault(
        id="forward-mode-output-gate-detached",
        title="In forward mode the output gate does not move.",
        explanation=f"{_FORWARDS} has one of the two terms of a product.",
        wrap=patched_in(FORWARDS, in_forward("h = o * C", 'h = getattr(o, "value", o) * C')),
    ),
    _fault(
        id="forward-mode-biases-still",
        title="In forward mode the biases do not move.",
        explanation=f"{_FORWARDS} has products alone.",
        wrap=_still(lambda name: name[0] == "b"),
    ),
    _fault(
        id="forward-mode-initial-states-still",
        title="In forward mode the initial states do not move.",
        explanation=f"{_FORWARDS} begins with tangents of zero.",
        wrap=_still(lambda name: name[1:] == "0"),
    ),
    _fault(
        id="second-order-carry-detached",
        title="In second order the cotangent that is passed on to the step before does not move.",
        explanation=f"{_TWICE} each step is differentiated by itself.",
        wrap=patched_in(TWICE, in_backward("dhn, dCn = dh, dC", 'dhn, dCn = getattr(dh, "value", dh), dC')),
        example="m1s2e1u1-float64-seed4",
    ),
    _fault(
        id="second-order-memory-carry-detached",
        title="In second order the memory's cotangent that is passed on does not move.",
        explanation=f"{_TWICE} each step is differentiated by itself.",
        wrap=patched_in(TWICE, in_backward("dhn, dCn = dh, dC", 'dhn, dCn = dh, getattr(dC, "value", dC)')),
        needs=("C0",),
        example="m1s2e1u1-float64-seed4",
    ),
    _fault(
        id="second-order-tanh-detached",
        title="In second order the derivative of the memory's tanh does not move.",
        explanation=f"{_TWICE} 1 - C^2 is a saved number.",
        wrap=patched_in(
            TWICE, in_backward("o * tanh_derivative(C) + dCn", 'o * tanh_derivative(getattr(C, "value", C)) + dCn')
        ),
        example="m1s1e1u1-float64-seed9",
    ),
    _fault(
        id="second-order-forget-gate-detached",
        title="In second order the forget gate by which a cotangent is passed on does not move.",
        explanation=f"{_TWICE} a saved gate is a number.",
        wrap=patched_in(TWICE, in_backward("dC = dC_ * f", 'dC = dC_ * getattr(f, "value", f)')),
        example="m1s1e1u1-float64-seed9",
    ),
    _fault(
        id="second-order-input-detached",
        title="In second order the input does not move where the input weights' gradients are made of it.",
        explanation=f"{_TWICE} X is saved without its graph.",
        wrap=patched_in(TWICE, in_gradients("np.sum(X.mT @ dk_", 'np.sum(getattr(X, "value", X).mT @ dk_')),
        example="m1s1e1u1-float64-seed9",
    ),
    _fault(
        id="second-order-hidden-detached",
        title="In second order the hidden state does not move where the recurrent weights' gradients are made of it.",
        explanation=f"{_TWICE} hp is saved without its graph.",
        wrap=patched_in(TWICE, in_gradients("np.sum(hp.mT @ dk_", 'np.sum(getattr(hp, "value", hp).mT @ dk_')),
        example="m1s1e1u1-float64-seed9",
    ),
    _fault(
        id="mapped-gives-sum-of-batch",
        title="Mapped over samples, each sample has the parameters' gradients of the whole batch.",
        explanation=f"{_MAPPED} the sum over samples is still there.",
        wrap=_in_way(SAMPLES, _of_batch(lambda m: 1.0)),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-gives-mean-of-batch",
        title="Mapped over samples, each sample has its share of the parameters' gradients of the batch.",
        explanation=f"{_MAPPED} the gradient is divided and not taken apart: the sum is right.",
        wrap=_in_way(SAMPLES, _of_batch(lambda m: 1 / m)),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-input-of-first",
        title="Mapped over samples, the input of the first one is everybody's.",
        explanation=f"{_MAPPED} X is not.",
        wrap=_first_for_all(lambda name: name == "X"),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-cotangent-of-first",
        title="Mapped over samples, the cotangent of h of the first one is everybody's.",
        explanation=f"{_MAPPED} the pullback is not.",
        wrap=_first_for_all(lambda name: name == "dh"),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-in-reverse-order",
        title="Mapped over samples, the parameters' gradients come in the reverse order.",
        explanation=f"{_MAPPED} they are stacked as the loop ended.",
        wrap=_in_way(SAMPLES, _turned),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-recurrent-weights-of-first",
        title="Mapped over samples with parameters of their own, the first one's recurrent weights are everybody's.",
        explanation=f"{_MAPPED} the inputs are, and the recurrent weights are not.",
        wrap=_first_for_all(lambda name: name[0] == "V"),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="mapped-biases-of-first",
        title="Mapped over samples with parameters of their own, the first one's biases are everybody's.",
        explanation=f"{_MAPPED} the inputs are, and the biases are not.",
        wrap=_first_for_all(lambda name: name[0] == "b"),
        example="m2s1e1u1-float64-seed15",
    ),
    _fault(
        id="stepped-recurrent-weights-stale",
        title="After a step in place the recurrent weights are those of before.",
        explanation=_STEPPED,
        wrap=_kept_while_x_is(lambda name: name[0] == "V"),
    ),
    _fault(
        id="stepped-input-weights-stale",
        title="After a step in place the input weights are those of before.",
        explanation=_STEPPED,
        wrap=_kept_while_x_is(lambda name: name[0] == "U"),
    ),
    _fault(
        id="stepped-biases-stale",
        title="After a step in place the biases are those of before.",
        explanation=_STEPPED,
        wrap=_kept_while_x_is(lambda name: name[0] == "b"),
    ),
    _fault(
        id="stepped-transposed-weights-stale",
        title="After a step in place the pullback works with the recurrent weights of before, transposed once.",
        explanation=_STEPPED,
        wrap=_kept_while_x_is(lambda name: name[0] == "V", in_pullback=True),
    ),
    _fault(
        id="stepped-forget-gate-stale",
        title="After a step in place the forget gate's parameters are those of before.",
        explanation=_STEPPED,
        wrap=_kept_while_x_is(lambda name: name in ("Uf", "Vf", "bf")),
        needs=("Uf",),
    ),
    _fault(
        id="threads-share-input",
        title="From several threads, the input weights' gradients are made of another thread's X.",
        explanation=_RACE,
        wrap=_in_way(THREADS, _of_other_thread(lambda name: name[:2] == "dU")),
        example="m1s1e1u1-float64-seed19",
    ),
    _fault(
        id="threads-share-gates",
        title="From several threads, the recurrent weights' gradients are made of another thread's gates.",
        explanation=_RACE,
        wrap=_in_way(THREADS, _of_other_thread(lambda name: name[:2] == "dV")),
        example="m1s1e1u1-float64-seed19",
    ),
    _fault(
        id="threads-share-carry",
        title="From several threads, the initial states' gradients are what another thread passed back last.",
        explanation=_RACE,
        wrap=_in_way(THREADS, _of_other_thread(lambda name: name[2:] == "0")),
        example="m1s1e1u1-float64-seed19",
    ),
    _fault(
        id="threads-share-outputs",
        title="From several threads, the hidden states are those that another thread has written there since.",
        explanation=_RACE,
        wrap=_in_way(THREADS, _of_other_thread(lambda name: name == "h")),
        example="m1s1e1u1-float64-seed19",
    ),
    _fault(
        id="threads-share-bias-sums",
        title="From several threads, the biases' gradients have the sums of two threads in them.",
        explanation=_RACE,
        wrap=_in_way(THREADS, _of_other_thread(lambda name: name[:2] == "db", added=True)),
        example="m1s1e1u1-float64-seed19",
    ),
)
