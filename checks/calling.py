"""Calling a target safely: whatever it does, what comes back is an Outcome and never its exception."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from checks.cases import Arrays, Case
from checks.contract import CN, DCN, DHN, LAST, OUTPUTS, STATES, ContractError, Target, TimeLimitError, undisturbed

OURS = Path(__file__).parent
LIBRARIES = {"site-packages", "dist-packages", f"python{sys.version_info[0]}.{sys.version_info[1]}"}


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
    timed_out : bool
        Whether `error` is that it gave no answer in time.
    """

    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    stage: str = ""
    aliased: tuple[tuple[str, Any], ...] = ()
    written: tuple[str, ...] = ()
    timed_out: bool = False

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
        with undisturbed():
            (h, Cn), pullback = target.call(arrays.p, arrays.X, arrays.h0, arrays.C0, sequences)
            outputs = {"h": to_numpy(h), "Cn": to_numpy(Cn)}
            if not backward:
                return Outcome(outputs)
            stage = "pullback"
            given: dict[str, Any] = {
                "dh": dh[:, -1] if getattr(h, "ndim", 0) == 2 and not sequences else dh,
                "dCn": arrays.dCn,
            }
            given |= {"dhn": arrays.dhn} if dhn_apart else {}
            handed = {name: value.copy() for name, value in given.items()}
            gradients = pullback(handed["dh"], handed["dCn"], handed.get("dhn"))
            written = tuple(name for name, value in given.items() if value.tobytes() != handed[name].tobytes())
        if not isinstance(gradients, Mapping):
            raise ContractError(f"the pullback returned a {type(gradients).__name__}, expected gradients by name")
        values = outputs | {str(name): to_numpy(value) for name, value in gradients.items() if name not in OUTPUTS}
        aliased = tuple((k, v) for k, v in {"h": h, "Cn": Cn, **gradients}.items() if isinstance(v, np.ndarray))
        return Outcome(values, aliased=aliased, written=written)
    except ContractError as error:
        return Outcome(outputs, error=str(error), timed_out=isinstance(error, TimeLimitError))
    except (Exception, SystemExit) as error:
        return Outcome(outputs, error=describe_error(error), stage=stage)


def to_numpy(value: Any) -> Any:
    """Return a copy of an array, wherever it is, as NumPy's; the value itself where it is none."""
    if isinstance(value, np.ndarray):
        return np.array(value)  # without the mask of a masked array, which would hide what is wrong under it
    if isinstance(value, np.generic):
        return value
    # PyTorch's tensors, on whatever device; CuPy's arrays; and all that NumPy can read, such as JAX's.
    for method in ("detach", "cpu", "get"):
        if hasattr(value, "shape") and callable(getattr(value, method, None)):
            value = getattr(value, method)()
    # Not np.array(value): it asks for a copy in a way that some libraries do not know yet.
    return np.asarray(value).copy() if hasattr(value, "__array__") and hasattr(value, "shape") else value


def describe_error(error: BaseException) -> str:
    """Return an exception's type, the first line of its message, and where in somebody's own code it was raised."""
    name, lines = type(error).__name__, str(error).strip().splitlines()
    place = _place(error)
    return f"{name}: {lines[0]}{place}" if lines else f"{name}{place}"


def _place(error: BaseException) -> str:
    """Return " (file.py, line 3)", the traceback's last line that is neither ours nor a library's; or nothing."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(OURS) or not path.is_absolute() or LIBRARIES & set(path.parts):
            continue
        return f" ({path.name}, line {frame.lineno})"
    return ""


def can_run(target: Target, arrays: Arrays) -> str:
    """Return what the case asks of the target that it lacks; empty if nothing."""
    if STATES in target.lacks and (arrays.h0.any() or arrays.C0.any()):
        return STATES
    if {CN, DCN} & target.lacks and arrays.dCn.any():
        return DCN
    return ""


def with_time_limit(target: Target, seconds: float) -> Target:
    """Return the target with a limit on the time that a forward pass or a pullback may take.

    The limit is an alarm signal: it interrupts Python, and compiled code as soon as that returns to Python. Where there
    is no such signal, and outside the main thread, there is no limit.

    Parameters
    ----------
    target : Target
    seconds : float
        Above 0; what takes longer raises TimeLimitError, "no answer within 10 s".
    """

    def call(*arguments: Any) -> Any:
        with _alarm(seconds):
            outputs, pullback = target.call(*arguments)

        def pull(*cotangents: Any) -> Any:
            with _alarm(seconds):
                return pullback(*cotangents)

        return outputs, pull

    return replace(target, call=call)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError after so many seconds, and again after as many, should the target catch it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*ignored: Any) -> None:
        raise TimeLimitError(f"no answer within {seconds:g} s")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


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
