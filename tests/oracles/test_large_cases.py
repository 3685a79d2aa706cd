"""Large cases: few copies and random directions in place of many copies of every entry."""

from dataclasses import replace

import numpy as np
import pytest

from lstm_checks import tolerance
from lstm_checks.arithmetic.projection import project
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles import expected as due
from lstm_checks.oracles.expected import LARGE_ROUNDS, expect
from lstm_checks.targets.layer import from_layer
from lstm_fast import LSTM

CASE = Case(2, 5, 3, 4, regime="init", seed=3)


@pytest.fixture
def large(monkeypatch):
    """Makes every case a large one, so that the way of judging them is tried at sizes a test can afford."""
    monkeypatch.setattr(tolerance, "LARGE", 0)


def scaled(factor):
    """lstm_fast with every entry of one gate's dV off by a factor."""

    class Scaled(LSTM):
        def compute_gradients(self):
            super().compute_gradients()
            self.g["dVi"][...] *= factor

    return from_layer(Scaled, "scaled")


def one_entry(layer_factor):
    """lstm_fast with the largest entry of one gate's dU off by a factor."""

    class OneEntry(LSTM):
        def compute_gradients(self):
            super().compute_gradients()
            g = self.g["dUo"]
            g[np.unravel_index(np.argmax(np.abs(g)), g.shape)] *= layer_factor

    return from_layer(OneEntry, "one entry")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(5))
def test_a_right_layer_passes(large, dtype, seed):
    report = verify_case(from_layer(LSTM), Case(3, 6, 4, 5, dtype, "init", seed=seed))
    assert report.verdict is Verdict.PASS
    assert not report.failures
    assert report.claim("dVi").verdict is Verdict.PASS


def test_the_values_due_are_those_of_any_case(large, monkeypatch):
    expected = expect(CASE)
    monkeypatch.setattr(tolerance, "LARGE", 10**9)
    usual = expect(CASE)
    assert not usual.directions
    assert set(expected.directions) == set(usual.values)
    for name, value in usual.values.items():
        np.testing.assert_allclose(expected.values[name], value, rtol=1e-12, atol=1e-15)
        # Another sample of the same noise: 8 copies know it to within a factor.
        assert 0.3 < np.linalg.norm(expected.sd[name]) / np.linalg.norm(usual.sd[name]) < 3


def test_all_copies_count_along_the_directions(large, monkeypatch):
    copies = []

    def spied(value, *rest):
        copies.append(len(value) if rest[-1] else 0)
        return project(value, *rest)

    monkeypatch.setattr(due, "project", spied)
    found = expect(CASE).directions
    assert sum(copies) == tolerance.LARGE_COPIES * len(found)


def test_each_case_has_directions_of_its_own(large):
    """So that what is hidden along those of one case shows along another's."""
    x = np.ones((CASE.u, CASE.u))
    one, other = (expect(replace(CASE, seed=seed)).project("dVi", x) for seed in (3, 4))
    assert not np.any(np.isclose(one, other))


@pytest.mark.parametrize("cotangents", ["every+h+C", "last"])
def test_the_last_step_alone_will_do_where_it_will_of_any_case(large, cotangents):
    case, layer = replace(CASE, cotangents=cotangents), from_layer(LSTM)
    report = verify_case(layer, case, properties=())
    assert report.verdict is Verdict.PASS
    whole = expect(case)
    due_there = whole.as_returned(cotangents == "last", PLAIN)
    assert ("h" in due_there.directions) == case.sequences
    assert due_there.values["h"].ndim == (3 if case.sequences else 2)


def test_a_relative_error_of_1e_9_in_one_gate_is_caught(large):
    report = verify_case(scaled(1 + 1e-9), CASE, thorough=False)
    assert [claim.name for claim in report.failures] == ["dVi"]


def test_what_no_entry_shows_a_direction_does(large):
    """An error of a few standard deviations in every entry: within 64 of them each, and not along a direction."""
    expected = expect(CASE)

    class Blurred(LSTM):
        def compute_gradients(self):
            super().compute_gradients()
            if self.g["dVi"].shape == (CASE.u, CASE.u):
                self.g["dVi"][...] += 40 * expected.sd["dVi"]

    report = verify_case(from_layer(Blurred), CASE, thorough=False)
    assert [claim.name for claim in report.failures] == ["dVi"]
    found = report.failures[0].discrepancy
    assert found.kind == "direction"
    assert "along random direction" in found.message


def test_one_wrong_entry_is_caught(large):
    report = verify_case(one_entry(1 + 1e-9), CASE, thorough=False)
    assert [claim.name for claim in report.failures] == ["dUo"]
    assert report.failures[0].discrepancy.kind == "value"


def test_a_truly_large_layer_is_judged(capsys):
    case = Case(2, 3, 64, 250, regime="init", seed=1)
    assert case.size > tolerance.LARGE
    rounds = []
    report = verify_case(scaled(1 + 1e-9), case, thorough=False, progress=lambda: rounds.append(1))
    assert len(rounds) == LARGE_ROUNDS
    assert 2 * len(rounds) == tolerance.LARGE_COPIES
    assert [claim.name for claim in report.failures] == ["dVi"]


def test_a_projection_is_linear_and_the_same_for_copies():
    rng = np.random.default_rng(0)
    for shape in ((4,), (3, 4), (2, 3, 4)):
        x, y = rng.standard_normal((2, *shape))
        a, b = (project(v, 16, (1, 2)) for v in (x, y))
        np.testing.assert_allclose(project(2 * x - y, 16, (1, 2)), 2 * a - b, rtol=1e-12)
        np.testing.assert_allclose(project(np.stack([x, y]), 16, (1, 2), copies=True), [a, b], rtol=1e-12)
        many = project(x, 20000, (3,))
        assert np.mean(np.square(many)) == pytest.approx(np.sum(np.square(x)), rel=0.2)
