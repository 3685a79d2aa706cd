"""Weights in files: npz and safetensors, read and written, and carried from one framework's layout to another's.

A file may hold several LSTMs: the modules of a model, a module's layers and directions. Each is found by its arrays'
names and converted by itself; an array that belongs to none is refused, unless one module is asked for.
"""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.files import replacing
from lstm_checks.weights.carrying import choose, names_in, pack_named, unpacked, variants_of
from lstm_checks.weights.layouts import Layout, LayoutError
from lstm_checks.weights.placing import Place, apart, joined, locate
from lstm_checks.words import first_few

SUFFIXES = (".npz", ".safetensors")


class WeightsError(Exception):
    """A file cannot be read, written or converted; the message says why and what to do."""


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
    cell: str | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return arrays in another framework's layout, and what was converted, in words.

    Names keep what stands before them (``encoder.lstm.``); a layer or direction other than the first stands before an
    array's own name as ``l1.`` or ``l0_reverse.``, or as PyTorch has it in its layout.

    Parameters
    ----------
    arrays : mapping
    source, target : Layout
        Any of the frameworks'; it is its layout of the cell that the arrays are of.
    module : str, optional
        The one module to convert, "encoder.lstm"; arrays outside of it are left out.
    bias : bool
        If False, biases that are missing are zero.
    units : int, optional
        u, where one flat array does not tell.
    cell : str, optional
        Of which cell they are, where arrays do not tell.

    Raises
    ------
    WeightsError
        When arrays belong to no cell, or do not fit the layout; each is named.
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
        for where, one in apart(place, named, source.directions):
            try:
                whole = one if bias else _with_zero_biases(one, source.name, cell, units)
                layout = choose(whole, source.name, cell, units)
                p = unpacked(whole, layout, units=units)
                target, converted[where] = pack_named(p, target.name)
            except LayoutError as error:
                raise WeightsError(f"{describe(where)}: {error}{_hint(one, source, bias)}") from error
            told.append(f"{describe(where)}: {_sizes(p, layout)}")
    return joined(converted, target), told


def _sizes(p: Mapping[str, Any], layout: Layout) -> str:
    """Return which cell it is, and its sizes, in words."""
    (e, u), dtype = p["Ug"].shape, p["Ug"].dtype
    projected = f" projected to {p['P'].shape[1]}" if "P" in p else ""
    of = "" if layout.cell.name == "plain" else f"{layout.cell.title}, "
    return f"{of}input size {e}, {u} units{projected}, {dtype}"


def _hint(arrays: Mapping[str, Any], source: Layout, bias: bool) -> str:
    """Return what to do where there are no biases."""
    has_biases = any(block.is_bias and block.name in arrays for one in variants_of(source.name) for block in one.blocks)
    may = any(block.is_bias for block in source.blocks)
    return "; if it was made without biases, --no-bias takes them as zero" if bias and may and not has_biases else ""


def describe(place: Place) -> str:
    """Return which cell it is, in words."""
    what = place.prefix.rstrip("./") or "LSTM"
    return f"{what} layer {place.layer}{', backwards' if place.reverse else ''}"


def _modules(names: Iterable[str]) -> list[str]:
    """Return the modules that names are in."""
    return sorted({re.sub(r"[./][^./]*$", "", name) for name in names if re.search(r"[./]", name)}) or list(names)


def _find(arrays: Mapping[str, Any], layout: Layout) -> tuple[dict[Place, dict[str, Any]], list[str]]:
    """Return the arrays of each cell by the layout's own names, and the names of those of none."""
    found: dict[Place, dict[str, Any]] = {}
    strangers, known = [], names_in(layout.name)
    for name, array in arrays.items():
        place, own = locate(name, known)
        if own is None:
            strangers.append(name)
        else:
            found.setdefault(place, {})[own] = array
    return found, strangers


def _with_zero_biases(arrays: Mapping[str, Any], name: str, cell: str | None, units: int | None) -> dict[str, Any]:
    """Return the arrays with zeros for the biases that are missing, where they are those of a cell then."""
    filled = []
    for layout in variants_of(name):
        weights = [block for block in layout.blocks if "V" in block.kinds and block.name in arrays]
        u = weights[0].units(np.shape(arrays[weights[0].name])) if weights else None
        if layout.flat or u is None or cell not in (None, layout.cell.name):
            continue
        dtype = np.asarray(arrays[weights[0].name]).dtype
        whole = {block.name: np.zeros(block.shape(1, u), dtype) for block in layout.blocks if block.is_bias}
        whole |= arrays
        try:
            choose(whole, name, layout.cell.name, units)
        except LayoutError:
            continue
        filled.append((layout.cell.name, whole))
    if len(filled) > 1:
        raise LayoutError(
            f"without biases they may be of {' and '.join(of for of, _ in filled)}: say which cell, --cell"
        )
    return filled[0][1] if filled else dict(arrays)
