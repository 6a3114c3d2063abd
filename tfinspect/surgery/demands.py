"""What a graph demands of its inputs where their Placeholders do not say it: shapes, and the range of indices.

A Placeholder of 2015 often has no shape at all. A convolution over it, a matrix product, or a Reshape says most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.shapes import Shape, compatible, merge
from tfinspect.surgery.ops import DECODERS, EMBEDDINGS

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node
    from tfinspect.surgery.shapes import TensorTypes

_SAME_SHAPE = frozenset({"Identity", "StopGradient", "CheckNumerics", "Cast"})
_WITH_SCALAR = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div"})
_CONVOLUTIONS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv3D": 5}
_IMAGES = frozenset({"MaxPool", "AvgPool", "FusedBatchNorm", "FusedBatchNormV3", "ResizeBilinear", "LRN"})
_SAME_VALUES = _SAME_SHAPE | {"Reshape", "ExpandDims", "Squeeze", "Transpose"}
_RESIZING = _SAME_VALUES | {"ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"}
_SCALES = frozenset({"Sub", "Mul", "RealDiv", "Div"})  # by 128, 1/255 or a mean of some hundred
_LEAST_SCALE = 64.0
_MOST_CHANNELS = 4
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


def holds_lengths(graph: Graph, ref: TensorRef) -> bool:
    """Whether a tensor says how long each sequence of a batch is."""
    return any(
        node.op == "ReverseSequence" and node.data_inputs[1:2] == [ref] for node in graph.consumers.get(ref.name, ())
    )


def holds_images(graph: Graph, ref: TensorRef) -> bool:
    """Whether a string tensor is decoded as an image."""
    return any(node.op in DECODERS for node in graph.consumers.get(ref.name, ()))


def holds_pixels(graph: Graph, ref: TensorRef, types: TensorTypes) -> bool:
    """Whether a tensor of floats holds pixel values (0 to 255): it was bytes, or a mean of that size goes off."""
    behind: TensorRef | None = ref
    for _ in range(_MOST_STEPS):
        node = graph.by_name.get(behind.name) if behind is not None else None
        if node is None or node.op not in _RESIZING or not node.data_inputs:
            break
        behind = node.data_inputs[0]
        if types.type_of(behind).dtype is DType.UINT8:
            return True
    for node in graph.consumers.get(ref.name, ()):
        inputs = node.data_inputs
        if len(inputs) == 2 and inputs[0] == ref and node.op in _SCALES:  # noqa: PLR2004 - a value and a constant
            tensor = graph.by_name[inputs[1].name].tensor() if inputs[1].name in graph else None
            if tensor is not None and tensor.dtype.is_floating and 0 < tensor.size <= _MOST_CHANNELS:
                size = float(abs(tensor.numpy()).max())
                return 0 < size <= 1 / _LEAST_SCALE if node.op == "Mul" else size >= _LEAST_SCALE
    return False


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
