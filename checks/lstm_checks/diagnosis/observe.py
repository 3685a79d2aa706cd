"""What a target does on a case, in the order in which `verify` calls it, and whether a prediction of it holds.

Every idea of the diagnosis compares what came with some prediction, entry by entry and to rounding. This is the one
place where that is done.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.calling import (
    FourCalls,
    Outcome,
    asked_of,
    call_target,
    can_run,
    overwritten,
)
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import DHN, STATES, Target
from lstm_checks.formats import is_floating
from lstm_checks.oracles.expected import Expected, evaluate_reference, expect
from lstm_ref.cell import Cell, run_backward, run_forward

Array = NDArray[Any]
Values = Mapping[str, Array]

FEW = ((2, 3, 2, 3), (4, 5, 3, 3), (3, 3, 3, 3), (2, 4, 14, 3), (3, 4, 5, 9), (6, 1, 4, 8), (3, 2, 8, 8))
"""The sizes (m, s, e, u) at which a target is asked that compiles for each: small and square, with many elements, with
many units, and of a single step."""


COUNTED = re.compile(r"((?:output |input )?)(sample|step|element|unit|row)s? (\d+(?:(?:, | and )\d+)*) of (\d+)")
"""Which of how many a sentence names."""


@dataclass(frozen=True)
class Observation:
    """What a target gave on a case.

    Attributes
    ----------
    case : Case
    expected : Expected
        What was due.
    answer, again : Outcome
        The call that counts, and the same once more after a call of another shape.
    written : tuple of str
        The inputs and cotangents that the target wrote to.
    overwritten : tuple of str
        What it returned and wrote to later; by its own pullback where it says so.
    lacks : frozenset of str
        What the target cannot do.
    """

    case: Case
    expected: Expected
    answer: Outcome
    again: Outcome
    written: tuple[str, ...]
    overwritten: tuple[str, ...]
    lacks: frozenset[str]

    def taken(self, arrays: Arrays) -> Arrays:
        """Return arrays as the target takes them: a fault may make of dhn something else than of the last step's dh."""
        return arrays.with_folded if DHN in self.lacks else arrays

    @cached_property
    def came(self) -> dict[str, Array]:
        """The tensors of the answer that can be judged, of the right shape and no shorter dtype, in float64."""
        return self._formed(self.answer)

    @cached_property
    def came_again(self) -> dict[str, Array]:
        """The same of the second answer."""
        return self._formed(self.again)

    @cached_property
    def wrong(self) -> dict[str, Array]:
        """Which entries are out of tolerance, for each tensor that has any."""
        found = {name: departs(came, *self.due(name), self.case.dtype) for name, came in self.came.items()}
        return {name: entries for name, entries in found.items() if entries.any()}

    @property
    def wrong_entries(self) -> int:
        """How many entries are out of tolerance."""
        return sum(int(entries.sum()) for entries in self.wrong.values())

    @property
    def formal(self) -> tuple[str, ...]:
        """The tensors that are not of the form that was asked for."""
        names = self.case.cell.tensors
        return tuple(name for name in names if name not in self.lacks | self.drowned and name not in self.came)

    @cached_property
    def drowned(self) -> frozenset[str]:
        """The tensors of which rounding leaves nothing to judge, as `compare` tells them: of these nothing is said."""
        cell = self.case.cell
        outputs = {name for name in cell.outputs if self.expected.chaotic((name,))}
        return frozenset(outputs.union(cell.gradients if self.expected.chaotic(cell.gradients) else ()))

    @property
    def fails(self) -> bool:
        """Whether anything is wrong at all."""
        return bool(self.wrong or self.formal or self.written or self.overwritten or self.wrong_again)

    @cached_property
    def wrong_again(self) -> tuple[str, ...]:
        """The tensors that are wrong in the second answer."""
        return tuple(n for n, came in self.came_again.items() if departs(came, *self.due(n), self.case.dtype).any())

    @property
    def largest_use(self) -> tuple[float, str]:
        """By how many times the tolerance the worst entry is off, and in which tensor; 0 where nothing came."""
        found = [(0.0, "")]
        for name, came in self.came.items():
            due, sd = self.due(name)
            with np.errstate(all="ignore"):
                use = np.abs(came - due) / tolerance.accepted(sd, self.case.dtype)
            found.append((float(np.max(np.where(np.isnan(use), np.inf, use), initial=0)), name))
        return max(found)

    def due(self, name: str) -> tuple[Array, Array]:
        """Return the value of a tensor and its standard deviation, in the shape in which the target returns it."""
        return self.shaped(name, self.expected.values[name]), self.shaped(name, self.expected.sd[name])

    def shaped(self, name: str, value: Array) -> Array:
        """Return a tensor of all steps in the shape in which the target returns it."""
        shaped: Array = self.answer.shaped(name, value, self.case.cell)
        return shaped

    def _formed(self, outcome: Outcome) -> dict[str, Array]:
        """Return the tensors of the right shape."""
        found = {}
        for name in self.case.cell.tensors:
            came = outcome.values.get(name)
            if name in self.lacks | self.drowned or not isinstance(came, np.ndarray) or not is_floating(came.dtype):
                continue
            if came.dtype.itemsize < self.case.array_dtype.itemsize:
                # Of what was cut short on its way out nothing is told but that.
                continue
            if came.shape == self.due(name)[0].shape:
                found[name] = came.astype(np.float64)
        return found


def intermediates(arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return what the reference's two passes give at every step, `fc` and `bc`, in float64."""
    arrays = arrays.astype(np.float64)
    with np.errstate(all="ignore"):
        fc = run_forward(arrays.cell, arrays)
        return fc, run_backward(arrays.cell, arrays, fc)


@cache
def gate_sums(cell: Cell) -> frozenset[str]:
    """Return the gradients that are made of the gates' cotangents dk_ as the plain cell's are, and of nothing else.

    They are dU = sum of X^T dk_, dV = sum of hp^T dk_, db = sum of dk_, dX = sum of dk_ Uk^T and dh0 = sum of dk_ Vk^T.
    Found by working them out so: a gate may be reset on its way, and a state may be kept.
    """
    arrays = Case(2, 3, 4, 5, seed=1, cell=cell).arrays.astype(np.float64)
    fc, bc = intermediates(arrays)
    due = evaluate_reference(arrays)
    made: dict[str, Any] = {"dX": 0.0, "dh0": 0.0}
    for gate in cell.gates:
        dk_ = bc[f"d{gate}_"]
        if f"U{gate}" in arrays:
            made[f"dU{gate}"] = np.einsum("nti,ntj->ij", arrays["X"], dk_)
            made["dX"] = made["dX"] + dk_ @ arrays[f"U{gate}"].T
        if f"V{gate}" in arrays:
            made[f"dV{gate}"] = np.einsum("nti,ntj->ij", fc["hp"], dk_)
            made["dh0"] = made["dh0"] + dk_[:, 0] @ arrays[f"V{gate}"].T
        made[f"db{gate}"] = dk_.sum(axis=(0, 1))[None]
    same = (name for name, value in made.items() if name in due and np.shape(value) == due[name].shape)
    return frozenset(name for name in same if np.allclose(made[name], due[name]))


def departs(came: Array, due: Array, sd: Array, dtype: str) -> Array:
    """Return which entries are further from what is due than rounding explains; not a number matches its like."""
    with np.errstate(all="ignore"):
        near = np.abs(came - due) <= tolerance.accepted(sd, dtype)
    finite = np.isfinite(due)
    return ~np.where(finite, near, np.isfinite(came) == finite)


@lru_cache(maxsize=256)
def due_on(case: Case) -> Expected:
    """Return what is due on a case; the same few cases are asked about again and again."""
    return expect(case)


def observe_once(target: Target, case: Case) -> Observation:
    """Return what a single call of the target gives on a case; nothing of what it keeps between calls."""
    answer = call_target(target, case.arrays.copy(), case.sequences)
    return Observation(case, due_on(case), answer, answer, (), (), target.lacks)


def observe(target: Target, case: Case, expected: Expected | None = None) -> Observation:
    """Return what the target gives on a case, called as `verify` calls it."""
    between = _at(case, *[dims for dims in FEW if dims != case.dims[:4]]) if target.compiles else None
    calls = FourCalls(target, case, between=between)
    earlier, answer = calls.earlier, calls.answer
    written = calls.written
    kept = tuple(name + " at once" for name in overwritten(answer)) or tuple(overwritten(earlier))
    _, again = calls.again
    kept = kept or tuple(overwritten(answer))
    return Observation(case, expected or due_on(case), answer, again, written, kept, target.lacks)


def repeatable(observation: Observation) -> bool:
    """Return whether both calls with the same inputs gave the same, to rounding."""
    return not unsteady(observation)


def unsteady(observation: Observation) -> tuple[str, ...]:
    """Return the tensors that two calls with the same inputs gave differently."""
    return tuple(
        name
        for name, again in observation.came_again.items()
        if name in observation.came
        and departs(again, observation.came[name], observation.due(name)[1], observation.case.dtype).any()
    )


def slack(values: Mapping[str, Any], expected: Expected) -> dict[str, Array]:
    """Return a standard deviation for values whose own is not known: what a case has, and 16 rho of the largest."""
    rho = tolerance.UNIT_ROUNDOFF[expected.dtype]
    return {n: expected.sd[n] + np.max(expected.sd[n]) + 16 * rho * np.max(np.abs(v)) for n, v in values.items()}


def wrong_entries(target: Target, case: Case, arrays: Arrays | None = None) -> dict[str, Array] | None:
    """Return which entries of one call's answer are wrong, for each tensor that has any.

    Parameters
    ----------
    target : Target
    case : Case
    arrays : Arrays, optional
        Values in place of the case's own.

    Returns
    -------
    dict or None
        None where the call raised, or where rounding drowns the gradients.
    """
    seen = observe_values(target, case, arrays)
    return None if seen is None else seen.wrong


def observe_values(target: Target, case: Case, arrays: Arrays | None = None) -> Observation | None:
    """Return what one call gives for a case's values or others; None where it raised, or rounding drowns gradients."""
    arrays = arrays or case.arrays
    answer = call_target(target, arrays.copy(), case.sequences)
    expected = due_on(case)
    if arrays is not case.arrays:
        with np.errstate(all="ignore"):
            values = evaluate_reference(arrays.astype(np.float64))
        expected = replace(expected, values=values, sd=slack(values, expected))
    if answer.error or expected.chaotic(case.cell.gradients):
        return None
    return Observation(case, expected, answer, answer, (), (), target.lacks)


def errs_like_rounding(target: Target, case: Case) -> bool:
    """Return whether a target's errors are erratic: quite other ones where every number it is given changes a little.

    A wrong formula goes wrong by nearly as much for nearly the same numbers, and so it does if what it gets wrong is
    small. Rounding to a shorter format, float16 included, is drawn anew when a number changes by a thousandth.
    """
    errors: list[dict[str, Array]] = []
    wrong: list[str] = []
    rng = np.random.default_rng(0)
    nearby = case.arrays.each(lambda value: value * (1 + tolerance.NEARBY * rng.standard_normal(value.shape)))
    for arrays in (case.arrays, nearby.astype(case.array_dtype)):
        answer = call_target(target, arrays.copy(), case.sequences)
        with np.errstate(all="ignore"):
            values = evaluate_reference(arrays.astype(np.float64))
        seen = Observation(case, replace(due_on(case), values=values), answer, answer, (), (), target.lacks)
        errors.append({name: came - seen.due(name)[0] for name, came in seen.came.items()})
        # Only what is wrong both times: of a tensor that is right once, the error is not the one in question.
        wrong = [name for name in seen.wrong if arrays is case.arrays or name in wrong]
    first, second = errors
    with np.errstate(all="ignore"):
        changes = [np.sqrt(np.sum((first[n] - second[n]) ** 2) / np.sum(first[n] ** 2)) for n in wrong]
    return bool(changes) and float(np.median(changes)) > tolerance.ERRATIC


def _at(case: Case, *known: tuple[int, int, int, int]) -> Case:
    """Return a case at the sizes among some that are nearest to its own."""
    nearest = min(known, key=lambda dims: float(np.sum(np.abs(np.log(np.divide(dims, case.dims[:4]))))))
    return case.resized(dict(zip("mseu", nearest, strict=True)))


def of_other_sizes(target: Target, case: Case, kept: str = "") -> list[Case]:
    """Return up to two failing cases in which every size is another but for those kept: a larger and a smaller one."""
    if target.compiles:
        return []
    found: list[Case] = []
    # All sizes at once: what is said with none of them named must not hang on any.
    for change in (lambda n: n + 2, lambda n: max(n // 2, min(n, 3)), lambda n: n + 1, lambda n: n + 3):
        sizes = {size: change(n) for size, n in case.sizes.items() if size not in kept}
        other = replace(case, seed=case.seed + 60 + len(found)).resized(case.sizes | sizes)
        other = other.resized(target.limits.fit(other.sizes))
        if other.dims != case.dims and len(found) < 2 and wrong_entries(target, other):
            found.append(other)
    return found


def counted_in(sentence: str) -> str:
    """Return the sizes that a sentence counts: s for "steps 2 and 3 of 4"; s for a map of output and input steps.

    Examples
    --------
    >>> counted_in("df_ departs first, at step 2 of 4, sample 1 of 2")
    'ms'
    """
    sizes = {"sample": "m", "step": "s", "element": "e", "unit": "u", "row": "u"}
    found = {sizes[word] for _, word, _, _ in COUNTED.findall(sentence)}
    return "".join(size for size in "mseu" if size in found or (size == "s" and "a word an output step" in sentence))


def in_general(sentence: str) -> str:
    """Return a sentence with "step 4 of 4" as "the last step": what it may say of every number of steps.

    Examples
    --------
    >>> in_general("df_ departs first, at step 3 of 4, samples 2 and 3 of 3")
    'df_ departs first, at the last step but one, all samples but the first'
    """
    if "a word an output step" in sentence:
        return sentence

    def put(match: re.Match[str]) -> str:
        found, count = [int(n) for n in re.findall(r"\d+", match[3])], int(match[4])
        what = f"{match[1]}{match[2]}"
        named = {
            (1,): f"the first {what}",
            (count,): f"the last {what}",
            (count - 1,): f"the last {what} but one",
            tuple(range(2, count + 1)): f"all {what}s but the first",
            tuple(range(1, count)): f"all {what}s but the last",
        }
        return named.get(tuple(found), match[0]) if count > 2 else match[0]

    return COUNTED.sub(put, sentence)


def suited(target: Target, case: Case) -> Case | None:
    """Return the case, of the target's cell, with what it lacks left out; None where it cannot be asked at all.

    A target that compiles for each shape is asked at the nearest of a few.
    """
    case = asked_of(target, case)
    if target.lengths and not case.lengths:
        # Every kind in its turn, and none.
        case = replace(case, lengths=("", *target.lengths)[case.seed % (len(target.lengths) + 1)])
    if target.compiles:
        case = asked_of(target, _at(case, *FEW))
    if not target.takes(case.dtype):
        case = replace(case, dtype=target.dtypes[0])
    if STATES in target.lacks and case.states:
        case = replace(case, states=False)
    if "h" in target.without_finals and target.without_finals & {*case.cotangents.split("+")}:
        case = replace(case, cotangents="last" if "last" in case.cotangents else "every")
    elif target.without_finals & {*case.cotangents.split("+")}:
        case = replace(case, cotangents="last" if "last" in case.cotangents else "every+h")
    return None if can_run(target, case.arrays) else case
