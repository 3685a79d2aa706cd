"""The rounding noise of a target without a reference, from the target's own answers to perturbed inputs.

Every input and cotangent is perturbed by far more than rounding does; the spread of the answers, and a floor for
what no perturbation of an input shows, bound the noise. It is thousands of times what rounding makes in float64, and
still far below what a property that does not hold amounts to.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.calling import Outcome, call_target
from lstm_checks.cases import Arrays, from_named
from lstm_checks.compare import Claim, Discrepancy, form_fault
from lstm_checks.contract import GRADIENTS, OUTPUTS, Target, input_shapes
from lstm_checks.oracles.expected import Expected

Array = NDArray[Any]

EVERY = (*OUTPUTS, *GRADIENTS)


def every(arrays: Arrays) -> tuple[str, ...]:
    """Return the names of all outputs and gradients that a problem has: those of further parameters come last."""
    return (*EVERY, *(name for name in (f"d{parameter}" for parameter in arrays.p) if name not in EVERY))


class BrokenAnswerError(Exception):
    """The target raised, or what it returned is no finite array of the right dtype and shape; says which.

    `kind` is "timeout" where no answer came in time, and "ended" where the target ended its process.
    """

    def __init__(self, tensor: str, message: str, claims: tuple[Claim, ...] = (), kind: str = "error") -> None:
        super().__init__(message)
        self.tensor, self.claims, self.kind = tensor, claims, kind


class OwnExpected(Expected):
    """A target's own answer, with noise that is estimated generously and so may be a larger share of it."""

    def chaotic(self, names: tuple[str, ...]) -> bool:
        """Return whether the noise drowns these values, so that nothing can be concluded from them."""
        largest = max(float(np.max(np.abs(self.values[name]))) for name in names)
        return not max(float(np.max(self.sd[name])) for name in names) <= tolerance.OWN_CHAOTIC * largest


def answer(
    target: Target, arrays: Arrays, sequences: bool, backward: bool = True, like: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """Return what a target gives for some arrays, in float64: h, Cn and its gradients, whose form is right.

    Without `backward` it is h and Cn alone. Of two forms of h that are right it must be that of the answer `like`.

    Raises
    ------
    BrokenAnswerError
        "forward raised RuntimeError: no memory", "dUf has shape (3,), expected (2, 3)", and the like.
    """
    outcome = call_target(target, arrays, sequences, backward)
    values = answered(target, outcome, arrays, sequences, every(arrays) if backward else OUTPUTS)
    if like is not None and values["h"].ndim != like["h"].ndim:
        raise BrokenAnswerError("h", f"h has shape {values['h'].shape}, and that of the case has {like['h'].shape}")
    return values


def answered(
    target: Target, outcome: Outcome, arrays: Arrays, sequences: bool, names: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """Return what a call gave, as `checked` does; raises where it gave nothing, too."""
    if outcome.error:
        raise BrokenAnswerError("h", outcome.sentence, kind=outcome.kind)
    return checked(target, outcome.values, arrays, sequences, names)


def checked(
    target: Target, values: Mapping[str, Any], arrays: Arrays, sequences: bool, names: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """Return an answer in float64, with zeros for what the target lacks; raises as `answer` does."""
    names = every(arrays) if names is None else names
    shapes = _shapes(arrays, not sequences and getattr(values["h"], "ndim", 0) == 2)
    shapes, dtype = {name: shapes[name] for name in names}, str(arrays.X.dtype)
    faults = [
        fault
        for name, shape in shapes.items()
        if name not in target.lacks and (fault := form_fault(name, values, shape, dtype)) is not None
    ]
    if faults:
        found = faults[0].discrepancy
        assert found is not None
        raise BrokenAnswerError(found.tensor, found.message, tuple(faults))
    lacking = {name: np.zeros(shape) for name, shape in shapes.items() if name in target.lacks}
    return {n: lacking[n] if n in lacking else np.asarray(values[n], np.float64) for n in names}


def misformed(target: Target, values: Mapping[str, Any], arrays: Arrays, sequences: bool) -> Discrepancy | None:
    """Return what is wrong with the form of an answer: a tensor is missing, or has another type, dtype or shape."""
    dtype = str(arrays.X.dtype)
    for name, shape in _shapes(arrays, not sequences and getattr(values["h"], "ndim", 0) == 2).items():
        fault = None if name in target.lacks else form_fault(name, values, shape, dtype)
        if fault is not None and fault.discrepancy is not None and fault.discrepancy.kind != "finite":
            return fault.discrepancy
    return None


def _shapes(arrays: Arrays, last_only: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape due for every output and gradient."""
    (m, s, e), u = arrays.X.shape, arrays.h0.shape[-1]
    shapes = {"h": (m, u) if last_only else (m, s, u), "Cn": (m, u)}
    further: dict[str, tuple[int, ...]] = {name: value.shape for name, value in arrays.p.items()}
    return shapes | {f"d{name}": shape for name, shape in (further | input_shapes(m, s, e, u)).items()}


def own_expected(target: Target, arrays: Arrays, values: dict[str, Array], sequences: bool, seed: int) -> OwnExpected:
    """Return a target's own answer as what is expected of it, with its noise.

    Parameters
    ----------
    target, arrays, sequences
        What was called, as for `answer`.
    values : dict
        The answer.
    seed : int
        Seed of the perturbations.
    """
    dtype = str(arrays.X.dtype)
    size = tolerance.OWN_PERTURBATION[dtype] * tolerance.UNIT_ROUNDOFF[dtype]
    rng = np.random.default_rng((seed, 2))
    squares = {name: np.zeros_like(value) for name, value in values.items()}
    for _ in range(tolerance.OWN_COPIES):
        perturbed = {
            name: np.asarray(value * (1 + size * rng.standard_normal(value.shape)), dtype)
            for name, value in (arrays.inputs | arrays.cotangents).items()
        }
        for name, value in answer(target, from_named(perturbed), sequences, like=values).items():
            squares[name] += np.square(value - values[name])
    unit = tolerance.OWN_FLOOR[dtype] * tolerance.UNIT_ROUNDOFF[dtype]
    floors = _term_sizes(arrays, values)
    sd = {n: np.sqrt(square / tolerance.OWN_COPIES) + unit * floors[n] for n, square in squares.items()}
    return OwnExpected(values, sd, dtype)


def _term_sizes(arrays: Arrays, values: Mapping[str, Array]) -> dict[str, float]:
    """Return, for every output and gradient, how large the terms are that it is a sum of."""

    def largest(*found: Array) -> float:
        return max(float(np.max(np.abs(value))) for value in found)

    m, s, _ = arrays.X.shape
    memory = max(1.0, largest(arrays.C0, values["Cn"]))
    arriving = memory * largest(*arrays.cotangents.values(), values["dh0"], values["dC0"])
    # As many terms of random sign as there are samples and steps, or units in all gates.
    over_samples, over_units = np.sqrt(m * s) * arriving, np.sqrt(4 * arrays.h0.shape[-1]) * arriving
    sizes = {"h": memory, "Cn": memory, "dC0": arriving}
    for kind, factor in (("U", largest(arrays.X)), ("V", max(1.0, largest(arrays.h0))), ("b", 1.0)):
        sizes |= {f"d{kind}{gate}": over_samples * factor for gate in "figo"}
    for name, kind in (("dX", "U"), ("dh0", "V")):
        sizes[name] = over_units * largest(*(arrays.p[kind + gate] for gate in "figo"))
    # Of a further parameter nobody knows what it is multiplied with: by the largest there is, and over all units.
    further = np.sqrt(4 * arrays.h0.shape[-1]) * over_samples * max(memory, largest(arrays.X, arrays.h0))
    return dict.fromkeys((n for n in values if n not in EVERY), further) | sizes
