"""Every value that there ought to be on a case, by name: all that the reference's own lines come to, step by step.

The reference's source is rewritten as a user's is, so each of its expressions is a quantity: `dC_`, but also
``dh_ * o``, which somebody may have in a line of its own. Their names are the reference's own text, their equations the
numbers at the end of its lines. So another cell's quantities are had without a word about it here.
"""

import builtins
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_checks.cases import Arrays
from lstm_checks.repair.rewrite import PROBE, Site, Sources
from lstm_ref.cell import Cell

Array = NDArray[Any]

ONES, ZERO = "1", "0"


@dataclass(frozen=True)
class Quantity:
    """A quantity of one case: its name, the equations it is of, and its values.

    `values` is (s, rows, columns) for what is another at each step, (1, rows, columns) for what is not; `axes` are the
    letters of rows and columns.
    """

    name: str
    equations: str
    values: Array
    axes: str
    of_steps: bool


@lru_cache(maxsize=4096)
def family_of(name: str, gates_there: tuple[str, ...]) -> tuple[str, str]:
    """Return a quantity's name with "?" for its gate or memory, and which; ("", "") for what is of none or several."""
    gates: set[str] = set()

    def one(match: re.Match[str]) -> str:
        gates.add(match[2])
        return f"{match[1]}?{match[3]}"

    letters = "|".join(gates_there)
    text = re.sub(rf"\b(d?)({letters})(_?)\b(?!\()", one, name)
    text = re.sub(rf"\b(d?[A-Z]|d?b|d?p)({letters})(\b)", one, text)
    text = text.replace("sigmoid_derivative", "derivative").replace("tanh_derivative", "derivative")
    return (text, next(iter(gates))) if len(gates) == 1 else ("", "")


class Due:
    """All quantities of one case.

    Parameters
    ----------
    arrays : Arrays
        The case's inputs and cotangents.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.cell = arrays.cell
        self.arrays = arrays
        m, s, e = arrays["X"].shape
        self.sizes = {"m": m, "s": s, "e": e, "u": arrays[self.cell.initial[0]].shape[-1], "1": 1}
        self.letters = (*self.cell.gates, *(state.name for state in self.cell.states[1:]))
        self.quantities: dict[str, Quantity] = {}
        self.distinct: list[Quantity] = []
        self._collect()

    @cached_property
    def by_axes(self) -> dict[tuple[str, bool], list[Quantity]]:
        """The quantities by their axes and by whether they are another at each step."""
        found: dict[tuple[str, bool], list[Quantity]] = defaultdict(list)
        for one in self.distinct:
            found[one.axes, one.of_steps].append(one)
        return found

    @cached_property
    def stacked(self) -> dict[tuple[str, bool], Array]:
        """The values of those of the same axes in one array each."""
        return {key: np.stack([one.values for one in many]) for key, many in self.by_axes.items()}

    @cached_property
    def families(self) -> dict[str, dict[str, Quantity]]:
        """The quantities of one kind by gate, where there is one for each of at least two gates."""
        found: dict[str, dict[str, Quantity]] = defaultdict(dict)
        for one in self.quantities.values():
            family, gate = family_of(one.name, self.letters)
            if family:
                found[family].setdefault(gate, one)
        return {family: gates for family, gates in found.items() if len(gates) > 1}

    def _add(self, name: str, equations: str, values: Any, axes: str, of_steps: bool = True) -> None:
        """Add a quantity; what is there by another name is not looked for by this one."""
        values = np.asarray(values, dtype=np.float64)
        if name in self.quantities or not np.isfinite(values).all():
            return
        one = self.quantities[name] = Quantity(name, equations, values, axes, of_steps)
        alike = (other for other in self.distinct if (other.values.shape, other.axes) == (values.shape, axes))
        if not any(np.array_equal(other.values, values) for other in alike):
            self.distinct.append(one)

    def _collect(self) -> None:
        """Collect all there are: those that are assigned first, whose names are the shortest."""
        cell, arrays = self.cell, {name: np.asarray(v, np.float64) for name, v in self.arrays.items()}
        with np.errstate(all="ignore"):
            seen, fc, bc = _seen(cell, arrays)
            self._add("X_s", "", np.moveaxis(arrays["X"], 1, 0), "me")
            recorded = list(self._recorded(seen))
            # What is assigned first, then what else has a name, then what has none.
            for assigned, named in ((True, True), (False, True), (False, False)):
                for name, equations, values, bound in recorded:
                    if bound == assigned and name.isidentifier() == named:
                        self._add(name, equations if bound or not named else "", values, self._axes(values))
                if assigned:
                    self._of_parameters(fc, bc)
                    self._constant(bc)
            self._of_gates(fc)

    def _constant(self, bc: Mapping[str, Any]) -> None:
        """Add what is the same at all steps: states, parameters, ones."""
        cell, arrays = self.cell, self.arrays
        for name in (*cell.initial, *cell.cotangents[1:]):
            self._add(f"{name} as given" if name in cell.cotangents else name, "", arrays[name][None], "mu", False)
        for name in cell.initial:
            self._add(f"d{name}", "", bc[f"d{name}"][None], "mu", False)
        for name, axes in cell.parameters.items():
            self._add(name, "", arrays[name][None], axes, False)
        of_biases = [name for name, axes in cell.parameters.items() if axes == "1u" and f"d{name[-1]}_" in bc]
        if of_biases:
            # What comes back to the row of ones, where biases are packed with the weights.
            rows = sum(np.moveaxis(bc[f"d{name[-1]}_"], 1, 0) @ arrays[name].T for name in of_biases)
            self._add("dk_ @ b.mT of all gates", "", rows, "m1")
        self._add(ONES, "", np.ones((1, 1, self.sizes["m"])), "1m", False)

    def _axes(self, values: Array) -> str:
        """Return the letters of a recorded value's axes: rows are samples, columns units or elements."""
        return "me" if values.shape[-1] == self.sizes["e"] != self.sizes["u"] else "mu"

    def _recorded(self, seen: Mapping[int, tuple[Site, list[Any]]]) -> Any:
        """Yield the name, equations and values by step of what each of the reference's expressions came to."""
        m, s = self.sizes["m"], self.sizes["s"]
        for site, values in seen.values():
            shapes = {getattr(value, "shape", ()) for value in values}
            shape: tuple[int, ...] = next(iter(shapes), ())
            if len(values) != s or len(shapes) != 1 or len(shape) != 2 or shape[0] != m:
                continue
            stacked = np.stack(values[::-1] if "backward" in site.function else values)
            bound = bool(site.binds) and site.binds[0].isidentifier() and not site.is_leaf
            yield site.binds[0] if bound else " ".join(site.text.split()), _equations(site), stacked, bound

    def _of_parameters(self, fc: Mapping[str, Any], bc: Mapping[str, Any]) -> None:
        """Add what each step adds to the parameters' gradients, the sums so far, and the whole."""
        s, cell = self.sizes["s"], self.cell
        parts = [cell.parameter_gradients(_Step(fc, t), _Step(bc, t)) for t in range(s)]
        for name, axes in cell.parameters.items():
            steps = np.stack([part[f"d{name}"] for part in parts])
            whole = np.sum(steps, axis=0)
            self._add(f"d{name}", "(1)", whole[None], axes, False)
            self._add(f"d{name} of a step", "(1)", steps, axes)
            self._add(f"d{name} of the steps so far", "(1)", np.cumsum(steps[::-1], axis=0)[::-1], axes)
            self._add(f"d{name} of the first steps", "(1)", np.cumsum(steps, axis=0), axes)

    def _of_gates(self, fc: Mapping[str, Any]) -> None:
        """Add what people write on the way to the activations and their derivatives."""
        for gate in self.cell.gates:
            if f"{gate}_" in fc:
                linear = np.moveaxis(fc[f"{gate}_"], 1, 0)
                self._add(f"-{gate}_", "", -linear, "mu")
                self._add(f"exp(-{gate}_)", "", np.exp(-linear), "mu")
                self._add(f"1 + exp(-{gate}_)", "", 1 + np.exp(-linear), "mu")
            value = np.moveaxis(fc[gate], 1, 0) if gate in fc else None
            if value is not None:
                self._add(f"1 - {gate}", "", 1 - value, "mu")
                self._add(f"{gate} * {gate}", "", value * value, "mu")
                self._add(f"{gate} * (1 - {gate})", "", value * (1 - value), "mu")
                self._add(f"1 - {gate} * {gate}", "", 1 - value * value, "mu")
        for state in self.cell.states[1:]:
            for name in (state.name, state.kept_as):
                if name in fc:
                    value = np.moveaxis(fc[name], 1, 0)
                    self._add(f"{name} * {name}", "", value * value, "mu")
                    self._add(f"1 - {name} * {name}", "", 1 - value * value, "mu")


class _Step(Mapping[str, Any]):
    """One step of intermediates, as an array of a single step."""

    def __init__(self, of: Mapping[str, Any], step: int) -> None:
        self.of, self.step = of, step

    def __getitem__(self, name: str) -> Any:
        return self.of[name][..., self.step : self.step + 1, :]

    def __iter__(self) -> Any:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)


def _seen(cell: Cell, arrays: Mapping[str, Any]) -> tuple[dict[int, tuple[Site, list[Any]]], Any, Any]:
    """Return what each expression of a cell's own equations came to, call by call, and the two passes' results."""
    sources, functions = _watched(cell)
    seen: dict[int, tuple[Site, list[Any]]] = {}

    def watch(site: Site) -> Any:
        def keep(value: Any) -> Any:
            seen.setdefault(site.number, (site, []))[1].append(value)
            return value

        return keep

    sources.handlers.update({site.number: watch(site) for site in sources.sites})
    before = getattr(builtins, PROBE, None)
    setattr(builtins, PROBE, sources.probe)
    try:
        fc = functions["forward"](arrays, arrays["X"], *(arrays[name] for name in cell.initial))
        bc = functions["backward"](arrays, fc, *(arrays[name] for name in cell.cotangents))
    finally:
        sources.handlers.clear()
        setattr(builtins, PROBE, before)
    return seen, fc, bc


@lru_cache(maxsize=8)
def _watched(cell: Cell) -> tuple[Sources, dict[str, Any]]:
    """Return a cell's forward and backward pass, rewritten: private copies of the functions' modules."""
    sources, functions = Sources(), {}
    for name in ("forward", "backward"):
        function = getattr(cell, name)
        module = ModuleType(function.__module__)
        path = str(sys.modules[function.__module__].__file__)
        tree = sources.rewrite(path, Path(path).read_text(encoding="utf-8"))
        exec(compile(tree, path, "exec"), vars(module))
        functions[name] = getattr(module, function.__name__)
    return sources, functions


def _equations(site: Site) -> str:
    """Return the numbers of the equations at the end of a line of the reference."""
    line = _lines_of(site.path)[site.statement[1] - 1]
    return ", ".join(re.findall(r"\(\d+\w?\)", line.rpartition("#")[2])) if "#" in line else ""


@lru_cache(maxsize=16)
def _lines_of(path: str) -> list[str]:
    """Return the lines of a file."""
    return Path(path).read_text(encoding="utf-8").splitlines()
