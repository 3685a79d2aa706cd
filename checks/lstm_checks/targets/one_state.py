"""GRUs and RNNs of the frameworks: what the adapters share for cells that hand on the hidden state alone.

Which cell it is follows from the weights, by their names and shapes; how it is called is found by trying, as for an
LSTM in `common.py`. What differs from that is that there is no memory, and no order of gates to be found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.contract import DHN, EMPTY, LAST, OF_CALLS, STATES, Target, by_name, with_article
from lstm_checks.targets.by_values import OF_GATES, gates_in, told_by_values
from lstm_checks.targets.common import (
    LOW,
    PROBE,
    AdapterError,
    Evaluate,
    FormError,
    Library,
    Reasons,
    check_time_axis,
    dtypes_of,
    keeps_float64,
    precision_of,
    probe_arrays,
)
from lstm_checks.targets.learned import role
from lstm_checks.weights.layouts import SECOND, Layout
from lstm_checks.weights.recurrent import LAYOUTS, Kept, recognize_cell
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

NO_STATE = frozenset({STATES, "dh0"})


@dataclass(frozen=True)
class Untold:
    """The arrays of a GRU's or an RNN's weights whose names do not say which is which: their shapes, and their dtype.

    `wanted` is the cell that was asked for, if it is one of these.
    """

    shapes: Mapping[str, tuple[int, ...]]
    wanted: Cell | None
    held: str = "float32"

    @property
    def cell(self) -> Cell:
        """The cell that they are taken for until it is told."""
        return self.wanted or OF_GATES[gates_in(self.shapes)][0]

    @property
    def learned(self) -> tuple[str, tuple[int, ...]]:
        """No array is told to be an initial state."""
        return "", ()


@dataclass(frozen=True)
class OneStateForm:
    """One way in which it may be called: `apply(weights, X, h0)` returns h (m, s, u), alone or first of several."""

    apply: Callable[[Mapping[str, Any], Any, Any], Any]
    lacks: frozenset[str] = frozenset()


def kept_in(
    shapes: Mapping[str, tuple[int, ...]], name: str, known: Mapping[str, tuple[Layout, ...]] = LAYOUTS
) -> Kept | None:
    """Return of which cell the parameters of a module of the sizes `PROBE` are; None where of no GRU or RNN.

    Raises
    ------
    AdapterError
        "mine.py:Net has head.weight besides, ...": where there are further parameters, layers or directions.
    """
    e, u = PROBE[2:]
    kept = recognize_cell(shapes, e, u, known)
    if kept is None:
        return None
    besides = [key for key in shapes if key not in kept.names]
    if any("reverse" in key or "backward" in key for key in besides):
        raise AdapterError(f"{name} has two directions, expected one: {with_article(kept.cell.title)} is judged alone")
    if len(besides) == 1 and role(besides[0]) == "h0" and [n for n in shapes[besides[0]] if n != 1] == [u]:
        return replace(kept, learned=(besides[0], shapes[besides[0]]))
    if besides:
        raise AdapterError(
            f"{name} has {besides[0]} besides the weights of {with_article(kept.cell.title)}, expected one layer alone"
            + (f": --layer {kept.prefix.rstrip('./')} judges that" if kept.prefix else "")
        )
    return kept


def kept_or_untold(shapes: Mapping[str, tuple[int, ...]], name: str, cell: Cell) -> Kept | Untold | None:
    """Return of which cell the parameters of a module are, or that only trying tells; None where of no GRU or RNN.

    Raises
    ------
    AdapterError
        As `kept_in`; or where `cell`, which was asked for, is one of these, and the shapes are not its.
    """
    kept = kept_in(shapes, name)
    if kept is not None:
        return kept
    asked = cell if len(cell.states) == 1 and not cell.places else None
    gates = gates_in(shapes)
    if asked is not None and gates != len(asked.gates):
        e, u = PROBE[2:]
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "none"
        raise AdapterError(
            f"the weights of {name} are not those of {with_article(asked.title)} by their shapes. With input size {e} "
            f"and {u} units it has {listed}; expected for each of its gates, {' '.join(asked.gates)}, ({u}, {e}) and "
            f"({u}, {u}) or turned round, ({u},) once or twice, apart or several in one, and nothing besides. "
            f"{_OTHERWISE}"
        )
    return Untold(shapes, asked) if gates in OF_GATES else None


_OTHERWISE = (
    "What is kept otherwise is judged as a function of p, X and h0 with --cell NAME, as examples/gru_function.py is"
)


def one_state_target(
    name: str,
    kind: str,
    kept: Kept | Untold,
    forms: Sequence[OneStateForm],
    library: Library,
    takes: str,
    demotes: bool = False,
    notes: tuple[str, ...] = (),
) -> Target:
    """Return the target of the first form that works.

    Parameters
    ----------
    name, kind : str
        What the user called it, and what it turned out to be.
    kept : Kept or Untold
        Its cell, and how it keeps the weights of it; or that this is to be found out.
    forms : sequence of OneStateForm
    library : Library
    takes : str
        What it takes and what it is given, in words; said where no form works.
    demotes : bool
        Whether the framework is known to compute in float32 what comes and goes in float64.
    notes : tuple of str
        What is to be said of it besides.

    Raises
    ------
    AdapterError
        When no form works, with the reason why the first does not; or when it computes in low precision.
    """
    reasons = Reasons()
    state, shape = kept.learned
    if state and isinstance(kept, Kept):
        kept = replace(kept, cell=cell_named(f"{kept.cell.name}+h0"))
        forms = [_learning(form, state, shape) for form in forms if form.lacks]
        notes = (*notes, f"its initial state is its own parameter {state}; it is called with none")
    given = kept
    for form in forms:
        run = _run(form)
        evaluate = library.evaluator(run)
        with reasons.of_one():
            kept = given if isinstance(given, Kept) else _told(given, form, evaluate)
            call = _call(kept, form, evaluate)
            low = "" if kept.held in LOW else library.low_precision(run, _probe(kept))
            _check(call, kept, form, library)
        if reasons.failed:
            continue
        assert isinstance(kept, Kept)
        how = f"layout {kept.layout.name}" if isinstance(given, Kept) else f"its own arrays: {_in_words(kept)}"

        def rounds(call: Callable[..., Any] = call, cell: Cell = kept.cell) -> bool:
            return demotes and not keeps_float64(call, *probe_arrays("float64", cell))

        found = partial(dtypes_of, run, library, partial(_probe, kept))
        dtypes, inside, also = precision_of(kept.held, low, found, rounds)
        return Target(
            name,
            f"{kind}, weights as in {how}{inside}",
            by_name(call, kept.cell),
            form.lacks | {DHN, LAST} | {word for name in kept.absent() for word in (name, f"d{name}")},
            dtypes,
            kept.twins,
            compiles=library.compiles,
            notes=notes,
            cell=kept.cell,
            can=library.can & (OF_CALLS | {EMPTY}),
            also=also,
        )
    raise AdapterError(
        f"{name} is {with_article(kind)} with the weights of {with_article(kept.cell.title)}, but cannot be called as "
        f"one: {takes}; {reasons}" + ("" if isinstance(given, Kept) else f". {_OTHERWISE}")
    )


def _told(untold: Untold, form: OneStateForm, evaluate: Evaluate) -> Kept:
    """Return how arrays are kept, found out by calls in a form."""
    m, s, _, u = PROBE

    def run(arrays: Mapping[str, Any]) -> Any:
        h = np.asarray(evaluate(arrays)[0][0])
        if h.shape != (m, s, u):
            raise ValueError(f"h of shape {h.shape} came, expected that of every step, (m, s, u) = {(m, s, u)}")
        return h

    return replace(told_by_values(untold.shapes, run, not form.lacks), held=untold.held)


def _in_words(kept: Kept) -> str:
    """Return which array is which: "Wz is Uz, Uz.weight is Vz, ..."."""
    told = []
    for block in kept.layout.blocks:
        kinds = ["c" if kind == SECOND and kept.layout.has_own_second(block.gates) else kind for kind in block.kinds]
        what = " and ".join(f"{'b' if kind == SECOND else kind}{gate}" for kind in kinds for gate in block.gates)
        told.append(f"{block.name} is {what}")
    less = [f"; {gate} is 1 less ours" for gate in kept.layout.negated]
    return ", ".join(told) + "".join(less)


def _learning(form: OneStateForm, state: str, shape: tuple[int, ...]) -> OneStateForm:
    """Return a form without a state as one of the state that a module learns, an array of that name and shape."""

    def apply(given: Mapping[str, Any], X: Any, h0: Any) -> Any:
        own = h0.reshape(*(h0.shape[-1] if size == PROBE[3] else size for size in shape))
        return form.apply({**given, state: own}, X, h0)

    return OneStateForm(apply)


def _run(form: OneStateForm) -> Callable[[Mapping[str, Any]], tuple[Any, Any]]:
    """Return a form as a function of all its arrays by name, as a `Library` takes it: of h, and no memory."""

    def run(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
        weights = {name: array for name, array in arrays.items() if name not in ("X", "h0")}
        raw = form.apply(weights, arrays["X"], arrays["h0"])
        return (raw[0] if isinstance(raw, tuple | list) else raw), None

    return run


def _call(kept: Kept, form: OneStateForm, evaluate: Evaluate) -> Callable[..., Any]:
    """Return the `call` of a target, by position."""

    def call(p: Mapping[str, Any], X: Any, h0: Any, sequences: bool = True) -> Any:
        (h, _), pull = evaluate({**kept.pack(p), "X": X, "h0": h0})

        def pullback(dh: Any, dhn: Any = None) -> dict[str, Any]:
            gradients = pull((dh, None))
            states = {f"d{name}": gradients[name] for name in ("X", "h0") if f"d{name}" not in form.lacks}
            return {**kept.gradients(gradients), **states}

        return (h,), pullback

    return call


def _check(call: Callable[..., Any], kept: Kept, form: OneStateForm, library: Library) -> None:
    """Raise where h is not that of every step, or where its second axis is not time."""
    m, s, _, u = PROBE
    p, inputs = probe_arrays(kept.held, cell=kept.cell)
    (h,), _ = call(p, **inputs)
    if h.shape != (m, s, u):
        raise FormError(f"h of shape {tuple(h.shape)} came, expected that of every step, (m, s, u) = {(m, s, u)}")
    check_time_axis(call, p, inputs)
    if not form.lacks and np.array_equal(call(p, inputs["X"], 0 * inputs["h0"])[0][0], h):
        raise FormError("its outputs do not follow from the initial state that it is given")


def _probe(kept: Kept, dtype: str = "") -> dict[str, Any]:
    """Return all its arrays by name, of the sizes with which things are tried out."""
    p, inputs = probe_arrays(dtype or kept.held, kept.cell)
    return {**kept.pack(p), **inputs}
