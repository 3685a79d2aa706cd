"""A GateReport as Markdown, for a job's summary or a comment."""

from lstm_checks.gate.report import Change, GateReport, GateVerdict
from lstm_checks.gate.text import VERDICTS, conclusion

SIGNS = {GateVerdict.PASS: "✅", GateVerdict.REGRESSION: "❌", GateVerdict.UNJUDGED: "⚠️"}


def gate_to_markdown(report: GateReport) -> str:
    """Return the report as a table, with old and new where they differ and details folded away."""
    lines = [f"### {SIGNS[report.outcome]} {VERDICTS[report.outcome]}", "", f"{conclusion(report)}", ""]
    lines += ["| | judged | result |", "|---|---|---|"]
    lines += [f"| {SIGNS[f.outcome]} | {_cell(f.name)} | {_cell(f.message)} |" for f in report.findings]
    for finding in report.findings:
        if finding.changes:
            lines += ["", f"**{_cell(finding.name)}**", "", *_table(finding.changes)]
        if finding.details:
            lines += ["", f"<details open><summary>{_cell(finding.name)}</summary>", "", *_fenced(finding.details)]
            lines += ["", "</details>"]
    if report.updated:
        lines += ["", f"`{report.baseline}` is written.", "", *_table(report.accepted)]
    lines += [""] * bool(report.notes) + [f"- {_cell(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _table(changes: tuple[Change, ...]) -> list[str]:
    """Return old and new side by side."""
    if not changes:
        return ["Nothing differs."]
    rows = [f"| {_cell(c.name)} | {_cell(c.old)} | {_cell(c.new)} |" for c in changes]
    return ["| | baseline | now |", "|---|---|---|", *rows]


def _fenced(text: str) -> list[str]:
    """Return a text as it stands; the fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, *text.splitlines(), fence]


def _cell(text: str) -> str:
    """Return a text for one cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
