"""Files: read so that none can hang or crash whoever reads it, written whole or not at all, and never one over another.

All that is read of JSON and TOML comes through here, with the line of what is wrong; all that is written is compared
first with all that is read.
"""

import contextlib
import errno
import json
import os
import re
import stat
import tempfile
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_checks import tolerance


class FileError(ValueError):
    """A file, or a text that came from elsewhere, is not what it should be; the message says what and in which line."""


# ---- Reading


def read_bytes(path: str | Path, most: int = tolerance.MOST_BYTES) -> bytes:
    """Return what is in a file.

    Raises
    ------
    OSError
        "No such file or directory", and the like.
    FileError
        "is a pipe, expected a file", which would be waited for; "has 3,000,000,000 bytes, expected at most 67,108,864".
    """
    # Without blocking: a pipe that nobody writes to would be waited for in opening it.
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise FileError(f"is no path: {error}") from None
    try:
        kind = _kind(os.fstat(handle).st_mode)
        if kind == "folder":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if kind != "file":
            raise FileError(f"is a {kind}, expected a file")
    except BaseException:
        os.close(handle)
        raise
    with open(handle, "rb") as file:
        data = file.read(most + 1)
        if len(data) > most:
            size = max(os.fstat(handle).st_size, len(data))
            raise FileError(f"has {size:,} bytes, expected at most {most:,}")
    return data


def _kind(mode: int) -> str:
    """Return what a path leads to, in a word."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def parse_json(data: bytes, constants: bool = False) -> Any:
    """Return the value that a text in JSON says, every key of an object once.

    Parameters
    ----------
    data : bytes
        In UTF-8.
    constants : bool
        Whether NaN and Infinity, and decimals beyond float64, are taken for what Python makes of them.

    Raises
    ------
    FileError
        "line 7: the key 'h' is there twice in one object", "line 1: 1e400 is beyond float64, ...", "not JSON: ...".
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"byte {error.start} is not UTF-8: the file is damaged") from None
    # Before the parser, whose own limit is the machine's or that of whoever has set another.
    _expect_shallow(text)
    faults: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            faults.append("key")
        return found

    def number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        def take(word: str) -> Any:
            if _beyond(word, constants):
                faults.append("number")
                return 0
            return kind(word)

        return take

    def constant(word: str) -> float:
        if not constants:
            faults.append("number")
        return float(word.replace("Infinity", "inf"))

    try:
        value = json.loads(
            text,
            object_pairs_hook=once,
            parse_int=number(int),
            parse_float=number(float),
            parse_constant=constant,
        )
    except json.JSONDecodeError as error:
        end = " where the file ends: it was cut short" if error.pos >= len(text.rstrip()) else ""
        raise FileError(f"not JSON: {error.msg}, line {error.lineno} column {error.colno}{end}") from None
    except ValueError as error:  # a limit on whole numbers that somebody in this process has set
        raise FileError(f"not JSON: {error}") from None
    if faults:
        raise FileError(_first_fault(text, constants))
    return value


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


def _beyond(word: str, constants: bool) -> bool:
    """Return whether a number is one that float64 has not: longer than its longest, or infinite."""
    if len(word) > tolerance.LONGEST_NUMBER:
        return True
    return not constants and abs(float(word)) == float("inf")


def _expect_shallow(text: str) -> None:
    """Refuse brackets in brackets beyond what anything here is written with."""
    if text.count("[") + text.count("{") <= tolerance.DEEPEST:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth > tolerance.DEEPEST:
                line = text.count("\n", 0, token.start()) + 1
                raise FileError(f"line {line}: brackets stand more than {tolerance.DEEPEST} deep in brackets")
        elif mark in "]}":
            depth -= 1


def _first_fault(text: str, constants: bool) -> str:
    """Return what is wrong first in a text that is JSON by its form, with the line; the parser tells none."""
    keys: list[set[str] | None] = []
    tokens = list(_TOKEN.finditer(text))
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        mark, line = token[0], text.count("\n", 0, token.start()) + 1
        if mark in "[{":
            keys.append(set() if mark == "{" else None)
        elif mark in "]}":
            keys.pop()
        elif mark[0] == '"' and following is not None and following[0] == ":" and keys and keys[-1] is not None:
            key = json.loads(mark)
            if key in keys[-1]:
                return f"line {line}: the key {shown(key)} is there twice in one object"
            keys[-1].add(key)
        elif mark in ("NaN", "Infinity", "-Infinity") and not constants:
            return f"line {line}: not JSON: {mark}"
        elif mark[0] in "-0123456789" and _beyond(mark, constants):
            long = f"a number of {len(mark):,} characters" if len(mark) > 40 else mark
            return f"line {line}: {long} is beyond float64, the largest of which is 1.8e308"
    raise AssertionError("the parser found a fault, and the search for its line none")


def shown(value: Any, most: int = 60) -> str:
    """Return a value as Python writes it, cut short where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers beyond what Python writes, and what is nested too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


NOT_TOML = "is not TOML: "


def parse_toml(data: bytes) -> dict[str, Any]:
    """Return the table that a text in TOML says.

    Raises
    ------
    FileError
        "is not TOML: Expected '=' after a key in a key/value pair (at line 3, column 9)", and the like.
    """
    if len(data) > tolerance.MOST_TOML:
        raise FileError(f"has {len(data):,} bytes, expected at most {tolerance.MOST_TOML:,}")
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise FileError(f"{NOT_TOML}brackets stand too deep in brackets") from None
    except ValueError as error:  # its own kind, of bytes that are not UTF-8, and of numbers beyond what Python reads
        raise FileError(f"{NOT_TOML}{error}") from None
    if _deeper_than(content, tolerance.DEEPEST):
        raise FileError(f"has tables or lists that stand more than {tolerance.DEEPEST} deep in others")
    return content


def _deeper_than(value: Any, most: int) -> bool:
    """Return whether lists and tables are nested deeper, without going down by recursion."""
    level = [value]
    for _ in range(most):
        inner = [v for one in level for v in (one.values() if isinstance(one, dict) else one)]
        level = [v for v in inner if isinstance(v, dict | list)]
        if not level:
            return False
    return True


# ---- Writing


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` to write to, which then replaces what stands there in one step.

    A link stays one: what it points to is replaced.

    Raises
    ------
    OSError
        If it cannot be written; what stands there is then as it was, as after any other exception.
    """
    path = Path(path).resolve()
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, replacing the file in one step; a device or a pipe is written to, never replaced.

    Raises
    ------
    OSError
        If it cannot be written; the file is then as it was before, and nothing is left beside it. Of a pipe that nobody
        reads, "No such device or address".
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with _open_to_write(path, os.O_WRONLY) as file:
            file.write(text)
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def append(path: str | Path, text: str) -> None:
    """Append a text to a file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with _open_to_write(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        file.write(text)


def _open_to_write(path: Path, flags: int) -> Any:
    """Return a file to write a text to; a pipe that nobody reads raises, where opening it would wait for ever."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o644)
    if hasattr(os, "set_blocking"):
        os.set_blocking(handle, True)
    return open(handle, "w", encoding="utf-8", errors="backslashreplace")


# ---- Never one over another


SOURCES = frozenset({".py", ".pyi", ".toml", ".cfg", ".ini", ".onnx", ".ipynb", ".c", ".cpp", ".cu", ".rs"})
"""Endings of files that people write: none that is there already is replaced by what a command writes."""


def expect_apart(written: Iterable[tuple[str, str | Path]], read: Iterable[tuple[str, str | Path]]) -> None:
    """Raise FileError where a file that is to be written is one that is read, or that something else is written to.

    Parameters
    ----------
    written : iterable of (str, path)
        What is to be written, "--json" or "the summary", and where. A device or a pipe may be named twice.
    read : iterable of (str, path)
        What is read, "the baseline", and where.

    Raises
    ------
    FileError
        "--json cannot be written to own.py: that is the target's own file".
    """
    taken = [(what, Path(path)) for what, path in read]
    for what, name in written:
        path = Path(name)
        there = os.path.exists(path)  # which raises for no name, however odd
        if there and not os.path.isfile(path):
            continue  # a device or a pipe; of a folder, writing says it
        for whose, other in taken:
            if _same(path, other):
                raise FileError(f"{what} cannot be written to {name}: that is {whose}")
        if there and path.suffix.lower() in SOURCES:
            raise FileError(f"{what} cannot be written to {name}: a file {path.suffix} that is there is never replaced")
        taken.append((f"where {what} goes", path))


def _same(path: Path, other: Path) -> bool:
    """Return whether two names are of one file, by whatever links, or would be where capitals make no difference."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    with contextlib.suppress(OSError, ValueError):
        return _folded(path) == _folded(other)
    return False


def _folded(path: Path) -> str:
    """Return a path without links, in a form in which names that some file systems take for one are equal."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def hex_list(values: Any) -> list[str]:
    """Return the entries of an array of floats in hexadecimal, the shortest that say all bits."""
    return [_hex(float(x)) for x in values.ravel().tolist()]


def _hex(x: float) -> str:
    """Return Python's hexadecimal form without trailing zeros."""
    mantissa, exponent = x.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
"""Between which the figures of a Markdown document stand that a command writes."""


def with_figures(page: str, figures: str, of: str = "figures") -> str:
    """Return a Markdown document with its figures replaced; `of` is what the marks call them, where there are several.

    Raises
    ------
    ValueError
        When the document has no place for figures.
    """
    first, last = (mark.replace("figures", of) for mark in (BEGIN, END))
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"expected the lines {first} and {last}, between which the figures go")
    return f"{before}{first}\n{figures}\n{last}{after}"
