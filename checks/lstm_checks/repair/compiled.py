"""A program that a library compiles, run with some of its values overridden, compiled once for all that is tried.

Where a run without compilation takes a hundred times as long as one of NumPy, as in JAX, each value that passes a site
is made ``value * factor + term``, with factors and terms that are given from outside: 1 and 0 where it stays as it is,
0 and what there ought to be where it is overridden. So one compilation of a case's shapes serves every intervention. A
program that cannot be traced so is run step by step.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_checks.repair.rewrite import Sources

JAX = "lstm_checks.targets.jax"
"""The module that has passes of JAX compiled, where a target is one of JAX."""

Handler = Callable[[Any, Any], Any]
"""What stands in the place of a site's value, in a context."""


@dataclass(frozen=True)
class Pass:
    """A value that passes a site: in which context, and where its factors and terms are."""

    context: Any
    offset: int
    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class Part:
    """A function compiled for some shapes, with the values that pass each site in it, in their order."""

    run: Callable[..., Any]
    passes: Mapping[int, list[Pass]]
    size: int


class Compiled:
    """Functions of a target, compiled with every value open to be overridden.

    Parameters
    ----------
    sources : Sources
    context_of : callable
        Returns from where the function is called in which a site was just passed.
    """

    def __init__(self, sources: Sources, context_of: Callable[[], Any]) -> None:
        self.sources, self.context_of = sources, context_of
        self.works = True
        self._parts: dict[Any, Part] = {}
        self._asked: tuple[Mapping[int, Handler], Any] | None = None
        self.failed = False
        self.seen: set[tuple[int, Any]] = set()

    def wrapped(self, function: Callable[..., Any], jit: Callable[..., Any], leaves: Any) -> Callable[..., Any]:
        """Return a function of a target as it is called here: compiled while something is asked, else step by step.

        `jit` compiles a function in which nothing else is compiled by itself; `leaves` lists the arrays of arguments.
        """

        def run(*arguments: Any) -> Any:
            if self._asked is None:
                return function(*arguments)
            handlers, change = self._asked
            shapes = tuple((np.shape(one), str(getattr(one, "dtype", ""))) for one in leaves(arguments))
            part = self._parts.get((function, shapes))
            if part is None:
                try:
                    part = self._parts[function, shapes] = self._made(function, jit, arguments)
                except Exception:
                    # It asks for its values, as in a condition.
                    self.works, self.failed = False, True
                    raise
            factors, terms = np.ones(part.size), np.zeros(part.size)
            for number, handler in handlers.items():
                for one in part.passes.get(number, ()):
                    self._put(one, handler(np.full(one.shape, np.nan, one.dtype), one.context), factors, terms)
                    self.seen.add((number, one.context))
            if change is not None:
                number, contexts, changed = change
                for one in part.passes.get(number, ()):
                    if one.context in contexts:
                        # What changes 0 into `low` and 1 into `high`.
                        low, high = (np.asarray(changed(value(one.shape, one.dtype))) for value in (np.zeros, np.ones))
                        span = slice(one.offset, one.offset + low.size)
                        terms[span] += low.reshape(-1) * (factors[span] != 0)
                        factors[span] *= (high - low).reshape(-1)
                        self.seen.add((number, one.context))
            return part.run(factors, terms, *arguments)

        return run

    @contextmanager
    def asked(self, handlers: Mapping[int, Handler], change: Any = None) -> Iterator[None]:
        """Have the functions run compiled, with these handlers' values, and with one site's values changed.

        Afterwards `seen` is which sites' values of those that were asked passed in which contexts, and `failed` whether
        the program could not be compiled so; then `works` is False, too.
        """
        self._asked, self.seen, self.failed = (handlers, change), set(), False
        try:
            yield
        finally:
            self._asked = None

    def _made(self, function: Callable[..., Any], jit: Callable[..., Any], arguments: tuple[Any, ...]) -> Part:
        """Return a function compiled for the shapes of its arguments."""
        size = 0

        def count(value: Any) -> Any:
            nonlocal size
            size += int(np.prod(value.shape)) if _is_open(value) else 0
            return value

        self.sources.handlers.update({site.number: count for site in self.sources.sites})
        try:
            function(*arguments)
        finally:
            self.sources.handlers.clear()
        passes: dict[int, list[Pass]] = {}

        def traced(factors: Any, terms: Any, *given: Any) -> Any:
            passes.clear()
            offset = 0

            def watch(number: int) -> Callable[[Any], Any]:
                def keep(value: Any) -> Any:
                    nonlocal offset
                    if not _is_open(value):
                        return value
                    shape, dtype = tuple(value.shape), np.dtype(str(value.dtype))
                    one = Pass(self.context_of(), offset, shape, dtype)
                    offset += int(np.prod(shape))
                    passes.setdefault(number, []).append(one)
                    factor, term = (v[one.offset : offset].reshape(shape).astype(dtype) for v in (factors, terms))
                    return value * factor + term

                return keep

            self.sources.handlers.update({site.number: watch(site.number) for site in self.sources.sites})
            try:
                return function(*given)
            finally:
                self.sources.handlers.clear()

        compiled = jit(traced)
        compiled(np.ones(size), np.zeros(size), *arguments)
        return Part(compiled, dict(passes), size)

    @staticmethod
    def _put(one: Pass, value: Any, factors: Any, terms: Any) -> None:
        """Put what is to stand in the place of a value into the factors and terms; NaN for what stays as it is."""
        value = np.asarray(value, dtype=np.float64).reshape(-1)
        span = slice(one.offset, one.offset + value.size)
        stays = np.isnan(value)
        factors[span] = np.where(stays, 1.0, 0.0)
        terms[span] = np.where(stays, 0.0, value)


def compiled_for(sources: Sources, context_of: Callable[[], Any]) -> Compiled | None:
    """Return the program of JAX as it is run compiled; None where JAX runs nothing."""
    door = sys.modules.get(JAX)
    if door is None:
        return None
    compiled = Compiled(sources, context_of)
    door.VJP.instead = compiled.wrapped
    return compiled


def as_it_is_called() -> AbstractContextManager[None]:
    """Have a program of JAX compiled as it always is, which is quicker where a case is run once."""
    door = sys.modules.get(JAX)
    return nullcontext() if door is None else door.VJP.as_always()


def _is_open(value: Any) -> bool:
    """Return whether a value can be overridden: an array of numbers that are no integers."""
    return bool(getattr(value, "shape", ())) and str(getattr(value, "dtype", "")).startswith("float")
