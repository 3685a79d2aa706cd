"""From a failing case to what is wrong: the suspected fault, the relation, the reading, the place, the sizes it takes.

The front of `checks.diagnosis`. What is said is what was found out, in the order of how much it says; where nothing
fits, that is said.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from checks.calling import call_target
from checks.cases import Case
from checks.contract import OUTPUTS, Target
from checks.diagnosis.fingerprint import Suspect, find_suspects
from checks.diagnosis.layout import find_reading
from checks.diagnosis.localize import PLACES, locate, of_caches
from checks.diagnosis.observe import Observation, observe, repeatable, suited
from checks.diagnosis.relation import OF_FLOAT32_SIZE, find_relations
from checks.faults.model import diff

SECONDS = 2.0
"""How long a diagnosis may take, of processor time; what has not been looked at by then is left out."""

SECONDS_WAITING = 20.0
"""How long it may take on the clock, where the target or the machine keeps it waiting."""

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


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a target, as far as it was found out; each part may be empty."""

    suspects: tuple[Named, ...] = ()
    relations: tuple[str, ...] = ()
    layout: str = ""
    where: tuple[str, ...] = ()


def diagnose(target: Target, case: Case, seconds: float | None = None) -> Diagnosis:
    """Return what is wrong with a target that fails a case.

    Parameters
    ----------
    target : Target
    case : Case
        One that it fails; the smaller, the quicker.
    seconds : float
        How much processor time it may take; `SECONDS` where None.
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
        relations = tuple(find_relations(_larger(target, observation)))
        certain = any(suspect.certain for suspect in suspects)
        # Of an error that is named, its size is no news.
        relations = tuple(said for said in relations if not (certain and said.endswith(OF_FLOAT32_SIZE)))
        forward = bool(set(observation.wrong) & set(OUTPUTS))
        layout = find_reading(target, spare(0.8)) if forward and not certain else ""
        where: tuple[str, ...] = ()
        if not certain and not repeatable(observation):
            where = ("two calls with the same inputs differ",)
        elif not certain and observation.wrong and all(np.isfinite(v).all() for v in observation.came.values()):
            where = (*locate(target, case, spare()), *_kept(target, case))
    return Diagnosis(tuple(_named(suspect) for suspect in suspects[:SHOWN]), relations, layout, where)


def _larger(target: Target, observation: Observation) -> Observation:
    """Return what the target gives on a larger case that it fails, where one is at hand: there chance explains less."""
    if not observation.wrong:
        return observation
    for case in PLACES:
        asked = suited(target, case)
        larger = observe(target, asked) if asked is not None else None
        if larger is not None and larger.wrong and set(larger.wrong) >= set(observation.wrong):
            return larger
    return observation


def _named(suspect: Suspect) -> Named:
    """Return a suspect in words."""
    faults = suspect.faults
    titles = " and ".join(fault.title.rstrip(".") for fault in faults)
    diffs = "\n".join(diff(fault) for fault in faults)
    return Named(" and ".join(fault.id for fault in faults), titles, suspect.sure, suspect.certain, diffs)


def _kept(target: Target, case: Case) -> tuple[str, ...]:
    """Return the first intermediate that departs, where the target shows what it keeps."""
    if target.caches is None:
        return ()
    call_target(target, case.arrays.copy(), case.sequences)
    return tuple(of_caches(target.caches() or {}, case))


def describe_sizes(fails: Callable[[Case], bool], case: Case) -> str:
    """Return from which sizes on a failing case fails, in words; empty if one less of any still fails.

    Parameters
    ----------
    fails : callable
        Whether the target fails a case. It is asked about cases that differ from `case` by one in one size.
    case : Case
        A case that fails.

    Examples
    --------
    >>> describe_sizes(lambda c: c.s >= 2, Case(1, 2, 1, 3))
    'right at s=1, wrong from s=2'
    >>> describe_sizes(lambda c: c.s > 3 and c.u == 2, Case(1, 4, 1, 2))
    'right at s=3, at u=1 and at u=3, wrong at s=4 u=2'
    """
    right, wrong, onwards = [], [], True
    for size in ("m", "s", "e", "u"):
        n = getattr(case, size)
        if n > 1 and not fails(replace(case, **{size: n - 1})):
            right.append(f"{size}={n - 1}")
            wrong.append(f"{size}={n}")
            if not fails(replace(case, **{size: n + 1})):
                right.append(f"{size}={n + 1}")
                onwards = False
    if not right:
        return ""
    listed = right[0] if len(right) == 1 else ", at ".join(right[:-1]) + " and at " + right[-1]
    return f"right at {listed}, wrong {'from' if onwards else 'at'} {' '.join(wrong)}"
