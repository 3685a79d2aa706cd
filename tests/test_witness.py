"""A witness of what must not move while the house does: digests of cases, values, faults, slips, vectors and reports.

`witness.json` holds what was so. A change that means to alter one of these writes it anew, in a commit that says why:
``python tests/test_witness.py`` prints what differs and replaces the file.
"""

import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from lstm_checks.cases import DTYPES, REGIMES, Case
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import diff
from lstm_checks.faults.slips import PARTS, slips
from lstm_checks.judging.json import report_to_json
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.strategies import draw_cases
from lstm_checks.targets.load import load_target

FILE = Path(__file__).parent / "witness.json"
TARGETS = ("lstm_ref:LSTM", "lstm_fast:LSTM", "fault:carry-dropped", "fault:gate-order-ifgo", "fault:dh0-zero")


@cache
def drawn():
    return draw_cases(200, 7, dtypes=DTYPES)


def digest(text):
    data = text if isinstance(text, bytes) else "\n".join(text).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def arrays_of(case):
    return b"".join(name.encode() + value.tobytes() for name, value in case.arrays.items())


def values_of(case):
    # To eight digits, short of where the last bits of another machine's tanh could turn one.
    found = evaluate_reference(case.arrays.astype(np.float64))
    return {name: [f"{v:.8g}" for v in np.ravel(value)[:3]] for name, value in found.items()}


def told(report):
    """What a report says that hangs on no last bit of this machine's sums: verdicts, cases, claims and suspects."""
    failure = report["failure"]
    suspects = [one["fault"] for one in failure["diagnosis"]["suspects"]] if failure and failure["diagnosis"] else []
    # Sorted: which of two claims is the worse one can hang on a last bit.
    examples = [(e["case"], e["verdict"], sorted(c["claim"] for c in e["claims"])) for e in report["examples"]]
    return [report["exit_code"], report["verdicts"], report["strata"], examples, failure and failure["case"], suspects]


def cases():
    return {"descriptors": digest([c.descriptor for c in drawn()]), "arrays": digest(b"".join(map(arrays_of, drawn())))}


def values():
    chosen = [Case(2, 3, 2, 3, regime=regime, seed=k) for k, regime in enumerate((*REGIMES, "init", "normal", "zero"))][
        :10
    ]
    return {case.descriptor: values_of(case) for case in chosen}


def faults():
    return {"ids": len(FAULTS), "diffs": digest([f"{name}\n{diff(fault)}" for name, fault in FAULTS.items()])}


def slip_titles():
    return {f"{part}.py": digest([s.title for s in slips(part)]) for part in PARTS}


def vectors():
    return digest(resources.files("lstm_checks").joinpath("data/vectors.json").read_bytes())


def reports():
    found = {}
    for name in TARGETS:
        report = told(report_to_json(verify(load_target(name), examples=12)))
        found[name] = digest(json.dumps(report, indent=1, sort_keys=True).encode())
    return found


def hypothesis_version():
    return hypothesis.__version__


DRAWN = ("cases", "reports")
"""What hangs on what Hypothesis draws, which is another version's own."""

WITNESSED = {f.__name__: f for f in (cases, values, faults, slip_titles, vectors, reports, hypothesis_version)}


@pytest.mark.parametrize("what", [what for what in WITNESSED if what != "hypothesis_version"])
def test_nothing_has_moved(what):
    kept = json.loads(FILE.read_text())
    if what in DRAWN and kept["hypothesis_version"] != hypothesis.__version__:
        pytest.skip(f"drawn by Hypothesis {hypothesis.__version__}, the witness by {kept['hypothesis_version']}")
    assert WITNESSED[what]() == kept[what]


if __name__ == "__main__":
    now = {what: make() for what, make in WITNESSED.items()}
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    print("differs:", [what for what in now if now[what] != before.get(what)])
    FILE.write_text(json.dumps(now, indent=1) + "\n")
