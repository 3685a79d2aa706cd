"""The complex step: derivatives of an analytic program, exact to rounding, from its forward pass alone.

f(x + ih) = f(x) + ih f'(x) - O(h^2): with h = 1e-30 the neglected term is below every rounding error, and no
difference of near numbers is taken (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003). Many directions go
through at once along a leading axis.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 1e-30
CHUNK = 64

Array = NDArray[Any]


def derivative(
    f: Callable[[Mapping[str, Array]], Array], inputs: Mapping[str, Array], along: Mapping[str, Array]
) -> Array:
    """Return the derivative of `f` at `inputs` along each direction.

    Parameters
    ----------
    f : callable
        From inputs by name, any of which may have one leading axis, to values along that axis (n,).
    inputs : mapping
        Float64 arrays by name.
    along : mapping
        For some of the names, n directions: arrays with one leading axis of length n.

    Returns
    -------
    array (n,)
    """
    perturbed = {name: inputs[name] + 1j * STEP * direction for name, direction in along.items()}
    return np.imag(f({**inputs, **perturbed})) / STEP


def gradient(f: Callable[[Mapping[str, Array]], Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the derivative of `f` with respect to every entry of every input, by the input's name."""
    return {
        name: np.concatenate([derivative(f, inputs, {name: units}) for units in _units(value)]).reshape(value.shape)
        for name, value in inputs.items()
    }


def _units(value: Array) -> Iterator[Array]:
    """Yield the unit directions of an array, a chunk of them along a leading axis at a time."""
    for start in range(0, value.size, CHUNK):
        stop = min(start + CHUNK, value.size)
        units = np.zeros((stop - start, value.size))
        units[np.arange(stop - start), np.arange(start, stop)] = 1
        yield units.reshape(-1, *value.shape)
