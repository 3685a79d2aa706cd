"""The LSTM with all weights and biases zero, worked out by hand.

Every gate is 1/2 and the candidate 0, so that the memory halves at each step, C_t = C_0 / 2^t, h_t = tanh(C_t) / 2,
and nothing flows through the weights: dX and dh0 are zero, and the memory's cotangent halves going back.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.cases import Arrays

Array = NDArray[Any]


def zero_weights_answer(arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return h, Cn and the 15 gradients, and for each entry the sum of the sizes of the terms it is a sum of.

    Parameters
    ----------
    arrays : Arrays
        Inputs and cotangents in float64; the parameters are taken to be zero, whatever they are.
    """
    sizes = {name: np.abs(value) for name, value in arrays.items()}
    # tanh and its derivative are off by rho, however small they are: both count as 1.
    return _answer(arrays, dict(arrays), False), _answer(arrays, sizes, True)


def _answer(arrays: Arrays, of: dict[str, Array], sizes: bool) -> dict[str, Array]:
    """Return the answer for values or for sizes."""
    m, s, u = arrays["dh"].shape
    dh = of["dh"].copy()
    dh[:, -1] += of["dhn"]
    halves = 2.0 ** -np.arange(s + 1)
    C = of["C0"][:, np.newaxis] * halves[:, np.newaxis]
    squashed = np.ones((m, s, u)) if sizes else np.tanh(C[:, 1:])
    slope = np.ones((m, s, u)) if sizes else 1 - squashed**2
    h = squashed / 2
    hp = np.concatenate([of["h0"][:, np.newaxis], h[:, :-1]], axis=1)

    dC, passed_on = np.empty((m, s, u)), of["dCn"]
    for t in reversed(range(s)):
        dC[:, t] = dh[:, t] / 2 * slope[:, t] + passed_on
        passed_on = dC[:, t] / 2
    # The candidate is zero, and so is di; one composed of exponentials is off by rho.
    activations = {"f": dC * C[:, :-1] / 4, "i": dC / 4 * sizes, "g": dC / 2, "o": dh * squashed / 4}
    answer = {"h": h, "Cn": C[:, -1]}
    for gate, dk in activations.items():
        answer[f"dU{gate}"] = np.einsum("mse,msu->eu", of["X"], dk)
        answer[f"dV{gate}"] = np.einsum("msv,msu->vu", hp, dk)
        answer[f"db{gate}"] = dk.sum(axis=(0, 1))[np.newaxis]
    zeros = {"dX": np.zeros_like(of["X"]), "dh0": np.zeros_like(of["h0"])}
    return answer | zeros | {"dC0": passed_on}
