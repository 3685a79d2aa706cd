"""The same of what PyTorch and JAX differentiate, or what has a backward pass of its own in them."""

import pytest
from test_source_lines import CASES, patience, slipped  # noqa: F401

from lstm_checks.repair.ask import look_into_source

pytestmark = pytest.mark.peer

SLIPS = {
    "an autograd.Function": ("torch_function", "lstm", "dzg = dc * i * (1 - g * g)", "dzg = dc * f * (1 - g * g)"),
    "a torch module": ("torch_module", "LSTM", "c = torch.sigmoid(f) * c", "c = torch.sigmoid(f) + c"),
    "a scan": ("jax_scan", "lstm", "c = f * c + i * g", "c = f * c + i * f"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_the_line_is_named(tmp_path, slip):
    layer, name, old, new = SLIPS[slip]
    pytest.importorskip(layer.partition("_")[0])
    path, line = slipped(tmp_path, layer, old, new)
    found = look_into_source(f"{path}:{name}", CASES)
    assert [one.line for one in found.lines] == [line], found.lines
