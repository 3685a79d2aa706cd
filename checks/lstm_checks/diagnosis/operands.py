"""Of how many bits the operands of a target's products are, where they are of fewer than they are given with.

Tensor cores round the operands of a float32 product to TF32 or bfloat16, some to nearest and some towards zero. A
product is right where its operands have no more bits than it keeps, and wrong where they have one more, however it
rounds. For the pullback's products that needs cotangents of the linear activations with as few bits: after one step
from gates of a half they are cotangents of Cn times powers of two.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import DCN, PLAIN, Target
from lstm_checks.diagnosis.formats import DIGITS, NAMES
from lstm_checks.diagnosis.observe import Array, observe_values, suited
from lstm_checks.words import series

ASKED = (Case(5, 1, 4, 7, seed=181), Case(6, 1, 3, 5, seed=182))
"""Single steps of so many values that not all have a bit less than they might."""


@dataclass(frozen=True)
class _Product:
    """A product: what its operands are made of, what else is not zero, and what it makes."""

    operands: tuple[str, ...]
    kept: tuple[str, ...]
    makes: tuple[str, ...]


_FORWARD = {
    "X U": _Product(("X", "U"), ("b", "C0", *PLAIN.cotangents), ("h", "Cn")),
    "h V": _Product(("h0", "V"), ("b", "C0", *PLAIN.cotangents), ("h", "Cn")),
}
_BACKWARD = {
    "dk_ U^T": _Product(("U", "dCn"), (), ("dX",)),
    "dk_ V^T": _Product(("V", "dCn"), (), ("dh0",)),
    "X^T dk_": _Product(("X", "dCn"), (), ("dUf", "dUg")),
    "h^T dk_": _Product(("h0", "dCn"), (), ("dVf", "dVg")),
}


def short_operands(target: Target) -> Iterator[str]:
    """Yield which products are right up to a number of bits of their operands, and wrong from there on."""
    if target.cell is not PLAIN or not target.takes_states:
        return
    cases = [case for one in ASKED if (case := suited(target, one)) is not None]
    if not cases:
        return
    products = _FORWARD if DCN in target.lacks else _FORWARD | _BACKWARD
    found: dict[int, list[str]] = {}
    for words, product in products.items():
        if not _error(target, cases[:1], product):
            continue
        for bits in NAMES:
            # Sums in a short format are wrong with more bits, too, and by far less than an operand's last bit.
            if bits < DIGITS[cases[0].dtype] and not _error(target, cases, product, bits):
                one_more = _error(target, cases, product, bits + 1)
                if one_more >= tolerance.OF_THE_LAST_BIT * 2.0**-bits:
                    found.setdefault(bits, []).append(words)
    for bits, products_of in found.items():
        yield _sentence(products_of, bits)


def _sentence(products: Sequence[str], bits: int) -> str:
    """Return that products are right up to a number of bits."""
    return (
        f"{series(products)} {'are' if len(products) > 1 else 'is'} wrong where operands have {bits + 1} significant "
        f"bits, right where they have {bits}, as {NAMES[bits]} has"
    )


def _error(target: Target, cases: Sequence[Case], product: _Product, bits: int = 0) -> float:
    """Return the largest relative error that a product makes of operands of so many bits, or of all theirs."""
    errors = [0.0]
    for case in cases:
        seen = observe_values(target, case, _arrays(case, product, bits))
        if seen is None:
            return math.nan
        for name in set(seen.wrong) & set(product.makes):
            due = seen.due(name)[0]
            errors.append(float(np.max(np.abs(seen.came[name] - due)) / np.max(np.abs(due))))
    return float(np.max(errors))


def _arrays(case: Case, product: _Product, bits: int) -> Arrays:
    """Return a case's values with those of a product's operands rounded, and what has no part in it zero."""
    given: Mapping[str, Array] = case.arrays
    values = {}
    for name, value in given.items():
        kind = name[0] if name in case.arrays.p else name
        if kind in product.operands:
            values[name] = _rounded(value, bits) if bits else value
        elif kind not in product.kept:
            # A memory of one keeps the pullback's cotangents as short as they are given.
            values[name] = np.ones_like(value) if kind == "C0" else np.zeros_like(value)
    return case.arrays.replaced(**values)


def _rounded(values: Array, bits: int) -> Array:
    """Return values rounded to so many significant bits."""
    part, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(part, bits)), exponent - bits).astype(values.dtype)
