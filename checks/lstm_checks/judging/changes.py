"""Two reports on the same thing, as their JSON has them, before and after: claim by claim what is better and worse."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Plain = Mapping[str, Any]

SCHEMA = "lstm-checks/compare/1"

BETTER, WORSE, SAME, OTHER = "better", "worse", "as before", "other"
"""What is said of a claim: better where it passes and did not; worse where it passed and does not."""


class ComparisonError(ValueError):
    """Two reports cannot be compared; the message says why."""


def compare_reports(before: Any, after: Any) -> dict[str, Any]:
    """Return what differs between two reports as plain values.

    Raises
    ------
    ComparisonError
        "one is lstm-checks/verify/1, the other lstm-checks/gate/1", and the like.
    """
    schemas = [one.get("schema") if isinstance(one, Mapping) else None for one in (before, after)]
    if schemas[0] != schemas[1]:
        raise ComparisonError(f"one is {schemas[0]}, the other {schemas[1]}, expected two reports of one command")
    if schemas[0] not in _CLAIMS:
        raise ComparisonError(f"{schemas[0]} is not compared, expected one of {', '.join(_CLAIMS)}")
    try:
        return _compared(str(schemas[0]), before, after)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ComparisonError(f"not both are as {schemas[0]} says: {type(error).__name__}: {error}") from error


def _compared(schema: str, before: Plain, after: Plain) -> dict[str, Any]:
    """Return what differs between two reports of one schema."""
    was, now = dict(_CLAIMS[schema](before)), dict(_CLAIMS[schema](after))
    rows = [
        {
            "claim": name,
            "change": _change(*verdicts),
            "before": verdicts[0],
            "after": verdicts[1],
            **_used(before, after, name),
        }
        for name in dict.fromkeys((*was, *now))
        for verdicts in [(was.get(name, "not there"), now.get(name, "not there"))]
    ]
    worse = any(row["change"] == WORSE for row in rows) or (before["exit_code"], after["exit_code"]) in ((0, 1), (0, 2))
    return {
        "schema": SCHEMA,
        "of": schema,
        "targets": [str(before["target"]), str(after["target"])],
        "codes": [int(before["exit_code"]), int(after["exit_code"])],
        "exit_code": 1 if worse else 0,
        "settings": [_settings(before), _settings(after)],
        "claims": rows,
        "before": before,
        "after": after,
    }


def _settings(report: Plain) -> str:
    """Return on what a report was made: where that differs, so may what is said."""
    if "seed" in report:
        return f"{sum(report['verdicts'].values())} examples, seed {report['seed']}"
    if "case" in report:
        return f"case {report['case']}"
    return f"{len(report.get('certificates') or report.get('vectors') or ())} cases"


def _change(was: str, now: str) -> str:
    """Return what came of a claim."""
    if was == now:
        return SAME
    return WORSE if was == "pass" else BETTER if now == "pass" else OTHER


def _used(before: Plain, after: Plain, name: str) -> dict[str, Any]:
    """Return the largest shares of the tolerance that were used in passing, where that is known."""
    found = []
    for report in (before, after):
        uses = (report.get("look") or {}).get("uses") or {}
        of = [share[name] for share in uses.values() if name in share]
        found.append(max(of) if of else None)
    return {"used_before": found[0], "used_after": found[1]}


def _of_counts(report: Plain) -> Iterator[tuple[str, str]]:
    """Yield the verdict on each claim over all examples: the worst that matters."""
    for name, counts in report["claims"].items():
        order = ("fail", "pass", "inconclusive", "vacuous", "unsupported")
        yield name, next(verdict for verdict in order if counts.get(verdict))


def _of_claims(report: Plain) -> Iterator[tuple[str, str]]:
    """Yield the verdict on each claim of one case."""
    yield from ((claim["claim"], claim["verdict"]) for claim in report["claims"])


_CLAIMS: Mapping[str, Callable[[Plain], Iterator[tuple[str, str]]]] = {
    "lstm-checks/verify/1": _of_counts,
    "lstm-checks/case/1": _of_claims,
    "lstm-checks/certify/1": lambda report: ((row["tensor"], row["verdict"]) for row in report["tensors"]),
    "lstm-checks/vectors/1": lambda report: ((row["vector"], row["verdict"]) for row in report["vectors"]),
}
"""By the schema of two reports, what yields the verdict on each claim of one."""


def render_changes(found: Plain) -> str:
    """Return in words what differs."""
    width = max((len(row["claim"]) for row in found["claims"]), default=0)
    lines = [
        f"before    {found['targets'][0]}: {found['settings'][0]}",
        f"after     {found['targets'][1]}: {found['settings'][1]}",
    ]
    told = [row for row in found["claims"] if row["change"] != SAME]
    lines += [f"  {row['change']:<9} {row['claim']:<{width}}  {row['before']} -> {row['after']}" for row in told]
    counts = {
        change: sum(row["change"] == change for row in found["claims"]) for change in (BETTER, WORSE, OTHER, SAME)
    }
    said = ", ".join(f"{count} {change}" for change, count in counts.items() if count) or "no claims"
    words = {0: "PASS", 1: "FAIL", 2: "NOTHING JUDGED"}
    whole = " -> ".join(words.get(code, str(code)) for code in found["codes"])
    return "\n".join([*lines, f"{'WORSE' if found['exit_code'] else 'NOT WORSE'}  {whole}: {said}"])
