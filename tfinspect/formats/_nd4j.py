"""ND4J's binary arrays: a buffer that tells the shape, then a buffer of values, both big-endian as Java writes them.

A buffer is its allocation mode and element type as Java strings, a length between them, and the values. Up to
1.0.0-alpha lengths have four bytes and shapes are ints; since then they are longs.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, UnsupportedFeatureError, counted
from tfinspect.formats._file import MappedFile
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

_LENGTH_NBYTES: Final = {"DIRECT": 4, "HEAP": 4, "JAVACPP": 4, "LONG_SHAPE": 8, "MIXED_DATA_TYPES": 8}
_DTYPES: Final = {
    "DOUBLE": DType.DOUBLE, "FLOAT": DType.FLOAT, "HALF": DType.HALF, "BFLOAT16": DType.BFLOAT16, "LONG": DType.INT64,
    "INT": DType.INT32, "SHORT": DType.INT16, "BYTE": DType.INT8, "UBYTE": DType.UINT8, "UINT16": DType.UINT16,
    "UINT32": DType.UINT32, "UINT64": DType.UINT64, "BOOL": DType.BOOL,
}  # fmt: skip
_UNREAD: Final = frozenset({"COMPRESSED", "UTF8"})
_MAX_WORD = 32
_MAX_RANK = 32
_SHAPE_EXTRA = 4  # rank, offset or type, distance of neighbours, order
_ORDERS: Final = {ord("c"): "C", ord("f"): "F"}
HEADER_NBYTES: Final = 1 << 10
"""No header is longer: a shape of 32 dimensions takes 620 bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the values.

    Attributes:
        dtype: element type.
        shape: dimensions.
        strides: elements from one index to the next, a dimension each.
        count: number of values that are stored.
        start: bytes before the first value.
        allocation: the writer's word for where the values were; it tells the generation.
    """

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    count: int
    start: int
    allocation: str


class _Reader:
    """Reads big-endian numbers and Java strings from the first bytes of an array."""

    def __init__(self, head: bytes | memoryview, path: str, base: int, structure: str) -> None:
        self.head, self.path, self.base, self.structure = head, path, base, structure
        self.at = 0

    def damage(self, at: int, expected: str, found: str) -> CorruptFileError:
        return CorruptFileError(self.path, self.base + at, expected, found, structure=self.structure)

    def number(self, nbytes: int, what: str) -> int:
        raw = bytes(self.head[self.at : self.at + nbytes])
        if len(raw) < nbytes:
            raise self.damage(self.at, what, "the end of the bytes")
        self.at += nbytes
        return int.from_bytes(raw, "big", signed=True)

    def word(self, what: str) -> str:
        at = self.at
        length = self.number(2, what)
        raw = bytes(self.head[self.at : self.at + length]) if 0 < length <= _MAX_WORD else b""
        if not raw or len(raw) < length or not all(ord("0") <= byte <= ord("_") for byte in raw):
            raise self.damage(at, what, bytes(self.head[at : at + 10]).hex(" ") or "the end of the bytes")
        self.at += length
        return raw.decode("ascii")

    def buffer(self, what: str) -> tuple[str, int, str, DType]:
        """Read what stands before the values of a buffer: allocation, length, name of the type and the type."""
        at = self.at
        allocation = self.word(f"the allocation mode of {what} as a Java string")
        if allocation not in _LENGTH_NBYTES:
            raise self.damage(at, f"one of {', '.join(_LENGTH_NBYTES)}", f"`{allocation}`")
        at = self.at
        length = self.number(_LENGTH_NBYTES[allocation], f"the length of {what}")
        if length < 0:
            raise self.damage(at, f"a length of {what}", f"{length:,}")
        at = self.at
        name = self.word(f"the element type of {what} as a Java string")
        if name in _UNREAD:
            raise UnsupportedFeatureError(
                f"{self.path} holds {what} as {name} (byte {self.base + at:,}), which tfinspect does not read",
                evidence={"path": self.path, "offset": self.base + at, "type": name},
            )
        if name not in _DTYPES:
            raise self.damage(at, "an element type of ND4J", f"`{name}`")
        return allocation, length, name, _DTYPES[name]


def read_header(head: bytes | memoryview, nbytes: int, path: str, *, base: int = 0, structure: str = "array") -> Header:
    """Read what stands before the values and compare it with the size of the whole.

    Args:
        head: the first bytes of the array, at least `HEADER_NBYTES` or all of them.
        nbytes: bytes of the whole array, header included.
        path: the file, for messages.
        base: offset of the array in what messages count from.
        structure: what that is.

    Raises:
        CorruptFileError: it is no array, or its values do not fill the bytes.
        UnsupportedFeatureError: the values are compressed, or strings.
    """
    reader = _Reader(head, path, base, structure)
    _, length, name, dtype = reader.buffer("the shape")
    if name not in {"INT", "LONG"} or not _SHAPE_EXTRA <= length <= 2 * _MAX_RANK + _SHAPE_EXTRA or length % 2:
        raise reader.damage(reader.at, "a shape of INT or LONG numbers, two a dimension and four", f"{length:,} {name}")
    at, width = reader.at, dtype.itemsize
    numbers = [reader.number(width, "the shape") for _ in range(length)]
    rank = numbers[0]
    if length != 2 * rank + _SHAPE_EXTRA:
        raise reader.damage(at, f"a shape of {(length - _SHAPE_EXTRA) // 2} dimensions", f"{rank:,}")
    shape, strides = tuple(numbers[1 : 1 + rank]), tuple(numbers[1 + rank : 1 + 2 * rank])
    if min(shape, default=0) < 0 or min(strides, default=0) < 0 or numbers[-1] not in _ORDERS:
        raise reader.damage(at, "a shape, strides and an order", f"{list(numbers)}")
    allocation, count, _, dtype = reader.buffer("the values")
    at = reader.at
    wanted, found = count * dtype.itemsize, nbytes - reader.at
    if wanted != found:
        raise reader.damage(at, f"{count:,} {dtype} values, {counted(wanted, 'byte')}", f"{counted(found, 'byte')}")
    size = math.prod(shape)
    last = sum((dimension - 1) * stride for dimension, stride in zip(shape, strides, strict=True)) if size else -1
    if size > count or last >= count:
        raise reader.damage(at, f"values for the shape {list(shape)} with strides {list(strides)}", f"{count:,}")
    return Header(dtype, shape, strides, count, reader.at, allocation)


def native(header: Header, data: bytes | memoryview, first: int, count: int) -> npt.NDArray[Any]:
    """Return `count` stored values from the `first` on, in this machine's byte order; `data` is the whole array."""
    import numpy as np

    width = header.dtype.itemsize
    start = header.start + first * width
    raw = np.frombuffer(data[start : start + count * width], dtype=f">u{width}")
    return raw.astype(f"=u{width}").view(header.dtype.numpy)


def as_array(header: Header, data: bytes | memoryview) -> npt.NDArray[Any]:
    """Return the values in their shape; `data` is the whole array, header included."""
    import numpy as np

    stored = native(header, data, 0, header.count)
    if math.prod(header.shape) == 0:
        return stored[:0].reshape(header.shape)
    width = header.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(stored, header.shape, [stride * width for stride in header.strides])
    return np.ascontiguousarray(view).reshape(header.shape)


def read_array(path: str | os.PathLike[str]) -> Tensor:
    """Read an array that has a file to itself; its values are read when asked for.

    Raises:
        CorruptFileError: it is no array, or is cut short.
        UnsupportedFeatureError: the values are compressed, or strings.
        InputError: the file cannot be opened.
    """
    file = MappedFile(path)
    header = read_header(file.view[:HEADER_NBYTES], file.size, file.path, structure="ND4J array")
    return Tensor(header.dtype, header.shape, lambda: as_array(header, file.view))


def looks_like_array(head: bytes | memoryview) -> bool:
    """Whether these first bytes of a file are those of an array."""
    if len(head) < struct.calcsize(">H") + 1:
        return False
    length = int.from_bytes(head[:2], "big")
    return length <= _MAX_WORD and bytes(head[2 : 2 + length]).decode("latin-1") in _LENGTH_NBYTES
