"""What is said of one job's answer: right or not, as accurate as before or not, as many known faults caught or not."""

import difflib
from collections.abc import Mapping
from typing import Any

from lstm_checks import tolerance
from lstm_checks.gate.baseline import (
    Baseline,
    Uses,
)
from lstm_checks.gate.config import GateConfig
from lstm_checks.gate.differences import percent
from lstm_checks.gate.jobs import REGIME
from lstm_checks.gate.report import Change, Finding, GateVerdict


def judge_verify(subject: str, answer: Mapping[str, Any], config: GateConfig) -> Finding:
    """Return what is said of a verified target."""
    counts, examples = answer["verdicts"], answer["examples"]
    summary = f"{examples} examples: " + (", ".join(f"{n} {v}" for v, n in counts.items()) or "none")
    if answer["mistrusted"]:
        message = "the oracles disagree; blame the harness and not the target"
        return Finding("verify", subject, GateVerdict.UNJUDGED, message, answer["mistrusted"])
    if answer["formless"] and config.claims:
        # An exception is booked on one claim, and says nothing for any other.
        message = f"wrong, whatever is claimed: {answer['formless']}; {summary}"
        return Finding("verify", subject, GateVerdict.REGRESSION, message, answer["failure"])
    counted = [name for name in answer["failed"] if not config.claims or name in config.claims]
    if counted:
        message = f"wrong: {', '.join(counted)}; {summary}"
        return Finding("verify", subject, GateVerdict.REGRESSION, message, answer["failure"])
    if config.bitwise and answer["unlike"]:
        unlike = answer["unlike"]
        message = (
            f"two calls with the same inputs differ in a bit in {len(unlike)} examples, {unlike[0]} first; {summary}"
        )
        return Finding("verify", subject, GateVerdict.REGRESSION, message)
    judged = counts.get("pass", 0) + counts.get("fail", 0)
    if not judged:
        return Finding("verify", subject, GateVerdict.UNJUDGED, f"nothing was judged in {summary}")
    if examples - judged > config.max_unjudged * examples:
        share = (examples - judged) / examples
        message = f"{share:.0%} could not be judged, more than max-unjudged, {config.max_unjudged:.0%}; {summary}"
        return Finding("verify", subject, GateVerdict.UNJUDGED, message)
    wanted = config.claims or [name for name in answer["gradients"] if name not in config.without]
    never = [name for name in wanted if not answer["claims"].get(name, {}).get("pass")]
    if not config.claims and never:
        lacks = [name for name in never if name in answer["unsupported"]]
        if lacks:
            message = f"gives no {', '.join(lacks)}; name in without = [...] the gradients that need not be; {summary}"
        else:
            message = f"{', '.join(never)} judged in no example; more or larger ones would; {summary}"
        return Finding("verify", subject, GateVerdict.UNJUDGED, message)
    if never:
        near = difflib.get_close_matches(never[0], answer["claims"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != never[0] else ""
        message = f"claim {never[0]!r} was judged in no example{hint}; {summary}"
        return Finding("verify", subject, GateVerdict.UNJUDGED, message)
    return Finding("verify", subject, GateVerdict.PASS, summary)


def judge_vectors(subject: str, answer: Mapping[str, Any]) -> Finding:
    """Return what is said of a target on the certified vectors."""
    counts = answer["counts"]
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    if answer["failed"]:
        lines = [f"{failed['vector']}: {failed['reason']}" for failed in answer["failed"][:3]]
        lines += [f"and {len(answer['failed']) - 3} more"] * (len(answer["failed"]) > 3)
        lines += [f"suspect: {', '.join(answer['suspects'])}"] * bool(answer["suspects"])
        return Finding("vectors", subject, GateVerdict.REGRESSION, f"wrong: {summary}", "\n".join(lines))
    outcome = GateVerdict.PASS if counts["pass"] else GateVerdict.UNJUDGED
    return Finding("vectors", subject, outcome, summary or "no vectors")


def judge_accuracy(subject: str, dtype: str, uses: Mapping[str, float], was: Uses, factor: float) -> Finding:
    """Return what is said of a target's use of its tolerance, and of what it no longer gives, against the baseline."""
    earlier = was.get(dtype, {})
    gone = sorted(set(earlier) - set(uses))
    lost = [group for group in gone if not group.startswith(REGIME)]
    if lost:
        message = f"right in the baseline, and now judged in no example: {', '.join(lost)}"
        changes = tuple(Change(group, "judged", "not judged") for group in lost)
        return Finding("accuracy", subject, GateVerdict.REGRESSION, message, changes=changes)
    if gone or not earlier:
        what = ", ".join(gone) if gone else f"{dtype}: the baseline has no figures of it"
        return Finding("accuracy", subject, GateVerdict.UNJUDGED, f"nothing to compare in {what}")
    floor = tolerance.ACCURACY_FLOOR
    growth = {group: max(uses[group], floor) / max(use, floor) for group, use in earlier.items()}
    worst = max(growth, key=lambda group: growth[group])
    worse = sorted((g for g in growth if growth[g] > factor), key=lambda g: -growth[g])
    if worse:
        message = f"less accurate, though within the tolerance: {worst} uses {growth[worst]:.1f} x as much of it"
        changes = tuple(Change(f"{g}, use of the tolerance", percent(earlier[g]), percent(uses[g])) for g in worse)
        return Finding("accuracy", subject, GateVerdict.REGRESSION, message, changes=changes)
    message = f"uses at most {growth[worst]:.2f} x as much of the tolerance as the baseline ({worst})"
    return Finding("accuracy", subject, GateVerdict.PASS, message)


def judge_faults(config: GateConfig, answer: Mapping[str, Any], old: Baseline | None) -> Finding:
    """Return what is said of the harness itself: how many of the known faults such examples catch."""
    assert config.faults is not None
    caught, survived = answer["caught"], answer["survived"]
    total = len(caught) + len(survived)
    if not total or not answer["examples"]:
        return Finding("faults", "", GateVerdict.UNJUDGED, f"{total} faults and {answer['examples']} examples to judge")
    summary = f"{len(caught)} of {total} caught in {answer['examples']} examples of sizes up to {list(config.max_dims)}"
    lost = [fault for fault in survived if old is not None and fault in (old.caught or ())]
    if lost:
        message = f"caught in the baseline, and no longer: {', '.join(lost)}; {summary}"
        changes = tuple(Change(fault, "caught", "not caught") for fault in lost)
        return Finding("faults", "", GateVerdict.REGRESSION, message, changes=changes)
    if len(caught) < config.faults.score * total:
        message = f"{summary}, expected {config.faults.score:.0%}; not caught: {', '.join(survived)}"
        return Finding("faults", "", GateVerdict.REGRESSION, message)
    return Finding("faults", "", GateVerdict.PASS, summary)
