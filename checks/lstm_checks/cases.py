"""A case is everything about one example, frozen, as a short descriptor and back.

Only the sizes, the regime and a seed are stored; the arrays are filled from the seed when asked for. So an
example is quick to draw, shrinks to what matters, and is rerun from one word on a command line.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.contract import PLAIN, Extra
from lstm_checks.formats import BASES, array_dtype, format_named, is_format
from lstm_ref.cell import Cell, run_forward
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.network import FORM as NETWORK_FORM
from lstm_ref.network import Network

Array = NDArray[Any]

DTYPES = ("float64", "float32")
"""The formats that are drawn where none is said. Those of `formats.BASES`, with a contract or without, can be said."""
REGIMES = ("normal", "x1e-3", "x10", "x100", "mixed", "zero", "padded")
"""The regimes that examples are drawn from. There is one more, "init", for sizes at which parameters from N(0, 1) make
a chaotic problem."""
LARGE_REGIME = "large"
"""What asks for examples of more than `LARGE_ROWS` rows, with values as in "init"; drawn only where it is named."""
_KNOWN_REGIMES = (*REGIMES, "init")
COTANGENTS = ("every+h+C", "every", "last", "h", "C", "every+h", "every+C", "h+C", "last+C", "last+h+C")
LONG = 13
LENGTHS = ("whole", "ragged", "sorted", "short", "ones", "empty")
"""How long the samples of a padded batch may be: all as long as it has steps; each of a length of its own, one at least
of all steps; the same, the longest first; all shorter than the batch, where it has two steps; of one step; and some of
none. Where a case says none of these nothing is said of lengths."""
DRAWN_LENGTHS = ("ragged", "sorted", "short", "empty")
"""Those of which the seed says more than the kind does."""


def cotangents_of(cell: Cell) -> tuple[str, ...]:
    """Return which cotangents a case of a cell may have, all there are first; without "C" where it has no memory."""
    if cell.of_memories:
        return COTANGENTS
    found = ("+".join(kind for kind in kinds.split("+") if kind != "C") for kinds in COTANGENTS)
    return tuple(dict.fromkeys(kinds for kinds in found if kinds))


_KNOWN_COTANGENTS = tuple(dict.fromkeys(kinds for cell in CELLS.values() for kinds in cotangents_of(cell)))

_WORDS = {"regime": _KNOWN_REGIMES, "cotangents": _KNOWN_COTANGENTS, "lengths": LENGTHS}
"""What the words of a descriptor may be."""

_DESCRIPTOR_FORM = "m1s2e1u3[p2][-CELL]-float64[-REGIME][-COTANGENTS][-nostates][-LENGTHS]-seed7"


class Arrays(Mapping[str, Array]):
    """The arrays of one case by name: the inputs, then the cotangents.

    The initial states are zero where the case has none. The cotangent of every step's hidden state is without the part
    that arrives as that of the final one.

    Parameters
    ----------
    named : mapping
        The arrays by name, in any order; a name that is not the cell's is a further parameter's, but for "lengths": how
        many steps each sample has, where the cell is a network.
    cell : Cell
        Afterwards the attribute `cell` is the one that computes with the arrays: a network at their lengths.
    """

    def __init__(self, named: Mapping[str, Any], cell: Cell = PLAIN) -> None:
        apart = ("X", *cell.initial, *cell.cotangents)
        further = [name for name in named if name not in cell.parameters and name not in (*apart, "lengths")]
        self.cell = cell.at_lengths(named["lengths"]) if isinstance(cell, Network) and "lengths" in named else cell
        self._named = {name: named[name] for name in (*cell.parameters, *further, *apart) if name in named}

    def __getitem__(self, name: str) -> Array:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    @property
    def inputs(self) -> dict[str, Array]:
        """The parameters, X and the initial states by name."""
        return {name: value for name, value in self._named.items() if name not in self.cell.cotangents}

    @property
    def given(self) -> dict[str, Array]:
        """What a target is given: the inputs, and how many steps each sample has where that is said."""
        lengths = self.cell.lengths
        return self.inputs if lengths is None else {**self.inputs, "lengths": np.array(lengths)}

    @property
    def p(self) -> dict[str, Array]:
        """The parameters by name, further ones last."""
        apart = ("X", *self.cell.initial)
        return {name: value for name, value in self.inputs.items() if name not in apart}

    @property
    def cotangents(self) -> dict[str, Array]:
        """The cotangents by name."""
        return {name: self._named[name] for name in self.cell.cotangents if name in self._named}

    @property
    def dh_total(self) -> Array:
        """The cotangent of every step's hidden state, that of the final one folded in; exact, by how both are drawn."""
        total = self[self.cell.cotangents[0]].copy()
        if self.cell.folded:
            total[..., -1, :] += self[self.cell.folded]
        return total

    @property
    def with_folded(self) -> "Arrays":
        """The same where the final hidden state has no cotangent of its own: it is in the last step's, and itself zero.

        Under any arithmetic, and with any leading axes.
        """
        every, apart = self.cell.cotangents[0], self.cell.folded
        if not apart:
            return self
        dh, dhn = self[every], self[apart]
        steps = [dh[..., s, :] for s in range(dh.shape[-2])]
        steps[-1] = steps[-1] + dhn
        return self.replaced(**{every: np.stack(steps, axis=-2), apart: 0 * dhn})

    def copy(self) -> "Arrays":
        """Return copies that can be written to, as a user's arrays can."""
        return self.each(lambda value: value.copy())

    def each(self, change: Callable[[Array], Any]) -> "Arrays":
        """Return arrays of the same cell and lengths, each as a function makes it of the one here."""
        return Arrays({name: change(value) for name, value in self.items()}, self.cell)

    def replaced(self, **changed: Any) -> "Arrays":
        """Return arrays of which some, inputs or cotangents, are others."""
        return Arrays({**self, **changed}, self.cell)

    def astype(self, dtype: Any) -> "Arrays":
        """Return copies in another dtype."""
        return self.each(lambda value: value.astype(dtype))


NUMBERS = {name: number for number, name in enumerate((*PLAIN.inputs, *PLAIN.cotangents))}
"""Which random stream a tensor is drawn from. Other names than these draw from the letters of their own: so a cell may
have whatever tensors it likes, and no example of another one changes."""


@dataclass(frozen=True, order=True)
class Case:
    """One example.

    Parameters
    ----------
    m, s, e, u : int
        Samples, steps, elements per step, unit cells; each at least 1.
    dtype : str
        The format, "float64" or "float32"; or one of low precision, "bfloat16" or "bfloat16+gates32" (`formats.py`).
    regime : str
        "normal": every value from N(0, 1). "x1e-3", "x10", "x100": the same with the parameters scaled.
        "mixed": each array scaled by its own power of ten from 1e-3 to 1e2. "zero": parameters zero. "padded":
        "normal", but X exactly zero at about half of the steps of each sample, as padding is. "init": the parameters
        scaled by 1 / sqrt(e + u), as layers are initialized.
    cotangents : str
        Which are present: "every" step's or the "last" step's h, the final "h", the final memory state "C",
        joined by "+". Of a cell without a memory "C" is left out, and "C" alone is "h".
    states : bool
        Whether h0 and C0 are drawn, or zero.
    seed : int
        Seed of the values.
    extras : tuple of Extra
        Further parameters of the target that is judged, which get values, too; they are no part of what tells two
        cases apart.
    cell : Cell
        Whose tensors it has values for.
    absent : tuple of str
        What is zero, since the target that is judged does not take it: its biases, say, C0 or dCn. That is the target's
        affair, and no part of the descriptor.
    further : tuple of int
        The sizes that only this cell has, in the order of `cell.further`: p of a projection. What is not said follows
        from the seed, from 1 to u; what the cell has not is left out.
    lengths : str
        How long the samples of a padded batch are, one of `LENGTHS`, of a network; empty where nothing is said of it.

    Examples
    --------
    >>> case = Case(m=1, s=2, e=1, u=3, seed=7)
    >>> case.descriptor
    'm1s2e1u3-float64-seed7'
    >>> Case.parse("m1s2e1u3-float64-x10-every+C-nostates-seed7").regime
    'x10'
    """

    m: int
    s: int
    e: int
    u: int
    dtype: str = "float64"
    regime: str = "normal"
    cotangents: str = "every+h+C"
    states: bool = True
    seed: int = 0
    extras: tuple[Extra, ...] = field(default=(), compare=False, repr=False)
    cell: Cell = PLAIN
    further: tuple[int, ...] = ()
    absent: tuple[str, ...] = ()
    lengths: str = ""

    def __post_init__(self) -> None:
        if not self.cell.of_memories:
            # So that a case of another cell is one of this cell by `replace` alone.
            kinds = "+".join(kind for kind in self.cotangents.split("+") if kind != "C")
            object.__setattr__(self, "cotangents", kinds or "h")
        count = len(self.cell.further)
        if len(self.further) != count and self.u > 0:
            # So that a case of the plain cell, of which the harness has many at hand, is one of any cell.
            said = self.further[:count]
            object.__setattr__(self, "further", said + (1 + self.seed % self.u,) * (count - len(said)))
        for name, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}, expected at least 1")
        allowed = cotangents_of(self.cell)
        if self.dtype not in DTYPES:
            if not is_format(self.dtype):
                raise ValueError(f"dtype is {self.dtype!r}, expected one of {', '.join(BASES)}")
            object.__setattr__(self, "dtype", format_named(self.dtype).name)
        for name, known in (("regime", _KNOWN_REGIMES), ("cotangents", allowed)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.lengths not in ("", *LENGTHS):
            raise ValueError(f"lengths is {self.lengths!r}, expected one of {', '.join(LENGTHS)}")
        if self.lengths and not isinstance(self.cell, Network):
            raise ValueError(
                f"lengths is {self.lengths!r} and the cell {self.cell.name}, expected a network, {NETWORK_FORM}"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected at least 0")

    @classmethod
    def of(cls, dims: Sequence[int], *values: Any, **named: Any) -> "Case":
        """Return the case of sizes in the order of its cell's letters; what else is given is as in `Case`."""
        m, s, e, u, *further = dims
        return replace(cls(m, s, e, u, *values, **named), further=tuple(further))

    @property
    def dims(self) -> tuple[int, ...]:
        """The sizes (m, s, e, u), and then those that only its cell has."""
        return self.m, self.s, self.e, self.u, *self.further

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes by letter."""
        return dict(zip(self.cell.letters, self.dims, strict=False))

    @property
    def sizes_in_words(self) -> str:
        """The sizes as they are said: "m=1 s=2 e=1 u=3"."""
        return " ".join(f"{letter}={size}" for letter, size in self.sizes.items())

    def resized(self, sizes: Mapping[str, int]) -> "Case":
        """Return the case with some sizes, by letter, changed.

        Examples
        --------
        >>> Case(1, 2, 3, 4).resized({"u": 5}).dims
        (1, 2, 3, 5)
        """
        m, s, e, u, *further = (self.sizes | dict(sizes)).values()
        return replace(self, m=m, s=s, e=e, u=u, further=tuple(further))

    @property
    def descriptor(self) -> str:
        """The case as one word; what stands at its default is left out."""
        words = ["".join(f"{letter}{size}" for letter, size in self.sizes.items())]
        words += [self.cell.name] if self.cell is not PLAIN else []
        words += [self.dtype]
        words += [self.regime] if self.regime != "normal" else []
        words += [self.cotangents] if self.cotangents != cotangents_of(self.cell)[0] else []
        words += [] if self.states else ["nostates"]
        words += [self.lengths] if self.lengths else []
        return "-".join([*words, f"seed{self.seed}"])

    @classmethod
    def parse(cls, descriptor: str) -> "Case":
        """Return the case that a descriptor names.

        Raises
        ------
        ValueError
            "case 'm1s2' is not of the form ``m1s2e1u3[p2][-CELL]-float64[-REGIME][-COTANGENTS][-nostates]-seed7``".
        """
        match = re.fullmatch(r"m(\d+)s(\d+)e(\d+)u(\d+)((?:[a-z]\d+)*)((?:-.+)?)-seed(\d+)", descriptor.strip())
        if not match:
            raise ValueError(f"case {descriptor!r} is not of the form {_DESCRIPTOR_FORM}")
        m, s, e, u, seed = (int(match[k]) for k in (1, 2, 3, 4, 7))
        # "x1e-3" holds the separator itself.
        words = match[6].replace("x1e-3", "x1e_3").split("-")[1:]
        found: dict[str, Any] = {}
        for word in (w.replace("x1e_3", "x1e-3") for w in words):
            for name, known in _WORDS.items():
                if word in known and name not in found:
                    found[name] = word
                    break
            else:
                if "dtype" not in found and is_format(word):
                    found["dtype"] = word
                    continue
                if "cell" not in found and _names_a_cell(word):
                    found["cell"] = word
                    continue
                if word != "nostates" or "states" in found:
                    raise ValueError(
                        f"case {descriptor!r}: {word!r} is unknown or given twice, expected {_DESCRIPTOR_FORM} with "
                        f"CELL one of {', '.join(CELLS)}, or a network of one, {NETWORK_FORM}; REGIME one of "
                        f"{', '.join(_KNOWN_REGIMES)}; COTANGENTS one of {', '.join(COTANGENTS)}; and LENGTHS, of a "
                        f"network, one of {', '.join(LENGTHS)}"
                    )
                found["states"] = False
        cell = cell_named(found.get("cell", PLAIN.name))
        if found.get("cotangents", "h") not in (allowed := cotangents_of(cell)):
            raise ValueError(
                f"case {descriptor!r}: {found['cotangents']!r} is not of the cell {cell.name}, expected one of "
                f"{', '.join(allowed)}"
            )
        further = re.findall(r"([a-z])(\d+)", match[5])
        if "".join(letter for letter, _ in further) != cell.further:
            form = "".join(f"{letter}1" for letter in cell.letters)
            raise ValueError(f"case {descriptor!r} of the {cell.title} has other sizes than {form}")
        sizes = tuple(int(size) for _, size in further)
        return cls(m, s, e, u, seed=seed, **{**found, "cell": cell, "further": sizes})

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of its arrays."""
        return array_dtype(self.dtype)

    @property
    def sequences(self) -> bool:
        """Whether steps before the last carry a cotangent; if not, a layer is run as returning the last step only."""
        return "last" not in self.cotangents.split("+")

    @property
    def size(self) -> int:
        """Number of entries of all gradients together."""
        return self.cell.size(*self.dims)

    @cached_property
    def arrays(self) -> Arrays:
        """The arrays, filled from the seed; not to be written to."""
        cell = self.cell
        shapes = {name: cell.shape(name, *self.dims) for name in (*cell.inputs, *cell.cotangents)}
        shapes |= {extra.name: extra.shape(self.e, self.u) for extra in self.extras}
        values = {}
        for name, shape in shapes.items():
            stream = (NUMBERS[name],) if name in NUMBERS else name.encode()
            drawn = np.random.default_rng((self.seed, *stream)).standard_normal(shape)
            values[name] = np.asarray(drawn * self._scale(name))
        for name in (*self.absent, *(() if self.states else cell.initial)):
            values[name][...] = 0
        if self.regime == "padded":
            values["X"][self._padding()] = 0
        self._keep_cotangents(values)
        form = format_named(self.dtype)
        arrays = {name: form.rounded(value) for name, value in values.items()}
        for value in arrays.values():
            value.flags.writeable = False
        return Arrays(arrays if not self.lengths else {**arrays, "lengths": self.own_lengths}, cell)

    @property
    def own_lengths(self) -> Array:
        """How many steps each sample has, (m,); of a case that says something of lengths."""
        rng = np.random.default_rng((self.seed, *b"lengths"))
        least, most = (0 if self.lengths == "empty" else 1), self.s
        if self.lengths in ("whole", "ones"):
            least = most = self.s if self.lengths == "whole" else 1
        elif self.lengths == "short":
            most = max(1, self.s - 1)
        found = rng.integers(least, most + 1, self.m)
        if self.lengths in ("ragged", "sorted"):
            found[rng.integers(self.m)] = self.s
        if self.lengths == "empty":
            found[rng.integers(self.m)] = 0
        return np.sort(found)[::-1] if self.lengths == "sorted" else found

    def _padding(self) -> Array:
        """Return at which steps of each sample X is zero, (m, s): at one at least."""
        rng = np.random.default_rng((self.seed, *b"padding"))
        padding = rng.random((self.m, self.s)) < 0.5
        padding.flat[rng.integers(padding.size)] = True
        return padding

    def _scale(self, name: str) -> float:
        """Return the scale of one array in this regime."""
        if self.regime == "mixed":
            # dh and dhn share theirs, and it is a power of two: their sum stays exact.
            shared = self.cell.cotangents[0] if name == self.cell.folded else name
            rng = np.random.default_rng((self.seed, *shared.encode()))
            wider = self.cell.spread.get(name, 1.0)
            return float(wider * 2.0 ** np.round(np.log2(10.0 ** rng.uniform(-3, 2))))
        if name not in ("X", *self.cell.initial, *self.cell.cotangents):
            known = {"x1e-3": 1e-3, "x10": 10.0, "x100": 100.0, "zero": 0.0, "init": (self.e + self.u) ** -0.5}
            return known.get(self.regime, 1.0)
        return self.cell.spread.get(name, 1.0)

    def _keep_cotangents(self, values: dict[str, Array]) -> None:
        """Zero the cotangents that are absent, and put the last step's on one grid so that dh + dhn is exact."""
        kinds = self.cotangents.split("+")
        every, folded = self.cell.cotangents[0], self.cell.folded
        if "every" not in kinds:
            values[every][:, :-1] = 0
        if not {"every", "last"} & set(kinds):
            values[every][:, -1] = 0
        for name in self.cell.of_hidden if "h" not in kinds else ():
            values[name][...] = 0
        for name in self.cell.of_memories if "C" not in kinds else ():
            values[name][...] = 0
        grid = self._scale(every) * 2.0 ** -format_named(self.dtype).places
        for last in (values[every][:, -1], values[folded]) if folded else ():
            last[...] = np.round(last / grid) * grid


def _names_a_cell(word: str) -> bool:
    """Return whether a word of a descriptor is a cell's name."""
    try:
        cell_named(word)
    except ValueError:
        return False
    return True


STRATA: dict[str, Any] = {
    "s = 1": lambda c: c.s == 1,
    "s > 4": lambda c: c.s > 4,
    "s >= 13": lambda c: c.s >= LONG,
    "m = 1": lambda c: c.m == 1,
    "m = u": lambda c: c.m == c.u,
    "m = s": lambda c: c.m == c.s > 1,
    "e = u": lambda c: c.e == c.u,
    "e > u": lambda c: c.e > c.u,
    "odd u": lambda c: c.u % 2 == 1,
    "u >= 8": lambda c: c.u >= 8,
    "m >= 5": lambda c: c.m >= 5,
    "x1e-3": lambda c: c.regime == "x1e-3",
    "x10": lambda c: c.regime == "x10",
    "x100": lambda c: c.regime == "x100",
    "mixed": lambda c: c.regime == "mixed",
    "zero": lambda c: c.regime == "zero",
    "padded": lambda c: c.regime == "padded",
    "states": lambda c: c.states,
    "no states": lambda c: not c.states,
    "every": lambda c: "every" in c.cotangents,
    "last": lambda c: "last" in c.cotangents,
    "final h": lambda c: "h" in c.cotangents.split("+"),
    "final C": lambda c: "C" in c.cotangents.split("+"),
}


def _is_turned(case: "Case") -> bool:
    """Return whether samples sorted by length are put back in order by the inverse alone, and not by sorting again."""
    if not case.lengths or case.m < 3:
        return False
    order = np.argsort(-case.own_lengths, kind="stable")
    return bool(np.any(order[order] != np.arange(case.m)))


TURNED = "turned lengths"
"""The stratum in which whoever sorts samples to pack them, and puts them back by the same order, goes wrong."""

OF_NETWORKS: dict[str, Any] = {
    "e = 2u": lambda c: c.e == 2 * c.u,
    **{f"{kind} lengths": lambda c, kind=kind: c.lengths == kind for kind in LENGTHS},
    TURNED: _is_turned,
}
"""The strata of networks besides: where X is as wide as what a layer with two directions hands on, and lengths."""


def _cut_off(case: "Case") -> list[Array]:
    """Return where each memory of a case is beyond its cell's limit, (m, s, u); nothing where there is no limit."""
    kinks = case.cell.kinks
    limits = {linear: kink.at for linear, own in kinks.items() for kink in own if kink.cut and kink.at > 0}
    if not limits:
        return []
    arrays = case.arrays.astype(np.float64)
    cell = arrays.cell
    with np.errstate(all="ignore"):
        fc = run_forward(cell, arrays, {*kinks})
    return [np.abs(values) > at for linear, at in limits.items() for _, values in cell.kept(fc, linear)]


def _is_cut_off(case: "Case") -> bool:
    """Return whether the memory of a case is beyond its cell's limit anywhere."""
    return any(bool(where.any()) for where in _cut_off(case))


def shows_past(case: "Case", letter: str) -> bool:
    """Return whether what lies past the edge of a block shows: not all of the memory there is cut off.

    Where it is, it is a constant, behind which anything may be wrong. Of samples and units the first step counts, from
    which the initial states' gradients come.
    """
    parts: dict[str, Any] = {"m": np.s_[-1:, :1], "u": np.s_[:, :1, -1:], "s": np.s_[:, -1:]}
    return not any(where[parts.get(letter, np.s_[:])].all() for where in _cut_off(case))


CUT_OFF = "memory cut off"
"""The stratum of cells with a limit besides: where the memory reaches it."""

EDGES: dict[str, dict[str, int]] = {
    "u = 17": {"u": 17, "s": 31},
    "u = 33": {"u": 33, "e": 32},
    "u = 65": {"u": 65, "m": 32},
    "u = 129": {"u": 129},
    "s = 17": {"s": 17, "m": 16},
    "s = 33": {"s": 33, "m": 31},
    "s = 65": {"s": 65, "m": 15},
    "s = 129": {"s": 129, "e": 15},
    "m = 17": {"m": 17, "e": 16},
    "m = 33": {"m": 33, "u": 15},
    "m = 65": {"m": 65, "s": 15},
    "m = 129": {"m": 129, "e": 31},
    "e = 17": {"e": 17, "u": 16},
    "e = 33": {"e": 33, "s": 32},
    "e = 65": {"e": 65, "u": 31},
    "e = 129": {"e": 129, "s": 16},
}
"""The strata of one size just past a whole block of 16, 32, 64 or 128, where a tile, a vector or a thread block leaves
a tail, and the sizes that an example drawn for it has: another, where it is cheap, is a whole block or one short."""

OF_CELLS = "".join(dict.fromkeys("".join(cell.further for cell in CELLS.values())))
"""The letters of the sizes that only some cell has."""

EDGES |= {f"{z} = {block + 1}": {z: block + 1, "u": block + 2} for z in OF_CELLS for block in (16, 32, 64, 128)}

BLOCK_EDGES = tuple(block + beside for block in (16, 32, 64, 128) for beside in (-1, 0, 1))
"""The sizes at the edges of blocks."""

LARGE_ROWS = 2**16
"""Rows, m times s, above which an index or a count of 16 bits and a grid of so many blocks end."""

STRATA |= {name: lambda c, name=name: c.sizes.get(name[0]) == EDGES[name][name[0]] for name in EDGES}
STRATA[CUT_OFF] = _is_cut_off
STRATA[LARGE_REGIME] = lambda c: c.m * c.s > LARGE_ROWS

COMPARED: dict[str, tuple[str, str]] = {
    f"{z} {how}": (z, how) for z in OF_CELLS for how in ("= 1", "= u", "= e", "< u", "> u")
}
"""The strata that compare a size that only some cell has with another, each with its letter and how it is compared."""

_HOW: dict[str, Any] = {
    "= 1": lambda c, n: n == 1,
    "= u": lambda c, n: n == c.u > 1,
    "= e": lambda c, n: n == c.e > 1,
    "< u": lambda c, n: n < c.u,
    "> u": lambda c, n: n > c.u,
}

STRATA |= {
    name: lambda c, z=z, how=how: z in c.sizes and _HOW[how](c, c.sizes[z]) for name, (z, how) in COMPARED.items()
}

SIZES = (
    *("s = 1", "s > 4", "s >= 13", "m = 1", "m = u", "e = u", "e > u", "odd u", "u >= 8", "m >= 5"),
    *EDGES,
    *COMPARED,
)
"""The strata that sizes alone decide."""


def strata_of(cell: Cell) -> tuple[str, ...]:
    """Return the names of the strata that a cell's cases can fall in: not those of sizes or a memory it has not."""
    sized = (name for name in STRATA if name not in (*EDGES, *COMPARED) or name[0] in cell.letters)
    own = tuple(name for name in sized if (cell.of_memories or name != "final C") and (cell.numbers or name != CUT_OFF))
    return (*own, *OF_NETWORKS) if cell.places else own


def strata(case: Case) -> tuple[str, ...]:
    """Return the names of the strata the case falls in."""
    return tuple(name for name in strata_of(case.cell) if falls_in(case, name))


def falls_in(case: Case, stratum: str) -> bool:
    """Return whether a case is in a stratum."""
    return bool((OF_NETWORKS if stratum in OF_NETWORKS else STRATA)[stratum](case))
