"""A target in a process of its own: the side that imports it, and calls it as it is asked to.

Nothing is judged here and nothing counted: `workers.remote` does that, in another process, and takes nothing from here
but numbers and text. See there for what goes over.
"""

import contextlib
import dataclasses
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from lstm_checks.calling import call_target, describe_error, key_name, to_numpy, type_name
from lstm_checks.cases import Arrays
from lstm_checks.contract import (
    ContractError,
    Extra,
    SizeLimits,
    Target,
    TimeLimitError,
    undisturbed,
    with_article,
)
from lstm_checks.formats import dtype_of
from lstm_checks.targets.load import TargetError, load_target
from lstm_checks.targets.supervise import own_memory, restrict
from lstm_checks.workers import processes
from lstm_checks.workers.wire import Described, Reader, describe, pack, read_with
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

SPARE = 2**24
"""Bytes that one returned array may take, and 4 times those of the inputs, to go over whole."""


def main() -> int:
    """Answer until nobody asks any more."""
    processes.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the command; an interrupt here is the target's own
    asked, answers = processes.own_pipes()
    own = os.getpid()

    def send(chunks: Sequence[Any]) -> None:
        if os.getpid() != own:
            os._exit(0)  # what the target forked came back, too; only one may answer
        data = memoryview(b"".join(chunks))
        while data:
            data = data[os.write(answers, data) :]

    reader, desk = Reader(), Desk(send)
    try:
        while (message := read_with(lambda count: os.read(asked, count), reader)) is not None:
            desk.answer(*message)
    finally:
        os._exit(0)  # past whatever the target has registered for the end


class Desk:
    """What is held between two requests: the target, the arrays it was given, and its calls that somebody holds."""

    def __init__(self, send: Callable[[Sequence[Any]], None]) -> None:
        self.send = send
        self.target: Target | None = None
        self.arrays: dict[int, _Given] = {}
        self.calls: dict[int, _Call] = {}

    def answer(self, head: Mapping[str, Any], body: bytearray) -> None:
        """Do what is asked, and say what came of it."""
        for number in head.get("lost", ()):
            self.calls.pop(number, None)
        for number in head.get("forget", ()):
            self.arrays.pop(number, None)
        try:
            chunks = self.DOES[head["do"]](self, head, Described(body))
        except ContractError as error:
            chunks = pack({"late" if isinstance(error, TimeLimitError) else "contract": str(error)})
        except BaseException as error:
            chunks = pack({"raised": _in_words(error)})
        self.send(chunks)

    def load(self, head: Mapping[str, Any], _: Described) -> list[Any]:
        """Import the target, say so, and return what it is found to be."""
        try:
            # What is here already, NumPy among it, is the harness's own, and not counted.
            restrict(own_memory() + head["memory"] if head["memory"] else 0, head["isolate"])
        except OSError as error:
            return pack({"refused": error.strerror or str(error)})
        try:
            imported = pack({"imported": True})
            target = load_target(head["spec"], on_import=lambda: self.send(imported), cell=cell_named(head["cell"]))
        except TargetError as error:
            return pack({"refused": str(error), "draft": error.draft})
        except BaseException as error:
            return pack({"refused": f"{head['spec']} cannot be judged: {_in_words(error)}"})
        self.target = target
        told = {field.name: getattr(target, field.name) for field in dataclasses.fields(target)}
        plain = {
            name: _plain(value) for name, value in told.items() if name not in ("call", "caches", "answers", "call_as")
        }
        return pack({"target": plain, "caches": target.caches is not None, "call_as": target.call_as is not None})

    def answers(self, head: Mapping[str, Any], body: Described) -> list[Any]:
        """Do what `call_target` does, for one call after the other."""
        assert self.target is not None
        self._meet(head)
        told: list[Any] = []
        parts: list[Any] = []
        for asked in head["calls"]:
            given = self._given(asked, body)
            named = dict(zip(asked["names"], (one.array for one in given), strict=True))
            arrays = Arrays(named, self.target.cell)
            outcome = call_target(self.target, arrays, asked["sequences"], asked["backward"])
            values = _Parcel(4 * sum(len(one.data) for one in given) + SPARE)
            described = [[name, values.add(value)] for name, value in outcome.values.items()]
            written = _written(given, values)
            parts += values.parts
            if outcome.aliased:
                self.calls[asked["id"]] = _Call(
                    None, given, [(v, _bits(outcome.values[n])) for n, v in outcome.aliased]
                )
            told.append(
                {
                    "values": described,
                    "changed": written,
                    "error": outcome.error,
                    "stage": outcome.stage,
                    "kind": outcome.kind,
                    "written": outcome.written,
                    "last_step": outcome.last_step,
                    "watched": [name for name, _ in outcome.aliased],
                }
            )
        return pack({"outcomes": told}, parts)

    def call(self, head: Mapping[str, Any], body: Described) -> list[Any]:
        """Run a forward pass."""
        assert self.target is not None
        self._meet(head)
        given = self._given(head, body)
        inputs = dict(zip(head["names"], (one.array for one in given), strict=True))
        how = head.get("how")
        with undisturbed():
            if how is not None and self.target.call_as is not None:
                found, pullback = self.target.call_as(inputs, head["sequences"], how)
            else:
                found, pullback = self.target.call(inputs, head["sequences"])
            outputs = [to_numpy(found[name]) for name in self.target.cell.outputs]
        values = _Parcel(SPARE + 4 * sum(len(one.data) for one in given))
        described = [values.add(copy) for copy in outputs]
        self.calls[head["id"]] = _Call(pullback, given, [])
        return pack({"outputs": described, "written": _written(given, values)}, values.parts)

    def pull(self, head: Mapping[str, Any], body: Described) -> list[Any]:
        """Run a pullback."""
        self._meet(head)
        assert self.target is not None
        call, given = self.calls[head["id"]], self._given(head, body)
        for number in head["changed"]:
            self.arrays[number].take(body)
        cotangents = dict(zip(head["names"], (one.array for one in given), strict=True))
        cotangents |= dict.fromkeys(head["absent"])
        with undisturbed():
            gradients = call.pullback(cotangents)
            if not isinstance(gradients, Mapping):
                kind = with_article(type_name(gradients))
                raise ContractError(f"the pullback returned {kind}, expected gradients by name")
            # Of each key and value once: a mapping may give others the next time.
            named = [(key_name(key), value) for key, value in gradients.items()]
            converted = [(name, to_numpy(value)) for name, value in named if name not in self.target.cell.outputs]
        values = _Parcel(call.most)
        described = [[name, values.add(value)] for name, value in converted]
        return pack({"gradients": described, "written": _written([*call.given, *given], values)}, values.parts)

    def look(self, head: Mapping[str, Any], _: Described) -> list[Any]:
        """Say which arrays of a call hold something else now than when they were returned, and what."""
        call = self.calls.get(head["id"])
        values, changed = _Parcel(SPARE if call is None else call.most), []
        for index, (array, before) in enumerate(call.watched if call is not None else ()):
            if _bits(array) != before:
                changed.append([index, values.add(np.array(array))])
        return pack({"changed": changed}, values.parts)

    def caches(self, *_: Any) -> list[Any]:
        """Return what the target keeps of its last call."""
        assert self.target is not None
        with undisturbed():
            kept = self.target.caches() if self.target.caches is not None else None
            found = [(key_name(key), to_numpy(value)) for key, value in (kept or {}).items()]
        values = _Parcel(SPARE)
        return pack({"caches": [[name, values.add(value)] for name, value in found]}, values.parts)

    DOES: ClassVar = {"load": load, "answer": answers, "call": call, "pull": pull, "look": look, "caches": caches}

    def _meet(self, head: Mapping[str, Any]) -> None:
        """Make the arrays that are new in a request."""
        for number, dtype, shape, strides, writeable, aligned in head["new"]:
            self.arrays[number] = _Given(dtype_of(dtype), tuple(shape), strides, writeable, aligned)

    def _given(self, head: Mapping[str, Any], body: Described) -> list["_Given"]:
        """Return the arrays of a request, the same objects as before where they are the same to who asks."""
        given = [self.arrays[number] for number in head["arrays"]]
        for one in given:
            one.take(body)
        return given


class _Given:
    """An array that the target is given, call after call; the target may do to it what it likes."""

    def __init__(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], strides: Sequence[int] | None, locked: bool, aligned: bool
    ):
        self.dtype, self.shape, self.strides, self.writeable = dtype, shape, strides, locked
        self.aligned = aligned
        self.data: Any = b""
        self.array = self._made()

    def _made(self) -> Any:
        """Return an array of this form."""
        if (self.strides is None and self.aligned) or not all(self.shape):
            return np.empty(self.shape, self.dtype)
        # As it lies in memory there: a target may be wrong for such arrays alone.
        strides = np.empty(self.shape, self.dtype).strides if self.strides is None else self.strides
        reach = [(n - 1) * stride for n, stride in zip(self.shape, strides, strict=True)]
        before, after = -sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
        beside = 0 if self.aligned else 1
        buffer = np.zeros(before + after + self.dtype.itemsize + beside, np.uint8)
        return np.ndarray(self.shape, self.dtype, buffer, before + beside, strides)

    def take(self, body: Described) -> None:
        """Write the next values into the array."""
        array = self.array
        if array.shape != self.shape or array.dtype != self.dtype:
            array = self.array = self._made()
        if not array.flags.writeable:
            with contextlib.suppress(ValueError):
                array.flags.writeable = True
        self.data = body.bytes(math.prod(self.shape) * self.dtype.itemsize)
        array[...] = np.frombuffer(self.data, self.dtype).reshape(self.shape) if self.data else 0
        if not self.writeable:
            array.flags.writeable = False

    def written(self) -> bool:
        """Return whether the array holds something else than it was given."""
        # Of bytes, since a memoryview is compared one number after the other.
        as_given = self.array.shape == self.shape and self.array.dtype == self.dtype
        return not as_given or self.array.tobytes() != bytes(self.data)


def _written(given: Sequence[_Given], values: "_Parcel") -> list[Any]:
    """Return which of the arrays were written to, and what they hold now."""
    return [[index, values.add(np.array(one.array))] for index, one in enumerate(given) if one.written()]


class _Parcel:
    """Values on their way: their bytes, in the order of their descriptions."""

    def __init__(self, most: int) -> None:
        self.most, self.parts = most, list[Any]()

    def add(self, value: Any) -> Any:
        """Return the description of a value."""
        described, data = describe(value, self.most)
        self.parts.append(data)
        return described


class _Call:
    """What came of a call, for as long as somebody holds anything of it."""

    def __init__(self, pullback: Any, given: list[_Given], watched: list[tuple[Any, Any]]) -> None:
        self.pullback, self.given, self.watched = pullback, given, watched
        self.most = SPARE + 4 * sum(len(one.data) for one in given)


def _bits(array: Any) -> tuple[Any, ...]:
    """Return all that tells whether an array is another."""
    return array.shape, array.dtype, array.tobytes()


def _plain(value: Any) -> Any:
    """Return a value of what a target says of itself as JSON has it."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Cell):
        return value.name
    if isinstance(value, SizeLimits):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [dataclasses.astuple(part) if isinstance(part, Extra) else part for part in value]
    return dict(value) if isinstance(value, Mapping) else value


def _in_words(error: BaseException) -> str:
    """Return an exception in words, whatever it does when it is asked for them."""
    try:
        return describe_error(error)
    except BaseException:
        return "an exception that cannot be told"
