"""Faults of a gradient that is right when it is asked for once, whole and of fresh arrays, or is so in most calls.

Each is a wrapper round a target that is right in every first call and pullback: only who asks again, in part, or of
arrays laid out otherwise sees it. The state that it keeps belongs to the target that it returns.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lstm_checks.contract import Target
from lstm_checks.faults.model import Fault

_fault = partial(Fault, family="asked")


def _at_second(spoil: Callable[[Any, Any, Any, Any], dict[str, Any]]) -> Callable[[Target], Target]:
    """Return a wrapper whose further pullbacks of a call are `spoil(gradients, cotangents, first, inputs)`."""

    def wrap(target: Target) -> Target:
        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, pullback = target.call(inputs, sequences)
            first: list[Any] = []

            def pull(cotangents: Any) -> dict[str, Any]:
                gradients = dict(pullback(cotangents))
                if first:
                    return spoil(gradients, cotangents, first[0], (inputs, pullback))
                first.append(gradients)
                return dict(gradients)

            return outputs, pull

        return replace(target, call=call)

    return wrap


def _gates_overwritten(gradients: Any, cotangents: Any, first: Any, made: Any) -> dict[str, Any]:
    """Return gradients of which those of the weights are made from what the first pullback left in the cached gates."""
    return {n: first[n] * g if n[:2] in ("dU", "dV", "db") else g for n, g in gradients.items()}


def _added(gradients: Any, cotangents: Any, first: Any, made: Any) -> dict[str, Any]:
    """Return gradients added to the first pullback's."""
    return {name: gradient + first[name] for name, gradient in gradients.items()}


def _carried(gradients: Any, cotangents: Any, first: Any, made: Any) -> dict[str, Any]:
    """Return the gradients of cotangents to which what the first pullback carried to the first step is added."""
    _, pullback = made
    given = cotangents.get("dCn")
    return dict(pullback({**cotangents, "dCn": first["dC0"] if given is None else given + first["dC0"]}))


def _input_freed(gradients: Any, cotangents: Any, first: Any, made: Any) -> dict[str, Any]:
    """Return gradients for which the input is not there any more."""
    return {n: 0 * g if n[:2] == "dU" else g for n, g in gradients.items()}


def _reuse_by_identity(target: Target) -> Target:
    """Return the target whose pullback gives its last answer where it is given the same array for dh."""

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)
        known: list[Any] = []

        def pull(cotangents: Any) -> dict[str, Any]:
            if not known or known[0] is not cotangents["dh"]:
                known[:] = [cotangents["dh"], dict(pullback(cotangents))]
            return dict(known[1])

        return outputs, pull

    return replace(target, call=call)


def _of_last_pass(names: Callable[[Target], tuple[str, ...]]) -> Callable[[Target], Target]:
    """Return a wrapper whose pullback works with some inputs of the last forward pass of that shape."""

    def wrap(target: Target) -> Target:
        last: dict[Any, Any] = {}

        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, _ = target.call(inputs, sequences)
            key = inputs["X"].shape, inputs["h0"].shape, inputs["X"].dtype
            last[key] = {name: np.array(inputs[name]) for name in names(target)}
            kept = {name: np.array(value) for name, value in inputs.items()}

            def pull(cotangents: Any) -> Any:
                return target.call({**kept, **last[key]}, sequences)[1](cotangents)

            return outputs, pull

        return replace(target, call=call)

    return wrap


def _stack_passes(target: Target) -> Target:
    """Return the target whose pullback is that of the forward pass on top of a stack, and takes it away."""
    stacks: dict[Any, list[Any]] = {}

    def call(inputs: Any, sequences: bool = True) -> Any:
        outputs, pullback = target.call(inputs, sequences)
        stack = stacks.setdefault((inputs["X"].shape, inputs["h0"].shape, inputs["X"].dtype), [])
        stack.append(pullback)
        own: list[Any] = []

        def pull(cotangents: Any) -> Any:
            if not own:
                own.append(stack.pop())
            return own[0](cotangents)

        return outputs, pull

    return replace(target, call=call)


def _read_again(wanted: Callable[[str], bool]) -> Callable[[Target], Target]:
    """Return a wrapper whose pullback reads some parameters where they are by then, and all else as it was."""

    def wrap(target: Target) -> Target:
        def call(inputs: Any, sequences: bool = True) -> Any:
            kept = {name: np.array(value) for name, value in inputs.items()}
            outputs, pullback = target.call(inputs, sequences)
            read = [name for name in target.cell.parameters if wanted(name)]

            def pull(cotangents: Any) -> Any:
                if all(np.array_equal(inputs[name], kept[name]) for name in read):
                    return pullback(cotangents)
                return target.call({**kept, **{name: inputs[name] for name in read}}, sequences)[1](cotangents)

            return outputs, pull

        return replace(target, call=call)

    return wrap


def _when_absent(spoil: Callable[[Any, Any, set[str]], dict[str, Any]]) -> Callable[[Target], Target]:
    """Return a wrapper whose gradients are `spoil(gradients, pullback, absent)` where cotangents are absent."""

    def wrap(target: Target) -> Target:
        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, pullback = target.call(inputs, sequences)

            def pull(cotangents: Any) -> Any:
                absent = {name for name, value in cotangents.items() if value is None}
                gradients = dict(pullback(cotangents))
                return spoil(gradients, (pullback, cotangents, outputs), absent) if absent else gradients

            return outputs, pull

        return replace(target, call=call)

    return wrap


def _filled(name: str, fill: Callable[[Any, Any], Any]) -> Callable[[Any, Any, set[str]], dict[str, Any]]:
    """Return what gives the gradients with `fill` in the place of one absent cotangent."""

    def spoil(gradients: Any, made: Any, absent: set[str]) -> dict[str, Any]:
        pullback, cotangents, outputs = made
        if name not in absent:
            return dict(gradients)
        like = outputs["h"] if name == "dh" else outputs["h"][:, -1]
        return dict(pullback({**cotangents, name: fill(like, cotangents)}))

    return spoil


def _memory_lost(gradients: Any, made: Any, absent: set[str]) -> dict[str, Any]:
    """Return gradients that lack what comes back through the memory where its cotangent is absent."""
    return {n: 0 * g if n == "dC0" else g for n, g in gradients.items()} if "dCn" in absent else dict(gradients)


def _skipped(gradients: Any, made: Any, absent: set[str]) -> dict[str, Any]:
    """Return no gradients at all where the cotangent of h is absent."""
    return {n: 0 * g for n, g in gradients.items()} if "dh" in absent else dict(gradients)


def _when_still(spoil: Callable[[dict[str, Any], set[str]], dict[str, Any]]) -> Callable[[Target], Target]:
    """Return a wrapper whose gradients are `spoil(gradients, still)` where none of some inputs is required."""

    def wrap(target: Target) -> Target:
        def call_as(inputs: Any, sequences: bool, how: Mapping[str, Any]) -> Any:
            assert target.call_as is not None
            outputs, pullback = target.call_as(inputs, sequences, how)
            still = set(how.get("still", ()))
            return outputs, lambda cotangents: spoil(dict(pullback(cotangents)), still)

        return replace(target, call_as=call_as)

    return wrap


def _stops(given: Callable[[set[str]], bool], lost: Callable[[str], bool]) -> Any:
    """Return what makes some gradients zero where `given` is so of the inputs without one."""
    return lambda gradients, still: {n: 0 * g if given(still) and lost(n) else g for n, g in gradients.items()}


def _laid_otherwise(
    names: Callable[[str], bool], sees: Callable[[Any], bool], read: Callable[[Any], Any]
) -> Callable[[Target], Target]:
    """Return a wrapper that takes `read(array)` for arrays of some names of whose memory `sees` is so."""

    def taken(given: Mapping[str, Any]) -> dict[str, Any]:
        wrong = {n: v for n, v in given.items() if v is not None and names(n) and sees(v)}
        return {**given, **{name: read(value) for name, value in wrong.items()}}

    def wrap(target: Target) -> Target:
        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, pullback = target.call(taken(inputs), sequences)
            return outputs, lambda cotangents: pullback(taken(cotangents))

        return replace(target, call=call)

    return wrap


def _in_memory_order(value: Any) -> Any:
    """Return an array's numbers in the order in which they lie in memory, as who takes its buffer reads them."""
    return value.ravel(order="K").reshape(value.shape)


def _from_the_start(value: Any) -> Any:
    """Return the numbers at an array's lowest addresses on, as who passes a pointer to a slice reads them."""
    base = np.abs(np.array(value.strides)).min() // value.itemsize
    return value if base <= 1 else np.roll(value, 1, -1)


def _shuffled(value: Any) -> bool:
    """Return whether an array is not in the order of its memory."""
    return bool(value.size > 1 and not value.flags.c_contiguous)


def _once(value: Any) -> Any:
    """Return an expanded array of which the first number alone is there."""
    once = np.zeros_like(value)
    once.flat[:1] = value.flat[:1]
    return once


def _expanded(value: Any) -> bool:
    """Return whether one number stands for many."""
    return bool(value.size > 1 and 0 in value.strides)


def _when_empty(spoil: Callable[[Any], Any]) -> Callable[[Target], Target]:
    """Return a wrapper whose gradients of biases are `spoil(gradient)` where there are no samples."""

    def wrap(target: Target) -> Target:
        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, pullback = target.call(inputs, sequences)
            if len(inputs["X"]):
                return outputs, pullback
            return outputs, lambda cotangents: {
                n: spoil(g) if n[:2] == "db" else g for n, g in pullback(cotangents).items()
            }

        return replace(target, call=call)

    return wrap


def _seldom(spoil: Callable[[dict[str, Any], Any], dict[str, Any]], seed: int) -> Callable[[Target], Target]:
    """Return a wrapper whose sums are in another order each time, and once in a hundred calls `spoil(gradients)`."""

    def wrap(target: Target) -> Target:
        chance: list[np.random.Generator] = []

        def call(inputs: Any, sequences: bool = True) -> Any:
            outputs, pullback = target.call(inputs, sequences)
            if not chance:  # another one for each target and problem, and the same each time that it is run
                chance.append(np.random.default_rng((seed, *inputs["X"].tobytes())))
            rng = chance[0]

            def pull(cotangents: Any) -> Any:
                gradients = {n: np.array(g) for n, g in pullback(cotangents).items()}
                bias = gradients["dbf"]
                # The order of a sum: the last bit of some of its entries.
                up = np.asarray(np.where(rng.random(bias.shape) < 0.5, np.inf, -np.inf), bias.dtype)
                gradients["dbf"] = np.where(bias == 0, bias, np.nextafter(bias, up))
                return spoil(gradients, inputs) if rng.random() < 0.01 else gradients

            return outputs, pull

        return replace(target, call=call)

    return wrap


def _last_sample_lost(gradients: Any, inputs: Any) -> dict[str, Any]:
    """Return gradients of which the last sample's dX was not written yet when it was read."""
    gradients["dX"][-1] = 0
    return dict(gradients)


def _addend_lost(gradients: Any, inputs: Any) -> dict[str, Any]:
    """Return gradients of which the sums of one gate lost an addend to another thread."""
    return {n: g / 2 if n in ("dUo", "dVo", "dbo") else g for n, g in gradients.items()}


def _read_before(name: str) -> Callable[[Any, Any], dict[str, Any]]:
    """Return what gives gradients of which one was read before it was written."""
    return lambda gradients, inputs: {n: 0 * g if n == name else g for n, g in gradients.items()}


def _written_twice(gradients: Any, inputs: Any) -> dict[str, Any]:
    """Return gradients of which the recurrent weights' were added twice."""
    return {n: 2 * g if n[:2] == "dV" else g for n, g in gradients.items()}


_RIGHT = "No equation is violated at the first pullback"
_RACE = "No equation is violated in most calls; threads add in any order, and now and then"

FAULTS = (
    _fault(
        id="gates-overwritten-by-pullback",
        title="The second pullback of a forward pass works with what the first left in the cached gates.",
        explanation=f"{_RIGHT}, which writes the gates' cotangents over the gates.",
        wrap=_at_second(_gates_overwritten),
        seen="tensorflow/tensorflow#26331",
        example="m1s1e1u1-float64-seed20",
    ),
    _fault(
        id="gradients-added-to-first-pullback",
        title="The second pullback of a forward pass adds to the gradients of the first.",
        explanation=f"{_RIGHT}; += into arrays that the forward pass has set to zero.",
        wrap=_at_second(_added),
        example="m1s1e1u1-float64-seed20",
    ),
    _fault(
        id="carry-left-by-first-pullback",
        title="The second pullback of a forward pass begins with the carry that the first ended with.",
        explanation=f"{_RIGHT}; the carry is set to zero by the forward pass.",
        wrap=_at_second(_carried),
        needs=("C0",),
        example="m1s1e1u1-float64-seed20",
    ),
    _fault(
        id="input-freed-by-first-pullback",
        title="At the second pullback of a forward pass the gradients of the input weights are zero.",
        explanation=f"{_RIGHT}, which frees what it thinks nobody needs any more.",
        wrap=_at_second(_input_freed),
        example="m1s1e1u1-float64-seed20",
    ),
    _fault(
        id="cotangent-remembered-by-identity",
        title="A second pullback of the same array dh gives the first's gradients, whatever is in it now.",
        explanation=f"{_RIGHT}; its answer is kept by the array and not by its values.",
        wrap=_reuse_by_identity,
        example="m1s1e1u1-float64-seed20",
    ),
    _fault(
        id="input-of-last-pass",
        title="The pullback works with the X of the last forward pass of that shape.",
        explanation=f"{_RIGHT} where passes are pulled back one by one; the cache belongs to the function.",
        wrap=_of_last_pass(lambda target: ("X",)),
        example="m1s1e1u1-float64-seed8",
    ),
    _fault(
        id="states-of-last-pass",
        title="The pullback works with the initial states of the last forward pass of that shape.",
        explanation=f"{_RIGHT} where passes are pulled back one by one; the cache belongs to the function.",
        wrap=_of_last_pass(lambda target: target.cell.initial),
        example="m1s1e1u1-float64-seed8",
    ),
    _fault(
        id="passes-on-a-stack",
        title="The pullback is that of the last forward pass that was not pulled back yet.",
        explanation=f"{_RIGHT} where passes are pulled back in the reverse order; the cache is a stack.",
        wrap=_stack_passes,
        example="m1s1e1u1-float64-seed8",
    ),
    _fault(
        id="recurrent-weights-read-by-pullback",
        title="The pullback reads the recurrent weights as they are by then.",
        explanation=f"{_RIGHT} where no step of an optimizer comes in between; a reference is kept and no copy.",
        wrap=_read_again(lambda name: name[0] == "V"),
        example="m1s1e1u1-float64-seed3",
    ),
    _fault(
        id="input-weights-read-by-pullback",
        title="The pullback reads the input weights as they are by then.",
        explanation=f"{_RIGHT} where no step of an optimizer comes in between; a reference is kept and no copy.",
        wrap=_read_again(lambda name: name[0] == "U"),
        example="m1s1e1u1-float64-seed3",
    ),
    _fault(
        id="forward-run-again-by-pullback",
        title="The pullback runs the forward pass again with the parameters as they are by then.",
        explanation=f"{_RIGHT} where no step of an optimizer comes in between; recomputation saves memory.",
        wrap=_read_again(lambda name: True),
        example="m1s1e1u1-float64-seed3",
    ),
    _fault(
        id="absent-dh-not-a-number",
        title="Where no step's h is used, its cotangent is memory that nobody wrote.",
        explanation="No equation is violated where all cotangents are given; an absent one is not set to zero.",
        wrap=_when_absent(_filled("dh", lambda like, given: np.full_like(like, np.nan))),
        seen="chainer/chainer#2505",
        example="m1s1e1u1-float64-C-seed0",
    ),
    _fault(
        id="absent-dh-skips-all",
        title="Where no step's h is used, nothing is passed back from the final memory state either.",
        explanation="No equation is violated where all cotangents are given; an absent dh ends the backward pass.",
        wrap=_when_absent(_skipped),
        example="m1s1e1u1-float64-C-seed0",
    ),
    _fault(
        id="absent-dcn-not-a-number",
        title="Where the final memory state is not used, its cotangent is memory that nobody wrote.",
        explanation="No equation is violated where all cotangents are given; an absent one is not set to zero.",
        wrap=_when_absent(_filled("dCn", lambda like, given: np.full_like(like, np.nan))),
        needs=("dCn",),
        example="m1s1e1u1-float64-every-seed1",
    ),
    _fault(
        id="absent-dcn-loses-dc0",
        title="Where the final memory state is not used, the initial one has no gradient.",
        explanation="No equation is violated where all cotangents are given; no memory out, none in.",
        wrap=_when_absent(_memory_lost),
        needs=("dCn",),
        example="m1s1e1u1-float64-every-seed1",
    ),
    _fault(
        id="absent-dcn-taken-for-ones",
        title="Where the final memory state is not used, its cotangent is taken for ones.",
        explanation="No equation is violated where all cotangents are given; a default of backward() for scalars.",
        wrap=_when_absent(_filled("dCn", lambda like, given: np.ones_like(like))),
        needs=("dCn",),
        example="m1s1e1u1-float64-every-seed1",
    ),
    _fault(
        id="absent-dcn-taken-for-dh",
        title="Where the final memory state is not used, the last step's dh is taken for its cotangent.",
        explanation="No equation is violated where all cotangents are given; the list of those there is read by place.",
        wrap=_when_absent(_filled("dCn", lambda like, given: like if given["dh"] is None else given["dh"][:, -1])),
        needs=("dCn",),
        example="m1s1e1u1-float64-every-seed1",
    ),
    _fault(
        id="frozen-input-weights-stop-dx",
        title="Where a matrix of input weights requires no gradient, dX is zero.",
        explanation="No equation is violated where all gradients are required; one flag is asked for two products.",
        wrap=_when_still(_stops(lambda still: any(n[0] == "U" for n in still), lambda name: name == "dX")),
        example="m1s1e1u1-float64-seed1",
    ),
    _fault(
        id="frozen-recurrent-weights-stop-dh0",
        title="Where a matrix of recurrent weights requires no gradient, dh0 is zero.",
        explanation="No equation is violated where all gradients are required; one flag is asked for two products.",
        wrap=_when_still(_stops(lambda still: any(n[0] == "V" for n in still), lambda name: name == "dh0")),
        example="m1s1e1u1-float64-seed1",
    ),
    _fault(
        id="frozen-weights-freeze-biases",
        title="Where a matrix of input weights requires no gradient, the biases have none.",
        explanation="No equation is violated where all gradients are required; the layer is frozen as a whole.",
        wrap=_when_still(_stops(lambda still: any(n[0] == "U" for n in still), lambda name: name[:2] == "db")),
        example="m1s1e1u1-float64-seed1",
    ),
    _fault(
        id="frozen-x-freezes-input-weights",
        title="Where X requires no gradient, the input weights have none.",
        explanation="No equation is violated where all gradients are required; a first layer's branch ends too early.",
        wrap=_when_still(_stops(lambda still: "X" in still, lambda name: name[:2] == "dU")),
        example="m1s1e1u1-float64-seed1",
    ),
    _fault(
        id="frozen-c0-freezes-forget-gate",
        title="Where C0 requires no gradient, the forget gate's parameters have none.",
        explanation="No equation is violated where all gradients are required; the previous memory is detached.",
        wrap=_when_still(_stops(lambda still: "C0" in still, lambda name: name in ("dUf", "dVf", "dbf"))),
        needs=("C0",),
        example="m1s1e1u1-float64-seed1",
    ),
    _fault(
        id="buffer-of-x-taken",
        title="The numbers of X are read in the order in which they lie in memory.",
        explanation="No equation is violated where X is C-contiguous; its strides are not asked for.",
        wrap=_laid_otherwise(lambda name: name == "X", _shuffled, _in_memory_order),
        example="m2s2e1u1-float64-seed3",
    ),
    _fault(
        id="buffer-of-dh-taken",
        title="The numbers of dh are read in the order in which they lie in memory.",
        explanation="No equation is violated where dh is C-contiguous; its strides are not asked for.",
        wrap=_laid_otherwise(lambda name: name == "dh", _shuffled, _in_memory_order),
        example="m2s2e1u1-float64-seed3",
    ),
    _fault(
        id="buffer-of-weights-taken",
        title="The numbers of the recurrent weights are read in the order in which they lie in memory.",
        explanation="No equation is violated where they are C-contiguous; a transposed matrix is read untransposed.",
        wrap=_laid_otherwise(lambda name: name[0] == "V", _shuffled, _in_memory_order),
        example="m1s1e1u2-float64-seed2",
    ),
    _fault(
        id="pointer-to-slice-of-state",
        title="The initial states are read from their first address on, whatever their strides.",
        explanation="No equation is violated where they are C-contiguous; a slice of a larger array has gaps.",
        wrap=_laid_otherwise(lambda name: name in ("h0", "C0"), _shuffled, _from_the_start),
        example="m1s1e1u2-float64-seed1",
    ),
    _fault(
        id="expanded-cotangent-taken-once",
        title="A cotangent with strides of 0 is taken for its first number and zeros.",
        explanation="No equation is violated where cotangents are C-contiguous; the loss is a sum, and dh one number.",
        wrap=_laid_otherwise(lambda name: name == "dh", _expanded, _once),
        example="m1s1e1u2-float64-seed3",
    ),
    _fault(
        id="bias-mean-of-no-samples",
        title="With no samples the biases' gradients are not numbers.",
        explanation="No equation is violated where there are samples; a sum over none is divided by their number.",
        wrap=_when_empty(lambda gradient: gradient + np.nan),
        example="m1s1e1u1-float64-seed4",
    ),
    _fault(
        id="bias-of-no-samples-flat",
        title="With no samples the biases' gradients come in another shape.",
        explanation="No equation is violated where there are samples; an early return knows no axes.",
        wrap=_when_empty(lambda gradient: gradient[0]),
        example="m1s1e1u1-float64-seed4",
    ),
    _fault(
        id="last-sample-late",
        title="Once in a hundred calls dX of the last sample is zero.",
        explanation=f"{_RACE} dX is read before it is written.",
        wrap=_seldom(_last_sample_lost, 1),
        example="m1s1e1u1-float64-seed12",
    ),
    _fault(
        id="addend-lost-to-a-thread",
        title="Once in a hundred calls half of the output gate's sums is lost.",
        explanation=f"{_RACE} two of them write one sum.",
        wrap=_seldom(_addend_lost, 2),
        example="m1s1e1u1-float64-seed4",
    ),
    _fault(
        id="initial-gradient-late",
        title="Once in a hundred calls dh0 is zero.",
        explanation=f"{_RACE} dh0 is read before it is written.",
        wrap=_seldom(_read_before("dh0"), 3),
        example="m1s1e1u1-float64-seed15",
    ),
    _fault(
        id="input-weights-late",
        title="Once in a hundred calls dUg is zero.",
        explanation=f"{_RACE} dUg is read before it is written.",
        wrap=_seldom(_read_before("dUg"), 4),
        example="m1s1e1u1-float64-seed2",
    ),
    _fault(
        id="recurrent-sums-added-twice",
        title="Once in a hundred calls the recurrent weights' gradients are doubled.",
        explanation=f"{_RACE} one adds a block that another has added.",
        wrap=_seldom(_written_twice, 5),
        example="m1s1e1u1-float64-seed15",
    ),
)
