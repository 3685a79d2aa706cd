"""Which layout arrays are in, told from their names and shapes."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lstm_checks.contract import PLAIN
from lstm_checks.weights.layouts import (
    COLUMNS,
    DOCUMENTED,
    LAYOUTS,
    ROWS,
    SECOND,
    VECTOR,
    Block,
    Layout,
    with_projection,
    without_biases,
)

PROJECTIONS = {"torch": ("weight_hr_l0", ROWS)}
"""What the array of a projection is called in a layout that may have one, and how it lies."""


def variants(biases: bool = True) -> Iterator[Layout]:
    """Yield the layouts as they are, or without their biases; and then those with a projection besides."""
    for layout in LAYOUTS.values():
        own = layout if biases else without_biases(layout)
        if own is layout or len(own.blocks) < len(layout.blocks):
            yield own
            if layout.name in PROJECTIONS:
                yield with_projection(own, *PROJECTIONS[layout.name])


def recognize(shapes: Mapping[str, tuple[int, ...]], e: int, u: int, biases: bool = True) -> tuple[Layout, str] | None:
    """Return the layout that arrays are in, by their names and shapes, and the prefix of their names.

    There may be other arrays besides; of several layouts that fit it is the one that leaves the fewest. Without
    `biases` those of layouts that hold biases are not looked for.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name, such as ``encoder.lstm.weight_ih_l0``.
    e, u : int
    """
    found: list[tuple[Layout, str]] = []
    for layout in variants(biases):
        prefix = common_prefix(shapes, layout)
        last = layout.blocks[-1]
        projected = shapes.get(f"{prefix}{last.name}", ()) if layout.projects else ()
        p = projected[0 if last.form == ROWS else 1] if len(projected) == 2 else None
        due = layout.shapes(e, u, p)
        if prefix is not None and {prefix + name: shape for name, shape in due.items()}.items() <= shapes.items():
            found.append((layout, prefix))
    return max(found, key=lambda one: len(one[0].names), default=None)


def common_prefix(names: Iterable[str], layout: Layout) -> str | None:
    """Return what stands before the first array's name, if it is there: "" or "encoder.lstm."."""
    first = layout.names[0]
    found = [name.removesuffix(first) for name in names if name.endswith(first)]
    found = [prefix for prefix in found if not prefix or prefix[-1] in "./"]
    return found[0] if found else None


def from_shapes(
    shapes: Mapping[str, tuple[int, ...]], e: int, u: int, gates: str = "ifgo", biases: bool = True
) -> Layout | None:
    """Return a layout for arrays of unknown names, by their shapes; None where these do not tell.

    There may be other arrays besides, of which it has none. Either all gates are in each array, in the order `gates`;
    or each gate has its own, told by the letter at which the names differ (f; i; g, c or j; o). U and V may be one
    matrix, then taken for [U; V]. Without `biases` there are to be none. `e`, `u`, e + u, 4 e and 4 u should all
    differ.
    """

    def forms(wide: int) -> dict[tuple[int, ...], tuple[tuple[str, ...], str]]:
        found: dict[tuple[int, ...], tuple[tuple[str, ...], str]] = {}
        for kinds, rows in ((("U",), e), (("V",), u), (("U", "V"), e + u)):
            found |= {(wide, rows): (kinds, ROWS), (rows, wide): (kinds, COLUMNS)}
        return found | {(wide,): (("b",), VECTOR), (1, wide): (("b",), COLUMNS)}

    stacked, single = forms(4 * u), forms(u)
    blocks: list[Block] = []
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, shape in shapes.items():
        groups.setdefault(shape, []).append(name)
    # A square V alone does not tell which way it lies: the way U does.
    single[u, u] = (("V",), ROWS if (u, e) in groups else COLUMNS)
    for shape, names in groups.items():
        if shape in stacked:
            kinds, form = stacked[shape]
            if len(names) > (2 if kinds == ("b",) else 1):
                return None
            blocks += [Block(name, kinds if k == 0 else (SECOND,), gates, form) for k, name in enumerate(names)]
        elif shape in single:
            kinds, form = single[shape]
            told = _four_of(names, 2 if kinds == ("b",) else 1)
            blocks += [
                Block(name, kinds if k == 0 else (SECOND,), g, form)
                for k, one in enumerate(told)
                for name, g in one.items()
            ]
    held = sorted(kind + gate for block in blocks for kind in block.kinds if kind != SECOND for gate in block.gates)
    if held != sorted(name for name in PLAIN.parameters if biases or PLAIN.parameters[name] != "1u"):
        return None
    return Layout("its own", "told by shapes", tuple(blocks), "", DOCUMENTED)


def _four_of(names: Sequence[str], most: int) -> list[dict[str, str]]:
    """Return the gate of each name as `_gates_by_letter` does; among others, where only four of them can be it."""
    told = _gates_by_letter(names, most)
    if told or not len(PLAIN.gates) < len(names) <= _MOST_OF_A_SHAPE:
        return told
    fours = [found for four in itertools.combinations(names, len(PLAIN.gates)) for found in _gates_by_letter(four)]
    return fours if len(fours) == 1 else []


_MOST_OF_A_SHAPE = 12
"""Of so many arrays of one shape, fours are tried: 495."""


def _gates_by_letter(names: Sequence[str], most: int = 1) -> list[dict[str, str]]:
    """Return the gate of each name, in sets of four that differ from one letter on; nothing if they are not such."""
    count = len(PLAIN.gates)
    if most > 1 and len(names) == 2 * count:
        for four in itertools.combinations(names[1:], count - 1):
            halves = ([names[0], *four], [name for name in names[1:] if name not in four])
            told = [found for half in halves for found in _gates_by_letter(half)]
            if len(told) == 2:
                return told
    if len(names) != count:
        return []
    # Where the four first differ there is the letter, be it W_f or forget_gate.
    start = next((k for k, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    letter = {"f": "f", "i": "i", "g": "g", "c": "g", "j": "g", "o": "o"}
    found = {name: letter.get(name[start : start + 1].lower(), "") for name in names}
    return [found] if sorted(found.values()) == sorted(PLAIN.gates) else []
