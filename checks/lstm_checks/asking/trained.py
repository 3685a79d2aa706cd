"""Trained: the gradient through what people do with it, a step of an optimizer, and the next forward pass.

A step changes the parameters where they are, in the same arrays, with the same X: whatever is kept of them, packed or
transposed, is stale then. Where autograd adds gradients up in a place of its own, the sums are judged, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.cases import Arrays, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import TRAINING, Target
from lstm_checks.oracles.expected import Expected, evaluate_reference, expect
from lstm_checks.oracles.stepped import step_size, stepped
from lstm_checks.properties.noise import OwnExpected

STEPPED, AFTER = "stepped", "after"
"""What stands, with a colon, before the names of parameters after a step, and of what comes of these."""

NEARBY = 1e-4
"""How far apart, of themselves, parameters may be of which the same noise is said."""


def training(x: Asker) -> Judged:
    """Ask for gradients, take a step along them, and ask again; and train as a framework, or a layer, does it."""
    names = learned(x.target, x.case)
    after = stepped(x.arrays, x.expected.values, names)
    if after is None:
        return Judged(Verdict.VACUOUS, reason="there is no gradient to take a step along")
    own = isinstance(x.expected, OwnExpected)  # without a reference
    due = None if own else x.expected.after_step or expect(x.case, arrays=after)
    found = [] if due is None else [_by_hand(x, names, after, due)]
    if TRAINING in x.target.can:
        found += _as_people_do(x, step_size(x.arrays, x.expected.values, names), after, due)
    if not found:
        raise NotAskedError("nobody knows what is due after a step")
    return worst_of(found)


def learned(target: Target, case: Case) -> tuple[str, ...]:
    """Return the parameters of a case that a target has gradients of."""
    gradients = {*target.cell.gradients} - target.lacks
    return tuple(name for name in case.arrays.p if f"d{name}" in gradients)


def _by_hand(x: Asker, names: Sequence[str], after: Arrays, due: Expected) -> Judged:
    """Take a step in the caller's own arrays."""
    done = "after a step that changed the parameters in place, X being as it was"
    arrays = x.arrays.copy()
    try:
        x.forward(arrays.inputs).pull(x.cotangents())
        for name in names:
            arrays[name][...] = after[name]
        values = x.forward(arrays.inputs).pull(x.cotangents())
    except RefusedError as error:
        return x.refused(error, done)
    return x.judge(values, done, expected=due.as_returned(x.last_step, x.target.cell))


def _as_people_do(x: Asker, rate: float, near: Arrays, due: Expected | None) -> list[Judged]:
    """Return what the stages of a training are worth that the target has a way for.

    Its step ends next to the arrays `near`, for which something is known to be `due`.
    """
    try:
        # A layer takes the final hidden state's cotangent apart.
        values = x.forward(how={"way": TRAINING, "rate": rate}).pull(x.cotangents())
    except RefusedError as error:
        # A training has one graph pulled back twice, which not everybody allows.
        if error.kind != "error" or x.pulls_twice():
            return [x.refused(error, "in training")]
        raise NotAskedError(str(error)) from error
    stages: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        words, _, own = name.rpartition(": ")
        stages.setdefault(words, {})[own] = value
    outputs = {name: x.outcome.values[name] for name in x.target.cell.outputs}
    came, after = stages.pop(STEPPED, {}), stages.pop(AFTER, {})
    found = [x.judge(outputs | those, f"in training, {words}") for words, those in stages.items() if words]
    if due is None:
        return found
    missing = [name for name in x.arrays.p if name not in came]
    arrays = x.arrays.replaced(**came) if not missing else x.arrays
    due = _moved(x, due, near, arrays)
    return [*found, x.judge(after, "in training, after an optimizer's step", expected=due)]


def _moved(x: Asker, due: Expected, near: Arrays, arrays: Arrays) -> Expected:
    """Return what is due of arrays, from what is due next to them: by rounding's distance the noise does not change."""
    if x.case.cell.kinks or not all(np.allclose(arrays[name], value, NEARBY, 0) for name, value in near.items()):
        return x.due_at(arrays)
    values = evaluate_reference(arrays.astype(np.float64))
    return replace(due, values=values).as_returned(x.last_step, x.target.cell)
