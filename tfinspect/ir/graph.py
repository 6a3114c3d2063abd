"""Nodes and graphs. Both are immutable; a pass makes new ones and shares what did not change."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfinspect.errors import InvalidGraphError, NodeNotFoundError
from tfinspect.ir.attrs import Attr, AttrList
from tfinspect.ir.refs import TensorRef, split_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tfinspect.ir.attrs import AttrKind
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.functions import Function
    from tfinspect.ir.shapes import Shape
    from tfinspect.ir.tensors import Tensor

MERGING_OPS = frozenset({"NextIteration", "RefNextIteration"})  # the only legal back edges of a graph


class Node:
    """One operation.

    Attributes:
        name: unique in its graph.
        op: operation type.
        inputs: as a NodeDef writes them: `x` (output 0), `x:1`, `^x` (control); data inputs first.
        device: device the node is pinned to, often empty.
        attrs: attribute values by name.
        wire: what the reader keeps so that its writer can put the node back byte for byte; None for a made one.
        changed: whether the node differs from what `wire` holds.
    """

    __slots__ = ("attrs", "changed", "device", "inputs", "name", "op", "wire")

    def __init__(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...] = (),
        attrs: Mapping[str, Attr] | None = None,
        *,
        device: str = "",
        wire: object = None,
        changed: bool = False,
    ) -> None:
        self.name = name
        self.op = op
        self.inputs = inputs
        self.device = device
        self.attrs: Mapping[str, Attr] = {} if attrs is None else attrs
        self.wire = wire
        self.changed = changed

    def replace(
        self,
        *,
        name: str | None = None,
        op: str | None = None,
        inputs: Sequence[str] | None = None,
        attrs: Mapping[str, Attr] | None = None,
        device: str | None = None,
    ) -> Node:
        """Return a copy with other fields; whatever the reader kept beyond them goes along."""
        return Node(
            self.name if name is None else name,
            self.op if op is None else op,
            self.inputs if inputs is None else tuple(inputs),
            self.attrs if attrs is None else attrs,
            device=self.device if device is None else device,
            wire=self.wire,
            changed=True,
        )

    @property
    def data_inputs(self) -> list[TensorRef]:
        """The tensors it consumes, in order."""
        return [TensorRef(name, index) for name, index, control in map(split_input, self.inputs) if not control]

    @property
    def control_inputs(self) -> list[str]:
        """Names of the nodes that must run before it."""
        return [text[1:] for text in self.inputs if text.startswith("^")]

    @property
    def input_names(self) -> list[str]:
        """Names of the nodes behind all its inputs, control inputs included, in order, with repetitions."""
        return [split_input(text)[0] for text in self.inputs]

    def value(self, attr: str, default: Any = None) -> Any:  # noqa: ANN401 - see Attr.value
        """Return the plain value of an attribute, a list as a tuple, or `default` where it is absent."""
        found = self.attrs.get(attr)
        if found is None:
            return default
        value = found.value
        return value.values if isinstance(value, AttrList) else value

    def listed(self, attr: str, kind: AttrKind) -> tuple[Any, ...]:
        """Return the elements of a list attribute of that kind; none where it is absent or of another kind."""
        found = self.attrs.get(attr)
        return found.value.values if found is not None and found.kind == "list" and found.value.kind == kind else ()

    def dtype(self, attr: str = "T") -> DType | None:
        """Return a type attribute, or None."""
        found = self.attrs.get(attr)
        return found.value if found is not None and found.kind == "type" else None

    def shape(self, attr: str = "shape") -> Shape:
        """Return a shape attribute; unknown rank where it is absent or of another kind."""
        found = self.attrs.get(attr)
        return found.value if found is not None and found.kind == "shape" else None

    def tensor(self, attr: str = "value") -> Tensor | None:
        """Return a tensor attribute, or None."""
        found = self.attrs.get(attr)
        return found.value if found is not None and found.kind == "tensor" else None

    def text(self, attr: str, default: str = "") -> str:
        """Return a bytes attribute as text."""
        found = self.attrs.get(attr)
        return found.value.decode("utf-8", "replace") if found is not None and found.kind == "s" else default

    def __repr__(self) -> str:
        """Show name, op and inputs."""
        return f"Node({self.name!r}, {self.op!r}, {self.inputs!r})"


@dataclass(frozen=True, slots=True)
class Versions:
    """GraphDef versions; `producer` decides which deprecated ops are still accepted, so it is never raised."""

    producer: int = 0
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """The file a graph was read from.

    Attributes:
        path: as the caller wrote it.
        size: bytes, when it was read.
        digest: function that hashes the file, and raises if it has changed since.
    """

    path: str
    size: int
    digest: Callable[[], str] = field(repr=False, compare=False)

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the whole file, computed at the first call."""
        return self.digest()


class Graph:
    """A set of nodes in file order, a function library and versions.

    Attributes:
        nodes: in the order of the file; not necessarily sorted topologically.
        functions: library functions by name.
        versions: producer and consumer versions.
        source: the file, while the graph is exactly what stands there; None once changed.
        wire: what the reader keeps of top-level fields this class has no name for.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        functions: Mapping[str, Function] | None = None,
        versions: Versions | None = None,
        source: Source | None = None,
        wire: object = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.functions: Mapping[str, Function] = {} if functions is None else functions
        self.versions = versions or Versions()
        self.source = source
        self.wire = wire

    def replace(self, *, nodes: Iterable[Node] | None = None, functions: Mapping[str, Function] | None = None) -> Graph:
        """Return a changed copy, which is no longer what its file holds."""
        return Graph(
            self.nodes if nodes is None else nodes,
            functions=self.functions if functions is None else functions,
            versions=self.versions,
            wire=self.wire,
        )

    @functools.cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name.

        Raises:
            InvalidGraphError: two nodes have the same name.
        """
        table = {node.name: node for node in self.nodes}
        if len(table) != len(self.nodes):
            seen: set[str] = set()
            twice = next(n.name for n in self.nodes if n.name in seen or seen.add(n.name))  # type: ignore[func-returns-value]
            raise InvalidGraphError(f"two nodes are named `{twice}`", evidence={"name": twice})
        return table

    @functools.cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """For each node name, the nodes that take it as a data or control input, each once, in file order."""
        table: dict[str, dict[str, Node]] = {}
        for node in self.nodes:
            for name in node.input_names:
                table.setdefault(name, {})[node.name] = node
        return {name: tuple(nodes.values()) for name, nodes in table.items()}

    def node(self, name: str) -> Node:
        """Return the node of that name.

        Raises:
            NodeNotFoundError: there is none; carries near names.
        """
        found = self.by_name.get(name)
        if found is None:
            where = f" in {self.source.path}" if self.source else ""
            raise NodeNotFoundError(
                f"no node named `{name}`{where} ({len(self.nodes):,} nodes)", name=name, known=self.by_name
            )
        return found

    def __contains__(self, name: object) -> bool:
        """Whether a node of that name exists."""
        return name in self.by_name

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the nodes in file order."""
        return iter(self.nodes)

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    def topological(self) -> list[Node]:
        """Return the nodes, each after all its inputs; back edges of while loops (NextIteration) are not followed.

        Raises:
            InvalidGraphError: an input is not in the graph, or there is a cycle.
        """
        table = self.by_name
        waiting: dict[str, int] = {}
        users: dict[str, list[str]] = {}
        ready: list[str] = []
        for node in self.nodes:
            needs = set(node.input_names)
            missing = next((n for n in node.input_names if n not in table), None)
            if missing is not None:
                raise InvalidGraphError(
                    f"node `{node.name}` takes `{missing}`, which is not in the graph",
                    evidence={"node": node.name, "missing": missing},
                )
            needs = {n for n in needs if table[n].op not in MERGING_OPS}
            waiting[node.name] = len(needs)
            for name in needs:
                users.setdefault(name, []).append(node.name)
            if not needs:
                ready.append(node.name)
        order: list[Node] = []
        position = 0
        while position < len(ready):
            name = ready[position]
            position += 1
            order.append(table[name])
            for user in users.get(name, ()):
                waiting[user] -= 1
                if waiting[user] == 0:
                    ready.append(user)
        if len(order) != len(self.nodes):
            stuck = next(n for n in self.nodes if waiting[n.name] > 0)
            raise InvalidGraphError(f"node `{stuck.name}` is part of a cycle", evidence={"node": stuck.name})
        return order


def const(name: str, value: Tensor) -> Node:
    """Make a Const node."""
    return Node(name, "Const", (), {"dtype": Attr.of(value.dtype), "value": Attr.of(value)})


def placeholder(name: str, dtype: DType, shape: Shape) -> Node:
    """Make a Placeholder node."""
    return Node(name, "Placeholder", (), {"dtype": Attr.of(dtype), "shape": Attr.of_shape(shape)})
