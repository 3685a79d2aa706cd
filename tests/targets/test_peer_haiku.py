"""Haiku's cores, its own and a user's, and the LSTM of `jax.experimental.rnn`: few and small cases, as all compile."""

import importlib.util
import re
from pathlib import Path

import pytest

from lstm_checks.cases import Case
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer
haiku = pytest.importorskip("haiku")
jax = pytest.importorskip("jax")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("cell", ["plain", "gru", "rnn,g=relu"])
def test_its_own_cores_are_judged_as_the_cells_that_they_are(cell):
    target = load_target("haiku", cell=cell_named(cell))
    assert target.cell is cell_named(cell)
    assert target.dtypes == ("float64", "float32")
    report = verify_case(target, Case(2, 3, 2, 3, seed=5, cell=target.cell))
    assert not report.failures
    assert {claim.name for claim in report.claims if claim.verdict.name == "PASS"} >= {"h", "dUg", "dX", "dh0"}


def test_a_stack_of_its_cores_is_a_network():
    net = cell_named("gru@2xboth")
    target = load_target("haiku", cell=net)
    assert "it takes no lengths: every sample has all steps" in target.notes
    assert not verify_case(target, Case.of((2, 3, 2, 3), seed=5, cell=net)).failures


@pytest.mark.parametrize("cell", ["rnn", "peephole@2xforward"])
def test_a_cell_that_it_has_not_is_refused_by_name(cell):
    words = f"Haiku has no cell {cell.partition('@')[0]}, expected plain, gru, rnn,g=relu"
    with pytest.raises(TargetError, match=re.escape(words)):
        load_target("haiku", cell=cell_named(cell))


class Turned(haiku.RNNCore):
    """An LSTM whose memory comes first, and whose forget gate's gradient is lost where it says so."""

    lost = False

    def __init__(self, hidden_size, name=None):
        super().__init__(name=name)
        self.hidden_size = hidden_size

    def __call__(self, x, state):
        C, h = state
        joined = jax.numpy.concatenate([x, h], -1)
        i, g, f, o = jax.numpy.split(haiku.Linear(4 * self.hidden_size)(joined), 4, -1)
        f = jax.lax.stop_gradient(f) if self.lost else f
        C = jax.nn.sigmoid(f + 1) * C + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
        h = jax.nn.sigmoid(o) * jax.numpy.tanh(C)
        return h, (C, h)

    def initial_state(self, batch_size):
        return (jax.numpy.zeros([batch_size, self.hidden_size]),) * 2


class Lost(Turned):
    lost = True


def test_a_core_of_a_users_is_made_by_its_class_or_a_function():
    assert to_target(lambda hidden_size: haiku.LSTM(hidden_size), "it").kind.startswith("Haiku core LSTM")
    case = Case(2, 3, 2, 3, seed=5)
    assert {"dUf", "dVf", "dbf"} <= {claim.name for claim in verify_case(to_target(Lost, "it"), case).failures}


def test_a_state_that_comes_with_the_memory_first_is_told_by_trying():
    assert not verify_case(to_target(Turned, "it"), Case(2, 3, 2, 3, seed=5)).failures


def of_jax_rnn():
    """Return the module of the example."""
    spec = importlib.util.spec_from_file_location("jax_rnn", EXAMPLES / "jax_rnn.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("net", "lengths"), [("plain@2xboth", "ragged"), ("plain@1xforward", "empty")])
def test_the_lstm_of_jax_experimental_rnn_is_right(net, lengths):
    net = cell_named(net)
    target = to_target(of_jax_rnn().lstm, "it", net)
    report = verify_case(target, Case.of((2, 3, 2, 3), seed=5, cell=net, lengths=lengths))
    assert not report.failures
    assert {claim.name for claim in report.claims if claim.verdict.name == "PASS"} >= {
        "h",
        f"dUf{net.places[-1].suffix}",
        "dX",
    }


def test_flat_weights_in_another_order_of_places_fail():
    module = of_jax_rnn()
    module.places, right = lambda p: right(p)[::-1] if len(p) > 12 else right(p), module.places
    net = cell_named("plain@1xboth")
    report = verify_case(to_target(module.lstm, "it", net), Case.of((2, 3, 2, 3), seed=5, cell=net))
    assert "h" in {claim.name for claim in report.failures}


class OtherNames(haiku.RNNCore):
    """An RNN whose weights have names of its own."""

    def __init__(self, hidden_size, name=None):
        super().__init__(name=name)
        self.hidden_size = hidden_size

    def __call__(self, x, state):
        into, back = (haiku.Linear(self.hidden_size, name=name) for name in ("of_x", "of_h"))
        h = jax.numpy.tanh(into(x) + back(state))
        return h, h

    def initial_state(self, batch_size):
        return jax.numpy.zeros([batch_size, self.hidden_size])


def test_a_core_of_one_state_with_names_of_its_own_is_refused_in_words():
    with pytest.raises(
        TargetError, match=r"with one state, and its weights have not the names of haiku.GRU.s .*of_x.w"
    ):
        to_target(OtherNames, "it")
