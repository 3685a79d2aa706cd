"""`lstm-checks demo`: a broken layer, its report, the line and the fix, by running the commands on a file of ours."""

import argparse
import contextlib
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from lstm_checks.commands import common, fix, verify
from lstm_checks.commands.common import FAILED, OK, UsageError
from lstm_checks.commands.new import starting_file

RIGHT, WRONG = "dC = dC_next + dht * o", "dC = dht * o"
"""A line of the file in NumPy that `lstm-checks new` writes, and what is made of it: the memory's cotangent is lost."""

NAME, EXAMPLES = "mine.py", 30


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "demo",
        run,
        help="show it all on a broken layer: the report, the line, the fix",
        description="Write a layer with a mistake in it to a folder that is removed in the end, and run the commands "
        "on it that find the mistake and mend it.",
        epilog="exit code: 0 the mistake was found and mended; 2 it was not",
    )
    parser.set_defaults(in_process=False)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `demo`."""
    text = starting_file("lstm_numpy.py").replace("lstm_numpy.py", NAME)
    if text.count(RIGHT) != 1:
        raise UsageError(f"the file that is to be broken has {RIGHT!r} {text.count(RIGHT)} times, expected it once")
    with tempfile.TemporaryDirectory(prefix="lstm-checks-") as folder, contextlib.chdir(folder):
        Path(NAME).write_text(text.replace(RIGHT, WRONG), encoding="utf-8")
        lines = len(text.splitlines())
        _say(f"Somebody wrote an LSTM with its backward pass by hand, {NAME}, {lines} lines. Is its gradient right?")
        _step(f"verify {NAME}:lstm --examples {EXAMPLES} --json report.json", FAILED)
        _say(_told(Path("report.json")))
        _step(f"fix {NAME}:lstm --examples {EXAMPLES} --write", OK)
        _say("The line is changed in the file. Is all of it right now?")
        _step(f"verify {NAME}:lstm --examples {EXAMPLES}", OK)
    _say("Now yours: lstm-checks verify FILE.py:NAME, or a file to start from by lstm-checks new numpy")
    return OK


def _told(path: Path) -> str:
    """Return what a report has found, in sentences."""
    from lstm_checks.commands.page import read_report

    failure = read_report(str(path))["failure"]
    suspects, lines = failure["diagnosis"]["suspects"], failure["lines"]
    said = ["The first line is the worst number: what came, what is due, and how far rounding may take it."]
    if suspects and suspects[0]["certain"]:
        fault = suspects[0]["fault"]
        said += [
            f"`suspect` is the known mistake that gives these numbers; lstm-checks explain {fault} says more of it."
        ]
    said += [f"`line` is where it is, line {lines[0]['line']} of {NAME}."] if lines else []
    return "\n".join([*said, "Can it be mended?"])


def _step(words: str, due: int) -> None:
    """Run a command as it is typed, with its text; raise where it does not end as it should."""
    _say(f"$ lstm-checks {words}")
    parser = argparse.ArgumentParser("lstm-checks")
    commands = parser.add_subparsers()
    for command in (verify, fix):
        command.add(commands)
    options = parser.parse_args(shlex.split(words))
    code = options.run(options)
    if code != due:
        raise UsageError(f"`lstm-checks {words}` ended with exit code {code}, expected {due}: this is no demonstration")


def _say(text: str) -> None:
    """Print a paragraph, apart from what the commands print."""
    common.emit(f"\n{text}\n" if text.startswith("$") else f"\n{text}", sys.stdout)
