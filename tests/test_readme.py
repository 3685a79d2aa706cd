"""The README's own words are run: its Python, and its commands that need nothing but this project."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import lstm_fast
from lstm_checks.cases import Case
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.text import render_failure, render_source
from lstm_checks.judging.verify import verify
from lstm_checks.repair.ask import look_into_source
from lstm_checks.targets.layer import from_layer
from lstm_checks.weights.carrying import to_framework
from lstm_checks.weights.files import write_arrays

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
SAMPLES = re.findall(r"```\n(.*?)\n```", README.read_text(), re.S)
COMMANDS = sorted(set(re.findall(r"`(lstm-checks [^`]*)`", README.read_text())))


def test_the_import_example_runs():
    names: dict = {}
    exec(next(block for block in BLOCKS if "compute_shapes" in block), names)
    assert names["A"].shape == (8, 20, 32)
    assert len(names["layer"].g) == 12


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command, tmp_path):
    # Frameworks and examples have tests of their own: test_peer_*.py.
    if any(
        word in command for word in ("TARGET", "FILE", "verify torch", "verify keras", "examples/", ".onnx", "exec:")
    ):
        pytest.skip("needs more than this project")
    if "certify" in command:
        pytest.importorskip("flint")
    if command == "lstm-checks gate":
        pytest.skip("needs a baseline; test_gate.py runs docs/gate.md in its order")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "path").mkdir()
    (tmp_path / "pkg" / "mod.py").write_text("from lstm_ref import LSTM\n")
    (tmp_path / "path" / "file.py").write_text("from lstm_ref import LSTM\n\ndef my_lstm(p, X): pass\n")
    write_arrays(tmp_path / "weights.npz", to_framework(Case(1, 1, 2, 3).arrays.p, "torch"))
    words = [sys.executable, "-m", "lstm_checks", *shlex.split(command)[1:]]
    found = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    # The function of the README's table is empty here, and so in no form; everything else passes.
    assert found.returncode == (2 if "my_lstm" in command else 0), found.stdout + found.stderr
    if command == "lstm-checks verify":
        shown = sample("lstm_fast:LSTM").splitlines()
        said = found.stdout.splitlines()
        assert [timeless(shown[0]), *shown[2:]] == [timeless(said[0]), *said[-2:]]


def sample(start):
    """The one of the README's samples of output that starts like this."""
    (text,) = (text for text in SAMPLES if text.startswith(start))
    return text


def timeless(line):
    return re.sub(r"[0-9.]+ s$", "... s", line)


def layer_with(name, factor):
    """A layer one of whose gradients is multiplied."""

    class Layer(lstm_fast.LSTM):
        def compute_gradients(self):
            super().compute_gradients()
            self.g[name] *= factor

    return from_layer(Layer)


@pytest.mark.parametrize(
    ("start", "target"),
    [("dC0[0, 0] = ", fault_target(find("carry-dropped"))), ("dUi[0, 0] = ", layer_with("dUi", 1 + 1e-12))],
)
def test_a_sample_of_a_failure_is_what_is_said(start, target):
    shown = sample(start)
    report = verify(replace(target, name="mylib.py:LSTM"), examples=40)
    assert report.failure.case.descriptor == re.search(r"case +(\S+)", shown)[1]
    assert rounded(render_failure("mylib.py:LSTM", report.failure)) == rounded(shown)


def test_the_line_and_the_fix_are_what_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_checks.tolerance.SOURCE_SECONDS", 120.0)
    monkeypatch.chdir(tmp_path)
    layers = ROOT / "tests" / "repair" / "layers"
    text = (layers / "layer_class.py").read_text()
    assert text.count("dC = dC + dht * o * tanh_slope(C)\n") == 1
    Path("mylib.py").write_text(text.replace("dC = dC + dht * o * tanh_slope(C)\n", "dC = dht * o * tanh_slope(C)\n"))
    Path("repair_helpers.py").write_text((layers / "repair_helpers.py").read_text())
    case = Case.parse("m1s1e1u1-float64-seed0")
    report = replace(
        verify_case(from_layer(lstm_fast.LSTM), case), source=look_into_source("mylib.py:LSTM", [case], fix=60.0)
    )
    shown, said = sample("  line      mylib.py:").splitlines(), render_source(report)
    assert said[:-1] == shown[:-1]
    assert said[-1].startswith("            so changed, all is right in ")
    assert shown[-1].startswith("            so changed, all is right in ")


ROOT = Path(__file__).parents[1]
# Not what `make docs` builds of them.
OURS = (page for page in ROOT.rglob("*.md") if page.relative_to(ROOT).parts[0] != "build")
PAGES = [page for page in OURS if not any(part[0] == "." for part in page.relative_to(ROOT).parts)]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_are_there(page):
    text = page.read_text("utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    named = re.findall(r"`((?:checks|lstm_ref|lstm_fast|tests|docs|examples|benchmarks)/[\w./-]+\.\w+)`", text)
    # What the changelog and the decisions tell of has been there.
    if page.name != "CHANGELOG.md" and page.parent.name != "decisions":
        # A name may be from the page's own folder, as in tests/README.md, or have a NAME in it that stands for any.
        folders = (ROOT, page.parent)
        found = {name for name in named if any(any(folder.glob(name.replace("NAME", "*"))) for folder in folders)}
        assert not set(named) - found


def test_the_sample_of_the_suite_is_what_it_says():
    shown = re.findall(r"^E   (.*)", (README.parent / "docs" / "suite.md").read_text(), re.M)
    shown = shown[next(k for k, line in enumerate(shown) if line.endswith("[mylib.py:Wrong against lstm_ref]")) :]
    target = layer_with("dVi", 1.001)
    report = explain(target, verify_case(target, Case.parse("m1s1e1u1-float64-seed0")))
    assert rounded(render_failure("mylib.py:Wrong", report)) == rounded("\n".join(shown))


def rounded(text):
    """The text with what depends on the last bits left open."""
    return re.sub(r"at most [0-9.e-]+ % of", "at most ... % of", re.sub(r"± [0-9.e-]+", "± ...", text))


def test_the_figures_of_the_kill_matrix_are_those_of_its_document():
    rows = re.findall(
        r"^\| ([^|`]+?) \| \d+ \| \d+ \| \d+ \| (\d+) \|",
        (README.parent / "docs" / "kill-matrix.md").read_text(),
        re.M,
    )
    alive = dict(rows)
    torch, jax = alive["torch.gradcheck's"], alive["jax.check_grads's"]
    said = " ".join(README.read_text().split())
    assert f"`scipy.optimize.check_grad` at 1e-5 leaves {alive['check_grad, 1e-5']} alive" in said
    assert f"torch's gradcheck {torch}, of JAX's check_grads {jax}," in said
    assert f"`np.allclose` against the reference {alive['np.allclose']}, and `verify` the {alive['verify']} " in said
