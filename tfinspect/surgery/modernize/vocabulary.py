"""Ops and attributes of another TensorFlow version, brought to what the current one knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import counted
from tfinspect.surgery.modernize.batch_norm import OLD, modernize_batch_norm
from tfinspect.surgery.modernize.op_attrs import ATTRS
from tfinspect.surgery.modernize.renamed_ops import rewrite_old_ops
from tfinspect.surgery.modernize.tensor_arrays import rewrite_tensor_arrays
from tfinspect.surgery.ops import DEPRECATED, refusal
from tfinspect.surgery.repairs import Repair

if TYPE_CHECKING:
    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.graph import Graph, Node

_MEANING_NOTHING = (False, 0, 0.0, b"", ())


def current_vocabulary(graph: Graph) -> tuple[Graph, list[Repair], list[str]]:
    """Rewrite what a current TensorFlow would refuse, and name what it would still not know.

    Returns:
        The graph, itself where nothing had to be done; what was done; and in words what could not be.
    """
    changed: list[tuple[str, str, str]] = []
    for rewrite in (rewrite_tensor_arrays, rewrite_old_ops):
        graph, found = rewrite(graph)
        changed += found
    if graph.versions.producer >= DEPRECATED[OLD]:
        old = [node.name for node in graph.nodes if node.op == OLD]
        graph, _ = modernize_batch_norm(graph)
        changed += [(name, OLD, graph.by_name[name].op) for name in old]
    repairs = [Repair("op", name, f"{before}, now {after}") for name, before, after in changed]
    graph, dropped, kept = _known_attributes(graph)
    return graph, [*repairs, *dropped], [*_unknown_ops(graph), *kept]


def _unknown_ops(graph: Graph) -> list[str]:
    nodes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        nodes.setdefault(node.op, []).append(node)
    notes = []
    for op, found in nodes.items():
        reason = None if op in graph.functions else refusal(op, graph.versions.producer)
        if reason is not None:
            notes.append(f"{op} stays in {counted(len(found), 'node')}, as `{found[0].name}`: {reason}")
    return notes


def _known_attributes(graph: Graph) -> tuple[Graph, list[Repair], list[str]]:
    """Drop attributes that the op does not have, where they say nothing; name the others."""
    nodes: list[Node] = []
    repairs: list[Repair] = []
    notes: list[str] = []
    for node in graph.nodes:
        known = ATTRS.get(node.op)
        strange = [] if known is None else [n for n in node.attrs if not n.startswith("_") and n not in known]
        gone = [name for name in strange if _says_nothing(node.attrs[name])]
        repairs += [Repair("attribute", node.name, f"{name} of {node.op}") for name in gone]
        notes += [
            f"`{node.name}` ({node.op}) has the attribute `{name}`, which TensorFlow 2.21 does not know and ignores"
            for name in strange
            if name not in gone
        ]
        if gone:
            node = node.replace(attrs={name: attr for name, attr in node.attrs.items() if name not in gone})  # noqa: PLW2901
        nodes.append(node)
    return (graph.replace(nodes=nodes) if repairs else graph), repairs, notes


def _says_nothing(attr: Attr) -> bool:
    """Whether a value is what a new attribute's default always is: what was so before there was the attribute."""
    value = attr.value
    if attr.kind == "list":
        value = value.values
    if attr.kind == "shape":
        return value is None
    return attr.kind in ("b", "i", "f", "s", "list") and value in _MEANING_NOTHING
