"""Networks of the frameworks: what the adapters share for layers, directions and lengths.

An adapter says where a network's weights lie (`Stacked`) and in which forms it may be called; the form that works is
found by trying, as for one cell in `common.py`. What it does with lengths and padding is found in `network.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import ANY_SIZES, LAST, OF_CALLS, STATES, SizeLimits, Target, undisturbed, with_article
from lstm_checks.targets.common import (
    PROBE,
    SAME,
    AdapterError,
    Evaluate,
    FormError,
    Library,
    Reasons,
    Run,
    dtypes_of,
    keeps_float64,
    precision_of,
    probe_arrays,
    refuse_low_inside,
)
from lstm_checks.targets.learned import role
from lstm_checks.targets.network import arguments_taken, with_conventions
from lstm_checks.weights.namespace import namespace
from lstm_checks.weights.stacked import Stacked, by_its_names
from lstm_checks.words import series
from lstm_ref.cell import Cell, evaluate_forward
from lstm_ref.cells import cell_named
from lstm_ref.network import REVERSE, Network

LENGTHS_GIVEN, MASK = "lengths", "mask"
"""What a case says besides of a padded batch: how long its samples are, and, with holes, at which steps."""


def asked_in_reverse(cell: Cell) -> bool:
    """Return whether layers that all run in reverse are asked for: no name need say so then."""
    return isinstance(cell, Network) and cell.directions == (REVERSE,)


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
    masks : bool
        Whether it is given masks, and so has holes in them.
    """

    run: Callable[..., tuple[Any, Sequence[Any] | None]]
    states: bool = True
    lengths: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    masks: bool = False


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
    reasons = Reasons()
    working: list[tuple[StackForm, Evaluate, frozenset[str]]] = []
    for form in forms:
        run = _run(form, stacked.net)
        evaluate = library.evaluator(run)
        with reasons.of_one():
            refuse_low_inside(name, library, run, _probe(stacked, limits))
            missing, same = _check(form, evaluate, stacked, limits)
        if reasons.failed:
            continue
        # A wrong one may look right where it is given no states: it is called with all that it takes.
        if working and working[0][0].states != form.states:
            break
        working = [(form, evaluate, missing)] if same else [*working, (form, evaluate, missing)]
        if same:
            break
    if working:
        return with_conventions(_as_target(name, kind, stacked, *working[0], library, demotes, limits))
    raise AdapterError(
        f"{name} is {with_article(kind)} with the weights of the network {stacked.net.name}, but cannot be called as "
        f"one: {takes and f'{takes}; '}{reasons}"
    )


def shared_in(stacked: Stacked, besides: Mapping[str, tuple[int, ...]]) -> tuple[Stacked, Mapping[str, str]] | None:
    """Return a network with initial states that a module learns, and by each the array that holds it at all places.

    None where what there is besides the weights is something else, or some of the states alone.

    Parameters
    ----------
    stacked : Stacked
    besides : mapping
        The shapes of its further parameters by their names, which say which state it is: (places, 1, u), (places, u).
    """
    net, found = stacked.net, {role(name): name for name in besides}
    due = [size for size in (len(net.places), PROBE[3]) if size != 1]
    of_states = all([size for size in shape if size != 1] == due for shape in besides.values())
    if not of_states or {*found} != {*net.cell.initial} or len(found) != len(besides) or stacked.layout.projects:
        return None
    _, _, how = net.name.partition("@")
    shared = cell_named(f"{'+'.join((net.cell.name, *net.cell.initial))}@{how}")
    assert isinstance(shared, Network)
    return replace(stacked, net=shared), {state: found[state] for state in net.cell.initial}


def with_learned(form: StackForm, net: Network, arrays: Mapping[str, str], shapes: Mapping[str, Any]) -> StackForm:
    """Return a form without states as one of the states that a module learns; `shapes` are those of the arrays."""
    count = len(net.places[0].states)

    def run(weights: Mapping[str, Any], X: Any, states: Sequence[Any], lengths: Any, mask: Any) -> Any:
        own = {}
        for k, name in enumerate(arrays.values()):
            each = states[k::count]
            sizes = [each[0].shape[-1] if size == PROBE[3] else size for size in shapes[name]]
            own[name] = namespace(each[0]).concatenate(each, axis=0).reshape(*sizes)
        return form.run({**weights, **own}, X, states, lengths, mask)

    told = series([f"{name} is {state}" for state, name in arrays.items()])
    note = f"its initial states are its own parameters, at all places: {told}; it is called with none"
    return replace(form, run=run, states=True, notes=(*form.notes, note))


def first_that_fits(stacks: Sequence[Stacked], made: Callable[[Stacked], Target]) -> Target:
    """Return the target of the first of the networks that a module may be in which it can be called.

    Raises
    ------
    AdapterError
        What is said of the first where it can be called as none.
    """
    said: list[AdapterError] = []
    for stacked in stacks:
        try:
            return made(stacked)
        except AdapterError as error:
            said.append(error)
    raise said[0]


def list_of_finals(given: Any, net: Network, by_kind: bool = False, turned: bool = False) -> list[Any] | None:
    """Return final states in the order of the network's outputs, from whatever a call returns besides its output.

    They come stacked, one array (places, m, u) for each state of a cell; or else one by one, place by place, or all of
    one kind before those of the next. Where they are `turned`, the memory comes before the hidden state.
    """
    flat = list(_flat(given))
    places, count = len(net.places), len(net.places[0].states)
    kinds = range(count)[:: -1 if turned else 1]
    if len(flat) == count and all(len(value.shape) == 3 and value.shape[0] == places for value in flat):
        return [flat[j][k] for k in range(places) for j in kinds]
    if len(flat) != places * count or any(len(value.shape) != 2 for value in flat):
        return None
    return [flat[j * places + k if by_kind else k * count + j] for k in range(places) for j in kinds]


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
    missing: frozenset[str],
    library: Library,
    demotes: bool,
    limits: SizeLimits,
) -> Target:
    """Return the target of a form that works."""
    net, call = stacked.net, _call(stacked, form, evaluate)

    def found() -> tuple[str, ...]:
        return dtypes_of(_run(form, net), library, lambda dtype: _probe(stacked, limits, dtype))

    def smooth(whole: bool) -> bool:
        p, inputs = probe_arrays("float64", net, limits)
        m, steps = inputs["X"].shape[:2]
        lengths = {LENGTHS_GIVEN: np.full(m, steps)} if whole else {}

        def by_position(p: Mapping[str, Any], **inputs: Any) -> Any:
            outputs, pullback = call({**p, **inputs, **lengths})
            return tuple(outputs.values()), pullback

        return keeps_float64(by_position, p, inputs)

    def rounds() -> bool:
        # A framework may take another way where there is a mask: Keras on PyTorch rounds there alone.
        return demotes and not all(map(smooth, (False, True) if form.lengths else (False,)))

    dtypes, inside, _ = precision_of("float32", "", found, rounds)
    lacks = {LAST, *stacked.absent()}
    lacks |= set() if form.states else {STATES, *(f"d{n}" for n in net.initial)}
    lacks |= missing
    notes = form.notes if form.lengths else (*form.notes, "it takes no lengths: every sample has all steps")
    return Target(
        name,
        f"{kind}, weights as in layout {stacked.layout.name}{inside}",
        call,
        frozenset(lacks),
        dtypes,
        stacked.twins,
        compiles=library.compiles,
        notes=notes,
        cell=net,
        limits=limits,
        lengths=form.lengths,
        can=library.can & OF_CALLS,
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
        given: dict[str, Any] = {name: np.asarray(inputs[name]) for name in ("X", *net.initial)}
        lengths = np.asarray(inputs[LENGTHS_GIVEN]) if LENGTHS_GIVEN in inputs else None
        steps = None if lengths is None else _steps_of(lengths, given["X"].shape[1], form.masks)
        if steps is not None:
            given |= {LENGTHS_GIVEN: lengths, MASK: steps.mask, "X": steps.spread(given["X"])}
        (h, *finals), pull = evaluate({**stacked.pack(inputs), **given})
        outputs = dict(zip(net.outputs, (h if steps is None else steps.gathered(h), *finals), strict=True))

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            named = [cotangents.get(f"d{name}") for name in net.outputs]
            named[0] = named[0] if steps is None else steps.spread(named[0])
            gradients = dict(pull(tuple(named)))
            gradients["X"] = gradients["X"] if steps is None else steps.gathered(gradients["X"])
            return {**stacked.gradients(gradients), **{f"d{name}": gradients[name] for name in kept}}

        return outputs, pullback

    return call


@dataclass(frozen=True)
class _Steps:
    """Where the steps of each sample of a padded batch are put: `order` (m, s) has the places of its own steps first.

    They keep their order; what is masked lies in the padding, or in holes among them.
    """

    order: Any
    mask: Any

    def spread(self, values: Any) -> Any:
        """Return an array (m, s, ...) with each sample's steps where they are put."""
        if values.shape[:2] != self.order.shape:
            return values  # of an output that ends with the longest sample
        return np.take_along_axis(values, np.argsort(self.order, axis=1)[..., np.newaxis], axis=1)

    def gathered(self, values: Any) -> Any:
        """Return an array (m, s, ...) with each sample's steps one after the other, and the padding behind them."""
        if values.shape[:2] != self.order.shape:
            return values  # of another shape than was expected, which is for those to say who judge it
        return np.take_along_axis(values, self.order[..., np.newaxis], axis=1)


def _steps_of(lengths: Any, s: int, holes: bool) -> _Steps:
    """Return where the steps of samples are put: with holes, where there may be any, if the lengths add up odd."""
    rng = np.random.default_rng([s, *lengths])
    order = np.broadcast_to(np.arange(s), (len(lengths), s)).copy()
    if holes and lengths.sum() % 2:
        for row, n in zip(order, lengths, strict=True):
            own = np.sort(rng.permutation(s)[:n])
            own = own + (0 < n < s and own[-1] == n - 1)  # steps in a row from the first have no hole before them
            row[:] = [*own, *(k for k in range(s) if k not in own)]
    mask = np.zeros(order.shape, bool)
    np.put_along_axis(mask, order, np.arange(s) < lengths[:, np.newaxis], axis=1)
    return _Steps(order, mask)


def _check(form: StackForm, evaluate: Evaluate, stacked: Stacked, limits: SizeLimits) -> tuple[frozenset[str], bool]:
    """Return which outputs a call does not give, and whether its outputs are those of the network.

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
    X = arrays["X"].copy()
    X[0] += 1
    (changed, *_), _ = evaluate({**arrays, "X": X})
    if not np.array_equal(h[1:], changed[1:]):
        raise FormError("the output of one sample hangs on another")
    given = dict.fromkeys(stacked.absent()) | ({} if form.states else dict.fromkeys(net.initial))
    zeroed = {n: np.zeros_like(v) if n in given else v for n, v in {**p, **inputs}.items()}
    due = evaluate_forward(net, zeroed)
    came = zip(net.outputs, (h, *finals), strict=True)
    same = all(value is None or np.allclose(value, due[name], atol=SAME) for name, value in came)
    return frozenset(name for name, value in zip(net.outputs[1:], finals, strict=True) if value is None), same


def _probe(stacked: Stacked, limits: SizeLimits, dtype: str = "float32") -> dict[str, Any]:
    """Return all its arrays by name, of the sizes with which things are tried out."""
    p, inputs = probe_arrays(dtype, stacked.net, limits)
    return {**stacked.pack(p), **inputs}


def function_network(
    function: Callable[..., Any], name: str, net: Network, library: Library, kind: str, native: Callable[[Any], Any]
) -> Target | None:
    """Return the target of a function of a framework's arrays, in the by-name form without a pullback; None if none.

    Parameters
    ----------
    function : callable
        ``outputs = function(p, X, states, lengths)``, or with the first three or two of these.
    name : str
    net : Network
    library : Library
        What differentiates it.
    kind : str
        What its arrays are called.
    native : callable
        Returns the framework's array of NumPy's.

    Raises
    ------
    AdapterError
        Where it returns outputs by name, and they are not those of the network.
    """
    taken = arguments_taken(function)
    stacked = by_its_names(net)
    if not taken:
        return None

    def outputs(p: Mapping[str, Any], X: Any, states: Any, lengths: Any) -> Any:
        if lengths is None and taken == 4:
            lengths = native(np.full(X.shape[0], X.shape[1]))
        return function(*(p, X, dict(zip(net.initial, states, strict=True)), lengths)[:taken])

    p, inputs = probe_arrays("float32", net)
    given = {key: native(value) for key, value in {**p, **inputs}.items()}
    try:
        with undisturbed():
            found = outputs({n: given[n] for n in p}, given["X"], [given[n] for n in net.initial], None)
    except (Exception, SystemExit):
        return None
    if not isinstance(found, Mapping) or type(found.get("h")) is not type(given["X"]):
        return None

    def run(weights: Any, X: Any, states: Any, lengths: Any, mask: Any) -> Any:
        found = outputs(weights, X, states, lengths)
        return found["h"], [found.get(key) for key in net.outputs[1:]]

    form = StackForm(run, taken > 2, LENGTHS if taken == 4 else ())
    return stack_target(name, f"function by name of {kind}", stacked, [form], library)
