"""Weights in files: npz and safetensors, read and written, and carried from one framework's layout to another's.

A file may hold several LSTMs: the modules of a model, a module's layers and directions. Each is found by its arrays'
names and converted by itself; an array that belongs to none is refused, unless one module is asked for.
"""

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.files import replacing
from lstm_checks.weights.layouts import Layout, LayoutError
from lstm_checks.weights.packing import from_framework, to_framework
from lstm_checks.words import first_few

SUFFIXES = (".npz", ".safetensors")


class WeightsError(Exception):
    """A file cannot be read, written or converted; the message says why and what to do."""


@dataclass(frozen=True, order=True)
class Place:
    """Which LSTM of a file: the module's prefix, the layer, and whether it runs backwards."""

    prefix: str = ""
    layer: int = 0
    reverse: bool = False


def read_arrays(path: str | Path) -> dict[str, Any]:
    """Return the arrays of an npz or safetensors file; nothing in either is ever executed.

    Raises
    ------
    WeightsError
        "there is no file model.npz", and the like.
    """
    path = Path(path)
    load = _safetensors("load_file") if _suffix(path) == ".safetensors" else _load_npz
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        arrays = dict(load(path))
    except WeightsError:
        raise
    except Exception as error:
        # Whatever a damaged file makes the readers raise.
        raise WeightsError(f"{path} cannot be read as {_suffix(path)[1:]}: {_reason(error)}") from error
    if not arrays:
        raise WeightsError(f"{path} holds no arrays")
    return arrays


def _load_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an npz file; pickled objects are refused."""
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is no npz file: it is not a zip archive")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as npz or safetensors, replacing the file in one step.

    Raises
    ------
    WeightsError
        When the file cannot be written; what was there before is as it was.
    """
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save = _safetensors("save_file") if _suffix(path) == ".safetensors" else None
    try:
        with replacing(path) as temporary:
            if save is not None:
                save(contiguous, temporary)
            else:
                _save_npz(temporary, contiguous)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}") from error


def _save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an npz file; by hand, as `np.savez` takes the names as keywords and so not every one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _suffix(path: Path) -> str:
    """Return which kind of file it is."""
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} ends in {path.suffix or 'nothing'!r}, expected {' or '.join(SUFFIXES)}")
    return path.suffix


def _safetensors(name: str) -> Any:
    """Return a function of the package safetensors."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise WeightsError("safetensors files need safetensors, which is not here: pip install safetensors") from None
    return getattr(safetensors.numpy, name)


def _reason(error: Exception) -> str:
    """Return an exception's type and first line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def convert(
    arrays: Mapping[str, Any],
    source: Layout,
    target: Layout,
    *,
    module: str | None = None,
    bias: bool = True,
    units: int | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return arrays in another layout, and what was converted, in words.

    Names keep what stands before them (``encoder.lstm.``); a layer or direction other than the first stands before an
    array's own name as ``l1.`` or ``l0_reverse.``, or as PyTorch has it in its layout.

    Parameters
    ----------
    arrays : mapping
    source, target : Layout
    module : str, optional
        The one module to convert, "encoder.lstm"; arrays outside of it are left out.
    bias : bool
        If False, biases that are missing are zero.
    units : int, optional
        u, where one flat array does not tell.

    Raises
    ------
    WeightsError
        When arrays belong to no LSTM, or do not fit the layout; each is named.
    """
    if module is not None:
        kept = {name: array for name, array in arrays.items() if name.startswith((module + ".", module + "/"))}
        if not kept:
            raise WeightsError(
                f"no array's name begins with {module}., expected one of {first_few(_modules(arrays), 8, 8)}"
            )
        arrays = kept
    found, strangers = _find(arrays, source)
    if not found:
        raise WeightsError(
            f"there is no LSTM in layout {source.name} here, expected arrays named {', '.join(source.names)}; "
            f"there are {first_few(arrays, 8, 8)}"
        )
    if strangers:
        raise WeightsError(
            f"these arrays are of no LSTM in layout {source.name}: {first_few(strangers, 8, 8)}; "
            f"name the module to convert, --module {min(found).prefix.rstrip('./') or 'NAME'}"
        )
    converted: dict[Place, dict[str, Any]] = {}
    told = []
    for place, named in sorted(found.items()):
        for where, one in _directions(place, named, source):
            if not bias:
                one = _with_zero_biases(one, source)
            try:
                p = from_framework(one, source, units=units)
            except LayoutError as error:
                hint = ""
                if bias and any(b.is_bias and b.name not in one for b in source.blocks):
                    hint = "; if it was made without biases, --no-bias takes them as zero"
                raise WeightsError(f"{describe(where)}: {error}{hint}") from error
            converted[where] = to_framework(p, target)
            e, u = p["Uf"].shape
            told.append(f"{describe(where)}: input size {e}, {u} units, {p['Uf'].dtype}")
    return _name(converted, target), told


def describe(place: Place) -> str:
    """Return which LSTM it is, in words."""
    what = place.prefix.rstrip("./") or "LSTM"
    return f"{what} layer {place.layer}{', backwards' if place.reverse else ''}"


def _modules(names: Iterable[str]) -> list[str]:
    """Return the modules that names are in."""
    return sorted({re.sub(r"[./][^./]*$", "", name) for name in names if re.search(r"[./]", name)}) or list(names)


_TORCH = re.compile(r"(?P<base>.+)_l(?P<layer>\d+)(?P<reverse>_reverse)?")
_OTHER = re.compile(r"(?P<prefix>(?:.*[./])?)l(?P<layer>\d+)(?P<reverse>_reverse)?[./]")


def _find(arrays: Mapping[str, Any], layout: Layout) -> tuple[dict[Place, dict[str, Any]], list[str]]:
    """Return the arrays of each LSTM by the layout's own names, and the names of those of none."""
    found: dict[Place, dict[str, Any]] = {}
    strangers = []
    for name, array in arrays.items():
        place, own = _locate(name, layout)
        if own is None:
            strangers.append(name)
        else:
            found.setdefault(place, {})[own] = array
    return found, strangers


def _locate(name: str, layout: Layout) -> tuple[Place, str | None]:
    """Return where an array belongs, and its name in the layout, None if it has none there."""
    known = (*layout.names, *(layout.refused or {}))
    place, wanted = Place(), name
    if layout.names[0].endswith("_l0"):
        match = re.fullmatch(r"(?P<prefix>(?:.*[./])?)" + _TORCH.pattern, name)
        if match:
            place = Place(match["prefix"], int(match["layer"]), bool(match["reverse"]))
            wanted = f"{match['prefix']}{match['base']}_l0"
    # The longest first: recurrent_kernel ends in kernel.
    for own in sorted(known, key=len, reverse=True):
        prefix = wanted.removesuffix(own)
        if wanted.endswith(own) and (not prefix or prefix[-1] in "./"):
            match = _OTHER.fullmatch(prefix)
            if match and not layout.names[0].endswith("_l0"):
                return Place(match["prefix"], int(match["layer"]), bool(match["reverse"])), own
            return Place(prefix, place.layer, place.reverse), own
    return Place(), None


def _directions(place: Place, named: dict[str, Any], layout: Layout) -> list[tuple[Place, dict[str, Any]]]:
    """Return one LSTM a direction, where the first axis holds the directions."""
    counts = {np.shape(array)[0] for array in named.values() if np.ndim(array)}
    if not layout.directions or counts != {2}:
        return [(place, named)]
    return [
        (Place(place.prefix, place.layer, reverse), {name: array[k : k + 1] for name, array in named.items()})
        for k, reverse in enumerate((False, True))
    ]


def _with_zero_biases(arrays: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Return the arrays with zeros for the biases that are missing, of the size that V has."""
    weights = [block for block in layout.blocks if "V" in block.kinds and block.name in arrays]
    u = weights[0].units(np.shape(arrays[weights[0].name])) if weights else None
    if layout.flat or u is None:
        return dict(arrays)
    dtype = np.asarray(arrays[weights[0].name]).dtype
    zeros = {block.name: np.zeros(block.shape(1, u), dtype) for block in layout.blocks if block.is_bias}
    return zeros | dict(arrays)


def _name(converted: Mapping[Place, dict[str, Any]], layout: Layout) -> dict[str, Any]:
    """Return the arrays of all LSTMs by their names in a file; two directions joined where the layout holds both."""
    named: dict[str, Any] = {}
    layers = {(place.prefix, place.layer) for place in converted}
    for prefix, layer in sorted(layers):
        directions = [converted[p] for p in sorted(converted) if (p.prefix, p.layer) == (prefix, layer)]
        if layout.directions and len(directions) == 2:
            joined = {name: np.concatenate([one[name] for one in directions]) for name in layout.names}
            named |= {_full_name(Place(prefix, layer), name, layout): array for name, array in joined.items()}
            continue
        for place in (p for p in converted if (p.prefix, p.layer) == (prefix, layer)):
            named |= {_full_name(place, name, layout): array for name, array in converted[place].items()}
    return named


def _full_name(place: Place, name: str, layout: Layout) -> str:
    """Return the name in a file of an array of one LSTM."""
    tag = f"l{place.layer}{'_reverse' if place.reverse else ''}"
    if layout.names[0].endswith("_l0"):
        return f"{place.prefix}{name.removesuffix('_l0')}_{tag}"
    separator = "/" if place.prefix.endswith("/") else "."
    return f"{place.prefix}{name if tag == 'l0' else tag + separator + name}"
