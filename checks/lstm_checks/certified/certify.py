"""Certified gradients: enclosures of the truth, and how far a target is from it at most.

`certified_gradient` runs the reference's passes in balls: what comes back encloses the exact gradient that
backpropagation through time defines, whatever rounding did. `certified_derivative` asks the forward pass alone, by a
power series of two terms: that the two overlap certifies the derivation, not only the arithmetic. `certify` measures
a target.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.arithmetic import balls
from lstm_checks.arithmetic.balls import BallArray
from lstm_checks.calling import Outcome, asked_of, call_target
from lstm_checks.cases import COTANGENTS, Arrays, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import DCN, STATES, Target
from lstm_checks.formats import array_dtype, spacing
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.oracles.objective import objective, reference_forward
from lstm_checks.tolerance import RESOLUTION, accepted

Array = NDArray[Any]

EXAMPLE_REGIMES = ("normal", "x1e-3")
_STEPS = (1, 2, 3, 5, 8, 13, 21)

CERTIFIED, UNSUPPORTED, FAILED = "certified", "unsupported", "failed"


@dataclass(frozen=True)
class CertifiedGradient:
    """Enclosures of what is due for a case.

    Attributes
    ----------
    case : Case
    enclosures : dict
        A `BallArray` for each of h (m, s, u), Cn (m, u) and the 15 gradients.
    values : dict
        The nearest float64 of each entry.
    radii : dict
        The radius of each enclosure, rounded up to float64; absolute. The distance of the entry in `values` from the
        truth is at most this and half an ulp.
    bits : int
        Precision it took.
    seconds : float
        Time it took.
    resolved : bool
        Whether every radius is below 2^-10 ulp of its entry; if not, precision ended before that.
    """

    case: Case
    enclosures: dict[str, BallArray]
    values: dict[str, Array]
    radii: dict[str, Array]
    bits: int
    seconds: float
    resolved: bool


def certified_gradient(
    case: Case, *, first_bits: int = balls.FIRST_BITS, last_bits: int = balls.LAST_BITS
) -> CertifiedGradient:
    """Return enclosures of h, Cn and the 15 gradients of a case.

    Parameters
    ----------
    case : Case
        Its arrays are taken as exact, whatever the dtype.
    first_bits, last_bits : int
        Precision to begin with, doubled until every entry is resolved, and not beyond the last.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    """
    start = time.perf_counter()
    arrays = _as_balls(case.arrays.astype(np.float64))  # which no number of any format loses anything by
    found = balls.resolve(lambda: evaluate_reference(arrays), first_bits, last_bits)
    values = {name: balls.nearest(value) for name, value in found.values.items()}
    radii = {name: balls.radius(value) for name, value in found.values.items()}
    seconds = time.perf_counter() - start
    return CertifiedGradient(case, found.values, values, radii, found.bits, seconds, found.resolved)


def _as_balls(arrays: Arrays) -> Arrays:
    """Return the arrays as exact balls."""
    return arrays.each(balls.to_balls)


def expected_bits(case: Case) -> int:
    """Return the precision that the truth of a case is likely to take.

    Saturated gates need as many bits as the smallest derivative has zeros (1 - tanh^2 at 100 is below 2^-280), and
    radii grow with every step, faster with many units. Of 300 random cases 9 in 10 were within one doubling of it.
    """
    regime = {"x10": 256, "x100": 2048, "mixed": 512}.get(case.regime, balls.FIRST_BITS)
    growth = 0.6 * case.s * np.log2(case.u) if case.regime in ("normal", "x10") else 0.0
    bits = balls.FIRST_BITS
    while bits < max(regime, 70 + growth) and 2 * bits <= balls.LAST_BITS:
        bits *= 2
    return bits


def estimate_seconds(case: Case) -> float:
    """Return how long `certified_gradient` is likely to take, in seconds.

    Counted: the multiplications of the matrix products, the element-wise operations, and the entries to be converted,
    at prices measured on one x86-64 machine (20 shapes at 128 to 2048 bits fitted within a factor 1.5). `expected_bits`
    is the larger uncertainty: off by one doubling is a factor of about 2.
    """
    m, s, e, u, *_ = case.dims
    work = 8e-8 * 12 * m * s * u * (e + u) + 3.2e-5 * m * s * u + 5.3e-6 * (case.size + (s + 1) * m * u)
    bits, seconds = balls.FIRST_BITS, 0.0
    while bits <= expected_bits(case):
        seconds += work * (1 + bits / 850)
        bits *= 2
    return seconds


def certified_derivative(case: Case, direction: Mapping[str, Array], *, bits: int = balls.FIRST_BITS) -> Any:
    """Return a ball that encloses the objective's derivative along a direction, from the forward pass alone.

    Every input is a power series ``x + t v`` of two terms; the coefficient of t in the objective is its derivative. No
    line of the backward pass is run, and no derivative of an activation is written down.

    Parameters
    ----------
    case : Case
    direction : mapping
        For some of the inputs, an array of the input's shape, float32 or float64; zero for those not named.
    bits : int
        Precision.

    Raises
    ------
    ValueError
        "direction names 'dX', expected names of inputs: Uf, Vf, ...".
    """
    arrays = case.arrays
    for name in direction:
        if name not in case.cell.inputs:
            raise ValueError(f"direction names {name!r}, expected names of inputs: {', '.join(case.cell.inputs)}")
    with balls.precision(bits, terms=2):
        inputs = {
            name: balls.to_series(value, direction.get(name, np.zeros_like(value)))
            for name, value in arrays.inputs.items()
        }
        outputs = reference_forward(case.cell)(inputs)
        plain = {name: balls.to_balls(value).view(np.ndarray) for name, value in arrays.cotangents.items()}
        return objective(outputs, arrays.replaced(**plain)).coefficient(1)


def directional_derivative(certified: CertifiedGradient, direction: Mapping[str, Array]) -> Any:
    """Return a ball that encloses the certified gradient's inner product with a direction."""
    with balls.precision(certified.bits):
        return sum(
            np.sum(certified.enclosures["d" + name] * balls.to_balls(value)) for name, value in direction.items()
        )


def derivation_agrees(certified: CertifiedGradient) -> bool:
    """Return whether the forward pass alone gives the same derivative, in balls, along a direction drawn from the seed.

    The direction is normal in every entry of every input; two gradients that differ agree along it with probability 0.
    """
    case = certified.case
    rng = np.random.default_rng((case.seed, 2))
    direction = {name: rng.standard_normal(value.shape) for name, value in case.arrays.inputs.items()}
    forward = certified_derivative(case, direction, bits=certified.bits)
    return bool(forward.overlaps(directional_derivative(certified, direction)))


@dataclass(frozen=True)
class TensorCertificate:
    """How far one tensor of a target is from the truth, at most.

    Attributes
    ----------
    name : str
        h, Cn or the name of a gradient.
    status : str
        "certified", "unsupported" or "failed"; only the first has figures.
    reason : str
        Why there are no figures.
    ulps, ulps_index : float, tuple
        The largest error in ulps of the exact entry in the case's dtype, and where it stands; inf for a value that is
        not finite.
    relative, relative_index : float, tuple
        The largest absolute error over the largest exact entry of the tensor, and where it stands; 0 where both are 0.
    use : float
        The largest error over the tolerance of its entry, which rounding excuses: the figure that means the same in
        saturated cases, where whole tensors are lost to rounding by right.
    value, truth : float
        The target's value and the nearest float64 of the exact one, where the error is largest in ulps.
    verdict : Verdict
        Pass where `use` is at most 1; inconclusive where rounding drowns the problem or every entry of the tensor, or
        where precision ended before `use` was known; fail, also where there are no figures but should be.
    """

    name: str
    status: str
    reason: str = ""
    ulps: float = 0.0
    ulps_index: tuple[int, ...] = ()
    relative: float = 0.0
    relative_index: tuple[int, ...] = ()
    use: float = 0.0
    value: float = 0.0
    truth: float = 0.0
    verdict: Verdict = Verdict.FAIL


@dataclass(frozen=True)
class Certificate:
    """The certified errors of a target on one case.

    Attributes
    ----------
    target : str
        Its name.
    case : Case
        The case as it was run: without what the target cannot take.
    tensors : tuple of TensorCertificate
        h, Cn and the 15 gradients, in the order of the contract.
    bits : int
    seconds : float
        Precision and time that the truth took.
    resolved : bool
        Whether the truth is known to 2^-10 ulp in every entry; the errors are upper bounds in any case.
    """

    target: str
    case: Case
    tensors: tuple[TensorCertificate, ...]
    bits: int
    seconds: float
    resolved: bool

    @property
    def failed(self) -> bool:
        """Whether the target could not be measured in some tensor that it says it supports."""
        return any(tensor.status == FAILED for tensor in self.tensors)

    @property
    def verdict(self) -> Verdict:
        """Fail if any tensor fails; else pass if any gradient passes; else what the gradients were."""
        gradients = [tensor.verdict for tensor in self.tensors if tensor.name in self.case.cell.gradients]
        return overall([Verdict.FAIL] if any(t.verdict is Verdict.FAIL for t in self.tensors) else gradients)

    @property
    def worst(self) -> TensorCertificate | None:
        """The tensor with the largest error relative to its largest entry; None where none is certified."""
        certified = [tensor for tensor in self.tensors if tensor.status == CERTIFIED]
        return max(certified, key=lambda tensor: tensor.relative, default=None)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a tensor, for a table.

        Keys: tensor, status, verdict, reason; where certified also ulps, ulps_at, relative, relative_at, use, value,
        truth.
        """
        rows = []
        for tensor in self.tensors:
            row: dict[str, Any] = {"tensor": tensor.name, "status": tensor.status, "verdict": str(tensor.verdict)}
            row["reason"] = tensor.reason
            if tensor.status == CERTIFIED:
                row |= {
                    "ulps": tensor.ulps,
                    "ulps_at": _entry(tensor.name, tensor.ulps_index),
                    "relative": tensor.relative,
                    "relative_at": _entry(tensor.name, tensor.relative_index),
                    "use": tensor.use,
                    "value": tensor.value,
                    "truth": tensor.truth,
                }
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the certificate in plain types; floats that are not finite as strings, which JSON has no word for."""
        return {
            "target": self.target,
            "case": self.case.descriptor,
            "dtype": self.case.dtype,
            "bits": self.bits,
            "seconds": self.seconds,
            "resolved": self.resolved,
            "verdict": str(self.verdict),
            "tensors": rows_to_json(self.rows()),
        }


def rows_to_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in plain types; floats that are not finite as strings."""
    return [{key: _jsonable(value) for key, value in row.items()} for row in rows]


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the first of fail, pass, inconclusive and unsupported that occurs."""
    order = (Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE)
    return next((verdict for verdict in order if verdict in verdicts), Verdict.UNSUPPORTED)


def _entry(name: str, index: tuple[int, ...]) -> str:
    """Return an entry as one writes it: ``dVf[2, 0]``."""
    return f"{name}[{', '.join(map(str, index))}]"


def _jsonable(value: Any) -> Any:
    """Return a float that is not finite as a string, since JSON has no word for it."""
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def summarize(certificates: Sequence[Certificate]) -> list[dict[str, Any]]:
    """Return rows like those of `Certificate.rows` for many cases of a target: the largest errors and their cases.

    A tensor that failed in any case has failed; the keys `ulps_case` and `relative_case` name the cases,
    and `use_case` the one of the largest `use` among those that are conclusive.
    """
    rows = []
    for each in zip(*(c.rows() for c in certificates), strict=True):
        cases = [c.case.descriptor for c in certificates]
        failed = [k for k, row in enumerate(each) if row["status"] == FAILED]
        if failed or each[0]["status"] != CERTIFIED:
            k = failed[0] if failed else 0
            rows.append({**each[k], "reason": each[k]["reason"] + (f" ({cases[k]})" if failed else "")})
            continue
        k, j = (int(np.argmax([row[key] for row in each])) for key in ("ulps", "relative"))
        summary = {**each[k], "relative": each[j]["relative"], "relative_at": each[j]["relative_at"]}
        verdicts = [Verdict(row["verdict"]) for row in each]
        uses = [row["use"] if v is not Verdict.INCONCLUSIVE else -1.0 for row, v in zip(each, verdicts, strict=True)]
        n = int(np.argmax(uses))
        summary |= {"verdict": str(overall(verdicts)), "use": max(uses[n], 0.0)}
        rows.append(summary | {"ulps_case": cases[k], "relative_case": cases[j], "use_case": cases[n]})
    return rows


def example_cases(
    count: int, dtype: str = "float64", seed: int = 0, regimes: Sequence[str] = EXAMPLE_REGIMES
) -> tuple[Case, ...]:
    """Return so many small cases, drawn from the seed; each takes well under a second.

    The other regimes saturate gates: errors relative to what is left then say little, and `use` says all.
    """
    rng = np.random.default_rng(seed)
    cases = []
    for k in range(count):
        m, e, u = (int(n) for n in rng.integers(1, 9, 3))
        s, cotangents, states = int(rng.choice(_STEPS)), str(rng.choice(COTANGENTS)), bool(rng.random() < 0.8)
        regime, seed_k = regimes[k % len(regimes)], int(rng.integers(1, 10**6))
        cases.append(Case(m, s, e, u, dtype, regime, cotangents, states, seed_k))
    return tuple(cases)


def case_for(target: Target, case: Case) -> Case:
    """Return the case, of the target's cell, without what it cannot take: states, the final memory's cotangent."""
    case = asked_of(target, case)
    if STATES in target.lacks:
        case = replace(case, states=False)
    without = target.without_finals if target.cell.places else {"C"} if DCN in target.lacks else set()
    if without & {*case.cotangents.split("+")}:
        rest = "+".join(kind for kind in case.cotangents.split("+") if kind not in without) or "h"
        rest = "every" if rest in without else rest
        case = replace(case, cotangents=rest if rest in COTANGENTS else "every")
    return case


def certify(target: Target, case: Case, certified: CertifiedGradient | None = None) -> Certificate:
    """Return the certified maximal error of each of a target's tensors.

    Parameters
    ----------
    target : Target
    case : Case
        Run without what the target lacks, see `case_for`.
    certified : CertifiedGradient, optional
        The truth for `case_for(target, case)`, where it is known already.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    ValueError
        "numpy_lstm computes in float64, the case asks for float32".
    """
    if not target.takes(case.dtype):
        raise ValueError(f"{target.name} computes in {' and '.join(target.dtypes)}, the case asks for {case.dtype}")
    case = case_for(target, case)
    if certified is None or certified.case != case:
        certified = certified_gradient(case)
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    expected = expect(case).as_returned(outcome.last_step, case.cell)
    tensors = []
    # As `compare` has it: each output by itself, the gradients together.
    for names in (*((name,) for name in case.cell.outputs), case.cell.gradients):
        chaotic = expected.chaotic(names)
        for name in names:
            room = accepted(expected.sd[name], case.dtype, expected.sigmas)
            tensors.append(_certify_tensor(name, target, certified, room, outcome, chaotic))
    return Certificate(target.name, case, tuple(tensors), certified.bits, certified.seconds, certified.resolved)


def _certify_tensor(
    name: str, target: Target, certified: CertifiedGradient, room: Array, outcome: Outcome, chaotic: bool = False
) -> TensorCertificate:
    """Return the certificate of one tensor; `room` is what rounding excuses in each entry."""
    if name in target.lacks:
        return TensorCertificate(name, UNSUPPORTED, "the target does not give it", verdict=Verdict.UNSUPPORTED)
    came = outcome.values
    if came.get(name) is None:
        return TensorCertificate(name, FAILED, outcome.error or "the target did not return it")
    value = np.asarray(came[name])
    exact, truth = (
        outcome.shaped(name, of[name], certified.case.cell) for of in (certified.enclosures, certified.values)
    )
    if value.shape != truth.shape:
        return TensorCertificate(name, FAILED, f"shape {value.shape}, expected {truth.shape}")
    if value.dtype != array_dtype(certified.case.dtype):
        return TensorCertificate(name, FAILED, f"dtype {value.dtype}, expected {array_dtype(certified.case.dtype)}")
    value = value if value.dtype == np.float32 else value.astype(np.float64)
    with balls.precision(certified.bits):
        errors = balls.distance(value, exact)
    dtype = certified.case.dtype
    found = _measure(name, value, truth, errors, room, dtype)
    drowned = chaotic or bool(truth.any() and np.all(room > RESOLUTION[dtype] * np.abs(truth)))
    return replace(found, verdict=_verdict(found.use, bool(np.isfinite(value).all()), drowned, certified.resolved))


def _verdict(use: float, finite: bool, drowned: bool, resolved: bool) -> Verdict:
    """Return what the largest error over its tolerance means."""
    if not finite:
        return Verdict.FAIL
    if drowned:
        return Verdict.INCONCLUSIVE
    if use <= 1:
        return Verdict.PASS
    # An error is an upper bound. So a pass stands however coarsely the truth is known; too large a one
    # may be but the radius of the truth.
    return Verdict.FAIL if resolved else Verdict.INCONCLUSIVE


def _measure(name: str, value: Array, truth: Array, errors: Array, room: Array, dtype: str) -> TensorCertificate:
    """Return the certificate of a tensor whose absolute errors, and those that rounding excuses, are known."""
    with np.errstate(over="ignore", under="ignore"):
        ulps = errors / ulp(truth, dtype)
        ulps_index = _where_largest(ulps)
        index = _where_largest(errors)
        largest = float(np.max(np.abs(truth)))
        error = float(errors[index])
        use = float(np.max(errors / room))
        relative = 0.0 if error == 0 else (error / largest if largest > 0 else np.inf)
    return TensorCertificate(
        name,
        CERTIFIED,
        ulps=float(ulps[ulps_index]),
        ulps_index=ulps_index,
        relative=float(relative),
        relative_index=index,
        use=use,
        value=float(value[ulps_index]),
        truth=float(truth[ulps_index]),
    )


def _where_largest(values: Array) -> tuple[int, ...]:
    """Return the index of the largest entry."""
    return tuple(int(k) for k in np.unravel_index(int(np.argmax(values)), values.shape))


def ulp(truth: Array, dtype: str) -> Array:
    """Return the distance between a dtype's numbers around each entry of `truth`, in float64; never below its least."""
    # Of what comes back, which under autocast is float32 though what is inside is not.
    bits, least = spacing(dtype)
    return np.ldexp(1.0, np.frexp(np.maximum(np.abs(truth), least))[1] - bits)
