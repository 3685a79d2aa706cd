"""Writing a file so that it is whole, or as it was before."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        If it cannot be written; the file is then as it was before, and nothing is left beside it.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
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
    with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
