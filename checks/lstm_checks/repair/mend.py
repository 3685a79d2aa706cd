"""The edit that mends a program: searched among all small ones at the lines that are wrong, and held to every case.

All edits are compiled into the program at once, each with a switch. One is on at a time, or one for each line that is
wrong; while one line's are tried the others' values are held at what they ought to be, so that each is found by itself.
What makes all cases right is written into the text of the file, that text is loaded anew, and it must be right in all
the cases of a whole run.
"""

import difflib
import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice, product
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import DHN, Target
from lstm_checks.repair.compiled import as_it_is_called
from lstm_checks.repair.edits import Edit, Edits, Scope
from lstm_checks.repair.found import Fix, Line
from lstm_checks.repair.intervene import Finding, Options
from lstm_checks.repair.program import Override, Place, Program
from lstm_checks.repair.rewrite import AGAIN, Site, Sources, forget_own_modules
from lstm_checks.repair.telling import right_in, told_of
from lstm_checks.repair.trial import Trial, plain_array
from lstm_checks.targets.load import load_target

Candidate = tuple[Edit, ...]
"""Edits, one or several together, that may mend a program."""


class Search:
    """The search for edits of one program.

    Parameters
    ----------
    question : mapping
        What was asked: the target's "spec", the cases of the "run", whether "every" fix is wanted, and the "seconds".
        Its "on disk" are the files' own texts, where the program was loaded with others.
    target, sources
        The program as it was loaded for the lines.
    findings : sequence of Finding
        Where it is wrong; where nothing is known of that, all lines are tried.
    trials : sequence of Trial
        Cases, the first of which is the one that was searched on.
    before : set of str
        The modules that were there before the target was loaded.
    simple : bool
        Whether those edits alone are tried that take something away, or put what is there into another order.
    first : tuple of Edit
        Edits that are known to make all trials right. Others are looked for at their lines alone.
    """

    def __init__(
        self,
        question: Mapping[str, Any],
        target: Target,
        sources: Sources,
        findings: Sequence[Finding],
        trials: Sequence[Trial],
        before: set[str],
        simple: bool = False,
        first: Candidate = (),
    ) -> None:
        self.simple, self.first = simple, first
        self.question, self.findings, self.trials, self.before = question, findings, trials, before
        self.sources = sources
        self.end = time.monotonic() + float(question["seconds"])
        self.single = trials[0].of(replace(trials[0].case, s=1))
        self.outputs_alone = bool(question.get("outputs alone"))
        self.outputs_are_enough = False
        self.original = {path: source.text for path, source in sources.files.items()}
        lines = self._lines() if findings or first else None
        traced: tuple[Any, Any] = {}, {}
        if not simple:
            program = Program(target, sources)
            with sources.in_force():
                # Others may have been since, and probes are passed to those that were last.
                traced = _traced(program.places(trials[0]), program.variables(trials[0]))
        self.edits = Edits(lines, *traced, target.cell.gates, simple)
        self.edited = Sources(self.edits, self.original)
        self.program = Program(self._load(self.edited), self.edited)

    def fixes(self) -> Iterator[tuple[tuple[Fix, ...], tuple[Line, ...]]]:
        """Yield what mends the program, each time that one more edit is found that does, and the first one's lines."""
        found: list[Fix] = []
        lines: tuple[Line, ...] = ()
        for chosen in self.candidates():
            fix = self.held_to_everything(chosen)
            if fix is not None and all(fix.texts != other.texts for other in found):
                found.append(fix)
                lines = lines or told_of(chosen, self.sources.files, right_in(fix.tried))
                yield tuple(found), lines
                if not self.question.get("every") or len(found) >= tolerance.FIXES_SHOWN:
                    return

    def mended_outputs(self) -> Iterator[tuple[Candidate, dict[str, str]]]:
        """Yield edits, and the texts of the files, with which all outputs are right, whatever becomes of gradients."""
        self.outputs_are_enough = True
        for chosen in self.candidates():
            for brackets in (False, True):
                texts = self.written(chosen, brackets)
                if texts is not None:
                    yield chosen, {**self.original, **texts}

    def _held_trials(self, held: list[Override]) -> tuple[Trial, list[Trial]]:
        """Return the quick trial and all: of outputs alone where values are held that have no gradient to pass on."""
        if not held or not self.outputs_alone:
            return self.single, list(self.trials)
        return self.single.forward, [one.forward for one in self.trials]

    def _load(self, sources: Sources) -> Target:
        """Return the target, imported anew with other sources."""
        forget_own_modules(self.before)
        with sources.in_force():
            return load_target(self.question["spec"], cell=self.trials[0].case.cell)

    def _lines(self) -> dict[str, set[int]]:
        """Return the lines that may be edited: those that are wrong, and those that cannot be told apart from them."""
        found: dict[str, set[int]] = defaultdict(set)
        for finding in self.findings:
            for site in _sites_of(finding):
                found[site.path] |= _lines_of(site)
        for edit in self.first:
            found[edit.path] |= {edit.line, edit.span[0][0]}
        return found

    def _due(self, candidates: Sequence[Candidate], held: list[Override]) -> tuple[list[Candidate], list[Candidate]]:
        """Return those with which whole expressions come to what is due, and what is simple of all others.

        What is due is what they come to while all that is wrong is held at what it ought to be. There every one is
        tried where its expression is computed, so none takes a run of its own.
        """
        trial = replace(self.trials[0].forward if self.outputs_alone else self.trials[0], asked=False)
        due = _Recorder(self.edited)
        tried = _Filter(self.edited, candidates, due, self.end)
        for attempt in (due, tried):
            self.edited.attempts.update({site.number: attempt.of(site) for site in self.edited.sites})
            try:
                self.program.wrong(trial, held)
            finally:
                self.edited.attempts.clear()
        likely = [one for one in candidates if id(one) not in tried.refuted]
        unlikely = [one for one in candidates if id(one) in tried.refuted and one[0].cost <= tolerance.UNLIKELY_COST]
        return likely, unlikely

    def candidates(self) -> Iterator[tuple[Edit, ...]]:
        """Yield edits, alone or several together, that make all trials right; the simplest first."""
        everywhere = [override for finding in self.findings for override in finding.overrides]
        single = [(edit,) for edit in _simplest(self.edits.all)]
        if self.first:
            yield self.first
        if self.simple:
            yield from self._alone([*single, *self.edits.runs], [])
            return
        if not self.findings:
            yield from self._alone(single, [])
            return
        if len(self.findings) == 1:
            likely, unlikely = self._due(single, everywhere)
            yield from self._alone(likely, [])
            yield from self._alone(unlikely, [])
            yield from self._alone(self._due(self._pairs(), everywhere)[0], [])
            yield from self._across(single, everywhere)
            return
        each = []
        for finding in self.findings:
            held = [one for other in self.findings if other is not finding for one in other.overrides]
            places = {(site.path, line) for site in _sites_of(finding) for line in _lines_of(site)}
            own = [(edit,) for (edit,) in single if (edit.path, edit.span[0][0]) in places]
            likely, unlikely = self._due(own, everywhere)
            right = self._alone([*likely, *unlikely], held)
            each.append([edit for (edit,) in islice(right, tolerance.FIXES_SHOWN)])
        together = sorted(product(*each), key=lambda edits: sum(edit.cost for edit in edits))
        for chosen in together[:64]:
            if len({edit.group for edit in chosen}) == len(chosen) and self._right(chosen, []):
                yield chosen

    def _alone(self, candidates: Sequence[Candidate], held: list[Override]) -> Iterator[Candidate]:
        """Yield those that make all trials right, with other places held."""
        for candidate in candidates:
            if time.monotonic() > self.end:
                return
            if self._right(candidate, held):
                yield candidate

    def _pairs(self) -> list[Candidate]:
        """Return two edits each of one expression, the simplest first."""
        simple = [edit for edit in _simplest(self.edits.all) if edit.cost <= tolerance.PAIRED_COST]
        simple = [edit for edit in simple if edit.of_expression]
        pairs = ((a, b) for a, b in combinations(simple, 2) if a.line == b.line and _are_apart(a, b))
        return sorted(islice(pairs, tolerance.PAIRS), key=lambda pair: pair[0].cost + pair[1].cost)

    def _across(self, single: Sequence[Candidate], held: list[Override]) -> Iterator[Candidate]:
        """Yield two edits each, one at a line and one at what feeds it: both may be wrong, one after the other.

        What feeds it is held at one quantity after another. With the one that it ought to be an edit of the line comes
        to what is due there, and then an edit of what feeds it to that quantity.
        """
        finding = self.findings[0]
        for feeder in finding.feeders:
            own, before = ([c for c in single if _is_within(c, site)] for site in (finding.site, feeder))
            places = self.program.places(self.trials[0], held)
            options = Options(self.trials[0].due, places, (), {feeder.number})
            for overrides in options.anywhere():
                if time.monotonic() > self.end:
                    return
                likely = self._due(own, [*held, *overrides])[0] if own and before else []
                feeding = self._due(before, [*held, *overrides])[0] if likely else []
                yield from self._alone([(*one, *other) for one, other in product(feeding, likely)], [])

    def _right(self, edits: Sequence[Edit], held: list[Override]) -> bool:
        """Return whether all trials are right with these edits; that of a single step, the quickest, is asked first."""
        self.edited.switch.update({key: edit.number for edit in edits for key in (edit.group, edit.number)})
        try:
            if self.outputs_alone and self.program.wrong(self.single.forward, held):
                return False
            if self.outputs_are_enough:
                return not any(self.program.wrong(one.forward, held) for one in self.trials)
            single, trials = self._held_trials(held)
            return not self.program.wrong(single, held) and not any(self.program.wrong(one, held) for one in trials)
        finally:
            self.edited.switch.clear()

    def held_to_everything(self, chosen: Sequence[Edit]) -> Fix | None:
        """Return the fix, written into the text of the files and loaded anew, if all cases are right with it."""
        for brackets in (False, True):
            texts = self.written(chosen, brackets)
            if texts is None:
                continue
            sources = Sources(texts={**self.original, **texts})
            try:
                program = Program(self._load(sources), sources)
            except Exception:
                continue
            trials = [*self.trials, *self._run(program.target)]
            with as_it_is_called():
                if not any(program.wrong(trial) for trial in trials):
                    return self._fix(texts, len(trials))
        return None

    def _run(self, target: Target) -> list[Trial]:
        """Return the cases of a whole run of which something can be told."""
        if not hasattr(self, "_of_the_run"):
            folds = DHN in target.lacks
            trials = [Trial(Case.parse(text), folds) for text in self.question["run"]]
            self._of_the_run = [trial for trial in trials if not trial.chaotic]
        return self._of_the_run

    def written(self, chosen: Sequence[Edit], brackets: bool) -> dict[str, str] | None:
        """Return the new texts of the files; None where they are no Python."""
        texts: dict[str, str] = {}
        for path in {edit.path for edit in chosen}:
            data = self.original[path].encode().splitlines(keepends=True)
            starts = [0]
            for line in data:
                starts.append(starts[-1] + len(line))
            whole = b"".join(data)
            spans = sorted(
                (
                    (_at(edit.span[0], starts), _at(edit.span[1], starts), edit.text)
                    for edit in chosen
                    if edit.path == path
                ),
                reverse=True,
            )
            for begin, stop, text in spans:
                plain = not brackets or not text.strip() or text.strip() in ("=", "+=", "-=", "*=")
                whole = whole[:begin] + (text if plain else f"({text})").encode() + whole[stop:]
            try:
                compile(whole, path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                return None
            texts[path] = whole.decode()
        return texts

    def _fix(self, texts: Mapping[str, str], tried: int) -> Fix:
        """Return a fix with its diff."""
        diff: list[str] = []
        disk: Mapping[str, str] = self.question.get("on disk", self.original)
        texts = {path: text for path, text in {**self.original, **texts}.items() if text != disk[path]}
        for path, text in texts.items():
            name = os.path.relpath(path)
            name = path if name.startswith("..") else name
            old, new = (one.splitlines(keepends=True) for one in (disk[path], text))
            diff += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
        digests = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in texts}
        return Fix("".join(diff), dict(texts), digests, tried)


def _simplest(edits: Sequence[Edit]) -> list[Edit]:
    """Return edits in the order of what they cost."""
    return sorted(edits, key=lambda one: (one.cost, one.number))


def _is_within(candidate: Candidate, site: Site) -> bool:
    """Return whether all edits of a candidate are of an expression of a site's statement."""
    first, last = site.statement
    return all(one.of_expression and one.path == site.path and first <= one.line <= last for one in candidate)


def _are_apart(one: Edit, other: Edit) -> bool:
    """Return whether neither of two edits of a file is within what the other replaces."""
    return one.path == other.path and (one.span[1] <= other.span[0] or other.span[1] <= one.span[0])


class _Recorder:
    """What whole expressions come to in a run, pass by pass."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.values: dict[int, list[Any]] = defaultdict(list)

    def of(self, site: Site) -> Callable[[Callable[[], Any]], Any]:
        """Return what is given a site's expression."""

        def attempt(expression: Callable[[], Any]) -> Any:
            value = self.sources.probe(site.number, expression())
            self.values[site.number].append(value)
            return value

        AGAIN.add(attempt.__code__)
        return attempt


class _Filter:
    """Which edits are refuted by what whole expressions come to with them, pass by pass."""

    def __init__(self, sources: Sources, candidates: Sequence[Candidate], due: _Recorder, end: float) -> None:
        self.sources, self.due, self.end = sources, due, end
        self.refuted: set[int] = set()
        self.by_place: dict[str, list[Candidate]] = defaultdict(list)
        for one in candidates:
            if all(edit.of_expression for edit in one):
                self.by_place[one[0].path].append(one)

    def of(self, site: Site) -> Callable[[Callable[[], Any]], Any]:
        """Return what is given a site's expression."""
        candidates: list[Candidate] | None = None
        passes = iter(self.due.values[site.number])

        def attempt(expression: Callable[[], Any]) -> Any:
            nonlocal candidates
            if candidates is None:
                candidates = self._within(site)
            due = next(passes, None)
            wanted = plain_array(due)
            if wanted is None or not candidates:
                # Within it there may be others.
                return self.sources.probe(site.number, expression())
            handlers, self.sources.handlers = self.sources.handlers, {}
            attempts = dict(self.sources.attempts)
            self.sources.attempts.clear()
            left = []
            for one in candidates:
                if time.monotonic() > self.end:
                    break
                self.sources.switch.update({key: edit.number for edit in one for key in (edit.group, edit.number)})
                try:
                    came = plain_array(expression())
                except Exception:
                    came = None
                finally:
                    self.sources.switch.clear()
                if came is not None and came.shape == wanted.shape and _same(came, wanted):
                    left.append(one)
                else:
                    self.refuted.add(id(one))
            candidates[:] = left
            self.sources.handlers = handlers
            self.sources.attempts.update(attempts)
            return due

        AGAIN.add(attempt.__code__)
        return attempt

    def _within(self, site: Site) -> list[Candidate]:
        """Return those all of whose edits are within a site."""
        begin, end = (site.line, site.column), (site.end_line, site.end_column)
        own = self.by_place[site.path]
        return [one for one in own if all(begin <= edit.span[0] and edit.span[1] <= end for edit in one)]


def _same(came: Any, wanted: Any) -> bool:
    """Return whether two arrays of one shape are the same but for rounding."""
    size = np.max(np.abs(wanted), initial=0.0)
    return bool(np.max(np.abs(came - wanted), initial=0.0) <= tolerance.SAME_QUANTITY[str(wanted.dtype)] * size)


def _at(place: tuple[int, int], starts: Sequence[int]) -> int:
    """Return the offset of a line and column."""
    return starts[min(place[0] - 1, len(starts) - 1)] + place[1]


def _sites_of(finding: Finding) -> list[Any]:
    """Return the sites of a finding, and those that cannot be told apart from it."""
    return [site for site in (finding.instead, finding.site, *finding.feeders) if site is not None]


def _lines_of(site: Site) -> set[int]:
    """Return the lines of a site: of a display of several lines, such as a dict, those of its own entry alone."""
    return set(range(site.line, site.end_line + 1))


def _traced(
    places: Sequence[Place], variables: Mapping[str, Mapping[str, set[tuple[int, ...]]]]
) -> tuple[dict[str, Scope], dict[Any, frozenset[tuple[int, ...]]]]:
    """Return the shapes of the variables of each function, and those of each expression by its place."""
    values: dict[Any, set[tuple[int, ...]]] = defaultdict(set)
    known: dict[str, dict[str, set[tuple[int, ...]]]] = defaultdict(dict)
    for place in places:
        site = place.site
        values[site.path, site.line, site.column, site.end_line, site.end_column].add(place.own)
        if site.is_access and "\n" not in site.text:
            # What sister lines read: an entry by the name that a loop has for it, a step of an array.
            known[site.function].setdefault(site.text, set()).add(place.own)
    for name, found in variables.items():
        for text, shapes in found.items():
            known[name].setdefault(text, set()).update(shapes)
    scopes = {name: Scope({text: frozenset(s) for text, s in found.items()}) for name, found in known.items()}
    return scopes, {key: frozenset(found) for key, found in values.items()}
