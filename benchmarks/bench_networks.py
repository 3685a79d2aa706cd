"""Count the examples that `verify` judges in a second of processor time, by cell and by network.

Run ``python -m benchmarks.bench_networks``; it takes some minutes and writes its table into docs/networks.md. The
target is the reference itself, so that what is timed is the judging; a target that does not pass is not timed.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import argparse
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.render import machine, replace_text
from lstm_checks.cases import LENGTHS
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.verify import verify
from lstm_ref.cells import CELLS, cell_named

PAGE = Path(__file__).resolve().parent.parent / "docs" / "networks.md"

NETWORKS = ("plain@1xboth", "plain@2xforward", "plain@2xboth", "gru_reset_after@2xboth", "rnn@2xsum")

TITLE = "## How fast"

HEAD = """{title}

Written by `python -m benchmarks.bench_networks`: how many examples of `lstm-checks verify` are judged in a second of
one processor's time, all their claims included. The target is the reference; {examples} examples of each, seed 0,
padded batches among those of networks.

{machine}

| cell or network | examples a second |
|---|---|
"""


def rate(name: str, examples: int) -> float:
    """Return the examples a second of processor time.

    Raises
    ------
    SystemExit
        "plain@2xboth does not pass".
    """
    cell = cell_named(name)
    target = fault_target(cell=cell)
    target = replace(target, name=name, lengths=LENGTHS if cell.places else ())
    start = time.process_time()
    report = verify(target, examples=examples)
    spent = time.process_time() - start
    if report.exit_code:
        raise SystemExit(f"{name} does not pass")
    return examples / spent


def main() -> None:
    """Count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--only", default="", help="print those with that in their name; write nothing")
    options = parser.parse_args()
    rows = []
    for name in (name for name in (*CELLS, *NETWORKS) if options.only in name):
        rows.append(f"| `{name}` | {rate(name, options.examples):.1f} |")
        print(rows[-1], flush=True)
    if not options.only:
        head = HEAD.format(title=TITLE, examples=options.examples, machine=machine())
        before = PAGE.read_text(encoding="utf-8").partition(f"\n{TITLE}\n")[0].rstrip()
        replace_text(PAGE, "\n".join((before, "", head.rstrip(), *rows)))


if __name__ == "__main__":
    main()
