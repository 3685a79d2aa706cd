"""GRUs and RNNs whose weights have names of their own: which is which is told by what each does, in any arrangement."""

import re

import pytest

from lstm_checks.cases import Case
from lstm_checks.contract import STATES
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError, to_target
from lstm_ref.cells import CELLS, cell_named

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
nn = torch.nn


def over_steps(step):
    """A forward pass over all steps, from h0."""

    def forward(self, x, h):
        every = []
        for x_t in x.unbind(1):
            h = step(self, x_t, h)
            every.append(h)
        return torch.stack(every, 1), h

    return forward


class Linears(nn.Module):
    """A GRU of one nn.Linear a gate and side, with the reset after the product, under names that say nothing."""

    def __init__(self, e, u):
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(e, u) for _ in range(3))
        self.four, self.five, self.six = (nn.Linear(u, u) for _ in range(3))

    def step(self, x, h):
        z, r = torch.sigmoid(self.two(x) + self.four(h)), torch.sigmoid(self.one(x) + self.six(h))
        return z * h + (1 - z) * torch.tanh(self.three(x) + r * self.five(h))

    forward = over_steps(step)


class Matrices(nn.Module):
    """A GRU of a matrix and a bias a gate, x @ W, with the reset before the product and z the share of what is new."""

    def __init__(self, e, u):
        super().__init__()
        for gate in "zrh":
            self.register_parameter(f"W{gate}", nn.Parameter(torch.randn(e, u)))
            self.register_parameter(f"U{gate}", nn.Parameter(torch.randn(u, u)))
            self.register_parameter(f"b{gate}", nn.Parameter(torch.randn(u)))

    def step(self, x, h):
        z = torch.sigmoid(x @ self.Wz + h @ self.Uz + self.bz)
        r = torch.sigmoid(x @ self.Wr + h @ self.Ur + self.br)
        return (1 - z) * h + z * torch.tanh(x @ self.Wh + (r * h) @ self.Uh + self.bh)

    forward = over_steps(step)


class Joined(nn.Module):
    """A GRU of [h, x] in one: one layer for both gates, one for the candidate; without an initial state."""

    def __init__(self, e, u):
        super().__init__()
        self.gates, self.candidate, self.u = nn.Linear(u + e, 2 * u), nn.Linear(u + e, u), u

    def forward(self, x):
        h, every = x.new_zeros(len(x), self.u), []
        for x_t in x.unbind(1):
            r, z = torch.sigmoid(self.gates(torch.cat([h, x_t], 1))).chunk(2, 1)
            h = z * h + (1 - z) * torch.tanh(self.candidate(torch.cat([r * h, x_t], 1)))
            every.append(h)
        return torch.stack(every, 1)


class Plain(nn.Module):
    """An RNN of two layers, of which one has no bias, with relu."""

    def __init__(self, e, u):
        super().__init__()
        self.back, self.into = nn.Linear(u, u, bias=False), nn.Linear(e, u)

    forward = over_steps(lambda self, x, h: torch.relu(self.into(x) + self.back(h)))


MODULES = {
    "linears": (Linears, "gru_reset_after"),
    "matrices": (Matrices, "gru"),
    "joined": (Joined, "gru"),
    "plain": (Plain, "rnn,g=relu"),
}


@pytest.mark.parametrize("name", MODULES)
def test_it_is_told_which_array_is_which(name):
    made, cell = MODULES[name]
    target = to_target(made, "it")
    assert target.cell is cell_named(cell)
    for sizes in ((2, 3, 2, 3), (1, 2, 4, 1)):
        report = verify_case(target, Case(*sizes, seed=5, cell=target.cell, states=STATES not in target.lacks))
        assert not report.failures
        assert {claim.name for claim in report.claims if claim.verdict.name == "PASS"} >= {"h", "dUg", "dX"}


def test_the_report_says_which_array_is_which():
    target = to_target(Matrices, "it", CELLS["gru"])
    assert "Wz is Uz, Uz is Vz, bz is bz, Wr is Ur" in target.kind
    assert target.kind.endswith("; z is 1 less ours")


def test_an_equinox_module_with_names_of_its_own_is_told_as_well():
    equinox = pytest.importorskip("equinox")
    import jax

    class Own(equinox.Module):
        a: jax.Array
        b: jax.Array
        c: jax.Array

        def __init__(self, e, u, *, key):
            self.a, self.b, self.c = (jax.random.normal(key, shape) for shape in ((e, u), (u, u), (u,)))

        def __call__(self, x, h):
            return jax.numpy.tanh(x @ self.a + h @ self.b + self.c)

    target = to_target(Own, "it", CELLS["rnn"])
    assert "its own arrays: a is Ug, b is Vg, c is bg" in target.kind
    assert not verify_case(target, Case(2, 3, 2, 3, seed=5, cell=target.cell)).failures


def test_a_gradient_that_is_lost_is_found():
    class Detached(Matrices):
        def step(self, x, h):
            z = torch.sigmoid(x @ self.Wz + h @ self.Uz + self.bz)
            r = torch.sigmoid(x @ self.Wr + h @ self.Ur + self.br)
            return (1 - z) * h + z * torch.tanh(x @ self.Wh + (r.detach() * h) @ self.Uh + self.bh)

        forward = over_steps(step)

    target = to_target(Detached, "it", CELLS["gru"])
    report = verify_case(target, Case(2, 3, 2, 3, seed=5, cell=target.cell))
    assert {"dUr", "dVr", "dbr"} <= {claim.name for claim in report.failures}


def test_a_forward_pass_that_is_a_little_off_is_judged():
    class Off(Matrices):
        def step(self, x, h):
            return super().step(x, h) * (1 + 1e-5)

        forward = over_steps(step)

    target = to_target(Off, "it", CELLS["gru"])
    report = verify_case(target, Case(2, 3, 2, 3, seed=5, cell=target.cell))
    assert "h" in {claim.name for claim in report.failures}


class Wrong(Matrices):
    """A candidate without tanh."""

    def step(self, x, h):
        z = torch.sigmoid(x @ self.Wz + h @ self.Uz + self.bz)
        return (1 - z) * h + z * (x @ self.Wh + h @ self.Uh + self.bh) + 0 * (x @ self.Wr + h @ self.Ur + self.br)

    forward = over_steps(step)


class Deep(Matrices):
    """One matrix more than a GRU has."""

    def __init__(self, e, u):
        super().__init__(e, u)
        self.more = nn.Parameter(torch.randn(u, u))


REFUSED = [
    (Wrong, "gru", "is of is not told by what it does, so its forward pass is that of no GRU"),
    (Deep, "gru", "the weights of it are not those of a GRU with reset before the product by their shapes. With"),
    (Linears, "rnn", "the weights of it are not those of a plain RNN by their shapes. With input size 5 and 7 units"),
    (Matrices, "gru_reset_after", "it is a GRU with reset before the product by its own options, --cell gru, expected"),
]


@pytest.mark.parametrize(("made", "cell", "words"), REFUSED)
def test_what_cannot_be_told_is_refused_in_words_of_the_cell(made, cell, words):
    with pytest.raises(TargetError, match=re.escape(words)):
        to_target(made, "it", CELLS[cell])
