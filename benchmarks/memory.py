"""How much memory the LSTMs in NumPy hold and allocate, by tracemalloc; other libraries allocate out of its sight."""

from __future__ import annotations

import tracemalloc

import lstm_fast
import lstm_ref
from benchmarks.peers import Problem, epynn, ours
from lstm_fast.workspace import kernels_for


def needed(problem: Problem) -> int:
    """Return the bytes that BPTT cannot do without.

    X, and per sample, step and unit cell h, C_, tanh(C_), the four gates and their four cotangents; the three
    parameter arrays and their gradients; the results A and dX.
    """
    m, s, e, u = problem.dims
    return problem.dtype.itemsize * (m * s * (e + 11 * u) + 2 * 4 * u * (u + e + 1) + m * s * (u + e))


def measure_memory(problem: Problem) -> dict[str, dict[str, float]]:
    """Return, for each implementation, bytes held after two passes and at the peak of them, and of a later call.

    `again` is the most that one more forward and backward pass has allocated at any moment beyond what was held
    before it, the results' own size included.
    """
    makers = {
        "lstm_ref": lambda: ours(problem, lstm_ref),
        "lstm_fast": lambda: ours(problem, lstm_fast),
        "EpyNN": lambda: epynn(problem),
    }
    found = {}
    kernels_for(problem.dtype)  # so that compiling them is not counted
    for name, make in makers.items():
        tracemalloc.start()
        try:
            peer = make()
            if peer is None:
                continue
            start = tracemalloc.get_traced_memory()[0]
            peer.both()
            peer.both()
            held, peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            peer.both()
            again = tracemalloc.get_traced_memory()[1]
            peer.inference()  # makes buffers of its own, which stay
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            peer.inference()
            lean = tracemalloc.get_traced_memory()[1]
            found[name] = {
                "held": held - start,
                "peak": peak - start,
                "again": again - held,
                "inference": lean - before,
                "needed": needed(problem),
            }
        finally:
            tracemalloc.stop()
    return found
