"""A module that runs in reverse, as no name of its says, is judged so where `--reverse` says it."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("equinox")

from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.contract import STATES  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.targets.load import load_target  # noqa: E402
from lstm_ref.cells import cell_named  # noqa: E402

pytestmark = pytest.mark.peer

FILE = """
import equinox as eqx
import jax
from torch import nn

class Torch(nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = nn.LSTM(e, u, batch_first=True)
    def forward(self, x): return self.lstm(x.flip(1))[0].flip(1)

class TorchNotTurnedBack(Torch):
    def forward(self, x): return self.lstm(x.flip(1))[0]

class Equinox(eqx.Module):
    cell: eqx.nn.LSTMCell
    def __init__(self, e, u, *, key): self.cell = eqx.nn.LSTMCell(e, u, key=key)
    def __call__(self, xs, state):
        def step(carry, x):
            carry = self.cell(x, carry)
            return carry, carry[0]
        state, hs = jax.lax.scan(step, state, xs, reverse=True)
        return hs, state

class EquinoxTurnedTwice(Equinox):
    def __call__(self, xs, state):
        hs, state = super().__call__(xs, state)
        return hs[::-1], state
"""


@pytest.mark.parametrize(
    ("name", "right"),
    [("Torch", True), ("TorchNotTurnedBack", False), ("Equinox", True), ("EquinoxTurnedTwice", False)],
)
def test_a_module_that_runs_in_reverse_is_judged_so_where_that_is_said(name, right, tmp_path):
    (tmp_path / "back.py").write_text(FILE)
    net = cell_named("plain@1xreverse")
    target = load_target(f"{tmp_path / 'back.py'}:{name}", cell=net)
    assert target.cell is net
    case = Case(2, 3, 4, 5, target.dtypes[-1], states=STATES not in target.lacks, seed=1, cell=net)
    assert bool(verify_case(target, case, properties=()).failures) is not right
