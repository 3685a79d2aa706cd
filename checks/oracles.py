"""What a gradient is compared with: the reference under several arithmetics, and scipy.optimize.check_grad.

`expect` gives the values due for a case with the rounding noise of each entry; `complex_step_disagreement` asks the
forward pass alone whether the reference's backward pass is right; `check_grad` asks finite differences.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from checks import tolerance
from checks.arithmetic import complex_step
from checks.arithmetic.monte_carlo import Rounding, noisy_copies, spread
from checks.cases import Arrays, Case, from_named
from checks.contract import GRADIENTS, INPUTS, OUTPUTS, PARAMETERS
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
    """

    values: dict[str, Array]
    sd: dict[str, Array]
    dtype: str

    def chaotic(self, names: tuple[str, ...]) -> bool:
        """Return whether rounding drowns these values, so that nothing can be concluded from them."""
        return tolerance.is_chaotic({n: self.values[n] for n in names}, {n: self.sd[n] for n in names}, self.dtype)


def evaluate_reference(arrays: Arrays) -> dict[str, Any]:
    """Return h, Cn and the 15 gradients of the reference, in whatever arithmetic the arrays are of."""
    fc = lstm_forward(arrays.p, arrays.X, arrays.h0, arrays.C0)
    bc = lstm_backward(arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)
    values = {"h": fc["h"], "Cn": fc["C_"][..., -1, :], **lstm_parameter_gradients(fc, bc)}
    values |= {name: bc[name] for name in ("dX", "dh0", "dC0")}
    return {name: values[name] for name in (*OUTPUTS, *GRADIENTS)}


def expect(case: Case) -> Expected:
    """Return the values due for a case, from the reference under Monte Carlo arithmetic."""
    dtype = case.dtype
    rounding = Rounding(
        rho=tolerance.UNIT_ROUNDOFF[dtype],
        underflow=tolerance.SMALLEST_NORMAL[dtype],
        magnification=tolerance.MAGNIFICATION[dtype],
        rng=np.random.default_rng((case.seed, *case.dims)),
    )
    arrays = case.arrays.astype(np.float64)
    noisy = {k: noisy_copies(v, tolerance.COPIES, rounding) for k, v in (arrays.inputs | arrays.cotangents).items()}
    with np.errstate(all="ignore"):
        results = {name: spread(value) for name, value in evaluate_reference(from_named(noisy)).items()}
    return Expected({k: v for k, (v, _) in results.items()}, {k: sd for k, (_, sd) in results.items()}, dtype)


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

    Every entry up to `tolerance.COMPLEX_STEP_ALL` of them, random directions above.
    """
    arrays = case.arrays.astype(np.float64)
    sizes: list[Array] = []

    def f(inputs: Mapping[str, Array]) -> Array:
        states = {}
        leading = max((np.shape(v)[: -len(arrays.inputs[k].shape)] for k, v in inputs.items()), key=len)
        for name in ("h0", "C0"):
            states[name] = np.broadcast_to(inputs[name], (*leading, *arrays.inputs[name].shape)).astype(complex)
        fc = lstm_forward({name: inputs[name] for name in PARAMETERS}, inputs["X"], states["h0"], states["C0"])
        h, Cn = fc["h"], fc["C_"][..., -1, :]
        tangent = np.abs(h.imag), np.abs(Cn.imag)
        sizes.append(objective(*tangent, _absolute(arrays)) / complex_step.STEP)
        return objective(h, Cn, arrays)

    if case.size <= tolerance.COMPLEX_STEP_ALL:
        derivatives = complex_step.gradient(f, arrays.inputs)
        flat_sizes = np.concatenate([np.ravel(size) for size in sizes])
        came = np.concatenate([derivatives[name].ravel() for name in INPUTS])
        due = np.concatenate([expected.values["d" + name].ravel() for name in INPUTS])
        sd = np.concatenate([expected.sd["d" + name].ravel() for name in INPUTS])
        labels = [f"d{name}[{k}]" for name in INPUTS for k in range(arrays.inputs[name].size)]
    else:
        rng = np.random.default_rng((case.seed, 1))
        count = tolerance.COMPLEX_STEP_DIRECTIONS
        along = {name: rng.standard_normal((count, *value.shape)) for name, value in arrays.inputs.items()}
        came = complex_step.derivative(f, arrays.inputs, along)
        flat_sizes = np.ravel(sizes[0])
        flat = {n: a.reshape(count, -1) for n, a in along.items()}
        due = sum(flat[n] @ expected.values["d" + n].ravel() for n in INPUTS)
        sd = sum(np.abs(flat[n]) @ expected.sd["d" + n].ravel() for n in INPUTS)
        labels = [f"direction {k}" for k in range(count)]
    use = np.abs(came - due) / (
        tolerance.complex_step_accepted(sd, flat_sizes) + 4 * tolerance.SMALLEST_NORMAL["float64"]
    )
    worst = int(np.argmax(np.where(np.isnan(use), np.inf, use)))
    return Disagreement(float(use[worst]), labels[worst])


def _absolute(arrays: Arrays) -> Arrays:
    """Return the arrays with every cotangent replaced by its absolute value."""
    return from_named(arrays.inputs | {name: np.abs(value) for name, value in arrays.cotangents.items()})


Forward = Callable[[Mapping[str, Array]], tuple[Array, Array]]


def check_grad(
    forward: Forward,
    gradient: Mapping[str, Array],
    case: Case,
    expected: Expected,
    direction: str,
    fixed: frozenset[str] = frozenset(),
) -> Disagreement:
    """Return how `scipy.optimize.check_grad` judges a gradient, against its automatic threshold.

    Parameters
    ----------
    forward : callable
        From the 15 inputs by name, in float64, to (h, Cn), h of every step or of the last alone.
    gradient : mapping
        The gradients to be judged, by name.
    case, expected : Case, Expected
        The cotangents and the gradient's own rounding noise.
    direction : str
        "all" entries one by one, or one "random" direction.
    fixed : frozenset of str
        Inputs that are not differentiated, the target having no gradient for them.

    Notes
    -----
    SciPy's difference is a forward one with the absolute step 2^-26; `tolerance.check_grad_all` and
    `tolerance.check_grad_random` say what is accepted and why.
    """
    arrays = case.arrays.astype(np.float64)
    names = [name for name in INPUTS if name not in fixed]
    x0 = np.concatenate([arrays.inputs[name].ravel() for name in names])
    g0 = np.concatenate([np.asarray(gradient["d" + name], np.float64).ravel() for name in names])
    sd = np.concatenate([expected.sd["d" + name].ravel() for name in names])
    known: dict[bytes, float] = {}

    def f(x: Array) -> float:
        key = x.tobytes()
        if key not in known:
            inputs, start = dict(arrays.inputs), 0
            for name in names:
                stop = start + inputs[name].size
                inputs[name] = x[start:stop].reshape(inputs[name].shape)
                start = stop
            known[key] = _objective_of(forward, inputs, arrays)
        return known[key]

    value = f(x0)
    h, Cn = forward(arrays.inputs)
    terms = _terms(np.asarray(h), np.asarray(Cn), arrays)
    noise = tolerance.check_grad_noise(terms, value, float(np.sum(np.abs(g0 * x0))))
    eps = tolerance.CHECK_GRAD_STEP
    seed = case.seed
    if direction == "all":
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="all")
        once, twice = (optimize.approx_fprime(x0, f, step) for step in (eps, 2 * eps))
        limit = tolerance.check_grad_all(float(np.linalg.norm(twice - once)), noise, x0.size, float(np.linalg.norm(sd)))
    else:
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="random", rng=seed)
        v = np.random.default_rng(seed).standard_normal(x0.size)
        steps = {k: (f(x0 + k * eps * v) - value) / (k * eps) for k in (1, *tolerance.CHECK_GRAD_MULTIPLES)}
        curvature = max(abs(steps[k] - steps[1]) / (k - 1) for k in tolerance.CHECK_GRAD_MULTIPLES)
        limit = tolerance.check_grad_random(curvature, noise, float(np.sum(np.abs(v) * sd)))
    return Disagreement(float(error / limit) if limit > 0 else (0.0 if error == 0 else np.inf), direction)


def _objective_of(forward: Forward, inputs: Mapping[str, Array], arrays: Arrays) -> float:
    """Return the scalar objective of a forward pass; of the last step alone where that is all there is."""
    h, Cn = (np.asarray(output) for output in forward(inputs))
    if h.ndim == 2:
        return float(np.sum(arrays.dh_total[:, -1] * h) + np.sum(arrays.dCn * Cn))
    return float(objective(h, Cn, arrays))


def _terms(h: Array, Cn: Array, arrays: Arrays) -> float:
    """Return S, the sum of the sizes of what the objective adds up."""
    dh = arrays.dh_total if h.ndim == 3 else arrays.dh_total[:, -1]
    return float(np.sum(np.abs(dh * h)) + np.sum(np.abs(arrays.dCn * Cn)))


def reference_forward(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return (h, Cn) of the reference."""
    fc = lstm_forward({name: inputs[name] for name in PARAMETERS}, inputs["X"], inputs["h0"], inputs["C0"])
    return fc["h"], fc["C_"][..., -1, :]
