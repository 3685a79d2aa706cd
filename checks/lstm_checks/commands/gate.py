"""`lstm-checks gate`: judge what the configuration names against the committed baseline, for CI."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import OK, UsageError

EPILOG = f"""\
exit code: 0 something was judged and all of it passed; 1 a regression; 2 something could not be judged, whatever the
reason. $GITHUB_STEP_SUMMARY and GITHUB_ACTIONS are heeded. The rest is in
{common.page("gate.md")}
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "gate",
        run,
        help="stop regressions in CI: correctness, accuracy and speed",
        description="Judge what [tool.lstm-checks] names against the committed baseline.",
        epilog=EPILOG,
    )
    parser.add_argument("--config", metavar="FILE", help="default: [tool.lstm-checks] of the nearest pyproject.toml")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--init", action="store_true", help="write a configuration to start from, and judge nothing")
    what.add_argument(
        "--update-baseline", action="store_true", help="if all is right, make its figures the baseline, and show them"
    )
    parser.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")
    parser.add_argument("--markdown", metavar="FILE", help="write the report as Markdown")
    common.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `gate`."""
    from lstm_checks.gate.config import ConfigError

    try:
        return _initialize(options) if options.init else _run(options)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _initialize(options: argparse.Namespace) -> int:
    """Write a first configuration."""
    from lstm_checks.files import replace_file
    from lstm_checks.gate.config import initialize

    if _renderings(options):
        raise UsageError("--init judges nothing, so there is no report to write")
    path, text = initialize(options.config)
    with _writing(str(path)):
        replace_file(path, text)
    common.emit(
        f"{path} has [tool.lstm-checks] now; next: name your target there, then lstm-checks gate --update-baseline",
        sys.stdout,
    )
    return OK


def _run(options: argparse.Namespace) -> int:
    """Judge, report and return the exit code."""
    from lstm_checks.gate import verdict as gate
    from lstm_checks.gate.config import ConfigError, read_config
    from lstm_checks.gate.text import render_gate

    common.need_pages(options.html)
    _check_places(options)
    _write_reports(options, _unfinished())
    try:
        config = read_config(options.config)
    except ConfigError as error:
        _deliver(options, _unfinished(str(error)))
        raise
    with _terminated_as_interrupted(), common.progress(options, "starting the gate") as advance:
        if options.update_baseline:
            with _writing(str(config.baseline_path)):
                report = gate.update(config, advance)
        else:
            report = gate.run(config, advance)
    try:
        _deliver(options, report)
        common.say(render_gate(report), options, report.exit_code)
        if options.json == "-":
            _json_to_stdout(report)
    except UsageError:
        # Where one report cannot be written, no other may say that all is well.
        with contextlib.suppress(UsageError):
            _write_reports(options, _unfinished())
        raise
    return report.exit_code


def _check_places(options: argparse.Namespace) -> None:
    """Raise UsageError where a report, or a new baseline, would take the place of another one or of what is read."""
    from lstm_checks.certified.read import all_shipped_vectors
    from lstm_checks.gate.config import DEFAULT_BASELINE, ConfigError, find_config, read_config
    from lstm_checks.targets.load import files_of

    reports: list[tuple[str, str | None]] = [
        ("the JSON report", options.json),
        ("the page", options.html),
        ("the JUnit report", options.junit),
        ("the Markdown report", options.markdown),
        ("the summary", os.environ.get("GITHUB_STEP_SUMMARY") or None),
    ]
    read: list[tuple[str, str | Path]] = [("the file of vectors", path) for path in all_shipped_vectors()]
    baseline: Path | None = None
    try:
        path = Path(options.config) if options.config else find_config()
        read.append(("the configuration", path))
        baseline = path.resolve().parent / DEFAULT_BASELINE
        config = read_config(path)
        baseline = config.baseline_path
        timed = [] if config.speed is None else [config.speed.target, config.speed.than]
        for target in dict.fromkeys([*config.targets, *timed]):
            read += [(f"a file of target {target}", file) for file in files_of(target, config.root)]
    except ConfigError:
        pass  # it is said once the reports are there
    if baseline is not None:
        common.expect_apart([("a new baseline", str(baseline))], read=read)
        read.append(("the baseline", baseline))
    common.expect_apart(reports, read=read)


def _deliver(options: argparse.Namespace, report: Any) -> None:
    """Write the report to all files that are asked for, and to GitHub."""
    from lstm_checks.gate.text import annotations

    _write_reports(options, report)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append_summary(summary, report)
    if os.environ.get("GITHUB_ACTIONS") == "true" and annotations(report):
        common.emit(annotations(report), sys.stderr if options.json == "-" else sys.stdout)


def _unfinished(reason: str = "the gate did not come to an end") -> Any:
    """Return the report of a run that judged nothing; it stands until there is another, should the gate be killed."""
    from lstm_checks.gate.report import Finding, GateReport, GateVerdict

    finding = Finding("gate", "", GateVerdict.UNJUDGED, reason)
    return GateReport((finding,), Path(), 0.0)


def _write_reports(options: argparse.Namespace, report: Any) -> None:
    """Write the reports that are asked for."""
    from lstm_checks.files import replace_file

    for path, render in _renderings(options):
        with _writing(path):
            replace_file(path, render(report))


def _renderings(options: argparse.Namespace) -> list[tuple[str, Callable[[Any], str]]]:
    """Return the files that are asked for, with what makes their text."""
    import json

    from lstm_checks.gate.junit import gate_to_junit
    from lstm_checks.gate.markdown import gate_to_markdown
    from lstm_checks.gate.text import gate_to_json
    from lstm_checks.html.page import report_to_html

    def to_json(report: Any) -> str:
        return json.dumps(gate_to_json(report), indent=1) + "\n"

    def to_html(report: Any) -> str:
        return report_to_html(gate_to_json(report))

    wanted = [
        (options.json if options.json != "-" else None, to_json),
        (options.junit, gate_to_junit),
        (options.markdown, gate_to_markdown),
        (options.html, to_html),
    ]
    return [(path, render) for path, render in wanted if path is not None]


def _append_summary(path: str, report: Any) -> None:
    """Append the report to GitHub's summary of the job."""
    from lstm_checks.files import append
    from lstm_checks.gate.markdown import gate_to_markdown

    with _writing(path):
        append(path, gate_to_markdown(report))


def _json_to_stdout(report: Any) -> None:
    """Print the report as JSON."""
    import json

    from lstm_checks.gate.text import gate_to_json

    common.emit(json.dumps(gate_to_json(report), indent=1), sys.stdout)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn a failure to write into one of usage, with the path."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{Path(path)} cannot be written: {error.strerror or error}") from error


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a request to terminate, or a terminal that is closed, end the judgements as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    # What is ignored stays so: that is what nohup is for.
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
