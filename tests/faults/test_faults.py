"""The catalogue of faults: each is a patch that fits, shows on the sizes it names, is like no other, and is caught."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest

import lstm_ref
from lstm_checks.asking.claims import ROTATED
from lstm_checks.calling import call_target
from lstm_checks.cases import Arrays, Case
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import PLAIN
from lstm_checks.faults import catalogue
from lstm_checks.faults.catalogue import FAULTS, find
from lstm_checks.faults.model import PARTS, Patch, diff, evaluate, fault_target, in_backward
from lstm_checks.faults.slips import PARTS as OWN_PARTS
from lstm_checks.faults.slips import slips
from lstm_checks.judging import verify
from lstm_checks.judging.case import verify_case
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.oracles.objective import objective
from lstm_checks.strategies import draw_cases
from lstm_checks.tolerance import accepted
from lstm_checks.trials.search import candidates, find_example, shows

PATCHES = [fault for fault in FAULTS.values() if not fault.wrap]
WRAPPERS = [fault for fault in FAULTS.values() if fault.wrap]
ALL = (*PLAIN.outputs, *PLAIN.gradients)
FOLDER = Path(lstm_ref.__file__).parent
CASES = [
    Case(2, 3, 2, 2, seed=0),
    Case(3, 5, 4, 3, seed=1),
    Case(1, 4, 3, 5, seed=1),
    Case(5, 9, 2, 5, seed=1),
    Case(3, 3, 3, 3, regime="x10", cotangents="last+h+C", seed=2),
    Case(2, 6, 5, 7, regime="x10", cotangents="every", states=False, seed=4),
    Case(1, 13, 1, 1, regime="mixed", cotangents="h+C", seed=5),
    Case(4, 4, 8, 9, regime="x1e-3", seed=6),
    Case(4, 7, 4, 5, regime="x100", seed=7),
    Case(3, 1, 9, 9, regime="x100", seed=0),
    Case(3, 4, 2, 3, regime="padded", seed=8),
    Case(129, 17, 2, 2, regime="init", seed=9),
    Case(2, 129, 2, 2, regime="init", seed=10),
    Case(2, 2, 129, 2, regime="init", seed=11),
    Case(2, 2, 2, 129, regime="init", seed=12),
]


def errors(fault, case, expected):
    """Return every entry's deviation in units of what is accepted, all tensors in a row."""
    values = evaluate(fault, case.arrays)
    return np.concatenate(
        [((values[n] - expected.values[n]) / accepted(expected.sd[n], case.dtype)).ravel() for n in ALL]
    )


def test_every_fault_is_described():
    assert len(FAULTS) == sum(len(family.FAULTS) for family in catalogue.FAMILIES) >= 100
    for id, fault in FAULTS.items():
        assert id == fault.id
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id), id
        assert fault.title.endswith("."), id
        assert fault.title.count(". ") == 0, id
        assert fault.explanation.endswith("."), id
        assert bool(fault.patches) != bool(fault.wrap), id
        if fault.patches:
            assert re.match(r"\([1-9][figo]?\)", fault.explanation), id
        assert "  " not in fault.title + fault.explanation, id


def test_every_family_is_there():
    assert list(dict.fromkeys(fault.family for fault in FAULTS.values())) == [
        *("carry", "states", "steps", "transposition", "derivatives", "gates"),
        *("accumulation", "blocks", "clipping", "precision", "conventions", "numerics", "calls", "asked"),
    ]
    assert {fault.id for fault in FAULTS.values() if fault.id.startswith("gate-order-")} == {
        f"gate-order-{''.join(order)}" for order in list(permutations("figo"))[1:]
    }


@pytest.mark.parametrize("family", catalogue.FAMILIES, ids=lambda family: family.__name__)
def test_every_patch_fits_and_reads_as_a_diff(family):
    for fault in family.FAULTS:
        for patch in fault.patches:
            assert (FOLDER / f"{patch.part}.py").read_text().count(patch.old) == 1, patch
            assert patch.old != patch.new
        files = {f"a/lstm_ref/{patch.part}.py" for patch in fault.patches} if fault.patches else {"/dev/null"}
        assert files == set(re.findall("^--- (.*)$", diff(fault), re.M)), fault.id


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no patch here")
@pytest.mark.parametrize("id", ["carry-dropped", "gate-order-giof", "output-gate-missing"])
def test_a_diff_applies_to_the_reference(id, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "lstm_ref")
    subprocess.run(["patch", "-p1"], input=diff(find(id)), text=True, cwd=tmp_path, check=True, capture_output=True)
    for patch in find(id).patches:
        assert patch.new in (tmp_path / "lstm_ref" / f"{patch.part}.py").read_text()


def test_a_fault_between_calls_reads_as_its_wrapper():
    assert diff(find("input-written")).startswith("--- /dev/null\n")
    assert "+        X[...] = X / " in diff(find("input-written"))


def removed_lines(fault):
    """Return the lines of the reference that a fault changes."""
    return [line[1:] for line in diff(fault).splitlines() if re.match(r"-(?!-- )", line)]


def test_every_equation_of_the_reference_goes_wrong_in_several_ways():
    changed = [line for fault in PATCHES for line in removed_lines(fault)]
    for part in PARTS:
        for line in (FOLDER / f"{part}.py").read_text().splitlines():
            if re.search(r"# \([1-9]" if part != "activations" else r"^    return", line):
                assert changed.count(line) >= 2, f"{part}: {line}"


def test_the_clean_reference_stays_clean_and_is_what_is_patched():
    case = CASES[1]
    before = evaluate_reference(case.arrays)
    for fault in FAULTS.values():
        evaluate(fault, case.arrays)
    again, unpatched = evaluate_reference(case.arrays), evaluate((), case.arrays)
    for name in ALL:
        assert before[name].tobytes() == again[name].tobytes() == unpatched[name].tobytes()
    assert not [name for name in sys.modules if name.startswith("lstm_ref") and "patched" in name]
    assert sys.modules["lstm_ref.backward"].lstm_backward is lstm_ref.lstm_backward
    report = verify.verify(fault_target(), examples=7)
    assert report.exit_code == 0


@pytest.mark.parametrize("family", catalogue.FAMILIES, ids=lambda family: family.__name__)
def test_every_fault_shows_at_the_sizes_it_names(family):
    for fault in family.FAULTS:
        assert shows(fault, Case.parse(fault.example)), fault.id


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_fault_keeps_shapes_and_dtypes(dtype):
    for case in (replace(CASES[1], dtype=dtype), replace(CASES[3], dtype=dtype), Case(1, 1, 1, 1, dtype=dtype)):
        due = evaluate_reference(case.arrays)
        for fault in FAULTS.values():
            values = evaluate(fault, case.arrays)
            assert values.keys() == due.keys()
            for name, value in values.items():
                assert (value.shape, value.dtype) == (due[name].shape, due[name].dtype), (fault.id, name)


@pytest.mark.parametrize("part", OWN_PARTS)
def test_every_slip_keeps_the_shapes_and_changes_a_value(part):
    """Sizes of which no two are the same: a value of another shape would not pass for the one that is due."""
    arrays = Case(5, 4, 3, 2, seed=1).arrays
    due = evaluate_reference(arrays)
    assert len({slip.title for slip in slips(part)}) == len(slips(part)) > 70
    for slip in slips(part):
        values = evaluate(slip, arrays)
        assert {name: value.shape for name, value in values.items()} == {name: v.shape for name, v in due.items()}
        assert any(not np.allclose(values[name], due[name], rtol=1e-9, atol=0) for name in due), slip.title


def test_no_size_named_can_be_less():
    for fault in FAULTS.values():
        case = Case.parse(fault.example)
        for size in ("m", "s", "e", "u"):
            if getattr(case, size) > 1:
                less = replace(case, **{size: getattr(case, size) - 1})
                tried = [other for other in candidates(*less.dims) if other.seed == 0]
                assert not any(shows(fault, other) for other in tried), (fault.id, less.dims)


def test_no_two_patches_are_the_same_fault():
    alike = list(combinations(PATCHES, 2))
    for case in CASES:
        expected, found = expect(case), {}
        for fault in {fault.id: fault for pair in alike for fault in pair}.values():
            found[fault.id] = np.nan_to_num(errors(fault, case, expected), nan=1e300)
        alike = [pair for pair in alike if np.max(np.abs(found[pair[0].id] - found[pair[1].id])) <= 1]
    assert not [(one.id, other.id) for one, other in alike]


def test_no_two_wrappers_are_the_same_fault():
    def told(fault, case):
        # All questions: what is in an example by default is two of them.
        asked = ROTATED if fault.family == "asked" else None
        report = verify_case(fault_target(fault), case, properties=asked, repeat=200 * bool(asked))
        alone = call_target(fault_target(fault), case.arrays.copy(), True)
        aliased = [name for name, value in alone.aliased if not np.array_equal(value, alone.values[name])]
        return repr([(c.name, c.verdict, c.discrepancy and c.discrepancy.message) for c in report.claims] + aliased)

    alike = [list(WRAPPERS)]
    apart = (replace(CASES[0], cotangents=cotangents) for cotangents in ("every", "C"))
    for case in (CASES[0], replace(CASES[0], states=False), CASES[2], *apart):
        said = [[(told(fault, case), fault) for fault in group] for group in alike]
        alike = [[fault for words, fault in group if words == one] for group in said for one in {w for w, _ in group}]
        alike = [group for group in alike if len(group) > 1]
    assert not alike


def test_a_hundred_examples_kill_every_patch():
    alive = list(PATCHES)
    for case in draw_cases(100, 0):
        expected = expect(case)
        for fault in list(alive):
            claims = compare(evaluate(fault, case.arrays), expected, fault_target(fault), case.dtype)
            if any(claim.verdict is Verdict.FAIL for claim in claims):
                alive.remove(fault)
        if not alive:
            return
    assert not [fault.id for fault in alive]


@pytest.mark.parametrize("fault", WRAPPERS, ids=lambda fault: fault.id)
def test_verify_kills_every_fault_between_calls(fault):
    target, seen = fault_target(fault), []
    kinds = ("every+h+C", "every", "C") if fault.family == "asked" else ("every+h+C",)
    for seed in range(20 * len(kinds)):
        case = Case(2, 3, 2, 2, cotangents=kinds[seed % len(kinds)], states=seed % 2 == 0, seed=seed)
        seen.append(verify_case(target, case))
        if seen[-1].failures:
            return
    pytest.fail(f"{fault.id} was not seen in {len(seen)} cases")


def test_faults_that_differentiate_what_they_compute_do():
    """Their gradient is that of their own forward pass, so that only another implementation can tell."""
    claimed = [fault for fault in PATCHES if re.search("for what is computed|gree with each other", fault.explanation)]
    assert len(claimed) >= 35
    case = Case(2, 3, 3, 3, seed=1)
    rng = np.random.default_rng(0)
    along = {name: rng.standard_normal(value.shape) for name, value in case.arrays.inputs.items()}
    for fault in claimed:
        gradients = evaluate(fault, case.arrays)
        due = sum(np.sum(gradients["d" + name] * v) for name, v in along.items())
        difference = (at(fault, case, along, 1e-5) - at(fault, case, along, -1e-5)) / 2e-5
        assert difference == pytest.approx(due, rel=1e-6), fault.id


def at(fault, case, along, step):
    """Return the objective a step away along a direction."""
    arrays = case.arrays.copy()
    for name, value in arrays.inputs.items():
        value += step * along[name]
    values = evaluate(fault, arrays)
    return objective(values, arrays)


def test_faults_take_leading_axes():
    """Leading axes give what each of them gives alone."""
    case = CASES[0]
    named = dict(case.arrays)
    stacked = Arrays({name: np.stack([value, value * 0.5]) for name, value in named.items()})
    half = Arrays({name: value * 0.5 for name, value in named.items()})
    for fault in PATCHES:
        values, alone = evaluate(fault, stacked), (evaluate(fault, case.arrays), evaluate(fault, half))
        for name in ALL:
            for k in range(2):
                assert np.allclose(values[name][k], alone[k][name], rtol=1e-12, atol=1e-14), (fault.id, name)


def test_two_faults_are_planted_together_where_their_texts_are_apart():
    one, other = find("carry-dropped"), find("derivative-missing-o")
    case = CASES[0]
    both, first, second = (evaluate(faults, case.arrays) for faults in ((one, other), one, other))
    assert not np.array_equal(both["dUo"], first["dUo"])
    assert not np.array_equal(both["dUf"], first["dUf"])
    assert not np.array_equal(both["dUf"], second["dUf"])
    with pytest.raises(ValueError, match="carry-dropped and carry-halved change the same text"):
        evaluate((one, find("carry-halved")), case.arrays)
    wrapped = evaluate((one, find("gradients-never-zeroed")), case.arrays)
    assert all(np.array_equal(wrapped[name], first[name]) for name in ALL)


def test_a_patch_that_does_not_fit_is_refused():
    stale = replace(find("carry-dropped"), patches=(in_backward("dC_ = nothing", "dC_ = 0"),))
    with pytest.raises(ValueError, match=r"'dC_ = nothing' occurs 0 times in lstm_ref/backward.py, expected once"):
        fault_target(stale)
    lost = replace(stale, patches=(Patch("layer", "a", "b"),))
    with pytest.raises(ValueError, match=r"patch to layer, expected one of activations, other_activations, forward"):
        fault_target(lost)


def test_an_unknown_id_is_refused_with_those_next_to_it():
    assert find("carry-dropped").title == "dC does not carry f * dC of the next step."
    with pytest.raises(ValueError, match="no fault 'cary-dropped', did you mean carry-dropped"):
        find("cary-dropped")
    with pytest.raises(ValueError, match=f"expected one of the {len(FAULTS)} ids"):
        find("zzz")


@pytest.mark.parametrize("id", ["carry-dropped", "recurrence-untransposed", "outputs-in-one-buffer"])
def test_the_search_finds_the_sizes_that_are_named(id):
    assert find_example(find(id)).dims == find(id).dims


def test_orders_of_gates_say_whose_they_are():
    assert "ONNX's weights in the order of PyTorch" in find("gate-order-giof").explanation
    assert "EpyNN or OpenVINO's weights in the order of PyTorch" in find("gate-order-ifgo").explanation
    p = CASES[0].arrays.p
    moved = {k + read: p[k + gate] for gate, read in zip(PLAIN.gates, "giof", strict=True) for k in "UVb"}
    due = evaluate_reference(CASES[0].arrays.replaced(**moved))
    came = evaluate(find("gate-order-giof"), CASES[0].arrays)
    assert np.array_equal(came["h"], due["h"])
    for gate, read in zip(PLAIN.gates, "giof", strict=True):
        assert np.array_equal(came["dV" + gate], due["dV" + read])
