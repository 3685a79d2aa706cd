"""Simple relations between what came and what was due, entry by entry: a factor, a transpose, another tensor's value.

A relation is said of a tensor only where it holds in every entry to rounding and could not hold by chance: a factor
that is no round number needs a second entry to agree on it. What is due must fail it (`diagnosis.statement`),
and it must hold as well with other values, where the tensor is wrong.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations

import numpy as np

from lstm_checks import tolerance
from lstm_checks.calling import other_values
from lstm_checks.cases import Case
from lstm_checks.diagnosis.observe import Array, Observation, Values, departs
from lstm_checks.diagnosis.statement import Trial, accounted, trial_of
from lstm_checks.oracles.expected import evaluate_reference
from lstm_checks.words import each_of
from lstm_ref.cell import Cell

AXES = {
    "m": "samples",
    "s": "steps",
    "e": "elements",
    "u": "units",
    "p": "projected units",
    "d": "units of the layer",
    "1": "",
}
"""What an axis runs over, by its letter; of a size that is not here, entries."""

OF_FLOAT32_SIZE = "is off by as much as float32 would be"
OF_THE_CALL_BEFORE = "what was due in the call before"

TELLING = 4
"""Of how many entries a tensor must be for a case of other sizes to be asked: of one or two, too much holds."""

LONGEST_PERMUTED = 12
"""Permutations are read off where an axis is at most this long; any length would do, none longer was needed."""


@dataclass(frozen=True)
class _Tensor:
    """One wrong tensor: what came, what was due, the dtype's rounding, and what its axes run over."""

    name: str
    came: Array
    due: Array
    sd: Array
    dtype: str
    axes: tuple[str, ...]

    def is_(self, value: Array, sd: Array | None = None) -> bool:
        """Return whether what came is some value, to rounding, clearly not what is due, and not zero to rounding."""
        sd = self.sd if sd is None else sd
        if value.shape == sd.shape and not departs(np.zeros_like(value), value, sd, self.dtype).any():
            # What is next to nothing is what anything is that is.
            return False
        return trial_of(self.came, value, self.due, self.sd, sd, self.dtype) is Trial.SHOWN

    def is_multiple(self, factor: float) -> bool:
        """Return whether it is a multiple of what was due, with an allowance for the factor's being an estimate."""
        return self.is_(factor * self.due, self.sd * np.hypot(1, factor))

    @property
    def alike(self) -> int:
        """How many entries are large enough to say anything."""
        return int(np.sum(np.abs(self.due) > tolerance.accepted(self.sd, self.dtype)))


def find_relations(
    observation: Observation, again: Sequence[Observation] | None, elsewhere: Sequence[Observation] = ()
) -> list[str]:
    """Return a sentence for each simple relation that explains wrong tensors whole, those of most tensors first.

    Parameters
    ----------
    observation : Observation
        Of a case large enough that chance explains little.
    again : sequence of Observation or None
        Of cases of the same sizes with other values, on which a relation must hold, too; None for a target that is not
        the same twice, of which it is said for this one call.
    elsewhere : sequence of Observation
        Of cases of other sizes: they tell a factor that hangs on the sizes from one that does not. On each of some
        entries a relation that names no sizes must hold, too.
    """
    found: dict[str, list[str]] = {}
    confirming = [(other, _values_before(other)) for other in again or ()]
    before = _values_before(observation)
    others = [(other, _values_before(other)) for other in elsewhere]
    for name in observation.wrong:
        wrong = [(other, early) for other, early in confirming if name in other.wrong]
        there = [set(_relations(_tensor(name, other), other, elsewhere, early)) for other, early in wrong]
        for said in _relations(_tensor(name, observation), observation, elsewhere, before):
            if again is None or (
                there
                and all(said in sentences for sentences in there)
                and (_names_sizes(said) or _holds_elsewhere(name, said, others))
            ):
                found.setdefault(said, []).append(name)
                break
    of_all = (_of_swapped_gates, lambda seen: _same_factor(seen, found))
    sentences = [look(observation) for look in of_all]
    sentences = [
        said for said, look in zip(sentences, of_all, strict=True) if all(look(o) == said for o in again or ())
    ]
    ranked = sorted(found, key=lambda said: -len(found[said]))
    sentences += [f"{each_of(found[said], 'tensors')} {said}" for said in ranked]
    return [sentence for sentence in sentences if sentence]


def _holds_elsewhere(name: str, said: str, others: Sequence[tuple[Observation, Values]]) -> bool:
    """Return whether something holds of a tensor at other sizes, too, wherever it is wrong; so if it nowhere is.

    Where there is one step, what is said of the order of steps is something else.
    """
    single = [size for word, size in (("steps", "s"), ("samples", "m")) if word in said]
    elsewhere = [other for other, _ in others]
    for other, early in others:
        if name not in other.wrong or other.came[name].size < TELLING:
            continue
        tensor = _tensor(name, other)
        if said == OF_FLOAT32_SIZE:
            # An error of rounding may by chance be less.
            holds = _share_of_float32(tensor) <= 1
        else:
            one = any(getattr(other.case, size) == 1 for size in single)
            holds = one or said in _relations(tensor, other, elsewhere, early)
        if not holds:
            return False
    return True


def _names_sizes(said: str) -> bool:
    """Return whether a sentence is of some sizes alone."""
    return " in the order " in said or re.search(r" at [a-z]=", said) is not None


def _tensor(name: str, observation: Observation) -> _Tensor:
    """Return one tensor of an observation."""
    came, case = observation.came[name], observation.case
    return _Tensor(name, came, *observation.due(name), case.dtype, axes_in_words(name, case.cell, came.ndim))


def _values_before(observation: Observation) -> Values:
    """Return what was due in the call before, over other values in the same arrays."""
    arrays = observation.case.arrays.copy()
    other_values(arrays)
    with np.errstate(all="ignore"):
        return evaluate_reference(arrays.astype(np.float64))


def _relations(
    tensor: _Tensor, observation: Observation, elsewhere: Sequence[Observation], before: Values
) -> Iterator[str]:
    """Yield what a tensor is, the plainest first."""
    if not np.all(np.isfinite(tensor.came)):
        return
    if not tensor.came.any():
        yield "is zero throughout"
        return
    # `find_relations` says the first that holds. So what has nothing to be fitted comes before what has a number or an
    # order of its own, and that errors are of some size, which says least, comes last.
    yield from _of_other_tensors(tensor, observation)
    yield from _of_last_step(tensor, observation)
    yield from _factor(tensor, observation.case, elsewhere)
    yield from _rounded(tensor)
    yield from _moved(tensor)
    yield from _added(tensor, observation, before)
    yield from _clipped(tensor)
    yield from _of_float32_size(tensor)


def _of_other_tensors(tensor: _Tensor, observation: Observation) -> Iterator[str]:
    """Yield whose value it is, if it is another tensor's, as it is or transposed."""
    for name in observation.came:
        due, sd = observation.due(name)
        if name == tensor.name or not due.any():
            continue
        if tensor.is_(due, np.maximum(sd, tensor.sd) if sd.shape == tensor.sd.shape else sd):
            yield f"holds the value of {name}"
        elif due.ndim == 2 and due.shape[0] > 1 and tensor.is_(due.T, sd.T):
            yield f"holds the value of {name}, transposed"


def _of_last_step(tensor: _Tensor, observation: Observation) -> Iterator[str]:
    """Yield that Cn is h of the last step, or that as Cn."""
    for name, other, value in (("Cn", "h", lambda v: v[:, -1]), ("h", "Cn", lambda v: v)):
        if tensor.name == name and other in observation.came:
            due, sd = (value(v[other]) for v in (observation.expected.values, observation.expected.sd))
            if tensor.is_(due, sd):
                yield "holds the value of h of the last step" if name == "Cn" else "holds the value of Cn"


def _factor(tensor: _Tensor, case: Case, elsewhere: Sequence[Observation]) -> Iterator[str]:
    """Yield by which number it is multiplied."""
    # The least-squares fit of came = factor * due, each entry weighted by what rounding leaves of it.
    weight = tensor.due / tolerance.accepted(tensor.sd, tensor.dtype)
    total = float(np.sum(weight * weight))
    if not total:
        return
    estimate = float(np.sum(weight * weight * (tensor.came / np.where(tensor.due == 0, 1, tensor.due)))) / total
    numbers = _round_numbers(case)
    near = [
        name
        for name, number in numbers.items()
        if number != 1 and abs(estimate - number) < tolerance.ROUND_NUMBER * abs(number)
    ]
    names = [name for name in near if tensor.is_multiple(numbers[name])]
    others = [(_tensor(tensor.name, o), _round_numbers(o.case)) for o in elsewhere if tensor.name in o.wrong]
    for other, factors in others:
        names = [name for name in names if other.is_multiple(factors[name])]
    if names:
        # Numbers that are one on all these cases are told from one another by other sizes alone.
        open_ = [(z, n) for z, n in case.sizes.items() if any(z in name for name in names)]
        at = f" at {' '.join(f'{z}={n}' for z, n in open_)}" if len(names) > 1 else ""
        yield f"is {' = '.join(names)} times what is due{at}"
    elif tensor.alike >= 2 and tensor.is_multiple(estimate):
        sizes = case.sizes_in_words
        where = "" if others and all(other.is_multiple(estimate) for other, _ in others) else f" at {sizes}"
        yield f"is {number(estimate)} times what is due{where}"


def number(value: float) -> str:
    """Return a number in as few digits as tell it from 1."""
    for digits in range(4, 17):
        text = f"{value:.{digits}g}"
        if float(text) != 1:
            off = value - 1
            return f"{1 + float(f'{off:.3g}'):.{max(digits, 4)}g}" if abs(off) < 1e-2 else f"{value:.4g}"
    return "1"


def _round_numbers(case: Case) -> dict[str, float]:
    """Return the factors that slips of the pen make on a case, by their words."""
    m, s, e, u, *_ = case.dims
    sizes = {"m": m, "s": s, "m s": m * s, "u": u, "e": e, "m s u": m * s * u, "m^2": m * m, "s^2": s * s}
    sizes |= {z: case.sizes[z] for z in case.cell.further}
    found = {"-1": -1.0, "2": 2.0, "1/2": 0.5, "-2": -2.0, "3": 3.0, "4": 4.0, "1/4": 0.25}
    for name, size in sizes.items():
        found |= {name: float(size), f"1/({name})" if " " in name else f"1/{name}": 1 / size}
    return found


def _rounded(tensor: _Tensor) -> Iterator[str]:
    """Yield to which shorter format it was rounded."""
    if tensor.alike < 1:
        return
    for words, bits, held in (
        ("float32", 24, lambda x: x.astype(np.float32).astype(np.float64)),
        ("float16", 11, lambda x: x.astype(np.float16).astype(np.float64)),
        ("bfloat16", 8, _bfloat16),
    ):
        with np.errstate(all="ignore"):
            representable = np.array_equal(held(tensor.came), tensor.came)
            # Rounded or cut off, it is within one unit of the last bit, 2^(1 - bits); 2^-24 is float16's least number,
            # and the 1e-37 below is just above where float32 and bfloat16 begin to lose bits.
            # What is due must not be so by itself, as zeros are, and all there is in float32.
            due = tensor.due.astype(tensor.dtype).astype(np.float64)
            representable = representable and not np.array_equal(held(due), due)
            near = np.abs(tensor.came - tensor.due) <= 2.0 ** (1 - bits) * 1.001 * np.abs(tensor.due) + 2.0**-24 * (
                bits == 11
            )
        if representable and np.all(near | (np.abs(tensor.due) < 1e-37)):
            yield f"is right but for being in {words} only"
            return


def _bfloat16(x: Array) -> Array:
    """Return what is left of a number in eight bits of significand, cut off."""
    bits = x.astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def axes_in_words(name: str, cell: Cell, count: int) -> tuple[str, ...]:
    """Return what the axes of a tensor run over; of h of the last step alone, two."""
    letters = cell.axes[name]
    letters = letters if len(letters) == count else letters.replace("s", "")
    words = tuple(AXES.get(letter, f"entries of {letter}") for letter in letters)
    return ("rows", *words[1:]) if letters == "uu" else words


def _moved(tensor: _Tensor) -> Iterator[str]:
    """Yield how its entries are moved: transposed, or an axis reversed, shifted or permuted."""
    due, sd = tensor.due, tensor.sd
    if due.ndim == 2 and due.shape[0] == due.shape[1] > 1 and tensor.is_(due.T, sd.T):
        yield "is transposed"
        return
    if due.ndim == 2 and due.shape[0] == due.shape[1] > 1 and tensor.is_(-due.T, sd.T):
        yield "is transposed, with its sign reversed"
        return
    if due.ndim == 2 and min(due.shape) > 1 and tensor.is_(due.T.reshape(due.shape), sd.T.reshape(due.shape)):
        yield "has its entries in the order of the transpose"
        return
    if due.ndim == 2 and due.shape[0] == due.shape[1] > 1 and tensor.is_((due + due.T) / 2, np.hypot(sd, sd.T)):
        yield "is the mean of what is due and its transpose"
        return
    for axis, words in enumerate(tensor.axes):
        length = due.shape[axis]
        if length < 2 or not words:
            continue
        total = np.sum(due, axis, keepdims=True)
        blur = np.sqrt(np.sum(np.square(sd), axis, keepdims=True)) + _rho(tensor) * np.sum(
            np.abs(due), axis, keepdims=True
        )
        for what, share in (("sum", 1), ("mean", length)):
            if tensor.is_(np.broadcast_to(total / share, due.shape), np.broadcast_to(blur, due.shape)):
                yield f"holds in all {words} the {what} of what is due over them"
                return
        if tensor.is_(np.flip(due, axis), np.flip(sd, axis)):
            yield f"has its {words} in reverse order"
            return
        for by, where in ((1, "one place late"), (-1, "one place early")):
            # Of two slices a turn is a reversal, which was asked before.
            kept = np.roll(due, by, axis)
            if length > 2 and tensor.is_(kept, np.roll(sd, by, axis)):
                yield f"has its {words} {where}, the one at the end moved to the other end"
                return
            edge = [slice(None)] * due.ndim
            edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
            kept[tuple(edge)] = 0
            if length > 2 and tensor.is_(kept, np.roll(sd, by, axis)):
                yield f"has its {words} {where}, with zero at the end"
                return
        order = _permutation(tensor, axis)
        if order is not None:
            places = ", ".join(str(k + 1) for k in order)
            yield f"has its {words} in the order {places}"
            return


def _permutation(tensor: _Tensor, axis: int) -> list[int] | None:
    """Return in which order the slices along an axis came, if each is exactly one of those that were due."""
    length = tensor.due.shape[axis]
    if length > LONGEST_PERMUTED or (tensor.due.size < 2 * length and tensor.due.size != length):
        return None
    came, due, sd = (np.moveaxis(a, axis, 0) for a in (tensor.came, tensor.due, tensor.sd))
    order = []
    for slice_ in came:
        # Each must be one slice and no other, or the order would be a choice among several.
        fitting = [k for k in range(length) if not departs(slice_, due[k], sd[k], tensor.dtype).any()]
        if len(fitting) != 1:
            return None
        order += fitting
    if sorted(order) != list(range(length)):
        return None
    return order if tensor.is_(np.take(tensor.due, order, axis), np.take(tensor.sd, order, axis)) else None


def _added(tensor: _Tensor, observation: Observation, before: Values) -> Iterator[str]:
    """Yield what was added to it: the call before, another tensor, its own array (weight decay), or one number."""
    early = before[tensor.name]
    if early.shape == tensor.came.shape:
        for words, value in (
            ("is what was due in the call before", early),
            ("is what is due plus what was due in the call before", tensor.due + early),
        ):
            if tensor.is_(value, tensor.sd + 4 * _rho(tensor) * np.max(np.abs(early))):
                yield words
                return
    extra = tensor.came - tensor.due
    for name in observation.came:
        due, sd = observation.due(name)
        if name == tensor.name or due.shape != tensor.due.shape or not due.any():
            continue
        for sign, words in ((1, "plus"), (-1, "minus")):
            if tensor.is_(tensor.due + sign * due, np.hypot(tensor.sd, sd)):
                yield f"is what is due {words} {name}"
                return
    inputs = observation.case.arrays.inputs
    if tensor.name[1:] in inputs and tensor.came.size >= 2:
        own = inputs[tensor.name[1:]].astype(np.float64)
        # The least-squares fit of came = due + weight * own: weight decay.
        weight = float(np.sum(own * extra)) / max(float(np.sum(own * own)), 1e-300)
        blur = tensor.sd + _rho(tensor) * (np.abs(weight * own) + np.max(np.abs(tensor.due)))
        if tensor.is_(tensor.due + weight * own, blur):
            added = "plus" if weight > 0 else "minus"
            yield f"is what is due {added} {abs(weight):.4g} times what it is the gradient of"
    if tensor.came.size >= 2:
        constant = float(np.median(extra))
        if tensor.is_(tensor.due + constant, tensor.sd + 2 * np.max(tensor.sd)):
            yield f"is what is due {'plus' if constant > 0 else 'minus'} {abs(constant):.4g} in every entry"


def _rho(tensor: _Tensor) -> float:
    """Return the unit roundoff of a tensor's dtype."""
    return tolerance.UNIT_ROUNDOFF[tensor.dtype]


def _clipped(tensor: _Tensor) -> Iterator[str]:
    """Yield at which limit its entries are cut off."""
    limit = float(np.max(np.abs(tensor.came)))
    cut = np.abs(tensor.came) >= limit * (1 - tolerance.CUT)
    shorter = np.abs(tensor.came) < np.abs(tensor.due)
    # Every tensor has a largest entry. It is a limit where a second one is as large, or where it is
    # a number that somebody would write.
    enough = cut.sum() > 1 or float(f"{limit:.2g}") == limit
    if enough and np.all(shorter[cut]) and tensor.is_(np.clip(tensor.due, -limit, limit)):
        yield f"is cut off at ±{limit:.4g}"


def _of_float32_size(tensor: _Tensor) -> Iterator[str]:
    """Yield that its errors are those of float32, where they are."""
    share = _share_of_float32(tensor)
    if tensor.dtype == "float64" and tolerance.FLOAT32_LEAST < share <= 1 and np.max(np.abs(tensor.came)) > 1e-30:
        yield OF_FLOAT32_SIZE


def _share_of_float32(tensor: _Tensor) -> float:
    """Return the largest error as a share of what would be accepted in float32."""
    # The deviation is rho's size, and 2^29 is float32's rho, 2^-24, over float64's, 2^-53.
    return float(np.max(np.abs(tensor.came - tensor.due) / tolerance.accepted(tensor.sd * 2.0**29, "float32")))


def _same_factor(observation: Observation, found: dict[str, list[str]]) -> str:
    """Return that all parameters' gradients are one multiple, where their norm is a round number then."""
    names = [name for name in observation.came if name[1:] in observation.case.cell.parameters]
    factors = [said for said in found if "times what is due" in said]
    if len(names) < 12 or len(factors) != 1 or set(found[factors[0]]) < set(names):
        return ""
    # One factor on all is what clipping by the norm does, and then the norm is the limit that somebody wrote.
    norm = float(np.sqrt(sum(np.sum(np.square(observation.came[name])) for name in names)))
    short = float(f"{norm:.2g}")
    if abs(norm - short) > tolerance.ROUND_NORM * norm:
        return ""
    return f"the norm of all parameters' gradients together is {short:g}: clipped"


def _of_swapped_gates(observation: Observation) -> str:
    """Return which gates' gradients come in whose place, where all three tensors of a gate say so."""
    gates = observation.case.cell.gates
    kinds = [kind for kind in "UVb" if all(f"d{kind}{gate}" in observation.came for gate in gates)]
    if not kinds or not any(f"d{kind}{gate}" in observation.wrong for kind in kinds for gate in gates):
        return ""
    # The first permutation leaves all as it is.
    for order in islice(permutations(gates), 1, None):
        pairs = [(f"d{k}{gate}", f"d{k}{other}") for k in kinds for gate, other in zip(gates, order, strict=True)]
        if accounted(_holds(observation, name, other) for name, other in pairs):
            return f"the gradients come in the order {', '.join(order)} where {', '.join(gates)} was due"
    return ""


def _holds(observation: Observation, name: str, other: str) -> Trial:
    """Return what a case says of a tensor's holding what is due for another of its shape."""
    due, sd = observation.due(other)
    return trial_of(observation.came[name], due, *observation.due(name), sd, observation.case.dtype)
