"""Certified test vectors: cases with their exact answers in one JSON file, for an LSTM in any language.

What a vector is, and what of its file reading and writing must agree on; the rest is in `read`, `write`, `run` and
`errors`. `docs/vectors.md` is for the user in C, Rust or CUDA.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lstm_checks.cases import LENGTHS, LONG, Arrays, Case
from lstm_checks.contract import PLAIN
from lstm_checks.formats import base_of, format_named, is_low
from lstm_ref.cell import Cell
from lstm_ref.network import Network

Array = NDArray[Any]


FORMAT = "lstm-checks certified vectors 1"
"""Of the plain cell's vectors, which do not say whose they are."""


FORMAT_OF_CELLS = "lstm-checks certified vectors 2"
"""Of those of other cells and of networks: each has the keys "cell" and "lengths" besides."""


COTANGENT_NAMES = PLAIN.cotangents


TENSOR_KEYS = ("value", "radius", "tolerance")


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


def _layers(case: Case) -> range:
    """Return the layers of a case's network."""
    return range(case.cell.layers if isinstance(case.cell, Network) else 1)


def _directions(case: Case) -> tuple[str, ...]:
    """Return the directions of a case's network."""
    return case.cell.directions if isinstance(case.cell, Network) else ()


def _of_lengths(kind: str) -> Callable[[Case], bool]:
    """Return whether a case has this kind of lengths, as a predicate."""
    return lambda case: case.lengths == kind


OF_NETWORKS: dict[str, tuple[Callable[[Case], bool], str]] = {
    "many-layers": (lambda c: len(_layers(c)) > 1, "More than one layer: each has weights and states of its own."),
    "one-direction": (lambda c: len(_directions(c)) == 1, "One direction in each layer."),
    "both-directions": (lambda c: len(_directions(c)) == 2, "Both directions in each layer, side by side."),
    "one-length": (lambda c: c.lengths == "", "Nothing is said of lengths: all samples have all steps."),
    **{
        f"{kind}-lengths": (_of_lengths(kind), words)
        for kind, words in zip(
            LENGTHS,
            (
                "Every sample is said to have all steps.",
                "Each sample has a length of its own, one at least all steps.",
                "Each sample has a length of its own, the longest first.",
                "All samples are shorter than the batch.",
                "Every sample has one step.",
                "Some sample has no step: its final states are its initial ones.",
            ),
            strict=True,
        )
    },
}
"""The same of networks besides."""


def contract_of(name: str) -> str:
    """Return the name of a format's contract: "all" where it says none."""
    return format_named(name).contract or "all"


def _keeps(word: str) -> Callable[[Case], bool]:
    """Return the predicate of cases in low precision under a contract."""
    return lambda c: is_low(c.dtype) and contract_of(c.dtype) == word


LOW_FLAGS: dict[str, tuple[Callable[[Case], bool], str]] = {
    "bfloat16": (lambda c: base_of(c.dtype) == "bfloat16", "Inputs are bfloat16 numbers."),
    "float16": (lambda c: base_of(c.dtype) == "float16", "Inputs are float16 numbers."),
    **{
        word: (_keeps(word), f"Tolerances allow {words}.")
        for word, words in {
            "all": "every operation to be rounded to the format",
            "accumulate32": "every operation but sums to be rounded to the format",
            "gates32": "operands, h, C and the cotangents handed on to be rounded to the format, and no other",
            "state32": "operands and h to be rounded to the format, and no other",
        }.items()
    },
}
"""The same of vectors in low precision, which the file that ships has none of."""


def flags_of(cell: Cell) -> dict[str, tuple[Callable[[Case], bool], str]]:
    """Return what the vectors of a cell may try."""
    return FLAGS | (OF_NETWORKS if isinstance(cell, Network) else {}) | LOW_FLAGS


@dataclass(frozen=True)
class Vector:
    """One certified vector.

    Attributes
    ----------
    id : str
        The descriptor of the case its arrays were drawn by.
    dims : tuple
        m, s, e, u, and the sizes that only its cell has.
    dtype : str
        The format of the inputs, and of the arithmetic that the tolerances are for: "float64", "float32", or one of low
        precision with its contract, "bfloat16+gates32".
    sequences : bool
        Whether steps before the last carry a cotangent.
    flags, exposes : tuple of str
        What it tries, and which known errors it exposes.
    arrays : Arrays
        Inputs and cotangents, in `dtype`, and the cell; of a network at the samples' lengths, where they have any.
    values, radii, tolerances : dict
        Float64 arrays for h, Cn and the 15 gradients; radii and tolerances are absolute.
    """

    id: str
    dims: tuple[int, ...]
    dtype: str
    sequences: bool
    flags: tuple[str, ...]
    exposes: tuple[str, ...]
    arrays: Arrays
    values: dict[str, Array]
    radii: dict[str, Array]
    tolerances: dict[str, Array]

    @property
    def cell(self) -> Cell:
        """Whose equations it is of."""
        return self.arrays.cell


def checksum(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
