"""Slips of the pen: every equation of `lstm_ref` with one word of it wrong, made from its source and not written down.

The catalogue holds what people are known to write. Beside it there is what anybody may write by one wrong word: another
value for the one that is due, a factor or a term left out, a sign, another gate's weights, the wrong activation. The
diagnosis tries them where no catalogued fault fits.
"""

import ast
import re
import sys
from collections.abc import Container, Iterator
from functools import cache

from lstm_checks.cases import Case
from lstm_checks.contract import PLAIN
from lstm_checks.faults.model import Fault, Patch, function_of, runs_at_all_sizes, source
from lstm_ref.cell import Cell, run_forward
from lstm_ref.network import Network

FAMILY = "slips"
ID = "slip"

PARTS = ("forward", "backward", "gradients")
"""The parts of a cell that have equations of their own."""

_EXPLANATION = "One word of an equation is another."
_OF_OTHER_SHAPE = ("X_s", "dX")

_TWINS = {
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "sigmoid_derivative": "tanh_derivative",
    "tanh_derivative": "sigmoid_derivative",
}


@cache
def slips(part: str, cell: Cell = PLAIN) -> tuple[Fault, ...]:
    """Return the slips in one part of a cell.

    Parameters
    ----------
    part : str
        "forward", "backward" or "gradients".
    cell : Cell
        Whose source they are made from; of a network they are its cell's, at every place at once.

    Examples
    --------
    >>> [slip.title for slip in slips("backward")][0]
    'dh_ = dA_s, not dA_s + dhn'
    """
    if isinstance(cell, Network):
        return slips(part, cell.cell)
    made = _of_gradients(cell) if part == "gradients" else _of_a_step(part, cell)
    # Where states are of several sizes, one put in another's place mostly has no shape that could go on.
    return tuple(slip for slip in made if runs_at_all_sizes(slip, cell))


def _of_a_step(part: str, cell: Cell) -> Iterator[Fault]:
    """Yield the slips in the equations of a step."""
    text = source(part, cell)
    (loop,) = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.For))
    fetched = _fetched(loop)
    there = function_of(part, cell).__globals__
    kept = (
        cell.initial if part == "forward" else tuple(f'fc["{n}"][..., s, :]' for n in _kept(cell) if n not in fetched)
    )
    known: list[str] = []
    for statement in loop.body:
        if not isinstance(statement, ast.Assign):
            continue
        names = [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        line = text.splitlines()[statement.lineno - 1]
        # The number of an equation stands behind it; all other lines keep books.
        if "# (" in line:
            for new in dict.fromkeys(_changed(line, statement.value, (*known, *kept), fetched, cell, there)):
                if _has_its_shape(new.strip(), names, cell):
                    yield _slip(part, line.strip(), new.strip())
        # After its own line: what a step has not computed yet could only raise.
        known += [name for name in names if name not in (*_of_other_shape(cell), *known)]


def _fetched(loop: ast.For) -> tuple[str, ...]:
    """Return the names of what a step of the backward pass takes from the forward pass, in one statement."""
    for node in ast.walk(loop):
        if isinstance(node, ast.GeneratorExp):
            return tuple(ast.literal_eval(node.generators[0].iter))
    return ()


def _kept(cell: Cell) -> tuple[str, ...]:
    """Return what else of the forward pass has the shape (m, u): the states, after and before, and what is linear."""
    hidden, *others = cell.states
    return (hidden.name, f"{hidden.name}p", *(state.kept_as for state in others), *(f"{gate}_" for gate in cell.gates))


def _has_its_shape(line: str, assigned: list[str], cell: Cell) -> bool:
    """Return whether what a line assigns can still be of the shape (m, u), where nothing else would do."""
    value = ast.parse(line).body[0].value  # type: ignore[attr-defined]
    if isinstance(value, ast.Name):
        return value.id not in _of_other_shape(cell)[len(_OF_OTHER_SHAPE) :]
    # A state of parameters alone would have one sample, and the next step's could not be put beside it.
    states = {state.kept_as for state in cell.states} & {*assigned}
    return not states or any(isinstance(node, ast.Name) and node.id != "p" for node in ast.walk(value))


@cache
def _of_other_shape(cell: Cell) -> tuple[str, ...]:
    """Return the names in a cell's lines of what is not of the shape (m, u), and so could only raise elsewhere."""
    case = Case(2, 1, 3, 4, cell=cell)
    fc = run_forward(cell, case.arrays)
    return (*_OF_OTHER_SHAPE, *(name for name, value in fc.items() if value.shape[-1] != case.u))


def _of_gradients(cell: Cell) -> Iterator[Fault]:
    """Yield the slips in what the parameters' gradients are made of: of each gate's, and of those that stand alone."""
    made_of = {"dU": "X", "dV": "hp", "db": ""}
    hidden, *others = cell.states
    memories = [name for state in others for name in (f"{state.name}p_", state.kept_as, state.name)]
    lines = [line.strip() for line in source("gradients", cell).splitlines()]
    # The gradients that stand alone: the line of each, and all that it takes from the passes.
    alone = [
        (line, found[1], due)
        for line in lines
        if (found := re.match(r'g\["(\w+)"\] = ', line))
        for due in re.findall(r'[bf]c\["(\w+)"\]', line)
    ]
    cotangents = [*(f"d{gate}_" for gate in cell.gates), f"d{hidden.name}_", *(f"d{state.kept_as}" for state in others)]
    cotangents += [due for _, _, due in alone if f'bc["{due}"]' in source("gradients", cell) and due not in cotangents]
    for kind, what in made_of.items():
        (old,) = (line for line in lines if f'g[f"{kind}{{gate}}"] = ' in line)
        right = old.partition(" = ")[2]
        for gate in _looped(old, cell):
            changes = {(f"d{gate}_", other): ("dk_", f'_steps_first(bc["{other}"])') for other in cotangents}
            states = (hidden.name, *memories) if kind == "dV" else ()
            changes |= {(what, other): (what, f'_steps_first(fc["{other}"])') for other in states}
            for (due, other), (word, new) in changes.items():
                # A bias may be one of something else than the linear activation.
                if due != other and word in right:
                    more = f'if gate == "{gate}":\n            g["{kind}{gate}"] = {right.replace(word, new)}'
                    patch = Patch("gradients", old, f"{old}\n        {more}")
                    yield Fault(ID, FAMILY, f"{kind}{gate} is made of {other}, not {due}", _EXPLANATION, (patch,))
    values = [f"{hidden.name}p", hidden.name, *memories]
    for old, name, due in alone:
        for other in cotangents if due in cotangents else values:
            if other != due:
                patch = Patch("gradients", old, old.replace(f'c["{due}"]', f'c["{other}"]'))
                yield Fault(ID, FAMILY, f"{name} is made of {other}, not {due}", _EXPLANATION, (patch,))


def _looped(line: str, cell: Cell) -> tuple[str, ...]:
    """Return the gates that the loop runs over in which a line of the gradients stands."""
    text = source("gradients", cell)
    at = next(number for number, other in enumerate(text.splitlines(), 1) if other.strip() == line)
    loops = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.For))
    (loop,) = (loop for loop in loops if loop.lineno <= at <= (loop.end_lineno or at))
    over = eval(ast.unparse(loop.iter), vars(sys.modules[cell.parameter_gradients.__module__]))
    return tuple(over)


def _slip(part: str, old: str, new: str) -> Fault:
    """Return a slip as a fault, whose title says what the equation came as, or which of its many terms did."""
    name, was = _equation(old)
    _, became = _equation(new)
    terms = [re.split(r" (?=[+-] )", f"+ {side}") for side in (was, became)]
    changed = [(one, other) for one, other in zip(*terms, strict=False) if one != other]
    if len(terms[0]) == len(terms[1]) > 3 and len(changed) == 1:
        one, other = changed[0]
        # The sign is shown where it is what changed.
        both = (other, one) if one[0] != other[0] else (other[2:], one[2:])
        title = f"in {name}, {both[0]}, not {both[1]}"
    else:
        title = f"{name} = {became}, not {was}"
    return Fault(ID, FAMILY, title, _EXPLANATION, (Patch(part, old, new),))


def _equation(line: str) -> tuple[str, str]:
    """Return the two sides of a line, in letters alone."""
    plain = re.sub(r'p\["(\w+)"\]|fc\["(\w+)"\]\[\.\.\., s, :\]', r"\1\2", line.partition("  # ")[0])
    plain = re.sub(r'fc\["(\w+)"\]\[\.\.\., (.*?), :\]', r"\1[\2]", plain)
    left, _, right = plain.replace("dA.shape[-2] - 1", "last").partition(" = ")
    return left, right


def _changed(
    line: str,
    expression: ast.expr,
    others: tuple[str, ...],
    fetched: tuple[str, ...],
    cell: Cell,
    there: Container[str],
) -> Iterator[str]:
    """Yield a line with one word of its expression changed, in every way; what is fetched may be another step's.

    A function's twin is put in where it is `there`, imported by the cell's file.
    """

    def put(node: ast.expr, new: str) -> str:
        return line[: node.col_offset] + new + line[node.end_col_offset :]

    def text(node: ast.expr) -> str:
        return line[node.col_offset : node.end_col_offset]

    called = {id(node.func) for node in ast.walk(expression) if isinstance(node, ast.Call)}
    for node in ast.walk(expression):
        match node:
            case ast.Name() if id(node) in called:
                # A function of the cell's own has none.
                if _TWINS.get(node.id, "") in there:
                    yield put(node, _TWINS[node.id])
            case ast.Name() if node.id not in ("p", *_of_other_shape(cell)):
                yield from (put(node, other) for other in others if other != node.id)
                if node.id in fetched:
                    for step in ("s - 1", "max(s - 1, 0)", "min(s + 1, dA.shape[-2] - 1)"):
                        yield put(node, f'fc["{node.id}"][..., {step}, :]')
            case ast.Call(args=[argument]):
                yield put(node, text(argument))
            case ast.Constant(value=str(key)):
                yield from (put(node, f'"{other}"') for other in cell.parameters if other[0] == key[0] and other != key)
            case ast.Attribute(value=ast.Subscript(slice=ast.Constant(value=str(key)))) if key[0] == "V":
                yield put(node, text(node.value))
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                yield from (put(node, text(left)), put(node, text(right)))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                yield from (put(node, text(left)), put(node, text(right)))
                yield put(node, f"{text(left)} - {text(right)}")
                yield put(node, f"-({text(left)}) + {text(right)}")
                yield put(node, f"{text(left)} + 2 * {text(right)}")
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                # A number alone has no shape.
                yield put(node, text(right) if isinstance(left, ast.Constant) else text(left))
                yield put(node, f"{text(left)} + {text(right)}")
                yield put(node, f"{text(right)} - {text(left)}")
    yield from (put(expression, f"{factor}({text(expression)})") for factor in ("-", "2 * ", "0.5 * ", "0 * "))
