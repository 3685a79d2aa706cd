"""Whether a line that the diagnosis says of a target is so: a judge for each form of sentence, on cases never shown.

Nothing of `checks.diagnosis` is used here. A line is parsed from its text; what it says is asked of the target on fresh
cases (other seeds, and other sizes where the line leaves them open) with values from the reference; and the right
answer is asked the same, since a line that the right answer satisfies as well says nothing. What is known of a planted
fault (`Truth`) decides what no experiment can: which gate, which step, which size it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from checks import oracles, tolerance
from checks.calling import another_shape, call_over_other_values, call_target, other_values, overwritten, same_bits
from checks.cases import REGIMES, Arrays, Case
from checks.contract import GATES, GRADIENTS, LAST, OUTPUTS, PARAMETERS, Target
from checks.faults.catalogue import FAULTS
from checks.faults.model import FILES, Fault, evaluate, fault_target
from checks.faults.slips import slips

TENSORS = (*OUTPUTS, *GRADIENTS)
PARAMETER_GRADIENTS = tuple("d" + name for name in PARAMETERS)

ENOUGH = 30
"""On how many fresh failing cases a line is tried, where as many can be found."""
FEWEST = 4
"""Fewer fresh failing cases than that judge nothing."""
HOLDS = 0.95
"""Share of them on which a line must hold. Not all: on one in some tens rounding or a tie hides what is so."""
LARGER = 5.0
"""How many times the tolerance an error must be for a case to tell an explanation from none."""
EXPLAINED = 0.1
"""Share of an error that an explanation may leave; the null test. What leaves most of it explains nothing."""
SOUGHT = 400
"""How many fresh cases are looked at to find failing ones."""


class Said(StrEnum):
    """What a line is worth."""

    HELPFUL = "true and helpful"
    NO_USE = "true and of no use"
    MISLEADING = "misleading"
    FALSE = "false"
    UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Verdict:
    """What a line is worth, and why in words."""

    said: Said
    why: str = ""


@dataclass(frozen=True)
class Truth:
    """What is known of a planted fault, by whoever planted it.

    Attributes
    ----------
    faults : tuple of Fault
        The catalogued faults or slips that it is, if it is any; then nothing else need be known.
    tensors : frozenset of str or None
        The tensors that it can make wrong; None for any.
    forward : str
        The gates whose own values are wrong in the forward pass; "" if none, None where that is not known.
    deltas : str
        The gates whose cotangents are wrong where they arise; "" if none (the sums made of them are wrong).
    sizes : str
        The sizes (letters of m, s, e, u) that decide whether it shows.
    values : bool
        Whether it hangs on values which of them are wrong, at equal sizes.
    calls, random : bool
        Whether it hangs on the calls before; whether on chance.
    rounding : bool
        Whether its errors are those of a shorter format or of a coarse function.
    near : tuple of str
        Catalogued faults that it is true to name as like it.
    words : tuple of str
        Regular expressions; a line in which one is found says what is planted, whatever form it has.
    """

    faults: tuple[Fault, ...] = ()
    tensors: frozenset[str] | None = None
    forward: str | None = None
    deltas: str | None = None
    sizes: str | None = None
    values: bool = False
    calls: bool = False
    random: bool = False
    rounding: bool = False
    near: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What a target gave on a case and what was due, in float64, with what is accepted."""

    case: Case
    arrays: Arrays
    came: dict[str, Any]
    due: dict[str, Any]
    accepted: dict[str, Any]
    wrong: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def telling(self) -> bool:
        """Whether some error is clearly above its tolerance."""
        return any(self.share(name) > LARGER for name in self.wrong)

    def share(self, name: str) -> float:
        """Return the largest error of a tensor, in tolerances."""
        with np.errstate(all="ignore"):
            share = np.abs(self.came[name] - self.due[name]) / self.accepted[name]
        return float(np.max(np.where(np.isnan(share), np.inf, share), initial=0))


def _rho(dtype: str) -> float:
    """Return the unit roundoff of a dtype."""
    return tolerance.UNIT_ROUNDOFF[dtype]


@lru_cache(maxsize=4096)
def _due(case: Case) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Return what is due on a case, what is accepted, and whether rounding drowns it."""
    expected = oracles.expect(case)
    accepted = {n: tolerance.accepted(sd, case.dtype) for n, sd in expected.sd.items()}
    return expected.values, accepted, expected.chaotic(GRADIENTS) or expected.chaotic(OUTPUTS)


def look(target: Target, case: Case, arrays: Arrays | None = None) -> Seen | None:
    """Return what one call of a target gives on a case, or on other values of its sizes; None if it cannot be judged."""
    due, accepted, chaotic = _due(case)
    if chaotic:
        return None
    if arrays is None:
        arrays = case.arrays
    else:
        with np.errstate(all="ignore"):
            due = oracles.evaluate_reference(arrays.astype(np.float64))
        accepted = {
            n: accepted[n] + np.max(accepted[n]) + 64 * _rho(case.dtype) * np.max(np.abs(due[n]), initial=0)
            for n in due
        }
    return _seen(case, arrays, call_target(target, arrays.copy(), case.sequences), due, accepted)


def _seen(case: Case, arrays: Arrays, outcome: Any, due: Mapping[str, Any], accepted: Mapping[str, Any]) -> Seen:
    """Return what an outcome is, beside what was due."""
    came, wrong, kept_due, kept_accepted = {}, {}, {}, {}
    for name in TENSORS:
        value = outcome.values.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        wanted, limit = due[name], accepted[name]
        if name == "h" and value.ndim == 2 and wanted.ndim == 3:
            wanted, limit = wanted[:, -1], limit[:, -1]
        if value.shape != wanted.shape:
            continue
        value = value.astype(np.float64)
        came[name], kept_due[name], kept_accepted[name] = value, wanted, limit
        with np.errstate(all="ignore"):
            mask = ~(np.abs(value - wanted) <= limit)
        if mask.any():
            wrong[name] = mask
    return Seen(case, arrays, came, kept_due, kept_accepted, wrong, outcome.error)


class Evidence:
    """A target with a planted fault, the case on which it was diagnosed, and fresh cases of every kind, made as asked.

    Parameters
    ----------
    make : callable
        Gives the target anew, as nobody has called it yet.
    case : Case
        On which it was diagnosed.
    truth : Truth
    """

    def __init__(self, make: Callable[[], Target], case: Case, truth: Truth) -> None:
        self.make, self.case, self.truth = make, case, truth
        self.target = make()
        self._seen: dict[Case, Seen | None] = {}

    def look(self, case: Case, **changed: Any) -> Seen | None:
        """Return what the target gives on a case, some of its arrays changed."""
        if changed:
            return look(self.target, case, case.arrays.replaced(**changed))
        if case not in self._seen:
            self._seen[case] = look(self.target, case)
        return self._seen[case]

    def cases(self, **fixed: Any) -> Iterator[Case]:
        """Yield fresh cases: of the failing case's kind, of its sizes but one, and of any sizes and regime."""
        rng = np.random.default_rng(11)
        own = self.case
        for k in range(SOUGHT):
            seed = 700_000 + k
            if k % 4 == 0:
                yield replace(own, **{"seed": seed, **fixed})
                continue
            if k % 4 == 1:
                size = "mseu"[k // 4 % 4]
                other = max(1, getattr(own, size) + int(rng.integers(-2, 4)))
                yield replace(own, **{"seed": seed, size: other, **fixed})
                continue
            m, s, e, u = (int(n) for n in rng.integers(1, (6, 8, 7, 7)))
            regime = str(rng.choice([r for r in REGIMES if r not in ("zero", "x100")]))
            cotangents = str(rng.choice(["every+h+C", "every+h+C", "every", "last+h+C", "C", "every+C"]))
            made = Case(m, s, e, u, own.dtype, regime, cotangents, bool(rng.integers(0, 4)), seed)
            yield replace(made, **fixed)

    def failing(self, count: int = ENOUGH, telling: bool = False, **fixed: Any) -> list[Seen]:
        """Return what the target gives on fresh cases that it fails, up to `count`."""
        found = []
        for case in self.cases(**fixed):
            seen = self.look(case)
            if seen is not None and seen.wrong and (seen.telling or not telling):
                found.append(seen)
                if len(found) == count:
                    break
        return found

    def right(self, count: int = ENOUGH) -> list[Seen]:
        """Return what the target gives on fresh cases that it passes."""
        found = []
        for case in self.cases():
            seen = self.look(case)
            if seen is not None and not seen.wrong and not seen.error:
                found.append(seen)
                if len(found) == count:
                    break
        return found

    def known_fault(self) -> tuple[Fault, ...]:
        """Return the faults planted, where they are of the catalogue or slips."""
        return self.truth.faults


# ---------------------------------------------------------------------------------------------------------------------
# Explanations that say every number: suspects, relations, "as if".


def _near(came: Any, value: Any, accepted: Any, dtype: str) -> bool:
    """Return whether what came is some value, to rounding."""
    if value.shape != came.shape:
        return False
    finite = np.isfinite(came)
    if not np.array_equal(finite, np.isfinite(value)):
        return False
    with np.errstate(all="ignore"):
        allowed = tolerance.FINGERPRINT * (accepted + np.max(accepted)) + 64 * _rho(dtype) * np.max(
            np.abs(value), where=finite, initial=0
        )
        return bool(np.all((np.abs(came - value) <= allowed) | ~finite))


def _distance(one: Any, other: Any) -> float:
    """Return the largest difference of two arrays where both are finite."""
    with np.errstate(all="ignore"):
        apart = np.abs(one - other)
    return float(np.max(apart, where=np.isfinite(apart), initial=0))


def explains(seen: Seen, name: str, value: Any) -> bool | None:
    """Return whether a value explains what came of a wrong tensor; None where the case cannot tell.

    To explain is to be what came, to rounding, and to leave next to nothing of the error: the right answer must fail.
    """
    if value.ndim > seen.came[name].ndim:
        value = value[:, -1]
    came, due = seen.came[name], seen.due[name]
    if value.shape != came.shape:
        return False
    if not np.array_equal(np.isfinite(came), np.isfinite(value)):
        return False
    if seen.share(name) <= LARGER:
        # Within some tolerances of what is due: as near to one as to the other, maybe.
        return None if _near(came, value, seen.accepted[name], seen.case.dtype) else False
    if np.isfinite(came).all() and _distance(came, value) > EXPLAINED * _distance(came, due):
        return False
    return _near(came, value, seen.accepted[name], seen.case.dtype) or (
        # Faults that magnify rounding have a tolerance of their own, which is not known: a thousandth of the error.
        _distance(came, value) <= 1e-6 * _distance(came, due)
    )


def _judge_share(found: Sequence[bool | None], what: str) -> Verdict | None:
    """Return a verdict where what holds is too little or cannot be judged; None where it holds."""
    told = [one for one in found if one is not None]
    if len(told) < FEWEST:
        return Verdict(Said.UNJUDGED, f"only {len(told)} fresh failing cases tell")
    share = sum(told) / len(told)
    if share >= HOLDS:
        return None
    said = Said.MISLEADING if share >= 0.6 else Said.FALSE
    return Verdict(said, f"{what} on {sum(told)} of {len(told)} fresh failing cases")


@lru_cache(maxsize=1)
def _slips_by_title() -> dict[str, list[Fault]]:
    """Return the slips by what they say."""
    found: dict[str, list[Fault]] = {}
    for file in FILES[1:]:
        for slip in slips(file):
            found.setdefault(slip.title.rstrip("."), []).append(slip)
    return found


def named_faults(words: str) -> list[tuple[Fault, ...]]:
    """Return the faults that "id: title" or "id and id: title and title" may name; several where titles are shared."""
    ids, _, titles = words.partition(": ")
    parts = ids.split(" and ")
    found: list[list[Fault]] = []
    rest = titles
    for id_ in parts:
        if id_ in FAULTS:
            found.append([FAULTS[id_]])
            rest = rest.removeprefix(FAULTS[id_].title.rstrip(".")).removeprefix(" and ")
        elif id_ == "slip":
            fitting = [t for t in _slips_by_title() if rest == t or rest.startswith((t + " and ", t + "  ", t + "."))]
            if not fitting:
                return []
            title = max(fitting, key=len)
            found.append(_slips_by_title()[title])
            rest = rest.removeprefix(title).removeprefix(" and ")
        else:
            return []
    combos: list[tuple[Fault, ...]] = [()]
    for options in found:
        combos = [(*combo, one) for combo in combos for one in options]
    return combos


def _values_with(faults: tuple[Fault, ...], arrays: Arrays) -> dict[str, Any] | None:
    """Return what the reference with faults gives; None where they cannot be planted together."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(faults, arrays.astype(np.float64))
    except ValueError:
        return None


def reproduces(faults: tuple[Fault, ...], seen: Seen) -> bool | None:
    """Return whether the reference with faults gives what came, in the wrong tensors and the right ones."""
    values = _values_with(faults, seen.arrays)
    if values is None:
        return False
    told: list[bool | None] = []
    for name, came in seen.came.items():
        value = values[name][:, -1] if values[name].ndim > came.ndim else values[name]
        if name in seen.wrong:
            told.append(explains(seen, name, value))
        elif not _near(came, value, seen.accepted[name], seen.case.dtype):
            return False
    if False in told:
        return False
    return True if True in told else None


def _calls(target: Target, cases: Sequence[Case]) -> list[Any]:
    """Return what a target gives, called as `verify` calls it on one case after the other."""
    found = []
    for case in cases:
        arrays = case.arrays.copy()
        earlier = call_over_other_values(target, arrays, case)
        answer = call_target(target, arrays, case.sequences)
        changed = [n for n, v in arrays.inputs.items() if not same_bits(v, case.arrays.inputs[n])]
        kept = sorted({*overwritten(earlier), *overwritten(answer)})
        between = call_target(target, another_shape(case).arrays.copy(), case.sequences)
        again = call_target(target, case.arrays.copy(), case.sequences)
        kept += [name + " later" for name in overwritten(answer)]
        found.append((changed, list(answer.written), kept, [o.values for o in (earlier, answer, between, again)]))
    return found


def does_the_same(make: Callable[[], Target], faults: tuple[Fault, ...], cases: Sequence[Case]) -> tuple[bool, bool]:
    """Return whether a fresh target does as the reference with faults in the same calls, and whether any shows."""
    theirs, plain = _calls(make(), cases), _calls(fault_target(), cases)
    due = _calls(fault_target(*faults), cases)
    return _same_calls(theirs, due), not _same_calls(due, plain)


def _same_calls(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two protocols of calls have the same in them, to rounding."""
    for left, right in zip(one, other, strict=True):
        if left[0] != right[0] or sorted(left[1]) != sorted(right[1]) or bool(left[2]) != bool(right[2]):
            return False
        for came, due in zip(left[3], right[3], strict=True):
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
    ids = {fault.id for fault in suspect if fault.id in FAULTS}
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
    if sure.startswith("fits the pattern"):
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
    if (refused := _judge_share(told, "reproduces what came")) is not None:
        if same:
            return Verdict(Said.HELPFUL, "it is planted")
        if refused.said is Said.UNJUDGED and None in told and False not in told:
            return Verdict(Said.FALSE, "changes nothing that could be told from rounding")
        return Verdict(Said.FALSE, refused.why) if refused.said is not Said.UNJUDGED else refused
    # What is right with the target must be right with the suspect, too.
    elsewhere = [s for s in evidence.right() if _values_with(suspect, s.arrays) is not None]
    broken = sum(not _right_with(suspect, s) for s in elsewhere)
    if elsewhere and broken > (1 - HOLDS) * len(elsewhere):
        return Verdict(Said.FALSE, f"would be wrong on {broken} of {len(elsewhere)} fresh cases that are right")
    return Verdict(Said.HELPFUL)


def _right_with(faults: tuple[Fault, ...], seen: Seen) -> bool:
    """Return whether the reference with faults gives what is due, which came."""
    values = _values_with(faults, seen.arrays)
    assert values is not None
    return all(
        _near(
            seen.due[n],
            values[n][:, -1] if values[n].ndim > seen.due[n].ndim else values[n],
            seen.accepted[n],
            seen.case.dtype,
        )
        for n in seen.due
    )


Value = Callable[[Evidence, Seen, str], Any]
"""What a sentence says that a tensor is, on a case; None where the case is of no size that it speaks of."""

NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
NAME = r"(?:h|Cn|d?[UVb][figo]|d?X|d?h0|d?C0|dhn?|dCn)"
NAMES = rf"{NAME}(?:(?:, | and ){NAME})*"
AXIS = "samples|steps|elements|units|rows"


def _axis(name: str, ndim: int, label: str) -> int | None:
    """Return which axis of a tensor runs over something; None if none does."""
    kinds = {"U": ("elements", "units"), "V": ("rows", "units"), "b": ("", "units")}
    if name[0] == "d" and name[1:2] in kinds and len(name) == 3:
        labels = kinds[name[1]]
    else:
        labels = {"X": ("samples", "steps", "elements"), "h": ("samples", "steps", "units")}.get(
            name.removeprefix("d"), ("samples", "units")
        )
        labels = labels if len(labels) == ndim else ("samples", "units")
    return labels.index(label) if label in labels else None


def _shifted(value: Any, axis: int, by: int, end: str) -> Any:
    """Return an array moved by one place along an axis, turned round or with zero at the end."""
    moved = np.roll(value, by, axis)
    if end.startswith("zero") or end.startswith("with zero"):
        edge: list[Any] = [slice(None)] * value.ndim
        edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
        moved[tuple(edge)] = 0
    return moved


def _factors(text: str, case: Case) -> list[float]:
    """Return what a factor in words, "1/(m s) = 2", is on a case."""
    names = {"m": case.m, "s": case.s, "e": case.e, "u": case.u}
    found = []
    for word in text.split(" = "):
        plain = re.sub(r"(?<=[a-z0-9]) (?=[a-z])", "*", word).replace("^", "**")
        if not re.fullmatch(r"[-mseu0-9/*().qrt+]+", plain):
            continue
        found.append(float(eval(plain, {"__builtins__": {}, "sqrt": np.sqrt}, names)))
    return found


def _before(arrays: Arrays) -> dict[str, Any]:
    """Return what was due in the call before, over other values in the same arrays."""
    copy = arrays.copy()
    other_values(copy)
    with np.errstate(all="ignore"):
        return oracles.evaluate_reference(copy.astype(np.float64))


def _last(value: Any, like: Any) -> Any:
    """Return the last step of a value where what it is compared with has no steps."""
    return value[:, -1] if value.ndim > like.ndim else value


def _short(words: str, x: Any) -> Any:
    """Return numbers in a shorter format; bfloat16 cut off."""
    with np.errstate(all="ignore"):
        if words == "bfloat16":
            bits = x.astype(np.float32).view(np.uint32)
            return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
        return x.astype(words).astype(np.float64)


def _relation_value(said: str) -> Value | None:
    """Return what a relation, "is 2 times what is due", says that a tensor is; None if it is of no known form."""
    if said == "is zero throughout":
        return lambda ev, seen, name: 0 * seen.due[name]
    if match := re.fullmatch(rf"holds the value of ({NAME})(, transposed)?", said):
        other, turned = match[1], bool(match[2])

        def held(ev: Evidence, seen: Seen, name: str) -> Any:
            value = seen.due[other].T if turned else seen.due[other]
            return value if value.shape == seen.due[name].shape else None

        return held
    if match := re.fullmatch(r"is (.+) times what is due(?: on (\S+))?", said):
        return _multiple(match[1], match[2])
    if match := re.fullmatch(r"is transposed(, with its sign reversed)?", said):
        sign = -1 if match[1] else 1
        return lambda ev, seen, name: (
            sign * seen.due[name].T if seen.due[name].shape == seen.due[name].shape[::-1] else None
        )
    if said == "has its entries in the order of the transpose":
        return lambda ev, seen, name: seen.due[name].T.reshape(seen.due[name].shape)
    if match := re.fullmatch(rf"has its ({AXIS}) in reverse order", said):
        label = match[1]
        return lambda ev, seen, name: _along(seen, name, label, lambda v, k: np.flip(v, k))
    if match := re.fullmatch(
        rf"has its ({AXIS}) one place (late|early), (the one at the end moved.*|with zero.*)", said
    ):
        label, by, end = match[1], 1 if match[2] == "late" else -1, match[3]
        return lambda ev, seen, name: _along(seen, name, label, lambda v, k: _shifted(v, k, by, end), 3)
    if match := re.fullmatch(rf"has its ({AXIS}) in the order (\d+(?:, \d+)*)", said):
        label, order = match[1], [int(k) - 1 for k in match[2].split(", ")]
        return lambda ev, seen, name: _along(
            seen, name, label, lambda v, k: np.take(v, order, k) if v.shape[k] == len(order) else None
        )
    if said == "is what was due in the call before":
        return lambda ev, seen, name: _last(_before(seen.arrays)[name], seen.due[name])
    if said == "is what is due plus what was due in the call before":
        return lambda ev, seen, name: seen.due[name] + _last(_before(seen.arrays)[name], seen.due[name])
    if match := re.fullmatch(rf"is what is due (plus|minus) ({NAME})", said):
        sign, other = 1 if match[1] == "plus" else -1, match[2]
        return lambda ev, seen, name: (
            seen.due[name] + sign * seen.due[other] if seen.due[other].shape == seen.due[name].shape else None
        )
    if match := re.fullmatch(rf"is what is due (plus|minus) ({NUMBER}) in every entry", said):
        number = float(match[2]) * (1 if match[1] == "plus" else -1)
        return lambda ev, seen, name: _if_printed(seen, name, seen.due[name], number)
    if match := re.fullmatch(rf"is cut off at ±({NUMBER})", said):
        limit = float(match[1])
        return lambda ev, seen, name: np.clip(seen.due[name], -_exact(seen, name, limit), _exact(seen, name, limit))
    return None


def _exact(seen: Seen, name: str, printed: float) -> float:
    """Return the limit that was printed in four digits: the largest entry, where that is it."""
    largest = float(np.max(np.abs(seen.came[name]), initial=0))
    return largest if abs(largest - printed) <= 1e-3 * abs(printed) else printed


def _if_printed(seen: Seen, name: str, due: Any, printed: float) -> Any:
    """Return what is due and a constant, which was printed in four digits, added."""
    constant = float(np.median(seen.came[name] - seen.due[name]))
    return due + (constant if abs(constant - printed) <= 1e-3 * abs(printed) else printed)


def _along(seen: Seen, name: str, label: str, move: Callable[[Any, int], Any], least: int = 2) -> Any:
    """Return what is due moved along an axis; None where the tensor has no such axis, or a short one."""
    axis = _axis(name, seen.due[name].ndim, label)
    if axis is None or seen.due[name].shape[axis] < least:
        return None
    return move(seen.due[name], axis)


def _multiple(words: str, on: str | None) -> Value:
    """Return what a multiple of what is due is; the factor is solved for where it was printed in a few digits."""

    def value(evidence: Evidence, seen: Seen, name: str) -> Any:
        case, due, came = seen.case, seen.due[name], seen.came[name]
        if on is not None and case.dims != Case.parse(on).dims:
            return None
        for factor in _factors(words, case):
            if re.fullmatch(NUMBER, words) and "." in words:
                weight = due / seen.accepted[name]
                total = float(np.sum(weight * weight))
                estimate = float(np.sum(weight * came / seen.accepted[name])) / total if total else factor
                # As printed: four digits of the factor, or three of its difference from 1.
                if abs(estimate - factor) <= max(1e-2 * abs(factor - 1), 1e-15) + 1e-3 * abs(factor) * (
                    abs(factor - 1) >= 1e-2
                ):
                    factor = estimate
            result = factor * due
            if explains(seen, name, result):
                return result
        return result if _factors(words, case) else None

    return value


def _names(text: str) -> tuple[list[str], str]:
    """Return the tensors that a sentence is about and what it says of them, in the singular."""
    if match := re.match(rf"(?:each of )?\d+ tensors, ({NAME}(?:, {NAME})*) and others, ", text):
        return match[1].split(", "), _singular(text[match.end() :])
    if match := re.match(rf"({NAMES})(?: each)? (?=is |has |have |holds |lacks? |came )", text):
        return re.split(", | and ", match[1]), _singular(text[match.end() :])
    return [], text


def _singular(said: str) -> str:
    """Return what is said of one tensor."""
    return re.sub(r"\bhave (?=the part|its)", "has ", re.sub(r"^lack ", "lacks ", said))


def judge_relation(evidence: Evidence, text: str) -> Verdict:
    """Judge what a line says of tensors: a factor, another's value, a part that is lacking, as if something were."""
    if match := re.fullmatch(
        r"for cotangents of (every step's h|the final h|the final memory state) alone, (.*)", text
    ):
        kind = {"every step's h": "every", "the final h": "h", "the final memory state": "C"}[match[1]]
        return judge_relation(_Only(evidence, cotangents=kind), match[2])
    for judge in (_as_if, _as_with_slip, _of_norm, _of_gate_order, _of_parts):
        if (verdict := judge(evidence, text)) is not None:
            return verdict
    names, said = _names(text)
    if not names:
        return Verdict(Said.UNJUDGED, "no known form")
    if said.startswith("is off by as much as float32"):
        return _of_float32_size(evidence, names)
    if match := re.fullmatch(r"is right but for being in (float32|float16|bfloat16) only", said):
        return _over_failing(evidence, names, lambda ev, seen, name: _rounded(seen, name, match[1]))
    value = _relation_value(said)
    if value is None:
        return Verdict(Said.UNJUDGED, "no known form")
    return _over_failing(evidence, names, value)


class _Only(Evidence):
    """The same evidence, of cases with some fields fixed."""

    def __init__(self, evidence: Evidence, **fixed: Any) -> None:
        super().__init__(evidence.make, evidence.case, evidence.truth)
        # What was asked already need not be asked again.
        self.target, self._seen, self.fixed = evidence.target, evidence._seen, fixed

    def cases(self, **fixed: Any) -> Iterator[Case]:
        """Yield fresh cases of that kind."""
        return super().cases(**self.fixed, **fixed)


def _rounded(seen: Seen, name: str, words: str) -> Any:
    """Return what came where it is what is due, rounded; else what is due."""
    bits = {"float32": 24, "float16": 11, "bfloat16": 8}[words]
    came, due = seen.came[name], seen.due[name]
    held = np.array_equal(_short(words, came), came)
    near = np.abs(came - due) <= 2.0 ** (1 - bits) * 1.001 * np.abs(due) + 2.0**-24 * (bits == 11) + 1e-37
    return came if held and np.all(near) else due


def _over_failing(evidence: Evidence, names: Sequence[str], value: Value) -> Verdict:
    """Judge that tensors are some value: on fresh cases on which they are wrong."""
    for name in names:
        told: list[bool | None] = []
        applicable = 0
        for seen in evidence.failing(SOUGHT if len(names) == 1 else ENOUGH * 2, **_sizes_of(evidence, value)):
            if name not in seen.wrong:
                continue
            if not np.isfinite(seen.came[name]).all():
                told.append(None)
                continue
            wanted = value(evidence, seen, name)
            if wanted is None:
                continue
            applicable += 1
            told.append(explains(seen, name, wanted))
            if applicable >= ENOUGH:
                break
        if not told:
            if any(name in s.wrong for s in [evidence.look(evidence.case)] if s is not None):
                return Verdict(Said.UNJUDGED, f"{name} is wrong on no fresh case of a size that is spoken of")
            return Verdict(Said.FALSE, f"{name} is wrong on no fresh case")
        if told.count(None) == len(told):
            return Verdict(Said.MISLEADING, "holds, if at all, of errors of the size of rounding")
        if (refused := _judge_share(told, f"holds of {name}")) is not None:
            return refused
    return Verdict(Said.HELPFUL)


def _sizes_of(evidence: Evidence, value: Value) -> dict[str, Any]:
    """Return which sizes a value speaks of, where it speaks of some alone."""
    cells = dict(zip(value.__code__.co_freevars, (c.cell_contents for c in value.__closure__ or ()), strict=True))
    if "order" in cells:
        size = {"samples": "m", "steps": "s", "elements": "e", "units": "u", "rows": "u"}[cells["label"]]
        return {size: len(cells["order"])}
    if isinstance(cells.get("on"), str):
        return dict(zip("mseu", Case.parse(cells["on"]).dims, strict=True))
    return {}


def _of_float32_size(evidence: Evidence, names: Sequence[str]) -> Verdict:
    """Judge that errors are of float32's size."""
    for name in names:
        sizes = [
            _distance(seen.came[name], seen.due[name]) / (seen.accepted[name].max() * 2.0**29)
            for seen in evidence.failing()
            if name in seen.wrong
        ]
        if not sizes or np.mean([1e-4 < size <= 4 for size in sizes]) < HOLDS:
            return Verdict(Said.FALSE, f"{name} is off by {np.median(sizes or [0]):.2g} of what float32 would be")
    if evidence.truth.rounding or any(fault.family == "precision" for fault in evidence.known_fault()):
        return Verdict(Said.HELPFUL)
    return Verdict(Said.MISLEADING, "of float32's size, and no rounding")


def _as_if(evidence: Evidence, text: str) -> Verdict | None:
    """Judge "all is as if NAME were WORDS", of inputs or cotangents."""
    match = re.fullmatch(r"(all is|h and Cn are) as if (.+?) were (.+?)( within the layer)?", text)
    if match is None:
        return None
    whole, subject, change, inside = match[1] == "all is", match[2], match[3], bool(match[4])
    names = _subjects(subject)
    if not names:
        return Verdict(Said.UNJUDGED, "no known input")
    told: list[bool | None] = []
    for seen in evidence.failing():
        named = seen.arrays.inputs | seen.arrays.cotangents
        changed = {name: _change(named, name, change, seen.case) for name in names}
        if any(value is None for value in changed.values()):
            return Verdict(Said.UNJUDGED, "no known change")
        values = oracles.evaluate_reference(seen.arrays.replaced(**changed).astype(np.float64))
        if inside:
            for name in names:
                factor = _factors(change.removesuffix(" times as large"), seen.case)[0]
                values["d" + name] = values["d" + name] * factor
        told.append(_all_explained(seen, values, TENSORS if whole else OUTPUTS))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _all_explained(seen: Seen, values: Mapping[str, Any], names: Sequence[str]) -> bool | None:
    """Return whether values are what came in all of some tensors, the right ones included."""
    told: list[bool | None] = []
    for name in names:
        if name not in seen.came:
            continue
        value = _last(values[name], seen.came[name])
        if name in seen.wrong:
            told.append(explains(seen, name, value))
        elif not _near(seen.came[name], value, seen.accepted[name], seen.case.dtype):
            return False
    if False in told:
        return False
    return True if True in told else None


def _subjects(text: str) -> list[str]:
    """Return the inputs or cotangents that words name."""
    if match := re.fullmatch(r"all ([UVb])", text):
        return [match[1] + gate for gate in GATES]
    names = re.split(", | and ", text)
    known = {*PARAMETERS, "X", "h0", "C0", "dh", "dhn", "dCn"}
    return names if set(names) <= known else []


def _change(named: Mapping[str, Any], name: str, words: str, case: Case) -> Any:
    """Return what an array would be, by what is said that it were; None if that is of no known form."""
    value = named[name]
    plain = {
        "zero": lambda: value * 0,
        "negated": lambda: -value,
        "twice as large": lambda: value * 2,
        "half as large": lambda: value / 2,
        "its absolute value": lambda: np.abs(value),
        "its tanh": lambda: np.tanh(value),
        "larger by 1": lambda: value + 1,
        "smaller by 1": lambda: value - 1,
        "transposed": lambda: value.T.copy() if value.shape == value.shape[::-1] else value,
        "read row by row as if it were its transpose": lambda: value.reshape(value.shape[::-1]).T.copy(),
        "that of its first sample for all": lambda: np.broadcast_to(value[:1], value.shape).copy(),
    }
    if words in plain:
        return plain[words]()
    if words in named:
        return named[words] if named[words].shape == value.shape else value
    if words.endswith(" times as large"):
        factors = _factors(words.removesuffix(" times as large"), case)
        return value * factors[0] if factors else None
    axes = {"samples": 0, "steps": 1, "elements": value.ndim - 1, "units": value.ndim - 1}
    if match := re.fullmatch(r"given with its (\w+) in reverse order", words):
        return np.flip(value, axes[match[1]]).copy()
    if match := re.fullmatch(r"given with its (\w+) one place (late|early), (turning round|zero at the end)", words):
        axis = axes[match[1]]
        return _shifted(value, axis, 1 if match[2] == "late" else -1, match[3]) if value.shape[axis] > 1 else value
    return None


def _as_with_slip(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that the outputs came as with a slip in the forward pass."""
    match = re.fullmatch(r"h and Cn came as with a slip: (.*)", text)
    if match is None:
        return None
    titles = match[1].split(" or ")
    failing = evidence.failing()
    for title in titles:
        tried = _slips_by_title().get(title.rstrip("."), [])
        if not tried:
            return Verdict(Said.UNJUDGED, f"no such slip: {title}")
        for slip in tried:
            told = [_all_explained(s, values, OUTPUTS) for s in failing if (values := _values_with((slip,), s.arrays))]
            if _judge_share(told, "") is None:
                break
        else:
            return _judge_share(told, f"{title!r} is so")
    return Verdict(Said.HELPFUL)


def _of_norm(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that all parameters' gradients are clipped by their norm."""
    match = re.fullmatch(rf"the norm of all parameters' gradients together is ({NUMBER}): clipped", text)
    if match is None:
        return None
    told = []
    for seen in evidence.failing():
        if any(n in seen.wrong for n in PARAMETER_GRADIENTS):
            norm = np.sqrt(sum(np.sum(np.square(seen.came[n])) for n in PARAMETER_GRADIENTS if n in seen.came))
            told.append(bool(abs(norm - float(match[1])) < 1e-6 * norm))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _of_gate_order(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that gradients come in another order of gates."""
    match = re.fullmatch(r"the gradients come in the order ([figo](?:, [figo]){3}) where f, i, g, o was due", text)
    if match is None:
        return None
    order = match[1].split(", ")
    told = []
    for seen in evidence.failing():
        values = dict(seen.due)
        for kind in "UVb":
            values |= {f"d{kind}{g}": seen.due[f"d{kind}{o}"] for g, o in zip(GATES, order, strict=True)}
        told.append(_all_explained(seen, values, PARAMETER_GRADIENTS))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def passes(arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the reference keeps of a forward and a backward pass, in float64."""
    from lstm_ref import lstm_backward, lstm_forward

    arrays = arrays.astype(np.float64)
    with np.errstate(all="ignore"):
        fc = lstm_forward(arrays.p, arrays.X, arrays.h0, arrays.C0)
        return fc, lstm_backward(arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)


def _of_parts(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that sums lack parts, have them several times, or came as if made with something moved."""
    names, said = _names(text)
    if not names:
        return None
    if match := re.fullmatch(r"came as if made with (.+)", said):
        return _over_failing(evidence, names, lambda ev, seen, name: _made_with(seen, name, match[1]))
    pieces = said.split(", ")
    weights: list[tuple[str, list[str], int, float]] = []
    for piece in pieces:
        match = re.fullmatch(
            rf"(?:lacks?|has|have) the part of (gate|step|sample|unit)s? ([figo\d]+(?:(?:, | and )[figo\d]+)*)"
            rf"(?: of (\d+))?(?: ({NUMBER}) times)?",
            piece,
        )
        if match is None:
            return None
        which = re.split(", | and ", match[2])
        weights.append((match[1], which, int(match[3] or 4), 0.0 if "lack" in piece else float(match[4])))
    size = {"step": "s", "sample": "m", "unit": "u", "gate": None}[weights[0][0]]
    of = _fixed(evidence, **({size: weights[0][2]} if size else {}))
    return _over_failing(of, names, lambda ev, seen, name: _weighted(seen, name, weights))


def _fixed(evidence: Evidence, **sizes: int) -> Evidence:
    """Return the evidence of cases of some sizes."""
    return _Only(evidence, **sizes) if sizes else evidence


def _part(seen: Seen, name: str, left: Any = None, weights: Mapping[str, Any] | None = None) -> Any:
    """Return a parameter's gradient, dX or dh0 as the array of its parts: (gate or 1, m, s, units, ...)."""
    fc, bc = passes(seen.arrays)
    if name[1:2] in "UVb" and len(name) == 3:
        delta = bc[f"d{name[2]}_"]
        made = {"U": fc["X"], "V": fc["hp"], "b": np.ones((*delta.shape[:2], 1))}[name[1]] if left is None else left
        return np.einsum("nti,ntj->ntij", made, delta)
    kind, at = ("U", slice(None)) if name == "dX" else ("V", 0)
    p = dict(seen.arrays.p) | dict(weights or {})
    return np.stack([bc[f"d{k}_"][:, at][..., None, :] * p[kind + k].astype(np.float64) for k in GATES])


def _weighted(seen: Seen, name: str, weights: Sequence[tuple[str, list[str], int, float]]) -> Any:
    """Return a sum of parts with some weighed otherwise than once."""
    parts = _part(seen, name)
    kind = weights[0][0]
    axis = (
        {"sample": 0, "step": 1}.get(kind) if name[1:2] in "UVb" and len(name) == 3 else {"gate": 0, "unit": -1}[kind]
    )
    if axis is None:
        return None
    for _, which, of, weight in weights:
        if parts.shape[axis] != of:
            return None
        places = [GATES.index(w) if kind == "gate" else int(w) - 1 for w in which]
        scale = np.ones(of)
        scale[places] = weight
        parts = parts * scale.reshape([-1 if k == axis % parts.ndim else 1 for k in range(parts.ndim)])
    return parts.sum((0, 1)) if name[1:2] in "UVb" and len(name) == 3 else parts.sum((0, -1))


def _made_with(seen: Seen, name: str, words: str) -> Any:
    """Return a sum as if made with X or the hidden states moved, or with another gate's weights."""
    if match := re.fullmatch(r"([UV])([figo]) (transposed|in place of [UV]([figo]))", words):
        kind, gate, other = match[1], match[2], match[4]
        p = seen.arrays.p
        if other is None:
            W = p[kind + gate]
            return _part(seen, name, weights={kind + gate: W.T}).sum((0, -1)) if W.shape[0] == W.shape[1] else None
        return _part(seen, name, weights={kind + other: p[kind + gate]}).sum((0, -1))
    match = re.fullmatch(
        rf"(X|the hidden states) with its ({AXIS}) (in reverse order|one place (late|early), (.*))", words
    )
    if match is None:
        return None
    fc, _ = passes(seen.arrays)
    value, axis = fc["X"] if match[1] == "X" else fc["hp"], {"samples": 0, "steps": 1}[match[2]]
    if value.shape[axis] < 3:
        return None
    if match[4] is None:
        left = np.flip(value, axis)
    else:
        left = _shifted(value, axis, 1 if match[4] == "late" else -1, match[5])
    return _part(seen, name, left=left).sum((0, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Readings of the parameters.


def _logistic(x: Any) -> Any:
    """Return the logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "a hard sigmoid, clip(0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "a hard sigmoid, clip(x / 6 + 0.5)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    "the identity": lambda x: x,
    "the logistic function": _logistic,
    "max(x, 0)": lambda x: np.maximum(x, 0),
    "clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
}


def forward_pass(
    p: Mapping[str, Any],
    X: Any,
    h: Any,
    C: Any,
    logistic: Any = _logistic,
    candidate: Any = np.tanh,
    output: Any = np.tanh,
) -> tuple[Any, Any]:
    """Return h (m, s, u) and the final memory of an LSTM with other activations, in plain NumPy."""
    trace = []
    for t in range(X.shape[1]):
        f, i, g, o = (X[:, t] @ p["U" + k] + h @ p["V" + k] + p["b" + k] for k in GATES)
        C = logistic(f) * C + logistic(i) * candidate(g)
        h = logistic(o) * output(C)
        trace.append(h)
    return np.stack(trace, axis=1), C


def judge_layout(evidence: Evidence, text: str) -> Verdict:
    """Judge a reading of the parameters: that so read, h and Cn are right."""
    match = re.fullmatch(r"(.*): so read, (h|h and Cn) (?:is|are) right", text)
    if match is None:
        return Verdict(Said.UNJUDGED, "no known form")
    told: list[bool | None] = []
    for seen in evidence.failing():
        values = _read(seen.arrays.astype(np.float64), match[1].split("; "))
        if values is None:
            return Verdict(Said.UNJUDGED, "no known reading")
        told.append(_all_explained(seen, values, OUTPUTS))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _read(arrays: Arrays, said: Sequence[str]) -> dict[str, Any] | None:
    """Return the outputs under a reading; None if a part of it is of no known form."""
    p, h, C = dict(arrays.p), arrays.h0, arrays.C0
    functions: dict[str, Any] = {}
    turned = {
        "transposed where e is u": lambda W: W.T if W.shape[0] == W.shape[1] else W,
        "transposed": lambda W: W.reshape(W.shape[::-1]).T,
    }
    order: Sequence[str] = GATES
    for words in said:
        if match := re.fullmatch(r"you read the gates (\w,\w,\w,\w) where f,i,g,o was given", words):
            order = match[1].split(",")
        elif match := re.fullmatch(r"each ([UV]) (transposed(?: where e is u)?)", words):
            p |= {match[1] + k: turned[match[2]](p[match[1] + k]) for k in GATES}
        elif match := re.fullmatch(r"the biases (ignored|added twice)", words):
            p |= {"b" + k: p["b" + k] * (0 if match[1] == "ignored" else 2) for k in GATES}
        elif match := re.fullmatch(r"of the initial states, (.*)", words):
            h, C = {
                "h0 taken for C0 and C0 for h0": (C, h),
                "both ignored": (0 * h, 0 * C),
                "h0 ignored": (0 * h, C),
                "C0 ignored": (h, 0 * C),
            }[match[1]]
        elif match := re.fullmatch(r"in place of the (logistic function|candidate's tanh|memory's tanh), (.*)", words):
            place = {"logistic function": "logistic", "candidate's tanh": "candidate", "memory's tanh": "output"}
            functions[place[match[1]]] = FUNCTIONS[match[2]]
        elif words != "the forget gate's bias has 1 added to it at run time":
            return None
    read = {kind + gate: p[kind + other] for kind in "UVb" for gate, other in zip(GATES, order, strict=True)}
    if "the forget gate's bias has 1 added to it at run time" in said:
        read["bf"] = read["bf"] + 1
    with np.errstate(all="ignore"):
        h, C = forward_pass(read, arrays.X, h, C, **functions)
    return {"h": h, "Cn": C}


# ---------------------------------------------------------------------------------------------------------------------
# Patterns of sizes.

DRAWS = 12
"""For how many fresh draws of values a size is asked about."""


def _fails(evidence: Evidence, case: Case) -> bool | None:
    """Return whether a target fails a case by a value; None where rounding drowns it."""
    seen = evidence.look(case)
    return None if seen is None else bool(seen.wrong or seen.error)


def _share_failing(evidence: Evidence, case: Case, draws: int = DRAWS) -> float | None:
    """Return on which share of fresh draws of a case the target fails."""
    told = [_fails(evidence, replace(case, seed=710_000 + k)) for k in range(draws)]
    known = [one for one in told if one is not None]
    return sum(known) / len(known) if known else None


def judge_pattern(evidence: Evidence, text: str) -> Verdict:
    """Judge from which sizes on a failing case fails."""
    case = evidence.case
    if match := re.fullmatch(r"right at these sizes for (\d+) of (\d+) other draws of values", text):
        share = _share_failing(evidence, case, 24)
        if share is None:
            return Verdict(Said.UNJUDGED, "no draw can be judged")
        if share == 1 and int(match[1]) > 0 and not evidence.truth.random:
            return Verdict(Said.FALSE, "wrong for each of 24 fresh draws")
        if evidence.truth.calls and not evidence.truth.values:
            return Verdict(Said.MISLEADING, "it hangs on the calls, not on the values")
        return Verdict(Said.HELPFUL if evidence.truth.values or evidence.truth.random else Said.NO_USE)
    match = re.fullmatch(r"right at (.*), wrong (from|at) ((?:[mseu]=\d+ ?)+)", text)
    if match is None:
        return Verdict(Said.UNJUDGED, "no known form")
    right = [(size, int(n)) for size, n in re.findall(r"([mseu])=(\d+)", match[1])]
    wrong = [(size, int(n)) for size, n in re.findall(r"([mseu])=(\d+)", match[3])]
    return _judge_sizes(evidence, case, right, wrong, match[2] == "from")


def _judge_sizes(
    evidence: Evidence, case: Case, right: Sequence[tuple[str, int]], wrong: Sequence[tuple[str, int]], onwards: bool
) -> Verdict:
    """Judge that a target is right at some sizes and wrong at others, the rest as in a case."""
    sizes = {size for size, _ in (*right, *wrong)}
    known = evidence.truth.sizes
    if known is not None and not sizes <= set(known):
        return Verdict(Said.MISLEADING, f"{' and '.join(sorted(sizes - set(known)))} decides nothing")
    at = {size: n for size, n in wrong}
    share = _share_failing(evidence, replace(case, **at))
    if share is not None and share < 0.5:
        return Verdict(Said.FALSE, f"wrong for {share:.0%} of fresh draws where it is said to be wrong")
    for size, n in right:
        share = _share_failing(evidence, replace(case, **{size: n}))
        if share:
            return Verdict(Said.FALSE, f"wrong at {size}={n} for {share:.0%} of fresh draws")
    for size, n in wrong if onwards else ():
        for more in (1, 2, 5):
            share = _share_failing(evidence, replace(case, **{**at, size: n + more}), 6)
            if share == 0:
                return Verdict(Said.FALSE, f"right at {size}={n + more}, and said to be wrong from {size}={n}")
    rng = np.random.default_rng(5)
    for size, n in right:
        # Elsewhere, too: where one size is another's, or a product decides, one size alone says what is not so.
        for k in range(2 * DRAWS):
            others = {s: n if k % 4 == 0 else int(rng.integers(1, 6)) for s in "mseu"}
            if _fails(evidence, replace(case, seed=715_000 + k, **{**others, size: n})):
                return Verdict(Said.MISLEADING, f"wrong at {size}={n} with other sizes")
    return Verdict(Said.HELPFUL)


# ---------------------------------------------------------------------------------------------------------------------
# Places.


def _list(text: str) -> list[str]:
    """Return the words of a list in English."""
    return [word for word in re.split(r", and |, or |, | and | or ", text.strip()) if word]


def _numbers(text: str) -> list[int]:
    """Return the numbers, from 1, of "1, 2 and 3", from 0."""
    return [int(word) - 1 for word in _list(text)]


def _without_case(text: str) -> tuple[str, Case | None]:
    """Return a line without the case that it speaks of, and that case."""
    match = re.fullmatch(r"(.*?) \(case (\S+)\)", text)
    return (match[1], Case.parse(match[2])) if match else (text, None)


Judge = Callable[[Evidence, Any], Verdict]
WHERE: list[tuple[re.Pattern[str], Judge]] = []


def where(form: str) -> Callable[[Judge], Judge]:
    """Enter a judge of the lines of a form."""

    def enter(judge: Judge) -> Judge:
        WHERE.append((re.compile(form), judge))
        return judge

    return enter


def judge_where(evidence: Evidence, text: str) -> Verdict:
    """Judge a line of where, or whatever else is said in words of its own."""
    plain, case = _without_case(text)
    if case is not None:
        evidence = _Only(evidence, **dict(zip("mseu", case.dims, strict=True)), regime=case.regime)
    for form, judge in WHERE:
        if match := form.fullmatch(plain):
            return judge(evidence, match)
    return Verdict(Said.UNJUDGED, "no known form")


def _ever_wrong(evidence: Evidence) -> set[str]:
    """Return the tensors that are wrong on any fresh case."""
    return set().union(*(seen.wrong for seen in evidence.failing(60)), set())


@where(rf"only ({NAMES})(?: \(gate ([figo])\))? (?:is|are) ever wrong in \d+ cases of other shapes")
def _only_tensors(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which tensors are ever wrong."""
    said, ever = set(_list(match[1])), _ever_wrong(evidence)
    if ever - said:
        return Verdict(Said.FALSE, f"{', '.join(sorted(ever - said))} on fresh cases, too")
    if evidence.truth.tensors is not None and not said <= evidence.truth.tensors:
        return Verdict(Said.FALSE, f"planted in {', '.join(sorted(evidence.truth.tensors))}")
    return Verdict(Said.HELPFUL)


@where(r"only gradients of gates? ([figo](?:(?:, | and )[figo])*) are ever wrong in \d+ cases of other shapes")
def _only_gates(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge of which gates gradients are ever wrong."""
    said, ever = set(_list(match[1])), _ever_wrong(evidence)
    other = {name for name in ever if name not in PARAMETER_GRADIENTS or name[2] not in said}
    return Verdict(Said.FALSE, f"{', '.join(sorted(other))} on fresh cases, too") if other else Verdict(Said.HELPFUL)


@where(r"only gradients of parameters are ever wrong in \d+ cases of other shapes; dX, dh0 and dC0 are right")
def _only_parameters(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that only parameters' gradients are ever wrong."""
    other = _ever_wrong(evidence) - set(PARAMETER_GRADIENTS)
    return Verdict(Said.FALSE, f"{', '.join(sorted(other))} on fresh cases, too") if other else Verdict(Said.HELPFUL)


@where(r"wrong at (unit|row|element|sample)s? ([\d, and]+) of (\d+) alone")
def _entries(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge at which units, rows, elements or samples alone the wrong tensors are wrong."""
    label, said, count = match[1] + "s", set(_numbers(match[2])), int(match[3])
    size = {"units": "u", "rows": "u", "elements": "e", "samples": "m"}[label]
    told = []
    for seen in evidence.failing(**{size: count}):
        hits = set()
        for name, mask in seen.wrong.items():
            axis = _axis(name, mask.ndim, label)
            if axis is not None and mask.shape[axis] == count:
                hits |= {int(k) for k in np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))}
        if hits:
            told.append(hits <= said)
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _groups(words: str) -> tuple[str, ...]:
    """Return the arrays that a word of a line names: "h0", "all V"."""
    return tuple(words[-1] + gate for gate in GATES) if words.startswith("all ") else (words,)


@where(r"right where (?!every)(?:all )?(.+) (?:is|are) zero")
def _zeroed(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that an input or a cotangent need only be zero for the target to be right."""
    useless = []
    words = re.fullmatch(r"right where (.+) (?:is|are) zero", match[0])
    assert words is not None
    for word in _list(words[1]):
        names = _groups(word)
        told, idle = [], []
        for seen in evidence.failing():
            named = seen.arrays.inputs | seen.arrays.cotangents
            if any(name not in named for name in names):
                return Verdict(Said.UNJUDGED, f"no array {word}")
            if not any(named[name].any() for name in names):
                told.append(False)
                continue
            other = evidence.look(seen.case, **{name: np.zeros_like(named[name]) for name in names})
            if other is not None:
                told.append(not other.wrong)
                idle.append(all(not other.due[name].any() for name in seen.wrong))
        if (refused := _judge_share(told, f"right with {word} zero")) is not None:
            return refused
        useless.append(bool(idle) and np.mean(idle) > 0.5)
    return Verdict(Said.NO_USE, "all that is wrong is due to be zero there") if all(useless) else Verdict(Said.HELPFUL)


@where(r"right for cotangents (.+), so not linear in them")
def _of_size(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for how large cotangents, or of which sign, the target is right."""
    factors = {"2^-20 times as large": 2.0**-20, "2^20 times as large": 2.0**20, "of the other sign": -1.0}
    for words in re.split(r", | or ", match[1]):
        told = []
        for seen in evidence.failing():
            changed = {n: v * np.asarray(factors[words], v.dtype) for n, v in seen.arrays.cotangents.items()}
            other = evidence.look(seen.case, **changed)
            if other is not None:
                told.append(not other.wrong)
        if (refused := _judge_share(told, f"right for cotangents {words}")) is not None:
            return refused
    return Verdict(Said.HELPFUL)


def _one_step(case: Case, t: int) -> dict[str, Any]:
    """Return cotangents of one output step alone."""
    dh = np.zeros_like(case.arrays.dh)
    dh[:, t] = case.arrays.dh[:, t] if case.arrays.dh[:, t].any() else 1
    return {"dh": dh, "dhn": np.zeros_like(case.arrays.dhn), "dCn": np.zeros_like(case.arrays.dCn)}


@where(r"wrong for cotangents of output steps? ([\d, and]+) of (\d+) alone, right for those of the others")
def _output_steps(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for cotangents of which output steps, given alone, the target is wrong."""
    said, s = set(_numbers(match[1])), int(match[2])
    told, never = [], True
    for seen in evidence.failing(20, s=s, cotangents="every+h+C"):
        found = [evidence.look(seen.case, **_one_step(seen.case, t)) for t in range(s)]
        if None not in found:
            wrong = {t for t in range(s) if found[t] is not None and found[t].wrong}
            if wrong:
                never = False
                told.append(wrong == said)
    if never and told == []:
        return Verdict(Said.FALSE, "right for the cotangents of any one output step")
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(
    r"(dX is not zero at steps after the output whose cotangent is given|credit goes wrong [^:]*|dX goes wrong at "
    r"input steps? [^:]*|where credit goes wrong): ([x. ]+) \(a word an output step.*\)"
)
def _credit(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge a map of output steps and input steps."""
    words = match[2].split(" ")
    s = len(words)
    told = []
    for seen in evidence.failing(20, s=s, cotangents="every+h+C"):
        found = [evidence.look(seen.case, **_one_step(seen.case, t)) for t in range(s)]
        if any(one is None for one in found):
            continue
        marks = []
        for t, one in enumerate(found):
            mask = one.wrong.get("dX") if one is not None else None
            marks.append("".join("x" if mask is not None and mask[:, j].any() else "." for j in range(t + 1)))
        if any("x" in mark for mark in marks):
            told.append(marks == words)
    return _judge_share(told, "the map is so") or Verdict(Said.HELPFUL)


@where(r"right for cotangents of the outputs alone, wrong for the final (hidden and memory|hidden|memory) states?'s")
def _final_states(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes a final state's cotangent to go wrong."""
    said = {"hidden": "dhn", "memory": "dCn"}
    named = {said[word] for word in _list(match[1])}
    told = []
    for seen in evidence.failing():
        zero = {name: np.zeros_like(value) for name, value in seen.arrays.cotangents.items()}
        without = evidence.look(seen.case, dhn=zero["dhn"], dCn=zero["dCn"])
        if without is None:
            continue
        good = not without.wrong
        for name in named:
            alone = evidence.look(seen.case, **(zero | {name: np.ones_like(zero[name])}))
            good = good and alone is not None and bool(alone.wrong)
        told.append(good)
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _one_sample(case: Case, n: int) -> dict[str, Any]:
    """Return cotangents of one sample alone."""
    alone = {name: np.zeros_like(value) for name, value in case.arrays.cotangents.items()}
    for name, value in case.arrays.cotangents.items():
        alone[name][n] = value[n]
    return alone


@where(r"wrong for cotangents of samples? ([\d, and]+) of (\d+) alone, right for those of the others")
def _samples(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge for cotangents of which samples, given alone, the target is wrong."""
    said, m = set(_numbers(match[1])), int(match[2])
    told = []
    for seen in evidence.failing(20, m=m):
        found = [evidence.look(seen.case, **_one_sample(seen.case, n)) for n in range(m)]
        wrong = {n for n, one in enumerate(found) if one is not None and one.wrong}
        told.append(wrong == said)
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"right for the cotangents of any one sample alone, wrong for all together")
def _together(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes several samples' cotangents to go wrong."""
    told = []
    for seen in evidence.failing(20):
        found = [evidence.look(seen.case, **_one_sample(seen.case, n)) for n in range(seen.case.m)]
        told.append(not any(one is not None and one.wrong for one in found))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"h is right, the final memory state Cn is not")
def _only_memory(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that Cn is wrong and h is not."""
    told = ["h" not in seen.wrong and "Cn" in seen.wrong for seen in evidence.failing()]
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"h is wrong ((?:from step \d+ on|at (?:step|sample|unit)s? [\d, and]+ of \d+)(?:, .*)?)")
def _forward_places(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge at which steps, samples and units h is wrong, at the sizes of a case."""
    told = []
    places = re.findall(r"from step (\d+) on|at (step|sample|unit)s? ([\d, and]+) of (\d+)", match[1])
    for seen in evidence.failing():
        mask = seen.wrong.get("h")
        if mask is None or mask.ndim < 3:
            continue
        good = True
        for start, label, numbers, _ in places:
            axis = {"step": 1, "sample": 0, "unit": 2, "": 1}[label]
            hit = set(np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))).tolist())
            said = set(range(int(start) - 1, mask.shape[1])) if start else set(_numbers(numbers))
            good = good and hit <= said and (bool(label) or min(hit) == int(start) - 1)
        told.append(good)
    if (refused := _judge_share(told, "is so")) is None or not isinstance(evidence, _Only):
        return refused or Verdict(Said.HELPFUL)
    # Of the very case that it names it may be so, and of its sizes it is not.
    return Verdict(Said.MISLEADING, f"of the sizes of that case, {refused.why}")


# What a gate is by itself, found out by other means than biases that hold the rest open or shut.


def gates_wrong(evidence: Evidence) -> dict[str, bool]:
    """Return for each gate whether its own value is wrong in a single step.

    For a planted patch by the intermediates of the patched reference; else by what is known of the fault; else
    solved for: f from the memories of two C0, o from h and the memory, i and g where the other is saturated.
    """
    faults = evidence.known_fault()
    if evidence.truth.forward is not None:
        return {gate: gate in evidence.truth.forward for gate in GATES}
    if faults and all(fault.patches and not fault.wrap for fault in faults):
        return _gates_of_patch(faults)
    return _gates_solved(evidence)


def _gates_of_patch(faults: tuple[Fault, ...]) -> dict[str, bool]:
    """Return which gates' values depart in the first step of the patched reference."""
    from checks.faults.model import _kernel

    kernel = _kernel(tuple((fault.id, patch) for fault in faults for patch in fault.patches))
    found = dict.fromkeys(GATES, False)
    for seed in range(730_000, 730_008):
        arrays = Case(3, 1, 3, 4, seed=seed, regime="x10" if seed % 2 else "normal").arrays
        due, _ = passes(arrays)
        with np.errstate(all="ignore"):
            came = kernel.forward(arrays.p, arrays.X, arrays.h0, arrays.C0)
        for gate in GATES:
            found[gate] = found[gate] or not np.allclose(came[gate], due[gate], rtol=1e-13, atol=1e-14)
    return found


def _gates_solved(evidence: Evidence) -> dict[str, bool]:
    """Return which gates' values, solved for from outputs at one step, depart."""
    found = dict.fromkeys(GATES, False)
    for seed in range(730_000, 730_006):
        case = Case(3, 1, 3, 4, evidence.case.dtype, seed=seed)
        arrays = case.arrays.astype(np.float64)
        due = _step(arrays)
        share = 1e-10 if case.dtype == "float64" else 1e-3

        def ask(**changed: Any) -> tuple[Any, Any]:
            seen = evidence.look(case, **{n: np.asarray(v, case.dtype) for n, v in changed.items()})
            if seen is None or "Cn" not in seen.came:
                return np.full((3, 4), np.nan), np.full((3, 4), np.nan)
            return seen.came["h"].reshape(3, 4), seen.came["Cn"]

        off = {k: v * 0 for k, v in arrays.p.items() if k[0] in "UV"}
        _, one = ask(C0=np.full_like(arrays.C0, 0.5))
        h, two = ask(C0=np.full_like(arrays.C0, -0.5))
        _, of_i = ask(C0=arrays.C0 * 0, bg=np.full_like(arrays.p["bg"], 25.0), Ug=off["Ug"], Vg=off["Vg"])
        _, of_g = ask(C0=arrays.C0 * 0, bi=np.full_like(arrays.p["bi"], 45.0), Ui=off["Ui"], Vi=off["Vi"])
        came = {"f": one - two, "o": h / np.tanh(two), "i": of_i, "g": of_g}
        for gate in GATES:
            found[gate] = found[gate] or not np.all(np.abs(came[gate] - due[gate]) <= share)
    return found


def _step(arrays: Arrays) -> dict[str, Any]:
    """Return the gates' values of the first step."""
    k = {g: arrays.X[:, 0] @ arrays.p["U" + g] + arrays.h0 @ arrays.p["V" + g] + arrays.p["b" + g] for g in GATES}
    return {gate: np.tanh(v) if gate == "g" else _logistic(v) for gate, v in k.items()}


def _judge_gates(evidence: Evidence, wrong: set[str], right: set[str]) -> Verdict:
    """Judge which gates are wrong by themselves, and which right."""
    found = gates_wrong(evidence)
    if blamed := {gate for gate in wrong if not found[gate]}:
        return Verdict(Said.FALSE, f"gate {', '.join(sorted(blamed))} is right")
    if cleared := {gate for gate in right if found[gate]}:
        return Verdict(Said.FALSE, f"gate {', '.join(sorted(cleared))} is wrong")
    return Verdict(Said.HELPFUL)


@where(
    r"gates? ([figo](?:(?:, | and )[figo])*) (?:is|are) wrong by (?:itself|themselves) at a single step, "
    r"([figo](?:(?:, | and )[figo])*) right"
)
def _gates_alone(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which gates are wrong by themselves."""
    return _judge_gates(evidence, set(_list(match[1])), set(_list(match[2])))


@where(r"gate f is (right|wrong) by itself at a single step; i times g is not 1 where the biases of both are 40")
def _gate_f(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that gate f is right or wrong, and that i times g does not saturate."""
    told = []
    for seed in range(730_100, 730_110):
        case = Case(3, 1, 3, 4, evidence.case.dtype, seed=seed)
        p = case.arrays.p
        changed = {f"b{g}": np.full_like(p[f"b{g}"], 40) for g in "ig"} | {
            f"{k}{g}": np.zeros_like(p[f"{k}{g}"]) for k in "UV" for g in "ig"
        }
        seen = evidence.look(case, C0=np.zeros_like(case.arrays.C0), **changed)
        told.append(None if seen is None else "Cn" in seen.wrong)
    refused = _judge_share(told, "i times g is not 1")
    known = gates_wrong(evidence)
    if not (known["i"] or known["g"]):
        return Verdict(Said.MISLEADING, "gates i and g are right")
    return refused or _judge_gates(
        evidence, {"f"} & {match[1] == "wrong" and "f"}, {"f"} & {match[1] == "right" and "f"}
    )


@where(r"Cn is right after a single step, and so are f, i and g; h, made of it and gate o, is not")
def _only_output(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that of a single step h alone is wrong."""
    told = ["Cn" not in seen.wrong and "h" in seen.wrong for seen in evidence.failing(s=1)]
    if not told:
        return Verdict(Said.FALSE, "right at every single step")
    return _judge_share(told, "is so") or _judge_gates(evidence, set(), set("fig"))


@where(r"each gate by itself is right at a single step")
def _no_gate(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that no gate is wrong by itself."""
    return _judge_gates(evidence, set(), set(GATES))


# The gates' cotangents, solved for twice: from dU where there are more elements than places, and from dX where there
# are more elements than gates times units. Where the two differ, the sums are wrong and not the cotangents.


def _solved_from_sums(seen: Seen) -> dict[str, Any] | None:
    """Return where (m, s, u) each gate's cotangent, solved for from dU, departs; None if no cotangents give dU."""
    X = seen.arrays.X.reshape(-1, seen.case.e).astype(np.float64)
    found = {}
    for gate in GATES:
        name = f"dU{gate}"
        if name not in seen.came:
            return None
        solved, *_ = np.linalg.lstsq(X.T, seen.came[name], rcond=None)
        due, *_ = np.linalg.lstsq(X.T, seen.due[name], rcond=None)
        left = np.abs(X.T @ solved - seen.came[name])
        blur = np.abs(np.linalg.pinv(X.T)) @ seen.accepted[name] + 1e-12 * np.max(np.abs(due), initial=0)
        if np.any(left > seen.accepted[name] + np.abs(X.T) @ blur):
            return None
        found[gate] = ~(np.abs(solved - due) <= 4 * blur).reshape(seen.case.m, seen.case.s, seen.case.u)
    return found


def _solved_from_inputs(seen: Seen) -> dict[str, Any] | None:
    """Return the same from dX; None where there are too few elements, or dX comes of no cotangents."""
    u = seen.case.u
    if seen.case.e < 4 * u or "dX" not in seen.came:
        return None
    U = np.hstack([seen.arrays.p["U" + gate].astype(np.float64) for gate in GATES])
    inverse = np.linalg.pinv(U)
    solved, due = seen.came["dX"] @ inverse.T, seen.due["dX"] @ inverse.T
    blur = seen.accepted["dX"] @ np.abs(inverse.T) + 1e-12 * np.max(np.abs(due), initial=0)
    if np.any(np.abs(solved @ U.T - seen.came["dX"]) > seen.accepted["dX"] + blur @ np.abs(U.T)):
        return None
    wrong = ~(np.abs(solved - due) <= 4 * blur)
    return {gate: wrong[..., k * u : (k + 1) * u] for k, gate in enumerate(GATES)}


DELTAS = {"df_": "f", "di_": "i", "dg_": "g", "do_": "o"}


def _solvable(evidence: Evidence, s: int | None = None, **fixed: int) -> list[Seen]:
    """Return fresh failing cases at which the cotangents can be solved for both ways."""
    found = []
    for k in range(60):
        m, steps, u = fixed.get("m", 1 + k % 2), s or 2 + k % 4, fixed.get("u", 2 + k % 2)
        case = Case(m, steps, max(m * steps, 4 * u) + 3, u, evidence.case.dtype, seed=740_000 + k)
        if k % 3 == 1 and evidence.case.regime in ("x1e-3", "mixed", "x10", "padded"):
            case = replace(case, regime=evidence.case.regime)
        seen = evidence.look(case)
        if seen is not None and seen.wrong:
            found.append(seen)
        if len(found) == 20:
            break
    return found


def _wrong_deltas(evidence: Evidence, seen: Seen) -> dict[str, Any] | None:
    """Return where the gates' cotangents depart, as both ways of solving agree; by the patch where one is planted."""
    faults = evidence.known_fault()
    if faults and all(fault.patches and not fault.wrap for fault in faults):
        from checks.faults.model import _kernel

        kernel = _kernel(tuple((fault.id, patch) for fault in faults for patch in fault.patches))
        arrays = seen.arrays.astype(np.float64)
        with np.errstate(all="ignore"):
            fc = kernel.forward(arrays.p, arrays.X, arrays.h0, arrays.C0)
            bc = kernel.backward(arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)
        _, due = passes(arrays)
        return {
            gate: ~(np.abs(bc[f"d{gate}_"] - due[f"d{gate}_"]) <= 1e-13 * np.max(np.abs(due[f"d{gate}_"]), initial=0))
            for gate in GATES
        }
    sums, inputs = _solved_from_sums(seen), _solved_from_inputs(seen)
    if sums is None:
        return None
    if inputs is not None and evidence.truth.deltas is None:
        return {gate: sums[gate] & inputs[gate] for gate in GATES}
    return sums


@where(rf"(?:df_ di_ dg_ do_), solved for from dU, are right at every step; ({NAMES}), made from them, (?:is|are) not")
def _deltas_right(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that all gates' cotangents are right and some tensors made from them wrong."""
    said = set(_list(match[1]))
    if evidence.truth.deltas:
        return Verdict(Said.FALSE, f"the cotangents of gate {evidence.truth.deltas} are planted wrong")
    told = []
    for seen in _solvable(evidence):
        found = _wrong_deltas(evidence, seen)
        if set(seen.wrong) & said:
            told.append(
                found is not None and not any(mask.any() for mask in found.values()) and set(seen.wrong) <= said
            )
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(rf"({NAMES}) (?:is|are) wrong where dV or db, made from the same, is right")
def _sum_alone(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that dU is wrong where dV or db of the same gate is right."""
    told = []
    for seen in _solvable(evidence):
        for name in _list(match[1]):
            if name in seen.wrong:
                told.append(not {f"dV{name[2]}", f"db{name[2]}"} <= set(seen.wrong))
    if not told:
        return Verdict(Said.FALSE, f"{match[1]} is right on fresh cases")
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


PLACES_OF = r"((?:, (?:sample|unit)s? [\d, and]+ of \d+)*)"


@where(
    rf"(going back in time, )?((?:d[figo]_)(?:(?:, | and )d[figo]_)*) departs?(?: first, at step (\d+) of (\d+)| at "
    rf"steps? ([\d, and]+) of (\d+) alone){PLACES_OF}(?:, ((?:d[figo]_)(?:(?:, | and )d[figo]_)*) right there)? "
    r"\(solved for from dU\)"
)
def _departs(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which gates' cotangents depart, and at which step going back in time they depart first."""
    gates = {DELTAS[word] for word in _list(match[2])}
    right = {DELTAS[word] for word in _list(match[8])} if match[8] else set(GATES) - gates
    truth = evidence.truth
    if truth.deltas is not None and not gates <= set(truth.deltas):
        what = f"of gate {truth.deltas} alone" if truth.deltas else "of no gate: the sums are wrong"
        return Verdict(Said.FALSE, f"the cotangents are planted wrong {what}")
    s = int(match[4] or match[6])
    sizes = {}
    places = re.findall(r", (sample|unit)s? ([\d, and]+?) of (\d+)", match[7] or "")
    for label, _, count in places:
        sizes[{"sample": "m", "unit": "u"}[label]] = int(count)
    told: list[bool | None] = []
    for seen in _solvable(evidence, s, **sizes):
        found = _wrong_deltas(evidence, seen)
        if found is None:
            told.append(False)
            continue
        steps = {gate: {t for t in range(s) if found[gate][:, t].any()} for gate in GATES}
        if not any(steps.values()):
            told.append(False)
            continue
        if match[3]:
            last = max(t for hit in steps.values() for t in hit)
            there = {gate for gate in GATES if last in steps[gate]}
            good = last == int(match[3]) - 1 and there == gates and not there & right
        else:
            said = set(_numbers(match[5]))
            last = None
            good = all(steps[gate] == said for gate in gates) and not any(steps[gate] for gate in right)
        for label, numbers, _ in places:
            axis = {"sample": 0, "unit": 2}[label]
            masks = [found[g] if last is None else found[g][:, [last]] for g in gates]
            hit = set(np.flatnonzero(np.any(masks, axis=0).any(axis=tuple(k for k in range(3) if k != axis))).tolist())
            good = good and hit == set(_numbers(numbers))
        told.append(good)
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"first to depart among what the layer keeps: (fc|bc)\['(\w+)'\] at step (\d+) of (\d+)")
def _kept(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which of a layer's intermediates departs first, where it shows them."""
    if evidence.target.caches is None:
        return Verdict(Said.UNJUDGED, "it keeps nothing to see")
    told = []
    for seen in evidence.failing(20, s=int(match[4])):
        call_target(evidence.target, seen.arrays.copy(), seen.case.sequences)
        kept, t = (evidence.target.caches() or {}).get(match[2]), int(match[3]) - 1
        due = passes(seen.arrays)[match[1] == "bc"][match[2]]
        if isinstance(kept, np.ndarray) and kept.shape == due.shape:
            share = np.max(np.abs(due), initial=0) * (1e-9 if seen.case.dtype == "float64" else 1e-4)
            wrong = [s for s in range(seen.case.s) if np.any(np.abs(kept[:, s] - due[:, s]) > share)]
            told.append(t in wrong and (t == min(wrong) if match[1] == "fc" else t == max(wrong)))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


VALUE = r"\|?(?:what is due|f|i|g|o|C_|h|Cp_|hp|dh_|dC_|do_|dg_|di_|df_)\|?"


@where(
    rf"((?:d[figo]_|{NAME})(?:(?:, | and )(?:d[figo]_|{NAME}))*) goe?s? wrong where (.+), and nowhere else \(\d+ of \d+\)"
)
def _limit(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge which value decides whether an entry is wrong."""
    names = _list(match[1])
    limits = re.findall(rf"({VALUE}) is (above|below) a limit between ({NUMBER}) and ({NUMBER})", match[2])
    if not limits:
        return Verdict(Said.UNJUDGED, "no known limit")
    agree = wrong_count = count = 0
    for seen in _limit_cases(evidence, names):
        masks = _limit_masks(evidence, seen, names)
        if masks is None:
            continue
        fc, bc = passes(seen.arrays)
        for mask, value_of in masks:
            predicted, unknown = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
            for word, side, low, high in limits:
                plain = word.strip("|")
                value = value_of(plain, fc, bc)
                value = np.abs(value) if word.startswith("|") else value
                predicted |= value > float(high) if side == "above" else value < float(low)
                unknown |= (value >= float(low)) & (value <= float(high))
            known = ~unknown
            agree += int(np.sum((mask == predicted) & known))
            wrong_count += int(np.sum(mask & known))
            count += int(known.sum())
    if wrong_count < FEWEST or count - wrong_count < FEWEST:
        return Verdict(Said.UNJUDGED, f"{wrong_count} of {count} fresh entries wrong")
    share = agree / count
    if share < 0.98:
        return Verdict(Said.FALSE if share < 0.9 else Said.MISLEADING, f"so of {share:.0%} of {count} fresh entries")
    return Verdict(Said.HELPFUL)


def _limit_cases(evidence: Evidence, names: Sequence[str]) -> Iterator[Seen]:
    """Yield what the target gives on fresh cases, failing or not, of the sizes at which entries can be told."""
    for k in range(24):
        if set(names) & set(OUTPUTS):
            case = Case(6, 1, 4, 8, evidence.case.dtype, seed=750_000 + k)
        elif names[0] in DELTAS:
            case = Case(2, 2, 16, 3, evidence.case.dtype, seed=750_000 + k)
        else:
            case = Case(3, 2, 8, 8, evidence.case.dtype, seed=750_000 + k)
        if k % 2 and evidence.case.regime not in ("normal", "zero", "x100"):
            case = replace(case, regime=evidence.case.regime)
        seen = evidence.look(case)
        if seen is not None and not seen.error:
            yield seen


def _limit_masks(evidence: Evidence, seen: Seen, names: Sequence[str]) -> list[tuple[Any, Any]] | None:
    """Return which entries are wrong, and how to get the value of an intermediate at each."""
    if set(names) & set(OUTPUTS):
        shape = (seen.case.m, 1, seen.case.u)
        none = np.zeros(shape, bool)
        return [
            (seen.wrong[n].reshape(shape) if n in seen.wrong else none, lambda w, fc, bc: fc[w])
            for n in names
            if n in seen.came
        ]
    if names[0] in DELTAS:
        found = _wrong_deltas(evidence, seen)
        if found is None:
            return None
        return [(found[DELTAS[n]][:, -1], lambda w, fc, bc: (fc | bc)[w][:, -1]) for n in names]
    return [
        (seen.wrong.get(n, np.zeros(seen.due[n].shape, bool)), lambda w, fc, bc, n=n: seen.due[n])
        for n in names
        if n in seen.came
    ]


# Conditions, calls and chance.


@where(r"right where every step's output is asked for, wrong where the last one's is alone \(sequences=False\)")
def _sequences(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes the last step's output alone to go wrong."""
    told = []
    for seen in evidence.failing():
        if seen.case.sequences:
            told.append(False)
            continue
        told.append(
            _fails(evidence, replace(seen.case, cotangents=seen.case.cotangents.replace("last", "every"))) is False
        )
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r"wrong at ((?:[mseu]=\d+)(?:(?:, | and )[mseu]=\d+)*), right at ((?:[mseu]=\d+)(?:(?:, | and )[mseu]=\d+)*)")
def _at_sizes(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a target is wrong at some sizes and right at one more."""
    sizes = [[(w[0], int(w[2:])) for w in _list(text)] for text in match.groups()]
    return _judge_sizes(evidence, evidence.case, sizes[1], sizes[0], False)


@where(r"wrong for values of the regime (\S+), right at the same sizes for normal ones")
def _regime(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that it takes a regime to go wrong."""
    own = replace(evidence.case, regime=match[1])
    wrong, right = _share_failing(evidence, own, 24), _share_failing(evidence, replace(own, regime="normal"), 24)
    if right:
        return Verdict(Said.FALSE, f"wrong for {right:.0%} of fresh normal draws")
    return Verdict(Said.HELPFUL) if wrong else Verdict(Said.FALSE, "right for fresh draws of that regime")


def _differing(target: Target, case: Case) -> set[str]:
    """Return the tensors that two calls of a target with the same inputs give differently."""
    _, accepted, _ = _due(case)
    one, two = (call_target(target, case.arrays.copy(), case.sequences).values for _ in range(2))
    return {
        name
        for name in TENSORS
        if isinstance(one.get(name), np.ndarray)
        and np.any(~(np.abs(one[name] - two[name]) <= _last(accepted[name], one[name])))
    }


@where(rf"two calls with the same inputs differ in ((?:{NAMES})(?: and \d+ more|, \d+ more)?)")
def _two_calls(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that two calls differ in some tensors."""
    named = {word for word in _list(match[1]) if re.fullmatch(NAME, word)}
    ever = set()
    for k, case in zip(range(40), evidence.cases(), strict=False):
        ever |= _differing(evidence.target, case)
        if k > 8 and named <= ever:
            break
    if not named <= ever:
        return Verdict(Said.FALSE, f"never in {', '.join(sorted(named - ever))}")
    if "more" not in match[1] and ever - named:
        return Verdict(Said.MISLEADING, f"in {', '.join(sorted(ever - named))}, too")
    return Verdict(Said.HELPFUL)


@where(r"right at the first call of a size, wrong at later ones")
def _first_call(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """Judge that a size's first call is right and later ones wrong."""
    target, told = evidence.make(), []
    for k in range(8):
        case = Case(3 + k, 3, 2 + k, 4 + k, evidence.case.dtype, seed=760_000 + k)
        found = [look(target, case) for _ in range(4)]
        if all(one is not None for one in found):
            told.append(not found[0].wrong and any(one.wrong for one in found[1:]))
    return _judge_share(told, "is so") or Verdict(Said.HELPFUL)


@where(r".*by a fault of lstm-checks.*")
def _broken(evidence: Evidence, match: re.Match[str]) -> Verdict:
    """A diagnosis that broke says so; that is no true line about a target."""
    return Verdict(Said.FALSE, "the diagnosis broke")


LABELS: dict[str, Callable[[Evidence, str], Verdict | None]] = {
    "suspect": judge_suspect,
    "relation": judge_relation,
    "layout": judge_layout,
    "pattern": judge_pattern,
    "where": judge_where,
}
NOT_OF_THE_DIAGNOSIS = ("case", "extent", "also", "oracles", "rerun", "note")
"""Labels of what `verify` itself says of the failing case."""


def lines_of(text: str) -> list[tuple[str, str]]:
    """Return the lines of a failure's text that its diagnosis says, each with its label."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines()[1:]:
        if match := re.match(r"  ([a-z_]+) +(?! )(.*)", line):
            if match[1] not in NOT_OF_THE_DIAGNOSIS:
                found.append((match[1], match[2]))
        elif (match := re.match(r" {12}or (.*)", line)) and found:
            found.append((found[-1][0], match[1]))
    return found


def judge_line(evidence: Evidence, label: str, text: str) -> Verdict | None:
    """Return what a line is worth; None where it makes no claim."""
    judge = LABELS.get(label, judge_where)
    verdict = judge(evidence, text)
    if verdict is None or verdict.said is not Said.UNJUDGED:
        return verdict
    other = judge_where(evidence, text)
    if other.said is not Said.UNJUDGED:
        return other
    if any(re.search(words, text) for words in evidence.truth.words):
        return Verdict(Said.HELPFUL, "says what is planted")
    return verdict
