"""What is expected of anybody's LSTM: the names and shapes, and the form in which a target is called.

A target is called in the vector-Jacobian-product form that JAX made standard: forward once, then a pullback
that turns cotangents of the outputs into gradients of the inputs. Whatever form an LSTM comes in, one of the
functions here (or an adapter) turns it into a `Target`, and the rest of the harness knows only that.
"""

import contextlib
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstm_checks.formats import BASES, base_of
from lstm_ref.cell import Cell
from lstm_ref.cells import CELLS

PLAIN = CELLS["plain"]
"""The cell that a target is of where nobody says another."""

STATES, CN, DCN, DHN, LAST = "initial states", "Cn", "dCn", "dhn", "last step only"

SEVERAL, INSTANCES, CHANGE, KEEPS, STILL, STRIDES, EMPTY = (
    *("several passes alive", "instances", "parameters changed", "parameters kept", "inputs without gradient"),
    *("strides", "empty batch"),
)
"""What a target can be asked beyond one call and its pullback; see `Target.can`."""

OF_CALLS = frozenset({SEVERAL, CHANGE, KEEPS, STRIDES})
"""What of these is asked by calls and pullbacks alone, so that no target needs to do anything for it."""

ANY_CELL = "any cell"
"""That it can be judged as another cell, with that one's arrays; see `Target.can`."""

LIKE_CELLS = "cells of its arrays"
"""That it can be judged as another cell that has the plain one's arrays; see `Target.can`."""

INTERMEDIATES = "intermediates"
"""That it may show what it comes to on its way, if it is asked; see `Target.can`."""

FORWARDS = ("pushforward", "jvp", "dual numbers")
TWICE = ("reverse over reverse", "forward over reverse", "Hessian-vector product")
SAMPLES, TRAINING, THREADS = "sample by sample", "training", "threads"
"""The ways in which a target may be differentiated forwards; twice; each sample apart by one call (`vmap`); with
gradients added up and steps taken as people do; and from several threads at once."""


def weights_of_sample(weights: Any, k: int) -> Any:
    """Return the weights of the k-th sample where each is to have its own: negated in every other, which is exact."""
    return -weights if k % 2 else weights


Pullback = Callable[[Mapping[str, Any]], Mapping[str, Any]]

Call = Callable[..., tuple[Mapping[str, Any], Pullback]]


def of_plain_arrays(cell: Cell) -> bool:
    """Return whether a cell takes and gives what the plain one does: one of other activations, or a clipped memory."""
    return cell.parameters == PLAIN.parameters and not cell.shared


def expect_cell(cell: Any) -> None:
    """Raise where what is given for a cell is none, such as its name alone.

    Raises
    ------
    TypeError
        "the cell is 'peephole', expected a Cell, such as lstm_ref.cells.CELLS['peephole']".
    """
    if not isinstance(cell, Cell):
        known = cell if isinstance(cell, str) and cell in CELLS else PLAIN.name
        raise TypeError(f"the cell is {cell!r}, expected a Cell, such as lstm_ref.cells.CELLS[{known!r}]")


def by_name(call: Callable[..., Any], cell: Cell = PLAIN) -> Call:
    """Return the `call` of a `Target` from a function of positional arguments, as people write them.

    Parameters
    ----------
    call : callable
        ``call(p, X, h0, C0, sequences)`` returns ``(h, Cn), pullback``, and ``pullback(dh, dCn, dhn)``, the last of
        which is None where it is folded into `dh`, the gradients by name; with the states of another cell in place of
        these.
    cell : Cell
        Whose inputs it takes.
    """
    hidden, *others = cell.states
    apart = frozenset({"X", *cell.initial})
    final = f"d{hidden.name}n"

    def named(inputs: Mapping[str, Any], sequences: bool = True) -> tuple[Mapping[str, Any], Pullback]:
        p = {name: value for name, value in inputs.items() if name not in apart}
        outputs, pullback = call(p, inputs["X"], *(inputs[name] for name in cell.initial), sequences)

        def pull(cotangents: Mapping[str, Any]) -> Any:
            finals = (cotangents[f"d{state.name}n"] for state in others)
            return pullback(cotangents[f"d{hidden.name}"], *finals, cotangents.get(final))

        return dict(zip(cell.outputs, outputs, strict=True)), pull

    named.__wrapped__ = call  # type: ignore[attr-defined]  # as `inspect.unwrap` looks for it
    return named


@dataclass(frozen=True)
class Extra:
    """A parameter of a target beyond its cell's, such as a peephole's vector.

    Parameters
    ----------
    name : str
        What the target calls it.
    axes : tuple of (int, int, int)
        For each axis (a, b, c): it is a e + b u + c long.
    """

    name: str
    axes: tuple[tuple[int, int, int], ...]

    def shape(self, e: int, u: int) -> tuple[int, ...]:
        """Return its shape at these sizes."""
        return tuple(a * e + b * u + c for a, b, c in self.axes)

    @property
    def formula(self) -> str:
        """The shape in letters: "(3u,)"."""
        words = []
        for a, b, c in self.axes:
            terms = [f"{'' if n == 1 else n}{letter}" for n, letter in ((a, "e"), (b, "u")) if n]
            words.append("+".join(terms + ([str(c)] if c or not terms else [])).replace("+-", "-"))
        return f"({', '.join(words)}{',' if len(words) == 1 else ''})"

    @property
    def units(self) -> tuple[int, ...] | None:
        """The axes that run over the hidden units; None where an axis holds them in an order that nobody told."""
        own = (0, 1, 0)
        if any(axis[1] and axis != own for axis in self.axes):
            return None
        return tuple(k for k, axis in enumerate(self.axes) if axis == own)


def list_extras(extras: Iterable[Extra]) -> str:
    """Return further parameters and their shapes, in words."""
    return " and ".join(f"{extra.name} {extra.formula}" for extra in extras)


@dataclass(frozen=True)
class SizeLimits:
    """Which sizes a target takes, of those that only some cell has.

    Parameters
    ----------
    below : tuple of (str, str)
        Pairs of letters: the first size is less than the second, as torch's p is less than u.
    given : tuple of (str, int, int, int)
        A letter and (a, b, c): that size is a e + b u + c, as it is where a projection has been chosen.
    least : tuple of (str, int)
        A letter of m, s, e, u and the least that this size may be, where it is more than 1.
    """

    below: tuple[tuple[str, str], ...] = ()
    given: tuple[tuple[str, int, int, int], ...] = ()
    least: tuple[tuple[str, int], ...] = ()

    def fit(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return sizes that the target takes, changed as little as that takes.

        Examples
        --------
        >>> SizeLimits(below=(("p", "u"),)).fit({"e": 1, "u": 3, "p": 5})
        {'e': 1, 'u': 3, 'p': 2}
        >>> SizeLimits((("p", "u"),), (("p", 0, 0, 3),)).fit({"e": 1, "u": 2, "p": 1})
        {'e': 1, 'u': 4, 'p': 3}
        >>> SizeLimits((("p", "u"),), (("p", 0, 1, -1),)).fit({"e": 1, "u": 1, "p": 1})
        {'e': 1, 'u': 2, 'p': 1}
        >>> SizeLimits(least=(("e", 2),)).fit({"e": 1, "u": 1})
        {'e': 2, 'u': 1}
        """
        found = dict(sizes)
        for letter, size in self.least:
            found[letter] = max(found[letter], size)
        given = {letter for letter, *_ in self.given}
        for letter, a, b, c in self.given:
            above = [large for small, large in self.below if small == letter]
            for more in range(found["e"] + abs(c) + 2):
                # Mostly the first will do; else there have to be more units.
                size = a * found["e"] + b * (found["u"] + more) + c
                others = found | {"u": found["u"] + more, letter: size}
                if size >= 1 and all(size < others[large] for large in above):
                    found = others
                    break
        for small, large in (pair for pair in self.below if pair[0] not in given):
            found[large] = max(found[large], 2)
            found[small] = min(found[small], found[large] - 1)
        return found

    def refused(self, sizes: Mapping[str, int]) -> str:
        """Return which of some sizes the target does not take, in words; empty where it takes all."""
        due = self.fit(sizes)
        other = [letter for letter, size in sizes.items() if due[letter] != size]
        return f"a size {other[0]} of {sizes[other[0]]}" if other else ""

    @property
    def min_dims(self) -> tuple[int, ...]:
        """The least (m, s, e, u); empty where all of them may be 1."""
        least = dict(self.least)
        return tuple(least.get(letter, 1) for letter in "mseu") if least else ()


def min_dims_in_words(dims: Sequence[int]) -> str:
    """Return least sizes as the option --min-dims takes them: "2,1,1,1"."""
    return ",".join(map(str, dims))


ANY_SIZES = SizeLimits()
"""Of a target that takes all sizes."""


@dataclass(frozen=True)
class Target:
    """An LSTM to be judged.

    Parameters
    ----------
    name : str
        What the user called it.
    kind : str
        What it turned out to be, in words.
    call : callable
        ``call(inputs, sequences)`` returns ``outputs, pullback``, and ``pullback(cotangents)`` the gradients: each a
        mapping of arrays by the names that the cell gives them. With `sequences` the output h is (m, s, u), otherwise
        it may be the last step's (m, u). The cotangents have no `dhn` where the target lacks it.
    lacks : frozenset of str
        What it cannot do: any of "initial states", "Cn", "dCn", "dhn", "last step only", names of gradients, and of
        inputs that it does not take, which are zero in its examples.
    dtypes : tuple of str
        The formats it computes in, which are judged where none is named; "float64" and "float32", or those of low
        precision that it has been found to be in.
    also : tuple of str
        Formats of shorter arrays that it may be asked for by name.
    twins : mapping
        Further gradients it returns and the one of the contract each must equal: a framework with two biases returns
        two gradients, and both are judged.
    compiles : bool
        Whether every new shape costs it a compilation, so that it should be asked for few of them.
    caches : callable or None
        ``caches()`` returns what the target keeps of its last call: a layer's dicts `fc` and `bc` in one.
    answers : callable or None
        Of a target that runs in another process: begins there what `lstm_checks.calling.call_target` would do here for
        each of some calls, and returns a function that waits for their outcomes.
    extras : tuple of Extra
        Parameters beyond the cell's whose gradients can be judged without a reference: the inputs then hold values for
        them, and the pullback returns their gradients, "d" before the name. Where there are none the target takes its
        own.
    notes : tuple of str
        What is to be said of how it is judged: parameters that do not learn, and the like.
    beside : str
        What becomes of `extras` where there is a reference, which knows nothing of them.
    foreign : str
        Why lstm_ref is no reference for it, so that it is not judged by that; empty where it is one.
    cell : Cell
        The equations that it is to follow.
    limits : SizeLimits
        Which sizes it takes.
    declared : tuple of str
        What of its lacks was said with it, in words, and has to be said again with a case of it.
    lengths : tuple of str
        Of a network, which kinds of lengths it takes, of `lstm_checks.cases.LENGTHS`; its inputs then hold "lengths".
    can : frozenset of str
        What it can be asked beyond a call and its pullback. "several passes alive": pullbacks of several calls in any
        order; "instances": the same of several instances, by `call_as`. "parameters changed": arrays of parameters can
        be changed in place before the pullback, which "parameters kept" promises to be of those at the time of the
        call. "inputs without gradient": `call_as` takes `still`. "strides": it sees how what it is given lies in
        memory. "empty batch": no samples at all. "any cell": it is given the arrays of whichever cell is named.
        "intermediates": `caches` asks it its last call anew, for what it shows of it by the reference's names. Each
        word of `FORWARDS` and `TWICE`, `SAMPLES`, `TRAINING` and `THREADS`: `call_as` takes it as a `way`.
    optional : frozenset of str
        The cotangents that may be None, which says that their output is not used.
    parts : tuple of tuple of str
        The inputs, those together that a gradient can only be required of together.
    unlearned : mapping
        The arrays, by its own names, that do not learn whatever is asked of it, and why.
    adapter : str
        Of what was bound by trying the text of its adapter.
    exact : bool
        Of what was bound by trying whether a reading makes its forward pass the reference's.
    call_as : callable or None
        ``call_as(inputs, sequences, how)``: as `call`, with `how` a mapping of "still", names of inputs no gradient of
        which is required; "instance", the number of another instance; "laid", how its weights are to lie in memory;
        "each", of "sample by sample", names of parameters of which each sample has its own, `weights_of_sample`;
        "way", how it is differentiated otherwise: what comes in place of the pullback takes the cotangents and a
        direction of the inputs, "t" before their names. It returns arrays by name: derivatives along that direction
        with a letter before what they are derivatives of ("th" of outputs, "ddUf" of gradients), outputs as they came
        there with "again " before, what is of one sample, or of a thread, with its number before ("0: dUf"), of a
        training with its stage ("stepped: Uf", "after: dUf").
    rounds : float
        By how many times as much as any arithmetic may it may be off: of kernels whose functions are known to be so.
    """

    name: str
    kind: str
    call: Call
    lacks: frozenset[str] = frozenset()
    dtypes: tuple[str, ...] = ("float64", "float32")
    twins: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = False
    caches: Callable[[], Mapping[str, Any] | None] | None = None
    answers: Callable[..., Any] | None = None
    extras: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    beside: str = ""
    foreign: str = ""
    cell: Cell = PLAIN
    limits: SizeLimits = ANY_SIZES
    declared: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()
    can: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    parts: tuple[tuple[str, ...], ...] = ()
    unlearned: Mapping[str, str] = field(default_factory=dict)
    adapter: str = ""
    exact: bool = True
    call_as: Callable[..., tuple[Mapping[str, Any], Pullback]] | None = None
    also: tuple[str, ...] = ("bfloat16", "float16")
    rounds: float = 1.0

    def takes(self, dtype: str) -> bool:
        """Return whether it can be asked in a format: one of its own, or of arrays that it takes."""
        base, own = base_of(dtype), {base_of(known) for known in self.dtypes}
        if base in own or base in self.also:
            return True
        # What is computed otherwise inside comes and goes in float32.
        return base in BASES and "float32" in own and BASES[base].arrays == "float32"

    def remarks(self, reference: bool) -> tuple[str, ...]:
        """Return what is to be said of how it is judged, with a reference or without."""
        further = f"judged, too: {list_extras(self.extras)}" if self.extras else ""
        told = (self.beside, self.foreign) if reference else (further,)
        lengths = f"lengths of its samples: {', '.join(self.lengths)}, or none said" if self.lengths else ""
        return (*self.notes, *(text for text in (*told, lengths) if text))

    @property
    def without_finals(self) -> frozenset[str]:
        """Of which final states it takes no cotangents, as words of a case's: "h" where they come apart, and "C"."""
        cell, missing = self.cell, self._finals_not_taken
        memories = bool({CN, DCN} & self.lacks) or bool(cell.of_memories and {*cell.of_memories} <= {*missing})
        hidden = bool(cell.places and cell.of_hidden <= {*missing})
        return frozenset(({"C"} if memories else set()) | ({"h"} if hidden else set()))

    @property
    def _finals_not_taken(self) -> tuple[str, ...]:
        """The cotangents of the final states of a network that it does not give, each by itself."""
        finals = self.cell.finals.items() if self.cell.places else ()
        return tuple(cotangent for name, cotangent in finals if {name, cotangent} & self.lacks)

    @property
    def absent(self) -> tuple[str, ...]:
        """What it does not take, and is zero in its cases: inputs in the cell's order, and a final memory's cotangent.

        Of a target without any initial states there are cases without, and these are not among them.
        """
        finals = self.cell.finals.values() if {CN, DCN} & self.lacks else self._finals_not_taken
        return (*(name for name in self.cell.inputs if name in self.lacks), *finals)

    @property
    def takes_states(self) -> bool:
        """Whether it takes all initial states."""
        return not self.lacks & {STATES, *self.cell.initial}

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What the target cannot do that a user would want judged, in the order of the contract."""
        names = (STATES, *self.cell.inputs, *self.cell.outputs, DCN, *self.cell.gradients)
        return tuple(name for name in names if name in self.lacks)


class ContractError(Exception):
    """A target returned something of another form than the contract's; the message is for its author."""

    kind = "error"


class TimeLimitError(ContractError):
    """A target gave no answer in time."""

    kind = "timeout"


@dataclass(frozen=True)
class Bounds:
    """What the process that a target runs in is not to have, beside the judge's own objects.

    Attributes
    ----------
    memory : int
        Bytes of address space that it may take, and each process that it starts; 0 for as many as it likes.
    isolate : bool
        Whether other processes' memory is closed to it.
    """

    memory: int = 0
    isolate: bool = False

    @property
    def told(self) -> str:
        """What stands after a sentence on how its process ended: it may be why."""
        return f"; it may take {self.memory // MB} MB (--memory)" if self.memory else ""


MB = 2**20
FREE = Bounds()


class EndedError(ContractError):
    """A target ended the process that it ran in."""

    kind = "ended"


class RaisedElsewhereError(Exception):
    """A target raised in another process; the message is the exception in words."""


def not_interrupted(error: BaseException) -> None:
    """Raise what is no doing of the target's: the user's own Ctrl-C, where this process listens to it."""
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        raise error


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a target run: its warnings are its own affair, and what it prints goes to standard error.

    What it sets for the whole interpreter is set back: NumPy's errors, and a recursion limit that is not for us.
    """
    limit = sys.getrecursionlimit()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)


def vjp_form(cell: Cell = PLAIN) -> str:
    """Return what a function in the vjp form returns for a cell, in words: "((h, Cn), pullback)"."""
    return f"({output_form(cell)}, pullback)"


def output_form(cell: Cell = PLAIN) -> str:
    """Return a cell's outputs in words, as a function returns them: "(h, Cn)"; of one alone "h"."""
    return f"({', '.join(cell.outputs)})" if len(cell.outputs) > 1 else cell.outputs[0]


def pullback_form(cell: Cell = PLAIN) -> str:
    """Return what a pullback of positional arguments takes, in words: "(dh, dCn)"."""
    return f"({', '.join((cell.cotangents[0], *cell.finals.values()))})"


def unpack(result: Any, cell: Cell = PLAIN) -> Any:
    """Return the outputs, as a tuple, and the pullback, or say in what the result differs from `vjp_form`.

    An output that is the only one may come by itself or in a tuple.
    """
    form = f"expected {vjp_form(cell)}"
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ContractError(f"the call returned {describe_value(result)}, {form}")
    outputs, pullback = result
    if len(cell.outputs) == 1 and not isinstance(outputs, tuple | list):
        outputs = (outputs,)
    if not isinstance(outputs, tuple | list) or len(outputs) != len(cell.outputs):
        raise ContractError(f"the call returned {describe_value(outputs)} as outputs, {form}")
    if not callable(pullback):
        raise ContractError(
            f"the call returned {describe_value(pullback)} as pullback, expected a function of {pullback_form(cell)}"
        )
    return outputs, pullback


def describe_value(value: Any) -> str:
    """Return None, or the type of a value and, for a sequence or an array, its size."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return with_article(type(value).__name__)


def with_article(name: str) -> str:
    """Return a name after "a" or "an"."""
    return f"{'an' if name[:1] in 'aeiouAEIO' or name.startswith('LSTM') else 'a'} {name}"


def signature_in_words(function: Callable[..., Any]) -> str:
    """Return the signature as text."""
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "(...)"
