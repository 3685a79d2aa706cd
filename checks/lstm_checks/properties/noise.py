"""The rounding noise of a target without a reference, from the target's own answers to perturbed inputs.

Every input and cotangent is perturbed by far more than rounding does; the spread of the answers, and a floor for
what no perturbation of an input shows, bound the noise. It is thousands of times what rounding makes in float64, and
still far below what a property that does not hold amounts to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.calling import Outcome, call_many
from lstm_checks.cases import Arrays
from lstm_checks.compare import Claim, Discrepancy, form_fault
from lstm_checks.contract import Target
from lstm_checks.oracles.expected import Expected

Array = NDArray[Any]


def every(arrays: Arrays) -> tuple[str, ...]:
    """Return the names of all outputs and gradients that a problem has: those of further parameters come last."""
    known = arrays.cell.tensors
    return (*known, *(name for name in (f"d{parameter}" for parameter in arrays.p) if name not in known))


class BrokenAnswerError(Exception):
    """The target raised, or what it returned is no finite array of the right dtype and shape; says which.

    `kind` is "timeout" where no answer came in time, and "ended" where the target ended its process.
    """

    def __init__(self, tensor: str, message: str, claims: tuple[Claim, ...] = (), kind: str = "error") -> None:
        super().__init__(message)
        self.tensor, self.claims, self.kind = tensor, claims, kind


class OwnExpected(Expected):
    """A target's own answer, with noise that is estimated generously and so may be a larger share of it."""

    def unjudged(self, names: tuple[str, ...]) -> str:
        """Return why nothing can be concluded from these values: the noise drowns them."""
        largest = max(float(np.max(np.abs(self.values[name]))) for name in names)
        # Not `>`: of NaN neither holds, and what is not a number is to be chaotic.
        drowned = not max(float(np.max(self.sd[name])) for name in names) <= tolerance.OWN_CHAOTIC * largest
        return "chaotic: rounding drowns the answer" if drowned else ""


def answers(
    target: Target, many: Sequence[Arrays], sequences: bool, backward: bool = True, last_step: bool | None = None
) -> Iterator[dict[str, Array]]:
    """Yield what a target gives for each of many arrays, in float64: outputs and gradients, whose form is right.

    Without `backward` it is the outputs alone. Of two forms of h that are right it must be the one said, if one is.

    Raises
    ------
    BrokenAnswerError
        "forward raised RuntimeError: no memory", "dUf has shape (3,), expected (2, 3)", and the like.
    """
    for arrays, outcome in zip(many, call_many(target, many, sequences, backward), strict=True):
        names = every(arrays) if backward else arrays.cell.outputs
        values = answered(target, outcome, arrays, outcome.last_step, names)
        if last_step is not None and outcome.last_step != last_step:
            h, due = arrays.cell.outputs[0], _shapes(arrays, last_step)
            raise BrokenAnswerError(h, f"{h} has shape {values[h].shape}, and that of the case has {due[h]}")
        yield values


def answered(
    target: Target, outcome: Outcome, arrays: Arrays, last_step: bool, names: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """Return what a call gave, as `checked` does; raises where it gave nothing, too."""
    if outcome.error:
        raise BrokenAnswerError(target.cell.outputs[0], outcome.sentence, kind=outcome.kind)
    return checked(target, outcome, arrays, last_step, names)


def checked(
    target: Target, outcome: Outcome, arrays: Arrays, last_step: bool, names: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """Return an answer in float64, with zeros for what the target lacks; raises as `answers` does."""
    names = every(arrays) if names is None else names
    values, shapes = outcome.values, _shapes(arrays, last_step)
    shapes, dtype = {name: shapes[name] for name in names}, str(arrays["X"].dtype)
    faults = [
        fault
        for name, shape in shapes.items()
        if name not in target.lacks and (fault := form_fault(name, values, shape, dtype, target.cell)) is not None
    ]
    if faults:
        found = faults[0].discrepancy
        assert found is not None
        raise BrokenAnswerError(found.tensor, found.message, tuple(faults))
    lacking = {name: np.zeros(shape) for name, shape in shapes.items() if name in target.lacks}
    return {n: lacking[n] if n in lacking else np.asarray(values[n], np.float64) for n in names}


def misformed(target: Target, outcome: Outcome, arrays: Arrays) -> Discrepancy | None:
    """Return what is wrong with the form of an answer: a tensor is missing, or has another type, dtype or shape."""
    dtype = str(arrays["X"].dtype)
    for name, shape in _shapes(arrays, outcome.last_step).items():
        fault = None if name in target.lacks else form_fault(name, outcome.values, shape, dtype, target.cell)
        if fault is not None and fault.discrepancy is not None and fault.discrepancy.kind != "finite":
            return fault.discrepancy
    return None


def _shapes(arrays: Arrays, last_step: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape due for every output and gradient, of h of the last step or of every one."""
    hidden = arrays.cell.outputs[0]
    of_h: tuple[int, ...] = arrays[arrays.cell.cotangents[0]].shape
    if last_step:
        of_h = (of_h[0], *of_h[2:])
    finals = {name: arrays[cotangent].shape for name, cotangent in arrays.cell.finals.items()}
    shapes = {hidden: of_h, **finals}
    further = {f"d{name}": value.shape for name, value in arrays.p.items() if name not in arrays.cell.parameters}
    return shapes | further | {f"d{name}": arrays[name].shape for name in arrays.cell.inputs}


def own_expected(
    target: Target, arrays: Arrays, values: dict[str, Array], sequences: bool, seed: int, last_step: bool = False
) -> OwnExpected:
    """Return a target's own answer as what is expected of it, with its noise.

    Parameters
    ----------
    target, arrays, sequences
        What was called, as for `answers`.
    values : dict
        The answer.
    seed : int
        Seed of the perturbations.
    last_step : bool
        Whether h in the answer is that of the last step alone.
    """
    dtype = str(arrays["X"].dtype)
    size = tolerance.OWN_PERTURBATION[dtype] * tolerance.UNIT_ROUNDOFF[dtype]
    # Backward stability: rounding inside a right program gives what slightly other inputs give exactly (Higham 2002,
    # "Accuracy and Stability of Numerical Algorithms", section 1.5). So other inputs show how large rounding may be.
    rng = np.random.default_rng((seed, 2))
    squares = {name: np.zeros_like(value) for name, value in values.items()}

    def perturbed() -> Arrays:
        return arrays.each(lambda value: np.asarray(value * (1 + size * rng.standard_normal(value.shape)), dtype))

    copies = [perturbed() for _ in range(tolerance.OWN_COPIES)]
    for found in answers(target, copies, sequences, last_step=last_step):
        for name, value in found.items():
            squares[name] += np.square(value - values[name])
    unit = tolerance.OWN_FLOOR[dtype] * tolerance.UNIT_ROUNDOFF[dtype]
    floors = _term_sizes(arrays, values)
    sd = {n: np.sqrt(square / tolerance.OWN_COPIES) + unit * floors[n] for n, square in squares.items()}
    return OwnExpected(values, sd, dtype, last_step)


def _term_sizes(arrays: Arrays, values: Mapping[str, Array]) -> dict[str, float]:
    """Return, for every output and gradient, how large the terms are that it is a sum of."""

    def largest(*found: Array) -> float:
        return max(float(np.max(np.abs(value))) for value in found)

    cell = arrays.cell
    m, s, _, u, *_ = cell.sizes_of(arrays)
    # The initial states and the final ones that come out, of the hidden states and of the memories, at every place.
    begins = dict(zip(cell.initial, (cotangent in cell.of_hidden for cotangent in cell.cotangents[1:]), strict=True))
    hiddens = [name for name, hidden in begins.items() if hidden]
    memories = [name for name, hidden in begins.items() if not hidden]
    h0 = np.concatenate([arrays[name] for name in hiddens], axis=-1)
    kept = [arrays[name] for name in memories]
    kept += [values[name] for name, cotangent in cell.finals.items() if cotangent not in cell.of_hidden]
    # A cell without a memory hands on h itself, whatever it began with.
    memory = max(1.0, largest(*(kept or [h0])))
    arriving = memory * largest(*arrays.cotangents.values(), *(values[f"d{name}"] for name in cell.initial))
    # As many terms of random sign as there are samples and steps, or units in all gates.
    units = len(cell.gates) * u
    over_samples, over_units = np.sqrt(m * s) * arriving, np.sqrt(units) * arriving
    beside = [name for name, axes in cell.parameters.items() if axes == "1u" and name[0] != "b"]
    # Weights one a unit that are no biases are multiplied with the memory, and it is with them going back.
    through = max(1.0, largest(*(arrays[name] for name in beside))) if beside else 1.0
    # What neither X nor the hidden state is multiplied with stands between the gates and the output, as a projection
    # does: going through it, and back, each entry is a sum of as many terms as it has rows, or columns.
    reach = max(1.0, largest(h0))
    known = {"eu": largest(arrays["X"]), cell.recurrent: reach, "1u": 1.0}
    if cell.places:
        known["du"] = max(reach, largest(values[cell.outputs[0]]))
    between = [arrays[name] for name, axes in cell.parameters.items() if axes not in known]
    forth, back = (
        float(np.prod([max(1.0, np.sqrt(w.shape[axis]) * largest(w)) for w in between])) for axis in (-2, -1)
    )
    known[cell.recurrent] *= forth
    sizes = dict.fromkeys(cell.outputs, memory) | {cell.outputs[0]: memory * forth}
    sizes |= {f"d{name}": arriving * through * back for name in memories}
    for name, axes in cell.parameters.items():
        factor = memory if name in beside else known[axes] * back if axes in known else 1.0
        sizes[f"d{name}"] = over_samples * factor
    for name, kind in (("dX", "eu"), *((f"d{name}", cell.recurrent) for name in hiddens)):
        weights = largest(*(arrays[n] for n, axes in cell.parameters.items() if axes == kind))
        sizes[name] = over_units * back * weights
    # Of a further parameter nobody knows what it is multiplied with: by the largest there is, and over all units.
    further = np.sqrt(units) * over_samples * max(memory, largest(arrays["X"], h0))
    return dict.fromkeys((n for n in values if n not in cell.tensors), further) | sizes
