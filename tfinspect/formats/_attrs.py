"""Attributes and whole nodes to and from the IR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, InputError
from tfinspect.formats._schema import message_class
from tfinspect.formats._tensor_proto import decode_shape, decode_tensor, encode_shape, encode_tensor, tensor_header
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.ir.attrs import Attr, AttrKind, AttrList, FuncRef
from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from tfinspect.ir.graph import Node
    from tfinspect.ir.tensors import Tensor

NODE_ATTR = 5
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_TENSOR, _TENSOR_CONTENT = 8, 4
_LARGE_NBYTES = 1 << 10


class WireNode:
    """What stands behind a node that was read.

    Attributes:
        view: the file.
        start: byte of the file the NodeDef starts at.
        stop: byte after its last one.
    """

    __slots__ = ("_message", "start", "stop", "view")

    def __init__(self, view: memoryview, start: int, stop: int, message: Any = None) -> None:  # noqa: ANN401
        self.view = view
        self.start = start
        self.stop = stop
        self._message = message

    @property
    def span(self) -> memoryview:
        """The NodeDef in the file."""
        return self.view[self.start : self.stop]

    @property
    def message(self) -> Any:  # noqa: ANN401 - made at run time
        """The NodeDef, the bytes of large tensors cut out; parsed at the first call where it was not before.

        Raises:
            InputError: the bytes are no longer what they were when the graph was read.
        """
        if self._message is None:
            try:
                self._message = message_class("NodeDef").FromString(self.span)
            except DecodeError:
                raise InputError("the file of the graph changed while it was being read") from None
        return self._message


class LazyAttrs(Mapping[str, Attr]):
    """The attributes of a NodeDef or NameAttrList; each is wrapped when asked for, and decoded when its value is.

    Nothing is held until then but the message, or where it stands: of a large graph, few nodes are ever asked for
    their attributes. Nodes whose attributes are the same bytes share one of these.

    Args:
        owner: the message, or the node in the file.
        large: tensor_contents that were cut out of the message, by attribute.
        path: the file, for error messages.
        twin: the attributes of an earlier node, which are the same bytes.

    Attributes:
        twin: the first attributes that are the same bytes, itself perhaps.
    """

    __slots__ = ("_large", "_made", "_owner", "_path", "twin")

    def __init__(
        self,
        owner: Any,  # noqa: ANN401 - made at run time
        large: Mapping[str, memoryview] | None = None,
        path: str = "",
        twin: LazyAttrs | None = None,
    ) -> None:
        self.twin: LazyAttrs = self if twin is None else twin
        self._owner = owner
        self._path = path
        self._large = large
        self._made: dict[str, Attr] | None = None

    def _message(self) -> Any:  # noqa: ANN401 - made at run time
        if isinstance(self._owner, WireNode):
            self._owner = self._owner.message
        return self._owner

    def __getitem__(self, name: str) -> Attr:
        """Return one attribute."""
        found: Attr | None = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping has it
        """Return one attribute, or the default where there is none of that name."""
        made = self._made
        if made is None:
            made = self._made = {}
        found = made.get(name)
        if found is None:
            owner = self._message()
            messages = owner.attr
            if name not in messages:  # a protobuf map would insert it
                return default
            content = self._large.get(name) if self._large else None
            found = made[name] = decode_attr(messages[name], content, (self._path, owner, name))
        return found

    def __contains__(self, name: object) -> bool:
        """Whether the attribute is there."""
        return name in self._message().attr

    def __iter__(self) -> Iterator[str]:
        """Iterate over names, sorted: a protobuf map has no order of its own."""
        return iter(sorted(self._message().attr))

    def __len__(self) -> int:
        """Number of attributes."""
        return len(self._message().attr)


class _WireAttr:
    """An AttrValue as read, and the tensor bytes that were cut out of it."""

    __slots__ = ("content", "message")

    def __init__(self, message: Any, content: memoryview | None) -> None:  # noqa: ANN401
        self.message = message
        self.content = content


def decode_attr(
    message: Any,  # noqa: ANN401 - made at run time
    content: memoryview | None = None,
    place: tuple[str, Any, str] | None = None,
) -> Attr:
    """Wrap an AttrValue.

    Args:
        message: the AttrValue.
        content: its tensor_content, where that was left in the file.
        place: where it stands, for error messages: the file, the NodeDef, the name of the attribute.
    """
    kind: AttrKind = message.WhichOneof("value") or "none"
    if kind != "tensor":
        content = None  # a later field of the oneof has overruled the tensor
    return Attr(kind, decode=lambda: _decode_value(message, kind, content, place), wire=_WireAttr(message, content))


def _decode_value(message: Any, kind: AttrKind, content: memoryview | None, place: tuple[str, Any, str] | None) -> Any:  # noqa: ANN401
    if kind == "none":
        return None
    path, where = "", "a tensor"
    if place is not None:
        path, owner, name = place
        where = f"{path}: attribute `{name}` of `{owner.name}`".removeprefix(": ")
    value = getattr(message, kind)
    if kind != "list":
        return _decode_scalar(value, kind, content, path, where)
    for element in ("s", "i", "f", "b", "type", "shape", "tensor", "func"):
        values = getattr(value, element)
        if values:
            return AttrList(element, tuple(_decode_scalar(v, element, None, path, where) for v in values))
    return AttrList("none", ())


def _decode_scalar(value: Any, kind: str, content: memoryview | None, path: str, where: str) -> Any:  # noqa: ANN401
    if kind == "type":
        return DType.from_number(value)
    if kind == "shape":
        return decode_shape(value)
    if kind == "tensor":
        return decode_tensor(value, content, where)
    if kind == "func":
        return FuncRef(value.name, LazyAttrs(value, None, path))
    return value


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
    seen = 0
    for number, kind, at, first, last in cursor.fields(start, stop, "AttrValue"):
        seen += number == path[0]
        if seen > 1 and len(path) > 1:  # protobuf merges what is written twice, or not: leave it to that
            return bytes(cursor.view[start:stop]), None
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
    streamed: list[tuple[str, _Streamed]] = []
    for name, attr in node.attrs.items():
        large = _streamable(attr)
        if large is None:
            encode_attr(attr, message.attr[name])
        else:
            streamed.append((name, large))
    head = message.SerializeToString(deterministic=True)
    size = len(head)
    plan = []
    for name, large in streamed:
        content = len_header(_TENSOR_CONTENT, large.nbytes)
        tensor_size = len(large.header) + len(content) + large.nbytes
        value_head = large.others + len_header(_VALUE_TENSOR, tensor_size)
        value_size = len(value_head) + tensor_size
        key = name.encode()
        entry_head = (
            len_header(_ENTRY_KEY, len(key))
            + key
            + len_header(_ENTRY_VALUE, value_size)
            + value_head
            + large.header
            + content
        )
        prefix = len_header(NODE_ATTR, len(entry_head) + large.nbytes) + entry_head
        size += len(prefix) + large.nbytes
        plan.append((prefix, large))
    return size, _pieces(head, plan)


class _Streamed(NamedTuple):
    """A tensor attribute whose bytes are copied only when they are written.

    Attributes:
        header: the TensorProto without its tensor_content.
        others: fields of the AttrValue unknown to us.
        nbytes: length of the tensor_content.
        chunks: reads it.
    """

    header: bytes
    others: bytes
    nbytes: int
    chunks: Callable[[], Iterable[bytes | memoryview]]


def _pieces(head: bytes, plan: list[tuple[bytes, _Streamed]]) -> Iterator[bytes | memoryview]:
    yield head
    for prefix, large in plan:
        yield prefix
        nbytes = 0
        for chunk in large.chunks():
            nbytes += len(chunk)
            yield chunk
        if nbytes != large.nbytes:  # the lengths before it are written already
            raise InputError(f"a tensor of {large.nbytes:,} bytes gave {nbytes:,}")


def _streamable(attr: Attr) -> _Streamed | None:
    """What to stream of an attribute, where that is worth it."""
    if attr.kind != "tensor":
        return None
    wire = attr.wire
    if isinstance(wire, _WireAttr):  # as it was read, and be it wrong
        content = wire.content
        if content is None:
            return None
        others = message_class("AttrValue")()
        others.CopyFrom(wire.message)
        others.ClearField("tensor")
        header = wire.message.tensor.SerializeToString(deterministic=True)
        return _Streamed(header, others.SerializeToString(), len(content), lambda: (content,))
    tensor: Tensor = attr.value
    if not tensor.dtype.itemsize or tensor.nbytes <= _LARGE_NBYTES:
        return None
    return _Streamed(tensor_header(tensor).SerializeToString(deterministic=True), b"", tensor.nbytes, tensor.chunks)


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
