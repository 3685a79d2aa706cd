"""Running what a reading says, as text: the layer is made, its weights are written, it is called and pulled back."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.binding.problem import Problem
from lstm_checks.calling import to_numpy
from lstm_checks.contract import PLAIN, not_interrupted
from lstm_checks.weights.layouts import Layout
from lstm_ref.cell import Cell


class OutOfTimeError(Exception):
    """The time for trying is over."""


@dataclass(frozen=True)
class Setup:
    """Where a layer's weights are, and how it is made.

    Attributes
    ----------
    layouts : tuple of Layout
        Which weights the arrays may be, by the text that each is written to: a variable that is an argument, or an
        attribute or entry of what was made.
    before : tuple of str
        Lines that come before any array is written, such as the dict that takes them.
    make : tuple of str
        Lines that make the layer.
    also : mapping
        Further texts that hold the very same array as one of these, by its text.
    fills : mapping
        What is written to arrays that are none of the weights, as text.
    in_place : bool
        Whether numbers are written into the arrays that are there.
    """

    layouts: tuple[Layout, ...] = ()
    before: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fills: Mapping[str, str] = field(default_factory=dict)
    in_place: bool = False

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays; all layouts have the same."""
        return {block.name: block.shape(sizes["e"], sizes["u"]) for block in self.layouts[0].blocks}

    @property
    def names(self) -> tuple[str, ...]:
        """The texts that the arrays are written to."""
        return tuple(block.name for block in self.layouts[0].blocks) if self.layouts else ()

    def lines(self, values: Callable[[str], str]) -> list[str]:
        """Return the lines that make the layer and write its weights, given the text of each array's value."""
        early = [name for name in self.names if not name.startswith("layer")]
        late = [name for name in self.names if name.startswith("layer")]
        write = "[...] = " if self.in_place else " = "
        found = [*self.before, *(f"{name} = {values(name)}" for name in early), *self.make]
        for name in late:
            texts = (name, *self.also.get(name, ()))
            found.append(f"{write if self.in_place else ' = '}".join([*texts, values(name)]))
        return found + [f"{place} = {text}" for place, text in self.fills.items()]


@lru_cache(4096)
def compiled(text: str, mode: str) -> CodeType:
    """Return a text as code; a layer's own line numbers are not these."""
    return compile(text, "<adapter>", mode)


@dataclass
class Lab:
    """What trials share: the names that a text may use, the kind of arrays, the cell, and the time that is left.

    `until` is of the processor's clock, `end` of the one on the wall, for what waits; `late` says that time was over
    before any backward pass was found.
    """

    names: Mapping[str, Any]
    array: Callable[[Any], Any] = np.asarray
    library: str = "np"
    cell: Cell = PLAIN
    tried: int = 0
    ran: int = 0
    last_error: str = ""
    until: float = 0.0
    end: float = 0.0
    late: bool = False

    def allow(self, seconds: float) -> None:
        """Allow so many seconds of the processor for trials from now on, and on the wall some four times as many."""
        self.until = time.process_time() + seconds
        self.end = time.monotonic() + 4 * seconds + tolerance.BINDING_WAIT

    def translated(self, text: str) -> str:
        """Return a text with the library's own words for NumPy's."""
        if self.library == "torch":
            text = text.replace(".transpose(", ".permute(")
        return re.sub(r"\bnp\.", f"{self.library}.", text)

    def start(self, setup: Setup, problem: Problem, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the names after a layer has been made and its weights were written; raises what the layer raises."""
        if time.process_time() > self.until or time.monotonic() > self.end:
            raise OutOfTimeError
        self.tried += 1
        given = {name: self.array(np.array(value)) for name, value in problem.arrays.items()}
        # As an adapter has them: one call's samples and steps, and all that a size may be meant for.
        names = {**self.names, **problem.called, **given, "o": 9, "_raw": {k: self.array(v) for k, v in raw.items()}}
        self.run(names, *setup.lines(lambda name: f"_raw[{name!r}]"))
        return names

    def run(self, names: dict[str, Any], *lines: str) -> None:
        """Run lines of an adapter."""
        for line in lines:
            exec(compiled(self.translated(line), "exec"), names)

    def attempt(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns, or None where it raises anything but that the time is over."""
        try:
            found = run(*arguments)
        except OutOfTimeError:
            raise
        except BaseException as error:
            not_interrupted(error)
            self.last_error = f"{type(error).__name__}: {str(error)[:120]}"
            return None
        self.ran += 1
        return found

    def value(self, names: dict[str, Any], text: str) -> Any:
        """Return what a text evaluates to, as NumPy's."""
        return to_numpy(eval(compiled(self.translated(text), "eval"), names))
