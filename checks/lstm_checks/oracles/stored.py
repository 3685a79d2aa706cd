"""A cell whose states and gates are stored in the formats of a precision contract: rounding to storage as an operation.

The reference's equations do not say where a value is stored. So each function of a cell is compiled once more with the
right sides of some of its statements handed to `stored`: ``h = o * C`` becomes ``h = stored("h", o * C)``. What a
statement assigns is what the contract's parts are told by: the states that a cell hands on, their cotangents, and in
the forward pass all other intermediates, which are kept for the backward pass.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from lstm_checks.arithmetic.mixed import Mixed, MixedArray
from lstm_ref.cell import Cell
from lstm_ref.network import Network
from lstm_ref.slots import text_with_slots


@cache
def storing(cell: Cell) -> Cell:
    """Return a cell whose values are stored as the contract says of the arithmetic that its arrays are of.

    Parameters
    ----------
    cell : Cell
        A cell or a network.
    """
    if isinstance(cell, Network):
        others = {place.suffix: storing(place.cell) for place in cell.places}
        return replace(cell, others=others, passes=(*cell.passes[:2], _summing(cell.passes[2])))
    return storing_as_written(cell, {})


def storing_as_written(cell: Cell, texts: Mapping[str, str]) -> Cell:
    """Return the same of a cell of which the source of some passes is not the function's own file's.

    Parameters
    ----------
    cell : Cell
    texts : mapping
        The source that the pass "forward", or "backward", was compiled from; its own where it is not there.
    """
    hidden, *others_of = cell.states
    handed = {f"d{state.name}": "cotangents" for state in cell.states}
    kept = {hidden.kept_as: "h"} | {state.kept_as: "C" for state in others_of}
    return replace(
        cell,
        forward=_compiled(cell, cell.forward, texts.get("forward"), kept, "kept"),
        backward=_compiled(cell, cell.backward, texts.get("backward"), handed, ""),
        parameter_gradients=_summing(cell.parameter_gradients),
    )


def _compiled(
    cell: Cell, function: Callable[..., Any], text: str | None, parts: Mapping[str, str], others: str
) -> Callable[..., Any]:
    """Return a function of a cell with what its statements assign stored, each name by its part."""
    text = textwrap.dedent(inspect.getsource(function) if text is None else text)
    tree = ast.parse(text_with_slots(text, cell))
    tree = ast.fix_missing_locations(_Storing(parts, others).visit(tree))
    namespace = {**function.__globals__, "stored": stored}
    exec(compile(tree, f"{function.__code__.co_filename} (stored)", "exec"), namespace)
    found: Callable[..., Any] = namespace[function.__name__]
    return found


class _Storing(ast.NodeTransformer):
    """Wraps the right sides of what a pass computes at each step."""

    def __init__(self, parts: Mapping[str, str], others: str) -> None:
        self.parts, self.others, self.in_loop = parts, others, False

    def visit_For(self, node: ast.For) -> ast.For:
        """Look at the statements of a loop over steps."""
        self.in_loop = True
        node.body = [self.visit(statement) for statement in node.body]
        self.in_loop = False
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        """Wrap the right side of a statement that computes one value; names alone and slices compute none."""
        target = node.targets[0]
        if not self.in_loop or not isinstance(target, ast.Name) or not isinstance(node.value, ast.BinOp | ast.Call):
            return node
        part = self.parts.get(target.id, self.others)
        if part:
            name = ast.Name("stored", ast.Load())
            node.value = ast.Call(name, [ast.Constant(part), node.value], [])
        return node


def stored(part: str, value: Any) -> Any:
    """Return a value as it is stored in the format of a part."""
    return value.rounding.stored(part, value) if isinstance(value, MixedArray) else value


def _summing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of the parameters' gradients, whose sums are a part of the contract by themselves."""

    def gradients(*passes: Any) -> Any:
        mixed = _mixed_of(passes[-1])
        if mixed is None:
            return function(*passes)
        with mixed.summing("dsums"):
            return function(*passes)

    return gradients


def _mixed_of(found: Any) -> Mixed | None:
    """Return the arithmetic that the values of a pass are of."""
    for value in found.values():
        inner = _mixed_of(value) if isinstance(value, Mapping) else getattr(value, "rounding", None)
        if isinstance(inner, Mixed):
            return inner
    return None
