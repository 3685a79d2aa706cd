"""The user's program, run with some of its values seen, or overridden with what they ought to be.

A site of a helper that is called from several lines is a place of its own for each of them, and one in a loop over
gates a place for each gate.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from types import CodeType
from typing import Any, cast

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import Outcome
from lstm_checks.contract import Target
from lstm_checks.repair.compiled import Compiled
from lstm_checks.repair.due import family_of
from lstm_checks.repair.forms import Block, Form, NoFormError, View, best_block, partitions, views
from lstm_checks.repair.rewrite import AGAIN, Site, Sources
from lstm_checks.repair.trial import Trial, like, plain_array

Context = tuple[str, int, int]
"""From where a function of the user's is called: so each use of a helper is a place of its own."""


@dataclass(frozen=True)
class Place:
    """A site in one use of its function and in one slot, with what its values are known to be.

    `shape` is that of a step in rows and columns, `own` the value's own. `form` is the quantity it is where `known`,
    else what its first values are, if these are some quantity; `departs` when the first value came that is not.
    `digests` tell the values that pass: where others have one of them, the same value passes there, too.
    """

    site: Site
    context: Context
    event: int
    view: View
    shape: tuple[int, int]
    own: tuple[int, ...]
    form: Form | None
    known: bool
    departs: int
    digests: frozenset[int]

    @property
    def key(self) -> tuple[int, Context, int]:
        """What tells it from all others."""
        return self.site.number, self.context, self.view.slot


@dataclass(frozen=True)
class Override:
    """An intervention: at a place, what its values are to be."""

    place: Place
    form: Form


@dataclass
class Budget:
    """How many runs may still be made."""

    runs: float = tolerance.LINE_RUNS

    def spend(self) -> bool:
        """Return whether there is one more."""
        self.runs -= 1
        return self.runs >= 0


class Program:
    """The user's program, loaded rewritten, and ways to run it."""

    def __init__(self, target: Target, sources: Sources, compiled: Compiled | None = None) -> None:
        self.target, self.sources = target, sources
        self.gates = len(target.cell.gates)
        self.compiled = compiled
        self._runs: dict[Any, int] = defaultdict(int)

    def wrong(self, trial: Trial, overrides: Sequence[Override] = ()) -> frozenset[str]:
        """Return which tensors are wrong on a case with some values overridden."""
        try:
            handlers = self._handlers(trial, overrides)
        except NoFormError:
            return frozenset({"error: no form", *trial.case.cell.tensors})
        if self._is_compiled(trial):
            wanted = {(one.place.site.number, one.place.context) for one in overrides}
            found = self._asked(handlers, None, wanted, lambda: trial.wrong(self.target))
            if found is not None:
                return found
            handlers = self._handlers(trial, overrides)
        self.sources.handlers.update({n: _in_context(handler) for n, handler in handlers.items()})
        try:
            return trial.wrong(self.target)
        finally:
            self.sources.handlers.clear()

    def _is_compiled(self, trial: Trial) -> bool:
        """Return whether a case is run compiled: one that is run again and again."""
        key = trial.case, trial.outputs_alone
        self._runs[key] += 1
        if self.compiled is None or not self.compiled.works or self._runs[key] <= tolerance.RUNS_UNCOMPILED:
            return False
        if self._runs[key] == tolerance.RUNS_UNCOMPILED + 1:
            trial.asked = False
        return True

    def _asked(self, handlers: Any, change: Any, wanted: set[tuple[int, Any]], run: Callable[[], Any]) -> Any | None:
        """Return what a run of the compiled program gives; None where it cannot be asked so."""
        assert self.compiled is not None
        with self.compiled.asked(handlers, change):
            found = run()
        if self.compiled.failed or wanted - self.compiled.seen:
            return None
        return found

    def affected(
        self, trial: Trial, site: Site, contexts: Set[Context], overrides: Sequence[Override], before: Outcome
    ) -> frozenset[str] | None:
        """Return which tensors a site's values have to do with, by changing them a little; None where it raised.

        `before` is what comes of the case with the same overrides and nothing changed.
        """
        after = self.outcome(trial, overrides, (site.number, contexts))
        if before.error or after.error:
            return None
        names = [name for name in before.values if name in after.values]
        same = {n for n in names if _unchanged(before.values[n], after.values[n])}
        return frozenset(before.values) - same

    def outcome(
        self, trial: Trial, overrides: Sequence[Override], changed: tuple[int, Set[Context]] | None = None
    ) -> Outcome:
        """Return what comes of a case with some values overridden, and those of one site changed a little."""
        if self._is_compiled(trial):
            wanted = {(one.place.site.number, one.place.context) for one in overrides}
            wanted |= {(changed[0], context) for context in changed[1]} if changed else set()
            change = (*changed, _changed) if changed else None
            found = self._asked(self._handlers(trial, overrides), change, wanted, lambda: trial.run(self.target))
            if found is not None:
                return cast(Outcome, found)
        self.sources.handlers.update({n: _in_context(one) for n, one in self._handlers(trial, overrides).items()})
        if changed is not None:
            number, contexts = changed
            self.sources.handlers[number] = lambda value: _changed(value) if context_of() in contexts else value
        try:
            return trial.run(self.target)
        finally:
            self.sources.handlers.clear()

    def _handlers(self, trial: Trial, overrides: Sequence[Override]) -> dict[int, Callable[[Any, Context], Any]]:
        """Return what stands in the place of the values of sites."""
        by_site: dict[int, dict[Context, dict[int, tuple[Override, Any]]]] = {}
        for one in overrides:
            number, context, slot = one.place.key
            by_site.setdefault(number, {}).setdefault(context, {})[slot] = (one, one.form.values(trial.due))
        return {number: self._handler(trial, contexts) for number, contexts in by_site.items()}

    def _handler(self, trial: Trial, contexts: Mapping[Context, Mapping[int, tuple[Override, Any]]]) -> Any:
        """Return what stands in the place of one site's values."""
        passed: dict[Context, int] = {}
        sizes, gates = trial.due.sizes, self.gates

        def handle(value: Any, context: Context) -> Any:
            slots = contexts.get(context)
            if slots is None or not hasattr(value, "shape"):
                return value
            count = passed[context] = passed.get(context, -1) + 1
            any_one = next(iter(slots.values()))[0]
            chosen = slots.get(count % any_one.form.view.slots)
            if chosen is None:
                return value
            one, steps = chosen
            shape = tuple(value.shape)
            try:
                values = one.form.view.back(steps, shape, sizes, gates)
            except NoFormError:
                return value
            at = count // one.form.view.slots
            # A forward pass may be run once more on the way to the gradients.
            at %= len(values)
            due = values[at]
            kept = np.isnan(due)
            if kept.any():
                due = np.where(kept, plain_array(value), due)
            return like(value, due)

        return handle

    def places(self, trial: Trial, overrides: Sequence[Override] = ()) -> list[Place]:
        """Return all places of the program at which arrays pass, in the order in which it comes to them."""
        passes: dict[tuple[int, Context], list[tuple[int, Any]]] = {}
        events = iter(range(sys.maxsize))
        handlers = self._handlers(trial, overrides)

        def watch(number: int) -> Callable[[Any], Any]:
            override = handlers.get(number)

            def keep(value: Any) -> Any:
                if not hasattr(value, "shape"):
                    return value
                context = context_of()
                array = plain_array(value)
                if array is not None:
                    passes.setdefault((number, context), []).append((next(events), array))
                # What is seen is the program's own value, what goes on is what it is held at.
                return value if override is None else override(value, context)

            return keep

        self.sources.handlers.update({site.number: watch(site.number) for site in self.sources.sites})
        try:
            trial.wrong(self.target)
        finally:
            self.sources.handlers.clear()
        found = []
        for (number, context), seen in passes.items():
            found += self._read(self.sources.sites[number], context, seen, trial)
        return sorted(found, key=lambda place: place.event)

    def variables(self, trial: Trial) -> dict[str, dict[str, set[tuple[int, ...]]]]:
        """Return by function the variables that hold arrays while it runs, as they are written, and their shapes."""
        found: dict[str, dict[str, set[tuple[int, ...]]]] = defaultdict(lambda: defaultdict(set))

        def watch(site: Site) -> Callable[[Any], Any]:
            def keep(value: Any) -> Any:
                variables = sys._getframe(2).f_locals
                keys = [(name, held) for name, held in variables.items() if type(held) in (str, int)]
                for name, held in variables.items():
                    if name.isidentifier() and not name.startswith("__"):
                        for text, shape in _arrays_in(name, held, keys):
                            found[site.function][text].add(shape)
                return value

            return keep

        self.sources.handlers.update({site.number: watch(site) for site in self.sources.sites})
        try:
            trial.wrong(self.target)
        finally:
            self.sources.handlers.clear()
        return found

    def _read(self, site: Site, context: Context, seen: list[tuple[int, Any]], trial: Trial) -> list[Place]:
        """Return the places of a site in one context, with what each is."""
        values = [value for _, value in seen]
        shapes = {value.shape for value in values}
        if len(shapes) != 1:
            return []
        if not all(np.isfinite(value).all() for value in values):
            # What grows beyond all numbers is no quantity, but a place all the same.
            seen = [(event, np.where(np.isfinite(value), value, 0)) for event, value in seen]
            values = [value for _, value in seen]
        half = len(values) // 2
        if len(values) == 2 * half and all(map(np.array_equal, values[:half], values[half:])):
            # A forward pass that is run once more on the way to the gradients.
            once = self._viewed(site, context, seen[:half], trial)
            if once and not (half == 1 and not _all_known(once)):
                return once
        best = self._viewed(site, context, seen, trial)
        first = values[0]
        if len(seen) > 1 and not _all_known(best) and all(np.array_equal(first, value) for value in values[1:]):
            # All steps in one, as of what is read in a loop: the same each time.
            once = self._viewed(site, context, seen[:1], trial)
            # A step's value at all steps is no quantity that is the same at all.
            same = _all_known(once) and all(block.at is None for place in once for block in _blocks_of(place))
            return once if same or not best else best
        return best

    def _viewed(self, site: Site, context: Context, seen: list[tuple[int, Any]], trial: Trial) -> list[Place]:
        """Return the places of a site by the view of its values in which most of them are known."""
        values = [value for _, value in seen]
        # What is the same number everywhere, as a state's zeros are, is no sign of where it comes from.
        telling = [value for value in values if np.ptp(value) > 0 or value.size == 1]
        digests = frozenset(hash((value.shape, value.tobytes())) for value in telling)
        sizes = trial.due.sizes
        best: list[Place] = []
        for kind, slots, axis in views(len(values), values[0].shape, sizes, self.gates):
            places = []
            for slot in range(slots):
                view = View(kind, slots, slot, axis)
                try:
                    steps = view.steps(values[slot::slots], sizes, self.gates)
                except NoFormError:
                    break
                own = [event for event, _ in seen][slot::slots], values[0].shape, digests
                place = self._match(site, context, own, view, steps, trial)
                if place is None:
                    break
                places.append(place)
            if len(places) == slots and (not best or _all_known(places)):
                best = places
                if _all_known(places):
                    break
        return best

    def _match(
        self,
        site: Site,
        context: Context,
        seen: tuple[list[int], tuple[int, ...], frozenset[int]],
        view: View,
        steps: Any,
        trial: Trial,
    ) -> Place | None:
        """Return a place with the quantity that its values are, or begin to be; None where its sizes say nothing."""
        events, own, digests = seen
        found: tuple[int, int, Place] | None = None
        for rows, columns in partitions(steps.shape[1:], trial.due):
            blocks, begun, leading, whole = [], [], len(steps), True
            top = 0
            for letter in rows:
                row: list[Block | None] = []
                first: list[Block | None] = []
                left = 0
                height = trial.due.sizes[letter]
                for other in columns:
                    width = trial.due.sizes[other]
                    part = steps[:, top : top + height, left : left + width]
                    count, block = best_block(part, letter + other, trial.due, trial.case.dtype)
                    leading, whole = min(leading, count), whole and count == len(steps)
                    first.append(block)
                    row.append(block if count == len(steps) or len(rows) * len(columns) == 1 else None)
                    left += width
                blocks.append(tuple(row))
                begun.append(first)
                top += height
            if _mixed(begun, trial.due.letters):
                whole, leading = False, 0
            count = sum(block is not None for row in blocks for block in row)
            form = Form(view, rows, columns, tuple(blocks)) if count else None
            departs = events[min(leading, len(events) - 1)]
            place = Place(site, context, events[0], view, steps.shape[1:], own, form, whole, departs, digests)
            score = (whole, leading + count / (len(rows) * len(columns)))
            if found is None or score > found[:2]:
                found = (*score, place)  # type: ignore[assignment]
            if whole:
                break
        return found[2] if found is not None else None


def _blocks_of(place: Place) -> list[Block]:
    """Return the blocks of what a place's values are."""
    return [block for row in (place.form.blocks if place.form else ()) for block in row if block is not None]


def _all_known(places: Sequence[Place]) -> bool:
    """Return whether there are places, and all of them are known."""
    return bool(places) and all(place.known for place in places)


def _arrays_in(name: str, held: Any, keys: Sequence[tuple[str, Any]]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the arrays that a variable holds, or its entries or attributes do, each as it is written.

    `keys` are variables that may be those of entries, such as a loop's.
    """
    if hasattr(held, "shape") and hasattr(held, "dtype"):
        shape = tuple(held.shape)
        found = [(name, shape)]
        for key, at in keys:
            # A step of all of them.
            if len(shape) == 3 and type(at) is int:
                found += [(f"{name}[{key}]", shape[1:])] * (-shape[0] <= at < shape[0])
                found += [(f"{name}[:, {key}]", (shape[0], shape[2]))] * (-shape[1] <= at < shape[1])
        return found
    if isinstance(held, list):
        inner = [(f"{name}[{key}]", held[at]) for key, at in keys if type(at) is int and -len(held) <= at < len(held)]
    elif isinstance(held, dict):
        inner = [(f'{name}["{key}"]', one) for key, one in held.items() if isinstance(key, str) and '"' not in key]
        inner += [(f"{name}[{key}]", held[at]) for key, at in keys if at in held]
    else:
        kept = getattr(held, "__dict__", None)
        kept = kept if type(kept) is dict else {}
        # What a torch module learns is an attribute that is not in its dict.
        learned = kept.get("_parameters")
        inner = [(f"{name}.{key}", one) for key, one in {**kept, **(learned or {})}.items() if type(key) is str]
        if isinstance(held, tuple) and hasattr(held, "_fields"):
            inner += [(f"{name}.{key}", one) for key, one in zip(held._fields, held, strict=True)]
    return [(text, tuple(one.shape)) for text, one in inner[:64] if hasattr(one, "shape") and hasattr(one, "dtype")]


def _mixed(blocks: Sequence[Sequence[Block | None]], gates: tuple[str, ...]) -> bool:
    """Return whether blocks beside one another are of gates, and not of the same quantity of each."""
    for row in (*blocks, *zip(*blocks, strict=True)):
        families = {family_of(block.name, gates)[0] for block in row if block is not None}
        steps = {block.at for block in row if block is not None and block.at is not None}
        if len(steps) > 1:
            # Several steps of one quantity after one another.
            return True
        alike = len({name.partition("?")[0] for name in families}) == 1
        if len(row) > 1 and "" not in families and alike and len(families) > 1:
            return True
    return False


def _unchanged(before: Any, after: Any) -> bool:
    """Return whether two arrays are the same but for rounding: one run may be compiled, and the other not."""
    if np.array_equal(before, after, equal_nan=True):
        return True
    share = tolerance.UNCHANGED * np.finfo(before.dtype).eps
    return bool(np.max(np.abs(after - before)) <= share * np.max(np.abs(before)))


def _changed(value: Any) -> Any:
    """Return a value with each entry changed a little, and otherwise than its neighbours."""
    array = plain_array(value)
    if array is None or not array.size:
        return value
    step = np.linspace(1e-3, 2e-3, array.size).reshape(array.shape)
    return like(value, array * (1 + step) + step)


def _in_context(handler: Callable[[Any, Context], Any]) -> Callable[[Any], Any]:
    """Return a site's handler that finds out from where its function is called."""
    return lambda value: handler(value, context_of())


_places: dict[tuple[CodeType, int], Context] = {}


def context_of() -> Context:
    """Return from where the function is called in which a site was just passed: by the call's place in its file."""
    frame: Any = sys._getframe(3)
    while frame.f_code in AGAIN or (frame.f_back is not None and frame.f_back.f_code in AGAIN):
        # A whole expression that is computed again is a function of its own.
        frame = frame.f_back
    back = frame.f_back
    if back is None:
        return "", 0, 0
    key = back.f_code, back.f_lasti
    found = _places.get(key)
    if found is None:
        position = next(islice(back.f_code.co_positions(), back.f_lasti // 2, None), None) or (0, 0, 0, 0)
        found = _places[key] = (back.f_code.co_filename, position[0] or 0, position[2] or 0)
    return found
