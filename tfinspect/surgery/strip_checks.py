"""Take out what only watches: checks, prints, summaries, gradient stops. None of them changes what is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr, FuncRef
from tfinspect.ir.graph import Graph, Node
from tfinspect.surgery._edges import drop_dangling, redirect
from tfinspect.surgery.ops import MERGES, is_summary

if TYPE_CHECKING:
    from collections.abc import Collection

_PASSING = frozenset({"CheckNumerics", "CheckNumericsV2", "Print"})
_GRADIENT_STOPS = frozenset({"StopGradient", "PreventGradient"})
_WATCHING = frozenset({"Assert", "PrintV2"})  # no outputs
_CONDITIONALS = frozenset({"If", "StatelessIf"})


def strip_checks(graph: Graph) -> Graph:
    """Return a graph that computes the same without checking it, gradient stops taken out as well; for export."""
    return take_out_checks(graph, gradient_stops=True)[0]


def take_out_checks(
    graph: Graph, *, keep: Collection[str] = (), gradient_stops: bool = False
) -> tuple[Graph, list[Node]]:
    """Take out checks, prints and summaries.

    1. CheckNumerics and Print (and gradient stops, if asked) become an Identity of the same name, for which nothing
       waits any more.
    2. Assert and PrintV2 go, and the control inputs that waited for them; so do conditionals that do nothing but guard
       them, and summaries that something waits for.
    3. NoOps that are left waiting for nothing go likewise. What is then unreachable stays: prune afterwards.

    Args:
        graph: the graph.
        keep: names of nodes that are outputs.
        gradient_stops: whether StopGradient and PreventGradient are taken out, which training needs.

    Returns:
        The graph, itself where there was nothing to do, and the nodes that were replaced or taken out, but for NoOps.
    """
    plain = _PASSING | _GRADIENT_STOPS if gradient_stops else _PASSING
    passing = {node.name: None for node in graph.nodes if node.op in plain}
    watching = {node.name for node in graph.nodes if _watches(graph, node, keep)}
    watching |= {node.name for node in graph.nodes if _guards(graph, node, watching, keep)}
    watching |= {node.name for node in graph.nodes if _hands_on(graph, node, watching, keep)}
    if not passing and not watching:
        return graph, []
    gone = watching | _idle(graph, watching | set(passing))
    waits: dict[str, str | None] = {**passing, **dict.fromkeys(gone)}
    kept = [_plain(node) if node.name in passing else node for node in graph.nodes if node.name not in gone]
    found = [node for node in graph.nodes if node.name in passing or node.name in watching]
    return graph.replace(nodes=drop_dangling(redirect(kept, {}, waits))), found


def _watches(graph: Graph, node: Node, keep: Collection[str]) -> bool:
    """Whether a node is there for its effect alone."""
    if node.op in _WATCHING:
        return True
    if node.name in keep or not (is_summary(node.op) or _guards_by_function(graph, node)):
        return False
    return not _read(graph, node)


def _hands_on(graph: Graph, node: Node, watching: Collection[str], keep: Collection[str]) -> bool:
    """Whether a node is an Identity of what goes, which something waits for."""
    if node.op != "Identity" or node.name in keep or _is_read(graph, node):
        return False
    return any(ref.name in watching for ref in node.data_inputs)


def _read(graph: Graph, node: Node) -> list[Node]:
    """Return the nodes that take a value of a node, but for summaries, and Identities that nothing reads."""
    users = [u for u in graph.consumers.get(node.name, ()) if any(ref.name == node.name for ref in u.data_inputs)]
    return [
        u
        for u in users
        if not is_summary(u.op) and not (u.op == "Identity" and not _is_read(graph, u))
    ]  # fmt: skip


def _is_read(graph: Graph, node: Node) -> bool:
    return any(ref.name == node.name for u in graph.consumers.get(node.name, ()) for ref in u.data_inputs)


def _guards_by_function(graph: Graph, node: Node) -> bool:
    """Whether a node is a conditional one branch of which checks or prints."""
    if node.op not in _CONDITIONALS:
        return False
    names = [a.value.name for a in node.attrs.values() if a.kind == "func" and isinstance(a.value, FuncRef)]
    bodies = [graph.functions[name].body for name in names if name in graph.functions]
    return any(inner.op in _WATCHING for body in bodies for inner in body.nodes)


def _guards(graph: Graph, node: Node, watching: Collection[str], keep: Collection[str]) -> bool:
    """Whether a node is the Merge of a conditional that does nothing but check: nothing reads it, its inputs wait."""
    if node.op not in MERGES or node.name in keep or _is_read(graph, node):
        return False
    sources = [graph.by_name.get(ref.name) for ref in node.data_inputs]
    return any(name in watching for source in sources if source is not None for name in source.control_inputs)


def _plain(node: Node) -> Node:
    controls = [text for text in node.inputs if text.startswith("^")]
    return Node(node.name, "Identity", (node.inputs[0], *controls), _type(node), device=node.device)


def _type(node: Node) -> dict[str, Attr]:
    dtype = node.dtype("T")
    return {} if dtype is None else {"T": Attr.of(dtype)}


def _idle(graph: Graph, gone: set[str]) -> set[str]:
    """Return the NoOps that wait for nothing but what goes."""
    left = {node.name: set(node.control_inputs) - gone for node in graph.nodes if node.op == "NoOp" and node.inputs}
    idle = {name for name, names in left.items() if not names}
    waiting = list(idle)
    while waiting:
        done = waiting.pop()
        for user in graph.consumers.get(done, ()):
            if user.name in left and user.name not in idle:
                left[user.name].discard(done)
                if not left[user.name]:
                    idle.add(user.name)
                    waiting.append(user.name)
    return idle
