"""NodeDefs of a mapped graph to nodes.

Runs of small nodes are checked by protobuf in one piece, and of each the name, the op and the inputs are read here;
its attributes are parsed when one is asked for. Large nodes are never parsed whole: of those, protobuf gets what is
left after cutting out the tensor bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError
from tfinspect.formats import _attrs
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import LEN, Cursor, len_header
from tfinspect.ir.graph import Node

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL_NBYTES: Final = 16 << 10  # nodes above are cut open before protobuf sees them
_SHARED_NBYTES = 1 << 10  # attributes are looked for among those seen before up to this many bytes
_NAME, _OP, _INPUT, _DEVICE = 1, 2, 3, 4
_NAME_TAG, _OP_TAG, _INPUT_TAG, _DEVICE_TAG = (number << 3 | LEN for number in (_NAME, _OP, _INPUT, _DEVICE))
_TEXTS = {_NAME: "name", _OP: "op", _INPUT: "input", _DEVICE: "device"}
_MORE = 0x80  # the continuation bit of a varint


class NodeReader:
    """Reads runs of small nodes of one graph; ops and attributes that occur again are kept once."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._ops: dict[str, str] = {}
        self._attrs: dict[bytes, _attrs.LazyAttrs] = {}
        self._constants: dict[bytes, _attrs.LazyAttrs] = {}

    def read_run(self, run: list[tuple[int, int, int]]) -> list[Node]:
        """Read nodes that stand side by side, each given as (field start, payload start, payload end).

        Raises:
            CorruptFileError: one of them is no NodeDef, or has no name.
        """
        base = run[0][0]
        data = bytes(self._cursor.view[base : run[-1][2]])
        try:
            message_class("GraphDef").FromString(data)
        except DecodeError:
            raise self._malformed(run) from None
        return self._nodes(data, base, run)

    def _malformed(self, run: Iterable[tuple[int, int, int]]) -> CorruptFileError:
        cursor = self._cursor
        start = -1
        for at, first, last in run:
            start = at if start < 0 else start
            parse(cursor, "NodeDef", first, last)
        # each is well formed alone, so one is nested so deep that the graph around it makes it too deep
        return CorruptFileError(
            cursor.path, start, "NodeDefs nested less than 100 deep", "a deeper one", structure="GraphDef"
        )

    def _nodes(self, data: bytes, base: int, run: Iterable[tuple[int, int, int]]) -> list[Node]:
        # protobuf has found every length to be right; this runs once a node, so that calls are worth saving
        view, known, ops = self._cursor.view, self._attrs, self._ops
        make_wire = _attrs.WireNode
        name_tag, op_tag, input_tag, device_tag, more = _NAME_TAG, _OP_TAG, _INPUT_TAG, _DEVICE_TAG, _MORE
        letters = data.decode("latin-1")  # one character a byte: a piece of it that is ASCII is right as it is
        nodes = []
        for _, first, last in run:
            at, stop = first - base, last - base
            name = op = device = ""
            inputs: list[str] = []
            while at < stop and (tag := data[at]) <= device_tag:
                size = data[at + 1]
                start = at + 2
                if size >= more:
                    if data[start] >= more:  # a text of 16 KiB, or a length written the long way
                        break
                    size += (data[start] << 7) - more
                    start += 1
                end = start + size
                text = letters[start:end]
                if not text.isascii():
                    text = data[start:end].decode("utf-8", "replace")
                if tag == input_tag:
                    inputs.append(text)
                elif tag == name_tag:
                    name = text
                elif tag == op_tag:
                    op = text
                elif tag == device_tag:
                    device = text
                else:  # no such field, or one of another wire type
                    break
                at = end
            raw = data[at:stop]
            wire = make_wire(view, first, last)
            attrs = known.get(raw)
            if attrs is None:
                attrs = self._new_attrs(raw, op, wire)
            if attrs is None or not name:
                nodes.append(self._parsed(first, last))
            else:
                nodes.append(Node(name, ops.setdefault(op, op), tuple(inputs), attrs, device=device, wire=wire))
        return nodes

    def _new_attrs(self, raw: bytes, op: str, wire: _attrs.WireNode) -> _attrs.LazyAttrs | None:
        """Return attributes not seen before; None where something else than attributes is left of the node."""
        # what is wrong with a constant's value is said with the name of that constant, so constants share nothing
        twin = self._constants.get(raw) if op == "Const" else None
        if twin is None and not _is_after_texts(raw):
            return None
        attrs = _attrs.LazyAttrs(wire, None, self._cursor.path, twin)
        if twin is None and len(raw) <= _SHARED_NBYTES:
            (self._constants if op == "Const" else self._attrs)[raw] = attrs
        return attrs

    def _parsed(self, first: int, last: int) -> Node:
        """Read a node the long way: its fields stand in another order, or its name is missing."""
        message = parse(self._cursor, "NodeDef", first, last)
        return _node(self._cursor, message, first, last)


def _is_after_texts(rest: bytes) -> bool:
    """Whether nothing but fields beyond name, op, inputs and device is left of a node."""
    return all(number > _DEVICE for number, *_ in Cursor(memoryview(rest), "").fields(0, len(rest), "NodeDef"))


def _node(
    cursor: Cursor,
    message: Any,  # noqa: ANN401 - made at run time
    first: int,
    last: int,
    large: dict[str, memoryview] | None = None,
) -> Node:
    if not message.name:
        raise _nameless(cursor, first)
    attrs = _attrs.LazyAttrs(message, large, cursor.path)
    wire = _attrs.WireNode(cursor.view, first, last, message)
    return Node(message.name, message.op, tuple(message.input), attrs, device=message.device, wire=wire)


def _nameless(cursor: Cursor, first: int) -> CorruptFileError:
    return CorruptFileError(cursor.path, first, "a node with a name", "one without", structure="NodeDef")


def read_large(cursor: Cursor, first: int, last: int) -> Node:
    """Read a node without its large tensors.

    Raises:
        CorruptFileError: the bytes are no NodeDef, or it has no name.
    """
    kept = bytearray()
    large: dict[str, memoryview] = {}
    view = cursor.view
    entries = 0
    for number, kind, at, start, stop in cursor.fields(first, last, "NodeDef"):
        entries += number == _attrs.NODE_ATTR
        if number == _attrs.NODE_ATTR and kind == LEN and stop - start > SMALL_NBYTES:
            entry, content = _attrs.strip_entry(cursor, start, stop)
            kept += len_header(number, len(entry)) + entry
            large.update(content)
        else:
            kept += view[at:stop]
    try:
        message = message_class("NodeDef").FromString(bytes(kept))
        if len(message.attr) != entries or any(message.attr[name].tensor.tensor_content for name in large):
            # an attribute or its content stands there twice: let protobuf sort out which counts
            message, large = message_class("NodeDef").FromString(view[first:last]), {}
    except DecodeError:
        raise _malformed(cursor, "NodeDef", first, last) from None
    return _node(cursor, message, first, last, large)


def parse(cursor: Cursor, name: str, first: int, last: int) -> Any:  # noqa: ANN401 - made at run time
    """Parse the message that stands in [first, last).

    Raises:
        CorruptFileError: the bytes are none.
    """
    try:
        return message_class(name).FromString(cursor.view[first:last])
    except DecodeError:
        raise _malformed(cursor, name, first, last) from None


def _malformed(cursor: Cursor, name: str, first: int, last: int) -> CorruptFileError:
    """Find the byte where a message that protobuf refused stops making sense."""
    try:
        for number, kind, at, start, stop in cursor.fields(first, last, name):
            if name == "NodeDef" and kind == LEN and number == _attrs.NODE_ATTR:
                _walk_attr(cursor, start, stop)
            elif name == "NodeDef" and kind == LEN and number in _TEXTS:
                try:
                    str(cursor.view[start:stop], "utf-8")
                except UnicodeDecodeError as error:
                    found = f"byte {cursor.view[start + error.start]:#04x}"
                    return CorruptFileError(cursor.path, at, f"UTF-8 in {_TEXTS[number]}", found, structure=name)
    except CorruptFileError as error:
        return error
    return CorruptFileError(cursor.path, first, f"a {name}", "bytes that are not one", structure="GraphDef")


def _walk_attr(cursor: Cursor, start: int, stop: int) -> None:
    for number, kind, _, first, last in cursor.fields(start, stop, "NodeDef.attr"):
        if number == 2 and kind == LEN:  # noqa: PLR2004 - the value of a map entry
            for _ in cursor.fields(first, last, "AttrValue"):
                pass
