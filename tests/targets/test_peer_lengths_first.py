"""A module's argument for lengths or a mask, which comes before its states or in their place, is given no states."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("equinox")
pytest.importorskip("flax")

from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.contract import STATES  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.targets.load import load_target  # noqa: E402

pytestmark = pytest.mark.peer

FILE = """
import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from torch import nn

class Torch(nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = nn.LSTM(e, u, batch_first=True)
    def forward(self, x, lengths=None): return self.lstm(x)

class WithState(Torch):
    def forward(self, x, lengths=None, return_state=True, state=None): return self.lstm(x, state)

class TorchGRU(nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.gru = nn.GRU(e, u, batch_first=True)
    def forward(self, x, mask=None, h0=None): return self.gru(x, h0)

class Flax(nnx.Module):
    def __init__(self, e, u, rngs): self.rnn = nnx.RNN(nnx.LSTMCell(e, u, rngs=rngs))
    def __call__(self, x, seq_lengths=None): return self.rnn(x, seq_lengths=seq_lengths)

class FlaxGRU(nnx.Module):
    def __init__(self, e, u, rngs): self.rnn = nnx.RNN(nnx.GRUCell(e, u, rngs=rngs))
    def __call__(self, x, seq_lengths=None, initial_carry=None):
        return self.rnn(x, seq_lengths=seq_lengths, initial_carry=initial_carry)

class Equinox(eqx.Module):
    cell: eqx.nn.LSTMCell
    def __init__(self, e, u, *, key): self.cell = eqx.nn.LSTMCell(e, u, key=key)
    def __call__(self, xs, length=None):
        def step(carry, x):
            carry = self.cell(x, carry)
            return carry, carry[0]
        start = jnp.zeros(self.cell.hidden_size)
        return jax.lax.scan(step, (start, start), xs)[1]
"""


@pytest.mark.parametrize(
    ("name", "states"),
    [
        *(("Torch", False), ("WithState", True), ("TorchGRU", True)),
        *(("Flax", False), ("FlaxGRU", True), ("Equinox", False)),
    ],
)
def test_no_states_are_given_where_lengths_or_a_mask_are_taken(name, states, tmp_path):
    (tmp_path / "named.py").write_text(FILE)
    target = load_target(f"{tmp_path / 'named.py'}:{name}")
    assert (STATES not in target.lacks) is states
    assert "not given: lengths and masks are not judged" in "; ".join(target.notes)
    case = Case(2, 3, 4, 5, target.dtypes[-1], states=states, seed=1, cell=target.cell)
    assert not verify_case(target, case, properties=()).failures
