"""What the arguments of somebody's functions may be: in the order in which their names make it likely."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = {
    "u": r"hid|unit|n_h|nh$|^h$|^hs|d_h|n_a|mem|state|n_out|out_dim|cell|rnn",
    "e": r"in|emb|n_x|^d$|^x|feat|vec|vocab|n_i",
    "o": r"out|class|n_y|^y|vocab|label",
    "m": r"batch|n_b|^m$|^n$|bs",
    "s": r"seq|step|time|len|^t$|bptt|^s$",
    "X": r"^x|inp|seq|data|emb|batch",
    "h": r"^h|_h|^a|hid|prev_h|state",
    "c": r"^c|_c$|cell|mem|prev_c",
    "hc": r"state|hidden|carry|prev|init",
    "ch": r"state|carry|init",
    "dh": r"^d.*[ahy]|grad|^d",
    "dC": r"dc|cell|d.*mem",
    "dhn": r"^d_?[ah]_?(n|t|l|last|final|end|next)$",
    "finals": r"^d.*(state|final|last|carry)",
    "cache": r"cache|tape|ctx|store|trace|hist|mem",
    "W": r"^[wubv]|param|weight|kernel|bias|theta",
    "other": r"",
}
"""Words in names by which what an argument may be is put into an order; none of it is believed."""


@dataclass(frozen=True)
class Argument:
    """An argument of somebody's function: its name, and whether it must be given."""

    name: str
    required: bool
    default: Any = None
    keyword: bool = False


def arguments_of(function: Callable[..., Any]) -> list[Argument] | None:
    """Return the arguments of a function, those of any number left out; None where nobody can tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        Argument(one.name, one.default is one.empty, one.default, one.kind is one.KEYWORD_ONLY)
        for one in parameters
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]


def unlikely(name: str, role: str, place: int = 0, sizes_last: bool = False) -> int:
    """Return how unlikely a name makes a role: 0 where it says it, 1 where it says nothing, 2 where another."""
    name = name.lower()
    # One of several caches, of the forward pass's weights, or of what holds them.
    role = re.sub(r"^cache\d+$", "cache", re.sub(r"^[WP]\d+$", "W", role))
    if role in WORDS and re.search(WORDS[role], name):
        return 0
    if role == "X" and place == 0:
        return 1
    if role in ("m", "s", "e", "u") and place >= 0 and sizes_last:
        return 4
    related = {"u": "eoms", "e": "uoms", "o": "uems", "m": "ueos", "s": "ueom"}.get(role, "")
    others = related or [other for other in ("X", "h", "c", "W", "cache", "dh", "dC") if other != role]
    return 2 if any(re.search(WORDS[other], name) for other in others) else 1


def assignments(
    arguments: Sequence[Argument],
    roles: Sequence[str],
    needed: Sequence[str],
    repeated: Sequence[str] = (),
    sizes_last: bool = False,
) -> list[dict[str, str]]:
    """Return what each argument may be, by name; likelier ones first.

    Parameters
    ----------
    arguments : sequence of Argument
        One that need not be given may be left out.
    roles : sequence of str
        What there is to give, each once, but for those that are `repeated`.
    needed : sequence of str
        The roles without which it is no use.
    sizes_last : bool
        Whether an argument is a size only where nothing else will do.
    """
    found: list[tuple[int, dict[str, str]]] = []

    def extend(k: int, chosen: dict[str, str], cost: int) -> None:
        if len(found) > MOST:
            return
        if k == len(arguments):
            if set(needed) <= set(chosen.values()):
                found.append((cost, chosen))
            return
        one = arguments[k]
        free = [role for role in roles if role in repeated or role not in chosen.values()]
        ranked = sorted((unlikely(one.name, role, k, sizes_last), roles.index(role), role) for role in free)
        for price, _, role in ranked:
            # What need not be given is given where its name says what it is.
            if one.required or price == 0:
                extend(k + 1, {**chosen, one.name: role}, cost + price)
        if not one.required:
            extend(k + 1, chosen, cost + 1)

    extend(0, {}, 0)
    return [chosen for _, chosen in sorted(found, key=lambda pair: pair[0])]


MOST = 3000
"""Assignments that are listed at most."""


def called(text: str, arguments: Sequence[Argument], given: dict[str, str]) -> str:
    """Return the text of a call, arguments by name where one before them is left out."""
    words, gap = [], False
    for one in arguments:
        if one.name not in given:
            gap = True
        else:
            words.append(f"{one.name}={given[one.name]}" if gap or one.keyword else given[one.name])
    return f"{text}({', '.join(words)})"


def every(*several: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield all combinations, those first that have early elements of all."""
    pairs = itertools.product(*(list(enumerate(one)) for one in several))
    for combination in sorted(pairs, key=lambda pair: sum(k for k, _ in pair)):
        yield tuple(value for _, value in combination)
