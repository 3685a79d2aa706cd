"""The page of what `verify` says: the verdict, each failing case, and how sure it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lstm_checks.html.failing import sections_of
from lstm_checks.html.levels import field_of_tolerance
from lstm_checks.html.parts import VERDICTS, Cell, Map, Page, Section, Table, Words

Plain = Mapping[str, Any]

MEANS = {
    "vacuous": "vacuous: nothing was at stake, as with gradients that are zero whatever is done; no pass.",
    "inconclusive": "inconclusive: rounding drowns the answer, so that neither right nor wrong can be told; no pass.",
    "unsupported": "unsupported: the target does not give it, or cannot be asked; no pass.",
}
"""What the verdicts that are neither pass nor fail mean."""

LISTED = 100
"""How many failing examples are listed."""


def page_of_report(report: Plain) -> Page:
    """Return the page of a report over many examples."""
    verdict, word = VERDICTS[report["exit_code"]]
    counts = report["verdicts"]
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
    against = f"against {report['reference']}" if report["reference"] else "no reference used"
    facts = [
        ("target", f"{report['target']} ({report['kind']}), {against}"),
        ("examples", f"{sum(counts.values())}: {told}; seed {report['seed']}, {report['seconds']:.1f} s"),
        *(("note", note) for note in report["notes"]),
    ]
    looked = report.get("look") or {}
    failures = [report["failure"], *report["further_failures"]] if report["failure"] is not None else []
    sections: list[Section] = []
    for k, failure in enumerate(failures):
        seen = looked.get("failures", ())
        which = f" ({k + 1} of {len(failures)})" if len(failures) > 1 else ""
        sections += sections_of(failure, seen[k] if k < len(seen) else {}, which)
    sections += [Section("How sure", list(_how_sure(report, looked)))]
    sections += _strata(report)
    sections += _failing_examples(report)
    return Page(report["target"], verdict, word, _sentence(report, failures), facts, sections)


def page_of_case(report: Plain) -> Page:
    """Return the page of a report on a single case."""
    verdict, word = VERDICTS[report["exit_code"]]
    against = f"against {report['reference']}" if report["reference"] else "no reference used"
    facts = [("target", f"{report['target']}, {against}"), ("case", report["case"])]
    facts += [("note", note) for note in report["notes"]]
    looked = report.get("look") or {}
    seen = looked.get("failures") or [{}]
    failed = [claim for claim in report["claims"] if claim["verdict"] == "fail"]
    sections = list(sections_of(report, seen[0], "")) if failed else []
    rows = [(c["claim"], c["verdict"], _of_use(c), c.get("reason", "")) for c in report["claims"]]
    sections.append(Section("Every claim", [Table("The claims", ["claim", "verdict", "tolerance used", "why"], rows)]))
    sections.append(Section("How sure", list(_judged_or_not(looked))))
    sentence = _first_message(report) or f"judged on one case: {report['verdict']}"
    return Page(report["target"], verdict, word, sentence, facts, sections)


def _of_use(claim: Plain) -> str:
    """Return the share of the tolerance that a claim used."""
    return "" if not claim["use"] else f"{100 * claim['use']:.3g} %"


def _sentence(report: Plain, failures: Sequence[Plain]) -> str:
    """Return what the report says in one sentence."""
    counts, total = report["verdicts"], sum(report["verdicts"].values())
    if report["exit_code"] == 0:
        return f"right in {counts.get('pass', 0)} of {total} examples, to rounding; none is wrong"
    if failures:
        return f"{_first_message(failures[0])}; {counts.get('fail', 0)} of {total} examples fail"
    return "the oracles disagree, or no example could be judged"


def _first_message(failure: Plain) -> str:
    """Return the sentence of the first claim that failed."""
    return next((c.get("message", c["claim"]) for c in failure["claims"] if c["verdict"] == "fail"), "")


def _how_sure(report: Plain, looked: Plain) -> Iterator[Any]:
    """Yield the shares of the tolerance, and what was not judged and why."""
    if looked.get("uses"):
        yield from _uses(looked["uses"])
    rows = [
        (name, *(counts.get(v, 0) for v in ("pass", "fail", "vacuous", "inconclusive", "unsupported")))
        for name, counts in report["claims"].items()
    ]
    head = ["claim", "pass", "fail", "vacuous", "inconclusive", "unsupported"]
    yield Table("The claims, with the number of examples by verdict", head, rows, folded=len(rows) > 40)
    yield from _judged_or_not(looked)
    unsupported, asked = report["unsupported"], report["not_asked"]
    told = [f"The target does not give {', '.join(unsupported)}: nothing is said of it."] if unsupported else []
    told += [f"Not asked: {name}, since {reason}." for name, reason in asked.items()]
    told += [
        f"Failing examples that are not explained: {', '.join(u['wrong'])} in {u['examples']}."
        for u in report["unexplained"]
    ]
    if told:
        yield Words(told)


def _uses(uses: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Yield the map of the share of the tolerance by tensor and regime."""
    names = list(dict.fromkeys(name for of in uses.values() for name in of))
    columns = [*uses]
    rows = [
        (
            name,
            [
                field_of_tolerance(of[name], f"{name} in {where}")
                if name in of
                else Cell("nothing", "", f"{name} in {where}: never passed")
                for where, of in uses.items()
            ],
        )
        for name in names
    ]
    if rows:
        yield Words(["Columns: " + "; ".join(f"{k + 1} is {where}" for k, where in enumerate(columns)) + "."])
        caption = "The largest share of its tolerance that each tensor used and passed, by dtype and regime of values"
        yield Map(caption, "tensor", [str(k + 1) for k in range(len(columns))], rows)


def _judged_or_not(looked: Plain) -> Iterator[Any]:
    """Yield what the verdicts that are neither pass nor fail mean, and why there are such."""
    yield Words(list(MEANS.values()))
    reasons = [(r["claim"], r["verdict"], r["reason"], r["examples"]) for r in looked.get("reasons", ())]
    if reasons:
        yield Table("What was not judged, and why", ["claim", "verdict", "why", "examples"], reasons, folded=True)


def _strata(report: Plain) -> list[Section]:
    """Return how many examples lie in each stratum, those without one first."""
    counts = report["strata"]
    empty = [name for name, count in counts.items() if not count]
    unreachable = report["unreachable_strata"]
    told = [f"No example lies in: {', '.join(empty)}. Of these nothing is said."] if empty else []
    told += [f"Not to be reached with this target: {', '.join(unreachable)}."] if unreachable else []
    table = Table(
        "Examples by stratum", ["stratum", "examples"], sorted(counts.items(), key=lambda p: -p[1]), folded=True
    )
    return [Section("Which cases were drawn", [*([Words(told)] if told else []), table], 3)]


def _failing_examples(report: Plain) -> list[Section]:
    """Return the failing examples, one a row."""
    failing = [example for example in report["examples"] if example["verdict"] == "fail"]
    if not failing:
        return []
    rows = [(e["case"], ", ".join(c["claim"] for c in e["claims"][:6]), _first_message(e)) for e in failing[:LISTED]]
    caption = f"{len(rows)} of the {len(failing)} failing examples"
    return [Section("Every failing example", [Table(caption, ["case", "fails", "the worst"], rows, folded=True)], 3)]
