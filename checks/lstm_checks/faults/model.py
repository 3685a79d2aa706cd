"""A fault as data, and the reference with faults planted in it.

A fault is a patch to the source of `lstm_ref`: the text as it stands and the text as it goes wrong. The reference stays
clean; what is patched is a private copy of its modules, compiled in memory when it is first asked for. Faults that
live between calls (stale buffers, written inputs) are planted in a wrapper round the target instead.
"""

import builtins
import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays, Case
from lstm_checks.contract import GRADIENTS, LAST, OUTPUTS, Target

FILES = ("activations.py", "forward.py", "backward.py", "gradients.py")
"""The files of `lstm_ref` that compute, each after those it imports."""

KIND = "lstm_ref with a planted fault"


@dataclass(frozen=True)
class Patch:
    """A change to one file of `lstm_ref`: `old`, which occurs in it exactly once, becomes `new`."""

    file: str
    old: str
    new: str


def in_activations(old: str, new: str) -> Patch:
    """Return a patch to `lstm_ref/activations.py`."""
    return Patch("activations.py", old, new)


def in_forward(old: str, new: str) -> Patch:
    """Return a patch to `lstm_ref/forward.py`."""
    return Patch("forward.py", old, new)


def in_backward(old: str, new: str) -> Patch:
    """Return a patch to `lstm_ref/backward.py`."""
    return Patch("backward.py", old, new)


def in_gradients(old: str, new: str) -> Patch:
    """Return a patch to `lstm_ref/gradients.py`."""
    return Patch("gradients.py", old, new)


@dataclass(frozen=True)
class Fault:
    """A known bug of LSTMs.

    Parameters
    ----------
    id : str
        Its name in kebab case.
    family : str
        The family it belongs to.
    title : str
        What goes wrong, in one sentence.
    explanation : str
        Which equation of `lstm_ref/README.md` is violated, and why people write it.
    patches : tuple of Patch
        The fault as a change of the reference's source.
    wrap : callable or None
        ``wrap(target)`` returns the target with the fault, for those that are no patch.
    seen : str
        Where it was met in public, if that is known: "owner/repository#number".
    example : str
        The descriptor of a case of the smallest sizes that shows it, as `lstm_checks.trials.search` found it.
    """

    id: str
    family: str
    title: str
    explanation: str
    patches: tuple[Patch, ...] = ()
    wrap: Callable[[Target], Target] | None = None
    seen: str = ""
    example: str = "m1s1e1u1-float64-seed0"

    @property
    def dims(self) -> tuple[int, int, int, int]:
        """The sizes (m, s, e, u) of `example`, the smallest that it takes to show the fault."""
        return Case.parse(self.example).dims


@dataclass(frozen=True)
class Kernel:
    """The three functions of a reference."""

    forward: Callable[..., dict[str, Any]]
    backward: Callable[..., dict[str, Any]]
    gradients: Callable[..., dict[str, Any]]


def fault_target(*faults: Fault) -> Target:
    """Return the reference with faults planted in it, as a target.

    State that a fault keeps between calls belongs to the target returned: another call gives a fresh one.

    Raises
    ------
    ValueError
        "faults carry-dropped and carry-halved change the same text of lstm_ref/backward.py, expected faults ..."
    """
    kernel = _kernel(tuple((fault.id, patch) for fault in faults for patch in fault.patches))

    def call(p: Any, X: Any, h0: Any, C0: Any, sequences: bool = True) -> Any:
        fc = kernel.forward(p, X, h0, C0)

        def pullback(dh: Any, dCn: Any, dhn: Any = None) -> dict[str, Any]:
            bc = kernel.backward(p, fc, dh, np.zeros_like(h0) if dhn is None else dhn, dCn)
            values = kernel.gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}
            return {name: values[name] for name in GRADIENTS}

        return (fc["h"], fc["C_"][..., -1, :].copy()), pullback

    target = Target("+".join(fault.id for fault in faults), KIND, call, frozenset({LAST}))
    for fault in faults:
        target = fault.wrap(target) if fault.wrap else target
    return target


def leaves_forward(faults: tuple[Fault, ...]) -> bool:
    """Return whether faults leave the forward pass as it is."""
    return not any(fault.wrap or {patch.file for patch in fault.patches} & set(FILES[:2]) for fault in faults)


def backward_with(faults: tuple[Fault, ...]) -> Callable[[dict[str, Any], Arrays], dict[str, Any]]:
    """Return what gives the gradients, from a forward pass, of the reference with faults that leave that as it is.

    Raises
    ------
    ValueError
        When two faults change the same text.
    """
    kernel = _kernel(tuple((fault.id, patch) for fault in faults for patch in fault.patches))

    def backward(fc: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
        bc = kernel.backward(arrays.p, fc, arrays.dh, arrays.dhn, arrays.dCn)
        values = kernel.gradients(fc, bc) | {name: bc[name] for name in ("dX", "dh0", "dC0")}
        return {name: values[name] for name in GRADIENTS}

    return backward


def evaluate(faults: Fault | tuple[Fault, ...], arrays: Arrays) -> dict[str, Any]:
    """Return h, Cn and the 15 gradients of the reference with one fault or several planted in it.

    Parameters
    ----------
    faults : Fault or tuple of Fault
        Faults that change different pieces of text; of those that live between calls, this is the first call.
    arrays : Arrays
        Of one case, in whatever arithmetic the faults allow.

    Raises
    ------
    ValueError
        When two faults change the same text.
    """
    faults = faults if isinstance(faults, tuple) else (faults,)
    target = fault_target(*faults)
    with np.errstate(all="ignore"):
        # Those that live between calls may write to what they are given.
        arrays = arrays.copy() if any(fault.wrap for fault in faults) else arrays
        (h, Cn), pullback = target.call(arrays.p, arrays.X, arrays.h0, arrays.C0)
        values = {"h": h, "Cn": Cn, **pullback(arrays.dh, arrays.dCn, arrays.dhn)}
    return {name: values[name] for name in (*OUTPUTS, *GRADIENTS)}


def diff(fault: Fault) -> str:
    """Return the fault as a unified diff of `lstm_ref`, or as the added source of its wrapper."""
    found: list[str] = []
    texts = _patched(tuple((fault.id, patch) for patch in fault.patches))
    for file in FILES:
        old, new = (text.splitlines(keepends=True) for text in (source(file), texts[file]))
        found += difflib.unified_diff(old, new, f"a/lstm_ref/{file}", f"b/lstm_ref/{file}")
    if fault.wrap:
        new = inspect.getsource(fault.wrap).splitlines(keepends=True)
        found += difflib.unified_diff([], new, "/dev/null", "b/the call of lstm_ref")
    return "".join(found)


def patched_source(fault: Fault | None, file: str) -> str:
    """Return the text of a file of the reference with a fault in it, or as it stands."""
    return _patched(tuple((fault.id, patch) for patch in fault.patches) if fault else ())[file]


@cache
def source(file: str) -> str:
    """Return the text of a file of the reference."""
    return resources.files("lstm_ref").joinpath(file).read_text(encoding="utf-8")


def _patched(patches: tuple[tuple[str, Patch], ...]) -> dict[str, str]:
    """Return the text of every file with the patches, each given with the id of its fault."""
    texts = {}
    for file in FILES:
        text, spans = source(file), []
        for owner, patch in (found for found in patches if found[1].file == file):
            count = text.count(patch.old)
            if count != 1:
                raise ValueError(f"fault {owner}: {patch.old!r} occurs {count} times in lstm_ref/{file}, expected once")
            start = text.index(patch.old)
            spans.append((start, start + len(patch.old), patch.new, owner))
        spans.sort()
        for (_, stop, _, one), (start, _, _, other) in pairwise(spans):
            if start < stop:
                raise ValueError(
                    f"faults {one} and {other} change the same text of lstm_ref/{file}, "
                    "expected faults that can be planted together"
                )
        for start, stop, new, _ in reversed(spans):
            text = text[:start] + new + text[stop:]
        texts[file] = text
    unknown = {patch.file for _, patch in patches} - set(FILES)
    if unknown:
        raise ValueError(f"patch to {', '.join(sorted(unknown))}, expected one of {', '.join(FILES)}")
    return texts


@lru_cache(maxsize=4096)
def _compiled(file: str, text: str) -> CodeType:
    """Return the code of a file."""
    return compile(text, f"lstm_ref/{file} (patched)", "exec")


@cache
def _as_it_stands() -> dict[str, ModuleType]:
    """Return a private copy of the reference's modules."""
    return _modules(())


def _modules(patches: tuple[tuple[str, Patch], ...]) -> dict[str, ModuleType]:
    """Return a private copy of the reference's modules with the patches; of those without any, the one that all have.

    Nothing enters `sys.modules`.
    """
    modules: dict[str, ModuleType] = {}

    def import_patched(name: str, *args: Any, **kwargs: Any) -> Any:
        return modules[name] if name in modules else builtins.__import__(name, *args, **kwargs)

    changed = {patch.file for _, patch in patches}
    for file, text in _patched(patches).items():
        name = f"lstm_ref.{PurePath(file).stem}"
        if patches and not changed & {file, FILES[0]}:  # all others import the first
            modules[name] = _as_it_stands()[name]
            continue
        module = ModuleType(name)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_patched}
        exec(_compiled(file, text), vars(module))
        modules[name] = module
    return modules


@lru_cache(maxsize=4096)
def _kernel(patches: tuple[tuple[str, Patch], ...]) -> Kernel:
    """Return the reference's functions with the patches."""
    modules = _modules(patches)
    return Kernel(
        modules["lstm_ref.forward"].lstm_forward,
        modules["lstm_ref.backward"].lstm_backward,
        modules["lstm_ref.gradients"].lstm_parameter_gradients,
    )
