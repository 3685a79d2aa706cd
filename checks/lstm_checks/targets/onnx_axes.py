"""Which axis of what enters and leaves a graph is which: samples, steps, elements, units, places.

A graph does not say whether its input is (m, s, e) or (s, m, e). It is read from what it declares of its inputs and
outputs, sizes and names, from what shapes come when it is run, and last from what hangs on what: samples are
independent of each other, steps are not.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Axes = tuple[str, ...]
"""The axes of an array, each a letter, or several that it runs over, the last fastest."""

INPUT, LENS, EVERY = "X", "lengths", "h"
"""Roles of a port that are not a state's: those are "h0", "C0", "hn", "Cn"."""

CANONICAL = {INPUT: "mse", LENS: "m", EVERY: "msDu"}
"""The axes of an array as the harness has it, D directions and u units being the last axis; states are "Pmu"."""

_WORDS = {
    "m": re.compile(r"batch|sample|^(n|b|bs|bsz|m)$", re.IGNORECASE),
    "s": re.compile(r"seq|step|time|len|frame|^(s|t|l)$", re.IGNORECASE),
}
"""What the names of samples' and steps' sizes look like."""


@dataclass(frozen=True)
class Port:
    """Something that enters or leaves a graph.

    Attributes
    ----------
    name : str
        What the graph calls it.
    role : str
        What it is: "X", "lengths", "h", or a state, "h0", "C0", "hn", "Cn".
    dims : tuple or None
        What the graph declares: each a number, a name, or None; None where not even the rank is.
    kind : str
        Its dtype.
    suffixes : tuple of str
        Of a state, the places that it is of, in the order in which they are stacked.
    directions : int
        Of "h", how many are side by side.
    """

    name: str
    role: str
    dims: tuple[Any, ...] | None
    kind: str = "float32"
    suffixes: tuple[str, ...] = ()
    directions: int = 1

    @property
    def letters(self) -> str:
        """The axes of the array as the harness has it."""
        return CANONICAL.get(self.role, "Pmu")

    @property
    def options(self) -> tuple[Axes, ...]:
        """What its axes may be, the likelier first."""
        found = _options(self.role, self.directions)
        return tuple(axes for axes in found if self.dims is None or len(axes) == len(self.dims))

    def sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the sizes by letter, its own among them."""
        return {**sizes, "P": len(self.suffixes), "D": self.directions}

    def shape(self, axes: Axes, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return its shape."""
        known = self.sizes(sizes)
        return tuple(math.prod(known[letter] for letter in axis) for axis in axes)

    def give(self, array: Any, axes: Axes) -> Any:
        """Return an array as the graph has it, from the harness's."""
        known = dict(zip(self.letters, array.shape, strict=True))
        flat = "".join(axes)
        kept = "".join(letter for letter in self.letters if letter in flat)
        array = array.reshape([known[letter] for letter in kept])
        array = array.transpose([kept.index(letter) for letter in flat])
        return np.ascontiguousarray(array.reshape([math.prod(known[letter] for letter in axis) for axis in axes]))

    def take(self, array: Any, axes: Axes, sizes: Mapping[str, int]) -> Any:
        """Return an array as the harness has it, from the graph's; as it is where its shape is another one."""
        if np.shape(array) != self.shape(axes, sizes):
            return array
        known, flat = self.sizes(sizes), "".join(axes)
        array = np.asarray(array).reshape([known[letter] for letter in flat])
        kept = "".join(letter for letter in self.letters if letter in flat)
        array = array.transpose([flat.index(letter) for letter in kept])
        due = [known[letter] for letter in self.letters]
        if self.role == EVERY:
            due = [*due[:2], due[2] * due[3]]
        return np.ascontiguousarray(array.reshape(due))


def _options(role: str, directions: int) -> Iterator[Axes]:
    """Yield what the axes of something in a role may be, the likelier first; with one axis less where one is 1 long."""
    if role == LENS:
        yield ("m",)
    elif role == INPUT:
        yield from (tuple(axes) for axes in ("mse", "sme", "mes", "ems", "sem", "esm", "se", "me"))
    elif role == EVERY:
        joined = ("Du",) if directions > 1 else ("u",)
        yield from sorted(itertools.permutations((*"ms", *joined)), key=lambda axes: axes[2] != joined[0])
        yield from (("s", "D", "m", "u"), ("m", "s", "D", "u"), ("s", "m", "D", "u"), ("m", "D", "s", "u"))
        yield from (("D", "s", "m", "u"), ("D", "m", "s", "u"), ("s", *joined))
    else:
        yield from (tuple(axes) for axes in ("Pmu", "mPu", "Pum", "muP", "umP", "uPm"))
        yield from (("m", "Pu"), ("Pu", "m"), ("Pu",))


def fits(port: Port, axes: Axes, shape: Sequence[int], sizes: Mapping[str, int]) -> bool:
    """Return whether an array of this shape has these axes at these sizes."""
    left_out = set(port.letters) - set("".join(axes))
    known = port.sizes(sizes)
    return tuple(shape) == port.shape(axes, sizes) and all(known[letter] == 1 for letter in left_out)


@dataclass
class Declared:
    """What the declared sizes of several ports say together, as they are taken to have these axes.

    Attributes
    ----------
    sizes : dict
        By letter, those known: of the weights, or declared.
    names : dict
        The letter that each name stands for.
    against : int
        How many names look like those of another axis.
    left_out : frozenset of str
        The letters of which some port has no axis, since it is 1 long.
    """

    sizes: dict[str, int]
    names: dict[str, str]
    against: int = 0
    left_out: frozenset[str] = frozenset()

    def with_port(self, port: Port, axes: Axes) -> "Declared | None":
        """Return what is said with one more port; None where it contradicts itself."""
        left_out = set(port.letters) - set("".join(axes))
        found = Declared(dict(self.sizes), dict(self.names), self.against, self.left_out | left_out)
        known = port.sizes(found.sizes)
        for letter in left_out:
            if known.setdefault(letter, 1) != 1:
                return None
            found.sizes |= {letter: 1} if letter in "ms" else {}
        for axis, dim in zip(axes, port.dims or (), strict=False):
            if isinstance(dim, str):
                if found.names.setdefault(dim, axis) != axis:
                    return None
                found.against += any(word.search(dim) and letter != axis for letter, word in _WORDS.items())
            elif dim is not None:
                unknown = [letter for letter in axis if letter not in known]
                if not unknown and math.prod(known[letter] for letter in axis) != dim:
                    return None
                if unknown:
                    known[axis] = found.sizes[axis] = dim
        # What has a name may be of any size.
        return None if found.left_out & set(found.names.values()) else found


def arrangements(ports: Sequence[Port], known: Declared) -> list[tuple[dict[str, Axes], Declared]]:
    """Return what the axes of ports may be together by what they declare, the likeliest first."""
    found: list[tuple[dict[str, Axes], Declared]] = [({}, known)]
    for port in ports:
        alike = next((p for p in ports if p.role in ("h0", "C0") and p is not port and p.dims == port.dims), None)
        grown = []
        for axes_of, said in found:
            options = port.options
            if port.role in ("h0", "C0") and alike is not None and alike.name in axes_of:
                options = (axes_of[alike.name],)
            for axes in options:
                more = said.with_port(port, axes)
                if more is not None:
                    grown.append(({**axes_of, port.name: axes}, more))
        found = grown
    # A sort keeps the order of equals: that of the options.
    return sorted(found, key=lambda pair: pair[1].against)


def in_words(port: Port, axes: Axes) -> str:
    """Return a port and its axes as they are said: "h0 (places, m, u)"."""
    words = {"P": "1" if len(port.suffixes) == 1 else "places", "D": "1" if port.directions == 1 else "directions"}
    parts = [[words.get(letter, letter) for letter in axis] for axis in axes]
    letters = [" ".join([part for part in axis if part != "1"] or axis) for axis in parts]
    return f"{port.name} ({', '.join(letters)}{',' if len(letters) == 1 else ''})"
