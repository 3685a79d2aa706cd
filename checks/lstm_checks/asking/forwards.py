"""Forwards: the derivative of the outputs along a direction of the inputs, in every way that a target has.

With a reference it is judged entry by entry. Without one the gradients say what is due of it: the cotangents' product
with what is pushed forward is the gradients' product with the direction.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.compare import Discrepancy, Verdict
from lstm_checks.contract import FORWARDS
from lstm_checks.oracles.derivatives import direction_of, expect_along, tangent
from lstm_checks.oracles.expected import Array, Expected
from lstm_checks.properties.noise import OwnExpected

AGAIN = "again "
"""What stands before the name of an output that came with derivatives."""


def pushforward(x: Asker) -> Judged:
    """Ask for the derivative along a direction, and the outputs beside it, in every way that there is."""
    direction = direction_along(x)
    given = {tangent(name): value for name, value in direction.items()}
    expected = None if isinstance(x.expected, OwnExpected) else _due(x, direction)
    found, refused = [], []
    for way in (way for way in FORWARDS if way in x.target.can):
        done = f"differentiated forwards by {way}, along a direction of all inputs"
        try:
            values = x.forward(how={"way": way}).pull({name: value.copy() for name, value in given.items()})
        except RefusedError as error:
            # What somebody has written by hand is to work; of a framework it may not be there.
            if error.kind != "error" or way == FORWARDS[0]:
                found.append(x.refused(error, done))
            refused.append(f"{way}: {error}")
            continue
        found.append(x.judge_along(values, done, expected) if expected is not None else _fits(x, values, given, done))
    if not found:
        raise NotAskedError("; ".join(refused))
    return worst_of(found)


def direction_along(x: Asker) -> dict[str, Array]:
    """Return the direction of the inputs: of what the target has a gradient of."""
    still = {name for name in x.case.arrays.inputs if f"d{name}" not in x.gradients or name in x.target.lacks}
    return direction_of(x.case, frozenset(still))


def _due(x: Asker, direction: Mapping[str, Array]) -> Expected:
    """Return what is due of the pushforward, and of the outputs beside it."""
    found = expect_along(x.case, direction, x.expected, backward=False)
    for name in x.target.cell.outputs:
        found.values[AGAIN + name], found.sd[AGAIN + name] = found.values[name], found.sd[name]
    return found


def _fits(x: Asker, values: Mapping[str, Any], given: Mapping[str, Array], done: str) -> Judged:
    """Return whether what was pushed forward fits the gradients, where nobody knows what is due."""
    hidden, *_ = x.target.cell.outputs
    cotangents = {hidden: x.arrays.dh_total} | {n: x.arrays[c] for n, c in x.target.cell.finals.items()}
    pairs = [(values.get(tangent(name)), c) for name, c in cotangents.items() if name not in x.target.lacks]
    if any(not isinstance(came, np.ndarray) or came.shape != c.shape for came, c in pairs):
        message = f"{done}, the derivatives of the outputs did not come, each of its output's shape"
        return Judged(Verdict.FAIL, np.inf, Discrepancy(hidden, "asked", message))
    forwards = [(np.asarray(came, np.float64), c) for came, c in pairs]
    back = [(x.expected.values[name], given[tangent(name[1:])]) for name in x.gradients]
    return alike(x, forwards, back, f"{done}, the cotangents' product with it", "the gradients' with the direction")


def alike(x: Asker, left: list[tuple[Any, Any]], right: list[tuple[Any, Any]], one: str, other: str) -> Judged:
    """Return whether two inner products are one, each given by the pairs of arrays that it is a sum of."""
    (came, size), (due, its_size) = (
        (sum(float(np.sum(a * b)) for a, b in pairs), sum(float(np.sum(np.abs(a * b))) for a, b in pairs))
        for pairs in (left, right)
    )
    noise = sum(float(np.sum(x.expected.sd[name])) for name in x.gradients)
    accepted = tolerance.accepted_products(size + its_size, noise, x.case.dtype)
    use = abs(came - due) / accepted
    if not use <= 1:
        message = f"{one} is {came:.10g}, and {other} {due:.10g}"
        return Judged(Verdict.FAIL, float(np.nan_to_num(use, nan=np.inf)), Discrepancy("h", "asked", message))
    blurred = accepted > 2 * tolerance.PROPERTY_RESOLUTION * (size + its_size)
    return Judged(Verdict.INCONCLUSIVE if blurred else Verdict.PASS, use)
