"""Draw initial weights: orthogonal and Xavier matrices from an explicit generator.

Any callable ``initialization(shape, rng)`` that returns a finite array of `shape` may stand in for
these two; :func:`lstm_fast.lstm_initialize_parameters` says in which order it is called.
"""

from __future__ import annotations

import numpy as np

__all__ = ["orthogonal", "xavier"]


def orthogonal(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a (rows, cols) float64 matrix whose shorter side is orthonormal.

    The Q factor of a normal matrix, its columns signed so that R has a positive diagonal, is
    uniform over the orthogonal matrices. A wide matrix is the transpose of a tall one.

    Parameters
    ----------
    shape : (rows, cols)
    rng : numpy.random.Generator
        Advanced by rows * cols normal draws.

    References
    ----------
    F. Mezzadri, "How to generate random matrices from the classical compact groups",
    Notices of the AMS 54 (2007), 592-604.

    Examples
    --------
    >>> q = orthogonal((3, 5), np.random.default_rng(0))
    >>> np.allclose(q @ q.T, np.eye(3))
    True
    """
    rows, cols = shape
    normal = rng.standard_normal((rows, cols))
    q, r = np.linalg.qr(normal.T if rows < cols else normal)
    q = q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
    return q.T if rows < cols else q


def xavier(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a (rows, cols) float64 matrix of normal draws with variance 2 / (rows + cols).

    Parameters
    ----------
    shape : (rows, cols)
    rng : numpy.random.Generator
        Advanced by rows * cols normal draws.

    References
    ----------
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation (12), in its normal form.

    Examples
    --------
    >>> xavier((2, 3), np.random.default_rng(0)).shape
    (2, 3)
    """
    rows, cols = shape
    return rng.standard_normal((rows, cols)) * np.sqrt(2.0 / (rows + cols))
