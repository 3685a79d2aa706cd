"""The command line: it finds the command, carries it out, and turns what goes wrong into an exit code.

Exit codes: 0, all that could be judged passed; 1, something failed; 2, nothing could be judged.
"""

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

from checks.commands import certify, convert, faults, gate, vectors, verify
from checks.commands.common import NOTHING_JUDGED, TARGETS, UsageError

DESCRIPTION = "Prove an LSTM's gradients right, or name what is wrong with them."
COMMANDS = (verify, certify, convert, vectors, gate, faults)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of one command."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return NOTHING_JUDGED
    try:
        return int(options.run(options))
    except UsageError as error:
        return _gave_up(f"lstm-checks: {error}")
    except KeyboardInterrupt:
        return _gave_up("lstm-checks: interrupted, nothing was judged")
    except Exception:
        # Exit code 1, which Python would give, says that the target is wrong.
        return _gave_up(f"{traceback.format_exc()}lstm-checks: this is a fault of lstm-checks; nothing was judged")


def _gave_up(message: str) -> int:
    """Say why nothing was judged, as far as anybody listens, and return the exit code."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The interpreter flushes once more at its end, and would make the exit code its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return NOTHING_JUDGED


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("lstm-checks", description=DESCRIPTION, epilog=TARGETS, formatter_class=raw)
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


class _Version(argparse.Action):
    """Prints the installed version, which takes an import that no other command needs."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("lstm-checks")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"lstm-checks {found}")
        parser.exit(0)
