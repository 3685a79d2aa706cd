"""What of a campaign is done, on disk, line by line: an interrupted one goes on from there.

The invariant: a line counts where, and only where, its digest is that of what it says and of the campaign it is of.
So a line that was cut off, edited or written by another campaign costs its chunk, and never changes a result.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from lstm_checks.campaign.plan import CampaignError, Plan, code_of, differing_in
from lstm_checks.campaign.tally import Tally
from lstm_checks.files import FileError, parse_json, read_bytes, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


FORMAT = "lstm-checks/journal/2"


@contextmanager
def open_journal(
    path: str | Path | None, plan: Plan
) -> Iterator[tuple[dict[int, Tally], int, Callable[[int, Tally], None]]]:
    """Yield the chunks that a journal knows, how many lines are damaged, and a function that adds a chunk to it.

    Meanwhile the journal is locked.
    """
    if path is None:
        yield {}, 0, lambda index, tally: None
        return
    path = Path(path)
    with _writing(path):
        # Neither truncated nor replaced on opening: it may be another file than was meant, or be in use.
        # Not to wait for whoever would read a pipe.
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o644)
        file = os.fdopen(handle, "a", encoding="utf-8")
    try:
        _lock(file, path)
        lines, known, damaged = _read_journal(path, plan)
        with _writing(path):
            if lines is not None:
                _rewrite(file, path, lines)

        def write(index: int, tally: Tally) -> None:
            with _writing(path):
                _append(file, _line({"chunk": index, "tally": tally.to_json()}, plan))

        yield known, damaged, write
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a CampaignError."""
    try:
        yield
    except OSError as error:
        raise CampaignError(f"the journal {path} cannot be written: {error.strerror or error}") from error


def _lock(file: TextIO, path: Path) -> None:
    """Lock a journal until it is closed; the system lets go of it whatever ends this process."""
    if fcntl is None:
        return
    with _writing(path):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CampaignError(f"another campaign is writing to the journal {path}") from None


def _head(plan: Plan) -> dict[str, Any]:
    """Return what the first line of a journal says."""
    # The code as well as the plan: results of other code would be merged with these, and nobody could tell them apart.
    return {"format": FORMAT, "plan": plan.to_json(), "code": code_of(plan.target)}


def _line(value: Mapping[str, Any], plan: Plan) -> str:
    """Return a line of a plan's journal, with the digest of what it says."""
    return json.dumps({**value, "sha256": _digest_of(value, plan)}) + "\n"


def _digest_of(value: Mapping[str, Any], plan: Plan) -> str:
    """Return the SHA-256 of what a line says and of the campaign that says it."""
    # The head is in every digest, so that a line says of which campaign it is wherever it is copied to.
    text = json.dumps([_head(plan), value], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _append(file: TextIO, text: str) -> None:
    """Write a text that is on the disk when this returns."""
    file.write(text)
    file.flush()
    # Without it a chunk that was reported as done may be gone when the machine stops.
    os.fsync(file.fileno())


def _rewrite(file: TextIO, path: Path, lines: list[str]) -> None:
    """Write a journal of these lines alone in place of what is there; should this be cut short, chunks are lost."""
    if path.is_file():
        # In place and not by a new file of the same name: the lock is on this one, and would not hold for another.
        os.truncate(path, 0)
    _append(file, "".join(lines))


def _read_journal(path: Path, plan: Plan) -> tuple[list[str] | None, dict[int, Tally], int]:
    """Return the lines that a journal should have, None if it has just these; the chunks it knows; the damaged lines.

    A line is damaged where it has not the digest that it was written with, or was cut off. A file none of whose lines
    has one is no journal of this campaign, and nothing is done to it.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise CampaignError(f"the journal {path} cannot be read: {error.strerror or error}") from error
    except FileError as error:
        if _is_device(path):
            return [_line(_head(plan), plan)], {}, 0
        raise CampaignError(f"the journal {path} {error}") from error
    head = _line(_head(plan), plan)
    if not data:
        return [head], {}, 0
    # What follows the last line's end was cut off while it was written.
    *whole, torn = data.split(b"\n")
    right = head.encode("ascii")
    if not whole and right.startswith(torn):
        return [head], {}, 0
    known: dict[int, Tally] = {}
    kept, damaged = [head], int(bool(torn))
    for number, line in enumerate(whole, 1):
        found = _read_line(line, plan)
        if found is None:
            damaged += line + b"\n" != right or number > 1
            continue
        index, tally = found
        # Equal plans give equal results: two right lines that differ say that something outside the plan decides.
        if known.setdefault(index, tally) != tally:
            raise CampaignError(
                f"{path} is no journal: line {number} says something else of chunk {index} than another"
            )
        kept.append(line.decode("ascii") + "\n")
    first = whole[0] if whole else torn
    if not known and first + b"\n" != right:
        raise CampaignError(_of_another(path, first, plan))
    return (kept if damaged else None), known, damaged


def _is_device(path: Path) -> bool:
    """Return whether a path leads to a device, which is written to and never read: it might have no end."""
    return path.exists() and not path.is_file() and not path.is_dir() and not path.is_fifo()


def _of_another(path: Path, head: bytes, plan: Plan) -> str:
    """Return what is said of a file whose first line is not this campaign's, and of which no other line is."""
    try:
        plain = parse_json(head)
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            came = plain.get("format") if isinstance(plain, dict) else plain
            raise FileError(f"its format is {shown(came)}, expected {FORMAT!r}")
        ours = _head(plan)
        differing = differing_in(plain["plan"], ours["plan"]) or differing_in(plain["code"], ours["code"])
    except (FileError, KeyError, AttributeError) as error:
        return f"{path} is no journal of a campaign: {error}; name another file"
    if differing:
        return f"{path} is of another campaign: {differing}; name another file"
    return f"{path} is no journal of a campaign: its first line is damaged, and so is every other; name another file"


def _read_line(line: bytes, plan: Plan) -> tuple[int, Tally] | None:
    """Return the chunk that a line is about, and its tally; None where it has not the digest it was written with."""
    try:
        plain = parse_json(line)
        digest = plain.pop("sha256")
        if digest != _digest_of(plain, plan):
            return None
        index, tally = plain["chunk"], Tally.from_json(plain["tally"])
    except (FileError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return (index, tally) if index in range(plan.chunks) else None
