"""Require in a format of low precision that faults die at the default examples, and that what is excused passes.

python -m benchmarks.low_precision_kills --dtype bfloat16 --contract gates32     # a minute or two of a processor
python -m benchmarks.low_precision_kills --dtype float16 --contract all --family "low precision"

Each fault is planted in a program that keeps the contract to the letter (`lstm_checks.faults.short`) and judged as
`lstm-checks verify --dtype --contract` judges. Of the catalogue's every fault must die but those of the family
precision, which are less than rounding here; of those of low precision (`lstm_checks.faults.low_precision`) each must
die where the contract does not excuse it, and pass on all examples where it does. Exit code 1 where one does not.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

from lstm_checks.cases import Case
from lstm_checks.faults import catalogue
from lstm_checks.faults.low_precision import FAULTS as OF_LOW_PRECISION
from lstm_checks.faults.model import Fault
from lstm_checks.faults.short import FAMILY, ShortFault, evaluate_short, short_target
from lstm_checks.formats import LOW, NAMED, format_named
from lstm_checks.judging.case import judge_values
from lstm_checks.judging.reports import CaseReport, Report
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.strategies import draw_cases

HIDDEN = ("precision",)
"""The families of the catalogue that are about less than rounding is in low precision."""


@dataclass(frozen=True)
class Found:
    """What came of a fault: of how many examples how many rejected it, and what all of them said together."""

    fault: str
    excused: bool
    killed: int
    examples: int
    together: str

    @property
    def dead(self) -> bool:
        """Whether `verify` would have said FAIL."""
        return bool(self.killed or self.together)

    @property
    def good(self) -> bool:
        """Whether it is dead, or excused and alive."""
        return self.dead != self.excused


def faults_in(name: str, family: str = "") -> list[Fault | ShortFault]:
    """Return the faults that are asked in a format, of one family or of all."""
    base = format_named(name).base
    low = [fault for fault in OF_LOW_PRECISION.values() if base in fault.formats]
    known = [fault for fault in catalogue.FAULTS.values() if fault.family not in HIDDEN and not fault.wrap]
    if family == FAMILY:
        return [*low]
    return [*known, *low] if not family else [fault for fault in known if fault.family == family]


def kill(fault: Fault | ShortFault, name: str, examples: Sequence[tuple[Case, Expected]], to_the_end: bool) -> Found:
    """Return what comes of a fault on examples, and whether it need be looked at further once it is dead."""
    target, reports = short_target(fault, name), list[CaseReport]()
    excused = isinstance(fault, ShortFault) and fault.is_excused(name)
    killed = 0
    for case, expected in examples:
        reports.append(judge_values(target, case, evaluate_short(fault, case), expected))
        killed += bool(reports[-1].failures)
        if killed and not to_the_end:
            break
    together = Report(target, tuple(reports), None, 0, 0.0).together
    return Found(fault.id, excused, killed, len(reports), together[0].sentence if together else "")


def drawn(name: str, count: int, seed: int) -> list[tuple[Case, Expected]]:
    """Return the examples of `lstm-checks verify --seed SEED` in a format, with what is due of them."""
    return [(case, expect(case)) for case in draw_cases(count, seed, dtypes=(name,))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign, a line a fault that is not as it should be, and a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=LOW, default="bfloat16")
    parser.add_argument("--contract", default="gates32", help=f"one of {', '.join(NAMED)}, or one's own")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--family", default="", help=f"of one family alone, such as {FAMILY!r}")
    parser.add_argument("--all", action="store_true", help="a line for each fault, with in how many examples it died")
    options = parser.parse_args(arguments)
    name, bad = format_named(f"{options.dtype}+{options.contract}").name, 0
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        start = time.process_time()
        examples = drawn(name, options.examples, seed)
        found = list[Found]()
        for fault in faults_in(name, options.family):
            one = kill(fault, name, examples, options.all)
            found.append(one)
            if options.all or not one.good:
                what = "" if one.good else "  blamed" if one.excused else "  survivor"
                word = "excused" if one.excused else "killed"
                print(
                    f"{what}  {one.fault:<40} {word} {one.killed}/{one.examples}  {one.together}".rstrip(), flush=True
                )
        bad += sum(not one.good for one in found)
        wanted = [one for one in found if not one.excused]
        print(
            f"{name} seed {seed}: {sum(one.dead for one in wanted)} of {len(wanted)} killed, "
            f"{sum(one.dead for one in found if one.excused)} of {len(found) - len(wanted)} excused ones blamed, "
            f"{options.examples} examples, {time.process_time() - start:.0f} s of a processor",
            flush=True,
        )
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
