"""What LSTM_FAST_TUNE does: the fastest way is measured once and kept, and each way gives the same but for rounding."""

import json

import numpy as np
import pytest
from agreement import assert_as_expected
from hypothesis import given
from hypothesis import strategies as st

from lstm_checks.cases import COTANGENTS, DTYPES, Case
from lstm_fast import LSTM, layouts, tuning
from lstm_fast.workspace import SWITCH

SHAPE = (32, 3, 2, 40)


class Clock:
    """A clock that stands but for what the ways say that they take."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def way(self, *seconds):
        """Return a way whose passes take so many seconds, the last number over and over."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return lambda: run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tuning, "time", clock)
    return clock


@pytest.fixture
def file(monkeypatch, tmp_path):
    monkeypatch.setenv(tuning.VARIABLE, str(tmp_path / "tune.json"))
    monkeypatch.setattr(tuning, "_KNOWN", {})
    return tmp_path / "tune.json"


def refused(key, attempts):
    raise AssertionError("measured again")


def forward_of(shape, dtype="float32", **options):
    layer = LSTM(shape[3], dtype=dtype, rng=0)
    X = np.ones(shape[:3], dtype)
    layer.compute_shapes(X)
    layer.initialize_parameters()
    layer.forward(X, **options)
    return layer


def test_nothing_is_measured_unless_a_file_is_named(monkeypatch):
    monkeypatch.delenv(tuning.VARIABLE, raising=False)
    monkeypatch.setattr(tuning, "fastest", refused)
    forward_of(SHAPE)
    monkeypatch.setenv(tuning.VARIABLE, "")
    forward_of(SHAPE)


@pytest.mark.parametrize(("second", "taken"), [(0.5, "b"), (0.97, "a"), (1.5, "a")])
def test_another_way_is_taken_where_it_is_faster_by_more_than_noise(clock, file, second, taken):
    # The first pass of each is not counted, nor a slow one among several.
    ways = {"a": clock.way(50.0, 3.0, 1.0), "b": clock.way(0.001, 9.0, second)}
    assert tuning.fastest("key", ways) == taken
    assert json.loads(file.read_text())["choices"] == {"key": taken}


def test_a_choice_is_kept_for_this_process_and_for_others(clock, file, monkeypatch):
    ways = {"a": clock.way(1.0), "b": clock.way(0.5)}
    assert tuning.fastest("key", ways) == "b"
    monkeypatch.setattr(tuning, "_measured", refused)
    assert tuning.fastest("key", ways) == "b"
    monkeypatch.setattr(tuning, "_KNOWN", {})
    assert tuning.fastest("key", ways) == "b"


def test_what_other_processes_have_written_meanwhile_stays(clock, file, monkeypatch):
    ways = {"a": clock.way(1.0), "b": clock.way(0.5)}
    tuning.fastest("first", ways)
    mine = tuning._KNOWN
    monkeypatch.setattr(tuning, "_KNOWN", {})
    tuning.fastest("second", ways)
    monkeypatch.setattr(tuning, "_KNOWN", mine)
    tuning.fastest("third", ways)
    assert sorted(json.loads(file.read_text())["choices"]) == ["first", "second", "third"]


def test_choices_of_another_machine_or_of_ways_that_are_gone_are_measured_anew(clock, file, monkeypatch):
    tuning.fastest("key", {"a": clock.way(1.0), "b": clock.way(0.5)})
    monkeypatch.setattr(tuning, "_KNOWN", {})
    assert tuning.fastest("key", {"a": clock.way(1.0), "c": clock.way(0.5)}) == "c"
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"machine": {"processor": "another"}}))
    monkeypatch.setattr(tuning, "_KNOWN", {})
    assert tuning.fastest("key", {"a": clock.way(1.0), "c": clock.way(2.0)}) == "a"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"machine": {}, "choices": 3}'])
def test_a_file_that_is_none_of_ours_is_refused_and_left_as_it_is(file, text):
    file.write_text(text)
    with pytest.raises(ValueError, match=r"LSTM_FAST_TUNE names .*tune.json, which is no file that lstm_fast wrote"):
        forward_of(SHAPE)
    assert file.read_text() == text


def test_a_place_that_cannot_be_written_to_is_refused(file, monkeypatch):
    monkeypatch.setenv(tuning.VARIABLE, str(file.parent / "nowhere" / "tune.json"))
    with pytest.raises(ValueError, match=r"nowhere/tune.json, which cannot be written .*; name a file in a folder"):
        tuning.fastest("key", {"a": lambda: lambda: None})


@pytest.mark.parametrize("switch", ["0", "1"])
def test_a_layer_is_tuned_for_training_and_for_inference_by_themselves(file, monkeypatch, switch):
    monkeypatch.setenv(SWITCH, switch)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for keep in (True, False):
        forward_of(SHAPE, keep_cache=keep)
    choices = json.loads(file.read_text())["choices"]
    kinds = [key.split(", ")[4] for key in choices]
    assert sorted(kinds) == ["inference", "training"]
    assert all(key.startswith("float32 (32, 3, 2, 40), ") and key.endswith("at most 2 threads") for key in choices)


@given(
    m=st.integers(1, 40),
    s=st.integers(1, 3),
    e=st.integers(1, 3),
    u=st.sampled_from([1, 3, 32, 40]),
    cotangents=st.sampled_from([one for one in COTANGENTS if "every" in one]),
    dtype=st.sampled_from(DTYPES),
    compiled=st.sampled_from(["0", "1"]),
    data=st.data(),
)
def test_every_way_gives_what_is_due(m, s, e, u, cotangents, dtype, compiled, data):
    case = Case(m, s, e, u, dtype=dtype, cotangents=cotangents)
    asked = []

    def drawn(key, attempts):
        for ready in attempts.values():
            ready()()
        asked.append(list(attempts))
        return data.draw(st.sampled_from(asked[-1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, compiled)
        patch.setenv("OPENBLAS_NUM_THREADS", "2")
        patch.setenv(tuning.VARIABLE, "a file")
        patch.setattr(tuning, "fastest", drawn)
        patch.setattr(layouts, "small_products_pay", lambda: True)
        layer, given = LSTM(u, sequences=True, dtype=dtype, rng=0), case.arrays
        layer.compute_shapes(given["X"])
        layer.p = given.p
        h, hn, Cn = layer.forward(given["X"], given["h0"], given["C0"], return_states=True)
        dX = layer.backward(given["dh"], given["dhn"], given["dCn"])
        layer.compute_gradients()
    assert np.array_equal(hn, h[:, -1])
    assert len(asked) == 1
    assert m == 1 or len(asked[0]) > 1
    found = {"h": h, "Cn": Cn, "dX": dX, "dh0": layer.bc["dh0"], "dC0": layer.bc["dC0"]}
    assert_as_expected(found | {f"d{name}": layer.g[f"d{name}"] for name in given.p}, case)
