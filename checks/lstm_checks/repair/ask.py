"""Asking another process which line of a target's source is wrong: this one never imports it."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.repair.found import Found, from_plain
from lstm_checks.targets.load import EXEC, FAULT, FRAMEWORKS, SUFFIXES
from lstm_checks.workers import processes
from lstm_checks.workers.threads import ONE_THREAD

UNCOMPILED = {"JAX_DISABLE_JIT": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
"""The environment in which JAX compiles nothing: each step of a scan is a call of its own, and any shape will do."""


def has_source(spec: str) -> bool:
    """Return whether a target is somebody's own Python: no program, model, framework or catalogued fault."""
    return not spec.startswith((EXEC, FAULT)) and spec not in FRAMEWORKS and not spec.endswith(SUFFIXES)


def failing_cases(report: Any) -> list[Case]:
    """Return cases that a target fails: those that its report tells of, then some of the run's, from all over it."""
    told = [one.case for one in (report.failure, *report.further)]
    others = [one.case for one in report.examples if one.failures and one.case.dtype == told[0].dtype]
    return [*told, *others[:: max(1, len(others) // 4)][:4]]


def look_into_source(
    spec: str,
    cases: Sequence[Case],
    fix: float = 0.0,
    every: bool = False,
    run: Sequence[Case] = (),
) -> Found:
    """Return what is found in the source of a target that fails some cases; nothing where it has none, or in time.

    Parameters
    ----------
    spec : str
        As `load_target` takes it.
    cases : sequence of Case
        Some that it fails, the simplest first.
    fix : float
        For how many seconds edits are looked for, too; none at 0. What has been found when the process is killed,
        `tolerance.SOURCE_SECONDS` later, counts.
    every : bool
        Whether all that pass are, and not the first alone.
    run : sequence of Case
        The cases on all of which a fix must make everything right.
    """
    if not has_source(spec) or not cases:
        return Found()
    question = {
        "spec": spec,
        "cell": cases[0].cell.name,
        "cases": [case.descriptor for case in cases],
        "fix": fix > 0,
        "every": every,
        "run": [case.descriptor for case in run],
        "seconds": fix,
    }
    try:
        process = processes.start("lstm_checks.repair.process", env={**ONE_THREAD, **UNCOMPILED})
    except OSError:
        return Found()
    try:
        told, _ = process.communicate(json.dumps(question).encode() + b"\n", timeout=tolerance.SOURCE_SECONDS + fix)
    except subprocess.TimeoutExpired:
        processes.kill(process)
        told, _ = process.communicate()
    finally:
        processes.kill(process)
    found = Found()
    for line in told.splitlines():
        try:
            found = from_plain(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found
