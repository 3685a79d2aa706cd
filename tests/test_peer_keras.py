"""Keras's own LSTM, on PyTorch or whatever backend is chosen, through the same harness."""

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("needs Keras", allow_module_level=True)

from checks.cases import Case
from checks.compare import Verdict
from checks.report.text import render_report
from checks.targets import TargetError, load_target
from checks.verify import verify, verify_case

pytestmark = pytest.mark.peer

FILE = """
import keras

class Plain(keras.layers.LSTM):
    pass

def states(units):
    return keras.layers.LSTM(units, return_sequences=True)

def gru(units):
    return keras.layers.GRU(units)

layer = keras.layers.LSTM(3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "layers.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lstm_passes(dtype):
    report = verify(load_target("keras"), examples=100, seed=1, dtypes=(dtype,))
    assert report.exit_code == 0, render_report(report)
    assert len(report.examples) == 100


def test_layers_are_found_out_with_what_they_lack(folder):
    target = load_target("layers.py:Plain")
    assert target.kind.startswith("Keras layer Plain on ")
    assert target.unsupported == ()
    assert verify_case(target, Case(2, 3, 4, 5), thorough=False).verdict is Verdict.PASS
    target = load_target("layers.py:states")
    assert set(target.unsupported) == {"Cn", "dCn"}
    assert verify_case(target, Case(2, 3, 4, 5, cotangents="every"), thorough=False).verdict is Verdict.PASS


def test_what_is_no_lstm_is_refused(folder):
    with pytest.raises(TargetError, match=r"the weights of layers.py:gru are not those of one LSTM"):
        load_target("layers.py:gru")
    with pytest.raises(TargetError, match="is an instance of LSTM, of fixed sizes"):
        load_target("layers.py:layer")


def test_on_jax():
    """In a process of its own: Keras has one backend."""
    pytest.importorskip("jax")
    case = "m2s3e4u5-float32-seed0"
    found = subprocess.run(
        [sys.executable, "-m", "checks", "verify", "keras", "--case", case],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "PASS" in found.stdout
