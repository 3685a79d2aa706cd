"""Comparing what came with what was due: structure, then dtype, shape, finiteness, and only then values.

Nothing is ever broadcast: a (u,) for a (1, u) is a wrong shape and not a match.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.contract import EndedError, Target, TimeLimitError, with_article
from lstm_checks.formats import array_dtype
from lstm_checks.oracles.expected import Expected
from lstm_checks.words import first_of
from lstm_ref.cell import Cell

Array = NDArray[Any]

TIMEOUT, ENDED = TimeLimitError.kind, EndedError.kind


class Verdict(StrEnum):
    """What is said of a claim about a target on a case; only a pass counts as pass."""

    PASS = "pass"
    FAIL = "fail"
    VACUOUS = "vacuous"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Discrepancy:
    """One tensor's departure from what was due.

    Attributes
    ----------
    tensor : str
        Its name.
    kind : str
        "missing", "extra", "type", "dtype", "shape", "finite", "value" or "direction"; of a call "error", "timeout" or
        "ended".
    message : str
        One line: value, expectation, tolerance.
    wrong, size : int
        Entries out of tolerance, and all.
    where : str
        Which entries, if they form a pattern: "row 2".
    index : tuple of int
        The worst entry.
    """

    tensor: str
    kind: str
    message: str
    wrong: int = 0
    size: int = 0
    where: str = ""
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A verdict on one thing that was claimed, with the share of the tolerance that was used."""

    name: str
    verdict: Verdict
    use: float = 0.0
    discrepancy: Discrepancy | None = None
    reason: str = ""


def compare(values: Mapping[str, Any], expected: Expected, target: Target, dtype: str) -> list[Claim]:
    """Return a claim for each output, gradient and twin, and a failed one for each unknown name."""
    cell = target.cell
    claims = []
    # Each output by itself: a memory of large values says nothing of a chaotic h.
    unjudged = {name: expected.unjudged((name,)) for name in cell.outputs} | dict.fromkeys(
        cell.gradients, expected.unjudged(cell.gradients)
    )
    further = tuple(name for name in expected.values if name not in unjudged)
    unjudged |= dict.fromkeys(further, expected.unjudged(further) if further else "")
    for name in (*cell.tensors, *further):
        if name in target.lacks:
            claims.append(Claim(name, Verdict.UNSUPPORTED))
        else:
            claims.append(_compare_one(name, name, values, expected, cell, dtype, unjudged[name]))
    for twin, name in target.twins.items():
        claims.append(_compare_one(twin, name, values, expected, cell, dtype, unjudged[name]))
    known = {*cell.tensors, *further, *target.twins}
    for name in map(_of_no_claim, sorted(set(values) - known)):
        message = f"{name} is not a gradient of the contract, expected only {', '.join(cell.gradients)}"
        claims.append(Claim(name, Verdict.FAIL, np.inf, Discrepancy(name, "extra", message)))
    return claims


def _of_no_claim(name: str) -> str:
    """Return the name of a gradient too many, quoted where it might be read as one of the harness's own claims."""
    return name if re.fullmatch(r"d[A-Z]\w*", name) else repr(name)


def _compare_one(
    name: str, like: str, values: Mapping[str, Any], expected: Expected, cell: Cell, dtype: str, unjudged: str
) -> Claim:
    """Return the claim about one tensor, which should be what is due for the tensor `like`."""
    due, sd = expected.values[like], expected.sd[like]
    badly_formed = form_fault(name, values, due.shape, dtype, cell)
    if badly_formed is not None and not (expected.out_of_dtype and _is_of(badly_formed, "finite")):
        return badly_formed
    came = values[name]
    if unjudged:
        return Claim(name, Verdict.INCONCLUSIVE, reason=unjudged)
    accepted = tolerance.accepted(sd, dtype, expected.sigmas)
    error = np.abs(came.astype(np.float64) - due)
    with np.errstate(over="ignore"):
        use = error / accepted
    worst = np.unravel_index(int(np.argmax(use)), use.shape)
    largest = float(use[worst])
    # Asked this way round, what cannot be compared is wrong.
    if not np.all(error <= accepted):
        # Noise above all that is due was amplified on the way by what is not linear: its tail is in no 32 copies.
        if np.all(sd >= np.abs(due)) and largest <= tolerance.DROWNED:
            return Claim(name, Verdict.INCONCLUSIVE, reason="rounding drowns it: all of it is below its own noise")
        return _fail_value(name, came, due, accepted, worst, largest)
    if like in expected.directions:
        along = _compare_directions(name, like, came, expected)
        if along.verdict is Verdict.FAIL:
            return along
        largest = max(largest, along.use)
    if np.all(np.abs(due) <= accepted):
        return Claim(name, Verdict.VACUOUS, largest)
    if np.all(accepted > tolerance.RESOLUTION[dtype] * np.abs(due)):
        return Claim(name, Verdict.INCONCLUSIVE, largest, reason="rounding blurs every entry")
    return Claim(name, Verdict.PASS, largest)


def _is_of(claim: Claim, kind: str) -> bool:
    """Return whether a claim failed by a discrepancy of a kind."""
    return claim.discrepancy is not None and claim.discrepancy.kind == kind


def _compare_directions(name: str, like: str, came: Array, expected: Expected) -> Claim:
    """Return the claim about a tensor of a large case along its random directions."""
    due, accepted = expected.directions[like]
    found = expected.project(like, came)
    use = np.abs(found - due) / accepted
    worst = int(np.argmax(use))
    if np.all(use <= 1):
        return Claim(name, Verdict.PASS, float(use[worst]))
    left, right = differing_digits(float(found[worst]), float(due[worst]))
    message = (
        f"{name} along random direction {worst} = {left}, but should be {right} ± {accepted[worst]:.2g}, "
        "though every entry by itself is within what 8 noisy copies can tell"
    )
    wrong = int(np.sum(~(use <= 1)))
    return Claim(name, Verdict.FAIL, float(use[worst]), Discrepancy(name, "direction", message, wrong, use.size))


def form_fault(name: str, values: Mapping[str, Any], shape: tuple[int, ...], dtype: str, cell: Cell) -> Claim | None:
    """Return a failed claim where a tensor is missing or no finite NumPy array of that shape and dtype, else None."""
    came, due = values.get(name), array_dtype(dtype)
    if isinstance(came, np.ndarray) and came.dtype == due and came.shape == shape:
        return None if np.isfinite(came).all() else _fail_non_finite(name, came, cell)
    axes = _axes(name, len(shape), cell)
    in_words = f"{axes} = {shape}" if axes else f"{shape}"
    if came is None:
        what = "None" if name in values else "missing"
        message = f"{name} is {what}, expected an array of shape {in_words}"
        # Most likely under a name of their own; a second bias's gradient has one that it may have.
        others = [key for key in values if key not in cell.tensors and " of " not in key]
        return _fail(name, "missing", message + (f"; {first_of(others, 4)} came besides" if others else ""))
    if not isinstance(came, np.ndarray):
        kind = type(came)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        what = with_article(f"{module}{kind.__qualname__}")
        return _fail(name, "type", f"{name} is {what}, expected a NumPy array of {due}")
    if came.dtype != due:
        return _fail(name, "dtype", f"{name} has dtype {came.dtype}, expected {due}, as the inputs")
    return _fail(name, "shape", f"{name} has shape {came.shape}, expected {in_words}")


def _axes(name: str, count: int, cell: Cell) -> str:
    """Return what the axes of a tensor are, in letters: in a shrunk case the numbers do not tell them apart."""
    letters = cell.axes.get(name, "") if name in cell.tensors else ""
    letters = letters if len(letters) == count else letters.replace("s", "")  # h of the last step alone
    return f"({', '.join(letters)})" if letters else ""


def _fail(name: str, kind: str, message: str) -> Claim:
    """Return a failed claim about the form of a tensor."""
    return Claim(name, Verdict.FAIL, np.inf, Discrepancy(name, kind, message))


def _fail_non_finite(name: str, came: Array, cell: Cell) -> Claim:
    """Return a failed claim about a tensor with NaN or infinity in it."""
    bad = ~np.isfinite(came)
    index = tuple(int(k) for k in np.argwhere(bad)[0])
    at = ""
    hidden = cell.outputs[0]
    if name in (hidden, "dX") and came.ndim == 3:
        steps = np.unique(np.argwhere(bad)[:, 1])
        step = int(steps[0] if name == hidden else steps[-1])
        index = tuple(int(k) for k in np.argwhere(bad[:, step])[0])
        index = (index[0], step, index[1])
        at = f"; first non-finite value at step {step + 1} of {came.shape[1]}"
    gate = f", gate {name[2]}" if name[0] == "d" and len(name) == 3 and name[2] in cell.gates else ""
    message = f"{name}{list(index)} = {came[index]}, but should be finite{at}{gate}"
    found = Discrepancy(name, "finite", message, int(bad.sum()), bad.size, _pattern(bad), index)
    return Claim(name, Verdict.FAIL, np.inf, found)


def _fail_value(name: str, came: Array, due: Array, accepted: Array, worst: tuple[Any, ...], use: float) -> Claim:
    """Return a failed claim about the values of a tensor."""
    index = tuple(int(k) for k in worst)
    wrong = ~(np.abs(came.astype(np.float64) - due) <= accepted)
    left, right = differing_digits(float(came[index]), float(due[index]))
    message = f"{name}{list(index)} = {left}, but should be {right} ± {accepted[index]:.2g}"
    found = Discrepancy(name, "value", message, int(wrong.sum()), wrong.size, _pattern(wrong), index)
    return Claim(name, Verdict.FAIL, use, found)


def differing_digits(came: float, due: float) -> tuple[str, str]:
    """Return both numbers with as many digits as it takes to tell them apart, and two more."""
    for digits in range(5, 18):
        left, right = f"{came:.{digits}g}", f"{due:.{digits}g}"
        if f"{came:.{digits - 2}g}" != f"{due:.{digits - 2}g}":
            break
    return left, right


def _pattern(wrong: Array) -> str:
    """Return where the wrong entries are, if they are some but not all along one axis."""
    axes = {1: ("entry",), 2: ("row", "column"), 3: ("sample", "step", "entry")}.get(wrong.ndim, ())
    for axis, label in enumerate(axes):
        others = tuple(k for k in range(wrong.ndim) if k != axis)
        hit = wrong.any(axis=others)
        if not hit.all() and np.array_equal(wrong, _spread_over(hit, axis, wrong.shape)):
            # Words count from 1, as people do; an index in brackets from 0, as NumPy does.
            found = [str(k + 1) for k in np.flatnonzero(hit)]
            return f"{label}{'s' if len(found) > 1 else ''} {', '.join(found)} of {hit.size}"
    return ""


def _spread_over(hit: Any, axis: int, shape: tuple[int, ...]) -> Array:
    """Return `hit`, which runs along one axis, over the whole shape."""
    return np.broadcast_to(hit.reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape)
