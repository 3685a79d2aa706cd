"""A step of an optimizer along the gradient that is due: the inputs after it.

Not along a target's own gradient, which is as right: so what is due after it can be said before the target is asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Arrays


def stepped(arrays: Arrays, due: Mapping[str, Any], names: Sequence[str]) -> Arrays | None:
    """Return the arrays after a step of some parameters; None where there is no gradient to take one along.

    Parameters
    ----------
    arrays : Arrays
    due : mapping
        The gradients that are due, by name.
    names : sequence of str
        The parameters that are changed.
    """
    size = step_size(arrays, due, names)
    if not 0 < size < np.inf:
        return None
    after = {name: arrays[name] - size * due[f"d{name}"] for name in names}
    return arrays.replaced(**{name: value.astype(arrays[name].dtype) for name, value in after.items()})


def step_size(arrays: Mapping[str, Any], due: Mapping[str, Any], names: Sequence[str]) -> float:
    """Return a power of two, with which a step changes the parameters by some of themselves."""
    if not names:
        return 0.0
    largest = max(float(np.max(np.abs(arrays[name]))) for name in names)
    steepest = max(float(np.max(np.abs(due[f"d{name}"]))) for name in names)
    with np.errstate(all="ignore"):
        return float(2.0 ** np.floor(np.log2(tolerance.STEP_OF_PARAMETERS * largest / np.float64(steepest))))
