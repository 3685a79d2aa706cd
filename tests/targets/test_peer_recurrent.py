"""GRUs and RNNs of PyTorch and Keras: which cell it is follows from the module, and what cannot be judged is said."""

import re

import pytest

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_checks.workers.remote import load_remote
from lstm_ref.cells import CELLS, cell_named

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
nn = torch.nn


def looped(kind):
    """A module of a user's that loops over a cell."""

    class Loop(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.cell = kind(input_size, hidden_size)

        def forward(self, x, h):
            every = []
            for x_t in x.unbind(1):
                h = self.cell(x_t, h)
                every.append(h)
            return torch.stack(every, 1), h

    return Loop


class ByHand(nn.Module):
    """A GRU by hand, with PyTorch's names for its weights; the reset where it is told to be."""

    before = False

    def __init__(self, input_size, hidden_size):
        super().__init__()
        shapes = {"weight_ih": (3 * hidden_size, input_size), "weight_hh": (3 * hidden_size, hidden_size)}
        for name, shape in {**shapes, "bias_ih": (3 * hidden_size,), "bias_hh": (3 * hidden_size,)}.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))

    def forward(self, x, h):
        every = []
        for x_t in x.unbind(1):
            (ir, iz, ig), (hr, hz, hg) = (
                (x_t @ self.weight_ih.T + self.bias_ih).chunk(3, 1),
                (h @ self.weight_hh.T + self.bias_hh).chunk(3, 1),
            )
            r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
            last = self.weight_hh[2 * h.shape[1] :]
            reset = (r * h) @ last.T + self.bias_hh[2 * h.shape[1] :] if self.before else r * hg
            g = torch.tanh(ig + reset)
            h = (1 - z) * g + z * h
            every.append(h)
        return torch.stack(every, 1), h


class ResetBefore(ByHand):
    before = True


MODULES = {
    "GRU": (nn.GRU, "gru_reset_after"),
    "GRU, time first": (lambda input_size, hidden_size: nn.GRU(input_size, hidden_size), "gru_reset_after"),
    "GRUCell": (nn.GRUCell, "gru_reset_after"),
    "GRUCell in a loop": (looped(nn.GRUCell), "gru_reset_after"),
    "by hand": (ByHand, "gru_reset_after"),
    "RNN": (nn.RNN, "rnn"),
    "RNNCell in a loop": (looped(nn.RNNCell), "rnn"),
    "RNN with relu": (lambda e, u: nn.RNN(e, u, nonlinearity="relu", batch_first=True), "rnn,g=relu"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_judged_as_the_cell_that_it_is(name):
    made, cell = MODULES[name]
    target = to_target(made, "it")
    assert target.cell is cell_named(cell)
    assert not target.unsupported
    assert target.dtypes == ("float64", "float32")
    report = verify(target, examples=10, max_dims=(3, 5, 4, 4), dtypes=target.dtypes)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    for gradient in target.twins:
        assert report.claim_counts[gradient][Verdict.PASS], gradient


def test_a_gru_by_hand_with_the_reset_before_the_product_is_named_so():
    target = to_target(ResetBefore, "it")
    found = diagnose(target, Case(2, 3, 2, 3, seed=5, cell=target.cell))
    assert found.suspects[0].fault == "reset-before-the-product"
    assert found.suspects[0].certain


def test_a_second_bias_of_which_the_gradient_is_lost_fails_under_its_own_name():
    class Detached(ByHand):
        def forward(self, x, h):
            kept = self.bias_hh
            del self._parameters["bias_hh"]
            self.bias_hh = torch.cat([kept[: -h.shape[1]].detach(), kept[-h.shape[1] :]])
            found = super().forward(x, h)
            del self.bias_hh
            self._parameters["bias_hh"] = kept
            return found

    report = verify_case(to_target(Detached, "it"), Case(2, 3, 2, 3, seed=1, cell=CELLS["gru_reset_after"]))
    assert {claim.name for claim in report.failures} == {"dbr of bias_hh", "dbz of bias_hh"}


class Head(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gru, self.head = nn.GRU(input_size, hidden_size, batch_first=True), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h=None):
        return self.head(self.gru(x, h)[0])


class Frozen(nn.GRU):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size, batch_first=True)
        self.bias_hh_l0.requires_grad = False


class Last(nn.GRU):
    def forward(self, x, h=None):
        return super().forward(x, h)[1][0]


REFUSED = [
    (
        Head,
        "it has head.bias, head.weight beside its recurrent parameters, expected the LSTM alone: --layer gru",
    ),
    (Frozen, "it: bias_hh_l0 does not learn, expected parameters alone, all of which learn, of the GRU with"),
    (Last, "cannot be called as one: it takes (x, h=None), expected (X, h0) or (X), of all steps or of one; "),
]


@pytest.mark.parametrize(("made", "words"), REFUSED)
def test_what_cannot_be_judged_is_refused_in_words(made, words):
    with pytest.raises(TargetError, match=re.escape(words)):
        to_target(made, "it")


def test_a_cell_that_contradicts_the_module_is_refused_and_the_right_one_may_be_said():
    with pytest.raises(TargetError, match=r"torch\.nn:GRU is a GRU with reset .* --cell gru_reset_after, expected gru"):
        load_target("torch.nn:GRU", cell=CELLS["gru"])
    assert load_target("torch.nn:GRU", cell=CELLS["gru_reset_after"]).cell is CELLS["gru_reset_after"]
    with pytest.raises(TargetError, match="torch is a framework's and judged as a plain LSTM"):
        load_target("torch", cell=CELLS["gru"])


def test_a_module_in_another_process_tells_its_cell():
    target = load_remote("torch.nn:RNN")
    assert target.cell is CELLS["rnn"]
    assert verify_case(target, Case(1, 2, 2, 2, seed=1, cell=target.cell)).verdict is Verdict.PASS


def keras_layers():
    layers = pytest.importorskip("keras").layers
    return {
        "GRU": (layers.GRU, "gru_reset_after"),
        "GRU, reset before": (lambda units: layers.GRU(units, reset_after=False, return_sequences=True), "gru"),
        "GRUCell": (layers.GRUCell, "gru_reset_after"),
        "SimpleRNN": (layers.SimpleRNN, "rnn"),
        "relu": (lambda units: layers.SimpleRNN(units, activation="relu", return_sequences=True), ""),
    }


@pytest.mark.parametrize("name", ["GRU", "GRU, reset before", "GRUCell", "SimpleRNN"])
def test_a_layer_of_keras_is_judged_as_the_cell_that_it_is(name):
    made, cell = keras_layers()[name]
    target = to_target(made, "it")
    assert target.cell is CELLS[cell]
    report = verify(target, examples=4, max_dims=(3, 4, 3, 3), dtypes=target.dtypes)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


def test_a_layer_of_keras_with_other_options_is_refused():
    with pytest.raises(TargetError, match="activation relu, expected tanh"):
        to_target(keras_layers()["relu"][0], "it")


@pytest.mark.parametrize(
    "descriptor",
    [
        "m1s5e2u2-gru_reset_after-float64-x100-h-seed1908002299",
        "m129s2e17u2-gru_reset_after-float64-x10-last-seed1",
    ],
)
def test_a_gru_whose_candidate_is_kept_as_a_difference_is_right(descriptor):
    """PyTorch has g + z (hp - g), whose dg = dh - dh z is off by a rounding of dh, all there is where z is nearly 1."""
    report = verify_case(load_target("torch.nn:GRU"), Case.parse(descriptor), properties=("training",))
    assert not report.failures
