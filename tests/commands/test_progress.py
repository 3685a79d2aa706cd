"""What is told of a long work while it goes on: to a terminal a bar, to a log a line now and then; failures at once."""

import contextlib
import os
import sys
import time
from argparse import Namespace

import pytest
from command_line import WRONG, Heard

from lstm_checks.cli import main
from lstm_checks.commands import common
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.verify import verify
from lstm_checks.progress import NOBODY, Counting

LOUD, QUIET = Namespace(quiet=False), Namespace(quiet=True)


def test_the_first_failing_example_is_told_before_the_next_is_judged():
    heard = Heard()
    report = verify(fault_target(find("carry-dropped")), examples=8, progress=heard)
    (first,) = (k for k, said in enumerate(heard.said) if str(said).startswith("the first failing example, "))
    failed = [k for k, example in enumerate(report.examples) if example.failures]
    assert len(failed) > 1
    assert first == failed[0], "it comes after as many examples as had passed"
    assert report.examples[failed[0]].case.descriptor in heard.said[first]
    assert heard.said.count(1) == 8
    assert heard.said[-1].startswith("finding out what is wrong with ")


def test_of_what_passes_nothing_is_told_but_how_many():
    heard = Heard()
    assert verify(fault_target(), examples=3, progress=heard).exit_code == 0
    assert heard.said == [1, 1, 1]


def test_a_function_is_called_for_each():
    seen = []
    Counting(lambda: seen.append(1))(3)
    assert seen == [1, 1, 1]


def test_a_short_work_says_nothing_in_a_log(capsys):
    with common.progress(LOUD, "waiting", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_long_work_says_in_a_log_what_is_being_done_and_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(common, "TOLD_SECONDS", 0.01)
    with common.progress(LOUD, "waiting", 3) as advance:
        advance(2)
        time.sleep(0.1)
        advance.doing("thinking")
        time.sleep(0.1)
    err = capsys.readouterr().err
    assert "lstm-checks: waiting, 2 of 3, 0 s so far\n" in err
    assert "lstm-checks: thinking, 0 s so far\n" in err
    time.sleep(0.05)
    assert capsys.readouterr().err == "", "nothing is told of what has ended"


def test_where_quiet_is_asked_for_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setattr(common, "TOLD_SECONDS", 0.001)
    with common.progress(QUIET, "waiting", 3) as advance:
        assert advance is NOBODY
        advance.failed("something")
        time.sleep(0.02)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of that kind")
def test_a_terminal_has_a_bar_with_what_is_being_done_and_failures_stay(monkeypatch):
    upper, lower = os.openpty()
    with open(lower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with common.progress(LOUD, "verifying [mine]", 3) as advance:
            advance(2)
            advance.failed("the first failing example, m1: h is wrong [and so on]")
            advance.doing("finding out")
        terminal.flush()
        os.set_blocking(upper, False)
        shown = ""
        with contextlib.suppress(BlockingIOError):
            while True:  # a terminal hands on little at a time
                shown += os.read(upper, 65536).decode(errors="replace")
    os.close(upper)
    assert "verifying [mine]" in shown
    assert "lstm-checks: the first failing example, m1: h is wrong [and so on]" in shown
    assert "finding out" in shown


def test_the_command_tells_the_first_failing_example_once_and_the_report_after_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong_in_progress.py").write_text(WRONG)
    command = ("verify", "wrong_in_progress.py:LSTM", "--in-process", "--examples", "4", "--no-source")
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert err.count("lstm-checks: the first failing example, m") == 1
    assert err.endswith("; the others go on\n")
    assert "dVi[" in err
    assert out.splitlines()[-1].startswith("FAIL")
    assert main((*command, "--quiet")) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("apart", [(), ("--in-process",)], ids=["in a process of its own", "here"])
def test_what_takes_long_to_load_is_told(tmp_path, monkeypatch, capsys, apart):
    monkeypatch.setattr(common, "TOLD_SECONDS", 0.01)
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(0.2)\nfrom lstm_ref import LSTM\n")
    assert main(("verify", f"{tmp_path}/slow_to_load.py:LSTM", "--examples", "1", "--max-dims", "1,1,1,1", *apart)) == 0
    assert f"lstm-checks: loading {tmp_path}/slow_to_load.py:LSTM, 0 s so far\n" in capsys.readouterr().err
