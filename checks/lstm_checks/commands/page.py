"""`lstm-checks page`: a report that was written as JSON, as a page to look at."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import OK, UsageError

EPILOG = """\
One file that needs nothing else: it opens from the file system, and asks nothing of any network.

exit code: 0 the page is written, whatever the report says; 2 it cannot be
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "page",
        run,
        help="make a page to look at of a report",
        description="Make a page to look at of a report that --json wrote, by whichever command. "
        "Needs pip install 'lstm-checks[html]'.",
        epilog=EPILOG,
    )
    parser.add_argument("report", metavar="REPORT", help="the JSON file")
    parser.add_argument("--html", metavar="FILE", help="the page; default beside the report, ending in .html")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `page`."""
    from lstm_checks.html.page import PageError

    path = str(Path(options.report).with_suffix(".html")) if options.html is None else options.html
    common.need_pages(path)
    common.expect_apart([("the page", path)], read=[("the report", options.report)])
    try:
        common.save_page(path, read_report(options.report))
    except PageError as error:
        raise UsageError(f"{options.report} {error}") from error
    if not options.quiet:
        common.emit(path, sys.stdout)
    return OK


def read_report(path: str) -> Any:
    """Return a report that is written in a file."""
    from lstm_checks.files import FileError, parse_json, read_bytes

    try:
        return parse_json(read_bytes(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except FileError as error:
        raise UsageError(f"{path}: {error}") from error
