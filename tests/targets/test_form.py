"""What is not in the form of a target is exit 2 at once; what is in it and wrong at some sizes, or stops, is exit 1."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agreement import positional

import lstm_fast
import lstm_ref
from lstm_checks.cases import Case
from lstm_checks.faults.model import fault_target
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.targets.form import not_in_form
from lstm_checks.targets.function import from_function
from lstm_checks.targets.layer import from_layer

ROOT = Path(__file__).parents[2]


def vjp(change=lambda outputs, pull: (outputs, pull), before=lambda p, X: None):
    """A right function in the vjp form, of which the answer is changed."""
    right = fault_target()

    def function(p, X, h0, C0):
        before(p, X)
        outputs, pull = positional(right)(p, X, h0, C0)
        return change(outputs, lambda dh, dCn: pull(dh, dCn))

    return from_function(function)


def gradients(change):
    return vjp(lambda outputs, pull: (outputs, lambda dh, dCn: change(pull(dh, dCn))))


def raising(error, when=lambda X: True):
    def before(p, X):
        if when(X):
            raise error

    return vjp(before=before)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (vjp(lambda outputs, pull: (*outputs, pull)), "the call returned a tuple of 3, expected ((h, Cn), pullback)"),
        (vjp(lambda outputs, pull: None), "the call returned None, expected ((h, Cn), pullback)"),
        (
            vjp(lambda o, pull: ((np.swapaxes(o[0], 0, 1), o[1]), pull)),
            "the shape (s, m, u), expected (m, s, u); the steps",
        ),
        (
            vjp(lambda o, pull: ((o[0][:, -1], o[1]), pull)),
            "the shape (m, u), expected (m, s, u); this is the last step's",
        ),
        (
            vjp(lambda o, pull: ((o[1], o[0]), pull)),
            "the shape (m, u), expected (m, s, u); this is the last step's, or Cn",
        ),
        (
            vjp(lambda o, pull: ((o[0].tolist(), o[1]), pull)),
            "the output h is of type list, expected an array (m, s, u)",
        ),
        (gradients(lambda g: list(g.values())), "the pullback returned a list, expected gradients by name"),
        (gradients(lambda g: {k[1:]: v for k, v in g.items()}), "are named Uf, Vf, bf, Ui ..., expected dUf, dVf ..."),
        (
            gradients(lambda g: {"kernel": g["dUf"]}),
            "are named kernel, expected dUf, dVf ... by the names of the inputs",
        ),
        (raising(KeyError("W")), "in every call the forward raised KeyError: 'W' (test_form.py, line "),
        (raising(AttributeError("no attribute 'kernel'")), "in every call the forward raised AttributeError: no attr"),
    ],
)
def test_what_is_of_another_form_at_every_size_is_said(target, words):
    assert words in not_in_form(target)


@pytest.mark.parametrize(
    "target",
    [
        from_layer(lstm_ref.LSTM),
        from_layer(lstm_fast.LSTM),
        vjp(),
        raising(RuntimeError("no memory")),
        raising(SystemExit(0)),
        raising(ValueError("shapes do not match")),
        raising(KeyError("W"), lambda X: X.shape[0] == 2),
        raising(TypeError("a number"), lambda X: X.shape[1] < 3),
        gradients(lambda g: {**g, "dUf": g["dUf"].T}),
        gradients(lambda g: {k: v for k, v in g.items() if k != "dX"}),
        gradients(dict.fromkeys),
        vjp(lambda o, pull: ((o[0][:, :2], o[1]), pull)),
    ],
)
def test_what_is_in_the_form_and_wrong_or_stops_is_for_the_examples(target):
    assert not_in_form(target) == ""


def test_a_case_tried_tells_every_axis_by_its_size():
    from lstm_checks.targets.form import SIZES

    assert all(len(set(dims)) == 4 for dims in SIZES)
    assert evaluate_reference(Case(*SIZES[0]).arrays)["h"].shape == (2, 3, 5)


@pytest.mark.parametrize("more", [[], ["--case", "m2s3e2u2-float64-seed0"], ["--executor", "processes:1"]])
def test_the_command_ends_with_2_and_one_sentence(more, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def lstm(p, X, h0, C0):\n    return p['W'] @ X\n")
    command = [sys.executable, "-m", "lstm_checks", "verify", f"{file}:lstm", *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        f"{file}:lstm is not in the form of a function in the vjp form: in every call the forward raised" in done.stderr
    )
    assert "KeyError: 'W' (mine.py, line 2); p holds the twelve arrays Uf Vf bf ... bo by name" in done.stderr
