"""In how many bits things come: gates and tensors of fewer significant bits than their dtype has.

A gate's value is read out exactly, through Cn or h after a single step, the others held open or shut so that they are 1
or 0 to the bit. What ends in zeros in every one of many values was rounded to fewer bits; no right answer does so.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.diagnosis.observe import Array, observe_once, suited
from lstm_checks.words import series
from lstm_ref.cell import evaluate_forward

READ = (Case(6, 1, 4, 8, seed=171), Case(5, 1, 3, 9, seed=174))
"""Single steps of so many values that none ends in zeros in all of them by chance."""

ASKED = (
    Case(3, 5, 4, 6, seed=172),
    Case(2, 4, 3, 9, seed=173),
    Case(5, 9, 3, 7, seed=175),
    Case(1, 2, 3, 8, seed=176),
)
"""Cases of which all tensors are looked at, each by itself: a sum of short numbers has more bits than they, and of more
numbers it has more still; what was rounded itself has as many in each."""

NAMES = {24: "float32", 11: "float16 or TF32", 8: "bfloat16"}
DIGITS = {"float64": 53, "float32": 24}

_KEPT: dict[str, tuple[str, Mapping[str, float], float | None]] = {
    # What is read of a single step, by which output, with which biases and which C0 (its own where None).
    "f": ("Cn", {"i": -tolerance.HELD, "g": 0.0}, 1.0),
    "i": ("Cn", {"f": -tolerance.HELD, "g": tolerance.HELD}, 0.0),
    "g": ("Cn", {"f": -tolerance.HELD, "i": tolerance.HELD}, 0.0),
    "o": ("h", {"f": tolerance.HELD, "i": -tolerance.HELD, "g": 0.0}, tolerance.HELD),
    "C": ("h", {"f": tolerance.HELD, "i": -tolerance.HELD, "g": 0.0, "o": tolerance.HELD}, None),
    "memory": ("Cn", {"f": tolerance.HELD, "i": -tolerance.HELD, "g": 0.0}, None),
}


READ_OUT = ("f", "i", "g", "o", "C")
"""The gates, and C = tanh(C_)."""


def significant_bits(values: Array) -> int:
    """Return with how many significant bits every one of the values can be written; 0 where all are zero.

    Examples
    --------
    >>> significant_bits(np.array([0.5, 0.75, 3.0]))
    2
    """
    parts = np.frexp(values[np.isfinite(values) & (values != 0)].astype(np.float64))[0]
    whole = (np.abs(parts) * 2.0**53).astype(np.uint64)
    if not whole.size:
        return 0
    # x & -x is the lowest bit that is set: below it there is nothing that a longer format would be needed for.
    lowest = np.log2((whole & (~whole + np.uint64(1))).astype(np.float64)).astype(int)
    return 53 - int(lowest.min())


def short_formats(target: Target) -> dict[str, int]:
    """Return what comes in fewer significant bits than its dtype has, and in how many: gates, C = tanh(C_), tensors."""
    if target.cell.places:
        return {}  # no gate of a network is held by one bias
    found: list[dict[str, int]] = []
    cases = [case for one in READ if (case := suited(target, one)) is not None]
    for case in cases if target.takes_states else ():
        read = {name: _bits(came, due) for name, came, due in _gates(target, case)}
        # What is read through is to be whole itself: a memory that loses bits is not the gates' doing, nor is an h.
        through = {"f": ("memory",), "i": ("memory",), "g": ("memory",), "o": ("C",), "C": ("o",)}
        found.append({n: read[n] for n in READ_OUT if n in read and all(read.get(t, 0) > read[n] for t in through[n])})
    common = _in_all(found)
    seen = [observe_once(target, case) for one in ASKED if (case := suited(target, one)) is not None]
    common |= _in_all([{name: _bits(came, one.due(name)[0]) for name, came in one.came.items()} for one in seen])
    digits = DIGITS[cases[0].dtype] if cases else 53
    return {name: bits for name, bits in common.items() if 0 < bits <= digits - tolerance.BITS_LOST}


def _in_all(found: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return what comes in the same number of bits each time."""
    first, *others = found or [{}]
    return {name: bits for name, bits in first.items() if all(other.get(name) == bits for other in others)}


def _bits(came: Array, due: Array) -> int:
    """Return in how many bits values come that are right to about as many; 0 where they are something else."""
    bits, most = significant_bits(came), np.max(np.abs(due), initial=0)
    with np.errstate(all="ignore"):
        return (
            bits
            if np.all(np.abs(came - due) <= min(tolerance.SHORT_ERROR * 2.0**-bits, tolerance.SHORT_AT_MOST) * most)
            else 0
        )


def _gates(target: Target, case: Case) -> Iterator[tuple[str, Array, Array]]:
    """Yield what came and what is due of each gate, and of tanh(C_), at a single step."""
    cell = case.cell
    # A gate is held by its own bias. Whatever else reaches it is set to zero, as it is for the plain cell.
    others = {n: np.zeros_like(v) for n, v in case.arrays.p.items() if n not in PLAIN.parameters}
    for name, (output, biases, memory) in _KEPT.items():
        if not set(biases) <= set(cell.gates):
            continue
        inputs = dict(others)
        for gate, bias in biases.items():
            inputs[f"b{gate}"] = np.full_like(case.arrays.p[f"b{gate}"], bias)
            inputs |= {f"{kind}{gate}": np.zeros_like(case.arrays.p[f"{kind}{gate}"]) for kind in "UV"}
        if memory is not None:
            inputs["C0"] = np.full_like(case.arrays["C0"], memory)
        arrays = case.arrays.replaced(**inputs)
        value = call_target(target, arrays, case.sequences, backward=False).values.get(output)
        if isinstance(value, np.ndarray) and value.dtype == case.dtype:
            due = evaluate_forward(cell, arrays.astype(np.float64))[output]
            yield name, value.ravel().astype(np.float64), due.ravel()


def in_words(found: Mapping[str, int]) -> list[str]:
    """Return what comes in how many bits, a sentence for each number of them."""
    by_bits: dict[int, list[str]] = {}
    for name, bits in found.items():
        by_bits.setdefault(bits, []).append(name)
    return [_sentence(names, bits) for bits, names in sorted(by_bits.items())]


def _sentence(names: Sequence[str], bits: int) -> str:
    """Return that some things come in a number of bits."""
    gates, others = (
        [n for n in names if n in PLAIN.gates],
        ["tanh(C_)" if n == "C" else n for n in names if n not in PLAIN.gates],
    )
    gates = [f"gate{'s' if len(gates) > 1 else ''} {series(gates)}"] if gates else []
    others = others if len(others) <= 4 else [*others[:3], f"{len(others) - 3} more"]
    known = f", as {NAMES[bits]} has" if bits in NAMES else ""
    one = len(names) == 1
    return f"{series([*gates, *others])} {'comes' if one else 'come'} in {bits} significant bits{known}"
