"""Reading a file of certified vectors: one that is damaged or was edited is refused, and the message says where."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.certified.vectors import FORMAT, FORMAT_OF_CELLS, TENSOR_KEYS, Array, Vector, checksum
from lstm_checks.contract import PLAIN
from lstm_checks.files import FileError, parse_json, read_bytes, shown
from lstm_checks.formats import FORMATS, format_named, is_format
from lstm_ref.cell import Cell
from lstm_ref.cells import cell_named
from lstm_ref.network import Network

_HEX = re.compile(r"-?0x[01](\.[0-9a-f]+)?p[+-][0-9]+")


LONGEST_WORD = 200  # characters of an id or a flag


class VectorsError(ValueError):
    """A file of vectors is not as it was written; the message says where and how."""


NETWORKS = "networks"
"""What the file of networks is called in place of a cell."""

SHIPPED_SHA256 = "2ee480045ee0b4db988e788d3d0b6a25bd4736af3ac64ee94b61509027d511fa"
"""Of the file that came with the package, as `sha256sum` gives it. Sums inside a file show damage, and anybody can make
them anew; this one says that it is the file whose answers were certified."""

SHIPPED: dict[str, tuple[str, str]] = {
    "plain": ("vectors.json", SHIPPED_SHA256),
    "coupled": ("vectors-coupled.json", "0eafe8cdb4bea30b5b0f5aca1ef3f2123677d1c0e402b6f6b3cab56ecd8f321f"),
    "peephole": ("vectors-peephole.json", "7ff8caff02bebbf4be40ae8ba09d2aa981179914257b8879a41aeb36949a1b28"),
    "layernorm": ("vectors-layernorm.json", "19b7cf94a1d6caa798493df95bf35805421bcf4a34cb9256f18fc3d2dc68bc4e"),
    "projected": ("vectors-projected.json", "3ca17240b6170073702297402144343f43072fe1e9a00a9e941ede7bda05c9a1"),
    "clipped": ("vectors-clipped.json", "118eff9cc8cb78129f78f79ea014d169e89cad9b7d3e8e3b6cd66bc78e1d4fe9"),
    "gru": ("vectors-gru.json", "432e06afccc67aea4b200468cd9009c623ea89c2c079976dd2572720f6de141a"),
    "gru_reset_after": (
        "vectors-gru_reset_after.json",
        "fac6f891a3f556a9528e0567e5f8ec318e190999d2cc1191f370d70ac65f901b",
    ),
    "rnn": ("vectors-rnn.json", "456af5c58bbf65c93fc366fe32c92f1c6783705943481b931e5526822588b551"),
    "networks": ("vectors-networks.json", "6a264ca7f084c4258a3bc307999479a452bd4d79aa2aeab62dc341f6901a63fc"),
}
"""The files that came with the package, and the SHA-256 of each: by the cell's name, and one of networks."""


def shipped_vectors(cell: Cell = PLAIN) -> Path:
    """Return the path of a cell's vectors that came with the package; their JSON Schema lies beside them.

    Raises
    ------
    VectorsError
        "no vectors of the cell plain,g=relu came with lstm-checks, ...".
    """
    return _data(_shipped(cell)[0])


def all_shipped_vectors() -> tuple[Path, ...]:
    """Return the paths of all files of vectors that came with the package."""
    return tuple(_data(name) for name, _ in SHIPPED.values())


def _data(name: str) -> Path:
    """Return the path of a file that came with the package."""
    return Path(str(resources.files("lstm_checks"))) / "data" / name


def _shipped(cell: Cell) -> tuple[str, str]:
    """Return the file that came with the package for a cell, and its SHA-256."""
    known = SHIPPED.get(NETWORKS if isinstance(cell, Network) else cell.name)
    if known is None:
        raise VectorsError(
            f"no vectors of the cell {cell.name} came with lstm-checks, which has those of {', '.join(SHIPPED)}; "
            f"`lstm-checks vectors write FILE --cell {cell.name}` makes some, and --file FILE has them run"
        )
    return known


def vectors_schema(cell: Cell = PLAIN) -> Path:
    """Return the path of the JSON Schema of a file of a cell's vectors."""
    return _data("vectors.schema.json" if cell is PLAIN else "vectors-of-cells.schema.json")


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors that was read.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its bytes, in hexadecimal digits.
    vectors : tuple of Vector
    """

    path: Path
    sha256: str
    vectors: tuple[Vector, ...]

    @property
    def shipped(self) -> bool:
        """Whether it is, to the byte, a file that came with the package."""
        return any(self.sha256 == sha256 for _, sha256 in SHIPPED.values())


def read_vectors(path: str | Path | None = None, cell: Cell = PLAIN) -> tuple[Vector, ...]:
    """Return the vectors of a file; see `read_vectors_file`."""
    return read_vectors_file(path, cell).vectors


def read_vectors_file(path: str | Path | None = None, cell: Cell = PLAIN) -> VectorFile:
    """Return a file of vectors, all of it checked.

    Parameters
    ----------
    path : path, optional
        The file that came with the package where None; any other in its place is refused.
    cell : Cell
        Of what came with the package, whose: of a network those of that one alone.

    Raises
    ------
    VectorsError
        "vectors.json: vector m2s3e2u3-float64-seed1: it was changed after it was written (its sha256 does not match)".
    """
    wanted = shipped_vectors(cell) if path is None else Path(path)
    try:
        data = read_bytes(wanted)
        file = VectorFile(wanted, hashlib.sha256(data).hexdigest(), _parse(data))
    except OSError as error:
        raise VectorsError(f"{wanted}: {error.strerror or error}") from error
    except (FileError, VectorsError) as error:
        raise VectorsError(f"{wanted}: {error}") from None
    if path is not None:
        return file
    expected = _shipped(cell)[1]
    if file.sha256 != expected:
        raise VectorsError(
            f"{wanted}: its sha256 is {file.sha256}, expected {expected}: it is not the file that came with "
            "lstm-checks; install that anew, or name the file yourself with --file"
        )
    own = tuple(vector for vector in file.vectors if vector.cell.name == cell.name)
    if not own:
        have = ", ".join(dict.fromkeys(vector.cell.name for vector in file.vectors))
        raise VectorsError(
            f"no vectors of the network {cell.name} came with lstm-checks, which has those of {have}; "
            f"`lstm-checks vectors write FILE --cell {cell.name}` makes some, and --file FILE has them run"
        )
    return replace(file, vectors=own)


def _parse(data: bytes) -> tuple[Vector, ...]:
    """Return the vectors that a file's bytes hold."""
    if not data.isascii():
        strange = next(index for index, byte in enumerate(data) if byte > 127)
        raise VectorsError(f"byte {strange} is not ASCII: the file is damaged")
    content = parse_json(data)
    _expect_keys("the file", content, ("format", "notes", "vectors", "sha256"))
    if content["format"] not in (FORMAT, FORMAT_OF_CELLS):
        raise VectorsError(f"the format is {shown(content['format'])}, expected {FORMAT!r} or {FORMAT_OF_CELLS!r}")
    if not isinstance(content["vectors"], list) or not content["vectors"]:
        raise VectorsError("there are no vectors")
    keys = _VECTOR_KEYS if content["format"] == FORMAT else _KEYS_OF_CELLS
    vectors = tuple(_read_vector(index, vector, keys) for index, vector in enumerate(content["vectors"]))
    for name, count in Counter(vector.id for vector in vectors).items():
        if count > 1:
            raise VectorsError(f"vector {name} is there twice")
    head = {"format": content["format"], "notes": content["notes"]}
    if content["sha256"] != checksum(head | {"vectors": [vector["sha256"] for vector in content["vectors"]]}):
        raise VectorsError("vectors were removed, added or reordered, or the notes changed (sha256 does not match)")
    return vectors


def _expect_keys(where: str, value: Any, keys: Sequence[str]) -> None:
    """Refuse anything but an object with these keys."""
    if not isinstance(value, dict):
        raise VectorsError(f"{where} is not an object")
    missing, extra = [k for k in keys if k not in value], [k for k in value if k not in keys]
    if missing or extra:
        words = [f"lacks {', '.join(missing)}"] * bool(missing)
        words += [f"has unknown {', '.join(key if key.isidentifier() else shown(key) for key in extra[:4])}"] * bool(
            extra
        )
        raise VectorsError(f"{where} {' and '.join(words)}")


_VECTOR_KEYS = (
    "id", "dtype", "sizes", "sequences", "flags", "exposes", "inputs", "cotangents", "outputs", "gradients", "sha256",
)  # fmt: skip

_KEYS_OF_CELLS = ("id", "cell", "lengths", *_VECTOR_KEYS[1:])


def _read_vector(index: int, content: Any, keys: Sequence[str]) -> Vector:
    """Return one vector, checked."""
    name: Any = content.get("id") if isinstance(content, dict) else None
    where = f"vector {name}" if _is_word(name) else f"vector {index}"
    _expect_keys(where, content, keys)
    if not _is_word(name):
        raise VectorsError(f"{where}: the id is {shown(name)}, expected a word such as m2s3e2u3-float64-seed1")
    if content["sha256"] != checksum({key: value for key, value in content.items() if key != "sha256"}):
        raise VectorsError(f"{where}: it was changed after it was written (its sha256 does not match)")
    cell = _cell(where, content["cell"]) if "cell" in keys else PLAIN
    _expect_keys(f"{where}: sizes", content["sizes"], cell.letters)
    for key, size in content["sizes"].items():
        if type(size) is not int or size < 1:
            raise VectorsError(f"{where}: {key} is {shown(size)}, expected an integer of at least 1")
    sizes = tuple(content["sizes"][key] for key in cell.letters)
    if not isinstance(content["dtype"], str) or not is_format(content["dtype"]):
        raise VectorsError(f"{where}: the dtype is {shown(content['dtype'])}, expected one of {FORMATS}")
    form = format_named(content["dtype"])
    if type(content["sequences"]) is not bool:
        raise VectorsError(f"{where}: sequences is {shown(content['sequences'])}, expected true or false")
    for key in ("flags", "exposes"):
        if not isinstance(content[key], list) or not all(map(_is_word, content[key])):
            raise VectorsError(f"{where}: {key} is not a list of words")
    shapes = {name: cell.shape(name, *sizes) for name in (*cell.inputs, *cell.cotangents, *cell.tensors)}
    given: dict[str, Array] = {}
    for group, names in (("inputs", cell.inputs), ("cotangents", cell.cotangents)):
        _expect_keys(f"{where}: {group}", content[group], names)
        given |= {k: _array(f"{where}: {k}", content[group][k], shapes[k]) for k in names}
    for key, array in given.items():
        with np.errstate(over="ignore"):
            if (form.rounded(array).astype(np.float64) != array).any():
                raise VectorsError(f"{where}: {key} holds a number that is not a {content['dtype']}")
    answers: dict[str, dict[str, Array]] = {key: {} for key in TENSOR_KEYS}
    for group, names in (("outputs", cell.outputs), ("gradients", cell.gradients)):
        _expect_keys(f"{where}: {group}", content[group], names)
        for k in names:
            _expect_keys(f"{where}: {k}", content[group][k], TENSOR_KEYS)
            for key in TENSOR_KEYS:
                answers[key][k] = _array(f"{where}: {k} {key}", content[group][k][key], shapes[k])
            if any((answers[key][k] < 0).any() for key in ("radius", "tolerance")):
                raise VectorsError(f"{where}: {k} has a negative radius or tolerance")
    given = {k: form.rounded(array) for k, array in given.items()}
    lengths = _lengths(where, content["lengths"], cell, *sizes[:2]) if "lengths" in keys else None
    if lengths is not None:
        given["lengths"] = lengths
    return Vector(
        id=name,
        dims=sizes,
        dtype=content["dtype"],
        sequences=content["sequences"],
        flags=tuple(content["flags"]),
        exposes=tuple(content["exposes"]),
        arrays=Arrays(given, cell),
        values=answers["value"],
        radii=answers["radius"],
        tolerances=answers["tolerance"],
    )


def _cell(where: str, name: Any) -> Cell:
    """Return the cell of a vector's name for it."""
    try:
        return cell_named(name if _is_word(name) else "")
    except ValueError:
        raise VectorsError(
            f"{where}: the cell is {shown(name)}, expected a cell or a network of this version"
        ) from None


def _lengths(where: str, lengths: Any, cell: Cell, m: int, s: int) -> Array | None:
    """Return how many steps each sample has, where a vector of a network says it."""
    if lengths is None:
        return None
    if not isinstance(cell, Network):
        raise VectorsError(f"{where}: lengths is {shown(lengths)}, expected null of the cell {cell.name}")
    if not isinstance(lengths, list) or len(lengths) != m or not all(type(n) is int and 0 <= n <= s for n in lengths):
        raise VectorsError(f"{where}: lengths is {shown(lengths)}, expected {m} integers from 0 to {s}")
    return np.array(lengths)


def _is_word(value: Any) -> bool:
    """Return whether it is a text that can be printed in a line."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_WORD


def _array(where: str, numbers: Any, shape: tuple[int, ...]) -> Array:
    """Return a list of hexadecimal floats as an array."""
    count = math.prod(shape)
    if not isinstance(numbers, list) or len(numbers) != count:
        raise VectorsError(f"{where} is not a list of {shown(count)} numbers")
    found = np.empty(count)
    for index, text in enumerate(numbers):
        try:
            if not _HEX.fullmatch(text):
                raise ValueError
            found[index] = float.fromhex(text)
        except (TypeError, ValueError, OverflowError):
            raise VectorsError(f"{where}[{index}] is {shown(text)}, not a hexadecimal float") from None
    return found.reshape(shape)
