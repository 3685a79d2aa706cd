"""What a gradient is compared with: the reference under several arithmetics, and scipy.optimize.check_grad.

`expect` gives the values due for a case with the rounding noise of each entry; `complex_step_disagreement` asks the
forward pass alone whether the reference's backward pass is right; `check_grad` asks finite differences.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from lstm_checks import tolerance
from lstm_checks.arithmetic import complex_step
from lstm_checks.arithmetic.monte_carlo import Rounding, deviation, exact, spread
from lstm_checks.arithmetic.projection import project
from lstm_checks.cases import Arrays, Case, from_named
from lstm_checks.contract import GRADIENTS, INPUTS, OUTPUTS, PARAMETERS
from lstm_ref import lstm_backward, lstm_forward, lstm_parameter_gradients

Array = NDArray[Any]


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
    fc = lstm_forward(arrays.p, arrays.X, arrays.h0, arrays.C0)
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


_KEPT, _CAME = ("X", "hp"), ("df_", "di_", "dg_", "do_")
"""What the parameters' gradients are made of: of the forward pass, and of the backward pass."""


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
    rounding = _rounding(case, dtype)
    arrays = case.arrays.astype(np.float64)
    noisy = {k: exact(v, rounding) for k, v in (arrays.inputs | arrays.cotangents).items()}
    with np.errstate(all="ignore"):
        results = {name: spread(value) for name, value in evaluate(from_named(noisy)).items()}
    values = {name: value for name, (value, _) in results.items()}
    return Expected(values, {name: sd for name, (_, sd) in results.items()}, dtype, not case.sequences)


def _expect_large(case: Case, progress: Callable[[], None]) -> Expected:
    """Return the values due for a large case: few copies, two at a time, and random directions of every tensor."""
    rounding = _rounding(case, case.dtype, _COPIES_AT_ONCE)
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


_COPIES_AT_ONCE, _STEPS_AT_ONCE = 2, 4
"""How much of a large case is in memory at a time."""

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
    noisy = exact(np.ones((1024, 1024)), _rounding(case, case.dtype, _COPIES_AT_ONCE)) * 1.0
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


def _rounding(case: Case, dtype: str, copies: int = tolerance.COPIES) -> Rounding:
    """Return how the operations of a case are perturbed in the arithmetic of a dtype."""
    return Rounding(
        rho=tolerance.UNIT_ROUNDOFF[dtype],
        underflow=tolerance.SMALLEST_NORMAL[dtype],
        magnification=tolerance.MAGNIFICATION[dtype],
        rng=np.random.default_rng((case.seed, *case.dims)),
        copies=copies,
    )


def objective(h: Any, Cn: Any, arrays: Arrays) -> Any:
    """Return the scalar whose gradient the pullback gives: the cotangents' inner product with the outputs."""
    axes = (-3, -2, -1)
    final = arrays.dhn * h[..., -1, :] + arrays.dCn * Cn
    return np.sum(arrays.dh * h, axis=axes) + np.sum(final, axis=axes[1:])


@dataclass(frozen=True)
class Disagreement:
    """How far two oracles are apart: the largest difference over what is accepted, and where that is."""

    use: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what is accepted; NaN is not."""
        return self.use <= 1


def complex_step_disagreement(case: Case, expected: Expected) -> Disagreement:
    """Return how far the reference's gradient is from the complex step of its forward pass, in float64.

    Every entry up to `tolerance.COMPLEX_STEP_ALL` of them, random directions above. The derivative has rounding
    errors of its own, and they are not those of reverse mode: where the two differ by more than reverse mode explains,
    the complex step is taken once more under Monte Carlo arithmetic.
    """
    arrays = case.arrays.astype(np.float64)
    directions = _Directions(case, arrays)
    came = directions.derivatives()
    due, sd = directions.along(expected)
    floor = 4 * tolerance.SMALLEST_NORMAL["float64"]
    use = _use(np.abs(came - due), tolerance.SIGMAS * sd + floor)
    doubtful = np.argsort(-use, kind="stable")[: tolerance.COMPLEX_STEP_RETAKEN]
    doubtful = doubtful[use[doubtful] > tolerance.COMPLEX_STEP_DOUBT]
    if doubtful.size:
        own = directions.rounding_noise(doubtful)
        both = tolerance.SIGMAS * np.hypot(sd[doubtful], own) + floor
        use[doubtful] = _use(np.abs(came[doubtful] - due[doubtful]), both)
    worst = int(np.argmax(use))
    return Disagreement(float(use[worst]), directions.label(worst))


def complex_step_gradient(case: Case) -> dict[str, Array]:
    """Return the complex step of the reference's objective in every entry of the inputs, by their names."""
    arrays = case.arrays.astype(np.float64)
    return complex_step.gradient(_objective_from(arrays), arrays.inputs)


def _objective_from(arrays: Arrays) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function from the inputs to the reference's objective."""
    return lambda inputs: objective(*reference_forward(inputs), arrays)


def complex_step_noise(case: Case, forward: "Forward | None" = None, chosen: Array | None = None) -> Array:
    """Return the standard deviation of the complex step's own rounding error in every entry of all gradients in a row.

    `forward` is differentiated, by default the reference's; `chosen` are the entries, by default all.
    """
    directions = _Directions(case, case.arrays.astype(np.float64), every_entry=True, forward=forward)
    chosen = np.arange(case.size) if chosen is None else chosen
    chunks = (chosen[k : k + complex_step.CHUNK] for k in range(0, chosen.size, complex_step.CHUNK))
    return np.concatenate([directions.rounding_noise(chunk) for chunk in chunks])


def _use(difference: Array, accepted: Array) -> Array:
    """Return the share of what is accepted; infinite where it is not a number."""
    use = difference / accepted
    return np.where(np.isnan(use), np.inf, use)


class _Directions:
    """The directions in which the forward pass of a case is differentiated: every entry's, or a few random ones."""

    def __init__(
        self, case: Case, arrays: Arrays, every_entry: bool | None = None, forward: "Forward | None" = None
    ) -> None:
        self.case, self.arrays, self.forward = case, arrays, forward or reference_forward
        self.every_entry = case.size <= tolerance.COMPLEX_STEP_ALL if every_entry is None else every_entry
        rng = np.random.default_rng((case.seed, 1))
        count = tolerance.COMPLEX_STEP_DIRECTIONS if case.size <= tolerance.LARGE else 1
        self.random = {name: rng.standard_normal((count, *value.shape)) for name, value in arrays.inputs.items()}

    def derivatives(self) -> Array:
        """Return the derivative along each direction."""
        if not self.every_entry:
            return complex_step.derivative(_objective_from(self.arrays), self.arrays.inputs, self.random)
        found = complex_step_gradient(self.case)
        return np.concatenate([found[name].ravel() for name in INPUTS])

    def along(self, expected: Expected) -> tuple[Array, Array]:
        """Return the reference's derivative along each direction, and its standard deviation."""
        if self.every_entry:
            values, sds = (
                np.concatenate([by["d" + n].ravel() for n in INPUTS]) for by in (expected.values, expected.sd)
            )
            return values, sds
        flat = {name: value.reshape(value.shape[0], -1) for name, value in self.random.items()}
        value = np.sum([flat[n] @ expected.values["d" + n].ravel() for n in INPUTS], axis=0)
        return value, np.sum([np.abs(flat[n]) @ expected.sd["d" + n].ravel() for n in INPUTS], axis=0)

    def label(self, index: int) -> str:
        """Return the name of a direction."""
        if not self.every_entry:
            return f"random direction {index}"
        ends = np.cumsum([self.arrays.inputs[name].size for name in INPUTS])
        which = int(np.searchsorted(ends, index, side="right"))
        value = self.arrays.inputs[INPUTS[which]]
        where = np.unravel_index(index - (ends[which] - value.size), value.shape)
        return f"d{INPUTS[which]}{[int(k) for k in where]}"

    def rounding_noise(self, chosen: Array) -> Array:
        """Return the standard deviation of the complex step's own rounding error along the chosen directions."""
        rounding = _rounding(self.case, "float64")
        inputs = {n: exact(v[np.newaxis], rounding) for n, v in self.arrays.inputs.items()}
        along = self._chosen(chosen)
        for name, value in self.arrays.inputs.items():
            perturbed = value + 1j * complex_step.STEP * along[name]
            if along[name].any():
                inputs[name] = exact(perturbed, rounding)
        with np.errstate(all="ignore"):
            result = self._objective(inputs)
        return deviation(np.imag(np.asarray(result)) / complex_step.STEP, rounding)

    def _chosen(self, chosen: Array) -> dict[str, Array]:
        """Return the chosen directions by input, along a leading axis."""
        if not self.every_entry:
            return {name: value[chosen] for name, value in self.random.items()}
        along, start = {}, 0
        for name, value in self.arrays.inputs.items():
            units = (chosen[:, np.newaxis] == np.arange(start, start + value.size)).astype(np.float64)
            along[name] = units.reshape(-1, *value.shape)
            start += value.size
        return along

    def _objective(self, inputs: Mapping[str, Any]) -> Any:
        """Return the objective along whatever leading axes the inputs have."""
        leading: tuple[int, ...] = np.broadcast_shapes(
            *(value.shape[: value.ndim - self.arrays.inputs[name].ndim] for name, value in inputs.items())
        )
        # The first step's states carry all the leading axes, so that every step's have the same.
        states = {n: np.broadcast_to(inputs[n], (*leading, *self.arrays.inputs[n].shape)) for n in ("h0", "C0")}
        h, Cn = self.forward({**inputs, **states})
        return objective(h, Cn, self.arrays)


Forward = Callable[[Mapping[str, Array]], tuple[Array, Array]]


def check_grad(
    forward: Forward,
    gradient: Mapping[str, Array],
    case: Case,
    expected: Expected,
    direction: str,
    fixed: frozenset[str] = frozenset(),
    together: Callable[[Sequence[Mapping[str, Array]]], list[tuple[Array, Array]]] | None = None,
) -> Disagreement:
    """Return how `scipy.optimize.check_grad` judges a gradient, against its automatic threshold.

    Parameters
    ----------
    forward : callable
        From the inputs by name, in float64, to (h, Cn), h of every step or of the last alone.
    gradient : mapping
        The gradients to be judged, by name.
    case, expected : Case, Expected
        The cotangents and the gradient's own rounding noise.
    direction : str
        "all" entries one by one, or one "random" direction.
    fixed : frozenset of str
        Inputs that are not differentiated, the target having no gradient for them.
    together : callable, optional
        Does what `forward` does for many inputs at once: it is asked beforehand for those that are sure to come.

    Notes
    -----
    SciPy's difference is a forward one with the absolute step 2^-26; `tolerance.check_grad_all` and
    `tolerance.check_grad_random` say what is accepted and why.
    """
    arrays = case.arrays.astype(np.float64)
    names = [name for name in arrays.inputs if name not in fixed]
    x0 = np.concatenate([arrays.inputs[name].ravel() for name in names])
    g0 = np.concatenate([np.asarray(gradient["d" + name], np.float64).ravel() for name in names])
    sd = np.concatenate([expected.sd["d" + name].ravel() for name in names])
    known: dict[bytes, float] = {}

    def key_of(x: Array) -> bytes:
        return hashlib.sha256(x.tobytes()).digest()

    def inputs_at(x: Array) -> dict[str, Array]:
        inputs, start = dict(arrays.inputs), 0
        for name in names:
            stop = start + inputs[name].size
            inputs[name] = x[start:stop].reshape(inputs[name].shape)
            start = stop
        return inputs

    def f(x: Array) -> float:
        key = key_of(x)
        if key not in known:
            known[key] = _objective_of(*forward(inputs_at(x)), arrays)
        return known[key]

    eps = tolerance.CHECK_GRAD_STEP
    seed = case.seed
    if together is None:
        h, Cn = forward(arrays.inputs)
    else:
        steps = _steps(direction, x0.size, eps, seed)
        (h, Cn), *others = together([arrays.inputs, *(inputs_at(x0 + step) for step in steps)])
        known |= {key_of(x0 + step): _objective_of(*found, arrays) for step, found in zip(steps, others, strict=True)}
    value = known[key_of(x0)] = _objective_of(h, Cn, arrays)
    terms = objective_terms(h, Cn, arrays, expected)
    noise = tolerance.check_grad_noise(terms, value, float(np.sum(np.abs(g0 * x0))))
    if direction == "all":
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="all")
        once, twice = (optimize.approx_fprime(x0, f, step) for step in (eps, 2 * eps))
        limit = tolerance.check_grad_all(float(np.linalg.norm(twice - once)), noise, x0.size, float(np.linalg.norm(sd)))
    else:
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="random", rng=seed)
        v = np.random.default_rng(seed).standard_normal(x0.size)
        once = (f(x0 + eps * v) - value) / eps
        curvature, along = 0.0, float(np.sum(np.abs(v) * sd))
        # Each multiple can but widen what is accepted, and costs a forward pass.
        for k in tolerance.CHECK_GRAD_MULTIPLES:
            again = (f(x0 + k * eps * v) - value) / (k * eps)
            curvature = max(curvature, abs(again - once) / abs(k - 1))
            limit = tolerance.check_grad_random(curvature, noise, along)
            if error <= limit:
                break
    return Disagreement(float(error / limit) if limit > 0 else (0.0 if error == 0 else np.inf), direction)


def _steps(direction: str, size: int, eps: float, seed: int) -> list[Array]:
    """Return the steps that `check_grad` takes in any case."""
    if direction == "all":
        return [step * unit for step in (eps, 2 * eps) for unit in np.eye(size)]
    v = np.random.default_rng(seed).standard_normal(size)
    return [eps * v, tolerance.CHECK_GRAD_MULTIPLES[0] * eps * v]


def _objective_of(h: Array, Cn: Array, arrays: Arrays) -> float:
    """Return the scalar objective of a forward pass's outputs; of the last step alone where that is all there is."""
    if h.ndim == 2:
        return float(np.sum(arrays.dh_total[:, -1] * h) + np.sum(arrays.dCn * Cn))
    return float(objective(h, Cn, arrays))


def objective_terms(h: Array, Cn: Array, arrays: Arrays, expected: Expected) -> float:
    """Return S, the sum of the sizes of what the objective adds up; of its noise over rho where that is larger."""
    rho = tolerance.UNIT_ROUNDOFF[expected.dtype]
    dh, sd = arrays.dh_total, expected.sd["h"] / rho
    if h.ndim == 2:
        dh, sd = dh[:, -1], sd if sd.ndim == 2 else sd[:, -1]
    memory = np.abs(arrays.dCn) * np.maximum(np.abs(Cn), expected.sd["Cn"] / rho)
    return float(np.sum(np.abs(dh) * np.maximum(np.abs(h), sd)) + np.sum(memory))


def reference_forward(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return (h, Cn) of the reference."""
    p = {name: inputs[name] for name in PARAMETERS}
    fc = lstm_forward(p, inputs["X"], inputs["h0"], inputs["C0"], keep=("h", "C_"))
    return fc["h"], fc["C_"][..., -1, :]
