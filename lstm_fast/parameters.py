"""Shapes, first values, gradients and updates of the parameters, for any layer with the dicts.

The four functions need an object with ``d`` (holding at least 'u'), ``fs``, ``p``, ``fc``, ``bc``
and ``g``, as EpyNN's layers have and :class:`lstm_fast.LSTM` has. On the latter,
`lstm_compute_gradients` takes the packed route: one product for all twelve gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_fast.packing import PARAMETERS
from lstm_fast.validation import as_input, as_shaped, check_clip

__all__ = [
    "clip_global_norm",
    "lstm_compute_gradients",
    "lstm_compute_shapes",
    "lstm_initialize_parameters",
    "lstm_update_parameters",
]

_STEPWISE = [
    "h",
    "C",
    "hp",
    "Cp_",
    "C_",
    "f_",
    "f",
    "i_",
    "i",
    "g_",
    "g",
    "o_",
    "o",
    "dA",
    "dhn",
    "dh_",
    "dh",
    "dCn",
    "dC_",
    "dC",
    "df_",
    "di_",
    "dg_",
    "do_",
]


def parameter_shapes(e: int, u: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter."""
    by_kind = {"U": (e, u), "V": (u, u), "b": (1, u)}
    return {name: by_kind[name[0]] for name in PARAMETERS}


def shapes(m: int, s: int, e: int, u: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every named array but A and dA-as-passed."""
    fs: dict[str, tuple[int, ...]] = {"X": (m, s, e), **parameter_shapes(e, u)}
    fs |= dict.fromkeys(_STEPWISE, (m, s, u))
    fs["dX"] = (m, s, e)
    fs |= dict.fromkeys(("h0", "C0", "hn", "Cn", "dh0", "dC0"), (m, u))
    return fs


def lstm_compute_shapes(layer: Any, X: Any) -> None:
    """Fill ``layer.d`` (m, s, e beside u) and ``layer.fs`` from X (m, s, e).

    Raises
    ------
    TypeError
        X is not of the layer's dtype, if it has one.
    ValueError
        X has not three axes, or one is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_fast import LSTM
    >>> layer = LSTM(3)
    >>> lstm_compute_shapes(layer, np.zeros((2, 5, 4)))
    >>> layer.d, layer.fs["Uf"]
    ({'u': 3, 'm': 2, 's': 5, 'e': 4}, (4, 3))
    """
    dtype = getattr(layer, "dtype", None)
    X = as_input(X, np.asarray(X).dtype if dtype is None else np.dtype(dtype))
    m, s, e = X.shape
    layer.d.update(m=m, s=s, e=e)
    layer.fs.update(shapes(m, s, e, layer.d["u"]))


def lstm_initialize_parameters(layer: Any) -> None:
    """Draw U then V of the gates f, i, g, o, in this order; the biases are zero.

    Calls ``layer.initialization(shape, rng)`` eight times, with `rng` the layer's ``rng`` or else
    ``np_rng``, and casts to the layer's ``dtype`` (float64 if it has none). The order is part of
    the interface: layers given equal seeds hold equal parameters.

    Raises
    ------
    RuntimeError
        The shapes are not known yet.
    ValueError
        The initialization returned another shape than asked for, or a value that is not finite.
        No parameter is changed then, and the generator is put back where it was.
    """
    d = layer.d
    if "e" not in d:
        raise RuntimeError("initialize_parameters needs the number of elements: call compute_shapes(X) first")
    e, u = d["e"], d["u"]
    rng = getattr(layer, "rng", None)
    if rng is None:
        rng = getattr(layer, "np_rng", None)
    if rng is None:
        rng = np.random.default_rng()
    dtype = np.dtype(getattr(layer, "dtype", None) or np.float64)
    bits = getattr(rng, "bit_generator", None)
    state = None if bits is None else bits.state
    drawn = {}
    try:
        for gate in "figo":
            for name, shape in (("U" + gate, (e, u)), ("V" + gate, (u, u))):
                drawn[name] = _checked_draw(layer.initialization, name, shape, rng, dtype)
            drawn["b" + gate] = np.zeros((1, u), dtype)
    except BaseException:
        if bits is not None:
            bits.state = state
        raise
    layer.p.update(drawn)


def _checked_draw(
    initialization: Any,
    name: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    dtype: np.dtype,
) -> np.ndarray:
    """Return what `initialization` draws, checked and cast."""
    values = np.asarray(initialization(shape, rng))
    if values.shape != shape:
        raise ValueError(
            f"initialization returned shape {values.shape} for {name}; expected {shape}. It is "
            "called as initialization(shape, rng) and must return an array of that shape"
        )
    if values.dtype.kind not in "fiu":
        raise ValueError(f"initialization returned dtype {values.dtype} for {name}; expected real numbers")
    with np.errstate(over="ignore"):  # too large for float32: said below
        cast = values.astype(dtype)
    if not np.isfinite(cast).all():
        raise ValueError(
            f"initialization returned a value that is not finite in {dtype.name} for {name}; expected finite numbers"
        )
    return cast


def lstm_compute_gradients(layer: Any, accumulate: bool = False) -> None:
    """Fill ``layer.g`` with dUf .. dbo, and clip them if ``layer.clip_gradients`` says so.

    Per gate k, over all samples and steps: dU = X^T dk_, dV = hp^T dk_ and db = the sum of dk_. With
    `accumulate` they are added to what ``layer.g`` holds, and the sum is clipped.

    Raises
    ------
    RuntimeError
        There was no backward pass.
    """
    fused = getattr(layer, "_sum_gradients", None)
    if fused is not None and fused(accumulate):
        return
    if not layer.fc or "df_" not in layer.bc:
        raise RuntimeError("compute_gradients has nothing to sum: call forward(X) and backward(dA) first")
    gradients = sum_by_gate(layer.fc, layer.bc)
    if accumulate:
        gradients = {name: layer.g[name] + new if name in layer.g else new for name, new in gradients.items()}
    limit = check_clip(getattr(layer, "clip_gradients", False))
    if limit is not None:
        clip_global_norm(list(gradients.values()), limit)
    layer.g.update(gradients)


def sum_by_gate(fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return dUf .. dbo as new arrays, from X, hp and the gates' dk_."""
    X, hp = fc["X"], fc["hp"]
    gradients = {}
    for gate in "figo":
        dk_ = bc[f"d{gate}_"]
        flat = dk_.reshape(-1, dk_.shape[-1])
        gradients["dU" + gate] = X.reshape(-1, X.shape[-1]).T @ flat
        gradients["dV" + gate] = hp.reshape(-1, hp.shape[-1]).T @ flat
        gradients["db" + gate] = flat.sum(axis=0, keepdims=True)
    return gradients


def clip_global_norm(gradients: list[np.ndarray], limit: float) -> None:
    """Scale the arrays in place so that their joint 2-norm is at most `limit`.

    The norm is taken of the values over a power of two near the largest, so it neither overflows
    nor vanishes. Gradients that are not finite are left as they are, to be seen.

    Examples
    --------
    >>> g = np.array([3e200, 4e200])
    >>> clip_global_norm([g], 1.0)
    >>> [round(float(x), 12) for x in g]
    [0.6, 0.8]
    """
    largest = max(float(np.max(np.abs(gradient))) for gradient in gradients)
    if largest == 0.0 or not math.isfinite(largest):
        return
    exponent = math.frexp(largest)[1]
    scaled = [np.ldexp(gradient, -exponent) for gradient in gradients]  # all below 1, exactly
    norm = math.sqrt(sum(float(np.vdot(array, array)) for array in scaled))
    # norm * 2^exponent > limit, asked so that nothing overflows
    if math.log2(norm) + exponent <= math.log2(limit) - 1:
        return
    if norm <= math.ldexp(limit, -exponent):
        return
    for gradient, array in zip(gradients, scaled, strict=True):
        np.multiply(array, limit / norm, out=gradient)


def lstm_update_parameters(layer: Any) -> None:
    """Take one step of gradient descent: p -= lrate[e] * g, with e the epoch ``layer.e``.

    Raises
    ------
    RuntimeError
        ``layer.lrate`` is not set, or there are no gradients.
    TypeError, ValueError
        ``layer.lrate`` cannot be indexed by epoch; a gradient is not of its parameter's dtype or
        shape. No parameter is changed then.
    """
    schedule = getattr(layer, "lrate", None)
    if schedule is None:
        raise RuntimeError(
            "update_parameters needs a learning rate: set layer.lrate to a sequence indexed by "
            "epoch, e.g. layer.lrate = [0.1]"
        )
    if not hasattr(schedule, "__getitem__"):
        raise TypeError(f"layer.lrate is {schedule!r}; expected a sequence indexed by epoch, e.g. [{schedule!r}]")
    missing = [name for name in PARAMETERS if "d" + name not in layer.g]
    if missing:
        raise RuntimeError(f"update_parameters has no gradient d{missing[0]}: call compute_gradients() first")
    unset = [name for name in PARAMETERS if name not in layer.p]
    if unset:
        raise RuntimeError(f"update_parameters has no parameter {unset[0]}: call initialize_parameters() first")
    try:
        rate = schedule[layer.e]
    except (IndexError, KeyError):
        raise IndexError(f"layer.lrate has no entry for epoch layer.e = {layer.e}; make the schedule longer") from None
    gradients = {}
    for name in PARAMETERS:
        gradient, values = layer.g["d" + name], layer.p[name]
        gradients[name] = as_shaped(f"g['d{name}']", gradient, values.dtype, values.shape, f"the shape of p['{name}']")
    for name, gradient in gradients.items():
        values = layer.p[name]
        rows = max(1, 4096 // values.shape[1])  # in pieces, so that the product stays in cache
        for k in range(0, len(values), rows):
            values[k : k + rows] -= values.dtype.type(rate) * gradient[k : k + rows]
