"""TensorProtos of ONNX: headers read at once, values where they stand until they are asked for."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, InputError, LimitError, UnsupportedFeatureError
from tfinspect.formats._onnx_schema import message_class
from tfinspect.formats._packed import PACKED_BITS, packed_nbytes, unpack
from tfinspect.formats._wire import LEN, Cursor
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import CHUNK_NBYTES, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfinspect.formats._onnx_external import ExternalFiles

DTYPES: Final = {
    1: DType.FLOAT, 2: DType.UINT8, 3: DType.INT8, 4: DType.UINT16, 5: DType.INT16, 6: DType.INT32, 7: DType.INT64,
    8: DType.STRING, 9: DType.BOOL, 10: DType.HALF, 11: DType.DOUBLE, 12: DType.UINT32, 13: DType.UINT64,
    14: DType.COMPLEX64, 15: DType.COMPLEX128, 16: DType.BFLOAT16, 17: DType.FLOAT8_E4M3FN, 18: DType.FLOAT8_E4M3FNUZ,
    19: DType.FLOAT8_E5M2, 20: DType.FLOAT8_E5M2FNUZ, 21: DType.UINT4, 22: DType.INT4, 23: DType.FLOAT4_E2M1FN,
    25: DType.UINT2, 26: DType.INT2,
}  # fmt: skip
"""ONNX's element types (onnx.proto, TensorProto.DataType)."""
_RAW: Final = 9
_VALUES: Final = frozenset({4, 5, 6, 7, 10, 11})  # the typed fields
_LARGE_NBYTES: Final = 1 << 10
_EXTERNAL: Final = 1
_MAX_DENSE_NBYTES: Final = 256 << 20  # of a sparse tensor: a few bytes can declare any size


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A TensorProto in a file.

    Attributes:
        path: the file.
        message: the TensorProto without its large fields.
        raw: its raw_data, where that was left in the file.
        rest: all of it, where other values were left in the file.
    """

    path: str
    message: Any
    raw: memoryview | None = None
    rest: memoryview | None = None

    @property
    def dtype(self) -> DType:
        """Element type; INVALID where it is none that is known here."""
        return DTYPES.get(self.message.data_type, DType.INVALID)

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions, as they are declared."""
        return tuple(self.message.dims)

    @property
    def is_external(self) -> bool:
        """Whether the values stand in another file."""
        return bool(self.message.data_location == _EXTERNAL)

    @property
    def nbytes(self) -> int | None:
        """Bytes that the values take in a file; None of a type of unknown size, or an impossible shape."""
        dtype = self.dtype
        if not dtype.itemsize or min(self.shape, default=0) < 0:
            return None
        return packed_nbytes(dtype, math.prod(self.shape))

    @property
    def stored_nbytes(self) -> int:
        """Bytes of the values, for a listing."""
        if self.nbytes is not None:
            return self.nbytes
        return sum(map(len, self.full().string_data)) or len(self.raw or self.message.raw_data)

    def full(self) -> Any:  # noqa: ANN401 - made at run time
        """Return the whole TensorProto.

        Raises:
            CorruptFileError: it is none.
        """
        return self.message if self.rest is None else parse(self.path, "TensorProto", self.rest, 0)

    def data(self) -> bytes | memoryview:
        """Return its raw_data."""
        found: bytes | memoryview = self.raw if self.raw is not None else self.message.raw_data
        return found

    def tensor(self, files: ExternalFiles) -> Tensor:
        """Return the value; it is read, and checked against the shape, when asked for."""
        load = functools.partial(_load, self, files)
        dtype = self.dtype
        if not dtype.itemsize or dtype in PACKED_BITS or not (self.is_external or self.data()):
            return Tensor(dtype, self.shape, load)
        return Tensor(dtype, self.shape, load, functools.partial(_chunks, self, files))


def parse(path: str, name: str, data: bytes | bytearray | memoryview, offset: int) -> Any:  # noqa: ANN401 - made at run time
    """Return a message.

    Raises:
        CorruptFileError: the bytes are none.
    """
    try:
        return message_class(name).FromString(data if isinstance(data, bytes) else bytes(data))
    except DecodeError:
        shown = name.removeprefix("Lazy") + ("Proto" if name.startswith("Lazy") else "")
        raise CorruptFileError(path, offset, f"an ONNX {shown}", "bytes that are not one") from None


def tensor_part(cursor: Cursor, start: int, end: int) -> TensorPart:
    """Read the TensorProto in [start, end); large values stay where they are.

    Raises:
        CorruptFileError: it is none.
    """
    view = cursor.view
    if end - start <= _LARGE_NBYTES:
        return TensorPart(cursor.path, parse(cursor.path, "TensorProto", view[start:end], start))
    kept, raw, rest = bytearray(), None, None
    for number, kind, at, first, last in cursor.fields(start, end, "TensorProto"):
        is_large = kind == LEN and last - first > _LARGE_NBYTES
        if is_large and number == _RAW:
            raw = view[first:last]
        elif is_large and number in _VALUES:
            rest = view[start:end]
        else:
            kept += view[at:last]
    return TensorPart(cursor.path, parse(cursor.path, "TensorProto", kept, start), raw, rest)


def _impossible(part: TensorPart, why: str = "") -> InputError:
    return InputError(
        f"{part.path}: `{part.message.name}` has the impossible shape {list(part.shape)}" + (f": {why}" if why else ""),
        evidence={"path": part.path, "name": part.message.name, "shape": list(part.shape)},
    )


def _check(part: TensorPart) -> int:
    """Return the number of bytes the values take in a file; 0 for strings."""
    if part.dtype is DType.INVALID:
        raise UnsupportedFeatureError(
            f"{part.path}: `{part.message.name}` has the ONNX type {part.message.data_type}, which is not read here"
        )
    if any(size < 0 for size in part.shape):
        raise _impossible(part)
    return part.nbytes or 0


def _check_raw(part: TensorPart, nbytes: int) -> None:
    found = len(part.data())
    if found != nbytes:
        raise InputError(
            f"{part.path}: `{part.message.name}` of shape {list(part.shape)} takes {nbytes:,} bytes, but has {found:,}",
            evidence={"path": part.path, "name": part.message.name, "shape": list(part.shape)},
        )


def _chunks(part: TensorPart, files: ExternalFiles) -> Iterator[bytes | memoryview]:
    nbytes = _check(part)
    if part.is_external:
        yield from files.chunks(part.message, nbytes)
        return
    _check_raw(part, nbytes)
    data = memoryview(part.data())
    for start in range(0, nbytes, CHUNK_NBYTES):
        yield data[start : start + CHUNK_NBYTES]


def _load(part: TensorPart, files: ExternalFiles) -> npt.NDArray[Any]:
    import numpy as np

    nbytes = _check(part)
    dtype, shape = part.dtype, part.shape
    size = math.prod(shape)
    found: npt.NDArray[Any]
    if part.is_external:
        found = _flat(files.data(part.message, nbytes), dtype, size)
    elif dtype is DType.STRING:
        strings = part.full().string_data
        found = np.empty(len(strings), object)
        found[:] = list(strings)
    elif part.data():
        _check_raw(part, nbytes)
        found = _flat(part.data(), dtype, size)
    else:
        found = _typed(part.full(), dtype, size)
    if len(found) != size:
        raise InputError(
            f"{part.path}: `{part.message.name}` of shape {list(shape)} has {len(found):,} values",
            evidence={"path": part.path, "name": part.message.name, "shape": list(shape)},
        )
    try:
        return found.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or a zero beside sizes no machine can address
        raise _impossible(part, str(error)) from None


def _flat(data: bytes | memoryview, dtype: DType, size: int) -> npt.NDArray[Any]:
    import numpy as np

    if dtype in PACKED_BITS:
        return unpack(data, dtype, size)
    return np.frombuffer(data, dtype.numpy) if data else np.empty(0, dtype.numpy)


def _typed(message: Any, dtype: DType, size: int) -> npt.NDArray[Any]:  # noqa: ANN401 - made at run time
    import numpy as np

    if dtype in (DType.FLOAT, DType.DOUBLE):
        return np.array(message.float_data if dtype is DType.FLOAT else message.double_data, dtype.numpy)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        is_single = dtype is DType.COMPLEX64
        parts = np.array(
            message.float_data if is_single else message.double_data, np.float32 if is_single else np.float64
        )
        return parts[: len(parts) // 2 * 2].view(dtype.numpy)
    if dtype is DType.INT64:
        return np.array(message.int64_data, np.int64)
    if dtype in (DType.UINT32, DType.UINT64):
        return np.array(message.uint64_data, np.uint64).astype(dtype.numpy)
    values = np.array(message.int32_data, np.int32)
    if dtype in PACKED_BITS:
        return unpack(values.astype(np.uint8).tobytes(), dtype, size)
    if dtype in (DType.HALF, DType.BFLOAT16):
        return values.astype(np.uint16).view(dtype.numpy)
    if dtype.is_floating:
        return values.astype(np.uint8).view(dtype.numpy)
    return values.astype(dtype.numpy)


@dataclass(frozen=True, slots=True)
class SparsePart:
    """A SparseTensorProto in a file: the elements that are not zero, and where they stand.

    Attributes:
        values: the elements; its name is the tensor's.
        indices: one number an element, or one number a dimension of each element.
        shape: dimensions of the whole tensor.
    """

    values: TensorPart
    indices: TensorPart
    shape: tuple[int, ...]

    @property
    def stored_nbytes(self) -> int:
        """Bytes that elements and indices take."""
        return self.values.stored_nbytes + self.indices.stored_nbytes

    def tensor(self, files: ExternalFiles) -> Tensor:
        """Return the whole tensor, zeros included, when it is asked for."""
        return Tensor(self.values.dtype, self.shape, functools.partial(_dense, self, files))


def sparse_part(cursor: Cursor, start: int, end: int) -> SparsePart:
    """Read the SparseTensorProto in [start, end).

    Raises:
        CorruptFileError: it is none.
    """
    parts: dict[int, TensorPart] = {}
    kept = bytearray()
    for number, kind, at, first, last in cursor.fields(start, end, "SparseTensorProto"):
        if number in {1, 2} and kind == LEN:
            parts[number] = tensor_part(cursor, first, last)
        else:
            kept += cursor.view[at:last]
    message = parse(cursor.path, "SparseTensorProto", kept, start)
    empty = TensorPart(cursor.path, message_class("TensorProto")())
    return SparsePart(parts.get(1, empty), parts.get(2, empty), tuple(message.dims))


def _dense(sparse: SparsePart, files: ExternalFiles) -> npt.NDArray[Any]:
    import numpy as np

    part = sparse.values
    what = f"{part.path}: `{part.message.name}`, sparse of shape {list(sparse.shape)},"
    evidence = {"path": part.path, "name": part.message.name, "shape": list(sparse.shape)}
    values, indices = part.tensor(files).numpy(), sparse.indices.tensor(files).numpy()
    if any(size < 0 for size in sparse.shape):
        raise InputError(f"{what} has an impossible shape", evidence=evidence)
    size = math.prod(sparse.shape)
    if size * (part.dtype.itemsize or np.dtype(object).itemsize) > _MAX_DENSE_NBYTES:
        raise LimitError(f"{what} takes more than {_MAX_DENSE_NBYTES:,} bytes in full", evidence=evidence)
    rows = indices.ndim == 2 and indices.shape[1] == len(sparse.shape)  # noqa: PLR2004 - one row an element
    inside = ((indices >= 0) & (indices < (np.array(sparse.shape) if rows else size))).all()
    if indices.dtype != np.int64 or values.ndim != 1 or len(indices) != len(values) or not (rows or indices.ndim == 1):
        inside = np.False_
    if not inside:
        raise InputError(f"{what} has indices that do not fit its values", evidence=evidence)
    places = np.ravel_multi_index(tuple(indices.T), sparse.shape) if rows and size else indices.reshape(-1)
    dense: npt.NDArray[Any] = np.full(size, b"", object) if part.dtype is DType.STRING else np.zeros(size, values.dtype)
    dense[places] = values
    try:
        return dense.reshape(sparse.shape)
    except ValueError:
        raise InputError(f"{what} has an impossible shape", evidence=evidence) from None
