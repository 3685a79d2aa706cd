"""What a page is made of, as plain values: sections of tables, maps, scatters, drawings, lines of source, commands.

Nothing here is markup: the templates write it, and escape all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

MOST_ROWS = 500
"""How many rows of a table are shown; the JSON has all."""

LONGEST = 20_000
"""How many characters of one text are shown."""


@dataclass(frozen=True)
class Words:
    """Sentences, one a paragraph."""

    kind: ClassVar[str] = "words"
    sentences: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading."""

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: bool = False

    @property
    def shown(self) -> Sequence[Sequence[Any]]:
        """The rows that are shown."""
        return self.rows[:MOST_ROWS]

    @property
    def left_out(self) -> int:
        """How many are not."""
        return len(self.rows) - len(self.shown)


@dataclass(frozen=True)
class Cell:
    """One field of a map: the class of its colour, what stands in it, and what is said of it."""

    level: str
    mark: str
    told: str


@dataclass(frozen=True)
class Map:
    """A map of fields in rows and columns, with the same as a table."""

    kind: ClassVar[str] = "map"
    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    legend: str = "tolerance"

    @property
    def left(self) -> int:
        """How wide the names of the rows are, in units of the drawing."""
        return 16 + 8 * max((len(name) for name, _ in self.rows), default=0)


@dataclass(frozen=True)
class Dot:
    """One point of a scatter, in units of the drawing."""

    x: float
    y: float
    wrong: bool
    told: str


@dataclass(frozen=True)
class Line:
    """A straight line of a scatter, in units of the drawing."""

    name: str
    fitted: bool
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Scatter:
    """What came against what is due, of one tensor."""

    kind: ClassVar[str] = "scatter"
    caption: str
    dots: Sequence[Dot]
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Box:
    """An equation of a drawing: where its box stands, and whether it is wrong, or what it is made of is."""

    name: str
    number: str
    text: str
    x: float
    y: float
    width: float
    height: float
    state: str = ""
    told: str = ""


@dataclass(frozen=True)
class Arrow:
    """What goes from one box to another, as the path of an SVG."""

    path: str
    wrong: bool
    told: str


@dataclass(frozen=True)
class Drawing:
    """A cell as a drawing of its equations."""

    kind: ClassVar[str] = "drawing"
    caption: str
    width: float
    height: float
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Diff:
    """A unified diff."""

    kind: ClassVar[str] = "diff"
    caption: str
    text: str

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Each line with the class it is of."""
        kinds = {"+": "added", "-": "removed", "@": "hunk"}
        found = cut(self.text).rstrip("\n").split("\n")
        return [("hunk" if n[:3] in ("+++", "---") else kinds.get(n[:1], "same"), n) for n in found]


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's file; of a wrong one the part that is."""

    number: int
    before: str
    marked: str
    after: str
    wrong: bool


@dataclass(frozen=True)
class Source:
    """Lines of the user's own source around one that is wrong."""

    kind: ClassVar[str] = "source"
    caption: str
    lines: Sequence[SourceLine]
    shown: str


@dataclass(frozen=True)
class Command:
    """A command to copy."""

    kind: ClassVar[str] = "command"
    caption: str
    text: str


@dataclass(frozen=True)
class Verbatim:
    """A text as it stands."""

    kind: ClassVar[str] = "verbatim"
    caption: str
    text: str

    @property
    def shown(self) -> str:
        """The text, as much of it as is shown."""
        return cut(self.text)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; with a level of 3 it is a part of the section before."""

    title: str
    parts: Sequence[Any]
    level: int = 2

    @property
    def id(self) -> str:
        """What a link to it says."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    title : str
    verdict : str
        "pass", "fail" or "none".
    word : str
        The verdict as it is said: "FAIL".
    sentence : str
        What it says in one sentence.
    facts : sequence of (str, str)
    sections : sequence of Section
    """

    title: str
    verdict: str
    word: str
    sentence: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default=())


VERDICTS: Mapping[int, tuple[str, str]] = {0: ("pass", "PASS"), 1: ("fail", "FAIL"), 2: ("none", "NOT JUDGED")}
"""By the exit code: the class of a verdict, and its word."""


def cut(text: str) -> str:
    """Return a text, or as much of it as is shown."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... and {len(text) - LONGEST:,} characters more"
