"""Choose one of the layouts for a problem's shape, and tiles for the two that NumPy computes on."""

from __future__ import annotations

import numpy as np

from lstm_fast.feature_major import FeatureMajor
from lstm_fast.panels import Panels
from lstm_fast.sample_major import SampleMajor, block_columns
from lstm_fast.threads import workers_for
from lstm_fast.workspace import SMALL_PRODUCT, Workspace, kernels_for, small_products_pay

__all__ = ["make_workspace"]

#: Samples per tile: the columns of one product. More would not fit the fast path of small products.
TILE = 64

#: Tiles up to this wide are sample-major, if there are at least `SMALLEST` unit cells.
NARROW = 32
SMALLEST = 32


def tile_bounds(m: int, s: int, u: int, inner: int) -> tuple[list[tuple[int, int]], int]:
    """Return the (first, last + 1) samples of each tile, and how many threads should share them.

    Tiles have equal widths, multiples of 16 (or of 8, below that) if there are several. The longer the product's inner
    dimension, the narrower they are, so that blocks of 6 rows still fit the fast path; beyond its
    reach there is one tile of all samples, and without it they are wider.
    """
    fitting = [w for w in (TILE, 32, 16) if 6 * inner * w <= SMALL_PRODUCT]
    if fitting and small_products_pay():
        width, workers = fitting[0], workers_for(m, s, u, compiled=False)
    else:  # whole products, to which the BLAS brings its own threads
        width, workers = (2 * TILE if fitting else m), 1
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


def make_workspace(m: int, s: int, e: int, u: int, dtype: np.dtype, keep: bool) -> Workspace:
    """Return the buffers for a shape; `keep` says whether for a backward pass."""
    shape, inner = (m, s, e, u), max(u + e + 1, 4 * u)
    kernels = kernels_for(dtype)
    if kernels is not None:
        return Panels(shape, dtype, keep, kernels)
    bounds, workers = tile_bounds(m, s, u, inner)
    widest = bounds[0][1] - bounds[0][0]
    if 1 < widest <= NARROW and u >= SMALLEST and small_products_pay():
        block = block_columns(u, inner, widest)
        if block is not None:
            return SampleMajor(shape, dtype, keep, bounds, workers, block)
    return FeatureMajor(shape, dtype, keep, bounds, workers)
