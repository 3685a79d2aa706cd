"""A drawn problem on which readings of a layer are tried, and which of them make its forward pass the reference's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.binding.places import Place, axes_of
from lstm_checks.binding.slots import GATES
from lstm_checks.contract import PLAIN
from lstm_checks.weights.layouts import SECOND, Layout
from lstm_ref.cell import Cell, evaluate, run_forward

Array = np.ndarray[Any, Any]

SIZES = {"m": 3, "s": 6, "e": 7, "u": 5}
"""All different, and so are 4e, 4u, e + u and these plus one: a shape tells which weights an array may hold."""

OTHER_SIZES = {"m": 2, "s": 3, "e": 5, "u": 11}
"""Of the same kind, with more units than elements."""

ORDERS = tuple(permutations(GATES))

BATCH, SAMPLE, STEP, BOTH = "ms", "s", "m", ""
"""What one call runs over: samples and steps, the steps of one sample, one step of a batch, or one step of one."""

FORGET = (0.0, 1.0)
"""What a layer may add to the forget gate at run time, beside its biases."""


@dataclass(frozen=True)
class Problem:
    """Inputs and cotangents for one call that runs over samples, steps, both or neither."""

    over: str = BATCH
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    seed: int = 0
    dtype: str = "float64"

    @property
    def called(self) -> dict[str, int]:
        """The sizes as one call has them."""
        return {k: size if k in "eu" or k in self.over else 1 for k, size in self.sizes.items()}

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """X, h0 and C0, and the cotangents dh and dCn, small so that clipping does nothing to their gradients."""
        rng, n = np.random.default_rng(self.seed), self.called
        scales = {"X": 0.8, "h0": 0.8, "C0": 0.8, "dh": 0.1, "dCn": 0.1}
        axes = {"X": "mse", "h0": "mu", "C0": "mu", "dh": "msu", "dCn": "mu"}
        drawn = {k: scale * rng.standard_normal([n[axis] for axis in axes[k]]) for k, scale in scales.items()}
        return {name: value.astype(self.dtype) for name, value in drawn.items()}

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """Return numbers for a layer's own arrays."""
        rng = np.random.default_rng(self.seed + 1)
        return {name: (0.4 * rng.standard_normal(shape)).astype(self.dtype) for name, shape in shapes.items()}

    def states(self, given: Sequence[str]) -> dict[str, Array]:
        """Return the initial states, zero where they are not given."""
        return {name: self.arrays[name] if name in given else 0 * self.arrays[name] for name in PLAIN.initial}


@dataclass(frozen=True)
class Reading:
    """Which array holds which weights, in their true order of gates, and what is added to the forget gate."""

    layout: Layout
    forget: float = 0.0
    own_order: bool = True

    def parameters(self, raw: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        """Return the twelve parameters that a layer's own arrays hold."""
        values = unpacked(self.layout, raw, sizes)
        return values | {"bf": values["bf"] + self.forget}


def unpacked(layout: Layout, raw: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return the parameters that arrays hold by name: two biases added, none zero."""
    e, u = sizes["e"], sizes["u"]
    values: dict[str, Array] = {}
    for block in layout.blocks:
        values |= block.unpack(np.asarray(raw[block.name], np.float64), e, u)
    for gate in GATES:
        values[f"b{gate}"] = values.get(f"b{gate}", np.zeros((1, u))) + values.pop(SECOND + gate, 0.0)
    return values


def in_order(layout: Layout, order: Sequence[str]) -> Layout:
    """Return a layout whose gates stood in places, with the gates that an order puts there."""
    true = dict(zip(order, GATES, strict=True))
    blocks = [replace(block, gates="".join(true[place] for place in block.gates)) for block in layout.blocks]
    return replace(layout, blocks=tuple(blocks), name=layout.name)


@dataclass(frozen=True)
class Due:
    """What the reference gives under one layout in all 24 orders of its gates: h, and C of every step."""

    layout: Layout
    forget: float
    h: Array
    C: Array

    def reading(self, k: int) -> Reading:
        """Return the reading of the k-th order."""
        return Reading(in_order(self.layout, ORDERS[k]), self.forget, ORDERS[k] == tuple(GATES))


def dues(
    layouts: Sequence[Layout],
    raw: Mapping[str, Array],
    problem: Problem,
    given: Sequence[str],
    cell: Cell,
    orders: Sequence[Sequence[str]] = ORDERS,
) -> Iterator[Due]:
    """Yield what is due under each layout, and each thing that may be added to the forget gate."""
    places = np.array([[GATES.index(gate) for gate in order] for order in orders])
    for layout in layouts:
        values = unpacked(layout, raw, problem.called)
        stacked = {kind: np.stack([values[kind + gate] for gate in GATES]) for kind in "UVb"}
        p = {kind + gate: stacked[kind][places[:, k]] for kind in "UVb" for k, gate in enumerate(GATES)}
        for forget in FORGET:
            arrays = {**p, "bf": p["bf"] + forget, "X": problem.arrays["X"], **problem.states(given)}
            with np.errstate(all="ignore"):
                fc = run_forward(cell, arrays, ("h", cell.states[-1].kept_as))
            yield Due(layout, forget, fc["h"], fc[cell.states[-1].kept_as])


def same(values: Array, came: Array) -> Array:
    """Return for each of several values whether it is what came."""
    with np.errstate(all="ignore"):
        error = np.max(np.abs(values - came).reshape(len(values), -1), axis=1)
    limit = tolerance.READING[str(came.dtype)] if str(came.dtype) in tolerance.READING else tolerance.READING["float32"]
    return np.asarray(error <= limit * float(np.max(np.abs(came), initial=1e-300)))


def gradients_due(
    p: Mapping[str, Array], problem: Problem, given: Sequence[str], cell: Cell, dCn: bool = True
) -> dict[str, Array]:
    """Return the reference's gradients by name; without dCn of dh alone."""
    arrays = {**p, "X": problem.arrays["X"], **problem.states(given), "dh": problem.arrays["dh"]}
    zero = np.zeros_like(problem.arrays["dCn"])
    arrays |= {"dhn": zero, "dCn": problem.arrays["dCn"] if dCn else zero}
    found: dict[str, Array] = evaluate(cell, {name: np.asarray(v, np.float64) for name, v in arrays.items()})
    return found


@dataclass(frozen=True)
class Output:
    """Where a value of an output lies: its place, its axes, which part of it, and the value as (m, s, u) or (m, u)."""

    place: Place
    axes: str
    part: str
    full: Array


def outputs_in(places: Sequence[Place], problem: Problem, letters: str) -> list[Output]:
    """Return the arrays that have the axes of an output, the shallowest first.

    With an axis of steps one longer there is the initial state before the first step, or after the last.
    """
    found: list[Output] = []
    sizes = {letter: problem.called[letter] for letter in letters}
    longer = sizes | {"s": sizes.get("s", 1) + 1}
    for place in places:
        axes = axes_of(place.value.shape, sizes)
        if axes:
            found.append(Output(place, axes, "", as_full(place.value, axes, letters)))
        elif sizes.get("s", 1) > 1 and (axes := axes_of(place.value.shape, longer)) and "s" in axes:
            whole = as_full(place.value, axes, letters)
            found += [Output(place, axes, "[:, 1:]", whole[:, 1:]), Output(place, axes, "[:, :-1]", whole[:, :-1])]
        elif letters == "msu" and place.value.shape == (sizes["m"] * sizes["s"], sizes["u"]) and len(problem.over) > 1:
            # Steps and samples on one axis, as before an output layer.
            for axes in ("smu", "msu"):
                value = place.value.reshape([sizes[axis] for axis in axes])
                apart = replace(place, text=f"{place.text}.reshape({axes[0]}, {axes[1]}, -1)", value=value)
                found.append(Output(apart, axes, "", as_full(value, axes, letters)))
    return sorted(found, key=lambda one: one.place.depth)


def as_full(value: Array, axes: str, letters: str) -> Array:
    """Return an array with all axes of some letters in their order."""
    kept = [letter for letter in axes if letter != "1"]
    value = value.reshape([n for n, letter in zip(value.shape, axes, strict=True) if letter != "1"])
    value = value.transpose([kept.index(letter) for letter in letters if letter in kept])
    return np.asarray(value[tuple(np.s_[:] if letter in kept else None for letter in letters)])
