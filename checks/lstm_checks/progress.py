"""What is being done now, told to whoever waits for it: here to nobody; the commands tell it to a terminal or a log."""

from collections.abc import Callable


class Progress:
    """Listens to a long work; each method does nothing, and a subclass may."""

    def __call__(self, count: int = 1) -> None:
        """Hear that so many more are done."""

    def doing(self, words: str, total: int | None = None) -> None:
        """Hear what is being done now, in a few words, and how many of it there are, if that is known."""

    def failed(self, sentence: str) -> None:
        """Hear of a failure when it is met, in a sentence; of the first at least."""


class Counting(Progress):
    """Calls a function for each that is done."""

    def __init__(self, count: Callable[[], None]) -> None:
        self.count = count

    def __call__(self, count: int = 1) -> None:
        """Call it so many times."""
        for _ in range(count):
            self.count()


NOBODY = Progress()


def heard_by(progress: Progress | Callable[[], None]) -> Progress:
    """Return who listens; a function is called for each that is done."""
    return progress if isinstance(progress, Progress) else Counting(progress)
