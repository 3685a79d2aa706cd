"""What a worker keeps of a call for as long as its arrays are held here, and how these follow what it does to them."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_checks.contract import (
    ContractError,
    EndedError,
    RaisedElsewhereError,
)
from lstm_checks.workers.link import Worker
from lstm_checks.workers.wire import WireError


class Mirror(np.ndarray):
    """An array that a target returned, as it was then, until what the target's own holds now is written into it."""

    held: "Held | None" = None


class Held:
    """What a worker keeps of one call for as long as anything of it is held here."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker, self.number, self.generation = worker, number, worker.generation
        # Weak, while each mirror holds this: when nobody has one any more the worker is told to let go of the call.
        self.mirrors: list[weakref.ref[Mirror]] = []
        weakref.finalize(self, _lose, weakref.ref(worker), number, worker.generation)

    def mirror(self, value: Any) -> Any:
        """Return an array as one that can be refreshed, and anything else as it is."""
        if type(value) is not np.ndarray or not value.flags.writeable:
            return value
        found = value.view(Mirror)
        found.held = self
        self.mirrors.append(weakref.ref(found))
        return found

    def alive(self) -> None:
        """Raise where the process that has this call has ended."""
        if not self.worker.runs(self.generation):
            raise EndedError(self.worker.last_end or "the target's process has ended")

    def refresh(self) -> Callable[[], None]:
        """Return what writes into the mirrors what the originals hold now; nothing where their process has ended."""
        if not self.worker.runs(self.generation):
            return lambda: None
        letter = self.worker.post({"do": "look", "id": self.number}, more=True)

        def finish() -> None:
            with contextlib.suppress(ContractError, RaisedElsewhereError):
                found, values = letter.answer()

                def read() -> None:
                    for index, described in found["changed"]:
                        value, there = values.value(described), self.mirrors[int(index)]()
                        if there is not None:
                            overwrite(there, value)

                self.worker.understand(read)

        return finish


def _lose(worker: "weakref.ref[Worker]", number: int, generation: int) -> None:
    """Note that nobody holds a call any more."""
    there = worker()
    if there is not None and there.generation == generation:
        there.lost.append(number)


def overwrite(array: Any, value: Any) -> None:
    """Write what a target made of an array into the one here, its shape and dtype included."""
    if not isinstance(value, np.ndarray):
        raise WireError("no array where an array was changed")
    if value.shape != array.shape or value.dtype != array.dtype:
        if value.nbytes == array.nbytes and array.flags.c_contiguous and array.flags.writeable:
            array.shape = (array.size,)
            array.dtype = value.dtype
            array.shape = value.shape
        else:
            # What cannot be shown here as it is there is at least not taken for unchanged.
            value = np.full(array.shape, np.nan)
    if array.flags.writeable:
        array[...] = value
