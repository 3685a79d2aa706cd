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

# In place of `-m checks.MODULE`: the folder at work, or PYTHONPATH, may have a package `checks` of its own, and a
# folder of packages put first in PYTHONPATH would have them come before the standard library's.
START = """\
import importlib, importlib.util, os, sys
here, module = sys.argv[1:]
for name in ("lstm_ref", "checks"):
    folder = os.path.join(here, name)
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
sys.path.append(here)
sys.exit(importlib.import_module(module).main())
"""


def start(module: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Return a process in a session of its own that runs `main` of a module of this package, all three pipes ours.

    Raises
    ------
    OSError
        No process could be started.
    """
    # -W ignore: this project's warnings are its tests' business, and the target's are its own.
    here = str(Path(__file__).resolve().parent.parent)
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", START, here, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with its children, where it still runs."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass


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
