"""An external program as a target: it reads cases and writes answers, one line of JSON each, as docs/exec.md says.

The program is kept running between cases. Whatever it does, be it to crash, to hang, to write something else or half a
line, is a `ProgramError` or a `TimeLimitError` of that call; it is then ended with all its children, and started
anew for the next. Between it and the harness stands `supervise.py`, a process that outlives nobody.
"""

import contextlib
import json
import math
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.cases import LENGTHS, Case
from lstm_checks.contract import (
    ANY_CELL,
    CN,
    DCN,
    DHN,
    FREE,
    INTERMEDIATES,
    LAST,
    PLAIN,
    STATES,
    Bounds,
    ContractError,
    Target,
    TimeLimitError,
)
from lstm_checks.files import FileError, hex_list, parse_json
from lstm_checks.targets.network import with_conventions
from lstm_ref.cell import Cell
from lstm_ref.network import Network

PROGRAM_SECONDS = 10.0
GRACE_SECONDS = 0.5  # for a program to end by itself, once its input has
KILL_SECONDS = 10.0  # for what it started to be killed
SUPERVISE = Path(__file__).with_name("supervise.py")
SHOWN = 60  # characters of what a program wrote
KEPT = 2000  # bytes of what it wrote to standard error
LENGTHS_SAID = "lengths"
"""What a program of a network says that it lacks where it takes no samples of their own lengths."""
SHOWN_AT_MOST = 64
"""Arrays of the size of h for which there is room in an answer with intermediates."""
MAY_LACK = frozenset({STATES, CN, DCN, DHN})
"""What a program may lack besides gradients."""

_HEX = re.compile(r"[-+]?(0x[0-9a-f]*\.?[0-9a-f]*p[-+]?[0-9]+|inf|infinity|nan)", re.IGNORECASE)


class ProgramError(ContractError):
    """The program cannot be run, or does not answer as docs/exec.md says."""


def program_target(name: str, command: str, seconds: float, cell: Cell = PLAIN, bounds: Bounds = FREE) -> Target:
    """Return the target of an external program.

    Parameters
    ----------
    name : str
        What the user called it.
    command : str
        The program and its arguments, as a shell would split them; no shell sees it.
    seconds : float
        How long an answer may take, the start of the program included where it has to be started.
    cell : Cell
        The equations that it is to follow, and with them the names in its requests and answers.
    bounds : Bounds
        What its process is not to have.

    Raises
    ------
    ProgramError
        "there is no program './lstn'; did you mean './lstm'?", and the like: of a program that cannot be started.
    """
    return target_of(name, Program(_find_program(command), seconds, cell, bounds))


def target_of(name: str, program: "Program") -> Target:
    """Return the target of a program, which is asked two tiny cases, and of a network some with lengths."""
    lacks, dtypes, kind = _probe(program)
    cell = program.cell
    last: list[tuple[Any, Any]] = []

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        outputs, _ = program.ask(inputs, {})

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            none = {}
            if cell.folded:
                none = {cell.folded: np.zeros(cell.shape(cell.folded, *cell.sizes_of(inputs)), inputs["X"].dtype)}
            given = none | dict(cotangents)
            asked = inputs, {name: given[name] for name in cell.cotangents}
            _, gradients = program.ask(*asked)
            last[:] = [asked]
            return {key: value for key, value in gradients.items() if key not in lacks}

        return {name: None if name in lacks else outputs.get(name) for name in cell.outputs}, pullback

    def caches() -> dict[str, Any]:
        return {name: value for asked in last for name, value in program.intermediates(*asked).items()}

    lengths = LENGTHS if cell.places and LENGTHS_SAID not in lacks else ()
    found = frozenset({LAST, *lacks - {LENGTHS_SAID}})
    can = frozenset({ANY_CELL, INTERMEDIATES})
    target = Target(name, kind, call, found, dtypes, caches=caches, cell=cell, lengths=lengths, can=can)
    return with_conventions(target)


def _find_program(command: str) -> list[str]:
    """Return the words of a command whose first one is a program that can be run."""
    if os.name != "posix":
        raise ProgramError("external programs are run on Linux and macOS only")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ProgramError(f"the command {command!r} cannot be split into words: {error}") from error
    if not words:
        raise ProgramError("no program is named, expected exec:./program")
    path = Path(words[0])
    if shutil.which(words[0]):
        return words
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = _nearest(path.name, [entry.name for entry in folder.iterdir() if os.access(entry, os.X_OK)])
        hint = f"; did you mean {os.path.join(os.path.dirname(words[0]), near)}?" if near else ""
        raise ProgramError(f"there is no program {words[0]!r}{hint}")
    if not os.access(path, os.X_OK):
        raise ProgramError(f"{words[0]!r} is not executable: chmod +x {words[0]}")
    raise ProgramError(f"{words[0]!r} is not on PATH; did you mean ./{words[0]}?")


def _nearest(name: str, names: list[str]) -> str:
    """Return the most similar of the names, or nothing."""
    import difflib

    return next(iter(difflib.get_close_matches(name, names, n=1)), "")


def _probe(program: "Program") -> tuple[set[str], tuple[str, ...], str]:
    """Return what a program lacks, its dtypes and what it is, by one tiny case in each dtype.

    An error that the program reports is taken to say that it has not this dtype. Whatever else goes wrong is for the
    examples to find.
    """
    cell, refusals = program.cell, dict[str, str]()
    lacks: set[str] = set()
    for dtype in ("float64", "float32"):
        arrays = Case(1, 2, 1, 1, dtype, cell=cell).arrays
        try:
            outputs, gradients = program.ask(arrays.inputs, arrays.cotangents)
        except RefusedError as error:
            refusals[dtype] = error.reason
            continue
        except ContractError:
            continue
        lacks |= {key for key in cell.gradients if gradients.get(key) is None} | program.lacks
        missing = {name for name in cell.finals if outputs.get(name) is None}
        lacks |= missing if cell.places else {CN, DCN} if missing else set()
        lacks |= {f"d{name}" for name in cell.initial} if STATES in lacks else set()
    kind = "external program"
    if len(refusals) == 1:
        ((dtype, reason),) = refusals.items()
        other = "float32" if dtype == "float64" else "float64"
        return lacks, (other,), f"{kind}, {other} alone: to {dtype} it says {_shown(reason)}"
    return lacks, ("float64", "float32"), kind


class RefusedError(ProgramError):
    """The program says that it cannot do a case."""

    def __init__(self, reason: str):
        super().__init__(f"the program reports an error: {_shown(reason)}")
        self.reason = reason


class Program:
    """A running program, asked one case after the other.

    Attributes
    ----------
    lacks : frozenset of str
        What its last answer said to be unsupported.
    """

    def __init__(self, words: list[str], seconds: float, cell: Cell = PLAIN, bounds: Bounds = FREE):
        self.words, self.seconds, self.cell, self.bounds = words, seconds, cell, bounds
        self.lacks: frozenset[str] = frozenset()
        self._count = 0
        self._process: Any | None = None
        self._status: Any = None
        self._end: Callable[[], Any] = lambda: None
        self._said = b""

    def ask(self, inputs: Mapping[str, Any], cotangents: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the outputs and, where there are cotangents, the gradients of a case.

        Arrays have the shapes of the contract and the inputs' dtype. One of another length stays flat, and one with
        numbers that this dtype does not have stays float64, so that the comparison names it; None stays None.

        Raises
        ------
        RefusedError
            The program reports an error.
        ProgramError
            It answers something else, or not at all.
        TimeLimitError
            It gives no answer in time.
        """
        with self._stopped_by_errors():
            return self._judged(*self._asked(inputs, cotangents, {}), bool(cotangents))

    def intermediates(self, inputs: Mapping[str, Any], cotangents: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the program shows of its way through a case, by name, (m, s, n) each; nothing where it does not.

        A program need not know of this, so whatever it does then is no failure.
        """
        m, s, *_ = self.cell.sizes_of(inputs)
        try:
            with self._stopped_by_errors():
                answer, _, dtype = self._asked(inputs, cotangents, {INTERMEDIATES: True})
                found = _arrays(INTERMEDIATES, answer.get(INTERMEDIATES), {}, dtype)
        except ContractError:
            return {}
        return {
            name: value.reshape(m, s, -1) if value.size and value.size % (m * s) == 0 else value
            for name, value in found.items()
            if value is not None
        }

    @contextlib.contextmanager
    def _stopped_by_errors(self) -> Iterator[None]:
        """End the process where anything goes wrong but that it refuses a case."""
        try:
            yield
        except RefusedError:
            raise
        except BaseException:
            self._stop()
            raise

    def _asked(
        self, inputs: Mapping[str, Any], cotangents: Mapping[str, Any], more: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], Any]:
        """Return the program's answer to a request with `more` in it, the shapes due in it, and its dtype."""
        self._count += 1
        dtype = inputs["X"].dtype
        dims = self.cell.sizes_of(inputs)
        request: dict[str, Any] = {
            "id": self._count,
            "dtype": str(dtype),
            "sizes": dict(zip(self.cell.letters, dims, strict=True)),
        }
        if isinstance(self.cell, Network):
            net = self.cell
            composed = {"cell": net.cell.name, "layers": net.layers, "directions": net.directions, "join": net.join}
            request["network"] = composed
        if "lengths" in inputs:
            request["lengths"] = [int(n) for n in inputs["lengths"]]
        request["inputs"] = {key: hex_list(inputs[key]) for key in self.cell.inputs}
        if cotangents:
            request["cotangents"] = {key: hex_list(value) for key, value in cotangents.items()}
        request |= more
        shapes = {name: self.cell.shape(name, *dims) for name in (*self.cell.gradients, *self.cell.outputs)}
        count = sum(math.prod(shape) for shape in shapes.values())
        if more:
            count += SHOWN_AT_MOST * math.prod(shapes[self.cell.outputs[0]])
        answer = self._parse(self._exchange(json.dumps(request).encode() + b"\n", 1_000_000 + 200 * count))
        return answer, shapes, dtype

    def _judged(
        self, answer: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtype: Any, pulled_back: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the outputs and gradients in an answer, in their shapes."""
        outputs = _arrays("outputs", answer.get("outputs"), shapes, dtype)
        gradients = _arrays("gradients", answer.get("gradients"), shapes, dtype) if pulled_back else {}
        if unknown := set(outputs) - set(self.cell.outputs):
            raise ProgramError(f"outputs has {_shown(min(unknown))}, expected {' and '.join(self.cell.outputs)}")
        if unknown := set(gradients) - set(self.cell.gradients):
            raise ProgramError(
                f"gradients has {_shown(min(unknown))}, expected some of {', '.join(self.cell.gradients)}"
            )
        return outputs, gradients

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Return the answer of a line."""
        text = line.decode(errors="replace")
        try:
            answer = parse_json(line, constants=True)
        except FileError as error:
            why = "" if str(error).startswith("not JSON") else f" ({error})"
            raise ProgramError(
                f"the program answered {_shown(text)}, expected a line of JSON{why}{self._tail()}"
            ) from None
        if not isinstance(answer, dict):
            raise ProgramError(f"the program answered {_shown(text)}, expected a JSON object")
        if answer.get("id") != self._count:
            raise ProgramError(
                f"the answer's id is {_shown(str(answer.get('id')))}, expected {self._count}: one line for each case"
            )
        if "error" in answer:
            raise RefusedError(str(answer["error"]))
        unsupported = answer.get("unsupported", [])
        of_network = {LENGTHS_SAID, *self.cell.finals} if self.cell.places else set()
        may_lack = MAY_LACK | set(self.cell.gradients) | of_network
        if not isinstance(unsupported, list) or not set(map(str, unsupported)) <= may_lack:
            known = ", ".join(sorted(may_lack))
            raise ProgramError(f"unsupported is {_shown(json.dumps(unsupported))}, expected a list of any of {known}")
        self.lacks = frozenset(unsupported)
        return answer

    def _exchange(self, line: bytes, most: int) -> bytes:
        """Return the line that the program writes after it was given one."""
        deadline = time.monotonic() + self.seconds
        process = self._running()
        came = b""
        with selectors.DefaultSelector() as selector:
            # All at once: a program may answer before it has read everything, or say so much
            # that it stops until somebody reads.
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            selector.register(self._status, selectors.EVENT_READ)
            while b"\n" not in came:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready or time.monotonic() > deadline:
                    raise TimeLimitError(self._no_answer(came))
                for key, _ in ready:
                    if key.fileobj is self._status:
                        # It is over, though what it has started may hold its output open; what it said before counts.
                        came += _read(process.stdout) or b""
                        if b"\n" not in came:
                            raise ProgramError(self._ended(process, came))
                        break
                    elif key.fileobj is process.stdin:
                        line = _write(process.stdin, line)
                        if not line:
                            selector.unregister(process.stdin)
                    elif key.fileobj is process.stderr:
                        said = _read(process.stderr)
                        self._said = (self._said + (said or b""))[-KEPT:]
                        if said == b"":
                            selector.unregister(process.stderr)
                    else:
                        found = _read(process.stdout)
                        came += found or b""
                        if found == b"":
                            raise ProgramError(self._ended(process, came))
                        if len(came) > most:
                            raise ProgramError(f"the program's answer exceeds {most} bytes, it begins {_shown(came)}")
        answer, _, rest = came.partition(b"\n")
        if rest.strip():
            raise ProgramError(f"the program wrote more than one line, the second begins {_shown(rest)}")
        return answer

    def _running(self) -> Any:
        """Return the process, started if there is none."""
        if self._process is None:
            self._said = b""
            try:
                process, control, self._status = _start(self.words, self.bounds)
            except OSError as error:
                raise ProgramError(f"{self.words[0]!r} cannot be started: {error.strerror or error}") from error
            self._process = process
            self._end = weakref.finalize(self, _end, process, control, self._status)
            said = self._status.readline()
            if said != b"started\n":
                self._stop()
                why = said.decode(errors="replace").removeprefix("failed ").strip() or "its supervisor has ended"
                raise ProgramError(f"{self.words[0]!r} cannot be started: {why}")
        return self._process

    def _stop(self) -> None:
        """End the process, if there is one."""
        self._process = None
        self._end()

    def _no_answer(self, came: bytes) -> str:
        """Return what is said of a program that hangs."""
        half = f" but half a line, {_shown(came)}" if came else ""
        return f"no answer within {self.seconds:g} s{half}{self._tail()}"

    def _ended(self, process: Any, came: bytes) -> str:
        """Return what is said of a program that has closed its output."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            told = self._status.readline() if selector.select(GRACE_SECONDS) else b""
        while said := _read(process.stderr):
            self._said = (self._said + said)[-KEPT:]
        code = int(told.split()[1]) if told.startswith(b"ended ") else None
        how = f"exit code {code}" if code is not None and code >= 0 else "its output closed"
        if code is not None and code < 0:
            how = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        half = f"in the middle of a line, {_shown(came)}" if came else "without an answer"
        hint = " (it has to go on until its input ends)" if code == 0 else ""
        return f"the program ended with {how} {half}{hint}{self._tail()}"

    def _tail(self) -> str:
        """Return the last lines that the program wrote to standard error, if there are any."""
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        said = f"; it said: {' | '.join(lines[-3:])}" if lines else ""
        return said + self.bounds.told


def _start(words: list[str], bounds: Bounds) -> tuple[Any, int, Any]:
    """Return a program's supervisor, the handle that it ends with, and the stream on which it says what happens."""
    held, control = os.pipe()  # it ends its program once nobody holds `control`, be that since the harness is gone
    status, told = os.pipe()
    try:
        # A session of its own is a process group of its own: what else is in that ends with it, too.
        own = (held, told, bounds.memory, int(bounds.isolate))
        process: Any = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISE), *map(str, own), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=(held, told),
            start_new_session=True,
        )
    except OSError:
        os.close(control)
        os.close(status)
        raise
    finally:
        os.close(held)
        os.close(told)
    for stream in (process.stdin, process.stdout, process.stderr):
        os.set_blocking(stream.fileno(), False)
    return process, control, os.fdopen(status, "rb", buffering=0)


def _end(process: Any, control: int, status: Any) -> None:
    """End a program and whatever it started; one that is waiting for a case may do so by itself."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    os.close(control)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr, status):
        stream.close()


def _write(stream: Any, line: bytes) -> bytes:
    """Return what is left of the line; nothing where nobody reads it, which the end of the output will tell."""
    try:
        return line[os.write(stream.fileno(), line) :]
    except BlockingIOError:
        return line
    except BrokenPipeError:
        return b""


def _read(stream: Any) -> bytes | None:
    """Return what there is to read; nothing at the end, and None where there is nothing yet."""
    try:
        return os.read(stream.fileno(), 65536)
    except BlockingIOError:
        return None


def _shown(text: str | bytes) -> str:
    """Return the beginning of what a program wrote, in quotes."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return repr(text[:SHOWN]) + ("..." if len(text) > SHOWN else "")


def _arrays(group: str, content: Any, shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> dict[str, Any]:
    """Return the arrays of one group of an answer."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ProgramError(f"{group} is a {type(content).__name__}, expected an object of lists by name")
    return {key: None if numbers is None else _array(key, numbers, shapes, dtype) for key, numbers in content.items()}


def _array(name: str, numbers: Any, shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> Any:
    """Return a flat list of numbers as an array, in the shape and dtype that are due if it can have them."""
    if not isinstance(numbers, list):
        raise ProgramError(f"{name} is a {type(numbers).__name__}, expected a flat list of numbers")
    found = np.array([_number(name, index, x) for index, x in enumerate(numbers)], dtype=np.float64)
    with np.errstate(all="ignore"):
        cast = found.astype(dtype)
        decimal = any(not isinstance(x, str) for x in numbers)
        if not decimal and not np.array_equal(cast.astype(np.float64), found, equal_nan=True):
            cast = found
    shape = shapes.get(name, (len(numbers),))
    return cast.reshape(shape) if math.prod(shape) == len(numbers) else cast


def _number(name: str, index: int, x: Any) -> float:
    """Return a hexadecimal float in quotes, or a JSON number."""
    try:
        if isinstance(x, str) and _HEX.fullmatch(x):
            return float.fromhex(x)
        if isinstance(x, int | float) and not isinstance(x, bool):
            return float(x)
    except (ValueError, OverflowError):
        pass
    raise ProgramError(f"{name}[{index}] is {_shown(json.dumps(x))}, expected a hexadecimal float such as '0x1.8p-3'")
