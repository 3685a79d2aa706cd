"""From a failing case to what is wrong: the suspected fault, the relation, the reading, the place, the sizes it takes.

The front of `checks.diagnosis`. What is said is what was found out, in the order of how much it says; where nothing
fits, that is said.
"""

import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from checks.calling import call_target
from checks.cases import Case
from checks.contract import LAST, OUTPUTS, Target
from checks.diagnosis.as_if import find_change
from checks.diagnosis.fingerprint import Suspect, find_forward_slip, find_suspects
from checks.diagnosis.layout import find_reading
from checks.diagnosis.limits import find_limits
from checks.diagnosis.localize import PLACES, grown, locate, of_caches
from checks.diagnosis.observe import (
    Observation,
    errs_like_rounding,
    observe,
    repeatable,
    suited,
    unsteady,
    wrong_entries,
)
from checks.diagnosis.relation import OF_FLOAT32_SIZE, find_relations
from checks.diagnosis.scaled import find_scale
from checks.diagnosis.sums import find_weights
from checks.faults.model import diff

SECONDS = 2.0
"""How long a diagnosis may take, of processor time; what has not been looked at by then is left out."""

SECONDS_WAITING = 20.0
"""How long it may take on the clock, where the target or the machine keeps it waiting."""

OTHER_VALUES = 5
"""For how many draws of values, the case's own included, sizes are asked about."""

NEVER_MET = Case(12, 2, 10, 21, seed=151)
"""Of sizes that no other case has."""

SHOWN = 3
"""How many suspects are named."""


@dataclass(frozen=True)
class Named:
    """A suspected fault: its id, its title, how sure it is in words, and its diff against the reference."""

    fault: str
    title: str
    sure: str
    certain: bool
    diff: str
    refuted: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a target, as far as it was found out; each part may be empty."""

    suspects: tuple[Named, ...] = ()
    relations: tuple[str, ...] = ()
    layout: str = ""
    where: tuple[str, ...] = ()


def diagnose(
    target: Target,
    case: Case,
    seconds: float | None = None,
    evidence: Sequence[Set[str]] = (),
    ruled: bool = False,
) -> Diagnosis:
    """Return what is wrong with a target that fails a case.

    Parameters
    ----------
    target : Target
    case : Case
        One that it fails; the smaller, the quicker.
    seconds : float
        How much processor time it may take; `SECONDS` where None.
    evidence : sequence of sets of str
        The tensors that are wrong in each example of the run; none where it is right.
    ruled : bool
        Whether a rule is known by which cases fail; then no other sizes or regimes are named.
    """
    start, start_of_waiting = time.thread_time(), time.monotonic()
    allowed = SECONDS if seconds is None else seconds

    def spare(share: float = 1.0) -> Callable[[], bool]:
        end, waited = start + share * allowed, start_of_waiting + share * SECONDS_WAITING
        return lambda: time.thread_time() < end and time.monotonic() < waited

    with np.errstate(all="ignore"):
        observation = observe(target, case)
        if observation.answer.error:
            return Diagnosis()
        suspects = find_suspects(target, observation, spare(0.6))
        larger = _larger(target, observation)
        relations = tuple(find_relations(larger, observation if larger.case != case else None))
        certain = any(suspect.certain for suspect in suspects)
        forward = bool(set(observation.wrong) & set(OUTPUTS))
        if any(said.endswith(OF_FLOAT32_SIZE) for said in relations) and (
            certain or not errs_like_rounding(target, observation.case)
        ):
            # Of an error that is named its size is no news, and a formula's may be of float32's by chance.
            relations = tuple(said for said in relations if not said.endswith(OF_FLOAT32_SIZE))
        if not certain and observation.wrong and repeatable(observation) and spare(0.65)():
            relations += _experiments(target, larger.case, forward, not relations, spare)
        layout = find_reading(target, spare(0.8)) if forward and not certain else ""
        where: tuple[str, ...] = ()
        if not certain and not repeatable(observation):
            where = (f"two calls with the same inputs differ in {_listed(unsteady(observation))}", *_at_first(target))
        elif not certain and observation.wrong and all(np.isfinite(v).all() for v in observation.came.values()):
            where = (
                *locate(target, case, spare(), evidence, ruled),
                *find_limits(target, case, spare()),
                *_kept(target, case),
            )
    return Diagnosis(tuple(_named(suspect) for suspect in suspects[:SHOWN]), relations, layout, where)


def _experiments(
    target: Target, case: Case, forward: bool, alone: bool, spare: Callable[[float], Callable[[], bool]]
) -> tuple[str, ...]:
    """Return as if what were otherwise the target answers; `alone` where no relation is known that says as much."""
    if change := find_change(target, _for_change(case), spare(0.75)):
        return (change,)
    found = tuple(find_weights(target, case))
    if alone and not found and (scale := find_scale(target, case, spare(0.8))):
        return (scale,)
    if forward and (slip := find_forward_slip(target, case, spare(0.85))):
        return (*found, slip)
    return found or (tuple(_of_one_cotangent(target, case)) if alone else ())


def _larger(target: Target, observation: Observation) -> Observation:
    """Return what the target gives on a larger case that it fails, where one is at hand: there chance explains less."""
    if not observation.wrong:
        return observation
    for more in (False, True):
        cases = (grown(target, observation.case),) if more else PLACES
        asked = (observe(target, case) for place in cases if (case := suited(target, place)) is not None)
        fitting = (larger for larger in asked if larger.wrong and set(larger.wrong) >= set(observation.wrong))
        if not repeatable(observation) and (first := next(fitting, None)) is not None:
            # Each further call changes what such a target keeps.
            return first
        if found := list(fitting):
            # The first of those in which most is wrong.
            return max(found, key=lambda larger: len(larger.wrong))
    return observation


def _at_first(target: Target) -> Iterator[str]:
    """Yield that the target is right at the first call of a size, where it is."""
    asked = suited(target, NEVER_MET)
    if asked is not None and wrong_entries(target, asked) == {} and observe(target, asked).fails:
        yield "right at the first call of a size, wrong at later ones"


def _for_change(case: Case) -> list[Case]:
    """Return a case that fails and one like it, with other values."""
    return [case, replace(case, seed=case.seed + 1)]


def _listed(names: tuple[str, ...]) -> str:
    """Return names in words, the first few if they are many."""
    shown = names if len(names) <= 4 else (*names[:3], f"{len(names) - 3} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _of_one_cotangent(target: Target, case: Case) -> Iterator[str]:
    """Yield the relations that hold where a single kind of cotangent is given."""
    for cotangents, words in (("every", "every step's h"), ("h", "the final h"), ("C", "the final memory state")):
        asked = suited(target, replace(case, cotangents=cotangents))
        if asked is not None and (cotangents != "every" or LAST in target.lacks or case.sequences):
            for said in find_relations(observe(target, asked)):
                if not said.endswith(OF_FLOAT32_SIZE):
                    yield f"for cotangents of {words} alone, {said}"


def _named(suspect: Suspect) -> Named:
    """Return a suspect in words."""
    faults = suspect.faults
    titles = " and ".join(fault.title.rstrip(".") for fault in faults)
    diffs = "\n".join(diff(fault) for fault in faults)
    ids = " and ".join(fault.id for fault in faults)
    return Named(ids, titles, suspect.sure, suspect.certain, diffs, suspect.refuted)


def _kept(target: Target, case: Case) -> tuple[str, ...]:
    """Return the first intermediate that departs, where the target shows what it keeps."""
    if target.caches is None:
        return ()
    call_target(target, case.arrays.copy(), case.sequences)
    return tuple(of_caches(target.caches() or {}, case))
