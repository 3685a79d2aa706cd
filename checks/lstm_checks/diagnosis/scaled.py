"""As if which arrays were some number of times as large: the one factor with which all that came would be right.

The factor is solved for, so that it may be any: a temperature, a dropout's keep rate, a normalisation by the root of a
size. Where the outputs are wrong, inputs and parameters are scaled, else the cotangents.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import Array, Observation, observe_once, suited
from lstm_checks.diagnosis.statement import Trial, try_values
from lstm_checks.diagnosis.work import Spare
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.words import series
from lstm_ref.cell import Cell, evaluate_forward


def find_scale(target: Target, case: Case, spare: Spare) -> str:
    """Return as if what were how many times as large, in words; empty where no one factor explains what came.

    Parameters
    ----------
    target : Target
    case : Case
        One that it fails. It must be so on another of other sizes, too.
    spare : Spare
        Whether more may be tried.
    """
    other = suited(target, replace(case, m=case.m + 1, s=case.s + 1, e=case.e + 2, u=case.u + 3, seed=case.seed + 1))
    if other is None:
        return ""
    observations = observe_once(target, case), observe_once(target, other)
    if any(o.answer.error for o in observations):
        return ""
    forward = all(set(o.wrong) & set(target.cell.outputs) for o in observations)
    # A factor solved for on one case may be that case's own. It is said only if the same number, or the same power of a
    # size, accounts for a case of other sizes as well.
    for words, names in _groups(forward, target.cell):
        if not spare():
            return ""
        factors = [_fit(o, names, forward) for o in observations]
        said = _in_words(factors, [o.case for o in observations])
        ways = [_explained(o, names, factor) for o, factor in zip(observations, factors, strict=True)]
        if said and ways[0] and ways[0] == ways[1]:
            return ways[0].format(f"{words} were {said} times as large")
    return ""


def _groups(forward: bool, cell: Cell) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what may be scaled together, in words and by name."""
    if not forward:
        yield from ((name, (name,)) for name in cell.cotangents)
        return
    yield from ((name, (name,)) for name in ("X", *cell.initial, *cell.parameters))
    yield from ((f"all {kind}", tuple(f"{kind}{gate}" for gate in cell.gates)) for kind in "UVb")
    yield from ((f"U{g}, V{g} and b{g}", (f"U{g}", f"V{g}", f"b{g}")) for g in cell.gates)


def _changed(observation: Observation, names: tuple[str, ...], factor: float) -> Arrays:
    """Return the arrays of a case with some scaled, in float64."""
    named = dict(observation.case.arrays)
    return observation.case.arrays.replaced(**{name: named[name] * factor for name in names}).astype(np.float64)


def _fit(observation: Observation, names: tuple[str, ...], forward: bool) -> float:
    """Return the factor with which the reference's outputs, or gradients, come nearest to what came; NaN if none do."""
    cell = observation.case.cell
    tensors = [name for name in (cell.outputs if forward else cell.gradients) if name in observation.came]
    came = np.concatenate([observation.came[name].ravel() for name in tensors])

    def row(factor: float) -> Array:
        arrays = _changed(observation, names, factor)
        with np.errstate(all="ignore"):
            values = evaluate_forward(cell, arrays) if forward else evaluate_reference(arrays)
        return np.concatenate([observation.shaped(name, values[name]).ravel() for name in tensors])

    # Gauss-Newton in one unknown, from 1, where the reference is: each step is the least-squares fit of the residual
    # came - row(factor) to its derivative. All tensors are one residual, since one factor is to do for all of them.
    # Nothing is weighted by its rounding: the factor need only be found here, `_explained` tries it entry by entry.
    factor, step, tiny = 1.0, np.inf, tolerance.NEWTON_DIFFERENCE
    for _ in range(tolerance.NEWTON_STEPS):
        here = row(factor)
        slope = (row(factor + tiny) - here) / tiny
        curvature = float(slope @ slope)
        if not np.isfinite(curvature) or curvature == 0:
            return np.nan
        step = float(slope @ (came - here)) / curvature
        factor += step
        if abs(step) < tolerance.NEWTON_STILL * max(1.0, abs(factor)):
            break
    return (
        factor
        # A factor of 1 is the right answer itself: nothing came nearer by scaling this. By rounding it is near 1 and
        # seldom exactly so, and would be said of anything that is nearly right.
        if abs(step) < tolerance.NEWTON_DONE * max(1.0, abs(factor)) and abs(factor - 1) > tolerance.SAME_FACTOR
        else np.nan
    )


def _explained(observation: Observation, names: tuple[str, ...], factor: float) -> str:
    """Return what a factor explains, with a gap for as if what; empty if not even the outputs."""
    if not np.isfinite(factor):
        return ""
    with np.errstate(all="ignore"):
        values = evaluate_reference(_changed(observation, names, factor))
    # A layer that scales x itself computes f(c x), and its dx is c times the gradient at c x: the chain rule.
    inside = {n: v * factor if n[1:] in names else v for n, v in values.items()}
    if try_values(observation, values) is Trial.SHOWN:
        return "all is as if {}"
    if try_values(observation, inside) is Trial.SHOWN:
        return "all is as if {} within the layer"
    if try_values(observation, values, observation.case.cell.outputs) is Trial.SHOWN:
        outputs = observation.case.cell.outputs
        return f"{series(outputs)} {'are' if len(outputs) > 1 else 'is'} as if {{}}"
    return ""


def _in_words(factors: list[float], cases: list[Case]) -> str:
    """Return a factor in words that hold on all cases: a number, or a size's; empty if there are none."""
    if not np.all(np.isfinite(factors)):
        return ""
    if _same(factors[0], factors[1]):
        return f"{factors[0]:.6g}"
    for size in ("m", "s", "e", "u"):
        for words, power in ((f"{size}", 1.0), (f"1/{size}", -1.0), (f"sqrt({size})", 0.5), (f"1/sqrt({size})", -0.5)):
            if all(_same(f, getattr(case, size) ** power) for f, case in zip(factors, cases, strict=True)):
                return words
    return ""


def _same(factor: float, other: float) -> bool:
    """Return whether two factors are one."""
    return abs(factor - other) <= tolerance.SAME_FACTOR * abs(other)
