"""Count how much of what the diagnosis says is so, as a user meets it: planted, drawn, shrunk, diagnosed, and judged.

``python benchmarks/naming_campaign.py`` plants each fault of a set into an LSTM, runs ``verify`` on it, and judges each
line that the failure's diagnosis says on cases that nobody has shown it (`truth`). The sets: ``own``, faults in no
catalogue (`uncatalogued.py`); ``slips``, one word of an equation wrong; ``pairs``, two catalogued faults at once;
``catalogue``, every catalogued fault, coded anew in the plain layer of tests/plain_lstm.py. Exit code 1 if more than
1 % of the lines are false, misleading or not judged, if fewer than 80 % of the failures are told helpfully, or, for the
catalogue, if a fault is not caught, or fewer than 95 % are named first or 99 % among three.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read once, when the libraries are loaded

ROOT = Path(__file__).resolve().parent.parent
# What is planted and how it is judged come from beside this file; the diagnosis from the `lstm_checks` found first.
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
sys.path.append(str(ROOT))

import numpy as np
from plain_lstm import planted
from planted_faults import EDITS, WRAPPERS
from truth.evidence import Evidence, Said, Truth, Verdict
from truth.lines import judge_line, lines_of
from uncatalogued import OWN

from lstm_checks import strategies
from lstm_checks.campaign.executors import parse_executor
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import Target
from lstm_checks.faults.catalogue import FAULTS
from lstm_checks.faults.model import fault_target
from lstm_checks.faults.slips import PARTS, slips
from lstm_checks.judging.text import render_failure
from lstm_checks.judging.verify import verify
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.expected import evaluate_reference, expect

SETS = ("own", "slips", "pairs", "catalogue")
SIZES = {"own": 0, "slips": 100, "pairs": 60, "catalogue": 0}
"""How many faults of each set are planted by default; 0 for all."""

NOT_SO, HELPFULLY = 0.01, 0.80
"""The largest share of lines that may be false or misleading, and the least of failures that must be told helpfully."""
FIRST, AMONG_THREE = 0.95, 0.99
"""The least shares of the catalogue's faults that must be named first, and among the first three."""

Job = tuple[str, str, int]


@dataclass(frozen=True)
class Line:
    """A line of a diagnosis and what it is worth."""

    label: str
    text: str
    said: Said
    why: str


@dataclass(frozen=True)
class Told:
    """What was said of one planted fault.

    `suspects` are the ids named, in order; `error` says that the campaign itself broke; `caught` is whether the fault
    was, and `text` the whole failure.
    """

    set: str
    id: str
    title: str
    seed: int
    caught: bool
    case: str = ""
    suspects: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    text: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def place(self) -> int | None:
        """0 if the fault is suspected first; None if it is not suspected."""
        return self.suspects.index(self.id) if self.id in self.suspects else None

    @property
    def helpful(self) -> bool:
        """Whether a line is true and helpful."""
        return any(line.said is Said.HELPFUL for line in self.lines)

    @property
    def wrong(self) -> list[Line]:
        """The lines that are false or misleading."""
        return [line for line in self.lines if line.said in (Said.FALSE, Said.MISLEADING)]


def planting(set: str, id: str) -> tuple[Callable[[], Target], Truth, str, tuple[str, ...]]:
    """Return how a fault is planted, what is true of it, its title, and the dtypes in which it is looked for."""
    if set == "own":
        own = OWN[id]
        return own.make, replace(own.truth, recording=_recording(id, own.edits)), own.title, own.dtypes
    if set == "slips":
        file, _, number = id.partition(":")
        slip = slips(file)[int(number)]
        return lambda: fault_target(slip), Truth(faults=(slip,)), slip.title, ()
    ids = id.split("+")
    edits = [edit for one in ids for edit in EDITS.get(one, [])]
    title = " and ".join(FAULTS[one].title.rstrip(".") for one in ids)
    truth = Truth(
        faults=tuple(FAULTS[one] for one in ids),
        random="dropout-left-on" in ids,
        calls=id in WRAPPERS,
        recording=_recording(id, edits) if id not in WRAPPERS else None,
    )
    return lambda: planted(id, edits, WRAPPERS.get(id)), truth, title, ()


_STEP, _KEEP = "back = R @ delta", 'kept[t] = dict(zip("ogfi", np.split(delta, 4), strict=True))'
_TOP = "def plain_lstm(p, X, h0, C0, sequences=True):"


def _recording(id: str, edits: Sequence[tuple[str, str]]) -> Callable[[], Target] | None:
    """Return how the plain layer with a fault is had as one that keeps its gates' cotangents; None where it is not."""
    more = [*edits, (_STEP, f"{_KEEP}\n{_STEP}"), (_TOP, f"kept = {{}}\n\n\n{_TOP}")]
    try:
        planted(id, more)
    except ValueError:
        # The line is one that the fault changes.
        return None
    return lambda: planted(id, more)


def members(set: str, size: int, seed: int) -> list[str]:
    """Return the ids of the faults of a set that are planted: all, or a sample."""
    rng = np.random.default_rng((seed, *set.encode()))
    if set == "pairs":
        return _pairs(size or SIZES["pairs"], rng)
    everything = {
        "own": lambda: list(OWN),
        "slips": lambda: [f"{part}:{k}" for part in PARTS for k in range(len(slips(part)))],
        # What shows in further questions alone has no text of the plain layer; its failure says what was asked.
        "catalogue": lambda: [id for id in FAULTS if id in EDITS or id in WRAPPERS],
    }[set]()
    if size == 0 or size >= len(everything):
        return everything
    return [everything[k] for k in sorted(rng.choice(len(everything), size, replace=False))]


def _pairs(count: int, rng: np.random.Generator) -> list[str]:
    """Return pairs of catalogued faults that change different lines of the plain layer, and of the reference."""
    able = [id for id in FAULTS if id in EDITS and not id.startswith("gate-order")]
    found: list[str] = []
    while len(found) < count:
        one, other = (able[int(k)] for k in rng.choice(len(able), 2, replace=False))
        if {old for old, _ in EDITS[one]} & {old for old, _ in EDITS[other]}:
            continue
        try:
            fault_target(FAULTS[one], FAULTS[other])
        except ValueError:
            continue
        found.append(f"{one}+{other}")
    return found


@cache
def _once() -> dict[str, Callable[..., Any]]:
    """Return what stands in for what all faults meet alike: the cases drawn, and what is due on them."""
    draw_cases = strategies.draw_cases
    due = lru_cache(maxsize=4096)(lambda case: expect(case))
    drawn: dict[str, Any] = {}
    told: dict[Case, Any] = {}

    def expect_once(
        case: Case, progress: Any = None, evaluate: Any = evaluate_reference, arrays: Arrays | None = None
    ) -> Any:
        if evaluate is evaluate_reference and arrays is None:
            return due(case)
        return expect(case, evaluate=evaluate, arrays=arrays)

    def disagreement_once(case: Case, expected: Any) -> Any:
        if case not in told:
            told[case] = complex_step_disagreement(case, expected)
        return told[case]

    def draw_once(*arguments: Any, **options: Any) -> Any:
        key = repr((arguments, sorted(options.items())))
        if key not in drawn:
            drawn[key] = draw_cases(*arguments, **options)
        return dict(drawn[key])

    return {"draw_cases": draw_once, "expect": expect_once, "complex_step_disagreement": disagreement_once}


@contextmanager
def remembering() -> Iterator[None]:
    """Have it all worked out but once in this process, and by nobody else in it."""
    replaced: list[tuple[Any, str, Any]] = []
    meant = {"expect": expect, "complex_step_disagreement": complex_step_disagreement}
    for module in [module for name, module in sys.modules.items() if name.startswith("lstm_checks.")]:
        for name, once in _once().items():
            there = getattr(module, name, None)
            if module is strategies if name == "draw_cases" else there is meant[name]:
                replaced.append((module, name, there))
                setattr(module, name, once)
    try:
        yield
    finally:
        for module, name, before in reversed(replaced):
            setattr(module, name, before)


@remembering()
def tell(job: Job, examples: int = 100) -> Told:
    """Return what is said of a planted fault, line by line, and what each line is worth."""
    set, id, seed = job
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    make, truth, title, dtypes = planting(set, id)
    # Else those that `verify` takes by itself.
    options = {"dtypes": dtypes} if dtypes else {}
    report = verify(make(), examples=examples, seed=seed, **options)
    failure = report.failure
    if failure is None:
        return Told(set, id, title, seed, caught=False, seconds=time.perf_counter() - start)
    failures = (failure, *getattr(report, "further", ()))
    diagnoses = [one.diagnosis for one in failures if one.diagnosis is not None]
    suspects = tuple(named.fault for diagnosis in diagnoses for named in diagnosis.suspects)
    texts = [render_failure("planted", one) for one in failures]
    lines, error, text = [], "", "\n".join(texts)
    for one, words in zip(failures, texts, strict=True):
        evidence = Evidence(make, one.case, truth, {claim.name for claim in one.failures})
        for label, said in lines_of(words):
            try:
                verdict = judge_line(evidence, label, said)
            except Exception:
                error = traceback.format_exc(limit=-2)
                verdict = Verdict(Said.UNJUDGED, "its judge broke: " + error.strip().splitlines()[-1])
            if verdict is not None:
                lines.append(Line(label, said, verdict.said, verdict.why))
    return Told(
        *(set, id, title, seed, True, failure.case.descriptor),
        *(suspects, tuple(lines), text, error, time.perf_counter() - start),
    )


def table(told: Sequence[Told]) -> str:
    """Return a table of what the lines are worth, a row for each set."""
    head = f"{'set':<10} {'failures':>8} {'helpfully':>10} {'lines':>6} {'helpful':>8} {'no use':>8} "
    rows = [head + f"{'mislead.':>8} {'false':>8} {'unjudged':>8}"]
    for set in (*SETS, "all"):
        of = [one for one in told if one.caught and set in (one.set, "all")]
        if not of or (set == "all" and len({one.set for one in of}) == 1):
            continue
        counts = Counter(line.said for one in of for line in one.lines)
        lines = sum(counts.values())
        shares = "".join(f" {counts[said] / max(lines, 1):>8.1%}" for said in Said)
        rows.append(f"{set:<10} {len(of):>8} {_share(sum(one.helpful for one in of), len(of)):>10} {lines:>6}{shares}")
    return "\n".join(rows)


def _share(count: int, of: int) -> str:
    """Return a share in percent."""
    return f"{count / of:.1%}" if of else "-"


def describe(one: Told) -> str:
    """Return the lines of a diagnosis that are not so, or not judged, and whether it tells anything."""
    rows = [f"{one.set} {one.id} ({one.title}), seed {one.seed}, on {one.case}:"]
    rows += [
        f"    {line.said.upper():<10} {line.label}: {line.text}\n               {line.why}"
        for line in one.lines
        if line.said in (Said.FALSE, Said.MISLEADING, Said.UNJUDGED)
    ]
    if not one.caught:
        return f"{one.set} {one.id} ({one.title}), seed {one.seed}: not caught"
    if not one.helpful:
        rows.append(
            "    NOTHING HELPFUL is said: " + ("; ".join(f"{n.label}: {n.text}" for n in one.lines) or "no line")
        )
    return "\n".join(rows) if len(rows) > 1 else ""


def good_enough(told: Sequence[Told]) -> bool:
    """Return whether the goals are met: of lines, of failures, and of the catalogue's names."""
    caught = [one for one in told if one.caught]
    lines = sum(len(one.lines) for one in caught)
    wrong = sum(len(one.wrong) for one in caught)
    unjudged = sum(line.said is Said.UNJUDGED for one in caught for line in one.lines)
    if not caught or wrong > NOT_SO * lines or unjudged > NOT_SO * lines:
        return False
    if sum(one.helpful for one in caught) < HELPFULLY * len(caught):
        return False
    named = [one for one in told if one.set == "catalogue"]
    first = sum(one.place == 0 for one in named)
    three = sum(one.place is not None and one.place < 3 for one in named)
    return all(one.caught for one in named) and first >= FIRST * len(named) and three >= AMONG_THREE * len(named)


def run(jobs: Iterable[Job], processes: int, examples: int) -> Iterable[Told]:
    """Yield what is said of each planted fault, in the order of the jobs."""
    if processes == 0:
        yield from (tell(job, examples) for job in jobs)
        return
    # The processes look for this file by the folder that it is in.
    paths = (str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with parse_executor(f"processes:{processes}") as executors, executors.start() as pool:
        for found in [pool.submit(tell_in_words, list(job), examples) for job in jobs]:
            plain = found.result()
            lines = tuple(Line(**{**line, "said": Said(line["said"])}) for line in plain["lines"])
            yield Told(**{**plain, "lines": lines, "suspects": tuple(plain["suspects"])})


def tell_in_words(job: Sequence[Any], examples: int) -> dict[str, Any]:
    """Return what `tell` returns, as plain values: such are all that comes from another process."""
    set, id, seed = job
    told = asdict(tell((set, id, seed), examples))
    return told | {"lines": [line | {"said": line["said"].value} for line in told["lines"]]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help=", ".join(SETS))
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of verify's draws each fault meets")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--size", action="append", default=[], metavar="SET=N", help="plant N of a set; 0 for all")
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="plant these alone, of the sets given")
    parser.add_argument("--sample-seed", type=int, default=0, help="which slips and pairs are drawn")
    parser.add_argument("--examples", type=int, default=100, help="examples of each run of verify")
    parser.add_argument("--processes", type=int, default=2, help="0: in this process")
    parser.add_argument("--texts", action="store_true", help="print every failure's whole text, too")
    options = parser.parse_args(arguments)
    sizes = SIZES | {name: int(count) for name, _, count in (word.partition("=") for word in options.size)}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [
        (set, id, seed)
        for set in options.sets
        for id in (list(options.only) or members(set, sizes[set], options.sample_seed))
        for seed in seeds
    ]
    import lstm_checks

    print(f"{len(jobs)} runs of verify; the diagnosis is that of {Path(lstm_checks.__file__).parent}", flush=True)
    told = []
    for one in run(jobs, options.processes, options.examples):
        told.append(one)
        if options.texts and one.text:
            print(one.text, flush=True)
        if more := describe(one):
            print(more, flush=True)
    print(f"\n{table(told)}")
    named = [one for one in told if one.set == "catalogue"]
    if named:
        first = sum(one.place == 0 for one in named)
        three = sum(one.place is not None and one.place < 3 for one in named)
        caught = sum(one.caught for one in named)
        print(f"{len(named)} planted, {caught} caught, {first} named first, {three} among the first three")
    return 0 if good_enough(told) else 1


if __name__ == "__main__":
    import naming_campaign  # under the name by which other processes know it

    sys.exit(naming_campaign.main())
