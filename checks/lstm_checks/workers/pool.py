"""A pool of processes of our own, asked for functions of this package by name."""

import contextlib
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from lstm_checks.workers import processes
from lstm_checks.workers.threads import ONE_THREAD


class LostError(Exception):
    """A process of the pool has ended, or could not do what it was asked; the message says how."""


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
        return self.submit_named(function.__module__, function.__name__, *arguments)

    def submit_named(self, module: str, function: str, *arguments: Any) -> Future[Any]:
        """Return the future of a function that need not be loaded here."""
        return self._threads.submit(self._ask, {"module": module, "function": function, "arguments": arguments})

    def _ask(self, request: dict[str, Any]) -> Any:
        """Return the answer of this thread's process."""
        if not hasattr(self._own, "process"):
            with self._lock:
                if self._over:
                    raise LostError("it was stopped")
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
            raise LostError(f"its process ended: {processes.how_it_ended(process.returncode)}")
        found = json.loads(line)
        if "error" in found:
            raise LostError(str(found["error"]))
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
