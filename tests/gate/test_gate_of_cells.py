"""The gate judges targets of other cells and of networks: examples, vectors, faults and speed are those of the cell."""

import pytest
from test_gate import read

from lstm_checks.gate.baseline import settings_of, speed_settings_of
from lstm_checks.gate.config import ConfigError
from lstm_checks.gate.jobs import JOBS
from lstm_checks.gate.verdict import jobs_of
from lstm_checks.strategies import NETWORK_DIMS
from lstm_ref.cells import cell_named

TARGET = 'targets = ["examples/gru_function.py:gru"]\n'


def test_a_cell_and_its_layers_are_one_name_and_reach_every_judgement(tmp_path):
    config = read(tmp_path, TARGET + 'cell = "gru_reset_after"\n[faults]\n[speed]\ntarget = "a:b"\nthan = "c:d"\n')
    assert config.cell == config.speed.cell == settings_of(config)["cell"] == "gru_reset_after"
    assert speed_settings_of(config)["cell"] == "gru_reset_after"
    assert {job["cell"] for job in jobs_of(config).values()} == {"gru_reset_after"}
    net = read(tmp_path, 'targets = ["torch"]\nlayers = 2\nbidirectional = true\n')
    assert (net.cell, net.max_dims) == ("plain@2xboth", NETWORK_DIMS)
    assert read(tmp_path, 'targets = ["torch"]\nbidirectional = true\n').cell == "plain@1xboth"
    # What was taken before there were cells is still compared with.
    assert "cell" not in settings_of(read(tmp_path, 'targets = ["a:b"]\ncell = "plain"\n'))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('cell = "grue"\n', "line 2: key 'cell' is 'grue', expected one of plain, coupled"),
        ('cell = "gru"\nwithout = ["dC0"]\n', "line 3: key 'without' names 'dC0', expected one of dUr"),
        ('cell = "gru@2xboth"\nlayers = 3\n', "line 3: key 'layers' is given, but the cell gru@2xboth is a network"),
        (
            'cell = "plain,g=relu"\n',
            "line 2: key 'cell' asks for certified vectors, and no vectors of the cell plain,g=relu",
        ),
        ("layers = 3\n", "no vectors of the network plain@3xforward came with lstm-checks"),
        ("layers = 12\n", "line 2: key 'layers' is 12: '12xforward', expected"),
    ],
)
def test_a_cell_that_cannot_be_judged_so_is_said(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, TARGET + text)
    assert words in str(caught.value)
    if "vectors" in words:
        assert read(tmp_path, TARGET + text + "vectors = false\n").cell


def test_each_job_is_done_of_the_cell(tmp_path):
    config = read(tmp_path, TARGET + 'cell = "gru_reset_after"\nexamples = 6\nmax-dims = [2, 4, 3, 3]\n')
    jobs = jobs_of(config)
    ((_, verify), (_, vectors)) = sorted(jobs.items(), key=lambda found: found[0] != ("verify", *found[0][1:]))
    said = JOBS["verify"](verify)
    assert said["gradients"] == list(cell_named("gru_reset_after").gradients)
    assert said["failed"] == []
    assert said["verdicts"]["pass"] >= 4
    assert JOBS["vectors"](vectors)["counts"] == {"pass": 5, "fail": 0, "unsupported": 0}
    wrong = JOBS["verify"]({**verify, "cell": "gru"})
    assert wrong["failed"]


def test_a_network_is_asked_the_faults_of_its_composition(tmp_path):
    job = {"job": "faults", "seed": 0, "dtype": "float64", "examples": 4, "max-dims": [2, 3, 2, 2]}
    found = JOBS["faults"]({**job, "regimes": ["normal"], "cell": "rnn@1xreverse"})
    assert len(found["caught"]) >= 15
    assert all("reverse" in id or not id.startswith("layer 1, ") for id in found["caught"])
    assert found["examples"] == 4


def test_a_round_is_timed_by_the_cases_that_were_named():
    job = {"target": "examples/gru_function.py:gru", "than": "examples/gru_function.py:gru", "seconds": 0.02}
    case = "m1s1e1u1-float64-seed0"
    found = JOBS["time"]({**job, "cell": "gru_reset_after", "cases": [case], "check": True})
    assert list(found) == [case]
