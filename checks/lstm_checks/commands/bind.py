"""`lstm-checks bind`: the adapter of a layer that nobody wrote for us, as text."""

import argparse
import sys
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import NOTHING_JUDGED, OK, UsageError

DESCRIPTION = """\
Find out, by trying, how a class or a function of yours is made, called and pulled back, and where its weights and
gradients are; and print the adapter, a function in the vjp form, for you to keep and change:

  lstm-checks bind mycode.py:LSTM > mine.py
  lstm-checks verify mine.py:target

`verify` does the same by itself where a target is in no form that it knows.
"""

EPILOG = """\
exit code: 0, or 2 where no reading makes it an LSTM; what came nearest is then printed, to be filled in
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands, "bind", run, help="print the adapter of a layer of any form", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("target", metavar="TARGET", help="path/file.py:NAME or pkg.mod:NAME, a class or a function")
    common.add_timeout(parser)
    common.add_process(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but the adapter, and what went wrong")


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `bind`."""
    try:
        with common.loaded(options) as target:
            if not target.adapter:
                raise UsageError(
                    f"{options.target} needs no adapter: it is a {target.kind}; "
                    f"lstm-checks verify {options.target} judges it as it is"
                )
            common.emit(f"{target.adapter}".rstrip(), sys.stdout)
            return OK
    except UsageError as error:
        draft = getattr(error.__cause__, "draft", "")
        if not draft:
            raise
        common.emit(draft.rstrip(), sys.stdout)
        print(f"lstm-checks: {error}", file=sys.stderr)
        return NOTHING_JUDGED
