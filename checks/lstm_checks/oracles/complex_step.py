"""Whether the reference's backward pass is right, asked of its forward pass alone: the complex step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.arithmetic import complex_step
from lstm_checks.arithmetic.monte_carlo import deviation, exact
from lstm_checks.cases import Arrays, Case
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.expected import Array, Expected, rounding_of
from lstm_checks.oracles.objective import Forward, objective, reference_forward


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
    forward = reference_forward(arrays.cell)
    return lambda inputs: objective(forward(inputs), arrays)


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
        self.case, self.arrays, self.forward = case, arrays, forward or reference_forward(arrays.cell)
        self.every_entry = case.size <= tolerance.COMPLEX_STEP_ALL if every_entry is None else every_entry
        rng = np.random.default_rng((case.seed, 1))
        count = tolerance.COMPLEX_STEP_DIRECTIONS if case.size <= tolerance.LARGE else 1
        self.random = {name: rng.standard_normal((count, *value.shape)) for name, value in arrays.inputs.items()}

    def derivatives(self) -> Array:
        """Return the derivative along each direction."""
        if not self.every_entry:
            return complex_step.derivative(_objective_from(self.arrays), self.arrays.inputs, self.random)
        found = complex_step_gradient(self.case)
        return np.concatenate([found[name].ravel() for name in self.case.cell.inputs])

    def along(self, expected: Expected) -> tuple[Array, Array]:
        """Return the reference's derivative along each direction, and its standard deviation."""
        names = self.case.cell.inputs
        if self.every_entry:
            values, sds = (
                np.concatenate([by["d" + n].ravel() for n in names]) for by in (expected.values, expected.sd)
            )
            return values, sds
        flat = {name: value.reshape(value.shape[0], -1) for name, value in self.random.items()}
        value = np.sum([flat[n] @ expected.values["d" + n].ravel() for n in names], axis=0)
        return value, np.sum([np.abs(flat[n]) @ expected.sd["d" + n].ravel() for n in names], axis=0)

    def label(self, index: int) -> str:
        """Return the name of a direction."""
        if not self.every_entry:
            return f"random direction {index}"
        names = self.case.cell.inputs
        ends = np.cumsum([self.arrays[name].size for name in names])
        which = int(np.searchsorted(ends, index, side="right"))
        value = self.arrays[names[which]]
        where = np.unravel_index(index - (ends[which] - value.size), value.shape)
        return f"d{names[which]}{[int(k) for k in where]}"

    def rounding_noise(self, chosen: Array) -> Array:
        """Return the standard deviation of the complex step's own rounding error along the chosen directions."""
        # In NumPy's own complex numbers, for which Monte Carlo arithmetic has a noise
        # model; `ComplexStepArray` has none.
        rounding = rounding_of(self.case, "float64")
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
            *(value.shape[: value.ndim - self.arrays[name].ndim] for name, value in inputs.items())
        )
        # The first step's states carry all the leading axes, so that every step's have the same.
        initial = self.case.cell.initial
        states = {n: np.broadcast_to(inputs[n], (*leading, *self.arrays[n].shape)) for n in initial}
        return objective(self.forward({**inputs, **states}), self.arrays)
