"""Whether a fault that a line names is the target's: whether it gives the target's own wrong numbers on fresh cases."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from truth.evidence import (
    FEWEST,
    HOLDS,
    TENSORS,
    Evidence,
    Said,
    Seen,
    Verdict,
    explains,
    judge_share,
    near,
    values_with,
)

from lstm_checks.calling import FourCalls, overwritten
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import Fault, fault_target
from lstm_checks.faults.slips import PARTS, slips


@lru_cache(maxsize=1)
def slips_by_title() -> dict[str, list[Fault]]:
    """Return the slips by what they say."""
    found: dict[str, list[Fault]] = {}
    for part in PARTS:
        for slip in slips(part):
            found.setdefault(slip.title.rstrip("."), []).append(slip)
    return found


@lru_cache(maxsize=1)
def faults_by_id() -> dict[str, Fault]:
    """Return the catalogue, and the mix-ups where there are any beside it."""
    try:
        mixups = importlib.import_module("lstm_checks.faults.mixups").mixups()
    except ImportError:
        mixups = {}
    return {**mixups, **FAULTS}


def named_faults(words: str) -> list[tuple[Fault, ...]]:
    """Return the faults that "id: title" or "id and id: title and title" may name; several where titles are shared."""
    ids, _, titles = words.partition(": ")
    parts = ids.split(" and ")
    found: list[list[Fault]] = []
    rest = titles
    for id_ in parts:
        if id_ in faults_by_id():
            found.append([faults_by_id()[id_]])
            rest = rest.removeprefix(found[-1][0].title.rstrip(".")).removeprefix(" and ")
        elif id_ == "slip":
            fitting = [t for t in slips_by_title() if rest == t or rest.startswith((t + " and ", t + "  ", t + "."))]
            if not fitting:
                return []
            title = max(fitting, key=len)
            found.append(slips_by_title()[title])
            rest = rest.removeprefix(title).removeprefix(" and ")
        else:
            return []
    combos: list[tuple[Fault, ...]] = [()]
    for options in found:
        combos = [(*combo, one) for combo in combos for one in options]
    return combos


def reproduces(faults: tuple[Fault, ...], seen: Seen) -> bool | None:
    """Return whether the reference with faults gives what came, in the wrong tensors and the right ones."""
    values = values_with(faults, seen.arrays)
    if values is None:
        return False
    told: list[bool | None] = []
    for name, came in seen.came.items():
        value = values[name][:, -1] if values[name].ndim > came.ndim else values[name]
        if name in seen.wrong:
            told.append(explains(seen, name, value))
        elif not near(came, value, seen.accepted[name], seen.case.dtype):
            return False
    if False in told:
        return False
    return True if True in told else None


def _calls(target: Target, cases: Sequence[Case]) -> list[Any]:
    """Return what a target gives, called as `verify` calls it on one case after the other."""
    found = []
    for case in cases:
        calls = FourCalls(target, case)
        earlier, answer, written = calls.earlier, calls.answer, list(calls.written)
        kept = sorted({*overwritten(earlier), *overwritten(answer)})
        between, again = calls.again
        kept += [name + " later" for name in overwritten(answer)]
        found.append((written, kept, [o.values for o in (earlier, answer, between, again)]))
    return found


def does_the_same(make: Callable[[], Target], faults: tuple[Fault, ...], cases: Sequence[Case]) -> tuple[bool, bool]:
    """Return whether a fresh target does as the reference with faults in the same calls, and whether any shows."""
    theirs, plain = _calls(make(), cases), _calls(fault_target(), cases)
    due = _calls(fault_target(*faults), cases)
    return _same_calls(theirs, due), not _same_calls(due, plain)


def _same_calls(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two protocols of calls have the same in them, to rounding."""
    for left, right in zip(one, other, strict=True):
        if sorted(left[0]) != sorted(right[0]) or bool(left[1]) != bool(right[1]):
            return False
        for came, due in zip(left[2], right[2], strict=True):
            for name in TENSORS:
                a, b = came.get(name), due.get(name)
                if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
                    continue
                with np.errstate(all="ignore"):
                    if a.shape != b.shape or not np.all(
                        np.abs(a - b) <= 1e-9 * np.max(np.abs(b), initial=1e-300) + 1e-12
                    ):
                        return False
    return True


def judge_suspect(evidence: Evidence, text: str) -> Verdict | None:
    """Judge a line that names a fault, or says that none fits; None where it says no more than that."""
    planted = evidence.known_fault()
    if text == "no catalogued fault fits":
        catalogued = [f.id for f in planted if f.id in FAULTS]
        if len(planted) == 1 and catalogued:
            return Verdict(Said.FALSE, f"{catalogued[0]} is planted")
        return None
    here = "here as with " in text
    words = text.partition("here as with ")[2] if here else text
    body, _, sure = words.rpartition("    (")
    body, sure = (body, sure.rstrip(")")) if body else (words, "")
    # Of several, the first alone has those words before it.
    here = here or ", but not " in sure
    suspects = named_faults(body)
    if not suspects:
        return Verdict(Said.UNJUDGED, "no such fault")
    return next(
        iter(
            sorted(
                (_judge_named(evidence, one, sure, here) for one in suspects), key=lambda v: list(Said).index(v.said)
            )
        )
    )


def _judge_named(evidence: Evidence, suspect: tuple[Fault, ...], sure: str, here: bool) -> Verdict:
    """Judge one suspect."""
    ids = {fault.id for fault in suspect if fault.id in faults_by_id()}
    planted = {fault.id for fault in evidence.known_fault() if fault.id in FAULTS}
    same = set(suspect) == set(evidence.known_fault()) and bool(suspect)
    if any(fault.wrap for fault in suspect):
        if planted and ids <= planted:
            return Verdict(Said.HELPFUL, "it is planted")
        cases = [Case(4, 3, 2, 3, seed=720_001), Case(3, 4, 3, 5, seed=720_002, states=False)]
        alike, shows = does_the_same(evidence.make, suspect, cases)
        if alike and shows:
            return Verdict(Said.HELPFUL, "does the same, call by call")
        if ids & set(evidence.truth.near):
            return Verdict(Said.HELPFUL, "as near as any name")
        return Verdict(Said.FALSE, "does something else" if shows else "shows nothing in the same calls")
    if sure.startswith("fits the pattern") or "significant bits" in sure:
        if same or (ids and ids <= (planted | set(evidence.truth.near))):
            return Verdict(Said.HELPFUL, "it is planted")
        if evidence.truth.rounding:
            return Verdict(Said.NO_USE, "of rounding's kind, and not the one that is planted")
        return Verdict(Said.MISLEADING, "not what is planted")
    if here:
        seen = evidence.look(evidence.case)
        told = reproduces(suspect, seen) if seen is not None and seen.wrong else None
        if same or (planted and ids & planted):
            return Verdict(Said.HELPFUL, "it is part of what is planted")
        if told is None:
            return Verdict(Said.UNJUDGED, "the failing case cannot tell")
        return Verdict(Said.NO_USE) if told else Verdict(Said.FALSE, "does not reproduce the failing case")
    failing = evidence.failing(telling=True) or evidence.failing()
    told = [reproduces(suspect, seen) for seen in failing]
    if (refused := judge_share(told, "reproduces what came")) is not None:
        if same or _are_one(suspect, evidence.known_fault(), failing):
            return Verdict(Said.HELPFUL, "it is planted")
        if refused.said is not Said.UNJUDGED:
            return Verdict(Said.FALSE, refused.why)
        # It fails too seldom, or by too little, for fresh cases to tell: what of the one that is known to fail?
        seen = evidence.look(evidence.case)
        if len(told) >= FEWEST or (seen is not None and seen.wrong and reproduces(suspect, seen) is None):
            return Verdict(Said.FALSE, "changes nothing that could be told from rounding")
        return refused
    # What is right with the target must be right with the suspect, too.
    elsewhere = [s for s in evidence.right() if values_with(suspect, s.arrays) is not None]
    broken = sum(not _right_with(suspect, s) for s in elsewhere)
    if elsewhere and broken > (1 - HOLDS) * len(elsewhere):
        return Verdict(Said.FALSE, f"would be wrong on {broken} of {len(elsewhere)} fresh cases that are right")
    return Verdict(Said.HELPFUL)


def _are_one(suspect: tuple[Fault, ...], planted: tuple[Fault, ...], failing: Sequence[Seen]) -> bool:
    """Return whether two faults are two ways of writing the same: to float64's rounding they give the same numbers."""
    if not planted or any(fault.wrap for fault in planted):
        return False
    for seen in failing:
        one, other = values_with(suspect, seen.arrays), values_with(planted, seen.arrays)
        if one is None or other is None:
            return False
        with np.errstate(all="ignore"):
            if not all(np.allclose(one[n], other[n], 1e-9, 0, equal_nan=True) for n in one):
                return False
    return bool(failing)


def _right_with(faults: tuple[Fault, ...], seen: Seen) -> bool:
    """Return whether the reference with faults gives what is due, which came."""
    values = values_with(faults, seen.arrays)
    assert values is not None
    return all(
        near(
            seen.due[n],
            values[n][:, -1] if values[n].ndim > seen.due[n].ndim else values[n],
            seen.accepted[n],
            seen.case.dtype,
        )
        for n in seen.due
    )
