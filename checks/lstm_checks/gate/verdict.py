"""The regression gate: a configuration and a baseline make a GateReport, and its exit code.

It fails closed: it passes only if something was judged and all of it passed; whatever keeps it from judging is an
exit code of its own. Every judgement runs in a process of its own (see `lstm_checks.gate.jobs`).
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from lstm_checks.formats import is_low
from lstm_checks.gate.baseline import (
    Baseline,
    BaselineError,
    expect_same,
    fault_settings_of,
    read_baseline,
    settings_of,
    speed_settings_of,
    this_machine,
    with_other_machines,
    write_baseline,
)
from lstm_checks.gate.config import GateConfig
from lstm_checks.gate.differences import differences
from lstm_checks.gate.findings import judge_accuracy, judge_faults, judge_vectors, judge_verify
from lstm_checks.gate.jobs import JobError, Jobs
from lstm_checks.gate.report import Finding, GateReport, GateVerdict
from lstm_checks.gate.speed import judge_speed
from lstm_checks.progress import NOBODY, Progress
from lstm_checks.workers.processes import usable_processors


def run(config: GateConfig, progress: Progress = NOBODY) -> GateReport:
    """Return what the gate says under a configuration; nothing is written. `progress` hears of each judgement."""
    start = time.perf_counter()
    old = None
    if config.needs_baseline:
        try:
            old = _comparable(config)
        except BaselineError as error:
            found = Finding("baseline", "", GateVerdict.UNJUDGED, str(error))
            return GateReport((found,), config.baseline_path, time.perf_counter() - start)
    findings, _, notes = _findings(config, old, progress)
    return GateReport(findings, config.baseline_path, time.perf_counter() - start, notes)


def update(config: GateConfig, progress: Progress = NOBODY) -> GateReport:
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
    findings, new, more = _findings(config, None, progress)
    report = GateReport(findings, config.baseline_path, time.perf_counter() - start, (*notes, *more))
    if report.exit_code:
        return report
    new = with_other_machines(new, old)
    write_baseline(config.baseline_path, new)
    # Read back from the file: what is said to be accepted is what the next run compares with.
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


def _findings(
    config: GateConfig, old: Baseline | None, progress: Progress
) -> tuple[tuple[Finding, ...], Baseline, tuple[str, ...]]:
    """Return the findings, the figures for a new baseline, and notes; without `old` nothing is compared with it."""
    jobs = Jobs(config.root, config.time_limit)
    # One judgement a processor, since each of them computes with one thread.
    pool = ThreadPoolExecutor(usable_processors())
    try:
        answers = {name: pool.submit(jobs.run, job) for name, job in jobs_of(config).items()}
        progress.doing(f"judging {', '.join(config.targets)}", len(answers))
        for future in answers.values():
            future.add_done_callback(lambda _: progress())
        findings, new, notes = _judge_answers(config, old, answers, progress)
        if config.speed is not None:
            # Timed last: all other judgements have ended by now, and take no processor from it.
            timed = tuple(f"{target} " for target in (config.speed.target, config.speed.than))
            failed = [f for f in findings if f.what == "verify" and f.outcome is not GateVerdict.PASS]
            wrong = [f for f in failed if f.subject.startswith(timed)]
            progress.doing(f"timing {config.speed.target} and {config.speed.than}")
            finding, rounds, more = judge_speed(config.speed, jobs, old, bool(wrong))
            findings.append(finding)
            notes += more
            if rounds:
                new = replace(new, machines={this_machine(): rounds}, speed_settings=speed_settings_of(config))
    except BaseException:
        # Or the pool would wait for the processes under way, each for as long as its limit allows.
        jobs.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(findings), new, tuple(notes)


def jobs_of(config: GateConfig) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the jobs by what, target and dtype, but for the timing."""
    settings = settings_of(config)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for target in config.targets:
        for dtype in config.dtypes:
            found["verify", target, dtype] = {**settings, "job": "verify", "target": target, "dtype": dtype}
        if config.vectors:
            found["vectors", target, ""] = {"job": "vectors", "target": target, "cell": config.cell}
    if config.faults is not None:
        # In low precision few faults show in so few digits: it is of the examples' sizes that the score is to tell.
        dtype = next((dtype for dtype in config.dtypes if not is_low(dtype)), "float64")
        more = {"job": "faults", "seed": config.seeds[0], "dtype": dtype}
        found["faults", "", ""] = {**fault_settings_of(config), **more}
    return found


def _judge_answers(
    config: GateConfig,
    old: Baseline | None,
    answers: Mapping[tuple[str, str, str], Future[dict[str, Any]]],
    progress: Progress,
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
            findings.append(Finding(what, subject, GateVerdict.UNJUDGED, str(error)))
            continue
        if what == "vectors":
            findings.append(judge_vectors(subject, answer))
        elif what == "faults":
            findings.append(judge_faults(config, answer, old))
            new = replace(new, caught=tuple(answer["caught"]), fault_settings=fault_settings_of(config))
        else:
            finding = judge_verify(subject, answer, config)
            findings.append(finding)
            if finding.outcome is GateVerdict.REGRESSION:
                progress.failed(f"{what} {subject}: {finding.message}; the rest goes on")
            if answer["unsupported"]:
                notes.append(f"{subject} does not support {', '.join(answer['unsupported'])}")
            if finding.outcome is GateVerdict.PASS:
                standings.setdefault(target, {})[dtype] = answer["use"]
            if old is not None and config.accuracy is not None:
                was = old.targets[target]
                # What the target gave when the baseline was taken, and gives no longer, is a regression.
                given_up = finding.outcome is GateVerdict.UNJUDGED and set(was.get(dtype, {})) & set(
                    answer["unsupported"]
                )
                if finding.outcome is GateVerdict.PASS or given_up:
                    findings.append(judge_accuracy(subject, dtype, answer["use"], was, config.accuracy.factor))
    return findings, replace(new, targets=standings), notes
