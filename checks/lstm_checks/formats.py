"""A format is what a program computes in, as a value: how long its numbers are, where, and what may be lost on the way.

Its name is a word, "float32", or "bfloat16+gates32": what is stored, and after "+" the contract, which says what of the
computation is as short as that and what is in float32. float64 and float32 are two of them, short in nothing. This is
the only door to ml_dtypes, which brings bfloat16 to NumPy: the extra `low`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.extras import MissingExtra

Array = NDArray[Any]


PARTS = {
    "dsums": "the sums over samples and steps of the parameters' gradients",
    "sums": "the sums of products",
    "gates": "the arithmetic of gates and states",
    "kept": "linear activations and gates as they are kept",
    "operands": "the operands of products",
    "cotangents": "the cotangents handed from step to step",
    "C": "the memory handed from step to step",
    "h": "the hidden state handed from step to step",
}
"""What a contract says of: whether each is in the short format or in float32."""

SHORT, WIDE = "short", "float32"

FLUSHED = "subnormals"
"""What a contract says besides: subnormals=flushed."""

NAMED = {
    "all": "",
    "accumulate32": "sums=float32,dsums=float32",
    "gates32": "sums=float32,dsums=float32,gates=float32,kept=float32",
    "state32": "sums=float32,dsums=float32,gates=float32,kept=float32,C=float32,cotangents=float32",
}
"""The contracts that have a name, the loosest first: every operation in the short format; sums of products in float32;
gates as well, so that h, C, what is handed back and operands are short; all but h and operands in float32."""


@dataclass(frozen=True)
class Arithmetic:
    """What one rounding does: its unit roundoff, what it may lose near zero, and above what it overflows."""

    rho: float
    underflow: float
    overflow: float = np.inf


@dataclass(frozen=True)
class _Base:
    """A format without a contract.

    `arrays` is the dtype of what goes over to a target and comes back; `short` the format in which something is
    computed, and `parts` what of a computation; `bits` are those of the numbers that go over, so that none is rounded.
    """

    arrays: str
    bits: int
    short: str = ""
    parts: tuple[str, ...] = ()
    title: str = ""


_ALL = tuple(PARTS)
BASES = {
    "float64": _Base("float64", 53),
    "float32": _Base("float32", 24),
    "bfloat16": _Base("bfloat16", 8, "bfloat16", _ALL, "bfloat16 throughout"),
    "float16": _Base("float16", 11, "float16", _ALL, "float16 throughout"),
    "tf32": _Base("float32", 11, "tf32", ("operands",), "float32 with operands of products rounded to 11 bits"),
    "bfloat16products": _Base("float32", 8, "bfloat16", ("operands",), "float32 with operands of products in bfloat16"),
    "autocastbfloat16": _Base("float32", 8, "bfloat16", _ALL, "float32 outside, bfloat16 inside"),
    "autocastfloat16": _Base("float32", 11, "float16", _ALL, "float32 outside, float16 inside"),
}
"""The formats by name, those that are short in nothing first."""

LOW = tuple(name for name, base in BASES.items() if base.short)
"""Those of low precision."""

FORMATS = f"{', '.join(BASES)}, or one of low precision with a contract, bfloat16+gates32"
"""What a format may be, in words."""

_GRID = {53: 10, 24: 10, 11: 7, 8: 4}
"""Binary places of the last step's cotangents, by the bits of a number: sums of two of them, up to 12, are numbers of
the format, too."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes
    ----------
    name : str
        "bfloat16", or with a contract "bfloat16+gates32".
    base : str
        Without the contract, one of `BASES`.
    arrays : str
        The dtype of the arrays that a target is given.
    bits : int
        Significant bits of the numbers in them.
    short : str
        The short format; empty of float64 and float32.
    parts : tuple of str
        Of `PARTS`, those that are in the short format.
    flushed : bool
        Whether subnormal numbers of the short format may be flushed to zero.
    """

    name: str
    base: str
    arrays: str
    bits: int
    short: str
    parts: tuple[str, ...]
    flushed: bool = False

    @property
    def places(self) -> int:
        """Binary places of the last step's cotangents, that of h and that of the final h, whose sum must be exact."""
        return _GRID[self.bits]

    @property
    def contract(self) -> str:
        """What stands after "+"; empty where every part is short that is in this format."""
        return self.name.partition("+")[2]

    def of(self, part: str) -> Arithmetic:
        """Return what a rounding in a part of the computation does."""
        if part not in self.parts:
            return _arithmetic(WIDE, False)
        return _arithmetic(self.short, self.flushed)

    @property
    def returned(self) -> Arithmetic | None:
        """What rounding does to each output and gradient on its way out; None where it is no more than is done anyway.

        What is given in short arrays comes back in such; under autocast it may, since an operation of it gives such.
        """
        return _arithmetic(self.short, self.flushed) if "h" in _base(self.base).parts else None

    def rounded(self, values: Array) -> Array:
        """Return values as numbers of the format, in arrays of its dtype."""
        if self.bits == np.finfo(np.float64).nmant + 1 or self.base == WIDE:
            return values.astype(self.arrays)
        return to_short(values, self.short).astype(array_dtype(self.name))


@cache
def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    ValueError
        "'half', expected one of float64, float32, bfloat16, ..."; "contract 'gate32', expected one of all, ...".
    """
    base, plus, contract = name.partition("+")
    if base not in BASES:
        raise ValueError(f"{base!r}, expected one of {', '.join(BASES)}")
    found = BASES[base]
    if not plus:
        return Format(name, base, found.arrays, found.bits, found.short, found.parts)
    wide, flushed = parse_contract(contract, base)
    parts = tuple(part for part in found.parts if part not in wide)
    # One contract, one name: in the order of the parts, and by its own name where it has one.
    own = ",".join(
        [*(f"{part}={WIDE}" for part in PARTS if part in wide), *([f"{FLUSHED}=flushed"] if flushed else [])]
    )
    named = next((word for word, text in NAMED.items() if _parts_in(text) == wide and not flushed), own)
    whole = base if named == "all" else f"{base}+{named}"
    return Format(whole, base, found.arrays, found.bits, found.short, parts, flushed)


def parse_contract(contract: str, base: str) -> tuple[frozenset[str], bool]:
    """Return the parts that a contract has in float32, and whether subnormal numbers may be flushed."""
    known = f"one of {', '.join(NAMED)}, or PART=float32,... with PART any of {', '.join(PARTS)}; or {FLUSHED}=flushed"
    if set(BASES[base].parts) != set(PARTS):
        raise ValueError(f"contract {contract!r} of {base}, which has none, expected {base} alone")
    # A name stands for its words, and others may follow: gates32,subnormals=flushed.
    text = ",".join(NAMED.get(word, word) for word in contract.split(","))
    wide, flushed = set[str](), False
    for word in filter(None, text.split(",")):
        part, _, what = word.partition("=")
        if part == FLUSHED and what == "flushed":
            flushed = True
        elif part in PARTS and what in (SHORT, WIDE):
            wide |= {part} if what == WIDE else set()
        else:
            raise ValueError(f"contract {contract!r} with {word!r}, expected {known}")
    return frozenset(wide), flushed


def _parts_in(text: str) -> frozenset[str]:
    """Return the parts in float32 of a contract's text."""
    return frozenset(re.findall(r"(\w+)=float32", text))


def is_format(word: str) -> bool:
    """Return whether a word is a format's name."""
    try:
        format_named(word)
    except ValueError:
        return False
    return True


def base_of(name: str) -> str:
    """Return a format without its contract."""
    return name.partition("+")[0]


def is_low(name: str) -> bool:
    """Return whether a format is one of low precision."""
    return base_of(name) in LOW


def _base(name: str) -> _Base:
    """Return what there is of a format without a contract."""
    return BASES[base_of(name)]


@cache  # asked for each tensor that is judged
def array_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of a format's arrays.

    Raises
    ------
    MissingExtra
        "bfloat16 needs ml_dtypes, which is not here: pip install ml_dtypes".
    """
    arrays = _base(name).arrays
    return _bfloat16() if arrays == "bfloat16" else np.dtype(arrays)


def _bfloat16() -> np.dtype[Any]:
    """Return NumPy's dtype of bfloat16."""
    try:
        import ml_dtypes
    except ImportError:
        raise MissingExtra("bfloat16 needs ml_dtypes, which is not here: pip install ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)


def spacing(name: str) -> tuple[int, float]:
    """Return how many significant bits the numbers in a format's arrays have, and the least that has them all."""
    arrays = _base(name).arrays
    if arrays == "bfloat16":
        return 8, 2.0**-126
    return np.finfo(arrays).nmant + 1, float(np.finfo(arrays).smallest_normal)


@cache
def dtype_of(word: str) -> np.dtype[Any]:
    """Return the dtype of a name such as `dtype_word` gives."""
    return _bfloat16() if word == "bfloat16" else np.dtype(word)


@cache  # asked for each array that goes to another process; there are few dtypes
def dtype_word(dtype: np.dtype[Any]) -> str:
    """Return a dtype as a word: bfloat16's own text is that of any two bytes."""
    return "bfloat16" if dtype.name == "bfloat16" else dtype.str


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is one of real floating point, bfloat16 included, which NumPy knows as bytes."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def to_short(values: Array, short: str) -> Array:
    """Return values rounded to the nearest number of a short format, ties to even, as float64.

    Examples
    --------
    >>> to_short(np.array([1.0 + 2**-8, 1.0 + 2**-7, 3.0e-8]), "bfloat16")
    array([1.0000000e+00, 1.0078125e+00, 3.0035153e-08])
    >>> to_short(np.array([65519.0, 65520.0]), "float16")
    array([65504.,    inf])
    """
    values = np.asarray(values, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        if short == "float16":
            return values.astype(np.float16).astype(np.float64)
        bits = {"bfloat16": 8, "tf32": 11}[short]
        size = np.abs(values)
        usual = (size >= 2.0**-126) & (size < 2.0**127) | (values == 0)
        if usual.all():
            # Half of the last bit that stays, less one where that bit is zero: then the rest is cut off.
            rest = np.uint64(53 - bits)
            whole = values.view(np.uint64)
            up = ((whole >> rest) & np.uint64(1)) + np.uint64(2 ** (52 - bits) - 1)
            return ((whole + up) >> rest << rest).view(np.float64)
        part, exponent = np.frexp(values)
        # Below 2^-126 the numbers are no denser than there, as float32's are not.
        lost = np.maximum(-125 - exponent, 0)
        scale = np.ldexp(1.0, bits - np.minimum(lost, 60))
        found = np.ldexp(np.rint(part * scale) / scale, exponent)
        return np.where(np.abs(found) >= 2.0**128, np.copysign(np.inf, values), found)


def _arithmetic(name: str, flushed: bool) -> Arithmetic:
    """Return what a rounding to a format does."""
    underflow = tolerance.SMALLEST_NORMAL[name]
    if flushed and name == "float16":
        underflow = tolerance.SMALLEST_NORMAL_FLOAT16
    overflow = tolerance.OVERFLOW[name] if name == "float16" else np.inf
    return Arithmetic(tolerance.UNIT_ROUNDOFF[name], underflow, overflow)


def described(name: str) -> Mapping[str, str]:
    """Return what of a computation is in which format, in words."""
    found = format_named(name)
    return {words: found.short if part in found.parts else WIDE for part, words in PARTS.items()}
