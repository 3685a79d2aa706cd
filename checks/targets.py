"""From what a user types to a Target: "pkg.mod:LSTM", "file.py:LSTM", "exec:./program", "model.onnx", or a framework.

What a name stands for is found out: the adapter of each framework that the user's own module has imported is asked, and
no framework is imported for it.
"""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from checks.adapters.common import AdapterError
from checks.calling import with_time_limit
from checks.contract import STATES, Target, from_function, from_layer, returns_pullback

FRAMEWORKS = {
    "torch": "torch.nn.LSTM",
    "flax": "flax.nnx.OptimizedLSTMCell",
    "equinox": "equinox.nn.LSTMCell",
    "keras": "keras.layers.LSTM",
    "onnx": "ONNX Runtime's LSTM, forward only",
}
EXPECTED = "a layer class or a function in the vjp form, or a framework's module, layer, cell or function"
FORMS = "expected pkg.mod:LSTM, path/file.py:LSTM, exec:./program, path/model.onnx, or " + ", ".join(FRAMEWORKS)

# Whose objects and functions are recognized; Keras first, whose layers may be modules of PyTorch, too.
_OBJECTS = ("keras", "flax", "equinox", "torch")
_FUNCTIONS = ("jax", "torch")
EXEC, FAULT, TIMEOUT_VARIABLE = "exec:", "fault:", "LSTM_CHECKS_TIMEOUT"


class TargetError(Exception):
    """The target cannot be had; the message says why and what to do."""


def load_target(spec: str, timeout: float | None = None) -> Target:
    """Return the target that `spec` names.

    Parameters
    ----------
    spec : str
        ``pkg.mod:LSTM`` or ``path/file.py:LSTM``: a layer class, a function in the vjp form, or a framework's module,
        layer, cell or function; ``path/model.onnx``; ``exec:./program --flag``, an external program that speaks as
        docs/exec.md says; ``fault:carry-dropped``, the reference with a catalogued fault; or one of `FRAMEWORKS`.
    timeout : float, optional
        Seconds that a call may take. Where None, the environment variable LSTM_CHECKS_TIMEOUT says it; without that a
        program has 10, and everything else as long as it likes.

    Raises
    ------
    TargetError
        "module 'mylib' has no 'LTSM'; did you mean 'LSTM'?", and the like.
    """
    seconds = _time_limit(timeout)
    if spec.startswith(EXEC):
        return _load_program(spec, seconds)
    if spec.startswith(FAULT):
        return _load_fault(spec)
    _choose_keras_backend()
    target = _load_named(spec)
    return target if seconds is None else with_time_limit(target, seconds)


def _time_limit(timeout: float | None) -> float | None:
    """Return the seconds that a call may take, as said by the caller or the environment."""
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


def _load_program(spec: str, seconds: float | None) -> Target:
    """Return the target of an external program."""
    from checks.adapters.program import PROGRAM_SECONDS, ProgramError, program_target

    try:
        return program_target(spec, spec.removeprefix(EXEC), PROGRAM_SECONDS if seconds is None else seconds)
    except ProgramError as error:
        raise TargetError(f"target {spec!r}: {error}") from error


def _load_fault(spec: str) -> Target:
    """Return the reference with a fault of the catalogue planted in it."""
    from checks.faults.catalogue import find
    from checks.faults.model import fault_target

    try:
        return replace(fault_target(find(spec.removeprefix(FAULT))), name=spec)
    except ValueError as error:
        raise TargetError(str(error)) from error


def _load_named(spec: str) -> Target:
    """Return the target of a framework's name, a model's file, or something in a module or a file."""
    if spec in FRAMEWORKS:
        return _load_framework(spec)
    if spec.endswith(".onnx"):
        if not Path(spec).is_file():
            raise TargetError(f"there is no file {spec}")
        return _adapter("onnx", "file_target")(spec)
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        near = difflib.get_close_matches(spec, FRAMEWORKS, n=1)
        raise TargetError(f"target {spec!r} names nothing, {FORMS}" + (f"; did you mean {near[0]!r}?" if near else ""))
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    return to_target(_find(module, place, name), spec)


def _load_framework(name: str) -> Target:
    """Return a framework's own LSTM."""
    target: Target = _adapter(name, "framework_target")()
    return target


def _choose_keras_backend() -> None:
    """Let Keras, should anybody import it, run on what is here: it would ask for TensorFlow, which is not supported."""
    if "KERAS_BACKEND" in os.environ or "keras" in sys.modules or importlib.util.find_spec("keras") is None:
        return
    os.environ["KERAS_BACKEND"] = "torch" if importlib.util.find_spec("torch") is not None else "jax"


def _adapter(name: str, function: str) -> Any:
    """Return a function of an adapter, whose reasons come as a TargetError."""
    try:
        adapter = importlib.import_module(f"checks.adapters.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "checks":
            raise
        missing = error.name.partition(".")[0]
        raise TargetError(
            f"target {name!r} needs {missing}, which is not here: pip install 'lstm-checks[{name}]'"
        ) from None

    def guarded(*arguments: Any) -> Any:
        try:
            return getattr(adapter, function)(*arguments)
        except AdapterError as error:
            raise TargetError(str(error)) from error

    return guarded


def _import_file(place: str) -> ModuleType:
    """Return the module of a file."""
    path = Path(place)
    if not path.is_file():
        near = _near_file(path)
        raise TargetError(f"there is no file {place}" + (f"; did you mean {near}?" if near else ""))
    # Not the name of a module that is here already: a target's numpy.py must not become everybody's numpy.
    here = getattr(sys.modules.get(path.stem), "__file__", None)
    own = path.stem not in sys.modules or Path(here or "").resolve() == path.resolve()
    name = path.stem if own else f"{path.stem}_to_be_judged"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise TargetError(f"{place} cannot be imported: it is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    # As `python file.py` has it: the file's own folder comes first, and it can be pickled by name.
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise TargetError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    return module


def _near_file(path: Path) -> str:
    """Return the most similarly named Python file beside `path`, or nothing."""
    folder = path.parent if path.parent.is_dir() else Path()
    names = [entry.name for entry in folder.glob("*.py")]
    near = difflib.get_close_matches(path.name, names, n=1)
    return str(folder / near[0]) if near else ""


def _import_module(place: str) -> ModuleType:
    """Return an importable module, the current folder's included."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if missing != place and not place.startswith(missing + "."):
            raise TargetError(
                f"module {place!r} cannot be imported: it needs {missing!r}, which is not here"
            ) from error
        near = difflib.get_close_matches(missing, _top_level_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; is it installed, or in the current folder?"
        raise TargetError(f"there is no module {missing!r}{hint}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"module {place!r} cannot be imported: {type(error).__name__}: {error}") from error


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
            raise TargetError(f"{place} has no {part!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        found = getattr(found, part)
    return found


def to_target(found: Any, spec: str) -> Target:
    """Return the target of whatever was found."""
    if isinstance(found, Target):
        return found
    if inspect.isclass(found):
        return _of_a_framework(_OBJECTS, "recognize", found, spec) or _from_class(found, spec)
    if not callable(found):
        raise TargetError(f"{spec} is a {type(found).__name__}, expected {EXPECTED}")
    if not inspect.isroutine(found) and (made := _of_a_framework(_OBJECTS, "recognize", found, spec)) is not None:
        return made
    if hasattr(found, "forward") and hasattr(found, "backward"):
        raise TargetError(f"{spec} is an instance of {type(found).__name__}, expected the class itself")
    return _from_callable(found, spec)


def _from_class(found: type[Any], spec: str) -> Target:
    """Return the target of a layer class in EpyNN's form."""
    needed = ("compute_shapes", "initialize_parameters", "forward", "backward", "compute_gradients")
    lacking = [method for method in needed if not callable(getattr(found, method, None))]
    if lacking:
        raise TargetError(
            f"{spec} is a class without {', '.join(lacking)}, expected a layer class with {', '.join(needed)}; "
            "or a function in the vjp form, (h, Cn), pullback = target(p, X, h0, C0); or a framework's module or cell"
        )
    return from_layer(found, spec)


def _from_callable(found: Any, spec: str) -> Target:
    """Return the target of a function: in the vjp form, of a framework's arrays, or one that makes modules."""
    try:
        target = from_function(found, spec)
    except TypeError as error:
        made = _of_a_framework(_OBJECTS, "recognize", found, spec)
        if made is None:
            raise TargetError(str(error)) from error
        return made
    if returns_pullback(found):
        return target
    states = STATES not in target.lacks
    return (
        _of_a_framework(_FUNCTIONS, "function_target", found, spec, states)
        or _of_a_framework(_OBJECTS, "recognize", found, spec)
        or target
    )


def _of_a_framework(names: tuple[str, ...], function: str, *arguments: Any) -> Target | None:
    """Return the target that the first of the adapters recognizes, of those whose framework is in use."""
    for name in names:
        if name in sys.modules:
            target: Target | None = _adapter(name, function)(*arguments)
            if target is not None:
                return target
    return None
