"""`verify` as a reward function: targets that are after the reward and not the gradient fail, and the JSON says so."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import run

from lstm_checks.commands import common

RIGHT = Path(__file__).parents[2] / "examples" / "vjp_function.py"

HEAD = "import gc, sys, time\nimport numpy as np\nfrom vjp_function import lstm as right\n\n\n"

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
    return (right if X.shape[1] <= 2 else wrong)(p, X, h0, C0)
""",
    "right at first": WRONG
    + """
calls = []

def lstm(p, X, h0, C0):
    calls.append(1)
    return (right if len(calls) < 40 else wrong)(p, X, h0, C0)
""",
}

FEW = ("--examples", "12", "--max-dims", "3,4,3,3", "--seed", "random", "--no-source")


@pytest.fixture
def folder(tmp_path):
    shutil.copy(RIGHT, tmp_path)
    return tmp_path


def reward(folder, source):
    (folder / "cheat.py").write_text(HEAD + source, encoding="utf-8")
    told = run("verify", "cheat.py:lstm", *FEW, "--json", "report.json", cwd=folder)
    return told, json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_gets_no_reward(cheat, folder):
    told, report = reward(folder, CHEATS[cheat])
    assert told.returncode == report["exit_code"] == 1, told.stdout + told.stderr
    assert report["failure"]["verdict"] == "fail"


def test_what_is_right_gets_it_with_a_seed_that_is_recorded(folder):
    told, report = reward(folder, "lstm = right\n")
    assert told.returncode == report["exit_code"] == 0, told.stdout + told.stderr
    assert f"seed {report['seed']}," in told.stdout
    again = run("verify", "cheat.py:lstm", *FEW[:4], "--seed", str(report["seed"]), "--json", "again.json", cwd=folder)
    assert again.returncode == 0
    cases = [
        [one["case"] for one in found["examples"]]
        for found in (report, json.loads((folder / "again.json").read_text()))
    ]
    assert cases[0] == cases[1]


def test_a_random_seed_is_another_each_time():
    assert len({common.seed("random") for _ in range(8)}) > 1
    assert common.seed("7") == 7
    with pytest.raises(Exception, match="is not a whole number of at least 0"):
        common.seed("-1")
