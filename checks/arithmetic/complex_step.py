"""The complex step: derivatives of an analytic program, exact to rounding, from its forward pass alone.

f(x + ih) = f(x) + ih f'(x) - O(h^2): with h = 1e-30 the neglected term is below every rounding error, and no
difference of near numbers is taken (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003). Many directions go
through at once along a leading axis.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 1e-30
CHUNK = 64
"""Directions that go through at once: enough to make the calls worth while, few enough to stay in the cache."""

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
    size = sum(value.size for value in inputs.values())
    found = np.concatenate(
        [derivative(f, inputs, _units(inputs, k, min(k + CHUNK, size))) for k in range(0, size, CHUNK)]
    )
    ends = np.cumsum([value.size for value in inputs.values()])
    parts = np.split(found, ends[:-1])
    return {name: part.reshape(inputs[name].shape) for name, part in zip(inputs, parts, strict=True)}


def _units(inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """Return the unit directions of entries `start` to `stop`, all inputs counted through, by the inputs they touch."""
    along, offset = {}, 0
    for name, value in inputs.items():
        first, last = max(start - offset, 0), min(stop - offset, value.size)
        if first < last:
            units = np.zeros((stop - start, value.size))
            units[np.arange(first, last) + offset - start, np.arange(first, last)] = 1
            along[name] = units.reshape(-1, *value.shape)
        offset += value.size
    return along
