"""One judgement in a process of its own, so that a target that crashes or hangs takes nothing with it.

`Jobs.run` starts a process that ends in `main`, hands it the job as JSON and waits, for so long and no longer. The
answer comes back as one line on what was the child's standard output. Whatever the target prints goes to standard
error; the end of that is shown if there is no answer.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.files import FileError, parse_json, shown
from lstm_checks.gate.timing import THREADS, NotPassedError, time_round
from lstm_checks.targets.load import TargetError, load_target
from lstm_checks.workers import processes
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import Network

REGIME = "regime "
"""What the name of a group of examples begins with; those of tensors do not."""


GRACE = 2.0
"""Seconds for a process that has answered to end."""
DRAIN = 10.0
"""Seconds for what a process said last to arrive; it takes as long only where something holds its pipes open."""
KEPT_OF_STDERR = 1 << 16
"""Bytes of what a process said last that are kept."""


class JobError(Exception):
    """A judgement that could not be made: the message says why."""


class Jobs:
    """The judgements under way, which `stop` ends."""

    def __init__(self, root: Path, time_limit: float) -> None:
        self.root, self.time_limit = root, time_limit
        self._lock, self._stopped, self._running = threading.Lock(), False, set[subprocess.Popen[bytes]]()

    def run(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a job.

        Raises
        ------
        JobError
            "crashed: killed by SIGSEGV", "no answer within 300 s", or what kept it from judging.
        """
        process = self._start()
        try:
            return _ask(process, {**job, "alarm": self.time_limit + 10}, self.time_limit)
        finally:
            self._end(process)

    def _start(self) -> "subprocess.Popen[bytes]":
        """Return a process that waits for a job."""
        with self._lock:
            if self._stopped:
                raise JobError("interrupted")
            try:
                process = processes.start(__name__, self.root, THREADS)
            except OSError as error:
                raise JobError(f"no process could be started: {error}") from error
            self._running.add(process)
        return process

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                processes.kill(process)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """End a process and whatever it started."""
        processes.kill(process)
        process.wait()
        with self._lock:
            self._running.discard(process)


def _ask(process: "subprocess.Popen[bytes]", job: Mapping[str, Any], time_limit: float) -> dict[str, Any]:
    """Return the answer of a process to a job, or raise what it came to.

    Nothing waits for the end of the pipes: a process that the target has left running may hold them open.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    answer, said = deque[bytes](maxlen=1), bytearray()
    done = threading.Event()

    def listen(stream: IO[bytes]) -> None:
        with stream:
            answer.append(stream.readline())
        done.set()

    def await_end() -> None:
        process.wait()
        done.set()

    listener = _in_background(listen, process.stdout)
    reader = _in_background(_read_all, process.stderr, said)
    _in_background(await_end)
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps(job).encode())
    end = time.monotonic() + time_limit
    if done.wait(time_limit) and listener.is_alive():  # it has ended; what it left running is not waited for
        processes.kill(process)
        listener.join(DRAIN)
    line = answer[0] if answer else b""
    answered = line.endswith(b"\n")
    try:
        process.wait(GRACE if answered else max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        if not answered:
            raise JobError(f"no answer within {time_limit:g} s (time-limit); it hangs, or needs more") from None
    if not answered:
        processes.kill(process)
        reader.join(DRAIN)
        raise JobError(_crash(process.returncode, bytes(said)))
    try:
        found = parse_json(line)
        if found["kind"] == "answer":
            return dict(found["value"])
        message = str(found["message"])
    except (FileError, KeyError, TypeError, ValueError):  # whatever runs there may write to any of its streams
        raise JobError(f"what came is no answer: {shown(line.decode(errors='replace'))}") from None
    raise JobError(message)


def _in_background(function: Any, *arguments: Any) -> threading.Thread:
    """Return a thread that runs a function and that nobody need wait for."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def _read_all(stream: IO[bytes], kept: bytearray) -> None:
    """Read a stream to its end and keep the last of it: a target may print more than fits in memory."""
    with stream:
        while chunk := stream.read1(KEPT_OF_STDERR):  # type: ignore[attr-defined]
            # By bytes and not by chunks, which may be as short as a word.
            kept.extend(chunk)
            del kept[:-KEPT_OF_STDERR]


def _crash(code: int, said: bytes) -> str:
    """Return how a process ended that gave no answer."""
    last = (said.decode(errors="replace").strip().splitlines() or [""])[-1][:300]
    return f"crashed: {processes.how_it_ended(code)}" + (f"; {last}" if last else "")


# ---- In the child


def main() -> int:
    """Read a job, do it, and answer."""
    processes.end_with_parent()
    asked, answering = processes.own_pipes()
    answers = os.fdopen(answering, "w", encoding="utf-8")
    with os.fdopen(asked, encoding="utf-8") as asking:
        job = json.load(asking)
    if hasattr(signal, "alarm"):
        signal.alarm(int(job["alarm"]) + 1)  # an end even where nobody is left to wait
    try:
        answer = {"kind": "answer", "value": JOBS[job["job"]](job)}
    except (TargetError, NotPassedError, JobError, ImportError) as error:
        answer = {"kind": "error", "message": str(error)}
    # At once, so that a line that is not whole is none; a figure that is no number is a crash.
    answers.write(json.dumps(answer, allow_nan=False) + "\n")
    answers.close()
    return 0


def _cell_of(job: Mapping[str, Any]) -> Cell:
    """Return the cell of a job: the plain one where nothing is said."""
    return cell_named(job.get("cell", PLAIN.name))


def _verify(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `verify` says of a target in one dtype, over the seeds."""
    from lstm_checks.compare import Verdict
    from lstm_checks.judging.reports import OF_HARNESS
    from lstm_checks.judging.text import render_failure, render_report
    from lstm_checks.judging.verify import verify

    target = load_target(job["target"], cell=_cell_of(job))
    found: dict[str, Any] = {"examples": 0, "verdicts": {}, "claims": {}, "failure": "", "mistrusted": "", "unlike": []}
    found |= {"formless": "", "unsupported": list(target.unsupported), "dtypes": list(target.dtypes)}
    found["gradients"] = list(target.cell.gradients)
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
            found["formless"] = found["formless"] or _formless(example)
            if example.notes:
                found["unlike"].append(example.case.descriptor)
            for claim in example.claims:
                if claim.verdict is Verdict.PASS and claim.name in target.cell.tensors:
                    uses.setdefault(claim.name, []).append(claim.use)
            worst = example.worst
            if worst is not None and worst.verdict is Verdict.PASS:
                uses.setdefault(REGIME + example.case.regime, []).append(worst.use)
    found["failed"] = [n for n, counts in found["claims"].items() if counts.get("fail") and n not in OF_HARNESS]
    found["use"] = {group: (sum(u * u for u in values) / len(values)) ** 0.5 for group, values in uses.items()}
    return found


VALUES = ("value", "finite", "direction", "property", "oracle", "inputs", "outputs")
"""Kinds of discrepancies in which there were values to judge; in others the target gave none, or of another form."""


def _formless(example: Any) -> str:
    """Return what came in place of values, an exception or a wrong form; empty if values came."""
    for claim in example.failures:
        if claim.discrepancy is None or claim.discrepancy.kind not in VALUES:
            words = claim.name if claim.discrepancy is None else claim.discrepancy.message
            return f"{words} [{example.case.descriptor}]"
    return ""


def _vectors(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the certified vectors say of a target."""
    from lstm_checks.certified.explain import explain_vectors
    from lstm_checks.certified.read import VectorsError
    from lstm_checks.certified.run import run_vectors

    target = load_target(job["target"], cell=_cell_of(job))
    try:
        report = run_vectors(target)
    except VectorsError as error:
        raise JobError(str(error)) from error
    explained = explain_vectors(target, report)
    diagnosis = explained.diagnosis if explained is not None else None
    failed = [r for r in report.results if r.verdict == "fail"]
    return {
        "counts": report.counts,
        "suspects": [suspect.fault for suspect in diagnosis.suspects] if diagnosis is not None else [],
        "failed": [{"vector": r.vector.id, "reason": r.reason} for r in failed],
    }


def _faults(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return which of the catalogued faults that its sizes can show examples like the job's catch."""
    from lstm_checks.cases import BLOCK_EDGES, LENGTHS, cotangents_of
    from lstm_checks.faults.catalogue import faults_of
    from lstm_checks.faults.composition import composition_faults
    from lstm_checks.faults.model import fault_target
    from lstm_checks.judging.case import verify_case
    from lstm_checks.oracles.expected import expect
    from lstm_checks.strategies import draw_cases

    most, cell = tuple(job["max-dims"]), _cell_of(job)
    options = {"dtypes": (job["dtype"],), "max_dims": most, "regimes": job["regimes"]}
    if cell is not PLAIN:
        options |= {"cell": cell, "cotangents": cotangents_of(cell)}
    if isinstance(cell, Network):
        options |= {"lengths": LENGTHS}
    cases = draw_cases(job["examples"], job["seed"], **options)
    # A network's are those of its composition: what its cell can have wrong, the cell by itself is asked.
    known = composition_faults(cell) if isinstance(cell, Network) else faults_of(cell)
    # No size below a block's edge shows what is wrong past it.
    past_edges = min(most) >= max(BLOCK_EDGES)
    alive = {name: fault for name, fault in known.items() if past_edges or fault.family != "blocks"}
    asked = tuple(alive)
    # First what the tensors alone show; the further calls, which take ten times as long, for those left over.
    for thorough in (False, True):
        for case in cases:
            if not alive:
                break
            due = expect(case)
            for name, fault in list(alive.items()):
                if verify_case(fault_target(fault, cell=cell), case, thorough, expected=due).failures:
                    del alive[name]
    return {"caught": [name for name in asked if name not in alive], "survived": list(alive), "examples": len(cases)}


def _time(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return one round's figure for each case; with "check", only if both targets pass on each before and after."""
    target, than = (load_target(job[name], cell=_cell_of(job)) for name in ("target", "than"))
    cases = [replace(Case.parse(descriptor), cell=_cell_of(job)) for descriptor in job["cases"]]
    if job.get("check"):
        _must_pass((target, than), cases)
    # By the names that the configuration has: a case of the plain cell is one of any other, too.
    timed = zip(job["cases"], cases, strict=True)
    found = {name: time_round(target, than, case, job["seconds"]) for name, case in timed}
    if job.get("check"):  # many calls later, it is still right
        _must_pass((target, than), cases)
    return found


def _must_pass(targets: tuple[Target, ...], cases: list[Case]) -> None:
    """Raise NotPassedError unless all targets are right on all cases."""
    from lstm_checks.judging.case import verify_case

    for target in targets:
        for case in cases:
            verdict = verify_case(target, case, thorough=False).verdict
            if verdict != "pass":
                raise NotPassedError(f"{target.name} is not timed: {case.descriptor} gives {verdict}, expected pass")


JOBS = {"verify": _verify, "vectors": _vectors, "faults": _faults, "time": _time}
