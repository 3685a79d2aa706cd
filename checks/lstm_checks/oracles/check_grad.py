"""What finite differences say of a gradient: scipy.optimize.check_grad, with a threshold that is derived."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import optimize

from lstm_checks import tolerance
from lstm_checks.cases import Arrays, Case
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.expected import Array, Expected
from lstm_checks.oracles.kinks import CROSSED, crosses_a_kink
from lstm_checks.oracles.objective import Forward, objective, reference_forward


# What a target answers may be as large as numbers get, and differences of that no numbers: both are no agreement.
@np.errstate(over="ignore", invalid="ignore")
def check_grad(
    forward: Forward,
    gradient: Mapping[str, Array],
    case: Case,
    expected: Expected,
    direction: str,
    fixed: frozenset[str] = frozenset(),
    together: Callable[[Sequence[Mapping[str, Array]]], list[Mapping[str, Array]]] | None = None,
) -> Disagreement:
    """Return how `scipy.optimize.check_grad` judges a gradient, against its automatic threshold.

    Parameters
    ----------
    forward : callable
        From the inputs by name, in float64, to the outputs by name, h as it is in `expected`.
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
    `tolerance.check_grad_random` say what is accepted and why. Where a step leads across a kink of an activation
    function the difference is no derivative, and nothing is decided.
    """
    arrays = case.arrays.astype(np.float64)
    names = [name for name in arrays.inputs if name not in fixed]
    x0 = np.concatenate([arrays[name].ravel() for name in names])
    g0 = np.concatenate([np.asarray(gradient["d" + name], np.float64).ravel() for name in names])
    sd = np.concatenate([expected.sd["d" + name].ravel() for name in names])
    # f is asked for at x0 and at the same steps several times, by SciPy and below, and each is a call of the target.
    known: dict[bytes, float] = {}

    def key_of(x: Array) -> bytes:
        return hashlib.sha256(x.tobytes()).digest()

    def value_of(outputs: Mapping[str, Array]) -> float:
        return float(objective(outputs, arrays, expected.last_step))

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
            known[key] = value_of(forward(inputs_at(x)))
        return known[key]

    eps = tolerance.CHECK_GRAD_STEP
    seed = case.seed
    ends = _ends(direction, x0.size, eps, seed) if case.cell.kinks else []
    if crosses_a_kink(arrays.cell, arrays.inputs, [inputs_at(x0 + end) for end in ends]):
        return Disagreement(np.nan, direction, undecided=CROSSED)
    steps = _steps(direction, x0.size, eps, seed)
    if together is None:
        outputs = forward(arrays.inputs)
    else:
        outputs, *others = together([arrays.inputs, *(inputs_at(x0 + step) for step in steps)])
        known |= {key_of(x0 + step): value_of(found) for step, found in zip(steps, others, strict=True)}
    value = known[key_of(x0)] = value_of(outputs)
    terms = objective_terms(outputs, arrays, expected)
    # With the steps themselves: where all that is differentiated is zero, as an empty sample's states are, the function
    # is rounded at their ends alone.
    reach = np.abs(x0) + np.max(np.abs(steps), axis=0)
    noise = tolerance.check_grad_noise(terms, value, float(np.sum(np.abs(g0) * reach)))
    if direction == "all":
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="all")
        # FD(2 eps) - FD(eps) is eps f''/2 to first order, the very truncation error of FD(eps).
        once, twice = (optimize.approx_fprime(x0, f, step) for step in (eps, 2 * eps))
        limit = tolerance.check_grad_all(float(np.linalg.norm(twice - once)), noise, x0.size, float(np.linalg.norm(sd)))
    else:
        error = optimize.check_grad(f, lambda x: g0, x0, epsilon=eps, direction="random", rng=seed)
        v = np.random.default_rng(seed).standard_normal(x0.size)
        # SciPy draws the same v from the same seed: this quotient is the one that it judged, and costs no further call.
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


def reference_check_grad(case: Case, expected: Expected) -> Disagreement:
    """Return how `scipy.optimize.check_grad` judges the reference's own gradient."""
    gradient = {name: expected.values[name] for name in case.cell.gradients}
    return check_grad(reference_forward(case.arrays.cell), gradient, case, expected, "random")


def _ends(direction: str, size: int, eps: float, seed: int) -> list[Array]:
    """Return the longest steps that `check_grad` may take, between which all others lie."""
    if direction == "all":
        return [2 * eps * unit for unit in np.eye(size)]
    v = np.random.default_rng(seed).standard_normal(size)
    return [k * eps * v for k in (min(tolerance.CHECK_GRAD_MULTIPLES), 1, max(tolerance.CHECK_GRAD_MULTIPLES))]


def _steps(direction: str, size: int, eps: float, seed: int) -> list[Array]:
    """Return the steps that `check_grad` takes in any case."""
    if direction == "all":
        return [step * unit for step in (eps, 2 * eps) for unit in np.eye(size)]
    v = np.random.default_rng(seed).standard_normal(size)
    return [eps * v, tolerance.CHECK_GRAD_MULTIPLES[0] * eps * v]


@np.errstate(over="ignore", invalid="ignore")
def objective_terms(outputs: Mapping[str, Array], arrays: Arrays, expected: Expected) -> float:
    """Return S, the sum of the sizes of what the objective adds up; of its noise over rho where that is larger."""
    rho = tolerance.UNIT_ROUNDOFF[expected.dtype]
    hidden = arrays.cell.outputs[0]
    h, dh, sd = outputs[hidden], arrays.dh_total, expected.sd[hidden] / rho
    if expected.last_step:
        dh = dh[:, -1]
    found = np.sum(np.abs(dh) * np.maximum(np.abs(h), sd))
    for name, cotangent in arrays.cell.finals.items():
        found += np.sum(np.abs(arrays[cotangent]) * np.maximum(np.abs(outputs[name]), expected.sd[name] / rho))
    return float(found)
