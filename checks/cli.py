"""The command line: it finds the command, carries it out, and turns what goes wrong into an exit code.

Exit codes: 0, all that could be judged passed; 1, something failed; 2, nothing could be judged.
"""

import argparse
import sys
from collections.abc import Sequence

from checks.commands import certify, convert, vectors, verify
from checks.commands.common import NOTHING_JUDGED, TARGETS, UsageError

DESCRIPTION = "Prove an LSTM's gradients right, or name what is wrong with them."
COMMANDS = (verify, certify, convert, vectors)


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
        print(f"lstm-checks: {error}", file=sys.stderr)
        return NOTHING_JUDGED
    except KeyboardInterrupt:
        print("lstm-checks: interrupted, nothing was judged", file=sys.stderr)
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
