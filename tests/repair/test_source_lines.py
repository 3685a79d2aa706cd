"""Which line of somebody's own source is named, and what mends it: slips planted in layers written in several ways."""

import json
from pathlib import Path
from types import SimpleNamespace

import plain_lstm
import pytest
from command_line import run
from planted_faults import BG, EDITS, EO, RETURN
from share import told

from lstm_checks.cases import Case
from lstm_checks.commands import fix as fix_command
from lstm_checks.commands.common import UsageError
from lstm_checks.judging.text import render_lines
from lstm_checks.repair.ask import has_source, look_into_source
from lstm_checks.repair.found import Fix, Found, from_plain, to_plain
from lstm_checks.repair.rewrite import is_own
from lstm_checks.repair.telling import _shown

LAYERS = Path(__file__).parent / "layers"
CASES = (Case(2, 3, 7, 5), Case(1, 2, 1, 1))


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a busy machine a process may take its time."""
    monkeypatch.setattr("lstm_checks.tolerance.SOURCE_SECONDS", 600.0)


# The layer, its name, what stands there, what is put in its place; the last line of the file where it stands is meant.
SLIPS = {
    "a name": ("numpy_per_gate", "lstm", "dg = dc * i\n", "dg = dc * f\n"),
    "a factor too few": ("numpy_per_gate", "lstm", "            dc = dc * f\n", "            dc = dc\n"),
    "a sign, packed": ("numpy_packed", "lstm", "dh * o * (1 - tanh_c * tanh_c)", "dh * o * (1 + tanh_c * tanh_c)"),
    "not added up, set far away": ("numpy_packed", "lstm", "db += dz", "db = dz"),
    "in a dict, features first": ("features_first", "lstm", '"g": delta_c * k["i"]', '"g": delta_c * k["f"]'),
    "steps first": ("time_major", "lstm", 'dc * k["c_in"][t]', 'dc * k["f"][t]'),
    "a closure": ("closures", "lstm", "y, lambda d: d * y * (1 - y)", "y, lambda d: d * y * (1 + y)"),
    "one use of a helper": ("closures", "lstm", "back_i(dnew * g)", "back_i(dnew)"),
    "what a helper is given": ("closures", "lstm", 'p["Uf"], p["Vf"]', 'p["Uf"], p["Vg"]'),
    "what a loop over gates adds up": ("layer_class", "LSTM", 'delta @ self.p["U"', 'delta @ -self.p["U"'),
    "read by several lines": (
        "layer_class",
        "LSTM",
        '"f", "i", "g", "o", "C", "Cp"))',
        '"f", "i", "g", "i", "C", "Cp"))',
    ),
    "a layer class": ("layer_class", "LSTM", "dC = dC * f", "dC = dC * i"),
}


def slipped(folder, layer, old, new):
    """The file of a layer with a slip, those that it imports beside it, and the number of the line."""
    text = (LAYERS / f"{layer}.py").read_text(encoding="utf-8")
    assert old in text
    at = text.rindex(old)
    path = folder / f"{layer}_slipped.py"
    path.write_text(text[:at] + new + text[at + len(old) :], encoding="utf-8")
    (folder / "repair_helpers.py").write_text((LAYERS / "repair_helpers.py").read_text(encoding="utf-8"))
    return path, text[: at + len(old) - len(old.lstrip())].count("\n") + 1


@pytest.mark.parametrize("slip", SLIPS)
def test_the_line_is_named(tmp_path, slip):
    layer, name, old, new = SLIPS[slip]
    path, line = slipped(tmp_path, layer, old, new)
    found = look_into_source(f"{path}:{name}", CASES)
    assert [one.line for one in found.lines] == [line], found.lines
    (one,) = found.lines
    assert one.path == str(path)
    assert one.text in path.read_text(encoding="utf-8")
    assert "all 17 tensors are right" in one.shown


def test_a_helper_in_another_file_is_mended_there(tmp_path):
    path, _ = slipped(tmp_path, "features_first", "import numpy as np", "import numpy as np")
    helpers = tmp_path / "repair_helpers.py"
    text = helpers.read_text(encoding="utf-8")
    helpers.write_text(text.replace("return y * (1 - y)", "return y * (1 + y)"), encoding="utf-8")
    found = look_into_source(f"{path}:lstm", CASES, fix=20.0)
    assert [Path(one.path).name for one in found.lines] == ["repair_helpers.py"]
    (fixed,) = found.fixes[0].texts.values()
    assert fixed == text
    assert helpers.read_text(encoding="utf-8") != text, "nothing is written before somebody asks for it"


FIXED = {
    "two factors too few": ("numpy_packed", "dh * tanh_c * o * (1 - o)", "o * (1 - o)"),
    "a size's name for an array's": ("numpy_packed", "di = dcell * g * i * (1 - i)", "di = dcell * g * i * (1 - t)"),
    "an entry by a loop's name": ("features_first", 'p["V" + n] @ delta[n]', 'p["V" + n] @ dout[:, t].T'),
}


@pytest.mark.parametrize("slip", FIXED)
def test_what_is_due_at_a_line_finds_the_edit(tmp_path, slip):
    layer, old, new = FIXED[slip]
    path, line = slipped(tmp_path, layer, old, new)
    found = look_into_source(f"{path}:lstm", CASES, fix=300.0)
    assert [(one.line, *one.also)[-1] for one in found.lines] in ([line], [line + 2]), found.lines
    assert found.fixes, "no edit was found"


SEVERAL = {
    "forward and backward": (
        ("numpy_per_gate", "lstm"),
        ("c_next = f * c +", "c_next = (f + c) +"),
        ("dg = dc * i\n", 'dg = p["bi"] * i\n'),
    ),
    "a helper that is right is given something else": (
        ("layer_class", "LSTM"),
        ("do = dht * C", "do = dht * o"),
        ("dg = dC * i", "dg = (-dC) * i"),
    ),
    "closures of which one use is wrong": (
        ("closures", "lstm"),
        ("dnew = dc + back_bent(dh * o)", "dnew = dc + back_bent(i * o)"),
        ("back_f(dnew * c)", "back_f(dnew - c)"),
    ),
    "forward, and backward of what has no name": (
        ("features_first", "lstm"),
        ('+ act["i"] * act["g"]', '+ act["o"] * act["g"]'),
        ('delta_h * k["o"] * tanh_slope', 'delta_h * k["f"] * tanh_slope'),
    ),
    "a helper of the forward pass, and backward": (
        ("numpy_per_gate", "lstm"),
        ("return 1.0 / (1.0 + np.exp(-x))", "return 1.0 / np.exp(-x)"),
        ('dx = dzf @ p["Uf"].T', 'dx = c_prev @ p["Uf"].T'),
    ),
    "in what tuples of a dict hold": (
        ("closures", "lstm"),
        ("d @ V.T, x.T @ d", "h @ V.T, x.T @ d"),
        ("dnew * f, weights", "g * f, weights"),
    ),
    # As in the museum's rnn-lstm-in-numpy-1.
    "nothing handed on, and no derivative": (
        ("features_first", "lstm"),
        ("def pullback(dout, dlast):", "def pullback(dout):"),
        ("        delta_c = dlast.T\n", ""),
        ("delta_h = delta_h + dout[:, t].T", "delta_h = dout[:, t].T"),
        ("delta_c = delta_c + delta_h * k", "delta_c = delta_h * k"),
        ('k["cp"] * logistic_slope(k["f"])', 'k["cp"] * logistic(k["f"])'),
    ),
}


@pytest.mark.parametrize("slips", SEVERAL)
def test_of_several_faults_each_line_is_named(tmp_path, slips):
    (layer, name), *edits = SEVERAL[slips]
    path, _ = slipped(tmp_path, layer, "import numpy as np", "import numpy as np")
    text, lines = path.read_text(encoding="utf-8"), set()
    for old, new in edits:
        assert text.count(old) == 1, old
        at = text.index(old)
        if "dlast" not in old:
            lines.add(text[:at].count("\n") + 1)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    found = look_into_source(f"{path}:{name}", CASES)
    assert {one.line for one in found.lines} == lines, found.lines


def test_of_two_lines_one_of_which_feeds_the_other_both_are_mended(tmp_path):
    path, line = slipped(tmp_path, "numpy_per_gate", "df = dc * c_prev", "df = dc * do")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("dzf = df * f * (1 - f)", "dzf = df * f * (1 - dg)"), encoding="utf-8")
    found = look_into_source(f"{path}:lstm", CASES, fix=300.0)
    assert [one.line for one in found.lines] == [line, line + 3]
    assert "with c_prev in its place and the other edit of the fix all is right" in found.lines[0].shown
    (fixed,) = found.fixes[0].texts.values()
    assert fixed == (LAYERS / "numpy_per_gate.py").read_text(encoding="utf-8")


def planted(folder, edits):
    """The plain LSTM with lines of it changed, and their numbers."""
    lines = [(line, False) for line in plain_lstm.source().splitlines()]
    for old, new in edits:
        (at,) = (k for k, (line, _) in enumerate(lines) if line.strip() == old)
        whole = lines[at][0]
        indent = whole[: len(whole) - len(whole.lstrip())]
        lines[at : at + 1] = [(indent + line, indent + line != whole) for line in new.splitlines()]
    path = folder / "planted.py"
    text = "\n".join(line for line, _ in lines)
    path.write_text(text.replace("def pullback(dh, dCn, dhn):", "def pullback(dh, dCn, dhn=0 * C0):"), encoding="utf-8")
    return path, {k + 1 for k, (_, changed) in enumerate(lines) if changed}


def test_three_faults_are_named_and_mended_together(tmp_path):
    edits = [(EO, "eo = eta * k.new"), (BG, "bg = eg"), (RETURN, RETURN.replace("rho.T", "kappa.T"))]
    path, changed = planted(tmp_path, edits)
    found = look_into_source(f"{path}:plain_lstm", CASES, fix=300.0)
    assert {one.line for one in found.lines} == changed
    assert "everything is right" in render_lines(found)[-1]
    assert list(found.fixes[0].texts) == [str(path)]


@pytest.mark.parametrize("layer", ["numpy_per_gate", "features_first", "layer_class"])
def test_of_a_right_layer_nothing_is_said(layer):
    name = "LSTM" if layer == "layer_class" else "lstm"
    assert look_into_source(f"{LAYERS / layer}.py:{name}", CASES, fix=1.0) == Found()


def test_nothing_is_said_where_no_place_shows_it(tmp_path):
    # The wrong lines are in no file, so there is no source of theirs to read.
    text = (LAYERS / "numpy_per_gate.py").read_text(encoding="utf-8").replace("dg = dc * i", "dg = dc * f")
    path = tmp_path / "hidden.py"
    path.write_text(f"exec(compile({text!r}, '<somewhere>', 'exec'))\n", encoding="utf-8")
    assert look_into_source(f"{path}:lstm", CASES, fix=1.0) == Found()


def test_what_is_written_to_in_place_is_no_line_of_those_that_read_it(tmp_path):
    right, wrong = "dz = np.hstack([di, df, do, dg])\n", "dz = np.hstack([di, df, do, dg])\n            dz *= 1.5\n"
    path, line = slipped(tmp_path, "numpy_packed", right, wrong)
    found = look_into_source(f"{path}:lstm", CASES)
    assert {one.line for one in found.lines} <= {line, line + 1}


@pytest.mark.parametrize("ending", ["import os; os._exit(0)", "while True: pass", "print('x' * 10**6)"])
def test_a_target_that_misbehaves_when_it_is_looked_into_harms_nothing(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("lstm_checks.tolerance.SOURCE_SECONDS", 6.0)
    path, _ = slipped(tmp_path, "numpy_per_gate", "dg = dc * i\n", "dg = dc * f\n")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("def lstm(p, X, h0, C0):", f"def lstm(p, X, h0, C0):\n    {ending}"), encoding="utf-8")
    found = look_into_source(f"{path}:lstm", CASES)
    assert all(one.text == "dg = dc * f" for one in found.lines)


PLANTED = [
    "carry-without-forget",
    "df-of-current-memory",
    "tanh-derivative-unsquared",
    "dh0-dc0-swapped",
    "cn-is-h",
    # All steps of a reshaped array are no quantities beside one another.
    "hidden-states-reshaped",
    # What a helper returns that is right elsewhere is no feeder; one that is wrong in both uses is one line.
    "sigmoid-derivative-twice",
    "tanh-rational",
    # The same step's value at all steps is not the quantity that it is of.
    "cotangent-of-last-step-everywhere",
]


@pytest.mark.parametrize("fault", told(PLANTED, ci=3))
def test_catalogued_faults_are_named_as_planted(tmp_path, fault):
    path, changed = planted(tmp_path, EDITS[fault])
    found = look_into_source(f"{path}:plain_lstm", CASES)
    assert {one.line for one in found.lines} == changed


def test_what_begins_as_a_quantity_is_wrong_where_it_is_read(tmp_path):
    path, changed = planted(tmp_path, EDITS["carry-assigned"])
    (found,) = look_into_source(f"{path}:plain_lstm", CASES).lines
    assert {found.line} == changed


TAKEN_AWAY = [
    "bias-gradients-swapped-f-i",  # a statement
    "nothing-passed-back",  # one under a condition
    "first-step-left-out-of-du",  # two
    "dv-assigned",  # what is written in place
    "bias-missing-f",  # an entry of a dict
    "gate-order-fogi",  # what stands outside functions
    "memory-cotangent-clipped",  # calls around what is right
    "carry-through-output",  # two factors
    "gradients-negated",  # a sign of what is added up
]


@pytest.mark.parametrize("fault", told(TAKEN_AWAY, ci=3))
def test_what_should_not_be_there_is_named_and_taken_away(tmp_path, fault):
    path, changed = planted(tmp_path, EDITS[fault])
    found = look_into_source(f"{path}:plain_lstm", CASES, fix=300.0)
    assert {one.line for one in found.lines} <= changed
    assert found.fixes
    assert found.lines


FORWARD_AND_BACKWARD = ["softsign-candidate", "coupled-gates", "recurrent-weights-transposed-throughout"]


@pytest.mark.parametrize("fault", told(FORWARD_AND_BACKWARD, ci=2))
def test_behind_outputs_that_are_mended_the_rest_is_looked_into(tmp_path, fault):
    path, changed = planted(tmp_path, EDITS[fault])
    found = look_into_source(f"{path}:plain_lstm", CASES, fix=300.0)
    assert {one.line for one in found.lines} == changed
    assert found.fixes


def test_an_index_of_what_is_written_into_is_mended(tmp_path):
    path, line = slipped(tmp_path, "layer_class", 'self.fc["i"][:, t]', 'self.fc["g"][:, t]')
    found = look_into_source(f"{path}:LSTM", CASES, fix=300.0)
    assert [one.line for one in found.lines] == [line]
    assert '+            i = self.fc["i"][:, t] = ' in found.fixes[0].diff


@pytest.mark.parametrize(("old", "new"), [("cell=cell,", "cell=new,"), ("act=act,", "act=new,"), ("gi=gi,", "gi=gf,")])
def test_what_was_kept_instead_is_named_where_it_was_kept(tmp_path, old, new):
    path, _ = planted(tmp_path, [])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1
    assert line in {one.line for one in look_into_source(f"{path}:plain_lstm", CASES).lines}


def test_in_a_display_of_several_lines_the_entry_is_named(tmp_path):
    path, line = slipped(tmp_path, "closures", '"i": back_li(', '"o": back_li(')
    found = look_into_source(f"{path}:lstm", CASES, fix=300.0)
    assert [one.line for one in found.lines] == [line]
    assert found.fixes


def test_a_helper_and_one_use_of_it_are_not_told_as_another_use(tmp_path):
    path, line = slipped(tmp_path, "closures", "d * (1 - y * y)", "d * (1 - (1 - y) * y)")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("back_g(dnew * i)", "back_g(dnew * c)"), encoding="utf-8")
    other = text[: text.index("back_g(dnew * i)")].count("\n") + 1
    named = {one.line for one in look_into_source(f"{path}:lstm", CASES).lines}
    assert named
    assert named <= {line, other}


def test_what_was_never_kept_is_no_line_of_those_that_read_it(tmp_path):
    path, line = slipped(tmp_path, "layer_class", 'self.fc["i"][:, t]', 'self.fc["i"][:0, t]')
    assert {one.line for one in look_into_source(f"{path}:LSTM", CASES).lines} <= {line}


def test_programs_models_frameworks_and_faults_have_no_source():
    for spec in ("exec:./program", "model.onnx", "torch", "fault:carry-dropped"):
        assert not has_source(spec)
        assert look_into_source(spec, CASES) == Found()


def test_what_is_found_goes_over_as_json():
    found = Found((), (Fix("--- a\n+++ b\n-x\n+y\n", {"a.py": "y\n"}, {"a.py": "00"}, 3),))
    assert from_plain(json.loads(json.dumps(to_plain(found)))) == found


def test_a_file_that_has_changed_is_not_written_over(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    fix = Fix("", {str(path): "x = 2\n"}, {str(path): "0" * 64}, 1)
    with pytest.raises(UsageError, match="has changed since it was read, so nothing was written"):
        fix_command._write(fix)
    assert path.read_text() == "x = 1\n"


def test_verify_ends_with_the_line_and_the_fix_and_fix_writes_it(tmp_path):
    path, line = slipped(tmp_path, "numpy_per_gate", "dg = dc * i\n", "dg = dc * f  # candidate\n")
    few = ("--examples", "5", "--max-dims", "3,4,3,3")
    verdict = run("verify", f"{path.name}:lstm", *few, cwd=tmp_path)
    assert verdict.returncode == 1
    # dc * f is a known quantity, of another name: it may be the line that reads it that should read another.
    assert f"  line      {path.name}:{line} or {line + 3}   dg = dc * f  # candidate\n" in verdict.stdout
    assert f"with dg of equation (6) in the place of dg in line {line + 3} all 17 tensors are right" in verdict.stdout
    silent = run("verify", f"{path.name}:lstm", *few, "--no-source", cwd=tmp_path)
    assert silent.returncode == 1
    assert "  line  " not in silent.stdout
    shown = run("fix", f"{path.name}:lstm", "--examples", "5", "--write", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "+            dg = dc * i  # candidate" in shown.stdout
    assert "FIXED" in shown.stdout
    assert run("verify", f"{path.name}:lstm", *few, cwd=tmp_path).returncode == 0


def test_which_files_are_the_users_own_is_known_while_python_looks_for_its_own(tmp_path, monkeypatch):
    def again(*ignored):
        raise AttributeError("abi_thread")  # as Python 3.13 does where an import that it makes itself comes back to it

    monkeypatch.setattr("sysconfig.get_path", again)
    assert is_own(str(tmp_path / "mine.py"))
    assert not is_own(json.__file__)


@pytest.mark.parametrize(("judged", "said"), [(["h"], "h is right"), (["h", "Cn"], "h and Cn are right")])
def test_what_becomes_right_is_one_output_or_several(judged, said):
    finding = SimpleNamespace(overrides=[SimpleNamespace(form=SimpleNamespace(names=["h"]))], instead=None, word=None)
    assert _shown(finding, SimpleNamespace(quantities={}), judged, 1) == f"with h in its place {said}"
