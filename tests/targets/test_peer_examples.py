"""Every example of a target is run: the right ones pass, the wrong ones fail by what is wrong in them."""

import importlib.util
from pathlib import Path

import pytest

from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.targets.load import load_target
from lstm_ref.cells import cell_named

pytestmark = pytest.mark.peer
FOLDER = Path(__file__).parents[2] / "examples"

# The file, what it needs, and by target its kind and the tensors that the failure names.
EXAMPLES = {
    "vjp_function": ("numpy", {"lstm": ("function in the vjp form", ""), "lstm_without_carry": ("function", "dC0")}),
    "any_layer": (
        "numpy",
        {"PackedLSTM": ("class of its own form", ""), "LostMemory": ("class of its own form", "dC0")},
    ),
    "epynn_layer": ("numpy", {"LSTM": ("layer class", ""), "SwappedBiases": ("layer class", "dbf dbi")}),
    "torch_module": (
        "torch",
        {
            "LSTM": ("torch.nn.Module LSTM, weights as in layout torch-cell", ""),
            "HandWritten": ("torch.nn.Module HandWritten", "dC0 dbf"),
            "make": ("torch.nn.Module LSTM, weights as in layout torch", ""),
            "lstm": ("function of torch tensors", ""),
        },
    ),
    "jax_function": ("jax", {"lstm": ("JAX function", ""), "lstm_custom_vjp": ("JAX function", "dC0 dbf")}),
    "keras_layer": (
        "keras",
        {
            "Cell": ("Keras cell Cell on", ""),
            "Forgetful": ("Keras cell Forgetful on", "dC0"),
            "make": ("Keras layer LSTM on", ""),
        },
    ),
    "flax_cell": (
        "flax",
        {
            "Cell": ("Flax nnx module Cell, weights told by their shapes, gates in the order o f i g", ""),
            "LostGate": ("Flax nnx module LostGate", "dbf"),
        },
    ),
    "haiku_core": ("haiku", {"Core": ("Haiku core Core, weights as in layout haiku", "")}),
    "equinox_cell": (
        "equinox",
        {"Cell": ("Equinox module Cell, weights as in layout equinox", ""), "Swapped": ("Equinox module", "h dbf dbi")},
    ),
}
ALL = [(file, needs, name, *told) for file, (needs, targets) in EXAMPLES.items() for name, told in targets.items()]


SUSPECTS = {
    "lstm_without_carry": "carry-not-passed-on",
    "LostMemory": "carry-not-passed-on",
    "SwappedBiases": "bias-gradients-swapped-f-i",
    "HandWritten": "carry-assigned",
    "lstm_custom_vjp": "memory-derivative-of-linear",
    "Forgetful": "carry-not-passed-on",
    "LostGate": "cotangent-cut-off-f",
    "Swapped": "gate-order-ifgo",
}


@pytest.mark.parametrize(("file", "needs", "name", "kind", "wrong"), ALL, ids=lambda value: str(value)[:20])
def test_an_example(file, needs, name, kind, wrong):
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    target = load_target(f"{FOLDER / file}.py:{name}")
    report = verify(target, examples=8, dtypes=target.dtypes[:1], max_dims=(2, 2, 2, 3))
    text = render_report(report)
    assert target.kind.startswith(kind)
    assert report.exit_code == (1 if wrong else 0), text
    if wrong:
        assert set(wrong.split()) <= {claim.name for claim in report.failure.failures}, text
        first = report.failure.diagnosis.suspects[0]
        assert (first.fault, first.certain) == (SUSPECTS[name], True), text


def test_every_example_is_in_the_list():
    others = {"onnx_model"}  # in test_peer_onnx.py
    listed = {*EXAMPLES, *others}
    python = {path.stem for path in FOLDER.glob("*.py")}
    commands = [
        line for file in listed for line in (FOLDER / f"{file}.py").read_text().splitlines() if "lstm-checks" in line
    ]
    assert listed <= python
    named = {line.split("examples/")[1] for line in commands if "verify examples/" in line}
    assert named == {f"{file}.py:{name}" for file, _, name, *_ in ALL}


def test_a_function_that_is_not_of_the_cell_asked_for_is_judged_where_jax_is_imported_too():
    """A GRU has no C0: the adapters that are in use ask whatever function comes, with the inputs of its own cell."""
    pytest.importorskip("jax.numpy")
    target = load_target(f"{FOLDER / 'gru_function.py'}:gru", cell=cell_named("gru"))
    assert verify(target, examples=2).exit_code == 1
