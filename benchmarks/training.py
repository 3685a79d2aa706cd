"""Time the steps of examples/train.py beside the same in PyTorch, taking turns, and measure the memory of either.

Run ``python -m benchmarks.training``; ``--clock cpu`` for a machine that is busy. Both begin with the same parameters
and see the same batches, and their losses must agree before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_layers import environment, ratio, take_turns
from benchmarks.peers import make_problem
from lstm_fast import LSTM, Adam

#: Samples, steps, elements and unit cells of the script, and of something larger.
SIZES = [((64, 30, 2, 32), "float64"), ((64, 30, 2, 32), "float32"), ((64, 64, 128, 256), "float32")]
RATE = 0.005

#: Steps after which the losses must agree, and then those of which the memory is measured.
AGREEING, MEASURED = 5, 20

Step = Callable[[], float]


def problem(dims: tuple[int, ...], dtype: str) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """Return a layer's inputs and parameters, what is due (m, 1), and the first parameters of the head."""
    rng = np.random.default_rng(0)
    found = make_problem(*dims, dtype)
    head = {"W": rng.standard_normal((dims[3], 1)) / dims[3], "c": np.zeros((1, 1))}
    return found, found.X.sum(axis=(1, 2))[:, None], {name: value.astype(dtype) for name, value in head.items()}


def ours(dims: tuple[int, ...], dtype: str) -> Step:
    """Return a step of training with `lstm_fast`, which returns the loss before it."""
    given, due, head = problem(dims, dtype)
    layer = LSTM(given.u, dtype=given.dtype)
    layer.compute_shapes(given.X)
    layer.p = given.p
    optimizers = Adam(layer.p, rate=RATE), Adam(head, rate=RATE)

    def step() -> float:
        h = layer.forward(given.X)
        error = h @ head["W"] + head["c"] - due
        dy = 2 * error / len(error)
        layer.backward(dy @ head["W"].T)
        layer.compute_gradients()
        optimizers[0].step(layer.g)
        optimizers[1].step({"dW": h.T @ dy, "dc": dy.sum(axis=0, keepdims=True)})
        return float(np.mean(np.square(error)))

    return step


def theirs(dims: tuple[int, ...], dtype: str) -> Step:
    """Return the same with PyTorch."""
    import torch

    torch.set_num_threads(1)
    given, due, head = problem(dims, dtype)
    layer = torch.nn.LSTM(given.e, given.u, batch_first=True, dtype=getattr(torch, dtype))
    last = torch.nn.Linear(given.u, 1, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for kind, target in (("U", layer.weight_ih_l0), ("V", layer.weight_hh_l0), ("b", layer.bias_ih_l0)):
            blocks = np.concatenate([given.p[kind + gate].T for gate in "ifgo"])
            target.copy_(torch.tensor(blocks).reshape(target.shape))
        layer.bias_hh_l0.zero_()
        layer.bias_hh_l0.requires_grad_(False)
        last.weight.copy_(torch.tensor(head["W"].T))
        last.bias.zero_()
    parameters = [p for p in (*layer.parameters(), *last.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    X, target = torch.tensor(given.X), torch.tensor(due)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(last(layer(X)[1][0][0]), target)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


MAKERS = {"lstm_fast": ours, "PyTorch": theirs}


def peak() -> float:
    """Return the most memory that this process has held, in MiB, as Linux says it."""
    # Not getrusage: what that says is also of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory(name: str, index: int) -> float:
    """Return by how many MiB a process grows, at most, over making a model and taking some steps, in a new process."""
    command = [sys.executable, "-m", "benchmarks.training", "--child", name, str(index)]
    return float(subprocess.run(command, env=environment(1), check=True, capture_output=True, text=True).stdout)


def child(name: str, index: int) -> float:
    """Return the same of this process."""
    MAKERS[name]((2, 2, 2, 2), SIZES[index][1])()  # what is imported, compiled and allocated once
    before = peak()
    step = MAKERS[name](*SIZES[index])
    for _ in range(MEASURED):
        step()
    return peak() - before


def main() -> int:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each size")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(child(options.child[0], int(options.child[1])))
        return 0
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    for index, size in enumerate(SIZES):
        steps = {name: make(*size) for name, make in MAKERS.items()}
        losses = [[step() for step in steps.values()] for _ in range(AGREEING)]
        tolerance = 1e4 * np.finfo(size[1]).eps
        if not all(abs(a - b) <= tolerance * max(a, b) for a, b in losses):
            print(f"{size}: the losses differ, so nothing is timed: {losses}")
            return 1
        times = take_turns(steps, options.seconds, clock)
        apart = ratio(times["PyTorch"], times["lstm_fast"])
        print(
            f"{size[0]} {size[1]}: a step takes "
            + ", ".join(f"{name} {1e3 * statistics.median(taken):.3g} ms" for name, taken in times.items())
            + f" (ratio {apart['median']:.2f} [{apart['low']:.2f}, {apart['high']:.2f}]); memory at most "
            + ", ".join(f"{name} {memory(name, index):.0f} MiB" for name in steps),
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
