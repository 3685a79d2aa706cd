"""Writing a file so that it is whole, or as it was before."""

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path: str | Path, text: str) -> None:
    """Write a text, replacing the file in one step; a device or a pipe is written to, never replaced.

    Raises
    ------
    OSError
        When it cannot be written; the file is then as it was before, and nothing is left beside it.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return
    path = path.resolve()  # a link stays one
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def append(path: str | Path, text: str) -> None:
    """Append a text to a file.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
