"""Flax's own nnx.OptimizedLSTMCell, through the same harness; the whole run for all that JAX compiles."""

import pytest

pytest.importorskip("flax")

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer


def test_optimized_lstm_cell_passes():
    report = verify(load_target("flax"), examples=100, seed=1)
    assert report.exit_code == 0, render_report(report)
    assert len(report.examples) == 100
    # Each is compiled; and still there is an example in every stratum.
    assert len({example.case.dims for example in report.examples}) <= 18
    assert {name for name, count in report.stratum_counts.items() if not count} == set(report.unreachable)
    assert "few because each is compiled" in render_report(report)


MORE = """
import jax
import jax.numpy as jnp
from flax import nnx

def relu(e, u, rngs): return nnx.OptimizedLSTMCell(e, u, activation_fn=nnx.relu, rngs=rngs)
def hard(e, u, rngs): return nnx.LSTMCell(e, u, gate_fn=nnx.hard_sigmoid, rngs=rngs)
def sine(e, u, rngs): return nnx.LSTMCell(e, u, activation_fn=jnp.sin, rngs=rngs)
def gelu(e, u, rngs): return nnx.LSTMCell(e, u, activation_fn=nnx.gelu, rngs=rngs)

class Still(nnx.Variable): pass

class Cell(nnx.Module):
    bias_is = nnx.Param

    def __init__(self, e, u, rngs):
        self.W = nnx.Param(jax.random.normal(rngs.params(), (e, 4 * u)))
        self.R = nnx.Param(jax.random.normal(rngs.params(), (u, 4 * u)))
        self.bias = self.bias_is(jnp.zeros(4 * u))
        self.peep = nnx.Param(jnp.ones(u))

    def __call__(self, carry, x):
        C, h = carry
        i, f, g, o = jnp.split(x @ self.W[...] + h @ self.R[...] + self.bias[...], 4, -1)
        C = nnx.sigmoid(f) * C + nnx.sigmoid(i + self.peep[...] * C) * nnx.tanh(g)
        h = nnx.sigmoid(o) * nnx.tanh(C)
        return (C, h), h

class Frozen(Cell):
    bias_is = Still
"""


@pytest.fixture
def more(tmp_path, monkeypatch):
    (tmp_path / "more.py").write_text(MORE)
    monkeypatch.chdir(tmp_path)


def test_what_is_no_plain_lstm_is_refused_with_the_reason(more):
    with pytest.raises(TargetError, match="has activation_fn sin, which is none of sigmoid, tanh, affine, relu,"):
        load_target("more.py:sine")


@pytest.mark.parametrize(
    ("name", "cell"),
    [("relu", "plain,g=relu,h=relu"), ("hard", "plain,f=hardsigmoid6"), ("gelu", "plain,g=gelutanh,h=gelutanh")],
)
def test_a_cell_of_other_activations_is_judged_as_the_cell_that_they_make(more, name, cell):
    target = load_target(f"more.py:{name}")
    assert target.cell is cell_named(cell)
    report = verify(target, examples=10, max_dims=(2, 4, 3, 3))
    assert report.exit_code == 0, render_report(report)
    assert report.claim_counts["dUf"][Verdict.PASS] > 2


def test_what_does_not_learn_and_what_is_besides_are_said(more):
    for name, notes in (
        ("Cell", ()),
        ("Frozen", ("bias does not learn, no nnx.Param: dbi, dbf, dbg, dbo not judged",)),
    ):
        target = load_target(f"more.py:{name}")
        assert (target.notes, target.compiles) == (notes, True)
        assert target.beside.startswith("peep (u,), which a plain LSTM has not, held at zero")
        assert ("dbf" in target.lacks) == bool(notes)
        report = verify_case(target, Case(2, 2, 2, 3), thorough=False)
        assert report.verdict is Verdict.PASS
        report = verify_case(target, Case(2, 2, 2, 3), properties=("gradient step",), reference=False)
        assert [claim.name for claim in report.failures] == ["learning"] * bool(notes)


def test_a_module_of_other_weights_is_refused_with_what_it_has(tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text(
        "from flax import nnx\n"
        "class Odd(nnx.Module):\n"
        "    def __init__(self, e, u, rngs):\n"
        "        self.odd = nnx.Linear(e, 3 * u + 1, rngs=rngs)\n"
        "    def __call__(self, carry, x):\n"
        "        return carry, self.odd(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match=r"the weights of other.py:Odd are not those of one LSTM.*it has odd.bias"):
        load_target("other.py:Odd")
