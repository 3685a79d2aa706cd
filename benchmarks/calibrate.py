"""Validate the tolerance against certified truth: no false alarm, few inconclusive cases, how small an error it sees.

Run ``python benchmarks/calibrate.py --cases 20000 --processes 2 --write docs``; it needs ``pip install -e
'.[certify,torch,docs]'``. Every case's answer is enclosed in balls, and each target's errors against it are divided by
the tolerance of their entry. Results are appended to a file case by case, so that an interrupted run goes on.
With ``--write`` the table of ``calibration.md`` in that folder is replaced and the plot drawn.

The least error that is caught needs no planted error: an entry that differs from the reference by d within the
tolerance T, and changes by c for each unit of an error, is caught as soon as |d + x c| exceeds T; the smallest such x
over the entries is the least error of that kind that the case shows.
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

from benchmarks.resumed import read_results
from lstm_checks.arithmetic import balls
from lstm_checks.calling import call_target
from lstm_checks.cases import COTANGENTS, DTYPES, REGIMES, Case
from lstm_checks.certified.certify import CertifiedGradient, certified_gradient, expected_bits
from lstm_checks.compare import compare
from lstm_checks.contract import PLAIN
from lstm_checks.files import replace_file, with_figures
from lstm_checks.judging.reports import CaseReport
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.targets.load import load_target
from lstm_checks.tolerance import accepted
from lstm_ref import lstm_backward, lstm_forward
from lstm_ref.cell import Cell

TARGETS = ("lstm_ref:LSTM", "lstm_fast:LSTM", "torch")
PLANTED_IN = "lstm_fast:LSTM"
CHAOTIC_REGIMES = ("x100",)
STEPS = (1, 1, 2, 2, 3, 4, 5, 6, 8, 13, 21)
LONG_STEPS = (30, 60, 100, 200)
KINDS = ("gate", "entry", "entry, of largest", "step")


def draw(k: int, seed: int) -> Case:
    """Return the k-th case: regimes and dtypes in turn, everything else drawn; one in 50 is long."""
    rng = np.random.default_rng((seed, k))
    m, e, u = (int(n) for n in rng.integers(1, 10, 3))
    s = int(rng.choice(STEPS))
    if rng.random() < 1 / 50:
        s, u = int(rng.choice(LONG_STEPS)), min(u, 4)
    m = max(1, min(m, 150 // (s * u)))
    cotangents, states = str(rng.choice(COTANGENTS)), bool(rng.random() < 0.75)
    regime, dtype = REGIMES[k % len(REGIMES)], DTYPES[k // len(REGIMES) % len(DTYPES)]
    return Case(m, s, e, u, dtype, regime, cotangents, states, int(rng.integers(2**31)))


@cache
def target(spec: str) -> Any:
    """Return a target, once a process."""
    return load_target(spec)


def measure(k: int, seed: int) -> dict[str, Any]:
    """Return what one case says of the tolerance, in plain types."""
    start = time.process_time()
    case = draw(k, seed)
    certified, expected = certified_gradient(case, first_bits=expected_bits(case)), expect(case)
    low, radius = below_rounding(certified)
    row: dict[str, Any] = {"k": k, "case": case.descriptor, "bits": certified.bits, "targets": {}}
    for spec in TARGETS:
        outcome = call_target(target(spec), case.arrays.copy(), case.sequences)
        report = CaseReport(case, tuple(compare(outcome.values, expected, target(spec), case.dtype)))
        use, tensor = use_of_tolerance(outcome.values, certified.values, low, radius, expected)
        row["targets"][spec] = {
            "use": use,
            "tensor": tensor,
            "judged": max(claim.use for claim in report.claims),
            "verdict": str(report.verdict),
        }
        if spec == PLANTED_IN:
            passed = [
                claim.name for claim in report.claims if claim.verdict == "pass" and claim.name in PLAIN.gradients
            ]
            row["caught"] = least_caught(case, outcome.values, expected, passed)
    return row | {"seconds": round(time.process_time() - start, 4)}


def below_rounding(certified: CertifiedGradient) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the nearest float64 leaves of the truth, by name, and the radius of what that leaves."""
    low, radius = {}, {}
    with balls.precision(certified.bits):
        for name, enclosure in certified.enclosures.items():
            rest = enclosure - balls.to_balls(certified.values[name])
            low[name] = balls.nearest(rest)
            radius[name] = balls.radius(rest - balls.to_balls(low[name]))
    return low, radius


def use_of_tolerance(
    came: Mapping[str, Any],
    truth: Mapping[str, Any],
    low: Mapping[str, Any],
    radius: Mapping[str, Any],
    expected: Expected,
    cell: Cell = PLAIN,
) -> tuple[float, str]:
    """Return the largest error against the truth over its tolerance, and its tensor, where rounding drowns nothing.

    The difference from the nearest float64 is exact or far larger than what it rounds off, so that the error is right
    to some 2^-50 of itself, and an upper bound but for that.
    """
    worst, tensor = 0.0, ""
    for names in (*((name,) for name in cell.outputs), cell.gradients):
        if expected.chaotic(names):
            continue
        for name in names:
            value, last = np.asarray(came[name], np.float64), ...
            if name == "h" and value.ndim == 2:
                last = (slice(None), -1)
            error = np.abs((value - truth[name][last]) - low[name][last]) + radius[name][last]
            share = np.max(error / accepted(expected.sd[name][last], expected.dtype))
            if not share <= worst:
                worst, tensor = float(share), name
    return worst, tensor


def least_caught(case: Case, came: Mapping[str, Any], expected: Expected, passed: Sequence[str]) -> dict[str, float]:
    """Return the least relative error of each kind that this case shows; no key where nothing is at stake.

    Only tensors that passed are looked at: of the others `verify` says itself that they are inconclusive or vacuous.
    gate: the gradients of one gate's parameters times 1 + x. entry: one entry times 1 + x. entry, of largest: one
    entry plus x times the largest entry of its tensor. step: what one step adds to the gradients of the parameters and
    of its own input, times 1 + x.
    """
    changes = planted(case, came, passed)
    found = {kind: least_over_entries(change, came, expected) for kind, change in changes.items()}
    return {kind: least for kind, least in found.items() if np.isfinite(least)}


def planted(case: Case, came: Mapping[str, Any], passed: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what each kind of error changes in the gradients for each unit of it; gate, entry and step are drawn."""
    rng = np.random.default_rng((case.seed, 3))
    gate, step = PLAIN.gates[int(rng.integers(4))], int(rng.integers(case.s))
    if not passed:
        return {}
    of_gate = {name: np.asarray(came[name], np.float64) for name in (f"dU{gate}", f"dV{gate}", f"db{gate}")}
    of_step = contributions(case, step)
    of_step["dX"] = np.zeros(came["dX"].shape)
    of_step["dX"][:, step] = came["dX"][:, step]
    name = str(rng.choice(passed))
    value = np.asarray(came[name], np.float64)
    one = np.zeros_like(value)
    one[np.unravel_index(int(rng.integers(value.size)), value.shape)] = 1
    found = {"gate": of_gate, "entry": {name: one * value}, "entry, of largest": {name: one * np.max(np.abs(value))}}
    found["step"] = of_step
    return {kind: {name: change[name] for name in change if name in passed} for kind, change in found.items()}


def least_over_entries(change: Mapping[str, Any], came: Mapping[str, Any], expected: Expected) -> float:
    """Return the least x at which `came` plus x times `change` leaves the tolerance; inf if nothing changes."""
    least = np.inf
    for name, c in change.items():
        difference, room = (
            np.asarray(came[name], np.float64) - expected.values[name],
            accepted(expected.sd[name], expected.dtype),
        )
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            x = np.where(c != 0, (room - np.sign(c) * difference) / np.abs(c), np.inf)
        least = min(least, float(np.min(x)))
    return least


def contributions(case: Case, step: int) -> dict[str, Any]:
    """Return what one step adds to the gradients of the parameters."""
    a = case.arrays.astype(np.float64)
    with np.errstate(all="ignore"):
        fc = lstm_forward(a.p, a["X"], a["h0"], a["C0"])
        bc = lstm_backward(a.p, fc, a["dh"], a["dhn"], a["dCn"])
        found = {}
        for gate in PLAIN.gates:
            dk_ = bc[f"d{gate}_"][:, step]
            found |= {f"dU{gate}": a["X"][:, step].T @ dk_, f"dV{gate}": fc["hp"][:, step].T @ dk_}
            found[f"db{gate}"] = dk_.sum(axis=0, keepdims=True)
    return found


# ---- The run


def run(cases: int, seed: int, processes: int, path: Path) -> list[dict[str, Any]]:
    """Return the results of all cases, measuring those that the file of results lacks and appending them to it."""
    rows = read(path, seed)
    missing = [k for k in range(cases) if k not in rows]
    start = time.monotonic()
    with path.open("a", encoding="ascii") as file, multiprocessing.get_context("spawn").Pool(processes) as pool:
        if not rows:
            file.write(json.dumps({"seed": seed, "targets": TARGETS}) + "\n")
        work = pool.imap_unordered(partial(measure, seed=seed), missing, chunksize=16)
        for done, row in enumerate(work, 1):
            rows[row["k"]] = row
            file.write(json.dumps(row) + "\n")
            if done % 100 == 0 or done == len(missing):
                file.flush()
                rest = (time.monotonic() - start) / done * (len(missing) - done)
                print(
                    f"\r{done} of {len(missing)} cases, {rest / 60:.1f} min to go ", end="", file=sys.stderr, flush=True
                )
    print(file=sys.stderr)
    return [rows[k] for k in range(cases)]


def read(path: Path, seed: int) -> dict[int, dict[str, Any]]:
    """Return the results that there are already."""
    lines = read_results(path)
    if lines and lines[0] != {"seed": seed, "targets": list(TARGETS)}:
        raise SystemExit(
            f"{path} holds the results of {lines[0]}, expected seed {seed} and {TARGETS}: name another file"
        )
    return {row["k"]: row for row in lines[1:]}


# ---- The figures


def figures(rows: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Return the tables, and whether what is required holds."""
    cases = [Case.parse(row["case"]) for row in rows]
    of = {regime: [k for k, case in enumerate(cases) if case.regime == regime] for regime in REGIMES}
    groups = {"all": list(range(len(rows)))} | of
    calm = [k for k, case in enumerate(cases) if case.regime not in CHAOTIC_REGIMES]
    groups |= {f"all but {', '.join(CHAOTIC_REGIMES)}": calm}
    groups |= {"of these, s >= 30": [k for k in calm if cases[k].s >= min(LONG_STEPS)]}
    minutes = sum(row["seconds"] for row in rows) / 60
    lines, good = [f"{len(rows)} cases (`--cases {len(rows)}`), {minutes:.0f} CPU-minutes.", ""], True
    for dtype in DTYPES:
        lines += [f"### {dtype}: share of the tolerance used", ""]
        lines += _header(
            "regime", "target", "cases", "median", "99 %", "99.9 %", "max", "as judged, max", "inconclusive"
        )
        for group, chosen in groups.items():
            for spec in TARGETS:
                found = [rows[k]["targets"][spec] for k in chosen if cases[k].dtype == dtype]
                if not found:
                    continue
                uses = np.array([one["use"] for one in found])
                judged = max(one["judged"] for one in found)
                lost = sum(one["verdict"] == "inconclusive" for one in found) / len(found)
                good &= bool(uses.max() < 1 and judged < 1)
                good &= lost < 0.02 or group not in REGIMES or group in CHAOTIC_REGIMES
                quantiles = [f"{np.quantile(uses, q):.3f}" for q in (0.5, 0.99, 0.999, 1)]
                lines.append(_line(group, spec, len(found), *quantiles, f"{judged:.3f}", f"{100 * lost:.2f} %"))
        lines.append("")
    for dtype in DTYPES:
        lines += [f"### {dtype}: least relative error that is caught", ""]
        lines += _header("regime", *(f"{kind}, {share}" for kind in KINDS for share in ("half", "99 %")))
        for group, chosen in groups.items():
            caught = [rows[k]["caught"] for k in chosen if cases[k].dtype == dtype and "caught" in rows[k]]
            cells = []
            for kind in KINDS:
                found = np.array([one[kind] for one in caught if kind in one])
                cells += [_least(np.quantile(found, q)) if found.size else "-" for q in (0.5, 0.99)]
            lines.append(_line(group, *cells))
        lines.append("")
    return "\n".join(lines).rstrip(), good


def _least(x: float) -> str:
    """Return a relative error; one that is not seen even where it doubles what it is an error of, as that."""
    return f"{x:.1e}" if x <= 1 else "> 1"


def _header(*cells: str) -> list[str]:
    """Return the two lines that head a Markdown table."""
    return [_line(*cells), _line(*("---" for _ in cells))]


def _line(*cells: Any) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw how many cases use more than a share of the tolerance, and the least error caught by regime."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "calibration", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt

    cases = [Case.parse(row["case"]) for row in rows]
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for column, dtype in enumerate(DTYPES):
        above, least = axes[0, column], axes[1, column]
        chosen = [row for row, case in zip(rows, cases, strict=True) if case.dtype == dtype]
        shares = np.geomspace(1, 1 / len(chosen), 200)
        for spec in TARGETS:
            uses = np.quantile([row["targets"][spec]["use"] for row in chosen], 1 - shares, method="higher")
            above.plot(uses, shares, label=spec)
        above.axvline(1, color="black", linewidth=1)
        above.set(
            yscale="log", xlim=(0, 1.05), xlabel="largest error over its tolerance", ylabel="share of cases above"
        )
        above.set_title(f"{dtype}: error against certified truth")
        above.legend()
        for offset, kind in enumerate(KINDS):
            found = [
                [row["caught"][kind] for row in chosen if kind in row.get("caught", {})
                 and Case.parse(row["case"]).regime == regime]
                for regime in REGIMES
            ]  # fmt: skip
            ends = np.array([np.quantile(values, (0.5, 0.99)) if values else (np.nan, np.nan) for values in found])
            where = np.arange(len(REGIMES)) + 0.18 * (offset - 1.5)
            least.vlines(where, ends[:, 0], ends[:, 1], color=f"C{offset}", linewidth=4, label=f"one {kind}")
        low = {"float64": 1e-16, "float32": 1e-8}[dtype]
        least.set(yscale="log", ylim=(low, 1), xticks=range(len(REGIMES)), xticklabels=REGIMES, ylabel="relative error")
        least.set_title(f"{dtype}: least error caught, in half to 99 % of cases")
        least.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(KINDS))  # below: bars stand everywhere
    figure.savefig(path, metadata={"Date": None})


def write(folder: Path, rows: Sequence[Mapping[str, Any]], text: str) -> None:
    """Replace the figures between the marks of ``calibration.md``, and the plot."""
    page = folder / "calibration.md"
    whole = with_figures(page.read_text(encoding="utf-8"), text)
    plot(rows, folder / "calibration.svg")
    replace_file(page, whole)


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, print the tables; return 1 if a correct target fails or too much is inconclusive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--results", type=Path, default=Path("build/calibration.jsonl"), help="appended to, and resumed"
    )
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="update calibration.md there, and draw the plot")
    options = parser.parse_args(None if arguments is None else list(arguments))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = run(options.cases, options.seed, options.processes, options.results)
    text, good = figures(rows)
    print(text)
    if options.write is not None:
        write(options.write, rows, text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
