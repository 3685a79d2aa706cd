"""Calling a target safely: whatever it does, what comes back is an Outcome and never its exception."""

import math
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import (
    DCN,
    DHN,
    LAST,
    STATES,
    ContractError,
    RaisedElsewhereError,
    Target,
    TimeLimitError,
    not_interrupted,
    undisturbed,
    with_article,
)
from lstm_ref.cell import Cell

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
    last_step : bool
        Whether its h is the last step's (m, u), and not that of every step; decided here and nowhere else.
    kind : str
        What `error` is: "error", "timeout" where no answer came in time, "ended" where the target ended its process.
    refresh : callable
        Begins to write into `aliased` what the target's own arrays hold now, where those are in another process, and
        returns a function that waits for that.
    """

    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    stage: str = ""
    aliased: tuple[tuple[str, Any], ...] = ()
    written: tuple[str, ...] = ()
    last_step: bool = False
    kind: str = "error"
    refresh: Callable[[], Callable[[], None]] = field(default=lambda: lambda: None, compare=False)

    def shaped(self, name: str, value: Any, cell: Cell) -> Any:
        """Return what is due of a tensor for all steps in the shape in which the target returns that tensor."""
        return value[:, -1] if self.last_step and name == cell.outputs[0] else value

    @property
    def timed_out(self) -> bool:
        """Whether it gave no answer in time."""
        return self.kind == TimeLimitError.kind

    @property
    def sentence(self) -> str:
        """What went wrong, in one sentence."""
        return f"{self.stage} raised {self.error}" if self.stage else self.error


def call_target(target: Target, arrays: Arrays, sequences: bool, backward: bool = True) -> Outcome:
    """Return what a forward pass and a pullback of the target gave.

    Without `sequences`, a target that can return the last step alone is asked to; without `backward` there is no
    pullback and there are no gradients. Whatever the target does to the form of the arrays it is given, in place, is
    undone: that it may not write to them is the caller's to see, or stands in `written`.
    """
    if target.answers is not None:
        return begin(target, arrays, sequences, backward)()
    sequences = sequences or LAST in target.lacks
    stage, came = "forward", dict[str, Any]()
    given = arrays.given
    hidden, *_ = target.cell.outputs
    forms = {name: _form(value) for name, value in given.items()}
    written: list[str] = []
    try:
        with undisturbed():
            outputs, pullback = target.call(dict(given), sequences)
            came = {name: to_numpy(outputs[name]) for name in target.cell.outputs}
            last_step = _dimensions(outputs[hidden]) == 2 and not sequences
            if not backward:
                return Outcome(came, written=_reformed(given, forms), last_step=last_step)
            stage = "pullback"
            cotangents = cotangents_for(target, arrays, last_step)
            handed = {name: value.copy() for name, value in cotangents.items()}
            gradients = pullback(dict(handed))
            if not isinstance(gradients, Mapping):
                kind = with_article(type_name(gradients))
                raise ContractError(f"the pullback returned {kind}, expected gradients by name")
            # Of each key and value once: a mapping may give others the next time.
            returned = [(key_name(key), value) for key, value in gradients.items()]
            values = came | {name: to_numpy(value) for name, value in returned if name not in came}
        written += [n for n, value in cotangents.items() if not same_bits(np.asarray(handed[n]), np.asarray(value))]
        written += _reformed(given, forms)
        held = [*((name, outputs[name]) for name in came), *returned]
        aliased = tuple((name, value) for name, value in held if isinstance(value, np.ndarray))
        return Outcome(values, aliased=aliased, written=tuple(written), last_step=last_step)
    except ContractError as error:
        outcome = Outcome(came, error=str(error), kind=error.kind)
    except BaseException as error:
        not_interrupted(error)
        outcome = Outcome(came, error=describe_error(error), stage=stage)
    return replace(outcome, written=_reformed(given, forms))


def cotangents_for(target: Target, arrays: Arrays, last_step: bool) -> dict[str, Any]:
    """Return the cotangents as the target takes them: that of h for the last step alone if it is to be."""
    every, folded = arrays.cell.cotangents[0], arrays.cell.folded
    folds = bool(folded) and DHN in target.lacks
    dh, apart = arrays.dh_total if folds else arrays[every], {folded: arrays[folded]} if folded and not folds else {}
    return {
        every: dh[:, -1] if last_step else dh,
        **{name: arrays[name] for name in arrays.cell.finals.values()},
        **apart,
    }


def begin(
    target: Target,
    arrays: Arrays,
    sequences: bool,
    backward: bool = True,
    write_back: bool = True,
    more: bool = False,
) -> Callable[[], Outcome]:
    """Return a function that returns the outcome of a call, which a target elsewhere has then begun with.

    Calls are made in the order in which they are begun. Without `write_back` what such a target does to its inputs is
    not done to the arrays here, which may hold something else by the time that its answer is taken. Where `more` is
    begun at once, it goes there together.
    """
    if target.answers is None:
        outcome = call_target(target, arrays, sequences, backward)
        return lambda: outcome
    finish = target.answers([(arrays, sequences, backward)], write_back, more)
    return lambda: finish()[0]


def call_many(target: Target, many: Sequence[Arrays], sequences: bool, backward: bool = True) -> Iterator[Outcome]:
    """Yield what calls over many arrays give, one after the other; a target elsewhere is asked for all at once."""
    if target.answers is not None:
        yield from target.answers([(arrays, sequences, backward) for arrays in many])()
    else:
        # Each when it is asked for: where one hangs, who asks stops there.
        yield from (call_target(target, arrays, sequences, backward) for arrays in many)


Form = tuple[tuple[int, ...], np.dtype[Any], bool]


def _form(value: Any) -> Form:
    """Return what a target can change of an array besides its numbers."""
    return value.shape, value.dtype, value.flags.writeable


def _reformed(given: Mapping[str, Any], forms: Mapping[str, Form]) -> tuple[str, ...]:
    """Give arrays the form back that they had, and return the names of those of another shape or dtype.

    An array that was locked is unlocked and not named: a target may guard itself so.
    """
    changed = []
    for name, value in given.items():
        shape, dtype, writeable = forms[name]
        if value.shape != shape or value.dtype != dtype:
            changed.append(f"{name} (its shape or dtype)")
            _give_form(value, shape, dtype)
        if value.flags.writeable != writeable:
            value.flags.writeable = writeable
    return tuple(changed)


def _give_form(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Give an array a form in place; what it has lost of its numbers is zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setting either is deprecated, and here what is wanted
        value.shape = (value.size,)
        value.dtype = np.dtype(np.uint8)
        if value.size != dtype.itemsize * math.prod(shape):
            value.resize((dtype.itemsize * math.prod(shape),), refcheck=False)
        value.dtype = dtype
        value.shape = shape


def _dimensions(value: Any) -> int:
    """Return the number of dimensions of whatever a target returned."""
    count = getattr(value, "ndim", 0)
    return count if isinstance(count, int) else 0


def key_name(key: Any) -> str:
    """Return the name of a gradient, also where its key is no str."""
    if type(key) is str:
        return key
    try:
        return str(key)
    except BaseException as error:
        not_interrupted(error)
        return f"a {type_name(key)} as a key"


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


LONGEST_TEXT = 300
"""Letters of an exception's message that are shown."""


def describe_error(error: BaseException) -> str:
    """Return an exception's type, the first line of its message, and where in somebody's own code it was raised."""
    if isinstance(error, RaisedElsewhereError):
        return str(error)
    name, place = type_name(error), _place(error)
    try:
        lines = str(error).strip().splitlines()
    except BaseException as worse:
        not_interrupted(worse)
        lines = ["its text cannot be had"]
    return f"{name}: {printable(lines[0][:LONGEST_TEXT])}{place}" if lines else f"{name}{place}"


def type_name(value: Any) -> str:
    """Return the name of a value's type, as far as a metaclass lets it be had."""
    try:
        return printable(str(type(value).__name__)[:LONGEST_TEXT])
    except BaseException as error:
        not_interrupted(error)
        return "something"


def printable(text: str) -> str:
    """Return a text with escapes in place of what cannot be printed, or would steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _place(error: BaseException) -> str:
    """Return " (file.py, line 3)", the traceback's last line that is neither ours nor a library's; or nothing."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(OURS) or not path.is_absolute() or LIBRARIES & set(path.parts):
            continue
        return f" ({path.name}, line {frame.lineno})"
    return ""


def asked_of(target: Target, case: Case) -> Case:
    """Return the case, of the target's cell, at sizes that it takes, and zero where it does not take an input."""
    if (case.cell, case.absent) != (target.cell, target.absent):
        case = replace(case, cell=target.cell, absent=target.absent)
    return case.resized(target.limits.fit(case.sizes))


def can_run(target: Target, arrays: Arrays) -> str:
    """Return what the case asks of the target that it lacks; empty if nothing."""
    if STATES in target.lacks and any(arrays[name].any() for name in arrays.cell.initial):
        return STATES
    cell, without = arrays.cell, target.without_finals
    if "C" in without and any(arrays[name].any() for name in cell.of_memories):
        return DCN
    if "h" in without and any(arrays[name].any() for name in cell.of_hidden):
        return DHN
    if given := [name for name in target.absent if arrays[name].any()]:
        return given[0]
    return target.limits.refused(dict(zip(target.cell.letters, target.cell.sizes_of(arrays), strict=True)))


def with_time_limit(target: Target, seconds: float) -> Target:
    """Return the target with a limit on the time that a forward pass or a pullback may take.

    The limit is an alarm signal: it interrupts Python, and compiled code as soon as that returns to Python. Where there
    is no such signal, outside the main thread, and where a target blocks the signal or catches every BaseException,
    there is no limit; the commands judge a target in a process of its own, which they kill.

    Parameters
    ----------
    target : Target
    seconds : float
        Above 0; what takes longer raises TimeLimitError, "no answer within 10 s".
    """

    def limited(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with _alarm(seconds):
                outputs, pullback = function(*arguments, **named)

            def pull(cotangents: Mapping[str, Any]) -> Any:
                with _alarm(seconds):
                    return pullback(cotangents)

            return outputs, pull

        return call

    call_as = None if target.call_as is None else limited(target.call_as)
    return replace(target, call=limited(target.call), call_as=call_as)


class _OutOfTimeError(BaseException):
    """The time is over; no Exception, which a target's loop that tries again would catch."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError after so many seconds, and again after as many, should the target catch it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*ignored: Any) -> None:
        raise _OutOfTimeError

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    except _OutOfTimeError:
        raise TimeLimitError(f"no answer within {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def other_values(arrays: Arrays) -> None:
    """Write other values into the arrays of a case's inputs, made from those they hold."""
    for value in arrays.inputs.values():
        value[...] = np.roll(np.flip(value, -1) if value.ndim else value, 1) * 0.5 + 0.25


class FourCalls:
    """The calls that a target is asked for its answer on a case, in an order in which what it keeps shows.

    The first is over other values in the very arrays, so that nothing that it remembers of them can help; then its
    answer. Then comes another shape, and the answer again. What a target in another process is asked is begun when this
    is made, so that it works while the reference does; another is asked each time that somebody wants to know.

    Parameters
    ----------
    target, case
        What is asked, and on what.
    thorough : bool
        False for the answer alone; `earlier` is then an outcome of nothing.
    between : Case, optional
        The case of another shape.
    """

    def __init__(self, target: Target, case: Case, thorough: bool = True, between: Case | None = None) -> None:
        other = another_shape(case)
        self.target, self.case, self.between = target, case, between or other.resized(target.limits.fit(other.sizes))
        self.arrays = case.arrays.copy()
        self._earlier = self._begin_over_other_values() if thorough else Outcome
        self._answer = begin(target, self.arrays, case.sequences)
        self._early = self._begin_again() if thorough and target.answers is not None else None

    def _begin_over_other_values(self) -> Callable[[], Outcome]:
        """Begin a call for other values in the arrays, which then get the case's back."""
        other_values(self.arrays)
        outcome = begin(self.target, self.arrays, self.case.sequences, write_back=False, more=True)
        for name, value in self.arrays.items():
            value[...] = self.case.arrays[name]
        return outcome

    def _begin_again(self) -> list[Callable[[], Outcome]]:
        """Begin the calls for another shape, and for the case once more."""
        asked = (self.between, self.case)
        return [begin(self.target, one.arrays.copy(), self.case.sequences, more=one is self.between) for one in asked]

    @cached_property
    def earlier(self) -> Outcome:
        """What came for the other values."""
        return self._earlier()

    @cached_property
    def answer(self) -> Outcome:
        """What came for the case."""
        outcome = self._answer()
        if self._early is not None:
            _ = self.again  # or a hang in one of them would be the next case's
        return outcome

    @cached_property
    def again(self) -> tuple[Outcome, Outcome]:
        """What comes for another shape, and then for the case once more."""
        between, again = (call() for call in self._early or self._begin_again())
        return between, again

    @property
    def written(self) -> tuple[str, ...]:
        """The inputs and cotangents that the call for the answer wrote to."""
        before = self.case.arrays
        changed = (name for name, value in self.arrays.inputs.items() if not same_bits(value, before[name]))
        return (*changed, *self.answer.written)


def another_shape(case: Case) -> Case:
    """Return a case of another shape and other values, to be called in between."""
    return replace(case, m=case.m + 1, s=case.s % 3 + 1, e=case.e % 3 + 1, seed=case.seed + 1)


def overwritten(*outcomes: Outcome) -> list[str]:
    """Return the names of what a call returned and a later one has written to; of the first call of which there are."""
    for finish in [outcome.refresh() for outcome in outcomes]:
        finish()
    for outcome in outcomes:
        if found := [name for name, value in outcome.aliased if not same_bits(value, outcome.values[name])]:
            return found
    return []


def same_bits(left: Any, right: Any) -> bool:
    """Return whether two arrays are one to the bit."""
    if not (isinstance(left, np.ndarray) and isinstance(right, np.ndarray)):
        return left is right
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
