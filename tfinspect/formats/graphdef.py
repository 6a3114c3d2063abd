"""GraphDef: `.pb` files, and the graph inside MetaGraphDef and SavedModel.

The top level is walked on the mapped file; how nodes are read says `_node_reader`. A node that was not changed is
written back as the very bytes that stood in the file.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinspect.errors import LimitError
from tfinspect.formats import _atomic, _attrs
from tfinspect.formats._file import MappedFile
from tfinspect.formats._node_reader import SMALL_NBYTES, NodeReader, parse, read_large
from tfinspect.formats._schema import message_class
from tfinspect.formats._tensor_proto import decode_shape
from tfinspect.formats._wire import LEN, VARINT, Cursor, len_header
from tfinspect.ir.dtypes import DType
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.graph import Graph, Node, Source, Versions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from tfinspect.ir.shapes import Shape

_NODE, _LIBRARY, _VERSION, _VERSIONS = 1, 2, 3, 4
_RUN_NBYTES = 1 << 20  # small nodes parsed at a time
MAX_NBYTES = (2 << 30) - 1  # protobuf's limit, which TensorFlow's C++ reader enforces


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
    reader = NodeReader(cursor)
    run: list[tuple[int, int, int]] = []
    versions = Versions()
    version = 0
    functions: dict[str, Function] = {}
    others: list[tuple[int, memoryview]] = []
    view = cursor.view
    run_nbytes = 0
    for number, kind, at, first, last in cursor.fields(start, end, "GraphDef"):
        if number == _NODE and kind == LEN and last - first <= SMALL_NBYTES:
            run.append((at, first, last))
            run_nbytes += last - at
            if run_nbytes < _RUN_NBYTES and last != end:
                continue
        if run:
            nodes += reader.read_run(run)
            run, run_nbytes = [], 0
        if number == _NODE and kind == LEN:
            if last - first > SMALL_NBYTES:
                nodes.append(read_large(cursor, first, last))
            continue
        others.append((number, view[at:last]))
        if number == _VERSIONS and kind == LEN:
            message = parse(cursor, "VersionDef", first, last)
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


def _decode_library(cursor: Cursor, first: int, last: int) -> dict[str, Function]:
    functions = {}
    for number, kind, _, start, stop in cursor.fields(first, last, "FunctionDefLibrary"):
        if number == 1 and kind == LEN:
            message = parse(cursor, "FunctionDef", start, stop)
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
                wire=_attrs.WireNode(_NO_FILE, 0, 0, n),
                changed=True,
            )
            for n in message.node_def
        )
        return FunctionBody(
            tuple((a.name, DType.from_number(a.type) if a.type else None) for a in message.signature.input_arg),
            tuple((a.name, DType.from_number(a.type) if a.type else None) for a in message.signature.output_arg),
            nodes,
            dict(message.ret),
            tuple(_arg_shape(message, index) for index in range(len(message.signature.input_arg))),
        )


def _arg_shape(message: Any, index: int) -> Shape:  # noqa: ANN401 - made at run time
    """Return the shape a FunctionDef notes of an argument, where it notes one."""
    if index not in message.arg_attr or "_output_shapes" not in message.arg_attr[index].attr:
        return None
    shapes = message.arg_attr[index].attr["_output_shapes"].list.shape
    return decode_shape(shapes[0]) if len(shapes) == 1 else None


def write(graph: Graph, path: str | os.PathLike[str], *, force: bool = False, limit: int = MAX_NBYTES) -> int:
    """Write a binary GraphDef, whole or not at all.

    Args:
        graph: the graph.
        path: the file.
        force: replace the file if it exists.
        limit: bytes that it may take.

    Returns:
        Bytes written.

    Raises:
        LimitError: it would be 2 GiB or more, which no TensorFlow reads; said before any weight is read.
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
    """
    check_size(graph, limit)
    return _atomic.write_file(path, encode(graph), force=force)


def fits(graph: Graph, limit: int = MAX_NBYTES) -> bool:
    """Whether a GraphDef file can hold the graph; no weight is read for that."""
    return weights_nbytes(graph) <= limit and encoded_size(graph) <= limit


def check_size(graph: Graph, limit: int = MAX_NBYTES) -> None:
    """Refuse a graph that no file can hold, from the sizes of its weights before any is read.

    Raises:
        LimitError: it would take more bytes than that.
    """
    size = weights_nbytes(graph)
    if size <= limit:
        size = encoded_size(graph)
    if size > limit:
        raise LimitError(
            f"the graph takes {size:,} bytes, and a GraphDef file cannot exceed {limit:,}",
            hint="keep the weights in files of their own: tfinspect export MODEL --onnx, or --saved-model",
            evidence={"nbytes": size, "limit": limit},
        )


def weights_nbytes(graph: Graph) -> int:
    """Return the bytes that the constants of a graph would take if each element were written; strings not counted."""
    if _is_unchanged(graph):
        return len(graph.wire.span)  # type: ignore[attr-defined]
    return sum(_stored_nbytes(node) for node in graph.nodes if node.op == "Const")


def _stored_nbytes(node: Node) -> int:
    """Return how much a constant certainly takes: as it was read, it may say a large tensor in a few bytes."""
    if isinstance(node.wire, _attrs.WireNode):
        return len(node.wire.span) if not node.changed else 0
    tensor = node.tensor()
    return 0 if tensor is None else tensor.nbytes


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
        if isinstance(node.wire, _attrs.WireNode) and not node.changed:
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
