"""Measure how often the gate's verdict on speed is wrong: on unchanged code, and on code that is 1.3 times as slow.

``python benchmarks/gate_power.py runs`` takes a baseline and then judges again and again, with processes and clocks, as
``lstm-checks gate`` does: unchanged code 200 times, slowed code 100 times. ``record FILE`` takes rounds of both and
keeps them; ``replay FILE`` judges thousands of times from stretches of that record, so that a change of margin, looks
or chance of error can be tried without measuring again. ``accuracy`` shows by how much the use of the tolerance moves
with other examples and another implementation.

The slowed target does element-wise work of its own in every forward pass, as much as takes 0.3 of the time of
lstm_fast; how much slower it then is in truth is measured over all rounds, and printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lstm_checks import tolerance
from lstm_checks.gate.baseline import Baseline, this_machine
from lstm_checks.gate.config import GateConfig, Speed
from lstm_checks.gate.jobs import Jobs
from lstm_checks.gate.speed import Rounds, decide, judge_speed
from lstm_checks.gate.timing import THREADS

FAST, REF = "lstm_fast:LSTM", "lstm_ref:LSTM"
SLOWED = """
import numpy as np
from lstm_fast import LSTM as Fast

LOOPS = {loops!r}
BLOCK = np.linspace(-1, 1, 1000)


class LSTM(Fast):
    def forward(self, X, h0=None, C0=None):
        out = np.empty_like(BLOCK)
        for _ in range(LOOPS[X.shape]):
            np.tanh(BLOCK, out)
        return super().forward(X, h0=h0, C0=C0)
"""


def calibrated(folder: Path, cases: tuple[str, ...], factor: float) -> str:
    """Return the target slowed by the factor, written to a file in `folder`."""
    from lstm_checks.cases import Case
    from lstm_checks.gate.timing import time_round
    from lstm_checks.targets.load import load_target

    path = folder / "slowed.py"
    loops = {Case.parse(case).arrays["X"].shape: 100 for case in cases}
    for _ in range(3):  # the time of the work is not quite proportional to the loops
        path.write_text(SLOWED.format(loops=loops))
        slowed, fast = load_target(f"{path}:LSTM"), load_target(FAST)
        for case in map(Case.parse, cases):
            share = math.exp(time_round(slowed, fast, case, 3.0)) - 1
            loops[case.arrays["X"].shape] = max(1, round(loops[case.arrays["X"].shape] * (factor - 1) / share))
    path.write_text(SLOWED.format(loops=loops))
    return f"{path}:LSTM"


def record(path: Path, speed: Speed, slowed: str, rounds: int, jobs: Jobs) -> None:
    """Take rounds of both targets in turn, and keep them as they come."""
    base = {"job": "time", "than": speed.than, "cases": list(speed.cases), "seconds": speed.seconds}
    with path.open("a") as file:
        for _ in range(rounds):
            found = {kind: jobs.run({**base, "target": t}) for kind, t in (("same", FAST), ("slowed", slowed))}
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            file.write(json.dumps({**found, "load": load}) + "\n")
            file.flush()


def replay(path: Path, runs: int, speed: Speed) -> None:
    """Judge from stretches of a record: baseline, rounds and retake each begin somewhere in it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    speed = replace(speed, cases=tuple(rows[0]["same"]))
    loads = [row["load"] for row in rows if row["load"] is not None]
    print(f"{len(rows)} rounds, load {min(loads):.1f} to {max(loads):.1f}" if loads else f"{len(rows)} rounds")
    for case in speed.cases:
        same, slowed = (np.array([row[kind][case] for row in rows]) for kind in ("same", "slowed"))
        spread = np.subtract(*np.percentile(same, [97.5, 2.5]))
        print(f"  {case}: slowed by {math.exp(np.median(slowed - same)):.3f}; 95 % of the rounds within {spread:.3f}")
    rng = np.random.default_rng(0)

    def stretch(kind: str, length: int) -> dict[str, list[float]]:
        start = rng.integers(0, len(rows) - length)
        return {case: [row[kind][case] for row in rows[start : start + length]] for case in speed.cases}

    for kind in ("same", "slowed"):
        came: Counter[str] = Counter()
        for _ in range(runs):
            before = stretch("same", tolerance.SPEED_BASELINE_ROUNDS)
            slower: bool | None = True
            for _ in range(2):
                if slower:
                    taken = stretch(kind, max(tolerance.SPEED_LOOKS))
                    slower, _ = decide(
                        lambda count, taken=taken: {c: v[:count] for c, v in taken.items()},
                        before,
                        speed.margin,
                        speed.limit,
                    )
            came[{True: "regression", False: "pass", None: "not judged"}[slower]] += 1
        print(f"  {kind}: " + ", ".join(f"{n} {what}" for what, n in came.items()) + f" of {runs}")


def judge_again_and_again(speed: Speed, slowed: str, null: int, slow: int, jobs: Jobs) -> bool:
    """Take a baseline, judge both targets and print how it went; return whether that is as required."""
    rounds = Rounds(speed, jobs)
    rounds.extend_to(tolerance.SPEED_BASELINE_ROUNDS)
    old = Baseline(machines={this_machine(): rounds.result()})
    slowed_speed = replace(speed, target=slowed)
    # In turn, so that both meet the same hours of the machine.
    came: dict[str, Counter[str]] = {"unchanged": Counter(), "slowed": Counter()}
    slower: dict[str, list[float]] = {}
    longest = 0.0
    for k in range(max(null, slow)):
        for kind, judged, count in (("unchanged", speed, null), ("slowed", slowed_speed, slow)):
            if k < count:
                start = time.perf_counter()
                finding, taken, _ = judge_speed(judged, jobs, old, False)
                longest = max(longest, time.perf_counter() - start)
                came[kind][str(finding.outcome)] += 1
                if kind == "slowed":
                    for case, values in taken.items():
                        slower.setdefault(case, []).extend(values)
                if (kind == "slowed") is (finding.outcome == "pass") or finding.outcome == "not judged":
                    print(f"  {kind}, run {k}: {finding.outcome}: {finding.message}", flush=True)
    for kind, counts in came.items():
        print(f"{kind}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    for case, values in slower.items():
        print(f"  slowed by {math.exp(np.median(values) - np.median(rounds.found[case])):.3f} on {case}")
    print(f"longest run {longest:.1f} s")
    good = came["unchanged"]["pass"] == null and came["slowed"]["regression"] >= 0.95 * slow
    return good and longest <= 60


def accuracy() -> None:
    """Print by how much the use of the tolerance moves with the examples, and with the implementation."""
    from lstm_checks.cases import REGIMES
    from lstm_checks.gate.jobs import JOBS

    base = {"examples": 60, "dtype": "float64", "max-dims": (9, 60, 9, 9), "regimes": REGIMES}
    for dtype in ("float64", "float32"):
        uses = [JOBS["verify"]({**base, "dtype": dtype, "target": FAST, "seeds": (seed,)})["use"] for seed in range(4)]
        floor = tolerance.ACCURACY_FLOOR
        growth = [
            (max(one[g], floor) / max(other[g], floor), g) for one in uses for other in uses for g in one if g in other
        ]
        print(
            f"{dtype}: of two sets of 60 examples, one uses at most {max(growth)[0]:.2f} x as much ({max(growth)[1]})"
        )


def main() -> int:
    """Carry out one of the modes; return 1 if the requirements are not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("runs", "record", "replay", "accuracy"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=200, help="of unchanged code; for replay, of each")
    parser.add_argument("--slow-runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200, help="for record")
    parser.add_argument("--seconds", type=float, default=0.4, help="a case and a round")
    parser.add_argument("--factor", type=float, default=1.3)
    options = parser.parse_args()
    if options.mode == "accuracy":
        accuracy()
        return 0
    if options.mode in ("record", "replay") and options.file is None:
        parser.error(f"{options.mode} needs a FILE")
    speed = Speed(FAST, REF, seconds=options.seconds)
    if options.mode == "replay":
        replay(options.file, options.runs, speed)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(GateConfig(targets=(FAST,)).root, 120)
        slowed = calibrated(Path(folder), speed.cases, options.factor)
        if options.mode == "record":
            record(options.file, speed, slowed, options.rounds, jobs)
            return 0
        good = judge_again_and_again(speed, slowed, options.runs, options.slow_runs, jobs)
    return 0 if good else 1


if __name__ == "__main__":
    # The calibration times in this process: pinned as every judging process is, before NumPy's BLAS starts.
    if any(os.environ.get(name) != value for name, value in THREADS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **THREADS})
    sys.exit(main())
