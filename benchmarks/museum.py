"""The museum: bugs of public record, planted again in code of our own, and what is said of each.

An exhibit is a small file of `tests/museum/exhibits`: where the bug was met, and how it is planted by changing lines of
a right layer of the same form. That layer passes, so what is said of the exhibit is said of the bug. No line is
anybody else's. `benchmarks/museum_page.py` is the command that judges them and writes docs/museum.md.
"""

import difflib
import json
import shutil
import subprocess
import tempfile
import tomllib
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.files import replace_file
from lstm_checks.judging.reports import Report
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.objective import objective
from lstm_checks.repair.ask import failing_cases, look_into_source
from lstm_checks.strategies import draw_cases, draw_options
from lstm_checks.targets.load import load_target
from lstm_checks.trials.kill_matrix import (
    FIXED_THRESHOLD,
    JAX_SEED,
    JAX_STEP,
    JAX_TOLERANCE,
    TORCH_ATOL,
    TORCH_RTOL,
    TORCH_STEP,
)
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

Array = NDArray[Any]

ROOT = Path(__file__).parents[1]
EXHIBITS = ROOT / "tests" / "museum" / "exhibits"
SAID = ROOT / "tests" / "museum" / "said.json"

EXAMPLES = 20
"""Examples of a run: the first that fails says how soon the bug is seen."""

MAX_DIMS = (4, 6, 4, 4)

SEED = 0

PATIENCE = 120.0
"""Seconds for the wrong line, on a machine that others use: the command's own limit is for one that is quiet."""

OTHERS_EXAMPLES, OTHERS_DIMS = 10, (3, 4, 3, 3)
"""The cases on which the other ways are asked: their differences are one forward pass or two an entry."""

C_PROGRAM = ("examples/program.c", "examples/lstm.c", "examples/lstm.h", "examples/vectors.h")


@dataclass(frozen=True)
class Edit:
    """A line or lines as they stand in a right layer, and as they go wrong."""

    old: str
    new: str
    file: str = ""


@dataclass(frozen=True)
class Exhibit:
    """A bug of public record, and how it is planted."""

    id: str
    title: str
    link: str
    project: str
    year: int
    form: str
    wrong: str
    lived: str
    unseen: str
    base: str
    target: str
    cell: str = "plain"
    end: str = ""
    faults: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = field(default=())

    @property
    def judged_as(self) -> Cell:
        """The cell that it is to follow."""
        return cell_named(self.cell)

    @property
    def in_c(self) -> bool:
        """Whether it is a program, to be compiled."""
        return self.base.endswith(".c")

    @property
    def framework(self) -> str:
        """The framework that it needs; nothing for what NumPy or a compiler can do."""
        return {"torch": "torch", "JAX": "jax", "ONNX": "onnxruntime", "Keras": "keras"}.get(self.form.split()[0], "")

    def text(self, path: str, wrong: bool = True) -> str:
        """Return one of its files as it is planted, or right."""
        found = (ROOT / path).read_text(encoding="utf-8")
        if path == self.base and self.end:
            found += "\n\n" + self.end
        for edit in self.edits if wrong else ():
            if (edit.file or self.base) == path:
                assert found.count(edit.old) == 1, f"{self.id}: {edit.old!r} stands {found.count(edit.old)} times"
                found = found.replace(edit.old, edit.new)
        return found

    @cached_property
    def diff(self) -> str:
        """What is changed, as a diff."""
        parts = []
        for path in dict.fromkeys([self.base, *(edit.file or self.base for edit in self.edits)]):
            right, wrong = (self.text(path, planted).splitlines(keepends=True) for planted in (False, True))
            parts += difflib.unified_diff(right, wrong, f"right/{path}", f"planted/{path}", n=1)
        return "".join(parts)

    @cached_property
    def lines(self) -> frozenset[int]:
        """The lines of the planted file that are not the right one's; the next one where some are missing."""
        right, wrong = (self.text(self.base, planted).splitlines() for planted in (False, True))
        found: set[int] = set()
        for tag, _, _, start, stop in difflib.SequenceMatcher(None, right, wrong, autojunk=False).get_opcodes():
            if tag != "equal":
                found |= set(range(start + 1, max(stop, start + 1) + 1))
        return frozenset(found)


def read(path: Path) -> Exhibit:
    """Return the exhibit of a file."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    edits = tuple(Edit(**edit) for edit in found.pop("edit", []))
    lists = {name: tuple(found.pop(name, ())) for name in ("faults", "told")}
    return Exhibit(path.stem, edits=edits, **lists, **found)


def exhibits(only: str = "") -> list[Exhibit]:
    """Return all exhibits, or those with something in their name; the oldest first."""
    found = [read(path) for path in sorted(EXHIBITS.glob("*.toml")) if only in path.stem]
    return sorted(found, key=lambda exhibit: (exhibit.year, exhibit.id))


def plant(exhibit: Exhibit, folder: Path, wrong: bool = True) -> str:
    """Write an exhibit, or the right layer that it is made from, into a folder of its own; return how it is named."""
    if exhibit.in_c:
        for path in C_PROGRAM:
            (folder / Path(path).name).write_text(exhibit.text(path, wrong), encoding="utf-8")
        compiler = shutil.which("cc") or "cc"
        command = [compiler, "-std=c99", "-O2", "-o", "program", "program.c", "lstm.c", "-lm"]
        subprocess.run(command, cwd=folder, check=True, timeout=600)
        return f"exec:{folder / 'program'}"
    for helper in (ROOT / exhibit.base).parent.glob("*.py"):
        if helper.name == "repair_helpers.py":
            shutil.copy(helper, folder)
    path = folder / f"{'planted' if wrong else 'right'}_{Path(exhibit.base).name}"
    path.write_text(exhibit.text(exhibit.base, wrong), encoding="utf-8")
    return f"{path}:{exhibit.target}"


def planted(exhibit: Exhibit, folder: Path, wrong: bool = True) -> Target:
    """Return the target of an exhibit, or of the right layer that it is made from."""
    return load_target(plant(exhibit, folder, wrong), cell=exhibit.judged_as)


def judge(exhibit: Exhibit) -> dict[str, Any]:
    """Return what is said of an exhibit, as plain values: over its examples, of its source, and by the other ways.

    Where none of `EXAMPLES` examples fails, the default number is run. The line is looked for where nothing is named.
    """
    with tempfile.TemporaryDirectory() as name, np.errstate(all="ignore"):
        folder = Path(name)
        _expect_right(exhibit, folder)
        target = planted(exhibit, folder)
        for examples in (EXAMPLES, 100):
            report = verify(target, examples=examples, seed=SEED, max_dims=MAX_DIMS)
            if report.failure is not None:
                break
        said = _said(report) | {"examples": examples, "others": others_on(target)}
        if report.failure is not None and not exhibit.in_c and not is_named(exhibit, said):
            said |= _source(exhibit, plant(exhibit, folder), report)
        return said


_RIGHT: set[tuple[str, str, str, str]] = set()
"""The right layers that have passed: several exhibits are made from one."""


def _expect_right(exhibit: Exhibit, folder: Path) -> None:
    """Raise where the layer that an exhibit is made from fails by itself: what is said would not be said of the bug."""
    key = exhibit.base, exhibit.end, exhibit.target, exhibit.cell
    if key in _RIGHT:
        return
    report = verify(planted(exhibit, folder, wrong=False), examples=EXAMPLES, seed=SEED, max_dims=MAX_DIMS)
    if report.failure is not None:
        wrong = ", ".join(claim.name for claim in report.failure.failures)
        raise ValueError(f"{exhibit.base} fails without the bug on {report.failure.case.descriptor}: {wrong}")
    _RIGHT.add(key)


def _said(report: Report) -> dict[str, Any]:
    """Return what a report says of what fails: how soon, on which case, and what is wrong."""
    first = next((n for n, one in enumerate(report.examples, 1) if one.failures), 0)
    groups = [group for group in (report.failure, *report.further) if group is not None]
    diagnoses = [group.diagnosis for group in groups if group.diagnosis is not None]
    suspects = {one.fault: one.title for d in diagnoses for one in d.suspects if one.certain}
    sentences = [line for d in diagnoses for line in (*d.relations, d.reading, *d.where) if line]
    # What a call raised stands as h's in a report, and says nothing of h.
    wrong = [claim.discrepancy for group in groups for claim in group.failures if claim.discrepancy is not None]
    sentences += [one.message for one in wrong if one.kind in ("error", "timeout", "ended")]
    return {
        "first": first,
        "case": groups[0].case.descriptor if groups else "",
        "failed": [claim.name for claim in groups[0].failures] if groups else [],
        "suspects": suspects,
        "sentences": list(dict.fromkeys(sentences)),
    }


def _source(exhibit: Exhibit, spec: str, report: Report) -> dict[str, Any]:
    """Return which lines of the planted file are named, in their order, and whether an edit mends them."""
    cases = [one.case for one in report.examples]
    before, tolerance.SOURCE_SECONDS = tolerance.SOURCE_SECONDS, PATIENCE
    try:
        found = look_into_source(spec, failing_cases(report), tolerance.FIX_IN_VERIFY, run=cases)
    finally:
        tolerance.SOURCE_SECONDS = before
    told = [{"line": line.line, "text": line.text.strip(), "file": Path(line.path).name} for line in found.lines]
    return {"lines": told, "fix": found.fixes[0].diff if found.fixes else ""}


CHECK_GRAD, TORCH, JAX = "check_grad", "gradcheck", "check_grads"


def others_on(target: Target) -> dict[str, str]:
    """Return in how many of some cases the other ways reject a gradient, "3 of 10"; "-" where there is none.

    They ask whether it is that of the target's own forward pass, by the rules of each: the steps, the direction and the
    tolerances of SciPy's check_grad with a threshold of 1e-5, of torch's gradcheck and of JAX's check_grads.
    """
    missing = {name for name in target.cell.gradients if name in target.lacks}
    if "float64" not in target.dtypes or len(missing) == len(target.cell.gradients):
        return dict.fromkeys((CHECK_GRAD, TORCH, JAX), "-")
    options = draw_options(target, seed=SEED, dtypes=("float64",), max_dims=OTHERS_DIMS, regimes=("normal",))
    seen: Counter[str] = Counter()
    asked = 0
    for case in draw_cases(OTHERS_EXAMPLES, SEED, **options):
        verdicts = _others_say(target, replace(case, lengths="") if case.lengths else case)
        asked += verdicts is not None
        seen.update(name for name, rejects in (verdicts or {}).items() if rejects)
    return {name: f"{seen[name]} of {asked}" if asked else "-" for name in (CHECK_GRAD, TORCH, JAX)}


def _others_say(target: Target, case: Case) -> dict[str, bool] | None:
    """Return which of the others reject the gradient on a case; None where the target gives none there."""
    arrays = case.arrays
    fixed = {name[1:] for name in target.lacks if name in target.cell.gradients}
    answer = call_target(target, arrays.copy(), case.sequences)
    names = [name for name in arrays.inputs if name not in fixed and answer.values.get(f"d{name}") is not None]
    if answer.error or not names:
        return None
    x0 = np.concatenate([np.ravel(arrays[name]) for name in names])
    gradient = np.concatenate([np.ravel(answer.values[f"d{name}"]) for name in names])

    def f(x: Array) -> float:
        moved, start = {}, 0
        for name in names:
            size = arrays[name].size
            moved[name] = x[start : start + size].reshape(arrays[name].shape)
            start += size
        outcome = call_target(target, arrays.replaced(**moved), case.sequences, backward=False)
        return float(objective(outcome.values, arrays, not case.sequences)) if not outcome.error else float("nan")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = optimize.check_grad(f, lambda _: gradient, x0, epsilon=tolerance.CHECK_GRAD_STEP)
        unit = np.eye(x0.size)
        central = np.array([(f(x0 + TORCH_STEP * d) - f(x0 - TORCH_STEP * d)) / (2 * TORCH_STEP) for d in unit])
        along = np.random.RandomState(JAX_SEED).standard_normal(x0.size)
        ahead, behind = f(x0 + JAX_STEP * along), f(x0 - JAX_STEP * along)
        slope = (ahead - behind) / (2 * JAX_STEP)
        torch_accepts = np.all(np.abs(gradient - central) <= TORCH_ATOL + TORCH_RTOL * np.abs(central))
        jax_accepts = abs(gradient @ along - slope) <= JAX_TOLERANCE + JAX_TOLERANCE * abs(slope)
    return {CHECK_GRAD: not error <= FIXED_THRESHOLD, TORCH: not torch_accepts, JAX: not jax_accepts}


def faults_named(said: Mapping[str, Any]) -> set[str]:
    """Return the faults that are said to be there with certainty."""
    return {part for suspect in said["suspects"] for part in suspect.split(" and ")}


def is_named(exhibit: Exhibit, said: Mapping[str, Any]) -> bool:
    """Return whether faults that the exhibit has, and no other, are named with certainty, or an experiment tells it.

    `told` of an exhibit has those words: they stand in a sentence of the diagnosis, or are the one question that fails.
    """
    suspects = faults_named(said)
    if suspects and suspects <= set(exhibit.faults):
        return True
    words = [*said["sentences"], *(said["failed"] if len(said["failed"]) == 1 else ())]
    return any(part in line for part in exhibit.told for line in words)


def is_placed(exhibit: Exhibit, said: Mapping[str, Any]) -> bool:
    """Return whether the line that is named first is one that was changed."""
    lines = said.get("lines", [])
    return bool(lines) and lines[0]["line"] in exhibit.lines and lines[0]["file"].startswith("planted_")


def read_said() -> dict[str, dict[str, Any]]:
    """Return what was said of the exhibits when the page was last written."""
    return json.loads(SAID.read_text(encoding="utf-8")) if SAID.exists() else {}


def save_said(id: str, said: Mapping[str, Any]) -> None:
    """Put what is said of an exhibit beside the rest."""
    every = read_said() | {id: dict(said)}
    replace_file(SAID, json.dumps(dict(sorted(every.items())), indent=1, ensure_ascii=False) + "\n")
