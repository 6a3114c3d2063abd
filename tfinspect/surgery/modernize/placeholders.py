"""Placeholders whose empty shape meant "unknown" get that written out.

Up to producer version 21 a Placeholder with shape `{}` could be fed anything; from 22 on it is a scalar. Readers other
than TensorFlow take the newer meaning whatever the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import counted
from tfinspect.ir.attrs import Attr

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node

SCALARS_SINCE = 22


def modernize_placeholders(graph: Graph) -> tuple[Graph, list[str]]:
    """Write unknown shapes out as unknown."""
    if graph.versions.producer >= SCALARS_SINCE:
        return graph, []
    old = {node.name for node in graph.nodes if _is_ambiguous(node)}
    if not old:
        return graph, []
    unknown = Attr.of_shape(None)
    nodes = [n.replace(attrs={**n.attrs, "shape": unknown}) if n.name in old else n for n in graph.nodes]
    count = counted(len(old), "placeholder")
    return graph.replace(nodes=nodes), [
        f"wrote out the shape of {count}: any, as an empty one means at producer {graph.versions.producer}"
    ]


def _is_ambiguous(node: Node) -> bool:
    attr = node.attrs.get("shape")
    return node.op == "Placeholder" and attr is not None and attr.kind == "shape" and attr.value == ()
