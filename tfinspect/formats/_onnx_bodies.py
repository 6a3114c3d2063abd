"""The graphs of an ONNX file: the main one, branches and loop bodies, functions, and those of training.

A graph may stand in an attribute of a node of another graph, and so on. They are walked one after the other by where
they stand in the file, never by recursion; what they hold beyond names is left where it is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError
from tfinspect.formats._onnx_tensors import SparsePart, TensorPart, parse, sparse_part, tensor_part
from tfinspect.formats._unique import UniqueNames
from tfinspect.formats._wire import LEN, Cursor, len_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_FUNCTION_NODE, _FUNCTION_ATTRIBUTE = 7, 11
_NODE_ATTRIBUTE: Final = 5
_TENSOR, _GRAPH, _TENSORS, _GRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_DEEP: Final = frozenset({_TENSOR, _GRAPH, _TENSORS, _GRAPHS, _SPARSE, _SPARSES})
_SMALL_NBYTES: Final = 1 << 14  # of a node that is decoded at once
_MAX_DEPTH: Final = 64
_NOTHING: Final[Mapping[int, Deep]] = {}
_NAME_LENGTH: Final = 200  # of the names a body is called by: a long one could stand before many
_PATH_LENGTH: Final = 2000


@dataclass(slots=True)
class Deep:
    """What an attribute holds that is a message itself.

    Attributes:
        tensors: tensors.
        sparse: sparse tensors.
        graphs: names of the bodies.
    """

    tensors: list[TensorPart] = field(default_factory=list)
    sparse: list[SparsePart] = field(default_factory=list)
    graphs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class NodePart:
    """A node.

    Attributes:
        message: a LazyNode, without what `deep` holds.
        deep: by position of the attribute.
    """

    message: Any
    deep: Mapping[int, Deep]


@dataclass(slots=True)
class Body:
    """A graph or function.

    Attributes:
        name: empty for the main graph.
        message: a LazyGraph or LazyFunction.
        nodes: in the order of the file.
        tensors: dense initializers.
        sparse: sparse initializers.
        is_function: whether it is a function of the model.
        defaults: what the defaults of a function's attributes hold.
    """

    name: str
    message: Any
    nodes: list[NodePart]
    tensors: list[TensorPart]
    sparse: list[SparsePart]
    is_function: bool = False
    defaults: list[Deep] = field(default_factory=list)

    @property
    def values(self) -> Iterator[Any]:
        """What is said of the types of its tensors (ValueInfoProto); of several that name one, the last counts."""
        yield from self.message.value_info
        if not self.is_function:
            yield from self.message.input
            yield from self.message.output

    @property
    def stored(self) -> Iterator[TensorPart]:
        """Every tensor in it, wherever it stands."""
        yield from self.tensors
        for sparse in self.sparse:
            yield from (sparse.values, sparse.indices)
        for deep in (*self.defaults, *(deep for node in self.nodes for deep in node.deep.values())):
            yield from deep.tensors
            for sparse in deep.sparse:
                yield from (sparse.values, sparse.indices)


@dataclass(frozen=True, slots=True)
class _Region:
    """A graph or function that waits to be read."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    depth: int = 0
    is_function: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """An ONNX file.

    Attributes:
        header: a ModelProto without its graphs.
        bodies: the main graph first.
        has_training: whether it holds graphs for training.
    """

    header: Any
    bodies: tuple[Body, ...]
    has_training: bool


def scan(cursor: Cursor, *, main_only: bool = False) -> Scan:
    """Read a file; with `main_only`, of its graphs the main one alone.

    Raises:
        CorruptFileError: it is no ONNX file.
    """
    walk = _Walk(cursor)
    header = walk.model(main_only=main_only)
    bodies = []
    while walk.waiting:
        region = walk.waiting.pop()
        bodies.append(walk.body(region))
        if main_only:
            walk.waiting.clear()
        else:
            walk.waiting.extend(reversed(walk.found))
        walk.found.clear()
    return Scan(header, tuple(bodies), walk.has_training)


class _Walk:
    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._names = UniqueNames()
        self.waiting: list[_Region] = []
        self.found: list[_Region] = []
        self.has_training = False

    def model(self, *, main_only: bool) -> Any:  # noqa: ANN401 - made at run time
        """Return the file without its graphs, which go to `waiting`, the main one last."""
        cursor = self._cursor
        kept = bytearray()
        main: list[tuple[int, int]] = []
        for number, kind, at, first, last in cursor.fields(0, len(cursor.view), "ModelProto"):
            if number == _MODEL_GRAPH and kind == LEN:
                main.append((first, last))
            elif number == _MODEL_FUNCTION and kind == LEN and not main_only:
                self.waiting.append(_Region(self._function_name(first, last), ((first, last),), is_function=True))
            elif number == _MODEL_TRAINING and kind == LEN:
                self.has_training = True
                if not main_only:
                    self._training(first, last)
            elif number not in {_MODEL_FUNCTION, _MODEL_TRAINING}:
                kept += cursor.view[at:last]
        self.waiting.reverse()
        self.waiting.append(_Region("", tuple(main)))  # protobuf makes one message of several
        return parse(cursor.path, "ModelProto", kept, 0)

    def _function_name(self, start: int, end: int) -> str:
        cursor = self._cursor
        parts = {1: "", 10: "", 13: ""}  # name, domain, overload
        for number, kind, _, first, last in cursor.fields(start, end, "FunctionProto"):
            if number in parts and kind == LEN:
                parts[number] = bytes(cursor.view[first:last]).decode("utf-8", "replace")
        name, domain, overload = parts.values()
        return self._names.take(":".join(filter(None, (qualified(domain, name), overload))) or "function")

    def _training(self, start: int, end: int) -> None:
        cursor = self._cursor
        for number, kind, _, first, last in cursor.fields(start, end, "TrainingInfoProto"):
            if number in {1, 2} and kind == LEN:
                name = "training/initialization" if number == 1 else "training/algorithm"
                self.waiting.append(_Region(self._names.take(name), ((first, last),)))

    def body(self, region: _Region) -> Body:
        """Read a graph or function; the graphs in its nodes go to `found`."""
        cursor = self._cursor
        structure = "FunctionProto" if region.is_function else "GraphProto"
        kept = bytearray()
        nodes: list[NodePart] = []
        tensors: list[TensorPart] = []
        sparse: list[SparsePart] = []
        defaults: list[Deep] = []
        node_field = _FUNCTION_NODE if region.is_function else _NODE
        fields = itertools.chain.from_iterable(cursor.fields(*stretch, structure) for stretch in region.ranges)
        for number, kind, at, first, last in fields:
            if kind != LEN:
                kept += cursor.view[at:last]
            elif number == node_field:
                nodes.append(self._node(region, first, last, len(nodes)))
            elif region.is_function and number == _FUNCTION_ATTRIBUTE:
                defaults.append(self._read_deep(region, f"default_{len(defaults)}", self._attribute(first, last)[1]))
            elif not region.is_function and number == _INITIALIZER:
                tensors.append(tensor_part(cursor, first, last))
            elif not region.is_function and number == _SPARSE_INITIALIZER:
                sparse.append(sparse_part(cursor, first, last))
            else:
                kept += cursor.view[at:last]
        lazy = "LazyFunction" if region.is_function else "LazyGraph"
        message = parse(cursor.path, lazy, kept, min(region.ranges, default=(0, 0))[0])
        return Body(region.name, message, nodes, tensors, sparse, region.is_function, defaults)

    def _node(self, region: _Region, start: int, end: int, index: int) -> NodePart:
        cursor = self._cursor
        if end - start > _SMALL_NBYTES:
            return self._deep_node(region, start, end, index)
        message = parse(cursor.path, "LazyNode", cursor.view[start:end], start)
        deep = None
        # what an attribute says of its own type is not asked: that may be wrong
        for position, attribute in enumerate(message.attribute):
            if attribute.g or attribute.graphs or attribute.sparse_tensor or attribute.sparse_tensors:
                return self._deep_node(region, start, end, index)
            if attribute.t or attribute.tensors:
                tensors = ([attribute.t] if attribute.t else []) + list(attribute.tensors)
                deep = deep or {}
                deep[position] = Deep(
                    [TensorPart(cursor.path, parse(cursor.path, "TensorProto", data, start)) for data in tensors]
                )
        return NodePart(message, deep or _NOTHING)

    def _deep_node(self, region: _Region, start: int, end: int, index: int) -> NodePart:
        """Read a node with tensors or graphs in its attributes, by where these stand."""
        cursor = self._cursor
        kept = bytearray()
        places: list[list[tuple[int, int, int]]] = []
        for number, kind, at, first, last in cursor.fields(start, end, "NodeProto"):
            if number != _NODE_ATTRIBUTE or kind != LEN:
                kept += cursor.view[at:last]
                continue
            plain, deep = self._attribute(first, last)
            kept += len_header(_NODE_ATTRIBUTE, len(plain)) + plain
            places.append(deep)
        message = parse(cursor.path, "LazyNode", kept, start)
        owner = (message.name or next(filter(None, message.output), f"{message.op_type}_{index}"))[:_NAME_LENGTH]
        return NodePart(
            message,
            {
                position: self._read_deep(region, f"{owner}/{message.attribute[position].name[:_NAME_LENGTH]}", deep)
                for position, deep in enumerate(places)
                if deep
            },
        )

    def _attribute(self, start: int, end: int) -> tuple[bytes, list[tuple[int, int, int]]]:
        """Return an attribute without the messages in it, and (field, start, end) of these."""
        plain = bytearray()
        deep = []
        for number, kind, at, first, last in self._cursor.fields(start, end, "AttributeProto"):
            if number in _DEEP and kind == LEN:
                deep.append((number, first, last))
            else:
                plain += self._cursor.view[at:last]
        return bytes(plain), deep

    def _read_deep(self, region: _Region, owner: str, places: list[tuple[int, int, int]]) -> Deep:
        cursor = self._cursor
        deep = Deep()
        for number, start, end in places:
            if number in {_TENSOR, _TENSORS}:
                deep.tensors.append(tensor_part(cursor, start, end))
            elif number in {_SPARSE, _SPARSES}:
                deep.sparse.append(sparse_part(cursor, start, end))
            else:
                if region.depth >= _MAX_DEPTH:
                    raise CorruptFileError(
                        cursor.path, start, f"at most {_MAX_DEPTH} graphs one within the other", "one more",
                        structure="AttributeProto",
                    )  # fmt: skip
                name = f"{region.name[:_PATH_LENGTH]}/{owner}" if region.name else owner
                if number == _GRAPHS:
                    name = f"{name}/{len(deep.graphs)}"
                name = self._names.take(name)
                deep.graphs.append(name)
                self.found.append(_Region(name, ((start, end),), region.depth + 1))
        return deep


def qualified(domain: str, name: str) -> str:
    """Return an operator's type with its domain, where that is not ONNX's own."""
    return name if domain in {"", "ai.onnx"} else f"{domain}::{name}"
