"""Batched: forward pass and pullback mapped over the samples by one call, so that each has gradients of its own.

What is mapped is to be what a loop gives. The outputs and the cotangents of each sample are known already; the
parameters' gradients come sample by sample, and are due of that sample alone. The same is asked where each sample has
parameters of its own, as in an ensemble: a rule for `vmap` that is written by hand mostly thinks of the inputs alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.cases import Arrays
from lstm_checks.contract import SAMPLES, weights_of_sample
from lstm_checks.oracles.expected import Array, evaluate_reference
from lstm_checks.properties.noise import OwnExpected


def samples_apart(x: Asker) -> Judged:
    """Ask for the gradients of each sample by one call, and judge some of them."""
    every: tuple[list[str], ...] = ([], sorted(x.arrays.p))
    if isinstance(x.expected, OwnExpected):
        every = ([],)  # nobody knows the noise at other parameters
    elif x.target.compiles:
        # A compiler makes a program for each of the two: one of them, the same for all values of one shape.
        every = (every[np.random.default_rng((*x.case.dims, 9)).integers(2)],)
    chosen = sorted(int(k) for k in x.rng.permutation(x.case.m)[: tolerance.SAMPLES_APART])
    return worst_of(_mapped(x, each, chosen) for each in every)


def _mapped(x: Asker, each: Collection[str], chosen: Sequence[int]) -> Judged:
    """Return what the answers about some samples are worth, where these have some parameters of their own."""
    done = "mapped over samples" + (", each with parameters of its own" if each else "")
    try:
        values = x.forward(how={"way": SAMPLES, "each": [*each]}).pull(x.cotangents())
    except RefusedError as error:
        if error.kind != "error":
            return x.refused(error, done)
        raise NotAskedError(str(error)) from error
    return worst_of(_of_sample(x, values, k, each, done) for k in chosen)


def _of_sample(x: Asker, values: Mapping[str, Any], k: int, each: Collection[str], done: str) -> Judged:
    """Return what the answer about one sample is worth."""
    sampled = {name for name, axes in x.case.cell.axes.items() if axes[0] == "m"}

    def cut(of: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value[k : k + 1] if name in sampled else value for name, value in of.items()}

    every = Arrays({n: weights_of_sample(v, k) if n in each else v for n, v in x.arrays.items()}, x.case.cell)
    arrays = Arrays(cut(every), x.case.cell)
    due = _alone(x, arrays) if isinstance(x.expected, OwnExpected) else evaluate_reference(arrays.astype(np.float64))
    # The noise of a sum over samples is at least that of one of its terms.
    noise = x.due_at(every) if each and k % 2 else x.expected
    expected = replace(noise, values=due, sd=cut(noise.sd))
    found = {name.removeprefix(f"{k}: "): value for name, value in values.items() if name.startswith(f"{k}: ")}
    return x.judge(found, f"{done}, of sample {k} by itself", expected=expected)


def _alone(x: Asker, arrays: Arrays) -> dict[str, Array]:
    """Return what the target itself gives for one sample."""
    found = x.forward(arrays.inputs).pull(x.cotangents(arrays))
    return {name: value.astype(np.float64) for name, value in found.items() if name in x.expected.sd}
