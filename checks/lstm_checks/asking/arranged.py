"""Laid out otherwise: the same numbers elsewhere in memory, cotangents expanded from one number, no samples at all."""

from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.arrangement import APART, KINDS, OF_TENSORS, arrange, expand
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.cases import Arrays
from lstm_checks.compare import Discrepancy, Verdict, differing_digits
from lstm_checks.contract import STILL

OFTEN = (0.75, 0.25)
"""How often numbers have gaps between them, and how often negative strides: a state is mostly a slice of another array.
With both alike often a fault of the strides of an RNN's one state was left alive with two seeds of twenty."""


def memory_layout(x: Asker) -> Judged:
    """Give the inputs and cotangents in other layouts, each in its own; where that fails say which alone does."""
    names = [*x.arrays.inputs, *x.cotangents()]
    found = []
    # Few examples are asked, so each kind has its turn in each of them. When gaps, negative strides, locked and
    # misaligned had one turn, an array had gaps too seldom: a fault of the states' strides was left alive with one seed
    # of twelve.
    for among in KINDS:
        hows = dict(zip(names, x.rng.choice(among, len(names), p=OFTEN if among is APART else None), strict=True))
        weights = str(x.rng.choice(OF_TENSORS))
        found.append(_laid(x, hows, weights))
        if found[-1].verdict is Verdict.FAIL:
            alone = (_laid(x, {name: how}, None) for name, how in hows.items())
            return next((one for one in alone if one.verdict is Verdict.FAIL), found[-1])
    return worst_of(found)


def _laid(x: Asker, hows: dict[str, Any], weights: str | None) -> Judged:
    """Return what an answer is worth for which some arrays, and a framework's own weights, lie in memory otherwise."""
    one = next(iter(hows))
    done = f"with {one} {hows[one]}" if len(hows) == 1 else "with all arrays laid out otherwise in memory"

    def laid(name: str, value: Any) -> Any:
        return arrange(value, hows[name]) if name in hows else value.copy()

    try:
        inputs = {name: laid(name, value) for name, value in x.arrays.inputs.items()}
        # What packs the weights lays them out itself; what has a way to be told has them packed.
        how = {"laid": weights} if weights is not None and _packs(x) else None
        passed = x.forward(inputs, how)
        return x.judge(passed.pull({name: laid(name, value) for name, value in x.cotangents().items()}), done)
    except RefusedError as error:
        return x.refused(error, done)


def _packs(x: Asker) -> bool:
    """Return whether the parameters lie together in arrays of a framework's."""
    return STILL in x.target.can and any(len(part) > 1 for part in x.target.parts)


def expanded_cotangents(x: Asker) -> Judged:
    """Give cotangents of one number each, with strides of 0: the gradient of a sum of outputs; like copies of them."""
    given = x.cotangents()
    filled = {name: np.full_like(value, x.rng.uniform(0.5, 2)) for name, value in given.items()}
    done = "with each cotangent one number, expanded with strides of 0 as of a sum"
    if x.expected.chaotic(x.gradients):
        return Judged(Verdict.INCONCLUSIVE, reason="chaotic: rounding drowns the answer")
    try:
        due = x.forward().pull(filled)
        came = x.forward().pull({name: expand(value) for name, value in filled.items()})
    except RefusedError as error:
        return x.refused(error, done)
    return worst_of(_like_copies(x, name, came.get(name), due.get(name), done) for name in x.gradients)


def _like_copies(x: Asker, name: str, came: Any, due: Any, done: str) -> Judged:
    """Return what a gradient is worth that should be what it was for copies of the same cotangents."""
    if not isinstance(due, np.ndarray) or not isinstance(came, np.ndarray) or came.shape != due.shape:
        message = f"{done}, {name} is {_told(came)}, and {_told(due)} of copies"
        return Judged(Verdict.FAIL, np.inf, Discrepancy(name, "asked", message))
    size = float(np.max(np.abs(due), initial=0))
    noise = float(np.max(x.expected.sd[name])) / (float(np.max(np.abs(x.expected.values[name]))) or 1.0)
    share = max(tolerance.LIKE_COPIES[x.case.dtype], tolerance.LIKE_COPIES_NOISE * noise)
    accepted = share * size + 8 * tolerance.SMALLEST_NORMAL[x.case.dtype]
    use = np.abs(came.astype(np.float64) - due) / accepted
    if np.all(use <= 1):
        known = Verdict.INCONCLUSIVE if share > tolerance.PROPERTY_RESOLUTION else Verdict.PASS
        return Judged(known if size else Verdict.VACUOUS, float(np.max(use, initial=0)))
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(np.where(np.isnan(use), np.inf, use))), use.shape))
    left, right = differing_digits(float(came[index]), float(due[index]))
    message = f"{done}, {name}{list(index)} = {left}, but should be {right}, as of copies of the same numbers"
    return Judged(Verdict.FAIL, float(np.nan_to_num(use[index], nan=np.inf)), Discrepancy(name, "asked", message))


def empty_batch(x: Asker) -> Judged:
    """Give no samples: of outputs nothing comes, and the gradients of parameters, sums over no samples, are zero."""
    sampled = x.case.cell.along("m")  # no parameter, nor a state that all samples share
    arrays = Arrays({n: v[:0].copy() if n in sampled else v.copy() for n, v in x.arrays.items()}, x.case.cell)
    done = "with no samples"
    try:
        values = x.forward(arrays.inputs).pull(x.cotangents(arrays))
    except RefusedError as error:
        if error.kind != "error":
            return x.refused(error, done)
        raise NotAskedError(f"it takes no empty batch: {error}") from error
    for name in (*x.target.cell.outputs, *x.gradients):
        if name in x.target.lacks:
            continue
        due = x.expected.values[name].shape
        due = (0, *due[1:]) if name in sampled else due
        came = values.get(name)
        if (
            not isinstance(came, np.ndarray)
            or came.shape != due
            or came.dtype != x.case.array_dtype
            or np.any(came != 0)
        ):
            what = "is missing" if came is None else f"is {_told(came)}"
            message = f"{done}, {name} {what}, expected zeros of shape {due} and dtype {x.case.array_dtype}"
            return Judged(Verdict.FAIL, np.inf, Discrepancy(name, "asked", message))
    return Judged(Verdict.PASS)


def _told(came: Any) -> str:
    """Return what came in place of zeros."""
    if not isinstance(came, np.ndarray):
        return f"a {type(came).__name__}"
    values = f", {came.flat[0]} first" if came.size else ""
    return f"of shape {came.shape} and dtype {came.dtype}{values}"
