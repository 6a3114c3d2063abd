"""Take large weights out of a graph, so that a converter never has to carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.graph import Graph, placeholder
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery._edges import behind_identities, redirect

if TYPE_CHECKING:
    from collections.abc import Collection

    from tfinspect.ir.graph import Node
    from tfinspect.ir.tensors import Tensor

MIN_NBYTES = 65_536
# which inputs of an op may be a weight that arrives at run time: no converter needs to see its values
_OPERANDS = {
    "Conv2D": (1,), "Conv3D": (1,), "DepthwiseConv2dNative": (1,), "MatMul": (0, 1), "BatchMatMul": (0, 1),
    "BatchMatMulV2": (0, 1),
}  # fmt: skip
_LOOPS = ("Enter", "RefEnter", "While", "StatelessWhile")


def externalize(
    graph: Graph, min_nbytes: int = MIN_NBYTES, *, keep: Collection[TensorRef] = ()
) -> tuple[Graph, dict[str, Tensor]]:
    """Replace large weights by Placeholders of their shape.

    Only floating-point constants whose every consumer is the filter of a convolution or an operand of a matrix product
    qualify, Identity nodes between (`weights/read`) included, which then go. A graph with loops is left alone: a
    placeholder's way into a loop is another than a constant's.

    Args:
        graph: a frozen graph.
        min_nbytes: smallest weight worth taking out.
        keep: tensors that must stay what they are, such as the outputs.

    Returns:
        The graph, and the weights by the name of their placeholder.
    """
    if any(node.op in _LOOPS or node.op.startswith("TensorArray") for node in graph.nodes):
        return graph, {}
    weights: dict[str, Tensor] = {}
    passing: dict[TensorRef, TensorRef] = {}
    for node in graph.nodes:
        tensor = node.tensor() if node.op == "Const" and not node.inputs else None
        if tensor is None or not tensor.dtype.is_floating or tensor.nbytes < min_nbytes:
            continue
        identities = _operand_only(graph, node, {ref.name for ref in keep})
        if identities is not None:
            weights[node.name] = tensor
            passing.update({TensorRef(name): TensorRef(node.name) for name in identities})
    if not weights:
        return graph, {}
    gone = {ref.name for ref in passing}
    nodes = [
        placeholder(n.name, weights[n.name].dtype, weights[n.name].shape).replace(device=n.device)
        if n.name in weights
        else n
        for n in redirect(graph.nodes, passing, {name: behind_identities(graph, TensorRef(name)).name for name in gone})
        if n.name not in gone
    ]
    return graph.replace(nodes=nodes), weights


def _operand_only(graph: Graph, node: Node, keep: Collection[str]) -> list[str] | None:
    """Return the Identity nodes behind a constant, or None where anything but a product or convolution uses it."""
    identities: list[str] = []
    waiting = [node.name]
    while waiting:
        name = waiting.pop()
        users = graph.consumers.get(name, ())
        if not users or name in keep:
            return None
        for user in users:
            if user.op == "Identity" and not user.control_inputs:
                if user.name not in identities:
                    identities.append(user.name)
                    waiting.append(user.name)
                continue
            operands = _OPERANDS.get(user.op, ())
            places = [k for k, ref in enumerate(user.data_inputs) if ref.name == name]
            if not places or any(place not in operands for place in places):
                return None
    return identities
