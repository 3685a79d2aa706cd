"""In what two baselines differ, figure by figure: what an update accepts."""

import math
from collections.abc import Sequence

import numpy as np

from lstm_checks.gate.baseline import (
    Baseline,
)
from lstm_checks.gate.report import Change

NONE = "(none)"


def ratio(rounds: Sequence[float]) -> str:
    """Return a ratio of times from its logarithms."""
    return f"{math.exp(float(np.median(rounds))):.3f}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}g} %"


def differences(old: Baseline | None, new: Baseline) -> tuple[Change, ...]:
    """Return in what a new baseline differs from the one before."""
    before, after = _flat(old), _flat(new)
    changes = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, NONE), after.get(name, NONE)
        if was != now:
            changes.append(Change(name, was, now))
    return tuple(changes)


def _flat(baseline: Baseline | None) -> dict[str, str]:
    """Return a baseline's figures by name, as texts."""
    if baseline is None:
        return {}
    found = {key: str(value) for key, value in baseline.settings.items()}
    found |= {f"faults {key}": str(value) for key, value in baseline.fault_settings.items()}
    found |= {f"speed {key}": str(value) for key, value in baseline.speed_settings.items()}
    for target, uses in baseline.targets.items():
        for dtype, groups in uses.items():
            # As many digits as are written, so that whatever differs is seen.
            found |= {f"{target} {dtype} {g}, use of the tolerance": percent(use, 4) for g, use in groups.items()}
    found |= {f"fault {fault}": "caught" for fault in baseline.caught or ()}
    for machine, cases in baseline.machines.items():
        found |= {f"time ratio on {case} ({machine})": ratio(rounds) for case, rounds in cases.items()}
    return found
