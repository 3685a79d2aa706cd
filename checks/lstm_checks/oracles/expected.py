"""What is due for a case, and how much rounding blurs it: the reference under Monte Carlo arithmetic."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic.mixed import Emulated, Mixed
from lstm_checks.arithmetic.monte_carlo import Rounding, deviation, exact, spread
from lstm_checks.arithmetic.projection import project
from lstm_checks.cases import Arrays, Case
from lstm_checks.formats import format_named, is_low
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.kinks import unjudged_at_kinks
from lstm_checks.oracles.stored import storing
from lstm_checks.oracles.together import Together
from lstm_ref.cell import Cell, evaluate, evaluate_forward, run_forward

Array = NDArray[Any]

OUT_OF_DTYPE = "out of its dtype: "
"""How the reason begins for which a tensor is not judged, nor expected to be finite."""

UNSTABLE = "unstable in its dtype: "
"""How it begins where roundings lead to another answer altogether, which may be out of the dtype as well."""

ADDING_UP = "roundings are not independent: "
"""How it begins where those to the nearest are not, as where they go the same way step after step."""

_AGAIN = 1
"""What makes the noise of copies that are asked besides another."""

_COPIES_AT_ONCE, _STEPS_AT_ONCE = 2, 4
"""How much of a large case is in memory at a time."""


@dataclass(frozen=True)
class Expected:
    """The values due for a case, and how much rounding blurs them.

    Attributes
    ----------
    values : dict
        The outputs and gradients of the case's cell by name, in float64.
    sd : dict
        The standard deviation of each entry's rounding error in the case's dtype, absolute.
    dtype : str
        The case's dtype.
    last_step : bool
        Whether h is that of the last step alone, (m, u); see `as_returned`.
    sigmas : float
        Accepted deviation of an entry in standard deviations.
    directions : dict
        For a large case, the value due along each random direction of a tensor, and its accepted deviation.
    seed : int
        Seed of the directions.
    withheld : mapping
        The tensors of which nothing can be said, each with the reason: a linear activation lies at a kink, or what is
        not bounded grows out of the dtype.
    together : Together or None
        In low precision, of what many entries say together.
    by_complex_step, by_check_grad : Disagreement or None
        How far the complex step and SciPy's difference are from the reference's gradient, where that is known already.
    after_step : Expected or None
        What is due after a step along the gradient (`oracles.stepped`), where that is known already.
    """

    values: dict[str, Array]
    sd: dict[str, Array]
    dtype: str
    last_step: bool = False
    sigmas: float = tolerance.SIGMAS
    directions: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    seed: int = 0
    withheld: Mapping[str, str] = field(default_factory=dict)
    together: Together | None = None
    by_complex_step: Disagreement | None = None
    by_check_grad: Disagreement | None = None
    after_step: "Expected | None" = None

    def as_returned(self, last_step: bool, cell: Cell) -> "Expected":
        """Return what is due of a target that returned h of the last step alone, or of every step."""
        if not last_step or self.last_step:
            return self
        hidden = cell.outputs[0]
        values, sd = (of | {hidden: of[hidden][:, -1]} for of in (self.values, self.sd))
        # Along a random direction of all steps nothing is known of the last one.
        directions = {name: known for name, known in self.directions.items() if name != hidden}
        return replace(self, values=values, sd=sd, directions=directions, last_step=True)

    def chaotic(self, names: tuple[str, ...]) -> bool:
        """Return whether rounding drowns these values, or decides a convention, so that nothing can be concluded."""
        return bool(self.unjudged(names))

    def unjudged(self, names: tuple[str, ...]) -> str:
        """Return why nothing can be concluded from these values; nothing where something can."""
        withheld = [self.withheld[name] for name in names if name in self.withheld]
        if withheld:
            return withheld[0]
        values, sds = {n: self.values[n] for n in names}, {n: self.sd[n] for n in names}
        drowned = tolerance.is_chaotic(values, sds, self.dtype)
        return "chaotic: rounding drowns the answer" if drowned else ""

    @property
    def out_of_dtype(self) -> bool:
        """Whether what is due leads out of the case's dtype, or may, so that not even finite values are."""
        return any(reason.startswith((OUT_OF_DTYPE, UNSTABLE)) for reason in self.withheld.values())

    def project(self, name: str, value: Array, copies: bool = False) -> Array:
        """Return the products of a tensor of that name with its random directions."""
        return project(value, tolerance.LARGE_DIRECTIONS, (self.seed, *name.encode()), copies)


def evaluate_reference(arrays: Arrays, steps_at_once: int | None = None) -> dict[str, Any]:
    """Return the outputs and gradients of the reference; see `lstm_ref.cell.evaluate`.

    Under the arithmetic of a precision contract its values are stored as that says, and come back so.
    """
    mixed = getattr(arrays["X"], "rounding", None)
    if not isinstance(mixed, Mixed):
        return evaluate(arrays.cell, arrays, steps_at_once)
    found = evaluate(storing(arrays.cell), arrays, steps_at_once)
    return {name: mixed.returned(value) for name, value in found.items()}


def expect(
    case: Case,
    progress: Callable[[], None] = lambda: None,
    evaluate: Callable[[Arrays], dict[str, Any]] = evaluate_reference,
    arrays: Arrays | None = None,
) -> Expected:
    """Return the values due for a case, from the reference under Monte Carlo arithmetic.

    Parameters
    ----------
    case : Case
    progress : callable
        Called after each round of copies of a large case.
    evaluate : callable
        What takes the reference's place: a function of the arrays that returns the outputs and gradients. Not for
        large cases.
    arrays : Arrays, optional
        Other values than the case's own, of the same shapes. Not for large cases.
    """
    if case.size > tolerance.LARGE:
        return _expect_large(case, progress)
    dtype = case.dtype
    rounding = rounding_of(case, dtype)
    given = (case.arrays if arrays is None else arrays).astype(np.float64)
    noisy = given.each(lambda value: exact(value, rounding))
    with np.errstate(all="ignore"):
        found = evaluate(noisy)
        results = {name: spread(value) for name, value in found.items()}
    together = None
    if isinstance(rounding, Mixed):
        copies = {name: value.view(np.ndarray) for name, value in found.items()}
        together = Together(given, copies, rounding.magnification)
    values = {name: value for name, (value, _) in results.items()}
    times = _by_formula(case, given)
    sds = {name: sd * times if name in case.cell.gradients else sd for name, (_, sd) in results.items()}
    out = _out_of_dtype(case, values, rounding)
    unstable: dict[str, str] = {}
    if together is not None and not out:
        unstable = _unstable(case, given, sds) or _adding_up(case, given, sds, together)
    withheld = unstable | unjudged_at_kinks(case, rounding_of(case, dtype), given) | out
    return Expected(values, sds, dtype, withheld=withheld, together=together)


def _by_formula(case: Case, given: Arrays) -> float:
    """Return by how much the rounding of gradients is larger in another formula than the reference's.

    Of two numbers that are normalised the signs alone are left, and the gradient of that is what a cancellation leaves.
    In other formulas what cancels is as large as the numbers themselves, and not as what they differ by.
    """
    cell = case.arrays.cell
    if not cell.normalised or case.u != 2:
        return 1.0
    with np.errstate(all="ignore"):
        fc = run_forward(cell, given, {*cell.normalised, *cell.normalised.values()})
    pairs = [
        (values, roots)
        for linear, root in cell.normalised.items()
        for (_, values), (_, roots) in zip(cell.kept(fc, linear), cell.kept(fc, root), strict=True)
    ]
    sizes = [np.max(np.abs(np.mean(values, -1, keepdims=True) * roots), initial=0) for values, roots in pairs]
    return 1.0 + tolerance.NORM_OF_TWO * float(np.max(sizes, initial=0))


def _unstable(case: Case, given: Arrays, sds: Mapping[str, Array]) -> dict[str, str]:
    """Return all tensors with the reason, where at twice the roundings that there are an output goes elsewhere.

    The noise is measured so small that what comes depends on it linearly. Large weights over many steps are a
    staircase, of which that says nothing: a gate that is 0 or 1 goes over at once. So copies with twice the noise there
    is are held against it, which step over an edge at two of its standard deviations in every sixth copy.
    """
    rng = np.random.default_rng((case.seed, *case.dims, _AGAIN))
    twice = Mixed(format_named(case.dtype), tolerance.UNSTABLE_NOISE, rng, tolerance.COPIES)
    with np.errstate(all="ignore"):
        found = evaluate_forward(storing(case.cell), given.each(lambda value: exact(value, twice)))
        for name, value in found.items():
            copies = twice.returned(value).view(np.ndarray)
            departure = np.max(np.abs(copies - copies[0]), axis=0) / tolerance.UNSTABLE_NOISE
            if not np.all(departure <= tolerance.UNSTABLE * tolerance.accepted(sds[name], case.dtype)):
                words = f"{UNSTABLE}at twice its roundings {name} goes to another answer altogether"
                return dict.fromkeys(case.cell.tensors, words)
    return {}


def _adding_up(case: Case, given: Arrays, sds: Mapping[str, Array], together: Together) -> dict[str, str]:
    """Return all tensors with the reason, where the contract carried out to the nearest is itself off by too much.

    The noise goes either way. What is stored in a few digits and changes by less than half of the last from step to
    step does not: a memory that a gate of 0.501 takes a half of is halved each time, and each time as much is lost. So
    over many steps the contract is carried out, and must be well within what is accepted of anybody who does.
    """
    if case.s < tolerance.ADDING_UP_STEPS:
        return {}
    program = Emulated(format_named(case.dtype))
    with np.errstate(all="ignore"):
        found = evaluate_reference(given.each(program.exact))
    came = {name: value.view(np.ndarray)[0] for name, value in found.items()}
    uses = [
        *(np.max(np.abs(came[n] - together.due[n]) / tolerance.accepted(sds[n], case.dtype)) for n in came),
        *(one.use for one in together.project(came, came)),
        *(one.use for one in together.spreads(came, came)),
    ]
    most = float(np.max(np.nan_to_num(uses, nan=np.inf)))
    if most <= tolerance.ADDING_UP:
        return {}
    words = f"{ADDING_UP}the contract carried out to the nearest takes {most:.2g} of what is accepted of such"
    return dict.fromkeys(case.cell.tensors, words)


def _out_of_dtype(case: Case, values: Mapping[str, Array], rounding: Rounding) -> dict[str, str]:
    """Return all tensors with the reason, where what is computed leads out of the case's dtype.

    Float16 ends so early that a sum does; beyond that only activations that are not bounded lead there.
    """
    if isinstance(rounding, Mixed) and rounding.overflows:
        reason = f"{OUT_OF_DTYPE}something on the way is larger than {tolerance.OVERFLOW[case.dtype]:.0f}, and may be"
        return dict.fromkeys(case.cell.tensors, f"{reason} no number of {rounding.form.short}")
    largest = max(float(np.max(np.abs(value))) for value in values.values())
    power, limit = max((one.power for one in case.cell.activations.values()), default=1), tolerance.OVERFLOW[case.dtype]
    if not case.cell.activations:
        return {}
    # What is raised to a power is a linear activation, which may be larger than anything that comes out.
    if largest <= (limit ** (1 / (power + 1)) if power > 1 else limit):
        return {}
    words = f"values of {largest:.1g} are due, where {case.dtype} overflows"
    if largest <= limit:
        words = f"values of {largest:.1g} are due, and a power of {power} on the way may be more than {case.dtype} has"
    return dict.fromkeys(case.cell.tensors, f"{OUT_OF_DTYPE}{words}")


def _expect_large(case: Case, progress: Callable[[], None]) -> Expected:
    """Return the values due for a large case: few copies, two at a time, and random directions of every tensor."""
    rounding = rounding_of(case, case.dtype, _COPIES_AT_ONCE)
    arrays = case.arrays.astype(np.float64)
    inputs = arrays.each(lambda value: exact(value, rounding))
    sigmas = tolerance.LARGE_SIGMAS["entry"]
    withheld = unjudged_at_kinks(case, rounding_of(case, case.dtype, tolerance.LARGE_COPIES))
    expected = Expected({}, {}, case.dtype, sigmas=sigmas, seed=case.seed, withheld=withheld)
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
            # The root mean square over the rounds, added up as they come, so that no round's copies need be kept.
            expected.sd[name] = np.hypot(expected.sd[name], sd)
            departure = expected.project(name, copies[1:] - copies[0], copies=True)
            departures[name].append(departure / rounding.magnification)
        progress()
    if isinstance(rounding, Mixed):
        expected = replace(expected, withheld=withheld | _out_of_dtype(case, expected.values, rounding))
    for name, parts in departures.items():
        own = np.sqrt(np.mean(np.square(np.concatenate(parts)), axis=0))
        # Of few copies one direction's deviation may by chance come out small: it counts as the mean of all at least.
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
    gates = len(case.cell.gates)
    fan = case.e + case.cell.shape(case.cell.initial[0], *case.dims)[-1]
    row = case.m * case.s * gates * fan * case.u
    # An entry of a step's products takes about four such operations: m terms, their sizes, noise, the sum over steps.
    perturbed = 4 * 3 * case.s * gates * fan * case.u * LARGE_ROUNDS
    seconds = 6 * row * (3 * 2 * LARGE_ROUNDS + 10) * per_product + perturbed * per_number
    trace = 60 * case.m * case.s * (case.u + case.e) * 8
    return seconds, 8 * (14 * case.size + 2 * gates * _STEPS_AT_ONCE * fan * case.u) + trace


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
    if is_low(dtype):
        rng = np.random.default_rng((case.seed, *case.dims))
        return Mixed(format_named(dtype), tolerance.MAGNIFICATION[dtype], rng, copies)
    return Rounding(
        rho=tolerance.UNIT_ROUNDOFF[dtype],
        underflow=tolerance.SMALLEST_NORMAL[dtype],
        magnification=tolerance.MAGNIFICATION[dtype],
        rng=np.random.default_rng((case.seed, *case.dims)),
        copies=copies,
    )
