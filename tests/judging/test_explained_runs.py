"""What a whole run says: the rule by which cases fail, the groups of failures, and what is there by chance."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from agreement import positional
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_lstm import plain_lstm

from lstm_checks import strategies
from lstm_checks.cases import LENGTHS, REGIMES, Case
from lstm_checks.compare import Claim, Verdict
from lstm_checks.contract import by_name
from lstm_checks.diagnosis.chance import always, describe_chance
from lstm_checks.diagnosis.diagnose import Diagnosis
from lstm_checks.diagnosis.groups import largest_first, together
from lstm_checks.diagnosis.rule import WHERE, Domain, Rule, describe_values, find_rule
from lstm_checks.faults.catalogue import find
from lstm_checks.faults.model import fault_target
from lstm_checks.judging import explain as explaining
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain_run
from lstm_checks.judging.json import report_to_json
from lstm_checks.judging.text import render_report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.expected import expect
from lstm_checks.targets.function import from_function
from lstm_ref.cells import cell_named

DIMS = (9, 24, 9, 9)
DOMAIN = Domain(DIMS)
RUN = tuple(strategies.draw_cases(100, 0, max_dims=DIMS))
FRESH = tuple(strategies.draw_cases(200, 1, max_dims=DIMS))

SIZES = st.sampled_from(["m", "s", "e", "u"])
CONDITIONS = st.one_of(
    st.tuples(SIZES, st.integers(2, 5)).map(lambda p: lambda c: getattr(c, p[0]) >= p[1]),
    st.tuples(SIZES, st.integers(2, 5)).map(lambda p: lambda c: getattr(c, p[0]) % p[1] != 0),
    st.tuples(SIZES, st.integers(2, 4)).map(lambda p: lambda c: getattr(c, p[0]) % p[1] == 0),
    st.tuples(SIZES, SIZES).filter(lambda p: p[0] < p[1]).map(lambda p: lambda c: getattr(c, p[0]) == getattr(c, p[1])),
    st.tuples(SIZES, SIZES).filter(lambda p: p[0] != p[1]).map(lambda p: lambda c: getattr(c, p[0]) > getattr(c, p[1])),
    st.integers(6, 60).map(lambda n: lambda c: c.m * c.s > n),
    st.sampled_from(REGIMES).map(lambda regime: lambda c: c.regime == regime),
    st.sampled_from(["every", "last", "h", "C"]).map(lambda kind: lambda c: kind in c.cotangents.split("+")),
    st.booleans().map(lambda given: lambda c: c.states == given),
)


def tried(rule):
    """Whether there is a rule, and enough was tried on either side of it."""
    return rule is not None and min(rule.wrong, rule.outside) >= 10


def learned(fails, verdicts=RUN):
    """The rule learned from a run."""
    known = {case: bool(fails(case)) for case in verdicts}
    first = min((case for case in known if known[case]), key=lambda case: case.size)
    return find_rule(lambda case: bool(fails(case)), first, known, DOMAIN)


@given(CONDITIONS)
@settings(max_examples=10, deadline=None)
def test_a_planted_rule_is_found_and_holds_of_cases_that_were_not_asked(condition):
    rule = learned(condition)
    assert tried(rule)
    assert rule.wrong == rule.inside
    # A bound on a product of sizes may stand anywhere between two that were asked.
    assert sum(rule.covers(case) != bool(condition(case)) for case in FRESH) <= 2


@given(CONDITIONS, CONDITIONS)
@settings(max_examples=6, deadline=None)
def test_what_is_said_of_two_conditions_is_so(one, other):
    def fails(case):
        return one(case) and other(case)

    assume(3 <= sum(map(fails, RUN)) <= 97)
    if (rule := learned(fails)) is not None:
        assert sum(rule.covers(case) != bool(fails(case)) for case in FRESH) <= 10


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        (lambda c: c.m % 4, "m is no multiple of 4"),
        (lambda c: c.m == c.e, "m = e"),
        (lambda c: c.s == 1, "s = 1"),
        (lambda c: c.u >= 2, "u >= 2"),
        (lambda c: c.m * c.s > 20, "m * s > 20"),
        (lambda c: not {"every", "last"} & set(c.cotangents.split("+")), "dh is zero at every step"),
        (lambda c: "last" in c.cotangents, "dh is given at the last step alone"),
        (lambda c: not c.states, "the initial states are zero"),
        (lambda c: c.regime in ("x10", "x100"), "the regime is x10 or x100"),
        (lambda c: c.m >= 5 and "C" in c.cotangents, "m >= 5 and dCn is given"),
        (lambda c: c.m > 2 and c.s > 3 and c.e > 2, "m >= 3 and s >= 4 and e >= 3"),
    ],
)
def test_a_rule_is_said_in_words(fails, words):
    rule = learned(fails)
    assert rule.words == words
    assert str(rule).startswith(f"{WHERE} {words}, in {rule.wrong} of {rule.inside} examples tried; right elsewhere")


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        (lambda n, s: (n < s).any(), "a sample ends before the last step"),
        (lambda n, s: (n < s).all(), "every sample ends before the last step"),
        (lambda n, s: (n == 0).any(), "a sample has no steps"),
        (lambda n, s: s > 3 and (np.diff(n) > 0).any(), "s >= 4 and a sample is longer than the one before it"),
        (lambda n, s: True, "lengths are given"),
    ],
)
def test_a_rule_may_be_of_the_lengths_of_a_padded_batch(fails, words):
    net = cell_named("rnn@1xboth")
    run = strategies.draw_cases(100, 0, max_dims=DIMS, cell=net, lengths=LENGTHS, cotangents=("every+h", "last"))
    known = {case: bool(case.lengths and fails(case.own_lengths, case.s)) for case in run}
    first = min((case for case in known if known[case]), key=lambda case: case.size)
    rule = find_rule(
        lambda case: bool(case.lengths and fails(case.own_lengths, case.s)),
        first,
        known,
        Domain(DIMS, cotangents=("every+h", "last"), lengths=LENGTHS),
    )
    assert rule.words == words


def test_lengths_that_are_drawn_are_no_other_values_alone():
    net = cell_named("rnn@1xboth")
    ragged, whole = (Case(2, 3, 1, 1, seed=1, cell=net, lengths=kind) for kind in ("ragged", "whole"))
    for case, words in ((ragged, "values and lengths"), (whole, "values")):
        assert describe_values(lambda other: other.seed % 2 == 0, case).endswith(f"2 of 4 other draws of {words}")


@pytest.mark.parametrize("words", ["the regime is not zero", "the regime is not zero or the initial states are given"])
def test_that_something_is_at_stake_is_no_pattern(monkeypatch, words):
    monkeypatch.setattr(explaining, "find_rule", lambda *given: Rule(words, 20, 20, 20, lambda case: True))
    target = fault_target(find("carry-dropped"))
    assert explaining._pattern(target, verify_case(target, Case(1, 2, 1, 1)), (), None) == ""


def test_what_is_known_of_a_failure_stays_where_looking_further_breaks(monkeypatch):
    def broken(*given):
        raise KeyError("h")

    monkeypatch.setattr(explaining, "find_hints", broken)
    target = fault_target(find("carry-dropped"))
    found = explaining.explain(target, verify_case(target, Case(1, 2, 1, 1))).diagnosis
    assert found.suspects[0].fault == "carry-dropped"
    assert found.where[-1] == "not looked for to the end, by a fault of lstm-checks: KeyError: 'h'"


def test_what_always_fails_and_what_fails_by_its_values_follows_no_rule():
    assert learned(lambda case: True) is None
    assert learned(lambda case: case.seed % 3 == 0) is None


def test_in_low_precision_fewer_cases_like_the_failing_one_are_asked():
    asked = {dtype: [] for dtype in ("float32", "bfloat16")}
    for dtype, cases in asked.items():
        find_rule(
            lambda case, cases=cases: bool(cases.append(case)) or True,
            Case(1, 2, 1, 1, dtype),
            {},
            Domain((9, 12, 9, 9)),
        )
    assert len(asked["bfloat16"]) <= 14 < len(asked["float32"])


def test_what_is_due_of_a_case_is_computed_once_however_often_it_is_asked(monkeypatch):
    computed = []
    monkeypatch.setattr(explaining, "expect", lambda case: computed.append(case) or expect(case))
    due = explaining._kept_due(fault_target(), True)
    case = Case(1, 2, 2, 2)
    assert due(case) is due(case)
    assert due(replace(case, seed=1)) is not due(case)
    assert computed == [case, replace(case, seed=1), case]
    assert explaining._kept_due(fault_target(), False)(case) is None


def test_equal_sizes_are_told_from_a_size():
    """At m = e, examples of m = 3 and e = 3 fail, and those of m = 3 and e = 4 do not."""
    few = [case for case in RUN if case.m == 3 or case.m != case.e]
    rule = learned(lambda case: case.m == case.e, few)
    assert rule.words == "m = e"


RIGHT = fault_target()


def spoilt(change):
    """The reference, whose gradients `change(gradients, X, u)` spoils."""

    def call(p, X, h0, C0, sequences=True):
        outputs, pullback = positional(RIGHT)(p, X, h0, C0, sequences)

        def pull(dh, dCn, dhn=None):
            gradients = dict(pullback(dh, dCn, dhn))
            change(gradients, X, h0.shape[1])
            return gradients

        return outputs, pull

    return replace(RIGHT, name="it", call=by_name(call))


def small(target, **options):
    return verify(target, **({"examples": 60, "max_dims": (5, 8, 5, 5)} | options))


def doubled(name, where=lambda X, u: True):
    def change(gradients, X, u):
        if where(X, u):
            gradients[name] = gradients[name] * 2

    return change


def test_the_rule_of_a_layer_stands_in_its_report():
    report = small(spoilt(doubled("dVg", lambda X, u: X.shape[0] == X.shape[2])))
    assert "  pattern   wrong where m = e, in " in render_report(report)
    assert not any("right at m" in line for line in report.failure.diagnosis.where)


def test_an_error_of_one_dtype_is_said_to_be_so():
    target = spoilt(doubled("dbo", lambda X, u: X.dtype == np.float32))
    report = small(target, dtypes=("float64", "float32"))
    assert report.failure.case.dtype == "float32"
    assert report.failure.pattern.startswith("wrong where the dtype is float32, in ")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_what_fails_by_chance_is_said_to_and_nothing_of_its_values(share):
    rng = np.random.default_rng(0)
    report = small(spoilt(doubled("dUi", lambda X, u: rng.random() < share)))
    assert "0 runs of the same case" in report.failure.chance
    assert (report.failure.pattern, report.failure.diagnosis, report.further) == ("", None, ())
    assert "\n  chance    fails in " in render_report(report)
    assert report_to_json(report)["failure"]["chance"] == report.failure.chance


def test_what_is_wrong_at_first_alone_is_said_to_be():
    calls = []

    def change(gradients, X, u):
        calls.append(X)
        if len(calls) <= 4:
            gradients["dX"] = gradients["dX"] * 2

    report = small(spoilt(change))
    assert report.failure.chance == (
        "fails in the first example alone: right in all 59 others and in 10 more runs of its case"
    )


def test_what_is_wrong_the_first_time_that_it_meets_a_size_is_said_to_be():
    met = set()

    def fails(case):
        new = case.dims not in met
        met.add(case.dims)
        return new

    case = Case(1, 1, 1, 1)
    assert fails(case)
    assert not always(fails, case)
    said = describe_chance(fails, case, Case(9, 1, 1, 9), (False, True, True))
    assert said == "fails the first time that it meets a size, and in none of 10 more runs of the same case"
    assert describe_chance(fails, case, None, ()) == "did not fail again in 10 runs of the same case"


def test_two_errors_in_different_tensors_are_two_groups_and_both_are_told():
    def change(gradients, X, u):
        doubled("dbi", lambda X, u: X.shape[0] % 2)(gradients, X, u)
        if X.shape[2] > 2:
            gradients["dVo"] = np.ascontiguousarray(gradients["dVo"].T)

    report = small(spoilt(change))
    assert [failure.signature for failure in (report.failure, *report.further)] == [{"dbi"}, {"dVo"}]
    assert report.failure.pattern.startswith("wrong where m is odd, in ")
    assert "dbi is 2 times what is due" in report.failure.diagnosis.relations
    assert report.further[0].pattern.startswith("wrong where e >= 3 and u >= 2, in ")
    # The run's own examples refute that dbi alone is ever wrong.
    assert not any(line.startswith("only dbi ") for line in report.failure.diagnosis.where)
    shown = render_report(report)
    assert f"dbi fails in {report.failure.stands_for[0]} of the {report.failure.stands_for[1]} failing" in shown
    assert len(report_to_json(report)["further_failures"]) == 1


def test_of_two_catalogued_faults_each_says_what_it_explains():
    parts = [find(id_) for id_ in ("dvo-transposed", "final-memory-cotangent-ignored")]
    with_both = {(one, other): fault_target(*parts[:1] * one, *parts[1:] * other) for one in (0, 1) for other in (0, 1)}

    def call(p, X, h0, C0, sequences=True):
        m, _, e = X.shape
        return positional(with_both[m % 2, 1 - e % 2])(p, X, h0, C0, sequences)

    report = small(replace(RIGHT, name="it", call=by_name(call)))
    named = [failure.diagnosis.suspects[0] for failure in (report.failure, *report.further)]
    assert {one.fault for one in named[:2]} == {part.id for part in parts}
    assert "failing examples" in named[0].sure
    assert " more together with " in named[1].sure


def garbled(pullback, cotangents):
    gradients = dict(pullback(cotangents))
    gradients["dVo"] = np.cos(1e3 * gradients["dVo"] + gradients["dbo"][0])
    return gradients


def raising(pullback, cotangents):
    raise RuntimeError("no room for this one")


def explained_but_for_one(odd_pullback):
    """What is said of a catalogued fault that is of two steps and more, and of one example of a single step apart."""
    options = {"max_dims": (4, 4, 3, 3)}
    origins = strategies.draw_cases(30, 0, **options)
    # Of one number anything is a multiple.
    odd = next(case for case in origins if case.s == 1 and case.u > 1 and case.regime in ("normal", "mixed", "x10"))
    faulty = fault_target(find("carry-dropped"))

    def call(inputs, sequences=True):
        outputs, pullback = faulty.call(inputs, sequences)
        is_odd = np.array_equal(inputs["X"], odd.arrays["X"])
        return outputs, partial(odd_pullback, pullback) if is_odd else pullback

    target = replace(faulty, name="it", call=call)
    reports = tuple(verify_case(target, case) for case in origins)
    return explain_run(target, reports, origins, strategies.draw_options(target, **options))


def test_the_little_that_a_named_fault_leaves_over_is_counted_and_no_group_of_its_own():
    """The one example that is wrong in another way may be the same fault, drowned: nothing is said of it apart."""
    groups, unexplained = explained_but_for_one(garbled)
    assert [group.diagnosis.suspects[0].fault for group in groups] == ["carry-dropped"]
    assert unexplained == ((frozenset({"dVo"}), 1),)


def test_what_raises_in_a_single_example_is_told_beside_a_named_fault():
    (first, second), unexplained = explained_but_for_one(raising)
    assert first.diagnosis.suspects[0].fault == "carry-dropped"
    assert "no room for this one" in second.failures[0].discrepancy.message
    assert unexplained == ()


def test_a_suspect_that_explains_all_failures_leaves_no_group():
    report = small(fault_target(find("carry-dropped")))
    count = sum(bool(example.failures) for example in report.examples)
    assert report.failure.diagnosis.suspects[0].sure.endswith(f"explains {count} of the {count} failing examples")
    assert (report.further, report.unexplained) == ((), ())


def test_beside_what_explains_the_run_no_consequence_of_it_is_told():
    """At a size that is a limit each gate is wrong, and each place is of that size alone."""
    report = verify(fault_target(find("tail-of-sixteen-elements-lost")))
    first = report.failure.diagnosis.suspects[0]
    assert (first.fault, first.certain) == ("tail-of-sixteen-elements-lost", False)
    assert (report.failure.diagnosis.relations, report.failure.diagnosis.where) == ((), ())


def test_what_hangs_on_the_calls_is_not_said_to_hang_on_the_values():
    report = small(fault_target(find("input-remembered-by-identity")))
    assert report.failure.unsteady
    assert not report.failure.pattern.startswith("right at these sizes")


def test_no_more_than_three_groups_are_explained_and_the_rest_is_said():
    def change(gradients, X, u):
        name = ("dX", "dUf", "dbo", "dh0", "dC0")[X.shape[0] - 1]
        gradients[name] = gradients[name] * 2

    report = small(spoilt(change))
    assert len(report.further) == 2
    told = {name for failure in (report.failure, *report.further) for name in failure.signature}
    left = {name for names, _ in report.unexplained for name in names} & {"dX", "dUf", "dbo", "dh0", "dC0"}
    assert len(told) == 3
    assert len(left) == 2
    assert not told & left
    assert "not explained: " in render_report(report)


def test_each_question_that_fails_is_explained_by_a_case_of_its_own():
    ids = ("second-order-tanh-detached", "frozen-x-freezes-input-weights")
    report = small(fault_target(*map(find, ids)), examples=40, max_dims=(3, 3, 2, 2))
    told = [failure.signature for failure in (report.failure, *report.further)]
    assert sorted(map(list, told)) == [["inputs without gradient"], ["second order"]]
    assert report.unexplained == ()
    # Of more questions than are explained the rest is said by its name.
    left = replace(verify_case(RIGHT, Case(1, 1, 1, 1)), claims=(Claim("training", Verdict.FAIL),))
    assert explaining._bucket(left) == {"training"}
    assert explaining._bucket(replace(left, claims=(Claim("linearity", Verdict.FAIL),))) == {explaining.LATER}


def test_a_place_of_the_target_is_said_once():
    """Of the first group it may be said as it is, and of the next one that its values are others."""
    report = verify_case(RIGHT, Case(2, 3, 2, 2))
    first = replace(report, diagnosis=Diagnosis(relations=("so",), where=("here", "for normal values, there")))
    again = replace(report, diagnosis=Diagnosis(relations=("so",), where=("for normal values, here", "there", "new")))
    told = [explaining._Told(first, lambda other: False)]
    assert explaining._news(again, told).diagnosis == Diagnosis(where=("new",))
    assert explaining._news(again, []) == again


def test_a_rule_with_exceptions_is_not_said_of_what_is_not_the_same_twice(monkeypatch):
    """There an exception may be chance, and as many of other sizes."""
    report = verify_case(fault_target(find("carry-dropped")), Case(2, 3, 2, 2))
    for wrong, steady, said in ((9, True, True), (8, True, True), (9, False, True), (8, False, False)):
        rule = Rule("s >= 2", wrong, 9, 5, lambda case: case.s >= 2)
        monkeypatch.setattr(explaining, "find_rule", lambda *ignored, rule=rule: rule)
        pattern = explaining._pattern(fault_target(find("carry-dropped")), report, (), None, steady)
        assert pattern == (str(rule) if said else "")


def test_nothing_is_explained_of_a_run_without_failures():
    reports = tuple(verify_case(RIGHT, case) for case in RUN[:3])
    assert explain_run(RIGHT, reports, {}, {}) == ((), ())


def test_failures_go_together_by_what_is_wrong_in_them():
    assert together(frozenset({"dX", "dh0"}), {"dX"}, {"dX", "dh0", "dC0"})
    assert not together(frozenset({"dbi"}), {"dX"}, {"dX", "dbi"})
    assert not together(frozenset({"dX", "dVo"}), {"dX"}, {"dX", "dh0"})
    found = largest_first([frozenset("a"), frozenset("b"), frozenset("b")])
    assert found == [(frozenset("b"), 2), (frozenset("a"), 1)]


def test_one_size_at_which_an_example_passes_is_no_rule():
    """That the one example of 23 steps passes by its values makes no rule of multiples of 23."""
    passing = Case(2, 23, 2, 2, seed=77)
    known = {case: case.regime != "zero" for case in RUN} | {passing: False}
    rule = find_rule(lambda c: c.regime != "zero" and c.seed != passing.seed, Case(1, 1, 1, 1), known, DOMAIN)
    assert rule is None or rule.words == "the regime is not zero"


def test_a_fault_that_is_named_is_not_named_again_for_what_else_it_comes_to():
    def lstm(p, X, h0, C0):
        outputs, pullback = plain_lstm(p, X, h0, C0)

        def writing(dh, dCn):
            found = pullback(dh, dCn.copy(), np.zeros_like(h0))
            dCn *= 2
            return found

        return outputs, writing

    report = verify(from_function(lstm), examples=12)
    named = [one.diagnosis.suspects[0].fault for one in (report.failure, *report.further) if one.diagnosis.suspects]
    assert named == ["cotangent-written"]
