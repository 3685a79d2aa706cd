"""PyTorch's own nn.LSTM, a stranger in every way, through the same harness."""

import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from agreement import positional

from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.function import from_function
from lstm_checks.targets.load import TargetError, load_target
from lstm_ref.cells import CELLS

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nn_lstm_passes(dtype):
    report = verify(load_target("torch"), examples=100, seed=1, dtypes=(dtype,))
    assert report.exit_code == 0, render_report(report)


def test_the_gradients_of_both_biases_are_judged():
    report = verify_case(load_target("torch"), Case(2, 3, 4, 5))
    assert report.claim("dbf").verdict is Verdict.PASS
    assert report.claim("dbf of bias_hh_l0").verdict is Verdict.PASS


FILE = """
import warnings

import torch

def single(p, X, h0, C0):
    return (X.float() @ p["Uf"].float()).cumsum(1), C0.float()

class NoBias(torch.nn.LSTM):
    def __init__(self, e, u, batch_first=True):
        super().__init__(e, u, batch_first=batch_first, bias=False)

class Projected(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, batch_first=True, proj_size=2)

    def forward(self, X, states=None): return self.lstm(X, states)

class ProjectedNoBias(torch.nn.LSTM):
    def __init__(self, e, u, batch_first=True):
        super().__init__(e, u, batch_first=batch_first, proj_size=u - 1, bias=False)

class Halved(torch.nn.LSTM):
    def __init__(self, e, u, batch_first=True):
        super().__init__(e, u, batch_first=batch_first, proj_size=u // 2)

class FromH(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.cell = torch.nn.LSTMCell(e, u)

    def forward(self, X, h):
        C, every = torch.zeros_like(h), []
        for t in range(X.shape[1]):
            h, C = self.cell(X[:, t], (h, C))
            every.append(h)
        return torch.stack(every, 1)

class Apart(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        for gate in "ifco":
            self.register_parameter("W_" + gate, torch.nn.Parameter(torch.randn(u, e)))
            self.register_parameter("R_" + gate, torch.nn.Parameter(torch.randn(u, u)))
            self.register_parameter("b_" + gate, torch.nn.Parameter(torch.randn(u)))

    def forward(self, X):
        h = C = torch.zeros(X.shape[1], self.b_i.shape[0], dtype=X.dtype)
        every = []
        for x in X:
            i, f, g, o = (x @ getattr(self, "W_" + k).T + h @ getattr(self, "R_" + k).T + getattr(self, "b_" + k)
                          for k in "ifco")
            C = f.sigmoid() * C + i.sigmoid() * g.tanh()
            h = o.sigmoid() * C.tanh()
            every.append(h)
        return torch.stack(every)

module = torch.nn.LSTM(2, 3)
def needs_more(a, b, c): pass

class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a): return a
    @staticmethod
    def backward(ctx, d): return d

class Recurrent(torch.nn.Module):
    def forward(self, X, states):
        h, C = states
        every = []
        for x in X.unbind(1):
            f, i, g, o = self.gates(torch.cat([h, x], 1))
            C = f.sigmoid() * self.carried(C) + i.sigmoid() * g.tanh()
            h = o.sigmoid() * C.tanh()
            every.append(h)
        return torch.stack(every, 1), (h, C)

    def carried(self, C): return C

class Packed(Recurrent):
    def __init__(self, e, u):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(4 * u))
        self.weights = torch.nn.Parameter(torch.zeros(4 * u, e + u))

    def gates(self, z):
        i, f, o, g = (z @ self.weights.T + self.bias).chunk(4, 1)
        return f, i, g, o

class PackedWrong(Packed):
    def carried(self, C): return C.detach()

class Linears(Recurrent):
    def __init__(self, e, u):
        super().__init__()
        for gate in ("forget", "input", "cell", "output"):
            setattr(self, f"{gate}_gate", torch.nn.Linear(e + u, u))

    def gates(self, z):
        return self.forget_gate(z), self.input_gate(z), self.cell_gate(z), self.output_gate(z)

class LinearsWrong(Linears):
    def carried(self, C): return C.detach()

def scripted(e, u):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return torch.jit.script(torch.nn.LSTM(e, u))

class Dropping(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm, self.drop = torch.nn.LSTM(e, u, batch_first=True), torch.nn.Dropout(0.5)

    def forward(self, X, states):
        h, states = self.lstm(X, states)
        return self.drop(h), states

class Last(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, batch_first=True)

    def forward(self, X): return self.lstm(X)[0][:, -1]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def test_weights_of_each_gate_apart_time_major_and_without_states_are_found_out(folder):
    target = load_target("mine.py:Apart")
    assert "weights told by their shapes and the gates' letters" in target.kind
    assert set(target.unsupported) == {"initial states", "Cn", "dCn", "dh0", "dC0"}
    assert verify_case(target, Case(2, 3, 4, 5, cotangents="every+h", states=False)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "order"),
    [("Packed", "gates in the order i f o g, [V; U] in one"), ("Linears", "the gates' letters, [V; U] in one")],
)
def test_input_and_recurrent_weights_in_one_matrix_are_found_out(folder, name, order):
    target = load_target(f"mine.py:{name}")
    assert target.kind.endswith(order)
    assert verify_case(target, Case(2, 3, 4, 5)).verdict is Verdict.PASS
    assert verify_case(load_target(f"mine.py:{name}Wrong"), Case(2, 3, 4, 5)).verdict is Verdict.FAIL


BIASES = {f"{d}b{gate}" for gate in "figo" for d in ("", "d")}


@pytest.mark.parametrize(
    ("name", "cell", "lacking", "sizes"),
    [
        ("NoBias", "plain", BIASES, (2, 3, 4, 5)),
        ("Projected", "projected", set(), (2, 3, 4, 5, 2)),
        ("ProjectedNoBias", "projected", BIASES, (2, 3, 4, 5, 4)),
        ("FromH", "plain", {"C0", "Cn", "dCn", "dC0"}, (2, 3, 4, 5)),
    ],
)
def test_what_a_module_has_and_lacks_is_found_out(folder, name, cell, lacking, sizes):
    target = load_target(f"mine.py:{name}")
    assert (target.cell.name, set(target.unsupported)) == (cell, lacking)
    for dtype in ("float64", "float32"):
        report = verify_case(target, Case.of(sizes, dtype, seed=1, cell=target.cell))
        assert report.verdict is Verdict.PASS, report.failures
        unsupported = {claim.name for claim in report.claims if claim.verdict is Verdict.UNSUPPORTED}
        assert unsupported & set(target.cell.tensors) == lacking & set(target.cell.tensors)
        assert report.claim("dUf").verdict is Verdict.PASS
        assert cell == "plain" or report.claim("dP").verdict is Verdict.PASS


def test_torchs_own_projection_is_judged_at_any_size_that_it_takes():
    target = load_target("torch", cell=CELLS["projected"])
    assert not target.unsupported
    report = verify(target, examples=12, max_dims=(3, 5, 4, 6, 6))
    assert report.exit_code == 0, report.failure
    assert len({example.case.sizes["p"] for example in report.examples}) > 1
    wrong = replace(target, call=of_twice(target.call, "dP"))
    assert {c.name for c in verify_case(wrong, Case.of((2, 3, 2, 4, 3), cell=target.cell)).failures} >= {"dP"}


def of_twice(call, name):
    def twice(inputs, sequences=True):
        outputs, pullback = call(inputs, sequences)
        return outputs, lambda cotangents: {n: v * (1 + (n == name)) for n, v in pullback(cotangents).items()}

    return twice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("torch", "--proj", "2", "--examples", "4", "--max-dims", "2,3,2,4"), "recurrent projection: 4 examples"),
        (("mine.py:Projected", "--proj", "3"), "--proj 3: mine.py:Projected has chosen the size of its projection"),
        (("torch", "--cell", "plain", "--proj", "3"), "is judged as a plain LSTM, which has no projection"),
        (("torch", "--cell", "peephole"), "torch is a framework's and judged as a plain LSTM"),
    ],
)
def test_the_command_takes_the_size_of_a_projection(folder, words, said):
    command = [sys.executable, "-m", "lstm_checks", "verify", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said in done.stdout + done.stderr
    assert done.returncode == (0 if "examples" in said else 2)


def test_what_computes_in_float32_is_judged_in_float32(folder):
    assert load_target("mine.py:single").dtypes == ("float32",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Halved", "has a projection whose size follows from the others in no way that is known"),
        ("needs_more", "takes (a, b, c), expected (p, X, h0, C0), (p, X, h0) or (p, X)"),
        ("Step", "is a torch.autograd.Function, expected a module that applies it"),
        ("scripted", "is a scripted module, whose weights cannot be replaced"),
        ("Dropping", "has dropout 0.5, which is random and not judged: set it to 0, or call eval()"),
        ("Last", "h of shape (2, 7) came, expected that of every step, (m, s, u) = (2, 3, 7)"),
    ],
)
def test_what_cannot_be_judged_is_refused(folder, name, words):
    with pytest.raises(TargetError) as raised:
        load_target(f"mine.py:{name}")
    assert words in str(raised.value)


def test_outputs_that_are_tensors_are_read():
    import torch

    right = positional(load_target("torch"))

    def function(p, X, h0, C0):
        (h, Cn), pullback = right(p, X, h0, C0)
        tensors = torch.from_numpy(h).requires_grad_(), torch.from_numpy(Cn)
        return tensors, lambda dh, dCn: {
            name: torch.from_numpy(g) for name, g in pullback(dh, dCn).items() if " " not in name
        }

    assert verify_case(from_function(function), Case(2, 3, 4, 5)).verdict is Verdict.PASS


MORE = """
import torch

def half(e, u): return torch.nn.LSTM(e, u).half()
def bfloat(e, u): return torch.nn.LSTM(e, u).bfloat16()

class OneHalf(torch.nn.LSTMCell):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.register_buffer("scale", torch.ones(u, dtype=torch.float16))

class Inside(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(e, u, batch_first=True)

    def forward(self, X, states):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.lstm(X, states)

class InsideAndBack(Inside):
    def forward(self, X, states):
        h, states = super().forward(X.to(torch.float16).to(X.dtype), states)
        return h.to(X.dtype), tuple(state.to(X.dtype) for state in states)

class Base(torch.nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(4 * u, e))
        self.R = torch.nn.Parameter(torch.randn(4 * u, u))
        self.more(u)

    def more(self, u): self.bias = torch.nn.Parameter(torch.zeros(4 * u))
    def now(self): return self.bias
    def look(self, C): return 0

    def forward(self, X, states):
        h, C = states
        every = []
        for x in X.unbind(1):
            i, f, g, o = (x @ self.W.T + h @ self.R.T + self.now()).chunk(4, 1)
            C = f.sigmoid() * C + (i + self.look(C)).sigmoid() * g.tanh()
            h = o.sigmoid() * C.tanh()
            every.append(h)
        return torch.stack(every, 1), (h, C)

class Buffer(Base):
    def more(self, u): self.register_buffer("bias", torch.zeros(4 * u))

class Plain(Base):
    def more(self, u): self.bias = torch.zeros(4 * u)

class Frozen(Base):
    def more(self, u): self.bias = torch.nn.Parameter(torch.zeros(4 * u), requires_grad=False)

class Detached(Base):
    def now(self): return self.bias.detach()

class FrozenWrong(Frozen):
    def look(self, C): return C.detach() * 0 + (C - C.detach())

class Unused(Base):
    def more(self, u):
        super().more(u)
        self.never = torch.nn.Parameter(torch.zeros(2, u))

class Peephole(Base):
    def more(self, u):
        super().more(u)
        self.peep = torch.nn.Parameter(torch.randn(u))

    def look(self, C): return self.peep * C

class Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx, C, peep):
        ctx.save_for_backward(C, peep)
        return C * peep

    @staticmethod
    def backward(ctx, d):
        C, peep = ctx.saved_tensors
        return d * peep, 7 * (d * C).sum(0)

class PeepholeWrong(Peephole):
    def look(self, C): return Times.apply(C, self.peep)

class Gain(Base):
    def more(self, u):
        super().more(u)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def now(self): return self.gain * self.bias

class Phased(Base):
    def more(self, u):
        super().more(u)
        self.phase = torch.nn.Parameter(torch.zeros(2 * u))

    def now(self): return self.bias + torch.cos(self.phase).mean()

class Headed(Inside):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.fc = torch.nn.Linear(u, 1)

    def forward(self, X, states):
        h, states = self.lstm(X, states)
        return self.fc(h), states

class Lengths(torch.nn.Module):
    def __init__(self, d, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(d, u, batch_first=True)
    def forward(self, x, lengths, states=None):
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, hn = self.lstm(packed, states)
        return torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], hn

class MaybeMasked(torch.nn.Module):
    def __init__(self, d, u):
        super().__init__()
        self.lstm = torch.nn.LSTM(d, u, batch_first=True)
    def forward(self, x, states=None, mask=None):
        return self.lstm(x, states)
"""


@pytest.fixture
def more(tmp_path, monkeypatch):
    (tmp_path / "more.py").write_text(MORE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OneHalf", "more.py:OneHalf holds scale in float16 and "),
        (
            "Lengths",
            "it takes (x, lengths, states=None), expected (X), (X, (h0, C0)) or (X, h0, C0), of all steps or of one; "
            "lengths not given: lengths and masks are not judged; ",
        ),
        (
            "Headed",
            "has fc.bias, fc.weight beside its recurrent parameters, expected the LSTM alone: --layer lstm judges that",
        ),
    ],
)
def test_what_is_in_several_formats_or_glued_on_is_refused_in_words(more, name, words):
    with pytest.raises(TargetError) as raised:
        load_target(f"more.py:{name}")
    assert words in str(raised.value)


def test_that_a_mask_is_not_given_is_said(more):
    assert load_target("more.py:MaybeMasked").notes == ("mask not given: lengths and masks are not judged",)


BIASES = {"dbf", "dbi", "dbg", "dbo"}


@pytest.mark.parametrize(
    ("name", "why"),
    [("Buffer", "a buffer"), ("Plain", "a tensor that is no parameter"), ("Frozen", "its requires_grad is False")],
)
def test_a_bias_that_does_not_learn_is_seen_and_its_gradient_not_passed(more, name, why):
    target = load_target(f"more.py:{name}")
    assert target.notes == (f"bias does not learn, {why}: dbi, dbf, dbg, dbo not judged",)
    told = verify_case(target, Case(2, 3, 4, 5)).claim("learning").discrepancy.message
    assert told == f"bias does not learn, {why}; expected a gradient, or --frozen bias"
    meant = replace(target, unlearned={})
    report = verify(meant, examples=15, max_dims=(3, 4, 3, 3))
    assert report.exit_code == 0, render_report(report)
    for gradient in BIASES:
        assert not report.claim_counts[gradient][Verdict.PASS]
    assert f"  note      {target.notes[0]}" in render_report(report).splitlines()
    assert verify(meant, examples=5, reference=False, max_dims=(3, 4, 3, 3)).exit_code == 0


def test_a_bias_that_is_cut_off_fails_and_so_does_a_wrong_layer_whose_bias_is_frozen(more):
    report = verify_case(load_target("more.py:Detached"), Case(2, 3, 4, 5))
    assert {claim.name for claim in report.failures} >= {*BIASES, "learning"}
    assert "bias does not learn, it is cut off" in report.claim("learning").discrepancy.message
    assert load_target("more.py:Base").notes == ()
    wrong = verify_case(load_target("more.py:FrozenWrong"), Case(2, 3, 4, 5))
    assert wrong.verdict is Verdict.FAIL
    assert not BIASES & {claim.name for claim in wrong.failures}


SMALL = {"examples": 12, "max_dims": (3, 4, 3, 3)}


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("Unused", "never (2, u) reaches no output; no gradient of it judged"),
        ("Peephole", "peep (u,), which a plain LSTM has not, held at zero, no gradient of it judged"),
        ("Gain", "gain (), which a plain LSTM has not, held as they are made, no gradient of it judged"),
    ],
)
def test_a_parameter_besides_is_said_or_judged(more, name, beside):
    target = load_target(f"more.py:{name}")
    report = verify(target, **SMALL)
    assert report.exit_code == 0, render_report(report)
    assert f"  note      {beside}" in render_report(report)
    without = verify(target, reference=False, **SMALL)
    assert without.exit_code == 0, render_report(without)


def test_a_wrong_gradient_of_a_parameter_besides_fails_without_a_reference(more):
    report = verify(load_target("more.py:PeepholeWrong"), reference=False, **SMALL)
    assert report.exit_code == 1
    assert "gradient step" in {claim.name for example in report.examples for claim in example.failures}


def test_what_is_no_plain_lstm_with_it_is_judged_without_a_reference_alone(more):
    target = load_target("more.py:Phased")
    assert "is no plain LSTM without: lstm_ref is no reference for it; use --no-reference" in target.foreign
    assert verify(target, **SMALL).exit_code == 2
    report = verify(target, reference=False, **SMALL)
    assert report.exit_code == 0, render_report(report)
    assert "not asked unit permutation: in which order phase holds the hidden units" in render_report(report)
