"""Which line is wrong: a value of the user's own program is overridden with what it ought to be, and it is run again.

If everything comes out right then, the program goes wrong at that place, or in what feeds only it. The places are tried
in the order in which the program departs from every known quantity; what feeds a place that works is tried, too, and
what still feeds it and is no known quantity is told with it. Where no place alone is enough, the one that mends most
tensors is held at what it ought to be, and the search goes on from there.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, permutations, product, zip_longest
from typing import Any

from lstm_checks import tolerance
from lstm_checks.calling import Outcome
from lstm_checks.repair.due import ONES, ZERO, Due, Quantity, family_of
from lstm_checks.repair.forms import CALLS, ONCE, SAMPLES, STEPS_OF_SAMPLES, Block, Form, partitions
from lstm_checks.repair.program import Budget, Override, Place, Program
from lstm_checks.repair.rewrite import Site
from lstm_checks.repair.trial import Trial

BELOW = ({"e": "X_s", "u": "hp", "1": ONES}, {"e": "dX", "u": "dh", "1": "dk_ @ b.mT of all gates"})
"""What stands below one another where weights are packed so: what goes in, and what comes back to it."""


MISSING = "missing"
"""Of all quantities those of the gates for which a function does not show what it shows of others."""

FIRST = 3
"""How many variables are looked behind: those that a loop hands on depart together."""


@dataclass(frozen=True)
class Finding:
    """A line at which the program goes wrong, and the intervention that shows it.

    `mends` are the tensors that come right by it, where it takes several; `feeders` other sites that cannot be told
    apart from it, since what they come to is no known quantity. `word` is the variable in it that is to hold something
    else, where that is enough, and `instead` the site that sets it, where what it is to hold is computed nowhere.
    """

    site: Site
    overrides: tuple[Override, ...]
    mends: frozenset[Any]
    feeders: tuple[Site, ...] = ()
    word: Site | None = None
    instead: Site | None = None


def find_lines(program: Program, trials: Sequence[Trial], budget: Budget) -> tuple[Finding, ...]:
    """Return the lines that together make everything right on all trials, each with what it mends; nothing if none do.

    Parameters
    ----------
    program : Program
    trials : sequence of Trial
        Cases that the program fails first, then others; the first, of sizes that can be told apart, is searched on.
    budget : Budget
    """
    return _Search(program, trials, budget).found()


Held = tuple[tuple[Override, ...], frozenset[Any]]
"""Overrides that are held, and what came right by them."""


class _Search:
    """The search on one program.

    What is wrong is counted on two cases, one of them of a single step: there nothing wrong comes back from the step
    before, and what one of several faults is about comes right by itself.
    """

    def __init__(self, program: Program, trials: Sequence[Trial], budget: Budget) -> None:
        self.program, self.trials, self.budget = program, trials, budget
        self.trial = trials[0]
        self.single = self.trial.of(replace(self.trial.case, s=1))
        self.due = self.trial.due
        self.outputs = frozenset(self.due.cell.outputs)
        self.right: set[tuple[str, Any]] = set()
        self.forwards: dict[Any, frozenset[str]] = {}

    def found(self) -> tuple[Finding, ...]:
        """Return what was found; where a helper was told that is right elsewhere, what is found without it."""
        for _ in range(tolerance.HELPERS_RIGHT):
            right = len(self.right)
            found = self._found()
            if found or len(self.right) == right:
                return found
        return ()

    def _found(self) -> tuple[Finding, ...]:
        """Return what was found with the helpers left alone that are right."""
        held = self._solve([], None) or self._beside()
        if not held:
            return ()
        self.budget.runs = max(self.budget.runs, tolerance.FURTHER_LINE_RUNS)
        for part in list(held):
            for _ in range(tolerance.FEEDERS_DEEP):
                before = [id(one) for one in held]
                held = self._deeper(held, part)
                further = [one for one in held if id(one) not in before]
                if len(further) != 1:
                    break
                (part,) = further
        found: list[Finding] = []
        for overrides, mends in held:
            # A line in a loop over gates is one line, whichever gate it was held for.
            site = overrides[0].place.site
            same = next((known for known in found if known.site is site), Finding(site, (), frozenset()))
            found = [known for known in found if known is not same]
            found.append(replace(same, overrides=same.overrides + overrides, mends=same.mends | mends))
        found = self._of_one_helper(found)
        called = [self._called(one, found) for one in found]
        if None in called:
            return ()
        found = [one for one in called if one is not None]
        # What holds much more than it need, further down, would stand for what is further up.
        for k in reversed(range(len(found))):
            found[k] = self._narrowed(found[k], found)
        for finding in list(found):
            others = [override for other in found if other is not finding for override in other.overrides]
            # What the others can do without is no fault of its own.
            if len(found) > 1 and not self.program.wrong(self.trial, others):
                found.remove(finding)
        if sum(self._exchanges_gates(one) for one in found) >= tolerance.GATES_EXCHANGED:
            # They are packed in another order than they should be, which stands in none of these lines.
            return ()
        found = [self._where_read(one, found) for one in found]
        found = self._where_all_read_it(found)
        if not self._everywhere([override for one in found for override in one.overrides]):
            return ()
        # In the order in which the program comes to them.
        return tuple(sorted(found, key=lambda one: min(override.place.event for override in one.overrides)))

    def _where_read(self, one: Finding, found: list[Finding]) -> Finding:
        """Return a finding at the line that reads a variable, where that begins as what it may well be.

        Held at what is due there everything is right, too; but its first values are another quantity of the reference.
        """
        place, due = one.overrides[0].place, one.overrides[0].form
        own = place.form
        if one.word is not None or not _begins(place) or own is None or own.names in ([ZERO], due.names):
            return one
        others = [override for other in found if other is not one for override in other.overrides]
        names = {name for bound in one.site.binds for name in bound.split(",")}
        places = self.program.places(self.trial, others)
        readers = {
            other.site.number
            for other in places
            if other.site.whole
            and other.site.function == one.site.function
            and other.site.of_statement != one.site.of_statement
            and names & set(other.site.names)
        }
        if len({self.program.sources.sites[number].of_statement for number in readers}) != 1:
            return one
        overrides = self._enough(places, readers, others)
        if not overrides or overrides[0].form.names != due.names:
            # What is made of it is another quantity, so it may itself be wrong.
            return one
        return replace(one, site=overrides[0].place.site, overrides=overrides, feeders=(*one.feeders, one.site))

    def _exchanges_gates(self, one: Finding) -> bool:
        """Return whether at a line stands for each value the same of another gate."""
        pairs = [(override.place.form, override.form) for override in one.overrides]
        alike = [
            family_of(came.names[0], self.due.letters)[0] == family_of(due.names[0], self.due.letters)[0] != ""
            for came, due in pairs
            if came is not None and len(came.names) == len(due.names) == 1
        ]
        return len(alike) == len(pairs) and all(alike)

    def _where_all_read_it(self, found: list[Finding]) -> list[Finding]:
        """Return findings of which those at several lines that read one variable are one, where that is set."""
        by_name: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for one in found:
            word = one.word or one.site
            if word.is_leaf and one.instead is None:
                by_name[word.function, word.text].append(replace(one, word=word))
        for (function, name), many in by_name.items():
            first = min(one.site.line for one in many)
            of_function = [site for site in self.program.sources.sites if site.function == function]
            sets = [s for s in of_function if s.line < first and name in ",".join(s.binds).split(",")]
            if len(many) > 1 and sets:
                overrides = tuple(override for one in many for override in one.overrides)
                mends = frozenset[Any]().union(*(one.mends for one in many))
                if _is_kept(sets[-1]) and not all(_is_read(override.place) for override in overrides):
                    # What was kept is wrong, or was never kept, and where that is so nothing shows.
                    return []
                merged = {one.site for one in many}
                found = [one for one in found if one.site not in merged]
                found.append(Finding(sets[-1], overrides, mends, word=many[0].word))
        return found

    def _of_one_helper(self, found: list[Finding]) -> list[Finding]:
        """Return findings of which those in a helper, and at calls of it, are one, where that is what it returns."""
        if len(found) < 2:
            return found
        contexts = defaultdict[Site, set[Any]](set)
        for place in self.program.places(self.trial, [override for one in found for override in one.overrides]):
            if place.site.returned:
                contexts[place.site].add(place.context)
        for returned, calls in contexts.items():
            own = [
                one
                for one in found
                if one.site.function == returned.function
                or (one.site.is_call and (one.site.path, one.site.line, one.site.column) in calls)
            ]
            if len(own) < 2:
                continue
            due: dict[Any, Form] = {}
            for override in (override for one in own for override in one.overrides):
                site = override.place.site
                within = site.function == returned.function
                due[override.place.context if within else (site.path, site.line, site.column)] = override.form
            others = [override for one in found if one not in own for override in one.overrides]
            places = [p for p in self.program.places(self.trial, others) if p.site is returned and p.context in due]
            overrides = tuple(Override(p, replace(due[p.context], view=p.view)) for p in places)
            if overrides and self.budget.spend() and self._everywhere([*others, *overrides]):
                mends = frozenset[Any]().union(*(one.mends for one in own))
                return [*(one for one in found if one not in own), Finding(returned, overrides, mends)]
        for one, other in permutations(found, 2):
            merged = self._of_one_use(one, other, found)
            if merged is not None:
                return [merged, *(left for left in found if left not in (one, other))]
        return found

    def _of_one_use(self, one: Finding, other: Finding, found: list[Finding]) -> Finding | None:
        """Return a helper's finding with another quantity in one use, with which what holds that use is not needed."""
        sites = self.program.sources.sites
        calls = {(s.path, s.line, s.column) for s in (sites[number] for number in other.site.parts) if s.is_call}
        used = [override for override in one.overrides if override.place.context in calls]
        if not one.site.returned or not used:
            return None
        kept = [override for left in found if left is not other for override in left.overrides if override not in used]
        places = [place for place in self.program.places(self.trial, kept) if place.context in calls]
        for overrides in Options(self.due, places, (), {one.site.number}).anywhere():
            if not self.budget.spend():
                return None
            if not self.program.wrong(self.single, [*kept, *overrides]) and self._everywhere([*kept, *overrides]):
                own = [override for override in one.overrides if override not in used]
                return replace(one, overrides=(*own, *overrides), mends=one.mends | other.mends)
        return None

    def _called(self, one: Finding, found: list[Finding]) -> Finding | None:
        """Return what is told of one line; of a function that is right in another use the call, or None."""
        others = [override for other in found if other is not one for override in other.overrides]
        places = self.program.places(self.trial, [*others, *one.overrides])
        own = [place for place in places if place.site is one.site]
        due = {override.place.key: override.form.names for override in one.overrides}
        right = {
            p.context for p in own if p.known and p.form is not None and due.get(p.key, p.form.names) == p.form.names
        }
        wrong = {override.place.context for override in one.overrides} - right
        if not right or not wrong:
            return one
        (context, *further) = wrong
        calls = [p.site for p in places if p.site.is_call and (p.site.path, p.site.line, p.site.column) == context]
        self.right |= {(one.site.function, context) for context in wrong}
        if further or not calls:
            return None
        allowed = {number for call in calls for number in (call.number, *call.parts)}
        # As it is without what it returns held.
        places = self.program.places(self.trial, others)
        for overrides in Options(self.due, places, (), allowed).anywhere():
            if not self.budget.spend():
                return None
            if not self.program.wrong(self.single, [*others, *overrides]) and self._everywhere([*others, *overrides]):
                return replace(one, site=overrides[0].place.site, overrides=overrides)
        return None

    def _narrowed(self, one: Finding, found: list[Finding]) -> Finding:
        """Return what is told of one line: what else feeds it, or the word of it that is enough, where there is one."""
        others = [override for other in found if other is not one for override in other.overrides]
        places = self.program.places(self.trial, [*others, *one.overrides])
        feeders = unknown_feeders(one.site, places)
        if feeders and not {feeder.number for feeder in feeders} <= set(one.site.parts):
            return replace(one, feeders=feeders)
        return self._word(replace(one, feeders=()), others, places) or replace(one, feeders=feeders)

    def _word(self, one: Finding, others: list[Override], places: list[Place]) -> Finding | None:
        """Return the same with the word of it that is enough, or at the line that sets that; None for neither."""
        if one.site.is_leaf:
            # A variable that is handed on as it is may be wrong from where it is set.
            return self._where_set(replace(one, word=one.site), others, places) or one
        options = Options(self.due, places, others, set(one.site.parts))
        for leaf in options.leaves(True):
            if not self.budget.spend():
                return None
            if not self.program.wrong(self.single, [*others, *leaf]) and self._everywhere([*others, *leaf]):
                word = leaf[0].place.site
                narrower = replace(one, overrides=leaf, word=word)
                if (kept := self._where_kept(narrower, others, places)) is not None:
                    return kept
                # Where what it is to hold is computed nowhere, it may be to be where the variable is set.
                nowhere = not set(leaf[0].form.names) & options.alone
                return (self._where_set(narrower, others, places) if nowhere else None) or narrower
        return None

    def _where_kept(self, one: Finding, others: list[Override], places: list[Place]) -> Finding | None:
        """Return a finding where what its word reads was kept, if what is due is kept by no other word either."""
        assert one.word is not None
        key = _key_of(one.word)
        kept = [place for place in places if place.site.key and place.site is not one.word]
        names = {name for place in kept if place.known and place.form is not None for name in place.form.names}
        if not key or {name for override in one.overrides for name in override.form.names} & names:
            return None
        overrides = self._enough(places, {place.site.number for place in kept if place.site.key == key}, others)
        return replace(one, site=overrides[0].place.site, overrides=overrides, word=None) if overrides else None

    def _where_set(self, one: Finding, others: list[Override], places: list[Place]) -> Finding | None:
        """Return a finding at the line that sets its word, if everything is right with that line's value overridden."""
        word = one.word
        assert word is not None
        sets = [p for p in places if word.text in {name for bound in p.site.binds for name in bound.split(",")}]
        read = min(place.event for place in places if place.site is word)
        # Of several lines that set it, the one that was passed last before it is read.
        sets = [place for place in sets if place.site.function == word.function and place.event < read][-1:]
        if not sets:
            # A parameter: it was computed where the same values passed first.
            free = self.program.places(self.trial, others)
            sets = _first_with_the_same(word, free)[:1]
        if not sets:
            return self._where_split(one, others, places)
        overrides = self._enough(places, {place.site.number for place in sets}, others)
        return replace(one, overrides=overrides, instead=overrides[0].place.site) if overrides else None

    def _where_split(self, one: Finding, others: list[Override], places: list[Place]) -> Finding | None:
        """Return a finding where what its word is a part of is set: several variables at once, as by `chunk`."""
        word = one.word
        assert word is not None
        splits = [
            site
            for site in self.program.sources.sites
            if any(word.text in bound.split(",") and "," in bound for bound in site.binds)
            and (site.path, site.function) == (word.path, word.function)
            and site.line <= word.line
        ]
        overrides = self._enough(places, {number for site in splits[-1:] for number in site.parts}, others)
        if not overrides:
            return None
        whole = overrides[0].place.site
        found = replace(one, overrides=overrides, instead=whole)
        if not whole.is_leaf:
            return found
        inner = self._where_set(replace(one, word=whole, overrides=overrides), others, places)
        return replace(inner, word=word) if inner is not None else found

    def _enough(self, places: list[Place], allowed: set[int], others: list[Override]) -> tuple[Override, ...]:
        """Return overrides at some sites with which, and with others, everything is right; else none."""
        for overrides in Options(self.due, places, (), allowed).anywhere():
            if not self.budget.spend():
                break
            if not self.program.wrong(self.single, [*others, *overrides]) and self._everywhere([*others, *overrides]):
                return overrides
        return ()

    def _solve(self, before: list[Override], allowed: set[int] | None) -> list[Held]:
        """Return overrides that make everything right together with those before; at allowed sites, or anywhere."""
        held: list[Held] = []
        wrong = self._wrong(before) or frozenset()
        if any(str(name).startswith("error") for _, name in wrong):
            return []
        for _ in range(tolerance.LINES_TOGETHER):
            so_far = [*before, *(one for overrides, _ in held for one in overrides)]
            found = self._next(so_far, wrong, allowed)
            if found is None:
                return []
            overrides, now = found
            self.budget.runs = max(self.budget.runs, tolerance.FURTHER_LINE_RUNS)
            held.append((overrides, wrong - now))
            wrong = now
            if not wrong:
                return held
        return []

    def _places(self, before: Sequence[Override]) -> list[Place]:
        """Return the places at which something may be tried."""
        return [p for p in self.program.places(self.trial, before) if (p.site.function, p.context) not in self.right]

    def _next(
        self, before: list[Override], wrong: frozenset[Any], allowed: set[int] | None
    ) -> tuple[tuple[Override, ...], frozenset[Any]] | None:
        """Return overrides that make everything right, or else the earliest that make more so, and what is left."""
        places = self._places(before)
        options = Options(self.due, places, before, allowed)
        reach = _Reach(self, before, wrong)
        if allowed is None and (alone := self._alone(options, before, reach, True)) is not None:
            return alone, frozenset()
        # However many runs it took to see that no place alone is enough.
        self.budget.runs = max(self.budget.runs, tolerance.FURTHER_LINE_RUNS)
        if allowed is None and (forward := self._forward(options, before, wrong)) is not None:
            return forward
        self.budget.runs = max(self.budget.runs, tolerance.FURTHER_LINE_RUNS)
        spoilt = frozenset[str]()
        if allowed is None and not self.trial.outputs_alone and self.outputs & {name for _, name in wrong}:
            spoilt = self._outputs_wrong(self.single, before)
        best: tuple[tuple[Override, ...], frozenset[Any]] | None = None
        for k, kind in enumerate(options.kinds()):
            first: frozenset[Any] | None = None
            for overrides in kind:
                # While outputs are wrong, what makes none of them right is nothing to go on from.
                if spoilt and not self._outputs_wrong(self.single, [*before, *overrides]) < spoilt:
                    if self.budget.runs < 0:
                        return best
                    continue
                # What is wrong there would be wrong in all that it has to do with.
                if allowed is None and not reach(overrides) <= reach.wrong:
                    continue
                if not self.budget.spend():
                    return None
                now = self._wrong([*before, *overrides], wrong)
                if now is None:
                    continue
                if not now and self._everywhere([*before, *overrides]):
                    return overrides, now
                same = best is not None and best[0][0].place.site is overrides[0].place.site
                # What a helper returns in all its uses is weighed against the first line that is no helper's.
                other = k == 1 and first is None
                if now and (best is None or ((same or other) and len(now) < len(best[1]))):
                    best = overrides, now
                first = now or first
            if best is not None and allowed is None and k:
                return best
        return best

    def _forward(
        self, options: "Options", before: list[Override], wrong: frozenset[Any]
    ) -> tuple[tuple[Override, ...], frozenset[Any]] | None:
        """Return overrides that make all outputs right, where some are wrong, and what is left: of several the best.

        What goes wrong in the forward pass spoils all gradients, so nothing can be told of these before.
        """
        if not any(name in self.outputs for _, name in wrong) or self.trial.outputs_alone:
            return None
        best: tuple[tuple[Override, ...], frozenset[Any]] | None = None
        for kind in options.kinds():
            for overrides in kind:
                if self.budget.runs < 0:
                    return best
                if self._outputs_wrong(self.single, [*before, *overrides]):
                    continue
                if not self.budget.spend():
                    return best
                if self._outputs_wrong(self.trial, [*before, *overrides]):
                    continue
                now = self._wrong([*before, *overrides]) or frozenset()
                if best is None or len(now) < len(best[1]):
                    best = overrides, now
            if best is not None:
                return best
        return None

    def _outputs_wrong(self, trial: Trial, overrides: Sequence[Override]) -> frozenset[str]:
        """Return which outputs are wrong on a case; the forward pass alone is run, which is a part of a run."""
        key = trial.case, tuple(overrides)
        if key not in self.forwards:
            self.budget.runs -= tolerance.FORWARD_SHARE
            self.forwards[key] = self.program.wrong(trial.forward, overrides)
        return self.forwards[key]

    def _beside(self) -> list[Held]:
        """Return overrides of one site that make everything right, though it has to do with more than is wrong."""
        wrong = self._wrong([]) or frozenset()
        options = Options(self.due, self._places([]), (), None)
        alone = self._alone(options, [], _Reach(self, [], wrong), False)
        return [(alone, wrong)] if alone is not None else []

    def _alone(
        self, options: "Options", before: list[Override], reach: "_Reach", exactly: bool
    ) -> tuple[Override, ...] | None:
        """Return overrides of one site that make everything right; None where there are none.

        Of sites that have to do with what is wrong and with nothing else, or, not `exactly`, with more.
        """
        for overrides in chain.from_iterable(options.kinds()):
            if not reach.may_be_all(overrides, exactly):
                continue
            together = [*before, *overrides]
            quicker = reach.wrong & self.outputs and not reach.trial.outputs_alone and self.budget.runs > 0
            if quicker and self._outputs_wrong(reach.trial, together):
                continue
            if not self.budget.spend():
                return None
            if not self.program.wrong(reach.trial, together) and self._everywhere(together):
                return overrides
        return None

    def _deeper(self, held: list[Held], one: Held) -> list[Held]:
        """Return overrides of what feeds one instead of it, where these make everything right, too."""
        others = [other for other in held if other is not one]
        before = [override for overrides, _ in others for override in overrides]
        # With it held, so that nothing that it spoils comes back to what feeds it.
        places = self.program.places(self.trial, [*before, *one[0]])
        feeders = upstream(one[0][0].place.site, places)
        found = self._solve(before, feeders) if feeders else []
        return [*others, *found] if found else held

    def _wrong(self, overrides: Sequence[Override], before: frozenset[Any] | None = None) -> frozenset[Any] | None:
        """Return which tensors are wrong on which of the two cases; None where no more is right than before."""
        found = frozenset((1, name) for name in self.program.wrong(self.single, overrides))
        if before is not None:
            there = frozenset(one for one in before if one[0])
            # The shorter case is quicker: what does not help there is of no use.
            if not (found < there or found == there == frozenset()):
                return None
        found |= {(0, name) for name in self.program.wrong(self.trial, overrides)}
        return found if before is None or found < before else None

    def _everywhere(self, overrides: Sequence[Override]) -> bool:
        """Return whether everything is right on all trials with these overrides."""
        return not any(self.program.wrong(trial, overrides) for trial in self.trials)


class _Reach:
    """Which tensors the values of places have to do with, on the shorter case if anything is wrong there.

    `longer` is the same on the other case, of several steps, where it is not that one itself.
    """

    def __init__(
        self, search: _Search, before: list[Override], wrong: frozenset[Any], single: bool | None = None
    ) -> None:
        self.search, self.before = search, before
        some = any(case for case, _ in wrong) if single is None else single
        self.trial = search.single if some else search.trial
        self.wrong = frozenset(name for case, name in wrong if bool(case) == some)
        self.longer = _Reach(search, before, wrong, False) if some else None
        self.found: dict[Any, frozenset[str]] = {}

    @cached_property
    def unchanged(self) -> Outcome:
        """What comes where nothing is changed."""
        return self.search.program.outcome(self.trial, self.before)

    def __call__(self, overrides: Sequence[Override]) -> frozenset[str]:
        """Return the tensors that these places together have to do with; all that are wrong where it raised."""
        site, contexts = overrides[0].place.site, frozenset(one.place.context for one in overrides)
        key = site.number, contexts
        if key not in self.found:
            self.search.budget.spend()
            affected = self.search.program.affected(self.trial, site, contexts, self.before, self.unchanged)
            self.found[key] = self.wrong if affected is None else affected
        return self.found[key]

    def may_be_all(self, overrides: Sequence[Override], exactly: bool) -> bool:
        """Return whether what is wrong at these places alone could be all that is wrong."""
        affected = self(overrides)
        if not self.wrong <= affected or (affected == self.wrong) != exactly:
            return False
        return self.longer is None or self.longer.wrong <= self.longer(overrides)


def upstream(site: Site, places: Sequence[Place]) -> set[int]:
    """Return the numbers of all sites that feed one and come to no known quantity, near and far."""
    found: dict[int, Site] = {}
    left = [site]
    while left:
        for feeder in unknown_feeders(left.pop(), places):
            if feeder.number not in found and feeder is not site:
                found[feeder.number] = feeder
                left.append(feeder)
    inner = {number for feeder in found.values() for number in feeder.parts}
    return {*found, *inner}


def unknown_feeders(site: Site, places: Sequence[Place]) -> tuple[Site, ...]:
    """Return the sites that feed one and come to no known quantity: in its expression, its variables', its helpers'.

    Only those nearest to it, one for each way in.
    """
    known: dict[int, bool] = {}
    sites: dict[int, Site] = {}
    for place in places:
        known[place.site.number] = known.get(place.site.number, True) and place.known
        sites[place.site.number] = place.site
    # What is read as zeros may be zeros for want of what is due there.
    zeros = {p.site.number for p in places if p.known and p.form is not None and p.form.names == [ZERO]}
    zeros -= {p.site.number for p in places if p.form is None or p.form.names != [ZERO]}
    unknown = {number for number, is_known in known.items() if not is_known or number in zeros}
    # What a function returns that is right in another use of it is not where it goes wrong.
    right = {place.site.number for place in places if place.site.returned and place.known}
    found: dict[int, Site] = {}
    parts = {number for number in (*site.parts, *[site.number] * site.is_leaf) if number in unknown}
    # What is made of unknown parts is no feeder of its own: the innermost are.
    inner = {number for number in parts if not parts & set(sites[number].parts)}
    for number in sorted(inner):
        part = sites[number]
        before = len(found)
        if part.is_access and not part.is_leaf:
            # An entry of what is kept: where the value that it is came from.
            kept = {place.site for place in _first_with_the_same(part, places)} - {site, part}
            found.update({other.number: other for other in kept if other.number in unknown})
            if len(found) == before:
                found[number] = part
            continue
        if not part.is_leaf and not _calls_own(part, sites.values()):
            found[number] = part
            continue
        for other in sites.values():
            sets = set(part.names) & {name for bound in other.binds for name in bound.split(",")}
            helper = not part.is_leaf and _calls(part, other) and other.number not in right
            if (
                other.number in unknown
                and other is not site
                and ((sets and other.function == part.function) or (helper and other.returned))
            ):
                found[other.number] = other
        if len(found) == before:
            # It went wrong where nobody sees it: written to in place, or by a library.
            found[number] = part
    return tuple(found.values())


def _first_with_the_same(site: Site, places: Sequence[Place]) -> list[Place]:
    """Return the places at which the values of a site were computed, by the first at which the same values passed."""
    computed: dict[int, Place] = {}
    for place in sorted(places, key=lambda place: place.event):
        for digest in () if place.site.is_access else place.digests:
            computed.setdefault(digest, place)
    own = [place for place in places if place.site is site]
    found = [computed[d] for place in own for d in place.digests if d in computed and computed[d].event < place.event]
    return sorted({place.key: place for place in found}.values(), key=lambda place: place.event)


def _calls(part: Site, other: Site) -> bool:
    """Return whether an expression calls the function that another is in."""
    name = other.function.rpartition(".")[2]
    return f"{name}(" in part.text


def _calls_own(part: Site, sites: object) -> bool:
    """Return whether an expression calls a function of the user's."""
    return any(_calls(part, other) for other in sites)  # type: ignore[attr-defined]


class Options:
    """What may be tried at the places of a program, the likeliest first."""

    def __init__(self, due: Due, places: list[Place], held: Sequence[Override], allowed: set[int] | None) -> None:
        keys = {one.place.key for one in held}
        # What is within what is held has no effect any more.
        within = {(number, one.place.context) for one in held for number in one.place.site.parts}
        self.due = due
        self.every = [p for p in places if (p.site.number, p.context) not in within]
        self.places = [p for p in self.every if p.key not in keys and (allowed is None or p.site.number in allowed)]
        known = [place for place in places if place.known and place.form is not None]
        # A step of it that stands for all steps is not the whole of it.
        self.alone = {
            block.name
            for p in places
            if p.known and p.form is not None and p.form.is_single
            for block in p.form.blocks[0]
            if block is not None and block.at is None
        }
        self.shown = {name for place in known if place.form is not None for name in place.form.names}
        self.orders = self._orders(known)
        self.backwards = self._directions(known)
        # A helper that is wrong in the forward pass is given what is right at the first step alone.
        self.gates = self._gates_of([place for place in places if _begins(place)]) | self._gates_of(known)
        self.missing = self._missing(known)

    def kinds(self) -> Iterator[Iterator[tuple[Override, ...]]]:
        """Yield all that is worth trying: the likeliest, then other quantities, then other places."""
        unknown = [place for place in self.places if not place.known]
        departs: dict[object, int] = {}
        for place in unknown:
            departs[place.site.of_statement] = min(place.departs, departs.get(place.site.of_statement, place.departs))
        # Of a statement the whole first: what its parts ought to be is seldom a quantity that has a name.
        unknown.sort(key=lambda p: (departs[p.site.of_statement], not p.site.whole, p.departs))
        computed = [place for place in unknown if place.site.whole or not place.site.is_leaf]
        known = [place for place in self._backwards() if place.known]
        whole = [place for place in known if place.site.whole]
        yield self._of_helpers()
        yield chain(
            self._at(self._behind_the_first(), None),
            self._at([place for place in known if place.site.whole or place.site.is_access], MISSING),
            self._at(computed, True),
        )
        yield self._in_turn([place for place in computed if not _begins(place)], whole)
        yield self.leaves()
        # What begins as some quantity is hardly to be another.
        yield self._at(computed, False)

    def _backwards(self) -> list[Place]:
        """Return all places back from where the first value departs, and then back from what is returned.

        A value that should have been another is next to what is made of it: what it spoils is no known quantity.
        """
        first = min((place.departs for place in self.every if not place.known), default=0)
        return sorted(self.places, key=lambda place: (place.event > first, -place.event))

    def _in_turn(self, computed: list[Place], whole: list[Place]) -> Iterator[tuple[Override, ...]]:
        """Yield any quantity with a name where a value is no known one, and where it is: a site of either in turn."""
        sites = [dict.fromkeys(place.site for place in places) for places in (computed, whole)]
        for one, other in zip_longest(*sites):
            yield from self._at([place for place in computed if place.site is one], None)
            yield from self._at([place for place in whole if place.site is other], None)

    def leaves(self, whole: bool = False) -> Iterator[tuple[Override, ...]]:
        """Yield what may be tried at variables."""
        accesses = [p for p in self._backwards() if p.site.is_access and (whole or not p.site.whole)]
        yield from self._at(sorted(accesses, key=lambda place: not place.site.is_leaf), None)

    def anywhere(self) -> Iterator[tuple[Override, ...]]:
        """Yield all quantities at all places that are allowed."""
        for likely in (True, None, False):
            yield from self._at(self.places, likely)

    def _of_helpers(self) -> Iterator[tuple[Override, ...]]:
        """Yield overrides of what a function returns in all its uses, each with the quantity of its own gate."""
        seen: set[int] = set()
        for place in self.places:
            if place.site.returned and place.site.number not in seen:
                seen.add(place.site.number)
                for likely in (True, False):
                    yield from self._groups(place, likely)

    def _behind_the_first(self) -> list[Place]:
        """Return the places that set the variables which are the first to depart from what they began as."""
        unknown = sorted((place for place in self.every if not place.known), key=lambda place: place.departs)
        if not unknown or not unknown[0].site.is_leaf:
            return []
        names = list(dict.fromkeys(place.site.text for place in unknown if place.site.is_leaf))[:FIRST]
        sets = [{name for bound in place.site.binds for name in bound.split(",")} for place in self.places]
        return [place for name in names for place, bound in zip(self.places, sets, strict=True) if name in bound]

    def _at(self, places: list[Place], likely: bool | str | None) -> Iterator[tuple[Override, ...]]:
        """Yield what may be tried at places, and at all uses of each one's site together."""
        seen: set[int] = set()
        for place in places:
            if place.site.number not in seen:
                seen.add(place.site.number)
                yield from self._groups(place, likely)
            yield from self._singles(place, likely)

    def _groups(self, place: Place, likely: bool | str | None) -> Iterator[tuple[Override, ...]]:
        """Yield overrides of all uses of a site at once, each with the quantity of its own gate."""
        alike = [other for other in self.places if other.site is place.site]
        if len(alike) > 1 and place.site.is_leaf and len({other.form and other.form.blocks for other in alike}) == 1:
            # A variable that is the same each time that a loop comes by.
            for form in self._forms(place, likely):
                yield tuple(Override(other, replace(form, view=other.view)) for other in alike)
            return
        gates = [self._gate(other) for other in alike]
        if len(alike) < 2 or None in gates:
            return
        for family, members in self.due.families.items():
            if likely not in (None, "(" not in family and " " not in family) or not set(gates) <= set(members):
                continue
            for transposed in (False, True):
                overrides = []
                for other, gate in zip(alike, gates, strict=True):
                    assert gate is not None
                    quantity = members[gate]
                    letters = quantity.axes[::-1] if transposed else quantity.axes
                    if tuple(self.due.sizes[letter] for letter in letters) != tuple(other.shape):
                        break
                    if quantity.of_steps == (other.view.kind == ONCE):
                        break
                    block = Block(quantity.name, transposed, self._goes_back(other) and quantity.of_steps)
                    overrides.append(Override(other, Form(other.view, (letters[0],), (letters[1],), ((block,),))))
                else:
                    yield tuple(overrides)

    def _singles(self, place: Place, likely: bool | str | None) -> Iterator[tuple[Override, ...]]:
        """Yield overrides of one place."""
        for form in self._forms(place, likely):
            if not (place.known and form == place.form):
                yield (Override(place, form),)

    def _forms(self, place: Place, likely: bool | str | None) -> Iterator[Form]:
        """Yield the forms that a place's values might be due to have."""
        if likely and place.form is not None and _begins(place):
            # What its first values are.
            yield place.form
        for rows, columns in partitions(place.shape, self.due):
            if len(rows) == len(columns) == 1:
                for block in self._blocks(place, rows[0] + columns[0], likely):
                    yield Form(place.view, rows, columns, ((block,),))
            elif likely not in (False, MISSING):
                yield from self._packed(place, rows, columns)

    def _blocks(self, place: Place, letters: str, likely: bool | str | None) -> Iterator[Block]:
        """Yield the quantities of some axes."""
        back, missing = self._goes_back(place), self.missing.get(place.site.function, ())
        once = place.view.kind == ONCE
        gate = self._gate(place) if place.view.slots > 1 else None
        for transposed in (False, True):
            axes = letters[::-1] if transposed else letters
            for of_steps in (not once, once):
                many = self.due.by_axes.get((axes, of_steps), ())
                for one in sorted(many, key=lambda one: one.name not in missing):
                    if gate is not None and family_of(one.name, self.due.letters)[1] not in ("", gate):
                        continue
                    if likely == MISSING:
                        if one.name in missing and not (once and of_steps):
                            yield Block(one.name, transposed, back and of_steps)
                        continue
                    named = one.name.partition(" of ")[0].isidentifier()
                    if named != (likely is None) if likely is None else self._is_likely(one) != likely:
                        continue
                    if once and of_steps:
                        yield from (Block(one.name, transposed, False, at) for at in (0, -1))
                    else:
                        yield Block(one.name, transposed, back and of_steps)

    def _gate(self, place: Place) -> str | None:
        """Return the gate that a place is about, in a function or a loop that goes through them; None for no one."""
        known = self.gates.get((place.site.function, place.context, place.view.slots, place.view.slot))
        orders = [order for order in self.orders if len(order) == place.view.slots]
        return orders[0][place.view.slot] if known is None and len(orders) == 1 else known

    def _is_likely(self, one: Quantity) -> bool:
        """Return whether a quantity has a name of its own and the program shows it nowhere."""
        return one.name not in self.shown and one.name.partition(" of ")[0].isidentifier()

    def _packed(self, place: Place, rows: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[Form]:
        """Yield what gates packed beside one another, or x, h and ones below one another, may be due to be."""
        for upright in (True, False):
            down, across = (rows, columns) if upright else (columns, rows)
            if set(across) == {"u"} and len(across) > 1:
                for order, down_families in product(self._orders_for(len(across)), self._families(down)):
                    blocks = []
                    for family in down_families:
                        members = self.due.families[family]
                        if not set(order) <= set(members):
                            break
                        blocks.append([self._of(members[gate], place, upright) for gate in order])
                    else:
                        yield _form(place, rows, columns, blocks, upright)
            if len(across) == 1 and set(down) <= {"e", "u", "1"} and len(down) > 1 and across[0] == "m":
                for parts in BELOW:
                    if not set(parts.values()) <= set(self.due.quantities):
                        continue
                    quantities = [self.due.quantities[parts[letter]] for letter in down]
                    column = [[self._of(q, place, upright == (q.name == ONES))] for q in quantities]
                    yield _form(place, rows, columns, column, upright)

    def _of(self, quantity: Quantity, place: Place, upright: bool) -> Block:
        """Return a block of a quantity at a place."""
        return Block(quantity.name, not upright, self._goes_back(place) and quantity.of_steps)

    def _families(self, letters: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Yield families of gates' quantities for rows of these letters: all of one kind, such as dU, dV and db."""
        found: dict[str, list[str]] = defaultdict(list)
        for family, members in self.due.families.items():
            found[next(iter(members.values())).axes].append(family)
        if len(letters) == 1:
            yield from ((family,) for family in found[letters[0] + "u"])
            return
        # Parameters' by their first letters: U, V, b; then what a step adds to them, and so on.
        kinds = defaultdict(dict)  # type: ignore[var-annotated]
        for letter in letters:
            for family in found[letter + "u"]:
                head, _, rest = family.partition(" ")
                if head.startswith("d") or not rest:
                    kinds[head.startswith("d"), rest].setdefault(letter, family)
        for families in kinds.values():
            if set(letters) <= set(families):
                yield tuple(families[letter] for letter in letters)

    def _orders(self, known: list[Place]) -> list[tuple[str, ...]]:
        """Return the orders in which gates are packed where the program is right."""
        found: dict[tuple[str, ...], None] = {}
        for place in known:
            assert place.form is not None
            for blocks in (*place.form.blocks, *zip(*place.form.blocks, strict=True)):
                gates = [family_of(block.name, self.due.letters)[1] for block in blocks if block is not None]
                if len(gates) > 1 and all(gates) and len(set(gates)) == len(gates):
                    found[tuple(gates)] = None
        return list(found)

    def _orders_for(self, count: int) -> list[tuple[str, ...]]:
        """Return the orders for so many gates: those the program is seen to have, else all there are."""
        seen = [order for order in self.orders if len(order) == count]
        return seen or list(permutations(self.due.cell.gates, count))

    def _directions(self, known: list[Place]) -> dict[Any, bool]:
        """Return whether each function, and each use of it, goes through the steps backwards."""
        votes: dict[Any, int] = defaultdict(int)
        for place in known:
            assert place.form is not None
            if place.view.kind not in (CALLS, SAMPLES, STEPS_OF_SAMPLES) or not place.form.is_single:
                continue
            (block,) = place.form.blocks[0]
            if block is not None and block.name != ZERO and self.due.quantities[block.name].of_steps:
                for key in (place.site.function, (place.site.function, place.context)):
                    votes[key] += 1 if block.backwards else -1
        return {key: count > 0 for key, count in votes.items()}

    def _goes_back(self, place: Place) -> bool:
        """Return whether a place is passed from the last step to the first."""
        function = place.site.function
        voted = self.backwards.get((function, place.context), self.backwards.get(function))
        if place.form is not None and place.form.is_single and (place.known or voted is None):
            (block,) = place.form.blocks[0]
            known = self.due.quantities.get(block.name) if block is not None else None
            if block is not None and known is not None and known.of_steps:
                return block.backwards
        # What a value begins as may be a zero of either pass.
        return bool(voted)

    def _missing(self, known: list[Place]) -> dict[str, set[str]]:
        """Return by function the quantities of the gates for which it does not show what it shows of other gates."""
        shown: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for place in known:
            assert place.form is not None
            for name in place.form.names if place.site.whole or place.site.is_access else ():
                family, gate = family_of(name, self.due.letters)
                if gate:
                    shown[place.site.function][family].add(gate)
        return {
            function: {
                quantity.name
                for family, gates in families.items()
                for gate, quantity in self.due.families.get(family, {}).items()
                if len(gates) > 1 and gate not in gates
            }
            for function, families in shown.items()
        }

    def _gates_of(self, known: list[Place]) -> dict[tuple[str, object, int, int], str]:
        """Return which gate a function is about in each of its uses, by what is known there."""
        found: dict[tuple[str, object, int, int], set[str]] = defaultdict(set)
        for place in known:
            assert place.form is not None
            if len(place.form.names) == 1:
                gate = family_of(place.form.names[0], self.due.letters)[1]
                if gate:
                    found[place.site.function, place.context, place.view.slots, place.view.slot].add(gate)
        return {key: next(iter(gates)) for key, gates in found.items() if len(gates) == 1}


def _key_of(site: Site) -> str:
    """Return the word by which an expression reads what is kept; "" for what reads otherwise."""
    tree = ast.parse(f"({site.text})", mode="eval").body
    if isinstance(tree, ast.Attribute):
        return tree.attr
    index = tree.slice if isinstance(tree, ast.Subscript) else None
    return str(index.value) if isinstance(index, ast.Constant) else ""


def _is_kept(site: Site) -> bool:
    """Return whether an expression reads entries and computes nothing."""
    tree = ast.parse(f"({site.text})", mode="eval").body
    inner = tree.elt if isinstance(tree, ast.GeneratorExp | ast.ListComp) else tree
    return isinstance(inner, ast.Subscript | ast.Attribute)


def _is_read(place: Place) -> bool:
    """Return whether what passes a place is a quantity, and not one that was never set."""
    return place.known and place.form is not None and place.form.names != [ZERO]


def _begins(place: Place) -> bool:
    """Return whether the first values of a place are a quantity, and later ones are not."""
    return not place.known and place.form is not None and place.form.is_single


def _form(
    place: Place, rows: tuple[str, ...], columns: tuple[str, ...], blocks: list[list[Block]], upright: bool
) -> Form:
    """Return a form of blocks given by rows, or by columns where it lies the other way."""
    turned = blocks if upright else [list(row) for row in zip(*blocks, strict=True)]
    return Form(place.view, rows, columns, tuple(tuple(row) for row in turned))
