"""The layer inside a model: named by its path, judged in its place, and hinted at where a model has more in it."""

import pytest

torch = pytest.importorskip("torch")

from lstm_checks.cases import Case  # noqa: E402
from lstm_checks.judging.case import verify_case  # noqa: E402
from lstm_checks.targets.load import TargetError, files_of, load_target  # noqa: E402
from lstm_ref.cells import cell_named  # noqa: E402

pytestmark = pytest.mark.peer

FILE = """
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True)
        self.cell = nn.GRUCell(8, 16, bias=False)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.encoder, self.head = nn.Embedding(10, 8), Encoder(), nn.Linear(32, 1)

class Headed(nn.Module):
    def __init__(self, e, u):
        super().__init__()
        self.rnn, self.head = nn.LSTM(e, u), nn.Linear(u, 3)
    def forward(self, x): return self.head(self.rnn(x)[0])

class Tagger(nn.Module):
    def __init__(self, vocabulary=20, embedding=5, hidden=6, tags=3):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, tags)
    def forward(self, tokens): return self.out(self.lstm(self.embedding(tokens))[0])

def made(): return Tagger()

class Two(Headed):
    def __init__(self, e, u):
        super().__init__(e, u)
        self.rnn = nn.LSTM(e, u, 2)

class Wrong(nn.LSTM):
    def forward(self, x, states=None):
        h, final = super().forward(x, states)
        return h * 1.0001, final

class Holds(nn.Module):
    def __init__(self, vocabulary=7):
        super().__init__()
        self.inner = Wrong(3, 4)

class Turned(nn.LSTM):
    def forward(self, x, states=None):
        h, final = super().forward(x, states)
        return h.flip(1), final

class Own(nn.Module):
    def __init__(self, e=3, u=4, back=False):
        super().__init__()
        self.lstm, self.back = nn.LSTM(e, u), back
    def forward(self, x):
        return self.lstm(x.flip(0) if self.back else x)[0]

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.turned = Turned(3, 6, 2, bidirectional=True, batch_first=True, proj_size=2)
        self.right, self.back = Own(), Own(back=True)

net = Net()
def number(): return 1
def needy(config, vocabulary, words): return Net()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["Net", "net"])
def test_a_layer_is_judged_with_its_options(name):
    target = load_target(f"model.py:{name}[encoder.lstm]")
    assert target.cell is cell_named("plain@2xboth")
    assert not verify_case(target, Case(3, 4, 2, 3, seed=4, cell=target.cell), thorough=False).failures
    cell = load_target(f"model.py:{name}[encoder.cell]")
    assert (cell.cell, "bg" in cell.lacks) == (cell_named("gru_reset_after"), True)
    assert [file.name for file in files_of("model.py:Net[encoder.lstm]")] == ["model.py"]


def test_a_class_of_ones_own_inside_is_judged_as_such():
    target = load_target("model.py:Holds[inner]")
    assert "h" in [claim.name for claim in verify_case(target, Case(2, 3, 4, 5, seed=1), thorough=False).failures]


def test_a_class_of_ones_own_inside_has_the_options_that_stand_there():
    target = load_target("model.py:Deep[turned]")
    assert target.cell is cell_named("projected@2xboth")
    case = Case.of((2, 3, 4, 5, 2), seed=1, cell=target.cell)
    assert "h" in [claim.name for claim in verify_case(target, case, thorough=False).failures]
    right = load_target("model.py:Deep[right]")
    assert not verify_case(right, Case(2, 3, 4, 5, seed=1, states=False), thorough=False).failures


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("Deep[back]", "made so it is another than the one inside: its back is False, expected True; name a function"),
        ("Net[encoder.lst]", "model.py:Net has no recurrent layer 'encoder.lst'; did you mean 'encoder.lstm'?"),
        ("Net[x]", "expected one of encoder, encoder.lstm, encoder.cell"),
        ("number[x]", "makes no model of a framework in use"),
        ("needy[x]", "it cannot be made without arguments: TypeError"),
        ("Two", "beside its recurrent parameters, expected the LSTM alone: --layer rnn judges that alone"),
        ("Headed", "--layer rnn judges that alone"),
        ("Tagger", "; --layer lstm judges that alone"),
        ("made", "and no way to call it was found; --layer lstm judges that alone"),
    ],
)
def test_what_cannot_be_judged_says_why_and_what_to_do(spec, said):
    with pytest.raises(TargetError) as raised:
        load_target(f"model.py:{spec}")
    assert said in str(raised.value)
