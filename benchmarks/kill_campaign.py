"""Require of `verify` at its default examples that each fault is killed, with each seed, and no right layer is blamed.

Run ``python -m benchmarks.kill_campaign --seeds 20 --processes 2``; it takes some minutes. ``--cell peephole`` takes
the faults that another cell can have, and its reference for the right layer; with ``--named`` each fault that is that
cell's own must be named in its smallest example, as the first suspect or as one as certain. For each seed the examples
are those of ``lstm-checks verify --seed SEED``. The values due are worked out once for each; a fault is dropped as
soon as an example kills it, a patch by its values alone, a fault between calls by all that `verify` does. `lstm_ref`
and `lstm_fast` are judged in full on every example (not so with ``--faults-only``). Exit code 1 where a fault survives
or a right layer is blamed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

from lstm_checks.campaign.executors import parse_executor
from lstm_checks.cases import DTYPES, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.faults.catalogue import faults_of, own_faults
from lstm_checks.faults.model import Fault, fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.expected import expect
from lstm_checks.strategies import draw_cases, draw_options
from lstm_checks.targets.load import load_target
from lstm_checks.trials.search import shows
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

RIGHT = ("lstm_ref:LSTM", "lstm_fast:LSTM")


@dataclass(frozen=True)
class Result:
    """What came of one seed.

    `needed` is how many of the examples, in the order in which `verify` takes them, each killed fault needed.
    """

    seed: int
    examples: int
    needed: dict[str, int]
    survivors: Sequence[str]
    alarms: Sequence[str]
    passes: int
    seconds: float


def run_seed(
    seed: int,
    examples: int,
    right: Sequence[str] = RIGHT,
    faults: Sequence[Fault] | None = None,
    cell: Cell = PLAIN,
) -> Result:
    """Return what came of one seed, over all faults of a cell or some."""
    start = time.process_time()
    alive = list(faults_of(cell).values() if faults is None else faults)
    targets = [load_target(spec) for spec in right] if cell is PLAIN else [fault_target(cell=cell)] * bool(right)
    needed: dict[str, int] = {}
    alarms, passes = [], 0
    cases = draw_cases(examples, seed, **draw_options(fault_target(cell=cell), dtypes=DTYPES))
    for count, case in enumerate(cases, 1):
        expected = expect(case)
        killed = [fault for fault in alive if shows(fault, case, expected)]
        needed |= {fault.id: count for fault in killed}
        alive = [fault for fault in alive if fault not in killed]
        for target in targets:
            report = verify_case(target, case, expected=expected)
            passes += report.verdict is Verdict.PASS
            if report.failures or report.mistrusted:
                alarms.append(f"{target.name} on {case.descriptor}")
        if not alive and not targets:
            break
    seconds = time.process_time() - start
    return Result(seed, len(cases), needed, tuple(f.id for f in alive), tuple(alarms), passes, seconds)


def of_family(cell: Cell, family: str) -> list[Fault]:
    """Return the faults of a cell, or those of one family."""
    return [fault for fault in faults_of(cell).values() if family in ("", fault.family)]


def run_in_words(seed: int, examples: int, right: Sequence[str], cell: str, family: str = "") -> dict[str, Any]:
    """Return what `run_seed` returns, as plain values: such are all that comes from another process."""
    of = cell_named(cell)
    return asdict(run_seed(seed, examples, right, of_family(of, family), of))


def not_named(cell: Cell) -> list[str]:
    """Return the faults of a cell's own that are not named in their smallest example, with what is named there."""
    found = []
    for fault in own_faults(cell):
        suspects = diagnose(fault_target(fault, cell=cell), Case.parse(fault.example)).suspects
        certain = [suspect.fault for suspect in suspects if suspect.certain]
        if fault.id not in certain:
            found.append(f"{fault.id}: {', '.join(suspect.fault for suspect in suspects) or 'nothing'}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--faults-only", action="store_true", help="do not judge the right layers")
    parser.add_argument(
        "--cell",
        default=PLAIN.name,
        metavar="NAME",
        help="whose faults, a cell's or a network's (default: %(default)s)",
    )
    parser.add_argument("--family", default="", help="of one family alone, such as composition")
    parser.add_argument("--named", action="store_true", help="see that the cell's own faults are named, too")
    options = parser.parse_args()
    try:
        cell_named(options.cell)
    except ValueError as error:
        parser.error(f"--cell is {error}")
    right = () if options.faults_only else RIGHT if options.cell == PLAIN.name else RIGHT[:1]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    unnamed = not_named(cell_named(options.cell)) if options.named else []
    bad = bool(unnamed)
    print("".join(f"not named: {text}\n" for text in unnamed), end="")
    print(f"{len(of_family(cell_named(options.cell), options.family))} faults, {options.examples} examples a seed")
    print("seed  killed  survivors  most examples needed                         right layers: pass  blamed  CPU s")
    # The processes start from the package's folder, which need not be this one's.
    paths = (str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with parse_executor(f"processes:{options.processes}") as executors, executors.start() as pool:
        for found in [
            pool.submit(run_in_words, seed, options.examples, right, options.cell, options.family) for seed in seeds
        ]:
            result = Result(**found.result())
            slowest = max(result.needed, key=lambda id: result.needed[id])
            print(
                f"{result.seed:>4}  {len(result.needed):>6}  {len(result.survivors):>9}  "
                f"{result.needed[slowest]:>3} {slowest:<41}{result.passes:>7}/{len(right) * result.examples}"
                f"{len(result.alarms):>8}{result.seconds:>7.0f}",
                flush=True,
            )
            for text in (*(f"  survivor: {id}" for id in result.survivors), *(f"  blamed: {a}" for a in result.alarms)):
                print(text, flush=True)
            bad |= bool(result.survivors or result.alarms)
    print("FAIL" if bad else "PASS", flush=True)
    return int(bad)


if __name__ == "__main__":
    from benchmarks import kill_campaign  # under the name by which other processes know it

    sys.exit(kill_campaign.main())
