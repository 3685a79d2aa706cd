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


def few(words: Sequence[str]) -> str:
    """Return words in a row as a line is read: all where they are four at most, else the first three.

    Examples
    --------
    >>> few("abcde")
    'a, b, c and 2 more'
    """
    return series(words) if len(words) <= 4 else first_few(words, 4, 3)


def all_of(words: Sequence[str], kind: str) -> str:
    """Return all words, or of many the first three after how many of a kind there are, as a verb follows them.

    Examples
    --------
    >>> all_of("abcde", "tensors")
    '5 tensors, a, b, c and others,'
    """
    return series(words) if len(words) <= 4 else f"{len(words)} {kind}, {', '.join(words[:3])} and others,"


def each_of(words: Sequence[str], kind: str) -> str:
    """Return words such that what is said of one can follow: "is", "has".

    Examples
    --------
    >>> each_of(["dUf", "dVf"], "tensors")
    'dUf and dVf each'
    """
    if len(words) == 1:
        return words[0]
    return f"{series(words)} each" if len(words) <= 4 else f"each of {all_of(words, kind)}"


def first_of(words: Sequence[str], most: int) -> str:
    """Return the first words in a row, with dots where there are more.

    Examples
    --------
    >>> first_of("abc", 2)
    'a, b ...'
    """
    return ", ".join(words[:most]) + (" ..." if len(words) > most else "")
