"""Choose how a shape is computed: one of the layouts, its tiles, and how many threads share them; and compute it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lstm_fast import backward, forward, panels, tuning
from lstm_fast.feature_major import FeatureMajor
from lstm_fast.panels import Panels
from lstm_fast.sample_major import SampleMajor, block_columns
from lstm_fast.threads import allowed, workers_for
from lstm_fast.workspace import SMALL_PRODUCT, Workspace, kernels_for, small_products_pay

__all__ = ["make_workspace", "run_backward", "run_forward"]

#: Samples per tile: the columns of one product. More would not fit the fast path of small products.
TILE = 64

#: Tiles up to this wide are sample-major, if there are at least `SMALLEST` unit cells.
NARROW = 32
SMALLEST = 32

Shape = tuple[int, int, int, int]


class Plan(NamedTuple):
    """A way to compute a shape: a layout, and how many threads share the tiles."""

    layout: str
    threads: int

    def __str__(self) -> str:
        return f"{self.layout}, {self.threads} thread{'s' * (self.threads > 1)}"


def make_workspace(m: int, s: int, e: int, u: int, dtype: np.dtype, keep: bool) -> Workspace:
    """Return the buffers for a shape; `keep` says whether for a backward pass."""
    shape = (m, s, e, u)
    plan = _plan(shape, dtype)
    if tuning.wanted():
        plans = {str(one): one for one in (plan, *_others(shape, plan))}
        words = (
            f"{dtype.name} ({m}, {s}, {e}, {u})",
            "training" if keep else "inference",
            "compiled" if plan.layout == "panels" else "NumPy alone",
            f"at most {allowed()} threads",
        )
        attempts = {name: partial(_attempt, one, shape, dtype, keep) for name, one in plans.items()}
        plan = plans[tuning.fastest(", ".join(words), attempts)]
    return _made(plan, shape, dtype, keep)


def run_forward(workspace: Workspace, *arrays: Any) -> None:
    """Run every tile; as :func:`lstm_fast.forward.run_forward`."""
    run: Callable[..., None] = panels.run_forward if isinstance(workspace, Panels) else forward.run_forward
    run(workspace, *arrays)


def run_backward(workspace: Workspace, *arrays: Any) -> None:
    """Run every tile backwards; as :func:`lstm_fast.backward.run_backward`."""
    run: Callable[..., None] = panels.run_backward if isinstance(workspace, Panels) else backward.run_backward
    run(workspace, *arrays)


def _plan(shape: Shape, dtype: np.dtype) -> Plan:
    """Return the plan that sizes and caches speak for."""
    m, s, _, u = shape
    if kernels_for(dtype) is not None:
        return Plan("panels", workers_for(m, s, u, compiled=True))
    # Whole products, where there are no small ones that pay, bring the BLAS's own threads.
    workers = workers_for(m, s, u, compiled=False) if _in_small_products(shape) else 1
    widest = _widest(shape, workers)
    narrow = 1 < widest <= NARROW and u >= SMALLEST and small_products_pay()
    return Plan("sample-major" if narrow and _block(shape, widest) else "feature-major", workers)


def _others(shape: Shape, plan: Plan) -> list[Plan]:
    """Return the other plans that there are."""
    layouts = ["panels"] if plan.layout == "panels" else ["feature-major", "sample-major"]
    several = plan.layout == "panels" or _in_small_products(shape)
    counts = {1, min(allowed(), shape[0]) if several else 1}
    found = [Plan(layout, threads) for layout in layouts for threads in sorted(counts)]
    return [
        one
        for one in found
        if one != plan and (one.layout != "sample-major" or _block(shape, _widest(shape, one.threads)) is not None)
    ]


def _made(plan: Plan, shape: Shape, dtype: np.dtype, keep: bool) -> Workspace:
    """Return the buffers of a plan."""
    if plan.layout == "panels":
        kernels = kernels_for(dtype)
        assert kernels is not None
        return Panels(shape, dtype, keep, kernels, plan.threads)
    bounds, workers = tile_bounds(shape, plan.threads)
    if plan.layout == "feature-major":
        return FeatureMajor(shape, dtype, keep, bounds, workers)
    block = _block(shape, bounds[0][1] - bounds[0][0])
    assert block is not None
    return SampleMajor(shape, dtype, keep, bounds, workers, block)


def _attempt(plan: Plan, shape: Shape, dtype: np.dtype, keep: bool) -> Callable[[], None]:
    """Return a pass by a plan, and back if that is what the buffers are for, on numbers of no meaning."""
    m, s, e, u = shape
    workspace, rng = _made(plan, shape, dtype, keep), np.random.default_rng(0)
    W, X, A = ((0.1 * rng.standard_normal(of)).astype(dtype) for of in ((u + e + 1, 4 * u), (m, s, e), (m, s, u)))
    dX, (dh0, dC0) = np.empty_like(X), np.empty((2, m, u), dtype)

    def run() -> None:
        workspace.pack_weights(W)
        run_forward(workspace, X, None, None, A)
        if keep:
            workspace.allocate_backward(True)
            workspace.pack_weights_back()
            run_backward(workspace, A, None, None, dX, dh0, dC0)
            workspace.sum_gradients()

    return run


def _inner(shape: Shape) -> int:
    """Return the longest inner dimension of a product."""
    _, _, e, u = shape
    return max(u + e + 1, 4 * u)


def _fitting(shape: Shape) -> list[int]:
    """Return the widths of tiles whose blocks of 6 rows fit the fast path, the widest first."""
    return [w for w in (TILE, 32, 16) if 6 * _inner(shape) * w <= SMALL_PRODUCT]


def _in_small_products(shape: Shape) -> bool:
    """Return whether NumPy multiplies tiles of this shape by small products."""
    return bool(_fitting(shape)) and small_products_pay()


def _widest(shape: Shape, workers: int) -> int:
    (first, last), *_ = tile_bounds(shape, workers)[0]
    return last - first


def _block(shape: Shape, widest: int) -> int | None:
    """Return the columns of a sample-major tile's blocks, None where there are no good ones."""
    return block_columns(shape[3], _inner(shape), widest)


def tile_bounds(shape: Shape, workers: int) -> tuple[list[tuple[int, int]], int]:
    """Return the (first, last + 1) samples of each tile, and how many threads share them, at most `workers`.

    Tiles have equal widths, multiples of 16 (or of 8, below that) if there are several. The longer the product's inner
    dimension, the narrower they are, so that blocks of 6 rows still fit the fast path; beyond its
    reach there is one tile of all samples, and without it they are wider.
    """
    m, fitting = shape[0], _fitting(shape)
    # Where small products do not pay, whole ones.
    width = m if not fitting else fitting[0] if small_products_pay() else 2 * TILE
    count = -(-m // width)
    if workers > 1:
        # As many tiles for each thread: one with a tile more would have all the others wait for it.
        count = -(-count // workers) * workers
    width = -(-m // count)
    if count > 1:
        # So that samples fill registers where there are enough of them; only the last tile may be narrower.
        step = 16 if width > 8 else 8
        width = -(-width // step) * step
    bounds = [(j, min(j + width, m)) for j in range(0, m, width)]
    return bounds, min(workers, len(bounds))
