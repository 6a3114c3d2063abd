"""Put a head on a trunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.errors import (
    IncompatibleGraftError,
    InvalidGraphError,
    NameCollisionError,
    UnsupportedOpsError,
    UsageError,
    counted,
)
from tfinspect.ir.head import DenseHead
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible, format_shape
from tfinspect.ir.tensors import same_tensor
from tfinspect.surgery._edges import cleaned, drop_dangling, redirect, without_colocation
from tfinspect.surgery.dense import dense_nodes
from tfinspect.surgery.ops import DEPRECATED
from tfinspect.surgery.prune import check_ref, needed, prune
from tfinspect.surgery.rename import prefix_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.functions import Function
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.head import GraphHead
    from tfinspect.surgery.shapes import TensorTypes

_MATRIX, _POOLED = 2, 4  # ranks of a bottleneck that a dense layer can follow


@dataclass(frozen=True, slots=True)
class Grafted:
    """A trunk with a head on.

    Attributes:
        graph: the whole.
        outputs: what the head computes.
        added: names of the nodes that are not the trunk's.
    """

    graph: Graph
    outputs: tuple[TensorRef, ...]
    added: tuple[str, ...]


def graft(
    trunk: Graph,
    head: DenseHead | GraphHead,
    bottleneck: TensorRef,
    *,
    types: TensorTypes,
    name: str = "head",
    keep: bool = False,
) -> Grafted:
    """Put a head on a trunk.

    Dense layers become `name/logits` and `name/softmax` (earlier layers `name/layer_0/...`); the nodes of a head graph
    go under `name/`, and what its input fed takes the bottleneck. Everything else stays byte for byte, which
    `assert_structure` proves before this returns.

    Args:
        trunk: a graph that has the bottleneck; whatever else it has goes, unless `keep`.
        head: what to put on.
        bottleneck: float [batch, features], or for dense layers [batch, 1, 1, features] as well.
        types: dtypes and shapes of the trunk.
        name: scope of the head.
        keep: leave the old head in.

    Raises:
        IncompatibleGraftError: dtype or shape differ; names both sides.
        NameCollisionError: the trunk has nodes under that name.
        UnsupportedOpsError: the head has ops that are no longer accepted at the trunk's producer version.
        UsageError: the scope or an activation is not valid.
    """
    check_ref(trunk, bottleneck)
    if not name or name.startswith(("/", "^", "_")) or name.endswith("/") or ":" in name:
        raise UsageError(f"`{name}` is not a name for a scope", hint="use a plain word: --name head")
    base = trunk if keep else prune(trunk, [bottleneck])
    kind = types.type_of(bottleneck)
    functions = base.functions
    if isinstance(head, DenseHead):
        flatten = _check_dense(head, bottleneck, kind.dtype, kind.shape)
        nodes, outputs = dense_nodes(head, bottleneck, name, flatten=flatten)
    else:
        _check_graph(head, bottleneck, kind.dtype, kind.shape)
        _check_versions(head.graph, base)
        nodes, outputs = _graph_nodes(head, bottleneck, name)
        functions = _joined(base.functions, head.graph.functions)
    _check_names(base, nodes, name)
    graph = base.replace(nodes=[*base.nodes, *nodes], functions=functions)
    grafted = Grafted(graph, outputs, tuple(node.name for node in nodes))
    assert_structure(grafted, trunk, head, bottleneck, name=name, keep=keep)
    return grafted


def _check_dense(head: DenseHead, bottleneck: TensorRef, dtype: DType | None, shape: Shape) -> bool:
    """Check that layers fit on the bottleneck and on each other; return whether it must be flattened."""
    if not head.layers:
        raise UsageError("the head has no layers")
    wanted: int | None = None
    for number, layer in enumerate(head.layers):
        weights, biases = layer.weights, layer.biases
        if len(weights.shape) != _MATRIX or (wanted is not None and weights.shape[0] != wanted):
            asked = "[features, units]" if wanted is None else f"{wanted} features"
            raise IncompatibleGraftError(
                f"layer {number} of the head has weights of shape {format_shape(weights.shape)}, {asked} expected",
                evidence={"layer": number, "weights": list(weights.shape)},
            )
        if biases is not None and (biases.shape != weights.shape[1:] or biases.dtype != weights.dtype):
            raise IncompatibleGraftError(
                f"layer {number} of the head has {biases.dtype} biases of shape {format_shape(biases.shape)} "
                f"for {weights.dtype} weights of shape {format_shape(weights.shape)}",
                evidence={"layer": number, "weights": list(weights.shape), "biases": list(biases.shape)},
            )
        wanted = weights.shape[1]
    first = head.layers[0].weights
    pooled = shape is not None and len(shape) == _POOLED and shape[1:3] == (1, 1)
    flat = shape[:1] + shape[3:] if shape is not None and pooled else shape
    if (dtype is not None and dtype != first.dtype) or not compatible(flat, (None, first.shape[0])):
        hint = "read the head's shapes: tfinspect info HEAD"
        raise _incompatible(bottleneck, (dtype, shape), (first.dtype, (None, first.shape[0])), hint=hint)
    return pooled


def _check_graph(head: GraphHead, bottleneck: TensorRef, dtype: DType | None, shape: Shape) -> None:
    node = check_ref(head.graph, head.input)
    wants = node.dtype("dtype") or node.dtype("T")
    attr = node.attrs.get("shape")
    wanted: Shape = attr.value if attr is not None and attr.kind == "shape" else None
    if (dtype is not None and wants is not None and dtype != wants) or not compatible(shape, wanted):
        hint = "list the head's inputs: tfinspect info HEAD"
        raise _incompatible(bottleneck, (dtype, shape), (wants, wanted), hint=hint, name=str(head.input))


def _incompatible(
    bottleneck: TensorRef,
    gives: tuple[DType | None, Shape],
    wants: tuple[DType | None, Shape],
    *,
    hint: str,
    name: str = "",
) -> IncompatibleGraftError:
    where = f" (`{name}`)" if name else ""
    return IncompatibleGraftError(
        f"cannot graft onto `{bottleneck}`: the trunk gives {_described(*gives)}, "
        f"the head wants {_described(*wants)}{where}",
        hint=hint,
        evidence={
            "bottleneck": str(bottleneck),
            "trunk": _facts(*gives),
            "head": _facts(*wants),
        },
    )


def _described(dtype: DType | None, shape: Shape) -> str:
    return f"{'an unknown type' if dtype is None else dtype} {format_shape(shape)}"


def _facts(dtype: DType | None, shape: Shape) -> dict[str, object]:
    return {"dtype": None if dtype is None else str(dtype), "shape": None if shape is None else list(shape)}


def _check_versions(head: Graph, trunk: Graph) -> None:
    """Old ops are refused at newer producer versions, and the trunk's is the one that stays."""
    old = {
        node.name: node.op
        for node in head.nodes
        if (since := DEPRECATED.get(node.op)) is not None and head.versions.producer < since <= trunk.versions.producer
    }
    if old:
        name, op = next(iter(old.items()))
        raise UnsupportedOpsError(
            f"the head's `{name}` ({op}) is no longer accepted at producer version "
            f"{trunk.versions.producer}, which the trunk has ({counted(len(old), 'such node')})",
            hint="export the head's model with a newer TensorFlow, or give its weights as an .npz",
            evidence={"nodes": list(old), "producer": trunk.versions.producer},
        )


def _names(head: GraphHead, name: str) -> dict[str, str]:
    kept = needed(_without_input(head), head.outputs)
    return {
        node.name: f"{name}/{node.name}"
        for node in head.graph.nodes
        if node.name in kept and node.name != head.input.name
    }


def _without_input(head: GraphHead) -> Graph:
    """Return the head's graph with nothing behind its input."""
    return head.graph.replace(
        nodes=[n.replace(inputs=()) if n.name == head.input.name else n for n in head.graph.nodes]
    )


def _graph_nodes(head: GraphHead, bottleneck: TensorRef, name: str) -> tuple[list[Node], tuple[TensorRef, ...]]:
    names = _names(head, name)
    if head.input in head.outputs:
        raise UsageError(f"the head's input `{head.input}` is also its output, so there is nothing to graft")
    kept = drop_dangling([*(n for n in head.graph.nodes if n.name in names), head.graph.node(head.input.name)])[:-1]
    nodes = [prefix_node(node, name, names) for node in kept]
    nodes = redirect(nodes, {head.input: bottleneck}, {head.input.name: bottleneck.name})
    nodes = [without_colocation(node, head.input.name) for node in nodes]
    return nodes, tuple(TensorRef(names[r.name], r.index) for r in head.outputs)


def _joined(a: Mapping[str, Function], b: Mapping[str, Function]) -> Mapping[str, Function]:
    """Return both libraries as one; functions of one name must be the same bytes."""
    if not b:
        return a
    both = sorted(name for name in b if name in a and a[name].wire != b[name].wire)
    if both:
        raise NameCollisionError(
            f"trunk and head both have a function `{both[0]}`, and they differ ({counted(len(both), 'such name')})",
            hint="prune the head to the outputs you need first: tfinspect cut HEAD --bottleneck T",
            evidence={"functions": both},
        )
    return {**a, **b}


def _check_names(base: Graph, nodes: Iterable[Node], name: str) -> None:
    both = [node.name for node in nodes if node.name in base]
    if not both:
        return
    free = next(
        f"{name}_{k}" for k in range(1, len(base) + 2) if not any(n.name.startswith(f"{name}_{k}/") for n in base)
    )
    raise NameCollisionError(
        f"the trunk has a node named `{both[0]}` already ({counted(len(both), 'such name')})",
        details=both[1:5],
        hint=f"put the head elsewhere: --name {free}",
        evidence={"names": both[:50], "free": free},
    )


def assert_structure(
    grafted: Grafted,
    trunk: Graph,
    head: DenseHead | GraphHead,
    bottleneck: TensorRef,
    *,
    name: str = "head",
    keep: bool = False,
) -> None:
    """Prove that a grafted graph is trunk and head and nothing else.

    Every node of the trunk that the bottleneck needs (with `keep`: every node) must be there unchanged, op, inputs,
    attributes and the bytes of its weights; every node of the head likewise, but for the declared prefix and the one
    edge that now takes the bottleneck; and no other node may exist.

    Raises:
        InvalidGraphError: something else is there, or something is not.
    """
    own = {n.name for n in trunk.nodes} if keep else needed(trunk, [bottleneck])
    table = grafted.graph.by_name
    added = set(grafted.added)
    if own & added or own | added != set(table):
        stray = sorted((own & added) | ((own | added) ^ set(table)))
        raise InvalidGraphError(f"grafting left or lost `{stray[0]}`", evidence={"names": stray[:50]})
    for node in trunk.nodes:
        if node.name in own:
            _same(table[node.name], node if keep else cleaned(node, own))
    if isinstance(head, DenseHead):
        _assert_dense(table, head, bottleneck, name)
        return
    names = _names(head, name)
    kept = [node for node in head.graph.nodes if node.name in names]
    if added != set(names.values()):
        raise InvalidGraphError("grafting did not add exactly the head's nodes", evidence={"added": sorted(added)[:50]})
    whole = {*names, head.input.name}
    for node in kept:
        expected = prefix_node(cleaned(node, whole), name, names)
        (expected,) = redirect([expected], {head.input: bottleneck}, {head.input.name: bottleneck.name})
        _same(table[names[node.name]], without_colocation(expected, head.input.name))


def _same(found: Node, expected: Node) -> None:
    if found is expected:
        return
    same = (found.name, found.op, found.inputs, found.device) == (
        expected.name, expected.op, expected.inputs, expected.device
    )  # fmt: skip
    if not same or (found.attrs is not expected.attrs and dict(found.attrs) != dict(expected.attrs)):
        raise InvalidGraphError(
            f"grafting changed `{found.name}`", evidence={"found": repr(found), "expected": repr(expected)}
        )


def _assert_dense(table: Mapping[str, Node], head: DenseHead, bottleneck: TensorRef, name: str) -> None:
    nodes, _ = dense_nodes(head, bottleneck, name, flatten=f"{name}/reshape" in table)
    for expected in nodes:
        if expected.name not in table:
            raise InvalidGraphError(f"grafting lost `{expected.name}`", evidence={"name": expected.name})
        _same(table[expected.name], expected)
    for number, layer in enumerate(head.layers):
        scope = name if number == len(head.layers) - 1 else f"{name}/layer_{number}"
        for leaf, tensor in (("weights", layer.weights), ("biases", layer.biases)):
            node = table.get(f"{scope}/{leaf}")
            value = None if node is None else node.tensor()
            if (tensor is None) != (value is None) or (tensor and value and not same_tensor(tensor, value)):
                raise InvalidGraphError(f"`{scope}/{leaf}` is not what the head holds", evidence={"name": scope})
