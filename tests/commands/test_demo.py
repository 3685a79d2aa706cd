"""`lstm-checks demo`: it finds what it broke, mends it, and would say so if it did not."""

import os

import pytest

from lstm_checks.cli import main
from lstm_checks.commands import demo


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Few examples, and a folder for temporary ones of which one sees what is left in it."""
    monkeypatch.setattr(demo, "EXAMPLES", 8)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_mistake_is_found_named_and_mended(few, capsys):
    where = os.getcwd()
    assert main(("demo",)) == 0
    out = capsys.readouterr().out
    told = [
        "$ lstm-checks verify",
        "suspect   carry-",
        "line      mine.py:",
        "FAIL  mine.py:lstm",
        "`line` is where it is",
    ]
    told += [
        "$ lstm-checks fix",
        "dC_next",
        "FIXED  mine.py:lstm",
        "$ lstm-checks verify",
        "PASS  mine.py:lstm",
        "Now yours",
    ]
    places = []
    for words in told:
        places.append(out.index(words, places[-1] if places else 0))
    assert places == sorted(places)
    assert os.getcwd() == where
    assert os.listdir(few) == []


@pytest.mark.usefixtures("few")
def test_a_demonstration_that_does_not_go_as_it_should_is_none(monkeypatch, capsys):
    monkeypatch.setattr(demo, "WRONG", demo.RIGHT)
    assert main(("demo",)) == 2
    assert "ended with exit code 0, expected 1: this is no demonstration" in capsys.readouterr().err
