"""What is told of the user's own lines, as plain values that go from one process to another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lstm_checks.calling import printable


@dataclass(frozen=True)
class Line:
    """A line of the user's at which it goes wrong, by an intervention.

    Attributes
    ----------
    path : str
        Its file.
    line, last : int
        The first and the last line of the statement, or of the lines that cannot be told apart.
    text : str
        The line as it stands in the file, without the space around it.
    word : str
        The part of it that was overridden.
    column : int
        Where that begins in `text`; -1 where it stands on another line.
    shown : str
        What was put in its place, and what became right by that, in words.
    also : tuple of int
        Further lines that no intervention tells apart from it.
    """

    path: str
    line: int
    last: int
    text: str
    word: str
    column: int
    shown: str
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fix:
    """An edit of the user's files with which everything is right: as a unified diff, and the new texts by file.

    `digests` are SHA-256 of the files as they were read; `tried` on how many cases everything was right.
    """

    diff: str
    texts: Mapping[str, str]
    digests: Mapping[str, str]
    tried: int


@dataclass(frozen=True)
class Found:
    """What was found in the user's source."""

    lines: tuple[Line, ...] = ()
    fixes: tuple[Fix, ...] = field(default=())


NOTHING_FOUND = Found()


def to_plain(found: Found) -> dict[str, Any]:
    """Return what was found as JSON has it."""
    return asdict(found)


def from_plain(told: Any) -> Found:
    """Return what was found, as another process tells it; nobody need trust that process.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where it is something else.
    """
    lines = tuple(
        Line(
            _text(one["path"]),
            int(one["line"]),
            int(one["last"]),
            _text(one["text"]),
            _text(one["word"]),
            int(one["column"]),
            _text(one["shown"]),
            tuple(int(number) for number in one["also"]),
        )
        for one in told["lines"]
    )
    fixes = tuple(
        Fix(
            "\n".join(map(_text, str(one["diff"]).split("\n"))),
            {str(path): str(text) for path, text in one["texts"].items()},
            {str(path): str(digest) for path, digest in one["digests"].items()},
            int(one["tried"]),
        )
        for one in told["fixes"]
    )
    return Found(lines, fixes)


def _text(value: Any) -> str:
    """Return a text that nobody need trust."""
    return printable(str(value)[:2000].expandtabs(4))
