"""The scalar whose gradient every oracle asks for, and how far an oracle is from agreeing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.contract import PARAMETERS
from lstm_checks.oracles.expected import Array
from lstm_ref import lstm_forward


# A target may answer with the largest numbers there are; the comparison says so, and no warning need.
@np.errstate(over="ignore", invalid="ignore")
def objective(h: Any, Cn: Any, arrays: Arrays) -> Any:
    """Return the scalar whose gradient the pullback gives: the cotangents' inner product with the outputs."""
    axes = (-3, -2, -1)
    final = arrays.dhn * h[..., -1, :] + arrays.dCn * Cn
    return np.sum(arrays.dh * h, axis=axes) + np.sum(final, axis=axes[1:])


@dataclass(frozen=True)
class Disagreement:
    """How far two oracles are apart: the largest difference over what is accepted, and where that is."""

    use: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what is accepted; NaN is not."""
        return self.use <= 1


Forward = Callable[[Mapping[str, Array]], tuple[Array, Array]]


def reference_forward(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return (h, Cn) of the reference."""
    p = {name: inputs[name] for name in PARAMETERS}
    fc = lstm_forward(p, inputs["X"], inputs["h0"], inputs["C0"], keep=("h", "C_"))
    return fc["h"], fc["C_"][..., -1, :]
