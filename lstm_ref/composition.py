"""How cells make a network: layers over one another, directions beside one another, each sample of its own length.

A place is where one cell stands: a layer and a direction. The reverse direction is the same cell over the steps in
reverse order, and what it gives is turned back. A padded batch is its samples, each run at its own length alone:
nothing here masks anything. What lies in the padding is read by nobody, and is zero in what comes out.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np


def network_forward(
    net: Any, p: Mapping[str, Any], X: Any, states: Mapping[str, Any], keep: Collection[str] | None
) -> dict[str, Any]:
    """Return the output of every step `h`, the final states of every place, and what each place keeps.

    Parameters
    ----------
    net : Network
    p : mapping
        Each place's parameters, by the cell's names and the place's suffix.
    X : array (..., m, s, e)
    states : mapping
        Each place's initial states, likewise.
    keep : collection of str or None
        Which intermediates of each place are wanted; all where None.
    """
    fc: dict[str, Any] = {"kept": {}}
    x = X
    for layer in net.by_layer:
        hs = []
        for place in layer:
            own = {name: p[name + place.suffix] for name in place.cell.parameters}
            initial = [states[name] for name in place.initial]
            h, final, fc["kept"][place.suffix] = place_forward(place, own, x, initial, net.lengths, keep)
            hs.append(h)
            fc |= dict(zip(place.finals, final, strict=True))
        x = joined(net, hs)
    fc["h"] = x
    return fc


def network_backward(
    net: Any, p: Mapping[str, Any], fc: Mapping[str, Any], dh: Any, cotangents: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the cotangent of X and of every initial state, and what each place keeps.

    Parameters
    ----------
    net, p, fc
        As the forward pass took and gave them.
    dh : array (..., m, s, d)
        The cotangent of the output of every step.
    cotangents : mapping
        Those of the final states of every place.
    """
    bc: dict[str, Any] = {"kept": {}}
    dx = dh
    for layer in reversed(net.by_layer):
        back = []
        for place, arriving in zip(layer, parted(net, dx), strict=True):
            own = {name: p[name + place.suffix] for name in place.cell.parameters}
            end = [cotangents[name] for name in place.cotangents]
            kept = fc["kept"][place.suffix]
            dX, begin, bc["kept"][place.suffix] = place_backward(place, own, kept, arriving, end, net.lengths)
            back.append(dX)
            bc |= {f"d{name}": value for name, value in zip(place.initial, begin, strict=True)}
        dx = added(back)
    bc["dX"] = dx
    return bc


def network_gradients(net: Any, fc: Mapping[str, Any], bc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gradients of all parameters, those of each place by themselves."""
    found = {}
    for place in net.places:
        for name, value in place_gradients(place, fc["kept"][place.suffix], bc["kept"][place.suffix]).items():
            found[name + place.suffix] = value
    return found


def joined(net: Any, hs: list[Any]) -> Any:
    """Return what a layer gives: the outputs of its directions side by side, or added."""
    if len(hs) == 1:
        return hs[0]
    return np.concatenate(hs, axis=-1) if net.join == "concat" else added(hs)


def parted(net: Any, dh: Any) -> list[Any]:
    """Return the cotangent of the output of each direction of a layer, from that of both."""
    count = len(net.directions)
    if net.join == "sum":
        return [dh] * count
    width = dh.shape[-1] // count
    return [dh[..., k * width : (k + 1) * width] for k in range(count)]


def added(values: list[Any]) -> Any:
    """Return the sum of the directions' values."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def parts(x: Any, lengths: tuple[int, ...] | None) -> Iterator[tuple[slice, int]]:
    """Yield which samples are run together, and over how many steps: all at once, or each alone at its own length."""
    if lengths is None:
        yield slice(None), x.shape[-2]
        return
    for k, steps in enumerate(lengths):
        yield slice(k, k + 1), steps


def place_forward(
    place: Any,
    own: Mapping[str, Any],
    x: Any,
    initial: list[Any],
    lengths: tuple[int, ...] | None,
    keep: Collection[str] | None,
) -> tuple[Any, list[Any], list[Any]]:
    """Return one place's output of every step, its final states, and what it keeps of each part."""
    hs, finals, kept = [], [], []
    for samples, steps in parts(x, lengths):
        begin = [state[..., samples, :] for state in initial]
        given = x[..., samples, :steps, :]
        turned = given[..., ::-1, :] if place.reverse else given
        fc = place.cell.forward(own, turned, *begin, **({} if keep is None else {"keep": keep})) if steps else {}
        final = [fc[state.kept_as][..., -1, :] if steps else b for state, b in zip(place.states, begin, strict=True)]
        came = [fc[place.states[0].kept_as]] if steps else []
        back = [h[..., ::-1, :] if place.reverse else h for h in came]
        padding = x.shape[-2] - steps
        hs.append(of_all_steps(back, [np.stack([0 * begin[0]] * padding, axis=-2)] if padding else []))
        finals.append(final)
        kept.append((own, x, fc))
    return of_all_samples(hs, -3), [of_all_samples(list(of), -2) for of in zip(*finals, strict=True)], kept


def place_backward(
    place: Any,
    own: Mapping[str, Any],
    kept: list[Any],
    dh: Any,
    end: list[Any],
    lengths: tuple[int, ...] | None,
) -> tuple[Any, list[Any], list[Any]]:
    """Return one place's cotangents of its input and its initial states, and what it keeps of each part."""
    dXs, begins, found = [], [], []
    for (samples, steps), (_, x, fc) in zip(parts(dh, lengths), kept, strict=True):
        final = [cotangent[..., samples, :] for cotangent in end]
        arriving = dh[..., samples, :steps, :]
        turned = arriving[..., ::-1, :] if place.reverse else arriving
        bc = place.cell.backward(own, fc, turned, *final) if steps else {}
        begin = [bc[f"d{state.name}0"] if steps else f for state, f in zip(place.states, final, strict=True)]
        came = [bc["dX"]] if steps else []
        back = [dX[..., ::-1, :] if place.reverse else dX for dX in came]
        padding = dh.shape[-2] - steps
        dXs.append(of_all_steps(back, [0 * x[..., samples, steps:, :]] if padding else []))
        begins.append(begin)
        found.append(bc)
    return of_all_samples(dXs, -3), [of_all_samples(list(of), -2) for of in zip(*begins, strict=True)], found


def place_gradients(place: Any, kept: list[Any], found: list[Any]) -> dict[str, Any]:
    """Return the gradients of one place's parameters, each "d" before the name: summed over all that was run."""
    total: dict[str, Any] = {}
    for (_, _, fc), bc in zip(kept, found, strict=True):
        if bc:
            own = place.cell.parameter_gradients(fc, bc)
            total = {name: total[name] + value for name, value in own.items()} if total else own
    parameters, _, _ = kept[0]
    return total or {f"d{name}": 0 * value for name, value in parameters.items()}


def of_all_steps(back: list[Any], padding: list[Any]) -> Any:
    """Return what was run and the padding behind it, one after the other."""
    both = [*back, *padding]
    return both[0] if len(both) == 1 else np.concatenate(both, axis=-2)


def of_all_samples(values: list[Any], axis: int) -> Any:
    """Return the values of all parts of a batch as one."""
    return values[0] if len(values) == 1 else np.concatenate(values, axis=axis)
