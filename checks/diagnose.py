"""From a failing case to what it takes to fail: which sizes matter."""

from collections.abc import Callable
from dataclasses import replace

from checks.cases import Case


def describe_sizes(fails: Callable[[Case], bool], case: Case) -> str:
    """Return from which sizes on a failing case fails, in words; empty if one less of any still fails.

    Parameters
    ----------
    fails : callable
        Whether the target fails a case. It is asked about cases that differ from `case` by one in one size.
    case : Case
        A case that fails.

    Examples
    --------
    >>> describe_sizes(lambda c: c.s >= 2, Case(1, 2, 1, 3))
    'right at s=1, wrong from s=2'
    >>> describe_sizes(lambda c: c.s > 3 and c.u == 2, Case(1, 4, 1, 2))
    'right at s=3, at u=1 and at u=3, wrong at s=4 u=2'
    """
    right, wrong, onwards = [], [], True
    for size in ("m", "s", "e", "u"):
        n = getattr(case, size)
        if n > 1 and not fails(replace(case, **{size: n - 1})):
            right.append(f"{size}={n - 1}")
            wrong.append(f"{size}={n}")
            if not fails(replace(case, **{size: n + 1})):
                right.append(f"{size}={n + 1}")
                onwards = False
    if not right:
        return ""
    listed = right[0] if len(right) == 1 else ", at ".join(right[:-1]) + " and at " + right[-1]
    return f"right at {listed}, wrong {'from' if onwards else 'at'} {' '.join(wrong)}"
