"""Weights kept in 8 bits become the floats that `Dequantize` makes of them.

`quantize_weights` of the Graph Transform Tool stored a weight as bytes with the least and greatest value and put a
Dequantize behind it; converters have no word for the stored types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import const
from tfinspect.ir.tensors import Tensor
from tfinspect.surgery._edges import constant_behind

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph, Node

_LOWEST = {DType.QUINT8: 0, DType.QINT8: -128}
_STEPS = 255.0


def fold_dequantize(graph: Graph) -> tuple[Graph, int]:
    """Compute every Dequantize of constants, in the modes MIN_COMBINED (the default) and MIN_FIRST.

    Returns:
        The graph, itself where there was nothing to do, and the number of weights.
    """
    folded = {node.name: value for node in graph.nodes if (value := _folded(graph, node)) is not None}
    if not folded:
        return graph, 0
    nodes = [
        const(node.name, folded[node.name]).replace(device=node.device) if node.name in folded else node
        for node in graph.nodes
    ]
    return graph.replace(nodes=nodes), len(folded)


def _folded(graph: Graph, node: Node) -> Tensor | None:
    mode = node.text("mode", "MIN_COMBINED")
    if node.op != "Dequantize" or node.control_inputs or mode not in {"MIN_COMBINED", "MIN_FIRST"}:
        return None
    if node.value("axis", -1) != -1 or node.value("narrow_range", default=False):
        return None
    sources = [constant_behind(graph, ref) for ref in node.data_inputs]
    values, low, high = (None if source is None else source.tensor() for source in sources)
    if values is None or low is None or high is None or values.dtype not in _LOWEST or low.size * high.size != 1:
        return None
    return _dequantized(values, float(low.numpy().item()), float(high.numpy().item()), first=mode == "MIN_FIRST")


def _dequantized(values: Tensor, low: float, high: float, *, first: bool) -> Tensor:
    """Compute as TensorFlow does, in float32; MIN_FIRST moves the least value onto a whole number of steps."""
    import numpy as np

    least = np.float32(low)
    with np.errstate(all="ignore"):  # an empty range gives NaN there, and here
        scale = np.float32(float(np.float32(high) - least) / _STEPS)
        if abs(scale) < np.finfo(np.float32).tiny:
            scale = np.float32(0)  # denormal numbers are zero to TensorFlow's threads
        if first and high != low:
            least = np.float32(np.rint(least / scale) * scale)
        steps = (values.numpy().astype(np.int32) - _LOWEST[values.dtype]).astype(np.float32)
        return Tensor.of(steps * scale + least, DType.FLOAT)
