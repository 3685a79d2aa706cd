"""LayerSuite and the pytest plugin: what is wrong fails in other people's tests, what was not judged never passes."""

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from lstm_checks import suite
from lstm_checks.asking.claims import NAMES as QUESTIONS
from lstm_checks.cases import DTYPES
from lstm_checks.contract import PLAIN, Target
from lstm_checks.judging.reports import PROPERTIES, TOGETHER
from lstm_checks.suite import LayerSuite, claims_tested
from lstm_checks.targets.layer import from_layer
from lstm_fast import LSTM as Fast
from lstm_ref import LSTM

ROOT = Path(__file__).parents[1]
HOME = ROOT / "checks" / "lstm_checks"
ALL_TESTS = claims_tested(PLAIN)
SMALL = {"examples": 12, "max_dims": (2, 4, 2, 3), "regimes": ("normal", "x10")}


class Wrong(LSTM):
    """Wrong in dVi, for more than one unit."""

    def compute_gradients(self):
        super().compute_gradients()
        if self.d["u"] > 1:
            self.g["dVi"] *= 1 + 1e-3


class Slow(LSTM):
    """Hangs with more than two steps."""

    def forward(self, X, h0=None, C0=None):
        while X.shape[1] > 2:
            pass
        return super().forward(X, h0, C0)


def my_lstm(p, X):
    layer = LSTM(p["Vf"].shape[0], sequences=True)
    layer.compute_shapes(X)
    layer.p = {name: value.copy() for name, value in p.items()}
    h = layer.forward(X)

    def pullback(dh):
        gradients = {"dX": layer.backward(dh)}
        layer.compute_gradients()
        return gradients | {name: value for name, value in layer.g.items() if name != "dbo"} | {"dbo": None}

    return (h, None), pullback


def make(target, **options):
    return type("TestMine", (LayerSuite,), {**SMALL, "dtypes": ("float64",), "target": target, **options})


def outcomes(cls):
    """Run all tests of a class; return by name "passed", or the exception."""
    found = {}
    for name in ALL_TESTS:
        test = getattr(cls(), "test_" + name.replace(" ", "_"))
        try:
            test()
        except (Exception, pytest.skip.Exception, pytest.fail.Exception) as error:
            found[name] = error
        else:
            found[name] = "passed"
    return found


# The base class


@pytest.mark.parametrize("target", [Fast, "lstm_fast:LSTM", from_layer(Fast)])
def test_all_claims_on_a_right_layer_pass_and_each_case_is_judged_once(target, monkeypatch):
    judged = []
    verify_case = suite.verify_case
    monkeypatch.setattr(suite, "verify_case", lambda target, case: judged.append(case) or verify_case(target, case))
    found = outcomes(make(target))
    # Two properties and two questions are asked of a case, so few cases need not ask all, or only where rounding drowns
    # the answer; no question is asked that a layer cannot be, and entries are taken together in low precision alone.
    asked = {name: outcome for name, outcome in found.items() if not isinstance(outcome, pytest.skip.Exception)}
    assert asked == dict.fromkeys(asked, "passed")
    assert set(ALL_TESTS) - set(asked) < {*PROPERTIES, *QUESTIONS, TOGETHER}
    assert len(set(judged)) == len(judged)
    # All of the tests draw the same; twice as many, should Hypothesis see a module that was imported in between.
    assert len(judged) <= 2 * SMALL["examples"]


class Skipping(LSTM):
    """Skips every batch of two or more."""

    def forward(self, X, h0=None, C0=None):
        if X.shape[0] > 1:
            pytest.skip("no batches here")
        return super().forward(X, h0, C0)


def test_a_target_that_skips_fails():
    found = outcomes(make(Skipping))
    assert str(found["h"]).startswith("forward raised Skipped: no batches here")
    assert not [
        error for error in found.values() if "no batches" in str(error) and isinstance(error, pytest.skip.Exception)
    ]


def test_there_is_one_test_a_claim():
    assert {"h", "Cn", *PLAIN.gradients, "second call", "inputs kept", "outputs kept", "check_grad"} <= set(ALL_TESTS)
    assert all(callable(getattr(make(Fast), "test_" + name.replace(" ", "_"))) for name in ALL_TESTS)


def test_a_wrong_gradient_fails_its_test_alone_with_the_simplest_case_and_our_text():
    found = outcomes(make(Wrong))
    failed = {name for name, outcome in found.items() if isinstance(outcome, AssertionError)}
    assert {"dVi"} <= failed <= {"dVi", "check_grad"}
    error = found["dVi"]
    assert isinstance(error, AssertionError)
    assert str(error).startswith("dVi[")
    # A profile with print_blob has one note more.
    falsifying = next(note for note in error.__notes__ if "u=" in note and "Case(" in note)
    ours = next(note for note in error.__notes__ if note.startswith("dVi["))
    assert "u=2," in falsifying
    assert all(f"{size}=1," in falsifying for size in "mse")
    assert "regime='normal'" in falsifying
    lines = ours.splitlines()
    assert lines[0].startswith(str(error))
    assert lines[1].startswith("  case      m1s1e1u2-float64-")
    assert "pattern   wrong where u >= 2, in " in ours
    assert "rerun     lstm-checks verify" in ours
    assert "test_suite.py:Wrong --case m1s1e1u2" in ours


def test_an_exception_fails_and_nothing_behind_it_passes():
    def raising(p, X, h0, C0):
        raise ValueError("no weights")

    found = outcomes(make(staticmethod(raising)))
    line = raising.__code__.co_firstlineno + 1
    assert str(found["h"]) == f"forward raised ValueError: no weights (test_suite.py, line {line})"
    assert isinstance(found["something passed"], pytest.fail.Exception)
    assert all(isinstance(found[name], pytest.skip.Exception) for name in PLAIN.gradients)


def test_what_a_target_lacks_is_skipped_with_the_reason():
    found = outcomes(make(staticmethod(my_lstm)))
    for name in ("Cn", "dh0", "dC0", "dbo"):
        assert isinstance(found[name], pytest.skip.Exception)
        assert f"lacks {name}" in str(found[name])
    assert found["h"] == found["dUf"] == found["something passed"] == "passed"


def test_where_nothing_was_judged_the_suite_fails():
    single = Target("single", "float32 alone", from_layer(LSTM).call, dtypes=("float32",))
    found = outcomes(make(single))
    assert str(found["something passed"]) == "nothing to judge in 12 examples: 12 unsupported"
    assert isinstance(found["something passed"], pytest.fail.Exception)
    assert "passed" not in (found["h"], found["dUf"], found["check_grad"])


def test_zeros_that_would_pass_are_no_pass():
    """With one step and no states there is nothing in dV."""
    found = outcomes(make(Fast, max_dims=(1, 1, 1, 1), regimes=("zero",), examples=5))
    assert "vacuous" in str(found["dVi"])
    assert isinstance(found["dVi"], pytest.skip.Exception)


def test_two_biases_are_judged_with_the_gradient_they_equal():
    inner = from_layer(LSTM)

    def call(*arguments):
        outputs, pullback = inner.call(*arguments)

        def pull(cotangents):
            gradients = pullback(cotangents)
            return gradients | {"dbf again": 2 * gradients["dbf"]}

        return outputs, pull

    found = outcomes(make(Target("twice", "two biases", call, twins={"dbf again": "dbf"})))
    assert str(found["dbf"]).startswith("dbf again[")
    assert found["dbi"] == found["nothing else"] == "passed"
    assert "'dbf again' is not a gradient of the contract" in str(
        outcomes(make(Target("twice", "", call)))["nothing else"]
    )


def test_a_hang_fails_once_and_nothing_else_is_judged(monkeypatch):
    late = []
    verify_case = suite.verify_case

    def counted(target, case):
        report = verify_case(target, case)
        late.extend([case] * report.timed_out)
        return report

    monkeypatch.setattr(suite, "verify_case", counted)
    cls = make(Slow, timeout=0.3)
    with pytest.raises(AssertionError, match=r"no answer within 0\.3 s"):
        cls().test_dUf()
    found = outcomes(cls)
    assert all("got no answer in time" in str(outcome) for outcome in found.values())
    assert len(late) == 1


def test_a_target_that_cannot_be_had_fails_every_test():
    for target, words in ((None, "TestMine has no target"), ("lstm_fats:LSTM", "did you mean 'lstm_fast'?")):
        found = outcomes(make(target, examples=1))
        assert all(isinstance(outcome, pytest.fail.Exception) for outcome in found.values())
        assert words in str(found["h"])


def test_an_expected_failure_has_to_be_of_a_claim():
    with pytest.raises(TypeError, match=r"TestMine.xfail has 'dC_0'; did you mean 'dC0'\?"):
        make(Fast, xfail={"dC_0": "not implemented"})


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("regimes", ("nrmal",), r"TestMine.regimes is \('nrmal',\), expected a tuple of some of normal, x1e-3"),
        ("regimes", "normal", "TestMine.regimes is 'normal', expected a tuple"),
        ("dtypes", ("half",), "expected a tuple of some of float64, float32, bfloat16, float16"),
        ("dtypes", (), r"TestMine.dtypes is \(\), expected a tuple"),
        ("max_dims", (1, 2, 3), "expected four sizes m, s, e, u, each at least 1"),
        ("max_dims", (1, 2, 3, 0), "expected four sizes"),
        ("examples", 0, "TestMine.examples is 0, expected a number of at least 1"),
    ],
)
def test_an_option_of_another_form_is_refused_where_the_class_is_defined(option, value, words):
    with pytest.raises(TypeError, match=words):
        make(Fast, **{option: value})


def test_a_test_of_ones_own_is_kept():
    assert make(Fast, test_h=None).test_h is None
    assert make(Fast, test_h=None).test_dUf is not None


def test_sizes_regimes_and_dtypes_are_those_asked_for(monkeypatch):
    judged = []
    verify_case = suite.verify_case
    monkeypatch.setattr(suite, "verify_case", lambda target, case: judged.append(case) or verify_case(target, case))
    make(Fast, dtypes=None, examples=40, max_dims=(2, 3, 1, 2), regimes=("x10", "normal"))().test_h()
    assert {case.dtype for case in judged} == set(DTYPES)
    assert {case.regime for case in judged} == {"normal", "x10"}
    assert np.all(np.array([case.dims for case in judged]) <= (2, 3, 1, 2))


# In pytest


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder that holds this project's entry points, as pip would install them."""
    folder = tmp_path_factory.mktemp("installed")
    information = folder / "lstm_checks-0.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lstm-checks\nVersion: 0.0\n")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    lines = [f"{name} = {place}" for name, place in points.items()]
    (information / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """Return a function that runs pytest in an empty folder of somebody else's."""
    (tmp_path / "mine.py").write_text(
        "from lstm_ref import LSTM\n"
        "class Wrong(LSTM):\n    def compute_gradients(self):\n        super().compute_gradients()\n"
        "        self.g['dVi'] *= 1 + 1e-3\n"
    )

    def run(*arguments):
        paths = os.pathsep.join([str(installed), str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q", *arguments]
        environment = os.environ | {"PYTHONPATH": paths, "HYPOTHESIS_PROFILE": "dev"}
        environment.pop("PYTEST_XDIST_TESTRUNUID", None)
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False, env=environment
        )

    return run


QUICK = ("-o", "lstm_max_dims=2 3 2 2", "-o", "lstm_regimes=normal", "--lstm-dtypes=float64", "--lstm-examples=6")


def test_the_summary_and_junit_name_the_fault(run, tmp_path):
    done = run("--lstm-target=fault:carry-dropped", "--pyargs", "lstm_checks.suite", "--lstm-examples=15", "-k", "dC0",
               "--junit-xml=j.xml")  # fmt: skip
    assert done.returncode == 1
    assert "  named faults: carry-dropped\n" in done.stdout
    assert 'name="lstm_fault" value="carry-dropped"' in (tmp_path / "j.xml").read_text()


def test_no_test_file_is_needed_and_workers_tell_the_summary(run, tmp_path):
    pytest.importorskip("xdist")
    targets = ("--lstm-target=lstm_fast:LSTM", "--lstm-target=mine.py:Wrong")
    some = ("-k", "dVi or dUf or something")
    done = run(
        *targets, *QUICK, *some, "--pyargs", "lstm_checks.suite", "-n", "2", "--junitxml=report.xml", "--tb=short"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "lstm_fast:LSTM: 3 claims: 3 passed; up to 6 examples each" in lines
    at = next(k for k, line in enumerate(lines) if line.startswith("mine.py:Wrong: 3 claims: "))
    assert lines[at + 1].startswith("  worst use of the tolerance: ")
    assert any(line.startswith("  dVi: dVi[") and "[m1s1e1u1-float64-" in line for line in lines[at:])
    assert "FAILED" in done.stdout
    assert "TestTarget(mine.py:Wrong)::test_dVi" in done.stdout
    cases = {
        (case.get("classname"), case.get("name")): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ElementTree.parse(tmp_path / "report.xml").iter("testcase")
    }
    assert len(cases) == 6
    failed = next(found for (_, name), found in cases.items() if name == "test_dVi" and "mine" in found["lstm_target"])
    assert failed["lstm_outcome"] == "failed"
    assert failed["lstm_failure"].startswith("dVi[")
    assert failed["lstm_case"].startswith("m1s1e1u1-float64-")
    assert all(found["lstm_claim"] in ALL_TESTS for found in cases.values())


def test_ini_keys_do_the_same_and_expected_failures_are_strict(run, tmp_path):
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nlstm_target = mine.py:Wrong\nlstm_examples = 4\nlstm_dtypes = float32\nlstm_regimes = normal\n"
        "lstm_max_dims = 2 2 2 2\nlstm_timeout = 60\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "from lstm_checks.suite import LayerSuite\nfrom mine import Wrong\nclass TestMine(LayerSuite):\n"
        "    target = Wrong\n    examples = 5\n    max_dims = (2, 3, 2, 2)\n"
        "    xfail = {'dVi': 'known', 'dVf': 'wrongly thought so', 'check_grad': 'as dVi'}\n"
    )
    done = run("--pyargs", "lstm_checks.suite", "test_mine.py", "-rA", "--tb=line", "-k", "dVi or dVf")
    assert done.returncode == 1
    assert "TestTarget(mine.py:Wrong)::test_dVi" in done.stdout
    assert "mine.py:Wrong: 2 claims: 1 passed, 1 failed; up to 4 examples each" in done.stdout.splitlines()
    assert "mine.py:Wrong in test_mine.py::TestMine: 2 claims: 1 passed, 1 failed; up to " in done.stdout
    assert "XFAIL test_mine.py::TestMine::test_dVi - known" in done.stdout
    assert "FAILED test_mine.py::TestMine::test_dVf - [XPASS(strict)] wrongly thought so" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--pyargs", "lstm_checks.suite"), 4, "lstm_checks.suite needs a target: pytest --lstm-target=pkg.mod:LSTM"),
        (("--lstm-target=lstm_fast:LSTM", "mine.py"), 4, "add --pyargs lstm_checks.suite"),
        (("--lstm-target=lstm_fats:LSTM", "--pyargs", "lstm_checks.suite"), 4, "did you mean 'lstm_fast'?"),
        (
            ("--lstm-target=lstm_fast:LSTM", "--lstm-dtypes=f64", "--pyargs", "lstm_checks.suite"),
            4,
            "lstm_dtypes has 'f64'",
        ),
        (
            ("--lstm-target=lstm_fast:LSTM", "--lstm-examples=0", "--pyargs", "lstm_checks.suite"),
            4,
            "lstm_examples is 0",
        ),
        (
            ("--lstm-target=lstm_fast:LSTM", "-o", "lstm_max_dims=2 3", "--pyargs", "lstm_checks.suite"),
            4,
            "expected four sizes",
        ),
    ],
)
def test_what_cannot_be_judged_is_no_success(run, arguments, code, words):
    done = run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_other_peoples_runs_import_nothing_of_it(run, tmp_path, monkeypatch):
    (tmp_path / "test_other.py").write_text("def test_something(): pass\n")
    (tmp_path / "conftest.py").write_text(
        "import json, pathlib, sys\ndef pytest_unconfigure(config):\n"
        "    pathlib.Path('modules.json').write_text(json.dumps(sorted(sys.modules)))\n"
    )

    def modules(*arguments):
        assert run("test_other.py", *arguments).returncode == 0
        return set(json.loads((tmp_path / "modules.json").read_text()))

    assert "lstm_checks.plugin" in modules()
    # Other plugins, which may import what they like, stay out.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    found = modules("-p", "lstm-checks")
    assert {name for name in found if name.partition(".")[0] == "lstm_checks"} == {"lstm_checks", "lstm_checks.plugin"}
    assert not {"numpy", "scipy", "lstm_ref", "lstm_fast", "hypothesis", "rich"} & found


def test_our_own_folder_has_no_tests_of_it(run):
    others = [f"--ignore={path}" for path in HOME.iterdir() if path.name not in ("suite.py", "cases.py")]
    done = run("--collect-only", str(HOME), "--doctest-modules", *others)
    assert done.returncode == 0, done.stdout
    assert "lstm_checks.cases.Case" in done.stdout
    assert "LayerSuite" not in done.stdout
    assert "TestTarget" not in done.stdout


def test_the_documentations_python_runs(run, tmp_path):
    test, profiles, database = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "suite.md").read_text(), re.S)
    (tmp_path / "mylib.py").write_text("from lstm_ref import LSTM\n")
    # The shared database is made and then left alone: it would ask the network.
    (tmp_path / "conftest.py").write_text("from hypothesis import settings\n" + database + profiles)
    (tmp_path / "test_mine.py").write_text(test)
    done = run("-k", "test_dUf or test_h")
    assert done.returncode == 0, done.stdout
    assert "LSTM in test_mine.py::TestMine: 2 claims: 2 passed; up to 25 examples each" in done.stdout
