"""What many entries say together: a factor, an offset, a missing term, far below what any entry by itself can show.

A projection adds up a tensor's errors, each times what one such fault would make of that entry and over its noise: the
estimate of the fault's size with the least noise. How much it may be off by rounding the noisy copies say, which are
projected alike: correlations between entries, and what operations lean to, are in them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_ref.cell import Cell, run_backward, run_forward

Array = NDArray[Any]

STEPS = 12
"""Of how many steps the share is looked at, at most: in a longer example the first and the last are among them."""


@dataclass(frozen=True)
class Direction:
    """What a fault of one size would change, tensor by tensor.

    Attributes
    ----------
    words : str
        What is said of it, with "{}" for the estimate: "dUf is {} times what is due".
    change : dict
        The change by unit of the fault, of each tensor that it is in.
    every : bool
        Whether it is the same question in every example, so that examples can be taken together.
    around : float
        What the estimate is added to: 1 of a factor, 0 of an offset.
    """

    words: str
    change: Mapping[str, Array]
    every: bool = True
    around: float = 1.0


@dataclass(frozen=True)
class Projection:
    """The sums of a projection: of what came, of each noisy copy, and of the change itself; the first over the last."""

    words: str
    came: float
    copies: Array
    size: float
    every: bool = True
    around: float = 1.0

    def __add__(self, other: "Projection") -> "Projection":
        """Return the two examples together."""
        sums = (self.came + other.came, self.copies + other.copies, self.size + other.size)
        return Projection(self.words, *sums, self.every, self.around)

    @property
    def estimate(self) -> float:
        """The size of the fault."""
        return self.came / self.size

    @property
    def sd(self) -> float:
        """The standard deviation of what rounding makes of the estimate."""
        return float(np.sqrt(np.mean(np.square(self.copies)))) / self.size

    @property
    def use(self) -> float:
        """The share of the accepted deviation that the estimate is."""
        return abs(self.estimate) / (tolerance.PROJECTION_SIGMAS * self.sd) if self.sd > 0 else 0.0

    @property
    def sentence(self) -> str:
        """The estimate in words: "dUf is 1.013 ± 0.001 times what is due, by all entries together"."""
        digits = max(2, int(np.ceil(-np.log10(self.sd))) + 1) if self.sd < 1 else 1
        return self.words.format(f"{self.around + self.estimate:.{min(digits, 12)}g} ± {self.sd:.1g}")

    @property
    def accepted(self) -> str:
        """How far it is from what is due, and how far it may be."""
        sigmas = abs(self.estimate) / self.sd
        return f"{sigmas:.3g} standard deviations of rounding, {tolerance.PROJECTION_SIGMAS:.0f} are accepted"


@dataclass(frozen=True)
class Spread:
    """How large the errors of some tensors are altogether: the sum of their squares, each over its noise.

    Attributes
    ----------
    words : str
        What is said of it, with "{}" for the root mean square.
    came : float
        The sum of what came.
    copies : array
        That of each noisy copy, as large as if every rounding were as large as it can be.
    rows : int
        Samples times steps of the example, of which sums over them have as many terms.
    """

    words: str
    came: float
    copies: Array
    rows: int
    every: bool = True

    def __add__(self, other: "Spread") -> "Spread":
        """Return the two examples together."""
        return Spread(self.words, self.came + other.came, self.copies + other.copies, max(self.rows, other.rows))

    @property
    def estimate(self) -> float:
        """The root mean square of the errors, in standard deviations of the noise."""
        return float(np.sqrt(self.came / np.mean(self.copies)))

    @property
    def use(self) -> float:
        """The share of the accepted sum that it is."""
        return self.came / tolerance.accepted_squares(float(np.mean(self.copies)), float(np.std(self.copies)))

    @property
    def sentence(self) -> str:
        """The estimate in words: "errors of dU are 1.4 times what the contract's roundings can make"."""
        return self.words.format(f"{self.estimate:.3g}")

    @property
    def accepted(self) -> str:
        """What would be."""
        return f"{self.estimate / np.sqrt(self.use):.3g} are accepted"


LONGEST = (4, 8, 24)
"""Of how many examples, those of most samples times steps, the errors' size is looked at by itself: a short sum of few
terms is as good as a long one."""


def added_up(found: Sequence[Projection | Spread]) -> tuple[Projection | Spread, ...]:
    """Return what examples say together that rounding does not explain, the worst first."""
    by_words: dict[str, list[Any]] = {}
    for one in found:
        by_words.setdefault(one.words, []).append(one)
    worst: list[Projection | Spread] = []
    for same in by_words.values():
        some = [same]
        if isinstance(same[0], Spread):
            longest = sorted(same, key=lambda one: -one.rows)
            some += [longest[:count] for count in LONGEST if count < len(same)]
        totals = [sum(group[1:], group[0]) for group in some]
        worst.append(max(totals, key=lambda one: float(np.nan_to_num(one.use, nan=np.inf))))
    return tuple(sorted((one for one in worst if not one.use <= 1), key=lambda one: -one.use))


class Together:
    """The noise of a case's tensors, and the directions in which they are looked at.

    Parameters
    ----------
    arrays : Arrays
        Of the case, in float64.
    copies : mapping
        The noisy copies of each tensor, the first of them exact.
    magnification : float
        Factor on their noise.
    """

    def __init__(self, arrays: Any, copies: Mapping[str, Array], magnification: float) -> None:
        self.cell: Cell = arrays.cell
        self.due = {name: value[0] for name, value in copies.items()}
        self.rows = int(np.prod(arrays["X"].shape[-3:-1]))
        self.departures = {n: (value[1:] - value[0]) / magnification for n, value in copies.items() if len(value) > 1}
        self._arrays = arrays
        self._known: dict[tuple[int, tuple[str, ...]], tuple[Mapping[str, Array], Array, float]] = {}

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """The directions, made when they are asked for."""
        return tuple(self._directions(self._arrays))

    @staticmethod
    def _over_noise(departures: Array) -> Array:
        """Return 1 over the variance of each entry; of one that is nearly exact as if it had some of the others' noise.

        Of 32 copies an entry's may come out too small, and what all weigh by would be that entry alone.
        """
        variance = np.mean(np.square(departures), axis=0)
        floor = tolerance.PROJECTION_FLOOR**2 * float(np.mean(variance))
        return 1 / np.maximum(variance + floor, np.finfo(np.float64).tiny)

    @cached_property
    def over(self) -> dict[str, Array]:
        """What each entry weighs."""
        return {name: self._over_noise(value) for name, value in self.departures.items()}

    def _directions(self, arrays: Any) -> Iterator[Direction]:
        """Yield a factor and an offset of each tensor, a factor of each gate, and the share of each step."""
        for name, due in self.due.items():
            if due.size > 1:
                yield Direction(f"{name} is {{}} times what is due", {name: due})
                yield Direction(f"{name} is off by {{}} in all entries", {name: np.ones_like(due)}, around=0.0)
        for gate in self.cell.gates:
            names = [f"d{name}" for name in self.cell.parameters if name[1:] == gate]
            if len(names) > 1:
                yield Direction(f"gradients of gate {gate} are {{}} times what is due", {n: self.due[n] for n in names})
        yield from self._of_steps(arrays)

    def _of_steps(self, arrays: Any) -> Iterator[Direction]:
        """Yield the factors of the steps of h and dX, and of what a step adds to the parameters' gradients."""
        s = arrays["X"].shape[-2]
        if s == 1 or self.cell.places:
            return
        hidden = self.cell.outputs[0]
        with np.errstate(all="ignore"):
            fc = run_forward(self.cell, arrays)
            bc = run_backward(self.cell, arrays, fc)
        for t in sorted({round(k) for k in np.linspace(0, s - 1, min(s, STEPS))}):
            for name in (hidden, "dX"):
                change = np.zeros_like(self.due[name])
                change[:, t] = self.due[name][:, t]
                yield Direction(f"{name} at step {t + 1} of {s} is {{}} times what is due", {name: change}, every=False)
            at = np.s_[..., t : t + 1, :]
            added = self.cell.parameter_gradients(_at_step(fc, at), _at_step(bc, at))
            words = f"the share of step {t + 1} of {s} in the parameters' gradients is {{}} times what is due"
            yield Direction(words, added, every=False)

    def project(self, came: Mapping[str, Array], judged: Any) -> Iterator[Projection]:
        """Yield what the tensors that came say together, as far as they are judged and have the shapes that are due."""
        shaped = frozenset(n for n in self.over if n in judged and came[n].shape == self.due[n].shape)
        errors = {name: came[name].astype(np.float64) - self.due[name] for name in shaped}
        for number, direction in enumerate(self.directions):
            weights, copies, size = self._fixed(number, direction, shaped)
            if size > 0:
                sums = sum(float(np.vdot(weight, errors[name])) for name, weight in weights.items())
                yield Projection(direction.words, sums, copies, size, direction.every, direction.around)

    def _fixed(
        self, number: int, direction: Direction, shaped: frozenset[str]
    ) -> tuple[Mapping[str, Array], Array, float]:
        """Return the weights of a direction, its sums over the noisy copies, and its size: whatever comes."""
        names = tuple(name for name in direction.change if name in shaped)
        if (number, names) not in self._known:
            weights = {name: direction.change[name] * self.over[name] for name in names}
            copies, size = np.zeros(()), 0.0
            for name, weight in weights.items():
                departures = self.departures[name]
                copies = copies + departures.reshape(len(departures), -1) @ weight.ravel()
                size += float(np.vdot(weight, direction.change[name]))
            self._known[number, names] = weights, copies, size if np.all(np.isfinite(copies)) else 0.0
        return self._known[number, names]

    def spreads(self, came: Mapping[str, Array], judged: Any) -> Iterator[Spread]:
        """Yield how large the errors are: of each tensor, those of one kind of parameters together."""
        kinds: dict[str, list[str]] = {}
        for name in self.over:
            if name in judged and came[name].shape == self.due[name].shape:
                of_parameter = name.removeprefix("d") in self.cell.parameters
                kinds.setdefault(name[:2] if of_parameter else name, []).append(name)
        for kind, names in kinds.items():
            sums, copies = 0.0, np.zeros(())
            for name in names:
                departures, weight = self.departures[name], self.over[name]
                sums += float(np.sum(weight * np.square(came[name].astype(np.float64) - self.due[name])))
                copies = copies + np.sum(weight * np.square(departures), axis=tuple(range(1, departures.ndim)))
            if np.all(np.isfinite(copies)) and np.mean(copies) > 0:
                words = f"errors of {kind} are {{}} times what the contract's roundings can make, in root mean square"
                yield Spread(words, sums, copies, self.rows)


def _at_step(found: Mapping[str, Any], at: Any) -> dict[str, Any]:
    """Return one step of all intermediates."""
    return {name: value[at] for name, value in found.items() if value.ndim > 2}
