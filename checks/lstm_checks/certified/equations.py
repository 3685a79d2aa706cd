"""A cell's equations as text, for who reads its vectors in another language: the very lines that `lstm_ref` runs."""

import ast
import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from lstm_ref.cell import Cell
from lstm_ref.network import Network
from lstm_ref.slots import text_with_slots

_EQUATION = re.compile(r"^\s+(\w+ = .+?)\s+# \(\w+\)$")

_SLOT = {"sigmoid": "act_f", "tanh": "act_g", "squash": "act_h"}
"""What the functions of the slots are called where they are not the usual ones."""


def equations(cell: Cell) -> list[str]:
    """Return a cell's equations of a step, each as the reference's forward pass has it, and the functions in them.

    Examples
    --------
    >>> from lstm_ref.cells import cell_named
    >>> for line in equations(cell_named("rnn")):
    ...     print(line)
    g_ = X_s @ Ug + hp @ Vg + bg
    h = tanh(g_)
    tanh(x) = np.tanh(x)
    """
    if isinstance(cell, Network):
        return equations(cell.cell)
    text = text_with_slots(inspect.getsource((cell.written_as or cell).forward), cell)
    found = (_EQUATION.match(line) for line in text.splitlines())
    lines = [re.sub(r'p\["(\w+)"\]', r"\1", match[1]) for match in found if match]
    known = cell.forward.__globals__
    if cell.activations:
        # What is no longer tanh is not to be called so.
        known = known | {_SLOT[name]: known[name] for name in _SLOT}
        lines = [re.sub(r"\b(sigmoid|tanh|squash)\(", lambda match: f"{_SLOT[match[1]]}(", line) for line in lines]
    called = dict.fromkeys(name for line in lines for name in re.findall(r"(\w+)\(", line) if callable(known.get(name)))
    return [*lines, *(_function(name, known[name]) for name in called)]


def _function(name: str, function: Callable[..., Any]) -> str:
    """Return a function of one line as an equation, its numbers and other names with their values."""
    plain = function.func if isinstance(function, partial) else function
    numbers = dict(function.keywords) if isinstance(function, partial) else {}
    definition = ast.parse(inspect.getsource(plain)).body[0]
    assert isinstance(definition, ast.FunctionDef)
    last = definition.body[-1]
    assert isinstance(last, ast.Return)
    assert last.value is not None
    named = {node.id for node in ast.walk(last.value) if isinstance(node, ast.Name)}
    numbers |= {key: value for key, value in plain.__globals__.items() if key in named and isinstance(value, float)}
    with_numbers = "; " + ", ".join(f"{key} = {value!r}" for key, value in numbers.items()) if numbers else ""
    return f"{name}({definition.args.args[0].arg}) = {ast.unparse(last.value)}{with_numbers}"
