"""The questions by name, what a target must be able to for each, and the claims that come of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking import again, arranged, batched, forwards, part, threads, trained, twice
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError
from lstm_checks.asking.spread import repeatable
from lstm_checks.calling import Outcome
from lstm_checks.cases import Case
from lstm_checks.compare import Claim, Verdict
from lstm_checks.contract import (
    CHANGE,
    EMPTY,
    FORWARDS,
    INSTANCES,
    SAMPLES,
    SEVERAL,
    STILL,
    STRIDES,
    THREADS,
    TWICE,
    Target,
)
from lstm_checks.formats import is_low
from lstm_checks.oracles.expected import Expected

LEARNING, REPEATABLE = "learning", "repeatable"
"""What is said of every example: the one of what is known of the target, the other of calls that are made anyway."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes
    ----------
    ask : callable
        From an `Asker` to what its answer is worth; raises NotAskedError with the reason where it cannot be asked.
    needs : tuple of str
        Of these words of `Target.can` the target must have one.
    why_not : str
        What is said of a target that has none.
    at_stake : callable
        Whether a case puts it to the test at all.
    new_program : bool
        Whether what compiles for each shape compiles anew for it.
    of_low : bool
        Whether it can be asked in low precision.
    """

    ask: Callable[[Asker], Judged]
    needs: tuple[str, ...] = ()
    why_not: str = ""
    at_stake: Callable[[Target, Case], bool] = lambda target, case: True
    new_program: bool = False
    of_low: bool = True


ALL: dict[str, Question] = {
    "second pullback": Question(again.second_pullback),
    "two passes alive": Question(
        again.two_passes_alive, (SEVERAL, INSTANCES), "it keeps one forward pass, of which nobody can make two"
    ),
    "parameters changed": Question(again.parameters_changed, (CHANGE,), "its arrays cannot be changed by who calls it"),
    "absent cotangents": Question(part.absent_cotangents, at_stake=part.may_be_left_out, new_program=True),
    "inputs without gradient": Question(
        part.inputs_without_gradient, (STILL,), "it returns all gradients or none", new_program=True
    ),
    "memory layout": Question(
        arranged.memory_layout, (STRIDES,), "its arrays are laid out by the framework", of_low=False
    ),
    "expanded cotangents": Question(
        arranged.expanded_cotangents, (STRIDES,), "its arrays are laid out by the framework", of_low=False
    ),
    "forward mode": Question(
        forwards.pushforward, FORWARDS, "no forward mode of it is known", new_program=True, of_low=False
    ),
    "second order": Question(
        twice.second_order, TWICE, "no second order of it is known", new_program=True, of_low=False
    ),
    "samples apart": Question(
        batched.samples_apart, (SAMPLES,), "nothing maps it over samples", lambda target, case: case.m > 1, True, False
    ),
    "training": Question(trained.training, of_low=False),
    "several threads": Question(
        threads.several_threads, (THREADS,), "it does not say that it may be called from them", of_low=False
    ),
    "empty batch": Question(arranged.empty_batch, (EMPTY,), "it is asked over a protocol of samples", new_program=True),
}
ROTATED = tuple(ALL)
"""The questions of which an example is asked one, all in turn."""

NAMES = (*ROTATED, LEARNING, REPEATABLE)
"""All claims of this room."""


def why_not(target: Target, name: str) -> str:
    """Return why a target cannot be asked a question; empty where it can."""
    if set(target.cell.gradients) <= target.lacks:
        return "the target has no gradients"
    if name == "absent cotangents" and not target.optional:
        return "it does not say that a cotangent may be None"
    needs = ALL[name].needs
    if not needs or target.can & set(needs):
        return ""
    return "it is a network, of which this is not asked" if target.cell.places else ALL[name].why_not


def rotation(target: Target, case: Case) -> tuple[str, ...]:
    """Return the questions that a case is asked where not all are: the same for the same case, all in turn."""
    names = [name for name in ROTATED if not why_not(target, name) and ALL[name].at_stake(target, case)]
    names = [name for name in names if ALL[name].of_low or not is_low(case.dtype)]
    if target.compiles:
        # The same for all cases of one shape, which share the programs.
        new = [name for name in ALL if ALL[name].new_program and not why_not(target, name)]
        chosen = np.random.default_rng((*case.dims, 7)).permutation(new)[: tolerance.ASKED_OF_COMPILED]
        names = [name for name in names if name in chosen or not ALL[name].new_program]
    rng = np.random.default_rng((case.seed, *case.dims, 6))
    if "absent cotangents" in names and part.hidden_is_unused(target, case):
        # Few cases leave it out, and the most is wrong there.
        return ("absent cotangents",)
    return tuple(names[k] for k in sorted(rng.permutation(len(names))[: tolerance.QUESTIONS]))


def stepped_by(target: Target, case: Case, asked: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the parameters that a step changes, after which something is due of a case; none where none is taken.

    `asked` are the questions, by default those of `rotation`.
    """
    questions = rotation(target, case) if asked is None else asked
    return trained.learned(target, case) if "training" in questions and not why_not(target, "training") else ()


def asked_claims(target: Target, case: Case, outcome: Outcome, expected: Expected, asked: Iterable[str]) -> list[Claim]:
    """Return a claim for each question asked.

    Parameters
    ----------
    target, case
        What is judged, on what.
    outcome : Outcome
        What the target gave for the case, which is right.
    expected : Expected
    asked : iterable of str
        Names from `ROTATED`; others are passed over.
    """
    return [_claim(name, Asker(target, case, outcome, expected)) for name in asked if name in ALL]


def _claim(name: str, x: Asker) -> Claim:
    """Return the claim of a question."""
    reason = why_not(x.target, name)
    if reason:
        return Claim(name, Verdict.UNSUPPORTED, reason=reason)
    if is_low(x.case.dtype) and not ALL[name].of_low:
        return Claim(name, Verdict.UNSUPPORTED, reason="not asked in low precision")
    if not ALL[name].at_stake(x.target, x.case):
        return Claim(name, Verdict.VACUOUS, reason="nothing at stake at these sizes and cotangents")
    try:
        return _named(name, ALL[name].ask(x))
    except NotAskedError as error:
        return Claim(name, Verdict.UNSUPPORTED, reason=str(error))
    except RefusedError as error:
        return _named(name, x.refused(error, "asked for another forward pass"))


def repeat_claims(
    target: Target, case: Case, outcome: Outcome, second: Outcome, expected: Expected, repeat: int
) -> list[Claim]:
    """Return the claim that calls with the same inputs give the same: two, or so many, or more where these differ."""
    if outcome.error or second.error:
        return []
    return [_named(REPEATABLE, repeatable(Asker(target, case, outcome, expected), second, repeat))]


def learning_claims(target: Target) -> list[Claim]:
    """Return the claim that all arrays of weights learn, where they are the target's own to freeze."""
    return [_named(LEARNING, part.learning(target))] if target.parts else []


def _named(name: str, judged: Judged) -> Claim:
    """Return what an answer is worth as the claim of a name."""
    return Claim(name, judged.verdict, judged.use, judged.discrepancy, judged.reason)
