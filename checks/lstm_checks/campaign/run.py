"""Many examples on many processes: the chunks of a plan over any executor, merged the same whatever the order.

A chunk whose worker was lost is judged again, and none counts twice.
"""

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any

from lstm_checks.campaign.journal import open_journal
from lstm_checks.campaign.plan import CampaignError, Plan, code_of, differing_in
from lstm_checks.campaign.tally import CampaignReport, Tally
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain_simplest, most_telling
from lstm_checks.judging.reports import CaseReport
from lstm_checks.progress import Progress
from lstm_checks.targets.load import TargetError, load_target, runs_elsewhere
from lstm_checks.workers.remote import load_remote
from lstm_ref.cells import cell_named

ATTEMPTS = 3


def judge_chunk(plain: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the tally of one chunk and the code as plain values, or why the target cannot be loaded; in a worker.

    The target runs in a process of its own: nothing of it, not even an exception, is in what goes back.
    """
    plan = Plan.from_json(plain)
    try:
        target = _target_here(plan.target, plan.cell)
    except TargetError as error:
        return {"error": str(error)}
    tally = Tally()
    for case in plan.cases(index, target)[0]:
        tally.count(verify_case(target, case))
    return {"tally": tally.to_json(), "code": code_of(plan.target)}


_HERE = threading.local()


def _target_here(spec: str, cell: str) -> Target:
    """Return the target of a spec, loaded once a thread that judges: two would talk to its process at once."""
    loaded: dict[tuple[str, str], Target] = _HERE.__dict__.setdefault("loaded", {})
    if (spec, cell) not in loaded:
        # Each call has its limit, a campaign as long as it takes.
        found = (
            load_remote(spec, whole=math.inf, cell=cell_named(cell))
            if runs_elsewhere(spec)
            else load_target(spec, cell=cell_named(cell))
        )
        loaded[spec, cell] = found
    return loaded[spec, cell]


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
        target = _target_here(plan.target, plan.cell)
    except TargetError as error:
        raise CampaignError(f"the target cannot be loaded: {error}") from error
    with open_journal(journal, plan) as (known, damaged, write):
        resumed = len(known)
        progress(sum(tally.examples for tally in known.values()))
        repeated, failing = 0, any(tally.failed for tally in known.values())
        for index, tally, lost in _judge_chunks(
            plan, [k for k in range(plan.chunks) if k not in known], start_executor, workers
        ):
            repeated += lost
            known[index] = tally
            if tally.failed and not failing:
                failing = True
                if isinstance(progress, Progress):
                    progress.failed(f"the first failing example, {tally.failed[0]}; the others go on")
            write(index, tally)
            progress(tally.examples)
    whole = Tally()
    # In the order of the plan, not in that in which they were done: so reports are equal whatever the number of
    # workers.
    for index in sorted(known):
        whole.add(known[index])
    failure = _explain(plan, target, known) if whole.failed else None
    return CampaignReport(plan, target.kind, whole, failure, resumed, repeated, damaged)


def _judge_chunks(
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
            # Only of a chunk that was under way by itself it is known that it was the one that broke the pool.
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
                differing = differing_in(found["code"], code_of(plan.target))
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
