"""Networks of cells: the value, its passes against oracles, what goes wrong in composition, and lengths."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_network import network
from share import told

from lstm_checks.cases import LENGTHS, TURNED, Case, falls_in
from lstm_checks.certified.certify import certified_gradient as certified
from lstm_checks.certified.certify import certify, derivation_agrees
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN
from lstm_checks.diagnosis.as_if import find_change
from lstm_checks.diagnosis.diagnose import OF_A_CELL_ALONE, diagnose
from lstm_checks.diagnosis.networks import locate_in_network
from lstm_checks.diagnosis.work import Work
from lstm_checks.faults.catalogue import FAULTS, faults_of, find
from lstm_checks.faults.composition import composition_faults
from lstm_checks.faults.model import COMPOSITION, diff, evaluate, fault_target, source
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.check_grad import check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_checks.oracles.objective import reference_forward
from lstm_checks.strategies import NETWORK_DIMS, cases, draw_cases, draw_options, explore, reachable_strata
from lstm_checks.suite import LayerSuite
from lstm_checks.targets.form import not_in_form
from lstm_checks.targets.load import TargetError, load_target, to_target
from lstm_checks.targets.network import SEEDS, TRIED, from_network_function
from lstm_checks.targets.program import program_target
from lstm_ref.cells import CELLS, cell_named
from lstm_ref.network import Network

ROOT = Path(__file__).parents[1]
BOTH, STACK, DEEP = (cell_named(name) for name in ("plain@1xboth", "plain@2xforward", "plain@2xboth"))
NAMES = ("plain@1xreverse", "plain@2xforward", "peephole@2xboth", "coupled@3xsum")


# The value


def test_a_network_has_the_names_of_its_places():
    assert DEEP is cell_named("plain@2xboth")
    assert [place.words for place in DEEP.places] == [
        *("layer 1, forward", "layer 1, reverse", "layer 2, forward", "layer 2, reverse")
    ]
    assert DEEP.inputs[:3] == ("Uf_l0", "Vf_l0", "bf_l0")
    assert DEEP.outputs[:3] == ("h", "hn_l0", "Cn_l0")
    assert DEEP.cotangents == tuple(f"d{name}" for name in DEEP.outputs)
    assert DEEP.shape("h", 2, 3, 4, 5) == (2, 3, 10)
    assert DEEP.shape("dUf_l1_reverse", 2, 3, 4, 5) == (10, 5)
    assert cell_named("plain@2xsum").shape("Uf_l1", 2, 3, 4, 5) == (5, 5)
    assert set(STACK.gradients) < set(DEEP.gradients)


@pytest.mark.parametrize("name", ["plain@", "plain@0xboth", "plain@2xup", "plain@xboth", "plain@2", "plain@10xboth"])
def test_a_name_that_is_no_networks_says_what_one_is(name):
    with pytest.raises(ValueError, match="expected CELL@LAYERSxDIRECTIONS with DIRECTIONS one of forward, reverse"):
        cell_named(name)


def test_a_network_of_directions_that_there_are_not_is_refused():
    with pytest.raises(ValueError, match=r"directions is \('up',\) and join 'concat', expected \('forward',\)"):
        Network(PLAIN, 2, ("up",))
    with pytest.raises(ValueError, match="layers is 0, expected at least 1"):
        Network(PLAIN, 0)
    with pytest.raises(ValueError, match="at layer 1, forward stands <Cell peephole>, expected one of plain's tensors"):
        Network(PLAIN, others={"_l0": CELLS["peephole"]})


@given(name=st.sampled_from(NAMES), lengths=st.sampled_from(("", *LENGTHS)), seed=st.integers(0, 9))
def test_a_case_of_a_network_is_one_word_and_back(name, lengths, seed):
    case = Case(3, 4, 2, 3, "float32", "x1e-3", "last+C", False, seed, cell=cell_named(name), lengths=lengths)
    assert Case.parse(case.descriptor) == case
    found = case.arrays.cell.lengths
    assert (found is None) == (not lengths)
    assert {key: value.shape for key, value in case.arrays.items()} == {
        key: case.cell.shape(key, *case.dims) for key in case.arrays
    }


def test_lengths_are_as_their_kind_says_and_of_a_network_alone():
    def drawn(kind):
        return [Case(3, 4, 1, 1, seed=k, cell=STACK, lengths=kind).arrays.cell.lengths for k in range(40)]

    assert set(drawn("whole")) == {(4, 4, 4)}
    assert set(drawn("ones")) == {(1, 1, 1)}
    assert all(max(found) == 4 and min(found) >= 1 for found in drawn("ragged"))
    assert all(found == tuple(sorted(found, reverse=True)) and max(found) == 4 for found in drawn("sorted"))
    assert all(min(found) >= 1 and max(found) <= 3 for found in drawn("short"))
    assert all(min(found) == 0 for found in drawn("empty"))
    with pytest.raises(ValueError, match=r"lengths is 'ragged' and the cell plain, expected a network, CELL@LAYERSx"):
        Case(1, 1, 1, 1, lengths="ragged")


# The passes


@settings(max_examples=30)
@given(
    case=st.sampled_from(NAMES).flatmap(
        lambda name: cases(cell=cell_named(name), max_dims=(3, 5, 4, 3), lengths=LENGTHS)
    )
)
def test_the_complex_step_of_the_forward_pass_is_the_backward_pass(case):
    expected = expect(case)
    assert expected.chaotic(case.cell.gradients) or complex_step_disagreement(case, expected).use <= 1


@settings(max_examples=15)
@given(case=cases(cell=cell_named("peephole@1xforward"), max_dims=(3, 5, 4, 3)))
def test_one_layer_forward_is_the_cell(case):
    arrays = case.arrays
    plain = replace(case, cell=CELLS["peephole"]).arrays
    moved = {name: arrays[f"{name}_l0"] for name in CELLS["peephole"].parameters}
    moved |= {name: arrays[name] for name in ("X", "dh")}
    moved |= {f"{k}0": arrays[f"{k}0_l0"] for k in "hC"} | {f"d{k}n": arrays[f"d{k}n_l0"] for k in "hC"}
    due, came = evaluate_reference(plain.replaced(**moved)), evaluate_reference(arrays)
    assert np.array_equal(came["hn_l0"], due["h"][:, -1])
    for name, value in due.items():
        other = name if name in ("h", "dX") else f"{name}_l0"
        assert np.array_equal(came[other], value), name


@pytest.mark.parametrize("kind", [kind for kind in LENGTHS if kind != "empty"])
def test_a_padded_batch_is_its_samples(kind):
    case = Case(4, 5, 3, 2, seed=3, cell=DEEP, lengths=kind)
    arrays, whole = case.arrays, evaluate_reference(case.arrays)
    sums = dict.fromkeys(DEEP.parameters, 0.0)
    for k, steps in enumerate(arrays.cell.lengths):
        alone = {n: v if n in DEEP.parameters else v[k : k + 1] for n, v in arrays.items()}
        alone |= {n: alone[n][:, :steps] for n in ("X", "dh")}
        one = evaluate_reference(type(arrays)(alone, DEEP))
        for name, value in one.items():
            if name[1:] in DEEP.parameters:
                sums[name[1:]] = sums[name[1:]] + value
            elif name in ("h", "dX"):
                assert np.array_equal(whole[name][k, :steps], value[0])
                assert not whole[name][k, steps:].any()
            else:
                assert np.array_equal(whole[name][k], value[0])
    for name, value in sums.items():
        np.testing.assert_allclose(whole[f"d{name}"], value, rtol=1e-12, atol=1e-13)


def test_a_sample_of_no_steps_leaves_its_states_as_they_are():
    case = Case(1, 3, 2, 2, seed=1, cell=DEEP, lengths="empty")
    arrays, found = case.arrays, evaluate_reference(case.arrays)
    for place in DEEP.places:
        assert np.array_equal(found[place.finals[0]], arrays[place.initial[0]])
        assert np.array_equal(found[f"d{place.initial[1]}"], arrays[place.cotangents[1]])
    assert not any(found[name].any() for name in ("h", "dX", *(f"d{name}" for name in DEEP.parameters)))


@pytest.mark.parametrize("seed", range(8))
def test_check_grad_is_granted_the_rounding_of_its_own_step_where_all_is_zero(seed):
    case = Case(1, 1, 1, 2, seed=seed, cell=BOTH, states=False, lengths="empty")
    due = expect(case)
    assert not any(due.values[name].any() for name in case.cell.outputs)
    assert any(due.values[name].any() for name in case.cell.gradients)
    for direction in ("all", "random"):
        assert check_grad(reference_forward(case.arrays.cell), due.values, case, due, direction).agrees


def test_a_certificate_of_a_network_encloses_its_gradient():
    pytest.importorskip("flint")
    case = Case(2, 2, 1, 1, seed=3, cell=DEEP, lengths="ragged")
    truth = certified(case)
    assert derivation_agrees(truth)
    certificate = certify(from_network_function(network(), "it", DEEP), case, truth)
    assert certificate.verdict is Verdict.PASS
    assert [tensor.name for tensor in certificate.tensors] == [*DEEP.tensors]


# Drawing


def test_the_examples_of_a_network_are_of_all_kinds_of_lengths_and_of_widths_that_can_be_confused():
    options = draw_options(fault_target(cell=DEEP), dtypes=("float64",))
    drawn = list(draw_cases(60, 0, **options))
    assert {case.lengths for case in drawn} == {"", *LENGTHS}
    assert any(case.e == 2 * case.u for case in drawn)
    assert any(case.e == case.u > 1 for case in drawn)
    assert any(len(set(case.arrays.cell.lengths or ())) > 1 for case in drawn)


# Faults


@pytest.mark.parametrize("net", [BOTH, STACK, DEEP], ids=lambda net: net.name)
def test_a_fault_of_composition_changes_what_stands_there_once_and_keeps_every_shape(net):
    found = composition_faults(net)
    assert len(found) >= (60 if len(net.places) > 1 else 20)
    sample = list(found.values()) if net is not DEEP else list(found.values())[::9]
    for fault in sample:
        assert all(source(patch.part, net).count(patch.old) == 1 for patch in fault.patches), fault.id
        for kind in ("", "ragged", "empty"):
            case = Case(3, 3, net.by_letter(1, 1, 1, 2)["d"], 2, "float32", seed=2, cell=net, lengths=kind)
            values = evaluate(fault, case.arrays)
            shapes = {name: value.shape for name, value in values.items()}
            assert shapes == {name: net.shape(name, *case.dims) for name in net.tensors}, fault.id
            assert {value.dtype for value in values.values()} == {np.dtype("float32")}, fault.id


@pytest.mark.parametrize("net", [BOTH, STACK], ids=lambda net: net.name)
def test_a_gradient_that_is_said_to_be_right_for_the_fault_is(net):
    case = Case(3, 3, net.by_letter(1, 1, 1, 2)["d"], 2, seed=3, cell=net, lengths="ragged")
    assert falls_in(case, TURNED)  # or nothing that is sorted again shows
    found = composition_faults(net)
    of_both = [id for id in found if "right for that" in found[id].title]
    assert len(of_both) > 10

    def accepted(id):
        claims = verify_case(fault_target(found[id], cell=net), case, properties=()).claims
        return {claim.name: claim.verdict for claim in claims}["check_grad"]

    for id in told(of_both, 2):
        assert accepted(id) is Verdict.PASS, id
        if f"{id}-forward-only" in found:
            assert accepted(f"{id}-forward-only") is Verdict.FAIL, id


def test_the_faults_of_a_network_are_those_of_composition_and_of_its_cell_everywhere_and_at_each_place():
    found = faults_of(STACK)
    assert {*FAULTS, *composition_faults(STACK)} < set(found)
    fault = find("layer 2, forward: carry-dropped", STACK)
    assert fault.title.startswith("Layer 2, forward: ")
    assert diff(fault, STACK).startswith("at layer 2, forward alone:\n--- a/lstm_ref/backward.py")
    shown = diff(find("layer 1, forward: runs-in-reverse", STACK), STACK)
    assert "+++ b/lstm_ref/composition.py" in shown
    assert all(patch.part != COMPOSITION for patch in fault.patches)


@pytest.mark.parametrize("place", STACK.places, ids=lambda place: place.suffix)
def test_a_fault_of_the_cell_at_one_place_is_named_with_the_place(place):
    fault = find(f"{place.words}: carry-dropped", STACK)
    case = Case(2, 3, 2, 3, seed=5, cell=STACK)
    found = evaluate(fault, case.arrays)
    due = evaluate_reference(case.arrays)
    wrong = {name for name in due if not np.array_equal(found[name], due[name])}
    assert f"dUf{place.suffix}" in wrong
    assert not any(name.endswith("_l1") for name in wrong) or place.layer == 1
    first = diagnose(fault_target(fault, cell=STACK), case).suspects[0]
    assert (first.fault, first.certain) == (fault.id, True)


def test_a_fault_of_composition_is_named_where_the_hidden_state_is_of_a_size_of_its_own():
    net = cell_named("projected@1xboth")
    fault = find("layer 1, reverse: not-turned-back", net)
    assert Case.parse(fault.example).dims == (3, 4, 4, 2, 2)
    case = Case.of((2, 3, 4, 3, 2), seed=5, cell=net, lengths="ragged")
    suspects = diagnose(fault_target(fault, cell=net), case).suspects
    assert fault.id in [suspect.fault for suspect in suspects if suspect.certain]


NAMED = {
    "one initial state for all layers": (DEEP, "initial-states-of-the-first-layer-forward-only"),
    "states by direction first": (DEEP, "initial-states-by-direction-first"),
    "layer 2 fed with one direction": (DEEP, "layer 1: hands-on-the-forward-direction-alone-forward-only"),
    "layer 2 fed with C": (STACK, "layer 1, forward: hands-on-the-memory"),
    "dx written over dy": (STACK, "layer 2: cotangent-written-over"),
    "reverse not turned back": (BOTH, "layer 1, reverse: not-turned-back-forward-only"),
    "final state of the last step": (BOTH, "layer 1, reverse: final-h-of-the-last-step-forward-only"),
    "directions joined in the other order": (BOTH, "layer 1: directions-joined-in-the-other-order-forward-only"),
    "gradients of the directions not added": (BOTH, "layer 1: cotangent-of-the-reverse-direction-alone"),
    "reverse begins in the padding": (BOTH, "layer 1, reverse: runs-over-the-padding"),
    "last state at the padded end": (BOTH, "layer 1, forward: last-state-at-the-padded-end-forward-only"),
    "final states not unsorted": (BOTH, "final-states-not-unsorted-forward-only"),
    "output not unsorted": (BOTH, "outputs-not-unsorted-forward-only"),
    "output sorted again": (BOTH, "outputs-sorted-again-forward-only"),
    "lengths ignored": (BOTH, "lengths-ignored-but-for-the-output"),
    "final cotangents at the padded end": (BOTH, "layer 1, both directions: final-cotangents-at-the-padded-end"),
    "both directions begin with the same states": (
        BOTH,
        "layer 1, reverse: shares-the-initial-states-of-layer-1-forward",
    ),
    "reverse runs over the elements": (BOTH, "layer 1, reverse: runs-over-the-elements"),
}
"""Each bug of `tests/plain_network.py`, the network in which it is planted, and what it is called."""


@pytest.mark.parametrize("bug", NAMED)
def test_a_wrong_network_is_caught_and_named(bug):
    net, due = NAMED[bug]
    target = from_network_function(network(net.layers, len(net.directions) > 1, bug), "it", net)
    width = 2 if bug.endswith("elements") else net.by_letter(1, 1, 1, 2)["d"]
    case = Case(3, 4, width, 2, seed=4, cell=net, lengths="ragged")
    assert case.arrays.cell.lengths == (2, 4, 3)
    assert verify_case(target, case, thorough=False).failures
    found = diagnose(target, case).suspects
    assert due in [suspect.fault for suspect in found if suspect.certain]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lengths", [LENGTHS, ("ragged", "sorted")])
def test_some_examples_have_lengths_that_sorting_again_does_not_put_back(lengths, seed):
    found = draw_cases(100, seed, cell=BOTH, max_dims=NETWORK_DIMS, lengths=lengths)
    turned = 0
    for case in found:
        order = np.argsort(-case.own_lengths, kind="stable") if case.lengths else np.arange(case.m)
        assert falls_in(case, TURNED) == bool(np.any(order[order] != np.arange(case.m)))
        turned += falls_in(case, TURNED)
    assert turned >= 4
    assert TURNED not in reachable_strata(cell=BOTH, max_dims=(2, 9, 4, 3), lengths=lengths)
    assert TURNED not in reachable_strata(cell=BOTH, max_dims=NETWORK_DIMS, lengths=("whole", "sorted"))


@pytest.mark.parametrize("kind", LENGTHS)
def test_a_case_of_no_stratum_has_lengths_of_every_kind(kind):
    found = []
    explore(lambda case: found.append(case.lengths) or True, cases(cell=BOTH, lengths=LENGTHS), 500, 0)
    assert kind in found


@pytest.mark.parametrize("net", [BOTH, STACK], ids=lambda net: net.name)
def test_the_right_twin_passes(net):
    target = from_network_function(network(net.layers, len(net.directions) > 1), "it", net)
    report = verify(target, examples=25)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert {case.case.dtype for case in report.examples} == {"float64", "float32"}
    assert "note      lengths of its samples: whole, ragged, sorted, short, ones, empty, or none said" in render_report(
        report
    )


def test_what_is_not_looked_for_in_a_network_is_said():
    right = network(1, False)

    def lstm(p, X, states, lengths):
        outputs, pullback = right(p, X, states, lengths)
        return outputs, lambda given: pullback(given) | {"dX": np.cos(pullback(given)["dX"])}

    net = cell_named("plain@1xforward")
    work = Work(tries=20)
    found = diagnose(from_network_function(lstm, "it", net), Case(2, 3, 2, 2, seed=1, cell=net), work)
    assert not any(suspect.certain for suspect in found.suspects)
    assert OF_A_CELL_ALONE in found.where
    assert not any("step" in said for said in found.relations)


@pytest.mark.parametrize(
    ("sought", "said"),
    [
        ("Ur_l0_reverse", "such as Uf_l0, Vf_l0; Ur is of the cell gru or gru_reset_after: see --cell"),
        ("Uf_l3", "such as Uf_l0, Vf_l0"),
    ],
)
def test_a_parameter_of_another_cell_is_told_in_a_network_too(sought, said):
    def lstm(p, X, states):
        return p[sought]

    assert not_in_form(from_network_function(lstm, "it", BOTH)).endswith(said)


def test_a_function_by_name_is_told_how_it_is_judged(tmp_path):
    (tmp_path / "mine.py").write_text("def lstm(p, X, states, lengths): return states['h0_l0']")
    (tmp_path / "short.py").write_text("def lstm(p, X, states): return states['h0_l0']")
    said = "is of a network: --layers N, --bidirectional or --reverse says of which"
    for name, cell in (("mine.py", "gru"), ("mine.py", "plain"), ("short.py", "plain")):
        with pytest.raises(TargetError, match=said):
            load_target(f"{tmp_path / name}:lstm", cell=cell_named(cell))


def target_of(net, forward=lambda run, given: run(given), back=lambda pull, given: pull(given)):
    """A network whose passes are right but for what is done with them."""
    right = network(net.layers, len(net.directions) > 1)

    def lstm(p, X, states, lengths):
        outputs, pullback = forward(lambda given: right(p, X, given, lengths), states)
        return outputs, lambda given: back(pullback, given)

    return from_network_function(lstm, "it", net)


def located(net, **passes):
    """Which of its tensors are ever wrong."""
    case = Case(3, 4, 3, 2, seed=4, cell=net, lengths="ragged")
    return locate_in_network(target_of(net, **passes), case, lambda: True)


def as_if(**passes):
    """As if which array of two layers were another."""
    cases = [Case(*sizes, seed=4, cell=STACK, lengths="ragged") for sizes in ((3, 4, 3, 2), (2, 3, 2, 3))]
    return find_change(target_of(STACK, **passes), cases, lambda: True)


def changed(values, of):
    """Values of which some, by their names, are something else."""
    return {name: np.cos(value) if of(name) else value for name, value in values.items()}


@pytest.mark.parametrize(
    ("net", "of", "said"),
    [
        (STACK, lambda name: name.endswith("_l1"), "only tensors of (layer 2, forward) are ever wrong in "),
        (
            BOTH,
            lambda name: name.endswith("e") or name == "dX",
            "beside dX only tensors of (layer 1, reverse) are ever",
        ),
        (STACK, lambda name: name[:2] == "dU", "only gradients of parameters are ever wrong in "),
        (STACK, lambda name: name == "dX", "only dX is ever wrong in "),
    ],
)
def test_the_layers_and_directions_that_are_ever_wrong_are_named(net, of, said):
    (line,) = (line for line in located(net, back=lambda pull, given: changed(pull(given), of)) if "only" in line)
    assert line.startswith(said)


@pytest.mark.parametrize(
    ("net", "wrong", "said"),
    [
        (BOTH, ("h", "hn_l0_reverse", "Cn_l0_reverse"), "of the outputs only hn_l0 and Cn_l0 are right in "),
        (STACK, ("h", "hn_l1"), "of the outputs only h and hn_l1 are ever wrong in "),
        (STACK, ("hn_l0",), "of the outputs only hn_l0 is ever wrong in "),
    ],
)
def test_the_outputs_that_are_ever_wrong_are_named(net, wrong, said):
    def forward(run, states):
        outputs, pullback = run(states)
        return changed(outputs, lambda name: name in wrong), pullback

    def back(pull, given):
        return changed(pull(given), lambda name: name in ("dX", "dbf_l0", "dbi_l0"))

    assert any(line.startswith(said) for line in located(net, forward=forward, back=back))


def first_for_all(state):
    return np.broadcast_to(state[:1], state.shape)


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (lambda run, given: given | {"h0_l1": run(given)[0]["hn_l0"]}, "all is as if h0_l1 were hn_l0"),
        (lambda run, given: given | {"C0_l1": given["h0_l1"]}, "all is as if C0_l1 were h0_l1"),
        (
            lambda run, given: given | {"h0_l1": first_for_all(given["h0_l1"])},
            "all is as if h0_l1 were that of its first sample for all",
        ),
    ],
)
def test_a_state_taken_from_elsewhere_is_named(take, said):
    assert as_if(forward=lambda run, given: run(take(run, given))) == said


def test_a_cotangent_taken_from_the_layer_above_is_named():
    taken = lambda pull, given: pull(given | {"dCn_l0": pull(given)["dC0_l1"]})  # noqa: E731
    assert as_if(back=taken) == "all is as if dCn_l0 were dC0_l1"


def test_a_relation_is_not_said_that_holds_at_one_kind_of_lengths_alone():
    right = network(1, True)

    def lstm(p, X, states, lengths):
        outputs, pullback = right(p, X, states, lengths)
        there = (lengths > 1).any()
        return outputs, lambda given: pullback(given) | {"dX": there * np.cos(pullback(given)["dX"])}

    case = Case(3, 4, 3, 2, seed=4, cell=BOTH, lengths="ones")
    found = diagnose(from_network_function(lstm, "it", BOTH), case, Work(tries=5))
    assert "dX is zero throughout" not in found.relations
    assert any(line.startswith("only dX is ever wrong") for line in found.where)


# Conventions of lengths and padding


def padded_with(what, refuses=(), cut=False):
    """The right network, with something else in the padding, or refusing some lengths."""
    right = network(1, True)

    def lstm(p, X, states, lengths):
        if "empty" in refuses and not lengths.all():
            raise ValueError("a length is 0")
        if "unsorted" in refuses and np.any(np.diff(lengths) > 0):
            raise ValueError("lengths are not in falling order")
        outputs, pullback = right(p, X, states, lengths)
        h, m = outputs["h"], len(X)
        beyond = (np.arange(X.shape[1]) >= lengths[:, None])[..., None]
        if what == "held":
            h = np.where(beyond, h[np.arange(m), np.maximum(lengths - 1, 0)][:, None], h)
        elif what == "garbage":
            h = np.where(beyond, 7, h).astype(X.dtype)
        steps = max(int(lengths.max()), 1) if cut else X.shape[1]

        def pull(given):
            dh = np.concatenate([given["dh"], np.zeros((m, X.shape[1] - steps, h.shape[2]), X.dtype)], axis=1)
            return pullback({**given, "dh": dh})

        return {**outputs, "h": h[:, :steps]}, pull

    return lstm


CONVENTIONS = [
    ("zero", (), False, (), LENGTHS),
    ("zero", (), True, ("its output ends with the longest sample, and is taken for zero beyond",), LENGTHS),
    ("garbage", (), False, ("its output in the padding is not judged: it is not zero there",), LENGTHS),
    ("held", ("empty",), False, ("not judged at empty lengths, which it refuses: forward raised ValueError: a length",
      "its output in the padding is not judged: its last output is repeated there"), LENGTHS[:-1]),
    ("zero", ("empty", "unsorted"), False, ("not judged at ragged lengths, which it refuses: forward raised ValueError",
      "not judged at short", "not judged at empty"), ("whole", "sorted", "ones")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "refuses", "cut", "notes", "kinds"), CONVENTIONS)
def test_what_a_target_does_with_padding_is_found_out_and_said(what, refuses, cut, notes, kinds):
    target = from_network_function(padded_with(what, refuses, cut), "it", BOTH)
    assert target.lengths == kinds
    assert len(target.notes) == len(notes)
    assert all(said.startswith(due) for said, due in zip(target.notes, notes, strict=True))
    for kind in ("", *kinds):
        for seed in (3, 4):
            report = verify_case(target, Case(3, 4, 2, 2, seed=seed, cell=BOTH, lengths=kind))
            assert not report.failures, (kind, report.failures)


@pytest.mark.parametrize("kind", ["ragged", "short"])
def test_lengths_are_tried_out_in_an_order_that_is_not_falling(kind):
    drawn = [Case(*TRIED, seed=seed, cell=BOTH, lengths=kind).arrays.cell.lengths for seed in SEEDS]
    assert any(len(set(found)) == 3 and found != tuple(sorted(found, reverse=True)) for found in drawn)


def test_what_raises_for_other_lengths_than_those_that_may_be_refused_fails():
    right = network(1, True)

    def lstm(p, X, states, lengths):
        if len(set(lengths.tolist())) == 1:
            raise ValueError("all alike")
        return right(p, X, states, lengths)

    target = from_network_function(lstm, "it", BOTH)
    assert target.lengths == LENGTHS
    assert verify_case(target, Case(2, 3, 2, 2, cell=BOTH, lengths="ones")).failures


def test_a_network_that_takes_less_is_judged_on_what_it_takes():
    right = network(2, False)

    def lstm(p, X):
        none = {name: np.zeros((len(X), p["Vf_l0"].shape[0]), X.dtype) for name in STACK.initial}
        outputs, pullback = right(p, X, none, np.full(len(X), X.shape[1]))
        zero = {f"d{name}": np.zeros_like(none["h0_l0"]) for name in STACK.outputs[1:]}
        return {"h": outputs["h"]}, lambda given: {
            n: v
            for n, v in pullback(zero | {"dh": given["dh"]}).items()
            if n not in {f"d{name}" for name in STACK.initial}
        }

    target = from_network_function(lstm, "it", STACK)
    assert not target.lengths
    assert set(STACK.outputs[1:]) | {f"d{name}" for name in STACK.initial} <= target.lacks
    report = verify(target, examples=15)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)


# The doors

MINE = """
import sys
sys.path.insert(0, {tests!r})
from plain_network import network
from share import told
right, wrong = network(1, True), network(1, True, "reverse not turned back")
"""


def command(*arguments, cwd):
    words = [sys.executable, "-m", "lstm_checks", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_takes_layers_directions_and_lengths(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(tests=str(ROOT / "tests")))
    right = command(
        "verify", "mine.py:right", "--bidirectional", "--lengths", "--examples", 4, "--json", "r.json", cwd=tmp_path
    )
    assert right.returncode == 0, right.stdout + right.stderr
    assert "against lstm_ref's plain LSTM in 1 layer, both directions" in right.stdout
    assert {"hn_l0_reverse", "dUf_l0_reverse"} <= set(json.loads((tmp_path / "r.json").read_text())["claims"])
    case = "m2s3e2u2-plain@1xboth-float64-ragged-seed1"
    wrong = command("verify", "mine.py:wrong", "--case", case, cwd=tmp_path)
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "layer 1, reverse: not-turned-back-forward-only" in wrong.stdout
    assert f"--case {case}" in wrong.stdout


PROGRAM = """
import json, sys
import numpy as np
sys.path.insert(0, {tests!r})
from plain_network import network
from share import told

for line in sys.stdin:
    request = json.loads(line)
    m, s, e, u = (request["sizes"][k] for k in "mseu")
    net, kind = request["network"], request["dtype"]
    assert (net["cell"], net["layers"], net["directions"], net["join"]) == ("plain", 2, ["forward"], "concat")
    layer = lambda name: int(name.rpartition("_l")[2][0])
    shapes = {{"V": (u, u), "b": (1, u), "X": (m, s, e), "h": (m, u), "C": (m, u)}}
    shape_of = lambda name: (u if layer(name) else e, u) if name[0] == "U" else shapes[name[0]]
    read = lambda name, v, shape: np.array([float.fromhex(n) for n in v], kind).reshape(shape)
    given = {{name: read(name, v, shape_of(name)) for name, v in request["inputs"].items()}}
    p = {{n: v for n, v in given.items() if n[0] in "UVb"}}
    lengths = np.array(request.get("lengths", [s] * m))
    if lengths.min() < 1 or np.any(np.diff(lengths) > 0):
        print(json.dumps({{"id": request["id"], "error": "lengths in falling order, please"}}), flush=True)
        continue
    outputs, pullback = network(2, False)(p, given["X"], given, lengths)
    write = lambda values: {{n: [float(v).hex() for v in np.ravel(value)] for n, value in values.items()}}
    answer = {{"id": request["id"], "outputs": write(outputs), "gradients": {{}}}}
    if "cotangents" in request:
        c = {{n: read(n, v, (m, s, u) if n == "dh" else (m, u)) for n, v in request["cotangents"].items()}}
        answer["gradients"] = write(pullback(c))
    if {without!r}:
        answer["unsupported"] = ["lengths"]
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize("without", [False, True])
def test_a_program_of_a_network_is_sent_layers_directions_and_lengths(without, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(tests=str(ROOT / "tests"), without=without))
    target = program_target("it", shlex.join([sys.executable, str(script)]), 20.0, STACK)
    assert target.lengths == (() if without else ("whole", "sorted", "ones"))
    report = verify(target, examples=6, max_dims=(3, 4, 3, 2))
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert not target.unsupported


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bidirectional", "--reverse"), "--bidirectional and --reverse do not go together"),
        (("--join", "sum"), "--join sum is for --bidirectional, which is not given"),
        (("--cell", "plain@2xboth", "--layers", "2"), "--cell plain@2xboth is a network, and --layers"),
        (("--cell", "plain@2xup"), "--cell is '2xup', expected CELL@LAYERSxDIRECTIONS"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, said, tmp_path):
    found = command("verify", "lstm_ref:LSTM", *words, cwd=tmp_path)
    assert found.returncode == 2
    assert said in found.stderr


def test_lengths_that_a_target_does_not_take_are_refused(tmp_path):
    (tmp_path / "mine.py").write_text("def lstm(p, X, states):\n    raise ValueError\n")
    found = command("verify", "mine.py:lstm", "--lengths", cwd=tmp_path)
    assert found.returncode == 2
    assert "--lengths: mine.py:lstm, a function by name, takes no lengths" in found.stderr


def test_a_class_or_another_function_is_told_what_a_network_is_judged_as():
    with pytest.raises(
        TargetError, match=r"lstm_ref:LSTM is a class, expected a function of a network: \(p, X, states"
    ):
        load_target("lstm_ref:LSTM", cell=DEEP)
    with pytest.raises(TargetError, match=r"f takes \(a\), expected \(p, X, states, lengths\)"):
        to_target(lambda a: a, "f", DEEP)


def test_the_suite_of_a_network_has_a_test_for_each_of_its_tensors():
    options = {"target": staticmethod(network(1, True)), "cell": "plain@1xboth", "examples": 5}
    made = type("TestMine", (LayerSuite,), options)
    made().test_dUf_l0_reverse()
    made().test_hn_l0()
