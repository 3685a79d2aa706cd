"""Keras's own LSTM, on PyTorch or whatever backend is chosen, through the same harness."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("needs Keras", allow_module_level=True)

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

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

def lstm(units, **options):
    return keras.layers.LSTM(units, return_sequences=True, return_state=True, **options)

def sequential(units): return keras.Sequential([keras.layers.LSTM(units, return_sequences=True)])
def frozen(units): return lstm(units, trainable=False)
def no_bias(units): return lstm(units, use_bias=False)
def relu(units): return lstm(units, activation="relu")
def hard(units): return lstm(units, recurrent_activation="hard_sigmoid")
def all_other(units): return lstm(units, activation="leaky_relu", recurrent_activation="softsign")
def silu(units): return lstm(units, activation="silu")
def gelu(units): return lstm(units, activation="gelu")

class Several(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.first, self.second = keras.layers.LSTM(units, return_sequences=True), hard(units)
    def call(self, x): return self.second(self.first(x))
def dropping(units): return lstm(units, recurrent_dropout=0.5)
def inner(units): return keras.layers.RNN(keras.layers.LSTMCell(units, activation="relu"), return_sequences=True)

class Rounding(keras.layers.LSTMCell):
    # All in float64 but for the memory.
    def call(self, x, states, training=False):
        h, (h, C) = super().call(x, states, training=training)
        return h, [h, keras.ops.cast(keras.ops.cast(C, "float32"), C.dtype)]
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
    # On JAX alone it computes in float32.
    dtype = target.dtypes[-1]
    assert verify_case(target, Case(2, 3, 4, 5, dtype=dtype), thorough=False).verdict is Verdict.PASS
    target = load_target("layers.py:states")
    assert set(target.unsupported) == {"Cn", "dCn"}
    case = Case(2, 3, 4, 5, dtype=dtype, cotangents="every")
    assert verify_case(target, case, thorough=False).verdict is Verdict.PASS


def test_a_sequential_of_one_lstm_passes_without_states(folder):
    target = load_target("layers.py:sequential")
    assert {"initial states", "dh0", "dC0"} <= set(target.unsupported)
    report = verify(target, examples=10, dtypes=target.dtypes[-1:], max_dims=(2, 2, 2, 2))
    assert report.exit_code == 0, render_report(report)


def test_a_layer_without_biases_is_judged_and_these_are_unsupported(folder):
    target = load_target("layers.py:no_bias")
    assert set(target.unsupported) == {f"{d}b{gate}" for gate in "figo" for d in ("", "d")}
    report = verify_case(target, Case(2, 3, 4, 5, dtype=target.dtypes[-1], seed=1), thorough=False)
    assert report.verdict is Verdict.PASS
    assert report.claim("dVo").verdict is Verdict.PASS
    assert not any(report.case.arrays[f"b{gate}"].any() for gate in "figo")


def test_weights_that_do_not_learn_are_said_and_their_gradients_not_passed(folder):
    target = load_target("layers.py:frozen")
    assert target.notes[-1] == "mask not given: lengths and masks are not judged"
    assert len(target.notes) == 4
    assert all("does not learn, it is not trainable" in note for note in target.notes[:3])
    assert {name for name in PLAIN.gradients if name[1] in "UVb"} <= target.lacks
    report = verify_case(target, Case(2, 3, 4, 5, dtype=target.dtypes[-1]), thorough=False)
    assert report.verdict is Verdict.PASS
    assert report.claim("dUf").verdict is Verdict.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Several", "has LSTMs of several activations, plain and plain,f=hardsigmoid6, expected those of one"),
        ("gelu", "has activation gelu, which is none of sigmoid, tanh, affine, relu,"),
        ("dropping", "has recurrent_dropout=0.5, expected 0"),
    ],
)
def test_what_is_more_or_less_than_a_plain_lstm_is_refused_with_the_reason(folder, name, words):
    with pytest.raises(TargetError) as raised:
        load_target(f"layers.py:{name}")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("relu", "plain,g=relu,h=relu"),
        ("inner", "plain,g=relu,h=relu"),
        ("hard", "plain,f=hardsigmoid6"),
        ("silu", "plain,g=swish,h=swish"),
        ("all_other", "plain,f=softsign,g=leakyrelu:0.2,h=leakyrelu:0.2"),
    ],
)
def test_a_layer_of_other_activations_is_judged_as_the_cell_that_they_make(folder, name, cell):
    target = load_target(f"layers.py:{name}")
    assert target.cell is cell_named(cell)
    assert load_target(f"layers.py:{name}", cell=target.cell).cell is target.cell
    with pytest.raises(TargetError, match=f"by its own options, --cell {cell}, expected coupled"):
        load_target(f"layers.py:{name}", cell=cell_named("coupled"))
    # In float32 alone: PyTorch's derivative of the hard sigmoid is a sixth in float32 whatever comes, which is found.
    report = verify(target, examples=10, dtypes=("float32",), max_dims=(3, 5, 4, 4))
    assert report.exit_code == 0, render_report(report)
    assert report.claim_counts["dUf"][Verdict.PASS] > 2
    wrong = replace(target, cell=cell_named("plain"))
    case = Case(2, 3, 4, 5, dtype=target.dtypes[-1], cotangents="every")
    assert verify_case(wrong, case, thorough=False).failures


def test_a_cell_that_rounds_inside_is_judged_in_float32(folder):
    assert load_target("layers.py:Rounding").dtypes == ("float32",)


def test_what_is_no_lstm_is_refused(folder):
    with pytest.raises(TargetError, match=r"layers.py:gru is a Keras layer GRU on .* but cannot be called as one: "):
        load_target("layers.py:gru")
    with pytest.raises(TargetError, match="is an instance of LSTM, of fixed sizes"):
        load_target("layers.py:layer")


def test_on_jax():
    """In a process of its own: Keras has one backend."""
    pytest.importorskip("jax")
    case = "m2s3e4u5-float32-seed0"
    found = subprocess.run(
        [sys.executable, "-m", "lstm_checks", "verify", "keras", "--case", case],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "PASS" in found.stdout
