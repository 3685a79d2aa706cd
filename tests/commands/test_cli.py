"""The command line, run as a user runs it: by exit code and text."""

import json
import os
import subprocess
import sys

import pytest
from command_line import WRONG, run

from lstm_checks.cli import main
from lstm_checks.targets.load import TargetError, load_target

RIGHT = "from lstm_ref import LSTM\n"


def at_once(said):
    """The lines on standard error, without those that a slow machine adds."""
    return [line for line in said.splitlines() if not line.endswith(" so far")]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("import numpy\nraise OSError('no such disk')\n")
    (tmp_path / "things.py").write_text("from lstm_ref import LSTM\nlayer = LSTM(2)\nnumber = 3\nclass Other: pass\n")
    return tmp_path


def test_the_default_target_passes_quietly_in_a_log():
    found = run("verify", "--examples", "25")
    assert found.returncode == 0, found.stderr
    assert at_once(found.stderr) == []
    assert found.stdout.splitlines()[0].startswith("lstm_fast:LSTM (layer class) against lstm_ref: 25 examples, 2")
    assert found.stdout.splitlines()[-1].startswith("PASS  lstm_fast:LSTM: 2")
    assert "used by the worst entry" in found.stdout


def test_quiet_says_nothing_when_all_is_well():
    found = run("verify", "--examples", "5", "--quiet")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("target", ["mine.py:LSTM", "mine:LSTM"])
def test_a_file_and_a_module_are_targets(folder, target):
    assert run("verify", target, "--examples", "5", cwd=folder).returncode == 0


def test_what_a_file_imports_only_when_it_is_called_is_looked_for_beside_it(folder):
    (folder / "kernel.py").write_text("from lstm_ref import LSTM\n")
    (folder / "json.py").write_text("raise RuntimeError('this took the place of the standard library')\n")
    (folder / "late.py").write_text(
        "from lstm_ref import LSTM as Base\n"
        "class LSTM(Base):\n"
        "    def forward(self, *arguments, **options):\n"
        "        import kernel\n"
        "        return kernel.LSTM.forward(self, *arguments, **options)\n"
    )
    found = run("verify", f"{folder}/late.py:LSTM", "--examples", "5")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("command", ["verify", "gate", "vectors"])
def test_the_pages_that_the_help_names_are_there(command):
    pages = [word for word in run(command, "--help").stdout.split() if word.endswith(".md")]
    assert pages
    assert all(os.path.isfile(page) for page in pages), pages


def test_a_wrong_layer_fails_names_the_tensor_and_its_rerun_fails_too(folder):
    found = run("verify", "wrong.py:LSTM", "--examples", "6", "--no-source", "--json", "report.json", cwd=folder)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert lines[3].startswith("dVi[0, 0] = ")
    assert lines[-1].startswith("FAIL  wrong.py:LSTM: ")
    rerun = next(line for line in lines if "rerun" in line).split("lstm-checks ")[1]
    again = run(*rerun.split(), "--no-source", cwd=folder)
    assert again.returncode == 1
    assert again.stdout.startswith("dVi[0, 0] = ")
    report = json.loads((folder / "report.json").read_text())
    assert report["exit_code"] == 1
    assert report["failure"]["claims"][0]["claim"] in {"h", "dVi"} | {c["claim"] for c in report["failure"]["claims"]}
    assert {"fail"} <= set(report["verdicts"])
    assert sorted(entry.name for entry in folder.glob("*report*")) == ["report.json"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("lstm_fats:LSTM", "there is no module 'lstm_fats'; did you mean 'lstm_fast'?"),
        ("lstm_fast:LSTN", "lstm_fast has no 'LSTN'; did you mean 'LSTM'?"),
        ("mien.py:LSTM", "there is no file mien.py; did you mean mine.py?"),
        ("broken.py:LSTM", "broken.py cannot be imported: OSError: no such disk"),
        ("broken:LSTM", "module 'broken' cannot be imported: OSError: no such disk"),
        ("things.py:Other", "is a class without compute_shapes"),
        ("things.py:layer", "is an instance of LSTM, expected the class itself"),
        ("things.py:number", "is an int, expected a layer class or a function"),
        (
            "nothing",
            "names nothing, expected pkg.mod:LSTM, path/file.py:LSTM, exec:./program, path/model.onnx, or torch, flax",
        ),
    ],
)
def test_a_target_that_cannot_be_had_is_exit_2_with_the_reason(folder, target, words):
    found = run("verify", target, cwd=folder)
    assert found.returncode == 2
    assert words in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mine.py", "'mine.py' is a file; which of its objects? it defines no class or function"),
        ("things.py:", "'things.py:' is a file; which of its objects? it has things.py:Other"),
        ("things.py:Lstn", "things.py has no 'Lstn'; it has Other"),
        ("things.py::Other", "there is no module 'things.py:'; did you mean the file, things.py:Other?"),
        ("./mine:LSTM", "there is no module './mine'; did you mean the file, mine.py:LSTM?"),
        ("notes.ipynb:LSTM", "a notebook's code must be in a file first"),
        ("notes.ipynb", "is a notebook; write its code to a file"),
        ("sub", "is a folder; name a file in it"),
        ("sub/:LSTM", "sub/ is a folder: name a file in it, sub/file.py:LSTM"),
        ("notes.txt:LSTM", "notes.txt is no Python file"),
        ("lstm_fast", "names no object of a module; did you mean 'lstm_fast:LSTM'?"),
        ("lstm_fast.LSTM", "names no object of a module; did you mean 'lstm_fast:LSTM'?"),
        (r"C:\lib\mine.py", "names nothing, expected pkg.mod:LSTM"),
        (r"C:\lib\mien.py:LSTM", "there is no file"),
        ("late.py:LSTM", "late.py cannot be imported: NameError: name 'nmupy' is not defined (late.py, line 3)"),
        (
            "more.py:LSTM",
            "cannot be made with the number of units alone: LSTM(units, width), missing a required argument",
        ),
    ],
)
def test_what_was_perhaps_meant_is_said(folder, monkeypatch, target, words):
    monkeypatch.chdir(folder)
    (folder / "sub").mkdir()
    (folder / "notes.ipynb").write_text("{}")
    (folder / "notes.txt").write_text("")
    (folder / "late.py").write_text("import numpy\n\nnmupy.zeros(3)\n")
    (folder / "more.py").write_text(
        "import lstm_ref\n\nclass LSTM(lstm_ref.LSTM):\n    def __init__(self, units, width): pass\n"
    )
    with pytest.raises(TargetError) as found:
        load_target(target)
    assert words in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["lstm_checks", "numpy", "json", "lstm_ref", "conftest"])
def test_a_file_may_have_the_name_of_a_module_that_is_needed(folder, name):
    (folder / "sub").mkdir()
    raising = (folder / "wrong.py").read_text().replace('self.g["dVi"] *= 1 + 1e-12', 'raise ValueError("dVi is lost")')
    (folder / "sub" / f"{name}.py").write_text(raising)
    found = run("verify", f"sub/{name}.py:LSTM", "--examples", "3", cwd=folder)
    assert found.returncode == 1
    (said,) = at_once(found.stderr)
    assert said.startswith("lstm-checks: the first failing example, m")
    assert "dVi is lost" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verfy",), "there is no command 'verfy', expected one of verify, demo, new, bind, fix, certify"),
        (("verfy",), "did you mean 'verify'?"),
        (("mine.py:LSTM",), "did you mean 'lstm-checks verify mine.py:LSTM'?"),
        (("verify", "--exampels", "3"), "there is no option '--exampels'; did you mean '--examples'?"),
        (("verify", "--zzz"), "there is no option '--zzz'; see lstm-checks verify --help"),
        (("--zzz",), "there is no option '--zzz'; see lstm-checks --help"),
        *(
            (
                ("verify", "--case", "m1s1e1u1-float64-seed0", f"--{option}", value),
                f"--{option} does not go with --case",
            )
            for option, value in {"examples": "3", "seed": "0", "dtype": "float64", "max-dims": "1,1,1,1"}.items()
        ),
        (("verify", "a:b", "c:d"), "verify has no use for 'c:d'; lstm-checks verify --help says what it takes"),
    ],
)
def test_a_slip_on_the_command_line_is_explained_in_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


# Python's streams are buffered or not, and what breaks at the end of a process breaks in the buffered ones alone.
@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def streams(request, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


EVERY_WAY_TO_PRINT = ["verify --examples 1", "faults", "convert --layouts", "--version", "--help", "verify --help", ""]


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("command", EVERY_WAY_TO_PRINT)
def test_a_reader_who_has_seen_enough_is_left_in_peace(command):
    # The other end of the pipe is closed before anything is written.
    with subprocess.Popen(
        [sys.executable, "-m", "lstm_checks", *command.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("command", EVERY_WAY_TO_PRINT)
def test_a_full_disk_is_said_in_one_line(command):
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "lstm_checks", *command.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert found.returncode == 2
    assert found.stderr == b"lstm-checks: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "target", "code"),
    [("2>&-", "mine.py:LSTM", 0), (">&-", "mine.py:LSTM", 2), (">&- 2>&-", "mine.py:LSTM", 2), ("2>&-", "nothing", 2)],
)
def test_closed_streams_never_blame_the_target(folder, closed, target, code):
    command = f'"{sys.executable}" -m lstm_checks verify {target} --examples 1 {closed}'
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=folder, timeout=600, check=False)
    assert found.returncode == code
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--examples", "0"),
        ("verify", "--examples", "many"),
        ("verify", "--seed", "-1"),
        ("verify", "--case", "m1s1"),
        ("verify", "--max-dims", "1,2,3"),
        ("verify", "--dtype", "half"),
        ("verify", "lstm_ref:LSTM", "--contract", "gates32"),
        ("verify", "lstm_ref:LSTM", "--dtype", "bfloat16", "--contract", "gates"),
        ("verify", "--regimes", "normal,huge"),
        ("verify", "--case", "m1s1e1u1-float64-seed0", "--regimes", "normal"),
        ("certify", "--examples", "0"),
        ("certify", "--case", "m1s1"),
        ("certify", "--regimes", "huge"),
        ("certify", "lstm_fats:LSTM"),
        ("vectors", "run", "lstm_fats:LSTM"),
        ("vectors", "run", "--file", "nowhere.json"),
        ("vectors", "write"),
        ("vectors", "write", "."),
        ("vectors", "write", "nowhere/vectors.json"),
        ("vectors",),
        ("prove",),
        (),
    ],
)
def test_bad_usage_is_exit_2(arguments):
    found = run(*arguments)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr


def test_a_report_that_cannot_be_written_is_exit_2(tmp_path):
    found = run("verify", "--examples", "1", "--json", str(tmp_path / "nowhere" / "report.json"))
    assert found.returncode == 2
    assert "cannot be written" in found.stderr


def test_json_on_standard_output_is_nothing_but_json():
    found = run("verify", "--examples", "3", "--json", "-")
    report = json.loads(found.stdout)
    assert report["exit_code"] == found.returncode == 0
    assert len(report["examples"]) == 3
    assert "PASS" in found.stderr


def test_what_a_target_prints_stays_out_of_the_report(folder):
    (folder / "chatty.py").write_text("print('loading')\n" + WRONG + "        print('there')\n")
    found = run("verify", "chatty.py:LSTM", "--examples", "3", "--no-source", "--json", "-", cwd=folder)
    assert json.loads(found.stdout)["exit_code"] == found.returncode == 1
    assert "loading" in found.stderr
    assert "there" in found.stderr


def test_the_same_seed_gives_the_same_examples_and_another_others():
    def drawn(*more):
        report = json.loads(run("verify", "--examples", "6", "--json", "-", *more).stdout)
        return [example["case"] for example in report["examples"]]

    assert drawn() == drawn("--seed", "0") != drawn("--seed", "1")


def test_sizes_stay_within_max_dims():
    report = json.loads(run("verify", "--examples", "20", "--max-dims", "2,3,2,2", "--json", "-").stdout)
    assert len(report["examples"]) == 20
    assert all(example["case"][:8] <= "m2s3e2u2" for example in report["examples"])


def test_only_the_regimes_named_are_drawn():
    report = json.loads(run("verify", "--examples", "20", "--regimes", "normal,x10", "--json", "-").stdout)
    assert len(report["examples"]) == 20
    assert {"x1e-3", "x100", "mixed", "zero"} <= set(report["unreachable_strata"])
    assert not {"x1e", "x100", "mixed", "zero"} & {example["case"].split("-")[2] for example in report["examples"]}


def test_help_and_version():
    assert "exit code" in run("--help").stdout
    assert run("--version").stdout.startswith("lstm-checks ")


@pytest.mark.parametrize("name", ["torch", "flax", "equinox", "haiku", "keras", "onnx"])
def test_a_framework_that_is_not_here_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"lstm_checks.targets.{name}", raising=False)
    with pytest.raises(
        TargetError, match=rf"target '{name}' needs {name}, which is not here: pip install (dm-)?{name}( |$)"
    ):
        load_target(name)
