"""From what a user types to a Target: "pkg.mod:LSTM", "file.py:LSTM", "exec:./program", "model.onnx", or a framework.

What a name stands for is found out: the adapter of each framework that the user's own module has imported is asked, and
no framework is imported for it.
"""

import ast
import contextlib
import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import select
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from lstm_checks.calling import describe_error, with_time_limit
from lstm_checks.contract import (
    FREE,
    LIKE_CELLS,
    PLAIN,
    Bounds,
    Target,
    expect_cell,
    not_interrupted,
    of_plain_arrays,
    undisturbed,
    with_article,
)
from lstm_checks.targets.adapters import ADAPTERS, FRAMEWORKS, SUFFIXES, Adapter, in_use, of_file
from lstm_checks.targets.common import AdapterError, must_be_plain
from lstm_checks.targets.form import not_in_form
from lstm_checks.targets.function import arguments_of, expected_form, from_function, returns_pullback
from lstm_checks.targets.inside import judged_alone, layer_in, parted
from lstm_checks.targets.layer import from_layer, not_constructible
from lstm_checks.targets.network import EXPECTED as NETWORK_FUNCTION
from lstm_checks.targets.network import from_network_function
from lstm_checks.targets.ways import with_threads
from lstm_ref.cell import Cell, sharing
from lstm_ref.network import Network

EXPECTED = "a layer class or a function in the vjp form, or a framework's module, layer, cell or function"
FORMS = "expected pkg.mod:LSTM, path/file.py:LSTM, exec:./program, path/model.onnx, or " + ", ".join(FRAMEWORKS)

EXEC, FAULT, TIMEOUT_VARIABLE = "exec:", "fault:", "LSTM_CHECKS_TIMEOUT"


class TargetError(Exception):
    """The target cannot be had; the message says why and what to do.

    `draft` is an adapter of its own, half filled, where that came nearest.
    """

    def __init__(self, message: str, draft: str = "") -> None:
        super().__init__(message)
        self.draft = draft


def load_target(
    spec: str,
    timeout: float | None = None,
    on_import: Callable[[], object] = lambda: None,
    cell: Cell = PLAIN,
    bounds: Bounds = FREE,
) -> Target:
    """Return the target that `spec` names.

    Parameters
    ----------
    spec : str
        ``pkg.mod:LSTM`` or ``path/file.py:LSTM``: a layer class, a function in the vjp form, or a framework's module,
        layer, cell or function; ``path/model.onnx``; ``exec:./program --flag``, an external program that speaks as
        docs/exec.md says; ``fault:carry-dropped``, the reference with a catalogued fault; or one of
        `lstm_checks.targets.adapters.FRAMEWORKS`.
    timeout : float, optional
        Seconds that a call may take. Where None, the environment variable LSTM_CHECKS_TIMEOUT says it; without that a
        program has 10, and everything else as long as it likes.
    on_import : callable
        Called once a module is imported, before what it holds is tried out.
    cell : Cell
        The equations that the target is to follow: a value of `lstm_ref.cells.CELLS`. Frameworks' own things are plain
        LSTMs, or have the activations that their options say.
    bounds : Bounds
        What the process of an external program is not to have; everything else is loaded into this one.

    Raises
    ------
    TargetError
        "module 'mylib' has no 'LTSM'; did you mean 'LSTM'?", and the like.
    """
    expect_cell(cell)
    seconds = time_limit(timeout)
    if spec.startswith(EXEC):
        return _load_program(spec, seconds, cell, bounds)
    if spec.startswith(FAULT):
        return _load_fault(spec, cell)
    for adapter in ADAPTERS:
        adapter.prepare()
    target = _load_named(spec, on_import, cell)
    return target if seconds is None else with_time_limit(target, seconds)


def is_spec(name: str) -> bool:
    """Return whether a target's name has a form that `load_target` takes; an object's own name has none."""
    return ":" in name or name.endswith(SUFFIXES) or name in FRAMEWORKS


def files_of(spec: str, root: Path | None = None) -> list[Path]:
    """Return the files that hold a target, as far as its name tells; nothing is imported, and none need be there.

    Of a program its own file and those among its arguments, of a module all of its top-level package.

    Parameters
    ----------
    spec : str
        As `load_target` takes it.
    root : path, optional
        The folder that names are relative to; by default the current one.
    """
    root = Path.cwd() if root is None else root
    if spec.startswith(EXEC):
        try:
            words = shlex.split(spec.removeprefix(EXEC))
        except ValueError:
            return []
        program = [Path(found) for found in [shutil.which(words[0])] if found] if words else []
        return program + [root / word.rpartition("=")[2] for word in words if word]
    place = spec if spec.endswith(SUFFIXES) else parted(spec)[0].rpartition(":")[0]
    if place.endswith((*SUFFIXES, ".py")):
        return [root / place]
    return _files_of_module(place, root)


def _files_of_module(name: str, root: Path) -> list[Path]:
    """Return the file of a module, or those of the package that it is in, found without running any of it."""
    top = name.partition(".")[0]
    if not top.isidentifier():
        return []
    found = importlib.machinery.PathFinder.find_spec(top, [str(root), *sys.path])
    for finder in sys.meta_path:  # where it is installed in place of its folder
        with contextlib.suppress(Exception):
            found = found or finder.find_spec(top, None)
    if found is None:
        return []
    files = [Path(found.origin)] if found.origin is not None else []
    folders = map(Path, found.submodule_search_locations or ())
    return files + [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def runs_elsewhere(spec: str) -> bool:
    """Return whether to load a target runs somebody's code: neither a program's nor a catalogued fault's runs here.

    On Windows, whose pipes cannot be waited for, everything does.
    """
    return hasattr(select, "poll") and not spec.startswith((EXEC, FAULT))


def time_limit(timeout: float | None) -> float | None:
    """Return the seconds that a call may take, as said by the caller or the environment; None where nobody says."""
    said = os.environ.get(TIMEOUT_VARIABLE) if timeout is None else timeout
    if said is None or said == "":
        return None
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise TargetError(f"the time limit is {said!r}, expected a number of seconds above 0")
    return seconds


def _load_program(spec: str, seconds: float | None, cell: Cell, bounds: Bounds) -> Target:
    """Return the target of an external program."""
    from lstm_checks.targets.program import PROGRAM_SECONDS, ProgramError, program_target

    seconds = PROGRAM_SECONDS if seconds is None else seconds
    try:
        return program_target(spec, spec.removeprefix(EXEC), seconds, cell, bounds)
    except ProgramError as error:
        raise TargetError(f"target {spec!r}: {error}") from error


def _load_fault(spec: str, cell: Cell) -> Target:
    """Return the reference with a fault of the catalogue planted in it."""
    from lstm_checks.faults import low_precision
    from lstm_checks.faults.catalogue import find
    from lstm_checks.faults.model import fault_target
    from lstm_checks.faults.short import short_target

    of_low_precision = low_precision.FAULTS.get(spec.removeprefix(FAULT))
    if of_low_precision is not None and cell is PLAIN:
        return replace(short_target(of_low_precision), name=spec)
    try:
        return replace(fault_target(find(spec.removeprefix(FAULT), cell), cell=cell), name=spec)
    except ValueError as error:
        raise TargetError(str(error)) from error


def _load_named(spec: str, on_import: Callable[[], object], cell: Cell) -> Target:
    """Return the target of a framework's name, a model's file, or something in a module or a file."""
    if isinstance(cell, Network) and spec in FRAMEWORKS and FRAMEWORKS[spec].networks:
        stack: Target = _ask(FRAMEWORKS[spec], "framework_network", cell)
        return stack
    if spec in FRAMEWORKS and cell is not PLAIN and FRAMEWORKS[spec].has(cell):
        own: Target = _ask(FRAMEWORKS[spec], "framework_target", cell)
        return own
    if spec in FRAMEWORKS:
        _must_be_plain(spec, cell)
        target: Target = _ask(FRAMEWORKS[spec], "framework_target")
        return target
    adapter = of_file(spec)
    if adapter is not None:
        if not Path(spec).is_file():
            raise TargetError(f"there is no file {spec}")
        target = _ask(adapter, "file_target", spec)
        return _as_asked(target, spec, cell)
    whole, layer = parted(spec)
    place, _, name = whole.rpartition(":")
    if not place or not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(f"target {spec!r} {_what_is_amiss(spec)}")
    module = _import_file(place) if place.endswith(".py") else _import_module(place, name)
    on_import()
    found = None
    try:
        found = _find(module, place, name)
        return to_target(layer_in(found, layer, whole) if layer else found, spec, cell)
    except TargetError as error:
        hint = "" if layer or found is None or "--layer " in str(error) else judged_alone(found, whole)
        if not hint:
            raise
        raise TargetError(f"{error}; {hint}", error.draft) from error
    except AdapterError as error:
        raise TargetError(str(error)) from error
    except BaseException as error:
        not_interrupted(error)
        raise TargetError(f"{spec} cannot be made out: {describe_error(error)}") from error


def _what_is_amiss(spec: str) -> str:
    """Return why a spec without a place or without a name cannot be followed, and what was perhaps meant."""
    path, near = Path(spec.rstrip(":")), difflib.get_close_matches(spec, FRAMEWORKS, n=1)
    if path.suffix == ".py" and path.is_file():
        return f"is a file; which of its objects? {_offers(path, f'{path}:')}"
    if path.suffix == ".ipynb":
        return "is a notebook; write its code to a file (jupyter nbconvert --to script) and name path/file.py:LSTM"
    if spec and path.is_dir():
        return "is a folder; name a file in it, path/file.py:LSTM, or a module, pkg.mod:LSTM"
    place, _, name = spec.rpartition(".")
    for module, what in ((spec, "LSTM"), (place, name)):
        # A library of functions has no LSTM; whoever types its name has one of them.
        if any(adapter.name == module and not adapter.title for adapter in ADAPTERS):
            return (
                f"is a library without an LSTM of its own; name a function of yours, path/file.py:lstm, or one of "
                f"{', '.join(FRAMEWORKS)}"
            )
        if all(part.isidentifier() for part in module.split(".")) and _is_module(module):
            return f"names no object of a module; did you mean '{module}:{what}'?"
    return f"names nothing, {FORMS}" + (f"; did you mean {near[0]!r}?" if near else "")


def _is_module(name: str) -> bool:
    """Return whether there is such a module; its packages are imported for that."""
    try:
        with undisturbed():
            return importlib.util.find_spec(name) is not None
    except BaseException as error:
        not_interrupted(error)
        return False


def _offers(path: Path, prefix: str) -> str:
    """Return what a file defines, each after a prefix; the classes first."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return f"say {prefix}LSTM, for example"
    kinds: tuple[Any, ...] = (ast.ClassDef, ast.FunctionDef)
    names = [node.name for kind in kinds for node in body if isinstance(node, kind) and node.name[0] != "_"]
    return f"it has {', '.join(prefix + name for name in names[:6])}" if names else "it defines no class or function"


def _must_be_plain(spec: str, cell: Cell) -> None:
    """Raise where another cell is asked of a framework's own thing."""
    try:
        must_be_plain(spec, "a framework's", cell)
    except AdapterError as error:
        raise TargetError(str(error)) from error


def _ask(adapter: Adapter, function: str, *arguments: Any) -> Any:
    """Return what an adapter's function returns; its reasons come as a TargetError."""
    try:
        return adapter.ask(function, *arguments)
    except AdapterError as error:
        raise TargetError(str(error)) from error


def _import_file(place: str) -> ModuleType:
    """Return the module of a file."""
    path = Path(place)
    if not path.is_file():
        near = _near_file(path)
        raise TargetError(f"there is no file {place}" + (f"; did you mean {near}?" if near else ""))
    name = _module_name(path)
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise TargetError(f"{place} cannot be imported: it is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    # As `python file.py` has it: the file's own folder comes first, and it can be pickled by name. Afterwards it comes
    # last, for what the file imports when it is called: by then no file in it can take the place of a module of ours.
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        with undisturbed():
            module_spec.loader.exec_module(module)
    except BaseException as error:
        not_interrupted(error)
        sys.modules.pop(name, None)
        raise TargetError(f"{place} cannot be imported: {describe_error(error)}") from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
    return module


def _module_name(path: Path) -> str:
    """Return the name for a file's module: the file's, unless another module that can be imported has that name."""
    name = path.stem
    known = sys.modules.get(name)
    found = getattr(known, "__spec__", None) or importlib.machinery.PathFinder.find_spec(name)
    origin = getattr(known, "__file__", None) or (found.origin if found is not None else None)
    another = (known is not None or found is not None) and (origin is None or not _is_file(origin, path))
    return f"{name}_py" if another or name in sys.stdlib_module_names else name


def _is_file(origin: str, path: Path) -> bool:
    """Return whether a module's origin is a file."""
    return Path(origin).resolve() == path.resolve()


def _near_file(path: Path) -> str:
    """Return the most similarly named Python file beside `path`, or nothing."""
    folder = path.parent if path.parent.is_dir() else Path()
    names = [entry.name for entry in folder.glob("*.py")]
    near = difflib.get_close_matches(path.name, names, n=1)
    return str(folder / near[0]) if near else ""


def _import_module(place: str, name: str) -> ModuleType:
    """Return an importable module, the current folder's included."""
    if not all(part.isidentifier() for part in place.split(".")):
        raise TargetError(f"there is no module {place!r}{_hint(place, place, name)}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with undisturbed():
            return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if missing != place and not place.startswith(missing + "."):
            raise TargetError(
                f"module {place!r} cannot be imported: it needs {missing!r}, which is not here"
            ) from error
        raise TargetError(f"there is no module {missing!r}{_hint(place, missing, name)}") from error
    except BaseException as error:
        not_interrupted(error)
        raise TargetError(f"module {place!r} cannot be imported: {describe_error(error)}") from error


def _hint(place: str, missing: str, name: str) -> str:
    """Return what was perhaps meant by a module that is not there."""
    path = Path(place.rstrip(":"))
    if path.suffix == ".ipynb":
        return "; a notebook's code must be in a file first (jupyter nbconvert --to script): path/file.py:LSTM"
    for file in (path, path.with_name(f"{path.name}.py")) if path.name else ():
        if file.is_file():
            return f"; did you mean the file, {file}:{name}?" if file.suffix == ".py" else f"; {file} is no Python file"
    if path.is_dir():
        return f"; {place} is a folder: name a file in it, {path / 'file.py'}:LSTM"
    near = difflib.get_close_matches(missing, _top_level_names(), n=1)
    return f"; did you mean {near[0]!r}?" if near else "; is it installed, or in the current folder?"


def _top_level_names() -> list[str]:
    """Return the names of modules and packages that are near at hand: loaded ones, and those in the current folder."""
    here = [entry.stem for entry in Path().iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()]
    return [*here, *{name.partition(".")[0] for name in sys.modules}, "lstm_fast", "lstm_ref"]


def _find(module: ModuleType, place: str, name: str) -> Any:
    """Return what `name`, which may have dots, is in the module."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if not hint and found is module and module.__file__ is not None:
                hint = f"; {_offers(Path(module.__file__), '')}"
            raise TargetError(f"{place} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def to_target(found: Any, spec: str, cell: Cell = PLAIN) -> Target:
    """Return the target of whatever was found."""
    if isinstance(found, Target):
        if cell not in (PLAIN, found.cell):
            raise TargetError(f"{spec} is a Target of the cell {found.cell.name}, expected {cell.name}")
        return found
    if isinstance(cell, Network) and inspect.isclass(found) and not _is_of_a_network(found, spec, cell):
        raise TargetError(f"{spec} is a class, expected a function of a network: {NETWORK_FUNCTION}")
    if inspect.isclass(found):
        return _recognized(found, spec, cell) or _from_class(found, spec, cell)
    if hasattr(found, "forward") and hasattr(found, "backward") and not callable(found):
        raise TargetError(f"{spec} is an instance of {type(found).__name__}, expected the class itself")
    if not callable(found):
        raise TargetError(f"{spec} is {with_article(type(found).__name__)}, expected {EXPECTED}")
    if not inspect.isroutine(found) and (made := _recognized(found, spec, cell)) is not None:
        return made
    if hasattr(found, "forward") and hasattr(found, "backward"):
        raise TargetError(f"{spec} is an instance of {type(found).__name__}, expected the class itself")
    return _from_callable(found, spec, cell)


def _from_class(found: type[Any], spec: str, cell: Cell) -> Target:
    """Return the target of a layer class in EpyNN's form."""
    needed = ("compute_shapes", "initialize_parameters", "forward", "backward", "compute_gradients")
    lacking = [method for method in needed if not callable(getattr(found, method, None))]
    if lacking:
        return _bound(
            found,
            spec,
            cell,
            f"{spec} is a class without {', '.join(lacking)}, expected a layer class with {', '.join(needed)}; "
            "or a function in the vjp form, (h, Cn), pullback = target(p, X, h0, C0); or a framework's module or cell",
        )
    reason = not_constructible(found)
    if reason:
        return _bound(
            found,
            spec,
            cell,
            f"{spec} cannot be made with the number of units alone: {reason}; name a class derived from it whose "
            "__init__(self, unit_cells) gives it the rest",
        )
    return from_layer(found, spec, cell)


def _bound(found: Any, spec: str, cell: Cell, refused: str) -> Target:
    """Return the target of what is in no known form, bound by trying; raise why it is refused where it is not."""
    from lstm_checks.binding.bind import CannotBindError
    from lstm_checks.targets.bound import bound_target

    try:
        return bound_target(found, spec, cell)
    except CannotBindError as error:
        raise TargetError(f"{refused}; {error}", error.draft) from error


def _from_callable(found: Any, spec: str, cell: Cell) -> Target:
    """Return the target of a function: in the vjp form, of a framework's arrays, or one that makes modules."""
    if isinstance(cell, Network):
        return _network_from_callable(found, spec, cell)
    if _names_taken(found)[:4] == ["p", "X", "states", "lengths"]:
        # As many arguments as (p, X, h0, C0), and none of them.
        raise TargetError(f"{expected_form(found, spec, cell)}{_hint_of_network(found)}")
    try:
        target = from_function(found, spec, cell)
    except TypeError as error:
        made = _recognized(found, spec, cell)
        return made if made is not None else _bound(found, spec, cell, f"{error}{_hint_of_network(found)}")
    if returns_pullback(found, cell):
        return target
    made = _of_a_framework(
        "functions", "function_target", found, spec, cell, arguments_of(found, cell), cell
    ) or _recognized(found, spec, cell)
    # Three arguments are as likely those of something that makes a layer, and cannot here.
    if made is None and arguments_of(found, cell) == 3 and cell.finals:
        refused = f"{expected_form(found, spec, cell)}; it could be called as none of these, nor does it make a layer"
        refused += _hint_of_network(found)
        return _bound(found, spec, cell, refused)
    return made or _bound_or(target, found, spec, cell)


def _names_taken(found: Any) -> list[str]:
    """Return what a callable calls its arguments; none where it does not say, as what is written in C."""
    try:
        return [*inspect.signature(found).parameters]
    except (TypeError, ValueError):
        return []


def _hint_of_network(found: Any) -> str:
    """Return which options are for a function that takes what one by name of a network does."""
    if _names_taken(found)[:3] != ["p", "X", "states"]:
        return ""
    return "; (p, X, states, lengths) is of a network: --layers N, --bidirectional or --reverse says of which"


def _bound_or(target: Target, found: Any, spec: str, cell: Cell) -> Target:
    """Return what gave no pullback in any small call as bound by trying, where it can be; else the target it was."""
    # What calls its arguments as the form does was written for it, whatever it raises.
    if _names_taken(found)[:2] == ["p", "X"]:
        return target
    try:
        bound = _bound(found, spec, cell, "")
    except TargetError:
        return target
    # The nearest reading is none of a function in the form that raises whatever it is given.
    return bound if bound.adapter and (bound.exact or not_in_form(target)) else target


def _network_from_callable(found: Any, spec: str, net: Network) -> Target:
    """Return the target of a function of a network: by name, or one that makes a framework's modules."""
    # One of the units alone makes layers of Keras.
    made = _recognized(found, spec, net) if arguments_of(found) in (0, 2) else None
    if made is not None:
        return made
    for adapter in in_use("functions"):
        target: Target | None = _ask(adapter, "network_function", found, spec, net)
        if target is not None:
            return target
    try:
        return from_network_function(found, spec, net)
    except TypeError as error:
        raise TargetError(str(error)) from error


def _is_of_a_network(found: Any, spec: str, net: Network) -> bool:
    """Return whether some adapter recognizes a class as that of a network."""
    return any(_network_of_a_framework(adapter, found, spec, net) is not None for adapter in in_use("objects"))


def _network_of_a_framework(adapter: Adapter, found: Any, spec: str, cell: Cell) -> Target | None:
    """Return the target of what an adapter recognizes as a network; raise where it is another than was asked for."""
    target: Target | None = _ask(adapter, "network_target", found, spec, cell) if adapter.networks else None
    if target is not None and cell not in (PLAIN, target.cell):
        # The option --lengths alone asks for one layer of the plain cell as well.
        own = f"--cell {target.cell.name} judges it as what it is"
        raise TargetError(f"{spec} is the network {target.cell.name}, expected {cell.name}, which was asked for; {own}")
    return target


def _recognized(found: Any, spec: str, cell: Cell) -> Target | None:
    """Return the target of a class, an object or a function that makes one, where it is some framework's."""
    return _of_a_framework("objects", "recognize", found, spec, cell, cell)


def _of_a_framework(what: str, function: str, found: Any, spec: str, cell: Cell, *more: Any) -> Target | None:
    """Return the target that the first of the adapters recognizes, of those whose framework is in use."""
    for adapter in in_use(what):
        if what == "objects" and (network := _network_of_a_framework(adapter, found, spec, cell)) is not None:
            return network
        target: Target | None = _ask(adapter, function, found, spec, *more)
        if target is not None:
            return with_threads(_as_asked(_of_its_arrays(target, cell, what), spec, cell), found)
    return None


def _of_its_arrays(target: Target, cell: Cell, what: str) -> Target:
    """Return a target of a plain LSTM's arrays as the cell that is asked for.

    That is one whose memory is cut off, and of functions one with other activations, too: a module's gates are told by
    its forward pass as that of a plain LSTM.
    """
    known, of_function = target.cell, what == "functions"
    target = replace(target, can=target.can | {LIKE_CELLS}) if of_function else target
    if not (cell.numbers or (of_function and of_plain_arrays(cell))) or cell.shared:
        return target
    if isinstance(cell, Network) or known.parameters.keys() != cell.parameters.keys():
        return target
    if isinstance(known, Network) or known.activations not in ({}, cell.activations):
        return target
    return replace(target, cell=sharing(cell, known.shared) if known.shared else cell)


def _as_asked(target: Target, spec: str, cell: Cell) -> Target:
    """Return a framework's target, of the cell that its own options say; raises where another one is asked for."""
    if target.cell is PLAIN:
        _must_be_plain(spec, cell)
    of_places = target.cell.cell if isinstance(target.cell, Network) else target.cell
    if cell not in (PLAIN, target.cell, of_places):
        raise TargetError(
            f"{spec} is a {target.cell.title} by its own options, --cell {target.cell.name}, expected {cell.name}"
        )
    return target
