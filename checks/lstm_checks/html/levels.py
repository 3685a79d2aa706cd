"""Numbers as a page says and colours them: shares of the tolerance, and shares of what is due."""

import math
from typing import Any

from lstm_checks.html.parts import Cell

LEVELS = (
    ("within-1", 0.1, "at most 10 % of the tolerance"),
    ("within-2", 1.0, "within the tolerance"),
    ("beyond-1", 1e3, "up to 1000 times the tolerance"),
    ("beyond-2", 1e9, "up to 1e9 times"),
    ("beyond-3", math.inf, "more than that"),
)
"""The classes of a share of the tolerance, each with the largest share that it is for."""

BROKEN = ("broken", "not a finite number")

SHARES = (
    ("beyond-3", "less than 10 % of what is due arrives, or more than 190 %"),
    ("beyond-2", "10 to 50 %, or 150 to 190 %"),
    ("beyond-1", "50 to 150 %, and not all of it right"),
    ("within-1", "right to rounding"),
    ("nothing", "nothing is due, and nothing came"),
)
"""The classes of a share of what is due."""


KILLED = (
    ("beyond-3", "never"),
    ("beyond-1", "in less than half of the examples"),
    ("within-2", "in half of them or more"),
    ("within-1", "in all"),
)
"""The classes of how often a method kills a fault."""


def number(value: Any) -> float:
    """Return a number of a report, which says what JSON has no number for in words; None is infinite."""
    return math.inf if value is None else float(value)


def digits(value: float) -> str:
    """Return a number in six digits."""
    return f"{value:.6g}"


def share_in_words(use: float) -> str:
    """Return how much of a tolerance is used."""
    if not math.isfinite(use):
        return "not a finite number"
    if use <= 1:
        return f"{100 * use:.2g} % of the tolerance"
    return f"{use:.3g} times the tolerance"


def share_in_short(use: float) -> str:
    """Return the same in at most five characters: a share in percent, or how many times."""
    if not math.isfinite(use):
        return "∞"
    if use <= 1:
        return f"{100 * use:.0f}%"
    return f"{use:.0f}x" if use < 1000 else f"{use:.0e}".replace("e+0", "e").replace("e+", "e")


def level_of(use: float) -> str:
    """Return the class of a share of the tolerance."""
    if not math.isfinite(use):
        return BROKEN[0]
    return next(name for name, most, _ in LEVELS if use <= most)


def field_of_tolerance(value: Any, told: str) -> Cell:
    """Return a field of a map of shares of the tolerance."""
    use = number(value)
    return Cell(level_of(use), share_in_short(use), f"{told}: {share_in_words(use)}")


def field_of_credit(use: float, share: Any, came: float, due: float, told: str) -> Cell:
    """Return a field of a map of credit: how much of what is due arrives."""
    words = f"{told}: norm {digits(came)}, due {digits(due)}; {share_in_words(use)}"
    if use <= 1:
        return Cell("within-1", "100%", f"{words}; right") if due else Cell("nothing", "", f"{words}; nothing is due")
    if share is None:
        return Cell("beyond-3", "+", f"{words}; nothing is due, and something came")
    part = number(share)
    if not math.isfinite(part):
        return Cell(BROKEN[0], "∞", words)
    off = abs(part - 1)
    level = "beyond-1" if off <= 0.5 else "beyond-2" if off <= 0.9 else "beyond-3"
    return Cell(level, f"{round(100 * part)}%", f"{words}; {100 * part:.3g} % of what is due arrives")
