"""Other ways to differentiate a target than one pullback: along a direction, twice, sample by sample, in training.

A library gives each as a `Way`, in its own arrays; here that becomes the `call_as` of a target, in the contract's
names.
"""

import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.contract import INSTANCES, THREADS, Target, not_interrupted, weights_of_sample
from lstm_ref.cell import Cell


@dataclass(frozen=True)
class Part:
    """Some of what comes of a way, and what stands before its names: "t" of derivatives along a direction, say.

    `outputs` in the cell's order, `gradients` and `inputs` by the framework's own names, None where there are none.
    """

    words: str
    outputs: Sequence[Any] | None = None
    gradients: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """What a way is asked: arrays, a direction of them, and cotangents in the order of the outputs.

    `how` and `sequences` are those of `call_as`; `apart` are the arrays whose first axis is that of samples; `given` is
    whatever came, by the contract's names; `held` are arrays besides that nobody gave a value, which stay as they are;
    `stacked` are those with an axis of samples before their own, since each sample has one of its own.
    """

    arrays: Mapping[str, Any]
    direction: Mapping[str, Any]
    cotangents: tuple[Any, ...]
    how: Mapping[str, Any]
    sequences: bool
    apart: tuple[str, ...]
    given: Mapping[str, Any]
    held: frozenset[str] = frozenset()
    stacked: frozenset[str] = frozenset()


Way = Callable[[Asked], Sequence[Part]]


@dataclass(frozen=True)
class Packing:
    """How the contract's arrays become a framework's, and what comes of these the contract's.

    Attributes
    ----------
    pack : callable
        From the inputs by name, and whether they are a direction, to the framework's arrays.
    gradients, inputs : callable
        From the framework's gradients, or arrays, to those of the contract.
    extras : frozenset of str
        Arrays of the framework's besides, of which a gradient is given only where there is a value of them.
    """

    pack: Callable[[Mapping[str, Any], bool], Mapping[str, Any]]
    gradients: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    inputs: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    extras: frozenset[str] = frozenset()


def in_ways(
    cell: Cell, call_as: Callable[..., Any], ways: Mapping[str, Way], packing: Packing
) -> Callable[..., tuple[Mapping[str, Any], Callable[[Mapping[str, Any]], Mapping[str, Any]]]]:
    """Return the `call_as` of a target that can be asked in some ways besides."""

    def asked(inputs: Mapping[str, Any], sequences: bool, how: Mapping[str, Any]) -> Any:
        if how.get("way") not in ways:
            return call_as(inputs, sequences, how)
        outputs, _ = call_as(inputs, sequences, {})
        arrays = packing.pack(inputs, False)

        def answer(given: Mapping[str, Any]) -> dict[str, Any]:
            along = {name: given[f"t{name}"] for name in inputs if f"t{name}" in given}
            direction = packing.pack(along, True) if along else {}
            cotangents = tuple(given.get(f"d{name}") for name in cell.outputs)
            apart = ("X", *(name for name in cell.initial if name not in cell.shared))
            left = packing.extras - inputs.keys()
            stacked = _of_each(inputs, how.get("each", ()), packing, apart)
            every = {**arrays, **stacked}
            asked_for = Asked(every, direction, cotangents, how, sequences, apart, given, left, frozenset(stacked))
            parts = ways[how["way"]](asked_for)
            return {name: value for part in parts for name, value in _named(part, cell, packing, left).items()}

        return outputs, answer

    return asked


def _of_each(
    inputs: Mapping[str, Any], names: Collection[str], packing: Packing, apart: Collection[str]
) -> dict[str, Any]:
    """Return a framework's arrays, one for each sample, where samples have these parameters of their own."""
    if not names:
        return {}
    own = [
        packing.pack({n: weights_of_sample(v, k) if n in names else v for n, v in inputs.items()}, False)
        for k in range(len(inputs["X"]))
    ]
    return {name: np.stack([one[name] for one in own]) for name in own[0] if name not in apart}


def _named(part: Part, cell: Cell, packing: Packing, left: Collection[str]) -> dict[str, Any]:
    """Return what a part holds by the contract's names, each after its words; no gradients of what is `left` out."""
    found: dict[str, Any] = {}
    if part.outputs is not None:
        outputs = zip(cell.outputs, part.outputs, strict=True)
        found |= {name: value for name, value in outputs if value is not None}
    if part.gradients is not None:
        gradients = packing.gradients(part.gradients)
        found |= {name: value for name, value in gradients.items() if name.removeprefix("d") not in left}
    if part.inputs is not None:
        found |= packing.inputs(part.inputs)
    return {f"{part.words}{name}": np.array(value) for name, value in found.items()}


def as_they_are(arrays: Mapping[str, Any], is_direction: bool) -> Mapping[str, Any]:
    """Return arrays in the names that they have."""
    return arrays


def with_threads(target: Target, found: Any) -> Target:
    """Return the target of something that may be called from several threads, if its `thread_safe` says so."""
    if not getattr(found, "thread_safe", False) or THREADS in target.can or target.cell.places:
        return target

    def call_as(inputs: Mapping[str, Any], sequences: bool, how: Mapping[str, Any]) -> Any:
        own = target.call_as if how else None
        return target.call(inputs, sequences) if own is None else own(inputs, sequences, how)

    def of_thread(inputs: Mapping[str, Any], number: int, sequences: bool) -> Any:
        # A layer keeps one forward pass: each thread has one of its own.
        return call_as(inputs, sequences, {"instance": number + 1} if INSTANCES in target.can else {})

    ways = {THREADS: partial(_in_threads, of_thread)}
    return replace(
        target, can=target.can | {THREADS}, call_as=in_ways(target.cell, call_as, ways, Packing(as_they_are))
    )


_THREADS, _ROUNDS, _SWITCH = 4, 8, 1e-6
"""How many threads call, how often each, and after how many seconds one is to make way for the next."""


def _in_threads(call: Callable[..., Any], asked: Asked) -> list[Part]:
    """Return the answers to calls from several threads; `call(inputs, number, sequences)` is what a thread asks.

    Every other thread asks of other values. Of each that asks of the case there comes the first answer that differs
    from what comes when nobody else calls, or else the last.
    """

    def once(number: int, sign: float) -> tuple[list[Any], dict[str, Any]]:
        inputs = {name: sign * np.array(value) for name, value in asked.arrays.items()}
        outputs, pullback = call(inputs, number, asked.sequences)
        gradients = pullback({name: np.array(value) for name, value in asked.given.items()})
        return [np.array(value) for value in outputs.values()], {n: np.array(v) for n, v in gradients.items()}

    alone = once(0, 1.0)
    found: dict[int, tuple[list[Any], dict[str, Any]]] = {}
    errors: list[BaseException] = []
    gate = threading.Barrier(_THREADS)

    def work(number: int) -> None:
        try:
            gate.wait()
            for _ in range(_ROUNDS):
                found[number] = once(number, 1.0 if number % 2 == 0 else -1.0)
                if number % 2 == 0 and not _equal(found[number], alone):
                    break
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(_THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    if errors:
        not_interrupted(errors[0])
        raise errors[0]
    return [Part(f"{number}: ", *found[number]) for number in range(0, _THREADS, 2)]


def _equal(one: tuple[list[Any], dict[str, Any]], other: tuple[list[Any], dict[str, Any]]) -> bool:
    """Return whether two answers are one to the bit."""
    pairs = [*zip(one[0], other[0], strict=True), *((one[1].get(name), value) for name, value in other[1].items())]
    return all(isinstance(a, np.ndarray) and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
