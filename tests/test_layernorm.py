"""The cell with layer normalisation against one written anew: its values, one unit, and who else has it otherwise."""

import numpy as np
import pytest

from lstm_checks import tolerance
from lstm_checks.cases import DTYPES, Case
from lstm_checks.certified.certify import certified_gradient, derivation_agrees
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import Target
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.layernorm import FAULTS
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.targets.function import from_function
from lstm_checks.trials.search import shows
from lstm_ref.cells import CELLS, cell_named

CELL = CELLS["layernorm"]


def normalised(x, gain, bias, epsilon=1e-12):
    """A row's norm with its gain and bias, and its pullback: the matrix of derivatives, entry by entry."""
    u = len(x)
    centred = x - x.mean()
    root = np.sqrt((centred**2).mean() + x.dtype.type(epsilon))
    z = centred / root

    def pull(d):
        dz = d * gain
        along = (np.eye(u, dtype=x.dtype) - 1 / x.dtype.type(u)) / root - np.outer(centred, centred) / (u * root**3)
        return along @ dz, d * z, d

    return z * gain + bias, pull


def layer(p, X, h0, C0):
    """An LSTM with layer normalisation, row by row, in plain loops."""
    m, s, _ = X.shape
    dtype, tape = X.dtype, []
    H, memory = np.zeros((m, s, h0.shape[1]), dtype), np.zeros_like(C0)
    one = dtype.type(1)
    for n in range(m):
        h, c = h0[n], C0[n]
        for t in range(s):
            row = {k: normalised(X[n, t] @ p["U" + k] + h @ p["V" + k], p["n" + k][0], p["b" + k][0]) for k in "figo"}
            f, i, o = (one / (one + np.exp(-row[k][0])) for k in "fio")
            g = np.tanh(row["g"][0])
            new, pull = normalised(c * f + i * g, p["nC"][0], p["bC"][0])
            tape.append((h, c, f, i, g, o, new, {k: row[k][1] for k in "figo"}, pull))
            c, h = new, o * np.tanh(new)
            H[n, t] = h
        memory[n] = c

    def pullback(dh, dCn):
        found = {f"d{name}": np.zeros_like(value) for name, value in {**p, "X": X, "h0": h0, "C0": C0}.items()}
        for n in range(m):
            back, dc = np.zeros_like(h0[n]), dCn[n]
            for t in reversed(range(s)):
                h, c, f, i, g, o, new, pulls, pull = tape[n * s + t]
                whole = dh[n, t] + back
                inner, gain, bias = pull(dc + whole * o / np.cosh(new) ** 2)
                found["dnC"][0] += gain
                found["dbC"][0] += bias
                slopes = {"f": inner * c * f * (1 - f), "i": inner * g * i * (1 - i), "g": inner * i * (1 - g * g)}
                slopes["o"] = whole * np.tanh(new) * o * (1 - o)
                back = np.zeros_like(h)
                for k, slope in slopes.items():
                    dk, gain, bias = pulls[k](slope)
                    found["dn" + k][0] += gain
                    found["db" + k][0] += bias
                    found["dU" + k] += np.outer(X[n, t], dk)
                    found["dV" + k] += np.outer(h, dk)
                    found["dX"][n, t] += p["U" + k] @ dk
                    back = back + p["V" + k] @ dk
                dc = inner * f
            found["dh0"][n], found["dC0"][n] = back, dc
        return found

    return (H, memory), pullback


def test_a_right_implementation_of_its_own_passes():
    report = verify(from_function(layer, cell=CELL), examples=100, max_dims=(7, 9, 7, 7))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert {example.case.dtype for example in report.examples} == {*DTYPES}
    for gradient in CELL.gradients:
        assert report.claim_counts[gradient][Verdict.PASS] > 20, gradient


@pytest.mark.parametrize(("epsilon", "named"), [(1e-5, "layernorm-epsilon-1e-5"), (1e-3, "layernorm-epsilon-1e-3")])
def test_another_small_number_fails(epsilon, named):
    case = Case(2, 3, 4, 3, seed=1, cell=CELL)
    wrong = evaluate(faults_of(CELL)[named], case.arrays)
    due = evaluate_reference(case.arrays)
    assert 1e-8 < np.max(np.abs(wrong["h"] - due["h"])) < 100 * epsilon
    assert verify_case(fault_target(faults_of(CELL)[named], cell=CELL), case).failures


def test_what_is_normalised_has_mean_0_and_variance_1_before_its_gain():
    case = Case(3, 4, 3, 6, regime="x100", seed=2, cell=CELL)
    fc = CELL.forward(case.arrays, *(case.arrays[name] for name in ("X", "h0", "C0")))
    for name in ("zf", "zi", "zg", "zo", "zC"):
        assert np.allclose(fc[name].mean(-1), 0, atol=1e-12)
        assert np.allclose(fc[name].var(-1), 1, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_with_one_unit_the_weights_gradients_are_vacuous_and_nothing_is_blamed(seed):
    case = Case(2, 3, 4, 1, seed=seed, cell=CELL)
    for target in (fault_target(cell=CELL), from_function(layer, cell=CELL)):
        verdicts = {claim.name: claim.verdict for claim in verify_case(target, case).claims}
        assert Verdict.FAIL not in verdicts.values()
        assert {verdicts[f"d{kind}{gate}"] for kind in "UV" for gate in "figo"} == {Verdict.VACUOUS}
        assert verdicts["h"] is Verdict.PASS
    due = expect(case).values
    assert not any(due[f"d{kind}{gate}"].any() for kind in "UV" for gate in "figo")


def test_balls_enclose_the_gradient_and_the_forward_pass_alone_gives_it():
    pytest.importorskip("flint")
    certified = certified_gradient(Case(2, 3, 2, 3, seed=3, cell=CELL))
    assert certified.resolved
    assert derivation_agrees(certified)


def test_own_faults_show_in_their_smallest_examples_and_are_more_than_carried_ones_alone():
    for fault in FAULTS:
        assert shows(fault, Case.parse(fault.example)), fault.id
    assert len(faults_of(CELL)) >= 200


@pytest.mark.parametrize("name", ["layernorm", "layernorm@2xforward"])
@pytest.mark.parametrize("u", [2, 3])
def test_gradients_of_what_is_normalised_over_two_units_may_be_another_formulas(name, u, monkeypatch):
    case = Case(4, 8, 3, u, regime="x10", seed=333448282, cell=cell_named(name))
    with_formula = expect(case).sd
    monkeypatch.setattr(tolerance, "NORM_OF_TWO", 0.0)
    of_gradients = set()
    for tensor, sd in expect(case).sd.items():
        times = np.max(with_formula[tensor]) / np.max(sd)
        assert np.allclose(with_formula[tensor], times * sd, rtol=1e-12, atol=0), tensor
        if tensor in case.cell.gradients:
            of_gradients.add(round(float(times), 6))
        else:
            assert times == 1, tensor
    # One for all of them, as large as what is normalised is against what it differs by.
    (times,) = of_gradients
    assert times > 2 if u == 2 else times == 1


DROWNED = "m3s6e4u2-layernorm@2xforward-float32-x10-every+h-nostates-short-seed1749039292"


@pytest.mark.parametrize(("times", "verdict"), [(1.0, Verdict.INCONCLUSIVE), (1e6, Verdict.FAIL)])
def test_what_is_below_its_own_noise_decides_nothing_unless_it_is_far_off(times, verdict, monkeypatch):
    """Of two units that are normalised nearly the sign alone is left, and rounding may decide that."""
    monkeypatch.setattr(tolerance, "NORM_OF_TWO", 0.0)
    case = Case.parse(DROWNED)
    values = evaluate_reference(case.arrays)
    values["dbg_l1"] = values["dbg_l1"] * np.float32(times)
    found = compare(values, expect(case), Target("right", "", None, cell=case.cell), case.dtype)
    assert {claim.name: claim.verdict for claim in found}["dbg_l1"] is verdict
    assert times > 1 or not [claim.name for claim in found if claim.verdict is Verdict.FAIL]
