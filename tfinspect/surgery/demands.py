"""What a graph demands of its inputs where their Placeholders do not say it: shapes, and the range of indices.

A Placeholder of 2015 often has no shape at all. A convolution over it, a matrix product, or a Reshape says most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible, merge
from tfinspect.surgery.ops import EMBEDDINGS

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.surgery.shapes import TensorTypes

_SAME_SHAPE = frozenset({"Identity", "StopGradient", "CheckNumerics", "Cast"})
_WITH_SCALAR = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div"})
_CONVOLUTIONS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv3D": 5}
_IMAGES = frozenset({"MaxPool", "AvgPool", "FusedBatchNorm", "FusedBatchNormV3", "ResizeBilinear", "LRN"})
_SAME_VALUES = _SAME_SHAPE | {"Reshape", "ExpandDims", "Squeeze", "Transpose"}
_MOST_STEPS = 16


def implied_shape(graph: Graph, ref: TensorRef, types: TensorTypes) -> Shape:
    """Return what the consumers of a tensor demand of its shape, None where they demand nothing or contradict."""
    found: Shape = None
    waiting = [(ref, 0)]
    while waiting:
        tensor, steps = waiting.pop()
        for node in graph.consumers.get(tensor.name, ()):
            if tensor not in node.data_inputs or steps > _MOST_STEPS:
                continue
            if node.op in _SAME_SHAPE or (node.op in _WITH_SCALAR and _other_is_scalar(node, tensor, types)):
                waiting.append((TensorRef(node.name), steps + 1))
                continue
            demanded = _demanded(node, tensor, types)
            if not compatible(found, demanded):
                return None
            found = merge(found, demanded)
    return found


def vocabulary(graph: Graph, ref: TensorRef, types: TensorTypes) -> int | None:
    """Return how many rows the smallest table has that a tensor holds indices into, None where it holds none."""
    smallest: int | None = None
    waiting = [(ref, 0)]
    while waiting:
        tensor, steps = waiting.pop()
        for node in graph.consumers.get(tensor.name, ()):
            inputs = node.data_inputs
            if tensor not in inputs or steps > _MOST_STEPS:
                continue
            if node.op in _SAME_VALUES and inputs[0] == tensor:
                waiting.append((TensorRef(node.name), steps + 1))
            elif node.op in EMBEDDINGS and len(inputs) > 1 and inputs[1] == tensor:
                table = types.type_of(inputs[0]).shape
                axis = types.value_of(inputs[2]) if len(inputs) > 2 else (0,)  # noqa: PLR2004 - GatherV2 has an axis
                if table and table[0] and axis == (0,):
                    smallest = min(table[0], smallest or table[0])
    return smallest


def _other_is_scalar(node: Node, tensor: TensorRef, types: TensorTypes) -> bool:
    others = [other for other in node.data_inputs if other != tensor]
    return all(types.type_of(other).shape == () for other in others)


def _demanded(node: Node, tensor: TensorRef, types: TensorTypes) -> Shape:
    inputs = node.data_inputs
    if inputs[0] != tensor:
        return None
    if node.op in _IMAGES:
        return (None,) * 4
    if node.op in _CONVOLUTIONS:
        return _convolved(_CONVOLUTIONS[node.op], node, types)
    if node.op == "MatMul" and not node.value("transpose_a", default=False):
        other = types.type_of(inputs[1]).shape
        if other is not None:
            return (None, other[-1] if node.value("transpose_b", default=False) else other[0])
    if node.op == "Reshape":
        return _reshaped(types.value_of(inputs[1]))
    return None


def _convolved(rank: int, node: Node, types: TensorTypes) -> Shape:
    kernel = types.type_of(node.data_inputs[1]).shape
    sizes: list[int | None] = [None] * rank
    if kernel is not None and len(kernel) == rank:
        # channels of the input are the last but one axis of the kernel
        sizes[1 if node.text("data_format").startswith("NC") else rank - 1] = kernel[-2]
    return tuple(sizes)


def _reshaped(target: tuple[int | None, ...] | None) -> Shape:
    """Return the shape a Reshape gives: an input that has it already is left as it is."""
    if target is None or len(target) < 2 or any(size is None or size < 0 for size in target[1:]):  # noqa: PLR2004
        return None
    first = target[0]
    return (None if first is None or first < 0 else first, *target[1:])
