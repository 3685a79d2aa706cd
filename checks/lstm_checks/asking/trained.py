"""Trained: the gradient through what people do with it, a step of an optimizer, and the next forward pass.

A step changes the parameters where they are, in the same arrays, with the same X: whatever is kept of them, packed or
transposed, is stale then. Where autograd adds gradients up in a place of its own, the sums are judged, too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.compare import Verdict
from lstm_checks.contract import TRAINING
from lstm_checks.properties.noise import OwnExpected

STEPPED, AFTER = "stepped", "after"
"""What stands, with a colon, before the names of parameters after a step, and of what comes of these."""


def training(x: Asker) -> Judged:
    """Ask for gradients, take a step along them, and ask again; and train as a framework, or a layer, does it."""
    rate = _rate(x)
    if not 0 < rate < np.inf:
        return Judged(Verdict.VACUOUS, reason="there is no gradient to take a step along")
    found = [] if isinstance(x.expected, OwnExpected) else [_by_hand(x, rate)]
    if TRAINING in x.target.can:
        found += _as_people_do(x, rate)
    if not found:
        raise NotAskedError("nobody knows what is due after a step")
    return worst_of(found)


def _rate(x: Asker) -> float:
    """Return a power of two, with which a step changes the parameters by some of themselves."""
    names = [name for name in x.case.arrays.p if f"d{name}" in x.gradients]
    if not names:
        return 0.0
    sizes = [max(float(np.max(np.abs(of[name]))) for name in those) for of, those in _pairs(x, names)]
    with np.errstate(all="ignore"):
        return float(2.0 ** np.floor(np.log2(tolerance.STEP_OF_PARAMETERS * sizes[0] / np.float64(sizes[1]))))


def _pairs(x: Asker, names: list[str]) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return the parameters, and their gradients, each with the names that they have there."""
    return [(x.arrays, names), (x.expected.values, [f"d{name}" for name in names])]


def _by_hand(x: Asker, rate: float) -> Judged:
    """Take a step in the caller's own arrays."""
    done = "after a step that changed the parameters in place, X being as it was"
    arrays = x.arrays.copy()
    try:
        gradients = x.forward(arrays.inputs).pull(x.cotangents())
        for name in arrays.p:
            if f"d{name}" in x.gradients:
                arrays[name][...] -= arrays[name].dtype.type(rate) * gradients[f"d{name}"]
        values = x.forward(arrays.inputs).pull(x.cotangents())
    except RefusedError as error:
        return x.refused(error, done)
    return x.judge(values, done, expected=x.due_at(arrays))


def _as_people_do(x: Asker, rate: float) -> list[Judged]:
    """Return what the stages of a training are worth that the target has a way for."""
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
    stepped, after = stages.pop(STEPPED, {}), stages.pop(AFTER, {})
    found = [x.judge(outputs | came, f"in training, {words}") for words, came in stages.items() if words]
    if isinstance(x.expected, OwnExpected):
        return found
    missing = [name for name in x.arrays.p if name not in stepped]
    arrays = x.arrays.replaced(**stepped) if not missing else x.arrays
    return [*found, x.judge(after, "in training, after an optimizer's step", expected=x.due_at(arrays))]
