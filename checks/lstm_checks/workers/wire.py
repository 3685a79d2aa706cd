"""Messages between the command and the process that its target runs in: a head of JSON, and the raw bytes of arrays.

No value is ever pickled. What is no array of numbers goes as the name of its type, and an array far larger than
anything that was asked for as its shape alone. Whoever reads one expects nothing of it: whatever is not as it should be
is a WireError.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstm_checks.calling import printable
from lstm_checks.formats import dtype_of, dtype_word, is_floating

LENGTHS = struct.Struct("<QQ")
LONGEST_HEAD, LONGEST_BODY = 2**26, 2**36
NUMBERS = "biufc"
LONGEST_NAME = 100


class WireError(Exception):
    """A message that cannot be read; it says in what."""


def pack(head: Any, parts: Sequence[Any] = ()) -> list[Any]:
    """Return a message as chunks of bytes; each part begins at a multiple of eight bytes."""
    chunks: list[Any] = []
    size = 0
    for part in parts:
        chunks.append(part)
        size += len(part)
        # Aligned, so that whoever reads can look at the bytes as numbers where they are.
        if size % 8:
            chunks.append(bytes(-size % 8))
            size += -size % 8
    text = json.dumps(head).encode()
    return [LENGTHS.pack(len(text), size), text, *chunks]


class Reader:
    """Takes what arrives piece by piece, and gives one message after the other."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._lengths: tuple[int, int] | None = None

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._held += data

    def take(self) -> tuple[Any, bytearray] | None:
        """Return the next head and body, None if they are not here yet.

        Raises
        ------
        WireError
            "a message of 1e+19 bytes", "a head that is no JSON"
        """
        if self._lengths is None:
            if len(self._held) < LENGTHS.size:
                return None
            head, body = LENGTHS.unpack_from(self._held)
            if head > LONGEST_HEAD or body > LONGEST_BODY:
                raise WireError(f"a message of {head + body:.3g} bytes")
            self._lengths = head, body
        head, body = self._lengths
        if len(self._held) < LENGTHS.size + head + body:
            return None
        text = bytes(self._held[LENGTHS.size : LENGTHS.size + head])
        found = self._held[LENGTHS.size + head : LENGTHS.size + head + body]
        del self._held[: LENGTHS.size + head + body]
        self._lengths = None
        try:
            return json.loads(text), found
        except (ValueError, RecursionError):
            raise WireError("a head that is no JSON") from None


def read_with(receive: Callable[[int], bytes], reader: Reader) -> tuple[Any, bytearray] | None:
    """Return the next message, waiting for it; None where nothing comes any more."""
    while (message := reader.take()) is None:
        data = receive(1 << 20)
        if not data:
            return None
        reader.feed(data)
    return message


def describe(value: Any, most: int) -> tuple[Any, Any]:
    """Return how a value goes over: its description, and its bytes, none where it has not any.

    Parameters
    ----------
    value : Any
        An array (not of a subclass), None, or whatever a target gave in place of one.
    most : int
        Above so many bytes an array goes as its dtype and shape alone.
    """
    if value is None:
        return None, b""
    if type(value) is np.ndarray:
        sent = _of_numbers(value.dtype) and value.nbytes <= most
        described = ["array", dtype_word(value.dtype), list(value.shape), sent]
        return described, value.tobytes() if sent else b""
    kind = type(value)
    return ["other", _name(kind, "__module__"), _name(kind, "__qualname__")], b""


def _name(kind: Any, which: str) -> str:
    """Return a type's module or name, as far as it lets itself be asked."""
    try:
        return str(getattr(kind, which))[:LONGEST_NAME]
    except BaseException:
        return "?"


def _of_numbers(dtype: np.dtype[Any]) -> bool:
    """Return whether an array's bytes are numbers; NumPy knows bfloat16 as bytes."""
    return dtype.kind in NUMBERS or is_floating(dtype)


class Described:
    """Turns descriptions back into values, each with the next bytes of a body."""

    def __init__(self, body: bytearray) -> None:
        self._body, self._at = body, 0

    def bytes(self, count: int) -> memoryview:
        """Return so many of the next bytes."""
        start, self._at = self._at, self._at + count + -count % 8
        if start + count > len(self._body):
            raise WireError("a body that is too short")
        return memoryview(self._body)[start : start + count]

    def value(self, described: Any) -> Any:
        """Return the value: an array, None, or an object of a type of that name that can nothing."""
        if described is None:
            return None
        try:
            if described[0] == "other":
                module, name = (printable(str(word)[:LONGEST_NAME]) for word in described[1:])
                return type(name, (), {"__module__": module})()
            _, text, shape, sent = described
            dtype, shape = dtype_of(str(text)), tuple(int(n) for n in shape)
            if not sent:
                # Its form is what is wrong with it; of zero strides, it takes no memory.
                empty = np.zeros((), dtype if _of_numbers(dtype) else object)
                return np.broadcast_to(empty, shape)
            if not _of_numbers(dtype):
                raise WireError(f"an array of {dtype}")
            count = math.prod(shape) * dtype.itemsize
            if not count:
                return np.empty(shape, dtype)
            return np.frombuffer(self.bytes(count), dtype).reshape(shape)
        except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
            raise WireError(f"a value described as {str(described)[:200]}") from error
