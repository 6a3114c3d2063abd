"""Datatypes, dataspaces and the values of attributes of HDF5 files."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tfinspect.errors import LimitError
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.formats._hdf5_bytes import Fields, Space
    from tfinspect.formats._hdf5_heap import GlobalHeap

Scalar = int | float | bool | str

_FIXED, _FLOAT, _TIME, _STRING, _BITS, _OPAQUE, _COMPOUND, _REFERENCE, _ENUM, _VLEN, _ARRAY = range(11)
_NAMES: Final = (
    "integers", "floats", "times", "strings", "bit fields", "opaque bytes", "compounds", "references",
    "enumerations", "sequences of variable length", "arrays",
)  # fmt: skip
_MAX_RANK: Final = 32  # HDF5's own limit
_MAX_MEMBERS = 1024
_MAX_NESTING = 8
_MAX_VALUES: Final = 1 << 20  # of an attribute
_MAX_TEXT_NBYTES: Final = 64 << 20  # of strings beyond the size of the file
_PADDED = 3  # version from which names of an enumeration are no longer padded
_INTEGERS: Final = {
    (1, True): DType.INT8, (2, True): DType.INT16, (4, True): DType.INT32, (8, True): DType.INT64,
    (1, False): DType.UINT8, (2, False): DType.UINT16, (4, False): DType.UINT32, (8, False): DType.UINT64,
}  # fmt: skip
_FLOATS: Final = {
    (2, 5, 10): DType.HALF, (2, 8, 7): DType.BFLOAT16, (4, 8, 23): DType.FLOAT, (8, 11, 52): DType.DOUBLE,
    (1, 4, 3): DType.FLOAT8_E4M3FN, (1, 5, 2): DType.FLOAT8_E5M2,
}  # fmt: skip
"""By bytes, bits of the exponent, bits of the mantissa."""
_CODES: Final = {
    DType.INT8: "b", DType.INT16: "h", DType.INT32: "i", DType.INT64: "q", DType.UINT8: "B", DType.UINT16: "H",
    DType.UINT32: "I", DType.UINT64: "Q", DType.HALF: "e", DType.FLOAT: "f", DType.DOUBLE: "d", DType.BOOL: "?",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Datatype:
    """An element type.

    Attributes:
        kind: HDF5's class number.
        size: bytes of an element.
        dtype: the element type as TensorFlow has it; INVALID where it has none.
        big_endian: byte order.
        padding: of fixed strings: 0 ended by a zero byte, 1 filled with zero bytes, 2 with blanks.
        is_text: of kinds of variable length: whether they are strings.
        dims: of arrays: their shape; `dtype` and byte order are those of the elements.
    """

    kind: int
    size: int
    dtype: DType = DType.INVALID
    big_endian: bool = False
    padding: int = 0
    is_text: bool = False
    dims: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """What its values are, in words."""
        return f"{_NAMES[self.kind]} of {self.size} bytes" if self.kind < len(_NAMES) else f"type {self.kind}"

    @property
    def has_variable_length(self) -> bool:
        """Whether its values stand in the global heap."""
        return self.kind == _VLEN


@dataclass(frozen=True, slots=True)
class Dataspace:
    """A shape.

    Attributes:
        dims: dimensions; empty for a scalar.
        limits: how far each may grow; None without limit.
        is_null: whether there is no value at all.
    """

    dims: tuple[int, ...]
    limits: tuple[int | None, ...] = ()
    is_null: bool = False

    @property
    def count(self) -> int:
        """Number of elements."""
        return 0 if self.is_null else math.prod(self.dims)


def read_datatype(fields: Fields, depth: int = 0) -> Datatype:
    """Read a datatype message.

    Raises:
        CorruptFileError: it is none.
        UnsupportedFeatureError: its version is later than those read here.
    """
    first = fields.uint(1)
    kind, version = first & 15, first >> 4
    if not 1 <= version <= 5:  # noqa: PLR2004
        raise fields.corrupt("a datatype of version 1 to 5", f"{version}")
    if depth > _MAX_NESTING:
        raise fields.corrupt(f"a datatype at most {_MAX_NESTING} deep", "a deeper one")
    bits, size = fields.uint(3), fields.uint(4)
    big = bool(bits & 1)
    if kind in (_ENUM, _ARRAY):
        return _enum(fields, version, bits, size, depth) if kind == _ENUM else _array(fields, version, size, depth)
    if size == 0:
        raise fields.corrupt("the size of an element", "0")
    if kind == _FIXED:
        start, precision = fields.uint(2), fields.uint(2)
        plain = start == 0 and precision == 8 * size
        return Datatype(
            kind, size, _INTEGERS.get((size, bool(bits & 8)), DType.INVALID) if plain else DType.INVALID, big
        )
    if kind == _FLOAT:
        start, precision = fields.uint(2), fields.uint(2)
        fields.uint(1)
        exponent = fields.uint(1)
        fields.uint(1)
        mantissa = fields.uint(1)
        fields.uint(4)
        plain = start == 0 and precision == 8 * size and not bits & 0x40
        return Datatype(
            kind, size, _FLOATS.get((size, exponent, mantissa), DType.INVALID) if plain else DType.INVALID, big
        )
    if kind == _STRING:
        return Datatype(kind, size, DType.STRING, padding=bits & 15)
    if kind == _VLEN:
        base = read_datatype(fields, depth + 1)
        is_text = bits & 15 == 1
        return Datatype(kind, size, DType.STRING if is_text else DType.INVALID, base.big_endian, is_text=is_text)
    return Datatype(kind, size)


def _enum(fields: Fields, version: int, bits: int, size: int, depth: int) -> Datatype:
    count = bits & 0xFFFF
    base = read_datatype(fields, depth + 1)
    if base.kind != _FIXED or base.size != size or count > _MAX_MEMBERS:
        raise fields.corrupt("an enumeration of integers", base.title)
    names = []
    for _ in range(count):
        name = fields.text()
        names.append(name)
        if version < _PADDED:
            fields.raw(-(len(name) + 1) % 8)
    values = [fields.uint(size) for _ in range(count)]
    is_bool = size == 1 and dict(zip(names, values, strict=True)) == {b"FALSE": 0, b"TRUE": 1}
    return Datatype(_ENUM, size, DType.BOOL if is_bool else base.dtype, base.big_endian)


def _array(fields: Fields, version: int, size: int, depth: int) -> Datatype:
    rank = fields.uint(1)
    if not 0 < rank <= _MAX_RANK:
        raise fields.corrupt(f"an array of 1 to {_MAX_RANK} dimensions", f"{rank}")
    if version < _PADDED:
        fields.raw(3)
    dims = tuple(fields.uint(4) for _ in range(rank))
    if version < _PADDED:
        fields.raw(4 * rank)
    base = read_datatype(fields, depth + 1)
    if base.size * math.prod(dims) != size:
        raise fields.corrupt(f"an array of {size:,} bytes", f"one of {base.size * math.prod(dims):,}")
    plain = base.kind in (_FIXED, _FLOAT)
    return Datatype(_ARRAY, size, base.dtype if plain else DType.INVALID, base.big_endian, dims=dims)


def read_dataspace(fields: Fields) -> Dataspace:
    """Read a dataspace message.

    Raises:
        CorruptFileError: it is none.
    """
    version = fields.version(1, 2)
    rank, flags = fields.uint(1), fields.uint(1)
    if rank > _MAX_RANK:
        raise fields.corrupt(f"at most {_MAX_RANK} dimensions", f"{rank}")
    is_null = False
    if version == 1:
        fields.raw(5)
    else:
        is_null = fields.uint(1) == 2  # noqa: PLR2004
    dims = tuple(fields.length() for _ in range(rank))
    limits: tuple[int | None, ...] = dims
    if flags & 1:
        free = (1 << (8 * fields.space.length_nbytes)) - 1
        limits = tuple(None if (limit := fields.length()) == free else limit for _ in range(rank))
        if any(limit is not None and limit < dim for dim, limit in zip(dims, limits, strict=True)):
            raise fields.corrupt(f"limits of the shape {list(dims)}", f"{list(limits)}")
    return Dataspace(dims, limits, is_null)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named value of a group or dataset, decoded when asked for.

    Attributes:
        name: its name.
        datatype: type of its elements.
        dataspace: its shape.
    """

    name: str
    datatype: Datatype
    dataspace: Dataspace
    _data: memoryview = field(repr=False)
    _at: int = field(repr=False)
    _space: Space = field(repr=False)
    _heap: GlobalHeap = field(repr=False)

    def values(self) -> list[Scalar]:
        """Return its elements as plain values, in order; a scalar is a list of one.

        Raises:
            CorruptFileError: the bytes are not there.
            UnsupportedFeatureError: the type is none of those read here.
        """
        kind, count = self.datatype, self.dataspace.count
        if count > _MAX_VALUES or count * kind.size > len(self._data):
            raise self._space.corrupt(
                self._at, f"{count:,} values of {kind.size} bytes", f"{len(self._data):,} bytes", "attribute"
            )
        return plain_values(self._space, self._heap, kind, self._data[: count * kind.size], self._at)

    def text(self) -> str | None:
        """Return it as text where it is one string, else None.

        Raises:
            CorruptFileError: the bytes are not there.
        """
        if self.datatype.dtype is not DType.STRING:
            return None
        values = self.values()
        return str(values[0]) if len(values) == 1 else None


def plain_values(space: Space, heap: GlobalHeap, kind: Datatype, data: memoryview, at: int) -> list[Scalar]:
    """Return elements as plain values.

    Raises:
        CorruptFileError: a string is not where the file says.
        UnsupportedFeatureError: the type is none of those read here.
    """
    if kind.dtype is DType.STRING:
        return [text.decode("utf-8", "replace") for text in strings(space, heap, kind, data, at)]
    code = _CODES.get(kind.dtype)
    if code is None:
        raise space.unsupported(f"an attribute of {kind.title}")
    order = ">" if kind.big_endian else "<"
    count = len(data) // struct.calcsize(order + code)
    found: Sequence[Scalar] = struct.unpack(f"{order}{count}{code}", data)
    return list(found)


def strings(space: Space, heap: GlobalHeap, kind: Datatype, data: memoryview, at: int) -> list[bytes]:
    """Return elements that are strings.

    Raises:
        CorruptFileError: a string is not where the file says.
    """
    if not kind.has_variable_length:
        texts = (bytes(data[i : i + kind.size]) for i in range(0, len(data), kind.size))
        if kind.padding == 0:
            return [text.partition(b"\0")[0] for text in texts]
        return [text.rstrip(b"\0" if kind.padding == 1 else b" ") for text in texts]
    found = []
    left = _MAX_TEXT_NBYTES + len(space.view)
    o = space.offset_nbytes
    if kind.size != 8 + o:
        raise space.corrupt(at, f"references of {8 + o} bytes", f"{kind.size}", "string of variable length")
    for i in range(0, len(data), kind.size):
        length = int.from_bytes(data[i : i + 4], "little")
        collection = int.from_bytes(data[i + 4 : i + 4 + o], "little")
        index = int.from_bytes(data[i + 4 + o : i + 8 + o], "little")
        if length == 0 or collection in (0, space.undefined):
            found.append(b"")
            continue
        left -= length
        if left < 0:
            raise LimitError(
                f"{space.path} has strings that come to more than the file has bytes", evidence={"path": space.path}
            )
        stored = heap.object(collection, index)
        if length > len(stored):
            raise space.corrupt(at + i, f"a string of {length:,} bytes", f"{len(stored):,}", "string")
        found.append(bytes(stored[:length]).partition(b"\0")[0])
    return found
