"""The lines of a failure's text that its diagnosis says, and what each is worth."""

from __future__ import annotations

import re
from collections.abc import Callable

from truth import conditions, gates, places  # noqa: F401 (they enter their forms)
from truth.conditions import judge_pattern
from truth.evidence import Evidence, Only, Said, Verdict
from truth.forms import judge_where
from truth.readings import judge_layout
from truth.relations import judge_relation
from truth.suspects import judge_suspect

LABELS: dict[str, Callable[[Evidence, str], Verdict | None]] = {
    "suspect": judge_suspect,
    "relation": judge_relation,
    "layout": judge_layout,
    "pattern": judge_pattern,
    "where": judge_where,
}


NOT_OF_THE_DIAGNOSIS = ("case", "explains", "examples", "extent", "also", "oracles", "rerun", "note")
"""Labels of what `verify` itself says of the failing case."""


NORMAL = "for normal values, "
"""How a line begins that is so of values of the regime "normal", where the failing case's are others."""


def lines_of(text: str) -> list[tuple[str, str]]:
    """Return the lines of a failure's text that its diagnosis says, each with its label."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines()[1:]:
        if match := re.match(r"  ([a-z_]+) +(?! )(.*)", line):
            if match[1] not in NOT_OF_THE_DIAGNOSIS:
                found.append((match[1], match[2]))
        elif (match := re.match(r" {12}or (.*)", line)) and found:
            found.append((found[-1][0], match[1]))
    return found


def judge_line(evidence: Evidence, label: str, text: str) -> Verdict | None:
    """Return what a line is worth; None where it makes no claim."""
    if text.startswith("not looked for, since "):
        # Of what was done, and not of the target.
        return None
    if text.startswith(NORMAL):
        return judge_line(Only(evidence, regime="normal"), label, text.removeprefix(NORMAL))
    judge = LABELS.get(label, judge_where)
    verdict = judge(evidence, text)
    if verdict is None or verdict.said is not Said.UNJUDGED:
        return verdict
    other = judge_where(evidence, text)
    if other.said is not Said.UNJUDGED:
        return other
    if any(re.search(words, text) for words in evidence.truth.words):
        return Verdict(Said.HELPFUL, "says what is planted")
    return verdict
