"""Take out dropout that keeps everything.

With a keep probability of one, TensorFlow multiplies by `floor(1 + u)` with u drawn from [0, 1), or by `u >= 0`, which
is by one. Another runtime may round 1 + u to 2, or draw from [0, 1], and then drops or doubles an element now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.attrs import Attr
from tfinspect.surgery._edges import behind_identities, constant_behind
from tfinspect.surgery.prune import prune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_ADDS = frozenset({"Add", "AddV2"})


def strip_dropout(graph: Graph, outputs: Sequence[TensorRef]) -> tuple[Graph, int]:
    """Replace each product with an all-ones random mask by its other factor.

    Args:
        graph: a frozen graph.
        outputs: tensors to keep.

    Returns:
        The graph, itself where there was nothing to do, and the number of dropouts taken out.
    """
    nodes: list[Node] = []
    count = 0
    for node in graph.nodes:
        factors = node.data_inputs if node.op == "Mul" else []
        kept = next((a for a, b in zip(factors, factors[::-1], strict=True) if _is_ones(graph, b)), None)
        dtype = node.dtype()
        if kept is None or dtype is None:
            nodes.append(node)
            continue
        controls = [text for text in node.inputs if text.startswith("^")]
        inputs = [str(kept) if kept.index else kept.name, *controls]
        nodes.append(node.replace(op="Identity", inputs=inputs, attrs={"T": Attr.of(dtype)}))
        count += 1
    return (prune(graph.replace(nodes=nodes), outputs), count) if count else (graph, 0)


def _is_ones(graph: Graph, ref: TensorRef) -> bool:
    """Whether a tensor is a dropout mask without a zero in it."""
    node = graph.node(behind_identities(graph, ref).name)
    if node.op == "Floor":
        total = graph.node(behind_identities(graph, node.data_inputs[0]).name)
        if total.op not in _ADDS:
            return False
        a, b = total.data_inputs
        return any(_equals(graph, x, 1.0) and _is_uniform(graph, y) for x, y in ((a, b), (b, a)))
    if node.op == "Cast":
        test = graph.node(behind_identities(graph, node.data_inputs[0]).name)
        if test.op == "GreaterEqual":
            uniform, rate = test.data_inputs
            return _equals(graph, rate, 0.0) and _is_uniform(graph, uniform)
    return False


def _is_uniform(graph: Graph, ref: TensorRef) -> bool:
    """Whether a tensor is drawn from [0, 1), as `RandomUniform * (1 - 0) + 0` perhaps."""
    node = graph.node(behind_identities(graph, ref).name)
    if node.op in _ADDS:
        a, b = node.data_inputs
        ref = next((x for x, y in ((a, b), (b, a)) if _equals(graph, y, 0.0)), ref)
        node = graph.node(behind_identities(graph, ref).name)
    if node.op == "Mul":
        a, b = node.data_inputs
        ref = next((x for x, y in ((a, b), (b, a)) if _is_one(graph, y)), ref)
        node = graph.node(behind_identities(graph, ref).name)
    return node.op == "RandomUniform"


def _is_one(graph: Graph, ref: TensorRef) -> bool:
    if _equals(graph, ref, 1.0):
        return True
    node = graph.node(behind_identities(graph, ref).name)
    return node.op == "Sub" and _equals(graph, node.data_inputs[0], 1.0) and _equals(graph, node.data_inputs[1], 0.0)


def _equals(graph: Graph, ref: TensorRef, value: float) -> bool:
    """Whether a tensor is a constant scalar of that value."""
    node = constant_behind(graph, ref)
    tensor = None if node is None else node.tensor()
    if tensor is None or tensor.size != 1 or not tensor.dtype.is_floating:
        return False
    return float(tensor.numpy().reshape(-1)[0]) == value
