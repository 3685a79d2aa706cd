"""What is due for a case as plain values, for a process that works it out for another."""

import base64
from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks import tolerance
from lstm_checks.cases import Case
from lstm_checks.formats import is_low
from lstm_checks.oracles.check_grad import reference_check_grad
from lstm_checks.oracles.complex_step import complex_step_disagreement
from lstm_checks.oracles.disagreement import Disagreement
from lstm_checks.oracles.expected import Expected, expect
from lstm_checks.oracles.stepped import stepped

_ORACLES = {"complex step": complex_step_disagreement, "check_grad": reference_check_grad}
"""What the reference's gradient is held against besides."""


def can_be_asked(case: Case) -> bool:
    """Return whether a case is all in its descriptor and what it lacks, and what is due for it in plain values."""
    if is_low(case.dtype) or case.size > tolerance.LARGE:
        return False
    return _case(case.descriptor, case.absent) == case


def work_out(descriptor: str, absent: tuple[str, ...], learned: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what is due for a case, and how far the other oracles agree; `understood` makes an `Expected` of it.

    And what is due after a step of the parameters `learned`, where there are any. It is all that judging computes
    without the target.
    """
    case = _case(descriptor, absent)
    expected = expect(case)
    drowned = expected.chaotic(case.cell.gradients)
    after = stepped(case.arrays, expected.values, learned)
    return {
        **_plain(expected),
        "agree": {} if drowned else {name: [*astuple(of(case, expected))] for name, of in _ORACLES.items()},
        "after_step": None if after is None else _plain(expect(case, arrays=after)),
    }


def understood(case: Case, plain: Mapping[str, Any]) -> Expected:
    """Return what is due for a case from its plain values."""
    agree = {name: Disagreement(*found) for name, found in plain["agree"].items()}
    return replace(
        _expected(case, plain),
        by_complex_step=agree.get("complex step"),
        by_check_grad=agree.get("check_grad"),
        after_step=None if plain["after_step"] is None else _expected(case, plain["after_step"]),
    )


def _plain(expected: Expected) -> dict[str, Any]:
    values, sd = ({name: _coded(value) for name, value in of.items()} for of in (expected.values, expected.sd))
    return {"values": values, "sd": sd, "withheld": dict(expected.withheld)}


def _expected(case: Case, plain: Mapping[str, Any]) -> Expected:
    values, sd = ({name: _decoded(one) for name, one in plain[part].items()} for part in ("values", "sd"))
    return Expected(values, sd, case.dtype, withheld=plain["withheld"])


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
