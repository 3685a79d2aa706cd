"""A report as plain dicts for `json.dumps`, and written to a file that is whole or not there."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_checks.compare import Claim
from lstm_checks.files import replace_file
from lstm_checks.judging.reports import CaseReport, Report

if TYPE_CHECKING:
    from lstm_checks.diagnosis.diagnose import Diagnosis

SCHEMA = "lstm-checks/verify/1"


def report_to_json(report: Report) -> dict[str, Any]:
    """Return a report as plain values; numbers that JSON has not are None."""
    return {
        "schema": SCHEMA,
        "target": report.target.name,
        "kind": report.target.kind,
        "reference": "lstm_ref" if report.reference else None,
        "unsupported": list(report.target.unsupported),
        "notes": list(report.target.remarks(report.reference)),
        "seed": report.seed,
        "seconds": round(report.seconds, 3),
        "exit_code": report.exit_code,
        "verdicts": {str(verdict): count for verdict, count in report.counts.items()},
        "strata": report.stratum_counts,
        "unreachable_strata": list(report.unreachable),
        "claims": {name: {str(v): n for v, n in counts.items()} for name, counts in report.claim_counts.items()},
        "not_asked": report.not_asked,
        "contract": list(report.contract),
        "together": [one.sentence for one in report.together],
        "failure": case_to_json(report.failure) if report.failure is not None else None,
        "further_failures": [case_to_json(failure) for failure in report.further],
        "unexplained": [{"wrong": sorted(names), "examples": count} for names, count in report.unexplained],
        "examples": [case_to_json(example, brief=True) for example in report.examples],
    }


def case_to_json(report: CaseReport, brief: bool = False) -> dict[str, Any]:
    """Return the report on a case; `brief` leaves out the claims that did not fail."""
    claims = [*report.failures, *report.mistrusted] if brief else report.claims
    worst = report.worst
    return {
        "case": report.case.descriptor,
        "verdict": str(report.verdict),
        "reference": "lstm_ref" if report.reference else None,
        "worst": None if worst is None else {"tensor": worst.name, "use": _finite(worst.use)},
        "notes": list(report.notes),
        "chance": report.chance,
        "pattern": report.pattern,
        "explains": None if report.stands_for is None else list(report.stands_for),
        "hints": list(report.hints),
        "diagnosis": None if report.diagnosis is None else _diagnosis(report.diagnosis),
        "lines": [asdict(line) for line in report.source.lines],
        "fixes": [{"diff": fix.diff, "cases": fix.tried} for fix in report.source.fixes],
        "claims": [_claim_to_json(claim) for claim in claims],
    }


def _claim_to_json(claim: Claim) -> dict[str, Any]:
    """Return one claim as plain values."""
    plain: dict[str, Any] = {"claim": claim.name, "verdict": str(claim.verdict), "use": _finite(claim.use)}
    if claim.reason:
        plain["reason"] = claim.reason
    if claim.discrepancy is not None:
        found = claim.discrepancy
        plain |= {"kind": found.kind, "message": found.message, "wrong": found.wrong, "size": found.size}
        plain |= {"index": list(found.index), "where": found.where}
    return plain


def _finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return value if math.isfinite(value) else None


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON, replacing the file in one step."""
    replace_file(path, json.dumps(value, indent=1) + "\n")


def _diagnosis(found: "Diagnosis") -> dict[str, Any]:
    """Return a diagnosis by the names that reports have always had: a reading is said under "layout"."""
    return {"layout" if name == "reading" else name: value for name, value in asdict(found).items()}
