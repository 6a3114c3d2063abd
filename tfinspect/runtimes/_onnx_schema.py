"""Which nodes of an ONNX model are ONNX. In the children only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - a GraphProto
    """Yield all nodes, those of bodies (Loop, If, Scan) included."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting += subgraphs(node)


def subgraphs(node: Any) -> list[Any]:  # noqa: ANN401 - a NodeProto
    """Return the bodies of a node."""
    found = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def unknown_ops(model: Any) -> dict[str, list[str]]:  # noqa: ANN401 - a ModelProto
    """Return op -> node names of the nodes that no imported opset defines.

    tf2onnx leaves a TensorFlow op it cannot convert in the default domain, where it looks like any other.
    """
    from onnx import defs

    versions = {entry.domain: entry.version for entry in model.opset_import}
    local = {(f.domain, f.name) for f in model.functions}
    found: dict[str, list[str]] = {}
    for node in nodes(model.graph):
        if (node.domain, node.op_type) in local or node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            continue  # other domains are the runtime's to know: it refuses what it does not
        domain = "" if node.domain == "ai.onnx" else node.domain
        try:
            defs.get_schema(node.op_type, versions.get(domain, 0), domain)
        except defs.SchemaError:
            found.setdefault(node.op_type, []).append(node.name)
    return found
