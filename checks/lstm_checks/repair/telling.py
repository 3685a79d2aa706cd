"""Findings in words: the line as it stands in the user's file, and what was put in the place of which of its words."""

from collections.abc import Mapping, Sequence

from lstm_checks.repair.due import ONES, ZERO, Due
from lstm_checks.repair.edits import Edit
from lstm_checks.repair.found import Line
from lstm_checks.repair.intervene import Finding
from lstm_checks.repair.rewrite import Site, Source
from lstm_checks.words import few, series

SPAN = 4
"""Over how many lines at most what cannot be told apart may reach, for it to be told at all."""


def tell(findings: Sequence[Finding], files: Mapping[str, Source], due: Due, judged: Sequence[str]) -> tuple[Line, ...]:
    """Return the lines to be shown, where all that cannot be told apart is next to one another; else nothing."""
    told = []
    for finding in findings:
        if any(site.is_leaf or (site.is_access and site.number in finding.site.parts) for site in finding.feeders):
            # What it is made of was wrong before, where nobody saw it.
            return ()
        sites = [finding.instead or finding.site]
        also = [finding.site] if finding.instead is not None else []
        also += finding.feeders
        if any(other.path != sites[0].path for other in also) or len({other.statement for other in also}) > 2:
            return ()
        if len({feeder.statement for feeder in finding.feeders} - {finding.site.statement, sites[0].statement}) > 1:
            # Two that are wrong need have nothing in common but that both are read here.
            return ()
        if any(abs(other.line - finding.site.line) > SPAN for other in finding.feeders):
            return ()
        told.append(_line(finding, sites[0], also, files, due, judged, len(findings)))
    return tuple(told)


def _line(
    finding: Finding,
    site: Site,
    also: Sequence[Site],
    files: Mapping[str, Source],
    due: Due,
    judged: Sequence[str],
    count: int,
) -> Line:
    """Return one line with what shows it."""
    source = files[site.path]
    word = finding.word if finding.word is not None and site is finding.site else site
    raw = source.lines[site.line - 1].decode()
    text = raw.strip()
    before = source.lines[word.line - 1][: word.column].decode()
    column = len(before) - (len(raw) - len(raw.lstrip())) if word.line == site.line else -1
    further = sorted({other.line for other in also} - {site.line})
    return Line(
        site.path,
        site.line,
        site.statement[1],
        text,
        " ".join(word.text.split()),
        column,
        _shown(finding, due, judged, count),
        tuple(further),
    )


def _shown(finding: Finding, due: Due, judged: Sequence[str], count: int) -> str:
    """Return what was put in the place of what, and what became right."""
    names = list(dict.fromkeys(name for one in finding.overrides for name in one.form.names))
    names = [name for name in names if name not in (ONES, ZERO)] or names
    words = [_quantity(name) for name in names]
    quantity = few(words)
    numbers = [due.quantities[name].equations for name in names if name in due.quantities]
    equations = list(dict.fromkeys(", ".join(filter(None, numbers)).split(", ")))
    if equations and equations[0]:
        quantity += f" of equation{'s' if len(equations) > 1 else ''} {', '.join(equations)}"
    place = "in its place"
    if finding.instead is not None and finding.word is not None:
        place = f"in the place of {finding.word.text} in line {finding.word.line}"
    elif finding.word is not None and finding.word.text != finding.site.text:
        place = f"in the place of {finding.word.text}"
    if count == 1:
        right = f"all {len(judged)} tensors" if len(judged) > 2 else series(judged)
        return f"with {quantity} {place} {right} {'is' if len(judged) == 1 else 'are'} right"
    mended = sorted({name for case, name in finding.mends if case == 0}) or sorted({n for _, n in finding.mends})
    return f"with {quantity} {place} {few(mended)} come right"


def right_in(tried: int) -> str:
    """Return what is said of edits with which everything was right in so many cases."""
    return f"all is right in {tried} cases"


def told_of(edits: Sequence[Edit], files: Mapping[str, Source], right: str) -> tuple[Line, ...]:
    """Return the lines that some edits change, with what is right with all of them."""
    right = f"and the other edit of the fix {right}" if len(edits) > 1 else right
    told = (tell_edit(edit, files[edit.path], right) for edit in edits)
    return tuple({(one.path, one.line): one for one in told}.values())


def tell_edit(edit: Edit, source: Source, right: str) -> Line:
    """Return a line by the edit of it, with what is right with that."""
    (line, column), end = edit.span
    raw = source.lines[line - 1].decode()
    word = " ".join(source.between(edit.span[0], end).split())
    before = source.lines[line - 1][:column].decode()
    at = len(before) - (len(raw) - len(raw.lstrip())) if word and word in raw else -1
    new = " ".join(edit.text.split()).removesuffix("pass")
    shown = f"with {new} in its place" if new else "without it"
    return Line(edit.path, line, line, raw.strip(), word, at, f"{shown} {right}")


def _quantity(name: str) -> str:
    """Return a quantity's name; an expression in quotes."""
    head = name.partition(" of ")[0]
    return name if head.isidentifier() else f"`{name}`"
