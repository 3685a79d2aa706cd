"""Time lstm_fast against PyTorch's nn.LSTM and against lstm_ref on the grid, interleaved in one process.

Run ``python benchmarks/bench_layers.py --threads 1 --dtype float32``. Results and gradients are
compared first; a point where they differ is not timed. Printed ratios are the other's median time
over ours: above 1, ours is faster. All layers run the same work: forward without a cache
(``no_grad`` against ``keep_cache=False``), forward, and forward + backward + parameter gradients.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable

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


def time_interleaved(calls: list[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Return every call's times in seconds, the calls taking turns."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return times


def main() -> int:
    """Measure and print; return 1 if the layers disagree anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--seconds", type=float, default=3.0, help="per grid point")
    parser.add_argument("--points", type=int, nargs="*", default=range(6), help="indices of GRID")
    options = parser.parse_args()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)  # read once, when the libraries are loaded

    import numpy as np
    import torch

    import lstm_ref
    from lstm_fast import LSTM

    torch.set_num_threads(options.threads)
    dtype = np.dtype(options.dtype)
    failed = False
    over_ref = []
    print(f"{options.dtype}, {options.threads} thread(s): PyTorch's time over ours, and lstm_ref's; ms in brackets")
    for m, s, e, u in (GRID[k] for k in options.points):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((m, s, e)).astype(dtype)
        dA = rng.standard_normal((m, s, u)).astype(dtype)
        layer = LSTM(u, sequences=True, dtype=dtype, rng=0)
        layer.compute_shapes(X)
        layer.initialize_parameters()
        ref = lstm_ref.LSTM(u, sequences=True, dtype=dtype, rng=0)
        ref.compute_shapes(X)
        ref.initialize_parameters()
        theirs = torch.nn.LSTM(e, u, batch_first=True, dtype=getattr(torch, options.dtype))
        with torch.no_grad():
            for kind, target in (("U", theirs.weight_ih_l0), ("V", theirs.weight_hh_l0)):
                weights = [layer.p[kind + gate].T for gate in "ifgo"]
                target.copy_(torch.tensor(np.concatenate(weights)))
            theirs.bias_ih_l0.zero_()
            theirs.bias_hh_l0.zero_()
        X_torch = torch.tensor(X, requires_grad=True)
        dA_torch = torch.tensor(dA)

        def theirs_lean(theirs=theirs, X_torch=X_torch):
            with torch.no_grad():
                return theirs(X_torch)[0]

        def theirs_both(theirs=theirs, X_torch=X_torch, dA_torch=dA_torch):
            theirs.zero_grad()
            X_torch.grad = None
            theirs(X_torch)[0].backward(dA_torch)

        def ours_lean(layer=layer, X=X):
            return layer.forward(X, keep_cache=False)

        def ours_forward(layer=layer, X=X):
            return layer.forward(X)

        def both(layer, X=X, dA=dA):
            layer.forward(X)
            dX = layer.backward(dA)
            layer.compute_gradients()
            return dX

        ours_both, ref_both = functools.partial(both, layer), functools.partial(both, ref)
        dX = ours_both()
        theirs_both()
        dU = np.concatenate([layer.g["dU" + gate].T for gate in "ifgo"])
        pairs = [
            (ours_lean(), theirs_lean().numpy()),
            (dX, X_torch.grad.numpy()),
            (dX, ref_both()),
            (dU, theirs.weight_ih_l0.grad.numpy()),
        ]
        # Only to refuse timing something broken; `lstm-checks verify` is the real check.
        bound = 1e4 * np.finfo(dtype).eps
        if any(np.abs(a - b).max() > bound * np.abs(b).max() for a, b in pairs):
            print(f"{(m, s, e, u)!s:20} disagree: not timed")
            failed = True
            continue
        calls = [theirs_lean, ours_lean, ours_forward, theirs_both, ours_both, ref_both]
        t_lean, o_lean, o_forward, t_both, o_both, r_both = (
            1e3 * np.median(times) for times in time_interleaved(calls, options.seconds)
        )
        over_ref.append(r_both / o_both)
        print(
            f"{(m, s, e, u)!s:20} forward {t_lean / o_forward:5.2f}   no cache "
            f"{t_lean / o_lean:5.2f}   forward+backward {t_both / o_both:5.2f}   "
            f"over lstm_ref {r_both / o_both:5.2f}   ({t_lean:.3f} / {o_forward:.3f}, {t_both:.3f} / {o_both:.3f})",
            flush=True,
        )
    if over_ref:
        mean = float(np.exp(np.mean(np.log(over_ref))))
        print(f"forward+backward over lstm_ref, geometric mean: {mean:.2f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
