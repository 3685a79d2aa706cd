"""External programs: the right one passes; whatever another does is a failure of the case, with what it did."""

import gc
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from misbehaving_program import answer

from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import FREE, MB, PLAIN, Bounds, ContractError, TimeLimitError
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.diagnosis.observe import intermediates
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.reports import claims_about
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import expect
from lstm_checks.targets.load import TargetError, load_target
from lstm_checks.targets.program import Program, program_target, target_of
from lstm_checks.tolerance import accepted

EXAMPLES = Path(__file__).parents[2] / "examples"
DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "exec.md").read_text()
CASE = Case(2, 3, 2, 3, seed=5)
AFTER_PROBES = 3


def a_program(how, first=AFTER_PROBES, last=1000, seconds=20.0, bounds=FREE):
    """Return the target of the program that misbehaves from line `first` on; the first two lines are the probes."""
    script = Path(__file__).parents[1] / "misbehaving_program.py"
    return program_target("exec:it", f"{sys.executable} {script} {how} {first} {last}", seconds, bounds=bounds)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that has ended stays as a zombie until its parent, which for orphans is not us, looks after it.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return a function that compiles the example and returns its path."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("exec c")

    def build(*defines):
        program = folder / "-".join(("program", *(d.strip("-").replace("=", "") for d in defines)))
        if not program.exists():
            options = ["-std=c99", "-pedantic", "-O2", "-Wall", "-Wextra", "-Werror", *defines]
            sources = [EXAMPLES / "program.c", EXAMPLES / "lstm.c"]
            subprocess.run([*compiler.split(), *options, "-o", program, *sources, "-lm"], check=True)
        return program

    return build


def run_command(*arguments, cwd=None, **environment):
    command = [sys.executable, "-W", "error", "-m", "lstm_checks", "verify", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False, env=os.environ | environment
    )


# The example in C


def test_the_program_in_c_passes(compiled):
    program = compiled()
    done = run_command(f"exec:./{program.name}", "--examples", "8", cwd=program.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(external program, float64 alone: to float32 it says 'this program computes in float64')" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("PASS  exec:./program: ")


def test_in_single_precision_it_is_judged_in_float32(compiled):
    program = compiled("-DREAL=float")
    done = run_command(f"exec:./{program.name}", "--examples", "6", cwd=program.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 examples in float32" in done.stdout
    assert run_command(f"exec:./{program.name}", "--dtype", "float64", cwd=program.parent).returncode == 2


def test_the_broken_twin_fails_and_its_rerun_too(compiled):
    program = compiled("-DBROKEN")
    spec = f"exec:'{program}' --an-argument"
    done = run_command(spec, "--examples", "6")
    assert done.returncode == 1
    assert done.stdout.splitlines()[2].startswith("dC0[0, 0] = 0, but should be ")
    rerun = next(line for line in done.stdout.splitlines() if "rerun" in line).split("lstm-checks verify ")[1]
    assert shlex.split(rerun)[0] == spec
    assert run_command(*shlex.split(rerun)).returncode == 1


def test_the_broken_twin_carries_nothing_from_step_to_step(compiled):
    found = verify_case(program_target("exec:c", f"'{compiled('-DBROKEN')}'", 20.0), CASE)
    assert {claim.name for claim in found.failures} >= {"dVf", "dUg", "dX", "dC0"}
    assert found.claim("h").verdict is Verdict.PASS


def test_the_program_in_c_shows_its_intermediates_where_it_is_asked_for_them(compiled):
    target = program_target("exec:c", f"'{compiled()}'", 20.0)
    assert target.caches() == {}
    call_target(target, CASE.arrays.copy(), True)
    fc, bc = intermediates(CASE.arrays)
    found = target.caches()
    assert sorted(found) == sorted(["C_", "dC_", *"figo", *(f"d{gate}_" for gate in "figo")])
    for name, values in found.items():
        np.testing.assert_allclose(values, (fc if name in fc else bc)[name], rtol=0, atol=1e-12)


def test_of_the_broken_twin_the_first_intermediate_that_departs_is_named(compiled):
    target = program_target("exec:c", f"'{compiled('-DBROKEN')}'", 20.0)
    assert diagnose(target, CASE).where[0] == (
        "first to depart of the 10 intermediates shown: dC_ of equations (8), (7), at step 2 of 3"
    )


def test_a_program_that_knows_nothing_of_intermediates_is_judged_as_ever():
    target = a_program("right")
    call_target(target, CASE.arrays.copy(), True)
    assert target.caches() == {}
    assert not verify_case(target, CASE).failures


# The documented lines


def example(kind):
    return re.search(rf"<!-- {kind} -->\n```json\n(.*?)```", DOCUMENTATION, re.S)[1]


def test_the_documented_request_is_what_a_program_is_sent(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, json\nfor line in sys.stdin:\n"
        f"    open({str(tmp_path / 'asked')!r}, 'a').write(line)\n"
        f"    print(json.dumps(json.loads({example('answer')!r}) | {{'id': json.loads(line)['id']}}), flush=True)\n"
    )
    program = Program([sys.executable, str(script)], 20.0)
    arrays = Case(1, 1, 1, 1, seed=0).arrays
    program.ask(arrays.inputs, {})
    outputs, gradients = program.ask(arrays.inputs, arrays.cotangents)
    forward, full = map(json.loads, (tmp_path / "asked").read_text().splitlines())
    assert full == json.loads(example("request"))
    assert forward == {key: value for key, value in full.items() if key != "cotangents"} | {"id": 1}
    expected = expect(Case(1, 1, 1, 1, seed=0))
    assert set(outputs | gradients) == set(expected.values)
    for name, value in (outputs | gradients).items():
        assert np.all(np.abs(value - expected.values[name]) <= accepted(expected.sd[name], "float64")), name


def test_the_program_in_c_gives_the_documented_answer(compiled):
    request = json.dumps(json.loads(example("request")))
    done = subprocess.run(
        [compiled()], input=request + "\n" + request + "\n", capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    due = json.loads(example("answer"))
    for line in done.stdout.splitlines():
        came = json.loads(line)
        assert came.keys() == due.keys()
        for group in ("outputs", "gradients"):
            assert came[group].keys() == due[group].keys()
            for name, (text,) in came[group].items():
                assert abs(float.fromhex(text) - float.fromhex(due[group][name][0])) < 1e-14
    assert len(done.stdout.splitlines()) == 2


# What a program can do wrong


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (
            "exit",
            "the program ended with exit code 3 without an answer; it said: first words | no weights here",
        ),
        ("end", "the program ended with exit code 0 without an answer (it has to go on until its input ends)"),
        ("signal", "the program ended with SIGSEGV without an answer"),
        ("half", 'the program ended with exit code 0 in the middle of a line, \'{"id": 3, '),
        ("garbage", "the program answered 'loading model ...', expected a line of JSON"),
        ("number", "the program answered '17', expected a JSON object"),
        ("two-lines", 'the program wrote more than one line, the second begins \'{"id": 3, '),
        ("bytes", "the program answered '\\x00\N{REPLACEMENT CHARACTER}', expected a line of JSON"),
        ("deep", "expected a line of JSON"),
        ("endless", "the program's answer exceeds 1"),
        ("other-id", "the answer's id is '99', expected 3: one line for each case"),
        ("no-list", "h is a float, expected a flat list of numbers"),
        ("word", "h[0] is '\"0.5\"', expected a hexadecimal float such as '0x1.8p-3'"),
        ("huge", "h[0] is '1000"),
        ("other-name", "outputs has 'hn', expected h and Cn"),
        ("unknown", "unsupported is '[\"dW\"]', expected a list of any of "),
        ("error", "the program reports an error: 'u is 3, only 8 will do'"),
    ],
)
def test_what_is_no_answer_fails_that_case_and_the_next_is_asked_again(how, words):
    target = a_program(how, AFTER_PROBES, AFTER_PROBES + 1)
    outcome = call_target(target, CASE.arrays, True)
    assert outcome.error.startswith(words) or words in outcome.error
    assert "\n" not in outcome.error
    assert verify_case(target, CASE).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("how", "name", "words"),
    [
        ("nan", "h", "h[0, 0, 0] = nan, but should be finite"),
        ("short", "dUf", "dUf has shape (7,), expected (e, u) = (2, 3)"),
        ("reversed", "dVo", "dVo["),
    ],
)
def test_a_wrong_answer_is_judged_by_its_tensor(how, name, words):
    found = verify_case(a_program(how), CASE)
    assert found.failures[0].name == name
    assert words in found.claim(name).discrepancy.message


def test_a_number_that_float32_does_not_have_is_said():
    found = verify_case(a_program("double"), Case(2, 3, 2, 3, dtype="float32"))
    assert found.claim("dUf").discrepancy.message == "dUf has dtype float64, expected float32, as the inputs"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("how", ["right", "decimal", "chatty"])
def test_what_is_right_passes(how, dtype):
    assert verify_case(a_program(how), Case(2, 3, 2, 3, dtype=dtype)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("how", "lacks"), [("lacking", {"dX", "dh0", "dhn", "dCn"}), ("no-states", {"initial states", "dh0", "dC0"})]
)
def test_what_a_program_lacks_is_unsupported(how, lacks):
    target = a_program(how, 0)
    assert target.lacks == lacks | {"last step only"}
    report = verify(target, examples=3)
    assert report.exit_code == 0
    for name in lacks & set(PLAIN.gradients):
        assert set(report.claim_counts[name]) == {Verdict.UNSUPPORTED}


def test_outputs_without_gradients_are_nothing_passed():
    target = a_program("forward", 0)
    assert target.lacks >= set(PLAIN.gradients)
    found = verify_case(target, CASE)
    assert found.claim("h").verdict is Verdict.PASS
    assert found.claim("dUf").verdict is Verdict.UNSUPPORTED


def test_a_program_with_one_dtype_says_why():
    target = a_program("no-float64", 0)
    assert target.dtypes == ("float32",)
    assert target.kind == "external program, float32 alone: to float64 it says 'single precision only'"


# Time, and the end


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("hang", "no answer within 4 s; it said: thinking"),
        ("half-hang", 'no answer within 4 s but half a line, \'{"id": 1, "outp\''),
        ("deaf", "no answer within 4 s"),
    ],
)
def test_a_hang_is_a_failure_of_its_case(how, words):
    target = a_program(how, AFTER_PROBES, AFTER_PROBES + 1, 4.0)
    outcome = call_target(target, CASE.arrays, True)
    assert (outcome.timed_out, outcome.error) == (True, words)
    assert not call_target(target, CASE.arrays, True).error


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory of a process")
def test_a_program_has_no_more_memory_than_it_may_have():
    target = a_program("greedy", bounds=Bounds(memory=400 * MB))
    error = call_target(target, CASE.arrays.copy(), True).error
    assert re.search(r"exit code 1 without an answer; it said: .*MemoryError; it may take 400 MB \(--memory\)", error)
    assert not call_target(a_program("greedy", bounds=Bounds(memory=4000 * MB)), CASE.arrays.copy(), True).error
    # The program's own children are closed off from others as it is itself.
    says = "import json, sys; sys.stdin.readline(); print(open('/proc/self/status').read(), file=sys.stderr)"
    program = Program([sys.executable, "-c", says], 20.0, bounds=Bounds(isolate=True))
    with pytest.raises(ContractError):
        program.ask(CASE.arrays.inputs, {})
    assert b"NoNewPrivs:\t1" in program._said


def test_a_program_that_hangs_does_not_hold_up_the_harness():
    started = time.monotonic()
    report = verify(a_program("hang", seconds=1.0), examples=100)
    assert time.monotonic() - started < 20
    assert (len(report.examples), report.exit_code) == (1, 1)
    assert report.failure.failures[0].discrepancy.message.startswith("no answer within 1 s")


def test_the_limit_comes_from_the_command_or_the_environment(monkeypatch):
    spec = f"exec:{sys.executable} {Path(__file__).parents[1] / 'misbehaving_program.py'} hang 1 1000"
    told = run_command(spec, "--case", CASE.descriptor, "--timeout", "0.5")
    assert told.returncode == 1
    assert told.stdout.startswith("no answer within 0.5 s")
    monkeypatch.setenv("LSTM_CHECKS_TIMEOUT", "0.6")
    assert call_target(load_target(spec), CASE.arrays, True).error.startswith("no answer within 0.6 s")
    monkeypatch.setenv("LSTM_CHECKS_TIMEOUT", "soon")
    with pytest.raises(TargetError, match="the time limit is 'soon', expected a number of seconds above 0"):
        load_target(spec)
    assert run_command(spec, "--timeout", "0").returncode == 2


def test_a_layer_that_hangs_is_a_failure_too(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lstm_ref import LSTM\nclass Slow(LSTM):\n    def backward(self, dA, dhn=None, dCn=None):\n"
        "        while dA.shape[1] > 4: pass\n        return super().backward(dA, dhn, dCn)\n"
    )
    target = load_target(f"{tmp_path}/mine.py:Slow", timeout=0.5)
    assert verify_case(target, Case(1, 4, 1, 1)).verdict is Verdict.PASS
    found = verify_case(target, Case(1, 5, 1, 1))
    assert found.timed_out
    assert found.failures[0].discrepancy.message == "no answer within 0.5 s"


def test_the_alarm_that_was_set_before_is_put_back():
    before, rang = signal.getsignal(signal.SIGALRM), []
    try:
        signal.signal(signal.SIGALRM, lambda *ignored: rang.append(True))
        signal.setitimer(signal.ITIMER_REAL, 30.0)
        call_target(load_target("lstm_ref:LSTM", timeout=5.0), CASE.arrays, True)
        assert 0 < signal.setitimer(signal.ITIMER_REAL, 0)[0] <= 30.0
        signal.raise_signal(signal.SIGALRM)
        assert rang
    finally:
        signal.signal(signal.SIGALRM, before)


def test_nothing_is_left_running(tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}} {{child.pid}} ')\n"
        "for line in sys.stdin: time.sleep(600)\ntime.sleep(600)\n"
    )
    program = Program([sys.executable, str(tmp_path / "program.py")], 1.0)
    with pytest.raises(TimeLimitError):
        program.ask(CASE.arrays.inputs, {})
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    # What is killed ends when the machine gets to it.
    end = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, pids))


DAEMON = """
import os, sys, time
def detach():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(PIDS, "a").write(f"{os.getpid()} ")
            os.environ.clear()
            time.sleep(600)
        os._exit(0)
    os.wait()
detach()
for line in sys.stdin:
    END
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there are no child subreapers")
@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit(3)", "detach(); print('[]', flush=True)", "os.abort()"])
def test_no_daemon_is_left_running(tmp_path, end):
    text = DAEMON.replace("PIDS", repr(str(tmp_path / "pids"))).replace("END", end)
    (tmp_path / "daemon.py").write_text(text)
    program = Program([sys.executable, str(tmp_path / "daemon.py")], 5.0)
    with pytest.raises(ContractError) as caught:
        program.ask(CASE.arrays.inputs, {})
    assert ("exit code 3" in str(caught.value)) == (end == "sys.exit(3)")
    assert ("SIGABRT" in str(caught.value)) == (end == "os.abort()")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 1 + end.startswith("detach")
    assert not any(map(alive, pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there are no child subreapers")
def test_no_daemon_outlives_a_harness_that_is_killed(tmp_path):
    text = DAEMON.replace("PIDS", repr(str(tmp_path / "pids"))).replace("END", "time.sleep(600)")
    (tmp_path / "daemon.py").write_text(text)
    code = (
        "import sys\nfrom lstm_checks.targets.program import Program\nfrom lstm_checks.cases import Case\n"
        f"Program([sys.executable, {str(tmp_path / 'daemon.py')!r}], 600.0).ask(Case(1, 1, 1, 1).arrays.inputs, {{}})\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < end:
        time.sleep(0.05)
    harness.kill()
    harness.wait()
    pid = int((tmp_path / "pids").read_text())
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid)


NUMBERS = st.sampled_from(["0x1p+1023", "-0x1p+1023", "0x0.0000000000001p-1022", "nan", "inf", 1e308, 0, -0.0])
ODD = st.one_of(
    NUMBERS,
    st.integers(-(2**64), 2**64) | st.floats() | st.booleans() | st.none() | st.text(max_size=3),
    st.sampled_from([10**400, "0x1p+9999", [], {}, [[0]], ["0x1p+0"] * 3]),
)
NAMES = st.sampled_from([*claims_about(PLAIN), "dzz", "", "unsupported", "error"])


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_program_answers_is_said_of_the_program(data):
    how = data.draw(st.sampled_from(["entry", "list", "name", "group", "line"]))
    group, name, odd = data.draw(st.sampled_from(["outputs", "gradients"])), data.draw(NAMES), data.draw(ODD)

    def change(request):
        result = answer(request)
        numbers = result.get(group, {})
        if how == "entry" and numbers.get(name):
            numbers[name][data.draw(st.integers(0, len(numbers[name]) - 1))] = odd
        elif how == "list" and name in numbers:
            numbers[name] = odd
        elif how == "name":
            result.setdefault(group, {})[name] = data.draw(st.sampled_from([["0x1p+0"], [], None, odd]))
        elif how == "group":
            result[data.draw(st.sampled_from(["id", "outputs", "gradients", "unsupported", "error"]))] = odd
        return json.dumps(odd if how == "line" else result).encode()

    program = Program(["never-started"], 1.0)
    program._exchange = lambda line, most: change(json.loads(line))
    program._stop = lambda: None
    target = target_of("odd", program)
    found = verify_case(target, Case(1, 2, 2, 1))
    assert not found.mistrusted
    assert found.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNSUPPORTED)
    for claim in found.failures:
        assert claim.discrepancy is None or "\n" not in claim.discrepancy.message


def test_it_is_ended_with_the_harness_and_when_no_longer_needed(tmp_path):
    script = Path(__file__).parents[1] / "misbehaving_program.py"
    code = (
        "import sys\nfrom lstm_checks.targets.program import Program\nfrom lstm_checks.cases import Case\n"
        f"p = Program([sys.executable, {str(script)!r}, 'right', '0', '0'], 20.0)\n"
        "p.ask(Case(1, 1, 1, 1).arrays.inputs, {})\nprint(p._process.pid, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert not alive(int(done.stdout))
    program = Program([sys.executable, str(script), "right", "0", "0"], 20.0)
    program.ask(CASE.arrays.inputs, {})
    pid = program._process.pid
    del program
    gc.collect()
    assert not alive(pid)


# What cannot be started


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("./lstn", "there is no program './lstn'; did you mean ./lstm?"),
        ("", "no program is named, expected exec:./program"),
        ("'./lstm", "cannot be split into words: No closing quotation"),
        ("./plain.txt", "'./plain.txt' is not executable: chmod +x ./plain.txt"),
        ("lstm", "'lstm' is not on PATH; did you mean ./lstm?"),
    ],
)
def test_a_program_that_cannot_be_had_is_said_at_once(tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lstm").write_text("#!/bin/sh\n")
    (tmp_path / "lstm").chmod(0o755)
    (tmp_path / "plain.txt").write_text("text")
    with pytest.raises(TargetError, match=re.escape(words)):
        load_target(f"exec:{command}")


def test_a_file_that_is_no_program_fails_its_cases(tmp_path):
    (tmp_path / "nonsense").write_bytes(b"\x00\x01")
    (tmp_path / "nonsense").chmod(0o755)
    found = verify_case(load_target(f"exec:{tmp_path}/nonsense"), CASE)
    assert "cannot be started: Exec format error" in found.failures[0].discrepancy.message
