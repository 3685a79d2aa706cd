"""Validate the tolerance of every cell and of networks against certified truth: no false alarm of a right one.

Run ``python -m benchmarks.calibrate_cells --cases 20000 --write docs``; it needs ``pip install -e '.[certify,torch]'``.
Cells and networks take turns. Every case's answer is enclosed in balls, and right implementations are judged by their
errors over the tolerance of each entry: the reference in the case's own dtype; the cell written anew in PyTorch with
autograd's gradients (`cells_anew.py`), which adds in another order and differentiates by other formulas; and PyTorch's
own layer where it has the cell. Results are appended to a file case by case, so that an interrupted run goes on.
With ``--write`` the table of ``calibration.md`` in that folder is replaced.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import numpy as np

from benchmarks import cells_anew
from benchmarks.calibrate import below_rounding, use_of_tolerance
from benchmarks.resumed import read_results
from lstm_checks.calling import call_target
from lstm_checks.cases import DTYPES, LENGTHS, REGIMES, Case, cotangents_of
from lstm_checks.certified.certify import certified_gradient, expected_bits
from lstm_checks.compare import compare
from lstm_checks.contract import Target
from lstm_checks.files import replace_file, with_figures
from lstm_checks.judging.reports import CaseReport
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.targets.load import load_target
from lstm_ref.cells import cell_named

CELLS = (
    *("plain", "coupled", "peephole", "projected", "layernorm", "clipped", "gru", "gru_reset_after", "rnn"),
    "plain,f=hardsigmoid6,g=relu",
    "peephole,f=hardsigmoid,g=softsign,h=elu",
    "coupled,g=leakyrelu:0.3,h=softplus",
    "gru_reset_after,f=hardsigmoid,g=scaledtanh:1.7:0.6",
    "rnn,g=relu",
    "plain,g=swish,h=mish",
    "gru,g=gelutanh",
    "clipped,limit=0.3,g=softsign",
)
NETWORKS = (
    "plain@2xboth",
    "plain@3xforward",
    "projected@2xboth",
    "peephole@2xsum",
    "layernorm@2xforward",
    "gru@2xreverse",
    "gru_reset_after@2xboth",
    "rnn@2xboth",
    "clipped@2xboth",
)
LAYERS = {
    "plain": "torch",
    "projected": "torch",
    "gru_reset_after": "torch.nn:GRU",
    "rnn": "torch.nn:RNN",
    "plain@2xboth": "torch",
    "plain@3xforward": "torch",
}
"""What of these PyTorch has a layer of, and how `verify` is told of it."""
IMPLEMENTATIONS = ("lstm_ref", "written anew", "torch")
STEPS = (1, 1, 2, 2, 3, 4, 5, 6, 8, 13)
LONG_STEPS = (21, 30, 60)


def draw(k: int, seed: int) -> Case:
    """Return the k-th case: cells, regimes and dtypes in turn, everything else drawn; one in 50 of a cell is long."""
    rng = np.random.default_rng((seed, k))
    names = (*CELLS, *NETWORKS)
    turn, cell = k // len(names), cell_named(names[k % len(names)])
    regime, dtype = REGIMES[turn % len(REGIMES)], DTYPES[turn // len(REGIMES) % len(DTYPES)]
    m, e, u = (int(n) for n in rng.integers(1, 7, 3))
    s = int(rng.choice(STEPS))
    long = bool(rng.random() < 1 / 50)
    if cell.places:
        m, s, e, u = min(m, 3), min(s, 6), min(e, 4), min(u, 3)
    elif long:
        s, u = int(rng.choice(LONG_STEPS)), min(u, 3)
    m = max(1, min(m, 80 // (s * u)))
    lengths = str(rng.choice(("", *LENGTHS))) if cell.places else ""
    cotangents, states = str(rng.choice(cotangents_of(cell))), bool(rng.random() < 0.75)
    number = int(rng.integers(2**31))
    return Case(m, s, e, u, dtype, regime, cotangents, states, number, cell=cell, lengths=lengths)


@cache
def layer(name: str) -> Target:
    """Return PyTorch's layer of a cell's name, once a process."""
    spec = LAYERS[name]
    return load_target(spec, cell=cell_named("plain" if ":" in spec else name))


def values_of(implementation: str, case: Case) -> tuple[dict[str, Any], Target] | None:
    """Return what a right implementation gives for a case, and what it is; None where it has no such cell or case."""
    if implementation == "torch":
        if case.cell.name not in LAYERS:
            return None
        target = layer(case.cell.name)
        takes = case.dtype in target.dtypes and case.lengths in ("", *target.lengths)
        if not takes or target.limits.fit(case.sizes) != case.sizes:
            return None
        return call_target(target, case.arrays.copy(), case.sequences).values, target
    evaluate = evaluate_reference if implementation == "lstm_ref" else cells_anew.evaluate
    with np.errstate(all="ignore"):
        return evaluate(case.arrays), Target(implementation, "", _never_called, cell=case.cell)


def _never_called(*given: Any) -> Any:
    """Stand in for the call of a target whose values are there already."""
    raise AssertionError(given)


def measure(k: int, seed: int) -> dict[str, Any]:
    """Return what one case says of the tolerance, in plain types."""
    start = time.process_time()
    case = draw(k, seed)
    certified, expected = certified_gradient(case, first_bits=expected_bits(case)), expect(case)
    low, radius = below_rounding(certified)
    row: dict[str, Any] = {"k": k, "cell": case.cell.name, "case": case.descriptor, "targets": {}}
    for implementation in IMPLEMENTATIONS:
        found = values_of(implementation, case)
        if found is None:
            continue
        values, target = found
        report = CaseReport(case, tuple(compare(values, expected, target, case.dtype)))
        came = {name: values.get(name, certified.values[name]) for name in case.cell.tensors}
        use, tensor = use_of_tolerance(came, certified.values, low, radius, expected, case.cell)
        row["targets"][implementation] = {
            "use": use,
            "tensor": tensor,
            "judged": max(claim.use for claim in report.claims),
            "verdict": str(report.verdict),
        }
    return row | {"seconds": round(time.process_time() - start, 4)}


# ---- The run


def run(cases: int, seed: int, processes: int, path: Path, seconds: float) -> list[dict[str, Any]]:
    """Return the results of so many cases, as far as they are there after some seconds.

    Those that the file of results lacks are measured, and appended to it.
    """
    rows, head = read(path, seed), not path.exists() or not path.stat().st_size
    missing = [k for k in range(cases) if k not in rows]
    start = time.monotonic()
    with path.open("a", encoding="ascii") as file, multiprocessing.get_context("spawn").Pool(processes) as pool:
        if head:
            file.write(json.dumps({"seed": seed, "cells": [*CELLS, *NETWORKS]}) + "\n")
        for done, row in enumerate(pool.imap_unordered(partial(measure, seed=seed), missing, chunksize=16), 1):
            rows[row["k"]] = row
            file.write(json.dumps(row) + "\n")
            spent = time.monotonic() - start
            if done % 100 == 0 or done == len(missing):
                file.flush()
                left = spent / done * (len(missing) - done) / 60
                print(f"\r{done} of {len(missing)} cases, {left:.1f} min to go ", end="", file=sys.stderr, flush=True)
            if spent > seconds:
                break
    print(file=sys.stderr)
    return [rows[k] for k in sorted(rows) if k < cases]


def read(path: Path, seed: int) -> dict[int, dict[str, Any]]:
    """Return the results that there are already."""
    head, *lines = read_results(path) or [None]
    if head not in (None, {"seed": seed, "cells": [*CELLS, *NETWORKS]}):
        raise SystemExit(
            f"{path} holds the results of {head}, expected seed {seed} and the cells of today: name another"
        )
    return {row["k"]: row for row in lines}


# ---- The figures


def figures(rows: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Return the table, and whether no right implementation was ever refused."""
    good, seconds = True, sum(row["seconds"] for row in rows)
    every = [found for row in rows for found in row["targets"].values()]
    alarms = sum(found["judged"] >= 1 or found["verdict"] == "fail" for found in every)
    off = sum(found["use"] >= 1 for found in every)
    lines = [
        f"{len(rows)} cases, {len(every)} results of right implementations; {alarms} refused by `verify`, {off} off "
        f"the certified truth by the tolerance or more; {seconds / 60:.0f} minutes of one processor.",
        "",
        "| cell | cases | "
        + " | ".join(f"{name}, worst use" for name in IMPLEMENTATIONS)
        + " | as judged | inconclusive |",
        "|" + " --- |" * (len(IMPLEMENTATIONS) + 4),
    ]
    for cell in (*CELLS, *NETWORKS):
        chosen = [row for row in rows if row["cell"] == cell]
        if not chosen:
            continue
        worst = []
        for name in IMPLEMENTATIONS:
            uses = [row["targets"][name]["use"] for row in chosen if name in row["targets"]]
            worst.append(f"{max(uses):.2f}" if uses else "")
        of_cell = [found for row in chosen for found in row["targets"].values()]
        as_judged = max(found["judged"] for found in of_cell)
        good &= all(found["use"] < 1 and found["judged"] < 1 and found["verdict"] != "fail" for found in of_cell)
        calm = [row for row in chosen if Case.parse(row["case"]).regime != "x100"]
        lost = sum(row["targets"]["lstm_ref"]["verdict"] == "inconclusive" for row in calm) / max(1, len(calm))
        cells = [f"`{cell}`", len(chosen), *worst, f"{as_judged:.2f}", f"{100 * lost:.1f} %"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines), good


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, print the table; return 1 if a right implementation fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="measure no longer than that")
    parser.add_argument("--results", type=Path, default=Path("build/calibration_cells.jsonl"), help="appended to")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="update calibration.md there")
    options = parser.parse_args(None if arguments is None else list(arguments))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = run(options.cases, options.seed, options.processes, options.results, options.seconds)
    text, good = figures(rows)
    print(text)
    if options.write is not None:
        page = options.write / "calibration.md"
        replace_file(page, with_figures(page.read_text(encoding="utf-8"), text, "cells"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
