"""The command line: it parses, calls, prints, and turns a report into an exit code.

Exit codes: 0, all that could be judged passed; 1, something failed; 2, nothing could be judged.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OK, FAILED, NOTHING_JUDGED = 0, 1, 2
DEFAULT_TARGET = "lstm_fast:LSTM"

DESCRIPTION = "Prove an LSTM's gradients right, or name what is wrong with them."
EPILOG = """\
A TARGET is one of
  pkg.mod:LSTM      a layer class in EpyNN's form, or a function in the vjp form:
  path/file.py:LSTM     (h, Cn), pullback = target(p, X, h0, C0);  gradients = pullback(dh, dCn)
  torch             PyTorch's own nn.LSTM

exit code: 0 all that could be judged passed; 1 something failed; 2 nothing could be judged
"""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says why."""


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
    parser = argparse.ArgumentParser("lstm-checks", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"lstm-checks {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_verify(commands, raw)
    return parser


def _add_verify(commands: Any, raw: Any) -> None:
    """Add `verify`."""
    verify = commands.add_parser(
        "verify",
        help="judge an LSTM over random examples",
        description="Judge an LSTM's outputs and gradients over random examples, or on one case.",
        epilog=EPILOG,
        formatter_class=raw,
    )
    verify.add_argument("target", nargs="?", default=DEFAULT_TARGET, metavar="TARGET", help=f"default {DEFAULT_TARGET}")
    verify.add_argument("--examples", type=_positive, default=100, metavar="N", help="number of examples, default 100")
    verify.add_argument("--seed", type=_natural, default=0, metavar="N", help="seed of the examples, default 0")
    verify.add_argument("--dtype", choices=["float64", "float32", "both"], default="float64", help="default float64")
    verify.add_argument("--case", metavar="DESCRIPTOR", help="judge one case, e.g. m1s2e1u3-float64-seed7")
    verify.add_argument("--max-dims", type=_dims, metavar="M,S,E,U", help="largest sizes drawn, default 9,60,9,9")
    verify.add_argument(
        "--regimes", metavar="R,R", help="value regimes drawn, default all: normal,x1e-3,x10,x100,mixed,zero"
    )
    verify.add_argument("--json", metavar="FILE", help="write the report as JSON, too; - for standard output")
    verify.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")
    verify.set_defaults(run=_run_verify)


def _run_verify(options: argparse.Namespace) -> int:
    """Carry out `verify`."""
    from checks.report import text
    from checks.report.json import case_to_json, report_to_json
    from checks.targets import TargetError, load_target
    from checks.verify import explain, verify, verify_case

    try:
        target = load_target(options.target)
    except TargetError as error:
        raise UsageError(str(error)) from error
    if options.case is not None:
        case = _case(options.case)
        found = verify_case(target, case)
        if found.failures:
            found = explain(target, found)
        exit_code = _case_exit_code(found)
        _write_json(options.json, lambda: {"target": target.name, "exit_code": exit_code, **case_to_json(found)})
        _say(text.render_case(options.target, found), options, exit_code)
        return exit_code
    dtypes = ("float64", "float32") if options.dtype == "both" else (options.dtype,)
    with _progress(options, options.examples) as advance:
        more = {} if options.max_dims is None else {"max_dims": options.max_dims}
        if options.regimes is not None:
            more["regimes"] = _regimes(options.regimes)
        report = verify(target, examples=options.examples, seed=options.seed, dtypes=dtypes, progress=advance, **more)
    _write_json(options.json, lambda: report_to_json(report))
    _say(text.render_report(report), options, report.exit_code)
    return report.exit_code


def _case_exit_code(found: Any) -> int:
    """Return the exit code for the report on one case."""
    if found.mistrusted:
        return NOTHING_JUDGED
    return {"pass": OK, "fail": FAILED}.get(str(found.verdict), NOTHING_JUDGED)


def _case(descriptor: str) -> Any:
    """Return the case of a descriptor."""
    from checks.cases import Case

    try:
        return Case.parse(descriptor)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _regimes(text: str) -> tuple[str, ...]:
    """Return the regimes named in a list."""
    from checks.cases import REGIMES

    names = tuple(word.strip() for word in text.split(","))
    unknown = [name for name in names if name not in REGIMES]
    if unknown:
        raise UsageError(f"there is no regime {unknown[0]!r}, expected some of {','.join(REGIMES)}")
    return names


def _write_json(path: str | None, make: Callable[[], Any]) -> None:
    """Write the report as JSON where a file is asked for."""
    if path is None:
        return
    import json

    from checks.report.json import write_json

    if path == "-":
        print(json.dumps(make(), indent=1))
        return
    try:
        write_json(path, make())
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror or error}") from error


def _say(text: str, options: argparse.Namespace, exit_code: int) -> None:
    """Print a report; to standard error where standard output carries the JSON."""
    if options.quiet and exit_code == OK:
        return
    print(text, file=sys.stderr if options.json == "-" else sys.stdout)


@contextmanager
def _progress(options: argparse.Namespace, total: int) -> Iterator[Callable[[], None]]:
    """Yield a function that advances a progress bar; there is a bar only on a terminal."""
    if options.quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"verifying {options.target}", total=total)
        yield lambda: bar.advance(task)


def _positive(text: str) -> int:
    """Return an int of at least 1."""
    number = _natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return number


def _natural(text: str) -> int:
    """Return an int of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _dims(text: str) -> tuple[int, ...]:
    """Return four sizes, each at least 1."""
    words = text.split(",")
    if len(words) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not four sizes M,S,E,U")
    return tuple(_positive(word.strip()) for word in words)


def _version() -> str:
    """Return the installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lstm-checks")
    except PackageNotFoundError:
        return "(not installed)"
