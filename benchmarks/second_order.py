"""Faults of second order, by what sees them: `verify`, PyTorch's gradgradcheck, JAX's check_grads of order 2.

    python -m benchmarks.second_order [every]

Each fault leaves the gradient as it is: 44 values detached in the backward pass, its slips of the pen (every
`every`-th, 9 by default), and those of the catalogue. Printed as a table for docs/second-order.md.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lstm_checks.asking.claims import asked_claims
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import FORWARDS, PLAIN, TWICE, Target
from lstm_checks.faults import derived
from lstm_checks.faults.model import Fault, fault_target
from lstm_checks.faults.second_order import second_order_faults
from lstm_checks.oracles.expected import expect

CASE = Case(1, 2, 1, 2, seed=3)
"""What all three are asked about: the smallest sizes at which every one of the faults can show."""

SEEDS = 3
COTANGENTS = PLAIN.cotangents[0], *PLAIN.finals.values()


def first_order(target: Target, *values: Any) -> tuple[Any, ...]:
    """Return the gradients, of inputs and cotangents in their order."""
    inputs, given = _named(values)
    return tuple(np.array(v) for v in _in_order(target.call(inputs, True)[1](given), "d", PLAIN.inputs))


def second_order(target: Target, *values: Any) -> tuple[Any, ...]:
    """Return the product of a direction of the gradients with the derivatives of these, by inputs and cotangents."""
    count = len(PLAIN.inputs)
    inputs, given = _named(values[:-count])
    along = {f"t{name}": np.array(v) for name, v in zip(PLAIN.inputs, values[-count:], strict=True)}
    assert target.call_as is not None
    hessian, forwards = (target.call_as(inputs, True, {"way": way})[1] for way in (TWICE[1], FORWARDS[0]))
    twice = _in_order(hessian({**given, **along}), "dd", PLAIN.inputs)
    return tuple(np.array(v) for v in (*twice, *_in_order(forwards(along), "t", PLAIN.outputs)))


def _named(values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return inputs and cotangents by name."""
    arrays = [np.array(value) for value in values]
    count = len(PLAIN.inputs)
    given = dict(zip(COTANGENTS, arrays[count:], strict=True))
    return dict(zip(PLAIN.inputs, arrays[:count], strict=True)), given


def _in_order(found: Any, before: str, names: tuple[str, ...]) -> list[Any]:
    """Return what is named so, with the letters before, in the order of the names."""
    return [found[before + name] for name in names]


def gradgradcheck(target: Target, case: Case) -> bool:
    """Return whether torch.autograd.gradgradcheck, with its defaults, accepts the derivative of the gradients."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: Any) -> Any:
            ctx.save_for_backward(*values)
            return tuple(map(torch.from_numpy, first_order(target, *(v.detach() for v in values))))

        @staticmethod
        def backward(ctx: Any, *along: Any) -> Any:
            arrays = (value.detach() for value in (*ctx.saved_tensors, *along))
            return tuple(map(torch.from_numpy, second_order(target, *arrays)))

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            outputs = target.call({n: v.numpy().copy() for n, v in zip(PLAIN.inputs, inputs, strict=True)}, True)[0]
            return tuple(torch.from_numpy(np.array(outputs[name])) for name in PLAIN.outputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            return Twice.apply(*ctx.saved_tensors, *cotangents)

    inputs = tuple(torch.from_numpy(value.copy()).requires_grad_() for value in case.arrays.inputs.values())
    return bool(torch.autograd.gradgradcheck(Once.apply, inputs, raise_exception=False))


def check_grads(target: Target, case: Case) -> bool:
    """Return whether jax.test_util.check_grads, of order 2 and reverse mode, accepts what it is given."""
    import jax
    from jax.test_util import check_grads as check

    def like(*values: Any) -> Any:
        return tuple(jax.ShapeDtypeStruct(value.shape, value.dtype) for value in values)

    def call(function: Callable[..., Any], shapes: Any, *values: Any) -> Any:
        return jax.pure_callback(partial(function, target), shapes, *values)

    def outputs(_: Target, *values: Any) -> Any:
        found = target.call({n: np.array(v) for n, v in zip(PLAIN.inputs, values, strict=True)}, True)[0]
        return tuple(np.array(found[name]) for name in PLAIN.outputs)

    inputs = tuple(case.arrays.inputs.values())
    count, of_outputs = len(inputs), like(*outputs(target, *inputs))
    once, twice = (
        jax.custom_vjp(lambda *v: call(outputs, of_outputs, *v)),
        jax.custom_vjp(lambda *v: call(first_order, like(*v[:count]), *v)),
    )
    once.defvjp(lambda *v: (once(*v), v), lambda kept, arriving: twice(*kept, *arriving))
    twice.defvjp(lambda *v: (twice(*v), v), lambda kept, along: call(second_order, like(*kept), *kept, *along))
    try:
        check(once, inputs, order=2, modes=["rev"])
    except AssertionError:
        return False
    return True


def accepted(target: Target, cases: list[Any]) -> bool:
    """Return whether `verify`'s question finds nothing."""
    return not any(
        claim.verdict is Verdict.FAIL
        for case, outcome, due in cases
        for claim in asked_claims(target, case, outcome, due, ("second order",))
    )


def main() -> None:
    """Print the table."""
    import jax

    jax.config.update("jax_enable_x64", True)
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    cases = [
        (case, call_target(fault_target(), case.arrays, True), expect(case))
        for case in (replace(CASE, seed=CASE.seed + k) for k in range(SEEDS))
    ]
    made = second_order_faults(slips_each=every)
    groups: dict[str, list[Fault]] = {
        "detached": [fault for fault in made if "detached" in fault.title],
        "slips": [fault for fault in made if "detached" not in fault.title],
        "of the catalogue": [fault for fault in derived.FAULTS if fault.id.startswith("second-order")],
    }
    judges: dict[str, Callable[[Target], bool]] = {
        "verify": lambda target: accepted(target, cases),
        "gradgradcheck": lambda target: all(gradgradcheck(target, case) for case, *_ in cases),
        "check_grads, order 2": lambda target: all(check_grads(target, case) for case, *_ in cases),
    }
    for name, judge in judges.items():
        assert judge(fault_target()), f"{name} rejects what is right"
    print(f"| faults | number | {' | '.join(judges)} |\n|---|---|{'---|' * len(judges)}")
    for group, faults in groups.items():
        killed = [sum(not judge(fault_target(fault)) for fault in faults) for judge in judges.values()]
        print(f"| {group} | {len(faults)} | {' | '.join(map(str, killed))} |", flush=True)


if __name__ == "__main__":
    main()
