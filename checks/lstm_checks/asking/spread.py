"""Not the same twice: how far calls with the same inputs lie apart, as a share of what rounding explains.

A sum in another order each time moves last bits; a race loses an addend, seldom. Both differ from call to call, so what
differs at all is called again some times, and what nobody has seen to differ as often as --repeat says.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged
from lstm_checks.calling import Outcome, call_many, same_bits
from lstm_checks.compare import Discrepancy, Verdict, differing_digits


def repeatable(x: Asker, again: Outcome, repeat: int = 0) -> Judged:
    """Return the claim that calls with the same inputs give the same, with the spread of their answers.

    Parameters
    ----------
    x : Asker
    again : Outcome
        Of the second call.
    repeat : int
        How many calls are made at least.
    """
    outcomes = [again]
    differs = not _same(x.outcome.values, again.values)
    wanted = max(repeat - 2, tolerance.REPEATS if differs else 0)
    arrays = [x.arrays.copy() for _ in range(max(wanted, 0))]
    outcomes += call_many(x.target, arrays, x.case.sequences)
    uses = [_spread(x, outcome.values) for outcome in outcomes]
    count, unlike = len(outcomes) + 1, sum(not _same(x.outcome.values, one.values) for one in outcomes)
    use, name, index, found = max(uses, key=lambda one: one[0])
    if not use <= 1:
        beyond = sum(not one[0] <= 1 for one in uses)
        left, right = differing_digits(found, float(np.asarray(x.outcome.values[name])[index]))
        times = f"{use:.3g} times what rounding explains" if np.isfinite(use) else "not of one form"
        message = (
            f"of {count} calls with the same inputs {beyond} gave another answer than the first: "
            f"{name}{list(index)} = {left}, and {right} before, {times}"
        )
        return Judged(Verdict.FAIL, use, Discrepancy(name, "asked", message, index=index))
    reason = f"{unlike} of {count} calls differ, by {use:.2g} of the tolerance at most" if unlike else ""
    return Judged(Verdict.PASS, use, reason=reason)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two answers are one to the bit, as far as they are arrays."""
    return all(same_bits(other.get(name), value) for name, value in one.items() if isinstance(value, np.ndarray))


def _spread(x: Asker, values: Mapping[str, Any]) -> tuple[float, str, tuple[int, ...], float]:
    """Return how far an answer is from the first: the share of the tolerance, the tensor, the entry and its value."""
    worst: tuple[float, str, tuple[int, ...], float] = (0.0, x.target.cell.outputs[0], (), 0.0)
    for name, sd in x.expected.sd.items():
        first, came = x.outcome.values.get(name), values.get(name)
        if name in x.target.lacks or not isinstance(first, np.ndarray) or first.shape != sd.shape:
            continue
        if not isinstance(came, np.ndarray) or came.shape != first.shape:
            return np.inf, name, (0,) * first.ndim, np.nan
        if same_bits(came, first) or x.expected.chaotic((name,)):
            continue
        accepted = tolerance.accepted_between(sd, sd, x.case.dtype, x.expected.sigmas)
        use = np.abs(came.astype(np.float64) - first) / accepted
        use = np.where(np.isnan(use), np.inf, use)
        index = tuple(int(k) for k in np.unravel_index(int(np.argmax(use)), use.shape))
        if use[index] > worst[0]:
            worst = float(use[index]), name, index, float(came[index])
    return worst
