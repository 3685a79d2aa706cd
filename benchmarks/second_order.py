"""Which checker of second derivatives sees which fault: ours, torch.autograd.gradgradcheck, jax.test_util.check_grads.

Run ``python -m benchmarks.second_order``; it takes some minutes, and writes docs/second-order.json and, made of it,
docs/second-order.md. A fault is planted in the source of `lstm_ref`'s backward pass where that is differentiated, and
nowhere else. The same source then runs in torch, where it is the backward pass of an autograd.Function, and in
jax.numpy, where it is that of a custom_vjp: the gradient is right to the last bit, and its derivative is that of the
wrong source. Each checker is given this function, at the inputs of the same examples, with its own defaults.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import jax
import torch
from jax.test_util import check_grads

from lstm_checks.asking.claims import asked_claims, rotation
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN, Target
from lstm_checks.faults.model import Fault, planted
from lstm_checks.faults.second_order import second_order_faults
from lstm_checks.files import replace_file
from lstm_checks.oracles.expected import expect
from lstm_checks.strategies import draw_cases
from lstm_checks.targets.torch import function_target
from lstm_ref.cell import Cell, evaluate, evaluate_forward

ROOT = Path(__file__).resolve().parent.parent
DATA, PAGE = ROOT / "docs" / "second-order.json", ROOT / "docs" / "second-order.md"

SLIPS_EACH = 15
"""Every how many-th slip is taken: both peers take a second or more a fault and example."""

CASES = {
    "normal": Case(2, 3, 2, 2, seed=1),
    "x10": Case(2, 3, 2, 2, regime="x10", seed=1),
    "x1e-3": Case(2, 3, 2, 2, regime="x1e-3", seed=1),
}
"""The examples, by their regime of values: small, as somebody would write one, with no size of 1."""

OURS, TORCH, JAX = "lstm-checks verify", "torch.autograd.gradgradcheck", "jax.test_util.check_grads"


def in_library(cell: Cell, array_library: Any, detach: Callable[[Any], Any]) -> Cell:
    """Return a cell whose source finds another library under the name of NumPy, and what detaches under `getattr`.

    By that name a patch of `second_order.py` takes a value without what hangs on it.
    """
    found: dict[int, dict[str, Any]] = {}

    def moved(function: FunctionType) -> FunctionType:
        return FunctionType(function.__code__, names_of(function.__globals__), function.__name__, function.__defaults__)

    def names_of(own: dict[str, Any]) -> dict[str, Any]:
        if id(own) not in found:
            found[id(own)] = {**own, "np": array_library, "getattr": lambda value, *_: detach(value)}
            for name, value in own.items():
                if isinstance(value, FunctionType):
                    found[id(own)][name] = moved(value)
        return found[id(own)]

    parts: dict[str, Any] = {
        name: moved(getattr(cell, name)) for name in ("forward", "backward", "parameter_gradients")
    }
    return replace(cell, **parts)


_OF_TORCH = SimpleNamespace(
    tanh=torch.tanh,
    stack=lambda values, axis: torch.stack(tuple(values), axis),
    sum=lambda value, axis: torch.sum(value, axis),
    swapaxes=torch.swapaxes,
    newaxis=None,
)


def _gradients(cell: Cell, arrays: Sequence[Any], cotangents: Sequence[Any], zero: Callable[[Any], Any]) -> list[Any]:
    """Return the gradients of all inputs, in their order, of a cell whose source is in some library."""
    inputs = dict(zip(PLAIN.inputs, arrays, strict=True))
    given = dict(zip(("dh", "dCn"), cotangents, strict=True)) | {"dhn": zero(inputs["h0"])}
    found = evaluate(cell, {**inputs, **{name: given[name] for name in PLAIN.cotangents}})
    return [found[f"d{name}"] for name in PLAIN.inputs]


def torch_function(fault: Fault | None) -> Callable[..., Any]:
    """Return h and Cn as a torch function of the inputs, whose second derivative has a fault."""
    right, wrong = (in_library(planted(of), _OF_TORCH, torch.detach) for of in _both(fault))

    class Layer(torch.autograd.Function):
        """The LSTM with a backward pass written by hand, which can be differentiated."""

        @staticmethod
        def forward(ctx: Any, *arrays: Any) -> Any:
            ctx.save_for_backward(*arrays)
            found = evaluate_forward(right, dict(zip(PLAIN.inputs, arrays, strict=True)))
            return tuple(found[name].clone() for name in PLAIN.outputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            given = ctx.saved_tensors, cotangents, torch.zeros_like
            values = [value.detach() for value in _gradients(right, *given)]
            moves = _gradients(wrong, *given)
            return tuple(value + (move - move.detach()) for value, move in zip(values, moves, strict=True))

    apply: Callable[..., Any] = Layer.apply
    return apply


def jax_function(fault: Fault | None) -> Callable[..., Any]:
    """Return h and Cn as a function of JAX arrays, whose second derivative has a fault."""
    right, wrong = (in_library(planted(of), jax.numpy, jax.lax.stop_gradient) for of in _both(fault))

    @jax.custom_vjp
    def layer(*arrays: Any) -> Any:
        found = evaluate_forward(right, dict(zip(PLAIN.inputs, arrays, strict=True)))
        return tuple(found[name] for name in PLAIN.outputs)

    def back(arrays: Any, cotangents: Any) -> Any:
        given = arrays, cotangents, jax.numpy.zeros_like
        values = [jax.lax.stop_gradient(value) for value in _gradients(right, *given)]
        moves = _gradients(wrong, *given)
        return tuple(v + (move - jax.lax.stop_gradient(move)) for v, move in zip(values, moves, strict=True))

    layer.defvjp(lambda *arrays: (layer(*arrays), arrays), back)
    found: Callable[..., Any] = layer
    return found


def _both(fault: Fault | None) -> tuple[tuple[Fault, ...], tuple[Fault, ...]]:
    """Return no fault, and the patches of one."""
    if fault is None:
        return (), ()
    return (), (Fault("planted", fault.family, "", "", fault.wrap.patches),)  # type: ignore[union-attr]


def target_of(function: Callable[..., Any]) -> Target:
    """Return a torch function of all inputs as `verify` takes it."""

    def lstm(p: Any, X: Any, h0: Any, C0: Any) -> Any:
        return function(*(p[name] for name in PLAIN.parameters), X, h0, C0)

    target = function_target(lstm, "lstm", 4)
    assert target is not None
    return target


class Posed:
    """A case, with what is due of it."""

    def __init__(self, case: Case) -> None:
        self.case, self.due = case, expect(case)


def killed_by_us(function: Callable[..., Any], posed: Posed) -> bool:
    """Return whether the question of second order fails on a case."""
    target = target_of(function)
    outcome = call_target(target, posed.case.arrays, True)
    due = posed.due.as_returned(outcome.last_step, target.cell)
    (found,) = asked_claims(target, posed.case, outcome, due, ("second order",))
    return found.verdict is Verdict.FAIL


def killed_by_torch(function: Callable[..., Any], posed: Posed) -> bool:
    """Return whether gradgradcheck, with its defaults, rejects a function at the inputs of a case."""
    torch.manual_seed(0)  # it draws the cotangents
    inputs = tuple(torch.from_numpy(value.copy()).requires_grad_() for value in posed.case.arrays.inputs.values())
    return not torch.autograd.gradgradcheck(function, inputs, raise_exception=False)


def killed_by_jax(function: Callable[..., Any], posed: Posed) -> bool:
    """Return whether check_grads of order 2, in reverse mode, rejects a function at the inputs of a case."""
    with jax.enable_x64(True):
        arrays = tuple(jax.numpy.asarray(value) for value in posed.case.arrays.inputs.values())
        try:
            check_grads(function, arrays, order=2, modes=("rev",))
        except AssertionError:
            return True
    return False


CHECKERS: dict[str, tuple[Callable[..., Any], Callable[[Any, Posed], bool]]] = {
    OURS: (torch_function, killed_by_us),
    TORCH: (torch_function, killed_by_torch),
    JAX: (jax_function, killed_by_jax),
}
"""Each checker: what makes its function of a fault, and whether it rejects that on a case."""


def asked_of(cases: Sequence[Case]) -> list[Case]:
    """Return those of some examples that `verify` asks for the second order of a torch function."""
    target = target_of(torch_function(None))
    return [case for case in cases if "second order" in rotation(target, case)]


def score(faults: Sequence[Fault], cases: Mapping[str, Case], default_run: Sequence[Case]) -> dict[str, Any]:
    """Return what each checker says of each fault, and of what is right, on each of some cases.

    Besides, how many of those examples of the default run in which it asks ours needs; 0 where all leave a fault alive.
    """
    few, many = ([Posed(case) for case in some] for some in (cases.values(), default_run))
    found: dict[str, Any] = {}
    for name, (made, killed) in CHECKERS.items():
        alarms, *kills = (
            "".join("1" if killed(function, posed) else "0" for posed in few) for function in map(made, (None, *faults))
        )
        found[name] = {"alarms": alarms, "kills": kills}
        print(f"{name:32} {alive(found[name])} alive of {len(faults)}, false alarms {alarms}", flush=True)
    needed = [
        next((k for k, posed in enumerate(many, 1) if killed_by_us(function, posed)), 0)
        for function in map(torch_function, faults)
    ]
    right = torch_function(None)
    return {
        "faults": [fault.title for fault in faults],
        "cases": {name: case.descriptor for name, case in cases.items()},
        "checkers": found,
        "default": {"asked": len(many), "needed": needed, "alarms": sum(killed_by_us(right, posed) for posed in many)},
        "versions": {"torch": torch.__version__, "jax": jax.__version__},
    }


def alive(one: Any) -> int:
    """Return how many faults a checker leaves alive on all of its cases."""
    return sum(not any(row) for row in _sure(one))


def _sure(one: Any) -> list[list[bool]]:
    """Return the kills of a checker but for where it rejects what is right, too."""
    return [[pair == ("1", "0") for pair in zip(row, one["alarms"], strict=True)] for row in one["kills"]]


KINDS, GROUPS = {"a value detached": "is detached.", "a slip": "in the derivative "}, "a group detached"
"""The kinds of faults, by what their titles have in them; all others are of groups."""


def _kind(title: str) -> str:
    """Return of which kind a fault is."""
    return next((kind for kind, words in KINDS.items() if words in title), GROUPS)


def page(found: Any) -> str:
    """Return docs/second-order.md."""
    titles, cases = found["faults"], found["cases"]
    kinds = (*KINDS, GROUPS)
    heads = [f"killed, %: {name}" for name in cases] + ["alive after all three"]
    heads += [f"of them {kind} ({sum(_kind(title) == kind for title in titles)})" for kind in kinds] + ["false alarms"]
    rows, left = [f"| checker | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"], []
    for name, one in found["checkers"].items():
        sure = _sure(one)
        killed = [f"{100 * sum(row[k] for row in sure) / len(titles):.0f}" for k in range(len(cases))]
        lives = [title for title, row in zip(titles, sure, strict=True) if not any(row)]
        each = [str(sum(_kind(title) == kind for title in lives)) for kind in kinds]
        cells = [*killed, f"{len(lives)} of {len(titles)}", *each, f"{one['alarms'].count('1')} of {len(cases)}"]
        rows.append(f"| {name} | {' | '.join(cells)} |")
        if lives:
            few = "; ".join(title.rstrip(".") for title in lives[:5]) + ("; ..." if len(lives) > 5 else "")
            left += [f"- Left alive by {name}: {few}.", ""]
    run, asked = found["default"]["needed"], found["default"]["asked"]
    survivors = [title for title, k in zip(titles, run, strict=True) if not k]
    told = [
        f"Of a torch function `verify` asks {asked} of its default 100 examples for second order (seed 0):",
        f"{len(titles) - len(survivors)} of the {len(titles)} faults are killed, {sum(k == 1 for k in run)} by the "
        f"first of these, the last by number {max(run)}.",
        f"What is right fails in {found['default']['alarms']} of them.",
    ]
    told += [f"Alive then: {'; '.join(title.rstrip('.') for title in survivors)}."] if survivors else []
    words = [f"- {name}: `{descriptor}`" for name, descriptor in cases.items()]
    preface = PREFACE.format(count=len(titles), each=SLIPS_EACH, cases="\n".join(words), **found["versions"])
    return preface + "\n".join(["", *rows, "", *left, *told, ""])


PREFACE = """# Second order: what sees which fault

A gradient that is right may have a wrong derivative, where its backward pass is written by hand and is differentiated
once more. {count} such faults are planted in the source of `lstm_ref`'s backward pass: each value of each equation
detached, groups of values detached, and every {each}th slip of the pen. The same source runs in torch, as the backward
pass of an `autograd.Function`, and in jax.numpy, as that of a `custom_vjp`: outputs and gradient are right to the last
bit, and the gradient's derivative is that of the wrong source. The figures are written by a command, which takes some
minutes and needs `pip install -e '.[torch,jax]'`:

```sh
python -m benchmarks.second_order
```

Each checker is given the function at the inputs of the same three examples, by what the values are scaled with:

{cases}

`gradgradcheck` (PyTorch {torch}) and `check_grads` with order=2 (JAX {jax}) have all their defaults, but that
modes=("rev",) is said of a `custom_vjp`, which has no forward mode. `gradgradcheck` draws cotangents and compares every
entry of the Jacobian with central differences; `check_grads` compares one direction. `verify` is asked its question of
second order: the product of the Hessian with one direction, each entry within six standard deviations of its rounding.
Where a checker rejects what is right, too, it has killed nothing.

A gradient that is cut off from its graph as a whole requires no gradient, and what requires none `gradgradcheck` leaves
out. Where values are ten times as large, the truncation of `check_grads`' own first difference is more than it accepts.
"""


def main() -> None:
    """Ask every checker, and write the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = score(second_order_faults(slips_each=SLIPS_EACH), CASES, asked_of([*draw_cases(100, 0)]))
    replace_file(DATA, json.dumps(found, indent=1) + "\n")
    replace_file(PAGE, page(found))


if __name__ == "__main__":
    main()
