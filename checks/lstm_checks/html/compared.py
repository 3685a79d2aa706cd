"""The page of two reports next to each other, before and after."""

from collections.abc import Callable, Mapping
from typing import Any

from lstm_checks.html.levels import number, share_in_words
from lstm_checks.html.parts import VERDICTS, Page, Section, Table, Words

Plain = Mapping[str, Any]


def page_of_comparison(report: Plain, page_of: Callable[[Any], Page]) -> Page:
    """Return the page of a comparison, with both reports' own sections below; `page_of` makes each of their pages."""
    verdict, word = ("fail", "WORSE") if report["exit_code"] else ("pass", "NOT WORSE")
    words = [VERDICTS[code][1] for code in report["codes"]]
    rows = [
        (
            row["claim"],
            row["change"],
            row["before"],
            row["after"],
            *(_used(row[k]) for k in ("used_before", "used_after")),
        )
        for row in report["claims"]
    ]
    rows.sort(key=lambda row: ("worse", "better", "other").index(row[1]) if row[1] != "as before" else 3)
    head = ["claim", "change", "before", "after", "used before", "used after"]
    told = []
    if report["settings"][0] != report["settings"][1]:
        told.append("The two were not made of the same cases, so that a verdict may differ by that alone.")
    parts: list[Any] = [*([Words(told)] if told else []), Table("Claim by claim", head, rows)]
    sections = [Section("What differs", parts)]
    for when in ("before", "after"):
        own = page_of(report[when])
        sections.append(Section(f"The report {when}: {own.word}", [Words([own.sentence])]))
        sections += [Section(f"{section.title}, {when}", section.parts, 3) for section in own.sections]
    facts = [
        (when, f"{target}: {settings}")
        for when, target, settings in zip(("before", "after"), report["targets"], report["settings"], strict=True)
    ]
    return Page("Before and after", verdict, word, " -> ".join(words), facts, sections)


def _used(value: Any) -> str:
    """Return a share of the tolerance in words; nothing where none is known."""
    return "" if value is None else share_in_words(number(value))
