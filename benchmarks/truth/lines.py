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


NOT_OF_THE_DIAGNOSIS = ("case", "explains", "examples", "extent", "also", "oracles", "hint", "rerun", "note")
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


THING = r"(?:output |input )?(?:sample|step|element|unit|row)"


def counted_at(text: str, count: int) -> str:
    """Return a line with "the last step" as "step 4 of 4", and so on, for a number of them.

    Examples
    --------
    >>> counted_at("di_ departs first, at the last step but one, all samples but the first", 4)
    'di_ departs first, at step 3 of 4, samples 2, 3 and 4 of 4'
    """

    def all_but(match: re.Match[str]) -> str:
        left = [str(n) for n in range(1, count + 1) if n != (1 if match[2] == "first" else count)]
        return f"{match[1]}s {', '.join(left[:-1])} and {left[-1]} of {count}"

    def one(match: re.Match[str]) -> str:
        which = 1 if match[1] == "first" else count - 1 if match[3] else count
        return f"{match[2]} {which} of {count}"

    text = re.sub(rf"\ball ({THING})s but the (first|last)\b", all_but, text)
    return re.sub(rf"\bthe (first|last) ({THING})( but one)?(?![a-z])", one, text)


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
    if counted_at(text, 3) != text:
        # Of whatever number: so it must be of each.
        found = [judge_line(evidence, label, counted_at(text, n)) for n in (3, 4, 6)]
        told = [one for one in found if one is not None and one.said is not Said.UNJUDGED]
        return max(told, key=lambda one: list(Said).index(one.said)) if told else found[0]
    if any(re.search(words, text) for words in evidence.truth.words):
        return Verdict(Said.HELPFUL, "says what is planted")
    return verdict
