"""Processes of our own, in which somebody else's code runs: started, ended with all that they started, and told of.

They start from this package's folder, whatever is in the folder at work or in PYTHONPATH, and talk to whoever started
them over what was their standard input and output; whatever else they print goes to standard error.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import lstm_checks
import lstm_ref

# In place of `-m`: a new interpreter's path may be another, and what runs there must be what was imported here.
START = """\
import importlib, sys
module, *where = sys.argv[1:]
sys.path += where
sys.exit(importlib.import_module(module).main())
"""

PIPE = 2**20
"""Bytes that a pipe holds, where the system lets that be chosen (Linux; what anybody may have there): whoever writes a
message waits for its reader each time a pipe is full, and one of 64 KiB is full some twenty times in a large case's."""


def start(module: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Return a process in a session of its own that runs `main` of a module of this package, all three pipes ours.

    Raises
    ------
    OSError
        No process could be started.
    """
    # -W ignore: this project's warnings are its tests' business, and the target's are its own.
    # -P: a file of the folder at work that is called numpy.py is not imported for NumPy. A session of its own is a
    # group of processes, which `kill` ends together.
    where = [str(Path(str(package.__file__)).resolve().parent.parent) for package in (lstm_checks, lstm_ref)]
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", START, module, *where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **(env or {})},
        start_new_session=True,
        pipesize=PIPE,
    )


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with its children, where it still runs."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass


def close_memory() -> None:
    """Have the system refuse this process's memory, and what is open here, to all but root's tools.

    Raises
    ------
    OSError
        It is no Linux.
    """
    import ctypes

    if sys.platform != "linux" or ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) != 0:  # PR_SET_DUMPABLE
        raise OSError("this system does not close a process's memory to others")


def how_it_ended(code: int) -> str:
    """Return how a process ended, in words: "killed by SIGSEGV", "exit code 0"."""
    return f"killed by {_signal(-code)}" if code < 0 else f"exit code {code}"


def _signal(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ---- In the child


def end_with_parent() -> None:
    """Have the system kill this process once its parent is gone, be that by SIGKILL; an alarm must do so elsewhere."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def own_pipes() -> tuple[int, int]:
    """Return descriptors of what came on standard input and of where answers go.

    From now on standard input is empty, and what is printed goes to standard error.
    """
    asked, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return asked, answers
