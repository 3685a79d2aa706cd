"""Keras's stacks: Bidirectional, several layers, go_backwards, masks, right and wrong."""

import importlib.util

import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("needs Keras", allow_module_level=True)

from lstm_checks.cases import LENGTHS, Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer

FILE = """
import keras
from keras import layers as L

BOTH = {"return_sequences": True}

def lstm(u, **more): return L.LSTM(u, return_sequences=True, **more)

def both(units): return L.Bidirectional(L.LSTM(units, return_sequences=True, return_state=True))
def added(units): return L.Bidirectional(L.GRU(units, return_sequences=True), merge_mode="sum")
def backwards(units): return L.LSTM(units, go_backwards=True, return_sequences=True, return_state=True)
def deep(units): return keras.Sequential([L.Bidirectional(lstm(units, use_bias=False)) for _ in "12"])
def masked(units): return keras.Sequential([L.Masking(), lstm(units), lstm(units)])
def relu(units): return keras.Sequential([lstm(units, activation="relu") for _ in "12"])
def cells(units): return L.RNN([L.LSTMCell(units) for _ in "12"], return_sequences=True, return_state=True)
def old_gru(units): return L.GRU(units, reset_after=False, use_bias=False, return_sequences=True)

def mean(units): return L.Bidirectional(lstm(units), merge_mode="ave")
def uneven(units): return keras.Sequential([L.Bidirectional(lstm(units)), lstm(units)])
def stateful(units): return L.Bidirectional(lstm(units, stateful=True))
def frozen(units): return keras.Sequential([lstm(units), lstm(units, trainable=False)])
def headed(units): return keras.Sequential([lstm(units), lstm(units), L.Dense(3)])

class Two(L.Layer):
    # Two layers with a mask and states, as people write them.
    def __init__(self, units, bug=""):
        super().__init__()
        whole = {"return_sequences": True, "return_state": True}
        self.one, self.two = (L.Bidirectional(L.LSTM(units, **whole)) for _ in "12")
        self.bug = bug

    def call(self, x, initial_state=None, mask=None):
        low, high = (None, None) if initial_state is None else (initial_state[:4], initial_state[4:])
        if self.bug == "states":
            high = low
        y, *first = self.one(x, initial_state=low, mask=mask)
        if self.bug == "order":
            y = keras.ops.concatenate(keras.ops.split(y, 2, axis=-1)[::-1], axis=-1)
        if self.bug == "one direction":
            half = keras.ops.split(y, 2, axis=-1)[0]
            y = keras.ops.concatenate([half, half], axis=-1)
        z, *second = self.two(y, initial_state=high, mask=None if self.bug == "mask" else mask)
        if self.bug == "finals":
            first, second = second, first
        return [z, *first, *second]

class FlipForgotten(L.Layer):
    def __init__(self, units):
        super().__init__()
        self.there, self.back = lstm(units), lstm(units, go_backwards=True)

    def call(self, x, mask=None):
        return keras.ops.concatenate([self.there(x, mask=mask), self.back(x, mask=mask)], axis=-1)

class Sliding(L.Layer):
    # Right by prefix masks alone: what is masked is cut off behind the last step that is not.
    def __init__(self, units):
        super().__init__()
        self.one, self.two = lstm(units), lstm(units)

    def call(self, x, mask=None):
        if mask is not None:
            count = keras.ops.sum(keras.ops.cast(mask, "int32"), axis=1)
            mask = keras.ops.arange(x.shape[1])[None] < count[:, None]
        return self.two(self.one(x, mask=mask), mask=mask)

def two(units): return Two(units)
def wrong_states(units): return Two(units, "states")
def wrong_order(units): return Two(units, "order")
def wrong_direction(units): return Two(units, "one direction")
def wrong_mask(units): return Two(units, "mask")
def wrong_finals(units): return Two(units, "finals")
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "layers.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def judged(target, lengths="", **more):
    cotangents = "+".join(["every", *(kind for kind in "hC" if kind not in target.without_finals)])
    states = "initial states" not in target.lacks
    case = Case(
        *more.pop("sizes", (3, 4, 2, 3)),
        target.dtypes[-1],
        cotangents=cotangents,
        states=states,
        seed=4,
        cell=target.cell,
        lengths=lengths,
        absent=target.absent,
    )
    return verify_case(target, case, thorough=False)


RIGHT = {
    "both": "plain@1xboth",
    "added": "gru_reset_after@1xsum",
    "backwards": "plain@1xreverse",
    "deep": "plain@2xboth",
    "masked": "plain@2xforward",
    "relu": "plain,g=relu,h=relu@2xforward",
    "cells": "plain@2xforward",
    "old_gru": "gru@1xforward",
    "two": "plain@2xboth",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_one_is_judged_as_the_network_that_it_is(name):
    target = load_target(f"layers.py:{name}")
    assert (target.cell.name, target.lengths) == (RIGHT[name], LENGTHS)
    assert ("bg_l0" in target.lacks) is (name in ("deep", "old_gru"))
    assert ("initial states" in target.lacks) is (name in ("deep", "masked", "relu"))
    for kind in ("", "ragged"):
        report = judged(target, kind)
        assert not report.failures, kind
        # At a relu's kinks nothing is said.
        assert report.verdict is (Verdict.INCONCLUSIVE if name == "relu" else Verdict.PASS)


REFUSED = {
    "mean": "joins directions by merge_mode='ave', expected 'concat' or 'sum'",
    "uneven": "its layers' directions are 2 forward and 1 in reverse",
    "stateful": "has stateful=True, expected False",
    "frozen": "is not trainable",
    "headed": "beside its recurrent parameters, expected the LSTM alone: --layer judges one alone, of lstm, lstm_1",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_in_words(name):
    with pytest.raises(TargetError) as raised:
        load_target(f"layers.py:{name}")
    assert REFUSED[name] in str(raised.value)


WRONG = {
    "wrong_states": ("", {"h", "dC0_l0", "hn_l1"}),
    "wrong_order": ("", {"h", "dUi_l1_reverse"}),
    "wrong_direction": ("", {"h", "dVg_l1_reverse"}),
    "wrong_mask": ("ragged", {"h", "Cn_l1"}),
    "wrong_finals": ("", {"hn_l0_reverse", "Cn_l1"}),
    "FlipForgotten": ("", {"h", "dUf_l0_reverse"}),
    "Sliding": ("ragged", {"h", "dX"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_caught(name):
    lengths, due = WRONG[name]
    target = load_target(f"layers.py:{name}")
    assert due <= {claim.name for claim in judged(target, lengths, sizes=(3, 4, 6, 3)).failures}
    if lengths:  # where no steps are masked it is right
        assert not judged(target, sizes=(3, 4, 6, 3)).failures


def test_its_own_stack_is_named_by_cell_and_what_there_is_not_refused():
    target = load_target("keras", cell=cell_named("gru@2xboth"))
    assert target.lengths == LENGTHS
    if "on torch" in target.kind:
        # With a mask alone it rounds float64 to float32, for which it was called wrong.
        assert load_target("keras", cell=cell_named("plain@2xboth")).dtypes == ("float32",)
    assert "half of them with masked steps among a sample's own" in target.notes[0]
    assert not judged(target, "ragged").failures
    with pytest.raises(TargetError, match="Keras has no layers of the cell peephole, expected plain, gru"):
        load_target("keras", cell=cell_named("peephole@2xboth"))
    with pytest.raises(TargetError, match="go_backwards does not turn its output back"):
        load_target("keras", cell=cell_named("plain@1xreverse"))


def test_a_function_of_the_units_alone_makes_one_layer_that_gets_masks(tmp_path):
    (tmp_path / "made.py").write_text(
        "import keras\ndef make(units): return keras.layers.LSTM(units, return_sequences=True, return_state=True)\n"
    )
    target = load_target(f"{tmp_path / 'made.py'}:make", cell=cell_named("plain@1xforward"))
    assert target.lengths
    case = Case(2, 3, 4, 5, target.dtypes[-1], cell=target.cell, lengths="ragged", seed=1)
    assert not verify_case(target, case, properties=()).failures
