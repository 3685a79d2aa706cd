"""Certified test vectors: cases with their exact answers in one JSON file, for an LSTM in any language.

Inputs are hexadecimal floats, answers the float64 nearest to what balls enclose, each with a certified radius and the
deviation that rounding excuses. Each vector lists the known errors it exposes, as measured when it was written. Reading
refuses a file that is damaged or was edited, and says where. `docs/vectors.md` is for the user in C, Rust or CUDA.
"""

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic import balls
from lstm_checks.calling import call_target
from lstm_checks.cases import COTANGENTS, DTYPES, LONG, Arrays, Case, from_named
from lstm_checks.certified.certify import certified_gradient
from lstm_checks.compare import form_fault
from lstm_checks.contract import DCN, GATES, GRADIENTS, INPUTS, OUTPUTS, STATES, Target, input_shapes
from lstm_checks.faults.model import Fault, Patch, evaluate
from lstm_checks.files import FileError, hex_list, parse_json, read_bytes, replace_file, shown
from lstm_checks.oracles.expected import Expected, expect
from lstm_ref import lstm_backward, lstm_forward, lstm_parameter_gradients

Array = NDArray[Any]


FORMAT = "lstm-checks certified vectors 1"


COTANGENT_NAMES = ("dh", "dhn", "dCn")


TENSOR_KEYS = ("value", "radius", "tolerance")


PASS, FAIL, UNSUPPORTED = "pass", "fail", "unsupported"


FLAGS: dict[str, tuple[Callable[[Case], bool], str]] = {
    "one-step": (lambda c: c.s == 1, "s = 1: the recurrence is not run; only h0 and C0 reach V."),
    "long": (lambda c: c.s >= LONG, f"s >= {LONG}: what each step does slightly wrong adds up."),
    "one-sample": (lambda c: c.m == 1, "m = 1: no sum over samples; squeezing the axis away is a common accident."),
    "many-samples": (lambda c: c.m >= 5, "m >= 5: more samples than units as a rule."),
    "samples-equal-steps": (lambda c: c.m == c.s, "m = s: an input read time-major has the same shape."),
    "samples-equal-units": (lambda c: c.m == c.u, "m = u: a state read transposed has the same shape."),
    "square-weights": (lambda c: c.e == c.u, "e = u: U transposed has the same shape."),
    "wide-input": (lambda c: c.e > c.u, "e > u: more rows in U than columns."),
    "odd-units": (lambda c: c.u % 2 == 1, "u is odd: the tail of a vector loop."),
    "many-units": (lambda c: c.u >= 8, "u >= 8: a vector loop's body and not only its tail."),
    "initial-states": (lambda c: c.states, "h0 and C0 are not zero."),
    "no-initial-states": (lambda c: not c.states, "h0 and C0 are zero; their gradients are due all the same."),
    "every-step": (lambda c: "every" in c.cotangents, "dh is not zero at any step."),
    "last-step": (lambda c: "last" in c.cotangents, "dh is zero before the last step: a layer that returns that one."),
    "final-h": (lambda c: "h" in c.cotangents.split("+"), "The final hidden state has a cotangent of its own, dhn."),
    "final-C": (lambda c: "C" in c.cotangents.split("+"), "The final memory state has a cotangent, dCn."),
    "final-only": (lambda c: c.cotangents in ("h", "C", "h+C"), "dh is zero: all comes from the final states."),
    "tiny-scale": (lambda c: c.regime == "x1e-3", "Parameters near 1e-3: an absolute tolerance sees nothing here."),
    "saturated": (lambda c: c.regime == "x10", "Parameters near 10: gates near 0 and 1."),
    "huge-scale": (lambda c: c.regime == "x100", "Parameters near 100: exp overflows where tanh would not."),
    "mixed-scale": (lambda c: c.regime == "mixed", "Each array has its own power of ten from 1e-3 to 1e2."),
    "zero-parameters": (lambda c: c.regime == "zero", "All parameters are zero: every gate is a half, g is zero."),
    "zero-inputs": (lambda c: c.regime == "padded", "X is zero at some steps, as padding is: steps like any other."),
    "float64": (lambda c: c.dtype == "float64", "Inputs and tolerances are those of float64."),
    "float32": (lambda c: c.dtype == "float32", "Inputs are float32 numbers, tolerances those of float32 arithmetic."),
}
"""What a vector tries, by name: a predicate of its case, and the words that the file carries."""


NOTES: dict[str, Any] = {
    "layer": [
        "m samples, s steps, e elements a step, u units; gates k = f, i, g, o; * is element by element, @ the product.",
        "For every step, with h and C from the step before (h0 and C0 at the first):",
        "k_ = X_s @ Uk + h @ Vk + bk;  f, i, o = sigmoid(f_, i_, o_);  g = tanh(g_)",
        "C = f * C + i * g;  h = o * tanh(C)",
        "Cn is C after the last step. A gradient dk is dL/dk for L = sum(dh * h) + sum(dhn * h[last]) + sum(dCn * Cn).",
        "dhn may be added to dh of the last step: the sum is exact in the vector's dtype.",
        "Where sequences is false dh is zero before the last step: it suits a layer that returns h of that step alone.",
    ],
    "shapes": {
        "U": "e, u",
        "V": "u, u",
        "b": "1, u",
        "X": "m, s, e",
        "h0, C0, dhn, dCn, Cn": "m, u",
        "h, dh": "m, s, u",
        "dUf ... dC0": "that of the input",
    },
    "numbers": [
        "Arrays are flat lists, last axis fastest. Numbers are hexadecimal floats in quotes, as C's strtod reads them.",
        "value: the float64 nearest to the exact answer. radius: a proven bound on the distance of value from that.",
        "tolerance: an implementation passes where |its entry - value| <= tolerance; write it so that NaN fails.",
        "It is 6 standard deviations of the entry's rounding error in the vector's dtype, measured by Monte Carlo "
        "arithmetic, and 4 times the dtype's smallest normal number, rounded up to 8 bits.",
    ],
    "exposes": "The known errors that, run in the vector's dtype, exceed twice the tolerance somewhere.",
    "sha256": "Of the vector's JSON without this key: keys sorted, no spaces, ASCII; of the file, with each vector "
    "replaced by its sha256.",
}


_HEX = re.compile(r"-?0x[01](\.[0-9a-f]+)?p[+-][0-9]+")


LONGEST_WORD = 200  # characters of an id or a flag


_MARGIN = 2.0  # an implementation's own rounding may use one tolerance and hide as much of an error


@dataclass(frozen=True)
class KnownError:
    """A way to get an LSTM wrong: in words, and as a function from arrays to wrong h, Cn and gradients."""

    summary: str
    evaluate: Callable[[Arrays], Mapping[str, Any]]


class VectorsError(ValueError):
    """A file of vectors is not as it was written; the message says where and how."""


@dataclass(frozen=True)
class Vector:
    """One certified vector.

    Attributes
    ----------
    id : str
        The descriptor of the case its arrays were drawn by.
    dims : tuple
        m, s, e, u.
    dtype : str
        "float64" or "float32": of the inputs, and of the arithmetic that the tolerances are for.
    sequences : bool
        Whether steps before the last carry a cotangent.
    flags, exposes : tuple of str
        What it tries, and which known errors it exposes.
    arrays : Arrays
        Inputs and cotangents, in `dtype`.
    values, radii, tolerances : dict
        Float64 arrays for h, Cn and the 15 gradients; radii and tolerances are absolute.
    """

    id: str
    dims: tuple[int, int, int, int]
    dtype: str
    sequences: bool
    flags: tuple[str, ...]
    exposes: tuple[str, ...]
    arrays: Arrays
    values: dict[str, Array]
    radii: dict[str, Array]
    tolerances: dict[str, Array]


@cache
def vector_cases() -> tuple[Case, ...]:
    """Return the cases of the shipped vectors; where rounding drowns a case, the next seed takes its place."""
    chosen = []
    for k, dims in enumerate(_DIMS):
        for j, dtype in enumerate(DTYPES):
            # The strides are coprime to the lengths, so that in both dtypes everything meets everything.
            other, scale = COTANGENTS[(3 * k + 5 * j) % len(COTANGENTS)], _SCALES[(k + 3 * j) % len(_SCALES)]
            chosen += [
                _first_calm(dims, dtype, "normal", "every+h+C" if (k + j) % 2 else other, True),
                _first_calm(dims, dtype, scale, other if (k + j) % 2 else "every+h+C", (k + j) % 3 > 0),
            ]
    return tuple(chosen)


def _first_calm(dims: tuple[int, int, int, int], dtype: str, regime: str, cotangents: str, states: bool) -> Case:
    """Return the case of the first seed whose answer rounding does not drown."""
    for seed in itertools.count(1):
        case = Case(*dims, dtype=dtype, regime=regime, cotangents=cotangents, states=states, seed=seed)
        if not expect(case).chaotic((*OUTPUTS, *GRADIENTS)):
            return case
    raise AssertionError("unreachable")


_DIMS = (
    (1, 1, 1, 1),
    (1, 1, 2, 3),
    (2, 1, 3, 2),
    (3, 1, 2, 2),
    (1, 2, 1, 3),
    (2, 2, 2, 2),
    (2, 3, 2, 3),
    (3, 3, 3, 3),
    (2, 4, 3, 2),
    (1, 5, 2, 4),
    (3, 5, 4, 3),
    (2, 6, 1, 5),
    (5, 2, 2, 3),
    (6, 3, 3, 4),
    (2, 13, 2, 3),
    (1, 20, 3, 2),
    (1, 40, 1, 2),
    (2, 3, 2, 8),
    (3, 4, 8, 5),
    (1, 3, 9, 4),
    (4, 4, 4, 4),
    (3, 7, 5, 1),
    (2, 8, 1, 1),
    (1, 2, 9, 9),
)


_SCALES = ("x1e-3", "x10", "x100", "mixed", "zero", "padded", "mixed")


def make_vectors(
    cases: Iterable[Case] | None = None, errors: Mapping[str, KnownError] | None = None
) -> list[dict[str, Any]]:
    """Return vectors as the plain dicts that the file holds; a case that exposes no error is left out.

    Parameters
    ----------
    cases : iterable of Case, optional
        `vector_cases()` where None.
    errors : mapping, optional
        Known errors by id: see `known_errors`.

    Raises
    ------
    MissingExtra
        "certified gradients need python-flint: pip install python-flint".
    """
    errors = known_errors() if errors is None else errors
    made = (_make(case, errors) for case in (vector_cases() if cases is None else cases))
    return [vector for vector in made if vector["exposes"]]


def _make(case: Case, errors: Mapping[str, KnownError]) -> dict[str, Any]:
    """Return one vector as the file holds it."""
    certified, expected = certified_gradient(case), expect(case)
    answers = {}
    for name, value in certified.values.items():
        with balls.precision(certified.bits):
            radius = balls.distance(value, certified.enclosures[name])
        accepted = tolerance.accepted(expected.sd[name], case.dtype)
        columns = (value, _up_to_bits(radius, 1), _up_to_bits(accepted, 8))
        answers[name] = dict(zip(TENSOR_KEYS, map(hex_list, columns), strict=True))
    vector = {
        "id": case.descriptor,
        "dtype": case.dtype,
        "sizes": dict(zip("mseu", case.dims, strict=True)),
        "sequences": case.sequences,
        "flags": [name for name, (holds, _) in FLAGS.items() if holds(case)],
        "exposes": [name for name, error in errors.items() if _exposed(error, case, certified.values, expected)],
        "inputs": {name: hex_list(case.arrays.inputs[name]) for name in INPUTS},
        "cotangents": {name: hex_list(case.arrays.cotangents[name]) for name in COTANGENT_NAMES},
        "outputs": {name: answers[name] for name in OUTPUTS},
        "gradients": {name: answers[name] for name in GRADIENTS},
    }
    return vector | {"sha256": _checksum(vector)}


def _exposed(error: KnownError, case: Case, truth: Mapping[str, Array], expected: Expected) -> bool:
    """Return whether an error shows in a value beyond rounding; one that these sizes give away by a shape does not."""
    with np.errstate(all="ignore"):
        try:
            came = error.evaluate(case.arrays)
        except (ValueError, IndexError):
            return False
        if any(np.shape(came[name]) != value.shape for name, value in truth.items()):
            return False
        for name, value in truth.items():
            deviation = np.abs(np.asarray(came[name], np.float64) - value)
            if not np.all(deviation <= _MARGIN * tolerance.accepted(expected.sd[name], case.dtype)):
                return True
    return False


def _up_to_bits(values: Array, bits: int) -> Array:
    """Return the values rounded up to so many bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.ceil(np.ldexp(mantissa, bits)), exponent - bits)


def _checksum(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def write_vectors(
    path: str | Path, cases: Iterable[Case] | None = None, errors: Mapping[str, KnownError] | None = None
) -> tuple[str, ...]:
    """Write vectors to a file and return their ids.

    The same machine writes the same bytes. Values and radii are the same everywhere; a tolerance is an estimate from 32
    noisy copies, which another build of NumPy may change by a percent, by rounding otherwise below the noise.

    Parameters
    ----------
    path : path
        Replaced in one step, when all is done.
    cases, errors : optional
        As `make_vectors` takes them.
    """
    errors = known_errors() if errors is None else errors
    vectors = make_vectors(cases, errors)
    exposed = {name for vector in vectors for name in vector["exposes"]}
    notes = NOTES | {"flags": {name: words for name, (_, words) in FLAGS.items()}}
    notes["errors"] = {name: errors[name].summary for name in errors if name in exposed}
    replace_file(path, _file_text(notes, vectors))
    return tuple(vector["id"] for vector in vectors)


def _file_text(notes: Mapping[str, Any], vectors: Sequence[Mapping[str, Any]]) -> str:
    """Return the whole file."""
    head = {"format": FORMAT, "notes": notes}
    checksum = _checksum(head | {"vectors": [vector["sha256"] for vector in vectors]})
    return _text(head | {"vectors": list(vectors), "sha256": checksum}) + "\n"


def _text(value: Any, indent: str = "") -> str:
    """Return JSON that reads well: a line for a list of numbers or words, a block for everything else that is long."""
    deeper = indent + " "
    inline = json.dumps(value, ensure_ascii=True, allow_nan=False)
    nested = isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values())
    if nested or (isinstance(value, dict) and len(inline) > 120):
        items = [f"{deeper}{json.dumps(key)}: {_text(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    prose = isinstance(value, list) and any(isinstance(item, str) and " " in item for item in value)
    if prose or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
        return "[\n" + ",\n".join(deeper + _text(item, deeper) for item in value) + f"\n{indent}]"
    return inline


def known_errors() -> dict[str, KnownError]:
    """Return the errors that vectors are measured against, by id.

    All 23 wrong orders of four gates packed in one array; every weight matrix transposed on the way in, on the way out
    or in the backward pass; every term of every equation dropped, and every factor of a backward equation.
    """
    return dict([*_gate_orders(), *_transpositions(), *_dropped_terms(), *_edited_sources()])


def _gate_orders() -> Iterable[tuple[str, KnownError]]:
    """Yield the wrong gate orders: the parameters of the gates named stand where those of f, i, g, o are expected."""
    for order in itertools.permutations(GATES):
        if order != GATES:
            words = f"A pack of the gates {' '.join(GATES)} is read as {' '.join(order)}, its gradients likewise."
            yield f"gate-order-{''.join(order)}", KnownError(words, partial(_reorder, order))


def _reorder(order: tuple[str, ...], arrays: Arrays) -> dict[str, Any]:
    """Return the results of gates that took each other's parameters."""
    taken = dict(zip(GATES, order, strict=True))  # the gate that computes with a block, by the block's owner
    p = {kind + taken[gate]: arrays.p[kind + gate] for gate in GATES for kind in "UVb"}
    values = _evaluate(arrays, forward_p=p, backward_p=p)
    renamed = {f"d{kind}{gate}": values[f"d{kind}{taken[gate]}"] for gate in GATES for kind in "UVb"}
    return values | renamed


def _transpositions() -> Iterable[tuple[str, KnownError]]:
    """Yield the transpositions, of one gate's matrix or of all four; they fit where U is square."""
    for kind, onward in (("U", "dX"), ("V", "dh")):
        for gates in (*GATES, "".join(GATES)):
            names = tuple(kind + gate for gate in gates)
            said = kind + gates if len(gates) == 1 else kind
            swap, turn = partial(_transpose, names), tuple("d" + name for name in names)
            read = KnownError(f"{said} is stored transposed, and so is its gradient.", partial(_read_transposed, names))
            yield f"transposed-{said}", read
            yield f"transposed-d{said}", KnownError(f"d{said} is returned transposed.", partial(_turned, turn))
            backward = KnownError(f"{onward} is computed with {said}, not transposed.", partial(_backward_with, swap))
            yield f"untransposed-{said}", backward


def _transpose(names: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with some matrices transposed."""
    return {name: value.mT if name in names else value for name, value in values.items()}


def _read_transposed(names: tuple[str, ...], arrays: Arrays) -> dict[str, Any]:
    """Return the results with weights transposed on the way in and their gradients on the way out."""
    p = _transpose(names, arrays.p)
    return _turned(tuple("d" + name for name in names), arrays, p)


def _turned(names: tuple[str, ...], arrays: Arrays, p: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the results with some gradients transposed."""
    return _transpose(names, _evaluate(arrays, forward_p=p, backward_p=p))


def _backward_with(change: Callable[[Mapping[str, Any]], dict[str, Any]], arrays: Arrays) -> dict[str, Any]:
    """Return the results with the parameters changed in the backward pass alone."""
    return _evaluate(arrays, backward_p=change(arrays.p))


def _forward_with(change: Callable[[Mapping[str, Any]], dict[str, Any]], arrays: Arrays) -> dict[str, Any]:
    """Return the results with the parameters changed in the forward pass alone."""
    return _evaluate(arrays, forward_p=change(arrays.p))


def _dropped_terms() -> Iterable[tuple[str, KnownError]]:
    """Yield each term of equation (1) dropped, forward and backward; a zero in its matrix's place does that."""
    for gate in GATES:
        for kind, term in (("U", f"X_s U{gate}"), ("V", f"hp V{gate}"), ("b", f"b{gate}")):
            zero = partial(_zeroed, kind + gate)
            yield f"dropped-{kind}{gate}", KnownError(f"{gate}_ lacks {term}.", partial(_forward_with, zero))
        for kind, onward in (("U", "dX"), ("V", "dh")):
            words = f"{onward} lacks d{gate}_ {kind}{gate}^T."
            zero = partial(_zeroed, kind + gate)
            yield f"dropped-d{gate}-in-{onward}", KnownError(words, partial(_backward_with, zero))


def _zeroed(name: str, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with one of them zero."""
    return {**p, name: np.zeros_like(p[name])}


_EDITS: tuple[tuple[str, str, str, str, str], ...] = (
    ("dropped-f-Cp", "forward", "f * Cp_ + i * g", "i * g", "C_ lacks f * Cp_."),
    ("dropped-i-g", "forward", "f * Cp_ + i * g", "f * Cp_", "C_ lacks i * g."),
    ("dropped-dA", "backward", "dA_s + dhn", "dhn", "dh_ lacks the cotangent of the step's own output."),
    ("dropped-dhn", "backward", "dA_s + dhn", "dA_s", "dh_ lacks what comes from the next step, and the final dhn."),
    ("dropped-dCn", "backward", " + dCn  #", "  #", "dC_ lacks what comes from the next step, and the final dCn."),
    ("dropped-dh-in-dC", "backward", "dh_ * o * tanh_derivative(C) + dCn", "0 * dh_ + dCn", "dC_ lacks the path by h."),
    ("dropped-carry-of-dC", "backward", "= dh, dC\n", "= dh, 0 * dC\n", "dC is not passed to the step before."),
    ("dropped-carry-of-dh", "backward", "= dh, dC\n", "= 0 * dh, dC\n", "dh is not passed to the step before."),
    ("dropped-o-in-dC", "backward", "dh_ * o * tanh", "dh_ * tanh", "dC_ lacks the factor o."),
    ("dropped-tanh-derivative", "backward", " * tanh_derivative(C)", "", "dC_ lacks the factor 1 - C^2."),
    ("dropped-f-in-dC", "backward", "dC = dC_ * f ", "dC = dC_ ", "dC lacks the factor f."),
    ("dropped-C-in-do", "backward", "do = dh_ * C ", "do = dh_ ", "do lacks the factor C."),
    ("dropped-Cp-in-df", "backward", "df = dC_ * Cp_ ", "df = dC_ ", "df lacks the factor Cp_."),
    ("dropped-g-in-di", "backward", "di = dC_ * g ", "di = dC_ ", "di lacks the factor g."),
    ("dropped-i-in-dg", "backward", "dg = dC_ * i ", "dg = dC_ ", "dg lacks the factor i."),
    ("dropped-derivative-of-o", "backward", " * sigmoid_derivative(o)", "", "do_ lacks the factor o (1 - o)."),
    ("dropped-derivative-of-g", "backward", " * tanh_derivative(g)", "", "dg_ lacks the factor 1 - g^2."),
    ("dropped-derivative-of-i", "backward", " * sigmoid_derivative(i)", "", "di_ lacks the factor i (1 - i)."),
    ("dropped-derivative-of-f", "backward", " * sigmoid_derivative(f)", "", "df_ lacks the factor f (1 - f)."),
    ("dropped-steps-of-dU", "gradients", "X.mT @ dk_, axis=-3", "(X.mT @ dk_)[..., -1:, :, :], axis=-3",
     "dU is that of the last step alone."),
    ("dropped-steps-of-dV", "gradients", "hp.mT @ dk_, axis=-3", "(hp.mT @ dk_)[..., -1:, :, :], axis=-3",
     "dV is that of the last step alone."),
    ("dropped-steps-of-db", "gradients", "np.sum(dk_, axis=-2), axis", "np.sum(dk_, axis=-2)[..., -1:, :], axis",
     "db is that of the last step alone."),
    ("dropped-first-step-of-dV", "gradients", "hp.mT @ dk_, axis=-3", "(hp.mT @ dk_)[..., 1:, :, :], axis=-3",
     "dV lacks the first step, which h0 reaches."),
    ("dropped-samples-of-db", "gradients", "np.sum(dk_, axis=-2), axis=-2)", "dk_[..., 0, :], axis=-2)",
     "db is that of the first sample alone."),
)  # fmt: skip


def _edited_sources() -> Iterable[tuple[str, KnownError]]:
    """Yield the terms and factors that only another source can drop."""
    for name, module, old, new, words in _EDITS:
        fault = Fault(name, "dropped", words, "", (Patch(f"{module}.py", old, new),))
        yield name, KnownError(words, partial(evaluate, fault))


def _evaluate(
    arrays: Arrays,
    forward_p: Mapping[str, Any] | None = None,
    backward_p: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return h, Cn and the gradients, with other parameters in some pass."""
    fc = lstm_forward(forward_p or arrays.p, arrays.X, arrays.h0, arrays.C0)
    bc = lstm_backward(backward_p or arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)
    values = {"h": fc["h"], "Cn": fc["C_"][..., -1, :], **lstm_parameter_gradients(fc, bc)}
    return values | {name: bc[name] for name in ("dX", "dh0", "dC0")}


def shipped_vectors() -> Path:
    """Return the path of the vectors that came with the package; their JSON Schema lies beside them."""
    return Path(str(resources.files("lstm_checks"))) / "data" / "vectors.json"


SHIPPED_SHA256 = "2ee480045ee0b4db988e788d3d0b6a25bd4736af3ac64ee94b61509027d511fa"
"""Of the file that came with the package, as `sha256sum` gives it. Sums inside a file show damage, and anybody can make
them anew; this one says that it is the file whose answers were certified."""


def vectors_schema() -> Path:
    """Return the path of the JSON Schema of a file of vectors."""
    return shipped_vectors().with_name("vectors.schema.json")


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors that was read.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its bytes, in hexadecimal digits.
    vectors : tuple of Vector
    """

    path: Path
    sha256: str
    vectors: tuple[Vector, ...]

    @property
    def shipped(self) -> bool:
        """Whether it is, to the byte, the file that came with the package."""
        return self.sha256 == SHIPPED_SHA256


def read_vectors(path: str | Path | None = None) -> tuple[Vector, ...]:
    """Return the vectors of a file; see `read_vectors_file`."""
    return read_vectors_file(path).vectors


def read_vectors_file(path: str | Path | None = None) -> VectorFile:
    """Return a file of vectors, all of it checked.

    Parameters
    ----------
    path : path, optional
        The file that came with the package where None; any other in its place is refused.

    Raises
    ------
    VectorsError
        "vectors.json: vector m2s3e2u3-float64-seed1: it was changed after it was written (its sha256 does not match)".
    """
    wanted = shipped_vectors() if path is None else Path(path)
    try:
        data = read_bytes(wanted)
        file = VectorFile(wanted, hashlib.sha256(data).hexdigest(), _parse(data))
    except OSError as error:
        raise VectorsError(f"{wanted}: {error.strerror or error}") from error
    except (FileError, VectorsError) as error:
        raise VectorsError(f"{wanted}: {error}") from None
    if path is None and not file.shipped:
        raise VectorsError(
            f"{wanted}: its sha256 is {file.sha256}, expected {SHIPPED_SHA256}: it is not the file that came with "
            "lstm-checks; install that anew, or name the file yourself with --file"
        )
    return file


def _parse(data: bytes) -> tuple[Vector, ...]:
    """Return the vectors that a file's bytes hold."""
    if not data.isascii():
        strange = next(index for index, byte in enumerate(data) if byte > 127)
        raise VectorsError(f"byte {strange} is not ASCII: the file is damaged")
    content = parse_json(data)
    _expect_keys("the file", content, ("format", "notes", "vectors", "sha256"))
    if content["format"] != FORMAT:
        raise VectorsError(f"the format is {shown(content['format'])}, expected {FORMAT!r}")
    if not isinstance(content["vectors"], list) or not content["vectors"]:
        raise VectorsError("there are no vectors")
    vectors = tuple(_read_vector(index, vector) for index, vector in enumerate(content["vectors"]))
    for name, count in Counter(vector.id for vector in vectors).items():
        if count > 1:
            raise VectorsError(f"vector {name} is there twice")
    head = {"format": content["format"], "notes": content["notes"]}
    if content["sha256"] != _checksum(head | {"vectors": [vector["sha256"] for vector in content["vectors"]]}):
        raise VectorsError("vectors were removed, added or reordered, or the notes changed (sha256 does not match)")
    return vectors


def _expect_keys(where: str, value: Any, keys: Sequence[str]) -> None:
    """Refuse anything but an object with these keys."""
    if not isinstance(value, dict):
        raise VectorsError(f"{where} is not an object")
    missing, extra = [k for k in keys if k not in value], [k for k in value if k not in keys]
    if missing or extra:
        words = [f"lacks {', '.join(missing)}"] * bool(missing)
        words += [f"has unknown {', '.join(key if key.isidentifier() else shown(key) for key in extra[:4])}"] * bool(
            extra
        )
        raise VectorsError(f"{where} {' and '.join(words)}")


_VECTOR_KEYS = (
    "id", "dtype", "sizes", "sequences", "flags", "exposes", "inputs", "cotangents", "outputs", "gradients", "sha256",
)  # fmt: skip


def _read_vector(index: int, content: Any) -> Vector:
    """Return one vector, checked."""
    name: Any = content.get("id") if isinstance(content, dict) else None
    where = f"vector {name}" if _is_word(name) else f"vector {index}"
    _expect_keys(where, content, _VECTOR_KEYS)
    if not _is_word(name):
        raise VectorsError(f"{where}: the id is {shown(name)}, expected a word such as m2s3e2u3-float64-seed1")
    if content["sha256"] != _checksum({key: value for key, value in content.items() if key != "sha256"}):
        raise VectorsError(f"{where}: it was changed after it was written (its sha256 does not match)")
    _expect_keys(f"{where}: sizes", content["sizes"], "mseu")
    for key, size in content["sizes"].items():
        if type(size) is not int or size < 1:
            raise VectorsError(f"{where}: {key} is {shown(size)}, expected an integer of at least 1")
    m, s, e, u = (content["sizes"][key] for key in "mseu")
    if content["dtype"] not in DTYPES:
        raise VectorsError(f"{where}: the dtype is {shown(content['dtype'])}, expected one of {', '.join(DTYPES)}")
    if type(content["sequences"]) is not bool:
        raise VectorsError(f"{where}: sequences is {shown(content['sequences'])}, expected true or false")
    for key in ("flags", "exposes"):
        if not isinstance(content[key], list) or not all(map(_is_word, content[key])):
            raise VectorsError(f"{where}: {key} is not a list of words")
    inputs = input_shapes(m, s, e, u)
    shapes = inputs | {"h": (m, s, u), "dh": (m, s, u)} | dict.fromkeys(("Cn", "dhn", "dCn"), (m, u))
    shapes |= {"d" + key: shape for key, shape in inputs.items()}
    given: dict[str, Array] = {}
    for group, names in (("inputs", INPUTS), ("cotangents", COTANGENT_NAMES)):
        _expect_keys(f"{where}: {group}", content[group], names)
        given |= {k: _array(f"{where}: {k}", content[group][k], shapes[k]) for k in names}
    for key, array in given.items():
        with np.errstate(over="ignore"):
            if (array.astype(content["dtype"]) != array).any():
                raise VectorsError(f"{where}: {key} holds a number that is not a {content['dtype']}")
    answers: dict[str, dict[str, Array]] = {key: {} for key in TENSOR_KEYS}
    for group, names in (("outputs", OUTPUTS), ("gradients", GRADIENTS)):
        _expect_keys(f"{where}: {group}", content[group], names)
        for k in names:
            _expect_keys(f"{where}: {k}", content[group][k], TENSOR_KEYS)
            for key in TENSOR_KEYS:
                answers[key][k] = _array(f"{where}: {k} {key}", content[group][k][key], shapes[k])
            if any((answers[key][k] < 0).any() for key in ("radius", "tolerance")):
                raise VectorsError(f"{where}: {k} has a negative radius or tolerance")
    return Vector(
        id=name,
        dims=(m, s, e, u),
        dtype=content["dtype"],
        sequences=content["sequences"],
        flags=tuple(content["flags"]),
        exposes=tuple(content["exposes"]),
        arrays=from_named(given).astype(content["dtype"]),
        values=answers["value"],
        radii=answers["radius"],
        tolerances=answers["tolerance"],
    )


def _is_word(value: Any) -> bool:
    """Return whether it is a text that can be printed in a line."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_WORD


def _array(where: str, numbers: Any, shape: tuple[int, ...]) -> Array:
    """Return a list of hexadecimal floats as an array."""
    count = math.prod(shape)
    if not isinstance(numbers, list) or len(numbers) != count:
        raise VectorsError(f"{where} is not a list of {shown(count)} numbers")
    found = np.empty(count)
    for index, text in enumerate(numbers):
        try:
            if not _HEX.fullmatch(text):
                raise ValueError
            found[index] = float.fromhex(text)
        except (TypeError, ValueError, OverflowError):
            raise VectorsError(f"{where}[{index}] is {shown(text)}, not a hexadecimal float") from None
    return found.reshape(shape)


@dataclass(frozen=True)
class VectorResult:
    """The verdict on one vector.

    Attributes
    ----------
    vector : Vector
    verdict : str
        "pass", "fail" or "unsupported".
    reason : str
        The worst entry with what it should be, or why there is none.
    use : float
        The largest deviation over its tolerance; NaN counts as infinite, and so does a wrong form.
    tensors : dict
        The same for each tensor that was judged.
    """

    vector: Vector
    verdict: str
    reason: str = ""
    use: float = 0.0
    tensors: Mapping[str, float] | None = None


@dataclass(frozen=True)
class VectorReport:
    """What a target did on every vector.

    Attributes
    ----------
    target : str
    results : tuple of VectorResult
    file : VectorFile or None
        Which the vectors are from, where they are those of a file.
    lacking : tuple of str
        The outputs and gradients that the target does not give, which no vector has judged.
    """

    target: str
    results: tuple[VectorResult, ...]
    file: VectorFile | None = None
    lacking: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was judged and all of it passed."""
        return self.counts[PASS] > 0 and self.counts[FAIL] == 0

    @property
    def judged(self) -> bool:
        """Whether the target could be run on any vector."""
        return self.counts[PASS] + self.counts[FAIL] > 0

    @property
    def counts(self) -> dict[str, int]:
        """How many vectors passed, failed and were unsupported."""
        return _count(self.results)

    def by_flag(self) -> dict[str, dict[str, int]]:
        """Return the counts of each flag, in the order of `FLAGS`."""
        flags = dict.fromkeys([*FLAGS, *(flag for result in self.results for flag in result.vector.flags)])
        found = {flag: [r for r in self.results if flag in r.vector.flags] for flag in flags}
        return {flag: _count(results) for flag, results in found.items() if results}

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a vector, for a table: vector, verdict, use, reason, flags."""
        return [
            {"vector": r.vector.id, "verdict": r.verdict, "use": r.use, "reason": r.reason, "flags": r.vector.flags}
            for r in self.results
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report in plain types."""
        rows = [row | {"use": row["use"] if np.isfinite(row["use"]) else str(row["use"])} for row in self.rows()]
        return {
            "target": self.target,
            "file": str(self.file.path) if self.file else None,
            "sha256": self.file.sha256 if self.file else None,
            "shipped": self.file is not None and self.file.shipped,
            "lacking": list(self.lacking),
            "passed": self.passed,
            "counts": self.counts,
            "flags": self.by_flag(),
            "vectors": [row | {"flags": list(row["flags"])} for row in rows],
        }


def _count(results: Sequence[VectorResult]) -> dict[str, int]:
    """Return how many results have each verdict."""
    return {verdict: sum(r.verdict == verdict for r in results) for verdict in (PASS, FAIL, UNSUPPORTED)}


def run_vectors(target: Target, vectors: VectorFile | Iterable[Vector] | None = None) -> VectorReport:
    """Return the verdict on each vector, of a file or not; the shipped ones where None are given. Needs no extra."""
    vectors = read_vectors_file() if vectors is None else vectors
    file = vectors if isinstance(vectors, VectorFile) else None
    results = tuple(
        _run(target, vector) for vector in (vectors.vectors if isinstance(vectors, VectorFile) else vectors)
    )
    lacking = tuple(name for name in (*OUTPUTS, *GRADIENTS) if name in target.lacks)
    return VectorReport(target.name, results, file, lacking)


def _run(target: Target, vector: Vector) -> VectorResult:
    """Return the verdict on one vector."""
    if vector.dtype not in target.dtypes:
        return VectorResult(vector, UNSUPPORTED, f"the target does not compute in {vector.dtype}")
    if STATES in target.lacks and (vector.arrays.h0.any() or vector.arrays.C0.any()):
        return VectorResult(vector, UNSUPPORTED, "the target takes no initial states")
    if DCN in target.lacks and vector.arrays.dCn.any():
        return VectorResult(vector, UNSUPPORTED, "the target takes no cotangent of the final memory state")
    names = [name for name in (*OUTPUTS, *GRADIENTS) if name not in target.lacks]
    if not names:
        return VectorResult(vector, UNSUPPORTED, "the target gives no output and no gradient")
    outcome = call_target(target, vector.arrays.copy(), vector.sequences)
    if outcome.error:
        return VectorResult(vector, FAIL, outcome.sentence, np.inf)
    unknown = sorted(map(str, set(outcome.values) - {*OUTPUTS, *GRADIENTS, *target.twins}))
    if unknown:
        return VectorResult(vector, FAIL, f"{shown(unknown[0])} is not a gradient of the contract", np.inf)
    judged = {name: _judge(name, outcome.values, vector) for name in names}
    uses = {name: use for name, (use, _) in judged.items()}
    worst, reason = max(judged.values(), key=lambda found: found[0])
    return VectorResult(vector, PASS if worst <= 1 else FAIL, reason, worst, uses)


def _judge(name: str, values: Mapping[str, Any], vector: Vector) -> tuple[float, str]:
    """Return a tensor's largest deviation over its tolerance, and that entry in words; the form as `verify` has it."""
    due, accepted, came = vector.values[name], vector.tolerances[name], values.get(name)
    if name == "h" and getattr(came, "ndim", 0) == 2 and not vector.sequences:
        due, accepted = due[:, -1], accepted[:, -1]
    badly_formed = form_fault(name, values, due.shape, vector.dtype)
    if badly_formed is not None and badly_formed.discrepancy is not None:
        return np.inf, badly_formed.discrepancy.message
    value = values[name].astype(np.float64)
    with np.errstate(all="ignore"):
        deviation = np.abs(value - due) / accepted
    deviation = np.where(np.isnan(deviation), np.inf, deviation)
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(deviation)), deviation.shape))
    entry = f"{name}[{', '.join(map(str, index))}]"
    words = f"{entry} = {float(value[index])!r}, should be {float(due[index])!r} ± {accepted[index]:.2g}"
    return float(deviation[index]), words
