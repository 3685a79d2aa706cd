"""Adam, beside the plain gradient descent of `update_parameters`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_ref.validation import Array


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), for a layer's parameters or any others.

    Parameters
    ----------
    p : mapping
        Arrays by name, a layer's `p` or a stack's; they are written to.
    rate : float
        Step size.
    decay : tuple of float
        Decay of the means of the gradient and of its square.
    epsilon : float
        What is added to the root of the latter.
    """

    def __init__(
        self,
        p: Mapping[str, Array],
        rate: float = 1e-3,
        decay: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.p, self.rate, self.decay, self.epsilon = dict(p), rate, decay, epsilon
        self.steps = 0
        self.means = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in self.p.items()}

    def step(self, g: Mapping[str, Any]) -> None:
        """Take a step along gradients that are called as their parameters, with a "d" before it."""
        self.steps += 1
        first, second = (1 - decay**self.steps for decay in self.decay)  # both means begin at zero
        for name, (mean, square) in self.means.items():
            gradient = g[f"d{name}"]
            mean += (1 - self.decay[0]) * (gradient - mean)
            square += (1 - self.decay[1]) * (gradient * gradient - square)
            self.p[name] -= self.rate * (mean / first) / (np.sqrt(square / second) + self.epsilon)
