"""Networks of the frameworks: what the adapters share for layers, directions and lengths.

An adapter says where a network's weights lie (`Stacked`) and in which forms it may be called; the form that works is
found by trying, as for one cell in `common.py`. What it does with lengths and padding is found in `network.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_checks.calling import describe_error
from lstm_checks.contract import ANY_SIZES, LAST, STATES, SizeLimits, Target, undisturbed, with_article
from lstm_checks.targets.common import (
    SAME,
    AdapterError,
    Evaluate,
    FormError,
    Library,
    Run,
    dtypes_of,
    keeps_float64,
    probe_arrays,
    refuse_low_inside,
)
from lstm_checks.targets.network import with_conventions
from lstm_checks.weights.stacked import Stacked
from lstm_ref.network import Network

LENGTHS_GIVEN, MASK = "lengths", "mask"
"""What a case says besides of a padded batch: how long its samples are, and, with holes, at which steps."""


@dataclass(frozen=True)
class StackForm:
    """One way in which a network may be called.

    Attributes
    ----------
    run : callable
        ``run(weights, X, states, lengths, mask)`` returns the output of every step, (m, s, d), and the final states in
        the order of `Network.outputs`, each (m, u), or None for all of them. `states` are the initial ones in the
        order of `Network.initial`; `lengths` (m,) and `mask` (m, s) are None where nothing is said of them.
    states : bool
        Whether it takes the initial states.
    lengths : tuple of str
        The kinds of lengths that it takes, of `lstm_checks.cases`.
    notes : tuple of str
        What is to be said of it.
    """

    run: Callable[..., tuple[Any, Sequence[Any] | None]]
    states: bool = True
    lengths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@undisturbed()
def stack_target(
    name: str,
    kind: str,
    stacked: Stacked,
    forms: Sequence[StackForm],
    library: Library,
    takes: str = "",
    demotes: bool = False,
    limits: SizeLimits = ANY_SIZES,
) -> Target:
    """Return the target of the first form that works.

    Parameters
    ----------
    name, kind : str
        What the user called it, and what it turned out to be.
    stacked : Stacked
        The network, and how it keeps the weights of it.
    forms : sequence of StackForm
    library : Library
    takes : str
        What it takes and what it is given, in words; said where no form works.
    demotes : bool
        Whether the framework is known to compute in float32 what comes and goes in float64.
    limits : SizeLimits
        Which sizes it takes.

    Raises
    ------
    AdapterError
        When no form works, with the reason why the first does not; or when it computes in low precision.
    """
    reasons: dict[bool, str] = {}
    working: list[tuple[StackForm, Evaluate, bool]] = []
    for form in forms:
        run = _run(form, stacked.net)
        evaluate = library.evaluator(run)
        try:
            refuse_low_inside(name, library, run, _probe(stacked, limits))
            finals, same = _check(form, evaluate, stacked, limits)
        except AdapterError:
            raise
        except (Exception, SystemExit) as error:
            ours = isinstance(error, FormError)
            reasons.setdefault(ours, str(error) if ours else describe_error(error))
            continue
        # A wrong one may look right where it is given no states: it is called with all that it takes.
        if working and working[0][0].states != form.states:
            break
        working = [(form, evaluate, finals)] if same else [*working, (form, evaluate, finals)]
        if same:
            break
    if working:
        return with_conventions(_as_target(name, kind, stacked, *working[0], library, demotes, limits))
    raise AdapterError(
        f"{name} is {with_article(kind)} with the weights of the network {stacked.net.name}, but cannot be called as "
        f"one: {takes and f'{takes}; '}{reasons.get(True) or reasons[False]}"
    )


def list_of_finals(given: Any, net: Network, by_kind: bool = False) -> list[Any] | None:
    """Return final states in the order of the network's outputs, from whatever a call returns besides its output.

    They come stacked, one array (places, m, u) for each state of a cell; or else one by one, place by place, or all of
    one kind before those of the next.
    """
    flat = list(_flat(given))
    places, count = len(net.places), len(net.places[0].states)
    if len(flat) == count and all(len(value.shape) == 3 and value.shape[0] == places for value in flat):
        return [value[k] for k in range(places) for value in flat]
    if len(flat) != places * count or any(len(value.shape) != 2 for value in flat):
        return None
    return [flat[j * places + k] for k in range(places) for j in range(count)] if by_kind else flat


def _flat(given: Any) -> Iterator[Any]:
    """Yield the arrays in what may be nested."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, tuple | list):
        for part in given:
            yield from _flat(part)
    elif given is not None:
        yield given


def _as_target(
    name: str,
    kind: str,
    stacked: Stacked,
    form: StackForm,
    evaluate: Evaluate,
    finals: bool,
    library: Library,
    demotes: bool,
    limits: SizeLimits,
) -> Target:
    """Return the target of a form that works."""
    net, call = stacked.net, _call(stacked, form, evaluate)
    dtypes = dtypes_of(_run(form, net), library, lambda dtype: _probe(stacked, limits, dtype))
    told = f"weights as in layout {stacked.layout.name}"

    def by_position(p: Mapping[str, Any], **inputs: Any) -> Any:
        outputs, pullback = call({**p, **inputs})
        return tuple(outputs.values()), pullback

    if demotes and "float64" in dtypes and not keeps_float64(by_position, *probe_arrays("float64", net, limits)):
        dtypes, told = ("float32",), f"{told}, float64 rounded to float32 inside"
    lacks = {LAST, *stacked.absent()}
    lacks |= set() if form.states else {STATES, *(f"d{n}" for n in net.initial)}
    lacks |= set() if finals else set(net.outputs[1:])
    notes = form.notes if form.lengths else (*form.notes, "it takes no lengths: every sample has all steps")
    return Target(
        name,
        f"{kind}, {told}",
        call,
        frozenset(lacks),
        dtypes,
        stacked.twins,
        compiles=library.compiles,
        notes=notes,
        cell=net,
        limits=limits,
        lengths=form.lengths,
    )


def _run(form: StackForm, net: Network) -> Run:
    """Return a form as a function of all its arrays by name, to the outputs in the network's order."""
    apart = {"X", *net.initial, LENGTHS_GIVEN, MASK}

    def run(arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        weights = {name: array for name, array in arrays.items() if name not in apart}
        states = [arrays[name] for name in net.initial]
        h, finals = form.run(weights, arrays["X"], states, arrays.get(LENGTHS_GIVEN), arrays.get(MASK))
        return h, *(finals if finals is not None else (None,) * (len(net.outputs) - 1))

    return run


def _call(stacked: Stacked, form: StackForm, evaluate: Evaluate) -> Callable[..., Any]:
    """Return the `call` of a target."""
    net = stacked.net
    kept = ("X", *net.initial) if form.states else ("X",)

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        given = ("X", *net.initial, *(name for name in (LENGTHS_GIVEN, MASK) if name in inputs))
        found, pull = evaluate({**stacked.pack(inputs), **{name: np.asarray(inputs[name]) for name in given}})

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            gradients = pull(tuple(cotangents.get(f"d{name}") for name in net.outputs))
            return {**stacked.gradients(gradients), **{f"d{name}": gradients[name] for name in kept}}

        return dict(zip(net.outputs, found, strict=True)), pullback

    return call


def _check(form: StackForm, evaluate: Evaluate, stacked: Stacked, limits: SizeLimits) -> tuple[bool, bool]:
    """Return whether a call gives final states, and whether its outputs are those of the network.

    Of several forms that work, which differ in the order of states, it is the one in which they are; the gradients are
    judged in it, which had no part in finding it. Raises where outputs are not those of the samples by themselves.
    """
    net, arrays = stacked.net, _probe(stacked, limits)
    p, inputs = probe_arrays("float32", net, limits)
    sizes = net.sizes_of({**p, **inputs})
    (h, *finals), _ = evaluate(arrays)
    wide = net.shape("h", *sizes)
    if tuple(h.shape) != wide:
        raise FormError(f"h of shape {tuple(h.shape)} came, expected that of every step, {wide}")
    for name, value in zip(net.outputs[1:], finals, strict=True):
        if value is not None and tuple(value.shape) != net.shape(name, *sizes):
            raise FormError(f"{name} of shape {tuple(value.shape)} came, expected {net.shape(name, *sizes)}")
    if len({value is None for value in finals}) > 1:
        raise FormError("some of the final states came, and others did not")
    X = arrays["X"].copy()
    X[0] += 1
    (changed, *_), _ = evaluate({**arrays, "X": X})
    if not np.array_equal(h[1:], changed[1:]):
        raise FormError("the output of one sample hangs on another")
    given = dict.fromkeys(stacked.absent()) | ({} if form.states else dict.fromkeys(net.initial))
    zeroed = {n: np.zeros_like(v) if n in given else v for n, v in {**p, **inputs}.items()}
    fc = net.forward({n: zeroed[n] for n in net.parameters}, zeroed["X"], *(zeroed[n] for n in net.initial))
    due = net.outputs_of(fc)
    came = zip(net.outputs, (h, *finals), strict=True)
    same = all(value is None or np.allclose(value, due[name], atol=SAME) for name, value in came)
    return finals[0] is not None, same


def _probe(stacked: Stacked, limits: SizeLimits, dtype: str = "float32") -> dict[str, Any]:
    """Return all its arrays by name, of the sizes with which things are tried out."""
    p, inputs = probe_arrays(dtype, stacked.net, limits)
    return {**stacked.pack(p), **inputs}
