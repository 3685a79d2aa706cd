"""Pages: what they say, that they need nothing and run nothing, and that no report can make them otherwise."""

import base64
import contextlib
import copy
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from command_line import WRONG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_checks import cli, tolerance
from lstm_checks.cases import Case
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.model import diff, fault_target
from lstm_checks.html.drawing import draw_cell
from lstm_checks.html.equations import Wrong, box_of, equations_of, wrong_by_diff
from lstm_checks.html.page import PageError, page_of, report_to_html
from lstm_checks.html.parts import VERDICTS, Drawing, Map, Scatter, Source, Table
from lstm_checks.html.render import LARGEST
from lstm_checks.html.scatter import scatter_of
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.json import case_to_json
from lstm_checks.judging.look import case_in_full, report_in_full
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import load_target
from lstm_ref.cells import CELLS, cell_named

pytest.importorskip("jinja2")

TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main", "section", "footer"),
    *("a", "p", "h1", "h2", "h3", "span", "dl", "div", "dt", "dd", "ul", "li", "figure", "figcaption", "details"),
    *("summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre", "ins", "del", "mark"),
    *("svg", "g", "rect", "text", "path", "circle", "line", "defs", "marker"),
}


class Read(HTMLParser):
    """A page, read: its tags with their attributes, its text, and what stands in each element of some kinds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.inside, self.open = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "rect", "path", "circle", "line"):
            self.open.append(tag)
            self.inside.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag in ("rect", "path", "circle", "line") or self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.inside[self.open[-1]][-1] += data
            self.words += [data] if self.open[-1] not in ("style", "script") else []

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def failed():
    """The report on a fault, as JSON tells it."""
    target = load_target("fault:carry-dropped")
    return json.loads(json.dumps(report_in_full(target, verify(target, examples=10))))


@pytest.fixture(scope="module")
def passed():
    target = load_target("lstm_ref:LSTM")
    return json.loads(json.dumps(report_in_full(target, verify(target, examples=6))))


@pytest.fixture(scope="module")
def one_case():
    return looked_at("du-assigned", Case(2, 3, 2, 2, seed=1), explained=True)


def looked_at(fault, case, cell="plain", explained=False):
    """The report on a fault on one case, as JSON tells it."""
    target = load_target(f"fault:{fault}", cell=cell_named(cell))
    found = verify_case(target, case, thorough=False)
    found = explain(target, found) if explained else found
    return json.loads(json.dumps(case_in_full(target, found, 1)))


def parts_of(report, kind):
    return [part for section in page_of(report).sections for part in section.parts if isinstance(part, kind)]


def test_a_failure_is_told_in_the_order_where_what_how_sure(failed):
    read = Read(report_to_html(failed))
    assert read.inside["title"][0] == "FAIL: fault:carry-dropped"
    told = read.text
    for said in (
        failed["failure"]["case"],
        failed["failure"]["claims"][2]["message"],
        "carry-dropped: dC does not carry f * dC of the next step",
        "lstm-checks verify fault:carry-dropped --case",
        *failed["failure"]["diagnosis"]["where"],
    ):
        assert " ".join(said.split()) in told
    assert [h.partition(" (")[0] for h in read.inside["h2"]] == ["Where", "What", "Run it again", "How sure"]
    assert any("dCn" in line and "0 *" in line for line in read.inside["ins"])


def test_a_pass_says_how_sure_it_is(passed):
    read = Read(report_to_html(passed))
    assert read.inside["title"][0] == "PASS: lstm_ref:LSTM"
    assert "No example lies in: " in read.text
    for word in ("vacuous", "inconclusive", "unsupported"):
        assert f"{word}: " in read.text
    (shares,) = parts_of(passed, Map)
    assert {name for name, _ in shares.rows} == {n for of in passed["look"]["uses"].values() for n in of}


def test_a_page_needs_nothing_and_its_policy_lets_only_its_own_lines_run(failed):
    text = report_to_html(failed)
    read = Read(text)
    for tag, attributes in read.tags:
        assert not {"src", "srcset", "data", "action", "style"} & set(attributes), tag
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"@import|url\((?!#)|https?:", text)
    (policy,) = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    for tag in ("style", "script"):
        (own,) = read.inside[tag]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}<a href='javascript:3'>"


def spoilt(value, keys=("schema", "case", "verdict", "exit_code", "diff")):
    """A report in which every text has an attack behind it, but for what a page is chosen and drawn by."""
    if isinstance(value, dict):
        return {k: v if k in keys else spoilt(v) for k, v in value.items()}
    if isinstance(value, list):
        return [spoilt(v) for v in value]
    return value + HOSTILE if isinstance(value, str) and value not in ("nan", "inf", "-inf") else value


def test_nothing_in_a_page_executes_what_a_target_printed(failed):
    bad = spoilt(failed)
    bad["failure"]["diagnosis"]["suspects"][0]["diff"] += f"\n-{HOSTILE}\n+{HOSTILE}"
    read = Read(report_to_html(bad))
    assert {tag for tag, _ in read.tags} <= TAGS
    assert len(read.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert all(a["href"].startswith("#") for a in read.all("a"))
    assert "<script>alert(1)</script>" in read.text  # as words
    assert "{{ 7 * 7 }}" in read.text


def leaves(value, path=()):
    """The path to each value in a report."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(data=st.data())
def test_whatever_stands_in_a_report_it_is_a_page_or_refused(one_case, data):
    report = copy.deepcopy(one_case)
    *path, last = data.draw(st.sampled_from(list(leaves(report))))
    place = report
    for key in path:
        place = place[key]
    place[last] = data.draw(st.sampled_from([None, [], {}, "x", -1, 0.5, True, [[1]], {"a": 1}, 10**30]))
    with contextlib.suppress(PageError):
        assert {tag for tag, _ in Read(report_to_html(report)).tags} <= TAGS


@pytest.mark.parametrize("report", [None, [], {}, {"schema": "lstm-checks/verify/2"}, {"schema": ["x"]}])
def test_what_is_no_report_is_refused(report):
    with pytest.raises(PageError, match=r"has the schema .* expected one of lstm-checks/verify/1"):
        page_of(report)


def test_no_page_is_larger_than_two_megabytes(failed):
    large = copy.deepcopy(failed)
    large["notes"] = ["n" * 50_000] * 100
    large["examples"] *= 3_000
    large["not_asked"] = {f"question {k}": "w" * 30_000 for k in range(100)}
    text = report_to_html(large)
    assert len(text.encode()) <= LARGEST == 2_000_000
    assert Read(text).inside["title"][0] == "FAIL: fault:carry-dropped"


def test_every_map_is_told_by_its_fields_and_by_a_table(failed):
    read = Read(report_to_html(failed))
    maps = parts_of(failed, Map)
    assert len(maps) >= 5
    cells = set(read.inside["td"])
    for part in maps:
        for _, fields in part.rows:
            assert all(field.told in cells and field.told in read.inside["title"] for field in fields)
            # Colour says nothing that is not written in the field, too.
            assert all(field.mark for field in fields if field.level.startswith("beyond"))


def test_the_map_of_credit_shows_where_it_is_lost():
    report = looked_at("nothing-passed-back", Case(2, 3, 3, 3, seed=2))
    credit = report["look"]["failures"][0]["credit"]
    for t, uses in zip(credit["outputs"], credit["use"], strict=True):
        assert {j + 1 for j, use in enumerate(uses) if not float(use) <= 1} == {*range(1, t)}
    last = next(part for part in parts_of(report, Map) if part.corner == "dX at step").rows[-1][1]
    assert [field.mark for field in last] == [*["0%"] * (len(last) - 1), "100%"]


def test_the_map_of_steps_has_the_gates_cotangents_where_they_depart():
    report = looked_at("do-without-memory", Case(2, 3, 2, 2, seed=1))
    steps = report["look"]["failures"][0]["steps"]
    assert set(steps["solved"]) == {"df_", "di_", "dg_", "do_"}
    assert float(steps["solved"]["do_"][-1]) > 1
    # At the last step nothing has come back through do_ yet.
    assert all(float(steps["solved"][name][-1]) <= 1 for name in ("df_", "di_", "dg_"))


def test_a_network_has_its_layers_and_directions_as_rows():
    cell = cell_named("plain@2xboth")
    found = verify_case(
        load_target("fault:carry-not-passed-on", cell=cell), Case(1, 2, 1, 1, cell=cell), thorough=False
    )
    report = {"schema": "lstm-checks/case/1", "target": "t", "exit_code": 1, **case_to_json(found)}
    gates = parts_of(report, Map)[0]
    assert [name for name, _ in gates.rows][::4] == [
        f"layer {k}, {way}: gate f" for k in (1, 2) for way in ("forward", "reverse")
    ]
    assert "each of the 4 places" in parts_of(report, Drawing)[0].caption


def tensor(came, due, accepted=1e-14):
    came, due = np.asarray(came, float), np.asarray(due, float)
    return {
        "name": "dUf",
        "came": came.tolist(),
        "due": due.tolist(),
        "accepted": [accepted] * came.size,
        "use": (np.abs(came - due) / accepted).tolist(),
    }


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (lambda due: 0.5 * due, "came = 0.5 * due"),
        (lambda due: -due, "came = -1 * due"),
        (lambda due: 2 * due + 0.25, "came = 2 * due + 0.25"),
        (lambda due: due**3, None),
        (lambda due: np.where(np.arange(9) == 4, due + 1e-9, 0.5 * due), None),
    ],
)
def test_a_line_is_drawn_only_where_every_entry_lies_on_it(made, line):
    due = np.random.default_rng(0).standard_normal(9)
    drawn = scatter_of(tensor(made(due), due), "a case", [f"dUf[{k}]" for k in range(9)], ())
    assert [one.name for one in drawn.lines if one.fitted] == ([] if line is None else [line])
    assert all(60 <= dot.x <= 350 and 10 <= dot.y <= 270 for dot in drawn.dots)
    assert 600 * tolerance.UNIT_ROUNDOFF["float64"] <= tolerance.DRAWN_LINE


def test_a_factor_is_seen_in_the_scatters_of_a_real_report():
    drawn = parts_of(looked_at("db-mean-over-samples", Case(4, 3, 2, 3, seed=1)), Scatter)
    samples = int(re.search(r"in case m(\d+)", drawn[0].caption)[1])
    assert [line.name for one in drawn for line in one.lines if line.fitted] == [f"came = {1 / samples:.6g} * due"] * 4


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_drawn_from_its_equations(name):
    cell = CELLS[name]
    drawing = draw_cell(cell, Wrong(), set(), "")
    equations = equations_of(cell)
    assert {p for e in equations.statements.values() for p in e.parameters} == set(cell.parameters)
    boxes = {box.name for box in drawing.boxes}
    assert {state.kept_as for state in cell.states} <= boxes
    assert {f"{gate}_" for gate in cell.gates} <= boxes
    corners = sorted((box.x, box.y, box.width, box.height) for box in drawing.boxes)
    apart = [(a, b) for k, a in enumerate(corners) for b in corners[:k]]
    assert not any(
        a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3] for a, b in apart
    )
    assert all(box.x + box.width <= drawing.width and box.y + box.height <= drawing.height for box in drawing.boxes)


@pytest.mark.parametrize(
    ("fault", "boxes", "way"),
    [
        ("carry-not-passed-on", {"Cp_"}, ("Cp_", "C_")),
        ("carry-dropped", {"C_"}, ("C_", "the step after: Cp_")),
        ("nothing-passed-back", set(), ("h", "the step after: hp")),
        ("do-of-linear-memory", {"o"}, ("o", "h")),
        ("linear-memory", {"C", "C_"}, ("C_", "C")),
        ("du-assigned", {"f_", "i_", "g_", "o_"}, None),
    ],
)
def test_what_a_fault_changes_is_in_red(fault, boxes, way):
    cell = CELLS["plain"]
    wrong = wrong_by_diff(equations_of(cell), diff(faults_of(cell)[fault], cell))
    assert wrong.boxes == boxes
    assert way is None or way in wrong.ways


@pytest.mark.parametrize("name", ["plain", "layernorm", "gru_reset_after"])
def test_red_is_always_a_box_of_the_drawing(name):
    cell = CELLS[name]
    equations = equations_of(cell)
    known = {*equations.statements, *equations.inputs}
    found = [wrong_by_diff(equations, diff(fault, cell)) for fault in faults_of(cell).values()]
    assert sum(map(bool, found)) > len(found) / 4
    for wrong in found:
        assert wrong.boxes <= known
        draw_cell(
            cell, wrong, {"dX", *(f"d{name}" for name in cell.parameters)}, ""
        )  # raises where there is no such box
    for state in cell.states:
        assert equations.previous[box_of(equations, f"d{state.name}")] == state.kept_as


def test_a_target_that_cannot_be_asked_has_a_page_without_maps():
    def raises(p, X, h0, C0):
        raise RuntimeError("<b>no</b>")

    from lstm_checks.targets.load import to_target

    target = to_target(raises, "raises")
    found = verify_case(target, Case(1, 2, 1, 1))
    report = json.loads(json.dumps(case_in_full(target, found, 1)))
    read = Read(report_to_html(report))
    assert "RuntimeError: <b>no</b>" in read.text
    assert "No maps: forward raised RuntimeError" in read.text
    chancy = fault_target(faults_of(CELLS["plain"])["du-assigned"])
    without = case_in_full(chancy, verify_case(chancy, Case(2, 2, 1, 1), reference=False), 1)
    assert "no reference was used" in without["look"]["failures"][0]["without"]


def test_exit_codes_have_words():
    assert {code: word for code, (_, word) in VERDICTS.items()} == {0: "PASS", 1: "FAIL", 2: "NOT JUDGED"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CASE = ("--case", "m1s2e1u1-float64-seed0", "--properties", "none", "--in-process", "--quiet")


def test_the_commands_write_the_same_page(here, capsys):
    assert cli.main(["verify", "lstm_ref:LSTM", *CASE, "--html", "a.html", "--json", "a.json"]) == 0
    assert cli.main(["page", "a.json", "--html", "b.html"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "b.html"
    assert (here / "a.html").read_text() == (here / "b.html").read_text()
    assert "dVi" in Read((here / "a.html").read_text()).text
    assert cli.main(["compare", "a.json", "a.json", "--html", "c.html"]) == 0
    assert "NOT WORSE  PASS -> PASS: " in capsys.readouterr().out
    assert "Claim by claim" in Read((here / "c.html").read_text()).text
    assert cli.main(["page", "a.json", "--quiet"]) == 0  # into a.html


def test_a_page_is_never_written_over_what_is_read(here, capsys):
    source = (here / "mine.py").read_text()
    (here / "report.json").write_text("{}")
    for words, said in (
        (
            ["verify", "mine.py:LSTM", *CASE, "--html", "mine.py"],
            "the page cannot be written to mine.py: that is a file of",
        ),
        (["verify", "mine.py:LSTM", *CASE, "--json", "x", "--html", "x"], "that is where the report goes"),
        (["page", "report.json", "--html", "report.json"], "that is the report"),
        (["compare", "report.json", "mine.py", "--html", "report.json"], "that is a report that is compared"),
        (["verify", "mine.py:LSTM", *CASE, "--html", "-"], "--html is '-'"),
        (["faults", "--html", "no/where.html"], "the page cannot be written to no/where.html"),
        (["page", "report.json"], "report.json has the schema None"),
        (["page", "mine.py", "--html", "x.html"], "not JSON"),
    ):
        assert cli.main(words) == 2, words
        assert said in capsys.readouterr().err
    assert (here / "mine.py").read_text() == source
    assert (here / "report.json").read_text() == "{}"


def test_without_the_extra_nothing_is_judged(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert cli.main(["faults", "--html", "a.html"]) == 2
    assert "pip install 'lstm-checks[html]'" in capsys.readouterr().err
    assert not (here / "a.html").exists()
    assert cli.main(["faults", "--json", "a.json", "--quiet"]) == 0  # which needs no extra


def test_the_line_that_is_wrong_is_marked_in_the_users_own_source(one_case):
    report = copy.deepcopy(one_case)
    line = {"path": "own.py", "line": 12, "last": 12, "text": "dC = dC * i", "word": "dC * i", "column": 5}
    report["lines"] = [{**line, "shown": "with dC of equation (6) in its place all is right", "also": []}]
    report["look"]["failures"][0]["source"] = [{"first": 11, "lines": ["    df = 1", "    dC = dC * i", "    return"]}]
    report["fixes"] = [{"diff": "--- a\n+++ b\n@@ -1 +1 @@\n-dC = dC * i\n+dC = dC * f\n", "cases": 7}]
    (source,) = parts_of(report, Source)
    assert [(n.number, n.marked) for n in source.lines if n.wrong] == [(12, "dC * i")]
    read = Read(report_to_html(report))
    assert read.inside["mark"] == ["dC * i"]
    assert "+dC = dC * f" in read.inside["ins"]
    assert "all is right in 7 cases" in read.text


def test_the_other_reports_have_pages(here, capsys):
    assert cli.main(["faults", "--html", "x.html", "--quiet"]) == 0
    assert "carry-dropped" in Read((here / "x.html").read_text()).text
    matrix = {"schema": "lstm-checks/kill-matrix/1", "seed": 0, "cases": ["m1s1e1u1-float64-seed0"]}
    method = {"false_alarms": 0.0, "survivors": {"1": 1.0}, "alive": ["b"]}
    matrix |= {"methods": {"ours": method}, "percent": {"a": {"ours": 100.0}, "b": {"ours": 0.0}}}
    (fields,) = parts_of(matrix, Map)
    assert [(name, cells[0].mark, cells[0].level) for name, cells in fields.rows] == [
        ("a", "100%", "within-1"),
        ("b", "0%", "beyond-3"),
    ]
    (page,) = [json.loads('{"schema": "lstm-checks/gate/1"}')]
    page |= {"outcome": "regression", "exit_code": 1, "seconds": 1.0, "baseline": "b.json", "updated": False}
    page |= {"accepted": [], "notes": ["a note"]}
    change = {"name": "time", "old": "1 s", "new": "2 s"}
    finding = {"what": "speed", "subject": "m:L", "outcome": "regression", "message": "slower", "details": "so <it> is"}
    read = Read(report_to_html({**page, "findings": [{**finding, "changes": [change]}]}))
    assert read.inside["title"][0] == "REGRESSION: lstm-checks gate"
    assert all(word in read.text for word in ("a note", "slower", "so <it> is", "1 s", "2 s"))
    assert any(isinstance(part, Table) for part in parts_of({**page, "findings": []}, Table))


def test_a_report_shows_itself_in_a_notebook():
    def my_lstm(p, X, h0, C0):
        raise RuntimeError("<script>no</script>")

    from lstm_checks.targets.load import to_target

    wrong = verify(to_target(my_lstm, "my_lstm"), examples=2)
    text = wrong._repr_html_()
    read = Read(text)
    assert {tag for tag, _ in read.tags} == {
        *("p", "strong", "details", "summary"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert read.inside["strong"][0] == "FAIL: my_lstm, 2 fail, seed 0"
    assert any("<script>no</script>" in cell for cell in read.inside["td"])
    assert len(text) < 20_000
    right = verify(load_target("lstm_ref:LSTM"), examples=1, properties=())
    assert "PASS: lstm_ref:LSTM, 1 pass" in Read(right._repr_html_()).text
    assert "failing case" not in right._repr_html_()
