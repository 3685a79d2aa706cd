"""What is due for a case, and how much rounding blurs it: the reference under Monte Carlo arithmetic."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic.monte_carlo import Rounding, deviation, exact, spread
from lstm_checks.arithmetic.projection import project
from lstm_checks.cases import Arrays, Case, from_named
from lstm_checks.contract import GRADIENTS, OUTPUTS
from lstm_ref import lstm_backward, lstm_forward, lstm_parameter_gradients

Array = NDArray[Any]

_KEPT, _CAME = ("X", "hp"), ("df_", "di_", "dg_", "do_")
"""What the parameters' gradients are made of: of the forward pass, and of the backward pass."""

_WANTED = ("hp", "Cp_", "f", "i", "g", "o", "C_", "C", "h")
"""What is asked of the forward pass: what its backward pass and the gradients take, and the outputs."""

_COPIES_AT_ONCE, _STEPS_AT_ONCE = 2, 4
"""How much of a large case is in memory at a time."""


@dataclass(frozen=True)
class Expected:
    """The values due for a case, and how much rounding blurs them.

    Attributes
    ----------
    values : dict
        h (m, s, u), Cn (m, u), and the 15 gradients, in float64.
    sd : dict
        The standard deviation of each entry's rounding error in the case's dtype, absolute.
    dtype : str
        The case's dtype.
    last_only : bool
        Whether a target may return h of the last step alone.
    sigmas : float
        Accepted deviation of an entry in standard deviations.
    directions : dict
        For a large case, the value due along each random direction of a tensor, and its accepted deviation.
    seed : int
        Seed of the directions.
    """

    values: dict[str, Array]
    sd: dict[str, Array]
    dtype: str
    last_only: bool = False
    sigmas: float = tolerance.SIGMAS
    directions: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    seed: int = 0

    def chaotic(self, names: tuple[str, ...]) -> bool:
        """Return whether rounding drowns these values, so that nothing can be concluded from them."""
        return tolerance.is_chaotic({n: self.values[n] for n in names}, {n: self.sd[n] for n in names}, self.dtype)

    def project(self, name: str, value: Array, copies: bool = False) -> Array:
        """Return the products of a tensor of that name with its random directions."""
        return project(value, tolerance.LARGE_DIRECTIONS, (self.seed, *name.encode()), copies)


def evaluate_reference(arrays: Arrays, steps_at_once: int | None = None) -> dict[str, Any]:
    """Return h, Cn and the 15 gradients of the reference, in whatever arithmetic the arrays are of.

    With `steps_at_once`, the parameters' gradients are summed over that many steps at a time, to save memory.
    """
    fc = lstm_forward(arrays.p, arrays.X, arrays.h0, arrays.C0, _WANTED)
    bc = lstm_backward(arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)
    s = arrays.X.shape[-2]
    gradients: dict[str, Any] = {}
    for start in range(0, s, steps_at_once or s):
        chosen = np.s_[..., start : start + (steps_at_once or s), :]
        part = lstm_parameter_gradients(*({k: c[k][chosen] for k in names} for c, names in ((fc, _KEPT), (bc, _CAME))))
        gradients = {name: gradients[name] + value for name, value in part.items()} if gradients else part
    values = {"h": fc["h"], "Cn": fc["C_"][..., -1, :], **gradients}
    values |= {name: bc[name] for name in ("dX", "dh0", "dC0")}
    return {name: values[name] for name in (*OUTPUTS, *GRADIENTS)}


def expect(
    case: Case,
    progress: Callable[[], None] = lambda: None,
    evaluate: Callable[[Arrays], dict[str, Any]] = evaluate_reference,
) -> Expected:
    """Return the values due for a case, from the reference under Monte Carlo arithmetic.

    Parameters
    ----------
    case : Case
    progress : callable
        Called after each round of copies of a large case.
    evaluate : callable
        What takes the reference's place: a function of the arrays that returns h, Cn and the 15 gradients. Not for
        large cases.
    """
    if case.size > tolerance.LARGE:
        return _expect_large(case, progress)
    dtype = case.dtype
    rounding = rounding_of(case, dtype)
    arrays = case.arrays.astype(np.float64)
    noisy = {k: exact(v, rounding) for k, v in (arrays.inputs | arrays.cotangents).items()}
    with np.errstate(all="ignore"):
        results = {name: spread(value) for name, value in evaluate(from_named(noisy)).items()}
    values = {name: value for name, (value, _) in results.items()}
    return Expected(values, {name: sd for name, (_, sd) in results.items()}, dtype, not case.sequences)


def _expect_large(case: Case, progress: Callable[[], None]) -> Expected:
    """Return the values due for a large case: few copies, two at a time, and random directions of every tensor."""
    rounding = rounding_of(case, case.dtype, _COPIES_AT_ONCE)
    arrays = case.arrays.astype(np.float64)
    inputs = from_named({k: exact(v, rounding) for k, v in (arrays.inputs | arrays.cotangents).items()})
    expected = Expected({}, {}, case.dtype, not case.sequences, tolerance.LARGE_SIGMAS["entry"], {}, case.seed)
    due: dict[str, Array] = {}
    departures: dict[str, list[Array]] = {}
    for _ in range(LARGE_ROUNDS):
        found = evaluate_reference(inputs, _STEPS_AT_ONCE)
        for name in tuple(found):
            copies = found.pop(name).view(np.ndarray)
            if name not in expected.values:
                # A copy, since a view would keep the noisy ones as well.
                expected.values[name], expected.sd[name] = copies[0].copy(), np.zeros(copies.shape[1:])
                due[name], departures[name] = expected.project(name, copies[0]), []
            sd = deviation(copies, rounding) / np.sqrt(LARGE_ROUNDS)
            expected.sd[name] = np.hypot(expected.sd[name], sd)
            departure = expected.project(name, copies[1:] - copies[0], copies=True)
            departures[name].append(departure / rounding.magnification)
        progress()
    for name, parts in departures.items():
        own = np.sqrt(np.mean(np.square(np.concatenate(parts)), axis=0))
        sd = np.maximum(own, np.sqrt(np.mean(np.square(own))))
        expected.directions[name] = due[name], tolerance.accepted(sd, case.dtype, tolerance.LARGE_SIGMAS["direction"])
    return expected


LARGE_ROUNDS = tolerance.LARGE_COPIES // _COPIES_AT_ONCE
"""How often the reference runs on a large case."""


def estimate_large(case: Case) -> tuple[float, float]:
    """Return about how many seconds and bytes it takes to judge a large case.

    Seconds from a matrix product and an operation under Monte Carlo arithmetic, both timed here and now, and their
    numbers; bytes from what is held at a time: a dozen sets of gradients, and the products of a few steps in three
    copies.
    """
    x = np.ones((256, 256))
    per_product = _seconds(lambda: x @ x) / (2 * 256**3)
    # Larger than a cache, as what is timed stands for.
    noisy = exact(np.ones((1024, 1024)), rounding_of(case, case.dtype, _COPIES_AT_ONCE)) * 1.0
    per_number = _seconds(lambda: noisy * noisy) / noisy.size
    row = case.m * case.s * 4 * (case.e + case.u) * case.u
    # An entry of a step's products takes about four such operations: m terms, their sizes, noise, the sum over steps.
    perturbed = 4 * 3 * case.s * 4 * (case.e + case.u) * case.u * LARGE_ROUNDS
    seconds = 6 * row * (3 * 2 * LARGE_ROUNDS + 10) * per_product + perturbed * per_number
    trace = 60 * case.m * case.s * (case.u + case.e) * 8
    return seconds, 8 * (14 * case.size + 8 * _STEPS_AT_ONCE * (case.e + case.u) * case.u) + trace


def _seconds(call: Callable[[], Any]) -> float:
    """Return the least time of a few calls after a first one."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def rounding_of(case: Case, dtype: str, copies: int = tolerance.COPIES) -> Rounding:
    """Return how the operations of a case are perturbed in the arithmetic of a dtype."""
    return Rounding(
        rho=tolerance.UNIT_ROUNDOFF[dtype],
        underflow=tolerance.SMALLEST_NORMAL[dtype],
        magnification=tolerance.MAGNIFICATION[dtype],
        rng=np.random.default_rng((case.seed, *case.dims)),
        copies=copies,
    )
