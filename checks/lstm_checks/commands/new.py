"""`lstm-checks new`: a file to start from, which runs as it is."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import DEFAULT_TARGET, OK, UsageError

C_FILES = ("program.c", "lstm.c", "lstm.h", "vectors.h")


@dataclass(frozen=True)
class _Kind:
    """What is written, where if nobody says, what runs it, and what that needs besides."""

    what: str
    place: str
    next: str
    extra: str = ""


KINDS = {
    "numpy": _Kind("an LSTM in NumPy, its backward pass by hand", "lstm_numpy.py", "lstm-checks verify {}:lstm"),
    "torch": _Kind("an LSTM as a torch.nn.Module", "lstm_torch.py", "lstm-checks verify {}:LSTM", "torch"),
    "jax": _Kind("an LSTM as a JAX function", "lstm_jax.py", "lstm-checks verify {}:lstm", "jax"),
    "keras": _Kind("an LSTM cell for Keras 3", "lstm_keras.py", "lstm-checks verify {}:Cell", "keras"),
    "c": _Kind(
        "an LSTM in C, and a program around it",
        "lstm_c",
        "cd {} && cc -std=c99 -O2 -o program program.c lstm.c -lm && lstm-checks verify exec:./program",
    ),
    "suite": _Kind("tests for pytest", "test_lstm.py", "python -m pytest {}"),
    "gate": _Kind(
        "the configuration of the gate",
        "pyproject.toml",
        "lstm-checks gate --config {} --update-baseline && lstm-checks gate --config {}",
    ),
}

EPILOG = "\n".join(
    [
        "KIND is one of",
        *(f"  {name:<8} {kind.what}: {kind.place}{'/' * (name == 'c')}" for name, kind in KINDS.items()),
        "",
        "Nothing that is there is overwritten.",
        "",
        "exit code: 0 it is written; 2 it cannot be",
        "",
    ]
)


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "new",
        run,
        help="write a file to start from, which runs as it is",
        description="Write a file to start from, which is right and runs as it is, and say what runs it.",
        epilog=EPILOG,
    )
    parser.add_argument("kind", metavar="KIND", choices=[*KINDS], help=f"one of {', '.join(KINDS)}")
    parser.add_argument("file", nargs="?", metavar="FILE", help="where, of c a folder; default as said below")
    parser.add_argument(
        "--target", metavar="TARGET", help=f"of suite and gate: what they are to judge, default {DEFAULT_TARGET}"
    )


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `new`."""
    import shlex

    kind = KINDS[options.kind]
    if options.target is not None and options.kind not in ("suite", "gate"):
        raise UsageError(f"--target is for suite and gate, and {options.kind} is a target itself")
    place = Path(options.file or kind.place)
    if options.kind == "c":
        _write_c(place)
    elif options.kind == "gate":
        _write_gate(place, options.target or DEFAULT_TARGET)
    else:
        _write_python(place, kind.place, options.target or DEFAULT_TARGET)
    lines = [f"{place}: {kind.what}, to be changed", f"next: {kind.next.replace('{}', shlex.quote(str(place)))}"]
    if kind.extra and not _is_here(kind.extra):
        lines.insert(1, f"first: pip install 'lstm-checks[{kind.extra}]'")
    common.emit("\n".join(lines), sys.stdout)
    return OK


def _is_here(package: str) -> bool:
    """Return whether a package is installed."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def starting_file(name: str) -> str:
    """Return the text of a file to start from, by its usual name."""
    path = common.shipped("examples", f"new/{name}" if name not in C_FILES else name)
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _write_python(place: Path, usual: str, target: str) -> None:
    """Write a file in Python, in which its own name and the target's stand."""
    import json

    if place.suffix != ".py":
        raise UsageError(f"{place} is no name of a Python file, expected one such as {usual}")
    text = starting_file(usual).replace(usual, str(place)).replace(f'"{DEFAULT_TARGET}"', json.dumps(target))
    _write_new({place: text})


def _write_c(folder: Path) -> None:
    """Write the files of a program in C into a folder, which is made."""
    files = {folder / name: starting_file(name) for name in C_FILES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror or error}, expected a name for a folder") from error
    _write_new(files)


def _write_gate(place: Path, target: str) -> None:
    """Write the gate's configuration, or add it to what is there and has none."""
    from lstm_checks.files import replace_file
    from lstm_checks.gate.config import ConfigError, initialize

    try:
        path, text = initialize(place, target)
        replace_file(path, text)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror or error}") from error


def _write_new(files: dict[Path, str]) -> None:
    """Write files, none of which is there, or none of them."""
    there = [path for path in files if path.exists() or path.is_symlink()]
    if there:
        raise UsageError(f"{there[0]} is there already, and is not overwritten; name another after the kind")
    for path, text in files.items():
        try:
            with path.open("x", encoding="utf-8", newline="\n") as file:  # never over what has come meanwhile
                file.write(text)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
