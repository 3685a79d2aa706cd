"""Spread the tiles of a large batch over Python threads.

A step's products are too small for the BLAS's own threads to help, and the steps must follow one
another; but tiles are independent of each other until their gradients are summed, and NumPy lets go
of the interpreter inside every call. This pays where the calls are long: see `workers_for`.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["allowed", "blas_in_one_thread", "run_together", "workers_for"]

#: Elements of one (u, m) array from which a step's calls outlast the switching between threads.
LARGE_STEP = 16384

#: Elements of a compiled pass, which is one call, from which it outlasts the starting of threads; and samples.
LARGE_PASS, FEWEST_SAMPLES = 1 << 18, 16


def workers_for(m: int, s: int, u: int, compiled: bool) -> int:
    """Return how many threads a batch of m samples, s steps and u unit cells should use.

    As many as are `allowed`, or one if the batch is small. Whether two pay on a machine whose processors share their
    arithmetic cannot be told from its sizes: :mod:`lstm_fast.tuning` measures it.
    """
    if m * u < LARGE_STEP and not (compiled and m >= FEWEST_SAMPLES and m * s * u >= LARGE_PASS):
        return 1
    return allowed()


def allowed() -> int:
    """Return how many threads the environment allows the BLAS (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS).

    Or else one for each processor that this process may use.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        said = os.environ.get(name, "")
        if said.isdigit() and int(said) > 0:
            return int(said)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_together(tasks: Sequence[Callable[[], None]]) -> None:
    """Run the tasks, the first in this thread and each other in one of its own; wait for all.

    The threads live for this call only (starting one takes some 50 microseconds), so there is no
    pool to outlive a fork. They see the caller's context, ``np.errstate`` included. The first
    exception of any task is raised here, after all tasks have ended.
    """
    failures: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        """Run a task and keep its exception."""
        try:
            task()
        except BaseException as error:
            failures.append(error)

    # A copy of the context for each: one cannot be entered by two threads at once.
    threads = [threading.Thread(target=contextvars.copy_context().run, args=(guarded, task)) for task in tasks[1:]]
    for thread in threads:
        thread.start()
    try:
        # Whatever the first does, nobody returns while another still writes to buffers that the next pass will use.
        tasks[0]()
    finally:
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


@cache
def _controller() -> Any:
    """Return what sets the BLAS's number of threads; None without threadpoolctl 3.8 (part of the extra `compiled`)."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    major, minor = threadpoolctl.__version__.split(".")[:2]
    if (int(major), int(minor)) < (3, 8):  # where blocks of several threads overlap, they might not restore what was
        return None
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextmanager
def blas_in_one_thread() -> Iterator[bool]:
    """Have the BLAS compute in the thread that calls it, for as long as the block runs; yields whether that is so.

    The BLAS's threads and ours get in each other's way: one that has nothing to do goes on spinning for some 30 ms
    (decision 11). The setting is the process's: of blocks that overlap in several threads the first one counts.
    """
    controller = _controller()
    if controller is None:
        yield False
        return
    with controller.limit(limits=1):
        yield all(library.num_threads == 1 for library in controller.lib_controllers)
