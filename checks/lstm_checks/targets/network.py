"""Networks of cells as targets: what they do with lengths and padding, found out; and functions in the by-name form.

A function takes its parameters and its states by name, `lstm(p, X, states, lengths)`, and returns its outputs by name
and a pullback from their cotangents to the gradients. What it takes of lengths, and what it puts into the padding, are
conventions: they are found out by small calls, and said in the report.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_checks.calling import call_target, to_numpy
from lstm_checks.cases import LENGTHS, Case
from lstm_checks.contract import (
    KEEPS,
    LAST,
    OF_CALLS,
    STATES,
    Call,
    ContractError,
    Target,
    describe_value,
    not_interrupted,
    signature_in_words,
    undisturbed,
)
from lstm_checks.targets.function import whole_sizes
from lstm_ref.network import Network

FORM = "function by name"

EXPECTED = (
    "(p, X, states, lengths), (p, X, states) or (p, X), all but X and lengths mappings by name, that returns outputs "
    "and a pullback from cotangents to gradients, mappings by name, too"
)

TRIED = (3, 4, 2, 3)
"""The sizes m, s, e, u with which lengths are tried out."""

SEEDS = (0, 4, 21)
"""The seeds with which: of each kind that is in no order one draws three lengths, not in falling order."""

_UNSORTED = ("ragged", "short")


def from_network_function(function: Callable[..., Any], name: str, net: Network) -> Target:
    """Return the target of a function in the by-name form.

    Parameters
    ----------
    function : callable
        ``outputs, pullback = function(p, X, states, lengths)`` and ``gradients = pullback(cotangents)``: `p` and
        `states` hold the network's parameters and initial states by name, `lengths` is an array (m,) of int, and the
        three others are mappings of arrays by name. It may take no lengths, and no states.

    Raises
    ------
    TypeError
        "lstm takes (a, b, c, d, e), expected (p, X, states, lengths), ...".
    """
    taken = arguments_taken(function)
    if not taken:
        raise TypeError(f"{name} takes {signature_in_words(function)}, expected {EXPECTED}")

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        X = inputs["X"]
        m, s = X.shape[:2]
        p = {key: inputs[key] for key in net.parameters}
        states = {key: inputs[key] for key in net.initial}
        lengths = inputs["lengths"] if "lengths" in inputs else np.full(m, s)
        result = function(*(p, X, states, lengths)[:taken])
        form = "expected outputs by name and a pullback"
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ContractError(f"the call returned {describe_value(result)}, {form}")
        outputs, pullback = result
        if not isinstance(outputs, Mapping) or not callable(pullback):
            raise ContractError(f"the call returned {describe_value(outputs)} and {describe_value(pullback)}, {form}")
        return {key: outputs.get(key) for key in net.outputs}, pullback

    lacks = {LAST, *getattr(function, "unsupported", ())}
    if taken == 2:
        lacks |= {STATES, *(f"d{key}" for key in net.initial)}
    target = Target(
        name, FORM, call, frozenset(lacks), cell=net, lengths=LENGTHS if taken == 4 else (), can=OF_CALLS - {KEEPS}
    )
    return with_conventions(with_what_it_lacks(target))


def arguments_taken(function: Callable[..., Any]) -> int:
    """Return with how many arguments a function in the by-name form is called; 0 if with none of these numbers."""
    return next((count for count in (4, 3, 2) if _accepts(function, count)), 0)


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def with_what_it_lacks(target: Target) -> Target:
    """Return the target with the outputs and gradients that a small call gave as None, or not at all, as lacking."""
    case = _small(target, "")
    outcome = call_target(target, case.arrays.copy(), case.sequences, backward=False)
    if outcome.error:
        return target
    cell = target.cell
    lacks = {name for name in cell.outputs if outcome.values.get(name) is None}
    target = replace(target, lacks=target.lacks | lacks)
    case = _small(target, "")
    outcome = call_target(target, case.arrays.copy(), case.sequences)
    if outcome.error:
        return target
    gradients = {name for name in cell.gradients if outcome.values.get(name) is None}
    # A gradient that does not come at all is missed, unless none does: such a function goes forward only.
    lacks = {name for name in gradients if name in outcome.values or len(gradients) == len(cell.gradients)}
    return replace(target, lacks=target.lacks | lacks)


def _small(target: Target, lengths: str, seed: int = 1) -> Case:
    """Return a case to try a target on."""
    cotangents = "+".join(["every", *(kind for kind in "hC" if kind not in target.without_finals)])
    cell = target.cell
    sizes = target.limits.fit(dict(zip(cell.letters, whole_sizes(TRIED, cell), strict=True)))
    return Case.of(
        tuple(sizes.values()),
        target.dtypes[0],
        cotangents=cotangents,
        states=STATES not in target.lacks,
        seed=seed,
        cell=cell,
        lengths=lengths,
    )


def with_conventions(target: Target) -> Target:
    """Return a target with the lengths that it takes, and what it puts into the padding left out of what is judged."""
    if not target.lengths:
        return target
    refused: dict[str, str] = {}
    for kind in target.lengths:
        for seed in SEEDS:
            # Forward alone: the pullback of outputs that end with the longest sample wants cotangents that do.
            case = _small(target, kind, seed)
            outcome = call_target(target, case.arrays.copy(), case.sequences, backward=False)
            if outcome.error and kind not in refused:
                refused[kind] = outcome.sentence
    notes = []
    # That samples of no steps, or in an order that is not that of the lengths, are refused is a convention. Whatever
    # else raises is for the examples to find.
    if set(refused) <= {"empty", *_UNSORTED} and (not set(_UNSORTED) & set(refused) or set(_UNSORTED) <= set(refused)):
        notes = [f"not judged at {kind} lengths, which it refuses: {why}" for kind, why in refused.items()]
        target = replace(target, lengths=tuple(kind for kind in target.lengths if kind not in refused))
    found = _padding_of(target)
    if found is not None:
        notes += found.notes
        target = replace(target, call=_left_out(target.call, found))
    return replace(target, notes=(*target.notes, *notes))


@dataclass(frozen=True)
class Padding:
    """What a target does with the outputs in the padding.

    Attributes
    ----------
    cut : bool
        Whether its output ends with the longest sample.
    judged : bool
        Whether it is zero there, which is judged.
    notes : tuple of str
    """

    cut: bool
    judged: bool
    notes: tuple[str, ...]


def _padding_of(target: Target) -> Padding | None:
    """Return what a target does with the outputs in the padding; None where they are zero to the last step."""
    cut, held, others = False, True, False
    for kind in (kind for kind in ("sorted", "short") if kind in target.lengths):
        for seed in SEEDS:
            case = _small(target, kind, seed)
            arrays = case.arrays.copy()
            lengths = np.array(arrays.cell.lengths)
            try:
                with undisturbed():
                    outputs, _ = target.call(arrays.given, True)
                    h = np.asarray(to_numpy(outputs["h"]))
            except BaseException as error:
                not_interrupted(error)
                return None
            longest = int(lengths.max())
            if h.ndim != 3 or h.shape[1] not in (case.s, longest):
                return None
            cut |= h.shape[1] < case.s
            for sample, steps in zip(h, lengths, strict=True):
                padding = sample[steps:]
                others |= bool(padding.any())
                held &= bool(np.all(padding == sample[steps - 1])) if steps else True
    if not cut and not others:
        return None
    what = "its last output is repeated there" if held else "it is not zero there"
    notes = ["its output ends with the longest sample, and is taken for zero beyond"] if cut else []
    notes += [f"its output in the padding is not judged: {what}"] if others else []
    return Padding(cut, not others, tuple(notes))


def _left_out(call: Call, padding: Padding) -> Call:
    """Return a call whose outputs are as long as X and zero where they are not judged, and so are their cotangents."""

    def left_out(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        outputs, pullback = call(inputs, sequences)
        if "lengths" not in inputs:
            return outputs, pullback
        m, s = inputs["X"].shape[:2]
        lengths = np.asarray(inputs["lengths"])
        beyond = np.arange(s) >= lengths[:, np.newaxis]
        h = to_numpy(outputs["h"])
        steps = h.shape[1] if isinstance(h, np.ndarray) and h.ndim == 3 else s
        if padding.cut and steps == max(lengths.max(), 1) < s and h.shape[0] == m:
            h = np.concatenate([h, np.zeros((m, s - steps, h.shape[2]), h.dtype)], axis=1)
        if not padding.judged and getattr(h, "shape", ())[:2] == (m, s):
            h = np.where(beyond[..., np.newaxis], h.dtype.type(0), h)

        def pull(cotangents: Mapping[str, Any]) -> Any:
            dh = cotangents["dh"]
            if not padding.judged:
                dh = np.where(beyond[..., np.newaxis], dh.dtype.type(0), dh)
            return pullback({**cotangents, "dh": np.ascontiguousarray(dh[:, :steps])})

        return {**outputs, "h": h}, pull

    return left_out
