"""Whether a target became slower: rounds of timing against the baseline's, as many as it takes to tell."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lstm_checks import tolerance
from lstm_checks.gate.baseline import (
    UPDATE,
    Baseline,
    this_machine,
)
from lstm_checks.gate.config import Speed
from lstm_checks.gate.differences import ratio
from lstm_checks.gate.jobs import JobError, Jobs
from lstm_checks.gate.report import Change, Finding, GateVerdict
from lstm_checks.gate.timing import Shift, looks_alpha, shift_between

RETAKE_AFTER = 2.0  # seconds, for a passing disturbance to pass


def judge_speed(
    speed: Speed, jobs: Jobs, old: Baseline | None, wrong: bool
) -> tuple[Finding, dict[str, tuple[float, ...]], list[str]]:
    """Return what is said of the speed, the rounds that were measured, and notes."""
    subject = f"{speed.target} over {speed.than}"
    if wrong:
        return Finding("speed", subject, GateVerdict.UNJUDGED, "not timed: what is timed must have passed"), {}, []
    rounds = Rounds(speed, jobs)
    try:
        if old is None:
            rounds.extend_to(tolerance.SPEED_BASELINE_ROUNDS)
            shown = ", ".join(f"{ratio(values)} on {case}" for case, values in rounds.found.items())
            return Finding("speed", subject, GateVerdict.PASS, f"time ratio {shown}"), rounds.result(), []
        before, slack, notes = times_before(old)
        return (*_compare_speed(subject, speed, rounds, before, slack, lambda: Rounds(speed, jobs)), notes)
    except JobError as error:
        return Finding("speed", subject, GateVerdict.UNJUDGED, str(error)), {}, []


class Rounds:
    """The rounds of one measurement, as many as are asked for; the first checks what is timed."""

    def __init__(self, speed: Speed, jobs: Jobs) -> None:
        self.speed, self.jobs = speed, jobs
        self.found: dict[str, list[float]] = {case: [] for case in speed.cases}

    def extend_to(self, count: int) -> Mapping[str, Sequence[float]]:
        """Return `count` rounds' figures for each case."""
        job = {"job": "time", "target": self.speed.target, "than": self.speed.than, "seconds": self.speed.seconds}
        job["cell"] = self.speed.cell
        while len(self.found[self.speed.cases[0]]) < count:
            first = not self.found[self.speed.cases[0]]
            # A process a round: what is fixed when it starts, as where its buffers lie, is drawn anew for each.
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
    # Whoever looks again and again until something is seen sees it by chance: so the chance of error is shared among
    # all looks (`looks_alpha`). Slower is told where it is so by more than `margin`, and not slower where more than
    # `limit` is ruled out; until one of them is certain more rounds are taken.
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
        # What disturbs a measurement as a whole is in all of its rounds, and no statistics of them
        # shows it; it is seldom there twice.
        time.sleep(RETAKE_AFTER)
        rounds = again()
        slower, shifts = decide(rounds.extend_to, before, margin, limit, tolerance.SPEED_SECONDS)
    # Of what cannot be told, the case that might be slowest.
    worst = max(shifts, key=lambda case: shifts[case].high if slower is None else shifts[case].estimate)
    shift, count = shifts[worst], len(rounds.found[worst])
    told = f"{shift.estimate:.2f} x the baseline's time ({shift.low:.2f} to {shift.high:.2f}) on {worst}"
    if slower is None:
        message = f"too noisy to tell after {count} rounds: {told}; expected below {limit:g} or above {margin:g}"
        return Finding("speed", subject, GateVerdict.UNJUDGED, message), {}
    if not slower:
        return Finding("speed", subject, GateVerdict.PASS, told), rounds.result()
    slow = [case for case in shifts if shifts[case].low > margin]
    changes = tuple(Change(f"time ratio on {c}", ratio(before[c]), ratio(rounds.found[c])) for c in slow)
    message = f"slower, measured twice: {told}, {count} rounds, margin {margin:g}"
    return Finding("speed", subject, GateVerdict.REGRESSION, message, changes=changes), rounds.result()
