"""What must hold of any LSTM: each property relates a target's answers to related problems.

A property calls the target with a problem derived from the case, maps the answer back, and compares it with the answer
to the case itself. How much the two may differ follows from the rounding noise of both: the noise of a problem that is
the case reordered, negated, or cut into parts is that of the case, entry by entry, or less.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import PLAIN, STATES, Target
from lstm_checks.oracles.expected import Expected
from lstm_checks.properties.closed_form import zero_weights_answer
from lstm_checks.properties.noise import OwnExpected, answers, every, own_expected

Array = NDArray[Any]

CLIPPED_ABOVE = 2.0**12
"""Factor on the cotangents: a power of two, so that rounding follows; large, so that what clips gradients does."""


class NotAskedError(Exception):
    """A property cannot be asked of this target; says why."""


@dataclass(frozen=True)
class Compared:
    """One tensor that came by another way than the case's own, and what it should be.

    Attributes
    ----------
    done : str
        What was done to get it: "with the samples in the order 2, 0, 1".
    tensor : str
    came, due, accepted : array
        Entry by entry, in the case's own order.
    like : str
        What it should be like: "as in the order given".
    """

    done: str
    tensor: str
    came: Array
    due: Array
    accepted: Array
    like: str


class Example:
    """What a property is asked about: a target, a case, the target's answer and the answer's noise."""

    def __init__(self, target: Target, case: Case, values: dict[str, Array], expected: Expected) -> None:
        self.target, self.case, self.arrays, self.values = target, case, case.arrays, values
        self.expected, self.last_step = expected, expected.last_step
        self.every = every(case.arrays)
        self.outputs = case.cell.outputs
        # What each sample has its own of; the others are sums over all.
        self.per_sample = case.cell.along("m") & set(case.cell.tensors)
        self.gradients = tuple(name for name in self.every if name not in self.outputs)
        asked = (self.gradients, self.outputs)
        gradients, outputs = (tuple(n for n in names if n not in target.lacks) for names in asked)
        # Where the gradients are chaotic the outputs are about to be, and each of them by itself, not in the shade of a
        # larger one: far from linear, they differ by more than their noise from one way of summing to the next.
        chaotic = bool(gradients) and expected.chaotic(gradients)
        clear = tuple(name for name in outputs if not expected.chaotic((name,)))
        self.judged = () if chaotic else (*clear, *gradients)
        self.rng = np.random.default_rng((case.seed, *case.dims, 3))

    def ask(self, arrays: Arrays) -> dict[str, Array]:
        """Return the target's answer to a problem."""
        return self.ask_all(arrays)[0]

    def ask_all(self, *many: Arrays) -> list[dict[str, Array]]:
        """Return the target's answers to several problems; one in another process is asked for all at once."""
        letters, limits = self.case.cell.letters, self.target.limits
        if any(limits.refused(dict(zip(letters, a.cell.sizes_of(a), strict=True))) for a in many):
            raise NotAskedError("the target takes its own sizes alone")
        copies = [arrays.copy() for arrays in many]
        return list(answers(self.target, copies, self.case.sequences, last_step=self.last_step))

    def sd(self, name: str) -> Array:
        """Return the noise of each entry of the case's own answer."""
        return self.expected.sd[name]

    def compared(
        self,
        done: str,
        came: Mapping[str, Array],
        like: str,
        names: Iterable[str] | None = None,
        part: Any = ...,
        noise: Mapping[str, Array] | None = None,
    ) -> list[Compared]:
        """Return the comparisons of `came` with the case's own answer, of a part of each tensor or of all of it.

        `names` are the tensors, by default all. `noise` is that of `came`, where it is not the same as that of the
        case's own answer.
        """
        found = []
        for name in self.every if names is None else names:
            if name in self.judged:
                left = self.sd(name)[part]
                right = left if noise is None else noise[name]
                accepted = tolerance.accepted_between(left, right, self.case.dtype, self.expected.sigmas)
                found.append(Compared(done, name, came[name], self.values[name][part], accepted, like))
        return found

    def changed(self, array: Array) -> Array:
        """Return other values of the same shape, dtype and size."""
        scale = float(np.max(np.abs(array))) or 1.0
        return (scale * self.rng.standard_normal(array.shape)).astype(array.dtype)


def _samples(arrays: Arrays, chosen: Any) -> Arrays:
    """Return the problem of some of the samples."""
    return arrays.replaced(**{name: value[chosen] for name, value in _of_samples(arrays).items()})


def _of_samples(arrays: Arrays) -> dict[str, Array]:
    """Return what each sample has its own of: X, the states but for shared ones, and the cotangents."""
    return {name: value for name, value in arrays.items() if "m" in arrays.cell.axes.get(name, "")}


def _reordering(n: int, rng: np.random.Generator) -> Array:
    """Return a random order of n things, at least 2, in which the first and the last, at times special, are moved."""
    order = np.arange(n)
    while order[0] == 0 or order[-1] == n - 1:
        order = rng.permutation(n)
    return order


def batch_permutation(x: Example) -> list[Compared]:
    """Compare samples in another order: outputs and dX, dh0, dC0 follow, the parameters' gradients stay."""
    order = _reordering(x.case.m, x.rng)
    came = x.ask(_samples(x.arrays, order))
    back = np.argsort(order)
    # Samples do not know of each other: the sums over all of them may but be added up in another order.
    came = {name: value[back] if name in x.per_sample else value for name, value in came.items()}
    return x.compared(f"with the samples in the order {', '.join(map(str, order))}", came, "as in the order given")


def batch_split(x: Example) -> list[Compared]:
    """Compare the batch in two parts: outputs side by side, the parameters' gradients added."""
    k = int(x.rng.integers(1, x.case.m))
    first, second = x.ask_all(_samples(x.arrays, slice(k)), _samples(x.arrays, slice(k, None)))
    came = {n: np.concatenate([first[n], second[n]]) if n in x.per_sample else first[n] + second[n] for n in first}
    return x.compared(f"with samples 0 to {k - 1} and the others apart, gradients added", came, "as for all at once")


def unit_permutation(x: Example) -> list[Compared]:
    """Compare hidden units in another order: everything that has a unit axis follows.

    Without a reference the forward pass is what it is: where it does not follow by itself, its units are not alike, as
    where each has a constant of its own, and nothing can be said of the gradients.
    """
    hidden = [extra.name for extra in x.case.extras if extra.units is None]
    if hidden:
        raise NotAskedError(f"in which order {' and '.join(hidden)} holds the hidden units is not known")
    order = _reordering(x.case.u, x.rng)
    back = np.argsort(order)

    further = {extra.name: extra.units or () for extra in x.case.extras}

    def reordered(name: str, value: Array, by: Array) -> Array:
        if name in further:
            for axis in further[name]:
                value = np.take(value, by, axis)
            return value
        letters = x.case.cell.axes[name]
        letters = letters.replace("s", "") if x.last_step and name in x.outputs else letters
        for axis, letter in enumerate(letters):
            if letter == "u":
                value = np.take(value, by, axis)
            elif letter == "d" and x.case.cell.recurrent[0] == "u":
                # What a layer hands on: the units of each direction, side by side; of a projection nothing is turned.
                blocks = range(0, value.shape[axis], x.case.u)
                value = np.take(value, np.concatenate([by + start for start in blocks]), axis)
        return value

    def back_in_order(answered: Mapping[str, Array]) -> dict[str, Array]:
        names = {name: name[1:] if name in x.gradients else name for name in answered}
        return {name: reordered(names[name], value, back) for name, value in answered.items()}

    named = {name: reordered(name, value, order) for name, value in x.arrays.items()}
    came = back_in_order(x.ask(x.arrays.replaced(**named)))
    found = x.compared(
        f"with the hidden units in the order {', '.join(map(str, order))}", came, "as in the order given"
    )
    if isinstance(x.expected, OwnExpected) and not all(np.all(np.abs(c.came - c.due) <= c.accepted) for c in found):
        # At zero states two units may look alike that are not: the forward pass is asked at others, too.
        initial = () if STATES in x.target.lacks else x.case.cell.initial
        states = {n: x.changed(x.arrays[n]) for n in initial if n not in x.target.lacks}
        other = x.arrays.replaced(X=x.changed(x.arrays["X"]), **states)
        turned = {name: reordered(name, value, order) for name, value in other.items()}
        here, there = x.ask(other), back_in_order(x.ask(other.replaced(**turned)))
        for name in x.outputs:
            apart = np.max(np.abs(there[name] - here[name]))
            if apart > tolerance.PROPERTY_RESOLUTION * np.max(np.abs(here[name])):
                raise NotAskedError("its forward pass has units that are not alike")
    return found


def linearity(x: Example) -> list[Compared]:
    """Compare the pullback of the cotangents times a number, and of two parts of them added: it is linear."""
    scaled = {name: np.asarray(-CLIPPED_ABOVE * value) for name, value in x.arrays.cotangents.items()}
    larger = x.arrays.replaced(**{name: v.astype(x.case.array_dtype) for name, v in scaled.items()})
    masks = {name: x.rng.random(value.shape) < 0.5 for name, value in x.arrays.cotangents.items()}
    # A mask and its complement split each cotangent into two that share no entry, so
    # that the split itself rounds nothing.
    # dh and dhn of one entry stay together: where a target takes their sum, it must be exact.
    if x.case.cell.folded:
        masks[x.case.cell.folded] = masks[x.case.cell.cotangents[0]][:, -1]
    # One part has no dCn, to see what a target does without.
    for name in x.case.cell.of_memories:
        masks[name][...] = True
    parts = [
        x.arrays.replaced(**{n: np.where(masks[n] ^ flip, v, 0) for n, v in x.arrays.cotangents.items()})
        for flip in (False, True)
    ]
    both = _as_one_batch(*parts)
    times, first, second, together = x.ask_all(larger, *parts, both)
    times = {name: value if name in x.outputs else value / -CLIPPED_ABOVE for name, value in times.items()}
    found = x.compared(f"with the cotangents times {-CLIPPED_ABOVE:.0f}, divided by it", times, "as without")
    came = {name: first[name] + second[name] for name in x.gradients}
    noise = _noise_of_both(x, both, together)
    done = "with the cotangents in two parts, their gradients added"
    return [*found, *x.compared(done, came, "as for all at once", x.gradients, noise=noise)]


def _as_one_batch(first: Arrays, second: Arrays) -> Arrays:
    """Return two problems of the same parameters as one of all their samples."""
    others, lengths = _of_samples(second), first.cell.lengths
    both = {n: np.concatenate([value, others[n]]) for n, value in _of_samples(first).items()}
    if lengths is None:
        return first.replaced(**both)
    # Each sample beside its like: so lengths stay in falling order if they are.
    order = np.arange(2 * len(lengths)).reshape(2, -1).T.ravel()
    return first.replaced(**{n: value[order] for n, value in both.items()}, lengths=np.repeat(lengths, 2))


def _noise_of_both(x: Example, batch: Arrays, answered: dict[str, Array]) -> dict[str, Array]:
    """Return the noise of the added gradients of two problems: of both as one batch, whose answer is given."""
    m, asked = x.case.m, (x.case.sequences, x.case.seed, x.last_step)
    sd = own_expected(x.target, batch, answered, *asked).sd
    one, other = (np.s_[:m], np.s_[m:]) if batch.cell.lengths is None else (np.s_[::2], np.s_[1::2])
    return {n: np.hypot(sd[n][one], sd[n][other]) if n in x.per_sample else sd[n] for n in x.gradients}


def causality(x: Example) -> list[Compared]:
    """Compare after a change: no output depends on a later input, and no dX on an earlier cotangent."""
    k = int(x.rng.integers(1, x.case.s))
    hidden, every = x.outputs[0], x.case.cell.cotangents[0]
    X, dh = x.arrays["X"].copy(), x.arrays[every].copy()
    X[:, k:] = x.changed(X[:, k:])
    dh[:, :k] = x.changed(dh[:, :k])
    earlier, later = np.s_[:, :k], np.s_[:, k:]
    # The forward pass runs on in time, the backward pass back: each is asked for what the change cannot have reached.
    forward, backward = x.ask_all(x.arrays.replaced(X=X), x.arrays.replaced(**{every: dh}))
    h, dX = forward[hidden][earlier], backward["dX"][later]
    return [
        *x.compared(f"with other inputs from step {k} on", {hidden: h}, "as before", (hidden,), earlier),
        *x.compared(f"with other cotangents before step {k}", {"dX": dX}, "as before", ("dX",), later),
    ]


def sequence_cut(x: Example) -> list[Compared]:
    """Compare the sequence in two parts, the states carried over and their cotangents back, with the whole."""
    if x.case.cell.shared:
        raise NotAskedError(f"{' and '.join(x.case.cell.shared)} cannot be what each sample has in the middle")
    k, a, cell = int(x.rng.integers(1, x.case.s)), x.arrays, x.case.cell
    (hidden, *memories), (every, *finals), dtype = x.outputs, cell.cotangents, x.case.array_dtype
    none = {name: np.zeros_like(a[name]) for name in finals}
    start = a.replaced(X=a["X"][:, :k], **{every: np.zeros_like(a[every][:, :k])}, **none)
    before = x.ask(start)
    h = before[hidden] if x.last_step else before[hidden][:, -1]
    between = dict(zip(cell.initial, (h, *(before[name] for name in memories)), strict=True))
    end = a.replaced(X=a["X"][:, k:], **{n: v.astype(dtype) for n, v in between.items()}, **{every: a[every][:, k:]})
    second = x.ask(end)
    carried = {final: second[f"d{name}"].astype(dtype) for final, name in zip(finals, cell.initial, strict=True)}
    # The first part is asked twice: for the states where it is cut, and again when what
    # the second part passes back is known.
    first = x.ask(start.replaced(**{every: a[every][:, :k]}, **carried))
    came = {f"d{name}": first[f"d{name}"] + second[f"d{name}"] for name in a.p}
    came |= {name: second[name] for name in memories} | {f"d{name}": first[f"d{name}"] for name in cell.initial}
    came["dX"] = np.concatenate([first["dX"], second["dX"]], axis=1)
    both = [first[hidden], second[hidden]]
    came[hidden] = second[hidden] if x.last_step else np.concatenate(both, axis=1)
    return x.compared(f"with the sequence cut before step {k} and the states carried over", came, "as for the whole")


# With the sign of h and C_ changed, every term of f_, i_ and o_ stays as it is and every one of g_ changes sign:
# X @ Ug and bg by themselves, hp @ Vg with hp; hp @ Vf, hp @ Vi and hp @ Vo must be told to stay. So it is of the gates
# r and z of a GRU, whose state is a mean of states and candidates; and an RNN has a candidate alone.
NEGATED: dict[str, tuple[str, ...]] = {
    "plain": ("Ug", "bg", "Vf", "Vi", "Vo", "h0", "C0", "dh", "dhn", "dCn"),
    "gru": ("Ug", "bg", "Vr", "Vz", "h0", "dh", "dhn"),
    "gru_reset_after": ("Ug", "bg", "cg", "Vr", "Vz", "h0", "dh", "dhn"),
    "rnn": ("Ug", "bg", "h0", "dh", "dhn"),
}
"""What is negated, by the cells of which it is known that their outputs then change sign."""


def sign_symmetry(x: Example) -> list[Compared]:
    """Compare after negating `NEGATED`: the outputs and the gradients of what was negated change sign, others stay."""
    negated = NEGATED[x.case.cell.name]
    named = {n: -v if n in negated else v for n, v in x.arrays.items()}
    changes = {*x.outputs, *("d" + name for name in negated)}
    came = {name: -value if name in changes else value for name, value in x.ask(x.arrays.replaced(**named)).items()}
    outputs = ", ".join(x.outputs)
    done = f"with {', '.join(negated)} negated, and {outputs} and the gradients of what was negated back again"
    return x.compared(done, came, "as before")


def zero_weights(x: Example) -> list[Compared]:
    """Compare with the closed form that everything has with all weights and biases zero."""
    arrays = x.arrays.replaced(**{name: np.zeros_like(value) for name, value in x.arrays.p.items()})
    came = x.ask(arrays)
    due, sizes = zero_weights_answer(arrays.astype(np.float64))
    roundings = x.case.m * x.case.s + 2 * x.case.s + 16
    found = []
    for name in x.case.cell.tensors:
        if name not in x.target.lacks:
            value, size = (v[:, -1] if x.last_step and name == "h" else v for v in (due[name], sizes[name]))
            accepted = tolerance.accepted_closed_form(size, roundings, x.case.dtype)
            found.append(
                Compared("with all weights and biases zero", name, came[name], value, accepted, "by the closed form")
            )
    return found


def zero_cotangent(x: Example) -> list[Compared]:
    """Compare the gradients of all-zero cotangents with exact zeros."""
    came = x.ask(x.arrays.replaced(**{name: np.zeros_like(value) for name, value in x.arrays.cotangents.items()}))
    zeros = {name: np.zeros_like(came[name]) for name in x.gradients if name not in x.target.lacks}
    return [Compared("with all cotangents zero", n, came[n], zero, zero, "exactly") for n, zero in zeros.items()]


def gradient_step(x: Example) -> list[Compared]:
    """Compare the fall of the loss with lrate |g|^2; it is half of what a small step forth and back makes."""
    if x.case.cell.kinks:
        raise NotAskedError("a step may lead across a kink of the cell's activations")
    a, dtype = x.arrays, x.case.dtype
    hidden = x.outputs[0]
    g = {name: x.values["d" + name] for name in a.p if "d" + name in x.judged}
    square = sum(float(np.sum(np.square(value))) for value in g.values())
    noise = _inner({name: x.sd(name) for name in x.outputs}, a, x.last_step, absolute=True)
    if hidden not in x.judged or not g:
        return []
    if not square:
        nothing = np.zeros(1)
        return [Compared("", "the fall of the loss", nothing, nothing, nothing, "")]
    # No linear activation moves by more than `longest`: |X dU + h dV + db| <= |(X, h, 1)| |(dU, dV, db)|.
    # What a parameter that the plain cell has not is multiplied with may be the memory, and a projected h has no bound.
    (h0, *memories), others = (a[name] for name in x.case.cell.initial), x.outputs
    more = x.case.extras or x.case.cell is not PLAIN
    beside = (*(x.values[name] for name in others), *memories) if more else ()
    reach = max(1.0, *(float(np.max(np.abs(v))) for v in (a["X"], h0, *beside))) * np.sqrt(x.case.e + x.case.u + 1)
    per_move = noise * reach / np.sqrt(square)
    longest = tolerance.gradient_step(per_move, dtype)
    found = _fall_along(x, g, longest / (np.sqrt(square) * reach), noise)
    deviation = np.abs(found[0].came - found[0].due) if found else np.zeros(1)
    shorter = max(longest * tolerance.GRADIENT_STEP_SHORTER, tolerance.shortest_gradient_step(per_move))
    if not found or np.all(deviation <= found[0].accepted) or shorter > longest / 2:
        return found
    # Where gradients explode the loss turns within far less than that step, and so evenly that no multiple of it shows
    # it: a right gradient is right for a shorter one. A wrong one is not, if that could show as large a deviation.
    again = _fall_along(x, g, shorter / (np.sqrt(square) * reach), noise)
    telling = again and 2 * again[0].accepted / np.abs(again[0].due) <= deviation / np.abs(found[0].due)
    return again if telling else found


def _fall_along(x: Example, g: Mapping[str, Array], lrate: float, noise: float) -> list[Compared]:
    """Return the comparison of the fall of the loss with lrate |g|^2, for one lrate; none where it is too coarse."""
    a, dtype = x.arrays, x.case.dtype

    def moved(step: float) -> dict[str, Array]:
        return {name: np.asarray(a.p[name] - step * lrate * value, dtype) for name, value in g.items()}

    # Forth and back, all terms of even order cancel: the error of the prediction begins with the third.
    pairs = [(moved(k), moved(-k)) for k in tolerance.GRADIENT_STEPS]
    places = [a.replaced(**p).copy() for pair in pairs for p in pair]
    found = answers(x.target, places, x.case.sequences, backward=False, last_step=x.last_step)
    losses = [_inner(values, a, x.last_step) for values in found]
    errors, steps = [], []
    for (forth, back), before, after in zip(pairs, losses[::2], losses[1::2], strict=True):
        steps.append({n: back[n].astype(np.float64) - forth[n] for n in g})
        predicted = sum(float(np.sum(value * steps[-1][n])) for n, value in g.items())
        errors.append(after - before - predicted)
    gradient_noise = sum(float(np.sum(np.abs(value) * x.sd("d" + n))) for n, value in steps[0].items())
    accepted = tolerance.accepted_gradient_step(errors, noise, gradient_noise) / 2
    # Of the step as it is in this arithmetic: parameters are rounded.
    fall = sum(float(np.sum(value * steps[0][n])) for n, value in g.items()) / 2
    if accepted > tolerance.GRADIENT_STEP_COARSE * abs(fall):
        return []
    done = f"with every parameter moved by -lrate times its gradient, lrate = {lrate:.3g}"
    came, due = np.array([fall + errors[0] / 2]), np.array([fall])
    return [Compared(done, "the fall of the loss", came, due, np.array([accepted]), "lrate times |g|^2")]


def _inner(values: Mapping[str, Array], arrays: Arrays, last_step: bool, absolute: bool = False) -> float:
    """Return the inner product of the cotangents with the outputs, the loss whose gradient the pullback gives."""
    cell = arrays.cell
    dh = arrays.dh_total.astype(np.float64)
    pairs = [(dh[:, -1] if last_step else dh, values[cell.outputs[0]])]
    pairs += [(arrays[cotangent].astype(np.float64), values[name]) for name, cotangent in cell.finals.items()]
    return float(sum(np.sum((np.abs(d) if absolute else d) * value) for d, value in pairs))
