"""Cells with all weights and biases zero, worked out by hand: nothing flows through the weights, and dX is zero.

Of an LSTM every gate is 1/2 and the candidate 0, so that the memory halves at each step, C_t = C_0 / 2^t,
h_t = tanh(C_t) / 2; dh0 is zero, and the memory's cotangent halves going back. Of a GRU the state itself halves, and
so does its cotangent; of an RNN it is zero.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.cases import Arrays

Array = NDArray[Any]


def zero_weights_answer(arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the outputs and gradients, and for each entry the sum of the sizes of the terms it is a sum of.

    Parameters
    ----------
    arrays : Arrays
        Inputs and cotangents in float64, of a cell that is in `CLOSED_FORMS`; the parameters are taken to be zero,
        whatever they are.
    """
    answer = CLOSED_FORMS[arrays.cell.name]
    sizes = {name: np.abs(value) for name, value in arrays.items()}
    # tanh and its derivative are off by rho, however small they are: both count as 1.
    return answer(arrays, dict(arrays), False), answer(arrays, sizes, True)


def _of_lstm(arrays: Arrays, of: dict[str, Array], sizes: bool) -> dict[str, Array]:
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
        answer |= _sums(gate, of["X"], hp, dk)
    zeros = {"dX": np.zeros_like(of["X"]), "dh0": np.zeros_like(of["h0"])}
    return answer | zeros | {"dC0": passed_on}


def _of_gru(arrays: Arrays, of: dict[str, Array], sizes: bool) -> dict[str, Array]:
    """Return the answer for values or for sizes, of either form: r = z = 1/2, g = 0, h = hp / 2, and nothing reaches r.

    What the recurrent weights of the candidate are multiplied with is halved by r before, or its cotangent after.
    """
    states, dh_ = _halved(of)
    states = states + sizes  # of what each candidate is off by, less than one in all
    h, hp = states[:, 1:], states[:, :-1]
    answer = {"h": h, "dX": np.zeros_like(of["X"]), "dh0": dh_[:, 0] / 2}
    # r is multiplied with what is zero; composed of exponentials, g and q_ are off by rho.
    for gate, dk in {"r": dh_ / 8 * sizes, "z": dh_ * (hp + sizes) / 4, "g": dh_ / 2}.items():
        answer |= _sums(gate, of["X"], hp, dk)
    through = _sums("g", of["X"], hp, dh_ / 4)
    halved = {"dVg": through["dVg"], "dcg": through["dbg"]}
    return answer | {name: value for name, value in halved.items() if name in arrays.cell.gradients}


def _of_rnn(arrays: Arrays, of: dict[str, Array], sizes: bool) -> dict[str, Array]:
    """Return the answer for values or for sizes: h = 0 after every step, and nothing is passed back."""
    h = np.full(of["dh"].shape, float(sizes))
    hp = np.concatenate([of["h0"][:, np.newaxis], h[:, :-1]], axis=1)
    dh_ = of["dh"].copy()
    dh_[:, -1] += of["dhn"]
    zeros = {"dX": np.zeros_like(of["X"]), "dh0": np.zeros_like(of["h0"])}
    return {"h": h, **zeros, **_sums("g", of["X"], hp, dh_)}


def _halved(of: dict[str, Array]) -> tuple[Array, Array]:
    """Return h before each step and after the last one, and dh_ at each, where both halve at every step."""
    m, s, u = of["dh"].shape
    states = of["h0"][:, np.newaxis] * (2.0 ** -np.arange(s + 1))[:, np.newaxis]
    dh_, arriving = np.empty((m, s, u)), of["dhn"]
    for t in reversed(range(s)):
        dh_[:, t] = of["dh"][:, t] + arriving
        arriving = dh_[:, t] / 2
    return states, dh_


def _sums(gate: str, X: Array, hp: Array, dk: Array) -> dict[str, Array]:
    """Return the gradients of a gate's parameters, of which the linear activation has a cotangent."""
    return {
        f"dU{gate}": np.einsum("mse,msu->eu", X, dk),
        f"dV{gate}": np.einsum("msv,msu->vu", hp, dk),
        f"db{gate}": dk.sum(axis=(0, 1))[np.newaxis],
    }


CLOSED_FORMS: dict[str, Callable[[Arrays, dict[str, Array], bool], dict[str, Array]]] = {
    "plain": _of_lstm,
    "gru": _of_gru,
    "gru_reset_after": _of_gru,
    "rnn": _of_rnn,
}
"""By the names of the cells of which there is one."""
