"""The pages of the other reports: certificates, vectors, the gate, campaigns, faults, the kill matrix, and tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from lstm_checks.cases import Case
from lstm_checks.html.drawing import draw_cell
from lstm_checks.html.equations import equations_of, wrong_by_diff
from lstm_checks.html.failing import sections_of
from lstm_checks.html.levels import digits, field_of_tolerance, number, share_in_words
from lstm_checks.html.parts import VERDICTS, Cell, Diff, Facts, Map, Page, Section, Table, Verbatim, Words

Plain = Mapping[str, Any]

SHOWN_METHODS = 100.0
"""Percent of examples that kill a fault in which a method kills it always."""


def _counted(counts: Mapping[str, int]) -> str:
    """Return how many there are of each kind."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def page_of_certificates(report: Plain) -> Page:
    """Return the page of `certify`: the largest errors by tensor, and each case's share of the tolerance."""
    verdict, word = VERDICTS[report["exit_code"]]
    word = {"PASS": "CERTIFIED"}.get(word, word)
    head = ["tensor", "verdict", "ulps at most", "at", "relative at most", "at", "share of the tolerance", "why"]
    rows = [
        (
            row["tensor"],
            row["verdict"],
            _or_word(row.get("ulps")),
            row.get("ulps_at", ""),
            _or_word(row.get("relative")),
            row.get("relative_at", ""),
            share_in_words(number(row["use"])) if "use" in row else "",
            row["reason"],
        )
        for row in report["tensors"]
    ]
    cases = report["certificates"]
    names = [row["tensor"] for row in report["tensors"]]
    fields = []
    for case in cases:
        of = {row["tensor"]: row for row in case["tensors"]}
        fields.append((case["case"], [_certified(of.get(name, {}), name) for name in names]))
    sections = [
        Section("How wrong it is at most", [Table("The largest errors over all cases", head, rows)]),
        Section("Case by case", [Map("The share of the tolerance that the largest error uses", "case", names, fields)]),
        Section(
            "What is proven",
            [
                Words(
                    [
                        "Each figure is an upper bound: the exact answer is enclosed by balls of arbitrary precision. "
                        "Of inconclusive tensors rounding drowns the answer, and unsupported ones the target does not "
                        "give; of both nothing is said."
                    ]
                )
            ],
        ),
    ]
    facts = [
        ("target", f"{report['target']} ({report['kind']})"),
        ("cases", f"{len(cases)}: {_counted(_tally(case['verdict'] for case in cases))}; {report['seconds']:.1f} s"),
    ]
    failed = [row["tensor"] for row in report["tensors"] if row["verdict"] == "fail"]
    sentence = (
        f"wrong beyond rounding or missing: {', '.join(failed)}" if failed else "every error that could be judged"
    )
    sentence += "" if failed else " is within its tolerance" if report["exit_code"] == 0 else ": there is none"
    return Page(report["target"], verdict, word, sentence, facts, sections)


def _or_word(value: Any) -> str:
    """Return a number in short, or the word for what is none; nothing where there is none."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def _certified(row: Plain, name: str) -> Cell:
    """Return the field of one tensor of one case."""
    if "use" not in row:
        verdict = row.get("verdict", "not there")
        return Cell("nothing", "", f"{name} is {verdict}: {row.get('reason', '')}")
    if row["verdict"] == "inconclusive":
        return Cell("nothing", "inc.", f"{name} is inconclusive: rounding drowns the answer")
    return field_of_tolerance(row["use"], f"{name}, at most {digits(number(row['ulps']))} ulps off")


def _tally(words: Any) -> dict[str, int]:
    """Return how often each word is there."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def page_of_vectors(report: Plain) -> Page:
    """Return the page of `vectors run`: by flag, and vector by vector."""
    verdict, word = VERDICTS[report["exit_code"]]
    counts = report["counts"]
    flags = [(name, of["pass"], of["fail"], of["unsupported"]) for name, of in report["flags"].items()]
    order = {"fail": 0, "unsupported": 2}
    vectors = sorted(report["vectors"], key=lambda v: (order.get(v["verdict"], 1), -number(v["use"])))
    rows = [
        (v["vector"], v["verdict"], share_in_words(number(v["use"])), v["reason"], ", ".join(v["flags"]))
        for v in vectors
    ]
    parts: list[Any] = [Table("By flag", ["flag", "pass", "fail", "unsupported"], flags)]
    parts.append(Table("Vector by vector", ["vector", "verdict", "off by", "why", "flags"], rows))
    facts = [("target", report["target"]), ("vectors", _counted(counts))]
    if report["file"] is not None:
        whose = "the certified file" if report["shipped"] else "NOT the certified file"
        facts += [("file", report["file"]), ("sha256", f"{report['sha256']}: {whose} that came with lstm-checks")]
    facts += (
        [("not judged", f"{', '.join(report['lacking'])}: the target does not give it")] if report["lacking"] else []
    )
    facts += [("suspects", ", ".join(report["suspects"]))] if report["suspects"] else []
    sentence = f"{counts['pass']} of {sum(counts.values())} vectors pass, {counts['fail']} fail"
    sections = [Section("The vectors", parts)]
    if "explained" in report:
        sections += sections_of(report["explained"], report["look"], ", in one of them")
    return Page(report["target"], verdict, word, sentence, facts, sections)


def page_of_gate(report: Plain) -> Page:
    """Return the page of `gate`: each finding, with what is behind it."""
    verdict, word = VERDICTS[report["exit_code"]]
    word = {"FAIL": "REGRESSION"}.get(word, word)
    findings = report["findings"]
    rows = [(f"{f['what']} {f['subject']}".strip(), f["outcome"], f["message"]) for f in findings]
    sections = [Section("Findings", [Table("What was to be judged", ["what", "outcome", "why"], rows)])]
    for finding in findings:
        parts: list[Any] = []
        if finding["changes"]:
            parts.append(_changes("Against the baseline", finding["changes"]))
        if finding["details"]:
            parts.append(Verbatim("What is behind it", finding["details"]))
        if parts:
            sections.append(Section(f"{finding['what']} {finding['subject']}".strip(), parts, 3))
    if report["accepted"]:
        parts = [_changes("In what the new baseline differs", report["accepted"])]
        sections.append(Section("Accepted", parts))
    counted = _counted(_tally(finding["outcome"] for finding in findings))
    facts = [("baseline", report["baseline"]), ("findings", counted), ("seconds", f"{report['seconds']:.1f}")]
    facts += [("note", note) for note in report["notes"]]
    facts += [("updated", "the baseline was written")] if report["updated"] else []
    return Page("lstm-checks gate", verdict, word, counted, facts, sections)


def _changes(caption: str, changes: Sequence[Plain]) -> Table:
    """Return old and new side by side."""
    return Table(caption, ["figure", "baseline", "now"], [(c["name"], c["old"], c["new"]) for c in changes])


def page_of_campaign(report: Plain) -> Page:
    """Return the page of `verify --executor`: counts, and the examples that fail."""
    verdict, word = VERDICTS[report["exit_code"]]
    plan = report["plan"]
    facts = [("target", f"{plan['target']} ({report['kind']})"), ("examples", _counted(report["verdicts"]))]
    facts += [(name, str(value)) for name, value in plan.items() if name != "target"]
    if report["worst"] is not None:
        use, tensor, case = report["worst"]
        facts.append(("tolerance", f"{share_in_words(number(use))} used at most, in {tensor} of {case}"))
    facts += [("simplest failing", report["failure"])] if report["failure"] else []
    parts: list[Any] = []
    for what in ("failed", "mistrusted"):
        if report[what]:
            parts.append(Table(f"Examples that are {what}", ["case"], [(case,) for case in report[what]]))
    parts.append(Table("Claims", ["claim and verdict", "examples"], [*report["claims"].items()], folded=True))
    empty = [name for name, count in report["strata"].items() if not count]
    parts.append(Table("Examples by stratum", ["stratum", "examples"], [*report["strata"].items()], folded=True))
    parts += [Words([f"No example lies in: {', '.join(empty)}."])] if empty else []
    return Page(plan["target"], verdict, word, _counted(report["verdicts"]), facts, [Section("What came of it", parts)])


def page_of_faults(report: Plain) -> Page:
    """Return the page of `faults`: the list, or one fault with what its smallest case shows."""
    if "faults" in report:
        rows = [(fault["id"], fault["family"], fault["title"]) for fault in report["faults"]]
        table = Table("Known bugs of LSTMs", ["fault", "family", "what goes wrong"], rows)
        sections = [Section("The catalogue", [table])]
        return Page("Known faults", "none", "CATALOGUE", f"{len(rows)} known bugs of LSTMs", (), sections)
    facts = [("family", report["family"]), ("smallest case", report["example"])]
    facts += [("seen in", report["seen"])] if report["seen"] else []
    shown, case = report["shown"], Case.parse(report["shown"]["case"])
    wrong = wrong_by_diff(equations_of(case.cell), report["diff"])
    tensors = {claim["claim"] for claim in shown["claims"]}
    what = [
        Words([report["explanation"]]),
        Diff("As a change of the reference", report["diff"]),
        draw_cell(case.cell, wrong, tensors, "what the fault changes"),
    ]
    sections = [Section("What it is", what), *sections_of(shown, report.get("look") or {}, ", as it shows")]
    return Page(report["id"], "none", "FAULT", report["title"], facts, sections)


def page_of_matrix(report: Plain) -> Page:
    """Return the page of `faults --matrix`: which method kills which fault, in percent of the examples."""
    methods = report["methods"]
    survivors = list(dict.fromkeys(n for of in methods.values() for n in of["survivors"]))
    head = ["method", "false alarms, %", *(f"alive after {n}" for n in survivors), "never killed"]
    rows = [
        (name, f"{of['false_alarms']:.3g}", *(f"{of['survivors'][n]:.0f}" for n in survivors), len(of["alive"]))
        for name, of in methods.items()
    ]
    fields = [
        (fault, [_killed(fault, method, percent[method]) for method in methods])
        for fault, percent in report["percent"].items()
    ]
    columns = [str(k + 1) for k in range(len(methods))]
    named = "; ".join(f"{k} is {name}" for k, name in zip(columns, methods, strict=True))
    matrix = Map("In how many percent of the examples a method kills a fault", "fault", columns, fields, "killed")
    sections = [
        Section("The methods", [Table("What each method kills", head, rows)]),
        Section("Every fault", [Words([f"Columns: {named}."]), matrix]),
        Section(
            "Never killed",
            [Facts([(name, ", ".join(of["alive"]) or "none") for name, of in methods.items()])],
        ),
    ]
    facts = [("examples", f"{len(report['cases'])}, seed {report['seed']}"), ("faults", str(len(report["percent"])))]
    verdict, word = ("none", "MATRIX") if report["cases"] else VERDICTS[2]
    return Page("The kill matrix", verdict, word, "which way of checking a gradient sees which bug", facts, sections)


def _killed(fault: str, method: str, percent: Any) -> Cell:
    """Return the field of a fault and a method: the more is killed, the darker."""
    share = number(percent)
    level = (
        "beyond-3" if share == 0 else "beyond-1" if share < 50 else "within-2" if share < SHOWN_METHODS else "within-1"
    )
    return Cell(level, f"{share:.0f}%", f"{method} kills {fault} in {share:.3g} % of the examples")


def page_of_suite(report: Plain) -> Page:
    """Return the page of a run of pytest: a section a class of tests, with what fails in each."""
    sections = []
    for suite in report["suites"]:
        rows = [
            (
                t["claim"],
                t["outcome"],
                t["examples"],
                t["verdicts"],
                share_in_words(number(t["worst_use"])),
                t["failure"],
            )
            for t in suite["tests"]
        ]
        head = ["claim", "outcome", "examples", "by verdict", "used at most", "what failed"]
        counted = _counted(_tally(t["outcome"] for t in suite["tests"]))
        title = suite["target"] if suite["place"] == suite["target"] else f"{suite['target']} in {suite['place']}"
        sections.append(Section(title, [Table(f"Claims: {counted}", head, rows)]))
        shown: set[str] = set()
        for test in suite["tests"]:
            if test["report"] is not None and test["report"]["case"] not in shown:
                shown.add(test["report"]["case"])
                sections += [
                    _below(s) for s in sections_of(test["report"], test["look"] or {}, f", in {test['claim']}")
                ]
    outcomes = _tally(t["outcome"] for suite in report["suites"] for t in suite["tests"])
    verdict, word = VERDICTS[report["exit_code"]]
    facts = [("claims", _counted(outcomes))]
    return Page("pytest: lstm_checks", verdict, word, _counted(outcomes), facts, sections)


def _below(section: Section) -> Section:
    """Return a section as a part of the one before."""
    return Section(section.title, section.parts, 3)
