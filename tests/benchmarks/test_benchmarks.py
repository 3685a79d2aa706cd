"""`make bench`: nothing wrong is timed, the floor is lstm_fast's products, and the document has what was measured."""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import bench_checks, bench_layers, bench_networks, floor, peers, render  # noqa: E402
from lstm_checks.cases import Case  # noqa: E402

DIMS = (4, 3, 5, 6)
OPTIONS = argparse.Namespace(only=["lstm_ref", "NumPy only"], seconds=0.01, clock="cpu", dtype=["float64"], threads=[1])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Load no other library."""
    for name in ("pytorch", "epynn", "jax_scan"):
        monkeypatch.setattr(peers, name, lambda problem: None)
    monkeypatch.setattr(bench_checks, "gradcheck_of", lambda case, fast: None)


@pytest.mark.parametrize("name", ["h", "dX", "dU", "dV", "db"])
@pytest.mark.parametrize("error", [1e-6, np.nan])
def test_what_disagrees_is_not_timed(monkeypatch, name, error):
    real = peers.ours

    def broken(problem, package):
        peer = real(problem, package)
        if package.__name__ == "lstm_ref":
            return peer

        def gradients():
            values = peer.gradients()
            return {**values, name: values[name] + error}

        return dataclasses.replace(peer, gradients=gradients)

    monkeypatch.setattr(peers, "ours", broken)
    result = bench_layers.measure_point(DIMS, "float64", OPTIONS)
    assert name in result["refused"]["lstm_fast"]
    assert result["ratios"] == {}
    assert "NOT TIMED: lstm_fast" in render.line({"threads": 1, **result})


@pytest.mark.parametrize("dims", [DIMS, (16, 5, 8, 32), (40, 3, 2, 40)])
def test_the_floor_multiplies_as_much_as_the_passes_do(dims):
    m, s, e, u = dims
    problem = peers.make_problem(*dims, "float64")
    numbers = 0
    for phase in floor.record_passes(problem):
        for left, right, _ in (product for part in phase for product in part):
            stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
            numbers += int(np.prod(stack)) * left.shape[-2] * left.shape[-1] * right.shape[-1]
    due = m * s * 4 * u * (2 * (u + e + 1) + u + e)  # forward, dW, back to h and x
    assert due <= numbers <= 1.2 * due  # blocks are padded


def test_the_document_has_every_ratio_that_was_measured(tmp_path):
    result = {"threads": 1, **bench_layers.measure_point(DIMS, "float64", OPTIONS)}
    assert result["refused"] == {}
    assert {"lstm_ref", "floor"} <= result["ratios"]["both"].keys()
    render.write_document(tmp_path, [result], OPTIONS, "make bench", 60)
    text = (tmp_path / "benchmarks.md").read_text()
    for ratios in result["ratios"].values():
        assert all(render.cell(ratio) in text for ratio in ratios.values())
    assert render.cell({"median": 2.0, "low": 1.0, "high": 3.0}) == "2.00 [1.00, 3.00]"
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_ratio_is_the_other_s_time_over_ours_round_by_round():
    found = bench_layers.ratio([2.0, 40.0, 6.0, 8.0, 10.0], [1.0, 10.0, 1.0, 1.0, 1.0])
    assert (found["low"], found["median"], found["high"], found["rounds"]) == (4.0, 6.0, 8.0, 5)


def test_the_checks_are_timed_after_they_passed_and_each_time_is_in_the_document(tmp_path, capsys):
    results = bench_checks.measure_sizes([(1, 2, 1, 1), (2, 3, 2, 2)], 0.01)
    examples = bench_checks.measure_examples(3)
    bench_checks.write_document(tmp_path, results, examples)
    text = (tmp_path / "check-times.md").read_text()
    assert [result["N"] for result in results] == [Case(1, 2, 1, 1).size, Case(2, 3, 2, 2).size]
    for result in results:
        assert {bench_checks.VERIFY, bench_checks.STEP} <= result["times"].keys()
        assert all(f" {1e3 * seconds:.1f} |" in text for seconds in result["times"].values())
    assert f"{1e3 * max(examples):.0f} ms at most" in text


def test_a_wrong_gradient_is_not_timed(monkeypatch):
    monkeypatch.setattr(bench_checks, "complex_step_gradient", lambda case: {"X": case.arrays["X"]})
    with pytest.raises(AssertionError, match="off the reference"):
        bench_checks.measure_sizes([(1, 2, 1, 1)], 0.01)


def test_of_cells_and_networks_what_does_not_pass_is_not_timed(monkeypatch):
    assert bench_networks.rate("rnn", 2) > 0
    monkeypatch.setattr(bench_networks, "verify", lambda target, examples: argparse.Namespace(exit_code=1))
    with pytest.raises(SystemExit, match="rnn does not pass"):
        bench_networks.rate("rnn", 5)
