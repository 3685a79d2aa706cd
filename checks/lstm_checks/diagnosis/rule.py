"""Which cases go wrong: the rule of one or two of a case's features that tells failing cases from passing ones.

A run of examples leaves a hundred verdicts. Features of a case (a size and what it is a multiple of, two sizes that
are equal, a product of sizes, the regime, the dtype, which cotangents and states are given) are laid over them, one by
one and in pairs; what separates the verdicts is a candidate and no more. Cases on which the candidates differ are then
drawn and asked, so that m % 4 is told from m odd and m = e from m = 3, until one is left; and that one is said only if
it holds on further cases drawn for it, on both sides and near its boundary. A rule that always holds says nothing.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.cases import COTANGENTS, DRAWN_LENGTHS, REGIMES, Case
from lstm_checks.contract import ANY_SIZES, PLAIN, SizeLimits

Array = NDArray[Any]
Fails = Callable[[Case], bool | None]

WHERE = "wrong where"
"""How a rule starts in words."""

LARGE_REGIMES = ("x10", "x100")
"""The regimes in which gates saturate, whatever it is that saturation does."""


@dataclass(frozen=True)
class Domain:
    """From where cases may be drawn.

    Parameters
    ----------
    max_dims : tuple of int
        Largest (m, s, e, u), and of the sizes that only the cell has.
    dtypes, regimes, cotangents : tuple of str
    states : bool
        Whether initial states may be given.
    shapes : tuple of (m, s, e, u)
        If given, the only sizes there are: those for which a target has compiled.
    limits : SizeLimits
        Which sizes may be.
    lengths : tuple of str
        Of a network, the kinds of lengths that its samples may have besides none said.
    """

    max_dims: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float64",)
    regimes: tuple[str, ...] = REGIMES
    cotangents: tuple[str, ...] = COTANGENTS
    states: bool = True
    shapes: tuple[tuple[int, ...], ...] = ()
    limits: SizeLimits = ANY_SIZES
    lengths: tuple[str, ...] = ()

    @property
    def of_lengths(self) -> tuple[str, ...]:
        """The kinds of lengths that may be, none said among them."""
        return ("", *self.lengths)


@dataclass(frozen=True)
class Rule:
    """Where a target is wrong, and how often that was found so.

    Attributes
    ----------
    words : str
        "m is no multiple of 4".
    wrong, inside : int
        Of so many cases in which it holds so many failed.
    outside : int
        So many cases in which it does not hold all passed.
    covers : callable
        Whether it holds of a case.
    """

    words: str
    wrong: int
    inside: int
    outside: int
    covers: Callable[[Case], bool]

    def __str__(self) -> str:
        """Return the rule with its figures, in words."""
        tried = f"{self.wrong} of {self.inside} examples tried"
        return f"{WHERE} {self.words}, in {tried}; right elsewhere, in {self.outside} of {self.outside}"


@dataclass(frozen=True)
class _Feature:
    """Something that holds of some cases and not of others; the simpler, the less it costs.

    A threshold has the `value` that is compared with a `limit`, and whether it holds of what is above.
    """

    words: str
    holds: Callable[..., Array]
    cost: float
    value: str = ""
    limit: int = 0
    upper: bool = False


def find_rule(fails: Fails, case: Case, known: Mapping[Case, bool], domain: Domain) -> Rule | None:
    """Return the rule by which cases fail, where there is one of one feature or two that holds; else None.

    Parameters
    ----------
    fails : callable
        Whether the target fails a case; None where the case says nothing.
    case : Case
        A case that fails.
    known : mapping
        The verdicts of the run; fails is not asked about these again.
    domain : Domain
        From where further cases are drawn.

    Examples
    --------
    >>> rule = find_rule(lambda c: c.m % 4 != 0, Case(1, 1, 1, 1), {}, Domain((9, 12, 9, 9)))
    >>> rule.words
    'm is no multiple of 4'
    """
    return _Search(fails, case, known, domain).run()


def describe_values(fails: Fails, case: Case) -> str:
    """Return for how many other draws of values a failing case passes, of those that are judged; empty if for none."""
    told = [fails(replace(case, seed=case.seed + k)) for k in range(1, tolerance.RULE_VALUES + 1)]
    judged = [one for one in told if one is not None]
    passing = judged.count(False)
    # With the seed lengths change as well, where they are drawn.
    drawn = "values and lengths" if case.lengths in DRAWN_LENGTHS else "values"
    return f"right at these sizes for {passing} of {len(judged)} other draws of {drawn}" if passing else ""


class _Search:
    """The verdicts, the candidates that fit them, and the cases still to be asked."""

    def __init__(self, fails: Fails, case: Case, known: Mapping[Case, bool], domain: Domain) -> None:
        self.fails, self.case, self.domain = fails, case, domain
        self.letters = case.cell.letters
        self.rng = np.random.default_rng(0)
        self.verdicts: dict[Case, bool] = {**known, case: True}
        self.firm: set[Case] = set()  # that pass whatever their values
        self.left = tolerance.RULE_ASKED
        self.pool: list[Case] = []
        self.idle: set[str] = set()  # features that decided in too few cases to be told from chance

    def run(self) -> Rule | None:
        """Return the rule that holds on cases drawn for it."""
        # There are thousands of candidates and a hundred verdicts, so that some rule fits by chance. What
        # fits is therefore only a candidate; it is believed for cases that were drawn after it was
        # chosen, by `_holds` and `_each_decides`.
        self._ask_around()
        for _ in range(tolerance.RULE_ROUNDS):
            # As many cases are kept back as it takes to try a rule on both of its sides.
            if self.left <= 2 * tolerance.RULE_TRIED or len(set(self.verdicts.values())) < 2:
                return None
            self._draw_pool()
            features = _features([*self.verdicts, *self.pool])
            features += _corner(self.verdicts)
            features = [feature for feature in features if feature.words not in self.idle]
            candidates = _Candidates(features, self.verdicts, self.firm)
            if not len(candidates):
                return None
            best = self._tell_apart(candidates)
            if best is None:
                continue
            best = self._narrow(best)
            if self._holds(best) and self._each_decides(best) and (rule := self._counted(best)) is not None:
                return rule
        return None

    def _ask(self, case: Case) -> bool | None:
        """Return whether the target fails a case that was not asked before, and keep that."""
        self._pay(case)
        found = self.fails(case)
        if found is not None:
            self.verdicts[case] = found
        return found

    def _pay(self, case: Case) -> None:
        """Count a case that is asked; a long one takes as much time as several."""
        self.left -= 1 + case.s // tolerance.RULE_STEPS

    def _ask_around(self) -> None:
        """Ask about cases like the failing one, where the run has not told enough of both kinds."""
        for _ in range(int(tolerance.RULE_AROUND[self.case.dtype])):
            counts = [sum(v == kind for v in self.verdicts.values()) for kind in (True, False)]
            if min(counts) >= tolerance.RULE_LEAST or self.left <= 0:
                return
            # What there is less of is looked for beside what there is of it.
            rare = [c for c, v in self.verdicts.items() if v == (counts[0] < counts[1])] or [self.case]
            origin = rare[self.rng.integers(len(rare))]
            asked = self._changed(origin, int(self.rng.integers(1, 3))) if self.rng.integers(3) else self._anywhere()
            if asked not in self.verdicts:
                self._ask(asked)

    def _draw_pool(self) -> None:
        """Draw cases near those that are known, one or two things changed, and from everywhere."""
        known = list(self.verdicts)
        failing = [c for c in known if self.verdicts[c]]
        found: dict[Case, None] = {}
        for k in range(tolerance.RULE_POOL):
            origins = failing if k % 2 else known
            origin = origins[self.rng.integers(len(origins))]
            drawn = self._anywhere() if k % 4 == 0 else self._changed(origin, int(self.rng.integers(1, 3)))
            if drawn not in self.verdicts:
                found[drawn] = None
        self.pool = list(found)

    def _anywhere(self) -> Case:
        """Return a case from anywhere in the domain, its sizes small ones mostly."""
        if self.domain.shapes:
            dims = self.domain.shapes[self.rng.integers(len(self.domain.shapes))]
        else:
            dims = tuple(self._size(axis) for axis in range(len(self.letters)))
        pick = lambda values: str(values[self.rng.integers(len(values))])  # noqa: E731
        regime = "normal" if self.rng.integers(2) and "normal" in self.domain.regimes else pick(self.domain.regimes)
        states = bool(self.rng.integers(4)) and self.domain.states
        return self._affordable(
            Case.of(
                dims,
                pick(self.domain.dtypes),
                regime,
                pick(self.domain.cotangents),
                states,
                self._seed(),
                cell=self.case.cell,
                lengths=pick(self.domain.of_lengths) if self.domain.lengths else "",
            )
        )

    def _size(self, axis: int) -> int:
        """Return a size: mostly up to 12, at times up to what was drawn."""
        most = self.domain.max_dims[axis]
        return int(self.rng.integers(1, (most if self.rng.integers(5) == 0 else min(most, 12)) + 1))

    def _seed(self) -> int:
        # From `strategies.SEEDS` on: values that no example of a run that begins at seed 0 has.
        return int(self.rng.integers(2**20, 2**21))

    def _changed(self, case: Case, count: int) -> Case:
        """Return a case like another, with other values and a feature or two of it changed."""
        for _ in range(count):
            change: dict[str, Any] = {}
            resized: dict[str, int] = {}
            what = self.rng.integers(10 if self.domain.lengths else 8)
            if what < 5 and not self.domain.shapes:
                count_of_sizes = len(self.letters)
                axis = int(self.rng.integers(count_of_sizes))
                now, other = case.dims[axis], case.dims[self.rng.integers(count_of_sizes)]
                sizes = (now - 1, now + 1, other, self._size(axis), 2 * now, now // 2)
                resized[self.letters[axis]] = min(max(sizes[self.rng.integers(6)], 1), self.domain.max_dims[axis])
            elif what < 5:
                shape = self.domain.shapes[self.rng.integers(len(self.domain.shapes))]
                resized = dict(zip(self.letters, shape, strict=True))
            elif what == 5:
                change["regime"] = self.domain.regimes[self.rng.integers(len(self.domain.regimes))]
            elif what == 6:
                change["cotangents"] = self.domain.cotangents[self.rng.integers(len(self.domain.cotangents))]
            elif what > 7:
                change["lengths"] = self.domain.of_lengths[self.rng.integers(len(self.domain.of_lengths))]
            elif len(self.domain.dtypes) > 1 and self.rng.integers(2):
                change["dtype"] = self.domain.dtypes[self.rng.integers(len(self.domain.dtypes))]
            else:
                change["states"] = self.domain.states and not case.states
            case = replace(case.resized(resized), **change)
        return self._affordable(replace(case, seed=self._seed()))

    def _affordable(self, case: Case) -> Case:
        """Return the case with fewer elements and units, then with the larger of the rest halved, till it is cheap."""
        while not self.domain.shapes and case.size * case.s > tolerance.RULE_LARGEST:
            sizes = case.sizes
            names = ("e", "u") if max(case.e, case.u) > 4 else self.letters
            largest = max(names, key=lambda name: sizes[name])
            case = case.resized({largest: max(sizes[largest] // 2, 1)})
        return case.resized(self.domain.limits.fit(case.sizes))

    def _tell_apart(self, candidates: "_Candidates") -> "_Pair | None":
        """Return the simplest candidate that is left when no case of the pool tells more; None if none is."""
        pool, misses = list(self.pool), candidates.misses.copy()
        alive, over_pool = np.ones(len(candidates), bool), candidates.over(pool)
        while self.left > 2 * tolerance.RULE_TRIED and pool:
            # Asked is the case of which nearest to half of the candidates hold, by weight: whichever verdict comes does
            # away with most that way (generalized binary search).
            weights = candidates.weights * alive
            held = weights @ over_pool / weights.sum()
            split = np.minimum(held, 1 - held)
            most = int(np.argmax(split))
            if split[most] < tolerance.RULE_SPLIT:
                break
            found, holds = self._ask(pool.pop(most)), over_pool[:, most]
            over_pool = np.delete(over_pool, most, axis=1)
            if found:
                # Where a rule says that the target is right nothing fails, so that one failure
                # refutes it; inside, a case may pass.
                alive &= holds
            elif found is not None:
                misses += holds
                alive &= misses <= candidates.allowed
            if not alive.any():
                return None
        return candidates.pair(int(np.argmax(candidates.weights * alive)))

    def _narrow(self, rule: "_Pair") -> "_Pair":
        """Return the rule with each threshold between the last case that was right and the first that was wrong."""
        for k, feature in enumerate(rule.features):
            if not feature.value or self.domain.shapes:
                continue
            # Bisection: a candidate's limit lies anywhere between two values that were met by chance.
            for _ in range(8):
                low, high = self._gap(rule, k)
                between = self._around(rule, k, low, high)
                if low is None or high is None or high - low <= 1 or not between or self.left <= 0:
                    break
                if self._ask(between[0]) is None:
                    continue
            low, high = self._gap(rule, k)
            if low is not None and high is not None and low < high:
                rule = rule.replaced(k, _above(feature.value, low, high, feature.upper))
        return rule

    def _gap(self, rule: "_Pair", k: int) -> tuple[int | None, int | None]:
        """Return the values next to a threshold, below and above it, at which verdicts differ for its sake."""
        cases = list(self.verdicts)
        columns = _columns(cases)
        values = columns[rule.features[k].value]
        others = rule.without(k, columns)
        upper, verdict = rule.features[k].upper, np.array([self.verdicts[c] for c in cases])
        wrong, right = values[others & verdict], values[others & ~verdict]
        if not len(wrong) or not len(right):
            return None, None
        return (int(right.max()), int(wrong.min())) if upper else (int(wrong.max()), int(right.min()))

    def _around(self, rule: "_Pair", k: int, low: int | None, high: int | None) -> list[Case]:
        """Return cases with a value between two, the middle first, in which nothing else of the rule is other."""
        if low is None or high is None or high - low <= 1:
            return []
        drawn: list[Case] = []
        feature, middle = rule.features[k], (low + high) / 2
        origins = [c for c, v in self.verdicts.items() if v]
        for _ in range(200):
            case = origins[self.rng.integers(len(origins))]
            names = feature.value.split(" * ")
            sizes = {name: case.sizes[name] for name in names}
            if len(names) == 1:
                sizes[names[0]] = round(middle + (high - low) * 0.2 * (self.rng.random() - 0.5))
            else:
                first = names[self.rng.integers(len(names))]
                rest = int(np.prod([sizes[n] for n in names if n != first]))
                sizes[first] = max(round(middle / rest), 1)
            inside = all(1 <= n <= self.domain.max_dims[self.letters.index(name)] for name, n in sizes.items())
            if inside and low < int(np.prod(list(sizes.values()))) < high:
                drawn.append(self._affordable(replace(case.resized(sizes), seed=self._seed())))
        columns = _columns(drawn) if drawn else {}
        if not drawn:
            return []
        values, others = columns[feature.value], rule.without(k, columns)
        fitting = [i for i in np.argsort(np.abs(values - middle)) if others[i] and low < values[i] < high]
        return [drawn[i] for i in fitting]

    def _holds(self, rule: "_Pair") -> bool:
        """Return whether a rule holds on cases drawn for it, on both sides of it, near its boundary half of them."""
        tried = {True: 0, False: 0}
        misses = 0
        for inside in (True, False):
            for case in self._trials(rule, inside):
                if self.left <= 0 or tried[inside] >= tolerance.RULE_TRIED:
                    break
                found = self._ask(case)
                if found is None:
                    continue
                tried[inside] += 1
                misses += inside and not found
                if found != inside and (found or not self._by_its_values(case)):
                    return False
                if misses > tolerance.RULE_EXCEPTIONS * tolerance.RULE_TRIED:
                    return False
        return min(tried.values()) >= tolerance.RULE_TRIED // 2

    def _each_decides(self, rule: "_Pair") -> bool:
        """Return whether each of two features was seen to decide in several cases, all else of the rule being so.

        Cases that hang on it are drawn beside those that are known. What decided once or twice did so by chance.
        """
        wanted = rule.either
        for k, feature in enumerate(rule.features if len(rule.features) > 1 else ()):
            known = rule.hanging_on(k, list(self.verdicts))
            if not known:
                self.idle.add(feature.words)
                return False
            drawn = [self._changed(known[i % len(known)], 1) for i in range(10 * tolerance.RULE_DECIDED)]
            beside = rule.hanging_on(k, drawn)
            count = len(known)
            for case in beside:
                if count >= tolerance.RULE_DECIDED or self.left <= 0:
                    break
                found = self._ask(case)
                count += found is not None
                if found is not None and found != wanted and (found or not self._by_its_values(case)):
                    return False
            if count < tolerance.RULE_DECIDED:
                self.idle.add(feature.words)
                return False
        return True

    def _by_its_values(self, case: Case) -> bool:
        """Return whether a case that passes fails with other values; else no rule may hold of it."""
        for k in range(1, tolerance.RULE_VALUES):
            self._pay(case)
            if self.fails(replace(case, seed=case.seed + k)):
                return True
        self.firm.add(case)
        return False

    def _trials(self, rule: "_Pair", inside: bool) -> list[Case]:
        """Return fresh cases on one side of a rule: one feature of a known case at an extreme, and from everywhere."""
        known = list(self.verdicts)
        here = [c for c, holds in zip(known, rule.holds(_columns(known)), strict=True) if holds == inside]
        # From beyond the boundary one change leads to just within it.
        near = [changed for c in [*self._some(here, 4), *self._some(known, 4)] for changed in self._extremes(c)]
        far = [
            self._anywhere() if k % 2 or not here else self._changed(here[k % len(here)], 1)
            for k in range(tolerance.RULE_POOL)
        ]
        sides = []
        for drawn in (self._some(near, len(near)), far):
            holds = rule.holds(_columns(drawn))
            sides.append(list(dict.fromkeys(c for c, h in zip(drawn, holds, strict=True) if h == inside)))
        # In turns, so that of however many are asked about half are near the boundary.
        turns = [side[k] for k in range(max(len(side) for side in sides)) for side in sides if k < len(side)]
        return [c for c in dict.fromkeys(turns) if c not in self.verdicts]

    def _some(self, cases: list[Case], count: int) -> list[Case]:
        """Return some of the cases, in any order."""
        return [cases[k] for k in self.rng.permutation(len(cases))[:count]]

    def _extremes(self, case: Case) -> list[Case]:
        """Return cases that differ from one in a single feature, each at what it can be: what else might matter."""
        found: list[Case] = []
        for name, most in zip(self.letters, self.domain.max_dims, strict=True):
            now = case.sizes[name]
            sizes = {1, 2, 3, now - 1, now + 1, min(2 * now, most), most} if not self.domain.shapes else {now}
            found += [case.resized({name: n}) for n in sizes if 1 <= n <= most and n != now]
        found += [case.resized(dict(zip(self.letters, shape, strict=True))) for shape in self.domain.shapes]
        for name, values in (
            ("regime", self.domain.regimes),
            ("cotangents", self.domain.cotangents),
            ("dtype", self.domain.dtypes),
            ("states", (True, False) if self.domain.states else (False,)),
            ("lengths", self.domain.of_lengths if self.domain.lengths else ()),
        ):
            changes: list[dict[str, Any]] = [{name: value} for value in values if value != getattr(case, name)]
            found += [replace(case, **change) for change in changes]
        return [self._affordable(replace(changed, seed=self._seed())) for changed in found]

    def _counted(self, rule: "_Pair") -> Rule | None:
        """Return the rule with its figures over all that is known; None where it does not hold of all of it."""
        cases = list(self.verdicts)
        inside = rule.holds(_columns(cases))
        verdict = np.array([self.verdicts[c] for c in cases])
        missed = [c for c, wrong, holds in zip(cases, verdict, inside, strict=True) if holds and not wrong]
        if (verdict & ~inside).any() or len(missed) > tolerance.RULE_EXCEPTIONS * inside.sum():
            return None
        if any(not self._by_its_values(c) for c in missed):
            return None
        return Rule(rule.words, int((verdict & inside).sum()), int(inside.sum()), int((~inside).sum()), rule.covers)


@dataclass(frozen=True)
class _Pair:
    """One feature, or two joined by "and" or "or"."""

    features: tuple[_Feature, ...]
    either: bool = False

    def holds(self, columns: Mapping[str, Array]) -> Array:
        """Return of which cases it holds."""
        parts = [feature.holds(columns) for feature in self.features]
        return np.any(parts, axis=0) if self.either else np.all(parts, axis=0)

    def covers(self, case: Case) -> bool:
        """Return whether it holds of a case."""
        return bool(self.holds(_columns([case]))[0])

    def without(self, k: int, columns: Mapping[str, Array]) -> Array:
        """Return for which cases the verdict hangs on feature k alone."""
        others = [feature.holds(columns) for i, feature in enumerate(self.features) if i != k]
        # Of "or" where no other feature holds, of "and" where all others do: else the verdict is theirs.
        everywhere = np.ones(len(columns["m"]), bool)
        return (
            everywhere
            & (~np.any(others, axis=0) if self.either and others else everywhere)
            & (np.all(others, axis=0) if others and not self.either else everywhere)
        )

    def hanging_on(self, k: int, cases: Sequence[Case]) -> list[Case]:
        """Return the cases in which feature k decides: of "or" those where it holds, of "and" the others."""
        columns = _columns(cases)
        hangs = self.without(k, columns) & (self.features[k].holds(columns) == self.either)
        return [case for case, hung in zip(cases, hangs, strict=True) if hung]

    def replaced(self, k: int, feature: _Feature) -> "_Pair":
        """Return the rule with another feature in the place of one."""
        return replace(self, features=tuple(feature if i == k else f for i, f in enumerate(self.features)))

    @property
    def words(self) -> str:
        """The rule in words."""
        return (" or " if self.either else " and ").join(feature.words for feature in self.features)


class _Candidates:
    """The rules that fit all verdicts, as two features each (twice the same for one alone), the simplest first."""

    def __init__(self, features: Sequence[_Feature], verdicts: Mapping[Case, bool], firm: Set[Case]) -> None:
        self.features = list(features)
        columns, verdict = _columns(list(verdicts)), np.array(list(verdicts.values()))
        held = np.array([feature.holds(columns) for feature in self.features])
        # Some thousand features are a million pairs: all are counted by two matrix
        # products and none is made before it fits.
        inside, outside = held[:, verdict], held[:, ~verdict]
        self.allowed = tolerance.RULE_EXCEPTIONS * verdict.sum()
        costs = np.array([feature.cost for feature in self.features])
        # One that passes whatever its values is as many exceptions as are too many.
        counts = np.array([1 + len(verdicts) * (c in firm) for c, fails in verdicts.items() if not fails], np.float32)
        covers, passing, total = inside.all(axis=1), outside @ counts, counts.sum()
        alone = covers & (passing <= self.allowed) & (passing < total)
        singles = np.flatnonzero(alone)
        # All fails lie inside both; or in one of two, each of which holds of next to nothing that passes.
        both = self._tightest(covers & (passing < total) & ~alone, largest=True)
        few = self._tightest((passing <= self.allowed / 2) & inside.any(axis=1) & ~covers, largest=False)
        # (i, j): the passing cases of which both hold, each by its count; and the failing ones of which neither does.
        joined = (outside[both] * counts) @ outside[both].T.astype(np.float32)
        missed = (~inside[few]).astype(np.float32) @ (~inside[few]).T.astype(np.float32)
        parts = [(singles, singles, passing[singles], costs[singles], False)]
        for which, matrix, most, extra, either in (
            (both, joined, self.allowed, 1.0, False),
            (few, missed, 0, 1.5, True),
        ):
            a, b = np.nonzero(np.triu(matrix <= most, 1))
            i, j = which[a], which[b]
            misses = (held[i] | held[j])[:, ~verdict] @ counts if either else matrix[a, b]
            parts.append((i, j, misses, costs[i] + costs[j] + extra, either))
        self.first = np.concatenate([part[0] for part in parts])
        self.second = np.concatenate([part[1] for part in parts])
        self.misses = np.concatenate([part[2] for part in parts]).astype(float)
        self.either = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
        # An exception costs as much as a feature's being less likely by half.
        costs = np.concatenate([part[3] for part in parts]) + self.misses
        fits = np.flatnonzero(self.misses <= self.allowed)
        order = fits[np.argsort(costs[fits], kind="stable")][: tolerance.RULE_CANDIDATES]
        self.first, self.second, self.either = self.first[order], self.second[order], self.either[order]
        # A cost is a number of bits: the prior by which the simpler of two rules that fit is the likelier.
        self.misses, self.weights = self.misses[order], 2.0 ** -np.minimum(costs[order], 60)

    def _tightest(self, wanted: Array, largest: bool) -> Array:
        """Return the features wanted, of the thresholds of each value those alone that hold of the fewest or most."""
        # Thresholds of one value hold of sets that lie in one another, so that in any pair the same one
        # does best: where all of them cover the failures the one that holds of fewest cases, where all let
        # little pass the one that holds of most.
        best: dict[Any, int] = {}
        for i in np.flatnonzero(wanted):
            feature = self.features[i]
            key = (feature.value, feature.upper) if feature.value else int(i)
            before = best.setdefault(key, int(i))
            if (feature.limit > self.features[before].limit) == (feature.upper == largest):
                best[key] = int(i)
        return np.array(sorted(best.values()), int)

    def __len__(self) -> int:
        return len(self.first)

    def over(self, cases: Sequence[Case]) -> Array:
        """Return of which cases each candidate holds, (candidates, cases)."""
        columns = _columns(cases)
        held = np.array([feature.holds(columns) for feature in self.features])
        one, other = held[self.first], held[self.second]
        return np.where(self.either[:, None], one | other, one & other)

    def pair(self, index: int) -> _Pair:
        """Return one candidate."""
        i, j = int(self.first[index]), int(self.second[index])
        return _Pair(tuple(self.features[k] for k in dict.fromkeys((i, j))), bool(self.either[index]))


_OF_LENGTHS: dict[str, Callable[[Array, int], bool]] = {
    "shorter": lambda lengths, s: bool((lengths < s).any()),
    "padded": lambda lengths, s: bool((lengths < s).all()),
    "empty": lambda lengths, s: not lengths.all(),
    "longer": lambda lengths, s: bool((np.diff(lengths) > 0).any()),
}
"""What may hold of the lengths of a padded batch of s steps."""


def _letters(cases: Sequence[Case]) -> str:
    """Return the sizes of cases, all of one cell, by letter."""
    return cases[0].cell.letters if cases else PLAIN.letters


def _columns(cases: Sequence[Case]) -> dict[str, Array]:
    """Return what features look at, an array over the cases each."""
    letters = _letters(cases)
    found: dict[str, Array] = {name: np.array([c.sizes[name] for c in cases], int) for name in letters}
    for length in (2, 3):
        for names in combinations(letters, length):
            found[" * ".join(names)] = np.prod([found[name] for name in names], axis=0)
    for name in ("regime", "dtype", "cotangents"):
        found[name] = np.array([getattr(c, name) for c in cases])
    found["states"] = np.array([c.states for c in cases], bool)
    for kind in ("every", "last", "h", "C"):
        found[kind] = np.array([kind in c.cotangents.split("+") for c in cases], bool)
    found["lengths"] = np.array([bool(c.lengths) for c in cases], bool)
    for kind, of in _OF_LENGTHS.items():
        # Where nothing is said of lengths every sample has all steps.
        found[kind] = np.array([bool(c.lengths) and of(c.own_lengths, c.s) for c in cases], bool)
    return found


def _features(cases: Sequence[Case]) -> list[_Feature]:
    """Return the features by which cases may be told apart, none that hold of all of them or of none."""
    columns, letters = _columns(cases), _letters(cases)
    made = [
        *_thresholds(columns, letters),
        *(f for name in letters for f in _multiples(name, columns[name])),
        *(f for pair in combinations(letters, 2) for f in _comparisons(*pair)),
        *_circumstances(columns),
    ]
    told = []
    for feature in made:
        holds = feature.holds(columns)
        if holds.any() and not holds.all():
            told.append(feature)
    return told


def _thresholds(columns: Mapping[str, Array], letters: str) -> list[_Feature]:
    """Return that a size, or a product of sizes, is at least or at most each of the values that occur."""
    found = []
    for name in [*letters, *(" * ".join(names) for length in (2, 3) for names in combinations(letters, length))]:
        values = np.unique(columns[name])
        for low, high in pairwise(values):
            found += [_above(name, int(low), int(high), upper) for upper in (True, False)]
    return found


def _above(name: str, low: int, high: int, upper: bool) -> _Feature:
    """Return that a value is above `low`, which is known as the largest below a limit, or that it is not."""
    factors = name.count("*") + 1
    if high - low == 1:
        words = f"{name} >= {high}" if upper else f"{name} = 1" if high == 2 else f"{name} <= {low}"
        if upper and factors > 1:
            words = f"{name} > {low}"
    else:
        side = "above" if upper else "not above"
        words = f"{name} is {side} a limit between {low} and {high - 1}"
    cost = {1: 1.0, 2: 3.0, 3: 5.0}[factors] + (0 if high == 2 else 0.5)
    compare = (lambda c: c[name] > low) if upper else (lambda c: c[name] <= low)
    return _Feature(words, compare, cost, name, low, upper)


def _corner(verdicts: Mapping[Case, bool]) -> list[_Feature]:
    """Return that all sizes that matter are at least what they are in some failing case, where there are three or four.

    One or two such sizes are a pair of features.
    """
    columns, verdict = _columns(list(verdicts)), np.array(list(verdicts.values()))
    letters = _letters(list(verdicts))
    least = {name: int(columns[name][verdict].min()) for name in letters}
    for name in letters:
        without = {other: n for other, n in least.items() if other != name}
        held = np.all([columns[other] >= n for other, n in without.items()] or [verdict | True], axis=0)
        before = np.all([columns[other] >= n for other, n in least.items()], axis=0)
        # A size matters if without its bound some more case would be let in.
        if np.array_equal(held, before):
            least = without
    if len(least) < 3:
        return []
    words = " and ".join(f"{name} >= {n}" for name, n in least.items())
    holds = lambda c: np.all([c[name] >= n for name, n in least.items()], axis=0)  # noqa: E731
    return [_Feature(words, holds, len(least) + 2.0)]


def _multiples(name: str, values: Array) -> list[_Feature]:
    """Return that a size is a multiple of something, or one more, or is one number."""
    found = []
    for k in range(2, min(int(values.max()), tolerance.RULE_MODULUS) + 1):
        cost = 1.5 if k == 2 else 2.0 if k in (3, 4, 8, 16, 32, 64) else 3.0
        even, odd = (f"{name} is even", f"{name} is odd") if k == 2 else ("", "")
        found += [
            _Feature(even or f"{name} is a multiple of {k}", lambda c, k=k: c[name] % k == 0, cost),
            _Feature(odd or f"{name} is no multiple of {k}", lambda c, k=k: c[name] % k != 0, cost),
        ]
        if k > 2:
            words = f"{name} is 1 more than a multiple of {k}"
            found.append(_Feature(words, lambda c, k=k: c[name] % k == 1, cost + 1.5))
    for n in np.unique(values):
        if n > 1:
            found.append(_Feature(f"{name} = {n}", lambda c, n=n: c[name] == n, 2.5))
            found.append(_Feature(f"{name} is not {n}", lambda c, n=n: c[name] != n, 3.5))
    powers = lambda c: (c[name] & (c[name] - 1)) == 0  # noqa: E731
    found.append(_Feature(f"{name} is a power of 2", powers, 3.0))
    found.append(_Feature(f"{name} is no power of 2", lambda c: ~powers(c), 3.0))
    return found


def _comparisons(one: str, other: str) -> list[_Feature]:
    """Return how two sizes compare."""
    return [
        _Feature(f"{one} = {other}", lambda c: c[one] == c[other], 1.5),
        _Feature(f"{one} is not {other}", lambda c: c[one] != c[other], 2.0),
        _Feature(f"{one} > {other}", lambda c: c[one] > c[other], 2.0),
        _Feature(f"{one} < {other}", lambda c: c[one] < c[other], 2.0),
        _Feature(f"{one} >= {other}", lambda c: c[one] >= c[other], 2.0),
        _Feature(f"{one} <= {other}", lambda c: c[one] <= c[other], 2.0),
    ]


def _circumstances(columns: Mapping[str, Array]) -> list[_Feature]:
    """Return the regime, the dtype, which cotangents and states are given, and what lengths the samples have."""
    found = []
    for regime in np.unique(columns["regime"]):
        found += [
            _Feature(f"the regime is {regime}", lambda c, r=regime: c["regime"] == r, 1.0),
            _Feature(f"the regime is not {regime}", lambda c, r=regime: c["regime"] != r, 1.5),
        ]
    large = lambda c: np.isin(c["regime"], LARGE_REGIMES)  # noqa: E731
    found += [
        _Feature(f"the regime is {' or '.join(LARGE_REGIMES)}", large, 1.5),
        _Feature(f"the regime is neither {' nor '.join(LARGE_REGIMES)}", lambda c: ~large(c), 2.0),
    ]
    found += [_Feature(f"the dtype is {d}", lambda c, d=d: c["dtype"] == d, 1.0) for d in np.unique(columns["dtype"])]
    for words, kind in (("dhn", "h"), ("dCn", "C")):
        found.append(_Feature(f"{words} is given", lambda c, k=kind: c[k], 1.0))
        found.append(_Feature(f"{words} is zero", lambda c, k=kind: ~c[k], 1.0))
    return [
        *found,
        _Feature("dh is given at every step", lambda c: c["every"], 1.0),
        _Feature("dh is zero before the last step", lambda c: ~c["every"], 1.0),
        _Feature("dh is given at the last step alone", lambda c: c["last"], 1.0),
        _Feature("dh is zero at every step", lambda c: ~c["every"] & ~c["last"], 1.0),
        _Feature("dh is given", lambda c: c["every"] | c["last"], 1.0),
        _Feature("the initial states are given", lambda c: c["states"], 1.0),
        _Feature("the initial states are zero", lambda c: ~c["states"], 1.0),
        _Feature("lengths are given", lambda c: c["lengths"], 1.0),
        _Feature("no lengths are given", lambda c: ~c["lengths"], 1.0),
        _Feature("a sample ends before the last step", lambda c: c["shorter"], 1.0),
        _Feature("no sample ends before the last step", lambda c: ~c["shorter"], 1.0),
        _Feature("every sample ends before the last step", lambda c: c["padded"], 1.0),
        _Feature("a sample has all steps", lambda c: ~c["padded"], 1.0),
        _Feature("a sample has no steps", lambda c: c["empty"], 1.0),
        _Feature("no sample is without steps", lambda c: ~c["empty"], 1.0),
        _Feature("a sample is longer than the one before it", lambda c: c["longer"], 1.5),
        _Feature("no sample is longer than the one before it", lambda c: ~c["longer"], 1.5),
    ]
