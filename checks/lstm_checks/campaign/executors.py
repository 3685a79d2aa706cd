"""Where a campaign's chunks are judged: processes of this machine, or a Dask cluster."""

import contextlib
import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lstm_checks.workers import processes
from lstm_checks.workers.threads import ONE_THREAD


class ExecutorError(Exception):
    """There is no such executor; the message says why."""


@dataclass(frozen=True)
class Executors:
    """How executors are started, how many chunks are worth having under way, and how to let go of it all."""

    start: Callable[[], Executor]
    workers: int
    close: Callable[[], None] = lambda: None

    def __enter__(self) -> "Executors":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


def parse_executor(text: str) -> Executors:
    """Return how to start the executors that a word names.

    Parameters
    ----------
    text : str
        "processes", "processes:4" or "dask://HOST:PORT".

    Raises
    ------
    ExecutorError
        "there is no executor 'threads', expected processes, processes:N or dask://HOST:PORT"
    """
    if match := re.fullmatch(r"processes(?::([1-9]\d*))?", text):
        count = int(match[1]) if match[1] else os.cpu_count() or 1
        return Executors(lambda: Processes(count), count)
    if re.fullmatch(r"dask://[^/\s:]+:\d+", text):
        return _dask("tcp://" + text.removeprefix("dask://"))
    raise ExecutorError(f"there is no executor {text!r}, expected processes, processes:N or dask://HOST:PORT")


class Processes(Executor):
    """Fresh processes, each of which computes with one thread, asked for functions of this package by name.

    Arguments and results are plain values, and go over as JSON: nothing that a process sends is ever unpickled.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count)
        # One process for each of the pool's threads, which writes one line and waits for one: so an answer is always to
        # the question before it, and nothing has to be told apart.
        self._own = threading.local()
        self._lock, self._over, self._running = threading.Lock(), False, set[Any]()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **ignored: Any) -> Future[Any]:
        """Return the future of what a function of plain values gives in one of the processes."""
        request = {"module": function.__module__, "function": function.__name__, "arguments": arguments}
        return self._threads.submit(self._ask, request)

    def _ask(self, request: dict[str, Any]) -> Any:
        """Return the answer of this thread's process."""
        if not hasattr(self._own, "process"):
            with self._lock:
                if self._over:
                    raise ExecutorError("it was stopped")
                # Each process computes with one thread.
                self._own.process = processes.start(__name__, env=ONE_THREAD)
                self._running.add(self._own.process)
            # What a process says of itself, and a target says in it, is for the user.
            threading.Thread(target=_pass_on, args=(self._own.process.stderr,), daemon=True).start()
        process = self._own.process
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = b""
        # A line that is not whole was cut off by the end of the process; half an answer is none.
        if not line.endswith(b"\n"):
            process.wait()
            raise ExecutorError(f"its process ended: {processes.how_it_ended(process.returncode)}")
        found = json.loads(line)
        if "error" in found:
            raise ExecutorError(str(found["error"]))
        return found["value"]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes, whatever they are at."""
        with self._lock:
            self._over = True
            for process in self._running:
                processes.kill(process)
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for process in self._running:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


def _pass_on(stream: Any) -> None:
    """Pass on to standard error what a process prints."""
    with stream:
        for line in stream:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line.decode(errors="backslashreplace"))


def main() -> int:
    """Do what is asked, one line of JSON after the other, in a process that `Processes` has started."""
    processes.end_with_parent()
    asked, answering = processes.own_pipes()
    with os.fdopen(asked, encoding="utf-8") as asking, os.fdopen(answering, "w", encoding="utf-8") as answers:
        for line in asking:
            request = json.loads(line)
            function = getattr(importlib.import_module(request["module"]), request["function"])
            try:
                answer = {"value": function(*request["arguments"])}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return 0


def _dask(address: str) -> Executors:
    """Return the executors of a Dask cluster."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ExecutorError("dask:// needs Dask: pip install distributed") from error
    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError) as error:
        raise ExecutorError(f"there is no Dask scheduler at {address}: {error}") from error
    threads = sum(client.nthreads().values())
    if not threads:
        client.close()
        raise ExecutorError(f"the Dask cluster at {address} has no workers")
    # Not pure: equal chunks of a campaign that is run again are judged again.
    return Executors(lambda: client.get_executor(pure=False), threads, client.close)
