"""Judge LSTMs on a GPU: cuDNN's in each precision, and one with a kernel of its own; writes the table of docs/gpu.md.

python -m benchmarks.on_gpu                          # with an NVIDIA GPU and PyTorch, eight minutes at most
python -m benchmarks.on_gpu --device cpu --examples 12 --print     # how far it goes without one

The arrays are moved to the device and back, and everything else of the harness is as always. What was not run, as the
time was over, is said.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_cells import HandWritten
from lstm_checks.cases import Case
from lstm_checks.files import replace_file, with_figures
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.contracts import measure
from lstm_checks.judging.reports import Report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, to_target

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
LONG_SUMS = ((1, 2, 96, 1), (2, 1, 120, 1), (2, 2, 64, 1), (96, 1, 2, 1), (64, 2, 1, 1), (120, 1, 1, 1))
"""Sizes with many terms in a product, and few entries."""

TABLE = ("LSTM", "judged in", "verdict", "what the report says", "second order", "seconds")


class Autocast(torch.nn.Module):
    """A module under autocast."""

    def __init__(self, inner: torch.nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.device, self.dtype = inner, device, dtype

    def forward(self, X: torch.Tensor, states: Any = None) -> Any:
        """Return what the module does, computed in low precision."""
        with torch.autocast(self.device, self.dtype):
            return self.inner(X, states)


@dataclass(frozen=True)
class Row:
    """One LSTM: its name, what makes it of sizes e and u, and how it is judged.

    Attributes
    ----------
    dtypes : tuple of str
        The formats it is judged in; those that its kind is judged in where empty.
    tf32 : bool
        Whether PyTorch may take TF32 for products of float32.
    sums : bool
        Whether it takes long sums to tell what it is.
    """

    name: str
    make: Callable[[int, int], torch.nn.Module]
    dtypes: tuple[str, ...] = ()
    tf32: bool = False
    sums: bool = False


def rows(device: str) -> list[Row]:
    """Return what is judged on a device."""

    def lstm(dtype: torch.dtype = torch.float32) -> Callable[[int, int], torch.nn.Module]:
        return lambda e, u: torch.nn.LSTM(e, u, batch_first=True, device=device, dtype=dtype)

    def autocast(dtype: torch.dtype) -> Callable[[int, int], torch.nn.Module]:
        return lambda e, u: Autocast(lstm()(e, u), device, dtype)

    def hand(dtype: torch.dtype, short: bool) -> Callable[[int, int], torch.nn.Module]:
        return lambda e, u: HandWritten(e, u, short).to(device, dtype)

    half, bfloat16 = torch.float16, torch.bfloat16
    return [
        Row("nn.LSTM, float32", lstm(), ("float32",)),
        Row("nn.LSTM, float32 with TF32 allowed", lstm(), ("float32",), tf32=True),
        Row("the same, judged as TF32", lstm(), ("tf32",), tf32=True),
        Row("nn.LSTM, float16", lstm(half)),
        Row("nn.LSTM, bfloat16", lstm(bfloat16)),
        Row("nn.LSTM, autocast to float16", autocast(half)),
        Row("nn.LSTM, autocast to bfloat16", autocast(bfloat16)),
        Row("by hand, float16, sums in float32", hand(half, False), sums=True),
        Row("by hand, float16, sums in float16", hand(half, True), sums=True),
        Row("by hand, bfloat16, sums in float32", hand(bfloat16, False), sums=True),
        Row("by hand, bfloat16, sums in bfloat16", hand(bfloat16, True), sums=True),
    ]


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32, or forbid it, in cuBLAS and cuDNN."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = allowed
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value


def judge(row: Row, examples: int, repeat: int) -> tuple[str, ...]:
    """Return a row of the table."""
    try:
        target = to_target(lambda input_size, hidden_size: row.make(input_size, hidden_size), row.name)
    except TargetError as error:
        return (row.name, "", "refused", str(error), "", "")
    with tf32(row.tf32):
        report = verify(target, examples=examples, dtypes=row.dtypes or None, repeat=repeat)
        if row.sums:
            cases = [Case(*dims, dtype=target.dtypes[0], seed=k) for k, dims in enumerate(LONG_SUMS)]
            measured = measure(target, [verify_case(target, case, thorough=False) for case in cases])
            lines = ("rounding drowns what would tell how it sums",) if measured is None else measured.lines
            report = replace(report, contract=lines)
    dtypes = " and ".join(row.dtypes or dict.fromkeys(one.case.dtype for one in report.examples))
    verdict = "fails" if report.exit_code == 1 else "passes" if report.exit_code == 0 else "not judged"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items() if count)
    order = report.claim_counts.get("second order")
    second = report.not_asked.get("second order") or (
        ", ".join(f"{n} {word}" for word, n in order.items()) if order else "not among the questions drawn"
    )
    return (row.name, dtypes, f"{verdict}: {counts}", "; ".join(_said(report)), second, f"{report.seconds:.0f}")


def _said(report: Report) -> Iterator[str]:
    """Yield what a report says of a target's precision and repeatability, or of what is wrong."""
    if report.failure is not None:
        yield f"first in {report.failure.case.descriptor}: {report.failure.failures[0].discrepancy}"
        if found := report.failure.diagnosis:
            yield from (named.title for named in found.suspects if named.certain)
            yield from found.relations
    yield from report.contract
    counts = report.claim_counts.get("repeatable", {})
    yield "the same again: " + ", ".join(f"{n} {word}" for word, n in counts.items())


def run(device: str, examples: int, repeat: int, minutes: float) -> list[tuple[str, ...]]:
    """Return the table's rows; those for which there was no time say so."""
    start, found = time.monotonic(), []
    for row in rows(device):
        spent = time.monotonic() - start
        # A row takes about as long as those before it.
        if found and spent + spent / len(found) > 60 * minutes:
            found.append((row.name, "", "not run: out of time", "", "", ""))
            continue
        found.append(judge(row, examples, repeat))
        print(" | ".join(found[-1]), flush=True)
    return found


def as_page(found: Sequence[Sequence[str]], device: str, command: str) -> str:
    """Return the table with where and how it was made."""
    what = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} processor, no GPU"
    made = f"{what}; PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; `{command}`"
    lines = [TABLE, ["---"] * len(TABLE), *([cell.replace("|", "\\|") for cell in row] for row in found)]
    return f"{made}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--examples", type=int, default=40, help="examples of each LSTM (default: 40)")
    parser.add_argument("--repeat", type=int, default=5, help="calls compared to the bit in each example (default: 5)")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long at most (default: 8)")
    parser.add_argument("--print", action="store_true", help="print the table, and write no page")
    said = parser.parse_args(arguments)
    if said.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here, expected an NVIDIA GPU with CUDA; --device cpu goes as far as it can")
    found = run(said.device, said.examples, said.repeat, said.minutes)
    command = f"python -m benchmarks.on_gpu --device {said.device} --examples {said.examples}"
    table = as_page(found, said.device, command)
    if said.print or said.device != "cuda":
        print(table)
        return 0
    replace_file(PAGE, with_figures(PAGE.read_text(encoding="utf-8"), table))
    print(f"written to {PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
