"""A planted cell differentiated otherwise than by one pullback: along a direction, twice, sample by sample.

The source with the faults in it runs in dual numbers, so a fault of the forward or of the backward pass is one of
these, too; what is wrong in them alone is a wrapper round the target (`derived.py`).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from lstm_checks.arithmetic.dual import Dual, along
from lstm_checks.cases import Arrays
from lstm_checks.contract import FORWARDS, SAMPLES, THREADS, TWICE, Pullback, weights_of_sample
from lstm_ref.cell import Cell, evaluate, evaluate_forward

WAYS = (FORWARDS[0], TWICE[1], SAMPLES, THREADS)
"""The ways in which a planted cell is differentiated, by the words of `Target.can`."""


def answer_in(
    way: str, cell: Cell, call: Callable[..., Any], inputs: Mapping[str, Any], each: Collection[str] = ()
) -> Pullback:
    """Return what takes the place of the pullback of `call`, whose source is that of a planted cell.

    `each` are the parameters of which each sample has its own, where it is asked sample by sample.
    """
    if way == SAMPLES:
        return lambda given: _sample_by_sample(cell, call, inputs, given, each)
    if way == THREADS:
        # It keeps nothing, so that a thread by itself says what each of many gets.
        outputs, pullback = call(inputs, True)
        return lambda given: {f"0: {name}": value for name, value in {**outputs, **pullback(given)}.items()}
    return lambda given: _along(cell, inputs, given, twice=way in TWICE)


def _along(cell: Cell, inputs: Mapping[str, Any], given: Mapping[str, Any], twice: bool) -> dict[str, Any]:
    """Return the derivatives of the outputs, with these, or of the gradients along a direction."""
    arrays = {name: np.array(value) for name, value in {**inputs, **given}.items() if name in cell.axes}
    none = {n: np.zeros(cell.shape(n, *cell.sizes_of(inputs)), inputs["X"].dtype) for n in cell.cotangents}
    direction = {name: np.array(given[f"t{name}"]) for name in inputs}
    moving = Arrays(along(none | arrays, direction), cell)
    found = evaluate(cell, moving) if twice else evaluate_forward(cell, moving)
    if twice:
        return {f"d{name}": tangent_of(found[name]) for name in cell.gradients}
    values = {f"again {name}": value.value if isinstance(value, Dual) else value for name, value in found.items()}
    return values | {f"t{name}": tangent_of(value) for name, value in found.items()}


def tangent_of(value: Any) -> Any:
    """Return the derivative of what came; of a plain array, which does not move, zero."""
    return np.array(value.tangent) if isinstance(value, Dual) else np.zeros_like(value)


def _sample_by_sample(
    cell: Cell, call: Callable[..., Any], inputs: Mapping[str, Any], given: Mapping[str, Any], each: Collection[str]
) -> dict[str, Any]:
    """Return outputs and gradients of each sample by itself."""
    found: dict[str, Any] = {}
    for k in range(len(inputs["X"])):
        all_inputs = {n: weights_of_sample(v, k) if n in each else v for n, v in inputs.items()}
        of_inputs, of_given = (
            {n: v[k : k + 1] if v is not None and cell.axes[n][0] == "m" else v for n, v in some.items()}
            for some in (all_inputs, given)
        )
        outputs, pullback = call(of_inputs, True)
        found |= {f"{k}: {name}": value for name, value in {**outputs, **pullback(of_given)}.items()}
    return found
