"""Cells beside the plain one: each is one file of equations, and all the rest of the harness follows from it."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import lstm_ref
from lstm_checks.campaign.plan import Plan
from lstm_checks.campaign.tally import CampaignReport, Tally
from lstm_checks.campaign.text import render_campaign
from lstm_checks.cases import NUMBERS, Case
from lstm_checks.certified.certify import certify
from lstm_checks.certified.read import read_vectors_file
from lstm_checks.certified.run import run_vectors
from lstm_checks.certified.text import render_certificates
from lstm_checks.compare import Verdict, compare
from lstm_checks.contract import PLAIN, by_name
from lstm_checks.diagnosis.diagnose import diagnose
from lstm_checks.faults.catalogue import FAULTS, OWN, faults_of, find
from lstm_checks.faults.mixups import mixups
from lstm_checks.faults.model import evaluate, fault_target
from lstm_checks.faults.slips import PARTS, slips
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.strategies import cases
from lstm_checks.suite import LayerSuite, claims_tested
from lstm_checks.targets.form import not_in_form
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_checks.targets.program import program_target
from lstm_ref.cells import CELLS

EXAMPLE = Path(__file__).parents[1] / "examples" / "peephole_function.py"
peephole_lstm = runpy.run_path(str(EXAMPLE))["lstm"]

COUPLED, PEEPHOLE = CELLS["coupled"], CELLS["peephole"]
OTHERS = [cell for cell in CELLS.values() if cell is not PLAIN]
by_cell = pytest.mark.parametrize("cell", OTHERS, ids=lambda cell: cell.name)


# The cell itself


def test_the_plain_cell_has_the_names_and_shapes_of_the_contract():
    assert PLAIN.inputs == (*(kind + gate for gate in "figo" for kind in "UVb"), "X", "h0", "C0")
    assert PLAIN.outputs == ("h", "Cn")
    assert PLAIN.cotangents == ("dh", "dhn", "dCn")
    assert PLAIN.gradients == tuple("d" + name for name in PLAIN.inputs)
    sizes = (2, 3, 4, 5)
    assert PLAIN.shape("dUf", *sizes) == (4, 5)
    assert PLAIN.shape("dh", *sizes) == PLAIN.shape("h", *sizes) == (2, 3, 5)
    assert PLAIN.shape("dbo", *sizes) == (1, 5)
    assert PLAIN.along("m") & set(PLAIN.tensors) == {"h", "Cn", "dX", "dh0", "dC0"}


@settings(max_examples=25)
@given(case=cases(cell=COUPLED))
def test_the_coupled_cell_is_the_catalogued_fault_of_the_plain_one(case):
    plain = replace(case, cell=PLAIN).arrays
    found = evaluate(find("coupled-gates"), plain.replaced(C0=case.arrays["C0"]))  # which its examples draw wider
    came = {name: found[name] for name in COUPLED.tensors}
    # To the noise of each entry: the fault has dC_ * (Cp_ - g) for a difference, which cancels where f is shut.
    claims = compare(came, expect(case), fault_target(cell=COUPLED), "float64")
    assert [claim.name for claim in claims] == [*COUPLED.tensors]
    assert not [claim for claim in claims if claim.verdict is Verdict.FAIL]


@settings(max_examples=25)
@given(case=cases(cell=PEEPHOLE))
def test_the_peephole_cell_with_zero_peepholes_is_the_plain_one(case):
    none = {name: np.zeros_like(case.arrays[name]) for name in ("pf", "pi", "po")}
    came, due = evaluate_reference(case.arrays.replaced(**none)), evaluate_reference(replace(case, cell=PLAIN).arrays)
    for name, value in due.items():
        assert np.array_equal(came[name], value), name


@by_cell
def test_the_complex_step_of_the_forward_pass_is_the_backward_pass(cell):
    @settings(max_examples=15)
    @given(case=cases(cell=cell))
    def agrees(case):
        expected = expect(case)
        assert expected.chaotic(cell.gradients) or complex_step_disagreement(case, expected).use <= 1

    agrees()


@by_cell
def test_a_case_of_a_cell_is_one_word_and_back_and_shares_what_it_shares_with_the_plain_one(cell):
    case = Case(2, 3, 4, 5, "float32", "x10", "last+C", False, 7, cell=cell)
    further = "".join(f"{letter}{size}" for letter, size in zip(cell.further, case.further, strict=True))
    assert case.cotangents == ("last+C" if cell.finals else "last")
    assert case.descriptor == f"m2s3e4u5{further}-{cell.name}-float32-x10-{case.cotangents}-nostates-seed7"
    assert Case.parse(case.descriptor) == case
    assert case != replace(case, cell=PLAIN)
    plain = replace(case, cell=PLAIN).arrays
    for name, value in case.arrays.items():
        assert value.shape == cell.shape(name, *case.dims)
        # Of another length, it is another array from the same stream.
        alike = name in NUMBERS and value.shape == plain[name].shape and name not in cell.spread
        assert not alike or np.array_equal(value, plain[name]), name


# Targets


def layer_of(call, names):
    """A layer class in EpyNN's form round a function in the vjp form."""

    class Layer:
        def __init__(self, unit_cells, sequences=True):
            self.u, self.sequences, self.p = unit_cells, sequences, {}

        def compute_shapes(self, X):
            self.X = X

        def initialize_parameters(self):
            e, u = self.X.shape[2], self.u
            shapes = {"U": (e, u), "V": (u, u), "b": (1, u), "p": (1, u)}
            self.p = {name: np.zeros(shapes[name[0]], self.X.dtype) for name in names}

        def forward(self, X, h0=None, C0=None):
            none = np.zeros((len(X), self.u), X.dtype)
            (h, Cn), self.pull = call(self.p, X, none if h0 is None else h0, none if C0 is None else C0)
            self.fc = {"C_": Cn[:, np.newaxis]}
            return h if self.sequences else h[:, -1]

        def backward(self, dA, dCn=None):
            dh = dA if self.sequences else np.zeros((*self.X.shape[:2], self.u), dA.dtype)
            if not self.sequences:
                dh[:, -1] = dA
            self.found = self.pull(dh, np.zeros((len(dA), self.u), dA.dtype) if dCn is None else dCn)
            self.bc = self.found
            return self.found["dX"]

        def compute_gradients(self):
            self.g = {f"d{name}": self.found[f"d{name}"] for name in names}

    return Layer


def flat(call):
    """The function with vectors (u,) for what is (1, u)."""

    def function(p, X, h0, C0):
        rows = {name: value[np.newaxis] if value.ndim == 1 else value for name, value in p.items()}
        outputs, pullback = call(rows, X, h0, C0)

        def pull(dh, dCn):
            found = pullback(dh, dCn)
            return {name: v[0] if name[1:] in p and p[name[1:]].ndim == 1 else v for name, v in found.items()}

        return outputs, pull

    def strict(p, X, h0, C0):
        if any(p[name].ndim != 1 for name in ("bf", "pf")):
            raise ValueError("biases are vectors")
        return function(p, X, h0, C0)

    return strict


TARGETS = {
    "function": lambda: from_function(peephole_lstm, cell=PEEPHOLE),
    "function of vectors": lambda: from_function(flat(peephole_lstm), cell=PEEPHOLE),
    "layer": lambda: from_layer(layer_of(peephole_lstm, PEEPHOLE.parameters), cell=PEEPHOLE),
    "reference": lambda: fault_target(cell=PEEPHOLE),
    "coupled": lambda: fault_target(cell=COUPLED),
}


@pytest.mark.parametrize("form", TARGETS)
def test_a_right_target_of_another_cell_passes(form):
    report = verify(TARGETS[form](), examples=30)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    for name in report.target.cell.gradients:
        assert report.claim_counts[name][Verdict.PASS] > 10, name


def test_a_target_judged_as_another_cell_than_its_own_fails():
    coupled = replace(fault_target(find("coupled-gates")), cell=PLAIN)
    assert verify(coupled, examples=10).exit_code == 1
    assert verify(from_function(peephole_lstm, cell=PEEPHOLE), examples=10).exit_code == 0
    wrong = replace(fault_target(cell=PEEPHOLE), call=by_name(spoilt("dpi", 1 + 1e-9), PEEPHOLE))
    report = verify(wrong, examples=10)
    assert {claim.name for example in report.examples for claim in example.failures} >= {"dpi"}


def spoilt(name, factor):
    def call(p, X, h0, C0, sequences=True):
        outputs, pullback = peephole_lstm(p, X, h0, C0)

        def pull(dh, dCn, dhn=None):
            dh = dh.copy()
            dh[:, -1] += 0 if dhn is None else dhn
            found = pullback(dh, dCn)
            return {**found, name: found[name] * factor}

        return outputs, pull

    return call


def test_frameworks_own_things_are_plain():
    with pytest.raises(
        TargetError, match="torch is a framework's and judged as a plain LSTM; the cell peephole is for"
    ):
        load_target("torch", cell=PEEPHOLE)
    target = fault_target(cell=COUPLED)
    assert to_target(target, "it") is target
    with pytest.raises(TargetError, match="it is a Target of the cell coupled, expected peephole"):
        to_target(target, "it", PEEPHOLE)


FUNCTIONS = {
    "torch": ("function of torch tensors", "import torch as np\nfrom torch import sigmoid, tanh\n"),
    "jax": ("JAX function", "import jax.numpy as np\nfrom jax.nn import sigmoid, tanh\n"),
}
PEEPHOLE_FORWARD = """
def lstm(p, X, h, C):
    f, i = (sigmoid(X[:, 0] @ p["U" + k] + h @ p["V" + k] + p["b" + k] + C * p["p" + k]) for k in "fi")
    C = f * C + i * tanh(X[:, 0] @ p["Ug"] + h @ p["Vg"] + p["bg"])
    h = sigmoid(X[:, 0] @ p["Uo"] + h @ p["Vo"] + p["bo"] + C * p["po"]) * tanh(C)
    return np.stack([h] * X.shape[1], 1), C
"""


@pytest.mark.peer
@pytest.mark.parametrize("framework", FUNCTIONS)
def test_functions_of_a_frameworks_arrays_are_known_by_the_cells_own_parameters_and_refused(framework, tmp_path):
    pytest.importorskip(framework)
    kind, imports = FUNCTIONS[framework]
    (tmp_path / "mine.py").write_text(imports + PEEPHOLE_FORWARD)
    with pytest.raises(TargetError, match=rf"is a {kind} and judged as a plain LSTM; .* cell peephole .*--layers 1"):
        load_target(f"{tmp_path / 'mine.py'}:lstm", cell=PEEPHOLE)


PROGRAM = """
import json, sys
import numpy as np
sys.path.insert(0, {examples!r})
from peephole_function import lstm

for line in sys.stdin:
    request = json.loads(line)
    m, s, e, u = (request["sizes"][k] for k in "mseu")
    shapes = {{"U": (e, u), "V": (u, u), "b": (1, u), "p": (1, u), "X": (m, s, e), "h": (m, u), "C": (m, u)}}
    kind = request["dtype"]
    read = lambda name, values, shape: np.array([float.fromhex(v) for v in values], kind).reshape(shape)
    given = {{name: read(name, v, shapes[name[0]]) for name, v in request["inputs"].items()}}
    X, h0, C0 = (given.pop(name) for name in ("X", "h0", "C0"))
    (h, Cn), pullback = lstm(given, X, h0, C0)
    told = {{"h": h, "Cn": Cn}}
    answer = {{"id": request["id"], "outputs": {{}}, "gradients": {{}}}}
    write = lambda value: [float(v).hex() for v in np.ravel(value)]
    answer["outputs"] = {{name: write(value) for name, value in told.items()}}
    if "cotangents" in request:
        c = request["cotangents"]
        dh = read("dh", c["dh"], (m, s, u))
        dh[:, -1] += read("dhn", c["dhn"], (m, u))
        found = pullback(dh, read("dCn", c["dCn"], (m, u)))
        answer["gradients"] = {{name: write(value) for name, value in found.items()}}
    print(json.dumps(answer), flush=True)
"""


def test_a_program_of_another_cell_is_sent_its_parameters_by_name(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(examples=str(EXAMPLE.parent)))
    target = program_target("it", shlex.join([sys.executable, str(script)]), 20.0, PEEPHOLE)
    report = verify(target, examples=6, max_dims=(3, 4, 3, 3))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert not target.unsupported
    assert report.claim_counts["dpo"][Verdict.PASS]


def test_a_program_of_another_cell_than_the_one_asked_for_is_in_no_form(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(examples=str(EXAMPLE.parent)))
    words = shlex.join([sys.executable, str(script)])
    done = command("verify", f"exec:{words}", "--cell", "coupled", "--examples", 2, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not in the form of an external program: " in done.stderr


ERRORS = [
    (KeyError("pf"), "plain", "; pf is of the cell peephole: see --cell"),
    (KeyError("Ui"), "coupled", "; Ui is of the cell plain, peephole, layernorm, projected or clipped: see --cell"),
    (KeyError("kernel"), "plain", "; lstm_checks.to_framework(p, ...) makes a framework's own arrays"),
]


@pytest.mark.parametrize(("error", "cell", "words"), ERRORS)
def test_a_parameter_that_another_cell_has_is_said_to_be_that_ones(error, cell, words):
    def lstm(p, X, h0, C0):
        raise error

    reason = not_in_form(from_function(lstm, cell=CELLS[cell]))
    assert words in reason
    assert ("see --cell" in reason) == ("see --cell" in words)


def test_what_came_under_another_name_is_said_beside_what_is_missing():
    def lstm(p, X, h0, C0):
        outputs, pullback = peephole_lstm(p, X, h0, C0)
        return outputs, lambda *given: {name.replace("dpf", "dpeep_f"): v for name, v in pullback(*given).items()}

    found = verify_case(from_function(lstm, cell=PEEPHOLE), Case(2, 3, 4, 5, cell=PEEPHOLE))
    assert (
        found.claim("dpf").discrepancy.message
        == "dpf is missing, expected an array of shape (1, u) = (1, 5); dpeep_f came besides"
    )


@pytest.mark.parametrize(
    ("cell", "properties", "line"),
    [
        (PEEPHOLE, None, "not asked sign symmetry, zero weights: not known of an LSTM with peepholes"),
        (
            PLAIN,
            ("causality",),
            "not asked sign symmetry, zero weights: of the plain LSTM cell alone; --properties all asks them",
        ),
        (
            PLAIN,
            ("causality", "zero weights"),
            "not asked sign symmetry: of the plain LSTM cell alone; --properties all asks them",
        ),
    ],
)
def test_properties_of_a_cells_own_equations_are_said_not_to_be_asked(cell, properties, line):
    report = verify(fault_target(cell=cell), examples=2, reference=False, properties=properties, max_dims=(2, 3, 2, 2))
    assert [text.strip() for text in render_report(report).splitlines() if "not asked sign" in text] == [line]


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_fault_of_another_cell_is_said_to_be_that_ones(cell):
    for other in CELLS.values():
        for id in sorted(set(faults_of(other)) - set(faults_of(cell)))[:3]:
            with pytest.raises(ValueError, match=rf"no fault '{id}' of the cell {cell.name}, but of .*{other.name}.*"):
                find(id, cell)


def test_the_plain_vectors_are_no_judge_of_another_cell():
    report = run_vectors(fault_target(cell=PEEPHOLE), read_vectors_file())
    assert {result.verdict for result in report.results} == {"unsupported"}
    assert report.results[0].reason == "the vectors are of a plain LSTM, the target an LSTM with peepholes"


# Faults


@by_cell
def test_what_carries_over_is_known_of_the_plain_cell_and_what_is_its_own_is_not(cell):
    found = faults_of(cell)
    own = {fault.id for fault in OWN[cell.name]}
    assert own <= set(found)
    assert not own & set(FAULTS)
    carried = set(found) & set(FAULTS)
    assert own | carried == set(found)
    # What another cell has not cannot go wrong in it.
    assert "coupled-gates" not in faults_of(COUPLED)
    assert len(carried) > (100 if cell.finals else 80)
    assert len(found) >= 120
    assert faults_of(PLAIN) is FAULTS


@by_cell
def test_a_fault_that_can_be_planted_is_planted_once_and_changes_what_it_says(cell):
    for fault in OWN[cell.name]:
        case = Case.parse(fault.example)
        assert case.cell is cell
        assert verify_case(fault_target(fault, cell=cell), case, properties=()).failures, fault.id


@by_cell
def test_own_faults_are_named(cell):
    # All of them in `benchmarks/kill_campaign.py --cell NAME --named`.
    own = OWN[cell.name]
    for fault in own[:: 1 + len(own) // 20]:
        case = Case.parse(fault.example)
        first = diagnose(fault_target(fault, cell=cell), case).suspects[0]
        assert first.fault == fault.id
        assert first.certain
        assert fault.wrap or f"lstm_ref/cells/{cell.name}.py" in first.diff


@by_cell
def test_slips_and_mixups_are_made_from_the_cells_own_source(cell):
    due = evaluate_reference(Case(5, 4, 3, 2, seed=1, cell=cell).arrays)
    made = [*(slip for part in PARTS for slip in slips(part, cell)), *mixups(cell).values()]
    assert len(made) > 50 * (len(cell.gates) + len(cell.states))
    for fault in made[::7]:
        values = evaluate(fault, Case(5, 4, 3, 2, seed=1, cell=cell).arrays)
        assert {name: value.shape for name, value in values.items()} == {name: v.shape for name, v in due.items()}
    titles = {slip.title for part in PARTS for slip in slips(part, cell)}
    own = {
        "coupled": "i = 1 + f, not 1 - f",
        "layernorm": "dC_ = dzC - mean(dzC) - zC * mean(dzC * zC), not (dzC - mean(dzC) - zC * mean(dzC * zC)) * rC",
        "peephole": "dpo is made of Cp_, not C_",
        "clipped": "dC_ = dcC, not dcC * clip_derivative(C_)",
        "projected": "dq = 0.5 * (dh_ @ P.mT), not dh_ @ P.mT",
        "gru": "dVg is made of hp, not q",
        "gru_reset_after": "dVg is made of dg_, not dq_",
        "rnn": "dg_ = dh_, not dh_ * tanh_derivative(h)",
    }
    assert own[cell.name] in titles


# The doors


def test_the_suite_of_a_cell_has_a_test_for_each_of_its_tensors():
    assert set(claims_tested(PEEPHOLE)) - set(claims_tested(PLAIN)) == {"dpf", "dpi", "dpo"}
    assert set(claims_tested(PLAIN)) - set(claims_tested(COUPLED)) == {"dUi", "dVi", "dbi"}
    made = type("TestMine", (LayerSuite,), {"target": staticmethod(peephole_lstm), "cell": "peephole", "examples": 5})
    made().test_dpf()
    with pytest.raises(TypeError, match=rf"TestMine\.cell is 'peep', expected one of {', '.join(CELLS)}"):
        type("TestMine", (LayerSuite,), {"target": staticmethod(peephole_lstm), "cell": "peep"})


def test_a_certificate_of_a_cell_encloses_its_gradient():
    pytest.importorskip("flint")
    target, case = fault_target(cell=PEEPHOLE), Case(2, 3, 2, 2, seed=3, cell=PEEPHOLE)
    certificate = certify(target, case)
    assert certificate.verdict is Verdict.PASS
    assert [tensor.name for tensor in certificate.tensors] == [*PEEPHOLE.tensors]


def command(*arguments, cwd):
    words = [sys.executable, "-m", "lstm_checks", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_takes_the_cell_by_its_name_or_from_the_case(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text())
    right = command("verify", "mine.py:lstm", "--cell", "peephole", "--examples", 8, "--json", "r.json", cwd=tmp_path)
    assert right.returncode == 0, right.stdout + right.stderr
    assert "against lstm_ref's LSTM with peepholes" in right.stdout
    assert {"dpf", "dpi", "dpo"} <= set(json.loads((tmp_path / "r.json").read_text())["claims"])
    wrong = command("verify", "mine.py:lstm_without_cotangent", "--cell", "peephole", "--examples", 8, cwd=tmp_path)
    assert wrong.returncode == 1
    (rerun,) = [line for line in wrong.stdout.splitlines() if line.startswith("  rerun")][:1]
    again = command(*shlex.split(rerun)[2:], cwd=tmp_path)
    assert again.returncode == 1
    assert "peephole-cotangent-missing-o" in again.stdout
    unknown = command("verify", "mine.py:lstm", "--cell", "pep", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert f"--cell is 'pep', expected one of {', '.join(CELLS)}" in unknown.stderr
    both = command(
        "verify", "mine.py:lstm", "--cell", "coupled", "--case", "m1s1e1u1-peephole-float64-seed0", cwd=tmp_path
    )
    assert both.returncode == 2
    assert "which is of the cell peephole" in both.stderr


@pytest.mark.parametrize("make", [from_function, from_layer, load_target])
@pytest.mark.parametrize(("said", "known"), [("peephole", "peephole"), ("peep", "plain"), (None, "plain")])
def test_a_name_in_place_of_a_cell_is_refused_with_what_is_expected(make, said, known):
    words = f"the cell is {said!r}, expected a Cell, such as lstm_ref.cells.CELLS[{known!r}]"
    with pytest.raises(TypeError, match=re.escape(words)):
        make("lstm_ref:LSTM" if make is load_target else lstm_ref.LSTM, cell=said)


def test_a_report_of_many_examples_says_of_which_cell_they_are():
    pytest.importorskip("flint")
    target, case = fault_target(cell=PEEPHOLE), Case(1, 2, 2, 2, seed=3, cell=PEEPHOLE)
    shown = render_certificates("it", [certify(target, case), certify(target, replace(case, seed=4))])
    assert shown.startswith("it against the certified truth of an LSTM with peepholes: 2 examples in float64;")
    plan = Plan("it", 1, 0, ("float64",), cell="coupled")
    said = render_campaign(CampaignReport(plan, "function", Tally(), None), 1.0)
    assert said.startswith("it (function) against lstm_ref's LSTM with coupled gates: 0 examples in float64, seed 0,")


def test_help_names_every_cell():
    for words in (("verify",), ("certify",), ("faults",)):
        shown = command(*words, "--help", cwd=None).stdout
        assert all(name in shown for name in CELLS), words


def test_the_faults_of_a_cell_are_listed_and_shown():
    listed = command("faults", "--cell", "peephole", cwd=None)
    assert f"{len(faults_of(PEEPHOLE))} known faults" in listed.stdout
    shown = command("faults", "peephole-cotangent-missing-o", "--cell", "peephole", cwd=None)
    assert shown.returncode == 0, shown.stderr
    assert "+++ b/lstm_ref/cells/peephole.py" in shown.stdout
    assert "The smallest sizes that show it are m=1 s=1 e=1 u=1:" in shown.stdout
    carried = command("faults", "carry-dropped", "--cell", "coupled", cwd=None)
    assert "It shows at the sizes" in carried.stdout
