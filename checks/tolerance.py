"""Every numeric threshold of the harness, each with its derivation beside it.

Units are those of the quantity compared unless the docstring says otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}
"""rho: half the distance from 1 to the next number."""

SMALLEST_NORMAL = {"float64": float(np.finfo(np.float64).tiny), "float32": float(np.finfo(np.float32).tiny)}
"""What an operation may lose near zero, on hardware that flushes subnormal results."""

COPIES = 32
"""Noisy copies. The fewer, the more often an entry's sd comes out far too small: below a third of the true one 4
times in 10^6 entries with 16 copies (chi-square with 16 degrees of freedom), once in 10^10 with 32. A third of the sd
would leave 6 of them at 2 true ones; see docs/decisions/0003."""

MAGNIFICATION = {"float64": 64.0, "float32": 16.0}
"""The noise is carried by float64. It must stand well above float64's own rounding (hence 64 and not 1) and be so
small that the answer depends on it linearly (hence not more, and less for float32, whose rho is 2^29 times greater)."""

SIGMAS = 6.0
"""Accepted deviation in standard deviations. Normal errors exceed it twice in 10^9, and even a third of it (see COPIES)
once in 20."""

CHAOTIC = {"float64": 1e-4, "float32": 1e-3}
"""Above this share of the largest entry the noise sd says nothing: magnified (64 or 16 times) it is some percent of the
answer, and the answer no longer depends on it linearly. Such a problem is itself chaotic: inconclusive."""

RESOLUTION = {"float64": 2.0**-31, "float32": 2.0**-2}
"""A tensor none of whose entries is known to this share of itself (2^22 rho) is inconclusive: rounding blurs all of it.
In any other, one entry at least shows a relative error of twice that, 1e-9 in float64, whatever the target's own
rounding does: twice the accepted deviation less at most one accepted deviation."""

LARGE = 2**18
"""Number of gradient entries above which a case is judged by random directions: 32 copies of everything would take
minutes and gigabytes."""

LARGE_COPIES = 8
"""Noisy copies of a large case."""

LARGE_DIRECTIONS = 16
"""Random directions along which each tensor of a large case is looked at. The product of an error with a direction, an
outer product of normal vectors, is below a hundredth of the error's norm in one direction of 30, in all of 16 never."""

LARGE_SIGMAS = {"direction": 12.0, "entry": 64.0}
"""Accepted deviation of a large case in standard deviations, which are estimated from 8 copies alone: the ratio has
Student's distribution with 8 degrees of freedom. It exceeds 12 twice in 10^6, and there are some 250 directions, each
with at least the standard deviation of them all; 64 three times in 10^12, and there may be 10^8 entries."""

COMPLEX_STEP_ALL = 48
"""Largest number of gradient entries for which the complex step is taken in every one of them; a direction costs a part
of a forward pass, and random ones see as much."""

COMPLEX_STEP_DIRECTIONS = 8
"""Random directions for the complex step above that. One direction already meets an error in any entry with
probability 1; eight make its component along all of them small once in 10^6 at most (each below 0.17 of its sd)."""

COMPLEX_STEP_DOUBT = 0.5
"""Share of the accepted difference above which an entry's complex step is taken again with noise. Any share below 1
is right; a low one shows the true use of the tolerance."""

COMPLEX_STEP_RETAKEN = 32
"""How many entries, the worst, are taken again; more than a handful would mean a wrong reference."""

CHECK_GRAD_STEP = 2.0**-26
"""The absolute forward step that scipy.optimize.check_grad takes: the square root of float64's spacing at 1."""

CHECK_GRAD_ALL = 20
"""Largest number of gradient entries for which check_grad takes them all; it costs a forward pass each, twice."""

CHECK_GRAD_MULTIPLES = (2, 3, 5, 9)
"""Multiples of the step at which the curvature along a random direction is looked at."""


def accepted(sd: Array, dtype: str, sigmas: float = SIGMAS) -> Array:
    """Return the accepted absolute deviation of every entry: 6 sd, and 4 of the smallest normal number."""
    return sigmas * sd + 4 * SMALLEST_NORMAL[dtype]


def is_chaotic(values: Mapping[str, Array], sds: Mapping[str, Array], dtype: str) -> bool:
    """Return whether the noise is so large that nothing can be concluded (NaN included)."""
    largest = max(float(np.max(np.abs(value))) for value in values.values())
    noisiest = max(float(np.max(sd)) for sd in sds.values())
    return not noisiest <= CHAOTIC[dtype] * largest + SMALLEST_NORMAL[dtype]


def check_grad_noise(terms: float, value: float, products: float) -> float:
    """Return nu, the rounding error of one forward difference.

    Each of the two function values is off by about rho (S + |f|), where S = `terms` is the sum of the sizes of what
    was added up (or of the outputs' own noise over rho, larger than they are where a saturated gate cancels), and
    x_j + eps is off by rho x_j, which the gradient passes on; all divided by eps.
    """
    return 2 * UNIT_ROUNDOFF["float64"] / CHECK_GRAD_STEP * (terms + abs(value) + products)


def check_grad_all(curvature: float, noise: float, size: int, sd: float) -> float:
    """Return the accepted 2-norm that check_grad returns for all entries.

    `curvature` = ||FD(2 eps) - FD(eps)||_2 estimates the truncation error (eps f''/2) and is doubled; every one of
    `size` differences has noise nu; `sd` is the 2-norm of the gradient's own sd.
    """
    return 2 * curvature + np.sqrt(size) * noise + SIGMAS * sd


def check_grad_random(curvature: float, noise: float, sd: float) -> float:
    """Return the accepted value that check_grad returns for a random direction.

    `curvature` = max_k |FD_v(k eps) - FD_v(eps)| / (k - 1) estimates the truncation error and is doubled; several k
    because one alone may vanish by chance. `sd` is the sum of |v_j| sd_j.
    """
    return 2 * curvature + noise + SIGMAS * sd
