"""`lstm-checks faults`: the known bugs of LSTMs, one of them, or which way of checking sees which."""

import argparse
from pathlib import Path
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import NOTHING_JUDGED, OK
from lstm_checks.contract import PLAIN

DESCRIPTION = """\
List the known bugs of LSTMs, or show one: what goes wrong, as a diff of the reference, and the smallest case that shows
it. With --matrix: plant each of them and count in how many examples each way of checking a gradient sees it.
"""

EPILOG = """\
`lstm-checks verify fault:ID` judges the reference with the fault planted in it, as it would anybody's LSTM.

exit code: 0, or 2 where there is no such fault, or the matrix cannot be written
"""
_EXAMPLES, _SECONDS_AN_EXAMPLE = 100, 3.0
_OF_MATRIX = ("examples", "seed", "processes", "torch", "write")


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands, "faults", run, help="show the known bugs of LSTMs", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="one of them; by default all are listed")
    common.add_cell(parser)
    parser.add_argument(
        "--low-precision",
        action="store_true",
        help="list those of low precision instead, each with the contracts under which it is none",
    )
    parser.add_argument("--matrix", action="store_true", help="count which way of checking kills which; takes minutes")
    parser.add_argument("--examples", type=common.positive, metavar="N", help=f"of the matrix, default {_EXAMPLES}")
    parser.add_argument("--seed", type=common.natural, metavar="N", help="seed of the matrix's examples, default 0")
    parser.add_argument("--processes", type=common.positive, metavar="N", help="that share the examples, default 1")
    parser.add_argument(
        "--torch", type=common.natural, metavar="N", help="on N of the examples ask PyTorch's own gradcheck, too"
    )
    parser.add_argument(
        "--write", metavar="FILE", help="write the figures into this Markdown file, and a picture (.svg) beside it"
    )
    common.add_output(parser)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `faults`."""
    picture = str(Path(options.write).with_suffix(".svg")) if options.write and Path(options.write).name else None
    common.expect_apart([("the matrix", options.write), ("the picture", picture), *common.reports_of(options)])
    if options.matrix:
        return _matrix(options)
    given = [name for name in _OF_MATRIX if getattr(options, name) is not None]
    if given:
        raise common.UsageError(f"--{given[0]} is for the matrix, expected --matrix with it")
    if options.low_precision and (options.id is not None or options.cell is not None):
        raise common.UsageError("--low-precision lists what is known of the plain cell, expected no ID and no --cell")
    if options.low_precision:
        return _list_of_low_precision(options)
    return _show(options) if options.id is not None else _list(options)


def _list(options: argparse.Namespace) -> int:
    """Return the exit code of listing all."""
    from lstm_checks.faults.catalogue import faults_of
    from lstm_checks.trials import text as report

    known = faults_of(common.cell_of(options)).values()
    common.save(options, lambda: report.list_to_json(known))
    common.say(report.render_list(known), options, OK)
    return OK


def _list_of_low_precision(options: argparse.Namespace) -> int:
    """Return the exit code of listing the faults of low precision."""
    from lstm_checks.faults.low_precision import FAULTS
    from lstm_checks.trials import text as report

    common.save(options, lambda: report.low_precision_to_json(FAULTS.values()))
    common.say(report.render_low_precision(FAULTS.values()), options, OK)
    return OK


def _show_of_low_precision(id: str, options: argparse.Namespace) -> int:
    """Return the exit code of showing one of low precision: in words, and as a diff."""
    from lstm_checks.faults.low_precision import FAULTS
    from lstm_checks.trials import text as report

    fault = FAULTS[id]
    common.save(options, lambda: report.low_precision_to_json([fault]))
    common.say(report.render_short_fault(fault), options, OK)
    return OK


def _show(options: argparse.Namespace) -> int:
    """Return the exit code of showing one."""
    from lstm_checks.faults import low_precision

    if options.id in low_precision.FAULTS and common.cell_of(options) is PLAIN:
        return _show_of_low_precision(options.id, options)
    from lstm_checks.cases import Case
    from lstm_checks.faults.catalogue import find
    from lstm_checks.judging.case import verify_case
    from lstm_checks.judging.explain import explain
    from lstm_checks.judging.look import look
    from lstm_checks.trials import text as report

    cell = common.cell_of(options)
    try:
        fault = find(options.id, cell)
    except ValueError as error:
        raise common.UsageError(str(error)) from error
    target = common.load(report.target_of(fault), cell)
    seen = verify_case(target, Case.parse(fault.example))
    if not seen.failures:
        raise common.UsageError(f"{seen.case.descriptor} does not show {fault.id}")
    seen = explain(target, seen)
    common.save(options, lambda: {**report.fault_to_json(fault, seen), "look": look(target, target.name, seen)})
    common.say(report.render_fault(fault, seen), options, OK)
    return OK


def _matrix(options: argparse.Namespace) -> int:
    """Return the exit code of the kill matrix."""
    if options.id is not None:
        raise common.UsageError(f"--matrix is about all faults, expected no ID, {options.id!r} was given")
    from lstm_checks.files import replace_file
    from lstm_checks.trials import picture as report
    from lstm_checks.trials.kill_matrix import kill_matrix

    cell = common.cell_of(options)
    if cell.places:
        raise common.UsageError(f"--matrix is of the faults of a cell, expected no network, {cell.name} was given")
    if cell.name != "plain" and options.torch:
        raise common.UsageError(f"--torch asks PyTorch's gradcheck of the plain cell, expected no --cell {cell.name}")
    examples, torch = options.examples or _EXAMPLES, options.torch or 0
    processes = options.processes or 1
    if torch:
        _need_torch()
    page = _page(options.write) if options.write is not None else ""
    common.foretell(options, "the matrix", (examples + 30 * torch) * _SECONDS_AN_EXAMPLE / processes)
    with common.progress(options, "planting faults", examples + torch) as advance:
        matrix = kill_matrix(
            examples, options.seed or 0, processes=processes, torch_examples=torch, progress=advance, cell=cell
        )
    if options.write is not None:
        path = Path(options.write)
        picture = path.with_suffix(".svg")
        try:
            replace_file(picture, report.draw_matrix(matrix))
            replace_file(path, report.replace_figures(page, matrix, picture.name))
        except OSError as error:
            raise common.UsageError(f"the matrix cannot be written to {path}: {error.strerror or error}") from error
    common.save(options, lambda: report.matrix_to_json(matrix))
    code = OK if matrix.cases else NOTHING_JUDGED
    common.say(report.render_matrix(matrix), options, code)
    return code


def _page(name: str) -> str:
    """Return the document as it stands, having seen that its figures can be written."""
    from lstm_checks.extras import MissingExtra
    from lstm_checks.files import read_bytes
    from lstm_checks.trials import picture as report

    path = Path(name)
    if path.suffix != ".md" or path.is_dir() or not path.parent.is_dir():
        raise common.UsageError(f"the matrix cannot be written to {path}, expected a file NAME.md in a folder there is")
    try:
        report.need_matplotlib()
        page = read_bytes(path).decode("utf-8") if path.exists() else ""
    except MissingExtra as error:
        raise common.UsageError(str(error)) from error
    except (OSError, ValueError) as error:
        raise common.UsageError(f"{path} cannot be read: {error}") from error
    if page and not (report.BEGIN in page and report.END in page.partition(report.BEGIN)[2]):
        raise common.UsageError(f"{path} has no place for figures, expected the lines {report.BEGIN} and {report.END}")
    return page


def _need_torch() -> None:
    """Raise the command that installs PyTorch, where it is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise common.UsageError("--torch needs PyTorch, which is not here: pip install torch")
