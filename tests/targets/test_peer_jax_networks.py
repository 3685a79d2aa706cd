"""Networks of Flax, Equinox and Haiku, and functions of JAX arrays, right and wrong: few and small, as all compile."""

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("equinox")

from lstm_checks.cases import LENGTHS, Case
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer

FILE = """
import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

def backwards(e, u, rngs): return nnx.RNN(nnx.LSTMCell(e, u, rngs=rngs), reverse=True, keep_order=True)
def gru(e, u, rngs): return nnx.GRUCell(e, u, rngs=rngs)
def simple(e, u, rngs): return nnx.SimpleCell(e, u, rngs=rngs)
def eqx_gru(e, u, key): return eqx.nn.GRUCell(e, u, key=key)

class Stack(eqx.Module):
    # Two cells over one another, one sample at a time.
    cells: list
    bug: str = eqx.field(static=True, default="")

    def __init__(self, e, u, key, bug=""):
        self.cells = [eqx.nn.GRUCell(e, u, key=key), eqx.nn.GRUCell(u, u, key=key)]
        self.bug = bug

    def __call__(self, x, states):
        final = []
        for cell, h in zip(self.cells, states):
            def step(h, x_t):
                h = cell(x_t, h)
                return h, h
            end, x = jax.lax.scan(step, states[0] if self.bug == "state" else h, x)
            final.append(end)
        return x, tuple(final)

def wrong(e, u, key): return Stack(e, u, key, "state")

class Net(nnx.Module):
    def __init__(self, rngs):
        self.encoder = nnx.RNN(nnx.LSTMCell(4, 8, rngs=rngs))
        self.head = nnx.Linear(8, 2, rngs=rngs)

def by_name(p, X, states, lengths):
    # Both directions of a plain RNN, with lengths.
    s = X.shape[1]
    outs, final = [], {}
    for end, reverse in (("_l0", False), ("_l0_reverse", True)):
        def step(h, given):
            t, x = given
            new = jnp.tanh(x @ p["Ug" + end] + h @ p["Vg" + end] + p["bg" + end])
            on = (t < lengths)[:, None]
            h = jnp.where(on, new, h)
            return h, jnp.where(on, h, 0)
        final["hn" + end], h = jax.lax.scan(
            step, states["h0" + end], (jnp.arange(s), X.swapaxes(0, 1)), reverse=reverse)
        outs.append(h.swapaxes(0, 1))
    return {"h": jnp.concatenate(outs, -1), **final}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "layers.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def judged(target, lengths=""):
    case = Case(3, 4, 2, 3, seed=4, cell=target.cell, lengths=lengths)
    return verify_case(target, case, thorough=False).failures


def test_flaxs_rnn_in_reverse_is_judged_and_not_asked_of_samples_of_no_steps():
    target = load_target("layers.py:backwards")
    assert target.cell is cell_named("plain@1xreverse")
    assert target.lengths == LENGTHS[:-1]
    assert target.notes[0].startswith("not asked of samples of no steps: of their final states Flax's RNN has no word")
    assert not judged(target, "ragged")
    assert not judged(load_target("layers.py:Net[encoder]"))
    with pytest.raises(TargetError, match="has no recurrent layer 'encode'; did you mean 'encoder'"):
        load_target("layers.py:Net[encode]")


@pytest.mark.parametrize(
    ("name", "cell"), [("gru", "gru_reset_after"), ("simple", "rnn"), ("eqx_gru", "gru_reset_after")]
)
def test_cells_of_one_state_are_judged_as_what_they_are(name, cell):
    target = load_target(f"layers.py:{name}")
    assert target.cell is cell_named(cell)
    assert ("cg" in target.lacks) is (name == "gru")  # the candidate of Flax's has one bias
    case = Case(2, 3, 4, 5, seed=1, cell=target.cell, absent=target.absent)
    assert not verify_case(target, case, thorough=False).failures


def test_a_stack_of_equinoxs_cells_passes_and_one_state_for_both_layers_does_not():
    target = load_target("layers.py:Stack")
    assert target.cell is cell_named("gru_reset_after@2xforward")
    assert not target.lacks & {*target.cell.initial, *target.cell.outputs}
    assert not judged(target)
    assert {"h", "hn_l1"} <= {claim.name for claim in judged(load_target("layers.py:wrong"))}


def test_a_function_of_jax_arrays_is_differentiated_with_its_lengths():
    target = load_target("layers.py:by_name", cell=cell_named("rnn@1xboth"))
    assert target.kind.startswith("function by name of JAX arrays")
    assert target.lengths == LENGTHS
    assert not judged(target, "ragged")


def test_a_pullback_of_some_outputs_traces_the_forward_pass_once():
    from lstm_checks.targets.jax import VJP

    calls = []

    def run(arrays):
        calls.append(1)
        return arrays["X"] * 2, arrays["X"] + 1, arrays["X"] * arrays["lengths"]

    X = np.ones((2, 3), "float32")
    _, pull = VJP().evaluator(run)({"X": X, "lengths": np.ones(3, int)})
    before = len(calls)
    assert (pull((X, X, X))["X"] == 4).all()
    assert len(calls) == before + 1


@pytest.mark.parametrize("library", ["flax", "equinox"])
def test_no_values_are_drawn_for_weights_that_are_given(library):
    import importlib

    import jax

    modules = importlib.import_module(f"lstm_checks.targets.{library}_modules")
    drawn = []

    def random(e, u):
        drawn.append(isinstance(jax.numpy.ones(e) * 1.0, jax.core.Tracer))
        own = modules.equinox.nn.LSTMCell if library == "equinox" else modules.nnx.OptimizedLSTMCell
        keywords = {"key": jax.random.key(0)} if library == "equinox" else {"rngs": modules.nnx.Rngs(0)}
        return own(e, u, **keywords)

    found = modules.Modules(random, "it")
    X = np.ones((2, 3), "float32")
    given = {key: np.ones(shape, "float32") for key, shape in found.at_sizes(3, 4).items()}
    drawn.clear()
    module = found.filled(given, X, 4)
    assert drawn == [True]
    kept = modules.weights_in(module) if library == "equinox" else modules._named(modules.nnx.state(module))
    assert all((kept[key] == 1).all() for key in given)
