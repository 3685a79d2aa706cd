"""A layer that nobody wrote for us as a target: bound by trying (`lstm_checks.binding`), and said to be so."""

import inspect
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.binding.bind import Bound, CannotBindError, Found, bind
from lstm_checks.contract import (
    EMPTY,
    LIKE_CELLS,
    SEVERAL,
    STRIDES,
    Target,
    not_interrupted,
    of_plain_arrays,
    output_form,
    undisturbed,
    with_article,
)
from lstm_checks.targets.adapters import ADAPTERS
from lstm_checks.targets.function import SMALL_SIZES, arguments_of, from_function, small_inputs
from lstm_checks.words import series
from lstm_ref.cell import Cell


def bound_target(found: Any, spec: str, cell: Cell) -> Target:
    """Return the target of a class or a function of somebody's own form.

    Raises
    ------
    CannotBindError
        With what was tried and what came nearest.
    """
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    name = getattr(found, "__qualname__", "")
    if not of_plain_arrays(cell):
        form = f"{output_form(cell)}, pullback = target({', '.join(('p', 'X', *cell.initial))})"
        raise CannotBindError(
            f"only an LSTM with the plain cell's parameters is bound by trying: as {cell.name} a function of yours is "
            f"judged that calls it, {form}, p with {series([*cell.parameters])}"
        )
    if module is None or not name.isidentifier() or getattr(module, name, None) is not found:
        raise CannotBindError("only what its module has by its own name is bound by trying")
    bound = bind(Found(found, name, module, _folder(module)), cell)
    of_numpy = bound.library == "np"
    target = from_function(bound.function, spec, cell) if of_numpy else _of_library(bound, spec, cell)
    if of_numpy:
        target = _in_its_dtypes(target, bound)
    asked = {STRIDES} if bound.once else {SEVERAL, STRIDES}
    can = (target.can & asked if of_numpy else target.can - {EMPTY}) | {LIKE_CELLS}
    what = "class" if inspect.isclass(found) else "function"
    its_own = target.kind.removeprefix("function in the vjp form")
    kind = f"{what} of its own form" + (its_own if its_own != target.kind else f", {with_article(target.kind)}")
    adapter = f"lstm-checks bind {spec} prints the adapter"
    notes = (*bound.notes, *target.notes, adapter)
    one_dtype = f"# to be judged with --dtype {target.dtypes[0]}\n" if len(target.dtypes) == 1 else ""
    return replace(target, kind=kind, can=can, notes=notes, adapter=one_dtype + bound.text, exact=bound.exact)


def _in_its_dtypes(target: Target, bound: Bound) -> Target:
    """Return the target with the dtypes that it stays in: some go on in float64 or in float32 wherever they began."""
    single, double = (_dtypes_of(target, bound, dtype) for dtype in ("float32", "float64"))
    told, dtypes = "", target.dtypes
    if double.get("h") == np.float32 and set(single.values()) == {np.dtype(np.float32)}:
        told, dtypes = "judged in float32 alone: of inputs in float64 its h comes in float32", ("float32",)
    elif dtypes != ("float32",) and (odd := [name for name, dtype in single.items() if dtype == np.float64]):
        told, dtypes = f"judged in float64 alone: of inputs in float32 its {odd[0]} comes in float64", ("float64",)
    return replace(target, dtypes=dtypes, notes=(told, *target.notes) if told else target.notes)


def _dtypes_of(target: Target, bound: Bound, dtype: str) -> dict[str, Any]:
    """Return the dtypes of what an adapter gives for inputs of a dtype; nothing where it raises."""
    taken = arguments_of(bound.function)
    try:
        with undisturbed():
            p, *inputs = small_inputs(SMALL_SIZES[1], dtype)
            (h, Cn), pullback = bound.function(p, *inputs[: taken - 1])
            dh, dCn = np.ones(np.shape(h), dtype), np.ones_like(inputs[1])
            found = {"h": h, "Cn": Cn, **pullback(*(dh, dCn)[: 1 if "dCn" in target.lacks else 2])}
    except BaseException as error:
        not_interrupted(error)
        return {}
    return {name: value.dtype for name, value in found.items() if hasattr(value, "dtype")}


def _folder(module: Any) -> str:
    """Return the folder that a module is imported from, where it is not the current one; nothing of a package's."""
    path = getattr(module, "__file__", None)
    if path is None or "." in module.__name__:
        return ""
    folder = Path(path).resolve().parent
    return "" if folder == Path(os.getcwd()).resolve() else str(folder)


def _of_library(bound: Bound, spec: str, cell: Cell) -> Target:
    """Return the target of an adapter of a framework's arrays, which differentiates it."""
    name = {"jnp": "jax"}.get(bound.library, bound.library)
    adapter = next(one for one in ADAPTERS if one.name == name)
    made: Target | None = adapter.ask("function_target", bound.function, spec, arguments_of(bound.function), cell)
    if made is None:
        raise CannotBindError("its adapter gives no arrays of the library", bound.text)
    return replace(made, cell=cell)
