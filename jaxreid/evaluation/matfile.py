"""MATLAB's files of version 5, as far as cells of cells of numbers need.

SciPy's reader, which is compiled, crashes the interpreter on some damaged files.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

HEADER = 128
MATRIX, COMPRESSED = 14, 15
CELL = 1  # class of a matrix
LARGEST = 1 << 26  # bytes that a compressed variable may have
DTYPES = {
    **{1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4"},
    **{7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"},
}


def load(data: bytes, name: str) -> Any:
    """A variable of the file: an array, or a list of such where it is a cell.

    Raises:
        ValueError: it is not there, or of another kind; a damaged file may raise any other
            exception, so the caller guards.
    """
    if data[126:HEADER] != b"IM":
        raise ValueError("no MAT-file of version 5")
    for kind, body in _elements(memoryview(data)[HEADER:]):
        if kind == COMPRESSED:
            ((kind, body),) = _elements(_inflated(body))
        found, value = _matrix(kind, body)
        if found == name.encode():
            return value
    raise ValueError(f"no variable {name}")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        begin = at + 8
        if kind >> 16:  # up to 4 bytes, in the place of the size
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
        if begin + size > len(data) or begin == at + 4 and size > 4:
            raise ValueError("an element is cut off")
        yield kind, data[begin : begin + size]
        at = begin + size
        at += -at % 8 if kind != COMPRESSED else 0


def _inflated(data: memoryview) -> memoryview:
    inflate = zlib.decompressobj()
    content = inflate.decompress(data, LARGEST)
    if not inflate.eof:
        raise ValueError("a compressed variable is cut off or too large")
    return memoryview(content)


def _matrix(kind: int, body: memoryview, depth: int = 3) -> tuple[bytes, Any]:
    if kind != MATRIX or not depth:
        raise ValueError("other things than cells of cells of numbers")
    if not body:
        return b"", np.empty((0, 0))
    (_, flags), (_, shape), (_, name), *parts = _elements(body)
    shape = np.frombuffer(shape, "<i4").tolist()
    if flags[0] == CELL:
        if len(parts) != np.prod(shape):
            raise ValueError("a cell of another size than it says")
        return bytes(name), [_matrix(*part, depth - 1)[1] for part in parts]
    ((kind, numbers),) = parts
    return bytes(name), np.frombuffer(numbers, DTYPES[kind]).reshape(shape, order="F")
