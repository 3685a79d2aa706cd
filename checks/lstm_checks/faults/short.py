"""Faults of low precision, and programs that have them: a precision contract carried out, and one thing besides.

In float64 such a fault is one of precision like any other. In a short format it is a fault only where the contract does
not allow it: a sum in bfloat16 is as it should be under `all` and wrong under `gates32`. So each has the contracts that
excuse it, and the program that it is planted in keeps a contract to the letter (`arithmetic.mixed.Emulated`):
with the fault it is wrong by that alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from lstm_checks.arithmetic.mixed import Emulated, MixedArray
from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.faults import short_roundings
from lstm_checks.faults.model import Fault, Patch, patched_source, planted
from lstm_checks.formats import PARTS, Format, array_dtype, dtype_of, dtype_word, format_named, to_short
from lstm_checks.oracles.stored import storing_as_written
from lstm_ref.cell import Cell, evaluate, evaluate_gradients, run_backward, run_forward

FAMILY = "low precision"
KIND = "lstm_ref in low precision with a planted fault"
BESIDES = "gates32"
"""The contract that such a program keeps where none is said."""


@dataclass(frozen=True)
class ShortFault:
    """A known bug of LSTMs in low precision.

    Parameters
    ----------
    id, title, explanation
        As of `Fault`.
    excused : tuple of str
        The contracts under which it is none, of those that have a name, and any of their own.
    formats : tuple of str
        The formats in which it can be.
    parts : tuple of str
        The parts of the computation (`formats.PARTS`) that are short whatever the contract says.
    patches : tuple of Patch
        What else changes in the reference's source. They may use what `short_roundings` has.
    rounding : callable
        How the program rounds to the short format.
    """

    id: str
    title: str
    explanation: str
    excused: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("bfloat16", "float16")
    parts: tuple[str, ...] = ()
    patches: tuple[Patch, ...] = ()
    rounding: Callable[[Any, str], Any] = to_short

    def is_excused(self, name: str) -> bool:
        """Return whether a format, with its contract, excuses it."""
        form = format_named(name)
        return name.partition("+")[2] in self.excused or any(
            format_named(f"{form.base}+{contract}").name == form.name for contract in self.excused
        )

    @property
    def as_patch(self) -> Fault:
        """What it changes in the reference's source, as any fault."""
        return Fault(self.id, FAMILY, self.title, self.explanation, self.patches)


def evaluate_short(fault: "Fault | ShortFault | None", case: Case, arrays: Arrays | None = None) -> dict[str, Any]:
    """Return the outputs and gradients of a program that keeps the contract of a case's format, but for a fault.

    Parameters
    ----------
    fault : Fault, ShortFault or None
        One that is patches of the reference; None for none.
    case : Case
        In a format of low precision.
    arrays : Arrays, optional
        Other values than the case's own.

    Returns
    -------
    dict
        By name, in arrays of the format.
    """
    form = format_named(case.dtype)
    program = _program(fault, form)
    given = (case.arrays if arrays is None else arrays).astype(np.float64).each(program.exact)
    with np.errstate(all="ignore"):
        found = evaluate(_planted(fault, case.cell), given)
        return {name: _out(program, value, case.dtype) for name, value in found.items()}


def short_target(fault: "Fault | ShortFault | None", name: str = "", cell: Cell = PLAIN) -> Target:
    """Return a program that keeps a contract but for a fault, as a target.

    Parameters
    ----------
    fault : Fault, ShortFault or None
        As of `evaluate_short`; one that lives between calls is put round the program.
    name : str
        The format with its contract; where empty, the format is that of what the target is given, and the contract
        is `BESIDES`.
    """
    formats = fault.formats if isinstance(fault, ShortFault) else (format_named(name).base,) if name else ("bfloat16",)
    wrong = _planted(None if getattr(fault, "wrap", None) else fault, cell)

    def call(inputs: Mapping[str, Any], sequences: bool = True) -> Any:
        word = dtype_word(inputs["X"].dtype)
        form = name or f"{'bfloat16' if word == 'bfloat16' else dtype_of(word).name}+{BESIDES}"
        program = _program(fault, format_named(form))

        def exact(values: Mapping[str, Any]) -> dict[str, Any]:
            return {key: program.exact(np.array(value, np.float64)) for key, value in values.items()}

        given = exact({key: value for key, value in inputs.items() if value is not None})
        with np.errstate(all="ignore"):
            fc = run_forward(wrong, given)
        outputs = {key: _out(program, value, form) for key, value in wrong.outputs_of(fc).items()}

        def pullback(cotangents: Mapping[str, Any]) -> dict[str, Any]:
            arriving = exact({key: value for key, value in cotangents.items() if value is not None})
            sizes = cell.sizes_of(inputs)
            none = {key: np.zeros(cell.shape(key, *sizes)) for key in cell.cotangents if key not in arriving}
            with np.errstate(all="ignore"):
                bc = run_backward(wrong, {**given, **exact(none), **arriving}, fc)
                found = evaluate_gradients(wrong, fc, bc)
                return {key: _out(program, value, form) for key, value in found.items()}

        return outputs, pullback

    target = Target(
        fault.id if fault else f"lstm_ref in {name}",
        KIND,
        call,
        dtypes=formats,
        cell=cell,
        optional=frozenset(cell.cotangents),
        also=(),
    )
    wrap = getattr(fault, "wrap", None)
    return wrap(target) if wrap else target


def _program(fault: "Fault | ShortFault | None", form: Format) -> Emulated:
    """Return the arithmetic of a program that keeps a format's contract, but for what a fault has short."""
    if not isinstance(fault, ShortFault):
        return Emulated(form)
    parts = tuple(part for part in PARTS if part in {*form.parts, *fault.parts})
    return Emulated(replace(form, parts=parts), fault.rounding)


def _out(program: Emulated, value: Any, form: str) -> Any:
    """Return an output or a gradient as it comes back, in an array of the format."""
    plain = program.returned(value) if isinstance(value, MixedArray) else value
    return np.asarray(plain).astype(np.float64)[0].astype(array_dtype(form))


def _planted(fault: "Fault | ShortFault | None", cell: Cell) -> Cell:
    """Return a cell with a fault in its source, whose values are stored as a contract says."""
    return _planted_in(fault.as_patch if isinstance(fault, ShortFault) else fault, cell)


@cache
def _planted_in(fault: Fault | None, cell: Cell) -> Cell:
    """Return a cell with the patches of a fault, with what these may use in reach."""
    wrong = planted((fault,) if fault else (), cell)
    texts = {part: patched_source(fault, part, cell) for part in ("forward", "backward")}
    for function in (wrong.forward, wrong.backward, wrong.parameter_gradients):
        function.__globals__.update(_IN_REACH)
        for name in ("sigmoid", "sigmoid_derivative"):
            if name in function.__globals__:
                function.__globals__[name].__globals__.update(_IN_REACH)
    return storing_as_written(wrong, texts)


_IN_REACH = {name: getattr(short_roundings, name) for name in short_roundings.__all__}
