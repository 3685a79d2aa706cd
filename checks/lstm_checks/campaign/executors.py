"""Where a campaign's chunks are judged: processes of this machine, or a Dask cluster."""

import os
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from lstm_checks.workers.pool import Processes


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
