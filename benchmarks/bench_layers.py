"""Time lstm_fast beside lstm_ref, EpyNN, JAX, PyTorch and its own matrix products, all taking turns in one process.

Run ``make bench``, or ``python -m benchmarks.bench_layers --points 2 3 --dtype float32 --threads 1``. Every
implementation's results and gradients are compared with lstm_ref's first; one that differs is not timed. A ratio is
the other's time over lstm_fast's in the same round (above 1, lstm_fast is faster); given are the median over the
rounds and the quartiles. A run of the whole grid writes docs/benchmarks.md and its plots.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

GRID = [
    (1, 8, 4, 8),
    (4, 16, 8, 16),
    (32, 32, 32, 64),
    (16, 128, 64, 128),
    (64, 64, 128, 256),
    (128, 64, 256, 512),
    (256, 32, 64, 128),
    (8, 512, 32, 64),
]

#: Where the cost over s and over m is measured: (s, and m at s = 64), e = 64, u = 128.
STEPS = [64, 256, 1024]
SAMPLES = [64, 256, 1024]
SCALING_SECONDS = 10.0

#: Calls are repeated until a measurement takes this many seconds: well above the clock's resolution.
SHORTEST = 2e-3

#: An implementation slower than this share of a point's time is called in the first three rounds only.
LARGEST_SHARE = 0.05


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--points", type=int, nargs="+", choices=range(len(GRID)), help="indices of the grid; all")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="implementations beside lstm_fast; all")
    parser.add_argument("--seconds", type=float, default=8.0, help="per grid point, dtype and number of threads")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: this process's time, for a machine that is busy"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md whatever was measured")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def take_turns(
    calls: dict[str, Callable[[], Any]], seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return every call's times in seconds, by round; slow ones have fewer rounds."""
    repeats, slow = {}, set()
    for name, call in calls.items():
        start = clock()
        call()
        taken = max(clock() - start, 1e-9)
        repeats[name] = max(1, int(SHORTEST / taken))
        if taken > LARGEST_SHARE * seconds:
            slow.add(name)
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            if rounds >= 3 and name in slow:
                continue
            start = clock()
            for _ in range(repeats[name]):
                call()
            times[name].append((clock() - start) / repeats[name])
        rounds += 1
    return times


def ratio(others: list[float], own: list[float]) -> dict[str, float]:
    """Return the median and quartiles of other / own, round by round."""
    ratios = [a / b for a, b in zip(others, own, strict=False)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"low": low, "median": middle, "high": high, "rounds": len(ratios)}


def measure_point(dims: tuple[int, int, int, int], dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return times and ratios at one point: by what is done, then by implementation."""
    from benchmarks.floor import floor
    from benchmarks.peers import disagreement, make_problem, peers

    clock = time.perf_counter if options.clock == "wall" else time.process_time
    problem = make_problem(*dims, dtype)
    wanted = []
    refused = {}
    expected: dict[str, Any] = {}
    for peer in peers(problem):
        expected = expected or peer.gradients()  # lstm_ref comes first
        if options.only and peer.name not in {*options.only, "lstm_fast"}:
            continue
        problem_found = disagreement(peer, expected)
        if problem_found:
            refused[peer.name] = problem_found
        else:
            wanted.append(peer)
    if "lstm_fast" in refused:
        return {"dims": dims, "dtype": dtype, "refused": refused, "times": {}, "ratios": {}}
    wanted.append(floor(problem))
    result: dict[str, Any] = {"dims": dims, "dtype": dtype, "refused": refused, "times": {}, "ratios": {}}
    for kind, share in (("inference", 0.2), ("forward", 0.2), ("both", 0.6)):
        calls = {peer.name: getattr(peer, kind) for peer in wanted if getattr(peer, kind) is not None}
        if kind == "forward":
            calls["floor"] = wanted[-1].inference
        times = take_turns(calls, share * options.seconds, clock)
        result["times"][kind] = {name: statistics.median(taken) for name, taken in times.items()}
        result["ratios"][kind] = {
            name: ratio(taken, times["lstm_fast"]) for name, taken in times.items() if name != "lstm_fast"
        }
    return result


def measure_scaling(clock: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """Return lstm_fast's forward + backward times over s and over m, float32, and their log-log slope.

    The slope is that of the largest size's time over the smallest's in the same round, in the median.
    """
    import lstm_fast
    from benchmarks.peers import make_problem, ours

    found = {}
    for name, sizes in (("s", STEPS), ("m", SAMPLES)):
        calls, a, b = {}, sizes[0], sizes[-1]
        for size in sizes:
            m, s = (16, size) if name == "s" else (size, 64)
            calls[str(size)] = ours(make_problem(m, s, 64, 128, "float32"), lstm_fast).both
        times = take_turns(calls, SCALING_SECONDS, clock)
        slope = math.log(ratio(times[str(b)], times[str(a)])["median"]) / math.log(b / a)
        medians = [(size, statistics.median(times[str(size)])) for size in sizes]
        found[name] = {"times": medians, "slope": slope}
    return found


def child(options: argparse.Namespace) -> None:
    """Measure everything for one number of threads and print a line of JSON for each result."""
    import numpy as np

    from benchmarks.memory import measure_memory
    from benchmarks.peers import make_problem

    threads = options.threads[0]
    if not options.only or "PyTorch" in options.only:
        try:
            import torch

            torch.set_num_threads(threads)
        except ImportError:
            pass
    for dtype in options.dtype:
        for k in range(len(GRID)) if options.points is None else options.points:
            result = measure_point(GRID[k], dtype, options)
            if threads == 1 and not options.only:
                result["memory"] = (
                    measure_memory(make_problem(*GRID[k], dtype)) if np.prod(GRID[k][:2]) * GRID[k][3] < 2**22 else {}
                )
            print(json.dumps(result), flush=True)
    if threads == 1 and options.points is None and not options.only:
        clock = time.perf_counter if options.clock == "wall" else time.process_time
        print(json.dumps({"scaling": measure_scaling(clock)}), flush=True)


def environment(threads: int) -> dict[str, str]:
    """Return the environment in which every library uses this many threads; they read it when they are loaded."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "XLA_FLAGS": flags,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def measure(threads: int, options: argparse.Namespace, arguments: list[str]) -> list[dict[str, Any]]:
    """Run a child process, print each result as it comes, and return them all."""
    from benchmarks.render import line

    command = [sys.executable, "-m", "benchmarks.bench_layers", "--child", *arguments, "--threads", str(threads)]
    results = []
    with subprocess.Popen(command, env=environment(threads), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            result = {"threads": threads, **json.loads(text)}
            results.append(result)
            if "dims" in result:
                print(line(result), flush=True)
    if process.returncode:
        raise SystemExit(f"the measurements with {threads} thread(s) ended with exit code {process.returncode}")
    return results


def main() -> int:
    """Measure, print, and write the document; return 1 if anything disagreed."""
    arguments = sys.argv[1:]
    options = parse(arguments)
    if options.child:
        child(options)
        return 0
    from benchmarks.render import means, write_document

    start = time.perf_counter()
    print("The other's time over lstm_fast's: PyTorch, and the others for forward+backward; [quartiles]")
    results = [result for threads in options.threads for result in measure(threads, options, arguments)]
    print(means(results))
    complete = options.points is None and not options.only and len(options.dtype) == 2
    if complete or options.write:
        command = "make bench" + (f' BENCH="{" ".join(arguments)}"' if arguments else "")
        write_document(ROOT / "docs", results, options, command, time.perf_counter() - start)
    return int(any(result.get("refused") for result in results))


if __name__ == "__main__":
    sys.exit(main())
