"""The pytest plugin: `pytest --lstm-target=pkg.mod:LSTM --pyargs lstm_checks.suite`, and a summary of each suite.

It is loaded in every run of pytest wherever this package is installed, so it imports nothing before it is needed.
"""

from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).with_name("suite.py")
SHOWN = 8  # failed claims of one class in the summary


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the ini keys for what is the same in every run."""
    group = parser.getgroup("lstm-checks", "judging LSTMs")
    group.addoption(
        "--lstm-target",
        action="append",
        metavar="TARGET",
        help="what the tests of `--pyargs lstm_checks.suite` judge; may be given more than once",
    )
    group.addoption("--lstm-examples", type=int, metavar="N", help="examples a claim; default the Hypothesis profile's")
    group.addoption("--lstm-dtypes", metavar="D,D", help="dtypes drawn; default all that the target has")
    group.addoption(
        "--lstm-cell",
        metavar="NAME",
        help="the equations that it is to follow, as `lstm-checks verify --cell` takes them; default plain",
    )
    group.addoption("--lstm-timeout", type=float, metavar="SECONDS", help="time limit of one call")
    group.addoption(
        "--lstm-html", metavar="FILE", help="write what they say as a page to look at; needs the extra html"
    )
    parser.addini("lstm_target", "what the tests of lstm_checks.suite judge, one a line", type="linelist")
    parser.addini("lstm_examples", "examples a claim; default the Hypothesis profile's")
    parser.addini("lstm_dtypes", "dtypes drawn; default all that the target has", type="args")
    parser.addini("lstm_regimes", "value regimes drawn; default all", type="args")
    parser.addini("lstm_max_dims", "largest m s e u drawn", type="args")
    parser.addini("lstm_cell", "the equations that it is to follow; default plain")
    parser.addini("lstm_timeout", "time limit of one call in seconds")


def pytest_configure(config: pytest.Config) -> None:
    """See that what is asked for will be judged; register the summary."""
    asked = [str(arg).split("::")[0] for arg in config.args]
    if config.getoption("lstm_target") and not any(
        arg.endswith(("lstm_checks.suite", "checks/lstm_checks/suite.py")) for arg in asked
    ):
        raise pytest.UsageError(
            "--lstm-target is judged by the tests in lstm_checks.suite: add --pyargs lstm_checks.suite"
        )
    path = config.getoption("lstm_html")
    if path is not None:
        _expect_page(path, config)
    config.pluginmanager.register(Summary(path), "lstm-checks-summary")


def _expect_page(path: str, config: pytest.Config) -> None:
    """Raise a UsageError where a page cannot be made, or would take the place of a file that is read."""
    from lstm_checks.extras import MissingExtra
    from lstm_checks.files import FileError, expect_apart
    from lstm_checks.html.render import need_jinja
    from lstm_checks.targets.load import files_of

    specs = config.getoption("lstm_target") or config.getini("lstm_target")
    read: list[tuple[str, str | Path]] = [(f"a file of target {spec}", f) for spec in specs for f in files_of(spec)]
    read += [("a file of tests", str(arg).split("::")[0]) for arg in config.args]
    try:
        need_jinja()
        expect_apart([("--lstm-html", path)], read)
    except (FileError, MissingExtra) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Put a class for each target into `lstm_checks.suite` when it is collected."""
    if module_path != SUITE:
        return
    options = _options(parent.config)
    specs = parent.config.getoption("lstm_target") or parent.config.getini("lstm_target")
    if not specs:
        raise parent.CollectError(
            "lstm_checks.suite needs a target: pytest --lstm-target=pkg.mod:LSTM --pyargs lstm_checks.suite, or the "
            "ini key lstm_target"
        )
    from lstm_checks import suite

    for spec in specs:
        try:
            made = suite.make_suite(spec, options)
        except suite.TargetError as error:
            raise parent.CollectError(f"--lstm-target: {error}") from error
        setattr(suite, made.__name__, made)


def _options(config: pytest.Config) -> dict[str, Any]:
    """Return the attributes of LayerSuite that options and ini keys set."""
    words = config.getoption("lstm_dtypes")
    options: dict[str, Any] = {
        "dtypes": tuple(words.split(",") if words else config.getini("lstm_dtypes")),
        "regimes": tuple(config.getini("lstm_regimes")),
    }
    for name, kind in (("examples", int), ("timeout", float)):
        given = config.getoption(f"lstm_{name}")
        options[name] = _number(f"lstm_{name}", config.getini(f"lstm_{name}"), kind) if given is None else given
        if options[name] is not None and not options[name] > 0:
            raise pytest.UsageError(f"lstm_{name} is {options[name]}, expected a number above 0")
    options["cell"] = config.getoption("lstm_cell") or config.getini("lstm_cell") or None
    options["max_dims"] = tuple(_number("lstm_max_dims", n, int) for n in config.getini("lstm_max_dims"))
    if 0 < len(options["max_dims"]) < 4 or not all(n > 0 for n in options["max_dims"]):
        raise pytest.UsageError(f"lstm_max_dims is {options['max_dims']}, expected four sizes above 0, m s e u")
    _check_known(options)
    return {name: value for name, value in options.items() if value not in (None, ())}


def _number(name: str, text: str, kind: Any) -> Any:
    """Return an ini key's number, or None where there is none."""
    try:
        return kind(text) if text else None
    except ValueError:
        raise pytest.UsageError(f"{name} is {text!r}, expected a number") from None


def _check_known(options: dict[str, Any]) -> None:
    """Raise a UsageError for a dtype or a regime that there is not."""
    from lstm_checks.cases import REGIMES
    from lstm_checks.formats import FORMATS, is_format
    from lstm_ref.cells import cell_named

    try:
        cell_named(options["cell"] or "plain")
    except ValueError as error:
        raise pytest.UsageError(f"lstm_cell is {error}") from None
    for name, words, is_one in (
        ("dtypes", FORMATS, is_format),
        ("regimes", ", ".join(REGIMES), REGIMES.__contains__),
    ):
        unknown = [word for word in options[name] if not is_one(word)]
        if unknown:
            raise pytest.UsageError(f"lstm_{name} has {unknown[0]!r}, expected some of {words}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Hand on what a test of a LayerSuite has to tell: into JUnit's properties, and from a worker to the summary."""
    cls = getattr(item, "cls", None)
    if cls is not None and hasattr(cls, "lstm_properties"):
        found = item.instance.lstm_properties  # type: ignore[attr-defined]
        item.user_properties.extend((found or {}).items())
        failure = item.instance.lstm_failure  # type: ignore[attr-defined]
        if found and failure is not None and item.config.getoption("lstm_html") is not None:
            item.user_properties.append((_REPORT, _looked(item.instance.lstm_judged, failure)))  # type: ignore[attr-defined]


_REPORT = "lstm_report"
"""The property in which a failure goes to the page, and which is taken out before anybody else sees it."""


def _looked(target: Any, failure: Any) -> str:
    """Return a failure and what there is to look at in it, in one string, as it goes from a worker to the page."""
    import json

    from lstm_checks.judging.json import case_to_json
    from lstm_checks.judging.look import look

    return json.dumps({"report": case_to_json(failure), "look": look(target, target.name, failure)})


class Summary:
    """What the tests of LayerSuites told, for the end of the terminal's output, and a page; wherever they ran."""

    def __init__(self, path: str | None) -> None:
        self.told: dict[str, list[dict[str, Any]]] = {}
        self.path = path

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what one test told."""
        if report.when == "teardown" and report.user_properties:
            found = dict(report.user_properties)
            report.user_properties[:] = [pair for pair in report.user_properties if pair[0] != _REPORT]
            if "lstm_target" in found:
                self.told.setdefault(report.nodeid.rpartition("::")[0], []).append(found)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, where one is asked for; a worker has none of its own."""
        if self.path is None or hasattr(session.config, "workerinput"):
            return
        from lstm_checks.files import replace_file
        from lstm_checks.html.page import report_to_html

        try:
            replace_file(self.path, report_to_html(_to_json(self.told)))
        except OSError as error:
            raise pytest.UsageError(f"the page cannot be written to {self.path}: {error.strerror or error}") from error

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print a paragraph for each class."""
        if not self.told:
            return
        terminalreporter.write_sep("=", "lstm-checks")
        for place, told in self.told.items():
            target = told[0]["lstm_target"]
            for line in _paragraph(target if "::TestTarget(" in place else f"{target} in {place}", told):
                terminalreporter.write_line(line)


def _to_json(told: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return what the tests told as plain values; a claim that nothing was judged of is no pass."""
    import json

    suites = []
    for place, tests in told.items():
        rows = []
        for found in tests:
            row = {
                name: found.get(f"lstm_{name}", "") for name in ("claim", "outcome", "examples", "verdicts", "failure")
            }
            looked = json.loads(found[_REPORT]) if _REPORT in found else {"report": None, "look": None}
            rows.append({**row, "worst_use": float(found["lstm_worst_use"]), **looked})
        target = tests[0]["lstm_target"]
        suites.append({"place": target if "::TestTarget(" in place else place, "target": target, "tests": rows})
    outcomes = {row["outcome"] for suite in suites for row in suite["tests"]}
    code = 1 if "failed" in outcomes else 0 if "passed" in outcomes and "not judged" not in outcomes else 2
    return {"schema": "lstm-checks/suite/1", "exit_code": code, "suites": suites}


def _paragraph(title: str, told: list[dict[str, Any]]) -> list[str]:
    """Return the lines on one class of tests."""
    counts: dict[str, int] = {}
    for found in told:
        counts[found["lstm_outcome"]] = counts.get(found["lstm_outcome"], 0) + 1
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    passed = [found for found in told if found["lstm_outcome"] == "passed"]
    examples = max(found["lstm_examples"] for found in told)
    number = f"{len(told)} claim{'s' if len(told) != 1 else ''}"
    lines = [f"{title}: {number}: {counted}; up to {examples} examples each"]
    if passed:
        worst = max(passed, key=lambda found: float(found["lstm_worst_use"]))
        lines.append(
            f"  worst use of the tolerance: {100 * float(worst['lstm_worst_use']):.0f} %, in {worst['lstm_claim']}"
        )
    failed = [found for found in told if found["lstm_outcome"] == "failed"]
    faults = sorted({fault for found in failed for fault in str(found.get("lstm_fault", "")).split(", ") if fault})
    if faults:
        lines.append(f"  named faults: {', '.join(faults)}")
    for found in failed[:SHOWN]:
        lines.append(f"  {found['lstm_claim']}: {found['lstm_failure']}    [{found['lstm_case']}]")
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return lines
