"""Updates of variables: dropped where only a control input asks for them, refused where an output depends on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery.prune import check_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tfinspect.ir.graph import Graph, Node

_UPDATE_PREFIXES = (
    "Assign", "Apply", "SparseApply", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "ResourceCountUpTo",
)  # fmt: skip
_UPDATES = frozenset(
    {
        "ScatterAdd", "ScatterSub", "ScatterMul", "ScatterDiv", "ScatterMin", "ScatterMax", "ScatterUpdate",
        "ScatterNdAdd", "ScatterNdSub", "ScatterNdUpdate", "ScatterNdMax", "ScatterNdMin", "CountUpTo",
        "StridedSliceAssign", "ResourceStridedSliceAssign", "DestroyResourceOp", "DestroyTemporaryVariable",
        "TemporaryVariable",
    }
)  # fmt: skip


def is_update(node: Node) -> bool:
    """Whether a node changes a variable."""
    return node.op in _UPDATES or node.op.startswith(_UPDATE_PREFIXES)


def drop_updates(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[Graph, tuple[tuple[str, str], ...]]:
    """Drop the control inputs that make a run update variables: `with control_dependencies(update_ops)`.

    A frozen graph has no variables to update. A control input goes if what it names is an update or is computed from
    one, and so do those to a NoOp that has nothing left to wait for.

    Args:
        graph: the graph.
        outputs: tensors that will be kept; only what they need is looked at.

    Returns:
        The graph, and the control inputs dropped as (node, node waited for).

    Raises:
        NodeNotFoundError: an output is not in the graph.
    """
    for ref in outputs:
        check_ref(graph, ref)
    changing = _computed_from_updates(graph)
    if not changing:
        return graph, ()
    reached = _reach(graph, outputs, changing)
    dropped = tuple(
        (node.name, name)
        for node in graph.nodes
        if node.name in reached
        for name in node.control_inputs
        if name in changing
    )
    if not dropped:
        return graph, ()
    idle = _idle(graph, changing)
    gone = changing | idle
    nodes = [_without(node, gone) if node.name in reached else node for node in graph.nodes]
    return graph.replace(nodes=nodes), dropped


def _computed_from_updates(graph: Graph) -> set[str]:
    found = {node.name for node in graph.nodes if is_update(node)}
    waiting = list(found)
    while waiting:
        name = waiting.pop()
        for user in graph.consumers.get(name, ()):
            if user.name not in found and any(ref.name == name for ref in user.data_inputs):
                found.add(user.name)
                waiting.append(user.name)
    return found


def _reach(graph: Graph, outputs: Sequence[TensorRef], changing: Collection[str]) -> set[str]:
    found = {ref.name for ref in outputs}
    waiting = list(found)
    while waiting:
        node = graph.by_name.get(waiting.pop())
        for text in node.inputs if node is not None else ():
            name, _, control = split_input(text)
            if name not in found and not (control and name in changing):
                found.add(name)
                waiting.append(name)
    return found


def _idle(graph: Graph, changing: Collection[str]) -> set[str]:
    """Return the NoOp nodes that wait for nothing but updates."""
    left = {n.name: {name for name in n.control_inputs if name not in changing} for n in graph.nodes if n.op == "NoOp"}
    idle = {name for name, names in left.items() if not names and graph.by_name[name].inputs}
    waiting = list(idle)
    while waiting:
        gone = waiting.pop()
        for user in graph.consumers.get(gone, ()):
            if user.op == "NoOp" and user.name not in idle:
                left[user.name].discard(gone)
                if not left[user.name]:
                    idle.add(user.name)
                    waiting.append(user.name)
    return idle


def _without(node: Node, gone: Collection[str]) -> Node:
    kept = [text for text in node.inputs if not (text.startswith("^") and text[1:] in gone)]
    return node if len(kept) == len(node.inputs) else node.replace(inputs=kept)


def refuse_updates(graph: Graph, outputs: Sequence[TensorRef]) -> None:
    """Check that a pruned graph has no updates left, which would then be on the way to an output.

    Raises:
        SurgeryError: there is one; names it and the path.
    """
    update = next((node for node in graph.nodes if is_update(node)), None)
    if update is None:
        return
    path = _path(graph, update.name, {ref.name for ref in outputs})
    raise SurgeryError(
        f"cannot freeze: `{path[-1]}` depends on `{update.name}` ({update.op}), which changes a variable at every run",
        details=[" -> ".join(path)],
        hint="choose outputs of the inference graph with --outputs, or switch training off with --set NAME=False",
        evidence={"node": update.name, "op": update.op, "path": path},
    )


def _path(graph: Graph, start: str, ends: Collection[str]) -> list[str]:
    came: dict[str, str | None] = {start: None}
    queue = [start]
    for name in queue:
        if name in ends:
            path: list[str] = []
            step: str | None = name
            while step is not None:
                path.append(step)
                step = came[step]
            return path[::-1]
        for user in graph.consumers.get(name, ()):
            if user.name not in came:
                came[user.name] = name
                queue.append(user.name)
    return [start]
