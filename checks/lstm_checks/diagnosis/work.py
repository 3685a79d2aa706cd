"""How much a diagnosis does: counted in calls and tries, and not in seconds.

So one failure is told in the same words on an idle machine and on a busy one. What was not looked for because it would
have been too much is said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lstm_checks import tolerance
from lstm_checks.contract import Target

Spare = Callable[[], bool]


class Work:
    """What a diagnosis may still do, and what it left out.

    Parameters
    ----------
    calls : int
        How often the target may be called, each call of a large case counting as several.
    tries : int
        How many patched references a search may try.
    """

    def __init__(self, calls: int = tolerance.CALLS, tries: int = tolerance.TRIES) -> None:
        self.calls, self.tries = calls, tries
        self.left_out: list[str] = []

    def counted(self, target: Target) -> Target:
        """Return the target with its calls counted, here or in another process."""
        answers = target.answers

        def count(inputs: Mapping[str, Any]) -> None:
            cell = target.cell
            recurrent = sum(inputs[name].size for name, axes in cell.parameters.items() if axes == cell.recurrent)
            self.calls -= weight(inputs["X"].size + recurrent)

        def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
            count(inputs)
            return target.call(inputs, sequences)

        def counted_answers(asked: Sequence[Any], *options: Any) -> Any:
            assert answers is not None
            for arrays, *_ in asked:
                count(arrays)
            return answers(asked, *options)

        return replace(target, call=call, answers=None if answers is None else counted_answers)

    def allows(self, what: str, size: int = 1) -> Spare:
        """Return what says before each try of a search whether it may be made; a search cut short is noted by name.

        Parameters
        ----------
        what : str
            What is looked for: "pairs of faults".
        size : int
            Number of gradient entries of the case on which patches are tried.
        """
        left = self.tries // weight(size)

        def spare() -> bool:
            nonlocal left
            left -= 1
            if left >= 0 and self.calls > 0:
                return True
            if what not in self.left_out:
                self.left_out.append(what)
            return False

        return spare


def weight(size: int) -> int:
    """Return for how many a call or a try counts that has so many numbers to go through."""
    return 1 + size // tolerance.WORK_SIZE
