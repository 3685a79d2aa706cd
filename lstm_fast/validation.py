"""Check what callers hand in, in one place, before anything is touched.

Every function returns a plain ``numpy.ndarray`` (or the checked value) or raises with a sentence
that names the argument, what came, what was expected and what to do about it. Byte order is not
part of a dtype here: big-endian data is converted where it is copied in. NaN and infinity are let
through.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "as_input",
    "as_lengths",
    "as_parameter",
    "as_shaped",
    "check_clip",
    "check_dtype",
    "check_rng",
    "check_size",
    "check_state_dict",
]


def check_size(name: str, size: Any) -> int:
    """Return a size as an int of at least 1."""
    try:
        if isinstance(size, (bool, np.bool_)):
            raise TypeError
        checked = operator.index(size)
    except TypeError:
        raise TypeError(f"{name} is {size!r}; expected an integer of at least 1") from None
    if checked < 1:
        raise ValueError(f"{name} is {checked}; expected an integer of at least 1")
    return checked


def check_state_dict(state: Any, names: Sequence[str]) -> None:
    """Refuse what is no mapping with exactly these names."""
    if not isinstance(state, Mapping):
        raise TypeError(f"the state dict is {type(state).__name__}; expected a mapping of names to arrays")
    missing = ", ".join(name for name in names if name not in state)
    unknown = ", ".join(str(name) for name in state if name not in names)
    if missing or unknown:
        found = " and ".join(f"{what} {which}" for what, which in (("lacks", missing), ("has also", unknown)) if which)
        raise ValueError(f"the state dict {found}; expected exactly {', '.join(names)}")


def as_lengths(lengths: Any, m: int, s: int) -> np.ndarray:
    """Return the steps of each of m samples as integers from 0 to s."""
    array = np.asarray(lengths)
    if array.shape != (m,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"lengths has shape {array.shape} and dtype {array.dtype}; expected ({m},), an integer for each sample"
        )
    if array.size and (array.min() < 0 or array.max() > s):
        raise ValueError(f"lengths has entries from {array.min()} to {array.max()}; expected 0 to s = {s}")
    return array.astype(np.intp)


def check_dtype(dtype: Any) -> np.dtype:
    """Return `dtype` as native float32 or float64."""
    try:
        if dtype is None:  # np.dtype(None) would be float64
            raise TypeError
        checked = np.dtype(dtype).newbyteorder("=")
        if checked.kind != "f" or checked.itemsize not in (4, 8):
            raise TypeError
    except TypeError:
        raise TypeError(f"dtype is {dtype!r}; expected np.float32 or np.float64") from None
    return checked


def check_rng(rng: Any) -> np.random.Generator:
    """Return a Generator from None, an integer seed or a Generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        if isinstance(rng, (bool, np.bool_)):
            raise TypeError
        seed = None if rng is None else operator.index(rng)
    except TypeError:
        raise TypeError(f"rng is {rng!r}; expected None, an integer seed or a numpy.random.Generator") from None
    if seed is not None and seed < 0:
        raise ValueError(f"rng is {seed}; expected a seed of at least 0")
    return np.random.default_rng(seed)


def check_clip(clip_gradients: Any) -> float | None:
    """Return the limit on the global norm: None for False, 0.25 for True, else the number."""
    if isinstance(clip_gradients, (bool, np.bool_)):
        return 0.25 if clip_gradients else None
    try:
        if isinstance(clip_gradients, (str, bytes)):
            raise TypeError
        limit = float(clip_gradients)
    except (TypeError, ValueError):
        limit = math.nan
    if not 0.0 < limit < math.inf:
        raise ValueError(
            f"clip_gradients is {clip_gradients!r}; expected False, True (a limit of 0.25 on the "
            "global norm) or a positive finite number"
        )
    return limit


def _plain(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """Return `value` as a base-class array of `dtype` up to byte order."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be read as an array ({error}); expected {dtype.name}, pass a NumPy array"
        ) from None
    if array.dtype != dtype and array.dtype.newbyteorder("=") != dtype:
        real = ".real" if array.dtype.kind == "c" else ""
        cure = f"pass {name}{real}.astype(np.{dtype.name})"
        if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
            cure += f", or build the layer with dtype=np.{array.dtype.name}"
        raise TypeError(f"{name} has dtype {array.dtype}; expected {dtype.name}, the layer's dtype: {cure}")
    return array


def as_input(X: Any, dtype: np.dtype, e: int | None = None) -> np.ndarray:
    """Return X as an array (m, s, e) with no empty axis."""
    X = _plain("X", X, dtype)
    if X.ndim != 3:
        raise ValueError(
            f"X has {X.ndim} axes, shape {X.shape}; expected three, (m, s, e): samples, steps, "
            "elements. Reshape it, e.g. X[None] for a single sample"
        )
    if X.size == 0:
        raise ValueError(
            f"X has shape {X.shape}; expected (m, s, e) with no axis of length 0. Pass at least "
            "one sample, one step and one element"
        )
    if e is not None and X.shape[2] != e:
        raise ValueError(
            f"X has shape {X.shape}, so e = {X.shape[2]}; expected e = {e}, that of the layer's "
            "parameters. Call compute_shapes(X) and set new parameters, or use another layer"
        )
    return X


def as_shaped(name: str, value: Any, dtype: np.dtype, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return `value` as an array of exactly `shape`; nothing is broadcast."""
    array = _plain(name, value, dtype)
    if array.shape != shape:
        raise ValueError(
            f"{name} has shape {array.shape}; expected {shape}, {meaning}. Nothing is broadcast: reshape it"
        )
    return array


def as_parameter(name: str, value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return `value` as an array fit to be copied into the parameter `name`."""
    meaning = {"U": "(e, u)", "V": "(u, u)", "b": "(1, u)"}[name[0]]
    return as_shaped(f"parameter {name}", value, dtype, shape, meaning)
