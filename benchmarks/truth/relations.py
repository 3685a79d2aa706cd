"""Whether what came is what a line says that it is: a multiple, another tensor, a sum with a part lacking, "as if"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from truth.evidence import (
    AXIS,
    ENOUGH,
    NAME,
    NAMES,
    NUMBER,
    PARAMETER_GRADIENTS,
    TENSORS,
    Evidence,
    Only,
    Said,
    Seen,
    Verdict,
    all_explained,
    axis_of,
    distance,
    explains,
    judge_share,
    last_step,
    passes,
    values_with,
)
from truth.suspects import slips_by_title

from lstm_checks.calling import other_values
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import PLAIN
from lstm_checks.oracles.expected import evaluate_reference

Value = Callable[[Seen, str], Any]
"""What a sentence says that a tensor is, on a case; None where the case is of no size that it speaks of."""


def _shifted(value: Any, axis: int, by: int, end: str) -> Any:
    """Return an array moved by one place along an axis, turned round or with zero at the end."""
    moved = np.roll(value, by, axis)
    if end.startswith("zero") or end.startswith("with zero"):
        edge: list[Any] = [slice(None)] * value.ndim
        edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
        moved[tuple(edge)] = 0
    return moved


def _factors(text: str, case: Case) -> list[float]:
    """Return what a factor in words, "1/(m s) = 2", is on a case."""
    names = {"m": case.m, "s": case.s, "e": case.e, "u": case.u}
    found = []
    for word in text.split(" = "):
        plain = re.sub(r"(?<=[a-z0-9]) (?=[a-z])", "*", word).replace("^", "**")
        if not re.fullmatch(r"[-mseu0-9/*().qrt+]+", plain):
            continue
        found.append(float(eval(plain, {"__builtins__": {}, "sqrt": np.sqrt}, names)))
    return found


def _before(arrays: Arrays) -> dict[str, Any]:
    """Return what was due in the call before, over other values in the same arrays."""
    copy = arrays.copy()
    other_values(copy)
    with np.errstate(all="ignore"):
        return evaluate_reference(copy.astype(np.float64))


def _short(words: str, x: Any) -> Any:
    """Return numbers in a shorter format; bfloat16 cut off."""
    with np.errstate(all="ignore"):
        if words == "bfloat16":
            bits = x.astype(np.float32).view(np.uint32)
            return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
        return x.astype(words).astype(np.float64)


def _relation_value(said: str) -> Value | None:
    """Return what a relation, "is 2 times what is due", says that a tensor is; None if it is of no known form."""
    if said == "is zero throughout":
        return lambda seen, name: 0 * seen.due[name]
    if match := re.fullmatch(rf"holds the value of ({NAME})(, transposed)?", said):
        other, turned = match[1], bool(match[2])

        def held(seen: Seen, name: str) -> Any:
            value = seen.due[other].T if turned else seen.due[other]
            return value if value.shape == seen.due[name].shape else None

        return held
    if match := re.fullmatch(r"is (.+) times what is due(?: on \S+| at [mseu]=\d+(?: [seu]=\d+)*)?", said):
        return _multiple(match[1])
    if match := re.fullmatch(r"is transposed(, with its sign reversed)?", said):
        sign = -1 if match[1] else 1
        return lambda seen, name: (
            sign * seen.due[name].T if seen.due[name].shape == seen.due[name].shape[::-1] else None
        )
    if said == "has its entries in the order of the transpose":
        return lambda seen, name: seen.due[name].T.reshape(seen.due[name].shape)
    if match := re.fullmatch(rf"has its ({AXIS}) in reverse order", said):
        label = match[1]
        return lambda seen, name: _along(seen, name, label, lambda v, k: np.flip(v, k))
    if match := re.fullmatch(
        rf"has its ({AXIS}) one place (late|early), (the one at the end moved.*|with zero.*)", said
    ):
        label, by, end = match[1], 1 if match[2] == "late" else -1, match[3]
        return lambda seen, name: _along(seen, name, label, lambda v, k: _shifted(v, k, by, end), 3)
    if match := re.fullmatch(rf"has its ({AXIS}) in the order (\d+(?:, \d+)*)", said):
        label, order = match[1], [int(k) - 1 for k in match[2].split(", ")]
        return lambda seen, name: _along(
            seen, name, label, lambda v, k: np.take(v, order, k) if v.shape[k] == len(order) else None
        )
    if said == "is what was due in the call before":
        return lambda seen, name: last_step(_before(seen.arrays)[name], seen.due[name])
    if said == "is what is due plus what was due in the call before":
        return lambda seen, name: seen.due[name] + last_step(_before(seen.arrays)[name], seen.due[name])
    if match := re.fullmatch(rf"is what is due (plus|minus) ({NAME})", said):
        sign, other = 1 if match[1] == "plus" else -1, match[2]
        return lambda seen, name: (
            seen.due[name] + sign * seen.due[other] if seen.due[other].shape == seen.due[name].shape else None
        )
    if said == "holds the value of h of the last step":
        return lambda seen, name: seen.due["h"][:, -1] if seen.due["h"].ndim == 3 else seen.due["h"]
    if said == "is the mean of what is due and its transpose":
        return lambda seen, name: _symmetric(seen.due[name])
    if match := re.fullmatch(rf"holds in all ({AXIS}) the (sum|mean) of what is due over them", said):
        label, fold = match[1], np.sum if match[2] == "sum" else np.mean
        return lambda seen, name: _along(
            seen, name, label, lambda v, k: np.broadcast_to(fold(v, axis=k, keepdims=True), v.shape)
        )
    if match := re.fullmatch(
        rf"is what is due (plus|minus) ({NUMBER}) times (?:what it is the gradient of|({NAME}))", said
    ):
        weight, other = float(match[2]) * (1 if match[1] == "plus" else -1), match[3]
        return lambda seen, name: _decayed(seen, name, weight, other or name[1:])
    if match := re.fullmatch(rf"is what is due (plus|minus) ({NUMBER}) in every entry", said):
        number = float(match[2]) * (1 if match[1] == "plus" else -1)
        return lambda seen, name: _if_printed(seen, name, seen.due[name], number)
    if match := re.fullmatch(rf"is cut off at ±({NUMBER})", said):
        limit = float(match[1])
        return lambda seen, name: np.clip(seen.due[name], -_exact(seen, name, limit), _exact(seen, name, limit))
    return None


def _symmetric(value: Any) -> Any:
    """Return the mean of a square array and its transpose; None for any other."""
    return (value + value.T) / 2 if value.shape == value.shape[::-1] else None


def _decayed(seen: Seen, name: str, printed: float, of: str) -> Any:
    """Return what is due and some times an input, of which the factor was printed in four digits."""
    own = seen.arrays.inputs[of].astype(np.float64)
    if own.shape != seen.due[name].shape or not own.any():
        return None
    weight = float(np.sum(own * (seen.came[name] - seen.due[name])) / np.sum(own * own))
    return seen.due[name] + own * (weight if abs(weight - printed) <= 1e-3 * abs(printed) else printed)


def _exact(seen: Seen, name: str, printed: float) -> float:
    """Return the limit that was printed in four digits: the largest entry, where that is it."""
    largest = float(np.max(np.abs(seen.came[name]), initial=0))
    return largest if abs(largest - printed) <= 1e-3 * abs(printed) else printed


def _if_printed(seen: Seen, name: str, due: Any, printed: float) -> Any:
    """Return what is due and a constant, which was printed in four digits, added."""
    constant = float(np.median(seen.came[name] - seen.due[name]))
    return due + (constant if abs(constant - printed) <= 1e-3 * abs(printed) else printed)


def _along(seen: Seen, name: str, label: str, move: Callable[[Any, int], Any], least: int = 2) -> Any:
    """Return what is due moved along an axis; None where the tensor has no such axis, or a short one."""
    axis = axis_of(name, seen.due[name].ndim, label)
    if axis is None or seen.due[name].shape[axis] < least:
        return None
    return move(seen.due[name], axis)


def _multiple(words: str) -> Value:
    """Return what a multiple of what is due is; the factor is solved for where it was printed in a few digits."""

    def value(seen: Seen, name: str) -> Any:
        case, due, came = seen.case, seen.due[name], seen.came[name]
        for factor in _factors(words, case):
            if re.fullmatch(NUMBER, words) and "." in words:
                weight = due / seen.accepted[name]
                total = float(np.sum(weight * weight))
                estimate = float(np.sum(weight * came / seen.accepted[name])) / total if total else factor
                # As printed: four digits of the factor, or three of its difference from 1.
                if abs(estimate - factor) <= max(1e-2 * abs(factor - 1), 1e-15) + 1e-3 * abs(factor) * (
                    abs(factor - 1) >= 1e-2
                ):
                    factor = estimate
            result = factor * due
            if explains(seen, name, result):
                return result
        return result if _factors(words, case) else None

    return value


def _names(text: str) -> tuple[list[str], str]:
    """Return the tensors that a sentence is about and what it says of them, in the singular."""
    if match := re.match(rf"(?:each of )?\d+ tensors, ({NAME}(?:, {NAME})*) and others, ", text):
        return match[1].split(", "), _singular(text[match.end() :])
    if match := re.match(rf"({NAMES})(?: each)? (?=is |has |have |holds |lacks? |came )", text):
        return re.split(", | and ", match[1]), _singular(text[match.end() :])
    return [], text


def _singular(said: str) -> str:
    """Return what is said of one tensor."""
    return re.sub(r"\bhave (?=the part|its)", "has ", re.sub(r"^lack ", "lacks ", said))


def judge_relation(evidence: Evidence, text: str) -> Verdict:
    """Judge what a line says of tensors: a factor, another's value, a part that is lacking, as if something were."""
    if match := re.fullmatch(
        r"for cotangents of (every step's h|the final h|the final memory state) alone, (.*)", text
    ):
        kind = {"every step's h": "every", "the final h": "h", "the final memory state": "C"}[match[1]]
        return judge_relation(Only(evidence, cotangents=kind), match[2])
    for judge in (_as_if, _as_with_slip, _of_norm, _of_gate_order, _of_parts):
        if (verdict := judge(evidence, text)) is not None:
            return verdict
    names, said = _names(text)
    if not names:
        return Verdict(Said.UNJUDGED, "no known form")
    if said.startswith("is off by as much as float32"):
        return _of_float32_size(evidence, names)
    if match := re.fullmatch(r"is right but for being in (float32|float16|bfloat16) only", said):
        return _over_failing(evidence, names, lambda seen, name: _rounded(seen, name, match[1]))
    value = _relation_value(said)
    if value is None:
        return Verdict(Said.UNJUDGED, "no known form")
    return _over_failing(evidence, names, value, **_sizes_in(said))


def _sizes_in(said: str) -> dict[str, int]:
    """Return the sizes that a relation speaks of alone."""
    if match := re.search(rf"has its ({AXIS}) in the order ([\d, ]+)", said):
        size = {"samples": "m", "steps": "s", "elements": "e", "units": "u", "rows": "u"}[match[1]]
        return {size: len(match[2].split(", "))}
    if match := re.search(r" on (m\d\S+)$", said):
        return dict(zip("mseu", Case.parse(match[1]).dims, strict=True))
    return {size: int(n) for size, n in re.findall(r"(?:^| )([mseu])=(\d+)", said.rpartition(" at ")[2])}


def _rounded(seen: Seen, name: str, words: str) -> Any:
    """Return what came where it is what is due, rounded; else what is due."""
    bits = {"float32": 24, "float16": 11, "bfloat16": 8}[words]
    came, due = seen.came[name], seen.due[name]
    held = np.array_equal(_short(words, came), came)
    # What is summed in a short format is off by some roundings of the sum's largest values.
    near = np.abs(came - due) <= 2.0 ** (4 - bits) * (np.abs(due) + np.max(np.abs(due))) + 2.0**-23 * (bits == 11)
    return came if held and np.all(near) else due


def _over_failing(evidence: Evidence, names: Sequence[str], value: Value, **sizes: int) -> Verdict:
    """Judge that tensors are some value: on fresh cases on which they are wrong."""
    for name in names:
        told: list[bool | None] = []
        applicable = 0
        for seen in evidence.each_failing(**sizes):
            if name not in seen.wrong:
                continue
            if not np.isfinite(seen.came[name]).all():
                told.append(None)
                continue
            wanted = value(seen, name)
            if wanted is None:
                continue
            applicable += 1
            told.append(explains(seen, name, wanted))
            if applicable >= ENOUGH:
                break
        if not told:
            own = evidence.look(evidence.case)
            if own is not None and name in own.wrong and not sizes and not isinstance(evidence, Only):
                return Verdict(Said.UNJUDGED, f"{name} is wrong on no fresh case that tells")
            return Verdict(Said.FALSE, f"{name} is wrong on no fresh case")
        if told.count(None) > 0.9 * len(told):
            return Verdict(Said.MISLEADING, "the right answer is as near to it, within rounding")
        if (refused := judge_share(told, f"holds of {name}")) is not None:
            return refused
    return Verdict(Said.HELPFUL)


def _of_float32_size(evidence: Evidence, names: Sequence[str]) -> Verdict:
    """Judge that errors are of float32's size."""
    for name in names:
        sizes = [
            distance(seen.came[name], seen.due[name]) / (seen.accepted[name].max() * 2.0**29)
            for seen in evidence.failing()
            if name in seen.wrong
        ]
        # On some cases rounding happens to be slight; on none is it more.
        if not sizes or max(sizes) > 4 or np.median(sizes) < 1e-3:
            return Verdict(Said.FALSE, f"{name} is off by {np.median(sizes or [0]):.2g} of what float32 would be")
    if evidence.truth.rounding or any(fault.family == "precision" for fault in evidence.known_fault()):
        return Verdict(Said.HELPFUL)
    return Verdict(Said.MISLEADING, "of float32's size, and no rounding")


def _as_if(evidence: Evidence, text: str) -> Verdict | None:
    """Judge "all is as if NAME were WORDS", of inputs or cotangents."""
    match = re.fullmatch(r"(all is|h and Cn are) as if (.+?) were (.+?)( within the layer)?", text)
    if match is None:
        return None
    whole, subject, change, inside = match[1] == "all is", match[2], match[3], bool(match[4])
    names = _subjects(subject)
    if not names:
        return Verdict(Said.UNJUDGED, "no known input")
    told: list[bool | None] = []
    for seen in evidence.failing():
        named = dict(seen.arrays)
        changed = {name: _change(named, name, change, seen.case) for name in names}
        if any(value is None for value in changed.values()):
            return Verdict(Said.UNJUDGED, "no known change")
        values = evaluate_reference(seen.arrays.replaced(**changed).astype(np.float64))
        if inside:
            for name in names:
                factor = _factors(change.removesuffix(" times as large"), seen.case)[0]
                values["d" + name] = values["d" + name] * factor
        told.append(all_explained(seen, values, TENSORS if whole else PLAIN.outputs))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _subjects(text: str) -> list[str]:
    """Return the inputs or cotangents that words name."""
    if match := re.fullmatch(r"all ([UVb])", text):
        return [match[1] + gate for gate in PLAIN.gates]
    names = re.split(", | and ", text)
    known = {*PLAIN.parameters, "X", "h0", "C0", "dh", "dhn", "dCn"}
    return names if set(names) <= known else []


def _change(named: Mapping[str, Any], name: str, words: str, case: Case) -> Any:
    """Return what an array would be, by what is said that it were; None if that is of no known form."""
    value = named[name]
    plain = {
        "zero": lambda: value * 0,
        "negated": lambda: -value,
        "twice as large": lambda: value * 2,
        "half as large": lambda: value / 2,
        "its absolute value": lambda: np.abs(value),
        "its tanh": lambda: np.tanh(value),
        "larger by 1": lambda: value + 1,
        "smaller by 1": lambda: value - 1,
        "transposed": lambda: value.T.copy() if value.shape == value.shape[::-1] else value,
        "read row by row as if it were its transpose": lambda: value.reshape(value.shape[::-1]).T.copy(),
        "that of its first sample for all": lambda: np.broadcast_to(value[:1], value.shape).copy(),
    }
    if words in plain:
        return plain[words]()
    if words in named:
        return named[words] if named[words].shape == value.shape else value
    if words.endswith(" times as large"):
        factors = _factors(words.removesuffix(" times as large"), case)
        return value * factors[0] if factors else None
    axes = {"samples": 0, "steps": 1, "elements": value.ndim - 1, "units": value.ndim - 1}
    if match := re.fullmatch(r"given with its (\w+) in reverse order", words):
        return np.flip(value, axes[match[1]]).copy()
    if match := re.fullmatch(r"given with its (\w+) one place (late|early), (turning round|zero at the end)", words):
        axis = axes[match[1]]
        return _shifted(value, axis, 1 if match[2] == "late" else -1, match[3]) if value.shape[axis] > 1 else value
    return None


def _as_with_slip(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that the outputs came as with a slip in the forward pass."""
    match = re.fullmatch(r"h and Cn came as with a slip: (.*)", text)
    if match is None:
        return None
    titles = match[1].split(" or ")
    failing = evidence.failing()
    for title in titles:
        tried = slips_by_title().get(title.rstrip("."), [])
        if not tried:
            return Verdict(Said.UNJUDGED, f"no such slip: {title}")
        for slip in tried:
            told = [
                all_explained(s, values, PLAIN.outputs) for s in failing if (values := values_with((slip,), s.arrays))
            ]
            if judge_share(told, "") is None:
                break
        else:
            return judge_share(told, f"{title!r} is so")
    return Verdict(Said.HELPFUL)


def _of_norm(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that all parameters' gradients are clipped by their norm."""
    match = re.fullmatch(rf"the norm of all parameters' gradients together is ({NUMBER}): clipped", text)
    if match is None:
        return None
    told = []
    for seen in evidence.failing():
        if any(n in seen.wrong for n in PARAMETER_GRADIENTS):
            norm = np.sqrt(sum(np.sum(np.square(seen.came[n])) for n in PARAMETER_GRADIENTS if n in seen.came))
            told.append(bool(abs(norm - float(match[1])) < 1e-6 * norm))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _of_gate_order(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that gradients come in another order of gates."""
    match = re.fullmatch(r"the gradients come in the order ([figo](?:, [figo]){3}) where f, i, g, o was due", text)
    if match is None:
        return None
    order = match[1].split(", ")
    told = []
    for seen in evidence.failing():
        values = dict(seen.due)
        for kind in "UVb":
            values |= {f"d{kind}{g}": seen.due[f"d{kind}{o}"] for g, o in zip(PLAIN.gates, order, strict=True)}
        told.append(all_explained(seen, values, PARAMETER_GRADIENTS))
    return judge_share(told, "is so") or Verdict(Said.HELPFUL)


def _of_parts(evidence: Evidence, text: str) -> Verdict | None:
    """Judge that sums lack parts, have them several times, or came as if made with something moved."""
    names, said = _names(text)
    if not names:
        return None
    if match := re.fullmatch(r"came as if made with (.+)", said):
        return _over_failing(evidence, names, lambda seen, name: _made_with(seen, name, match[1]))
    pieces = said.split(", ")
    weights: list[tuple[str, list[str], int, float]] = []
    for piece in pieces:
        match = re.fullmatch(
            rf"(?:lacks?|has|have) the part of (gate|step|sample|unit)s? ([figo\d]+(?:(?:, | and )[figo\d]+)*)"
            rf"(?: of (\d+))?(?: ({NUMBER}) times)?",
            piece,
        )
        if match is None:
            return None
        which = re.split(", | and ", match[2])
        weights.append((match[1], which, int(match[3] or 4), 0.0 if "lack" in piece else float(match[4])))
    size = {"step": "s", "sample": "m", "unit": "u", "gate": None}[weights[0][0]]
    of = _fixed(evidence, **({size: weights[0][2]} if size else {}))
    return _over_failing(of, names, lambda seen, name: _weighted(seen, name, weights))


def _fixed(evidence: Evidence, **sizes: int) -> Evidence:
    """Return the evidence of cases of some sizes."""
    return Only(evidence, **sizes) if sizes else evidence


def _part(seen: Seen, name: str, left: Any = None, weights: Mapping[str, Any] | None = None) -> Any:
    """Return a parameter's gradient, dX or dh0 as the array of its parts: (gate or 1, m, s, units, ...)."""
    fc, bc = passes(seen.arrays)
    if name[1:2] in "UVb" and len(name) == 3:
        delta = bc[f"d{name[2]}_"]
        made = {"U": fc["X"], "V": fc["hp"], "b": np.ones((*delta.shape[:2], 1))}[name[1]] if left is None else left
        return np.einsum("nti,ntj->ntij", made, delta)
    kind, at = ("U", slice(None)) if name == "dX" else ("V", 0)
    p = dict(seen.arrays.p) | dict(weights or {})
    return np.stack([bc[f"d{k}_"][:, at][..., None, :] * p[kind + k].astype(np.float64) for k in PLAIN.gates])


def _weighted(seen: Seen, name: str, weights: Sequence[tuple[str, list[str], int, float]]) -> Any:
    """Return a sum of parts with some weighed otherwise than once."""
    parts = _part(seen, name)
    kind = weights[0][0]
    axis = (
        {"sample": 0, "step": 1}.get(kind) if name[1:2] in "UVb" and len(name) == 3 else {"gate": 0, "unit": -1}[kind]
    )
    if axis is None:
        return None
    for _, which, of, weight in weights:
        if parts.shape[axis] != of:
            return None
        places = [PLAIN.gates.index(w) if kind == "gate" else int(w) - 1 for w in which]
        scale = np.ones(of)
        scale[places] = weight
        parts = parts * scale.reshape([-1 if k == axis % parts.ndim else 1 for k in range(parts.ndim)])
    return parts.sum((0, 1)) if name[1:2] in "UVb" and len(name) == 3 else parts.sum((0, -1))


def _made_with(seen: Seen, name: str, words: str) -> Any:
    """Return a sum as if made with X or the hidden states moved, or with another gate's weights."""
    if match := re.fullmatch(r"([UV])([figo]) (transposed|in place of [UV]([figo]))", words):
        kind, gate, other = match[1], match[2], match[4]
        p = seen.arrays.p
        if other is None:
            W = p[kind + gate]
            return _part(seen, name, weights={kind + gate: W.T}).sum((0, -1)) if W.shape[0] == W.shape[1] else None
        return _part(seen, name, weights={kind + other: p[kind + gate]}).sum((0, -1))
    match = re.fullmatch(
        rf"(X|the hidden states) with its ({AXIS}) (in reverse order|one place (late|early), (.*))", words
    )
    if match is None:
        return None
    fc, _ = passes(seen.arrays)
    value, axis = fc["X"] if match[1] == "X" else fc["hp"], {"samples": 0, "steps": 1}[match[2]]
    if value.shape[axis] < 3:
        return None
    if match[4] is None:
        left = np.flip(value, axis)
    else:
        left = _shifted(value, axis, 1 if match[4] == "late" else -1, match[5])
    return _part(seen, name, left=left).sum((0, 1))
