"""Calling a target safely: whatever it does, what comes back is an Outcome and never its exception."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from checks.cases import Arrays, Case
from checks.contract import CN, DCN, DHN, LAST, OUTPUTS, STATES, ContractError, Target


@dataclass(frozen=True)
class Outcome:
    """What one call of a target gave.

    Attributes
    ----------
    values : dict
        Copies of what it returned, as far as it came: h, Cn and its gradients by name; whatever type they came in.
    error : str
        What went wrong, "RuntimeError: no memory" for an exception; empty if nothing did.
    stage : str
        Whether the forward pass or the pullback raised it; empty where it is the form that is wrong.
    aliased : tuple
        The very objects it returned, by name, to see whether a later call writes to them.
    written : tuple
        Names of the cotangents that the pullback wrote to.
    """

    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    stage: str = ""
    aliased: tuple[tuple[str, Any], ...] = ()
    written: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What went wrong, in one sentence."""
        return f"{self.stage} raised {self.error}" if self.stage else self.error


def call_target(target: Target, arrays: Arrays, sequences: bool, backward: bool = True) -> Outcome:
    """Return what a forward pass and a pullback of the target gave.

    Without `sequences`, a target that can return the last step alone is asked to; without `backward` there is no
    pullback and there are no gradients.
    """
    sequences = sequences or LAST in target.lacks
    dhn_apart = DHN not in target.lacks
    dh = arrays.dh if dhn_apart else arrays.dh_total
    stage, outputs = "forward", dict[str, Any]()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            (h, Cn), pullback = target.call(arrays.p, arrays.X, arrays.h0, arrays.C0, sequences)
            outputs = {"h": _copy(h), "Cn": _copy(Cn)}
            if not backward:
                return Outcome(outputs)
            stage = "pullback"
            given: dict[str, Any] = {"dh": dh[:, -1] if np.ndim(h) == 2 and not sequences else dh, "dCn": arrays.dCn}
            given["dhn"] = arrays.dhn if dhn_apart else None
            handed = {name: _copy(value) for name, value in given.items()}
            gradients = pullback(handed["dh"], handed["dCn"], handed["dhn"])
            written = tuple(k for k, v in given.items() if v is not None and v.tobytes() != handed[k].tobytes())
        if not isinstance(gradients, Mapping):
            raise ContractError(f"the pullback returned a {type(gradients).__name__}, expected gradients by name")
        values = outputs | {str(name): _copy(value) for name, value in gradients.items() if name not in OUTPUTS}
        aliased = tuple((k, v) for k, v in {"h": h, "Cn": Cn, **gradients}.items() if isinstance(v, np.ndarray))
        return Outcome(values, aliased=aliased, written=written)
    except ContractError as error:
        return Outcome(outputs, error=str(error))
    except (Exception, SystemExit) as error:
        return Outcome(outputs, error=f"{type(error).__name__}: {_first_line(error)}", stage=stage)


def _copy(value: Any) -> Any:
    """Return a copy of an array, or the value itself where it is none."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _first_line(error: BaseException) -> str:
    """Return the first line of an exception's message."""
    return (str(error).splitlines() or [""])[0]


def can_run(target: Target, arrays: Arrays) -> str:
    """Return what the case asks of the target that it lacks; empty if nothing."""
    if STATES in target.lacks and (arrays.h0.any() or arrays.C0.any()):
        return STATES
    if {CN, DCN} & target.lacks and arrays.dCn.any():
        return DCN
    return ""


def other_values(arrays: Arrays) -> None:
    """Write other values into the arrays of a case's inputs, made from those they hold."""
    for value in arrays.inputs.values():
        value[...] = np.roll(value[..., ::-1], 1) * 0.5 + 0.25


def call_over_other_values(target: Target, arrays: Arrays, case: Case) -> Outcome:
    """Return what the target gives for other values in the very arrays, which then get the case's back."""
    other_values(arrays)
    outcome = call_target(target, arrays, case.sequences)
    for name, value in (arrays.inputs | arrays.cotangents).items():
        value[...] = (case.arrays.inputs | case.arrays.cotangents)[name]
    return outcome


def another_shape(case: Case) -> Case:
    """Return a case of another shape and other values, to be called in between."""
    return replace(case, m=case.m + 1, s=case.s % 3 + 1, e=case.e % 3 + 1, seed=case.seed + 1)


def overwritten(outcome: Outcome) -> list[str]:
    """Return the names of what a call returned and a later one has written to."""
    return [name for name, value in outcome.aliased if not same_bits(value, outcome.values[name])]


def same_bits(left: Any, right: Any) -> bool:
    """Return whether two arrays are one to the bit."""
    if not (isinstance(left, np.ndarray) and isinstance(right, np.ndarray)):
        return left is right
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
