"""PyTorch's own nn.LSTM, a stranger in every way, through the same harness."""

import pytest

pytest.importorskip("torch")

from checks.cases import Case
from checks.compare import Verdict
from checks.contract import from_function
from checks.report.text import render_report
from checks.targets import TargetError, load_target
from checks.verify import verify, verify_case

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


def test_what_computes_in_float32_is_judged_in_float32(folder):
    assert load_target("mine.py:single").dtypes == ("float32",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoBias", "are not those of one LSTM with biases"),
        ("module", "is an instance of LSTM, of fixed sizes; expected the class"),
        ("needs_more", "expected (p, X, h0, C0) or (p, X)"),
        ("Step", "is a torch.autograd.Function, expected a module that applies it"),
        ("scripted", "is a scripted module, whose weights cannot be replaced"),
        ("Dropping", "its outputs differ from call to call; switch off what is random in it"),
        ("Last", "h of shape (2, 7) came, expected that of every step, (m, s, u) = (2, 3, 7)"),
    ],
)
def test_what_cannot_be_judged_is_refused(folder, name, words):
    with pytest.raises(TargetError) as raised:
        load_target(f"mine.py:{name}")
    assert words in str(raised.value)


def test_outputs_that_are_tensors_are_read():
    import torch

    right = load_target("torch").call

    def function(p, X, h0, C0):
        (h, Cn), pullback = right(p, X, h0, C0)
        tensors = torch.from_numpy(h).requires_grad_(), torch.from_numpy(Cn)
        return tensors, lambda dh, dCn: {
            name: torch.from_numpy(g) for name, g in pullback(dh, dCn).items() if " " not in name
        }

    assert verify_case(from_function(function), Case(2, 3, 4, 5)).verdict is Verdict.PASS
