"""From a failing case to what is wrong: the suspected fault, the relation, the reading, the place, the sizes it takes.

The front of this folder. What is said is what was found out, in the order of how much it says; where nothing
fits, that is said.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import Case
from lstm_checks.contract import INTERMEDIATES, LAST, Target
from lstm_checks.diagnosis.as_if import AS_IF, find_change
from lstm_checks.diagnosis.calls import CALLS_DIFFER, differing, fails_each_time, right_at_first, wrong_in_turn
from lstm_checks.diagnosis.fingerprint import CALL_BY_CALL, PAIRS, Suspect, find_forward_slip, find_suspects
from lstm_checks.diagnosis.formats import READ_OUT, in_words, short_formats
from lstm_checks.diagnosis.kept import of_caches, of_intermediates
from lstm_checks.diagnosis.limits import find_limits
from lstm_checks.diagnosis.networks import locate_in_network
from lstm_checks.diagnosis.observe import (
    Array,
    Observation,
    errs_like_rounding,
    observe,
    observe_once,
    of_other_sizes,
    repeatable,
    suited,
)
from lstm_checks.diagnosis.operands import short_operands
from lstm_checks.diagnosis.places import PLACES, grown, locate
from lstm_checks.diagnosis.reading import find_reading
from lstm_checks.diagnosis.relation import OF_FLOAT32_SIZE, OF_THE_CALL_BEFORE, find_relations
from lstm_checks.diagnosis.scaled import find_scale
from lstm_checks.diagnosis.sums import find_weights
from lstm_checks.diagnosis.work import Work
from lstm_checks.faults.model import diff
from lstm_checks.formats import is_low
from lstm_checks.words import few
from lstm_ref.cell import Cell

OF_A_CELL_ALONE = (
    "not looked for, since what finds it knows a cell by itself alone: at which steps, units and gates it goes wrong, "
    "limits, readings of the parameters, gates of few bits, sums with other weights, and slips at one place alone"
)
"""What is said of a network in which no fault is certain."""

NOT_IN_LOW = "not looked for in low precision: neither faults nor places"
"""What is said there, where several faults explain the same few digits."""

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
    """What is wrong with a target, as far as it was found out; each part may be empty.

    `catalogue` is whether the catalogued faults were held against it, so that there being no suspect says something.
    """

    suspects: tuple[Named, ...] = ()
    relations: tuple[str, ...] = ()
    reading: str = ""
    where: tuple[str, ...] = ()
    catalogue: bool = True

    @property
    def unsteady(self) -> bool:
        """Whether what was called before was seen to change an answer."""
        named = any(suspect.sure.partition(";")[0].endswith(CALL_BY_CALL) for suspect in self.suspects[:1])
        return named or any(line.startswith(CALLS_DIFFER) for line in self.where)


def diagnose(
    target: Target,
    case: Case,
    work: Work | None = None,
    evidence: Sequence[Set[str]] = (),
    ruled: bool = False,
) -> Diagnosis:
    """Return what is wrong with a target that fails a case.

    Parameters
    ----------
    target : Target
    case : Case
        One that it fails; the smaller, the quicker.
    work : Work, optional
        How much may be done; what that leaves out is said.
    evidence : sequence of sets of str
        The tensors that are wrong in each example of the run; none where it is right.
    ruled : bool
        Whether a rule is known by which cases fail; then no other sizes or regimes are named.
    """
    if is_low(case.dtype):
        return Diagnosis(where=(NOT_IN_LOW,), catalogue=False)
    work = work or Work()
    # What is said of a failure is tried on cases of its dtype: in the other one the target may be right.
    target = work.counted(replace(target, dtypes=(case.dtype,)))
    with np.errstate(all="ignore"):
        observation = observe(target, case)
        if observation.answer.error:
            return Diagnosis(catalogue=False)
        larger = _larger(target, observation)
        if small := _too_small(observation, larger):
            return Diagnosis(relations=(small, *_of_formats(target)), catalogue=False)
        suspects = find_suspects(target, observation, work)
        certain = any(suspect.certain for suspect in suspects)
        forward = bool(set(observation.wrong) & set(case.cell.outputs))
        # On few numbers two calls may agree by chance.
        steady = repeatable(observation) and repeatable(larger)
        steady = steady and (not larger.wrong or fails_each_time(target, larger.case))
        again = _alike(target, larger.case) if steady else None
        relations = tuple(find_relations(larger, again, _elsewhere(target, observation, larger)))
        if not steady and any(said.endswith(OF_THE_CALL_BEFORE) for said in relations):
            # What adds up all calls so far gave the same after the first of them.
            later = find_relations(observe(target, larger.case), None)
            relations = tuple(said for said in relations if not said.endswith(OF_THE_CALL_BEFORE) or said in later)
        erratic = not certain and steady and errs_like_rounding(target, observation.case)
        if not erratic:
            # Of an error that is named its size is no news, and a formula's may be of float32's by chance.
            relations = tuple(said for said in relations if not said.endswith(OF_FLOAT32_SIZE))
        if not certain and observation.wrong and steady:
            relations += (*_of_formats(target, not relations), *short_operands(target))
            relations += _experiments(target, larger.case, forward, not relations, work)
        if any(said.startswith(AS_IF) for said in relations):
            # What explains all of it everywhere leaves nothing to what fits the failing case alone.
            suspects = [suspect for suspect in suspects if not suspect.refuted]
        reading = find_reading(target, work.allows("readings of the parameters")) if forward and not certain else ""
        where: tuple[str, ...] = ()
        if not certain and not steady:
            where = (*differing(target, observation, larger), *right_at_first(target), *wrong_in_turn(target))
        elif not certain and observation.wrong and all(np.isfinite(v).all() for v in observation.came.values()):
            where = (
                (*locate_in_network(target, case, work.allows("some places"), evidence), OF_A_CELL_ALONE)
                if target.cell.places
                else (
                    *locate(target, case, work.allows("some places"), evidence, ruled),
                    *find_limits(target, case, work.allows("limits")),
                    *_kept(target, case),
                )
            )
        elif not certain and not observation.wrong and not relations:
            where = (*wrong_in_turn(target),)
    if INTERMEDIATES in target.can and observation.wrong and not target.cell.places:
        where = (*of_intermediates([(one, _shown(target, one)) for one in (case, larger.case)]), *where)
    if relations and PAIRS in work.left_out:
        # There are always more pairs, and they are looked for where there is nothing else to say.
        work.left_out.remove(PAIRS)
    if work.left_out:
        where += (f"not looked for, since it would take too many calls or tries: {few(work.left_out)}",)
    return Diagnosis(tuple(_named(suspect, case.cell) for suspect in suspects[:SHOWN]), relations, reading, where)


def _of_formats(target: Target, tensors: bool = True) -> tuple[str, ...]:
    """Return what comes in fewer bits than its dtype has; `tensors` where no relation says so of them."""
    return tuple(in_words({name: bits for name, bits in short_formats(target).items() if tensors or name in READ_OUT}))


def _too_small(*seen: Observation) -> str:
    """Return that the errors are too small to name what causes them, where they are; else nothing."""
    if any(observation.formal or observation.written or observation.overwritten for observation in seen):
        return ""
    use, name = max(observation.largest_use for observation in seen)
    if not 1 < use <= tolerance.TOO_SMALL:
        return ""
    return f"less accurate than rounding, {use:.2g} times the tolerance in {name}; too small to name"


def _alike(target: Target, case: Case) -> list[Observation]:
    """Return what the target gives on cases of the same sizes with other values, two that it fails."""
    others = (observe(target, replace(case, seed=case.seed + k)) for k in range(1, 1 + tolerance.OTHER_VALUES))
    return list(islice((other for other in others if other.wrong and not other.answer.error), 2))


def _elsewhere(target: Target, *seen: Observation) -> list[Observation]:
    """Return what the target gives on failing cases of other sizes than the last of some has, these included."""
    *smaller, larger = seen
    found = [observation for observation in smaller if observation.case.dims != larger.case.dims]
    if not repeatable(larger):
        return found
    case = larger.case
    found += [observe_once(target, other) for other in _of_other_lengths(target, case)]
    if target.compiles:
        return found
    # One sample and one step are cases of their own.
    single = [one for one in (replace(case, m=1), replace(case, s=1)) if one != case]
    single = [one for one in single if not target.limits.refused(one.sizes)]
    return found + [observe_once(target, other) for other in (*single, *of_other_sizes(target, case))]


def _of_other_lengths(target: Target, case: Case) -> list[Case]:
    """Return a case at each other kind of lengths: where all samples have one step, say, nothing recurs."""
    return [replace(case, lengths=kind) for kind in target.lengths if kind != case.lengths]


def _experiments(target: Target, case: Case, forward: bool, alone: bool, work: Work) -> tuple[str, ...]:
    """Return as if what were otherwise the target answers; `alone` where no relation is known that says as much."""
    if change := find_change(target, _for_change(target, case), work.allows("changes of one array", case.size)):
        return (change,)
    composed = bool(target.cell.places)
    found = () if composed else tuple(find_weights(target, case))
    if (
        alone
        and not found
        and not composed
        and (scale := find_scale(target, case, work.allows("factors of one array", case.size)))
    ):
        return (scale,)
    if forward and (slip := find_forward_slip(target, case, work.allows("slips in the forward pass", case.size))):
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


def _for_change(target: Target, case: Case) -> list[Case]:
    """Return a case that fails and others: with other values, of other sizes, and with all the cotangents there are."""
    others = [replace(case, seed=case.seed + k) for k in (1, 2)]
    others += [*of_other_sizes(target, case), *_of_other_lengths(target, case)]
    every = suited(target, replace(case, cotangents="every+h+C", seed=case.seed + 3))
    return [case, *others, *([every] if every is not None else [])]


def _of_one_cotangent(target: Target, case: Case) -> Iterator[str]:
    """Yield the relations that hold where a single kind of cotangent is given."""
    for cotangents, words in (("every", "every step's h"), ("h", "the final h"), ("C", "the final memory state")):
        if cotangents == "C" and not case.cell.finals:
            continue
        asked = suited(target, replace(case, cotangents=cotangents))
        if asked is not None and (cotangents != "every" or LAST in target.lacks or case.sequences):
            seen = observe(target, asked)
            for said in find_relations(seen, _alike(target, asked), _elsewhere(target, seen)):
                if not said.endswith(OF_FLOAT32_SIZE):
                    yield f"for cotangents of {words} alone, {said}"


def _named(suspect: Suspect, cell: Cell) -> Named:
    """Return a suspect in words."""
    faults = suspect.faults
    titles = " and ".join(fault.title.rstrip(".") for fault in faults)
    diffs = "\n".join(diff(fault, cell) for fault in faults)
    ids = " and ".join(fault.id for fault in faults)
    return Named(ids, titles, suspect.sure, suspect.certain, diffs, suspect.refuted)


def _kept(target: Target, case: Case) -> tuple[str, ...]:
    """Return the first intermediate that departs, where the target keeps them."""
    if target.caches is None or INTERMEDIATES in target.can:
        return ()
    return tuple(of_caches(_shown(target, case), case))


def _shown(target: Target, case: Case) -> Mapping[str, Array]:
    """Return the intermediates of a case that a target keeps, or shows where it is asked for them."""
    assert target.caches is not None
    call_target(target, case.arrays.copy(), case.sequences)
    return target.caches() or {}
