"""The Adam optimizer, which reads gradients by name and writes to parameters in place."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

__all__ = ["Adam"]


class Adam:
    """Adam: Kingma and Ba 2015, algorithm 1, with their default values.

    Parameters
    ----------
    p : mapping
        Name to array: ``layer.p``, that of a stack, or a dict of other weights. The arrays are changed.
    rate : float
        The step size alpha.
    decay : tuple of float
        beta1 and beta2.
    epsilon : float
        Added to the denominator.
    """

    def __init__(
        self,
        p: Mapping[str, np.ndarray],
        rate: float = 1e-3,
        decay: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.p = dict(p)
        self.rate, self.decay, self.epsilon = rate, decay, epsilon
        self.steps = 0
        self.m = {name: np.zeros_like(array) for name, array in self.p.items()}
        self.v = {name: np.zeros_like(array) for name, array in self.p.items()}

    def step(self, g: Mapping[str, np.ndarray]) -> None:
        """Change every parameter by its gradient ``g['d' + name]``."""
        self.steps += 1
        beta1, beta2 = self.decay
        # The bias of both means, in the step size: Python's floats leave float32 what it is, NumPy's would not.
        alpha = self.rate * math.sqrt(1 - beta2**self.steps) / (1 - beta1**self.steps)
        epsilon = self.epsilon * math.sqrt(1 - beta2**self.steps)
        for name, array in self.p.items():
            gradient, m, v = g["d" + name], self.m[name], self.v[name]
            m *= beta1
            m += (1 - beta1) * gradient
            v *= beta2
            v += (1 - beta2) * np.square(gradient)
            array -= alpha * m / (np.sqrt(v) + epsilon)
