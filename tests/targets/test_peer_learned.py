"""Initial states that a module learns, one for all samples: found by name or by trying, and judged as sums."""

import pytest

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import Extra
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.learned import learned_states, role
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer

TORCH = """
import torch
class Right(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, batch_first=True)
        self.h0 = torch.nn.Parameter(torch.zeros(1, 1, u)); self.c0 = torch.nn.Parameter(torch.zeros(1, 1, u))
    def forward(self, x):
        m = x.shape[0]
        return self.lstm(x, (self.h0.expand(1, m, -1).contiguous(), self.c0.expand(1, m, -1).contiguous()))
class Odd(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.cell = torch.nn.LSTMCell(e, u)
        self.alpha = torch.nn.Parameter(torch.randn(u)); self.beta = torch.nn.Parameter(torch.randn(1,u))
    def forward(self, x):
        h, c = self.beta.expand(len(x), -1), self.alpha.expand(len(x), -1)
        every=[]
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c)); every.append(h)
        return torch.stack(every, 1), c
class Hidden(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, batch_first=True)
        self.initial_hidden = torch.nn.Parameter(torch.zeros(u))
    def forward(self, x):
        h = self.initial_hidden.expand(1, x.shape[0], -1).contiguous()
        return self.lstm(x, (h, torch.zeros_like(h)))
class First(Right):
    def forward(self, x):
        m = x.shape[0]
        h = torch.cat([self.h0, self.h0.detach().expand(1, m - 1, -1)], 1)
        return self.lstm(x, (h, self.c0.expand(1, m, -1).contiguous()))
class Swapped(Right):
    def forward(self, x):
        m = x.shape[0]
        return self.lstm(x, (self.c0.expand(1, m, -1).contiguous(), self.h0.expand(1, m, -1).contiguous()))
class Deep(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, 2, batch_first=True, bidirectional=True)
        self.h0 = torch.nn.Parameter(torch.zeros(4, 1, u)); self.c0 = torch.nn.Parameter(torch.zeros(4, 1, u))
    def forward(self, x):
        m = x.shape[0]
        return self.lstm(x, (self.h0.expand(-1, m, -1).contiguous(), self.c0.expand(-1, m, -1).contiguous()))
class DeepWrong(Deep):
    def forward(self, x):
        m = x.shape[0]
        h = torch.cat([self.h0, self.h0.detach().expand(-1, m - 1, -1)], 1)
        return self.lstm(x, (h, self.c0.expand(-1, m, -1).contiguous()))
class DeepGru(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.rnn = torch.nn.GRU(e, u, 2, batch_first=True)
        self.init_hidden = torch.nn.Parameter(torch.zeros(2, u))
    def forward(self, x):
        return self.rnn(x, self.init_hidden[:, None].expand(-1, x.shape[0], -1).contiguous())
class Gru(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.rnn = torch.nn.GRU(e, u, batch_first=True)
        self.h0 = torch.nn.Parameter(torch.zeros(1, u))
    def forward(self, x):
        return self.rnn(x, self.h0[:, None].expand(-1, x.shape[0], -1).contiguous())
class Head(Right):
    def __init__(self, e, u):
        super().__init__(e, u); self.head = torch.nn.Linear(u, 2)


class Peepholes(Right):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.pf = torch.nn.Parameter(torch.zeros(u))

class Half(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, 2, batch_first=True)
        self.h0 = torch.nn.Parameter(torch.zeros(2, 1, u))
    def forward(self, x):
        h = self.h0.expand(-1, x.shape[0], -1).contiguous()
        return self.lstm(x, (h, torch.zeros_like(h)))

class Still(Right):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.h0.requires_grad_(False)
"""

JAX = """
import jax, jax.numpy as jnp, equinox as eqx
from flax import nnx
class Eqx(eqx.Module):
    cell: eqx.nn.LSTMCell
    h0: jax.Array
    c0: jax.Array
    def __init__(self, e, u, key):
        self.cell = eqx.nn.LSTMCell(e, u, key=key); self.h0 = jnp.zeros(u); self.c0 = jnp.zeros(u)
    def __call__(self, x):
        def step(state, x_t):
            state = self.cell(x_t, state)
            return state, state[0]
        state, h = jax.lax.scan(step, (self.h0, self.c0), x)
        return h, state
class Flax(nnx.Module):
    def __init__(self, e, u, rngs):
        self.cell = nnx.OptimizedLSTMCell(e, u, rngs=rngs)
        self.h0 = nnx.Param(jnp.zeros((1, u))); self.c0 = nnx.Param(jnp.zeros((1, u)))
    def __call__(self, x):
        m, u = x.shape[0], self.h0.shape[-1]
        carry = (jnp.broadcast_to(self.c0[...], (m, u)), jnp.broadcast_to(self.h0[...], (m, u)))
        every = []
        for t in range(x.shape[1]):
            carry, h = self.cell(carry, x[:, t]); every.append(h)
        return jnp.stack(every, 1), carry[0]

"""

KERAS = """
import keras
class Keras(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.lstm, self.units = keras.layers.LSTM(units, return_sequences=True, return_state=True), units
    def build(self, shape):
        self.lstm.build(shape)
        self.h0 = self.add_weight(shape=(1, self.units), name="h0")
        self.c0 = self.add_weight(shape=(1, self.units), name="c0")
    def call(self, x):
        m = keras.ops.shape(x)[0]
        return self.lstm(x, initial_state=[keras.ops.tile(self.h0, (m, 1)), keras.ops.tile(self.c0, (m, 1))])

"""


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Return the name of something in the files above."""
    folder = tmp_path_factory.mktemp("learned")
    for name, text in (("torch", TORCH), ("jax", JAX), ("keras", KERAS)):
        (folder / f"of_{name}.py").write_text(text)
    return lambda file, name: f"{folder}/of_{file}.py:{name}"


def judged(target, seed=3):
    return verify_case(target, Case(3, 2, 5, 4, cell=target.cell, seed=seed), thorough=False)


@pytest.mark.parametrize(
    ("name", "cell", "told"),
    [
        ("Right", "plain+h0+C0", "h0 (1, 1, u) is h0 and c0 (1, 1, u) is C0; it is called with none"),
        ("Odd", "plain+h0+C0", "beta (1, u) is h0 and alpha (u,) is C0; it is called with none"),
        ("Hidden", "plain+h0", "initial_hidden (u,) is h0, C0 is zero in all examples; it is called with none"),
        ("Gru", "gru_reset_after+h0", "its initial state is its own parameter h0; it is called with none"),
        ("Deep", "plain+h0+C0@2xboth", "at all places: h0 is h0 and c0 is C0; it is called with none"),
        ("DeepGru", "gru_reset_after+h0@2xforward", "at all places: init_hidden is h0; it is called with none"),
    ],
)
def test_pytorch_modules_are_found_out_and_pass(named, name, cell, told):
    pytest.importorskip("torch")
    target = load_target(named("torch", name))
    assert target.cell is cell_named(cell)
    assert told in " ".join(target.notes)
    report = judged(target)
    assert report.verdict is Verdict.PASS, [claim.discrepancy for claim in report.failures]
    learned = [d for state in target.cell.shared for d in (f"d{state}",)]
    assert learned
    assert all(report.claim(d).verdict is Verdict.PASS for d in learned)


@pytest.mark.parametrize(
    ("name", "wrong"), [("First", {"dh0"}), ("Swapped", {"h", "dC0"}), ("DeepWrong", {"dh0_l0", "dh0_l1_reverse"})]
)
def test_a_gradient_that_is_no_sum_over_samples_fails(named, name, wrong):
    pytest.importorskip("torch")
    assert {claim.name for claim in judged(load_target(named("torch", name))).failures} >= wrong


def test_one_that_does_not_learn_has_no_gradient(named):
    pytest.importorskip("torch")
    target = load_target(named("torch", "Still"))
    assert "dh0" in target.lacks
    assert "h0 does not learn, its requires_grad is False: dh0 not judged" in target.notes
    report = judged(target)
    assert report.verdict is Verdict.PASS
    assert report.claim("dC0").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Head", "beside its recurrent parameters, expected the LSTM alone: --layer lstm judges that alone"),
        ("Half", "has h0 beside its recurrent parameters, expected the LSTM alone: --layer lstm judges that alone"),
    ],
)
def test_what_is_no_initial_state_is_not_taken_for_one(named, name, words):
    pytest.importorskip("torch")
    with pytest.raises(TargetError, match=words):
        load_target(named("torch", name))


def test_states_beside_what_else_a_module_has(named):
    pytest.importorskip("torch")
    target = load_target(named("torch", "Peepholes"))
    assert target.cell is cell_named("plain+h0+C0")
    assert "pf (u,) reaches no output" in target.beside


@pytest.mark.parametrize("name", ["Eqx"])  # all compile: of Flax it is the same code
def test_flax_and_equinox_modules_are_found_out_and_pass(named, name):
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    target = load_target(named("jax", name))
    assert target.cell is cell_named("plain+h0+C0")
    assert judged(target).verdict is Verdict.PASS


def test_keras_layers_are_found_out_and_pass(named):
    pytest.importorskip("torch")
    target = load_target(named("keras", "Keras"))
    assert target.cell is cell_named("plain+h0+C0")
    assert judged(target).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("h0", "h0"),
        ("encoder.c_0", "C0"),
        ("initial_hidden_state", "h0"),
        ("layer/init_cell", "C0"),
        ("memory", "C0"),
        ("hx", "h0"),
        ("pf", ""),
        ("scale", ""),
    ],
)
def test_names_say_which_state_it_is(name, state):
    assert role(name) == state


def test_without_names_at_most_two_are_tried():
    vectors = [Extra(name, ((0, 1, 0),)) for name in "pqr"]
    assert [*learned_states(vectors)] == []
    tried = [{state: extra.name for state, extra in one.states.items()} for one in learned_states(vectors[:2])]
    assert tried[:2] == [{"h0": "p", "C0": "q"}, {"h0": "q", "C0": "p"}]
    assert {"C0": "q"} in tried
    assert [*learned_states([Extra("h0", ((0, 3, 0),))])] == []
