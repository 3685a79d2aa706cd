"""`lstm-checks new`: each file that it writes is right, runs as it is, and is never written over another."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_checks.cli import main
from lstm_checks.commands.new import KINDS
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import load_target


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(*arguments, capsys):
    """What the command says after writing: the next command, as words."""
    assert main(("new", *arguments)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("next: ")
    return lines[-1].removeprefix("next: ")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "kind",
    ["numpy", *(pytest.param(name, marks=pytest.mark.peer) for name in ("torch", "jax", "keras"))],
)
def test_a_layer_to_start_from_is_right(kind, capsys):
    if KINDS[kind].extra:
        pytest.importorskip(KINDS[kind].extra)
    command = written(kind, capsys=capsys).split()
    assert command[:2] == ["lstm-checks", "verify"]
    assert command[2] in Path(KINDS[kind].place).read_text()
    report = verify(load_target(command[2]), examples=3)
    assert report.exit_code == 0
    assert not report.counts["fail"]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_program_in_c_is_right(here, capsys):
    command = written("c", "some folder", capsys=capsys)
    assert sorted(os.listdir("some folder")) == ["lstm.c", "lstm.h", "program.c", "vectors.h"]
    ours = f"{shlex.quote(sys.executable)} -m lstm_checks"
    command = command.replace("lstm-checks", ours) + " --examples 3"
    found = subprocess.run(["sh", "-c", command], cwd=here, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "PASS  exec:./program" in found.stdout


def test_the_tests_to_start_from_pass_and_name_what_they_are_told(here, capsys):
    command = written("suite", "--target", "lstm_ref:LSTM", capsys=capsys).split()
    assert '    target = "lstm_ref:LSTM"' in (here / "test_lstm.py").read_text()
    # The whole suite takes long; one claim's test says that it is one.
    command = [sys.executable, *command[1:], "-q", "-k", "test_dUf", "--lstm-examples=3", "-p", "no:cacheprovider"]
    found = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout
    assert "1 passed" in found.stdout


def test_the_gate_to_start_from_judges_what_it_is_told(here, capsys):
    (here / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    command = written("gate", "--target", "lstm_ref:LSTM", capsys=capsys)
    assert command == (
        "lstm-checks gate --config pyproject.toml --update-baseline && lstm-checks gate --config pyproject.toml"
    )
    from lstm_checks.gate.config import read_config

    assert read_config("pyproject.toml").targets == ("lstm_ref:LSTM",)
    assert (here / "pyproject.toml").read_text().startswith('[project]\nname = "mine"\n')
    assert main(("new", "gate")) == 2
    assert "already; nothing was written" in capsys.readouterr().err


def test_another_name_stands_in_the_file_and_in_the_next_command(here, capsys):
    (here / "sub").mkdir()
    assert written("numpy", "sub/mine.py", capsys=capsys) == "lstm-checks verify sub/mine.py:lstm"
    assert "lstm-checks verify sub/mine.py:lstm" in (here / "sub" / "mine.py").read_text()


def test_nothing_that_is_there_is_overwritten(here, capsys):
    (here / "lstm_numpy.py").write_text("mine")
    (here / "lstm_c").mkdir()
    (here / "lstm_c" / "lstm.h").write_text("mine")
    for kind, place in (("numpy", "lstm_numpy.py"), ("c", "lstm_c/lstm.h")):
        assert main(("new", kind)) == 2
        assert f"{place} is there already, and is not overwritten" in capsys.readouterr().err
        assert (here / place).read_text() == "mine"
    assert os.listdir("lstm_c") == ["lstm.h"]
    (here / "dangling.py").symlink_to("nowhere.py")
    assert main(("new", "numpy", "dangling.py")) == 2
    assert not (here / "nowhere.py").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("numpy", "mine.txt"), "mine.txt is no name of a Python file, expected one such as lstm_numpy.py"),
        (("numpy", "nowhere/mine.py"), "nowhere/mine.py cannot be written: No such file or directory"),
        (("numpy", "--target", "a:b"), "--target is for suite and gate, and numpy is a target itself"),
    ],
)
def test_what_cannot_be_written_is_said(arguments, words, capsys):
    assert main(("new", *arguments)) == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_framework_that_is_not_here_is_to_be_installed_first(monkeypatch, capsys):
    monkeypatch.setattr("lstm_checks.commands.new._is_here", lambda package: False)
    assert main(("new", "torch")) == 0
    assert "first: pip install 'lstm-checks[torch]'\n" in capsys.readouterr().out


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(SystemExit) as found:
        main(("new", "tensorflow"))
    assert found.value.code == 2
