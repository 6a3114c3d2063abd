"""Checkpoints of TensorFlow 0.5 to 0.11, and of `Saver(write_version=V1)`: one table, or one a shard.

The table's key "" holds the names, dtypes, shapes and slices of the variables in this file; each other key is a slice,
and its value a TensorProto with the elements in its typed fields, as protobuf numbers, and nothing else: dtype and
shape must be taken from the former. A table may be larger than memory, so only the blocks asked for are read, and of a
large block only a piece at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, LimitError, UnsupportedFeatureError
from tfinspect.formats import _tensor_slices
from tfinspect.formats._ordered_code import slice_key
from tfinspect.formats._schema import message_class
from tfinspect.formats._table import Table, Value
from tfinspect.formats._varints import MAX_NBYTES, varint_ends, varints
from tfinspect.formats._wire import FIXED32, FIXED64, LEN, VARINT
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo, describe
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

FORMAT = "checkpoint_v1"
_TENSORS_DATA = 2  # SavedTensorSlices.data
_SLICE_NAME, _SLICE_DATA = 1, 3  # SavedSlice.name and .data
_INT_VAL = 7
_VARINT_RUN_NBYTES = 1 << 18  # decoding takes some 20 times as much memory


class _Field(NamedTuple):
    """Which field of a TensorProto holds the values of a dtype, and how: as varints, or as the elements' own bytes."""

    number: int
    varint: bool


_FIELDS = {
    DType.FLOAT: _Field(5, varint=False),
    DType.DOUBLE: _Field(6, varint=False),
    DType.STRING: _Field(8, varint=False),
    DType.COMPLEX64: _Field(9, varint=False),
    DType.INT64: _Field(10, varint=True),
    DType.BOOL: _Field(11, varint=True),
    DType.COMPLEX128: _Field(12, varint=False),
    DType.HALF: _Field(13, varint=True),
    DType.BFLOAT16: _Field(13, varint=True),
    DType.UINT32: _Field(16, varint=True),
    DType.UINT64: _Field(17, varint=True),
} | {
    dtype: _Field(_INT_VAL, varint=True)
    for dtype in (
        DType.INT32, DType.INT16, DType.INT8, DType.UINT16, DType.UINT8,
        DType.QINT8, DType.QUINT8, DType.QINT16, DType.QUINT16, DType.QINT32,
    )
}  # fmt: skip


class _Slice(NamedTuple):
    """One slice of a variable: the table it is in, and its (start, length) in each dimension."""

    table: Table
    dimensions: tuple[tuple[int, int], ...]


class _Variable(NamedTuple):
    """A variable: its slices in all files, and the first file that lists it."""

    dtype: DType
    shape: tuple[int, ...]
    slices: list[_Slice]
    path: str


def read(path: str, files: tuple[str, ...]) -> Checkpoint:
    """Read the list of variables of every file of a checkpoint; values are read when asked for.

    Args:
        path: what names the checkpoint.
        files: its shards, or the one file it is.

    Raises:
        FileMissingError: a file is not there.
        CorruptFileError: a file is not a table, or a damaged one.
    """
    variables: dict[str, _Variable] = {}
    for file in files:
        _add(variables, Table(file))
    said = describe((name, variable.dtype, variable.shape) for name, variable in variables.items())
    infos = {
        name: VariableInfo(
            name,
            dtype,
            shape,
            math.prod(shape) * dtype.itemsize,
            said[name][0],
            len(slices) if len(slices) > 1 else 0,
            serves=said[name][1],
        )
        for name, (dtype, shape, slices, _) in variables.items()
    }
    return Checkpoint(path, FORMAT, infos, lambda name: _tensor(name, variables[name]), files)


def _add(variables: dict[str, _Variable], table: Table) -> None:
    value = table.find(b"")
    if value is None:
        raise CorruptFileError(table.path, 0, "a list of variables under the empty key", "none", structure="table")
    try:
        message = message_class("SavedTensorSlices").FromString(value.read())
    except DecodeError:
        raise CorruptFileError(
            table.path, value.offset, "a SavedTensorSlices message", "bytes that are not one", structure="table"
        ) from None
    if not message.HasField("meta"):
        raise CorruptFileError(
            table.path, value.offset, "the list of variables of a V1 checkpoint", "another message", structure="table"
        )
    for tensor in message.meta.tensor:
        variable = _variable(table, value, tensor)
        known = variables.setdefault(tensor.name, variable)
        if known is variable:
            continue
        if known[:2] != variable[:2]:
            raise CorruptFileError(
                table.path,
                value.offset,
                f"`{tensor.name}` as {known.dtype}{list(known.shape)}, as before",
                f"{variable.dtype}{list(variable.shape)}",
                structure="table",
            )
        known.slices.extend(variable.slices)


def _variable(table: Table, value: Value, message: Any) -> _Variable:  # noqa: ANN401 - made at run time
    dtype = DType.from_number(message.type)
    shape = tuple(dim.size for dim in message.shape.dim)
    structure = f"entry `{message.name}`"
    if not message.type:
        raise CorruptFileError(table.path, value.offset, "a dtype", "none", structure=structure)
    if message.shape.unknown_rank or any(dim < 0 for dim in shape):
        found = "one of unknown rank" if message.shape.unknown_rank else str(list(shape))
        raise CorruptFileError(table.path, value.offset, "a shape with known dimensions", found, structure=structure)
    slices = [_Slice(table, _tensor_slices.extents(s)) for s in message.slice]
    for piece in slices:
        if _tensor_slices.box(piece.dimensions, shape) is None:
            raise CorruptFileError(
                table.path,
                value.offset,
                f"a slice of {list(shape)}",
                f"(start, length) {list(piece.dimensions)}",
                structure=structure,
            )
    return _Variable(dtype, shape, slices, table.path)


def _tensor(name: str, variable: _Variable) -> Tensor:
    dtype, shape, slices, path = variable
    if dtype not in _FIELDS:
        return Tensor(dtype, shape, lambda: _unreadable(name, dtype))
    tiles = []
    for table, dimensions in slices:
        box = _tensor_slices.box(dimensions, shape)
        if box is not None:  # all were checked when they were listed
            source = _Source(table, name, dimensions, dtype, box.shape)
            chunks = None if dtype is DType.STRING else source.chunks
            load = source.strings if dtype is DType.STRING else source.array
            tiles.append(_tensor_slices.Tile(box, Tensor(dtype, box.shape, load, chunks), chunks))
    fault = _tensor_slices.fault([tile.box for tile in tiles], shape)
    if fault:
        raise CorruptFileError(path, 0, f"slices that cover {list(shape)} once", fault, structure=f"tensor `{name}`")
    return tiles[0].tensor if len(tiles) == 1 else _tensor_slices.joined(dtype, shape, tiles)


def _unreadable(name: str, dtype: DType) -> npt.NDArray[Any]:
    raise UnsupportedFeatureError(
        f"`{name}` holds {dtype} values, which a V1 checkpoint has no place for", evidence={"name": name}
    )


class _Source:
    """The values of one slice; it finds them, and checks them, as often as it is asked."""

    def __init__(
        self, table: Table, name: str, dimensions: tuple[tuple[int, int], ...], dtype: DType, shape: tuple[int, ...]
    ) -> None:
        self._table = table
        self._name = name
        self._key = slice_key(name.encode(), dimensions)
        self._dtype = dtype
        self._shape = shape
        self._field = _FIELDS[dtype]

    def chunks(self, nbytes: int = CHUNK_NBYTES) -> Iterator[bytes | memoryview]:
        """Yield the elements as little-endian bytes; all is known to be well when the last has been yielded."""
        value = self._value()
        pieces = value.pieces(self._spans(value), nbytes)
        wanted, found = math.prod(self._shape) * self._dtype.itemsize, 0
        for piece in self._decoded(value, pieces) if self._field.varint else pieces:
            found += len(piece)
            if found > wanted:
                break
            yield piece
        if found != wanted:
            raise self._corrupt(value, f"{wanted:,} bytes of values", "more" if found > wanted else f"{found:,}")

    def array(self) -> npt.NDArray[Any]:
        import numpy as np

        size, itemsize = math.prod(self._shape), self._dtype.itemsize
        value = self._value()
        self._check_possible(value, size * (1 if self._field.varint else itemsize))
        try:
            flat = np.empty(size * itemsize, np.uint8)
        except MemoryError:
            raise LimitError(
                f"`{self._name}` takes {size * itemsize:,} bytes, which is more memory than there is",
                evidence={"nbytes": size * itemsize},
            ) from None
        position = 0
        for piece in self.chunks():
            flat[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
            position += len(piece)
        return flat.view(self._dtype.numpy).reshape(self._shape)

    def strings(self) -> npt.NDArray[Any]:
        import numpy as np

        size = math.prod(self._shape)
        value = self._value()
        self._check_possible(value, 2 * size)  # a string has a tag and a length
        spans = list(self._spans(value))
        if len(spans) != size:
            raise self._corrupt(value, f"{size:,} strings", f"{len(spans):,}")
        together = b"".join(value.pieces(spans))  # in one go: a large block is checked once
        array: npt.NDArray[Any] = np.empty(size, object)
        position = 0
        for number, (start, stop) in enumerate(spans):
            array[number] = together[position : position + stop - start]
            position += stop - start
        return array.reshape(self._shape)

    def _value(self) -> Value:
        value = self._table.find(self._key)
        if value is None:
            raise CorruptFileError(
                self._table.path,
                0,
                f"the values of `{self._name}` that the list of variables promises",
                "no such key",
                structure="table",
            )
        return value

    def _check_possible(self, value: Value, nbytes: int) -> None:
        if nbytes > value.stop - value.start:
            raise self._corrupt(
                value,
                f"{self._dtype}{list(self._shape)}, at least {nbytes:,} bytes",
                f"{value.stop - value.start:,} bytes",
            )

    def _spans(self, value: Value) -> Iterator[tuple[int, int]]:
        """Yield where the elements stand: packed ones together, others one by one."""
        for number, kind, _, start, stop in value.fields(value.start, value.stop, "SavedTensorSlices"):
            if (number, kind) == (_TENSORS_DATA, LEN):
                yield from self._spans_of_slice(value, start, stop)

    def _spans_of_slice(self, value: Value, start: int, stop: int) -> Iterator[tuple[int, int]]:
        unpacked = {VARINT} if self._field.varint else {FIXED32, FIXED64}
        for number, kind, _, first, last in value.fields(start, stop, "SavedSlice"):
            if (number, kind) != (_SLICE_DATA, LEN):
                continue
            for inner, wire, _, begin, end in value.fields(first, last, "TensorProto"):
                if inner == self._field.number and (wire == LEN or wire in unpacked):
                    yield begin, end

    def _decoded(self, value: Value, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes]:
        import numpy as np

        rest = b""
        for piece in pieces:
            for at in range(0, len(piece), _VARINT_RUN_NBYTES):
                run = np.frombuffer(rest + piece[at : at + _VARINT_RUN_NBYTES], np.uint8)
                ends = varint_ends(run)
                whole = int(ends[-1]) if len(ends) else 0
                rest = run[whole:].tobytes()
                numbers = varints(run[:whole], ends)
                if numbers is None or len(rest) > MAX_NBYTES:
                    raise self._corrupt(value, "varints of at most 10 bytes", "a longer one")
                if len(numbers):
                    yield _narrowed(numbers, self._dtype)
        if rest:
            raise self._corrupt(value, "a varint", "the end of the values")

    def _corrupt(self, value: Value, expected: str, found: str) -> CorruptFileError:
        return CorruptFileError(self._table.path, value.offset, expected, found, structure=f"tensor `{self._name}`")


def _narrowed(numbers: npt.NDArray[Any], dtype: DType) -> bytes:
    """Return 64-bit numbers as elements: the low bits, as TensorFlow stores them, and any but 0 as true."""
    if dtype is DType.BOOL:
        return bytes((numbers != 0).tobytes())
    return bytes(numbers.astype(f"<u{dtype.itemsize}").tobytes())
