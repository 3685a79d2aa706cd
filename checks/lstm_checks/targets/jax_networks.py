"""What Flax and Equinox share for networks: how a module of theirs is called with states and lengths, and functions.

Which argument of a module takes the lengths of samples, and which the states, is told by their names; in which order
states come and go is found out by trying.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from lstm_checks.cases import LENGTHS
from lstm_checks.contract import signature_in_words
from lstm_checks.targets import common
from lstm_checks.targets.common import PROBE, AdapterError
from lstm_checks.targets.stacks import StackForm, list_of_finals
from lstm_checks.weights.layouts import LAYOUTS, Layout, without_biases
from lstm_checks.weights.recurrent import LAYOUTS as OTHERS
from lstm_checks.weights.recurrent import Kept
from lstm_checks.weights.stacked import BACKWARDS, Stacked, StackError, as_stacks, find_places, natural
from lstm_ref.cell import Cell
from lstm_ref.network import Network

WITHOUT_EMPTY = tuple(kind for kind in LENGTHS if kind != "empty")

Batched = Callable[[Mapping[str, Any], Any, int, dict[str, Any]], Any]
"""``raw = call(weights, X, u, keywords)``, of a whole batch; arrays in `keywords` have the samples first."""


def stacks_in(
    shapes: Mapping[str, tuple[int, ...]],
    name: str,
    frameworks: Sequence[str],
    cell_of: Callable[[Cell], Cell],
    goes_back: Callable[[str], bool] = lambda name: False,
    layouts: Sequence[Layout] = (),
) -> list[Stacked]:
    """Return the networks that a module of the sizes `PROBE` may be, by the names and shapes of its weights.

    Parameters
    ----------
    shapes : mapping
        The shape of each array by its name.
    name : str
        What the user called it.
    frameworks : sequence of str
        The names of the layouts in which its cells may be.
    cell_of : callable
        The cell with its activations, from that of the weights.
    goes_back : callable
        Whether what has a name is known to run in reverse, though its name has no such word in it.
    layouts : sequence of Layout
        Further ones, of which nothing is recognised elsewhere.

    Raises
    ------
    AdapterError
        Where there are cells, and they make no network, or there are weights besides.
    """
    ordered = {key: shapes[key] for key in sorted(shapes, key=natural)}
    known = [*LAYOUTS.values(), *(one for of in OTHERS.values() for one in of), *layouts]
    layouts = [one for layout in known if layout.name in frameworks for one in (layout, without_biases(layout))]
    places = find_places(ordered, PROBE[3], layouts)
    if not places:
        return []
    if others := sorted(shapes.keys() - {key for kept in places for key in kept.names}):
        raise common.beside(name, others, {kept.prefix.rstrip("./") for kept in places})
    try:
        cell = cell_of(places[0].cell)

        def is_reverse(kept: Kept) -> bool:
            return bool(BACKWARDS.search(kept.names[0])) or goes_back(kept.names[0])

        return as_stacks(places, ordered, *PROBE[2:], cell, is_reverse)
    except StackError as error:
        raise AdapterError(f"{name} has the weights of {len(places)} cells, but {error}") from error


def forms_of(
    call: Batched, function: Callable[..., Any], name: str, net: Network, lengths: tuple[str, ...] = LENGTHS
) -> list[StackForm]:
    """Return the forms in which a module may be called whose `__call__` is a function of x, and states and lengths."""
    arguments = list(inspect.signature(function).parameters.values())[1:]
    names = [one.name for one in arguments if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    names = [key for key in names if key not in ("key", "rngs", "mask")]
    of_lengths = [key for key in names if "len" in key]
    of_states = [key for key in names if key not in of_lengths]
    if len(of_lengths) > 1 or len(of_states) > 1:
        raise AdapterError(
            f"{name} takes {signature_in_words(function)}, expected x, the lengths, and the states in one"
        )

    def form(given: Callable[..., Any] | None, by_kind: bool, turned: bool) -> StackForm:
        def run(weights: Mapping[str, Any], X: Any, states: Any, lengths: Any, mask: Any) -> Any:
            keywords: dict[str, Any] = {}
            if of_lengths:
                keywords[of_lengths[0]] = jnp.full(X.shape[:1], X.shape[1]) if lengths is None else lengths
            if given is not None:
                keywords[of_states[0]] = given(states, turned)
            raw = call(weights, X, states[len(net.places[0].states) - 1].shape[-1], keywords)
            h, rest = output_and_rest(raw, X.shape[:2])
            return h, list_of_finals(rest, net, by_kind, turned)

        return StackForm(run, given is not None, lengths if of_lengths else ())

    count = len(net.places[0].states)
    turns = (False, True) if count > 1 else (False,)
    ways = [lambda states, turned: by_place(states, count, turned)] if of_states else []
    found = [form(way, False, turned) for way in ways for turned in turns]
    found += [form(lambda states, turned: stacked(states, count, turned), False, t) for t in turns if of_states]
    found += [form(None, by_kind, turned) for by_kind in ((False, True) if count > 1 else (False,)) for turned in turns]
    return found


def by_place(states: Sequence[Any], count: int, turned: bool) -> Any:
    """Return the states of all places as one (h, C) a place, or (C, h); of one place by itself."""
    pairs = [tuple(states[k : k + count][:: -1 if turned else 1]) for k in range(0, len(states), count)]
    found = [pair if count > 1 else pair[0] for pair in pairs]
    return found[0] if len(found) == 1 else tuple(found)


def stacked(states: Sequence[Any], count: int, turned: bool) -> Any:
    """Return the states of all places as one array for each of a cell's, the samples first: (m, places, u)."""
    joined = tuple(jnp.stack(states[k::count], axis=1) for k in range(count))[:: -1 if turned else 1]
    return joined if count > 1 else joined[0]


def output_and_rest(raw: Any, batch: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the output of every step, (m, s, d), of what a call returned, and what there is besides."""
    if not isinstance(raw, tuple | list):
        return raw, None
    for k, value in enumerate(raw):
        if getattr(value, "ndim", 0) == 3 and value.shape[:2] == batch:
            rest = [*raw[:k], *raw[k + 1 :]]
            return value, [_places_first(part, batch[0]) for part in rest]
    return raw[0], None


def _places_first(part: Any, m: int) -> Any:
    """Return states with the places first where arrays have the samples first: (m, places, u)."""
    if isinstance(part, tuple | list):
        return [_places_first(one, m) for one in part]
    return part.swapaxes(0, 1) if getattr(part, "ndim", 0) == 3 and part.shape[0] == m else part
