"""GraphDef: `.pb` files, and the graph inside MetaGraphDef and SavedModel.

Large nodes are never parsed: the top level is walked on the mapped file, runs of small nodes go to protobuf in one
piece, and of a large node only what is left after cutting out its tensor bytes. A node that was not changed is written
back as the very bytes that stood in the file.
"""

from __future__ import annotations

import gc
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
    from collections.abc import Iterable, Iterator, Mapping

_NODE, _LIBRARY, _VERSION, _VERSIONS = 1, 2, 3, 4
_SMALL_NBYTES = 16 << 10  # nodes above are cut open before protobuf sees them
_RUN_NBYTES = 1 << 20  # small nodes parsed at a time
MAX_NBYTES = (2 << 30) - 1  # protobuf's limit, which TensorFlow's C++ reader enforces


@dataclass(slots=True)
class WireNode:
    """What stands behind a node that was read.

    Attributes:
        view: the file.
        start: byte of the file the NodeDef starts at.
        stop: byte after its last one.
        message: the NodeDef, tensor bytes cut out.
    """

    view: memoryview
    start: int
    stop: int
    message: Any

    @property
    def span(self) -> memoryview:
        """The NodeDef in the file."""
        return self.view[self.start : self.stop]


@dataclass(frozen=True, slots=True)
class WireGraph:
    """What stands behind a graph that was read; a changed copy of the graph keeps it.

    Attributes:
        span: the GraphDef in the file.
        nodes: the nodes as read.
        functions: the library as read.
        versions: the versions as read.
        others: (field number, bytes) of every top-level field that is not a node, in order.
    """

    span: memoryview
    nodes: tuple[Node, ...]
    functions: Mapping[str, Function]
    versions: Versions
    others: tuple[tuple[int, memoryview], ...]


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
    """Read the GraphDef that stands in [start, end) of a mapped file.

    Raises:
        CorruptFileError: the bytes are no GraphDef.
    """
    # a million young objects, none of them garbage: the collector would take as long to see that as reading takes
    collects = gc.isenabled()
    gc.disable()
    try:
        return _decode(cursor, start, end)
    finally:
        if collects:
            gc.enable()


def _decode(cursor: Cursor, start: int, end: int) -> Graph:
    nodes: list[Node] = []
    run: list[tuple[int, int, int]] = []
    versions = Versions()
    version = 0
    functions: dict[str, Function] = {}
    others: list[tuple[int, memoryview]] = []
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
            continue
        others.append((number, view[at:last]))
        if number == _VERSIONS and kind == LEN:
            message = _parse(cursor, "VersionDef", first, last)
            versions = Versions(message.producer, message.min_consumer, tuple(message.bad_consumers))
        elif number == _LIBRARY and kind == LEN:
            functions.update(_decode_library(cursor, first, last))
        elif number == _VERSION and kind == VARINT:
            version, _ = cursor.varint(first, last, "GraphDef.version")
    if version and not versions.producer:
        versions = Versions(version)
    graph = Graph(nodes, functions=functions, versions=versions)
    graph.wire = WireGraph(view[start:end], graph.nodes, functions, versions, tuple(others))
    return graph


def _decode_run(cursor: Cursor, run: list[tuple[int, int, int]]) -> list[Node]:
    view = cursor.view
    # nodes of one run are neighbours, so one slice holds them all
    try:
        graph = message_class("GraphDef").FromString(view[run[0][0] : run[-1][2]])
    except DecodeError:
        for _, first, last in run:
            _parse(cursor, "NodeDef", first, last)
        # each is well formed alone, so one is nested so deep that the graph around it makes it too deep
        raise CorruptFileError(
            cursor.path, run[0][0], "NodeDefs nested less than 100 deep", "a deeper one", structure="GraphDef"
        ) from None
    make, path = _attrs.LazyAttrs, cursor.path
    nodes = []
    for (_, first, last), message in zip(run, graph.node, strict=True):
        if not message.name:
            raise _nameless(cursor, first)
        wire = WireNode(view, first, last, message)
        nodes.append(
            Node(
                message.name,
                message.op,
                tuple(message.input),
                make(message, None, path),
                device=message.device,
                wire=wire,
            )
        )
    return nodes


def _nameless(cursor: Cursor, first: int) -> CorruptFileError:
    return CorruptFileError(cursor.path, first, "a node with a name", "one without", structure="NodeDef")


def _decode_large(cursor: Cursor, first: int, last: int) -> Node:
    kept = bytearray()
    large: dict[str, memoryview] = {}
    view = cursor.view
    entries = 0
    for number, kind, at, start, stop in cursor.fields(first, last, "NodeDef"):
        entries += number == _attrs.NODE_ATTR
        if number == _attrs.NODE_ATTR and kind == LEN and stop - start > _SMALL_NBYTES:
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
    if not message.name:
        raise _nameless(cursor, first)
    attrs = _attrs.LazyAttrs(message, large, cursor.path)
    wire = WireNode(view, first, last, message)
    return Node(message.name, message.op, tuple(message.input), attrs, device=message.device, wire=wire)


def _decode_library(cursor: Cursor, first: int, last: int) -> dict[str, Function]:
    functions = {}
    for number, kind, _, start, stop in cursor.fields(first, last, "FunctionDefLibrary"):
        if number == 1 and kind == LEN:
            message = _parse(cursor, "FunctionDef", start, stop)
            functions[message.signature.name] = Function(
                message.signature.name, _BodyDecoder(message, cursor.path), wire=cursor.view[start:stop]
            )
    return functions


_NO_FILE = memoryview(b"")


class _BodyDecoder:
    def __init__(self, message: Any, path: str) -> None:  # noqa: ANN401 - made at run time
        self._message = message
        self._path = path

    def __call__(self) -> FunctionBody:
        message = self._message
        nodes = tuple(
            # "changed": such a node has no bytes of its own in the file that could be written back
            Node(
                n.name,
                n.op,
                tuple(n.input),
                _attrs.LazyAttrs(n, None, self._path),
                device=n.device,
                wire=WireNode(_NO_FILE, 0, 0, n),
                changed=True,
            )
            for n in message.node_def
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
        raise _malformed(cursor, name, first, last) from None


def _malformed(cursor: Cursor, name: str, first: int, last: int) -> CorruptFileError:
    """Find the byte where a message that protobuf refused stops making sense."""
    try:
        for number, kind, at, start, stop in cursor.fields(first, last, name):
            if name == "NodeDef" and kind == LEN and number == _attrs.NODE_ATTR:
                _walk_attr(cursor, start, stop)
            elif name == "NodeDef" and kind == LEN and number in _NODE_TEXTS:
                try:
                    str(cursor.view[start:stop], "utf-8")
                except UnicodeDecodeError as error:
                    found = f"byte {cursor.view[start + error.start]:#04x}"
                    return CorruptFileError(cursor.path, at, f"UTF-8 in {_NODE_TEXTS[number]}", found, structure=name)
    except CorruptFileError as error:
        return error
    return CorruptFileError(cursor.path, first, f"a {name}", "bytes that are not one", structure="GraphDef")


_NODE_TEXTS = {1: "name", 2: "op", 3: "input", 4: "device"}


def _walk_attr(cursor: Cursor, start: int, stop: int) -> None:
    for number, kind, _, first, last in cursor.fields(start, stop, "NodeDef.attr"):
        if number == 2 and kind == LEN:  # noqa: PLR2004 - the value of a map entry
            for _ in cursor.fields(first, last, "AttrValue"):
                pass


def write(graph: Graph, path: str | os.PathLike[str], *, force: bool = False) -> int:
    """Write a binary GraphDef, whole or not at all.

    Returns:
        Bytes written.

    Raises:
        LimitError: it would be 2 GiB or more, which no TensorFlow reads.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
    """
    size = encoded_size(graph)
    if size > MAX_NBYTES:
        raise LimitError(
            f"the graph takes {size:,} bytes, and a GraphDef file cannot exceed {MAX_NBYTES:,}",
            hint="export it: an ONNX file with external data or a SavedModel has no such limit",
            evidence={"nbytes": size, "limit": MAX_NBYTES},
        )
    return _atomic.write_file(path, encode(graph), force=force)


def encode(graph: Graph) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a GraphDef piece by piece.

    A graph that was read and not changed gives the very bytes it was read from; of a changed one, the nodes that were
    not changed do.
    """
    if _is_unchanged(graph):
        yield graph.wire.span  # type: ignore[attr-defined]
        return
    for _, pieces in _node_pieces(graph):
        yield from pieces
    yield from _tail(graph)


def encoded_size(graph: Graph) -> int:
    """Return the number of bytes `encode` will yield."""
    if _is_unchanged(graph):
        return len(graph.wire.span)  # type: ignore[attr-defined]
    return sum(size for size, _ in _node_pieces(graph)) + sum(map(len, _tail(graph)))


def _is_unchanged(graph: Graph) -> bool:
    wire = graph.wire
    return (
        isinstance(wire, WireGraph)
        and graph.nodes is wire.nodes  # a tuple: a graph with other nodes has another one
        and graph.functions is wire.functions
        and graph.versions == wire.versions
    )


def _node_pieces(graph: Graph) -> Iterator[tuple[int, Iterable[bytes | memoryview]]]:
    for node in graph.nodes:
        if isinstance(node.wire, WireNode) and not node.changed:
            span = node.wire.span
            header = len_header(_NODE, len(span))
            yield len(header) + len(span), (header, span)
        else:
            size, pieces = _attrs.encode_node(node)
            header = len_header(_NODE, size)
            yield len(header) + size, _chain(header, pieces)


def _chain(header: bytes, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield header
    yield from pieces


def _tail(graph: Graph) -> list[bytes | memoryview]:
    """Everything but the nodes: as read where it was not changed, fields unknown to us included."""
    wire = graph.wire if isinstance(graph.wire, WireGraph) else None
    keeps_library = wire is not None and graph.functions is wire.functions
    keeps_versions = wire is not None and graph.versions == wire.versions
    tail: list[bytes | memoryview] = []
    for number, field in wire.others if wire is not None else ():
        if (number == _LIBRARY and not keeps_library) or (number in (_VERSION, _VERSIONS) and not keeps_versions):
            continue
        tail.append(field)
    if not keeps_library and graph.functions:
        body = b"".join(_library_pieces(graph, wire))
        tail.append(len_header(_LIBRARY, len(body)) + body)
    if not keeps_versions:
        versions = message_class("VersionDef")(
            producer=graph.versions.producer,
            min_consumer=graph.versions.min_consumer,
            bad_consumers=graph.versions.bad_consumers,
        ).SerializeToString()
        tail.append(len_header(_VERSIONS, len(versions)) + versions)
    return tail


def _library_pieces(graph: Graph, wire: WireGraph | None) -> Iterator[bytes]:
    """The fields of a changed library: its functions, and of the old gradient table what still has its functions."""
    for function in graph.functions.values():
        span = function.wire if isinstance(function.wire, memoryview) else _encode_function(function)
        yield len_header(1, len(span)) + bytes(span)
    for number, field in wire.others if wire is not None else ():
        if number != _LIBRARY:
            continue
        library = message_class("FunctionDefLibrary").FromString(field[_payload_start(field) :])
        kept = message_class("FunctionDefLibrary")(
            gradient=[
                g for g in library.gradient if g.function_name in graph.functions and g.gradient_func in graph.functions
            ],
            registered_gradients=[g for g in library.registered_gradients if g.gradient_func in graph.functions],
        )
        yield kept.SerializeToString()


def _payload_start(field: memoryview) -> int:
    return next(Cursor(field, "").fields(0, len(field), "FunctionDefLibrary"))[3]


def _encode_function(function: Function) -> bytes:
    """Encode a function that was made here.

    Raises:
        ValueError: the type of an argument or result depends on an attribute, which a body made here cannot say.
    """
    body = function.body
    message = message_class("FunctionDef")()
    message.signature.name = function.name
    for args, field in ((body.args, message.signature.input_arg), (body.outputs, message.signature.output_arg)):
        for name, dtype in args:
            if dtype is None:
                raise ValueError(f"the dtype of `{name}` of function `{function.name}` is not known")
            field.add(name=name, type=int(dtype))
    message.ret.update(body.results)
    for node in body.nodes:
        _, pieces = _attrs.encode_node(node)
        message.node_def.add().MergeFromString(b"".join(pieces))
    return bytes(message.SerializeToString(deterministic=True))
