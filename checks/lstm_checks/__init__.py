"""Prove an LSTM's gradients right, or name what is wrong with them.

What stands in `__all__` is public and stays (docs/api.md); what does not may be moved or renamed at any time. Each name
is imported when it is first asked for: pytest loads this package in every run, and so it must cost next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstm_checks.binding.composed import by_sample, by_step
    from lstm_checks.cases import Case
    from lstm_checks.certified.certify import certify
    from lstm_checks.certified.read import read_vectors_file
    from lstm_checks.certified.run import run_vectors
    from lstm_checks.compare import Verdict
    from lstm_checks.contract import Target
    from lstm_checks.gate.config import read_config as read_gate_config
    from lstm_checks.gate.verdict import run as run_gate
    from lstm_checks.judging.case import verify_case
    from lstm_checks.judging.explain import explain
    from lstm_checks.judging.text import render_case, render_report
    from lstm_checks.judging.verify import verify
    from lstm_checks.suite import LayerSuite
    from lstm_checks.targets.function import from_function
    from lstm_checks.targets.lacking import lacks
    from lstm_checks.targets.layer import from_layer
    from lstm_checks.targets.load import TargetError, load_target
    from lstm_checks.weights.carrying import from_framework, gradients_from_framework, to_framework

__all__ = [
    "Case",
    "LayerSuite",
    "Target",
    "TargetError",
    "Verdict",
    "by_sample",
    "by_step",
    "certify",
    "explain",
    "from_framework",
    "from_function",
    "from_layer",
    "gradients_from_framework",
    "lacks",
    "load_target",
    "read_gate_config",
    "read_vectors_file",
    "render_case",
    "render_report",
    "run_gate",
    "run_vectors",
    "to_framework",
    "verify",
    "verify_case",
]

_HOMES = {
    "Case": "cases",
    "LayerSuite": "suite",
    "Target": "contract",
    "TargetError": "targets.load",
    "Verdict": "compare",
    "by_sample": "binding.composed",
    "by_step": "binding.composed",
    "certify": "certified.certify",
    "explain": "judging.explain",
    "from_framework": "weights.carrying",
    "from_function": "targets.function",
    "from_layer": "targets.layer",
    "gradients_from_framework": "weights.carrying",
    "lacks": "targets.lacking",
    "load_target": "targets.load",
    "read_gate_config": "gate.config:read_config",
    "read_vectors_file": "certified.read",
    "render_case": "judging.text",
    "render_report": "judging.text",
    "run_gate": "gate.verdict:run",
    "run_vectors": "certified.run",
    "to_framework": "weights.carrying",
    "verify": "judging.verify",
    "verify_case": "judging.case",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public are {', '.join(__all__)}")
    module, _, inside = _HOMES[name].partition(":")
    found = getattr(importlib.import_module(f"{__name__}.{module}"), inside or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
