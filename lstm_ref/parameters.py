"""The four functions every EpyNN-style layer delegates to: shapes, parameters, gradients, update.

They work on any object that holds the dicts `d`, `fs`, `p`, `fc`, `bc` and `g`: this package's layer, an EpyNN
layer, or the reader's own.
"""

from typing import Any

import numpy as np

from lstm_ref.gradients import GATES, lstm_parameter_gradients

EPYNN_CLIP_NORM = 0.25

PARAMETERS = tuple(kind + gate for gate in GATES for kind in "UVb")
"""The names of the twelve parameters, gate by gate."""


def lstm_compute_shapes(layer: Any, X: Any) -> None:
    """Fill `layer.d` with m, s, e (u stays) and `layer.fs` with the shape of every array.

    Parameters
    ----------
    layer : object
        Holds `d`, with `u` in it, and `fs`.
    X : array (m, s, e)
        The input sequences; only the shape is read.

    Raises
    ------
    ValueError
        "X has shape (4, 3), expected 3 axes (m samples, s steps, e elements), each at least 1".
    """
    shape = np.shape(X)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"X has shape {shape}, expected 3 axes (m samples, s steps, e elements), each at least 1")
    m, s, e = shape
    u = layer.d["u"]
    layer.d.update(m=m, s=s, e=e)
    layer.fs["X"] = (m, s, e)
    layer.fs.update(parameter_shapes(e, u))
    layer.fs["h"] = layer.fs["C"] = (m, s, u)


def parameter_shapes(e: int, u: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of the twelve parameters by name."""
    by_kind = {"U": (e, u), "V": (u, u), "b": (1, u)}
    return {kind + gate: shape for kind, shape in by_kind.items() for gate in GATES}


def lstm_initialize_parameters(layer: Any) -> None:
    """Fill `layer.p`: each gate's U, then V, by `layer.initialization`, and b zero; gates in the order f, i, g, o.

    Parameters
    ----------
    layer : object
        Holds `fs` (see `lstm_compute_shapes`), `p`, `initialization(shape, rng)`, a Generator in `rng` or, as
        EpyNN has it, `np_rng`, and optionally `dtype` (float64 where it has none).

    Raises
    ------
    RuntimeError
        When the shapes are not known yet.
    ValueError
        When `initialization` returns another shape than asked for, or a value that is not finite.
    """
    if "Uf" not in layer.fs:
        raise RuntimeError("initialize_parameters before compute_shapes: call compute_shapes(X) first")
    rng = layer.rng if getattr(layer, "rng", None) is not None else layer.np_rng
    dtype = getattr(layer, "dtype", np.float64)
    state = rng.bit_generator.state
    p = {}
    try:
        for gate in GATES:
            p[f"U{gate}"] = _initial(layer, f"U{gate}", rng, dtype)
            p[f"V{gate}"] = _initial(layer, f"V{gate}", rng, dtype)
            p[f"b{gate}"] = np.zeros(layer.fs[f"b{gate}"]).astype(dtype)
    except BaseException:
        rng.bit_generator.state = state
        raise
    layer.p.update(p)


def _initial(layer: Any, name: str, rng: Any, dtype: Any) -> Any:
    """Return one initial weight matrix, checked."""
    shape = layer.fs[name]
    value = np.asarray(layer.initialization(shape, rng))
    if value.shape != shape:
        raise ValueError(f"initialization returned shape {value.shape} for {name}, expected {shape}")
    if not np.all(np.isfinite(value)):
        raise ValueError(f"initialization returned values that are not finite for {name}")
    return value.astype(dtype)


def lstm_compute_gradients(layer: Any, accumulate: bool = False) -> None:
    """Fill `layer.g` with the twelve parameters' gradients, clipped if the layer says so.

    Parameters
    ----------
    layer : object
        Holds `fc` and `bc` of a forward and a backward pass, `g`, and optionally `clip_gradients`: False,
        True (EpyNN's limit 0.25) or the limit of the global norm itself.
    accumulate : bool
        Whether they are added to those that are in `g`, as of several batches; the sum is clipped.

    Raises
    ------
    RuntimeError
        When there has been no backward pass.
    """
    if "df_" not in layer.bc:
        raise RuntimeError("compute_gradients before backward: call forward(X), then backward(dA)")
    g = lstm_parameter_gradients(layer.fc, layer.bc)
    if accumulate and layer.g:
        g = {name: layer.g[name] + gradient for name, gradient in g.items()}
    clip_gradients = getattr(layer, "clip_gradients", False)
    if clip_gradients:
        limit = EPYNN_CLIP_NORM if clip_gradients is True else clip_gradients
        g = clip_by_global_norm(g, limit)
    layer.g.update(g)


def clip_by_global_norm(g: dict[str, Any], limit: float) -> dict[str, Any]:
    """Return the gradients, scaled where the Euclidean norm over all of them together exceeds `limit`.

    Norm and scaling go by the largest entry, so that no square overflows and no factor is subnormal.
    """
    largest = float(max(np.max(np.abs(gradient)) for gradient in g.values()))
    if largest == 0 or not np.isfinite(largest):
        return g
    norm = float(np.sqrt(sum(np.sum(np.square(np.float64(gradient) / largest)) for gradient in g.values())))
    if norm <= limit / largest:
        return g
    return {name: (gradient / gradient.dtype.type(largest)) * (limit / norm) for name, gradient in g.items()}


def lstm_update_parameters(layer: Any) -> None:
    """Take one step of gradient descent: each parameter less `layer.lrate[layer.e]` times its gradient.

    Parameters
    ----------
    layer : object
        Holds `p`, `g`, the learning rates by epoch `lrate`, and the epoch `e`.

    Raises
    ------
    RuntimeError
        When there are no gradients, or no learning rate.
    IndexError
        When there is no rate for the epoch.
    TypeError
        "layer.lrate is 0.1, expected rates by epoch, such as [0.1]".
    ValueError
        When a gradient has another shape than its parameter.
    """
    if not layer.g:
        raise RuntimeError("update_parameters before compute_gradients: there is no gradient to follow")
    if getattr(layer, "lrate", None) is None:
        raise RuntimeError("the layer has no learning rate: set layer.lrate, one rate an epoch, and layer.e, the epoch")
    try:
        rate = float(layer.lrate[layer.e])
    except (IndexError, KeyError) as error:
        raise IndexError(f"layer.lrate {layer.lrate!r} has no rate for the epoch layer.e = {layer.e}") from error
    except TypeError as error:
        raise TypeError(f"layer.lrate is {layer.lrate!r}, expected rates by epoch, such as [0.1]") from error
    for name, gradient in layer.g.items():
        shape = np.shape(layer.p.get(name[1:]))
        if np.shape(gradient) != shape:
            raise ValueError(f"g[{name!r}] has shape {np.shape(gradient)}, expected {shape}, as its parameter")
    for name, gradient in layer.g.items():
        layer.p[name[1:]] -= rate * gradient
