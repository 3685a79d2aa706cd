"""Asked again: a second pullback, two forward passes alive, a pullback after the parameters were changed in place.

A pullback may be called more than once, and not at once: autograd does so for Hessians, for several losses of one
forward pass, in recomputation. What it works with is of its own forward pass alone, and it leaves that as it was.
"""

from typing import Any

from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.compare import Verdict
from lstm_checks.contract import INSTANCES, KEEPS

WRITTEN = "modified by an inplace operation"
"""What PyTorch says where something that was kept for a backward pass has been written to since."""


def second_pullback(x: Asker) -> Judged:
    """Ask a forward pass for its pullback thrice: of other cotangents, of the case's in the same arrays, and again."""
    passed, cotangents = x.forward(), x.cotangents()
    due = {name: value.copy() for name, value in cotangents.items()}
    for value in cotangents.values():
        value[...] = x.other(value) if value.any() else value
    passed.pull(cotangents)
    found = []
    for done in (
        "at the second pullback of one forward pass, after one of other cotangents",
        "at the third pullback of one forward pass, of the same cotangents as the second",
    ):
        for name, value in cotangents.items():
            value[...] = due[name]
        try:
            found.append(x.judge(passed.pull(cotangents), done))
        except RefusedError as error:
            if error.kind != "error":
                raise
            if WRITTEN in str(error):
                # The first one went through: it is that which wrote to what the forward pass had kept, or was given.
                found.append(x.refused(error, done))
                break
            raise NotAskedError(f"there is no second pullback of a forward pass: {error}") from error
    return worst_of(found)


def two_passes_alive(x: Asker) -> Judged:
    """Ask two forward passes for their pullbacks, in the order in which they were run and in the other."""
    found = []
    other = x.changed(x.arrays)
    for first in (True, False):
        # Layers that keep one forward pass each are two of a class; of anything else, two calls.
        hows: list[Any] = [{"instance": 1}, {"instance": 2}] if INSTANCES in x.target.can else [None, None]
        passes = [x.forward(how=hows[0]), x.forward(other.copy().inputs, hows[1])]
        pulls = [(passes[0], x.cotangents()), (passes[1], x.cotangents(other))]
        order = "as they were run" if first else "the last one first"
        done = f"with a second forward pass run before its pullback, pulled back {order}"
        for k in (0, 1) if first else (1, 0):
            passed, cotangents = pulls[k]
            try:
                values = passed.pull(cotangents)
            except RefusedError as error:
                if error.kind != "error":
                    raise
                raise NotAskedError(f"two forward passes are not alive at once: {error}") from error
            if k == 0:
                found.append(x.judge(values, done))
    return worst_of(found)


def parameters_changed(x: Asker) -> Judged:
    """Ask for a pullback after the arrays of the parameters hold other values, as after an optimizer's step."""
    arrays = x.arrays.copy()
    passed = x.forward(arrays.inputs)
    other = {name: x.other(x.arrays[name]) for name in arrays.p}
    for name, value in other.items():
        arrays[name][...] = value
    done = "with the parameters changed in place between the forward pass and its pullback"
    try:
        judged = x.judge(passed.pull(x.cotangents()), done)
    except RefusedError as error:
        if error.kind != "error":
            raise
        return Judged(x.judge(x.outcome.values, done).verdict, reason=f"refused: {error}")
    if judged.verdict is not Verdict.FAIL or KEEPS in x.target.can:
        return judged
    raise NotAskedError("its pullback reads the parameters' arrays, and is to be called before they change")
