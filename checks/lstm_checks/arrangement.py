"""The same numbers elsewhere in memory: arrays as slices, transposes and expanded tensors come to a layer in real use.

A layer that takes an array's buffer for the array, or its own order for everybody's, is right on fresh arrays alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _every_second(array: Array) -> Array:
    """Return the numbers with as many others between them."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.asarray(_FILLER, array.dtype))
    wide[..., ::2] = array
    return wide[..., ::2]


def _swapped(array: Array) -> Array:
    """Return the numbers with the first two axes in the other order in memory, as time-major data is turned."""
    return np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1) if array.ndim > 1 else _every_second(array)


def _reversed(array: Array) -> Array:
    """Return the numbers from the last to the first in memory."""
    return np.ascontiguousarray(np.flip(array))[(slice(None, None, -1),) * array.ndim]


def _read_only(array: Array) -> Array:
    """Return the numbers locked."""
    locked = array.copy()
    locked.flags.writeable = False
    return locked


def _misaligned(array: Array) -> Array:
    """Return the numbers one byte beside where they would begin, as a view into a file's bytes has them."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    beside: Array = np.ndarray(array.shape, array.dtype, buffer, 1)
    beside[...] = array
    return beside


_FILLER = 7.0
"""What stands between numbers; whoever reads it in their place is far off, and nothing overflows."""

ARRANGEMENTS: dict[str, Callable[[Array], Array]] = {
    "non-contiguous": _every_second,
    "transposed": _swapped,
    "of negative strides": _reversed,
    "in Fortran order": np.asfortranarray,
    "read-only": _read_only,
    "misaligned": _misaligned,
}
"""Ways in which numbers may lie in memory, in words, each with what lays a C-contiguous array so."""

KINDS = (("transposed", "in Fortran order"), ("non-contiguous", "of negative strides"), ("read-only", "misaligned"))
"""The same by what differs: the order in memory, the distances there, and nothing of both."""

REORDERED, APART, _ = KINDS
"""Those in which the axes stand in another order in memory, and those of other distances."""

OF_TENSORS = ("non-contiguous", "transposed", "in Fortran order")
"""Those that a framework's tensors can be in."""


def arrange(array: Array, how: str) -> Array:
    """Return an array of the same numbers that lies in memory in one of the `ARRANGEMENTS`."""
    # A single number lies in one way alone, and NumPy would make an axis for it.
    return ARRANGEMENTS[how](np.ascontiguousarray(array)) if array.size and array.ndim else array.copy()


def expand(array: Array) -> Array:
    """Return the first number in every place, with strides of 0: what the gradient of a sum is."""
    return np.broadcast_to(array.flat[0], array.shape)
