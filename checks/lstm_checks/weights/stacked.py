"""The weights of a network in a framework's arrays: at each place, a layer and a direction, those of one cell.

What stands at a place is a `Kept`: the layout in which the framework keeps one cell, and what stands before or after
its arrays' names there.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstm_checks.weights.layouts import PROVEN, ROWS, Array, Layout
from lstm_checks.weights.packing import named_like
from lstm_checks.weights.recurrent import Kept
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import Network

FIRST = "_l0"
"""How the names of arrays end of which PyTorch says the place: those of the first layer."""


BACKWARDS = re.compile(r"reverse|backward|(?:^|[._/])(?:bw|bwd|rev)(?=\d*(?:[._/]|$))")
"""What the name of something that runs in reverse has in it."""


def at_place(layout: Layout, suffix: str) -> Layout:
    """Return a layout whose arrays' names end in their place, at another than the first: "_l1_reverse"."""
    blocks = (replace(block, name=block.name.removesuffix(FIRST) + suffix) for block in layout.blocks)
    return replace(layout, blocks=tuple(blocks))


@dataclass(frozen=True)
class Stacked:
    """The arrays of a network's weights: by the suffix of a place, those of the cell there."""

    net: Network
    kept: Mapping[str, Kept]

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of the arrays, place by place."""
        return tuple(name for place in self.net.places for name in self.kept[place.suffix].names)

    @property
    def layout(self) -> Layout:
        """The layout of the first place's arrays, which is that of the others but for their names."""
        return self.kept[self.net.places[0].suffix].layout

    @property
    def twins(self) -> dict[str, str]:
        """The gradients of second biases that are only added, and the gradient that each must equal."""
        return {
            _told(name, place.suffix): due + place.suffix
            for place in self.net.places
            for name, due in self.kept[place.suffix].twins.items()
        }

    def absent(self) -> frozenset[str]:
        """Return the parameters that the arrays do not hold, such as biases, and their gradients."""
        names = {name + place.suffix for place in self.net.places for name in self.kept[place.suffix].absent()}
        return frozenset(names | {f"d{name}" for name in names})

    def pack(self, p: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays by their full names, from the network's parameters."""
        found: dict[str, Array] = {}
        for place in self.net.places:
            own = {name: p[name + place.suffix] for name in place.cell.parameters}
            found |= self.kept[place.suffix].pack(own)
        return found

    def gradients(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """Return the network's gradients, and those of second biases as `twins` names them, from those of arrays."""
        found: dict[str, Array] = {}
        for place in self.net.places:
            kept = self.kept[place.suffix]
            own = kept.gradients(arrays)
            found |= {_told(n, place.suffix) if n in kept.twins else n + place.suffix: v for n, v in own.items()}
        return found


def _told(twin: str, suffix: str) -> str:
    """Return the name of a second bias's gradient at a place: "dbf_l0 of bias_hh_l0"."""
    gradient, _, of = twin.partition(" of ")
    return f"{gradient}{suffix} of {of}"


def natural(name: str) -> list[Any]:
    """Return what sorts names as people count: layers.2 before layers.10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def by_its_names(net: Network) -> Stacked:
    """Return a network whose arrays are its own parameters, by its own names."""
    kept = {}
    for place in net.places:
        layout = named_like(
            Layout("named", "a function by name", (), "", PROVEN, cell=place.cell), place.cell.parameters
        )
        kept[place.suffix] = Kept(place.cell, at_place(layout, place.suffix))
    return Stacked(net, kept)


def find_places(shapes: Mapping[str, tuple[int, ...]], u: int, layouts: Iterable[Layout]) -> list[Kept]:
    """Return the cells whose weights are among arrays, by their names and shapes, in the order of the arrays.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name.
    u : int
        How many units each has; how wide its input is follows from its shapes.
    layouts : iterable of Layout
        Those that may be; of several that fit it is the one with the most arrays.
    """
    found: list[Kept] = []
    used: set[str] = set()
    for layout in sorted(layouts, key=lambda layout: -len(layout.names)):
        for name in shapes:
            prefix = name.removesuffix(layout.names[0])
            kept = Kept(layout.cell, layout, prefix)
            fits = name.endswith(layout.names[0]) and (not prefix or prefix[-1] in "./_")
            if fits and not used & {*kept.names} and _has_shapes(kept, shapes, u):
                found.append(kept)
                used |= {*kept.names}
    order = {name: k for k, name in enumerate(shapes)}
    return sorted(found, key=lambda kept: order[kept.names[0]])


def width_of(kept: Kept, shapes: Mapping[str, tuple[int, ...]], u: int) -> int:
    """Return how wide the input of a cell is, by the shape of its first array."""
    block = kept.layout.blocks[0]
    rows = shapes[kept.prefix + block.name][-1 if block.form == ROWS else 0]
    return rows - u if "V" in block.kinds else rows


def _has_shapes(kept: Kept, shapes: Mapping[str, tuple[int, ...]], u: int) -> bool:
    """Return whether all arrays are there, in the shapes of some size of the input, and of a projection."""
    if not {*kept.names} <= shapes.keys() or len(shapes[kept.names[0]]) != 2:
        return False
    last = kept.layout.blocks[-1]
    projected = shapes[kept.prefix + last.name] if kept.layout.projects else ()
    p = projected[0 if last.form == ROWS else 1] if len(projected) == 2 else None
    due = kept.layout.shapes(width_of(kept, shapes, u), u, p)
    return all(tuple(shapes[kept.prefix + name]) == shape for name, shape in due.items())


class StackError(ValueError):
    """The cells of a module make no network of equal layers; the message says why."""


def as_stacks(
    places: Sequence[Kept],
    shapes: Mapping[str, tuple[int, ...]],
    e: int,
    u: int,
    cell: Cell,
    is_reverse: Callable[[Kept], bool],
) -> list[Stacked]:
    """Return the networks that cells in their order may make: one, or two that differ in how directions are joined.

    Parameters
    ----------
    places : sequence of Kept
    shapes : mapping
        The shape of each array by its name.
    e, u : int
        Which sizes they were made with.
    cell : Cell
        What stands at every place: the cell of the weights, with its activations.
    is_reverse : callable
        Whether what stands somewhere runs in reverse.

    Raises
    ------
    StackError
        "its layers' directions are 1 forward and 2 in reverse, expected as many of each".
    """
    if len({kept.layout.parameters for kept in places}) > 1:
        raise StackError("its layers are of several kinds, or have biases in part, expected equal ones")
    # The first layer is the one that takes X, whatever it is called.
    ordered = sorted(places, key=lambda kept: width_of(kept, shapes, u) != e)
    sides = [[k for k in ordered if not is_reverse(k)], [k for k in ordered if is_reverse(k)]]
    sides = [side for side in sides if side]
    if len({len(side) for side in sides}) > 1:
        counts = " and ".join(
            f"{len(side)} {word}" for side, word in zip(sides, ("forward", "in reverse"), strict=True)
        )
        raise StackError(f"its layers' directions are {counts}, expected as many of each")
    words = ("both", "sum") if len(sides) == 2 else ("reverse" if is_reverse(ordered[0]) else "forward",)
    found = []
    for word in words:
        net = cell_named(f"{cell.name}@{len(sides[0])}x{word}")
        assert isinstance(net, Network)
        kept = {p.suffix: replace(sides[-1 if p.reverse else 0][p.layer], cell=cell) for p in net.places}
        p = cell.states[0].axes[-1]
        wide = u if p == "u" else shapes[_projection(places[0])][0]
        due = [e, *[wide * (2 if word == "both" else 1)] * (net.layers - 1)]
        if all(width_of(kept[place.suffix], shapes, u) == due[place.layer] for place in net.places):
            found.append(Stacked(net, kept))
    if not found:
        raise StackError(f"its {len(ordered)} layers do not take what the one before gives")
    return found


def _projection(kept: Kept) -> str:
    """Return the full name of the array of a projection."""
    return next(kept.prefix + block.name for block in kept.layout.blocks if "P" in block.kinds)
