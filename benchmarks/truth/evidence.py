"""What is known of a planted fault, what a target gives on cases that nobody was shown, and when an explanation is one.

Nothing of the diagnosis is used: the values due come from the reference, and whether an explanation holds is told
by what it leaves of the error. The right answer must fail it; what leaves most of the error explains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import call_target
from lstm_checks.cases import REGIMES, Arrays, Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.faults.model import Fault, evaluate
from lstm_checks.oracles.expected import evaluate_reference, expect
from lstm_ref import lstm_backward, lstm_forward

TENSORS = PLAIN.tensors


PARAMETER_GRADIENTS = tuple("d" + name for name in PLAIN.parameters)


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
        Regular expressions; a line of no known form in which one is found says what is planted.
    recording : callable or None
        Gives the target as one that keeps its gates' cotangents of a call, step by step, as `kept` in the globals of
        what it wraps.
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
    recording: Callable[[], Target] | None = None


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


def roundoff(dtype: str) -> float:
    """Return the unit roundoff of a dtype."""
    return tolerance.UNIT_ROUNDOFF[dtype]


@lru_cache(maxsize=4096)
def due_on(case: Case) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Return what is due on a case, what is accepted, and whether rounding drowns it."""
    expected = expect(case)
    accepted = {n: tolerance.accepted(sd, case.dtype) for n, sd in expected.sd.items()}
    return expected.values, accepted, expected.chaotic(PLAIN.gradients) or expected.chaotic(PLAIN.outputs)


def look(target: Target, case: Case, arrays: Arrays | None = None) -> Seen | None:
    """Return what one call of a target gives on a case, or on other values of its sizes; None if rounding drowns it."""
    due, accepted, chaotic = due_on(case)
    if chaotic:
        return None
    if arrays is None:
        arrays = case.arrays
    else:
        with np.errstate(all="ignore"):
            due = evaluate_reference(arrays.astype(np.float64))
        accepted = {
            n: accepted[n] + np.max(accepted[n]) + 64 * roundoff(case.dtype) * np.max(np.abs(due[n]), initial=0)
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
    claims : iterable of str
        The names of the claims that failed there; where none is a tensor, values alone do not show the fault.
    """

    def __init__(self, make: Callable[[], Target], case: Case, truth: Truth, claims: Iterable[str] = ()) -> None:
        self.make, self.case, self.truth, self.claims = make, case, truth, frozenset(claims)
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

    def each_failing(self, **fixed: Any) -> Iterator[Seen]:
        """Yield what the target gives on fresh cases that it fails."""
        for case in self.cases(**fixed):
            seen = self.look(case)
            if seen is not None and seen.wrong:
                yield seen

    def failing(self, count: int = ENOUGH, telling: bool = False, **fixed: Any) -> list[Seen]:
        """Return the first of them, up to `count`; of `telling` ones, the error is clearly above its tolerance."""
        return list(islice((seen for seen in self.each_failing(**fixed) if seen.telling or not telling), count))

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

    @property
    def regime(self) -> str:
        """The regime of which a line speaks: the failing case's, if none is said."""
        return self.case.regime

    def known_fault(self) -> tuple[Fault, ...]:
        """Return the faults planted, where they are of the catalogue or slips."""
        return self.truth.faults


class Only(Evidence):
    """The same evidence, of cases with some fields fixed."""

    def __init__(self, evidence: Evidence, **fixed: Any) -> None:
        super().__init__(evidence.make, evidence.case, evidence.truth, evidence.claims)
        # What was asked already need not be asked again.
        self.target, self._seen = evidence.target, evidence._seen
        self.fixed = getattr(evidence, "fixed", {}) | fixed

    @property
    def regime(self) -> str:
        """The regime of which a line speaks."""
        return str(self.fixed.get("regime", self.case.regime))

    def cases(self, **fixed: Any) -> Iterator[Case]:
        """Yield fresh cases of that kind."""
        return super().cases(**(self.fixed | fixed))


def near(came: Any, value: Any, accepted: Any, dtype: str) -> bool:
    """Return whether what came is some value, to rounding."""
    if value.shape != came.shape:
        return False
    finite = np.isfinite(came)
    if not np.array_equal(finite, np.isfinite(value)):
        return False
    with np.errstate(all="ignore"):
        allowed = tolerance.FINGERPRINT * (accepted + np.max(accepted)) + 64 * roundoff(dtype) * np.max(
            np.abs(value), where=finite, initial=0
        )
        return bool(np.all((np.abs(came - value) <= allowed) | ~finite))


def distance(one: Any, other: Any) -> float:
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
        return None if near(came, value, seen.accepted[name], seen.case.dtype) else False
    if np.isfinite(came).all() and distance(came, value) > EXPLAINED * distance(came, due):
        return False
    return near(came, value, seen.accepted[name], seen.case.dtype) or (
        # Faults that magnify rounding have a tolerance of their own, which is not known: a thousandth of the error.
        distance(came, value) <= 1e-6 * distance(came, due)
    )


def judge_share(found: Sequence[bool | None], what: str) -> Verdict | None:
    """Return a verdict where what holds is too little or cannot be judged; None where it holds."""
    told = [one for one in found if one is not None]
    if len(told) < FEWEST:
        return Verdict(Said.UNJUDGED, f"only {len(told)} fresh failing cases tell")
    share = sum(told) / len(told)
    if share >= HOLDS or (len(told) >= 10 and sum(told) == len(told) - 1):
        return None
    said = Said.MISLEADING if share >= 0.6 else Said.FALSE
    return Verdict(said, f"{what} on {sum(told)} of {len(told)} fresh failing cases")


def last_step(value: Any, like: Any) -> Any:
    """Return the last step of a value where what it is compared with has no steps."""
    return value[:, -1] if value.ndim > like.ndim else value


def values_with(faults: tuple[Fault, ...], arrays: Arrays) -> dict[str, Any] | None:
    """Return what the reference with faults gives; None where they cannot be planted together."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(faults, arrays.astype(np.float64))
    except ValueError:
        return None


def passes(arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the reference keeps of a forward and a backward pass, in float64."""
    arrays = arrays.astype(np.float64)
    with np.errstate(all="ignore"):
        fc = lstm_forward(arrays.p, arrays["X"], arrays["h0"], arrays["C0"])
        return fc, lstm_backward(arrays.p, fc, arrays["dh"], arrays["dhn"], arrays["dCn"])


def all_explained(seen: Seen, values: Mapping[str, Any], names: Sequence[str]) -> bool | None:
    """Return whether values are what came in all of some tensors, the right ones included."""
    told: list[bool | None] = []
    for name in names:
        if name not in seen.came:
            continue
        value = last_step(values[name], seen.came[name])
        if name in seen.wrong:
            told.append(explains(seen, name, value))
        elif not near(seen.came[name], value, seen.accepted[name], seen.case.dtype):
            return False
    if False in told:
        return False
    return True if True in told else None


NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"


NAME = r"(?:h|Cn|d?[UVb][figo]|d?X|d?h0|d?C0|dhn?|dCn)"


NAMES = rf"{NAME}(?:(?:, | and ){NAME})*"


AXIS = "samples|steps|elements|units|rows"


def axis_of(name: str, ndim: int, label: str) -> int | None:
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


def listed(text: str) -> list[str]:
    """Return the words of a list in English."""
    return [word for word in re.split(r", and |, or |, | and | or ", text.strip()) if word]
