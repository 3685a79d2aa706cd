"""Whether it is the sizes, the regime, the calls or chance that a line says on which going wrong hangs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from truth.evidence import NAME, NAMES, TENSORS, Evidence, Said, Verdict, due_on, judge_share, last_step, listed, look
from truth.forms import where

from checks.calling import call_target
from checks.cases import Case
from checks.contract import Target

DRAWS = 12
"""For how many fresh draws of values a size is asked about."""


def _fails(evidence: Evidence, case: Case) -> bool | None:
    """Return whether a target fails a case by a value; None where rounding drowns it."""
    seen = evidence.look(case)
    return None if seen is None else bool(seen.wrong or seen.error)


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
        if share == 1 and int(match[1]) > 0 and not evidence.truth.random:
            return Verdict(Said.FALSE, "wrong for each of 24 fresh draws")
        if evidence.truth.calls and not evidence.truth.values:
            return Verdict(Said.MISLEADING, "it hangs on the calls, not on the values")
        return Verdict(Said.HELPFUL if evidence.truth.values or evidence.truth.random else Said.NO_USE)
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
