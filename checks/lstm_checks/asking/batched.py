"""Batched: forward pass and pullback mapped over the samples by one call, so that each has gradients of its own.

What is mapped is to be what a loop gives. The outputs and the cotangents of each sample are known already; the
parameters' gradients come sample by sample, and are due of that sample alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lstm_checks import tolerance
from lstm_checks.asking.passes import Asker, Judged, NotAskedError, RefusedError, worst_of
from lstm_checks.cases import Arrays
from lstm_checks.contract import SAMPLES
from lstm_checks.oracles.expected import Array, evaluate_reference
from lstm_checks.properties.noise import OwnExpected


def samples_apart(x: Asker) -> Judged:
    """Ask for the gradients of each sample by one call, and judge some of them."""
    try:
        values = x.forward(how={"way": SAMPLES}).pull(x.cotangents())
    except RefusedError as error:
        if error.kind != "error":
            return x.refused(error, "mapped over samples")
        raise NotAskedError(str(error)) from error
    chosen = sorted(x.rng.permutation(x.case.m)[: tolerance.SAMPLES_APART])
    return worst_of(_of_sample(x, values, int(k)) for k in chosen)


def _of_sample(x: Asker, values: Mapping[str, Any], k: int) -> Judged:
    """Return what the answer about one sample is worth."""
    sampled = {name for name, axes in x.case.cell.axes.items() if axes[0] == "m"}

    def cut(of: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value[k : k + 1] if name in sampled else value for name, value in of.items()}

    arrays = Arrays(cut(x.arrays), x.case.cell)
    due = _alone(x, arrays) if isinstance(x.expected, OwnExpected) else evaluate_reference(arrays.astype(np.float64))
    # The noise of a sum over samples is at least that of one of its terms.
    expected = replace(x.expected, values=due, sd=cut(x.expected.sd))
    own = {name.removeprefix(f"{k}: "): value for name, value in values.items() if name.startswith(f"{k}: ")}
    return x.judge(own, f"mapped over samples, of sample {k} by itself", expected=expected)


def _alone(x: Asker, arrays: Arrays) -> dict[str, Array]:
    """Return what the target itself gives for one sample."""
    found = x.forward(arrays.inputs).pull(x.cotangents(arrays))
    return {name: value.astype(np.float64) for name, value in found.items() if name in x.expected.sd}
