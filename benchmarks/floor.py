"""The floor: the matrix products that lstm_fast makes without Numba, on the same buffers, and nothing else.

They are recorded while lstm_fast runs without its compiled passes, by standing in for np.matmul, and then played back
by as many threads. The compiled passes have products of their own, and may be below it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import lstm_fast
from benchmarks.peers import Peer, Problem, switched_off
from lstm_fast.threads import blas_in_one_thread

Product = tuple[np.ndarray, np.ndarray, np.ndarray]


def record(run: Callable[[], Any]) -> list[list[Product]]:
    """Return the products that `run` makes, one list for each thread that makes any."""
    real, calls = np.matmul, {}

    def spy(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> np.ndarray:
        calls.setdefault(threading.get_ident(), []).append((left, right, out))
        return real(left, right, out=out)

    np.matmul = spy
    try:
        run()
    finally:
        np.matmul = real
    return list(calls.values())


def play(parts: list[list[Product]]) -> None:
    """Make the recorded products again."""

    def part(products: list[Product]) -> None:
        matmul = np.matmul
        for left, right, out in products:
            matmul(left, right, out)

    threads = [threading.Thread(target=part, args=(products,)) for products in parts[1:]]
    with blas_in_one_thread() if threads else contextlib.nullcontext():  # as lstm_fast has it
        for thread in threads:
            thread.start()
        part(parts[0])
        for thread in threads:
            thread.join()


def record_passes(problem: Problem) -> list[list[list[Product]]]:
    """Return the products of lstm_fast's forward pass, backward pass and sum of gradients, each by thread."""
    layer = lstm_fast.LSTM(problem.u, sequences=True, dtype=problem.dtype)
    layer.compute_shapes(problem.X)
    layer.p = problem.p
    calls = (lambda: layer.forward(problem.X), lambda: layer.backward(problem.dA), layer.compute_gradients)
    return [record(switched_off(call)) for call in calls]


def floor(problem: Problem) -> Peer:
    """Return the products alone of a forward pass, and of a forward and backward pass."""
    phases = record_passes(problem)

    def both() -> None:
        for phase in phases:
            play(phase)

    return Peer("floor", lambda: play(phases[0]), both, dict)
