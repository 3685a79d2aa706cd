"""What the gate compares with: the figures of an accepted state, in a file that is committed.

The file says under which settings its figures were taken, since only like is compared with like. Times are
kept for each machine they were taken on.
"""

import json
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.contract import PLAIN
from lstm_checks.files import FileError, parse_json, read_bytes, replace_file, shown
from lstm_checks.gate.config import GateConfig

SCHEMA = "lstm-checks/baseline/1"


UPDATE = "take a new one with `lstm-checks gate --update-baseline`"


class BaselineError(Exception):
    """The baseline cannot be compared with; `reason` says why, and the message what to do, too."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}")
        self.reason = reason


Uses = Mapping[str, Mapping[str, float]]
"""Of one target: for each dtype and each group ("dUf", "regime x10") the use of the tolerance, in root mean square."""


@dataclass(frozen=True)
class Baseline:
    """The figures of an accepted state.

    Attributes
    ----------
    settings : dict
        What the examples were drawn from, by the keys of the configuration.
    targets : dict
        Its uses of the tolerance for each target.
    caught : tuple of str or None
        Ids of the catalogued faults that were caught; None where that was not judged.
    fault_settings : dict
        What the examples for the faults were drawn from.
    speed_settings : dict
        What was timed.
    machines : dict
        For each machine and each case the rounds' logarithms of the time of `target` over that of `than`.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Uses] = field(default_factory=dict)
    caught: tuple[str, ...] | None = None
    fault_settings: Mapping[str, Any] = field(default_factory=dict)
    speed_settings: Mapping[str, Any] = field(default_factory=dict)
    machines: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)


def settings_of(config: GateConfig) -> dict[str, Any]:
    """Return what makes the use of the tolerance comparable."""
    return {
        "dtypes": list(config.dtypes),
        "examples": config.examples,
        "seeds": list(config.seeds),
        "max-dims": list(config.max_dims),
        "regimes": list(config.regimes),
        **({} if config.cell == PLAIN.name else {"cell": config.cell}),
    }


def fault_settings_of(config: GateConfig) -> dict[str, Any]:
    """Return what makes the catch of faults comparable."""
    if config.faults is None:
        return {}
    settings = settings_of(config)
    return {**settings, "examples": config.faults.examples or config.examples}


def speed_settings_of(config: GateConfig) -> dict[str, Any]:
    """Return what makes times comparable."""
    if config.speed is None:
        return {}
    speed = config.speed
    own = {} if speed.cell == PLAIN.name else {"cell": speed.cell}
    return {"target": speed.target, "than": speed.than, "cases": list(speed.cases), "seconds": speed.seconds, **own}


def this_machine() -> str:
    """Return the name under which this machine's times are kept: processor, Python and NumPy."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    # No name of a host: equal runners share their times, and a new Python or NumPy has times of its own.
    numpy = ".".join(np.__version__.split(".")[:2])
    return f"{cpu}, {platform.system()}, Python {sys.version_info[0]}.{sys.version_info[1]}, NumPy {numpy}"


def expect_same(was: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raise BaselineError where the settings of a baseline differ from those of the configuration."""
    for key in sorted({*was, *now}):
        if was.get(key) != now.get(key):
            came, due = shown(was.get(key), 200), shown(now.get(key), 200)
            raise BaselineError(f"{path} was taken with {key} = {came}, the configuration says {due}")


def read_baseline(path: Path) -> Baseline:
    """Return the baseline of a file.

    Raises
    ------
    BaselineError
        "there is no baseline lstm-checks-baseline.json; take a new one with ...", and the like.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise BaselineError(f"there is no baseline {path}") from None
    except (OSError, FileError) as error:
        raise BaselineError(f"the baseline {path} cannot be read: {error}") from error
    try:
        content = parse_json(data)
    except FileError as error:
        raise BaselineError(f"the baseline {path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        came = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise BaselineError(f"the baseline {path} is of the form {shown(came)}, expected {SCHEMA!r}")
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BaselineError(f"the baseline {path} is damaged ({type(error).__name__}: {error})") from error


def _from_json(content: dict[str, Any]) -> Baseline:
    """Return the baseline of what JSON gave; any exception says that it is none."""
    if set(content) != {"schema", "settings", "targets", "faults", "speed"}:
        raise ValueError(f"keys {shown(', '.join(sorted(content)), 200)}")
    targets = {
        name: {
            dtype: {group: _number(use, 0) for group, use in groups.items()} for dtype, groups in value["use"].items()
        }
        for name, value in content["targets"].items()
    }
    faults, speed = content["faults"], content["speed"]
    machines = {
        machine: {case: tuple(_number(ratio, -50, 50) for ratio in rounds) for case, rounds in cases.items()}
        for machine, cases in speed["machines"].items()
    }
    if any(len(rounds) < 3 for cases in machines.values() for rounds in cases.values()):
        raise ValueError("times of fewer than 3 rounds")
    return Baseline(
        dict(content["settings"]),
        targets,
        None if faults["caught"] is None else tuple(_text(fault) for fault in faults["caught"]),
        dict(faults["settings"]),
        dict(speed["settings"]),
        machines,
    )


def _number(value: Any, least: float, most: float = math.inf) -> float:
    """Return a finite number of at least `least` and at most `most`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{shown(value)} for a number")
    return float(value)


def _text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} for a name")
    return value


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline, whole or not at all; equal ones give equal files.

    Raises
    ------
    OSError
        When it cannot be written; a file that was there is as it was.
    """
    content = {
        "schema": SCHEMA,
        "settings": dict(baseline.settings),
        "targets": {
            name: {
                "use": {
                    dtype: {group: float(f"{use:.4g}") for group, use in groups.items()}
                    for dtype, groups in uses.items()
                }
            }
            for name, uses in sorted(baseline.targets.items())
        },
        "faults": {
            "settings": dict(baseline.fault_settings),
            "caught": None if baseline.caught is None else sorted(baseline.caught),
        },
        "speed": {
            "settings": dict(baseline.speed_settings),
            "machines": {
                machine: {case: [round(ratio, 5) for ratio in rounds] for case, rounds in cases.items()}
                for machine, cases in sorted(baseline.machines.items())
            },
        },
    }
    replace_file(path, json.dumps(content, indent=1) + "\n")


def with_other_machines(new: Baseline, old: Baseline | None) -> Baseline:
    """Return a baseline with the times that an older one has of other machines, where the same was timed."""
    if old is None or dict(old.speed_settings) != dict(new.speed_settings):
        return new
    return replace(new, machines={**old.machines, **new.machines})
