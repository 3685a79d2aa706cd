"""A target in a process of its own: the same numbers come back, and whatever it does there is told of it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks.hostile import hostile, judge, judge_by_command  # noqa: E402
from lstm_checks.calling import call_target, overwritten  # noqa: E402
from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.contract import FREE, MB, Bounds, EndedError, TimeLimitError  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.judging.reports import INPUTS_KEPT, OUTPUTS_KEPT  # noqa: E402
from lstm_checks.strategies import stratified  # noqa: E402
from lstm_checks.targets.load import TargetError, load_target  # noqa: E402
from lstm_checks.targets.supervise import REACHING  # noqa: E402
from lstm_checks.workers.link import RESTARTS  # noqa: E402
from lstm_checks.workers.remote import Loading  # noqa: E402
from lstm_checks.workers.wire import Described, Reader, WireError, describe, pack  # noqa: E402

CASE = Case(2, 3, 2, 2, seed=1)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory of a process")


@pytest.fixture
def load(tmp_path):
    """A function that loads the source of a target `target` in a process of its own."""
    begun = []

    def load(source, timeout=None, whole=None, say=lambda line: None, bounds=FREE):
        (tmp_path / "mine.py").write_text("import os, sys, time\nfrom lstm_ref import LSTM\n" + source)
        begun.append(Loading(f"{tmp_path / 'mine.py'}:target", timeout, whole, say, bounds=bounds))
        return begun[-1].target()

    yield load
    for loading in begun:
        loading.worker.close()


@pytest.fixture(scope="module")
def fast():
    """lstm_fast here and there."""
    with Loading("lstm_fast:LSTM") as loading:
        yield load_target("lstm_fast:LSTM"), loading.target()


# The same numbers


@settings(max_examples=40, deadline=None)
@given(case=stratified(dtypes=("float64", "float32"), max_dims=(4, 6, 4, 4)))
def test_there_is_what_is_here_to_the_bit(fast, case):
    here, there = (call_target(target, case.arrays.copy(), case.sequences) for target in fast)
    assert list(here.values) == list(there.values)
    for name, value in here.values.items():
        assert (value.dtype, value.shape) == (there.values[name].dtype, there.values[name].shape)
        assert value.tobytes() == there.values[name].tobytes()
    assert (there.error, there.written, overwritten(there)) == ("", (), [])


def test_what_a_target_says_of_itself_comes_over(fast):
    here, there = fast
    for name in ("name", "kind", "lacks", "dtypes", "twins", "compiles"):
        assert getattr(here, name) == getattr(there, name), name
        assert type(getattr(here, name)) is type(getattr(there, name)), name
    call_target(there, CASE.arrays.copy(), True)
    call_target(here, CASE.arrays.copy(), True)
    assert {k: v.tobytes() for k, v in there.caches().items()} == {k: v.tobytes() for k, v in here.caches().items()}


def test_the_two_halves_of_a_call_can_be_asked_for_one_by_one(fast):
    arrays = CASE.arrays.copy()
    answers = []
    for target in fast:
        outputs, pullback = target.call(arrays.inputs, True)
        twice = [pullback(arrays.cotangents) for _ in range(2)]
        answers.append(
            [*(value.tobytes() for value in outputs.values()), *({k: v.tobytes() for k, v in g.items()} for g in twice)]
        )
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "view", [lambda a: np.asfortranarray(a), lambda a: a[::-1], lambda a: np.repeat(a, 2, -1)[..., ::2]]
)
def test_arrays_lie_in_memory_there_as_they_do_here(load, view):
    target = load(
        "def target(p, X, h0, C0):\n"
        "    raise ValueError(f'{X.strides} {X.flags.c_contiguous} {X.flags.writeable} {float(X.sum())!r}')\n"
    )
    X = view(CASE.arrays["X"].copy())
    for lock in (False, True):
        X.flags.writeable = not lock
        error = call_target(target, CASE.arrays.replaced(X=X), True).error
        assert error.startswith(f"ValueError: {X.strides} {X.flags.c_contiguous} {not lock} {float(X.sum())!r}")


def test_the_very_array_is_the_very_array_there(load):
    target = load(
        "held = []\ndef target(p, X, h0, C0):\n    held.append(X)\n    raise ValueError(f'{[a is X for a in held]}')\n"
    )
    arrays, other = CASE.arrays.copy(), CASE.arrays.copy()
    told = [call_target(target, given, True).error.partition("[")[2].partition("]")[0] for given in (arrays, other)]
    again = call_target(target, arrays, True).error.partition("[")[2].partition("]")[0]
    assert told[0].endswith("True")
    assert told[1].endswith("False, True")
    assert again.endswith("True, False, True")


# What a target does to arrays


def test_what_it_writes_to_is_seen(load):
    writes = load(
        "class target(LSTM):\n"
        "    def forward(self, X, h0=None, C0=None):\n"
        "        A = super().forward(X, h0, C0)\n"
        "        X += 1\n"
        "        return A\n"
    )
    arrays = CASE.arrays.copy()
    call_target(writes, arrays, True)
    np.testing.assert_array_equal(arrays["X"], CASE.arrays["X"] + 1)
    found = verify_case(writes, CASE).claim(INPUTS_KEPT)
    assert found.discrepancy.message == "the target wrote to its input X, expected all inputs left as they were"
    keeps = load(
        "class target(LSTM):\n"
        "    kept = {}\n"
        "    def forward(self, X, h0=None, C0=None):\n"
        "        A = super().forward(X, h0, C0)\n"
        "        kept = self.kept.setdefault(A.shape, A.copy())\n"
        "        kept[...] = A\n"
        "        return kept\n"
    )
    found = verify_case(keeps, CASE).claim(OUTPUTS_KEPT)
    assert found.discrepancy.message.startswith("a later call wrote to h returned by an earlier one")
    first = call_target(keeps, CASE.arrays.copy(), True)
    assert overwritten(first) == []
    call_target(keeps, CASE.arrays.replaced(X=CASE.arrays["X"] * 2).copy(), True)
    assert overwritten(first) == ["h"]


# Whatever it does else

EVERY = list(hostile())


@pytest.mark.parametrize("one", EVERY[7::61], ids=lambda one: one.name)
def test_a_hostile_target_gets_its_verdict(one, tmp_path):
    if one.name.startswith("torch"):
        pytest.importorskip("torch")
    code, said = judge(one, tmp_path)
    assert code == one.due, said
    assert "fault of lstm-checks" not in said


@pytest.mark.parametrize("one", EVERY[11::290], ids=lambda one: one.name)
def test_by_command_too(one, tmp_path):
    if one.name.startswith("torch"):
        pytest.importorskip("torch")
    code, said = judge_by_command(one, tmp_path)
    assert code == one.due, said
    assert "fault of lstm-checks" not in said
    assert "Traceback" not in said


def test_there_are_a_thousand_of_them_each_another():
    assert len({one.source for one in EVERY}) >= 1000
    assert len({one.name for one in EVERY}) == len(EVERY)


SEVEN = replace(CASE, s=7)
"""Of more steps than what a target is tried out with when it is loaded."""


def test_each_end_is_told_in_words(load):
    said = {
        "os._exit(0)": "the target ended the process: exit code 0",
        "os.kill(os.getpid(), 11)": "the target's process was killed by SIGSEGV",
        "os.closerange(0, 256)": "the target ",
        "time.sleep(1000)": "no answer within 1 s",
    }
    for what, words in said.items():
        target = load(f"def target(p, X, h0, C0):\n    if X.shape[1] == 7: {what}\n    raise ValueError('here')\n", 1.0)
        outcome = call_target(target, SEVEN.arrays.copy(), True)
        assert outcome.sentence.startswith(words)
        if "sleep" in what:
            assert outcome.kind == TimeLimitError.kind
            continue
        assert outcome.kind == EndedError.kind
        # A new process goes on.
        later = call_target(target, Case(2, 4, 2, 2).arrays.copy(), True)
        assert later.error.startswith("ValueError: here")


def test_it_is_not_started_for_ever(load):
    target = load("def target(p, X, h0, C0):\n    if X.shape[1] == 7: os._exit(0)\n    raise ValueError\n")
    kinds = [call_target(target, SEVEN.arrays.copy(), True).kind for _ in range(RESTARTS + 2)]
    assert kinds == [EndedError.kind] * (RESTARTS + 1) + [TimeLimitError.kind]


def test_all_calls_together_have_a_limit(load):
    target = load("def target(p, X, h0, C0):\n    time.sleep(0.2)\n    raise ValueError\n", whole=3.0)
    start = time.monotonic()
    while (outcome := call_target(target, CASE.arrays.copy(), True)).kind == "error":
        assert time.monotonic() < start + 60
    assert outcome.error == "no answer within 3 s for all calls together (--time-limit)"


@on_linux
def test_what_it_may_take_has_a_limit_and_a_sentence(load):
    bounds = Bounds(memory=200 * MB)
    takes = "def target(p, X, h0, C0):\n    if X.shape[1] == 7: {}\n    raise ValueError('here')\n"
    target = load(takes.format("bytearray(2**28)"), bounds=bounds)
    error = call_target(target, SEVEN.arrays.copy(), True).error
    assert re.fullmatch(r"MemoryError \(mine\.py, line 4\); it may take 200 MB \(--memory\)", error)
    assert call_target(target, CASE.arrays.copy(), True).error.startswith("ValueError: here (mine.py, line 5)")
    # What C does with no memory is to crash, and may be for want of it.
    target = load(takes.format("os.kill(os.getpid(), 11)"), bounds=bounds)
    error = call_target(target, SEVEN.arrays.copy(), True).error
    assert error == "the target's process was killed by SIGSEGV; it may take 200 MB (--memory)"
    with pytest.raises(TargetError, match=r"failed to map segment.*; it may take 200 MB"):
        load("raise ImportError('lib.so: failed to map segment from shared object')\n", bounds=bounds)
    with pytest.raises(TargetError, match=r"no number here \(mine\.py, line 3\)$"):
        load("raise ValueError('no number here')\n", bounds=bounds)
    with pytest.raises(TargetError, match=r"cannot be imported: MemoryError.*; it may take 200 MB \(--memory\)"):
        load("kept = bytearray(2**28)\n", bounds=bounds)
    # What it starts has no more.
    child = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'bytearray(2**29)'], check=True)\n"
    with pytest.raises(TargetError, match="CalledProcessError"):
        load(child, bounds=bounds)


@on_linux
def test_what_root_could_do_to_others_is_taken_from_an_isolated_target(load):
    says = (
        "from pathlib import Path\n"
        "def target(p, X, h0, C0):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    raise ValueError([line.split()[1] for line in lines if line.startswith(('CapPrm', 'NoNewPrivs'))])\n"
    )
    told = call_target(load(says, bounds=Bounds(isolate=True)), CASE.arrays.copy(), True).error
    permitted, no_new = re.search(r"\['(\w+)', '(\d)'\]", told).groups()
    assert no_new == "1"
    assert not int(permitted, 16) & sum(1 << capability for capability in REACHING)


def test_what_is_not_there_is_said(load):
    with pytest.raises(TargetError, match=r"mine\.py cannot be imported: OSError: no disk"):
        load("raise OSError('no disk')\n")
    with pytest.raises(TargetError, match=r"cannot be imported: the target ended the process: exit code 3"):
        load("os._exit(3)\n")


def test_a_forged_answer_is_no_answer(load):
    target = load(
        "def target(p, X, h0, C0):\n"
        "    for k in range(3, 9):\n"
        "        try: os.write(k, b'\\0' * 100)\n"
        "        except OSError: pass\n"
    )
    outcome = call_target(target, CASE.arrays.copy(), True)
    assert outcome.error


# The command


def command(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "lstm_checks", "verify", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=600,
        check=False,
    )


def test_what_a_target_prints_goes_to_standard_error_with_its_name(tmp_path):
    (tmp_path / "mine.py").write_text("from lstm_ref import LSTM\nimport os\nprint('PASS')\nos.write(1, b'low\\n')\n")
    found = command("mine.py:LSTM", "--examples", "2", "--json", "-", cwd=tmp_path)
    assert found.returncode == 0
    assert json.loads(found.stdout)["exit_code"] == 0
    assert {"mine.py:LSTM: PASS", "mine.py:LSTM: low"} <= set(found.stderr.splitlines())


def test_in_process_is_for_debuggers(tmp_path):
    (tmp_path / "mine.py").write_text(f"import os\nassert os.getppid() == {os.getpid()}\nfrom lstm_ref import LSTM\n")
    assert command("mine.py:LSTM", "--examples", "2", "--in-process", cwd=tmp_path).returncode == 0
    assert command("mine.py:LSTM", "--examples", "2", cwd=tmp_path).returncode == 2


def test_the_limits_are_in_the_help(tmp_path):
    found = " ".join(command("--help", cwd=tmp_path).stdout.split())
    assert "time limit of it all, default 3600" in found
    assert "for a program and 60 for anything else" in found


# The wire

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = PLAIN | st.lists(PLAIN) | st.dictionaries(st.text(), st.lists(PLAIN))


@given(st.lists(st.binary()), JSON)
def test_messages_arrive_however_they_are_cut(parts, head):
    whole = b"".join(pack(head, parts)) * 2
    for cut in (1, 7, len(whole)):
        reader, found = Reader(), []
        for k in range(0, len(whole), cut):
            reader.feed(whole[k : k + cut])
            while (message := reader.take()) is not None:
                found.append(message)
        assert [json.dumps(one) for one, _ in found] == [json.dumps(head)] * 2
        body = Described(found[1][1])
        assert [bytes(body.bytes(len(part))) for part in parts] == parts


@given(st.binary(min_size=16))
def test_any_bytes_are_a_message_or_none_or_an_error_of_ours(data):
    reader = Reader()
    reader.feed(data)
    with contextlib.suppress(WireError):
        while (message := reader.take()) is not None:
            assert len(message) == 2


DTYPES = ["<f8", ">f4", "|b1", "<c16", "|O", "<M8[s]", "|V9", "x", ""]
ARRAYS = st.tuples(st.just("array"), st.sampled_from(DTYPES), st.lists(st.integers(-1, 2**40)), st.booleans())


@given(JSON | ARRAYS | st.tuples(st.just("other"), JSON, JSON), st.binary(max_size=64))
def test_any_description_is_a_value_or_an_error_of_ours(described, data):
    with contextlib.suppress(WireError):
        Described(bytearray(data)).value(json.loads(json.dumps(described)))


def test_what_is_no_array_goes_as_the_name_of_its_type():
    for value in ([1], "x", 1.0, np.float64(1), object(), np.array([None]), np.zeros(2, "i4,f8")):
        described, data = describe(value, 10**6)
        assert not data
        came = Described(bytearray()).value(json.loads(json.dumps(described)))
        if isinstance(value, np.ndarray):
            assert (came.shape, came.dtype) == (value.shape, np.dtype(object))
        else:
            assert type(came).__qualname__ == type(value).__qualname__
            assert type(came).__module__ == type(value).__module__
    described, data = describe(np.zeros((10, 10)), 100)
    assert not data
    assert Described(bytearray()).value(described).shape == (10, 10)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_command_itself_computes_with_one_thread_and_leaves_its_environment_to_the_target():
    code = """
import os
for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]: del os.environ[name]
before = dict(os.environ)
from lstm_checks.commands.common import compute_with_one_thread
compute_with_one_thread()
import numpy as np
square = np.ones((500, 500)); square @ square
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("Threads")], os.environ == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['1'] True\n"
