"""Twice: the derivative of the gradients along a direction of the inputs, in every way that a target has.

It is the product of a Hessian with that direction, of the outputs' product with the cotangents. With a reference it is
judged entry by entry. Without one it is its symmetry that is: <w, Hv> = <v, Hw>, whatever the equations.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks.asking.forwards import alike, direction_along
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.contract import TWICE
from lstm_checks.oracles.derivatives import expect_along, second, tangent
from lstm_checks.oracles.expected import Array, Expected
from lstm_checks.properties.noise import OwnExpected


def second_order(x: Asker) -> Judged:
    """Ask for the product of the Hessian with a direction, in every way that there is."""
    if x.case.cell.activations:
        raise NotAskedError("other activations may bend twice where they bend once, and there it is a convention")
    direction = direction_along(x)
    own = isinstance(x.expected, OwnExpected)
    expected = x.expected if own else expect_along(x.case, direction, x.expected, backward=True)
    found, refused = [], []
    for way in (way for way in TWICE if way in x.target.can):
        done = f"differentiated twice by {way}, the gradients along a direction of all inputs"
        try:
            if own:
                found.append(_symmetric(x, way, direction, done))
            else:
                values = _along(x, way, direction)
                found.append(x.judge_along(values, done, expected if way == TWICE[0] else _of_gradients(x, expected)))
        except RefusedError as error:
            # What somebody has written by hand is to work; of a framework it may not be there.
            if error.kind != "error" or way == TWICE[-1]:
                found.append(x.refused(error, done))
            refused.append(f"{way}: {error}")
    if not found:
        raise NotAskedError("; ".join(refused))
    return worst_of(found)


def _of_gradients(x: Asker, expected: Expected) -> Expected:
    """Return what is due but for the derivatives of the outputs, which are those by the cotangents of a gradient."""
    left = {tangent(name) for name in x.target.cell.outputs}
    values, sd = ({n: v for n, v in of.items() if n not in left} for of in (expected.values, expected.sd))
    return replace(expected, values=values, sd=sd)


def _along(x: Asker, way: str, direction: dict[str, Array]) -> dict[str, Any]:
    """Return what comes of the gradients, differentiated along a direction."""
    given = {tangent(name): value.copy() for name, value in direction.items()}
    return x.forward(how={"way": way}).pull(x.cotangents() | given)


def _symmetric(x: Asker, way: str, direction: dict[str, Array], done: str) -> Judged:
    """Return whether <w, Hv> = <v, Hw> for another direction w."""
    other = {name: x.other(value) if value.any() else value for name, value in direction.items()}
    found = [_along(x, way, one) for one in (direction, other)]
    names = [name for name in x.gradients if name[1:] in direction]
    for came in found:
        if any(np.shape(came.get(second(name), ())) != direction[name[1:]].shape for name in names):
            raise RefusedError(f"the {way} gave no derivative of every gradient, each of its shape")
    left, right = (
        [(came[second(name)].astype(np.float64), along[name[1:]]) for name in names]
        for came, along in zip(found, (other, direction), strict=True)
    )
    return alike(x, left, right, f"{done}, <w, Hv> of two of them", "<v, Hw>")
