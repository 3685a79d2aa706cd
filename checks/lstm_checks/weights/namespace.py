"""Arrays of whatever kind weights come in: NumPy's, JAX's, those of a function that JAX traces, and PyTorch's tensors.

No framework is imported for it: what an array is of says its own type.
"""

import sys
from typing import Any

import numpy as np

from lstm_checks import formats


def namespace(array: Any) -> Any:
    """Return the module whose functions take and make arrays of a kind: numpy, jax.numpy, torch."""
    if isinstance(array, np.ndarray):
        return np
    if type(array).__module__.partition(".")[0] == "torch":
        return sys.modules["torch"]
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def as_array(value: Any) -> Any:
    """Return a value that has a shape and a dtype as it is, anything else as an array."""
    return value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)


def is_floating(dtype: Any) -> bool:
    """Return whether numbers of a dtype are real and of floating point."""
    told = getattr(dtype, "is_floating_point", None)
    return bool(told) if told is not None else formats.is_floating(np.dtype(dtype))


def own(array: Any) -> Any:
    """Return an array that shares no memory with another; where arrays never change it need be none."""
    copy = getattr(array, "clone", None) or (array.copy if isinstance(array, np.ndarray) else None)
    return array if copy is None else copy()


def contiguous(array: Any) -> Any:
    """Return an array whose rows follow each other in memory, where one can tell."""
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array)
    return array.contiguous() if hasattr(array, "contiguous") else array
