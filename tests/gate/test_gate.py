"""The gate stops what is wrong, slower or less accurate, for that reason; it fails closed; on what is right it passes.

Every exit code is that of a process, as CI sees it.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import Heard
from hypothesis import given
from hypothesis import strategies as st

import lstm_checks
import lstm_fast
from lstm_checks import tolerance
from lstm_checks.gate import verdict as gate
from lstm_checks.gate.baseline import BaselineError, read_baseline, this_machine, write_baseline
from lstm_checks.gate.config import ConfigError, FaultScore, GateConfig, initialize, read_config
from lstm_checks.gate.differences import differences
from lstm_checks.gate.findings import judge_faults, judge_verify
from lstm_checks.gate.jobs import JOBS, Jobs
from lstm_checks.gate.junit import gate_to_junit
from lstm_checks.gate.markdown import gate_to_markdown
from lstm_checks.gate.report import Change, Finding, GateReport, GateVerdict
from lstm_checks.gate.speed import decide, times_before
from lstm_checks.gate.text import annotations, gate_to_json, render_gate
from lstm_checks.gate.timing import looks_alpha, mann_whitney_counts, shift_between, taken

DATA = Path(lstm_checks.__file__).parent / "data"
DOCS = Path(__file__).parents[2] / "docs"
QUICK = """\
[tool.lstm-checks]
targets = ["mine.py:LSTM"]
examples = 8
max-dims = [2, 5, 2, 3]
vectors = false
time-limit = 100
"""
ACCURACY = "[tool.lstm-checks.accuracy]\n"
RIGHT = "from lstm_fast import LSTM\n"
WRONG = """
from lstm_fast import LSTM as Fast
class LSTM(Fast):
    def compute_gradients(self):
        super().compute_gradients()
        self.g["dVi"] *= 1 + 1e-9
"""


def run(folder, *arguments, expect=None, **environment):
    """Run `lstm-checks gate` and assert its exit code; nothing of GitHub's environment gets in."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")} | environment
    env["LSTM_FAST_COMPILED"] = "0"  # what is changed below is the code without Numba
    command = [sys.executable, "-W", "error", "-m", "lstm_checks", "gate", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600, check=False, env=env)
    assert expect is None or found.returncode == expect, found.stdout + found.stderr
    assert "Traceback" not in found.stderr, found.stderr
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project with a right target and a quick configuration; the checks are found from there."""
    monkeypatch.setenv("PYTHONPATH", str(DATA.parent.parent))
    (tmp_path / "pyproject.toml").write_text(QUICK)
    (tmp_path / "mine.py").write_text(RIGHT)
    return tmp_path


# ---- Configuration


def read(tmp_path, text):
    (tmp_path / "gate.toml").write_bytes(text.encode("latin-1"))
    return read_config(tmp_path / "gate.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('targets = ["a:b"]\nexmaples = 3\n', "line 2: key 'exmaples' is unknown, did you mean 'examples'?"),
        ('targets = ["a:b"]\nzzz = 3\n', "line 2: key 'zzz' is unknown, expected one of targets, dtypes"),
        ('targets = ["a:b"]\n\nexamples = 0\n', "line 3: key 'examples' is 0, expected a whole number of at least 1"),
        ('targets = ["a:b"]\nexamples = true\n', "line 2: key 'examples' is true, expected a whole number"),
        ("targets = []\n", "line 1: key 'targets' is [], expected a list that is not empty"),
        (
            'targets = ["a:b", "a:b"]\n',
            "line 1: key 'targets' is ['a:b', 'a:b'], expected a list that names",
        ),
        ('targets = "a:b"\n', "line 1: key 'targets' is 'a:b', expected a list"),
        ('targets = ["a:b"]\ndtypes = ["flaot64"]\n', "line 2: key 'dtypes' is ['flaot64'], expected in place of "),
        ('targets = ["a:b"]\ndtypes = ["flaot64"]\n', "did you mean 'float64'?"),
        ('targets = ["a:b"]\nmax-dims = [1, 2]\n', "line 2: key 'max-dims' is [1, 2], expected a list of 4"),
        (
            'targets = ["a:b"]\nclaims = ["dX"]\nwithout = ["dX"]\n',
            "line 3: key 'without' names 'dX', expected none of claims",
        ),
        ('targets = ["a:b"]\nwithout = ["dY"]\n', "line 2: key 'without' names 'dY', expected one of dUf, dVf"),
        ('targets = ["a\\u0000:b"]\n', "expected in place of 'a\\x00:b' a text that is not empty, without control"),
        ('targets = ["a:b"]\nexamples = 0x' + "f" * 5000 + "\n", "expected a whole number of at most 10000"),
        ('targets = ["a:b"]\nmax-unjudged = 2\n', "line 2: key 'max-unjudged' is 2, expected a share from 0 to 1"),
        ("examples = 3\n", "lacks the key 'targets'"),
        ('targets = ["a:b"]\nspeed = 3\n', "line 2: key 'speed' is 3, expected a table: [speed]"),
        ('targets = ["a:b"]\n[sped]\nmargin = 2\n', "line 2: key 'sped' is unknown, did you mean 'speed'?"),
        ('targets = ["a:b"]\n[speed]\ntarget = "a:b"\n', "[speed] lacks the key 'than'"),
        (
            'targets = ["a:b"]\n[accuracy]\nfactor = 3\n[speed]\ntarget = "a"\nthan = "b"\nfactor = 3\n',
            "line 7: key 'factor' is unknown",
        ),
        (
            'targets = ["a:b"]\n[speed]\ntarget = "a:b"\nthan = "c:d"\nmargin = 1.5\nlimit = 1.4\n',
            "line 6: key 'limit' is 1.4, expected more than margin, 1.5",
        ),
        (
            'targets = ["a:b"]\nspeed.target = "a:b"\nspeed.than = "c:d"\nspeed.cases = ["m1s1"]\n',
            "line 4: key 'cases' is ['m1s1'], expected in place of 'm1s1' a case such as",
        ),
        (
            'targets = ["a:b"]\nbaseline = "mine.py"\n',
            "line 2: key 'baseline' is 'mine.py', expected a file",
        ),
        (
            'targets = ["a:b"]\nspeed = { target = "a:b", than = "c:d", margn = 2 }\n',
            "line 2: key 'margn' is unknown, did you mean 'margin'?",
        ),
        ('targets = ["a:b"]\n\n[speed]\ntarget = "a:b"\n', "line 3: [speed] lacks the key 'than'"),
        ("[tool.lstm-checks]\nexamples = 3\n", "line 1: [tool.lstm-checks] lacks the key 'targets'"),
        ("[[tool.lstm-checks]]\n", "line 1: key 'lstm-checks' is [{}], expected a table: [tool.lstm-checks]"),
        ("tool = 3\n", "line 1: key 'tool' is 3, expected a table: [tool.lstm-checks]"),
        (
            'examples = 9\n[tool.lstm-checks]\ntargets = ["a:b"]\n',
            "line 1: key 'examples' is outside [tool.lstm-checks]",
        ),
        ("targets = [\n", "is not TOML"),
        ("# \xe9\n", "is not TOML: 'utf-8' codec can't decode"),
        ("", "does not have anything"),
    ],
)
def test_a_wrong_configuration_names_the_key_the_line_and_what_was_expected(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)


PLAIN = {
    "targets": ["a:b"], "dtypes": ["float64"], "examples": 6, "seeds": [0], "max-dims": [9, 60, 9, 9], "claims": ["dX"],
    "without": ["dh0"], "max-unjudged": 0.5, "bitwise": True, "vectors": True, "time-limit": 300,
    "baseline": "b.json", "regimes": ["x10"],
    "accuracy": {"factor": 2.5}, "faults": {"score": 1.0}, "speed": {"target": "a:b", "than": "c:d", "margin": 1.2},
}  # fmt: skip
VALUES = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.text(max_size=4), st.lists(st.integers(), max_size=3)),
    st.sampled_from([10**30, 10**400, -1, 0, [[]], {"a": {}}, ["dX"], "x.json", "float64", "a\0b", "~", "[" * 200]),
)


def as_toml(table, prefix=""):
    """A table as TOML; what JSON writes of a list, a text or a number is TOML, too."""
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    lines = [
        f"{json.dumps(k)} = {json.dumps(v).replace('Infinity', 'inf').replace('NaN', 'nan')}" for k, v in plain.items()
    ]
    for key, inner in table.items():
        if isinstance(inner, dict):
            lines += [f"[{prefix}{json.dumps(key)}]", as_toml(inner, f"{prefix}{json.dumps(key)}.")]
    return "\n".join(lines)


@given(
    st.sampled_from([*PLAIN, "speed.than", "accuracy.factor", "other"]), VALUES, st.binary(max_size=3), st.integers(0)
)
def test_whatever_stands_in_a_configuration_it_is_read_or_refused_in_words(tmp_path_factory, key, value, junk, at):
    table, _, inner = key.rpartition(".")
    content = {**PLAIN, table: {**PLAIN[table], inner: value}} if table else {**PLAIN, key: value}
    text = as_toml(content).encode(errors="replace")
    path = tmp_path_factory.mktemp("config") / "gate.toml"
    path.write_bytes(text[: at % len(text)] + junk + text[at % len(text) :] if at % 2 else text)
    with contextlib.suppress(ConfigError):
        assert json.dumps(dataclasses.asdict(read_config(path)), default=str)


WHOLE = {
    "schema": "lstm-checks/baseline/1",
    "settings": {"dtypes": ["float64"]},
    "targets": {"a:b": {"use": {"float64": {"h": 0.5}}}},
    "faults": {"settings": {}, "caught": ["carry-dropped"]},
    "speed": {"settings": {}, "machines": {"m": {"c": [0.1, 0.2, 0.3]}}},
}


@given(st.data())
def test_whatever_stands_in_a_baseline_it_is_read_or_refused_in_words(tmp_path_factory, data):
    def changed_somewhere(value):
        if not isinstance(value, dict | list) or not value or not data.draw(st.integers(0, 4)):
            return data.draw(VALUES)
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = changed_somewhere(value[key])
        return copy

    path = tmp_path_factory.mktemp("baseline") / "b.json"
    path.write_text(json.dumps(changed_somewhere(WHOLE)))
    with contextlib.suppress(BaselineError):
        assert read_baseline(path).settings is not None


# Not "seeds": "seedq" is as near to "speed".
KEYS = ("dtypes", "examples", "max-dims", "regimes", "claims", "max-unjudged", "vectors", "time-limit")


@given(st.sampled_from(KEYS), st.data())
def test_any_misspelt_key_is_found_in_its_line_and_the_right_one_named(tmp_path_factory, key, data):
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("qwz"))
    misspelt = data.draw(st.sampled_from([key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :]]))
    before = data.draw(st.integers(0, 5))
    text = '[tool.lstm-checks]\ntargets = ["a:b"]\n' + "# comment\n" * before + f"{misspelt} = 1\n"
    with pytest.raises(ConfigError, match=f"line {before + 3}: key '{misspelt}' is unknown, did you mean '{key}'"):
        read(tmp_path_factory.mktemp("config"), text)


def test_the_same_key_of_another_tool_is_not_taken_for_ours(tmp_path):
    text = '[tool.other]\nexamples = 0\n[tool.lstm-checks]\ntargets = ["a:b"]\n"examples" = 0\n'
    with pytest.raises(ConfigError, match="line 5: key 'examples'"):
        read(tmp_path, text)


def test_init_writes_what_can_be_read_and_never_twice(folder):
    (folder / "pyproject.toml").write_text("[project]\nname = 'mine'")
    run(folder, "--init", expect=0)
    config = read_config(folder / "pyproject.toml")
    assert config.speed is not None
    default = GateConfig(targets=("your_package:LSTM",), root=folder.resolve())
    assert replace(config, speed=None, accuracy=None, faults=None) == default
    assert (config.speed.margin, config.speed.limit) == (tolerance.SPEED_MARGIN, tolerance.SPEED_LIMIT)
    text = (folder / "pyproject.toml").read_text()
    assert text.startswith("[project]\nname = 'mine'\n\n[tool.lstm-checks]\n")
    again = run(folder, "--init", expect=2)
    assert "line 4: there is a [tool.lstm-checks] already; nothing was written" in again.stderr
    assert (folder / "pyproject.toml").read_text() == text
    # Nobody's target is judged unless it is named. Not with it: the faults, which take half a minute.
    (folder / "pyproject.toml").write_text(re.sub(r"\[tool.lstm-checks.faults\][^\[]*", "", text))
    assert "there is no module 'your_package'" in run(folder, "--update-baseline", expect=2).stdout
    assert "there is no report to write" in run(folder, "--init", "--json", "r.json", expect=2).stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"tool = {x = 1}\n", "cannot be added to, write [tool.lstm-checks] by hand: Cannot declare"),
        (b"tool = 3\n", "cannot be added to, write [tool.lstm-checks] by hand: Cannot overwrite"),
        (b"# \xe9\n", "is not TOML"),
        (b"# all\ntargets = ['a:b']\n", "line 2: there is a key 'targets' of the gate already"),
    ],
)
def test_init_adds_to_nothing_that_it_would_spoil(tmp_path, text, words):
    (tmp_path / "gate.toml").write_bytes(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        initialize(tmp_path / "gate.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        initialize(tmp_path)


def test_init_keeps_the_line_ends_of_a_file(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[project]\r\nname = 'mine'\r\n")
    _, text = initialize(tmp_path / "pyproject.toml")
    assert text.startswith("[project]\r\nname = 'mine'\r\n\r\n[tool.lstm-checks]\r\n")
    assert text.count("\n") == text.count("\r\n")


def test_every_line_of_the_first_configuration_that_is_commented_out_is_right(tmp_path):
    _, text = initialize(tmp_path / "pyproject.toml")
    whole = (
        text.replace("# examples", "examples")
        .replace("# max-dims", "max-dims")
        .replace("# regimes", "regimes")
        .replace("# claims", "claims")
        .replace("# without", "without")
    )
    config = read(tmp_path, whole)
    assert config.faults == FaultScore(1.0, 60)
    assert config.claims == ("h", "dX")
    assert config.without == ("dh0", "dC0")


# ---- What is right passes, and says so in every form


@pytest.fixture(scope="module")
def first_baseline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    (folder / "pyproject.toml").write_text(QUICK + ACCURACY)
    (folder / "mine.py").write_text(RIGHT)
    run(folder, "--update-baseline", expect=0, PYTHONPATH=str(DATA.parent.parent))
    return (folder / "lstm-checks-baseline.json").read_text()


@pytest.fixture
def with_baseline(folder, first_baseline):
    (folder / "pyproject.toml").write_text(QUICK + ACCURACY)
    (folder / "lstm-checks-baseline.json").write_text(first_baseline)
    return folder


def test_what_is_right_passes_and_every_report_says_so(with_baseline):
    summary = with_baseline / "summary.md"
    summary.write_text("earlier\n")
    files = ("--json", "r.json", "--junit", "r.xml", "--markdown", "r.md")
    found = run(with_baseline, *files, expect=0, GITHUB_STEP_SUMMARY=str(summary), GITHUB_ACTIONS="true")
    assert found.stdout.splitlines()[-1].startswith("PASS  lstm-checks gate: 2 pass, ")
    assert "::error" not in found.stdout
    report = json.loads((with_baseline / "r.json").read_text())
    assert (report["exit_code"], report["outcome"]) == (0, "pass")
    assert [f["what"] for f in report["findings"]] == ["verify", "accuracy"]
    root = ElementTree.parse(with_baseline / "r.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "0", "0")
    markdown = (with_baseline / "r.md").read_text()
    assert summary.read_text() == "earlier\n" + markdown
    assert markdown.startswith("### ✅ PASS")
    assert run(with_baseline, "--quiet", expect=0).stdout == ""


def test_a_wrong_configuration_is_said_in_every_report(folder):
    config(QUICK + "exmaples = 3\n")(folder)
    summary = str(folder / "summary.md")
    found = run(folder, "--json", "r.json", expect=2, GITHUB_STEP_SUMMARY=summary, GITHUB_ACTIONS="true")
    words = "line 7: key 'exmaples' is unknown, did you mean 'examples'?"
    assert words in found.stderr
    assert "::error title=not judged%3A gate::" in found.stdout
    assert words in json.loads((folder / "r.json").read_text())["findings"][0]["message"]
    assert words in Path(summary).read_text()


def test_what_is_wrong_is_a_regression_in_every_report(with_baseline):
    (with_baseline / "mine.py").write_text(WRONG)
    found = run(with_baseline, "--json", "-", "--junit", "r.xml", expect=1, GITHUB_ACTIONS="true")
    report = json.loads(found.stdout)
    (finding,) = (f for f in report["findings"] if f["outcome"] == "regression")
    assert finding["message"].startswith("wrong: dVi")
    assert "rerun     lstm-checks verify mine.py:LSTM --case" in finding["details"]
    assert "::error file=mine.py,title=regression%3A verify mine.py%3ALSTM float64::wrong%3A" not in found.stderr
    assert "::error file=mine.py,title=regression%3A verify mine.py%3ALSTM float64::wrong: dVi" in found.stderr
    root = ElementTree.parse(with_baseline / "r.xml").getroot()
    assert root.get("failures") == "1"
    assert "dVi" in root.find(".//failure").get("message")


def test_python_says_the_same(with_baseline, monkeypatch):
    monkeypatch.setenv("LSTM_FAST_COMPILED", "0")  # as in the baseline
    config = read_config(with_baseline / "pyproject.toml")
    report = gate.run(config)
    assert report.exit_code == 0, report.findings
    (with_baseline / "mine.py").write_text(WRONG)
    heard = Heard()
    report = gate.run(config, heard)
    assert report.exit_code == 1
    # What is judged is told, each that is done, and what is wrong before the rest is known.
    (wrong,) = (said for said in heard.said if "wrong: dVi" in str(said))
    assert wrong.startswith("verify mine.py:LSTM float64: ")
    assert wrong.endswith("; the rest goes on")
    assert heard.said[0] == "judging mine.py:LSTM"
    assert 1 in heard.said
    assert "dVi" in report.of(GateVerdict.REGRESSION)[0].message


def test_an_update_accepts_nothing_wrong_and_shows_what_it_accepts(with_baseline):
    path = with_baseline / "lstm-checks-baseline.json"
    path.chmod(0o600)
    before = path.read_text()
    (with_baseline / "mine.py").write_text(WRONG)
    found = run(with_baseline, "--update-baseline", expect=1)
    assert "is written" not in found.stdout
    assert path.read_text() == before
    (with_baseline / "mine.py").write_text(RIGHT)
    assert "nothing differs" in run(with_baseline, "--update-baseline", expect=0).stdout
    assert path.read_text() == before
    text = (with_baseline / "pyproject.toml").read_text()
    (with_baseline / "pyproject.toml").write_text(text.replace("examples = 8", "examples = 9"))
    found = run(with_baseline, "--update-baseline", expect=0)
    row = next(line.split() for line in found.stdout.splitlines() if line.split()[:1] == ["examples"])
    assert row == ["examples", "8", "9"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in with_baseline.glob("*baseline*")) == [path.name]


def test_whatever_differs_in_the_file_of_a_baseline_is_shown(tmp_path):
    one = gate.Baseline(
        {"examples": 3},
        {"a:b": {"float64": {"h": 0.1234}}},
        ("carry",),
        {"examples": 4},
        {"seconds": 0.4},
        {"m": {"c": (1.0, 2.0, 3.0)}},
    )
    others = [
        replace(one, settings={"examples": 4}),
        replace(one, targets={"a:b": {"float64": {"h": 0.1235}}}),
        replace(one, caught=()),
        replace(one, fault_settings={"examples": 5}),
        replace(one, speed_settings={"seconds": 0.5}),
        replace(one, machines={"m": {"c": (1.0, 2.1, 3.0)}}),
    ]
    assert not differences(one, one)
    assert [len(differences(one, other)) for other in others] == [1] * len(others)


# ---- It fails closed: exit code 2 for whatever prevents judging

HANGS = "import time, pathlib, os\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(100)\n"
CALLED = """
from lstm_fast import LSTM as Fast
class LSTM(Fast):
    def forward(self, X):
        {}
        return super().forward(X)
"""
NO_STATES = """
from lstm_checks.targets.load import load_target
def LSTM(p, X):
    import numpy as np
    fast = load_target("lstm_fast:LSTM")
    none = np.zeros((len(X), p["Vf"].shape[0]), X.dtype)
    outputs, pullback = fast.call({**p, "X": X, "h0": none, "C0": none}, True)
    def pull(dh, dCn):
        return {k: v for k, v in pullback({"dh": dh, "dCn": dCn}).items() if k not in ("dh0", "dC0")}
    return (outputs["h"], outputs["Cn"]), pull
"""
LACKS_ALL = """
from lstm_checks.contract import PLAIN
from lstm_ref import lstm_forward
def LSTM(p, X, h0, C0):
    return (lstm_forward(p, X, h0, C0)["h"], None), lambda dh: {}
LSTM.unsupported = PLAIN.gradients
"""


def target(text):
    return lambda folder: (folder / "mine.py").write_text(text)


def config(text):
    return lambda folder: (folder / "pyproject.toml").write_text(text)


def baseline(text):
    def change(folder):
        config(QUICK + ACCURACY)(folder)
        (folder / "lstm-checks-baseline.json").write_text(text)

    return change


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


ONE_GRADIENT = """
from lstm_checks.targets.load import load_target
def LSTM(p, X, h0, C0):
    right = load_target("lstm_ref:LSTM")  # a layer of its own, as several passes may be alive
    outputs, pullback = right.call({**p, "X": X, "h0": h0, "C0": C0}, True)
    def pull(dh, dCn):
        found = pullback({"dh": dh, "dCn": dCn})
        return {k: v if k == "dbf" else None for k, v in found.items()}
    return (outputs["h"], outputs["Cn"]), pull
"""
GOOD_BASELINE = {
    "schema": "lstm-checks/baseline/1",
    "settings": {},
    "targets": {},
    "faults": {"settings": {}, "caught": None},
    "speed": {"settings": {}, "machines": {}},
}
CANNOT_JUDGE = {
    "no configuration": (lambda folder: (folder / "pyproject.toml").unlink(), "there is no"),
    "no section": (config("[project]\nname = 'x'\n"), "does not have [tool.lstm-checks]"),
    "a misspelt key": (config(QUICK + "exmaples = 3\n"), "line 7: key 'exmaples' is unknown, did you mean 'examples'?"),
    "zero examples": (config(QUICK.replace("= 8", "= 0")), "line 3: key 'examples' is 0, expected"),
    "nothing supported": (target(LACKS_ALL), "gives no dUf, dVf"),
    "gradients that are None": (
        target(ONE_GRADIENT),
        "gives no dUf, dVf, dUi, dVi, dbi, dUg, dVg, dbg, dUo, dVo, dbo, dX, dh0, dC0; name in without = [...]",
    ),
    "one not left out by name": (
        lambda folder: (
            target(ONE_GRADIENT.replace('k == "dbf"', 'k != "dh0"'))(folder),
            config(QUICK + 'without = ["dC0"]\n')(folder),
        ),
        "gives no dh0; name in",
    ),
    "a key twice": (
        baseline(json.dumps(GOOD_BASELINE).replace('"faults"', '"targets": {},\n"faults"')),
        "is damaged: line 1: the key 'targets' is there twice in one object",
    ),
    "deep JSON": (baseline("[" * 10_000), "is damaged: line 1: brackets stand more than 64 deep in brackets"),
    "a number of 5,000 digits": (baseline('{"schema":\n' + "9" * 5_000 + "}"), "line 2: a number of 5,000 characters"),
    "a pipe for a baseline": (
        lambda folder: (baseline("")(folder), make_pipe(folder / "lstm-checks-baseline.json")),
        "is a pipe, expected a file",
    ),
    "a pipe for a configuration": (
        lambda folder: make_pipe(folder / "pyproject.toml"),
        "there is no pyproject.toml",
    ),
    "deep TOML": (config("x = " + "[" * 5_000), "is not TOML: brackets stand too deep in brackets"),
    "tables in tables": (config(f"[{'.'.join('a' * 100)}]"), "has tables or lists that stand more than 64 deep"),
    "huge TOML": (config("#" * 2_000_000), "has 2,000,000 bytes, expected at most 1,048,576"),
    "a number of 5,000 digits in TOML": (config("x = " + "9" * 5_000), "is not TOML: Exceeds the limit"),
    "too much inconclusive": (
        config(QUICK.replace("[2, 5, 2, 3]", "[9, 60, 9, 9]") + 'max-unjudged = 0\nregimes = ["x100"]\n'),
        "could not be judged, more than max-unjudged, 0%",
    ),
    "a claim never judged": (
        config(QUICK + 'claims = ["dXX"]\n'),
        "claim 'dXX' was judged in no example; did you mean",
    ),
    "only vacuous": (
        lambda folder: (
            target(NO_STATES)(folder),
            config(QUICK.replace("[2, 5, 2, 3]", "[2, 1, 2, 3]") + 'claims = ["dUi", "dVi"]\n')(folder),
        ),
        "claim 'dVi' was judged in no example",
    ),
    "no baseline": (config(QUICK + ACCURACY), "there is no baseline"),
    "a folder for a baseline": (
        lambda folder: (baseline("")(folder), make_folder(folder / "lstm-checks-baseline.json")),
        "cannot be read",
    ),
    "no JSON": (baseline("{"), "is damaged: not JSON: "),
    "another form": (baseline('{"schema": "lstm-checks/baseline/0"}'), "expected 'lstm-checks/baseline/1'"),
    "another file": (baseline("[1, 2]"), "is of the form 'list'"),
    "a damaged one": (baseline(json.dumps(GOOD_BASELINE | {"targets": {"a": {}}})), "is damaged (KeyError: 'use')"),
    "not a number": (
        baseline(json.dumps(GOOD_BASELINE | {"targets": {"a": {"use": {"f": {"g": math.nan}}}}})),
        "line 1: not JSON: NaN",
    ),
    "no number at all": (
        baseline(json.dumps(GOOD_BASELINE | {"targets": {"a": {"use": {"f": {"g": 10**400}}}}})),
        "is beyond float64",
    ),
    "times that are none": (
        baseline(json.dumps(GOOD_BASELINE | {"speed": {"settings": {}, "machines": {"m": {"c": [1e4] * 3}}}})),
        "10000.0 for a number",
    ),
    "of other settings": (baseline(json.dumps(GOOD_BASELINE)), "was taken with dtypes = None, the configuration says"),
    "a crash": (target("import os\nos.abort()\n"), "crashed: killed by SIGABRT"),
    "a crash in a call": (target(CALLED.format("import ctypes; ctypes.string_at(0)")), "crashed: killed by SIGSEGV"),
    "a silent end": (target("import os\nos._exit(0)\n"), "crashed: exit code 0"),
    "a silent end in a call": (target(CALLED.format("import os; os._exit(0)")), "crashed: exit code 0"),
    "an end that looks well": (target("raise SystemExit(0)\n"), "mine.py cannot be imported: SystemExit: 0"),
    "an interrupt of its own": (target(CALLED.format("raise KeyboardInterrupt")), "KeyboardInterrupt"),
    "no way to answer": (target("import os\nos.closerange(3, 99)\n" + RIGHT), "crashed: exit code 1; OSError"),
    "an answer that is spoilt": (
        target(
            "import os\nfor n in range(3, 20):\n    try: os.write(n, b'hello ')\n    except OSError: pass\n" + RIGHT
        ),
        "what came is no answer: 'hello ",
    ),
    "a hang": (
        lambda folder: (target(HANGS)(folder), config(QUICK.replace("= 100", "= 2"))(folder)),
        "no answer within 2 s",
    ),
    "a hang in compiled code": (
        lambda folder: (
            target("import re\nre.match('(a+)+b', 'a' * 60)\n")(folder),
            config(QUICK.replace("= 100", "= 2"))(folder),
        ),
        "no answer within 2 s",
    ),
    "no such target": (target("other = 1\n"), "mine.py has no 'LSTM'"),
    "a missing extra": (
        lambda folder: (
            config(QUICK.replace("mine.py:LSTM", "torch"))(folder),
            (folder / "torch.py").write_text("raise ModuleNotFoundError('No module', name='torch')\n"),
        ),
        "pip install torch",
    ),
}


@pytest.mark.parametrize("name", CANNOT_JUDGE)
def test_what_prevents_judging_is_exit_2_with_the_reason(folder, name):
    change, words = CANNOT_JUDGE[name]
    change(folder)
    (folder / "report.json").write_text('{"exit_code": 0}')
    found = run(folder, "--json", "report.json", expect=2, PYTHONPATH=f"{DATA.parent.parent}{os.pathsep}{folder}")
    assert words in found.stdout + found.stderr
    assert json.loads((folder / "report.json").read_text())["exit_code"] == 2


@pytest.mark.parametrize("option", ["--json", "--junit", "--markdown"])
@pytest.mark.parametrize("path", ["/dev/full", "/proc/report", "nowhere/report"])
def test_a_report_that_cannot_be_written_is_exit_2_before_anything_is_judged(folder, option, path):
    start = time.perf_counter()
    found = run(folder, option, path, expect=2)
    assert f"{path} cannot be written" in found.stderr
    assert time.perf_counter() - start < 10
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "lstm-checks-baseline.json"], "that is the baseline"),
        (["--update-baseline", "--junit", "./lstm-checks-baseline.json"], "that is the baseline"),
        (["--markdown", "pyproject.toml"], "that is the configuration"),
        (["--junit", "mine.py"], "that is a file of target mine.py:LSTM"),
        (["--junit", "link.json"], "that is a file of target mine.py:LSTM"),
        (["--json", "hard.json"], "that is a file of target mine.py:LSTM"),
        (["--json", "MINE.PY"], "that is a file of target mine.py:LSTM"),
        (["--json", "other.py"], "a file .py that is there is never replaced"),
        (["--junit", "report", "--json", "./report"], "that is where the JSON report goes"),
    ],
)
def test_a_report_replaces_nothing_that_the_gate_reads_and_no_other_report(with_baseline, arguments, words):
    (with_baseline / "other.py").write_text("from mine import LSTM\n")
    (with_baseline / "link.json").symlink_to("mine.py")
    (with_baseline / "hard.json").hardlink_to(with_baseline / "mine.py")
    before = {path: path.read_bytes() for path in with_baseline.iterdir()}
    assert words in run(with_baseline, *arguments, expect=2).stderr
    assert {path: path.read_bytes() for path in with_baseline.iterdir()} == before


@pytest.mark.parametrize("name", ["pyproject.toml", "mine.py", "lstm-checks-baseline.json", "r.json"])
def test_the_summary_is_not_appended_to_what_the_gate_reads_or_writes(with_baseline, name):
    before = {path: path.read_bytes() for path in with_baseline.iterdir()}
    found = run(with_baseline, "--json", "r.json", expect=2, GITHUB_STEP_SUMMARY=name)
    assert f"the summary cannot be written to {name}: that is " in found.stderr
    assert {path: path.read_bytes() for path in with_baseline.iterdir()} == before


@pytest.mark.parametrize("claims", [["dX", "dh0", "dC0"], ["h", "Cn"], ["dbf"]])
def test_what_is_no_value_fails_whatever_is_claimed(folder, claims):
    (folder / "mine.py").write_text(
        "from lstm_ref import LSTM as Right\nclass LSTM(Right):\n    def backward(self, dA, dhn=None, dCn=None):\n"
        "        if len(dA) > 1: raise RuntimeError('no batches here')\n        return super().backward(dA, dhn, dCn)\n"
    )
    (folder / "pyproject.toml").write_text(QUICK + f"claims = {json.dumps(claims)}\n")
    said = run(folder, expect=1).stdout
    assert re.search(
        "wrong, whatever is claimed: (called with [^,]*, )?pullback raised RuntimeError: no batches here", said
    )


def test_gradients_that_are_left_out_by_name_need_not_be_given(folder):
    (folder / "mine.py").write_text(ONE_GRADIENT.replace('k == "dbf"', 'k not in ("dh0", "dC0")'))
    (folder / "pyproject.toml").write_text(QUICK + 'without = ["dh0", "dC0"]\n')
    assert "note: mine.py:LSTM float64 does not support dh0, dC0" in run(folder, expect=0).stdout


def test_where_one_report_cannot_be_written_no_other_says_that_all_is_well(folder):
    run(folder, "--json", "r.json", expect=2, GITHUB_STEP_SUMMARY="/dev/full")
    assert json.loads((folder / "r.json").read_text())["exit_code"] == 2


def test_a_full_disk_under_the_text_or_the_summary_is_exit_2(folder):
    command = f"{sys.executable} -m lstm_checks gate > /dev/full"
    found = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert (found.returncode, "standard output cannot be written" in found.stderr) == (2, True)
    assert "/dev/full cannot be written" in run(folder, expect=2, GITHUB_STEP_SUMMARY="/dev/full").stderr


def test_a_baseline_that_cannot_be_written_is_exit_2_and_as_it_was(with_baseline):
    path = with_baseline / "lstm-checks-baseline.json"
    before = path.read_text()
    text = (with_baseline / "pyproject.toml").read_text()
    (with_baseline / "pyproject.toml").write_text(text.replace("examples = 8", "examples = 9"))
    command = f"ulimit -f 0; {sys.executable} -m lstm_checks gate --update-baseline"
    found = subprocess.run(command, shell=True, cwd=with_baseline, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stdout + found.stderr
    assert "lstm-checks-baseline.json cannot be written" in found.stderr
    assert path.read_text() == before
    assert sorted(entry.name for entry in with_baseline.glob("*baseline*")) == [path.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_run_never_passes_and_leaves_nothing_running(folder, number):
    target(HANGS)(folder)
    command = [sys.executable, "-m", "lstm_checks", "gate", "--junit", "r.xml"]
    # Where the tests run in the background or under nohup, these are ignored, and a child would inherit that.
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(ignored, signal.SIG_DFL) for ignored in (signal.SIGINT, signal.SIGHUP)],
    )
    wait_for(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    child = int((folder / "pid").read_text())
    if number == signal.SIGKILL:  # nothing can be said any more, but the report was there before
        assert process.returncode != 0
    else:
        assert process.returncode == 2
        assert "interrupted, nothing was judged" in err
    wait_for(lambda: not is_running(child))
    assert ElementTree.parse(folder / "r.xml").getroot().get("errors") == "1"


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# What a target does to its process, and a project has in its folder, is no reason not to judge it.
AT_HOME = {
    "goes elsewhere": "import os\nos.chdir('/')\n",
    "raises at every underflow": "import numpy\nnumpy.seterr(all='raise')\n",
    "makes errors of warnings": "import warnings\nwarnings.simplefilter('error')\n",
    "prints much": "import os\nfor k in range(40):\n    os.write(1, b'x' * 10**6)\n",
    "leaves a process of its group": "import os, time\nif os.fork() == 0:\n    time.sleep(300)\n    os._exit(0)\n",
    "leaves a daemon": "import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\n",
    "leaves a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()\n",
    "ends badly once it is judged": "import atexit, os\natexit.register(os._exit, 3)\n",
    "is called as a module of everybody": "",
}


@pytest.mark.parametrize("name", AT_HOME)
def test_what_a_target_does_to_its_process_is_no_reason_not_to_judge_it(folder, name):
    for module in ("checks", "lstm_ref", "hypothesis"):
        (folder / f"{module}.py").write_text("raise SystemExit(0)\n")
    target(AT_HOME[name] + RIGHT)(folder)
    if "module" in name:
        (folder / "mine.py").rename(folder / "numpy.py")
        config(QUICK.replace("mine.py", "numpy.py"))(folder)
    # Safe: as the command `lstm-checks`, which does not look for modules in the folder it is run in.
    found = run(folder, expect=0, PYTHONSAFEPATH="1")
    assert "1 pass" in found.stdout


def test_a_package_named_checks_in_front_of_pythonpath_does_not_judge(folder, monkeypatch):
    (folder / "src").mkdir()
    for module in ("checks", "tests"):
        (folder / "src" / f"{module}.py").write_text("raise SystemExit(0)\n")
    (folder / "src" / "theirs.py").write_text(RIGHT)
    target("from theirs import LSTM\n")(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder / 'src'}{os.pathsep}{os.environ['PYTHONPATH']}")
    answer = Jobs(folder, 60).run({"job": "vectors", "target": "mine.py:LSTM"})
    assert answer["counts"]["pass"]


TIRES = """
import lstm_ref
class LSTM(lstm_ref.LSTM):
    calls = 0
    def compute_gradients(self):
        super().compute_gradients()
        LSTM.calls += 1
        if LSTM.calls > 9:
            self.g["dVi"] *= 2
"""


def test_what_is_wrong_after_some_calls_is_not_timed(folder):
    target(TIRES)(folder)
    job = {"job": "time", "target": "mine.py:LSTM", "than": "lstm_ref:LSTM", "seconds": 0.02, "check": True}
    with pytest.raises(gate.JobError, match=r"mine\.py:LSTM is not timed: m2s2e2u2-.* gives fail, expected pass"):
        Jobs(folder, 60).run({**job, "cases": ["m2s2e2u2-float64-seed0"]})


def test_an_empty_report_is_no_pass():
    report = GateReport((), Path("b.json"), 0.0)
    assert report.exit_code == 2
    assert ElementTree.fromstring(gate_to_junit(report)).get("errors") == "1"


# ---- Reports

TEXTS = st.text(st.characters(), max_size=20)
CHANGES = st.lists(st.builds(Change, TEXTS, TEXTS, TEXTS), max_size=3).map(tuple)
FINDINGS = st.builds(Finding, TEXTS, TEXTS, st.sampled_from(GateVerdict), TEXTS, TEXTS, CHANGES)
REPORTS = st.builds(
    GateReport,
    st.lists(FINDINGS, max_size=4).map(tuple),
    st.just(Path("b.json")),
    st.floats(0, 99),
    st.lists(TEXTS, max_size=2).map(tuple),
)


@given(REPORTS)
def test_whatever_a_target_says_the_reports_keep_their_form(report):
    plain = json.loads(json.dumps(gate_to_json(report)))
    assert plain["exit_code"] == {"pass": 0, "regression": 1, "not judged": 2}[plain["outcome"]]
    root = ElementTree.fromstring(gate_to_junit(report).encode("utf-8", "replace"))
    assert len(root.findall(".//testcase")) == max(1, len(report.findings))
    assert len(root.findall(".//failure")) == len(report.of(GateVerdict.REGRESSION)) == int(root.get("failures"))
    assert len(root.findall(".//error")) == int(root.get("errors"))
    assert (report.exit_code == 0) == (root.get("failures") == root.get("errors") == "0")
    lines = annotations(report).split("\n")
    wrong = len(report.findings) - len(report.of(GateVerdict.PASS))
    assert sum(line.startswith("::error ") for line in lines) == wrong
    assert len(lines) == max(1, wrong + len(report.notes))
    table = [line for line in gate_to_markdown(report).split("\n") if line.startswith(("| ✅", "| ❌", "| ⚠️"))]
    assert len(table) == len(report.findings)
    assert render_gate(report).split("\n")[-1].startswith(("PASS", "REGRESSION", "NOT JUDGED"))


def test_the_json_is_as_its_schema_says():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((DATA / "gate.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    finding = Finding("speed", "a over b", GateVerdict.REGRESSION, "slower", "", (Change("time", "1", "2"),))
    plain = gate_to_json(GateReport((finding,), Path("b.json"), 1.0, ("note",), True, (Change("a", "b", "c"),)))
    jsonschema.validate(plain, schema)
    assert set(schema["required"]) == set(plain)
    assert set(schema["$defs"]["finding"]["required"]) == set(plain["findings"][0])


# ---- Speed, without a clock


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 4)])
def test_mann_whitney_counts_are_those_of_all_orders(n, m):
    found = [0] * (n * m + 1)
    for chosen in itertools.combinations(range(n + m), n):
        found[sum(k - j for j, k in enumerate(chosen))] += 1
    assert mann_whitney_counts(n, m) == tuple(found)


def test_the_bounds_are_wrong_as_often_as_they_say():
    rng = np.random.default_rng(0)
    wrong = [0, 0]
    for _ in range(2000):
        found = shift_between(rng.standard_t(2, 6) + 0.3, rng.standard_t(2, 8), 0.05)
        wrong[0] += found.low > math.exp(0.3)
        wrong[1] += found.high < math.exp(0.3)
    # 100 expected at most, and not far fewer: Poisson.
    assert all(50 <= count <= 140 for count in wrong)


@given(st.integers(0, 2**32 - 1))
def test_more_rounds_are_taken_until_the_verdict_is_certain(seed):
    rng = np.random.default_rng(seed)
    before = {"case": rng.normal(0, 0.03, tolerance.SPEED_BASELINE_ROUNDS)}
    taken = []

    def measure(count, factor=1.0, noise=0.03):
        taken.append(count)
        return {"case": rng.normal(math.log(factor), noise, count)}

    assert decide(measure, before, 1.1, 1.3)[0] is False
    assert decide(lambda count: measure(count, 1.45), before, 1.1, 1.3)[0] is True
    taken.clear()
    slower, shifts = decide(lambda count: measure(count, 1.2, 2.0), before, 1.1, 1.3)
    assert slower is None or shifts["case"].low > 1.1 or shifts["case"].high <= 1.3
    if slower is None:
        assert tuple(taken) == tolerance.SPEED_LOOKS


def test_more_rounds_are_begun_only_where_they_should_end_in_time(monkeypatch):
    now, taken = [0.0], []
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])

    def measure(count):  # 2 s a round, and nothing to be told from them
        now[0] = 2.0 * count
        taken.append(count)
        return {"case": [1e-3 * (-1) ** k for k in range(count)]}

    before = {"case": [math.log(1.2) * (-1) ** k for k in range(tolerance.SPEED_BASELINE_ROUNDS)]}
    assert decide(measure, before, 1.1, 1.15, 30.0)[0] is None
    assert taken == [6, 10, 15]
    now[0] = 0.0
    taken.clear()
    assert decide(measure, before, 1.1, 1.15, 0.0)[0] is None
    assert taken == [6]  # the first in any case


def test_times_of_other_machines_are_taken_where_there_are_none_of_this_one_and_with_more_room():
    times = {"case": (1.0, 1.0, 1.1)}
    here = gate.Baseline(machines={this_machine(): times, "other": {"case": (0.0, 0.0, 0.0)}})
    assert times_before(here) == (times, 1.0, [])
    elsewhere = gate.Baseline(machines={"slow": times, "other": {"case": (0.0, 0.0, 0.0)}})
    found, room, (note,) = times_before(elsewhere)
    assert (found, room) == (times, tolerance.SPEED_ELSEWHERE)
    assert this_machine() in note
    assert "--update-baseline" in note


def test_a_call_that_waits_is_timed_by_the_wall_and_one_that_works_by_the_processor():
    assert taken(lambda: time.sleep(0.05)) >= 0.05
    block = np.linspace(0, 1, 10**6)
    started = time.process_time()
    found = taken(lambda: np.tanh(block))
    assert 0 < found <= time.process_time() - started


LACKS = """
from lstm_fast import LSTM as Fast
class LSTM(Fast):
    def forward(self, X):
        return super().forward(X)
"""


def test_a_target_that_no_longer_gives_something_is_a_regression(with_baseline):
    (with_baseline / "mine.py").write_text(LACKS)
    found = run(with_baseline, expect=1)
    assert "right in the baseline, and now judged in no example: dC0, dh0" in found.stdout
    assert "note: mine.py:LSTM float64 does not support initial states, dh0, dC0" in found.stdout


def test_a_baseline_that_does_not_say_which_faults_were_caught_is_refused(tmp_path):
    settings = GateConfig(targets=("a:b",), faults=FaultScore(), root=tmp_path)
    write_baseline(settings.baseline_path, gate.Baseline(fault_settings=gate.fault_settings_of(settings)))
    report = gate.run(settings)
    assert report.exit_code == 2
    assert "does not say which faults were caught" in report.findings[0].message


def test_so_few_rounds_that_nothing_is_certain_have_no_bounds():
    found = shift_between([9.0], [0.0], looks_alpha(1))
    assert (found.low, found.high) == (0.0, math.inf)


def test_a_baseline_comes_back_as_it_was_written(tmp_path):
    config_, path = GateConfig(targets=("a:b",)), tmp_path / "b.json"
    written = gate.Baseline(
        gate.settings_of(config_),
        {"a:b": {"float64": {"h": 0.125}}},
        ("carry",),
        {"examples": 3},
        {"than": "c:d"},
        {"m": {"c": (1.0, 2.0, 3.0)}},
    )
    write_baseline(path, written)
    assert read_baseline(path) == written
    with pytest.raises(BaselineError, match="there is no baseline"):
        read_baseline(tmp_path / "other.json")


# ---- The fault score


def fault_answer(caught, survived, examples=5):
    return {"caught": caught, "survived": survived, "examples": examples}


@pytest.mark.parametrize(
    ("answer", "before", "outcome", "words"),
    [
        (fault_answer(["a", "b"], []), ("a", "b"), GateVerdict.PASS, "2 of 2 caught in 5 examples of sizes up to [9"),
        (fault_answer(["a", "b"], ["c"]), ("a", "b"), GateVerdict.PASS, "2 of 3 caught"),
        (
            fault_answer(["a", "c"], ["b"]),
            ("a", "b"),
            GateVerdict.REGRESSION,
            "caught in the baseline, and no longer: b",
        ),
        (fault_answer(["a"], ["b", "c"]), ("a",), GateVerdict.REGRESSION, "9, 9], expected 60%; not caught: b"),
        (fault_answer([], []), (), GateVerdict.UNJUDGED, "0 faults"),
        (fault_answer([], ["a"], 0), (), GateVerdict.UNJUDGED, "0 examples"),
    ],
)
def test_a_lower_fault_score_is_a_regression(answer, before, outcome, words):
    settings = GateConfig(targets=("a:b",), faults=FaultScore(0.6))
    finding = judge_faults(settings, answer, gate.Baseline(caught=before))
    assert (finding.outcome, words in finding.message) == (outcome, True)


def test_examples_of_one_size_catch_fewer_of_the_catalogued_faults_and_the_gate_says_which(tmp_path):
    settings = GateConfig(targets=("lstm_ref:LSTM",), faults=FaultScore(1.0, 2), max_dims=(1, 1, 1, 1), root=tmp_path)
    (job,) = (job for (what, _, _), job in gate.jobs_of(settings).items() if what == "faults")
    answer = Jobs(tmp_path, 200).run(job)
    assert answer["examples"] == 2
    assert answer["caught"]
    assert "carry-dropped" in answer["survived"]  # it takes two steps
    finding = judge_faults(settings, answer, None)
    assert finding.outcome is GateVerdict.REGRESSION
    assert "carry-dropped" in finding.message


# ---- docs/gate.md and action.yml are run


@pytest.fixture
def path_with_lstm_checks(folder):
    """The folder of the commands `lstm-checks` and `python3`, put first in PATH, as an installation would have it."""
    (folder / "bin").mkdir()
    # Scripts: through a symbolic link Python would not find the virtual environment that it belongs to.
    for name, module in (("lstm-checks", " -P -m lstm_checks"), ("python3", "")):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        command.chmod(0o755)
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def shell(script, folder, path, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")} | {"PATH": path} | environment
    return subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def test_every_command_of_the_documentation_runs_in_its_order(folder, path_with_lstm_checks):
    text = (DOCS / "gate.md").read_text()
    scripts = re.findall(r"```sh\n(.*?)```", text, re.S)
    scripts += re.findall(r"^    - (lstm-checks .*)$", text, re.M)  # GitLab's
    assert len(scripts) >= 6
    (folder / "pyproject.toml").unlink()
    assert shell("git init -q", folder, path_with_lstm_checks).returncode == 0
    for script in scripts:
        found = shell(script, folder, path_with_lstm_checks)
        assert found.returncode == 0, script + found.stdout + found.stderr
        if "--init" in script:  # as it is, but quicker
            config_ = (folder / "pyproject.toml").read_text().replace("examples = 60", "examples = 6")
            config_ = config_.replace("your_package:LSTM", "mine.py:LSTM").split("[tool.lstm-checks.faults]")[0]
            (folder / "pyproject.toml").write_text(config_.replace("vectors = true", "vectors = false"))
    assert json.loads((folder / "gate.json").read_text())["exit_code"] == 0
    (python,) = re.findall(r"```python\n(.*?)```", text, re.S)
    found = subprocess.run([sys.executable, "-c", python], cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.startswith("pass verify mine.py:LSTM float64 6 examples: ")


def test_every_key_is_in_the_documentation():
    text = (DOCS / "gate.md").read_text()
    fields = {field.name.replace("_", "-") for field in dataclasses.fields(GateConfig)} - {"root"}
    assert all(f"`{name}`" in text or f"[tool.lstm-checks.{name}]" in text for name in fields)


def test_the_action_runs_the_gate(folder, path_with_lstm_checks):
    text = (DOCS.parent / "action.yml").read_text()
    install, run_gate, say = (
        "\n".join(line.strip() for line in block.splitlines())
        for block in re.findall(r"      run: \|\n((?:        .*\n)+)", text)
    )
    assert "pip install" in install
    named = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", text))
    assert named == set(re.findall(r"^  ([\w-]+):\n    description", text, re.M))
    (folder / "mine.py").write_text(WRONG)
    for junit, config_ in (("out file.xml", ""), ("", "pyproject.toml")):
        found = shell(run_gate, folder, path_with_lstm_checks, CONFIG=config_, JUNIT=junit)
        assert found.returncode == 1, found.stdout + found.stderr
    assert ElementTree.parse(folder / "out file.xml").getroot().get("failures") == "1"
    # The comment of the run before is there to be edited, or not; who does not ask for it gets none.
    gh = folder / "bin" / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {folder / "said"}\ncase "$*" in *--edit-last*) exit 1;; esac\n')
    gh.chmod(0o755)
    asked = {"NUMBER": "7", "REPOSITORY": "them/theirs"}
    for comment, lines in (("false", 0), ("true", 2)):
        assert shell(say, folder, path_with_lstm_checks, COMMENT=comment, **asked).returncode == 0
        said = (folder / "said").read_text().splitlines() if (folder / "said").exists() else []
        assert len(said) == lines
    assert said[-1] == "pr comment 7 --repo them/theirs --body-file ./lstm-checks.md"
    assert "mine.py:LSTM" in (folder / "lstm-checks.md").read_text()


def test_the_template_and_the_hook_run_the_gate_too(folder, path_with_lstm_checks):
    (folder / "mine.py").write_text(WRONG)
    template = (DOCS.parent / "examples" / "gitlab.yml").read_text()
    (script,) = re.findall(r"^    - (lstm-checks .*)$", template, re.M)
    (entry,) = re.findall(r"^  entry: (.*)$", (DOCS.parent / ".pre-commit-hooks.yaml").read_text(), re.M)
    for command in (script, entry):
        found = shell(command, folder, path_with_lstm_checks, LSTM_CHECKS_CONFIG="")
        assert found.returncode == 1, found.stdout + found.stderr


# ---- Ten real regressions of lstm_fast, in a copy

SPEED = """\
[tool.lstm-checks.speed]
target = "lstm_fast:LSTM"
than = "lstm_ref:LSTM"
cases = ["m8s32e16u32-float64-nostates-seed0"]
seconds = 0.1
"""
DEMONSTRATION = """\
[tool.lstm-checks]
targets = ["lstm_fast:LSTM"]
examples = 40
max-dims = [3, 13, 4, 5]
vectors = false
"""
"""Few small examples, and those of the kind that they are caught by are still among them."""

BACK, FORTH = "backward.py", "forward.py"
TANH = "        tanh(linear, gates)\n        multiply(sigmoids, half, sigmoids)\n"
WRONG_CHANGES = {
    "carry dropped": (BACK, "        add(dC, dC_part, dC_)\n", "        copyto(dC_, dC_part)\n"),
    "final cotangent ignored": (BACK, "0.0 if dCn is None else tile.fold(dCn[part])", "0.0"),
    "initial state ignored": (FORTH, "0.0 if h0 is None else tile.fold(h0[part])", "0.0"),
    "stale weights": ("feature_major.py", "        self.back_packed = False\n", ""),
    "C for o in do": (BACK, "np.multiply(out[:, 4], h, out[:, 4])", "np.multiply(out[:, 4], C, out[:, 4])"),
}
SLOW_CHANGES = {
    "forward three times": (
        FORTH,
        "        _run_tile(tile, X[part], A[part])\n",
        "        for _ in range(3):\n            _run_tile(tile, X[part], A[part])\n",
    ),
    "tanh in extended precision": (
        FORTH,
        TANH,
        TANH.replace("tanh(linear, gates)", "gates[...] = tanh(linear.astype(np.longdouble))"),
    ),
    "brackets again at every step": (
        BACK,
        "        total = dh if dA is None",
        "        local_derivatives(tile, first, last, np.empty_like(tile.local[:count]))\n"
        "        total = dh if dA is None",
    ),
}
INACCURATE_CHANGES = {
    "gates through an offset": (
        FORTH,
        TANH,
        TANH.replace("gates)\n", "gates)\n        gates += 3\n        gates -= 3\n"),
    ),
    "gradients in 50 bits": (
        "layer.py",
        "        self._dW = dW\n",
        "        fraction, exponent = np.frexp(dW)\n"
        "        dW = np.ldexp(np.trunc(np.ldexp(fraction, 50)), exponent - 50)\n        self._dW = dW\n",
    ),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A project with a copy of lstm_fast and its baseline."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(Path(lstm_fast.__file__).parent, folder / "lstm_fast")
    (folder / "pyproject.toml").write_text(DEMONSTRATION + ACCURACY + SPEED)
    run(folder, "--update-baseline", expect=0, PYTHONPATH=str(DATA.parent.parent))
    return folder


def changed(clean, folder, change, settings):
    """Copy the project, make a change to it, and return the findings that are no pass."""
    shutil.copytree(clean, folder, dirs_exist_ok=True)
    (folder / "pyproject.toml").write_text(settings)
    path = folder / "lstm_fast" / change[0]
    text = path.read_text()
    assert text.count(change[1]) == 1
    path.write_text(text.replace(change[1], change[2]))
    found = run(folder, "--json", "-", expect=1, PYTHONPATH=str(DATA.parent.parent))
    return [f for f in json.loads(found.stdout)["findings"] if f["outcome"] != "pass"]


@pytest.mark.parametrize(("kept", "code"), [("gates32", 0), ("all", 1)])
def test_low_precision_is_gated_under_its_contract(folder, kept, code):
    """What begins to compute shorter than the contract says is stopped, though it would pass under a looser one."""
    (folder / "mine.py").write_text(
        f"from benchmarks.short_lstm import short_lstm\nlstm = short_lstm('float16+{kept}')\n"
    )
    settings = 'targets = ["mine.py:lstm"]\ndtypes = ["float16+gates32"]\nexamples = 20\nvectors = false\n'
    (folder / "pyproject.toml").write_text(f"[tool.lstm-checks]\n{settings}")
    tests = Path(__file__).parents[1]
    where = os.pathsep.join(map(str, (tests, tests.parent, tests.parent / "checks")))
    found = run(folder, "--json", "-", expect=code, PYTHONPATH=where)
    (finding,) = json.loads(found.stdout)["findings"]
    assert finding["subject"] == "mine.py:lstm float16+gates32"
    assert finding["outcome"] == ("pass" if code == 0 else "regression")


@pytest.mark.parametrize("name", WRONG_CHANGES)
def test_the_gate_stops_what_is_wrong(clean, tmp_path, name):
    (finding,) = changed(clean, tmp_path, WRONG_CHANGES[name], DEMONSTRATION + ACCURACY)
    assert (finding["what"], finding["outcome"]) == ("verify", "regression")
    assert finding["message"].startswith("wrong: ")
    assert "rerun" in finding["details"]


@pytest.mark.parametrize("name", INACCURATE_CHANGES)
def test_the_gate_stops_what_is_less_accurate_inside_the_tolerance(clean, tmp_path, name):
    (finding,) = changed(clean, tmp_path, INACCURATE_CHANGES[name], DEMONSTRATION + ACCURACY)
    assert (finding["what"], finding["outcome"]) == ("accuracy", "regression")
    assert finding["message"].startswith("less accurate, though within the tolerance")
    assert finding["changes"]


@pytest.mark.parametrize("name", SLOW_CHANGES)
def test_the_gate_stops_what_is_slower(clean, tmp_path, name):
    (finding,) = changed(clean, tmp_path, SLOW_CHANGES[name], DEMONSTRATION + SPEED)
    assert (finding["what"], finding["outcome"]) == ("speed", "regression")
    assert finding["message"].startswith("slower, measured twice: ")
    (change,) = finding["changes"]
    assert float(change["new"]) > 1.1 * float(change["old"])


UNSTEADY = """
import numpy as np
from lstm_fast import LSTM as Fast
class LSTM(Fast):
    rng = np.random.default_rng(0)
    def compute_gradients(self):
        super().compute_gradients()
        self.g["dbf"] *= 1 + 3e-16 * self.rng.standard_normal(self.g["dbf"].shape)
"""


def test_bits_that_differ_fail_where_the_gate_asks_for_equal_ones(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(UNSTEADY)
    job = {"target": f"{mine}:LSTM", "seeds": [0], "examples": 12, "dtype": "float64", "regimes": ["normal"]}
    answer = JOBS["verify"](job | {"max-dims": [2, 5, 2, 3]})
    assert len(answer["unlike"]) >= 8
    assert not JOBS["verify"](job | {"max-dims": [2, 5, 2, 3], "target": "lstm_fast:LSTM", "examples": 3})["unlike"]
    asked, unasked = (judge_verify("a:b", answer, GateConfig(("a:b",), bitwise=bitwise)) for bitwise in (True, False))
    assert unasked.outcome is GateVerdict.PASS
    assert asked.outcome is GateVerdict.REGRESSION
    assert asked.message.startswith("two calls with the same inputs differ in a bit in ")
    same = judge_verify("a:b", answer | {"unlike": []}, GateConfig(("a:b",), bitwise=True))
    assert same.outcome is GateVerdict.PASS
