"""What the gate is to judge: `[tool.lstm-checks]` of pyproject.toml, or a TOML file of its own.

A table that is there is judged: without `[tool.lstm-checks.speed]` nothing is timed. Whatever is not understood is an
error with its line, for a gate that overlooks a misspelt key lets through what it was told to stop.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lstm_checks import tolerance
from lstm_checks.cases import REGIMES, Case
from lstm_checks.certified.read import VectorsError, read_vectors_file
from lstm_checks.contract import PLAIN
from lstm_checks.files import NOT_TOML, FileError, parse_toml, read_bytes, shown
from lstm_checks.formats import BASES, format_named
from lstm_checks.strategies import NETWORK_DIMS
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named

PYPROJECT = "pyproject.toml"
TABLE = ("tool", "lstm-checks")
DEFAULT_BASELINE = "lstm-checks-baseline.json"
DEFAULT_MAX_DIMS = (9, 60, 9, 9)


class ConfigError(ValueError):
    """The configuration is not understood; the message says where, what was expected, and the nearest right key."""


@dataclass(frozen=True)
class Accuracy:
    """How much more of its tolerance a target may use than in the baseline: `factor` times, in root mean square."""

    factor: float = tolerance.ACCURACY_FACTOR


@dataclass(frozen=True)
class FaultScore:
    """The share of the catalogued faults that must be caught, with how many examples (None: as for a target)."""

    score: float = 1.0
    examples: int | None = None


@dataclass(frozen=True)
class Speed:
    """What is timed: `target` over `than`, forward and backward, on each of `cases`.

    Attributes
    ----------
    target, than : str
        The target, and the one whose time it is a multiple of.
    cases : tuple of str
        Descriptors of the cases.
    margin : float
        A slowdown that is certainly above this factor is a regression.
    limit : float
        A slowdown that is certainly below this factor passes; where neither is certain, more is measured.
    seconds : float
        Time spent on a case in each round.
    cell : str
        The equations that both follow; a case of the plain cell is one of it, too.
    """

    target: str
    than: str
    cases: tuple[str, ...] = ("m4s16e8u16-float64-seed0", "m8s16e16u32-float64-seed0")
    margin: float = tolerance.SPEED_MARGIN
    limit: float = tolerance.SPEED_LIMIT
    seconds: float = 0.4
    cell: str = "plain"


@dataclass(frozen=True)
class GateConfig:
    """What the gate is to judge.

    Attributes
    ----------
    targets : tuple of str
        As for `lstm-checks verify`; paths are relative to `root`.
    cell : str
        The equations that the targets are to follow; a network of them where "layers" or "bidirectional" say one.
    dtypes, regimes, max_dims : tuple
        What the examples are drawn from.
    examples : int
        Examples a target, a dtype and a seed.
    seeds : tuple of int
        Each draws other examples.
    claims : tuple of str
        The claims that count, each of which must have been judged; empty: all, every gradient but those of `without`
        among them. What is not a value, an exception or a wrong form, fails them all.
    without : tuple of str
        The gradients that a target need not give.
    max_unjudged : float
        The share of examples that may be neither pass nor fail.
    bitwise : bool
        Whether two calls with the same inputs must be the same to the bit.
    vectors : bool
        Whether the certified test vectors are run.
    time_limit : float
        Seconds that one judgement, in a process of its own, may take.
    baseline : str
        File of the baseline, relative to `root`.
    accuracy, faults, speed : Accuracy, FaultScore, Speed or None
        None: not judged.
    root : Path
        Folder of the configuration.
    """

    targets: tuple[str, ...]
    cell: str = "plain"
    dtypes: tuple[str, ...] = ("float64",)
    examples: int = 60
    seeds: tuple[int, ...] = (0,)
    max_dims: tuple[int, int, int, int] = DEFAULT_MAX_DIMS
    regimes: tuple[str, ...] = REGIMES
    claims: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    max_unjudged: float = tolerance.MAX_UNJUDGED
    bitwise: bool = False
    vectors: bool = True
    time_limit: float = 300.0
    baseline: str = DEFAULT_BASELINE
    accuracy: Accuracy | None = None
    faults: FaultScore | None = None
    speed: Speed | None = None
    root: Path = field(default_factory=Path)

    @property
    def baseline_path(self) -> Path:
        """Where the baseline is."""
        return self.root / self.baseline

    @property
    def needs_baseline(self) -> bool:
        """Whether anything is judged against a baseline."""
        return bool(self.accuracy or self.faults or self.speed)


# ---- Kinds of values: each takes what TOML gave and returns what is kept, or raises ValueError with what was expected.

Kind = Callable[[Any], Any]


def _text(value: Any) -> str:
    """Return a text that is not empty; names of files and targets hold no control characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a text that is not empty, without control characters")
    return value


def _json_file(value: Any) -> str:
    """Return the name of a file for JSON: whatever is there is replaced by a new baseline."""
    if not isinstance(value, str) or not value.endswith(".json") or not value.isprintable():
        raise ValueError("a file whose name ends in .json")
    return value


def _flag(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


LARGEST = 10**18
"""What is passed on as JSON, and drawn with, in 64 bits."""


def _whole(least: int) -> Kind:
    """Return the kind of whole numbers from `least` on."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a whole number of at least {least}")
        if value > LARGEST:
            raise ValueError(f"a whole number of at most {LARGEST}")
        return value

    return check


def _number(low: float, high: float, words: str) -> Kind:
    """Return the kind of numbers from `low` to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(words)
        return float(value)

    return check


def _case(value: Any) -> str:
    """Return a case's descriptor, in its normal form."""
    try:
        return Case.parse(_text(value)).descriptor
    except ValueError as error:
        raise ValueError(f"a case such as 'm4s16e8u16-float64-seed0' ({error})") from None


def _perhaps(value: Any, known: Iterable[str]) -> str:
    """Return which of some names was perhaps meant, as the end of a sentence."""
    near = difflib.get_close_matches(str(value), [*known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _cell(value: Any) -> str:
    """Return the name of a cell, or of a network."""
    try:
        return cell_named(_text(value)).name
    except ValueError as error:
        raise ValueError(str(error).partition("expected ")[2]) from None


def _one_of(known: tuple[str, ...]) -> Kind:
    """Return the kind of names that are known."""

    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}{_perhaps(value, known)}")
        return str(value)

    return check


def _format(value: Any) -> str:
    """Check a format's name: float64, float32, or one of low precision, with its contract after a plus."""
    try:
        return format_named(str(value)).name
    except ValueError as error:
        raise ValueError(str(error).partition("expected ")[2] + _perhaps(value, BASES)) from None


def _list_of(kind: Kind, length: int | None = None) -> Kind:
    """Return the kind of lists, not empty and without repetition, or of a fixed length."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value or (length is not None and len(value) != length):
            raise ValueError(f"a list of {length}" if length else "a list that is not empty")
        found = []
        for item in value:
            try:
                found.append(kind(item))
            except ValueError as error:
                raise ValueError(f"in place of {shown(item)} {error}") from None
        if length is None and len(set(found)) < len(found):
            raise ValueError("a list that names nothing twice")
        return tuple(found)

    return check


_FACTOR = "a number above 1 and up to 100"
_SPEED_KEYS: dict[str, Kind] = {
    "target": _text,
    "than": _text,
    "cases": _list_of(_case),
    "margin": _number(1.001, 100, _FACTOR),
    "limit": _number(1.001, 100, _FACTOR),
    "seconds": _number(0.02, 60, "a number of seconds from 0.02 to 60"),
}
_ACCURACY_KEYS: dict[str, Kind] = {"factor": _number(1.001, 100, _FACTOR)}
_FAULT_KEYS: dict[str, Kind] = {"score": _number(0, 1, "a share from 0 to 1"), "examples": _whole(1)}
_KEYS: dict[str, Kind] = {
    "targets": _list_of(_text),
    "dtypes": _list_of(_format),
    "examples": _whole(1),
    "seeds": _list_of(_whole(0)),
    "max-dims": _list_of(_whole(1), 4),
    "regimes": _list_of(_one_of(REGIMES)),
    "claims": _list_of(_text),
    "without": _list_of(_text),
    "max-unjudged": _number(0, 1, "a share from 0 to 1"),
    "bitwise": _flag,
    "vectors": _flag,
    "time-limit": _number(1, 86400, "a number of seconds from 1 to 86400"),
    "baseline": _json_file,
    "cell": _cell,
    "layers": _whole(1),
    "bidirectional": _flag,
}
_TABLES: dict[str, tuple[dict[str, Kind], tuple[str, ...], type[Any]]] = {
    "accuracy": (_ACCURACY_KEYS, (), Accuracy),
    "faults": (_FAULT_KEYS, (), FaultScore),
    "speed": (_SPEED_KEYS, ("target", "than"), Speed),
}


# ---- Reading


def find_config(start: Path | None = None) -> Path:
    """Return the nearest pyproject.toml, here or above.

    Raises
    ------
    ConfigError
        "there is no pyproject.toml here or above ...".
    """
    start = (start or Path()).resolve()
    for folder in (start, *start.parents):
        if (folder / PYPROJECT).is_file():
            return folder / PYPROJECT
    raise ConfigError(f"there is no {PYPROJECT} in {start} or above it; name a file with --config FILE")


def read_config(path: str | Path | None = None) -> GateConfig:
    """Return the configuration of a file; of the nearest pyproject.toml where None is given.

    Raises
    ------
    ConfigError
        "pyproject.toml, line 12: unknown key 'exmaples', did you mean 'examples'?", and the like.
    """
    path = find_config() if path is None else Path(path)
    text, content = _read_toml(path)
    prefix: tuple[str, ...] = TABLE if path.name == PYPROJECT or TABLE[0] in content else ()
    reader = _Reader(path, text, prefix)
    if prefix and path.name != PYPROJECT and (stray := _own_keys(content)):
        raise reader.error(stray[:1], f"is outside [{'.'.join(TABLE)}]")
    table: Any = content
    for depth, name in enumerate(prefix):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise reader.error(prefix[: depth + 1], f"is {_shown(table)}, expected a table: [{'.'.join(prefix)}]")
    if not table:
        where = f"[{'.'.join(prefix)}]" if prefix else "anything"
        raise ConfigError(f"{path} does not have {where}; `lstm-checks gate --init` writes one to start from")
    return reader.config(table)


def _read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a file, and the table that it says."""
    try:
        data = read_bytes(path)
        return data.decode("utf-8", errors="replace"), parse_toml(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except FileError as error:
        raise ConfigError(f"{path} {error}") from error


def _own_keys(content: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys of the gate that stand at the top of a file."""
    return tuple(key for key in content if key in _KEYS or key in _TABLES)


class _Reader:
    """Turns the content of a file into a configuration, or says in which line it is wrong."""

    def __init__(self, path: Path, text: str, prefix: tuple[str, ...]) -> None:
        self.path, self.text, self.prefix = path, text, prefix

    def config(self, content: dict[str, Any]) -> GateConfig:
        """Return the configuration."""
        tables = {name: content[name] for name in _TABLES if name in content}
        values = self._values({k: v for k, v in content.items() if k not in tables}, _KEYS, (), ("targets",), _TABLES)
        for name, table in tables.items():
            keys, needed, make = _TABLES[name]
            if not isinstance(table, dict):
                raise self._error((), name, f"is {_shown(table)}, expected a table: [{'.'.join((*self.prefix, name))}]")
            values[name] = make(**self._values(table, keys, (name,), needed))
        cell = self._cell(values)
        values["cell"] = cell.name
        if "speed" in values:
            values["speed"] = replace(values["speed"], cell=cell.name)
        if cell.places:
            values.setdefault("max_dims", NETWORK_DIMS)
        config = GateConfig(**values, root=self.path.resolve().parent)
        unknown = [name for name in config.without if name not in cell.gradients]
        if unknown:
            hint = f"one of {', '.join(cell.gradients)}{_perhaps(unknown[0], cell.gradients)}"
            raise self._error((), "without", f"names {shown(unknown[0])}, expected {hint}")
        if config.vectors and cell is not PLAIN:
            try:
                read_vectors_file(cell=cell)
            except VectorsError as error:
                key = "vectors" if "vectors" in values else "cell"
                raise self._error((), key, f"asks for certified vectors, and {error}; or say vectors = false") from None
        both = [name for name in config.without if name in config.claims]
        if both:
            raise self._error((), "without", f"names {both[0]!r}, expected none of claims")
        if config.speed is not None and config.speed.limit <= config.speed.margin:
            speed = config.speed
            raise self._error(("speed",), "limit", f"is {speed.limit:g}, expected more than margin, {speed.margin:g}")
        return config

    def _cell(self, values: dict[str, Any]) -> Cell:
        """Return the cell that the keys say together, and take those from the values that are no attributes."""
        name, layers, both = values.pop("cell", "plain"), values.pop("layers", None), values.pop("bidirectional", None)
        if layers is None and both is None:
            return cell_named(name)
        said = "layers" if layers is not None else "bidirectional"
        if "@" in name:
            raise self._error((), said, f"is given, but the cell {name} is a network, expected the one or the other")
        try:
            return cell_named(f"{name}@{layers or 1}x{'both' if both else 'forward'}")
        except ValueError as error:
            raise self._error((), said, f"is {_shown(values.get(said, layers))}: {error}") from None

    def _values(
        self,
        content: dict[str, Any],
        keys: dict[str, Kind],
        table: tuple[str, ...],
        needed: tuple[str, ...],
        more: Any = (),
    ) -> dict[str, Any]:
        """Return the values of one table by the names of the attributes."""
        found = {}
        for key, value in content.items():
            if key not in keys:
                near = difflib.get_close_matches(key, [*keys, *more], n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join([*keys, *more])}"
                raise self._error(table, key, f"is unknown, {hint}")
            try:
                found[key.replace("-", "_")] = keys[key](value)
            except ValueError as error:
                raise self._error(table, key, f"is {_shown(value)}, expected {error}") from None
        for key in needed:
            if key not in content:
                where = (*self.prefix, *table)
                named = f"[{'.'.join(where)}]" if where else "it"
                raise ConfigError(f"{self._place(where)}: {named} lacks the key {key!r}")
        return found

    def _error(self, table: tuple[str, ...], key: str, words: str) -> ConfigError:
        """Return the error about a key, with its line."""
        return self.error((*self.prefix, *table, key), words)

    def error(self, key: tuple[str, ...], words: str) -> ConfigError:
        """Return the error about a key, named with the tables that it is in, with its line."""
        return ConfigError(f"{self._place(key)}: key {key[-1]!r} {words}")

    def _place(self, key: tuple[str, ...]) -> str:
        """Return the file, and the line of a key or of the table it is in."""
        line = next(filter(None, (_line_of(self.text, key[:n]) for n in range(len(key), 0, -1))), 0)
        return f"{self.path}, line {line}" if line else str(self.path)


def _shown(value: Any) -> str:
    """Return a value as TOML would have it, nearly."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else shown(value, 200)


def _line_of(text: str, wanted: tuple[str, ...]) -> int:
    """Return the line in which a key stands, named with its tables, or 0; tomllib tells no lines."""
    current = tuple[str, ...]()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+([^\]]+)\]", line)
        entry = re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", line)
        if entry:
            if (*current, *_parts(entry[1]))[: len(wanted)] == wanted:
                return number
        elif header:
            current = _parts(header[1])
            if current[: len(wanted)] == wanted:
                return number
    return 0


def _parts(dotted: str) -> tuple[str, ...]:
    """Return the parts of a dotted key."""
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


# ---- Writing a first one

DEFAULT_TEXT = """\
[tool.lstm-checks]
# What `lstm-checks gate` judges; every key but `targets` may go. docs/gate.md explains them.
targets = ["{target}"]          # pkg.mod:LSTM, path/file.py:LSTM, or a framework's name
# cell = "peephole"             # the equations that they follow, as `lstm-checks verify --cell`; default plain
# layers = 2                    # a network of it; bidirectional = true has both directions in each layer
dtypes = ["float64"]            # and "float32"; or of low precision, "bfloat16+gates32"
examples = 60                   # a target, a dtype and a seed
seeds = [0]                     # each draws other examples
# max-dims = [9, 60, 9, 9]      # largest m, s, e, u
# regimes = ["normal", "x1e-3", "x10", "x100", "mixed", "zero", "padded"]
# claims = ["h", "dX"]          # only these count, and each must have been judged; default: all there are
# without = ["dh0", "dC0"]      # gradients that the target need not give; default: every gradient must be judged
max-unjudged = {unjudged:g}             # share of examples that may be vacuous, inconclusive or unsupported
# bitwise = true                # calls with the same inputs must be the same to the bit
vectors = true                  # the certified test vectors
time-limit = 300                # seconds for one judgement; a target that hangs is stopped
baseline = "{baseline}"

[tool.lstm-checks.accuracy]     # use of the tolerance, against the baseline; this table away: not judged
factor = {factor:g}

[tool.lstm-checks.faults]       # share of the catalogued LSTM bugs that examples like these catch
score = 1.0
# examples = 60

[tool.lstm-checks.speed]        # time of a target as a multiple of another's, against the baseline
target = "{target}"
than = "lstm_ref:LSTM"
cases = ["m4s16e8u16-float64-seed0", "m8s16e16u32-float64-seed0"]
margin = {margin:g}                    # certainly slower than this: a regression
limit = {limit:g}                     # certainly not slower than this: passed
"""


def initialize(path: str | Path | None = None, target: str = "your_package:LSTM") -> tuple[Path, str]:
    """Return where a first configuration belongs, and the new text of that file.

    Parameters
    ----------
    path : path, optional
        pyproject.toml in the current folder, by default.
    target : str
        What is to be judged. By default a name that the gate does not find, so that nobody is judged by mistake.

    Raises
    ------
    ConfigError
        When there is one already, or the file cannot be added to.
    """
    path = Path(path or PYPROJECT)
    text, newline = "", "\n"
    content: dict[str, Any] = {}
    if path.exists():
        text, content = _read_toml(path)
        newline = "\r\n" if "\r\n" in text else "\n"
    tool: Any = content.get(TABLE[0], {})
    there = TABLE if isinstance(tool, dict) and TABLE[1] in tool else _own_keys(content)[:1]
    if there and (there == TABLE or path.name != PYPROJECT):
        what = f"[{'.'.join(TABLE)}]" if there == TABLE else f"key {there[0]!r} of the gate"
        raise ConfigError(f"{path}, line {_line_of(text, there)}: there is a {what} already; nothing was written")
    new = DEFAULT_TEXT.format(
        target=target,
        unjudged=tolerance.MAX_UNJUDGED,
        baseline=DEFAULT_BASELINE,
        factor=tolerance.ACCURACY_FACTOR,
        margin=tolerance.SPEED_MARGIN,
        limit=tolerance.SPEED_LIMIT,
    ).replace("\n", newline)
    whole = text + ("" if not text or text.endswith("\n") else newline) + (newline if text else "") + new
    try:
        parse_toml(whole.encode("utf-8"))
    except FileError as error:
        reason = str(error).removeprefix(NOT_TOML)
        raise ConfigError(f"{path} cannot be added to, write [{'.'.join(TABLE)}] by hand: {reason}") from error
    return path, whole
