"""Recognise a batch norm at inference time, however it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.surgery._edges import behind_identities, constant_behind
from tfinspect.surgery.modernize.batch_norm import OLD, epsilon, scales

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.ir.refs import TensorRef

_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_ADD = frozenset({"Add", "AddV2"})
_DEFAULT_EPSILON = 1e-4  # of FusedBatchNorm's op definition, for files that leave defaults out


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """One batch norm.

    Attributes:
        node: its last node, whose output 0 is the result.
        first: the node that takes the input.
        input: what is normalised.
        parameters: tensors by role: mean, variance, beta, gamma; beta and gamma may be absent.
        epsilon: what is added to the variance.
        layout: "NHWC" or "NCHW".
        written_out: whether it is made of plain arithmetic.
    """

    node: Node
    first: Node
    input: TensorRef
    parameters: Mapping[str, TensorRef]
    epsilon: float
    layout: str = "NHWC"
    written_out: bool = False


def match_batch_norm(graph: Graph, node: Node) -> BatchNorm | None:
    """Return the batch norm that ends in a node, or None where none does."""
    if node.op == OLD:
        t, mean, variance, beta, gamma = node.data_inputs
        parameters = {"mean": mean, "variance": variance, "beta": beta}
        if scales(node):
            parameters["gamma"] = gamma
        return BatchNorm(node, node, t, parameters, epsilon(node))
    if node.op in _FUSED:
        return _fused(graph, node)
    if node.op in _ADD:
        return _written_out(graph, node)
    return None


def _fused(graph: Graph, node: Node) -> BatchNorm | None:
    if node.value("is_training", default=True) is not False:
        return None
    if any(ref.name == node.name and ref.index for u in graph.consumers.get(node.name, ()) for ref in u.data_inputs):
        return None
    x, scale, offset, mean, variance = node.data_inputs[:5]
    parameters = {"mean": mean, "variance": variance, "beta": offset, "gamma": scale}
    small = float(node.value("epsilon", _DEFAULT_EPSILON))
    return BatchNorm(node, node, x, parameters, small, node.text("data_format", "NHWC") or "NHWC")


def _written_out(graph: Graph, node: Node) -> BatchNorm | None:
    """Match `x * inv + (beta - mean * inv)`, `x * inv + -mean * inv` and `(x - mean) * inv + beta`.

    `inv` is `rsqrt(variance + epsilon)`, times gamma where there is one.
    """
    for product, rest in _both(graph, node):
        if product.op != "Mul" or not _sole(graph, product, node):
            continue
        for taken, inverse in _both_refs(product):
            parameters = _inverse(graph, inverse)
            if parameters is None:
                continue
            small, found = parameters
            centred = _of(graph, taken, "Sub")
            if centred is not None and constant_behind(graph, rest) is not None:
                x, mean = centred.data_inputs
                if constant_behind(graph, mean) is not None and _sole(graph, centred, product):
                    whole = {**found, "mean": mean, "beta": rest}
                    return BatchNorm(node, centred, x, whole, small, written_out=True)
            shifted = _shift(graph, rest, inverse)
            if shifted is not None:
                return BatchNorm(node, product, taken, {**found, **shifted}, small, written_out=True)
    return None


def _sole(graph: Graph, node: Node, reader: Node) -> bool:
    return [user.name for user in graph.consumers.get(node.name, ())] == [reader.name]


def _both(graph: Graph, node: Node) -> list[tuple[Node, TensorRef]]:
    """Return the operands of a sum as (node, other operand), in both orders."""
    a, b = node.data_inputs
    pairs = ((a, b), (b, a))
    return [(graph.by_name[x.name], y) for x, y in pairs if not x.index and x.name in graph.by_name]


def _both_refs(node: Node) -> tuple[tuple[TensorRef, TensorRef], ...]:
    a, b = node.data_inputs
    return (a, b), (b, a)


def _of(graph: Graph, ref: TensorRef, op: str) -> Node | None:
    node = graph.by_name.get(behind_identities(graph, ref).name)
    return node if node is not None and node.op == op else None


def _inverse(graph: Graph, ref: TensorRef) -> tuple[float, dict[str, TensorRef]] | None:
    """Match `rsqrt(variance + epsilon)`, or that times gamma."""
    scaled = _of(graph, ref, "Mul")
    candidates: list[tuple[TensorRef, TensorRef | None]] = [(ref, None)]
    if scaled is not None:
        candidates = [(root, gamma) for root, gamma in _both_refs(scaled) if constant_behind(graph, gamma) is not None]
    for root, gamma in candidates:
        rsqrt = _of(graph, root, "Rsqrt")
        total = None if rsqrt is None else graph.by_name.get(behind_identities(graph, rsqrt.data_inputs[0]).name)
        if total is None or total.op not in _ADD:
            continue
        for variance, added in _both_refs(total):
            small = _scalar(graph, added)
            if small is not None and constant_behind(graph, variance) is not None:
                found = {"variance": variance}
                return small, found if gamma is None else {**found, "gamma": gamma}
    return None


def _scalar(graph: Graph, ref: TensorRef) -> float | None:
    node = constant_behind(graph, ref)
    tensor = None if node is None else node.tensor()
    return float(tensor.numpy()) if tensor is not None and tensor.shape == () else None


def _shift(graph: Graph, ref: TensorRef, inverse: TensorRef) -> dict[str, TensorRef] | None:
    """Match `beta - mean * inv` or `-mean * inv`, `inv` being the very tensor that scales."""
    difference = _of(graph, ref, "Sub")
    product = _of(graph, difference.data_inputs[1] if difference is not None else ref, "Mul")
    if product is None:
        return None
    for mean, factor in _both_refs(product):
        if behind_identities(graph, factor) != behind_identities(graph, inverse):
            continue
        if difference is not None:
            beta = difference.data_inputs[0]
            if constant_behind(graph, mean) is not None and constant_behind(graph, beta) is not None:
                return {"mean": mean, "beta": beta}
            continue
        negated = _of(graph, mean, "Neg")
        if negated is not None and constant_behind(graph, negated.data_inputs[0]) is not None:
            return {"mean": negated.data_inputs[0]}
    return None
