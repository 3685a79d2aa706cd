"""From call to call: what answers to the same inputs differ in, and which of the calls are wrong."""

from collections.abc import Iterator

import numpy as np

from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import Observation, observe, suited, unsteady, wrong_entries
from lstm_checks.words import few

NEVER_MET = Case(12, 2, 10, 21, seed=151)
"""Of sizes that no other case has."""

MUCH_AT_STAKE = Case(4, 5, 3, 6, seed=152)
"""Of so many entries that what changes by chance changes somewhere."""

SINGLE_CALLS, PAIRS_OF_CALLS, CALLS_IN_A_ROW = 3, 3, 16
"""How many calls must each be wrong, how many more pairs of calls are compared, and of how many calls those are counted
that are wrong."""

CALLS_DIFFER = "two calls with the same inputs differ in"
"""How the line begins that says so."""

_NTH = ("second", "third", "fourth", "fifth")


def fails_each_time(target: Target, case: Case) -> bool:
    """Return whether single calls that follow each other are all wrong, where one is: by twos they may seem so."""
    return all(wrong_entries(target, case) != {} for _ in range(SINGLE_CALLS))


def differing(target: Target, *seen: Observation) -> Iterator[str]:
    """Yield which tensors two calls gave differently, in what was seen and on a case where much is at stake."""
    asked = suited(target, MUCH_AT_STAKE)
    more = [observe(target, asked) for _ in range(PAIRS_OF_CALLS)] if asked is not None else []
    found = {name for one in (*seen, *more) for name in unsteady(one)}
    names = [name for name in target.cell.tensors if name in found]
    if names:
        yield f"{CALLS_DIFFER} {few(names)}"


def right_at_first(target: Target) -> Iterator[str]:
    """Yield that the target is right at the first call of a size, where it is."""
    asked = suited(target, NEVER_MET)
    if asked is not None and wrong_entries(target, asked) == {} and observe(target, asked).fails:
        yield "right at the first call of a size, wrong at later ones"


def wrong_in_turn(target: Target) -> Iterator[str]:
    """Yield that every second, third, fourth or fifth call is wrong and no other is, where that is so."""
    asked = suited(target, MUCH_AT_STAKE)
    if asked is None:
        return
    found = [wrong_entries(target, asked) for _ in range(CALLS_IN_A_ROW)]
    if None in found:
        return  # of a call that raised, or whose answer rounding drowns, nobody knows whether it was right
    wrong = [k for k, names in enumerate(found) if names]
    apart = {*np.diff(wrong).tolist()}
    if len(apart) != 1 or not 2 <= (times := apart.pop()) <= len(_NTH) + 1 or len(wrong) < CALLS_IN_A_ROW // times:
        return
    names = [name for name in target.cell.tensors if any(name in one for one in found if one)]
    yield f"every {_NTH[times - 2]} call is wrong, in {few(names)}, and those between are right"
