"""What is known of a campaign's examples: counts that add up in any order, and the report that is made of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lstm_checks.campaign.plan import Plan
from lstm_checks.cases import strata, strata_of
from lstm_checks.compare import Verdict
from lstm_checks.judging.reports import CaseReport
from lstm_ref.cells import cell_named


@dataclass
class Tally:
    """What is known of some examples: counts, the worst that passed, and the descriptors of those that did not.

    Attributes
    ----------
    verdicts, claims, strata : Counter
        Number of examples by verdict, of claims by "name: verdict", of examples by stratum.
    failed, mistrusted : list of str
        Descriptors of failing examples, and of those on which the oracles disagree, in the order of the plan.
    worst : tuple (float, str, str) or None
        The largest use of the tolerance that passed, the tensor, and the case.
    not_repeatable : int
        Examples in which two calls differ in their last bits.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    claims: Counter[str] = field(default_factory=Counter)
    strata: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    mistrusted: list[str] = field(default_factory=list)
    worst: tuple[float, str, str] | None = None
    not_repeatable: int = 0

    def count(self, report: CaseReport) -> None:
        """Add the report on one example."""
        self.verdicts[str(report.verdict)] += 1
        self.claims.update(f"{claim.name}: {claim.verdict}" for claim in report.claims)
        self.strata.update(strata(report.case))
        descriptor = report.case.descriptor
        self.failed += [descriptor] if report.failures else []
        self.mistrusted += [descriptor] if report.mistrusted else []
        self.not_repeatable += bool(report.notes)
        worst = report.worst
        if worst is not None and worst.verdict is Verdict.PASS:
            self._keep_worst((worst.use, worst.name, descriptor))

    def add(self, other: "Tally") -> None:
        """Add another tally."""
        self.verdicts.update(other.verdicts)
        self.claims.update(other.claims)
        self.strata.update(other.strata)
        self.failed += other.failed
        self.mistrusted += other.mistrusted
        self.not_repeatable += other.not_repeatable
        if other.worst is not None:
            self._keep_worst(other.worst)

    def _keep_worst(self, found: tuple[float, str, str]) -> None:
        """Keep the larger of two uses; of equal ones the first by name, whatever the order."""
        if self.worst is None or (-found[0], *found[1:]) < (-self.worst[0], *self.worst[1:]):
            self.worst = found

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.verdicts.total()

    def to_json(self) -> dict[str, Any]:
        """Return the tally as plain values."""
        plain = {name: dict(sorted(getattr(self, name).items())) for name in ("verdicts", "claims", "strata")}
        worst = None if self.worst is None else list(self.worst)
        lists = {"failed": self.failed, "mistrusted": self.mistrusted}
        return {**plain, **lists, "worst": worst, "not_repeatable": self.not_repeatable}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Tally":
        """Return the tally of plain values."""
        worst = plain["worst"]
        return cls(
            verdicts=Counter(plain["verdicts"]),
            claims=Counter(plain["claims"]),
            strata=Counter(plain["strata"]),
            failed=list(plain["failed"]),
            mistrusted=list(plain["mistrusted"]),
            worst=None if worst is None else (float(worst[0]), str(worst[1]), str(worst[2])),
            not_repeatable=int(plain["not_repeatable"]),
        )


@dataclass(frozen=True)
class CampaignReport:
    """What is said of a target after a campaign.

    Attributes
    ----------
    plan : Plan
    kind : str
        What the target turned out to be.
    tally : Tally
        Of all chunks, in the order of the plan.
    failure : CaseReport or None
        The simplest failing example, from the first that failed.
    resumed, repeated, damaged : int
        Chunks that the journal knew, chunks judged again because a worker was lost, and lines of the journal that were
        not as they had been written.
    """

    plan: Plan
    kind: str
    tally: Tally
    failure: CaseReport | None
    resumed: int = 0
    repeated: int = 0
    damaged: int = 0

    @property
    def exit_code(self) -> int:
        """0 if something was judged and all of it passed; 1 if something failed; 2 if nothing could be judged."""
        if self.tally.mistrusted:
            return 2
        if self.tally.failed:
            return 1
        return 0 if self.tally.verdicts["pass"] else 2

    @property
    def empty_strata(self) -> tuple[str, ...]:
        """The strata in which there is no example."""
        return tuple(name for name in strata_of(cell_named(self.plan.cell)) if not self.tally.strata[name])

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values; no time and no count of what went on, so that equal plans agree."""
        return {
            "schema": "lstm-checks/campaign/1",
            "plan": self.plan.to_json(),
            "kind": self.kind,
            "exit_code": self.exit_code,
            "failure": self.failure.case.descriptor if self.failure is not None else None,
            **self.tally.to_json(),
        }
