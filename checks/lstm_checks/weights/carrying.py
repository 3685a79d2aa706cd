"""Weights and gradients carried from this project's names to a framework's arrays and back, of any cell, in any stack.

Of which cell they are is told by the parameters' names one way, by the arrays' names and shapes the other. A framework
keeps each cell in a layout of its own, and a stack as one such set of arrays a place. The arrays may be NumPy's, JAX's
or PyTorch's, in a function that is traced or differentiated, too.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from lstm_checks.contract import PLAIN
from lstm_checks.weights.guessing import PROJECTIONS
from lstm_checks.weights.layouts import VECTOR, Array, Block, Layout, LayoutError, find_layout, with_projection
from lstm_checks.weights.layouts import with_peepholes as seeing
from lstm_checks.weights.namespace import as_array, namespace
from lstm_checks.weights.packing import check_arrays, named_like, pack, unpack, unpack_gradients
from lstm_checks.weights.placing import Place, apart, joined, locate
from lstm_checks.weights.recurrent import CARRIED
from lstm_checks.weights.recurrent import LAYOUTS as RECURRENT
from lstm_checks.words import first_few
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS

PEEPHOLES = {
    "onnx": (Block("P", ("p",), "iof", VECTOR, 1),),
    "tf1": tuple(Block(f"w_{gate}_diag", ("p",), gate, VECTOR) for gate in "fio"),
}
"""The arrays of peepholes in a layout that may have them."""

_PLACED = re.compile(r"(?P<name>.+?)_l(?P<layer>\d+)(?P<reverse>_reverse)?")


def to_framework(p: Mapping[str, Any], layout: str | Layout) -> dict[str, Array]:
    """Return the arrays in a framework's layout.

    Where there are two biases that are only added the first holds all of it and the second is zero, so that the sum is
    exact. Where the framework adds to the forget gate at run time, that is taken off first (which may round).

    Parameters
    ----------
    p : mapping
        The parameters by name: of a plain LSTM U (e, u), V (u, u), b (1, u); of another cell those that its `Cell` has;
        of a stack those of each place, `Uf_l0` ... `bo_l1_reverse`.
    layout : str or Layout
        Where it is a Layout, it is taken as it is, for one cell.

    Returns
    -------
    dict
        Of a stack by the names that the framework has (PyTorch's), or with the place before them: ``l1.kernel``,
        ``l1_reverse.kernel``; ONNX's and OpenVINO's hold both directions.

    Raises
    ------
    LayoutError
        "Vf has shape (3, 2), expected (u, u) = (3, 3)".

    Examples
    --------
    >>> import numpy as np
    >>> p = {kind + gate: np.ones({"U": (2, 3), "V": (3, 3), "b": (1, 3)}[kind]) for gate in "figo" for kind in "UVb"}
    >>> {name: array.shape for name, array in to_framework(p, "torch").items()}
    {'weight_ih_l0': (12, 2), 'weight_hh_l0': (12, 3), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    >>> stack = {name + suffix: array for suffix in ("_l0", "_l0_reverse") for name, array in p.items()}
    >>> {name: array.shape for name, array in to_framework(stack, "onnx").items()}
    {'W': (2, 12, 2), 'R': (2, 12, 3), 'B': (2, 24)}
    """
    if isinstance(layout, Layout):
        return pack(p, layout)
    find_layout(layout)
    stacked = _of_places(p)
    if stacked is None:
        return pack_named(p, layout)[1]
    chosen = {place: _at(place, partial(pack_named, own, layout)) for place, own in stacked.items()}
    one = next(iter(chosen.values()))[0]
    return joined({place: arrays for place, (_, arrays) in chosen.items()}, one)


def from_framework(
    arrays: Mapping[str, Any], layout: str | Layout, *, cell: str | None = None, units: int | None = None
) -> dict[str, Array]:
    """Return the parameters by name, from a framework's arrays.

    Two biases that are only added are one, which rounds once; what the framework adds to the forget gate at run time is
    added, too. What a cell has and the framework's has not is zero.

    Parameters
    ----------
    arrays : mapping
        The layout's arrays by name, no more and no fewer; of a stack as `to_framework` names them.
    layout : str or Layout
    cell : str, optional
        Of which cell they are, where names and shapes do not tell: "gru" or "gru_reset_after".
    units : int, optional
        u, needed where all is one flat array that does not tell.

    Returns
    -------
    dict
        Of one layer and direction by the cell's own names, otherwise by a network's, `Uf_l0` ... `bo_l1_reverse`.

    Raises
    ------
    LayoutError
        "weight_hh_l0 is missing, expected (4u, u) = (12, 3)"; or what is too many, or ill-shaped.
    """
    if isinstance(layout, Layout):
        return unpack(arrays, layout, units=units)
    return _from(arrays, layout, cell, units, unpacked)


def gradients_from_framework(
    arrays: Mapping[str, Any], layout: str | Layout, *, cell: str | None = None, units: int | None = None
) -> dict[str, Array]:
    """Return the gradients dUf ... dbo from those of a framework's arrays; parameters as `from_framework` has them.

    The gradient of each of two biases is that of their sum: the first is db, the second comes by its own name, a key of
    `Layout.twins`, and must equal it. Of what a cell has and the framework's has not there is no gradient.
    """
    if isinstance(layout, Layout):
        return unpack_gradients(arrays, layout, units=units)
    return _from(arrays, layout, cell, units, unpack_gradients)


@cache
def variants_of(name: str) -> tuple[Layout, ...]:
    """Return the layouts in which a framework keeps the cells that it has, the plain LSTM's first."""
    plain = find_layout(name)
    if name == "named":
        # Cells of the same parameters have the same layout: the weights do not say which of them it is.
        of = {frozenset(cell.parameters): cell for cell in reversed(CELLS.values())}
        others = (cell for cell in CELLS.values() if cell is not PLAIN and cell in of.values())
        return (plain, *(named_like(replace(plain, cell=cell), cell.parameters) for cell in others))
    found = [plain]
    if name in PROJECTIONS:
        found.append(with_projection(plain, *PROJECTIONS[name]))
    if name in PEEPHOLES:
        found.append(seeing(plain, PEEPHOLES[name]))
    found += [one for layouts in RECURRENT.values() for one in layouts if one.name == name]
    return (*found, *(one for one in CARRIED if one.name == name))


def names_in(name: str) -> set[str]:
    """Return the names that arrays in a framework's layouts may have."""
    return {own for one in variants_of(name) for own in (*one.names, *(one.refused or {}))}


def choose(arrays: Mapping[str, Any], name: str, cell: str | None = None, units: int | None = None) -> Layout:
    """Return the layout of a framework that the arrays of one cell are in.

    Raises
    ------
    LayoutError
        Where they are in none, or in those of several cells.
    """
    values = {key: as_array(value) for key, value in arrays.items()}
    known = [one for one in variants_of(name) if cell is None or _alike(cell, one.cell)]
    if not known:
        raise LayoutError(f"layout {name} is of no cell {cell!r}, expected one of {_cells_of(name)}")
    # Those of which just these are the names tell; where there is none, whichever is the least wrong.
    exact = [one for one in known if {*one.names} == {*values}]
    fits, wrong = [], []
    for one in exact or known:
        try:
            check_arrays(values, one, units)
        except LayoutError as error:
            wrong.append(error)
        else:
            fits.append(one)
    if not fits:
        raise min(wrong, key=lambda error: str(error).count("; "))
    if len(fits) > 1:
        cells = [one.cell.name for one in fits]
        raise LayoutError(f"in layout {name} the cells {' and '.join(cells)} have such arrays: say which cell")
    return fits[0]


def _alike(name: str, cell: Cell) -> bool:
    """Return whether the cell of a name has the parameters of another one: a clipped one those of the plain one."""
    return name == cell.name or (name in CELLS and CELLS[name].parameters.keys() == cell.parameters.keys())


def unpacked(arrays: Mapping[str, Any], layout: Layout, *, units: int | None = None) -> dict[str, Array]:
    """Return all parameters of a cell, zero where the framework has none such."""
    held = unpack(arrays, layout, units=units)
    some = held["bg"] if "bg" in held else next(iter(held.values()))
    return {name: held[name] if name in held else namespace(some).zeros_like(some) for name in layout.cell.parameters}


def pack_named(p: Mapping[str, Any], name: str) -> tuple[Layout, dict[str, Array]]:
    """Return the layout of a framework for one cell's parameters, and the arrays in it.

    Raises
    ------
    LayoutError
        Where the framework has no such cell, or has no array for what is not zero.
    """
    variants = variants_of(name)
    exact = [one for one in variants if one.cell.parameters.keys() == p.keys()]
    if not exact:
        # A cell whose further parameters are zero is the one without them.
        less = [one for one in variants if one.cell.parameters.keys() < p.keys()]
        exact = [one for one in less if all(_is_zero(p[key]) for key in p.keys() - one.cell.parameters.keys())]
    if not exact:
        of = [cell for cell in CELLS.values() if cell.parameters.keys() == p.keys()]
        if of:
            raise LayoutError(
                f"layout {name} holds no weights of the {of[0].title} ({of[0].name}), expected one of {_cells_of(name)}"
            )
        # What is missing or too many is said by the layout that shares the most.
        closest = max(variants, key=lambda one: len(one.cell.parameters.keys() & p.keys()))
        return closest, pack(p, closest)
    layout = exact[0]
    over = [key for key in p if key not in layout.parameters]
    if kept := [key for key in over if not _is_zero(p[key])]:
        raise LayoutError(f"layout {name} has no array for {first_few(kept, 8, 8)}, expected zeros there")
    return layout, pack({key: value for key, value in p.items() if key not in over}, layout)


def _from(
    arrays: Mapping[str, Any],
    name: str,
    cell: str | None,
    units: int | None,
    how: Callable[..., dict[str, Array]],
) -> dict[str, Array]:
    """Return what `how` makes of the arrays of each place, by a network's names where there are several."""
    find_layout(name)
    placed: dict[Place, dict[str, Any]] = {}
    known = names_in(name)
    for key, value in arrays.items():
        place, own = locate(key, known)
        # What has no place in a stack is for the layout to name as too many.
        placed.setdefault(place if not place.prefix else Place(), {})[own if own and not place.prefix else key] = value
    has_directions = find_layout(name).directions
    each = {
        at: one
        for place, held in placed.items()
        for at, one in apart(place, {k: as_array(v) for k, v in held.items()}, has_directions)
    }
    if {*each} <= {Place()}:
        one = each.get(Place(), {})
        return how(one, choose(one, name, cell, units), units=units)
    _expect_complete({*each})
    found: dict[str, Array] = {}
    for place, held in sorted(each.items()):
        layout = _at(place, partial(choose, held, name, cell, units))
        named = how(held, layout, units=units)
        twins = layout.twins
        found |= {_twin(key, place) if key in twins else key + place.suffix: value for key, value in named.items()}
    return found


def _twin(name: str, place: Place) -> str:
    """Return the name of a second bias's gradient at a place."""
    gradient, _, of = name.partition(" of ")
    return f"{gradient}{place.suffix} of {of}"


def _of_places(p: Mapping[str, Any]) -> dict[Place, dict[str, Any]] | None:
    """Return the parameters of a stack by their place; None where names say no place."""
    matches = {name: _PLACED.fullmatch(name) for name in p}
    if not any(matches.values()):
        return None
    found: dict[Place, dict[str, Any]] = {}
    for name, match in matches.items():
        if match is None:
            raise LayoutError(f"{name} says no place, as the others do, expected such names as {name}_l0")
        found.setdefault(Place("", int(match["layer"]), bool(match["reverse"])), {})[match["name"]] = p[name]
    _expect_complete({*found})
    return found


def _expect_complete(places: Collection[Place]) -> None:
    """Raise where places are those of no stack: a layer or a direction of one is missing."""
    layers = {place.layer for place in places}
    sides = {place.reverse for place in places}
    due = [Place("", layer, side) for layer in range(max(layers) + 1) for side in sorted(sides)]
    if missing := [place.suffix[1:] for place in due if place not in places]:
        there = ", ".join(place.suffix[1:] for place in sorted(places))
        raise LayoutError(f"there are weights at {there}, and none at {', '.join(missing)}, expected every layer alike")


def _at(place: Place, work: Callable[[], Any]) -> Any:
    """Return what work gives; its error names the place."""
    try:
        return work()
    except LayoutError as error:
        raise LayoutError(f"{place.suffix[1:]}: {error}") from error


def _is_zero(value: Any) -> bool:
    """Return whether an array is known to be all zeros; one that is traced has no values yet."""
    try:
        return not bool((as_array(value) != 0).any())
    except (TypeError, RuntimeError):
        return False


def _cells_of(name: str) -> str:
    """Return the cells that a framework's layouts are of, in words."""
    return ", ".join(dict.fromkeys(one.cell.name for one in variants_of(name)))
