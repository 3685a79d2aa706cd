"""One judgement in a process of its own, so that a target that crashes or hangs takes nothing with it.

`run_job` starts ``python -m checks.judge``, hands it the job as JSON and waits, for so long and no longer. The answer
comes back on what was the child's standard output; whatever the target prints goes to standard error and is shown only
if there is no answer.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks.bench import THREADS, NotPassedError, time_round
from checks.cases import Case
from checks.contract import GRADIENTS, OUTPUTS
from checks.targets import TargetError, load_target

REGIME = "regime "
"""What the name of a group of examples begins with; those of tensors do not."""


class JobError(Exception):
    """A judgement that could not be made: the message says why."""


class Jobs:
    """The judgements under way, which `stop` ends."""

    def __init__(self, root: Path, time_limit: float) -> None:
        self.root, self.time_limit = root, time_limit
        self._lock, self._stopped, self._running = threading.Lock(), False, set[subprocess.Popen[str]]()

    def run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a job.

        Raises
        ------
        JobError
            "crashed: killed by SIGSEGV", "no answer within 300 s", or what kept it from judging.
        """
        # -P: the folder judged may have a module `checks` of its own. -W ignore: this project's warnings are its tests'
        # business, and the target's are its own.
        command = [sys.executable, "-P", "-W", "ignore", "-m", "checks.judge"]
        here = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, **THREADS, "PYTHONPATH": path}
        with self._lock:
            if self._stopped:
                raise JobError("interrupted")
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    cwd=self.root,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise JobError(f"no process could be started: {error}") from error
            self._running.add(process)
        try:
            out, err = process.communicate(json.dumps({**job, "alarm": self.time_limit + 10}), self.time_limit)
        except subprocess.TimeoutExpired:
            raise JobError(f"no answer within {self.time_limit:g} s (time-limit); it hangs, or needs more") from None
        finally:
            self._end(process)
        return _read_answer(process.returncode, out, err)

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                _kill(process)

    def _end(self, process: "subprocess.Popen[str]") -> None:
        """End a process and whatever it started."""
        _kill(process)
        process.communicate()
        with self._lock:
            self._running.discard(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill a process with its children, where it still runs."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass


def _read_answer(code: int, out: str, err: str) -> dict[str, Any]:
    """Return the answer, or raise what the process came to."""
    try:
        answer = json.loads(out)
        kind = answer["kind"]
    except (ValueError, TypeError, KeyError):
        last = (err.strip().splitlines() or [""])[-1][:300]
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise JobError(f"crashed: {how}" + (f"; {last}" if last else "")) from None
    if kind != "answer":
        raise JobError(str(answer["message"]))
    return dict(answer["value"])


# ---- In the child


def main() -> int:
    """Read a job, do it, and answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a target prints is no answer
    job = json.load(sys.stdin)
    if hasattr(signal, "alarm"):
        signal.alarm(int(job["alarm"]) + 1)  # an end even where nobody is left to wait
    try:
        answer = {"kind": "answer", "value": JOBS[job["job"]](job)}
    except (TargetError, NotPassedError, JobError, ImportError) as error:
        answer = {"kind": "error", "message": str(error)}
    json.dump(answer, answers)
    answers.close()
    return 0


def _verify(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `verify` says of a target in one dtype, over the seeds."""
    from checks.compare import Verdict
    from checks.report.text import render_failure, render_report
    from checks.verify import OF_HARNESS, verify

    target = load_target(job["target"])
    found: dict[str, Any] = {"examples": 0, "verdicts": {}, "claims": {}, "failure": "", "mistrusted": ""}
    found |= {"unsupported": list(target.unsupported), "dtypes": list(target.dtypes)}
    uses: dict[str, list[float]] = {}
    for seed in job["seeds"]:
        report = verify(
            target,
            examples=job["examples"],
            seed=seed,
            dtypes=(job["dtype"],),
            max_dims=tuple(job["max-dims"]),
            regimes=tuple(job["regimes"]),
        )
        found["examples"] += len(report.examples)
        for verdict, count in report.counts.items():
            found["verdicts"][str(verdict)] = found["verdicts"].get(str(verdict), 0) + count
        for name, counts in report.claim_counts.items():
            known = found["claims"].setdefault(name, {})
            for verdict, count in counts.items():
                known[str(verdict)] = known.get(str(verdict), 0) + count
        if report.mistrusted:
            found["mistrusted"] = render_report(report)
        if report.failure is not None and not found["failure"]:
            found["failure"] = render_failure(target.name, report.failure)
        for example in report.examples:
            for claim in example.claims:
                if claim.verdict is Verdict.PASS and claim.name in (*OUTPUTS, *GRADIENTS):
                    uses.setdefault(claim.name, []).append(claim.use)
            worst = example.worst
            if worst is not None and worst.verdict is Verdict.PASS:
                uses.setdefault(REGIME + example.case.regime, []).append(worst.use)
    found["failed"] = [n for n, counts in found["claims"].items() if counts.get("fail") and n not in OF_HARNESS]
    found["use"] = {group: (sum(u * u for u in values) / len(values)) ** 0.5 for group, values in uses.items()}
    return found


def _vectors(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the certified vectors say of a target."""
    from checks.vectors import read_vectors, run_vectors

    report = run_vectors(load_target(job["target"]), read_vectors(None))
    failed = [r for r in report.results if r.verdict == "fail"]
    return {
        "counts": report.counts,
        "suspects": list(report.suspects()),
        "failed": [{"vector": r.vector.id, "reason": r.reason} for r in failed],
    }


def _faults(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return which of the catalogued faults examples like the job's catch."""
    from checks.faults.catalogue import FAULTS
    from checks.faults.model import fault_target
    from checks.oracles import expect
    from checks.strategies import draw_cases
    from checks.verify import verify_case

    cases = draw_cases(
        job["examples"], job["seed"], dtypes=(job["dtype"],), max_dims=tuple(job["max-dims"]), regimes=job["regimes"]
    )
    alive = dict(FAULTS)
    # First what the tensors alone show; the further calls, which take ten times as long, for those left over.
    for thorough in (False, True):
        for case in cases:
            if not alive:
                break
            due = expect(case)
            for name, fault in list(alive.items()):
                if verify_case(fault_target(fault), case, thorough, expected=due).failures:
                    del alive[name]
    return {"caught": [name for name in FAULTS if name not in alive], "survived": list(alive), "examples": len(cases)}


def _time(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return one round's figure for each case; with "check", only once both targets have passed on each."""
    target, than = load_target(job["target"]), load_target(job["than"])
    cases = [Case.parse(descriptor) for descriptor in job["cases"]]
    if job.get("check"):
        from checks.verify import verify_case

        for one in (target, than):
            for case in cases:
                verdict = verify_case(one, case, thorough=False).verdict
                if verdict != "pass":
                    raise NotPassedError(f"{one.name} is not timed: {case.descriptor} gives {verdict}, expected pass")
    return {case.descriptor: time_round(target, than, case, job["seconds"]) for case in cases}


JOBS = {"verify": _verify, "vectors": _vectors, "faults": _faults, "time": _time}

if __name__ == "__main__":
    sys.exit(main())
