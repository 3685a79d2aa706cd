"""Which precision contract a target keeps: measured, part by part, on a few of its examples.

A part of the computation is said to be in float32 where the target's errors are no larger than they may be with that
part in float32, and those of a program that has it in the short format are larger: one is made and run for that
(`arithmetic.mixed.Emulated`). Where that one would pass, too, nothing is said of the part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.arithmetic.mixed import Emulated
from lstm_checks.calling import asked_of, call_many
from lstm_checks.cases import Arrays, Case
from lstm_checks.compare import Verdict
from lstm_checks.contract import Target
from lstm_checks.formats import NAMED, PARTS, WIDE, base_of, format_named, is_low
from lstm_checks.judging.reports import CaseReport
from lstm_checks.oracles.expected import Expected, evaluate_reference, expect

Array = NDArray[Any]


@dataclass(frozen=True)
class Measured:
    """What a target keeps.

    Attributes
    ----------
    base : str
        The format.
    name : str
        The tightest of the named contracts that it keeps; empty where it keeps not even the loosest.
    share : float
        The largest root mean square of a tensor's errors, in standard deviations of that contract's noise.
    wide, short, untold : tuple of str
        The parts of the computation that are in float32, those that are short, and those of which that cannot be told.
    beyond : mapping
        The tensors that are beyond each part in float32 that is not kept, with by how many times.
    examples : int
    """

    base: str
    name: str
    share: float
    wide: tuple[str, ...]
    short: tuple[str, ...]
    untold: tuple[str, ...]
    beyond: Mapping[str, tuple[str, float]]
    examples: int

    @property
    def lines(self) -> tuple[str, ...]:
        """What is kept, in sentences."""
        if not self.name:
            return (f"none is kept, not even all: errors are {self.share:.2g} of its noise",)
        kept = f"{self.name} is kept: errors are {self.share:.2g} of its noise, in {self.examples} examples"
        parts = [f"as exact as float32: {_list(self.wide)}"] if self.wide else []
        for part in self.short:
            tensor, times = self.beyond[part]
            parts.append(f"short: {PARTS[part]} (were it float32, {tensor} would be off by {times:.2g} of the noise)")
        parts += [f"not to be told here: {_list(self.untold)}"] if self.untold else []
        return (kept, *parts)


def _list(parts: Sequence[str]) -> str:
    """Return parts in words."""
    return ", ".join(PARTS[part] for part in parts)


class _Examples:
    """A target's answers on some examples, and how large they may be under a contract."""

    def __init__(self, target: Target, cases: Sequence[Case]) -> None:
        self.target, self.base = target, base_of(cases[0].dtype)
        asked = [asked_of(target, case) for case in cases]
        arrays: list[Arrays] = [case.arrays.copy() for case in asked]
        outcomes = [next(call_many(target, [a], c.sequences)) for a, c in zip(arrays, asked, strict=True)]
        self.answers = [(c, one) for c, one in zip(asked, outcomes, strict=True) if not one.error]
        self._known: dict[frozenset[str], list[Expected]] = {}

    def expected(self, wide: frozenset[str]) -> list[Expected]:
        """Return what is due of each example with some parts in float32."""
        if wide not in self._known:
            found = [expect(replace(case, dtype=self._named(wide))) for case, _ in self.answers]
            self._known[wide] = [
                one.as_returned(o.last_step, c.cell) for one, (c, o) in zip(found, self.answers, strict=True)
            ]
        return self._known[wide]

    def errors(self, wide: frozenset[str]) -> tuple[float, str]:
        """Return the largest root mean square of a tensor's errors, over the noise with parts in float32, and whose."""
        return self._largest(self.expected(wide), [outcome.values for _, outcome in self.answers])

    def emulated(self, wide: frozenset[str], part: str) -> float:
        """Return the same of a program that has the parts in float32, but for one that it has short."""
        answers = []
        for case, outcome in self.answers:
            emulation = Emulated(format_named(self._named(wide - {part})))
            arrays = case.arrays.astype(np.float64).each(emulation.exact)
            with np.errstate(all="ignore"):
                found = {n: np.asarray(value)[0] for n, value in evaluate_reference(arrays).items()}
            answers.append({n: outcome.shaped(n, value, case.cell) for n, value in found.items()})
        return self._largest(self.expected(wide | {part}), answers)[0]

    def _named(self, wide: frozenset[str]) -> str:
        """Return the name of the format with some parts in float32."""
        contract = ",".join(f"{part}={WIDE}" for part in PARTS if part in wide)
        return format_named(f"{self.base}+{contract or 'all'}").name

    def _largest(self, expected: Sequence[Expected], answers: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
        """Return the largest root mean square of a tensor's errors over its noise in all examples, and which it is."""
        sums: dict[str, list[float]] = {}
        for one, values in zip(expected, answers, strict=True):
            for name in one.values:
                came = values.get(name)
                if name in self.target.lacks or not isinstance(came, np.ndarray) or came.shape != one.sd[name].shape:
                    continue
                room = one.sd[name] + tolerance.SMALLEST_NORMAL[self.base]
                share = np.square((came.astype(np.float64) - one.values[name]) / room)
                known = sums.setdefault(name, [0.0, 0.0])
                known[0] += float(np.sum(share))
                known[1] += share.size
        found = [(float(np.sqrt(total / count)), name) for name, (total, count) in sums.items()]
        return max(found, key=lambda pair: np.nan_to_num(pair[0], nan=np.inf), default=(np.inf, ""))


def measure(target: Target, reports: Sequence[CaseReport]) -> Measured | None:
    """Return which contract a target keeps, from the examples that passed; None where there are none to tell by.

    Parameters
    ----------
    target : Target
    reports : sequence of CaseReport
        Those of a run in one format of low precision that has contracts.
    """
    cases = [one.case for one in reports if one.verdict is Verdict.PASS and _tells(one.case)]
    if not cases:
        return None
    # The more samples and steps, the more there is to sum up.
    cases = sorted(cases, key=lambda case: -case.m * case.s)[: tolerance.CONTRACT_EXAMPLES]
    examples = _Examples(target, cases)
    wide = frozenset[str]()
    # The sums over samples and steps are a loop of their own, and may be short where all the rest is not.
    for text in NAMED.values():
        tried = _parts_of(text) - {"dsums"}
        if not examples.errors(tried)[0] <= tolerance.CONTRACT_KEPT:
            break
        wide = tried
    told, short, untold, beyond = [], [], [], {}
    for part in PARTS:
        if examples.emulated(wide, part) <= tolerance.CONTRACT_KEPT:
            untold.append(part)
            continue
        found, tensor = examples.errors(wide | {part})
        if found <= tolerance.CONTRACT_KEPT:
            wide |= {part}
            told.append(part)
        else:
            short.append(part)
            beyond[part] = (tensor, found)
    name, share = "", examples.errors(frozenset())[0]
    for word, text in NAMED.items():
        parts = _parts_of(text)
        if parts <= {*wide, *untold} and (found := examples.errors(parts)[0]) <= tolerance.CONTRACT_KEPT:
            name, share = word, found
    count = len(examples.answers)
    return Measured(examples.base, name, share, tuple(told), tuple(short), tuple(untold), beyond, count)


def _parts_of(text: str) -> frozenset[str]:
    """Return the parts that a contract's text has in float32."""
    return frozenset(part.partition("=")[0] for part in text.split(",") if part)


def _tells(case: Case) -> bool:
    """Return whether an example is small, and its values such that no gate is shut and nothing is chaotic."""
    form = format_named(case.dtype)
    return (
        is_low(case.dtype)
        and set(PARTS) <= {*form.parts} | {*_wide(case.dtype)}
        and case.size <= tolerance.CONTRACT_SIZE
        and case.regime in ("normal", "init", "padded", "x1e-3")
    )


def _wide(dtype: str) -> frozenset[str]:
    """Return the parts that a format's contract has in float32, if it has any contract."""
    base = format_named(base_of(dtype))
    return frozenset(base.parts) - frozenset(format_named(dtype).parts)
