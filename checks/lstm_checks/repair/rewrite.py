"""The user's Python files as they are run here: rewritten in memory, so that every value can be seen and replaced.

Each expression in a function that may come to an array becomes ``__lc_probe__(number, expression)``; where edits are
tried, an expression has alternatives besides, and one switch says which of all of them is on (`edits.py`). So one
compilation serves all that is tried. The files themselves, and what Python has compiled of them, stay as they are.
"""

import ast
import builtins
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import lstm_checks
import lstm_ref

PROBE, SWITCH, ATTEMPT = "__lc_probe__", "__lc_switch__", "__lc_attempt__"
COMPILED = ("njit", "numba", "jit.script", "vectorize", "cuda")
"""Words of a decorator whose function is compiled from its source, in which nothing can be seen."""


@dataclass(frozen=True)
class Site:
    """An expression of the user's: where it stands, and what it is made of.

    `statement` is the span of lines of its statement, `parts` the numbers of the sites within it, `names` the variables
    that it reads, `binds` those that its statement sets to it, where it is all that stands right of the `=`. `whole` is
    whether it is that, or all of what is returned, an entry of a display, or an argument of a function of the user's;
    `returned` whether it is returned; `is_leaf` whether it is a name or an attribute and nothing more, `is_access`
    whether it is that or an entry of one, `is_call` whether it is a call. `key` is the word by which it is kept, in a
    dict or as an argument.
    """

    number: int
    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str
    statement: tuple[int, int]
    function: str
    parts: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    whole: bool = False
    returned: bool = False
    is_leaf: bool = False
    is_access: bool = False
    is_call: bool = False
    key: str = ""

    @property
    def of_statement(self) -> tuple[str, tuple[int, int]]:
        """What tells its statement from others."""
        return self.path, self.statement


@dataclass
class Source:
    """A file of the user's, its sites, and the edits that are compiled into it."""

    path: str
    text: str
    sites: list[Site] = field(default_factory=list)

    @cached_property
    def lines(self) -> list[bytes]:
        """The file's lines as bytes, which the columns of a syntax tree count."""
        return self.text.encode().splitlines(keepends=True)

    def segment(self, node: ast.AST) -> str:
        """Return the text of a node."""
        return self.between((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]

    def between(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """Return the text between two places, each a line and a column."""
        (line, column), (end_line, end_column) = start, end
        if line == end_line:
            return self.lines[line - 1][column:end_column].decode()
        parts = [self.lines[line - 1][column:], *self.lines[line : end_line - 1], self.lines[end_line - 1][:end_column]]
        return b"".join(parts).decode()


class Sources:
    """All files of the user's that are imported while this is in force, and the switch of what is tried.

    Parameters
    ----------
    alternatives : callable, optional
        ``alternatives(source, tree)`` returns for nodes of the tree what may stand in their place, as
        ``{node: [(number, other node), ...]}``.
    texts : mapping, optional
        What stands in place of a file's own text, by its path.
    """

    def __init__(
        self,
        alternatives: Callable[[Source, ast.Module], dict[Any, list[tuple[int, Any]]]] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.files: dict[str, Source] = {}
        self.sites: list[Site] = []
        self.alternatives = alternatives
        self.handlers: dict[int, Callable[[Any], Any]] = {}
        self.switch: dict[int, int] = {}
        self.attempts: dict[int, Callable[[Callable[[], Any]], Any]] = {}
        self.texts = dict(texts or {})

    def probe(self, number: int, value: Any) -> Any:
        """Return what is to stand in the place of a site's value: the value itself, where nobody asks for it."""
        handler = self.handlers.get(number)
        return value if handler is None else handler(value)

    def attempt(self, number: int, expression: Callable[[], Any]) -> Any:
        """Return the value of a whole expression that has alternatives, passed on as by `probe`.

        Where somebody asks for it, the expression is given to them, to be computed with one alternative after another.
        """
        attempt = self.attempts.get(number)
        return self.probe(number, expression()) if attempt is None else attempt(expression)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Have the user's files rewritten as they are imported."""
        get_code = SourceFileLoader.get_code
        sources = self

        def rewritten(loader: Any, name: str) -> Any:
            path = loader.get_filename(name)
            if not is_own(path):
                return get_code(loader, name)
            try:
                return sources.compile(path)
            except (OSError, SyntaxError, ValueError, RecursionError):
                return get_code(loader, name)

        setattr(builtins, PROBE, self.probe)
        setattr(builtins, SWITCH, self.switch)
        setattr(builtins, ATTEMPT, self.attempt)
        SourceFileLoader.get_code = rewritten  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            SourceFileLoader.get_code = get_code  # type: ignore[method-assign]

    def compile(self, path: str) -> Any:
        """Return the code of a file, rewritten."""
        text = self.texts.get(path) or Path(path).read_text(encoding="utf-8")
        return compile(self.rewrite(path, text), path, "exec", dont_inherit=True)

    def rewrite(self, path: str, text: str) -> ast.Module:
        """Return the syntax tree of a file with probes, and with what is tried, in it."""
        source = Source(path, text)
        tree = ast.parse(text)
        others = self.alternatives(source, tree) if self.alternatives is not None else {}
        writer = _Writer(self, source, others)
        tree.body = [writer.outside(statement) for statement in tree.body]
        self.files[path] = source
        return ast.fix_missing_locations(tree)


AGAIN = {Sources.attempt.__code__}
"""The functions that compute an expression again, or for the first time, in place of the user's own."""


# Asked for once, before any import is looked at: `sysconfig` imports modules itself, and asked again from within one of
# these it raises (Python 3.13).
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


def is_own(path: str) -> bool:
    """Return whether a file is the user's own: neither a library's, nor Python's, nor the harness's."""
    where = Path(path).resolve()
    if {"site-packages", "dist-packages"} & set(where.parts):
        return False
    ours = [Path(str(package.__file__)).resolve().parent for package in (lstm_checks, lstm_ref)]
    return where.suffix == ".py" and not any(where.is_relative_to(folder) for folder in (*ours, _STANDARD_LIBRARY))


def forget_own_modules(before: set[str]) -> None:
    """Let the user's modules be imported anew: all of their own that were not there before."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name not in before and isinstance(path, str) and is_own(path):
            del sys.modules[name]


MODULES = ("np", "numpy", "torch", "jnp", "jax", "F", "nn", "nnx", "eqx", "keras", "lax", "math", "super")
"""The names by which libraries go, on which a method is called as a function is."""

AT_ONCE = ("super", "next", "pop", "popleft", "popitem", "append", "locals", "send")
"""What does something else the second time that it is called, or in a function of its own."""

EXPRESSIONS = (
    ast.BinOp,
    ast.UnaryOp,
    ast.Call,
    ast.Subscript,
    ast.Attribute,
    ast.Name,
    ast.IfExp,
    ast.ListComp,
    ast.GeneratorExp,
    ast.NamedExpr,
)


class _Writer:
    """Writes probes and switches into one file."""

    def __init__(self, sources: Sources, source: Source, others: dict[Any, list[tuple[int, Any]]]) -> None:
        self.sources, self.source, self.others = sources, source, others
        self.function: list[str] = []
        self.statement = (0, 0)
        self.probing = True
        self.made: list[int] = []
        self.whole: set[Any] = set()
        self.returned: set[Any] = set()
        self.apart: dict[Any, str] = {}
        self.keys: dict[Any, str] = {}

    def outside(self, node: Any) -> Any:
        """Return a statement of a module or class, with what is in its functions rewritten."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(word in ast.unparse(decorator) for decorator in node.decorator_list for word in COMPILED):
                return node
            self.function.append(node.name)
            outer, self.made = self.made, []
            node.body = [self.inside(statement) for statement in node.body]
            self.made = outer
            self.function.pop()
            return node
        if isinstance(node, ast.ClassDef):
            self.function.append(node.name)
            node.body = [self.outside(statement) for statement in node.body]
            self.function.pop()
            return node
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [self.outside(one) if isinstance(one, ast.AST) else one for one in value])
            elif isinstance(value, ast.Lambda):
                self.statement = (node.lineno, node.end_lineno)
                setattr(node, name, self.expression(value))
            elif isinstance(value, ast.AST):
                setattr(node, name, self.outside(value))
        return node

    def inside(self, node: Any) -> Any:
        """Return a statement of a function, rewritten."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return self.outside(node)
        binds: tuple[str, ...] = ()
        before = self.statement
        original = node
        if isinstance(node, ast.stmt):
            # Of what has a body, the line of its head.
            self.statement = (node.lineno, node.lineno if hasattr(node, "body") else node.end_lineno or node.lineno)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            binds = tuple(_bound(target) for target in targets)
        if isinstance(node, ast.Return):
            self.returned.add(node.value)
        if len(binds) == 1 and isinstance(node.value, ast.Tuple) and binds[0].count(",") + 1 == len(node.value.elts):
            self.apart |= dict(zip(node.value.elts, binds[0].split(","), strict=True))
        for name, value in ast.iter_fields(node):
            if name in ("targets", "target", "annotation", "type", "name", "pattern") and not isinstance(
                node, ast.expr
            ):
                continue
            if isinstance(value, list):
                setattr(node, name, [self._part(one) for one in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, self._part(value, binds if name == "value" else ()))
        self.statement = before
        for number, other in self.others.get(original, ()):
            test = _is_on(number)
            test = ast.UnaryOp(ast.Not(), test)
            node = ast.copy_location(ast.If(test, [node], [other] if other is not None else []), original)
        return node

    def _part(self, node: Any, binds: tuple[str, ...] = ()) -> Any:
        """Return what stands in a statement, rewritten."""
        if isinstance(node, ast.expr):
            return self.expression(node, binds)
        if isinstance(node, ast.stmt | ast.excepthandler | ast.withitem | ast.match_case):
            return self.inside(node)
        return node

    def expression(self, node: Any, binds: tuple[str, ...] = ()) -> Any:
        """Return an expression, rewritten."""
        outer, self.made = self.made, []
        shown = node
        binds = (self.apart[node],) if node in self.apart else binds
        text = self.source.segment(node)
        if isinstance(node, ast.Tuple | ast.List | ast.Dict):
            self.whole |= set(node.elts if not isinstance(node, ast.Dict) else node.values)
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp):
            self.whole.add(node.value if isinstance(node, ast.DictComp) else node.elt)
        if isinstance(node, ast.Dict):
            kept = zip(node.keys, node.values, strict=True)
            self.keys |= {one: str(key.value) for key, one in kept if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Call):
            self.keys |= {keyword.value: keyword.arg for keyword in node.keywords if keyword.arg}
        names = tuple(sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)}))
        alternatives = self.others.get(node)
        tried = self.others and self._may_be_computed_again(node, bool(binds))
        if isinstance(node, ast.Lambda):
            self.returned.add(node.body)
        self._children(node)
        if alternatives:
            node = _switched(node, alternatives)
        parts = self.made
        if isinstance(shown, EXPRESSIONS) and isinstance(getattr(shown, "ctx", ast.Load()), ast.Load):
            site = Site(
                len(self.sources.sites),
                self.source.path,
                shown.lineno,
                shown.col_offset,
                shown.end_lineno or shown.lineno,
                shown.end_col_offset or shown.col_offset,
                text,
                self.statement,
                ".".join(self.function),
                tuple(parts),
                names,
                binds,
                bool(binds) or shown in self.whole or shown in self.returned,
                shown in self.returned,
                isinstance(shown, ast.Name | ast.Attribute),
                isinstance(shown, ast.Name | ast.Attribute | ast.Subscript),
                isinstance(shown, ast.Call),
                self.keys.get(shown, ""),
            )
            self.sources.sites.append(site)
            self.source.sites.append(site)
            parts = [*parts, site.number]
            name = PROBE
            if tried:
                nothing = ast.arguments([], [], None, [], [], None, [])
                name, node = ATTEMPT, ast.copy_location(ast.Lambda(nothing, node), shown)
            call = ast.Call(ast.Name(name, ast.Load()), [ast.Constant(site.number), node], [])
            node = ast.copy_location(call, shown)
        self.made = [*outer, *parts]
        return node

    def _may_be_computed_again(self, node: Any, binds: bool) -> bool:
        """Return whether an expression is a whole one that has alternatives, and may be computed several times."""
        if not (binds or node in self.whole or node in self.returned):
            return False
        inner = list(ast.walk(node))
        once = (ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Await)
        if any(isinstance(one, once) or (isinstance(one, ast.Name) and one.id in AT_ONCE) for one in inner):
            return False
        if any(isinstance(one, ast.Attribute) and one.attr in AT_ONCE for one in inner):
            return False
        return any(one in self.others for one in inner)

    def _children(self, node: Any) -> None:
        """Rewrite what an expression is made of."""
        if isinstance(node, ast.Call):
            # What is called is no value; the array that a method is called on is one.
            if _may_be_own(node.func):
                self.whole |= {*node.args, *(keyword.value for keyword in node.keywords)}
            if isinstance(node.func, ast.Attribute):
                node.func.value = self.expression(node.func.value) if _is_value(node.func.value) else node.func.value
            if not (isinstance(node.func, ast.Name) and node.func.id == "super"):
                node.args = [self.expression(one) for one in node.args]
                for keyword in node.keywords:
                    keyword.value = self.expression(keyword.value)
            return
        if isinstance(node, ast.JoinedStr):
            return
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [self._inner(one) for one in value])
            elif isinstance(value, ast.expr):
                setattr(node, name, self.expression(value))

    def _inner(self, node: Any) -> Any:
        """Return a part of a display or comprehension, rewritten."""
        if isinstance(node, ast.comprehension):
            node.iter = self.expression(node.iter)
            node.ifs = [self.expression(one) for one in node.ifs]
            return node
        return self.expression(node) if isinstance(node, ast.expr) else node


def _is_value(node: Any) -> bool:
    """Return whether what a method is called on may be an array: not np, nor np.linalg."""
    while isinstance(node, ast.Attribute):
        if node.attr in ("T", "mT", "data"):
            return True
        node = node.value
    return not (isinstance(node, ast.Name) and node.id in MODULES)


def _may_be_own(function: Any) -> bool:
    """Return whether what is called may be the user's own: neither Python's, nor a module's, nor an array's."""
    if isinstance(function, ast.Name):
        return not hasattr(builtins, function.id)
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id in ("self", "cls")
    return isinstance(function, ast.Subscript)


def _bound(target: Any) -> str:
    """Return the variable that an assignment's target sets or writes into."""
    while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
        if isinstance(target, ast.Attribute):
            return ast.unparse(target)
        target = target.value
    if isinstance(target, ast.Tuple | ast.List):
        return ",".join(_bound(one) for one in target.elts)
    return target.id if isinstance(target, ast.Name) else ""


def _is_on(number: int) -> Any:
    """Return the expression that is true where an edit is on, or one of a group."""
    return ast.Compare(ast.Constant(number), [ast.In()], [ast.Name(SWITCH, ast.Load())])


def _switched(node: Any, alternatives: list[tuple[int, Any]]) -> Any:
    """Return an expression that is one of the alternatives where that is on; found in few steps among many."""
    group = alternatives[0][0]
    return ast.copy_location(ast.IfExp(_is_on(group), _chosen(alternatives, group), node), node)


def _chosen(alternatives: list[tuple[int, Any]], group: int) -> Any:
    """Return the alternative that is on, as a tree of comparisons."""
    if len(alternatives) == 1:
        return alternatives[0][1]
    half = len(alternatives) // 2
    which = ast.Subscript(ast.Name(SWITCH, ast.Load()), ast.Constant(group), ast.Load())
    test = ast.Compare(which, [ast.Lt()], [ast.Constant(alternatives[half][0])])
    return ast.IfExp(test, _chosen(alternatives[:half], group), _chosen(alternatives[half:], group))
