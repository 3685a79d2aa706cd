"""What is due of forward mode and of second order: the reference's own passes in dual numbers, under Monte Carlo noise.

Along a direction v of the inputs the derivative of the forward pass is the pushforward of v, and that of the backward
pass, for fixed cotangents, the product of the Hessian of <cotangents, outputs> with v. It is the complex step of the
reference's source (`arithmetic/dual.py`), so no equation of either is written; the noise is that of a program that
carries tangents beside its values.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lstm_checks.arithmetic.dual import along
from lstm_checks.arithmetic.monte_carlo import exact, spread
from lstm_checks.cases import Arrays, Case
from lstm_checks.oracles.expected import Array, Expected, rounding_of
from lstm_ref.cell import evaluate, evaluate_forward


def tangent(name: str) -> str:
    """Return what the derivative of an input or an output along the direction is called: "tUf", "th"."""
    return f"t{name}"


def second(gradient: str) -> str:
    """Return what the derivative of a gradient along the direction is called: "ddUf"."""
    return f"d{gradient}"


def direction_of(case: Case, still: frozenset[str] = frozenset()) -> dict[str, Array]:
    """Return the direction in which a case is differentiated, by the inputs' names; zero in those that are `still`.

    Parameters
    ----------
    case : Case
    still : frozenset of str
        Inputs that the target does not take, or has no gradient of.
    """
    rng = np.random.default_rng((case.seed, *case.dims, 8))
    drawn = {name: rng.standard_normal(value.shape).astype(case.dtype) for name, value in case.arrays.inputs.items()}
    return {name: np.zeros_like(value) if name in still else value for name, value in drawn.items()}


def expect_along(case: Case, direction: Mapping[str, Array], expected: Expected, backward: bool) -> Expected:
    """Return what is due of a case with, besides, the derivatives along a direction.

    Parameters
    ----------
    case : Case
    direction : mapping
        Of the inputs, by their names.
    expected : Expected
        What is due of the case.
    backward : bool
        Whether the gradients are differentiated, too, and not the outputs alone.
    """
    rounding = rounding_of(case, case.dtype)
    arrays = case.arrays.astype(np.float64)
    noisy = {name: exact(value, rounding) for name, value in arrays.items()}
    moving = {name: exact(value.astype(np.float64), rounding) for name, value in direction.items()}
    with np.errstate(all="ignore"):
        found = (evaluate if backward else evaluate_forward)(case.cell, Arrays(along(noisy, moving), case.cell))
        spreads = {_named(name, case): spread(value.tangent) for name, value in found.items()}
    values, sd = ({name: pair[k] for name, pair in spreads.items()} for k in (0, 1))
    return replace(expected, values=expected.values | values, sd=expected.sd | sd)


def _named(name: str, case: Case) -> str:
    """Return what the derivative of an output or of a gradient is called."""
    return tangent(name) if name in case.cell.outputs else second(name)
