"""The kill matrix: which way of checking a gradient sees which catalogued fault, and in how many examples.

Each method is given what it asks for. All but `allclose` and `verify` know nothing of the reference: they ask whether
the gradient is that of the layer's own forward pass. A method kills a fault on an example where it rejects the fault
and accepts the clean reference; where it rejects the reference, too, that is a false alarm and tells nothing.
"""

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic import complex_step
from lstm_checks.asking.claims import rotation
from lstm_checks.campaign.executors import parse_executor
from lstm_checks.cases import Arrays, Case, cotangents_of
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import PLAIN
from lstm_checks.faults.catalogue import faults_of, find
from lstm_checks.faults.model import Fault, evaluate, fault_target, patched_source
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.check_grad import objective_terms
from lstm_checks.oracles.complex_step import complex_step_noise
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.oracles.objective import objective
from lstm_checks.strategies import draw_cases
from lstm_ref.cell import Cell

Array = NDArray[Any]

MAX_DIMS = (4, 6, 5, 5)
"""Largest (m, s, e, u): at most 380 entries, so that differences of all of them in every fault take minutes."""


def shown(cell: Cell = PLAIN) -> tuple[str, ...]:
    """Return the ids of the faults of a cell that such sizes can show."""
    return tuple(id for id, fault in faults_of(cell).items() if fault.family != "blocks")


CHECK_GRAD_FIXED, CHECK_GRAD_AUTOMATIC = "check_grad, 1e-5", "check_grad, our threshold"
TORCH, JAX, ALLCLOSE = "torch.gradcheck's", "jax.check_grads's", "np.allclose"
COMPLEX_STEP, VERIFY = "complex step", "verify"

# The peers' own defaults for float64: torch.autograd.gradcheck(eps, atol, rtol), and EPS, the tolerance for float64 and
# the seed of the one direction in jax.test_util.check_grads.
TORCH_STEP, TORCH_ATOL, TORCH_RTOL = 1e-6, 1e-5, 1e-3
JAX_STEP, JAX_TOLERANCE, JAX_SEED = 1e-4, 1e-5, 0
FIXED_THRESHOLD = 1e-5

LARGEST_NOISE = 1e-3
"""An error of this share of the largest entry is no rounding: 6 sd of both roundings, each at most 1e-4 of it where the
problem is not chaotic (`tolerance.CHAOTIC`), are 8.5e-4."""

ROWS_AT_ONCE = 256
"""Perturbed copies that go through a forward pass at once."""


@dataclass(frozen=True)
class Problem:
    """What is due on a case, and all that the methods need of it, worked out once for all faults."""

    case: Case
    expected: Expected
    noise: Array

    @classmethod
    def of(cls, case: Case) -> "Problem":
        """Return the problem that a case poses."""
        return cls(case, expect(case), complex_step_noise(case))

    @property
    def arrays(self) -> Arrays:
        """The arrays of the case."""
        return self.case.arrays

    @property
    def cell(self) -> Cell:
        """The cell of the case."""
        return self.case.cell

    @property
    def chaotic(self) -> bool:
        """Whether rounding drowns the gradient: a method that measures it concludes nothing then."""
        return self.expected.chaotic(self.cell.gradients)


@dataclass(frozen=True)
class Differences:
    """Derivatives of one forward pass, for every input's every entry, or along one direction.

    `complex` is None where the forward pass does not take complex numbers.
    """

    value: float
    once: Array
    twice: Array
    central: Array
    directional: float
    complex: Array | None


@dataclass(frozen=True)
class Judged:
    """A layer's answer on a case: its values by name, its gradients in a row, and its forward pass's derivatives."""

    fault: Fault | None
    values: dict[str, Array]
    gradient: Array
    differences: Differences


def differentiate(fault: Fault | None, arrays: Arrays) -> Differences:
    """Return the derivatives of the forward pass of the reference, or of the reference with a fault in it.

    Notes
    -----
    With the steps of `scipy.optimize.check_grad` and twice that, of torch's gradcheck and of jax's check_grads, all
    perturbed copies along a leading axis of one call.
    """
    x0 = _row(arrays.inputs)
    n, eps = x0.size, tolerance.CHECK_GRAD_STEP
    unit = np.eye(n)
    along = np.random.RandomState(JAX_SEED).standard_normal(n)
    shifts = [np.zeros((1, n)), eps * unit, 2 * eps * unit, TORCH_STEP * unit, -TORCH_STEP * unit]
    shifts += [JAX_STEP * along[np.newaxis], -JAX_STEP * along[np.newaxis]]
    f = partial(_objective_of_rows, fault, arrays)
    with np.errstate(all="ignore"):
        found = f(np.concatenate([x0 + shift for shift in shifts]))
        value, once, twice, up, down, ahead, behind = np.split(found, np.cumsum([len(s) for s in shifts])[:-1])
        return Differences(
            float(value[0]),
            (once - value) / (x0 + eps - x0),
            (twice - value) / (x0 + 2 * eps - x0),
            (up - down) / (2 * TORCH_STEP),
            float((ahead - behind)[0] * (0.5 / JAX_STEP)),
            _complex_step(f, x0),
        )


def _complex_step(f: Callable[[Array], Array], x0: Array) -> Array | None:
    """Return the complex step in every entry, or None where `f` does not take complex numbers or drops a part."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            return np.imag(f(x0 + 1j * complex_step.STEP * np.eye(x0.size))) / complex_step.STEP
        except (TypeError, np.exceptions.ComplexWarning):
            return None


def _objective_of_rows(fault: Fault | None, arrays: Arrays, rows: Array) -> Array:
    """Return the objective for each row of inputs."""
    cell = arrays.cell
    target = fault_target(fault, cell=cell) if fault and not fault.wrap else fault_target(cell=cell)
    shapes = {name: value.shape for name, value in arrays.inputs.items()}
    ends = np.cumsum([value.size for value in arrays.inputs.values()])[:-1]
    found = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        parts = np.split(rows[start : start + ROWS_AT_ONCE], ends, axis=1)
        inputs = {n: part.reshape(-1, *shape) for (n, shape), part in zip(shapes.items(), parts, strict=True)}
        outputs, _ = target.call(inputs)
        found.append(objective(outputs, arrays))
    return np.concatenate(found)


def _row(values: Any) -> Array:
    """Return arrays by name as one row."""
    return np.concatenate([np.ravel(value) for value in values.values()])


@lru_cache(maxsize=4096)
def forward_source(fault: Fault | None, cell: Cell = PLAIN) -> str:
    """Return the source that a fault's forward pass consists of: equal ones need to be differentiated once only."""
    found = patched_source(fault, "forward", cell)
    for module in ("activations", "other_activations") if cell.activations else ("activations",):
        tree = ast.parse(patched_source(fault, module, cell))
        used = [node for node in tree.body if not getattr(node, "name", "").endswith("_derivative")]
        found += ast.unparse(ast.Module(used, []))
    return found


def check_grad_fixed(judged: Judged, problem: Problem) -> bool:
    """Return whether `scipy.optimize.check_grad` over all entries gives at most 1e-5."""
    return bool(np.linalg.norm(judged.gradient - judged.differences.once) <= FIXED_THRESHOLD)


def check_grad_automatic(judged: Judged, problem: Problem) -> bool:
    """Return whether it gives at most what `tolerance.check_grad_all` accepts."""
    if problem.chaotic:
        return True
    found, x0 = judged.differences, _row(problem.arrays.inputs)
    terms = objective_terms(judged.values, problem.arrays, problem.expected)
    noise = tolerance.check_grad_noise(terms, found.value, float(np.sum(np.abs(judged.gradient * x0))))
    curvature = float(np.linalg.norm(found.twice - found.once))
    sd = float(np.linalg.norm(_sd(problem)))
    error = np.linalg.norm(judged.gradient - found.once)
    return bool(error <= tolerance.check_grad_all(curvature, noise, x0.size, sd))


def torch_tolerances(judged: Judged, problem: Problem) -> bool:
    """Return whether central differences agree within torch's tolerances, for the case's cotangents."""
    found = judged.differences.central
    return bool(np.all(np.abs(judged.gradient - found) <= TORCH_ATOL + TORCH_RTOL * np.abs(found)))


def jax_tolerances(judged: Judged, problem: Problem) -> bool:
    """Return whether a central difference along jax's direction agrees within jax's tolerances."""
    along = np.random.RandomState(JAX_SEED).standard_normal(judged.gradient.size)
    found = judged.differences.directional
    return bool(abs(judged.gradient @ along - found) <= JAX_TOLERANCE + JAX_TOLERANCE * abs(found))


def allclose(judged: Judged, problem: Problem) -> bool:
    """Return whether outputs and gradients are close to the reference's by NumPy's own tolerances."""
    return all(np.allclose(judged.values[n], problem.expected.values[n]) for n in problem.cell.tensors)


def complex_step_agrees(judged: Judged, problem: Problem) -> bool:
    """Return whether the complex step of the forward pass agrees within 6 sd of both roundings, or there is none."""
    if problem.chaotic or judged.differences.complex is None:
        return True
    error = np.abs(judged.gradient - judged.differences.complex)
    use = error / tolerance.accepted(np.hypot(_sd(problem), problem.noise), problem.case.dtype)
    if np.all(use <= 1):
        return True
    fault = judged.fault
    if fault is None or forward_source(fault, problem.cell) == forward_source(None, problem.cell):
        return False
    # Of another forward pass the noise is another: it is measured anew, unless the error is above any noise.
    if not np.max(error) <= LARGEST_NOISE * np.max(np.abs(judged.gradient)):
        return False
    worst = np.argsort(-use, kind="stable")[: tolerance.COMPLEX_STEP_RETAKEN]
    worst = worst[use[worst] > 1]
    try:
        own = expect(problem.case, evaluate=partial(evaluate, fault))
        noise = complex_step_noise(problem.case, partial(_forward, fault, problem.cell), worst)
    except TypeError:
        # An operation that Monte Carlo arithmetic has no noise for; what was measured of the reference must do.
        return False
    sd = _row({name: own.sd["d" + name] for name in problem.cell.inputs})[worst]
    accepted = tolerance.accepted(np.hypot(sd, noise), problem.case.dtype)
    return own.chaotic(problem.cell.gradients) or bool(np.all(error[worst] <= accepted))


def _forward(fault: Fault, cell: Cell, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the outputs of the reference with a fault in it, which may want the same leading axes of all inputs."""
    own = {name: len(cell.axes[name]) for name in cell.inputs}
    leading = np.broadcast_shapes(*(inputs[n].shape[:-k] for n, k in own.items()))
    whole = {n: np.broadcast_to(inputs[n], (*leading, *inputs[n].shape[-k:]), subok=True) for n, k in own.items()}
    outputs, _ = fault_target(fault, cell=cell).call(whole)
    return outputs


def verify_accepts(judged: Judged, problem: Problem) -> bool:
    """Return whether `verify`'s comparison of values finds nothing; of a fault between calls, all of `verify`."""
    fault = judged.fault
    if fault is not None and fault.wrap:
        target = fault_target(fault, cell=problem.cell)
        asked = rotation(target, problem.case)
        return not verify_case(target, problem.case, properties=asked, expected=problem.expected).failures
    claims = compare(judged.values, problem.expected, fault_target(cell=problem.cell), problem.case.dtype)
    return all(claim.verdict is not Verdict.FAIL for claim in claims)


def _sd(problem: Problem) -> Array:
    """Return the sd of every entry of all gradients in a row."""
    return _row({name: problem.expected.sd["d" + name] for name in problem.cell.inputs})


METHODS: dict[str, Callable[[Judged, Problem], bool]] = {
    CHECK_GRAD_FIXED: check_grad_fixed,
    CHECK_GRAD_AUTOMATIC: check_grad_automatic,
    TORCH: torch_tolerances,
    JAX: jax_tolerances,
    ALLCLOSE: allclose,
    COMPLEX_STEP: complex_step_agrees,
    VERIFY: verify_accepts,
}
"""Each method by its name: whether it accepts a layer's answer."""


@dataclass(frozen=True)
class RealGradcheck:
    """What PyTorch's own gradcheck said, on some of the examples.

    Attributes
    ----------
    examples : tuple of int
        Which of the matrix's examples.
    kills : bool array (faults, examples)
        As of a `Matrix`.
    """

    examples: tuple[int, ...]
    kills: Array


@dataclass(frozen=True)
class Matrix:
    """What every method said of every fault on every example.

    Attributes
    ----------
    cases : tuple of Case
    seed : int
    faults : tuple of str
    kills : bool array (faults, methods, examples)
        Rejected, where the clean reference is accepted.
    alarms : bool array (methods, examples)
        The clean reference rejected.
    real : RealGradcheck or None
        What PyTorch's own gradcheck said, where it was asked.
    """

    cases: tuple[Case, ...]
    seed: int
    faults: tuple[str, ...]
    kills: Array
    alarms: Array
    real: "RealGradcheck | None" = None

    @property
    def cell(self) -> Cell:
        """Whose faults they are."""
        return self.cases[0].cell if self.cases else PLAIN

    @property
    def percent(self) -> Array:
        """Share of the examples that kill, in percent: (faults, methods)."""
        return 100 * np.mean(self.kills, axis=-1)

    @property
    def alarm_percent(self) -> Array:
        """Share of the examples with a false alarm, in percent: (methods,)."""
        return 100 * np.mean(self.alarms, axis=-1)

    def survivors(self, examples: int) -> Array:
        """Return how many faults each method leaves alive, on average over all choices of so many of the examples."""
        most = len(self.cases)
        counts = np.sum(self.kills, axis=-1)
        alive = np.array([comb(most - k, examples) / comb(most, examples) for k in range(most + 1)])
        return np.sum(alive[counts], axis=0)

    def alive(self, method: str) -> tuple[str, ...]:
        """Return the faults that a method kills on none of the examples."""
        never = ~np.any(self.kills[:, list(METHODS).index(method)], axis=-1)
        return tuple(fault for fault, survives in zip(self.faults, never, strict=True) if survives)


def judge(case: Case, faults: Sequence[str]) -> tuple[Array, Array]:
    """Return which method kills which of the faults on a case (faults, methods), and where it gives a false alarm."""
    problem = Problem.of(case)
    known: dict[str, Differences] = {}

    def accepted(fault: Fault | None) -> list[bool]:
        source = forward_source(fault, case.cell)
        if source not in known:
            known[source] = differentiate(fault, case.arrays)
        with np.errstate(all="ignore"):
            values = evaluate(fault if fault is not None else (), case.arrays)
            gradient = _row({name: values["d" + name] for name in case.cell.inputs})
            judged = Judged(fault, values, gradient, known[source])
            return [method(judged, problem) for method in METHODS.values()]

    clean = np.array(accepted(None))
    kills = np.array([clean & ~np.array(accepted(find(fault, case.cell))) for fault in faults])
    return kills, ~clean


def kill_matrix(
    examples: int = 100,
    seed: int = 0,
    faults: Sequence[str] | None = None,
    processes: int = 1,
    torch_examples: int = 0,
    progress: Callable[[], None] = lambda: None,
    cell: Cell = PLAIN,
) -> Matrix:
    """Return the kill matrix over the examples that `verify` draws at sizes up to `MAX_DIMS`.

    Parameters
    ----------
    examples, seed : int
        Number of examples, and the seed of their draws.
    faults : sequence of str
        Ids; by default those of the cell that sizes below the edges of blocks can show.
    processes : int
        Processes that share the examples; 1 for this one alone.
    torch_examples : int
        On how many of them, evenly spaced, PyTorch's own gradcheck is asked, too; it takes some hundred times as long.
    progress : callable
        Called after each example.
    cell : Cell
        Whose faults; no network.
    """
    own = {} if cell is PLAIN else {"cell": cell, "cotangents": cotangents_of(cell)}
    faults = shown(cell) if faults is None else faults
    cases = tuple(draw_cases(examples, seed, max_dims=MAX_DIMS, **own))
    chosen = tuple(range(0, len(cases), -(-len(cases) // torch_examples))) if torch_examples else ()
    jobs = [("methods", case.descriptor) for case in cases] + [("torch", cases[k].descriptor) for k in chosen]
    found = []
    for result in _results([(*job, list(faults)) for job in jobs], processes):
        found.append(result)
        progress()
    ours, theirs = found[: len(cases)], found[len(cases) :]
    kills, alarms = (np.stack([np.array(part) for part in parts], axis=-1) for parts in zip(*ours, strict=True))
    real = RealGradcheck(chosen, np.stack(theirs, axis=-1)) if chosen else None
    return Matrix(cases, seed, tuple(faults), kills, alarms, real)


def judge_by_torch(case: Case, faults: Sequence[str]) -> Array:
    """Return which of the faults PyTorch's own gradcheck kills on a case (faults,); it needs PyTorch."""
    from lstm_checks.targets.torch import gradcheck

    if not gradcheck(fault_target(), case.arrays):
        return np.zeros(len(faults), bool)
    return np.array([not gradcheck(fault_target(find(fault)), case.arrays) for fault in faults])


def judge_in_words(who: str, descriptor: str, faults: Sequence[str]) -> Any:
    """Return what `judge` returns, or for "torch" `judge_by_torch`, as lists, of a case by its descriptor."""
    case = Case.parse(descriptor)
    return judge_by_torch(case, faults).tolist() if who == "torch" else [a.tolist() for a in judge(case, faults)]


def _results(jobs: Sequence[tuple[str, str, list[str]]], processes: int) -> Iterator[Any]:
    """Yield the result of each job in turn, from this process or others."""
    if processes == 1:
        yield from (judge_in_words(*job) for job in jobs)
        return
    with parse_executor(f"processes:{processes}") as executors, executors.start() as pool:
        for future in [pool.submit(judge_in_words, *job) for job in jobs]:
            yield future.result()
