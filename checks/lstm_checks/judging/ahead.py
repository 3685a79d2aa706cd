"""What is due for the next cases, worked out by a process of its own while the target is asked about this one.

It changes no figure: the process runs what would have run here. Where it is behind, or gone, that is done here.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lstm_checks.workers.pool import LostError, Processes

if TYPE_CHECKING:
    from lstm_checks.cases import Case
    from lstm_checks.oracles.expected import Expected

AHEAD = 12
"""How many cases are asked for at a time. Those past the edges of blocks follow each other, and take ten times as long
as others, of which so many are done before."""

_WORKER = "lstm_checks.judging.due"


class Ahead:
    """A process that works out what is due for cases, in the order in which they are judged."""

    def __init__(self) -> None:
        self._pool = Processes(1)
        # What it needs is loaded meanwhile, as everything is here.
        self._pool.submit_named(_WORKER, "ready")
        self._left: Iterator[Case] = iter(())
        self._learned: Callable[[Case], tuple[str, ...]] = lambda case: ()
        self._asked: dict[Case, Future[Any]] = {}

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *ignored: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, cases: "Sequence[Case]", learned: "Callable[[Case], tuple[str, ...]]") -> None:
        """Begin with the second of the cases that will be judged; the first is worked out here meanwhile.

        `learned` says which parameters are changed by a step, after which something is due, too; none where none is
        taken.
        """
        from lstm_checks.judging import due

        self._learned = learned
        self._left = (case for case in cases[1:] if due.can_be_asked(case))
        self._ask()

    def expected(self, case: "Case") -> "Expected | None":
        """Return what is due for a case; None where that is to be worked out here."""
        while case in self._asked and (first := next(iter(self._asked))) != case:
            self._asked.pop(first).cancel()  # nobody wanted to know, as of a case that the target does not take
        future = self._asked.pop(case, None)
        self._ask()
        # What it has not begun is as well begun here.
        if future is None or future.cancel():
            return None
        from lstm_checks.judging import due

        try:
            return due.understood(case, future.result())
        except LostError:
            return None  # whatever it failed of will fail here, and be told

    def _ask(self) -> None:
        """Ask for more, so that it always has something to do."""
        while len(self._asked) < AHEAD and (case := next(self._left, None)) is not None:
            self._asked[case] = self._pool.submit_named(
                _WORKER, "work_out", case.descriptor, case.absent, self._learned(case)
            )
