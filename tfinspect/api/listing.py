"""What `nodes`, `show` and `vars` answer."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tfinspect.api.load import PathLike, graph_of
from tfinspect.ir.refs import TensorRef, parse_shaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery.endpoints import Outputs
    from tfinspect.surgery.shapes import TensorTypes

Only = Literal["inputs", "outputs", "bottlenecks"]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One line of `nodes`: the node, and dtype and shape of its first output as far as they can be told."""

    node: Node
    dtype: DType | None
    shape: Shape

    def to_json(self) -> dict[str, object]:
        """Return the row as the command-line contract writes it."""
        return {
            "name": self.node.name,
            "op": self.node.op,
            "inputs": [str(ref) for ref in self.node.data_inputs],
            "control_inputs": self.node.control_inputs,
            "dtype": None if self.dtype is None else str(self.dtype),
            "shape": None if self.shape is None else list(self.shape),
        }


def nodes(
    path: PathLike | Graph,
    *,
    op: str | None = None,
    match: str | None = None,
    scope: str | None = None,
    only: Only | None = None,
    inputs: Sequence[str] = (),
) -> Iterator[NodeRow]:
    """List the nodes of a graph, in file order.

    Args:
        path: anything `open_graph` opens.
        op: only this operation type.
        match: only names that match this glob; `*` also matches `/`.
        scope: only names below this scope, or equal to it.
        only: only inputs, outputs or bottleneck candidates, best first.
        inputs: tensors with shapes, as `X:0[1,28,28,1]`, from which other shapes follow.

    Raises:
        InputError: the graph cannot be read.
        NodeNotFoundError: an input is not in the graph.
        OutputIndexError: an input's node has no output of that number.
    """
    from tfinspect.surgery.shapes import TensorTypes

    graph = graph_of(path)
    types = TensorTypes(graph, given_shapes(graph, inputs))
    chosen = graph.nodes if only is None else _only(graph, types, only)
    for keep in _filters(op, match, scope):
        chosen = tuple(node for node in chosen if keep(node))
    for node in chosen:
        kind = types.type_of(TensorRef(node.name))
        yield NodeRow(node, kind.dtype, kind.shape)


def given_shapes(graph: Graph, inputs: Sequence[str]) -> dict[TensorRef, Shape]:
    """Return the shapes written into `--inputs T[SHAPE]`, each for a node that exists.

    Raises:
        NodeNotFoundError: a tensor's node is not in the graph.
        OutputIndexError: its node has no output of that number.
    """
    shapes: dict[TensorRef, Shape] = {}
    for text in inputs:
        from tfinspect.surgery.prune import check_ref

        ref, shape = parse_shaped(text)
        check_ref(graph, ref)
        if shape is not None:
            shapes[ref] = shape
    return shapes


def _filters(op: str | None, match: str | None, scope: str | None) -> Iterator[Callable[[Node], bool]]:
    if op is not None:
        yield lambda node: node.op == op
    if match is not None:
        yield lambda node: fnmatch.fnmatchcase(node.name, match)
    if scope is not None:
        base = scope.rstrip("/")
        yield lambda node: node.name == base or node.name.startswith(base + "/")


def fetched(outputs: Outputs) -> list[TensorRef]:
    """Return the outputs a cut must serve: all where they are certain, else the likeliest alone."""
    return [end.ref for end in (outputs if outputs.certain else outputs[:1])]


def _only(graph: Graph, types: TensorTypes, only: Only) -> tuple[Node, ...]:
    # looking for what others found by themselves costs more than the whole listing
    from tfinspect.surgery.bottlenecks import find_bottlenecks
    from tfinspect.surgery.endpoints import find_inputs, find_outputs

    outputs = find_outputs(graph, types)
    inputs = find_inputs(graph, types, [end.ref for end in outputs] or None)
    if only == "outputs":
        refs = [end.ref for end in outputs]
    elif only == "inputs":
        refs = [end.ref for end in inputs]
    else:
        data = [end.ref for end in inputs if end.kind != "phase"]
        refs = [cut.ref for cut in find_bottlenecks(graph, types, data, fetched(outputs))] if data and outputs else []
    return tuple(graph.node(name) for name in dict.fromkeys(ref.name for ref in refs))


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """Everything about one node.

    Attributes:
        row: as in the listing.
        attrs: attribute values.
        inputs: each input tensor with dtype and shape.
        consumers: (node, input as written) of each use.
    """

    row: NodeRow
    attrs: dict[str, Attr]
    inputs: tuple[tuple[str, DType | None, Shape], ...]
    consumers: tuple[tuple[str, str], ...]


def show(path: PathLike | Graph, name: str) -> NodeDetails:
    """Describe one node.

    Raises:
        InputError: the graph cannot be read.
        NodeNotFoundError: it has no such node.
        OutputIndexError: the node has no output of that number.
    """
    from tfinspect.surgery.prune import check_ref
    from tfinspect.surgery.shapes import TensorTypes

    graph = graph_of(path)
    # a node's name may hold a colon where a file is broken; what stands there as it was typed is what is meant
    node = graph.by_name.get(name) or check_ref(graph, TensorRef.parse(name.removeprefix("^")))
    types = TensorTypes(graph)
    kind = types.type_of(TensorRef(node.name))
    inputs = []
    for source in node.data_inputs:
        given = types.type_of(source)
        inputs.append((str(source), given.dtype, given.shape))
    consumers = tuple(
        (user.name, text)
        for user in graph.consumers.get(node.name, ())
        for text in user.inputs
        if text.lstrip("^").rpartition(":")[0] == node.name or text.lstrip("^") == node.name
    )
    return NodeDetails(NodeRow(node, kind.dtype, kind.shape), dict(node.attrs.items()), tuple(inputs), consumers)


def variables(checkpoint: Checkpoint, *, match: str | None = None, role: str | None = None) -> list[VariableInfo]:
    """List the variables of a checkpoint, by name pattern and role."""
    return [
        info
        for info in checkpoint.variables.values()
        if (match is None or fnmatch.fnmatchcase(info.name, match)) and (role is None or info.role == role)
    ]


def preview(value: Any, limit: int = 8) -> str:  # noqa: ANN401 - any array
    """Return the first values of an array on one line."""
    flat = value.reshape(-1)
    shown = ", ".join(_scalar(v) for v in flat[:limit].tolist())
    return f"[{shown}{', ...' if flat.size > limit else ''}]"


def _scalar(value: object) -> str:
    if isinstance(value, bytes):
        return repr(value[:40])[1:]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
