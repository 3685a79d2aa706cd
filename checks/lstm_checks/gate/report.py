"""What the gate says: a finding for each thing that was to be judged, and the exit code of them all."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class GateVerdict(StrEnum):
    """What came of one thing that was to be judged."""

    PASS = "pass"
    REGRESSION = "regression"
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Change:
    """A figure that differs: its name, as it was, as it is."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Finding:
    """What is said of one thing.

    Attributes
    ----------
    what : str
        "verify", "vectors", "accuracy", "faults", "speed" or "baseline".
    subject : str
        Of what: a target and a dtype.
    outcome : GateVerdict
    message : str
        Why, in one line.
    details : str
        Further lines.
    changes : tuple of Change
        Old and new, where they differ.
    """

    what: str
    subject: str
    outcome: GateVerdict
    message: str
    details: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """What and of what."""
        return f"{self.what} {self.subject}".strip()


@dataclass(frozen=True)
class GateReport:
    """What the gate says.

    Attributes
    ----------
    findings : tuple of Finding
    baseline : Path
        Where the baseline is, or belongs.
    seconds : float
    notes : tuple of str
        What a reader should know and what changes no verdict.
    updated : bool
        Whether the baseline was written.
    accepted : tuple of Change
        In what the baseline that was written differs from the one before.
    """

    findings: tuple[Finding, ...]
    baseline: Path
    seconds: float
    notes: tuple[str, ...] = ()
    updated: bool = False
    accepted: tuple[Change, ...] = ()

    def of(self, outcome: GateVerdict) -> tuple[Finding, ...]:
        """Return the findings of one outcome."""
        return tuple(finding for finding in self.findings if finding.outcome is outcome)

    @property
    def outcome(self) -> GateVerdict:
        """A regression if there is any; not judged if anything was not, or there was nothing; else pass."""
        if self.of(GateVerdict.REGRESSION):
            return GateVerdict.REGRESSION
        return GateVerdict.UNJUDGED if self.of(GateVerdict.UNJUDGED) or not self.findings else GateVerdict.PASS

    @property
    def exit_code(self) -> int:
        """0 for a pass, 1 for a regression, 2 for not judged."""
        return {GateVerdict.PASS: 0, GateVerdict.REGRESSION: 1, GateVerdict.UNJUDGED: 2}[self.outcome]
