"""Reading a file of certified vectors: one that is damaged or was edited is refused, and the message says where."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lstm_checks.cases import Arrays
from lstm_checks.certified.vectors import COTANGENT_NAMES, FORMAT, TENSOR_KEYS, Array, Vector, checksum
from lstm_checks.contract import PLAIN
from lstm_checks.files import FileError, parse_json, read_bytes, shown
from lstm_checks.formats import FORMATS, format_named, is_format

_HEX = re.compile(r"-?0x[01](\.[0-9a-f]+)?p[+-][0-9]+")


LONGEST_WORD = 200  # characters of an id or a flag


class VectorsError(ValueError):
    """A file of vectors is not as it was written; the message says where and how."""


def shipped_vectors() -> Path:
    """Return the path of the vectors that came with the package; their JSON Schema lies beside them."""
    return Path(str(resources.files("lstm_checks"))) / "data" / "vectors.json"


SHIPPED_SHA256 = "2ee480045ee0b4db988e788d3d0b6a25bd4736af3ac64ee94b61509027d511fa"
"""Of the file that came with the package, as `sha256sum` gives it. Sums inside a file show damage, and anybody can make
them anew; this one says that it is the file whose answers were certified."""


def vectors_schema() -> Path:
    """Return the path of the JSON Schema of a file of vectors."""
    return shipped_vectors().with_name("vectors.schema.json")


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
        """Whether it is, to the byte, the file that came with the package."""
        return self.sha256 == SHIPPED_SHA256


def read_vectors(path: str | Path | None = None) -> tuple[Vector, ...]:
    """Return the vectors of a file; see `read_vectors_file`."""
    return read_vectors_file(path).vectors


def read_vectors_file(path: str | Path | None = None) -> VectorFile:
    """Return a file of vectors, all of it checked.

    Parameters
    ----------
    path : path, optional
        The file that came with the package where None; any other in its place is refused.

    Raises
    ------
    VectorsError
        "vectors.json: vector m2s3e2u3-float64-seed1: it was changed after it was written (its sha256 does not match)".
    """
    wanted = shipped_vectors() if path is None else Path(path)
    try:
        data = read_bytes(wanted)
        file = VectorFile(wanted, hashlib.sha256(data).hexdigest(), _parse(data))
    except OSError as error:
        raise VectorsError(f"{wanted}: {error.strerror or error}") from error
    except (FileError, VectorsError) as error:
        raise VectorsError(f"{wanted}: {error}") from None
    if path is None and not file.shipped:
        raise VectorsError(
            f"{wanted}: its sha256 is {file.sha256}, expected {SHIPPED_SHA256}: it is not the file that came with "
            "lstm-checks; install that anew, or name the file yourself with --file"
        )
    return file


def _parse(data: bytes) -> tuple[Vector, ...]:
    """Return the vectors that a file's bytes hold."""
    if not data.isascii():
        strange = next(index for index, byte in enumerate(data) if byte > 127)
        raise VectorsError(f"byte {strange} is not ASCII: the file is damaged")
    content = parse_json(data)
    _expect_keys("the file", content, ("format", "notes", "vectors", "sha256"))
    if content["format"] != FORMAT:
        raise VectorsError(f"the format is {shown(content['format'])}, expected {FORMAT!r}")
    if not isinstance(content["vectors"], list) or not content["vectors"]:
        raise VectorsError("there are no vectors")
    vectors = tuple(_read_vector(index, vector) for index, vector in enumerate(content["vectors"]))
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


def _read_vector(index: int, content: Any) -> Vector:
    """Return one vector, checked."""
    name: Any = content.get("id") if isinstance(content, dict) else None
    where = f"vector {name}" if _is_word(name) else f"vector {index}"
    _expect_keys(where, content, _VECTOR_KEYS)
    if not _is_word(name):
        raise VectorsError(f"{where}: the id is {shown(name)}, expected a word such as m2s3e2u3-float64-seed1")
    if content["sha256"] != checksum({key: value for key, value in content.items() if key != "sha256"}):
        raise VectorsError(f"{where}: it was changed after it was written (its sha256 does not match)")
    _expect_keys(f"{where}: sizes", content["sizes"], "mseu")
    for key, size in content["sizes"].items():
        if type(size) is not int or size < 1:
            raise VectorsError(f"{where}: {key} is {shown(size)}, expected an integer of at least 1")
    m, s, e, u = (content["sizes"][key] for key in "mseu")
    if not isinstance(content["dtype"], str) or not is_format(content["dtype"]):
        raise VectorsError(f"{where}: the dtype is {shown(content['dtype'])}, expected one of {FORMATS}")
    form = format_named(content["dtype"])
    if type(content["sequences"]) is not bool:
        raise VectorsError(f"{where}: sequences is {shown(content['sequences'])}, expected true or false")
    for key in ("flags", "exposes"):
        if not isinstance(content[key], list) or not all(map(_is_word, content[key])):
            raise VectorsError(f"{where}: {key} is not a list of words")
    inputs = PLAIN.input_shapes(m, s, e, u)
    others = (*PLAIN.cotangents, *PLAIN.tensors)
    shapes = inputs | {name: PLAIN.shape(name, m, s, e, u) for name in others}
    given: dict[str, Array] = {}
    for group, names in (("inputs", PLAIN.inputs), ("cotangents", COTANGENT_NAMES)):
        _expect_keys(f"{where}: {group}", content[group], names)
        given |= {k: _array(f"{where}: {k}", content[group][k], shapes[k]) for k in names}
    for key, array in given.items():
        with np.errstate(over="ignore"):
            if (form.rounded(array).astype(np.float64) != array).any():
                raise VectorsError(f"{where}: {key} holds a number that is not a {content['dtype']}")
    answers: dict[str, dict[str, Array]] = {key: {} for key in TENSOR_KEYS}
    for group, names in (("outputs", PLAIN.outputs), ("gradients", PLAIN.gradients)):
        _expect_keys(f"{where}: {group}", content[group], names)
        for k in names:
            _expect_keys(f"{where}: {k}", content[group][k], TENSOR_KEYS)
            for key in TENSOR_KEYS:
                answers[key][k] = _array(f"{where}: {k} {key}", content[group][k][key], shapes[k])
            if any((answers[key][k] < 0).any() for key in ("radius", "tolerance")):
                raise VectorsError(f"{where}: {k} has a negative radius or tolerance")
    return Vector(
        id=name,
        dims=(m, s, e, u),
        dtype=content["dtype"],
        sequences=content["sequences"],
        flags=tuple(content["flags"]),
        exposes=tuple(content["exposes"]),
        arrays=Arrays(given).each(form.rounded),
        values=answers["value"],
        radii=answers["radius"],
        tolerances=answers["tolerance"],
    )


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
