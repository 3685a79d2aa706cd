"""A target on certified vectors: the verdict on each, and what is reported of all. Needs no extra."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_checks.calling import Outcome, call_target
from lstm_checks.certified.read import VectorFile, read_vectors_file
from lstm_checks.certified.vectors import FLAGS, OF_NETWORKS, Vector
from lstm_checks.compare import form_fault
from lstm_checks.contract import DCN, STATES, Target, with_article
from lstm_checks.files import shown

PASS, FAIL, UNSUPPORTED = "pass", "fail", "unsupported"


@dataclass(frozen=True)
class VectorResult:
    """The verdict on one vector.

    Attributes
    ----------
    vector : Vector
    verdict : str
        "pass", "fail" or "unsupported".
    reason : str
        The worst entry with what it should be, or why there is none.
    use : float
        The largest deviation over its tolerance; NaN counts as infinite, and so does a wrong form.
    tensors : dict
        The same for each tensor that was judged.
    """

    vector: Vector
    verdict: str
    reason: str = ""
    use: float = 0.0
    tensors: Mapping[str, float] | None = None


@dataclass(frozen=True)
class VectorReport:
    """What a target did on every vector.

    Attributes
    ----------
    target : str
    results : tuple of VectorResult
    file : VectorFile or None
        Which the vectors are from, where they are those of a file.
    lacking : tuple of str
        The outputs and gradients that the target does not give, which no vector has judged.
    """

    target: str
    results: tuple[VectorResult, ...]
    file: VectorFile | None = None
    lacking: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was judged and all of it passed."""
        return self.counts[PASS] > 0 and self.counts[FAIL] == 0

    @property
    def judged(self) -> bool:
        """Whether the target could be run on any vector."""
        return self.counts[PASS] + self.counts[FAIL] > 0

    @property
    def counts(self) -> dict[str, int]:
        """How many vectors passed, failed and were unsupported."""
        return _count(self.results)

    def by_flag(self) -> dict[str, dict[str, int]]:
        """Return the counts of each flag, in the order of `FLAGS`."""
        flags = dict.fromkeys(
            [*FLAGS, *OF_NETWORKS, *(flag for result in self.results for flag in result.vector.flags)]
        )
        found = {flag: [r for r in self.results if flag in r.vector.flags] for flag in flags}
        return {flag: _count(results) for flag, results in found.items() if results}

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a vector, for a table: vector, verdict, use, reason, flags."""
        return [
            {"vector": r.vector.id, "verdict": r.verdict, "use": r.use, "reason": r.reason, "flags": r.vector.flags}
            for r in self.results
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report in plain types."""
        rows = [row | {"use": row["use"] if np.isfinite(row["use"]) else str(row["use"])} for row in self.rows()]
        return {
            "target": self.target,
            "file": str(self.file.path) if self.file else None,
            "sha256": self.file.sha256 if self.file else None,
            "shipped": self.file is not None and self.file.shipped,
            "lacking": list(self.lacking),
            "passed": self.passed,
            "counts": self.counts,
            "flags": self.by_flag(),
            "vectors": [row | {"flags": list(row["flags"])} for row in rows],
        }


def _count(results: Sequence[VectorResult]) -> dict[str, int]:
    """Return how many results have each verdict."""
    return {verdict: sum(r.verdict == verdict for r in results) for verdict in (PASS, FAIL, UNSUPPORTED)}


def run_vectors(
    target: Target,
    vectors: VectorFile | Iterable[Vector] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> VectorReport:
    """Return the verdict on each vector, of a file or not; the shipped ones of its cell where None are given.

    Needs no extra.

    `progress` is called after each.
    """
    vectors = read_vectors_file(cell=target.cell) if vectors is None else vectors
    file = vectors if isinstance(vectors, VectorFile) else None
    results: list[VectorResult] = []
    for vector in vectors.vectors if isinstance(vectors, VectorFile) else vectors:
        results.append(_run(target, vector))
        progress()
    lacking = tuple(name for name in target.cell.tensors if name in target.lacks)
    return VectorReport(target.name, tuple(results), file, lacking)


def _run(target: Target, vector: Vector) -> VectorResult:
    """Return the verdict on one vector."""
    reason = _unsupported(target, vector)
    if reason:
        return VectorResult(vector, UNSUPPORTED, reason)
    names = [name for name in target.cell.tensors if name not in target.lacks]
    outcome = call_target(target, vector.arrays.copy(), vector.sequences)
    if outcome.error:
        return VectorResult(vector, FAIL, outcome.sentence, np.inf)
    unknown = sorted(map(str, set(outcome.values) - {*target.cell.tensors, *target.twins}))
    if unknown:
        return VectorResult(vector, FAIL, f"{shown(unknown[0])} is not a gradient of the contract", np.inf)
    judged = {name: _largest_deviation(name, outcome, vector) for name in names}
    uses = {name: use for name, (use, _) in judged.items()}
    worst, reason = max(judged.values(), key=lambda found: found[0])
    return VectorResult(vector, PASS if worst <= 1 else FAIL, reason, worst, uses)


def _unsupported(target: Target, vector: Vector) -> str:
    """Return why a target cannot be run on a vector; nothing where it can."""
    cell = target.cell
    if vector.cell.name != cell.name:
        return f"the vectors are of {with_article(vector.cell.title)}, the target {with_article(cell.title)}"
    if not target.takes(vector.dtype):
        return f"the target does not compute in {vector.dtype}"
    if STATES in target.lacks and any(vector.arrays[name].any() for name in cell.initial):
        return "the target takes no initial states"
    # What is not taken is zero in a target's own examples; here it is as it is.
    for name in cell.inputs:
        if name in target.lacks and vector.arrays[name].any():
            return f"the target takes no {name}"
    if DCN in target.lacks and any(vector.arrays[name].any() for name in cell.of_memories):
        return "the target takes no cotangent of the final memory state"
    kind = kind_of_lengths(vector)
    if kind and kind not in target.lengths:
        return f"the target takes no {kind} lengths" if target.lengths else "the target takes no lengths"
    sizes = dict(zip(cell.letters, vector.dims, strict=True))
    if target.limits.fit(sizes) != sizes:
        return "the target does not take these sizes"
    if not any(name not in target.lacks for name in cell.tensors):
        return "the target gives no output and no gradient"
    return ""


def kind_of_lengths(vector: Vector) -> str:
    """Return which of the kinds of lengths of a case a vector has; nothing where nothing is said of them."""
    lengths, s = vector.cell.lengths, vector.dims[1]
    if lengths is None:
        return ""
    if min(lengths) == 0:
        return "empty"
    if set(lengths) == {s}:
        return "whole"
    if set(lengths) == {1}:
        return "ones"
    if max(lengths) < s:
        return "short"
    return "sorted" if list(lengths) == sorted(lengths, reverse=True) else "ragged"


def _largest_deviation(name: str, outcome: Outcome, vector: Vector) -> tuple[float, str]:
    """Return a tensor's largest deviation over its tolerance, and that entry in words; the form as `verify` has it."""
    values, cell = outcome.values, vector.cell
    due, accepted = (outcome.shaped(name, of[name], cell) for of in (vector.values, vector.tolerances))
    badly_formed = form_fault(name, values, due.shape, vector.dtype, cell)
    if badly_formed is not None and badly_formed.discrepancy is not None:
        return np.inf, badly_formed.discrepancy.message
    value = values[name].astype(np.float64)
    with np.errstate(all="ignore"):
        deviation = np.abs(value - due) / accepted
    deviation = np.where(np.isnan(deviation), np.inf, deviation)
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(deviation)), deviation.shape))
    entry = f"{name}[{', '.join(map(str, index))}]"
    words = f"{entry} = {float(value[index])!r}, should be {float(due[index])!r} ± {accepted[index]:.2g}"
    return float(deviation[index]), words
