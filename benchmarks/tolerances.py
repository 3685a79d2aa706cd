"""What a right LSTM may be off by, by format, size and number of steps: the table of docs/tolerances.md, to be quoted.

python -m benchmarks.tolerances            # some minutes; writes the page
python -m benchmarks.tolerances --print    # prints the table
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.files import replace_file, with_figures
from lstm_checks.oracles.expected import expect

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tolerances.md"
FORMATS = ("float64", "float32", "tf32", "float16+gates32", "bfloat16+gates32", "bfloat16+accumulate32", "bfloat16")
SIZES = ((4, 1, 8, 8), (4, 10, 8, 8), (4, 100, 8, 8), (4, 1, 64, 64), (4, 10, 64, 64), (4, 30, 64, 64))
SEEDS = 3
COLUMNS = {"h": ("h",), "Cn": ("Cn",), "dX": ("dX",), "dU": ("dUf", "dUi", "dUg", "dUo")}
COLUMNS |= {"dV": ("dVf", "dVi", "dVg", "dVo"), "db": ("dbf", "dbi", "dbg", "dbo")}


def tolerances(form: str, dims: tuple[int, ...], regime: str = "init") -> dict[str, float]:
    """Return the largest error that is accepted over the largest value, a tensor, in the median of a few draws.

    It is NaN where rounding drowns the answer in one of them.
    """
    found: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for seed in range(SEEDS):
        due = expect(Case(*dims, dtype=form, regime=regime, seed=seed))
        for name, tensors in COLUMNS.items():
            accepted = max(float(np.max(tolerance.accepted(due.sd[t], form))) for t in tensors)
            largest = max(float(np.max(np.abs(due.values[t]))) for t in tensors)
            found[name].append(np.nan if due.chaotic(tensors) else accepted / largest)
    return {name: float(np.median(values)) for name, values in found.items()}


def table() -> str:
    """Return the table."""
    lines = [f"| format | m, s, e, u | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for form in FORMATS:
        for dims in SIZES:
            found = tolerances(form, dims)
            cells = ["-" if np.isnan(value) else f"{value:.1e}" for value in found.values()]
            lines.append(f"| {form} | {', '.join(map(str, dims))} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Work the table out, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print the table, and write no page")
    said = parser.parse_args(arguments)
    found = table()
    if not said.print:
        replace_file(PAGE, with_figures(PAGE.read_text(encoding="utf-8"), found))
        print(f"written to {PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
