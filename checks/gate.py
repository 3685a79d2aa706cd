"""The regression gate: a configuration and a baseline make a GateReport, and its exit code.

It fails closed: it passes only if something was judged and all of it passed; whatever keeps it from judging is an
exit code of its own. Every judgement runs in a process of its own (see `checks.judge`).
"""

import difflib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from checks import tolerance
from checks.baseline import (
    UPDATE,
    Baseline,
    BaselineError,
    Uses,
    expect_same,
    fault_settings_of,
    read_baseline,
    settings_of,
    speed_settings_of,
    this_machine,
    with_other_machines,
    write_baseline,
)
from checks.bench import Shift, looks_alpha, shift_between
from checks.config import GateConfig, Speed, read_config
from checks.contract import GRADIENTS
from checks.judge import REGIME, JobError, Jobs

NONE = "(none)"
RETAKE_AFTER = 2.0  # seconds, for a passing disturbance to pass

__all__ = ["Change", "Finding", "GateReport", "Outcome", "read_config", "run", "update"]


class Outcome(StrEnum):
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
    outcome : Outcome
    message : str
        Why, in one line.
    details : str
        Further lines.
    changes : tuple of Change
        Old and new, where they differ.
    """

    what: str
    subject: str
    outcome: Outcome
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

    def of(self, outcome: Outcome) -> tuple[Finding, ...]:
        """Return the findings of one outcome."""
        return tuple(finding for finding in self.findings if finding.outcome is outcome)

    @property
    def outcome(self) -> Outcome:
        """A regression if there is any; not judged if anything was not, or there was nothing; else pass."""
        if self.of(Outcome.REGRESSION):
            return Outcome.REGRESSION
        return Outcome.UNJUDGED if self.of(Outcome.UNJUDGED) or not self.findings else Outcome.PASS

    @property
    def exit_code(self) -> int:
        """0 for a pass, 1 for a regression, 2 for not judged."""
        return {Outcome.PASS: 0, Outcome.REGRESSION: 1, Outcome.UNJUDGED: 2}[self.outcome]


def run(config: GateConfig) -> GateReport:
    """Return what the gate says under a configuration; nothing is written."""
    start = time.perf_counter()
    old = None
    if config.needs_baseline:
        try:
            old = _comparable(config)
        except BaselineError as error:
            found = Finding("baseline", "", Outcome.UNJUDGED, str(error))
            return GateReport((found,), config.baseline_path, time.perf_counter() - start)
    findings, _, notes = _judge(config, old)
    return GateReport(findings, config.baseline_path, time.perf_counter() - start, notes)


def update(config: GateConfig) -> GateReport:
    """Return what the gate says without a baseline; if that is a pass, its figures are written as the new one.

    Raises
    ------
    OSError
        When the baseline cannot be written; it is then as it was.
    """
    start = time.perf_counter()
    notes: tuple[str, ...] = ()
    try:
        old: Baseline | None = read_baseline(config.baseline_path)
    except BaselineError as error:
        old, notes = None, (f"nothing is compared: {error.reason}",)
    findings, new, more = _judge(config, None)
    report = GateReport(findings, config.baseline_path, time.perf_counter() - start, (*notes, *more))
    if report.exit_code:
        return report
    new = with_other_machines(new, old)
    write_baseline(config.baseline_path, new)
    return replace(report, updated=True, accepted=differences(old, read_baseline(config.baseline_path)))


def _comparable(config: GateConfig) -> Baseline:
    """Return the baseline, taken under the same settings."""
    path = config.baseline_path
    baseline = read_baseline(path)
    if config.accuracy is not None:
        expect_same(baseline.settings, settings_of(config), path)
        lacking = [target for target in config.targets if target not in baseline.targets]
        if lacking:
            raise BaselineError(f"{path} has no figures of {', '.join(lacking)}")
    if config.faults is not None:
        expect_same(baseline.fault_settings, fault_settings_of(config), path)
        if baseline.caught is None:
            raise BaselineError(f"{path} does not say which faults were caught")
    if config.speed is not None:
        expect_same(baseline.speed_settings, speed_settings_of(config), path)
        for machine, cases in baseline.machines.items():
            if set(cases) != set(config.speed.cases):
                raise BaselineError(f"{path} has times of other cases for {machine}")
        if not baseline.machines:
            raise BaselineError(f"{path} has no times")
    return baseline


def _judge(config: GateConfig, old: Baseline | None) -> tuple[tuple[Finding, ...], Baseline, tuple[str, ...]]:
    """Return the findings, the figures for a new baseline, and notes; without `old` nothing is compared with it."""
    jobs = Jobs(config.root, config.time_limit)
    pool = ThreadPoolExecutor(_workers())
    try:
        answers = {name: pool.submit(jobs.run, job) for name, job in jobs_of(config).items()}
        findings, new, notes = _judge_answers(config, old, answers)
        if config.speed is not None:
            timed = tuple(f"{target} " for target in (config.speed.target, config.speed.than))
            failed = [f for f in findings if f.what == "verify" and f.outcome is not Outcome.PASS]
            wrong = [f for f in failed if f.subject.startswith(timed)]
            finding, rounds, more = judge_speed(config.speed, jobs, old, bool(wrong))
            findings.append(finding)
            notes += more
            if rounds:
                new = replace(new, machines={this_machine(): rounds}, speed_settings=speed_settings_of(config))
    except BaseException:
        jobs.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(findings), new, tuple(notes)


def _workers() -> int:
    """Return how many judgements run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_of(config: GateConfig) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the jobs by what, target and dtype, but for the timing."""
    settings = settings_of(config)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for target in config.targets:
        for dtype in config.dtypes:
            found["verify", target, dtype] = {**settings, "job": "verify", "target": target, "dtype": dtype}
        if config.vectors:
            found["vectors", target, ""] = {"job": "vectors", "target": target}
    if config.faults is not None:
        more = {"job": "faults", "seed": config.seeds[0], "dtype": config.dtypes[0]}
        found["faults", "", ""] = {**fault_settings_of(config), **more}
    return found


def _judge_answers(
    config: GateConfig, old: Baseline | None, answers: Mapping[tuple[str, str, str], Future[dict[str, Any]]]
) -> tuple[list[Finding], Baseline, list[str]]:
    """Return what is said of the answers, the figures for a new baseline, and notes."""
    findings: list[Finding] = []
    notes: list[str] = []
    new = Baseline(settings=settings_of(config))
    standings: dict[str, dict[str, Any]] = {}
    for (what, target, dtype), future in answers.items():
        subject = f"{target} {dtype}".strip()
        try:
            answer = future.result()
        except JobError as error:
            findings.append(Finding(what, subject, Outcome.UNJUDGED, str(error)))
            continue
        if what == "vectors":
            findings.append(_judge_vectors(subject, answer))
        elif what == "faults":
            findings.append(judge_faults(config, answer, old))
            new = replace(new, caught=tuple(answer["caught"]), fault_settings=fault_settings_of(config))
        else:
            finding = _judge_verify(subject, answer, config)
            findings.append(finding)
            if answer["unsupported"]:
                notes.append(f"{subject} does not support {', '.join(answer['unsupported'])}")
            if finding.outcome is Outcome.PASS:
                standings.setdefault(target, {})[dtype] = answer["use"]
            if old is not None and config.accuracy is not None:
                was = old.targets[target]
                # What the target gave when the baseline was taken, and gives no longer, is a regression.
                given_up = finding.outcome is Outcome.UNJUDGED and set(was.get(dtype, {})) & set(answer["unsupported"])
                if finding.outcome is Outcome.PASS or given_up:
                    findings.append(_judge_accuracy(subject, dtype, answer["use"], was, config.accuracy.factor))
    return findings, replace(new, targets=standings), notes


def _judge_verify(subject: str, answer: Mapping[str, Any], config: GateConfig) -> Finding:
    """Return what is said of a verified target."""
    counts, examples = answer["verdicts"], answer["examples"]
    summary = f"{examples} examples: " + (", ".join(f"{n} {v}" for v, n in counts.items()) or "none")
    if answer["mistrusted"]:
        message = "the oracles disagree; blame the harness and not the target"
        return Finding("verify", subject, Outcome.UNJUDGED, message, answer["mistrusted"])
    if answer["formless"] and config.claims:
        # An exception is booked on one claim, and says nothing for any other.
        message = f"wrong, whatever is claimed: {answer['formless']}; {summary}"
        return Finding("verify", subject, Outcome.REGRESSION, message, answer["failure"])
    counted = [name for name in answer["failed"] if not config.claims or name in config.claims]
    if counted:
        message = f"wrong: {', '.join(counted)}; {summary}"
        return Finding("verify", subject, Outcome.REGRESSION, message, answer["failure"])
    judged = counts.get("pass", 0) + counts.get("fail", 0)
    if not judged:
        return Finding("verify", subject, Outcome.UNJUDGED, f"nothing was judged in {summary}")
    if examples - judged > config.max_unjudged * examples:
        share = (examples - judged) / examples
        message = f"{share:.0%} could not be judged, more than max-unjudged, {config.max_unjudged:.0%}; {summary}"
        return Finding("verify", subject, Outcome.UNJUDGED, message)
    wanted = config.claims or [name for name in GRADIENTS if name not in config.without]
    never = [name for name in wanted if not answer["claims"].get(name, {}).get("pass")]
    if not config.claims and never:
        lacks = [name for name in never if name in answer["unsupported"]]
        if lacks:
            message = f"gives no {', '.join(lacks)}; name in without = [...] the gradients that need not be; {summary}"
        else:
            message = f"{', '.join(never)} judged in no example; more or larger ones would; {summary}"
        return Finding("verify", subject, Outcome.UNJUDGED, message)
    if never:
        near = difflib.get_close_matches(never[0], answer["claims"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != never[0] else ""
        message = f"claim {never[0]!r} was judged in no example{hint}; {summary}"
        return Finding("verify", subject, Outcome.UNJUDGED, message)
    return Finding("verify", subject, Outcome.PASS, summary)


def _judge_vectors(subject: str, answer: Mapping[str, Any]) -> Finding:
    """Return what is said of a target on the certified vectors."""
    counts = answer["counts"]
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    if answer["failed"]:
        lines = [f"{failed['vector']}: {failed['reason']}" for failed in answer["failed"][:3]]
        lines += [f"and {len(answer['failed']) - 3} more"] * (len(answer["failed"]) > 3)
        lines += [f"suspect: {', '.join(answer['suspects'])}"] * bool(answer["suspects"])
        return Finding("vectors", subject, Outcome.REGRESSION, f"wrong: {summary}", "\n".join(lines))
    outcome = Outcome.PASS if counts["pass"] else Outcome.UNJUDGED
    return Finding("vectors", subject, outcome, summary or "no vectors")


def _judge_accuracy(subject: str, dtype: str, uses: Mapping[str, float], was: Uses, factor: float) -> Finding:
    """Return what is said of a target's use of its tolerance, and of what it no longer gives, against the baseline."""
    earlier = was.get(dtype, {})
    gone = sorted(set(earlier) - set(uses))
    lost = [group for group in gone if not group.startswith(REGIME)]
    if lost:
        message = f"right in the baseline, and now judged in no example: {', '.join(lost)}"
        changes = tuple(Change(group, "judged", "not judged") for group in lost)
        return Finding("accuracy", subject, Outcome.REGRESSION, message, changes=changes)
    if gone or not earlier:
        what = ", ".join(gone) if gone else f"{dtype}: the baseline has no figures of it"
        return Finding("accuracy", subject, Outcome.UNJUDGED, f"nothing to compare in {what}")
    floor = tolerance.ACCURACY_FLOOR
    growth = {group: max(uses[group], floor) / max(use, floor) for group, use in earlier.items()}
    worst = max(growth, key=lambda group: growth[group])
    worse = sorted((g for g in growth if growth[g] > factor), key=lambda g: -growth[g])
    if worse:
        message = f"less accurate, though within the tolerance: {worst} uses {growth[worst]:.1f} x as much of it"
        changes = tuple(Change(f"{g}, use of the tolerance", _percent(earlier[g]), _percent(uses[g])) for g in worse)
        return Finding("accuracy", subject, Outcome.REGRESSION, message, changes=changes)
    message = f"uses at most {growth[worst]:.2f} x as much of the tolerance as the baseline ({worst})"
    return Finding("accuracy", subject, Outcome.PASS, message)


def judge_faults(config: GateConfig, answer: Mapping[str, Any], old: Baseline | None) -> Finding:
    """Return what is said of the harness itself: how many of the known faults such examples catch."""
    assert config.faults is not None
    caught, survived = answer["caught"], answer["survived"]
    total = len(caught) + len(survived)
    if not total or not answer["examples"]:
        return Finding("faults", "", Outcome.UNJUDGED, f"{total} faults and {answer['examples']} examples to judge")
    summary = f"{len(caught)} of {total} caught in {answer['examples']} examples of sizes up to {list(config.max_dims)}"
    lost = [fault for fault in survived if old is not None and fault in (old.caught or ())]
    if lost:
        message = f"caught in the baseline, and no longer: {', '.join(lost)}; {summary}"
        changes = tuple(Change(fault, "caught", "not caught") for fault in lost)
        return Finding("faults", "", Outcome.REGRESSION, message, changes=changes)
    if len(caught) < config.faults.score * total:
        message = f"{summary}, expected {config.faults.score:.0%}; not caught: {', '.join(survived)}"
        return Finding("faults", "", Outcome.REGRESSION, message)
    return Finding("faults", "", Outcome.PASS, summary)


# ---- Speed


def judge_speed(
    speed: Speed, jobs: Jobs, old: Baseline | None, wrong: bool
) -> tuple[Finding, dict[str, tuple[float, ...]], list[str]]:
    """Return what is said of the speed, the rounds that were measured, and notes."""
    subject = f"{speed.target} over {speed.than}"
    if wrong:
        return Finding("speed", subject, Outcome.UNJUDGED, "not timed: what is timed must have passed"), {}, []
    rounds = Rounds(speed, jobs)
    try:
        if old is None:
            rounds.extend_to(tolerance.SPEED_BASELINE_ROUNDS)
            shown = ", ".join(f"{_ratio(values)} on {case}" for case, values in rounds.found.items())
            return Finding("speed", subject, Outcome.PASS, f"time ratio {shown}"), rounds.result(), []
        before, slack, notes = times_before(old)
        return (*_compare_speed(subject, speed, rounds, before, slack, lambda: Rounds(speed, jobs)), notes)
    except JobError as error:
        return Finding("speed", subject, Outcome.UNJUDGED, str(error)), {}, []


class Rounds:
    """The rounds of one measurement, as many as are asked for; the first checks what is timed."""

    def __init__(self, speed: Speed, jobs: Jobs) -> None:
        self.speed, self.jobs = speed, jobs
        self.found: dict[str, list[float]] = {case: [] for case in speed.cases}

    def extend_to(self, count: int) -> Mapping[str, Sequence[float]]:
        """Return `count` rounds' figures for each case."""
        job = {"job": "time", "target": self.speed.target, "than": self.speed.than, "seconds": self.speed.seconds}
        while len(self.found[self.speed.cases[0]]) < count:
            first = not self.found[self.speed.cases[0]]
            answer = self.jobs.run({**job, "cases": list(self.speed.cases), "check": first})
            for case in self.speed.cases:
                self.found[case].append(answer[case])
        return self.found

    def result(self) -> dict[str, tuple[float, ...]]:
        """Return the figures so far."""
        return {case: tuple(values) for case, values in self.found.items()}


def times_before(old: Baseline) -> tuple[Mapping[str, Sequence[float]], float, list[str]]:
    """Return the baseline's rounds for this machine with the factor 1, or those of another with a larger one."""
    here = this_machine()
    if here in old.machines:
        return old.machines[here], 1.0, []
    # Of several other machines, the one on which the target was slowest: nobody is stopped for a new processor.
    other = max(old.machines, key=lambda name: sum(float(np.median(v)) for v in old.machines[name].values()))
    note = (
        f"the baseline has no times of this machine ({here}), so those of {other} are taken and only a slowdown of "
        f"{tolerance.SPEED_ELSEWHERE:g} times the margin is told; {UPDATE} here"
    )
    return old.machines[other], tolerance.SPEED_ELSEWHERE, [note]


def decide(
    measure: Callable[[int], Mapping[str, Sequence[float]]],
    before: Mapping[str, Sequence[float]],
    margin: float,
    limit: float,
    seconds: float = math.inf,
) -> tuple[bool | None, dict[str, Shift]]:
    """Return whether anything is slower (None: cannot be told), and the shift of each case.

    Sequential: after each of `tolerance.SPEED_LOOKS` rounds it is slower if a lower bound exceeds `margin`, and not
    slower if all upper bounds are at most `limit`; otherwise more rounds are taken, as long as there are any and as
    they can be expected to end within the seconds.
    """
    shifts: dict[str, Shift] = {}
    start, taken = time.monotonic(), 0
    for look in tolerance.SPEED_LOOKS:
        if taken and (time.monotonic() - start) * look / taken > seconds:
            break
        taken = look
        now = measure(look)
        alpha = looks_alpha(len(before))
        shifts = {case: shift_between(now[case], before[case], alpha) for case in before}
        if any(shift.low > margin for shift in shifts.values()):
            return True, shifts
        if all(shift.high <= limit for shift in shifts.values()):
            return False, shifts
    return None, shifts


def _compare_speed(
    subject: str,
    speed: Speed,
    rounds: Rounds,
    before: Mapping[str, Sequence[float]],
    slack: float,
    again: Callable[[], Rounds],
) -> tuple[Finding, dict[str, tuple[float, ...]]]:
    """Return what is said of the speed against the baseline; what seems slower is measured once more, afresh."""
    margin, limit = speed.margin * slack, speed.limit * slack
    slower, shifts = decide(rounds.extend_to, before, margin, limit, tolerance.SPEED_SECONDS)
    if slower:
        time.sleep(RETAKE_AFTER)
        rounds = again()
        slower, shifts = decide(rounds.extend_to, before, margin, limit, tolerance.SPEED_SECONDS)
    # Of what cannot be told, the case that might be slowest.
    worst = max(shifts, key=lambda case: shifts[case].high if slower is None else shifts[case].estimate)
    shift, count = shifts[worst], len(rounds.found[worst])
    told = f"{shift.estimate:.2f} x the baseline's time ({shift.low:.2f} to {shift.high:.2f}) on {worst}"
    if slower is None:
        message = f"too noisy to tell after {count} rounds: {told}; expected below {limit:g} or above {margin:g}"
        return Finding("speed", subject, Outcome.UNJUDGED, message), {}
    if not slower:
        return Finding("speed", subject, Outcome.PASS, told), rounds.result()
    slow = [case for case in shifts if shifts[case].low > margin]
    changes = tuple(Change(f"time ratio on {c}", _ratio(before[c]), _ratio(rounds.found[c])) for c in slow)
    message = f"slower, measured twice: {told}, {count} rounds, margin {margin:g}"
    return Finding("speed", subject, Outcome.REGRESSION, message, changes=changes), rounds.result()


def _ratio(rounds: Sequence[float]) -> str:
    """Return a ratio of times from its logarithms."""
    return f"{math.exp(float(np.median(rounds))):.3f}"


def _percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}g} %"


# ---- What an update accepts


def differences(old: Baseline | None, new: Baseline) -> tuple[Change, ...]:
    """Return in what a new baseline differs from the one before."""
    before, after = _flat(old), _flat(new)
    changes = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, NONE), after.get(name, NONE)
        if was != now:
            changes.append(Change(name, was, now))
    return tuple(changes)


def _flat(baseline: Baseline | None) -> dict[str, str]:
    """Return a baseline's figures by name, as texts."""
    if baseline is None:
        return {}
    found = {key: str(value) for key, value in baseline.settings.items()}
    found |= {f"faults {key}": str(value) for key, value in baseline.fault_settings.items()}
    found |= {f"speed {key}": str(value) for key, value in baseline.speed_settings.items()}
    for target, uses in baseline.targets.items():
        for dtype, groups in uses.items():
            # As many digits as are written, so that whatever differs is seen.
            found |= {f"{target} {dtype} {g}, use of the tolerance": _percent(use, 4) for g, use in groups.items()}
    found |= {f"fault {fault}": "caught" for fault in baseline.caught or ()}
    for machine, cases in baseline.machines.items():
        found |= {f"time ratio on {case} ({machine})": _ratio(rounds) for case, rounds in cases.items()}
    return found
