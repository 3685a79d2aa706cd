"""The command line: it finds the command, carries it out, and turns what goes wrong into an exit code.

Exit codes: 0, all that could be judged passed; 1, something failed; 2, nothing could be judged.
"""

import argparse
import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from lstm_checks.commands import (
    bind,
    certify,
    compare,
    completion,
    convert,
    demo,
    explain,
    faults,
    fix,
    gate,
    new,
    page,
    vectors,
    verify,
)
from lstm_checks.commands.common import NOTHING_JUDGED, TARGETS, UsageError, compute_with_one_thread, emit

DESCRIPTION = "Prove an LSTM's gradients right, or name what is wrong with them."
BEGIN = """\
To begin: lstm-checks demo, and then lstm-checks verify mine.py:LSTM.
lstm-checks COMMAND --help says what a command takes, lstm-checks explain WORD what a word of a report means.

"""
COMMANDS = (verify, demo, new, bind, fix, certify, convert, vectors, gate, faults, explain, page, compare, completion)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of one command."""
    with contextlib.ExitStack() as stack:
        if sys.stderr is None:  # closed by whoever started this
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        try:
            return _run(sys.argv[1:] if arguments is None else list(arguments))
        except UsageError as error:
            return _gave_up(f"lstm-checks: {error}")
        except BrokenPipeError:  # by `head` and the like, who have seen enough
            return _gave_up("")
        except KeyboardInterrupt:
            return _gave_up("lstm-checks: interrupted, nothing was judged")
        except Exception:
            # Exit code 1, which Python would give, says that the target is wrong.
            return _gave_up(f"{traceback.format_exc()}lstm-checks: this is a fault of lstm-checks; nothing was judged")


def _run(arguments: list[str]) -> int:
    """Return the exit code of the command in these arguments."""
    parser, parsers = _parser()
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is not None and first not in parsers and first == arguments[0]:
        near = difflib.get_close_matches(first, parsers, n=1)
        meant = f"'{near[0]}'" if near else f"'lstm-checks verify {first}'" if ":" in first else ""
        hint = f"; did you mean {meant}?" if meant else ""
        raise UsageError(f"there is no command {first!r}, expected one of {', '.join(parsers)}{hint}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise UsageError(_explain_unknown(unknown[0], arguments[0], parsers.get(arguments[0], parser)))
    if not hasattr(options, "run"):
        parser.print_help()
        return NOTHING_JUDGED
    if not getattr(options, "in_process", True):
        compute_with_one_thread()
    return int(options.run(options))


def _explain_unknown(word: str, command: str, parser: argparse.ArgumentParser) -> str:
    """Return what is wrong with an argument that a command does not take."""
    if not word.startswith("-"):
        return f"{command} has no use for {word!r}; lstm-checks {command} --help says what it takes"
    known = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
    where = f"lstm-checks {command} --help" if command != word else "lstm-checks --help"
    return f"there is no option {word!r}" + (f"; did you mean {near[0]!r}?" if near else f"; see {where}")


def _gave_up(message: str) -> int:
    """Say why nothing was judged, as far as anybody listens, and return the exit code."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, end="\n" if message else "", flush=True)
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            # The interpreter flushes once more at its end, and would make the exit code its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return NOTHING_JUDGED


def _parser() -> tuple["_Parser", dict[str, "_Parser"]]:
    """Return the parser of all commands, and the parser of each by its name."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser("lstm-checks", description=DESCRIPTION, epilog=BEGIN + TARGETS, formatter_class=raw)
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser, commands.choices


class _Parser(argparse.ArgumentParser):
    """A parser, and those of its commands, whose help arrives or is known not to have arrived."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            emit(message.removesuffix("\n"), sys.stdout if file is sys.stdout else sys.stderr)


class _Version(argparse.Action):
    """Prints the installed version, which takes an import that no other command needs."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("lstm-checks")
        except PackageNotFoundError:
            found = "(not installed)"
        emit(f"lstm-checks {found}", sys.stdout)
        parser.exit(0)
