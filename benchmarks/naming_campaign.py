"""Count how often the diagnosis names the fault that is there, as a user meets it: drawn, shrunk, diagnosed.

``python benchmarks/naming_campaign.py --seeds 1 --processes 2`` plants each fault of the catalogue, coded anew, into
the plain layer of tests/plain_lstm.py, runs ``verify`` on it, and looks at whom the failure's diagnosis suspects
first, and among the first three. Exit code 1 if a fault is not caught, or if fewer than 95 % are named first or 99 %
among three.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from plain_lstm import planted
from planted_faults import EDITS, WRAPPERS

from checks.executors import parse_executor
from checks.faults.catalogue import FAULTS
from checks.verify import verify

FIRST, AMONG_THREE = 0.95, 0.99


@dataclass(frozen=True)
class Named:
    """On what a planted fault was met, and whom the diagnosis suspects, in order."""

    id: str
    seed: int
    case: str
    suspects: tuple[str, ...]

    @property
    def place(self) -> int | None:
        """0 if the fault is suspected first; None if it is not suspected."""
        return self.suspects.index(self.id) if self.id in self.suspects else None


def name(job: tuple[str, int]) -> Named:
    """Return whom `verify` suspects of a planted fault."""
    id, seed = job
    warnings.simplefilter("ignore")
    report = verify(planted(id, EDITS.get(id, []), WRAPPERS.get(id)), examples=100, seed=seed)
    if report.failure is None or report.failure.diagnosis is None:
        return Named(id, seed, "not caught" if report.failure is None else report.failure.case.descriptor, ())
    return Named(id, seed, report.failure.case.descriptor, tuple(s.fault for s in report.failure.diagnosis.suspects))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = []
    with parse_executor(f"processes:{options.processes}") as executors, executors.start() as pool:
        for named in pool.map(name, product(FAULTS, seeds)):
            found.append(named)
            if named.place != 0:
                print(
                    f"{named.id} on {named.case}, seed {named.seed}: {', '.join(named.suspects) or 'nobody'}",
                    flush=True,
                )
    first = sum(named.place == 0 for named in found)
    three = sum(named.place is not None and named.place < 3 for named in found)
    caught = sum(named.case != "not caught" for named in found)
    print(f"{len(found)} planted, {caught} caught, {first} named first, {three} among the first three")
    good = caught == len(found) and first >= FIRST * len(found) and three >= AMONG_THREE * len(found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
