"""What the adapters share: a framework's LSTM is a pure function of its weights, X, h0 and C0, in whatever form.

An adapter says which forms a call may take; here the one that works is found by trying, so that nobody need declare it.
A `Library` (PyTorch's autograd, JAX's vjp) evaluates and differentiates such a function.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from lstm_checks import tolerance
from lstm_checks.arrangement import arrange
from lstm_checks.calling import describe_error
from lstm_checks.contract import (
    ANY_SIZES,
    CN,
    DCN,
    DHN,
    LAST,
    PLAIN,
    STATES,
    Extra,
    SizeLimits,
    Target,
    by_name,
    list_extras,
    of_plain_arrays,
    signature_in_words,
    undisturbed,
    with_article,
)
from lstm_checks.extras import MissingExtra
from lstm_checks.formats import array_dtype, dtype_of
from lstm_checks.targets.function import lengths_not_given, of_arguments, states_taken, whole_sizes, without_states
from lstm_checks.targets.learned import Learned, is_state, learned_states, with_learned
from lstm_checks.targets.ways import Packing, Way, in_ways
from lstm_checks.weights.guessing import from_shapes, recognize
from lstm_checks.weights.layouts import LAYOUTS, SECOND, Layout
from lstm_checks.weights.packing import pack, unpack, unpack_gradients
from lstm_checks.words import first_few, series
from lstm_ref.cell import Cell, evaluate_forward
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.slots import KINDS, MODULES, Activation

PROBE = (2, 3, 5, 7)
"""The sizes m, s, e, u with which things are tried out: they, 4 e and 4 u differ, so that shapes tell axes apart."""

STATE_INPUTS = ("X", "h0", "C0")
Run = Callable[[Mapping[str, Any]], tuple[Any, ...]]
Evaluate = Callable[..., tuple[tuple[Any, ...], Callable[..., Mapping[str, Any]]]]


class AdapterError(Exception):
    """A framework's object cannot be judged; the message says why and what to do."""


class FormError(ValueError):
    """What a call gave is not what an LSTM gives; the message says in what it differs."""


def of_fixed_sizes(found: Any, name: str, arguments: str) -> AdapterError:
    """Return the error that a name stands for an instance; `arguments` are those of a function that makes one."""
    return AdapterError(
        f"{name} is an instance of {type(found).__name__}, of fixed sizes; expected the class, or a function "
        f"({arguments}) that makes one"
    )


class Library(Protocol):
    """Something that differentiates: a function of named native arrays to outputs, h and others, which may be None."""

    compiles: bool
    can: frozenset[str]

    def evaluator(self, run: Run) -> Evaluate:
        """Return a function of named NumPy arrays that gives the outputs, and a pullback of their cotangents to all.

        The function may be given the names of arrays no gradient of which is required; of arrays of whole numbers and
        of truth values there is none. The pullback may be given None for the cotangent of an output that is not used,
        and arrays of new values that are to be written into those of the call.
        """
        ...

    def ways(self, run: Run) -> Mapping[str, Way]:
        """Return the ways in which the function is differentiated besides, by the words of `Target.can`."""
        ...

    def look(self, run: Run, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the outputs, or what has their shape and dtype where that is quicker."""
        ...

    def low_precision(self, run: Run, arrays: Mapping[str, Any]) -> str:
        """Return the dtype of low precision in which something is computed inside, "" where nothing is."""
        ...

    def unreached(self, run: Run, arrays: Mapping[str, Any]) -> set[str]:
        """Return the arrays that are cut off from the outputs as far as gradients go, where that can be told."""
        ...


@dataclass(frozen=True)
class Form:
    """One way in which an LSTM may be called: `apply(weights, X, h0, C0)` returns h (m, s, u) and Cn (m, u) or None.

    `lacks` and `notes` are those of its target.
    """

    apply: Callable[[Mapping[str, Any], Any, Any, Any], Any]
    lacks: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def function_form(function: Callable[..., Any], taken: int) -> Form:
    """Return the form of a function of (p, X, h0, C0), (p, X, h0) or (p, X), by the number of its arguments."""
    lacks, notes = of_arguments(function, taken)
    notes = (*notes, *lengths_not_given(function))
    names = states_taken(function, taken)

    def apply(weights: Mapping[str, Any], X: Any, *states: Any) -> Any:
        given = dict(zip(PLAIN.initial, states, strict=True))
        return function(weights, X, *(given[name] for name in names))

    return Form(apply, lacks, notes)


NO_STATES = frozenset({STATES, "dh0", "dC0"})


def outputs(raw: Any) -> tuple[Any, Any]:
    """Return h and Cn from what a call returned: h; (h, Cn); (h, (hn, Cn)); or (h, hn, Cn)."""
    if not isinstance(raw, tuple | list):
        return raw, None
    h, Cn = raw[0], raw[-1] if len(raw) > 1 else None
    if isinstance(Cn, tuple | list):
        Cn = Cn[-1]
    return h, Cn[0] if Cn is not None and len(Cn.shape) == 3 and Cn.shape[0] == 1 else Cn


def probe_arrays(
    dtype: str = "float32", cell: Cell = PLAIN, limits: SizeLimits = ANY_SIZES
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters, and X and the initial states, of the sizes `PROBE`."""
    rng = np.random.default_rng(0)
    sizes = limits.fit(dict(zip(cell.letters, whole_sizes(PROBE, cell), strict=True)))
    shapes = cell.input_shapes(*sizes.values())
    values = {name: rng.standard_normal(shape).astype(dtype_of(dtype)) for name, shape in shapes.items()}
    return {name: values[name] for name in cell.parameters}, {name: values[name] for name in ("X", *cell.initial)}


def must_be_plain(name: str, what: str, cell: Cell, arrays: bool = False) -> None:
    """Raise where another cell is asked of what is judged as a plain LSTM; `what` that is, in words.

    Where its `arrays` alone are known it may be any that has the plain one's.

    Raises
    ------
    AdapterError
        "torch is a framework's and judged as a plain LSTM; the cell peephole is for ..."
    """
    if cell is not PLAIN and not (arrays and of_plain_arrays(cell)):
        # A network of one layer has any cell.
        options = f"--cell {cell.name} --layers 1"
        by_name = f"; outputs = target(p, X, states), by name, is judged so with {options}" if arrays else ""
        raise AdapterError(
            f"{name} is {what} and judged as a plain LSTM; the cell {cell.name} is for a function in the vjp form, "
            f"(h, Cn), pullback = target(p, X, h0, C0), a layer class or a program{by_name}"
        )


@dataclass(frozen=True)
class Weights:
    """The arrays of an LSTM: its layout, what stands before all names in it, and what is special about some of them.

    Attributes
    ----------
    layout : Layout
    prefix : str
    frozen : mapping
        The arrays that do not learn, by their full names, and why: their gradients are not judged.
    extras : tuple of Extra
        Parameters that no plain LSTM has, by their full names.
    limits : SizeLimits
        Which sizes there may be.
    recurrence : Cell
        The cell by its activations: a plain LSTM, or one with others.
    held : str
        The dtype in which they are held, and in which things are tried out: float32, or one of low precision.
    learned : Learned, optional
        Which parameters are initial states that all samples share; they are no `extras` then.
    """

    layout: Layout
    prefix: str = ""
    frozen: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[Extra, ...] = ()
    limits: SizeLimits = ANY_SIZES
    recurrence: Cell = PLAIN
    held: str = "float32"
    learned: Learned | None = None

    @property
    def cell(self) -> Cell:
        """The cell whose parameters they are."""
        cell = CELLS["projected"] if self.layout.projects else self.recurrence
        return cell if self.learned is None else self.learned.cell(cell)

    @property
    def projection(self) -> str:
        """The full name of the array of a projection; empty where there is none."""
        return next((self.prefix + block.name for block in self.layout.blocks if "P" in block.kinds), "")

    def absent(self) -> frozenset[str]:
        """Return the parameters that there are not, such as biases, and their gradients."""
        names = self.cell.parameters.keys() - set(self.layout.parameters)
        return frozenset(names | {f"d{name}" for name in names})

    def lacks(self) -> frozenset[str]:
        """Return the gradients that there are not, since the arrays do not learn."""
        blocks = [block for block in self.layout.blocks if self.prefix + block.name in self.frozen]
        held = {f"d{kind}{gate}" for block in blocks for kind in block.kinds if kind != SECOND for gate in block.gates}
        still = {f"d{state}" for state, extra in self.states_learned.items() if extra.name in self.frozen}
        return frozenset(held | still | {f"d{extra.name}" for extra in self.extras if extra.name in self.frozen})

    @property
    def states_learned(self) -> Mapping[str, Extra]:
        """The parameters that are initial states, by these."""
        return {} if self.learned is None else self.learned.states

    def twins(self) -> dict[str, str]:
        """Return the gradients of the second bias that there are; see `Layout.twins`."""
        still = tuple(f" of {name.removeprefix(self.prefix)}" for name in self.frozen)
        return {twin: name for twin, name in self.layout.twins.items() if not twin.endswith(still or (" ",))}

    def parts(self) -> list[set[str]]:
        """Return the parameters, those together that lie in the same arrays."""
        found: list[set[str]] = []
        for block in self.layout.blocks:
            joined, apart = set(block.parameters), []
            for part in found:
                if part & joined:
                    joined |= part
                else:
                    apart.append(part)
            found = [*apart, joined]
        return found

    def among(self, still: Iterable[str]) -> frozenset[str]:
        """Return the arrays that hold none but the parameters named, and what is named besides."""
        still = set(still)
        blocks = {self.prefix + block.name for block in self.layout.blocks if block.parameters <= still}
        return frozenset(blocks | still & {*STATE_INPUTS})

    def notes(self) -> tuple[str, ...]:
        """Return what does not learn, in words."""
        told = []
        for name, why in self.frozen.items():
            blocks = [block for block in self.layout.blocks if self.prefix + block.name == name]
            kinds = [(kind, gate) for block in blocks for kind in block.kinds for gate in block.gates]
            held = ", ".join(f"d{kind}{gate}" for kind, gate in kinds if kind != SECOND) or f"d{name}"
            told.append(f"{name} does not learn, {why}: {held} not judged")
        return tuple(told)


NAMED = Weights(LAYOUTS["named"])


def weights_of(
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
    others: Mapping[str, tuple[tuple[int, ...], str]] | None = None,
    frozen: Mapping[str, str] | None = None,
    at_sizes: Callable[[int, int], Mapping[str, tuple[int, ...]]] | None = None,
) -> Weights:
    """Return what weights of the sizes `PROBE` are.

    Parameters
    ----------
    shapes : mapping
        The shapes of its parameters by name.
    name : str
        What the user called it.
    others : mapping, optional
        The shapes of arrays that are no parameters, and what they are: a buffer may be a weight that does not learn.
    frozen : mapping, optional
        The parameters that do not learn, and why.
    at_sizes : callable, optional
        ``at_sizes(e, u)`` returns the shapes of the parameters at other sizes; asked if there are parameters besides.

    Raises
    ------
    AdapterError
        When the weights are not those of one LSTM.
    """
    others, frozen = others or {}, dict(frozen or {})
    reason = _reason(shapes, PROBE[3])
    found = None if reason else _layout(shapes)
    if found is None and not reason and others:
        found = _layout({**shapes, **{key: shape for key, (shape, _) in others.items()}})
    if found is None and not reason:
        found = _layout(shapes, biases=False)
    if found is None:
        raise AdapterError(_no_lstm(name, shapes, reason))
    layout, prefix = found
    used = {prefix + own for own in layout.names}
    frozen |= {key: why for key, (_, why) in others.items() if key in used}
    besides = [key for key in shapes if key not in used]
    extras = _extras(besides, name, shapes, at_sizes) if besides else ()
    return Weights(layout, prefix, {key: why for key, why in frozen.items() if key in used or key in besides}, extras)


def _layout(shapes: Mapping[str, tuple[int, ...]], biases: bool = True) -> tuple[Layout, str] | None:
    """Return the layout in which some of the arrays are an LSTM's, and the prefix of their names."""
    e, u = PROBE[2:]
    found = recognize(shapes, e, u, biases)
    if found is not None:
        return found
    layout = from_shapes(shapes, e, u, biases=biases)
    return None if layout is None else (layout, "")


def _no_lstm(name: str, shapes: Mapping[str, tuple[int, ...]], reason: str) -> str:
    """Return what weights there are, and why they are not one LSTM's."""
    e, u = PROBE[2:]
    listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "none"
    recurrent = {n: any(shape in ((n * u, u), (u, n * u)) for shape in shapes.values()) for n in (3, 4)}
    if not reason and recurrent[3] and not recurrent[4]:
        reason = ": it has three gates, as a GRU has"
    return (
        f"the weights of {name} are not those of one LSTM, in any layout known{reason}. "
        f"With input size {e} and {u} units it has {listed}; expected, for example, weight_ih_l0 ({4 * u}, {e}), "
        f"weight_hh_l0 ({4 * u}, {u}), bias_ih_l0 ({4 * u},), bias_hh_l0 ({4 * u},)"
    )


def _extras(
    names: Sequence[str],
    owner: str,
    shapes: Mapping[str, tuple[int, ...]],
    at_sizes: Callable[[int, int], Mapping[str, tuple[int, ...]]] | None,
) -> tuple[Extra, ...]:
    """Return further parameters, with their shapes told by making the thing at other sizes, too."""
    e, u = PROBE[2:]

    def unclear(name: str) -> AdapterError:
        return AdapterError(
            f"{owner} has {name} besides, whose sizes do not follow from those of the LSTM; give it alone"
        )

    # What is called as an input of ours is one: an initial state, or nothing that can be told apart from it.
    if at_sizes is None or {*names} & {*PLAIN.inputs} - {*PLAIN.initial}:
        raise unclear(names[0])
    # Each length is taken for a e + b u + c: one more element gives a, one more unit b,
    # and the third making is the proof.
    more = [at_sizes(*sizes) for sizes in ((e + 1, u), (e, u + 1), (e + 3, u + 4))]
    extras = []
    for name in names:
        lengths = [shapes[name], *(found.get(name, (None,) * 9) for found in more)]
        if len({len(shape) for shape in lengths}) > 1:
            raise unclear(name)
        axes = [(wider - own, longer - own, own) for own, wider, longer, _ in zip(*lengths, strict=True)]
        extra = Extra(name, tuple((a, b, own - a * e - b * u) for a, b, own in axes))
        if extra.shape(e + 3, u + 4) != tuple(lengths[3]) or (name in PLAIN.initial and not is_state(extra)):
            raise unclear(name)
        extras.append(extra)
    return tuple(extras)


def chosen_projection(
    name: str,
    weights: Weights,
    held: Mapping[str, Any],
    at_sizes: Callable[[int, int], Mapping[str, tuple[int, ...]]],
) -> SizeLimits:
    """Return what p is where whoever makes a module has chosen it: a number, or a e + b u + c.

    Raises
    ------
    AdapterError
        "mine.py:lstm has a projection whose size follows from the others in no way that is known; ..."
    """
    return chosen_size(name, held[weights.projection].shape[0], lambda e, u: at_sizes(e, u)[weights.projection][0])


def chosen_size(name: str, own: int, at_sizes: Callable[[int, int], int]) -> SizeLimits:
    """Return what p is, by the size of a projection at the sizes `PROBE`, `own`, and at others; raises as above."""
    e, u = PROBE[2:]
    wider, longer, both = (at_sizes(*sizes) for sizes in ((e + 1, u), (e, u + 1), (e + 3, u + 4)))
    a, b = wider - own, longer - own
    if both != own + 3 * a + 4 * b:
        raise AdapterError(
            f"{name} has a projection whose size follows from the others in no way that is known; expected one number, "
            "or a e + b u + c"
        )
    return SizeLimits((("p", "u"),), (("p", a, b, own - a * e - b * u),))


def _reason(shapes: Mapping[str, tuple[int, ...]], u: int) -> str:
    """Return why weights are not one LSTM's, though those of one may be among them; empty where that is not clear."""
    recurrent = [key for key, shape in shapes.items() if shape in ((4 * u, u), (u, 4 * u))]
    by_name = "or a function of all by name, as docs/networks.md has it, with --layers N"
    if any("reverse" in key or "backward" in key for key in shapes):
        return f": it has two directions, give one, {by_name} --bidirectional"
    return f": it has several layers, give one, {by_name}" if len(recurrent) > 1 else ""


LOW = ("float16", "bfloat16")
"""The dtypes of low precision."""


def beside(name: str, others: Sequence[str], holders: Collection[str]) -> AdapterError:
    """Return the error that a module has parameters beside those of an LSTM that is in it, in `holders`."""
    listed = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
    return AdapterError(
        f"{name} has {listed} beside its recurrent parameters, expected the LSTM alone: {alone_of(sorted(holders))}"
    )


def alone_of(holders: Sequence[str]) -> str:
    """Return how what is inside something is named alone, by where it is; one of several."""
    if len(holders) != 1:
        return f"--layer judges one alone, of {first_few(holders, 8, 8)}"
    holder = holders[0].rstrip("./")
    return f"--layer {holder} judges that alone" if holder else "give the LSTM alone"


def held_in(name: str, dtypes: Mapping[str, Any]) -> str:
    """Return the dtype in which the arrays of a thing are held: one of low precision, or else "float32".

    Raises
    ------
    AdapterError
        "mine.py:half holds scale in float16 and weight_ih_l0 in float32: ..."
    """
    words = {key: str(dtype).rpartition(".")[2] for key, dtype in dtypes.items()}
    low = next((key for key, word in words.items() if word in LOW), None)
    if low is None:
        return "float32"
    other = next((key for key, word in words.items() if word != words[low]), None)
    if other is not None:
        raise AdapterError(
            f"{name} holds {low} in {words[low]} and {other} in {words[other]}: what is held in several formats is not "
            "judged, and nothing is cast up in silence; expected all in one"
        )
    if words[low] == "bfloat16":
        try:
            array_dtype("bfloat16")
        except MissingExtra as error:
            raise AdapterError(f"{name} holds {low} in bfloat16: {error}") from None
    return words[low]


def as_given(output: Any, given: Any) -> Any:
    """Return an output of low precision in the dtype of what was given, as after autocast: every number stays.

    A float32 of what was given in float64 is another matter: it is the target's own mistake.
    """
    return output.astype(given.dtype) if output.dtype.name in LOW and given.dtype.name not in LOW else output


def refuse_low(name: str, dtypes: Mapping[str, Any]) -> None:
    """Raise if any of the arrays of a thing, given by its dtype, is of low precision.

    Raises
    ------
    AdapterError
        "mine.py:half holds weight_ih_l0 in float16: ..."
    """
    for key, dtype in dtypes.items():
        low = [word for word in LOW if str(dtype).rpartition(".")[2] == word]
        if low:
            raise AdapterError(f"{name} holds {key} in {low[0]}{_NOT_YET}")


_NOT_YET = (
    ": low precision is not judged of it, and nothing is cast up in silence; expected what is in float32 or float64"
)


def refuse_low_inside(name: str, library: Library, run: Run, arrays: Mapping[str, Any]) -> None:
    """Raise where something is computed in low precision inside, as under autocast."""
    low = library.low_precision(run, arrays)
    if low:
        raise AdapterError(f"{name} computes in {low} inside when it is given float32{_NOT_YET}")


def cell_with(name: str, **functions: tuple[str, Any]) -> Cell:
    """Return the plain LSTM with the activations of a framework's own, told by what they make of some numbers.

    Parameters
    ----------
    name : str
        What the user called it.
    **functions : tuple of (str, callable)
        By slot: the option's name, and what is given there.

    Raises
    ------
    AdapterError
        "mine.py:layer has activation silu, which is none of sigmoid, tanh, ...: it is not judged"
    """
    words = [f"{slot}={_word_of(name, where, function)}" for slot, (where, function) in functions.items()]
    return cell_named(",".join([PLAIN.name, *words]))


def refuse_activation(name: str, where: str, function: Any, due: str) -> None:
    """Raise where an activation is another one than that of a cell which takes no others.

    Raises
    ------
    AdapterError
        "mine.py:layer has activation relu, expected tanh: other activations of this cell are not judged"
    """
    if _word_of(name, where, function) != due:
        what = getattr(function, "__name__", repr(function))
        raise AdapterError(f"{name} has {where} {what}, expected {due}: other activations of this cell are not judged")


def the_one_of(cells: Collection[Cell], name: str) -> Cell:
    """Return the cell that all LSTMs in a module are of, the plain one where there is none.

    Raises
    ------
    AdapterError
        "mine.py:layer has LSTMs of several activations, plain and plain,g=relu, expected those of one".
    """
    if len(cells) > 1:
        told = " and ".join(sorted(cell.name for cell in cells))
        raise AdapterError(f"{name} has LSTMs of several activations, {told}, expected those of one")
    return next(iter(cells), PLAIN)


_WORDS = (*(word for word, kind in KINDS.items() if kind.usual is not None), "leakyrelu:0.2", "leakyrelu:0.3")
"""The activations that a framework's may be; leaky relus with the slopes of Keras and Flax where none is said."""


def _word_of(name: str, where: str, function: Any) -> str:
    """Return which activation a function is."""
    x = np.linspace(-8, 8, 33, dtype="float32")
    came = np.asarray(function(x))
    for word in _WORDS:
        value, _ = Activation.parse(word).functions(MODULES)
        if came.shape == x.shape and np.allclose(came, value(x), atol=1e-5):
            return word
    what = getattr(function, "__name__", repr(function))
    raise AdapterError(f"{name} has {where} {what}, which is none of {', '.join(KINDS)}: it is not judged")


@undisturbed()  # what a framework warns of when it is tried out is its own affair, as when it is judged
def target_of(
    name: str,
    kind: str,
    weights: Weights,
    forms: Sequence[Form],
    library: Library,
    named: bool = False,
    demotes: bool = False,
    takes: str = "",
    notes: tuple[str, ...] = (),
    holder: str = "",
) -> Target:
    """Return the target of the first form that works.

    Parameters
    ----------
    name, kind : str
        What the user called it, and what it turned out to be.
    weights : Weights
        How it keeps its weights.
    forms : sequence of Form
    library : Library
    named : bool
        Whether it takes the twelve parameters by name, so that there is no layout to speak of.
    demotes : bool
        Whether the framework is known to compute in float32 what comes and goes in float64. In any other, that would be
        a fault, and so it is not looked for.
    takes : str
        What it takes and what it is given in these forms, in words; said where no form works.
    notes : tuple of str
        What is to be said of it besides.
    holder : str
        What --layer calls the LSTM inside it, where its arrays' names do not say that.

    Raises
    ------
    AdapterError
        When no form works, with the reason why the first does not; or when it computes in low precision.
    """
    reasons = Reasons()
    own = {extra.name for extra in weights.extras}
    unshared = [] if own & {*PLAIN.initial} else [(weights, form) for form in forms]
    for held, form in [*_learning(weights, forms), *unshared]:
        run = _run(form)
        # One for all that is tried, as it may compile.
        evaluate = library.evaluator(run)
        with reasons.of_one():
            low = _low_inside(form, held, library)
            fitted = _try(form, held, library, evaluate)
            if held.learned is not None:
                _expect_learned(form, held, fitted, evaluate)
        if reasons.failed:
            continue
        call = _call(form, fitted.weights, fitted.held, evaluate)

        def found(run: Run = run, held: Weights = held) -> tuple[str, ...]:
            return dtypes_of(run, library, lambda dtype: _arrays(*_probe(held, dtype), held, "own"))

        def rounds(call: Callable[..., Any] = call, held: Weights = held) -> bool:
            return demotes and not keeps_float64(call, *_probe(held, "float64"))

        dtypes, inside, also = precision_of(held.held, low, found, rounds)
        call_as = _call_as(partial(_call, form, fitted.weights, fitted.held, evaluate), held.cell)
        ways = library.ways(run)
        states = [{key} for key in STATE_INPUTS if f"d{key}" not in form.lacks]
        lacks = fitted.lacks | form.lacks | held.lacks() | held.absent() | {DHN, LAST}
        return Target(
            name,
            kind if named else f"{kind}, {fitted.told}{inside}",
            by_name(call, held.cell),
            lacks,
            dtypes,
            held.twins(),
            compiles=library.compiles,
            extras=held.extras,
            notes=(*form.notes, *held.notes(), *notes),
            beside=fitted.beside,
            foreign=fitted.foreign,
            cell=held.cell,
            limits=held.limits,
            can=library.can.union(ways),
            optional=frozenset({PLAIN.cotangents[0], DCN} - lacks),
            parts=tuple(tuple(sorted(part)) for part in (*fitted.weights.parts(), *states)),
            unlearned=dict(held.frozen) | _cut_off(form, held, library),
            call_as=in_ways(held.cell, call_as, ways, _packing(form, fitted.weights, fitted.held)),
            also=also,
        )
    # What came of a call tells more than why others could not be made.
    besides = (
        f"; it has {list_extras(weights.extras)} besides, {alone_of([holder or weights.prefix])}"
        if weights.extras
        else ""
    )
    raise AdapterError(
        f"{name} is {with_article(kind)}, but cannot be called as one: {takes and f'{takes}; '}{reasons}{besides}"
    )


def _learning(weights: Weights, forms: Sequence[Form]) -> Iterator[tuple[Weights, Form]]:
    """Yield what further parameters may be initial states, and the forms without states with these as such."""
    for learned in learned_states(weights.extras) if not weights.layout.projects else ():
        rest = tuple(extra for extra in weights.extras if extra.name not in learned.names)
        lacks, _ = without_states(tuple(learned.states))
        for form in (form for form in forms if STATES in form.lacks):
            apply, told = with_learned(form.apply, learned), (*form.notes, learned.note)
            yield replace(weights, extras=rest, learned=learned), Form(apply, form.lacks - NO_STATES | lacks, told)


class Reasons:
    """Why none of several forms works: the first reason, and rather one that was found here than raised there."""

    def __init__(self) -> None:
        self._first: dict[bool, str] = {}
        self.failed = False

    @contextlib.contextmanager
    def of_one(self) -> Iterator[None]:
        """Try one form, and keep why it does not work; `failed` says whether it does not.

        Raises
        ------
        AdapterError
            Where no other form need be tried.
        """
        self.failed = False
        try:
            yield
        except AdapterError:
            raise
        except (Exception, SystemExit) as error:
            self.failed, ours = True, isinstance(error, FormError)
            self._first.setdefault(ours, str(error) if ours else describe_error(error))

    def __str__(self) -> str:
        return self._first.get(True) or self._first[False]


def precision_of(
    held: str, low: str, found: Callable[[], tuple[str, ...]], rounds: Callable[[], bool]
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return the dtypes in which a thing is judged, what is to be said of that, and those in which it may be besides.

    Parameters
    ----------
    held : str
        The dtype in which its arrays are held: float32, or one of low precision.
    low : str
        The dtype of low precision that it computes in inside, if it does.
    found : callable
        Tries out in which of float64 and float32 it computes.
    rounds : callable
        Tries out whether it rounds float64 to float32 inside.
    """
    if low:
        return (f"autocast{low}",), f", {low} inside", ()
    if held in LOW:
        return (held,), "", ()
    dtypes = found()
    if "float64" in dtypes and rounds():
        return ("float32",), ", float64 rounded to float32 inside", LOW
    return dtypes, "", LOW


def _low_inside(form: Form, weights: Weights, library: Library) -> str:
    """Return the dtype of low precision that something inside is computed in, where float32 is given."""
    if weights.held in LOW:
        return ""
    return library.low_precision(_run(form), _arrays(*_probe(weights), weights, "zero"))


def _call_as(call: Callable[..., Any], cell: Cell) -> Callable[..., Any]:
    """Return the `call_as` of a target, from what makes its `call` for a way of asking."""
    return lambda inputs, sequences, how: by_name(call(how), cell)(inputs, sequences)


def _packing(form: Form, weights: Weights, held: str) -> Packing:
    """Return how arrays by the contract's names become a framework's, and gradients by its names the contract's."""

    def pack(given: Mapping[str, Any], is_direction: bool) -> dict[str, Any]:
        inputs = {name: given[name] for name in STATE_INPUTS}
        p = {name: value for name, value in given.items() if name not in STATE_INPUTS}
        if not is_direction:
            return _arrays(p, inputs, weights, held)
        # What is added at run time does not move, nor does what nobody gives a value.
        return _arrays(p, inputs, replace(weights, layout=replace(weights.layout, forget_bias=0.0)), "zero")

    def inputs(found: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: np.asarray(found[weights.prefix + name], np.float64) for name in weights.layout.names}
        # States that all samples share are stepped as parameters are.
        return unpack(own, weights.layout) | {state: found[state] for state in weights.cell.shared}

    extras = frozenset(extra.name for extra in weights.extras)
    return Packing(pack, lambda found: _gradients(found, form, weights), inputs, extras)


def _gradients(found: Mapping[str, Any], form: Form, weights: Weights) -> dict[str, Any]:
    """Return gradients by the contract's names, those of second biases that learn among them."""
    layout, twins = weights.layout, weights.twins()
    named = unpack_gradients({name: found[weights.prefix + name] for name in layout.names}, layout)
    named |= {f"d{extra.name}": found[extra.name] for extra in weights.extras if extra.name in found}
    named |= {f"d{name}": found[name] for name in STATE_INPUTS if f"d{name}" not in form.lacks}
    return {name: value for name, value in named.items() if name not in layout.twins or name in twins}


def _cut_off(form: Form, weights: Weights, library: Library) -> dict[str, str]:
    """Return the arrays of weights that outputs hang on and gradients do not reach, and why."""
    names = {weights.prefix + own for own in weights.layout.names} - set(weights.frozen)
    try:
        reached = library.unreached(_run(form), _arrays(*_probe(weights), weights, "own"))
    except (Exception, SystemExit):
        return {}  # what raises here raises in the examples
    return dict.fromkeys(sorted(names & reached), "it is cut off from the outputs, detached or of no effect")


def call_in_words(function: Callable[..., Any], forms: str) -> str:
    """Return what a module's call takes, the forms that are tried, and which arguments of it nobody gives."""
    return "; ".join((f"it takes {signature_in_words(function)}, expected {forms}", *lengths_not_given(function)))


def _run(form: Form) -> Run:
    """Return a form as a function of all its arrays by name."""

    def run(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
        weights = {name: array for name, array in arrays.items() if name not in STATE_INPUTS}
        return outputs(form.apply(weights, *(arrays[name] for name in STATE_INPUTS)))

    return run


def _arrays(p: Mapping[str, Any], inputs: Mapping[str, Any], weights: Weights, held: str) -> dict[str, Any]:
    """Return all arrays by the framework's names.

    Further parameters that `p` has no values for are zero where they are `held` at "zero", and its own at "own".
    """
    arrays = {weights.prefix + name: array for name, array in pack(_own(p, weights), weights.layout).items()}
    (_, _, e), u = inputs["X"].shape, inputs["C0"].shape[-1]
    for extra in weights.extras:
        if extra.name in p:
            arrays[extra.name] = p[extra.name]
        elif held == "zero":
            arrays[extra.name] = np.zeros(extra.shape(e, u), inputs["X"].dtype)
    return arrays | dict(inputs)


def _own(p: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """Return the parameters that the layout has a place for."""
    return {name: p[name] for name in weights.layout.parameters}


def _probe(weights: Weights, dtype: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters, zero where there are none, and X, h0 and C0, of the sizes with which things are tried out."""
    p, inputs = probe_arrays(dtype or weights.held, weights.cell, weights.limits)
    return {name: np.zeros_like(value) if name in weights.absent() else value for name, value in p.items()}, inputs


def _call(
    form: Form, weights: Weights, held: str, evaluate: Evaluate, how: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Return the `call` of a target, or its `call_as` with what that is told."""
    how = how or {}
    still = weights.among(how.get("still", ()))

    def packed(p: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        arrays = _arrays(p, inputs, weights, held)
        if "laid" not in how:
            return arrays
        return {name: v if name in STATE_INPUTS else arrange(v, how["laid"]) for name, v in arrays.items()}

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        inputs = {"X": X, "h0": h0, "C0": C0}
        before = packed(p, inputs)
        found, pull = evaluate(before, still) if still else evaluate(before)

        def pullback(dh: Any, dCn: Any, dhn: Any = None) -> dict[str, Any]:
            now = packed(p, inputs)
            moved = {name: value for name, value in now.items() if not np.array_equal(value, before[name])}
            gradients = pull((dh, dCn), moved) if moved else pull((dh, dCn))
            gradients = {name: gradients.get(name, np.zeros_like(value)) for name, value in before.items()}
            unheld = {extra.name for extra in weights.extras if extra.name not in p}
            named = _gradients({n: v for n, v in gradients.items() if n not in unheld}, form, weights)
            unasked = {f"d{name}" for name in how.get("still", ())}
            left = unasked | {twin for twin, name in weights.layout.twins.items() if name in unasked}
            return {name: value for name, value in named.items() if name not in left}

        return found, pullback

    return call


@dataclass(frozen=True)
class _Fitted:
    """What trying a form showed.

    `weights` have the order of gates in which it is an LSTM, `told` in words; `held` says how further parameters are
    held where nobody gives them values, and `beside` and `foreign` are those of the target.
    """

    weights: Weights
    told: str
    lacks: frozenset[str]
    held: str = "own"
    beside: str = ""
    foreign: str = ""


def _try(form: Form, weights: Weights, library: Library, evaluate: Evaluate) -> _Fitted:
    """Return what a form shows that works; raises whatever comes where it does not."""
    m, s, _, u = PROBE
    p, inputs = _probe(weights)
    due = (m, s, inputs["h0"].shape[-1])
    h, Cn = library.look(_run(form), _arrays(p, inputs, weights, "own"))
    if h.shape != due:
        axes = ", ".join(weights.cell.axes["h"])
        raise FormError(f"h of shape {tuple(h.shape)} came, expected that of every step, ({axes}) = {due}")
    if Cn is not None and Cn.shape != (m, u):
        raise FormError(f"Cn of shape {tuple(Cn.shape)} came, expected (m, u) = {(m, u)}")
    if not library.compiles:
        check_time_axis(_call(form, weights, "own", evaluate), p, inputs)
    lacks = frozenset({CN, DCN}) if Cn is None else frozenset()
    if weights.extras:
        return _with_extras(form, weights, evaluate, lacks)
    fitted, told, _ = _with_gate_order(form, weights, "own", evaluate)
    return _Fitted(fitted, told, lacks)


def _expect_learned(form: Form, weights: Weights, fitted: _Fitted, evaluate: Evaluate) -> None:
    """Raise where what is taken for initial states has no effect, or where no name says so and it is not that."""
    assert weights.learned is not None
    p, inputs = _probe(weights)
    call = _call(form, fitted.weights, fitted.held, evaluate)
    (h, _), _ = call(p, **inputs)
    for state, extra in weights.learned.states.items():
        (other, _), _ = call(p, **{**inputs, state: 1 + inputs[state]})
        if np.array_equal(np.asarray(other), np.asarray(h)):
            raise FormError(f"its outputs do not follow from {extra.name}")
    given = {key: value if key in weights.learned.states else 0 * value for key, value in inputs.items()}
    due = evaluate_forward(weights.cell, {**p, **given, "X": inputs["X"]})["h"]
    if not weights.learned.named and np.max(np.abs(np.asarray(h, np.float64) - due)) > same_within(weights.held):
        raise FormError(f"its outputs do not follow from {series(sorted(weights.learned.names))} as initial states")


def _with_extras(form: Form, weights: Weights, evaluate: Evaluate, lacks: frozenset[str]) -> _Fitted:
    """Return how further parameters are held so that it is a plain LSTM, if it is one with any of these values."""
    listed = list_extras(weights.extras)
    p, inputs = _probe(weights)
    rng = np.random.default_rng(1)
    of_its = dtype_of(weights.held)
    drawn = {extra.name: rng.standard_normal(extra.shape(*PROBE[2:])).astype(of_its) for extra in weights.extras}
    (before, _), _ = _call(form, weights, "zero", evaluate)(p, **inputs)
    (after, _), _ = _call(form, weights, "zero", evaluate)(p | drawn, **inputs)
    if np.array_equal(np.asarray(before), np.asarray(after), equal_nan=True):
        fitted, told, _ = _with_gate_order(form, weights, "zero", evaluate)
        return _Fitted(fitted, told, lacks, "zero", f"{listed} reaches no output; no gradient of it judged")
    for held in ("zero", "own"):
        fitted, told, difference = _with_gate_order(form, weights, held, evaluate)
        if difference < same_within(weights.held):
            where = "at zero" if held == "zero" else "as they are made"
            beside = f"{listed}, which a plain LSTM has not, held {where}, no gradient of it judged; see --no-reference"
            return _Fitted(fitted, told, lacks, held, beside)
    foreign = f"it has {listed}, and is no plain LSTM without: lstm_ref is no reference for it; use --no-reference"
    return _Fitted(fitted, told, lacks, "own", foreign=foreign)


def check_time_axis(call: Callable[..., Any], p: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Raise if the second axis is not time: the last step must not reach earlier ones, and the first all later ones."""
    (h, *_), _ = call(p, **inputs)
    (again, *_), _ = call(p, **inputs)
    if not np.array_equal(np.asarray(again), np.asarray(h), equal_nan=True):
        raise FormError("its outputs differ from call to call; switch off what is random in it, such as dropout")
    # Taken for (s, m, e), X gives an h of the very same shape: only what reaches what tells the two axes apart.
    for step in (0, -1):
        X = inputs["X"].copy()
        X[:, step] += 1
        (changed, *_), _ = call(p, **{**inputs, "X": X})
        reached = np.any(np.asarray(changed) != np.asarray(h), axis=(0, 2))
        due = np.ones_like(reached) if step == 0 else np.arange(reached.size) == reached.size - 1
        if not np.array_equal(reached, due):
            raise FormError("its outputs do not follow its inputs step by step")


def same_within(held: str) -> float:
    """Return how far from an LSTM's h is the same: a wrong order of gates is off by some tenths at `PROBE`.

    Rounding in float32 is off by some 1e-6, in bfloat16 by some 1e-2.
    """
    return 0.05 if held in LOW else SAME


SAME = 1e-3
"""That of float32."""


def _with_gate_order(form: Form, weights: Weights, held: str, evaluate: Evaluate) -> tuple[Weights, str, float]:
    """Return weights told by shapes with the order of gates, and of U and V, in which it is an LSTM, in words too.

    And how far it is from one: zero where nobody needs to look.
    """
    layout = weights.layout
    known_layout = layout.of != "told by shapes"
    by_name = layout.gates == "by name"
    joined = any(len(block.kinds) > 1 for block in layout.blocks) and not known_layout
    told = "weights told by their shapes" + (" and the gates' letters" if by_name else "")
    told = f"weights as in layout {layout.name}" if known_layout else told
    if (by_name or known_layout) and not joined and not weights.extras:
        return weights, told, 0.0
    p, inputs = _probe(weights)
    none = [key for key in ("h0", "C0") if {STATES, key} & form.lacks]
    zeros = inputs | {key: np.zeros_like(inputs[key]) for key in none}
    due = evaluate_forward(weights.cell, {**p, **zeros})["h"]
    # Shapes tell no gate from another. The order is the one in which the forward pass is an LSTM's; in it the gradients
    # are judged, which had no part in finding it.
    best, smallest = weights, np.inf
    orders = [()] if by_name or known_layout else list(itertools.permutations(PLAIN.gates))
    for order, turned in itertools.product(orders, (False, True) if joined else (False,)):
        blocks = [replace(block, kinds=block.kinds[::-1]) if turned else block for block in layout.blocks]
        tried = replace(layout, blocks=tuple(replace(b, gates="".join(order) or b.gates) for b in blocks))
        fitted = replace(weights, layout=tried)
        (h, _), _ = _call(form, fitted, held, evaluate)(p, **zeros)
        difference = float(np.max(np.abs(np.asarray(h, np.float64) - due)))
        if difference < smallest:
            best, smallest = fitted, difference
    known = smallest < same_within(weights.held)
    best = best if known else weights
    if known_layout:
        return best, told, smallest
    said = [] if by_name else [f"gates in the order {' '.join(best.layout.gates)}"]
    said += [f"[{'; '.join(block.kinds)}] in one" for block in best.layout.blocks if len(block.kinds) > 1][:1]
    if known:
        return best, ", ".join([told, *said]), smallest
    return best, f"{told}; in no order is it an LSTM, so {', '.join(said)}", smallest


def dtypes_of(run: Run, library: Library, arrays_in: Callable[[str], Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the dtypes it computes in, of those that are judged, from its arrays in each."""
    found = []
    for dtype in ("float64", "float32"):
        arrays = arrays_in(dtype)
        try:
            h, *_ = library.look(run, arrays)
        except (Exception, SystemExit):
            continue
        if h.dtype == dtype:
            found.append(dtype)
    return tuple(found) or ("float32",)


def keeps_float64(call: Callable[..., Any], p: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    """Return whether it is smooth at float32's resolution: rounded to float32 somewhere inside, it goes in steps there.

    All inputs move by about one step of float32 forth and back, in several directions. One change alone, or one that is
    far below a step, may cross no step and show nothing.
    """
    rng = np.random.default_rng(0)

    def moved(direction: Mapping[str, Any], size: float) -> Any:
        p_s, inputs_s = ({k: v * (1 + size * direction[k]) for k, v in part.items()} for part in (p, inputs))
        return np.asarray(call(p_s, **inputs_s)[0][0], np.float64)

    here = moved(dict.fromkeys({**p, **inputs}, 0.0), 0.0)
    bends = []
    for _ in range(tolerance.SMOOTH_DIRECTIONS):
        direction = {name: rng.standard_normal(value.shape) for name, value in {**p, **inputs}.items()}
        forth, back = moved(direction, tolerance.SMOOTH_STEP), moved(direction, -tolerance.SMOOTH_STEP)
        bends.append(float(np.max(np.abs(forth - 2 * here + back))))
    # A kink, as of a hard sigmoid, bends it in one direction or another, steps in all of them.
    return min(bends) < tolerance.SMOOTH_BEND


def keywords_of(function: Callable[..., Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the wanted keywords that a function or a class takes by name."""
    names: set[str] = set()
    # A metaclass may hide what the class's own constructor takes.
    for taken in (function, getattr(function, "__init__", None) if isinstance(function, type) else None):
        with contextlib.suppress(TypeError, ValueError):
            names |= set(inspect.signature(taken).parameters) if taken is not None else set()
    return {name: value for name, value in wanted.items() if name in names}


def attempt(make: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `make` gives, or None if it cannot be called like this."""
    try:
        return make(*arguments)
    except (Exception, SystemExit):
        return None


def make_module(make: Callable[[int, int], Any], name: str) -> Any:
    """Return a module of the sizes `PROBE`.

    Raises
    ------
    AdapterError
        With the exception's text.
    """
    e, u = PROBE[2:]
    try:
        return make(e, u)
    except (Exception, SystemExit) as error:
        raise AdapterError(
            f"{name} cannot be made with input size {e} and {u} units: {type(error).__name__}: {error}; "
            "name a function (input_size, hidden_size) that makes one"
        ) from error
