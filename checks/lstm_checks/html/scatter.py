"""What came against what is due, of one tensor, with the line that all of it lies on where there is one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lstm_checks import tolerance
from lstm_checks.html.levels import digits, number, share_in_words
from lstm_checks.html.parts import Dot, Line, Scatter

LEFT, TOP, WIDTH, HEIGHT, INSIDE = 60, 10, 290, 260, 14
"""Where the frame stands, how large it is, and how far from it the outermost points are; in units of the drawing."""


def scatter_of(
    tensor: Mapping[str, Any], case: str, indices: Sequence[str], sentences: Sequence[str]
) -> Scatter | None:
    """Return the scatter of a tensor's entries; None where fewer than two are finite.

    Parameters
    ----------
    tensor : mapping
        As `judging.look` tells it.
    case : str
        Its descriptor.
    indices : sequence of str
        What each entry is called.
    sentences : sequence of str
        What is known of the tensor.
    """
    columns = [[number(v) for v in tensor[word]] for word in ("due", "came", "accepted", "use")]
    points = [
        (index, *values)
        for index, *values in zip(indices, *columns, strict=True)
        if math.isfinite(values[0]) and math.isfinite(values[1])
    ]
    if len(points) < 2:
        return None
    dues, cames = [p[1] for p in points], [p[2] for p in points]
    x, y = _axis(dues), _axis(cames)

    def across(value: float) -> float:
        return LEFT + INSIDE + (WIDTH - 2 * INSIDE) * (value - x[0]) / (x[1] - x[0])

    def down(value: float) -> float:
        return TOP + HEIGHT - INSIDE - (HEIGHT - 2 * INSIDE) * (value - y[0]) / (y[1] - y[0])

    dots = [
        Dot(
            round(across(due), 1),
            round(down(came), 1),
            not use <= 1,
            f"{index} came {digits(came)}, due {digits(due)}: {share_in_words(use)}",
        )
        for index, due, came, _, use in points
    ]
    lines = []
    for name, slope, offset in (("came = due", 1.0, 0.0), *_fitted(points)):
        ends = _clipped(slope, offset, x, y)
        if ends:
            (x1, y1), (x2, y2) = ends
            at = [round(v, 1) for v in (across(x1), down(y1), across(x2), down(y2))]
            lines.append(Line(name, (slope, offset) != (1.0, 0.0), at[0], at[1], at[2], at[3]))
    told = [*sentences, *("Broken line: came = due." for line in lines if not line.fitted)]
    told += [f"Whole line: {line.name}, on which every entry lies to rounding." for line in lines if line.fitted]
    return Scatter(
        f"{tensor['name']}, entry by entry, in case {case}",
        dots,
        lines,
        [(across(v), digits(float(f"{v:.3g}"))) for v in x],
        [(down(v), digits(float(f"{v:.3g}"))) for v in y],
        told,
    )


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """Return from where to where an axis runs."""
    least, most = min(values), max(values)
    room = (most - least) or abs(most) or 1.0
    return (least, most) if most > least else (least - room / 2, most + room / 2)


def _fitted(points: Sequence[tuple[Any, ...]]) -> list[tuple[str, float, float]]:
    """Return the line through 0, or else any line, on which all points lie to rounding; nothing where none does."""
    if len(points) < 3:
        return []
    slope = _through_zero(points)
    if slope is not None and _on(points, slope, 0.0):
        return [] if abs(slope - 1) <= tolerance.DRAWN_LINE else [(f"came = {digits(slope)} * due", slope, 0.0)]
    if len(points) < 4:
        return []
    weights = [1 / accepted**2 if accepted else 0.0 for _, _, _, accepted, _ in points]
    total = sum(weights)
    if not total or not math.isfinite(total):
        return []
    due = sum(w * p[1] for w, p in zip(weights, points, strict=True)) / total
    came = sum(w * p[2] for w, p in zip(weights, points, strict=True)) / total
    spread = sum(w * (p[1] - due) ** 2 for w, p in zip(weights, points, strict=True))
    if not spread or not math.isfinite(spread):
        return []
    slope = sum(w * (p[1] - due) * (p[2] - came) for w, p in zip(weights, points, strict=True)) / spread
    offset = came - slope * due
    return [(f"came = {digits(slope)} * due + {digits(offset)}", slope, offset)] if _on(points, slope, offset) else []


def _through_zero(points: Sequence[tuple[Any, ...]]) -> float | None:
    """Return the slope of the line through 0 that fits best, each entry weighted by what is accepted of it."""
    weights = [1 / accepted**2 if accepted else 0.0 for _, _, _, accepted, _ in points]
    square = sum(w * p[1] ** 2 for w, p in zip(weights, points, strict=True))
    both = sum(w * p[1] * p[2] for w, p in zip(weights, points, strict=True))
    return both / square if square and math.isfinite(square) and math.isfinite(both) else None


def _on(points: Sequence[tuple[Any, ...]], slope: float, offset: float) -> bool:
    """Return whether every point lies on a line, with what is accepted of it and of the line's own two numbers."""
    room = 1 + abs(slope)
    return all(
        abs(came - slope * due - offset) <= room * accepted + tolerance.DRAWN_LINE * (abs(slope * due) + abs(offset))
        for _, due, came, accepted, _ in points
    )


def _clipped(
    slope: float, offset: float, x: tuple[float, float], y: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the two ends of a line inside the frame; None where it is nowhere in it."""
    ends = [x[0], x[1]]
    if slope:
        ends += [(v - offset) / slope for v in y]
    room = 1e-9 * (y[1] - y[0])
    inside = [
        (at, slope * at + offset)
        for at in sorted(ends)
        if x[0] <= at <= x[1] and y[0] - room <= slope * at + offset <= y[1] + room
    ]
    return (inside[0], inside[-1]) if len(inside) > 1 else None
