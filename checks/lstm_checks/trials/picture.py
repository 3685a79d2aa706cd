"""The kill matrix as text, as plain dicts, as the figures of a Markdown document, and as a picture."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lstm_checks.extras import MissingExtra
from lstm_checks.faults.catalogue import find
from lstm_checks.files import BEGIN, END, with_figures
from lstm_checks.trials.kill_matrix import METHODS, TORCH, Matrix

SCHEMA = "lstm-checks/kill-matrix/1"
TITLE = "# The kill matrix\n\n"
_COUNTS = (1, 10, 100)


def render_matrix(matrix: Matrix) -> str:
    """Return what each method killed, a line a method."""
    head, rows = ["method", *_summary_head(matrix)], _summary_rows(matrix)
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    lines = [f"{len(matrix.faults)} faults, {_setting(matrix)}", ""]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells))
    return "\n".join([*lines, *([f"  note      {text}" for text in _real(matrix)])])


def matrix_to_json(matrix: Matrix) -> dict[str, Any]:
    """Return the matrix as plain values, percent by fault and method."""
    percent, alarms = matrix.percent, matrix.alarm_percent
    survivors = {n: matrix.survivors(n) for n in _counts(matrix)}
    return {
        "schema": SCHEMA,
        "seed": matrix.seed,
        "cases": [case.descriptor for case in matrix.cases],
        "methods": {
            name: {
                "false_alarms": float(alarms[k]),
                "survivors": {str(n): float(counts[k]) for n, counts in survivors.items()},
                "alive": list(matrix.alive(name)),
            }
            for k, name in enumerate(METHODS)
        },
        "percent": {
            fault: dict(zip(METHODS, map(float, row), strict=True))
            for fault, row in zip(matrix.faults, percent, strict=True)
        },
    }


def replace_figures(page: str, matrix: Matrix, picture: str) -> str:
    """Return a Markdown document with its figures replaced; an empty one gets a title.

    Raises
    ------
    ValueError
        When the document has no place for figures.
    """
    return with_figures(page or f"{TITLE}{BEGIN}\n{END}\n", _figures(matrix, picture))


def _figures(matrix: Matrix, picture: str) -> str:
    """Return the tables as Markdown."""
    parts = [f"{len(matrix.faults)} faults, {_setting(matrix)}."]
    parts.append(_table(["method", *_summary_head(matrix)], _summary_rows(matrix)))
    parts += [f"{text[0].upper()}{text[1:]}." for text in _real(matrix)]
    parts += [f"![Survivors, and the percentage of examples that kill each fault]({picture})"]
    parts.append("### By family\n\nPercent of examples that kill a fault, on average over the family.")
    parts.append(_table(["family", "faults", *METHODS], _family_rows(matrix)))
    parts.append(f"### Never killed\n\nFaults that a method kills on none of the {len(matrix.cases)} examples.")
    for name in METHODS:
        alive = matrix.alive(name)
        parts.append(f"- **{name}**, {len(alive)}: {', '.join(f'`{fault}`' for fault in alive) or 'none'}")
    parts.append("### Every fault\n\nPercent of examples that kill it.")
    rows = [[f"`{fault}`", *map(_percent, row)] for fault, row in zip(matrix.faults, matrix.percent, strict=True)]
    parts.append(_table(["fault", *METHODS], rows))
    return "\n\n".join(parts)


def _setting(matrix: Matrix) -> str:
    """Return on what the methods were tried."""
    of = "" if matrix.cell.name == "plain" else f", cell {matrix.cell.name}"
    return f"{len(matrix.cases)} examples, seed {matrix.seed}{of}"


def _counts(matrix: Matrix) -> tuple[int, ...]:
    """Return after how many examples survivors are counted."""
    return tuple(dict.fromkeys(min(n, len(matrix.cases)) for n in _COUNTS))


def _summary_head(matrix: Matrix) -> list[str]:
    """Return the heading of the summary, but for the method."""
    return ["kills, %", *(f"alive after {n}" for n in _counts(matrix)), "false alarms, %"]


def _summary_rows(matrix: Matrix) -> list[list[str]]:
    """Return a row for each method."""
    survivors = [matrix.survivors(n) for n in _counts(matrix)]
    kills, alarms = np.mean(matrix.percent, axis=0), matrix.alarm_percent
    return [
        [name, _percent(kills[k]), *(f"{counts[k]:.0f}" for counts in survivors), _percent(alarms[k])]
        for k, name in enumerate(METHODS)
    ]


def _real(matrix: Matrix) -> list[str]:
    """Return a sentence on PyTorch's own gradcheck, where it was asked."""
    if matrix.real is None:
        return []
    real, ours = matrix.real.kills, matrix.kills[:, list(METHODS).index(TORCH)][:, list(matrix.real.examples)]
    return [
        f"PyTorch's own gradcheck on {real.shape[1]} of the examples kills {100 * np.mean(real):.0f} %, its tolerances "
        f"as applied here {100 * np.mean(ours):.0f} %, with one verdict in {100 * np.mean(real == ours):.0f} % of all"
    ]


def _family_rows(matrix: Matrix) -> list[list[str]]:
    """Return a row for each family."""
    rows = []
    for family, chosen in _families(matrix):
        means = np.mean(matrix.percent[chosen], axis=0)
        rows.append([f"`{family}`", str(len(chosen)), *map(_percent, means)])
    return rows


def _families(matrix: Matrix) -> Iterator[tuple[str, list[int]]]:
    """Yield each family with the indices of its faults."""
    of = [find(fault, matrix.cell).family for fault in matrix.faults]
    for family in dict.fromkeys(of):
        yield family, [k for k, other in enumerate(of) if other == family]


def _percent(value: float) -> str:
    """Return a percentage; what is not zero is not shown as zero, nor as 100 what is less."""
    return f"{value:.0f}" if value in (0, 100) or 1 <= value <= 99 else f"{value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def need_matplotlib() -> Any:
    """Return Matplotlib, set to draw the same SVG each time.

    Raises
    ------
    MissingExtra
        With the command that installs it.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtra("the picture needs Matplotlib: pip install matplotlib") from error
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "kill-matrix", "svg.fonttype": "none", "font.size": 9}
    return mpl


def draw_matrix(matrix: Matrix) -> str:
    """Return the picture as SVG: survivors against examples, and the percentages of every fault, by family."""
    need_matplotlib()
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 7), layout="constrained", width_ratios=(1, 1.1))
    counts = np.arange(1, len(matrix.cases) + 1)
    survivors = np.array([matrix.survivors(int(n)) for n in counts])
    for k, name in enumerate(METHODS):
        left.plot(counts, survivors[:, k], label=name, linewidth=3 if k == len(METHODS) - 1 else 1.3)
    left.set(xscale="log", xlabel="examples", ylabel="faults alive", ylim=(0, None), title="Survivors")
    left.legend(frameon=False)
    shown = right.imshow(matrix.percent, aspect="auto", cmap="viridis", vmin=0, vmax=100, interpolation="nearest")
    right.set_xticks(range(len(METHODS)), METHODS, rotation=35, ha="right")
    ticks, labels = [], []
    for family, chosen in _families(matrix):
        right.axhline(chosen[0] - 0.5, color="white", linewidth=0.6)
        ticks.append((chosen[0] + chosen[-1]) / 2)
        labels.append(family)
    right.set_yticks(ticks, labels)
    right.set_title(f"Examples that kill, of {len(matrix.faults)} faults")
    figure.colorbar(shown, ax=right, label="%")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()
