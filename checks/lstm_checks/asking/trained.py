"""Trained: the gradient through what people do with it, a step of an optimizer, and the next forward pass.

A step changes the parameters where they are, in the same arrays, with the same X: whatever is kept of them, packed or
transposed, is stale then. Where autograd adds gradients up in a place of its own, the sums are judged, too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.calling import same_bits
from lstm_checks.cases import Arrays
from lstm_checks.compare import Verdict
from lstm_checks.contract import TRAINING
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.properties.noise import OwnExpected

STEPPED, AFTER = "stepped", "after"
"""What stands, with a colon, before the names of parameters after a step, and of what comes of these."""


def training(x: Asker) -> Judged:
    """Ask for gradients, take a step along them, and ask again; and train as a framework, or a layer, does it."""
    if x.case.cell.kinks:
        raise NotAskedError("a step may lead to where an activation bends")
    rate = _rate(x)
    if not 0 < rate < np.inf:
        return Judged(Verdict.VACUOUS, reason="there is no gradient to take a step along")
    due = _Due(x)
    found = [] if isinstance(x.expected, OwnExpected) else [_by_hand(x, rate, due)]
    if TRAINING in x.target.can:
        found += _as_people_do(x, rate, due)
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


class _Due:
    """What is due at other values of the inputs; at the same ones again it is known, as after two steps alike."""

    def __init__(self, x: Asker) -> None:
        self.x = x
        self.known: list[tuple[Arrays, Expected]] = []

    def at(self, arrays: Arrays) -> Expected:
        """Return what is due at these values."""
        for other, found in self.known:
            if all(same_bits(value, other[name]) for name, value in arrays.items()):
                return found
        due = expect(self.x.case, arrays=arrays).as_returned(self.x.last_step, self.x.target.cell)
        self.known.append((arrays, due))
        return due


def _by_hand(x: Asker, rate: float, due: _Due) -> Judged:
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
    return x.judge(values, done, expected=due.at(arrays))


def _as_people_do(x: Asker, rate: float, due: _Due) -> list[Judged]:
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
    return [*found, x.judge(after, "in training, after an optimizer's step", expected=due.at(arrays))]
