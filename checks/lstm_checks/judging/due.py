"""What is due for a case as plain values, for a process that works it out for another."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.formats import is_low
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.expected import Expected, expect


def can_be_asked(case: Case) -> bool:
    """Return whether a case is all in its descriptor and what it lacks, and what is due for it in plain values."""
    if is_low(case.dtype) or case.size > tolerance.LARGE:
        return False
    return _case(case.descriptor, case.absent) == case


def work_out(descriptor: str, absent: tuple[str, ...]) -> dict[str, Any]:
    """Return what is due for a case, and how far the complex step agrees; `understood` makes an `Expected` of it.

    It is all that judging computes without the target but for check_grad, whose SciPy takes longer to load than that
    takes for a hundred cases.
    """
    case = _case(descriptor, absent)
    expected = expect(case)
    agrees = None if expected.chaotic(case.cell.gradients) else complex_step_disagreement(case, expected)
    return {
        "values": {name: _coded(value) for name, value in expected.values.items()},
        "sd": {name: _coded(value) for name, value in expected.sd.items()},
        "withheld": dict(expected.withheld),
        "by_complex_step": None if agrees is None else [agrees.use, agrees.where, agrees.undecided],
    }


def understood(case: Case, plain: Mapping[str, Any]) -> Expected:
    """Return what is due for a case from its plain values."""
    values, sd = ({name: _decoded(one) for name, one in plain[part].items()} for part in ("values", "sd"))
    agrees = None if plain["by_complex_step"] is None else Disagreement(*plain["by_complex_step"])
    return Expected(values, sd, case.dtype, withheld=plain["withheld"], by_complex_step=agrees)


def _case(descriptor: str, absent: tuple[str, ...]) -> Case:
    return replace(Case.parse(descriptor), absent=tuple(absent))


def _coded(array: NDArray[Any]) -> list[Any]:
    """Return an array of float64 as its shape and the text of its bytes, so that every bit goes over."""
    return [array.shape, base64.b64encode(np.asarray(array, np.float64).tobytes()).decode()]


def _decoded(plain: Any) -> NDArray[Any]:
    shape, text = plain
    return np.frombuffer(bytearray(base64.b64decode(text)), np.float64).reshape(shape)


def ready() -> None:
    """Return once all that is needed here is loaded."""
