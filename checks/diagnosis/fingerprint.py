"""Which catalogued fault the target has: the one whose patched reference gives the target's own wrong numbers.

Every fault is run on the failing case. Those that reproduce what came, to rounding and in all tensors, are run on
further cases of other shapes and regimes, until one is left or no case tells the rest apart. Where none reproduces all
of it, two at once are tried, starting from those that explain some tensors whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from checks import oracles, tolerance
from checks.calling import other_values
from checks.cases import REGIMES, Arrays, Case
from checks.contract import GRADIENTS, OUTPUTS, Target
from checks.diagnosis.observe import (
    TENSORS,
    Array,
    Observation,
    departs,
    errs_like_rounding,
    observe,
    observe_once,
    repeatable,
    slack,
    suited,
    wrong_entries,
)
from checks.faults.catalogue import FAULTS
from checks.faults.model import Fault, evaluate, fault_target
from checks.faults.slips import slips
from checks.oracles import Expected

Faults = tuple[Fault, ...]

BANK = (
    Case(2, 3, 2, 3, seed=101),
    Case(3, 5, 4, 3, seed=102),
    Case(1, 4, 3, 4, seed=103),
    Case(2, 2, 2, 2, seed=104),
    Case(3, 1, 2, 4, seed=105),
    Case(4, 6, 5, 3, seed=106, regime="x10"),
    Case(5, 14, 1, 2, seed=107),
    Case(2, 4, 3, 9, seed=108),
    Case(2, 5, 3, 2, seed=109, states=False),
    Case(3, 4, 2, 3, seed=110, cotangents="last+h+C"),
    Case(2, 4, 3, 3, seed=111, regime="x1e-3"),
    Case(3, 3, 3, 3, seed=112, regime="mixed"),
)
"""Cases on which a suspect must reproduce the target, too: the shapes and regimes on which faults depend."""

FRESH = (Case(11, 2, 10, 17, seed=121), Case(10, 2, 11, 19, seed=122, states=False))
"""Cases of sizes that no drawn example has, on which a target that keeps something starts afresh."""

RANDOM = ("dropout-left-on",)
"""The faults whose numbers nobody can reproduce."""

SHOWING = 3
"""On how many further cases a fault must show and be reproduced, where as many can be found."""

SOUGHT = 60
"""How many cases are looked at to tell two faults apart; only those that do are shown to the target."""


@dataclass(frozen=True)
class Suspect:
    """A catalogued fault, or two at once, and how sure it is.

    Attributes
    ----------
    faults : tuple of Fault
    sure : str
        In words: "reproduces all 9 entries to rounding".
    certain : bool
        Whether it reproduces the target everywhere that was looked.
    refuted : bool
        Whether it reproduces the failing case and not some other: what the target does there, and not why.
    """

    faults: Faults
    sure: str
    certain: bool
    refuted: bool = False


def find_suspects(target: Target, first: Observation, spare: Callable[[], bool]) -> list[Suspect]:
    """Return the catalogued faults that the target may have, the likeliest first; empty if none fits.

    Parameters
    ----------
    target : Target
    first : Observation
        Of the failing case.
    spare : callable
        Whether there is still time.
    """
    found: list[Suspect] = []
    for search in (_alone, _between_calls, _by_a_slip, _in_pairs):
        # A case that the target no longer fails says that it keeps something.
        if spare() and (first.fails or search is _between_calls):
            suspects = search(target, first, spare)
            if any(suspect.certain for suspect in suspects):
                return suspects
            found += suspects
    known = [suspect.faults for suspect in found]
    if spare():
        found += [suspect for suspect in _of_like_size(target, first) if suspect.faults not in known]
    # One number is reproduced by chance, or by being zero; what does so and is refuted elsewhere says nothing.
    telling = [suspect for suspect in found if not (suspect.refuted and first.wrong_entries < 2)]
    return sorted(telling, key=lambda suspect: suspect.refuted)


def _alone(target: Target, first: Observation, spare: Callable[[], bool]) -> list[Suspect]:
    """Return the faults in the mathematics that reproduce the target by themselves."""
    fitting: list[Faults] = [(fault,) for fault in FAULTS.values() if not fault.wrap and reproduces((fault,), first)]
    return _confirm(target, first, fitting, spare)


def _by_a_slip(target: Target, first: Observation, spare: Callable[[], bool]) -> list[Suspect]:
    """Return the slips of the pen that reproduce the target wherever it was looked; any other is as good as chance."""
    files = ("forward.py",) if set(first.wrong) & set(OUTPUTS) else ("gradients.py", "backward.py")
    tried = (slip for file in files for slip in slips(file))
    fitting: list[Faults] = [(slip,) for slip in tried if spare() and reproduces((slip,), first)]
    return [suspect for suspect in _confirm(target, first, fitting, spare) if suspect.certain]


def find_forward_slip(target: Target, case: Case, spare: Callable[[], bool]) -> str:
    """Return with which slip in the forward pass the outputs alone came, in words; empty if with none.

    So it is where a framework differentiates what was written: the gradients are right for it, and not the reference's.
    """
    cases = (suited(target, other) for other in (case, *BANK[:4]))
    observations = [observe_once(target, other) for other in cases if other is not None]
    if any(seen.answer.error for seen in observations):
        return ""
    fitting = [
        slip for slip in slips("forward.py") if spare() and all(_outputs_come_from(slip, seen) for seen in observations)
    ]
    return f"h and Cn came as with a slip: {' or '.join(s.title for s in fitting[:2])}" if fitting else ""


def _outputs_come_from(fault: Fault, observation: Observation) -> bool:
    """Return whether both outputs are what the reference with a fault in it gives."""
    arrays = observation.case.arrays.astype(np.float64)
    with np.errstate(all="ignore"):
        outputs, _ = fault_target(fault).call(arrays.p, arrays.X, arrays.h0, arrays.C0)
    values = observation.expected.values | dict(zip(OUTPUTS, outputs, strict=True))
    return not observation.wrong_for(values) & set(OUTPUTS)


def _in_pairs(target: Target, first: Observation, spare: Callable[[], bool]) -> list[Suspect]:
    """Return the pairs of faults that reproduce the target where none does alone."""
    if not first.wrong:
        return []
    return _confirm(target, first, [pair for pair in _pairs(first, spare) if reproduces(pair, first)], spare)


def _confirm(target: Target, first: Observation, left: list[Faults], spare: Callable[[], bool]) -> list[Suspect]:
    """Return the suspects that hold on further cases, or if none does, those that hold on the first."""
    seen, shown = 0, 0
    cases = _further_cases(target)
    while left and spare() and (case := cases(left, shown)) is not None:
        observation = observe_once(target, case)
        if observation.expected.chaotic(GRADIENTS):
            continue
        still = [faults for faults in left if reproduces(faults, observation)]
        if not still:
            return [Suspect(f, f"{_extent(first)}, but not {case.descriptor}", False, refuted=True) for f in left]
        left, seen, shown = still, seen + 1, shown + bool(observation.wrong)
    more = f", and those of {seen} more cases" if seen else "; not looked at elsewhere"
    return [Suspect(faults, _extent(first) + more, bool(seen)) for faults in _simplest_first(left)]


def _simplest_first(found: list[Faults]) -> list[Faults]:
    """Return faults that cannot be told apart, those that need the smaller sizes first."""
    return sorted(found, key=lambda faults: max(int(np.prod(fault.dims)) for fault in faults))


def _extent(observation: Observation) -> str:
    """Return in words how much is reproduced."""
    return f"reproduces {_counted(observation)} to rounding"


def _counted(observation: Observation) -> str:
    """Return the number of wrong entries in words."""
    count = observation.wrong_entries
    return "the wrong entry" if count == 1 else f"all {count} entries"


def _further_cases(target: Target) -> Callable[[list[Faults], int], Case | None]:
    """Return what gives the next case to ask, of those left and of how many cases showed them.

    First come the bank's cases, then those on which the faults that are left differ, then those on which one shows: a
    fault that depends on values is idle on most cases, and there anything is reproduced.
    """
    bank, differing, showing = iter(BANK), islice(_random_cases(), SOUGHT), islice(_random_cases(), SOUGHT)

    def next_case(left: list[Faults], shown: int) -> Case | None:
        for case in bank:
            if (asked := suited(target, case)) is not None:
                return asked
        for case in differing if len(left) > 1 else ():
            if (asked := suited(target, case)) is not None and _tells_apart(left, asked):
                return asked
        for case in showing if shown < SHOWING else ():
            if (asked := suited(target, case)) is not None and _tells_apart([(), *left], asked):
                return asked
        return None

    return next_case


def _random_cases() -> Iterator[Case]:
    """Yield cases of small and middling sizes in all regimes."""
    rng = np.random.default_rng(0)
    for seed in range(1000, 2000):
        m, s, e, u = (int(n) for n in rng.integers(1, (6, 11, 7, 7)))
        regime = str(rng.choice([regime for regime in REGIMES if regime != "zero"]))
        cotangents = str(rng.choice(["every+h+C", "every", "last+h+C", "C"]))
        yield Case(m, s, e, u, "float64", regime, cotangents, bool(rng.integers(0, 4)), seed)


def _tells_apart(left: list[Faults], case: Case) -> bool:
    """Return whether the first fault and some other give values on a case that are clearly not the same."""
    values = [evaluate(faults, case.arrays) for faults in left]
    return any(
        np.max(np.abs(one[name] - values[0][name])) > 1e-9 * np.max(np.abs(values[0][name]))
        for one in values[1:]
        for name in TENSORS
    )


def reproduces(faults: Faults, observation: Observation) -> bool:
    """Return whether the faults, planted in the reference, give what the target gave, to rounding in every tensor."""
    if observation.formal or observation.written or observation.overwritten or observation.answer.error:
        return False
    values: dict[str, Any] = {}
    for part in _parts(faults, observation.case.arrays):
        if not all(_is_near(observation, name, part[name]) for name in part if name in observation.came):
            return False
        values |= part
    if not values:
        return False
    rough = Expected(
        values, slack(values, observation.expected), observation.case.dtype, not observation.case.sequences
    )
    return _agrees(observation, rough) or _agrees(observation, expect_with(faults, observation))


def _parts(faults: Faults, arrays: Arrays) -> Iterator[dict[str, Any]]:
    """Yield the outputs, and then the gradients, of the reference with faults; nothing if they cannot be combined."""
    try:
        target = fault_target(*faults)
    except ValueError:
        return
    arrays = arrays.astype(np.float64)
    (h, Cn), pullback = target.call(arrays.p, arrays.X, arrays.h0, arrays.C0)
    yield {"h": h, "Cn": Cn}
    yield dict(pullback(arrays.dh, arrays.dCn, arrays.dhn))


def _agrees(observation: Observation, expected: Expected) -> bool:
    """Return whether both answers are what is expected, to rounding in every tensor."""
    for came in (observation.came, observation.came_again):
        for name, value in came.items():
            due, sd = observation.due(name, expected)
            if departs(value, due, tolerance.FINGERPRINT * sd, observation.case.dtype).any():
                return False
    return True


def _is_near(observation: Observation, name: str, value: Array) -> bool:
    """Return whether a value explains most of a tensor's departure; cheap, to leave out what cannot be."""
    due, sd = observation.due(name)
    if value.ndim > due.ndim:
        value = value[:, -1]
    came, limit = observation.came[name], tolerance.accepted(sd, observation.case.dtype)
    finite = np.isfinite(came)
    if not np.array_equal(np.isfinite(value), finite):
        return False
    left, before = (float(np.max(np.abs(came - other), where=finite, initial=0)) for other in (value, due))
    return left <= 0.01 * before + 100 * float(np.max(limit))


def expect_with(faults: Faults, observation: Observation) -> Expected:
    """Return what the reference with faults planted in it gives on a case, and how much rounding blurs that."""
    case = observation.case
    try:
        return oracles.expect(case, evaluate=lambda arrays: evaluate(faults, arrays))
    except TypeError:
        # No noise model for one of its operations: the reference's own noise.
        values = evaluate(faults, case.arrays.astype(np.float64))
        return Expected(values, slack(values, observation.expected), case.dtype, not case.sequences)


def _does_the_same(faults: Faults, observation: Observation) -> bool:
    """Return whether a target with the faults, called in the same order, gives and writes to the same."""
    theirs = observe(fault_target(*faults), observation.case, observation.expected)
    if _touched(theirs) != _touched(observation):
        return False
    for came, other in ((observation.came, theirs.came), (observation.came_again, theirs.came_again)):
        sd = slack(other, observation.expected)
        for name, value in came.items():
            if name not in other:
                return False
            due, deviation = other[name], sd[name]
            if value.ndim < due.ndim:
                due, deviation = due[:, -1], deviation[:, -1]
            if departs(value, due, deviation, observation.case.dtype).any():
                return False
    return not set(observation.formal) ^ (set(theirs.formal) - observation.lacks)


def _touched(observation: Observation) -> tuple[set[str], set[str]]:
    """Return what was written to, of what was given and of what was returned."""
    return set(observation.written), set(observation.overwritten)


def _between_calls(target: Target, first: Observation, spare: Callable[[], bool]) -> list[Suspect]:
    """Return the faults of what is kept between calls that do as the target does, called in the same order.

    What a target keeps depends on all the calls before; where the failing case tells nothing, sizes are taken that it
    never met, so that both start afresh.
    """
    left: list[Faults] = [(fault,) for fault in FAULTS.values() if fault.wrap]
    found = [faults for faults in left if _does_the_same(faults, first)] if first.fails else []
    unsteady = not first.fails or not repeatable(first)
    for case in FRESH:
        asked = suited(target, case)
        # What is wrong at a first call, too, is not for something kept from calls before.
        if (
            asked is None
            or not spare()
            or not (found or unsteady or _right_at_first(target, replace(asked, u=asked.u + 1)))
        ):
            continue
        observation = observe(target, asked)
        if not observation.fails:
            continue
        unsteady = unsteady or not repeatable(observation)
        still = [faults for faults in found or left if _does_the_same(faults, observation)]
        if found and not still:
            sure = f"does as the target does, but not on {asked.descriptor}"
            # What else it keeps may be to blame for that: this refutes nothing.
            return [Suspect(f, sure, False) for f in found]
        found = still
    if unsteady and not found:
        return _random(target, left)
    sure = f"reproduces {_counted(first)}" if first.wrong else "does as the target does"
    return [Suspect(faults, f"{sure}, call by call", True) for faults in found]


def _right_at_first(target: Target, case: Case) -> bool:
    """Return whether the target is right about other values of a case's sizes, which it may never have met."""
    arrays = case.arrays.copy()
    other_values(arrays)
    return wrong_entries(target, case, arrays) == {}


def _random(target: Target, left: list[Faults]) -> list[Suspect]:
    """Return the faults with which the same goes wrong as with a target that is not the same twice."""
    asked = suited(target, FRESH[0])
    if asked is None:
        return []
    observation = observe(target, asked)
    if repeatable(observation):
        return []
    sure = "fits the pattern of what changes from call to call"
    # Of what is not random some call would have been reproduced.
    random = [faults for faults in left if all(fault.id in RANDOM for fault in faults)]
    return [Suspect(faults, sure, False) for faults in random if _does_alike(faults, observation)]


def _does_alike(faults: Faults, observation: Observation) -> bool:
    """Return whether the same goes wrong in the same calls, if not by the same numbers: for what is random."""
    theirs = observe(fault_target(*faults), observation.case)
    return (
        set(observation.wrong) == set(theirs.wrong)
        and set(observation.wrong_again) == set(theirs.wrong_again)
        and _touched(observation) == _touched(theirs)
        and all(_zeros(observation, name) == _zeros(theirs, name) for name in observation.wrong)
    )


def _zeros(observation: Observation, name: str) -> bool:
    """Return whether all wrong entries of a tensor are zero."""
    return not observation.came[name][observation.wrong[name]].any()


def _of_like_size(target: Target, first: Observation) -> list[Suspect]:
    """Return the faults of rounding whose errors lie in the same tensors, are of the same size, and are erratic."""
    if first.formal or not first.wrong:
        return []
    # A relative error says its own size; one of another size is another bug.
    rounding = [fault for fault in FAULTS.values() if fault.family == "precision" and "relative-error" not in fault.id]
    apart = {fault: off for fault in rounding if (off := _apart(fault, first)) is not None}
    if not apart or not errs_like_rounding(target, first.case):
        return []
    for case in BANK[:3]:
        asked = suited(target, case)
        if asked is not None and not (seen := observe_once(target, asked)).expected.chaotic(GRADIENTS):
            apart = {fault: off for fault, off in apart.items() if _apart(fault, seen) is not None}
    sure = "fits the pattern of: errors of the same size in the same tensors"
    return [Suspect((fault,), sure, False) for fault in sorted(apart, key=lambda fault: apart[fault])]


def _apart(fault: Fault, observation: Observation) -> float | None:
    """Return the logarithm by which the errors differ in size at most; None where too much, or in other tensors."""
    values = evaluate(fault, observation.case.arrays.astype(np.float64))
    ratios = []
    for name, came in observation.came.items():
        due, sd = observation.due(name)
        value = values[name][:, -1] if values[name].ndim > due.ndim else values[name]
        theirs = departs(value, due, sd, observation.case.dtype).any()
        if theirs != (name in observation.wrong):
            return None
        if theirs:
            ratios.append(abs(np.log(_size(came - due) / _size(value - due))))
    return float(max(ratios)) if ratios and max(ratios) < np.log(30) else None


def _size(error: Array) -> float:
    """Return the root mean square of an error, never zero."""
    return float(np.sqrt(np.mean(np.square(error)))) + 1e-300


def _pairs(first: Observation, spare: Callable[[], bool]) -> Iterator[Faults]:
    """Yield pairs of faults, one of which explains some wrong tensor whole and the other what is left."""
    arrays = first.case.arrays.astype(np.float64)
    changes, explained = {}, {}
    for id_, fault in FAULTS.items():
        if fault.wrap:
            continue
        values = evaluate(fault, arrays)
        changes[id_] = {n for n in first.came if not _same(values[n], first, n)}
        explained[id_] = {n for n in changes[id_] & set(first.wrong) if _is_near(first, n, values[n])}
    tried: set[frozenset[str]] = set()
    ranked = sorted((id_ for id_ in explained if explained[id_]), key=lambda id_: -len(explained[id_]))
    for one in ranked:
        rest = set(first.wrong) - explained[one]
        for other in changes:
            if not spare():
                return
            pair = frozenset((one, other))
            if pair not in tried and changes[other] & rest and not changes[other] & explained[one]:
                tried.add(pair)
                yield FAULTS[one], FAULTS[other]


def _same(value: Array, observation: Observation, name: str) -> bool:
    """Return whether a value is what was due anyway."""
    due, sd = observation.due(name)
    return not departs(value[:, -1] if value.ndim > due.ndim else value, due, sd, observation.case.dtype).any()
