"""What many entries say together: a factor, an offset, a missing term, far below what any entry by itself can show.

A projection adds up a tensor's errors, each times what one such fault would make of that entry and over its noise: the
estimate of the fault's size with the least noise. How much it may be off by rounding the noisy copies say, which are
projected alike: correlations between entries, and what operations lean to, are in them.
"""

from collections.abc import Iterator, Mapping
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
        self.departures = {n: (value[1:] - value[0]) / magnification for n, value in copies.items() if len(value) > 1}
        self._arrays = arrays

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
        for direction in self.directions:
            sums, copies, size = 0.0, np.zeros(()), 0.0
            for name, change in direction.change.items():
                if name not in judged or name not in self.over or came[name].shape != self.due[name].shape:
                    continue
                weight = change * self.over[name]
                sums += float(np.sum(weight * (came[name].astype(np.float64) - self.due[name])))
                copies = copies + np.sum(weight * self.departures[name], axis=tuple(range(1, weight.ndim + 1)))
                size += float(np.sum(weight * change))
            if size > 0 and np.all(np.isfinite(copies)):
                yield Projection(direction.words, sums, copies, size, direction.every, direction.around)


def _at_step(found: Mapping[str, Any], at: Any) -> dict[str, Any]:
    """Return one step of all intermediates."""
    return {name: value[at] for name, value in found.items() if value.ndim > 2}
