"""Take out what only watches: checks, prints, gradient stops. For export; training and debugging need them."""

from __future__ import annotations

from tfinspect.ir.attrs import Attr
from tfinspect.ir.graph import Graph, Node
from tfinspect.surgery._edges import drop_dangling, redirect

_PASSING = frozenset({"CheckNumerics", "CheckNumericsV2", "StopGradient", "PreventGradient", "Print"})
_WATCHING = frozenset({"Assert", "PrintV2"})  # no outputs


def strip_checks(graph: Graph) -> Graph:
    """Return a graph that computes the same without checking it.

    1. CheckNumerics, StopGradient, PreventGradient and Print become an Identity of the same name, for which nothing
       waits any more.
    2. Assert and PrintV2 go, and the control inputs that waited for them.
    3. NoOps that are left waiting for nothing go likewise. What is then unreachable stays: prune afterwards.
    """
    found = {node.op for node in graph.nodes}
    if found.isdisjoint(_PASSING | _WATCHING):
        return graph
    passing = {node.name: None for node in graph.nodes if node.op in _PASSING}
    gone = {node.name for node in graph.nodes if node.op in _WATCHING}
    gone |= _idle(graph, gone | set(passing))
    kept = [_plain(node) for node in graph.nodes if node.name not in gone]
    return graph.replace(nodes=drop_dangling(redirect(kept, {}, passing)))


def _plain(node: Node) -> Node:
    if node.op not in _PASSING:
        return node
    controls = [text for text in node.inputs if text.startswith("^")]
    return Node(node.name, "Identity", (node.inputs[0], *controls), _type(node), device=node.device)


def _type(node: Node) -> dict[str, Attr]:
    dtype = node.dtype("T")
    return {} if dtype is None else {"T": Attr.of(dtype)}


def _idle(graph: Graph, gone: set[str]) -> set[str]:
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
