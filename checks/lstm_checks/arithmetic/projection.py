"""Random directions in a tensor: a few numbers that tell of all its entries.

A direction is the outer product of one normal vector for each axis: it takes no memory to speak of, and the product of
a tensor with it is a chain of matrix products. Its square is the tensor's squared norm in the mean; it is zero for a
tensor other than zero with probability 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def project(tensor: Array, count: int, seed: tuple[int, ...], copies: bool = False) -> Array:
    """Return the products of a tensor with `count` random directions.

    Parameters
    ----------
    tensor : array
        Of any shape; with `copies`, the first axis counts tensors.
    count : int
        Number of directions.
    seed : tuple of int
        Seed of the directions; equal shapes and seeds have equal directions.
    copies : bool
        Whether there are several tensors along the first axis.

    Returns
    -------
    array (count,), or (copies, count)
    """
    stacked = np.asarray(tensor, np.float64)
    stacked = stacked if copies else stacked[np.newaxis]
    rng = np.random.default_rng(seed)
    vectors = [rng.standard_normal((count, size)) for size in stacked.shape[1:]]
    # (copies, ..., n) @ (n, count) contracts the last axis; the others follow, direction by direction.
    found = stacked @ vectors[-1].T
    for vector in reversed(vectors[:-1]):
        found = np.einsum("...nd,dn->...d", found, vector)
    return found if copies else found[0]
