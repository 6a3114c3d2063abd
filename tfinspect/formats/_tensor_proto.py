"""TensorProto and TensorShapeProto to and from the IR."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from tfinspect.errors import InputError
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import Cursor
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfinspect.ir.shapes import Shape

MAX_TENSOR_NBYTES = 2 << 30  # a splat of a few bytes can declare any size; no file could hold a larger one in full
_MAX_REPEATED_NBYTES = 256 << 20  # a splat is a view, but several values with the last repeated take real memory

# which typed field of a TensorProto holds the values of a dtype, and the NumPy type the field's numbers have
_FIELDS: dict[DType, str] = {
    DType.FLOAT: "float_val", DType.DOUBLE: "double_val", DType.COMPLEX64: "scomplex_val",
    DType.COMPLEX128: "dcomplex_val", DType.INT64: "int64_val", DType.BOOL: "bool_val", DType.HALF: "half_val",
    DType.BFLOAT16: "half_val", DType.UINT32: "uint32_val", DType.UINT64: "uint64_val", DType.STRING: "string_val",
}  # fmt: skip
_FLOAT8 = {
    DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT8_E4M3FNUZ, DType.FLOAT8_E4M3B11FNUZ, DType.FLOAT8_E5M2FNUZ,
    DType.FLOAT4_E2M1FN,
}  # fmt: skip


def decode_shape(message: Any) -> Shape:  # noqa: ANN401 - made at run time
    """Return the shape a TensorShapeProto stands for."""
    if message.unknown_rank:
        return None
    return tuple(d.size if d.size >= 0 else None for d in message.dim)


def encode_shape(shape: Shape) -> Any:  # noqa: ANN401 - made at run time
    """Return the TensorShapeProto of a shape."""
    message = message_class("TensorShapeProto")()
    if shape is None:
        message.unknown_rank = True
    else:
        for size in shape:
            message.dim.add(size=-1 if size is None else size)
    return message


def decode_tensor(message: Any, content: memoryview | None = None, where: str = "a tensor") -> Tensor:  # noqa: ANN401
    """Wrap a TensorProto; its values are decoded, and checked against its shape, when asked for.

    Args:
        message: the TensorProto.
        content: its tensor_content, where that was left in the file.
        where: what it is, to begin an error message with.

    Raises (when the values are asked for):
        InputError: the values do not fit the shape, or the shape is absurd.
    """
    dtype = DType.from_number(message.dtype)
    shape = tuple(d.size for d in message.tensor_shape.dim)
    if content is not None and dtype.itemsize:
        return Tensor(
            dtype,
            shape,
            lambda: _from_content(dtype, shape, content, where),
            lambda: _content_chunks(dtype, shape, content, where),
        )
    code = _INTEGERS.get(dtype)
    if code is None:
        return Tensor(dtype, shape, lambda: _decode_values(message, dtype, shape, content, where))
    return Tensor(
        dtype,
        shape,
        lambda: _decode_values(message, dtype, shape, None, where),
        integers=lambda: _integers(message, dtype, shape, code, where),
    )


# struct's letter for the types that axes and shapes come in
_INTEGERS = {DType.INT32: "i", DType.INT64: "q"}
_FEW = 1 << 10


def _integers(message: Any, dtype: DType, shape: tuple[int, ...], code: str, where: str) -> tuple[int, ...]:  # noqa: ANN401
    """Return the values of a small integer tensor without NumPy."""
    size = math.prod(shape)
    if size > _FEW or min(shape, default=0) < 0:
        return tuple(_decode_values(message, dtype, shape, None, where).reshape(-1).tolist())
    content = message.tensor_content
    if content:
        _check_size(dtype, shape, len(content), where)
        return struct.unpack(f"<{size}{code}", content)
    values = tuple(message.int_val if dtype is DType.INT32 else message.int64_val)
    return (values + values[-1:] * (size - len(values)) if values else (0,) * size)[:size]


def _content_chunks(dtype: DType, shape: tuple[int, ...], content: memoryview, where: str) -> Iterator[memoryview]:
    _check_size(dtype, shape, len(content), where)
    yield content


def _impossible(shape: tuple[int, ...], where: str, why: str = "") -> InputError:
    return InputError(
        f"{where} has the impossible shape {list(shape)}" + (f": {why}" if why else ""), evidence={"shape": list(shape)}
    )


def _check_size(dtype: DType, shape: tuple[int, ...], found: int, where: str) -> None:
    if any(d < 0 for d in shape):
        raise _impossible(shape, where)
    wanted = math.prod(shape) * dtype.itemsize
    if found != wanted:
        raise InputError(
            f"{where} is {dtype} of shape {list(shape)}, {wanted:,} bytes, but its tensor_content has {found:,}",
            evidence={"shape": list(shape), "dtype": str(dtype), "expected": wanted, "found": found},
        )


def _from_content(dtype: DType, shape: tuple[int, ...], content: memoryview | bytes, where: str) -> npt.NDArray[Any]:
    import numpy as np

    _check_size(dtype, shape, len(content), where)
    return _shaped(np.frombuffer(content, dtype.numpy), shape, where)


def _shaped(flat: npt.NDArray[Any], shape: tuple[int, ...], where: str) -> npt.NDArray[Any]:
    import numpy as np

    try:
        # one value stands for all: no memory is spent on repeating it
        return np.broadcast_to(flat.reshape(()), shape) if len(flat) == 1 else flat.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or a zero beside sizes no machine can address
        raise _impossible(shape, where, str(error)) from None


def _decode_values(
    message: Any,  # noqa: ANN401 - made at run time
    dtype: DType,
    shape: tuple[int, ...],
    cut_out: memoryview | None,
    where: str,
) -> npt.NDArray[Any]:
    import numpy as np

    content = message.tensor_content if cut_out is None else cut_out
    if content and dtype.itemsize:
        return _from_content(dtype, shape, content, where)
    if any(d < 0 for d in shape):
        raise _impossible(shape, where)
    if dtype is not DType.STRING and not dtype.itemsize:
        raise InputError(f"{where} is of type {dtype}, which has no values to read", evidence={"dtype": str(dtype)})
    size = math.prod(shape)
    nbytes = size * (dtype.itemsize or np.dtype(object).itemsize)
    _check_declared(message, dtype, shape, nbytes, MAX_TENSOR_NBYTES, where)
    if dtype is DType.STRING:
        strings = _split_strings(content, size, where) if content else list(message.string_val)
        flat: npt.NDArray[Any] = np.empty(len(strings), object)
        flat[:] = strings
    elif dtype in _FLOAT8:
        flat = np.frombuffer(message.float8_val, dtype.numpy)
    else:
        flat = _typed_values(message, dtype)
    if len(flat) == 0 and size:
        flat = np.array([b"" if dtype is DType.STRING else 0], flat.dtype)
    if len(flat) >= size or len(flat) == 1:  # TensorFlow drops what is too many
        return _shaped(flat[:size] if len(flat) > size else flat, shape, where)
    _check_declared(message, dtype, shape, nbytes, _MAX_REPEATED_NBYTES, where)
    full: npt.NDArray[Any] = np.empty(size, flat.dtype)  # and repeats the last of too few
    full[: len(flat)] = flat
    full[len(flat) :] = flat[-1:]
    return _shaped(full, shape, where)


def _check_declared(message: Any, dtype: DType, shape: tuple[int, ...], nbytes: int, limit: int, where: str) -> None:  # noqa: ANN401
    if nbytes > limit:
        raise InputError(
            f"{where} is {dtype} of shape {list(shape)}, {nbytes:,} bytes, but stands in {message.ByteSize():,} bytes",
            evidence={"shape": list(shape), "dtype": str(dtype), "nbytes": nbytes, "limit": limit},
        )


def _typed_values(message: Any, dtype: DType) -> npt.NDArray[Any]:  # noqa: ANN401
    import numpy as np

    values = getattr(message, _FIELDS.get(dtype, "int_val"))
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        part = np.float32 if dtype is DType.COMPLEX64 else np.float64
        pairs = np.fromiter(values, part, len(values))
        return pairs[: len(pairs) // 2 * 2].view(dtype.numpy)
    if dtype in (DType.HALF, DType.BFLOAT16):
        return np.fromiter(values, np.int32, len(values)).astype(np.uint16).view(dtype.numpy)
    if dtype in (DType.FLOAT, DType.DOUBLE, DType.INT64, DType.UINT64, DType.UINT32, DType.BOOL):
        return np.fromiter(values, dtype.numpy, len(values))
    return np.fromiter(values, np.int32, len(values)).astype(dtype.numpy)  # wraps, as TensorFlow does


def _split_strings(content: bytes | memoryview, size: int, where: str) -> list[bytes]:
    """Return the strings of a tensor_content: the length of each as a varint, then their bytes one after the other."""
    view = memoryview(content)
    cursor = Cursor(view, where)
    lengths, position = [], 0
    for _ in range(min(size, len(view))):
        length, position = cursor.varint(position, len(view), "string lengths")
        lengths.append(length)
    if len(lengths) != size or position + sum(lengths) != len(view):
        raise InputError(
            f"{where} has {size:,} strings, which do not fit its tensor_content of {len(view):,} bytes",
            evidence={"size": size, "nbytes": len(view)},
        )
    strings = []
    for length in lengths:
        strings.append(bytes(view[position : position + length]))
        position += length
    return strings


def tensor_header(tensor: Tensor) -> Any:  # noqa: ANN401 - made at run time
    """Return the TensorProto of a tensor without its values."""
    message = message_class("TensorProto")(dtype=int(tensor.dtype))
    message.tensor_shape.CopyFrom(encode_shape(tensor.shape))
    return message


def encode_tensor(tensor: Tensor) -> Any:  # noqa: ANN401 - made at run time
    """Return the TensorProto of a tensor: strings in string_val, everything else in tensor_content."""
    message = tensor_header(tensor)
    if tensor.dtype is DType.STRING:
        message.string_val.extend(tensor.numpy().reshape(-1).tolist())
    else:
        message.tensor_content = b"".join(tensor.chunks())
    return message
