"""Whether it is the sizes, the regime, the calls or chance that a line says on which going wrong hangs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from truth.evidence import (
    FEWEST,
    NAME,
    NAMES,
    NUMBER,
    TENSORS,
    Evidence,
    Said,
    Seen,
    Verdict,
    due_on,
    judge_share,
    last_step,
    listed,
    look,
    roundoff,
)
from truth.forms import where

from lstm_checks.calling import call_target
from lstm_checks.cases import COTANGENTS, REGIMES, Case
from lstm_checks.compare import Verdict as Judged
from lstm_checks.contract import Target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.reports import PROPERTIES

DRAWS = 12
"""For how many fresh draws of values a size is asked about."""


def _fails(evidence: Evidence, case: Case) -> bool | None:
    """Return whether what failed on the diagnosed case fails on another; None where that says nothing."""
    if not evidence.claims or evidence.claims & set(TENSORS):
        seen = evidence.look(case)
        return None if seen is None else bool(seen.wrong or seen.error)
    properties = tuple(name for name in PROPERTIES if name in evidence.claims)
    report = verify_case(evidence.target, case, properties=properties or None)
    found = {claim.verdict for claim in report.claims if claim.name in evidence.claims}
    return True if Judged.FAIL in found else False if Judged.PASS in found else None


def _share_failing(evidence: Evidence, case: Case, draws: int = DRAWS) -> float | None:
    """Return on which share of fresh draws of a case the target fails."""
    told = [_fails(evidence, replace(case, seed=710_000 + k)) for k in range(draws)]
    known = [one for one in told if one is not None]
    return sum(known) / len(known) if known else None


def judge_pattern(evidence: Evidence, text: str) -> Verdict:
    """Judge from which sizes on a failing case fails."""
    case = evidence.case
    if match := re.fullmatch(r"right at these sizes for (\d+) of (\d+) other draws of values", text):
        share = _share_failing(evidence, case, 24)
        if share is None:
            return Verdict(Said.UNJUDGED, "no draw can be judged")
        if share == 1 and int(match[1]) > 1 and not evidence.truth.random:  # one may be by chance
            return Verdict(Said.FALSE, "wrong for each of 24 fresh draws")
        if evidence.truth.calls and not evidence.truth.values:
            return Verdict(Said.MISLEADING, "it hangs on the calls, not on the values")
        return Verdict(Said.HELPFUL if evidence.truth.values or evidence.truth.random else Said.NO_USE)
    rule = re.fullmatch(r"wrong where (.+), in (\d+) of (\d+) examples tried; right elsewhere, in \d+ of \d+", text)
    if rule is not None:
        return _judge_rule(evidence, rule[1], int(rule[2]) / int(rule[3]))
    equal = re.fullmatch(r"wrong where ([mseu] = [mseu]), at \d+, \d+ and \d+; right where they differ by one", text)
    if equal is not None:
        return _judge_rule(evidence, equal[1], 1.0)
    match = re.fullmatch(r"right at (.*), wrong (from|at) ((?:[mseu]=\d+ ?)+)", text)
    if match is None:
        return Verdict(Said.UNJUDGED, "no known form")
    right = [(size, int(n)) for size, n in re.findall(r"([mseu])=(\d+)", match[1])]
    wrong = [(size, int(n)) for size, n in re.findall(r"([mseu])=(\d+)", match[3])]
    return _judge_sizes(evidence, case, right, wrong, match[2] == "from")


def _judge_sizes(
    evidence: Evidence, case: Case, right: Sequence[tuple[str, int]], wrong: Sequence[tuple[str, int]], onwards: bool
) -> Verdict:
    """Judge that a target is right at some sizes and wrong at others, the rest as in a case."""
    sizes = {size for size, _ in (*right, *wrong)}
    known = evidence.truth.sizes
    if known is not None and not sizes <= set(known):
        return Verdict(Said.MISLEADING, f"{' and '.join(sorted(sizes - set(known)))} decides nothing")
    at = dict(wrong)
    share = _share_failing(evidence, replace(case, **at))
    if share is not None and share < 0.5:
        return Verdict(Said.FALSE, f"wrong for {share:.0%} of fresh draws where it is said to be wrong")
    for size, n in right:
        share = _share_failing(evidence, replace(case, **{size: n}))
        if share:
            return Verdict(Said.FALSE, f"wrong at {size}={n} for {share:.0%} of fresh draws")
    for size, n in wrong if onwards else ():
        for more in (1, 2, 5):
            share = _share_failing(evidence, replace(case, **{**at, size: n + more}), 6)
            if share == 0:
                return Verdict(Said.FALSE, f"right at {size}={n + more}, and said to be wrong from {size}={n}")
    rng = np.random.default_rng(5)
    for size, n in right:
        # Elsewhere, too: where one size is another's, or a product decides, one size alone says what is not so.
        for k in range(2 * DRAWS):
            others = {s: n if k % 4 == 0 else int(rng.integers(1, 6)) for s in "mseu"}
            if _fails(evidence, replace(case, seed=715_000 + k, **{**others, size: n})):
                return Verdict(Said.MISLEADING, f"wrong at {size}={n} with other sizes")
    return Verdict(Said.HELPFUL)


@where(r"right where every step's output is asked for, wrong where the last one's is alone \(sequences=False\)")
def _sequences(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes the last step's output alone to go wrong."""
    told = []
    for seen in evidence.failing():
        if seen.case.sequences:
            told.append(False)
            continue
        told.append(
            _fails(evidence, replace(seen.case, cotangents=seen.case.cotangents.replace("last", "every"))) is False
        )
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"wrong at ((?:[mseu]=\d+)(?:(?:, | and )[mseu]=\d+)*), right at ((?:[mseu]=\d+)(?:(?:, | and )[mseu]=\d+)*)")
def _at_sizes(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a target is wrong at some sizes and right at one more."""
    sizes = [[(w[0], int(w[2:])) for w in listed(text)] for text in match.groups()]
    return _judge_sizes(evidence, evidence.case, sizes[1], sizes[0], False)


@where(r"wrong for values of the regime (\S+), right at the same sizes for normal ones")
def _regime(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes a regime to go wrong."""
    own = replace(evidence.case, regime=match[1])
    wrong, right = _share_failing(evidence, own, 24), _share_failing(evidence, replace(own, regime="normal"), 24)
    if right:
        return Verdict(Said.FALSE, f"wrong for {right:.0%} of fresh normal draws")
    return Verdict(Said.HELPFUL) if wrong else Verdict(Said.FALSE, "right for fresh draws of that regime")


def _differing(target: Target, case: Case) -> set[str]:
    """Return the tensors that two calls of a target with the same inputs give differently."""
    _, accepted, _ = due_on(case)
    one, two = (call_target(target, case.arrays.copy(), case.sequences).values for _ in range(2))
    return {
        name
        for name in TENSORS
        if isinstance(one.get(name), np.ndarray)
        and np.any(~(np.abs(one[name] - two[name]) <= last_step(accepted[name], one[name])))
    }


@where(rf"two calls with the same inputs differ in ((?:{NAMES})(?: and \d+ more|, \d+ more)?)")
def _two_calls(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that two calls differ in some tensors."""
    named = {word for word in listed(match[1]) if re.fullmatch(NAME, word)}
    ever = set()
    for k, case in zip(range(40), evidence.cases(), strict=False):
        ever |= _differing(evidence.target, case)
        if k > 8 and named <= ever:
            break
    if not named <= ever:
        return Verdict(Said.FALSE, f"never in {', '.join(sorted(named - ever))}")
    if "more" not in match[1] and ever - named:
        return Verdict(Said.MISLEADING, f"in {', '.join(sorted(ever - named))}, too")
    return Verdict(Said.HELPFUL)


@where(rf"every (second|third|fourth|fifth) call is wrong, in ({NAMES}.*), and those between are right")
def _in_turn(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that one call of so many is wrong, in some tensors, whatever is asked."""
    times = 2 + ("second", "third", "fourth", "fifth").index(match[1])
    named = {word for word in listed(match[2]) if re.fullmatch(NAME, word)}
    target, at, ever = evidence.make(), [], set()
    for k in range(8 * times):
        found = look(target, Case(3, 2 + k % 3, 2, 4, evidence.case.dtype, seed=765_000 + k))
        if found is not None and found.wrong:
            at.append(k)
            ever |= {*found.wrong}
    if len(at) != 8 or {later - one for one, later in itertools.pairwise(at)} != {times}:
        return Verdict(Said.FALSE, f"wrong at calls {at} of {8 * times}")
    return Verdict(Said.HELPFUL) if named <= ever else Verdict(Said.FALSE, f"never in {sorted(named - ever)}")


@where(r"right at the first call of a size, wrong at later ones")
def _first_call(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a size's first call is right and later ones wrong."""
    target, told = evidence.make(), []
    for k in range(8):
        case = Case(3 + k, 3, 2 + k, 4 + k, evidence.case.dtype, seed=760_000 + k)
        found = [look(target, case) for _ in range(4)]
        if all(one is not None for one in found):
            told.append(not found[0].wrong and any(one.wrong for one in found[1:]))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r".*by a fault of lstm-checks.*")
def _broken(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that the diagnosis broke: no true line about a target."""
    return Verdict(Said.FALSE, "the diagnosis broke")


# Rules of a case's features.

RULED = 120
"""On how many fresh cases a rule is tried."""

OUTSIDE = 0.02
"""Share of the cases outside a rule that may be wrong, of so many by chance none or one or two are."""


def rule_of(words: str) -> Callable[[Case], bool] | None:
    """Return what a rule in words says of a case; None if a part of it is of no known form.

    Examples
    --------
    >>> rule_of("m is no multiple of 4 and the regime is x10 or x100")(Case(3, 1, 1, 1, regime="x10"))
    True
    """
    plain = re.sub(r"between (\d+) and (\d+)", r"between \1 to \2", words.replace("x10 or x100", "x10/x100"))
    parts = re.split(r" and | or ", plain)
    features = [_feature(part) for part in parts]
    if any(feature is None for feature in features) or (" and " in plain and " or " in plain):
        return None
    combined = any if " or " in plain else all
    return lambda case: combined(feature(case) for feature in features if feature is not None)


_CIRCUMSTANCES: dict[str, Callable[[Case], bool]] = {
    "dhn is given": lambda c: "h" in c.cotangents.split("+"),
    "dhn is zero": lambda c: "h" not in c.cotangents.split("+"),
    "dCn is given": lambda c: "C" in c.cotangents.split("+"),
    "dCn is zero": lambda c: "C" not in c.cotangents.split("+"),
    "dh is given at every step": lambda c: "every" in c.cotangents,
    "dh is zero before the last step": lambda c: "every" not in c.cotangents,
    "dh is given at the last step alone": lambda c: "last" in c.cotangents,
    "dh is zero at every step": lambda c: not {"every", "last"} & set(c.cotangents.split("+")),
    "dh is given": lambda c: bool({"every", "last"} & set(c.cotangents.split("+"))),
    "the initial states are given": lambda c: c.states,
    "the initial states are zero": lambda c: not c.states,
    "the regime is neither x10 nor x100": lambda c: c.regime not in ("x10", "x100"),
}
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "=": lambda a, b: a == b,
    "is": lambda a, b: a == b,
    "is not": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}


def _feature(words: str) -> Callable[[Case], bool] | None:
    """Return what one feature in words says of a case."""
    if words in _CIRCUMSTANCES:
        return _CIRCUMSTANCES[words]
    if match := re.fullmatch(r"the (regime|dtype) is (not )?(\S+)", words):
        name, wanted, sign = match[1], match[3].split("/"), bool(match[2])
        return lambda c: (getattr(c, name) in wanted) != sign
    if match := re.fullmatch(r"([mseu](?: \* [mseu])*) (>=|<=|=|>|<|is not|is) (\d+|[mseu])", words):
        value, compare, other = _product(match[1]), _COMPARED[match[2]], match[3]
        return lambda c: compare(value(c), int(other) if other.isdigit() else getattr(c, other))
    if match := re.fullmatch(r"([mseu](?: \* [mseu])*) is (not )?above a limit between (\d+) to (\d+)", words):
        # Between the two it is open.
        value, sign, low, high = _product(match[1]), bool(match[2]), int(match[3]), int(match[4])
        return lambda c: (value(c) > (high if not sign else low)) != sign
    if match := re.fullmatch(r"([mseu]) is (a|no) multiple of (\d+)", words):
        return lambda c: (getattr(c, match[1]) % int(match[3]) == 0) == (match[2] == "a")
    if match := re.fullmatch(r"([mseu]) is 1 more than a multiple of (\d+)", words):
        return lambda c: getattr(c, match[1]) % int(match[2]) == 1
    if match := re.fullmatch(r"([mseu]) is (even|odd)", words):
        return lambda c: getattr(c, match[1]) % 2 == (match[2] == "odd")
    if match := re.fullmatch(r"([mseu]) is (a|no) power of 2", words):
        return lambda c: (getattr(c, match[1]).bit_count() == 1) == (match[2] == "a")
    return None


def _product(words: str) -> Callable[[Case], int]:
    """Return the value of a size or of a product of sizes."""
    return lambda case: int(np.prod([getattr(case, name) for name in words.split(" * ")]))


def _judge_rule(evidence: Evidence, words: str, stated: float) -> Verdict:
    """Judge that cases fail where a rule holds, and no others do."""
    rule = rule_of(words)
    if rule is None:
        return Verdict(Said.UNJUDGED, "no known rule")
    own = evidence.look(evidence.case)
    names = set(own.wrong) if own is not None and own.wrong else None
    inside: list[bool] = []
    outside: list[bool] = []
    asked = Counter[bool]()
    dtypes = evidence.target.dtypes if "dtype" in words else (evidence.case.dtype,)
    for k, drawn in enumerate(_anywhere(evidence.case)):
        case = replace(drawn, dtype=dtypes[k // 2 % len(dtypes)])
        holds = rule(case)
        side = inside if holds else outside
        if len(side) >= RULED // 2 or asked[holds] >= 2 * RULED:
            continue
        asked[holds] += 1
        if names is None:
            failed = _fails(evidence, case)
        else:
            seen = evidence.look(case)
            failed = None if seen is None or _idle(seen, names) else bool(set(seen.wrong) & names)
        if failed is not None:
            side.append(failed)
    if len(inside) >= FEWEST and len(outside) < FEWEST <= asked[False]:
        return Verdict(Said.NO_USE, "elsewhere nothing is at stake")
    if len(inside) < FEWEST or len(outside) < FEWEST:
        return Verdict(Said.UNJUDGED, f"holds of {len(inside)} of {len(inside) + len(outside)} fresh cases")
    if np.mean(outside) > OUTSIDE:
        return Verdict(Said.FALSE, f"{sum(outside)} of {len(outside)} fresh cases are wrong where it does not hold")
    share = float(np.mean(inside))
    if share < stated - 0.1:
        return Verdict(Said.MISLEADING if share > 0.5 else Said.FALSE, f"where it holds {share:.0%} are wrong")
    return Verdict(Said.HELPFUL)


def _idle(seen: Seen, names: set[str]) -> bool:
    """Return whether nothing is at stake in some tensors: zeros are due, or rounding's size beside all that is due."""
    largest = max(np.max(np.abs(value), initial=0) for value in seen.due.values())
    sizes = [np.max(np.abs(seen.due[name]), initial=0) for name in names if name in seen.due]
    return not any(size > 64 * roundoff(seen.case.dtype) * largest for size in sizes)


def _anywhere(own: Case) -> Iterator[Case]:
    """Yield fresh cases like one's own, one thing changed at a time, and from everywhere, larger ones among them."""
    rng = np.random.default_rng(17)
    regimes = list(REGIMES)
    for k in range(40 * RULED):
        change: dict[str, Any] = {}
        if k % 2:
            size = "mseu"[k // 2 % 4]
            change = {size: int(rng.integers(1, 14))}
            if k % 8 == 7:
                change |= {"regime": str(rng.choice(regimes)), "cotangents": str(rng.choice(COTANGENTS))}
            elif k % 8 == 5:
                change |= {"states": not own.states, "cotangents": str(rng.choice(COTANGENTS))}
            yield replace(own, seed=770_000 + k, **change)
            continue
        m, s, e, u = (int(n) for n in rng.integers(1, (10, 14, 10, 10)))
        if k % 12 == 0:
            m, e, u = ((m, m, u), (m, e, m), (m, e, e))[k // 12 % 3]
        regime = str(rng.choice(regimes)) if k % 4 else "normal"
        yield Case(m, s, e, u, own.dtype, regime, str(rng.choice(COTANGENTS)), bool(rng.integers(0, 3)), 770_000 + k)


# Chance.

RUNS = 30
"""How often a case is run to see how often it fails."""


def _rate(evidence: Evidence) -> float:
    """Return how often the case fails, run again and again as `verify --case` runs it."""
    return float(np.mean([bool(verify_case(evidence.target, evidence.case).failures) for _ in range(RUNS)]))


@where(r"fails in (\d+) of (\d+) runs of the same case")
def _by_chance(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge how often a case fails."""
    rate, said = _rate(evidence), int(match[1]) / int(match[2])
    if rate in (0, 1) and not evidence.truth.calls:
        return Verdict(Said.FALSE, f"fails in {rate:.0%} of {RUNS} fresh runs")
    # Four standard deviations of so few runs.
    if abs(rate - said) > 4 * np.sqrt(0.25 / int(match[2])):
        return Verdict(Said.MISLEADING, f"fails in {rate:.0%} of {RUNS} fresh runs")
    return Verdict(Said.HELPFUL)


@where(
    r"did not fail again in \d+ runs of the same case|fails in the first example alone: .*|"
    r"fails the first time that it meets a size, and in none of \d+ more runs of the same case"
)
def _once(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a failure is not there again."""
    rate = _rate(evidence)
    if rate > 0.3:
        return Verdict(Said.FALSE, f"fails in {rate:.0%} of {RUNS} fresh runs")
    if not (evidence.truth.random or evidence.truth.calls):
        return Verdict(Said.NO_USE, "neither chance nor the calls before are planted")
    return Verdict(Said.HELPFUL)


@where(rf"less accurate than rounding, ({NUMBER}) times the tolerance in ({NAME}); too small to name")
def _too_small(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that errors are hardly above rounding."""
    shares = [max(seen.share(name) for name in seen.wrong) for seen in evidence.failing()]
    if not shares:
        return Verdict(Said.FALSE, "no fresh case is wrong")
    if np.median(shares) > SMALL:
        return Verdict(Said.MISLEADING, f"{np.median(shares):.2g} times the tolerance on fresh cases")
    return Verdict(Said.HELPFUL)


SMALL = 100.0
"""Up to how many times the tolerance an error is small, on the median fresh case."""
