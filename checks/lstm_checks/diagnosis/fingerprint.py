"""Which catalogued fault the target has: the one whose patched reference gives the target's own wrong numbers.

Every fault is run on the failing case. Those that reproduce what came, to rounding and in all tensors, are run on
further cases of other shapes and regimes, until one is left or no case tells the rest apart. Where none reproduces all
of it, several at once are tried, starting from those that explain some tensors whole.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import other_values
from lstm_checks.cases import REGIMES, Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.formats import in_words, short_formats
from lstm_checks.diagnosis.observe import (
    Array,
    Observation,
    departs,
    observe,
    observe_once,
    repeatable,
    slack,
    suited,
    wrong_entries,
)
from lstm_checks.diagnosis.several import sets_of_faults
from lstm_checks.diagnosis.statement import Trial, accounted, try_values
from lstm_checks.diagnosis.work import Spare, Work
from lstm_checks.faults.catalogue import faults_of
from lstm_checks.faults.mixups import mixups
from lstm_checks.faults.model import Fault, backward_with, evaluate, fault_target, leaves_forward, planted
from lstm_checks.faults.slips import slips
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.words import series
from lstm_ref.cell import Cell, evaluate_forward, run_forward

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

CALL_BY_CALL = "call by call"
"""How it is said that a fault does in each call what the target does."""

RANDOM = ("dropout-left-on",)
"""The faults whose numbers nobody can reproduce."""

PAIRS = "other pairs of faults"
"""What is left out where there are more pairs than are tried."""

SEVERAL = "some sets of three faults and more"
"""What is left out where there are more sets than are tried."""

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


def find_suspects(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the catalogued faults that the target may have, the likeliest first; empty if none fits.

    Parameters
    ----------
    target : Target
    first : Observation
        Of the failing case.
    work : Work
        How much may be tried.
    """
    found: list[Suspect] = []
    # The first search that is certain ends it: a slip or a pair of faults, of which there are thousands, is
    # never said where one known fault does.
    for search in (_alone, _between_calls, _in_short_formats, _by_a_slip, _of_several, _in_pairs):
        # A case that the target no longer fails says that it keeps something.
        if first.fails or search is _between_calls:
            suspects = search(target, first, work)
            if any(suspect.certain for suspect in suspects):
                return suspects
            found += suspects
    # One number is reproduced by chance, or by being zero; what does so and is refuted elsewhere says nothing.
    telling = [suspect for suspect in found if not (suspect.refuted and first.wrong_entries < 2)]
    return sorted(telling, key=lambda suspect: suspect.refuted)


def _alone(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the faults in the mathematics, and the mix-ups, that reproduce the target by themselves."""
    # What lives between calls predicts no single call, and has a search of its own.
    spare = work.allows("some catalogued faults", first.case.size)
    fitting: list[Faults] = [
        (fault,)
        for fault in (faults_of(target.cell) | mixups(target.cell)).values()
        if not fault.wrap and _may_be_at(fault.place, first) and spare() and reproduces((fault,), first) is Trial.SHOWN
    ]
    return _confirm(target, first, fitting)


def _may_be_at(suffix: str, first: Observation) -> bool:
    """Return whether a fault of the one place of a network may make wrong what is: where none is said, it may."""
    here = next((place for place in first.case.cell.places if place.suffix == suffix), None)
    if here is None:
        return True
    if not any(name.endswith(suffix) for name in first.wrong):
        return False
    outputs = set(first.wrong) & set(first.case.cell.outputs)
    wrong = [place for place in first.case.cell.places if any(n.endswith(place.suffix) for n in outputs or first.wrong)]
    if not outputs:
        # What goes wrong backward reaches no layer above and nothing beside it.
        return all(place is here or place.layer < here.layer for place in wrong)
    # What goes wrong forward reaches no layer below and nothing beside it, and the final states of all above. Those of
    # its own may be right, where it goes wrong at some steps alone.
    lowest = min((place.layer for place in wrong), default=first.case.cell.places[-1].layer + 1)
    return here.layer >= lowest - 1 and all(place is here or place.layer > here.layer for place in wrong)


def _by_a_slip(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the slips of the pen that reproduce the target wherever it was looked; any other is as good as chance."""
    spare = work.allows("some slips of the pen", first.case.size)
    # With an output wrong the slip is in the forward pass, with all right it is past it; the other half is not tried.
    parts = ("forward",) if set(first.wrong) & set(target.cell.outputs) else ("gradients", "backward")
    tried = (slip for part in parts for slip in slips(part, target.cell))
    fitting: list[Faults] = [(slip,) for slip in tried if spare() and reproduces((slip,), first) is Trial.SHOWN]
    return [suspect for suspect in _confirm(target, first, fitting) if suspect.certain]


def find_forward_slip(target: Target, case: Case, spare: Spare) -> str:
    """Return with which slip in the forward pass the outputs alone came, in words; empty if with none.

    So it is where a framework differentiates what was written: the gradients are right for it, and not the reference's.
    """
    cases = (suited(target, other) for other in (case, *BANK[:4]))
    observations = [observe_once(target, other) for other in cases if other is not None]
    if any(seen.answer.error for seen in observations):
        return ""
    fitting = [
        slip
        for slip in slips("forward", target.cell)
        if spare() and accounted(_outputs_come_from(slip, seen) for seen in observations)
    ]
    outputs = series(target.cell.outputs)
    return f"{outputs} came as with a slip: {' or '.join(s.title for s in fitting[:2])}" if fitting else ""


def _outputs_come_from(fault: Fault, observation: Observation) -> Trial:
    """Return what a case says of both outputs' being what the reference with a fault in it gives."""
    arrays = observation.case.arrays.astype(np.float64)
    cell = arrays.cell
    with np.errstate(all="ignore"):
        outputs = evaluate_forward(planted((fault,), cell), arrays)
    return try_values(observation, observation.expected.values | outputs, cell.outputs)


def _of_several(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the sets of three faults and more that reproduce the target wherever it was looked.

    On the smallest failing case most of them may be idle: of a few cases that in which most is wrong is explained, and
    that of a single step.
    """
    if not first.wrong or not repeatable(first):
        return []
    asked = (suited(target, case) for case in BANK[:3])
    seen = [first, *(observe_once(target, case) for case in asked if case is not None)]
    seen = [one for one in seen if not one.answer.error and not one.formal]
    if not seen:
        return []
    whole = max(seen, key=lambda one: len(one.wrong))
    single = suited(target, replace(whole.case, s=1))
    seen = [whole, *([observe_once(target, single)] if single is not None and whole.case.s > 1 else [])]
    if any(one.answer.error or one.formal for one in seen):
        return []
    known = [fault for fault in faults_of(target.cell).values() if not fault.wrap and _may_be_at(fault.place, whole)]
    for _ in range(tolerance.SETS_REFUTED):
        sets = sets_of_faults(seen, known, work.allows(SEVERAL, first.case.size))
        fitting = [faults for faults in sets if len(faults) > 2 and reproduces(faults, first) is Trial.SHOWN]
        suspects = [suspect for suspect in _confirm(target, first, fitting) if suspect.certain]
        refuting = None if suspects else _refuting(target, sets)
        if refuting is None:
            return suspects
        # A further fault may show there alone: at larger sizes, or in another regime.
        seen.append(refuting)
    return []


def _refuting(target: Target, sets: list[Faults]) -> Observation | None:
    """Return the first of some cases that refutes sets of faults, all of them; None for none."""
    for case in chain(BANK, islice(_random_cases(), len(BANK))) if sets else ():
        asked = suited(target, case)
        one = observe_once(target, asked) if asked is not None else None
        if one is None or one.answer.error or one.formal or one.expected.chaotic(target.cell.gradients):
            continue
        if all(reproduces(faults, one) is Trial.REFUTED for faults in sets):
            return one
    return None


def _in_pairs(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the pairs of faults that reproduce the target where none does alone."""
    if not first.wrong:
        return []
    pairs = _pairs(first, work.allows(PAIRS, first.case.size))
    return _confirm(target, first, [pair for pair in pairs if reproduces(pair, first) is Trial.SHOWN])


def _confirm(target: Target, first: Observation, left: list[Faults]) -> list[Suspect]:
    """Return the suspects that hold on further cases, or if none does, those that hold on the first."""
    shown = 0
    # Many faults give the same wrong numbers on one case: all that differ only at other sizes or in other
    # regimes do. So a suspect counts for the further cases on which it shows. Where it makes no difference
    # the target has only to be right, as every other fault predicts, too: such a case refutes it if the
    # target is wrong, and never confirms it.
    cases = _further_cases(target)
    while left and (case := cases(left, shown)) is not None:
        observation = observe_once(target, case)
        if observation.expected.chaotic(target.cell.gradients) or observation.answer.error or observation.formal:
            continue
        trials = [reproduces(faults, observation) for faults in left]
        still = [faults for faults, trial in zip(left, trials, strict=True) if trial is not Trial.REFUTED]
        # The last ones are kept though refuted, as what the target does on the failing case: that
        # stays true, and is a hint where nothing better is found. `find_suspects` puts them last, and
        # leaves them out where it was one number.
        if not still:
            return [Suspect(f, f"{_extent(first)}, but not {case.descriptor}", False, refuted=True) for f in left]
        left, shown = still, shown + (Trial.SHOWN in trials)
    # A case on which a fault makes no difference says nothing of it.
    cases_shown = "1 more case" if shown == 1 else f"{shown} more cases"
    more = f", and those of {cases_shown}" if shown else "; seen in no other case"
    return [Suspect(faults, _extent(first) + more, bool(shown)) for faults in _simplest_first(left, target.cell)]


def _simplest_first(found: list[Faults], cell: Cell) -> list[Faults]:
    """Return faults that cannot be told apart: those of the catalogue first, and those that need the smaller sizes."""
    made = mixups(cell)

    def key(faults: Faults) -> tuple[bool, int]:
        return any(fault.id in made for fault in faults), max(int(np.prod(fault.dims)) for fault in faults)

    return sorted(found, key=key)


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
    # Iterators, so that each call goes on where the last one was. The faults are compared on patched references, which
    # is cheap and needs no call of the target.
    bank, differing, showing = iter(BANK), islice(_random_cases(), SOUGHT), islice(_random_cases(), SOUGHT)

    def next_case(left: list[Faults], shown: int) -> Case | None:
        for case in bank:
            if (asked := suited(target, case)) is not None:
                return asked
        for case in differing if len(left) > 1 else ():
            if (asked := suited(target, case)) is not None and _tells_apart(left, asked):
                return asked
        for case in showing if shown < SHOWING else ():
            # No fault at all stands for the reference: on such a case some fault that is left makes a difference.
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
        np.max(np.abs(one[name] - values[0][name])) > tolerance.TOLD_APART * np.max(np.abs(values[0][name]))
        for one in values[1:]
        for name in case.cell.tensors
    )


def reproduces(faults: Faults, observation: Observation, known: bool = False) -> Trial:
    """Return what a case says of the target's having the faults: whether the reference gives with them what came.

    Where faults are `known` to be the target's by other cases, a tensor refutes them only beyond their own rounding.
    """
    # A patched equation returns every tensor and writes to nothing: what does otherwise has a fault of another kind.
    if observation.formal or observation.written or observation.overwritten or observation.answer.error:
        return Trial.REFUTED
    values: dict[str, Any] = {}
    for part in _parts(faults, observation):
        if not known and not all(_is_near(observation, n, part[n]) for n in part if n in observation.came):
            return Trial.REFUTED
        values |= part
    if not values:
        return Trial.REFUTED
    trial = try_values(observation, values)
    if trial is Trial.REFUTED:
        # Where faults cancel or grow, rounding blurs them more than what is due.
        theirs = expect_with(faults, observation)
        trial = try_values(observation, theirs.values, sd=theirs.sd, known=known)
    return trial


def _parts(faults: Faults, observation: Observation) -> Iterator[dict[str, Any]]:
    """Yield the outputs, and then the gradients, of the reference with faults; nothing if they cannot be combined."""
    case = observation.case
    arrays = observation.taken(case.arrays.astype(np.float64))
    try:
        left = leaves_forward(faults)
        backward = backward_with(faults, arrays.cell) if left else None
        target = None if left else fault_target(*faults, cell=case.cell)
    except ValueError:
        return
    if backward is not None:
        # Hundreds of faults share one forward pass, and a fault whose outputs are far off is never run backward.
        # As a fault may write to what was kept, each has its own.
        fc = deepcopy(_forward_on(case)) if case.cell.places else {n: v.copy() for n, v in _forward_on(case).items()}
        yield {name: value.copy() for name, value in case.cell.outputs_of(fc).items()}
        yield backward(fc, arrays)
    if target is not None:
        outputs, pullback = target.call(arrays.given)
        yield dict(outputs)
        yield dict(pullback(arrays.cotangents))


@lru_cache(maxsize=8)
def _forward_on(case: Case) -> dict[str, Any]:
    """Return the forward pass of a case, which hundreds of faults leave as it is."""
    arrays = case.arrays.astype(np.float64)
    return run_forward(arrays.cell, arrays)


def _is_near(observation: Observation, name: str, value: Array) -> bool:
    """Return whether a value explains most of a tensor's departure; cheap, to leave out what cannot be."""
    due, sd = observation.due(name)
    value = observation.shaped(name, value)
    came, limit = observation.came[name], tolerance.accepted(sd, observation.case.dtype)
    finite = np.isfinite(came)
    if not np.array_equal(np.isfinite(value), finite):
        return False
    left, before = (float(np.max(np.abs(came - other), where=finite, initial=0)) for other in (value, due))
    return left <= tolerance.NEAR_SHARE * before + tolerance.NEAR_LIMITS * float(np.max(limit))


def expect_with(faults: Faults, observation: Observation) -> Expected:
    """Return what the reference with faults planted in it gives on a case, and how much rounding blurs that."""
    case = observation.case
    try:
        return expect(case, evaluate=lambda arrays: evaluate(faults, observation.taken(arrays)))
    except (TypeError, AttributeError):
        # No noise model for one of its operations: the reference's own noise.
        values = evaluate(faults, observation.taken(case.arrays.astype(np.float64)))
        return Expected(values, slack(values, observation.expected), case.dtype)


def _does_the_same(faults: Faults, observation: Observation) -> Trial:
    """Return what a case says of the target's doing as one with the faults does, called in the same order."""
    theirs = observe(fault_target(*faults, cell=observation.case.cell), observation.case, observation.expected)
    if _touched(theirs) != _touched(observation) or set(observation.formal) ^ (set(theirs.formal) - observation.lacks):
        return Trial.REFUTED
    trials = [Trial.SHOWN if any(_touched(observation)) or observation.formal else Trial.IDLE]
    for answer, values in ((observation.answer, theirs.came), (observation.again, theirs.came_again)):
        seen = replace(observation, answer=answer, again=answer)
        if not set(seen.came) <= set(values):
            return Trial.REFUTED
        trials.append(try_values(seen, values))
    return Trial.REFUTED if Trial.REFUTED in trials else max(trials, key=lambda trial: trial is Trial.SHOWN)


def _touched(observation: Observation) -> tuple[set[str], set[str]]:
    """Return what was written to, of what was given and of what was returned."""
    return set(observation.written), set(observation.overwritten)


def _between_calls(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the faults of what is kept between calls that do as the target does, called in the same order.

    What a target keeps depends on all the calls before; where the failing case tells nothing, sizes are taken that it
    never met, so that both start afresh.
    """
    left: list[Faults] = [(fault,) for fault in faults_of(target.cell).values() if fault.wrap]
    found = [faults for faults in left if _does_the_same(faults, first) is Trial.SHOWN] if first.fails else []
    unsteady = not first.fails or not repeatable(first)
    for case in FRESH:
        asked = suited(target, case)
        # What is wrong at a first call, too, is not for something kept from calls before.
        # One unit more, so that the case asked about below is still of a size that the target never met.
        if asked is None or not (found or unsteady or _right_at_first(target, replace(asked, u=asked.u + 1))):
            continue
        observation = observe(target, asked)
        if not observation.fails:
            continue
        unsteady = unsteady or not repeatable(observation)
        trials = [(faults, _does_the_same(faults, observation)) for faults in found or left]
        still = [f for f, trial in trials if trial is Trial.SHOWN or (found and trial is Trial.IDLE)]
        if found and not still:
            sure = f"does as the target does, but not on {asked.descriptor}"
            # What else it keeps may be to blame for that: this refutes nothing.
            return [Suspect(f, sure, False) for f in found]
        found = still
    if unsteady and not found:
        return _random(target, left)
    sure = f"reproduces {_counted(first)}" if first.wrong else "does as the target does"
    return [Suspect(faults, f"{sure}, {CALL_BY_CALL}", True) for faults in found]


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
    theirs = observe(fault_target(*faults, cell=observation.case.cell), observation.case)
    return (
        set(observation.wrong) == set(theirs.wrong)
        and set(observation.wrong_again) == set(theirs.wrong_again)
        and _touched(observation) == _touched(theirs)
        and all(_zeros(observation, name) == _zeros(theirs, name) for name in observation.wrong)
    )


def _zeros(observation: Observation, name: str) -> bool:
    """Return whether all wrong entries of a tensor are zero."""
    return not observation.came[name][observation.wrong[name]].any()


def _in_short_formats(target: Target, first: Observation, work: Work) -> list[Suspect]:
    """Return the faults of rounding that bring the same things in as few bits, with errors of the same size.

    Such errors are other ones in another order of summing, so that no number is reproduced. But what is rounded is
    seen: a gate or a gradient that comes in 24 bits in float64, where nothing else does.
    """
    if first.formal or not first.wrong or not (short := short_formats(target)):
        return []
    fitting = []
    for fault in faults_of(target.cell).values():
        # Asked for the same tensors in the same dtypes, or the two lists might differ for that alone.
        planted = replace(fault_target(fault, cell=target.cell), lacks=target.lacks, dtypes=target.dtypes)
        if fault.family == "precision" and _alike_in_size(fault, first, np.inf) and short_formats(planted) == short:
            fitting.append(fault)
    sure = f"{' and '.join(in_words(short))}, with errors as large"
    for case in BANK[:3]:
        asked = suited(target, case)
        if asked is not None and not (seen := observe_once(target, asked)).expected.chaotic(target.cell.gradients):
            fitting = [fault for fault in fitting if _alike_in_size(fault, seen)]
    return [Suspect((fault,), sure, True) for fault in fitting]


def _alike_in_size(fault: Fault, observation: Observation, factor: float = tolerance.LIKE_SIZE) -> bool:
    """Return whether errors lie in the tensors in which a fault's do, and are as large but for a factor."""
    values = evaluate(fault, observation.taken(observation.case.arrays.astype(np.float64)))
    ratios = []
    for name, came in observation.came.items():
        due, sd = observation.due(name)
        value = observation.shaped(name, values[name])
        theirs = departs(value, due, sd, observation.case.dtype).any()
        if theirs != (name in observation.wrong):
            return False
        if theirs:
            ratios.append(_size(came - due) / _size(value - due))
    return not ratios or 1 / factor <= float(np.median(ratios)) <= factor


def _size(error: Array) -> float:
    """Return the root mean square of an error, never zero."""
    return float(np.sqrt(np.mean(np.square(error)))) + 1e-300


def _pairs(first: Observation, spare: Spare) -> Iterator[Faults]:
    """Yield pairs of faults, one of which explains some wrong tensor whole and the other what is left."""
    arrays = first.taken(first.case.arrays.astype(np.float64))
    # There are some 50,000 pairs. Only those are worth a try of which one explains some tensor whole; the other must
    # then leave that alone and change some of the rest.
    changes, explained = {}, {}
    known = faults_of(first.case.cell) | mixups(first.case.cell)
    for id_, fault in known.items():
        if fault.wrap:
            continue
        values = evaluate(fault, arrays)
        changes[id_] = {n for n in first.came if not _same(values[n], first, n)}
        explained[id_] = {n for n in changes[id_] & set(first.wrong) if try_values(first, values, [n]) is Trial.SHOWN}
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
                yield known[one], known[other]


def _same(value: Array, observation: Observation, name: str) -> bool:
    """Return whether a value is what was due anyway."""
    due, sd = observation.due(name)
    return not departs(observation.shaped(name, value), due, sd, observation.case.dtype).any()
