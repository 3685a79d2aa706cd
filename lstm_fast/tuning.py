"""Which way of computing a shape is the fastest on this machine, measured once and kept on disk, where that is wanted.

Sizes of caches and registers say much, and :mod:`lstm_fast.layouts` goes by them. What they do not say is whether two
processors share their arithmetic, or how fast a BLAS is at some size. Where the environment variable LSTM_FAST_TUNE
names a file, each way is tried at the first pass of a shape, and the file says from then on which it was: in this
process and in others, until the machine or NumPy is another. Results differ in rounding alone from one way to another.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_fast.caches import L1_BYTES, L2_BYTES

__all__ = ["VARIABLE", "fastest", "wanted"]

#: The environment variable that names the file; unset or empty, nothing is measured.
VARIABLE = "LSTM_FAST_TUNE"

#: How often all ways take turns, and how long each is tried at least, in seconds, once it has run for the first time.
ROUNDS, LEAST = 3, 0.02

#: Another way than the first is taken where its time is less than this share of the first's: a smaller gain is noise.
WORTH = 0.95

_LOCK = threading.Lock()
_KNOWN: dict[Path, dict[str, str]] = {}


def wanted() -> bool:
    """Return whether ways are to be measured."""
    return bool(os.environ.get(VARIABLE))


def fastest(key: str, attempts: Mapping[str, Callable[[], Callable[[], None]]]) -> str:
    """Return the name of the way that takes the least time; from the file if that knows it.

    Parameters
    ----------
    key : str
        What is computed.
    attempts : mapping
        For each way what makes ready, and returns what is then timed. The first is what is taken without a measurement.

    Raises
    ------
    ValueError
        "LSTM_FAST_TUNE names tune.json, which is no file that lstm_fast wrote (...)", or a folder, or what cannot be
        written.
    """
    with _LOCK:  # two that measure at once would measure each other
        path = Path(os.environ[VARIABLE])
        choices = _KNOWN.setdefault(path, {})
        if choices.get(key) not in attempts:
            choices.update(_read(path))
        if choices.get(key) not in attempts:
            choices[key] = _measured(attempts) if len(attempts) > 1 else next(iter(attempts))
            choices.update(_read(path) | choices)  # others may have written meanwhile
            _write(path, choices)
        return choices[key]


def _measured(attempts: Mapping[str, Callable[[], Callable[[], None]]]) -> str:
    """Return the fastest way by the least time of each: whatever else the machine does can but add to it."""
    least = dict.fromkeys(attempts, float("inf"))
    for _ in range(ROUNDS):
        for name, ready in attempts.items():
            run = ready()
            run()  # what is allocated and loaded at the first pass is not to be counted
            end = time.perf_counter() + LEAST
            while True:
                start = time.perf_counter()
                run()
                now = time.perf_counter()
                least[name] = min(least[name], now - start)
                if now >= end:
                    break
    first = next(iter(attempts))
    best = min(least, key=lambda name: least[name])
    return best if least[best] < WORTH * least[first] else first


def _machine() -> dict[str, Any]:
    """Return what the choices hold for."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    caches = [L1_BYTES, L2_BYTES]
    return {"processor": processor, "processors": os.cpu_count(), "caches": caches, "numpy": np.__version__}


def _read(path: Path) -> dict[str, str]:
    """Return the choices of a file; none if there is none yet, or if it is another machine's."""
    try:
        found = json.loads(path.read_text())
        machine, choices = found["machine"], {str(key): str(way) for key, way in found["choices"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{VARIABLE} names {path}, which is no file that lstm_fast wrote ({why}); name another, or remove it"
        ) from error
    return choices if machine == _machine() else {}


def _write(path: Path, choices: Mapping[str, str]) -> None:
    """Write the choices, whole or not at all."""
    text = json.dumps({"machine": _machine(), "choices": dict(sorted(choices.items()))}, indent=1) + "\n"
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        whole.write_text(text)
        os.replace(whole, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            whole.unlink()
        raise ValueError(
            f"{VARIABLE} names {path}, which cannot be written ({error}); name a file in a folder that can"
        ) from error
