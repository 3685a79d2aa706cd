"""Campaigns: chunks on an executor, merged the same in whatever order, with a journal and lost workers."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Heard
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_checks.campaign import run as campaign
from lstm_checks.campaign.executors import ExecutorError, parse_executor
from lstm_checks.campaign.journal import FORMAT, _read_journal, _read_line
from lstm_checks.campaign.plan import CampaignError, Plan, code_of
from lstm_checks.campaign.run import judge_chunk, run
from lstm_checks.campaign.tally import Tally
from lstm_checks.campaign.text import render_campaign
from lstm_checks.targets.load import load_target

ROOT = str(Path(campaign.__file__).parents[2])
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
    assert run(PLAN, Backwards, workers=PLAN.chunks).to_json() == whole.to_json()


def test_tallies_add_up_in_any_order_but_for_the_lists(whole):
    parts = [
        Tally.from_json(json.loads(json.dumps(judge_chunk(PLAN.to_json(), k)))["tally"]) for k in range(PLAN.chunks)
    ]
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


JUDGED_IN_A_WORKER = """
import os, pathlib
def in_a_worker():
    # The target's own process is started by one that judges chunks, or by the campaign, which finds out what it is.
    return b"lstm_checks.workers.pool" in pathlib.Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
"""


def test_a_worker_that_dies_ends_the_campaign_with_the_reason(tmp_path):
    (tmp_path / "dying.py").write_text(
        JUDGED_IN_A_WORKER + "import os, signal\n"
        "def target(p, X):\n"
        "    if in_a_worker():\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "    return (X, None), lambda dh: {}\n"
    )
    plan = Plan(f"{tmp_path / 'dying.py'}:target", examples=2, chunk=1)
    with pytest.raises(CampaignError, match=r"chunk \d was lost 3 times: LostError: its process ended: killed"):
        run(plan, parse_executor("processes:1").start, workers=1)


DIES_ONCE = """
import os, pathlib, signal
if in_a_worker() and not pathlib.Path(FLAG).exists():
    pathlib.Path(FLAG).touch()
    os.kill(os.getppid(), signal.SIGKILL)
from lstm_fast import LSTM
"""


def test_a_worker_that_is_killed_costs_nothing_but_time(whole, tmp_path):
    (tmp_path / "dying.py").write_text(JUDGED_IN_A_WORKER + DIES_ONCE.replace("FLAG", repr(str(tmp_path / "flag"))))
    plan = replace(PLAN, target=f"{tmp_path / 'dying.py'}:LSTM")
    report = run(plan, parse_executor("processes:1").start, workers=1, journal=tmp_path / "journal.jsonl")
    assert report.repeated
    assert report.tally == whole.tally
    chunks = [json.loads(line)["chunk"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert sorted(chunks) == list(range(PLAN.chunks))


def test_workers_end_with_a_master_that_is_killed(tmp_path):
    (tmp_path / "slow.py").write_text(
        JUDGED_IN_A_WORKER + "import os, pathlib, time\n"
        "if in_a_worker():\n"
        "    pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "    time.sleep(100)\n"
        "from lstm_fast import LSTM\n"
    )
    arguments = ["verify", "slow.py:LSTM", "--examples", "1", "--executor", "processes:1"]
    master = subprocess.Popen(
        [sys.executable, "-m", "lstm_checks", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    master.kill()
    master.wait()
    worker = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    wait_for(lambda: not worker.exists() or worker.read_text().split()[2] == "Z")


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class OtherCode(ThreadPoolExecutor):
    """An executor on whose machine another NumPy is installed."""

    def submit(self, function, plan, index):
        return super().submit(lambda: (found := function(plan, index)) | {"code": found["code"] | {"numpy": "1.0"}})


def test_a_worker_with_other_code_is_not_listened_to():
    with pytest.raises(CampaignError, match=r"a worker has other code: numpy is '1\.0' there and"):
        run(PLAN, lambda: OtherCode(1), workers=1)


def test_a_failure_is_shrunk_and_explained(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    spec = f"{tmp_path / 'wrong.py'}:Wrong"
    plan = Plan(spec, examples=30, chunk=15, max_dims=(3, 5, 3, 3))
    heard = Heard()
    report = run(plan, lambda: ThreadPoolExecutor(1), workers=1, progress=heard)
    assert report.exit_code == 1
    (first,) = (said for said in heard.said if isinstance(said, str))
    assert first == f"the first failing example, {report.tally.failed[0]}; the others go on"
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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of the journal of the plan."""
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    return path.read_bytes()


def changed(line, **what):
    """Return a line of a journal with other values."""
    return json.dumps(json.loads(line) | what).encode()


def fewer(line):
    """Return a line with an example less."""
    plain = json.loads(line)
    plain["tally"]["verdicts"]["pass"] -= 1
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("change", "resumed", "damaged"),
    [
        (lambda head, a, b, c: [head[:50]], 0, 0),
        (lambda head, a, b, c: [head, b""], 0, 0),
        (lambda head, a, b, c: [head, c, a, b, b""], 3, 0),
        (lambda head, a, b, c: [head, a, a, b""], 1, 0),
        (lambda head, a, b, c: [head, a, b[:40]], 1, 1),
        (lambda head, a, b, c: [head, a, b[:40], b""], 1, 1),
        (lambda head, a, b, c: [head, a, bytes(40)], 1, 1),
        (lambda head, a, b, c: [head, a[:40], b, b""], 1, 1),
        (lambda head, a, b, c: [head, a, changed(b, chunk=3), b""], 1, 1),
        (lambda head, a, b, c: [head, a, changed(b, chunk=2), c, b""], 2, 1),
        (lambda head, a, b, c: [head, fewer(a), b, c, b""], 2, 1),
        (lambda head, a, b, c: [head, a, b"[" * 10_000, b"9" * 5_000, c, b""], 2, 2),
        (lambda head, a, b, c: [head[:-1], a, b, c, b""], 3, 1),
        (lambda head, a, b, c: [changed(head, format="1"), a, b, c], 2, 2),
        (lambda head, a, b, c: [head + a, b, c, b""], 2, 1),
    ],
)
def test_what_a_journal_knows_counts_once_and_the_rest_is_judged(whole, written, tmp_path, change, resumed, damaged):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\n".join(change(*written.splitlines())))
    again = run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert (again.resumed, again.damaged) == (resumed, damaged)
    assert again.to_json() == whole.to_json()
    assert ("damaged" in render_campaign(again, 1.0)) == bool(damaged)
    assert set(path.read_bytes().splitlines()) == set(written.splitlines())
    assert run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path).resumed == PLAN.chunks


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_bit_of_a_journal_changes_what_it_says(written, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flipped") / "journal.jsonl"
    flipped = bytearray(written)
    flipped[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    load_target(PLAN.target)
    due = _read_line
    right = dict(due(line, PLAN) for line in written.splitlines()[1:])
    lines, known, damaged = _read_journal(path, PLAN)
    # At most two lines are lost, where it was the end of one; and it is said, unless nothing is.
    assert damaged >= 1
    assert lines is not None
    assert len(known) >= PLAN.chunks - 2
    assert all(right[index] == tally for index, tally in known.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head, a, b, c: [b"hello"], "is no journal of a campaign: not JSON"),
        (lambda head, a, b, c: [b"hello", b""], "is no journal of a campaign"),
        (lambda head, a, b, c: [b"hello", b"you"], "is no journal of a campaign"),
        (lambda head, a, b, c: [b"{}", b""], "its format is None"),
        (lambda head, a, b, c: [b"[]", b""], "is no journal of a campaign"),
        (lambda head, a, b, c: [b"\xff", b""], "is no journal of a campaign"),
        (lambda head, a, b, c: [b"[" * 10_000, b""], "is no journal of a campaign: line 1: brackets stand more than"),
        (lambda head, a, b, c: [json.dumps({"format": FORMAT}).encode(), b""], "is no journal of a campaign"),
        (lambda head, a, b, c: [head[:-9] + head[-8:], b""], "is no journal of a campaign"),
        (lambda head, a, b, c: [changed(head, code={}), fewer(a), b""], "the target is None there and"),
    ],
)
def test_what_is_no_journal_of_this_campaign_is_refused_and_left_as_it_is(written, tmp_path, change, words):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\n".join(change(*written.splitlines())))
    before = path.read_bytes()
    with pytest.raises(CampaignError, match=words):
        run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)
    assert path.read_bytes() == before


def test_a_pipe_is_no_journal_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CampaignError, match="is a pipe, expected a file"):
        run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=tmp_path / "pipe")


class Breaking(ThreadPoolExecutor):
    """An executor that breaks, with all that it has been given, a few times in a row."""

    times = 0

    def __init__(self, workers):
        super().__init__(workers)
        self.broken = Breaking.times > 0
        Breaking.times -= 1

    def submit(self, function, plan, index):
        if not self.broken:
            return super().submit(function, plan, index)
        Breaking.given.add(index)
        future = Future()
        future.set_exception(RuntimeError("a worker was killed"))
        return future


def test_workers_that_are_killed_early_do_not_end_a_campaign(whole):
    # The first two breaks hit two chunks under way, or one of them by itself; none is lost three times by itself.
    Breaking.times, Breaking.given = 3, set()
    report = run(PLAN, lambda: Breaking(2), workers=2)
    assert Breaking.given == {0, 1}
    assert report.to_json() == whole.to_json()


def test_a_chunk_that_ends_its_worker_ends_the_campaign_whoever_was_beside_it():
    Losing.times = 99
    with pytest.raises(CampaignError, match="chunk 1 was lost 3 times: RuntimeError: the worker is gone"):
        run(PLAN, lambda: Losing(1), workers=2)


class Refusing(ThreadPoolExecutor):
    """An executor that breaks while it has nothing to do."""

    times = 0

    def submit(self, function, plan, index):
        if Refusing.times > 0:
            Refusing.times -= 1
            raise BrokenExecutor("a worker was killed while it waited")
        return super().submit(function, plan, index)


def test_a_pool_that_broke_before_it_was_asked_costs_nothing(whole):
    Refusing.times = 5
    report = run(PLAN, lambda: Refusing(1), workers=2)
    assert report.repeated == 0
    assert report.to_json() == whole.to_json()


def test_a_journal_of_a_target_that_was_edited_since_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from lstm_fast import LSTM\n")
    before = code_of.__wrapped__(f"{path}:LSTM")
    path.write_text("from lstm_fast import LSTM  # or so\n")
    after = code_of.__wrapped__(f"{path}:LSTM")
    assert [name for name in before if before[name] != after[name]] == ["the target"]
    package = code_of("lstm_fast:LSTM")["the target"]
    assert package == code_of("lstm_fast.layer:LSTM")["the target"]
    assert package != code_of("exec:cat -u")["the target"] != code_of("fault:x")["the target"]


def test_two_campaigns_do_not_write_to_one_journal(tmp_path):
    path = tmp_path / "journal.jsonl"

    def second(examples):
        with pytest.raises(CampaignError, match="another campaign is writing to the journal"):
            run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path)

    run(PLAN, lambda: ThreadPoolExecutor(1), workers=1, journal=path, progress=second)


# The command


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lstm_checks", "verify", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
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
        (["--executor", "processes", "--journal", "/dev/full"], "cannot be written: No space left on device"),
        (
            ["--executor", "processes", "--journal", "x", "--json", "./x"],
            "the journal cannot be written to x: that is where the report goes",
        ),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message):
    done = command("lstm_fast:LSTM", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# Dask


# On a busy machine; the cluster would not start.
@pytest.mark.filterwarnings("ignore:Creating scratch directories is taking:UserWarning")
@pytest.mark.peer
def test_a_dask_cluster_that_loses_a_worker_gives_the_same(whole, monkeypatch):
    distributed = pytest.importorskip("distributed")
    plan = Plan("lstm_fast:LSTM", examples=60, chunk=4, max_dims=(3, 5, 3, 3))
    monkeypatch.setenv("PYTHONPATH", ROOT)
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
