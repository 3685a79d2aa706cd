"""Time the checks themselves: over the number of entries N, with torch.gradcheck beside them, and on default examples.

Run ``make bench``, or ``python -m benchmarks.bench_checks``. Each is timed after it has passed on the very case. It
writes docs/check-times.md and its plot.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.render import draw, machine, replace_text
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.complex_step import complex_step_gradient
from lstm_checks.oracles.expected import expect
from lstm_checks.strategies import draw_cases
from lstm_checks.targets.load import load_target

ROOT = Path(__file__).resolve().parent.parent

SIZES = [(2, 3, 2, 2), (3, 4, 3, 4), (4, 6, 5, 9), (4, 12, 8, 16), (8, 12, 16, 32), (8, 12, 32, 64), (8, 16, 64, 128)]

VERIFY, STEP, SLOW, FAST = "verify, one example", "complex step, every entry", "torch.gradcheck", "its fast mode"

#: Methods that go through the entries one by one stop here.
MOST = {STEP: 6000, SLOW: 1000}

HEAD = """# How long the checks take

Written by `python -m benchmarks.bench_checks` (part of `make bench`); one thread, float64, medians in milliseconds. N
is the number of gradient entries: of the twelve parameters, X, h0 and C0. *{verify}* is `lstm-checks verify`
on `lstm_fast`, all its claims included; *{step}* is the reference's gradient from its forward pass
alone; *{slow}* is PyTorch's own, of its `nn.LSTM` of the same sizes (whose two biases make N a little
larger), at its default tolerances.

{machine}

The default 100 examples (seed 0): {total:.1f} s in all, {median:.0f} ms each in the median, {most:.0f} ms at most.

| (m, s, e, u) | N | {methods} |
|---|---|{rule}
"""


def gradcheck_of(case: Case, fast: bool) -> Callable[[], Any] | None:
    """Return a call of torch.gradcheck on nn.LSTM of a case's sizes; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = torch.nn.LSTM(case.e, case.u, batch_first=True, dtype=torch.float64)
    names, weights = zip(*module.named_parameters(), strict=True)
    arrays = case.arrays
    own = [
        torch.tensor(x, requires_grad=True) for x in (arrays["X"], arrays["h0"][np.newaxis], arrays["C0"][np.newaxis])
    ]

    def forward(X: Any, h0: Any, C0: Any, *given: Any) -> Any:
        h, (_, Cn) = torch.func.functional_call(module, dict(zip(names, given, strict=True)), (X, (h0, C0)))
        return h, Cn

    return lambda: torch.autograd.gradcheck(forward, (*own, *weights), fast_mode=fast)


def methods_for(case: Case) -> dict[str, Callable[[], Any]]:
    """Return what is timed on a case."""
    target = load_target("lstm_fast:LSTM")
    found: dict[str, Any] = {
        VERIFY: lambda: verify_case(target, case),
        STEP: lambda: complex_step_gradient(case),
        SLOW: gradcheck_of(case, fast=False),
        FAST: gradcheck_of(case, fast=True),
    }
    return {n: call for n, call in found.items() if call is not None and case.size <= MOST.get(n, case.size)}


def check(case: Case) -> None:
    """Raise AssertionError unless the target passes and the complex step gives the gradient."""
    report = verify_case(load_target("lstm_fast:LSTM"), case)
    assert report.verdict is Verdict.PASS, report
    if case.size <= MOST[STEP]:
        found, due = complex_step_gradient(case), expect(case).values
        apart = max(float(np.max(np.abs(value - due[f"d{name}"]))) for name, value in found.items())
        assert apart <= 1e-11, f"the complex step is {apart} off the reference"


def median_time(call: Callable[[], Any], seconds: float) -> float:
    """Return the median time of a call, called at least three times and for so long."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_sizes(sizes: list[tuple[int, int, int, int]], seconds: float) -> list[dict[str, Any]]:
    """Return the times by method for each size, and print them."""
    results = []
    for dims in sizes:
        case = Case(*dims, seed=1)
        check(case)
        times = {name: median_time(call, seconds) for name, call in methods_for(case).items()}
        results.append({"dims": dims, "N": case.size, "times": times})
        print(f"N={case.size:<7} " + "   ".join(f"{n} {t * 1e3:.1f} ms" for n, t in times.items()), flush=True)
    return results


def measure_examples(count: int) -> list[float]:
    """Return the time of each default example; raises AssertionError should one fail."""
    target, cases = load_target("lstm_fast:LSTM"), list(draw_cases(count, 0))
    times = []
    for case in cases:
        start = time.perf_counter()
        report = verify_case(target, case)
        times.append(time.perf_counter() - start)
        assert not report.failures, report
    return times


def write_document(directory: Path, results: list[dict[str, Any]], examples: list[float]) -> None:
    """Write check-times.md and its plot into a directory, whole or not at all."""
    methods = (VERIFY, STEP, SLOW, FAST)
    text = HEAD.format(
        verify=VERIFY,
        step=STEP,
        slow=SLOW,
        machine=machine(),
        total=sum(examples),
        median=1e3 * statistics.median(examples),
        most=1e3 * max(examples),
        methods=" | ".join(methods),
        rule="---|" * len(methods),
    )
    for result in results:
        cells = [f"{1e3 * result['times'][n]:.1f}" if n in result["times"] else "" for n in methods]
        text += f"| {result['dims']} | {result['N']} | {' | '.join(cells)} |\n"

    def lines(axis: Any) -> None:
        for name in methods:
            at = [r for r in results if name in r["times"]]
            axis.loglog([r["N"] for r in at], [1e3 * r["times"][name] for r in at], marker="o", label=name)
        axis.set_xlabel("gradient entries N")
        axis.set_ylabel("ms")
        axis.legend()

    if draw(directory / "check-times.svg", lines):
        text += "\n![Time over N](check-times.svg)\n"
    replace_text(directory / "check-times.md", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure, at least three calls")
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    measure_examples(min(10, options.examples))
    examples = measure_examples(options.examples)
    print(f"{len(examples)} examples {sum(examples):.2f} s, median {1e3 * statistics.median(examples):.1f} ms")
    write_document(ROOT / "docs", measure_sizes(SIZES, options.seconds), examples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
