"""What a target does not take or return, found out or declared: zero in its cases, unsupported in its report."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_checks import lacks
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import PLAIN, STATES
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.text import render_failure, render_report
from lstm_checks.judging.verify import verify
from lstm_checks.suite import LayerSuite
from lstm_checks.targets.function import from_function
from lstm_checks.targets.lacking import known_words, with_lacks, without
from lstm_checks.targets.layer import from_layer
from lstm_ref import LSTM

EXAMPLES = Path(__file__).parents[2] / "examples"
right = runpy.run_path(str(EXAMPLES / "vjp_function.py"))["lstm"]

FINALS = {"Cn", "dCn"}


def only_h0(p, X, h0):
    return right(p, X, h0, np.zeros_like(h0))


def only_C0(p, X, C0):
    return right(p, X, np.zeros_like(C0), C0)


def no_Cn(p, X, h0, C0):
    (h, _), pullback = right(p, X, h0, C0)
    return (h, None), lambda dh: pullback(dh, np.zeros_like(C0))


def not_at_one(size, axis):
    def lstm(p, X, h0, C0):
        if (*X.shape, h0.shape[1])["mseu".index(size)] == axis:
            raise ValueError("not enough values to unpack")
        return no_Cn(p, X, h0, C0)

    return lstm


@lacks("biases")
def without_biases(p, X, h0, C0):
    none = {name: np.zeros_like(value) if name[0] == "b" else value for name, value in p.items()}
    outputs, pullback = right(none, X, h0, C0)
    return outputs, lambda *given: {n: v for n, v in pullback(*given).items() if n[1] != "b"}


@lacks("h0", "dUg", "Cn")
def several(p, X, h0, C0):
    outputs, pullback = right(p, X, np.zeros_like(h0), C0)
    return outputs, lambda *given: {n: v for n, v in pullback(*given).items() if n not in ("dUg", "dh0")}


BIASES = {name for gate in "figo" for name in (f"b{gate}", f"db{gate}")}
FUNCTIONS = {
    "h0 without C0": (only_h0, {"C0", "dC0"}),
    "C0 without h0": (only_C0, {"h0", "dh0"}),
    "no Cn, no dCn": (no_Cn, FINALS),
    "not at u = 1": (not_at_one("u", 0), FINALS),
    "biases declared": (without_biases, BIASES),
    "several declared": (several, {"h0", "dh0", "dUg", *FINALS}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_right_function_passes_in_what_it_has_and_the_rest_is_unsupported(name):
    function, lacking = FUNCTIONS[name]
    target = from_function(function, "it")
    assert set(target.unsupported) == lacking
    report = verify(target, examples=25)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert f"unsupported: {', '.join(target.unsupported)}" in render_report(report)
    for tensor in PLAIN.tensors:
        counts = report.claim_counts[tensor]
        assert (set(counts) == {Verdict.UNSUPPORTED}) == (tensor in lacking), tensor
        assert counts[Verdict.PASS] > 5 or tensor in lacking, tensor
    for example in report.examples:
        assert not any(example.case.arrays[absent].any() for absent in target.absent)


def test_a_wrong_gradient_of_what_is_taken_fails_still():
    def wrong(p, X, h0):
        outputs, pullback = only_h0(p, X, h0)
        return outputs, lambda *given: {n: 2 * v if n == "dh0" else v for n, v in pullback(*given).items()}

    report = verify_case(from_function(wrong), Case(2, 3, 4, 5, seed=1))
    assert {claim.name for claim in report.failures} >= {"dh0"}
    assert {claim.name for claim in report.claims if claim.verdict is Verdict.UNSUPPORTED} >= {"dC0"}


@pytest.mark.parametrize("size", "mseu")
def test_what_a_size_of_one_breaks_is_found_wrong_there_alone(size):
    target = from_function(not_at_one(size, 1), "it")
    assert set(target.unsupported) == FINALS
    # The properties ask about parts of a case, and a call in between is of another shape: these may meet it, too.
    for sizes in ((2, 3, 4, 5), (3, 2, 2, 2), (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 5), (2, 3, 4, 1)):
        case = Case(*sizes, cotangents="every", seed=1)
        report = verify_case(target, case, thorough=False)
        assert report.verdict is (Verdict.FAIL if case.sizes[size] == 1 else Verdict.PASS)


def test_a_case_with_what_a_target_does_not_take_is_judged_without():
    case = Case.parse("m2s4e3u5-float64-every+C-seed1")
    report = verify_case(from_function(no_Cn), case)
    assert report.verdict is Verdict.PASS
    assert report.case.descriptor == case.descriptor
    assert not report.case.arrays["dCn"].any()
    assert report.claim("Cn").verdict is Verdict.UNSUPPORTED


class OnlyH0(LSTM):
    def forward(self, X, h0=None):
        return super().forward(X, h0)


def test_a_layer_that_takes_h0_alone_passes():
    target = from_layer(OnlyH0)
    assert set(target.unsupported) == {"C0", "dC0"}
    report = verify(target, examples=20)
    assert report.exit_code == 0, report.failure and render_failure("it", report.failure)
    assert report.claim_counts["dh0"][Verdict.PASS] > 5


def test_words_say_what_is_lacking():
    words = known_words(PLAIN)
    assert words[:7] == ("h0", "C0", "states", "biases", "Cn", "dCn", "gradients")
    assert set(words[7:]) == set(PLAIN.gradients)
    assert without(PLAIN, ["C0"]) == {"C0", "dC0"}
    assert without(PLAIN, ["biases"]) == BIASES
    assert without(PLAIN, ["dCn"]) == {"dCn"}
    assert without(PLAIN, ["Cn"]) == FINALS
    both = with_lacks(from_function(right), ["h0", "C0"])
    assert both.unsupported == (STATES, "dh0", "dC0")
    assert with_lacks(from_function(right), [STATES]).lacks == both.lacks


@pytest.mark.parametrize(("word", "hint"), [("dCm", "; did you mean 'dCn'?"), ("quite another", "")])
def test_a_wrong_word_is_refused_with_the_list(word, hint):
    due = f"{word!r}, expected some of {', '.join(known_words(PLAIN))}{hint}"
    with pytest.raises(ValueError, match=re.escape(due) + "$"):
        without(PLAIN, [word])
    with pytest.raises(ValueError, match=re.escape(due)):
        from_function(lacks(word)(lambda p, X, h0, C0: None))


def test_the_suite_of_a_function_that_declares_says_unsupported():
    made = type("TestMine", (LayerSuite,), {"target": staticmethod(several), "examples": 5})
    made().test_dUf()
    with pytest.raises(pytest.skip.Exception):
        made().test_dh0()


CASE = "m2s2e1u2-float64-seed3"
SOURCE = """
import numpy as np
import sys
sys.path.insert(0, {examples!r})
from vjp_function import lstm as right


def lstm(p, X, h0, C0):
    outputs, pullback = right(p, X, h0, 0 * C0)
    return outputs, lambda *given: {{n: v * (1 + (n == "dUf" and wrong)) for n, v in pullback(*given).items()}}


wrong = {wrong}
"""


def command(*words, cwd):
    words = [sys.executable, "-m", "lstm_checks", *map(str, words)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_command_takes_what_is_declared_and_says_it_again_with_the_case(wrong, tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE.format(examples=str(EXAMPLES), wrong=wrong))
    done = command("verify", "mine.py:lstm", "--lacks", "C0", "--case", CASE, cwd=tmp_path)
    assert done.returncode == int(wrong), done.stdout + done.stderr
    if wrong:
        assert any(re.match(r"  rerun .* --lacks C0$", line) for line in done.stdout.splitlines())
    else:
        assert re.search(r"dC0 +unsupported", done.stdout)
        refused = command("verify", "mine.py:lstm", "--lacks", "C1", cwd=tmp_path)
        assert refused.returncode == 2
        assert "--lacks has 'C1', expected some of h0, C0, states" in refused.stderr
