"""A cell drawn from its equations: a box each, in the order in which they are computed, and what is wrong in red."""

from collections.abc import Collection, Mapping

from lstm_checks.html.equations import AFTER, Equations, Wrong, equations_of
from lstm_checks.html.parts import Arrow, Box, Drawing
from lstm_checks.words import series
from lstm_ref.cell import Cell

LETTER, HEIGHT, GAP, BETWEEN, EDGE = 7.3, 44, 22, 46, 8
"""In units of the drawing: how wide a letter is, how high a box; the room below one, beside one, and round it all."""


def draw_cell(cell: Cell, wrong: Wrong, touched: Collection[str], because: str) -> Drawing:
    """Return a cell's drawing.

    Parameters
    ----------
    cell : Cell
    wrong : Wrong
        What is drawn in red.
    touched : collection of str
        The tensors that are wrong: what is made of their inputs is drawn with a broken outline.
    because : str
        How it is known what is in red.
    """
    equations = equations_of(cell)
    columns = _columns(equations)
    widths = [max(_width(equations, name) for name in column) for column in columns]
    tallest = max(map(len, columns))
    places: dict[str, tuple[float, float, float]] = {}
    x = float(EDGE)
    for column, width in zip(columns, widths, strict=True):
        top = EDGE + (tallest - len(column)) * (HEIGHT + GAP) / 2
        for k, name in enumerate(column):
            places[name] = (x, top + k * (HEIGHT + GAP), width)
        x += width + BETWEEN
    marked = _touched(equations, cell, touched)
    boxes = [_box(equations, name, places[name], wrong, marked) for name in places]
    arrows = [
        _arrow(places, of, name, (of, name) in wrong.ways)
        for name, equation in equations.statements.items()
        for of in equation.of
    ]
    arrows += [
        _arrow(places, of, AFTER + before, (of, AFTER + before) in wrong.ways)
        for before, of in equations.previous.items()
    ]
    arrows.sort(key=lambda arrow: arrow.wrong)
    height = 2 * EDGE + tallest * (HEIGHT + GAP) - GAP
    of = f"each of the {len(cell.places)} places of the {cell.title}" if len(cell.places) > 1 else f"the {cell.title}"
    caption = f"One step of {of}: what is computed, from left to right"
    return Drawing(caption, x - BETWEEN + EDGE, height, boxes, arrows, _in_words(wrong, marked, because))


def _in_words(wrong: Wrong, marked: Collection[str], because: str) -> list[str]:
    """Return what the drawing shows, for whoever reads it."""
    found = []
    if wrong:
        ways = [f"the way from {b.replace(AFTER, 'the step after, ')} back to {a}" for a, b in sorted(wrong.ways)]
        found.append(f"In red, with a ✗ or a thick arrow: {series([*sorted(wrong.boxes), *ways])}; {because}.")
    if marked:
        found.append(f"With a broken outline: where tensors are wrong, {series(sorted(marked))}.")
    return found


def _columns(equations: Equations) -> list[list[str]]:
    """Return the boxes by how many equations come before them, each column in the order of what it is made of."""
    depth: dict[str, int] = dict.fromkeys(equations.inputs, 0)
    for name, equation in equations.statements.items():
        depth[name] = 1 + max((depth[of] for of in equation.of), default=0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, at in depth.items():
        columns[at].append(name)
    columns.append([AFTER + before for before in equations.previous])
    row = {name: float(k) for k, name in enumerate(columns[0])}
    for column in columns[1:-1]:
        # Gates stay in their order where all are made of the same.
        means = {n: sum(row[of] for of in equations.statements[n].of) / len(equations.statements[n].of) for n in column}
        column.sort(key=lambda name: means[name])
        middle = (len(columns[0]) - len(column)) / 2
        row |= {name: middle + k for k, name in enumerate(column)}
    return columns


def _width(equations: Equations, name: str) -> float:
    """Return how wide a box must be for what stands in it."""
    text = equations.statements[name].text if name in equations.statements else _outside(name)
    return 16 + LETTER * max(len(text), 7)


def _touched(equations: Equations, cell: Cell, tensors: Collection[str]) -> set[str]:
    """Return the boxes of which a tensor is wrong: its parameter stands in them, or it is their own value."""
    found = set()
    for equation in equations.statements.values():
        suffixes = [place.suffix for place in cell.places] or [""]
        if any(f"d{p}{end}" in tensors for p in equation.parameters for end in suffixes):
            found.add(equation.name)
    outputs = {cell.outputs[0]: equations.previous.get("hp", "h"), "dX": "X_s"}
    found |= {box for name, box in outputs.items() if name in tensors}
    for state in (cell.places[0].cell if cell.places else cell).states:
        before = next((a for a, b in equations.previous.items() if b == state.kept_as), None)
        found |= {state.kept_as} if any(t.startswith(f"{state.name}n") for t in tensors) else set()
        found |= {before} if before and any(t.startswith(f"d{state.name}0") for t in tensors) else set()
    return found


def _box(
    equations: Equations,
    name: str,
    place: tuple[float, float, float],
    wrong: Wrong,
    marked: Collection[str],
) -> Box:
    """Return one box."""
    x, y, width = place
    state = "wrong" if name in wrong.boxes else "touched" if name in marked else ""
    if name in equations.statements:
        equation = equations.statements[name]
        return Box(name, equation.number, equation.text, x, y, width, HEIGHT, state, f"{name} = {equation.text}")
    text = _outside(name)
    return Box(name.removeprefix(AFTER), "", text, x, y, width, HEIGHT, state, f"{name.removeprefix(AFTER)}: {text}")


def _outside(name: str) -> str:
    """Return where a value that no equation of the step makes comes from, or goes to."""
    if name.startswith(AFTER):
        return "to the step after"
    return "the input" if name == "X_s" else "from the step before"


def _arrow(places: Mapping[str, tuple[float, float, float]], of: str, to: str, wrong: bool) -> Arrow:
    """Return the way from a box to what is made of it."""
    (x1, y1, width), (x2, y2, _) = places[of], places[to]
    x1, y1, y2 = x1 + width, y1 + HEIGHT / 2, y2 + HEIGHT / 2
    bend = max(20.0, (x2 - x1) / 2)
    path = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return Arrow(path, wrong, f"{of} goes into {to}" + (f"; wrong on the way back from {to} to {of}" if wrong else ""))
