"""What a campaign judges: seeded chunks of examples, and the code that they are judged with.

A chunk is a number of examples with a seed of its own, so that its result depends on the plan and its index alone.
"""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import lstm_checks
import lstm_ref
from lstm_checks import strategies
from lstm_checks.cases import DTYPES, REGIMES, Case
from lstm_checks.contract import PLAIN, Target
from lstm_checks.strategies import draw_options
from lstm_checks.targets.adapters import FRAMEWORKS, SUFFIXES
from lstm_checks.targets.load import EXEC

CHUNK = 250


class CampaignError(Exception):
    """The campaign cannot be carried out, or not go on; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What is judged. Equal plans give equal results.

    Parameters
    ----------
    target : str
        As `lstm_checks.targets.load.load_target` takes it; every worker must be able to load it.
    examples, seed : int
    dtypes, regimes : tuple of str
    max_dims : tuple of int, optional
    chunk : int
        Number of examples judged at a time.
    cell : str
        The equations that the target is to follow: a name that `lstm_ref.cells.cell_named` knows.
    """

    target: str
    examples: int
    seed: int = 0
    dtypes: tuple[str, ...] = DTYPES
    regimes: tuple[str, ...] = REGIMES
    max_dims: strategies.Dims | None = None
    chunk: int = CHUNK
    cell: str = PLAIN.name

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.examples // self.chunk)

    def count(self, index: int) -> int:
        """Return the number of examples of a chunk."""
        return min(self.chunk, self.examples - index * self.chunk)

    def cases(self, index: int, target: Target) -> tuple[dict[Case, strategies.Origin], dict[str, Any]]:
        """Return the cases of a chunk with their origins, and the options they were drawn with."""
        options = draw_options(target, seed=self.seed, dtypes=self.dtypes, max_dims=self.max_dims, regimes=self.regimes)
        # Hypothesis begins with the simplest cases every time; with seeds of its own a chunk has none of another's.
        options["first_seed"] = index * strategies.SEEDS
        return strategies.draw_cases(self.count(index), (self.seed << 32) + index, **options), options

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Plan":
        """Return the plan of plain values."""
        found: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
        return cls(**found)


@cache
def code_of(target: str) -> dict[str, str]:
    """Return what results depend on besides the plan: digests of the sources, and versions of what draws the examples.

    Once a process, when the target has just been loaded: so it is the code that runs, whatever is edited meanwhile.
    """
    packages = (lstm_checks.__file__, lstm_ref.__file__)
    own = [path for package in packages for path in sorted(Path(str(package)).parent.rglob("*.py"))]
    found = {"the target": _digest(_sources(target)), "lstm-checks": _digest(own)}
    if target in FRAMEWORKS:
        found[target] = metadata.version(FRAMEWORKS[target].runs_on or target)
    return found | {name: metadata.version(name) for name in ("numpy", "scipy", "hypothesis")}


def _sources(target: str) -> list[Path]:
    """Return the files that hold a target, as far as its name tells: one, or those of the package it is in."""
    if target.startswith(EXEC):
        program = shutil.which(shlex.split(target.removeprefix(EXEC))[0])
        return [Path(program)] if program else []
    place = target if target.endswith(SUFFIXES) else target.rpartition(":")[0]
    if place.endswith((*SUFFIXES, ".py")):
        return [Path(place)]
    file = _file_of(place)
    if file is None:
        return []
    in_package = "." in place or Path(file).name == "__init__.py"
    return sorted(Path(file).parent.rglob("*.py")) if in_package else [Path(file)]


def _file_of(module: str) -> str | None:
    """Return the file of a module without importing anything, its packages neither."""
    known = getattr(sys.modules.get(module), "__file__", None)
    if known is not None:
        return str(known)
    path: Iterable[str] = [os.getcwd(), *sys.path]
    name, found = "", None
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        with suppress(Exception):
            found = PathFinder.find_spec(name, [str(place) for place in path])
        if found is None:
            return None
        path = found.submodule_search_locations or ()
    return found.origin if found is not None else None


def _digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of some files, one after the other."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def differing_in(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return what differs, in words; empty if nothing."""
    for name, value in ours.items():
        if theirs.get(name) != value:
            return f"{name} is {theirs.get(name)!r} there and {value!r} here"
    return ""
