"""How far two oracles are from agreeing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Disagreement:
    """How far two oracles are apart: the largest difference over what is accepted, and where that is.

    Where one of them can say nothing of the case, `undecided` says why, and `use` is no number.
    """

    use: float
    where: str
    undecided: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what is accepted; NaN is not."""
        return self.use <= 1
