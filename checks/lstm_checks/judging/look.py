"""What there is to look at in a report, as plain values: entry by entry, step by step, and how sure a pass is.

What a page (`html/`) draws beside what `json` says. Of a failing case the target is called again: on the case itself
for its entries, on a larger one that fails for the steps where there is one, with the cotangent of one output step at a
time for where credit is lost, and with more elements to solve dU for the gates' cotangents.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import Array, Observation, observe_once, observe_values, wrong_entries
from lstm_checks.diagnosis.places import delta, grown, no_final, solved_for
from lstm_checks.diagnosis.relation import axes_in_words
from lstm_checks.files import FileError, read_bytes
from lstm_checks.judging.json import case_to_json, report_to_json
from lstm_checks.judging.reports import CaseReport, Report, is_tensor
from lstm_checks.judging.text import rerun_command
from lstm_checks.repair.found import Line

MOST_ENTRIES, MOST_TENSORS = 600, 8
"""Of how many entries of a tensor, and of how many wrong tensors, the numbers are kept; the worst of more."""

MOST_STEPS = 40
"""Over how many steps, and over how many samples times steps, maps are drawn; a target is called once for each."""

CONTEXT = 4
"""How many lines of the user's file are kept before and after one that is wrong."""

CASE_SCHEMA = "lstm-checks/case/1"


def report_in_full(target: Target, report: Report) -> dict[str, Any]:
    """Return a report as plain values, with what there is to look at under "look"."""
    failures = [f for f in (report.failure, *report.further) if f is not None]
    looked = {
        "uses": _uses(report.examples),
        "reasons": _reasons(report.examples),
        "failures": [look(target, report.target.name, failure) for failure in failures],
    }
    return {**report_to_json(report), "look": looked}


def case_in_full(target: Target, report: CaseReport, exit_code: int) -> dict[str, Any]:
    """Return the report on one case as plain values, with what there is to look at under "look"."""
    looked = {
        "uses": _uses([report]),
        "reasons": _reasons([report]),
        "failures": [look(target, target.name, report)] if report.failures else [],
    }
    head = {"schema": CASE_SCHEMA, "target": target.name, "exit_code": exit_code}
    return {**head, **case_to_json(report), "look": looked}


def _uses(reports: Sequence[CaseReport]) -> dict[str, dict[str, float]]:
    """Return the largest share of the tolerance that a tensor used and passed, by dtype and regime."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        of = found.setdefault(f"{report.case.dtype} {report.case.regime}", {})
        for claim in report.claims:
            if is_tensor(claim.name) and claim.verdict is Verdict.PASS:
                of[claim.name] = max(of.get(claim.name, 0.0), claim.use)
    return found


def _reasons(reports: Sequence[CaseReport]) -> list[dict[str, Any]]:
    """Return why claims were not judged, with the number of examples, the most frequent first."""
    counted = Counter(
        (claim.name, str(claim.verdict), claim.reason)
        for report in reports
        for claim in report.claims
        if claim.verdict in (Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED) and claim.reason
    )
    return [
        {"claim": name, "verdict": verdict, "reason": reason, "examples": count}
        for (name, verdict, reason), count in counted.most_common()
    ]


def look(target: Target, name: str, report: CaseReport) -> dict[str, Any]:
    """Return what there is to look at in a failing case: numbers, maps, the user's lines, and the command to rerun it.

    Where the target cannot be asked, or what is due is not known, "without" says why there are no numbers.
    """
    found: dict[str, Any] = {
        "rerun": rerun_command(name, report),
        "source": [_context(line) for line in report.source.lines],
        "without": _why_not(report),
    }
    if found["without"]:
        return found
    # Of another dtype the target may be right.
    asked = replace(target, dtypes=(report.case.dtype,))
    try:
        with np.errstate(all="ignore"):
            return {**found, **_numbers(asked, report.case)}
    except Exception as error:
        # The failure stands, whatever becomes of its pictures.
        broken = f"not looked at to the end, by a fault of lstm-checks: {type(error).__name__}: {error}"
        return {**found, "without": broken}


def _why_not(report: CaseReport) -> str:
    """Return why there are no numbers to look at; nothing where there are."""
    if report.unanswered:
        return "the target gave no answer, and was not called again"
    if not report.reference:
        return "no reference was used, so that nothing is due entry by entry"
    if report.chance:
        return "the case fails by chance, so that another call would show other numbers"
    if report.case.size > tolerance.LARGE:
        return "the case is too large to be looked at entry by entry"
    return ""


def _numbers(target: Target, case: Case) -> dict[str, Any]:
    """Return the wrong tensors' entries, and the maps."""
    seen = observe_once(target, case)
    if seen.answer.error:
        return {"without": seen.answer.sentence}
    larger = grown(target, case) if seen.wrong else case
    there = seen if larger == case else observe_once(target, larger)
    return {
        "case": _entries(seen),
        "larger": _entries(there),
        "steps": _steps(target, there),
        "credit": _credit(target, larger),
    }


def _use(seen: Observation, name: str) -> Array:
    """Return by how many times the tolerance each entry of a tensor is off; infinite where it is not a number."""
    due, sd = seen.due(name)
    use = np.abs(seen.came[name] - due) / tolerance.accepted(sd, seen.case.dtype)
    return np.where(np.isfinite(use), use, np.inf)


def _entries(seen: Observation) -> dict[str, Any]:
    """Return the entries of the wrong tensors, those that are off most first."""
    uses = {name: _use(seen, name) for name in seen.wrong}
    names = sorted(uses, key=lambda name: -float(np.max(uses[name])))
    return {
        "case": seen.case.descriptor,
        "tensors": [_tensor(seen, name, uses[name]) for name in names[:MOST_TENSORS]],
        "left_out": names[MOST_TENSORS:],
    }


def _tensor(seen: Observation, name: str, use: Array) -> dict[str, Any]:
    """Return a tensor's entries: where each is, what came, what is due, what is accepted, and the share of that."""
    came, (due, sd) = seen.came[name], seen.due(name)
    accepted = tolerance.accepted(sd, seen.case.dtype)
    order = np.argsort(-use, axis=None, kind="stable")[:MOST_ENTRIES]
    columns = {"came": came, "due": due, "accepted": accepted, "use": use}
    return {
        "name": name,
        "axes": list(axes_in_words(name, seen.case.cell, came.ndim)),
        "shape": list(came.shape),
        "wrong": int(seen.wrong[name].sum()),
        "flat": [int(k) for k in order],
        **{word: [_plain(float(value.flat[k])) for k in order] for word, value in columns.items()},
    }


def _plain(value: float) -> float | str:
    """Return a number as JSON has it; as a word where it has none."""
    return value if np.isfinite(value) else str(value)


def _steps(target: Target, seen: Observation) -> dict[str, Any]:
    """Return by how many times the tolerance the outputs, dX and the gates' cotangents are off at each step."""
    case = seen.case
    if case.s > MOST_STEPS:
        return {"without": f"{case.s} steps, and more than {MOST_STEPS} are not drawn"}
    rows: dict[str, Any] = {}
    for name in (case.cell.outputs[0], "dX"):
        if name in seen.came and seen.came[name].ndim == 3:
            rows[name] = [_plain(float(value)) for value in np.max(_use(seen, name), axis=(0, 2))]
    solvable, solved = _solved(target, case)
    return {
        "case": case.descriptor,
        "rows": rows,
        "solved_case": "" if solvable is None else solvable.descriptor,
        "solved": solved,
        "without": "",
    }


def _solved(target: Target, case: Case) -> tuple[Case | None, dict[str, Any]]:
    """Return the gates' cotangents, solved for from dU, step by step, and the case; nothing where that cannot be."""
    cell, m = case.cell, case.m if case.m * case.s <= MOST_STEPS else 1
    first = [place.suffix for place in cell.places if place.layer == 0] if cell.places else [""]
    names = {f"{delta(gate)}{suffix}": f"dU{gate}{suffix}" for suffix in first for gate in cell.gates}
    asked = replace(case, m=m, e=m * case.s + 2)
    if target.compiles or not wrong_entries(target, asked):
        return None, {}
    found = solved_for(target, asked, {n: t for n, t in names.items() if t not in target.lacks})
    if found is None:
        return None, {}
    return asked, {
        name: [_plain(float(value)) for value in np.max(np.abs(came - due) / accepted, axis=(0, 2))]
        for name, (came, due, accepted) in found.items()
    }


def _credit(target: Target, case: Case) -> dict[str, Any]:
    """Return what arrives in dX at each input step, of the cotangent of one output step at a time.

    Rows are output steps, columns input steps: by how many times the tolerance dX is off; which share of what is due
    came, by least squares; and the norms of what came and of what is due.
    """
    if "dX" in target.lacks or case.s > MOST_STEPS:
        return {"without": "the target gives no dX" if "dX" in target.lacks else f"more than {MOST_STEPS} steps"}
    hidden = case.cell.cotangents[0]
    table: dict[str, list[list[Any]]] = {word: [] for word in ("use", "share", "came", "due")}
    outputs = list(range(case.s)) if case.sequences else [case.s - 1]
    for t in outputs:
        alone = np.zeros_like(case.arrays[hidden])
        alone[:, t] = case.arrays[hidden][:, t] if case.arrays[hidden][:, t].any() else 1
        seen = observe_values(target, case, case.arrays.replaced(**{hidden: alone}, **no_final(case)))
        if seen is None or "dX" not in seen.came:
            return {"without": f"no dX came of the cotangent of output step {t + 1} alone"}
        for word, row in _of_one_output(seen).items():
            table[word].append(row)
    return {"case": case.descriptor, "outputs": [t + 1 for t in outputs], **table, "without": ""}


def _of_one_output(seen: Observation) -> Mapping[str, list[Any]]:
    """Return a row of the map of credit, an entry an input step."""
    came, (due, _) = seen.came["dX"], seen.due("dX")
    both, square = np.sum(came * due, axis=(0, 2)), np.sum(due * due, axis=(0, 2))
    share = [_plain(float(a / b)) if b else None for a, b in zip(both, square, strict=True)]
    norms = {
        word: [_plain(float(v)) for v in np.sqrt(np.sum(value * value, axis=(0, 2)))]
        for word, value in (("came", came), ("due", due))
    }
    return {"use": [_plain(float(v)) for v in np.max(_use(seen, "dX"), axis=(0, 2))], "share": share, **norms}


def _context(line: Line) -> dict[str, Any]:
    """Return the lines of the user's file around one that is wrong; none where the file has changed meanwhile."""
    try:
        text = read_bytes(line.path).decode("utf-8", "replace").splitlines()
    except (OSError, FileError):
        text = []
    if not 0 < line.line <= len(text) or text[line.line - 1].strip() != line.text:
        return {"first": line.line, "lines": [line.text]}
    first = max(1, line.line - CONTEXT)
    return {"first": first, "lines": text[first - 1 : max(line.last, line.line) + CONTEXT]}
