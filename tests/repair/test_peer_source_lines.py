"""The same of what PyTorch and JAX differentiate, or what has a backward pass of its own in them."""

import pytest
from test_source_lines import CASES, patience, slipped  # noqa: F401

from lstm_checks.repair.ask import look_into_source

pytestmark = pytest.mark.peer

SLIPS = {
    "an autograd.Function": ("torch_function", "lstm", "dzg = dc * i * (1 - g * g)", "dzg = dc * f * (1 - g * g)"),
    "a torch module": ("torch_module", "LSTM", "c = torch.sigmoid(f) * c", "c = torch.sigmoid(f) + c"),
    "split after it was set": ("torch_module", "LSTM", " + self.bias\n", "\n"),
    "a rule of its own for the way back": ("jax_custom_vjp", "lstm", "dzf = dc * c * f", "dzf = dc * tc * f"),
    "a scan": ("jax_scan", "lstm", "c = f * c + i * g", "c = f * c + i * f"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_the_line_is_named(tmp_path, slip):
    layer, name, old, new = SLIPS[slip]
    pytest.importorskip(layer.partition("_")[0])
    path, line = slipped(tmp_path, layer, old, new)
    found = look_into_source(f"{path}:{name}", CASES)
    assert [one.line for one in found.lines] == [line], found.lines


def test_a_bias_of_one_axis_is_added(tmp_path):
    pytest.importorskip("torch")
    path, _ = slipped(tmp_path, "torch_module", " + self.bias\n", "\n")
    found = look_into_source(f"{path}:LSTM", CASES, fix=300.0)
    assert "self.bias" in found.fixes[0].diff


def test_where_two_that_are_wrong_come_together_is_no_line(tmp_path):
    pytest.importorskip("torch")
    path, line = slipped(tmp_path, "torch_function", 'h @ p["Vi"] +', 'h @ (p["Vi"] * p["Vi"]) +')
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('h @ p["Vg"] + p["bg"]', 'h @ p["Vg"] - p["bg"]'), encoding="utf-8")
    assert {one.line for one in look_into_source(f"{path}:lstm", CASES).lines} <= {line, line + 1}


def test_behind_outputs_that_are_wrong_a_backward_pass_is_looked_into(tmp_path):
    pytest.importorskip("torch")
    path, line = slipped(tmp_path, "torch_function", 'h @ p["Vg"]', 'h @ p["Vo"]')
    text = path.read_text(encoding="utf-8")
    changed = text.replace("dzi = dc * g * i * (1 - i)", "dzi = dc * g * dc * (1 - i)")
    path.write_text(changed, encoding="utf-8")
    found = look_into_source(f"{path}:lstm", CASES, fix=300.0)
    before = changed[: changed.index("dzi = ")].count("\n") + 1
    assert [one.line for one in found.lines] == [line, before]
    assert found.lines[1].shown.startswith(f"with line {line} mended, with i of equation (3) in its place")
    (fixed,) = found.fixes[0].texts.values()
    assert "dzi = i * g * dc * (1 - i)" in fixed
    assert "-        dzi = dc * g * dc" in found.fixes[0].diff
