"""A GateReport as text, as JSON, and as GitHub's annotations."""

from typing import Any

from lstm_checks.gate.differences import NONE
from lstm_checks.gate.report import Change, Finding, GateReport, GateVerdict

SCHEMA = "lstm-checks/gate/1"
VERDICTS = {GateVerdict.PASS: "PASS", GateVerdict.REGRESSION: "REGRESSION", GateVerdict.UNJUDGED: "NOT JUDGED"}
SHOWN = 12


def render_gate(report: GateReport) -> str:
    """Return the report in words: a line for each finding, with what is behind those that did not pass."""
    width = max((len(finding.name) for finding in report.findings), default=0)
    lines = []
    for finding in report.findings:
        lines.append(f"  {finding.outcome:<10}  {finding.name:<{width}}  {finding.message}")
        lines += [f"      {line}" for line in finding.details.splitlines()]
        lines += [f"      {line}" for line in side_by_side(finding.changes)]
    lines += [f"  note: {note}" for note in report.notes]
    if report.updated:
        lines += _accepted(report)
    lines.append(f"{VERDICTS[report.outcome]}  {conclusion(report)}, {report.seconds:.1f} s")
    return "\n".join(lines)


def _accepted(report: GateReport) -> list[str]:
    """Return what an update accepts."""
    if not report.accepted:
        return [f"{report.baseline} is written; nothing differs"]
    # Of a first baseline everything is new.
    most = SHOWN if all(change.old == NONE for change in report.accepted) else len(report.accepted)
    lines = side_by_side(report.accepted, most)
    return [f"{report.baseline} is written; it differs:", *(f"      {line}" for line in lines)]


def conclusion(report: GateReport) -> str:
    """Return how many things came out how."""
    counts = {outcome: len(report.of(outcome)) for outcome in GateVerdict}
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"lstm-checks gate: {told or 'nothing was judged'}"


def side_by_side(changes: tuple[Change, ...], most: int = SHOWN) -> list[str]:
    """Return old and new in two columns, some at most."""
    rows = [("", "baseline", "now"), *((c.name, c.old, c.new) for c in changes[:most])] if changes else []
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + [f"and {len(changes) - most} more"] * (len(changes) > most)


def gate_to_json(report: GateReport) -> dict[str, Any]:
    """Return the report as plain values, as `checks/lstm_checks/data/gate.schema.json` has it."""
    return {
        "schema": SCHEMA,
        "outcome": str(report.outcome),
        "exit_code": report.exit_code,
        "seconds": round(report.seconds, 3),
        "baseline": str(report.baseline),
        "updated": report.updated,
        "accepted": [_change(change) for change in report.accepted],
        "notes": list(report.notes),
        "findings": [_finding(finding) for finding in report.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values."""
    return {
        "what": finding.what,
        "subject": finding.subject,
        "outcome": str(finding.outcome),
        "message": finding.message,
        "details": finding.details,
        "changes": [_change(change) for change in finding.changes],
    }


def _change(change: Change) -> dict[str, str]:
    """Return a change as plain values."""
    return {"name": change.name, "old": change.old, "new": change.new}


def annotations(report: GateReport) -> str:
    """Return the workflow commands that make GitHub show what did not pass, and the notes, beside the change."""
    lines = []
    for finding in report.findings:
        if finding.outcome is not GateVerdict.PASS:
            place = finding.subject.split(":")[0]
            file = f"file={_property(place)}," if place.endswith(".py") else ""
            title = f"{finding.outcome}: {finding.name}"
            text = "\n".join(filter(None, [finding.message, finding.details, *side_by_side(finding.changes)]))
            lines.append(f"::error {file}title={_property(title)}::{_escaped(text)}")
    lines += [f"::notice title=lstm-checks gate::{_escaped(note)}" for note in report.notes]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return a text as a workflow command takes it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return a text as a property of a workflow command takes it."""
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
