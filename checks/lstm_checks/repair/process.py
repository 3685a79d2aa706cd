"""The process in which a target's own source is looked into; it imports the target, and whoever asks never does.

What is asked comes as a line of JSON, and so does what is found: the lines first, then what mends them.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import DHN, Target
from lstm_checks.diagnosis.observe import suited
from lstm_checks.repair.compiled import compiled_for
from lstm_checks.repair.edits import Edit
from lstm_checks.repair.found import Fix, Found, Line, to_plain
from lstm_checks.repair.intervene import find_lines
from lstm_checks.repair.program import Budget, Program, context_of
from lstm_checks.repair.rewrite import Sources, forget_own_modules
from lstm_checks.repair.telling import right_in, tell, told_of
from lstm_checks.repair.trial import Trial
from lstm_checks.targets.function import FORM as OF_FUNCTIONS
from lstm_checks.targets.layer import FORM as OF_LAYERS
from lstm_checks.targets.load import load_target
from lstm_checks.words import series
from lstm_checks.workers import processes
from lstm_ref.cells import cell_named

APART = (2, 3, 7, 5)
"""Sizes that tell every axis from every other, sums and multiples of them included."""

OTHERS = ((1, 2, 3, 3), (3, 1, 2, 4), (4, 6, 2, 2), (1, 1, 1, 1), (3, 5, 4, 7))
"""Sizes of the cases on which everything must be right, too: single ones, square ones, more steps."""

LARGE = (2, 3, 3, 2)
"""Sizes of one with large values: what is clipped must not be clipped elsewhere instead."""


def main() -> int:
    """Answer one question."""
    processes.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked, answers = processes.own_pipes()
    own = os.getpid()

    def say(found: Found) -> None:
        if os.getpid() != own:
            os._exit(0)  # what the target forked came back, too; only one may answer
        data = memoryview(json.dumps(to_plain(found)).encode() + b"\n")
        while data:
            data = data[os.write(answers, data) :]

    try:
        with os.fdopen(asked, "rb") as stream:
            question = json.loads(stream.readline())
        with contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            look_into(question, say)
    finally:
        os._exit(0)


def look_into(question: Any, say: Any) -> None:
    """Find the lines of a target that fails some cases, and what mends them, and say each as soon as it is found."""
    cell = cell_named(question["cell"])
    cases = [Case.parse(text) for text in question["cases"]]
    sources = Sources()
    before = set(sys.modules)
    with sources.in_force():
        target = load_target(question["spec"], cell=cell)
    if not sources.sites:
        return
    program = Program(target, sources, compiled_for(sources, context_of))
    trials = trials_for(program, cases)
    if not trials:
        return

    def search_lines(searched: Sequence[Trial]) -> tuple[Any, tuple[Line, ...]]:
        """Return what is found in some trials, and the lines that it comes to."""
        with sources.in_force():
            findings = find_lines(program, searched, budget_for(program, searched[0]))
        names = cell.outputs if searched[0].outputs_alone else cell.tensors
        judged = [name for name in names if name not in target.lacks]
        return findings, tell(findings, sources.files, trials[0].due, judged)

    searched = trials
    spoilt = bool(set(cell.outputs) & program.wrong(trials[0]))
    if not target.kind.startswith((OF_FUNCTIONS, OF_LAYERS)) and spoilt:
        # A library makes the gradients of a forward pass that is wrong.
        searched = [trial.forward for trial in trials]
    # A program that is compiled is run too slowly for it.
    first = () if program.compiled is not None else by_a_simple_edit(question, target, sources, trials, before, say)
    findings, lines = search_lines(searched)
    if not lines and not first and spoilt and not searched[0].outputs_alone:
        # What is wrong with the forward pass alone, whatever else is.
        searched = [trial.forward for trial in trials]
        findings, lines = search_lines(searched)
    if program.compiled is not None and not lines:
        first = by_a_simple_edit(question, target, sources, trials, before, say)
    if first and [(edit.path, edit.span[0][0]) for edit in first] != [(one.path, one.line) for one in lines]:
        # An edit with which all is right is at a line that is wrong; a value that is may stand for one further up.
        lines, findings = told_of(first, sources.files, right_in(len(trials))), ()
    say(Found(lines))
    if question.get("fix"):
        from lstm_checks.repair.mend import Search

        if spoilt and len(lines) > 2 and program.compiled is None:
            # One statement that should not be there may be read in many places.
            search = Search(question, target, sources, (), trials, before, simple=True)
            fewer = [one for one in behind_the_outputs(search, cases, ()) if one.fixes and len(one.lines) < len(lines)]
            if fewer:
                say(fewer[-1])
                return
        question = {**question, "outputs alone": searched[0].outputs_alone and not first}
        fixes: tuple[Fix, ...] = ()
        looked_into = question, target, sources, findings, trials, before
        for fixes, by_edit in Search(*looked_into, first=first).fixes():
            say(Found(by_edit if len(by_edit) > len(lines) else lines, fixes))
        if not fixes and spoilt and (searched[0].outputs_alone or not lines):
            search = Search(*looked_into) if lines else Search(*looked_into, simple=True)
            for found in behind_the_outputs(search, cases, lines):
                say(found)


def by_a_simple_edit(
    question: Any, target: Target, sources: Sources, trials: Sequence[Trial], before: set[str], say: Any
) -> tuple[Edit, ...]:
    """Return an edit that takes something away, or puts it into another order, with which all is right; () for none.

    Such as a statement that should not be there: at no value of it anything could be seen that ought to be another.
    """
    from lstm_checks.repair.mend import Search

    question = {**question, "seconds": tolerance.LINE_SECONDS, "outputs alone": False}
    found = next(Search(question, target, sources, (), trials, before, simple=True).candidates(), ())
    if found:
        say(Found(told_of(found, sources.files, right_in(len(trials)))))
    return found


def behind_the_outputs(search: Any, cases: Sequence[Case], lines: tuple[Line, ...]) -> Iterator[Found]:
    """Yield what else is wrong, in a backward pass of the user's own, of a program whose forward pass is wrong.

    While a library differentiates that, the outputs alone can be told of. So these are mended first, by an edit, and
    the program that has it is looked into.

    Parameters
    ----------
    search : Search
        Of the outputs alone.
    cases : sequence of Case
        Some that it fails.
    lines : tuple of Line
        Where the forward pass is wrong; () where that is not known, and the edits' own lines are told.
    """
    from lstm_checks.repair.mend import Search

    question = {**search.question, "outputs alone": False, "on disk": search.original}
    for chosen, texts in islice(search.mended_outputs(), tolerance.OUTPUTS_MENDED):
        again = Sources(texts=texts)
        forget_own_modules(search.before)
        with again.in_force():
            target = load_target(question["spec"], cell=cases[0].cell)
        program = Program(target, again, compiled_for(again, context_of))
        trials = trials_for(program, cases)
        if not trials or set(target.cell.outputs) & program.wrong(trials[0]):
            continue
        findings = find_lines(program, trials, budget_for(program, trials[0]))
        judged = [name for name in target.cell.tensors if name not in target.lacks]
        further = [moved(one, chosen) for one in tell(findings, again.files, trials[0].due, judged)]
        if not further:
            continue
        before = lines or told_of(chosen, search.sources.files, "all outputs are right")
        numbers = sorted({one.line for one in before})
        mended = f"line{'s' if len(numbers) > 1 else ''} {series([str(number) for number in numbers])} mended"
        whole = *before, *(replace(one, shown=f"with {mended}, {one.shown}") for one in further)
        yield Found(whole)
        for fixes, _ in Search(question, target, again, findings, trials, search.before).fixes():
            yield Found(whole, fixes)
        return


def moved(line: Line, edits: Sequence[Edit]) -> Line:
    """Return a line of a file that has some edits by its number in the file without them."""
    numbers = [line.line, line.last, *line.also]
    for edit in sorted(edits, key=lambda edit: edit.span):
        (begin, _), (end, _) = edit.span
        gone = end - begin - edit.text.count("\n")
        if edit.path == line.path:
            numbers = [number + gone * (number >= begin) for number in numbers]
    return replace(line, line=numbers[0], last=numbers[1], also=tuple(numbers[2:]))


def trials_for(program: Program, cases: Sequence[Case]) -> list[Trial]:
    """Return the case that is searched on, which the target fails, then the failing cases, then others; [] if none."""
    target = program.target
    folds = DHN in target.lacks
    if not cases:
        return []
    first = cases[0]
    likely = [replace(first, m=m, s=s, e=e, u=u, seed=first.seed) for m, s, e, u in (APART,)]
    likely = [replace(likely[0], regime="normal", cotangents="every+h+C", states=True), likely[0]]
    searched = None
    for asked in [*likely, *cases]:
        found = fitted(target, asked)
        if found is None:
            continue
        trial = Trial(found, folds)
        if not trial.chaotic and program.wrong(trial):
            searched = trial
            break
    if searched is None:
        return []
    others = [replace(first, m=m, s=s, e=e, u=u, regime="normal", seed=11 + k) for k, (m, s, e, u) in enumerate(OTHERS)]
    m, s, e, u = LARGE
    others.append(replace(first, m=m, s=s, e=e, u=u, regime="x10", seed=17))
    if program.compiled is not None:
        # Each shape is compiled anew, operation by operation.
        cases, others = cases[:2], others[:1]
    more = [case for one in (*cases, *others) if (case := fitted(target, one)) is not None]
    trials = [Trial(case, folds) for case in dict.fromkeys(more) if case != searched.case]
    return [searched, *(trial for trial in trials if not trial.chaotic)]


def fitted(target: Target, case: Case) -> Case | None:
    """Return a case as the target can be asked it; it is not compiled here, so its sizes are those asked for."""
    return suited(replace(target, compiles=False), case)


def budget_for(program: Program, trial: Trial, seconds: float = tolerance.LINE_SECONDS) -> Budget:
    """Return how many runs there may be: so many, or as many as fit into the time where each takes longer."""
    start, taken, runs = time.process_time(), 0.0, 0
    # Some systems count the processor's time by hundredths of a second.
    while taken < 0.1 and runs < 40:
        program.wrong(trial)
        taken, runs = time.process_time() - start, runs + 1
    each = taken / runs
    return Budget(min(tolerance.LINE_RUNS, max(tolerance.LEAST_LINE_RUNS, int(seconds / max(each, 1e-6)))))
