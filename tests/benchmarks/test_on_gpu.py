"""The script for a GPU, as far as it goes without one."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

from benchmarks import on_gpu  # noqa: E402
from benchmarks.gpu_cells import HandWritten  # noqa: E402

pytestmark = pytest.mark.peer
ROWS = {row.name: row for row in on_gpu.rows("cpu")}


def test_sums_in_the_short_format_are_told_from_those_in_float32():
    said = {name: on_gpu.judge(ROWS[f"by hand, float16, sums in {name}"], 4, 0) for name in ("float32", "float16")}
    assert all(row[2].startswith("passes") for row in said.values())
    assert "short: the sums of products" in said["float16"][3]
    assert "short: the sums of products" not in said["float32"][3]
    assert "as exact as float32" in said["float32"][3]


def test_a_module_in_low_precision_is_judged_as_what_it_is():
    name, dtypes, verdict, words, _, _ = on_gpu.judge(ROWS["nn.LSTM, bfloat16"], 4, 2)
    assert (name, dtypes) == ("nn.LSTM, bfloat16", "bfloat16")
    assert verdict.startswith("passes")
    assert "the same again: " in words


def test_what_there_was_no_time_for_says_so():
    first, *rest = on_gpu.run("cpu", 2, 0, minutes=0.0)
    assert first[2].startswith("passes")
    assert {row[2] for row in rest} == {"not run: out of time"}
    page = on_gpu.as_page([first, *rest], "cpu", "the command")
    assert page.count("not run: out of time") == len(rest)


def test_without_a_gpu_it_says_what_is_expected():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [sys.executable, "-m", "benchmarks.on_gpu"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 2
    assert "PyTorch finds no GPU here, expected an NVIDIA GPU with CUDA" in found.stderr


@pytest.mark.parametrize("short", [False, True])
def test_the_kernel_does_what_the_loop_does(short):
    pytest.importorskip("triton")
    program = (
        "import os, torch; from benchmarks.gpu_cells import multiply\n"
        "a, b = torch.randn(20, 70).half(), torch.randn(70, 33).half()\n"
        f"due = multiply(a, b, {short}); os.environ['TRITON_INTERPRET'] = '1'\n"
        f"assert torch.equal(multiply(a, b, {short}), due)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)


def test_a_wrong_sum_is_found_in_a_product_by_hand():
    class Wrong(HandWritten):
        def forward(self, X, states=None):
            outputs, finals = super().forward(X, states)
            return outputs * 1.01, finals

    row = on_gpu.Row("wrong", lambda e, u: Wrong(e, u).half())
    assert on_gpu.judge(row, 6, 0)[2].startswith("fails")
