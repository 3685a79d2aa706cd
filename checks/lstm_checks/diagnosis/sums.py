"""Whose part is missing in a gradient that is a sum, or is counted wrongly: steps, samples, gates, units.

dU, dV and db are sums over steps and samples, dX and dh0 over gates and units. Where a wrong one is exactly a sum of
the right parts with other weights, as is solved for with far fewer weights than entries, the weights tell what became
of each part. The same is asked of X, or the hidden states, moved in time or between samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.observe import (
    Array,
    Observation,
    counted_in,
    gate_sums,
    in_general,
    intermediates,
    observe_once,
    of_other_sizes,
    slack,
    suited,
)
from lstm_checks.diagnosis.relation import number
from lstm_checks.diagnosis.statement import Trial, try_values
from lstm_checks.words import all_of, series
from lstm_ref.cell import Cell

SUMMED = (Case(3, 4, 5, 9, seed=141), Case(6, 5, 4, 13, seed=142))
"""Cases with many more entries than parts."""


def find_weights(target: Target, case: Case) -> list[str]:
    """Return what became of the parts of which wrong gradients are sums, a sentence for each way in which some went.

    Parameters
    ----------
    target : Target
    case : Case
        One that it fails; larger ones are asked first.
    """
    for larger in (*SUMMED, case):
        asked = suited(target, larger)
        if asked is not None and (said := _find_weights(target, asked)):
            # What hangs on the values became of no part.
            again = _find_weights(target, replace(asked, seed=asked.seed + 10))
            held = [(words, names) for words, names in said.items() if again.get(words) == names]
            found = [(_elsewhere_too(target, asked, words, names), names) for words, names in held]
            return [_sentence(words, names) for words, names in found if words]
    return []


def _elsewhere_too(target: Target, case: Case, words: str, names: Sequence[str]) -> str:
    """Return what became of parts, as it holds at other sizes: of the last step, or as they are counted; else nothing.

    Of db, which has few entries, it need not be found there.
    """
    for said in dict.fromkeys((in_general(words), words)):
        # A smaller case has too few entries to solve for the weights.
        others = [o for o in of_other_sizes(target, case, counted_in(said)) if min(o.m * o.s * o.e, o.u) >= case.u]
        told = [_find_weights(target, other) for other in others]
        there = [set().union(*(n for w, n in found.items() if said in (w, in_general(w)))) for found in told]
        if (others or said == words) and all(one and one <= set(names) for one in there):
            return said
    return ""


def _find_weights(target: Target, case: Case) -> dict[str, list[str]]:
    """Return what became of the parts on one case, and of which tensors."""
    observation = observe_once(target, case)
    arrays = case.arrays.astype(np.float64)
    fc, bc = intermediates(arrays)
    # With a wrong forward pass the reference's parts are not the target's, and weights of them would mean nothing.
    if not observation.wrong or not set(observation.wrong) <= set(observation.came) - set(case.cell.outputs):
        return {}
    found: dict[str, list[str]] = {}
    for names, ways in _groups(observation, arrays, fc, bc):
        said = next((words for words in _explained(observation, names, ways) if words), "")
        if said:
            found.setdefault(said, []).extend(names)
    return found


def _sentence(words: str, names: Sequence[str]) -> str:
    """Return what became of the parts of which some tensors are sums."""
    verb = words if len(names) > 1 else words.replace("lack ", "lacks ").replace("have ", "has ")
    return f"{all_of(names, 'tensors')} {verb}"


def _groups(observation: Observation, arrays: Any, fc: Mapping[str, Array], bc: Mapping[str, Array]) -> Iterator[Any]:
    """Yield wrong tensors that are made alike, and the ways of taking them apart: the part of each, by name."""
    cell = observation.case.cell
    delta = {gate: bc[f"d{gate}_"] for gate in cell.gates}
    ones = np.ones((*arrays["X"].shape[:2], 1))
    for kind, left in (("U", arrays["X"]), ("V", fc["hp"]), ("b", ones)):
        wrong = observation.wrong.keys() & gate_sums(cell)
        gates = [gate for gate in cell.gates if f"d{kind}{gate}" in wrong]
        if not gates:
            continue
        # (gates, samples, steps, rows, units)
        parts = np.stack([np.einsum("nti,ntj->ntij", left, delta[gate]) for gate in gates])
        ways = {"step": parts.sum(1).swapaxes(0, 1), "sample": parts.sum(2).swapaxes(0, 1)}
        moved = {} if kind == "b" else _moved({"U": "X", "V": "the hidden states"}[kind], left)
        whole = {
            words: np.stack([np.einsum("nti,ntj->ij", value, delta[gate]) for gate in gates])
            for words, value in moved.items()
        }
        yield [f"d{kind}{gate}" for gate in gates], (ways, whole)
    for name, kind, at in (("dX", "U", slice(None)), ("dh0", "V", 0)):
        if name in observation.wrong and name in gate_sums(cell):
            weighed = [(k, delta[k][:, at][..., None, :], arrays.p[kind + k]) for k in cell.gates]
            by_unit = np.stack([d * w for _, d, w in weighed])
            total = by_unit.sum((0, -1))
            whole = {
                f"{kind}{other} in place of {kind}{gate}": total + np.sum(d * (arrays.p[kind + other] - w), -1)
                for gate, d, w in weighed
                for other in cell.gates
                if other != gate
            }
            rows, columns = arrays.p[f"{kind}{cell.gates[0]}"].shape
            if rows == columns:
                whole |= {f"{kind}{gate} transposed": total + np.sum(d * (w.T - w), -1) for gate, d, w in weighed}
            ways = {"gate": by_unit.sum(-1)[:, None], "unit": np.moveaxis(by_unit.sum(0), -1, 0)[:, None]}
            yield [name], (ways, {words: value[None] for words, value in whole.items()})


def _moved(name: str, value: Array) -> dict[str, Array]:
    """Return an array (samples, steps, ...) moved in the ways in which slips of an index move it."""
    moved = {}
    for axis, words in ((1, "steps"), (0, "samples")):
        if value.shape[axis] > 1:
            moved[f"{name} with its {words} in reverse order"] = np.flip(value, axis)
        if value.shape[axis] > 2:
            for by, where in ((1, "late"), (-1, "early")):
                turned = np.roll(value, by, axis)
                moved[f"{name} with its {words} one place {where}, the one at the end moved to the other"] = turned
                cut = turned.copy()
                edge: list[Any] = [slice(None)] * value.ndim
                edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
                cut[tuple(edge)] = 0
                moved[f"{name} with its {words} one place {where}, zero at the end"] = cut
    return moved


def _explained(observation: Observation, names: Sequence[str], ways: Any) -> Iterator[str]:
    """Yield how the wrong tensors come of other weights, or of something moved."""
    came = np.stack([observation.came[name] for name in names])
    if not np.isfinite(came).all():
        return
    weighted, whole = ways
    for words, value in whole.items():
        if _is_shown(observation, names, value):
            yield f"came as if made with {words}"
    for kind, parts in weighted.items():
        weights = _weights(observation, names, came, parts)
        if weights is not None:
            yield _in_words(kind, weights, observation.case.cell)


def _is_shown(observation: Observation, names: Sequence[str], value: Array, blur: Array | float = 0.0) -> bool:
    """Return whether values, stacked in the order of the names, account for what came; the parts are rounded anew."""
    values = dict(zip(names, value, strict=True))
    sd = {name: deviation + blur for name, deviation in slack(values, observation.expected).items()}
    return try_values(observation, values, names, sd) is Trial.SHOWN


def _weights(observation: Observation, names: Sequence[str], came: Array, parts: Array) -> Array | None:
    """Return the weights with which parts give what came, to rounding; None where none do or too many could."""
    columns = parts.reshape(len(parts), -1).T
    if len(parts) < 2 or columns.shape[0] < tolerance.ENTRIES_A_WEIGHT * len(parts):
        return None
    dtype = observation.case.dtype
    sd = np.stack([observation.due(name)[1] for name in names])
    scale = 1 / tolerance.accepted(sd + np.max(sd), dtype).reshape(-1)
    # Each row is divided by what rounding blurs it by: entries of all sizes then count alike.
    weights, _, rank, _ = np.linalg.lstsq(
        columns * scale[:, None], came.reshape(-1) * scale, rcond=tolerance.PARTS_RANK
    )
    # Of parts that depend on one another more than one set of weights gives the same sum.
    if rank < len(parts):
        return None
    # Weights are solved for to rounding; what is as good as equal is.
    near = np.round(weights * 4) / 4
    weights = np.where(np.abs(weights - near) < tolerance.ROUND_WEIGHT[dtype], near, np.round(weights, 9))
    # A weight is known to rounding only, and what it multiplies may be large.
    blur = tolerance.UNIT_ROUNDOFF[dtype] * float(np.max(np.abs(columns).sum(1)))
    value = (columns @ weights).reshape(came.shape)
    return weights if _is_shown(observation, names, value, blur) else None


def _in_words(kind: str, weights: Array, cell: Cell) -> str:
    """Return which parts are lacking or counted otherwise than once; empty where all are alike."""
    off = [k for k, weight in enumerate(weights) if weight != 1]
    if not off or len(set(weights)) == 1:
        return ""
    names = cell.gates if kind == "gate" else [str(k + 1) for k in range(len(weights))]
    said = []
    for value in sorted({weights[k] for k in off}):
        which = [names[k] for k in off if weights[k] == value]
        of = f"{kind}{'s' if len(which) > 1 else ''} {series(which)}" + (
            "" if kind == "gate" else f" of {len(weights)}"
        )
        if value == 0:
            said.append(f"lack the part of {of}")
        else:
            said.append(f"have the part of {of} {number(value)} times")
    return ", ".join(said) if len(said) <= 2 else ""
