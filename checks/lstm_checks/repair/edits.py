"""One edit of a user's line: all the small slips of the pen, each as the text that would stand there instead.

An edit is a span of the file and the new text of it, so the file keeps its own format and comments. The same text is
parsed and compiled into the program as an alternative, with a switch. Names are replaced by names alone that stood for
arrays of the same shape in the same function; nothing is called that the line, or its sisters, did not call.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations
from typing import Any

from lstm_checks.repair.rewrite import Source

OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.MatMult: "@",
    ast.Pow: "**",
}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
FACTORS = 20
"""Of how many variables of one shape two together are tried as factors that are missing."""

ANYWHERE_COST = 2
"""What an edit may cost where no line is known, so that all lines are tried."""

PRODUCTS = 200
"""How many products of two matrices are tried as a term that is missing."""

STATEMENTS_TOGETHER = 3
"""How many statements next to one another are left out together at most."""

NUMBERS = ("0", "1", "2", "-1", "0.5")

Span = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Edit:
    """A change of a user's file: what stands in a span becomes `text`.

    `cost` is about how many words change; `line` the first line of its statement; `group` the first edit of the same
    expression; `of_expression` whether it is of one, and not of how a statement sets what it sets.
    """

    number: int
    path: str
    span: Span
    text: str
    cost: float
    line: int
    group: int
    of_expression: bool = True


@dataclass(frozen=True)
class Scope:
    """What the trace of a function showed: the shape of each variable that held arrays, by its text."""

    shapes: Mapping[str, frozenset[tuple[int, ...]]]

    def alike(self, text: str, shapes: frozenset[tuple[int, ...]]) -> list[str]:
        """Return the other variables that held arrays of a shape, or of one that is broadcast to it or from it."""
        return [
            other
            for other, seen in self.shapes.items()
            if other != text and any(_agree(one, shape) for one in seen for shape in shapes)
        ]


def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two shapes are the same but for what is 1, or the one is a row of the other, as a bias is."""
    if {len(one), len(other)} == {1, 2}:
        return one[-1] == other[-1]
    return len(one) == len(other) and all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True))


class Edits:
    """All edits at some lines; what `Sources` is given as its alternatives.

    Parameters
    ----------
    lines : mapping
        For each file the numbers of the lines whose statements may be edited; all of it where None.
    scopes : mapping
        By function, what its variables are.
    values : mapping
        By the place of an expression (file, line, column, end line, end column) the shapes of its values.
    gates : sequence of str
        The cell's gates, for names that differ in one.
    simple : bool
        Whether there are those alone that take something away, or put what is there into another order: they need not
        know what a value is to be, so all lines are tried.
    """

    def __init__(
        self,
        lines: Mapping[str, Collection[int]] | None,
        scopes: Mapping[str, Scope],
        values: Mapping[tuple[str, int, int, int, int], frozenset[tuple[int, ...]]],
        gates: Sequence[str],
        simple: bool = False,
    ) -> None:
        self.lines, self.scopes, self.values, self.gates = lines, scopes, values, gates
        self.simple = simple
        self.all: list[Edit] = []
        self.runs: list[tuple[Edit, ...]] = []

    def __call__(self, source: Source, tree: ast.Module) -> dict[Any, list[tuple[int, Any]]]:
        """Return the alternatives of a file's nodes, and take them down."""
        found: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
        lines = None if self.lines is None else self.lines.get(source.path, ())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _takes_one(node)}
        functions |= {"np." + word for word in re.findall(r"\bnp\.(tanh|exp|log)\b", source.text)}
        functions |= {
            f"{root}.{word}" for root, word in re.findall(r"\b(torch|jnp|jax\.nn)\.(tanh|sigmoid|exp)\b", source.text)
        }
        left_out: dict[Any, Edit] = {}
        blocks: dict[int, list[ast.stmt]] = {}
        for statement, function, block in _statements(tree):
            if lines is not None and not any(
                line in lines for line in range(statement.lineno, (_last(statement) or statement.lineno) + 1)
            ):
                continue
            blocks[id(block)] = block
            writer = _Writer(self, source, function, sorted(functions), statement, len(block) == 1)
            for node, span, text, other, cost in writer.edits():
                if lines is not None and not set(range(span[0][0], span[1][0] + 1)) & set(lines):
                    continue
                number = len(self.all) + 1
                found[node].append((number, other))
                group = found[node][0][0] if isinstance(node, ast.expr) else number
                of_expression = isinstance(node, ast.expr)
                self.all.append(Edit(number, source.path, span, text, cost, statement.lineno, group, of_expression))
                if other is None:
                    left_out[node] = self.all[-1]
        for block in blocks.values():
            edits = [left_out.get(statement) for statement in block]
            for count in range(2, STATEMENTS_TOGETHER + 1):
                runs = (edits[k : k + count] for k in range(len(edits) - count + 1))
                self.runs += [tuple(one for one in run if one is not None) for run in runs if None not in run]
        if self.simple:
            self._orders(source, tree, found)
        return found

    def _orders(self, source: Source, tree: ast.Module, found: dict[Any, list[tuple[int, Any]]]) -> None:
        """Add the other orders of gates that are set outside functions, each wherever it is read."""
        scopes: list[Any] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for scope in scopes:
            for node in scope.body:
                if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                    continue
                name = node.targets[0].id
                reads = [
                    one
                    for one in ast.walk(tree)
                    if (isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load))
                    or (isinstance(one, ast.Attribute) and one.attr == name and isinstance(one.ctx, ast.Load))
                ]
                first = len(self.all) + 1
                for text in _other_orders(source, node.value, self.gates):
                    number = len(self.all) + 1
                    for one in reads:
                        found[one].append((number, _parsed(text)))
                    self.all.append(Edit(number, source.path, _span(node.value), text, 2, node.lineno, first, False))


def _takes_one(node: ast.FunctionDef) -> bool:
    """Return whether a function takes one argument."""
    return len(node.args.args) == 1 and not node.args.vararg


def _last(statement: ast.stmt) -> int | None:
    """Return the last line of a statement, of what has a body that of its head."""
    return statement.lineno if hasattr(statement, "body") else statement.end_lineno


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, str, list[ast.stmt]]]:
    """Yield the statements within functions, each with its function's full name and the block that it stands in."""

    def inside(node: Any, name: tuple[str, ...], of_function: bool) -> Iterator[tuple[ast.stmt, str, list[ast.stmt]]]:
        for _, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST):
                    continue
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    yield from inside(child, (*name, child.name), not isinstance(child, ast.ClassDef))
                    continue
                if isinstance(child, ast.stmt) and of_function:
                    yield child, ".".join(name), value
                yield from inside(child, name, of_function)

    yield from inside(tree, (), False)


class _Writer:
    """Writes the edits of one statement."""

    def __init__(
        self,
        edits: Edits,
        source: Source,
        function: str,
        functions: Sequence[str],
        statement: ast.stmt,
        by_itself: bool,
    ) -> None:
        self.all, self.source, self.function, self.by_itself = edits, source, function, by_itself
        self.functions, self.statement = functions, statement
        shapes: dict[str, frozenset[tuple[int, ...]]] = {}
        parts = function.split(".")
        for k in range(len(parts), 0, -1):
            # An inner function sees what the outer ones have; its own come first.
            outer = edits.scopes.get(".".join(parts[:k]), Scope({})).shapes
            shapes |= {text: seen for text, seen in outer.items() if text not in shapes}
        self.scope = Scope(shapes)
        self.around: dict[Any, frozenset[tuple[int, ...]]] = {}
        self.on_line = set(re.findall(r"[A-Za-z_]\w*", ast.unparse(statement)))

    def edits(self) -> Iterator[tuple[Any, Span, str, Any, float]]:
        """Yield (node, span, new text, new node, cost) of all."""
        for node, roles in self._expressions():
            seen: set[str] = set()
            for text, cost in self._without(node) if self.all.simple else self._of(node, roles):
                if text in seen or len(text) > 2000 or (self.all.lines is None and cost > ANYWHERE_COST):
                    continue
                seen.add(text)
                try:
                    made = ast.parse(f"({text}\n)", mode="eval").body
                except (SyntaxError, ValueError):
                    continue
                yield node, _span(node), text, made, cost + (0 if self._is_on_line(text) else 0.5)
        yield from self._of_statement()

    def _is_on_line(self, text: str) -> bool:
        """Return whether all names of a text are on the line already."""
        return set(re.findall(r"[A-Za-z_]\w*", text)) <= self.on_line

    def _expressions(self) -> Iterator[tuple[Any, frozenset[str]]]:
        """Yield the expressions of the statement, with what they stand for: an index, or a value."""
        fields = [
            (name, value)
            for name, value in ast.iter_fields(self.statement)
            if name not in ("body", "orelse", "finalbody", "handlers", "target", "targets", "annotation")
        ]
        for _, value in fields:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.expr):
                    yield from self._within(child, frozenset({"whole"}))

    def _within(self, node: Any, roles: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
        """Yield an expression and all within it."""
        yield node, roles
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Call) and name == "func":
                if isinstance(value, ast.Attribute):
                    yield from self._within(value.value, frozenset())
                continue
            inner = roles - {"whole"}
            if (isinstance(node, ast.Subscript) and name == "slice") or (
                isinstance(node, ast.Call) and ast.unparse(node.func) in ("range", "reversed")
            ):
                inner |= {"index"}
            if isinstance(node, ast.Tuple | ast.List | ast.Dict) and "index" not in inner:
                inner |= {"whole"}
            for child in value if isinstance(value, list) else [value]:
                if isinstance(node, ast.BinOp) and "index" not in inner:
                    # What a part that is a number would be, were it an array.
                    self.around[child] = self._shapes(node) or self.around.get(node, frozenset())
                if isinstance(child, ast.comprehension):
                    yield from self._within(child.iter, frozenset({"index"}))
                elif isinstance(child, ast.keyword):
                    yield from self._within(child.value, inner)
                elif isinstance(child, ast.expr) and not isinstance(getattr(child, "ctx", None), ast.Store):
                    yield from self._within(child, inner)

    def _without(self, node: Any) -> Iterator[tuple[str, float]]:
        """Yield what is left of an expression where a part of it is taken away; of an order of gates the others."""
        if isinstance(node, ast.BinOp):
            yield self._side(node, node.left, True), 1.2
            yield self._side(node, node.right, False), 1.2
            yield from self._first_of_several(node)
        if isinstance(node, ast.UnaryOp):
            yield self.source.segment(node.operand), 1
        if isinstance(node, ast.IfExp):
            yield self.source.segment(node.body), 1.5
            yield self.source.segment(node.orelse), 1.5
        if isinstance(node, ast.Call):
            yield from self._unwrapped(node)
        if isinstance(node, ast.Subscript) and "::" in self.source.segment(node.slice):
            yield self.source.segment(node.value), 1.5
        yield from self._unpacked(node)
        yield from ((text, 2) for text in _other_orders(self.source, node, self.all.gates))

    def _first_of_several(self, node: ast.BinOp) -> Iterator[tuple[str, float]]:
        """Yield what several factors or terms begin with, without the last two or more."""
        left, cost = node.left, 1.4
        while isinstance(left, ast.BinOp) and isinstance(left.op, type(node.op)):
            yield self._side(left, left.left, True), cost
            left, cost = left.left, cost + 0.2

    def _unwrapped(self, node: ast.Call) -> Iterator[tuple[str, float]]:
        """Yield the arguments of a call, and of a call that is its first the first, such as what is clipped."""
        inner, cost = node, 1.5
        for argument in node.args:
            if not isinstance(argument, ast.Starred | ast.Constant):
                yield self.source.segment(argument), cost
        while True:
            value = inner.func.value if isinstance(inner.func, ast.Attribute) else None
            own = value is not None and (self.source.path, *_place(value)) in self.all.values
            of_method = value is not None and (own or isinstance(value, ast.Call))
            first = value if of_method else inner.args[0] if inner.args else None
            if first is None or isinstance(first, ast.Starred | ast.Constant):
                return
            yield self.source.segment(first), cost
            if not isinstance(first, ast.Call):
                return
            inner, cost = first, cost + 0.1

    def _unpacked(self, node: Any) -> Iterator[tuple[str, float]]:
        """Yield a dict that is made of another and has further entries without these."""
        if isinstance(node, ast.Dict):
            whole = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
            yield from ((self.source.segment(one), 1.5) for one in whole)

    def _of(self, node: Any, roles: frozenset[str]) -> Iterator[tuple[str, float]]:
        """Yield the texts that may stand in an expression's place, each with its cost."""
        text = self.source.segment(node)
        if isinstance(node, ast.Constant):
            yield from self._of_constant(node, text)
            return
        if "index" in roles:
            yield from self._of_index(node, text)
            return
        if isinstance(node, ast.Slice | ast.Starred | ast.Lambda | ast.JoinedStr):
            return
        shapes = self._shapes(node)
        if isinstance(node, ast.BinOp):
            yield from self._of_product(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            own = COMPARISONS.get(type(node.ops[0]))
            left, right = self.source.segment(node.left), self.source.segment(node.comparators[0])
            yield from ((f"{left} {sign} {right}", 1) for sign in COMPARISONS.values() if sign != own)
        if isinstance(node, ast.UnaryOp):
            yield self.source.segment(node.operand), 1
        if isinstance(node, ast.IfExp):
            yield self._part(node.body), 2
            yield self._part(node.orelse), 2
        if isinstance(node, ast.Call):
            yield from self._of_call(node, text)
        if isinstance(node, ast.Subscript) and shapes:
            yield self.source.segment(node.value), 1.5
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            yield self.source.segment(node.value), 1
        if isinstance(node, ast.Tuple | ast.List) and 1 < len(node.elts) <= 8:
            yield from self._exchanged(node)
        yield from self._unpacked(node)
        if not shapes:
            return
        yield from self._of_value(node, text, shapes, roles)

    def _shapes(self, node: Any) -> frozenset[tuple[int, ...]]:
        """Return the shapes of the arrays that an expression came to."""
        return self.all.values.get((self.source.path, *_place(node)), frozenset())

    def _part(self, node: Any) -> str:
        """Return the text of a part, in brackets where it could fall apart."""
        text = self.source.segment(node)
        return (
            text
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.Constant)
            else f"({text})"
        )

    def _of_product(self, node: ast.BinOp) -> Iterator[tuple[str, float]]:
        """Yield what may stand in place of a product or sum: another sign, one side alone, the sides exchanged."""
        left, right = self._side(node, node.left, True), self._side(node, node.right, False)
        own = OPERATORS.get(type(node.op), "")
        yield left, 1.2
        yield right, 1.2
        yield from self._first_of_several(node)
        yield from ((f"{left} {sign} {right}", 1) for sign in OPERATORS.values() if sign != own)
        if own in ("-", "/", "@", "**"):
            yield f"{right} {own} {left}", 1.5
        if own == "-":
            yield f"{right} + {left}", 1.5
        shapes = self._shapes(node) or self.around.get(node, frozenset())
        for side, before, after in ((node.left, "", f" {own} {right}"), (node.right, f"{left} {own} ", "")):
            # A number's name, such as a size's, where an array's is due.
            if isinstance(side, ast.Name) and own in ("+", "-", "*", "/") and not self._shapes(side) and shapes:
                yield from ((f"{before}{other}{after}", 1) for other in self.scope.alike("", shapes))

    def _side(self, node: ast.BinOp, side: Any, left: bool) -> str:
        """Return the text of a side with the brackets that it stands in."""
        start, end = _span(node)
        begin, stop = _around_sign(self.source, node)
        text = self.source.between(start, begin) if left else self.source.between(stop, end)
        return text.strip() or self.source.segment(side)

    def _of_call(self, node: ast.Call, text: str) -> Iterator[tuple[str, float]]:
        """Yield what may stand in place of a call: one of its arguments, what its method is called on, another name."""
        yield from self._unwrapped(node)
        name = ast.unparse(node.func)
        if len(node.args) == 1 and not node.keywords and name in self.functions:
            given = self.source.segment(node.args[0])
            yield from ((f"{other}({given})", 1) for other in self.functions if other != name)
        if len(node.args) == 2 and not node.keywords:
            first, second = (self.source.segment(one) for one in node.args)
            yield f"{self.source.segment(node.func)}({second}, {first})", 1.5

    def _exchanged(self, node: Any) -> Iterator[tuple[str, float]]:
        """Yield a display with two of its entries exchanged."""
        for one, other in combinations(range(len(node.elts)), 2):
            order = [{one: other, other: one}.get(k, k) for k in range(len(node.elts))]
            yield _in_order(self.source, node, order), 1.5

    def _of_constant(self, node: ast.Constant, text: str) -> Iterator[tuple[str, float]]:
        """Yield other numbers; of a word that ends in a gate's letter the other gates'."""
        value = node.value
        if isinstance(value, bool):
            yield str(not value), 1
        elif isinstance(value, int | float):
            yield from ((number, 1) for number in NUMBERS if number != text)
            yield from ((f"{value + step}", 1) for step in (1, -1))
            yield from ((f"{value * 2}", 1), (f"{value / 2}", 1.2))
        elif isinstance(value, str) and value and len(value) <= 8:
            if set(value) == set(self.all.gates) and len(value) == len(self.all.gates):
                yield from ((order, 2) for order in _other_orders(self.source, node, self.all.gates))
            elif value.strip("_")[-1:] in self.all.gates:
                at = len(value.rstrip("_")) - 1
                quote = text[0] if text[:1] in "'\"" else '"'
                others = [gate for gate in self.all.gates if gate != value[at]]
                yield from ((f"{quote}{value[:at]}{gate}{value[at + 1 :]}{quote}", 1) for gate in others)

    def _of_index(self, node: Any, text: str) -> Iterator[tuple[str, float]]:
        """Yield other indices: the next, the one before, counted from the end."""
        if isinstance(node, ast.Name):
            yield from ((f"{text} - 1", 1.5), (f"{text} + 1", 1.5), (f"-1 - {text}", 2))
            names = {n.id for n in ast.walk(self.statement) if isinstance(n, ast.Name)}
            yield from ((name, 1) for name in sorted({*names, "m", "s", "e", "u", "t"}) if name != text)
        elif isinstance(node, ast.BinOp):
            yield from self._of_product(node)
        elif isinstance(node, ast.UnaryOp):
            yield self.source.segment(node.operand), 1
        elif isinstance(node, ast.Call) and node.args:
            yield from ((self._part(one), 1.5) for one in node.args)

    def _of_value(
        self, node: Any, text: str, shapes: frozenset[tuple[int, ...]], roles: frozenset[str]
    ) -> Iterator[tuple[str, float]]:
        """Yield what may stand in place of an array: another, its transpose, what it lacks."""
        own = self._part(node)
        atom = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        alike = self.scope.alike(text, shapes)
        if atom or isinstance(node, ast.Call):
            yield from ((other, 1) for other in alike)
            turned = frozenset(shape[::-1] for shape in shapes if len(shape) == 2 and 1 not in shape)
            yield from ((f"{other}.T", 1.5) for other in self.scope.alike(text, turned))
        yield f"-{own}", 1
        if any(len(shape) == 2 for shape in shapes):
            yield f"{own}.T", 1
        yield from ((f"{own} {rest}", 2) for rest in ("* 2", "/ 2"))
        yield from ((f"{function}({text})", 1.5) for function in self.functions)
        yield from (
            (f"1 - {own}", 1.5),
            (f"{own} * {own}", 2),
            (f"1 - {own} * {own}", 2.5),
            (f"{own} * (1 - {own})", 3),
        )
        for other in alike:
            yield from ((f"{own} {sign} {other}", 2) for sign in "*+-")
            if "whole" in roles or atom or isinstance(node, ast.BinOp):
                yield f"{own} * (1 - {other})", 2.5
                yield f"{own} * {other} * (1 - {other})", 3
                yield f"{own} * (1 - {other} * {other})", 3
                yield from ((f"{own} * {function}({other})", 2.5) for function in self.functions)
        every = [other for other in alike if self.scope.shapes[other] & shapes]
        alike = every[:FACTORS]
        yield from ((f"{own} * {one} * {other}", 4) for one, other in combinations(alike, 2))
        if "whole" in roles:
            yield from self._derivatives(node, every)
            yield from ((f"{one} * {other}", 4.5) for one, other in combinations(alike, 2))
            yield from ((f"{own} + {one} * {other}", 4) for one, other in combinations(alike, 2))
            # Such as a gate's activation, where nothing but what it is of has a name.
            called = [name for name in self.functions if name in self.source.segment(self.statement)]
            pairs = list(permutations(alike, 2))
            yield from ((f"{own} + {name}({one}) * {other}", 4.5) for name in called for one, other in pairs)
            yield from ((f"{own} + {product}", 4) for product in islice(self._products(shapes), PRODUCTS))

    def _derivatives(self, node: Any, alike: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Yield derivatives of activations in place of a whole expression, alone and times a variable that it reads."""
        read = dict.fromkeys(
            self.source.segment(one)
            for one in ast.walk(node)
            if isinstance(one, ast.Name | ast.Attribute | ast.Subscript) and self._shapes(one)
        )
        forms = [
            (f"{text}", cost)
            for other in dict.fromkeys([*read, *alike])
            for text, cost in (
                (f"{other} * (1 - {other})", 3.5),
                (f"(1 - {other} * {other})", 3.5),
                (f"(1 - {other})", 3.5),
                *((f"{name}({other})", 3) for name in self.functions),
            )
        ]
        yield from forms
        yield from ((f"{factor} * {text}", cost + 1) for factor in read for text, cost in forms)

    def _products(self, shapes: frozenset[tuple[int, ...]]) -> Iterator[str]:
        """Yield the products of two matrices that have one of some shapes."""
        matrices = [
            (text + turned, shape[::-1] if turned else shape)
            for text, seen in self.scope.shapes.items()
            for shape in seen
            if len(shape) == 2
            for turned in ("", ".T")
        ]
        for (one, left), (other, right) in permutations(matrices, 2):
            if left[1] == right[0] != 1 and (left[0], right[1]) in shapes:
                yield f"{one} @ {other}"

    def _of_statement(self) -> Iterator[tuple[Any, Span, str, Any, float]]:
        """Yield the statement added up in place of set, or set in place of added up, or left out; other conditions."""
        node, source = self.statement, self.source
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.targets[0], ast.Tuple):
            gap = (node.targets[0].end_lineno, node.targets[0].end_col_offset), _start(node.value)
            if source.between(*gap).strip() == "=":  # type: ignore[arg-type]
                other = ast.AugAssign(_stored(node.targets[0]), ast.Add(), _parsed(source.segment(node.value)))
                yield node, gap, " += ", ast.copy_location(other, node), 1  # type: ignore[misc]
        if isinstance(node, ast.AugAssign):
            gap = (node.target.end_lineno, node.target.end_col_offset), _start(node.value)
            for sign in ("=", "+=", "-=", "*="):
                value = _parsed(source.segment(node.value))
                if sign == "=":
                    made: Any = ast.Assign([_stored(node.target)], value)
                else:
                    operator = {"+=": ast.Add(), "-=": ast.Sub(), "*=": ast.Mult()}[sign]
                    if type(operator) is type(node.op):
                        continue
                    made = ast.AugAssign(_stored(node.target), operator, value)
                yield node, gap, f" {sign} ", ast.copy_location(made, node), 1  # type: ignore[misc]
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple):
            target = node.targets[0]
            for text, cost in self._exchanged(target) if len(target.elts) <= 4 else ():
                made = ast.Assign([_stored(_parsed(text))], _parsed(source.segment(node.value)))
                yield node, _span(target), text, ast.copy_location(made, node), cost
        if isinstance(node, ast.Assign | ast.AugAssign):
            yield from self._of_targets(node)
        if isinstance(node, ast.If):
            for text in ("True", "False"):
                yield node.test, _span(node.test), text, _parsed(text), 1.6
        leaves = isinstance(node, ast.Assign | ast.AugAssign | ast.If) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        )
        if leaves and not source.segment(node).startswith("elif"):
            last = node.end_lineno or node.lineno
            rest = source.lines[last - 1][node.end_col_offset :].strip()
            indent = source.lines[node.lineno - 1][: node.col_offset]
            if not indent.strip() and (not rest or rest.startswith(b"#")):
                text = f"{indent.decode()}pass\n" * self.by_itself
                yield node, ((node.lineno, 0), (last + 1, 0)), text, None, 1.5

    def _of_targets(self, node: ast.Assign | ast.AugAssign) -> Iterator[tuple[Any, Span, str, Any, float]]:
        """Yield the statement with another index in what it writes into."""
        start, end = _span(node)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            indices = [one.slice for one in ast.walk(target) if isinstance(one, ast.Subscript)]
            for part in (part for index in indices for part in ast.walk(index) if isinstance(part, ast.expr)):
                text = self.source.segment(part)
                others = self._of_constant(part, text) if isinstance(part, ast.Constant) else self._of_index(part, text)
                for other, cost in others:
                    span = _span(part)
                    whole = f"{self.source.between(start, span[0])}{other}{self.source.between(span[1], end)}"
                    try:
                        (made,) = ast.parse(whole).body
                    except (SyntaxError, ValueError):
                        continue
                    yield node, span, other, ast.increment_lineno(made, node.lineno - 1), cost


def _in_order(source: Source, node: Any, order: Sequence[int]) -> str:
    """Return a display with its entries in another order, and all that is between them as it is."""
    spans = [_span(one) for one in node.elts]
    parts, at = [], _start(node)
    for k, (begin, stop) in enumerate(spans):
        parts += [source.between(at, begin), source.between(*spans[order[k]])]
        at = stop
    return "".join([*parts, source.between(at, _span(node)[1])])


def _other_orders(source: Source, node: Any, gates: Sequence[str]) -> Iterator[str]:
    """Yield the text of an order of all gates, a word of their letters or a display of them, in each other order."""
    letters: list[Any]
    if isinstance(node, ast.Tuple | ast.List):
        letters = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
    else:
        letters = list(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
    if len(letters) != len(gates) or set(letters) != set(gates):
        return
    for order in islice(permutations(range(len(letters))), 1, None):
        if isinstance(node, ast.Constant):
            quote = source.segment(node)[0]
            yield f"{quote}{''.join(letters[k] for k in order)}{quote}"
        else:
            yield _in_order(source, node, order)


def _stored(node: Any) -> Any:
    """Return a copy of an assignment's target."""
    made: Any = ast.parse(f"{ast.unparse(node)} = 0").body[0]
    return made.targets[0]


def _parsed(text: str) -> Any:
    """Return the expression of a text."""
    return ast.parse(f"({text}\n)", mode="eval").body


def _start(node: Any) -> tuple[int, int]:
    """Return where a node begins."""
    return node.lineno, node.col_offset


def _span(node: Any) -> Span:
    """Return where a node begins and ends."""
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _place(node: Any) -> tuple[int, int, int, int]:
    """Return where a node begins and ends, as four numbers."""
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _around_sign(source: Source, node: ast.BinOp) -> Span:
    """Return the span of the sign between the two sides."""
    start = (node.left.end_lineno or 0, node.left.end_col_offset or 0)
    gap = source.between(start, _start(node.right))
    sign = OPERATORS.get(type(node.op), "")
    at = gap.find(sign) if sign else -1
    if at < 0 or "\n" in gap or "#" in gap or not gap.isascii():
        return start, _start(node.right)
    return (start[0], start[1] + at), (start[0], start[1] + at + len(sign))
