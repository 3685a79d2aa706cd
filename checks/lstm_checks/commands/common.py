"""What the commands share: exit codes, types of arguments, printing a report and writing it as JSON."""

import argparse
import contextlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from lstm_checks.progress import NOBODY, Progress

OK, FAILED, NOTHING_JUDGED = 0, 1, 2
LONG_SECONDS, TOLD_SECONDS = 5.0, 60.0
LEAST_MEMORY = 64  # megabytes: what starts a program takes some 20 itself
DEFAULT_TARGET = "lstm_fast:LSTM"


def page(name: str) -> str:
    """Return the path of a page of the documentation."""
    return shipped("docs", name)


def shipped(folder: str, name: str) -> str:
    """Return the path of a file that comes along: in the installed package, or in the checkout it is run from."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, folder, name)
    checkout = os.path.dirname(os.path.dirname(package))
    return installed if os.path.exists(installed) else os.path.join(checkout, folder, name)


TARGETS = f"""\
A TARGET is one of
  path/file.py:LSTM, pkg.mod:LSTM
                    a class or a function of yours, as it is: what it is and how it is called is found out.
                    Known without trying are
                      a torch.nn.Module, a Flax nnx, Equinox or Haiku cell, a Keras 3 layer or cell: the class,
                      or a function of the sizes that makes one; a GRU or a simple RNN as well: torch.nn:GRU
                      a function in the vjp form, (h, Cn), pullback = target(p, X, h0, C0), with
                      gradients = pullback(dh, dCn)
                      a function h, Cn = target(p, X, h0, C0) of JAX arrays or torch tensors
                      a layer class in EpyNN's form
  path/model.onnx   a model of LSTM, GRU or RNN nodes as a whole, forward only; gradients are unsupported
  torch, flax, equinox, haiku, keras, onnx
                    the framework's own LSTM; each needs its extra of that name
  exec:./program    an external program in any language; how it speaks is said in
                    {page("exec.md")}

exit code: 0 all that could be judged passed; 1 something failed; 2 nothing could be judged
"""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says why."""


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], **texts: str) -> Any:
    """Return the parser of a new command that `run` carries out."""
    parser = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter, **texts)
    parser.set_defaults(run=run)
    return parser


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the argument TARGET."""
    parser.add_argument("target", nargs="?", default=DEFAULT_TARGET, metavar="TARGET", help=f"default {DEFAULT_TARGET}")


def add_layer(parser: argparse._ActionsContainer) -> None:
    """Add the option for a layer inside a model."""
    parser.add_argument(
        "--layer",
        metavar="PATH",
        help="judge the recurrent layer at this place in the model that TARGET is or makes, e.g. encoder.lstm",
    )


def with_layer(options: argparse.Namespace) -> None:
    """Let the target be the layer inside it that the options name."""
    from lstm_checks.targets.inside import with_layer

    if getattr(options, "layer", None):
        options.target = with_layer(options.target, options.layer)


def add_output(parser: argparse._ActionsContainer, page: bool = True) -> None:
    """Add the options on what is printed and written."""
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON, too; - for standard output")
    if page:
        parser.add_argument("--html", metavar="FILE", help="write it as a page to look at, too; needs the extra html")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")


def add_timeout(parser: argparse._ActionsContainer) -> None:
    """Add the option on how long a target may take."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="time limit of one call; default LSTM_CHECKS_TIMEOUT, or 10 for a program and 60 for anything else, with "
        "--in-process none",
    )


def expect_apart(
    written: Iterable[tuple[str, str | None]], target: str | None = None, read: Iterable[tuple[str, str | Path]] = ()
) -> None:
    """Raise UsageError where what is to be written would take the place of what is read; before anything is judged.

    Parameters
    ----------
    written : iterable of (str, str or None)
        What is to be written, and where: None for nowhere, "-" for standard output.
    target : str, optional
        The target that is judged, whose files are read.
    read : iterable of (str, path)
        What else is read.
    """
    from lstm_checks.files import FileError, expect_apart
    from lstm_checks.targets.load import files_of

    places = [(what, name) for what, name in written if name not in (None, "-")]
    if not places:
        return
    own = [(f"a file of target {target}", path) for path in files_of(target)] if target is not None else []
    try:
        expect_apart(places, [*read, *own])
    except FileError as error:
        raise UsageError(str(error)) from error


def add_process(parser: argparse._ActionsContainer) -> None:
    """Add the options on the process that the target is judged in."""
    parser.add_argument(
        "--time-limit",
        type=seconds,
        metavar="SECONDS",
        help="time limit of it all, default 3600, or 10 an example if that is more, so that nothing hangs for ever",
    )
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="import the target into this process, for a debugger: it can then end the process, with any exit code",
    )


def add_bounds(parser: argparse._ActionsContainer) -> None:
    """Add the options on what the target's process may not have."""
    parser.add_argument(
        "--memory",
        type=megabytes,
        metavar="MB",
        help="most memory (address space, in 2^20 bytes) that the target may take, what it imports included, and each "
        "process that it starts; Linux",
    )
    parser.add_argument(
        "--isolate",
        action="store_true",
        help="nothing judged by a target that could read this process: its own process, as ever, and this one's memory "
        "closed to it, root's rights included; Linux. Its source is not looked into then, nor with --memory",
    )


def bounds_of(options: argparse.Namespace) -> Any:
    """Return what the target's process may not have; raise where that cannot be seen to."""
    from lstm_checks.contract import MB, Bounds

    bounds = Bounds((getattr(options, "memory", None) or 0) * MB, getattr(options, "isolate", False))
    for asked, option in ((bounds.isolate, "--isolate"), (bounds.memory, f"--memory {bounds.memory // MB}")):
        if asked and options.in_process:
            raise UsageError(f"{option} is for a process of the target's own, and --in-process leaves it in this one")
        if asked and sys.platform != "linux":
            raise UsageError(f"{option} can be had on Linux only")
    return bounds


def add_cell(parser: argparse.ArgumentParser, beside: Any = None) -> None:
    """Add the options for the equations that the target is to follow; `--cell` to a group where one is given."""
    (beside or parser).add_argument(
        "--cell",
        metavar="NAME",
        help="the equations that it is to follow: plain (the default), coupled (i = 1 - f), peephole (gates see the "
        "memory: parameters pf, pi, po besides), layernorm (gains nf ni ng no nC, and a bias bC besides), projected "
        "(h = (o * C) P, of size p), clipped (the memory is cut off at -1 and 1, or clipped,limit=3: TensorFlow's "
        "cell_clip), gru (gates r, z, g and no C; r scales the state), gru_reset_after (r scales the "
        "product, as in cuDNN, PyTorch and Keras: a second bias, cg) or rnn (tanh, g alone); plain, coupled, peephole, "
        "projected and clipped with other activations after it, f of the gates, g of the candidate, h of the memory: "
        "plain,f=hardsigmoid6,g=relu,h=leakyrelu:0.3 (or affine, elu, exponential, hardsigmoid, hardtanh, relu6, "
        "scaledtanh, selu, sigmoid, softplus, softsign, tanh, thresholdedrelu, and of ONNX's clip clippedsigmoid:LIMIT "
        "and clippedtanh:LIMIT); or a network of one, after an @: plain@2xboth, with forward, reverse, both or sum",
    )
    group = parser.add_argument_group("networks", "layers and directions of the cell")
    group.add_argument("--layers", type=positive, metavar="N", help="how many layers, default 1")
    group.add_argument("--bidirectional", action="store_true", help="both directions in each layer")
    group.add_argument("--reverse", action="store_true", help="the reverse direction alone")
    group.add_argument("--join", choices=["concat", "sum"], help="how two directions are joined, default concat")


def add_lengths(parser: argparse._ActionsContainer) -> None:
    """Add the option that asks for padded batches."""
    parser.add_argument(
        "--lengths",
        action="store_true",
        help="the target must take padded batches, whose samples have lengths of their own; where it does they are "
        "judged anyway",
    )


def add_projection(parser: argparse._ActionsContainer) -> None:
    """Add the option for the size of a projection."""
    parser.add_argument(
        "--proj",
        type=positive,
        metavar="P",
        help="the size p of the projected hidden state in all examples, as torch's proj_size is; --cell projected then",
    )


def with_projection(target: Any, options: argparse.Namespace) -> Any:
    """Return the target, of which p is asked for as the options say it."""
    import dataclasses

    said = getattr(options, "proj", None)
    if said is None:
        return target
    if "p" not in target.cell.further:
        raise UsageError(f"--proj {said}: {target.name} is judged as a {target.cell.title}, which has no projection")
    if target.limits.given and target.limits.given != (("p", 0, 0, said),):
        raise UsageError(f"--proj {said}: {target.name} has chosen the size of its projection itself")
    return dataclasses.replace(target, limits=dataclasses.replace(target.limits, given=(("p", 0, 0, said),)))


def as_declared(target: Any, options: argparse.Namespace) -> Any:
    """Return the target with what the options say of it."""
    return with_declared(with_least(with_projection(target, options), options), options)


def add_min_dims(parser: argparse._ActionsContainer) -> None:
    """Add the option for the least sizes that a target takes."""
    parser.add_argument(
        "--min-dims",
        type=dims,
        metavar="M,S,E,U",
        help="least sizes that it is asked for, where it is meant for no smaller ones; default 1,1,1,1",
    )


def with_least(target: Any, options: argparse.Namespace) -> Any:
    """Return the target, which is asked for no sizes below those that the options say."""
    import dataclasses

    said = getattr(options, "min_dims", None)
    if said is None:
        return target
    if len(said) > 4:
        raise UsageError(f"--min-dims has {len(said)} sizes, expected M,S,E,U")
    most = getattr(options, "max_dims", None) or said
    for letter, size, largest in zip("mseu", said, most, strict=False):
        if size > largest:
            raise UsageError(f"--min-dims has {letter} = {size}, expected at most that of --max-dims, {largest}")
    least = tuple((letter, size) for letter, size in zip("mseu", said, strict=True) if size > 1)
    limits = dataclasses.replace(target.limits, least=least)
    case = getattr(options, "case", None)
    if case is not None and (refused := limits.refused(parse_case(case).sizes)):
        raise UsageError(f"--case {case} has {refused}, which --min-dims leaves out")
    return dataclasses.replace(target, limits=limits)


def add_lacks(parser: argparse._ActionsContainer) -> None:
    """Add the option for what a target does not take or return."""
    parser.add_argument(
        "--lacks",
        metavar="W,W",
        help="what it does not take or return, where that is not found out: some of h0, C0, states, biases, Cn, dCn, "
        "gradients, or names of gradients; what it does not take is zero, what is lacking is reported as unsupported",
    )


def with_declared(target: Any, options: argparse.Namespace) -> Any:
    """Return the target, lacking what the options say."""
    import dataclasses

    from lstm_checks.targets.lacking import with_lacks

    said = getattr(options, "lacks", None)
    if said is None:
        return target
    try:
        words = tuple(word.strip() for word in said.split(",") if word.strip())
        # Said again in what reruns a case: the target's own words and what is found out are there anyway.
        return dataclasses.replace(with_lacks(target, words), declared=words)
    except ValueError as error:
        raise UsageError(f"--lacks has {error}") from None


def expect_dims(options: argparse.Namespace, cell: Any) -> None:
    """Raise where more largest sizes are given than the cell has."""
    if options.max_dims is not None and len(options.max_dims) > len(cell.letters):
        form = ",".join(cell.letters.upper())
        raise UsageError(f"--max-dims has {len(options.max_dims)} sizes, expected {form} of the {cell.title}")


def cell_of(options: argparse.Namespace) -> Any:
    """Return the cell that is asked for, by its name or by a case's."""
    from lstm_ref.cells import cell_named

    said, case = _named_cell(options), getattr(options, "case", None)
    said = "projected" if said is None and case is None and getattr(options, "proj", None) is not None else said
    try:
        found = cell_named(said or "plain")
    except ValueError as error:
        raise UsageError(f"--cell is {error}") from None
    by_case = parse_case(case).cell.name if case is not None else None
    # A plain LSTM's descriptor has no word for it, and is as good a seed for another cell.
    if said is not None and by_case not in (None, "plain", said):
        raise UsageError(f"--cell {said} does not go with --case {case}, which is of the cell {by_case}")
    return cell_named(by_case) if said is None and by_case is not None else found


def _named_cell(options: argparse.Namespace) -> str | None:
    """Return the name of the cell, or of the network, that the options say; None where they say nothing."""
    said: str | None = getattr(options, "cell", None)
    layers, both, reverse, join, lengths = (
        getattr(options, name, None) for name in ("layers", "bidirectional", "reverse", "join", "lengths")
    )
    if both and reverse:
        raise UsageError("--bidirectional and --reverse do not go together")
    if join is not None and not both:
        raise UsageError(f"--join {join} is for --bidirectional, which is not given")
    composed = layers is not None or both or reverse
    if said is not None and "@" in said:
        if composed:
            raise UsageError(f"--cell {said} is a network, and --layers, --bidirectional and --reverse say another")
        return said
    if not composed and not (lengths and getattr(options, "case", None) is None):
        return said
    word = "sum" if join == "sum" else "both" if both else "reverse" if reverse else "forward"
    return f"{said or 'plain'}@{layers or 1}x{word}"


def load(spec: str, cell: Any = None) -> Any:
    """Return the target of a spec, in this process: one of ours."""
    from lstm_checks.targets.load import TargetError, load_target

    try:
        return load_target(spec) if cell is None else load_target(spec, cell=cell)
    except TargetError as error:
        raise UsageError(str(error)) from error


def _whole(examples: int) -> float:
    """Return the seconds that everything may take, where nobody says."""
    from lstm_checks import tolerance

    return max(tolerance.WHOLE_SECONDS, tolerance.EXAMPLE_SECONDS * examples)


def compute_with_one_thread() -> None:
    """Load NumPy so that it computes with one thread here, and as it likes in processes that are started later.

    What is judged is small, and threads that wait for one another cost a third of the time; the target has its own.
    """
    from lstm_checks.workers.threads import ONE_THREAD

    own = {name: count for name, count in ONE_THREAD.items() if name not in os.environ}
    os.environ.update(own)
    try:
        import numpy  # noqa: F401  # which reads them but once
    finally:
        for name in own:
            os.environ.pop(name, None)


@contextmanager
def loaded(options: argparse.Namespace) -> Iterator[Any]:
    """Yield the target that is asked for, in a process of its own, unless forbidden, which ends with the context."""
    from lstm_checks.targets.load import TargetError, load_target, runs_elsewhere
    from lstm_checks.workers import processes

    timeout, cell, bounds = getattr(options, "timeout", None), cell_of(options), bounds_of(options)
    try:
        if bounds.isolate:
            try:
                processes.close_memory()
            except OSError as error:
                raise UsageError(f"--isolate: {error}") from error
        if options.in_process or not runs_elsewhere(options.target):
            with progress(options, f"loading {options.target}"):
                target = load_target(options.target, timeout, cell=cell, bounds=bounds)
            yield _with_lengths(as_declared(target, options), options)
            return
        from lstm_checks.workers.remote import Loading

        whole = options.time_limit or _whole(getattr(options, "examples", None) or 1)
        with Loading(options.target, timeout, whole, cell=cell, bounds=bounds) as loading:
            import lstm_checks.judging.verify  # noqa: F401  # meanwhile, as it takes as long as the target

            with progress(options, f"loading {options.target}"):
                target = loading.target()
            yield _with_lengths(as_declared(target, options), options)
    except TargetError as error:
        raise UsageError(str(error)) from error


def _with_lengths(target: Any, options: argparse.Namespace) -> Any:
    """Return a target, or raise where lengths are asked for and it takes none."""
    if getattr(options, "lengths", False) and not target.lengths:
        raise UsageError(f"--lengths: {target.name}, a {target.kind}, takes no lengths")
    return target


def in_form(target: Any) -> Any:
    """Return a target, or raise in what it is of another form than a target's, whatever the sizes."""
    from lstm_checks.contract import with_article
    from lstm_checks.targets.form import not_in_form

    reason = not_in_form(target)
    if reason:
        raise UsageError(f"{target.name} is not in the form of {with_article(target.kind)}: {reason}")
    return target


def need_balls() -> None:
    """Raise the command that installs the extra `certify`, where it is missing."""
    from lstm_checks.arithmetic.balls import flint
    from lstm_checks.extras import MissingExtra

    try:
        flint()
    except MissingExtra as error:
        raise UsageError(str(error)) from error


def foretell(options: argparse.Namespace, what: str, seconds: float) -> None:
    """Say beforehand on standard error what takes so long, if it does."""
    if seconds >= LONG_SECONDS and not options.quiet:
        print(f"lstm-checks: {what} will take about {words_for(seconds)}", file=sys.stderr, flush=True)


def words_for(seconds: float) -> str:
    """Return a length of time in words, to two digits or so."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def add_contract(parser: Any) -> None:
    """Add the option of a precision contract."""
    from lstm_checks.formats import PARTS

    parser.add_argument(
        "--contract",
        metavar="CONTRACT",
        help="what of a computation in low precision may be short: all (the default), accumulate32, gates32, state32, "
        f"or PART=float32,... with PART any of {', '.join(PARTS)}",
    )


def formats_asked(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Return the formats that are asked for, with their contract; None where it is the target that says."""
    from lstm_checks.formats import LOW, format_named

    both = {None: None, "both": ("float64", "float32")}
    if options.contract is None:
        return both.get(options.dtype, (options.dtype,))
    if options.dtype not in LOW:
        said = "it is not given" if options.dtype is None else f"it is {options.dtype}"
        raise UsageError(f"--contract {options.contract} goes with a --dtype of low precision, and {said}")
    try:
        return (format_named(f"{options.dtype}+{options.contract}").name,)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_case(descriptor: str) -> Any:
    """Return the case of a descriptor."""
    from lstm_checks.cases import Case

    try:
        return Case.parse(descriptor)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_regimes(text: str) -> tuple[str, ...]:
    """Return the regimes named in a list."""
    from lstm_checks.cases import LARGE_REGIME, REGIMES

    names, known = tuple(word.strip() for word in text.split(",")), (*REGIMES, LARGE_REGIME)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"there is no regime {unknown[0]!r}, expected some of {','.join(known)}")
    return names


def save_json(path: str | None, make: Callable[[], Any]) -> None:
    """Write the report as JSON where a file is asked for."""
    if path is None:
        return
    import json

    from lstm_checks.judging.json import write_json

    if path == "-":
        emit(json.dumps(make(), indent=1), sys.stdout)
        return
    try:
        write_json(path, make())
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror or error}") from error


def reports_of(options: argparse.Namespace) -> list[tuple[str, str | None]]:
    """Return where reports are to be written; raise where a page is asked for that cannot be made."""
    need_pages(options.html)
    return [("the report", options.json), ("the page", options.html)]


def need_pages(path: str | None) -> None:
    """Raise the command that installs the extra `html`, where a page is asked for and it is missing."""
    if path is None:
        return
    from lstm_checks.extras import MissingExtra
    from lstm_checks.html.render import need_jinja

    if path == "-":
        raise UsageError("--html is '-', expected a file such as report.html")
    try:
        need_jinja()
    except MissingExtra as error:
        raise UsageError(str(error)) from error


def save(options: argparse.Namespace, make: Callable[[], Any]) -> None:
    """Write the report as JSON and as a page, as far as these are asked for; it is made once for both."""
    if options.json is None and options.html is None:
        return
    report = make()
    save_json(options.json, lambda: report)
    if options.html is not None:
        save_page(options.html, report)


def save_page(path: str, report: Any) -> None:
    """Write the page of a report, as its JSON tells it."""
    from lstm_checks.files import replace_file
    from lstm_checks.html.page import report_to_html

    text = report_to_html(report)
    try:
        replace_file(path, text)
    except OSError as error:
        raise UsageError(f"the page cannot be written to {path}: {error.strerror or error}") from error


def say(text: str, options: argparse.Namespace, exit_code: int) -> None:
    """Print a report; to standard error where standard output carries the JSON."""
    if options.quiet and exit_code == OK:
        return
    emit(text, sys.stderr if options.json == "-" else sys.stdout)


def emit(text: str, stream: TextIO | None) -> None:
    """Print a text and see that it has arrived; what the stream's encoding does not have is escaped."""
    if stream is None:
        raise UsageError("standard output is closed")
    encoding = stream.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard error" if stream is sys.stderr else "standard output"
        raise UsageError(f"{name} cannot be written: {error.strerror or error}") from error


@contextmanager
def progress(options: argparse.Namespace, title: str, total: int | None = None) -> Iterator[Progress]:
    """Yield what tells of a long work on standard error: a bar on a terminal, in a log a line every minute.

    A failure is told when it is met. With --quiet nothing is.
    """
    if options.quiet or sys.stderr is None:
        yield NOBODY
        return
    telling = _Bar(title, total) if sys.stderr.isatty() else _Log(title, total)
    with telling:
        yield telling


class _Bar(Progress):
    """A bar on a terminal."""

    def __init__(self, title: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        more = (BarColumn(), MofNCompleteColumn()) if total is not None else ()
        columns = (TextColumn("{task.description}", markup=False), *more, TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task(title, total=total)

    def __enter__(self) -> None:
        self.bar.start()

    def __exit__(self, *ignored: object) -> None:
        self.bar.stop()

    def __call__(self, count: int = 1) -> None:
        self.bar.advance(self.task, count)

    def doing(self, words: str, total: int | None = None) -> None:
        self.bar.reset(self.task, total=total, description=words)

    def failed(self, sentence: str) -> None:
        self.bar.console.print(f"lstm-checks: {sentence}", markup=False, highlight=False, soft_wrap=True)


class _Log(Progress):
    """Lines in a log, of which a short work has none."""

    def __init__(self, title: str, total: int | None) -> None:
        self.words, self.total, self.done = title, total, 0
        self.start, self.ended = time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *ignored: object) -> None:
        self.ended.set()
        self.thread.join()

    def __call__(self, count: int = 1) -> None:
        self.done += count

    def doing(self, words: str, total: int | None = None) -> None:
        self.words, self.total, self.done = words, total, 0

    def failed(self, sentence: str) -> None:
        self._say(sentence)

    def _tell(self) -> None:
        """Say every so often what is being done, until it is done."""
        while not self.ended.wait(TOLD_SECONDS):
            of = f", {self.done} of {self.total}" if self.total else ""
            self._say(f"{self.words}{of}, {words_for(time.monotonic() - self.start)} so far")

    def _say(self, sentence: str) -> None:
        """Write a line, if anybody still reads."""
        with contextlib.suppress(UsageError, OSError, ValueError):
            emit(f"lstm-checks: {sentence}", sys.stderr)


def positive(text: str) -> int:
    """Return an int of at least 1."""
    number = natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return number


def natural(text: str) -> int:
    """Return an int of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def seed(text: str) -> int:
    """Return a seed: a natural number, or for "random" one that nobody can foresee; the report says which it was."""
    return secrets.randbelow(2**32) if text == "random" else natural(text)


def seconds(text: str) -> float:
    """Return a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def megabytes(text: str) -> int:
    """Return a number of megabytes, in which a program can at least begin."""
    if not text.isdecimal() or int(text) < LEAST_MEMORY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of megabytes of at least {LEAST_MEMORY}")
    return int(text)


def dims(text: str) -> tuple[int, ...]:
    """Return four sizes or more, each at least 1."""
    words = text.split(",")
    if len(words) < 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not four sizes M,S,E,U")
    return tuple(positive(word.strip()) for word in words)
