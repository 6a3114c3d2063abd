"""Graphs as TensorFlow keeps them while it runs (`_Arg`, `_Retval`, names with a leading underscore) made plain ones.

Such a graph was taken from the middle of the runtime: a partition, a traced function. Importers refuse what is
internal.

1. `_Arg` of a plain type becomes a Placeholder; one that is a handle read by ReadVariableOp becomes a variable of its
   name.
2. `_Retval` becomes an Identity.
3. Names lose their leading underscores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, placeholder
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._edges import fresh_name, map_colocations
from tfinspect.surgery.repairs import Repair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.shapes import Shape

_ARGUMENTS = frozenset({"_Arg", "_DeviceArg"})
_RESULTS = frozenset({"_Retval", "_DeviceRetval"})


def plain_ends(graph: Graph) -> tuple[Graph, list[Repair]]:
    """Make arguments placeholders or variables, and results Identities; names stay."""
    nodes: list[Node] = []
    done: list[Repair] = []
    for node in graph.nodes:
        made = _plain(graph, node)
        if made is not node:
            done.append(Repair("argument", node.name, f"{node.op}, now {made.op}"))
        nodes.append(made)
    return (graph.replace(nodes=nodes), done) if done else (graph, [])


def _plain(graph: Graph, node: Node) -> Node:
    dtype = node.dtype("T")
    if dtype is None:
        return node
    if node.op in _RESULTS:
        return Node(node.name, "Identity", node.inputs, {"T": Attr.of(dtype)}, device=node.device)
    if node.op not in _ARGUMENTS:
        return node
    if dtype != DType.RESOURCE:
        return placeholder(node.name, dtype, _shape(node)).replace(device=node.device)
    held = _held(graph, node)
    if held is None:
        return node
    attrs = {
        "dtype": Attr.of(held),
        "shape": Attr.of_shape(None),
        "shared_name": Attr.of(node.name),
        "container": Attr.of(""),
    }
    return Node(node.name, "VarHandleOp", (), attrs, device=node.device)


def _held(graph: Graph, node: Node) -> DType | None:
    """Return the dtype of the variable behind a handle, as what reads or assigns it says."""
    users = (u for u in graph.consumers.get(node.name, ()) if u.op == "ReadVariableOp" or u.op.startswith("Assign"))
    return next((dtype for u in users if (dtype := u.dtype("dtype")) is not None), None)


def _shape(node: Node) -> Shape:
    shapes = node.listed("_output_shapes", "shape")
    return shapes[0] if shapes else None


def plain_names(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """Take leading underscores off the names of nodes.

    Returns:
        The graph, itself where there was nothing to do, and new names by old.
    """
    taken = set(graph.by_name)
    renamed: dict[str, str] = {}
    for name in graph.by_name:
        if name.startswith("_"):
            renamed[name] = fresh_name(name.lstrip("_/-") or "node", taken)
            taken.add(renamed[name])
    if not renamed:
        return graph, {}
    return graph.replace(nodes=[_renamed(node, renamed) for node in graph.nodes]), renamed


def _renamed(node: Node, renamed: Mapping[str, str]) -> Node:
    inputs = [_input(text, renamed) for text in node.inputs]
    name = renamed.get(node.name, node.name)
    if name != node.name or tuple(inputs) != node.inputs:
        node = node.replace(name=name, inputs=inputs)
    return map_colocations(node, lambda old: renamed.get(old, old))


def _input(text: str, renamed: Mapping[str, str]) -> str:
    name, index, control = split_input(text)
    if name not in renamed:
        return text
    new = renamed[name]
    return f"^{new}" if control else str(TensorRef(new, index)) if index else new
