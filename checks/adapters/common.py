"""What the adapters share: a framework's LSTM is a pure function of its weights, X, h0 and C0, in whatever form.

An adapter says which forms a call may take; here the one that works is found by trying, so that nobody need declare it.
A `Library` (PyTorch's autograd, JAX's vjp) evaluates and differentiates such a function.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from checks.calling import describe_error
from checks.contract import CN, DCN, DHN, GATES, LAST, PARAMETERS, STATES, Target, input_shapes
from checks.layouts import Layout, from_shapes, gradients_from_framework, recognize, to_framework
from lstm_ref import lstm_forward

PROBE = (2, 3, 5, 7)
"""The sizes m, s, e, u with which things are tried out: they, 4 e and 4 u differ, so that shapes tell axes apart."""

STATE_INPUTS = ("X", "h0", "C0")
Run = Callable[[Mapping[str, Any]], tuple[Any, Any]]
Evaluate = Callable[[Mapping[str, Any]], tuple[tuple[Any, Any], Callable[..., Mapping[str, Any]]]]


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
    """Something that differentiates: a function of named native arrays that returns (h, Cn), Cn possibly None."""

    compiles: bool

    def evaluator(self, run: Run) -> Evaluate:
        """Return a function of named NumPy arrays that gives the outputs, and a pullback (dh, dCn) to all of them."""
        ...

    def look(self, run: Run, arrays: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the outputs, or what has their shape and dtype where that is quicker."""
        ...


@dataclass(frozen=True)
class Form:
    """One way in which an LSTM may be called: `apply(weights, X, h0, C0)` returns h (m, s, u) and Cn (m, u) or None."""

    apply: Callable[[Mapping[str, Any], Any, Any, Any], Any]
    lacks: frozenset[str] = frozenset()


NO_STATES = frozenset({STATES, "dh0", "dC0"})


def outputs(raw: Any) -> tuple[Any, Any]:
    """Return h and Cn from what a call returned: h; (h, Cn); (h, (hn, Cn)); or (h, hn, Cn)."""
    if not isinstance(raw, tuple | list):
        return raw, None
    h, Cn = raw[0], raw[-1] if len(raw) > 1 else None
    if isinstance(Cn, tuple | list):
        Cn = Cn[-1]
    return h, Cn[0] if Cn is not None and len(Cn.shape) == 3 and Cn.shape[0] == 1 else Cn


def probe_arrays(dtype: str = "float32") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters, and X, h0 and C0, of the sizes `PROBE`."""
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(shape).astype(dtype) for name, shape in input_shapes(*PROBE).items()}
    return {name: values[name] for name in PARAMETERS}, {name: values[name] for name in STATE_INPUTS}


def layout_of(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[Layout, str]:
    """Return the layout of weights of the sizes `PROBE`, and the prefix of their names.

    Raises
    ------
    AdapterError
        When the weights are not those of one LSTM.
    """
    e, u = PROBE[2:]
    found = recognize(shapes, e, u)
    if found is not None:
        return found
    layout = from_shapes(shapes, e, u)
    if layout is None:
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "none"
        raise AdapterError(
            f"the weights of {name} are not those of one LSTM with biases, in any layout known{_reason(shapes, u)}. "
            f"With input size {e} and {u} units it has {listed}; expected, for example, weight_ih_l0 ({4 * u}, {e}), "
            f"weight_hh_l0 ({4 * u}, {u}), bias_ih_l0 ({4 * u},), bias_hh_l0 ({4 * u},)"
        )
    return layout, ""


def _reason(shapes: Mapping[str, tuple[int, ...]], u: int) -> str:
    """Return what weights look like that are not one LSTM's, and what to do; empty where that is not clear."""
    recurrent = {n: [key for key, shape in shapes.items() if shape in ((n * u, u), (u, n * u))] for n in (3, 4)}
    beside = [key for key, shape in shapes.items() if 4 * u not in shape]
    if any("reverse" in key or "backward" in key for key in shapes):
        return ": it has two directions, give one"
    if len(recurrent[4]) > 1:
        return ": it has several layers, give one"
    if len(recurrent[3]) == 1:
        return ": it has three gates, as a GRU has"
    if recurrent[4] and not any(shape in ((4 * u,), (1, 4 * u)) for shape in shapes.values()):
        return ": it has no biases, give it some"
    if recurrent[4] and beside:
        return f": it has {' and '.join(beside)} besides, give the LSTM alone"
    return ""


def target_of(
    name: str,
    kind: str,
    weights: tuple[Layout, str],
    forms: Sequence[Form],
    library: Library,
    named: bool = False,
    demotes: bool = False,
) -> Target:
    """Return the target of the first form that works.

    Parameters
    ----------
    name, kind : str
        What the user called it, and what it turned out to be.
    weights : (Layout, str)
        How it keeps its weights, and the prefix of their names.
    forms : sequence of Form
    library : Library
    named : bool
        Whether it takes the twelve parameters by name, so that there is no layout to speak of.
    demotes : bool
        Whether the framework is known to compute in float32 what comes and goes in float64. In any other, that would be
        a fault, and so it is not looked for.

    Raises
    ------
    AdapterError
        When no form works, with the reason why the first does not.
    """
    layout, prefix = weights
    reasons: dict[bool, str] = {}
    for form in forms:
        # One for all that is tried, as it may compile.
        evaluate = library.evaluator(_run(form))
        try:
            layout, told, lacks = _try(form, layout, prefix, library, evaluate)
        except (Exception, SystemExit) as error:
            ours = isinstance(error, FormError)
            reasons.setdefault(ours, str(error) if ours else describe_error(error))
            continue
        dtypes = _dtypes(form, layout, prefix, library)
        if demotes and "float64" in dtypes and not _keeps_float64(_call(form, layout, prefix, evaluate)):
            dtypes, told = ("float32",), f"{told}, float64 rounded to float32 inside"
        kind = kind if named else f"{kind}, {told}"
        call = _call(form, layout, prefix, evaluate)
        lacks |= form.lacks | {DHN, LAST}
        return Target(name, kind, call, lacks, dtypes, layout.twins, compiles=library.compiles)
    # What came of a call tells more than why others could not be made.
    raise AdapterError(f"{name} is a {kind}, but cannot be called as one: {reasons.get(True) or reasons[False]}")


def _run(form: Form) -> Run:
    """Return a form as a function of all its arrays by name."""

    def run(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
        weights = {name: array for name, array in arrays.items() if name not in STATE_INPUTS}
        return outputs(form.apply(weights, *(arrays[name] for name in STATE_INPUTS)))

    return run


def _arrays(p: Mapping[str, Any], inputs: Mapping[str, Any], layout: Layout, prefix: str) -> dict[str, Any]:
    """Return all arrays by the framework's names."""
    return {prefix + name: array for name, array in to_framework(p, layout).items()} | dict(inputs)


def _call(form: Form, layout: Layout, prefix: str, evaluate: Evaluate) -> Callable[..., Any]:
    """Return the `call` of a target."""

    def call(p: Mapping[str, Any], X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        found, pull = evaluate(_arrays(p, {"X": X, "h0": h0, "C0": C0}, layout, prefix))

        def pullback(dh: Any, dCn: Any, dhn: Any = None) -> dict[str, Any]:
            gradients = pull(dh, dCn)
            named = gradients_from_framework({name: gradients[prefix + name] for name in layout.names}, layout)
            states = {} if STATES in form.lacks else {f"d{name}": gradients[name] for name in ("h0", "C0")}
            return {**named, "dX": gradients["X"], **states}

        return found, pullback

    return call


def _try(
    form: Form, layout: Layout, prefix: str, library: Library, evaluate: Evaluate
) -> tuple[Layout, str, frozenset[str]]:
    """Return the layout, with the order of its gates found where nobody knows it, in words, and what is lacking."""
    m, s, _, u = PROBE
    p, inputs = probe_arrays()
    h, Cn = library.look(_run(form), _arrays(p, inputs, layout, prefix))
    if h.shape != (m, s, u):
        raise FormError(f"h of shape {tuple(h.shape)} came, expected that of every step, (m, s, u) = {(m, s, u)}")
    if Cn is not None and Cn.shape != (m, u):
        raise FormError(f"Cn of shape {tuple(Cn.shape)} came, expected (m, u) = {(m, u)}")
    if not library.compiles:
        _check_time_axis(_call(form, layout, prefix, evaluate), p, inputs, h)
    lacks = frozenset({CN, DCN}) if Cn is None else frozenset()
    if layout.of != "told by shapes":
        return layout, f"weights as in layout {layout.name}", lacks
    return *_with_gate_order(form, layout, prefix, evaluate), lacks


def _check_time_axis(call: Callable[..., Any], p: Mapping[str, Any], inputs: Mapping[str, Any], h: Any) -> None:
    """Raise if the second axis is not time: the last step must not reach earlier ones, and the first all later ones."""
    (again, _), _ = call(p, **inputs)
    if not np.array_equal(np.asarray(again), np.asarray(h), equal_nan=True):
        raise FormError("its outputs differ from call to call; switch off what is random in it, such as dropout")
    for step in (0, -1):
        X = inputs["X"].copy()
        X[:, step] += 1
        (changed, _), _ = call(p, X, inputs["h0"], inputs["C0"])
        reached = np.any(np.asarray(changed) != np.asarray(h), axis=(0, 2))
        due = np.ones_like(reached) if step == 0 else np.arange(reached.size) == reached.size - 1
        if not np.array_equal(reached, due):
            raise FormError("its outputs do not follow its inputs step by step")


def _with_gate_order(form: Form, layout: Layout, prefix: str, evaluate: Evaluate) -> tuple[Layout, str]:
    """Return a layout told by shapes with the order of gates, and of U and V, in which it is an LSTM, in words too."""
    by_name = layout.gates == "by name"
    joined = any(len(block.kinds) > 1 for block in layout.blocks)
    told = "weights told by their shapes" + (" and the gates' letters" if by_name else "")
    if by_name and not joined:
        return layout, told
    p, inputs = probe_arrays()
    zeros = inputs if STATES not in form.lacks else inputs | {key: np.zeros_like(inputs[key]) for key in ("h0", "C0")}
    due = lstm_forward(p, zeros["X"], zeros["h0"], zeros["C0"])["h"]
    best, smallest = layout, np.inf
    orders = [()] if by_name else list(itertools.permutations(GATES))
    for order, turned in itertools.product(orders, (False, True) if joined else (False,)):
        blocks = [replace(block, kinds=block.kinds[::-1]) if turned else block for block in layout.blocks]
        tried = replace(layout, blocks=tuple(replace(b, gates="".join(order) or b.gates) for b in blocks))
        (h, _), _ = _call(form, tried, prefix, evaluate)(p, **zeros)
        difference = float(np.max(np.abs(np.asarray(h, np.float64) - due)))
        if difference < smallest:
            best, smallest = tried, difference
    # A wrong order is off by some tenths here, rounding in float32 by some 1e-6.
    known = smallest < 1e-3
    best = best if known else layout
    said = [] if by_name else [f"gates in the order {' '.join(best.gates)}"]
    said += [f"[{'; '.join(block.kinds)}] in one" for block in best.blocks if len(block.kinds) > 1][:1]
    if known:
        return best, ", ".join([told, *said])
    return best, f"{told}; in no order is it an LSTM, so {', '.join(said)}"


def _dtypes(form: Form, layout: Layout, prefix: str, library: Library) -> tuple[str, ...]:
    """Return the dtypes it computes in, of those that are judged."""
    found = []
    for dtype in ("float64", "float32"):
        p, inputs = probe_arrays(dtype)
        try:
            h, _ = library.look(_run(form), _arrays(p, inputs, layout, prefix))
        except (Exception, SystemExit):
            continue
        if h.dtype == dtype:
            found.append(dtype)
    return tuple(found) or ("float32",)


def _keeps_float64(call: Callable[..., Any]) -> bool:
    """Return whether a change of the input far below float32's resolution shows, at its own size."""
    p, inputs = probe_arrays("float64")
    (before, _), _ = call(p, **inputs)
    (after, _), _ = call(p, **(inputs | {"X": inputs["X"] * (1 + 2.0**-34)}))
    change = float(np.max(np.abs(np.asarray(after) - np.asarray(before))))
    # Rounded to float32 somewhere, it vanishes or comes out at 2^-24 of something.
    return 0 < change < 2.0**-28


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
