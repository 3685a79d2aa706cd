"""The forms of the sentences in words of their own, and which judge has which."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from truth.evidence import Evidence, Only, Said, Verdict, listed

from lstm_checks.cases import Case

Judge = Callable[[Evidence, Any], Verdict]


WHERE: list[tuple[re.Pattern[str], Judge]] = []


def where(form: str) -> Callable[[Judge], Judge]:
    """Enter a judge of the lines of a form."""

    def enter(judge: Judge) -> Judge:
        WHERE.append((re.compile(form), judge))
        return judge

    return enter


SO = (Said.HELPFUL, Said.NO_USE)


def judge_where(evidence: Evidence, text: str) -> Verdict:
    """Judge a line of where, or whatever else is said in words of its own."""
    plain, case = _without_case(text)
    if case is not None:
        evidence = Only(evidence, **dict(zip("mseu", case.dims, strict=True)), regime=case.regime)
    for form, judge in WHERE:
        if match := form.fullmatch(plain):
            verdict = judge(evidence, match)
            if case is None or verdict.said not in (Said.FALSE, Said.MISLEADING):
                return verdict
            # Of the very case that it names it may be so, and of others like it not.
            there = judge(Only(evidence, seed=case.seed), match)
            return Verdict(Said.NO_USE, f"so of that case alone: {verdict.why}") if there.said in SO else verdict
    return Verdict(Said.UNJUDGED, "no known form")


def _without_case(text: str) -> tuple[str, Case | None]:
    """Return a line without the case that it speaks of, and that case."""
    match = re.fullmatch(r"(.*?) \(case (\S+)\)", text)
    return (match[1], Case.parse(match[2])) if match else (text, None)


def numbers(text: str) -> list[int]:
    """Return the numbers, from 1, of "1, 2 and 3", from 0."""
    return [int(word) - 1 for word in listed(text)]
