"""Write what was measured: lines for the terminal, docs/benchmarks.md, and plots in SVG if matplotlib is there."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

KINDS = {"inference": "forward, nothing kept", "forward": "forward, for training", "both": "forward + backward"}
OTHERS = ("PyTorch", "JAX", "lstm_ref", "EpyNN", "NumPy only", "floor")

HEAD = """# Speed and memory

Written by `{command}` in {minutes:.0f} minutes; measure your own machine with the same command. All implementations
take turns in one process, with the same inputs and weights, after their results and gradients were found to agree.
A figure is **the other's time over `lstm_fast`'s** in the same round: above 1, `lstm_fast` is faster. Given is the
median over the rounds, with the quartiles in brackets. *floor* is the matrix products that `lstm_fast` makes where
nothing is compiled, and nothing else: 0.8 says that they take 80 % of its time. *NumPy only* is `lstm_fast` without
Numba.
Forward passes of PyTorch are under `no_grad` where nothing is kept. A point is (m, s, e, u): samples, steps, elements,
unit cells. EpyNN computes in float64 only.

{machine}
"""


def cell(ratio: dict[str, float] | None) -> str:
    """Return a ratio with its quartiles, or nothing."""
    return "" if ratio is None else f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def line(result: dict[str, Any]) -> str:
    """Return one line about one point for the terminal."""
    head = f"{result['threads']} thread(s) {result['dtype']} {tuple(result['dims'])!s:20}"
    refused = "".join(f"   NOT TIMED: {name}: {why}" for name, why in result["refused"].items())
    parts = []
    for kind, ratios in result["ratios"].items():
        if "PyTorch" in ratios:
            parts.append(f"{kind} {cell(ratios['PyTorch'])}")
    both = result["ratios"].get("both", {})
    parts += [f"{name} {both[name]['median']:.2f}" for name in OTHERS if name in both and name != "PyTorch"]
    return head + "   ".join(parts) + refused


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def means(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table of geometric means over the grid, forward + backward."""
    rows = [f"| forward + backward, geometric means | {' | '.join(OTHERS)} |", "|---" * (len(OTHERS) + 1) + "|"]
    for dtype in ("float32", "float64"):
        for threads in sorted({result["threads"] for result in results}):
            found = [
                r["ratios"]["both"]
                for r in results
                if r.get("dtype") == dtype and r["threads"] == threads and r["ratios"]
            ]
            if found:
                columns = [[ratios[name]["median"] for ratios in found if name in ratios] for name in OTHERS]
                cells = [f"{geometric_mean(column):.2f}" if column else "" for column in columns]
                rows.append(f"| {dtype}, {threads} thread(s) | {' | '.join(cells)} |")
    return "\n".join(rows)


def machine() -> str:
    """Return a Markdown list of what the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            row.partition(":")[2].strip() for row in cpuinfo.read_text().splitlines() if row.startswith("model name")
        ]
        model = names[0] if names else model
    import numpy as np

    from lstm_fast.workspace import small_products_pay

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    versions = []
    for package in ("numpy", "numba", "torch", "jax", "epynn", "scipy"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    return "\n".join(
        [
            f"- {datetime.date.today()}, {platform.system()}, {model}, {os.cpu_count()} processors",
            f"- NumPy only {'uses' if small_products_pay() else 'does not use'} small products, which need AVX-512",
            f"- Python {platform.python_version()}, {', '.join(versions)}",
            f"- NumPy's BLAS: {blas['name']} {blas['version']}",
        ]
    )


def table(results: list[dict[str, Any]], kind: str, threads: int, dtype: str) -> list[str]:
    """Return a Markdown table of one kind of call."""
    found = [r for r in results if r.get("dtype") == dtype and r["threads"] == threads and kind in r["ratios"]]
    names = [name for name in OTHERS if any(name in r["ratios"][kind] for r in found)]
    if not found:
        return []
    rows = [f"| {KINDS[kind]} | lstm_fast, ms | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for r in found:
        cells = [cell(r["ratios"][kind].get(name)) for name in names]
        rows.append(f"| {tuple(r['dims'])} | {1e3 * r['times'][kind]['lstm_fast']:.3g} | {' | '.join(cells)} |")
    return [*rows, ""]


def memory_table(results: list[dict[str, Any]]) -> list[str]:
    """Return a Markdown table of memory."""
    rows = []
    for r in results:
        for name, found in r.get("memory", {}).items():
            sizes = [f"{found[key] / 2**20:.3g}" for key in ("peak", "again", "inference")]
            held = found["held"] / found["needed"]
            rows.append(f"| {tuple(r['dims'])} {r['dtype']} | {name} | {held:.2f} | {' | '.join(sizes)} |")
    if not rows:
        return []
    return [
        "## Memory",
        "",
        "What is held after a forward and backward pass, over what BPTT needs: X, and per sample, step and unit cell",
        "h, both C, the gates and their cotangents; the parameters and gradients; both results. Peak: of the first two",
        "passes; again: allocated by one more, at most at any moment, the results included; inference: the same of a",
        "forward pass that keeps nothing. As `tracemalloc` sees it, so not PyTorch and JAX.",
        "",
        "| point | | held / needed | peak, MiB | again, MiB | inference, MiB |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def scaling_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the cost over s and over m, and its log-log slope."""
    rows = []
    for r in results:
        for name, found in r.get("scaling", {}).items():
            times = ", ".join(f"{name} = {size}: {1e3 * taken:.3g} ms" for size, taken in found["times"])
            rows.append(f"- {times}; log-log slope {found['slope']:.2f}")
    if not rows:
        return []
    return [
        "## Cost over steps and samples",
        "",
        "Forward + backward, float32, e = 64, u = 128, one thread; m = 16 and s = 64.",
        "",
        *rows,
        "",
    ]


def draw(path: Path, lines: Callable[..., None], panels: int = 1) -> bool:
    """Draw an SVG of so many panels side by side, each an argument of `lines`; return whether matplotlib is there."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lstm-checks"  # the same file for the same figures
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, panels, figsize=(5.5 * panels, 4), sharey=True, squeeze=False, layout="constrained")
    lines(*axes[0])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def plot(directory: Path, results: list[dict[str, Any]]) -> list[str]:
    """Draw one SVG a dtype; return the Markdown that shows them, or nothing without matplotlib."""
    shown = []
    for dtype in ("float32", "float64"):
        found = [r for r in results if r.get("dtype") == dtype and r["ratios"]]
        name = f"benchmarks-{dtype}.svg"
        counts = sorted({r["threads"] for r in found})
        if found and draw(directory / name, partial(_ratios, found, counts, dtype), len(counts)):
            shown.append(f"![Forward + backward over lstm_fast's time, {dtype}]({name})")
    return [*shown, ""]


def _ratios(found: list[dict[str, Any]], counts: list[int], dtype: str, *axes: Any) -> None:
    """Draw the ratios over the points, one panel a number of threads."""
    points = list(dict.fromkeys(tuple(r["dims"]) for r in found))
    for axis, threads in zip(axes, counts, strict=True):
        for name in ("PyTorch", "JAX", "lstm_ref", "EpyNN", "floor"):
            at = [r for r in found if r["threads"] == threads and name in r["ratios"]["both"]]
            if at:
                middle = [r["ratios"]["both"][name] for r in at]
                where = [points.index(tuple(r["dims"])) for r in at]
                spread = [[q["median"] - q["low"] for q in middle], [q["high"] - q["median"] for q in middle]]
                axis.errorbar(where, [q["median"] for q in middle], spread, marker="o", capsize=2, label=name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_xticks(range(len(points)), [",".join(map(str, p)) for p in points], rotation=40, ha="right")
        axis.set_title(f"{dtype}, {threads} thread(s)")
    axes[0].set_ylabel("time over lstm_fast's")
    # Below the panels: there is no corner in which no line runs.
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)


def replace_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and say so."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text.rstrip() + "\n")
    scratch.replace(path)
    print(f"wrote {path}")


def write_document(
    directory: Path, results: list[dict[str, Any]], options: argparse.Namespace, command: str, seconds: float
) -> None:
    """Write benchmarks.md and its plots into a directory, whole or not at all."""
    clock = "" if options.clock == "wall" else "\nTimes are processor time: the machine was busy with other work.\n"
    parts = [HEAD.format(command=command, minutes=seconds / 60, machine=machine()) + clock]
    parts += [means(results), "", *plot(directory, results)]
    for dtype in options.dtype:
        for threads in options.threads:
            parts += [f"## {dtype}, {threads} thread(s)", ""]
            for kind in ("both", "forward", "inference"):
                parts += table(results, kind, threads, dtype)
    parts += memory_table(results) + scaling_table(results)
    replace_text(directory / "benchmarks.md", "\n".join(parts))
