"""`lstm-checks fix`: the edit of the user's own file with which everything is right."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import FAILED, OK, UsageError

EXAMPLES = 100


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "fix",
        run,
        help="find the edit of your own Python that makes everything right",
        description="Judge an LSTM as verify does; where it fails, look for small edits of its source, at the lines "
        "that are wrong, with which all examples are right. What is shown is a fix, and others may do.",
        epilog=common.TARGETS.replace(
            "exit code: 0 all that could be judged passed; 1 something failed; 2 nothing could be judged",
            "exit code: 0 it is right already, or a fix was written; 1 it is wrong; 2 nothing could be judged",
        ),
    )
    common.add_target(parser)
    common.add_cell(parser)
    parser.add_argument("--examples", type=common.positive, metavar="N", help=f"number of examples, default {EXAMPLES}")
    parser.add_argument("--seed", type=common.natural, metavar="N", help="seed of the examples, default 0")
    common.add_min_dims(parser)
    parser.add_argument("--write", action="store_true", help="write the first fix into the file")
    parser.add_argument("--all", action="store_true", help="show further fixes that pass, too")
    parser.add_argument("--seconds", type=common.seconds, metavar="SECONDS", help="how long to look, default 60")
    common.add_timeout(parser)
    common.add_process(parser)
    common.add_output(parser, page=False)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `fix`."""
    from lstm_checks import tolerance
    from lstm_checks.judging.json import report_to_json
    from lstm_checks.judging.text import render_report
    from lstm_checks.judging.verify import verify
    from lstm_checks.repair.ask import failing_cases, has_source, look_into_source

    if not has_source(options.target):
        raise UsageError(
            f"{options.target} has no Python source of its own to mend, expected a function or class of yours"
        )
    options.examples = options.examples or EXAMPLES
    with common.loaded(options) as loaded:
        target = common.in_form(loaded)
        with common.progress(options, f"verifying {options.target}", options.examples) as advance:
            report = verify(target, examples=options.examples, seed=options.seed or 0, progress=advance)
    if report.failure is None or report.failure.chance:
        common.save_json(options.json, lambda: report_to_json(report))
        common.say(render_report(report), options, report.exit_code)
        return report.exit_code
    with common.progress(options, f"looking for edits of {options.target} that mend it"):
        found = look_into_source(
            options.target,
            failing_cases(report),
            fix=options.seconds or tolerance.FIX_SECONDS,
            every=options.all,
            run=[example.case for example in report.examples],
        )
    written = options.write and bool(found.fixes)
    if written:
        _write(found.fixes[0])
    exit_code = OK if written else FAILED
    common.save_json(options.json, lambda: _to_json(options.target, found, exit_code, written))
    common.say(_rendered(options, found, written), options, exit_code)
    return exit_code


def _rendered(options: argparse.Namespace, found: Any, written: bool) -> str:
    """Return what was found, in words."""
    from lstm_checks.judging.text import render_lines

    lines = render_lines(found)
    if not found.fixes:
        where = "at these lines" if found.lines else "anywhere"
        lines += [f"no small edit {where} makes everything right; what is wrong may be more than a slip"]
    for number, fix in enumerate(found.fixes):
        lines += ["", fix.diff.rstrip(), f"{'a' if not number else 'another'} fix: all is right in {fix.tried} cases"]
    last = "FIXED" if written else "WRONG"
    said = (
        f"written to {', '.join(found.fixes[0].texts)}"
        if written
        else "--write writes the first fix" * bool(found.fixes)
    )
    return "\n".join([*lines, "", f"{last}  {options.target}" + (f": {said}" if said else "")])


def _to_json(name: str, found: Any, exit_code: int, written: bool) -> dict[str, Any]:
    """Return what was found as plain values."""
    from dataclasses import asdict

    return {
        "schema": "lstm-checks/fix/1",
        "target": name,
        "exit_code": exit_code,
        "written": written,
        "lines": [asdict(line) for line in found.lines],
        "fixes": [{"diff": fix.diff, "cases": fix.tried} for fix in found.fixes],
    }


def _write(fix: Any) -> None:
    """Write the new text of each file, whole or not at all, unless one has changed since it was read."""
    from lstm_checks.files import replace_file

    for path, digest in fix.digests.items():
        try:
            same = hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        if not same:
            raise UsageError(f"{path} has changed since it was read, so nothing was written; run fix again")
    for path, text in fix.texts.items():
        try:
            replace_file(path, text)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
