"""Many examples on many processes: seeded chunks over any executor, merged the same whatever the order.

A chunk is a number of examples with a seed of its own, so that its result depends on the plan and its index alone. What
is done is written to a journal line by line, each with a digest of what it says and of the campaign that it is of; a
chunk whose line is damaged or whose worker was lost is judged again, and none counts twice.
"""

import hashlib
import json
import math
import os
import shlex
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TextIO

import lstm_checks
import lstm_ref
from lstm_checks import strategies
from lstm_checks.cases import DTYPES, REGIMES, STRATA, Case, strata
from lstm_checks.compare import Verdict
from lstm_checks.contract import Target
from lstm_checks.files import FileError, parse_json, read_bytes, shown
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain_simplest, most_telling
from lstm_checks.judging.reports import CaseReport
from lstm_checks.strategies import draw_options
from lstm_checks.targets.load import EXEC, FRAMEWORKS, TargetError, load_target, runs_elsewhere
from lstm_checks.workers.remote import load_remote

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CHUNK = 250
ATTEMPTS = 3
FORMAT = "lstm-checks/journal/2"


class CampaignError(Exception):
    """The campaign cannot be carried out, or not go on; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What is judged. Equal plans give equal results.

    Parameters
    ----------
    target : str
        As `lstm_checks.targets.load.load_target` takes it; every worker must be able to load it.
    examples, seed : int
    dtypes, regimes : tuple of str
    max_dims : tuple of int, optional
    chunk : int
        Number of examples judged at a time.
    """

    target: str
    examples: int
    seed: int = 0
    dtypes: tuple[str, ...] = DTYPES
    regimes: tuple[str, ...] = REGIMES
    max_dims: strategies.Dims | None = None
    chunk: int = CHUNK

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.examples // self.chunk)

    def count(self, index: int) -> int:
        """Return the number of examples of a chunk."""
        return min(self.chunk, self.examples - index * self.chunk)

    def cases(self, index: int, target: Target) -> tuple[dict[Case, strategies.Origin], dict[str, Any]]:
        """Return the cases of a chunk with their origins, and the options they were drawn with."""
        options = draw_options(target, seed=self.seed, dtypes=self.dtypes, max_dims=self.max_dims, regimes=self.regimes)
        # Hypothesis begins with the simplest cases every time; with seeds of its own a chunk has none of another's.
        options["first_seed"] = index * strategies.SEEDS
        return strategies.draw_cases(self.count(index), (self.seed << 32) + index, **options), options

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Plan":
        """Return the plan of plain values."""
        found: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**found)


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
        return tuple(name for name in STRATA if not self.tally.strata[name])

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


@cache
def code_of(target: str) -> dict[str, str]:
    """Return what results depend on besides the plan: digests of the sources, and versions of what draws the examples.

    Once a process, when the target has just been loaded: so it is the code that runs, whatever is edited meanwhile.
    """
    packages = (lstm_checks.__file__, lstm_ref.__file__)
    own = [path for package in packages for path in sorted(Path(str(package)).parent.rglob("*.py"))]
    found = {"the target": _digest(_sources(target)), "lstm-checks": _digest(own)}
    if target in FRAMEWORKS:
        found[target] = metadata.version("onnxruntime" if target == "onnx" else target)
    return found | {name: metadata.version(name) for name in ("numpy", "scipy", "hypothesis")}


def _sources(target: str) -> list[Path]:
    """Return the files that hold a target, as far as its name tells: one, or those of the package it is in."""
    if target.startswith(EXEC):
        program = shutil.which(shlex.split(target.removeprefix(EXEC))[0])
        return [Path(program)] if program else []
    place = target if target.endswith(".onnx") else target.rpartition(":")[0]
    if place.endswith((".onnx", ".py")):
        return [Path(place)]
    file = _file_of(place)
    if file is None:
        return []
    in_package = "." in place or Path(file).name == "__init__.py"
    return sorted(Path(file).parent.rglob("*.py")) if in_package else [Path(file)]


def _file_of(module: str) -> str | None:
    """Return the file of a module without importing anything, its packages neither."""
    known = getattr(sys.modules.get(module), "__file__", None)
    if known is not None:
        return str(known)
    path: Iterable[str] = [os.getcwd(), *sys.path]
    name, found = "", None
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        with suppress(Exception):
            found = PathFinder.find_spec(name, [str(place) for place in path])
        if found is None:
            return None
        path = found.submodule_search_locations or ()
    return found.origin if found is not None else None


def _digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of some files, one after the other."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return what differs, in words; empty if nothing."""
    for name, value in ours.items():
        if theirs.get(name) != value:
            return f"{name} is {theirs.get(name)!r} there and {value!r} here"
    return ""


def judge_chunk(plain: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the tally of one chunk and the code as plain values, or why the target cannot be loaded; in a worker.

    The target runs in a process of its own: nothing of it, not even an exception, is in what goes back.
    """
    plan = Plan.from_json(plain)
    try:
        target = _target_here(plan.target)
    except TargetError as error:
        return {"error": str(error)}
    tally = Tally()
    for case in plan.cases(index, target)[0]:
        tally.count(verify_case(target, case))
    return {"tally": tally.to_json(), "code": code_of(plan.target)}


_HERE = threading.local()


def _target_here(spec: str) -> Target:
    """Return the target of a spec, loaded once a thread that judges: two would talk to its process at once."""
    loaded: dict[str, Target] = _HERE.__dict__.setdefault("loaded", {})
    if spec not in loaded:
        # Each call has its limit, a campaign as long as it takes.
        loaded[spec] = load_remote(spec, whole=math.inf) if runs_elsewhere(spec) else load_target(spec)
    return loaded[spec]


def run(
    plan: Plan,
    start_executor: Callable[[], Executor],
    *,
    workers: int = os.cpu_count() or 1,
    journal: str | Path | None = None,
    progress: Callable[[int], None] = lambda examples: None,
) -> CampaignReport:
    """Return the report on a target after all chunks of a plan.

    Parameters
    ----------
    plan : Plan
    start_executor : callable
        Returns an executor; called again where one broke.
    workers : int
        How many chunks are under way at a time.
    journal : path, optional
        File to which each finished chunk is written, and from which an interrupted campaign goes on.
    progress : callable
        Called with the number of examples that were judged.

    Raises
    ------
    CampaignError
        "the target cannot be loaded ..."; "chunk 3 was lost 3 times: ..."; "a worker has other code: numpy is '2.0.2'
        there and '2.3.1' here"; "journal.jsonl is of another campaign: seed is 1 there and 0 here"
    """
    try:
        target = _target_here(plan.target)
    except TargetError as error:
        raise CampaignError(f"the target cannot be loaded: {error}") from error
    with _open_journal(journal, plan) as (known, damaged, write):
        resumed = len(known)
        progress(sum(tally.examples for tally in known.values()))
        repeated = 0
        for index, tally, lost in _judge(
            plan, [k for k in range(plan.chunks) if k not in known], start_executor, workers
        ):
            repeated += lost
            known[index] = tally
            write(index, tally)
            progress(tally.examples)
    whole = Tally()
    for index in sorted(known):
        whole.add(known[index])
    failure = _explain(plan, target, known) if whole.failed else None
    return CampaignReport(plan, target.kind, whole, failure, resumed, repeated, damaged)


def _judge(
    plan: Plan, wanted: list[int], start_executor: Callable[[], Executor], workers: int
) -> Iterator[tuple[int, Tally, int]]:
    """Yield the index and the tally of each chunk as it is done, and how often it was lost before.

    Of a pool that breaks nobody can tell which of the chunks under way was its end. So no more are under way than are
    judged at a time, those that were then are judged again one at a time, and only what is lost by itself is charged.
    """
    lost, charged = Counter[int](), Counter[int]()
    suspects = set[int]()
    waiting = wanted[::-1]
    executor = start_executor()
    under_way: dict[Future[dict[str, Any]], int] = {}
    try:
        while waiting or under_way:
            broken = False
            try:
                while waiting and len(under_way) < (1 if suspects else workers):
                    under_way[executor.submit(judge_chunk, plan.to_json(), waiting[-1])] = waiting[-1]
                    waiting.pop()
            except BrokenExecutor:  # by the end of a worker that had nothing to do
                broken = True
            alone = len(under_way) == 1
            for future in wait(under_way, return_when=FIRST_COMPLETED).done if under_way else ():
                index = under_way.pop(future)
                try:
                    found = future.result()
                except Exception as error:
                    lost[index] += 1
                    charged[index] += alone
                    if charged[index] >= ATTEMPTS:
                        why = f"{type(error).__name__}: {error}"
                        raise CampaignError(f"chunk {index} was lost {ATTEMPTS} times: {why}") from error
                    waiting.append(index)
                    suspects.add(index)
                    broken = True
                    continue
                suspects.discard(index)
                if "error" in found:
                    raise CampaignError(f"a worker cannot load the target: {found['error']}")
                differing = _differing(found["code"], code_of(plan.target))
                if differing:
                    raise CampaignError(f"a worker has other code: {differing}")
                yield index, Tally.from_json(found["tally"]), lost[index]
            if broken:
                # A broken pool takes no more work, and what it had under way is lost with it.
                waiting += sorted(under_way.values(), reverse=True)
                suspects.update(under_way.values())
                _stop(executor, under_way)
                under_way.clear()
                executor = start_executor()
    finally:
        _stop(executor, under_way)


def _stop(executor: Executor, under_way: Iterable[Future[Any]]) -> None:
    """Let go of an executor and of what it has under way."""
    for future in under_way:
        future.cancel()
    executor.shutdown()


def _explain(plan: Plan, target: Target, known: Mapping[int, Tally]) -> CaseReport:
    """Return the report on the simplest example that fails as one of the first ones did."""
    index = next(k for k in sorted(known) if known[k].failed)
    origins, options = plan.cases(index, target)
    first = [verify_case(target, Case.parse(descriptor)) for descriptor in known[index].failed[:LOOKED_AT]]
    report = most_telling([again for again in first if again.failures])
    # A failure that does not repeat is reported by its descriptor.
    return first[0] if report is None else explain_simplest(target, report, origins[report.case], options)


LOOKED_AT = 8
"""Of how many failed examples the most telling one is explained."""


@contextmanager
def _open_journal(
    path: str | Path | None, plan: Plan
) -> Iterator[tuple[dict[int, Tally], int, Callable[[int, Tally], None]]]:
    """Yield the chunks that a journal knows, how many lines are damaged, and a function that adds a chunk to it.

    Meanwhile the journal is locked.
    """
    if path is None:
        yield {}, 0, lambda index, tally: None
        return
    path = Path(path)
    with _writing(path):
        # Not to wait for whoever would read a pipe.
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o644)
        file = os.fdopen(handle, "a", encoding="utf-8")
    try:
        _lock(file, path)
        lines, known, damaged = _read_journal(path, plan)
        with _writing(path):
            if lines is not None:
                _rewrite(file, path, lines)

        def write(index: int, tally: Tally) -> None:
            with _writing(path):
                _append(file, _line({"chunk": index, "tally": tally.to_json()}, plan))

        yield known, damaged, write
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a CampaignError."""
    try:
        yield
    except OSError as error:
        raise CampaignError(f"the journal {path} cannot be written: {error.strerror or error}") from error


def _lock(file: TextIO, path: Path) -> None:
    """Lock a journal until it is closed; the system lets go of it whatever ends this process."""
    if fcntl is None:
        return
    with _writing(path):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CampaignError(f"another campaign is writing to the journal {path}") from None


def _head(plan: Plan) -> dict[str, Any]:
    """Return what the first line of a journal says."""
    return {"format": FORMAT, "plan": plan.to_json(), "code": code_of(plan.target)}


def _line(value: Mapping[str, Any], plan: Plan) -> str:
    """Return a line of a plan's journal, with the digest of what it says."""
    return json.dumps({**value, "sha256": _digest_of(value, plan)}) + "\n"


def _digest_of(value: Mapping[str, Any], plan: Plan) -> str:
    """Return the SHA-256 of what a line says and of the campaign that says it."""
    text = json.dumps([_head(plan), value], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _append(file: TextIO, text: str) -> None:
    """Write a text that is on the disk when this returns."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def _rewrite(file: TextIO, path: Path, lines: list[str]) -> None:
    """Write a journal of these lines alone in place of what is there; should this be cut short, chunks are lost."""
    if path.is_file():
        os.truncate(path, 0)
    _append(file, "".join(lines))


def _read_journal(path: Path, plan: Plan) -> tuple[list[str] | None, dict[int, Tally], int]:
    """Return the lines that a journal should have, None if it has just these; the chunks it knows; the damaged lines.

    A line is damaged where it has not the digest that it was written with, or was cut off. A file none of whose lines
    has one is no journal of this campaign, and nothing is done to it.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise CampaignError(f"the journal {path} cannot be read: {error.strerror or error}") from error
    except FileError as error:
        if _is_device(path):
            return [_line(_head(plan), plan)], {}, 0
        raise CampaignError(f"the journal {path} {error}") from error
    head = _line(_head(plan), plan)
    if not data:
        return [head], {}, 0
    *whole, torn = data.split(b"\n")
    right = head.encode("ascii")
    if not whole and right.startswith(torn):
        return [head], {}, 0
    known: dict[int, Tally] = {}
    kept, damaged = [head], int(bool(torn))
    for number, line in enumerate(whole, 1):
        found = _read_line(line, plan)
        if found is None:
            damaged += line + b"\n" != right or number > 1
            continue
        index, tally = found
        if known.setdefault(index, tally) != tally:
            raise CampaignError(
                f"{path} is no journal: line {number} says something else of chunk {index} than another"
            )
        kept.append(line.decode("ascii") + "\n")
    first = whole[0] if whole else torn
    if not known and first + b"\n" != right:
        raise CampaignError(_of_another(path, first, plan))
    return (kept if damaged else None), known, damaged


def _is_device(path: Path) -> bool:
    """Return whether a path leads to a device, which is written to and never read: it might have no end."""
    return path.exists() and not path.is_file() and not path.is_dir() and not path.is_fifo()


def _of_another(path: Path, head: bytes, plan: Plan) -> str:
    """Return what is said of a file whose first line is not this campaign's, and of which no other line is."""
    try:
        plain = parse_json(head)
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            came = plain.get("format") if isinstance(plain, dict) else plain
            raise FileError(f"its format is {shown(came)}, expected {FORMAT!r}")
        ours = _head(plan)
        differing = _differing(plain["plan"], ours["plan"]) or _differing(plain["code"], ours["code"])
    except (FileError, KeyError, AttributeError) as error:
        return f"{path} is no journal of a campaign: {error}; name another file"
    if differing:
        return f"{path} is of another campaign: {differing}; name another file"
    return f"{path} is no journal of a campaign: its first line is damaged, and so is every other; name another file"


def _read_line(line: bytes, plan: Plan) -> tuple[int, Tally] | None:
    """Return the chunk that a line is about, and its tally; None where it has not the digest it was written with."""
    try:
        plain = parse_json(line)
        digest = plain.pop("sha256")
        if digest != _digest_of(plain, plan):
            return None
        index, tally = plain["chunk"], Tally.from_json(plain["tally"])
    except (FileError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return (index, tally) if index in range(plan.chunks) else None
