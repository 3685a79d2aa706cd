"""Arrays inside whatever a layer holds or returns: each with the Python text that gets it, and its axes in letters."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_checks.calling import to_numpy

MOST = 400
"""Arrays that are looked at in one value; a stranger's object may hold a data set."""

DEEPEST = 4
"""How deep they are looked for: a layer in a list in an attribute of an object that holds a dict."""


@dataclass(frozen=True)
class Place:
    """An array, the text that gets it, and how deep in the value it lies: 0 is the value itself."""

    text: str
    depth: int
    value: Any
    root: str = ""
    """The name of the value that it is in."""
    owner: int = 0
    """The identity of the array itself, of which `value` is a copy; 0 of arrays that were stacked here."""


def walk(text: str, value: Any, stack: str = "np.stack") -> list[Place]:
    """Return the arrays of floating-point numbers inside a value: of tuples, lists, dicts and objects' attributes.

    Arrays of one shape in a list, or under the numbers of steps in a dict, are also there stacked, as steps often are.
    """
    found = itertools.islice(_walk(text, value, 0, set(), stack), MOST)
    return [replace(one, root=text) for one in found]


def _walk(text: str, value: Any, depth: int, seen: set[int], stack: str) -> Iterator[Place]:
    """Yield the arrays inside a value that has not been seen yet on the way to it."""
    if depth > DEEPEST or isinstance(value, str | bytes | int | float | complex | type) or value is None:
        return
    if is_array(value):
        found = to_numpy(value)
        if found.ndim:
            yield Place(text, depth, found, owner=id(value))
        return
    if id(value) in seen:
        return
    seen = seen | {id(value)}
    stacked = _stacked(text, value, stack)
    if stacked is not None:
        yield Place(stacked[0], depth, stacked[1])
    for inner, found in _inside(text, value):
        yield from _walk(inner, found, depth + 1, seen, stack)


def is_array(value: Any) -> bool:
    """Return whether a value is an array of floating-point numbers, whichever library's."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f"
    return hasattr(value, "__array__") and hasattr(value, "shape") and "float" in str(getattr(value, "dtype", ""))


def _inside(text: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is directly inside a value, each with its text."""
    if isinstance(value, Mapping):
        yield from ((f"{text}[{key!r}]", value[key]) for key in list(value) if isinstance(key, str | int))
    elif isinstance(value, list | tuple):
        yield from ((f"{text}[{k}]", one) for k, one in enumerate(value))
    elif is_plain_object(value):
        yield from ((f"{text}.{name}", one) for name, one in list(vars(value).items()) if name.isidentifier())


def is_plain_object(value: Any) -> bool:
    """Return whether a value is an object of somebody's own class, and no function, class or module."""
    kind = type(value)
    return hasattr(value, "__dict__") and kind.__module__ not in ("builtins", "types", "numpy", "functools")


def _stacked(text: str, value: Any, stack: str) -> tuple[str, Any] | None:
    """Return arrays of one shape in a list, or by the numbers of steps in a dict, as one array."""
    if isinstance(value, list | tuple):
        steps, inner = list(value), text
    elif isinstance(value, Mapping) and value and all(isinstance(key, int) for key in value):
        last = max(value)
        steps = [value[t] for t in range(last + 1)] if set(range(last + 1)) <= set(value) else []
        inner = f"[{text}[t] for t in range({last + 1 if last < 0 else 's'})]"
    else:
        return None
    if not steps or not all(map(is_array, steps)) or len({np.shape(one) for one in steps}) > 1:
        return None
    return f"{stack}({inner})", np.stack([to_numpy(one) for one in steps])


def axes_of(shape: tuple[int, ...], sizes: Mapping[str, int]) -> str:
    """Return the axes of a shape in letters, a 1 for one of length 1; empty where it is not of these axes alone.

    Examples
    --------
    >>> axes_of((7, 3, 5), {"m": 3, "s": 5, "u": 7})
    'ums'
    >>> axes_of((7, 1), {"m": 1, "s": 1, "u": 7})
    'u1'
    """
    letters = {size: letter for letter, size in sizes.items() if size > 1}
    found = "".join("1" if size == 1 else letters.get(size, "?") for size in shape)
    due = sorted(letters.values())
    return found if sorted(found.replace("1", "")) == due else ""


def recast(text: str, have: str, want: str, flip: str = "transpose") -> str:
    """Return the text that turns an array with some axes into the same with others; what is missing is 1 long.

    Examples
    --------
    >>> recast("h", "ums", "msu")
    'h.transpose(1, 2, 0)'
    >>> recast("X", "mse", "e1")
    'X[0, 0][:, None]'
    >>> recast("c", "u1", "mu")
    'c[:, 0][None]'
    """
    if have == want:
        return text
    kept = [letter for letter in have if letter != "1" and letter in want]
    index = [":" if letter in kept else "0" for letter in have]
    while index and index[-1] == ":":
        index.pop()
    text += f"[{', '.join(index)}]" if index else ""
    order = [kept.index(letter) for letter in want if letter in kept]
    if order == [1, 0]:
        text += ".T"
    elif order != sorted(order):
        text += f".{flip}({', '.join(map(str, order))})"
    new = [":" if letter in kept else "None" for letter in want]
    while new and new[-1] == ":":
        new.pop()
    return text + (f"[{', '.join(new)}]" if new else "")
