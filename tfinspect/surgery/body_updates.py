"""Updates of variables in the bodies of functions: dropped where only a control input asks for them, else refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import SurgeryError
from tfinspect.surgery._bodies import needed
from tfinspect.surgery.drop_updates import is_update

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tfinspect.ir.functions import Function
    from tfinspect.ir.graph import Node


def without_updates(name: str, function: Function, nodes: Sequence[Node], results: Sequence[str]) -> list[Node]:
    """Return what the results of a body need, control inputs from updates dropped.

    Args:
        name: of the function, as the library has it.
        function: the function.
        nodes: its body, without calls.
        results: the tensors it gives.

    Raises:
        SurgeryError: a result depends on an update.
    """
    if not any(is_update(node) for node in nodes):
        return list(nodes)
    changing = _computed_from_updates(nodes)
    kept = needed(function, [_without(node, changing) for node in nodes], results)
    update = next((node for node in kept if is_update(node)), None)
    if update is not None:
        raise SurgeryError(
            f"cannot freeze: a result of the function `{name}` depends on `{update.name}` ({update.op}), "
            "which changes a variable at every run",
            hint="choose outputs of the inference graph with --outputs, or switch training off with --set NAME=False",
            evidence={"function": name, "node": update.name, "op": update.op},
        )
    return kept


def _computed_from_updates(nodes: Sequence[Node]) -> set[str]:
    """Return the updates, what is computed from them, and the NoOps that wait for them."""
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for text in node.inputs:
            if not text.startswith("^") or node.op == "NoOp":
                users.setdefault(text.removeprefix("^").partition(":")[0], []).append(node)
    found = {node.name for node in nodes if is_update(node)}
    waiting = list(found)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user.name not in found:
                found.add(user.name)
                waiting.append(user.name)
    return found


def _without(node: Node, gone: Collection[str]) -> Node:
    kept = [text for text in node.inputs if not (text.startswith("^") and text[1:] in gone)]
    return node if len(kept) == len(node.inputs) else node.replace(inputs=kept)
