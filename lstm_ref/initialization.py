"""Initial values of the weight matrices; any function of `(shape, rng)` may take their place."""

import numpy as np
from numpy.typing import NDArray


def orthogonal(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a matrix with orthonormal rows or columns, whichever are fewer.

    The Q factor of a standard normal matrix, with the signs of R's diagonal moved into it so that the
    distribution is uniform (Mezzadri 2007, "How to generate random matrices from the classical compact
    groups"; Saxe et al. 2013 for its use in deep networks).
    """
    normal = rng.standard_normal(shape)
    wide = shape[0] < shape[1]
    q, r = np.linalg.qr(normal.T if wide else normal)
    diagonal = np.diagonal(r)
    q = q * np.copysign(1.0, diagonal)
    return q.T if wide else q


def xavier(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a normal matrix of variance 2 / (rows + columns) (Glorot and Bengio 2010)."""
    return rng.standard_normal(shape) * np.sqrt(2 / (shape[0] + shape[1]))
