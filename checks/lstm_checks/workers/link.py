"""The process that a target runs in, and the pipes to it: starting, asking, waiting, ending, starting anew.

Arrays go as raw bytes, everything else as text. A worker that ends, that cannot be understood or that takes too long
fails the call, in a plain sentence; the next call starts another one.
"""

import contextlib
import os
import select
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_checks import tolerance
from lstm_checks.calling import printable
from lstm_checks.contract import (
    FREE,
    Bounds,
    ContractError,
    EndedError,
    RaisedElsewhereError,
    TimeLimitError,
)
from lstm_checks.formats import dtype_word
from lstm_checks.targets.load import TIMEOUT_VARIABLE, TargetError
from lstm_checks.workers import processes
from lstm_checks.workers.wire import Described, Reader, WireError, pack

RESTARTS = 10
"""How often a worker that ended is replaced before the target is given up; each may take seconds to load it."""


LONGEST_ANSWER = 2000
"""Letters of a sentence that are taken over."""

LONGEST_ADAPTER = 20_000
"""Letters of an adapter that are taken over."""

SPIN = "OPENBLAS_THREAD_TIMEOUT"
"""How long OpenBLAS's idle threads turn round in wait for the next product, 2 to that power of cycles, before they
sleep: 4 is the least it takes, since they turn on the very processors that the harness and the target take turns on."""

OF_MEMORY = ("memory", "alloc", "map segment", "exhausted")
"""Words of what is raised for want of memory: Python's, C++'s, the loader's, XLA's."""

KEPT_LINES = 20
"""Of what a worker printed last, for the sentence on how it ended."""


class GivenUpError(TimeLimitError):
    """The target is not asked any more."""


@dataclass
class Limits:
    """How long a worker may take, in seconds: for one call, for loading, and for everything together.

    `grows` is whether a call has more the larger it is; `bounds` is what it may not have besides time.
    """

    call: float
    load: float
    whole: float
    grows: bool = False
    bounds: Bounds = FREE

    def for_call(self, X: Any, h0: Any) -> float:
        """Return the seconds for a call over these arrays."""
        u = h0.shape[-1] if h0.ndim else 1
        return self.call + (4 * X.size * u * (1 + u / max(1, X.shape[-1])) / tolerance.PRODUCTS_A_SECOND) * self.grows


class Worker:
    """The process that a target runs in, started anew where it has ended."""

    def __init__(self, spec: str, cell: str, limits: Limits, say: Callable[[str], None]) -> None:
        self.spec, self.cell, self.limits, self._say = spec, cell, limits, say
        self.generation = 0
        self.lost: deque[int] = deque()  # calls of this generation that nobody holds any more
        self._ends = time.monotonic() + limits.whole
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._over = ""  # why no further worker is started
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._line = b""
        self.last_end = ""
        self._known: dict[int, tuple[Any, Any]] = {}
        self._posted: deque[Letter] = deque()
        self._outbox: list[Any] = []
        self._since = 0.0  # when the process began with what is to come next, as far as can be told
        self._holder: list[Any] = []
        weakref.finalize(self, _close, self._holder)

    # ---- Starting and ending

    def start(self) -> None:
        """Start a process and have it load the target, without waiting for that."""
        try:
            process = processes.start("lstm_checks.workers.worker", env={SPIN: "4", **os.environ, TIMEOUT_VARIABLE: ""})
        except OSError as error:
            raise TargetError(f"no process could be started: {error}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._reader = process, Reader()
        self._holder[:] = [process]
        self._in, self._out, self._err = (pipe.fileno() for pipe in (process.stdin, process.stdout, process.stderr))
        for descriptor in (self._in, self._out, self._err):
            # Nothing here may block: a target that fills one pipe while we wait at another would stop both for ever.
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._err, select.POLLIN)
        self.generation += 1
        self.lost.clear()
        self._known.clear()
        self._said.clear()
        self._loading = True
        seconds = self.limits.load
        bounds = self.limits.bounds
        head = {"do": "load", "spec": self.spec, "cell": self.cell, "memory": bounds.memory, "isolate": bounds.isolate}
        self._send(pack(head), time.monotonic() + seconds, seconds)

    def loaded(self) -> dict[str, Any]:
        """Return what the process says of the target, once it has loaded it.

        Raises
        ------
        TargetError
            The target cannot be had.
        EndedError, TimeLimitError
            It was there, and ended the process or gave no answer when it was tried out.
        """
        imported = False
        end = time.monotonic() + self.limits.load
        try:
            while True:
                found, _ = self._receive(end, self.limits.load)
                if not isinstance(found, dict):
                    raise WireError("an answer of another form")
                if "imported" in found:
                    imported = True
                    end = time.monotonic() + self.limits.load
                    continue
                self._loading = False
                if "refused" in found:
                    raise TargetError(
                        self.with_bounds(plain_text(found["refused"])), plain_lines(found.get("draft", ""))
                    )
                return found
        except (WireError, EndedError, TimeLimitError) as error:
            what = self._end(error)
            self._over = str(what)
            if imported:
                raise what from None
            raise TargetError(f"{self.spec} cannot be imported: {what}") from None

    def _again(self) -> None:
        """Start a process in place of one that has ended."""
        if self._over:
            raise GivenUpError(self._over)
        if self._restarts >= RESTARTS:
            self._over = f"{self.last_end}; not asked again after {RESTARTS + 1} such ends"
            raise GivenUpError(self._over)
        self._restarts += 1
        try:
            self.start()
            self.loaded()
        except TargetError as error:
            self._over = f"{self.last_end}; and {error}"
            raise GivenUpError(self._over) from None
        except ContractError:
            raise GivenUpError(self._over) from None

    def _end(self, error: Exception) -> EndedError | TimeLimitError:
        """End the process, and return what it came to."""
        process, self._process = self._process, None
        assert process is not None
        if isinstance(error, EndedError):
            # Give it the time to have ended, and to have said why.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        code = process.poll()
        processes.kill(process)
        process.wait()
        self._drain()
        _close([process])
        self._holder.clear()
        if isinstance(error, TimeLimitError):
            self._over = self._over or str(error)
            return error
        if isinstance(error, WireError):
            found = f"the target's process gave an answer that cannot be read: {error}"
        elif code is None:
            found = "the target closed the way by which its answers come"
        else:
            how = processes.how_it_ended(code)
            found = f"the target ended the process: {how}" if code >= 0 else f"the target's process was {how}"
        self.last_end = found + self.limits.bounds.told
        return EndedError(self.last_end)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            processes.kill(process)
            process.wait()
            self._drain()
            _close([process])
            self._holder.clear()

    # ---- Asking

    def ask(
        self, head: Mapping[str, Any], parts: Sequence[Any] = (), seconds: float = 0.0
    ) -> tuple[dict[str, Any], Described]:
        """Return what the process answers.

        Raises
        ------
        ContractError
            What the target returned has another form, or it ended the process, or took too long.
        RaisedElsewhereError
            The target raised.
        """
        return self.post(head, parts, seconds=seconds).answer()

    def post(
        self, head: Mapping[str, Any], parts: Sequence[Any] = (), more: bool = False, seconds: float = 0.0
    ) -> "Letter":
        """Ask, and do not wait for the answer; answers come in the order in which they were asked for.

        Where `more` is to be asked at once, it may go together: each trip over the pipe costs.
        """
        # Several may be on their way, so that the process is at work while the reference is; it answers in their order,
        # and that order alone says which answer is whose.
        letter = Letter(self, max(seconds, self.limits.call))
        message: dict[str, Any] = {**head, "lost": [self.lost.popleft() for _ in range(len(self.lost))]}
        if not self._posted:
            self._since = time.monotonic()
        self._posted.append(letter)
        self._outbox += pack(message, parts)
        if not more:
            self._flush()
        return letter

    def _flush(self) -> None:
        """Send what is to be sent."""
        chunks, self._outbox = self._outbox, []
        if not chunks:
            return
        try:
            seconds = max(letter.seconds for letter in self._posted)
            self._send(chunks, time.monotonic() + seconds, seconds)
        except (EndedError, TimeLimitError, WireError) as error:
            self._lose_letters(error)

    def receive(self) -> None:
        """Wait for the next answer."""
        self._flush()
        if not self._posted:  # lost
            return
        letter = self._posted[0]
        try:
            # Its time runs from when the process could begin with it, not from when it was
            # asked: those before it took theirs.
            found, letter.body = self._receive(self._since + letter.seconds, letter.seconds)
            if not isinstance(found, dict):
                raise WireError("an answer of another form")
            letter.found = found
            self._posted.popleft()
            self._since = time.monotonic()
        except (WireError, EndedError, TimeLimitError) as error:
            self._lose_letters(error)

    def _lose_letters(self, error: Exception) -> ContractError:
        """End the process, whose answers will not come; and return what it came to."""
        what = self._end(error)
        for letter in self._posted:
            letter.error = what
        self._posted.clear()
        self._outbox.clear()
        return what

    def opened(self, found: dict[str, Any], body: bytearray) -> tuple[dict[str, Any], Described]:
        """Return an answer, or raise what it says."""
        if "late" in found:
            raise TimeLimitError(plain_text(found["late"]))
        if "contract" in found:
            raise ContractError(plain_text(found["contract"]))
        if "raised" in found:
            raise RaisedElsewhereError(self.with_bounds(plain_text(found["raised"])))
        return found, Described(body)

    def with_bounds(self, text: str) -> str:
        """Return what was said of an error, with how much memory there was where that is what it is about."""
        return text + self.limits.bounds.told * any(word in text.lower() for word in OF_MEMORY)

    def understand(self, read: Callable[[], Any]) -> Any:
        """Return what `read` makes of an answer; one that it cannot read ends the process."""
        try:
            return read()
        except (WireError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            problem = error if isinstance(error, WireError) else WireError("an answer of another form")
            raise self._lose_letters(problem) from None

    def runs(self, generation: int) -> bool:
        """Return whether the process of a generation is still the one that is asked."""
        return generation == self.generation and self._process is not None

    def ready(self) -> None:
        """See that there is a process to ask."""
        if self._process is None:
            self._again()

    def handle(self, value: Any) -> tuple[int, bool]:
        """Return the number by which both sides know an array, and whether it is new to the other."""
        number, form = (
            id(value),
            (value.shape, value.strides, dtype_word(value.dtype), value.flags.writeable, value.flags.aligned),
        )
        known = self._known.get(number)
        # An id is given to another object when its own is gone, so that the object itself must be the same; and one
        # whose form was changed in place must be made anew on the other side.
        if known is not None and known[0]() is value and known[1] == form:
            return number, False
        self._known[number] = weakref.ref(value), form
        return number, True

    def place(self, value: Any, new: list[Any], parts: list[Any]) -> int:
        """Return the number of an array that goes over, its bytes added to `parts`, and to `new` what is new of it."""
        number, unknown = self.handle(value)
        if unknown:
            strides = None if value.flags.c_contiguous else value.strides
            flags = value.flags
            new.append([number, dtype_word(value.dtype), value.shape, strides, flags.writeable, flags.aligned])
        parts.append(value.tobytes())
        return number

    def forget(self) -> list[int]:
        """Return the numbers of arrays that are not there any more, when there are many."""
        if len(self._known) < 400:
            return []
        gone = [number for number, (there, _) in self._known.items() if there() is None]
        for number in gone:
            del self._known[number]
        return gone

    # ---- The pipes

    def _send(self, chunks: Sequence[Any], end: float, seconds: float) -> None:
        """Write a message, and meanwhile take what the process prints."""
        data = memoryview(b"".join(chunks))
        while data:
            try:
                data = data[os.write(self._in, data) :]
            except BlockingIOError:
                # It may itself wait until an answer to what was asked before is read.
                waiting = select.poll()
                waiting.register(self._in, select.POLLOUT)
                waiting.register(self._out, select.POLLIN)
                waiting.register(self._err, select.POLLIN)
                if self._out in self._wait(waiting, end, seconds):
                    self._read()
            except OSError:
                raise EndedError("") from None

    def _read(self) -> None:
        """Take what can be read of an answer."""
        try:
            data = os.read(self._out, 1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise EndedError("")
        self._reader.feed(data)

    def _receive(self, end: float, seconds: float) -> tuple[Any, bytearray]:
        """Return the next message, and meanwhile take what the process prints."""
        # Reading at once spares a poll where the answer has had time to come; with nothing there it costs one call.
        late = time.monotonic() - self._since > 0.002  # then it is probably here
        while (message := self._reader.take()) is None:
            if late:
                late = False
                self._read()
            elif self._wait(self._poll, end, seconds):
                self._read()
        return message

    def _wait(self, poll: "select.poll", end: float, seconds: float) -> set[int]:
        """Wait until something can be read or written, and return which, other than what was printed."""
        now = time.monotonic()
        # What is here is here, however late; in turns, as what was forked may hold the pipes of one that has ended.
        ready = poll.poll(max(0.0, min(end - now, self._ends - now, 0.5)) * 1000)
        if not ready:
            if self._process is not None and self._process.poll() is not None:
                raise EndedError("")
            now = time.monotonic()
            if now >= self._ends:
                raise TimeLimitError(f"no answer within {self.limits.whole:g} s for all calls together (--time-limit)")
            if now >= end:
                raise TimeLimitError(f"no answer within {round(seconds, 1):g} s")
        found = {descriptor for descriptor, _ in ready}
        if self._err in found:
            self._hear()
        return found - {self._err}

    def _hear(self) -> bool:
        """Pass on what the process has printed; whether there was anything."""
        try:
            data = os.read(self._err, 1 << 16)
        except OSError:
            return False
        if not data:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._err)
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > 1 << 16:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            self._pass_on(line)
        return True

    def _pass_on(self, line: bytes) -> None:
        """Say one line that the target printed."""
        text = line.decode(errors="replace")
        self._said.append(text)
        self._say(text)

    def _drain(self) -> None:
        """Pass on what is left of what the process printed."""
        while self._hear():
            pass
        if self._line:
            self._pass_on(self._line)
            self._line = b""


class Letter:
    """One request on its way."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self.worker, self.seconds = worker, seconds
        self.found: dict[str, Any] | None = None
        self.body = bytearray()
        self.error: ContractError | None = None

    def answer(self) -> tuple[dict[str, Any], Described]:
        """Return the answer, as `Worker.ask` does."""
        while self.found is None and self.error is None:
            self.worker.receive()
        if self.error is not None:
            raise self.error
        assert self.found is not None
        return self.worker.opened(self.found, self.body)


def _close(process: list[Any]) -> None:
    """Close the pipes of a process, and end it."""
    for one in process:
        processes.kill(one)
        for pipe in (one.stdin, one.stdout, one.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.wait(1.0)


def plain_text(value: Any) -> str:
    """Return a sentence of the worker's, which nobody need trust."""
    return printable(str(value)[:LONGEST_ANSWER])


def plain_lines(value: Any) -> str:
    """Return a text of the worker's, which nobody need trust, in its lines."""
    return "\n".join(printable(line) for line in str(value)[:LONGEST_ADAPTER].split("\n"))
