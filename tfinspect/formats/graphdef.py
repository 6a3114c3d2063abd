"""GraphDef: `.pb` files, and the graph inside MetaGraphDef and SavedModel.

Large nodes are never parsed: the top level is walked on the mapped file, runs of small nodes go to protobuf in one
piece, and of a large node only what is left after cutting out its tensor bytes. A node that was not changed is written
back as the very bytes that stood in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from tfinspect.errors import CorruptFileError, LimitError
from tfinspect.formats import _atomic, _attrs
from tfinspect.formats._file import MappedFile
from tfinspect.formats._schema import message_class
from tfinspect.formats._wire import LEN, VARINT, Cursor, len_header
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Source, Versions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

_NODE, _LIBRARY, _VERSION, _VERSIONS = 1, 2, 3, 4
_SMALL_NBYTES = 16 << 10  # nodes above are cut open before protobuf sees them
_RUN_NBYTES = 1 << 20  # small nodes parsed at a time
MAX_NBYTES = (2 << 30) - 1  # protobuf's limit, which TensorFlow's C++ reader enforces


@dataclass(slots=True)
class WireNode:
    """What stands behind a node that was read.

    Attributes:
        span: the NodeDef in the file.
        message: the NodeDef, tensor bytes cut out.
        large: tensor bytes that were cut out, by attribute name.
    """

    span: memoryview
    message: Any
    large: dict[str, memoryview]


def read(path: str | os.PathLike[str]) -> Graph:
    """Read a binary GraphDef.

    Raises:
        InputError: the file cannot be read, or is not one.
    """
    file = MappedFile(path)
    graph = decode(Cursor(file.view, file.path), 0, file.size)
    graph.source = Source(file.path, file.size, file.sha256)
    return graph


def decode(cursor: Cursor, start: int, end: int) -> Graph:
    """Read the GraphDef that stands in [start, end) of a mapped file."""
    nodes: list[Node] = []
    run: list[tuple[int, int, int]] = []
    versions = Versions()
    version = 0
    functions: dict[str, Function] = {}
    unknown: list[memoryview] = []
    view = cursor.view
    run_nbytes = 0
    for number, kind, at, first, last in cursor.fields(start, end, "GraphDef"):
        if number == _NODE and kind == LEN and last - first <= _SMALL_NBYTES:
            run.append((at, first, last))
            run_nbytes += last - at
            if run_nbytes < _RUN_NBYTES and last != end:
                continue
        if run:
            nodes += _decode_run(cursor, run)
            run, run_nbytes = [], 0
        if number == _NODE and kind == LEN:
            if last - first > _SMALL_NBYTES:
                nodes.append(_decode_large(cursor, first, last))
        elif number == _VERSIONS and kind == LEN:
            message = _parse(cursor, "VersionDef", first, last)
            versions = Versions(message.producer, message.min_consumer, tuple(message.bad_consumers))
            unknown.append(view[at:last])
        elif number == _LIBRARY and kind == LEN:
            functions.update(_decode_library(cursor, first, last))
            unknown.append(view[at:last])
        elif number == _VERSION and kind == VARINT:
            version, _ = cursor.varint(first, last, "GraphDef.version")
            unknown.append(view[at:last])
        else:
            unknown.append(view[at:last])
    if version and not versions.producer:
        versions = Versions(version)
    return Graph(nodes, functions=functions, versions=versions, wire=(functions, unknown))


def _decode_run(cursor: Cursor, run: list[tuple[int, int, int]]) -> list[Node]:
    view = cursor.view
    # nodes of one run are neighbours, so one slice holds them all
    try:
        graph = message_class("GraphDef").FromString(view[run[0][0] : run[-1][2]])
    except DecodeError:
        for _, first, last in run:
            _parse(cursor, "NodeDef", first, last)
        raise
    make = _attrs.LazyAttrs
    nodes = []
    for (_, first, last), message in zip(run, graph.node, strict=True):
        wire = WireNode(view[first:last], message, _NOTHING_LARGE)
        nodes.append(
            Node(message.name, message.op, tuple(message.input), make(message.attr), device=message.device, wire=wire)
        )
    return nodes


_NOTHING_LARGE: dict[str, memoryview] = {}


def _decode_large(cursor: Cursor, first: int, last: int) -> Node:
    kept = bytearray()
    large: dict[str, memoryview] = {}
    view = cursor.view
    for number, kind, at, start, stop in cursor.fields(first, last, "NodeDef"):
        if number == _attrs.NODE_ATTR and kind == LEN and stop - start > _SMALL_NBYTES:
            entry, content = _attrs.strip_entry(cursor, start, stop)
            kept += len_header(number, len(entry)) + entry
            large.update(content)
        else:
            kept += view[at:stop]
    try:
        message = message_class("NodeDef").FromString(bytes(kept))
    except DecodeError:
        raise CorruptFileError(
            cursor.path, first, "a NodeDef", "bytes that are not one", structure="GraphDef"
        ) from None
    attrs = _attrs.LazyAttrs(message.attr, large)
    wire = WireNode(view[first:last], message, large)
    return Node(message.name, message.op, tuple(message.input), attrs, device=message.device, wire=wire)


def _decode_library(cursor: Cursor, first: int, last: int) -> dict[str, Function]:
    functions = {}
    for number, kind, _, start, stop in cursor.fields(first, last, "FunctionDefLibrary"):
        if number == 1 and kind == LEN:
            message = _parse(cursor, "FunctionDef", start, stop)
            functions[message.signature.name] = Function(
                message.signature.name, _BodyDecoder(message), wire=cursor.view[start:stop]
            )
    return functions


class _BodyDecoder:
    def __init__(self, message: Any) -> None:  # noqa: ANN401 - made at run time
        self._message = message

    def __call__(self) -> FunctionBody:
        message = self._message
        nodes = tuple(
            Node(n.name, n.op, tuple(n.input), _attrs.LazyAttrs(n.attr), device=n.device) for n in message.node_def
        )
        return FunctionBody(
            tuple((a.name, DType.from_number(a.type) if a.type else None) for a in message.signature.input_arg),
            tuple((a.name, DType.from_number(a.type) if a.type else None) for a in message.signature.output_arg),
            nodes,
            dict(message.ret),
        )


def _parse(cursor: Cursor, name: str, first: int, last: int) -> Any:  # noqa: ANN401 - made at run time
    try:
        return message_class(name).FromString(cursor.view[first:last])
    except DecodeError:
        raise CorruptFileError(
            cursor.path, first, f"a {name}", "bytes that are not one", structure="GraphDef"
        ) from None


def write(graph: Graph, path: str | os.PathLike[str], *, force: bool = False) -> int:
    """Write a binary GraphDef, whole or not at all.

    Returns:
        Bytes written.

    Raises:
        LimitError: it would be 2 GiB or more, which no TensorFlow reads.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
    """
    size = sum(size for size, _ in _node_pieces(graph)) + sum(map(len, _tail(graph)))
    if size > MAX_NBYTES:
        raise LimitError(
            f"the graph takes {size:,} bytes, and a GraphDef file cannot exceed {MAX_NBYTES:,}",
            hint="export it: an ONNX file with external data or a SavedModel has no such limit",
            evidence={"nbytes": size, "limit": MAX_NBYTES},
        )
    return _atomic.write_file(path, encode(graph), force=force)


def encode(graph: Graph) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a GraphDef piece by piece; unchanged nodes are views of the file they came from."""
    for _, pieces in _node_pieces(graph):
        yield from pieces
    yield from _tail(graph)


def encoded_size(graph: Graph) -> int:
    """Return the number of bytes `encode` will yield."""
    return sum(size for size, _ in _node_pieces(graph)) + sum(map(len, _tail(graph)))


def _node_pieces(graph: Graph) -> Iterator[tuple[int, Iterable[bytes | memoryview]]]:
    for node in graph.nodes:
        if isinstance(node.wire, WireNode) and not node.changed:
            header = len_header(_NODE, len(node.wire.span))
            yield len(header) + len(node.wire.span), (header, node.wire.span)
        else:
            size, pieces = _attrs.encode_node(node)
            header = len_header(_NODE, size)
            yield len(header) + size, _chain(header, pieces)


def _chain(header: bytes, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield header
    yield from pieces


def _tail(graph: Graph) -> list[bytes | memoryview]:
    if isinstance(graph.wire, tuple) and graph.wire[0] is graph.functions:
        return list(graph.wire[1])
    tail: list[bytes | memoryview] = []
    if graph.functions:
        spans = [f.wire for f in graph.functions.values() if isinstance(f.wire, memoryview)]
        body = b"".join(len_header(1, len(span)) + bytes(span) for span in spans)
        tail.append(len_header(_LIBRARY, len(body)) + body)
    versions = message_class("VersionDef")(
        producer=graph.versions.producer,
        min_consumer=graph.versions.min_consumer,
        bad_consumers=graph.versions.bad_consumers,
    ).SerializeToString()
    tail.append(len_header(_VERSIONS, len(versions)) + versions)
    return tail
