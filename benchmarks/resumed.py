"""A file to which results are appended one by one, as JSON, so that a run that was stopped goes on from it."""

import json
from pathlib import Path
from typing import Any


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return what a file of results holds, nothing where there is none; a last line that was cut off is dropped."""
    if not path.exists():
        return []
    text = path.read_text(encoding="ascii")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="ascii")
    return [json.loads(line) for line in whole.splitlines()]
