"""What is said of a target: on one case a CaseReport, on all its examples a Report, and the names of all claims."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from lstm_checks.asking import claims as asking
from lstm_checks.cases import Case, strata, strata_of
from lstm_checks.compare import ENDED, TIMEOUT, Claim, Verdict
from lstm_checks.contract import Target
from lstm_checks.oracles.together import Projection, Spread, added_up
from lstm_checks.properties import claims as properties_of
from lstm_checks.repair.found import NOTHING_FOUND, Found
from lstm_ref.cell import Cell

# What explains failures takes a third of a second to load, which a target that passes need not wait for.
if TYPE_CHECKING:
    from lstm_checks.diagnosis.diagnose import Diagnosis
    from lstm_checks.diagnosis.groups import Signature

SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT = "second call", "inputs kept", "outputs kept"


CHECK_GRAD, CHECK_GRAD_ALL = "check_grad", "check_grad of every entry"


COMPLEX_STEP, CHECK_GRAD_REFERENCE = "lstm_ref against complex step", "lstm_ref against check_grad"


FORM = "form"


TOGETHER = "entries together"
"""What many entries say together, in low precision."""


OF_HARNESS = (COMPLEX_STEP, CHECK_GRAD_REFERENCE)


PROPERTIES, ASKED = properties_of.NAMES, asking.NAMES


OF_NO_TENSOR = (
    *(FORM, TOGETHER, SECOND_CALL, INPUTS_KEPT, OUTPUTS_KEPT),
    *(CHECK_GRAD, CHECK_GRAD_ALL, *OF_HARNESS, *PROPERTIES, *ASKED),
)
"""The claims that are not about the values of one tensor."""


def claims_about(cell: Cell) -> tuple[str, ...]:
    """Return the names of all claims about a target that is to follow a cell, in the order in which they are told."""
    return (*cell.tensors, *OF_NO_TENSOR)


def is_unanswered(claim: Claim) -> bool:
    """Return whether a claim failed for want of an answer."""
    return claim.discrepancy is not None and claim.discrepancy.kind in (TIMEOUT, ENDED)


def is_tensor(name: str) -> bool:
    """Return whether a claim of that name is about the values of a tensor; whatever a target adds is one."""
    return name not in OF_NO_TENSOR


@dataclass(frozen=True)
class CaseReport:
    """What is said of a target on one case.

    `chance` says how often a failure is there, if not always; `pattern` which cases fail and `diagnosis` what is wrong,
    where that was looked into. `stands_for` is how many failing examples of a run this one explains, and of how many.
    `reference` is whether one was used; `declared` is what was said with the target that it lacks. `source` is what was
    found in the user's own source, where somebody looked. `together` is, in low precision, what entries say together of
    all that can be added up over examples. `min_dims` are the least sizes that the target was said to take, if any;
    `hints` say which option may help.
    """

    case: Case
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()
    pattern: str = ""
    reference: bool = True
    diagnosis: "Diagnosis | None" = None
    chance: str = ""
    stands_for: tuple[int, int] | None = None
    declared: tuple[str, ...] = ()
    source: Found = NOTHING_FOUND
    together: tuple[Projection | Spread, ...] = ()
    min_dims: tuple[int, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def unsteady(self) -> bool:
        """Whether what was called before was seen to change an answer."""
        return self.diagnosis is not None and self.diagnosis.unsteady

    @property
    def signature(self) -> "Signature":
        """What is wrong: the tensors that failed, or the other claims where none did."""
        failed = [claim.name for claim in self.failures]
        return frozenset(n for n in failed if is_tensor(n)) or frozenset(failed)

    @property
    def failures(self) -> tuple[Claim, ...]:
        """The failed claims about the target, the tensors first: h, then the final states, then gradients, worst first.

        Where a forward pass is off, all gradients are for that: one of these at the head would lead astray.
        """
        failed = [c for c in self.claims if c.verdict is Verdict.FAIL and c.name not in OF_HARNESS]
        outputs = {name: k for k, name in enumerate(self.case.cell.outputs)}

        def rank(claim: Claim) -> tuple[bool, int, float]:
            return not is_tensor(claim.name), outputs.get(claim.name, len(outputs)), -claim.use

        return tuple(sorted(failed, key=rank))

    @property
    def mistrusted(self) -> tuple[Claim, ...]:
        """The failed claims about the harness itself: its oracles disagree."""
        return tuple(c for c in self.claims if c.verdict is Verdict.FAIL and c.name in OF_HARNESS)

    @property
    def verdict(self) -> Verdict:
        """Fail if anything failed; pass if a gradient passed; else what they were.

        An output, where no gradient is supported; a property, where there is no reference.
        """
        if self.failures:
            return Verdict.FAIL
        cell = self.case.cell
        gradients = {c.name for c in self.claims if c.name in cell.gradients and c.verdict is not Verdict.UNSUPPORTED}
        # Of a target that goes forward only, its outputs are all there is to judge.
        judged = (gradients or cell.outputs) if self.reference else PROPERTIES
        found = Counter(c.verdict for c in self.claims if c.name in judged)
        for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.VACUOUS):
            if found[verdict]:
                return verdict
        return Verdict.UNSUPPORTED

    @property
    def worst(self) -> Claim | None:
        """The claim about a tensor that used most of its tolerance."""
        judged = [c for c in self.claims if is_tensor(c.name) and c.verdict in (Verdict.PASS, Verdict.FAIL)]
        return max(judged, key=lambda c: c.use, default=None)

    @property
    def timed_out(self) -> bool:
        """Whether the target gave no answer in time."""
        return any(c.discrepancy is not None and c.discrepancy.kind == TIMEOUT for c in self.claims)

    @property
    def unanswered(self) -> bool:
        """Whether the target ended its process, or gave no answer in time: then nothing simpler is looked for."""
        return any(map(is_unanswered, self.claims))

    def claim(self, name: str) -> Claim | None:
        """Return the claim of that name, if it was made."""
        return next((c for c in self.claims if c.name == name), None)


@dataclass(frozen=True)
class Report:
    """What is said of a target on all its examples.

    Attributes
    ----------
    target : Target
    examples : tuple of CaseReport
    failure : CaseReport or None
        The simplest failing example that was found.
    further : tuple of CaseReport
        The same of failing examples that go wrong in another way; at most two.
    unexplained : tuple of (frozenset of str, int)
        What is wrong in the failing examples that none of these explains, and in how many.
    seed : int
    seconds : float
    reference : bool
        Whether one was used.
    contract : tuple of str
        In low precision, which contract the target was measured to keep, in sentences.
    """

    target: Target
    examples: tuple[CaseReport, ...]
    failure: CaseReport | None
    seed: int
    seconds: float
    unreachable: tuple[str, ...] = field(default=())
    reference: bool = True
    further: tuple[CaseReport, ...] = ()
    unexplained: "tuple[tuple[Signature, int], ...]" = ()
    contract: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[Verdict, int]:
        """Number of examples by verdict."""
        return Counter(example.verdict for example in self.examples)

    @cached_property
    def claim_counts(self) -> dict[str, Counter[Verdict]]:
        """Number of verdicts by claim."""
        counts: dict[str, Counter[Verdict]] = {name: Counter() for name in claims_about(self.target.cell)}
        for example in self.examples:
            for claim in example.claims:
                counts.setdefault(claim.name, Counter())[claim.verdict] += 1
        return {name: count for name, count in counts.items() if count}

    @property
    def stratum_counts(self) -> dict[str, int]:
        """Number of examples by stratum."""
        found = Counter(name for example in self.examples for name in strata(example.case))
        return {name: found[name] for name in strata_of(self.target.cell)}

    @property
    def not_asked(self) -> dict[str, str]:
        """The questions that a target of its kind cannot be asked, and why."""
        reasons = {name: asking.why_not(self.target, name) for name in asking.ROTATED}
        return {name: reason for name, reason in reasons.items() if reason}

    @property
    def mistrusted(self) -> tuple[CaseReport, ...]:
        """The examples on which the oracles disagree."""
        return tuple(example for example in self.examples if example.mistrusted)

    @property
    def worst(self) -> tuple[CaseReport, Claim] | None:
        """The example and the claim that used most of its tolerance and passed."""
        found = [(e, c) for e in self.examples if (c := e.worst) is not None and c.verdict is Verdict.PASS]
        return max(found, key=lambda pair: pair[1].use, default=None)

    @cached_property
    def together(self) -> tuple[Projection | Spread, ...]:
        """What the entries of all examples say together that rounding does not explain, the worst first."""
        return added_up([one for example in self.examples for one in example.together])

    @property
    def exit_code(self) -> int:
        """0 if something was judged and all of it passed; 1 if something failed; 2 if nothing could be judged."""
        if self.mistrusted:
            return 2
        if self.failure is not None or self.together:
            return 1
        return 0 if self.counts[Verdict.PASS] else 2

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it: the verdict, and claim by claim how many examples came out how."""
        told = [f"{count} {verdict}" for verdict, count in self.counts.items()]
        found = [self.failure, *self.further] if self.failure is not None else []
        wrong = [(failure.case.descriptor, _first_sentence(failure)) for failure in found]
        rows = [(name, *(counts[v] for v in Verdict)) for name, counts in self.claim_counts.items()]
        head = f"{_WORDS[self.exit_code]}: {self.target.name}, {', '.join(told) or 'no examples'}, seed {self.seed}"
        return (
            f"<p><strong>{escape(head)}</strong></p>"
            + _html_table(("failing case", "what came of it"), wrong)
            + f"<details><summary>claim by claim</summary>{_html_table(('claim', *Verdict), rows)}</details>"
        )


_WORDS = {0: "PASS", 1: "FAIL", 2: "NOT JUDGED"}
"""A verdict by its exit code."""


def _first_sentence(report: CaseReport) -> str:
    """Return the sentence of the worst failed claim."""
    claim = report.failures[0]
    return claim.discrepancy.message if claim.discrepancy is not None else claim.name


def _html_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in HTML, all of it escaped; nothing where it has no rows."""
    if not rows:
        return ""
    first = "".join(f"<th>{escape(str(word))}</th>" for word in head)
    others = "".join("<tr>" + "".join(f"<td>{escape(str(word))}</td>" for word in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{first}</tr></thead><tbody>{others}</tbody></table>"
