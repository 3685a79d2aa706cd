"""A cell's equations as a graph, read from the source of its forward pass, and where a change of that is."""

import ast
import difflib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from lstm_ref.cell import Cell


@dataclass(frozen=True)
class Equation:
    """One statement of a step: what it makes, its number, how it reads, of what it is made, and its parameters."""

    name: str
    number: str
    text: str
    of: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Equations:
    """The statements of a step, and the values that come from the step before, each with what it is the last value of.

    `previous` has by its name, `hp`, what it was, `h`; `X_s` is there besides. `states` has by the name of a state what
    it is called before the step.
    """

    statements: Mapping[str, Equation]
    previous: Mapping[str, str]
    states: Mapping[str, str]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a step is given."""
        return ("X_s", *self.previous)


@dataclass(frozen=True)
class Wrong:
    """What is wrong of a drawing: names of its boxes, and ways between two of them; as forward passes have them."""

    boxes: frozenset[str] = frozenset()
    ways: frozenset[tuple[str, str]] = field(default=frozenset())

    def __bool__(self) -> bool:
        return bool(self.boxes or self.ways)


def equations_of(cell: Cell) -> Equations:
    """Return the equations of a step of a cell; of a network, those of what stands at each of its places."""
    cell = cell.places[0].cell if cell.places else cell
    cell = cell.written_as or cell
    source = textwrap.dedent(inspect.getsource(cell.forward))
    lines = source.splitlines()
    (loop,) = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For)]
    previous: dict[str, str] = {}
    found: dict[str, Equation] = {}
    for node in loop.body:
        if not isinstance(node, ast.Assign):
            continue
        number = re.search(r"# \((\w+)\)", lines[node.lineno - 1])
        (to,) = node.targets
        names, values = ((side.elts if isinstance(side, ast.Tuple) else [side]) for side in (to, node.value))
        pairs = list(zip(names, values, strict=False))
        handed = [(a.id, b.id) for a, b in pairs if isinstance(a, ast.Name) and isinstance(b, ast.Name)]
        if number is None and len(handed) == len(names) == len(values):
            previous |= dict(handed)
        elif number is not None and isinstance(to, ast.Name):
            known = (*found, "X_s", *previous)
            used = dict.fromkeys(n.id for n in ast.walk(node.value) if isinstance(n, ast.Name) and n.id in known)
            found[to.id] = Equation(
                to.id, f"({number[1]})", reads(node.value), tuple(used), tuple(_parameters(node.value))
            )
    before = {of: name for name, of in previous.items()}
    return Equations(found, previous, {state.name: before[state.kept_as] for state in cell.states})


def _parameters(node: ast.AST) -> Iterator[str]:
    """Yield the parameters in an expression."""
    for one in ast.walk(node):
        if isinstance(one, ast.Subscript) and isinstance(one.slice, ast.Constant):
            yield str(one.slice.value)


def reads(node: ast.AST) -> str:
    """Return an expression as the README writes it: a product of matrices without a sign."""
    text = re.sub(r"\bp\['(\w+)'\]", r"\1", ast.unparse(node))
    return text.replace(" @ ", " ")


AFTER = "the step after: "
"""How a box is named that a value goes to which is handed on."""


def wrong_by_diff(equations: Equations, diff: str) -> Wrong:
    """Return what a change of the reference's source alters: by its statements, which are forward or backward ones."""
    removed, added = (_statements(diff, sign) for sign in "-+")
    boxes: set[str] = set()
    ways: set[tuple[str, str]] = set()
    for text in (*removed, *(text for text in added if not _of_the_same(text, removed))):
        others = [other for other in (*removed, *added) if other != text and _of_the_same(other, [text])]
        changed = _of_statement(equations, text, _differing(text, others[0]) if others else frozenset())
        boxes |= changed.boxes
        ways |= changed.ways
    return Wrong(frozenset(boxes), frozenset(ways))


def _statements(diff: str, sign: str) -> list[str]:
    """Return the lines that a diff removes, or adds, but for its head."""
    lines = [line for line in diff.splitlines() if line.startswith(sign) and not line.startswith(3 * sign)]
    return [line[1:].partition("#")[0].strip() for line in lines]


def _of_the_same(text: str, others: Sequence[str]) -> bool:
    """Return whether a statement makes what one of some others makes."""
    return any(text.partition("=")[0] == other.partition("=")[0] for other in others)


def _differing(text: str, other: str) -> frozenset[str]:
    """Return the names in those parts of a statement, or of another, in which the two differ."""
    left, right = (re.findall(r"\w+|\S", one) for one in (text, other))
    parts = difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    return frozenset(
        word for tag, a, b, c, d in parts if tag != "equal" for word in (*left[a:b], *right[c:d]) if word.isidentifier()
    )


def _of_statement(equations: Equations, text: str, changed: frozenset[str]) -> Wrong:
    """Return what a changed statement is about, by the names that are changed in it; nothing where it is no step's."""
    try:
        (node,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        return Wrong()
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return Wrong()
    to = node.targets[0]
    if isinstance(to, ast.Subscript):
        return Wrong(frozenset(_of_parameter(equations, ast.unparse(to))))
    if isinstance(to, ast.Tuple):
        return _of_handing_on(equations, {n.id for n in to.elts if isinstance(n, ast.Name)}, changed)
    if not isinstance(to, ast.Name):
        return Wrong()
    if to.id in equations.statements:
        of = equations.statements[to.id].of
        return Wrong(frozenset({to.id}), frozenset((one, to.id) for one in of if one in changed or not changed & {*of}))
    made = box_of(equations, to.id)
    if made is None:
        return Wrong()
    used = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name) and box_of(equations, n.id)}
    used = used & changed or used
    ends = {_end_of(equations, name) for name in used}
    return Wrong(frozenset({made}), frozenset((made, end) for end in ends if made in _made_of(equations, end)))


def _of_handing_on(equations: Equations, names: Set[str], changed: Set[str]) -> Wrong:
    """Return which ways from the step after are wrong where cotangents are handed on wrongly: dhn, dCn = dh, dC."""
    handed = {f"d{name}": (equations.previous[before], AFTER + before) for name, before in equations.states.items()}
    ways = [way for name, way in handed.items() if f"{name}n" in names and (name in changed or f"{name}n" in changed)]
    every = [way for name, way in handed.items() if f"{name}n" in names]
    return Wrong(frozenset(), frozenset(ways or every))


def _end_of(equations: Equations, cotangent: str) -> str:
    """Return from which box a cotangent comes: what comes from the step after is what was handed to it."""
    box = box_of(equations, cotangent) or ""
    handed = [before for before, of in equations.previous.items() if of == box and cotangent.endswith("n")]
    return AFTER + handed[0] if handed else box


def _made_of(equations: Equations, name: str) -> tuple[str, ...]:
    """Return of what a box is made."""
    if name.startswith(AFTER):
        return (equations.previous[name.removeprefix(AFTER)],)
    return equations.statements[name].of if name in equations.statements else ()


def _of_parameter(equations: Equations, target: str) -> Iterator[str]:
    """Yield the boxes with a parameter whose gradient is assigned: of one, or of the same kind in every gate."""
    match = re.search(r"['\"]d(\w+|\w*\{\w+\})['\"]", target)
    if match is None:
        return
    name = re.sub(r"\{\w+\}", r"\\w", match[1])
    for equation in equations.statements.values():
        if any(re.fullmatch(name, parameter) for parameter in equation.parameters):
            yield equation.name


def box_of(equations: Equations, cotangent: str) -> str | None:
    """Return whose cotangent a name of the backward pass is; None where it is none.

    A state's own name is what is handed to the step before; with n behind it is what comes from the step after, and
    with _ behind it the whole of it.

    Examples
    --------
    >>> from lstm_ref.cells import CELLS
    >>> plain = equations_of(CELLS["plain"])
    >>> [box_of(plain, name) for name in ("dC", "dC_", "dh_", "dhn", "df_", "dX", "q")]
    ['Cp_', 'C_', 'h', 'h', 'f_', 'X_s', None]
    """
    if not cotangent.startswith("d"):
        return None
    name = cotangent[1:]
    handed = equations.states
    if name in ("X", "X_s"):
        return "X_s"
    if name in handed:
        return handed[name]
    if name in equations.statements:
        return name
    short = name[:-1]
    if name[-1:] == "n" and short in handed:
        return equations.previous[handed[short]]
    return short if name[-1:] == "_" and short in equations.statements else None
