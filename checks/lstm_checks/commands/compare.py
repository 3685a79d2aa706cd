"""`lstm-checks compare`: two reports on the same thing next to each other, before and after."""

import argparse
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import UsageError

EPILOG = """\
Both are what --json wrote, by the same command: verify, verify --case, certify or vectors run.

exit code: 0 nothing is worse; 1 something that passed fails, is missing or is not judged any more; 2 they cannot be
compared
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "compare",
        run,
        help="put two reports next to each other, before and after",
        description="Put two reports next to each other: what is better, what is worse, and what is as before.",
        epilog=EPILOG,
    )
    parser.add_argument("before", metavar="BEFORE", help="the JSON file of the earlier report")
    parser.add_argument("after", metavar="AFTER", help="that of the later one")
    common.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `compare`."""
    from lstm_checks.commands.page import read_report
    from lstm_checks.judging.changes import ComparisonError, compare_reports, render_changes

    read = [("a report that is compared", options.before), ("a report that is compared", options.after)]
    common.expect_apart(common.reports_of(options), read=read)
    try:
        found = compare_reports(read_report(options.before), read_report(options.after))
    except ComparisonError as error:
        raise UsageError(f"{options.before} and {options.after}: {error}") from error
    common.save(options, lambda: found)
    common.say(render_changes(found), options, found["exit_code"])
    return int(found["exit_code"])
