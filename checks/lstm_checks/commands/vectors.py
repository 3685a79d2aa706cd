"""`lstm-checks vectors`: write the certified test vectors, or run an LSTM on them."""

import argparse
import sys
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import FAILED, NOTHING_JUDGED, OK

FORMATS = ("json", "onnx", "wpt", "npz", "safetensors", "csv")


def add(commands: Any) -> None:
    """Add the command with its two own."""
    parser = common.add_command(
        commands,
        "vectors",
        _say_help,
        help="write certified test vectors, or run an LSTM on them",
        description="Certified test vectors: cases with their exact answers, for an LSTM in any language.",
        epilog=f"The file's form, and how to use it from C, Rust and CUDA: {common.page('vectors.md')}",
    )
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    write = common.add_command(
        actions,
        "write",
        _write,
        help="write the vectors that ship, anew or in another format",
        description="Write the vectors that ship to a file, anew, or in the format of others.",
        epilog="json and onnx need pip install python-flint, onnx the extra onnx, safetensors the extra safetensors.",
    )
    write.add_argument(
        "path", metavar="PATH", help="the file, replaced in one step when all is done; with onnx a folder"
    )
    write.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="json: the file that ships; npz, safetensors: arrays by name; csv: a line an array, for C; wpt: WebNN's "
        "conformance tests; onnx: backend tests of ONNX, a folder each, of LSTM, GRU and RNN",
    )
    common.add_cell(write)
    write.add_argument(
        "--dtype",
        choices=["bfloat16", "float16"],
        help="with json: vectors in low precision instead of those that ship, each problem under every contract",
    )
    common.add_contract(write)
    write.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")
    judge = common.add_command(
        actions,
        "run",
        _run,
        help="run an LSTM on the vectors",
        description="Run an LSTM on certified test vectors: verdict by vector and by flag. Needs no extra.",
        epilog=common.TARGETS,
    )
    common.add_target(judge)
    common.add_cell(judge)
    judge.add_argument("--file", metavar="FILE", help="a file of vectors, default the one that ships for the cell")
    common.add_timeout(judge)
    common.add_process(judge)
    common.add_bounds(judge)
    common.add_output(judge)


def _say_help(options: argparse.Namespace) -> int:
    """Print what there is, where no action is named."""
    options.parser.print_help()
    return NOTHING_JUDGED


def _write(options: argparse.Namespace) -> int:
    """Return the exit code of `vectors write`."""
    cell = common.cell_of(options)
    if options.format != "json" and options.dtype is not None:
        raise common.UsageError(f"--dtype is for --format json, expected no --format {options.format} with it")
    asked = common.formats_asked(options)
    if asked is not None and cell.name != "plain":
        raise common.UsageError(f"--dtype {options.dtype} is of the plain cell's vectors, not of --cell {cell.name}")
    if options.format != "json":
        if cell.name != "plain":
            raise common.UsageError(
                f"--format {options.format} is of the plain cell's vectors, not of --cell {cell.name}"
            )
        return _write_other(options)
    common.need_balls()
    from pathlib import Path

    from lstm_checks.certified.certify import estimate_seconds
    from lstm_checks.certified.write import cases_of_cell, low_cases, vector_cases, write_vectors
    from lstm_checks.formats import NAMED

    path = Path(options.path)
    common.expect_apart([("the vectors", options.path)])
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "is in no folder that there is"
        raise common.UsageError(f"the vectors cannot be written: {path} {problem}, expected the path of a file")
    low = tuple(NAMED) if options.contract is None else (options.contract,)
    if asked is not None:
        cases = low_cases(options.dtype, low)
    else:
        cases = vector_cases() if cell.name == "plain" else cases_of_cell(cell)
    common.foretell(options, f"certifying {len(cases)} vectors", sum(map(estimate_seconds, cases)))
    try:
        with common.progress(options, f"certifying {len(cases)} vectors"):
            written = write_vectors(path, cases)
    except OSError as error:
        raise common.UsageError(f"the vectors cannot be written to {path}: {error.strerror or error}") from error
    if not options.quiet:
        common.emit(f"{len(written)} certified vectors, {path.stat().st_size / 1e6:.1f} MB: {path}", sys.stdout)
    return OK


def _write_other(options: argparse.Namespace) -> int:
    """Return the exit code of `vectors write --format`."""
    from pathlib import Path

    path = Path(options.path)
    common.expect_apart([("the vectors", options.path)])
    if not path.parent.is_dir():
        raise common.UsageError(f"the vectors cannot be written: {path} is in no folder that there is")
    if options.format in ("npz", "safetensors") and path.suffix != f".{options.format}":
        raise common.UsageError(
            f"--format {options.format} writes a file that ends in .{options.format}, not {path.name}"
        )
    try:
        with common.progress(options, f"certifying vectors for {path}"):
            count, what = _written(options.format, path)
    except (OSError, ValueError) as error:
        raise common.UsageError(f"the vectors cannot be written to {path}: {error}") from error
    if not options.quiet:
        common.emit(f"{count} {what}: {path}", sys.stdout)
    return OK


def _written(name: str, path: Any) -> tuple[int, str]:
    """Write in a format; return how many there are, and of what."""
    if name == "onnx":
        common.need_balls()
        try:
            from lstm_checks.certified.onnx_tests import write_onnx_tests
        except ImportError as error:
            raise common.UsageError(f"--format onnx needs pip install 'lstm-checks[onnx]': {error}") from error
        path.mkdir(exist_ok=True)
        return len(write_onnx_tests(path)), "ONNX backend tests with certified answers"
    from lstm_checks.certified import formats

    if name == "wpt":
        return formats.write_wpt(path), "WebNN conformance tests with certified answers"
    write = formats.write_csv if name == "csv" else formats.write_by_name
    return write(path), "certified vectors"


def _run(options: argparse.Namespace) -> int:
    """Return the exit code of `vectors run`."""
    read = [] if options.file is None else [("the file of vectors", options.file)]
    common.expect_apart(common.reports_of(options), options.target, read)
    with common.loaded(options) as target:
        return _run_vectors(target, options)


def _run_vectors(target: Any, options: argparse.Namespace) -> int:
    """Return the exit code of `vectors run` for a target."""
    from lstm_checks.certified import text as report
    from lstm_checks.certified.explain import explain_vectors
    from lstm_checks.certified.read import VectorsError, read_vectors_file, shipped_vectors
    from lstm_checks.certified.run import run_vectors

    try:
        if options.file is None:
            # Which of them it is says the target: a module of PyTorch's GRU needs no --cell.
            path = shipped_vectors(target.cell)
            common.expect_apart(common.reports_of(options), options.target, [("the file of vectors", path)])
        file = read_vectors_file(options.file, target.cell)
    except VectorsError as error:
        raise common.UsageError(str(error)) from error
    with common.progress(options, f"running vectors on {options.target}", len(file.vectors)) as advance:
        found = run_vectors(target, file, advance)
        exit_code = (OK if found.passed else FAILED) if found.judged else NOTHING_JUDGED
        explained = explain_vectors(target, found)
    common.save(options, lambda: {**report.vectors_to_json(found, exit_code, explained), **_looked(target, explained)})
    common.say(report.render_vectors(options.target, found, explained), options, exit_code)
    return exit_code


def _looked(target: Any, explained: Any) -> dict[str, Any]:
    """Return what there is to look at in the vector that was looked into, where one was."""
    from lstm_checks.judging.json import case_to_json
    from lstm_checks.judging.look import look

    if explained is None or not explained.failures:
        return {}
    return {"explained": case_to_json(explained), "look": look(target, target.name, explained)}
