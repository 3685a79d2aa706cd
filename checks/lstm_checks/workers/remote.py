"""A target in a process of its own: the command's side, which never imports it.

`load_remote` starts a worker (`link.py` here, `worker.py` there) and returns a `Target` like any other, whose calls go
to the worker. What the target does to the arrays it is given, and later to those it has returned (`mirrors.py`), is
done to the ones here, too, so that whoever judges sees it.
"""

import contextlib
import dataclasses
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import Outcome, printable, same_bits
from lstm_checks.cases import Arrays
from lstm_checks.contract import (
    FREE,
    PLAIN,
    Bounds,
    ContractError,
    EndedError,
    Extra,
    RaisedElsewhereError,
    SizeLimits,
    Target,
    TimeLimitError,
)
from lstm_checks.formats import is_format
from lstm_checks.targets.load import TargetError, time_limit
from lstm_checks.workers.link import GivenUpError, Limits, Worker, plain_lines, plain_text
from lstm_checks.workers.mirrors import Held, overwrite
from lstm_checks.workers.wire import Described, WireError
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named


def load_remote(
    spec: str,
    timeout: float | None = None,
    whole: float | None = None,
    say: Callable[[str], None] | None = None,
    cell: Cell = PLAIN,
    bounds: Bounds = FREE,
) -> Target:
    """Return a target that runs in a process of its own, as `lstm_checks.targets.load.load_target` does in this one.

    Parameters
    ----------
    spec : str
        As `load_target` takes it.
    timeout : float, optional
        Seconds that a call may take, `tolerance.CALL_SECONDS` where None. Loading may take
        `tolerance.LOAD_SECONDS`, or as many if they are more.
    whole : float, optional
        Seconds that everything may take together, `tolerance.WHOLE_SECONDS` where None.
    say : callable, optional
        Called with each line that the target prints; standard error and the target's name where None.
    cell : Cell
        The equations that it is to follow.
    bounds : Bounds
        What its process is not to have; memory is counted from before it is imported.

    Raises
    ------
    TargetError
        "module 'mylib' has no 'LTSM'; did you mean 'LSTM'?", "mine.py:LSTM cannot be imported: no answer within 60 s".
    """
    return Loading(spec, timeout, whole, say, cell, bounds).target()


class Loading:
    """A target on its way; what else is to be done can be done until it is asked for."""

    def __init__(
        self,
        spec: str,
        timeout: float | None = None,
        whole: float | None = None,
        say: Callable[[str], None] | None = None,
        cell: Cell = PLAIN,
        bounds: Bounds = FREE,
    ) -> None:
        asked = time_limit(timeout)
        limits = Limits(
            tolerance.CALL_SECONDS if asked is None else asked,
            tolerance.LOAD_SECONDS if asked is None else max(asked, tolerance.LEAST_LOAD_SECONDS),
            tolerance.WHOLE_SECONDS if whole is None else whole,
            grows=asked is None,
            bounds=bounds,
        )
        self.spec, self.cell = spec, cell
        self.worker = Worker(spec, cell.name, limits, say or (lambda line: _print(f"{spec}: {line}")))
        self.worker.start()

    def __enter__(self) -> "Loading":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.worker.close()

    def target(self) -> Target:
        """Return the target, once it is loaded."""
        try:
            found = self.worker.loaded()
        except TargetError:
            raise
        except ContractError as error:
            # It is there, and misbehaved when it was tried out: so it is judged, and every call says how.
            words = str(error)

            def call(*ignored: Any) -> Any:
                raise GivenUpError(words)

            return Target(self.spec, "whose kind was not found out", call, cell=self.cell)
        return _target_of(self.worker, found)


def _print(line: str) -> None:
    """Say a line on standard error, as far as anybody listens."""
    with contextlib.suppress(OSError, ValueError):
        stream = sys.stderr
        if stream is not None:
            encoding = stream.encoding or "utf-8"
            stream.write(printable(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()


def _target_of(worker: Worker, found: Mapping[str, Any]) -> Target:
    """Return the target that a worker has loaded and described."""

    def read() -> Target:
        told = found["target"]
        values: dict[str, Any] = {}
        for field in dataclasses.fields(Target):
            if field.name in told:
                kind = typing.get_origin(field.type) or field.type
                values[field.name] = kind(told[field.name]) if kind in (tuple, frozenset) else told[field.name]
        limits = (tuple(map(tuple, values["limits"][part])) for part in ("below", "given", "least"))
        values["limits"] = SizeLimits(*limits)
        values["extras"] = tuple(Extra(name, tuple(map(tuple, axes))) for name, axes in values["extras"])
        if not values["dtypes"] or not all(map(is_format, values["dtypes"])):
            raise WireError("dtypes that there are not")
        if found["caches"]:
            values["caches"] = lambda: _caches(worker)
        values["adapter"] = plain_lines(told["adapter"])
        values["cell"] = cell_named(told["cell"])
        values["parts"] = tuple(map(tuple, told["parts"]))
        numbers = iter(range(1, sys.maxsize))
        call_as = _caller(worker, numbers, values["cell"])
        values["call_as"] = call_as if found["call_as"] else None
        return Target(call=call_as, answers=_answerer(worker, numbers), **values)

    target: Target = worker.understand(read)
    return target


Asked = tuple[Arrays, bool, bool]


Answers = Callable[[], list[Outcome]]


def _answerer(worker: Worker, numbers: Iterator[int]) -> Callable[..., Answers]:
    """Return the `answers` of a target that a worker runs."""

    def answers(asked: Sequence[Asked], write_back: bool = True, more: bool = False) -> Answers:
        def failed(error: Exception) -> list[Outcome]:
            if isinstance(error, ContractError):
                return [Outcome(error=str(error), kind=error.kind)] * len(asked)
            return [Outcome(error=str(error), stage="the target's process")] * len(asked)

        try:
            finish = _begin(worker, numbers, asked, write_back, more)
        except ContractError as error:
            outcomes = failed(error)
            return lambda: outcomes

        def finished() -> list[Outcome]:
            try:
                return finish()
            except (ContractError, RaisedElsewhereError) as error:
                return failed(error)

        return finished

    return answers


def _begin(worker: Worker, numbers: Iterator[int], asked: Sequence[Asked], write_back: bool, more: bool) -> Answers:
    """Ask for calls, all of them at once, and return what waits for their outcomes."""
    worker.ready()
    calls, new, parts = list[dict[str, Any]](), list[Any](), list[Any]()
    given = []
    for arrays, sequences, backward in asked:
        named = {**arrays, **arrays.given} if backward else arrays.given
        several: list[Any] = [*named.values()]
        given.append((several, Held(worker, next(numbers))))
        places = [worker.place(value, new, parts) for value in several]
        call = {"id": given[-1][1].number, "sequences": sequences, "backward": backward}
        calls.append({**call, "arrays": places, "names": [*named]})
    seconds = sum(worker.limits.for_call(arrays["X"], arrays[arrays.cell.initial[0]]) for arrays, *_ in asked)
    head = {"do": "answer", "calls": calls, "new": new, "forget": worker.forget()}
    letter = worker.post(head, parts, more, seconds if worker.limits.grows else worker.limits.call)

    def finish() -> list[Outcome]:
        found, values = letter.answer()

        def read() -> list[Outcome]:
            pairs = zip(given, found["outcomes"], strict=True)
            return [_outcome(held, several, plain, values, write_back) for (several, held), plain in pairs]

        outcomes: list[Outcome] = worker.understand(read)
        return outcomes

    return finish


def _outcome(
    held: "Held", given: Sequence[Any], plain: Mapping[str, Any], values: Described, write_back: bool
) -> Outcome:
    """Return an outcome that came, and do to the arrays here what was done to those that it was given."""
    came = {plain_text(name): values.value(described) for name, described in plain["values"]}
    for index, described in plain["changed"]:
        value = values.value(described)
        if write_back:
            overwrite(given[int(index)], value)
    if plain["error"]:
        kind = plain["kind"] if plain["kind"] in (TimeLimitError.kind, EndedError.kind) else "error"
        return Outcome(came, held.worker.with_bounds(plain_text(plain["error"])), plain_text(plain["stage"]), kind=kind)
    last_step = bool(plain["last_step"])
    watched = [plain_text(name) for name in plain["watched"]]
    # What is compared is never written to, what is watched is.
    arrays = {name: came[name] for name in watched if isinstance(came.get(name), np.ndarray)}
    aliased = tuple((name, held.mirror(value.copy())) for name, value in arrays.items())
    written = tuple(map(plain_text, plain["written"]))
    return Outcome(came, "", "", aliased, written, last_step, refresh=held.refresh)


def _caller(worker: Worker, numbers: Iterator[int], cell: Cell) -> Callable[..., Any]:
    """Return the `call` of a target that a worker runs."""

    def call(inputs: Mapping[str, Any], sequences: bool = True, how: Mapping[str, Any] | None = None) -> Any:
        worker.ready()
        held, given = Held(worker, next(numbers)), [*inputs.values()]
        before = [value.copy() for value in given]
        head = {"do": "call", "id": held.number, "sequences": bool(sequences), "forget": worker.forget()}
        head |= {"names": [*inputs], "how": how}
        seconds = worker.limits.for_call(inputs["X"], inputs[cell.initial[0]])
        found, values = worker.ask(*_with_arrays(worker, head, given), seconds)

        def read() -> list[Any]:
            outputs = [values.value(described) for described in found["outputs"]]
            _write_back(given, found, values)
            return outputs

        outputs = worker.understand(read)

        def pullback(cotangents: Mapping[str, Any]) -> Any:
            held.alive()
            named = {name: value for name, value in cotangents.items() if value is not None}
            arriving = [*named.values()]
            absent = [name for name in cotangents if name not in named]
            asked = {"do": "pull", "id": held.number, "names": [*named], "absent": absent}
            head, parts = _with_arrays(worker, asked, arriving)
            # What was done to the inputs since is done there, too: the pullback may look at them.
            changed = [k for k, (now, then) in enumerate(zip(given, before, strict=True)) if not same_bits(now, then)]
            head["changed"] = [worker.place(given[k], head["new"], parts) for k in changed]
            for k in changed:
                before[k] = given[k].copy()
            found, values = worker.ask(head, parts, seconds)

            def read() -> dict[str, Any]:
                gradients = {plain_text(name): values.value(described) for name, described in found["gradients"]}
                _write_back([*given, *arriving], found, values)
                return gradients

            return worker.understand(read)

        return dict(zip(cell.outputs, outputs, strict=True)), pullback

    return call


def _with_arrays(worker: Worker, head: dict[str, Any], arrays: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the head of a request with what the worker must know of its arrays, and their bytes."""
    new, parts = list[Any](), list[Any]()
    return {**head, "arrays": [worker.place(value, new, parts) for value in arrays], "new": new}, parts


def _write_back(arrays: Sequence[Any], found: Mapping[str, Any], values: Described) -> None:
    """Do to the arrays here what the target did to its own."""
    for index, described in found["written"]:
        overwrite(arrays[int(index)], values.value(described))


def _caches(worker: Worker) -> dict[str, Any]:
    """Return what the target keeps of its last call; nothing where its process has ended."""
    try:
        worker.ready()
        found, values = worker.ask({"do": "caches"})
    except (ContractError, RaisedElsewhereError):
        return {}
    told: dict[str, Any] = worker.understand(
        lambda: {plain_text(name): values.value(described) for name, described in found["caches"]}
    )
    return told
