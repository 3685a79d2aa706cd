"""`lstm-checks completion`: what each shell completes, asked of the shell itself where it is here."""

import shutil
import subprocess

import pytest

from lstm_checks.cli import COMMANDS, _parser, main
from lstm_checks.formats import BASES


def script(shell, capsys):
    assert main(("completion", shell)) == 0
    return capsys.readouterr().out


def shell(name):
    return pytest.mark.skipif(not shutil.which(name), reason=f"no {name}")


def asked(command, text, cwd=None):
    found = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout.split("\n")


def in_bash(text, words):
    """What bash offers for the last of some words."""
    listed = " ".join(f"'{word}'" for word in words)
    text += (
        f"\nCOMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _lstm_checks; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    return [line for line in asked(["bash", "--norc"], text) if line]


@shell("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("lstm-checks", "ver"), {"verify"}),
        (("lstm-checks", ""), {command.__name__.rpartition(".")[2] for command in COMMANDS} | {"--help", "--version"}),
        (("lstm-checks", "verify", "--min"), {"--min-dims"}),
        (("lstm-checks", "verify", "mine.py", ":", "LSTM", "--no-r"), {"--no-reference"}),
        (("lstm-checks", "certify", "--dtype", ""), {*BASES, "both"}),
        (("lstm-checks", "verify", "--join", "c"), {"concat"}),
        (("lstm-checks", "new", "s"), {"suite"}),
        (("lstm-checks", "vectors", ""), {"-h", "--help", "write", "run"}),
        (("lstm-checks", "vectors", "write", "--format", "o"), {"onnx"}),
        (("lstm-checks", "completion", "z"), {"zsh"}),
        (("lstm-checks", "verify", "--zzz"), set()),
        (("lstm-checks", "nothing", "--help"), set()),
    ],
)
def test_bash_completes(words, offered, capsys):
    assert set(in_bash(script("bash", capsys), words)) == offered


@shell("bash")
def test_bash_knows_every_option_of_every_command(capsys):
    text = script("bash", capsys)
    _, parsers = _parser()
    for name in ("verify", "fix", "gate", "faults"):
        known = {option for action in parsers[name]._actions for option in action.option_strings}
        assert known == set(in_bash(text, ("lstm-checks", name, "-")))


@shell("fish")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lstm-checks ver", {"verify"}),
        ("lstm-checks verify --min", {"--min-dims"}),
        ("lstm-checks certify --dtype ", {*BASES, "both"}),
        ("lstm-checks vectors write --fo", {"--format"}),
        ("lstm-checks new s", {"suite"}),
    ],
)
def test_fish_completes(line, offered, capsys, tmp_path):
    text = script("fish", capsys) + f"\ncomplete -C '{line}'\n"
    lines = asked(["fish", "--no-config"], text, tmp_path)
    assert {found.split("\t")[0] for found in lines if found} == offered


ZSH = """
compdef() {{ }}
_describe() {{ print -l -- $commands }}
_arguments() {{ print -l -- "$@" }}
{text}
words=({words}); CURRENT={current}
_lstm_checks
"""


@shell("zsh")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lstm-checks ''", "verify:"),
        ("lstm-checks verify ''", "--min-dims["),
        ("lstm-checks certify ''", "float64 float32 both"),
        ("lstm-checks vectors ''", "write run"),
        ("lstm-checks vectors write ''", "json onnx wpt"),
    ],
)
def test_zsh_is_told(words, said, capsys):
    text = ZSH.format(text=script("zsh", capsys), words=words, current=len(words.split()))
    lines = asked(["zsh", "-f"], text)
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_has_no_word_that_a_shell_would_run(name, capsys):
    text = script(name, capsys)
    assert "`" not in text
    assert "$(compgen" in text or "$(" not in text
