"""Writing a file that is whole or not there."""

import os
import tempfile
from pathlib import Path


def replace_file(path: str | Path, text: str) -> None:
    """Write text to a file as UTF-8, replacing what stands there in one step.

    Raises
    ------
    OSError
        If it cannot be written; what stands there is then as it was.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
