"""Faults of second order: the gradient is right, and its derivative is not.

Written by hand, a double backward pass is the backward pass's equations differentiated once more. Two things go wrong
in it that the gradient knows nothing of: values that are detached, one or a group of them, so that what hangs on them
does not move, and any slip of the pen. Both are made from the source of the backward pass and of the parameters'
gradients; what runs with them is that source in dual numbers, for the second derivative alone.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN, TWICE, Target
from lstm_checks.faults.differentiated import answer_in
from lstm_checks.faults.model import Fault, Patch, planted, source
from lstm_checks.faults.slips import slips
from lstm_ref.cell import Cell

FAMILY = "second order"
_EXPLANATION = "No equation is violated in the gradient; in its derivative values do not move, or a word is another."


def patched_in(ways: tuple[str, ...], *patches: Patch) -> Callable[[Target], Target]:
    """Return a wrapper round a target whose source is patched where it is differentiated in some ways alone."""

    def wrap(target: Target) -> Target:
        fault = Fault("in-some-ways", FAMILY, "", "", patches)

        def call_as(inputs: Mapping[str, Any], sequences: bool, how: Mapping[str, Any]) -> Any:
            assert target.call_as is not None
            if how.get("way") not in ways:
                return target.call_as(inputs, sequences, how)
            given = {name: np.array(value) for name, value in inputs.items()}
            outputs, _ = target.call(given, sequences)
            return outputs, answer_in(how["way"], planted((fault,), target.cell), target.call, given)

        return replace(target, call_as=call_as)

    wrap.patches = patches  # type: ignore[attr-defined]  # that it is known which cells have these lines
    return wrap


@cache
def second_order_faults(cell: Cell = PLAIN, slips_each: int = 1) -> tuple[Fault, ...]:
    """Return the faults of second order of a cell: values detached, alone or in groups, and the backward parts' slips.

    Parameters
    ----------
    cell : Cell
    slips_each : int
        Which of the slips: every first, or every so many-th.

    Examples
    --------
    >>> second_order_faults(slips_each=100)[0].title
    'in dh_ = dA_s + dhn, dhn is detached.'
    """
    made = [*_detached("backward", cell), *_detached("gradients", cell)]
    of_slips = [slip for part in ("backward", "gradients") for slip in slips(part, cell)][::slips_each]
    made += [(slip.patches, f"in the derivative {slip.title}") for slip in of_slips]
    made += [(_detaching(part, wanted, cell), title) for part, wanted, title in _BY_HAND]
    return tuple(
        Fault(f"second-order-{k}", FAMILY, f"{title}.", _EXPLANATION, wrap=patched_in(TWICE, *patches))
        for k, (patches, title) in enumerate(made)
        if _differs(patches, cell)
    )


def _detached(part: str, cell: Cell) -> Iterator[tuple[tuple[Patch, ...], str]]:
    """Yield the patches that detach one value in one equation, each with its title."""
    text = source(part, cell)
    lines = text.splitlines()
    for statement in ast.walk(ast.parse(text)):
        if not isinstance(statement, ast.Assign) or "# (" not in lines[statement.lineno - 1]:
            continue
        line = lines[statement.lineno - 1]
        values = _values(statement.value)
        for node in ast.walk(statement.value):
            if not isinstance(node, ast.expr) or ast.unparse(node) not in values or text.count(line.strip()) != 1:
                continue
            word = line[node.col_offset : node.end_col_offset]
            new = f'{line[: node.col_offset]}getattr({word}, "value", {word}){line[node.end_col_offset :]}'
            told = line.partition("  # ")[0].strip()
            yield (Patch(part, line.strip(), new.strip()),), f"in {told}, {word} is detached"


_BY_HAND = (
    (
        "backward",
        r"(sigmoid|tanh)_derivative\(\w+\)",
        "no activation's derivative moves, as in Gauss and Newton's product",
    ),
    (
        "backward",
        r"fc\[name\]\[\.\.\., s, :\]",
        "nothing that the forward pass has saved moves but in the weights' gradients",
    ),
    ("backward", r'p\["V\w"\]', "no recurrent weights move in the backward pass"),
    ("backward", r'p\["U\w"\]', "no input weights move in the backward pass"),
    ("backward", r"(?<=dhn, dCn = )dh(?=, dC$)", "what the hidden state passes on to the step before does not move"),
    ("backward", r"(?<=dhn, dCn = dh, )dC$", "what the memory passes on to the step before does not move"),
    ("gradients", r'fc\["\w+"\]', "nothing that the forward pass has saved moves in the weights' gradients"),
    ("gradients", r'bc\[f"d\{gate\}_"\]', "no cotangent moves in the weights' gradients"),
)
"""What people detach besides one value of one equation: a part, which words of its lines do not move there, a title."""


def _detaching(part: str, wanted: str, cell: Cell) -> tuple[Patch, ...]:
    """Return the patches that detach what a pattern finds in the lines of a part that assign."""
    lines = [line.strip() for line in source(part, cell).splitlines() if " = " in line]
    changed = {
        line: re.sub(wanted, r'getattr(\g<0>, "value", \g<0>)', line) for line in lines if lines.count(line) == 1
    }
    return tuple(Patch(part, line, new) for line, new in changed.items() if new != line)


def _values(expression: ast.expr) -> set[str]:
    """Return what stands for values in an equation: names that are no functions', and what is looked up by a word."""
    found = [*ast.walk(expression)]
    looked_up = [n for n in found if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Constant)]
    others = {n.func.id for n in found if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    others |= {n.value.id for n in looked_up if isinstance(n.value, ast.Name)} | {"np"}
    names = {n.id for n in found if isinstance(n, ast.Name)} - others
    return names | {ast.unparse(n) for n in looked_up}


def _differs(patches: tuple[Patch, ...], cell: Cell) -> bool:
    """Return whether patches change the second derivative at all: not what does not move, and what does not run."""
    case = Case(2, 3, 2, 2, seed=1, cell=cell)
    rng = np.random.default_rng(0)
    direction = {f"t{name}": rng.standard_normal(value.shape) for name, value in case.arrays.inputs.items()}
    given = {**case.arrays.cotangents, **direction}
    wrong = (Fault("tried", FAMILY, "", "", patches),)
    try:
        due, came = (
            answer_in(TWICE[1], planted(of, cell), lambda *_: None, case.arrays.inputs)(given) for of in ((), wrong)
        )
    except (TypeError, ValueError, AttributeError, KeyError):
        return False
    return any(not np.allclose(came[name], due[name], rtol=1e-9, atol=1e-12) for name in due)
