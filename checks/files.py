"""Writing a file that is whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` to write to, which then replaces what stands there in one step.

    Raises
    ------
    OSError
        If it cannot be written; what stands there is then as it was, as after any other exception.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(path: str | Path, text: str) -> None:
    """Write text to a file as UTF-8, replacing what stands there in one step.

    Raises
    ------
    OSError
        If it cannot be written; what stands there is then as it was.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
