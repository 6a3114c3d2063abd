"""Rename nodes, and everything that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import NameCollisionError
from tfinspect.ir.attrs import Attr
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._edges import as_input, map_colocations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.graph import Graph, Node


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Rename nodes; inputs, control inputs and colocations follow.

    Args:
        graph: the graph.
        names: new name by old name.

    Raises:
        NodeNotFoundError: an old name is not in the graph.
        NameCollisionError: a new name is that of another node.
    """
    for old in names:
        graph.node(old)
    after = [names.get(node.name, node.name) for node in graph.nodes]
    if len(set(after)) != len(after):
        seen: set[str] = set()
        twice = sorted({name for name in after if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
        raise NameCollisionError(
            f"`{twice[0]}` would be the name of two nodes", evidence={"names": twice[:20]}, details=twice[1:5]
        )
    return graph.replace(nodes=[rename_node(node, names) for node in graph.nodes])


def rename_node(node: Node, names: Mapping[str, str]) -> Node:
    """Rename a node and what it refers to; one that refers to nothing renamed comes back as it is."""
    inputs = [_input(text, names) for text in node.inputs]
    if tuple(inputs) != node.inputs or node.name in names:
        node = node.replace(name=names.get(node.name, node.name), inputs=inputs)
    return map_colocations(node, lambda name: names.get(name, name))


def _input(text: str, names: Mapping[str, str]) -> str:
    name, index, control = split_input(text)
    if name not in names:
        return text
    return f"^{names[name]}" if control else as_input(TensorRef(names[name], index))


def prefix_node(node: Node, prefix: str, names: Mapping[str, str]) -> Node:
    """Rename a node with the rest of its graph, and move the loops it belongs to under the prefix.

    Loops of two graphs with the same `frame_name` would be one loop for TensorFlow.
    """
    node = rename_node(node, names)
    if "frame_name" in node.attrs:
        node = node.replace(attrs={**node.attrs, "frame_name": Attr.of(f"{prefix}/{node.text('frame_name')}")})
    return node
