"""How words stand in a row: all of them, or the first few of many."""

from collections.abc import Iterable, Sequence


def series(words: Sequence[str], last: str = "and") -> str:
    """Return all words, the last two joined by another: "dUf, dVf and dbf".

    Examples
    --------
    >>> series(["zero", "one", "two"], "or")
    'zero, one or two'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def first_few(words: Iterable[str], most: int, shown: int) -> str:
    """Return words in a row, the first `shown` where there are more than `most`, and how many more there are.

    Examples
    --------
    >>> first_few("abcdef", 4, 3)
    'a, b, c and 3 more'
    """
    words = list(words)
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[:shown])} and {len(words) - shown} more"
