"""PyTorch's stacks: its own, and modules round one, right and wrong, with packed sequences."""

import pytest

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.compare import Verdict  # noqa: E402
from lstm_checks.diagnosis.diagnose import diagnose  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.judging.text import render_failure  # noqa: E402
from lstm_checks.judging.verify import verify  # noqa: E402
from lstm_checks.targets.load import TargetError, load_target, to_target  # noqa: E402
from lstm_ref.cells import CELLS, cell_named  # noqa: E402
from lstm_ref.network import Network  # noqa: E402

pytestmark = pytest.mark.peer

BOTH, STACK, DEEP = (cell_named(name) for name in ("plain@1xboth", "plain@2xforward", "plain@2xboth"))
LENGTHS = ("whole", "ragged", "sorted", "short", "ones")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Packed(torch.nn.Module):
    """A stack as people wrap it: the batch is packed, sorted by PyTorch or by hand."""

    layers, both, batch_first, by_hand, bug = 1, True, True, False, ""

    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, self.layers, batch_first=self.batch_first, bidirectional=self.both)

    def forward(self, x, lengths, states=None):
        order = torch.argsort(lengths, descending=True, stable=True)
        back = torch.argsort(order)
        axis = 0 if self.batch_first else 1
        if self.by_hand:
            x, lengths = x.index_select(axis, order), lengths[order]
            if self.bug != "states not sorted":
                states = None if states is None else tuple(s[:, order] for s in states)
        if self.bug == "lengths ignored":
            out, (h, C) = self.lstm(x, states)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=self.by_hand)
            out, (h, C) = self.lstm(packed, states)
            out, _ = pad_packed_sequence(out, batch_first=self.batch_first)
        if self.by_hand:
            out = out.index_select(axis, back)
            if self.bug != "finals not unsorted":
                h, C = h[:, back], C[:, back]
        if self.bug == "last step for the final state" and self.both:
            h = torch.stack([*h[:-1], out[torch.arange(len(out)), lengths - 1][:, h.shape[2] :]])
        if self.bug == "detached":
            out = torch.cat([out[:, :1], out[:, 1:].detach()], 1)
        return out, (h, C)


def kind_of(**options):
    return type("Mine", (Packed,), options)


# PyTorch's own


@pytest.mark.parametrize("net", [BOTH, STACK], ids=lambda net: net.name)
def test_its_own_stack_passes_with_packed_sequences(net):
    target = load_target("torch", cell=net)
    assert (target.cell, target.lengths) == (net, LENGTHS)
    assert target.notes[0].startswith(
        "not judged at empty lengths, which it refuses: forward raised RuntimeError: Length"
    )
    report = verify(target, examples=20)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert "dbf_l0 of bias_hh_l0" in report.claim_counts


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("plain@1xreverse", "torch.nn.LSTM has no layers that run in reverse alone, expected a network of forward or"),
        ("plain@2xsum", "torch.nn.LSTM has no directions that are added"),
        ("peephole@2xboth", "torch.nn has stacks of the cells plain, .*, the network peephole@2xboth is of others"),
    ],
)
def test_a_network_that_pytorch_has_not_is_refused(cell, said):
    with pytest.raises(TargetError, match=said):
        load_target("torch", cell=cell_named(cell))


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_instance_is_judged_with_the_options_that_it_was_made_with(batch_first):
    module = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
    target = to_target(module, "it")
    assert target.cell is DEEP
    for kind in ("", "ragged"):
        assert not verify_case(target, Case(3, 4, 2, 3, seed=4, cell=DEEP, lengths=kind)).failures
    with pytest.raises(
        TargetError,
        match="expected plain@2xforward, which was asked for; --cell plain@2xboth judges",
    ):
        to_target(module, "it", STACK)


def test_dropout_between_layers_is_refused_unless_it_is_off():
    module = torch.nn.LSTM(3, 5, num_layers=2, dropout=0.5)
    with pytest.raises(TargetError, match=r"it has dropout 0\.5, which is random and not judged: set it to 0, or call"):
        to_target(module, "it")
    assert to_target(module.eval(), "it").cell is STACK


OTHERS = {
    "no biases": (torch.nn.LSTM, {"bias": False}, "plain@2xforward"),
    "projected": (torch.nn.LSTM, {"proj_size": 2, "bidirectional": True}, "projected@2xboth"),
    "GRU": (torch.nn.GRU, {"bidirectional": True}, "gru_reset_after@2xboth"),
    "relu": (torch.nn.RNN, {"nonlinearity": "relu", "bias": False}, "rnn,g=relu@2xforward"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_its_stacks_of_other_options_and_cells_pass(kind):
    made, options, due = OTHERS[kind]
    target = to_target(made(3, 5, num_layers=2, **options), "it")
    assert target.cell is cell_named(due)
    assert ("bg_l0" in target.lacks) is (options.get("bias") is False)
    sizes = (3, 4, 2, 3, *(2 for _ in target.cell.further))
    for lengths, dtype in (("", "float64"), ("ragged", "float32")):
        report = verify_case(target, Case.of(sizes, dtype, seed=4, cell=target.cell, lengths=lengths))
        assert not report.failures
        assert report.claim("dUg_l1").verdict is Verdict.PASS


def test_its_stacks_are_named_by_cell():
    for name in ("projected@2xforward", "gru_reset_after@1xboth", "rnn@2xforward"):
        target = load_target("torch", cell=cell_named(name))
        assert (target.cell.name, target.lengths) == (name, LENGTHS)
    assert not verify_case(target, Case(3, 4, 2, 3, seed=4, cell=target.cell, lengths="ragged")).failures


# Modules round one


@pytest.mark.parametrize("options", [{}, {"by_hand": True}, {"batch_first": False}], ids=str)
def test_a_module_that_packs_passes(options):
    target = to_target(kind_of(**options), "it", BOTH)
    assert (target.cell, target.lengths) == (BOTH, LENGTHS)
    assert "its output ends with the longest sample, and is taken for zero beyond" in target.notes
    for kind in ("", *LENGTHS):
        for dtype in ("float64", "float32"):
            report = verify_case(target, Case(3, 4, 2, 3, dtype, seed=4, cell=BOTH, lengths=kind))
            assert not report.failures, (kind, report.failures)


def test_a_module_of_several_places_is_found_by_itself_and_one_of_one_place_where_lengths_are_asked_for():
    assert to_target(kind_of(layers=2), "it").cell is DEEP
    one = to_target(kind_of(both=False), "it", cell_named("plain@1xforward"))
    assert one.lengths == LENGTHS
    assert not verify_case(one, Case(3, 4, 2, 3, seed=4, cell=one.cell, lengths="ragged")).failures


def test_a_module_that_takes_no_states_and_returns_no_finals_is_judged_on_the_rest():
    class Bare(torch.nn.Module):
        def __init__(self, e, u):
            super().__init__()
            self.rnn = torch.nn.LSTM(e, u, 2)

        def forward(self, x):
            return self.rnn(x)[0]

    target = to_target(Bare, "it")
    assert target.cell is STACK
    assert set(STACK.outputs[1:]) <= target.lacks
    assert "it takes no lengths: every sample has all steps" in target.notes
    report = verify(target, examples=10, dtypes=("float64",))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


def test_a_module_with_a_head_is_refused_with_what_is_beside_the_lstm():
    class Head(torch.nn.Module):
        def __init__(self, e, u):
            super().__init__()
            self.lstm, self.out = torch.nn.LSTM(e, u, 2), torch.nn.Linear(u, 1)

    with pytest.raises(TargetError, match=r"it has out\.bias, out\.weight beside its recurrent parameters"):
        to_target(Head, "it")


WRONG = {
    "lengths ignored": ({}, "lengths-ignored-but-for-the-output"),
    "states not sorted": ({"by_hand": True}, "initial-states-not-sorted"),
    "finals not unsorted": ({"by_hand": True}, "final-states-not-unsorted"),
    "last step for the final state": ({}, "layer 1, reverse: final-h-of-the-last-step"),
}


@pytest.mark.parametrize("bug", WRONG)
def test_a_module_that_packs_wrongly_is_caught_and_named(bug):
    options, due = WRONG[bug]
    target = to_target(kind_of(bug=bug, **options), "it", BOTH)
    case = Case(3, 4, 4, 2, seed=4, cell=BOTH, lengths="ragged")
    assert verify_case(target, case, thorough=False).failures
    found = diagnose(target, case).suspects
    assert due in [suspect.fault for suspect in found if suspect.certain]


class Cells(torch.nn.Module):
    """A stack of cells, stepped by hand; states and what comes back in one of the forms that people have."""

    made, by_kind, bug = torch.nn.LSTMCell, False, ""

    def __init__(self, e, u):
        super().__init__()
        self.first, self.second = self.made(e, u), self.made(u, u)

    def forward(self, x, states=None):
        if states is None:
            states = [tuple(x.new_zeros(len(x), self.first.hidden_size) for _ in "hC") for _ in "12"]
        first, second = zip(*states, strict=True) if self.by_kind else states
        every = []
        for t in range(x.shape[1]):
            first = self.first(x[:, t], first)
            second = self.second(first[1 if self.bug == "C" else 0], second)
            every.append(second[0])
        return torch.stack(every, 1), list(zip(first, second, strict=True)) if self.by_kind else [first, second]


@pytest.mark.parametrize("by_kind", [False, True])
def test_a_stack_of_cells_is_judged_and_in_the_order_of_its_states(by_kind):
    target = to_target(type("Mine", (Cells,), {"by_kind": by_kind}), "it")
    assert target.cell is STACK
    assert not target.lacks & {*STACK.outputs, *STACK.initial}
    assert not verify_case(target, Case(3, 4, 2, 3, seed=1, cell=STACK), thorough=False).failures
    wrong = to_target(type("Mine", (Cells,), {"bug": "C", "by_kind": by_kind}), "it")
    case = Case(3, 4, 4, 2, seed=4, cell=STACK)
    assert verify_case(wrong, case, thorough=False).failures


def test_what_makes_no_network_is_refused_with_the_reason():
    class Uneven(torch.nn.Module):
        def __init__(self, e, u):
            super().__init__()
            self.one, self.two = torch.nn.LSTM(e, u, bidirectional=True), torch.nn.LSTM(2 * u, u)

    with pytest.raises(TargetError, match="3 cells, but its layers' directions are 2 forward and 1 in reverse"):
        to_target(Uneven, "it")

    class Frozen(torch.nn.LSTM):
        def __init__(self, e, u):
            super().__init__(e, u, 2)
            self.weight_hh_l1.requires_grad_(False)

    with pytest.raises(TargetError, match="it: weight_hh_l1 does not learn"):
        to_target(Frozen, "it")


def test_what_is_detached_is_caught():
    target = to_target(kind_of(bug="detached"), "it", BOTH)
    report = verify_case(target, Case(3, 4, 2, 2, seed=4, cell=BOTH, lengths="whole"))
    assert {"dX", "dUf_l0", "dUf_l0_reverse"} <= {claim.name for claim in report.failures}


def test_one_place_is_judged_as_ever_where_nobody_asks_for_more():
    assert to_target(torch.nn.LSTM, "torch.nn.LSTM").cell is CELLS["plain"]
    assert not isinstance(load_target("torch").cell, Network)
