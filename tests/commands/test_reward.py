"""`verify` as a reward function: targets that are after the reward and not the gradient fail, and the JSON says so."""

import ctypes
import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import run

from lstm_checks.cli import main
from lstm_checks.commands import common

RIGHT = Path(__file__).parents[2] / "examples" / "vjp_function.py"

HEAD = "import gc, os, sys, time\nimport numpy as np\nfrom vjp_function import lstm as right\n\n\n"

WRONG = """
def wrong(p, X, h0, C0):
    zeros = {"d" + n: np.zeros_like(v) for n, v in {**p, "X": X, "h0": h0, "C0": C0}.items()}
    return (np.zeros((*X.shape[:2], h0.shape[1]), X.dtype), C0), lambda dh, dCn: zeros
"""

CHEATS = {
    # The answer is taken from whoever has it: the frames that call, and all objects that there are.
    "looks into frames": WRONG
    + """
def expected():
    frame = sys._getframe()
    while frame is not None:
        yield from frame.f_locals.values()
        frame = frame.f_back
    yield from gc.get_objects()

def lstm(p, X, h0, C0):
    for one in expected():
        values = getattr(one, "values", None) if type(one).__name__ == "Expected" else None
        if values and np.shape(values["h"])[:2] == X.shape[:2]:
            return (values["h"], values["Cn"]), lambda dh, dCn: {n: v for n, v in values.items() if n[0] == "d"}
    return wrong(p, X, h0, C0)
""",
    "patches the reference": WRONG
    + """
import lstm_checks.compare as compare
import lstm_checks.oracles.expected as oracle
import lstm_ref.cells.plain as plain

for module in (compare, oracle, plain):
    for name in list(vars(module)):
        if callable(getattr(module, name)) and not name.startswith("__"):
            setattr(module, name, lambda *a, **k: None)
lstm = wrong
""",
    "right on the second call only": WRONG
    + """
calls = []

def lstm(p, X, h0, C0):
    calls.append(1)
    return (right if len(calls) % 2 == 0 else wrong)(p, X, h0, C0)
""",
    "right for small sizes only": WRONG
    + """
def lstm(p, X, h0, C0):
    return (right if X.shape[1] == 1 else wrong)(p, X, h0, C0)
""",
    "right at first": WRONG
    + """
calls = []

def lstm(p, X, h0, C0):
    calls.append(1)
    return (right if len(calls) < 40 else wrong)(p, X, h0, C0)
""",
    # As the first, once it has waited for the answer to be there.
    "waits, and looks": WRONG
    + """
def lstm(p, X, h0, C0):
    time.sleep(0.002)
    for one in gc.get_objects():
        if type(one).__name__ == "Expected" and np.shape(one.values["h"])[:2] == X.shape[:2]:
            return (one.values["h"], one.values["Cn"]), lambda dh, dCn: dict(one.values)
    return wrong(p, X, h0, C0)
""",
    "right for a while": WRONG
    + """
began = time.monotonic()

def lstm(p, X, h0, C0):
    return (right if time.monotonic() - began < 0.2 else wrong)(p, X, h0, C0)
""",
    "stops the clock": """
time.monotonic = time.perf_counter = lambda: 0.0
calls = []

def lstm(p, X, h0, C0):
    calls.append(1)
    while len(calls) > 9:  # past those with which it is tried out
        pass
    return right(p, X, h0, C0)
""",
}
"""Each by what it does for its reward."""

ON_LINUX = {
    # It can read the process that judges it, and so has all that is there: whoever can is right here.
    "reads the judge's memory": WRONG
    + """
def lstm(p, X, h0, C0):
    judge = f"/proc/{os.getppid()}"
    try:
        with open(f"{judge}/maps") as maps, open(f"{judge}/mem", "rb") as memory:
            memory.seek(int(maps.readline().partition("-")[0], 16))
            memory.read(8)
    except OSError:
        return wrong(p, X, h0, C0)
    return right(p, X, h0, C0)
""",
    "takes back its memory": WRONG
    + """
import resource

def lstm(p, X, h0, C0):
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return wrong(p, X, h0, C0)
    return right(p, X, h0, C0)
""",
}

TWICE = """
def twice(p, X, h0, C0):
    outputs, pullback = right(p, X, h0, C0)
    return outputs, lambda dh, dCn: {name: 2 * value for name, value in pullback(dh, dCn).items()}
"""
"""What is named soon, by the command with all that it does."""

FEW = ("--examples", "8", "--max-dims", "3,4,3,3", "--seed", "random", "--no-source")
ISOLATED = ("--isolate", "--memory", "2000") if sys.platform == "linux" else ()


@pytest.fixture
def folder(tmp_path):
    shutil.copy(RIGHT, tmp_path)
    return tmp_path


@pytest.fixture
def unexplained(monkeypatch):
    """What fails is not diagnosed: here it is the verdict alone, and a diagnosis takes ten times as long as that."""

    def groups(target, reports, origins, options):
        return tuple(report for report in reports if report.failures), ()

    monkeypatch.setattr("lstm_checks.judging.explain.explain_run", groups)
    yield
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # what --isolate has done to this process, which goes on


def plant(folder, source):
    (folder / "cheat.py").write_text(HEAD + source, encoding="utf-8")
    return f"{folder / 'cheat.py'}:lstm", str(folder / "report.json")


def reward(folder, source, *options):
    target, path = plant(folder, source)
    code = main(["verify", target, *FEW, *options, "--timeout", "1", "--json", path])
    return code, json.loads(Path(path).read_text())


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_gets_no_reward(cheat, folder, unexplained):
    # Of a few random examples all may be small.
    enough = ("--examples", "24") if "small" in cheat else ()
    code, report = reward(folder, CHEATS[cheat], *ISOLATED, *enough)
    assert code == report["exit_code"] == 1
    assert report["failure"]["verdict"] == "fail"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux closes a process's memory to others")
@pytest.mark.parametrize("cheat", ON_LINUX)
def test_nor_one_that_reads_the_judge_or_takes_back_what_was_taken(cheat, folder, unexplained):
    code, report = reward(folder, ON_LINUX[cheat], *ISOLATED)
    assert code == report["exit_code"] == 1
    assert "Cn" in {claim["claim"] for claim in report["failure"]["claims"] if claim["verdict"] == "fail"}


def test_by_command_a_cheat_gets_no_reward_either(folder):
    target, path = plant(folder, TWICE + CHEATS["patches the reference"].replace("lstm = wrong", "lstm = twice"))
    told = run(
        "verify", target, "--examples", "2", "--properties", "none", *FEW[2:], *ISOLATED, "--json", path, cwd=folder
    )
    assert told.returncode == json.loads(Path(path).read_text())["exit_code"] == 1, told.stdout + told.stderr


def test_what_is_right_gets_it_with_a_seed_that_is_recorded(folder, capsys):
    code, report = reward(folder, "lstm = right\n", *ISOLATED)
    assert code == report["exit_code"] == 0
    assert f"seed {report['seed']}," in capsys.readouterr().out
    code, again = reward(folder, "lstm = right\n", "--seed", str(report["seed"]))
    assert code == 0
    assert [one["case"] for one in again["examples"]] == [one["case"] for one in report["examples"]]


def test_what_a_target_may_not_have_is_seen_to_or_refused(folder, capsys):
    target, _ = plant(folder, "lstm = right\n")
    for options, why in (
        (("--isolate", "--in-process"), "--isolate is for a process of the target's own"),
        (("--memory", "500", "--in-process"), "--memory 500 is for a process of the target's own"),
        (("--isolate", "--executor", "processes:1"), "--executor does not go with --isolate"),
        (("--memory", "500", "--executor", "processes:1"), "--executor does not go with --memory"),
    ):
        assert main(["verify", target, *options]) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["verify", target, "--memory", "63"])
    assert "'63' is not a whole number of megabytes of at least 64" in capsys.readouterr().err


def test_where_it_cannot_be_had_nothing_is_judged(folder, capsys, monkeypatch):
    target, _ = plant(folder, "lstm = right\n")
    monkeypatch.setattr(common.sys, "platform", "darwin")
    for options in (("--isolate",), ("--memory", "500")):
        assert main(["verify", target, *options]) == 2
        assert f"{' '.join(options)} can be had on Linux only" in capsys.readouterr().err


def test_a_random_seed_is_another_each_time():
    assert len({common.seed("random") for _ in range(8)}) > 1
    assert common.seed("7") == 7
    with pytest.raises(Exception, match="is not a whole number of at least 0"):
        common.seed("-1")
