"""What the layer refuses, in words: each check names the argument, what came, what was expected, and the cure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check_size(name: str, size: Any) -> int:
    """Return a size, such as the number of unit cells, as an int."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"{name} is {size!r} ({type(size).__name__}), expected an int of at least 1")
    if size < 1:
        raise ValueError(f"{name} is {size}, expected at least 1")
    return int(size)


def check_lengths(lengths: Any, m: int, s: int) -> Array:
    """Return how many steps each of m samples has, of s that there are."""
    array = np.asarray(lengths)
    if array.shape != (m,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"lengths has shape {array.shape} and dtype {array.dtype}, expected {m} integers, one for each sample"
        )
    outside = array[(array < 0) | (array > s)]
    if len(outside):
        raise ValueError(f"lengths holds {outside[0]}, expected 0 to {s}, the steps of X")
    return array.astype(np.intp)


def check_names(state: Any, names: Sequence[str]) -> None:
    """Refuse a mapping with other names than these."""
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state is a {type(state).__name__}, expected a mapping from {names[0]} ... {names[-1]} to arrays"
        )
    missing = [name for name in names if name not in state]
    besides = [str(name) for name in state if name not in names]
    if missing or besides:
        found = [f"{what} {', '.join(some)}" for what, some in (("lacks", missing), ("has besides", besides)) if some]
        raise ValueError(f"state {' and '.join(found)}, expected {', '.join(names)} and no more")


def check_flag(name: str, value: Any) -> bool:
    """Return an option that is true or false, such as `sequences`, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the layer's dtype, float32 or float64."""
    try:
        found = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        found = None
    if found is None or found not in DTYPES:
        raise TypeError(f"dtype is {dtype!r}, expected np.float32 or np.float64")
    return found


def check_clip_gradients(clip_gradients: Any) -> bool | float:
    """Return False, True, or the positive limit of the global norm."""
    if isinstance(clip_gradients, bool | np.bool_):
        return bool(clip_gradients)
    if not isinstance(clip_gradients, int | float | np.integer | np.floating):
        raise TypeError(f"clip_gradients is {clip_gradients!r}, expected False, True (limit 0.25) or a positive number")
    if not 0 < clip_gradients < np.inf:
        raise ValueError(
            f"clip_gradients is {clip_gradients!r}, expected a positive, finite limit of the global norm, or False"
        )
    return float(clip_gradients)


def check_rng(rng: Any) -> np.random.Generator:
    """Return a Generator for None, a seed or a Generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, int | np.integer)):
        raise TypeError(f"rng is {rng!r}, expected None, an int seed or a numpy.random.Generator")
    if rng is not None and rng < 0:
        raise ValueError(f"rng is {rng}, expected a seed of at least 0")
    return np.random.default_rng(rng)


def check_array(name: str, value: Any, shape: tuple[int | None, ...], axes: str, dtype: np.dtype[Any]) -> Array:
    """Return `value` as an array of native byte order; it must have the dtype and, where not None, the sizes given."""
    array = np.asarray(value)
    if array.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}, expected {dtype}: pass {name}.astype(np.{dtype})")
    fits = array.ndim == len(shape) and all(
        want is None or n == want for n, want in zip(array.shape, shape, strict=True)
    )
    if not fits or 0 in array.shape:
        sizes = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected ({sizes}), axes {axes}, no size 0")
    return array.astype(dtype, copy=False)
