"""Campaigns: chunks on an executor, merged the same in whatever order, with a journal and lost workers."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from checks import campaign
from checks.campaign import CampaignError, Plan, Tally, judge_chunk, run
from checks.executors import ExecutorError, parse_executor

PLAN = Plan("lstm_fast:LSTM", examples=10, chunk=4, max_dims=(3, 5, 3, 3))

WRONG = """
from lstm_fast import LSTM
class Wrong(LSTM):
    def compute_gradients(self):
        super().compute_gradients()
        if self.d["u"] == 3:
            self.g["dVf"][...] *= 2
"""


class Backwards(Executor):
    """An executor that waits for all chunks and then does the last first."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, plan, index):
        self.waiting.append((Future(), index))
        if len(self.waiting) == PLAN.chunks:
            for future, waiting_index in reversed(self.waiting):
                future.set_result(function(plan, waiting_index))
        return self.waiting[-1][0]


class Losing(ThreadPoolExecutor):
    """An executor that loses a worker the first `times` it is asked for chunk 1."""

    times = 0

    def submit(self, function, plan, index):
        if index == 1 and Losing.times > 0:
            Losing.times -= 1
            future = Future()
            future.set_exception(RuntimeError("the worker is gone"))
            return future
        return super().submit(function, plan, index)


@pytest.fixture(scope="module")
def whole():
    """The report on the plan, judged in order in this process."""
    return run(PLAN, lambda: ThreadPoolExecutor(1), workers=1)


def test_a_campaign_judges_each_example_once(whole):
    cases = [case for k in range(PLAN.chunks) for case in PLAN.cases(k, campaign.load_target(PLAN.target))[0]]
    assert len(cases) == len(set(cases)) == PLAN.examples == whole.tally.examples
    assert whole.exit_code == 0


def test_the_order_in_which_chunks_are_done_changes_nothing(whole):
    assert run(PLAN, Backwards, workers=2).to_json() == whole.to_json()


def test_tallies_add_up_in_any_order_but_for_the_lists(whole):
    parts = [Tally.from_json(json.loads(json.dumps(judge_chunk(PLAN, k)))) for k in range(PLAN.chunks)]
    forwards, backwards = Tally(), Tally()
    for part in parts:
        forwards.add(part)
    for part in reversed(parts):
        backwards.add(part)
    assert forwards == whole.tally == backwards


def test_processes_give_the_same(whole):
    where = parse_executor("processes:2")
    assert where.workers == 2
    assert run(PLAN, where.start, workers=2).to_json() == whole.to_json()


def test_a_lost_chunk_is_judged_again_and_counted_once(whole):
    Losing.times = 2
    report = run(PLAN, lambda: Losing(1), workers=2)
    assert report.repeated == 2
    assert report.to_json() == whole.to_json()


def test_a_chunk_that_is_always_lost_ends_the_campaign():
    Losing.times = 99
    with pytest.raises(CampaignError, match="chunk 1 was lost 3 times: RuntimeError: the worker is gone"):
        run(PLAN, lambda: Losing(1), workers=1)


def test_a_worker_that_dies_ends_the_campaign_with_the_reason(tmp_path):
    (tmp_path / "dying.py").write_text(
        "import multiprocessing, os\n"
        "def target(p, X):\n"
        "    if multiprocessing.parent_process() is not None:\n"
        "        os._exit(3)\n"
        "    return (X, None), lambda dh: {}\n"
    )
    plan = Plan(f"{tmp_path / 'dying.py'}:target", examples=2, chunk=1)
    with pytest.raises(CampaignError, match=r"chunk \d was lost 3 times: BrokenProcessPool"):
        run(plan, parse_executor("processes:1").start, workers=1)


def test_a_failure_is_shrunk_and_explained(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    spec = f"{tmp_path / 'wrong.py'}:Wrong"
    plan = Plan(spec, examples=30, chunk=15, max_dims=(3, 5, 3, 3))
    report = run(plan, lambda: ThreadPoolExecutor(1), workers=1)
    assert report.exit_code == 1
    assert report.failure.failures[0].name == "dVf"
    assert report.failure.case.u == 3
    assert report.failure.case.descriptor not in report.tally.failed or len(report.tally.failed) == 1
    assert all("u3" in descriptor for descriptor in report.tally.failed)


# The journal


def test_a_journal_goes_on_where_it_ended(whole, tmp_path):
    path = tmp_path / "journal.jsonl"

    def interrupt(examples):
        if examples:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path, progress=interrupt)
    assert len(path.read_text().splitlines()) == 2
    again = run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert again.resumed == 1
    assert again.to_json() == whole.to_json()
    assert len(path.read_text().splitlines()) == 1 + PLAN.chunks


def test_a_torn_last_line_is_judged_again(whole, tmp_path):
    path = tmp_path / "journal.jsonl"
    run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    path.write_bytes(path.read_bytes()[:-30])
    again = run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert again.resumed == PLAN.chunks - 1
    assert again.to_json() == whole.to_json()
    assert len(path.read_text().splitlines()) == 1 + PLAN.chunks


def test_the_journal_of_another_campaign_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    before = path.read_bytes()
    other = Plan(PLAN.target, PLAN.examples, seed=1, chunk=PLAN.chunk, max_dims=PLAN.max_dims)
    with pytest.raises(CampaignError, match=r"of another campaign: seed is 0 there and 1 here"):
        run(other, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["hello\n", "{}\n", "[]\n", '{"format": "lstm-checks/journal/1"}\n', "\xff\n"])
def test_what_is_no_journal_is_refused(tmp_path, text):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CampaignError, match="is no journal of a campaign"):
        run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert path.read_bytes() == text.encode("latin-1")


# The command


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "checks", "verify", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_command_spreads_examples():
    done = command("lstm_fast:LSTM", "--examples", "4", "--max-dims", "2,3,2,2", "--executor", "processes:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("PASS  lstm_fast:LSTM:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--executor", "threads"],
            "there is no executor 'threads', expected processes, processes:N or dask://HOST:PORT",
        ),
        (["--executor", "processes:0"], "there is no executor 'processes:0'"),
        (["--executor", "dask://127.0.0.1:1"], "Dask"),
        (["--journal", "x"], "--journal is for --executor"),
        (["--executor", "processes", "--case", "m1s1e1u1-float64-seed0"], "--executor does not go with --case"),
        (["--executor", "processes", "--journal", "/no/such/folder/x"], "cannot be written: No such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message):
    done = command("lstm_fast:LSTM", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# Dask


@pytest.mark.peer
def test_a_dask_cluster_that_loses_a_worker_gives_the_same(whole):
    distributed = pytest.importorskip("distributed")
    plan = Plan("lstm_fast:LSTM", examples=60, chunk=4, max_dims=(3, 5, 3, 3))
    root = str(Path(campaign.__file__).parent.parent)
    os.environ["PYTHONPATH"] = root
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        killed = []

        def kill_one(examples):
            # The first call tells what the journal knew: none.
            if examples and not killed:
                process = next(iter(cluster.workers.values()))
                killed.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.1)

        with parse_executor(f"dask://{address}") as where:
            assert where.workers == 3
            report = run(plan, where.start, workers=where.workers, progress=kill_one)
        assert killed
    assert report.to_json() == run(plan, lambda: ThreadPoolExecutor(1), workers=1).to_json()
    assert report.tally.examples == 60


def test_executors_have_names():
    with pytest.raises(ExecutorError, match="expected processes"):
        parse_executor("dask://")
