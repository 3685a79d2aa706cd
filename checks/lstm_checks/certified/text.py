"""What is certified, as text and as plain dicts: a target's largest errors, and its verdicts on test vectors."""

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from lstm_checks.certified.certify import CERTIFIED, Certificate, overall, rows_to_json, summarize
from lstm_checks.certified.run import FAIL, UNSUPPORTED, VectorReport
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN, Target
from lstm_checks.judging.reports import CaseReport
from lstm_checks.judging.text import render_failure

CERTIFY_SCHEMA, VECTORS_SCHEMA = "lstm-checks/certify/1", "lstm-checks/vectors/1"
_SHOWN = 5


def render_certificates(name: str, certificates: Sequence[Certificate]) -> str:
    """Return the largest errors by tensor over all cases, a table for each dtype."""
    dtypes = dict.fromkeys(certificate.case.dtype for certificate in certificates)
    return "\n\n".join(_of_one_dtype(name, [c for c in certificates if c.case.dtype == dtype]) for dtype in dtypes)


def _of_one_dtype(name: str, certificates: Sequence[Certificate]) -> str:
    """Return what was measured, its table, and what it comes to."""
    rows = summarize(certificates)
    what = f"case {certificates[0].case.descriptor}"
    if len(certificates) > 1:
        what = f"{len(certificates)} examples in {certificates[0].case.dtype}"
    few, most = min(c.bits for c in certificates), max(c.bits for c in certificates)
    bits = f"{most} bits" if few == most else f"{few} to {most} bits"
    cell = certificates[0].case.cell
    truth = "certified truth" if cell is PLAIN else f"the certified truth of an {cell.title}"
    head = f"{name} against {truth}: {what}; {bits}, {sum(c.seconds for c in certificates):.1f} s"
    return "\n".join([head, "", *_table(rows), "", *_conclusion(name, certificates, rows)])


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each tensor, under a heading."""
    width = max(len(row[key]) for row in rows for key in ("ulps_at", "relative_at", "tensor") if key in row) + 2
    lines = [f"  {'tensor':<8}{'ulps':>9}  {'at':<{width}}{'relative':>9}  {'at':<{width}}{'of tolerance':>12}"]
    for row in rows:
        if row["status"] != CERTIFIED:
            lines.append(f"  {row['tensor']:<8}{row['verdict']}: {row['reason']}")
            continue
        ulps, relative = _above(row["ulps"]), _above(row["relative"])
        places = f"{ulps:>9}  {row['ulps_at']:<{width}}{relative:>9}  {row['relative_at']:<{width}}"
        use = _percent(row["use"]) if row["verdict"] != Verdict.INCONCLUSIVE else "inconclusive"
        lines.append(f"  {row['tensor']:<8}{places}{use:>12}{'  FAIL' if row['verdict'] == Verdict.FAIL else ''}")
    return lines


def _conclusion(name: str, certificates: Sequence[Certificate], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what it comes to: the worst entry, what could not be judged, and the verdict."""
    certified = [row for row in rows if row["status"] == CERTIFIED]
    lines = []
    unresolved = sum(not c.resolved for c in certificates)
    if unresolved:
        lines.append(f"  note      precision ended before all of the truth was known in {unresolved} of them")
    drowned = [c for c in certificates if c.verdict is Verdict.INCONCLUSIVE]
    if drowned:
        lines.append(f"  note      rounding drowns the answer in {len(drowned)}: {drowned[0].case.descriptor}")
    failed = [row for row in rows if row["verdict"] == Verdict.FAIL]
    measured = [row for row in failed if row["status"] == CERTIFIED]
    if measured:
        worst = max(measured, key=lambda row: row["use"])
        lines.append(f"  rerun     lstm-checks verify {name} --case {worst['use_case']}")
    if failed:
        names = ", ".join(row["tensor"] for row in failed)
        return [*lines, f"FAIL  {name}: {len(failed)} of {len(rows)} tensors wrong beyond rounding or missing: {names}"]
    judged = [row for row in certified if row["verdict"] == Verdict.PASS]
    verdict = overall([certificate.verdict for certificate in certificates])
    if verdict is not Verdict.PASS:
        lost = verdict is Verdict.INCONCLUSIVE
        why = "rounding drowns every gradient" if lost else "the target gives no gradient"
        return [*lines, f"NOTHING JUDGED  {name}: {why}"]
    worst = max(judged, key=lambda row: row["relative"])
    bound = f"{_above(worst['relative'])} of its tensor's largest ({worst['relative_at']} of {worst['relative_case']})"
    use = _percent(max(row["use"] for row in judged))
    return [*lines, f"CERTIFIED  {name}: no entry is off by more than {bound}; at most {use} of the tolerance used"]


def certificates_to_json(target: Target, certificates: Sequence[Certificate], exit_code: int) -> dict[str, Any]:
    """Return the errors by tensor over all cases, and each case's, in plain types."""
    return {
        "schema": CERTIFY_SCHEMA,
        "target": target.name,
        "kind": target.kind,
        "exit_code": exit_code,
        "seconds": sum(c.seconds for c in certificates),
        "tensors": rows_to_json(summarize(certificates)),
        "certificates": [certificate.to_json() for certificate in certificates],
    }


def render_vectors(name: str, report: VectorReport, explained: CaseReport | None = None) -> str:
    """Return the verdicts on test vectors: by flag, those that did not pass one by one, and what is wrong.

    Parameters
    ----------
    name : str
    report : VectorReport
    explained : CaseReport, optional
        What `explain_vectors` found.
    """
    results, counts, file = report.results, report.counts, report.file
    certified = file is not None and file.shipped
    what = f"{len(results)} {'certified ' if certified else ''}vectors"
    what += f" of {file.path}" if file is not None and not certified else ""
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "there are none"
    lines = [f"{name} on {what}: {said}"]
    if file is not None:
        whose = "the certified file" if certified else "NOT the certified file"
        lines += [f"  file      {file.path}", f"  sha256    {file.sha256}: {whose} that came with lstm-checks"]
    if report.lacking:
        lines.append(f"  not judged: {', '.join(report.lacking)}; the target does not give it")
    lines.append("")
    lines.append(f"  {'flag':<20}{'pass':>6}{'fail':>6}{'unsupported':>13}")
    for flag, found in report.by_flag().items():
        lines.append(f"  {flag:<20}{found['pass']:>6}{found['fail']:>6}{found['unsupported']:>13}".rstrip())
    lines.append("")
    failed = sorted((r for r in results if r.verdict == FAIL), key=lambda r: -r.use)
    lines += [f"  fail      {r.vector.id}: {r.reason}" for r in failed[:_SHOWN]]
    lines += [f"            and {len(failed) - _SHOWN} more, all of them by --json"] if len(failed) > _SHOWN else []
    reasons = dict.fromkeys(r.reason for r in results if r.verdict == UNSUPPORTED)
    for reason in reasons:
        count = sum(r.reason == reason for r in results if r.verdict == UNSUPPORTED)
        lines.append(f"  unsupported {count}: {reason}")
    if failed:
        return "\n".join([*lines, *_explained(name, explained), f"FAIL  {name}: {len(failed)} of {what}"])
    if not report.judged:
        return "\n".join([*lines, f"NOTHING JUDGED  {name}: expected at least one vector that it can be run on"])
    worst = max((r for r in results if r.verdict != UNSUPPORTED), key=lambda r: r.use)
    lines.append(f"  tolerance {_percent(worst.use)} used by the worst entry, in {worst.vector.id}")
    uncertified = "" if certified or file is None else ", whose answers nobody has certified"
    return "\n".join([*lines, f"PASS  {name}: {counts['pass']} of {what}{uncertified}"])


def _explained(name: str, report: CaseReport | None) -> list[str]:
    """Return what `verify` says of a vector that failed, a paragraph of its own."""
    if report is None:
        return []
    if report.failures:
        return ["", render_failure(name, report), ""]
    return [f"  verify    finds nothing wrong with {report.case.descriptor}: are these the right answers?"]


def vectors_to_json(report: VectorReport, exit_code: int, explained: CaseReport | None = None) -> dict[str, Any]:
    """Return the verdicts by vector and by flag in plain types, and the faults that `verify` suspects."""
    diagnosis = explained.diagnosis if explained is not None else None
    suspects = [suspect.fault for suspect in diagnosis.suspects] if diagnosis is not None else []
    return {"schema": VECTORS_SCHEMA, "exit_code": exit_code, **report.to_json(), "suspects": suspects}


def _above(bound: float) -> str:
    """Return a bound with two digits, rounded up so that it stays one; whole below 10^5."""
    if not math.isfinite(bound) or bound == 0:
        return f"{bound:.2g}"
    rounded = float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(Decimal(bound)))
    return f"{rounded:.0f}" if 100 <= rounded < 1e5 else f"{rounded:.2g}"


def _percent(share: float) -> str:
    """Return a share in percent; small ones with a digit more."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
