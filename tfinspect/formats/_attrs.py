"""AttrValue and TensorProto to and from the IR."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfinspect.errors import CorruptFileError, InputError
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.ir.attrs import Attr, AttrKind, AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tfinspect.ir.graph import Node
    from tfinspect.ir.shapes import Shape

NODE_ATTR = 5
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_TENSOR, _TENSOR_CONTENT = 8, 4
_LARGE_NBYTES = 1 << 10
MAX_TENSOR_NBYTES = 8 << 30  # a splat of a few bytes can declare any size; nothing real is larger

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


class LazyAttrs(Mapping[str, Attr]):
    """The attributes of a NodeDef or NameAttrList; each is wrapped when asked for, and decoded when its value is.

    Nothing but the message is held until then: of a large graph, few nodes are ever asked for their attributes.
    """

    __slots__ = ("_large", "_made", "_owner")

    def __init__(self, owner: Any, large: Mapping[str, memoryview] | None = None) -> None:  # noqa: ANN401
        self._owner = owner
        self._large = large
        self._made: dict[str, Attr] | None = None

    def __getitem__(self, name: str) -> Attr:
        """Return one attribute."""
        if self._made is None:
            self._made = {}
        made = self._made.get(name)
        if made is None:
            messages = self._owner.attr
            if name not in messages:  # a protobuf map would insert it
                raise KeyError(name)
            content = self._large.get(name) if self._large else None
            made = self._made[name] = decode_attr(messages[name], content)
        return made

    def __contains__(self, name: object) -> bool:
        """Whether the attribute is there."""
        return name in self._owner.attr

    def __iter__(self) -> Iterator[str]:
        """Iterate over names, sorted: a protobuf map has no order of its own."""
        return iter(sorted(self._owner.attr))

    def __len__(self) -> int:
        """Number of attributes."""
        return len(self._owner.attr)


class _WireAttr:
    """An AttrValue as read, and the tensor bytes that were cut out of it."""

    __slots__ = ("content", "message")

    def __init__(self, message: Any, content: memoryview | None) -> None:  # noqa: ANN401
        self.message = message
        self.content = content


def decode_attr(message: Any, content: memoryview | None = None) -> Attr:  # noqa: ANN401 - made at run time
    """Wrap an AttrValue; `content` is its tensor_content where that was left in the file."""
    kind: AttrKind = message.WhichOneof("value") or "none"
    if kind != "tensor":
        content = None  # a later field of the oneof has overruled the tensor
    return Attr(kind, decode=lambda: _decode_value(message, kind, content), wire=_WireAttr(message, content))


def _decode_value(message: Any, kind: AttrKind, content: memoryview | None) -> Any:  # noqa: ANN401
    if kind == "none":
        return None
    value = getattr(message, kind)
    if kind != "list":
        return _decode_scalar(value, kind, content)
    for element in ("s", "i", "f", "b", "type", "shape", "tensor", "func"):
        values = getattr(value, element)
        if values:
            return AttrList(element, tuple(_decode_scalar(v, element, None) for v in values))
    return AttrList("none", ())


def _decode_scalar(value: Any, kind: str, content: memoryview | None) -> Any:  # noqa: ANN401
    if kind == "type":
        return DType.from_number(value)
    if kind == "shape":
        return decode_shape(value)
    if kind == "tensor":
        return decode_tensor(value, content)
    if kind == "func":
        return FuncRef(value.name, LazyAttrs(value))
    return value


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


def decode_tensor(message: Any, content: memoryview | None = None) -> Tensor:  # noqa: ANN401
    """Wrap a TensorProto; its values are decoded, and checked against its shape, when asked for.

    Raises (when the values are asked for):
        InputError: the values do not fit the shape, or the shape is absurd.
    """
    dtype = DType.from_number(message.dtype)
    shape = tuple(d.size for d in message.tensor_shape.dim)
    if content is not None and dtype.itemsize:
        return Tensor(
            dtype, shape, lambda: _from_content(dtype, shape, content), lambda: _content_chunks(dtype, shape, content)
        )
    code = _INTEGERS.get(dtype)
    if code is None:
        return Tensor(dtype, shape, lambda: _decode_values(message, dtype, shape))
    return Tensor(
        dtype,
        shape,
        lambda: _decode_values(message, dtype, shape),
        integers=lambda: _integers(message, dtype, shape, code),
    )


# struct's letter for the types that axes and shapes come in
_INTEGERS = {DType.INT32: "i", DType.INT64: "q"}
_FEW = 1 << 10


def _integers(message: Any, dtype: DType, shape: tuple[int, ...], code: str) -> tuple[int, ...]:  # noqa: ANN401
    """Return the values of a small integer tensor without NumPy."""
    size = math.prod(shape)
    if size > _FEW or min(shape, default=0) < 0:
        return tuple(_decode_values(message, dtype, shape).reshape(-1).tolist())
    content = message.tensor_content
    if content:
        _check_size(dtype, shape, len(content))
        return struct.unpack(f"<{size}{code}", content)
    values = tuple(message.int_val if dtype is DType.INT32 else message.int64_val)
    return (values + values[-1:] * (size - len(values)) if values else (0,) * size)[:size]


def _content_chunks(dtype: DType, shape: tuple[int, ...], content: memoryview) -> Iterator[memoryview]:
    _check_size(dtype, shape, len(content))
    yield content


def _check_size(dtype: DType, shape: tuple[int, ...], found: int) -> None:
    if any(d < 0 for d in shape):
        raise InputError(f"a tensor has the impossible shape {list(shape)}", evidence={"shape": list(shape)})
    wanted = math.prod(shape) * dtype.itemsize
    if found != wanted:
        raise InputError(
            f"a {dtype} tensor of shape {list(shape)} takes {wanted:,} bytes, but its tensor_content has {found:,}",
            evidence={"shape": list(shape), "dtype": str(dtype), "expected": wanted, "found": found},
        )


def _from_content(dtype: DType, shape: tuple[int, ...], content: memoryview | bytes) -> npt.NDArray[Any]:
    import numpy as np

    _check_size(dtype, shape, len(content))
    flat = np.frombuffer(content, dtype.numpy) if content else np.empty(0, dtype.numpy)
    return _shaped(flat, dtype, shape)


def _shaped(flat: npt.NDArray[Any], dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or a zero beside sizes no machine can address
        raise InputError(
            f"a {dtype} tensor has the impossible shape {list(shape)}: {error}", evidence={"shape": list(shape)}
        ) from None


def _decode_values(message: Any, dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ANN401
    import numpy as np

    content = message.tensor_content
    if content and dtype.itemsize:
        return _from_content(dtype, shape, content)
    if any(d < 0 for d in shape):
        raise InputError(f"a tensor has the impossible shape {list(shape)}", evidence={"shape": list(shape)})
    size = math.prod(shape)
    nbytes = size * (dtype.itemsize or np.dtype(object).itemsize)
    if nbytes > MAX_TENSOR_NBYTES:
        raise InputError(
            f"a {dtype} tensor declares shape {list(shape)}, {nbytes:,} bytes, "
            f"but its message takes {message.ByteSize():,}",
            evidence={"shape": list(shape), "dtype": str(dtype), "nbytes": nbytes},
        )
    if dtype is DType.STRING:
        strings = _split_strings(content, size) if content else list(message.string_val)
        flat: npt.NDArray[Any] = np.empty(len(strings), object)
        flat[:] = strings
        filler: Any = b""
    elif dtype in _FLOAT8:
        flat, filler = np.frombuffer(message.float8_val, dtype.numpy), 0
    elif dtype.itemsize:
        flat, filler = _typed_values(message, dtype), 0
    else:
        raise InputError(f"a constant of type {dtype} has no values to read", evidence={"dtype": str(dtype)})
    if len(flat) >= size:  # TensorFlow drops what is too many, and repeats the last of too few
        return _shaped(flat[:size], dtype, shape)
    last: npt.NDArray[Any] = flat[-1:] if len(flat) else np.array([filler], flat.dtype)
    if len(flat) <= 1:
        try:  # one value stands for all: no memory is spent on repeating it
            return np.broadcast_to(last.reshape(()), shape)
        except ValueError as error:
            raise InputError(
                f"a {dtype} tensor has the impossible shape {list(shape)}: {error}", evidence={"shape": list(shape)}
            ) from None
    full: npt.NDArray[Any] = np.empty(size, flat.dtype)
    full[: len(flat)] = flat
    full[len(flat) :] = last
    return _shaped(full, dtype, shape)


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


def _split_strings(content: bytes, size: int) -> list[bytes]:
    cursor = Cursor(memoryview(content), "tensor_content")
    lengths, position = [], 0
    for _ in range(min(size, len(content))):
        length, position = cursor.varint(position, len(content), "string lengths")
        lengths.append(length)
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    if len(lengths) != size or position != len(content):
        raise InputError(f"a string tensor of {size} elements does not fit its tensor_content of {len(content)} bytes")
    return strings


def strip_entry(cursor: Cursor, start: int, stop: int) -> tuple[bytes, dict[str, memoryview]]:
    """Copy one `attr` entry of a NodeDef without its large tensor_content.

    Returns:
        The entry, re-encoded, and the content cut out, by attribute name.

    Raises:
        CorruptFileError: the entry is not well formed.
    """
    key, value, content = "", b"", None
    seen = 0
    for number, kind, _, first, last in cursor.fields(start, stop, "NodeDef.attr"):
        if number == _ENTRY_KEY and kind == LEN:
            try:
                key = str(cursor.view[first:last], "utf-8")
            except UnicodeDecodeError:
                raise CorruptFileError(
                    cursor.path, first, "an attribute name in UTF-8", "other bytes", structure="NodeDef.attr"
                ) from None
        elif number == _ENTRY_VALUE and kind == LEN:
            seen += 1
            value, content = _strip(cursor, first, last, (_VALUE_TENSOR, _TENSOR_CONTENT))
    if seen > 1:  # protobuf merges what is written twice: leave it to that
        return bytes(cursor.view[start:stop]), {}
    name = key.encode()
    entry = len_header(_ENTRY_KEY, len(name)) + name + len_header(_ENTRY_VALUE, len(value)) + value
    return entry, {} if content is None else {key: content}


def _strip(cursor: Cursor, start: int, stop: int, path: tuple[int, ...]) -> tuple[bytes, memoryview | None]:
    """Copy a message without the large bytes field that `path` leads to, and return that field apart."""
    kept, content = bytearray(), None
    for number, kind, at, first, last in cursor.fields(start, stop, "AttrValue"):
        if number == path[0] and kind == LEN and last - first > _LARGE_NBYTES:
            if len(path) == 1:
                content = cursor.view[first:last]
                continue
            inner, found = _strip(cursor, first, last, path[1:])
            content = content if found is None else found
            kept += len_header(number, len(inner)) + inner
        else:
            if number == path[0] and len(path) == 1:
                content = None  # written twice: the last one counts
            kept += cursor.view[at:last]
    return bytes(kept), content


def encode_node(node: Node) -> tuple[int, list[bytes | memoryview] | Iterable[bytes | memoryview]]:
    """Return the size in bytes and the pieces of a NodeDef that was made or changed.

    Large tensors are streamed: their pieces are read only when the caller asks for them.
    """
    base = getattr(node.wire, "message", None)
    message = message_class("NodeDef")()
    if base is not None:
        message.CopyFrom(base)
        for field in ("input", "attr"):
            message.ClearField(field)
    message.name, message.op, message.device = node.name, node.op, node.device
    message.input.extend(node.inputs)
    streamed: list[tuple[str, bytes, Tensor]] = []
    for name, attr in node.attrs.items():
        tensor = _streamable(attr)
        if tensor is None:
            encode_attr(attr, message.attr[name])
        else:
            streamed.append((name, _tensor_header(attr, tensor), tensor))
    head = message.SerializeToString(deterministic=True)
    size = len(head)
    plan = []
    for name, header, tensor in streamed:
        content = len_header(_TENSOR_CONTENT, tensor.nbytes)
        tensor_size = len(header) + len(content) + tensor.nbytes
        value_head = len_header(_VALUE_TENSOR, tensor_size)
        value_size = len(value_head) + tensor_size
        key = name.encode()
        entry_head = (
            len_header(_ENTRY_KEY, len(key))
            + key
            + len_header(_ENTRY_VALUE, value_size)
            + value_head
            + header
            + content
        )
        entry_size = len(entry_head) + tensor.nbytes
        prefix = len_header(NODE_ATTR, entry_size) + entry_head
        size += len(prefix) + tensor.nbytes
        plan.append((prefix, tensor))
    return size, _pieces(head, plan)


def _pieces(head: bytes, plan: list[tuple[bytes, Tensor]]) -> Iterator[bytes | memoryview]:
    yield head
    for prefix, tensor in plan:
        yield prefix
        yield from tensor.chunks()


def _streamable(attr: Attr) -> Tensor | None:
    """The tensor of an attribute, where it is worth streaming and can be."""
    wire = attr.wire
    if attr.kind != "tensor" or (isinstance(wire, _WireAttr) and wire.content is None):
        return None
    tensor: Tensor = attr.value
    return tensor if tensor.dtype.itemsize and tensor.nbytes > _LARGE_NBYTES else None


def _tensor_header(attr: Attr, tensor: Tensor) -> bytes:
    if isinstance(attr.wire, _WireAttr):
        return bytes(attr.wire.message.tensor.SerializeToString(deterministic=True))
    return bytes(_tensor_message(tensor).SerializeToString(deterministic=True))


def _tensor_message(tensor: Tensor) -> Any:  # noqa: ANN401 - made at run time
    message = message_class("TensorProto")(dtype=int(tensor.dtype))
    message.tensor_shape.CopyFrom(encode_shape(tensor.shape))
    return message


def encode_attr(attr: Attr, message: Any) -> None:  # noqa: ANN401 - made at run time
    """Write an attribute into an AttrValue."""
    if isinstance(attr.wire, _WireAttr):
        message.CopyFrom(attr.wire.message)
        if attr.wire.content is not None:
            message.tensor.tensor_content = bytes(attr.wire.content)
    elif attr.kind == "list":
        message.list.SetInParent()
        for value in attr.value.values:
            _append(message.list, attr.value.kind, value)
    elif attr.kind == "none":
        message.SetInParent()
    elif attr.kind == "type":
        message.type = int(attr.value)
    elif attr.kind == "shape":
        message.shape.CopyFrom(encode_shape(attr.value))
    elif attr.kind == "tensor":
        message.tensor.CopyFrom(encode_tensor(attr.value))
    elif attr.kind == "func":
        _encode_func(attr.value, message.func)
    else:
        setattr(message, attr.kind, attr.value)


def _append(message: Any, kind: str, value: Any) -> None:  # noqa: ANN401
    field = getattr(message, kind)
    if kind == "type":
        field.append(int(value))
    elif kind == "shape":
        field.add().CopyFrom(encode_shape(value))
    elif kind == "tensor":
        field.add().CopyFrom(encode_tensor(value))
    elif kind == "func":
        _encode_func(value, field.add())
    else:
        field.append(value)


def _encode_func(func: FuncRef, message: Any) -> None:  # noqa: ANN401
    message.name = func.name
    for name, attr in func.attrs.items():
        encode_attr(attr, message.attr[name])


def encode_tensor(tensor: Tensor) -> Any:  # noqa: ANN401 - made at run time
    """Return the TensorProto of a tensor: strings in string_val, everything else in tensor_content."""
    message = _tensor_message(tensor)
    if tensor.dtype is DType.STRING:
        message.string_val.extend(tensor.numpy().reshape(-1).tolist())
    else:
        message.tensor_content = b"".join(tensor.chunks())
    return message
